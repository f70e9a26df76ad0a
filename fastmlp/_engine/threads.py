"""How many threads the core gets: what pays, what there is, and who else is in the core."""

import math
import os
from functools import cache

import joblib
from threadpoolctl import LibController, ThreadpoolController, register

from fastmlp import _core
from fastmlp._guard import Guard

# Of a pass over rows: below this much arithmetic for each thread, waking it, and waiting for what
# the other has in its cache, costs more than it saves.
MIN_FLOPS_PER_THREAD = 4e6

# Of a step of training, which comes again and again: with less arithmetic than the first for each
# thread, others never pay; with more than the second they always do, also beside programs that keep
# all CPUs busy (bench/busy.py); and between them it is tried out, for so long, and again soon and
# then more and more rarely. `small` in bench/ has 1.4e6, `default` 9e7.
MIN_FLOPS_FOR_TRIAL, FLOPS_FOR_ALL_THREADS = 3e5, 2e7
SECONDS_PER_TRIAL, SECONDS_BETWEEN_TRIALS = 0.001, (0.02, 0.3)

# As programs with OpenMP do, to which this name belongs.
if os.environ.get("OMP_WAIT_POLICY", "").strip().lower() == "passive":
    _core.set_spin_time(0)

# More threads than this, unless there are more CPUs, are never started.
MOST_THREADS = 64


def check_n_threads(n_threads):
    """Raise unless ``n_threads`` is None or a whole number from 1."""
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
    """How many threads may run: CPUs by affinity and a cgroup's limit, or OMP_NUM_THREADS.

    threadpoolctl may lower it. A forked child has one, unless somebody asks for more: its siblings
    want some, too.
    """
    return 1 if _was_forked else min(_unlimited(), _most_threads)


def _unlimited():
    """The same without threadpoolctl's limit."""
    return min(_allowed_by_environment() or math.inf, _cpus())


_most_threads = math.inf


class _Team(LibController):
    """The core's threads, for threadpoolctl: ``threadpool_limits(1)`` means them, too."""

    user_api = "openmp"  # which they stand in for
    internal_api = "fastmlp"
    filename_prefixes = ("_core",)
    check_symbols = ("fastmlp_run",)

    def get_num_threads(self):
        return available_threads()

    def set_num_threads(self, num_threads):
        # What it was before is no limit: there may be more CPUs later.
        global _most_threads
        _most_threads = num_threads if num_threads < _unlimited() else math.inf

    def get_version(self):
        return None

    def set_additional_attributes(self):
        pass


register(_Team)


def _cpus():
    """How many CPUs the process may use now: by affinity, and where Linux limits their time."""
    if hasattr(os, "sched_getaffinity"):
        return _cpus_of_joblib(len(os.sched_getaffinity(0)))
    return _cpus_of_joblib(None)


@cache
def _cpus_of_joblib(n_by_affinity):
    """joblib's count, which reads files: asked again only when the affinity has changed."""
    return joblib.cpu_count()


def _allowed_by_environment():
    """What OMP_NUM_THREADS says, as for programs with OpenMP; None if it says nothing."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return max(1, int(first)) if first.isdecimal() else None


def threads_for(flops, n_blocks, n_threads=None):
    """How many threads share out ``n_blocks`` blocks of ``flops`` operations in all.

    A number that the user asked for is taken as it is, save for threads that would find no block.
    Otherwise fits that run at the same time, in threads of Python, share out the CPUs.
    """
    if n_threads is None:
        n_threads = min(_share_of_threads(), int(flops / MIN_FLOPS_PER_THREAD))
    return int(max(1, min(n_threads, n_blocks, max(available_threads(), MOST_THREADS))))


def _share_of_threads():
    """Of the threads that may run, beside other fits of this process."""
    return available_threads() // max(1, core_in_use.n_users)


def candidates_for(flops, n_blocks, n_threads=None):
    """Numbers of threads that may be the best for a step of training, the largest first.

    Parameters
    ----------
    flops : float
        Of the step.
    n_blocks : int
        What there is to share out.
    n_threads : int or None
        What the user asked for.
    """
    if n_threads is not None:
        return (threads_for(flops, n_blocks, n_threads),)
    most = min(_share_of_threads(), n_blocks)
    if flops >= most * FLOPS_FOR_ALL_THREADS:
        return (max(1, most),)
    numbers = [max(1, min(most, int(flops / MIN_FLOPS_FOR_TRIAL)))]
    while numbers[-1] > 1:
        numbers.append(numbers[-1] // 2)
    return tuple(numbers)


class ThreadTuner:
    """Which of some numbers of threads makes steps of training fastest, by the clock.

    What a second thread costs depends on how far its CPU is from the first and on who else uses it,
    and that changes: `small` in bench/ takes 16 us a step on one thread, and on two 11 or 27.

    Parameters
    ----------
    candidates : sequence of int
    guess : float
        How many seconds a step may take, until that is known.
    """

    def __init__(self, candidates, guess):
        self.candidates = candidates
        self._seconds = dict.fromkeys(candidates, guess)
        # twice, for the first time wakes the threads
        self._to_try = [*candidates, *candidates] if len(candidates) > 1 else []
        self._rest, self._longest_rest = SECONDS_BETWEEN_TRIALS
        self._rests_until = 0.0

    def next(self, seconds):
        """The number of threads for the steps that come, and how many steps take these seconds."""
        best = min(self._seconds, key=self._seconds.get)
        n_threads = self._to_try[0] if self._to_try else best
        if self._to_try:
            seconds = min(seconds, SECONDS_PER_TRIAL)
        return n_threads, max(1, int(seconds / self._seconds[n_threads]))

    def saw(self, n_threads, seconds, now):
        """Take in how many seconds a step has taken, and the time."""
        self._seconds[n_threads] = seconds
        if self._to_try:
            del self._to_try[0]
            self._rests_until = now + self._rest
        elif now >= self._rests_until:
            self._to_try = [number for number in self.candidates if number != n_threads]
            self._rest = min(2 * self._rest, self._longest_rest)


@cache
def blas_libraries():
    """threadpoolctl's controllers of the BLAS libraries in this process."""
    # Finding them takes milliseconds, setting their threads a microsecond.
    controllers = ThreadpoolController().lib_controllers
    return [library for library in controllers if library.user_api == "blas"]


def _set_threads(library, n_threads):
    """Set what a BLAS library takes, whichever thread has set it before.

    Of OpenBLAS threadpoolctl lets one thread of Python do that, from 3.7 on, and ignores others.
    """
    release = getattr(library, "clear_controlling_thread", lambda force: None)
    release(force=True)
    library.set_num_threads(n_threads)
    release(force=True)


class _BlasInOneThread:
    """Holds the BLAS libraries of the process to one thread; a call may be repeated."""

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

# For work in the core, which holds BLAS to one thread where that makes products.
core_in_use = Guard(beneath=blas_in_one_thread, needs_beneath=_core.uses_blas)
