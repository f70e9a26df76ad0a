"""Checkpoints of a fit: files that it writes now and then, and that another fit goes on from.

A checkpoint is a model file, with what the fit needs to go on in the field 'run'. To go on, a fit
begins as the first one did, with the same random numbers, and then takes over the state of the
file. So nothing has to be written of what follows from the parameters and the data, but both must
be the same: their checksums are in the file.
"""

import hashlib
import time
from datetime import timedelta
from numbers import Integral

import numpy as np

from fastmlp._distributed.ranks import agreeing, is_first_rank
from fastmlp._engine.model_file import Parts, open_model_file, write_model_file
from fastmlp._engine.network import Network
from fastmlp._engine.warnings import warn
from fastmlp._estimators.parameter_values import random_state_from, read, written
from fastmlp._estimators.parameters import CHANGEABLE_IN_TRAINING
from fastmlp._estimators.saving import STOP_REASONS
from fastmlp._training.history import History

DEFAULT_SECONDS = 30.0

# Parameters on which the result of a fit does not depend, or how far it gets.
MAY_DIFFER = ("n_threads", "n_jobs", "verbose", "callbacks", "max_seconds")

# A file cannot hold all values of these parameters, but it has the checksum of what they give.
AMONG_DATA = ("cv",)


class Checkpoints:
    """The checkpoints that a fit writes, and the one that it goes on from, if any.

    Parameters
    ----------
    estimator : estimator
        The estimator to be fitted, with the parameters of the beginning.
    path : path-like or None
        Where to write.
    every : int, timedelta or None
        After how many epochs, or how much time.
    resume : path-like or None
        The file to go on from.

    Attributes
    ----------
    run : Fields or None
        What the file to go on from says of its run.
    seconds_before : float
        How long the run had taken then.
    left_out : list of str
        Parameters that no file can hold, and that do not matter.
    """

    def __init__(self, estimator, path, every, resume):
        self._estimator = estimator
        self._path = path if is_first_rank() else None
        self._n_epochs, self._seconds = _interval(every, path)
        self.is_asked = not (path is None and resume is None)
        self.run, self.seconds_before, self._data = None, 0.0, {}
        if not self.is_asked:
            return
        if getattr(estimator, "solver", None) == "lbfgs":
            raise ValueError(
                "checkpoint and resume need a mini-batch solver, got solver='lbfgs', whose state "
                "SciPy keeps"
            )
        self._parameters, self.left_out = _written_parameters(estimator)
        if resume is not None:
            self._open(resume)
        self._began = self._written_at = time.perf_counter()

    @classmethod
    def of_all_ranks(cls, *arguments):
        """Return the checkpoints. All ranks read the file that the first may just have written."""
        with agreeing("before the checkpoint is read"):
            pass
        with agreeing("at the beginning of a fit"):
            return cls(*arguments)

    def _open(self, path):
        """Open the file to go on from, after a check that it is one of such a fit."""
        self.fields = open_model_file(path)
        self.fields.choice("kind", [type(self._estimator).__name__])
        if "run" not in self.fields:
            raise self.fields.error("run", "is missing: this is no checkpoint, but a model")
        self.run = self.fields.part("run")
        before = self.run.value("parameters", "an object", lambda it: isinstance(it, dict))
        for name, value in self._parameters.items():
            if name not in MAY_DIFFER and before.get(name, value) != value:
                with self.run.checks(f"parameters.{name}"):
                    theirs = read(before[name])
                raise ValueError(
                    f"resume: {path} is a checkpoint of a fit with {name}={theirs!r}, but the "
                    f"estimator has {name}={getattr(self._estimator, name)!r}"
                )
        self.seconds_before = self.run.number("seconds", 0)

    def random_state(self, random_state):
        """Return the generator for the fit, in the state that it had in the beginning."""
        if self.run is not None:
            with self.run.checks("begin"):
                begin = random_state_from(self.run.value("begin", "a state", lambda it: True))
            if self._estimator.random_state is None:  # NumPy's own is not to be touched
                random_state = begin
            else:
                random_state.set_state(begin.get_state())
        if self.is_asked:
            self._begin = written(random_state)["RandomState"]
        return random_state

    def check_data(self, **data):
        """Remember checksums of the data, by the names of the arguments, or compare them.

        ``data`` are lists of arrays, or their checksums.
        """
        if not self.is_asked:
            return
        self._data = {
            name: it if isinstance(it, str) else checksum(it) for name, it in data.items()
        }
        if self.run is None:
            return
        before = self.run.value("data", "an object", lambda it: isinstance(it, dict))
        if ("n_slots" in before) != ("n_slots" in data):
            where = "within" if "n_slots" in before else "without"
            raise ValueError(
                f"resume: the checkpoint is one of a fit {where} fastmlp.distributed.mpi, whose "
                "mini-batches have other rows"
            )
        other = [name for name, digest in self._data.items() if before.get(name) != digest]
        if other:
            raise ValueError(
                f"resume: the checkpoint is one of a fit to other data: {', '.join(other)} "
                "must be the same"
            )

    @property
    def is_finished(self):
        """Whether the file to go on from is one of a fit that has ended."""
        return self.run is not None and self.run.flag("is_finished")

    def is_due(self, n_epochs=0):
        """Whether a checkpoint is to be written now, after so many epochs of the fit."""
        if self._path is None:
            return False
        if self._n_epochs is not None:
            return n_epochs % self._n_epochs == 0
        return time.perf_counter() - self._written_at >= self._seconds

    def write(self, write_model, write_run, *, is_finished=False):
        """Write a checkpoint: the model, and what the run needs to go on.

        ``write_model`` and ``write_run`` are functions that add to the parts of a file.
        """
        if self._path is None:
            return
        parts = Parts()
        write_model(parts)
        run = parts.part("run")
        now = time.perf_counter()
        run.add(
            data=self._data,
            begin=self._begin,
            seconds=self.seconds_before + now - self._began,
            is_finished=is_finished,
        )
        run.fields["parameters"] = self._parameters
        write_run(run)
        write_model_file(self._path, type(self._estimator).__name__, parts)
        self._written_at = time.perf_counter()

    def try_to_write(self, *arguments, **options):
        """Write a checkpoint; a full disk is a warning, so that the training is not lost."""
        try:
            self.write(*arguments, **options)
        except OSError as error:
            self._written_at = time.perf_counter()
            warn(f"The checkpoint could not be written, and the fit goes on: {error}")


