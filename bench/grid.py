"""Networks of many shapes beside the peers: where is fastmlp least ahead?

python bench/grid.py                  # about ten minutes on two cores
python bench/grid.py --select batch   # some of width, depth, batch, activation, solver
"""

import argparse
import sys
from dataclasses import asdict, replace

from peers import REFERENCE, VARIANTS
from report import best_of_columns, machine, machine_line, table
from run import Pace, measure_training
from team import Team, installed
from workloads import ACTIVATIONS, Workload

N_ROUNDS = 3
N_ROWS = 8_192

# Of a turn, so that the constant cost of a call of `fit` is a small part of it.
OPERATIONS_IN_TURN = 1e10
FEWEST_EPOCHS, MOST_EPOCHS = 4, 20

BASE = Workload("base", (64, 100, 10), 64, n_epochs=FEWEST_EPOCHS, n_rows=N_ROWS)


def grid():
    """One thing changes at a time, and the networks are of two sizes."""
    wide = replace(BASE, layer_sizes=(200, 300, 10), batch_size=200)
    for width in (1, 7, 33, 100, 333, 1000):
        yield "width", replace(BASE, layer_sizes=(64, width, 10))
        yield "width", replace(wide, layer_sizes=(200, width, width, 10))
    for depth in (0, 1, 2, 4, 10):
        yield "depth", replace(BASE, layer_sizes=(64, *[50] * depth, 10))
    for batch_size in (1, 8, 32, 200, 1024, 4096):
        n_rows = min(N_ROWS, max(1024, 256 * batch_size))
        yield "batch", replace(BASE, batch_size=batch_size, n_rows=n_rows)
        yield "batch", replace(wide, batch_size=batch_size, n_rows=n_rows)
    for activation in ACTIVATIONS:
        yield "activation", replace(BASE, activation=activation)
        yield "activation", replace(wide, activation=activation)
    yield "solver", replace(BASE, solver="sgd")
    yield "solver", replace(wide, solver="sgd")


def epochs_in_turn(workload):
    """How many: the fewer, the more there is to do."""
    wanted = OPERATIONS_IN_TURN / (workload.operations_of_row * workload.n_rows)
    return int(min(MOST_EPOCHS, max(FEWEST_EPOCHS, wanted)))


def main():
    """Measure, and print the ratios, the smallest first."""
    kinds = list(dict.fromkeys(kind for kind, _ in grid()))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--select", help=f"some of {','.join(kinds)}; default: all")
    selected = parser.parse_args().select
    selected = selected.split(",") if selected else kinds
    if not set(selected) <= set(kinds):
        parser.error(f"--select takes some of {', '.join(kinds)}")
    pace = Pace(N_ROUNDS, 1, 1, 0.0, 1)
    variants = installed([v for v in VARIANTS if v.quick and v.trains])
    rows = []
    with Team(variants) as team:
        for kind, workload in grid():
            if kind not in selected:
                continue
            label = f"{workload.network}, {workload.batch_size}"
            label += "".join(
                f", {value}"
                for value, usual in ((workload.activation, "relu"), (workload.solver, "adam"))
                if value != usual
            )
            workload = replace(workload, name=label, n_epochs=epochs_in_turn(workload))
            team.prepare(list(team.processes), workload=asdict(workload), mnist_path=None)
            best = best_of_columns(measure_training(team, workload, pace)["peers"])
            ours = best.pop(REFERENCE)
            ratios = {column: figure["best"] / ours["best"] for column, figure in best.items()}
            rows.append((min(ratios.values()), kind, label, ours["best"], ratios))
    columns = list(rows[0][-1])
    print(machine_line(machine()))
    print("\nSeconds an epoch of a peer over those of fastmlp, the smallest ratio first\n")
    print(
        table(
            ["least", "kind", "network, batch", "fastmlp, ms", *columns],
            [
                [f"{least:.2f}", kind, label, f"{1e3 * seconds:.3g}"]
                + [f"{ratios[column]:.3g}" for column in columns]
                for least, kind, label, seconds, ratios in sorted(rows, key=lambda row: row[0])
            ],
        )
    )
    return 1 if team.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
