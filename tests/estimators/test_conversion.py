"""Conversion from and to scikit-learn's estimators: the same outputs, and the same next steps."""

import numpy as np
import pytest
import sklearn.neural_network
from numpy.testing import assert_allclose, assert_array_equal
from problems import OLD, make_task
from sklearn.exceptions import NotFittedError

from fastmlp import InputLayer, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TASKS = ["binary", "multiclass", "multilabel", "squared_error", "squared_error of 3"]
SOLVERS = {
    "adam": {"solver": "adam"},
    "sgd": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
    "momentum": {"solver": "sgd", "learning_rate": "adaptive", "nesterovs_momentum": False},
    "lbfgs": {"solver": "lbfgs"},
    "early": {"early_stopping": True},
}
COMMON = {"hidden_layer_sizes": (7, 5), "random_state": 0, "max_iter": 12, "alpha": 0.01}


def classes_of(task):
    is_classifier = task in ("binary", "multiclass", "multilabel")
    name = "MLPClassifier" if is_classifier else "MLPRegressor"
    ours = MLPClassifier if is_classifier else MLPRegressor
    return ours, getattr(sklearn.neural_network, name)


def outputs(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def assert_same(ours, theirs, X):
    assert_allclose(outputs(ours, X), outputs(theirs, X), rtol=1e-10, atol=1e-13)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.loss_ == theirs.loss_
    for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
        assert getattr(ours, name, None) == getattr(theirs, name, None), name


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("task", TASKS)
def test_there_and_back(task, solver, activation):
    if (task, solver) == ("binary", "early") and OLD:
        pytest.skip("scikit-learn before 1.9 fails with early stopping and labels of two strings")
    X, y, _ = make_task(task)
    ours_class, their_class = classes_of(task)
    theirs = their_class(**COMMON, **SOLVERS[solver], activation=activation).fit(X, y)
    ours = ours_class.from_sklearn(theirs)
    assert_same(ours, theirs, X)
    back = ours.to_sklearn()
    assert type(back) is their_class
    assert back.get_params() == theirs.get_params()
    assert_same(ours, back, X)
    assert_array_equal(back.predict(X), theirs.predict(X))
    if hasattr(theirs, "classes_"):
        assert_array_equal(back.classes_, theirs.classes_)
        assert ours.score(X, y) == theirs.score(X, y)


@pytest.mark.parametrize("solver", ["adam", "sgd", "momentum"])
@pytest.mark.parametrize("task", TASKS)
def test_the_training_goes_on(task, solver):
    """After a conversion in either direction, the next passes are those of the original."""
    X, y, _ = make_task(task)
    ours_class, their_class = classes_of(task)
    options = COMMON | SOLVERS[solver] | {"shuffle": False}
    theirs = their_class(**options).fit(X, y)
    ours = ours_class.from_sklearn(theirs)
    for _ in range(3):
        ours.partial_fit(X, y)
        theirs.partial_fit(X, y)
    if task != "squared_error of 3":  # scikit-learn's is divided by the number of outputs
        assert_allclose(ours.loss_, theirs.loss_, rtol=1e-9)
    assert_allclose(outputs(ours, X), outputs(theirs, X), rtol=1e-7, atol=1e-10)
    back = ours.to_sklearn()
    for _ in range(3):
        back.partial_fit(X, y)
        ours.partial_fit(X, y)
    assert_allclose(outputs(ours, X), outputs(back, X), rtol=1e-7, atol=1e-10)
    assert len(ours.history_["loss"]) == len(ours.loss_curve_) == len(back.loss_curve_)


def test_copies_are_independent():
    X, y, _ = make_task("multiclass")
    theirs = sklearn.neural_network.MLPClassifier(**COMMON).fit(X, y)
    expected = theirs.predict_proba(X)
    ours = MLPClassifier.from_sklearn(theirs)
    ours.coefs_[0][...] = 0
    ours.partial_fit(X, y)
    back = ours.to_sklearn()
    back.coefs_[0] += 1
    back.partial_fit(X, y)
    assert_array_equal(theirs.predict_proba(X), expected)
    assert (ours.coefs_[0] != back.coefs_[0]).all()


def test_names_and_float32():
    pandas = pytest.importorskip("pandas")
    X, y, _ = make_task("binary")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    theirs = sklearn.neural_network.MLPClassifier(**COMMON).fit(frame, y)
    ours = MLPClassifier.from_sklearn(theirs)
    assert_array_equal(ours.feature_names_in_, theirs.feature_names_in_)
    assert_array_equal(ours.to_sklearn().feature_names_in_, list("abcdef"))
    with pytest.raises(ValueError, match="feature names"):
        ours.predict(frame[list("abcdfe")])
    narrow = sklearn.neural_network.MLPClassifier(**COMMON).fit(X.astype(np.float32), y)
    ours = MLPClassifier.from_sklearn(narrow)
    assert ours.coefs_[0].dtype == np.float32
    assert_allclose(ours.predict_proba(X), narrow.predict_proba(X), atol=1e-5)


def test_a_fit_of_ours_becomes_one_of_theirs():
    X, y, _ = make_task("multiclass")
    ours = MLPClassifier(**COMMON, n_threads=1, diagnostics=True, init="he_normal").fit(X, y)
    theirs = ours.set_params(activation="relu").to_sklearn()
    assert_allclose(theirs.predict_proba(X), ours.predict_proba(X), atol=1e-5)
    assert theirs.partial_fit(X, y).t_ == ours.t_ + len(X)
    several = MLPClassifier(**COMMON | {"activation": ["tanh", "tanh"]}).fit(X, y)
    assert several.to_sklearn().activation == "tanh"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layer_norm": True}, "has no layer_norm=True"),
        ({"residual": True, "dropout": 0.2}, "has no dropout=0.2, residual=True"),
        ({"activation": "gelu"}, "'activation' parameter.*Got 'gelu'"),
        ({"activation": ["relu", "tanh"]}, r"activation=\('relu', 'tanh'\)"),
        ({"solver": "adamw"}, "'solver' parameter.*Got 'adamw'"),
        ({"learning_rate": "cosine"}, "'learning_rate' parameter"),
        ({"learned_activation": True}, "has no learned_activation=True"),
        ({"class_weight": "balanced"}, "has no class_weight='balanced'"),
    ],
    ids=str,
)
def test_what_has_no_counterpart(parameters, message):
    X, y, _ = make_task("binary")
    model = MLPClassifier(**COMMON | parameters).fit(X, y)
    with pytest.raises(ValueError, match=message):
        model.to_sklearn()


