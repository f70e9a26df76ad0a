"""`SlotRows`: the rows of all ranks, for the training loop."""

import time

import numpy as np
from scipy.optimize import OptimizeResult

from fastmlp import _core
from fastmlp._distributed.slots import shuffled
from fastmlp._distributed.sums import SumOfGradients
from fastmlp._distributed.tree import sum_of_slots
from fastmlp._engine.layout import ceil_div
from fastmlp._engine.threads import ThreadTuner
from fastmlp._training.parts import Part, StepsInParts

STOP, INTERRUPT = 0, 1  # flags


class SlotRows:
    """The rows of all ranks, each of which trains on its own slots, in steps that all make.

    A mini-batch has rows of every slot, in proportion to their number. So an epoch uses every row
    once, and has as many steps as one in memory. The order of the rows in a slot is drawn anew for
    every epoch.

    Parameters
    ----------
    ranks : Ranks
    slots : list of (Data, ndarray of intp)
        The own slots: rows, and which of them to train on.
    seed : int or None
        Seed of the orders. None disables shuffling.
    sample : Data
        Some rows, the same on all ranks, to measure the network by.

    Attributes
    ----------
    n_rows : int
        Number of rows in an epoch.
    sample : (Data, ndarray of intp)
    """

    def __init__(self, ranks, slots, seed, sample):
        self._ranks, self._slots, self._seed = ranks, slots, seed
        self._n_of_slots = ranks.slot_values(np.array([len(order) for _, order in slots]))
        self.n_rows = int(self._n_of_slots.sum())
        self.sample = sample, np.arange(sample.n_rows)
        self._n_epochs = 0
        self._sum = None

    def epoch(self, descent, batch_size, deadline):
        """Train for an epoch; see `Descent.epoch`."""
        n_steps = ceil_div(self.n_rows, batch_size)
        bounds = self._n_of_slots[:, np.newaxis] * np.arange(n_steps + 1) // n_steps
        orders = [
            order if self._seed is None
            else order[shuffled(len(order), self._seed, slot, self._n_epochs)]
            for slot, (_, order) in zip(self._ranks.slots, self._slots, strict=True)
        ]  # fmt: skip
        descent.take_weights()
        schedule = descent.schedule_of(n_steps, n_steps)
        steps = Steps(self._ranks, self._slots, descent, self._sum, bounds, orders)
        self._sum = steps.sum
        n_done = 0
        while n_done < n_steps:
            is_last = steps.make(n_done, schedule[n_done], is_over=time.perf_counter() >= deadline)
            n_done += 1
            if is_last:
                break
        descent.end_of_steps(n_done)
        self._n_epochs += 1
        return steps.mean_loss(n_done)

    def gradient_over(self, network, alpha):
        """Return a function that writes the gradient over all rows and returns the loss."""
        ranks = self._ranks
        weights = [data.sample_weight.sum(dtype=np.float64) for data, _ in self._slots]
        scale = 1 / ranks.sum(np.array(weights))
        total = SumOfGradients(ranks, network.parameters.flat.size, network.dtype)
        of_slots = {
            slot: network.passes.gradient_over(data, alpha * (slot == 0), scale=scale)
            for slot, (data, _) in zip(ranks.slots, self._slots, strict=True)
        }
        losses = np.zeros(len(of_slots))

        def gradient_of_slot(slot, out):
            losses[slot - ranks.slots.start] = of_slots[slot](out)

        def loss_and_gradient(numbers):
            total(gradient_of_slot, [])
            numbers[...] = total.total
            return ranks.sum(losses)

        return loss_and_gradient

    def search(self, run, minimize):
        """Return the result of a minimizer that runs on the first rank, and that all follow.

        So all ranks do the same, even if their processors round differently in SciPy's code.
        """
        if self._ranks.n == 1:
            return minimize(run)
        if self._ranks.is_first:
            result = minimize(Leader(self._ranks, run))
            known = {name: result[name] for name in ("x", "fun", "nit", "status", "message")}
            self._ranks.of_first(("end", (known | {"success": result.success},)))
            return result
        while True:
            name, arguments = self._ranks.of_first(None)
            if name == "end":
                return OptimizeResult(*arguments)
            try:
                getattr(run, name)(*arguments)
            except StopIteration:  # the first rank, whose minimizer hears of it, goes on to "end"
                continue

    def write(self, parts):
        """Add the number of epochs, from which the orders follow, to the parts of a checkpoint."""
        parts.add(n_epochs=self._n_epochs, n_slots=self._ranks.n_slots)

    def read(self, fields):
        """Take over the number of epochs from a checkpoint."""
        n_slots = fields.whole("n_slots")
        if n_slots != self._ranks.n_slots:
            raise ValueError(
                f"resume: the checkpoint is one of a fit with n_slots={n_slots}, but there are "
                f"{self._ranks.n_slots} slots"
            )
        self._n_epochs = fields.whole("n_epochs")


