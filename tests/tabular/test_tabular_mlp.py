"""The estimators for tables: splits, weights, selection, intervals, bits, interrupts, threads."""

import io
import pickle
import signal
import sys
import threading

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import norm
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, roc_auc_score
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from fastmlp import TabularMLPClassifier, TabularMLPRegressor, _core
from fastmlp._engine.rows import Data, Features
from fastmlp._tabular import base, settings
from fastmlp._tabular.inputs import InputMaps
from fastmlp._tabular.member import Deadline, Member, MemberRows
from fastmlp._tabular.progress import Silence
from fastmlp._tabular.settings import Settings
from fastmlp._tabular.table import Encoded
from fastmlp._tabular.training import Split, Team, shares_of_threads

pd = pytest.importorskip("pandas")

N_ROWS = 120
RNG = np.random.RandomState(0)
NUMBERS = RNG.standard_normal((N_ROWS, 2))
FRAME = pd.DataFrame(
    {
        "a": NUMBERS[:, 0],
        "b": np.where(RNG.uniform(size=N_ROWS) < 0.1, np.nan, NUMBERS[:, 1]),
        "c": RNG.choice(["x", "y", "z"], N_ROWS),
    }
)
SIGNAL = NUMBERS[:, 0] + (FRAME["c"] == "x") + 0.3 * RNG.standard_normal(N_ROWS)
LABELS = np.array(["no", "yes", "maybe"])[np.digitize(SIGNAL, [0, 1])]
TARGETS = SIGNAL.to_numpy()
Y = {TabularMLPClassifier: LABELS, TabularMLPRegressor: TARGETS}
both = pytest.mark.parametrize("estimator", [TabularMLPClassifier, TabularMLPRegressor])


def made(estimator, **parameters):
    return estimator(**{"n_members": 2, "random_state": 0} | parameters)


def output(model, X=FRAME):
    return model.predict_proba(X) if hasattr(model, "classes_") else model.predict(X)


def bits(model):
    """All that a fit computes but for the seconds."""
    board = {name: what for name, what in model.leaderboard_.items() if name != "seconds"}
    learned = [output(model).tobytes(), board, getattr(model, "temperature_", None)]
    if isinstance(model, TabularMLPRegressor):
        learned.append(model.predict_quantiles(FRAME).tobytes())
    return learned


@pytest.fixture
def tasks(monkeypatch):
    """What is trained on, task by task."""
    found, train = [], base.train_candidates

    def watched(task, *arguments):
        found.append(task)
        train(task, *arguments)

    monkeypatch.setattr(base, "train_candidates", watched)
    return found


@pytest.fixture
def selections(monkeypatch):
    """The losses as a function, the predictions and the weights of each selection."""
    found, select = [], base.greedy_selection

    def watched(losses_of, predictions):
        weights = select(losses_of, predictions)
        found.append((losses_of, predictions, weights))
        return weights

    monkeypatch.setattr(base, "greedy_selection", watched)
    return found


@pytest.fixture
def equal_shares(monkeypatch):
    """All networks have a part in the ensemble, in place of the best."""
    monkeypatch.setattr(
        base, "greedy_selection", lambda _, outputs: np.ones(len(outputs)) / len(outputs)
    )


# Splits ------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("cv", [None, 2, 7])
def test_folds_are_disjoint_and_cover_the_rows(estimator, cv, tasks):
    made(estimator, cv=cv).fit(FRAME, Y[estimator])
    splits = tasks[0].splits
    assert len(splits) == (cv or 5)
    assert_array_equal(np.sort(np.concatenate([s.selection for s in splits])), np.arange(N_ROWS))
    for training, selection in splits:
        assert_array_equal(np.sort(np.append(training, selection)), np.arange(N_ROWS))
        assert abs(len(selection) - N_ROWS / len(splits)) < 1


def test_folds_have_all_classes_in_equal_shares(tasks):
    y = np.repeat(["a", "b", "rare"], [70, 45, 5])
    made(TabularMLPClassifier).fit(FRAME, RNG.permutation(y))
    for _, selection in tasks[0].splits:
        counts = np.bincount(tasks[0].targets[selection].astype(int))
        assert_array_equal(counts, [14, 9, 1])


