"""What a fit looks like in words, and whether its gradients are right."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastmlp._estimators import MLPClassifier, MLPRegressor

# From where `diagnose` speaks.
LARGE_FEATURE = 1e2  # root mean square
LARGE_RATIO = 1e2  # of the largest to the one in the middle
LARGE_TARGET = 1e2  # mean or standard deviation
ORDERS_OF_MAGNITUDE = 1e2  # between the gradients of two layers, a weight each
LARGE_GRADIENT = 10.0  # of a layer over its weights, both norms
DEAD, SATURATED = 0.4, 0.5  # shares of a layer
EPOCHS_TO_JUDGE = 5
NOTABLE_RISE = 0.02  # of the loss from one epoch to the next, relatively
OFTEN, ALMOST_ALWAYS = 0.3, 0.95  # shares of epochs
OVERFITTED = 0.05  # rise of the validation loss above its smallest, relatively

# For outputs that are exp(z) the size of y is of no account, or must not be changed.
LOSSES_OF_SCALED_TARGETS = ("squared_error", "absolute_error", "huber", "quantile")

# Whoever asks for a lower rate or for less training contradicts one who asks for more of it.
TOO_LOW = "learning rate too low"
AGAINST_MORE_TRAINING = {"exploding gradients", "dead units", "overfitting"}


def check_estimator(estimator):
    if not isinstance(estimator, MLPClassifier | MLPRegressor):
        raise TypeError(
            "estimator must be an MLPClassifier or MLPRegressor of fastmlp (that of a pipeline is "
            f"pipeline[-1], that of a search best_estimator_), got {estimator!r}"
        )


def check_trained(estimator):
    """Raise unless an estimator has been trained for an epoch."""
    check_estimator(estimator)
    check_is_fitted(estimator)
    if not estimator.history_:
        raise NotFittedError(
            f"This {type(estimator).__name__} has its first weights and no epoch yet: call fit or "
            "partial_fit"
        )


class Finding(NamedTuple):
    """One thing that `diagnose` sees.

    Parameters
    ----------
    name : str
        'unscaled features', 'unscaled targets', 'overfitting', 'vanishing gradients',
        'exploding gradients', 'dead units', 'saturated units', 'learning rate too high',
        'learning rate too low' or 'no gradients'.
    what : str
        What is seen, with the numbers.
    remedy : str
        What usually helps.

    Examples
    --------
    See `diagnose`.
    """

    name: str
    what: str
    remedy: str

    def __str__(self):
        return f"{self.name}: {self.what}\n    Try {self.remedy}."


class Diagnosis(list):
    """The findings of `diagnose`; printed, they are sentences.

    Parameters
    ----------
    iterable : iterable of Finding
        What is seen.

    Examples
    --------
    See `diagnose`.
    """

    def __str__(self):
        return "\n".join(map(str, self)) or "Nothing stands out."


def diagnose(estimator):
    """Say in words what a fit looks like, and what may help.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Fitted; with ``diagnostics=True`` there is more to say.

    Returns
    -------
    Diagnosis
        A list of `Finding`; ``print`` shows it as text.

    Examples
    --------
    A deep logistic network, whose gradients vanish on the way to the input:

    >>> import fastmlp
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = fastmlp.MLPClassifier(
    ...     [30] * 6, activation='logistic', diagnostics=True, max_iter=5, random_state=0)
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter('ignore')
    ...     classifier = classifier.fit(X / 16, y)
    >>> [finding.name for finding in fastmlp.diagnose(classifier)]
    ['vanishing gradients']
    """
    check_trained(estimator)
    history = {name: np.asarray(column, float) for name, column in estimator.history_.items()}
    findings = [_features(estimator), _targets(estimator), _overfitting(estimator, history)]
    if "gradient_norm" in history:
        findings.append(_vanishing(estimator, history) or _exploding(estimator, history))
        findings += [_dead(history), _saturated(history)]
    if estimator.solver != "lbfgs":
        names = {finding.name for finding in findings if finding is not None}
        of_rate = _learning_rate(history["loss"])
        if not (of_rate and of_rate.name == TOO_LOW and names & AGAINST_MORE_TRAINING):
            findings.append(of_rate)
    if "gradient_norm" not in history:
        findings.append(
            Finding(
                "no gradients",
                "the fit has recorded no norms of gradients and no dead units.",
                "diagnostics=True in the estimator, and fit again",
            )
        )
    return Diagnosis(filter(None, findings))


def _features(estimator):
    sizes = estimator._feature_sizes
    largest, middle = sizes.max(), np.median(sizes[sizes > 0]) if sizes.any() else 1.0
    if largest <= min(LARGE_FEATURE, LARGE_RATIO * middle):
        return None
    return Finding(
        "unscaled features",
        f"the numbers of the largest column of X are of size {largest:.3g}, those of the column "
        f"in the middle of size {middle:.3g}.",
        "sklearn.preprocessing.StandardScaler in a pipeline before the network",
    )


def _targets(estimator):
    largest = np.max(getattr(estimator, "_target_sizes", 0.0))
    if estimator.loss not in LOSSES_OF_SCALED_TARGETS or not largest > LARGE_TARGET:
        return None
    return Finding(
        "unscaled targets",
        f"the mean or the standard deviation of y is {largest:.3g}; the network's output begins "
        "near 0, and the gradient is as large as the error.",
        "sklearn.compose.TransformedTargetRegressor(network, transformer=StandardScaler())",
    )


def _overfitting(estimator, history):
    if "val_loss" not in history:
        return None
    known = ~np.isnan(history["val_loss"])
    loss, val_loss = history["loss"][known], history["val_loss"][known]
    if len(loss) < EPOCHS_TO_JUDGE:
        return None
    best = val_loss.argmin()
    late = np.median(val_loss[-(len(loss) // EPOCHS_TO_JUDGE) :])
    if not (late > (1 + OVERFITTED) * val_loss[best] and loss[-1] < loss[best]):
        return None
    stop = "" if estimator.early_stopping else "early_stopping=True, "
    return Finding(
        "overfitting",
        f"the loss of the validation rows has risen from {val_loss[best]:.3g} in epoch {best + 1} "
        f"to {late:.3g}, while that of the training rows fell from {loss[best]:.3g} to "
        f"{loss[-1]:.3g}.",
        f"{stop}a larger alpha, dropout, a smaller network, or more rows",
    )


def _slopes(estimator, history):
    """The gradient's size for a weight of each layer, in the middle of all epochs."""
    sizes = [coefs.size for coefs in estimator.coefs_]
    return np.nanmedian(history["gradient_norm"], axis=0) / np.sqrt(sizes)


