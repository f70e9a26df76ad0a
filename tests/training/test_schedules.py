"""Learning-rate schedules: against PyTorch's where it is there, by hand, and in a fit."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier, MLPRegressor, Network
from fastmlp._core import SOLVERS
from fastmlp._engine.checks import check_data
from fastmlp._training.descent import Descent
from fastmlp._training.schedules import SCHEDULE_PARAMS, SCHEDULES, factors

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_EPOCHS, N_STEPS = 24, 5


def factors_of(name, **options):
    """The factor of every step of a training of N_EPOCHS epochs, an epoch at a time."""
    defaults = {key: number.default for key, number in SCHEDULE_PARAMS[name].items()}
    return np.concatenate([
        factors(name, defaults | options, epoch * N_STEPS, N_STEPS, N_STEPS, N_EPOCHS)
        for epoch in range(N_EPOCHS)
    ])  # fmt: skip


def of_epochs(name, **options):
    return factors_of(name, **options)[::N_STEPS]


CASES = [
    ("step", {"step_size": 7, "gamma": 0.3}, "StepLR", {"step_size": 7, "gamma": 0.3}),
    ("exponential", {"gamma": 0.8}, "ExponentialLR", {"gamma": 0.8}),
    ("cosine", {"final": 0.1}, "CosineAnnealingLR", {"T_max": N_EPOCHS, "eta_min": 0.1}),
    (
        "cosine_restarts",
        {"period": 3, "multiplier": 2, "final": 0.1},
        "CosineAnnealingWarmRestarts",
        {"T_0": 3, "T_mult": 2, "eta_min": 0.1},
    ),
    (
        "cosine_restarts",
        {"period": 5, "multiplier": 1},
        "CosineAnnealingWarmRestarts",
        {"T_0": 5, "T_mult": 1},
    ),
]


@pytest.mark.parametrize(("name", "options", "theirs", "their_options"), CASES)
def test_schedule_is_that_of_pytorch(name, options, theirs, their_options):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = getattr(torch.optim.lr_scheduler, theirs)(optimizer, **their_options)
    expected = []
    for _ in range(N_EPOCHS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert_allclose(of_epochs(name, **options), expected, atol=1e-12)


def test_schedules_by_hand():
    assert_allclose(of_epochs("step", step_size=10), [1] * 10 + [0.1] * 10 + [0.01] * 4)
    assert_allclose(of_epochs("exponential", gamma=0.5)[:4], [1, 0.5, 0.25, 0.125])
    cosine = factors_of("cosine")
    assert_allclose(cosine[[0, len(cosine) // 2]], [1, 0.5])
    assert (np.diff(cosine) < 0).all()  # from step to step
    restarts = of_epochs("cosine_restarts", period=4, multiplier=2)
    assert_allclose(restarts[[0, 2, 4, 8, 12]], [1, 0.5, 1, 0.5, 1])
    cycle = factors_of("one_cycle", peak_at=0.25, start=0.1, final=0.0)
    peak = cycle.argmax()
    assert_allclose([cycle[0], peak / len(cycle), cycle[peak]], [0.1, 0.25, 1])
    assert (np.diff(cycle[: peak + 1]) > 0).all()
    assert (np.diff(cycle[peak:]) < 0).all()
    assert cycle[-1] < 0.01
    # peaks at (2^(k + 1/2) - 1) / 15 of all epochs, zeros at (2^k - 1) / 15 for k = 0 to 3
    waves = factors("coslog4", {"warmup": 0}, 0, 15_000, 1000, 15)
    is_peak = (waves[1:-1] > waves[:-2]) & (waves[1:-1] >= waves[2:])
    expected = 2 ** np.arange(0.5, 4) - 1
    assert_allclose((np.flatnonzero(is_peak) + 1) / 1000, expected, atol=1e-3)
    assert_allclose(waves[[0, 1000, 3000, 7000]], 0, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warmup_rises_in_a_straight_line(name):
    warm = factors_of(name, warmup=2)
    n = 2 * N_STEPS
    begins_with = factors_of(name)[0]
    assert_allclose(warm[:n], begins_with * np.arange(1, n + 1) / n)
    if name not in (
        "cosine",
        "flat_cosine",
        "one_cycle",
        "coslog4",
    ):  # the schedule follows from its beginning
        assert_allclose(warm[n:], factors_of(name)[:-n], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("cosine", {"warmup": 5e-324, "final": 1.0}, 1),
        ("cosine_restarts", {"period": 5e-324, "multiplier": 1e300, "final": 1.0}, 1),
        ("cosine_restarts", {"period": 1, "multiplier": 1e308, "final": 1.0}, 1),
        ("step", {"step_size": 5e-324, "gamma": 1.0}, 1),
        ("one_cycle", {"peak_at": 5e-324, "final": 1.0, "start": 1.0}, 1),
    ],
)
def test_extreme_options_are_numbers(name, options, expected):
    """And NumPy does not warn."""
    assert_allclose(factors_of(name, **options), expected)


def test_an_extreme_epsilon_stands_still():
    X = np.random.RandomState(0).randn(30, 2)
    regressor = MLPRegressor(epsilon=1e300, max_iter=2, random_state=0).fit(X, X[:, 0])
    first = MLPRegressor(random_state=0).initialize(2)
    assert_allclose(regressor.coefs_[0], first.coefs_[0], rtol=1e-6)


def test_schedules_with_an_end_take_the_epochs_after_the_warmup():
    """Four of 24 epochs are warmup: half a cosine over 20, a peak after half of those."""
    cosine = of_epochs("cosine", warmup=4, final=0.2)
    expected = 0.6 + 0.4 * np.cos(np.pi * np.arange(20) / 20)
    assert_allclose(cosine[4:], expected)
    cycle = of_epochs("one_cycle", warmup=4, peak_at=0.5, start=0.2, final=0.0)
    up = 0.6 - 0.4 * np.cos(np.pi * np.arange(10) / 10)
    down = 0.5 + 0.5 * np.cos(np.pi * np.arange(10) / 10)
    assert_allclose(cycle[4:], [*up, *down])


def history(solver="sgd", **parameters):
    X, y = load_digits(return_X_y=True)
    settings = {"max_iter": 6, "learning_rate_init": 0.01, "random_state": 0, "batch_size": 600}
    classifier = MLPClassifier((10,), solver=solver, **settings | parameters).fit(X / 16, y)
    return classifier.history_


# name: (options, the factor after so many epochs of six), one of which is warmup
LAST_STEPS = np.arange(5) + 2 / 3
BY_HAND = {
    "constant": ({}, np.ones(5)),
    "step": ({"step_size": 2, "gamma": 0.3}, [1, 1, 0.3, 0.3, 0.09]),
    "exponential": ({"gamma": 0.5}, 0.5 ** np.arange(5)),
    "cosine": ({}, np.cos(np.pi * LAST_STEPS / 10) ** 2),
    "flat_cosine": ({}, np.cos(np.pi * np.maximum(LAST_STEPS - 2.5, 0) / 5) ** 2),
    "cosine_restarts": (
        {"period": 2, "multiplier": 1},
        np.cos(np.pi * (LAST_STEPS % 2) / 4) ** 2,
    ),
    "coslog4": ({}, np.sin(np.pi * np.log2(1 + 3 * LAST_STEPS)) ** 2),
    "one_cycle": (
        {"peak_at": 0.4, "start": 0.0, "final": 0.0},
        np.where(
            LAST_STEPS < 2,
            np.sin(np.pi * LAST_STEPS / 4) ** 2,
            np.cos(np.pi * (LAST_STEPS - 2) / 6) ** 2,
        ),
    ),
}


def test_every_schedule_is_followed_by_hand():
    assert set(BY_HAND) == set(SCHEDULES) - {"invscaling", "adaptive", "plateau"}


@pytest.mark.parametrize("solver", sorted(set(SOLVERS) - {"rprop"}))
@pytest.mark.parametrize("name", BY_HAND)
def test_every_solver_follows_every_schedule(name, solver):
    """The history shows the rate of an epoch's last step, the third of three."""
    options, expected = BY_HAND[name]
    rates = history(solver, learning_rate=name, schedule_params=options | {"warmup": 1})
    assert_allclose(rates["learning_rate"][1:], 0.01 * np.array(expected))


