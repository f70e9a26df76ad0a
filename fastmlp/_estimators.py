"""MLPClassifier and MLPRegressor: validate, encode the targets, delegate, present the result."""

import warnings
from abc import ABCMeta, abstractmethod
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    RegressorMixin,
    _fit_context,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastmlp._core import ACTIVATIONS, SOLVERS
from fastmlp._network import Network, check_layer_sizes
from fastmlp._training import Data, Descent, History, Stopping, minimize_lbfgs, train_epochs

OUTPUT_ACTIVATIONS = {
    "log_loss": "softmax",
    "binary_log_loss": "logistic",
    "squared_error": "identity",
    "poisson": "exp",
}

LARGEST_AUTO_BATCH = 200
FEWEST_VALIDATION_ROWS = 2


def _has_mini_batches(estimator):
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    return True


# The parameters that classifier and regressor share, for their docstrings.
_PARAMETERS = """hidden_layer_sizes : array-like of int, default=(100,)
        Nodes of each hidden layer; ``()`` makes a linear model.
    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='relu'
        f of the hidden layers.
    solver : {'adam', 'sgd', 'lbfgs'}, default='adam'
        'adam' (Kingma and Ba, ICLR 2015) and 'sgd' move by mini-batches, 'lbfgs' is SciPy's
        L-BFGS-B on all rows.
    alpha : float, default=1e-4
        L2: ``0.5 * alpha * sum(W**2)`` over the mini-batch's rows (or sum of sample weights) is
        added to the loss. Biases are not penalised.
    batch_size : int or 'auto', default='auto'
        Rows of a mini-batch; 'auto' is ``min(200, n_rows)``. A larger one than there are rows is
        clipped, with a warning.
    learning_rate : {'constant', 'invscaling', 'adaptive'}, default='constant'
        The schedule of 'sgd'. 'invscaling': ``learning_rate_init / (t_ + 1) ** power_t`` after
        every epoch; 'adaptive': a fifth of it at every plateau.
    learning_rate_init : float, default=1e-3
        The rate to begin with, of 'sgd' and 'adam'.
    power_t : float, default=0.5
        The exponent of 'invscaling'.
    max_iter : int, default=200
        Epochs; for 'lbfgs' iterations.
    shuffle : bool, default=True
        Whether the rows are put into a new order before every epoch.
    random_state : int, RandomState or None, default=None
        Source of the first weights, the validation split and the shuffling.
    tol : float, default=1e-4
        By how much the loss (or validation score) must get better for an epoch to count as
        progress; for 'lbfgs' the largest slope at a minimum.
    verbose : bool or int, default=False
        Whether a line is printed for every epoch.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights that are there.
    momentum : float in [0, 1], default=0.9
        Of 'sgd'.
    nesterovs_momentum : bool, default=True
        Of 'sgd'.
    early_stopping : bool, default=False
        Whether a part of the rows is set aside, its score ends the training, and the weights that
        scored best are kept.
    validation_fraction : float in [0, 1), default=0.1
        That part.
    beta_1, beta_2 : float in [0, 1), default=0.9, 0.999
        Decay of the moving averages of the gradient and of its square in 'adam'.
    epsilon : float, default=1e-8
        Keeps 'adam' from dividing by 0.
    n_iter_no_change : int or inf, default=10
        Training ends after more epochs than this without progress.
    max_fun : int, default=15000
        Evaluations of the loss in 'lbfgs'.
    n_threads : int or None, default=None
        None takes as many as pay off for this network and batch. The result is the same, bit for
        bit, for any number.
    dtype : {'float32', 'float64'} or None, default=None
        The arithmetic; None is 'float64' for 'lbfgs' and 'float32' for the others."""

_ATTRIBUTES = """coefs_ : list of ndarray
        ``coefs_[l]`` of shape (n_in, n_out): the weights of layer l, views onto the network.
    intercepts_ : list of ndarray
        ``intercepts_[l]`` of shape (n_out,): the biases, views likewise.
    loss_ : float
        The loss of the last epoch.
    loss_curve_ : list of float
        The loss of every epoch, measured on each mini-batch before its step (not for 'lbfgs').
    best_loss_ : float or None
        The smallest of them; None with early stopping (not for 'lbfgs').
    validation_scores_ : list of float or None
        The score on the rows set aside after every epoch, with early stopping (not for 'lbfgs').
    best_validation_score_ : float or None
        The largest of them.
    n_iter_ : int
        Epochs, or iterations of 'lbfgs', of the last fit.
    t_ : int
        Training rows seen so far; 0 for 'lbfgs'.
    n_layers_ : int
        Layers of nodes: inputs, hidden, outputs.
    n_outputs_ : int
    out_activation_ : str
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X has names."""


