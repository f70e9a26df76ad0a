"""The pictures of results. Their numbers are those of the tables of docs/benchmarks.md.

bench/pages.py writes these tables from bench/results, and the tests see to it that they are so.
"""

import functools
import re

import numpy as np
from look import COLORS, FOLDER, draw_both

BENCHMARKS = FOLDER.parent / "benchmarks.md"
COLOR_OF = {
    "fastmlp": "blue",
    "CatBoost": "orange",
    "HistGradientBoosting": "green",
    "LightGBM": "purple",
    "XGBoost": "red",
    "scikit-learn MLP": "gray",
    "RealMLP-TD-S": "brown",
    "scikit-learn": "gray",
    "scikit-learn f32": "gray",
    "scikit-learn f64": "green",
    "PyTorch": "orange",
    "PyTorch, best": "orange",
    "PyTorch, best mode": "orange",
    "JAX": "purple",
    "ONNX Runtime": "red",
}


def table(name):
    """Header and rows of a generated table."""
    text = BENCHMARKS.read_text(encoding="utf-8").split(f"<!-- table: {name} -->", 1)[1]
    lines = text.split("<!-- end -->", 1)[0].strip().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return cells[0], cells[2:]


def number(cell):
    """The first number of a cell."""
    return float(re.search(r"\d[\d,]*\.?\d*", cell)[0].replace(",", ""))


def microseconds(cell):
    """The time of a cell such as '1.07 ms (5.71 x)'."""
    value, unit = re.match(r"([\d.]+) (us|ms)", cell).groups()
    return float(value) * {"us": 1, "ms": 1000}[unit]


def errors_and_seconds():
    """Models; rows, errors and seconds of the tables; the mean ratios of the last row."""
    header, rows = table("zen5/tabular, errors and seconds")
    models = header[2:]
    of_tables = [row for row in rows if row[1]]
    n_rows = np.array([number(row[1]) for row in of_tables])
    errors = np.array([[number(cell) for cell in row[2:]] for row in of_tables])
    seconds = np.array([[number(cell.split("(")[1]) for cell in row[2:]] for row in of_tables])
    [means] = [row[2:] for row in rows if row[0] == "mean of error / best error"]
    return models, n_rows, errors, seconds, np.array([float(mean) for mean in means])


def draw_errors(ax, look):
    """A small dot for each table, a large one for the mean of a model."""
    models, _, errors, _, means = errors_and_seconds()
    ratios = errors / errors.min(axis=1, keepdims=True)
    places = np.argsort(np.argsort(means))
    for model, place, of_tables, mean in zip(models, places, ratios.T, means, strict=True):
        color = COLORS[COLOR_OF[model]]
        ax.plot(
            of_tables, np.full(len(of_tables), place), "o", ms=5, color=color, alpha=0.35, mew=0
        )
        ax.plot(mean, place, "o", ms=11, color=color, mec=look["page"], mew=1.2)
        ax.annotate(
            f"{mean:.2f}", (mean, place), (0, 9), textcoords="offset points", ha="center", size=9.5
        )
    ax.set_xscale("log")
    ax.set_xticks([1, 1.2, 1.5, 2, 3, 4], ["1", "1.2", "1.5", "2", "3", "4"])
    ax.minorticks_off()
    ax.set_yticks(places, models)
    ax.set_ylim(len(models) - 0.5, -0.7)
    ax.set_xlabel("error / least error of the table")
    ax.grid(axis="x")
    ax.set_axisbelow(True)


