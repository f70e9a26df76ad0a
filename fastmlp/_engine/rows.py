"""Input rows in the form that the core expects: dense or sparse, with targets and weights."""

from typing import NamedTuple

import numpy as np
import scipy.sparse

NOTHING = np.zeros(0, dtype=np.intp)


def with_valid_indices(X):
    """Return X after making sure that compiled code can read it safely.

    A dense array is aligned. The indices of a sparse matrix are validated.
    """
    if not scipy.sparse.issparse(X):
        return np.require(X, requirements="A")
    X.check_format(full_check=True)
    return X


class Features(NamedTuple):
    """Input rows. If dense, ``values`` is X; if sparse, the fields are those of a CSR matrix."""

    values: np.ndarray  # (n, m_0), or (n_nonzero, 1) if sparse
    indices: np.ndarray = NOTHING  # (n_nonzero,) if sparse
    indptr: np.ndarray = NOTHING  # (n + 1,) if sparse

    @classmethod
    def of(cls, X):
        """Create from a C-contiguous array or a CSR matrix.

        The indices of the matrix must be valid. They may have duplicates. If they are unsorted,
        a sorted copy is used, because the core needs the columns of a row in ascending order.
        """
        if not scipy.sparse.issparse(X):
            return cls(X)
        # A new object, because X may remember an answer that has become wrong.
        X = scipy.sparse.csr_matrix((X.data, X.indices, X.indptr), shape=X.shape)
        if not X.has_sorted_indices:
            X = X.sorted_indices()
        values, indices = X.data, X.indices
        if len(values) == 0:  # the core needs a valid address
            values, indices = np.zeros(1, dtype=X.dtype), np.zeros(1, dtype=np.intp)
        return cls(
            np.require(values[:, np.newaxis], requirements=["C", "A"]),
            indices.astype(np.intp, copy=False),
            X.indptr.astype(np.intp, copy=False),
        )

    @property
    def is_sparse(self):
        return len(self.indptr) > 0

    @property
    def n_rows(self):
        return len(self.indptr) - 1 if self.is_sparse else len(self.values)

    def of_rows(self, rows):
        """Return a copy of some of the rows."""
        if not self.is_sparse:
            return self._replace(values=self.values[rows])
        return Features.of(self.as_matrix()[rows])

    def as_matrix(self, n_columns=None):
        """Return X: the array, or a CSR matrix."""
        if not self.is_sparse:
            return self.values
        shape = None if n_columns is None else (self.n_rows, n_columns)
        parts = (self.values.ravel(), self.indices, self.indptr)
        return scipy.sparse.csr_matrix(parts, shape=shape)

    def part(self, rows):
        """Return the rows of a slice as views."""
        if self.is_sparse:
            return self._replace(indptr=self.indptr[rows.start : rows.stop + 1])
        return self._replace(values=self.values[rows])


class Data(NamedTuple):
    """Input rows with targets and weights: C-contiguous, aligned and in the network's dtype."""

    features: Features
    y: np.ndarray  # (n, n_targets)
    sample_weight: np.ndarray  # (n,)

    @property
    def n_rows(self):
        return len(self.y)

    @property
    def is_dense(self):
        return not self.features.is_sparse

    @property
    def arrays(self):
        """The arrays in the order of the core's arguments."""
        return *self.features, self.y, self.sample_weight
