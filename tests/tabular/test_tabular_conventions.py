"""The estimators for tables among scikit-learn's tools, and on tables of every kind."""

import copy
import pickle
from contextlib import suppress
from unittest import SkipTest

import numpy as np
import pytest
import scipy.sparse
import sklearn
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.fixes import parse_version

from fastmlp import TabularMLPClassifier, TabularMLPRegressor

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

N_ROWS = 60
RNG = np.random.RandomState(0)
X = RNG.standard_normal((N_ROWS, 3))
COLUMNS = {
    "a": X[:, 0],
    "b": np.where(X[:, 1] > 0, "u", "v"),
    "c": [None if value > 1 else value for value in X[:, 2]],
}
FRAME = pd.DataFrame(COLUMNS)
CLASSES = (X[:, 0] > 0).astype(int)
LABELS = np.where(CLASSES, "yes", "no")
TARGETS = X[:, 0] + (X[:, 1] > 0)
Y = {TabularMLPClassifier: CLASSES, TabularMLPRegressor: TARGETS}
both = pytest.mark.parametrize("estimator", [TabularMLPClassifier, TabularMLPRegressor])


def made(estimator, **parameters):
    return estimator(**{"n_members": 2, "random_state": 0} | parameters)


def output(model, X):
    return model.predict_proba(X) if hasattr(model, "classes_") else model.predict(X)


# scikit-learn ------------------------------------------------------------------------------------


# A row of weight 2 is not like two rows where some of the rows are set aside at random, and the
# others are trained on in mini-batches.
CHECKS = [
    pytest.param(checked, check, id=f"{type(checked).__name__}-{check.func.__name__}")
    for estimator in (TabularMLPClassifier, TabularMLPRegressor)
    for checked, check in estimator_checks_generator(estimator(n_members=2))
    if "sample_weight_equivalence" not in check.func.__name__
]


@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"),
    reason="the checks are those of scikit-learn 1.9",
)
@pytest.mark.parametrize(("checked", "check"), CHECKS)
def test_checks_of_scikit_learn(checked, check):
    with suppress(SkipTest):
        check(checked)


@both
def test_clone_and_pickle(estimator):
    settings = {"metric": "r2", "cv": 3, "max_seconds": 60.0, "categorical_features": [0]}
    model = made(
        estimator,
        **settings | ({"metric": "accuracy"} if hasattr(estimator, "predict_proba") else {}),
    )
    assert clone(model).get_params() == model.get_params()
    model.fit(X.round(), Y[estimator])
    expected = output(model, X.round()).tobytes()
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert output(twin, X.round()).tobytes() == expected
        assert twin.get_params() == model.get_params()
        assert twin.leaderboard_ == model.leaderboard_
    assert not hasattr(clone(model), "leaderboard_")


def test_pipeline_search_and_cross_validation():
    pipeline = make_pipeline(FunctionTransformer(), made(TabularMLPClassifier))
    search = GridSearchCV(
        pipeline, {"tabularmlpclassifier__n_members": [1, 3]}, cv=2, n_jobs=2, error_score="raise"
    ).fit(FRAME, LABELS)
    assert search.best_score_ > 0.8
    assert set(search.predict(FRAME)) == {"yes", "no"}
    alone = cross_val_score(made(TabularMLPRegressor), FRAME, TARGETS, cv=3)
    for backend in ("loky", "threading"):
        with parallel_config(backend=backend, n_jobs=2):
            side_by_side = cross_val_score(made(TabularMLPRegressor), FRAME, TARGETS, cv=3)
        assert_array_equal(side_by_side, alone)


@both
def test_metadata_routing(estimator):
    weight = RNG.uniform(size=N_ROWS)
    with sklearn.config_context(enable_metadata_routing=True):
        model = made(estimator).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        folds = [(np.arange(40), np.arange(40, N_ROWS))]
        routed = cross_validate(
            model, FRAME, Y[estimator], params={"sample_weight": weight}, cv=folds,
            return_estimator=True,
        )  # fmt: skip
    by_hand = made(estimator).fit(FRAME[:40], Y[estimator][:40], weight[:40])
    assert output(routed["estimator"][0], FRAME).tobytes() == output(by_hand, FRAME).tobytes()
    score = by_hand.score(FRAME[40:], Y[estimator][40:], weight[40:])
    assert_array_equal(routed["test_score"], [score])