def draw_training(ax, look):
    """Bars of times as long as fastmlp."""
    header, rows = table("zen5/run, ratios and losses")
    columns = {name: header.index(name) for name in header[3:]}
    width = 0.8 / len(columns)
    for n, (name, column) in enumerate(columns.items()):
        ratios = [number(row[column]) for row in rows]
        places = np.arange(len(rows)) + (n - (len(columns) - 1) / 2) * width
        bars = ax.barh(
            places, np.array(ratios) - 1, width, 1, color=COLORS[COLOR_OF[name]], label=name
        )
        ax.bar_label(bars, [row[column].split()[0] for row in rows], padding=2, size=8.5)
    ax.axvline(1, color=COLORS["blue"], lw=2)
    ax.set_xscale("log")
    ax.set_xlim(0.97, 70)
    ax.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    ax.minorticks_off()
    ax.set_yticks(range(len(rows)), [f"{row[0]}\n{row[1].split(',')[0]}" for row in rows], size=9.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("time of training / time of fastmlp")
    ax.legend(loc="lower right", fontsize=9.5)
    ax.grid(axis="x")
    ax.set_axisbelow(True)


def draw_results(figure, axes, look):
    draw_errors(axes[0], look)
    axes[0].set_title("Tables: errors of seven models on 15 tables", loc="left", x=-0.35)
    draw_training(axes[1], look)
    axes[1].set_title("One network: time of training (blue line: fastmlp)", loc="left", x=-0.35)


def draw_seconds(figure, ax, look):
    models, n_rows, _, seconds, _ = errors_and_seconds()
    for model, of_tables in zip(models, seconds.T, strict=True):
        shown = np.maximum(of_tables, 0.04)  # the table has 0.0 s below 0.05
        front = model == "fastmlp"
        ax.plot(
            n_rows, shown, "o-", color=COLORS[COLOR_OF[model]], label=model,
            ms=5 if front else 4, lw=2.2 if front else 1, zorder=3 if front else 2,
        )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="rows of the table", ylabel="seconds of a fit")
    ax.set_xticks([200, 1000, 5000, 20000], ["200", "1,000", "5,000", "20,000"])
    ax.set_yticks([0.04, 0.1, 1, 10, 100], ["< 0.05", "0.1", "1", "10", "100"])
    ax.minorticks_off()
    ax.grid()
    ax.legend(ncols=2, fontsize=9.5, loc="upper left", bbox_to_anchor=(-0.1, 1.33))


def draw_prediction(figure, ax, look):
    header, rows = table("zen5/run, prediction in brief")
    names = [name for name in header[2:] if name != "scikit-learn f64"]
    rows = [row for row in rows if row[1] == "1"]
    width = 0.8 / len(names)
    for n, name in enumerate(names):
        times = [microseconds(row[header.index(name)]) for row in rows]
        places = np.arange(len(rows)) + (n - (len(names) - 1) / 2) * width
        bars = ax.barh(places, times, width, color=COLORS[COLOR_OF[name]], label=name)
        ax.bar_label(bars, [f"{time:.3g}" for time in times], padding=2, size=8.5)
    ax.set_xscale("log")
    ax.set_xlim(1, 400)
    ax.set_xticks([1, 10, 100], ["1", "10", "100"])
    ax.set_yticks(range(len(rows)), [row[0] for row in rows], size=9.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("microseconds to predict one row")
    figure.legend(ncols=3, fontsize=9.5, loc="outside upper center")
    ax.grid(axis="x")
    ax.set_axisbelow(True)


def draw_busy(figure, ax, look):
    header, rows = table("zen4/busy, small")
    names = ["fastmlp", "scikit-learn", "PyTorch, best", "JAX"]
    width = 0.8 / len(names)
    for n, name in enumerate(names):
        times = [number(row[header.index(name)]) for row in rows]
        places = np.arange(len(rows)) + (n - (len(names) - 1) / 2) * width
        bars = ax.barh(places, times, width, color=COLORS[COLOR_OF[name]], label=name)
        ax.bar_label(bars, [f"{time:,g}" for time in times], padding=2, size=8.5)
    ax.set_xscale("log")
    ax.set_xlim(4, 4000)
    ax.set_xticks([10, 100, 1000], ["10", "100", "1,000"])
    ax.set_yticks(range(len(rows)), [row[0] for row in rows], size=9.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("milliseconds per epoch")
    figure.legend(ncols=2, fontsize=9.5, loc="outside upper center")
    ax.grid(axis="x")
    ax.set_axisbelow(True)


def draw_all():
    """Every picture of results."""
    tables = "".join(
        re.findall(r"<!-- table: .*?<!-- end -->", BENCHMARKS.read_text("utf-8"), re.S)
    )
    draw = functools.partial(draw_both, source=tables)
    heights = {"height_ratios": [1, 1.75]}
    draw("results", draw_results, nrows=2, figsize=(5.8, 8), gridspec_kw=heights)
    draw("errors", lambda figure, ax, look: draw_errors(ax, look), figsize=(5.8, 3.1))
    draw("training", lambda figure, ax, look: draw_training(ax, look), figsize=(5.8, 5))
    draw("seconds", draw_seconds, figsize=(5.8, 4.2))
    draw("prediction", draw_prediction, figsize=(5.8, 4.8))
    draw("busy", draw_busy, figsize=(5.8, 4.2))
