"""The core's equations (1) to (4): against the plain reference, and against finite differences."""

import numpy as np
import pytest
import reference
from problems import N_ROWS, RTOL, as_reference, assert_all_close, make_problem
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPRegressor, Network
from fastmlp._core import ACTIVATIONS, LOSSES
from fastmlp._engine import losses


def test_reference_covers_the_tables():
    assert set(reference.ACTIVATIONS) == set(ACTIVATIONS)
    assert set(reference.OUTPUT_ACTIVATIONS) == set(LOSSES)


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize(("alpha", "weighted"), [(0.0, False), (0.3, True)])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_core_is_the_reference(activation, loss, alpha, weighted, dtype):
    network, X, y, w = make_problem(loss, activation, dtype)
    w = w if weighted else np.ones(N_ROWS)
    params = as_reference(network)
    arguments = (params, X.astype(float), y, activation, loss, w.astype(float), alpha)

    z, a = network.forward(X)
    expected_z, expected_a = reference.forward(params, X.astype(float), activation, loss)
    assert_all_close(z, expected_z, RTOL[dtype])
    assert_all_close(a, expected_a, RTOL[dtype])

    got = network.loss_and_gradients(X, y, w if weighted else None, alpha)
    delta, dW, db = reference.backward(*arguments)
    np.testing.assert_allclose(got.loss, reference.cost(*arguments), rtol=RTOL[dtype])
    assert_all_close(got.delta, delta, RTOL[dtype])
    assert_all_close(got.dW, dW, RTOL[dtype])
    assert_all_close(got.db, db, RTOL[dtype])


@pytest.mark.parametrize(("alpha", "weighted"), [(0.0, False), (0.3, True)])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_is_the_slope_of_the_loss(activation, loss, alpha, weighted):
    """Central finite differences in every coordinate."""
    network, X, y, w = make_problem(loss, activation, n_rows=6, sizes=(3, 4, 3, 2))
    w = w if weighted else None
    gradients = network.loss_and_gradients(X, y, w, alpha)
    h = 1e-6
    for l, (W, b) in enumerate(network.params):
        for parameter, derivative in ((W, gradients.dW[l]), (b, gradients.db[l])):
            slope = np.empty(parameter.shape)
            for k in np.ndindex(parameter.shape):
                value = parameter[k]
                parameter[k] = value + h
                above = network.loss_and_gradients(X, y, w, alpha).loss
                parameter[k] = value - h
                below = network.loss_and_gradients(X, y, w, alpha).loss
                parameter[k] = value
                slope[k] = (above - below) / (2 * h)
            np.testing.assert_allclose(derivative, slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("sizes", [(1, 1), (4, 2), (3, 1, 2), (2, 16, 1), (17, 33, 100, 5)])
@pytest.mark.parametrize("n_rows", [1, 2, 63, 64, 65, 129, 257])
def test_edge_sizes(n_rows, sizes, dtype):
    network, X, y, w = make_problem("squared_error", "tanh", dtype, n_rows, sizes)
    got = network.loss_and_gradients(X, y, w, 0.1)
    arguments = (as_reference(network), X.astype(float), y, "tanh", "squared_error", w, 0.1)
    delta, dW, db = reference.backward(*arguments)
    np.testing.assert_allclose(got.loss, reference.cost(*arguments), rtol=RTOL[dtype])
    assert_all_close(got.delta + got.dW + got.db, delta + dW + db, RTOL[dtype])


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_large_z_neither_overflows_nor_gives_nan(size, loss, dtype):
    network = Network([1, 3, 2], "identity", loss, dtype=dtype, random_state=0)
    network.b[1] = [size, 0]
    y = [0, 1, 1] if losses.LOSSES[loss].is_of_classes else [[0, 0], [1, 1], [0, 1]]
    y = np.add(y, loss == "gamma")  # whose targets are positive
    X = np.array([[100.0], [0.0], [-100.0]])
    got = network.loss_and_gradients(X, y)
    for array in [got.loss, *got.delta, *got.dW, *got.db, network.output(X)]:
        assert np.isfinite(array).all()


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize(("loss", "y"), [("log_loss", [1]), ("binary_log_loss", [[0, 1]])])
def test_loss_of_a_certain_error_is_exact(loss, y, dtype):
    """Where the probability of the true class rounds to 0 the loss still is z."""
    network = Network([1, 2], loss=loss, dtype=dtype)
    network.params = [(np.zeros((1, 2)), [1000, 0])]
    expected = 1000 if loss == "log_loss" else 1000 + np.log(2)
    assert network.loss_and_gradients([[1.0]], y).loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_nan_weights_show_in_the_loss(loss, activation):
    """Nothing on the way turns NaN into a number: training can see that it has diverged."""
    network, X, y, _ = make_problem(loss, activation)
    network.W[0][0, 0] = np.nan
    assert np.isnan(network.loss_and_gradients(X, y).loss)


@pytest.mark.parametrize("hidden", [(1, 300), (7, 33), (256, 5), (100, 16)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_padding_stays_zero(hidden, dtype):
    """Blocks of several layers take turns at one place for their gradient."""
    regressor = MLPRegressor(
        hidden_layer_sizes=hidden, activation="logistic", dtype=dtype, batch_size=50, max_iter=3,
        n_iter_no_change=10, n_threads=2,
    )  # fmt: skip
    X = np.random.RandomState(0).standard_normal((120, 40))
    with pytest.warns(ConvergenceWarning):
        regressor.fit(X, X[:, :2])
    network = regressor._network
    n_parameters = sum(W.size + b.size for W, b in network.params)
    assert np.count_nonzero(network.parameters.flat) == n_parameters
