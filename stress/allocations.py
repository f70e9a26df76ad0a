"""Memory that is refused, allocation by allocation: `python stress/allocations.py --seconds 60`.

A call, such as the fit of an estimator, is made once to count its allocations: the numbers of
arrays (a handler of NumPy), or the objects and buffers of Python, all that the core asks for among
them. Then it is made again and again, and each time another one is refused. It raises MemoryError,
and the estimator or the file is what it was; or it does without and gives the right bits. The next
call gives the right bits, the guards are released, and nothing is kept: no array and, over
repetitions, no block of Python's memory.

A case refuses a share of a call's allocations, such as every 40th; as many cases of the same call
refuse all of them. Every other case refuses all arrays from that one on, and not just one.
`--every "load" "predict"` takes all cases of these calls, and `--every` alone those of COMMON, in
half an hour of one CPU. A wrong name shows which there are.
`refusing.c` is compiled at the beginning.

What is not refused or not asked for, since it is not ours:

- Objects that the compiled code of other libraries asks for, which is seen from the stack. NumPy
  2.4 crashes without some of them, as in the subscript of a row of a structured array. What they
  allocate on their own (BLAS, the C++ of SciPy) is not refused either.
- Objects that Python's interpreter asks for are refused in Python 3.11 only: later ones crash. Even
  that one loses references, such as those to the arguments of a function if there is no memory for
  its first variable that a function within shares; so what is kept is not checked then. Nor is it
  after a `+=`, which keeps the other list if there is no memory for its items. And Python does not
  always raise MemoryError (`OF_PYTHON`).
"""

import contextlib
import functools
import gc
import importlib.util
import itertools
import os
import pickle
import random
import subprocess
import sys
import sysconfig
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import kinds
import made
import numpy as np
from cases import Broken, check, main

import fastmlp
from fastmlp import _core
from fastmlp._engine.threads import blas_in_one_thread, blas_libraries, core_in_use

REFUSED_IN_CASE = 60
REFUSED_IN_ENSEMBLE = 4
ALL_FURTHER = 2**40
MEMORIES = ("arrays", "objects")
LIBRARY = "FASTMLP_STRESS_REFUSING"
PYTHON_ENDURES = sys.version_info < (3, 12)
# Calls of every kind; other solvers and ensembles make the same ones, and many more.
COMMON = (
    "fit, adam multiclass", "fit, early stopping", "fit, input layer", "fit, custom loss, lbfgs",
    "warm start", "partial_fit", "another partial_fit", "predict", "predict again",
    "predict a row", "predict a row again", "predict a frame", "predict sparse rows",
    "predict in float64", "predict labels", "predict many rows", "predict by columns",
    "predict of an ensemble", "save", "load", "load an input layer", "unpickle", "pickle",
)  # fmt: skip
# What Python makes of a lack of memory that it has asked for itself, and not always MemoryError.
OF_PYTHON = {
    RuntimeError: (
        "can't allocate lock",
        "can't allocate read lock",
        "can't start new thread",
    ),
    SystemError: ("error return without exception set", "returned NULL without setting"),
    pickle.PicklingError: ("import of module",),
    TypeError: ("expected str, bytes or os.PathLike object, not PosixPath",),
}

# A loss of blocks of Python's memory shows in each repetition. The first times, caches are filled.
REPETITIONS = (6, 6, 60)
SHARE_REPEATED = 0.05


class Call(NamedTuple):
    """``make(folder)`` gives a model or another object, and ``act(object)`` is what is refused.

    ``bits`` takes the object and what ``act`` has returned.
    """

    make: Callable[[Path], Any]
    act: Callable[[Any], Any]
    bits: Callable[[Any, Any], Any]
    state: Callable[[Any], dict] = made.state_of
    is_ensemble: bool = False


