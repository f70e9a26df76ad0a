"""Networks, rows and settings that several tests share."""

import itertools

import numpy as np
import sklearn
from sklearn.utils.fixes import parse_version

from fastmlp import MLPClassifier, MLPRegressor, Network
from fastmlp._engine.losses import LOSSES

RTOL = {"float64": 1e-12, "float32": 1e-5}

# Some of what the tests compare with is different in these versions.
OLD = parse_version(sklearn.__version__) < parse_version("1.9")

N_ROWS = 70  # more than one block of rows, the last one shorter


def make_problem(loss, activation, dtype="float64", n_rows=N_ROWS, sizes=(5, 7, 4, 3), seed=0):
    """A network and rows that the dtype holds exactly, with the float64 copy for the reference."""
    rng = np.random.RandomState(seed)
    network = Network(sizes, activation, loss, dtype=dtype, random_state=rng)
    X = rng.standard_normal((n_rows, sizes[0])).astype(dtype)
    if LOSSES[loss].is_of_classes:
        y = rng.randint(0, sizes[-1], n_rows)
    elif loss in ("poisson", "tweedie"):
        y = rng.poisson(1.0, (n_rows, sizes[-1]))
    elif loss == "gamma":
        y = rng.gamma(2.0, 1.0, (n_rows, sizes[-1])).astype(dtype)
    elif loss in ("binary_log_loss", "logistic_squared_error"):
        y = rng.randint(0, 2, (n_rows, sizes[-1]))
    else:
        y = rng.standard_normal((n_rows, sizes[-1])).astype(dtype)
    return network, X, y, rng.uniform(0, 2, n_rows).astype(dtype)


def as_reference(network):
    return [(W.astype(float), b.astype(float)) for W, b in network.params]


def assert_all_close(actual, expected, rtol):
    """Relative to the largest number of each array."""
    assert len(actual) == len(expected)
    for got, want in zip(actual, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * np.abs(want).max())


TASKS = {
    "binary": (MLPClassifier, "log_loss"),
    "multiclass": (MLPClassifier, "log_loss"),
    "multilabel": (MLPClassifier, "log_loss"),
    "squared_error": (MLPRegressor, "squared_error"),
    "poisson": (MLPRegressor, "poisson"),
}


def make_task(task, n_rows=157):
    rng = np.random.RandomState(7)
    X = rng.standard_normal((n_rows, 6))
    z = X @ rng.standard_normal((6, 3)) + 0.3 * rng.standard_normal((n_rows, 3))
    y = {
        "binary": np.array(["no", "yes"])[(z[:, 0] > 0).astype(int)],
        "multiclass": z.argmax(axis=1) * 10,
        "multilabel": (z > 0).astype(int),
        "squared_error": z[:, 0],
        "poisson": rng.poisson(np.exp(np.clip(z[:, 0] / 2, -2, 2))),
        "squared_error of 3": z,
        "poisson of 3": np.exp(np.clip(z / 2, -2, 2)).round(),
    }[task]
    return X, y, rng.uniform(0.1, 2, n_rows)


# All at once --------------------------------------------------------------------------------------

# Connections --------------------------------------------------------------------------------------


def make_connections(sizes, seed=0):
    rng = np.random.RandomState(seed)
    return [rng.uniform(size=shape) < 0.4 for shape in itertools.pairwise(sizes)]


EVERYTHING = dict(
    hidden_layer_sizes=(40, 40, 30), activation=["gelu", "mish", "elu"], solver="nadam",
    learning_rate="one_cycle", learning_rate_init=0.01, schedule_params={"warmup": 1}, alpha=1e-3,
    l1=1e-5, weight_decay=0.01, dropout=[0.2, 0.1, 0.3], input_dropout=0.1, input_noise=0.05,
    max_norm=2.0, clip_norm=1.0, clip_value=0.5, averaging=0.99, layer_norm=True,
    residual=True, init="orthogonal", diagnostics=True, early_stopping=True, max_iter=30,
    random_state=0, class_weight="balanced", loss_params={"label_smoothing": 0.1},
    connections=[None, *make_connections((40, 40, 30)), None],
)  # fmt: skip