class Leader:
    """A run of L-BFGS on the first rank, which tells the others what to do before it does it."""

    def __init__(self, ranks, run):
        self._ranks, self._run = ranks, run
        self.accepted = run.accepted

    def loss(self, params):
        self._ranks.of_first(("loss", (params,)))
        return self._run.loss(params)

    def gradient(self, params):
        self._ranks.of_first(("gradient", (params,)))
        return self._run.gradient(params)

    def after_iteration(self, intermediate_result):
        kept = OptimizeResult(x=intermediate_result.x, fun=intermediate_result.fun)
        self._ranks.of_first(("after_iteration", (kept,)))
        self._run.after_iteration(intermediate_result)


class Steps:
    """The steps of an epoch.

    Parameters
    ----------
    ranks : Ranks
    slots : list of (Data, ndarray of intp)
    descent : Descent
    total : SumOfGradients or None
        That of the epoch before, whose memory is used again.
    bounds : ndarray of shape (n_slots, n_steps + 1)
        Where the rows of each step begin in the order of each slot.
    orders : list of ndarray of intp
        The orders of the own slots.
    """

    def __init__(self, ranks, slots, descent, total, bounds, orders):
        self._ranks, self._descent, self._bounds, self._orders = ranks, descent, bounds, orders
        flat = descent.network.parameters.flat
        self.sum = total or SumOfGradients(ranks, flat.size, flat.dtype)
        counts = np.diff(bounds, axis=1)
        self._n_of_steps = counts.sum(axis=0)
        self._places = np.cumsum(counts, axis=0) - counts
        self._penalized = (counts > 0).argmax(axis=0)  # the first slot with rows, in every step
        self._steps = StepsInParts(
            descent, self.sum.total[np.newaxis], int(counts.max()), dense=slots[0][0].is_dense
        )
        self._samples = [_core.Samples(*data.arrays) for data, _ in slots]
        weights = [
            sums_of_parts(data.sample_weight[order], bounds[slot])
            for slot, (data, _), order in zip(ranks.slots, slots, orders, strict=True)
        ]
        totals = sum_of_slots(ranks.slot_values(np.stack(weights)))
        self._scales = np.divide(1, totals, out=np.zeros_like(totals), where=totals > 1e-300)
        self._losses = np.zeros(len(slots))
        passes = descent.network.passes
        n_mine = int(counts[ranks.slots].sum(axis=0).max())
        candidates = passes.candidates(int(counts.max()))
        self._tuner = ThreadTuner(candidates, guess=passes.flops(n_mine) / 1e9)

    def make(self, step, of_step, *, is_over):
        """Make a step. Return whether the first rank says that it is the last one.

        ``of_step`` are the three numbers of `Descent.schedule_of`.
        """
        n_threads, _ = self._tuner.next(0.0)
        seconds = 0.0

        def gradient_of_slot(slot, out):
            nonlocal seconds
            began = time.perf_counter()
            self._gradient(slot, step, out, of_step[1], n_threads)
            seconds += time.perf_counter() - began

        self.sum(gradient_of_slot, [is_over, self._ranks.was_interrupted])
        self._tuner.saw(n_threads, seconds, time.perf_counter())
        is_interrupted = self.sum.flags[INTERRUPT] > 0
        is_over = is_interrupted or self.sum.flags[STOP] > 0
        self._steps.apply(of_step)
        if is_interrupted:
            self._descent.end_of_steps(step + 1)
            raise KeyboardInterrupt
        return is_over

    def _gradient(self, slot, step, out, dropout_factor, n_threads):
        i = slot - self._ranks.slots.start
        first, last = self._bounds[slot, step : step + 2].tolist()
        if first == last:
            out[...] = 0
            return
        part = Part(
            self._samples[i], self._orders[i][first:last], float(self._scales[step]),
            int(self._places[slot, step]), has_penalties=slot == self._penalized[step],
        )  # fmt: skip
        loss = self._steps.gradient(part, out, dropout_factor, n_threads)
        self._losses[i] += loss * self._n_of_steps[step]

    def mean_loss(self, n_steps):
        """Return the mean loss over the rows of the steps made, and the number of these rows."""
        n_rows = int(self._n_of_steps[:n_steps].sum())
        return self._ranks.sum(self._losses) / n_rows, n_rows


def sums_of_parts(numbers, bounds):
    """Return the sums of the parts of an array, some of which may be empty."""
    sums = np.zeros(len(bounds) - 1)
    has_rows = np.diff(bounds) > 0
    if has_rows.any():
        begins = bounds[:-1][has_rows]
        sums[has_rows] = np.add.reduceat(numbers.astype(np.float64), begins)
    return sums
