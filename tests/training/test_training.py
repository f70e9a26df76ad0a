"""Solvers against the reference, and everything about epochs: schedules, stopping, divergence."""

import pickle
import sys

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose
from problems import as_reference, make_problem, make_task
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier, MLPRegressor, _core
from fastmlp._core import ACTIVATIONS, SOLVERS
from fastmlp._engine import activations
from fastmlp._engine.rows import Data, Features
from fastmlp._training import solvers
from fastmlp._training.descent import Descent
from fastmlp._training.history import History

ignore_convergence = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ignore_unscaled = pytest.mark.filterwarnings("ignore:y. the mean or standard deviation is beyond")

SETTINGS = {"learning_rate": 0.05}

SOLVER_CASES = [
    ("sgd", {}),
    ("sgd", {"nesterov": False}),
    ("sgd", {"momentum": 0.0}),
    ("adam", {}),
    ("adam", {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    ("adam", {"amsgrad": True, "beta_2": 0.5}),
    ("adamw", {"weight_decay": 0.3}),
    ("nadam", {}),
    ("nadam", {"momentum_decay": 0.2, "epsilon": 1e-3}),
    ("rmsprop", {"rho": 0.7}),
    ("adagrad", {}),
    ("adadelta", {"rho": 0.7, "epsilon": 1e-3}),
    ("rprop", {"learning_rate": 0.01}),
    (
        "rprop",
        {"learning_rate": 0.01, "eta_plus": 2.0, "largest_step": 0.03, "smallest_step": 0.01},
    ),
]


def test_every_solver_is_compared():
    assert {name for name, _ in SOLVER_CASES} == set(SOLVERS) == set(reference.SOLVERS)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-11), ("float32", 2e-5)])
@pytest.mark.parametrize(("solver", "changes"), SOLVER_CASES)
def test_solver_is_the_reference_for_20_steps(solver, changes, dtype, rtol):
    network, X, y, w = make_problem("squared_error", "tanh", dtype, n_rows=50)
    settings = SETTINGS | changes
    alpha, batch_size = 0.1, 12  # five mini-batches, the last of 2 rows; four epochs
    params = as_reference(network)
    flat = [p for pair in params for p in pair]
    expected = reference.SOLVERS[solver](flat, **settings)
    descent = Descent(network, solver, settings | {"l2": alpha})
    data = Data(Features.of(X), y, w)
    for _ in range(4):
        losses = []
        for start in range(0, 50, batch_size):
            rows = slice(start, start + batch_size)
            arguments = (X[rows].astype(float), y[rows], "tanh", "squared_error", w[rows], alpha)
            losses += [reference.cost(params, *arguments)] * len(X[rows])
            _, dW, db = reference.backward(params, *arguments)
            expected.step(flat, [g for pair in zip(dW, db, strict=True) for g in pair])
        loss, _ = descent.epoch(data, np.arange(50), batch_size)
        assert_allclose(loss, np.mean(losses), rtol=rtol)
    for (W, b), (expected_W, expected_b) in zip(network.params, params, strict=True):
        assert_allclose(W, expected_W, rtol=rtol, atol=rtol)
        assert_allclose(b, expected_b, rtol=rtol, atol=rtol)


def test_mini_batch_of_weight_zero_neither_moves_nor_breaks():
    network, X, y, _ = make_problem("squared_error", "tanh", n_rows=20)
    before = network.snapshot()
    descent = Descent(network, "sgd", SETTINGS | {"l2": 0.1})
    loss, _ = descent.epoch(Data(Features.of(X), y, np.zeros(20)), np.arange(20), 10)
    assert loss == 0
    assert (network.parameters.flat == before).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tiny_epsilon_does_not_divide_zero_by_zero(dtype):
    """A relu unit that is dead for all rows has a gradient of 0 from the first step on."""
    network, X, y, w = make_problem("squared_error", "relu", dtype)
    network.b[0][...] = -1e3
    Descent(network, "adam", SETTINGS | {"epsilon": 1e-300}).epoch(
        Data(Features.of(X), y, w), np.arange(len(X)), 10
    )
    assert np.isfinite(network.parameters.flat).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_overfits_a_few_rows(solver, dtype):
    X, y, _ = make_task("multiclass", n_rows=20)
    classifier = MLPClassifier(
        (50,), solver=solver, learning_rate_init=0.02, alpha=0, max_iter=2000, tol=1e-6,
        random_state=0, dtype=dtype,
    )  # fmt: skip
    classifier.fit(X, y)
    assert classifier.score(X, y) == 1
    assert classifier.loss_ < 1e-2


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_xor(solver):
    X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    classifier = MLPClassifier(
        (8,), activation="tanh", solver=solver, learning_rate_init=0.1, alpha=0, tol=1e-5,
        max_iter=2000, random_state=1,
    )  # fmt: skip
    assert classifier.fit(X, y).predict(X).tolist() == y