def _interval(every, path):
    """Return the number of epochs or the seconds between two checkpoints, after validation."""
    if every is None:
        return None, DEFAULT_SECONDS
    if path is None:
        raise ValueError(f"checkpoint_every={every!r} needs a file: checkpoint must be a path")
    if isinstance(every, timedelta) and every >= timedelta(0):
        return None, every.total_seconds()
    if isinstance(every, Integral) and not isinstance(every, bool) and every >= 1:
        return int(every), None
    raise ValueError(
        "checkpoint_every must be a number of epochs >= 1, a datetime.timedelta or None, got "
        f"{every!r}"
    )


def _written_parameters(estimator):
    """Return the parameters as JSON, and the names of those that a file cannot hold.

    These must be among those that do not matter.
    """
    parameters, left_out = {}, []
    for name, value in estimator.get_params(deep=False).items():
        try:
            # A generator's state at the beginning of the fit is kept for itself.
            is_generator = isinstance(value, np.random.RandomState)
            parameters[name] = "RandomState" if is_generator else written(value)
        except TypeError as error:
            if name not in (*MAY_DIFFER, *AMONG_DATA):
                raise ValueError(
                    f"checkpoint: {name}={value!r} cannot be written: {error}"
                ) from None
            parameters[name] = None
            left_out.append(name)
    return parameters, left_out


def checksum(arrays):
    """Return a checksum of the contents, dtypes and shapes of arrays."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        rows_at_a_time = max(1, 2**24 // max(1, array[:1].nbytes))
        for start in range(0, len(array), rows_at_a_time):
            digest.update(np.ascontiguousarray(array[start : start + rows_at_a_time]).data)
    return digest.hexdigest()


class EpochCheckpoints(Checkpoints):
    """The checkpoints of a fit by epochs."""

    def _open(self, path):
        """Open the file, and set the parameters that a callback had changed during the run."""
        super()._open(path)
        before = self.run.value("parameters", "an object", lambda it: isinstance(it, dict))
        now = self.fields.value("parameters", "an object", lambda it: isinstance(it, dict))
        for name in CHANGEABLE_IN_TRAINING:
            if name not in MAY_DIFFER and name in now and now[name] != before.get(name):
                with self.fields.checks(f"parameters.{name}"):
                    setattr(self._estimator, name, read(now[name]))

    def check(self, validation, **data):
        """Compare the data with those of the file to go on from.

        ``data`` are arrays by the names of the arguments of the fit, or the checksum of them.
        """
        arrays = []
        for part in () if validation is None else validation.parts:
            # The rows that are set aside are among those of X.
            is_own = part.data.features is not data.get("X")
            arrays += [*(part.data.arrays if is_own else ()), part.rows]
        self.check_data(**data, X_val=arrays)

    def take_over_weights(self, network):
        """Copy the weights of the file into the network of the fit."""
        if self.run is None:
            return
        theirs = Network._read(self.fields.nameless("network")).parameters
        if theirs.flat.size != network.parameters.flat.size or theirs.dtype != network.dtype:
            raise self.fields.error("network", "must be of the structure of the estimator's")
        network.parameters.flat[...] = theirs.flat

    def begin(self, rows, random_state):
        """Take over the state of the file to go on from, if any.

        A first checkpoint shows at once whether the file can be written.
        """
        self._rows, self._random_state = rows, random_state
        if self.run is not None:
            self._take_over()
        if not self.is_finished:
            self.write(self._write_model, self._write_run)

    def _take_over(self):
        model = self._estimator
        descent, network = model._descent, model._network
        with self.fields.checks("solver_state"):
            descent.read(self.fields.part("solver_state"))
        history = History.read(self.fields.part("history"))
        if self.run.has_tensor("best_weights"):
            flat = network.parameters.flat
            history.best_params = self.run.array("best_weights", flat.dtype, flat.shape).copy()
        self._rows.read(self.run)
        with self.run.checks("now"):
            now = random_state_from(self.run.value("now", "a state", lambda it: True))
        self._random_state.set_state(now.get_state())
        model._history = history
        model._publish(history)
        if self.is_finished:
            model.stop_reason_ = self.fields.choice("stop_reason", STOP_REASONS)

    def end_epoch(self, *, is_finished=False):
        """Write a checkpoint, at the end of the fit or if one is due."""
        if is_finished or self.is_due(self._estimator._history.n_epochs):
            self.try_to_write(self._write_model, self._write_run, is_finished=is_finished)

    def _write_run(self, run):
        """Add what the run needs to go on to the parts of a file."""
        run.add(now=written(self._random_state)["RandomState"])
        self._rows.write(run)
        best = self._estimator._history.best_params
        if best is not None:
            run.array("best_weights", best)

    def _write_model(self, parts):
        self._estimator._write(parts, training_state=True, left_out=self.left_out)
