"""MLPClassifier, and the encoding of class labels."""

from typing import Any, Self

import numpy as np
import scipy.sparse
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from fastmlp._distributed.ranks import agreeing
from fastmlp._engine.input_layer import InputLayer
from fastmlp._engine.losses import LOSSES_OF_CLASSIFIER, loss_of_classifier
from fastmlp._estimators.base import FITTED_ATTRIBUTES, BaseMLP
from fastmlp._estimators.concurrency import on_published_state
from fastmlp._estimators.methods import mini_batch_only, tears_down_callbacks
from fastmlp._estimators.parameters import ATTRIBUTES, PARAMETERS
from fastmlp._estimators.sklearn_private import (
    StrOptions,
    _check_partial_fit_first_call,
)
from fastmlp._estimators.targets import (
    check_labels_are_plain,
    indices_of_labels,
    sparse_format,
    whole_labels,
)
from fastmlp._estimators.types import (
    Array,
    ArrayLike,
    Callback,
    ClassWeight,
    Init,
    MatrixLike,
    NDArray,
    Options,
    Pairs,
    Scoring,
    Sequence,
)


class MLPClassifier(ClassifierMixin, BaseMLP):
    __doc__ = f"""Multilayer perceptron classifier.

    It supports binary, multiclass and multilabel classification (with y as an indicator matrix).
    Parameters, attributes and results are compatible with scikit-learn's class of the same name.

    Parameters
    ----------
    {PARAMETERS}
    class_weight : dict, 'balanced', list of dict or None, default=None
        Weights of the classes in the loss, which are multiplied by the sample weights. 'balanced'
        gives each class the weight ``n_samples / (n_classes * n_samples_of_the_class)``. For an
        indicator matrix, pass a list with a dict for each label. Class weights do not apply to
        ``X_val``.
    loss : {{'log_loss', 'squared_error'}}, default='log_loss'
        Loss function. 'log_loss' is the cross-entropy; its option ``label_smoothing`` (default 0)
        in ``loss_params`` is the fraction of the target that is spread evenly over all classes.
        'squared_error' is half the squared error of the probabilities. It is a poor choice for
        classification and is provided for comparison.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
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
        **BaseMLP._parameter_constraints,
        "class_weight": [None, dict, list, StrOptions({"balanced"})],
        "loss": [StrOptions(set(LOSSES_OF_CLASSIFIER))],
    }

    classes_: Array

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] | NDArray[np.integer] | int = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 1e-4,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 1e-3,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        n_threads: int | None = None,
        dtype: str | None = None,
        scoring: Scoring | Sequence[Scoring] | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        max_seconds: float | None = None,
        loss_params: Options | None = None,
        solver_params: Options | None = None,
        schedule_params: Options | None = None,
        weight_decay: float | None = None,
        weight_decay_schedule: str = "constant",
        learning_rate_factors: Options | None = None,
        l1: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        dropout_schedule: str = "constant",
        input_dropout: float = 0.0,
        input_noise: float = 0.0,
        max_norm: float | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        averaging: float | None = None,
        layer_norm: bool = False,
        residual: bool = False,
        learned_activation: bool = False,
        parametrization: str = "standard",
        input_layer: InputLayer | None = None,
        init: Init | Sequence[Init | ArrayLike] = None,
        connections: Sequence[ArrayLike | None] | None = None,
        diagnostics: bool = False,
        class_weight: ClassWeight | Sequence[ClassWeight] | str | None = None,
        loss: str = "log_loss",
    ) -> None:
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
        self.scoring = scoring
        self.callbacks = callbacks
        self.max_seconds = max_seconds
        self.loss_params = loss_params
        self.solver_params = solver_params
        self.schedule_params = schedule_params
        self.weight_decay = weight_decay
        self.weight_decay_schedule = weight_decay_schedule
        self.learning_rate_factors = learning_rate_factors
        self.l1 = l1
        self.dropout = dropout
        self.dropout_schedule = dropout_schedule
        self.input_dropout = input_dropout
        self.input_noise = input_noise
        self.max_norm = max_norm
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.averaging = averaging
        self.layer_norm = layer_norm
        self.residual = residual
        self.learned_activation = learned_activation
        self.parametrization = parametrization
        self.input_layer = input_layer
        self.init = init
        self.connections = connections
        self.diagnostics = diagnostics
        self.class_weight = class_weight
        self.loss = loss

    def _network_loss(self):
        is_of_several = self._target_kind == "multiclass"
        return loss_of_classifier(self.loss, one_class_of_several=is_of_several)

    def _encode_targets(self, y, *, classes_are_known):
        if classes_are_known:
            return self._encode_known(y, all_of_them=self.warm_start)
        classes = whole_labels(y)
        if classes is None:
            is_multilabel = self._is_multilabel(y)
            self.classes_ = unique_labels(y)
            self._learn_kind(is_multilabel, sparse_format(y))
        else:
            self.classes_ = classes
            self._learn_kind(is_multilabel=False)
        return self._encode(y)

    def _encode_validation_targets(self, y):
        return self._encode_known(y, all_of_them=False)

    def _encode_known(self, y, *, all_of_them):
        """Encode targets after a check that they match the known classes."""
        if self._target_kind != "multilabel" and not all_of_them:
            encoded = indices_of_labels(y, self.classes_)
            if encoded is not None:
                return encoded
        self._check_labels(y, self._is_multilabel(y), all_of_them=all_of_them)
        return self._encode(y)

    def _is_multilabel(self, y):
        check_labels_are_plain("y", y)
        kind = None if y.ndim == 1 else type_of_target(y, input_name="y")
        if kind == "multilabel-indicator":
            return True
        check_classification_targets(y)
        if kind == "multiclass-multioutput":
            raise ValueError(
                "y must be class labels (1-D) or an indicator matrix of labels: of several "
                "columns with more than two values each there is no log loss"
            )
        return False

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
        # With a single class, softmax has one output, which is 1 for every row.
        if is_multilabel:
            self._target_kind = "multilabel"
        else:
            self._target_kind = "binary" if n_classes == 2 else "multiclass"
        self.n_outputs_ = 1 if self._target_kind == "binary" else n_classes

    def _check_labels(self, y, is_multilabel, *, all_of_them):
        """Raise unless the labels in y match the known classes."""
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

    def _has_classes(self, classes):
        """Whether the argument of partial_fit is the array of the known classes."""
        known = vars(self).get("classes_")
        if known is None or not isinstance(classes, np.ndarray) or classes.dtype != known.dtype:
            return False
        return np.array_equal(classes, known)

    def _decide(self, output):
        """Return the encoded class of every row, or an indicator matrix."""
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

    @mini_batch_only
    @tears_down_callbacks
    def partial_fit(
        self,
        X: MatrixLike,
        y: MatrixLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        *,
        X_val: Pairs = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | Sequence[ArrayLike | None] | None = None,
    ) -> Self:
        """Update the model with a single pass over the data.

        Training continues from the current weights and solver state.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels or an indicator matrix. Not every class needs to be present.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights, which must not be negative.
        classes : array-like of shape (n_classes,), default=None
            All classes that can occur in any call. Required in the first call. For an indicator
            matrix, the indices of its columns.
        X_val, y_val, sample_weight_val : as in `fit`, default=None
            Validation set and its sample weights. Its loss and score are recorded in ``history_``.

        Returns
        -------
        self
            Fitted estimator.

        Raises
        ------
        ValueError, TypeError
            As in `fit`. The method is not available for ``solver='lbfgs'`` or with
            ``early_stopping``.

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
            with agreeing("in partial_fit"):
                self._begin_partial_fit(y, classes)
            validation = (X_val, y_val, sample_weight_val)
            return self._fit(X, y, sample_weight, validation)

    def _begin_partial_fit(self, y, classes):
        """Validate the parameters, and learn the classes in the first call."""
        self._validate_params_once()
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all rows, and partial_fit sees some: give a "
                "dict, for instance from sklearn.utils.class_weight.compute_class_weight"
            )
        check_labels_are_plain("classes", classes)
        if not self._has_classes(classes) and _check_partial_fit_first_call(self, classes):
            self._learn_kind(type_of_target(y).startswith("multilabel"), sparse_format(y))

    def initialize(self, n_features: int, classes: ArrayLike, *, multilabel: bool = False) -> Self:
        """Initialize the network without fitting it, so that its weights can be read and set.

        ``partial_fit``, and ``fit`` with ``warm_start=True``, continue from these weights.

        Parameters
        ----------
        n_features : int
            Number of columns of X, at least 1.
        classes : array-like of shape (n_classes,)
            Class labels. With ``multilabel``, the indices of the columns of the indicator matrix.
        multilabel : bool, default=False
            Whether a sample may have any number of labels.

        Returns
        -------
        self
            Initialized estimator.

        Raises
        ------
        ValueError
            If there are no features or no classes.

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
            self._forget(FITTED_ATTRIBUTES)
            check_labels_are_plain("classes", classes)
            self.classes_ = unique_labels(classes)
            self._learn_kind(multilabel)
            return self._initialize(n_features)

    @on_published_state
    def predict(self, X: MatrixLike) -> Any:
        """Predict the most probable class of each sample, or an indicator matrix for multilabel.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray or sparse matrix of shape (n_samples,) or (n_samples, n_labels)
            The predicted classes. An indicator matrix is sparse (CSR) if the y of the first fit
            was sparse.

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

    @on_published_state
    def predict_proba(self, X: MatrixLike) -> Array:
        """Predict the probability of each class, or of each label for multilabel classification.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, with columns in the order of ``classes_``.

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

    def predict_log_proba(self, X: MatrixLike) -> Array:
        """Predict the logarithm of the probabilities of ``predict_proba``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Log-probabilities, with columns in the order of ``classes_``. They are -inf where a
            probability is 0.

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
