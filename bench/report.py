"""What a run leaves behind: the tables, the picture, and a description of the machine."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import time
from pathlib import Path

import numpy as np
from peers import REFERENCE, VARIANTS
from workloads import WORKLOADS

from fastmlp import _core

COLUMN_OF = {variant.name: variant.column for variant in VARIANTS}
COLUMNS = tuple(dict.fromkeys(COLUMN_OF.values()))
OTHER_FORMS = tuple(v.column for v in VARIANTS if v.module == "fastmlp" and v.name != REFERENCE)
RIVALS = tuple(name for name in COLUMNS if name not in (REFERENCE, *OTHER_FORMS))
DISTRIBUTIONS = ("fastmlp", "numpy", "scipy", "scikit-learn", "torch", "jax", "onnxruntime")


def machine(distributions=DISTRIBUTIONS):
    """The class of the machine and the versions in use; nothing that names the one machine."""
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    versions = {}
    for distribution in distributions:
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            versions[distribution] = None
    return {
        "cpu": cpu(),
        "cores": n_cores(),
        "architecture": platform.machine(),
        "instruction_sets": [*simd.get("baseline", []), *simd.get("found", [])],
        "system": platform.system(),
        "compiler": _core.compiler(),
        "commit": commit(),
        "python": platform.python_version(),
        "versions": versions,
    }


def cpu():
    """The kind of CPU, as the system names it. Virtual machines often leave all but numbers out."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    values = dict(re.findall(r"^([^:\t]+)\t*: (.+)$", text, re.M))
    known = [name for name in ("cpu family", "model", "stepping") if name in values]
    numbers = ", ".join(f"{name} {values[name]}" for name in known)
    return f"{values.get('model name', platform.processor())} ({numbers})"


def commit():
    """The commit of this folder, with a mark if files have been changed since; None without git."""
    try:
        shown = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return shown.stdout.strip()