def test_rate_acts_in_every_step():
    """Three steps of plain gradient descent whose rates are those of the schedule."""
    X, y = np.eye(3), np.zeros(3)
    regressor = MLPRegressor(
        hidden_layer_sizes=(), solver="sgd", momentum=0, batch_size=1, shuffle=False, alpha=0,
        learning_rate="cosine", learning_rate_init=0.1, max_iter=1, dtype="float64", random_state=0,
    )  # fmt: skip
    before = regressor.initialize(3)
    W, b = before.coefs_[0].copy(), before.intercepts_[0].copy()
    for i, factor in enumerate((1, 0.75, 0.25)):
        slope = X[i] @ W + b - y[i]
        W -= 0.1 * factor * X[i][:, np.newaxis] * slope
        b -= 0.1 * factor * slope
    after = regressor.fit(X, y)
    assert_allclose(after.coefs_[0], W)
    assert_allclose(after.intercepts_[0], b)


def test_plateau():
    """A loss that stands still lowers the rate after more than `patience` epochs."""
    rates = history(
        learning_rate="plateau", schedule_params={"patience": 1, "factor": 0.5}, tol=100.0,
        max_iter=8, n_iter_no_change=20,
    )["learning_rate"]  # fmt: skip
    # the first epoch gets better than infinity
    assert_allclose(rates, 0.01 * 0.5 ** np.array([0, 0, 0, 1, 1, 2, 2, 3]))