@pytest.mark.parametrize(
    "parameters",
    [
        {"layer_norm": True}, {"residual": True}, {"learned_activation": True},
        {"input_layer": InputLayer(numeric_embedding="cosine")}, {"activation": ["relu", "tanh"]},
        {"loss": "squared_error"},
    ],
    ids=str,
)  # fmt: skip
def test_the_network_counts_and_not_its_parameters(parameters):
    """Parameters that are set back after the fit do not change the network."""
    X, y, _ = make_task("binary")
    model = MLPClassifier(**COMMON | parameters).fit(X, y)
    defaults = {name: MLPClassifier().get_params()[name] for name in parameters}
    with pytest.raises(ValueError, match="has no network with"):
        model.set_params(**defaults).to_sklearn()


def test_quantiles_are_no_squared_error():
    X, y, _ = make_task("squared_error")
    model = MLPRegressor("quantile", **COMMON, loss_params={"quantiles": [0.1, 0.9]}).fit(X, y)
    with pytest.raises(ValueError, match=r"has no loss_params=.*network with loss='quantile'"):
        model.set_params(loss="squared_error").to_sklearn()


def test_what_only_the_training_needed_can_be_set_back():
    X, y, _ = make_task("binary")
    model = MLPClassifier(**COMMON, dropout=0.2, solver="adamw", dtype="float64").fit(X, y)
    theirs = model.set_params(dropout=0.0, solver="adam").to_sklearn()
    assert_allclose(theirs.predict_proba(X), model.predict_proba(X), rtol=1e-10)


def test_what_cannot_be_converted():
    X, y, _ = make_task("binary")
    theirs = sklearn.neural_network.MLPClassifier(**COMMON)
    with pytest.raises(NotFittedError):
        MLPClassifier.from_sklearn(theirs)
    with pytest.raises(NotFittedError):
        MLPClassifier().to_sklearn()
    with pytest.raises(TypeError, match=r"must be a sklearn.*MLPRegressor, got MLPClassifier"):
        MLPRegressor.from_sklearn(theirs.fit(X, y))
    with pytest.raises(TypeError, match="mlp must be"):
        MLPClassifier.from_sklearn(None)
