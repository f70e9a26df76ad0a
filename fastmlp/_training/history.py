"""The training history, epoch by epoch."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Epoch(NamedTuple):
    """The results of an epoch (for 'lbfgs', an iteration), passed to callbacks as `state`.

    Parameters
    ----------
    epoch : int
        Number of the epoch in this call of `fit`, starting at 1.
    max_iter : int
        Maximum number of epochs.
    loss : float
        Training loss, measured on each mini-batch before its step.
    val_loss, val_score : float or None
        Loss and score on the validation set, or None without one. The loss excludes penalties.
    learning_rate : float or None
        Learning rate of the epoch's last step; None for 'lbfgs'.
    seconds : float
        Duration of the epoch in seconds, including validation.

    Examples
    --------
    Stop training once the loss is small enough:

    >>> from sklearn.datasets import load_iris
    >>> from fastmlp import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> def good_enough(estimator, state):
    ...     return state.loss < 0.5
    >>> classifier = MLPClassifier(callbacks=good_enough, random_state=0).fit(X, y)
    >>> classifier.loss_ < 0.5 < classifier.loss_curve_[-2]
    True
    """

    epoch: int
    max_iter: int
    loss: float
    val_loss: float | None
    val_score: float | None
    learning_rate: float | None
    seconds: float


# What a model file has of a history, besides the columns.
CURVES = ("loss_curve", "validation_scores")
NUMBERS = ("best_loss", "best_validation_score", "_best")
COUNTS = ("n_bad_epochs", "n_rows_seen", "n_epochs", "best_epoch")


@dataclass
class History:
    """The record of the training so far. A warm start continues it."""

    columns: dict = field(default_factory=dict)  # name: list with a value for each epoch
    # The next two have only the epochs of mini-batch solvers.
    loss_curve: list = field(default_factory=list)
    validation_scores: list = field(default_factory=list)
    best_loss: float = np.inf
    best_validation_score: float = -np.inf
    best_params: np.ndarray | None = None
    n_bad_epochs: int = 0
    n_rows_seen: int = 0
    n_epochs: int = 0  # in the last call of fit
    best_epoch: int = 0  # in the last call of fit, by the validation score or else by the loss
    _best: float = np.inf  # its loss, or its negative score

    def begin(self):
        """Start counting the epochs of a new call of fit."""
        self.n_epochs = self.best_epoch = 0
        self._best = np.inf
        # The best weights so far were chosen with another validation split. If this call finds no
        # better ones, the weights of its last epoch are kept.
        self.best_params = None

    def add(self, epoch, measured):
        """Append an epoch and further measurements."""
        self.n_epochs = epoch.epoch
        value = epoch.loss if epoch.val_score is None else -epoch.val_score
        if value < self._best:
            self.best_epoch, self._best = epoch.epoch, value
        n_before = max(map(len, self.columns.values()), default=0)
        of_epoch = ("loss", "val_loss", "val_score", "learning_rate", "seconds")
        values = {name: getattr(epoch, name) for name in of_epoch} | measured
        for name, value in values.items():
            if value is not None and name not in self.columns:
                self.columns[name] = [_unknown(value)] * n_before
        for name, column in self.columns.items():
            value = values.get(name)
            column.append(_unknown(column[-1]) if value is None else value)
        if epoch.learning_rate is not None:
            self.loss_curve.append(epoch.loss)
            if epoch.val_score is not None:
                self.validation_scores.append(epoch.val_score)

    def judge(self, value, best, tol, *, larger_is_better):
        """Count the epochs since ``value`` last improved on ``best`` by at least ``tol``.

        NaN never counts as an improvement.
        """
        better = value >= best + tol if larger_is_better else value <= best - tol
        self.n_bad_epochs = 0 if better else self.n_bad_epochs + 1

    def write(self, parts):
        """Add the history to the parts of a model file."""
        parts.add(
            columns=[*self.columns], **{name: getattr(self, name) for name in (*NUMBERS, *COUNTS)}
        )
        for i, column in enumerate(self.columns.values()):
            parts.array(f"columns.{i}", np.array(column, dtype=np.float64))
        for name in CURVES:
            parts.array(name, np.array(getattr(self, name), dtype=np.float64))

    @classmethod
    def read(cls, fields):
        """Return the history of a model file."""
        history = cls()
        for i, name in enumerate(fields.texts("columns")):
            n_axes = len(fields.shape(f"columns.{i}"))
            shape = (None,) * min(max(n_axes, 1), 2)
            column = fields.array(f"columns.{i}", "f8", shape, finite=False).tolist()
            history.columns[name] = column if n_axes < 2 else list(map(tuple, column))
        for name in CURVES:
            setattr(history, name, fields.array(name, "f8", (None,), finite=False).tolist())
        for name in NUMBERS:
            setattr(history, name, fields.number(name, finite=False))
        for name in COUNTS:
            setattr(history, name, fields.whole(name))
        return history

    def _lists(self):
        curves = {"loss_curve": self.loss_curve, "validation_scores": self.validation_scores}
        return curves | {("columns", name): column for name, column in self.columns.items()}

    def snapshot(self):
        return vars(self).copy(), {key: len(numbers) for key, numbers in self._lists().items()}

    def restore(self, snapshot):
        values, lengths = snapshot
        vars(self).update(values)
        for key, numbers in self._lists().items():
            del numbers[lengths.get(key, 0) :]
        for name in [name for name in self.columns if ("columns", name) not in lengths]:
            del self.columns[name]


def _unknown(like):
    """Return NaN, or a tuple of NaN if ``like`` is a tuple."""
    return (np.nan,) * len(like) if isinstance(like, tuple) else np.nan
