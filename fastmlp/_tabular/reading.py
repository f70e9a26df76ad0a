"""Reading any kind of table column by column.

``open_table`` accepts data frames of pandas, polars and pyarrow, arrays, lists of rows and sparse
matrices. None of the libraries of data frames is imported. A column is read as one of few kinds, so
that equal tables give equal columns, whichever library holds them.
"""

import datetime
import numbers
import reprlib
import sys
from collections import Counter
from decimal import Decimal

import narwhals.stable.v2 as nw
import numpy as np
import scipy.sparse

MOST_SHOWN = 10

# So many numbers are looked up among sorted ones, fewer one by one.
FEWEST_ROWS_TO_SORT = 200


class Column:
    """The values of a column.

    Attributes
    ----------
    kind : {"numbers", "truth values", "strings", "dates", "durations", "nothing"}
        "nothing" if all values are missing.
    values : ndarray of float64 or list of str
        NaN or None where missing. Truth values are 0 and 1; dates and durations are in seconds.
        Whole numbers from 2^53 on are rounded, so that neighbours may be equal.
    missing : ndarray of bool
    wall_clock : ndarray of datetime64[us] or None
        Dates as the clock on the wall shows them, without a time zone.
    is_category : bool
        Whether the table says so.
    """

    def __init__(self, kind, values, missing, wall_clock=None, is_category=False):
        self.kind = "nothing" if missing.all() else kind
        self.values, self.missing = values, missing
        self.wall_clock, self.is_category = wall_clock, is_category

    def distinct(self):
        """Return the sorted values that occur, without the missing ones, as a list."""
        if isinstance(self.values, list):
            return sorted(set(self.values) - {None})
        return np.unique(self.values[~self.missing]).tolist()

    def codes(self, code_of):
        """Return the code of each value; -1 for those that have none.

        Parameters
        ----------
        code_of : dict
            From values to codes, 0 for the least value, 1 for the next, and so on.
        """
        if isinstance(self.values, list) or len(self.values) < FEWEST_ROWS_TO_SORT:
            values = self.values if isinstance(self.values, list) else self.values.tolist()
            found = (code_of.get(value, -1) for value in values)
            return np.fromiter(found, np.int32, len(values))
        known = np.array(list(code_of), np.float64)
        codes = np.searchsorted(known, self.values).clip(max=len(known) - 1)
        return np.where(known[codes] == self.values, codes, -1)


class PolarsStrings(Column):
    """A column of strings of polars, which looks up its values itself.

    A list of Python's strings is made only when needed (see `polars-strings` in bench/figures.md).
    """

    wall_clock, is_category = None, False

    def __init__(self, series):
        self.series = series
        self.missing = series.is_null().to_numpy()
        self.kind = "nothing" if self.missing.all() else "strings"

    @property
    def values(self):
        return self.series.to_list()

    def distinct(self):
        return sorted(self.series.drop_nulls().unique().to_list())

    def codes(self, code_of):
        return self.series.to_native().replace_strict(code_of, default=-1).to_numpy()


def open_table(X):
    """Return X as a table with ``n_rows``, ``n_columns``, ``names`` (or None) and ``column(j)``."""
    if scipy.sparse.issparse(X):
        table = SparseTable(X)
    elif isinstance(X, np.ndarray):
        table = ArrayTable(X)
    else:
        native = nw.from_native(_with_distinct_names(X), allow_series=True, pass_through=True)
        if isinstance(native, nw.LazyFrame):
            raise TypeError("X is a lazy data frame; pass X.collect()")
        table = FrameTable(native) if isinstance(native, nw.DataFrame) else ArrayTable(_rows(X))
    shape = table.n_rows, table.n_columns
    if 0 in shape:
        what, there = ("sample", "rows") if shape[0] == 0 else ("feature", "columns")
        raise ValueError(
            f"Found array with 0 {what}(s) (shape={shape}) while a minimum of 1 is required: X has "
            f"no {there}"
        )
    return table


def _with_distinct_names(X):
    """Return X, or raise an error if several of its columns have one name."""
    is_lazy = hasattr(X, "collect")  # to ask such a data frame for its names would be work
    names = () if is_lazy else getattr(X, "column_names", getattr(X, "columns", ()))
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ValueError(
            f"The names of X's columns must differ, but these are repeated: {shown(twice)}"
        )
    return X


def shown(names):
    """Return at most ten names for a message."""
    more = ", ..." if len(names) > MOST_SHOWN else ""
    return ", ".join(repr(name) for name in names[:MOST_SHOWN]) + more


