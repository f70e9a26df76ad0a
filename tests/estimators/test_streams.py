"""Streams of mini-batches: partial_fit keeps what has not changed since the call before."""

import copy
import pickle
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.utils.multiclass import unique_labels

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.randn(60, 4).astype(np.float32)
NUMBERS = (X @ [1.0, 2.0, 3.0, 4.0]).astype(np.float32)
LABELS = np.digitize(X[:, 0], [-0.5, 0.5])
BATCHES = [slice(0, 1), slice(1, 2), slice(2, 34), slice(34, 37), slice(37, 38), slice(38, 60)]
ESTIMATORS = pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])


def targets(estimator):
    return LABELS if estimator is MLPClassifier else NUMBERS


def begun(estimator, **parameters):
    """An estimator that has learned from a few batches."""
    model = estimator(**{"hidden_layer_sizes": (5,), "random_state": 0} | parameters)
    known = {"classes": [0, 1, 2]} if estimator is MLPClassifier else {}
    y = targets(estimator)
    model.partial_fit(X[:2], y[:2], **known)
    return model.partial_fit(X[:1], y[:1]).partial_fit(X[1:2], y[1:2])


def without_memory(model):
    """A copy that keeps nothing between calls but the network, the solver and the history."""
    return pickle.loads(pickle.dumps(model))


def weights(model):
    return np.concatenate([W.ravel() for W in (*model.coefs_, *model.intercepts_)])


@ESTIMATORS
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"dtype": "float64"},
        {"random_state": None, "shuffle": False},
        {"dropout": [0.5], "batch_size": 7, "solver": "sgd"},
        {"averaging": 0.9, "learning_rate": "cosine"},
        {"l1": 0.1, "max_norm": 1.0, "hidden_layer_sizes": np.array([5, 5])},
    ],
)
@pytest.mark.filterwarnings("ignore:Got `batch_size`")
def test_what_is_kept_does_not_show_in_the_results(estimator, parameters):
    model, y = begun(estimator, **parameters), targets(estimator)
    other = without_memory(model)
    for rows in BATCHES:
        model.partial_fit(X[rows], y[rows])
        other = without_memory(other.partial_fit(X[rows], y[rows]))
        assert_array_equal(weights(model), weights(other))
        assert_array_equal(model.predict(X), other.predict(X))
    assert model.loss_curve_ == other.loss_curve_
    assert model.t_ == other.t_ == 4 + len(X)


@ESTIMATORS
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("alpha", -1, "'alpha' parameter"),
        ("max_iter", 200.0, "'max_iter' parameter"),  # equal to the value before, but no integer
        ("learning_rate_init", 10**400, "fits a float64"),
        ("hidden_layer_sizes", (6,), "hidden_layer_sizes"),
        ("activation", "tanh", "activation"),
        ("dtype", "float64", "dtype"),
        ("callbacks", [3], "callbacks"),
        ("random_state", -1, "'random_state' parameter"),
        ("loss_params", {"no": 1}, "loss_params"),
        ("dropout", [0.1, 0.2], "dropout"),
    ],
)
def test_parameters_changed_between_calls_are_validated(estimator, name, value, message):
    model, y = begun(estimator), targets(estimator)
    other, before = without_memory(model), getattr(model, name)
    model.set_params(**{name: value})
    for _ in range(2):
        with pytest.raises((ValueError, TypeError), match=message):
            model.partial_fit(X, y)
    model.set_params(**{name: before}).partial_fit(X, y)
    assert_array_equal(weights(model), weights(other.partial_fit(X, y)))


@ESTIMATORS
def test_parameters_changed_in_place_are_seen(estimator):
    y, sizes, rates = targets(estimator), [5], [0.0]
    model = begun(estimator, hidden_layer_sizes=sizes, dropout=rates)
    other = without_memory(model)
    rates[0] = 0.5
    model.partial_fit(X, y)
    other.set_params(dropout=[0.5]).partial_fit(X, y)
    assert_array_equal(weights(model), weights(other))
    sizes[0] = -5
    with pytest.raises(ValueError, match="hidden_layer_sizes must be > 0"):
        model.partial_fit(X, y)


@ESTIMATORS
@pytest.mark.parametrize("change", [{"alpha": 1.0}, {"learning_rate_init": 0.5}, {"l1": 1.0}])
def test_changed_parameters_take_effect(estimator, change):
    model, y = begun(estimator), targets(estimator)
    same, other = without_memory(model), without_memory(model)
    model.set_params(**change).partial_fit(X, y)
    assert not np.array_equal(weights(model), weights(same.partial_fit(X, y)))
    assert_array_equal(weights(model), weights(other.set_params(**change).partial_fit(X, y)))


