"""Losses as estimators offer them: against PyTorch, scikit-learn, or by what they estimate."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.metrics import (
    d2_pinball_score,
    d2_tweedie_score,
    mean_gamma_deviance,
    mean_poisson_deviance,
    mean_tweedie_deviance,
    r2_score,
)

from fastmlp import MLPClassifier, MLPRegressor, Network, check_gradients
from fastmlp._core import LOSSES
from fastmlp._engine import losses
from fastmlp._engine.losses import LOSSES_OF_CLASSIFIER, LOSSES_OF_REGRESSOR

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SEVERAL = [0.05, 0.3, 0.5, 0.95]


def test_every_loss_belongs_to_an_estimator():
    assert set(LOSSES) == set(losses.LOSSES)


def loss_and_slope(loss, z, y, **loss_params):
    """Of a network without hidden layers whose weighted inputs are z."""
    network = Network([z.shape[1]] * 2, loss=loss, loss_params=loss_params, dtype="float64")
    network.params = [(np.eye(z.shape[1]), np.zeros(z.shape[1]))]
    got = network.loss_and_gradients(z, y)
    return got.loss, got.delta[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_label_smoothing_is_that_of_pytorch(n_classes, smoothing):
    torch = pytest.importorskip("torch")
    rng = np.random.RandomState(0)
    z, y = 3 * rng.standard_normal((20, n_classes)), rng.randint(0, n_classes, 20)
    theirs = torch.tensor(z, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(theirs, torch.tensor(y), label_smoothing=smoothing)
    loss.backward()
    ours, slope = loss_and_slope("log_loss", z, y, label_smoothing=smoothing)
    assert_allclose(ours, loss.item())
    assert_allclose(slope, theirs.grad.numpy(), atol=1e-15)


def test_label_smoothing_of_two_classes_is_that_of_a_softmax():
    rng = np.random.RandomState(0)
    z, y = 3 * rng.standard_normal((20, 1)), rng.randint(0, 2, (20, 1))
    both = np.hstack([np.zeros_like(z), z])
    expected, slope = loss_and_slope("log_loss", both, y.ravel(), label_smoothing=0.2)
    ours, our_slope = loss_and_slope("binary_log_loss", z, y, label_smoothing=0.2)
    assert_allclose(ours, expected)
    assert_allclose(our_slope, slope[:, 1:])


@pytest.mark.parametrize("delta", [0.3, 1.0, 4.0])
def test_huber_is_that_of_pytorch(delta):
    torch = pytest.importorskip("torch")
    rng = np.random.RandomState(0)
    z, y = 3 * rng.standard_normal((2, 20, 3))
    theirs = torch.tensor(z, requires_grad=True)
    loss = torch.nn.functional.huber_loss(theirs, torch.tensor(y), delta=delta, reduction="sum")
    (loss / 20).backward()
    ours, slope = loss_and_slope("huber", z, y, delta=delta)
    assert_allclose(ours, loss.item() / 20)
    assert_allclose(slope, theirs.grad.numpy())


@pytest.mark.parametrize(
    ("loss", "deviance", "options"),
    [
        ("poisson", mean_poisson_deviance, {}),
        ("gamma", mean_gamma_deviance, {}),
        ("tweedie", lambda y, a: mean_tweedie_deviance(y, a, power=1.5), {}),
        ("tweedie", lambda y, a: mean_tweedie_deviance(y, a, power=1.2), {"power": 1.2}),
    ],
)
def test_deviances_are_half_of_those_of_scikit_learn(loss, deviance, options):
    rng = np.random.RandomState(0)
    z, y = rng.standard_normal((20, 1)), rng.gamma(2.0, size=(20, 1))
    ours, _ = loss_and_slope(loss, z, y, **options)
    assert_allclose(ours, 0.5 * deviance(y.ravel(), np.exp(z).ravel()))


def noisy_data(n_rows=400):
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, (n_rows, 1))
    return X, np.sin(3 * X.ravel()) + (0.2 + 0.2 * X.ravel()) * rng.standard_normal(n_rows)


def test_quantiles_do_not_cross_and_cover_their_share():
    X, y = noisy_data()
    regressor = MLPRegressor(
        "quantile", (30,), activation="tanh", solver="lbfgs", loss_params={"quantiles": SEVERAL},
        random_state=0, max_iter=1000,
    ).fit(X, y)  # fmt: skip
    predicted = regressor.predict(np.vstack([X, 100 * X]))
    assert predicted.shape == (800, 4)
    assert (np.diff(predicted, axis=1) >= 0).all()
    assert_allclose((y[:, np.newaxis] <= predicted[:400]).mean(axis=0), SEVERAL, atol=0.03)
    scores = [
        d2_pinball_score(y, p, alpha=q) for q, p in zip(SEVERAL, predicted[:400].T, strict=True)
    ]
    assert_allclose(regressor.score(X, y), np.mean(scores))
    assert check_gradients(regressor, X[:50] + 0.01, y[:50]).error < 1e-3


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_one_quantile_of_each_output(n_outputs):
    X, y = noisy_data()
    y = y if n_outputs == 1 else np.column_stack([y, -y])
    regressor = MLPRegressor(
        "quantile", (30,), activation="tanh", loss_params={"quantiles": 0.8}, random_state=0,
        solver="lbfgs", max_iter=1000,
    ).fit(X, y)  # fmt: skip
    predicted = regressor.predict(X).reshape(y.shape)
    assert_allclose((y <= predicted).mean(axis=0), 0.8, atol=0.05)
    assert_allclose(regressor.score(X, y), d2_pinball_score(y, predicted, alpha=0.8))


def test_several_quantiles_need_one_target():
    X, y = noisy_data(20)
    regressor = MLPRegressor("quantile", loss_params={"quantiles": [0.1, 0.9]})
    with pytest.raises(ValueError, match=r"several quantiles need one y, got 2 columns"):
        regressor.fit(X, np.column_stack([y, y]))


@pytest.mark.parametrize(
    "quantiles", [[], [0.5, 0.1], [0.1, 0.1], [0.1, 1.0], 0.0, "half", None, [0.1, np.nan]]
)
def test_quantiles_must_ascend(quantiles):
    X, y = noisy_data(20)
    with pytest.raises(ValueError, match=r"loss_params\['quantiles'\].*ascending"):
        MLPRegressor("quantile", loss_params={"quantiles": quantiles}).fit(X, y)


@pytest.mark.parametrize("loss", sorted(LOSSES_OF_REGRESSOR))
def test_weights_are_repeated_rows_in_every_loss(loss):
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((30, 3)), rng.gamma(2.0, size=30)
    weight = rng.randint(0, 3, 30)
    settings = {"solver": "lbfgs", "max_iter": 5, "random_state": 0, "tol": 1e-12}
    weighted = MLPRegressor(loss, (4,), activation="tanh", **settings).fit(X, y, weight)
    repeated = MLPRegressor(loss, (4,), activation="tanh", **settings).fit(
        X.repeat(weight, axis=0), y.repeat(weight)
    )
    assert_allclose(weighted.loss_, repeated.loss_, rtol=1e-8)
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-5)


@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
def test_outliers_count_less(loss):
    X, y = noisy_data()
    y = y.copy()
    y[::20] += 100
    errors = {}
    for name in (loss, "squared_error"):
        regressor = MLPRegressor(name, (30,), activation="tanh", solver="adam", random_state=0)
        regressor.set_params(learning_rate_init=0.01, max_iter=300)
        predicted = regressor.fit(X, y).predict(X)
        errors[name] = np.median(abs(predicted - np.sin(3 * X.ravel())))
    assert errors[loss] < 0.2 * errors["squared_error"]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_squared_error_of_classes(kind):
    X, y = load_digits(return_X_y=True)
    X = X / 16
    if kind == "binary":
        y = y > 4
    elif kind == "multilabel":
        y = np.column_stack([y > 4, y % 2 == 0]).astype(int)
    classifier = MLPClassifier(loss="squared_error", random_state=0, max_iter=60).fit(X, y)
    probabilities = classifier.predict_proba(X)
    assert classifier.score(X, y) > 0.95
    if kind != "multilabel":
        assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert check_gradients(classifier, X[:40], y[:40]).error < 1e-4
    with pytest.raises(ValueError, match="takes none, got 'label_smoothing'"):
        MLPClassifier(loss="squared_error", loss_params={"label_smoothing": 0.1}).fit(X, y)


def test_initialize_with_several_quantiles():
    regressor = MLPRegressor("quantile", (3,), loss_params={"quantiles": SEVERAL}).initialize(2)
    assert regressor.predict(np.ones((5, 2))).shape == (5, 4)
    with pytest.raises(ValueError, match="several quantiles need one y, got 2 columns"):
        regressor.initialize(2, n_outputs=2)


@pytest.mark.parametrize("loss", LOSSES_OF_CLASSIFIER)
def test_validation_rows_of_two_classes_are_stratified(loss):
    X, y = np.random.RandomState(0).standard_normal((200, 3)), np.arange(200) < 20
    shares = []

    def scoring(estimator, X, y):
        shares.append(y.mean())
        return 0.0

    settings = {"early_stopping": True, "scoring": scoring, "max_iter": 1}
    for seed in range(8):  # by chance one split in four has this share
        MLPClassifier((3,), loss=loss, random_state=seed, **settings).fit(X, y)
    assert shares == [0.1] * 8


def skewed(n_rows=400):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((n_rows, 3))
    return X, rng.gamma(2.0, np.exp(X[:, 0]) / 2), rng.uniform(size=n_rows)


@pytest.mark.filterwarnings("ignore:.*Under 'poisson' training may diverge")
@pytest.mark.parametrize("init", [None, "he_normal", [np.zeros((3, 2))]])
@pytest.mark.parametrize("loss", ["gamma", "tweedie", "poisson"])
def test_the_output_begins_at_the_mean(loss, init):
    X, y, w = skewed()
    y, settings = np.column_stack([1000 * y, y + 0.01]), {"learning_rate_init": 1e-12}
    regressor = MLPRegressor(loss, (), init=init, max_iter=1, random_state=0, **settings)
    began = regressor.fit(X, y, w).intercepts_[0].copy()
    if loss == "poisson":  # as scikit-learn's
        expected = MLPRegressor(loss, (), init=init, random_state=0).initialize(3, 2).intercepts_[0]
    else:
        expected = np.log((w[:, np.newaxis] * y).sum(axis=0) / w.sum())
    assert_allclose(began, expected, rtol=1e-5, atol=1e-9)
    regressor.set_params(warm_start=True).fit(X, 100 * y)  # which goes on
    regressor.partial_fit(X, 100 * y)
    assert_allclose(regressor.intercepts_[0], began, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("loss", ["gamma", "tweedie"])
def test_the_unit_of_a_positive_y_does_not_matter(loss, early_stopping):
    X, y, _ = skewed()
    settings = {"early_stopping": early_stopping, "max_iter": 100, "random_state": 0}
    settings |= {"dtype": "float64", "learning_rate_init": 0.01, "tol": 0.0}
    scores = []
    for unit in (1.0, 1e3, 1e6):
        regressor = MLPRegressor(loss, (20,), **settings).fit(X, unit * y)
        scores.append(regressor.score(X, unit * y))
        assert_allclose(
            scores[-1],
            d2_tweedie_score(unit * y, regressor.predict(X), power=2 if loss == "gamma" else 1.5),
        )
    assert min(scores) > 0.4
    assert_allclose(scores, scores[0], atol=0.05)


def test_the_score_of_validation_rows_is_that_of_the_loss():
    X, y, w = skewed()
    y[:10] = 0
    for loss, power in (("tweedie", 1.3), ("poisson", None)):
        settings = {"loss_params": {"power": power}} if power else {}
        regressor = MLPRegressor(loss, early_stopping=True, max_iter=20, random_state=0, **settings)
        regressor.fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:], sample_weight_val=w[200:])
        predicted = regressor.predict(X[200:])
        if power:
            expected = d2_tweedie_score(y[200:], predicted, power=power, sample_weight=w[200:])
        else:
            expected = r2_score(y[200:], predicted, sample_weight=w[200:])
        assert_allclose(regressor.best_validation_score_, expected, rtol=1e-5)
        assert_allclose(regressor.score(X[200:], y[200:], w[200:]), expected, rtol=1e-5)


def test_the_deviance_of_several_outputs_and_of_a_constant():
    X, y, w = skewed()
    both = np.column_stack([y, 3.0 + 0 * y])
    regressor = MLPRegressor("gamma", max_iter=5, random_state=0).fit(X, both, w)
    first = d2_tweedie_score(y, regressor.predict(X)[:, 0], power=2, sample_weight=w)
    assert_allclose(regressor.score(X, both, w), first / 2)  # nothing of a constant is explained
    zeros = MLPRegressor("tweedie", early_stopping=True, max_iter=5, random_state=0)
    zeros.fit(X, 0 * y)
    assert zeros.validation_scores_ == [0.0] * 5
    with pytest.raises(ValueError, match="inconsistent"):
        regressor.score(X, both[:3])
    with pytest.raises(ValueError, match="strictly positive"):
        regressor.score(X, both * [-1, 1])


def expected_loss(loss, z, y):
    """Of one output, from its definition in long double, whose logarithm is NumPy's."""
    z, y = np.longdouble(z), np.longdouble(y)
    a = np.exp(z)
    if loss == "binary_log_loss":
        return np.log1p(np.exp(-z)) if y else np.log1p(np.exp(z))
    if loss == "poisson":
        return (y * (np.log(y) - z) if y else 0) - y + a
    if loss == "gamma":
        return z - np.log(y) + y / a - 1
    p, q = np.longdouble(1) - np.longdouble(1.3), np.longdouble(2) - np.longdouble(1.3)
    return y**q / (p * q) - y * np.exp(p * z) / p + np.exp(q * z) / q


