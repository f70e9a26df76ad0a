"""The parameters that classifier and regressor share: their text, what they may be, alone and
together, and what they come to for a solver."""

from numbers import Integral, Real

import numpy as np
from sklearn.metrics import get_scorer_names

from fastmlp._core import ACTIVATIONS, SOLVERS
from fastmlp._engine.options import SOLVER_PARAMS, Number, with_defaults
from fastmlp._estimators.sklearn_private import HasMethods, Interval, Options, StrOptions
from fastmlp._training.schedules import SCHEDULE_PARAMS, SGD_SCHEDULES

PARAMETERS = """hidden_layer_sizes : array-like of int, default=(100,)
        Nodes of each hidden layer; ``()`` makes a linear model.
    activation : str or list of str, default='relu'
        f of the hidden layers, or of each of them: 'identity', 'logistic', 'tanh', 'relu',
        'leaky_relu' (slope 0.01), 'elu', 'selu', 'gelu', 'silu', 'mish', 'softplus',
        'softsign', 'hard_swish'.
    solver : str, default='adam'
        'sgd', 'adam' (Kingma and Ba, ICLR 2015), 'adamw', 'nadam', 'rmsprop', 'adagrad' and
        'adadelta' move by mini-batches, 'rprop' by all rows at a time; 'lbfgs' is SciPy's L-BFGS-B
        on all rows.
    alpha : float, default=1e-4
        L2: ``0.5 * alpha * sum(W**2)`` over the mini-batch's rows (or sum of sample weights) is
        added to the loss. Biases are not penalised.
    batch_size : int or 'auto', default='auto'
        Rows of a mini-batch; 'auto' is ``min(200, n_rows)``. A larger one than there are rows is
        clipped, with a warning.
    learning_rate : str, default='constant'
        The schedule. Of every mini-batch solver: 'step', 'exponential', 'cosine',
        'cosine_restarts', 'one_cycle' and 'plateau', with the options of ``schedule_params``. Of
        'sgd' only, and for the others 'constant': 'invscaling',
        ``learning_rate_init / (t_ + 1) ** power_t`` after every epoch; 'adaptive', a fifth of the
        rate at every plateau.
    learning_rate_init : float, default=1e-3
        The rate that the schedule changes. 'adadelta' was meant for 1 with ``epsilon=1e-6``,
        'rprop' (where it is the first step's size) and 'adagrad' for 0.01.
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
        1 or True shows one live line with epoch, loss, score, rate and the time left (by rich
        where it is installed); from 2 on a line is printed for every epoch.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights that are there.
    momentum : float in [0, 1], default=0.9
        Of 'sgd'.
    nesterovs_momentum : bool, default=True
        Of 'sgd'.
    early_stopping : bool, default=False
        Whether a part of the rows is set aside, its score ends the training, and the weights that
        scored best are kept. 'lbfgs' takes no notice of it.
    validation_fraction : float in [0, 1), default=0.1
        That part.
    beta_1, beta_2 : float in [0, 1), default=0.9, 0.999
        Decay of the moving averages of the gradient and of its square in 'adam', 'adamw' and
        'nadam'.
    epsilon : float, default=1e-8
        Keeps the adaptive solvers from dividing by 0.
    n_iter_no_change : int or inf, default=10
        Training ends after more epochs than this without progress.
    max_fun : int, default=15000
        Evaluations of the loss in 'lbfgs'.
    n_threads : int or None, default=None
        None takes as many as pay off for this network and batch. The result is the same, bit for
        bit, for any number.
    dtype : {'float32', 'float64'} or None, default=None
        The arithmetic; None is 'float64' for 'lbfgs' and 'float32' for the others, and where
        ``warm_start`` or ``partial_fit`` goes on, that of the network.
    scoring : str, callable, list of them or None, default=None
        The score of the validation rows: a name of a scorer of scikit-learn or a function
        f(estimator, X, y); None is what ``score`` gives. Larger is better. Of a list all are
        recorded, and the first decides.
    callbacks : list or callable, default=None
        Functions f(estimator, state), called after every epoch with an `Epoch` (epoch, loss,
        val_loss, val_score, learning_rate, seconds); one that returns True ends the training.
        What a function changes by ``estimator.set_params`` counts from the next epoch (the rate,
        penalties, dropout and the like; 'lbfgs' takes ``n_threads`` only) or is refused.
        Callbacks of scikit-learn (from its version 1.9) may be among them, or be set by
        ``set_callbacks``.
    max_seconds : float or None, default=None
        A budget of time: ``fit`` ends at the first mini-batch after it, with a warning, and the
        model is that of this moment. A schedule still counts ``max_iter`` epochs.
    loss_params : dict or None, default=None
        Options of the loss: see `loss`.
    solver_params : dict or None, default=None
        Options of the solver: ``amsgrad`` of 'adam' and 'adamw' (False), ``momentum_decay`` of
        'nadam' (0.004), ``rho`` of 'rmsprop' (0.99) and 'adadelta' (0.9), ``eta_minus``,
        ``eta_plus``, ``smallest_step`` and ``largest_step`` of 'rprop' (0.5, 1.2, 1e-6, 50).
    schedule_params : dict or None, default=None
        Options of the schedule: ``step_size`` and ``gamma`` of 'step' (30 epochs, 0.1), ``gamma``
        of 'exponential' (0.95 an epoch), ``final`` of 'cosine' (0, a share of the rate),
        ``period``, ``multiplier`` and ``final`` of 'cosine_restarts' (10 epochs, 2, 0),
        ``peak_at``, ``start`` and ``final`` of 'one_cycle' (0.3 of ``max_iter``, 0.04, 1e-4),
        ``factor`` and ``patience`` of 'plateau' (0.1, 5 epochs; fewer than ``n_iter_no_change``,
        which are counted anew when the rate has fallen, down to 1e-6); and of each of them
        ``warmup``, epochs in which the rate rises from 0 in a straight line (0).
    weight_decay : float or None, default=None
        ``learning_rate * weight_decay * W`` is taken off the weights in every step, apart from
        the gradient. None is 0.01 for 'adamw' and 0 for the others.
    l1 : float, default=0.0
        ``l1 * sum(abs(W))`` is added to the loss, over the mini-batch's rows as alpha.
    dropout : float or list of float, default=0.0
        The share of a hidden layer's activations that is set to 0 in every step, or one for each
        hidden layer; below 1. The others are scaled up to make up for it. Only in training.
    input_dropout : float, default=0.0
        The same of the inputs; of dense rows.
    input_noise : float, default=0.0
        Standard deviation of normal noise on the inputs in training; of dense rows.
    max_norm : float or None, default=None
        The largest norm of a unit's incoming weights; longer ones are shortened after each step.
    clip_norm : float or None, default=None
        The largest norm of the whole gradient; a longer one is shortened.
    clip_value : float or None, default=None
        The largest size of each number of the gradient, before ``clip_norm``.
    averaging : float or None, default=None
        Decay of an exponential moving average of the weights after every step, as 0.999; in the
        beginning it is (1 + t) / (10 + t) if that is less. Predictions, validation and ``coefs_``
        are of the average.
    layer_norm : bool, default=False
        Whether every hidden layer's weighted inputs are normalised over its units, with a gain and
        a shift that are learned (``norms_``).
    residual : bool, default=False
        Whether a hidden layer's input is added to its output where both are equally wide; not in
        the first one, whose input is X.
    init : None, str, callable or list, default=None
        The first weights: 'glorot_uniform', 'glorot_normal', 'he_uniform', 'he_normal',
        'lecun_uniform', 'lecun_normal', 'orthogonal' or 'zeros'; a function
        f(shape, random_state); or a list of these or of arrays, one for each layer of weights.
        Biases are then 0. None is scikit-learn's.
    connections : list or None, default=None
        A boolean matrix like ``coefs_[l]``, or None, for each layer of weights. Where it is False
        there is no weight: it is 0 and stays so.
    diagnostics : bool, default=False
        Whether ``history_`` shows norms of gradients, updates and weights, and dead and saturated
        units, for `diagnose` and the displays. They are measured on up to 1,000 training rows
        after every epoch."""

