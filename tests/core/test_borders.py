"""Shapes and numbers at a border: of blocks of parameters, of teams, of what a kernel takes.

They are compared with `reference.py`, NumPy or finite differences, or with one thread.
"""

import numpy as np
import pytest
import reference
import scipy.sparse
from numpy.testing import assert_allclose
from problems import RTOL, as_reference, assert_all_close, make_problem

from fastmlp import InputLayer, MLPClassifier, MLPRegressor, Network, _core, check_gradients
from fastmlp._engine.checks import check_targets
from fastmlp._engine.layout import FOR_GRADIENT, NUMBERS_IN_BLOCK, aligned_zeros
from fastmlp._engine.rows import Data, Features
from fastmlp._training.descent import Descent

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
N_IN_PARTS = 1_100  # a mini-batch of two parts


@pytest.fixture(params=["fastest", "blas"])
def products(request):
    """Take the kernels of this machine or BLAS for a test, and then those of before."""
    before = _core.kernels_in_use()
    _core.use_kernels(None if request.param == "fastest" else "blas")
    yield
    _core.use_kernels(before)


# Blocks and parts --------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("n_in", [1, 3, 12, 23, 61, 127])
@pytest.mark.parametrize("sizes", [(1,), (1, 3), (5, 1)], ids=str)
def test_gradients_of_narrow_layers_in_parts(products, sizes, n_in, sparse, dtype):
    """The second part is added to the first: also where a layer has one output, or one input."""
    network, X, y, w = make_problem("squared_error", "tanh", dtype, N_IN_PARTS, (n_in, *sizes))
    X = np.where(abs(X) < 1, X, 0)
    data = Data(
        Features.of(scipy.sparse.csr_matrix(X) if sparse else X),
        check_targets(y, len(X), network.passes.loss, network.dtype), w,
    )  # fmt: skip
    gradient = Descent(network, "adam", {}).add_gradient(data, np.arange(len(X)))[0][0]
    loss = "tanh", "squared_error"
    _, dW, db = reference.backward(as_reference(network), X.astype(float), y, *loss, w, 0.0)
    for pair, *expected in zip(network.parameters.matrices(gradient), dW, db, strict=True):
        assert_all_close(pair, expected, 20 * RTOL[dtype])


@DTYPES
def test_gradients_of_one_output_in_several_blocks(dtype):
    """Only the last block of the layer has the bias."""
    n_in = 3 * NUMBERS_IN_BLOCK + 5
    network, X, y, w = make_problem("squared_error", "tanh", dtype, 40, (n_in, 1))
    assert len(network.parameters.blocks) > 2
    found = network.loss_and_gradients(X, y, w)
    loss = "tanh", "squared_error"
    _, dW, db = reference.backward(
        as_reference(network), X.astype(float), y, *loss, w.astype(float), 0.0
    )
    assert_all_close([*found.dW, *found.db], [*dW, *db], 20 * RTOL[dtype])


def coded_rows(n_codes, n_numbers, n_rows=60):
    """Columns of codes, and then columns of numbers."""
    rng = np.random.RandomState(0)
    codes = rng.randint(-1, np.array(n_codes) + 1, (n_rows, len(n_codes)))
    X = np.hstack([codes, rng.standard_normal((n_rows, n_numbers))])
    return X, rng.randint(0, 3, n_rows)


