"""Number of threads for the core: by the amount of work, the CPUs, and concurrent fits."""

import math
import os
from contextlib import contextmanager
from functools import cache

import joblib
from threadpoolctl import LibController, ThreadpoolController, register

from fastmlp import _core
from fastmlp._guard import Guard

# For a pass over rows. With less work per thread than this, waking the threads and moving data
# between their caches costs more time than it saves.
MIN_FLOPS_PER_THREAD = 4e6

# For a training step, which is repeated many times. With less work per thread than the first limit,
# more threads never pay off. With more than the second, they always do, even if other programs
# keep all CPUs busy (bench/busy.py). In between, the numbers of threads are timed in trials of
# SECONDS_PER_TRIAL. The trials are repeated at intervals that grow from the first to the second of
# SECONDS_BETWEEN_TRIALS (bench/figures.md: step-flops).
MIN_FLOPS_FOR_TRIAL, FLOPS_FOR_ALL_THREADS = 3e5, 2e7
SECONDS_PER_TRIAL, SECONDS_BETWEEN_TRIALS = 0.001, (0.02, 0.3)

# These OpenMP settings also apply to this package's threads: passive threads do not spin, and no
# thread is bound to CPUs, not even for the time of its work.
if os.environ.get("OMP_WAIT_POLICY", "").strip().lower() == "passive":
    _core.set_spin_time(0)
if os.environ.get("OMP_PROC_BIND", "").strip().lower() == "false":
    _core.let_threads_be_bound(False)

# Never start more threads than this, unless there are more CPUs.
MOST_THREADS = 64


def check_n_threads(n_threads):
    """Raise unless ``n_threads`` is None or an integer >= 1."""
    if n_threads is None:
        return
    if isinstance(n_threads, bool) or not hasattr(n_threads, "__index__"):
        raise TypeError(f"n_threads must be None or an int, got {n_threads!r}")
    if n_threads < 1:
        raise ValueError(f"n_threads must be None or at least 1, got {n_threads}")


_was_forked = False


def _begin_as_child():
    global _was_forked
    _was_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_as_child)


def available_threads():
    """Return the maximum number of threads used by default.

    It is the number of CPUs that the process may use, limited by OMP_NUM_THREADS and
    threadpoolctl. In a forked child process it is 1, because its siblings need CPUs as well.
    """
    return 1 if _was_forked else min(_unlimited(), _most_threads)


def _unlimited():
    """Return the number of available threads without threadpoolctl's limit."""
    return min(_allowed_by_environment() or math.inf, _cpus())


_most_threads = math.inf


class _Team(LibController):
    """Registers the core's threads with threadpoolctl, so that its limits apply to them."""

    user_api = "openmp"  # limits for OpenMP apply
    internal_api = "fastmlp"
    filename_prefixes = ("_core",)
    check_symbols = ("fastmlp_run",)

    def get_num_threads(self):
        return available_threads()

    def set_num_threads(self, num_threads):
        # threadpoolctl restores the previous number after a limit. This must not become a limit
        # itself, because more CPUs may become available later.
        global _most_threads
        _most_threads = num_threads if num_threads < _unlimited() else math.inf

    def get_version(self):
        return None

    def set_additional_attributes(self):
        pass


register(_Team)


@contextmanager
def at_most_threads(n_threads):
    """Limit the number of threads that are used by default, while the context lasts."""
    global _most_threads
    before = _most_threads
    _most_threads = min(before, n_threads)
    try:
        yield
    finally:
        _most_threads = before


def _cpus():
    """Return the number of CPUs that the process may use, by its affinity and cgroup limits."""
    if hasattr(os, "sched_getaffinity"):
        return _cpus_of_joblib(len(os.sched_getaffinity(0)))
    return _cpus_of_joblib(None)


@cache
def _cpus_of_joblib(n_by_affinity):
    """Return joblib's number of CPUs.

    joblib reads files, so its answer is cached until the affinity changes.
    """
    return joblib.cpu_count()


def _allowed_by_environment():
    """Return the value of OMP_NUM_THREADS, or None if it is not set."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return max(1, int(first)) if first.isdecimal() else None


def threads_for(flops, n_blocks, n_threads=None):
    """Return the number of threads for ``n_blocks`` blocks with ``flops`` operations in total.

    A number set by the user is respected, but there are never more threads than blocks. Otherwise,
    fits that run concurrently in Python threads share the CPUs.
    """
    wanted = min(n_blocks, int(flops / MIN_FLOPS_PER_THREAD) if n_threads is None else n_threads)
    if wanted <= 1:  # do not ask for the CPUs: that takes as long as a small step
        return 1
    most = _share_of_threads() if n_threads is None else max(available_threads(), MOST_THREADS)
    return int(max(1, min(wanted, most)))


def _share_of_threads():
    """Return this fit's share of the available threads, given concurrent fits in the process."""
    return available_threads() // max(1, core_in_use.n_users)


