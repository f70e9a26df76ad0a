"""`mpi`: the context in which several processes train one network together."""

import os
import socket
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np

from fastmlp._distributed.ranks import Ranks, ranks_named, sharing
from fastmlp._distributed.waiting import Waiting
from fastmlp._engine.threads import at_most_threads
from fastmlp._engine.warnings import warn

DEFAULT_SLOTS = 8
DEFAULT_TIMEOUT = 300.0

# After an error on one rank, so long is waited for others to leave, before all are ended.
SECONDS_TO_LEAVE = 5.0

NEEDED = (
    "Abort", "Get_rank", "Get_size", "Iallgather", "Iallgatherv", "Ialltoall", "Ialltoallv",
    "Ibarrier", "Idup", "Iprobe", "Irecv", "Isend",
)  # fmt: skip

ARRIVED = 3  # tag


@contextmanager
def mpi(
    comm: Any = None, *, n_slots: int | None = None, timeout: float | None = DEFAULT_TIMEOUT
) -> Iterator[None]:
    """Train networks on the rows of several processes together.

    Within the context, ``fit``, ``partial_fit`` and ``fit_stream`` of the estimators train one
    network on the rows of all processes. All of them call the same methods, each with its own rows,
    and all have the same fitted estimator in the end. Start the program with, for instance,
    ``mpiexec -n 4 python -m mpi4py train.py``; with ``-m mpi4py``, an error of one process outside
    of the context ends all of them, too.

    All rows, rank by rank, are cut into slots of equal size; each rank has some adjacent slots, and
    is sent the rows that it lacks. A mini-batch has rows of every slot, and their gradients are
    added up in a fixed order. So the weights are the same, bit for bit, for any number of ranks
    that divides the rows among them in whatever way, as long as ``n_slots`` is the same.

    The first rank decides when to stop, computes the scores of validation sets, shows progress and
    writes checkpoints. What differs between ranks and should not, such as a parameter or the number
    of features, is an error on all of them. An error on one rank ends all of them.

    Parameters
    ----------
    comm : communicator of mpi4py, default=None
        The processes. None means all, ``MPI.COMM_WORLD``.
    n_slots : int, default=None
        Number of slots, at least as many as there are ranks. None means 8, or for more than 8
        ranks the next power of two.
    timeout : float, default=300
        Seconds after which a rank that does not answer ends all of them. Its number is printed.
        None waits for ever.

    Yields
    ------
    None

    Raises
    ------
    ImportError
        If ``comm`` is None and mpi4py is not installed.
    TypeError, ValueError
        If an argument is invalid.
    RuntimeError
        If such a context is entered within another one.

    Examples
    --------
    In a program that ``mpiexec -n 4 python -m mpi4py train.py`` starts, every process trains on a
    part of the rows:

    >>> from mpi4py import MPI  # doctest: +SKIP
    >>> from sklearn.datasets import load_iris
    >>> from fastmlp import MLPClassifier, distributed
    >>> X, y = load_iris(return_X_y=True)
    >>> comm = MPI.COMM_WORLD  # doctest: +SKIP
    >>> with distributed.mpi(comm):  # doctest: +SKIP
    ...     model = MLPClassifier().fit(X[comm.rank :: comm.size], y[comm.rank :: comm.size])
    """
    comm = checked_comm(comm)
    n_slots = checked_n_slots(n_slots, comm.Get_size())
    check_timeout(timeout)
    wait_for_all(comm, timeout)
    with ExitStack() as stack:
        own, questions, leaving = (duplicate(comm, stack) for _ in range(3))
        waiting = Waiting(questions, timeout)
        ranks = Ranks(own, waiting, n_slots)
        ranks.check_same(n_slots=n_slots, timeout=timeout)
        with ranks.agreeing("at the beginning of the context"):
            n_threads = threads_of_rank(ranks)
        stack.enter_context(at_most_threads(n_threads))
        stack.enter_context(sharing(ranks))
        try:
            yield
        except BaseException as error:
            leave(waiting, leaving, error)
            raise
        leave(waiting, leaving)


