"""What a fit records of its gradients, what `diagnose` says of it, and `check_gradients`."""

import itertools
import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Ridge

from fastmlp import (
    Diagnosis,
    MLPClassifier,
    MLPRegressor,
    Network,
    check_gradients,
    diagnose,
)
from fastmlp._core import ACTIVATIONS
from fastmlp._engine.checks import check_data

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RECORDED = ("gradient_norm", "update_norm", "weight_norm", "dead_units", "saturated_units")


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def fitted(digits, scale=1.0, **parameters):
    X, y = digits
    settings = {"max_iter": 8, "random_state": 0, "diagnostics": True, "tol": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MLPClassifier(**settings | parameters).fit(X * scale, y)


# The history --------------------------------------------------------------------------------------


def test_history_is_what_the_weights_and_gradients_say(digits):
    X, y = digits[0][:900], digits[1][:900]
    weights, records = [], []

    def see(estimator, state):
        weights.append([W.copy() for W in estimator.coefs_])
        network = estimator._network
        gradients = network.loss_and_gradients(X, y, alpha=estimator.alpha * 900 / 200)
        records.append([np.linalg.norm(dW) for dW in gradients.dW])

    settings = {"dtype": "float64", "callbacks": see, "alpha": 0.1}
    classifier = fitted((X, y), hidden_layer_sizes=(20, 10), **settings)
    history = classifier.history_
    assert {len(history[name]) for name in RECORDED} == {8}
    assert_allclose(history["gradient_norm"], records)
    assert_allclose(
        history["weight_norm"], [[np.linalg.norm(W) for W in layers] for layers in weights]
    )
    updates = [
        [np.linalg.norm(after - before) for before, after in zip(*pair, strict=True)]
        for pair in itertools.pairwise(weights)
    ]
    assert_allclose(history["update_norm"][1:], updates)
    assert all(len(shares) == 2 for shares in history["dead_units"])


def test_dead_and_saturated_units(digits):
    X, _ = digits
    classifier = fitted(digits, hidden_layer_sizes=(20, 20), activation=["relu", "tanh"])
    first, second = (classifier.activations(X[::2], layer=l) for l in (0, 1))
    assert_allclose(classifier.history_["dead_units"][-1], [np.mean(~first.any(axis=0)), 0])
    assert_allclose(classifier.history_["saturated_units"][-1], [0, np.mean(abs(second) > 0.99)])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_recording_changes_nothing_else(digits, solver):
    pair = [fitted(digits, solver=solver, diagnostics=flag) for flag in (False, True)]
    assert pair[0].loss_ == pair[1].loss_
    assert not set(RECORDED) & set(pair[0].history_)
    assert set(RECORDED) <= set(pair[1].history_)


def test_epochs_without_diagnostics_are_nan(digits):
    X, y = digits
    classifier = fitted(digits, diagnostics=False, warm_start=True, max_iter=2)
    classifier.set_params(diagnostics=True).fit(X, y)
    classifier.set_params(diagnostics=False).fit(X, y)
    norms = np.array(classifier.history_["gradient_norm"])
    assert np.isnan(norms).all(axis=1).tolist() == [True, True, False, False, True, True]
    assert isinstance(diagnose(classifier), Diagnosis)


def test_sparse_rows_are_probed_alike(digits):
    X, y = digits
    norms = [
        fitted((rows, y), solver="sgd").history_["gradient_norm"] for rows in (X, csr_array(X))
    ]
    assert_allclose(*norms, rtol=1e-3)


def test_rows_without_weight_are_not_probed(digits):
    X, y = digits
    weight = np.arange(len(X)) % 2  # of all rows every second would be taken: those of weight 0
    classifier = MLPClassifier((20,), diagnostics=True, max_iter=3, random_state=0)
    classifier.fit(np.where(weight[:, np.newaxis], X, 0), y, weight)
    assert np.isfinite(classifier.history_["gradient_norm"]).all()
    a = classifier.activations(X[weight == 1], layer=0)
    assert_allclose(classifier.history_["dead_units"][-1], [np.mean(~a.any(axis=0))])


# diagnose -----------------------------------------------------------------------------------------

SICK = {
    "vanishing gradients": dict(hidden_layer_sizes=[30] * 6, activation="logistic", max_iter=20),
    "exploding gradients": dict(
        hidden_layer_sizes=[30] * 6, init=lambda shape, rs: rs.standard_normal(shape)
    ),
    "dead units": dict(hidden_layer_sizes=[30] * 3, learning_rate_init=1.0),
    "saturated units": dict(activation="tanh", scale=20.0),
    "learning rate too high": dict(
        solver="sgd", learning_rate_init=2.0, momentum=0.99, max_iter=20, activation="tanh"
    ),
    "learning rate too low": dict(learning_rate_init=1e-6),
    "unscaled features": dict(scale=np.r_[1e4, np.ones(63) * 1e4]),
    "no gradients": dict(diagnostics=False),
}


@pytest.mark.parametrize("name", SICK)
def test_diagnose_sees(digits, name):
    diagnosis = diagnose(fitted(digits, **SICK[name]))
    assert name in [finding.name for finding in diagnosis]
    assert f"{name}: " in str(diagnosis)
    assert "Try " in str(diagnosis)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "silu"])
