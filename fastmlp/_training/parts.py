"""Steps whose gradients are computed in parts of a mini-batch, which are added up by the caller."""

from typing import Any, NamedTuple

import numpy as np

from fastmlp import _core
from fastmlp._engine.layout import ROWS_IN_PART


class Part(NamedTuple):
    """Some rows of a mini-batch.

    Attributes
    ----------
    samples : _core.Samples
        The data that they are in.
    rows : ndarray of intp
    scale : float
        1 / the sum of the sample weights of the whole mini-batch.
    place : int
        The number of rows of the mini-batch before these, for the random numbers of dropout.
    has_penalties : bool
        Whether to add the penalties to the gradient of this part: True for one of all parts.
    """

    samples: Any
    rows: np.ndarray
    scale: float
    place: int = 0
    has_penalties: bool = True


class StepsInParts:
    """Steps of a `Descent` with gradients that are computed in parts.

    Parameters
    ----------
    descent : Descent
    total : ndarray of shape (1, n_params)
        Where the caller puts the gradient of a whole mini-batch, for `apply`.
    n_rows : int
        The most rows of a part.
    dense : bool
        Whether the rows are dense.
    """

    def __init__(self, descent, total, n_rows, *, dense):
        self._descent, self._passes = descent, descent.network.passes
        self._model = descent.model
        self._work = descent.workspace(min(n_rows, ROWS_IN_PART), dense=dense)
        self._step = descent.step(self._work, total)

    def scale_of(self, samples, rows):
        """Return 1 / the sum of the sample weights of these rows."""
        return _core.scale_of_rows(self._model, self._work, samples, rows)

    def gradient(self, part, numbers, dropout_factor=1.0, n_threads=None):
        """Write the gradient of a part, and return its loss. The parameters do not change.

        Parameters
        ----------
        part : Part
        numbers : ndarray of shape (n_params,)
        dropout_factor : float
            All rates of dropout are multiplied by it.
        n_threads : int, default=None
            None chooses the number by the work.
        """
        if n_threads is None:
            n_threads = self._passes.candidates(len(part.rows))[0]
        settings, penalties = self._descent.settings, (0.0, 0.0)
        if part.has_penalties:
            penalties = settings["l1"] * part.scale, settings["l2"] * part.scale
        gradient = _core.Gradient(
            self._model, self._work, numbers, part.scale, penalties, self._step.key,
            dropout_factor, part.place,
        )  # fmt: skip
        for start in range(0, len(part.rows), ROWS_IN_PART):
            rows = part.rows[start : start + ROWS_IN_PART]
            is_last = start + len(rows) == len(part.rows)
            _core.add_gradient(
                self._model, self._work, part.samples, rows, gradient, is_last, n_threads
            )
        return gradient.loss

    def apply(self, of_step):
        """Make a step with the gradient of the whole mini-batch, which is overwritten.

        ``of_step`` are the three numbers of `Descent.schedule_of`.
        """
        _core.apply_gradient(self._model, self._step, of_step, self._passes.candidates(1)[0])
