"""`ray`: joblib's backend for Ray that stores the rows once, and loses no fits with a worker."""

import copy
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

from joblib import parallel_config
from joblib._parallel_backends import FallbackToBackend
from joblib.parallel import ParallelBackendBase

from fastmlp._engine.warnings import warn

# What has more bytes than this is stored once for all calls, and not sent with each.
MANY_BYTES = 10_000


@contextmanager
def ray(**options: Any) -> Iterator[None]:
    """Hand the fits of searches, cross-validation and ensembles to the workers of a Ray cluster.

    Every fit is a task of Ray. What is large and given to several fits, such as the rows, is stored
    once, and Ray copies it to each machine once. If a worker is lost, Ray runs its fits again. With
    the backend of ``ray.util.joblib``, the rows are sent with every fit, and a search ends with an
    error if a worker is lost.

    As many fits run at a time as the cluster has CPUs for. Where the search has ``n_jobs``, no more
    than that many run, and with ``n_jobs=1`` they run in this process. A cluster that grows on
    demand needs ``n_jobs``.

    Parameters
    ----------
    **options
        Options of Ray's tasks: ``num_cpus`` for the CPUs and threads of each fit, by default 1, or
        ``max_retries`` for the number of lost workers that a fit survives, by default 3.

    Yields
    ------
    None

    Raises
    ------
    ImportError
        If Ray is not installed.
    ValueError
        If ``ray.init`` has not been called, or if Ray does not have such an option.

    Notes
    -----
    The context applies to all of joblib's calls, and so to other estimators and functions of
    scikit-learn as well, where their ``n_jobs`` is None. They are given arrays that cannot be
    written to. The rows must not be changed while the fits run.

    Examples
    --------
    >>> import ray  # doctest: +SKIP
    >>> from fastmlp import MLPClassifier, distributed
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> search = GridSearchCV(MLPClassifier(max_iter=50), {'alpha': [1e-4, 1e-2]})
    >>> with ray.init(), distributed.ray():  # doctest: +SKIP
    ...     search.fit(*load_iris(return_X_y=True))
    """
    with parallel_config(Cluster(options), n_jobs=-1):
        yield


