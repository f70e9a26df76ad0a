"""The C kernels, each under its name: edges, bits, elementwise functions over their range."""

import numpy as np
import pytest
import reference
import scipy.sparse
import scipy.special
from numpy.testing import assert_allclose
from problems import EVERYTHING, as_reference

from fastmlp import MLPClassifier, MLPRegressor, Network, _core
from fastmlp._core import ACTIVATIONS, SOLVERS

KERNELS = _core.kernel_names()
WITH_FUSED_MULTIPLY_ADD = [name for name in KERNELS if name in ("avx512", "avx2")]
RTOL = {"float64": 1e-12, "float32": 2e-5}


@pytest.fixture
def with_kernels():
    """A function that calls another with kernels of a name."""
    before = _core.kernels_in_use()

    def call(name, function):
        _core.use_kernels(name)
        return function()

    yield call
    _core.use_kernels(before)


def test_names():
    assert {"baseline", "blas"} <= set(KERNELS)
    with pytest.raises(ValueError, match=r"kernels must be one of .*'baseline'.*got 'sse9'"):
        _core.use_kernels("sse9")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f8", "int8", "uint64"])
def test_largest_of(kernels, dtype):
    rng = np.random.default_rng(0)
    for shape in [(0,), (1,), (31,), (32,), (33,), (5, 40), (3, 7, 11)]:
        numbers = (90 * rng.standard_normal(shape)).astype(dtype)
        for array in (numbers, numbers.T, numbers[..., ::-1]):
            assert _core.largest_of(array) == np.abs(array.astype(float)).max(initial=0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_largest_of_what_is_not_finite_is_infinite(kernels, bad, dtype):
    for place in range(70):
        numbers = np.full(70, 3, dtype)
        numbers[place] = bad
        assert _core.largest_of(numbers) == np.inf
    assert _core.largest_of(np.full(2, np.finfo(np.longdouble).max)) == np.inf


# Products ----------------------------------------------------------------------------------------

# A dimension goes through all its edges while the others stand at odd places: of a tile of 14, 8
# or 6 rows, of vectors of 2 to 16 numbers, of the two blocks of a sum or of columns. A layer of one
# output has products of its own.
EDGES = [
    *[(n, 7, 33, 5) for n in range(1, 41)],
    *[(13, n, 21, 3) for n in range(1, 41)],
    *[(25, 31, n, 9) for n in range(1, 41)],
    *[(10, 3, 17, n) for n in range(1, 41)],
    *[(n, 5, 19, 1) for n in range(1, 12)],
    *[(9, n, n, 1) for n in range(1, 41)],
    (7, 600, 1, 1),
    (3, 257, 300, 259),
    (130, 511, 70, 33),
    # sums of more than two blocks: of inputs, of nodes forward and back, of rows
    (5, 1300, 21, 3),
    (5, 3, 1300, 19),
    (5, 3, 21, 1300),
    (1300, 31, 21, 3),
    (9, 3, 1300, 1),
    # enough columns that (4) packs x: every number of rows of W, and every remainder of columns
    *[(19, n, 67, 3) for n in range(1, 51)],
    *[(11, 29, n, 3) for n in range(64, 98)],
    (1300, 37, 270, 3),
]


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_products_at_every_edge(kernels, activation, dtype):
    """Equations (1), (3) and (4) for n rows through m_0, m_1, m_2 nodes; relu is a part of them."""
    rng = np.random.RandomState(0)
    for n_rows, *sizes in EDGES:
        network = Network(sizes, activation, dtype=dtype, random_state=rng, n_threads=1)
        X = rng.standard_normal((n_rows, sizes[0])).astype(dtype)
        y = rng.standard_normal((n_rows, sizes[-1])).astype(dtype)
        params = as_reference(network)
        arguments = (
            X.astype(float),
            y.astype(float),
            activation,
            "squared_error",
            np.ones(n_rows),
            0.1,
        )
        delta, dW, db = reference.backward(params, *arguments)
        got = network.loss_and_gradients(X, y, alpha=0.1)
        for name, want in (("delta", delta), ("dW", dW), ("db", db)):
            for a, b in zip(getattr(got, name), want, strict=True):
                scale = np.abs(b).max() + 1e-3
                assert_allclose(
                    a, b, rtol=0, atol=RTOL[dtype] * scale, err_msg=f"{n_rows}, {sizes}"
                )
        z, _ = reference.forward(params, X.astype(float), activation, "squared_error")
        scale = np.abs(z[-1]).max()
        assert_allclose(network.output(X), z[-1], rtol=0, atol=RTOL[dtype] * scale)


@pytest.mark.parametrize("dtype", RTOL)
def test_sparse_products_at_every_edge(kernels, dtype):
    """Equations (1) and (4) for every number of vectors in a strip of columns, and two strips."""
    rng = np.random.RandomState(0)
    for n_out in (1, *range(2, 140, 3), 257):
        network = Network([30, n_out], "identity", dtype=dtype, random_state=rng, n_threads=1)
        X = rng.standard_normal((23, 30)) * (rng.random((23, 30)) < 0.2)
        X = scipy.sparse.csr_array(X.astype(dtype))
        X.data[...] = rng.standard_normal(X.nnz)
        y = rng.standard_normal((23, n_out)).astype(dtype)
        W, b = (part.astype(float) for part in network.params[0])
        z = X.astype(float) @ W + b
        slope = (z - y) / 23
        got = network.loss_and_gradients(X, y)
        tolerance = {"rtol": 0, "atol": RTOL[dtype] * np.abs(z).max(), "err_msg": str(n_out)}
        assert_allclose(network.output(X), z, **tolerance)
        assert_allclose(got.dW[0], X.astype(float).T @ slope, **tolerance)
        assert_allclose(got.db[0], slope.sum(axis=0), **tolerance)


def fitted(dtype="float32", n_classes=4, **parameters):
    """Every number that a fit leaves behind."""
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((300, 37)), rng.randint(0, n_classes, 300)
    classifier = MLPClassifier(
        (65, 20), activation="tanh", batch_size=70, max_iter=4, n_iter_no_change=9, dtype=dtype,
        random_state=0, alpha=0.1, **parameters,
    )  # fmt: skip
    classifier.fit(X, y)
    arrays = [*classifier.coefs_, *classifier.intercepts_, classifier.predict_proba(X)]
    loss = classifier.loss_ if parameters["solver"] == "lbfgs" else classifier.loss_curve_
    return [array.tobytes() for array in arrays], loss


@pytest.mark.skipif(len(WITH_FUSED_MULTIPLY_ADD) < 2, reason="this CPU has just one of them")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("n_classes", [4, 2])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_bits_do_not_depend_on_the_width_of_vectors(with_kernels, dtype, solver, n_classes):
    fits = [
        with_kernels(name, lambda: fitted(dtype, n_classes, solver=solver))
        for name in WITH_FUSED_MULTIPLY_ADD
    ]
    assert fits[0] == fits[1]


@pytest.mark.skipif(len(WITH_FUSED_MULTIPLY_ADD) < 2, reason="this CPU has just one of them")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("solver", SOLVERS)
def test_bits_of_vectors_that_end_anywhere(with_kernels, dtype, solver):
    """The weights of one output lie side by side, and so do its rows."""

    def fits():
        rng = np.random.RandomState(0)
        for n_weights in range(1, 41):
            X, y = rng.standard_normal((50, n_weights)), rng.standard_normal(50)
            regressor = MLPRegressor(
                hidden_layer_sizes=(), solver=solver, max_iter=3, random_state=0, dtype=dtype
            )
            yield regressor.fit(X, y).coefs_[0].tobytes(), regressor.loss_

    first, *others = (with_kernels(name, lambda: list(fits())) for name in WITH_FUSED_MULTIPLY_ADD)
    assert all(other == first for other in others)


@pytest.mark.skipif(len(WITH_FUSED_MULTIPLY_ADD) < 2, reason="this CPU has just one of them")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("solver", SOLVERS)
def test_nor_do_they_with_all_that_a_layer_can_have(with_kernels, dtype, solver):
    options = EVERYTHING | {
        "solver": solver, "max_iter": 3, "hidden_layer_sizes": (23, 23, 40), "connections": None,
    }  # fmt: skip
    if solver == "rprop":
        options |= {"learning_rate": "constant", "schedule_params": None}
    X, y = np.random.RandomState(0).standard_normal((300, 37)), np.arange(300) % 4

    def fitted():
        classifier = MLPClassifier(**options, dtype=dtype).fit(X, y)
        return [array.tobytes() for array in classifier.coefs_], classifier.loss_curve_

    fits = [with_kernels(name, fitted) for name in WITH_FUSED_MULTIPLY_ADD]
    assert fits[0] == fits[1]


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize(
    ("sizes", "loss"),
    [
        ([30, 50, 20, 3], "log_loss"),
        ([30, 50, 20, 1], "binary_log_loss"),
        ([401, 701, 3], "log_loss"),  # larger than a core's cache
    ],
)
def test_bits_of_a_row_do_not_depend_on_the_rows_beside_it(kernels, sizes, loss, dtype):
    if kernels == "blas":
        pytest.skip("BLAS promises no such thing")
    rng = np.random.RandomState(0)
    network = Network(sizes, dtype=dtype, loss=loss, random_state=0)
    X = rng.standard_normal((5000, sizes[0])).astype(dtype)
    together = network.output(X)
    for rows in (slice(0, 1), slice(17, 18), slice(100, 165), slice(4095, 4097), slice(3, 2000)):
        assert (network.output(X[rows]) == together[rows]).all()


# Elementwise -------------------------------------------------------------------------------------

REACH = {"float32": 110.0, "float64": 760.0}
EXACT = {
    "tanh": np.tanh,
    "logistic": scipy.special.expit,
    "exp": np.exp,
}
ULPS = {"tanh": 4, "logistic": 4, "exp": 2}


def elementwise(name, z):
    """f(z) by the core: as a hidden layer of one weight 1, or as the Poisson output."""
    options = {"exp": {"loss": "poisson"}}.get(name, {"activation": name})
    sizes = [1, 1] if name == "exp" else [1, 1, 1]
    network = Network(sizes, dtype=z.dtype, **options)
    network.params = [([[1]], [0])] * (len(sizes) - 1)
    with np.errstate(invalid="ignore"):
        _, a = network.forward(z[:, np.newaxis])
    return a[1][:, 0]


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", RTOL)
def test_elementwise_functions(kernels, name, dtype):
    """Within a few units in the last place, from the largest numbers to the smallest."""
    reach, info = REACH[dtype], np.finfo(dtype)
    z = np.concatenate([
        np.linspace(-reach, reach, 20_001),
        np.linspace(-1, 1, 20_001),
        np.geomspace(info.tiny, 1, 2_000),
        -np.geomspace(info.tiny, 1, 2_000),
        [0.0, -0.0, info.max, info.min, np.nextafter(dtype_of(dtype)(0), dtype_of(dtype)(1))],
    ]).astype(dtype)  # fmt: skip
    if name == "exp":
        z = z[z < (60 if dtype == "float32" else 500)]  # where the Poisson output ends
    with np.errstate(all="ignore"):
        want = EXACT[name](z.astype(np.longdouble)).astype(dtype)
    got = elementwise(name, z)
    # numbers below the smallest normal one count as 0
    error = np.abs(got.astype(np.longdouble) - want) / np.maximum(np.spacing(np.abs(want)), 0)
    normal = np.abs(want) >= info.tiny
    assert error[normal].max() <= ULPS[name]
    assert (np.abs(got[~normal]) <= 2 * info.tiny).all()


@pytest.mark.parametrize("dtype", RTOL)
def test_softmax_at_every_edge(kernels, dtype):
    """Of rows that differ in size; each the same alone and among others."""
    rng = np.random.RandomState(0)
    for n_rows, n_out in [*[(n, 10) for n in range(1, 41)], *[(19, n) for n in range(1, 41)]]:
        network = Network([n_out, n_out], dtype=dtype, loss="log_loss")
        network.params = [(np.eye(n_out), np.zeros(n_out))]
        z = (rng.standard_normal((n_rows, n_out)) * rng.choice([1, 30, 1000], (n_rows, 1))).astype(
            dtype
        )
        got, below_largest = network.output(z), z - z.max(axis=1, keepdims=True)  # which rounds
        want = scipy.special.softmax(below_largest.astype(np.longdouble), axis=1)
        assert_allclose(got, want, rtol=20 * np.finfo(dtype).eps, atol=2 * np.finfo(dtype).tiny)
        for i in range(n_rows):
            np.testing.assert_array_equal(network.output(z[i : i + 1])[0], got[i])


# How far from the exact value, in units in the last place of it, or of |z| where it comes near to
# its zero: functions are made of others that round.
ULPS_OF_OTHERS = {
    "identity": 0, "relu": 0, "leaky_relu": 1, "elu": 3, "selu": 5, "gelu": 8, "silu": 5, "mish": 8,
    "softplus": 4, "softsign": 2, "hard_swish": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", ULPS_OF_OTHERS)
@pytest.mark.parametrize("dtype", RTOL)
def test_other_activations(kernels, name, dtype):
    reach, info = REACH[dtype], np.finfo(dtype)
    z = np.concatenate([
        np.linspace(-reach, reach, 20_001),
        np.linspace(-8, 8, 20_001),
        np.geomspace(info.tiny, 1, 2_000),
        -np.geomspace(info.tiny, 1, 2_000),
        [0.0, info.max / 2, info.min / 2],
    ]).astype(dtype)  # fmt: skip
    with np.errstate(all="ignore"):
        want = reference.ACTIVATIONS[name](z.astype(float))
    got = elementwise(name, z).astype(float)
    assert np.isfinite(got).all()
    error = np.abs(got - want)
    size = np.maximum(np.abs(want), np.minimum(np.abs(z.astype(float)), 1))
    assert (error <= ULPS_OF_OTHERS[name] * info.eps * size + 2 * info.tiny).all()


def test_every_activation_is_compared():
    assert {"tanh", "logistic", *ULPS_OF_OTHERS} == set(ACTIVATIONS)


def dtype_of(name):
    return np.dtype(name).type


def test_denormals_are_flushed_and_the_state_is_restored(kernels):
    """Products of the smallest numbers are 0 in the core, and what they were outside of it."""
    small = np.full((1, 1), 1e-30, dtype=np.float32)
    network = Network([1, 1], random_state=0)
    network.params = [([[1e-12]], [0])]
    assert network.output(small)[0, 0] == 0
    assert np.float32(1e-30) * np.float32(1e-12) != 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_denormals_are_restored_by_all_that_the_core_does(n_threads):
    """On the thread that calls it; where they are flushed, a product says so."""
    factors = np.float32(1e-30), np.float32(1e-12)
    X, y = np.random.RandomState(0).standard_normal((2, 300, 3)).astype(np.float32)
    options = {"hidden_layer_sizes": (5,), "max_iter": 2, "n_threads": n_threads}
    regressor = MLPRegressor(**options)
    network = regressor.initialize(3, 3)._network
    for function in (
        lambda: MLPRegressor(**options).fit(X, y),
        lambda: MLPRegressor(**options, solver="lbfgs", dtype="float32").fit(X, y),
        lambda: MLPRegressor(**options, early_stopping=True).fit(X, y),
        lambda: MLPRegressor(**options).partial_fit(X, y),
        lambda: network.loss_and_gradients(X, y),
        lambda: network.forward(X),
        lambda: network.output(X),
        lambda: network.output(X[:1]),
        lambda: regressor.activations(X),
        lambda: regressor.predict(scipy.sparse.csr_array(X)),
    ):
        function()
        assert factors[0] * factors[1] != 0
