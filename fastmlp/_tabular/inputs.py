"""The inputs of the networks: encoded numbers, their ranks and bins, and one-hot categories."""

import numpy as np
import scipy.sparse

from fastmlp._tabular.scaling import QuantileMap

# Rows whose inputs are computed at a time, so that no second copy of all of them is needed.
ROWS_AT_A_TIME = 8_192

# One-hot categories of more columns than this are kept sparse.
MOST_DENSE_COLUMNS = 256

# A table of many numbers gets fewer bins for each, or none.
MOST_BINS_IN_TOTAL = 2048
FEWEST_BINS = 4


class Bins:
    """The piecewise linear encoding of numbers: Gorishniy, Rubachev and Babenko, NeurIPS 2022.

    Each number becomes a number for each of its bins: how far it is through the bin, from 0 to 1.
    The edges of the bins are quantiles of the training rows. A number with at most two distinct
    values has no bins.

    Parameters
    ----------
    numbers : ndarray of float32, shape (n_rows, n_numbers)
        The numbers of the training rows.
    n_bins : int
        Largest number of bins of a number.
    """

    def __init__(self, numbers, n_bins):
        places = np.linspace(0, 1, n_bins + 1)
        edges = [np.unique(np.quantile(column, places)) for column in numbers.T]
        several = [some if len(some) > 2 else some[:0] for some in edges]
        self.columns = np.repeat(np.arange(len(edges)), [max(len(some) - 1, 0) for some in several])
        nothing = [np.zeros(0)]
        self.lower = np.concatenate(nothing + [some[:-1] for some in several]).astype(np.float32)
        self.width = np.concatenate(nothing + [np.diff(some) for some in several])
        self.width = self.width.astype(np.float32)

    def __call__(self, numbers):
        """Encode numbers of shape (n_rows, n_numbers)."""
        parts = np.take(numbers, self.columns, axis=1)
        parts -= self.lower
        parts /= self.width
        np.clip(parts, 0, 1, out=parts)
        return parts


def one_hot(codes, cardinalities):
    """Return the sparse matrix with a one for each code; none for the code -1."""
    ends = np.cumsum(cardinalities)
    columns = codes + (ends - cardinalities)
    is_known = codes >= 0
    indptr = np.append(0, np.cumsum(is_known.sum(axis=1)))
    indices = columns[is_known]
    ones = np.ones(len(indices), dtype=np.float32)
    shape = (len(codes), int(ends[-1]) if len(ends) else 0)
    return scipy.sparse.csr_matrix((ones, indices, indptr), shape=shape)


class Ranks:
    """The numbers, followed by their quantile maps to a standard normal.

    Parameters
    ----------
    numbers : ndarray of float32, shape (n_rows, n_numbers)
        The numbers of the training rows.
    """

    def __init__(self, numbers):
        several = [column.min() < column.max() for column in numbers.T.astype(np.float64)]
        self._columns = np.flatnonzero(several)
        maps = [QuantileMap.of(numbers[:, j].astype(np.float64)) for j in self._columns]
        self._map = QuantileMap.stack(maps) if maps else np.asarray

    def __call__(self, numbers):
        ranks = self._map(np.take(numbers, self._columns, axis=1).astype(np.float64))
        return np.concatenate([numbers, ranks.astype(np.float32)], axis=1)


class InputMaps:
    """Maps from an encoded table to the inputs of a network, for any settings.

    Parameters
    ----------
    encoded : Encoded
        The training rows.
    cardinalities : ndarray of int, shape (n_categories,)
    """

    def __init__(self, encoded, cardinalities):
        self.cardinalities = cardinalities
        self._numbers = encoded.numbers  # until `keep`, for bins that are not yet known
        self._ranks = Ranks(encoded.numbers)
        self._most_bins = MOST_BINS_IN_TOTAL // max(1, encoded.numbers.shape[1])
        self._bins = {}

    def key(self, settings):
        """Return what the inputs depend on."""
        n_bins = min(settings.n_bins, self._most_bins)
        return n_bins if n_bins >= FEWEST_BINS else 0

    def learn(self, settings):
        """Learn the bins that a network with these settings needs."""
        n_bins = self.key(settings)
        if n_bins and n_bins not in self._bins:
            self._bins[n_bins] = Bins(self._numbers, n_bins)

    def keep(self, kept):
        """Give up the training rows, and the bins of all settings but these."""
        keys = set(map(self.key, kept))
        self._bins = {n: bins for n, bins in self._bins.items() if n in keys}
        self._numbers = None

    def inputs(self, encoded, settings):
        """Return the inputs: an array of float32, or a CSR matrix if there are many categories."""
        starts = range(0, encoded.n_rows, ROWS_AT_A_TIME)
        parts = (encoded.part(slice(start, start + ROWS_AT_A_TIME)) for start in starts)
        matrices = (self._inputs_of_part(part, settings) for part in parts)
        first = next(matrices)
        if len(starts) == 1:
            return first
        if scipy.sparse.issparse(first):
            return scipy.sparse.vstack([first, *matrices], format="csr")
        whole = np.empty((encoded.n_rows, first.shape[1]), dtype=np.float32)
        whole[:ROWS_AT_A_TIME] = first
        for start, matrix in zip(starts[1:], matrices, strict=True):
            whole[start : start + ROWS_AT_A_TIME] = matrix
        return whole

    def _inputs_of_part(self, encoded, settings):
        numbers, n_bins = encoded.numbers, self.key(settings)
        ranked = self._ranks(numbers)
        numbers = (
            np.concatenate([ranked, self._bins[n_bins](numbers)], axis=1) if n_bins else ranked
        )
        if not len(self.cardinalities):
            n_unused = int(numbers.shape[1] == 0)  # a network has at least one input
            return np.ascontiguousarray(np.pad(numbers, ((0, 0), (0, n_unused))))
        categories = one_hot(encoded.codes, self.cardinalities)
        if categories.shape[1] <= MOST_DENSE_COLUMNS:
            return np.ascontiguousarray(np.concatenate([numbers, categories.toarray()], axis=1))
        return scipy.sparse.hstack([numbers, categories], format="csr", dtype=np.float32)
