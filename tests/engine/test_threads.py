"""Same seed, same bits: for any number of threads, on every repeat, and beside other fits."""

import contextlib
import importlib
import io
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fastmlp._guard import Guard
from threadpoolctl import threadpool_info, threadpool_limits

from fastmlp import MLPClassifier, MLPRegressor, Network, _core
from fastmlp._engine import threads
from fastmlp._engine.threads import (
    FLOPS_FOR_ALL_THREADS,
    MIN_FLOPS_FOR_TRIAL,
    MIN_FLOPS_PER_THREAD,
    SECONDS_BETWEEN_TRIALS,
    SECONDS_PER_TRIAL,
    ThreadTuner,
    available_threads,
    blas_in_one_thread,
    blas_libraries,
    candidates_for,
    core_in_use,
    threads_for,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.standard_normal((333, 7))
CLASSES = RNG.randint(0, 5, 333)
WEIGHT = RNG.uniform(size=333)


def bits(estimator):
    """All that a fit computes, to be compared for equality."""
    arrays = [*estimator.coefs_, *estimator.intercepts_]
    if isinstance(estimator, MLPClassifier):
        arrays.append(estimator.predict_proba(X))
    else:
        arrays.append(estimator.predict(X))
    arrays.append(np.array(getattr(estimator, "loss_curve_", [estimator.loss_])))
    return [array.tobytes() for array in arrays]


def fit(n_threads, batch_size=200, sizes=(33, 10), solver="adam", dtype="float32"):
    classifier = MLPClassifier(
        sizes,
        solver=solver,
        batch_size=batch_size,
        max_iter=3,
        random_state=0,
        dtype=dtype,
        n_threads=n_threads,
    )
    return bits(classifier.fit(X, CLASSES, WEIGHT))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [
        (1, (3,)),  # one row at a time
        (77, (33, 10)),  # odd, and a last batch of 25
        (200, (100,)),  # several blocks, and a last batch of 133
        (333, (1, 1)),  # layers of one node
        (332, (300, 200)),  # many blocks of parameters, and a last batch of one row
    ],
)
def test_bits_do_not_depend_on_threads(batch_size, sizes, solver, dtype):
    once = fit(1, batch_size, sizes, solver, dtype)
    for n_threads in (2, 3, 4, 1):
        assert fit(n_threads, batch_size, sizes, solver, dtype) == once


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_of_network_do_not_depend_on_threads(dtype):
    network = Network([7, 100, 5], "tanh", "log_loss", dtype=dtype, random_state=0)
    results = []
    for n_threads in (1, 2, 3, 4):
        network.n_threads = n_threads
        loss, delta, dW, db = network.loss_and_gradients(X, CLASSES, WEIGHT, 0.1)
        arrays = [np.array(loss), *delta, *dW, *db, network.output(X)]
        results.append([array.tobytes() for array in arrays])
    assert all(result == results[0] for result in results)


def test_bits_do_not_depend_on_when_the_core_returns(monkeypatch):
    whole = fit(2, batch_size=32)
    monkeypatch.setattr("fastmlp._training.descent.SECONDS_IN_CORE", 0.0)  # after every mini-batch
    assert fit(2, batch_size=32) == whole


def test_concurrent_fits_have_the_bits_of_fits_one_after_the_other():
    def fit_regressor(seed):
        regressor = MLPRegressor(
            hidden_layer_sizes=(64, 32), max_iter=5, random_state=seed, n_threads=2
        )
        return bits(regressor.fit(X, X[:, :3]))

    alone = [fit_regressor(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fit_regressor, range(8))) == alone


