"""Maps of one column of numbers to about the range of a standard normal.

A map is learned from the finite values of the training rows and is called with a float64 array.
Whatever lies beyond the training values, infinity included, comes out near their extremes. NaN
stays NaN. ``stack`` joins the maps of several columns: the result maps rows in one go, to the same
bits.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

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
        return _between_knots(
            x, np.searchsorted(self.knots, x, "right"), self.knots, self.heights, 0, len(self.knots)
        )

    @staticmethod
    def stack(maps):
        return _StackedQuantileMaps(maps)


class _StackedQuantileMaps:
    """The quantile maps of several columns, their knots one after the other."""

    def __init__(self, maps):
        self.knots = np.concatenate([one.knots for one in maps])
        self.heights = np.concatenate([one.heights for one in maps])
        sizes = [len(one.knots) for one in maps]
        self.ends = np.cumsum(sizes)
        self.starts = self.ends - sizes
        # NumPy sorts complex numbers by their real part and then by their imaginary part. So one
        # search among (column, knot) finds the place of each number among its column's knots.
        self.places = np.repeat(np.arange(len(maps)), sizes) + 1j * self.knots

    def __call__(self, X):
        wanted = np.empty(X.shape, complex)
        wanted.real = np.arange(X.shape[1])
        wanted.imag = X
        place = np.searchsorted(self.places, wanted, "right")
        return _between_knots(X, place, self.knots, self.heights, self.starts, self.ends)


def _between_knots(x, place, knots, heights, start, end):
    """Interpolate between the knots from ``start`` to ``end``; the one at ``place`` is above x."""
    right = np.clip(place, start + 1, end - 1)
    left = right - 1
    low, high = knots[left], knots[right]
    share = (np.clip(x, low, high) - low) / (high - low)
    return heights[left] + share * (heights[right] - heights[left])


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
