"""Base class of the estimators: validation, training and the fitted attributes."""

import copy
import os
from abc import ABCMeta, abstractmethod
from contextlib import closing
from datetime import timedelta
from numbers import Integral
from typing import Any, Self

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastmlp._distributed.ranks import current_ranks, is_first_rank
from fastmlp._engine.initializers import start_at_mean
from fastmlp._engine.losses import loss_options
from fastmlp._engine.network import Network
from fastmlp._engine.warnings import warn
from fastmlp._estimators.callbacks import (
    Callbacks,
    CallbackSupportMixin,
    check_callbacks,
    with_scikit_learn_callbacks,
)
from fastmlp._estimators.checked import CheckedParameters
from fastmlp._estimators.checkpoints import EpochCheckpoints
from fastmlp._estimators.conversion import Converts
from fastmlp._estimators.fitted import FittedNetwork
from fastmlp._estimators.inputs import CheckedInputs
from fastmlp._estimators.methods import checks_parameters
from fastmlp._estimators.parameters import (
    check_combinations,
)
from fastmlp._estimators.saving import Saves
from fastmlp._estimators.scale import is_beyond_scale, warn_of_scale, warn_of_scale_of_targets
from fastmlp._estimators.shared_fits import SharedFits
from fastmlp._estimators.shared_streams import SharedStreams
from fastmlp._estimators.streams import Streams
from fastmlp._estimators.training import Trains
from fastmlp._estimators.types import Array, ArrayLike, MatrixLike, Pairs, Sequence
from fastmlp._training.epochs import SILENT, ShuffledRows
from fastmlp._training.history import History
from fastmlp._training.progress import progress

# Attributes set by fit. Those in the first group are needed for predictions and are set with every
# new network. Those in the second group describe the training.
NETWORK_ATTRIBUTES = (
    "_network", "_target_kind", "_sparse_format", "classes_", "n_layers_", "n_outputs_",
    "out_activation_",
    "n_features_in_", "feature_names_in_",
)  # fmt: skip

TRAINING_ATTRIBUTES = (
    "_checked_parameters", "_generator",
    "_descent", "_history", "_feature_sizes", "_target_sizes", "history_", "loss_", "loss_curve_",
    "best_loss_", "validation_scores_", "best_validation_score_", "n_iter_", "t_",
    "best_iter_", "stop_reason_",
)  # fmt: skip

FITTED_ATTRIBUTES = NETWORK_ATTRIBUTES + TRAINING_ATTRIBUTES


