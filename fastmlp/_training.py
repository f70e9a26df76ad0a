"""Training a network: mini-batches, schedules, stopping, L-BFGS."""

import time
import warnings
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.optimize

from fastmlp import _core
from fastmlp._core import LOSSES, SOLVER, SOLVERS
from fastmlp._network import ROWS_IN_PASS, aligned_zeros
from fastmlp._threads import one_blas_thread

# The core returns this often, at a mini-batch's end, so that Ctrl-C works in a long epoch.
SECONDS_IN_CORE = 0.05

SMALLEST_ADAPTIVE_RATE = 1e-6


class Data(NamedTuple):
    """Rows as the core wants them: C-ordered, aligned, of the network's dtype."""

    X: np.ndarray  # (n, m_0)
    y: np.ndarray  # (n, n_targets)
    sample_weight: np.ndarray  # (n,)


@dataclass
class History:
    """What training has seen so far; a warm start goes on with it."""

    loss_curve: list = field(default_factory=list)
    validation_scores: list = field(default_factory=list)
    best_loss: float = np.inf
    best_validation_score: float = -np.inf
    best_params: np.ndarray | None = None
    n_bad_epochs: int = 0
    n_rows_seen: int = 0
    n_epochs: int = 0  # of the last call

    def snapshot(self):
        return vars(self).copy(), len(self.loss_curve), len(self.validation_scores)

    def restore(self, snapshot):
        values, n_losses, n_scores = snapshot
        vars(self).update(values)
        del self.loss_curve[n_losses:], self.validation_scores[n_scores:]

    def judge(self, value, best, tol, *, larger_is_better):
        """Count the epochs since ``value`` last got better than ``best`` by ``tol``."""
        worse = value < best + tol if larger_is_better else value > best - tol
        self.n_bad_epochs = self.n_bad_epochs + 1 if worse else 0


class Divergence(ValueError):
    """The loss or the weights have stopped being finite."""

    def __init__(self, when):
        super().__init__(
            "Solver produced non-finite parameter weights. The input data may contain large "
            f"values and need to be preprocessed. ({when}. A lower learning_rate_init or scaled "
            "features, for instance by sklearn.preprocessing.StandardScaler, usually help.)"
        )