def test_new_networks_are_used_by_many_threads_at_once():
    """Nobody has a workspace yet, and each thread takes and leaves some."""
    network = Network((7, 20, 3), n_threads=2, random_state=0)
    expected = network.output(X).tobytes()
    for _ in range(20):
        shared, start = network.copy(), threading.Barrier(8)

        def predictions(shared=shared, start=start):
            start.wait()
            return {shared.output(X).tobytes() for _ in range(10)}

        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(predictions) for _ in range(8)]
        assert all(answer.result() == {expected} for answer in answers)


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="Python has a GIL")
def test_an_import_leaves_the_gil_off():
    code = "import sys, fastmlp; sys.exit(sys._is_gil_enabled())"
    subprocess.run([sys.executable, "-P", "-W", "error", "-X", "gil=0", "-c", code], check=True)
    code = "import sys, numpy, scipy.linalg.cython_blas, fastmlp._core, fastmlp._guard; {}"
    code = code.format("sys.exit(sys._is_gil_enabled())")
    subprocess.run([sys.executable, "-P", "-W", "error", "-c", code], check=True)


def blas_threads():
    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}


# Where the threads are ----------------------------------------------------------------------------

on_linux = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two CPUs, and to say which one a thread is on",
)


def all_threads():
    return [int(thread) for thread in os.listdir("/proc/self/task")]


def bind_all(cpus):
    for thread in all_threads():
        os.sched_setaffinity(thread, cpus)


@pytest.fixture
def cpus():
    """The CPUs of this process, which all its threads may use again afterwards."""
    cpus = os.sched_getaffinity(0)
    yield cpus
    bind_all(cpus)


def free_and_placed(measure, cpus):
    """What is measured with all threads on one CPU that they may leave, and on a CPU each."""
    measure()
    here, there = sorted(cpus)[:2]
    free, placed = [], []
    for _ in range(15):
        bind_all({here})
        bind_all(cpus)
        free.append(measure())
        bind_all({there})
        os.sched_setaffinity(0, {here})
        placed.append(measure())
    return np.median(free), np.median(placed)


def switches_of_work():
    """How often threads of this process sleep while two of them meet at 200 barriers.

    Before that, they have slept for a while, and so have their CPUs.
    """

    def n():
        found = [
            re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.MULTILINE)[1]
            for status in Path("/proc/self/task").glob("*/status")
        ]
        return sum(map(int, found))

    time.sleep(0.05)
    before = n()
    _core.seconds_of_barrier(2, 200)
    return n() - before


@on_linux
def test_threads_on_one_cpu_part(cpus):
    """Linux may leave them there for a long time, where they take turns at every barrier."""
    _core.set_spin_time(100)  # the default, see _team/team.c
    free, placed = free_and_placed(switches_of_work, cpus)
    assert free < 3 * placed + 20


@on_linux
def test_a_thread_that_is_called_leaves_the_cpu_of_its_caller(cpus):
    """Or else it would get that CPU only when a short prediction is over."""
    rows = RNG.standard_normal((1000, 784)).astype(np.float32)
    model = MLPClassifier(n_threads=2, max_iter=1, random_state=0).fit(rows, rows[:, 0] > 0)

    def seconds():
        """The CPU time of all threads but this one."""
        return sum(
            time.clock_gettime(~thread << 3 | 6)  # of a thread; see clock_getcpuclockid(3)
            for thread in all_threads()
            if thread != threading.get_native_id()
        )

    def share():
        time.sleep(0.05)
        others, mine = seconds(), time.thread_time()
        for _ in range(20):
            model.predict_proba(rows)
        others, mine = seconds() - others, time.thread_time() - mine
        return others / (others + mine)

    free, placed = free_and_placed(share, cpus)
    assert free > placed / 2


def masks():
    return {frozenset(os.sched_getaffinity(thread)) for thread in all_threads()}


@on_linux
def test_threads_may_use_all_cpus_afterwards(cpus):
    """Also a thread that a short prediction has called and not waited for."""
    model = MLPClassifier(n_threads=2, max_iter=1, random_state=0).fit(X, CLASSES)
    for _ in range(20):
        switches_of_work()
        assert masks() == {frozenset(cpus)}
        time.sleep(0.01)
        model.predict_proba(X)
        assert masks() == {frozenset(cpus)}


@on_linux
def test_a_thread_that_is_bound_stays_there(cpus):
    switches_of_work()
    bind_all({min(cpus)})
    switches_of_work()
    assert masks() == {frozenset({min(cpus)})}


