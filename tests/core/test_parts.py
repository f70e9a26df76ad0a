"""What is done in parts: passes of 4,096 rows, mini-batches of 1,024, and long sums.

The whole is what one formula over all rows gives: `reference.py`, scikit-learn's ridge regression
and metrics.
"""

import numpy as np
import pytest
import reference
import scipy.sparse
from numpy.testing import assert_allclose
from problems import RTOL, as_reference, assert_all_close, make_problem
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss, mean_squared_error, r2_score

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.checks import check_data, check_targets
from fastmlp._engine.layout import ROWS_IN_PART
from fastmlp._engine.passes import ROWS_IN_PASS
from fastmlp._engine.rows import Data, Features
from fastmlp._training.descent import Descent

N_IN_PASSES = 2 * ROWS_IN_PASS + 808  # three parts, the last one short
N_IN_BATCH = 2 * ROWS_IN_PART + 952
RATE = 0.1
# A step of plain gradient descent is -RATE times the gradient.
PLAIN = {"learning_rate": RATE, "momentum": 0.0, "nesterov": False}

KINDS = pytest.mark.parametrize("kind", ["dense", "sparse"])
DTYPES = pytest.mark.parametrize("dtype", RTOL)


def problem_of(n_rows, kind, dtype, loss="log_loss"):
    """A network, rows as the core wants them, and the same for the reference."""
    network, X, y, w = make_problem(loss, "tanh", dtype, n_rows)
    X = np.where(abs(X) < 1, X, 0)
    features = Features.of(X if kind == "dense" else scipy.sparse.csr_matrix(X))
    data = Data(features, check_targets(y, n_rows, network.passes.loss, network.dtype), w)
    return network, data, (X.astype(float), y, "tanh", loss, w.astype(float))


def gradient_by_reference(network, arguments, l1=0.0, l2=0.0):
    """Loss and gradient [(dW, db)] of all rows at once."""
    *_, w = arguments
    params = as_reference(network)
    loss = reference.cost(params, *arguments, l2)
    loss += l1 * sum(abs(W).sum() for W, _ in params) / w.sum()
    _, dW, db = reference.backward(params, *arguments, l2)
    signs = [l1 / w.sum() * np.sign(W) for W, _ in params]
    return loss, [(g + sign, h) for g, sign, h in zip(dW, signs, db, strict=True)]


# Passes ------------------------------------------------------------------------------------------


@KINDS
@DTYPES
def test_gradient_of_a_pass_in_parts(dtype, kind):
    """Of lbfgs: penalties are counted once, sums go on from part to part."""
    network, data, arguments = problem_of(N_IN_PASSES, kind, dtype)
    gradient = np.full_like(network.parameters.flat, np.nan)
    loss = network.passes.full_gradient(data, gradient, alpha=3000.0, l1=500.0)
    expected_loss, expected = gradient_by_reference(network, arguments, l1=500.0, l2=3000.0)
    assert_allclose(loss, expected_loss, rtol=RTOL[dtype])
    for pair, want in zip(network.parameters.matrices(gradient), expected, strict=True):
        assert_all_close(pair, want, 5 * RTOL[dtype])


@KINDS
@pytest.mark.parametrize("is_weighted", [False, True])
def test_lbfgs_on_many_rows_is_ridge_regression(is_weighted, kind):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((N_IN_PASSES, 5))
    X = np.where(abs(X) < 1.5, X, 0)
    y = X @ rng.standard_normal((5, 2)) + rng.standard_normal((len(X), 2))
    w = rng.uniform(0, 2, len(X)) if is_weighted else None
    alpha = 3.0 * len(X)
    regressor = MLPRegressor(
        hidden_layer_sizes=(), solver="lbfgs", alpha=alpha, tol=1e-10, random_state=0
    ).fit(X if kind == "dense" else scipy.sparse.csr_array(X), y, w)
    ridge = Ridge(alpha).fit(X, y, w)
    assert_allclose(regressor.coefs_[0], ridge.coef_.T, rtol=1e-4)
    assert_allclose(regressor.intercepts_[0], ridge.intercept_, rtol=1e-3, atol=1e-5)


def expect_end(estimator, *arguments, **more):
    with pytest.warns(ConvergenceWarning):
        return estimator.fit(*arguments, **more)


@KINDS
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_loss_of_many_validation_rows(solver, kind):
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((N_IN_PASSES, 4)), rng.randint(0, 3, N_IN_PASSES)
    w = rng.uniform(0, 2, len(X))
    of_kind = X if kind == "dense" else scipy.sparse.csr_array(X)
    options = {"solver": solver, "max_iter": 2, "random_state": 0, "dtype": "float64"}
    own = {"X_val": of_kind, "y_val": y, "sample_weight_val": w}
    classifier = expect_end(MLPClassifier((5,), **options), X[:50], y[:50], **own)
    expected = log_loss(y, classifier.predict_proba(X), sample_weight=w)
    assert_allclose(classifier.history_["val_loss"][-1], expected, rtol=1e-9)
    own = {"X_val": of_kind, "y_val": X[:, 0]}
    regressor = expect_end(MLPRegressor("squared_error", (5,), **options), X[:50], y[:50], **own)
    predicted = regressor.predict(X)
    expected = mean_squared_error(X[:, 0], predicted) / 2
    assert_allclose(regressor.history_["val_loss"][-1], expected, rtol=1e-9)
    assert_allclose(regressor.history_["val_score"][-1], r2_score(X[:, 0], predicted), rtol=1e-9)


# Mini-batches ------------------------------------------------------------------------------------


