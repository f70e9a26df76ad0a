"""Training a network: mini-batches, schedules, stopping, L-BFGS."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.optimize

from fastmlp import _core
from fastmlp._core import REGULARIZER, SOLVER, SOLVERS
from fastmlp._layout import FOR_GRADIENT, ROWS_IN_PART, aligned_zeros
from fastmlp._schedules import factors
from fastmlp._threads import Trial, blas_in_one_thread, core_in_use

# The core returns this often, at a mini-batch's end, so that Ctrl-C works in a long epoch.
SECONDS_IN_CORE = 0.05

SMALLEST_ADAPTIVE_RATE = 1e-6


class Epoch(NamedTuple):
    """What is known after an epoch (of 'lbfgs': an iteration); callbacks get it as `state`.

    Parameters
    ----------
    epoch : int
        From 1, in this call of `fit`.
    max_iter : int
        The last one.
    loss : float
        Of the training rows, measured on each mini-batch before its step.
    val_loss, val_score : float or None
        Of the validation rows, if there are any; the loss without penalty.
    learning_rate : float or None
        Of this epoch; None for 'lbfgs'.
    seconds : float
        That this epoch took, validation included.

    Examples
    --------
    End the training at a loss that is small enough:

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


@dataclass
class History:
    """What training has seen so far; a warm start goes on with it."""

    columns: dict = field(default_factory=dict)  # a list for each column, a number for each epoch
    loss_curve: list = field(default_factory=list)  # of the mini-batch solvers' epochs only,
    validation_scores: list = field(default_factory=list)  # and likewise their scores
    best_loss: float = np.inf
    best_validation_score: float = -np.inf
    best_params: np.ndarray | None = None
    n_bad_epochs: int = 0
    n_rows_seen: int = 0
    n_epochs: int = 0  # of the last call
    best_epoch: int = 0  # of the last call, by the validation score or else by the loss
    _best: float = np.inf  # its loss, or its score with the other sign

    def begin(self):
        """Begin to count the epochs of a call anew."""
        self.n_epochs = self.best_epoch = 0
        self._best = np.inf
        # The best weights so far belong to another split; if none are better, the last are kept.
        self.best_params = None

    def add(self, epoch, measured):
        """Take in an epoch, and what else has been measured."""
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
        """Count the epochs since ``value`` last got better than ``best`` by ``tol``.

        NaN is never better.
        """
        better = value >= best + tol if larger_is_better else value <= best - tol
        self.n_bad_epochs = 0 if better else self.n_bad_epochs + 1

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
    """NaN, or a tuple of them where others are."""
    return (np.nan,) * len(like) if isinstance(like, tuple) else np.nan


class Divergence(ValueError):
    """The loss, the weights or the outputs have stopped being finite."""

    def __init__(self, when, dtype, remedy="A lower learning_rate_init"):
        range_of_float32 = ""
        if dtype == np.float32:
            range_of_float32 = " dtype='float64' holds numbers beyond 3e38, where float32 ends."
        super().__init__(
            "Solver produced non-finite parameter weights. The input data may contain large "
            f"values and need to be preprocessed. ({when}. {remedy}, scaled features (by "
            "sklearn.preprocessing.StandardScaler for instance), clipping of outliers and, in "
            f"regression, scaled targets usually help.{range_of_float32})"
        )


class Watch(NamedTuple):
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


SETTINGS = {
    "schedule": "constant", "schedule_params": {"warmup": 0}, "power_t": 0.5, "n_epochs": 200,
    "learning_rate": 1e-3, "momentum": 0.9, "nesterov": True, "beta_1": 0.9, "beta_2": 0.999,
    "epsilon": 1e-8, "amsgrad": False, "momentum_decay": 0.004, "rho": 0.9, "eta_minus": 0.5,
    "eta_plus": 1.2, "smallest_step": 1e-6, "largest_step": 50.0,
    "l1": 0.0, "l2": 0.0, "weight_decay": 0.0, "clip_value": 0.0, "clip_norm": 0.0, "max_norm": 0.0,
    "averaging": 0.0,
    "dropout": (), "input_noise": 0.0,
}  # fmt: skip


