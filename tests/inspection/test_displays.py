"""Displays: what they draw is what the fit has recorded."""

import doctest
import sys
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.neural_network import MLPClassifier as PeerClassifier
from sklearn.pipeline import make_pipeline

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, WeightsDisplay
from fastmlp._inspection import displays, weights_display
from fastmlp._inspection.displays import (
    UNIT_QUANTITIES,
    WEIGHT_QUANTITIES,
    GradientFlowDisplay,
    LossCurveDisplay,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

DISPLAYS = (LossCurveDisplay, GradientFlowDisplay, WeightsDisplay)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:300] / 16, y[:300]


@pytest.fixture(scope="module")
def fitted(digits):
    """Two hidden layers, validation rows, a rate that falls, and diagnostics."""
    return fit(
        MLPClassifier((20, 12), learning_rate="cosine", early_stopping=True, diagnostics=True),
        *digits,
    )


@pytest.fixture(scope="module")
def plain(digits):
    return fit(MLPClassifier((9,)), *digits)


def fit(estimator, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.set_params(max_iter=6, random_state=0).fit(X, y)


def assert_shows(line, column):
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, len(column) + 1))
    np.testing.assert_array_equal(line.get_ydata(), column)


def labels(lines):
    return [line.get_label() for line in lines]


def in_legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


# Losses ------------------------------------------------------------------------------------------


def test_loss_curve_of_training_only(plain):
    display = LossCurveDisplay.from_estimator(plain)
    (line,) = display.lines_
    assert_shows(line, plain.history_["loss"])
    assert display.right_ax_ is None
    assert display.figure_ is display.ax_.figure
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("epoch", "loss")
    assert display.ax_.get_yscale() == "linear"


def test_loss_curve_with_validation_score(fitted):
    display = LossCurveDisplay.from_estimator(fitted, log_scale=True)
    for line, column in zip(display.lines_, ("loss", "val_loss", "val_score"), strict=True):
        assert_shows(line, fitted.history_[column])
    assert in_legend(display) == labels(display.lines_) == ["training", "validation", "score"]
    assert [line.axes for line in display.lines_] == [display.ax_] * 2 + [display.right_ax_]
    assert display.right_ax_.get_ylabel() == "validation score"
    assert (display.ax_.get_yscale(), display.right_ax_.get_yscale()) == ("log", "linear")


def test_loss_curve_with_learning_rate(fitted, digits):
    display = LossCurveDisplay.from_estimator(fitted, right_axis="learning_rate")
    assert_shows(display.lines_[2], fitted.history_["learning_rate"])
    assert display.right_ax_.get_ylabel() == "learning rate"
    assert len(LossCurveDisplay.from_estimator(fitted, right_axis=None).lines_) == 2
    falls = fit(MLPClassifier((9,), learning_rate="cosine"), *digits)
    assert labels(LossCurveDisplay.from_estimator(falls).lines_) == ["training", "learning rate"]


def test_loss_curve_of_lbfgs(digits):
    regressor = fit(MLPRegressor(hidden_layer_sizes=(9,), solver="lbfgs"), *digits)
    display = LossCurveDisplay.from_estimator(regressor)
    assert_shows(display.lines_[0], regressor.history_["loss"])
    assert display.ax_.get_xlabel() == "iteration"


def test_loss_curves_share_axes(fitted, plain):
    first = LossCurveDisplay.from_estimator(fitted, name="a")
    first.figure_.canvas.draw()
    second = LossCurveDisplay.from_estimator(plain, name="b", ax=first.ax_)
    assert in_legend(second) == ["a: training", "a: validation", "b: training", "a: score"]
    third = LossCurveDisplay.from_estimator(fitted, name="c", ax=first.ax_)
    assert second.ax_ is first.ax_
    assert third.right_ax_ is first.right_ax_
    shown = ["a: training", "a: validation", "b: training", "c: training", "c: validation"]
    assert in_legend(third) == [*shown, "a: score", "c: score"]
    colors = [{line.get_color() for line in display.lines_} for display in (first, second, third)]
    assert list(map(len, colors)) == [1, 1, 1]
    assert len(set.union(*colors)) == 3


def test_another_quantity_on_shared_axes_has_a_right_axis_of_its_own(fitted, plain):
    _, ax = plt.subplots()
    ax.axhline(0)  # a line without label
    score = LossCurveDisplay.from_estimator(fitted, ax=ax)
    rate = LossCurveDisplay.from_estimator(plain, ax=ax, right_axis="learning_rate")
    positions = [each.right_ax_.spines.right.get_position() for each in (score, rate)]
    assert positions == [("axes", 1.0), ("axes", 1.2)]
    shown = ["training", "validation", "training", "score", "learning rate"]
    assert in_legend(rate) == shown
    assert len({line.get_color() for line in score.lines_ + rate.lines_}) == 5