@KINDS
@DTYPES
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"l1": 200.0, "l2": 1000.0},
        {"clip_value": 0.003},
        {"clip_norm": 0.02},
        {"clip_value": 0.004, "clip_norm": 0.01, "l2": 1000.0},
    ],
    ids=str,
)
def test_step_of_a_large_batch(options, loss, dtype, kind):
    """Only the whole gradient is clipped, and penalties are added once."""
    network, data, arguments = problem_of(N_IN_BATCH, kind, dtype, loss)
    penalties = {name: options.get(name, 0.0) for name in ("l1", "l2")}
    expected_loss, gradients = gradient_by_reference(network, arguments, **penalties)
    if limit := options.get("clip_value"):
        assert max(abs(g).max() for pair in gradients for g in pair) > limit
        gradients = [tuple(np.clip(g, -limit, limit) for g in pair) for pair in gradients]
    if limit := options.get("clip_norm"):
        norm = np.sqrt(sum((g**2).sum() for pair in gradients for g in pair))
        assert norm > limit
        gradients = [tuple(g * limit / norm for g in pair) for pair in gradients]
    before = as_reference(network)
    descent = Descent(network, "sgd", PLAIN | options)
    seen, n_rows = descent.epoch(data, np.arange(N_IN_BATCH), N_IN_BATCH)
    assert n_rows == N_IN_BATCH
    assert_allclose(seen, expected_loss, rtol=RTOL[dtype])
    for pair, start, gradient in zip(network.params, before, gradients, strict=True):
        want = [p - RATE * g for p, g in zip(start, gradient, strict=True)]
        assert_all_close(pair, want, 5 * RTOL[dtype])


@KINDS
def test_large_batches_are_those_taken_whole(kind):
    """Several steps of two and a bit parts, and a last mini-batch of one."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal((7000, 6))
    X, y = np.where(abs(X) < 1, X, 0), (X[:, 0] * X[:, 1] > 0).astype(int)
    options = {"batch_size": 3000, "max_iter": 3, "random_state": 0, "dtype": "float64"}
    rows = X if kind == "dense" else scipy.sparse.csr_array(X)
    classifier = expect_end(MLPClassifier((8, 8), layer_norm=True, **options), rows, y)
    twin = MLPClassifier((8, 8), layer_norm=True, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastmlp._training.descent.ROWS_IN_PART", 10**6)
        expect_end(twin, X, y)
    for ours, theirs in zip(classifier.coefs_, twin.coefs_, strict=True):
        assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


# Long sums ---------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(
    "sizes", [(1300, 40, 9), (9, 1100, 40, 3), (5, 40, 1100), (700, 1), (3, 900, 1)], ids=str
)
def test_long_sums(sizes, n_threads, dtype):
    """Of inputs, of nodes on the way forward and back, and of rows."""
    network, X, y, w = make_problem("squared_error", "tanh", dtype, n_rows=1500, sizes=sizes)
    network.n_threads = n_threads
    params, rows = as_reference(network), (X.astype(float), y.astype(float))
    z, _ = reference.forward(params, rows[0], "tanh", "squared_error")
    delta, dW, db = reference.backward(params, *rows, "tanh", "squared_error", w.astype(float), 0)
    got = network.loss_and_gradients(X, y, w)
    rtol = 10 * RTOL[dtype]
    assert_all_close([network.output(X)], z[-1:], rtol)
    assert_all_close(network.forward(X).z, z, rtol)
    assert_all_close(network.forward(scipy.sparse.csr_array(X)).z, z, rtol)
    assert_all_close(got.delta + got.dW + got.db, delta + dW + db, rtol)
    assert_all_close([network.output(X[:1])], [z[-1][:1]], rtol)


STEPS = {
    "plain": {},
    "penalties": {"l1": 1e-3, "l2": 0.1},
    "clip_value": {"clip_value": 1e-3},
    "clip_norm": {"clip_norm": 0.01},
    "max_norm": {"max_norm": 0.3},
    "averaging": {"averaging": 0.9},
    "perturbed": {"dropout": (0.1, 0.3, 0.2), "input_noise": 0.2},
    "weight decay": {"weight_decay": 0.1},
}


@pytest.mark.parametrize("solver", ["adam", "sgd", "nadam"])
@pytest.mark.parametrize("n_rows", [70, 2_500])
@pytest.mark.parametrize("settings", STEPS.values(), ids=STEPS)
def test_gradient_and_step_apart_are_the_fused_step(settings, n_rows, solver):
    """Bit for bit, with one part and with several, on any number of threads."""
    networks = []
    for is_apart, n_threads in ((False, 1), (True, 1), (True, 2)):
        network, X, y, w = make_problem("squared_error", "gelu", "float32", n_rows)
        network.n_threads = n_threads
        data = check_data(X, y, w, network)
        descent = Descent(network, solver, settings, seed=5)
        batch_size = -(-n_rows // 2)
        order = np.arange(n_rows)
        if not is_apart:
            for _ in range(2):
                descent.epoch(data, order, batch_size)
        for start in [0, batch_size] * 2 if is_apart else []:
            if start == 0:
                descent.take_weights()
            gradient, loss = descent.add_gradient(data, order[start : start + batch_size])
            assert np.isfinite(loss)
            descent.apply_gradient(gradient, descent.settings["learning_rate"])
        networks.append(network.parameters.flat.tobytes())
    assert len(set(networks)) == 1


def test_gradients_of_two_mini_batches_do_not_share_memory():
    network, X, y, w = make_problem("squared_error", "gelu", "float32")
    data = check_data(X, y, w, network)
    descent = Descent(network, "sgd", {})
    first, _ = descent.add_gradient(data, np.arange(10))
    before = first.copy()
    second, _ = descent.add_gradient(data, np.arange(10, 30))
    assert (first == before).all()
    assert not (first == second).all()