class BaseMLP(
    CallbackSupportMixin,
    CheckedParameters,
    CheckedInputs,
    Converts,
    Saves,
    SharedFits,
    SharedStreams,
    Streams,
    Trains,
    FittedNetwork,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Base class of MLPClassifier and MLPRegressor."""

    _training_attributes = TRAINING_ATTRIBUTES

    # Attributes set by fit. `coefs_`, `intercepts_` and `norms_` are properties.
    loss_: float
    loss_curve_: list[float]
    best_loss_: float | None
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    history_: dict[str, list[Any]]
    n_iter_: int
    best_iter_: int
    stop_reason_: str
    t_: int
    n_layers_: int
    n_outputs_: int
    out_activation_: str
    n_features_in_: int
    feature_names_in_: Array

    # Targets, implemented by subclasses ----------------------------------------------------------

    @abstractmethod
    def _encode_targets(self, y, *, classes_are_known):
        """Return y as numbers for the network; set ``n_outputs_``, and ``classes_`` if unknown."""

    @abstractmethod
    def _encode_validation_targets(self, y):
        """Return y_val as numbers for the network, without setting any attribute."""

    @abstractmethod
    def _network_loss(self):
        """Return the network's loss. The targets must have been encoded before."""

    @abstractmethod
    def _score_output(self, y, output, sample_weight):
        """Score the network's output for encoded targets, for early stopping."""

    def _class_weight_of_rows(self, y):
        """Return the class weight of each row, or None without class weights."""
        return None

    # Training ------------------------------------------------------------------------------------

    @checks_parameters
    def fit(
        self,
        X: MatrixLike,
        y: MatrixLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Pairs = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | Sequence[ArrayLike | None] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | timedelta | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit the network to X and y.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs, one row per sample. Data frames of pandas, polars and pyarrow are accepted.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or an indicator matrix for multilabel classification, which may be
            sparse. For regression, real numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights, which must not be negative.
        X_val, y_val : like X and y, default=None
            Validation set. Its loss and score are recorded in ``history_``. With
            ``early_stopping``, it is used instead of setting aside a part of X. To use several
            validation sets, pass a list of pairs (X, y) as X_val, without y_val. All of them are
            recorded, and the last one is used for early stopping. In a pipeline,
            ``Pipeline(steps, transform_input=["X_val"])`` transforms X_val by the preceding steps.
            This requires scikit-learn's metadata routing and ``set_fit_request(X_val=True,
            y_val=True)``.
        sample_weight_val : array-like of shape (n_validation_samples,), default=None
            Sample weights of the validation set. For a list of pairs, a list of such arrays or
            None.
        checkpoint : path-like, default=None
            A file to which the state of the fit is written now and then. It is a model file, and
            the old one or the new one is whole at any moment. Not available for 'lbfgs'.
        checkpoint_every : int or datetime.timedelta, default=None
            Number of epochs between two checkpoints, or the time. None means 30 seconds.
        resume : path-like, default=None
            A checkpoint of a fit to the same data with the same parameters, from which this fit
            goes on as if it had never stopped, bit for bit. ``n_threads``, ``verbose``,
            ``callbacks`` and ``max_seconds``, which counts from the first beginning, may differ.

        Returns
        -------
        self
            Fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If X, y, sample_weight or a parameter is invalid, if training diverges, or if
            ``resume`` is a checkpoint of a fit to other data or with other parameters. The
            estimator is then left unchanged.

        Examples
        --------
        Use a validation set for early stopping and look at its scores:

        >>> from sklearn.datasets import load_digits
        >>> from fastmlp import MLPClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> classifier = MLPClassifier(early_stopping=True, random_state=0)
        >>> classifier = classifier.fit(X[:1200], y[:1200], X_val=X[1200:1500], y_val=y[1200:1500])
        >>> sorted(classifier.history_)
        ['learning_rate', 'loss', 'seconds', 'val_loss', 'val_score']
        >>> max(classifier.history_['val_score']) == classifier.best_validation_score_
        True
        """
        with self._aside():
            asked = checkpoint, checkpoint_every, resume
            checkpoints = EpochCheckpoints.of_all_ranks(self, *asked)
            validation = (X_val, y_val, sample_weight_val)
            return self._fit(X, y, sample_weight, validation, checkpoints)

    def _fit(self, X, y, sample_weight, validation, checkpoints=None):
        ranks = current_ranks()
        if ranks is not None:
            return self._fit_shared(ranks, X, y, sample_weight, validation, checkpoints)
        is_partial = checkpoints is None
        continues = (self.warm_start or is_partial) and "_network" in vars(self)
        self._forget(["stop_reason_"] if continues else TRAINING_ATTRIBUTES)
        if not is_partial:
            self._forget(["_checked_parameters"])
        random_state = self._random_state(continues)
        if not is_partial:
            random_state = checkpoints.random_state(random_state)
        data, targets = self._prepare(X, y, sample_weight, random_state, continues, is_partial)
        max_iter = 1 if is_partial else self.max_iter

        def train(hooks):
            order, validate = self._set_rows_aside(X, targets, data, validation, random_state)
            if self._network.passes.loss.row.power and not continues:
                start_at_mean(self._network, data, order)
            if not is_partial:
                weight = data.sample_weight
                checkpoints.check(validate, X=data.features, y=[data.y], sample_weight=[weight])
            rows = ShuffledRows(data, order, random_state if self.shuffle else None)
            self._train(rows, validate, hooks, random_state, checkpoints)

        if is_partial and not self._has_hooks():
            train(SILENT)
            return self
        callbacks = Callbacks(self, X, y, sample_weight, self._fitted_attributes)
        seconds_before = 0.0 if is_partial else checkpoints.seconds_before
        self._with_hooks(train, callbacks, random_state, max_iter, seconds_before)
        return self

    def _with_hooks(self, train, callbacks, random_state, max_iter, seconds_before):
        """Call ``train`` with the hooks of callbacks, the display and the time limit."""
        with (
            with_scikit_learn_callbacks(self),
            callbacks.of_fit(max_iter),
            closing(progress(self.verbose if is_first_rank() else 0)) as display,
        ):
            train(self._hooks(callbacks, display, random_state, seconds_before))
            if self.stop_reason_ == "max_seconds":
                warn(
                    f"max_seconds={self.max_seconds:g} ended the fit in epoch {self.n_iter_} of "
                    f"{max_iter}, before it had converged.",
                    ConvergenceWarning,
                )

    def _prepare(self, X, y, sample_weight, random_state, continues, is_partial):
        """Validate the inputs and create or copy the network.

        Return the network's `Data`, and the validated targets before encoding.
        """
        are_checked = "_checked_parameters" in vars(self)
        if are_checked:
            hidden_layer_sizes = self._network.layer_sizes[1:-1]
        else:
            check_callbacks(self.callbacks)
            check_combinations(self)
            hidden_layer_sizes = self._check_hidden_layer_sizes()
        dtype = self._arithmetic(continues)
        rows, targets = self._validate_rows(X, y, dtype, reset=not continues)
        encoded = self._encode_targets(targets, classes_are_known=continues or is_partial)
        weight = self._whole_weight(sample_weight, rows, targets)
        if scipy.sparse.issparse(rows) and (self.input_dropout or self.input_noise):
            raise ValueError("input_dropout and input_noise need dense rows, got a sparse X")
        self._check_rows_of_input_layer(rows)
        layer_sizes = (rows.shape[1], *hidden_layer_sizes, self.n_outputs_)
        if continues:
            if not are_checked or layer_sizes != self._network.layer_sizes:
                self._check_structure(layer_sizes, dtype)
            # Other threads may still predict with the original network.
            self._network = self._network.copy()
        else:
            self._build(layer_sizes, dtype, random_state, rows)
        if not are_checked or is_beyond_scale(rows):
            names, layer = getattr(self, "feature_names_in_", None), self._network.input_layer
            coded = () if layer is None else layer.categorical_features
            self._feature_sizes = warn_of_scale(rows, names, coded)
        self._network.n_threads = self.n_threads
        name = None if weight is None else self._names_of_weight(sample_weight)
        data = self._network_data(rows, encoded, weight, name)
        if isinstance(self, RegressorMixin) and (not are_checked or is_beyond_scale(data.y)):
            self._target_sizes = warn_of_scale_of_targets(data.y, self._network.passes.loss)
        return data, targets

    def _arithmetic(self, continues=False):
        """Return the dtype: that of the parameter, the existing network or the default."""
        if self.dtype is None and continues:
            return self._network.dtype
        return np.dtype(self.dtype or ("float64" if self.solver == "lbfgs" else "float32"))

    def _build(self, layer_sizes, dtype, random_state, rows=None):
        """Create an initialized network and reset the training state.

        The numbers of categories come from the rows, unless they are given.
        """
        input_layer = self.input_layer
        if input_layer is not None:
            names = getattr(self, "feature_names_in_", None)
            input_layer = input_layer.of_columns(layer_sizes[0], names, rows)
        loss = self._network_loss()
        loss_options(loss, self.loss_params, shown=self.loss)
        self._network = Network(
            layer_sizes,
            self.activation,
            self._network_loss(),
            loss_params=self.loss_params,
            layer_norm=bool(self.layer_norm),
            residual=bool(self.residual),
            learned_activation=bool(self.learned_activation),
            parametrization=self.parametrization,
            input_layer=input_layer,
            init=self.init,
            connections=self.connections,
            dtype=dtype,
            random_state=random_state,
        )
        self._history = History()
        self._descent = None
        self.n_layers_ = len(layer_sizes)
        self.out_activation_ = self._network.passes.loss.row.output_activation

    def _fitted_attributes(self):
        """Return the attributes with which a copy of the estimator can predict.

        They are for callbacks of scikit-learn.
        """
        return {"_network": copy.deepcopy(self._network)}

    def _random_state(self, continues):
        """Return the generator of random numbers for a fit.

        A fit that continues keeps one and seeds it again, because the construction of one takes
        longer than a small step (bench/figures.md: same-generator).
        """
        if not (continues and isinstance(self.random_state, Integral)):
            return check_random_state(self.random_state)
        if "_generator" not in vars(self):
            self._generator = np.random.RandomState()
        self._generator.seed(self.random_state)
        return self._generator

    def _forget(self, names):
        """Remove attributes of an earlier fit."""
        for name in names:
            vars(self).pop(name, None)

    def __float64_network__(self, X, y, sample_weight):
        """Return the network in float64, and the rows as its `Data`.

        If the estimator is not fitted, the network has its initial weights.
        """
        twin = clone(self).set_params(dtype="float64")
        if self.__sklearn_is_fitted__():
            vars(twin).update(
                {name: value for name, value in vars(self).items() if name in FITTED_ATTRIBUTES}
            )
            rows, targets = twin._validate_rows(X, y, "float64", reset=False)
            encoded = twin._encode_validation_targets(targets)
            twin._network = self._network.copy("float64")
        else:
            twin._validate_params()
            rows, targets = twin._validate_rows(X, y, "float64", reset=True)
            twin._check_rows_of_input_layer(rows)
            encoded = twin._encode_targets(targets, classes_are_known=False)
            sizes = (rows.shape[1], *twin._check_hidden_layer_sizes(), twin.n_outputs_)
            twin._build(sizes, "float64", check_random_state(twin.random_state), rows)
        weight = twin._whole_weight(sample_weight, rows, targets)
        names = twin._names_of_weight(sample_weight)
        return twin._network, twin._network_data(rows, encoded, weight, names)

    def _initialize(self, n_features):
        """Create the initial network of ``fit``. Attributes of the targets must be set before."""
        self._validate_params()
        if not isinstance(n_features, Integral) or n_features < 1:
            raise ValueError(f"n_features must be a whole number >= 1, got {n_features!r}")
        self.n_features_in_ = int(n_features)
        self._build(
            (self.n_features_in_, *self._check_hidden_layer_sizes(), self.n_outputs_),
            self._arithmetic(),
            check_random_state(self.random_state),
        )
        self._publish(self._history)
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