def test_loss_curves_beside_each_other_have_right_axes_of_their_own(fitted):
    _, axes = plt.subplots(1, 2)
    left, right = (LossCurveDisplay.from_estimator(fitted, ax=ax) for ax in axes)
    assert left.right_ax_ is not right.right_ax_


def test_one_epoch_is_a_point(digits):
    classifier = MLPClassifier((9,), random_state=0).partial_fit(*digits, classes=range(10))
    (line,) = LossCurveDisplay.from_estimator(classifier).lines_
    assert line.get_marker() == "o"


@pytest.mark.parametrize("right_axis", ["val_score", "loss", 1])
def test_right_axis_must_have_been_recorded(plain, right_axis):
    with pytest.raises(ValueError, match=rf"right_axis .*\['learning_rate'\], got {right_axis!r}"):
        LossCurveDisplay.from_estimator(plain, right_axis=right_axis)


# Layers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [*WEIGHT_QUANTITIES, *UNIT_QUANTITIES])
def test_gradient_flow(fitted, which):
    display = GradientFlowDisplay.from_estimator(fitted, which=which)
    history = fitted.history_
    if which == "update_ratio":
        values = np.array(history["update_norm"]) / np.array(history["weight_norm"])
    else:
        values = np.array(history[which])
    for line, column in zip(display.lines_, values.T, strict=True):
        assert_shows(line, column)
    assert in_legend(display) == labels(display.lines_)
    is_of_weights = which in WEIGHT_QUANTITIES
    names = ["1: 64 → 20", "2: 20 → 12", "3: 12 → 10"]
    assert in_legend(display) == (names if is_of_weights else ["1: 20 units", "2: 12 units"])
    assert display.ax_.get_yscale() == ("log" if is_of_weights else "linear")
    assert display.ax_.get_ylabel() == (WEIGHT_QUANTITIES | UNIT_QUANTITIES)[which]
    display.figure_.canvas.draw()


def test_legend_of_many_layers_has_some_of_them():
    display = GradientFlowDisplay(values=np.ones((4, 50))).plot()
    assert len(display.lines_) == 50
    assert len(in_legend(display)) == 10
    assert (in_legend(display)[0], in_legend(display)[-1]) == ("1", "50")


def test_gradients_that_are_all_0_have_no_log_scale():
    display = GradientFlowDisplay(values=np.zeros((4, 2))).plot()
    display.figure_.canvas.draw()
    assert display.ax_.get_yscale() == "linear"


def test_epochs_without_diagnostics_are_gaps(digits):
    classifier = fit(MLPClassifier((9,), warm_start=True), *digits)
    fit(classifier.set_params(diagnostics=True), *digits)
    fit(classifier.set_params(diagnostics=False), *digits)
    for line in GradientFlowDisplay.from_estimator(classifier).lines_:
        is_there = np.isfinite(line.get_ydata())
        np.testing.assert_array_equal(is_there, np.repeat([False, True, False], 6))


def test_gradient_flow_needs_diagnostics_and_a_known_quantity(fitted, plain, digits):
    with pytest.raises(ValueError, match="fit again with diagnostics=True"):
        GradientFlowDisplay.from_estimator(plain)
    with pytest.raises(ValueError, match=r"which must be one of \['gradient_norm', .*, got 'loss'"):
        GradientFlowDisplay.from_estimator(fitted, which="loss")
    linear = fit(MLPClassifier((), diagnostics=True), *digits)
    assert len(GradientFlowDisplay.from_estimator(linear).lines_) == 1
    with pytest.raises(ValueError, match="'dead_units' is of hidden layers, and estimator has non"):
        GradientFlowDisplay.from_estimator(linear, which="dead_units")


# Weights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_units", "n_shown"), [(25, 20), (7, 7), (None, 20)])
def test_weights(fitted, max_units, n_shown):
    display = WeightsDisplay.from_estimator(fitted, max_units=max_units)
    assert len(display.images_) == n_shown
    shown = fitted.coefs_[0][:, :n_shown]
    for unit, image in enumerate(display.images_):
        np.testing.assert_array_equal(image.get_array(), shown[:, unit].reshape(8, 8))
        assert image.get_clim() == (-abs(shown).max(), abs(shown).max())
    boxes = [image.get_extent() for image in display.images_]  # left, right, bottom, top
    assert len({(left, top) for left, _, _, top in boxes}) == n_shown
    assert all(right - left == pytest.approx(8) for left, right, _, _ in boxes)
    assert display.ax_.get_xlabel() == f"{n_shown} of 20 units"
    assert display.colorbar_.ax.get_ylabel() == "weight"


