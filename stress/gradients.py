"""Gradients and finite differences: `python stress/gradients.py --seconds 60`.

A case is one element of the product of activations, losses, kinds of layers, input layers, sparse
rows, weights and penalties; each seed is another one, and after all of them it ends. In float64,
every coordinate of the gradient is compared with central differences, extrapolated to a step of 0
(Romberg). The error is relative to the derivative, or to a thousandth of the largest one if that is
more. A network with a kink (relu, absolute error, l1) may have it within a step, so the smallest
error of several steps counts, and none of the kinks is within the three smallest of them.
"""

import itertools
import math
import sys
from collections import Counter

import made
import numpy as np
import scipy.sparse
from cases import check, main

from fastmlp import InputLayer, MLPClassifier, MLPRegressor

TOLERANCE = 1e-7
STEPS = (1e-3, 1e-4, 1e-2, 1e-5, 3e-6)
KINKS = (-3, 0, 3)  # of activations; those at -3 and 3 are of hard_swish
LEAST_DISTANCE = 1e-3  # of a kink: a step changes a weighted input by several times its size
N_ROWS, N_FEATURES = 12, 3

CLASSES = {
    "log_loss": ("multiclass", {}), "log_loss, smoothed": ("multiclass", {"label_smoothing": 0.1}),
    "log_loss of 2": ("binary", {}),
    "log_loss of 2, smoothed": ("binary", {"label_smoothing": 0.1}),
    "log_loss of labels": ("multilabel", {}), "squared_error": ("multiclass", {}),
    "squared_error of labels": ("multilabel", {}),
}  # fmt: skip
NUMBERS = {
    "squared_error": ("several", {}), "absolute_error": ("several", {}),
    "huber": ("several", {"delta": 0.7}), "log_cosh": ("several", {}), "quantile": ("several", {}),
    "quantile of 2": ("numbers", {"quantiles": [0.2, 0.7]}), "poisson": ("counts", {}),
    "gamma": ("counts", {}), "tweedie": ("counts", {"power": 1.3}), "of a user": ("several", {}),
}  # fmt: skip
LOSSES = [(MLPClassifier, name, *row) for name, row in CLASSES.items()]
LOSSES += [(MLPRegressor, name, *row) for name, row in NUMBERS.items()]

ACTIVATIONS = (
    "identity", "logistic", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish",
    "softplus", "softsign", "hard_swish", ("tanh", "gelu", "silu"),
)  # fmt: skip
INPUT_LAYERS = (
    None,
    InputLayer(scaling=True),
    InputLayer(numeric_embedding="cosine", n_frequencies=2),
    InputLayer(categorical_features=[2], numeric_embedding="pbld", n_frequencies=3, scaling=True),
    InputLayer(categorical_features=[2], one_hot_max_size=0, embedding_size=2),
    InputLayer(categorical_features=[2], numeric_embedding="piecewise_linear", n_bins=3),
)
PENALTIES = ((0.0, 0.0), (0.1, 0.0), (0.1, 0.01))

OPTIONS = {
    "activation": ACTIVATIONS, "loss": LOSSES, "layer_norm": (False, True),
    "residual": (False, True), "learned_activation": (False, True),
    "parametrization": ("standard", "ntk"), "input_layer": INPUT_LAYERS, "sparse": (False, True),
    "weighted": (False, True), "penalties": PENALTIES,
}  # fmt: skip
N_COMBINATIONS = math.prod(map(len, OPTIONS.values()))
STRIDE = 1_000_003  # coprime to the number of combinations, so that no seed repeats another


def combination(seed):
    """Return the options of a seed, or None if there is no such combination."""
    rest, chosen = seed * STRIDE % N_COMBINATIONS, {}
    for name, values in OPTIONS.items():
        rest, index = divmod(rest, len(values))
        chosen[name] = values[index]
    is_impossible = chosen["sparse"] and chosen["input_layer"] is not None
    return None if is_impossible else chosen