@both
def test_permutation_importances_of_a_table(estimator):
    y = np.where(FRAME["b"] == "u", 1, 0)
    model = made(estimator).fit(FRAME, y)
    found = permutation_importance(model, FRAME, y, n_repeats=3, random_state=0, n_jobs=1)
    assert found.importances_mean.argmax() == 1
    assert found.importances_mean[1] > 0.2


@both
def test_feature_names(estimator):
    model = made(estimator).fit(FRAME, Y[estimator])
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert model.n_features_in_ == 3
    shuffled = FRAME[["c", "a", "b"]]
    assert output(model, shuffled).tobytes() == output(model, FRAME).tobytes()
    model.fit(X, Y[estimator])
    assert not hasattr(model, "feature_names_in_")


@both
def test_random_state_as_an_object(estimator):
    state = np.random.RandomState(3)
    model = made(estimator, random_state=state).fit(FRAME, Y[estimator])
    expected = output(
        made(estimator, random_state=np.random.RandomState(3)).fit(FRAME, Y[estimator]), FRAME
    )
    assert_array_equal(output(model, FRAME), expected)


# Tables of every kind ----------------------------------------------------------------------------


@both
def test_libraries_of_frames_give_the_same_bits(estimator):
    frames = [FRAME, pl.DataFrame(COLUMNS), pa.table(COLUMNS)]
    targets = [pd.Series, pl.Series, pa.array]
    outputs = []
    for frame, of in zip(frames, targets, strict=True):
        model = made(estimator).fit(frame, of(Y[estimator]))
        outputs += [output(model, other).tobytes() for other in frames]
    assert len(set(outputs)) == 1


@both
@pytest.mark.parametrize(
    "convert",
    [
        scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_matrix, np.asfortranarray,
        lambda X: X.astype(object), lambda X: X.tolist(), lambda X: X.astype(np.int8),
        lambda X: X.astype(np.float16), lambda X: X.astype(">f4"),
    ],
    ids=["csr", "csc", "coo", "Fortran", "object", "lists", "int8", "float16", "big-endian"],
)  # fmt: skip
def test_arrays_of_any_type(estimator, convert):
    small = (4 * X).round()
    model = made(estimator).fit(small, Y[estimator])
    other = made(estimator).fit(convert(small), Y[estimator])
    assert output(other, small).tobytes() == output(model, convert(small)).tobytes()


@both
@pytest.mark.parametrize(
    "table",
    [
        np.full((N_ROWS, 2), np.nan),
        np.zeros((N_ROWS, 2)),
        pd.DataFrame({"only": [None] * N_ROWS}),
        pd.DataFrame({"only": ["one"] * N_ROWS}),
    ],
    ids=["missing", "zeros", "None", "a string"],
)
def test_tables_that_tell_nothing(estimator, table):
    """All rows have one prediction."""
    model = made(estimator).fit(table, Y[estimator])
    outputs = output(model, table)
    assert_array_equal(outputs, np.broadcast_to(outputs[0], outputs.shape))
    if estimator is TabularMLPClassifier:
        assert_allclose(outputs[0, 1], CLASSES.mean(), atol=0.2)


