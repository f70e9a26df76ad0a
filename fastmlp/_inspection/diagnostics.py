"""Diagnosis of common problems of a fit."""

import itertools
from typing import NamedTuple

import numpy as np

from fastmlp._inspection.checks import HasFindings, HasHistory, check_trained

# Thresholds of `diagnose`.
LARGE_FEATURE = 1e2  # root mean square of a column

LARGE_RATIO = 1e2  # of the largest column's root mean square to the median

LARGE_TARGET = 1e2  # mean or standard deviation

ORDERS_OF_MAGNITUDE = 1e2  # ratio of the gradients per weight of two layers

LARGE_GRADIENT = 10.0  # norm of a layer's gradient over the norm of its weights

DEAD, SATURATED = 0.4, 0.5  # fractions of a layer

EPOCHS_TO_JUDGE = 5

NOTABLE_RISE = 0.02  # relative increase of the loss from one epoch to the next

OFTEN, ALMOST_ALWAYS = 0.3, 0.95  # fractions of the epochs

OVERFITTED = 0.05  # relative increase of the validation loss above its minimum

# A finding that the learning rate is too low would contradict the remedies of these findings.
TOO_LOW = "learning rate too low"

AGAINST_MORE_TRAINING = {"exploding gradients", "dead units", "overfitting"}


class Finding(NamedTuple):
    """A problem found by `diagnose`.

    Parameters
    ----------
    name : str
        Name of the problem: 'unscaled features', 'unscaled targets', 'overfitting',
        'vanishing gradients', 'exploding gradients', 'dead units', 'saturated units',
        'learning rate too high', 'learning rate too low' or 'no gradients'; for tables
        'nothing learned', 'cut short' or 'identifiers'.
    what : str
        Description of the problem, with the measured values.
    remedy : str
        Suggestions that usually help.

    Examples
    --------
    See `diagnose`.
    """

    name: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.what}\n    Try {self.remedy}."


class Diagnosis(list[Finding]):
    """A list of findings of `diagnose`, which prints as text.

    Parameters
    ----------
    iterable : iterable of Finding
        The findings.

    Examples
    --------
    See `diagnose`.
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "Nothing stands out."


def diagnose(estimator: HasHistory | HasFindings) -> Diagnosis:
    """Describe common problems of a fit and suggest remedies.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, TabularMLPClassifier or TabularMLPRegressor
        Fitted estimator. Some problems of the first two can be found only with
        ``diagnostics=True``.

    Returns
    -------
    Diagnosis
        A list of `Finding`. ``print`` shows it as text.

    Examples
    --------
    In a deep logistic network, the gradients vanish toward the input:

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
    if hasattr(type(estimator), "__findings__"):
        return Diagnosis(itertools.starmap(Finding, estimator.__findings__()))
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
    sizes = getattr(estimator, "_feature_sizes", np.zeros(1))
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
    is_linear = getattr(estimator, "out_activation_", None) == "identity"
    if not is_linear or not largest > LARGE_TARGET:  # exp(z) has no scale of its own
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
    """Return the root mean square of each layer's gradient, as the median over all epochs."""
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
    """Return the fractions in the last epoch for which they were recorded."""
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
