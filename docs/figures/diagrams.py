"""The drawings of docs/how-it-works.md."""

import functools
from pathlib import Path

import matplotlib as mpl
from look import Diagram, draw_both

THREADS = ["blue", "orange", "green", "purple"]
DOTS = "…"


def draw_parameters(figure, ax, look):
    """The flat buffer, and the matrix of one layer."""
    d = Diagram(ax, look, 100, 62)
    x = 2
    for layer, (of_weights, of_bias) in enumerate([(34, 8), (24, 8)], 1):
        d.box(x, 8, of_weights, 9, f"W$^{layer}$", "blue", size=12)
        d.box(x + of_weights, 8, of_bias, 9, f"b$^{layer}$", "orange", size=12)
        end = x + of_weights + of_bias
        d.words((x + end) / 2, 4, f"layer {layer}", soft=True)
        x = end + 1
    d.words(x + 4, 12.5, DOTS, size=14)
    d.arrow((2, 23), (2, 17.5))
    d.words(3, 22.5, "offset W", at="left", size=9, soft=True)
    d.arrow((36, 23), (36, 17.5))
    d.words(37, 22.5, "offset b = W + n_in · stride", at="left", size=9, soft=True)

    top, left, wide, high = 33, 22, 7, 4
    rows, columns, padding = 4, 5, 2
    d.words(left, 29, "the same as a matrix of n_in + 1 rows", at="left", soft=True)
    for row in range(rows + 1):
        color = "blue" if row < rows else "orange"
        y = top + row * high
        for column in range(columns):
            d.box(left + column * wide, y, wide, high, "", color)
        for column in range(columns, columns + padding):
            d.box(left + column * wide, y, wide, high, "0", "gray", size=8.5)
    d.words(left - 2, top + rows * high / 2, "W: n_in rows", at="right", size=10)
    d.words(left - 2, top + (rows + 0.5) * high, "b", at="right", size=10)
    bottom = top + (rows + 1) * high
    for start, end, y, words in [
        (0, columns, bottom + 3, "n_out numbers"),
        (columns, columns + padding, bottom + 3, "padding"),
        (0, columns + padding, bottom + 7.5, "stride: whole cache lines of 64 bytes"),
    ]:
        x0, x1 = left + start * wide + 0.3, left + end * wide - 0.3
        d.line([x0, x0, x1, x1], [y - 2.3, y - 1.5, y - 1.5, y - 2.3])
        d.words((x0 + x1) / 2, y, words, size=9, soft=True)


def draw_workspace(figure, ax, look):
    """Which matrices a workspace has, for two kinds of activations."""
    d = Diagram(ax, look, 100, 42)
    rows = [
        ("training with relu", [("z$^1$ = a$^1$", "blue"), ("delta$^1$", "green")]),
        (
            "training with gelu, which needs z for its derivative",
            [("z$^1$", "blue"), ("a$^1$", "purple"), ("delta$^1$", "green")],
        ),
    ]
    for n, (title, of_layer) in enumerate(rows):
        y = 6 + 18 * n
        d.words(2, y - 3, title, at="left", soft=True)
        x = 2
        for name, color in of_layer:
            d.box(x, y, 16, 9, name, color, size=11)
            x += 16
        for name, color in of_layer[: 1 if n else 2]:
            d.box(x, y, 16, 9, name.replace("^1", "^2"), color, size=11)
            x += 16
        d.words(x + 3.5, y + 4.5, DOTS, size=14)
        d.box(x + 7, y, 16, 9, "x = a$^0$", "orange", size=11)
    d.words(
        2,
        38.5,
        "each matrix has as many rows as the capacity, each of stride numbers",
        at="left",
        size=9.5,
        soft=True,
    )