def test_plateau_ends_the_training_once_the_rate_is_small():
    rates = history(
        learning_rate="plateau", schedule_params={"patience": 1, "factor": 0.005}, tol=100.0,
        max_iter=50, n_iter_no_change=3,
    )["learning_rate"]  # fmt: skip
    # two falls, to below 1e-6, and then four epochs without progress
    assert_allclose(rates, [1e-2] * 3 + [5e-5] * 2 + [2.5e-7] * 4)


@pytest.mark.parametrize("name", ["cosine", "flat_cosine", "one_cycle", "coslog4"])
def test_a_schedule_that_is_over_is_no_sign_of_no_convergence(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a mark would give way to the module's
        history(learning_rate=name)
        with pytest.raises(ConvergenceWarning):
            history(learning_rate="constant")


def test_partial_fit_goes_through_a_schedule():
    X, y = load_digits(return_X_y=True)
    classifier = MLPClassifier(
        (10,), learning_rate="cosine", max_iter=4, batch_size=1797, random_state=0
    )
    for _ in range(6):
        classifier.partial_fit(X / 16, y, classes=range(10))
    expected = [1, np.cos(np.pi / 8) ** 2, 0.5, np.sin(np.pi / 8) ** 2, 0, 0]
    assert_allclose(classifier.history_["learning_rate"], 1e-3 * np.array(expected), atol=1e-12)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_schedule_of_a_stream_counts_steps(name):
    """Step by step it has the rates of an epoch at a time, however many rows there will be."""
    network = Network([3, 2], random_state=0)
    options = {key: number.default for key, number in SCHEDULE_PARAMS[name].items()}
    settings = {"schedule": name, "schedule_params": options | {"warmup": 2}, "n_epochs": N_EPOCHS}
    descent = Descent(network, "sgd", settings)
    seen = []
    for _ in range(N_EPOCHS * N_STEPS):
        (rate,) = descent.learning_rates(1, steps_in_epoch=N_STEPS)
        gradient = np.zeros((1, network.parameters.flat.size), dtype=np.float32)
        descent.apply_gradient(gradient, rate)
        seen.append(rate)
    assert_allclose(seen, 1e-3 * factors_of(name, warmup=2), rtol=1e-6)


def test_epochs_of_different_lengths_count_as_epochs():
    network = Network([3, 2], random_state=0)
    descent = Descent(network, "sgd", {"schedule": "exponential", "schedule_params": OPTIONS})
    rows = np.random.RandomState(0).standard_normal((60, 3)).astype(np.float32)
    data = check_data(rows, rows[:, :2], None, network)
    for epoch, n_rows in enumerate((60, 10, 30, 60)):
        descent.epoch(data, np.arange(n_rows), batch_size=10)
        assert descent.learning_rate == pytest.approx(1e-3 * 0.5**epoch)


OPTIONS = {"gamma": 0.5, "warmup": 0}
