"""`TabularMLPRegressor`."""

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.validation import check_is_fitted

from fastmlp._estimators.concurrency import on_published_state
from fastmlp._estimators.types import Array, ArrayLike, MatrixLike
from fastmlp._tabular.base import BaseTabularMLP
from fastmlp._tabular.calibration import conformal_quantile
from fastmlp._tabular.columns import LARGEST
from fastmlp._tabular.selection import mean_squared_errors

# Targets of validation rows and of rows of weight 0 count as no further away than so many standard
# deviations, so that their squares are finite in float32.
FURTHEST = 1e15


class Scale(NamedTuple):
    """The scale of the targets, which the networks learn with mean 0 and variance 1."""

    mean: float
    std: float
    smallest: float
    largest: float

    @classmethod
    def of(cls, y, weight):
        """Return the scale of the targets with a positive weight."""
        y, weight = y[weight > 0], weight[weight > 0]
        unit = np.abs(y).max() or 1.0  # the squares of the numbers themselves could overflow
        mean = np.average(y / unit, weights=weight)
        variance = np.average((y / unit - mean) ** 2, weights=weight)
        std = float(np.sqrt(variance) * unit) or 1.0
        return cls(float(mean * unit), std, float(y.min()), float(y.max()))

    def to_networks(self, y):
        with np.errstate(over="ignore"):
            return np.clip((y - self.mean) / self.std, -FURTHEST, FURTHEST)

    def from_networks(self, outputs):
        """Return outputs as targets, in float64."""
        return outputs.astype(np.float64) * self.std + self.mean

    def predictions(self, outputs):
        """Return outputs as targets within the range of those of the training."""
        return np.clip(self.from_networks(outputs), self.smallest, self.largest)


