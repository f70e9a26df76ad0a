"""MLPClassifier and MLPRegressor: kinds of input, bad input, and what an estimator must survive."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import sklearn.neural_network
from problems import TASKS, make_task
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import unique_labels

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ESTIMATORS = [MLPClassifier, MLPRegressor]


def state(estimator):
    return pickle.dumps(vars(estimator))


@pytest.fixture(params=ESTIMATORS)
def fitted(request):
    X, y, _ = make_task("binary" if request.param is MLPClassifier else "squared_error")
    return request.param(max_iter=3, random_state=0).fit(X, y), X, y


# The interface ---------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_parameters_are_those_of_scikit_learn_and_some_more(estimator):
    theirs = inspect.signature(getattr(sklearn.neural_network, estimator.__name__)).parameters
    ours = inspect.signature(estimator).parameters
    assert list(ours)[:2] == list(theirs)[:2]
    assert {name: p.default for name, p in ours.items() if name in theirs} == {
        name: p.default for name, p in theirs.items()
    }
    more = {
        "n_threads", "dtype", "scoring", "callbacks", "max_seconds", "loss_params",
        "solver_params", "schedule_params", "weight_decay", "l1", "dropout", "input_dropout",
        "input_noise", "max_norm", "clip_norm", "clip_value", "averaging", "layer_norm", "residual",
        "init", "connections", "diagnostics", "learned_activation", "parametrization",
        "dropout_schedule", "weight_decay_schedule", "learning_rate_factors", "input_layer",
    }  # fmt: skip
    if estimator is MLPClassifier:
        more |= {"class_weight", "loss"}
    assert set(ours) - set(theirs) == more
    assert {ours[name].kind for name in more} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_parameter_has_a_paragraph(estimator):
    for name in inspect.signature(estimator).parameters:
        assert (
            f"{name} : " in estimator.__doc__
            or f"{name}, " in estimator.__doc__
            or (f", {name} : " in estimator.__doc__)
        ), name


@pytest.mark.parametrize(("dtype", "solver", "expected"), [
    (None, "adam", "float32"), (None, "sgd", "float32"), (None, "lbfgs", "float64"),
    ("float64", "adam", "float64"), ("float32", "lbfgs", "float32"),
])  # fmt: skip
def test_dtype(dtype, solver, expected):
    X, y, _ = make_task("squared_error")
    regressor = MLPRegressor(dtype=dtype, solver=solver, max_iter=2).fit(X, y)
    assert {a.dtype.name for a in regressor.coefs_ + regressor.intercepts_} == {expected}
    assert regressor.predict(X.astype(np.float32)).dtype == expected
    assert regressor.predict(X).dtype == np.float64


@pytest.mark.parametrize("task", TASKS)
def test_learns_and_predicts_in_the_terms_of_y(task):
    X, y, w = make_task(task)
    estimator = TASKS[task][0](max_iter=300, learning_rate_init=0.01, random_state=0)
    if task == "poisson":
        estimator.set_params(loss="poisson")
    estimator.fit(X, y, sample_weight=w)
    prediction = estimator.predict(X)
    assert prediction.shape == y.shape
    assert estimator.score(X, y) > 0.85 if task != "poisson" else estimator.score(X, y) > 0.3
    if hasattr(estimator, "classes_"):
        assert set(np.unique(prediction)) <= set(np.unique(y))
        probabilities = estimator.predict_proba(X)
        assert probabilities.shape == (len(X), len(estimator.classes_))
        assert ((probabilities >= 0) & (probabilities <= 1)).all()
        if task != "multilabel":
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_sample_weight_zero_is_a_row_left_out():
    X, y, _ = make_task("multiclass")
    w = np.arange(len(X)) % 2
    settings = dict(solver="lbfgs", max_iter=20, random_state=0, alpha=0.1)
    weighted = MLPClassifier(**settings).fit(X, y, sample_weight=w)
    without = MLPClassifier(**settings).fit(X[w == 1], y[w == 1])
    np.testing.assert_allclose(weighted.predict_proba(X), without.predict_proba(X), rtol=1e-5)


def test_partial_fit_of_a_batch_without_some_class():
    X, y, _ = make_task("multiclass")
    classifier = MLPClassifier(random_state=0).partial_fit(X[:1], y[:1], classes=[0, 10, 20])
    assert classifier.partial_fit(X, y).predict_proba(X).shape == (len(X), 3)
    assert classifier.t_ == 1 + len(X)
    assert classifier.n_iter_ == 1
    assert len(classifier.loss_curve_) == 2


def test_partial_fit_takes_over_changed_parameters():
    X, y, _ = make_task("squared_error")
    regressor = MLPRegressor(random_state=0, solver="sgd", momentum=0).partial_fit(X, y)
    before = regressor.coefs_[0].copy()
    regressor.set_params(learning_rate_init=1e-30).partial_fit(X, y)
    assert (regressor.coefs_[0] == before).all()
    with pytest.raises(ValueError, match="alpha"):
        regressor.set_params(alpha=-1).partial_fit(X, y)


def test_partial_fit_is_not_there_for_lbfgs():
    for estimator in ESTIMATORS:
        assert not hasattr(estimator(solver="lbfgs"), "partial_fit")


def test_weights_can_be_set(fitted):
    estimator, X, _ = fitted
    estimator.coefs_[1] = np.zeros_like(estimator.coefs_[1])
    estimator.intercepts_ = [np.zeros_like(b) for b in estimator.intercepts_]
    assert len(np.unique(estimator.predict(X))) == 1
    with pytest.raises(ValueError, match="shape"):
        estimator.coefs_ = [np.ones((2, 2))] * 2


@pytest.mark.parametrize("y", [[0, 1] * 5, [[0, 1], [1, 0]] * 5], ids=["two classes", "labels"])
def test_ties_are_decided_as_in_scikit_learn(y):
    """Without weights every probability is a half."""
    X, decisions = np.zeros((10, 3)), []
    for library in (sklearn.neural_network.MLPClassifier, MLPClassifier):
        classifier = library((), max_iter=1).fit(X, y)
        for array in (*classifier.coefs_, *classifier.intercepts_):
            array[...] = 0
        assert (classifier.predict_proba(X) == 0.5).all()
        decisions.append(classifier.predict(X))
    np.testing.assert_array_equal(*decisions)


# Copies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_a_copy_predicts_and_goes_on_alike(fitted, copy_of):
    estimator, X, y = fitted
    twin = copy_of(estimator)
    assert (twin.predict(X) == estimator.predict(X)).all()
    for _ in range(2):
        twin.partial_fit(X, y)
        estimator.partial_fit(X, y)
    assert all((a == b).all() for a, b in zip(twin.coefs_, estimator.coefs_, strict=True))
    assert twin.loss_curve_ == estimator.loss_curve_


def test_clone_is_unfitted(fitted):
    twin = clone(fitted[0])
    with pytest.raises(NotFittedError):
        twin.predict(fitted[1])
    with pytest.raises(AttributeError, match="coefs_"):
        _ = twin.coefs_


def test_refit_forgets_the_earlier_fit(fitted):
    estimator, X, y = fitted
    estimator.set_params(solver="lbfgs").fit(X, y)
    assert not hasattr(estimator, "loss_curve_")


def test_in_a_pipeline_and_a_search():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(learning_rate_init=0.02))
    assert cross_val_score(pipeline, X, y).mean() > 0.9


# Kinds of input --------------------------------------------------------------------------------


def misaligned(array):
    memory = np.zeros(array.nbytes + 1, dtype=np.uint8)
    view = memory[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


KINDS = {
    "list": lambda X: X.tolist(),
    "float16": lambda X: X.astype(np.float16),
    "float64": lambda X: X.astype(np.float64),
    "int64": lambda X: X.astype(np.int64),
    "uint8": lambda X: X.astype(np.uint8),
    "big-endian": lambda X: X.astype(">f4"),
    "big-endian double": lambda X: X.astype(">f8"),
    "read-only": read_only,
    "Fortran": np.asfortranarray,
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "every other column": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "backwards": lambda X: X[::-1].copy()[::-1],
    "misaligned": misaligned,
    "misaligned double": lambda X: misaligned(X.astype(np.float64)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_X_is_the_same_data(kind, dtype):
    rng = np.random.RandomState(0)
    X = rng.randint(0, 5, (50, 4)).astype("float32")
    y = X[:, 0] - X[:, 1] * X[:, 2]
    plain = MLPRegressor(random_state=0, max_iter=3, dtype=dtype).fit(X, y)
    other = MLPRegressor(random_state=0, max_iter=3, dtype=dtype).fit(KINDS[kind](X), y)
    assert (other.predict(KINDS[kind](X)) == plain.predict(X)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_y_is_the_same_data(kind):
    X = np.random.RandomState(0).standard_normal((50, 4))
    y = np.random.RandomState(1).randint(0, 5, (50, 2)).astype("float32")
    plain = MLPRegressor(random_state=0, max_iter=3).fit(X, y)
    other = MLPRegressor(random_state=0, max_iter=3).fit(X, KINDS[kind](y))
    assert (other.predict(X) == plain.predict(X)).all()


@pytest.mark.parametrize(
    "y",
    [
        np.array(["a", "b"] * 25),
        np.array(["a", "b"] * 25, dtype=object),
        np.array([True, False] * 25),
        np.array([-1, 1] * 25),
        np.array([0.0, 3.0] * 25),
        ["x", "y"] * 25,
        np.array([10**12, 5] * 25),
    ],
)
def test_labels_of_every_kind(y):
    X = np.random.RandomState(0).standard_normal((50, 4))
    classifier = MLPClassifier(max_iter=2).fit(X, y)
    assert (classifier.classes_ == np.unique(y)).all()
    assert classifier.predict(X).dtype == unique_labels(y).dtype


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"y has dtype object and holds int.*by y\.astype\(int\)"),
        ([True, False], r"holds bool, .*by y\.astype\(bool\)"),
        ([np.bool_(True), np.int64(2)], r"holds bool, int, .*by y\.astype\(int\)"),
        ([0, 1.0], r"holds float, int, .*by y\.astype\(float\)"),
        (["a", 1], r"holds int, str, .*by y\.astype\(str\)"),
        ([1, "a"], r"holds int, str, .*by y\.astype\(str\)"),
        ([1j, 2.0], r"holds complex, float, .*by y\.astype\(str\)"),
        ([None, 1], r"holds NoneType, int.*; fill what is missing, then convert it"),
    ],
)
def test_labels_that_are_objects_are_told_apart(labels, message):
    pandas = pytest.importorskip("pandas")
    X = np.random.RandomState(0).standard_normal((50, 4))
    y = np.array(labels * 25, dtype=object)
    matrix = np.array([labels, labels[::-1]] * 25, dtype=object)
    fitted = MLPClassifier(max_iter=1).fit(X, [0, 1] * 25)
    of_classes = message.replace("y has", "classes has").replace(r"y\.", r"classes\.")
    for call, expected in (
        (lambda: MLPClassifier().fit(X, y), message),
        (lambda: MLPClassifier().fit(X, matrix), message),
        (lambda: fitted.partial_fit(X, y), message),
        (lambda: MLPClassifier().fit(X, [0, 1] * 25, X_val=X, y_val=y), f"X_val.*{message}"),
        (lambda: MLPClassifier().partial_fit(X, [0, 1] * 25, classes=y), of_classes),
        (lambda: MLPClassifier().initialize(4, pandas.Series(y)), of_classes),
    ):
        with pytest.raises(ValueError, match=expected):
            call()


def test_a_column_of_labels_warns():
    X, y, _ = make_task("binary")
    with pytest.warns(DataConversionWarning):
        assert MLPClassifier(max_iter=2).fit(X, y[:, np.newaxis]).predict(X).shape == y.shape


ONE_CLASS = {
    "fit": lambda classifier: classifier.fit(X, TEXT),
    "own validation rows": lambda classifier: classifier.fit(X, TEXT, X_val=X, y_val=TEXT),
    "partial_fit": lambda classifier: classifier.partial_fit(X, TEXT, classes=["a"]),
    "initialize": lambda classifier: classifier.initialize(X.shape[1], ["a"]),
}
TEXT = ["a"] * 157


@pytest.mark.parametrize("parameters", [
    dict(), dict(solver="lbfgs"), dict(early_stopping=True), dict(loss="squared_error"),
    dict(class_weight="balanced"), dict(loss_params={"label_smoothing": 0.1}),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("way", ONE_CLASS)
def test_a_single_class_is_predicted(way, parameters):
    classifier = MLPClassifier(max_iter=3, random_state=0, **parameters)
    if way == "partial_fit":
        classifier.set_params(solver="sgd", early_stopping=False, class_weight=None)
    ONE_CLASS[way](classifier)
    assert classifier.classes_.tolist() == ["a"]
    assert classifier.n_outputs_ == 1
    assert classifier.predict(X).tolist() == TEXT
    assert (classifier.predict_proba(X) == np.ones((157, 1))).all()
    assert (classifier.predict_log_proba(X) == np.zeros((157, 1))).all()
    assert classifier.score(X, TEXT) == 1
    with pytest.raises(ValueError, match="classes not in"):
        classifier.set_params(solver="adam", early_stopping=False, class_weight=None).partial_fit(
            X, Y_CLASSES
        )


def test_a_column_of_one_class_among_others():
    columns = np.column_stack([Y_CLASSES == "yes", np.ones(157), np.arange(157) % 3])
    several = MultiOutputClassifier(MLPClassifier(max_iter=2)).fit(X, columns)
    assert several.predict(X).shape == (157, 3)
    assert (several.predict(X)[:, 1] == 1).all()
    assert [p.shape[1] for p in several.predict_proba(X)] == [2, 1, 3]


@pytest.mark.parametrize("hidden_layer_sizes", [(), 7, [7, 5], np.array([7, 5]), (1, 1, 1)])
def test_hidden_layer_sizes(hidden_layer_sizes):
    X, y, _ = make_task("squared_error")
    regressor = MLPRegressor(hidden_layer_sizes=hidden_layer_sizes, max_iter=2).fit(X, y)
    widths = [6, *np.atleast_1d(np.array(hidden_layer_sizes, dtype=int)), 1]
    assert [W.shape for W in regressor.coefs_] == [
        (widths[l], widths[l + 1]) for l in range(len(widths) - 1)
    ]


# Bad input: an error that names it, and the estimator is as it was before -----------------------

X, Y_CLASSES, _ = make_task("binary")
Y_NUMBERS = make_task("squared_error")[1]
WITH_NAN, WITH_INF, TOO_LARGE = X.copy(), X.copy(), X.copy()
WITH_NAN[3, 2], WITH_INF[3, 2], TOO_LARGE[3, 2] = np.nan, np.inf, 1e300

BAD_ROWS = [
    (WITH_NAN, "Input X contains NaN"),
    (WITH_INF, "Input X contains infinity"),
    (TOO_LARGE, "Input X contains infinity or a value too large for dtype.*float32"),
    (X[:, 0], "Expected 2D array"),
    (X[:, :, np.newaxis], "dim 3"),
    (X[:0], "0 sample"),
    (X[:, :0], "0 feature"),
    (X[:-1], "inconsistent numbers of samples"),
    (X.astype(complex), "Complex data not supported"),
    (np.full(X.shape, "text"), "could not convert string to float"),
    (None, "array"),
]


@pytest.mark.parametrize("was_fitted", [False, True])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("rows", "message"), BAD_ROWS)
def test_bad_X(rows, message, estimator, was_fitted):
    y = Y_CLASSES if estimator is MLPClassifier else Y_NUMBERS
    estimator = estimator(max_iter=2, random_state=0)
    if was_fitted:
        estimator.fit(X[:, :3], y)
    before = state(estimator)
    with np.errstate(over="ignore"), pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(rows, y)
    assert state(estimator) == before


@pytest.mark.parametrize(("rows", "message"), BAD_ROWS)
def test_bad_X_for_partial_fit(rows, message, fitted):
    estimator, _, y = fitted
    before = state(estimator)
    with np.errstate(over="ignore"), pytest.raises((ValueError, TypeError), match=message):
        estimator.partial_fit(rows, y)
    assert state(estimator) == before


@pytest.mark.parametrize("rows", [WITH_NAN, WITH_INF, X[:, :3], X[:0], X[0], X.astype(complex)])
def test_bad_X_for_prediction(fitted, rows):
    estimator = fitted[0]
    before = state(estimator)
    methods = {"predict", "predict_proba", "predict_log_proba"} & set(dir(estimator))
    for method in methods:
        with pytest.raises(ValueError, match=r"X|feature|sample|2D|omplex"):
            getattr(estimator, method)(rows)
    assert state(estimator) == before


@pytest.mark.parametrize(
    ("estimator", "y", "message"),
    [
        (MLPClassifier(), Y_NUMBERS, "Unknown label type: continuous"),
        (
            MLPClassifier(),
            np.arange(2 * len(X)).reshape(-1, 2) % 5,
            "class labels .* or an indicator",
        ),
        (MLPClassifier(), np.full(len(X), np.nan), "Input y contains NaN"),
        (MLPClassifier(), Y_CLASSES[:5], "inconsistent numbers of samples"),
        (MLPClassifier(), None, "requires y to be passed"),
        (MLPRegressor(), Y_CLASSES, "y must hold real numbers, got dtype <U3"),
        (MLPRegressor(), np.full(len(X), np.inf), "Input y contains infinity"),
        (MLPRegressor(), np.full(len(X), 1e300), "y must be finite in float32"),
        (MLPRegressor(), np.ones((len(X), 2, 2)), "dim 3|y must be|y should be"),
        (MLPRegressor(), None, "requires y to be passed"),
        (MLPRegressor(loss="poisson"), Y_NUMBERS, "y must not be negative for 'poisson'"),
    ],
)
def test_bad_y(estimator, y, message):
    estimator = clone(estimator)
    before = state(estimator)
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(X, y)
    assert state(estimator) == before


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(5), r"sample_weight.shape == \(5,\), expected"),
        (np.ones((len(X), 1)), "Sample weights must be 1D"),
        (-np.ones(len(X)), "Negative values.*sample_weight"),
        (np.full(len(X), np.nan), "sample_weight contains NaN"),
        (np.zeros(len(X)), "(?i)sample.weight.*zero"),
        (np.full(len(X), "heavy"), "could not convert"),
    ],
)
def test_bad_sample_weight(fitted, weight, message):
    estimator, _, y = fitted
    before = state(estimator)
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(X, y, sample_weight=weight)
    assert state(estimator) == before


@pytest.mark.parametrize(
    "bad",
    [
        dict(hidden_layer_sizes=(10, -1)),
        dict(hidden_layer_sizes=0),
        dict(hidden_layer_sizes=(2.5,)),
        dict(hidden_layer_sizes=2.5),
        dict(hidden_layer_sizes=("ten",)),
        dict(hidden_layer_sizes=None),
        dict(hidden_layer_sizes=((3, 4), (5, 6))),
        dict(hidden_layer_sizes=(2**40,)),
        dict(activation="swish"),
        dict(activation=None),
        dict(solver="lion"),
        dict(alpha=-1e-4),
        dict(alpha=np.nan),
        dict(batch_size=0),
        dict(batch_size="all"),
        dict(batch_size=10.5),
        dict(learning_rate="cosinus"),
        dict(learning_rate_init=0),
        dict(power_t=-1),
        dict(max_iter=0),
        dict(shuffle="yes"),
        dict(random_state="seed"),
        dict(tol=-1),
        dict(verbose="loud"),
        dict(warm_start="no"),
        dict(momentum=1.5),
        dict(nesterovs_momentum=None),
        dict(early_stopping=None),
        dict(validation_fraction=1.0),
        dict(beta_1=1.0),
        dict(beta_2=-0.1),
        dict(epsilon=0),
        dict(n_iter_no_change=0),
        dict(max_fun=0),
        dict(n_threads=0),
        dict(n_threads=2.0),
        dict(dtype="float16"),
        dict(dtype=int),
    ],
    ids=str,
)
def test_bad_parameter(fitted, bad):
    estimator, _, y = fitted
    estimator.set_params(**bad)
    before = state(estimator)
    for method in (estimator.fit, estimator.partial_fit):
        with pytest.raises((ValueError, TypeError), match=list(bad)[-1]):
            method(X, y)
    assert state(estimator) == before


@pytest.mark.parametrize(
    "change", [dict(hidden_layer_sizes=5), dict(activation="tanh"), dict(dtype="float64")]
)
def test_another_network_is_no_warm_start(fitted, change):
    estimator, _, y = fitted
    estimator.set_params(warm_start=True, **change)
    before = state(estimator)
    for method in (estimator.fit, estimator.partial_fit):
        with pytest.raises(ValueError, match=f"cannot change.*{next(iter(change))}"):
            method(X, y)
    assert state(estimator) == before


def test_other_classes_are_no_warm_start():
    labels = make_task("multiclass")[1]
    classifier = MLPClassifier(max_iter=2, warm_start=True).fit(X, labels)
    before = state(classifier)
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same"):
        classifier.fit(X, labels % 20)
    classifier.set_params(warm_start=False)
    with pytest.raises(ValueError, match=r"`y` has classes not in `self\.classes_`"):
        classifier.partial_fit(X, labels + 1)
    with pytest.raises(ValueError, match="same kind as before"):
        classifier.partial_fit(X, make_task("multilabel")[1])
    classifier.set_params(warm_start=True)
    assert state(classifier) == before


def test_partial_fit_refuses():
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        MLPClassifier().partial_fit(X, Y_CLASSES)
    with pytest.raises(ValueError, match="does not support early_stopping"):
        MLPRegressor(early_stopping=True).partial_fit(X, Y_NUMBERS)


def test_validation_set_too_small():
    with pytest.raises(ValueError, match="validation set is too small"):
        MLPRegressor(early_stopping=True).fit(X[:5], Y_NUMBERS[:5])


def test_large_batch_size_warns_and_is_clipped():
    with pytest.warns(UserWarning, match=r"batch_size.*500 for 157 rows.*clipped"):
        large = MLPRegressor(batch_size=500, max_iter=2, random_state=0).fit(X, Y_NUMBERS)
    exact = MLPRegressor(batch_size=157, max_iter=2, random_state=0).fit(X, Y_NUMBERS)
    assert large.loss_curve_ == exact.loss_curve_


def test_memory_error_for_a_network_that_does_not_fit(fitted):
    estimator, _, y = fitted
    estimator.set_params(hidden_layer_sizes=(2**28, 2**28))
    before = state(estimator)
    with pytest.raises((MemoryError, ValueError)):
        estimator.fit(X, y)
    assert state(estimator) == before


def test_warns_only_of_what_it_says():
    with pytest.warns(ConvergenceWarning) as record:
        MLPRegressor(max_iter=1).fit(X, Y_NUMBERS)
    assert [str(w.filename).endswith("test_estimators.py") for w in record] == [True]
