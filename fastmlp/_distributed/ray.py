"""`ray`: joblib's backend for Ray that stores the rows once, and loses no fits with a worker."""

import copy
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

from joblib import parallel_config
from joblib.parallel import ParallelBackendBase

# Values of more numbers than this are stored once for all fits, and not sent with each.
MANY_NUMBERS = 1000


@contextmanager
def ray(**options: Any) -> Iterator[None]:
    """Hand the fits of searches, cross-validation and ensembles to the workers of a Ray cluster.

    Every fit is a task of Ray. What several fits are given, such as the rows, is stored once, and
    Ray copies it to each machine once. If a worker is lost, Ray runs its fits again. With
    ``ray.util.joblib``, the rows are sent with every fit, and all end with an error.

    As many fits run at a time as the cluster has CPUs for, or as ``n_jobs`` of the search says.

    Parameters
    ----------
    **options
        Options of Ray's tasks: ``num_cpus`` for the threads of each fit, by default 1, or
        ``max_retries`` for the number of lost workers that a fit survives, by default 3.

    Yields
    ------
    None

    Raises
    ------
    ImportError
        If Ray is not installed.
    ValueError
        If ``ray.init`` has not been called.

    Notes
    -----
    The rows must not be changed while the fits run.

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
    with parallel_config(TasksOfRay(options), n_jobs=-1):
        yield


class TasksOfRay(ParallelBackendBase):
    """joblib's batches of calls as tasks of Ray.

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
        self._ray = ray
        self._n_cpus = options.get("num_cpus", 1) or 1  # 0 is for tasks that take no CPU
        self._run = ray.remote(run).options(**{"num_cpus": 1} | options)
        self.data_futures = {}
        self._in_call = {}  # id: the value and its reference, both kept until the call ends
        self._running = set()

    def effective_n_jobs(self, n_jobs):
        """Return how many fits run at a time; a negative number stands for all CPUs."""
        if n_jobs is not None and n_jobs > 0:
            return n_jobs
        return max(1, int(self._ray.cluster_resources().get("CPU", 1) // self._n_cpus))

    def start_call(self):
        """Start the threads that wait for the results."""
        self._waiting = ThreadPoolExecutor(self.effective_n_jobs(self.parallel.n_jobs))

    def stop_call(self):
        """Forget what was stored for this call."""
        self._waiting.shutdown(wait=False)
        self._in_call.clear()

    def store(self, value):
        """Return a reference to a value, which Ray stores."""
        return self._ray.put(value)

    def submit(self, func, callback=None):
        """Return the future of a batch of calls, which become one task."""
        values = []
        calls = copy.copy(func)
        calls.items = [
            (
                function,
                [self._place(value, values) for value in args],
                {name: self._place(value, values) for name, value in kwargs.items()},
            )
            for function, args, kwargs in func.items
        ]
        reference = self._run.remote(calls, *values)
        self._running.add(reference)
        future = self._waiting.submit(self._result, reference)
        future.add_done_callback(callback)
        return future

    apply_async = submit  # its name before joblib 1.4

    def _place(self, value, values):
        """Return a value, or if Ray has it or is to have it, its place among ``values``."""
        reference = self.data_futures.get(id(value))
        if reference is None and is_large(value):
            if id(value) not in self._in_call:
                self._in_call[id(value)] = value, self.store(value)
            _, reference = self._in_call[id(value)]
        if reference is None:
            return value
        values.append(reference)
        return Place(len(values) - 1)

    def _result(self, reference):
        """Wait for a task. An exception of the work is raised as it was in the worker."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        finally:
            self._running.discard(reference)

    def retrieve_result_callback(self, out):
        """Return the result of a future that is done."""
        return out.result()

    def abort_everything(self, ensure_ready=True):
        """Cancel the tasks whose results nobody waits for any more."""
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


def run(calls, *values):
    """Run a batch of calls in a worker of Ray, which has fetched the stored values."""

    def filled(value):
        return values[value.i] if isinstance(value, Place) else value

    calls.items = [
        (function, [filled(value) for value in args], {k: filled(v) for k, v in kwargs.items()})
        for function, args, kwargs in calls.items
    ]
    return calls()


def is_large(value):
    """Whether a value, or one in a dictionary, is a table, an array or a list with much in it."""
    if isinstance(value, dict):
        return any(is_large(each) for each in value.values())
    shape = (len(value),) if isinstance(value, list) else getattr(value, "shape", ())
    return math.prod(shape) > MANY_NUMBERS