@ignore_convergence
def test_stops_after_n_iter_no_change():
    X, y = load_iris(return_X_y=True)
    classifier = MLPClassifier(tol=10, n_iter_no_change=3, random_state=0).fit(X, y)
    assert classifier.n_iter_ == 5  # the first epoch is progress, four more are not
    assert (
        len(MLPClassifier(tol=10, n_iter_no_change=np.inf, max_iter=20).fit(X, y).loss_curve_) == 20
    )


@ignore_convergence
def test_early_stopping_keeps_the_best_weights():
    X, y = load_digits(return_X_y=True)
    classifier = MLPClassifier(
        early_stopping=True, n_iter_no_change=5, learning_rate_init=0.02, random_state=0
    ).fit(X, y)
    scores = classifier.validation_scores_
    assert max(scores) == classifier.best_validation_score_
    assert len(scores) == classifier.n_iter_
    stopped_at_best = MLPClassifier(
        early_stopping=True, learning_rate_init=0.02, random_state=0,
        max_iter=int(np.argmax(scores)) + 1,
    ).fit(X, y)  # fmt: skip
    for got, want in zip(classifier.coefs_, stopped_at_best.coefs_, strict=True):
        assert (got == want).all()


def test_warns_when_max_iter_is_reached():
    X, y = load_iris(return_X_y=True)
    for solver in ("adam", "lbfgs"):
        with pytest.warns(ConvergenceWarning, match=r"(?i)iteration.*reached"):
            MLPClassifier(solver=solver, max_iter=2).fit(X, y)


@ignore_convergence
def test_verbose_tells_of_every_epoch(capsys):
    X, y, _ = make_task("binary")
    MLPClassifier(max_iter=2, verbose=2, early_stopping=True, random_state=0).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Iteration 1, loss = ")
    assert lines[1].startswith("Validation score: ")
    MLPClassifier(max_iter=2, verbose=2, solver="lbfgs").fit(X, y)
    assert capsys.readouterr().out.startswith("Iteration 1, loss = ")
    MLPClassifier(tol=10, n_iter_no_change=1, solver="sgd", learning_rate="adaptive",
                  verbose=2).fit(X, y)  # fmt: skip
    out = capsys.readouterr().out
    assert "Setting learning rate to 0.000200" in out
    assert "Learning rate too small. Stopping." in out
    MLPClassifier(max_iter=2).fit(X, y)
    assert capsys.readouterr().out == ""


@ignore_unscaled
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_divergence_stops_and_leaves_the_estimator(solver):
    X, y, _ = make_task("squared_error")
    regressor = MLPRegressor(solver=solver, warm_start=True, max_iter=50, learning_rate_init=1e-3)
    with pytest.warns(ConvergenceWarning):
        regressor.set_params(max_iter=3).fit(X, y)
    before = pickle.dumps(regressor)
    regressor.set_params(max_iter=50)
    unchanged = regressor.predict(X)
    regressor.set_params(learning_rate_init=1e30)
    y = y * (1e200 if solver == "lbfgs" else 1e30)
    with (
        pytest.raises(ValueError, match="Solver produced non-finite parameter weights"),
        np.errstate(all="ignore"),
    ):
        regressor.fit(X, y)
    assert (regressor.predict(X) == unchanged).all()
    regressor.set_params(max_iter=3, learning_rate_init=1e-3)
    assert pickle.dumps(regressor) == before


