"""Conversion from and to the estimators of scikit-learn, with the state of training; and to C."""

import os
from copy import copy
from typing import Any, Self

import numpy as np
import sklearn.neural_network
from sklearn.base import is_classifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from fastmlp._engine.c_source import Source, write_source
from fastmlp._estimators.parameters import (
    changed_parameters,
    is_equal,
    settings_of_descent,
    valid_defaults,
)
from fastmlp._estimators.sklearn_private import AdamOptimizer, SGDOptimizer
from fastmlp._training.descent import Descent

# Parameters that decide how a fit runs, but not what the estimator is.
OF_THE_RUN = (
    "n_threads", "dtype", "scoring", "callbacks", "max_seconds", "diagnostics", "init",
)  # fmt: skip

# The losses of networks whose outputs scikit-learn can compute.
LOSSES = ("log_loss", "binary_log_loss", "squared_error", "poisson")

# The arrays of a solver's state, by their names in scikit-learn's optimizers.
STATES = {"adam": ("ms", "vs"), "sgd": ("velocities",)}


class Converts:
    """Mixin with `from_sklearn`, `to_sklearn` and `to_c`."""

    @classmethod
    def from_sklearn(cls, mlp: Any) -> Self:
        """Convert a fitted estimator of scikit-learn.

        The network is computed in the dtype of its weights, mostly float64, and the outputs are
        then the same up to rounding. ``partial_fit`` goes on from the state of its solver.

        Parameters
        ----------
        mlp : sklearn.neural_network.MLPClassifier or MLPRegressor
            The fitted estimator, of the class with the same name. It is not changed.

        Returns
        -------
        MLPClassifier or MLPRegressor
            A fitted estimator with the same parameters.

        Raises
        ------
        TypeError
            If it is an estimator of another class.

        Examples
        --------
        >>> import sklearn.neural_network
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> theirs = sklearn.neural_network.MLPClassifier(solver='lbfgs', random_state=0).fit(X, y)
        >>> ours = MLPClassifier.from_sklearn(theirs)
        >>> abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() < 1e-12
        np.True_
        """
        twin = _their_class(cls)
        if not isinstance(mlp, twin):
            raise TypeError(f"mlp must be a {twin.__module__}.{twin.__name__}, got {mlp!r}")
        check_is_fitted(mlp)
        defaults = cls().get_params(deep=False)
        given = {name: value for name, value in mlp.get_params(deep=False).items()
                 if name in defaults}  # fmt: skip
        model = cls(**given, dtype=mlp.coefs_[0].dtype.name)
        if is_classifier(model):
            is_multilabel = mlp._label_binarizer.y_type_.startswith("multilabel")
            model.initialize(mlp.n_features_in_, mlp.classes_, multilabel=is_multilabel)
        else:
            model.initialize(mlp.n_features_in_, mlp.n_outputs_)
        model.coefs_, model.intercepts_ = mlp.coefs_, mlp.intercepts_
        if hasattr(mlp, "feature_names_in_"):
            model.feature_names_in_ = mlp.feature_names_in_.copy()
        model._take_history(mlp)
        if mlp.solver in STATES and hasattr(mlp, "_optimizer"):
            model._descent = _descent_of(model, mlp._optimizer)
        return model

    def _take_history(self, mlp):
        """Take over what scikit-learn has recorded of the training."""
        history = self._history
        history.loss_curve = list(getattr(mlp, "loss_curve_", ()))
        history.validation_scores = list(getattr(mlp, "validation_scores_", None) or ())
        history.columns = {"loss": list(history.loss_curve)}
        if history.validation_scores:
            history.columns["val_score"] = list(history.validation_scores)
            history.best_validation_score = mlp.best_validation_score_
        history.best_loss = min(history.loss_curve, default=np.inf)
        history.n_bad_epochs = getattr(mlp, "_no_improvement_count", 0)
        history.n_rows_seen, history.n_epochs = mlp.t_, mlp.n_iter_
        scores = history.validation_scores
        losses = -np.array(scores) if scores else np.array(history.loss_curve)
        of_fit = losses[-mlp.n_iter_ :]
        history.best_epoch = int(of_fit.argmin()) + 1 if len(of_fit) else mlp.n_iter_
        self._publish(history)
        self.loss_, self.t_ = mlp.loss_, mlp.t_
        self.stop_reason_ = "max_iter" if mlp.n_iter_ == mlp.max_iter else "converged"

    def to_sklearn(self) -> Any:
        """Convert to the estimator of scikit-learn with the same name.

        ``partial_fit`` goes on from the state of the solver, if it is 'adam' or 'sgd'.

        Returns
        -------
        sklearn.neural_network.MLPClassifier or MLPRegressor
            A fitted estimator with copies of the weights, in their dtype.

        Raises
        ------
        ValueError
            If a parameter is not at its default and scikit-learn has no such parameter or value,
            such as ``layer_norm=True`` or ``activation='gelu'``. What only the training needed, as
            ``dropout``, can be set back with ``set_params`` before.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> ours = MLPClassifier((10,), solver='lbfgs', random_state=0).fit(X, y)
        >>> theirs = ours.to_sklearn()
        >>> abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() < 1e-12
        np.True_
        """
        network = self._fitted_network()
        twin = _their_class(type(self))
        known = twin().get_params(deep=False)
        defaults = valid_defaults(type(self))
        missing = [
            f"{name}={value!r}"
            for name, value in changed_parameters(self).items()
            if name not in (*known, *OF_THE_RUN) and not is_equal(value, defaults.get(name))
        ]
        missing += _structure_without_counterpart(network)
        if missing:
            raise ValueError(f"scikit-learn's {twin.__name__} has no {', '.join(missing)}")
        mlp = twin(**{name: value for name, value in self.get_params(deep=False).items()
                      if name in known})  # fmt: skip
        if network.n_layers > 1:  # a list of ours may have the same name for each layer
            mlp.activation = network.activations_of_hidden[0]
        mlp._validate_params()
        mlp.coefs_ = [W.copy() for W in network.W]
        mlp.intercepts_ = [b.copy() for b in network.b]
        for name in ("n_features_in_", "n_layers_", "n_outputs_", "out_activation_", "n_iter_",
                     "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_",
                     "best_validation_score_", "feature_names_in_"):  # fmt: skip
            if name in vars(self):
                setattr(mlp, name, copy(vars(self)[name]))
        mlp._no_improvement_count = self._history.n_bad_epochs
        if is_classifier(self):
            mlp.classes_ = self.classes_
            is_multilabel = self._target_kind == "multilabel"
            labels = np.eye(len(self.classes_), dtype=int) if is_multilabel else self.classes_
            mlp._label_binarizer = LabelBinarizer().fit(labels)
        if self.solver in STATES:
            mlp._optimizer = _optimizer_of(self, mlp)
        return mlp

    def to_c(self, path: str | os.PathLike[str] | None = None, name: str = "mlp") -> str:
        """Write the network as a function in C99, which neither allocates nor needs anything else.

        The function is ``void mlp_predict(const float *x, float *out)``, with double in place of
        float for a network in float64. For two classes, the output is the probability of the
        second one; for more, the probability of each; for labels, that of each label.

        Parameters
        ----------
        path : path-like, default=None
            The file to write. None writes none.
        name : str, default='mlp'
            The beginning of all names in the source.

        Returns
        -------
        str
            The source.

        Raises
        ------
        ValueError
            If the name is no identifier.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = MLPClassifier((5,), solver='lbfgs', random_state=0).fit(X, y)
        >>> 'void iris_predict(const REAL *x, REAL *out)' in classifier.to_c(name='iris')
        True
        """
        source = Source(self._fitted_network(), name, _meaning_of_outputs(self))
        return write_source(source, path)


