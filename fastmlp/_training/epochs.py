"""The training loop of the mini-batch solvers: shuffling, stopping and hooks."""

import math
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
    """Functions called in every epoch, some of which may end the training.

    Attributes
    ----------
    begin : callable
        Called without arguments at the beginning of every epoch.
    end : callable
        Called with the `Epoch` at the end of every epoch. Returns whether to stop.
    say : callable
        Called with a line of text, such as a change of the learning rate, for verbose output.
    validate : callable or None
        Called without arguments. Returns a dict of measurements on the validation set, including
        'val_loss' and 'val_score'.
    measure : callable or None
        Called without arguments. Returns a dict of further values for the history.
    checkpoint : callable or None
        Called without arguments after every whole epoch, when all else is done.
    deadline : float
        Time at which to stop, as given by time.perf_counter().
    agreed : callable
        Called with the reason to stop, or None; returns what counts. Processes that train together
        agree here.
    """

    begin: Callable
    end: Callable
    say: Callable
    validate: Callable | None = None
    measure: Callable | None = None
    checkpoint: Callable | None = None
    deadline: float = np.inf
    agreed: Callable = lambda reason: reason

    def begin_epoch(self):
        """Call ``begin`` and return the current time."""
        self.begin()
        return time.perf_counter()

    def end_epoch(self, history, began, *, is_whole=True, **epoch):
        """Record an epoch that started at the time ``began``.

        Return the reason to stop the training, or None.
        """
        measured = self.validate() if self.validate else {}
        val_loss, val_score = measured.pop("val_loss", None), measured.pop("val_score", None)
        now = time.perf_counter()
        epoch = Epoch(val_loss=val_loss, val_score=val_score, seconds=now - began, **epoch)
        history.add(epoch, measured | (self.measure() if self.measure else {}))
        is_last = is_whole and epoch.epoch == epoch.max_iter
        is_over = now >= self.deadline and not is_last
        reason = "callback" if self.end(epoch) else "max_seconds" if is_over else None
        return self.agreed(reason)


SILENT = TrainingHooks(begin=lambda: None, end=lambda epoch: False, say=lambda text: None)


class Stopping(NamedTuple):
    """When an epoch counts as an improvement, and how many without one end the training."""

    tol: float
    n_iter_no_change: float
    by_score: bool = False  # whether to use the validation score instead of the training loss


class ShuffledRows:
    """Rows in memory, shuffled before every epoch, from the order of the epoch before.

    Parameters
    ----------
    data : Data
    order : ndarray of intp
        The rows to train on.
    random_state : RandomState or None
        Used to shuffle the rows. None disables shuffling.

    Attributes
    ----------
    n_rows : int
        Number of rows in an epoch.
    sample : (Data, ndarray of intp)
        Some of the rows, or all of them, to measure the network by.
    """

    def __init__(self, data, order, random_state):
        self.sample = data, order
        self.n_rows = len(order)
        self._order = order.copy()
        self._random_state = random_state

    def epoch(self, descent, batch_size, deadline):
        """Train for an epoch; see `Descent.epoch`."""
        if self._random_state is not None:
            _core.shuffle(self._order, self._random_state._bit_generator)
        return descent.epoch(self.sample[0], self._order, batch_size, deadline)

    def gradient_over(self, network, alpha):
        """Return a function that writes the gradient over all rows and returns the loss."""
        return network.passes.gradient_over(self.sample[0], alpha)

    def write(self, parts):
        """Add the order of the rows to the parts of a checkpoint."""
        parts.array("order", self._order.astype(np.int64))

    def read(self, fields):
        """Take over the order of the rows from a checkpoint."""
        order = fields.array("order", "i8", self._order.shape).astype(np.intp)
        if not np.array_equal(np.sort(order), np.sort(self._order)):
            raise fields.error("order", "must be one of the rows of the fit")
        self._order = order


def train_epochs(descent, rows, history, stopping, hooks, *, batch_size, max_iter):
    """Train for up to ``max_iter`` epochs and return the ``stop_reason_``.

    Parameters
    ----------
    descent : Descent
    rows : ShuffledRows or StreamedRows
    history : History
        Extended in place. `History.begin` must have been called, or it is one to go on from.
    stopping : Stopping
        With ``by_score``, the best weights are restored at the end.
    hooks : TrainingHooks
    batch_size : int
    max_iter : int
    """
    reason = None
    try:
        with core_in_use:
            while reason is None and history.n_epochs < max_iter:
                began = hooks.begin_epoch()
                loss, n_seen = rows.epoch(descent, batch_size, hooks.deadline)
                # With early stopping, the best weights so far are restored instead.
                if not math.isfinite(loss) and history.best_params is None:
                    when = f"The loss was {loss} in epoch {history.n_epochs + 1}"
                    raise Divergence(when, descent.network.dtype)
                history.n_rows_seen += n_seen
                rate = descent.learning_rate
                reason = hooks.end_epoch(
                    history, began, epoch=history.n_epochs + 1, max_iter=max_iter, loss=loss,
                    learning_rate=rate, is_whole=n_seen == rows.n_rows,
                )  # fmt: skip
                if not math.isfinite(loss):
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
                    hooks.say(f"No progress. Setting learning rate to {descent.rate:g}")
                is_stuck = history.n_bad_epochs > stopping.n_iter_no_change
                if is_stuck and _at_plateau(descent, history, stopping, hooks.say):
                    reason = reason or "converged"
                # At an end that follows from the training, the caller writes the last checkpoint.
                may_go_on = reason in (None, "callback", "max_seconds")
                if hooks.checkpoint and may_go_on and n_seen == rows.n_rows:
                    hooks.checkpoint()
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
        reason = "interrupted"
    if history.best_params is not None:
        descent.network.restore(history.best_params)
    elif not descent.is_finite:
        when = "The gradient or its square has overflowed in the solver"
        raise Divergence(when, descent.network.dtype)
    check_finite(descent.network, rows.sample[0])
    return reason or "max_iter"


def _judge_epoch(network, history, stopping):
    """Compare the last epoch with the best one so far.

    ``tol`` decides whether it counts as an improvement. The best value and the best weights are
    updated regardless of ``tol``.
    """
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
    """Reduce the learning rate if the schedule does so; return whether to stop instead."""
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