STEPS_TOO_LONG = {
    "last epoch": dict(max_iter=1),
    "every epoch, with early stopping": dict(max_iter=3, early_stopping=True),
    "with a scorer": dict(max_iter=3, early_stopping=True, scoring="accuracy"),
    "averaging": dict(max_iter=1, averaging=0.5),
    "warm start": dict(max_iter=1, warm_start=True),
    "partial_fit": dict(max_iter=1),
}


@ignore_convergence
@pytest.mark.parametrize("case", STEPS_TOO_LONG)
@pytest.mark.parametrize("kind", ["multiclass", "squared_error"])
def test_finite_weights_that_predict_nan_are_divergence(kind, case):
    X, y, _ = make_task(kind)
    model = MLPRegressor if kind == "squared_error" else MLPClassifier
    model = model(random_state=0, dtype="float32", **STEPS_TOO_LONG[case])
    if kind == "squared_error" and model.scoring:
        model.set_params(scoring="neg_mean_squared_error")
    if case in ("warm start", "partial_fit"):
        model.fit(X, y)
    before = pickle.dumps(vars(model).get("_network"))
    scores = []
    model.set_params(learning_rate_init=1e30, callbacks=lambda e, s: scores.append(s.val_score))
    method = model.partial_fit if case == "partial_fit" else model.fit
    with pytest.raises(ValueError, match=r"non-finite.*dtype='float64'"):
        method(X, y)
    assert pickle.dumps(vars(model).get("_network")) == before
    if model.early_stopping:
        assert np.isnan(scores[0])


@ignore_convergence
def test_a_score_of_nan_loses_against_any_number():
    X, y, _ = make_task("multiclass")

    def too_far(estimator, state):
        if state.epoch == 2:
            estimator.coefs_ = [np.full_like(W, 1e30) for W in estimator.coefs_]

    model = MLPClassifier(early_stopping=True, max_iter=9, callbacks=too_far, random_state=0)
    with pytest.warns(RuntimeWarning, match="Training has diverged"):
        model.fit(X, y)
    assert np.isnan(model.validation_scores_[-1])
    assert np.isfinite(model.best_validation_score_)
    assert np.isfinite(model.predict_proba(X)).all()
    history = History()
    history.judge(np.nan, -1.0, 0.0, larger_is_better=True)
    assert history.n_bad_epochs == 1


@pytest.mark.usefixtures("interrupted")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_interrupt_keeps_the_weights(solver):
    """Ctrl-C in the middle of a long epoch."""
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((100_000, 50)), rng.standard_normal(100_000)
    regressor = MLPRegressor(
        hidden_layer_sizes=(200, 200), solver=solver, max_iter=10_000, tol=0, max_fun=10**9,
        n_iter_no_change=np.inf,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        regressor.fit(X, y)
    assert np.isfinite(regressor.predict(X[:5])).all()


@ignore_unscaled
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("spoil", [dict(alpha=1e42), dict(learning_rate_init=1e30)])
def test_partial_fit_goes_on_after_a_bad_batch(solver, spoil):
    """What went wrong once leaves nothing behind, not even NaN in padding."""
    X, y, _ = make_task("squared_error")
    regressor, twin = (
        MLPRegressor(hidden_layer_sizes=(4,), solver=solver, random_state=0).partial_fit(X, y)
        for _ in range(2)
    )
    usual = {name: getattr(regressor, name) for name in spoil}
    with pytest.raises(ValueError, match="non-finite"), np.errstate(all="ignore"):
        regressor.set_params(**spoil).partial_fit(X, y * 1e15)
    regressor.set_params(**usual).partial_fit(X, y)
    twin.partial_fit(X, y)
    assert all((a == b).all() for a, b in zip(regressor.coefs_, twin.coefs_, strict=True))


@ignore_unscaled
def test_overflow_in_the_solver_is_divergence():
    """The square of the gradient is infinite: Adam would stand still for ever."""
    X, y, _ = make_task("squared_error")
    with pytest.raises(ValueError, match="overflowed in the solver"):
        MLPRegressor(hidden_layer_sizes=(), max_iter=2).fit(X, y * 1e25)


@ignore_convergence
def test_extreme_power_t_is_a_rate_of_zero():
    X, y, _ = make_task("squared_error")
    regressor = MLPRegressor(
        solver="sgd", learning_rate="invscaling", power_t=1000.0, max_iter=3
    ).fit(X, y)
    assert regressor.history_["learning_rate"][-1] == 0


@pytest.mark.parametrize("n", [0, 1, 2, 3, 64, 65, 1000, 70_000])
@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.PCG64, np.random.SFC64])
def test_shuffle_is_that_of_numpy(n, bits):
    """The same order, and the generator goes on with the same numbers."""
    ours, theirs = np.random.RandomState(bits(3)), np.random.RandomState(bits(3))
    order, expected = np.arange(n), np.arange(n)
    for _ in range(3):
        _core.shuffle(order, ours._bit_generator)
        theirs.shuffle(expected)
        np.testing.assert_array_equal(order, expected)
    assert ours.uniform() == theirs.uniform()


