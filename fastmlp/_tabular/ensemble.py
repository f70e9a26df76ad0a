"""`Ensemble`: networks with weights, and the encoding of their inputs."""

from typing import NamedTuple

import numpy as np

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
        The sum of their weights is 1.
    """

    def __init__(self, encoder, maps, parts):
        self.encoder = encoder
        self.maps = maps
        self.parts = parts

    def outputs(self, X):
        """Return the mean output for each row of a table, in float64."""
        return self.outputs_of(self.encoder.transform(X))

    def outputs_of(self, encoded):
        """Return the mean output for each row of an encoded table."""
        n_rows = encoded.n_rows
        total = np.zeros((n_rows, self.parts[0].network.layer_sizes[-1]))
        for start in range(0, n_rows, ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            self._add_outputs(encoded.part(rows), total[rows])
        return total

    def _add_outputs(self, encoded, total):
        inputs = {}
        for settings, weight, network in self.parts:
            key = self.maps.key(settings)
            if key not in inputs:
                inputs[key] = self.maps.inputs(encoded, settings)
            total += weight * network.output(inputs[key])


class KnownOutputs:
    """Outputs that have been computed before, in place of an ensemble."""

    def __init__(self, outputs):
        self._outputs = outputs

    def outputs(self, X):
        return self._outputs
