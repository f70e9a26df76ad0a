"""Checks of sample weights and of lengths."""

import numpy as np

from fastmlp._engine.checks import check_sample_weight


def checked_weight(sample_weight, n_rows, name="sample_weight"):
    """Return the sample weights as float32, all ones by default, after validation."""
    return check_sample_weight(sample_weight, n_rows, np.dtype(np.float32), name)


def check_length(name, given, name_of_table, n_rows):
    """Raise an error unless there is a target for each row of the table."""
    if len(given) != n_rows:
        raise ValueError(
            f"{name} must have as many values as {name_of_table} has rows, {n_rows}, "
            f"got {len(given)}"
        )
