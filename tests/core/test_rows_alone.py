"""The output for a row depends on nothing but the row: neither on those beside it nor on threads.

Blocks have 128 rows and passes 4,096, and where threads share out columns instead of rows depends
on how many rows are left: so every structure of a network, and every way to ask for its output, is
tried around these numbers.
"""

import functools
from functools import partial
from itertools import product

import numpy as np
import pytest
import reference
import scipy.sparse
from numpy.testing import assert_allclose

from fastmlp import MLPClassifier, MLPRegressor, _core

N_FEATURES = 11
N_ROWS = (1, 127, 128, 129, 4095, 4096, 4097, 4224, 8193)
N_ROWS_OF_WIDE = (1, 2, 129, 4097)
N_ROWS_OF_WIDER = (1, 2, 128)  # even one row is shared out by columns
BESIDE_AN_EDGE = [0, 1, 63, 64, 126, 127, 128, 1000, 4094, 4095, 4096, 4150, 4223, 4224, 8191, 8192]
N_THREADS = (1, 2, 3)
RTOL = {"float32": 2e-5, "float64": 1e-12}

BOTH = {"layer_norm": True, "residual": True}
SOME = [np.add.outer(np.arange(N_FEATURES), np.arange(20)) % 3 > 0, None, None]
QUANTILES = {"loss": "quantile", "loss_params": {"quantiles": [0.1, 0.5, 0.9]}}

# name: (estimator, how many classes, labels or outputs, its options); tanh unless they say another
NETWORKS = {
    "plain": (MLPClassifier, 3, {"hidden_layer_sizes": (40, 40)}),
    "layer_norm": (MLPClassifier, 3, {"hidden_layer_sizes": (20, 20), "layer_norm": True}),
    "learned": (MLPClassifier, 3, {"hidden_layer_sizes": (20, 20), "learned_activation": True}),
    "residual": (MLPClassifier, 3, {"hidden_layer_sizes": (20, 20), "residual": True}),
    "both": (MLPClassifier, 3, {"hidden_layer_sizes": (40, 40), **BOTH}),
    "connections": (MLPClassifier, 3, {"hidden_layer_sizes": (20, 20), "connections": SOME}),
    "two classes": (MLPClassifier, 2, {"hidden_layer_sizes": (20, 20), **BOTH}),
    "as-wide-as-X": (MLPClassifier, 3, {"hidden_layer_sizes": (11, 11, 11), "residual": True}),
    "labels": (MLPClassifier, 4, {"hidden_layer_sizes": (33,), "layer_norm": True}),
    "linear": (MLPRegressor, 3, {"hidden_layer_sizes": ()}),
    "linear of one": (MLPRegressor, 1, {"hidden_layer_sizes": ()}),
    "one output": (MLPRegressor, 1, {"hidden_layer_sizes": (70, 5, 5), "residual": True}),
    "quantiles": (MLPRegressor, 1, {"hidden_layer_sizes": (65,), "layer_norm": True, **QUANTILES}),
    "poisson": (MLPRegressor, 2, {"hidden_layer_sizes": (40,), "loss": "poisson"}),
    "narrow": (MLPRegressor, 2, {"hidden_layer_sizes": (1, 3, 3), "activation": "mish", **BOTH}),
    "wide": (MLPClassifier, 3, {"hidden_layer_sizes": (512, 512), **BOTH}),
    "wider": (MLPClassifier, 3, {"hidden_layer_sizes": (650, 650)}),
    "wider with both": (MLPClassifier, 3, {"hidden_layer_sizes": (650, 650), **BOTH}),
}
ROWS_OF = {"wide": N_ROWS_OF_WIDE, "wider": N_ROWS_OF_WIDER, "wider with both": N_ROWS_OF_WIDER}
CASES = [
    (name, dtype) for name in NETWORKS for dtype in RTOL if dtype == "float32" or name != "wide"
]


