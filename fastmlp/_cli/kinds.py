"""Kinds of columns: found in strings, and read as the kind that a model has learned.

A kind is one of those of the estimators for tables: "numbers", "truth values", "strings", "dates",
"durations" or "nothing".
"""

import polars as pl

# What stands for a missing value.
MARKS_OF_MISSING = (
    "", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "null", "NULL", "Null",
)  # fmt: skip

TRUTH_VALUES = {"true": 1.0, "false": 0.0}
NUMBERS_AS_TRUTH_VALUES = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}

# In messages: a value is not ...
NAMES_OF_A_VALUE = {
    "numbers": "a number",
    "truth values": "true or false",
    "strings": "a string",
    "dates": "a date",
    "durations": "a duration",
}


def found_in_strings(series, decimal="."):
    """Return a column of strings as the first kind that all of its values are of."""
    if series.null_count() == len(series):
        return series.cast(pl.Float64)
    values = series.drop_nulls().str.to_lowercase()
    if values.is_in(list(TRUTH_VALUES)).all():
        return series.str.to_lowercase().replace_strict(
            {"true": True, "false": False}, return_dtype=pl.Boolean
        )
    for kind in ("numbers", "dates"):
        converted = strings_as(series, kind, decimal)
        if converted.null_count() == series.null_count():
            return converted
    return series


def strings_as(series, kind, decimal="."):
    """Return a column of strings as another kind, with null where a value is not of this kind."""
    if kind == "strings":
        return series
    if kind == "nothing":
        return pl.Series(series.name, [None] * len(series), pl.Float64)
    series = series.str.strip_chars()
    if kind == "numbers":
        if decimal != ".":
            series = series.str.replace(decimal, ".", literal=True)
        return series.cast(pl.Float64, strict=False)
    if kind == "truth values":
        known = TRUTH_VALUES | NUMBERS_AS_TRUTH_VALUES
        return series.str.to_lowercase().replace_strict(
            known, default=None, return_dtype=pl.Float64
        )
    return dates_of(series)


def dates_of(strings):
    """Return strings as dates, in UTC if they have a time zone."""
    nothing = pl.Series(strings.name, [None] * len(strings), pl.Datetime("us"))
    try:
        dates = strings.str.to_datetime(strict=False, time_unit="us")
    except pl.exceptions.PolarsError:  # the first string is no date
        return nothing
    return dates.dt.replace_time_zone(None)


def values_as(series, kind):
    """Return a column of any dtype as a kind, with null where a value is not of this kind."""
    dtype = series.dtype
    if dtype in (pl.Categorical, pl.Enum):
        series, dtype = series.cast(pl.String), pl.String
    if dtype == pl.String or kind == "nothing":
        return strings_as(series, kind)
    if dtype == pl.Null:
        return series
    is_number = dtype.is_numeric() or dtype == pl.Boolean
    if kind in ("numbers", "truth values") and is_number:
        return series.cast(pl.Float64)
    if kind == "strings" and (is_number or dtype == pl.Null):
        return series.cast(pl.String)
    if (kind == "dates" and dtype in (pl.Date, pl.Datetime)) or (
        kind == "durations" and dtype == pl.Duration
    ):
        return series
    return pl.Series(series.name, [None] * len(series), pl.Float64)


def kind_of(series):
    """Return the kind of a column that an estimator for tables has been trained on."""
    dtype = series.dtype
    if series.null_count() == len(series):
        return "nothing"
    if dtype == pl.Boolean:
        return "truth values"
    if dtype.is_numeric():
        return "numbers"
    if dtype == pl.Duration:
        return "durations"
    return "dates" if dtype in (pl.Date, pl.Datetime) else "strings"
