"""Full-batch training with SciPy's L-BFGS-B."""

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


def minimize_lbfgs(network, data, history, hooks, *, alpha, max_iter, max_fun, tol):
    """Minimize the loss over all rows with SciPy's L-BFGS-B.

    SciPy optimizes the network's flat buffer, including the padding. The gradient of the padding
    is 0, so it stays 0.
    """
    network.parameters.remove_missing()
    flat = network.parameters.flat
    gradient = aligned_zeros(flat.shape, network.dtype)
    accepted = flat.astype(np.float64)
    best = Minimum(np.inf, 0, "interrupted")
    reason = raised = None
    history.begin()
    began = hooks.begin_epoch()

    def loss_and_gradient(params):
        flat[...] = params
        loss = network.passes.full_gradient(data, gradient, alpha)
        if not np.isfinite(loss):
            when = f"The loss was {loss} after iteration {best.n_iter}"
            raise Divergence(when, network.dtype, "A larger alpha")
        return loss, gradient.astype(np.float64)

    def after_iteration(intermediate_result):
        nonlocal accepted, best, began, reason, raised
        accepted = intermediate_result.x.copy()
        best = Minimum(float(intermediate_result.fun), best.n_iter + 1, "interrupted")
        flat[...] = accepted
        try:
            reason = hooks.end_epoch(
                history, began, epoch=best.n_iter, max_iter=max_iter, loss=best.loss,
                learning_rate=None,
            )  # fmt: skip
            began = None if reason else hooks.begin_epoch()
        except StopIteration as error:  # from a callback; SciPy would take it for a request to end
            raised = error
        if reason or raised:
            raise StopIteration

    try:
        with core_in_use, blas_in_one_thread:  # SciPy's vectors are too short for threads
            result = scipy.optimize.minimize(
                loss_and_gradient,
                accepted,
                method="L-BFGS-B",
                jac=True,
                callback=after_iteration,
                options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
            )
        if raised:
            raise raised
        accepted = result.x
        failure = None if result.success or reason else str(result.message)
        reason = reason or REASONS.get(result.status, "failed")
        best = Minimum(float(result.fun), min(result.nit, max_iter), reason, failure)
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
    flat[...] = accepted
    check_finite(network, data)
    return best
