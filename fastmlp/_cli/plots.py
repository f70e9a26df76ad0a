"""What `fastmlp evaluate --plot` draws."""

import numpy as np
from matplotlib.figure import Figure

from fastmlp._cli.errors import CommandError
from fastmlp._cli.replacing import replaced

SIZE = (10, 4.6)
MOST_NUMBERS_IN_CELLS = 12  # of so many classes and more, the cells have only colors
MOST_POINTS = 5_000


def plot_of_classes(facts):
    """Return a figure of the calibration and the confusion matrix."""
    figure = Figure(SIZE, layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_calibration(left, facts)
    draw_confusion(right, facts)
    return figure


def draw_calibration(axes, facts):
    bins = facts["calibration"]
    n_rows = facts["rows"]
    middles = [(bin["from"] + bin["to"]) / 2 for bin in bins]
    axes.bar(
        middles, [bin["rows"] / n_rows for bin in bins], 0.09, color="0.85", label="share of rows"
    )
    axes.plot([0, 1], [0, 1], "--", color="0.5", label="perfect")
    axes.plot(
        [bin["probability"] for bin in bins], [bin["share"] for bin in bins], "o-", label="model"
    )
    axes.set(
        xlabel=facts["calibration_of"],
        ylabel="share of rows where it is true",
        xlim=(0, 1),
        ylim=(0, 1),
        title=f"Calibration, error {facts['scores']['calibration error']:.3f}",
    )
    axes.legend(loc="upper left")


def draw_confusion(axes, facts):
    matrix = np.array(facts["confusion"])
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    labels = [str(label) for label in facts["classes"]]
    places = np.arange(len(labels))
    are_long = max(map(len, labels)) * len(labels) > 40
    axes.set_xticks(places, labels, rotation=90 if are_long else 0)
    axes.set_yticks(places, labels)
    axes.set(
        xlabel="predicted",
        ylabel="true",
        title=f"Confusion, accuracy {facts['scores']['accuracy']:.3f}",
    )
    if len(labels) < MOST_NUMBERS_IN_CELLS:
        for (i, j), n in np.ndenumerate(matrix):
            color = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, str(n), ha="center", va="center", color=color)
    axes.figure.colorbar(image, ax=axes, label="share of the true class")


def plot_of_numbers(y, outputs, facts):
    """Return a figure of the predictions against the true values, and of the errors."""
    figure = Figure(SIZE, layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = np.linspace(0, len(y) - 1, min(len(y), MOST_POINTS)).astype(int)
    predictions = outputs[:, 0]
    ends = [min(y.min(), predictions.min()), max(y.max(), predictions.max())]
    left.plot(ends, ends, "--", color="0.5")
    left.plot(predictions[rows], y[rows], ".", alpha=0.5)
    left.set(
        xlabel=f"predicted {facts['target']}",
        ylabel=f"true {facts['target']}",
        title=f"R2 {facts['scores']['R2']:.3f}" if facts["scores"]["R2"] is not None else "",
    )
    right.hist(y - predictions, bins="auto" if len(y) < MOST_POINTS else 100)
    right.axvline(0, linestyle="--", color="0.5")
    right.set(
        xlabel="true - predicted",
        ylabel="rows",
        title=f"Errors, RMSE {facts['scores']['RMSE']:.4g}",
    )
    return figure


def write_plot(figure, path):
    """Write a figure in the format of the file's extension."""
    formats = figure.canvas.get_supported_filetypes()
    format = str(path).rpartition(".")[2].lower()
    if format not in formats:
        raise CommandError(f"{path}: no format of this extension; there are {', '.join(formats)}")
    with replaced(path) as file:
        figure.savefig(file, format=format, dpi=120)
