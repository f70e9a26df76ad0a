"""Data frames: what scikit-learn's checks leave undone or do not explain.

pandas, polars and pyarrow are taken as they come, and never imported.
"""

import reprlib

import numpy as np

MOST_SHOWN = 10


def sparse_as(dtype, X):
    """A pandas frame of sparse columns of any kind as one of ``dtype`` that fills with 0.

    scikit-learn's checks leave sparse booleans as they are, and refuse sparse columns of different
    types. All else is returned as it is.
    """
    if not hasattr(X, "sparse") or not len(getattr(X, "dtypes", ())):
        return X
    sparse_dtype = type(X.dtypes.iloc[0])
    return X.astype(sparse_dtype(dtype, 0))


def naming_columns(error, X):
    """The error of a conversion to numbers, with the columns of X that it comes from, if any."""
    if "contains NaN" in str(error):  # the conversion has succeeded
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
    """(name or number, first value that is no number) of each such column."""
    try:
        rows = np.asarray(X)
    except Exception:  # whatever a foreign type raises: there are no columns to be named
        return []
    if rows.ndim != 2 or rows.dtype.kind not in "OUS":
        return []
    names = getattr(X, "column_names", getattr(X, "columns", range(rows.shape[1])))
    found = [(name, _first_without_number(rows[:, j])) for j, name in enumerate(names)]
    return [(name, value[0]) for name, value in found if value]


def _first_without_number(column):
    """A list of the first value that does not convert to a number, or an empty one."""
    try:
        column.astype(np.float64)
    except (TypeError, ValueError):
        return [value for value in column.tolist() if not _is_number(value)][:1]
    return []


def _is_number(value):
    """Whether it converts to a number, as None does in an array."""
    try:
        float(np.nan if value is None else value)
    except (TypeError, ValueError):
        return False
    return True
