"""Ascending tables for several columns at once: counting what is below, and interpolation."""

import numpy as np


class Tables:
    """One table of numbers for each column, read at positions.

    Parameters
    ----------
    graph : Graph
    tables : list of ndarray of float64
    """

    def __init__(self, graph, tables):
        self.graph = graph
        self.size = max(map(len, tables))
        # No number is above or below NaN, or equal to it.
        padded = [np.append(one, np.full(self.size - len(one), np.nan)) for one in tables]
        self.flat = np.concatenate(padded)
        self.starts = self.size * np.arange(len(tables))[np.newaxis]

    def at(self, places):
        """Return the number at a place (n_rows, n_columns) of each column's table."""
        return self.graph.add("Gather", self.flat, self.graph.add("Add", places, self.starts))


def count_up_to(graph, tables, x):
    """Return how many numbers of each column's ascending table are <= x, of shape (n, n_columns).

    This is a binary search in as many steps for all columns and rows.
    """
    n_steps = max(map(len, tables)).bit_length()
    padded = [np.append(one, np.full(2**n_steps - len(one), np.nan)) for one in tables]
    sorted_tables = Tables(graph, padded)
    count = np.zeros((1, len(tables)), np.int64)
    for step in 2 ** np.arange(n_steps)[::-1]:
        last = graph.add("Add", count, np.array(step - 1))
        is_below = graph.add("LessOrEqual", sorted_tables.at(last), x)
        more = graph.add("Mul", graph.cast(is_below, np.int64), np.array(step))
        count = graph.add("Add", count, more)
    return count


def interpolated(graph, maps, x):
    """Return x between the knots of quantile maps, constant beyond them.

    Parameters
    ----------
    graph : Graph
    maps : list of (ndarray, ndarray)
        The knots of each column, at least two, and their heights.
    x : str
        Numbers of float64 without NaN, of shape (n_rows, n_columns).
    """
    add = graph.add
    first, last = (np.array([[knots[end] for knots, _ in maps]]) for end in (0, -1))
    x = add("Min", add("Max", x, first), last)
    left = count_up_to(graph, [knots[1:-1] for knots, _ in maps], x)
    low = Tables(graph, [knots[:-1] for knots, _ in maps]).at(left)
    width = Tables(graph, [np.diff(knots) for knots, _ in maps]).at(left)
    height = Tables(graph, [heights[:-1] for _, heights in maps]).at(left)
    rise = Tables(graph, [np.diff(heights) for _, heights in maps]).at(left)
    share = add("Div", add("Sub", x, low), width)
    return add("Add", height, add("Mul", share, rise))
