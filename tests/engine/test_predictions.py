"""Rows of any type and order, by the short way of a prediction."""

from functools import partial

import numpy as np
import pytest
import reference
import scipy.sparse
import scipy.special
from numpy.testing import assert_allclose

from fastmlp import InputLayer, MLPClassifier, MLPRegressor, Network, _core
from fastmlp._engine.layout import aligned_zeros

TYPES = "?bBhHiIlLqQfd"
SIZES = [5, 40, 3]

# The last layer's function in float64, by the loss
FUNCTIONS = {
    "log_loss": lambda z: scipy.special.softmax(z, axis=1),
    "binary_log_loss": scipy.special.expit,
    "squared_error": lambda z: z,
    "poisson": np.exp,
}


def rows_of(type_code, n_rows=300):
    numbers = np.random.RandomState(0).uniform(-3 if type_code in "bhilqfd" else 0, 4, (n_rows, 5))
    return numbers.astype(type_code)


def orders_of(X):
    """The same rows as they may lie in memory."""
    wide = np.zeros((2 * len(X), 11), dtype=X.dtype)
    wide[::2, 1::2] = X
    backwards = np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]
    unaligned = np.zeros(X.nbytes + 1, dtype=np.uint8)[1:].view(X.dtype).reshape(X.shape)
    unaligned[...] = X
    swapped = X.astype(X.dtype.newbyteorder())
    return [X, np.asfortranarray(X), wide[::2, 1::2], backwards, unaligned, swapped]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("type_code", TYPES)
def test_rows_of_any_type_and_order(type_code, dtype):
    """One row, a block and several, all as their numbers in the network's dtype say."""
    network = Network(SIZES, "tanh", "log_loss", dtype=dtype, random_state=0)
    X = rows_of(type_code)
    z, _ = network.forward(X.astype(dtype))
    expected = scipy.special.softmax(z[-1].astype(float), axis=1)
    is_float32 = type_code == "f" and dtype == "float32"
    for rows in orders_of(X):
        for n_rows in (1, 128, 300):
            output = network.output(rows[:n_rows])
            assert output.dtype == (np.float32 if is_float32 else np.float64)
            assert_allclose(output, expected[:n_rows], rtol=1e-5 if is_float32 else 1e-13)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("loss", FUNCTIONS)
def test_outputs_for_float64_are_those_of_float32_sums(loss, sparse):
    network = Network(SIZES, "relu", loss, random_state=0)
    X = rows_of("d", 4500)
    X[X < 0] = 0
    z, _ = network.forward(X)
    expected = FUNCTIONS[loss](z[-1].astype(float))
    given = scipy.sparse.csr_matrix(X) if sparse else X
    output = network.output(given)
    assert output.dtype == np.float64
    assert_allclose(output, expected, rtol=2e-6 if sparse else 1e-14)
    if loss == "log_loss":
        assert_allclose(output.sum(axis=1), 1, rtol=1e-15, atol=0)
    assert network.output(given.astype(np.float32)).dtype == np.float32


def test_a_single_row_has_the_bits_of_the_same_row_among_others():
    for X in (rows_of("d", 4500), rows_of("d", 4500).astype(np.int16)):
        network = Network([5, 64, 64, 2], "relu", "log_loss", layer_norm=True, random_state=0)
        together = network.output(X)
        for i in (0, 1, 127, 128, 4095, 4096, 4499):
            assert network.output(X[i : i + 1]).tobytes() == together[i].tobytes()


def test_estimators_answer_in_the_dtype_of_the_rows():
    X = rows_of("d")
    classifier = MLPClassifier((8,), max_iter=300, random_state=0, tol=0.1).fit(X, X[:, 0] > 0)
    regressor = MLPRegressor(hidden_layer_sizes=(8,), max_iter=300, tol=0.1).fit(X, X[:, 0])
    for function in (classifier.predict_proba, classifier.predict_log_proba, regressor.predict):
        assert function(X).dtype == function(X.tolist()).dtype == np.float64
        assert function(X.astype(np.float32)).dtype == np.float32
        assert function(X.astype(int)).dtype == np.float64
    assert_allclose(classifier.predict_proba(X).sum(axis=1), 1, rtol=1e-15)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("place", [(0, 0), (299, 4), (140, 2)])
