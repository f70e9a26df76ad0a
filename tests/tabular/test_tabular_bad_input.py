"""Bad input of the estimators for tables: errors that name it, and a model that stays as it was."""

import copy
import re

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from fastmlp import TabularMLPClassifier, TabularMLPRegressor

pd = pytest.importorskip("pandas")

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


def changed(y, value, i=3):
    y = np.array(y, dtype=object if value is None else float)
    y[i] = value
    return y


C, R = TabularMLPClassifier, TabularMLPRegressor
ONES = np.ones(N_ROWS)
FIRST_HALF = (np.arange(N_ROWS) < N_ROWS / 2) * 1.0
REPEATED = pd.DataFrame(X, columns=list("aab"))
BAD_FITS = {
    "no rows": (C, {}, (X[:0], CLASSES[:0]), {}, "X has no rows"),
    "no columns": (C, {}, (X[:, :0], CLASSES), {}, "X has no columns"),
    "one dimension": (C, {}, (X[:, 0], CLASSES), {}, "Expected 2D array, got 1D"),
    "complex": (C, {}, (X + 1j, CLASSES), {}, "X has the dtype complex128"),
    "repeated names": (C, {}, (REPEATED, CLASSES), {}, "repeated: 'a'"),
    "mixed": (C, {}, (FRAME.assign(d=[1, "x"] * 30), CLASSES), {}, "'d' holds numbers .* strings"),
    "lists": (C, {}, (FRAME.assign(d=[[1]] * 60), CLASSES), {}, r"'d' holds \[1\] of type list"),
    "three rows": (R, {}, (X[:3], TARGETS[:3]), {}, "X must have at least 4 rows.*n_samples = 3"),
    "no y": (C, {}, (X, None), {}, "requires y"),
    "one class": (C, {}, (X, 0 * CLASSES), {}, "y must have at least 2 classes, got .* 0$"),
    "continuous": (C, {}, (X, TARGETS), {}, "continuous"),
    "NaN label": (C, {}, (X, changed(CLASSES, np.nan)), {}, "y contains NaN"),
    "None label": (C, {}, (X, changed(CLASSES, None)), {}, "y has dtype object and holds NoneType"),
    "None among strings": (C, {}, (X, np.where(CLASSES, "a", None)), {}, "y has dtype object"),
    "two columns of y": (C, {}, (X, np.c_[CLASSES, CLASSES]), {}, "y should be a 1d array"),
    "short y": (C, {}, (X, CLASSES[:50]), {}, "y must have as many values as X has .*60, got 50"),
    "NaN target": (R, {}, (X, changed(TARGETS, np.nan)), {}, "y contains NaN"),
    "infinite target": (R, {}, (X, changed(TARGETS, np.inf)), {}, "y contains infinity"),
    "None target": (R, {}, (X, changed(TARGETS, None)), {}, "y contains NaN"),
    "strings as targets": (R, {}, (X, LABELS), {}, "y must hold numbers, got the dtype <U3"),
    "strings of numbers": (R, {}, (X, TARGETS.astype(str)), {}, "y must hold numbers, got"),
    "string objects": (R, {}, (X, LABELS.astype(object)), {}, "y must hold numbers, got"),
    "dates as targets": (R, {}, (X, CLASSES.astype("M8[D]")), {}, "y must hold numbers, got"),
    "objects as targets": (R, {}, (X, [{}] * N_ROWS), {}, "y must hold numbers.*'dict'"),
    "complex targets": (R, {}, (X, TARGETS + 1j), {}, "Complex data not supported"),
    "huge targets": (R, {}, (X, changed(TARGETS, 2e300)), {}, r"y must hold .*got 2e\+300"),
    "y 2d": (R, {}, (X, X), {}, "y should be a 1d array"),
    "short weights": (C, {}, (X, CLASSES, ONES[:9]), {}, r"sample_weight must have shape \(60,\)"),
    "negative": (C, {}, (X, CLASSES, -ONES), {}, "sample_weight must not be negative, got -1"),
    "NaN weight": (C, {}, (X, CLASSES, np.nan * ONES), {}, "sample_weight must be finite"),
    "no weight": (C, {}, (X, CLASSES, 0 * ONES), {}, "sample_weight must not be zero throughout"),
    "string weights": (C, {}, (X, CLASSES, ["a"] * 60), {}, "sample_weight must hold real numbers"),
    "three weights": (
        C, {}, (X, CLASSES, (np.arange(60) < 3) * 1.0), {}, "4 rows of positive weight.*= 3$",
    ),
    "unknown class": (C, {"class_weight": {5: 1}}, (X, CLASSES), {}, "not in class_weight"),
    "negative class weight": (
        C, {"class_weight": {1: -2}}, (X, CLASSES), {}, "class_weight must not be negative",
    ),
    "no y_val": (C, {}, (X, CLASSES), {"X_val": X}, "X_val and y_val .* got no y_val"),
    "no X_val": (C, {}, (X, CLASSES), {"y_val": CLASSES}, "X_val and y_val .* got no X_val"),
    "only weights": (C, {}, (X, CLASSES), {"sample_weight_val": ONES}, "X_val and .* no X_val"),
    "unknown label": (
        C, {}, (X, CLASSES), {"X_val": X, "y_val": CLASSES + 1},
        r"y_val must have only labels that y has, \[0, 1\], got \[2\]",
    ),
    "numbers for strings": (
        C, {}, (X, LABELS), {"X_val": X, "y_val": CLASSES}, r"y_val .* got \[0, 1\]",
    ),
    "NaN in y_val": (
        R, {}, (X, TARGETS), {"X_val": X, "y_val": changed(TARGETS, np.nan)}, "y_val contains NaN",
    ),
    "short y_val": (
        R, {}, (X, TARGETS), {"X_val": X, "y_val": TARGETS[:50]},
        "y_val must have as many values as X_val has rows, 60, got 50",
    ),
    "short weights of y_val": (
        R, {}, (X, TARGETS), {"X_val": X, "y_val": TARGETS, "sample_weight_val": ONES[:3]},
        "sample_weight_val must have shape",
    ),
    "columns of X_val": (
        R, {}, (FRAME, TARGETS), {"X_val": FRAME[["a", "b"]], "y_val": TARGETS},
        "X_val: .*\n.*now missing:\n- c",
    ),
    "kind in X_val": (
        R, {}, (FRAME, TARGETS), {"X_val": FRAME.assign(a="s"), "y_val": TARGETS},
        "X_val: Column 'a' held numbers in fit, now strings",
    ),
    "cv 1": (C, {"cv": 1}, (X, CLASSES), {}, "'cv' parameter"),
    "cv 61": (C, {"cv": 61}, (X, CLASSES), {}, "cv must be at most .* 60, got 61"),
    "cv without splits": (C, {"cv": []}, (X, CLASSES), {}, "cv must give at least one pair"),
    "cv of numbers": (C, {"cv": [3, 4]}, (X, CLASSES), {}, "cv must .* pairs"),
    "cv with overlap": (
        C, {"cv": [(np.arange(60), np.arange(9, 12))]}, (X, CLASSES), {}, "cv .*3 rows, such as 9",
    ),
    "cv without training": (C, {"cv": [([], [1])]}, (X, CLASSES), {}, "cv must give at least one"),
    "cv without selection": (C, {"cv": [([1], [])]}, (X, CLASSES), {}, "cv must give at least one"),
    "cv out of range": (C, {"cv": [([0], [60])]}, (X, CLASSES), {}, "cv .* from 0 to 59, got .60."),
    "cv below range": (C, {"cv": [([0], [-1])]}, (X, CLASSES), {}, "cv .* from 0 to 59, got .-1."),
    "cv of floats": (C, {"cv": [([0.5], [1])]}, (X, CLASSES), {}, "cv .* from 0 to 59, got .0.5."),
    "cv without weight": (
        C, {"cv": [(np.arange(30), np.arange(30, 60))]}, (X, CLASSES, FIRST_HALF), {},
        "cv must give at least one .* positive weight",
    ),
    "no members": (C, {"n_members": 0}, (X, CLASSES), {}, "'n_members' parameter"),
    "half a member": (C, {"n_members": 2.5}, (X, CLASSES), {}, "'n_members' parameter"),
    "members": (C, {"members": "many"}, (X, CLASSES), {}, "'members' parameter.*'many'"),
    "all rows": (C, {"validation_fraction": 1.0}, (X, CLASSES), {}, "'validation_fraction'"),
    "no time": (C, {"max_seconds": 0}, (X, CLASSES), {}, "'max_seconds' parameter"),
    "no jobs": (C, {"n_jobs": 0}, (X, CLASSES), {}, "'n_jobs' parameter"),
    "metric": (C, {"metric": "best"}, (X, CLASSES), {}, "'metric' parameter.*Got 'best'"),
    "metric of numbers": (C, {"metric": "r2"}, (X, LABELS), {}, "metric='r2' has failed"),
    "metric of probabilities": (
        R, {"metric": "neg_log_loss"}, (X, TARGETS), {}, "metric='neg_log_loss' has failed",
    ),
    "metric of two": (
        C, {"metric": "roc_auc"}, (X, np.arange(60) % 3), {}, "metric='roc_auc' has failed",
    ),
    "metric without arguments": (
        C, {"metric": lambda: 1.0}, (X, CLASSES), {}, "metric=.* has failed: .*takes 0",
    ),
    "metric of strings": (
        C, {"metric": lambda *_: "good"}, (X, CLASSES), {}, "metric must .*, got 'good'",
    ),
    "metric without weights": (
        C, {"metric": lambda model, X, y: 1.0}, (X, CLASSES, ONES / 2), {}, "metric=.*weight",
    ),
    "category": (C, {"categorical_features": ["q"]}, (FRAME, CLASSES), {}, "does not have: 'q'"),
    "state": (C, {"random_state": "x"}, (X, CLASSES), {}, "'random_state' parameter"),
    "verbose": (C, {"verbose": -1}, (X, CLASSES), {}, "'verbose' parameter"),
}  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    return {estimator: made(estimator).fit(FRAME, Y[estimator]) for estimator in (C, R)}


