"""Training by mini-batches, epoch after epoch: shuffling, stopping, who is told."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastmlp import _core
from fastmlp._engine.threads import core_in_use
from fastmlp._engine.warnings import warn
from fastmlp._training.divergence import Divergence, check_finite
from fastmlp._training.history import Epoch


class TrainingHooks(NamedTuple):
    """Who is told of every epoch, and may end the training.

    Attributes
    ----------
    begin : callable
        Called at the beginning of every epoch.
    end : callable
        Gets every `Epoch`; returns whether to stop.
    say : callable
        Gets a line of text about what training decides.
    validate : callable or None
        () -> a dict of what is measured on the validation rows, 'val_loss' and 'val_score' in it.
    measure : callable or None
        () -> a dict of what else goes into the history.
    deadline : float
        When to stop, by time.perf_counter().
    """

    begin: Callable
    end: Callable
    say: Callable
    validate: Callable | None = None
    measure: Callable | None = None
    deadline: float = np.inf

    def begin_epoch(self):
        """Returns the time of it."""
        self.begin()
        return time.perf_counter()

    def end_epoch(self, history, began, *, is_whole=True, **epoch):
        """Complete the record of an epoch that began at a time; return why to stop, or None."""
        measured = self.validate() if self.validate else {}
        val_loss, val_score = measured.pop("val_loss", None), measured.pop("val_score", None)
        now = time.perf_counter()
        epoch = Epoch(val_loss=val_loss, val_score=val_score, seconds=now - began, **epoch)
        history.add(epoch, measured | (self.measure() if self.measure else {}))
        if self.end(epoch):
            return "callback"
        is_last = is_whole and epoch.epoch == epoch.max_iter
        return "max_seconds" if now >= self.deadline and not is_last else None


class Stopping(NamedTuple):
    """When an epoch has not got better, and how many of those end the training."""

    tol: float
    n_iter_no_change: float
    by_score: bool = False  # of validation, or else by the training loss


def train_epochs(
    descent, data, order, random_state, history, stopping, hooks, *, batch_size, max_iter,
):  # fmt: skip
    """Train for up to ``max_iter`` epochs; return the reason of the end, as ``stop_reason_``.

    Parameters
    ----------
    descent : Descent
    data : Data
    order : ndarray of intp
        The rows to train on.
    random_state : RandomState or None
        Shuffles them in every epoch, each time what the last one left; None leaves them.
    history : History
        Continued in place.
    stopping : Stopping
        With ``by_score``, the best weights are restored in the end.
    hooks : TrainingHooks
    """
    history.begin()
    order = order.copy()
    reason = None
    try:
        with core_in_use:
            while reason is None and history.n_epochs < max_iter:
                began = hooks.begin_epoch()
                if random_state is not None:
                    _core.shuffle(order, random_state._bit_generator)
                loss, n_seen = descent.epoch(data, order, batch_size, hooks.deadline)
                # With early stopping there are good weights to go back to.
                if not np.isfinite(loss) and history.best_params is None:
                    when = f"The loss was {loss} in epoch {history.n_epochs + 1}"
                    raise Divergence(when, descent.network.dtype)
                history.n_rows_seen += n_seen
                rate = descent.learning_rate
                reason = hooks.end_epoch(
                    history, began, epoch=history.n_epochs + 1, max_iter=max_iter, loss=loss,
                    learning_rate=rate, is_whole=n_seen == len(order),
                )  # fmt: skip
                if not np.isfinite(loss):
                    warn(
                        f"Training has diverged: the loss was {loss} in epoch {history.n_epochs}. "
                        "The weights of the best validation score are kept. A lower "
                        "learning_rate_init or scaled features usually help.",
                        RuntimeWarning,
                    )
                    reason = "failed"
                _judge_epoch(descent.network, history, stopping)
                if descent.end_epoch(history.n_rows_seen, history.n_bad_epochs == 0):
                    history.n_bad_epochs = 0
                    hooks.say(f"No progress. Setting learning rate to {descent._rate:g}")
                is_stuck = history.n_bad_epochs > stopping.n_iter_no_change
                if is_stuck and _at_plateau(descent, history, stopping, hooks.say):
                    reason = reason or "converged"
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
        reason = "interrupted"
    if history.best_params is not None:
        descent.network.restore(history.best_params)
    elif not descent.is_finite:
        when = "The gradient or its square has overflowed in the solver"
        raise Divergence(when, descent.network.dtype)
    check_finite(descent.network, data)
    return reason or "max_iter"


def _judge_epoch(network, history, stopping):
    """Compare with the best so far; the best itself is kept without regard to ``tol``."""
    if not stopping.by_score:
        loss = history.columns["loss"][-1]
        history.judge(loss, history.best_loss, stopping.tol, larger_is_better=False)
        history.best_loss = min(loss, history.best_loss)
        return
    score = history.columns["val_score"][-1]
    history.judge(score, history.best_validation_score, stopping.tol, larger_is_better=True)
    if score > history.best_validation_score:
        history.best_validation_score = score
        history.best_params = network.snapshot()


def _at_plateau(descent, history, stopping, say):
    """Lower the rate if the schedule says so; otherwise return True: stop."""
    what = "Validation score" if stopping.by_score else "Training loss"
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
