"""What is done to layers and weights beside the solver's step, each against plain NumPy."""

import pickle
import tracemalloc

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose
from problems import EVERYTHING, as_reference, make_connections, make_problem
from scipy.stats import kstest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier, MLPRegressor, check_gradients
from fastmlp._core import SOLVERS
from fastmlp._engine.rows import Data, Features
from fastmlp._training.descent import Descent

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SEED = 12345
RATE = 0.1
# A step of plain gradient descent is -RATE times the gradient.
PLAIN = {"learning_rate": RATE, "momentum": 0.0, "nesterov": False}


# The generator: SplitMix64, written again ---------------------------------------------------------


def random_bits(key, i):
    mask = (1 << 64) - 1
    x = (key + (i & mask) * 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def bits_of_row(step, layer, row, n):
    key = random_bits(random_bits(random_bits(SEED, step), layer), row)
    return [random_bits(key, i) for i in range(n)]


def mask_of_dropout(rate, step, layer, n_rows, n):
    bits = np.array([bits_of_row(step, layer, row, n) for row in range(n_rows)], dtype=np.uint64)
    return (bits >> np.uint64(32) >= int(rate * 2**32)) / (1 - rate)


def mask_of_inputs(rate, step, n_rows, n):
    rows = []
    for row in range(n_rows):
        key = random_bits(random_bits(random_bits(SEED, step), 0), row)
        rows.append([random_bits(random_bits(key, -1), i) >> 32 for i in range(n)])
    return (np.array(rows) >= int(rate * 2**32)) / (1 - rate)


def normal_numbers(step, n_rows, n):
    rows = []
    for row in range(n_rows):
        bits = bits_of_row(step, 0, row, n)
        u = np.array([((b >> 41) + 0.5) / 2**23 for b in bits])
        v = np.array([((b & 0xFFFFFFFF) + 2**31) % 2**32 - 2**31 for b in bits]) / 2**32
        rows.append(-np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v))
    return np.array(rows)


def step_of(problem, **settings):
    """The weights before and after one step on all rows."""
    network, X, y, w = problem
    before = as_reference(network)
    descent = Descent(network, "sgd", PLAIN | settings, SEED)
    loss, _ = descent.epoch(Data(Features.of(X), y, w), np.arange(len(X)), len(X))
    return before, as_reference(network), loss


def gradient_with_masks(params, X, y, w, masks):
    """Equations (1) to (4) with every hidden layer's activations times a mask."""
    z, a = [], [X]
    for l, (W, b) in enumerate(params):
        z.append(a[l] @ W + b)
        last = l == len(params) - 1
        a.append(z[l] if last else reference.ACTIVATIONS["gelu"](z[l]) * masks[l])
    delta = (w / w.sum())[:, np.newaxis] * (a[-1] - y)
    gradients = []
    for l in reversed(range(len(params))):
        gradients.append((a[l].T @ delta, delta.sum(axis=0)))
        if l > 0:
            slope = reference.DERIVATIVES["gelu"](z[l - 1]) * masks[l - 1]
            delta = delta @ params[l][0].T * slope
    loss = w @ reference.cost_of_rows("squared_error", z[-1], y) / w.sum()
    return gradients[::-1], loss


def assert_step(before, after, gradients):
    for (W, b), (W_after, b_after), (dW, db) in zip(before, after, gradients, strict=True):
        assert_allclose(W_after, W - RATE * dW, rtol=1e-10, atol=1e-12)
        assert_allclose(b_after, b - RATE * db, rtol=1e-10, atol=1e-12)


def test_dropout():
    """Forward, backward and gradient use the same mask, which is the generator's."""
    problem = network, X, y, w = make_problem("squared_error", "gelu")
    rates = (0.0, 0.5, 0.25)
    masks = [
        mask_of_dropout(rate, 1, l + 1, len(X), n)
        for l, (rate, n) in enumerate(zip(rates[1:], network.layer_sizes[1:-1], strict=True))
    ]
    before, after, loss = step_of(problem, dropout=rates)
    gradients, expected_loss = gradient_with_masks(before, X, y, w, masks)
    assert_allclose(loss, expected_loss, rtol=1e-12)
    assert_step(before, after, gradients)


