"""`Ensemble`: networks with weights, and the encoding of their inputs."""

from functools import partial
from typing import NamedTuple

import numpy as np

from fastmlp import _core
from fastmlp._engine.layout import ROWS_OF_TILE, aligned_zeros, ceil_div
from fastmlp._engine.threads import core_in_use, threads_for
from fastmlp._tabular.inputs import ROWS_AT_A_TIME


class Part(NamedTuple):
    """A network with its settings and its share of the output."""

    settings: object
    weight: float
    network: object


class Ensemble:
    """The weighted mean of networks.

    Parameters
    ----------
    encoder : TableEncoder
    maps : InputMaps
    parts : list of Part
        The sum of their weights is 1. All of their networks read the same matrix.
    """

    def __init__(self, encoder, maps, parts):
        self.encoder = encoder
        self.maps = maps
        self.parts = parts
        self._mixture = None

    def __getstate__(self):
        return vars(self) | {"_mixture": None}

    def outputs(self, X):
        """Return the mean output for each row of a table, in float64."""
        return self.outputs_of(self.encoder.transform(X))

    def outputs_of(self, encoded):
        """Return the mean output for each row of an encoded table."""
        n_rows = encoded.n_rows
        if n_rows <= ROWS_AT_A_TIME:
            return self._outputs_of_part(encoded)
        total = np.empty((n_rows, self.parts[0].network.layer_sizes[-1]))
        for start in range(0, n_rows, ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            total[rows] = self._outputs_of_part(encoded.part(rows))
        return total

    def _outputs_of_part(self, encoded):
        """Return the mean output for some rows: all networks in one call of the core."""
        inputs = self.maps.inputs(encoded, self.parts[0].settings)
        n_weights = sum(part.network.parameters.n_weights for part in self.parts)
        n_pieces = ceil_div(len(inputs), ROWS_OF_TILE)
        with core_in_use:
            n_threads = threads_for(2 * len(inputs) * n_weights, n_pieces)
            return self.mixture(inputs, n_threads)

    @property
    def mixture(self):
        """The core's mixture of the networks, which is created for the first prediction.

        As in `Passes.predictor`, there is no lock: two threads may create one each.
        """
        mixture = self._mixture
        if mixture is None:
            mixture = self._mixture = _core.Mixture(
                [part.network.passes.predictor for part in self.parts],
                [part.weight for part in self.parts],
                partial(aligned_zeros, dtype=self.parts[0].network.dtype),
            )
        return mixture


class KnownOutputs:
    """Outputs that have been computed before, in place of an ensemble."""

    def __init__(self, outputs):
        self._outputs = outputs

    def outputs(self, X):
        return self._outputs
