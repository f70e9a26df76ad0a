"""`Saves`: how an estimator is written to a model file, and read from one."""

import math
import os
from typing import Self

import numpy as np
from sklearn.base import is_classifier

from fastmlp._engine.losses import LOSSES, LOSSES_OF_REGRESSOR
from fastmlp._engine.model_file import (
    NOT_FINITE,
    is_number,
    is_whole,
)
from fastmlp._engine.network import Network
from fastmlp._engine.saves import SavesModel
from fastmlp._estimators.parameter_values import read_parameters, write_parameters, written
from fastmlp._estimators.parameters import check_combinations, settings_of_descent
from fastmlp._training.descent import Descent
from fastmlp._training.history import History

STOP_REASONS = ("converged", "max_iter", "max_seconds", "callback", "interrupted", "failed")
TARGET_KINDS = ("binary", "multiclass", "multilabel")
# NaN among labels that are objects, as `written` gives it.
NAN = {"float": "nan"}

SPARSE_FORMATS = ("csr_array", "csr_matrix")

# Sizes of columns that `diagnose` reports.
SIZES = ("_feature_sizes", "_target_sizes")


class Saves(SavesModel):
    """Mixin with `save`."""

    def save(self, path: str | os.PathLike[str], *, training_state: bool = False) -> None:
        """Write the fitted estimator to a model file, to be read by `fastmlp.load`.

        The file is written beside and renamed, so that it is the old one or the new one, whole.

        Parameters
        ----------
        path : path-like
            The file. Its usual ending is '.safetensors'.
        training_state : bool, default=False
            Whether the file has the state of the solver too, so that ``partial_fit`` goes on as
            if there had been no file, bit for bit. It makes the file two to three times as large.

        Raises
        ------
        TypeError, ValueError, OSError
            As `fastmlp.save`.

        Examples
        --------
        See `fastmlp.save`.
        """
        self._as_published()._save(path, training_state=training_state)

    def _write(self, parts, *, training_state=False, left_out=()):
        """Add what the fitted estimator consists of to the parts of a model file.

        The parameters ``left_out`` are those that no file can hold.
        """
        network = self._fitted_network()
        write_parameters(parts, self, left_out)
        network._write(parts.nameless("network"))
        write_feature_names(parts, self)
        if is_classifier(self):
            write_classes(parts, self.classes_)
            parts.add(target_kind=self._target_kind, sparse_format=self._sparse_format)
        parts.add(**{name: vars(self)[name] for name in ("loss_", "t_") if name in vars(self)})
        parts.add(stop_reason=vars(self).get("stop_reason_"))
        self._history.write(parts.part("history"))
        for name in SIZES:
            if name in vars(self):
                parts.array(name[1:], vars(self)[name])
        descent = vars(self).get("_descent")
        if training_state and descent is not None:
            settings = settings_of_descent(self, network.n_layers - 1)
            if descent.is_compatible_with(self.solver, settings):  # or else it is of no use
                descent.write(parts.part("solver_state"))

    @classmethod
    def _read(cls, fields) -> Self:
        """Return the estimator of a model file."""
        model = read_parameters(fields, cls)
        with fields.checks("parameters"):
            check_combinations(model)
        network = Network._read(fields.nameless("network"))
        model._network = network
        model.n_features_in_, *_, model.n_outputs_ = network.layer_sizes
        model.n_layers_ = len(network.layer_sizes)
        model.out_activation_ = network.passes.loss.row.output_activation
        read_feature_names(fields, model)
        if is_classifier(model):
            model._read_classes(fields)
        elif network.loss not in LOSSES_OF_REGRESSOR:
            raise fields.error("network.loss", f"must be one of {LOSSES_OF_REGRESSOR}")
        model._history = History.read(fields.part("history"))
        model._publish(model._history)
        if "loss_" in fields:
            model.loss_, model.t_ = fields.number("loss_", finite=False), fields.whole("t_")
        if "stop_reason" in fields:
            model.stop_reason_ = fields.choice("stop_reason", STOP_REASONS)
        for name in SIZES:
            if fields.has_tensor(name[1:]):
                sizes = fields.array(name[1:], "f8", (None,), finite=False)
                setattr(model, name, sizes)
        model._descent = None
        if "solver_state" in fields:
            with fields.checks("solver_state"):
                settings = settings_of_descent(model, network.n_layers - 1)
                model._descent = Descent(network, model.solver, settings)
                model._descent.read(fields.part("solver_state"))
        return model

    def _read_classes(self, fields):
        self.classes_ = read_classes(fields)
        self._target_kind = fields.choice("target_kind", TARGET_KINDS)
        self._sparse_format = None
        if "sparse_format" in fields:
            self._sparse_format = fields.choice("sparse_format", SPARSE_FORMATS)
        is_binary, n_classes = self._target_kind == "binary", len(self.classes_)
        if (is_binary and n_classes != 2) or self.n_outputs_ != (1 if is_binary else n_classes):
            raise fields.error(
                "classes", f"must fit {self.n_outputs_} outputs of {self._target_kind} targets"
            )
        row = LOSSES[self._network.loss]
        if not row.classifier_loss or row.is_of_classes != (self._target_kind == "multiclass"):
            raise fields.error("network.loss", f"must be one for {self._target_kind} targets")


def write_feature_names(parts, estimator):
    names = vars(estimator).get("feature_names_in_")
    if names is not None:
        parts.add(feature_names=names.tolist())


def read_feature_names(fields, estimator):
    if "feature_names" in fields:
        names = fields.texts("feature_names", estimator.n_features_in_)
        if len(set(names)) < len(names):
            raise fields.error("feature_names", "must differ")
        estimator.feature_names_in_ = np.array(names, dtype=object)


def write_classes(parts, classes):
    write_labels(parts.part("classes"), classes)


def read_classes(fields):
    return read_labels(fields.part("classes"))


def write_labels(parts, labels):
    """Add labels with their dtype: truth values, numbers or strings, and NaN or None."""
    values = labels.tolist()
    try:
        if labels.dtype.kind == "O":
            values = list(map(written, values))  # which tells NaN from 'nan'
        elif labels.dtype.kind not in "biufU":
            raise TypeError(f"a model file holds no {labels.dtype}")
    except TypeError as error:
        raise ValueError(f"labels such as {labels[0]!r} cannot be written: {error}") from None
    parts.add(dtype=labels.dtype.str, labels=values)


def read_labels(fields, *, are_sorted=True):
    """Return labels of their dtype, at least one."""
    dtype = fields.text("dtype")
    labels = fields.value("labels", "a list", lambda it: isinstance(it, list) and it)
    is_good = {
        "b": lambda it: isinstance(it, bool),
        "i": is_whole,
        "u": is_whole,
        "f": lambda it: is_number(it) or it in NOT_FINITE,
        "U": lambda it: isinstance(it, str),
        "O": lambda it: it is None or isinstance(it, str | bool) or is_number(it) or it == NAN,
    }.get(dtype[1:2], lambda it: False)
    if not all(map(is_good, labels)):
        raise fields.error("labels", f"must be of dtype {dtype!r}, got {labels!r}"[:200])
    if dtype[1] == "U":
        longest = max(map(len, labels))
        if not dtype[2:].isdigit() or int(dtype[2:]) > longest + 64:
            raise fields.error("dtype", f"must be that of {longest} letters, got {dtype!r}")
    labels = [math.nan if it == NAN else it for it in labels]
    with fields.checks("labels"):
        array = np.array(labels, dtype=dtype)
        if are_sorted and not (array[:-1] < array[1:]).all():
            raise ValueError("they must be sorted, each of them once")
    return array