def n_cores():
    """The cores that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def machine_line(machine):
    """The machine in a line for people."""
    versions = (f"{name} {version}" for name, version in machine["versions"].items() if version)
    return (
        f"{machine['cores']} cores, {machine.get('cpu') or machine['architecture']} "
        f"({', '.join(machine['instruction_sets'])}), {machine['system']}, "
        f"Python {machine['python']}, {', '.join(versions)}"
    )


def best_of_columns(figures):
    """Of the figures of all variants, by name, the best one for each column.

    Results that were taken over from a table may have a figure of the column itself.
    """
    best = {}
    for name, figure in figures.items():
        column = COLUMN_OF.get(name, name)
        if figure["best"] < best.get(column, {"best": np.inf})["best"]:
            best[column] = figure
    return best


def ratio(best, column):
    """How many times longer than fastmlp a column takes; None without fastmlp."""
    if REFERENCE in best:
        return best[column]["best"] / best[REFERENCE]["best"]
    return None


def ratio_text(best, column):
    """The ratio as it stands behind a time, nothing for fastmlp itself."""
    value = ratio(best, column)
    return "" if value is None or column == REFERENCE else f" ({value:.3g} x)"


def seconds_text(seconds):
    """Three digits in the unit that suits."""
    for unit, factor in (("us", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def table(heads, rows):
    """A Markdown table, its columns aligned."""
    widths = [max(map(len, cells)) for cells in zip(heads, *rows, strict=True)]
    padded = (
        [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        for cells in (heads, ["-" * width for width in widths], *rows)
    )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)


def table_of_columns(heads, labelled_figures, cell):
    """A table with a column for every peer that has a figure in one of the rows.

    Parameters
    ----------
    heads : the heads of the cells that label a row
    labelled_figures : list of (labels, figures of all variants by name)
    cell : function of a figure, giving the text to stand beside the ratio
    """
    rows = [(labels, best_of_columns(figures)) for labels, figures in labelled_figures]
    columns = [column for column in COLUMNS if any(column in best for _, best in rows)]
    return table(
        [*heads, *columns],
        [
            [
                *labels,
                *(
                    cell(best[column], ratio_text(best, column)) if column in best else "-"
                    for column in columns
                ),
            ]
            for labels, best in rows
        ],
    )


def training_table(training):
    """Seconds an epoch, the ratio and the loss reached."""
    return table_of_columns(
        ["name", "network, batch", "epochs"],
        [
            (
                [
                    name,
                    f"{WORKLOADS[name].network}, {WORKLOADS[name].batch_size}",
                    str(entry["epochs"]),
                ],
                entry["peers"],
            )
            for name, entry in training.items()
        ],
        lambda figure, ratio: f"{figure['best']:.3g}{ratio} [{figure['loss']:.4f}]",
    )


def training_ratios(results, with_reached=False):
    """Seconds of fastmlp, and how many times as long the other libraries take; MNIST too.

    `with_reached`: behind each the loss or, for MNIST, the accuracy that was reached.
    """
    entries = dict(results["training"])
    if results["mnist"]:
        entries["MNIST"] = results["mnist"]
    best = {name: best_of_columns(entry["peers"]) for name, entry in entries.items()}
    rivals = [name for name in RIVALS if any(name in figures for figures in best.values())]

    def cell(name, column):
        figure = best[name].get(column)
        if not figure:
            return "-"
        text = ratio_in_brief(ratio(best[name], column))
        if column == REFERENCE:
            text = f"{figure['best']:#.3g}"
            if name == "MNIST":
                text += f" for {entries[name]['epochs']} epochs"
        reached = figure.get("loss", figure.get("accuracy"))
        return f"{text} [{reached:.4f}]" if with_reached else text

    heads = [
        "", "network, batch size", "fastmlp, s per epoch",
        *("PyTorch, best mode" if name == "PyTorch" else name for name in rivals),
    ]  # fmt: skip
    rows = [
        [
            name, f"{entry['network']}, {entry['batch_size']}",
            *(cell(name, column) for column in (REFERENCE, *rivals)),
        ]
        for name, entry in entries.items()
    ]  # fmt: skip
    return table(heads, rows)


def ratio_in_brief(value):
    """Two digits, or hundredths where they decide who is faster."""
    if value < 1.2:
        return f"{value:.2f} x"
    return f"{value:.1f} x" if value < 9.95 else f"{value:,.0f} x"


def best_gemm(n=2048, n_rounds=10):
    """The best rate of a large product of float32 matrices by NumPy on all cores, in GFLOP/s."""
    A = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    C = np.empty_like(A)
    seconds = []
    for _ in range(n_rounds):
        began = time.perf_counter()
        np.matmul(A, A, out=C)
        seconds.append(time.perf_counter() - began)
    return 2 * n**3 / min(seconds) / 1e9


def share_table(training, limit):
    """What fastmlp reaches of the machine's best product of matrices."""
    rows = []
    for name, entry in training.items():
        if REFERENCE in entry["peers"]:
            workload = WORKLOADS[name]
            operations = workload.operations_of_row * workload.n_rows
            rate = operations / entry["peers"][REFERENCE]["best"] / 1e9
            rows.append([name, f"{rate:.3g}", f"{rate / limit:.0%}"])
    return table(["name", "GFLOP/s", "share"], rows)


def prediction_table(prediction, without=()):
    """The time of one call for each number of rows, and the ratio; without some of the peers."""
    return table_of_columns(
        ["network", "rows"],
        [
            (
                [WORKLOADS[name].network, f"{int(n_rows):,}"],
                {peer: figure for peer, figure in figures.items() if peer not in without},
            )
            for name, by_rows in prediction.items()
            for n_rows, figures in by_rows.items()
        ],
        lambda figure, ratio: f"{seconds_text(figure['best'])}{ratio}",
    )


def mnist_table(mnist):
    """One line a variant: the first fit of its process, the best one, test accuracy."""
    reference = mnist["peers"].get(REFERENCE)
    rows = [
        [
            name,
            f"{figure['seconds'][0]:.3g}",
            f"{figure['best']:.3g}",
            f"{figure['best'] / reference['best']:.3g}" if reference else "-",
            f"{figure['accuracy']:.4f}",
        ]
        for name, figure in mnist["peers"].items()
    ]
    return table(["peer", "first fit, s", "best fit, s", "ratio", "test accuracy"], rows)


def text(results):
    """The machine and all tables of a run."""
    parts = [machine_line(results["machine"]), *sections(results).values()]
    if results["failures"]:
        parts.append(f"Failed, see the messages above: {', '.join(results['failures'])}")
    return "\n\n".join(parts)


