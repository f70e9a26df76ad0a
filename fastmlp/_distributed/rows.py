"""`SlotRows`: the rows of all ranks, for the training loop."""

import itertools
import time
from contextlib import ExitStack, closing
from typing import NamedTuple

import numpy as np

from fastmlp import _core
from fastmlp._distributed.slots import shuffled, words_of
from fastmlp._distributed.sums import SumOfGradients
from fastmlp._distributed.tree import sum_of_slots
from fastmlp._engine.layout import ceil_div
from fastmlp._engine.rows import Data
from fastmlp._engine.threads import ThreadTuner
from fastmlp._training.parts import Part, StepsInParts

STOP, INTERRUPT = 0, 1  # flags

FEWER_ROWS = "source must give the same rows in every epoch: there are fewer than in the first pass"


class MemorySlot(NamedTuple):
    """A slot whose rows are in memory.

    Attributes
    ----------
    data : Data
    order : ndarray of intp
        The rows to train on.
    """

    data: Data
    order: np.ndarray

    @property
    def n_rows(self):
        return len(self.order)

    def chunks(self, words, sizes):
        """Give the data and the rows in an order that follows from the words: all at once."""
        yield self.data, self.order if words is None else self.order[shuffled(self.n_rows, words)]


class SlotRows:
    """The rows of all ranks, each of which trains on its own slots, in steps that all make.

    A mini-batch has rows of every slot, in proportion to their number. So an epoch uses every row
    once, and has as many steps as one in memory. The order of the rows in a slot is drawn anew for
    every epoch.

    Parameters
    ----------
    ranks : Ranks
    slots : list of MemorySlot or StreamSlot
        The own slots.
    seed : int or None
        Seed of the orders. None disables shuffling.
    sample : Data
        Some rows, the same on all ranks, to measure the network by.
    buffer_rows : int, default=None
        About how many rows of all slots are read at a time. None means all.

    Attributes
    ----------
    n_rows : int
        Number of rows in an epoch.
    sample : (Data, ndarray of intp)
    """

    def __init__(self, ranks, slots, seed, sample, buffer_rows=None):
        self._ranks, self._slots, self._seed = ranks, slots, seed
        self._n_of_slots = ranks.slot_values(np.array([slot.n_rows for slot in slots]))
        self.n_rows = int(self._n_of_slots.sum())
        self.sample = sample, np.arange(sample.n_rows)
        self._buffer_rows = buffer_rows
        self._n_epochs = 0
        self._sum = self._bounds = None

    def epoch(self, descent, batch_size, deadline):
        """Train for an epoch; see `Descent.epoch`."""
        n_steps = ceil_div(self.n_rows, batch_size)
        n_at_once = n_steps
        if self._buffer_rows is not None:
            n_at_once = max(1, self._buffer_rows // batch_size)
        if self._bounds is None or self._bounds.shape[1] != n_steps + 1:
            self._bounds = bounds_of_steps(self._n_of_slots, n_steps)
        bounds = self._bounds
        begins = [*range(0, n_steps, n_at_once), n_steps]
        descent.take_weights()
        schedule = descent.schedule_of(n_steps, n_steps)
        steps = Steps(self._ranks, descent, self._sum, bounds, dense=self.sample[0].is_dense)
        self._sum = steps.sum
        n_done = 0
        with ExitStack() as stack:
            chunks = [
                stack.enter_context(closing(self._chunks_of(i, bounds[slot, begins])))
                for i, slot in enumerate(self._ranks.slots)
            ]
            for first, last in itertools.pairwise(begins):
                steps.take(first, last, [next(of_slot) for of_slot in chunks])
                is_over = False
                while n_done < last and not is_over:
                    is_late = time.perf_counter() >= deadline
                    is_over = steps.make(n_done, schedule[n_done], is_over=is_late)
                    n_done += 1
                if is_over:
                    break
        descent.end_of_steps(n_done)
        self._n_epochs += 1
        return steps.mean_loss(n_done)

    def _chunks_of(self, i, bounds):
        """Give the data and the order of the rows between the bounds, for one of the own slots."""
        slot, words = self._slots[i], None
        if self._seed is not None:
            words = words_of(self._seed, self._ranks.slots[i], self._n_epochs)
        sizes = np.diff(bounds)
        chunks = slot.chunks(words, [size for size in sizes.tolist() if size])
        last = self.sample[0], np.zeros(0, np.intp)  # for a slot without rows
        with closing(chunks):
            for size in sizes:
                if size:
                    last = next(chunks, None)
                    if last is None:
                        raise ValueError(FEWER_ROWS)
                yield last if size else (last[0], last[1][:0])

    def gradient_over(self, network, alpha):
        """Return a function that writes the gradient over all rows and returns the loss."""
        ranks = self._ranks
        weights = [slot.data.sample_weight.sum(dtype=np.float64) for slot in self._slots]
        scale = 1 / ranks.sum(np.array(weights))
        total = SumOfGradients(ranks, network.parameters.flat.size, network.dtype)
        of_slots = {
            number: network.passes.gradient_over(slot.data, alpha * (number == 0), scale=scale)
            for number, slot in zip(ranks.slots, self._slots, strict=True)
        }
        losses = np.zeros(len(of_slots))

        def gradient_of_slot(slot, out):
            losses[slot - ranks.slots.start] = of_slots[slot](out)

        def loss_and_gradient(numbers):
            total(gradient_of_slot, [])
            numbers[...] = total.total
            return ranks.sum(losses)

        return loss_and_gradient

    def write(self, parts):
        """Add the number of epochs, from which the orders follow, to the parts of a checkpoint."""
        parts.add(n_epochs=self._n_epochs)

    def read(self, fields):
        """Take over the number of epochs from a checkpoint."""
        self._n_epochs = fields.whole("n_epochs")


class Steps:
    """The steps of an epoch.

    Parameters
    ----------
    ranks : Ranks
    descent : Descent
    total : SumOfGradients or None
        That of the epoch before, whose memory is used again.
    bounds : ndarray of shape (n_slots, n_steps + 1)
        Where the rows of each step begin in the order of each slot.
    dense : bool
        Whether the rows are dense.
    """

    def __init__(self, ranks, descent, total, bounds, *, dense):
        self._ranks, self._descent, self._bounds = ranks, descent, bounds
        flat = descent.network.parameters.flat
        self.sum = total or SumOfGradients(ranks, flat.size, flat.dtype)
        counts = np.diff(bounds, axis=1)
        self._n_of_steps = counts.sum(axis=0)
        self._places = np.cumsum(counts, axis=0) - counts
        self._penalized = (counts > 0).argmax(axis=0)  # the first slot with rows, in every step
        n_most = int(counts.max())
        self._steps = StepsInParts(descent, self.sum.total[np.newaxis], n_most, dense=dense)
        self._losses = np.zeros(len(ranks.slots))
        passes = descent.network.passes
        n_mine = int(counts[ranks.slots].sum(axis=0).max())
        self._tuner = ThreadTuner(passes.candidates(n_most), guess=passes.flops(n_mine) / 1e9)

    def take(self, first, last, chunks):
        """Take the rows of the next steps: the data and the order of each of the own slots."""
        bounds = self._bounds[self._ranks.slots, first : last + 1]
        bounds = bounds - bounds[:, :1]
        weights = [
            sums_of_parts(data.sample_weight[order], of_slot)
            for (data, order), of_slot in zip(chunks, bounds, strict=True)
        ]
        totals = sum_of_slots(self._ranks.slot_values(np.stack(weights)))
        scales = np.divide(1, totals, out=np.zeros_like(totals), where=totals > 1e-300)
        places, penalized = self._places[:, first:last], self._penalized[first:last]
        self._first = first
        self._parts = [
            parts_of_steps(
                _core.Samples(*data.arrays), order, of_slot, scales, places[slot],
                penalized == slot,
            )
            for slot, (data, order), of_slot in zip(self._ranks.slots, chunks, bounds, strict=True)
        ]  # fmt: skip

    def make(self, step, of_step, *, is_over):
        """Make a step. Return whether the first rank says that it is the last one.

        ``of_step`` are the three numbers of `Descent.schedule_of`.
        """
        ranks = self._ranks
        n_threads, _ = self._tuner.next(0.0)
        seconds = 0.0

        def gradient_of_slot(slot, out):
            nonlocal seconds
            began = time.perf_counter()
            self._gradient(slot, step, out, of_step[1], n_threads)
            seconds += time.perf_counter() - began

        self.sum(gradient_of_slot, [is_over and ranks.is_first, ranks.was_interrupted])
        self._tuner.saw(n_threads, seconds, time.perf_counter())
        is_interrupted = self.sum.flags[INTERRUPT] > 0
        is_over = is_interrupted or self.sum.flags[STOP] > 0
        self._steps.apply(of_step)
        if is_interrupted:
            ranks.is_ending = True
            self._descent.end_of_steps(step + 1)
            raise KeyboardInterrupt
        return is_over

    def _gradient(self, slot, step, out, dropout_factor, n_threads):
        i = slot - self._ranks.slots.start
        part = self._parts[i][step - self._first]
        if len(part.rows) == 0:
            out[...] = 0
            return
        loss = self._steps.gradient(part, out, dropout_factor, n_threads)
        self._losses[i] += loss * self._n_of_steps[step]

    def mean_loss(self, n_steps):
        """Return the mean loss over the rows of the steps made, and the number of these rows."""
        n_rows = int(self._n_of_steps[:n_steps].sum())
        return self._ranks.sum(self._losses) / n_rows, n_rows


def bounds_of_steps(n_of_slots, n_steps):
    """Return where the rows of each step begin in the order of each slot.

    All rows are lined up: row ``j`` of a slot of ``n`` rows at ``(j + 1/2) / n``, and of equal ones
    the row of the first slot first. The steps have equal shares of this line.

    Returns
    -------
    ndarray of shape (n_slots, n_steps + 1)
    """
    n = n_of_slots[:, np.newaxis].astype(np.float64)
    n_rows = int(n_of_slots.sum())
    ends = n_rows * np.arange(n_steps + 1) // n_steps
    counts = np.floor(n * (ends / n_rows) + 0.5).astype(np.int64)
    # These are nearly as many as there must be. Take the next ones, or give the last ones up.
    with np.errstate(divide="ignore", invalid="ignore"):
        while (missing := ends - counts.sum(axis=0)).any():
            after = np.where(counts < n, (counts + 0.5) / n, np.inf).argmin(axis=0)
            last = np.where(counts > 0, (counts - 0.5) / n, -np.inf)
            last = len(n) - 1 - last[::-1].argmax(axis=0)
            few, many = np.flatnonzero(missing > 0), np.flatnonzero(missing < 0)
            counts[after[few], few] += 1
            counts[last[many], many] -= 1
    return counts


def parts_of_steps(samples, order, bounds, scales, places, has_penalties):
    """Return the part of each step in a slot; ``bounds`` says where in the order they begin."""
    ends = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    numbers = zip(ends, scales.tolist(), places.tolist(), has_penalties.tolist(), strict=True)
    return [
        Part(samples, order[first:last], scale, place, has_penalty)
        for (first, last), scale, place, has_penalty in numbers
    ]


def sums_of_parts(numbers, bounds):
    """Return the sums of the parts of an array, some of which may be empty."""
    sums = np.zeros(len(bounds) - 1)
    has_rows = np.diff(bounds) > 0
    if has_rows.any():
        begins = bounds[:-1][has_rows]
        sums[has_rows] = np.add.reduceat(numbers.astype(np.float64), begins)
    return sums
