"""How well a training step and a prediction would be shared out on more cores than there are.

python bench/cores.py
python bench/cores.py --json bench/results/zen4/cores.json   # for bench/pages.py

For T threads, the shares of the T members of the team run one after the other on one core. A step
then takes as long as the longest share of each stage, and a barrier after each stage:

    time(T) = sum over the stages of (longest share + barrier(T))
    efficiency = time(1) / (T time(T))

This is a model. The shares are measured with warm caches, and a core fetches nothing that other
cores have written meanwhile. The barrier is measured for up to as many threads as there are CPUs.
Beyond that, its time is taken to grow in proportion to the number of threads, which write to one
cache line one after the other. `--check` compares the model with real steps on all CPUs.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import report
import scipy.sparse
from workloads import WORKLOADS, random_data

from fastmlp import Network, _core
from fastmlp._engine.layout import FOR_GRADIENT, aligned_zeros
from fastmlp._engine.rows import Data, Features

THREADS = (1, 2, 4, 8, 16, 32)
WORKLOAD_NAMES = ("small", "default", "mid", "large")
N_ROWS = 2048
N_STEPS = 12
ROUNDS = 3
ROWS_TO_PREDICT = 10_000
SHARE_OF_NONZEROS = 0.1


class Step:
    """Training steps of a workload with Adam, by the core's own functions."""

    def __init__(self, workload, *, is_sparse):
        X, y = random_data(workload)
        X, y = X[:N_ROWS], y[:N_ROWS]
        if is_sparse:
            X[np.random.default_rng(1).random(X.shape) > SHARE_OF_NONZEROS] = 0
            X = scipy.sparse.csr_matrix(X)
        loss = "log_loss" if workload.task == "classification" else "squared_error"
        self.network = Network(workload.layer_sizes, "relu", loss, random_state=0)
        targets = y.astype(np.float32).reshape(-1, 1)
        data = Data(Features.of(X), targets, np.ones(len(y), np.float32))
        self.batch_size = workload.batch_size
        self.samples = _core.Samples(*data.arrays)
        passes, own = self.network.passes, self.network.parameters
        self.model = passes.model
        table = passes.table(FOR_GRADIENT)
        self.work = passes.workspace(self.batch_size, table, dense=not is_sparse)
        solver = np.zeros(1, _core.SOLVER)
        solver["kind"], n_states = _core.SOLVERS["adam"]
        solver["beta_1"], solver["beta_2"], solver["epsilon"] = 0.9, 0.999, 1e-8
        state = aligned_zeros((n_states, own.flat.size), own.dtype)
        gradient = aligned_zeros((max(THREADS), own.largest_piece), own.dtype)
        regularizer = np.zeros(1, _core.REGULARIZER)
        regularizer["l2"] = 1e-4
        for kind in ("bias", "scale", "activation", "embedding"):
            regularizer[f"{kind}_rate"] = 1
        self.step = _core.Step(
            self.model, self.work, solver, regularizer, state, own.flat[:0], gradient
        )
        self.order = np.random.default_rng(0).permutation(len(y))

    def _arguments(self, n_steps):
        order = np.resize(self.order, n_steps * self.batch_size)
        schedule = np.tile([1e-5, 1.0, 1.0], (n_steps, 1))
        return self.model, self.work, self.samples, order, self.batch_size, schedule, self.step

    def seconds(self, n_threads, n_steps):
        """The time of a real step."""
        arguments = self._arguments(n_steps)
        began = time.perf_counter()
        _core.train(*arguments, n_threads)
        return (time.perf_counter() - began) / n_steps

    def shares(self, n_members):
        """The time of each member's share of each stage, (n_members, n_stages)."""
        before = self.network.parameters.flat.copy()
        arguments = self._arguments(N_STEPS)
        times = np.full((n_members, 64 * N_STEPS), np.nan)
        _core.rehearse(*arguments, times)
        self.network.parameters.flat[...] = before
        n_recorded = int(np.isfinite(times[0]).sum()) - 1
        spans = np.diff(times[:, : n_recorded + 1], axis=1)
        return np.median(spans.reshape(n_members, N_STEPS, -1)[:, 2:], axis=1)


