"""Several fits at once in threads: `python stress/at_once.py --seconds 60`.

A case fits 2 to 4 estimators at the same time, each in a thread of its own and with 1 to 4 threads
in its team. Their weights and outputs must be, bit for bit, those of the same fits one after the
other. In half of the cases a thread that waits sleeps at once, in the others it spins first; in a
quarter of them BLAS makes the products, and fits have to agree on its number of threads.
"""

import random
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import kinds
from cases import check, main

from fastmlp import _core
from fastmlp._engine.threads import blas_in_one_thread

SPIN_TIMES = (0, 100)  # microseconds
FASTEST = _core.kernels_in_use()
KERNELS = (FASTEST, FASTEST, FASTEST, "blas")


def fit(kind, n_threads, start):
    """Wait for the others and fit; return the bits."""
    X, y = kinds.table(kind)
    model = kinds.estimator(kind, max_iter=3).set_params(n_threads=n_threads)
    start.wait()
    return kinds.numbers_of(model.fit(X, y), X)


def try_case(seed):
    """Fit a few estimators at once and compare them with those fitted alone."""
    source = random.Random(seed)
    _core.set_spin_time(source.choice(SPIN_TIMES))
    names = [source.choice(sorted(kinds.MLPS)) for _ in range(source.randint(2, 4))]
    _core.use_kernels(source.choice(KERNELS))
    expected = [kinds.expected.__wrapped__(name, max_iter=3) for name in names]
    start = threading.Barrier(len(names))
    with ThreadPoolExecutor(len(names)) as pool:
        fits = [pool.submit(fit, name, source.randint(1, 4), start) for name in names]
        others = [
            name
            for name, result, bits in zip(names, fits, expected, strict=True)
            if result.result() != bits
        ]
    check(blas_in_one_thread.n_users == 0, "BLAS has been left in one thread")
    check(not others, f"{others} of {names} have other bits than alone")
    return Counter({"fits at once": len(names)}), []


if __name__ == "__main__":
    sys.exit(main(__file__, __doc__.splitlines()[0], try_case))
