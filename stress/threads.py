"""Threads that predict while another one refits: `python stress/threads.py --seconds 60`.

A case fits one estimator. 64 threads predict with it, for parts of the rows, while another thread
fits it again and again to one of two tables in turn. Each prediction must be, bit for bit, that of
a fit to one of them in a single thread.
"""

import random
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import kinds
import made
from cases import check, main

N_THREADS = 64
N_PREDICTIONS = 30  # of each thread
SEEDS = (1, 2)
SLICES = ((0, None), (0, 1), (3, 11), (7, 60))


def serial(kind):
    """Return the outputs of both fits for each part of the rows."""
    X, _ = kinds.table(kind)
    outputs = {part: set() for part in SLICES}
    for seed in SEEDS:
        _, y = kinds.table(kind, seed=seed)
        model = kinds.estimator(kind, max_iter=3).fit(X, y)
        for part in SLICES:
            outputs[part].add(made.output_of(model, X[slice(*part)]))
    return outputs


def predict(model, X, outputs, seed, start):
    """Predict many times; return how many predictions were not those of a fit."""
    source, n_others = random.Random(seed), 0
    start.wait()
    for _ in range(N_PREDICTIONS):
        part = source.choice(SLICES)
        n_others += made.output_of(model, X[slice(*part)]) not in outputs[part]
    return n_others


def refit(model, kind, stop):
    """Fit to both tables in turn until the others have ended; return the number of fits."""
    X, n_fits = kinds.table(kind)[0], 0
    while not stop.is_set():
        model.fit(X, kinds.table(kind, seed=SEEDS[n_fits % 2])[1])
        n_fits += 1
    return n_fits


def try_case(seed):
    """Let 64 threads predict while another one refits."""
    source = random.Random(seed)
    names = kinds.MLPS if source.random() < 0.95 else kinds.TABULAR
    kind = source.choice(sorted(names))
    outputs, (X, y) = serial(kind), kinds.table(kind)
    model = kinds.estimator(kind, max_iter=3).fit(X, y)
    start, stop = threading.Barrier(N_THREADS), threading.Event()
    with ThreadPoolExecutor(N_THREADS + 1) as pool:
        fits = pool.submit(refit, model, kind, stop)
        try:
            results = [
                pool.submit(predict, model, X, outputs, source.random(), start)
                for _ in range(N_THREADS)
            ]
            n_others = sum(result.result() for result in results)
        finally:
            stop.set()
        n_fits = fits.result()
    check(n_others == 0, f"{kind}: {n_others} predictions are of neither fit")
    return Counter({"predictions": N_THREADS * N_PREDICTIONS, "refits meanwhile": n_fits}), []


if __name__ == "__main__":
    sys.exit(main(__file__, __doc__.splitlines()[0], try_case, n_children=1))
