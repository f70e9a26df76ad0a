"""`InputLayer`: how the columns of X become the inputs of the first layer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastmlp._core import COLUMN, COLUMN_KINDS, MOST_FREQUENCIES_OF_NUMBER

# float32 has all whole numbers up to this one.
MOST_CATEGORIES = 2**24

NUMERIC_EMBEDDINGS = (None, "cosine", "pbld", "piecewise_linear")


@dataclass(frozen=True)
class InputLayer:
    """How the columns of X become the inputs of the first layer.

    A category is a column of codes: whole numbers from 0. Few categories become one-hot inputs,
    for which rows of the first weight matrix are added; many share an embedding. A number is used
    as it is, or with bins or learned cosines. The parameters are trained with the network.

    Parameters
    ----------
    categorical_features : array-like of bool, int or str, default=None
        The columns of X that hold codes: a mask, indices, or for the estimators the names of
        features. Negative codes, and codes that are not below ``n_categories``, belong to no
        category: they add nothing.
    n_categories : 'auto' or list of int, default='auto'
        The number of categories of each of these columns, in their order. 'auto' takes the
        largest code of the training rows plus 1; a `Network`, which has no rows yet, needs a list.
    one_hot_max_size : int, default=9
        Columns with at most this number of categories become one-hot inputs. The others are
        embedded.
    embedding_size : int, default=8
        The length of the vector that is learned for each category of an embedded column.
    numeric_embedding : {None, 'cosine', 'pbld', 'piecewise_linear'}, default=None
        What becomes of each number x. None uses x itself. 'cosine' uses
        ``cos(2 pi f_k x + p_k)`` for ``n_frequencies`` learned frequencies f and phases p. 'pbld'
        uses x and a learned linear map of these cosines. 'piecewise_linear' uses x, and for each
        of its bins how far x is through the bin, from 0 to 1; nothing of it is learned.
    n_frequencies : int, default=16
        Number of frequencies for each number; at most 128.
    frequency_scale : float, default=0.1
        Standard deviation of the initial frequencies. Numbers should be scaled.
    numeric_embedding_size : int, default=4
        Number of inputs for each number with 'pbld': x itself and the outputs of the linear map.
    n_bins : int, default=16
        Number of bins of each number with 'piecewise_linear', if their edges are not given.
    bin_edges : 'quantile' or list of array-like, default='quantile'
        The ascending edges of the bins of each number, in the order of the columns; a number with
        fewer than two edges has no bins. 'quantile' takes quantiles of the training rows; a
        `Network`, which has no rows yet, needs a list.
    scaling : bool, default=False
        Whether each input is multiplied by a learned scale, which is 1 at the start.

    References
    ----------
    Gorishniy, Rubachev and Babenko, On embeddings for numerical features in tabular deep learning,
    NeurIPS 2022. Holzmueller, Grinsztajn and Steinwart, Better by default, NeurIPS 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import InputLayer, MLPRegressor
    >>> rng = np.random.RandomState(0)
    >>> X = np.c_[rng.randn(500), rng.randint(0, 3, 500)]
    >>> y = np.where(X[:, 1] == 2, 1.0, X[:, 0])
    >>> inputs = InputLayer(categorical_features=[1], numeric_embedding='pbld')
    >>> regressor = MLPRegressor(input_layer=inputs, max_iter=500, random_state=0).fit(X, y)
    >>> regressor.coefs_[0].shape  # 4 inputs from the number, and one for each category
    (7, 100)
    """

    categorical_features: Sequence[bool] | Sequence[int] | Sequence[str] | None = None
    n_categories: Literal["auto"] | Sequence[int] = "auto"
    one_hot_max_size: int = 9
    embedding_size: int = 8
    numeric_embedding: str | None = None
    n_frequencies: int = 16
    frequency_scale: float = 0.1
    numeric_embedding_size: int = 4
    n_bins: int = 16
    bin_edges: Literal["quantile"] | Sequence[ArrayLike] = "quantile"
    scaling: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("one_hot_max_size", 0), ("embedding_size", 1), ("n_frequencies", 1),
            ("numeric_embedding_size", 2), ("n_bins", 1),
        ):  # fmt: skip
            self._check_whole(name, getattr(self, name), least)
        if self.n_frequencies > MOST_FREQUENCIES_OF_NUMBER:
            raise ValueError(
                f"n_frequencies must be at most {MOST_FREQUENCIES_OF_NUMBER}, got "
                f"{self.n_frequencies}"
            )
        if not isinstance(self.frequency_scale, Real) or not 0 <= self.frequency_scale < np.inf:
            raise ValueError(f"frequency_scale must be a number >= 0, got {self.frequency_scale!r}")
        if self.numeric_embedding not in NUMERIC_EMBEDDINGS:
            raise ValueError(
                f"numeric_embedding must be one of {list(NUMERIC_EMBEDDINGS)}, got "
                f"{self.numeric_embedding!r}"
            )
        if not isinstance(self.scaling, bool | np.bool_):
            raise TypeError(f"scaling must be True or False, got {self.scaling!r}")

    @staticmethod
    def _check_whole(name: str, value: Any, least: int) -> None:
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")

    def of_columns(self, n_columns: int, names: Any = None, X: Any = None) -> "InputLayer":
        """Return the same with indices and numbers of categories for a table of columns.

        Parameters
        ----------
        n_columns : int
            Number of columns of X.
        names : array-like of str, default=None
            Names of the columns.
        X : ndarray of shape (n_rows, n_columns), default=None
            The rows from which numbers of categories are taken.

        Returns
        -------
        InputLayer

        Examples
        --------
        >>> from fastmlp import InputLayer
        >>> InputLayer(['b'], [4]).of_columns(3, names=['a', 'b', 'c']).categorical_features
        (1,)
        """
        indices = self._indices(n_columns, names)
        sizes: list[int]
        if not isinstance(self.n_categories, str):
            sizes = list(self.n_categories)
            for size in sizes:
                self._check_whole("n_categories: each entry", size, 1)
            if len(sizes) != len(indices):
                raise ValueError(
                    f"n_categories must have an entry for each of the {len(indices)} "
                    f"categorical_features, got {len(sizes)}"
                )
        elif self.n_categories != "auto":
            raise ValueError(f"n_categories must be 'auto' or a list, got {self.n_categories!r}")
        elif X is None and indices:
            raise ValueError("n_categories must be a list here: there are no rows to take it from")
        else:
            check_codes(X, indices, names)
            sizes = [max(1, int(X[:, j].max()) + 1) for j in indices]
        if max(sizes, default=0) > MOST_CATEGORIES:
            raise ValueError(
                f"n_categories must be at most {MOST_CATEGORIES}, up to which codes are exact in "
                f"float32, got {max(sizes)}; number the categories with OrdinalEncoder"
            )
        edges = self._edges([j for j in range(n_columns) if j not in indices], X)
        return replace(
            self,
            categorical_features=tuple(indices),
            n_categories=tuple(map(int, sizes)),
            bin_edges=edges,
        )

    def _edges(self, numbers: Sequence[int], X: Any) -> tuple[tuple[float, ...], ...]:
        """Return the edges of the bins of each number; none if there are no bins."""
        if self.numeric_embedding != "piecewise_linear":
            return ()
        if isinstance(self.bin_edges, str):
            if self.bin_edges != "quantile":
                raise ValueError(f"bin_edges must be 'quantile' or a list, got {self.bin_edges!r}")
            if X is None:
                raise ValueError("bin_edges must be a list here: there are no rows to take it from")
            return tuple(quantile_edges(X[:, j], self.n_bins) for j in numbers)
        given = [np.asarray(some, dtype=np.float64).ravel() for some in self.bin_edges]
        if len(given) != len(numbers):
            raise ValueError(
                f"bin_edges must have an entry for each of the {len(numbers)} numbers, got "
                f"{len(given)}"
            )
        for some in given:
            if not (np.isfinite(some).all() and (np.diff(some) > 0).all()):
                raise ValueError(f"bin_edges must be finite and ascending, got {some.tolist()}")
        return tuple(tuple(some.tolist()) for some in given)

    def _indices(self, n_columns: int, names: Any) -> list[int]:
        """Return the indices of the categorical features."""
        given = self.categorical_features
        if given is None:
            return []
        array = np.asarray(given)
        allowed = "categorical_features must be None, a mask, indices or names of columns"
        if array.ndim != 1:
            raise ValueError(f"{allowed}, got {given!r}")
        if array.dtype.kind == "b" and len(array) != n_columns:
            raise ValueError(f"{allowed}: a mask has {n_columns} entries, got {len(array)}")
        if array.dtype.kind == "b":
            return [int(j) for j in np.flatnonzero(array)]
        if array.dtype.kind in "UO" and len(array):
            known = [] if names is None else list(names)
            missing = [name for name in given if name not in known]
            if missing:
                raise ValueError(f"{allowed}: X has no column named {missing[0]!r}")
            array = np.array([known.index(name) for name in array])
        if array.dtype.kind not in "iu" and len(array):
            raise ValueError(f"{allowed}, got {given!r}")
        if len(array) and not (array >= -n_columns).all() & (array < n_columns).all():
            raise ValueError(f"{allowed}: X has {n_columns} columns, got {given!r}")
        indices = [int(j) % n_columns for j in array]
        if len(set(indices)) < len(indices):
            raise ValueError(f"{allowed}, each of them once, got {given!r}")
        return indices


def quantile_edges(column: Any, n_bins: int) -> tuple[float, ...]:
    """Return the edges of bins between quantiles; none if the column has at most two values."""
    edges = np.unique(np.quantile(column, np.linspace(0, 1, n_bins + 1)))
    return tuple(edges.tolist()) if len(edges) > 2 else ()


def check_codes(X: Any, indices: Sequence[int], names: Any = None) -> None:
    """Raise unless these columns of an array hold whole numbers."""
    for j in indices:
        column = X[:, j]
        is_bad = column != np.floor(column)
        if is_bad.any():
            name = f"column {j}" if names is None else repr(names[j])
            raise ValueError(
                f"X must hold codes of categories in {name}, which are whole numbers, got "
                f"{column[is_bad.argmax()]!r}"
            )


class Columns:
    """The core's description of an input layer.

    Parameters
    ----------
    layer : InputLayer
        With indices and numbers of categories; see `InputLayer.of_columns`.
    n_columns : int

    Attributes
    ----------
    table : ndarray of COLUMN
        How each column of X is used.
    bins : ndarray of shape (2, n_bins)
        The lower edges and 1 / the widths of the bins of all numbers.
    coded : tuple of int
        The columns that hold codes.
    n_dense : int
        Number of inputs that are numbers: the first rows of the first weight matrix.
    n_inputs : int
        Number of rows of the first weight matrix: ``n_dense``, and one for each one-hot code.
    n_slots : int
        Numbers in a row of a^0: ``n_dense``, and one for each one-hot column.
    shapes : tuple of (int, int)
        The shapes of the matrices of cosines, of embeddings and of scales; (0, 0) if there is none.
    """

    def __init__(self, layer, n_columns):
        self.layer = layer
        self.coded = layer.categorical_features
        n_linear = layer.numeric_embedding_size - 1 if layer.numeric_embedding == "pbld" else 0
        size_of_cosines = n_linear + 1 if n_linear else layer.n_frequencies
        sizes = dict(zip(self.coded, layer.n_categories, strict=True))
        numbers = [j for j in range(n_columns) if j not in sizes]
        edges = dict(zip(numbers, map(np.array, layer.bin_edges), strict=False))
        kinds = [self._kind(sizes.get(j), edges.get(j, ())) for j in range(n_columns)]
        self.bins = np.hstack([np.zeros((2, 0)), *(
            [some[:-1], 1 / np.diff(some)] for some in edges.values() if len(some) > 1
        )])  # fmt: skip
        self.table = np.zeros(n_columns, dtype=COLUMN)
        self.table["kind"] = [COLUMN_KINDS[kind] for kind in kinds]
        self.table["n_codes"] = [sizes.get(j, 0) for j in range(n_columns)]
        size_of = {
            "number": 1, "cosines": size_of_cosines, "one_hot": 1,
            "embedding": layer.embedding_size,
        }  # fmt: skip
        n_dense = n_rows = n_codes = n_bins = 0
        for j, (column, kind) in enumerate(zip(self.table, kinds, strict=True)):
            column["n"] = len(edges[j]) if kind == "bins" else size_of[kind]
            if kind == "one_hot":
                continue
            column["place"] = n_dense
            n_dense += int(column["n"])
            if kind == "bins":
                column["row"], n_bins = n_bins, n_bins + len(edges[j]) - 1
            if kind == "cosines":
                column["row"], n_rows = n_rows, n_rows + 1
                column["n_frequencies"], column["n_linear"] = layer.n_frequencies, n_linear
            if kind == "embedding":
                column["row"], n_codes = n_codes, n_codes + int(column["n_codes"])
        self.n_dense = self.n_slots = self.n_inputs = n_dense
        for column, kind in zip(self.table, kinds, strict=True):
            if kind == "one_hot":
                column["place"], column["row"] = self.n_slots, self.n_inputs
                self.n_slots += 1
                self.n_inputs += int(column["n_codes"])
        size = (2 + n_linear) * layer.n_frequencies + n_linear
        self.shapes = (
            (n_rows, size if n_rows else 0),
            (n_codes, layer.embedding_size if n_codes else 0),
            (int(layer.scaling), self.n_inputs if layer.scaling else 0),
        )

    def _kind(self, n_categories, edges):
        if n_categories is None and len(edges) > 1:
            return "bins"
        if n_categories is None:
            return "cosines" if self.layer.numeric_embedding in ("cosine", "pbld") else "number"
        return "one_hot" if n_categories <= self.layer.one_hot_max_size else "embedding"

    def of_kind(self, kind):
        """Return the columns of X of a kind, as (index, row of the table) pairs."""
        number = COLUMN_KINDS[kind]
        return [(j, self.table[j]) for j in np.flatnonzero(self.table["kind"] == number)]

    def expand(self, a, X):
        """Return all inputs of the first layer, one for each row of its weights.

        ``a`` holds the numbers of a row of a^0. The result is for inspection: the core never
        needs the zeros.
        """
        inputs = np.zeros((len(a), self.n_inputs), dtype=a.dtype)
        inputs[:, : self.n_dense] = a[:, : self.n_dense]
        for j, column in self.of_kind("one_hot"):
            codes = X[:, j]
            rows = np.flatnonzero((codes >= 0) & (codes < column["n_codes"]))
            inputs[rows, int(column["row"]) + codes[rows].astype(int)] = a[rows, column["place"]]
        return inputs