def test_input_noise_and_dropout():
    problem = _, X, y, w = make_problem("squared_error", "gelu")
    before, after, _ = step_of(problem, dropout=(0.3, 0, 0), input_noise=0.7)
    noisy = X + 0.7 * normal_numbers(1, *X.shape)
    noisy *= mask_of_inputs(0.3, 1, *X.shape)
    gradients, _ = gradient_with_masks(before, noisy, y, w, [1.0, 1.0])
    # the core's logarithm and cosine are series that end
    for (W, _), (W_after, _), (dW, _) in zip(before, after, gradients, strict=True):
        assert_allclose(W_after, W - RATE * dW, rtol=0, atol=1e-6 * RATE)
    assert not (X == noisy).any()


def test_distribution_of_dropout_and_noise():
    mask = mask_of_dropout(0.3, 1, 1, 100, 200)
    assert_allclose((mask == 0).mean(), 0.3, atol=0.01)
    assert_allclose(mask.mean(), 1, atol=0.02)
    assert kstest(normal_numbers(1, 100, 100).ravel(), "norm").pvalue > 0.01


def test_masks_differ_by_step_layer_and_row():
    masks = [mask_of_dropout(0.5, step, layer, 4, 64) for step in (1, 2) for layer in (1, 2)]
    rows = {tuple(row) for mask in masks for row in mask}
    assert len(rows) == 16


def test_predictions_know_no_dropout():
    X, y = load_digits(return_X_y=True)
    settings = {"max_iter": 2, "random_state": 0, "dropout": 0.5, "input_noise": 1.0}
    classifier = MLPClassifier(**settings).fit(X / 16, y)
    assert (classifier.predict_proba(X) == classifier.predict_proba(X)).all()
    z, a = classifier._network.forward((X / 16).astype("float32"))
    assert_allclose(a[1], np.maximum(z[0], 0))


# Penalties, clipping, norms, averages -------------------------------------------------------------


def gradient_of(problem, alpha=0.0):
    network, X, y, w = problem
    gradients = network.loss_and_gradients(X, y, w, alpha)
    return list(zip(gradients.dW, gradients.db, strict=True))


def test_l1():
    problem = network, *_, w = make_problem("squared_error", "tanh")
    network.W[0][0, 0] = 0
    gradients = gradient_of(problem)
    loss = network.loss_and_gradients(*problem[1:]).loss
    before, after, loss_with_l1 = step_of(problem, l1=0.3)
    total = sum(abs(W).sum() for W, _ in before)
    assert_allclose(loss_with_l1, loss + 0.3 * total / w.sum())
    assert_step(
        before,
        after,
        [
            (dW + 0.3 / w.sum() * np.sign(W), db)
            for (W, _), (dW, db) in zip(before, gradients, strict=True)
        ],
    )


def test_clip_value():
    problem = make_problem("squared_error", "tanh")
    gradients = gradient_of(problem, 0.5)
    before, after, _ = step_of(problem, l2=0.5, clip_value=0.01)
    clipped = [tuple(np.clip(g, -0.01, 0.01) for g in pair) for pair in gradients]
    assert max(abs(g).max() for pair in gradients for g in pair) > 0.01
    assert_step(before, after, clipped)


@pytest.mark.parametrize(("clip_norm", "clip_value"), [(0.1, 0.0), (100.0, 0.0), (0.05, 0.02)])
def test_clip_norm(clip_norm, clip_value):
    problem = make_problem("squared_error", "tanh")
    gradients = gradient_of(problem, 0.5)
    if clip_value:
        gradients = [tuple(np.clip(g, -clip_value, clip_value) for g in p) for p in gradients]
    norm = np.sqrt(sum((g**2).sum() for pair in gradients for g in pair))
    factor = min(1, clip_norm / norm)
    before, after, _ = step_of(problem, l2=0.5, clip_norm=clip_norm, clip_value=clip_value)
    assert_step(before, after, [(factor * dW, factor * db) for dW, db in gradients])