class _MLP(BaseEstimator, metaclass=ABCMeta):
    """All that classifier and regressor share."""

    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "solver": [StrOptions({"lbfgs", *SOLVERS})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "n_threads": [None, Interval(Integral, 1, None, closed="left")],
        "dtype": [None, StrOptions({"float32", "float64"})],
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
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.n_threads = n_threads
        self.dtype = dtype

    # What a subclass knows about its targets -----------------------------------------------------

    @abstractmethod
    def _encode_targets(self, y, *, classes_are_known):
        """Return y as numbers for the network; set ``n_outputs_``, and ``classes_`` if unknown."""

    @abstractmethod
    def _network_loss(self):
        """The name of the network's loss, once the targets have been encoded."""

    @abstractmethod
    def _score_output(self, y, output, sample_weight):
        """How good the network's output is for encoded targets, for early stopping."""

    # Training ------------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the network to X and y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels or an indicator matrix of several labels; for regression numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss; not negative.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For what X, y, sample_weight or a parameter must not be, and when training diverges.
            The estimator is then as it was before.
        """
        with self._unchanged_on_error():
            goes_on = self.warm_start and self.__sklearn_is_fitted__()
            if not goes_on:
                self._forget()
            return self._fit(X, y, sample_weight, goes_on=goes_on)

    def _partial_fit(self, X, y, sample_weight):
        self._validate_params()  # which scikit-learn leaves out for a fitted estimator
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        return self._fit(X, y, sample_weight, goes_on=self.__sklearn_is_fitted__(), is_partial=True)

    def _fit(self, X, y, sample_weight, *, goes_on, is_partial=False):
        hidden_layer_sizes = self._check_hidden_layer_sizes()
        dtype = self.dtype or ("float64" if self.solver == "lbfgs" else "float32")
        X, y = validate_data(
            self,
            X,
            y,
            multi_output=True,
            y_numeric=isinstance(self, RegressorMixin),
            dtype=dtype,
            order="C",
            reset=not goes_on,
        )
        X = np.require(X, requirements="A")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=dtype, ensure_non_negative=True
            )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        y = self._encode_targets(y, classes_are_known=goes_on or is_partial)
        random_state = check_random_state(self.random_state)
        layer_sizes = (X.shape[1], *hidden_layer_sizes, self.n_outputs_)
        if goes_on:
            self._check_structure(layer_sizes, dtype)
        else:
            self._network = Network(
                layer_sizes,
                self.activation,
                self._network_loss(),
                dtype=dtype,
                random_state=random_state,
            )
            self._history = History()
        self._network.n_threads = self.n_threads
        data = Data(
            X,
            self._network._check_y(y, len(X)),
            self._network._check_sample_weight(sample_weight, len(X)),
        )
        self.n_layers_ = len(layer_sizes)
        self.out_activation_ = OUTPUT_ACTIVATIONS[self._network.loss]
        if self.solver == "lbfgs":
            self._fit_lbfgs(data)
        else:
            self._fit_epochs(data, random_state, is_partial=is_partial)
        return self

    def _fit_lbfgs(self, data):
        minimum = minimize_lbfgs(
            self._network,
            data,
            alpha=self.alpha,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
            say=self._say,
        )
        self._descent = None
        self.loss_ = minimum.loss
        self.n_iter_ = minimum.n_iter
        self.t_ = 0
        if not minimum.converged:
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s): {minimum.message}. "
                f"Increase max_iter (now {self.max_iter}) or scale the features.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _fit_epochs(self, data, random_state, *, is_partial):
        self._descent = self._descent_for(self._network, keep_state=is_partial)
        rows, stopping = self._set_rows_aside(data, random_state)
        finished = train_epochs(
            self._descent,
            data,
            rows,
            self._history,
            stopping,
            batch_size=self._check_batch_size(len(rows)),
            alpha=self.alpha,
            max_iter=1 if is_partial else self.max_iter,
            shuffle=self.shuffle,
            random_state=random_state,
            say=self._say,
        )
        self._publish(self._history)
        if not (finished or is_partial):
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                "reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _set_rows_aside(self, data, random_state):
        """The rows to train on, and the rule to stop by."""
        rows = np.arange(len(data.X))
        if not self.early_stopping:
            return rows, Stopping(self.tol, self.n_iter_no_change)
        stratify = data.y.ravel() if self._network.loss == "binary_log_loss" else None
        rows, validation_rows = train_test_split(
            rows,
            random_state=random_state,
            test_size=self.validation_fraction,
            stratify=stratify if self.n_outputs_ == 1 else None,
        )
        if len(validation_rows) < FEWEST_VALIDATION_ROWS:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        X, y, sample_weight = (array[validation_rows] for array in data)

        def score():
            return self._score_output(y, self._network._output(X), sample_weight)

        return rows, Stopping(self.tol, self.n_iter_no_change, score)

    def _descent_for(self, network, *, keep_state):
        settings = {
            "schedule": self.learning_rate if self.solver == "sgd" else "constant",
            "power_t": self.power_t,
            "learning_rate": self.learning_rate_init,
            "momentum": self.momentum,
            "nesterov": self.nesterovs_momentum,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }
        descent = getattr(self, "_descent", None)
        if keep_state and descent is not None and descent.name == self.solver:
            descent.change(settings)
            return descent
        return Descent(network, self.solver, settings)

    def _publish(self, history):
        self.loss_curve_ = history.loss_curve
        self.n_iter_ = history.n_epochs
        self.t_ = history.n_rows_seen
        if history.loss_curve:
            self.loss_ = history.loss_curve[-1]
        by_score = self.early_stopping
        self.best_loss_ = None if by_score else history.best_loss
        self.validation_scores_ = history.validation_scores if by_score else None
        self.best_validation_score_ = history.best_validation_score if by_score else None

    def _say(self, text):
        if self.verbose:
            print(text)

    @contextmanager
    def _unchanged_on_error(self):
        """Whatever is raised inside, the estimator is as it was before."""
        attributes = vars(self).copy()
        changed_in_place = [
            (part, part.snapshot())
            for name in ("_network", "_descent", "_history")
            if (part := attributes.get(name)) is not None
        ]
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(attributes)
            for part, snapshot in changed_in_place:
                part.restore(snapshot)
            raise

    def _forget(self):
        """Remove all that an earlier fit has left behind."""
        for name in [*vars(self)]:
            if name.endswith("_") or name in ("_network", "_descent", "_history"):
                delattr(self, name)

    # Checks --------------------------------------------------------------------------------------

    def _check_hidden_layer_sizes(self):
        sizes = self.hidden_layer_sizes
        return check_layer_sizes(
            sizes if hasattr(sizes, "__iter__") else [sizes], "hidden_layer_sizes"
        )

    def _check_structure(self, layer_sizes, dtype):
        """Raise if the parameters ask for another network than the one to go on with."""
        has = self._network
        given = (layer_sizes, self.activation, self._network_loss(), dtype)
        if given != (has.layer_sizes, has.activation, has.loss, has.dtype.name):
            raise ValueError(
                "warm_start and partial_fit go on with the network that is there, and so cannot "
                "change hidden_layer_sizes, activation, loss, dtype or the number of outputs: it "
                f"is {has!r}, asked for are layers {list(layer_sizes)}, "
                f"{self.activation!r}, {self._network_loss()!r}, {dtype!r}"
            )

    def _check_batch_size(self, n_rows):
        if self.batch_size == "auto":
            return min(LARGEST_AUTO_BATCH, n_rows)
        if self.batch_size > n_rows:
            warnings.warn(
                f"Got `batch_size` less than 1 or larger than sample size: {self.batch_size} for "
                f"{n_rows} rows. It is going to be clipped.",
                stacklevel=6,
            )
        return min(int(self.batch_size), n_rows)

    # What is there after a fit -------------------------------------------------------------------

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_network")

    def _output(self, X):
        """The network's output for X, of shape (n_samples, n_outputs_)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=self._network.dtype, order="C", reset=False)
        self._network.n_threads = self.n_threads
        return self._network._output(np.require(X, requirements="A"))

    @property
    def coefs_(self):
        return self._fitted_network("coefs_").W

    @coefs_.setter
    def coefs_(self, coefs):
        network = self._fitted_network("coefs_")
        network.params = list(zip(coefs, network.b, strict=True))

    @property
    def intercepts_(self):
        return self._fitted_network("intercepts_").b

    @intercepts_.setter
    def intercepts_(self, intercepts):
        network = self._fitted_network("intercepts_")
        network.params = list(zip(network.W, intercepts, strict=True))

    def _fitted_network(self, attribute):
        if not hasattr(self, "_network"):
            raise AttributeError(f"{type(self).__name__} has no {attribute} before it is fitted")
        return self._network


class MLPClassifier(ClassifierMixin, _MLP):
    __doc__ = f"""A multilayer perceptron for classification, trained on the log loss.

    Binary, multiclass and multilabel (y an indicator matrix). Parameters, attributes and results
    are those of scikit-learn's class of this name.

    Parameters
    ----------
    {_PARAMETERS}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    {_ATTRIBUTES}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastmlp import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier(max_iter=1000, random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.95
    True
    """

    def _network_loss(self):
        return "log_loss" if self._target_kind == "multiclass" else "binary_log_loss"

    def _encode_targets(self, y, *, classes_are_known):
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind == "multiclass-multioutput":
            raise ValueError(
                "y must be class labels (1-D) or an indicator matrix of labels: of several "
                "columns with more than two values each there is no log loss"
            )
        is_multilabel = kind == "multilabel-indicator"
        if classes_are_known:
            self._check_labels(y, is_multilabel)
        else:
            self.classes_ = unique_labels(y)
            self._learn_kind(is_multilabel)
        return y if is_multilabel else LabelEncoder().fit(self.classes_).transform(y)

    def _learn_kind(self, is_multilabel):
        n_classes = len(self.classes_)
        if n_classes < 2 and not is_multilabel:
            raise ValueError(
                f"y must have at least two classes, got one class: {self.classes_.tolist()}"
            )
        if is_multilabel:
            self._target_kind = "multilabel"
        else:
            self._target_kind = "binary" if n_classes == 2 else "multiclass"
        self.n_outputs_ = 1 if self._target_kind == "binary" else n_classes

    def _check_labels(self, y, is_multilabel):
        """Raise unless y fits the classes that are known."""
        if is_multilabel != (self._target_kind == "multilabel"):
            raise ValueError("y must be of the same kind as before: labels, or an indicator matrix")
        labels = unique_labels(y)
        if self.warm_start and set(labels) != set(self.classes_):
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
        y = y.astype(int)
        return accuracy_score(
            y if self._target_kind == "multilabel" else y[:, 0],
            self._decide(output),
            sample_weight=sample_weight,
        )

    @available_if(_has_mini_batches)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Go once over the rows, from the weights and the solver's state that are there.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        sample_weight : array-like of shape (n_samples,), default=None
        classes : array-like of shape (n_classes,), default=None
            All classes that will come; needed in the first call. For an indicator matrix the
            numbers of its columns.

        Returns
        -------
        self
        """
        with self._unchanged_on_error():
            if _check_partial_fit_first_call(self, classes):
                self._learn_kind(type_of_target(y).startswith("multilabel"))
            return self._partial_fit(X, y, sample_weight)

    def predict(self, X):
        """The most probable class of every row; for several labels an indicator matrix.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        decision = self._decide(self._output(X))
        return decision if self._target_kind == "multilabel" else self.classes_[decision]

    def predict_proba(self, X):
        """The probability of every class; for several labels that of each of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        output = self._output(X)
        if self._target_kind == "binary":
            return np.hstack([1 - output, output])
        return output

    def predict_log_proba(self, X):
        """The logarithm of ``predict_proba``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        with np.errstate(divide="ignore"):  # log(0) is -inf
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _MLP):
    __doc__ = f"""A multilayer perceptron for regression.

    One output or several. Parameters, attributes and results are those of scikit-learn's class of
    this name, but for the loss of several outputs under 'squared_error': it is the sum over the
    outputs, to which the gradient belongs; scikit-learn shows the mean.

    Parameters
    ----------
    loss : {{'squared_error', 'poisson'}}, default='squared_error'
        Half the squared error, or half the Poisson deviance with exp as the output's activation
        (y must not be negative).
    {_PARAMETERS}

    Attributes
    ----------
    {_ATTRIBUTES}

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
        "loss": [StrOptions({"squared_error", "poisson"})],
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
    ):
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            n_threads=n_threads,
            dtype=dtype,
        )
        self.loss = loss

    def _network_loss(self):
        return self.loss

    def _encode_targets(self, y, *, classes_are_known):
        self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]
        return y

    def _score_output(self, y, output, sample_weight):
        if not np.isfinite(output).all():
            return np.nan
        return r2_score(y, output, sample_weight=sample_weight)

    @available_if(_has_mini_batches)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Go once over the rows, from the weights and the solver's state that are there.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        with self._unchanged_on_error():
            return self._partial_fit(X, y, sample_weight)

    def predict(self, X):
        """The predicted numbers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        output = self._output(X)
        return output[:, 0] if output.shape[1] == 1 else output
