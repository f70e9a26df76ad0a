"""How many threads the core gets: what pays, what there is, and who else is in the core."""

import math
import os
import threading
import time
from functools import cache
from pathlib import Path

from threadpoolctl import ThreadpoolController

from fastmlp import _core

# Of a pass over rows: below this much arithmetic for each thread, waiting for one another, and for
# what the other has in its cache, costs more than it saves. That is where two parallel loops cost a
# microsecond; where they cost more, more work must be there.
LEAST_FLOPS_THAT_PAY = 4e6
FLOPS_FOR_A_SECOND_OF_LOOPS = 4e12

# How that cost is measured: the best of some short rounds of steps of nothing; and how long such a
# measurement holds that speaks against threads, the first time.
FEWEST_ROUNDS, MOST_ROUNDS, STEPS_IN_ROUND, SECONDS_TO_MEASURE = 4, 50, 5, 0.01
SECONDS_TO_WAIT = 0.1

# Of a step of training, which comes again and again: with less arithmetic than the first for each
# thread, others never pay; with more than the second they always do; and between them it is tried
# out, for so long, and again after a while. `small` in bench/ has 1.4e6, `default` 9e7.
LEAST_FLOPS_WORTH_A_TRIAL, FLOPS_WITHOUT_DOUBT = 3e5, 2e7
SECONDS_OF_TRIAL, SECONDS_BETWEEN_TRIALS = 0.001, 0.3

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
    """How many threads may run: CPUs by affinity or OMP_NUM_THREADS, within a cgroup's limit."""
    # The thread pool of libgomp does not survive a fork: a child that used it would hang.
    if core_in_use.was_forked:
        return 1
    return min(_core.openmp_threads() or 1, cpus_of_cgroup())


@cache
def cpus_of_cgroup(root=Path("/sys/fs/cgroup")):
    """How many CPUs' time the process may take, rounded up, where Linux limits it."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (
                (root / "cpu" / f"cpu.cfs_{name}_us").read_text().strip()
                for name in ("quota", "period")
            )
        except OSError:
            return math.inf
    if not quota.isdecimal():  # max, or -1
        return math.inf
    return max(1, math.ceil(int(quota) / int(period)))


class _CostOfLoops:
    """What a step's two parallel loops cost: the best that has been measured in this process.

    On a busy machine a step of nothing can take milliseconds, and the first one starts a thread. So
    where the cost speaks against threads it is measured again, each time after twice as long.
    """

    def __init__(self):
        self._seconds = math.inf
        self._wait = SECONDS_TO_WAIT
        self._next = -math.inf

    @property
    def flops_that_pay(self):
        """How much arithmetic there must be for each thread."""
        return max(LEAST_FLOPS_THAT_PAY, self._seconds * FLOPS_FOR_A_SECOND_OF_LOOPS)

    def threads_that_pay(self, flops, most):
        """How many threads, up to ``most``, have enough to do."""
        if flops < 2 * LEAST_FLOPS_THAT_PAY:
            return 1
        if flops < most * self.flops_that_pay and time.perf_counter() >= self._next:
            self._measure()
        return max(1, min(most, int(flops / self.flops_that_pay)))

    def _measure(self):
        began = now = time.perf_counter()
        n_rounds = 0
        while n_rounds < FEWEST_ROUNDS or (
            n_rounds < MOST_ROUNDS and now - began < SECONDS_TO_MEASURE
        ):
            self._seconds = min(self._seconds, _core.seconds_of_a_step(2, STEPS_IN_ROUND))
            now = time.perf_counter()
            n_rounds += 1
        self._next = now + self._wait
        self._wait *= 2


cost_of_loops = _CostOfLoops()


def threads_for(flops, n_blocks, n_threads=None):
    """How many threads share out ``n_blocks`` blocks of ``flops`` operations in all.

    A number that the user asked for is taken as it is, save for threads that would find no block.
    Otherwise fits that run at the same time, in threads of Python, share out the CPUs.
    """
    available = available_threads()
    if n_threads is None:
        n_threads = available // max(1, core_in_use.n_users)
        if n_threads > 1:
            n_threads = cost_of_loops.threads_that_pay(flops, n_threads)
    most = 1 if core_in_use.was_forked else max(available, MOST_THREADS)
    return int(max(1, min(n_threads, n_blocks, most)))


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
    most = min(available_threads() // max(1, core_in_use.n_users), n_blocks)
    if flops >= most * FLOPS_WITHOUT_DOUBT:
        return (max(1, most),)
    numbers = [max(1, min(most, int(flops / LEAST_FLOPS_WORTH_A_TRIAL)))]
    while numbers[-1] > 1:
        numbers.append(numbers[-1] // 2)
    return tuple(numbers)


class Trial:
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
        self._rests_until = 0.0

    def next(self, seconds):
        """The number of threads for the steps that come, and how many steps take these seconds."""
        best = min(self._seconds, key=self._seconds.get)
        n_threads = self._to_try[0] if self._to_try else best
        if self._to_try:
            seconds = min(seconds, SECONDS_OF_TRIAL)
        return n_threads, max(1, int(seconds / self._seconds[n_threads]))

    def saw(self, n_threads, seconds, now):
        """Take in how many seconds a step has taken, and the time."""
        self._seconds[n_threads] = seconds
        if self._to_try:
            del self._to_try[0]
            self._rests_until = now + SECONDS_BETWEEN_TRIALS
        elif now >= self._rests_until:
            self._to_try = [number for number in self.candidates if number != n_threads]


@cache
def blas_libraries():
    """threadpoolctl's controllers of the BLAS libraries in this process."""
    # Finding them takes milliseconds, setting their threads a microsecond.
    controllers = ThreadpoolController().lib_controllers
    return [library for library in controllers if library.user_api == "blas"]