def draw_step(figure, ax, look):
    """Two stages and two barriers; a lane for each thread."""
    d = Diagram(ax, look, 100, 64)
    lanes = [16, 29.5, 43]
    for n, y in enumerate(lanes):
        d.words(13.5, y + 4.5, f"thread {n}", at="right", size=10)
        color = THREADS[n]
        d.box(16, y, 33, 9, "its rows of the batch\n(1)  (2)  (3), all layers", color, size=9)
        d.box(56, y, 33, 9, "its rows of [W; b]\n(4) and then (5)", color, size=9)
    d.words(32.5, 5, "stage 1: rows", size=11, weight="bold")
    d.words(32.5, 11, "reads W and b,\nwrites its rows of a and delta", size=8.5, soft=True)
    d.words(72.5, 5, "stage 2: parameters", size=11, weight="bold")
    d.words(
        72.5, 11, "reads a and delta of all rows,\nwrites its own parameters", size=8.5, soft=True
    )
    for x in (52.5, 92.5):
        d.line([x, x], [8, 55], color=look["ink"], lw=2.5)
        d.words(x, 57.5, "barrier", size=9.5)
    d.arrow((16, 61.5), (97, 61.5))
    d.words(13.5, 61.5, "time", at="right", size=9.5, soft=True)
    for y in lanes:
        d.arrow((94, y + 4.5), (99, y + 4.5))


def draw_cut(figure, axes, look):
    """Rows, rows and columns, parameters: who computes what."""
    titles = [
        ("stage 1, four threads", "pieces of rows"),
        ("stage 1, 16 threads", "4 pieces of rows\nx 4 groups of columns"),
        ("stage 2, four threads", "rows of [W; b]"),
    ]
    for ax, (title, below) in zip(axes, titles, strict=True):
        d = Diagram(ax, look, 40, 52)
        d.words(20, 3, title, size=10.5, weight="bold")
        d.words(20, 47, below, size=9.5, soft=True)
        if "16" in title:
            for row in range(4):
                for column in range(4):
                    color = THREADS[(row + column) % 4]
                    d.box(4 + 8 * column, 8 + 8 * row, 8, 8, str(4 * row + column), color, size=9)
        else:
            for row in range(4):
                d.box(4, 8 + 8 * row, 32, 8, f"thread {row}", THREADS[row], size=9.5)


def draw_waiting(figure, axes, look):
    """What a thread does that waits for another one, and who takes pieces of a prediction."""
    left, right = axes
    d = Diagram(left, look, 60, 40)
    d.words(30, 3, "training: both meet at a barrier", size=10.5, weight="bold")
    for n, y in enumerate((9, 21)):
        d.words(7.5, y + 4, f"{n}", at="right", size=10)
    d.box(9, 9, 15, 8, "works", "blue", size=9)
    d.box(24, 9, 11, 8, "spins", "gray", size=9)
    d.box(35, 9, 12, 8, "sleeps", "gray", size=9)
    d.box(9, 21, 38, 8, "works, without a CPU for a while", "orange", size=8.5)
    d.line([47.8, 47.8], [7, 31], color=look["ink"], lw=2.5)
    d.words(29.5, 19, "at most 100 us", size=8, soft=True)
    d.box(49, 9, 9, 8, "", "blue")
    d.box(49, 21, 9, 8, "", "orange")
    d.words(53.5, 35, "next stage", size=8.5, soft=True)
    d = Diagram(right, look, 60, 40)
    d.words(30, 3, "predictions: pieces one by one", size=10.5, weight="bold")
    for n, y in enumerate((9, 21)):
        d.words(5.5, y + 4, f"{n}", at="right", size=10)
    for x, piece in zip((7, 18, 29, 40), (0, 1, 2, 4), strict=True):
        d.box(x, 9, 11, 8, f"piece {piece}", "blue", size=8.5)
    d.box(7, 21, 20, 8, "wakes up late", "gray", size=8.5)
    d.box(29.5, 21, 11, 8, "piece 3", "orange", size=8.5)
    d.words(42.5, 25, "no piece is left", at="left", size=8.5, soft=True)
    d.words(30, 35, "nobody waits for a thread that has not started", size=8.5, soft=True)