@pytest.mark.parametrize(
    ("estimator", "parameters", "given", "named", "message"), BAD_FITS.values(), ids=BAD_FITS
)
def test_bad_input_of_fit(fitted, estimator, parameters, given, named, message):
    """The error names what is wrong, and the model stays as it was."""
    model = copy.copy(fitted[estimator]).set_params(**parameters)
    state = dict(vars(model))
    with pytest.raises((ValueError, TypeError), match=re.compile(message, re.DOTALL)):
        model.fit(*given, **named)
    assert vars(model) == state
    assert output(model, FRAME).tobytes() == output(fitted[estimator], FRAME).tobytes()


BAD_TABLES = {
    "no rows": (FRAME[:0], "X has no rows"),
    "an absent column": (FRAME[["a", "b"]], "now missing:\n- c"),
    "another column": (FRAME.assign(z=1), "unseen at fit time:\n- z"),
    "numbers for strings": (FRAME.assign(b=1.0), "Column 'b' held strings in fit, now numbers"),
    "strings for numbers": (FRAME.assign(a="s"), "Column 'a' held numbers in fit, now strings"),
    "dates for numbers": (
        FRAME.assign(a=pd.Timestamp("2024-01-01")), "Column 'a' held numbers in fit, now dates",
    ),
    "nothing": (None, "Expected 2D array"),
}  # fmt: skip