def _vanishing(estimator, history):
    slopes = _slopes(estimator, history)
    if len(slopes) < 3 or not slopes[0] * ORDERS_OF_MAGNITUDE < slopes[-1]:
        return None
    return Finding(
        "vanishing gradients",
        f"a weight of the first layer has a gradient of {slopes[0]:.2g}, one of the last layer of "
        f"{slopes[-1]:.2g}.",
        "activation='leaky_relu' with init='he_normal', 'tanh' with init='orthogonal', "
        "residual=True with layer_norm=True, or fewer layers",
    )


def _exploding(estimator, history):
    slopes = _slopes(estimator, history)
    ratio = np.nanmax(history["gradient_norm"] / (history["weight_norm"] + 1e-30))
    if len(slopes) >= 3 and slopes[0] > ORDERS_OF_MAGNITUDE * slopes[-1]:
        what = f"a weight of the last layer has a gradient of {slopes[-1]:.2g}, one of the first "
        what += f"layer of {slopes[0]:.2g}."
    elif ratio > LARGE_GRADIENT:
        what = f"a layer's gradient was {ratio:.3g} times as large as its weights."
    else:
        return None
    return Finding(
        "exploding gradients",
        what,
        "smaller first weights (init='he_normal' or 'orthogonal'), layer_norm=True, a lower "
        "learning_rate_init, or clip_norm=1.0",
    )


def _latest(shares):
    """Those of the last epoch in which they were recorded."""
    return shares[~np.isnan(shares).any(axis=1)][-1]


def _dead(history):
    share = _latest(history["dead_units"])
    if share.size == 0 or share.max() <= DEAD:
        return None
    return Finding(
        "dead units",
        f"{100 * share.max():.0f}% of the units of hidden layer {share.argmax()} answer 0 to every "
        "row, and no longer learn.",
        "a lower learning_rate_init, activation='leaky_relu' or 'elu', init='he_normal', or "
        "layer_norm=True",
    )


def _saturated(history):
    share = _latest(history["saturated_units"])
    if share.size == 0 or share.max() <= SATURATED:
        return None
    return Finding(
        "saturated units",
        f"{100 * share.max():.0f}% of the activations of hidden layer {share.argmax()} are at an "
        "end of their range, where there is next to no slope.",
        "scaled features, smaller first weights (init), layer_norm=True, a larger alpha, or "
        "activation='leaky_relu'",
    )


