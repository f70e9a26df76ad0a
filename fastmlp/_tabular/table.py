"""Any table as the numbers and category codes that a network reads."""

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np

from fastmlp._tabular.columns import Category, Date, Number
from fastmlp._tabular.reading import MOST_SHOWN, ArrayTable, open_table, shown
from fastmlp._tabular.scaling import MAPS

# Arrays with at most so many numbers are encoded in one go, larger ones column by column.
MOST_NUMBERS_IN_ONE_GO = 20_000


@dataclass(eq=False)
class Encoded:
    """A table as a network reads it.

    Attributes
    ----------
    numbers : ndarray of float32, shape (n_rows, n_numbers)
    codes : ndarray of int32, shape (n_rows, n_categories)
        From 0 to the cardinality - 1; -1 for a value that no training row had. They are float32
        after `joined`.
    matrix : ndarray of float32, shape (n_rows, n_numbers + n_categories), or None
        The matrix that both are views of, after `joined`; it has at least one column.
    """

    numbers: np.ndarray
    codes: np.ndarray
    matrix: np.ndarray | None = None

    @property
    def n_rows(self):
        return len(self.numbers)

    def part(self, rows):
        """Return some of the rows, given by a slice."""
        return Encoded(self.numbers[rows], self.codes[rows])

    def followed_by(self, other):
        """Return these rows and those of another table behind them."""
        return Encoded(
            np.concatenate([self.numbers, other.numbers]), np.concatenate([self.codes, other.codes])
        )

    def joined(self):
        """Return the same in one matrix, which networks without ranks read as it is."""
        n, k = self.numbers.shape[1], self.codes.shape[1]
        matrix = np.zeros((self.n_rows, max(n + k, 1)), dtype=np.float32)
        matrix[:, :n], matrix[:, n : n + k] = self.numbers, self.codes
        return Encoded(matrix[:, :n], matrix[:, n : n + k], matrix)


class TableEncoder:
    """Learn the columns of a table and encode tables with these columns.

    Numbers are scaled. Missing ones are 0, and a further number says where they are missing.
    Strings and truth values are categories, and so are the columns that are marked; a missing value
    is a category of its own. A date becomes seconds and, where they vary, the categories month,
    weekday and hour; a duration becomes seconds. What does not vary in the training rows is left
    out.

    Parameters
    ----------
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        The columns of numbers that are categories: those of which the data frame says so, none, or
        those of a mask, of indices or of names.
    scaling : {"quantile", "robust"}, default="quantile"
        The map of the numbers, ``QuantileMap`` or ``RobustMap``.
    owner : str, default="TableEncoder"
        The name of the estimator for messages.

    Attributes
    ----------
    number_names, category_names : list of str
        What the columns of ``Encoded.numbers`` and ``Encoded.codes`` are.
    cardinalities : ndarray of int, shape (n_categories,)
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only if the names of the columns are strings.
    """

    def __init__(self, categorical_features="from_dtype", scaling="quantile", owner="TableEncoder"):
        self.categorical_features = categorical_features
        self.scaling = scaling
        self.owner = owner

    def fit(self, X):
        """Learn the columns of X; return self."""
        self._learn(open_table(X))
        return self

    def fit_transform(self, X):
        """Learn the columns of X; return X as ``Encoded``."""
        table = open_table(X)
        self._learn(table)
        return self._encode(table, range(table.n_columns))

    def fit_shared(self, table, columns):
        """Learn the columns of a table whose rows are those of several processes.

        ``columns`` returns the column to learn from. It gets the name of a column, a function that
        reads it, and whether it is marked as one of categories.
        """
        self._learn(table, columns)
        return self

    def transform(self, X):
        """Return X as ``Encoded``. Its columns are found by their names, if they have names."""
        table = open_table(X)
        order = self._places_in(table)
        if self._in_one_go is not None and is_small_array(table):
            return self._in_one_go.encode(table.X)
        return self._encode(table, order)

    def _learn(self, table, shared=None):
        if self.scaling not in MAPS:
            raise ValueError(f"scaling must be one of {list(MAPS)}, got {self.scaling!r}")
        marked = marked_columns(self.categorical_features, table)
        by_dtype = is_from_dtype(self.categorical_features)
        columns = []
        for j, is_marked in enumerate(marked.tolist()):
            name = f"x{j}" if table.names is None else table.names[j]
            if shared is None:
                column = table.column(j)
            else:
                column = shared(name, partial(table.column, j), is_marked=is_marked)
            is_category = is_marked or (by_dtype and column.is_category)
            columns.append(learned(name, column, is_category, MAPS[self.scaling]))
        self.hold(columns, table.names)

    def hold(self, columns, names):
        """Take over what has been learned: the columns, and their names or None."""
        self.columns = columns
        self.n_features_in_ = len(columns)
        vars(self).pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)
        self.number_names = [name for column in columns for name in column.number_names]
        self.category_names = [name for column in columns for name in column.category_names]
        self.cardinalities = np.array([n for column in columns for n in column.cardinalities], int)
        are_numbers = all(isinstance(c, Number) and c.kind in NUMERIC for c in columns)
        # derived from the columns, for the speed of single rows
        self._in_one_go = AllNumbers(columns) if are_numbers else None

    def _encode(self, table, order):
        numbers = np.empty((table.n_rows, len(self.number_names)), np.float32)
        codes = np.empty((table.n_rows, len(self.category_names)), np.int32)
        n, c = 0, 0
        for learned_column, j in zip(self.columns, order, strict=True):
            column = table.column(j)
            check_kind(learned_column, column, j if table.names is None else table.names[j])
            learned_column.write(column, numbers[:, n:], codes[:, c:])
            n += len(learned_column.number_names)
            c += len(learned_column.category_names)
        return Encoded(numbers, codes)

    def _places_in(self, table):
        """Return the place of each learned column in the table."""
        names = vars(self).get("feature_names_in_")
        if names is None or table.names is None:
            if table.names is not None:
                self._warn(
                    f"X has feature names, but {self.owner} was fitted without feature names"
                )
            if names is not None:
                self._warn(
                    f"X does not have valid feature names, but {self.owner} was fitted with "
                    "feature names"
                )
            if table.n_columns != self.n_features_in_:
                raise ValueError(
                    f"X has {table.n_columns} features, but {self.owner} is expecting "
                    f"{self.n_features_in_} features as input"
                )
            return range(table.n_columns)
        if table.names == names.tolist():
            return range(table.n_columns)
        places = {name: j for j, name in enumerate(table.names)}
        check_names(names, places)
        return [places[name] for name in names]

    def _warn(self, message):
        warnings.warn(message, UserWarning, stacklevel=4)