@both
@pytest.mark.parametrize(("table", "message"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_bad_input_of_predict(fitted, estimator, table, message):
    with pytest.raises((ValueError, TypeError), match=message):
        output(fitted[estimator], table)


@both
def test_another_number_of_columns(estimator):
    model = made(estimator).fit(X, Y[estimator])
    with pytest.raises(ValueError, match=r"X has 2 features, but .* is expecting 3"):
        model.predict(X[:, :2])
    with pytest.warns(UserWarning, match="X has feature names, but"):
        model.predict(pd.DataFrame(X, columns=list("abc")))


@pytest.mark.parametrize("coverage", [0, 1, 2, -0.1, np.nan, "x", None, [0.5, 0.9]])
def test_bad_coverage(fitted, coverage):
    with pytest.raises(ValueError, match="coverage must be between 0 and 1, got"):
        fitted[R].predict_interval(FRAME, coverage)


@pytest.mark.parametrize("quantiles", [0, 1, [0.5, 1.5], [0.5, np.nan], ["x"], None, [[0.1, 0.2]]])
def test_bad_quantiles(fitted, quantiles):
    with pytest.raises(ValueError, match="quantiles must be between 0 and 1, got"):
        fitted[R].predict_quantiles(FRAME, quantiles)


@pytest.mark.parametrize(
    ("estimator", "method"),
    [
        (C, "predict"), (C, "predict_proba"), (C, "predict_log_proba"),
        (R, "predict"), (R, "predict_interval"), (R, "predict_quantiles"),
    ],
)  # fmt: skip
def test_not_fitted(estimator, method):
    with pytest.raises(NotFittedError, match=estimator.__name__):
        getattr(estimator(), method)(X)
