"""Comparison of the core's gradients with finite differences."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from fastmlp._estimators.types import ArrayLike, MatrixLike
from fastmlp._inspection.checks import HasGradient, check_has


class GradientCheck(NamedTuple):
    """The result of `check_gradients`.

    Parameters
    ----------
    error : float
        Largest relative error of a finite difference. It is relative to the larger of the
        derivative and the finite difference, or to a thousandth of the largest derivative if both
        are smaller than that.
    where : str
        The parameter with the largest error, such as ``'coefs_[0][3, 1]'``.
    derivative, difference : float
        The derivative and the finite difference for this parameter.
    n_checked : int
        Number of parameters checked.

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
    """Compare the derivatives of the loss with central finite differences, in float64.

    The loss is computed over all rows. It includes the penalties ``alpha`` and ``l1``, but neither
    dropout nor noise.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        The estimator, which is not changed. If it is not fitted, its initial weights are used.
    X : array-like or sparse matrix of shape (n_samples, n_features)
        The inputs.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The targets.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.
    n_parameters : int, default=200
        Maximum number of parameters to check. If the network has more, a random sample is checked.
    step : float, default=1e-6
        Step size of the finite differences, in both directions. If the loss has a kink within the
        step, as with relu, the finite difference does not approximate the derivative.
    random_state : int, RandomState or None, default=0
        Random number generator for the sample of parameters.

    Returns
    -------
    GradientCheck
        The parameter with the largest error.

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
    """Return (name, index in the flat buffer) of every parameter, except missing connections."""
    numbers = np.arange(parameters.flat.size)
    there = parameters.mask if len(parameters.mask) else np.ones(parameters.flat.size)
    places = []
    for l, (W, b) in enumerate(parameters.matrices(numbers)):
        places += [(f"coefs_[{l}][{j}, {k}]", W[j, k]) for j, k in np.ndindex(W.shape)]
        places += [(f"intercepts_[{l}][{k}]", place) for k, place in enumerate(b)]
        for i, name in enumerate(("gain", "shift") if parameters.norms()[l] else ()):
            first = int(parameters.layers[name][l + 1])
            places += [(f"norms_[{l}][{i}][{k}]", first + k) for k in range(len(b))]
        if parameters.rows[l].is_learned:
            first = parameters.rows[l].mix
            places += [(f"mixes_[{l}][{k}]", first + k) for k in range(len(b))]
    for name, view in parameters.of_inputs(numbers).items():
        places += [
            (f"input_parameters_[{name!r}]{list(i)}", view[i]) for i in np.ndindex(view.shape)
        ]
    return [(name, int(place)) for name, place in places if there[place]]
