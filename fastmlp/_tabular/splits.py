"""Splits of the rows into those to train on and those to select by."""

import reprlib

import numpy as np

from fastmlp._tabular.training import Split


def checked_split(training, selection, weight):
    """Return a pair of ``cv`` as a Split, without the rows of weight 0, after validation."""
    split = Split(rows_of_cv(training, weight), rows_of_cv(selection, weight))
    both = np.intersect1d(*split)
    if len(both):
        raise ValueError(
            "cv must give selection rows that are not among the training rows, but both have "
            f"{len(both)} rows, such as {both[0]}"
        )
    return split


def rows_of_cv(given, weight):
    """Return the row numbers of positive weight, of row numbers or a mask, after validation."""
    rows = np.asarray(given)
    if rows.dtype.kind == "b" and rows.shape == weight.shape:
        rows = np.flatnonzero(rows)
    are_numbers = rows.ndim == 1 and (rows.dtype.kind in "iu" or not len(rows))
    if not are_numbers or (len(rows) and not 0 <= rows.min() <= rows.max() < len(weight)):
        shown = reprlib.repr(rows.tolist())
        raise ValueError(f"cv must give numbers of rows from 0 to {len(weight) - 1}, got {shown}")
    rows = rows.astype(np.intp)
    rows = rows[weight[rows] > 0]
    if not len(rows):
        raise ValueError(
            "cv must give at least one training and selection row of positive weight, got none"
        )
    return rows


def evenly(n_rows, fraction):
    """Return 0 for a fraction of the rows, at even distances, and -1 for the others."""
    n_selected = min(max(round(fraction * n_rows), 1), n_rows - 1)
    part = np.full(n_rows, -1)
    part[np.linspace(0, n_rows - 1, n_selected + 2)[1:-1].round().astype(np.intp)] = 0
    return part