def checked_comm(comm):
    """Return the communicator after validation."""
    if comm is None:
        try:
            from mpi4py import MPI
        except ImportError as error:
            raise ImportError(
                "fastmlp.distributed.mpi needs mpi4py, which is not installed: pip install "
                '"fastmlp[distributed]"'
            ) from error
        return MPI.COMM_WORLD
    absent = [name for name in NEEDED if not callable(getattr(comm, name, None))]
    if absent:
        raise TypeError(
            f"comm must be a communicator of mpi4py or have its methods, but {comm!r} has no "
            f"{absent[0]}"
        )
    return comm


def checked_n_slots(n_slots, n_ranks):
    """Return the number of slots after validation."""
    if n_slots is None:
        return max(DEFAULT_SLOTS, 1 << (n_ranks - 1).bit_length())
    if isinstance(n_slots, bool) or not isinstance(n_slots, Integral):
        raise TypeError(f"n_slots must be None or a whole number, got {n_slots!r}")
    if n_slots < n_ranks:
        raise ValueError(f"n_slots must be at least the number of ranks, {n_ranks}, got {n_slots}")
    return int(n_slots)


def check_timeout(timeout):
    """Raise an error unless this is a number of seconds or None."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, Real):
        raise TypeError(f"timeout must be None or a number of seconds, got {timeout!r}")
    if not timeout > 0:
        raise ValueError(f"timeout must be None or a number of seconds > 0, got {timeout!r}")


def wait_for_all(comm, timeout):
    """Wait until all ranks have entered the context; after the time-out, name who has not."""
    rank, n = comm.Get_rank(), comm.Get_size()
    if n == 1:
        return
    waiting = Waiting(comm, None)
    seconds = np.inf if timeout is None else timeout
    if rank == 0:
        missing = {
            other: comm.Irecv(np.empty(1, np.int64), source=other, tag=ARRIVED)
            for other in range(1, n)
        }
        for other, request in list(missing.items()):
            if waiting(request, "", seconds):
                del missing[other]
        if missing:
            waiting.end_all(
                f"has waited {timeout:g} seconds at the beginning of the context: "
                f"{ranks_named(missing)} did not come"
            )
    else:
        comm.Isend(np.array([rank]), dest=0, tag=ARRIVED).Wait()
    # Rank 0 knows who is missing, so it is the one to say so.
    if not waiting(comm.Ibarrier(), "", seconds + SECONDS_TO_LEAVE):
        waiting.end_all(f"has waited {timeout:g} seconds at the beginning of the context")


def duplicate(comm, stack):
    """Return a communicator of the same processes, whose messages are apart from those of comm.

    It is freed when the stack is left.
    """
    twin, request = comm.Idup()
    request.Wait()
    stack.callback(twin.Free)
    return twin


def leave(waiting, comm, error=None):
    """Wait until all ranks leave. After an error on this one, end them if they do not.

    Ranks that raise the same error, because all have found it, leave together.
    """
    request = comm.Ibarrier()
    if error is None:
        waiting(request, "at the end of the context")
        return
    raised = f"{type(error).__name__}: {error}"
    if waiting(request, f"at the end of the context after {raised}", SECONDS_TO_LEAVE):
        return
    traceback.print_exception(error)
    waiting.end_all(f"has raised {raised}")


def threads_of_rank(ranks):
    """Return the number of threads for this rank, when ranks share a machine's CPUs."""
    mine = cpus()
    of_all = ranks.gather((socket.gethostname(), mine))
    host = of_all[ranks.rank][0]
    neighbours = [theirs for name, theirs in of_all if name == host]
    n_sharing = sum(bool(mine & theirs) for theirs in neighbours)
    if len(mine) == 1 and len(neighbours) < (os.cpu_count() or 1):
        warn(
            f"rank {ranks.rank} may use one CPU of {os.cpu_count()}, so its networks have one "
            "thread. With Open MPI, mpiexec --bind-to none lets ranks use all CPUs."
        )
    return max(1, len(mine) // n_sharing)


def cpus():
    """Return the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))
