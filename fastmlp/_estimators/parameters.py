"""Parameters common to the classifier and the regressor.

This module has their documentation, their constraints, and their conversion to solver settings.
"""

import inspect
from functools import cache
from numbers import Integral, Real

import numpy as np
from sklearn.metrics import get_scorer_names

from fastmlp._engine.activations import ACTIVATIONS
from fastmlp._engine.checks import PARAMETRIZATIONS
from fastmlp._engine.input_layer import InputLayer
from fastmlp._engine.options import Number, with_defaults
from fastmlp._estimators.sklearn_private import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from fastmlp._training.schedules import SCHEDULE_PARAMS, SCHEDULES_OF_FACTORS, SGD_SCHEDULES
from fastmlp._training.solvers import SOLVERS, solver_row

PARAMETERS = """hidden_layer_sizes : array-like of int, default=(100,)
        Number of units in each hidden layer. ``()`` gives a linear model.
    activation : str or list of str, default='relu'
        Activation function of the hidden layers, or a list with one for each hidden layer:
        'identity', 'logistic', 'tanh', 'relu', 'leaky_relu' (slope 0.01), 'elu', 'selu', 'gelu',
        'silu', 'mish', 'softplus', 'softsign' or 'hard_swish'.
    solver : str, default='adam'
        Solver for the weights. 'sgd', 'adam' (Kingma and Ba, ICLR 2015), 'adamw', 'nadam',
        'rmsprop', 'adagrad' and 'adadelta' use mini-batches. 'rprop' uses all rows in each step.
        'lbfgs' also uses all rows, and takes the steps of SciPy's L-BFGS-B.
    alpha : float, default=1e-4
        Strength of the L2 penalty: ``0.5 * alpha * sum(W**2)``, divided by the number of rows in
        the mini-batch (or by the sum of their sample weights), is added to the loss. Biases are not
        penalized.
    batch_size : int or 'auto', default='auto'
        Number of rows in a mini-batch. 'auto' is ``min(200, n_rows)``. A value larger than the
        number of rows is clipped, with a warning.
    learning_rate : str, default='constant'
        Learning rate schedule. 'constant' keeps the rate. 'step', 'exponential', 'cosine',
        'flat_cosine', 'cosine_restarts', 'one_cycle', 'coslog4' and 'plateau' work with all
        mini-batch solvers except 'rprop'; see ``schedule_params`` for their options. 'invscaling'
        and 'adaptive' apply to 'sgd' only, and other solvers then use a constant rate. 'invscaling'
        sets the rate to ``learning_rate_init / (t_ + 1) ** power_t`` after every epoch. 'adaptive'
        divides the rate by 5 at every plateau.
    learning_rate_init : float, default=1e-3
        Initial learning rate, which the schedule then changes. 'adadelta' was designed for a rate
        of 1 with ``epsilon=1e-6``. For 'adagrad' and 'rprop' (where it is the initial step size),
        0.01 is customary.
    power_t : float, default=0.5
        Exponent of the schedule 'invscaling'.
    max_iter : int, default=200
        Maximum number of epochs, or of iterations for 'lbfgs'.
    shuffle : bool, default=True
        Whether to shuffle the rows before every epoch.
    random_state : int, RandomState or None, default=None
        Random number generator for the initial weights, the validation split, shuffling, dropout
        and noise.
    tol : float, default=1e-4
        Tolerance. An epoch counts as progress only if the loss (or the validation score) improves
        by at least ``tol``. For 'lbfgs', the largest component of the gradient at a minimum.
    verbose : bool or int, default=False
        1 or True shows a single live line with the epoch, loss, score, learning rate and remaining
        time, using rich if it is installed. 2 or more prints a line for every epoch.
    warm_start : bool, default=False
        Whether ``fit`` continues from the existing weights instead of initializing new ones.
    momentum : float in [0, 1], default=0.9
        Momentum of 'sgd'.
    nesterovs_momentum : bool, default=True
        Whether 'sgd' uses Nesterov's momentum.
    early_stopping : bool, default=False
        Whether to set aside a part of the rows as a validation set, stop training when its score
        no longer improves, and keep the weights with the best score. Ignored by 'lbfgs'.
    validation_fraction : float in [0, 1), default=0.1
        Fraction of the rows to set aside for early stopping.
    beta_1, beta_2 : float in [0, 1), default=0.9, 0.999
        Decay of the moving averages of the gradient and of its square in 'adam', 'adamw' and
        'nadam'.
    epsilon : float, default=1e-8
        Term for numerical stability: it keeps the adaptive solvers from dividing by 0.
    n_iter_no_change : int or inf, default=10
        Training stops after more than this number of epochs in a row without progress.
    max_fun : int, default=15000
        Maximum number of loss evaluations in 'lbfgs'.
    n_threads : int or None, default=None
        Number of threads. None chooses the number by the size of the network and the mini-batch.
        The results are bit-for-bit identical for any number of threads.
    dtype : {'float32', 'float64'} or None, default=None
        Data type of the parameters and computations. None is 'float64' for 'lbfgs' and 'float32'
        for the other solvers; ``warm_start`` and ``partial_fit`` keep that of the existing network.
    scoring : str, callable, list of them or None, default=None
        Score for the validation set: the name of a scikit-learn scorer, or a function
        f(estimator, X, y). Larger values are better. None uses ``score``. If it is a list, all
        scores are recorded, and the first one is used for early stopping.
    callbacks : list or callable, default=None
        Function f(estimator, state), or a list of such functions, called after every epoch with an
        `Epoch` as ``state`` (epoch, max_iter, loss, val_loss, val_score, learning_rate, seconds).
        Training stops if a function returns True. A function may change parameters such as the
        learning rate, penalties or dropout with ``estimator.set_params``; they take effect in the
        next epoch. Other changes raise an error ('lbfgs' allows only ``n_threads`` to change). The
        list may include callbacks of scikit-learn (version 1.9 or later), which can also be set
        with ``set_callbacks``.
    max_seconds : float or None, default=None
        Time limit in seconds. ``fit`` stops after the first mini-batch past the limit, with a
        warning, and keeps the weights of that moment. Schedules still assume ``max_iter`` epochs.
    loss_params : dict or None, default=None
        Options of the loss; see `loss`.
    solver_params : dict or None, default=None
        Options of the solver (with their defaults): ``amsgrad`` of 'adam' and 'adamw' (False),
        ``momentum_decay`` of 'nadam' (0.004), ``rho`` of 'rmsprop' (0.99) and 'adadelta' (0.9),
        ``eta_minus``, ``eta_plus``, ``smallest_step`` and ``largest_step`` of 'rprop' (0.5, 1.2,
        1e-6, 50).
    schedule_params : dict or None, default=None
        Options of the schedule (with their defaults): ``step_size`` (30 epochs) and ``gamma`` (0.1)
        of 'step'; ``gamma`` (0.95 per epoch) of 'exponential'; ``final`` (0, as a fraction of the
        initial rate) of 'cosine'; ``period`` (10 epochs), ``multiplier`` (2) and ``final`` (0) of
        'cosine_restarts'; ``peak_at`` (0.3, as a fraction of ``max_iter``), ``start`` (0.04) and
        ``final`` (1e-4) of 'one_cycle'; ``factor`` (0.1) and ``patience`` (5 epochs) of 'plateau'.
        ``patience`` must be less than ``n_iter_no_change``; both counts restart when 'plateau'
        reduces the rate, which it does down to 1e-6. All schedules have ``warmup`` (0), the number
        of epochs during which the rate rises linearly from 0.
    weight_decay : float or None, default=None
        Decoupled weight decay: in every step, ``learning_rate * weight_decay * W`` is subtracted
        from the weights, separately from the gradient. None is 0.01 for 'adamw' and 0 for the other
        solvers.
    weight_decay_schedule : {'constant', 'cosine', 'flat_cosine'}, default='constant'
        Schedule by which the decoupled weight decay falls to 0 in ``max_iter`` epochs.
    learning_rate_factors : dict or None, default=None
        Learning rates of the other kinds of parameters, as multiples of that of the weights (with
        their defaults): ``bias`` (1) of biases and of the shifts of ``layer_norm``, ``scale`` (1)
        of its gains and of the scales of ``input_layer``, ``activation`` (1) of
        ``learned_activation``, and ``embedding`` (1) of the embeddings of ``input_layer``.
    l1 : float, default=0.0
        Strength of the L1 penalty: ``l1 * sum(abs(W))``, divided as for ``alpha``, is added to the
        loss.
    dropout : float or list of float, default=0.0
        Dropout rate of the hidden layers, or a list with a rate for each of them; less than 1. It
        is the fraction of activations set to 0 in every training step. The others are scaled up to
        compensate. Predictions do not use dropout.
    dropout_schedule : {'constant', 'cosine', 'flat_cosine'}, default='constant'
        Schedule by which all dropout rates fall to 0 in ``max_iter`` epochs. 'flat_cosine' starts
        to fall after half of them.
    input_dropout : float, default=0.0
        Dropout rate of the inputs, which must be dense.
    input_noise : float, default=0.0
        Standard deviation of the Gaussian noise added to the inputs in training. The inputs must be
        dense.
    max_norm : float or None, default=None
        Maximum norm of each unit's incoming weights. Larger weight vectors are scaled down after
        each step.
    clip_norm : float or None, default=None
        Maximum norm of the whole gradient. A larger gradient is scaled down.
    clip_value : float or None, default=None
        Maximum absolute value of each component of the gradient. It is applied before
        ``clip_norm``.
    averaging : float or None, default=None
        Decay of an exponential moving average of the weights, such as 0.999, updated after every
        step t. At the start, (1 + t) / (10 + t) is used if it is smaller. Predictions, validation
        and ``coefs_`` use the averaged weights.
    layer_norm : bool, default=False
        Whether to apply layer normalization to the weighted inputs of every hidden layer, with a
        learned gain and shift (``norms_``).
    residual : bool, default=False
        Whether to add a hidden layer's input to its output if both have the same width. The first
        hidden layer has no such connection, because its input is X.
    learned_activation : bool, default=False
        Whether each hidden unit learns how much of the activation function it uses: f(z) is
        replaced by ``z + mix * (f(z) - z)``, where ``mix`` is 1 at the start (``mixes_``).
    parametrization : {'standard', 'ntk'}, default='standard'
        'ntk' is the neural tangent parametrization: weights are ``V / sqrt(n_in)``, and the solver
        moves V, so that the change of z in a step does not grow with the number of inputs. With
        ``init=None``, V is standard normal and biases are 0. Not available for 'lbfgs'.
    input_layer : InputLayer or None, default=None
        How the columns of X become the inputs of the first layer: one-hot codes, embeddings of
        categories, learned cosines of numbers, learned scales; see `InputLayer`. X must be dense.
        ``input_dropout`` and ``input_noise`` then act on the inputs of the first layer.
    init : None, str, callable or list, default=None
        Initializer of the weights: 'glorot_uniform', 'glorot_normal', 'he_uniform', 'he_normal',
        'lecun_uniform', 'lecun_normal', 'orthogonal' or 'zeros'; a function
        f(shape, random_state); or a list with one of these or an array for each layer of weights.
        Biases are then initialized to 0. None initializes as scikit-learn does.
    connections : list or None, default=None
        For each layer of weights, None or a boolean matrix of the shape of ``coefs_[l]``. Where it
        is False, there is no connection, and the weight stays 0.
    diagnostics : bool, default=False
        Whether to record the norms of gradients, updates and weights, and the fractions of dead and
        saturated units, in ``history_``, for `diagnose` and the displays. They are measured on up
        to 1,000 training rows after every epoch."""

