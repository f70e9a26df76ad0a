"""MLPClassifier and MLPRegressor: validate, encode the targets, delegate, present the result."""

import copy
import functools
import threading
import time
import warnings
from abc import ABCMeta, abstractmethod
from contextlib import closing, contextmanager
from numbers import Integral
from typing import NamedTuple

import numpy as np
import scipy.sparse
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    RegressorMixin,
    _fit_context,
    clone,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, d2_pinball_score, d2_tweedie_score, r2_score
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from fastmlp._callbacks import CallbackSupportMixin, Hooks, check_callbacks, installed
from fastmlp._data import Data, Features, trusted
from fastmlp._network import Network, check_activation, check_layer_sizes
from fastmlp._options import LOSS_PARAMS, filled
from fastmlp._parameters import (
    ATTRIBUTES,
    CHANGED_IN_TRAINING,
    CONSTRAINTS,
    PARAMETERS,
    check_combinations,
    settings_of_descent,
)
from fastmlp._probe import Probe
from fastmlp._progress import progress
from fastmlp._tables import check_labels_are_plain, naming_columns, sparse_as
from fastmlp._threads import check_n_threads
from fastmlp._training import (
    Descent,
    History,
    Stopping,
    Watch,
    minimize_lbfgs,
    train_epochs,
)
from fastmlp._validation import Part, pairs_of, set_aside, validation_of

OUTPUT_ACTIVATIONS = {
    "log_loss": "softmax",
    "binary_log_loss": "logistic",
    "softmax_squared_error": "softmax",
    "logistic_squared_error": "logistic",
    "squared_error": "identity",
    "absolute_error": "identity",
    "huber": "identity",
    "quantile": "identity",
    "poisson": "exp",
    "gamma": "exp",
    "tweedie": "exp",
}

# A classifier's loss: for one class of several, and for the outputs of two classes or labels.
LOSSES_OF_CLASSIFIER = {
    "log_loss": ("log_loss", "binary_log_loss"),
    "squared_error": ("softmax_squared_error", "logistic_squared_error"),
}

LOSSES_OF_REGRESSOR = {
    "squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma", "tweedie",
}  # fmt: skip

# Scored by the deviance; the output begins at the mean of y, whatever its unit.
OF_DEVIANCE = ("gamma", "tweedie")

# Schedules that are meant to be over at max_iter: no sign that there was no convergence.
WITH_AN_END = ("cosine", "one_cycle")

# What helps where y is far from what the network's output begins with, by the loss.
REMEDIES_OF_SCALE = {
    "squared_error": "scale y, for instance by sklearn.compose.TransformedTargetRegressor with a "
    "StandardScaler",
    "poisson": "divide y by its mean, or take loss='tweedie', which begins at the mean",
}

LARGEST_AUTO_BATCH = 200

# What a fit sets: what predictions need, and every new network brings; and what is of training.
OF_NETWORK = (
    "_network", "_target_kind", "_sparse_format", "classes_", "n_layers_", "n_outputs_",
    "out_activation_",
    "n_features_in_", "feature_names_in_",
)  # fmt: skip
OF_TRAINING = (
    "_descent", "_history", "_feature_sizes", "_target_sizes", "history_", "loss_", "loss_curve_",
    "best_loss_", "validation_scores_", "best_validation_score_", "n_iter_", "t_",
    "best_iter_", "stop_reason_",
)  # fmt: skip
FITTED = OF_NETWORK + OF_TRAINING

# A column whose mean or standard deviation is beyond this warns; so many rows are looked at.
LARGEST_SCALE = 1e3
ROWS_TO_LOOK_AT = 1_000


def _is_same(a, b):
    """Whether two values of a parameter are equal, which arrays are not taken to be."""
    try:
        return bool(a == b)
    except ValueError:
        return False


def _seed_for(settings, seed, random_state):
    """The seed of dropout and noise so far, or one that is drawn where none is but needed."""
    if seed == 0 and (settings["input_noise"] > 0 or any(settings["dropout"])):
        return int(random_state.randint(1, 2**62, dtype=np.int64))
    return seed


class NoPartialFit(AttributeError, ValueError):
    """There is no partial_fit with early stopping: so says hasattr, and so does its call."""


class InTraining(NamedTuple):
    """On an estimator while it is fitted: the thread that does so, and what all others see."""

    thread: int
    published: dict


class _of_mini_batches:
    """A method that is there only for an estimator that learns from one mini-batch by itself."""

    def __init__(self, method):
        self._method = method
        functools.update_wrapper(self, method)

    def __get__(self, estimator, owner=None):
        if estimator is None:
            return self._method
        if estimator.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
            )
        if estimator.early_stopping:
            raise NoPartialFit(
                "partial_fit does not support early_stopping=True: one mini-batch has no "
                "validation rows"
            )
        return self._method.__get__(estimator, owner)


def _of_one_moment(method):
    """A method that reads the estimator whole, though another thread fit it meanwhile."""

    @functools.wraps(method)
    def of_one_moment(self, *args, **kwargs):
        return method(self._as_published(), *args, **kwargs)

    return of_one_moment


