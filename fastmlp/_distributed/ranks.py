"""`Ranks`: the processes that train a network together, and what they agree on."""

import pickle
import signal
import threading
import time
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

import numpy as np

from fastmlp._distributed.tree import sum_of_slots
from fastmlp._distributed.waiting import ranks_named

# The processes that share the fits of this thread, if any.
_current = ContextVar("fastmlp_ranks", default=None)

# Errors that are raised on all ranks as they are raised on one of them.
KNOWN_ERRORS = {cls.__name__: cls for cls in (ValueError, TypeError, MemoryError, OSError)}


# A Ctrl-C reaches the ranks of other machines within this time.
SECONDS_BETWEEN_INTERRUPTS = 3.0


def current_ranks():
    """Return the `Ranks` that share the fits of this thread, or None."""
    return _current.get()


class Ranks:
    """The processes that train together. Each has the rows of some adjacent slots.

    All of them must call the methods in the same order.

    Parameters
    ----------
    comm : communicator
    waiting : Waiting
    n_slots : int

    Attributes
    ----------
    rank, n : int
        The number of this process, and how many there are.
    slots : range
        The slots of this process.
    is_first : bool
        Whether this is the process that decides, and that writes files.
    """

    def __init__(self, comm, waiting, n_slots):
        self.comm, self.wait = comm, waiting
        self.rank, self.n = comm.Get_rank(), comm.Get_size()
        self.n_slots = n_slots
        self.slots = self.slots_of(self.rank)
        self.is_first = self.rank == 0
        self.was_interrupted = False  # this one
        self.is_ending = False  # because one of them was

    def slots_of(self, rank):
        """Return the slots of a rank."""
        return range(rank * self.n_slots // self.n, (rank + 1) * self.n_slots // self.n)

    def owner_of(self, slot):
        """Return the rank that has a slot."""
        return next(rank for rank in range(self.n) if slot in self.slots_of(rank))

    # Objects -------------------------------------------------------------------------------------

    def exchange(self, objects, where="in a fit, where the rows are shared out"):
        """Send an object to each rank; return those that they have sent to this one."""
        if self.n == 1:
            return list(objects)
        sent = [pickle.dumps(it, protocol=5) for it in objects]
        counts = np.array([len(it) for it in sent], np.int64)
        n_received = np.empty(self.n, np.int64)
        self.wait(self.comm.Ialltoall(counts, n_received), where)
        received = np.empty(int(n_received.sum()), np.uint8)
        everything = np.frombuffer(b"".join(sent), np.uint8)
        self.wait(
            self.comm.Ialltoallv(
                [everything, (counts, starts(counts))], [received, (n_received, starts(n_received))]
            ),
            where,
            n_bytes=everything.nbytes + received.nbytes,
        )
        return loaded(received, n_received)

    def gather(self, it, where="in a fit"):
        """Return the objects that all ranks have given.

        ``where`` says in words where the program is. All ranks must be there, or else an error is
        raised on all of them.
        """
        if self.n == 1:
            return [it]
        sent = np.frombuffer(pickle.dumps((where, it), protocol=5), np.uint8)
        counts = np.empty(self.n, np.int64)
        self.wait(self.comm.Iallgather(np.array([len(sent)]), counts), where)
        received = np.empty(int(counts.sum()), np.uint8)
        request = self.comm.Iallgatherv(sent, [received, (counts, starts(counts))])
        self.wait(request, where, n_bytes=received.nbytes)
        places, objects = zip(*loaded(received, counts), strict=True)
        if len(set(places)) > 1:
            shown = ", ".join(f"rank {rank} {place}" for rank, place in enumerate(places))
            raise RuntimeError(f"the ranks do not call the same methods: {shown}")
        return list(objects)

    def gather_at_first(self, it):
        """Return the objects that all ranks have given on the first one, and nothing elsewhere."""
        received = self.exchange([it, *[None] * (self.n - 1)], "in a fit, where rank 0 collects")
        return received if self.is_first else []

    def of_first(self, it):
        """Return the object that the first rank has given."""
        return self.gather(it if self.is_first else None, "in a fit, where rank 0 decides")[0]

    def in_turn(self, it, learn):
        """Return what an object becomes when one rank after the other calls ``learn`` with it."""
        for rank in range(self.n):
            with self.agreeing("in a fit, where a step of a pipeline learns, rank by rank"):
                if rank == self.rank:
                    learn(it)
            it = self.gather(it if rank == self.rank else None)[rank]
        return it

    def slot_values(self, values):
        """Return the values of all slots, of which this rank has given its own.

        Parameters
        ----------
        values : ndarray of shape (n_own_slots, ...)

        Returns
        -------
        ndarray of shape (n_slots, ...)
        """
        return np.concatenate(self.gather(values))

    def sum(self, values):
        """Return the sum over all slots of values, of which this rank has given its own."""
        return sum_of_slots(self.slot_values(values))

    # Agreement -----------------------------------------------------------------------------------

    @contextmanager
    def agreeing(self, where):
        """Raise an error on all ranks if the block raises one on some of them.

        ``where`` says in words where in the fit that is.
        """
        mine = None
        try:
            yield
        except Exception as error:
            mine = error
        known = None if mine is None else (name_of(mine), str(mine))
        errors = self.gather(known, where)
        failed = [rank for rank, error in enumerate(errors) if error is not None]
        if mine is not None:
            if self.n > 1:
                mine.add_note(f"(on {ranks_named(failed)} of {self.n})")
            raise mine
        if failed:
            name, message = errors[failed[0]]
            shown = message if name in KNOWN_ERRORS else f"{name}: {message}"
            raise KNOWN_ERRORS.get(name, RuntimeError)(f"{ranks_named(failed)}: {shown}")

    def agreed(self, reason):
        """Return why the first rank ends the training, or None. Raise if one was interrupted."""
        of_all = self.gather((reason, self.was_interrupted), "in a fit, where rank 0 decides")
        if any(was_interrupted for _, was_interrupted in of_all):
            self.is_ending = True
            raise KeyboardInterrupt
        return of_all[0][0]

    def check_same(self, **facts):
        """Raise an error on all ranks unless all have given the same facts, which are comparable.

        The error names what differs, and the ranks.
        """
        of_all = self.gather(facts, "in a fit, where all compare their parameters")
        for name in facts:
            first = of_all[0].get(name)
            other = [rank for rank, of_rank in enumerate(of_all) if of_rank.get(name) != first]
            if other:
                raise ValueError(
                    f"{name} must be the same on all ranks, but rank 0 has {first!r} and "
                    f"{ranks_named(other)} {of_all[other[0]].get(name)!r}"
                )

    def same_generator(self, random_state, *, is_own):
        """Return the generator with the state that the first rank's has.

        With ``is_own`` the generator is that of the caller, and so its state is set; otherwise
        another one is returned.
        """
        state = self.of_first(random_state.get_state())
        if not is_own:
            random_state = np.random.RandomState()
        random_state.set_state(state)
        return random_state

    @contextmanager
    def fit(self):
        """Let the first Ctrl-C end the fit under way after a step; a second one raises."""

        def interrupt(number, frame):
            self.was_interrupted = True
            signal.signal(signal.SIGINT, before)

        self.was_interrupted = self.is_ending = False
        before = signal.getsignal(signal.SIGINT)
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or before is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            is_awaited = self.is_ending and not self.was_interrupted
            signal.signal(signal.SIGINT, late_interrupt() if is_awaited else before)


def late_interrupt():
    """Return a handler that ignores the Ctrl-C of which another rank has heard earlier."""
    end = time.monotonic() + SECONDS_BETWEEN_INTERRUPTS

    def interrupt(number, frame):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if time.monotonic() > end:
            signal.default_int_handler(number, frame)

    return interrupt


def is_first_rank():
    """Whether this process is the one that shows progress and writes files."""
    ranks = current_ranks()
    return ranks is None or ranks.is_first


def heed_others():
    """Let the other ranks know, in a long work of this one, that it is still going on."""
    ranks = current_ranks()
    if ranks is not None:
        ranks.wait.heed("at work with its rows")


def agreeing(where):
    """Return the context `Ranks.agreeing`, or one that does nothing for a process alone."""
    ranks = current_ranks()
    return nullcontext() if ranks is None else ranks.agreeing(where)


@contextmanager
def sharing(ranks):
    """Share the fits of this thread among the ranks while the context lasts."""
    if _current.get() is not None:
        raise RuntimeError("the fits of this thread are shared already: leave that context first")
    token = _current.set(ranks)
    try:
        yield
    finally:
        _current.reset(token)


def starts(counts):
    """Return where parts of these lengths begin."""
    return np.concatenate([[0], np.cumsum(counts)[:-1]])


def loaded(received, counts):
    """Return the objects in an array of bytes."""
    view = memoryview(received)
    return [
        pickle.loads(view[start : start + n])
        for start, n in zip(starts(counts).tolist(), counts.tolist(), strict=True)
    ]


def name_of(error):
    """Return the name of the known error that an error is one of, or else its own name."""
    names = (cls.__name__ for cls in type(error).__mro__ if cls.__name__ in KNOWN_ERRORS)
    return next(names, type(error).__name__)
