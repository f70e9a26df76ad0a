"""Training steps of the mini-batch solvers: solver state, settings and learning rate."""

import math
import time

import numpy as np

from fastmlp import _core
from fastmlp._core import REGULARIZER, SOLVER, SOLVERS
from fastmlp._engine.layout import (
    FOR_GRADIENT,
    ROWS_IN_PART,
    aligned_copy,
    aligned_zeros,
    ceil_div,
)
from fastmlp._engine.threads import ThreadTuner
from fastmlp._training.parts import Part, StepsInParts
from fastmlp._training.schedules import SCHEDULES_OF_FACTORS, factors

# The core returns about this often, after a mini-batch, so that Ctrl-C works in a long epoch.
SECONDS_IN_CORE = 0.05

SMALLEST_ADAPTIVE_RATE = 1e-6

SETTINGS = {
    "schedule": "constant", "schedule_params": {"warmup": 0}, "power_t": 0.5, "n_epochs": 200,
    "learning_rate": 1e-3, "momentum": 0.9, "nesterov": True, "beta_1": 0.9, "beta_2": 0.999,
    "epsilon": 1e-8, "amsgrad": False, "momentum_decay": 0.004, "rho": 0.9, "eta_minus": 0.5,
    "eta_plus": 1.2, "smallest_step": 1e-6, "largest_step": 50.0,
    "l1": 0.0, "l2": 0.0, "weight_decay": 0.0, "clip_value": 0.0, "clip_norm": 0.0, "max_norm": 0.0,
    "averaging": 0.0, "bias_rate": 1.0, "scale_rate": 1.0, "activation_rate": 1.0,
    "embedding_rate": 1.0, "dropout": (), "input_noise": 0.0, "dropout_schedule": "constant",
    "weight_decay_schedule": "constant",
}  # fmt: skip


# Settings that decide which arrays the state has.
KEPT = ("amsgrad", "averaging")

# What steps change in the core's description of the solver.
DYNAMIC = ("t", "learning_rate", *(
    name for name in SOLVER.names if name not in ("kind", "t", *SETTINGS)
))  # fmt: skip

# The counts of a `Descent`, and the least that each can be.
COUNTS = {"n_steps": 0, "steps_in_epoch": 1, "n_bad_epochs": 0}


