"""Calibration on rows that the networks have not seen: temperature and conformal intervals."""

import math

import numpy as np
from scipy.optimize import minimize_scalar

from fastmlp._tabular.selection import SMALLEST_PROBABILITY, log_loss

# The temperature is looked for between the inverse of this and this.
LARGEST_TEMPERATURE = 3.0


def at_temperature(probabilities, temperature):
    """Return the probabilities p^(1 / temperature), scaled to the sum 1."""
    powers = np.maximum(probabilities, SMALLEST_PROBABILITY) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def best_temperature(y, probabilities, weight):
    """Return the temperature with the least log loss: Guo and others, ICML 2017.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        The class numbers.
    probabilities : ndarray of shape (n_rows, n_classes)
    weight : ndarray of shape (n_rows,)
    """
    probabilities = probabilities.astype(np.float64)
    limit = math.log(LARGEST_TEMPERATURE)
    found = minimize_scalar(
        lambda log: log_loss(y, at_temperature(probabilities, math.exp(log)), weight),
        bounds=(-limit, limit),
        method="bounded",
    )
    return math.exp(found.x)


def conformal_quantile(scores, coverage):
    """Return the score that is exceeded with a probability of at most 1 - ``coverage``.

    It is the k-th smallest of the n scores, with k = ceil((n + 1) coverage); infinity if there are
    too few: Vovk, Gammerman and Shafer, Algorithmic learning in a random world, 2005.

    Parameters
    ----------
    scores : ndarray of shape (n_rows,)
        Sorted scores of rows that are exchangeable with those to come.
    coverage : float
    """
    # Rounded, as the product may be a little above a whole number: 25 * 0.28 is.
    k = max(math.ceil(round((len(scores) + 1) * coverage, 9)), 1)
    return scores[k - 1] if k <= len(scores) else math.inf
