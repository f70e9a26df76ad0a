"""Data frames: conversions and error messages beyond scikit-learn's checks.

pandas, polars and pyarrow are supported without being imported.
"""

import reprlib

import numpy as np

MOST_SHOWN = 10


def sparse_as(dtype, X):
    """Convert a pandas data frame of sparse columns to ``dtype``, with 0 as fill value.

    This is needed because scikit-learn's checks do not convert sparse booleans, and reject sparse
    columns of different types. Anything else is returned unchanged.
    """
    if not hasattr(X, "sparse") or not len(getattr(X, "dtypes", ())):
        return X
    sparse_dtype = type(X.dtypes.iloc[0])
    return X.astype(sparse_dtype(dtype, 0))


def naming_columns(error, X):
    """Add the names of the columns of X that are not numeric to an error of their conversion."""
    if "contains NaN" in str(error):  # the conversion itself has succeeded
        return error
    if "too large for dtype('float32')" in str(error):
        return ValueError(f"{error} (dtype='float64' holds larger ones)")
    columns = _columns_without_numbers(X)
    if not columns:
        return error
    shown = ", ".join(
        f"{name!r} (as {reprlib.repr(value)})" for name, value in columns[:MOST_SHOWN]
    )
    more = ", ..." if len(columns) > MOST_SHOWN else ""
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(
        f"{error}. X has {len(columns)} column(s) that are no numbers: {shown}{more}; encode them, "
        "for instance by sklearn.preprocessing.OneHotEncoder in a ColumnTransformer, or leave them "
        "out."
    )


def _columns_without_numbers(X):
    """Return (name or index, first non-numeric value) of each non-numeric column."""
    try:
        rows = np.asarray(X)
    except Exception:  # a foreign type may raise anything; then no columns can be named
        return []
    if rows.ndim != 2 or rows.dtype.kind not in "OUS":
        return []
    names = getattr(X, "column_names", getattr(X, "columns", range(rows.shape[1])))
    found = [(name, _first_without_number(rows[:, j])) for j, name in enumerate(names)]
    return [(name, value[0]) for name, value in found if value]


def _first_without_number(column):
    """Return a list with the first value that is not numeric, or an empty list."""
    try:
        column.astype(np.float64)
    except (TypeError, ValueError):
        return [value for value in column.tolist() if not _is_number(value)][:1]
    return []


def _is_number(value):
    """Whether the value converts to a number. NumPy converts None to NaN."""
    try:
        float(np.nan if value is None else value)
    except (TypeError, ValueError):
        return False
    return True
