"""A mini-batch solver at work: its state, its settings, its learning rate."""

import time

import numpy as np

from fastmlp import _core
from fastmlp._core import REGULARIZER, SOLVER, SOLVERS
from fastmlp._engine.layout import FOR_GRADIENT, ROWS_IN_PART, aligned_zeros
from fastmlp._engine.threads import Trial
from fastmlp._training.schedules import factors

# The core returns this often, at a mini-batch's end, so that Ctrl-C works in a long epoch.
SECONDS_IN_CORE = 0.05

SMALLEST_ADAPTIVE_RATE = 1e-6

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
