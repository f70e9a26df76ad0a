"""Validation of X, y, sample weights and validation sets, and conversion for the network."""

import numpy as np
import scipy.sparse
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import validate_data

from fastmlp import _core
from fastmlp._engine.checks import as_numbers, check_sample_weight, check_targets
from fastmlp._engine.rows import Data, Features, with_valid_indices
from fastmlp._estimators.frames import naming_columns, sparse_as
from fastmlp._estimators.sklearn_private import _check_sample_weight
from fastmlp._estimators.validation import (
    Part,
    Validation,
    pairs_of,
    split_off_validation,
)


def is_plain(array, kinds):
    """Whether this is an array of NumPy's own class, of one of the kinds of dtype, with rows."""
    return type(array) is np.ndarray and array.dtype.kind in kinds and array.ndim > 0


class CheckedInputs:
    """Mixin that validates the data passed to an estimator."""

    def _validate_rows(self, X, y, dtype, *, reset):
        if self._are_plain_rows(X, y, reset=reset):
            rows = as_numbers(X, dtype)
            if _core.largest_of(rows) < np.inf:
                self.n_features_in_ = X.shape[1]
                return rows, y
        is_regressor = isinstance(self, RegressorMixin)
        X, y = self._validate(dtype, X, y, reset=reset, multi_output=True, y_numeric=is_regressor)
        X = with_valid_indices(X)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _are_plain_rows(self, X, y, *, reset):
        """Whether X and y are arrays in which scikit-learn's checks find nothing to convert.

        Whatever could need an error message or a warning is left to them (bench/figures.md:
        plain-rows).
        """
        if not (is_plain(X, "biuf") and is_plain(y, "biufU") and X.ndim == 2):
            return False
        n_rows, n_features = X.shape
        if not (0 < n_rows == len(y) and n_features > 0) or "feature_names_in_" in vars(self):
            return False
        if not (y.ndim == 1 or (y.ndim == 2 and y.shape[1] > 1)):
            return False
        if y.dtype.kind == "f" and not _core.largest_of(y) < np.inf:
            return False
        return reset or n_features == self.n_features_in_

    def _check_rows_of_input_layer(self, rows):
        if self.input_layer is not None and scipy.sparse.issparse(rows):
            raise ValueError("input_layer needs dense rows, got a sparse X")

    def _validate(self, dtype, X, *y, **options):
        """Validate X, or X and y, with scikit-learn's checks."""
        try:
            rows = sparse_as(dtype[0] if isinstance(dtype, tuple) else dtype, X)
            with np.errstate(over="ignore", invalid="ignore"):  # the checks reject infinite values
                return validate_data(
                    self, rows, *y, accept_sparse="csr", dtype=dtype, order="C", **options
                )
        except (ValueError, TypeError) as error:
            raise naming_columns(error, X) from error

    def _validate_weight(self, sample_weight, X):
        if sample_weight is None:
            return None
        with np.errstate(over="ignore"):  # infinite weights raise an error
            return _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)

    def _whole_weight(self, sample_weight, X, y):
        """Return the weight of each row: its sample weight times its class weight."""
        weight = self._validate_weight(sample_weight, X)
        class_weight = self._class_weight_of_rows(y)
        if class_weight is None:
            return weight
        with np.errstate(over="ignore"):
            return class_weight if weight is None else weight * class_weight

    def _names_of_weight(self, sample_weight):
        """Return the name of the combined weight for error messages."""
        given = {"sample_weight": sample_weight, "class_weight": vars(self).get("class_weight")}
        names = [name for name, value in given.items() if value is not None]
        return " times ".join(names) or "sample_weight"

    def _network_data(self, X, encoded_y, weight, name_of_weight):
        network = self._network
        network.passes.check_columns(X)
        return Data(
            Features.of(X),
            check_targets(encoded_y, X.shape[0], network.passes.loss, network.dtype),
            check_sample_weight(weight, X.shape[0], network.dtype, name_of_weight),
        )

    def _set_rows_aside(self, X, y, data, validation, random_state):
        """Set aside validation rows.

        Return the rows to train on, and a function that measures loss and scores on the validation
        rows, or None without any.
        """
        everything = np.arange(data.n_rows)
        X_val, y_val, weight_val = validation
        if X_val is not None or y_val is not None:
            return everything, self._validation_of_own(X_val, y_val, weight_val)
        if weight_val is not None:
            raise ValueError("sample_weight_val needs X_val and y_val")
        if not self.early_stopping or self.solver == "lbfgs":
            return everything, None
        order, part = split_off_validation(self, X, y, data, random_state)
        return order, Validation(self, [part])

    def _validation_of_own(self, X_val, y_val, weight_val):
        several, are_pairs = pairs_of(X_val, y_val, weight_val)
        parts = []
        for i, (X_given, y_given, weight_given) in enumerate(several):
            try:
                X, y = self._validate_rows(X_given, y_given, self._network.dtype, reset=False)
                weight = self._validate_weight(weight_given, X)
                encoded = self._encode_validation_targets(y)
                data = self._network_data(X, encoded, weight, "sample_weight_val")
            except (ValueError, TypeError) as error:
                names = "X_val, y_val or sample_weight_val"
                names += f", number {i} of {len(several)}" if are_pairs else ""
                raise type(error)(f"{names}: {error}") from error
            parts.append(Part(data, np.arange(data.n_rows), X_given, y, weight))
        return Validation(self, parts, are_numbered=are_pairs)
