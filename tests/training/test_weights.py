"""Sample weights, wherever they are taken: a row of weight 2 is two rows, one of weight 0 none."""

import numpy as np
import pytest
import reference
import scipy.sparse
from numpy.testing import assert_allclose
from problems import OLD, as_reference, assert_all_close, make_problem
from sklearn.metrics import accuracy_score, d2_pinball_score, log_loss, r2_score

from fastmlp import MLPClassifier, MLPRegressor, check_gradients
from fastmlp._core import LOSSES, SOLVERS

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size`:UserWarning"),
]

RNG = np.random.RandomState(0)
X = np.where(RNG.uniform(size=(90, 5)) < 0.7, RNG.standard_normal((90, 5)), 0)
NUMBERS = RNG.gamma(2.0, size=(90, 2))
CLASSES = (X[:, 0] + X[:, 1] > 0) + (X[:, 2] > 0).astype(int)
LABELS = (NUMBERS > 1.5).astype(int)
WEIGHT = RNG.randint(0, 4, 90)
REPEATED = np.arange(90).repeat(WEIGHT)
UNEVEN = RNG.uniform(0, 2, 90)

WHOLE = {"batch_size": 10**4, "max_iter": 12, "dtype": "float64", "random_state": 0, "alpha": 0.3}
QUANTILES = {"quantiles": [0.2, 0.7]}
SMOOTH = {"label_smoothing": 0.2}

# name: (an estimator, y)
TASKS = {
    "classes": (MLPClassifier(**WHOLE, loss_params=SMOOTH), CLASSES),
    "two classes": (MLPClassifier(**WHOLE, loss_params=SMOOTH), CLASSES > 0),
    "labels": (MLPClassifier(**WHOLE), LABELS),
    "error of classes": (MLPClassifier(**WHOLE, loss="squared_error"), CLASSES),
    "error of labels": (MLPClassifier(**WHOLE, loss="squared_error"), LABELS),
    "squared_error": (MLPRegressor(**WHOLE), NUMBERS),
    "absolute_error": (MLPRegressor("absolute_error", **WHOLE), NUMBERS),
    "huber": (MLPRegressor("huber", **WHOLE), NUMBERS),
    "log_cosh": (MLPRegressor("log_cosh", **WHOLE), NUMBERS),
    "quantile": (MLPRegressor("quantile", **WHOLE), NUMBERS),
    "quantiles": (MLPRegressor("quantile", **WHOLE, loss_params=QUANTILES), NUMBERS[:, 0]),
    "poisson": (MLPRegressor("poisson", **WHOLE), NUMBERS),
    "gamma": (MLPRegressor("gamma", **WHOLE), NUMBERS),
    "tweedie": (MLPRegressor("tweedie", **WHOLE), NUMBERS),
}


def estimator_for(task, **parameters):
    estimator, y = TASKS[task]
    estimator = type(estimator)(**estimator.get_params() | {"hidden_layer_sizes": (6, 6)})
    return estimator.set_params(activation="tanh", **parameters), y


def assert_same_fit(ours, theirs, rtol=1e-8):
    for attribute in ("coefs_", "intercepts_"):
        assert_all_close(getattr(ours, attribute), getattr(theirs, attribute), rtol)
    assert_allclose(ours.loss_, theirs.loss_, rtol=rtol)
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=rtol, atol=rtol)


KINDS = pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array], ids=["", "sparse"])


def test_every_loss_is_here():
    losses = {estimator_for(task)[0].fit(X, y)._network.loss for task, (_, y) in TASKS.items()}
    assert losses == set(LOSSES)


# Fitting -----------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("task", TASKS)
def test_fit(task, solver, kind):
    weighted, y = estimator_for(task, solver=solver)
    repeated, _ = estimator_for(task, solver=solver)
    weighted.fit(kind(X), y, WEIGHT)
    repeated.fit(kind(X)[REPEATED], y[REPEATED])
    assert_same_fit(weighted, repeated)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver(solver):
    parameters = {"batch_size": "auto"} if solver == "rprop" else {}
    fits = [estimator_for("squared_error", solver=solver, **parameters)[0] for _ in range(2)]
    weighted, repeated = fits
    assert_same_fit(weighted.fit(X, NUMBERS, WEIGHT), repeated.fit(X[REPEATED], NUMBERS[REPEATED]))


@pytest.mark.parametrize(
    "parameters",
    [
        {"l1": 0.1},
        {"clip_norm": 0.1, "clip_value": 0.05},
        {"max_norm": 0.7, "averaging": 0.9},
        {"layer_norm": True, "residual": True, "learned_activation": True},
        {"parametrization": "ntk", "learning_rate_factors": {"bias": 0.1}},
        {"weight_decay": 0.1, "solver": "adamw", "weight_decay_schedule": "flat_cosine"},
    ],
    ids=str,
)
def test_every_option(parameters):
    weighted, y = estimator_for("classes", **parameters)
    repeated, _ = estimator_for("classes", **parameters)
    weighted.fit(X, y, WEIGHT)
    assert_same_fit(weighted, repeated.fit(X[REPEATED], y[REPEATED]))


@KINDS
@pytest.mark.parametrize("task", TASKS)
def test_partial_fit(task, kind):
    weighted, y = estimator_for(task)
    repeated, _ = estimator_for(task)
    classes = {}
    if isinstance(weighted, MLPClassifier):
        classes = {"classes": np.unique(y) if y.ndim == 1 else np.arange(y.shape[1])}
    for _ in range(3):
        weighted.partial_fit(kind(X), y, WEIGHT, **classes)
        repeated.partial_fit(kind(X)[REPEATED], y[REPEATED], **classes)
    assert_same_fit(weighted, repeated)


def test_warm_start():
    weighted, y = estimator_for("classes", warm_start=True)
    repeated, _ = estimator_for("classes", warm_start=True)
    for _ in range(2):
        weighted.fit(X, y, WEIGHT)
        repeated.fit(X[REPEATED], y[REPEATED])
    assert_same_fit(weighted, repeated)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mini_batches(dtype):
    """A step divides by the weights of its own rows; the loss of an epoch by numbers of rows."""
    network, rows, y, w = make_problem("squared_error", "tanh", dtype, 90)
    params, losses = as_reference(network), []
    regressor = MLPRegressor(
        hidden_layer_sizes=network.layer_sizes[1:-1], activation="tanh", solver="sgd", alpha=0.4,
        learning_rate_init=0.1, batch_size=40, shuffle=False, max_iter=1, momentum=0, dtype=dtype,
        warm_start=True,
    ).initialize(5, 3)  # fmt: skip
    regressor.coefs_, regressor.intercepts_ = network.W, network.b
    for start in (0, 40, 80):
        part = slice(start, start + 40)
        arguments = (rows[part].astype(float), y[part].astype(float))
        arguments += ("tanh", "squared_error", w[part].astype(float), 0.4)
        losses += [reference.cost(params, *arguments)] * len(rows[part])
        _, dW, db = reference.backward(params, *arguments)
        params = [(W - 0.1 * g, b - 0.1 * h) for (W, b), g, h in zip(params, dW, db, strict=True)]
    regressor.fit(rows, y, w)
    rtol = {"float32": 1e-5, "float64": 1e-12}[dtype]
    assert_all_close(regressor.coefs_, [W for W, _ in params], rtol)
    assert_all_close(regressor.intercepts_, [b for _, b in params], rtol)
    assert_allclose(regressor.loss_, np.mean(losses), rtol=rtol)


# Validation --------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("task", TASKS)
def test_own_validation_rows(task, kind):
    estimator, y = estimator_for(task)
    twin, _ = estimator_for(task)
    estimator.fit(X, y, X_val=kind(X), y_val=y, sample_weight_val=WEIGHT)
    twin.fit(X, y, X_val=kind(X)[REPEATED], y_val=y[REPEATED])
    for column in ("val_loss", "val_score"):
        assert_allclose(estimator.history_[column], twin.history_[column], rtol=1e-9)


def own_score(estimator, rows, y, sample_weight=None):
    return -log_loss(y, estimator.predict_proba(rows), sample_weight=sample_weight)


@pytest.mark.parametrize("scoring", ["neg_log_loss", own_score])
@pytest.mark.parametrize("is_own", [False, True])
def test_scoring_of_validation_rows_is_weighted(is_own, scoring):
    """The score is then the negative loss, which nothing but the same weights can bring about."""
    parameters = {"early_stopping": True, "scoring": scoring, "max_iter": 5, "random_state": 0}
    own = {"X_val": X, "y_val": CLASSES, "sample_weight_val": UNEVEN} if is_own else {}
    classifier = MLPClassifier((6,), dtype="float64", **parameters)
    history = classifier.fit(X, CLASSES, UNEVEN, **own).history_
    assert_allclose(history["val_score"], -np.array(history["val_loss"]), rtol=1e-9)
    unweighted = classifier.fit(X, CLASSES, X_val=X, y_val=CLASSES).history_
    assert (np.array(history["val_loss"]) != unweighted["val_loss"]).all()


@pytest.mark.parametrize("is_weighted", [False, True])
def test_loss_and_score_of_rows_set_aside(is_weighted):
    """The rows are those that a scorer gets; the default score is the accuracy."""
    seen = []

    def watch(estimator, rows, y, sample_weight=None):
        p = estimator.predict_proba(rows)
        decided = estimator.classes_[p.argmax(axis=1)]
        seen.append(
            (
                log_loss(y, p, sample_weight=sample_weight, labels=[0, 1, 2]),
                accuracy_score(y, decided, sample_weight=sample_weight),
                len(y),
            )
        )
        return seen[-1][1]

    parameters = {"early_stopping": True, "max_iter": 4, "random_state": 0, "dtype": "float64"}
    weight = UNEVEN if is_weighted else None
    watched = MLPClassifier((6,), scoring=watch, validation_fraction=0.2, **parameters)
    losses, scores, numbers = zip(*(watched.fit(X, CLASSES, weight), seen)[1], strict=True)
    assert set(numbers) == {18}
    plain = MLPClassifier((6,), validation_fraction=0.2, **parameters).fit(X, CLASSES, weight)
    for history in (watched.history_, plain.history_):
        assert_allclose(history["val_loss"], losses, rtol=1e-9)
        assert_allclose(history["val_score"], scores, rtol=1e-9)


# What is there after a fit ------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_score(task):
    estimator, y = estimator_for(task)
    estimator.fit(X, y)
    score = estimator.score(X, y, WEIGHT)
    if task != "quantiles" or not OLD:  # d2_pinball_score of scikit-learn before 1.9 differs
        assert_allclose(score, estimator.score(X[REPEATED], y[REPEATED]), rtol=1e-9)
    assert score != estimator.score(X, y)
    if isinstance(estimator, MLPClassifier):
        assert_allclose(score, accuracy_score(y, estimator.predict(X), sample_weight=WEIGHT))
    elif task in ("squared_error", "huber"):
        assert_allclose(score, r2_score(y, estimator.predict(X), sample_weight=WEIGHT))
    elif task == "quantile":
        predicted = estimator.predict(X)
        assert_allclose(score, d2_pinball_score(y, predicted, sample_weight=WEIGHT))


@pytest.mark.parametrize("task", TASKS)
def test_gradients_of_network(task):
    estimator, y = estimator_for(task)
    network = estimator.fit(X, y)._network
    encoded = np.searchsorted(estimator.classes_, y) if hasattr(estimator, "classes_") else y
    encoded = y if y.ndim == 2 else encoded
    weighted = network.loss_and_gradients(X, encoded, WEIGHT, alpha=2.0)
    repeated = network.loss_and_gradients(X[REPEATED], encoded[REPEATED], alpha=2.0)
    assert_allclose(weighted.loss, repeated.loss, rtol=1e-12)
    assert_all_close(weighted.dW + weighted.db, repeated.dW + repeated.db, 1e-10)


@pytest.mark.parametrize("task", ["classes", "squared_error"])
def test_check_gradients(task):
    estimator, y = estimator_for(task)
    estimator.fit(X, y)
    weighted = check_gradients(estimator, X, y, WEIGHT, n_parameters=1)
    repeated = check_gradients(estimator, X[REPEATED], y[REPEATED], n_parameters=1)
    plain = check_gradients(estimator, X, y, n_parameters=1)
    assert weighted.where == repeated.where == plain.where
    assert_allclose(weighted.derivative, repeated.derivative, rtol=1e-9)
    assert_allclose(weighted.difference, repeated.difference, rtol=1e-4)
    assert abs(weighted.derivative - plain.derivative) > 1e-3 * abs(plain.derivative)


@pytest.mark.parametrize("task", ["classes", "squared_error"])
def test_diagnostics(task):
    """The norms of the gradient in the history are those of the weighted rows."""
    weighted, y = estimator_for(task, diagnostics=True, batch_size=len(X))
    weighted.fit(X, y, WEIGHT)
    alpha = 0.3 * WEIGHT.sum() / len(X)
    gradients = weighted._network.loss_and_gradients(X, y, WEIGHT, alpha)
    norms = [np.linalg.norm(dW) for dW in gradients.dW]
    assert_allclose(weighted.history_["gradient_norm"][-1], norms, rtol=1e-9)
    dead = [np.mean(~a.any(axis=0)) for a in weighted.activations(X[WEIGHT > 0])[:-1]]
    assert_allclose(weighted.history_["dead_units"][-1], dead)