@pytest.mark.parametrize("sizes", [(5, 7, 3), (40, 70, 33)])
def test_max_norm(sizes):
    problem = make_problem("squared_error", "tanh", sizes=sizes)
    problem[0].parameters.shorten(0.5)  # the first weights are within the limit, too
    gradients = gradient_of(problem)
    before, after, _ = step_of(problem, max_norm=0.5, learning_rate=3.0)
    n_longer = 0
    for (W, _), (W_after, _), (dW, _) in zip(before, after, gradients, strict=True):
        moved = W - 3.0 * dW
        norms = np.linalg.norm(moved, axis=0)
        assert_allclose(W_after, moved * np.minimum(1, 0.5 / norms), rtol=1e-10)
        n_longer += (norms > 0.5).sum()
    assert n_longer


def test_averaging():
    """The network holds the average, and the solver goes on from its own weights."""
    decay, n_steps = 0.6, 12
    network, X, y, w = make_problem("squared_error", "tanh")
    twin = pickle.loads(pickle.dumps(network))
    data, order = Data(Features.of(X), y, w), np.arange(len(X))
    averaging = Descent(network, "adam", {"learning_rate": RATE, "averaging": decay})
    plain = Descent(twin, "adam", {"learning_rate": RATE})
    average = network.snapshot()
    for t in range(1, n_steps + 1):
        averaging.epoch(data, order, len(X))
        plain.epoch(data, order, len(X))
        kept = min(decay, (1 + t) / (10 + t))
        average = kept * average + (1 - kept) * twin.parameters.flat
        assert_allclose(network.parameters.flat, average, rtol=1e-12)


def test_partial_fit_goes_on_from_the_weights_behind_the_average():
    X, y = load_digits(return_X_y=True)
    whole = MLPClassifier(averaging=0.9, random_state=0, shuffle=False, max_iter=2, tol=0)
    whole.fit(X / 16, y)
    parts = MLPClassifier(averaging=0.9, random_state=0, shuffle=False)
    for _ in range(2):
        parts = pickle.loads(pickle.dumps(parts)).partial_fit(X / 16, y, classes=range(10))
    for ours, theirs in zip(parts.coefs_, whole.coefs_, strict=True):
        assert (ours == theirs).all()


# Structure ----------------------------------------------------------------------------------------


