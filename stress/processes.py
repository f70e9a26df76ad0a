"""Other processes after and during a fit: `python stress/processes.py --seconds 60`.

A case fits, starts a process by fork (after a fit, from a callback of one, or while another thread
fits), spawn, forkserver or loky, and predicts and fits in it. Both must end and give the numbers of
a fit in a process without others.
"""

import functools
import multiprocessing
import os
import random
import signal
import sys
import threading
from collections import Counter
from multiprocessing.util import Finalize

import children
import kinds
from cases import check, main
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

SECONDS_OF_HANG = 60
SHARE_OF_NEW_EXECUTORS = 0.05


def expected(kind):
    """Return what a child must answer."""
    numbers = kinds.expected(kind)
    return children.digest((numbers[1], numbers))


def forked(kind, model):
    """Fork without `multiprocessing`, and return the answer of the child."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(SECONDS_OF_HANG)  # it kills a child that hangs
        try:
            os.write(writing, children.work(kind, model).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    check(code != -signal.SIGALRM, "a forked process hangs")
    check(code == 0, f"a forked process ended with {code}")
    return text


def after(kind, model, source):
    """Fork after a fit."""
    return [forked(kind, model)]


def in_callback(kind, model, source):
    """Fork in a callback, in the midst of a fit of the same thread."""
    answers, epoch = [], source.randint(1, 5)

    def callback(estimator, state):
        if state.epoch == epoch:
            answers.append(forked(kind, model))

    X, y = kinds.table(kind)
    other = kinds.estimator(kind).set_params(callbacks=callback).fit(X, y)
    check(kinds.numbers_of(other, X) == kinds.expected(kind), "the fit that forked differs")
    return answers


def during(kind, model, source):
    """Fork while another thread fits."""
    X, y = kinds.table(kind)
    stop, fits = threading.Event(), []

    def fit():
        while not stop.is_set():
            fits.append(kinds.numbers_of(kinds.estimator(kind).fit(X, y), X))

    thread = threading.Thread(target=fit)
    thread.start()
    try:
        threading.Event().wait(source.uniform(0, 0.02))
        answers = [forked(kind, model)]
    finally:
        stop.set()
        thread.join()
    check(all(fit == kinds.expected(kind) for fit in fits), "the fits of the thread differ")
    return answers


@functools.cache
def context_of(method):
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["children"])
    return context


def by_context(method, kind, model, source):
    """Start a process of `multiprocessing`."""
    context = context_of(method)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=children.answer, args=(theirs, kind, model))
    process.start()
    theirs.close()
    try:
        check(ours.poll(SECONDS_OF_HANG), f"a process of {method} hangs")
        answers = [ours.recv()]
        process.join(SECONDS_OF_HANG)
        check(process.exitcode == 0, f"a process of {method} ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()
    return answers


def spawn(kind, model, source):
    return by_context("spawn", kind, model, source)


def forkserver(kind, model, source):
    return by_context("forkserver", kind, model, source)


@functools.cache
def end_loky_at_exit():
    """End joblib's processes with this one, which could not end before them."""

    def end():
        get_reusable_executor().shutdown(wait=True, kill_workers=True)

    return Finalize(None, end, exitpriority=100)


def loky(kind, model, source):
    """Send work to joblib's processes; now and then to new ones."""
    end_loky_at_exit()
    if source.random() < SHARE_OF_NEW_EXECUTORS:
        get_reusable_executor().shutdown(wait=True)
    parallel = Parallel(n_jobs=2, backend="loky", timeout=SECONDS_OF_HANG)
    return parallel(delayed(children.work)(kind, model) for _ in range(2))


WAYS = {
    "forks after a fit": after, "forks in a callback": in_callback, "forks during a fit": during,
    "spawns": spawn, "forkservers": forkserver, "loky": loky,
}  # fmt: skip


def try_case(seed):
    """Start one process, or a pair of them for loky."""
    way = list(WAYS)[seed % len(WAYS)]
    source = random.Random(seed)
    names = kinds.MLPS if way == "forks in a callback" or source.random() < 0.95 else kinds.TABULAR
    kind = source.choice([name for name in sorted(names) if "jobs" not in name])
    X, y = kinds.table(kind)
    kinds.expected(kind)
    model = kinds.estimator(kind).fit(X, y)
    answers = WAYS[way](kind, model, source)
    check(len(answers) > 0, f"{way}, {kind}: no process was started")
    others = [answer for answer in answers if answer != expected(kind)]
    check(not others, f"{way}, {kind}: the numbers of the other process differ")
    check(kinds.numbers_of(model.fit(X, y), X) == kinds.expected(kind), f"{way}, {kind}: refit")
    return Counter({way: len(answers)}), []


if __name__ == "__main__":
    sys.exit(main(__file__, __doc__.splitlines()[0], try_case))
