"""SIGINT at random times in every kind of fit: `python stress/interrupts.py --seconds 60`.

Another process sends the signal. The time that is shown is that from just before the signal is sent
to the end of fit, whether it returns what it has or raises KeyboardInterrupt. It includes whatever
else keeps the machine busy. Afterwards the guards are released, the estimator is as it was or
predicts, and the next fit gives the same bits as one that nobody interrupts. If the signal comes
when all but the return of fit is done, KeyboardInterrupt is raised although the model is the new
one.
"""

import functools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.util import Finalize
from pathlib import Path

import kinds
import made
import numpy as np
from cases import check, main
from sklearn.exceptions import NotFittedError

from fastmlp._engine.threads import blas_in_one_thread, blas_libraries, core_in_use

SHARE_OF_ENSEMBLES = 0.1
SHARE_OF_OTHER_WAYS = 0.3


@functools.cache
def folder():
    """Return a folder for checkpoints, which is gone when this process ends."""
    made_folder = tempfile.TemporaryDirectory()
    Finalize(None, made_folder.cleanup, exitpriority=1)
    return Path(made_folder.name)


def fit(model, X, y):
    model.fit(X, y)


def fit_with_validation_set(model, X, y):
    model.fit(X, y, X_val=X[:50], y_val=y[:50])


def fit_with_checkpoints(model, X, y):
    model.fit(X, y, checkpoint=folder() / "checkpoint", checkpoint_every=1)


def fit_stream(model, X, y):
    model.fit_stream(made.batches(X, y), buffer_rows=100)


def partial_fit(model, X, y):
    classes = {"classes": np.unique(y) if y.ndim == 1 else np.arange(y.shape[1])}
    for _ in range(10):
        model.partial_fit(X, y, **(classes if hasattr(model, "predict_proba") else {}))


def other_ways(kind):
    """Return the ways of training that this kind has besides `fit` of X and y."""
    parameters = kinds.KINDS[kind][2]
    solver, is_early = parameters.get("solver"), parameters.get("early_stopping", False)
    ways = [fit] if is_early else [fit_with_validation_set]
    can_be_written = solver != "lbfgs" and not callable(parameters.get("loss"))
    ways += [fit_with_checkpoints] if can_be_written else []
    if kind in kinds.MLPS and solver not in ("lbfgs", "rprop") and not is_early:
        ways += [partial_fit, fit_stream]
    return ways


def send_signals(connection, pid):
    """Send a SIGINT after each number of seconds that arrives, and answer with the time of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            delay = connection.recv()
        except (EOFError, OSError):
            return
        time.sleep(delay)
        now = time.monotonic()
        os.kill(pid, signal.SIGINT)
        connection.send(now)


@functools.cache
def sender():
    """Return the connection to the process that sends the signals."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=send_signals, args=(theirs, os.getpid()), daemon=True).start()
    theirs.close()
    ours.send(0)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    ours.recv()
    signal.signal(signal.SIGINT, before)
    return ours


@functools.cache
def undisturbed(kind, train):
    """Return how long a fit takes that nobody interrupts, and its numbers."""
    model, (X, y) = kinds.estimator(kind), kinds.table(kind)
    train(model, X, y)
    began = time.monotonic()
    train(model, X, y)
    return time.monotonic() - began, kinds.numbers_of(model, X)


def interrupted(model, train, X, y, delay):
    """Train and send a signal. Return the end of the fit, of the signal, and whether it raised."""
    signals, ended, raised = sender(), None, False
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        signals.send(delay)
        train(model, X, y)
        ended = time.monotonic()
        handler = signal.getsignal(signal.SIGINT)
        check(handler is signal.default_int_handler, f"the handler of SIGINT is {handler}")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        raised = ended is None
        ended = ended or time.monotonic()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return ended, signals.recv(), raised


def try_case(seed):
    """Interrupt one fit."""
    source = random.Random(seed)
    is_ensemble = source.random() < SHARE_OF_ENSEMBLES
    kind = source.choice(sorted(kinds.TABULAR if is_ensemble else kinds.MLPS))
    train = source.choice(other_ways(kind)) if source.random() < SHARE_OF_OTHER_WAYS else fit
    (X, y), model = kinds.table(kind), kinds.estimator(kind)
    if train is not partial_fit and source.random() < 0.3:
        model.fit(X[:40], y[:40])
    before, threads = made.state_of(model), blas_threads()
    # The time of the case is drawn; that of the machine is not: a case is repeated nearly.
    seconds, whole = undisturbed(kind, train)
    kinds.expected(kind)
    ended, sent, raised = interrupted(model, train, X, y, source.uniform(0, 1.1) * seconds)
    try:
        check_left_in_order(threads)
        if raised and train is not partial_fit:
            check_unchanged(model, before, whole, X)
        check_usable(model, kind)
    except AssertionError as error:
        words = "raised" if raised else "returned"
        how = f"{kind}, {train.__name__}, {words}"
        print(f"{how}: {error}")
        raise AssertionError(f"{how}: {error}") from None
    is_within = sent < ended
    counts = {"interrupts": is_within, "of them raised": raised and is_within}
    return Counter(counts | {"after the end": not is_within}), ([ended - sent] if is_within else [])


def blas_threads():
    return [library.get_num_threads() for library in blas_libraries()]


def check_left_in_order(threads):
    """Check the guards and the threads of BLAS."""
    check(core_in_use.n_users == blas_in_one_thread.n_users == 0, "a guard is still in use")
    check(blas_threads() == threads, f"BLAS has {blas_threads()} threads, not {threads}")


def check_unchanged(model, before, whole, X):
    """Check that the model is what it was, or what a whole fit gives: it could not return."""
    after = made.state_of(model)
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    check(not changed or kinds.numbers_of(model, X) == whole, f"raised, but changed {changed}")


def check_usable(model, kind):
    """Check predictions, if there are any, and the next fit."""
    X, y = kinds.table(kind)
    try:
        predictions = model.predict(X)
        check(len(predictions) == len(X), "predictions of another length")
        check(predictions.dtype.kind != "f" or np.isfinite(predictions).all(), "not finite")
    except NotFittedError:
        pass
    numbers = kinds.numbers_of(model.fit(X, y), X)
    check(numbers == kinds.expected(kind), "the next fit gives other numbers")


def figures(seconds):
    """Return the times from the signal to the end of fit in words."""
    middle, most, largest = (1000 * q for q in np.quantile(seconds, (0.5, 0.99, 1)))
    return (
        f"from the signal to the end of fit: median {middle:.1f} ms, 99th percentile {most:.1f} "
        f"ms, largest {largest:.1f} ms"
    )


if __name__ == "__main__":
    sys.exit(main(__file__, __doc__.splitlines()[0], try_case, figures=figures))