def test_a_callback_that_changes_a_parameter_does_so_for_later_calls():
    def fall(estimator, state):
        estimator.learning_rate_init *= 0.5

    model = begun(MLPRegressor, callbacks=fall)
    other = without_memory(model.set_params(callbacks=None))
    for i in range(3):
        rate = 0.001 * 0.5 ** (3 + i)
        assert model.set_params(callbacks=fall).learning_rate_init == rate
        model.partial_fit(X, NUMBERS)
        other.set_params(learning_rate_init=rate).partial_fit(X, NUMBERS)
        assert_array_equal(weights(model), weights(other))


BAD = [
    (np.full((1, 4), np.nan, np.float32), [0], "NaN"),
    (np.full((1, 4), np.inf, np.float32), [0], "infinity"),
    (np.full((1, 4), 1e39), [0], "too large for dtype"),
    (X[:1, :3], [0], "3 features"),
    (X[:0], [], "0 sample"),
    (X[0], [0], "1D array"),
    (X[:1, :, np.newaxis], [0], "dim 3"),
    (X[:1].astype(complex), [0], "Complex"),
    (X[:2], [0], "inconsistent numbers"),
    (X[:1], [np.nan], "NaN"),
    (X[:1], [[[0]]], "dim"),
    (X[:1], None, "None"),
]


@ESTIMATORS
@pytest.mark.parametrize(("rows", "y", "message"), BAD)
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_wrong_input_is_refused_with_the_same_message(estimator, rows, y, message):
    model = begun(estimator)
    other, before = without_memory(model), pickle.dumps(model)
    y = y if y is None else np.array(y)
    errors = []
    for learner in (model, other):
        with np.errstate(over="ignore"), pytest.raises(ValueError, match=message) as error:
            learner.partial_fit(rows, y)
        errors.append(str(error.value))
    assert errors[0] == errors[1]
    assert pickle.dumps(model) == before
    model.partial_fit(X, targets(estimator))
    assert_array_equal(weights(model), weights(other.partial_fit(X, targets(estimator))))


@pytest.mark.parametrize("y", [[3], [-1], [0.5], ["a"], [[0, 1]], [b"a"]])
def test_unknown_labels_are_refused(y):
    model = begun(MLPClassifier)
    before = pickle.dumps(model)
    with pytest.raises((ValueError, TypeError)):
        model.partial_fit(X[:1], np.array(y))
    assert pickle.dumps(model) == before


def test_other_columns_of_y_are_refused():
    model = begun(MLPRegressor)
    with pytest.raises(ValueError, match="number of outputs"):
        model.partial_fit(X[:1], np.ones((1, 2)))


@ESTIMATORS
@pytest.mark.parametrize(
    "change",
    [
        lambda X: X.astype(np.float64),
        lambda X: X.astype(">f4"),
        np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=0)[::2],
        np.ndarray.tolist,
        lambda X: np.frombuffer(b"-" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(X.shape),
    ],
    ids=["float64", "big endian", "Fortran", "strided", "list", "unaligned"],
)
def test_rows_of_another_kind_lead_to_the_same(estimator, change):
    model, y = begun(estimator), targets(estimator)
    other = without_memory(model)
    read_only = X.copy()
    read_only.flags.writeable = False
    model.partial_fit(change(X), y)
    other.partial_fit(read_only, y)
    assert_array_equal(weights(model), weights(other))


@ESTIMATORS
def test_names_of_features_are_checked(estimator):
    frames = pytest.importorskip("pandas")
    y = targets(estimator)
    model = begun(estimator)
    with pytest.warns(UserWarning, match="X has feature names"):
        model.partial_fit(frames.DataFrame(X, columns=list("abcd")), y)
    model.fit(frames.DataFrame(X, columns=list("abcd")), y)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.partial_fit(X, y)
    assert not hasattr(model.fit(X, y), "feature_names_in_")


@ESTIMATORS
@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, without_memory])
def test_copies_go_on_by_themselves(estimator, copied):
    model, y = begun(estimator), targets(estimator)
    first, second = copied(model), copied(model)
    before = model.predict(X)
    first.partial_fit(X, y)
    assert_array_equal(model.predict(X), before)
    model.partial_fit(X, y)
    second.set_params(learning_rate_init=1.0).partial_fit(X, y)
    assert_array_equal(weights(model), weights(first))
    assert not np.array_equal(weights(model), weights(second))
    assert set(vars(clone(model))) == set(model.get_params())