def candidates_for(flops, n_blocks, n_threads=None):
    """Return the candidate numbers of threads for a training step, in descending order.

    Parameters
    ----------
    flops : float
        Number of operations of the step.
    n_blocks : int
        Number of blocks of work.
    n_threads : int or None
        The number set by the user, if any.
    """
    if n_threads is not None:
        return (threads_for(flops, n_blocks, n_threads),)
    if min(n_blocks, flops / MIN_FLOPS_FOR_TRIAL) < 2:
        return (1,)
    most = min(_share_of_threads(), n_blocks)
    if flops >= most * FLOPS_FOR_ALL_THREADS:
        return (max(1, most),)
    numbers = [max(1, min(most, int(flops / MIN_FLOPS_FOR_TRIAL)))]
    while numbers[-1] > 1:
        numbers.append(numbers[-1] // 2)
    return tuple(numbers)


class ThreadTuner:
    """Finds the number of threads with the fastest training steps, by timing them.

    The cost of a second thread depends on the distance between the two CPUs and on other programs,
    and it changes over time (bench/figures.md: thread-tuner).

    Parameters
    ----------
    candidates : sequence of int
        The numbers of threads to choose from.
    guess : float
        Estimated seconds per step, used until a number of threads has been timed.
    """

    def __init__(self, candidates, guess):
        self.candidates = candidates
        self._seconds = dict.fromkeys(candidates, guess)
        # Try each number twice, because the first trial includes waking the threads. Begin with the
        # fewest: a fit of a few steps ends before more of them could pay for being woken.
        self._to_try = [*reversed(candidates), *candidates] if len(candidates) > 1 else []
        self._rest, self._longest_rest = SECONDS_BETWEEN_TRIALS
        self._rests_until = 0.0

    def next(self, seconds):
        """Return the number of threads for the next steps, and the number of steps to run.

        The steps take about ``seconds``, or less during a trial.
        """
        best = min(self._seconds, key=self._seconds.get)
        n_threads = self._to_try[0] if self._to_try else best
        if self._to_try:
            seconds = min(seconds, SECONDS_PER_TRIAL)
        return n_threads, max(1, int(seconds / self._seconds[n_threads]))

    def saw(self, n_threads, seconds, now):
        """Record the seconds per step with a number of threads. ``now`` is the current time."""
        self._seconds[n_threads] = seconds
        if self._to_try:
            del self._to_try[0]
            self._rests_until = now + self._rest
        elif now >= self._rests_until:
            self._to_try = [number for number in self.candidates if number != n_threads]
            self._rest = min(2 * self._rest, self._longest_rest)


@cache
def blas_libraries():
    """Return threadpoolctl's controllers of the BLAS libraries in this process."""
    # Cached because finding the libraries takes milliseconds, but setting their threads only a
    # microsecond.
    controllers = ThreadpoolController().lib_controllers
    return [library for library in controllers if library.user_api == "blas"]


def _set_threads(library, n_threads):
    """Set the number of threads of a BLAS library, even if another thread has set it before.

    Since version 3.7, threadpoolctl lets only one Python thread do this for OpenBLAS and ignores
    calls from others.
    """
    release = getattr(library, "clear_controlling_thread", lambda force: None)
    release(force=True)
    library.set_num_threads(n_threads)
    release(force=True)


class _BlasInOneThread:
    """Limits the BLAS libraries of the process to one thread. Calls may be repeated."""

    def __init__(self):
        self._before = None

    def begin(self):
        if self._before is None:
            self._before = [(library, library.get_num_threads()) for library in blas_libraries()]
        for library, _ in self._before:
            _set_threads(library, 1)

    def end(self):
        for library, n_threads in self._before or ():
            _set_threads(library, n_threads)
        self._before = None


_blas = _BlasInOneThread()
blas_in_one_thread = Guard(_blas.begin, _blas.end)

# Guards work in the core. If the core uses BLAS for matrix products, BLAS is limited to one thread.
core_in_use = Guard(beneath=blas_in_one_thread, needs_beneath=_core.uses_blas)
