"""Curves of a fit by epoch, as scikit-learn displays: losses, and gradients by layers."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastmlp._inspection.axes import LABELS, Display, history_of, name_axes, plot_by_epoch
from fastmlp._inspection.checks import HasHistory

# Curves for the right y axis of the loss plot, with their labels.
RIGHT_AXES = {"val_score": "validation score", "learning_rate": "learning rate"}

WEIGHT_QUANTITIES = {
    "gradient_norm": "norm of the gradient",
    "update_norm": "norm of the update",
    "weight_norm": "norm of the weights",
    "update_ratio": "norm of the update / norm of the weights",
}

UNIT_QUANTITIES = {"dead_units": "dead units", "saturated_units": "saturated units"}

LEGEND_STYLE = {"frameon": False, "columnspacing": 1.0}


class LossCurveDisplay(Display):
    """Loss curves of a fit, with the validation score or learning rate on a second axis.

    Parameters
    ----------
    loss : array-like of shape (n_epochs,)
        Training loss, including penalties.
    val_loss, val_score : array-like of shape (n_epochs,), default=None
        Loss, without penalties, and score on the validation set.
    learning_rate : array-like of shape (n_epochs,), default=None
        Learning rate of each epoch's last step.
    unit : str, default='epoch'
        Label of the x axis.
    name : str, default=None
        Name of the estimator in the legend, to distinguish several estimators on the same axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the losses.
    right_ax_ : matplotlib Axes or None
        Axes with the scores or learning rates. Displays on the same axes share it.
    figure_ : matplotlib Figure
        Figure containing the axes.
    lines_ : list of matplotlib Line2D
        The lines that are present, in this order: training loss, validation loss, right axis.

    Examples
    --------
    Compare two solvers:

    >>> from sklearn.datasets import load_digits
    >>> from fastmlp import LossCurveDisplay, MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> adam = MLPClassifier(early_stopping=True, random_state=0).fit(X, y)
    >>> nadam = MLPClassifier(solver='nadam', early_stopping=True, random_state=0).fit(X, y)
    >>> display = LossCurveDisplay.from_estimator(adam, name='adam')
    >>> display = LossCurveDisplay.from_estimator(nadam, name='nadam', ax=display.ax_)
    """

    def __init__(
        self,
        *,
        loss: ArrayLike,
        val_loss: ArrayLike | None = None,
        val_score: ArrayLike | None = None,
        learning_rate: ArrayLike | None = None,
        unit: str = "epoch",
        name: str | None = None,
    ) -> None:
        self.loss = loss
        self.val_loss = val_loss
        self.val_score = val_score
        self.learning_rate = learning_rate
        self.unit = unit
        self.name = name

    def plot(
        self, ax: Any = None, *, right_axis: str | None = "auto", log_scale: bool = False
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.
        right_axis : {'auto', 'val_score', 'learning_rate'} or None, default='auto'
            Curve on the right y axis. 'auto' chooses the validation score if there is one, or else
            the learning rate if it varies.
        log_scale : bool, default=False
            Whether the axis of the losses is logarithmic.

        Returns
        -------
        LossCurveDisplay
            The display itself.

        Examples
        --------
        >>> from fastmlp import LossCurveDisplay
        >>> display = LossCurveDisplay(loss=[1.0, 0.1, 0.01]).plot(log_scale=True)
        """
        right_axis = self._choose(right_axis)
        self._take(ax)
        ax = self.ax_
        name_axes(ax, self.unit, "loss")
        if log_scale:
            ax.set_yscale("log")
        self.right_ax_ = _twin(ax, RIGHT_AXES[right_axis]) if right_axis else None
        curves = [(ax, "training", self.loss, "-")]
        if self.val_loss is not None:
            curves.append((ax, "validation", self.val_loss, "--"))
        if right_axis:
            label = RIGHT_AXES[right_axis].removeprefix("validation ")
            curves.append((self.right_ax_, label, getattr(self, right_axis), "-."))
        axes = _with_twins(ax)
        n_before = sum(len(each.lines) for each in axes)
        self.lines_ = []
        for i, (each, label, values, style) in enumerate(curves):
            self.lines_ += plot_by_epoch(
                each,
                values,
                label=f"{self.name}: {label}" if self.name else label,
                color=f"C{n_before}" if self.name else f"C{n_before + i}",
                linestyle=style,
                linewidth=1.5 if each is ax else 1,
            )
        lines = [line for each in axes for line in each.get_legend_handles_labels()[0]]
        # Place the legend above the axes, where it cannot hide a curve.
        ax.legend(
            handles=lines, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, **LEGEND_STYLE
        )
        return self

    def _choose(self, right_axis):
        recorded = [curve for curve in RIGHT_AXES if getattr(self, curve) is not None]
        if right_axis not in (None, "auto", *recorded):
            raise ValueError(
                f"right_axis must be None, 'auto' or one of what the fit has recorded, {recorded}, "
                f"got {right_axis!r}"
            )
        if right_axis != "auto":
            return right_axis
        if self.val_score is not None:
            return "val_score"
        rates = self.learning_rate
        varies = rates is not None and np.nanmin(rates) < np.nanmax(rates)
        return "learning_rate" if varies else None

    @classmethod
    def from_estimator(
        cls,
        estimator: HasHistory,
        *,
        ax: Any = None,
        name: str | None = None,
        right_axis: str | None = "auto",
        log_scale: bool = False,
    ) -> Self:
        """Draw the curves of a fitted estimator.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            Fitted estimator.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.
        name : str, default=None
            Name of the estimator in the legend, to distinguish several estimators on the same axes.
        right_axis : {'auto', 'val_score', 'learning_rate'} or None, default='auto'
            Curve on the right y axis. 'auto' chooses the validation score if there is one, or else
            the learning rate if it varies.
        log_scale : bool, default=False
            Whether the axis of the losses is logarithmic.

        Returns
        -------
        LossCurveDisplay
            The display.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from fastmlp import LossCurveDisplay, MLPClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> classifier = MLPClassifier(early_stopping=True, random_state=0).fit(X, y)
        >>> display = LossCurveDisplay.from_estimator(classifier)
        """
        history, unit = history_of(estimator)
        curves = ("loss", "val_loss", "val_score", "learning_rate")
        given = {curve: np.array(history[curve]) for curve in curves if curve in history}
        return cls(**given, unit=unit, name=name).plot(
            ax, right_axis=right_axis, log_scale=log_scale
        )