@pytest.mark.parametrize("image_shape", [(4, 16), [1, 64], (64, 1), np.zeros((2, 32)).shape])
def test_weights_of_a_given_shape(fitted, image_shape):
    display = WeightsDisplay.from_estimator(fitted, image_shape=image_shape)
    assert display.images_[0].get_array().shape == tuple(image_shape)
    display.figure_.canvas.draw()


def test_image_of_a_unit_is_upright():
    display = WeightsDisplay(weights=np.arange(12.0).reshape(6, 2), image_shape=(2, 3)).plot()
    left, right, bottom, top = display.images_[0].get_extent()
    (x_min, x_max), (y_low, y_high) = display.ax_.get_xlim(), display.ax_.get_ylim()
    assert x_min < left < right < x_max
    assert y_low > bottom > top > y_high


def test_weights_that_are_all_0():
    WeightsDisplay(weights=np.zeros((4, 3))).plot().figure_.canvas.draw()


@pytest.mark.parametrize("image_shape", [None, (2, 4), (3,), 6, (-2, -3), (2.0, 3.0), "ab"])
def test_image_shape_must_fit(image_shape):
    display = WeightsDisplay(weights=np.zeros((6, 2)), image_shape=image_shape)
    with pytest.raises(ValueError, match=r"image_shape must be .* the product 6, .*, got "):
        display.plot()


@pytest.mark.parametrize("max_units", [0, 2.5, "all"])
def test_max_units_must_be_a_number(plain, max_units):
    with pytest.raises(ValueError, match=f"max_units must be None or .*, got {max_units!r}"):
        WeightsDisplay.from_estimator(plain, max_units=max_units)


# All of them -------------------------------------------------------------------------------------


@pytest.mark.parametrize("display", DISPLAYS)
def test_axes_are_taken(fitted, display):
    _, ax = plt.subplots()
    drawn = display.from_estimator(fitted, ax=ax)
    assert drawn.ax_ is ax
    assert drawn.figure_ is ax.figure
    assert drawn.plot() is drawn
    assert drawn.ax_ is not ax
    with pytest.raises(TypeError, match="ax must be an Axes of matplotlib or None, got 'axes'"):
        display.from_estimator(fitted, ax="axes")


@pytest.mark.parametrize("display", DISPLAYS)
def test_estimator_must_be_fitted_and_ours(plain, display):
    with pytest.raises(NotFittedError, match="This MLPClassifier instance is not fitted yet"):
        display.from_estimator(MLPClassifier())
    for other in (PeerClassifier(), make_pipeline(plain), MLPClassifier, None):
        with pytest.raises(TypeError, match=r"estimator must be .* of fastmlp .*, got "):
            display.from_estimator(other)
    assert plt.get_fignums() == []


def test_initialized_estimator_has_weights_and_no_losses():
    classifier = MLPClassifier((9,), random_state=0).initialize(4, classes=[0, 1])
    assert len(WeightsDisplay.from_estimator(classifier).images_) == 9
    for display in (LossCurveDisplay, GradientFlowDisplay):
        with pytest.raises(NotFittedError, match="no epoch yet: call fit or partial_fit"):
            display.from_estimator(classifier)


@pytest.mark.parametrize("display", DISPLAYS)
def test_without_matplotlib(fitted, display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=rf"^{display.__name__} needs matplotlib: pip install "):
        display.from_estimator(fitted)


@pytest.mark.parametrize("classes", [2, 3])
def test_decision_boundaries_are_drawn_by_scikit_learn(classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < classes, :2], y[y < classes]
    classifier = fit(MLPClassifier((9,)), X, y)
    display = DecisionBoundaryDisplay.from_estimator(classifier, X, grid_resolution=20)
    grid = np.column_stack([display.xx0.ravel(), display.xx1.ravel()])
    shown = np.reshape(display.response, (len(grid), -1)).squeeze()
    probabilities = classifier.predict_proba(grid)
    np.testing.assert_array_equal(shown, probabilities[:, 1] if classes == 2 else probabilities)


def test_docstring_examples():
    assert all(hasattr(fastmlp, display.__name__) for display in DISPLAYS)
    for module in (displays, weights_display):
        assert doctest.testmod(module).failed == 0