@pytest.mark.parametrize("loss", ["binary_log_loss", "poisson", "gamma", "tweedie"])
def test_losses_from_the_smallest_targets_to_the_largest(loss):
    """Each alone: a sum would hide the small ones."""
    targets = [0, 1e-300, 1e-30, 1e-3, 0.3, 1, 2.5, 1e3, 1e9][loss == "gamma" :]
    options = {"power": 1.3} if loss == "tweedie" else {}
    for z in (-400.0, -40.0, -3.0, 0.0, 0.7, 40.0, 400.0):
        for y in [0, 1] if loss == "binary_log_loss" else targets:
            if loss != "binary_log_loss" and abs(z) > 40:
                continue
            got, _ = loss_and_slope(loss, np.array([[z]]), np.array([[y]], float), **options)
            want = expected_loss(loss, z, y)
            # a deviance is a difference of numbers as large as these
            size = 0 if loss == "binary_log_loss" else abs(y * z) + y + np.exp(abs(z)) * (y > 0)
            assert_allclose(got, float(want), rtol=1e-14, atol=1e-14 * float(size))
            several, _ = loss_and_slope(
                loss, np.full((1, 37), z), np.full((1, 37), y, float), **options
            )
            assert_allclose(several, 37 * got, rtol=1e-13, atol=1e-14 * float(size))


