"""Whether the gradients are right: the core's beside finite differences."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from fastmlp._estimators.types import ArrayLike, MatrixLike
from fastmlp._inspection.checks import HasGradient, check_has


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
    estimator: HasGradient,
    X: MatrixLike,
    y: MatrixLike,
    sample_weight: ArrayLike | None = None,
    *,
    n_parameters: int = 200,
    step: float = 1e-6,
    random_state: int | np.random.RandomState | None = 0,
) -> GradientCheck:
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
    check_has(estimator, "__float64_network__", "alpha", "l1")
    if not isinstance(step, Real) or not 0 < step < np.inf:
        raise ValueError(f"step must be a number > 0, got {step!r}")
    if not isinstance(n_parameters, Integral) or n_parameters < 1:
        raise ValueError(f"n_parameters must be a whole number >= 1, got {n_parameters!r}")
    network, data = estimator.__float64_network__(X, y, sample_weight)
    flat, passes = network.parameters.flat, network.passes
    gradient = np.zeros_like(flat)
    penalties = (estimator.alpha, estimator.l1)
    passes.full_gradient(data, gradient, *penalties)
    ignored = np.empty_like(gradient)
    places = _places(network.parameters)
    if len(places) > n_parameters:
        drawn = check_random_state(random_state).permutation(len(places))[:n_parameters]
        places = [places[i] for i in sorted(drawn)]
    floor = 1e-3 * np.abs(gradient).max() + 1e-300
    worst = GradientCheck(-1.0, "", 0.0, 0.0, len(places))
    for where, place in places:
        value = flat[place]
        losses = []
        for moved in (value + step, value - step):
            flat[place] = moved
            losses.append(passes.full_gradient(data, ignored, *penalties))
        flat[place] = value
        derivative, difference = float(gradient[place]), (losses[0] - losses[1]) / (2 * step)
        largest = max(abs(derivative), abs(difference), floor)
        error = float(abs(derivative - difference) / largest)
        if not error <= worst.error:
            worst = GradientCheck(error, where, derivative, difference, len(places))
        if np.isnan(error):
            break
    return worst


def _places(parameters):
    """(name, place in the flat buffer) of every parameter that is there."""
    numbers = np.arange(parameters.flat.size)
    there = parameters.mask if len(parameters.mask) else np.ones(parameters.flat.size)
    places = []
    for l, (W, b) in enumerate(parameters.matrices(numbers)):
        places += [(f"coefs_[{l}][{j}, {k}]", W[j, k]) for j, k in np.ndindex(W.shape)]
        places += [(f"intercepts_[{l}][{k}]", place) for k, place in enumerate(b)]
        for i, name in enumerate(("gain", "shift") if parameters.norms()[l] else ()):
            first = int(parameters.layers[name][l + 1])
            places += [(f"norms_[{l}][{i}][{k}]", first + k) for k in range(len(b))]
    return [(name, int(place)) for name, place in places if there[place]]
