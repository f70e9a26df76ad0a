"""`Waiting`: waits for messages of other processes, and names those that do not answer.

Nothing here blocks in MPI. A process that waits tests its request again and again, with pauses that
grow, so that it takes little time from others on a busy machine. Meanwhile it answers questions of
other processes, as it does now and then in a long work of its own. So who does not answer has
stopped, or does something else.
"""

import os
import sys
import time

import numpy as np

# A process tests a request so many times at once, then lets others run, then sleeps.
TESTS_AT_ONCE = 200
SECONDS_OF_YIELDING = 0.002
LONGEST_SLEEP = 0.001

# Messages go on only while they are tested, so there is no sleep before they have had their time.
BYTES_PER_SECOND = 1e8

SECONDS_BETWEEN_ANSWERS = 0.25
SECONDS_FOR_ANSWERS = 5.0
SECONDS_TO_PASS_ON = 0.5

QUESTION, ANSWER = 1, 2  # tags
LENGTH_OF_ANSWER = 300  # bytes
BUSY = 1  # the first byte of the answer of a process that is at work


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
        self._where = ""
        self._is_busy = False
        self._answered = 0.0
        self._sent = []

    def __call__(self, request, where, seconds=None, n_bytes=0):
        """Wait for a request; ``where`` says where the program is. Return whether it is complete.

        Without ``seconds``, the processes end after the time-out. With them, the result is False
        if it takes longer than that. ``n_bytes`` is how much is sent and received.
        """
        self._where = where
        self._seconds_of_yielding = SECONDS_OF_YIELDING + n_bytes / BYTES_PER_SECOND
        for _ in range(TESTS_AT_ONCE):
            if request.Test():
                return True
        return self._wait_longer(request, seconds)

    def heed(self, where):
        """Answer questions during a long work of this process, which others have to wait for."""
        if time.monotonic() - self._answered > SECONDS_BETWEEN_ANSWERS:
            self._where, self._is_busy = where, True
            self._answer()
            self._is_busy = False

    def _wait_longer(self, request, seconds):
        began = time.monotonic()
        sleep = 0.0
        limit = self._timeout if seconds is None else seconds
        while not request.Test():
            now = time.monotonic()
            if now - self._answered > SECONDS_BETWEEN_ANSWERS:
                self._answer()
            if limit is not None and now - began > limit:
                if seconds is not None:
                    return False
                self._end_unless_busy(request, limit)
                began = time.monotonic()
            if now - began < self._seconds_of_yielding:
                give_way()
            else:
                sleep = min(LONGEST_SLEEP, sleep + 2e-5)
                time.sleep(sleep)
        return True

    def _answer(self):
        """Answer the questions of other processes: where this one is."""
        self._answered = time.monotonic()
        self._sent = [pair for pair in self._sent if not pair[0].Test()]
        for rank in self._others:
            while self._comm.Iprobe(source=rank, tag=QUESTION):
                self._comm.Irecv(empty_text(), source=rank, tag=QUESTION).Wait()
                self._send(rank, ANSWER)

    def _send(self, rank, tag):
        text = empty_text()
        said = self._where.encode()[: LENGTH_OF_ANSWER - 1]
        text[0] = BUSY if self._is_busy else 0
        text[1 : len(said) + 1] = np.frombuffer(said, np.uint8)
        self._sent.append((self._comm.Isend(text, dest=rank, tag=tag), text))

    def _end_unless_busy(self, request, seconds):
        """Ask all others where they are, and end all, unless one of them is still at work."""
        answers = {rank: empty_text() for rank in self._others}
        waited_for = {
            rank: self._comm.Irecv(text, source=rank, tag=ANSWER) for rank, text in answers.items()
        }
        for rank in self._others:
            self._send(rank, QUESTION)
        end = time.monotonic() + SECONDS_FOR_ANSWERS
        while waited_for and time.monotonic() < end and not request.Test():
            self._answer()
            waited_for = {rank: it for rank, it in waited_for.items() if not it.Test()}
            time.sleep(0.01)
        for it in waited_for.values():
            it.Cancel()
        if request.Test() or any(text[0] == BUSY for text in answers.values()):
            return
        elsewhere = {
            rank: bytes(text[1:]).rstrip(bytes(1)).decode(errors="replace")
            for rank, text in answers.items() if rank not in waited_for
        }  # fmt: skip
        reasons = [
            f"rank {rank} is {there}" for rank, there in elsewhere.items() if there != self._where
        ]
        if waited_for:
            reasons.insert(0, f"no answer from {ranks_named(waited_for)}")
        reason = "; ".join(reasons) or "all others are there, too"
        self.end_all(f"has waited {seconds:g} seconds {self._where}: {reason}")

    def end_all(self, message):
        """Print a message and end the processes, with a status that is not 0."""
        print(f"fastmlp: rank {self._rank} {message}", file=sys.stderr, flush=True)
        # mpiexec may lose what it has not passed on when it ends the processes.
        time.sleep(SECONDS_TO_PASS_ON)
        self._comm.Abort(1)
        os._exit(1)  # should a communicator come back from that


def empty_text():
    return np.zeros(LENGTH_OF_ANSWER, np.uint8)


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
