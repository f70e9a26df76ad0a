"""The columns of a table as inputs of a graph: what they are called, and how values are missing."""

from typing import NamedTuple

import numpy as np

from fastmlp._onnx.graph import Graph
from fastmlp._tabular.columns import Category, Date
from fastmlp._tabular.table import NUMERIC

# How a missing string is given, if the empty string is a category of its own.
MISSING = "missing"


class Input(NamedTuple):
    """An input of the graph.

    Attributes
    ----------
    name : str
    n_columns : int
    dtype : type
        The type of the values, ``object`` for strings.
    meaning : str
    """

    name: str
    n_columns: int
    dtype: type
    meaning: str


def name_of_offset(name):
    """Return the name of the input with the offsets of a column of dates with a time zone."""
    return f"{name}: UTC offset"


def is_one_array(encoder):
    """Whether the table is one input: an array of numbers, without names."""
    is_named = hasattr(encoder, "feature_names_in_")
    return not is_named and all(column.kind in NUMERIC for column in encoder.columns)


def inputs_of_table(encoder):
    """Return the inputs for a table with the columns of an encoder.

    Parameters
    ----------
    encoder : TableEncoder

    Returns
    -------
    list of Input
    """
    if is_one_array(encoder):
        return [Input("X", len(encoder.columns), np.float64, "numbers; NaN where missing")]
    inputs = []
    for column in encoder.columns:
        if column.name == "":
            raise ValueError("a column without a name cannot be an input of ONNX; give it a name")
        inputs.append(Input(column.name, 1, dtype_of(column), meaning_of(column)))
        if getattr(column, "has_offset", False):
            meaning = "seconds from UTC to the clock on the wall"
            inputs.append(Input(name_of_offset(column.name), 1, np.float64, meaning))
    names = [one.name for one in inputs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the name {name!r} is needed for an offset; rename that column")
    return inputs


def dtype_of(column):
    return object if column.kind == "strings" else np.float64


def meaning_of(column):
    """Return what the values of an input mean."""
    if column.kind == "strings":
        return f"strings; {missing_string(column)!r} where missing"
    if column.kind == "truth values":
        return "0 or 1; NaN where missing"
    if column.kind == "durations":
        return "seconds; NaN where missing"
    if column.kind == "dates":
        has_clock = isinstance(column, Date) and not column.has_offset
        clock = "by the clock on the wall" if has_clock else "in UTC"
        return f"seconds since 1970 {clock}; NaN where missing"
    return "numbers; NaN where missing"


def missing_string(column):
    """Return the string that stands for a missing value in a column of strings."""
    values = column.values if isinstance(column, Category) else []
    missing = ""
    # Without missing values in the training, they are like strings that it did not have.
    while None in values and missing in values:
        missing = f"{missing}_" if missing else MISSING
    return missing


class Sources:
    """The values of the columns in a graph.

    Parameters
    ----------
    graph : Graph
    whole : str or None
        A matrix of all columns, in float64.
    single : dict of str
        Without ``whole``, the value of each input by its name, of shape (n_rows, 1), in float64 or
        as strings.
    """

    def __init__(self, graph: Graph, whole=None, single=None):
        self.graph, self.whole, self.single = graph, whole, single

    def numbers(self, columns):
        """Return a matrix of columns, given as (index, name) pairs."""
        if self.whole is not None:
            return self.graph.columns(self.whole, [j for j, _ in columns])
        return self.graph.side_by_side([self.single[name] for _, name in columns])

    def strings(self, name):
        """Return a column of strings."""
        return self.single[name]

    def wall_clock(self, columns):
        """Return a matrix of dates in seconds, as the clock on the wall shows them."""
        shown = []
        for _, name in columns:
            seconds, offset = self.single[name], self.single.get(name_of_offset(name))
            shown.append(self.graph.add("Add", seconds, offset) if offset else seconds)
        return self.graph.side_by_side(shown)

    @property
    def any_input(self):
        """An input, for the number of rows."""
        return self.whole if self.whole is not None else next(iter(self.single.values()))