NUMERIC = ("numbers", "truth values", "nothing")


def learned(name, column, is_category, scaling):
    """Return what is learned from a column."""
    if is_category or column.kind in ("strings", "truth values"):
        return Category.of(name, column)
    if column.kind == "dates":
        return Date.of(name, column, scaling)
    return Number.of(name, column, scaling)


def check_kind(learned_column, column, label):
    """Raise an error if the column holds another kind of values than the training rows."""
    before, now = learned_column.kind, column.kind
    if before == now or "nothing" in (before, now) or {before, now} <= set(NUMERIC):
        return
    raise TypeError(f"Column {label!r} held {before} in fit, now {now}")


def check_names(names, given):
    """Raise an error if columns are absent or if there are others."""
    learned_from = set(names)
    unseen = [name for name in given if name not in learned_from]
    absent = [name for name in names if name not in given]
    message = ""
    for title, found in (
        ("unseen at fit time", unseen),
        ("seen at fit time, yet now missing", absent),
    ):
        if found:
            listed = found[:MOST_SHOWN] + ["..."] * (len(found) > MOST_SHOWN)
            message += f"Feature names {title}:\n" + "".join(f"- {name}\n" for name in listed)
    if message:
        raise ValueError(
            f"The feature names should match those that were passed during fit.\n{message}"
        )


def marked_columns(categorical_features, table):
    """Return a mask of the columns that ``categorical_features`` lists."""
    mask = np.zeros(table.n_columns, bool)
    if categorical_features is None or is_from_dtype(categorical_features):
        return mask
    listed = np.asarray(categorical_features)
    if listed.ndim != 1 or (listed.size and listed.dtype.kind not in "biuUO"):
        raise ValueError(
            "categorical_features must be 'from_dtype', None, or a mask, indices or names of "
            f"columns, got {categorical_features!r}"
        )
    if listed.dtype.kind == "b":
        if len(listed) != len(mask):
            raise ValueError(
                f"categorical_features is a mask of {len(listed)} columns, but X has {len(mask)}"
            )
        return listed
    if listed.dtype.kind in "UO":
        places = {name: j for j, name in enumerate(table.names or ())}
        absent = [name for name in listed.tolist() if name not in places]
        if absent:
            raise ValueError(
                f"categorical_features has names that X does not have: {shown(absent)}"
            )
        listed = [places[name] for name in listed.tolist()]
    elif listed.size and not (0 <= listed.min() and listed.max() < len(mask)):
        raise ValueError(
            f"categorical_features must have indices from 0 to {len(mask) - 1}, "
            f"got {listed.tolist()}"
        )
    mask[np.asarray(listed, int)] = True
    return mask


def is_from_dtype(categorical_features):
    return isinstance(categorical_features, str) and categorical_features == "from_dtype"


def is_small_array(table):
    """Whether the table is a small array of NumPy's numbers."""
    return (
        isinstance(table, ArrayTable)
        and table.X.dtype.kind in "biuf"
        and table.X.size <= MOST_NUMBERS_IN_ONE_GO
    )


class AllNumbers:
    """A table of nothing but numbers, encoded in one go: a single row takes microseconds."""

    def __init__(self, columns):
        widths = [len(column.number_names) for column in columns]
        ends = np.cumsum(widths)
        self.n_numbers = sum(widths)
        self.varying = np.flatnonzero([column.map is not None for column in columns])
        self.shown_missing = np.flatnonzero([column.shows_missing for column in columns])
        self.places_shown = ends[self.shown_missing] - 1
        self.places = (ends - widths)[self.varying]
        maps = [columns[j].map for j in self.varying]
        self.map = type(maps[0]).stack(maps) if maps else np.asarray

    def encode(self, X):
        """Return an array of numbers as ``Encoded``, to the same bits as column by column."""
        X = np.asarray(X, np.float64)
        missing = np.isnan(X)
        numbers = np.empty((len(X), self.n_numbers), np.float32)
        numbers[:, self.places] = np.where(
            missing[:, self.varying], 0.0, self.map(X[:, self.varying])
        )
        numbers[:, self.places_shown] = missing[:, self.shown_missing]
        return Encoded(numbers, np.empty((len(X), 0), np.int32))