class TabularMLPRegressor(RegressorMixin, BaseTabularMLP):
    """An ensemble of networks for regression on tables, as they are.

    The columns may hold numbers, strings, categories, truth values and dates, and values may be
    missing. Networks with settings drawn at random are trained side by side, the better ones on
    several folds. The ensemble is selected from them by its loss on rows that they have not seen,
    which also give the errors for `predict_interval`.

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
        mean squared error. Early stopping always uses the mean squared error.
    categorical_features : 'from_dtype', None or array-like, default='from_dtype'
        The columns of numbers that are categories: those of which the data frame says so, none, or
        those of a mask, of indices or of names. Strings and truth values always are.
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
    leaderboard_ : dict of lists
        The members, the best first: their 'settings', 'loss' on rows that they have not seen (the
        mean squared error in units of the variance of y), 'weight' in the ensemble, 'n_epochs' and
        'seconds' of training. ``pandas.DataFrame`` makes a table of it.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if X has names that are all strings.
    target_name_ : str
        Name of y, if it is a series with a name.

    See Also
    --------
    MLPRegressor : A single network on numbers.
    TabularMLPClassifier : The same for classification.

    Examples
    --------
    >>> import pandas as pd
    >>> from fastmlp import TabularMLPRegressor
    >>> table = pd.DataFrame({'size': range(40), 'kind': ['flat', 'house'] * 20})
    >>> price = 2.0 * table['size'] + 10 * (table['kind'] == 'house')
    >>> model = TabularMLPRegressor(n_members=2, random_state=0).fit(table, price)
    >>> bool(model.score(table, price) > 0.9)
    True
    """

    _n_outputs = 1

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
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _checked_targets(self, y, name):
        return checked_numbers(y, name)

    def _learn_targets(self, y, weight):
        self._scale = Scale.of(y, weight)

    def _encode_targets(self, y, name):
        return self._scale.to_networks(y)

    def _decode_targets(self, targets):
        return self._scale.from_networks(targets)

    def _order_for_parts(self, targets, random_state):
        return random_state.permutation(len(targets))

    def _losses(self, targets, outputs, weight):
        return outputs[..., 0], mean_squared_errors(targets, weight)

    def _constant_output(self, task):
        return np.average(task.all_targets, weights=task.all_weight)

    def _calibrate(self, targets, outputs, weight):
        residuals = self._decode_targets(targets) - self._scale.predictions(outputs[:, 0])
        self._residuals = np.sort(residuals)

    def _write_targets(self, parts):
        parts.add(target_scale=self._scale._asdict())
        parts.array("residuals", self._residuals)

    def _read_targets(self, fields, n_outputs):
        if n_outputs != 1:
            raise fields.error("networks", f"must have one output, got {n_outputs}")
        scale = fields.part("target_scale")
        self._scale = Scale(**{name: scale.number(name) for name in Scale._fields})
        if self._scale.smallest > self._scale.largest:
            raise scale.error("smallest", "must be at most the largest")
        self._residuals = fields.array("residuals", "f8", (None,))
        if (np.diff(self._residuals) < 0).any():
            raise fields.error("residuals", "must be ascending")

    def __scale__(self) -> Scale:
        """Return the scale of the targets, for what reads it without rows."""
        return self._scale

    @on_published_state
    def predict(self, X: MatrixLike) -> Array:
        """Predict the target of each row.

        Parameters
        ----------
        X : data frame, array-like or sparse matrix of shape (n_samples, n_features)
            A table with the columns of the training data.

        Returns
        -------
        ndarray of shape (n_samples,)
            The predictions, within the range of the training targets.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from fastmlp import TabularMLPRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = TabularMLPRegressor(n_members=2, random_state=0).fit(X, y)
        >>> model.predict(X[:2]).shape
        (2,)
        """
        outputs = self._outputs(X)
        return self._scale.predictions(outputs[:, 0])

    @on_published_state
    def predict_interval(self, X: MatrixLike, coverage: float = 0.9) -> Array:
        """Predict an interval that contains the target with a given probability.

        The intervals are conformal: they have the coverage on average over rows like those of the
        training, whatever their distribution. All have the same width. It follows from the
        absolute errors for the rows that the networks have not seen.

        Parameters
        ----------
        X : data frame, array-like or sparse matrix of shape (n_samples, n_features)
            A table with the columns of the training data.
        coverage : float, default=0.9
            The probability, between 0 and 1.

        Returns
        -------
        ndarray of shape (n_samples, 2)
            Lower and upper ends. They are infinite if there are too few rows for the coverage.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from fastmlp import TabularMLPRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = TabularMLPRegressor(n_members=2, random_state=0).fit(X, y)
        >>> lower, upper = model.predict_interval(X, coverage=0.5).T
        >>> bool(0.4 < ((lower <= y) & (y <= upper)).mean() < 0.8)
        True
        """
        check_is_fitted(self)
        check_share("coverage", coverage)
        width = conformal_quantile(np.sort(np.abs(self._residuals)), coverage)
        prediction = self.predict(X)
        return np.column_stack([prediction - width, prediction + width])

    @on_published_state
    def predict_quantiles(self, X: MatrixLike, quantiles: ArrayLike = (0.05, 0.5, 0.95)) -> Array:
        """Predict quantiles of the target.

        A quantile is the prediction plus the quantile of the errors for the rows that the networks
        have not seen.

        Parameters
        ----------
        X : data frame, array-like or sparse matrix of shape (n_samples, n_features)
            A table with the columns of the training data.
        quantiles : array-like of shape (n_quantiles,), default=(0.05, 0.5, 0.95)
            Probabilities between 0 and 1.

        Returns
        -------
        ndarray of shape (n_samples, n_quantiles)
            The quantiles. They are infinite if there are too few rows for a probability.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from fastmlp import TabularMLPRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = TabularMLPRegressor(n_members=2, random_state=0).fit(X, y)
        >>> model.predict_quantiles(X[:3], [0.1, 0.9]).shape
        (3, 2)
        """
        check_is_fitted(self)
        quantiles = np.atleast_1d(quantiles).tolist()
        for share in quantiles:
            check_share("quantiles", share)
        # Below the median, the quantile of the negative errors is the careful one.
        errors = np.array(
            [
                conformal_quantile(self._residuals, share)
                if share >= 0.5
                else -conformal_quantile(-self._residuals[::-1], 1 - share)
                for share in quantiles
            ]
        )
        return self.predict(X)[:, np.newaxis] + errors


def checked_numbers(y, name):
    """Return the targets in float64 after validation."""
    given = np.asarray(y)
    if given.dtype.kind in "SUMmV" or (given.dtype.kind == "O" and holds_strings(given)):
        raise ValueError(f"{name} must hold numbers, got the dtype {given.dtype} with {given[:3]}")
    try:
        y = check_array(y, dtype=np.float64, ensure_2d=False, input_name=name, ensure_min_samples=0)
    except TypeError as error:
        raise TypeError(f"{name} must hold numbers: {error}") from error
    y = column_or_1d(y, warn=True)
    if len(y) and np.abs(y).max() > LARGEST:
        raise ValueError(
            f"{name} must hold numbers from {-LARGEST} to {LARGEST}, got {y[np.abs(y).argmax()]}"
        )
    return y


def holds_strings(values):
    return any(isinstance(value, str | bytes) for value in values.ravel())


def check_share(name, share):
    """Raise an error unless the share is a number between 0 and 1."""
    if not (isinstance(share, Real) and 0 < share < 1):
        raise ValueError(f"{name} must be between 0 and 1, got {share!r}")