def test_nothing_stands_out_in_a_healthy_fit(digits, activation):
    healthy = fitted(digits, activation=activation, max_iter=150, learning_rate_init=3e-3)
    assert str(diagnose(healthy)) == "Nothing stands out."


def names_of(estimator):
    return {finding.name for finding in diagnose(estimator)}


@pytest.mark.filterwarnings("ignore:y. the mean or standard deviation")
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile", "gamma"])
def test_diagnose_sees_the_scale_of_y(loss):
    X = np.random.RandomState(0).standard_normal((100, 3))
    y = 500.0 + X[:, 0]
    regressor = MLPRegressor(loss, max_iter=3, random_state=0)
    assert ("unscaled targets" in names_of(regressor.fit(X, y))) == (loss != "gamma")
    assert "unscaled targets" not in names_of(regressor.fit(X, y / 500))
    assert "unscaled targets" not in names_of(MLPClassifier(max_iter=3).fit(X, y > 500))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("diagnostics", [False, True])
def test_diagnose_sees_overfitting(solver, diagnostics):
    """Noise is learned by heart."""
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((100, 10)), rng.randint(0, 2, 100)
    settings = dict(solver=solver, diagnostics=diagnostics, random_state=0, learning_rate_init=0.01)
    classifier = MLPClassifier(max_iter=60, **settings)
    classifier.fit(X[:50], y[:50], X_val=X[50:], y_val=y[50:])
    assert "overfitting" in names_of(classifier)
    assert "early_stopping=True" in str(diagnose(classifier))
    classifier.fit(X[:50], y[:50], X_val=X[:50], y_val=y[:50])
    assert "overfitting" not in names_of(classifier)


FALLING, RISING = np.linspace(1, 0.1, 10), np.linspace(0.1, 1, 10)
SLOPES = {
    "vanishing": np.tile([1e-6, 1e-3, 1e2], (10, 1)),
    "exploding": np.tile([1e2, 1.0, 1e-3], (10, 1)),
    "large": np.full((10, 3), 1e5),
    "good": np.ones((10, 3)),
}