def _rows(X):
    """Return what is neither a data frame nor an array as an array."""
    try:
        rows = np.asarray(X)
        if rows.dtype.kind in "US":  # NumPy has made strings of numbers among strings
            rows = np.array(X, dtype=object)
    except ValueError as error:
        raise ValueError(f"X must be a table with rows of equal lengths: {error}") from error
    return rows


class FrameTable:
    """A data frame, through narwhals."""

    def __init__(self, frame):
        self.frame = frame
        self.n_rows, self.n_columns = frame.shape
        self.columns = list(frame.columns)
        others = [name for name in self.columns if not isinstance(name, str)]
        if 0 < len(others) < len(self.columns):
            raise TypeError(
                "Feature names are only supported if all input features have string names, but X "
                f"also has {shown(others)}"
            )
        self.names = None if others else self.columns

    def column(self, j):
        name = self.columns[j]
        series = self.frame.get_column(name)
        dtype = series.dtype
        if dtype in (nw.Categorical, nw.Enum):
            values = series.to_numpy().astype(object)
            values[series.is_null().to_numpy()] = None  # pyarrow fills in another value
            return _column_of_objects(name, values.tolist(), is_category=True)
        if dtype in (nw.Int128, nw.UInt128):  # NumPy has no such type
            return _column_of_objects(name, series.to_list())
        if dtype == nw.String and series.implementation.is_polars():
            return PolarsStrings(series)
        values = series.to_numpy()
        if values.ndim != 1:  # lists of one length, structures
            raise not_a_value(name, series.to_list()[0])
        column = _column_of_array(name, values)
        if dtype == nw.Datetime and dtype.time_zone is not None:
            column.wall_clock = _microseconds(series.dt.replace_time_zone(None).to_numpy())
        return column


class ArrayTable:
    """An array of two dimensions."""

    names = None

    def __init__(self, X):
        if X.dtype.kind == "c":
            raise ValueError(f"Complex data not supported: X has the dtype {X.dtype}")
        if X.ndim < 2:
            found = "1D array" if X.ndim else "scalar array"
            raise ValueError(
                f"Expected 2D array, got {found} instead:\narray={reprlib.repr(X.tolist())}.\n"
                "Reshape your data either using array.reshape(-1, 1) if your data has a single "
                "feature or array.reshape(1, -1) if it contains a single sample."
            )
        if X.ndim > 2:
            raise ValueError(f"Found array with dim {X.ndim}, while dim <= 2 is required for X")
        self.X = np.asarray(X)
        if np.ma.is_masked(X):
            self.X = self.X.astype(object)
            self.X[X.mask] = None
        self.n_rows, self.n_columns = X.shape

    def column(self, j):
        return _column_of_array(j, self.X[:, j])


class SparseTable:
    """A sparse matrix, its columns read one by one."""

    names = None

    def __init__(self, X):
        if X.dtype.kind == "c":
            raise ValueError(f"Complex data not supported: X has the dtype {X.dtype}")
        if X.ndim != 2:
            raise ValueError(
                f"Expected 2D array, got {X.ndim}D sparse array instead. Reshape your data."
            )
        self.X = X.tocsc()
        self.n_rows, self.n_columns = X.shape

    def column(self, j):
        part = slice(self.X.indptr[j], self.X.indptr[j + 1])
        values = np.zeros(self.n_rows)
        np.add.at(values, self.X.indices[part], self.X.data[part])  # an entry may be given in parts
        return _column_of_numbers("numbers", values)


def _column_of_array(name, values):
    """Read an array of one dimension by its dtype."""
    kind = values.dtype.kind
    if kind in "iuf":
        return _column_of_numbers("numbers", values)
    if kind == "b":
        return _column_of_numbers("truth values", values)
    if kind == "M":
        wall_clock = _microseconds(values)
        return Column("dates", *_seconds(wall_clock), wall_clock)
    if kind == "m":
        return Column("durations", *_seconds(values.astype("timedelta64[us]")))
    if kind in "US":
        return Column("strings", values.astype(str).tolist(), np.zeros(len(values), bool))
    if kind == "c":
        raise ValueError(
            f"Complex data not supported: column {name!r} has the dtype {values.dtype}"
        )
    if kind not in "OT":
        raise TypeError(
            f"Column {name!r} has the dtype {values.dtype}, which holds no numbers, "
            "strings, truth values, dates or durations"
        )
    return _column_of_objects(name, values.tolist())


def _column_of_numbers(kind, values):
    values = values.astype(np.float64)
    return Column(kind, values, np.isnan(values))