@both
@pytest.mark.parametrize(
    "table",
    [
        np.where(np.abs(X) > 0.7, np.copysign(np.inf, X), X),
        X * 1e300,
        np.uint64(2**63) + 2**20 * (X > 0).astype(np.uint64),
        RNG.standard_normal((N_ROWS, 300)) + X[:, :1],
        pd.DataFrame({"b": np.where(CLASSES, "p", "q")}),
        pd.DataFrame({"d": pd.to_datetime("2024-01-29") + pd.to_timedelta(X[:, 0] * 1e4, "h")}),
        pd.DataFrame({"flag": CLASSES > 0, "a": pd.Categorical(np.where(X[:, 1] > 0, "u", "v"))}),
        pd.DataFrame(
            {"a": pd.array(X[:, 0].round(1), "Float64"), "t": pd.to_timedelta(X[:, 1], "D")}
        ),
    ],
    ids=["infinite", "1e300", "uint64", "wide", "category", "dates", "flags", "nullable"],
)
def test_tables_of_every_kind(estimator, table):
    model = made(estimator).fit(table, Y[estimator])
    assert np.isfinite(output(model, table)).all()
    assert model.score(table, Y[estimator]) > 0.4


@both
def test_a_thousand_categories(estimator):
    numbers = np.arange(1500) % 1000
    table = pd.DataFrame({"key": [f"k{n}" for n in numbers]})
    model = made(estimator).fit(table, numbers % 2)
    assert model.score(table, numbers % 2) > 0.7
    unseen = output(model, pd.DataFrame({"key": ["new", "newer", None]}))
    assert np.isfinite(unseen).all()
    assert_array_equal(unseen, np.broadcast_to(unseen[0], unseen.shape))


@both
def test_a_few_rows(estimator):
    y = Y[estimator].copy()
    y[:2] = 0, 1
    model = made(estimator).fit(FRAME[:4], y[:4])
    assert np.isfinite(output(model, FRAME)).all()
    val = {"X_val": FRAME, "y_val": y}
    fewest = 1 if estimator is TabularMLPRegressor else 2  # with a validation set of one's own
    model.fit(
        FRAME[:fewest], y[:fewest], **val | ({"y_val": y} if fewest == 1 else {"y_val": y % 2})
    )
    assert np.isfinite(output(model, FRAME)).all()


@pytest.mark.parametrize(
    "y",
    [
        LABELS, LABELS.astype(object), LABELS.tolist(), pl.Series(LABELS), pa.array(LABELS),
        *(pd.Series(LABELS, dtype=dtype) for dtype in (None, "string", "category")),
    ],
    ids=["U", "object", "list", "polars", "pyarrow", "pandas", "string", "category"],
)  # fmt: skip
def test_labels_of_every_kind(y):
    model = made(TabularMLPClassifier).fit(FRAME, y)
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.score(FRAME, LABELS) > 0.8


@pytest.mark.parametrize("y", [CLASSES > 0, CLASSES.astype(np.uint8), CLASSES * 2.0 - 1])
def test_labels_keep_their_type(y):
    model = made(TabularMLPClassifier).fit(FRAME, y)
    assert model.predict(FRAME).dtype == y.dtype
    assert (model.predict(FRAME) == y).mean() > 0.8


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e200, 5e-324])
def test_targets_of_any_size(scale):
    model = made(TabularMLPRegressor).fit(FRAME, scale * TARGETS)
    expected = scale * np.clip(TARGETS, -1, 1)
    assert np.corrcoef(model.predict(FRAME) / scale, expected / scale)[0, 1] > 0.6
    assert np.isfinite(model.predict_interval(FRAME)).all()


def test_targets_far_beyond_those_of_the_training():
    """Those of a row that does not count, and of a validation set."""
    far = np.where(np.arange(N_ROWS) == 3, 1e299, TARGETS)
    model = made(TabularMLPRegressor).fit(FRAME, far, (far < 1e9) * 1.0)
    assert model.score(FRAME, TARGETS) > 0.4
    model.fit(FRAME, TARGETS, X_val=FRAME, y_val=far)
    assert np.isfinite(model.predict_interval(FRAME, 0.5)).all()


@pytest.mark.parametrize("value", [7, 0.1, 0, -1e200])
def test_constant_targets(value):
    model = made(TabularMLPRegressor).fit(FRAME, np.full(N_ROWS, value))
    assert_array_equal(model.predict(FRAME), np.full(N_ROWS, value))
    assert_allclose(model.predict_interval(FRAME), np.full((N_ROWS, 2), value), rtol=1e-12)