@pytest.mark.parametrize("val_loss", [FALLING, RISING, None])
@pytest.mark.parametrize("loss", [FALLING, RISING])
@pytest.mark.parametrize("dead", [0.0, 1.0])
@pytest.mark.parametrize("slopes", [*SLOPES, None])
def test_diagnose_never_gives_opposite_advice(slopes, dead, loss, val_loss):
    X = np.random.RandomState(0).standard_normal((30, 3))
    classifier = MLPClassifier((5, 5), max_iter=1, random_state=0).fit(X, X[:, 0] > 0)
    history = {"loss": loss.tolist()}
    if val_loss is not None:
        history["val_loss"] = val_loss.tolist()
    if slopes is not None:
        history["gradient_norm"] = SLOPES[slopes]
        history["weight_norm"] = np.ones((10, 3))
        history["dead_units"], history["saturated_units"] = np.full((2, 10, 2), dead)
    classifier.history_ = history
    advice, names = str(diagnose(classifier)), names_of(classifier)
    opposites = [
        ("a lower learning_rate_init", "a higher learning_rate_init"),
        ("early_stopping", "a larger max_iter"),
        ("leaky_relu", "'relu'"),
        ("vanishing", "exploding"),
    ]
    for this, that in opposites:
        assert not (this in advice and that in advice)
    assert ("learning rate too high" in names) == (loss is RISING)
    only_rate = val_loss is not RISING and slopes in ("good", "vanishing", None)
    is_dead = dead and slopes is not None
    assert ("learning rate too low" in names) == (loss is FALLING and only_rate and not is_dead)


def with_history(digits, **columns):
    """An estimator that has seen these numbers, a row of them for each epoch."""
    classifier = fitted(digits, max_iter=3, hidden_layer_sizes=(5,))
    classifier.history_.update(columns)
    return [finding.name for finding in diagnose(classifier)]


def test_diagnose_looks_at_the_last_epoch(digits):
    for name, column in (("dead units", "dead_units"), ("saturated units", "saturated_units")):
        assert name in with_history(digits, **{column: [(0.0,), (0.0,), (0.9,)]})
        assert name not in with_history(digits, **{column: [(0.9,), (0.0,), (0.0,)]})


def test_diagnose_sees_a_loss_that_creeps_up(digits):
    """By less in an epoch than what counts as a rise."""
    creeps = 1.01 ** np.arange(20)
    assert "learning rate too high" in with_history(digits, loss=creeps.tolist())
    assert "learning rate too high" not in with_history(digits, loss=creeps[::-1].tolist())


def test_diagnose_refuses():
    with pytest.raises(TypeError, match="estimator must be an MLPClassifier or MLPRegressor"):
        diagnose("a network")
    with pytest.raises(NotFittedError):
        diagnose(MLPClassifier())
    with pytest.raises(NotFittedError, match="no epoch yet"):
        diagnose(MLPClassifier().initialize(3, [0, 1]))


# check_gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_check_gradients(activation):
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 2))
    regressor = MLPRegressor(hidden_layer_sizes=(5, 6), activation=activation, random_state=1)
    check = check_gradients(regressor, X, y, n_parameters=1000)
    assert check.error < 1e-4
    assert check.n_checked == 4 * 5 + 5 + 5 * 6 + 6 + 6 * 2 + 2


def test_check_gradients_sees_an_error(digits, monkeypatch):
    X, y = digits
    classifier = fitted(digits, max_iter=2)
    passes = type(classifier._network.passes)
    right = passes.full_gradient

    def wrong(self, data, gradient, *penalties):
        loss = right(self, data, gradient, *penalties)
        gradient[self.parameters.layers["b"][2]] += 1e-3
        return loss

    monkeypatch.setattr(passes, "full_gradient", wrong)
    check = check_gradients(classifier, X[:50], y[:50], n_parameters=10**6)
    assert check.where == "intercepts_[1][0]"
    assert check.error > 0.01


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_check_gradients_looks_at_the_network_that_was_fitted(dtype):
    """The derivative that it names is that of the network's own loss, by way of every gain."""
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((50, 4)), rng.randint(0, 3, 50)
    options = {"layer_norm": True, "dtype": dtype, "random_state": 0, "max_iter": 3}
    classifier = MLPClassifier((5,), activation="tanh", **options).fit(X, y)
    gradients = classifier._network.loss_and_gradients(X, y, alpha=classifier.alpha)
    for seed in range(5):
        check = check_gradients(classifier, X, y, n_parameters=1, random_state=seed)
        name, l, *place = re.match(r"(\w+)\[(\d+)\]\[(\d+)(?:, (\d+))?", check.where).groups()
        if name == "norms_":
            continue
        of_layer = {"coefs_": gradients.dW, "intercepts_": gradients.db}[name][int(l)]
        expected = of_layer[tuple(int(i) for i in place if i is not None)]
        of_float32 = dtype == "float32"
        tolerance = {"rtol": 1e-4, "atol": 1e-7} if of_float32 else {"rtol": 1e-6, "atol": 1e-12}
        assert_allclose(check.derivative, expected, **tolerance)
        assert_allclose(check.difference, expected, rtol=1e-4, atol=1e-7 if of_float32 else 1e-9)