class Descent:
    """A mini-batch solver that trains a network, with the solver's state.

    With averaging, the network holds the averaged weights, and this object holds the solver's
    weights.

    Parameters
    ----------
    network : Network
        The network to train. It is updated in place.
    name : str
        Name of the solver, a key of SOLVERS.
    settings : dict
        Settings of the solver, the schedule, the regularizer ('l1' to 'averaging', 0 for none),
        the rates of kinds of parameters ('bias_rate' to 'embedding_rate', as multiples of the
        learning rate) and the perturbation of layers ('dropout', with a rate for the inputs and
        for each hidden layer, and 'input_noise'). SETTINGS has the defaults.
    seed : int
        Random seed of dropout and noise.
    """

    def __init__(self, network, name, settings, seed=0):
        kind, n_states = SOLVERS[name]
        self.network = network
        self.name = name
        self.settings = {}
        self._solver = np.zeros(1, dtype=SOLVER)
        self._solver["kind"] = kind
        self._solver["momentum_product"] = 1
        settings = SETTINGS | settings
        n_states += settings["amsgrad"]
        self._state = aligned_zeros((n_states, network.parameters.flat.size), network.dtype)
        self._regularizer = np.zeros(1, dtype=REGULARIZER)
        self._regularizer["is_ntk"] = network.parametrization == "ntk"
        # The number of steps so far, and the number of steps that the schedule counts as an epoch.
        self._n_steps, self._steps_in_epoch = 0, 1
        self._n_bad_epochs = 0  # since the learning rate was last reduced
        # With averaging: the solver's weights, and a copy of the last average, which shows whether
        # other weights have been set in the meantime.
        n_own = network.parameters.flat.size * bool(settings["averaging"])
        self._own = aligned_zeros(n_own, network.dtype)
        self._left = np.zeros(n_own, network.dtype)
        self._forget_memory()
        self.change(settings, seed)

    def change(self, settings, seed=0):
        """Apply changed settings.

        The current learning rate, which a schedule may have reduced, is kept unless the setting
        'learning_rate' itself has changed.
        """
        settings = SETTINGS | settings
        if settings == self.settings and seed == self.seed:
            return
        self._regularizer["seed"] = seed
        for name, value in settings.items():
            if name in SOLVER.names and value != self.settings.get(name):
                self._solver[name] = value
            if name in REGULARIZER.names:
                self._regularizer[name] = value
        if settings["learning_rate"] != self.settings.get("learning_rate"):
            self.rate = settings["learning_rate"]
        # If epsilon were rounded to 0, a gradient that has always been 0 would give 0 / 0.
        smallest = float(np.finfo(self.network.dtype).tiny)
        self._solver["epsilon"] = max(settings["epsilon"], smallest)
        in_memory = ("dropout", "input_noise", "clip_norm")
        if any(settings[name] != self.settings.get(name) for name in in_memory):
            self._forget_memory()
        self.settings = settings

    def is_compatible_with(self, name, settings):
        """Whether the solver's state can be used with this solver and these settings."""
        settings = SETTINGS | settings
        return name == self.name and all(
            bool(settings[key]) == bool(self.settings[key]) for key in KEPT
        )

    def write(self, parts):
        """Add the state of the solver to the parts of a model file."""
        kept = {name: bool(self.settings[name]) for name in KEPT}
        dynamic = {name: self._solver[name][0] for name in DYNAMIC}
        counts = {name: getattr(self, f"_{name}") for name in COUNTS}
        parts.add(
            name=self.name, seed=self.seed, rate=self.rate, settings=kept,
            learning_rate_init=self.settings["learning_rate"], **dynamic, **counts,
        )  # fmt: skip
        parts.array("state", self._state)
        if len(self._own):
            parts.array("own", self._own)
            parts.array("left", self._left)

    def read(self, fields):
        """Take over the state of a solver from a model file."""
        fields.choice("name", [self.name])
        kept = fields.part("settings")
        for name in KEPT:
            if kept.flag(name) != bool(self.settings[name]):
                raise kept.error(name, f"must be {bool(self.settings[name])}")
        dtype = self.network.dtype
        state = fields.array("state", dtype, self._state.shape)
        own, left = self._own, self._left
        if len(own):
            own, left = (fields.array(name, dtype, own.shape) for name in ("own", "left"))
        dynamic = {name: fields.number(name, finite=False) for name in DYNAMIC}
        dynamic["t"] = fields.whole("t")
        counts = {name: fields.whole(name, least) for name, least in COUNTS.items()}
        self.change(self.settings, fields.whole("seed"))
        self.rate = fields.number("rate", 0, finite=False)
        # A changed learning rate counts from the next call of `change` on.
        self.settings = self.settings | {"learning_rate": fields.number("learning_rate_init", 0)}
        self._state, self._own, self._left = aligned_copy(state), aligned_copy(own), left.copy()
        for name, value in dynamic.items():
            self._solver[name] = value
        for name, value in counts.items():
            setattr(self, f"_{name}", value)

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
        """Copy the solver and its state, to train a copy of the network.

        The copy takes over the working memory of an epoch. This solver gives it up, because an
        epoch that fails may leave NaN in it.
        """
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin.network = network
        twin._copy_arrays()
        self._forget_memory()
        return twin

    def _copy_arrays(self):
        self._solver, self._regularizer = self._solver.copy(), self._regularizer.copy()
        self._state = aligned_copy(self._state)
        if len(self._own):
            self._own, self._left = aligned_copy(self._own), self._left.copy()

    @property
    def schedule(self):
        return self.settings["schedule"]

    @property
    def state(self):
        """The solver's state: an array of the layout of the parameters for each kind of number."""
        return self._state

    @property
    def n_steps(self):
        """The number of steps made so far."""
        return int(self._solver["t"][0])

    @n_steps.setter
    def n_steps(self, n_steps):
        self._solver["t"] = self._n_steps = n_steps

    @property
    def seed(self):
        """The random seed of dropout and noise; 0 if none has been needed."""
        return int(self._regularizer["seed"][0])

    @property
    def learning_rate(self):
        """The learning rate of the last step."""
        return float(self._solver["learning_rate"][0])

    @property
    def is_finite(self):
        return _core.largest_of(self._state) + _core.largest_of(self._own) < np.inf

    def epoch(self, data, order, batch_size, deadline=np.inf, steps_in_epoch=None):
        """Make one pass over the rows ``order``, or stop early at the deadline.

        If they are a part of the rows of an epoch, ``steps_in_epoch`` is the number of steps that
        the schedules count as one, and `take_weights` must have been called before the first part.

        Returns
        -------
        loss : float
            Mean loss, measured on each mini-batch before its step.
        n_rows : int
            Number of rows processed.
        """
        passes = self.network.passes
        if steps_in_epoch is None:
            self.take_weights()
        n_rows = min(batch_size, ROWS_IN_PART)  # the rows that threads share at a time
        tuner = self._tuner_of(passes.candidates(n_rows), passes.flops(batch_size))
        most_threads = tuner.candidates[0]
        work = self.workspace(n_rows, dense=data.is_dense)
        is_whole = n_rows < batch_size or bool(self.settings["clip_norm"])
        step = self.step(work, self._memory_of_gradient(most_threads, is_whole=is_whole))
        n_steps = ceil_div(len(order), batch_size)
        schedule = self.schedule_of(n_steps, steps_in_epoch or n_steps)
        samples = _core.Samples(*data.arrays)
        start = 0
        while start < len(order):
            n_threads, n_steps = tuner.next(SECONDS_IN_CORE)
            rows = order[start : start + n_steps * batch_size]
            first = start // batch_size
            began = time.perf_counter()
            _core.train(
                self.model, work, samples, rows, batch_size, schedule[first : first + n_steps],
                step, n_threads,
            )  # fmt: skip
            now = time.perf_counter()
            tuner.saw(n_threads, (now - began) / ceil_div(len(rows), batch_size), now)
            start += len(rows)
            self._n_steps += ceil_div(len(rows), batch_size)
            loss = step.loss / start
            if not math.isfinite(loss) or now >= deadline:
                break
        self.end_of_steps()
        return loss, start

    def add_gradient(self, data, rows):
        """Compute the gradient of a mini-batch, to be passed to `apply_gradient`.

        Call `take_weights` before the first step and whenever the weights have been set, and
        `learning_rates` before each step: it tells how many steps the schedules count as an epoch.

        Parameters
        ----------
        data : Data
        rows : ndarray of intp
            The rows of the mini-batch.

        Returns
        -------
        numbers : ndarray of shape (1, n_params)
            The gradient, including penalties, in the layout of the parameters: a new array.
        loss : float
            The loss of the mini-batch.
        """
        numbers = aligned_zeros((1, self.network.parameters.flat.size), self.network.dtype)
        steps = StepsInParts(self, numbers, len(rows), dense=data.is_dense)
        samples = _core.Samples(*data.arrays)
        part = Part(samples, rows, steps.scale_of(samples, rows))
        dropout_factor = self._factors("dropout_schedule", 1)[0]
        return numbers, steps.gradient(part, numbers[0], dropout_factor)

    def apply_gradient(self, numbers, learning_rate):
        """Make a step with the gradient of a mini-batch. The array is overwritten.

        With the result of `add_gradient`, the step is the same, bit for bit, as in `epoch`.
        """
        of_step = np.array([learning_rate, 1.0, self._factors("weight_decay_schedule", 1)[0]])
        StepsInParts(self, numbers, 1, dense=False).apply(of_step)
        self.end_of_steps(1)

    @property
    def model(self):
        """The core's network with the weights that the solver updates.

        With averaging, these are the solver's weights and not the network's.
        """
        passes = self.network.passes
        return passes.model.with_params(self._own) if len(self._own) else passes.model

    def step(self, work, gradient):
        """Return the core's description of steps with memory for gradients."""
        flat = self.network.parameters.flat
        average = flat if len(self._own) else flat[:0]
        return _core.Step(
            self.model, work, self._solver, self._regularizer, self._state, average, gradient
        )

    def end_of_steps(self, n_steps=0):
        """Count steps, and copy the average.

        The copy shows `take_weights` whether other weights have been set.
        """
        self._n_steps += n_steps
        if len(self._own):
            self._left[...] = self.network.parameters.flat

    def take_weights(self):
        """Prepare for training from the network's weights, which the user may have set."""
        network = self.network
        network.parameters.remove_missing()
        if self.settings["max_norm"]:
            network.parameters.shorten(self.settings["max_norm"])
        if len(self._own) and not np.array_equal(network.parameters.flat, self._left):
            self._own[...] = network.parameters.flat

    def learning_rates(self, n_steps, steps_in_epoch):
        """Return the learning rates of the next steps.

        Parameters
        ----------
        n_steps : int
        steps_in_epoch : int
            The number of steps that the schedule counts as an epoch. In a stream of unknown length
            it can be any number; the schedule then ends after that many times ``n_epochs`` steps.
        """
        if steps_in_epoch != self._steps_in_epoch:  # keep the number of epochs so far
            self._n_steps = round(self._n_steps * steps_in_epoch / self._steps_in_epoch)
            self._steps_in_epoch = steps_in_epoch
        settings = self.settings
        return self.rate * factors(
            settings["schedule"],
            settings["schedule_params"],
            self._n_steps,
            n_steps,
            steps_in_epoch,
            settings["n_epochs"],
        )

    def schedule_of(self, n_steps, steps_in_epoch):
        """Return the learning rates of the next steps, and factors of dropout and weight decay.

        Returns
        -------
        ndarray of shape (n_steps, 3)
        """
        schedule = np.empty((n_steps, 3))
        schedule[:, 0] = self.learning_rates(n_steps, steps_in_epoch)
        schedule[:, 1] = self._factors("dropout_schedule", n_steps)
        schedule[:, 2] = self._factors("weight_decay_schedule", n_steps)
        return schedule

    def _factors(self, name, n_steps):
        """Return the factors of a schedule in the next steps, after `learning_rates`."""
        schedule = self.settings[name]
        return factors(
            schedule, SCHEDULES_OF_FACTORS[schedule], self._n_steps, n_steps,
            self._steps_in_epoch, self.settings["n_epochs"],
        )  # fmt: skip

    def _tuner_of(self, candidates, flops):
        """Return the tuner for these numbers of threads; an existing one keeps its timings."""
        if self._trial is None or self._trial.candidates != candidates:
            self._trial = ThreadTuner(candidates, guess=flops / 1e9)  # a cautious first estimate
        return self._trial

    def workspace(self, n_rows, *, dense):
        """Return a workspace for a mini-batch or a part of it, reused in the next epoch."""
        if self._work is None or self._work[0] != (n_rows, dense):
            perturbation = self.settings["dropout"], self.settings["input_noise"]
            passes = self.network.passes
            work = passes.workspace(n_rows, passes.table(FOR_GRADIENT, *perturbation), dense=dense)
            self._work = (n_rows, dense), work
        return self._work[1]

    def _memory_of_gradient(self, n_threads, *, is_whole):
        """Return memory for the whole gradient, or for one piece of it per thread."""
        parameters = self.network.parameters
        room = (1, parameters.flat.size) if is_whole else (n_threads, parameters.largest_piece)
        if self._gradient is None or self._gradient.shape != room:
            self._gradient = aligned_zeros(room, parameters.dtype)
        return self._gradient

    def end_epoch(self, n_rows_seen, has_got_better):
        """Update the rate by the schedules 'invscaling' and 'plateau', after an epoch.

        Return whether 'plateau' has reduced it.
        """
        settings = self.settings
        if self.schedule == "invscaling":
            with np.errstate(over="ignore"):  # infinity makes the rate 0
                fall = np.float64(n_rows_seen + 1) ** settings["power_t"]
            self.rate = settings["learning_rate"] / fall
        if self.schedule != "plateau" or self.rate <= SMALLEST_ADAPTIVE_RATE:
            return False
        self._n_bad_epochs = 0 if has_got_better else self._n_bad_epochs + 1
        if self._n_bad_epochs <= settings["schedule_params"]["patience"]:
            return False
        self.rate *= settings["schedule_params"]["factor"]
        self._n_bad_epochs = 0
        return True

    def lower_rate(self):
        """Reduce the rate at a plateau, for the schedule 'adaptive'.

        Return the new rate, or None if the training should end instead.
        """
        if self.schedule != "adaptive" or self.rate <= SMALLEST_ADAPTIVE_RATE:
            return None
        self.rate /= 5
        return self.rate