def written_in_python(y, z):
    """Half the squared error, as anybody would write it."""
    e = z - y
    return 0.5 * (e**2).sum(axis=1), e


def of_rows(n_rows=700, n_outputs=2):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((n_rows, 6))
    return X, X[:, :n_outputs] ** 2, rng.uniform(0, 2, n_rows)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_loss_written_in_python_is_that_of_the_core(solver, dtype, n_threads):
    X, y, weight = of_rows()
    settings = dict(
        hidden_layer_sizes=(20,), solver=solver, dtype=dtype, max_iter=5, random_state=0,
        n_threads=n_threads, early_stopping=solver == "adam",
    )  # fmt: skip
    ours = MLPRegressor(written_in_python, **settings).fit(X, y, weight)
    theirs = MLPRegressor("squared_error", **settings).fit(X, y, weight)
    tolerance = 1e-3 if dtype == "float32" else 1e-8
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=tolerance, atol=tolerance)
    assert_allclose(ours.loss_, theirs.loss_, rtol=tolerance)
    assert ours.score(X, y) == pytest.approx(r2_score(y, ours.predict(X)))


def test_loss_written_in_python_has_the_same_bits_for_any_number_of_threads():
    X, y, weight = of_rows(3_000)
    fits = [
        MLPRegressor(
            written_in_python, (30,), batch_size=1_500, max_iter=4, random_state=0, n_threads=n
        ).fit(X, y, weight)
        for n in (1, 2, 3)
    ]
    assert len({fit.predict(X).tobytes() for fit in fits}) == 1
    assert len({tuple(fit.loss_curve_) for fit in fits}) == 1


