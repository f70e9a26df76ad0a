"""A drop-in for scikit-learn: its checks, its own tests of the estimators, and its tools."""

import importlib.resources
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from unittest import SkipTest

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.fixes import parse_version

from fastmlp import MLPClassifier, MLPRegressor, _core

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)

needs_newest = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"),
    reason="the checks and tests are those of scikit-learn 1.9",
)

CHECKED = [
    estimator(**parameters)
    for estimator in (MLPClassifier, MLPRegressor)
    for parameters in (
        {"dtype": "float64", "max_iter": 20},
        {"dtype": "float64", "max_iter": 20, "solver": "sgd", "learning_rate_init": 0.01},
        {"max_iter": 20, "solver": "lbfgs"},
        {"max_iter": 20, "solver": "lbfgs", "hidden_layer_sizes": ()},
        # Many of the checks expect a second fit to give what the first has given: here the first
        # has converged.
        {"warm_start": True, "max_iter": 1000, "solver": "lbfgs", "tol": 0.01, "alpha": 1.0},
    )
]

# One check (it has a twin for sparse rows) asks that a row of weight 2 counts to seven digits like
# two rows. That is no property of float32, nor of a part of the rows chosen at random; what is in
# its place: `test_weights_are_repeated_rows`.
WITHOUT_REPEATED_ROWS = [
    estimator(max_iter=20, learning_rate_init=0.05, **parameters)
    for estimator in (MLPClassifier, MLPRegressor)
    for parameters in (
        {},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"early_stopping": True, "validation_fraction": 0.3, "solver": "sgd", "dtype": "float64"},
    )
]


ignore_small_and_unscaled = pytest.mark.filterwarnings(
    "ignore:X has .* unscaled column:UserWarning",
    "ignore:.*the mean or standard deviation is beyond:UserWarning",
    "ignore:Training has diverged:RuntimeWarning",
    "ignore:Got `batch_size`:UserWarning",
)


@needs_newest
@parametrize_with_checks(CHECKED)
@ignore_small_and_unscaled
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


@needs_newest
@pytest.mark.parametrize("estimator", WITHOUT_REPEATED_ROWS, ids=str)
@ignore_small_and_unscaled
def test_checks_but_that_of_repeated_rows(estimator):
    for checked, check in estimator_checks_generator(estimator):
        if "sample_weight_equivalence" not in check.func.__name__:
            with suppress(SkipTest):
                check(checked)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-7), ("float32", 1e-4)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.filterwarnings("ignore:Got `batch_size`:UserWarning")  # one, whatever its rows
def test_weights_are_repeated_rows(estimator, early_stopping, dtype, tolerance):
    """With validation rows of one's own also under early stopping."""
    rng = np.random.RandomState(0)
    rows, weight = rng.permutation(150)[:60], rng.randint(0, 5, 60)
    own = {"X_val": X[::4], "y_val": Y[::4]} if early_stopping else {}
    weighted, repeated = (
        estimator(early_stopping=early_stopping, dtype=dtype, max_iter=20, batch_size=200,
                  random_state=0, learning_rate_init=0.01)
        for _ in range(2)
    )  # fmt: skip
    weighted.fit(X[rows], Y[rows], sample_weight=weight, **own)
    repeated.fit(X[rows.repeat(weight)], Y[rows.repeat(weight)], **own)
    method = "predict_proba" if estimator is MLPClassifier else "predict"
    got, expected = (getattr(fitted, method)(X) for fitted in (weighted, repeated))
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


# Those of scikit-learn's tests that look at its private names (_optimizer and the like)
PRIVATE = {
    "test_fit",
    "test_gradient",
    "test_learning_rate_warmstart",
    "test_adaptive_learning_rate",
    "test_n_iter_no_change",
    "test_n_iter_no_change_inf",
}
# Those that expect float64 arithmetic for float64 rows, where the default here is float32
FLOAT64 = {
    "test_nonfinite_params",
    "test_mlp_param_dtypes[MLPClassifier-float64]",
    "test_mlp_param_dtypes[MLPRegressor-float64]",
    "test_partial_fit_regression",
}

IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
OURS = "from fastmlp import MLPClassifier, MLPRegressor\n"
OURS_IN_FLOAT64 = """
import fastmlp
from sklearn.base import clone

def in_float64(estimator):
    def make(*args, **parameters):
        return estimator(*args, **{"dtype": "float64"} | parameters)
    make.__name__ = estimator.__name__
    return make

MLPClassifier, MLPRegressor = in_float64(fastmlp.MLPClassifier), in_float64(fastmlp.MLPRegressor)
"""


