"""The cut of training steps into pieces of rows and of columns: the same bits for any threads."""

import itertools

import numpy as np
import pytest
import scipy.sparse

from fastmlp import MLPClassifier, MLPRegressor, Network, _core
from fastmlp._engine.layout import FOR_GRADIENT, aligned_zeros
from fastmlp._engine.rows import Data, Features

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(5)
X = RNG.standard_normal((90, 70))
SPARSE = scipy.sparse.csr_matrix(np.where(RNG.uniform(size=X.shape) < 0.3, X, 0))
CLASSES = RNG.randint(0, 4, 90)
VALUES = RNG.standard_normal((90, 3))
WEIGHT = RNG.uniform(size=90)
THREADS = (2, 3, 5, 16)

# A layer as wide as this is cut by columns, where a thread has few rows.
WIDE = 700


def bits(estimator, data, targets, n_threads):
    """All numbers that a fit leaves behind."""
    estimator.set_params(n_threads=n_threads).fit(data, targets, WEIGHT)
    curve = getattr(estimator, "loss_curve_", [estimator.loss_])
    arrays = [*estimator.coefs_, *estimator.intercepts_, np.array(curve)]
    return [np.ascontiguousarray(array).tobytes() for array in arrays]


def check(estimator, data=X, targets=CLASSES):
    once = bits(estimator, data, targets, 1)
    for n_threads in THREADS:
        assert bits(estimator, data, targets, n_threads) == once, n_threads


def classifier(**settings):
    common = {"hidden_layer_sizes": (WIDE, WIDE), "batch_size": 21, "max_iter": 2}
    return MLPClassifier(**(common | {"random_state": 0} | settings))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("data", [X, SPARSE], ids=["dense", "sparse"])
def test_activations_and_rows(data, activation, dtype):
    check(classifier(activation=activation, dtype=dtype), data)


@pytest.mark.parametrize(
    "settings",
    [
        {"layer_norm": True},
        {"residual": True},
        {"layer_norm": True, "residual": True, "dropout": 0.2},
        {"dropout": 0.3, "activation": "silu"},
        {"learned_activation": True, "layer_norm": True, "residual": True, "dropout": 0.2},
        {"learned_activation": True, "learning_rate_factors": {"activation": 0.1, "bias": 0.1}},
        {"parametrization": "ntk", "weight_decay": 0.1, "weight_decay_schedule": "cosine"},
        {"dropout": 0.3, "dropout_schedule": "flat_cosine"},
        {"input_dropout": 0.2, "input_noise": 0.1},
        {"clip_norm": 0.1, "l1": 1e-3},
        {"max_norm": 0.5},
        {"averaging": 0.9, "weight_decay": 0.1},
        {"solver": "sgd"},
        {"solver": "lbfgs"},
        {"batch_size": 1},
        {"batch_size": 90},
        {"hidden_layer_sizes": (WIDE, 1, WIDE)},
        {"hidden_layer_sizes": (40, WIDE, 40)},
        {"hidden_layer_sizes": (2_000,)},
        {"hidden_layer_sizes": ()},
    ],
    ids=str,
)
def test_options(settings):
    check(classifier(**settings))


def test_regression_of_many_outputs():
    settings = {"hidden_layer_sizes": (WIDE,), "batch_size": 16, "max_iter": 2, "random_state": 0}
    check(MLPRegressor(**settings), targets=np.tile(VALUES, 150))


def test_mini_batches_in_parts():
    rows = np.tile(X, (15, 1))
    settings = {"hidden_layer_sizes": (WIDE,), "batch_size": 1_300, "max_iter": 2}
    once = None
    for n_threads in (1, *THREADS):
        fitted = MLPClassifier(**settings, random_state=0, n_threads=n_threads)
        fitted.fit(rows, np.tile(CLASSES, 15))
        found = [array.tobytes() for array in fitted.coefs_], fitted.loss_curve_
        once = once or found
        assert found == once


def test_missing_connections():
    there = RNG.uniform(size=(70, WIDE)) < 0.5
    gradients = []
    for n_threads in (1, *THREADS):
        network = Network(
            [70, WIDE, 4], loss="log_loss", random_state=0, n_threads=n_threads,
            connections=[there, None],
        )  # fmt: skip
        loss, *rest = network.loss_and_gradients(X, CLASSES, WEIGHT, 0.1)
        arrays = [np.array(loss), *itertools.chain(*rest)]
        gradients.append([array.tobytes() for array in arrays])
    assert all(gradient == gradients[0] for gradient in gradients)


@pytest.mark.skipif(_core.uses_blas(), reason="with BLAS, blocks are large")
def test_a_custom_loss_gets_the_same_rows_for_any_threads():
    sizes = []

    def loss(y, z):
        sizes.append(len(z))
        return 0.5 * ((z - y) ** 2).sum(axis=1), z - y

    settings = {"hidden_layer_sizes": (WIDE,), "batch_size": 90, "max_iter": 1, "random_state": 0}
    found = []
    for n_threads in (1, *THREADS):
        sizes.clear()
        MLPRegressor(loss=loss, n_threads=n_threads, **settings).fit(X, VALUES)
        found.append(sorted(sizes))
    assert all(those == found[0] for those in found)


def stages(sizes, batch_size, n_members, dtype="float32"):
    """How often the members of a team would meet in a training step."""
    network = Network(sizes, loss="squared_error", dtype=dtype, random_state=0)
    passes, own = network.passes, network.parameters
    rows = np.ones((batch_size, sizes[0]), own.dtype)
    targets = np.ones((batch_size, sizes[-1]), own.dtype)
    data = Data(Features.of(rows), targets, np.ones(batch_size, own.dtype))
    work = passes.workspace(batch_size, passes.table(FOR_GRADIENT), dense=True)
    solver = np.zeros(1, _core.SOLVER)
    solver["kind"], n_states = _core.SOLVERS["sgd"]
    state = aligned_zeros((n_states, own.flat.size), own.dtype)
    gradient = aligned_zeros((n_members, own.largest_piece), own.dtype)
    step = _core.Step(
        passes.model, work, solver, np.zeros(1, _core.REGULARIZER), state, own.flat[:0], gradient
    )
    times = np.full((n_members, 50), np.nan)
    _core.rehearse(
        passes.model, work, _core.Samples(*data.arrays), np.arange(batch_size), batch_size,
        np.array([[0.1, 1.0, 1.0]]), step, times,
    )  # fmt: skip
    recorded = np.isfinite(times).sum(axis=1) - 1
    assert (recorded == recorded[0]).all()
    assert (np.diff(times[:, : recorded[0] + 1], axis=1) >= 0).all()
    return recorded[0]


@pytest.mark.skipif(_core.uses_blas(), reason="with BLAS, products are not cut by columns")
def test_only_wide_layers_are_cut_by_columns():
    assert stages([70, 40, 3], 200, 4) == 2
    assert stages([70, 40, 3], 200, 1) == 2
    assert stages([70, 40, 3], 200, 2, "float64") == 2
    assert stages([784, WIDE, WIDE, 3], 200, 1) == 2
    assert stages([784, WIDE, WIDE, 3], 16, 16) > 2