# What a service may not do: a filter of system calls ends the process, or refuses the call.
FORBIDDEN = """
import ctypes, os, struct, sys, time

action = {"ends": 0x80000000, "refuses": 0x00050001}[sys.argv[1]]
number = {"x86_64": 203, "aarch64": 122}[os.uname().machine]  # of sched_setaffinity
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, action), (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
rule = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(program))
prctl = ctypes.CDLL(None).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, rule, 0, 0):
    print("no filters here")
    sys.exit()

from fastmlp import _core, MLPRegressor
import numpy as np

X = np.random.RandomState(0).standard_normal((300, 20))
for _ in range(20):
    time.sleep(0.02)
    _core.seconds_of_barrier(2, 50)
    MLPRegressor(n_threads=2, max_iter=1, tol=0, random_state=0).fit(X, X[:, 0])
print("done")
"""


@on_linux
@pytest.mark.parametrize(("what", "setting"), [("ends", "false"), ("refuses", "")])
def test_where_threads_may_not_be_bound(what, setting):
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", FORBIDDEN, what],
        env=os.environ | {"OMP_PROC_BIND": setting},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("done", "no filters here")


@on_linux
def test_a_loss_in_python_sees_all_cpus(cpus):
    """Threads that it starts would inherit the CPUs of the one that calls it."""
    seen = set()

    def loss(y, z):
        seen.add(frozenset(os.sched_getaffinity(0)))
        return ((z - y) ** 2).sum(axis=1) / 2, z - y

    for _ in range(20):
        time.sleep(0.05)
        MLPRegressor(loss, n_threads=2, max_iter=3, batch_size=111, random_state=0).fit(X, WEIGHT)
    assert seen == {frozenset(cpus)}


def test_blas_has_one_thread_until_the_last_has_left():
    kernels, before = _core.kernels_in_use(), blas_threads()
    _core.use_kernels("blas")
    try:
        with core_in_use:
            with core_in_use:
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == before
    finally:
        _core.use_kernels(kernels)
    with core_in_use:  # without products by BLAS it is nobody's business
        assert _core.uses_blas() or blas_threads() == before


@pytest.mark.parametrize("guard", [blas_in_one_thread, core_in_use], ids=["BLAS", "core"])
def test_the_last_to_leave_may_be_another_thread(guard):
    """Whoever came first: BLAS has all its threads again, and one in another thread's turn."""
    before, seen, kernels = blas_threads(), [], _core.kernels_in_use()

    def stay(inside, leave):
        with guard:
            inside.set()
            leave.wait()
            seen.append(blas_threads())

    _core.use_kernels("blas")  # the core leaves BLAS to others otherwise
    try:
        for comes_first in (True, True, False):
            inside, leave = threading.Event(), threading.Event()
            thread = threading.Thread(target=stay, args=(inside, leave))
            with guard if comes_first else contextlib.nullcontext():
                thread.start()
                inside.wait()
            leave.set()
            thread.join()
            assert blas_threads() == before
            assert guard.n_users == blas_in_one_thread.n_users == 0
    finally:
        _core.use_kernels(kernels)
    assert seen == [{1}] * 3


def test_threads_are_started_where_they_pay():
    assert threads_for(MIN_FLOPS_PER_THREAD, 100) == 1
    assert threads_for(1e15, 100) == min(available_threads(), 100)
    assert threads_for(1e15, 1) == 1
    assert threads_for(0, 100, n_threads=3) == 3
    assert threads_for(0, 2, n_threads=1000) == 2
    assert threads_for(0, 10**6, n_threads=10**6) == max(64, available_threads())


