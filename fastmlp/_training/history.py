"""What a fit has seen, epoch by epoch."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Epoch(NamedTuple):
    """What is known after an epoch (of 'lbfgs': an iteration); callbacks get it as `state`.

    Parameters
    ----------
    epoch : int
        From 1, in this call of `fit`.
    max_iter : int
        The last one.
    loss : float
        Of the training rows, measured on each mini-batch before its step.
    val_loss, val_score : float or None
        Of the validation rows, if there are any; the loss without penalty.
    learning_rate : float or None
        Of this epoch; None for 'lbfgs'.
    seconds : float
        That this epoch took, validation included.

    Examples
    --------
    End the training at a loss that is small enough:

    >>> from sklearn.datasets import load_iris
    >>> from fastmlp import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> def good_enough(estimator, state):
    ...     return state.loss < 0.5
    >>> classifier = MLPClassifier(callbacks=good_enough, random_state=0).fit(X, y)
    >>> classifier.loss_ < 0.5 < classifier.loss_curve_[-2]
    True
    """

    epoch: int
    max_iter: int
    loss: float
    val_loss: float | None
    val_score: float | None
    learning_rate: float | None
    seconds: float


@dataclass
class History:
    """What training has seen so far; a warm start goes on with it."""

    columns: dict = field(default_factory=dict)  # a list for each column, a number for each epoch
    loss_curve: list = field(default_factory=list)  # of the mini-batch solvers' epochs only,
    validation_scores: list = field(default_factory=list)  # and likewise their scores
    best_loss: float = np.inf
    best_validation_score: float = -np.inf
    best_params: np.ndarray | None = None
    n_bad_epochs: int = 0
    n_rows_seen: int = 0
    n_epochs: int = 0  # of the last call
    best_epoch: int = 0  # of the last call, by the validation score or else by the loss
    _best: float = np.inf  # its loss, or its score with the other sign

    def begin(self):
        """Begin to count the epochs of a call anew."""
        self.n_epochs = self.best_epoch = 0
        self._best = np.inf
        # The best weights so far belong to another split; if none are better, the last are kept.
        self.best_params = None

    def add(self, epoch, measured):
        """Take in an epoch, and what else has been measured."""
        self.n_epochs = epoch.epoch
        value = epoch.loss if epoch.val_score is None else -epoch.val_score
        if value < self._best:
            self.best_epoch, self._best = epoch.epoch, value
        n_before = max(map(len, self.columns.values()), default=0)
        of_epoch = ("loss", "val_loss", "val_score", "learning_rate", "seconds")
        values = {name: getattr(epoch, name) for name in of_epoch} | measured
        for name, value in values.items():
            if value is not None and name not in self.columns:
                self.columns[name] = [_unknown(value)] * n_before
        for name, column in self.columns.items():
            value = values.get(name)
            column.append(_unknown(column[-1]) if value is None else value)
        if epoch.learning_rate is not None:
            self.loss_curve.append(epoch.loss)
            if epoch.val_score is not None:
                self.validation_scores.append(epoch.val_score)

    def judge(self, value, best, tol, *, larger_is_better):
        """Count the epochs since ``value`` last got better than ``best`` by ``tol``.

        NaN is never better.
        """
        better = value >= best + tol if larger_is_better else value <= best - tol
        self.n_bad_epochs = 0 if better else self.n_bad_epochs + 1

    def _lists(self):
        curves = {"loss_curve": self.loss_curve, "validation_scores": self.validation_scores}
        return curves | {("columns", name): column for name, column in self.columns.items()}

    def snapshot(self):
        return vars(self).copy(), {key: len(numbers) for key, numbers in self._lists().items()}

    def restore(self, snapshot):
        values, lengths = snapshot
        vars(self).update(values)
        for key, numbers in self._lists().items():
            del numbers[lengths.get(key, 0) :]
        for name in [name for name in self.columns if ("columns", name) not in lengths]:
            del self.columns[name]


def _unknown(like):
    """NaN, or a tuple of them where others are."""
    return (np.nan,) * len(like) if isinstance(like, tuple) else np.nan
