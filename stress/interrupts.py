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
import time
from collections import Counter

import kinds
import made
import numpy as np
from cases import check, main
from sklearn.exceptions import NotFittedError

from fastmlp._engine.threads import blas_in_one_thread, blas_libraries, core_in_use

SHARE_OF_ENSEMBLES = 0.1


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
def seconds_of(kind, method):
    """Return how long a fit takes if nobody interrupts it."""
    model, (X, y) = kinds.estimator(kind), kinds.table(kind)
    train(model, method, X, y)
    began = time.monotonic()
    train(model, method, X, y)
    return time.monotonic() - began


def train(model, method, X, y):
    if method == "fit":
        model.fit(X, y)
        return
    classes = {"classes": np.unique(y) if y.ndim == 1 else np.arange(y.shape[1])}
    for _ in range(10):
        model.partial_fit(X, y, **(classes if hasattr(model, "predict_proba") else {}))


def interrupted(model, method, X, y, delay):
    """Train and send a signal. Return the end of the fit, of the signal, and whether it raised."""
    signals, ended, raised = sender(), None, False
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        signals.send(delay)
        train(model, method, X, y)
        ended = time.monotonic()
        handler = signal.getsignal(signal.SIGINT)
        check(handler is signal.default_int_handler, f"the handler of SIGINT is {handler}")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        raised = ended is None
        ended = ended or time.monotonic()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return ended, signals.recv(), raised


def may_fit_partially(parameters):
    is_early = parameters.get("early_stopping", False)
    return parameters.get("solver") not in ("lbfgs", "rprop") and not is_early


def try_case(seed):
    """Interrupt one fit."""
    source = random.Random(seed)
    is_ensemble = source.random() < SHARE_OF_ENSEMBLES
    kind = source.choice(sorted(kinds.TABULAR if is_ensemble else kinds.MLPS))
    may_be_partial = not is_ensemble and may_fit_partially(kinds.KINDS[kind][2])
    method = "partial_fit" if may_be_partial and source.random() < 0.15 else "fit"
    (X, y), model = kinds.table(kind), kinds.estimator(kind)
    if method == "fit" and source.random() < 0.3:
        model.fit(X[:40], y[:40])
    before, threads = made.state_of(model), blas_threads()
    # The time of the case is drawn; that of the machine is not: a case is repeated nearly.
    delay = source.uniform(0, 1.1) * seconds_of(kind, method)
    kinds.expected(kind)
    ended, sent, raised = interrupted(model, method, X, y, delay)
    try:
        check_afterwards(model, kind, raised and method == "fit", before, threads)
    except AssertionError as error:
        words = "raised" if raised else "returned"
        how = f"{kind}, {method}, signal after {delay:.4f} s, {words}"
        print(f"{how}: {error}")
        raise AssertionError(f"{how}: {error}") from None
    is_within = sent < ended
    counts = {"interrupts": is_within, "of them raised": raised and is_within}
    return Counter(counts | {"after the end": not is_within}), ([ended - sent] if is_within else [])


def blas_threads():
    return [library.get_num_threads() for library in blas_libraries()]


def check_afterwards(model, kind, raised, before, threads):
    """Check the guards, the estimator and the next fit."""
    check(core_in_use.n_users == blas_in_one_thread.n_users == 0, "a guard is still in use")
    check(blas_threads() == threads, f"BLAS has {blas_threads()} threads, not {threads}")
    if raised:
        after = made.state_of(model)
        changed = [name for name in before | after if before.get(name) != after.get(name)]
        check(not changed or is_whole(model, kind), f"raised, but changed {changed}")
    X, y = kinds.table(kind)
    try:
        predictions = model.predict(X)
        check(len(predictions) == len(X), "predictions of another length")
        check(predictions.dtype.kind != "f" or np.isfinite(predictions).all(), "not finite")
    except NotFittedError:
        pass
    numbers = kinds.numbers_of(model.fit(X, y), X)
    check(numbers == kinds.expected(kind), "the next fit gives other numbers")


def is_whole(model, kind):
    """Whether the fit had ended: the signal came before it could return."""
    return kinds.numbers_of(model, kinds.table(kind)[0]) == kinds.expected(kind)


def figures(seconds):
    """Return the times from the signal to the end of fit in words."""
    middle, most, largest = (1000 * q for q in np.quantile(seconds, (0.5, 0.99, 1)))
    return (
        f"from the signal to the end of fit: median {middle:.1f} ms, 99th percentile {most:.1f} "
        f"ms, largest {largest:.1f} ms"
    )


if __name__ == "__main__":
    sys.exit(main(__file__, __doc__.splitlines()[0], try_case, figures=figures))
