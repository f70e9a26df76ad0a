"""`Waiting`: waits for messages of other processes, and names those that do not answer.

Nothing here blocks in MPI. A process that waits tests its request again and again, with pauses that
grow, so that it takes little time from others on a busy machine. Meanwhile it answers questions of
other processes. So who does not answer is not waiting: it has stopped, or does something else.
"""

import os
import sys
import time

import numpy as np

# A process tests a request so many times at once, then lets others run, then sleeps.
TESTS_AT_ONCE = 200
SECONDS_OF_YIELDING = 0.002
LONGEST_SLEEP = 0.001

SECONDS_BETWEEN_ANSWERS = 0.25
SECONDS_FOR_ANSWERS = 5.0

QUESTION, ANSWER = 1, 2  # tags


class Waiting:
    """Waits for requests of MPI.

    Parameters
    ----------
    comm : communicator
        For questions and answers only.
    timeout : float or None
        Seconds after which the processes are asked what they do. None waits for ever.
    """

    def __init__(self, comm, timeout):
        self._comm = comm
        self._timeout = timeout
        self._rank = comm.Get_rank()
        self._others = [rank for rank in range(comm.Get_size()) if rank != self._rank]
        self._n_waits = 0
        self._sent = []

    def __call__(self, request, what, seconds=None):
        """Wait for a request; ``what`` says what for. Return whether it is complete.

        Without ``seconds``, the processes end after the time-out. With them, the result is False
        if it takes longer than that.
        """
        self._n_waits += 1
        for _ in range(TESTS_AT_ONCE):
            if request.Test():
                return True
        return self._wait_longer(request, what, seconds)

    def _wait_longer(self, request, what, seconds):
        began = answered = time.monotonic()
        sleep = 0.0
        limit = self._timeout if seconds is None else seconds
        while not request.Test():
            now = time.monotonic()
            if now - answered > SECONDS_BETWEEN_ANSWERS:
                self._answer()
                answered = now
            if limit is not None and now - began > limit:
                if seconds is not None:
                    return False
                self._name_the_silent(request, what, limit)
            if now - began < SECONDS_OF_YIELDING:
                give_way()
            else:
                sleep = min(LONGEST_SLEEP, sleep + 2e-5)
                time.sleep(sleep)
        return True

    def _answer(self):
        """Answer the questions of other processes: how often this one has waited."""
        self._sent = [pair for pair in self._sent if not pair[0].Test()]
        for rank in self._others:
            while self._comm.Iprobe(source=rank, tag=QUESTION):
                self._comm.Irecv(np.empty(1, np.int64), source=rank, tag=QUESTION).Wait()
                self._send(rank, ANSWER)

    def _send(self, rank, tag):
        count = np.array([self._n_waits])
        self._sent.append((self._comm.Isend(count, dest=rank, tag=tag), count))

    def _name_the_silent(self, request, what, seconds):
        """Ask all others how far they are, and end all processes, unless the request completes."""
        answers = {rank: np.empty(1, np.int64) for rank in self._others}
        waited_for = {
            rank: self._comm.Irecv(count, source=rank, tag=ANSWER)
            for rank, count in answers.items()
        }
        for rank in self._others:
            self._send(rank, QUESTION)
        end = time.monotonic() + SECONDS_FOR_ANSWERS
        while waited_for and time.monotonic() < end and not request.Test():
            self._answer()
            waited_for = {rank: it for rank, it in waited_for.items() if not it.Test()}
            time.sleep(0.01)
        behind = [
            rank for rank, count in answers.items()
            if rank not in waited_for and count[0] < self._n_waits
        ]  # fmt: skip
        for it in waited_for.values():
            it.Cancel()
        if request.Test():
            return
        if waited_for:
            reason = f"no answer from {ranks_named(waited_for)}"
        elif behind:
            reason = f"{ranks_named(behind)} took fewer steps"
        else:
            reason = "all others wait as well"
        self.end_all(f"has waited {seconds:g} seconds {what}: {reason}")

    def end_all(self, message):
        """Print a message and end the processes, with a status that is not 0."""
        print(f"fastmlp: rank {self._rank} {message}", file=sys.stderr, flush=True)
        self._comm.Abort(1)
        os._exit(1)  # should a communicator come back from that


def ranks_named(ranks):
    """Return the ranks in words."""
    ranks = sorted(ranks)
    name = "rank" if len(ranks) == 1 else "ranks"
    return f"{name} {', '.join(map(str, ranks))}"


def give_way():
    """Let another process have the CPU."""
    if hasattr(os, "sched_yield"):
        os.sched_yield()
    else:
        time.sleep(0)