class Descent:
    """A mini-batch solver at work on a network, with the state that it carries along.

    Parameters
    ----------
    network : Network
        Moved in place.
    name : {'sgd', 'adam'}
    settings : dict
        'schedule' ('constant', 'invscaling' or 'adaptive') and 'power_t' say what becomes of the
        rate; 'learning_rate', 'momentum', 'nesterov', 'beta_1', 'beta_2' and 'epsilon' are the
        solver's.
    """

    def __init__(self, network, name, settings):
        kind, n_states = SOLVERS[name]
        self.network = network
        self.name = name
        self._settings = {}
        self._solver = np.zeros(1, dtype=SOLVER)
        self._solver["kind"] = kind
        self._state = aligned_zeros((n_states, network._flat.size), network.dtype)
        self.change(settings)
        self._forget_memory()

    def change(self, settings):
        """Take over what differs from the settings so far: a lowered rate stays where it is."""
        for name, value in settings.items():
            if name in SOLVER.names and value != self._settings.get(name):
                self._solver[name] = value
        # An epsilon that rounds to 0 would divide 0 by 0 where a gradient has always been 0.
        smallest = np.finfo(self.network.dtype).tiny
        self._solver["epsilon"] = max(settings["epsilon"], smallest)
        self._settings = settings

    def _forget_memory(self):
        self._gradient = self._work = None
        self._seconds_a_step = None

    def __getstate__(self):
        state = vars(self).copy()
        del state["_gradient"], state["_work"], state["_seconds_a_step"]
        return state

    def __setstate__(self, state):
        vars(self).update(state)
        unaligned = self._state
        self._state = aligned_zeros(unaligned.shape, unaligned.dtype)
        self._state[...] = unaligned
        self._forget_memory()

    @property
    def schedule(self):
        return self._settings["schedule"]

    @property
    def learning_rate(self):
        return float(self._solver["learning_rate"][0])

    @learning_rate.setter
    def learning_rate(self, rate):
        self._solver["learning_rate"] = rate

    def snapshot(self):
        """All that an epoch changes here, copied."""
        return self._state.copy(), self._solver.copy()

    def restore(self, snapshot):
        self._state[...], self._solver[...] = snapshot

    def epoch(self, data, order, batch_size, alpha):
        """One pass over the rows ``order``; returns the loss, measured before each step."""
        network = self.network
        work = self._memory(batch_size)
        row_loss = np.zeros(-(-batch_size // work.block_rows))
        penalty = np.zeros(len(network._blocks))
        n_threads = network._threads(batch_size)
        if self._seconds_a_step is None:
            self._seconds_a_step = network._flops(batch_size) / 1e9  # a slow guess, to begin with
        start = 0
        while start < len(order):
            n_steps = max(1, int(SECONDS_IN_CORE / self._seconds_a_step))
            rows = order[start : start + n_steps * batch_size]
            began = time.perf_counter()
            _core.train(
                network._layers, network._blocks, LOSSES[network.loss],
                network._flat, self._gradient, self._state, work.memory,
                *data, rows, batch_size, work.capacity, work.block_rows,
                alpha, self._solver, row_loss, penalty, n_threads,
            )  # fmt: skip
            self._seconds_a_step = (time.perf_counter() - began) / -(-len(rows) // batch_size)
            start += len(rows)
            loss = float(row_loss.sum() + penalty.sum()) / len(order)
            if not np.isfinite(loss):
                break
        return loss

    def _memory(self, batch_size):
        if self._gradient is None:
            self._gradient = aligned_zeros(self.network._flat.shape, self.network.dtype)
        if self._work is None or self._work[0] != batch_size:
            self._work = batch_size, self.network._workspace(batch_size, batch_size)
        return self._work[1]

    def end_epoch(self, n_rows_seen):
        if self.schedule == "invscaling":
            initial_rate, power_t = self._settings["learning_rate"], self._settings["power_t"]
            self.learning_rate = initial_rate / (n_rows_seen + 1) ** power_t

    def lower_rate(self):
        """What 'adaptive' does about a plateau: return the new rate, or None at the end."""
        if self.schedule != "adaptive" or self.learning_rate <= SMALLEST_ADAPTIVE_RATE:
            return None
        self.learning_rate /= 5
        return self.learning_rate


class Stopping(NamedTuple):
    """When an epoch has not got better, and how many of those end the training."""

    tol: float
    n_iter_no_change: float
    score: object = None  # f() -> validation score; None judges by the training loss


def train_epochs(
    descent, data, order, history, stopping, *, batch_size, alpha, max_iter, shuffle, random_state,
    say,
):  # fmt: skip
    """Train for up to ``max_iter`` epochs, and return whether that sufficed to converge.

    Parameters
    ----------
    descent : Descent
    data : Data
    order : ndarray of intp
        The rows to train on.
    history : History
        Continued in place.
    stopping : Stopping
        With a score, the best weights are restored in the end.
    random_state : RandomState
        Shuffles the already shuffled order before every epoch, as scikit-learn does.
    say : callable
        Gets a line of text for each thing worth telling.
    """
    n_rows = len(order)
    history.n_epochs = 0
    # The best weights so far belong to another split; where none are better, the last are kept.
    history.best_params = None
    converged = False
    try:
        with one_blas_thread:
            while not converged and history.n_epochs < max_iter:
                if shuffle:
                    permutation = np.arange(n_rows)
                    random_state.shuffle(permutation)
                    order = order[permutation]
                loss = descent.epoch(data, order, batch_size, alpha)
                history.n_epochs += 1
                if not np.isfinite(loss):
                    raise Divergence(f"The loss was {loss} in epoch {history.n_epochs}")
                history.n_rows_seen += n_rows
                history.loss_curve.append(loss)
                say(f"Iteration {history.n_epochs}, loss = {loss:.8f}")
                _judge_epoch(descent.network, history, stopping, say)
                descent.end_epoch(history.n_rows_seen)
                if history.n_bad_epochs > stopping.n_iter_no_change:
                    converged = _at_plateau(descent, history, stopping, say)
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
        converged = True
    if stopping.score is not None and history.best_params is not None:
        descent.network.restore(history.best_params)
    _check_finite(descent.network)
    return converged


def _judge_epoch(network, history, stopping, say):
    """Compare with the best so far; the best itself is kept without regard to ``tol``."""
    if stopping.score is None:
        loss = history.loss_curve[-1]
        history.judge(loss, history.best_loss, stopping.tol, larger_is_better=False)
        history.best_loss = min(loss, history.best_loss)
        return
    score = stopping.score()
    history.validation_scores.append(score)
    say(f"Validation score: {score:f}")
    history.judge(score, history.best_validation_score, stopping.tol, larger_is_better=True)
    if score > history.best_validation_score:
        history.best_validation_score = score
        history.best_params = network.snapshot()


def _at_plateau(descent, history, stopping, say):
    """Lower the rate if the schedule says so; otherwise return True: stop."""
    what = "Training loss" if stopping.score is None else "Validation score"
    text = (
        f"{what} did not improve more than tol={stopping.tol:f} "
        f"for {stopping.n_iter_no_change} consecutive epochs."
    )
    rate = descent.lower_rate()
    if rate is None:
        too_small = " Learning rate too small." if descent.schedule == "adaptive" else ""
        say(f"{text}{too_small} Stopping.")
        return True
    say(f"{text} Setting learning rate to {rate:f}")
    history.n_bad_epochs = 0
    return False


def _check_finite(network):
    if not np.isfinite(network._flat).all():
        raise Divergence("The weights after the last step are not finite")


class Minimum(NamedTuple):
    """What L-BFGS came to."""

    loss: float
    n_iter: int
    converged: bool
    message: str


def minimize_lbfgs(network, data, *, alpha, max_iter, max_fun, tol, say):
    """Move the network to a minimum of the loss over all rows by SciPy's L-BFGS-B.

    The vector that SciPy sees is the network's flat buffer, padding included: its gradient is 0,
    so that it stays 0.
    """
    gradient = aligned_zeros(network._flat.shape, network.dtype)
    work = network._workspace(len(data.X), ROWS_IN_PASS)
    last = Minimum(np.inf, 0, False, "interrupted")
    accepted = network._flat.astype(np.float64)

    def loss_and_gradient(params):
        network._flat[...] = params
        loss = network._gradient(*data, alpha, gradient, work, network._layers)
        if not np.isfinite(loss):
            raise Divergence(f"The loss was {loss} after iteration {last.n_iter}")
        return loss, gradient.astype(np.float64)

    def remember(intermediate_result):
        nonlocal last, accepted
        accepted = intermediate_result.x.copy()
        last = last._replace(loss=float(intermediate_result.fun), n_iter=last.n_iter + 1)
        say(f"Iteration {last.n_iter}, loss = {last.loss:.8f}")

    try:
        with one_blas_thread:
            result = scipy.optimize.minimize(
                loss_and_gradient,
                accepted,
                method="L-BFGS-B",
                jac=True,
                callback=remember,
                options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
            )
        accepted = result.x
        last = Minimum(
            float(result.fun), min(result.nit, max_iter), result.status == 0, result.message
        )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
        last = last._replace(converged=True)
    network._flat[...] = accepted
    _check_finite(network)
    return last