class Cluster(ParallelBackendBase):
    """The backend of the context. Each of joblib's `Parallel` is given `CallsOfParallel`.

    Parameters
    ----------
    options : dict
        Those of Ray's tasks.

    Attributes
    ----------
    data_futures : dict of int to ray.ObjectRef
        What Ray has stored, by the id of the value. Like that of joblib's backend for Dask, it
        may be added to; the value must stay alive.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, options):
        super().__init__()
        try:
            import ray
        except ImportError as error:
            raise ImportError('this needs Ray: pip install "fastmlp[distributed]"') from error
        if not ray.is_initialized():
            raise ValueError("there is no cluster of Ray: call ray.init() first")
        if "num_returns" in options:
            raise ValueError(f"num_returns must be left out, got {options['num_returns']!r}")
        self.ray = ray
        self.run = ray.remote(run).options(**{"num_cpus": 1} | options)
        self._n_cpus = options.get("num_cpus", 1) or 1  # 0 is for tasks that take no CPU
        self._warn_of_few_cpus()
        self.data_futures = {}

    def _warn_of_few_cpus(self):
        most = max(node["Resources"].get("CPU", 0) for node in self.ray.nodes() if node["Alive"])
        if self._n_cpus > most:
            warn(
                f"num_cpus={self._n_cpus}, but now no machine of the cluster has more than "
                f"{most:g} CPUs: the fits wait for one that has."
            )

    def effective_n_jobs(self, n_jobs):
        """Return how many calls run at a time; -1 stands for all CPUs of the cluster."""
        if n_jobs == 0:
            raise ValueError("n_jobs must not be 0")
        if n_jobs is not None and n_jobs > 0:
            return n_jobs
        n_cpus = self.ray.cluster_resources().get("CPU", 0)
        return max(1, int(n_cpus // self._n_cpus) + 1 + (-1 if n_jobs is None else n_jobs))

    def configure(self, n_jobs=1, parallel=None, **options):
        """Give a `Parallel` a backend of its own."""
        raise FallbackToBackend(CallsOfParallel(self))

    def submit(self, func, callback=None):
        """Is not called: see `configure`."""
        raise NotImplementedError

    apply_async = submit  # its name before joblib 1.5


class CallsOfParallel(ParallelBackendBase):
    """Runs the batches of calls of one `Parallel` as tasks of Ray.

    A thread for each task that runs at a time stores what it needs, and waits for its result.

    Parameters
    ----------
    cluster : Cluster
    """

    supports_retrieve_callback = True

    def __init__(self, cluster):
        super().__init__(nesting_level=cluster.nesting_level)
        self._cluster, self._ray = cluster, cluster.ray
        self._lock = threading.Lock()  # of what follows
        self._stored = {}  # id: a value and its reference, both kept until the call ends
        self._running = set()
        self._is_ending = False

    def effective_n_jobs(self, n_jobs):
        """Return how many calls run at a time."""
        return self._cluster.effective_n_jobs(n_jobs)

    def configure(self, n_jobs=1, parallel=None, **options):
        """Return the number of jobs, at least two: one alone would be run by joblib, and here.

        That is as it should be for ``n_jobs=1``, but not where the cluster has room for one only.
        """
        self.parallel = parallel
        self._n_threads = self.effective_n_jobs(n_jobs)
        return 1 if n_jobs == 1 else max(2, self._n_threads)

    def start_call(self):
        """Begin a call of the `Parallel`."""
        self._is_ending = False
        self._threads = ThreadPoolExecutor(self._n_threads)

    def stop_call(self):
        """Forget what was stored for this call, and what nobody waits for any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._stored.clear()

    def submit(self, func, callback=None):
        """Return the future of a batch of calls, which become one task."""
        future = self._threads.submit(self._result, func)
        future.add_done_callback(callback)
        return future

    apply_async = submit

    def _result(self, batch):
        """Run a task and wait for it. An exception is raised as it was in the worker."""
        with self._lock:
            if self._is_ending:
                raise CancelledError
            reference = self._cluster.run.remote(*self._with_places(batch))
            self._running.add(reference)
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        finally:
            self._running.discard(reference)

    def _with_places(self, batch):
        """Return the calls of a batch with places for what is stored, and the references to it."""
        references = []

        def placed(value):
            reference = self._reference(value)
            if reference is None:
                return value
            references.append(reference)
            return Place(len(references) - 1)

        return replaced(batch, placed), *references

    def _reference(self, value):
        """Return a reference to a value that Ray has or is to have; None for a small one."""
        if id(value) in self._cluster.data_futures:
            return self._cluster.data_futures[id(value)]
        if id(value) not in self._stored:
            if not is_large(value, self._ray.cloudpickle):
                return None
            self._stored[id(value)] = value, self._ray.put(value)
        return self._stored[id(value)][1]

    def retrieve_result_callback(self, out):
        """Return the result of a future that is done."""
        return out.result()

    def abort_everything(self, ensure_ready=True):
        """Cancel the tasks whose results nobody waits for any more."""
        with self._lock:
            self._is_ending = True
            for reference in list(self._running):
                self._ray.cancel(reference)


class Place(NamedTuple):
    """Stands for a stored value in the arguments of a call.

    Parameters
    ----------
    i : int
        Which one of those that the task is given.
    """

    i: int


def run(batch, *values):
    """Run a batch of calls in a worker of Ray, which has fetched the stored values."""
    return replaced(batch, lambda it: values[it.i] if isinstance(it, Place) else it)()


def replaced(batch, new):
    """Return a batch of calls with ``new(value)`` for each of their arguments."""
    batch = copy.copy(batch)
    batch.items = [
        (function, [new(it) for it in args], {name: new(it) for name, it in kwargs.items()})
        for function, args, kwargs in batch.items
    ]
    return batch


class IsLarge(Exception):
    """Ends the pickling of a large value."""


class Scale:
    """A file that raises `IsLarge` when it is written to for long."""

    def __init__(self):
        self._n_bytes = 0

    def write(self, data):
        """Count what is written."""
        self._n_bytes += memoryview(data).nbytes
        if self._n_bytes > MANY_BYTES:
            raise IsLarge


def is_large(value, cloudpickle):
    """Whether a value is large when it is sent. It is not pickled to the end to find out."""
    try:
        cloudpickle.Pickler(Scale()).dump(value)
    except IsLarge:
        return True
    return False