def test_check_gradients_leaves_the_estimator_alone(digits):
    X, y = digits
    random_state = np.random.RandomState(0)
    check_gradients(MLPClassifier(random_state=random_state), X[:50], y[:50])
    assert random_state.randint(10**6) == np.random.RandomState(0).randint(10**6)
    classifier = fitted(digits, max_iter=2)
    before = [W.copy() for W in classifier.coefs_]
    check_gradients(classifier, X[:50], y[:50])
    assert all(map(np.array_equal, before, classifier.coefs_))
    unfitted = MLPClassifier()
    check_gradients(unfitted, X[:50], y[:50])
    assert vars(unfitted) == vars(MLPClassifier())


@pytest.mark.parametrize(
    "options",
    [dict(step=0), dict(step=np.nan), dict(step="a"), dict(n_parameters=0), dict(n_parameters=2.5)],
)
def test_check_gradients_refuses(digits, options):
    with pytest.raises(ValueError, match=r"(step|n_parameters) must be a"):
        check_gradients(MLPClassifier(), *digits, **options)


class Another(BaseEstimator):
    """An estimator of another class that has what is asked for."""

    solver, early_stopping, diagnostics, alpha, l1 = "adam", False, True, 0.1, 0.0

    def fit(self, X, y):
        self.history_ = {"loss": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "learning_rate": [1e-3] * 6}
        self.coefs_ = [np.ones((4, 3)), np.ones((3, 1))]
        return self

    def __float64_network__(self, X, y, sample_weight):
        network = Network([2, 3, 1], "tanh", dtype="float64", random_state=0)
        return network, check_data(X, y, sample_weight, network)


def test_estimators_of_other_classes_are_asked_for_what_is_needed():
    other = Another().fit(None, None)
    assert next(finding.name for finding in diagnose(other)) == "learning rate too high"
    assert check_gradients(other, np.ones((5, 2)), np.ones(5)).error < 1e-5
    with pytest.raises(TypeError, match="another with __float64_network__"):
        check_gradients(Ridge(), np.ones((5, 2)), np.ones(5))
    with pytest.raises(TypeError, match=r"another with fit, solver, diagnostics .* got Ridge\(\)"):
        diagnose(Ridge().fit(np.ones((5, 2)), np.ones(5)))


def test_a_unit_with_a_learned_activation_is_dead_if_its_mix_is_one():
    """Below 0, a relu unit with another mix passes a part of z on."""
    X = np.abs(np.random.RandomState(0).standard_normal((60, 3)))
    options = {"hidden_layer_sizes": (4,), "learned_activation": True, "random_state": 0}
    classifier = MLPClassifier(**options, diagnostics=True, warm_start=True, max_iter=1)
    classifier.set_params(learning_rate_init=1e-9).initialize(3, [0, 1])
    classifier.coefs_ = [-np.ones((3, 4)), np.ones((4, 1))]
    classifier.intercepts_ = [np.zeros(4), np.zeros(1)]
    classifier.mixes_[0][...] = [1, 1, 0.5, 1.5]
    rate_of_mix = {"activation": 0}
    with pytest.warns(ConvergenceWarning):
        classifier.set_params(learning_rate_factors=rate_of_mix).fit(X, np.arange(60) % 2)
    active = classifier.activations(X, 0)
    assert (active == 0).all(axis=0).tolist() == [True, True, False, False]
    assert classifier.history_["dead_units"][-1] == (0.5,)
