"""One network on the rows of several nodes: ranks 1 and 2 measured here, 2 to 64 nodes by a model.

    python bench/scaling.py --picture scaling.png

Needs mpi4py and mpiexec, under which the script starts itself. On two cores that do nothing else, a
run takes five to ten minutes. `--json` keeps the figures that were measured, and `--again` reads
them, for other tables of the same run.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from report import best_gemm, machine
from scaling_model import NAMES, PUBLISHED, SIZES, n_params

BATCHES = (128, 256, 1024, 2048, 4096)  # of the measured ranks
ROWS_OF_NODE = (16, 64, 256, 1024, 4096)
ROWS_OF_PUBLISHED = (64, 256, 1024)  # 1,024 rows on 16 nodes, and on one
SIZES_OF_SUM = (16, 10_000, 500_000, 4_000_000)  # and those of the workloads


def mpiexec():
    """The mpiexec of this environment, or else the one on the PATH."""
    beside = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("mpiexec")
    if found is None or importlib.util.find_spec("mpi4py") is None:
        sys.exit('bench/scaling.py needs mpi4py and mpiexec: pip install ".[distributed]"')
    return found


def on_ranks(n, run, **arguments):
    """The result of one of `scaling_steps.RUNS` on n ranks."""
    asked = json.dumps([run, arguments])
    done = subprocess.run(
        [mpiexec(), "-n", str(n), sys.executable, __file__, "--run", asked],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{run} on {n} rank(s) ended with status {done.returncode}")
    return json.loads(done.stdout)


def least(a, b):
    """The smaller numbers of two results of the same shape; times vary, but nothing else does."""
    if isinstance(a, dict):
        if a.get("bits") != b.get("bits"):
            sys.exit(f"two runs of the same fit have other weights: {a}, {b}")
        return {key: least(a[key], b[key]) for key in a}
    if isinstance(a, list):
        return [least(*pair) for pair in zip(a, b, strict=True)]
    return min(a, b)


def measured(options):
    """All figures: the least of several turns, in which the runs follow one another."""
    of_rank = {"names": NAMES, "batches": BATCHES, "n_rows": options.rows}
    of_node = {"names": NAMES, "batches": ROWS_OF_NODE, "n_rows": options.rows}
    published = {"names": [PUBLISHED], "batches": ROWS_OF_PUBLISHED, "n_rows": 256, "slots": [1]}
    if options.quick:
        of_rank["batches"], of_node["batches"] = BATCHES[:3], ROWS_OF_NODE[::2]
    sizes = sorted({*SIZES_OF_SUM, *(n_params(SIZES[name]) for name in NAMES)})
    runs = {
        "one rank": (1, "ranks", of_rank),
        "two ranks": (2, "ranks", of_rank),
        "node": (1, "node", of_node),
        "sums": (2, "sums", {"sizes": sizes}),
        PUBLISHED: (1, "node", published),
    }
    figures = {}
    for turn in range(options.turns):
        for name, (n, run, arguments) in runs.items():
            print(f"turn {turn + 1} of {options.turns}: {name}", file=sys.stderr, flush=True)
            result = on_ranks(n, run, **arguments)
            figures[name] = least(figures[name], result) if name in figures else result
    figures |= {"best_gemm": best_gemm(), "machine": machine()}
    return figures


def check_same_bits(figures):
    """Stop unless the fits on one and on two ranks have the same weights and losses."""
    for one, two in zip(figures["one rank"], figures["two ranks"], strict=True):
        if (one["bits"], one["loss"]) != (two["bits"], two["loss"]):
            sys.exit(f"one and two ranks have other weights: {one}, {two}")


def parser():
    it = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    it.add_argument("--rows", type=int, default=8_192, help="rows of a fit that is timed")
    it.add_argument("--turns", type=int, default=3)
    it.add_argument("--quick", action="store_true", help="one turn, fewer batches and rows")
    it.add_argument("--node-speed", type=float, default=1.0, metavar="TIMES",
                    help="predict for nodes so many times as fast as this machine")  # fmt: skip
    it.add_argument("--verbose", action="store_true", help="more tables")
    it.add_argument("--picture", type=Path, metavar="PNG")
    it.add_argument("--json", type=Path, metavar="PATH", help="keep the measured figures")
    it.add_argument("--again", type=Path, metavar="PATH", help="use figures of --json")
    it.add_argument("--run", help=argparse.SUPPRESS)  # within mpiexec
    return it


def run_within_mpiexec(asked):
    from scaling_steps import run

    name, arguments = json.loads(asked)
    result = run(name, arguments)
    if result is not None:
        json.dump(result, sys.stdout)


def main():
    options = parser().parse_args()
    if options.run:
        return run_within_mpiexec(options.run)
    if options.picture and importlib.util.find_spec("matplotlib") is None:
        sys.exit('--picture needs matplotlib: pip install ".[plotting]"')
    if options.quick:
        options.rows, options.turns = min(options.rows, 4096), 1
    figures = json.loads(options.again.read_text()) if options.again else measured(options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    check_same_bits(figures)
    from scaling_report import draw, text

    print(text(figures, options.node_speed, verbose=options.verbose))
    if options.picture:
        draw(figures, options.node_speed, options.picture)


if __name__ == "__main__":
    main()