def draw_slots(figure, ax, look):
    """The gradients of eight slots are added in the order of a binary tree."""
    d = Diagram(ax, look, 100, 78)
    places = [8 + 12 * n for n in range(8)]
    for process in range(4):
        x = places[2 * process] - 5.5
        d.box(x, 2, 23, 32, "", THREADS[process], edge=True)
        d.words(x + 11.5, 5.5, f"process {process}", size=9.5)
    for n, x in enumerate(places):
        d.box(x - 4.5, 9.5, 9, 7, f"slot {n}", THREADS[n // 2], size=8.5)
    level, y = places, 16.5
    for high in (13, 15, 13):
        above = y + high - 5
        parents = []
        for a, b in zip(level[::2], level[1::2], strict=True):
            middle = (a + b) / 2
            d.line([a, a, b, b], [y, above, above, y])
            d.line([middle, middle], [above, y + high - 2])
            d.words(middle, y + high, "+", size=13, weight="bold")
            parents.append(middle)
        level, y = parents, y + high + 2
    d.words(
        50, 43, "between processes: each\nadds up a piece of the\nparameters for all",
        size=8.5, soft=True,
    )  # fmt: skip
    d.arrow((level[0], y), (level[0], y + 3))
    d.box(
        level[0] - 28,
        y + 3,
        56,
        8,
        "(5) in every process, with the same gradient",
        "gray",
        size=9.5,
    )


def draw_packages(figure, ax, look):
    """Folders from top to bottom."""
    d = Diagram(ax, look, 100, 66)
    floors = [
        (["__main__"], "python -m fastmlp", "gray"),
        (["_cli"], "the command line", "gray"),
        (["__init__"], "what is public", "gray"),
        (["distributed"], "what is public, for clusters", "gray"),
        (["_onnx"], "graphs of ONNX", "purple"),
        (["_inspection", "_files"], "a look at a fit; model files", "purple"),
        (["_tabular"], "ensembles for tables", "green"),
        (["_estimators"], "the scikit-learn interface", "green"),
        (["_distributed"], "several processes", "orange"),
        (["_training"], "solvers, epochs, schedules", "orange"),
        (["_engine"], "a network in memory", "blue"),
        (["_core", "_guard"], "compiled: all arithmetic", "blue"),
    ]
    for n, (folders, words, color) in enumerate(floors):
        y = 1 + 5.4 * n
        width = 44 / len(folders)
        for k, folder in enumerate(folders):
            d.box(2 + k * width, y, width, 4.6, folder, color, size=9.5)
        d.words(49, y + 2.3, words, at="left", size=9.5, soft=True)
    d.line([84, 84], [1, 40], color=look["soft"])
    d.line([84, 84], [46, 65])
    d.words(86, 20, "may import\nscikit-learn", at="left", size=9.5)
    d.words(86, 55, "without\nscikit-learn", at="left", size=9.5)


def draw_code(figure, ax, look):
    """For examples that are shown without a picture."""
    d = Diagram(ax, look, 100, 70)
    rows = [
        (8, 38, "blue"),
        (16, 56, "gray"),
        (16, 44, "gray"),
        (24, 50, "green"),
        (16, 30, "gray"),
    ]
    for n, (x, width, color) in enumerate([*rows, (8, 26, "orange")]):
        d.box(x + 6, 8 + 9.5 * n, width, 4.5, "", color)


def draw_all():
    """Every drawing."""
    mpl.rcParams["axes.unicode_minus"] = False
    draw = functools.partial(draw_both, source=Path(__file__).read_text("utf-8"))
    draw("parameters", draw_parameters, figsize=(7, 4.2))
    draw("workspace", draw_workspace, figsize=(7, 2.7))
    draw("step", draw_step, figsize=(7, 4))
    draw("cut", draw_cut, ncols=3, figsize=(7, 2.9))
    draw("waiting", draw_waiting, ncols=2, figsize=(7.4, 2.5))
    draw("slots", draw_slots, figsize=(7, 4.6))
    draw("code", draw_code, figsize=(4, 2.8))
    draw("packages", draw_packages, figsize=(7, 4.3))