def run_tests_of_scikit_learn(folder, replacement, but):
    source = importlib.resources.files("sklearn.neural_network.tests") / "test_mlp.py"
    text = source.read_text(encoding="utf-8")
    assert IMPORT in text
    path = folder / "test_mlp.py"
    path.write_text(text.replace(IMPORT, replacement), encoding="utf-8")
    (folder / "conftest.py").write_text(
        "import pytest\n@pytest.fixture\ndef global_random_seed():\n    return 42\n"
    )
    deselected = [f"--deselect={path.name}::{name}" for name in but]
    shown = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
            *(path.name, *deselected),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stdout[-5000:]


@needs_newest
def test_scikit_learns_own_tests(tmp_path):
    run_tests_of_scikit_learn(tmp_path, OURS, PRIVATE | FLOAT64)


@needs_newest
def test_scikit_learns_own_tests_in_float64(tmp_path):
    float32_only = {
        "test_mlp_param_dtypes[MLPClassifier-float32]",
        "test_mlp_param_dtypes[MLPRegressor-float32]",
    }
    run_tests_of_scikit_learn(tmp_path, OURS_IN_FLOAT64, PRIVATE | float32_only)


def test_tags():
    assert get_tags(MLPClassifier()).input_tags.sparse
    assert get_tags(MLPClassifier()).classifier_tags.multi_label
    assert get_tags(MLPRegressor()).input_tags.sparse


def test_representations():
    classifier = MLPClassifier(max_iter=2).fit(X, Y)
    assert repr(classifier) == "MLPClassifier(max_iter=2)"
    assert "MLPClassifier" in classifier._repr_html_()


@pytest.mark.parametrize("search", [GridSearchCV, HalvingGridSearchCV])
def test_searches(search):
    grid = {"mlpclassifier__hidden_layer_sizes": [(5,), (20,)], "mlpclassifier__alpha": [0, 1]}
    pipeline = make_pipeline(
        StandardScaler(), MLPClassifier(learning_rate_init=0.02, max_iter=50, random_state=0)
    )
    options = {"random_state": 0} if search is HalvingGridSearchCV else {}
    found = search(pipeline, grid, cv=2, **options).fit(X, Y)
    assert found.best_score_ > 0.8


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_cross_validation_in_parallel_is_the_same(backend):
    estimator = MLPClassifier(max_iter=10, random_state=0)
    alone = cross_val_score(estimator, X, Y, cv=4)
    with parallel_config(backend=backend, n_jobs=2):
        assert (cross_val_score(estimator, X, Y, cv=4) == alone).all()


def test_a_fit_releases_the_gil(monkeypatch):
    """Another thread of Python runs while a single call of the core goes over a whole epoch."""
    began, ended, train = threading.Event(), threading.Event(), _core.train

    def watched(*arguments):
        began.set()
        train(*arguments)
        ended.set()

    monkeypatch.setattr(_core, "train", watched)
    monkeypatch.setattr("fastmlp._training.descent.SECONDS_IN_CORE", 1e9)
    rows = np.random.RandomState(0).standard_normal((30_000, 100))
    regressor = MLPRegressor(hidden_layer_sizes=(500, 500), max_iter=1, n_threads=1)
    fit = threading.Thread(target=regressor.fit, args=(rows, rows[:, 0]))
    fit.start()
    began.wait()
    time.sleep(0.01)  # would last until the core has ended
    was_running = not ended.is_set()
    fit.join()
    assert was_running


def test_concurrent_fits_agree():
    def fit(seed):
        return MLPClassifier(max_iter=20, random_state=seed).fit(X, Y).predict_proba(X).tobytes()

    alone = [fit(seed) for seed in range(6)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fit, range(6))) == alone


def test_metadata_routing():
    weight = np.random.RandomState(0).uniform(size=len(Y))
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = MLPClassifier(max_iter=3, random_state=0)
        estimator.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        routed = cross_validate(
            estimator, X, Y, params={"sample_weight": weight}, cv=2, return_estimator=True
        )
    rows = np.concatenate([np.flatnonzero(Y == k)[len(Y) // 6 :] for k in range(3)])
    by_hand = MLPClassifier(max_iter=3, random_state=0)
    by_hand.fit(X[np.sort(rows)], Y[np.sort(rows)], sample_weight=weight[np.sort(rows)])
    assert (routed["estimator"][0].coefs_[0] == by_hand.coefs_[0]).all()


def test_feature_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    classifier = MLPClassifier(max_iter=2, early_stopping=True).fit(frame, Y)
    assert classifier.feature_names_in_.tolist() == list("abcd")
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        classifier.predict(X)
    with pytest.raises(ValueError, match="feature names should match"):
        classifier.predict(frame[["b", "a", "c", "d"]])


def test_clone_and_pickle_of_all_parameters():
    classifier = MLPClassifier(class_weight="balanced", scoring="f1_macro", max_seconds=5)
    assert clone(classifier).get_params() == classifier.get_params()
    assert pickle.loads(pickle.dumps(classifier)).get_params() == classifier.get_params()
