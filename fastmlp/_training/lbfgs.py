"""Full-batch training with L-BFGS.

The steps are those of SciPy's L-BFGS-B without bounds, and they end where its steps do. But their
arithmetic is that of the core, with the same bits for any number of threads and on every machine,
and takes a fraction of the time.
"""

import math
from typing import NamedTuple

import numpy as np

from fastmlp import _core
from fastmlp._engine.layout import aligned_zeros, ceil_div
from fastmlp._engine.threads import core_in_use, threads_for
from fastmlp._engine.warnings import warn
from fastmlp._training.divergence import Divergence, check_finite
from fastmlp._training.line_search import LARGEST_STEP, line_search

# Pairs of a step and the change of the gradient, from which the curvature is learned.
N_PAIRS = 10
# Of the loss, or of 1 if the loss is smaller: an iteration that gains no more is the last.
LEAST_GAIN = 2.220446049250313e-09
EPSILON = float(np.finfo(np.float64).eps)


class Minimum(NamedTuple):
    """The result of L-BFGS. ``failure`` says why it has not converged, or is None."""

    loss: float
    n_iter: int
    reason: str
    failure: str | None = None


class Loss:
    """The loss over all rows, as a function of a vector of all parameters, without padding."""

    def __init__(self, network, rows, alpha):
        self.dtype = network.dtype
        self._passes = network.passes
        self._loss_and_gradient = rows.gradient_over(network, alpha)
        self._numbers = aligned_zeros(network.parameters.flat.shape, network.dtype)
        self._params = list(network.parameters.arrays().values())
        self._gradients = list(network.parameters.arrays(self._numbers).values())

    def begin(self):
        """Return the parameters that the network has now."""
        return np.concatenate([array.ravel() for array in self._params], dtype=np.float64)

    def __call__(self, x, gradient):
        """Give the network the parameters x, write the gradient there and return the loss."""
        self.give(x)
        loss = self._loss_and_gradient(self._numbers)
        for array, part in _with_parts(self._gradients, gradient):
            part[...] = array
        return loss

    def give(self, x):
        """Give the network the parameters x."""
        for array, part in _with_parts(self._params, x):
            array[...] = part

    def n_threads(self, n):
        """Return the number of threads that pay for one reading of all pairs of n numbers."""
        n_parts = ceil_div(n, _core.NUMBERS_IN_PART)
        return threads_for(4.0 * N_PAIRS * n, n_parts, self._passes.n_threads)


def _with_parts(arrays, vector):
    """Give each array with its part of a vector."""
    first = 0
    for array in arrays:
        yield array, vector[first : first + array.size].reshape(array.shape)
        first += array.size


class Point:
    """A vector, and the loss and the gradient there."""

    def __init__(self, x):
        self.x, self.gradient, self.loss = x, np.empty_like(x), math.inf


class LBFGS:
    """The iterations of L-BFGS.

    Parameters
    ----------
    loss : Loss

    Attributes
    ----------
    at : Point
        The last accepted point, where the network is after an iteration.
    n_iter, n_losses : int
        Numbers of iterations made, and of losses computed.
    """

    def __init__(self, loss):
        self._loss = loss
        self.at = Point(loss.begin())
        self._next = Point(np.empty_like(self.at.x))
        self._direction = np.empty_like(self.at.x)
        self._curvature = _core.Curvature(np.empty((N_PAIRS, 2, len(self.at.x))))
        self.n_iter = self.n_losses = 0

    @property
    def largest_slope(self):
        """The largest component of the gradient."""
        return _core.largest_of(self.at.gradient)

    def begin(self):
        """Compute the loss and the gradient where the iterations begin."""
        self._evaluate(self.at)

    def iterate(self):
        """Go to a point of lower loss; return whether one was found."""
        while not self._search():
            if self._curvature.n_pairs == 0:
                return False
            self._curvature.forget()  # and try the steepest descent
        self.at, self._next = self._next, self.at
        self.n_iter += 1
        return True

    def _search(self):
        """Search along the direction for the next point, and learn from the way to it."""
        curvature, direction, before = self._curvature, self._direction, self.at
        n_threads = self._loss.n_threads(len(direction))
        curvature.direction(before.gradient, direction, n_threads)
        slope = curvature.product(before.gradient, direction, n_threads)
        if slope >= 0:
            return False
        step, slope_there = 1.0, slope
        if self.n_iter == 0:
            length = math.sqrt(curvature.product(direction, direction, n_threads))
            step = min(1 / length, LARGEST_STEP)

        def along(tried):
            nonlocal step, slope_there
            step, there = tried, self._next
            np.multiply(direction, step, out=there.x)
            there.x += before.x
            self._evaluate(there)
            slope_there = curvature.product(there.gradient, direction, n_threads)
            return there.loss, slope_there

        if not line_search(along, before.loss, slope, step):
            return False
        # Where the slope falls, there is no curvature to learn.
        if slope_there - slope > EPSILON * -slope:
            curvature.add(direction, step, before.gradient, self._next.gradient)
        return True

    def _evaluate(self, point):
        point.loss = self._loss(point.x, point.gradient)
        self.n_losses += 1
        if not math.isfinite(point.loss):
            when = f"The loss was {point.loss} after iteration {self.n_iter}"
            raise Divergence(when, self._loss.dtype, "A larger alpha")


def minimize_lbfgs(network, rows, history, hooks, *, alpha, max_iter, max_fun, tol):
    """Minimize the loss over all rows with L-BFGS; return a `Minimum`.

    Parameters
    ----------
    network : Network
        Gets the parameters of the last iteration.
    rows : ShuffledRows or SlotRows
    history : History
        Gets an entry for each iteration.
    hooks : TrainingHooks
    alpha : float
        The L2 penalty.
    max_iter : int
        Most iterations.
    max_fun : int
        Most evaluations of the loss. The iteration under way is completed.
    tol : float
        The largest component of the gradient at a minimum.
    """
    network.parameters.remove_missing()
    loss = Loss(network, rows, alpha)
    run = LBFGS(loss)
    history.begin()
    reason, failure = "interrupted", None
    try:
        with core_in_use:
            reason, failure = _iterate(run, history, hooks, max_iter, max_fun, tol)
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
    loss.give(run.at.x)
    check_finite(network, rows.sample[0])
    return Minimum(run.at.loss, run.n_iter, reason, failure)


def _iterate(run, history, hooks, max_iter, max_fun, tol):
    """Iterate to the end; return its reason, and what has failed or None."""
    began = hooks.begin_epoch()
    run.begin()
    gain = math.inf
    while run.largest_slope > tol and gain > LEAST_GAIN:
        before = run.at.loss
        if not run.iterate():
            return "failed", "the line search has found no lower loss"
        gain = (before - run.at.loss) / max(abs(before), abs(run.at.loss), 1)
        reason = hooks.end_epoch(
            history, began, epoch=run.n_iter, max_iter=max_iter, loss=run.at.loss,
            learning_rate=None,
        )  # fmt: skip
        if reason:
            return reason, None
        if run.n_iter >= max_iter:
            return "max_iter", "it has reached max_iter"
        if run.n_losses > max_fun:
            return "max_iter", f"it has computed the loss {run.n_losses} times"
        began = hooks.begin_epoch()
    return "converged", None