def test_rows_that_are_not_finite_in_the_networks_dtype(bad, place):
    network = Network(SIZES, random_state=0)
    X = rows_of("d")
    X[place] = bad
    with pytest.raises(ValueError, match="X must be finite in float32"):
        network.output(X)
    regressor = MLPRegressor(max_iter=1, solver="lbfgs", dtype="float32").initialize(5)
    with pytest.raises(ValueError, match=r"X|Input"):
        regressor.predict(X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_an_out_that_overlaps_the_rows(shift, dtype):
    network = Network([3, 3, 3], loss="log_loss", random_state=0)
    X = np.random.RandomState(1).standard_normal((5000, 3)).astype(dtype)
    expected = network.output(X)
    memory = np.zeros((5002, 3), dtype)
    rows, out = memory[1:-1], memory[1 + shift : 5001 + shift]
    rows[...] = X
    assert network.output(rows, out) is out
    assert (out == expected).all()


def test_an_out_that_cannot_be_written():
    network = Network([3, 3, 3], random_state=0)
    locked = np.zeros((2, 3), np.float32)
    locked.flags.writeable = False
    bad = {
        "out must be an array that can be written": [locked],
        "out must be a C-ordered array of float32 or float64": [
            np.zeros((2, 3), np.float16), np.zeros((3, 2), np.float32).T,
            np.zeros((2, 6))[:, ::2], np.zeros((2, 3), ">f4"),
        ],
        "out must": [np.zeros((3, 3)), np.zeros((2, 2), np.float32), np.zeros(6), [[0] * 3] * 2],
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"out must be of shape \(300, 3\), got \(301, 3\)"):
        network.output(np.ones((300, 3)), np.zeros((301, 3)))
    for rows in (np.ones((2, 3)), scipy.sparse.csr_matrix(np.ones((2, 3))), [[1, 2, 3]] * 2):
        for message, outs in bad.items():
            for out in outs:
                with pytest.raises(ValueError, match=message):
                    network.output(rows, out)


# Mixtures of networks ---------------------------------------------------------------------------


def make_mixture(dtype="float32"):
    networks = [
        Network([5, *hidden, 3], activation, "log_loss", dtype=dtype, random_state=i, **options)
        for i, (hidden, activation, options) in enumerate([
            ((40,), "relu", {}),
            ((300, 20), "silu", {"layer_norm": True}),
            ((), "relu", {"input_layer": InputLayer([1], [4], numeric_embedding="pbld")}),
        ])
    ]  # fmt: skip
    weights = [0.5, 0.2, 0.3]
    memory = partial(aligned_zeros, dtype=np.dtype(dtype))
    mixture = _core.Mixture([net.passes.predictor for net in networks], weights, memory)
    return networks, weights, mixture


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_rows", [1, 7, 128, 129, 1_000])
def test_a_mixture_is_the_weighted_mean(n_rows, dtype):
    networks, weights, mixture = make_mixture(dtype)
    X = np.random.RandomState(1).standard_normal((n_rows, 5))
    X[:, 1] = np.arange(n_rows) % 6 - 1
    X = X.astype(dtype)
    expected = sum(w * reference.output(net, X) for w, net in zip(weights, networks, strict=True))
    first = mixture(X, 1)
    assert_allclose(first, expected, rtol=1e-5 if dtype == "float32" else 1e-12)
    for n_threads in (2, 3, 7):
        assert (mixture(X, n_threads) == first).all()
    assert_allclose(mixture(np.asfortranarray(X), 2), first, rtol=1e-6)
    alone = np.concatenate([mixture(X[i : i + 1]) for i in range(min(n_rows, 3))])
    assert_allclose(alone, first[:3], rtol=1e-5)
    if not _core.uses_blas():  # which promises no such thing
        assert (mixture(np.asfortranarray(X), 2) == first).all()
        assert (alone == first[:3]).all()


def test_what_a_mixture_does_not_take():
    networks, weights, mixture = make_mixture()
    X = np.ones((300, 5), np.float32)
    X[299, 0] = np.nan
    assert mixture(X, 2) is None
    assert mixture(X[:, :4]) is None
    assert mixture(X[:0]) is None
    X[299, 0] = 1
    assert np.isfinite(mixture(X, 2)).all()  # what came before has left nothing behind
    memory = partial(aligned_zeros, dtype=np.dtype("float32"))
    predictors = [net.passes.predictor for net in networks]
    with pytest.raises(ValueError, match="a weight for each network"):
        _core.Mixture(predictors, weights[:2], memory)
    with pytest.raises(ValueError, match="a weight for each network"):
        _core.Mixture([], [], memory)
    for other in (Network([4, 3]), Network([5, 2]), Network([5, 3], dtype="float64")):
        with pytest.raises(ValueError, match="the same type, columns and outputs"):
            _core.Mixture([*predictors, other.passes.predictor], [0.25] * 4, memory)
