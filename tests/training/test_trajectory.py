"""Same seed, same trajectory: in float64 every number of a fit follows scikit-learn's own."""

import warnings
from itertools import combinations, product

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network
from numpy.testing import assert_allclose
from problems import TASKS, make_task
from sklearn.neural_network import _multilayer_perceptron as scikit_learn
from sklearn.utils.fixes import parse_version

from fastmlp import MLPRegressor

pytestmark = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"),
    reason="the trajectory is that of scikit-learn 1.9; earlier ones fail on strings by a score",
)

RTOL = 1e-6

ALL_TASKS = TASKS | {
    "squared_error of 3": (MLPRegressor, "squared_error"),
    "poisson of 3": (MLPRegressor, "poisson"),
}


def both(task, **parameters):
    """scikit-learn's estimator and ours, in float64."""
    estimator, loss = ALL_TASKS[task]
    if estimator is MLPRegressor:
        parameters["loss"] = loss
    theirs = getattr(sklearn.neural_network, estimator.__name__)(**parameters)
    return theirs, estimator(**parameters, dtype="float64")


def call_both(pair, method, *args, parameters=None, **kwargs):
    """Call a method of both, which must warn of the same: of max_iter, of a large batch_size."""
    categories = []
    for estimator in pair:
        estimator.set_params(**(parameters or {}))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            getattr(estimator, method)(*args, **kwargs)
        categories.append([warning.category for warning in caught])
    assert categories[0] == categories[1]


def assert_close(got, want):
    """Relative to the largest number of an array: one near 0 is a difference of larger ones."""
    assert_allclose(got, want, rtol=RTOL, atol=RTOL * np.abs(want).max())


def assert_same_trajectory(theirs, ours, X):
    for attribute in ("coefs_", "intercepts_"):
        for got, want in zip(getattr(ours, attribute), getattr(theirs, attribute), strict=True):
            assert_close(got, want)
    for attribute in (
        "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_",
        "n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_",
    ):  # fmt: skip
        want, got = (getattr(estimator, attribute, "absent") for estimator in (theirs, ours))
        if isinstance(want, (float, list)):
            assert_allclose(got, want, rtol=RTOL, err_msg=attribute)
        else:
            assert got == want, attribute
    if not hasattr(theirs, "classes_"):
        assert_close(ours.predict(X), theirs.predict(X))
        return
    assert (ours.classes_ == theirs.classes_).all()
    assert (ours.predict(X) == theirs.predict(X)).all()
    assert_close(ours.predict_proba(X), theirs.predict_proba(X))
    assert_close(ours.predict_log_proba(X), theirs.predict_log_proba(X))


@pytest.fixture
def sum_over_outputs(monkeypatch):
    """Half the squared error summed over the outputs, in scikit-learn too.

    Its mean is not the loss that its gradient belongs to, so that stopping by ``tol`` and the line
    search of lbfgs go other ways. For one output there is no difference.
    """

    def squared_error(y, prediction, sample_weight=None):
        return 0.5 * np.average((y - prediction) ** 2, weights=sample_weight, axis=0).sum()

    monkeypatch.setitem(scikit_learn.LOSS_FUNCTIONS, "squared_error", squared_error)


# The matrix of a fit's parameters ----------------------------------------------------------------

