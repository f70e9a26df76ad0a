"""What all displays share: their axes, and matplotlib only where something is drawn."""

import numpy as np

from fastmlp._inspection.checks import check_trained

LABELS = 10  # maximum number of labels in a legend of layers or on an axis of units


class Display:
    """Base class of the displays. It imports matplotlib only when something is drawn."""

    def _take(self, ax):
        """Set ``ax_`` and ``figure_``, creating them if ``ax`` is None; return pyplot."""
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__} needs matplotlib: pip install 'fastmlp[plotting]'"
            ) from error
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        elif not isinstance(ax, plt.Axes):
            raise TypeError(f"ax must be an Axes of matplotlib or None, got {ax!r}")
        self.ax_, self.figure_ = ax, ax.figure
        return plt


def history_of(estimator):
    """Return ``history_`` and its unit, 'epoch' or 'iteration'."""
    check_trained(estimator)
    return estimator.history_, "iteration" if estimator.solver == "lbfgs" else "epoch"


def plot_by_epoch(ax, values, **style):
    """Plot the values over 1, 2, ... as a line, or as a point if there is only one."""
    epochs = np.arange(1, len(values) + 1)
    return ax.plot(epochs, values, marker="o" if len(values) == 1 else "", **style)


def name_axes(ax, unit, quantity):
    ax.set_xlabel(unit)
    ax.set_ylabel(quantity)
    ax.locator_params(axis="x", integer=True, min_n_ticks=1)