class Descent:
    """A mini-batch solver at work on a network, with the state that it carries along.

    With averaging the network holds the averaged weights, and the solver's own are here.

    Parameters
    ----------
    network : Network
        Moved in place.
    name : str
        Of SOLVERS.
    settings : dict
        Some of SETTINGS, which has the defaults: what the solver, the schedule, the regulariser
        ('l1' to 'averaging', 0 for none) and the perturbation of layers ('dropout', a rate for the
        inputs and for each hidden layer, and 'input_noise') need.
    seed : int
        Of dropout and noise.
    """

    def __init__(self, network, name, settings, seed=0):
        kind, n_states = SOLVERS[name]
        self.network = network
        self.name = name
        self._settings = {}
        self._solver = np.zeros(1, dtype=SOLVER)
        self._solver["kind"] = kind
        self._solver["momentum_product"] = 1
        settings = SETTINGS | settings
        n_states += settings["amsgrad"]
        self._state = aligned_zeros((n_states, network._flat.size), network.dtype)
        self._regularizer = np.zeros(1, dtype=REGULARIZER)
        self._n_epochs = 0.0  # how many the schedule has seen
        self._n_bad_epochs = 0  # since the rate was lowered
        # With averaging: the solver's own weights, and the average that it has left behind.
        n_own = network._flat.size * bool(settings["averaging"])
        self._own = aligned_zeros(n_own, network.dtype)
        self._left = np.zeros(n_own, network.dtype)
        self._forget_memory()
        self.change(settings, seed)

    def change(self, settings, seed=0):
        """Take over what differs from the settings so far: a lowered rate stays where it is."""
        settings = SETTINGS | settings
        self._regularizer["seed"] = seed
        for name, value in settings.items():
            if name in SOLVER.names and value != self._settings.get(name):
                self._solver[name] = value
            if name in REGULARIZER.names:
                self._regularizer[name] = value
        if settings["learning_rate"] != self._settings.get("learning_rate"):
            self._rate = settings["learning_rate"]
        # An epsilon that rounds to 0 would divide 0 by 0 where a gradient has always been 0.
        smallest = float(np.finfo(self.network.dtype).tiny)
        self._solver["epsilon"] = max(settings["epsilon"], smallest)
        in_memory = ("dropout", "input_noise", "clip_norm")
        if any(settings[name] != self._settings.get(name) for name in in_memory):
            self._forget_memory()
        self._settings = settings

    def goes_on_with(self, name, settings):
        """Whether this state is what a solver with these settings would have."""
        settings = SETTINGS | settings
        kept = ("amsgrad", "averaging")
        return name == self.name and all(
            bool(settings[key]) == bool(self._settings[key]) for key in kept
        )

    def _forget_memory(self):
        self._gradient = self._work = self._trial = None

    def __getstate__(self):
        state = vars(self).copy()
        del state["_gradient"], state["_work"], state["_trial"]
        return state

    def __setstate__(self, state):
        vars(self).update(state)
        self._copy_arrays()
        self._forget_memory()

    def copy_for(self, network):
        """The same solver with a state of its own, at work on a copy of the network.

        The memory of an epoch goes along. (An epoch that goes wrong may leave NaN in it.)
        """
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin.network = network
        twin._copy_arrays()
        self._forget_memory()
        return twin

    def _copy_arrays(self):
        for name in ("_left", "_solver", "_regularizer"):
            setattr(self, name, getattr(self, name).copy())
        for name in ("_state", "_own"):
            numbers = getattr(self, name)
            setattr(self, name, aligned_zeros(numbers.shape, numbers.dtype))
            getattr(self, name)[...] = numbers

    @property
    def schedule(self):
        return self._settings["schedule"]

    @property
    def seed(self):
        """0 if it has needed none."""
        return int(self._regularizer["seed"][0])

    @property
    def learning_rate(self):
        """That of the last step."""
        return float(self._solver["learning_rate"][0])

    @property
    def is_finite(self):
        return bool(np.isfinite(self._state).all() and np.isfinite(self._own).all())

    def epoch(self, data, order, batch_size, deadline=np.inf):
        """One pass over the rows ``order``, or as far as the deadline lets it come.

        Returns
        -------
        loss : float
            Measured before each step.
        n_rows : int
            How many rows have been seen.
        """
        network = self.network
        self._take_weights()
        n_rows = min(batch_size, ROWS_IN_PART)  # what threads share out at a time
        trial = self._trial_of(network._candidates(n_rows), network._flops(batch_size))
        most_threads = trial.candidates[0]
        work = self._memory(n_rows, most_threads, whole=n_rows < batch_size, dense=data.is_dense)
        row_loss = np.zeros(-(-work.capacity // work.block_rows))
        penalty = np.zeros(len(network._blocks))
        rates = self._rates(-(-len(order) // batch_size))
        params, average = network._flat, network._flat[:0]
        if self._settings["averaging"]:
            params, average = self._own, network._flat
        start = 0
        while start < len(order):
            n_threads, n_steps = trial.next(SECONDS_IN_CORE)
            rows = order[start : start + n_steps * batch_size]
            first = start // batch_size
            began = time.perf_counter()
            _core.train(
                work.layers, network._blocks, *network._core_loss,
                params, average, network._mask, self._gradient, self._state, work.memory,
                *data.arrays, rows, batch_size, work.capacity, work.block_rows,
                rates[first : first + n_steps], self._regularizer, self._solver,
                row_loss, penalty, np.zeros_like(penalty), n_threads,
            )  # fmt: skip
            now = time.perf_counter()
            trial.saw(n_threads, (now - began) / -(-len(rows) // batch_size), now)
            start += len(rows)
            loss = float(row_loss.sum() + penalty.sum()) / start
            if not np.isfinite(loss) or now >= deadline:
                break
        self._left[...] = average
        return loss, start

    def _take_weights(self):
        """Begin with the network's weights, where anybody may have set some."""
        network = self.network
        network._remove_missing()
        if self._settings["max_norm"]:
            network._shorten(self._settings["max_norm"])
        if len(self._own) and not np.array_equal(network._flat, self._left):
            self._own[...] = network._flat

    def _rates(self, n_steps):
        """The learning rate of every step of an epoch."""
        settings = self._settings
        return self._rate * factors(
            settings["schedule"],
            settings["schedule_params"],
            self._n_epochs,
            n_steps,
            n_steps,
            settings["n_epochs"],
        )

    def _trial_of(self, candidates, flops):
        """What is known about these numbers of threads, for steps of so many operations."""
        if self._trial is None or self._trial.candidates != candidates:
            self._trial = Trial(candidates, guess=flops / 1e9)  # slow, to begin with
        return self._trial

    def _memory(self, n_rows, n_threads, *, whole, dense):
        """A workspace for some rows, and the gradient: ``whole``, or a block for each thread."""
        network = self.network
        room = (n_threads, network._largest_block())
        if whole or self._settings["clip_norm"]:
            room = (1, network._flat.size)
        if self._gradient is None or self._gradient.shape != room:
            self._gradient = aligned_zeros(room, network.dtype)
        if self._work is None or self._work[0] != (n_rows, dense):
            perturbation = self._settings["dropout"], self._settings["input_noise"]
            layers = network._table(FOR_GRADIENT, *perturbation)
            work = network._workspace(n_rows, layers, dense=dense)
            self._work = (n_rows, dense), work
        return self._work[1]

    def end_epoch(self, n_rows_seen, has_got_better):
        """Let the schedules act that follow the training; return whether 'plateau' has."""
        self._n_epochs += 1
        settings = self._settings
        if self.schedule == "invscaling":
            with np.errstate(over="ignore"):  # to infinity, so that the rate becomes 0
                fall = np.float64(n_rows_seen + 1) ** settings["power_t"]
            self._rate = settings["learning_rate"] / fall
        if self.schedule != "plateau" or self._rate <= SMALLEST_ADAPTIVE_RATE:
            return False
        self._n_bad_epochs = 0 if has_got_better else self._n_bad_epochs + 1
        if self._n_bad_epochs <= settings["schedule_params"]["patience"]:
            return False
        self._rate *= settings["schedule_params"]["factor"]
        self._n_bad_epochs = 0
        return True

    def lower_rate(self):
        """What 'adaptive' does about a plateau: return the new rate, or None at the end."""
        if self.schedule != "adaptive" or self._rate <= SMALLEST_ADAPTIVE_RATE:
            return None
        self._rate /= 5
        return self._rate


def train_epochs(
    descent, data, order, random_state, history, stopping, watch, *, batch_size, max_iter,
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
    watch : Watch
    """
    history.begin()
    order = order.copy()
    reason = None
    try:
        with core_in_use:
            while reason is None and history.n_epochs < max_iter:
                began = watch.begin_epoch()
                if random_state is not None:
                    _core.shuffle(order, random_state._bit_generator)
                loss, n_seen = descent.epoch(data, order, batch_size, watch.deadline)
                # With early stopping there are good weights to go back to.
                if not np.isfinite(loss) and history.best_params is None:
                    when = f"The loss was {loss} in epoch {history.n_epochs + 1}"
                    raise Divergence(when, descent.network.dtype)
                history.n_rows_seen += n_seen
                rate = descent.learning_rate
                reason = watch.end_epoch(
                    history, began, epoch=history.n_epochs + 1, max_iter=max_iter, loss=loss,
                    learning_rate=rate, is_whole=n_seen == len(order),
                )  # fmt: skip
                if not np.isfinite(loss):
                    warnings.warn(
                        f"Training has diverged: the loss was {loss} in epoch {history.n_epochs}. "
                        "The weights of the best validation score are kept. A lower "
                        "learning_rate_init or scaled features usually help.",
                        RuntimeWarning,
                        stacklevel=2,
                    )
                    reason = "failed"
                _judge_epoch(descent.network, history, stopping)
                if descent.end_epoch(history.n_rows_seen, history.n_bad_epochs == 0):
                    history.n_bad_epochs = 0
                    watch.say(f"No progress. Setting learning rate to {descent._rate:g}")
                is_stuck = history.n_bad_epochs > stopping.n_iter_no_change
                if is_stuck and _at_plateau(descent, history, stopping, watch.say):
                    reason = reason or "converged"
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
        reason = "interrupted"
    if history.best_params is not None:
        descent.network.restore(history.best_params)
    elif not descent.is_finite:
        when = "The gradient or its square has overflowed in the solver"
        raise Divergence(when, descent.network.dtype)
    _check_finite(descent.network, data)
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


def _check_finite(network, data):
    if not network._is_finite_for(data.features):
        when = "The weights after the last step, or the outputs that they lead to, are not finite"
        raise Divergence(when, network.dtype)


class Minimum(NamedTuple):
    """What L-BFGS came to; ``failure`` is SciPy's message, or None."""

    loss: float
    n_iter: int
    reason: str
    failure: str | None = None


# By SciPy's status; there are others for what it cannot do.
REASONS = {0: "converged", 1: "max_iter"}


def minimize_lbfgs(network, data, history, watch, *, alpha, max_iter, max_fun, tol):
    """Move the network to a minimum of the loss over all rows by SciPy's L-BFGS-B.

    The vector that SciPy sees is the network's flat buffer, padding included: its gradient is 0,
    so that it stays 0.
    """
    network._remove_missing()
    gradient = aligned_zeros(network._flat.shape, network.dtype)
    accepted = network._flat.astype(np.float64)
    best = Minimum(np.inf, 0, "interrupted")
    reason = raised = None
    history.begin()
    began = watch.begin_epoch()

    def loss_and_gradient(params):
        network._flat[...] = params
        loss = network._full_gradient(data, gradient, alpha)
        if not np.isfinite(loss):
            when = f"The loss was {loss} after iteration {best.n_iter}"
            raise Divergence(when, network.dtype, "A larger alpha")
        return loss, gradient.astype(np.float64)

    def after_iteration(intermediate_result):
        nonlocal accepted, best, began, reason, raised
        accepted = intermediate_result.x.copy()
        best = Minimum(float(intermediate_result.fun), best.n_iter + 1, "interrupted")
        network._flat[...] = accepted
        try:
            reason = watch.end_epoch(
                history, began, epoch=best.n_iter, max_iter=max_iter, loss=best.loss,
                learning_rate=None,
            )  # fmt: skip
            began = None if reason else watch.begin_epoch()
        except StopIteration as error:  # a callback's, which SciPy would take for a request to end
            raised = error
        if reason or raised:
            raise StopIteration

    try:
        with core_in_use, blas_in_one_thread:  # SciPy's own vectors are short
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
        warnings.warn("Training interrupted by user.", stacklevel=2)
    network._flat[...] = accepted
    _check_finite(network, data)
    return best