ATTRIBUTES = """coefs_ : list of ndarray
        Weights of each layer, ``coefs_[l]`` of shape (n_in, n_out), as views of the network.
    intercepts_ : list of ndarray
        Biases of each layer, ``intercepts_[l]`` of shape (n_out,), as views of the network.
    norms_ : list
        Pair (gain, shift) of views of shape (n_out,) for each normalized layer, None for others.
        Only available with ``layer_norm``.
    mixes_ : list
        View of shape (n_out,) for each layer with a learned activation, None for others. Only
        available with ``learned_activation``.
    input_parameters_ : dict of ndarray
        Parameters of ``input_layer`` by name, as views of the network; see
        `Network.input_parameters`. Only available with ``input_layer``.
    loss_ : float
        Training loss of the last epoch.
    loss_curve_ : list of float
        Training loss of every epoch, measured on each mini-batch before its step. Not available for
        'lbfgs'.
    best_loss_ : float or None
        Smallest value in ``loss_curve_``; None with early stopping. Not available for 'lbfgs'.
    validation_scores_ : list of float or None
        Validation score after every epoch; None without early stopping. Not available for 'lbfgs'.
    best_validation_score_ : float or None
        Largest value in ``validation_scores_``; None without early stopping. Not available for
        'lbfgs'.
    history_ : dict of list of float
        Lists with a value for every epoch. The keys are 'loss', 'learning_rate' (of the epoch's
        last step; not for 'lbfgs') and 'seconds', and with a validation set 'val_loss' (without
        penalties) and 'val_score'. With a list of scorers, each score is also recorded by name,
        such as 'val_roc_auc'; a second scorer with the same name is called 'val_roc_auc(2)'. If
        X_val is a list of pairs, the results of each pair are also recorded as 'val_loss_0',
        'val_score_0', 'val_loss_1' and so on.
        With ``diagnostics``, there are also lists of tuples. 'gradient_norm', 'update_norm' (of the
        change during the epoch) and 'weight_norm' have a value for each layer of weights.
        'dead_units' and 'saturated_units' have a value for each hidden layer: the fraction of units
        whose output is 0 for every row, and the fraction of 'tanh', 'logistic' and 'softsign'
        activations within 0.01 of an end of their range.
    n_iter_ : int
        Number of epochs, or of iterations for 'lbfgs', in the last fit.
    best_iter_ : int
        Epoch or iteration of the last fit, counted from 1, with the best validation score, or with
        the smallest loss if there is no validation set. 0 if no epoch was completed.
    stop_reason_ : str
        Why the last fit ended: 'converged'; 'max_iter' (also for ``max_fun``, and after the single
        pass of ``partial_fit``); 'max_seconds'; 'callback'; 'interrupted' (by Ctrl-C); or 'failed'.
        The last one means that the loss was no longer finite and early stopping kept better
        weights, or that the line search of 'lbfgs' failed.
    t_ : int
        Number of training rows processed so far by mini-batch solvers.
    n_layers_ : int
        Number of layers, including the inputs and the outputs.
    n_outputs_ : int
        Number of outputs.
    out_activation_ : str
        Activation function of the output layer.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features. Only available if X has feature names."""

