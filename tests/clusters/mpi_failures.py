"""Fits in which a rank fails, or that are interrupted, by mpiexec.

``mpi_failures.py KIND FOLDER RANK`` lets a rank fail in the way of KIND. All ranks write their
process ids to the folder, and each a file ``ready`` when the fit is under way.
"""

import json
import os
import random
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import mpi_fits
from mpi4py import MPI

from fastmlp import MLPClassifier, distributed

COMM = MPI.COMM_WORLD
RANK, N = COMM.Get_rank(), COMM.Get_size()
MINE = mpi_fits.Shard(RANK, N, "random")
X, LABELS = MINE(mpi_fits.X), MINE(mpi_fits.LABELS)
CLASSES = ["a", "bb", "ccc", "dddd"]
LONG = 60  # seconds, longer than a launch may take

UNDISTURBED = {
    "hidden_layer_sizes": (8, 8), "max_iter": 40, "random_state": 0, "dropout": 0.2,
    "averaging": 0.9, "early_stopping": True, "n_iter_no_change": 1000, "batch_size": 80,
}  # fmt: skip


def fail(kind):
    if kind == "raise":
        raise ZeroDivisionError("a fault")
    if kind == "exit":
        sys.exit(0)
    if kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "is_stopped":  # by the tests
        time.sleep(LONG)


def failing(kind, folder, rank):
    """Fit, while a rank fails in an epoch, or before."""

    def callback(model, state):
        if state.epoch == 3:
            ready(folder)
            if rank == RANK:
                fail(kind)

    model = MLPClassifier(max_iter=100000, tol=0, n_iter_no_change=10**6, callbacks=callback)
    is_failing = rank == RANK
    if is_failing and kind == "raise_before":
        raise ZeroDivisionError("a fault")
    if is_failing and kind == "never":
        return
    with distributed.mpi(COMM, timeout=5):
        if kind == "one_less":
            model = MLPClassifier(hidden_layer_sizes=(8,))
            for _ in range(4 - is_failing):
                model.partial_fit(X, LABELS, classes=CLASSES)
        elif kind == "raise_within" and is_failing:
            raise ZeroDivisionError("a fault")
        elif kind == "caught" and is_failing:  # it goes on as if nothing had happened
            try:
                model.set_params(callbacks=lambda *_: fail("raise")).fit(X, LABELS)
            except ZeroDivisionError:
                time.sleep(LONG)
        else:
            model.fit(X, LABELS)
    time.sleep(LONG if kind not in ("one_less", "raise_before", "never") else 0)


def killed(kind, folder, rank):
    """Fit with checkpoints, while a rank is killed or stopped at a random moment."""
    delay = random.Random(folder.name).uniform(0, 0.4)
    number = {"kill": signal.SIGKILL, "stop_later": signal.SIGSTOP}[kind]

    def callback(model, state):
        if state.epoch == 1 and rank == RANK:
            threading.Timer(delay, os.kill, [os.getpid(), number]).start()

    with distributed.mpi(COMM, timeout=5):
        model = MLPClassifier(**UNDISTURBED, callbacks=callback)
        model.fit(X, LABELS, checkpoint=folder / "checkpoint", checkpoint_every=1)
        time.sleep(LONG)


def resumed(_, folder, *paths):
    """Go on from checkpoints, and write digests of the results; without a path, just fit."""
    with distributed.mpi(COMM, timeout=30):
        results = []
        for path in paths or [None]:
            model = MLPClassifier(**UNDISTURBED).fit(X, LABELS, resume=path)
            results.append(mpi_fits.results_of(model, mpi_fits.X))
    of_ranks = COMM.gather(results)
    if RANK == 0:
        (folder / "results").write_text(json.dumps(of_ranks))


def interrupted(_, folder, solver):
    """Fit until an interrupt and write what came of it, and of a fit after that."""

    def callback(model, state):
        if state.epoch == 3:
            ready(folder)

    common = {"hidden_layer_sizes": (20,), "solver": solver, "random_state": 0}
    model = MLPClassifier(
        **common, max_iter=10**6, max_fun=10**7, tol=0, n_iter_no_change=10**6, alpha=1e-3,
        callbacks=callback,
    )  # fmt: skip
    with distributed.mpi(COMM, timeout=10):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X, LABELS)
        handler = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        after = MLPClassifier(**common, max_iter=2).fit(X, LABELS)
    result = {
        "warnings": [str(it.message) for it in caught],
        "stop_reason_": model.stop_reason_,
        "n_iter_": model.n_iter_,
        "weights": mpi_fits.bits_of(*model.coefs_, *model.intercepts_),
        "handler": handler,
        "after": mpi_fits.bits_of(*after.coefs_),
    }
    of_ranks = COMM.gather(result)
    if RANK == 0:
        (folder / "results").write_text(json.dumps(of_ranks))


def ready(folder):
    (folder / f"ready.{RANK}").touch()


def main(kind, folder, *others):
    folder = Path(folder)
    (folder / f"pid.{RANK}").write_text(str(os.getpid()))
    warnings.simplefilter("ignore")
    COMM.Barrier()  # on a busy machine, ranks may start long after each other
    functions = {
        "kill": killed, "stop_later": killed, "resume": resumed, "interrupt": interrupted,
    }  # fmt: skip
    function = functions.get(kind, failing)
    function(kind, folder, *(int(it) if it.isdigit() else it for it in others))


if __name__ == "__main__":
    main(*sys.argv[1:])
