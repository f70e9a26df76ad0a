"""`TabularMLPClassifier`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels

from fastmlp._estimators.concurrency import on_published_state
from fastmlp._estimators.saving import read_classes, write_classes
from fastmlp._estimators.sklearn_private import StrOptions
from fastmlp._estimators.targets import check_labels_are_plain
from fastmlp._estimators.types import Array, ArrayLike, ClassWeight, MatrixLike
from fastmlp._tabular.base import BaseTabularMLP
from fastmlp._tabular.calibration import at_temperature, best_temperature
from fastmlp._tabular.reading import MOST_SHOWN
from fastmlp._tabular.selection import mean_log_losses, of_true_class


class TabularMLPClassifier(ClassifierMixin, BaseTabularMLP):
    """An ensemble of networks for classification of tables, as they are.

    The columns may hold numbers, strings, categories, truth values and dates, and values may be
    missing. Networks with settings drawn at random are trained side by side, the better ones on
    several folds. The ensemble is selected from them by its loss on rows that they have not seen,
    and its probabilities are calibrated on these rows.

    Parameters
    ----------
    n_members : int, default=None
        Number of members, each with its own settings drawn at random. Most of them are dropped
        early. By default 32 for tables of less than 5,000 rows, and 24 from there on.
    members : {'ensemble', 'realmlp'}, default='ensemble'
        'realmlp' trains a single network with settings like those of RealMLP, in place of drawn
        ones. Then ``n_members`` has no effect, and small tables are not split into folds either.
    refit_single : bool, default=False
        Whether one network then learns the outputs of the ensemble and takes its place.
        Predictions are faster and somewhat less accurate. The ensemble stays if the time is over.
    max_seconds : float, default=None
        Limit of the time for `fit`. The best networks at that time make up the model, which then
        depends on the speed of the machine.
    validation_fraction : float, default=None
        Part of the rows that is set aside for early stopping, selection and calibration. By
        default, folds are set aside in turn; see ``cv``. It has no effect with ``cv``.
    cv : int, cross-validation generator or iterable, default=None
        Folds for early stopping and selection. All members are trained with the first one set
        aside, and the best of them also with each of the others. An iterable gives pairs of
        arrays, the rows to train on and the others, for instance
        ``GroupKFold(5).split(X, y, groups)``. By default there are five folds, of which four are
        set aside in turn from 5,000 rows on.
    metric : str or callable, default=None
        What the selection of the ensemble maximizes: the name of a scorer of scikit-learn, or a
        function ``f(estimator, X, y)`` that gives X only to methods of the estimator. If rows have
        different weights, it also gets ``sample_weight=``. By default the selection minimizes the
        log loss. Early stopping always uses the log loss.
    categorical_features : 'from_dtype', None or array-like, default='from_dtype'
        The columns of numbers that are categories: those of which the data frame says so, none, or
        those of a mask, of indices or of names. Strings and truth values always are.
    class_weight : dict or 'balanced', default=None
        Weights of the classes, as in scikit-learn. The networks and the selection use them. They do
        not apply to ``X_val``.
    n_jobs : int, default=None
        Number of networks that are trained at a time, by joblib. None means the number of threads.
        Inside ``joblib.parallel_config``, it is that of the configuration.
    random_state : int, RandomState instance or None, default=None
        Determines the settings, the splits, and the training of each network. With an int, the
        model is the same, bit for bit, for any ``n_jobs`` and number of threads, unless
        ``max_seconds`` ends the fit.
    verbose : bool or int, default=False
        Whether to print the progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    temperature_ : float
        The probabilities of the ensemble are raised to the power ``1 / temperature_``.
    leaderboard_ : dict of lists
        The members, the best first: their 'settings', 'loss' on rows that they have not seen,
        'weight' in the ensemble, 'n_epochs' and 'seconds' of training. ``pandas.DataFrame`` makes a
        table of it.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if X has names that are all strings.
    target_name_ : str
        Name of y, if it is a series with a name.

    See Also
    --------
    MLPClassifier : A single network on numbers.
    TabularMLPRegressor : The same for regression.

    Examples
    --------
    >>> import pandas as pd
    >>> from fastmlp import TabularMLPClassifier
    >>> table = pd.DataFrame({'size': [1, 2, None, 8] * 10, 'kind': ['a', 'b', 'b', 'a'] * 10})
    >>> y = ['small', 'small', 'large', 'large'] * 10
    >>> model = TabularMLPClassifier(n_members=2, random_state=0).fit(table, y)
    >>> model.predict(pd.DataFrame({'kind': ['a', 'a'], 'size': [1.5, 7.5]}))
    array(['small', 'large'], dtype='<U5')
    """

    classes_: Array
    temperature_: float

    _parameter_constraints = BaseTabularMLP._parameter_constraints | {
        "class_weight": [dict, StrOptions({"balanced"}), None]
    }

    def __init__(
        self,
        *,
        n_members: int | None = None,
        members: str = "ensemble",
        refit_single: bool = False,
        max_seconds: float | None = None,
        validation_fraction: float | None = None,
        cv: Any = None,
        metric: str | Callable[..., float] | None = None,
        categorical_features: ArrayLike | str | None = "from_dtype",
        class_weight: ClassWeight | str | None = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_members = n_members
        self.members = members
        self.refit_single = refit_single
        self.max_seconds = max_seconds
        self.validation_fraction = validation_fraction
        self.cv = cv
        self.metric = metric
        self.categorical_features = categorical_features
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _checked_targets(self, y, name):
        y = column_or_1d(y, warn=True)
        check_labels_are_plain(name, y)
        if y.dtype.kind == "f":
            assert_all_finite(y, input_name=name)
        return y

    def _learn_targets(self, y, weight):
        check_classification_targets(y)
        self.classes_ = unique_labels(y)
        if len(self.classes_) < 2:
            only = self.classes_.tolist()[0]
            raise ValueError(f"y must have at least 2 classes, got one class: {only!r}")
        self._n_outputs = len(self.classes_)
        self.temperature_ = 1.0  # until `_calibrate`, for the scorers of the selection

    def _encode_targets(self, y, name):
        codes = np.searchsorted(self.classes_, y)
        is_known = self.classes_.take(codes, mode="clip") == y
        if not is_known.all():
            unknown = np.unique(y[~is_known])[:MOST_SHOWN].tolist()
            raise ValueError(
                f"{name} must have only labels that y has, {self.classes_[:MOST_SHOWN].tolist()}, "
                f"got {unknown}"
            )
        return codes

    def _decode_targets(self, targets):
        return self.classes_[targets.astype(np.intp)]

    def _order_for_parts(self, targets, random_state):
        order = random_state.permutation(len(targets))
        return order[np.argsort(targets[order], kind="stable")]

    def _losses(self, targets, outputs, weight):
        return of_true_class(targets, outputs), mean_log_losses(weight)

    def _constant_output(self, task):
        counts = np.bincount(task.all_targets.astype(np.intp), task.all_weight, self._n_outputs)
        return counts / counts.sum()

    def _calibrate(self, targets, outputs, weight):
        self.temperature_ = best_temperature(targets, outputs, weight)

    def _write_targets(self, parts):
        write_classes(parts, self.classes_)
        parts.add(temperature=self.temperature_)

    def _read_targets(self, fields, n_outputs):
        self.classes_, self._n_outputs = read_classes(fields), n_outputs
        if len(self.classes_) != n_outputs:
            raise fields.error("classes", f"must be {n_outputs}, one for each output")
        self.temperature_ = fields.number("temperature", 1e-3, 1e3)

    def _class_weight_of_rows(self, y):
        if self.class_weight is None:
            return None
        return compute_sample_weight(self.class_weight, y)

    @on_published_state
    def predict_proba(self, X: MatrixLike) -> Array:
        """Predict the probability of each class.

        Parameters
        ----------
        X : data frame, array-like or sparse matrix of shape (n_samples, n_features)
            A table with the columns of the training data.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, with columns in the order of ``classes_``.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import TabularMLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = TabularMLPClassifier(n_members=2, random_state=0).fit(X, y)
        >>> model.predict_proba(X[:2]).argmax(axis=1)
        array([0, 0])
        """
        return at_temperature(self._outputs(X), self.temperature_)

    def predict_log_proba(self, X: MatrixLike) -> Array:
        """Predict the logarithm of the probabilities of ``predict_proba``.

        Parameters
        ----------
        X : data frame, array-like or sparse matrix of shape (n_samples, n_features)
            A table with the columns of the training data.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Log-probabilities, with columns in the order of ``classes_``.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import TabularMLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = TabularMLPClassifier(n_members=2, random_state=0).fit(X, y)
        >>> model.predict_log_proba(X[:2]).shape
        (2, 3)
        """
        return np.log(self.predict_proba(X))

    @on_published_state
    def predict(self, X: MatrixLike) -> Any:
        """Predict the most probable class of each row.

        Parameters
        ----------
        X : data frame, array-like or sparse matrix of shape (n_samples, n_features)
            A table with the columns of the training data.

        Returns
        -------
        ndarray of shape (n_samples,)
            The predicted classes.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import TabularMLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = TabularMLPClassifier(n_members=2, random_state=0).fit(X, y)
        >>> model.predict(X[[0, 60, 120]])
        array([0, 1, 2])
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]