@pytest.mark.parametrize(
    ("n_codes", "n_numbers", "options"),
    [
        ((3, 30), 0, {"scaling": True, "one_hot_max_size": 100}),  # no dense inputs
        ((400, 3, 500), 2, {"one_hot_max_size": 0, "embedding_size": 8}),
        ((2,), 20, {"numeric_embedding": "pbld", "n_frequencies": 16, "scaling": True}),
        ((), 40, {"numeric_embedding": "cosine", "n_frequencies": 3}),
    ],
    ids=str,
)
def test_gradients_of_input_layers_in_several_blocks(n_codes, n_numbers, options):
    X, y = coded_rows(n_codes, n_numbers)
    layer = InputLayer(range(len(n_codes)), list(n_codes), **options)
    classifier = MLPClassifier(
        (4,), "tanh", input_layer=layer, alpha=0.1, max_iter=2, random_state=0
    )
    assert check_gradients(classifier, X, y, n_parameters=1_000).error < 1e-4
    bits = [  # of one piece, and of a piece for each of several threads
        classifier.set_params(n_threads=n).fit(X, y)._network.parameters.flat.tobytes()
        for n in (1, 4, 16)
    ]
    assert bits.count(bits[0]) == len(bits)
    network = Network((X.shape[1], 4, 3), input_layer=layer, dtype="float64", random_state=0)
    assert_allclose(network.forward(X).a[0], reference.inputs(network, X), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("factor", ["bias", "scale", "activation"])
@pytest.mark.parametrize("n_hidden", [3, 8 * NUMBERS_IN_BLOCK, _core.PARAMETERS_IN_PIECE + 1])
def test_a_rate_of_its_own_for_a_kind_of_parameters(n_hidden, factor):
    """In a wide layer, these parameters have blocks of their own; some are larger than a piece."""
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((20, 6)), rng.standard_normal((20, 2))
    settings = {
        "hidden_layer_sizes": (n_hidden,), "activation": "tanh", "solver": "sgd", "momentum": 0.0,
        "layer_norm": True, "learned_activation": True, "alpha": 0.0, "learning_rate_init": 0.01,
        "batch_size": 20, "dtype": "float64", "random_state": 0, "n_threads": 4,
    }  # fmt: skip
    before = MLPRegressor(**settings).initialize(6, 2)._network.copy()
    plain = MLPRegressor(**settings).partial_fit(X, y)._network
    faster = MLPRegressor(**settings, learning_rate_factors={factor: 3}).partial_fit(X, y)._network
    for name, start in before.parameters.arrays().items():
        kind = {"b": "bias", "gain": "scale", "shift": "bias", "mix": "activation"}
        is_faster = kind.get(name.rstrip("0123456789")) == factor
        step = plain.parameters.arrays()[name] - start
        expected = start + step * (3 if is_faster else 1)
        assert_allclose(faster.parameters.arrays()[name], expected, rtol=1e-12, atol=1e-14)


# Teams -------------------------------------------------------------------------------------------


def training(dtype, sparse, n_members, n_rows=30):
    """What `_core.train` and `_core.rehearse` take for one epoch of a tiny network."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal((n_rows, 5)) * (rng.uniform(size=(n_rows, 5)) < 0.5)
    network = Network((5, 3, 2), dtype=dtype, random_state=0)
    passes, own = network.passes, network.parameters
    rows = scipy.sparse.csr_matrix(X) if sparse else X.astype(dtype)
    targets = rng.standard_normal((n_rows, 2)).astype(dtype)
    data = Data(Features.of(rows.astype(dtype)), targets, np.ones(n_rows, dtype))
    work = passes.workspace(16, passes.table(FOR_GRADIENT), dense=not sparse)
    solver = np.zeros(1, _core.SOLVER)
    solver["kind"], n_states = _core.SOLVERS["sgd"]
    step = _core.Step(
        passes.model, work, solver, np.zeros(1, _core.REGULARIZER),
        aligned_zeros((n_states, own.flat.size), own.dtype), own.flat[:0],
        aligned_zeros((n_members, own.largest_piece), own.dtype),
    )  # fmt: skip
    schedule = np.tile([0.1, 1.0, 1.0], (2, 1))
    arguments = (
        passes.model, work, _core.Samples(*data.arrays), np.arange(n_rows), 16, schedule, step,
    )  # fmt: skip
    return own.flat, arguments


@DTYPES
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_more_members_than_blocks(sparse, dtype):
    found = []
    for n_members in (1, 40):
        flat, arguments = training(dtype, sparse, n_members)
        _core.train(*arguments, n_members)
        found.append(flat.tobytes())
    assert found[0] == found[1]


@DTYPES
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_a_rehearsal_records_as_many_times_as_there_is_room_for(sparse, dtype):
    for n_members, n_times in ((3, 50), (3, 2), (3, 1), (0, 2)):
        times = np.full((n_members, n_times), np.nan)
        _core.rehearse(*training(dtype, sparse, max(n_members, 1))[1], times)
        n_known = np.isfinite(times).sum(axis=1)
        assert (n_known == n_known[:1]).all()
        assert (n_known == n_times).all() or n_times == 50
        assert (np.diff(times[:, : n_known.min(initial=n_times)], axis=1) >= 0).all()


def test_more_threads_than_a_team_can_have():
    rows = np.random.RandomState(0).standard_normal((300, 5))
    network = Network((5, 7, 3), random_state=0)
    expected = network.output(rows).tobytes()
    network.n_threads = 100_000
    assert network.output(rows).tobytes() == expected
    predictors = [network.passes.predictor] * 2
    mixture = _core.Mixture(predictors, [0.5, 0.5], lambda n: aligned_zeros(n, np.float32))
    for n_threads in (100_000, 0):
        assert network.passes.predictor(rows, None, n_threads).tobytes() == expected
        assert_allclose(mixture(rows, n_threads), mixture(rows, 1), rtol=0, atol=0)


# Numbers -----------------------------------------------------------------------------------------


@DTYPES
def test_angles_beyond_all_accuracy_are_finite(dtype):
    layer = InputLayer(numeric_embedding="cosine", n_frequencies=4)
    network = Network((2, 3, 1), input_layer=layer, dtype=dtype, random_state=0)
    X = np.array([[1e30, -1e30], [-1e20, 1e9], [1.0, 1e37]], dtype)
    cosines = network.forward(X).a[0]
    assert (abs(cosines) <= 1).all()
    gradients = network.loss_and_gradients(X, np.ones(3))[1:]
    assert all(np.isfinite(array).all() for arrays in gradients for array in arrays)


@DTYPES
@pytest.mark.parametrize("n_out", [1, 3, 40])
def test_indices_that_are_no_columns_are_left_out(n_out, dtype):
    """Somebody may change the arrays of sparse rows during a fit: nothing is read elsewhere."""
    values = np.arange(1.0, 8.0)[:, np.newaxis].astype(dtype)
    indices, indptr = np.array([2, 1, -7, 0, 1, 9, 2**40]), np.array([0, 4, 7])
    network = Network((3, n_out), dtype=dtype, random_state=0)
    passes, y = network.passes, np.zeros((2, n_out), dtype)
    samples = _core.Samples(values, indices, indptr, y, np.ones(2, dtype))
    X = np.array([[4.0, 2, 1], [0, 5, 0]])
    out = np.zeros((2, n_out), dtype)
    work = passes.workspace(2, passes.table(FOR_GRADIENT))
    _core.forward(passes.model, work, samples, out, 1)
    W, b = network.params[0]
    assert_allclose(out, X @ W + b, rtol=10 * RTOL[dtype])
    gradient = _core.Gradient(
        passes.model, work, aligned_zeros(network.parameters.flat.size, dtype), 0.5
    )
    _core.add_gradient(passes.model, work, samples, np.arange(2), gradient, True, 1)
    ((dW, db),) = network.parameters.matrices(gradient.numbers)
    assert_allclose(dW, X.T @ out / 2, rtol=20 * RTOL[dtype], atol=RTOL[dtype])
    assert_allclose(db, out.sum(axis=0) / 2, rtol=20 * RTOL[dtype], atol=RTOL[dtype])


@DTYPES
def test_the_steps_of_rprop_have_limits(dtype):
    """Igel and Huesken, 2003, without weight backtracking, in plain NumPy."""
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((40, 3)), rng.standard_normal(40)
    options = {"eta_plus": 1.9, "eta_minus": 0.2, "smallest_step": 1e-3, "largest_step": 0.05}
    model = MLPRegressor(
        hidden_layer_sizes=(), solver="rprop", solver_params=options, learning_rate_init=0.01,
        alpha=0.0, max_iter=30, tol=0.0, n_iter_no_change=99, dtype=dtype, random_state=0,
    )  # fmt: skip
    start = model.initialize(3, 1)._network
    theta = np.append(start.W[0].astype(float), start.b[0].astype(float))
    design = np.column_stack([X, np.ones(40)])
    step, before, sizes = np.full(4, 0.01), np.zeros(4), []
    for t in range(30):
        gradient = design.T @ (design @ theta - y) / 40
        if t > 0:
            step = step * np.select([gradient * before > 0, gradient * before < 0], [1.9, 0.2], 1.0)
        step = np.clip(step, 1e-3, 0.05)
        gradient = np.where(gradient * before < 0, 0, gradient)
        theta, before = theta - np.sign(gradient) * step, gradient
        sizes.append(step)
    assert np.min(sizes) == 1e-3
    assert np.max(sizes) == 0.05
    fitted = model.fit(X, y)
    found = np.append(fitted.coefs_[0], fitted.intercepts_[0])
    assert_allclose(found, theta, rtol=1e-4 if dtype == "float32" else 1e-10, atol=1e-6)