def by_numpy(network, X, residual):
    """The output of a network with layer normalisation."""
    a = X
    for l, ((W, b), pair) in enumerate(zip(network.params, network.norms, strict=True)):
        z = a @ W + b
        if pair is None:
            return z
        gain, shift = pair
        centred = z - z.mean(axis=1, keepdims=True)
        z = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) * gain + shift
        skip = a if residual and l > 0 and W.shape[0] == W.shape[1] else 0
        a = np.tanh(z) + skip
    raise AssertionError("the last layer is not normalised")


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("n_rows", [1, 5, 200])
def test_layer_norm_and_residual(n_rows, residual):
    rng = np.random.RandomState(0)
    _, X, y, _ = make_problem("squared_error", "tanh", n_rows=n_rows, sizes=(6, 20, 20, 35, 35, 2))
    regressor = MLPRegressor(
        hidden_layer_sizes=(20, 20, 35, 35), activation="tanh", layer_norm=True, dtype="float64",
        residual=residual, random_state=0,
    ).initialize(6, 2)  # fmt: skip
    for gain, shift in regressor.norms_[:-1]:
        gain[...] = rng.uniform(0.5, 2, gain.shape)
        shift[...] = rng.uniform(-1, 1, shift.shape)
    assert regressor.norms_[-1] is None
    expected = by_numpy(regressor._network, X, residual)
    assert_allclose(regressor.predict(X), expected, rtol=1e-10)
    assert_allclose(regressor._network.forward(X).a[-1], expected, rtol=1e-10)
    assert check_gradients(regressor, X, y).error < 1e-4


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("learned_activation", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_check_gradients_of_every_structure(layer_norm, residual, learned_activation, sparse):
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((150, 9)), rng.randint(0, 3, 150)
    if sparse:
        sparse_arrays = pytest.importorskip("scipy.sparse")
        X = sparse_arrays.csr_array(X * (X > 0.5))
    classifier = MLPClassifier(
        (8, 8, 5), ["silu", "tanh", "softplus"], layer_norm=layer_norm, residual=residual,
        learned_activation=learned_activation, alpha=0.5, l1=0.3, random_state=0,
        loss_params={"label_smoothing": 0.2},
    )  # fmt: skip
    check = check_gradients(classifier, X, y, rng.uniform(0, 2, 150))
    assert check.error < 1e-4
    assert check.n_checked == 200


@pytest.mark.parametrize("solver", [*SOLVERS, "lbfgs"])
def test_where_no_connection_is_the_weight_stays_zero(solver):
    X, y = load_digits(return_X_y=True)
    connections = make_connections((64, 20, 30, 10))
    more = {} if solver == "lbfgs" else {"l1": 0.01, "weight_decay": 0.1, "averaging": 0.9}
    classifier = MLPClassifier(
        (20, 30), solver=solver, connections=connections, max_iter=3, random_state=0, **more
    ).fit(X / 16, y)
    for W, there in zip(classifier.coefs_, connections, strict=True):
        assert (W[~there] == 0).all()
        assert np.mean(W[there] != 0) > 0.9
    classifier.coefs_ = [np.ones_like(W) for W in classifier.coefs_]
    for W, there in zip(classifier.coefs_, connections, strict=True):
        assert (W == there).all()


def test_gradient_of_connections_is_that_of_the_others():
    problem = network, X, y, w = make_problem("squared_error", "tanh")
    gradients = network.loss_and_gradients(X, y, w)
    connections = make_connections(network.layer_sizes)
    classifier = MLPRegressor(
        hidden_layer_sizes=(7, 4), activation="tanh", dtype="float64", connections=connections
    ).initialize(5, 3)
    classifier.coefs_ = [W * there for W, there in zip(network.W, connections, strict=True)]
    network.params = classifier._network.params
    gradients = network.loss_and_gradients(X, y, w)
    with_connections = classifier._network.loss_and_gradients(X, y, w)
    assert problem[0] is network
    for dW, got, there in zip(gradients.dW, with_connections.dW, connections, strict=True):
        assert_allclose(got, dW * there)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_at_once(dtype):
    """It trains, repeats bit for bit for any number of threads, pickles, and goes on the same."""
    X, y = load_digits(return_X_y=True)
    X /= 16
    fits = [
        MLPClassifier(**EVERYTHING, dtype=dtype, n_threads=n_threads).fit(X, y)
        for n_threads in (1, 2, 3)
    ]
    assert fits[0].score(X, y) > 0.9
    for other in (*fits[1:], pickle.loads(pickle.dumps(fits[0]))):
        assert (other.predict_proba(X) == fits[0].predict_proba(X)).all()
        assert other.loss_curve_ == fits[0].loss_curve_
        for ours, theirs in zip(other.coefs_, fits[0].coefs_, strict=True):
            assert (ours == theirs).all()
    assert np.isfinite(fits[0].history_["gradient_norm"]).all()


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("n_classes", [10, 2])
@pytest.mark.parametrize(
    "options", [{}, {"alpha": 0.1}, {"l1": 0.1, "clip_value": 0.003}, EVERYTHING]
)
def test_large_batches_come_to_the_same_in_parts(options, n_classes, n_threads, monkeypatch):
    """Bit for bit: a gradient is the same chain of sums, and random numbers know their row."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:900] / 16, y[:900] % n_classes
    settings = {"batch_size": 300, "random_state": 0, "max_iter": 4}

    def fitted():
        classifier = MLPClassifier(**options | settings, n_threads=n_threads).fit(X, y)
        if not classifier.early_stopping:
            classifier.set_params(batch_size=40).partial_fit(X, y)
            classifier.set_params(batch_size=500).partial_fit(X, y)
        return classifier

    at_once = fitted()
    monkeypatch.setattr("fastmlp._training.descent.ROWS_IN_PART", 64)
    in_parts = fitted()
    for ours, theirs in zip(in_parts.coefs_, at_once.coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(in_parts.loss_curve_, at_once.loss_curve_, rtol=1e-6)


def test_a_large_batch_takes_the_memory_of_a_part():
    X = np.zeros((20_000, 3), dtype=np.float32)
    regressor = MLPRegressor(hidden_layer_sizes=(500,), batch_size=20_000, max_iter=1)
    tracemalloc.start()
    try:
        regressor.fit(X, X[:, 0])
        assert tracemalloc.get_traced_memory()[1] < 20_000 * 500 * 4 / 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("solver", [*SOLVERS])
def test_every_solver_repeats_and_pickles(solver):
    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16, y[:300]
    settings = {"solver": solver, "random_state": 0, "dropout": 0.1, "clip_norm": 1.0}

    def fitted(n_threads):
        classifier = MLPClassifier((70,), n_threads=n_threads, **settings)
        for _ in range(2):
            classifier = pickle.loads(pickle.dumps(classifier))
            classifier.partial_fit(X, y, classes=range(10))
        return classifier.predict_proba(X)

    assert (fitted(1) == fitted(2)).all()


# What goes on from call to call -------------------------------------------------------------------


def stop(estimator, state):
    raise RuntimeError


def test_settings_of_a_failed_call_are_not_lost():
    X, y = np.random.RandomState(0).standard_normal((2, 50, 3))
    changes = {"learning_rate_init": 0.5, "l1": 0.1, "momentum": 0.1, "clip_norm": 0.1}
    fits = []
    for fails in (False, True):
        regressor = MLPRegressor(hidden_layer_sizes=(4,), solver="sgd", random_state=0)
        regressor.partial_fit(X, y).set_params(**changes)
        if fails:
            with pytest.raises(RuntimeError):
                regressor.set_params(callbacks=stop).partial_fit(X, y)
        fits.append(regressor.set_params(callbacks=None).partial_fit(X, y))
    assert fits[0].history_["learning_rate"] == fits[1].history_["learning_rate"] == [1e-3, 0.5]
    assert (fits[0].coefs_[0] == fits[1].coefs_[0]).all()


def test_averaging_goes_on_from_weights_that_were_set():
    X, y = np.random.RandomState(0).standard_normal((2, 50, 3))
    regressor = MLPRegressor(hidden_layer_sizes=(4,), averaging=0.9, random_state=0)
    regressor.partial_fit(X, y)
    regressor.coefs_ = [0 * W for W in regressor.coefs_]
    regressor.set_params(learning_rate_init=1e-12).partial_fit(X, y)
    assert abs(regressor.coefs_[0]).max() < 1e-9


def test_max_norm_and_connections_hold_for_weights_that_were_set():
    X, y = np.random.RandomState(0).standard_normal((2, 50, 3))
    connections = [np.eye(3, 4, dtype=bool), None]
    regressor = MLPRegressor(
        hidden_layer_sizes=(4,), averaging=0.9, max_norm=0.5, connections=connections
    ).partial_fit(X, y)
    regressor.coefs_[0][...] = 7
    regressor.partial_fit(X, y)
    assert (regressor.coefs_[0][~connections[0]] == 0).all()
    for W in regressor.coefs_:
        assert np.linalg.norm(W, axis=0).max() < 0.5 + 1e-6


CHANGED = [{"input_noise": 0.7}, {"dropout": 0.5}, {"clip_norm": 0.01}]


@pytest.mark.parametrize("changes", CHANGED, ids=str)
def test_changed_options_act_in_the_next_call(changes):
    """A copy by pickle brings no memory of the former ones."""
    X, y = np.random.RandomState(0).standard_normal((2, 50, 3))
    settings = {"hidden_layer_sizes": (4,), "solver": "sgd", "random_state": 0}
    there_and_back = MLPRegressor(**settings).partial_fit(X, y)
    plain, copied = (pickle.loads(pickle.dumps(there_and_back)) for _ in range(2))
    for estimator in (there_and_back, copied):
        estimator.set_params(**changes).partial_fit(X, y)
    plain.partial_fit(X, y)
    assert (there_and_back.coefs_[0] == copied.coefs_[0]).all()
    assert (there_and_back.coefs_[0] != plain.coefs_[0]).any()
    for estimator in (there_and_back, copied):
        estimator.set_params(
            **dict.fromkeys(changes, MLPRegressor().get_params()[next(iter(changes))])
        )
        estimator.partial_fit(X, y)
    assert (there_and_back.coefs_[0] == copied.coefs_[0]).all()


@pytest.mark.parametrize("changes", [{"averaging": 0.9}, {"solver": "adamw"}], ids=str)
def test_a_solver_that_cannot_go_on_begins_anew(changes):
    """From the weights that are there; switched off again, it does so from the average."""
    X, y = np.random.RandomState(0).standard_normal((2, 50, 3))
    settings = {"hidden_layer_sizes": (4,), "random_state": 0, "shuffle": False}
    regressor = MLPRegressor(**settings).partial_fit(X, y)
    for of_call in (changes, {name: MLPRegressor().get_params()[name] for name in changes}):
        begins = MLPRegressor(**settings | of_call).initialize(3, 3)
        begins.coefs_, begins.intercepts_ = regressor.coefs_, regressor.intercepts_
        regressor.set_params(**of_call).partial_fit(X, y)
        begins.partial_fit(X, y)
        assert (regressor.coefs_[0] == begins.coefs_[0]).all()


def fails(regressor, X, y):
    """A call that comes to its end, and only then sees that the solver's state has overflowed."""
    with pytest.raises(ValueError, match="overflowed in the solver"), np.errstate(all="ignore"):
        regressor.partial_fit(X, y * 1e25)


@pytest.mark.filterwarnings("ignore:.*the mean or standard deviation is beyond")
def test_a_failed_call_is_no_epoch_of_a_schedule():
    X, y = np.random.RandomState(0).standard_normal((2, 50, 3))
    regressor = MLPRegressor(
        hidden_layer_sizes=(4,), learning_rate="exponential", schedule_params={"gamma": 0.5}
    ).partial_fit(X, y)
    fails(regressor, X, y)
    regressor.partial_fit(X, y)
    assert_allclose(regressor.history_["learning_rate"], [1e-3, 5e-4])


@pytest.mark.filterwarnings("ignore:.*the mean or standard deviation is beyond")
def test_a_failed_call_is_no_bad_epoch_of_a_plateau():
    """With so large a tol only the first epoch is better; the rate falls after two bad ones."""
    X, y = np.random.RandomState(0).standard_normal((2, 50, 3))
    regressor = MLPRegressor(
        hidden_layer_sizes=(4,), learning_rate="plateau", schedule_params={"patience": 1}, tol=1e60
    )
    for n_calls in (2, 2):
        for _ in range(n_calls):
            regressor.partial_fit(X, y)
        fails(regressor, X, y)
    assert_allclose(regressor.history_["learning_rate"], [1e-3, 1e-3, 1e-3, 1e-4])


def test_history_after_a_failed_call_with_validation_rows():
    X, y = np.random.RandomState(0).standard_normal((2, 50, 3))
    regressor = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, warm_start=True).fit(X, y)
    columns = {name: list(column) for name, column in regressor.history_.items()}
    with pytest.raises(RuntimeError):
        regressor.set_params(callbacks=stop).fit(X, y, X_val=X, y_val=y)
    assert regressor.history_ == columns
    regressor.set_params(callbacks=None).partial_fit(X, y)
    assert {name: len(column) for name, column in regressor.history_.items()} == dict.fromkeys(
        columns, 3
    )


