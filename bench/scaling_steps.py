"""What bench/scaling.py measures under mpiexec: steps of fits, and sums of gradients."""

import time
import warnings
import zlib
from dataclasses import replace
from functools import cache

import numpy as np
from mpi4py import MPI
from scaling_model import PUBLISHED, SIZES
from workloads import random_data

from fastmlp import MLPClassifier, MLPRegressor, distributed

# There is no public way to time the sum of the gradients or the move alone.
from fastmlp._distributed.ranks import current_ranks
from fastmlp._distributed.sums import SumOfGradients
from fastmlp._training.parts import StepsInParts

MOST_STEPS = 40
SLOTS_OF_NODE = (1, 2, 4)  # of a node among 8 or more, among 4, among 2, where there are 8 slots
SECONDS_OF_SUM = 0.3


def rows_of_run(batch, n_rows):
    """Whole mini-batches of about ``n_rows`` rows: two or more, but not very many small ones."""
    return batch * max(2, min(MOST_STEPS, n_rows // batch))


@cache
def data_of(name, n_rows):
    workload = SIZES[name]
    if workload.layer_sizes[-1] <= 10:
        return random_data(replace(workload, n_rows=n_rows))
    generator = np.random.default_rng(0)
    X = generator.standard_normal((n_rows, workload.layer_sizes[0]), dtype=np.float32)
    return X, np.arange(n_rows) % workload.layer_sizes[-1]


def rows_for(name, batch, n_rows):
    """X and y of a run; every class is among them, or else the output layer would be smaller."""
    n = rows_of_run(batch, n_rows)
    X, y = data_of(name, max(n, n_rows, SIZES[name].layer_sizes[-1]))
    return X[:n], y[:n]


class Move:
    """Times the moves of the parameters in the fits of a block."""

    def __enter__(self):
        self.seconds = []
        self._apply = apply = StepsInParts.apply

        def timed(steps, of_step):
            began = time.perf_counter()
            apply(steps, of_step)
            self.seconds.append(time.perf_counter() - began)

        StepsInParts.apply = timed
        return self

    def __exit__(self, *_):
        StepsInParts.apply = self._apply


def fitted(name, X, y, batch, n_epochs, n_threads):
    """A model after a few epochs, the first of which is for warming up."""
    workload = SIZES[name]
    estimator = MLPRegressor if workload.task == "regression" else MLPClassifier
    model = estimator(
        hidden_layer_sizes=workload.layer_sizes[1:-1], solver=workload.solver, batch_size=batch,
        max_iter=n_epochs, n_iter_no_change=n_epochs, random_state=0, n_threads=n_threads,
    )  # fmt: skip
    if name == PUBLISHED:  # a step for all of its classes, of which few are among the rows
        model.set_params(max_iter=1)
        for _ in range(n_epochs):
            model.partial_fit(X, y, classes=np.arange(workload.layer_sizes[-1]))
        return model
    return model.fit(X, y)


def seconds_of_step(model, n_steps):
    return min(model.history_["seconds"]) / n_steps


def on_ranks(name, batch, n_rows, n_slots, n_threads=None, comm=MPI.COMM_WORLD):
    """A fit to rows of which each rank has its share.

    Returns
    -------
    dict : seconds of a step and of the move, the loss reached, and a checksum of the weights
    """
    X, y = rows_for(name, batch, n_rows)
    rank, n = comm.Get_rank(), comm.Get_size()
    mine = slice(len(y) * rank // n, len(y) * (rank + 1) // n)
    with distributed.mpi(comm, n_slots=n_slots), Move() as move:
        model = fitted(name, X[mine], y[mine], batch, 3, n_threads)
    bits = b"".join(np.ascontiguousarray(it).tobytes() for it in model.coefs_)
    return {
        "seconds": seconds_of_step(model, len(y) // batch),
        "move": min(move.seconds),
        "loss": float(model.loss_curve_[-1]),
        "bits": zlib.crc32(bits),
    }


def plain(name, batch, n_rows, n_threads=None):
    """Seconds of a step of a usual fit."""
    X, y = rows_for(name, batch, n_rows)
    return seconds_of_step(fitted(name, X, y, batch, 3, n_threads), len(y) // batch)


def run_ranks(names, batches, n_rows):
    """Of all ranks, one thread each: a list of figures, and of plain fits if there is one rank."""
    figures = []
    for name in names:
        for batch in batches:
            cell = {"name": name, "batch": batch} | on_ranks(name, batch, n_rows, 8, 1)
            if MPI.COMM_WORLD.Get_size() == 1:
                cell["plain"] = plain(name, batch, n_rows, 1)
            figures.append(cell)
    return figures


def run_node(names, batches, n_rows, slots=SLOTS_OF_NODE):
    """A node's own part of a step, on all threads, without any other node.

    With some slots of its own, a single rank does what a node does, but for the sum over nodes.
    """
    return [
        {
            "name": name,
            "rows": rows,
            "plain": plain(name, rows, n_rows),
            "slots": {n: on_ranks(name, rows, n_rows, n) for n in slots},
        }
        for name in names
        for rows in batches
    ]


def seconds_of_additions(n):
    """The least time of adding one array of float32 numbers to another."""
    a, b = np.zeros(n, np.float32), np.ones(n, np.float32)
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        np.add(a, b, out=a)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def seconds_of_sum(n):
    """The sum of the gradients of n parameters alone, one slot a rank: least and median time."""
    comm = MPI.COMM_WORLD
    seconds = []
    with distributed.mpi(comm, n_slots=comm.Get_size()):
        add_up = SumOfGradients(current_ranks(), n, np.dtype(np.float32))
        while len(seconds) < 3 or comm.bcast(sum(seconds)) < SECONDS_OF_SUM:
            comm.Barrier()
            began = time.perf_counter()
            add_up(lambda slot, out: None, [])
            seconds.append(time.perf_counter() - began)
    return {"least": min(seconds), "median": float(np.median(seconds))}


def run_sums(sizes):
    """The sum over the ranks for several numbers of parameters."""
    return [
        {"n_params": n, **seconds_of_sum(n), "additions": seconds_of_additions(n)} for n in sizes
    ]


RUNS = {"ranks": run_ranks, "node": run_node, "sums": run_sums}


def run(name, arguments):
    """Run one of RUNS; the result of the first rank, None on the others."""
    warnings.simplefilter("ignore")  # that so few epochs do not converge
    result = RUNS[name](**arguments)
    return result if MPI.COMM_WORLD.Get_rank() == 0 else None