def problem(chosen, seed):
    """Return an estimator of the options, X, y and the weights."""
    cls, loss, task, loss_params = chosen["loss"]
    n_codes = int(getattr(chosen["input_layer"], "categorical_features", None) is not None)
    X, y, weight = made.make(task, N_ROWS, N_FEATURES, seed=seed, n_codes=n_codes)
    if task in ("binary", "multiclass"):  # with a single class, all derivatives are 0
        y[:3] = {"binary": (0, 1, 0), "multiclass": (0, 10, 20)}[task]
    X = scipy.sparse.csr_array(X * (np.abs(X) > 0.5)) if chosen["sparse"] else X
    alpha, l1 = chosen["penalties"]
    network = ("activation", "layer_norm", "residual", "learned_activation", "parametrization",
               "input_layer")  # fmt: skip
    name = made.loss_of_user if loss == "of a user" else loss.split(" of")[0].split(",")[0]
    estimator = cls(
        hidden_layer_sizes=(4, 4, 4), loss=name, loss_params=loss_params or None, alpha=alpha,
        l1=l1, random_state=seed % 2**31, **{name: chosen[name] for name in network},
    )  # fmt: skip
    return estimator, X, y, weight if chosen["weighted"] else None


def arrays_of(parameters, buffer=None):
    """Return the arrays of all parameters as views of a buffer with their layout."""
    arrays = [array for pair in parameters.matrices(buffer) for array in pair]
    arrays += [array for pair in parameters.norms(buffer) if pair for array in pair]
    arrays += [array for array in parameters.mixes(buffer) if array is not None]
    return arrays + list(parameters.of_inputs(buffer).values())


def extrapolated(loss, array, index, step):
    """Return the derivative by central differences of three steps, extrapolated to 0."""
    value, rows = array[index], []
    for h in (step, step / 2, step / 4):
        losses = []
        for moved in (value + h, value - h):
            array[index] = moved
            losses.append((loss(), moved))
        (above, high), (below, low) = losses
        rows.append((above - below) / (high - low))
    array[index] = value
    first = [(4 * b - a) / 3 for a, b in itertools.pairwise(rows)]
    return (16 * first[1] - first[0]) / 15


def is_near_a_kink(network, X, y, chosen):
    """Whether a number is close to where an activation, the loss or the penalty has a kink."""
    *hidden, last = network.forward(X).z
    distances = [np.abs(z - kink).min() for z in hidden for kink in KINKS]
    if y.dtype.kind == "f":
        errors, loss_params = np.abs(last - y.reshape(len(y), -1)), chosen["loss"][3]
        distances += [errors.min(), np.abs(errors - loss_params.get("delta", 0)).min()]
    if chosen["penalties"][1]:
        distances += [np.abs(array).min() for array in arrays_of(network.parameters)]
    return min(distances) < LEAST_DISTANCE


def try_case(seed):
    """Compare every coordinate of the gradient of one combination."""
    chosen = combination(seed)
    if chosen is None:
        return Counter(), []
    estimator, X, y, weight = problem(chosen, seed)
    network, data = estimator.__float64_network__(X, y, weight)
    rng = np.random.RandomState(seed)
    moved = arrays_of(network.parameters)
    is_first = True
    while is_first or is_near_a_kink(network, X, y, chosen):
        is_first = False
        for array in moved:  # away from 0 and 1, where all mixes, gains and shifts begin
            array += 0.1 * rng.standard_normal(array.shape)
    loss_and_gradient = network.passes.gradient_over(data, estimator.alpha, estimator.l1)
    gradient = np.zeros_like(network.parameters.flat)
    loss_and_gradient(gradient)
    ignored = np.empty_like(gradient)

    def loss():
        return loss_and_gradient(ignored)

    floor, largest, n_checked = 1e-3 * np.abs(gradient).max() + 1e-9, 0.0, 0
    for array, derivatives in zip(moved, arrays_of(network.parameters, gradient), strict=True):
        for index in np.ndindex(array.shape):
            error = error_of(loss, array, index, derivatives[index], floor)
            check(error <= TOLERANCE, f"error {error:.2g} of {index} of {array.shape}: {chosen}")
            largest, n_checked = max(largest, error), n_checked + 1
    return Counter(combinations=1, coordinates=n_checked), [largest]


def error_of(loss, array, index, derivative, floor):
    """Return the smallest relative error of the derivative for several steps."""
    smallest = math.inf
    for step in STEPS:
        difference = extrapolated(loss, array, index, step)
        scale = max(abs(derivative), abs(difference), floor)
        smallest = min(smallest, abs(derivative - difference) / scale)
        if smallest <= TOLERANCE / 10:
            break
    return smallest


def figures(errors):
    return f"largest relative error {max(errors):.1e}"


if __name__ == "__main__":
    sys.exit(
        main(__file__, __doc__.splitlines()[0], try_case, figures=figures, n_cases=N_COMBINATIONS)
    )