class _MLP(CallbackSupportMixin, BaseEstimator, metaclass=ABCMeta):
    """All that classifier and regressor share."""

    _parameter_constraints: dict = CONSTRAINTS

    def _set(self, parameters):
        """Set the parameters from a constructor's locals()."""
        vars(self).update({name: parameters[name] for name in parameters if name != "self"})

    # What a subclass knows about its targets -----------------------------------------------------

    @abstractmethod
    def _encode_targets(self, y, *, classes_are_known):
        """Return y as numbers for the network; set ``n_outputs_``, and ``classes_`` if unknown."""

    @abstractmethod
    def _encode_validation_targets(self, y):
        """The same for y_val, which teaches nothing."""

    @abstractmethod
    def _network_loss(self):
        """The name of the network's loss, once the targets have been encoded."""

    @abstractmethod
    def _score_output(self, y, output, sample_weight):
        """How good the network's output is for encoded targets, for early stopping."""

    def _class_weight_of_rows(self, y):
        """What a row counts by its class, if that is asked for."""
        return None

    # Training ------------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        """Fit the network to X and y.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs, a row for each sample; tables of pandas, polars and pyarrow, too.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels or an indicator matrix of several labels, which may be sparse; for
            regression numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss; not negative.
        X_val, y_val : like X and y, default=None
            Validation rows of your own. Their loss and score stand in ``history_``; with
            ``early_stopping`` they take the place of a part of X. X_val may be a list of pairs
            (X, y), without y_val: all are recorded, the last decides. In a pipeline
            ``Pipeline(steps, transform_input=["X_val"])`` sends X_val through the steps before,
            under scikit-learn's metadata routing and with ``set_fit_request(X_val=True,
            y_val=True)``.
        sample_weight_val : array-like of shape (n_validation_samples,), default=None
            Weights of the validation rows; for a list of pairs a list of them or None.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For what X, y, sample_weight or a parameter must not be, and when training diverges.
            The estimator is then as it was before.

        Examples
        --------
        Stop early by validation rows of your own, and look at what they said:

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
            return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def _fit(self, X, y, sample_weight, validation, *, is_partial=False):
        goes_on = (self.warm_start or is_partial) and self.__sklearn_is_fitted__()
        self._forget(["stop_reason_"] if goes_on else OF_TRAINING)
        if is_partial:  # scikit-learn leaves it out for a fitted estimator
            self._validate_params()
        check_callbacks(self.callbacks)
        check_combinations(self)
        hidden_layer_sizes = self._check_hidden_layer_sizes()
        dtype = self._arithmetic(goes_on)
        rows, targets = self._validate_rows(X, y, dtype, reset=not goes_on)
        encoded = self._encode_targets(targets, classes_are_known=goes_on or is_partial)
        weight = self._whole_weight(sample_weight, rows, targets)
        if scipy.sparse.issparse(rows) and (self.input_dropout or self.input_noise):
            raise ValueError("input_dropout and input_noise need dense rows, got a sparse X")
        self._warn_of_scale(rows)
        random_state = check_random_state(self.random_state)
        layer_sizes = (rows.shape[1], *hidden_layer_sizes, self.n_outputs_)
        if goes_on:
            self._check_structure(layer_sizes, dtype)
            self._network = self._network._twin()  # others go on to predict by that one
        else:
            self._build(layer_sizes, dtype, random_state)
        self._network.n_threads = self.n_threads
        names = self._names_of_weight(sample_weight)
        data = self._network_data(rows, encoded, weight, names)
        self._warn_of_scale_of_targets(data.y)
        max_iter = 1 if is_partial else self.max_iter
        hooks = Hooks(self, X, y, sample_weight, self._fitted_attributes)
        with installed(self), hooks.of_fit(max_iter), closing(progress(self.verbose)) as display:
            parameters = self._current_parameters()

            def end_epoch(epoch):
                self._publish(self._history)
                display(epoch)
                is_over = hooks.end_epoch(epoch)
                if not is_over:
                    self._take_over_changes(parameters, random_state)
                return is_over

            watch = Watch(hooks.begin_epoch, end_epoch, display.say)
            if self.max_seconds is not None:
                watch = watch._replace(deadline=time.perf_counter() + self.max_seconds)
            order, validate = self._set_rows_aside(X, targets, data, validation, random_state)
            watch = watch._replace(validate=validate)
            if self.loss in OF_DEVIANCE and not goes_on:
                self._network._begin_at_mean(data, order)
            batch_size = self._check_batch_size(len(order))
            if self.diagnostics:
                probe = Probe(self, self._network, data, order, batch_size)
                watch = watch._replace(measure=probe)
            if self.solver == "lbfgs":
                self._fit_lbfgs(data, watch)
            else:
                self._fit_epochs(data, order, batch_size, watch, random_state, max_iter, is_partial)
            if self.stop_reason_ == "max_seconds":
                warnings.warn(
                    f"max_seconds={self.max_seconds:g} ended the fit in epoch {self.n_iter_} of "
                    f"{max_iter}, before it had converged.",
                    ConvergenceWarning,
                    stacklevel=4,
                )
        return self

    def _arithmetic(self, goes_on=False):
        """The dtype that is asked for, and if none is, that of the network to go on with."""
        if self.dtype is None and goes_on:
            return self._network.dtype.name
        return self.dtype or ("float64" if self.solver == "lbfgs" else "float32")

    def _validate_rows(self, X, y, dtype, *, reset):
        is_regressor = isinstance(self, RegressorMixin)
        X, y = self._validate(dtype, X, y, reset=reset, multi_output=True, y_numeric=is_regressor)
        X = trusted(X)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _validate(self, dtype, X, *y, **options):
        """scikit-learn's checks of X, or of X and y."""
        try:
            rows = sparse_as(dtype[0] if isinstance(dtype, tuple) else dtype, X)
            with np.errstate(over="ignore", invalid="ignore"):  # what is then infinite is an error
                return validate_data(
                    self, rows, *y, accept_sparse="csr", dtype=dtype, order="C", **options
                )
        except (ValueError, TypeError) as error:
            raise naming_columns(error, X) from error

    def _validate_weight(self, sample_weight, X):
        if sample_weight is None:
            return None
        with np.errstate(over="ignore"):  # what is then infinite is an error
            return _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)

    def _whole_weight(self, sample_weight, X, y):
        """What every row counts: its own weight times that of its class."""
        weight = self._validate_weight(sample_weight, X)
        class_weight = self._class_weight_of_rows(y)
        if class_weight is None:
            return weight
        with np.errstate(over="ignore"):
            return class_weight if weight is None else weight * class_weight

    def _names_of_weight(self, sample_weight):
        """What an error calls the whole weight."""
        given = {"sample_weight": sample_weight, "class_weight": vars(self).get("class_weight")}
        names = [name for name, value in given.items() if value is not None]
        return " times ".join(names) or "sample_weight"

    def _network_data(self, X, encoded_y, weight, name_of_weight):
        return Data(
            Features.of(X),
            self._network._check_y(encoded_y, X.shape[0]),
            self._network._check_sample_weight(weight, X.shape[0], name_of_weight),
        )

    def _build(self, layer_sizes, dtype, random_state):
        """A new network with its first weights, and nothing learned."""
        loss = self._network_loss()
        filled("loss_params", loss, self.loss_params, LOSS_PARAMS, shown=self.loss)
        self._network = Network(
            layer_sizes,
            self.activation,
            self._network_loss(),
            loss_params=self.loss_params,
            layer_norm=bool(self.layer_norm),
            residual=bool(self.residual),
            init=self.init,
            connections=self.connections,
            dtype=dtype,
            random_state=random_state,
        )
        self._history = History()
        self._descent = None
        self.n_layers_ = len(layer_sizes)
        self.out_activation_ = OUTPUT_ACTIVATIONS[self._network.loss]

    def _fitted_attributes(self):
        """What a copy of the estimator needs in order to predict as it would now."""
        return {"_network": copy.deepcopy(self._network)}

    def _fit_lbfgs(self, data, watch):
        minimum = minimize_lbfgs(
            self._network,
            data,
            self._history,
            watch,
            alpha=self.alpha,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
        )
        self._descent = None
        self.loss_ = minimum.loss
        self.n_iter_ = minimum.n_iter
        self.t_ = self._history.n_rows_seen
        self.history_ = self._history.columns
        self.best_iter_ = self._history.best_epoch
        self.stop_reason_ = minimum.reason
        if minimum.failure:
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s): {minimum.failure}. "
                f"Increase max_iter (now {self.max_iter}) or scale the features.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _fit_epochs(self, data, order, batch_size, watch, random_state, max_iter, is_partial):
        self._descent = self._descent_for(self._network, random_state, keep_state=is_partial)
        self.stop_reason_ = train_epochs(
            self._descent,
            data,
            order,
            random_state if self.shuffle else None,
            self._history,
            Stopping(self.tol, self.n_iter_no_change, self.early_stopping),
            watch,
            batch_size=batch_size,
            max_iter=max_iter,
        )
        self._publish(self._history)
        is_meant_to_end = is_partial or self.learning_rate in WITH_AN_END
        if self.stop_reason_ == "max_iter" and not is_meant_to_end:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                "reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _set_rows_aside(self, X, y, data, validation, random_state):
        """The rows to train on; and a function for what is measured of the others, if any."""
        everything = np.arange(data.n_rows)
        X_val, y_val, weight_val = validation
        if X_val is not None or y_val is not None:
            return everything, self._validation_of_own(X_val, y_val, weight_val)
        if weight_val is not None:
            raise ValueError("sample_weight_val needs X_val and y_val")
        if not self.early_stopping or self.solver == "lbfgs":
            return everything, None
        order, part = set_aside(self, X, y, data, random_state)
        return order, validation_of(self, [part])

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
        return validation_of(self, parts, are_numbered=are_pairs)

    def _descent_for(self, network, random_state, *, keep_state):
        settings = settings_of_descent(self, network.n_layers - 1)
        descent = getattr(self, "_descent", None) if keep_state else None
        if descent is not None:
            goes_on = descent.goes_on_with(self.solver, settings)
            descent = descent.copy_for(network) if goes_on else None
        seed = _seed_for(settings, 0 if descent is None else descent.seed, random_state)
        if descent is not None:
            descent.change(settings, seed)
            return descent
        return Descent(network, self.solver, settings, seed)

    def _current_parameters(self):
        return {name: vars(self)[name] for name in self._parameter_constraints}

    def _take_over_changes(self, parameters, random_state):
        """Let what a callback has changed since ``parameters`` count from now on, or raise."""
        now = vars(self)
        others = [name for name, before in parameters.items() if now[name] is not before]
        changed = [name for name in others if not _is_same(now[name], parameters[name])]
        parameters.update({name: now[name] for name in others})
        if not changed:
            return
        allowed = ("n_threads",) if self.solver == "lbfgs" else CHANGED_IN_TRAINING
        refused = [f"{name}={now[name]!r}" for name in changed if name not in allowed]
        if refused:
            raise ValueError(
                f"a callback has set {', '.join(refused)}: in the middle of a fit only "
                f"{', '.join(allowed)} can change for solver={self.solver!r}"
            )
        self._validate_params()
        check_combinations(self)
        self._network.n_threads = self.n_threads
        if self.solver == "lbfgs":
            return
        settings = settings_of_descent(self, self._network.n_layers - 1)
        if not self._descent.goes_on_with(self.solver, settings):
            raise ValueError(
                "a callback has switched averaging or amsgrad on or off, which the state of a "
                "solver at work does not allow"
            )
        self._descent.change(settings, _seed_for(settings, self._descent.seed, random_state))

    def _publish(self, history):
        """Show the history in scikit-learn's attributes and in ``history_``."""
        self.history_ = history.columns
        self.n_iter_ = history.n_epochs
        self.best_iter_ = history.best_epoch
        if self.solver == "lbfgs":
            return
        self.loss_curve_ = history.loss_curve
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else np.nan
        self.t_ = history.n_rows_seen
        by_score = self.early_stopping
        self.best_loss_ = None if by_score else history.best_loss
        self.validation_scores_ = history.validation_scores if by_score else None
        self.best_validation_score_ = history.best_validation_score if by_score else None

    @contextmanager
    def _aside(self):
        """Work on the estimator while other threads see it as it was; an error takes all back."""
        before = vars(self)
        if "_in_training" in before:
            raise RuntimeError(
                f"this {type(self).__name__} is being fitted: fit, partial_fit and initialize must "
                "not be called before that has ended, as by a callback or another thread (a "
                "callback may fit a clone)"
            )
        history = before.get("_history")
        n_known = history.snapshot() if history is not None else None
        try:
            self.__dict__ = before | {"_in_training": InTraining(threading.get_ident(), before)}
            yield
            del self._in_training  # from here on everybody sees what is new
        except BaseException:
            # scikit-learn ends its callbacks by these, after us
            for name in ("_callback_fit_ctx", "_skl_callbacks_to_teardown"):
                if name in vars(self):
                    before[name] = vars(self)[name]
            self.__dict__ = before
            if history is not None:
                history.restore(n_known)
            raise

    def _as_published(self):
        """The estimator of this moment, whole, whatever another thread makes of it meanwhile.

        In the thread that fits it, and so in callbacks, it is the one in training.
        """
        attributes = self.__dict__
        if "_in_training" in attributes:
            training = attributes["_in_training"]
            if training.thread != threading.get_ident():
                attributes = training.published
        whole = object.__new__(self.__class__)
        whole.__dict__ = attributes
        return whole

    def __getstate__(self):
        state = BaseEstimator.__getstate__(self._as_published())
        return {name: state[name] for name in state if name != "_in_training"}

    def _forget(self, names):
        """Remove what an earlier fit has left behind."""
        for name in names:
            vars(self).pop(name, None)

    # Checks --------------------------------------------------------------------------------------

    def _warn_of_scale(self, X):
        """Warn of columns so large that training is likely to diverge or to stand still."""
        X = X[:: -(-X.shape[0] // ROWS_TO_LOOK_AT)].astype(np.float64)
        if scipy.sparse.issparse(X):
            squares = np.asarray(X.multiply(X).sum(axis=0)).ravel()
        else:
            squares = np.einsum("ij,ij->j", X, X)
        self._feature_sizes = np.sqrt(squares / X.shape[0])
        columns = np.flatnonzero(self._feature_sizes > LARGEST_SCALE)
        if len(columns) == 0:
            return
        names = getattr(self, "feature_names_in_", np.arange(X.shape[1]))[columns]
        shown = ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
        warnings.warn(
            f"X has {len(names)} unscaled column(s), of a root mean square beyond "
            f"{LARGEST_SCALE:g}: {shown}. Training may diverge or stand still; scale the features, "
            "for instance by sklearn.preprocessing.StandardScaler.",
            stacklevel=5,
        )

    def _warn_of_scale_of_targets(self, y):
        """The same of the numbers that a regressor is to predict."""
        if not isinstance(self, RegressorMixin):
            return
        y = y[:: -(-len(y) // ROWS_TO_LOOK_AT)].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            self._target_sizes = np.maximum(abs(y.mean(axis=0)), y.std(axis=0))
        columns = np.flatnonzero(self._target_sizes > LARGEST_SCALE)
        if self.loss not in REMEDIES_OF_SCALE or len(columns) == 0:
            return
        which = "y" if y.shape[1] == 1 else f"column(s) {', '.join(map(str, columns[:10]))} of y"
        warnings.warn(
            f"{which}: the mean or standard deviation is beyond {LARGEST_SCALE:g}, here "
            f"{self._target_sizes.max():.3g}. Under {self.loss!r} training may diverge or stand "
            f"still; {REMEDIES_OF_SCALE[self.loss]}.",
            stacklevel=5,
        )

    def _check_hidden_layer_sizes(self):
        sizes = self.hidden_layer_sizes
        return check_layer_sizes(
            sizes if hasattr(sizes, "__iter__") else [sizes], "hidden_layer_sizes"
        )

    def _check_structure(self, layer_sizes, dtype):
        """Raise if the parameters ask for another network than the one to go on with."""
        loss = self._network_loss()
        given = {
            "layer_sizes": layer_sizes,
            "activation": check_activation(self.activation, len(layer_sizes) - 2),
            "loss": loss,
            "loss_params": filled("loss_params", loss, self.loss_params, LOSS_PARAMS),
            "layer_norm": bool(self.layer_norm),
            "residual": bool(self.residual),
            "dtype": np.dtype(dtype),
        }
        other = [name for name in given if given[name] != getattr(self._network, name)]
        if not self._network._has_connections(self.connections):
            other.append("connections")
        if other:
            asked = ", ".join(f"{name}={given[name]!r}" for name in other if name in given)
            raise ValueError(
                "warm_start and partial_fit go on with the network that is there, and so cannot "
                "change hidden_layer_sizes, activation, loss, loss_params, layer_norm, residual, "
                f"connections, dtype or the number of outputs: it is {self._network!r}, others are "
                f"{asked or 'the connections'}"
            )

    def _check_batch_size(self, n_rows):
        if self.solver == "lbfgs":
            return n_rows
        if self.solver == "rprop":
            if self.batch_size != "auto" and self.batch_size < n_rows:
                raise ValueError(
                    "solver='rprop' takes all rows at a time: batch_size must be 'auto', got "
                    f"{self.batch_size}"
                )
            return n_rows
        if self.batch_size == "auto":
            return min(LARGEST_AUTO_BATCH, n_rows)
        if self.batch_size > n_rows:
            warnings.warn(
                f"Got `batch_size` less than 1 or larger than sample size: {self.batch_size} for "
                f"{n_rows} rows. It is going to be clipped.",
                stacklevel=5,
            )
        return min(int(self.batch_size), n_rows)

    def _twin_in_float64(self, X, y, sample_weight):
        """The network, fitted or as it would begin, in float64, and the rows as its data."""
        twin = clone(self).set_params(dtype="float64")
        if self.__sklearn_is_fitted__():
            vars(twin).update({name: value for name, value in vars(self).items() if name in FITTED})
            rows, targets = twin._validate_rows(X, y, "float64", reset=False)
            encoded = twin._encode_validation_targets(targets)
            twin._network = self._network._copy_as("float64")
        else:
            twin._validate_params()
            rows, targets = twin._validate_rows(X, y, "float64", reset=True)
            encoded = twin._encode_targets(targets, classes_are_known=False)
            sizes = (rows.shape[1], *twin._check_hidden_layer_sizes(), twin.n_outputs_)
            twin._build(sizes, "float64", check_random_state(twin.random_state))
        weight = twin._whole_weight(sample_weight, rows, targets)
        names = twin._names_of_weight(sample_weight)
        return twin._network, twin._network_data(rows, encoded, weight, names)

    # What is there after a fit -------------------------------------------------------------------

    def __sklearn_is_fitted__(self):
        return "_network" in vars(self._as_published())

    def _output(self, X):
        """The network's output for X, of shape (n_samples, n_outputs_)."""
        network = self._network_for_rows()
        if "feature_names_in_" not in vars(self):
            # costs a twentieth of scikit-learn's checks, which follow if it does not take X
            output = network._dense_output(X)
            if output is not None:
                return output
        return network.output(self._validate((np.float64, np.float32), X, reset=False))

    def _network_for_rows(self):
        """The fitted network, with the number of threads that is asked for now."""
        network = self._fitted_network()
        check_n_threads(self.n_threads)
        network.n_threads = self.n_threads
        return network

    def _features(self, X, network):
        X = self._validate(network.dtype, X, reset=False)
        return Features.of(trusted(X))

    @_of_one_moment
    def activations(self, X, layer=None):
        """What every layer makes of X.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.
        layer : int or None, default=None
            0 for the first hidden layer, -1 for the output; None for all.

        Returns
        -------
        ndarray of shape (n_samples, n_nodes), or a list of them
            The activations a^l, in the order of ``coefs_``.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = MLPClassifier((20, 5), solver='lbfgs', max_iter=1000, random_state=0)
        >>> classifier = classifier.fit(X, y)
        >>> classifier.activations(X, layer=1).shape
        (150, 5)
        """
        network = self._network_for_rows()
        features = self._features(X, network)
        if layer is None:
            return network._activations(features, range(network.n_layers))
        if not isinstance(layer, Integral) or not -network.n_layers <= layer < network.n_layers:
            raise ValueError(
                f"layer must be None or a whole number from {-network.n_layers} to "
                f"{network.n_layers - 1}, got {layer!r}"
            )
        return network._activations(features, [layer % network.n_layers])[0]

    def _initialize(self, n_features):
        """Build the network that ``fit`` would begin with, once the targets are known."""
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

    @property
    def coefs_(self):
        return self._as_published()._fitted_network("coefs_").W

    @coefs_.setter
    def coefs_(self, coefs):
        network = self._as_published()._fitted_network("coefs_")
        network.params = self._pairs(coefs, network.b)

    @property
    def intercepts_(self):
        return self._as_published()._fitted_network("intercepts_").b

    @intercepts_.setter
    def intercepts_(self, intercepts):
        network = self._as_published()._fitted_network("intercepts_")
        network.params = self._pairs(network.W, intercepts)

    @property
    def norms_(self):
        network = self._as_published()._fitted_network("norms_")
        if not network.layer_norm:
            raise AttributeError("there are norms_ with layer_norm=True only")
        return network.norms

    @staticmethod
    def _pairs(coefs, intercepts):
        coefs, intercepts = list(coefs), list(intercepts)
        if len(coefs) != len(intercepts):
            raise ValueError(
                "coefs_ and intercepts_ must have an array for each layer, got "
                f"{len(coefs)} and {len(intercepts)}"
            )
        return zip(coefs, intercepts, strict=True)

    def _fitted_network(self, attribute=None):
        network = vars(self).get("_network")
        if network is None and attribute:
            raise AttributeError(f"{type(self).__name__} has no {attribute} before it is fitted")
        if network is None:
            check_is_fitted(self)
        return network

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _sparse_format(y):
    """The name of the sparse class in which an indicator matrix like y is answered, or None."""
    if not scipy.sparse.issparse(y):
        return None
    return "csr_array" if isinstance(y, scipy.sparse.sparray) else "csr_matrix"


class MLPClassifier(ClassifierMixin, _MLP):
    __doc__ = f"""A multilayer perceptron for classification.

    Binary, multiclass and multilabel (y an indicator matrix). Parameters, attributes and results
    are those of scikit-learn's class of this name.

    Parameters
    ----------
    {PARAMETERS}
    class_weight : dict, 'balanced', list of dict or None, default=None
        What a row counts in the loss by its class, times its sample weight. 'balanced' is
        ``n_samples / (n_classes * n_samples_of_the_class)``; a list has a dict for each label of an
        indicator matrix. Rows of ``X_val`` are not weighted by it.
    loss : {{'log_loss', 'squared_error'}}, default='log_loss'
        The cross-entropy, whose ``label_smoothing`` (0) in ``loss_params`` gives that share of the
        target to all classes alike; or half the squared error of the probabilities, a poor choice
        for classes that is here for comparison.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    {ATTRIBUTES}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastmlp import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier(max_iter=1000, random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.95
    True
    """

    _parameter_constraints: dict = {
        **_MLP._parameter_constraints,
        "class_weight": [None, dict, list, StrOptions({"balanced"})],
        "loss": [StrOptions(set(LOSSES_OF_CLASSIFIER))],
    }

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=1e-4,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=1e-3,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        n_threads=None,
        dtype=None,
        scoring=None,
        callbacks=None,
        max_seconds=None,
        loss_params=None,
        solver_params=None,
        schedule_params=None,
        weight_decay=None,
        l1=0.0,
        dropout=0.0,
        input_dropout=0.0,
        input_noise=0.0,
        max_norm=None,
        clip_norm=None,
        clip_value=None,
        averaging=None,
        layer_norm=False,
        residual=False,
        init=None,
        connections=None,
        diagnostics=False,
        class_weight=None,
        loss="log_loss",
    ):
        self._set(locals())

    def _network_loss(self):
        of_classes, of_outputs = LOSSES_OF_CLASSIFIER[self.loss]
        return of_classes if self._target_kind == "multiclass" else of_outputs

    def _encode_targets(self, y, *, classes_are_known):
        is_multilabel = self._is_multilabel(y)
        if classes_are_known:
            self._check_labels(y, is_multilabel, all_of_them=self.warm_start)
        else:
            self.classes_ = unique_labels(y)
            self._learn_kind(is_multilabel, _sparse_format(y))
        return self._encode(y)

    def _encode_validation_targets(self, y):
        self._check_labels(y, self._is_multilabel(y), all_of_them=False)
        return self._encode(y)

    def _is_multilabel(self, y):
        check_labels_are_plain("y", y)
        check_classification_targets(y)
        if y.ndim == 1:
            return False
        kind = type_of_target(y, input_name="y")
        if kind == "multiclass-multioutput":
            raise ValueError(
                "y must be class labels (1-D) or an indicator matrix of labels: of several "
                "columns with more than two values each there is no log loss"
            )
        return kind == "multilabel-indicator"

    def _encode(self, y):
        if self._target_kind == "multilabel":
            return y.toarray() if scipy.sparse.issparse(y) else y
        return np.searchsorted(self.classes_, y)

    def _class_weight_of_rows(self, y):
        if self.class_weight is None:
            return None
        return compute_sample_weight(self.class_weight, y)

    def _learn_kind(self, is_multilabel, sparse_format=None):
        n_classes = len(self.classes_)
        if n_classes == 0:
            raise ValueError("classes must have at least one label, got none")
        self._sparse_format = sparse_format
        # A single class is one output under softmax: 1 for every row.
        if is_multilabel:
            self._target_kind = "multilabel"
        else:
            self._target_kind = "binary" if n_classes == 2 else "multiclass"
        self.n_outputs_ = 1 if self._target_kind == "binary" else n_classes

    def _check_labels(self, y, is_multilabel, *, all_of_them):
        """Raise unless y fits the classes that are known."""
        if is_multilabel != (self._target_kind == "multilabel"):
            raise ValueError("y must be of the same kind as before: labels, or an indicator matrix")
        labels = unique_labels(y)
        if all_of_them and set(labels) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {labels}"
            )
        if len(np.setdiff1d(labels, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {labels}."
            )

    def _decide(self, output):
        """The encoded class of every row, or an indicator matrix."""
        if self._target_kind == "multiclass":
            return output.argmax(axis=1)
        decision = (output > 0.5).astype(int)
        return decision[:, 0] if self._target_kind == "binary" else decision

    def _score_output(self, y, output, sample_weight):
        if not np.isfinite(output).all():
            return np.nan
        y = y.astype(int)
        return accuracy_score(
            y if self._target_kind == "multilabel" else y[:, 0],
            self._decide(output),
            sample_weight=sample_weight,
        )

    @_of_mini_batches
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X,
        y,
        sample_weight=None,
        classes=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        """Go once over the rows, from the weights and the solver's state that are there.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels or an indicator matrix; not every class must be among them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss; not negative.
        classes : array-like of shape (n_classes,), default=None
            All classes that will come; needed in the first call. For an indicator matrix the
            numbers of its columns.
        X_val, y_val, sample_weight_val : as of `fit`, default=None
            Validation rows and their weights, which are recorded in ``history_``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As `fit`. The method is not there for ``solver='lbfgs'`` and with ``early_stopping``.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from fastmlp import MLPClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> classifier = MLPClassifier(random_state=0)
        >>> for start in range(0, 1797, 600):
        ...     rows = slice(start, start + 600)
        ...     classifier = classifier.partial_fit(X[rows], y[rows], classes=range(10))
        >>> classifier.t_
        1797
        """
        with self._aside():
            if self.class_weight == "balanced":
                raise ValueError(
                    "class_weight='balanced' needs all rows, and partial_fit sees some: give a "
                    "dict, for instance from sklearn.utils.class_weight.compute_class_weight"
                )
            check_labels_are_plain("classes", classes)
            if _check_partial_fit_first_call(self, classes):
                self._learn_kind(type_of_target(y).startswith("multilabel"), _sparse_format(y))
            validation = (X_val, y_val, sample_weight_val)
            return self._fit(X, y, sample_weight, validation, is_partial=True)

    def initialize(self, n_features, classes, *, multilabel=False):
        """Build the network without fitting, so that its weights can be seen and set.

        ``partial_fit``, and ``fit`` with ``warm_start=True``, go on from there.

        Parameters
        ----------
        n_features : int
            Columns of X, at least 1.
        classes : array-like of shape (n_classes,)
            The labels; with ``multilabel`` the numbers of an indicator matrix's columns.
        multilabel : bool, default=False
            Whether a row may have several labels, or none.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For fewer than one feature or class.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPClassifier
        >>> classifier = MLPClassifier((), random_state=0).initialize(2, classes=['no', 'yes'])
        >>> classifier.coefs_ = [[[1], [1]]]
        >>> classifier.intercepts_ = [[-1.5]]
        >>> classifier.predict(np.array([[0, 1], [1, 1]]))
        array(['no', 'yes'], dtype='<U3')
        """
        with self._aside():
            self._forget(FITTED)
            check_labels_are_plain("classes", classes)
            self.classes_ = unique_labels(classes)
            self._learn_kind(multilabel)
            return self._initialize(n_features)

    @_of_one_moment
    def predict(self, X):
        """The most probable class of every row; for several labels an indicator matrix.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray or sparse matrix of shape (n_samples,) or (n_samples, n_labels)
            Sparse (CSR) where the first y was.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = MLPClassifier(max_iter=1000, random_state=0).fit(X, y)
        >>> classifier.predict(X[[0, 60, 120]])
        array([0, 1, 2])
        """
        decision = self._decide(self._output(X))
        if self._target_kind != "multilabel":
            return self.classes_[decision]
        if self._sparse_format is None:
            return decision
        return getattr(scipy.sparse, self._sparse_format)(decision)

    @_of_one_moment
    def predict_proba(self, X):
        """The probability of every class; for several labels that of each of them.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = MLPClassifier(max_iter=1000, random_state=0).fit(X, y)
        >>> classifier.predict_proba(X[[0]]).round(1)
        array([[1., 0., 0.]])
        """
        output = self._output(X)
        if self._target_kind != "binary":
            return output
        probabilities = np.empty((len(output), 2), dtype=output.dtype)
        np.subtract(1, output[:, 0], out=probabilities[:, 0])
        probabilities[:, 1] = output[:, 0]
        return probabilities

    def predict_log_proba(self, X):
        """The logarithm of ``predict_proba``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``; -inf where a probability is 0.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = MLPClassifier(max_iter=1000, random_state=0).fit(X, y)
        >>> classifier.predict_log_proba(X[:2]).shape
        (2, 3)
        """
        with np.errstate(divide="ignore"):  # log(0) is -inf
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def d2_of_deviance(y, predicted, power, sample_weight):
    """The share of Tweedie's deviance that is explained; 0 where y is constant, as R^2."""
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    check_consistent_length(y, predicted, weight)
    y, predicted, weight = (
        np.asarray(numbers, np.float64)[weight > 0] for numbers in (y, predicted, weight)
    )
    if len(y) > 1 and (y == y[0]).all():
        return 0.0
    predicted = np.maximum(predicted, np.finfo(np.float64).tiny)  # exp may round to 0
    return d2_tweedie_score(y, predicted, power=power, sample_weight=weight)


class MLPRegressor(RegressorMixin, _MLP):
    __doc__ = f"""A multilayer perceptron for regression.

    One output or several. Parameters, attributes and results are those of scikit-learn's class of
    this name, but for the loss of several outputs under 'squared_error': it is the sum over the
    outputs, to which the gradient belongs; scikit-learn shows the mean.

    Parameters
    ----------
    loss : str, default='squared_error'
        Half the squared error; 'absolute_error'; 'huber' (``delta`` in ``loss_params``, 1: from
        where it goes straight); 'quantile' (``quantiles``, 0.5, or an ascending list of them for
        one y: ``predict`` then gives a column for each, and they do not cross); or half the
        deviance of 'poisson' and 'tweedie' (``power`` between 1 and 2, 1.5; y >= 0) and 'gamma'
        (y > 0) with exp as the output's activation. ``score`` is R^2, for quantiles, 'gamma' and
        'tweedie' D^2, scikit-learn's `d2_pinball_score` and `d2_tweedie_score`. 'gamma' and
        'tweedie' begin at the mean of y: the last biases are its logarithm.
    {PARAMETERS}

    Attributes
    ----------
    {ATTRIBUTES}

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> y = X.ravel() ** 2
    >>> regressor = MLPRegressor(solver='lbfgs', random_state=0).fit(X, y)
    >>> regressor.score(X, y) > 0.99
    True
    """

    _parameter_constraints: dict = {
        **_MLP._parameter_constraints,
        "loss": [StrOptions(LOSSES_OF_REGRESSOR)],
    }

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=1e-4,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=1e-3,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        n_threads=None,
        dtype=None,
        scoring=None,
        callbacks=None,
        max_seconds=None,
        loss_params=None,
        solver_params=None,
        schedule_params=None,
        weight_decay=None,
        l1=0.0,
        dropout=0.0,
        input_dropout=0.0,
        input_noise=0.0,
        max_norm=None,
        clip_norm=None,
        clip_value=None,
        averaging=None,
        layer_norm=False,
        residual=False,
        init=None,
        connections=None,
        diagnostics=False,
    ):
        self._set(locals())

    def _network_loss(self):
        return self.loss

    def _encode_targets(self, y, *, classes_are_known):
        self.n_outputs_ = self._outputs_for(1 if y.ndim == 1 else y.shape[1])
        return y

    def _outputs_for(self, n_columns):
        """How many outputs the network has for so many columns of y."""
        n_quantiles = len(self._quantiles())
        if n_quantiles > 1 and n_columns > 1:
            raise ValueError(
                f"several quantiles need one y, got {n_columns} columns and quantiles "
                f"{self._quantiles()}"
            )
        return max(n_columns, n_quantiles)

    def _quantiles(self):
        """Those to predict; none for other losses."""
        options = filled("loss_params", self.loss, self.loss_params, LOSS_PARAMS)
        return options.get("quantiles", ())

    def _encode_validation_targets(self, y):
        return y

    def _score_output(self, y, output, sample_weight):
        if not np.isfinite(output).all():
            return np.nan
        options = self._network.loss_params
        with np.errstate(over="ignore", invalid="ignore"):  # just before it diverges
            if self._network.loss in OF_DEVIANCE:
                power = options.get("power", 2)
                columns = zip(y.T if y.ndim > 1 else [y], output.T, strict=True)
                scores = [d2_of_deviance(*pair, power, sample_weight) for pair in columns]
                return float(np.mean(scores))
            if "quantiles" not in options:
                return r2_score(y, output, sample_weight=sample_weight)
            quantiles = options["quantiles"]
            columns = output.T if len(quantiles) > 1 else [output]
            scores = [
                d2_pinball_score(y, column, alpha=quantile, sample_weight=sample_weight)
                for quantile, column in zip(quantiles, columns, strict=True)
            ]
            return float(np.mean(scores))

    @_of_one_moment
    def score(self, X, y, sample_weight=None):
        """R^2 of the predictions; for 'quantile', 'gamma' and 'tweedie' D^2, the mean if several.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The true numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            1 is perfect, 0 is as good as the mean, or as the quantile, of y. D^2 is the share
            that the predictions explain of the pinball loss, or of the deviance.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPRegressor
        >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
        >>> regressor = MLPRegressor(solver='lbfgs', random_state=0).fit(X, X.ravel() ** 2)
        >>> regressor.score(X, X.ravel() ** 2) > 0.99
        True
        """
        if self._fitted_network().loss not in ("quantile", *OF_DEVIANCE):
            return super().score(X, y, sample_weight)
        return self._score_output(np.asarray(y), self._output(X), sample_weight)

    @_of_mini_batches
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        """Go once over the rows, from the weights and the solver's state that are there.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The numbers to predict.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss; not negative.
        X_val, y_val, sample_weight_val : as of `fit`, default=None
            Validation rows and their weights, which are recorded in ``history_``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As `fit`. The method is not there for ``solver='lbfgs'`` and with ``early_stopping``.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPRegressor
        >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
        >>> regressor = MLPRegressor(random_state=0)
        >>> for _ in range(3):
        ...     regressor = regressor.partial_fit(X, X.ravel() ** 2)
        >>> len(regressor.loss_curve_)
        3
        """
        with self._aside():
            validation = (X_val, y_val, sample_weight_val)
            return self._fit(X, y, sample_weight, validation, is_partial=True)

    def initialize(self, n_features, n_outputs=1):
        """Build the network without fitting, so that its weights can be seen and set.

        ``partial_fit``, and ``fit`` with ``warm_start=True``, go on from there.

        Parameters
        ----------
        n_features : int
            Columns of X, at least 1.
        n_outputs : int, default=1
            Columns of y, at least 1.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For fewer than one feature or output.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPRegressor
        >>> regressor = MLPRegressor(hidden_layer_sizes=()).initialize(n_features=1)
        >>> regressor.coefs_, regressor.intercepts_ = [[[2]]], [[1]]
        >>> regressor.predict(np.array([[0], [10]]))
        array([ 1., 21.])
        """
        if not isinstance(n_outputs, Integral) or n_outputs < 1:
            raise ValueError(f"n_outputs must be a whole number >= 1, got {n_outputs!r}")
        with self._aside():
            self._forget(FITTED)
            self.n_outputs_ = self._outputs_for(int(n_outputs))
            return self._initialize(n_features)

    @_of_one_moment
    def predict(self, X):
        """The predicted numbers.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPRegressor
        >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
        >>> regressor = MLPRegressor(solver='lbfgs', random_state=0).fit(X, X.ravel() ** 2)
        >>> regressor.predict([[0.5]]).round(1)
        array([0.2])
        """
        output = self._output(X)
        return output[:, 0] if output.shape[1] == 1 else output