@functools.cache
def estimator_of(name, dtype):
    estimator, n_outputs, options = NETWORKS[name]
    estimator = estimator(**{"activation": "tanh", "random_state": 0, "dtype": dtype} | options)
    if isinstance(estimator, MLPClassifier):
        estimator.initialize(N_FEATURES, range(n_outputs), multilabel=name == "labels")
    else:
        estimator.initialize(N_FEATURES, n_outputs)
    rng = np.random.RandomState(1)
    for gain, shift in filter(None, estimator._network.norms):
        gain[...] = rng.uniform(0.5, 2, gain.shape)
        shift[...] = rng.uniform(-1, 1, shift.shape)
    return estimator


@functools.cache
def rows_of(name, dtype):
    n_rows = max(ROWS_OF.get(name, N_ROWS))
    X = np.random.RandomState(2).standard_normal((n_rows, N_FEATURES))
    return np.where(abs(X) < 1.5, X, 0).astype(dtype)


def output_into(network, X):
    out = np.full((X.shape[0], network.layer_sizes[-1]), np.nan, dtype=network.dtype)
    assert network.output(X, out) is out
    return out


def ways_to_ask(estimator):
    """Functions of X that return a number or more for each row."""
    network = estimator._network

    def forward(X):
        z, a = network.forward(X)
        return np.hstack([*z, *a[1:]])

    ways = {
        "output": network.output,
        "output into out": lambda X: output_into(network, X),
        "forward": forward,
        "activations": lambda X: np.hstack(estimator.activations(X)),
        "predict": estimator.predict,
    }
    if isinstance(estimator, MLPClassifier):
        ways["predict_proba"] = estimator.predict_proba
    return ways


# In the network's dtype and C-ordered X is read as it is; otherwise it is converted.
KINDS_OF_X = {
    "as it is": lambda X: X,
    "converted": lambda X: np.asfortranarray(X, dtype="float64"),
    "sparse": scipy.sparse.csr_array,
}


def with_threads(estimator, n_threads, function, X):
    """What a function of X returns with so many threads."""
    estimator.n_threads = estimator._network.n_threads = n_threads
    return np.array(function(X))


def is_same(got, want, rtol):
    """Bit for bit, but for what BLAS makes of another number of rows."""
    if got.dtype != want.dtype or got.shape != want.shape:
        return False
    if _core.uses_blas() and got.dtype.kind == "f":
        return np.allclose(got, want, rtol, rtol)
    return np.array_equal(got, want)


def wrong_answers(name, dtype):
    """Every (way to ask, kind of X, number of rows, number of threads) whose rows are others."""
    estimator, X = estimator_of(name, dtype), rows_of(name, dtype)
    rtol, wrong = RTOL[dtype], []
    for (kind, of_kind), (way, function) in product(
        KINDS_OF_X.items(), ways_to_ask(estimator).items()
    ):
        ask = partial(with_threads, estimator, function=function)
        given = of_kind(X)
        whole = ask(1, X=given)
        all_of_them = (way, kind) == ("output", "as it is") and name not in ROWS_OF
        some = range(len(X)) if all_of_them else [i for i in BESIDE_AN_EDGE if i < len(X)]
        alone = np.concatenate([ask(1, X=given[i : i + 1]) for i in some])
        if not is_same(whole[some], alone, rtol):
            wrong.append((way, kind, len(X), "one by one"))
        for n in ROWS_OF.get(name, N_ROWS):
            answers = [ask(n_threads, X=given[:n]) for n_threads in N_THREADS]
            for n_threads, got in zip(N_THREADS, answers, strict=True):
                # whatever makes the products, threads change nothing
                if not (is_same(got, whole[:n], rtol) and np.array_equal(got, answers[0])):
                    wrong.append((way, kind, n, n_threads))
    return wrong


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_rows_stand_alone(name, dtype):
    assert wrong_answers(name, dtype) == []


@pytest.mark.parametrize("name", ["plain", "both", "one output"])
def test_rows_stand_alone_for_all_kernels(kernels, name):
    assert wrong_answers(name, "float32") == []


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_row_alone_is_the_reference(kernels, name, dtype):
    network = estimator_of(name, dtype)._network
    for X in rows_of(name, dtype)[:5, np.newaxis]:
        want = reference.output(network, X)
        assert_allclose(network.output(X), want, rtol=50 * RTOL[dtype], atol=RTOL[dtype])
