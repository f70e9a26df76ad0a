"""Losses of predictions, and the greedy selection of an ensemble."""

import numpy as np

# A probability of 0 would make the log loss infinite.
SMALLEST_PROBABILITY = 1e-7
MOST_STEPS = 32


def of_true_class(y, probabilities):
    """Return the probabilities (..., n) of the classes y (n,) among those of all classes."""
    return probabilities[..., np.arange(len(y)), y.astype(np.intp)]


def log_loss(y, probabilities, weight):
    """Return the mean log loss of probabilities (n, n_classes) for n class numbers."""
    return float(mean_log_losses(weight)(of_true_class(y.ravel(), probabilities)))


def squared_error(y, predictions, weight):
    """Return the mean squared error of predictions (n, n_outputs) for as many targets."""
    errors = (predictions - y.reshape(predictions.shape)) ** 2
    return float(np.average(errors.mean(axis=1), weights=weight))


def _log_losses(probabilities):
    return -np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))


def mean_log_losses(weight):
    """Return the function of the log losses for probabilities of the true classes, (..., n)."""
    return lambda of_true: np.average(_log_losses(of_true), axis=-1, weights=weight)


def mean_squared_errors(y, weight):
    """Return the function of the mean squared errors of predictions (..., n)."""
    return lambda predictions: np.average((predictions - y) ** 2, axis=-1, weights=weight)


def greedy_selection(losses_of, predictions, n_steps=MOST_STEPS):
    """Return the weights of an ensemble of models, selected one by one.

    In each step, the model is added, with replacement, that makes the loss of the mean prediction
    least. The selection ends when no model improves it: Caruana and others, ICML 2004.

    Parameters
    ----------
    losses_of : callable
        Returns the loss of each of several predictions, an array of shape (n_models, ...).
    predictions : ndarray of shape (n_models, ...)
        The predictions of each model for the same rows.

    Returns
    -------
    ndarray of shape (n_models,)
        The weights. Their sum is 1.
    """
    counts, total, best = np.zeros(len(predictions)), 0.0, np.inf
    for n_before in range(n_steps):
        losses = losses_of((total + predictions) / (n_before + 1))
        added = int(np.argmin(losses))
        if not losses[added] < best:
            break
        best = losses[added]
        counts[added] += 1
        total = total + predictions[added]
    if not counts.any():  # no loss is finite
        counts[0] = 1
    return counts / counts.sum()
