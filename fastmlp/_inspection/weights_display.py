"""The first weights of a fitted network as images."""

import math
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from fastmlp._engine.layout import ceil_div
from fastmlp._inspection.axes import LABELS, Display
from fastmlp._inspection.checks import HasWeights, check_has

GAP = 0.15  # between images, as a fraction of their shorter side


class WeightsDisplay(Display):
    """The incoming weights of each unit in the first layer, as images.

    Parameters
    ----------
    weights : array-like of shape (n_features, n_units)
        The weights, with a column for each unit.
    image_shape : tuple of int, default=None
        Shape (height, width) of the images, whose product must be n_features. For example,
        (1, n_features) draws stripes. None draws square images.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the images, row by row.
    figure_ : matplotlib Figure
        Figure containing the axes.
    images_ : list of matplotlib AxesImage
        An image for each unit, all on the same color scale: red above 0, blue below.
    colorbar_ : matplotlib Colorbar
        The color scale.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from fastmlp import MLPClassifier, WeightsDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = MLPClassifier(alpha=1, tol=0.01, random_state=0).fit(X, y)
    >>> display = WeightsDisplay.from_estimator(classifier)
    """

    def __init__(self, *, weights: ArrayLike, image_shape: tuple[int, int] | None = None) -> None:
        self.weights = weights
        self.image_shape = image_shape

    def plot(self, ax: Any = None, *, max_units: int = 25) -> Self:
        """Draw the images.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.
        max_units : int or None, default=25
            Maximum number of units to draw, starting with the first. None draws all units.

        Returns
        -------
        WeightsDisplay
            The display itself.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import WeightsDisplay
        >>> display = WeightsDisplay(weights=np.eye(6), image_shape=(2, 3)).plot(max_units=4)
        """
        if max_units is not None and (not isinstance(max_units, Integral) or max_units < 1):
            raise ValueError(f"max_units must be None or a whole number >= 1, got {max_units!r}")
        weights = np.asarray(self.weights)
        height, width = _check_image_shape(self.image_shape, len(weights))
        images = weights.T[:max_units].reshape(-1, height, width)
        n_shown, gap = len(images), GAP * min(height, width)
        down, right = height + gap, width + gap  # distances between images
        n_columns = min(n_shown, max(1, round(math.sqrt(n_shown * down / right))))
        n_rows = ceil_div(n_shown, n_columns)
        largest = abs(images).max() or 1
        self._take(ax)
        ax = self.ax_
        self.images_ = []
        for unit, image in enumerate(images):
            row, column = divmod(unit, n_columns)
            top, left = row * down, column * right
            extent = (left, left + width, top + height, top)
            style = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
            self.images_.append(ax.imshow(image, extent=extent, **style))
        ax.set_xlim(-gap, n_columns * right)
        ax.set_ylim(n_rows * down, -gap)
        ax.set_aspect("auto" if 1 in (height, width) else "equal")
        ax.set_facecolor("0.8")
        rows = np.arange(0, n_rows, ceil_div(n_rows, LABELS))
        columns = np.arange(0, n_columns, ceil_div(n_columns, LABELS))
        ax.set_yticks(rows * down + height / 2, rows * n_columns)
        ax.set_xticks(columns * right + width / 2, [f"+{column}" for column in columns])
        ax.tick_params(length=0)
        ax.set_ylabel("unit")
        ax.set_xlabel(f"{n_shown} of {weights.shape[1]} units")
        self.colorbar_ = self.figure_.colorbar(self.images_[0], ax=ax, label="weight")
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: HasWeights,
        *,
        ax: Any = None,
        image_shape: tuple[int, int] | None = None,
        max_units: int = 25,
    ) -> Self:
        """Draw the weights of the first layer of a fitted estimator.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            Fitted or initialized estimator.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.
        image_shape : tuple of int, default=None
            Shape (height, width) of the images, whose product must be n_features. For example,
            (1, n_features) draws stripes. None draws square images.
        max_units : int or None, default=25
            Maximum number of units to draw, starting with the first. None draws all units.

        Returns
        -------
        WeightsDisplay
            The display.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import MLPClassifier, WeightsDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = MLPClassifier(max_iter=1000, random_state=0).fit(X, y)
        >>> display = WeightsDisplay.from_estimator(classifier, image_shape=(1, 4))
        """
        check_has(estimator, "fit", "coefs_")
        check_is_fitted(estimator)
        weights = np.array(estimator.coefs_[0])
        return cls(weights=weights, image_shape=image_shape).plot(ax, max_units=max_units)


def _check_image_shape(image_shape, n_features):
    side = math.isqrt(n_features)
    shape = (side, side) if image_shape is None else image_shape
    is_pair = isinstance(shape, tuple | list) and len(shape) == 2
    if (
        not is_pair
        or not all(isinstance(n, Integral) and n > 0 for n in shape)
        or math.prod(shape) != n_features
    ):
        raise ValueError(
            f"image_shape must be (height, width) with the product {n_features}, the number of "
            f"features, or None where that is a square, got {image_shape!r}"
        )
    return shape
