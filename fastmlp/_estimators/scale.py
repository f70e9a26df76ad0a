"""Warnings about values so large that training is likely to diverge or stall."""

import numpy as np
import scipy.sparse

from fastmlp import _core
from fastmlp._engine.layout import ceil_div
from fastmlp._engine.warnings import warn

# Columns with a size above this lead to a warning. It is the root mean square for features, and the
# mean or standard deviation for targets.
LARGEST_SCALE = 1e3

# About this many rows are examined.
ROWS_TO_LOOK_AT = 1_000


def is_beyond_scale(numbers):
    """Whether a number is beyond the scale. If none is, then no mean and no deviation is either.

    A stream of small mini-batches is spared the sizes of their columns.
    """
    numbers = numbers.data if scipy.sparse.issparse(numbers) else numbers
    return _core.largest_of(numbers) > LARGEST_SCALE


def warn_of_scale(X, names, coded=()):
    """Warn about columns of X with large values, by name, or by index if ``names`` is None.

    Columns of codes, ``coded``, have no scale: their size is 0.

    Returns
    -------
    ndarray of shape (n_features,)
        The root mean square of each column.
    """
    X = X[:: ceil_div(X.shape[0], ROWS_TO_LOOK_AT)].astype(np.float64)
    if scipy.sparse.issparse(X):
        squares = np.asarray(X.multiply(X).sum(axis=0)).ravel()
    else:
        squares = np.einsum("ij,ij->j", X, X)
    sizes = np.sqrt(squares / X.shape[0])
    sizes[list(coded)] = 0
    if (sizes > LARGEST_SCALE).any():
        columns = np.flatnonzero(sizes > LARGEST_SCALE)
        names = (np.arange(X.shape[1]) if names is None else names)[columns]
        shown = ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
        warn(
            f"X has {len(names)} unscaled column(s), of a root mean square beyond "
            f"{LARGEST_SCALE:g}: {shown}. Training may diverge or stand still; scale the features, "
            "for instance by sklearn.preprocessing.StandardScaler."
        )
    return sizes


def warn_of_scale_of_targets(y, loss):
    """Warn about large targets of a regressor, if they do harm with this loss.

    Returns
    -------
    ndarray of shape (n_targets,)
        The size of each column: its mean or its standard deviation, whichever is larger.
    """
    y = y[:: ceil_div(len(y), ROWS_TO_LOOK_AT)].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # NumPy's mean and std take twice the time
        mean = np.add.reduce(y) / len(y)
        deviation = y - mean
        std = np.sqrt(np.add.reduce(deviation * deviation) / len(y))
        sizes = np.maximum(abs(mean), std)
    remedy = loss.row.remedy_of_scale
    if remedy and (sizes > LARGEST_SCALE).any():
        columns = np.flatnonzero(sizes > LARGEST_SCALE)
        which = "y" if y.shape[1] == 1 else f"column(s) {', '.join(map(str, columns[:10]))} of y"
        warn(
            f"{which}: the mean or standard deviation is beyond {LARGEST_SCALE:g}, here "
            f"{sizes.max():.3g}. Under {loss.name!r} training may diverge or stand still; "
            f"{remedy}."
        )
    return sizes
