"""Maps of one column of numbers to about the range of a standard normal.

A map is learned from the finite values of the training rows and is called with a float64 array.
Whatever lies beyond the training values, infinity included, comes out near their extremes. NaN
stays NaN. ``stack`` joins the maps of several columns: the result maps rows in one go, to the same
bits.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from fastmlp import _core

# Of more rows than this, evenly spaced ones and the extremes are learned from.
MOST_ROWS_LEARNED_FROM = 100_000
MOST_QUANTILES = 1000


def _sample(values):
    """Return the sorted values to learn from."""
    if len(values) > MOST_ROWS_LEARNED_FROM:
        rows = np.linspace(0, len(values) - 1, MOST_ROWS_LEARNED_FROM).astype(np.intp)
        values = np.append(values[rows], [values.min(), values.max()])
    return np.sort(values)


@dataclass(eq=False)
class QuantileMap:
    """The quantile map to a standard normal: linear between knots.

    The knots are quantiles of the training values, or all values where these are no more. A knot's
    height is the normal quantile of its mid-rank, (rows below it + half of the rows at it) / rows.
    Ties need no noise that way, and few distinct values need no map of their own: zeros and ones
    become two moderate numbers, however rare the ones are.
    """

    knots: np.ndarray
    heights: np.ndarray

    @classmethod
    def of(cls, values):
        """Learn the map from finite values, of which at least two differ."""
        values = _sample(values)
        n = len(values)
        knots = np.unique(values)
        n_quantiles = min(max(min(n // 30, MOST_QUANTILES), 10), n)
        if len(knots) > n_quantiles:
            places = np.linspace(0, n - 1, n_quantiles)
            knots = np.unique(np.interp(places, np.arange(n), values))
        below = np.searchsorted(values, knots, "left")
        up_to = np.searchsorted(values, knots, "right")
        return cls(knots, ndtri((below + up_to) / (2 * n)))

    def __call__(self, x):
        return self.stack([self])(x[:, np.newaxis])[:, 0]

    @staticmethod
    def stack(maps):
        return StackedQuantileMaps(maps)


class StackedQuantileMaps:
    """The quantile maps of several columns, their knots one after the other."""

    def __init__(self, maps):
        self.knots = np.concatenate([one.knots for one in maps])
        self.heights = np.concatenate([one.heights for one in maps])
        self.ends = np.cumsum([len(one.knots) for one in maps])

    def write(self, parts):
        """Add the maps to the parts of a model file."""
        parts.array("knots", self.knots)
        parts.array("heights", self.heights)
        parts.array("ends", self.ends.astype(np.int64))

    @classmethod
    def read(cls, fields, n_columns):
        """Return the maps of a model file."""
        maps = object.__new__(cls)
        maps.knots = fields.array("knots", "f8", (None,))
        maps.heights = fields.array("heights", "f8", maps.knots.shape)
        ends = fields.array("ends", "i8", (n_columns,))
        starts = np.append(0, ends[:-1])
        if ends[-1] != len(maps.knots) or (ends - starts < 2).any():
            raise fields.error("ends", "must be ascending, with two knots for each column")
        is_start = np.zeros(len(maps.knots), bool)
        is_start[starts] = True
        if not ((np.diff(maps.knots) > 0) | is_start[1:]).all():
            raise fields.error("knots", "must be ascending for each column")
        maps.ends = ends.astype(np.intp)
        return maps

    def __call__(self, X):
        heights = np.empty(X.shape)
        _core.interpolate(X, self.knots, self.heights, self.ends, heights)
        return heights


@dataclass(eq=False)
class RobustMap:
    """Robust scaling and a smooth clip, as in RealMLP (Holzmüller and others, 2024).

    z = (x - median) / (third quartile - first quartile), or half of the range in place of the
    quartiles' distance where that is 0; then z / sqrt(1 + (z / 3)^2), which lies between -3 and 3.
    """

    center: float
    width: float

    @classmethod
    def of(cls, values):
        """Learn the map from finite values, of which at least two differ."""
        values = _sample(values)
        first, center, third = np.quantile(values, [0.25, 0.5, 0.75])
        extent = values[-1] - values[0]
        # Half of the smallest positive number is 0.
        return cls(float(center), float(third - first or extent / 2 or extent))

    def __call__(self, x):
        with np.errstate(over="ignore"):
            # The square of a larger z could overflow, and the result differs from 3 by 1e-11.
            z = np.clip((x - self.center) / self.width, -1e6, 1e6)
        return z / np.sqrt(1 + (z / 3) ** 2)

    @staticmethod
    def stack(maps):
        return RobustMap(
            np.array([one.center for one in maps]), np.array([one.width for one in maps])
        )


MAPS = {"quantile": QuantileMap, "robust": RobustMap}