def test_options_are_copied():
    X, y = np.random.RandomState(0).standard_normal((2, 50, 3))
    quantiles = [0.1, 0.5, 0.9]
    regressor = MLPRegressor(
        "quantile", (4,), loss_params={"quantiles": quantiles}, warm_start=True
    )
    regressor.set_params(max_iter=2).fit(X, y[:, 0])
    quantiles.pop()
    assert regressor._network.loss_params == {"quantiles": (0.1, 0.5, 0.9)}
    assert pickle.loads(pickle.dumps(regressor)).predict(X).shape == (50, 3)
    assert np.isfinite(regressor.score(X, y[:, 0]))
    with pytest.raises(ValueError, match="go on with the network that is there"):
        regressor.fit(X, y[:, 0])
    same = {"loss_params": {"quantiles": np.array([0.1, 0.5, 0.9])}}
    regressor.set_params(**same).fit(X, y[:, 0])


def test_dropout_that_comes_later_has_a_seed():
    X, y = np.random.RandomState(0).standard_normal((2, 50, 3))
    coefs = []
    for seed in (0, 1):
        regressor = MLPRegressor(
            hidden_layer_sizes=(4,), init=[np.ones((3, 4)), np.ones((4, 3))], random_state=seed,
            shuffle=False,
        ).partial_fit(X, y)  # fmt: skip
        coefs.append(regressor.set_params(dropout=0.5).partial_fit(X, y).coefs_[0])
    assert (coefs[0] != coefs[1]).any()


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(dropout=1.0), r"'dropout'.*\[0.0, 1.0\).*Got 1.0"),
        (dict(dropout=[0.1]), r"dropout must be.*2 hidden layers, got \[0.1\]"),
        (dict(dropout=[0.1, 1]), r"dropout must be.*\[0, 1\).*got \[0.1, 1\]"),
        (dict(dropout="a lot"), "'dropout'"),
        (dict(input_dropout=-0.1), "'input_dropout'"),
        (dict(input_noise=-1), "'input_noise'"),
        (dict(averaging=1.0), "'averaging'"),
        (dict(clip_norm=0.0), "'clip_norm'"),
        (dict(max_norm=-1), "'max_norm'"),
        (dict(weight_decay=-1), "'weight_decay'"),
        (dict(l1=-1), "'l1'"),
        (dict(activation=["relu"]), "activation must be.*2 hidden layers, got 1"),
        (dict(activation=["relu", "swish"]), "activation must be one of.*'swish'"),
        (dict(loss="huber"), "'loss'.*Got 'huber'"),
        (dict(loss_params={"delta": 1}), "loss_params: 'log_loss' takes.*'label_smoothing'.*delta"),
        (dict(loss_params={"label_smoothing": 1}), r"loss_params\['label_smoothing'\].*\[0, 1\)"),
        (dict(solver_params={"rho": 0.5}), "solver_params: 'adam' takes.*'amsgrad'.*'rho'"),
        (dict(solver="sgd", solver_params={"rho": 0.5}), "'sgd' takes none"),
        (dict(schedule_params={"gamma": 2}), "schedule_params: 'constant' takes.*'warmup'"),
        (dict(schedule_params={"warmup": 500}), r"warmup.*max_iter, got 500 and 3"),
        (dict(solver="rprop", batch_size=10), "'rprop' takes all rows.*got 10"),
        (
            dict(learning_rate="plateau", schedule_params={"patience": 10}),
            "patience.*n_iter_no_change.*got 10 and 10",
        ),
        (dict(solver="rprop", learning_rate="cosine"), "'rprop' takes no schedule.*'cosine'"),
        (
            dict(solver="rprop", solver_params={"smallest_step": 1.0, "largest_step": 0.1}),
            "smallest_step must not be larger than largest_step, got 1.0 and 0.1",
        ),
        (dict(alpha=10**400), "alpha must be a number that fits a float64"),
        (dict(loss_params={"label_smoothing": 10**400}), r"loss_params\['label_smoothing'\]"),
        (dict(connections=[[[1, 0], [1]], None, None]), r"connections\[0\] must have shape"),
        (dict(solver="lbfgs", dropout=0.5), "dropout=0.5.*mini-batch.*'lbfgs'"),
        (dict(solver="lbfgs", learning_rate="cosine"), "learning_rate='cosine'.*'lbfgs'"),
        (dict(connections=[None]), "connections must be a list of 3"),
        (dict(connections=[np.ones((3, 3)), None, None]), r"connections\[0\].*\(64, 8\).*\(3, 3\)"),
        (dict(connections=[np.full((64, 8), 2), None, None]), r"connections\[0\].*True or False"),
        (dict(init="xavier"), "init must be one of.*'glorot_uniform'.*'xavier'"),
        (dict(init=["zeros"]), "init must have an entry for each of the 3 layers"),
        (dict(init=[np.ones((2, 2)), None, None]), r"init\[0\] must have shape \(64, 8\)"),
        (dict(init=lambda shape, random_state: np.ones(3)), r"init\[0\] must have shape"),
    ],
)
def test_combinations_that_make_no_sense(arguments, message):
    X, y = load_digits(return_X_y=True)
    classifier = MLPClassifier(**{"hidden_layer_sizes": (8, 8), "max_iter": 3} | arguments)
    before = vars(classifier).copy()
    with pytest.raises((ValueError, TypeError), match=message):
        classifier.fit(X / 16, y)
    assert vars(classifier) == before