def seconds_of_barrier(n_threads):
    """The time of a barrier; beyond the number of CPUs, in proportion to the threads."""
    if n_threads == 1:
        return 0.0
    n_measured = min(n_threads, os.cpu_count() or 1)
    best = min(_core.seconds_of_barrier(n_measured, 20_000) for _ in range(5))
    return best * n_threads / n_measured


def efficiencies_of_step(step, barriers):
    """The efficiency and the time of the model's step for each number of threads."""
    step.seconds(1, N_STEPS)
    times = {}
    for n in THREADS:
        shares = np.min([step.shares(n) for _ in range(ROUNDS)], axis=0)
        times[n] = shares.max(axis=0).sum() + shares.shape[1] * barriers[n]
    return {n: (times[1] / (n * times[n]), times[n]) for n in THREADS}


def best_seconds(function, *arguments):
    function(*arguments)
    best = np.inf
    for _ in range(7):
        began = time.perf_counter()
        function(*arguments)
        best = min(best, time.perf_counter() - began)
    return best


def efficiencies_of_prediction(workload, barriers):
    """The same for a prediction: the longest share is the most rows that a member takes."""
    network = Network(workload.layer_sizes, "relu", "log_loss", random_state=0, n_threads=1)
    rows = np.random.default_rng(0).standard_normal((ROWS_TO_PREDICT, workload.layer_sizes[0]))
    rows = rows.astype(np.float32)
    times = {}
    for n in THREADS:
        share = rows[: -(-ROWS_TO_PREDICT // n)]
        times[n] = best_seconds(network.output, share) + barriers[n]
    return {n: (times[1] / (n * times[n]), times[n]) for n in THREADS}


def row(name, efficiencies):
    """A row of a table: the time and, of more than one thread, the efficiency."""
    return [
        name,
        *(
            f"{1e6 * seconds:,.0f} us" + (f", {share:.0%}" if n > 1 else "")
            for n, (share, seconds) in efficiencies.items()
        ),
    ]


def show_real_steps(step, model):
    """Real steps on the CPUs that there are, beside the model's."""
    for n in model:
        if n <= (os.cpu_count() or 1):
            real = min(step.seconds(n, 20 * N_STEPS) for _ in range(ROUNDS))
            print(f"    {n} threads: {1e6 * real:.1f} us, by the model {1e6 * model[n][1]:.1f} us")


def main():
    """Print a table of training steps and one of predictions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with real steps")
    parser.add_argument("--json", type=Path, metavar="PATH", help="keep the tables")
    given = parser.parse_args()
    barriers = {n: seconds_of_barrier(n) for n in THREADS}
    print("barriers:", ", ".join(f"{n}: {1e6 * s:.2f} us" for n, s in barriers.items()))
    steps = []
    for name in WORKLOAD_NAMES:
        for is_sparse in (False, True) if name == "default" else (False,):
            step = Step(WORKLOADS[name], is_sparse=is_sparse)
            model = efficiencies_of_step(step, barriers)
            steps.append(row(name + ", sparse" * is_sparse, model))
            if given.check:
                print(f"{name}{', sparse' * is_sparse}:")
                show_real_steps(step, model)
    predictions = [
        row(name, efficiencies_of_prediction(WORKLOADS[name], barriers)) for name in WORKLOAD_NAMES
    ]
    heads = ["", "1 thread", *map(str, THREADS[1:])]
    tables = {"steps": (heads, steps), "predictions": (heads, predictions)}
    print(f"\na training step: time and efficiency\n\n{report.table(*tables['steps'])}")
    print(f"\na prediction of {ROWS_TO_PREDICT:,} rows\n\n{report.table(*tables['predictions'])}")
    if given.json:
        report.keep(given.json, tables)


if __name__ == "__main__":
    main()
