"""What the networks read: encoded numbers, their ranks, and codes of categories."""

from dataclasses import replace

import numpy as np

from fastmlp._engine.input_layer import quantile_edges
from fastmlp._engine.layout import ceil_div
from fastmlp._tabular.scaling import MOST_ROWS_LEARNED_FROM, QuantileMap, StackedQuantileMaps

# Rows whose inputs are computed at a time, so that no second copy of all of them is needed.
ROWS_AT_A_TIME = 8_192

# A table of many numbers gets fewer bins for each, or none.
MOST_BINS_IN_TOTAL = 2048
FEWEST_BINS = 4


class Ranks:
    """The quantile maps of numbers to a standard normal.

    Parameters
    ----------
    numbers : ndarray of float32, shape (n_rows, n_numbers)
        The numbers of the training rows.

    Attributes
    ----------
    columns : ndarray of int
        The numbers that have ranks: those that vary.
    map : callable
        The maps of all of them, by ``QuantileMap.stack``.
    """

    def __init__(self, numbers):
        several = [column.min() < column.max() for column in numbers.T]
        self.columns = np.flatnonzero(several)
        maps = [QuantileMap.of(numbers[:, j].astype(np.float64)) for j in self.columns]
        self.map = QuantileMap.stack(maps) if maps else np.asarray

    @property
    def n_columns(self):
        return len(self.columns)

    def write(self, parts):
        """Add the maps to the parts of a model file."""
        parts.add(n_columns=self.n_columns)
        parts.array("columns", self.columns.astype(np.int64))
        if self.n_columns:
            self.map.write(parts)

    @classmethod
    def read(cls, fields, n_numbers):
        """Return the maps of a model file."""
        ranks = object.__new__(cls)
        columns = fields.array("columns", "i8", (fields.whole("n_columns"),))
        if len(columns) and not (
            0 <= columns[0] and columns[-1] < n_numbers and (np.diff(columns) > 0).all()
        ):
            raise fields.error("columns", f"must be ascending and below {n_numbers}")
        ranks.columns = columns.astype(np.intp)
        ranks.map = StackedQuantileMaps.read(fields, len(columns)) if len(columns) else np.asarray
        return ranks

    def __call__(self, numbers):
        return self.map(np.take(numbers, self.columns, axis=1).astype(np.float64))


class InputMaps:
    """Maps from an encoded table to what the networks read, for any settings.

    That is a matrix of numbers, ranks and codes, and the input layer, which makes bins, one-hot
    inputs and embeddings of them.

    Parameters
    ----------
    encoded : Encoded
        The training rows.
    cardinalities : ndarray of int, shape (n_categories,)
    """

    def __init__(self, encoded, cardinalities):
        self.cardinalities = cardinalities
        self.n_numbers = encoded.numbers.shape[1]
        self._numbers = encoded.numbers  # until `forget_rows`, for bins that are not yet known
        self.ranks = Ranks(encoded.numbers)
        self._edges = {}

    @classmethod
    def read(cls, fields, n_numbers, cardinalities):
        """Return the maps of a model file, for networks that know their input layer."""
        maps = object.__new__(cls)
        maps.cardinalities, maps.n_numbers = cardinalities, n_numbers
        maps._numbers, maps._edges = None, {}
        maps.ranks = Ranks.read(fields, n_numbers)
        return maps

    def key(self, settings):
        """Return what the matrix depends on."""
        return settings.has_ranks

    def input_layer(self, settings):
        """Return the input layer of a network with these settings."""
        n_columns = self.n_columns(settings)
        coded = range(n_columns - len(self.cardinalities), n_columns)
        layer = replace(
            settings.input_layer,
            categorical_features=tuple(coded),
            n_categories=tuple(self.cardinalities.tolist()),
        )
        edges = self._edges_for(settings.n_bins)
        if edges is None:
            return layer
        no_edges = [()] * (n_columns - len(edges) - len(coded))
        return replace(layer, numeric_embedding="piecewise_linear", bin_edges=(*edges, *no_edges))

    def _edges_for(self, n_bins):
        """Return the edges of the bins of each number, or None for no bins."""
        n_bins = min(n_bins, MOST_BINS_IN_TOTAL // max(1, self.n_numbers))
        if n_bins < FEWEST_BINS:
            return None
        if n_bins not in self._edges:
            step = ceil_div(len(self._numbers), MOST_ROWS_LEARNED_FROM)
            columns = self._numbers[::step].T
            self._edges[n_bins] = [quantile_edges(column, n_bins) for column in columns]
        return self._edges[n_bins]

    def forget_rows(self):
        """Give up the training rows. All bins that are needed must be known."""
        self._numbers = None

    def n_columns(self, settings):
        """Return the number of columns of the matrix for these settings."""
        n_numbers = self.n_numbers + settings.has_ranks * self.ranks.n_columns
        # A network has at least one input.
        return max(n_numbers + len(self.cardinalities), 1)

    def inputs(self, encoded, settings):
        """Return the matrix, in float32."""
        if encoded.matrix is not None and not settings.has_ranks:
            return encoded.matrix
        n_rows, n_columns = encoded.n_rows, self.n_columns(settings)
        whole = np.zeros((n_rows, n_columns), dtype=np.float32)
        n_codes = len(self.cardinalities)
        whole[:, : self.n_numbers] = encoded.numbers
        whole[:, n_columns - n_codes :] = encoded.codes
        for start in range(0, n_rows if settings.has_ranks else 0, ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            ranks = self.ranks(encoded.numbers[rows])
            whole[rows, self.n_numbers : self.n_numbers + ranks.shape[1]] = ranks
        return whole
