"""Beside other programs that keep the CPUs busy: training and prediction, fastmlp and its peers.

python bench/busy.py
python bench/busy.py --json bench/results/zen4/busy.json   # for bench/pages.py
"""

import argparse
import multiprocessing
import os
import statistics
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import report
from peers import VARIANTS, fastmlp
from run import progress
from team import Team, installed
from workloads import WORKLOADS

N_CPUS = os.cpu_count()
TRAINED, PREDICTED = ("tiny", "small", "default", "large"), ("small", "default")
ROWS_TO_PREDICT = 1_000
ROWS_OF_LARGE = 5_000  # with all, some peers would take minutes for an epoch
N_ROUNDS, SECONDS_OF_TURN = 3, 0.5

# What fastmlp is held against: itself on one thread, and on all with a sleep at every barrier.
ONE_THREAD, ASLEEP = "fastmlp, 1 thread", "fastmlp, always asleep"
OURS = [
    fastmlp("fastmlp"),
    fastmlp(ONE_THREAD, options={"n_threads": 1}),
    fastmlp(
        ASLEEP, options={"n_threads": N_CPUS}, environment={"OMP_WAIT_POLICY": "passive"}
    ),
]  # fmt: skip
PEERS = [variant for variant in VARIANTS if variant.quick and variant.module != "fastmlp"]
FIXED = ("1 thread", "always asleep")

# The column of each peer in the tables; of those with the same one, the fastest is shown.
COLUMN_OF = {
    "fastmlp": "fastmlp",
    **dict(zip((ONE_THREAD, ASLEEP), FIXED, strict=True)),
    **{peer.name: {"PyTorch": "PyTorch, best"}.get(peer.column, peer.column) for peer in PEERS},
    "scikit-learn f32": "scikit-learn",
}


def burn():
    """Keep a CPU busy."""
    while True:
        pass


def multiply():
    """Keep all CPUs busy, as a program that computes with NumPy does."""
    import numpy as np

    matrix = np.random.default_rng(0).standard_normal((1_000, 1_000))
    while True:
        matrix @ matrix


@contextmanager
def programs(target, n):
    """So many processes at work meanwhile."""
    processes = [multiprocessing.Process(target=target, daemon=True) for _ in range(n)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


LOADS = {
    "nothing": (burn, 0),
    "2 busy processes": (burn, 2),
    "4 busy processes": (burn, 4),
    "8 busy processes": (burn, 8),
    "NumPy on all CPUs": (multiply, 1),
}


def seconds_an_epoch(team, n_epochs):
    """Medians over the rounds, by peer."""
    seconds = {name: [] for name in n_epochs}
    for _ in range(N_ROUNDS):
        for name, n in n_epochs.items():
            answer = team.take_turns([name], "train", n_epochs=n).get(name)
            if answer:
                seconds[name].append(answer["seconds"] / n)
    return {name: statistics.median(turns) for name, turns in seconds.items() if turns}


def seconds_of_a_call(team):
    """Of a prediction: medians over the rounds, by peer."""
    names = team.names("predicts")
    rounds = [
        team.take_turns(names, "predict", n_rows=ROWS_TO_PREDICT, seconds=SECONDS_OF_TURN)
        for _ in range(N_ROUNDS)
    ]
    return {name: statistics.median(turn[name]["median"] for turn in rounds) for name in rounds[-1]}


def epochs_of_a_turn(team):
    """How many epochs every peer makes in a turn, while nothing else runs."""
    team.take_turns(team.names("trains"), "restart")
    team.take_turns(team.names("trains"), "train", n_epochs=1)
    answers = team.take_turns(team.names("trains"), "train", n_epochs=1)
    return {
        name: max(1, round(SECONDS_OF_TURN / answer["seconds"])) for name, answer in answers.items()
    }


def workload_of(name):
    """As in run.py, but that a large network sees fewer rows."""
    workload = WORKLOADS[name]
    return replace(workload, n_rows=ROWS_OF_LARGE) if name == "large" else workload


def under_each_load(what, measure):
    """{load: {peer: seconds}}"""
    figures = {}
    for load, (target, n) in LOADS.items():
        progress(f"{what}, beside {load}")
        with programs(target, n):
            figures[load] = measure()
    return figures


def best_by_column(seconds):
    """Of the seconds by peer, the least of each column."""
    best = {}
    for name, value in seconds.items():
        column = COLUMN_OF[name]
        best[column] = min(value, best.get(column, float("inf")))
    return best


def milliseconds(seconds):
    """Three digits, the thousands apart: 2,050."""
    return f"{float(f'{1e3 * seconds:.3g}'):,g}"


def table(figures):
    """Heads and rows: milliseconds beside each load, and what fastmlp is held against."""
    best = {load: best_by_column(seconds) for load, seconds in figures.items()}
    columns = list(best["nothing"])
    others = [name for name in columns if name not in ("fastmlp", *FIXED, "scikit-learn")]
    rows = []
    for load, seconds in best.items():
        own = min(seconds[name] for name in FIXED)
        other = min((seconds[name] for name in others if name in seconds), default=float("nan"))
        cells = (milliseconds(seconds[name]) if name in seconds else "-" for name in columns)
        ratios = seconds["fastmlp"] / own, other / seconds["fastmlp"]
        rows.append([load, *cells, *(f"{ratio:.2f}" for ratio in ratios)])
    return ["load", *columns, "fastmlp / better fixed", "best other / fastmlp"], rows


def main():
    """Print a table for each workload, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--select", default=",".join(TRAINED), help="workloads; default: all")
    parser.add_argument("--json", type=Path, metavar="PATH", help="keep the tables")
    given = parser.parse_args()
    tables = {}
    print(report.machine_line(report.machine()))
    with Team(installed(OURS + PEERS)) as team:
        for name in given.select.split(","):
            progress(f"{name}: preparing")
            workload = workload_of(name)
            team.prepare(list(team.processes), workload=asdict(workload), mnist_path=None)
            n_epochs = epochs_of_a_turn(team)
            figures = under_each_load(name, lambda n=n_epochs: seconds_an_epoch(team, n))
            tables[name] = table(figures)
            what = f"{name}, {workload.network}, {workload.n_rows:,} rows: ms an epoch"
            print(f"\n{what}\n\n{report.table(*tables[name])}", flush=True)
            if name in PREDICTED:
                key = f"{name}, predictions"
                tables[key] = table(under_each_load(key, lambda: seconds_of_a_call(team)))
                what = f"{name}: ms a prediction of {ROWS_TO_PREDICT:,} rows"
                print(f"\n{what}\n\n{report.table(*tables[key])}", flush=True)
    if given.json:
        report.keep(given.json, tables)
    return 1 if team.failures else 0


if __name__ == "__main__":
    sys.exit(main())
