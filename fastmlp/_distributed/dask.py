"""`dask`: joblib's backend for Dask, which loses no fits when a worker is lost."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from typing import Any

from joblib import parallel_config
from joblib.parallel import get_active_backend


@contextmanager
def dask(**options: Any) -> Iterator[None]:
    """Hand the fits of searches, cross-validation and ensembles to the workers of a Dask cluster.

    This is ``joblib.parallel_config('dask')`` and also survives the loss of a worker. joblib gives
    the rows and the indices of the splits to one worker. If that is lost, all fits end with an
    error. Here they are results of tasks: Dask runs these again, and then the lost fits.

    Parameters
    ----------
    **options
        Those of joblib's backend: ``client``, for instance. The default is the current client.

    Yields
    ------
    None

    Raises
    ------
    ValueError
        If Dask is not installed, or if there is no client.
    TypeError
        If there is no such option.

    Examples
    --------
    >>> from distributed import Client  # doctest: +SKIP
    >>> from fastmlp import MLPClassifier, distributed
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> search = GridSearchCV(MLPClassifier(max_iter=50), {'alpha': [1e-4, 1e-2]})
    >>> with Client() as client, distributed.dask():  # doctest: +SKIP
    ...     search.fit(*load_iris(return_X_y=True))
    """
    with parallel_config("dask", **options), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        backend, _ = get_active_backend()
        check_options(backend)
        backend.client = ClientThatKeeps(backend.client)
        yield


def check_options(backend):
    """Raise unless Dask knows the options that joblib hands on with every task."""
    known = signature(backend.client.submit).parameters
    for name in backend.submit_kwargs:
        if name not in known:
            raise TypeError(f"{name!r} is no option of joblib's backend for Dask or of its tasks")


class ClientThatKeeps:
    """A client of Dask whose scheduler keeps what is scattered, and not just a worker.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        return getattr(self._client, name)

    async def scatter(self, value, **options):
        """Return a future of a value that joblib sends to the workers."""
        return keeper(self._client)(value)


def keeper(client):
    """Return what gives values to Dask as results of tasks.

    Workers get them from each other. If all that have them are lost, Dask runs the task again.
    """
    return partial(client.submit, unchanged, pure=False)


def unchanged(value):
    """Return what is given: a task whose result is sent to workers."""
    return value
