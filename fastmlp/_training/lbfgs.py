"""Full-batch training with SciPy's L-BFGS-B."""

import math
from typing import NamedTuple

import numpy as np
import scipy.optimize

from fastmlp._engine.layout import aligned_zeros
from fastmlp._engine.threads import blas_in_one_thread, core_in_use
from fastmlp._engine.warnings import warn
from fastmlp._training.divergence import Divergence, check_finite


class Minimum(NamedTuple):
    """The result of L-BFGS. ``failure`` is SciPy's message if it failed, or None."""

    loss: float
    n_iter: int
    reason: str
    failure: str | None = None


# SciPy's status codes. All others mean failure.
REASONS = {0: "converged", 1: "max_iter"}


class _Run:
    """One run of L-BFGS: the functions that SciPy calls, and the last accepted parameters."""

    def __init__(self, network, rows, history, hooks, alpha, max_iter):
        self._network = network
        self._history, self._hooks, self._max_iter = history, hooks, max_iter
        self._numbers = aligned_zeros(network.parameters.flat.shape, network.dtype)
        self._loss_and_gradient = rows.gradient_over(network, alpha)
        self._params = None  # where the gradient has been computed last
        self.accepted = network.parameters.flat.astype(np.float64)
        self.best = Minimum(np.inf, 0, "interrupted")
        self.reason = self.raised = None  # why a hook ended the run, or what it raised
        history.begin()
        self._began = hooks.begin_epoch()

    def loss(self, params):
        self._network.parameters.flat[...] = params
        loss = self._loss_and_gradient(self._numbers)
        if not math.isfinite(loss):
            when = f"The loss was {loss} after iteration {self.best.n_iter}"
            raise Divergence(when, self._network.dtype, "A larger alpha")
        self._params = params.copy()
        return loss

    def gradient(self, params):
        """Return the gradient, which `loss` has computed already if SciPy has asked for that."""
        if not np.array_equal(params, self._params):
            self.loss(params)
        return self._numbers.astype(np.float64)

    def after_iteration(self, intermediate_result):
        self.accepted = intermediate_result.x.copy()
        n_iter = self.best.n_iter + 1
        self.best = Minimum(float(intermediate_result.fun), n_iter, "interrupted")
        self._network.parameters.flat[...] = self.accepted
        try:
            self.reason = self._hooks.end_epoch(
                self._history, self._began, epoch=n_iter, max_iter=self._max_iter,
                loss=self.best.loss, learning_rate=None,
            )  # fmt: skip
            self._began = None if self.reason else self._hooks.begin_epoch()
        except StopIteration as error:  # from a callback; SciPy would take it for a request to end
            self.raised = error
        if self.reason or self.raised:
            raise StopIteration


def minimize_lbfgs(network, rows, history, hooks, *, alpha, max_iter, max_fun, tol):
    """Minimize the loss over all rows with SciPy's L-BFGS-B.

    SciPy optimizes the network's flat buffer, including the padding. The gradient of the padding
    is 0, so it stays 0.
    """
    network.parameters.remove_missing()
    run = _Run(network, rows, history, hooks, alpha, max_iter)

    def minimize(run):
        return scipy.optimize.minimize(
            run.loss,
            run.accepted,
            method="L-BFGS-B",
            jac=run.gradient,
            callback=run.after_iteration,
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        )

    try:
        with core_in_use, blas_in_one_thread:  # SciPy's vectors are too short for threads
            result = rows.search(run, minimize)
        if run.raised:
            raise run.raised
        run.accepted = result.x
        failure = None if result.success or run.reason else str(result.message)
        reason = run.reason or REASONS.get(result.status, "failed")
        run.best = Minimum(float(result.fun), min(result.nit, max_iter), reason, failure)
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
    network.parameters.flat[...] = run.accepted
    check_finite(network, rows.sample[0])
    return run.best