def test_sys_maxsize_is_as_good_as_infinity():
    X, y = load_iris(return_X_y=True)
    settings = {"n_iter_no_change": sys.maxsize, "tol": 1e3, "max_iter": 30, "random_state": 0}
    with pytest.warns(ConvergenceWarning):
        classifier = MLPClassifier((5,), **settings).fit(X, y)
    assert classifier.n_iter_ == 30


# PyTorch's optimizers -----------------------------------------------------------------------------

THEIRS = [
    ("sgd", {"nesterov": False}, "SGD", {"momentum": 0.9}),
    ("sgd", {}, "SGD", {"momentum": 0.9, "nesterov": True}),
    ("adam", {}, "Adam", {}),
    ("adam", {"amsgrad": True, "beta_2": 0.6}, "Adam", {"amsgrad": True, "betas": (0.9, 0.6)}),
    ("adamw", {"weight_decay": 0.1}, "AdamW", {"weight_decay": 0.1}),
    ("nadam", {}, "NAdam", {}),
    ("rmsprop", {"rho": 0.95}, "RMSprop", {"alpha": 0.95}),
    ("adagrad", {}, "Adagrad", {}),
    ("adadelta", {"learning_rate": 1.0, "epsilon": 1e-4}, "Adadelta", {"lr": 1.0, "eps": 1e-4}),
    ("rprop", {}, "Rprop", {}),
]


@pytest.mark.parametrize(("solver", "settings", "theirs", "their_settings"), THEIRS)
def test_solver_is_that_of_pytorch_for_50_steps(solver, settings, theirs, their_settings):
    torch = pytest.importorskip("torch")
    network, X, y, w = make_problem("squared_error", "tanh", n_rows=40)
    settings = {"learning_rate": 0.01, "epsilon": 1e-12} | settings
    weights = [torch.tensor(W, requires_grad=True) for W in network.W]
    biases = [torch.tensor(b, requires_grad=True) for b in network.b]
    if theirs not in ("SGD", "Rprop"):
        their_settings = {"eps": 1e-12} | their_settings
    optimizer = getattr(torch.optim, theirs)(
        [{"params": weights}, {"params": biases, "weight_decay": 0}]
        if solver == "adamw"
        else [*weights, *biases],
        **{"lr": 0.01} | their_settings,
    )
    share = torch.tensor(w / w.sum())
    for _ in range(50):
        a = torch.tensor(X)
        for l, (W, b) in enumerate(zip(weights, biases, strict=True)):
            a = a @ W + b if l == len(weights) - 1 else torch.tanh(a @ W + b)
        optimizer.zero_grad()
        (0.5 * share @ ((a - torch.tensor(y)) ** 2).sum(dim=1)).backward()
        optimizer.step()
    descent, data = Descent(network, solver, settings), Data(Features.of(X), y, w)
    for _ in range(50):
        descent.epoch(data, np.arange(40), 40)
    for W, b, their_W, their_b in zip(network.W, network.b, weights, biases, strict=True):
        assert_allclose(W, their_W.detach().numpy(), rtol=1e-6, atol=1e-9)
        assert_allclose(b, their_b.detach().numpy(), rtol=1e-6, atol=1e-9)


def test_tables_of_python_and_of_the_core_have_the_same_rows():
    assert set(solvers.SOLVERS) == set(SOLVERS)
    assert set(activations.ACTIVATIONS) == set(ACTIVATIONS)