def test_check_gradients_sees_a_wrong_slope_of_a_loss():
    X, y, _ = of_rows(50)

    def wrong(y, z):
        loss, slopes = written_in_python(y, z)
        return loss, 1.1 * slopes

    right = check_gradients(MLPRegressor(written_in_python, (5,), activation="tanh"), X, y)
    assert right.error < 1e-5
    assert check_gradients(MLPRegressor(wrong, (5,), activation="tanh"), X, y).error > 0.05


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (lambda y, z: 1 / 0, ZeroDivisionError, "division by zero"),
        (lambda y, z: (z.sum(), z), ValueError, r"loss must return an array of shape \(\d+,\)"),
        (lambda y, z: (z[:, 0], z[:, :1]), ValueError, r"one of shape \(\d+, 2\)"),
        (lambda y, z: z[:, 0], ValueError, "unpack"),
        (lambda y, z: (z[:, 0], None), ValueError, r"loss must return"),
        (lambda y, z: (z[:, 0] * np.nan, z), ValueError, "non-finite"),
    ],
)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_errors_of_a_loss_written_in_python(solver, loss, error, message, n_threads):
    X, y, _ = of_rows()
    regressor = MLPRegressor(loss, (20,), solver=solver, n_threads=n_threads, random_state=0)
    with pytest.raises(error, match=message):
        regressor.fit(X, y)
    assert not hasattr(regressor, "coefs_")