def _structure_without_counterpart(network):
    """Return what a network of scikit-learn cannot have.

    The parameters may have been set to others after the fit, so they do not tell.
    """
    names = ("layer_norm", "residual", "learned_activation", "input_layer")
    missing = [f"network with {name}" for name in names if getattr(network, name)]
    if network.loss not in LOSSES:
        missing.append(f"network with loss={network.loss!r}")
    if len(set(network.activations_of_hidden)) > 1:
        missing.append(f"network with activation={network.activation!r}")
    return missing


def _meaning_of_outputs(model):
    """Return what the outputs of the network are, for a comment."""
    if not is_classifier(model):
        return "the prediction"
    classes = ", ".join(map(ascii, model.classes_.tolist())).replace("*/", "* /")
    if model._target_kind == "binary":
        return f"the probability of the second class of {classes}"
    return f"the probabilities of {classes}"


def _their_class(cls):
    names = (base.__name__ for base in cls.__mro__)
    return next(getattr(sklearn.neural_network, name) for name in names
                if hasattr(sklearn.neural_network, name))  # fmt: skip


def _arrays(parameters, buffer):
    """Return the views of a buffer in scikit-learn's order: all W, then all b."""
    pairs = parameters.matrices(buffer)
    return [W for W, _ in pairs] + [b for _, b in pairs]


def _descent_of(model, optimizer):
    """Return the state of our solver that is the state of scikit-learn's optimizer."""
    network = model._network
    descent = Descent(network, model.solver, settings_of_descent(model, network.n_layers - 1))
    for buffer, name in zip(descent.state, STATES[model.solver], strict=True):
        for view, array in zip(_arrays(network.parameters, buffer), vars(optimizer)[name],
                               strict=True):  # fmt: skip
            view[...] = array
    if model.solver == "sgd":
        descent.rate = optimizer.learning_rate
    else:
        descent.n_steps = optimizer.t
    return descent


def _optimizer_of(model, mlp):
    """Return scikit-learn's optimizer with the state of our solver."""
    params = mlp.coefs_ + mlp.intercepts_
    if model.solver == "sgd":
        optimizer = SGDOptimizer(
            params, mlp.learning_rate_init, mlp.learning_rate, mlp.momentum,
            mlp.nesterovs_momentum, mlp.power_t,
        )  # fmt: skip
    else:
        optimizer = AdamOptimizer(
            params, mlp.learning_rate_init, mlp.beta_1, mlp.beta_2, mlp.epsilon
        )
    descent = vars(model).get("_descent")
    if descent is None or descent.name != model.solver:
        return optimizer
    for buffer, name in zip(descent.state, STATES[model.solver], strict=True):
        arrays = _arrays(model._network.parameters, buffer)
        setattr(optimizer, name, [array.copy() for array in arrays])
    if model.solver == "sgd":
        optimizer.learning_rate = descent.rate
    else:
        optimizer.t = descent.n_steps
    return optimizer
