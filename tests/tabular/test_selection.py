"""The arithmetic of the ensembles of tables: greedy selection, temperature, conformal quantiles."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss as log_loss_of_scikit_learn
from sklearn.metrics import mean_squared_error

from fastmlp._tabular.base import evenly
from fastmlp._tabular.calibration import at_temperature, best_temperature, conformal_quantile
from fastmlp._tabular.selection import (
    greedy_selection,
    log_loss,
    mean_log_losses,
    mean_squared_errors,
    of_true_class,
    squared_error,
)

N_MODELS, N_ROWS, N_CLASSES = 7, 60, 3


@pytest.fixture
def rng():
    return np.random.RandomState(0)


def selected_by_brute_force(loss_of, predictions, n_steps):
    """Greedy selection with replacement, every mean computed from nothing."""
    chosen, best = [], np.inf
    while len(chosen) < n_steps:
        losses = [
            loss_of(np.mean([predictions[i] for i in [*chosen, new]], axis=0))
            for new in range(len(predictions))
        ]
        if min(losses) >= best:
            break
        best = min(losses)
        chosen.append(losses.index(best))
    return np.bincount(chosen, minlength=len(predictions)) / len(chosen)


@pytest.mark.parametrize("n_steps", [1, 3, 32])
def test_selection_by_squared_error_is_that_of_brute_force(rng, n_steps):
    y, weight = rng.standard_normal(N_ROWS), rng.uniform(size=N_ROWS)
    predictions = y + rng.standard_normal((N_MODELS, N_ROWS)) * rng.uniform(0.5, 1, (N_MODELS, 1))
    expected = selected_by_brute_force(
        lambda mean: mean_squared_error(y, mean, sample_weight=weight), predictions, n_steps
    )
    assert n_steps < 32 or 1 < np.count_nonzero(expected) < N_MODELS
    got = greedy_selection(mean_squared_errors(y, weight), predictions, n_steps)
    assert_allclose(got, expected)


@pytest.mark.parametrize("n_steps", [1, 3, 32])
def test_selection_by_log_loss_is_that_of_brute_force(rng, n_steps):
    y, weight = rng.randint(N_CLASSES, size=N_ROWS), rng.uniform(size=N_ROWS)
    predictions = softmax(
        np.eye(N_CLASSES)[y] + rng.standard_normal((N_MODELS, N_ROWS, N_CLASSES)), axis=-1
    )
    expected = selected_by_brute_force(
        lambda mean: log_loss_of_scikit_learn(y, mean, sample_weight=weight), predictions, n_steps
    )
    got = greedy_selection(mean_log_losses(weight), of_true_class(y, predictions), n_steps)
    assert_allclose(got, expected)


def test_selection_ends_when_no_model_improves_it():
    """The first model has no error, so that there is nothing to add to it."""
    y = np.array([0.0, 1.0])
    weights = greedy_selection(mean_squared_errors(y, None), np.array([[1.0, 1.0], y, [0.5, 0.5]]))
    assert_array_equal(weights, [0, 1, 0])


def test_selection_may_take_models_several_times():
    """Of predictions -1 and 2, the mean of 2:1 is 0."""
    weights = greedy_selection(
        mean_squared_errors(np.zeros(1), None), np.array([[-1.0], [2.0]]), n_steps=3
    )
    assert_allclose(weights, [2 / 3, 1 / 3])


def test_selection_without_a_finite_loss_takes_the_first_model():
    assert_array_equal(greedy_selection(lambda means: [np.nan] * 3, np.zeros((3, 1))), [1, 0, 0])


def test_losses_are_those_of_scikit_learn(rng):
    weight = rng.uniform(size=N_ROWS)
    y, predictions = rng.standard_normal((2, N_ROWS))
    assert_allclose(
        squared_error(y, predictions[:, np.newaxis], weight),
        mean_squared_error(y, predictions, sample_weight=weight),
    )
    y = rng.randint(N_CLASSES, size=N_ROWS)
    p = softmax(rng.standard_normal((N_ROWS, N_CLASSES)), axis=1)
    assert_allclose(log_loss(y, p, weight), log_loss_of_scikit_learn(y, p, sample_weight=weight))


def test_log_loss_of_an_impossible_class_is_finite():
    assert np.isfinite(log_loss(np.array([1]), np.array([[1.0, 0.0]]), np.ones(1)))


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
def test_temperature_is_that_of_scipy(rng, sharpness):
    """Labels drawn from the softmax of known logits, given to the calibration too sharp or flat."""
    logits = rng.standard_normal((500, N_CLASSES))
    y = np.array([rng.choice(N_CLASSES, p=p) for p in softmax(logits, axis=1)])
    weight = rng.uniform(size=500)
    given = log_softmax(sharpness * logits, axis=1)

    def loss(log_temperature):
        scaled = log_softmax(given / np.exp(log_temperature[0]), axis=1)
        return -(weight * scaled[np.arange(500), y]).sum()

    expected = np.exp(minimize(loss, [0.0], method="Nelder-Mead", tol=1e-10).x[0])
    assert abs(expected - sharpness) < 0.4 * sharpness  # the labels tell the temperature
    assert_allclose(best_temperature(y, np.exp(given), weight), expected, rtol=1e-3)


def test_temperature_is_limited(rng):
    y = rng.randint(2, size=50)
    right = np.eye(2)[y] * 0.8 + 0.1  # always right, so the sharper the better
    assert_allclose(best_temperature(y, right, np.ones(50)), 1 / 3, rtol=1e-3)
    assert_allclose(best_temperature(y, right[:, ::-1], np.ones(50)), 3, rtol=1e-3)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_probabilities_at_a_temperature(rng, temperature):
    p = softmax(rng.standard_normal((N_ROWS, N_CLASSES)), axis=1)
    assert_allclose(
        at_temperature(p, temperature), softmax(np.log(p) / temperature, axis=1), rtol=1e-12
    )


@pytest.mark.parametrize("n", [1, 2, 4, 9, 19, 24, 49, 99])
def test_conformal_quantile_has_its_coverage_exactly(rng, n):
    """Each of n + 1 exchangeable scores is as likely to be the one to come.

    So the coverage is the share of them that lies within the quantile of the others. It is the
    least multiple of 1 / (n + 1) that is no less than what was asked for.
    """
    scores = np.sort(rng.standard_normal(n + 1))
    for percent in range(1, 100):
        coverage = Fraction(percent, 100)
        n_within = sum(
            score <= conformal_quantile(np.delete(scores, i), percent / 100)
            for i, score in enumerate(scores)
        )
        assert coverage <= Fraction(n_within, n + 1) < coverage + Fraction(1, n + 1), percent


def test_conformal_quantile_of_too_few_scores_is_infinite():
    assert conformal_quantile(np.arange(9.0), 0.9) == 8  # the ninth of ten places
    assert conformal_quantile(np.arange(8.0), 0.9) == np.inf
    assert conformal_quantile(np.array([]), 0.1) == np.inf


@pytest.mark.parametrize(
    ("n_rows", "fraction"), [(2, 0.5), (4, 0.01), (10, 0.2), (1000, 0.2), (999, 0.5)]
)
def test_part_set_aside_is_spread_evenly(n_rows, fraction):
    places = np.flatnonzero(evenly(n_rows, fraction) == 0)
    assert len(places) == max(1, round(fraction * n_rows))
    gaps = np.diff(places, prepend=-1, append=n_rows)
    inner = gaps[1:-1] if len(places) > 1 else np.array([0])
    assert inner.max() - inner.min() <= 1


@pytest.mark.parametrize("fraction", [0.7, 0.9999])
def test_part_set_aside_leaves_rows_to_train_on(fraction):
    for n_rows in (2, 3, 4, 60):
        assert 0 < np.count_nonzero(evenly(n_rows, fraction) == 0) < n_rows
