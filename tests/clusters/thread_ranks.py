"""Ranks that are threads, with a communicator whose messages are arrays in memory."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fastmlp._distributed.ranks import Ranks

LONGEST = 60  # seconds for a message of another thread


class Complete:
    """A request that is complete."""

    def Test(self):
        return True


class Threads:
    """What the communicators of some threads share."""

    def __init__(self, n):
        self.n, self.board, self.barrier = n, [None] * n, threading.Barrier(n)

    def put_and_get(self, rank, it):
        """Return what all threads have given."""
        self.board[rank] = it
        self.barrier.wait(LONGEST)
        everything = list(self.board)
        self.barrier.wait(LONGEST)
        return everything


class Communicator:
    """The methods of a communicator of mpi4py that `Ranks` and `SumOfGradients` need."""

    def __init__(self, threads, rank):
        self._threads, self._rank = threads, rank

    def Get_rank(self):
        return self._rank

    def Get_size(self):
        return self._threads.n

    def _exchanged(self, sent):
        return [it.copy() for it in self._threads.put_and_get(self._rank, sent)]

    def Iallgather(self, sent, received):
        received.reshape(self._threads.n, -1)[...] = np.stack(self._exchanged(sent))
        return Complete()

    def Iallgatherv(self, sent, received):
        array, (counts, begins) = received
        for part, n, begin in zip(self._exchanged(sent), counts, begins, strict=True):
            assert len(part) == n
            array[begin : begin + n] = part
        return Complete()

    def Ialltoall(self, sent, received):
        received[...] = [it[self._rank] for it in self._exchanged(sent)]
        return Complete()

    def Ialltoallv(self, sent, received):
        array, counts = sent
        counts = counts[0] if isinstance(counts, tuple) else counts
        parts = np.split(array.ravel(), np.cumsum(counts)[:-1])
        mine = [it[self._rank].copy() for it in self._threads.put_and_get(self._rank, parts)]
        array, counts = received
        counts = counts[0] if isinstance(counts, tuple) else counts
        assert [len(it) for it in mine] == list(counts)
        array.reshape(-1)[: sum(counts)] = np.concatenate(mine)
        self._threads.barrier.wait(LONGEST)  # nobody changes what he has sent before
        return Complete()


def on_ranks(n_ranks, n_slots, function):
    """Return what a function of `Ranks` returns, called on every rank."""
    threads = Threads(n_ranks)

    def call(rank):
        try:
            return function(Ranks(Communicator(threads, rank), lambda *_, **__: True, n_slots))
        except BaseException:
            threads.barrier.abort()
            raise

    with ThreadPoolExecutor(n_ranks) as pool:
        return [it.result() for it in [pool.submit(call, rank) for rank in range(n_ranks)]]
