"""`Member`: one network of an ensemble, trained epoch by epoch."""

import time

import numpy as np

from fastmlp import _core
from fastmlp._engine.network import Network
from fastmlp._estimators.parameter_values import random_state_from, written
from fastmlp._tabular.selection import log_loss, squared_error
from fastmlp._training.descent import Descent

SMALLEST_BATCH = 16
FEWEST_STEPS_IN_EPOCH = 8


class Deadline:
    """The time at which the training ends. It may be brought forward by another thread.

    Parameters
    ----------
    seconds : float or None
        The time that is left; None for no limit.
    """

    def __init__(self, seconds=None):
        self.at = np.inf if seconds is None else time.perf_counter() + seconds

    @property
    def is_over(self):
        return self <= time.perf_counter()

    def __le__(self, now):
        """Whether it is over at a time, so that `Descent` hears of a changed end in an epoch."""
        return self.at <= now

    def end(self):
        """End the training as soon as possible."""
        self.at = -np.inf

    @property
    def was_brought_forward(self):
        return self.at == -np.inf

    def __getstate__(self):  # another machine has another clock
        return {"seconds": self.at - time.perf_counter()}

    def __setstate__(self, state):
        self.__init__(state["seconds"])


class MemberRows:
    """The rows that a network is trained on, in a new order in every epoch, and judged by.

    Parameters
    ----------
    data : Data
    split : Split
    random_state : RandomState

    Attributes
    ----------
    n_rows : int
        The number of rows to train on.
    """

    def __init__(self, data, split, random_state):
        self._data, self._selection, self._random_state = data, split.selection, random_state
        self._order = split.training.copy()
        self.n_rows = len(self._order)

    def epoch(self, descent, batch_size, deadline):
        """Train for an epoch; see `Descent.epoch`."""
        _core.shuffle(self._order, self._random_state._bit_generator)
        return descent.epoch(self._data, self._order, batch_size, deadline)

    def loss(self, network, loss_of_outputs):
        """Return the mean loss of a network on the selection rows."""
        data, rows = self._data, self._selection
        outputs = network.passes.evaluate(data, rows)[0]
        return loss_of_outputs(data.y[rows], outputs, data.sample_weight[rows])


class Member:
    """A network that keeps the weights of the epoch with the least loss on its selection rows.

    Parameters
    ----------
    settings : Settings
    seed : int
        Random seed of the weights, the order of the rows and dropout.
    maps : InputMaps
        The maps of the table, for the input layer.
    n_outputs : int
    is_regression : bool
        Whether the loss is the squared error, and not the log loss.

    Attributes
    ----------
    n_epochs : int
        Number of epochs so far.
    loss : float
        The least mean loss on the selection rows; infinity before the first epoch.
    seconds : float
        Time spent on training.
    is_done : bool
        Whether more epochs are of no use.
    """

    def __init__(self, settings, seed, maps, n_outputs, *, is_regression):
        self.settings = settings
        self.random_state = np.random.RandomState(seed)
        self.loss_of_outputs = squared_error if is_regression else log_loss
        self.network = Network(
            (maps.n_columns(settings), *settings.hidden_layer_sizes, n_outputs),
            settings.activation,
            "squared_error" if is_regression else "log_loss",
            loss_params=None if is_regression else {"label_smoothing": settings.label_smoothing},
            layer_norm=settings.layer_norm,
            learned_activation=settings.learned_activation,
            parametrization=settings.parametrization,
            input_layer=maps.input_layer(settings),
            init="he_normal" if settings.parametrization == "standard" else None,
            random_state=self.random_state,
        )
        self.descent = Descent(self.network, "adamw", settings.of_descent(), seed)
        self.n_epochs, self.best_epoch = 0, 0
        self.loss, self.best = np.inf, self.network.snapshot()
        self.seconds, self.is_done = 0.0, False

    def train(self, rows, epochs, deadline, n_threads):
        """Train until an epoch, until the loss no longer improves, or until the deadline.

        Parameters
        ----------
        rows : MemberRows or SharedMemberRows
        epochs : (int, int)
            The number of epochs in total: at least, whatever the deadline is, and at most.
        deadline : Deadline
        n_threads : int or None

        Returns
        -------
        self
        """
        began = time.perf_counter()
        self.network.n_threads = n_threads
        batch_size = min(self.settings.batch_size, rows.n_rows // FEWEST_STEPS_IN_EPOCH)
        batch_size = min(max(batch_size, SMALLEST_BATCH), rows.n_rows)
        fewest, most = epochs
        while self.n_epochs < (fewest if deadline.is_over else most) and not self.is_done:
            loss, _ = rows.epoch(self.descent, batch_size, deadline)
            self.n_epochs += 1
            self._judge(loss, rows)
        self.seconds += time.perf_counter() - began
        return self

    def _judge(self, training_loss, rows):
        """Keep the weights if the loss on the selection rows is the least so far."""
        loss = np.inf
        if np.isfinite(training_loss):
            loss = rows.loss(self.network, self.loss_of_outputs)
        if loss < self.loss:
            self.loss, self.best_epoch, self.best = loss, self.n_epochs, self.network.snapshot()
        self.is_done = (
            not np.isfinite(loss)
            or self.n_epochs - self.best_epoch >= self.settings.patience
            or self.n_epochs >= self.settings.n_epochs
        )

    def write(self, parts):
        """Add the state of the training to the parts of a model file."""
        parts.add(
            n_epochs=self.n_epochs, best_epoch=self.best_epoch, loss=self.loss,
            seconds=self.seconds, is_done=self.is_done,
        )  # fmt: skip
        parts.array("best", self.best)
        if not self.is_done:
            parts.array("weights", self.network.parameters.flat)
            parts.add(random_state=written(self.random_state)["RandomState"])
            self.descent.write(parts.part("descent"))

    def read(self, fields):
        """Take over the state of a member with the same settings from a model file."""
        flat = self.network.parameters.flat
        self.n_epochs, self.best_epoch = fields.whole("n_epochs"), fields.whole("best_epoch")
        self.loss, self.seconds = fields.number("loss", finite=False), fields.number("seconds", 0)
        self.best = fields.array("best", flat.dtype, flat.shape).copy()
        self.is_done = fields.flag("is_done")
        if not self.is_done:
            flat[...] = fields.array("weights", flat.dtype, flat.shape)
            state = fields.value("random_state", "a state", lambda it: True)
            self.random_state = random_state_from(state)
            self.descent.read(fields.part("descent"))

    def finish(self):
        """Return the network with the best weights. The state of the training is given up."""
        self.network.restore(self.best)
        self.network.n_threads = None
        self.descent = self.best = None
        return self.network