MOMENTA = {
    "plain": {"momentum": 0},
    "momentum": {"momentum": 0.5, "nesterovs_momentum": False},
    "nesterov": {},
}
SCHEDULES = {
    "constant": {},
    "invscaling": {"power_t": 0.2},
    "adaptive": {"tol": 0.05, "n_iter_no_change": 1},  # lowers the rate in few epochs
}
DESCENTS = {
    f"sgd-{momentum}-{schedule}": {
        "solver": "sgd",
        "learning_rate_init": 0.02,
        "learning_rate": schedule,
        **MOMENTA[momentum],
        **SCHEDULES[schedule],
    }
    for momentum, schedule in product(MOMENTA, SCHEDULES)
} | {
    "adam": {"solver": "adam"},
    "adam-forgetful": {"solver": "adam", "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    "lbfgs": {"solver": "lbfgs"},
}

N_ROWS = 230  # 'auto' makes a mini-batch of 200 and a short one
FACTORS = {
    "task": [*ALL_TASKS],
    "descent": [*DESCENTS],
    "activation": ["identity", "logistic", "tanh", "relu"],
    "hidden_layer_sizes": [(), (9, 5), (20,)],
    "alpha": [0, 1e-4, 1],
    "batch_size": ["auto", 20, 1000],
    "weighted": [False, True],
    "early_stopping": [False, True],
    "shuffle": [False, True],
    "sparse": [False, True],
}


def covering(factors, strength):
    """Rows in which any ``strength`` factors take every combination of their values.

    Greedy: the first combination that is missing, completed by the values that add most others.
    """
    missing = dict.fromkeys(  # a set that keeps its order
        frozenset(zip(names, values, strict=True))
        for names in combinations(factors, strength)
        for values in product(*(factors[name] for name in names))
    )

    def gain(row, item):
        return sum(frozenset((*c, item)) in missing for c in combinations(row, strength - 1))

    rows = []
    while missing:
        row = dict(next(iter(missing)))
        for name in [name for name in factors if name not in row]:
            gains = {value: gain(row.items(), (name, value)) for value in factors[name]}
            row[name] = max(gains, key=gains.get)
        for combination in combinations(row.items(), strength):
            missing.pop(frozenset(combination), None)
        rows.append({name: row[name] for name in factors})
    return rows


ROWS = covering(FACTORS, strength=3)


# Those of scikit-learn for hidden layers.
ACTIVATIONS = sorted(set(sklearn.neural_network._base.ACTIVATIONS) - {"softmax", "exp"})


def name_of(row):
    return "-".join(
        name if value is True else str(value) for name, value in row.items() if value is not False
    )


def test_any_three_factors_take_every_combination():
    assert set(FACTORS["activation"]) == set(ACTIVATIONS)
    assert {descent["solver"] for descent in DESCENTS.values()} == {"sgd", "adam", "lbfgs"}
    for names in combinations(FACTORS, 3):
        taken = {tuple(row[name] for name in names) for row in ROWS}
        assert taken == set(product(*(FACTORS[name] for name in names)))


@pytest.mark.usefixtures("sum_over_outputs")
@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_fit(row):
    """Ten epochs, and less where training ends by itself; a weighted fit has rows of weight 0."""
    parameters = {"max_iter": 10, "validation_fraction": 0.2, "random_state": 3} | row
    task, descent, weighted, sparse = map(parameters.pop, ("task", "descent", "weighted", "sparse"))
    X, y, w = make_task(task, N_ROWS)
    w[::7] = 0
    if sparse:
        X = scipy.sparse.csr_array(np.where(np.abs(X) > 0.7, X, 0))
    pair = both(task, **parameters, **DESCENTS[descent])
    call_both(pair, "fit", X, y, sample_weight=w if weighted else None)
    assert_same_trajectory(*pair, X)


# Sequences of calls ------------------------------------------------------------------------------


def classes_of(task, y):
    """What partial_fit of a classifier asks for."""
    if ALL_TASKS[task][0] is MLPRegressor:
        return {}
    return {"classes": np.arange(3) if task == "multilabel" else np.unique(y)}


@pytest.mark.usefixtures("sum_over_outputs")
@pytest.mark.parametrize("descent", [name for name in DESCENTS if name != "lbfgs"])
@pytest.mark.parametrize("task", ALL_TASKS)
def test_partial_fit(task, descent):
    """Parts of all sizes, of which the first ones lack a class; the second time with weights."""
    X, y, w = make_task(task)
    by_class = np.argsort(y if y.ndim == 1 else y[:, 0], kind="stable")
    X, y, w = X[by_class], y[by_class], w[by_class]
    pair = both(task, random_state=3, batch_size=20, **DESCENTS[descent])
    for weighted in (False, True):
        for part in np.split(np.arange(len(X)), [30, 31, 85, 92]):
            arguments = X[part], y[part], w[part] if weighted else None
            call_both(pair, "partial_fit", *arguments, **classes_of(task, y))
        assert_same_trajectory(*pair, X)


SGD, ADAM, LBFGS = ({"solver": solver} for solver in ("sgd", "adam", "lbfgs"))
STOPPING = {"early_stopping": True, "validation_fraction": 0.3}
SEQUENCES = {
    "sgd": [("fit", SGD)] * 3,
    "adam": [("fit", ADAM)] * 3,
    "lbfgs": [("fit", LBFGS)] * 3,
    "invscaling": [("fit", DESCENTS["sgd-momentum-invscaling"])] * 3,
    "adaptive": [("fit", DESCENTS["sgd-nesterov-adaptive"])] * 3,
    "sgd with early stopping": [("fit", SGD | STOPPING)] * 4,
    "adam with early stopping": [("fit", ADAM | STOPPING)] * 4,
    "lbfgs with early stopping": [("fit", LBFGS | STOPPING)] * 2,
    "from solver to solver": [("fit", SGD), ("fit", ADAM), ("fit", SGD)],
    "parameters that change": [
        ("fit", SGD),
        ("fit", {"alpha": 1, "momentum": 0.5}),
        ("fit", {"learning_rate_init": 0.05, "batch_size": 20, "max_iter": 2}),
        ("fit", {"shuffle": False, "learning_rate": "invscaling"}),
    ],
    "patience that lasts": [("fit", {"tol": 10, "n_iter_no_change": 6})] * 3,
    "patience that lasts, by score": [("fit", STOPPING | {"tol": 10, "n_iter_no_change": 6})] * 3,
    "cold starts": [("fit", {"warm_start": False}), ("fit", SGD), ("fit", STOPPING), ("fit", {})],
    "sgd by parts": [("fit", SGD), ("partial_fit", {}), ("partial_fit", {}), ("fit", {})],
    "adam by parts": [("partial_fit", {}), ("partial_fit", {}), ("fit", {}), ("partial_fit", {})],
}


def assert_same_after_each(calls, task):
    """Calls one after the other, each with some rows less."""
    X, y, w = make_task(task)
    pair = both(task, warm_start=True, max_iter=4, learning_rate_init=0.01, random_state=3)
    for n_left_out, (method, parameters) in enumerate(calls):
        rows = slice(5 * n_left_out, None)
        classes = classes_of(task, y) if method == "partial_fit" else {}
        call_both(pair, method, X[rows], y[rows], w[rows], parameters=parameters, **classes)
        assert_same_trajectory(*pair, X)


@pytest.mark.usefixtures("sum_over_outputs")
@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("task", ALL_TASKS)
def test_warm_starts(task, sequence):
    assert_same_after_each(SEQUENCES[sequence], task)


@pytest.mark.parametrize("start", [SGD, SGD | STOPPING], ids=["by loss", "by score"])
def test_warm_start_through_lbfgs(start):
    assert_same_after_each([("fit", start), ("fit", LBFGS), ("fit", SGD)], "binary")


@pytest.mark.parametrize("descent", ["sgd-nesterov-constant", "adam", "lbfgs"])
def test_random_state_goes_on(descent):
    """An instance is drawn from by one fit after the other, as often in both."""
    X, y, _ = make_task("binary")
    pair = both("binary", max_iter=4, warm_start=True, early_stopping=True, **DESCENTS[descent])
    states = [np.random.RandomState(3) for _ in pair]
    for estimator, state in zip(pair, states, strict=True):
        estimator.set_params(random_state=state)
    for parameters in ({}, {}, {"warm_start": False}):
        call_both(pair, "fit", X, y, parameters=parameters)
        assert_same_trajectory(*pair, X)
    assert len({state.uniform() for state in states}) == 1


# The end of training -----------------------------------------------------------------------------


@pytest.mark.usefixtures("sum_over_outputs")
@pytest.mark.parametrize("early_stopping", [False, True], ids=["by loss", "by score"])
@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("task", ALL_TASKS)
def test_adaptive_lowers_the_rate_to_the_end(task, momentum, early_stopping):
    X, y, _ = make_task(task)
    pair = both(
        task, solver="sgd", learning_rate="adaptive", learning_rate_init=0.02, tol=0.02,
        n_iter_no_change=1, early_stopping=early_stopping, random_state=3, **MOMENTA[momentum],
    )  # fmt: skip
    call_both(pair, "fit", X, y)
    assert_same_trajectory(*pair, X)
    rates = pair[1].history_["learning_rate"]
    assert len(set(rates)) == 8
    assert rates[-1] <= 1e-6
    assert len(rates) < 200


@pytest.mark.usefixtures("sum_over_outputs")
@pytest.mark.parametrize("early_stopping", [False, True], ids=["by loss", "by score"])
@pytest.mark.parametrize("descent", ["sgd-nesterov-constant", "sgd-plain-invscaling", "adam"])
@pytest.mark.parametrize("task", ALL_TASKS)
def test_stops_without_progress(task, descent, early_stopping):
    X, y, _ = make_task(task)
    pair = both(
        task, tol=0.02, n_iter_no_change=3, early_stopping=early_stopping, random_state=3,
        **DESCENTS[descent],
    )  # fmt: skip
    call_both(pair, "fit", X, y)
    assert_same_trajectory(*pair, X)
    assert 4 < pair[1].n_iter_ < 200


@pytest.mark.usefixtures("sum_over_outputs")
@pytest.mark.parametrize("end", [{"tol": 0.01}, {"max_fun": 5}, {"max_iter": 3}], ids=str)
@pytest.mark.parametrize("task", ALL_TASKS)
def test_lbfgs_ends(task, end):
    """At a minimum, or where it must; the same warning goes with it."""
    X, y, _ = make_task(task)
    pair = both(task, solver="lbfgs", hidden_layer_sizes=(), random_state=3, **end)
    call_both(pair, "fit", X, y)
    assert_same_trajectory(*pair, X)


# Labels, several outputs, the gradient -----------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [["a", "bb", "ccc"], ["no", "yes"], [False, True], [-1, 1], [0.0, 1.0, 5.0]],
    ids=str,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_labels_of_many_kinds(labels, method):
    """Given as lists, so that a part with short strings only has another dtype."""
    X, y, _ = make_task("multiclass")
    y = [labels[k % len(labels)] for k in np.sort(y // 10)]
    pair = both("multiclass", max_iter=4, random_state=3)
    if method == "fit":
        call_both(pair, "fit", X, y)
    else:
        for rows in (slice(30), slice(30, 100), slice(100, None)):
            call_both(pair, "partial_fit", X[rows], y[rows], classes=labels)
    assert_same_trajectory(*pair, X)
    theirs, ours = (estimator.predict(X).dtype for estimator in pair)
    assert ours == theirs


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("alpha", [0, 1])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_squared_error_of_several_outputs(solver, alpha, activation):
    """scikit-learn as it is shows the mean over the outputs; the weights go the same way."""
    X, y, w = make_task("squared_error of 3")
    theirs, ours = pair = both(
        "squared_error of 3", solver=solver, alpha=alpha, activation=activation, max_iter=10,
        random_state=3,
    )  # fmt: skip
    call_both(pair, "fit", X, y, w)
    for got, want in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_,
                         strict=True):  # fmt: skip
        assert_close(got, want)
    assert_close(ours.predict(X), theirs.predict(X))
    if alpha == 0:
        assert_allclose(np.divide(ours.loss_curve_, 3), theirs.loss_curve_, rtol=RTOL)


def test_gradient():
    """An independent check of the core: scikit-learn's own back-propagation."""
    X, y, w = make_task("multiclass")
    pair = theirs, ours = both(
        "multiclass", activation="tanh", alpha=0.5, max_iter=1, random_state=0
    )
    call_both(pair, "fit", X, y)
    n_layers = theirs.n_layers_
    loss, dW, db = theirs._backprop(
        X, theirs._label_binarizer.transform(y), w, [X] + [None] * (n_layers - 1),
        [None] * (n_layers - 1), [None] * (n_layers - 1), [None] * (n_layers - 1),
    )  # fmt: skip
    network = ours._network
    network.params = list(zip(theirs.coefs_, theirs.intercepts_, strict=True))
    got = network.loss_and_gradients(X, y // 10, w, 0.5)
    assert_allclose(got.loss, loss, rtol=1e-12)
    for g, e in zip(got.dW + got.db, dW + db, strict=True):
        assert_allclose(g, e, rtol=1e-10, atol=1e-14)
