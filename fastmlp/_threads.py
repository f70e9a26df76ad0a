"""How many threads the core gets, and BLAS held to one of them meanwhile."""

import os
import threading
from functools import cache

from threadpoolctl import ThreadpoolController

from fastmlp import _core

# Below this much arithmetic for each thread, waiting for one another costs more than it saves.
# Measured with bench/: `small` (1.4e6 a step) is slower on two threads, `default` (9e7) faster.
FLOPS_THAT_PAY = 4e6

# More threads than this, unless there are more CPUs, are never started: OpenMP ends the process
# where the system refuses one.
MOST_THREADS = 64


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
    return 1 if one_blas_thread.was_forked else (_core.openmp_threads() or 1)


def threads_for(flops, n_blocks, n_threads=None):
    """How many threads share out ``n_blocks`` blocks of ``flops`` operations in all.

    A number that the user asked for is taken as it is, save for threads that would find no block.
    """
    available = available_threads()
    if n_threads is None:
        n_threads = min(available, int(flops / FLOPS_THAT_PAY))
    most = 1 if one_blas_thread.was_forked else max(available, MOST_THREADS)
    return max(1, min(n_threads, n_blocks, most))


@cache
def blas_libraries():
    """threadpoolctl's controllers of the BLAS libraries in this process."""
    # Finding them takes milliseconds, setting their threads a microsecond.
    controllers = ThreadpoolController().lib_controllers
    return [library for library in controllers if library.user_api == "blas"]


class _OneBlasThread:
    """A context in which BLAS calls are single-threaded; counted, since the limit is the process's.

    Two fits may run in two threads: the first to enter sets the limit, the last to leave lifts it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._n_inside = 0
        self._before = []
        self.was_forked = False
        if hasattr(os, "register_at_fork"):
            # A child gets a copy of the lock, and never one that another thread holds.
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._begin_as_child,
            )

    def _begin_as_child(self):
        """The threads that were inside are not here."""
        self.was_forked = True
        if self._n_inside > 0:
            self._n_inside = 0
            self._lift()
        self._lock.release()

    def _lift(self):
        for library, n_threads in self._before:
            library.set_num_threads(n_threads)

    def __enter__(self):
        with self._lock:
            if self._n_inside == 0:
                self._before = [(lib, lib.get_num_threads()) for lib in blas_libraries()]
                for library in blas_libraries():
                    library.set_num_threads(1)
            self._n_inside += 1

    def __exit__(self, *exception):
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._lift()


one_blas_thread = _OneBlasThread()