def _with_twins(ax):
    return [other for other in ax.figure.axes if other.bbox.bounds == ax.bbox.bounds]


def _twin(ax, label):
    """Return the right y axis with this label, from an earlier display or new."""
    axes = _with_twins(ax)
    for other in axes:
        if other.get_ylabel() == label:
            return other
    twin = ax.twinx()
    twin.set_ylabel(label)
    twin.spines.right.set_position(("axes", 1 + 0.2 * (len(axes) - 1)))
    return twin


class GradientFlowDisplay(Display):
    """A quantity of each layer, such as the norm of its gradient, over the epochs.

    Parameters
    ----------
    values : array-like of shape (n_epochs, n_layers)
        Values of the quantity.
    which : str, default='gradient_norm'
        Name of the quantity; see `from_estimator`.
    layer_names : list of str, default=None
        Names of the layers in the legend. None uses 1, 2, ...
    unit : str, default='epoch'
        Label of the x axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the lines.
    figure_ : matplotlib Figure
        Figure containing the axes.
    lines_ : list of matplotlib Line2D
        A line for each layer, from dark at the input to light at the output.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from fastmlp import GradientFlowDisplay, MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = MLPClassifier([30] * 5, tol=0.01, diagnostics=True, random_state=0)
    >>> display = GradientFlowDisplay.from_estimator(classifier.fit(X, y))
    """

    def __init__(
        self,
        *,
        values: Sequence[ArrayLike],
        which: str = "gradient_norm",
        layer_names: Sequence[str] | None = None,
        unit: str = "epoch",
    ) -> None:
        self.values = values
        self.which = which
        self.layer_names = layer_names
        self.unit = unit

    def plot(self, ax: Any = None) -> Self:
        """Draw the lines.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        GradientFlowDisplay
            The display itself.

        Examples
        --------
        >>> from fastmlp import GradientFlowDisplay
        >>> display = GradientFlowDisplay(values=[[1.0, 2.0], [0.5, 1.0]]).plot()
        """
        _check_which(self.which)
        values = np.asarray(self.values, dtype=float)
        n_layers = values.shape[1]
        names = self.layer_names or range(1, n_layers + 1)
        colors = self._take(ax).get_cmap("viridis")(np.linspace(0, 0.9, n_layers))
        ax = self.ax_
        name_axes(ax, self.unit, (WEIGHT_QUANTITIES | UNIT_QUANTITIES)[self.which])
        self.lines_ = []
        for name, column, color in zip(names, values.T, colors, strict=True):
            self.lines_ += plot_by_epoch(ax, column, label=name, color=color)
        if self.which in UNIT_QUANTITIES:
            top = max(0.1, 1.05 * np.nanmax(values))
            ax.set_ylim(-0.03 * top, top)
            ax.yaxis.set_major_formatter("{x:.0%}")
        elif (values > 0).any():
            ax.set_yscale("log")
        shown = np.unique(np.linspace(0, n_layers - 1, LABELS).round().astype(int))
        ax.legend(
            handles=[self.lines_[l] for l in shown],
            title="hidden layer" if self.which in UNIT_QUANTITIES else "layer",
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            **LEGEND_STYLE,
        )
        return self

    @classmethod
    def from_estimator(
        cls, estimator: HasHistory, *, ax: Any = None, which: str = "gradient_norm"
    ) -> Self:
        """Draw a quantity recorded by an estimator with ``diagnostics=True``.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            Estimator fitted with ``diagnostics=True``.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.
        which : str, default='gradient_norm'
            The quantity. For each layer of weights: 'gradient_norm', 'update_norm' (of the change
            during the epoch), 'weight_norm' or 'update_ratio' (the norm of the update divided by
            that of the weights). For each hidden layer: the fractions 'dead_units' or
            'saturated_units'.

        Returns
        -------
        GradientFlowDisplay
            The display.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from fastmlp import GradientFlowDisplay, MLPClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> classifier = MLPClassifier((50, 20), diagnostics=True, random_state=0).fit(X, y)
        >>> display = GradientFlowDisplay.from_estimator(classifier, which='dead_units')
        """
        _check_which(which)
        history, unit = history_of(estimator)
        if "gradient_norm" not in history:
            raise ValueError(
                "estimator has been fitted without diagnostics: fit again with diagnostics=True"
            )
        shapes = [W.shape for W in estimator.coefs_]
        if which in UNIT_QUANTITIES:
            names = [f"{l}: {n_out} units" for l, (_, n_out) in enumerate(shapes[:-1], 1)]
        else:
            names = [f"{l}: {n_in} → {n_out}" for l, (n_in, n_out) in enumerate(shapes, 1)]
        if not names:
            raise ValueError(f"which={which!r} is of hidden layers, and estimator has none")

        def by_layer(column):  # an epoch without diagnostics has NaN instead of a tuple
            return np.array([np.broadcast_to(numbers, len(names)) for numbers in history[column]])

        if which == "update_ratio":
            with np.errstate(divide="ignore", invalid="ignore"):  # weights that are all 0
                values = by_layer("update_norm") / by_layer("weight_norm")
        else:
            values = by_layer(which)
        return cls(values=values, which=which, layer_names=names, unit=unit).plot(ax)


def _check_which(which):
    allowed = [*WEIGHT_QUANTITIES, *UNIT_QUANTITIES]
    if which not in allowed:
        raise ValueError(f"which must be one of {allowed}, got {which!r}")