def _learning_rate(loss):
    if len(loss) < EPOCHS_TO_JUDGE:
        return None
    changes = np.diff(loss)
    rises = np.mean(changes > NOTABLE_RISE * np.abs(loss[:-1]))
    if rises > OFTEN or loss[-1] > loss[0]:
        return Finding(
            "learning rate too high",
            f"the loss rises in {100 * rises:.0f}% of the epochs, from {loss[0]:.3g} to "
            f"{loss[-1]:.3g} in all.",
            "a lower learning_rate_init, learning_rate='plateau' or 'cosine', or clip_norm",
        )
    late = changes[-max(1, len(changes) // 5) :]
    if np.mean(changes < 0) >= ALMOST_ALWAYS and late.mean() < changes.mean() / 2:
        return Finding(
            TOO_LOW,
            f"in the end the loss ({loss[-1]:.3g}) still falls more than half as fast as on "
            "average.",
            "a higher learning_rate_init, or a larger max_iter",
        )
    return None


class GradientCheck(NamedTuple):
    """What `check_gradients` has found.

    Parameters
    ----------
    error : float
        The largest difference between a derivative and its finite difference, relative to the
        larger of both, or to a thousandth of the largest derivative if they are smaller than that.
    where : str
        The parameter that it belongs to, as ``'coefs_[0][3, 1]'``.
    derivative, difference : float
        Both numbers there.
    n_checked : int
        How many parameters have been looked at.

    Examples
    --------
    See `check_gradients`.
    """

    error: float
    where: str
    derivative: float
    difference: float
    n_checked: int


def check_gradients(
    estimator, X, y, sample_weight=None, *, n_parameters=200, step=1e-6, random_state=0
):
    """Compare the loss's derivatives with central finite differences, in float64.

    The loss is that of all rows with the penalties ``alpha`` and ``l1``, without dropout and noise.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Fitted, or else its first weights are taken; it stays as it is.
    X : array-like or sparse matrix of shape (n_samples, n_features)
        The inputs.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The targets.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    n_parameters : int, default=200
        How many parameters are looked at, drawn at random if there are more.
    step : float, default=1e-6
        By how much each is moved, up and down. Where a kink of the loss (of relu, say) lies
        between, the difference is no derivative.
    random_state : int, RandomState or None, default=0
        Draws the parameters.

    Returns
    -------
    GradientCheck

    Examples
    --------
    >>> import fastmlp
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = fastmlp.MLPClassifier((5, 4), activation='gelu', random_state=0)
    >>> fastmlp.check_gradients(classifier, X, y).error < 1e-5
    True
    """
    check_estimator(estimator)
    if not isinstance(step, Real) or not 0 < step < np.inf:
        raise ValueError(f"step must be a number > 0, got {step!r}")
    if not isinstance(n_parameters, Integral) or n_parameters < 1:
        raise ValueError(f"n_parameters must be a whole number >= 1, got {n_parameters!r}")
    network, data = estimator._twin_in_float64(X, y, sample_weight)
    gradient = np.zeros_like(network._flat)
    penalties = (estimator.alpha, estimator.l1)
    network._full_gradient(data, gradient, *penalties)
    ignored = np.empty_like(gradient)
    places = _places(network)
    if len(places) > n_parameters:
        drawn = check_random_state(random_state).permutation(len(places))[:n_parameters]
        places = [places[i] for i in sorted(drawn)]
    floor = 1e-3 * np.abs(gradient).max() + 1e-300
    worst = GradientCheck(-1.0, "", 0.0, 0.0, len(places))
    for where, place in places:
        value = network._flat[place]
        losses = []
        for moved in (value + step, value - step):
            network._flat[place] = moved
            losses.append(network._full_gradient(data, ignored, *penalties))
        network._flat[place] = value
        derivative, difference = float(gradient[place]), (losses[0] - losses[1]) / (2 * step)
        largest = max(abs(derivative), abs(difference), floor)
        error = float(abs(derivative - difference) / largest)
        if not error <= worst.error:
            worst = GradientCheck(error, where, derivative, difference, len(places))
        if np.isnan(error):
            break
    return worst


def _places(network):
    """(name, place in the flat buffer) of every parameter that is there."""
    numbers = np.arange(network._flat.size)
    there = network._mask if len(network._mask) else np.ones(network._flat.size)
    places = []
    for l, (W, b) in enumerate(network._matrices(numbers)):
        places += [(f"coefs_[{l}][{j}, {k}]", W[j, k]) for j, k in np.ndindex(W.shape)]
        places += [(f"intercepts_[{l}][{k}]", place) for k, place in enumerate(b)]
        for i, name in enumerate(("gain", "shift") if network.norms[l] else ()):
            first = int(network._layers[name][l + 1])
            places += [(f"norms_[{l}][{i}][{k}]", first + k) for k in range(len(b))]
    return [(name, int(place)) for name, place in places if there[place]]