def test_candidates_for_a_step(monkeypatch):
    monkeypatch.setattr("fastmlp._engine.threads.available_threads", lambda: 6)
    assert candidates_for(MIN_FLOPS_FOR_TRIAL, 100) == (1,)
    assert candidates_for(6 * MIN_FLOPS_FOR_TRIAL, 100) == (6, 3, 1)
    assert candidates_for(6 * MIN_FLOPS_FOR_TRIAL, 2) == (2, 1)
    assert candidates_for(6 * FLOPS_FOR_ALL_THREADS, 100) == (6,)
    assert candidates_for(6 * FLOPS_FOR_ALL_THREADS, 100, n_threads=1) == (1,)

    def beside_another_fit():
        with core_in_use:
            return candidates_for(1e15, 100)

    with core_in_use, ThreadPoolExecutor(1) as pool:
        assert pool.submit(beside_another_fit).result() == (3,)


def test_trial_takes_the_fastest_and_notices_when_that_changes():
    """A machine on which a step takes a time that changes after a while."""
    now, change = 0.0, 10 * max(SECONDS_BETWEEN_TRIALS)
    spent_on = {4: 0.0, 2: 0.0, 1: 0.0}
    trial = ThreadTuner((4, 2, 1), guess=1e-3)
    while now < 2 * change:
        seconds = {4: 3e-5, 2: 1e-5 if now < change else 5e-5, 1: 2e-5}
        n_threads, n_steps = trial.next(seconds=0.01)
        now += n_steps * seconds[n_threads]
        trial.saw(n_threads, seconds[n_threads], now)
        spent_on[n_threads] += n_steps * seconds[n_threads]
    assert spent_on[2] == pytest.approx(change, rel=0.1)
    assert spent_on[1] == pytest.approx(change, rel=0.1)
    assert spent_on[4] < 30 * SECONDS_PER_TRIAL


def test_a_single_candidate_is_not_tried():
    trial = ThreadTuner((3,), guess=0.1)
    assert trial.next(seconds=0.01) == (3, 1)
    trial.saw(3, 1e-3, now=10.0)
    assert trial.next(seconds=0.01) == (3, 10)


def test_cpus_and_environment_limit_threads(monkeypatch):
    monkeypatch.setattr("fastmlp._engine.threads._cpus", lambda: 8)
    for asked, n_threads in (("", 8), ("3", 3), ("1,2", 1), ("100", 8), ("much", 8)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert available_threads() == n_threads


def test_threadpoolctl_limits_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = available_threads()
    with threadpool_limits(1):
        assert available_threads() == 1
    assert available_threads() == before
    with threadpool_limits(1, user_api="openmp"):
        assert threads_for(1e15, 100) == 1
    assert available_threads() == before
    shown = [lib for lib in threadpool_info() if lib["internal_api"] == "fastmlp"]
    assert [lib["num_threads"] for lib in shown] == [before]
    monkeypatch.setattr("fastmlp._engine.threads._cpus", lambda: before + 6)
    assert available_threads() == before + 6  # the limit has gone


def test_environment_limits_threads():
    code = "from fastmlp._engine.threads import available_threads; print(available_threads())"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    shown = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True
    )
    assert shown.stdout.strip() == "1", shown.stderr


def test_fits_at_the_same_time_share_out_the_cpus(monkeypatch):
    monkeypatch.setattr("fastmlp._engine.threads.available_threads", lambda: 4)
    much = 1e15
    inside, leave = threading.Barrier(2), threading.Event()

    def stay():
        with core_in_use:
            inside.wait()
            leave.wait()

    other = threading.Thread(target=stay)
    with core_in_use:
        with core_in_use:  # a validation inside of a fit is not another fit
            assert threads_for(much, 100) == 4
        other.start()
        inside.wait()
        try:
            assert threads_for(much, 100) == 2
            assert threads_for(much, 100, n_threads=3) == 3
        finally:
            leave.set()
            other.join()
        assert threads_for(much, 100) == 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="affinity and cgroups of Linux")