def _microseconds(dates):
    return dates.astype("datetime64[us]")


def _seconds(times):
    """Return dates or durations in seconds, NaN where missing, and where that is."""
    missing = np.isnat(times)
    # From whole microseconds: nanoseconds are not exact in float64, and libraries differ in units.
    return np.where(missing, np.nan, times.astype(np.int64) / 1e6), missing


def _missing(values):
    """Return where a list of objects has None, NaN, pandas.NA or NaT."""
    tests = {type_: _test_for_missing(type_) for type_ in set(map(type, values))}
    tests = {type_: test for type_, test in tests.items() if test is not None}
    found = (type(v) in tests and tests[type(v)](v) for v in values)
    return np.fromiter(found, bool, len(values)) if tests else np.zeros(len(values), bool)


def _test_for_missing(type_):
    """Return what tells whether a value of this type is missing, or None if none ever is."""
    if type_ is type(None) or type_.__name__ in ("NAType", "NaTType"):  # of pandas
        return lambda value: True
    if issubclass(type_, Decimal):
        return type_.is_nan
    if issubclass(type_, float | np.floating | np.datetime64 | np.timedelta64):
        return lambda value: bool(value != value)
    return None


# The first that fits: pandas' and NumPy's types are derived from these in surprising ways.
KINDS = (
    ("durations", (datetime.timedelta, np.timedelta64)),
    ("truth values", (bool, np.bool_)),
    ("complex numbers", (complex, np.complexfloating)),
    ("numbers", (numbers.Number,)),
    ("strings", (str,)),
    ("dates", (datetime.date, np.datetime64)),
)


def _kind_of(type_):
    return next((kind for kind, types in KINDS if issubclass(type_, types)), "objects")


def _column_of_objects(name, values, is_category=False):
    """Read a list of any objects by what it holds."""
    missing = _missing(values)
    if missing.any():
        values = [None if m else v for v, m in zip(values, missing.tolist(), strict=True)]
    kinds = {_kind_of(type_) for type_ in set(map(type, values)) - {type(None)}}
    if kinds == {"objects"} and is_category:  # such as the intervals of pandas.cut
        values, kinds = [None if v is None else str(v) for v in values], {"strings"}
    kind = _only_kind(name, kinds, values)
    if kind == "strings":
        column = Column(kind, values, missing)
    elif kind == "dates":
        column = _column_of_dates(values, missing)
    elif kind == "durations":
        column = _column_of_array(name, np.array(values, "timedelta64[us]"))
    else:
        column = _column_of_numbers(kind, _floats(values))
    column.is_category = is_category
    return column


def _only_kind(name, kinds, values):
    if not kinds:
        return "nothing"
    if len(kinds) == 1 and kinds <= {"numbers", "truth values", "strings", "dates", "durations"}:
        return next(iter(kinds))
    examples = {_kind_of(type(v)): v for v in reversed(values) if v is not None}
    if "objects" in kinds:
        raise not_a_value(name, examples["objects"])
    if "complex numbers" in kinds:
        raise ValueError(
            f"Complex data not supported: column {name!r} holds {examples['complex numbers']!r}"
        )
    if kinds == {"numbers", "truth values"}:
        return "numbers"
    found = " and ".join(
        f"{kind} (such as {reprlib.repr(examples[kind])})" for kind in sorted(kinds)
    )
    raise TypeError(f"Column {name!r} holds {found}; all its values must be of one kind")


def not_a_value(name, value):
    """Return the error of a column that holds lists or the like."""
    return TypeError(
        f"Column {name!r} holds {reprlib.repr(value)} of type {type(value).__name__}; each "
        "argument must be a string, a number, a truth value, a date or a duration"
    )


def _floats(values):
    try:
        return np.array([np.nan if v is None else v for v in values], np.float64)
    except OverflowError:  # whole numbers of hundreds of digits
        most = sys.float_info.max
        return np.array([np.nan if v is None else max(min(v, most), -most) for v in values], float)


def _column_of_dates(values, missing):
    """Read dates, each with or without a time of day and a time zone."""
    offsets = [getattr(v, "utcoffset", lambda: None)() for v in values]
    wall_clock = np.array(
        [v.replace(tzinfo=None) if hasattr(v, "tzinfo") else v for v in values], "datetime64[us]"
    )
    offsets = np.array([offset or datetime.timedelta() for offset in offsets], "timedelta64[us]")
    return Column("dates", _seconds(wall_clock - offsets)[0], missing, wall_clock)
