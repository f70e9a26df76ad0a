"""MLPClassifier: labels to numbers and back."""

import numpy as np
import scipy.sparse
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from fastmlp._engine.losses import LOSSES_OF_CLASSIFIER, loss_of_classifier
from fastmlp._estimators.base import FITTED, BaseMLP, of_mini_batches
from fastmlp._estimators.concurrency import of_one_moment
from fastmlp._estimators.parameters import ATTRIBUTES, PARAMETERS
from fastmlp._estimators.sklearn_private import (
    StrOptions,
    _check_partial_fit_first_call,
    _fit_context,
)
from fastmlp._estimators.targets import check_labels_are_plain, sparse_format


class MLPClassifier(ClassifierMixin, BaseMLP):
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
        **BaseMLP._parameter_constraints,
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
        is_of_several = self._target_kind == "multiclass"
        return loss_of_classifier(self.loss, one_class_of_several=is_of_several)

    def _encode_targets(self, y, *, classes_are_known):
        is_multilabel = self._is_multilabel(y)
        if classes_are_known:
            self._check_labels(y, is_multilabel, all_of_them=self.warm_start)
        else:
            self.classes_ = unique_labels(y)
            self._learn_kind(is_multilabel, sparse_format(y))
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

    @of_mini_batches
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
                self._learn_kind(type_of_target(y).startswith("multilabel"), sparse_format(y))
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

    @of_one_moment
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

    @of_one_moment
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