def test_loss_written_in_python_pickles_and_goes_on():
    X, y, _ = of_rows()
    regressor = MLPRegressor(written_in_python, (20,), max_iter=2, random_state=0).fit(X, y)
    copy = pickle.loads(pickle.dumps(regressor))
    assert (copy.predict(X) == regressor.predict(X)).all()
    assert (copy.partial_fit(X, y).predict(X) == regressor.partial_fit(X, y).predict(X)).all()
    with pytest.raises(ValueError, match="takes none"):
        MLPRegressor(written_in_python, loss_params={"delta": 1}).fit(X, y)
    with pytest.raises(ValueError, match="loss"):
        MLPRegressor("custom").fit(X, y)
    with pytest.raises(ValueError, match="loss must be one of"):
        Network([2, 1], loss="custom")


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("size", [0.0, 1e-8, 1e-4, 0.0099, 0.0101, 3.0, 800.0])
def test_log_cosh_near_0_and_far_from_it(size, sign):
    """By log(cosh(e)) = log(1 + 2 sinh(e / 2)^2), which loses no digits near 0."""
    e = sign * size
    loss, slope = loss_and_slope("log_cosh", np.full((1, 1), e), np.zeros((1, 1)))
    expected = np.log1p(2 * np.sinh(e / 2) ** 2) if size < 100 else size - np.log(2)
    assert_allclose(loss, expected, rtol=1e-11)
    assert_allclose(slope[0, 0], np.tanh(e), rtol=1e-13)
