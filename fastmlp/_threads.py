"""How many threads the core gets, and BLAS held to one of them meanwhile."""

import os
import threading
from functools import cache

from threadpoolctl import ThreadpoolController

from fastmlp import _core

# Below this much arithmetic for each thread, waiting for one another costs more than it saves.
# Measured with bench/: `small` (1.4e6 a step) is slower on two threads, `default` (9e7) faster.
FLOPS_THAT_PAY = 4e6

_forked = False


def _remember_fork():
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_remember_fork)


def check_n_threads(n_threads):
    """Raise unless ``n_threads`` is None or a whole number from 1."""
    if n_threads is None:
        return
    if isinstance(n_threads, bool) or not hasattr(n_threads, "__index__"):
        raise TypeError(f"n_threads must be None or an int, got {n_threads!r}")
    if n_threads < 1:
        raise ValueError(f"n_threads must be None or at least 1, got {n_threads}")


def available_threads():
    """The number of threads that OpenMP would use: CPUs by affinity, or OMP_NUM_THREADS."""
    # The thread pool of libgomp does not survive a fork: a child that used it would hang.
    return 1 if _forked else (_core.openmp_threads() or 1)


def threads_for(flops, n_blocks, n_threads=None):
    """How many threads share out ``n_blocks`` blocks of ``flops`` operations in all.

    A number that the user asked for is taken as it is, save for threads that would find no block.
    """
    if _forked:
        return 1
    if n_threads is None:
        n_threads = min(available_threads(), int(flops / FLOPS_THAT_PAY))
    return max(1, min(n_threads, n_blocks))


@cache
def blas_controller():
    # Finding the libraries takes milliseconds, setting their threads microseconds.
    return ThreadpoolController()


class _OneBlasThread:
    """A context in which BLAS calls are single-threaded; counted, since the limit is the process's.

    Two fits may run in two threads: the first to enter sets the limit, the last to leave lifts it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._n_inside = 0
        self._limit = None

    def __enter__(self):
        with self._lock:
            if self._n_inside == 0:
                self._limit = blas_controller().limit(limits=1, user_api="blas")
            self._n_inside += 1

    def __exit__(self, *exception):
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._limit.restore_original_limits()
                self._limit = None


one_blas_thread = _OneBlasThread()