@pytest.mark.parametrize("argument", ["input_dropout", "input_noise"])
def test_sparse_rows_have_no_noise(argument):
    sparse = pytest.importorskip("scipy.sparse")
    X, y = load_digits(return_X_y=True)
    with pytest.raises(ValueError, match="input_dropout and input_noise need dense rows"):
        MLPClassifier(**{argument: 0.1}).fit(sparse.csr_array(X), y)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("gamma", [0.0, 1.0, 2.0], "y must be positive.*for 'gamma'"),
        ("tweedie", [-1.0, 1.0, 2.0], "y must not be negative for 'tweedie'"),
        ("poisson", [-1.0, 1.0, 2.0], "y must not be negative for 'poisson'"),
    ],
)
def test_targets_that_the_loss_does_not_take(loss, y, message):
    with pytest.raises(ValueError, match=message):
        MLPRegressor(loss).fit(np.ones((3, 2)), y)


def test_structure_cannot_change_in_a_warm_start():
    X, y = load_digits(return_X_y=True)
    classifier = MLPClassifier((8,), max_iter=2, warm_start=True, random_state=0)
    with pytest.warns(ConvergenceWarning):
        classifier.fit(X / 16, y)
    for change in (
        dict(layer_norm=True), dict(residual=True), dict(activation="elu"),
        dict(learned_activation=True), dict(parametrization="ntk"),
        dict(loss="squared_error"), dict(loss_params={"label_smoothing": 0.1}),
        dict(connections=[None, np.ones((8, 10), bool)]),
    ):  # fmt: skip
        changed = pickle.loads(pickle.dumps(classifier)).set_params(**change)
        with pytest.raises(ValueError, match="go on with the network that is there"):
            changed.fit(X / 16, y)