@pytest.mark.parametrize(
    ("files", "n_cpus"),
    [
        ({}, 6),
        ({"cpu.max": "max 100000"}, 6),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "1000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 6),
    ],
)
def test_a_cgroup_limits_threads(files, n_cpus, monkeypatch):
    """joblib knows of both versions of cgroups, and of affinity."""
    loky = importlib.import_module("joblib.externals.loky.backend.context")
    root = "/sys/fs/cgroup/"
    found = {root + name: text + "\n" for name, text in files.items()}
    fakes = {"exists": found.__contains__, "sched_getaffinity": lambda pid: set(range(6))}
    monkeypatch.setattr(loky.os.path, "exists", fakes["exists"])
    monkeypatch.setattr(loky.os, "sched_getaffinity", fakes["sched_getaffinity"])
    monkeypatch.setattr(loky.os, "cpu_count", lambda: 6)
    monkeypatch.setattr(loky, "open", lambda name: io.StringIO(found[name]), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads._cpus_of_joblib.cache_clear()
    try:
        assert available_threads() == n_cpus
    finally:
        threads._cpus_of_joblib.cache_clear()


def _send_fit(queue):
    queue.put(fit(2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_neither_hangs_nor_differs():
    here = fit(2)  # the parent's threads are running
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_send_fit, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=60) == here
        child.join(60)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()


def _send_guards(queue):
    queue.put((core_in_use.n_users, blas_in_one_thread.n_users, blas_threads()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_is_in_no_guard_of_its_parent():
    """There nobody is in the core, and nobody limits BLAS."""
    before = blas_threads()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_send_guards, args=(queue,))
    with core_in_use, blas_in_one_thread:
        assert blas_threads() == {1}
        child.start()
    try:
        assert queue.get(timeout=60) == (0, 0, before)
        child.join(60)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fork_beside_a_predicting_thread_does_not_hang():
    """A child must not inherit anything that another thread holds: a guard of BLAS, a lock."""
    regressor = MLPRegressor(max_iter=2).fit(X, X[:, 0])
    state = pickle.dumps(regressor)
    done = threading.Event()

    def predict_first():
        pickle.loads(state).predict(X[:3])

    def predict_on():
        while not done.is_set():
            regressor.predict(X[:3])
            predict_first()

    thread = threading.Thread(target=predict_on)
    thread.start()
    context = multiprocessing.get_context("fork")
    try:
        for _ in range(20):
            child = context.Process(target=predict_first)
            child.start()
            child.join(30)
            hangs = child.is_alive()
            child.kill()
            assert not hangs
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_rows", [1, 3, 64, 128])
@pytest.mark.parametrize(
    ("sizes", "loss"),
    [
        ((300, 999, 1500, 5), "log_loss"),
        ((300, 1500, 65, 1), "binary_log_loss"),  # of 65 columns one is left over
    ],
)
def test_bits_of_few_rows_do_not_depend_on_threads(sizes, loss, n_rows, dtype):
    """One block of rows through wide layers: the threads share out columns."""
    rows = np.random.RandomState(0).standard_normal((n_rows, 300)).astype(dtype)
    outputs = []
    for n_threads in (1, 2, 3, 7):
        network = Network(sizes, "tanh", loss, dtype=dtype, random_state=0, n_threads=n_threads)
        outputs.append(network.output(rows).tobytes())
    assert len(set(outputs)) == 1


class _Interrupts:
    """A trace function that raises KeyboardInterrupt at the n-th place, once.

    Places are all steps of our own code, and the beginnings of functions of threadpoolctl: between
    other steps of its, as at the end of a `with`, Python hears no signal.
    """

    def __init__(self, n):
        self.n = n

    def __call__(self, frame, event, argument):
        ours = frame.f_code.co_filename.endswith(os.path.join("_engine", "threads.py"))
        frame.f_trace_opcodes = ours
        if ours or (event == "call" and frame.f_code.co_filename.endswith("threadpoolctl.py")):
            self.n -= 1
            if self.n == 0:
                raise KeyboardInterrupt
        return self


def test_an_interrupt_anywhere_leaves_no_guard(monkeypatch):
    """Ctrl-C at any step of entering and leaving; BLAS is the process's own."""
    monkeypatch.setattr(_core, "uses_blas", lambda: True)
    blas_libraries()  # found once: or else all interrupts would come while they are looked for
    before, n = blas_threads(), 0
    was_interrupted = True
    tracing = sys.gettrace()
    while was_interrupted:
        n += 1
        interrupts = _Interrupts(n)
        try:
            sys.settrace(interrupts)
            with core_in_use, blas_in_one_thread:
                pass
            was_interrupted = interrupts.n <= 0
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(tracing)
        assert core_in_use.n_users == blas_in_one_thread.n_users == 0, n
        assert blas_threads() == before, n
    assert n > 20


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python crashes without memory")
def test_a_lack_of_memory_anywhere_leaves_no_guard(monkeypatch):
    """Python refuses one object after the other."""
    testcapi = pytest.importorskip("_testcapi")
    monkeypatch.setattr(_core, "uses_blas", lambda: True)
    blas_libraries()
    before, n_refused = blas_threads(), 0
    for n in range(300):
        testcapi.set_nomemory(n, n + 1)
        try:
            with core_in_use, blas_in_one_thread:
                pass
        except (MemoryError, SystemError):  # what ctypes makes of it, when it looks for a function
            n_refused += 1
        finally:
            testcapi.remove_mem_hooks()
        assert core_in_use.n_users == blas_in_one_thread.n_users == 0, n
        assert blas_threads() == before, n
    assert n_refused > 20


def test_an_error_in_a_guard_is_raised():
    def refuse():
        raise OSError("no")

    for guard in (Guard(begin=refuse), Guard(end=refuse)):
        with pytest.raises(OSError, match="no"), guard:
            pass
        assert guard.n_users == 0


def test_an_interrupt_of_the_guard_beneath_is_raised():
    """Its end is called again, so that both guards are left."""
    ends = []

    def end():
        ends.append(len(ends))
        if len(ends) == 1:
            raise KeyboardInterrupt

    beneath = Guard(end=end)
    guard = Guard(beneath=beneath, needs_beneath=lambda: True)
    with pytest.raises(KeyboardInterrupt), guard:
        assert beneath.n_users == 1
    assert ends == [0, 1]
    assert guard.n_users == beneath.n_users == 0


def test_a_guard_is_left_only_by_who_has_entered_it():
    guard = Guard()
    with pytest.raises(RuntimeError, match="this thread is not inside"):
        guard.__exit__(None, None, None)
    assert guard.n_users == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_takes_one_thread_unless_it_is_told_otherwise():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def report():
        queue.put((available_threads(), threads_for(1e15, 100), threads_for(1e15, 100, 2)))

    child = context.Process(target=report)
    child.start()
    assert queue.get(timeout=60) == (1, 1, 2)
    child.join()


def test_bits_do_not_depend_on_how_long_threads_spin():
    """Whoever waits sleeps at once, or after a while."""
    once = fit(1, batch_size=32)
    try:
        for microseconds in (0, 5, 1000):
            _core.set_spin_time(microseconds)
            assert fit(3, batch_size=32) == once
    finally:
        _core.set_spin_time(100)  # the default, see _team/team.c


def test_more_threads_than_blocks_and_cpus():
    assert fit(64, batch_size=200) == fit(1, batch_size=200)


REFUSED = """
import os, resource, warnings
import numpy as np
from fastmlp import MLPRegressor

warnings.simplefilter("ignore")
X = np.random.RandomState(0).standard_normal((2000, 30))


def fit(n_threads):
    settings = dict(hidden_layer_sizes=(300,), max_iter=2, random_state=0)
    return MLPRegressor(n_threads=n_threads, **settings).fit(X, X[:, 0]).predict(X).tobytes()


alone = fit(1)
with open("/proc/self/statm") as sizes:
    in_use = int(sizes.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 60 * 2**20,) * 2)  # stacks of a few threads
print(fit(64) == alone, len(os.listdir("/proc/self/task")) < 64)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and /proc of Linux")
def test_a_team_is_smaller_where_the_system_refuses_threads():
    shown = subprocess.run([sys.executable, "-P", "-c", REFUSED], capture_output=True, text=True)
    assert shown.stdout.split() == ["True", "True"], shown.stderr