ATTRIBUTES = """coefs_ : list of ndarray
        ``coefs_[l]`` of shape (n_in, n_out): the weights of layer l, views onto the network.
    intercepts_ : list of ndarray
        ``intercepts_[l]`` of shape (n_out,): the biases, views likewise.
    norms_ : list
        With ``layer_norm`` a pair (gain, shift), views of shape (n_out,), for each layer, or None.
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
    history_ : dict of list of float
        A number for every epoch under 'loss', 'learning_rate' (that of its last step; not for
        'lbfgs') and 'seconds', and with validation rows under 'val_loss' (without penalty) and
        'val_score'. With a list of scorers each is also under its name, as 'val_roc_auc' (a second
        one of the name as 'val_roc_auc(2)'); with a list of pairs X_val, every pair is also under
        'val_loss_0', 'val_score_0', 'val_loss_1' and so on.
        With ``diagnostics`` a tuple with a number for each layer of weights under 'gradient_norm',
        'update_norm' (of what the epoch has changed) and 'weight_norm', and for each hidden layer
        under 'dead_units' (the share that answers 0 to every row) and 'saturated_units'
        (the share of 'tanh' and 'logistic' activations within 0.01 of an end of their range).
    n_iter_ : int
        Epochs, or iterations of 'lbfgs', of the last fit.
    best_iter_ : int
        The epoch or iteration, from 1 in the last fit, of the best validation score if there are
        validation rows, or else of the smallest loss; 0 if none has been finished.
    stop_reason_ : str
        Why the last fit ended: 'converged', 'max_iter' (also ``max_fun``, and the one pass of
        ``partial_fit``), 'max_seconds', 'callback', 'interrupted' (by Ctrl-C); or 'failed' if it
        could not go on: the loss was no longer finite, and early stopping has kept better weights,
        or the line search of 'lbfgs' found nothing.
    t_ : int
        Training rows that mini-batch solvers have seen so far.
    n_layers_ : int
        Layers of nodes: inputs, hidden, outputs.
    n_outputs_ : int
    out_activation_ : str
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X has names."""

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
    "l1": [Interval(Real, 0, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
    "input_dropout": [Interval(Real, 0, 1, closed="left")],
    "input_noise": [Interval(Real, 0, None, closed="left")],
    "max_norm": [None, Interval(Real, 0, None, closed="neither")],
    "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
    "clip_value": [None, Interval(Real, 0, None, closed="neither")],
    "averaging": [None, Interval(Real, 0, 1, closed="neither")],
    "layer_norm": ["boolean"],
    "residual": ["boolean"],
    "init": [None, str, callable, list, tuple],
    "connections": [None, list, tuple],
    "diagnostics": ["boolean"],
}

# What only mini-batch solvers do, where it is neither 0 nor None.
MINI_BATCH_PARAMETERS = (
    "solver_params", "schedule_params", "weight_decay", "l1", "dropout", "input_dropout",
    "input_noise", "max_norm", "clip_norm", "clip_value", "averaging",
)  # fmt: skip

# What a callback may change in the middle of a fit by mini-batches.
CHANGEABLE_IN_TRAINING = (
    "n_threads", "learning_rate", "learning_rate_init", "schedule_params", "power_t", "momentum",
    "nesterovs_momentum", "beta_1", "beta_2", "epsilon", "solver_params", "alpha", "l1",
    "weight_decay", "dropout", "max_norm", "clip_norm", "clip_value", "averaging",
)  # fmt: skip

WEIGHT_DECAY_OF_ADAMW = 0.01


def check_combinations(estimator):
    """Raise where parameters make no sense together."""
    solver, schedule, max_iter = estimator.solver, estimator.learning_rate, estimator.max_iter
    options = _schedule_params(estimator)
    if options.get("patience", 0) >= estimator.n_iter_no_change:
        raise ValueError(
            "schedule_params['patience'] must be less than n_iter_no_change, or training ends "
            f"before the rate falls, got {options['patience']:g} and {estimator.n_iter_no_change}"
        )
    _check_scoring(estimator.scoring)
    for name in CONSTRAINTS:
        _check_size(name, getattr(estimator, name))
    of_solver = _solver_params(estimator)
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
    if schedule not in ("constant", *SGD_SCHEDULES):
        given.append("learning_rate")
    if given:
        shown = ", ".join(f"{name}={getattr(estimator, name)!r}" for name in given)
        raise ValueError(f"{shown}: of mini-batch solvers only, got solver='lbfgs'")


def _check_scoring(scoring):
    """Of a list; scikit-learn checks a single one."""
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
    """It makes steps of its own size, which no schedule changes."""
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
    """What `Descent` has to know, for a network with so many hidden layers."""
    schedule, weight_decay = estimator.learning_rate, estimator.weight_decay
    if schedule in SGD_SCHEDULES and estimator.solver != "sgd":
        schedule = "constant"
    if weight_decay is None:
        weight_decay = WEIGHT_DECAY_OF_ADAMW if estimator.solver == "adamw" else 0.0
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
        "dropout": (estimator.input_dropout, *_dropout_of_hidden(estimator.dropout, n_hidden)),
        "input_noise": estimator.input_noise,
    }


def _solver_params(estimator):
    solver, given = estimator.solver, estimator.solver_params
    return with_defaults("solver_params", solver, given, SOLVER_PARAMS.get(solver, {}))


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