def sections(results):
    """The tables of a run by their names, each below a line that says what it shows."""
    parts = {}
    if results["training"]:
        parts["training"] = (
            f"Training: seconds per epoch (ratio to {REFERENCE}) [loss reached]\n\n"
            + training_table(results["training"])
        )
        limit = results["machine"]["best_gemm"]
        parts["arithmetic"] = (
            f"Arithmetic of {REFERENCE}'s training, and its share of the machine's highest rate "
            f"for a matrix product ({limit:.0f} GFLOP/s)\n\n"
            + share_table(results["training"], limit)
        )
    if results["prediction"]:
        parts["prediction"] = (
            f"Prediction: time of a call (ratio to {REFERENCE})\n\n"
            + prediction_table(results["prediction"])
        )
    if results["mnist"]:
        parts["mnist"] = (
            f"MNIST: a whole fit of {results['mnist']['epochs']} epochs\n\n"
            + mnist_table(results["mnist"])
        )
    return parts


def keep(path, tables):
    """Write tables of a small benchmark to a file from which bench/pages.py takes them.

    Parameters
    ----------
    path : Path
    tables : dict
        The heads and the rows of each table, by its name.
    """
    kept = {name: {"heads": heads, "rows": rows} for name, (heads, rows) in tables.items()}
    contents = {"machine": machine(), "tables": kept}
    path.write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")


def panels_of(results):
    """What the picture shows: for each panel its title and, by the group's label, the best figures.

    Only groups in which fastmlp took part, since the others have no ratio.
    """
    training = {name: entry["peers"] for name, entry in results["training"].items()}
    if results["mnist"]:
        training["mnist"] = results["mnist"]["peers"]
    panels = {"Training": training}
    for name, by_rows in results["prediction"].items():
        for n_rows, figures in by_rows.items():
            title = f"Prediction, {int(n_rows):,} row{'s' if int(n_rows) > 1 else ''} a call"
            panels.setdefault(title, {})[name] = figures
    with_ratios = {
        title: {
            f"{name}\n{WORKLOADS[name].network}": best_of_columns(figures)
            for name, figures in groups.items()
            if REFERENCE in figures
        }
        for title, groups in panels.items()
    }
    return {title: groups for title, groups in with_ratios.items() if groups}


def plot(results, path):
    """Draw how many times longer than fastmlp every peer takes.

    Raises
    ------
    ValueError
        If there is no ratio to draw, since fastmlp did not take part.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    panels = panels_of(results)
    if not panels:
        raise ValueError("nothing to draw: without fastmlp there are no ratios")
    colors = dict(zip(COLUMNS, pyplot.get_cmap("tab10").colors, strict=False))
    figure, axes = pyplot.subplots(
        len(panels), figsize=(11, 2.8 * len(panels) + 1), squeeze=False, layout="constrained"
    )
    handles = {}
    for axis, (title, groups) in zip(axes[:, 0], panels.items(), strict=True):
        present = [
            column
            for column in COLUMNS
            if column != REFERENCE and any(column in best for best in groups.values())
        ]
        width = 0.85 / max(1, len(present))
        for place, column in enumerate(present):
            ratios = {
                group: ratio(best, column)
                for group, best in enumerate(groups.values())
                if column in best
            }
            # Bars grow from 1, which is fastmlp: up is slower, down is faster.
            bars = axis.bar(
                [group + (place - (len(present) - 1) / 2) * width for group in ratios],
                [value - 1 for value in ratios.values()],
                width,
                bottom=1,
                color=colors[column],
            )
            axis.bar_label(bars, [f"{value:.2g}" for value in ratios.values()], fontsize=7)
            handles[column] = bars
        axis.set_yscale("log")
        lowest, highest = axis.get_ylim()
        axis.set_ylim(min(0.7, lowest / 1.3), max(1.5, highest * 1.3))  # room for the labels
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(ticker.NullFormatter())
        axis.axhline(1, color="black", linewidth=1)
        axis.set_xticks(range(len(groups)), groups)
        axis.set_title(title, loc="left")
        axis.grid(axis="y", alpha=0.4)
        axis.set_axisbelow(True)
    figure.supylabel("time divided by that of fastmlp (above 1: slower)")
    figure.legend(
        handles.values(), handles, loc="outside upper center", ncols=len(handles), frameon=False
    )
    figure.savefig(path, dpi=130)