@pytest.mark.parametrize("n_of_rare", [1, 2])
def test_a_class_of_fewer_rows_than_folds(n_of_rare):
    y = np.where(np.arange(N_ROWS) < n_of_rare, "rare", LABELS)
    model = made(TabularMLPClassifier).fit(FRAME, y)
    assert model.classes_.tolist() == ["maybe", "no", "rare", "yes"]
    assert_allclose(model.predict_proba(FRAME).sum(axis=1), 1)


@both
@pytest.mark.parametrize("fraction", [0.1, 0.4])
def test_a_part_is_set_aside(estimator, fraction, tasks):
    made(estimator, validation_fraction=fraction).fit(FRAME, Y[estimator])
    ((training, selection),) = tasks[0].splits
    assert len(selection) == fraction * N_ROWS
    assert_array_equal(np.sort(np.append(training, selection)), np.arange(N_ROWS))


def test_the_part_set_aside_has_all_classes(tasks):
    made(TabularMLPClassifier, validation_fraction=0.2).fit(FRAME, LABELS)
    ((_, selection),) = tasks[0].splits
    shares = np.bincount(tasks[0].targets[selection].astype(int)) / len(selection)
    expected = np.unique(LABELS, return_counts=True)[1] / N_ROWS
    assert_allclose(shares, expected, atol=1 / len(selection))


def test_large_tables_set_four_of_five_folds_aside(tasks, monkeypatch):
    monkeypatch.setattr(settings, "FEW_ROWS", N_ROWS)
    made(TabularMLPRegressor).fit(FRAME, TARGETS)
    made(TabularMLPRegressor).fit(FRAME[1:], TARGETS[1:])
    assert [len(task.splits) for task in tasks] == [4, 5]
    selected = np.concatenate([split.selection for split in tasks[0].splits])
    assert len(np.unique(selected)) == len(selected) == 0.8 * N_ROWS