@functools.cache
def refusing():
    """Return the module of `refusing.c`."""
    path = os.environ[LIBRARY]
    specification = importlib.util.spec_from_file_location("refusing", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    if not PYTHON_ENDURES:
        module.spare_python()
    return module


def compiled(folder):
    """Compile `refusing.c` and return the path of the library."""
    path = Path(folder, f"refusing{sysconfig.get_config_var('EXT_SUFFIX')}")
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    folders = (sysconfig.get_path("include"), np.get_include())
    source = Path(__file__).with_name("refusing.c")
    options = ["-shared", "-fPIC", "-O1", "-pthread", *(f"-I{folder}" for folder in folders)]
    subprocess.run([*compiler, *options, str(source), "-o", str(path)], check=True)
    return str(path)


# The calls -------------------------------------------------------------------------------------


def of_pickle(make):
    """Return a ``make`` that unpickles what ``make()`` gives."""

    @functools.cache
    def pickled():
        return pickle.dumps(make())

    return lambda folder: pickle.loads(pickled())


def table(kind):
    return kinds.table(kind, 60)


@functools.cache
def fitted(kind, **parameters):
    return kinds.estimator(kind, max_iter=2).set_params(**parameters).fit(*table(kind))


def bits_of_fit(kind):
    return lambda model, _: kinds.numbers_of(model, table(kind)[0])


def fit(kind, is_fitted=False, **parameters):
    """Return the call of fit, of an estimator that has been fitted before or not."""

    is_ensemble = kind in kinds.TABULAR
    if is_ensemble:  # Python's pool of threads waits for ever for one that has ended without memory
        parameters["n_jobs"] = 1

    def make():
        model = kinds.estimator(kind, max_iter=2).set_params(**parameters)
        return model.fit(*table(kind)) if is_fitted else model

    def act(model):
        model.fit(*table(kind))

    return Call(of_pickle(make), act, bits_of_fit(kind), is_ensemble=is_ensemble)


def partial_fit(kind, is_fitted):
    X, y = table(kind)
    classes = {"classes": np.unique(y)} if kinds.KINDS[kind][1] == "multiclass" else {}

    def make():
        model = kinds.estimator(kind)
        return model.partial_fit(X, y, **classes) if is_fitted else model

    def act(model):
        model.partial_fit(X, y, **classes)

    return Call(of_pickle(make), act, bits_of_fit(kind))


def fit_with(kind, tables, **parameters):
    """Return the call of fit with these arguments: what `tables(folder)` gives."""

    def act(pair):
        model, arguments = pair
        model.fit(*arguments[0], **arguments[1])

    def make(folder):
        return kinds.estimator(kind, max_iter=2).set_params(**parameters), tables(folder)

    return Call(
        make, act, lambda pair, _: kinds.numbers_of(pair[0], pair[1][0][0]),
        lambda pair: made.state_of(pair[0]),
    )  # fmt: skip


def sparse(folder):
    X, y, weight = made.make("multiclass", 60, 5, "csr")
    return (X, y, weight), {}


def with_validation(folder):
    X, y = table("adam several")
    X_val, y_val, _ = made.make("several", 20, 5, "frame", seed=3)
    X_val = X_val.to_numpy()
    return (X, y), {"X_val": X_val, "y_val": y_val}


def with_checkpoints(folder):
    return table("adam several"), {"checkpoint": folder / "checkpoint", "checkpoint_every": 1}


def fit_stream():
    X, y = table("adam several")

    def batches():
        yield from ((X[i : i + 20], y[i : i + 20]) for i in range(0, len(X), 20))

    def act(model):
        model.fit_stream(batches, buffer_rows=30)

    return Call(
        of_pickle(lambda: kinds.estimator("adam several", max_iter=2)), act,
        bits_of_fit("adam several"),
    )  # fmt: skip


def predict(kind, method, X, is_again=False, **parameters):
    """Return the call of a prediction, the first one of a model or a further one."""

    def make(folder):
        model = pickle.loads(pickle.dumps(fitted(kind, **parameters)))
        if is_again:
            getattr(model, method)(X)
        return model

    def act(model):
        return getattr(model, method)(X)

    is_ensemble = kind in kinds.TABULAR
    return Call(make, act, lambda model, value: value.tobytes(), is_ensemble=is_ensemble)


def many_rows(kind, n_rows=1000):
    return kinds.table(kind, n_rows)[0]


def save(kind):
    """Return the call of `save` over a file that is there."""

    def make(folder):
        path = folder / "model.safetensors"
        path.write_bytes(b"the old file")
        return fitted(kind), path

    def act(pair):
        fastmlp.save(*pair)

    def bits(pair, _):
        return made.output_of(fastmlp.load(pair[1]), table(kind)[0])

    def state(pair):
        rests = {path.name for path in pair[1].parent.iterdir()}
        return made.state_of(pair[0]) | {"file": pair[1].read_bytes(), "files": rests}

    return Call(make, act, bits, state)


def load(kind):
    def make(folder):
        path = folder / "model.safetensors"
        if not path.exists():
            fastmlp.save(fitted(kind), path)
        return path

    return Call(
        make, fastmlp.load, lambda path, model: kinds.numbers_of(model, table(kind)[0]),
        lambda path: {"file": path.read_bytes()},
    )  # fmt: skip


def unpickle(kind):
    return Call(
        lambda folder: pickle.dumps(fitted(kind)), pickle.loads,
        lambda data, model: kinds.numbers_of(model, table(kind)[0]), lambda data: {"data": data},
    )  # fmt: skip


def pickled(kind):
    return Call(
        lambda folder: fitted(kind), pickle.dumps,
        lambda model, data: kinds.numbers_of(pickle.loads(data), table(kind)[0]),
    )  # fmt: skip


@functools.cache
def calls():
    """Return all calls by name."""
    adam, regressor, tabular = "adam multiclass", "adam several", "ensemble of classifiers"
    X, X_of_tabular = table(adam)[0], table(tabular)[0]
    return {f"fit, {kind}": fit(kind) for kind in kinds.KINDS} | {
        "refit": fit(adam, is_fitted=True),
        "warm start": fit(adam, is_fitted=True, warm_start=True),
        "warm start, lbfgs": fit("lbfgs several", is_fitted=True, warm_start=True),
        "partial_fit": partial_fit(adam, is_fitted=False),
        "another partial_fit": partial_fit("sgd several", is_fitted=True),
        "fit, sparse and weighted": fit_with(adam, sparse),
        "fit, validation set": fit_with(regressor, with_validation),
        "fit, checkpoints": fit_with(regressor, with_checkpoints),
        "fit_stream": fit_stream(),
        "predict": predict(adam, "predict", X),
        "predict again": predict(regressor, "predict", X, is_again=True),
        "predict a row": predict(adam, "predict_proba", X[:1]),
        "predict a row again": predict(adam, "predict_proba", X[:1], is_again=True),
        "predict a frame": predict("input layer", "predict", made.as_kind(X, "frame")),
        "predict sparse rows": predict(adam, "predict_proba", made.as_kind(X, "csr")),
        "predict in float64": predict("float64", "predict", X),
        "predict labels": predict("multilabel", "predict", X),
        "predict many rows": predict(adam, "predict_proba", many_rows(adam), n_threads=3),
        "predict by columns": predict(regressor, "predict", X, n_threads=2),
        "predict of an ensemble": predict(tabular, "predict_proba", X_of_tabular),
        "save": save(adam),
        "save an ensemble": save("ensemble of regressors"),
        "load": load(adam),
        "load an input layer": load("input layer"),
        "load an ensemble": load("ensemble of regressors"),
        "unpickle": unpickle(adam),
        "unpickle an ensemble": unpickle(tabular),
        "pickle": pickled("dropout"),
    }


# Threads ---------------------------------------------------------------------------------------

# What refuses them: the system, or the memory of a thread's place in the pool.
NO_THREADS = ("threads", "memory of threads")
N_THREADS = 4


def in_child(work):
    """Do the work in a fork, whose pool has no threads at first; check that it ends well."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    check(status == 0, f"the fork ended with {status}")


def bits_with_threads(kind):
    model = kinds.estimator(kind, max_iter=2).set_params(n_threads=N_THREADS, batch_size=400)
    return kinds.numbers_of(model.fit(*kinds.table(kind)), kinds.table(kind)[0])


def refuse_threads(kind, expected, n_running):
    """Check the bits of a fit that gets only the threads that are running."""
    _core.seconds_of_barrier(n_running + 1, 1)
    refusing().refuse_threads()
    check(bits_with_threads(kind) == expected, "other bits with fewer threads")
    n_now = len(os.listdir("/proc/self/task"))
    check(n_now == n_running + 1, f"{n_now} threads, not {n_running + 1}")


def refuse_their_memory(kind, expected, k):
    """Check the bits of a fit after the k-th allocation for new threads has been refused."""
    with contextlib.suppress(MemoryError):  # from the numbers of Python around them
        refusing().refuse("objects", k, 1)
        _core.seconds_of_barrier(N_THREADS, 1)
    refusing().stop()
    check(bits_with_threads(kind) == expected, "other bits after a thread was refused")


def try_threads(what, source):
    """Refuse each of the threads of a fit."""
    kind = source.choice(("two threads", "dropout", "early stopping"))
    expected = bits_with_threads(kind)
    refuse = refuse_threads if what == "threads" else refuse_their_memory
    numbers = range(N_THREADS) if what == "threads" else range(1, 25)
    for number in numbers:
        in_child(lambda number=number: refuse(kind, expected, number))
    return Counter({f"refused {what}": len(numbers)})


# A case ----------------------------------------------------------------------------------------


def line_of(error):
    """Return the line of the source where an error was raised."""
    entry = traceback.extract_tb(error.__traceback__)[-1]
    path = Path(fastmlp.__file__).parents[1] / entry.filename  # Cython's are relative
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return lines[entry.lineno - 1] if entry.lineno and entry.lineno <= len(lines) else ""


class Refusals:
    """A call whose allocations of one kind are refused, one after the other."""

    def __init__(self, name, call, memory, folder):
        self.name, self.call, self.memory, self.folder = name, call, memory, folder
        self.counts = Counter()
        self.threads = [library.get_num_threads() for library in blas_libraries()]
        for _ in range(2):  # the first time, there is more to allocate
            model = call.make(folder)
            value, error = self.attempt(model, 0, 0)
            if error is not None:
                raise error
        self.n_asked = self.asked[memory]
        self.expected = call.bits(model, value)

    def attempt(self, model, k, n):
        """Make the call and refuse n allocations from the k-th on; return its value or error."""
        value = error = None
        refused = refusing()
        try:
            refused.refuse(self.memory, k, n)
            value = self.call.act(model)
        except BaseException as raised:
            error = raised
        self.asked = refused.stop()
        return value, error

    def try_one(self, k, n):
        """Refuse the k-th allocation, and check all that is promised.

        Return whether what is kept is to be checked, too.
        """
        call = self.call
        gc.collect()
        n_before = refusing().n_live_arrays()
        model = call.make(self.folder)
        before = call.state(model)
        value, error = self.attempt(model, k, n)
        self.check_guards()
        if not self.asked["refused"]:
            self.counts["let through"] += 1
            return False
        self.counts[f"refused {self.memory}"] += 1
        is_addition = False
        if error is None:
            self.counts["done without"] += 1
            check(call.bits(model, value) == self.expected, "it did without, with other bits")
        else:
            self.check_error(error, model, before)
            is_addition = " += " in line_of(error)
            error = None
            value = call.act(model)
            check(call.bits(model, value) == self.expected, "the next call gives other bits")
        del model, value, before, error
        gc.collect()
        if self.asked["of Python"] or is_addition:
            return False
        n_kept = refusing().n_live_arrays() - n_before
        check(n_kept == 0, f"{n_kept} arrays are kept")
        return True

    def check_guards(self):
        check(core_in_use.n_users == blas_in_one_thread.n_users == 0, "a guard is still in use")
        now = [library.get_num_threads() for library in blas_libraries()]
        check(now == self.threads, f"BLAS has {now} threads, not {self.threads}")

    def check_error(self, error, model, before):
        is_of_python = self.asked["of Python"] and any(
            words in str(error) for words in OF_PYTHON.get(type(error), ())
        )
        if not isinstance(error, MemoryError) and not is_of_python:
            raise Broken(f"raised {error!r}") from error
        after = self.call.state(model)
        changed = [name for name in before | after if before.get(name) != after.get(name)]
        if changed:
            raise Broken(f"raised MemoryError, and changed {changed}") from error
        self.counts["MemoryErrors" if not is_of_python else "other errors of Python"] += 1

    def check_blocks(self, k, n):
        """Check that a refusal, when it is repeated, does not keep blocks of memory each time."""
        self.counts["repeated"] += 1
        for n_times in REPETITIONS:
            numbers = np.zeros(n_times, np.int64)  # so that writing them keeps no memory
            for i in range(n_times):
                model = self.call.make(self.folder)
                self.attempt(model, k, n)
                del model
                gc.collect()
                numbers[i] = sys.getallocatedblocks()
            grown = np.diff(numbers)
            if grown.min() <= 0:
                return
        raise Broken(f"blocks of memory are kept: {grown.tolist()}")


def try_case(seed):
    """Refuse a share of the allocations of one call."""
    with folder_of_case() as folder:
        return try_call(seed, folder), []


@contextlib.contextmanager
def folder_of_case():
    """Give a folder, and take what is there by now from what the garbage collector looks at."""
    gc.collect()
    gc.freeze()
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    finally:
        gc.unfreeze()


def all_names():
    """Return the calls and what is refused in them. The seed takes one after the other."""
    names = [*itertools.product(calls(), MEMORIES), *((name, "") for name in NO_THREADS)]
    random.Random(0).shuffle(names)
    return names


def stride_of(refusals):
    """Return how many cases refuse all allocations of a call."""
    most = REFUSED_IN_ENSEMBLE if refusals.call.is_ensemble else REFUSED_IN_CASE
    return -(-refusals.n_asked // most)


def seeds_of_every(wanted):
    """Return the seeds that together refuse every allocation of the calls of these names."""
    wanted = wanted or COMMON
    if wrong := set(wanted) - set(calls()):
        sys.exit(f"no call is named {', '.join(sorted(wrong))}; there are: {'; '.join(calls())}")
    seeds, names = [], all_names()
    for index, (name, memory) in enumerate(names):
        if name in wanted:
            with folder_of_case() as folder:
                n_turns = stride_of(Refusals(name, calls()[name], memory, folder))
            n_turns *= 2 if memory == "arrays" else 1
            seeds += [index + turn * len(names) for turn in range(n_turns)]
    return seeds


def try_call(seed, folder):
    names = all_names()
    name, memory = names[seed % len(names)]
    if name in NO_THREADS:
        return try_threads(name, random.Random(seed))
    call, turn = calls()[name], seed // len(names)
    refusals = Refusals(name, call, memory, folder)
    n = 1
    if memory == "arrays":
        turn, is_odd = divmod(turn, 2)
        n = ALL_FURTHER if is_odd else 1
    stride = stride_of(refusals)
    source = random.Random(seed)
    first = 1 + (turn + random.Random(name).randrange(stride)) % stride
    for k in range(first, refusals.n_asked + 1, stride):
        try:
            if refusals.try_one(k, n) and source.random() < SHARE_REPEATED:
                refusals.check_blocks(k, n)
        except Exception as error:
            fault = f"{name}: {memory}, {k} of {refusals.n_asked} refused, {n} in all: {error}"
            print(fault, flush=True)
            traceback.print_exception(error)
            raise Broken(fault) from error
    return refusals.counts


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ[LIBRARY] = compiled(folder)  # the children have it, too
        sys.exit(main(__file__, __doc__.splitlines()[0], try_case, every=seeds_of_every))
