"""Slots: the rows of all ranks, cut into a fixed number of parts of equal size."""

import hashlib
from typing import NamedTuple

import numpy as np
import scipy.sparse

from fastmlp import _core

ROWS_OF_SAMPLE = 4096

# The "epoch" of the random numbers that set rows aside.
ASIDE = 2**32 - 1


class Rows(NamedTuple):
    """Some rows as they are sent: X as an array or a CSR matrix, and arrays of as many rows."""

    X: object
    others: tuple

    def part(self, first, last):
        """Return the rows of a range, as views if X is dense."""
        return Rows(self.X[first:last], tuple(array[first:last] for array in self.others))

    @classmethod
    def joined(cls, parts):
        """Return the rows of several parts as one."""
        if len(parts) == 1:
            return parts[0]
        X = [part.X for part in parts]
        stack = scipy.sparse.vstack if scipy.sparse.issparse(X[0]) else np.concatenate
        others = zip(*(part.others for part in parts), strict=True)
        X = stack(X, format="csr") if scipy.sparse.issparse(X[0]) else stack(X)
        return cls(X, tuple(np.concatenate(arrays) for arrays in others))


def bounds_of_slots(n_rows, n_slots):
    """Return where the slots begin and end in all rows; they differ by one row at most."""
    return [n_rows * slot // n_slots for slot in range(n_slots + 1)]


def rows_of_slots(ranks, rows):
    """Return the rows of each of the own slots, after sending rows to the ranks that have theirs.

    All rows are those of the ranks, one after the other. A slot whose rows are here already is a
    view.

    Parameters
    ----------
    ranks : Ranks
    rows : Rows
        The rows that the caller has given to this rank.

    Returns
    -------
    slots : list of Rows
    n_rows : int
        Number of rows of all slots.
    """
    n_mine = len(rows.others[0])
    counts = ranks.gather(n_mine)
    n_rows = sum(counts)
    begin = sum(counts[: ranks.rank])
    bounds = bounds_of_slots(n_rows, ranks.n_slots)
    outgoing, kept = [[] for _ in range(ranks.n)], []
    for rank, pieces in enumerate(outgoing):
        for slot in ranks.slots_of(rank):
            first, last = (min(max(bounds[slot + i] - begin, 0), n_mine) for i in (0, 1))
            piece = rows.part(first, last)
            if rank == ranks.rank:
                kept.append(piece)
                piece = piece.part(0, 0)
            if rank == ranks.rank or last > first:
                pieces.append((slot, piece))
    received = ranks.exchange(outgoing)
    received[ranks.rank] = list(zip(ranks.slots, kept, strict=True))
    slots = []
    for slot in ranks.slots:
        parts = [piece for pieces in received for number, piece in pieces if number == slot]
        filled = [part for part in parts if len(part.others[0])]
        slots.append(Rows.joined(filled or parts[:1]))
    return slots, n_rows


def check_fills_slots(ranks, n_rows):
    """Raise ValueError unless each slot has one of the rows of X."""
    if n_rows < ranks.n_slots:
        raise ValueError(
            f"X must have at least n_slots={ranks.n_slots} rows on all ranks together, got {n_rows}"
        )


def sample_of(ranks, slots):
    """Return the first rows of every slot, the same on all ranks."""
    n = max(1, ROWS_OF_SAMPLE // ranks.n_slots)
    mine = [slot.part(0, n) for slot in slots]
    parts = [part for of_rank in ranks.gather(mine) for part in of_rank]
    return Rows.joined([part for part in parts if len(part.others[0])])


def checksum_of(ranks, of_slots):
    """Return one checksum of the arrays of all slots; ``of_slots`` are those of the own ones."""
    digests = [digest for of_rank in ranks.gather(of_slots) for digest in of_rank]
    return hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()


def seed_from(random_state):
    """Return a seed for the slots. The generator stays as it is, for the weights of the network."""
    twin = np.random.RandomState()
    twin.set_state(random_state.get_state())
    return int(twin.randint(1, 2**62, dtype=np.int64))


def words_of(seed, slot, epoch):
    """Return the seed of a slot's random numbers in an epoch, for NumPy's generators."""
    return [seed & 0xFFFFFFFF, seed >> 32, slot, epoch]


def shuffled(n, words):
    """Return a random order of n rows."""
    order = np.arange(n)
    _core.shuffle(order, np.random.RandomState(words)._bit_generator)
    return order


def set_aside(n, fraction, seed, slot):
    """Return the rows of a slot to train on, and those that are set aside."""
    order = shuffled(n, words_of(seed, slot, ASIDE))
    n_aside = round(fraction * n)
    return np.sort(order[n_aside:]), np.sort(order[:n_aside])