def test_a_fold_has_a_limit(tasks, monkeypatch):
    monkeypatch.setattr(base, "MOST_ROWS_IN_FOLD", N_ROWS // 10)
    made(TabularMLPRegressor).fit(FRAME, TARGETS)
    made(TabularMLPRegressor, cv=2).fit(FRAME, TARGETS)  # whoever asks for two, gets two
    assert [len(task.splits) for task in tasks] == [5, 2]
    assert {len(split.selection) for split in tasks[0].splits} == {N_ROWS // 10}
    for training, selection in tasks[0].splits:
        assert_array_equal(np.sort(np.append(training, selection)), np.arange(N_ROWS))


def test_most_members_are_dropped_after_an_epoch_or_three(monkeypatch):
    monkeypatch.setattr(settings, "FEW_ROWS", N_ROWS)
    model = made(TabularMLPRegressor, n_members=10, validation_fraction=0.2).fit(FRAME, TARGETS)
    n_epochs = sorted(model.leaderboard_["n_epochs"])
    assert n_epochs[:8] == [1] * 5 + [3] * 3
    assert n_epochs[8] > 3


def test_the_best_members_go_on_to_the_other_splits(tasks, monkeypatch):
    trained = []

    def train(self, pairs, until):
        trained.append([(candidate, k) for candidate, k in pairs])
        return train_pairs(self, pairs, until)

    train_pairs = Team.train
    monkeypatch.setattr(Team, "train", train)
    made(TabularMLPRegressor, n_members=8, cv=4).fit(FRAME, TARGETS)
    first, second, others = trained
    assert [k for _, k in first] == [0] * 8
    by_loss = sorted((c for c, _ in first), key=lambda candidate: candidate.members[0].loss)
    assert [(c, k) for c, k in second] == [(c, 1) for c in by_loss[:3]]
    by_mean = sorted(by_loss[:3], key=lambda c: c.members[0].loss + c.members[1].loss)
    assert others == [(c, k) for c in by_mean[:2] for k in (2, 3)]


@both
def test_one_network_learns_the_outputs_of_the_ensemble(estimator):
    whole = made(estimator, n_members=4).fit(FRAME, Y[estimator])
    single = made(estimator, n_members=4, refit_single=True).fit(FRAME, Y[estimator])
    assert len(single._ensemble.parts) == 1 < len(whole._ensemble.parts)
    taught, learned = (model._ensemble.outputs(FRAME) for model in (whole, single))
    assert np.corrcoef(taught.ravel(), learned.ravel())[0, 1] > 0.8
    assert single.leaderboard_["loss"] == whole.leaderboard_["loss"]
    again = made(estimator, n_members=4, refit_single=True, n_jobs=3).fit(FRAME, Y[estimator])
    assert_array_equal(again._ensemble.outputs(FRAME), learned)
    if estimator is TabularMLPClassifier:
        assert_allclose(single.predict_proba(FRAME).sum(axis=1), 1)
        assert single.temperature_ == whole.temperature_  # by networks that have not seen the rows
    else:
        width, expected = (np.ptp(model.predict_interval(FRAME)[0]) for model in (single, whole))
        assert_allclose(width, expected)


@both
def test_groups_by_an_iterable(estimator, tasks):
    groups = np.arange(N_ROWS) // 10
    folds = list(GroupKFold(3).split(FRAME, groups=groups))
    made(estimator, cv=folds).fit(FRAME, Y[estimator])
    for split, (training, selection) in zip(tasks[0].splits, folds, strict=True):
        assert_array_equal(split.training, training)
        assert_array_equal(split.selection, selection)


def test_a_cv_object_sees_the_labels(tasks):
    class Halves:
        def get_n_splits(self, X=None, y=None, groups=None):
            return 1

        def split(self, X, y, groups=None):
            assert len(X) == N_ROWS
            assert_array_equal(y, LABELS)
            yield np.arange(N_ROWS) < 60, np.arange(N_ROWS) >= 60  # masks

    made(TabularMLPClassifier, cv=Halves()).fit(FRAME, LABELS)
    assert_array_equal(tasks[0].splits[0].training, np.arange(60))


def test_no_network_is_judged_by_rows_that_it_has_seen():
    """Labels by chance: whoever has seen them could know them, nobody else can."""
    rng = np.random.RandomState(1)
    X, y = rng.standard_normal((300, 20)), rng.randint(2, size=300)
    model = made(TabularMLPClassifier, n_members=2).fit(X, y)
    assert min(model.leaderboard_["loss"]) > 0.9 * np.log(2)
    targets = rng.standard_normal(300)
    lower, upper = made(TabularMLPRegressor).fit(X, targets).predict_interval(X, 0.8).T
    assert (upper - lower).mean() > 0.9 * 2 * 1.28  # the width for the standard normal


@both
def test_the_validation_set_is_not_trained_on(estimator, tasks):
    X_val = FRAME.assign(c="unseen")[:30]
    model = made(estimator).fit(FRAME, Y[estimator], X_val=X_val, y_val=Y[estimator][:30])
    ((training, selection),) = tasks[0].splits
    assert_array_equal(training, np.arange(N_ROWS))
    assert_array_equal(selection, np.arange(N_ROWS, N_ROWS + 30))
    assert model._ensemble.encoder.columns[2].values == ["x", "y", "z"]


def test_predictions_stay_within_the_training_targets():
    far = TARGETS[:30] + 100
    model = made(TabularMLPRegressor).fit(FRAME, TARGETS, X_val=FRAME[:30], y_val=far)
    prediction = model.predict(FRAME)
    assert TARGETS.min() <= prediction.min() < prediction.max() <= TARGETS.max()
    assert model.predict_interval(FRAME, 0.9)[:, 1].min() > 90  # the errors are not cut off


# Weights -----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("settings", [{}, {"validation_fraction": 0.2}, {"cv": 3}])
def test_rows_of_weight_zero_do_not_matter(estimator, settings):
    """A table of categories, so that the encoder learns the same from all rows and from half."""
    y = Y[estimator]
    X = pd.DataFrame({"c": FRAME["c"], "up": np.where(FRAME["a"] > 0, "up", "down")})
    alone = made(estimator, **settings).fit(X, y)
    wrong = np.roll(y, 1) if estimator is TabularMLPClassifier else 1e6 * y
    twice = made(estimator, **settings).fit(
        pd.concat([X, X]), np.append(y, wrong), np.repeat([1.0, 0.0], N_ROWS)
    )
    assert output(twice, X).tobytes() == output(alone, X).tobytes()
    assert twice.leaderboard_["loss"] == alone.leaderboard_["loss"]


@both
def test_rows_of_weight_zero_are_in_no_split(estimator, tasks):
    weight = np.where(np.arange(N_ROWS) % 3, 1.0, 0.0)
    folds = [(np.arange(60), np.arange(60, N_ROWS))]
    val = {"X_val": FRAME, "y_val": Y[estimator], "sample_weight_val": weight}
    for cv, given in (None, {}), (folds, {}), (None, val):
        made(estimator, cv=cv).fit(FRAME, Y[estimator], weight, **given)
        for split in tasks[-1].splits:
            assert (tasks[-1].sample_weight[np.concatenate(split)] == 1).all()


def test_weights_change_the_model():
    heavy = np.where(LABELS == "yes", 20.0, 1.0)
    flat, weighted = (made(TabularMLPClassifier).fit(FRAME, LABELS, w) for w in (None, heavy))
    yes = flat.classes_.tolist().index("yes")
    assert output(weighted)[:, yes].mean() > output(flat)[:, yes].mean() + 0.1


def test_class_weights_are_sample_weights():
    weights = {"no": 3.0, "yes": 0.5}
    by_class = made(TabularMLPClassifier, class_weight=weights).fit(FRAME, LABELS)
    by_row = np.array([weights.get(label, 1.0) for label in LABELS])
    assert bits(by_class) == bits(made(TabularMLPClassifier).fit(FRAME, LABELS, by_row))


def test_balanced_weights_find_a_rare_class():
    rng = np.random.RandomState(0)

    def draw(n):
        y = rng.uniform(size=n) < 0.1
        return rng.standard_normal((n, 1)) + y[:, np.newaxis], y

    X, y = draw(400)
    fresh, labels = draw(2000)
    recalls = [
        made(TabularMLPClassifier, class_weight=class_weight)
        .fit(X, y)
        .predict(fresh)[labels]
        .mean()
        for class_weight in (None, "balanced")
    ]
    assert recalls[1] > recalls[0] + 0.3


# Selection ---------------------------------------------------------------------------------------


def predicted(estimator, outputs, y):
    """The predictions for outputs that are probabilities, or targets of mean 0 and variance 1."""
    if estimator is TabularMLPClassifier:
        return np.unique(y)[outputs.argmax(axis=1)]
    return np.clip(outputs[:, 0] * y.std() + y.mean(), y.min(), y.max())


@pytest.mark.parametrize(
    ("estimator", "metric", "score"),
    [
        (TabularMLPClassifier, "accuracy", accuracy_score),
        (TabularMLPRegressor, "neg_mean_absolute_error", lambda y, p: -mean_absolute_error(y, p)),
    ],
)
def test_metric_leads_the_selection(estimator, metric, score, tasks, selections):
    y = Y[estimator]
    made(estimator, n_members=4, metric=metric).fit(FRAME, y)
    assert len(selections) == 5
    for (losses_of, outputs, weights), (_, rows) in zip(selections, tasks[0].splits, strict=True):
        expected = [-score(y[rows], predicted(estimator, of_one, y)) for of_one in outputs]
        assert_allclose(losses_of(outputs), expected, rtol=1e-5)
        assert weights[np.argmin(expected)] > 0


def test_metric_of_two_classes(tasks, selections):
    y = LABELS == "yes"
    made(TabularMLPClassifier, n_members=4, metric="roc_auc", cv=2).fit(FRAME, y)
    for (losses_of, outputs, _), (_, rows) in zip(selections, tasks[0].splits, strict=True):
        expected = [-roc_auc_score(y[rows], of_one[:, 1]) for of_one in outputs]
        assert_allclose(losses_of(outputs), expected, rtol=1e-6)


def test_metric_as_a_function(selections):
    """One that likes a high probability of the first class, whatever is right."""

    def metric(model, X, y):
        assert set(y) <= set(LABELS)
        return model.predict_proba(X)[:, 0].mean()

    made(TabularMLPClassifier, n_members=4, metric=metric, validation_fraction=0.3).fit(
        FRAME, LABELS
    )
    ((_, outputs, weights),) = selections
    expected = np.zeros(len(outputs))
    expected[outputs[:, :, 0].mean(axis=1).argmax()] = 1
    assert_array_equal(weights, expected)


def test_metric_is_weighted(tasks, selections):
    weight = np.linspace(0.1, 1, N_ROWS)
    made(TabularMLPClassifier, n_members=4, metric="accuracy", cv=2).fit(FRAME, LABELS, weight)
    for (losses_of, outputs, _), (_, rows) in zip(selections, tasks[0].splits, strict=True):
        expected = [
            -accuracy_score(
                LABELS[rows], predicted(TabularMLPClassifier, p, LABELS), sample_weight=weight[rows]
            )
            for p in outputs
        ]
        assert_allclose(losses_of(outputs), expected, rtol=1e-5)


def test_metric_without_weights_needs_none():
    model = made(TabularMLPRegressor, metric="neg_max_error").fit(FRAME, TARGETS)
    assert model.score(FRAME, TARGETS) > 0.5


@both
@pytest.mark.parametrize("settings", [{}, {"validation_fraction": 0.2}, {"members": "realmlp"}])
def test_leaderboard(estimator, settings):
    model = made(estimator, n_members=4, **settings).fit(FRAME, Y[estimator])
    board = pd.DataFrame(model.leaderboard_)
    assert board.columns.tolist() == ["settings", "loss", "weight", "n_epochs", "seconds"]
    assert len(board) == (1 if "members" in settings else 4)
    assert board["loss"].is_monotonic_increasing
    assert board["loss"].iloc[0] > 0
    assert (board["weight"] >= 0).all()
    assert_allclose(board["weight"].sum(), 1)
    assert (board["n_epochs"] > 0).all()
    assert (board["seconds"] > 0).all()


def test_loss_of_the_leaderboard_is_that_of_the_network():
    """A single network, its probabilities before the calibration."""
    weight = np.linspace(0.1, 1, 40)
    model = made(TabularMLPClassifier, n_members=1).fit(
        FRAME[40:], LABELS[40:], X_val=FRAME[:40], y_val=LABELS[:40], sample_weight_val=weight
    )
    p = model.predict_proba(FRAME[:40]) ** model.temperature_
    p /= p.sum(axis=1, keepdims=True)
    assert_allclose(
        model.leaderboard_["loss"], [log_loss(LABELS[:40], p, sample_weight=weight)], rtol=1e-5
    )


def test_output_is_the_weighted_mean_of_the_networks():
    model = made(TabularMLPRegressor, n_members=4).fit(FRAME, TARGETS)
    parts = model._ensemble.parts
    alone = []
    for part in parts:
        one = pickle.loads(pickle.dumps(model))
        one._ensemble.parts = [part._replace(weight=1.0)]
        one._scale = one._scale._replace(smallest=-np.inf, largest=np.inf)
        alone.append(one.predict(FRAME))
    mean = np.average(alone, axis=0, weights=[part.weight for part in parts])
    assert_allclose(model.predict(FRAME), np.clip(mean, TARGETS.min(), TARGETS.max()), atol=1e-6)


def test_temperature_is_the_best_for_unseen_rows(equal_shares):
    """The best one for the probabilities before the calibration, by another minimizer."""
    model = made(TabularMLPClassifier, n_members=3)
    model.fit(FRAME[60:], LABELS[60:], X_val=FRAME[:60], y_val=LABELS[:60])
    logits = np.log(model.predict_proba(FRAME[:60])) * model.temperature_

    def loss(log_temperature):
        loss = log_loss(LABELS[:60], softmax(logits / np.exp(log_temperature[0]), axis=1))
        return loss - norm(scale=0.25).logpdf(log_temperature[0]) / 60

    best = minimize(loss, [0.0], method="Nelder-Mead", tol=1e-8).x[0]
    assert abs(best) > 0.02  # not 1 by default
    assert_allclose(model.temperature_, np.exp(best), rtol=1e-3)


# Intervals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_intervals_are_the_errors_for_unseen_rows(offset, equal_shares):
    """With a validation set, so that the errors for it can be computed from outside."""
    y = TARGETS + offset
    model = made(TabularMLPRegressor, n_members=3)
    model.fit(FRAME[60:], y[60:], X_val=FRAME[:60], y_val=y[:60])
    errors = np.sort(y[:60] - model.predict(FRAME[:60]))
    for coverage in (0.5, 0.9):
        k = int(np.ceil(61 * coverage))
        half_width = np.sort(np.abs(errors))[k - 1]
        lower, upper = model.predict_interval(FRAME, coverage).T
        assert_allclose(upper - model.predict(FRAME), half_width, atol=1e-4)
        assert_allclose(model.predict(FRAME) - lower, half_width, atol=1e-4)
    got = model.predict_quantiles(FRAME, [0.1, 0.5, 0.9]) - model.predict(FRAME)[:, np.newaxis]
    # the places ceil(61 * 0.9) = 55 from either end, and ceil(61 * 0.5) = 31
    assert_allclose(got, np.tile(errors[[60 - 55, 30, 54]], (N_ROWS, 1)), atol=1e-4)


@pytest.mark.parametrize("refit_single", [False, True])
def test_intervals_cover_new_rows(refit_single):
    rng = np.random.RandomState(0)

    def draw(n):
        X = rng.uniform(-2, 2, (n, 3))
        return X, X[:, 0] ** 2 + X[:, 1] + 0.5 * rng.standard_normal(n)

    X, y = draw(400)
    fresh, targets = draw(3000)
    model = made(TabularMLPRegressor, n_members=4, refit_single=refit_single).fit(X, y)
    for coverage in (0.5, 0.8, 0.95):
        lower, upper = model.predict_interval(fresh, coverage).T
        assert abs(((lower <= targets) & (targets <= upper)).mean() - coverage) < 0.08
    shares = (targets[:, np.newaxis] <= model.predict_quantiles(fresh, [0.1, 0.5, 0.9])).mean(
        axis=0
    )
    assert_allclose(shares, [0.1, 0.5, 0.9], atol=0.08)


def test_quantiles_are_ordered():
    model = made(TabularMLPRegressor).fit(FRAME, TARGETS)
    quantiles = model.predict_quantiles(FRAME, np.linspace(0.01, 0.99, 99))
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert model.predict_quantiles(FRAME, 0.3).shape == (N_ROWS, 1)
    assert model.predict_quantiles(FRAME, []).shape == (N_ROWS, 0)


def test_intervals_of_too_few_rows_are_infinite():
    model = made(TabularMLPRegressor).fit(FRAME[:18], TARGETS[:18])
    assert np.isfinite(model.predict_interval(FRAME, 18 / 19)).all()
    assert (model.predict_interval(FRAME, 0.95) == [-np.inf, np.inf]).all()
    low, middle, high = model.predict_quantiles(FRAME).T
    assert (low == -np.inf).all()
    assert np.isfinite(middle).all()
    assert (high == np.inf).all()


# Bits --------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "settings",
    [{}, {"validation_fraction": 0.2}, {"refit_single": True, "cv": 2}],
    ids=["folds", "part", "single"],
)
def test_bits_do_not_depend_on_jobs_and_threads(estimator, settings, monkeypatch):
    def fit(**parameters):
        return bits(made(estimator, n_members=3, **settings, **parameters).fit(FRAME, Y[estimator]))

    once = fit(n_jobs=1)
    for n_jobs in (2, 3):
        assert fit(n_jobs=n_jobs) == once
    for backend in ("loky", "threading", "multiprocessing", "sequential"):
        with parallel_config(backend=backend, n_jobs=2):
            assert fit() == once
    with threadpool_limits(1):
        assert fit() == once
    monkeypatch.setattr("fastmlp._tabular.training.available_threads", lambda: 5)
    for n_jobs in (1, 2):  # members with five threads, and with two
        assert fit(n_jobs=n_jobs) == once


@pytest.mark.parametrize(
    ("n_jobs", "configured", "n_members", "expected"),
    [
        (None, None, 24, (6, 1)),
        (None, None, 2, (2, 3)),
        (None, None, 1, (1, 6)),
        (None, 1, 24, (1, 6)),
        (None, 2, 24, (2, 3)),
        (None, -1, 24, (6, 1)),
        (1, 2, 24, (1, 6)),
        (4, None, 24, (4, 1)),
        (4, None, 3, (3, 2)),
        (-1, None, 24, (6, 1)),
        (-2, None, 24, (5, 1)),
        (-9, None, 24, (1, 6)),
        (12, None, 24, (12, 1)),
        (12, None, 0, (1, 6)),
    ],
)
def test_members_share_the_threads(n_jobs, configured, n_members, expected, monkeypatch):
    monkeypatch.setattr("fastmlp._tabular.training.available_threads", lambda: 6)
    with parallel_config(n_jobs=configured):
        assert shares_of_threads(n_jobs, n_members) == expected


def test_the_end_is_heard_in_the_middle_of_an_epoch(monkeypatch):
    deadline, train = Deadline(), _core.train

    def interrupted(*arguments):
        train(*arguments)
        deadline.end()

    monkeypatch.setattr(_core, "train", interrupted)
    n_rows = 100_000  # more than the core takes in one call
    X, y = np.zeros((n_rows, 10), np.float32), np.zeros((n_rows, 1), np.float32)
    data = Data(Features.of(X), y, np.ones(n_rows, np.float32))
    split = Split(np.arange(n_rows - 10), np.arange(n_rows - 10, n_rows))
    settings = Settings(n_epochs=2, has_ranks=False)
    maps = InputMaps(Encoded(X[:100], np.zeros((100, 0), np.int32)), np.array([], int))
    member = Member(settings, 0, maps, 1, is_regression=True)
    rows = MemberRows(data, split, member.random_state)
    assert member.train(rows, (0, 2), deadline, 1) is member
    assert member.n_epochs == 1
    assert member.descent.network is member.network
    n_steps = int(member.descent._solver["t"][0])
    assert 0 < n_steps < (n_rows - 10) / 64


@both
def test_single_rows_have_the_bits_of_the_table(estimator):
    for X in (FRAME, NUMBERS):
        model = made(estimator).fit(X, Y[estimator])
        whole = output(model, X)
        for i in range(5):
            assert output(model, X[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()


@both
def test_fits_with_one_random_state_are_equal_and_others_differ(estimator):
    model = made(estimator)
    first, second = (bits(model.fit(FRAME, Y[estimator])) for _ in range(2))
    assert first == second
    assert bits(made(estimator, random_state=1).fit(FRAME, Y[estimator])) != first


# The end of the time, interrupts, displays, threads ----------------------------------------------


@both
@pytest.mark.parametrize("settings", [{}, {"validation_fraction": 0.2}], ids=["folds", "part"])
@pytest.mark.parametrize("max_seconds", [1e-9, 0.02, 0.1])
def test_a_model_is_left_when_the_time_is_over(estimator, settings, max_seconds):
    model = made(estimator, max_seconds=max_seconds, **settings).fit(FRAME, Y[estimator])
    assert np.isfinite(output(model)).all()
    assert_allclose(sum(model.leaderboard_["weight"]), 1)
    if max_seconds == 1e-9:
        assert sum(model.leaderboard_["n_epochs"]) == 1


class Interrupting(Silence):
    """Ctrl-C when a member is done, once or several times."""

    def __init__(self, n_times):
        self.n_times = n_times

    def end_member(self, loss):
        n_times, self.n_times = self.n_times, 0
        for _ in range(n_times):
            signal.raise_signal(signal.SIGINT)


@both
def test_interrupt_keeps_what_is_there(estimator, monkeypatch):
    whole = made(estimator).fit(FRAME, Y[estimator])
    monkeypatch.setattr(base, "progress_of_members", lambda *_: Interrupting(1))
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = made(estimator).fit(FRAME, Y[estimator])
    assert np.isfinite(output(model)).all()
    assert 0 < sum(model.leaderboard_["n_epochs"]) < sum(whole.leaderboard_["n_epochs"])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@both
def test_interrupt_keeps_the_ensemble_while_one_network_learns_from_it(estimator, monkeypatch):
    learn = base.distilled

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return learn(*arguments)

    monkeypatch.setattr(base, "distilled", interrupted)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = made(estimator, refit_single=True).fit(FRAME, Y[estimator])
    assert bits(model) == bits(made(estimator).fit(FRAME, Y[estimator]))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@both
def test_no_network_learns_from_the_ensemble_when_the_time_is_over(estimator, monkeypatch):
    monkeypatch.setattr(base, "distilled", None)
    model = made(estimator, refit_single=True, max_seconds=1e-9).fit(FRAME, Y[estimator])
    assert np.isfinite(output(model)).all()


@both
@pytest.mark.filterwarnings("ignore:.*tasks:UserWarning")  # by joblib, which ends before its time
def test_second_interrupt_leaves_the_model_as_it_was(estimator, monkeypatch):
    model = made(estimator).fit(FRAME, Y[estimator])
    before, state = bits(model), dict(vars(model))
    monkeypatch.setattr(base, "progress_of_members", lambda *_: Interrupting(2))
    with pytest.raises(KeyboardInterrupt):
        model.fit(FRAME[:60], Y[estimator][:60])
    assert vars(model) == state
    assert bits(model) == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_display(capsys):
    made(TabularMLPRegressor, validation_fraction=0.2).fit(FRAME, TARGETS)
    assert capsys.readouterr().out == ""
    model = made(TabularMLPRegressor, validation_fraction=0.2, verbose=True).fit(FRAME, TARGETS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("round ")
    assert f"best loss {model.leaderboard_['loss'][0]:.5g}, 0 s left" in lines[-1]
    assert any(line.startswith("round 1: 2/2 networks, ") for line in lines)


class Terminal(io.StringIO):
    """Knows what has been shown so far each time."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def isatty(self):
        return True

    def flush(self):
        self.shown.append(self.getvalue())


def test_display_on_a_terminal(monkeypatch):
    """One line that changes. It shows something before the end of the fit."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    made(TabularMLPRegressor, validation_fraction=0.2, verbose=True).fit(FRAME, TARGETS)
    assert sys.stdout.shown[0].startswith("\rround 1: 1/2 networks, best loss ")
    lines = sys.stdout.getvalue().split("\r")
    assert len(lines) > 2
    assert lines[-1].rstrip().endswith(", 0 s left")
    assert sys.stdout.getvalue().count("\n") == 1


@both
def test_other_threads_see_the_previous_model_during_a_fit(estimator, monkeypatch):
    model = made(estimator).fit(FRAME, Y[estimator])
    before, seen, train = bits(model), [], base.train_candidates

    def look():
        seen.append(output(model).tobytes())
        seen.append(bits(pickle.loads(pickle.dumps(model))))

    def watched(*arguments):
        train(*arguments)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    monkeypatch.setattr(base, "train_candidates", watched)
    y = np.roll(Y[estimator], 1)
    after = bits(model.fit(FRAME, y))
    assert seen == [before[0], before]
    assert after == bits(made(estimator).fit(FRAME, y)) != before