CONSTRAINTS = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions(set(ACTIVATIONS)), list, tuple],
    "solver": [StrOptions({"lbfgs", *SOLVERS})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions(set(SCHEDULE_PARAMS))],
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
    "scoring": [None, StrOptions(set(get_scorer_names())), callable, list, tuple],
    "callbacks": [None, list, tuple, callable, HasMethods("on_fit_task_end")],
    "max_seconds": [None, Interval(Real, 0, None, closed="neither")],
    "loss_params": [None, dict],
    "solver_params": [None, dict],
    "schedule_params": [None, dict],
    "weight_decay": [None, Interval(Real, 0, None, closed="left")],
    "weight_decay_schedule": [StrOptions(set(SCHEDULES_OF_FACTORS))],
    "learning_rate_factors": [None, dict],
    "l1": [Interval(Real, 0, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
    "dropout_schedule": [StrOptions(set(SCHEDULES_OF_FACTORS))],
    "input_dropout": [Interval(Real, 0, 1, closed="left")],
    "input_noise": [Interval(Real, 0, None, closed="left")],
    "max_norm": [None, Interval(Real, 0, None, closed="neither")],
    "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
    "clip_value": [None, Interval(Real, 0, None, closed="neither")],
    "averaging": [None, Interval(Real, 0, 1, closed="neither")],
    "layer_norm": ["boolean"],
    "residual": ["boolean"],
    "learned_activation": ["boolean"],
    "parametrization": [StrOptions(set(PARAMETRIZATIONS))],
    "input_layer": [None, InputLayer],
    "init": [None, str, callable, list, tuple],
    "connections": [None, list, tuple],
    "diagnostics": ["boolean"],
}

# Parameters that require a mini-batch solver unless they are 0 or None.
MINI_BATCH_PARAMETERS = (
    "solver_params", "schedule_params", "weight_decay", "l1", "dropout", "input_dropout",
    "input_noise", "max_norm", "clip_norm", "clip_value", "averaging", "learning_rate_factors",
)  # fmt: skip

# Parameters that require a mini-batch solver unless they have this value.
MINI_BATCH_CHOICES = {
    "dropout_schedule": "constant",
    "weight_decay_schedule": "constant",
    "parametrization": "standard",
}

# Kinds of parameters with a learning rate of their own.
RATE_FACTORS = {
    kind: Number(1.0, "[0, inf)") for kind in ("bias", "scale", "activation", "embedding")
}

# Parameters that a callback may change during a fit with a mini-batch solver.
CHANGEABLE_IN_TRAINING = (
    "n_threads", "learning_rate", "learning_rate_init", "schedule_params", "power_t", "momentum",
    "nesterovs_momentum", "beta_1", "beta_2", "epsilon", "solver_params", "alpha", "l1",
    "weight_decay", "dropout", "max_norm", "clip_norm", "clip_value", "averaging",
    "dropout_schedule", "weight_decay_schedule", "learning_rate_factors",
)  # fmt: skip


@cache
def valid_defaults(estimator_class):
    """Return the default values of the parameters, which are valid."""
    parameters = inspect.signature(estimator_class).parameters.values()
    defaults = {it.name: it.default for it in parameters if it.default is not it.empty}
    constraints, name = estimator_class._parameter_constraints, estimator_class.__name__
    validate_parameter_constraints(constraints, defaults, caller_name=name)
    return defaults


def is_equal(a, b):
    """Whether two values of a parameter are equal. Arrays always count as different."""
    try:
        return bool(a == b)
    except ValueError:
        return False


def changed_parameters(estimator):
    """Return the names and values of the parameters that are not at their defaults, sorted."""
    defaults, values = valid_defaults(type(estimator)), vars(estimator)
    return {
        name: values[name]
        for name in sorted(estimator._parameter_constraints)
        if name not in defaults or values[name] is not defaults[name]
    }


def check_combinations(estimator):
    """Raise if parameters are incompatible with each other."""
    solver, schedule, max_iter = estimator.solver, estimator.learning_rate, estimator.max_iter
    options = _schedule_params(estimator)
    if options.get("patience", 0) >= estimator.n_iter_no_change:
        raise ValueError(
            "schedule_params['patience'] must be less than n_iter_no_change, or training ends "
            f"before the rate falls, got {options['patience']:g} and {estimator.n_iter_no_change}"
        )
    _check_scoring(estimator.scoring)
    for name, value in changed_parameters(estimator).items():
        _check_size(name, value)
    of_solver = _solver_params(estimator)
    _rate_factors(estimator)
    if solver == "rprop":
        _check_rprop(estimator, of_solver)
    warmup = options["warmup"]
    if warmup >= max_iter and warmup > 0:
        raise ValueError(
            f"schedule_params['warmup'] must be less than max_iter, got {warmup:g} and {max_iter}"
        )
    if solver != "lbfgs":
        return
    given = [name for name in MINI_BATCH_PARAMETERS if np.any(getattr(estimator, name))]
    given += [name for name, value in MINI_BATCH_CHOICES.items() if vars(estimator)[name] != value]
    if schedule not in ("constant", *SGD_SCHEDULES):
        given.append("learning_rate")
    if given:
        shown = ", ".join(f"{name}={getattr(estimator, name)!r}" for name in given)
        raise ValueError(f"{shown}: of mini-batch solvers only, got solver='lbfgs'")


def _check_scoring(scoring):
    """Check a list of scorers. scikit-learn checks a single one."""
    if not isinstance(scoring, list | tuple):
        return
    bad = [s for s in scoring if not callable(s) and s not in get_scorer_names()]
    if bad or not scoring:
        raise ValueError(
            "scoring must be a name of a scorer of scikit-learn, a function f(estimator, X, y) or "
            f"a list of at least one of them, got {bad[0] if bad else scoring!r}"
        )


def _check_size(name, value):
    try:
        float(value if isinstance(value, Real) else 0)
    except OverflowError:
        raise ValueError(f"{name} must be a number that fits a float64, got {value}") from None


def _check_rprop(estimator, options):
    """Raise if 'rprop' is used with a schedule: it adapts its step sizes itself."""
    if estimator.learning_rate not in ("constant", *SGD_SCHEDULES) or estimator.schedule_params:
        raise ValueError(
            "solver='rprop' takes no schedule: learning_rate must be 'constant' and "
            f"schedule_params None, got {estimator.learning_rate!r} and "
            f"{estimator.schedule_params!r}"
        )
    if options["smallest_step"] > options["largest_step"]:
        raise ValueError(
            "solver_params: smallest_step must not be larger than largest_step, got "
            f"{options['smallest_step']} and {options['largest_step']}"
        )


def settings_of_descent(estimator, n_hidden):
    """Return the settings of `Descent` for a network with ``n_hidden`` hidden layers."""
    schedule, weight_decay = estimator.learning_rate, estimator.weight_decay
    if schedule in SGD_SCHEDULES and estimator.solver != "sgd":
        schedule = "constant"
    if weight_decay is None:
        weight_decay = solver_row(estimator.solver).weight_decay
    return {
        "schedule": schedule,
        "schedule_params": _schedule_params(estimator),
        "power_t": estimator.power_t,
        "n_epochs": estimator.max_iter,
        "learning_rate": estimator.learning_rate_init,
        "momentum": estimator.momentum,
        "nesterov": estimator.nesterovs_momentum,
        "beta_1": estimator.beta_1,
        "beta_2": estimator.beta_2,
        "epsilon": estimator.epsilon,
        **_solver_params(estimator),
        "l1": estimator.l1,
        "l2": estimator.alpha,
        "weight_decay": weight_decay,
        "clip_value": estimator.clip_value or 0.0,
        "clip_norm": estimator.clip_norm or 0.0,
        "max_norm": estimator.max_norm or 0.0,
        "averaging": estimator.averaging or 0.0,
        **{f"{kind}_rate": factor for kind, factor in _rate_factors(estimator).items()},
        "dropout": (estimator.input_dropout, *_dropout_of_hidden(estimator.dropout, n_hidden)),
        "input_noise": estimator.input_noise,
        "dropout_schedule": estimator.dropout_schedule,
        "weight_decay_schedule": estimator.weight_decay_schedule,
    }


def _solver_params(estimator):
    solver, given = estimator.solver, estimator.solver_params
    return with_defaults("solver_params", solver, given, solver_row(solver).options)


def _rate_factors(estimator):
    given = estimator.learning_rate_factors
    return with_defaults("learning_rate_factors", estimator.solver, given, RATE_FACTORS)


def _schedule_params(estimator):
    schedule, given = estimator.learning_rate, estimator.schedule_params
    return with_defaults("schedule_params", schedule, given, SCHEDULE_PARAMS[schedule])


def _dropout_of_hidden(dropout, n_hidden):
    if not isinstance(dropout, list | tuple):
        return [dropout] * n_hidden
    allowed = Number(0, "[0, 1)")
    if len(dropout) != n_hidden or None in map(allowed.accept, dropout):
        raise ValueError(
            f"dropout must be {allowed}, or a list of them for the {n_hidden} hidden layers, got "
            f"{dropout!r}"
        )
    return dropout
