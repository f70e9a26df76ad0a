"""MLPRegressor."""

from numbers import Integral
from typing import Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.utils import check_array

from fastmlp._distributed.ranks import agreeing
from fastmlp._engine.input_layer import InputLayer
from fastmlp._engine.losses import LOSSES_OF_REGRESSOR, loss_options
from fastmlp._estimators.base import FITTED_ATTRIBUTES, BaseMLP
from fastmlp._estimators.concurrency import on_published_state
from fastmlp._estimators.methods import mini_batch_only, tears_down_callbacks
from fastmlp._estimators.parameters import ATTRIBUTES, PARAMETERS
from fastmlp._estimators.sklearn_private import StrOptions, _check_sample_weight
from fastmlp._estimators.targets import d2_of_deviance
from fastmlp._estimators.types import (
    Array,
    ArrayLike,
    Callback,
    CustomLoss,
    Init,
    MatrixLike,
    NDArray,
    Options,
    Pairs,
    Scoring,
    Sequence,
)


class MLPRegressor(RegressorMixin, BaseMLP):
    __doc__ = f"""Multilayer perceptron regressor.

    It supports one or several outputs. Parameters, attributes and results are compatible with
    scikit-learn's class of the same name, with one exception: with several outputs, the reported
    'squared_error' loss is the sum over the outputs, which is the quantity that is minimized.
    scikit-learn reports the mean.

    Parameters
    ----------
    loss : str or callable, default='squared_error'
        Loss function. Its options, given here with their defaults, are set in ``loss_params``.

        - 'squared_error': half the squared error.
        - 'absolute_error': the absolute error.
        - 'log_cosh': the logarithm of the hyperbolic cosine of the error.
        - 'huber': quadratic for errors up to ``delta`` (1), linear beyond.
        - 'quantile': the pinball loss of ``quantiles`` (0.5). It is a number, or an ascending list
          if y has a single column; ``predict`` then returns a column for each quantile, and the
          quantiles do not cross.
        - 'poisson', 'tweedie', 'gamma': half the deviance, with exp as the output activation. The
          ``power`` (1.5) of 'tweedie' is between 1 and 2. y must be positive for 'gamma' and must
          not be negative for the other two. 'gamma' and 'tweedie' initialize the last biases to
          the logarithm of the mean of y.
        - A function f(y, z): a custom loss. It is called with the targets and the network's
          outputs for some rows, two arrays of shape (n_rows, n_outputs). It returns the loss of
          each row, of shape (n_rows,), and the derivatives with respect to z, of shape
          (n_rows, n_outputs). Use `check_gradients` to test them. A custom loss is slower, because
          only one thread at a time can run Python code.

        ``score`` is D^2 for 'quantile' (`d2_pinball_score` of scikit-learn), 'gamma' and 'tweedie'
        (`d2_tweedie_score`), and R^2 for the other losses.
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
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions(set(LOSSES_OF_REGRESSOR)), callable],
    }

    def __init__(
        self,
        loss: str | CustomLoss = "squared_error",
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
    ) -> None:
        self.loss = loss
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

    def _network_loss(self):
        return self.loss

    def _encode_targets(self, y, *, classes_are_known):
        self.n_outputs_ = self._outputs_for(1 if y.ndim == 1 else y.shape[1])
        return y

    def _outputs_for(self, n_columns):
        """Return the number of outputs of the network if y has ``n_columns`` columns."""
        n_quantiles = len(self._quantiles())
        if n_quantiles > 1 and n_columns > 1:
            raise ValueError(
                f"several quantiles need one y, got {n_columns} columns and quantiles "
                f"{self._quantiles()}"
            )
        return max(n_columns, n_quantiles)

    def _quantiles(self):
        """Return the quantiles to predict; empty for other losses."""
        options = loss_options(self.loss, self.loss_params)
        return options.get("quantiles", ())

    def _encode_validation_targets(self, y):
        return y

    def _score_output(self, y, output, sample_weight):
        if not np.isfinite(output).all():
            return np.nan
        options = self._network.loss_params
        with np.errstate(over="ignore", invalid="ignore"):  # before training diverges
            power_of = self._network.passes.loss.row.power
            if power_of:
                power = power_of(options)
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

    @on_published_state
    def score(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Score the predictions: R^2, or D^2 for the losses 'quantile', 'gamma' and 'tweedie'.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.

        Returns
        -------
        float
            The best score is 1. A constant prediction of the mean of y (for 'quantile', of the
            quantile of y) scores 0. D^2 is the fraction of the pinball loss, or of the deviance,
            that the predictions explain. With several outputs or quantiles, the score is the mean.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPRegressor
        >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
        >>> regressor = MLPRegressor(solver='lbfgs', random_state=0).fit(X, X.ravel() ** 2)
        >>> regressor.score(X, X.ravel() ** 2) > 0.99
        True
        """
        loss = self._fitted_network().passes.loss
        if loss.name != "quantile" and not loss.row.power:
            return super().score(X, y, sample_weight)
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, y, ensure_non_negative=True)
        return self._score_output(y, self._output(X), sample_weight)

    @mini_batch_only
    @tears_down_callbacks
    def partial_fit(
        self,
        X: MatrixLike,
        y: MatrixLike,
        sample_weight: ArrayLike | None = None,
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
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights, which must not be negative.
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
            with agreeing("in partial_fit"):
                self._validate_params_once()
            validation = (X_val, y_val, sample_weight_val)
            return self._fit(X, y, sample_weight, validation)

    def initialize(self, n_features: int, n_outputs: int = 1) -> Self:
        """Initialize the network without fitting it, so that its weights can be read and set.

        ``partial_fit``, and ``fit`` with ``warm_start=True``, continue from these weights.

        Parameters
        ----------
        n_features : int
            Number of columns of X, at least 1.
        n_outputs : int, default=1
            Number of columns of y, at least 1.

        Returns
        -------
        self
            Initialized estimator.

        Raises
        ------
        ValueError
            If there are no features or no outputs.

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
            self._forget(FITTED_ATTRIBUTES)
            self.n_outputs_ = self._outputs_for(int(n_outputs))
            return self._initialize(n_features)

    @on_published_state
    def predict(self, X: MatrixLike) -> Array:
        """Predict the targets of X.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The predicted values.

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