@ESTIMATORS
def test_a_fit_in_between_begins_anew(estimator):
    model, y = begun(estimator, max_iter=2), targets(estimator)
    other = estimator(hidden_layer_sizes=(5,), random_state=0, max_iter=2)
    for learner in (model, other):
        learner.fit(X[:, :3], y)
        learner.partial_fit(X[:2, :3], y[:2]).partial_fit(X[:1, :3], y[:1])
    assert_array_equal(weights(model), weights(other))
    with pytest.raises(ValueError, match="4 features"):
        model.partial_fit(X, y)


@ESTIMATORS
def test_weights_that_were_set_are_taken_over(estimator):
    model, y = begun(estimator), targets(estimator)
    other = without_memory(model)
    for learner in (model, other):
        learner.coefs_ = [np.ones_like(W) for W in learner.coefs_]
        learner.intercepts_[0][:] = 0.5
        learner.partial_fit(X, y)
    assert_array_equal(weights(model), weights(other))


def test_weights_before_a_call_stay_as_they_were():
    model = begun(MLPRegressor)
    seen = [model.coefs_[0]]
    copies = [seen[0].copy()]
    for rows in BATCHES:
        seen.append(model.partial_fit(X[rows], NUMBERS[rows]).coefs_[0])
        copies.append(seen[-1].copy())
    for view, expected in zip(seen, copies, strict=True):
        assert_array_equal(view, expected)
    assert len({W.tobytes() for W in copies}) == len(copies)


@ESTIMATORS
def test_unscaled_rows_in_the_middle_of_a_stream(estimator):
    model, y = begun(estimator), targets(estimator)
    large = X[:1] * np.float32([1, 1, 1e5, 1])
    with pytest.warns(UserWarning, match=r"unscaled column\(s\).*: 2\. Training"):
        model.partial_fit(large, y[:1])
    if estimator is MLPRegressor:
        with pytest.warns(UserWarning, match="scale y"):
            model.partial_fit(X[:1], np.float32([-1e5]))


def test_readers_see_the_state_after_one_of_the_calls():
    model = begun(MLPRegressor, n_threads=1)
    expected, seen, is_over = [], [], threading.Event()

    def read():
        while not is_over.is_set():
            seen.append(model.predict(X).tobytes())

    expected.append(model.predict(X).tobytes())
    thread = threading.Thread(target=read)
    thread.start()
    for i in range(300):
        rows = slice(i % 60, i % 60 + 1)
        expected.append(model.partial_fit(X[rows], NUMBERS[rows]).predict(X).tobytes())
    is_over.set()
    thread.join()
    assert set(seen) <= set(expected)
    assert len(set(expected)) == 301


@pytest.mark.parametrize("dtype", ["int8", "uint16", ">i4", "int64", "bool", "float32", "U3", "U9"])
def test_classes_are_those_of_scikit_learn(dtype):
    y = (LABELS > 0).astype(int) if dtype == "bool" else LABELS
    y = y.astype(dtype)
    model = MLPClassifier((3,), max_iter=1, random_state=0).fit(X, y)
    expected = unique_labels(y)
    assert_array_equal(model.classes_, expected)
    assert model.classes_.dtype == expected.dtype
    again = MLPClassifier((3,), random_state=0).partial_fit(X, y, classes=expected)
    again.partial_fit(X, y, classes=expected).partial_fit(X, y)
    assert_array_equal(again.classes_, expected)
    with pytest.raises(ValueError, match="is not the same as on last call"):
        again.partial_fit(X, y, classes=expected[1:])


def test_many_classes_lead_to_the_warning_of_scikit_learn():
    y = np.arange(60)
    message = "unique classes is greater than 50%"
    with pytest.warns(UserWarning, match=message):
        model = MLPClassifier((3,), random_state=0).partial_fit(X, y, classes=y)
    with pytest.warns(UserWarning, match=message):
        model.partial_fit(X, y)
    with pytest.warns(UserWarning, match=message):
        MLPClassifier((3,), max_iter=1).fit(X, y)


@ESTIMATORS
def test_a_subclass_with_defaults_of_its_own(estimator):
    class Own(estimator):
        def __init__(self, alpha=0.5, *, random_state=0):
            super().__init__(alpha=alpha, random_state=random_state)

    y = targets(estimator)
    known = {"classes": [0, 1, 2]} if estimator is MLPClassifier else {}
    same = estimator(alpha=0.5, random_state=0).partial_fit(X, y, **known)
    assert_array_equal(weights(Own().partial_fit(X, y, **known)), weights(same))
    with pytest.raises(ValueError, match="'alpha' parameter of Own"):
        Own(alpha=-1).partial_fit(X, y, **known)