class _Guard:
    """A context that counts who is inside: the first to enter begins, the last to leave ends.

    Two fits may run in two threads of Python, and a limit may be the whole process's.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._depths = {}  # of every thread that is inside
        if hasattr(os, "register_at_fork"):
            # A child gets a copy of the lock, and never one that another thread holds.
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._begin_as_child,
            )

    def _begin(self):
        pass

    def _end(self):
        pass

    def _begin_as_child(self):
        """The threads that were inside are not here."""
        if self._depths:
            self._depths.clear()
            self._end()
        self._lock.release()

    @property
    def n_users(self):
        """How many threads of Python are inside."""
        return len(self._depths)

    def __enter__(self):
        me = threading.get_ident()
        with self._lock:
            if not self._depths:
                self._begin()
            self._depths[me] = self._depths.get(me, 0) + 1

    def __exit__(self, *exception):
        me = threading.get_ident()
        with self._lock:
            self._depths[me] -= 1
            if self._depths[me] == 0:
                del self._depths[me]
            if not self._depths:
                self._end()


class _BlasInOneThread(_Guard):
    def __init__(self):
        super().__init__()
        self._before = []

    def _begin(self):
        self._before = [(library, library.get_num_threads()) for library in blas_libraries()]
        for library, _ in self._before:
            library.set_num_threads(1)

    def _end(self):
        for library, n_threads in self._before:
            library.set_num_threads(n_threads)


class _CoreInUse(_Guard):
    """A context for work in the core, which holds BLAS to one thread if that makes products."""

    def __init__(self):
        super().__init__()
        self.was_forked = False
        self._holds_blas = False

    def _begin_as_child(self):
        self.was_forked = True
        self._holds_blas = False  # the guard of BLAS has left by itself
        super()._begin_as_child()

    def _begin(self):
        self._holds_blas = _core.uses_blas()
        if self._holds_blas:
            blas_in_one_thread.__enter__()

    def _end(self):
        if self._holds_blas:
            blas_in_one_thread.__exit__()


blas_in_one_thread = _BlasInOneThread()
core_in_use = _CoreInUse()
