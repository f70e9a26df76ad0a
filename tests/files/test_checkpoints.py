"""Checkpoints: a fit that was stopped goes on as if it had not been, bit for bit."""

import os
from datetime import timedelta

import kills
import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, TabularMLPClassifier, TabularMLPRegressor
from fastmlp._estimators import checkpoints
from fastmlp._tabular.checkpoints import MemberCheckpoints

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_digits(return_X_y=True)
X, y = X[:300] / 16, y[:300]
BASE = {"hidden_layer_sizes": (10,), "max_iter": 8, "random_state": 0}


class Stop(Exception):
    """Stops a fit in place of a signal."""


def stop_in(epoch, also=lambda model, state: False):
    def callback(model, state):
        also(model, state)
        if state.epoch == epoch:
            raise Stop

    return callback


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def stopped(estimator, path, *arguments, epoch=4, also=lambda model, state: False, **options):
    """Fit with a checkpoint after every epoch, and stop before the end of one."""
    callbacks = estimator.callbacks
    with pytest.raises(Stop):
        estimator.set_params(callbacks=stop_in(epoch, also)).fit(
            *arguments, checkpoint=path, checkpoint_every=1, **options
        )
    estimator.set_params(callbacks=callbacks)


def assert_same(one, other):
    """All that a fit sets is the same, but for the seconds."""
    remembered = {"_checked_parameters", "_generator"}  # for speed alone
    assert vars(one).keys() - remembered == vars(other).keys() - remembered
    for name, value in vars(one).items():
        if name == "history_":
            columns = {key: column for key, column in value.items() if key != "seconds"}
            theirs = {key: other.history_[key] for key in columns}
            np.testing.assert_equal(columns, theirs)
        elif not name.startswith("_") and name != "random_state":
            np.testing.assert_equal(value, vars(other)[name], err_msg=name)
    ours, theirs = one._network.parameters.flat, other._network.parameters.flat
    assert (ours == theirs).all()


CHANGES = {
    "plain": {},
    "early stopping": {"early_stopping": True},
    "early stopping that ends": {"early_stopping": True, "n_iter_no_change": 5, "tol": 1.0},
    "dropout": {"dropout": 0.3, "input_noise": 0.1},
    "averaging": {"averaging": 0.9},
    "plateau": {
        "learning_rate": "plateau", "schedule_params": {"patience": 1}, "n_iter_no_change": 3,
        "tol": 1.0,
    },
    "converged": {"tol": 10.0, "n_iter_no_change": 5},
    "diagnostics": {"diagnostics": True},
    "in order": {"shuffle": False},
    "schedules": {"learning_rate": "cosine", "dropout": 0.2, "dropout_schedule": "cosine"},
    "parts of the network": {"layer_norm": True, "learned_activation": True, "dtype": "float64"},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("solver", ["adam", "sgd", "nadam"])
def test_resumed_fit_is_the_one_that_never_stopped(solver, change, path):
    parameters = BASE | CHANGES[change] | {"solver": solver}
    expected = MLPClassifier(**parameters).fit(X, y)
    stopped(MLPClassifier(**parameters), path, X, y)
    assert fastmlp.load(path).n_iter_ == 3
    with_file = MLPClassifier(**parameters).fit(X, y, checkpoint=path, resume=path)
    assert_same(with_file, expected)
    # Now the file is that of the end.
    assert_same(MLPClassifier(**parameters).fit(X, y, resume=path), expected)
    assert (fastmlp.load(path).predict_proba(X) == expected.predict_proba(X)).all()


FITS = {
    "weights": {"sample_weight": np.linspace(0, 1, 300)},
    "own validation": {"X_val": X[:50], "y_val": y[:50]},
    "several sets": {"X_val": [(X[:50], y[:50]), (X[50:60], y[50:60])]},
}


@pytest.mark.parametrize("kind", FITS)
def test_options_of_the_fit(kind, path):
    expected = MLPClassifier(**BASE).fit(X, y, **FITS[kind])
    stopped(MLPClassifier(**BASE), path, X, y, **FITS[kind])
    assert_same(MLPClassifier(**BASE).fit(X, y, resume=path, **FITS[kind]), expected)


@pytest.mark.parametrize("solver", ["rprop", "rmsprop"])
def test_sparse_rows_and_regression(solver, path):
    rows = scipy.sparse.csr_array(X)
    parameters = BASE | {"solver": solver}
    expected = MLPRegressor(**parameters).fit(rows, y)
    stopped(MLPRegressor(**parameters), path, rows, y)
    assert_same(MLPRegressor(**parameters).fit(rows, y, resume=path), expected)


def test_generators(path):
    """A generator that is passed ends in the same state; NumPy's own is left alone."""
    generators = [np.random.RandomState(7) for _ in range(2)]
    expected = MLPClassifier(**BASE | {"random_state": generators[0]}).fit(X, y)
    stopped(MLPClassifier(**BASE | {"random_state": generators[1]}), path, X, y)
    other = np.random.RandomState(99)
    again = MLPClassifier(**BASE | {"random_state": other}).fit(X, y, resume=path)
    assert_same(again, expected)
    np.testing.assert_equal(other.get_state(), generators[0].get_state())

    own = np.random.mtrand._rand
    own.seed(5)
    expected = MLPClassifier(**BASE | {"random_state": None}).fit(X, y)
    own.seed(5)
    stopped(MLPClassifier(**BASE | {"random_state": None}), path, X, y)
    before = own.get_state()
    assert_same(MLPClassifier(**BASE | {"random_state": None}).fit(X, y, resume=path), expected)
    np.testing.assert_equal(own.get_state(), before)


def test_parameters_that_a_callback_has_changed(path):
    def halve(model, state):
        if state.epoch == 2:
            model.learning_rate_init /= 2

    expected = MLPClassifier(**BASE, callbacks=halve).fit(X, y)
    stopped(MLPClassifier(**BASE), path, X, y, also=halve)
    again = MLPClassifier(**BASE, callbacks=halve).fit(X, y, resume=path)
    assert again.learning_rate_init == expected.learning_rate_init == 5e-4
    assert_same(again, expected)


def test_warm_start(path):
    first = MLPClassifier(**BASE, warm_start=True).fit(X, y)
    stopped(first, path, X, y)
    expected = first.fit(X, y)
    again = MLPClassifier(**BASE, warm_start=True).fit(X, y, resume=path)
    assert_same(again, expected)
    assert len(again.loss_curve_) == 16


def test_what_may_differ(path):
    expected = MLPClassifier(**BASE).fit(X, y)
    stopped(MLPClassifier(**BASE), path, X, y)
    other = MLPClassifier(**BASE, n_threads=2, max_seconds=1000.0).fit(X, y, resume=path)
    assert (other.predict_proba(X) == expected.predict_proba(X)).all()


OTHERS = {
    "alpha": (BASE | {"alpha": 0.5}, X, y, {}, r"alpha=0\.0001, but the estimator has alpha=0\.5"),
    "seed": (BASE | {"random_state": 1}, X, y, {}, "random_state=0, but"),
    "X": (BASE, X + 1, y, {}, "other data: X must be the same"),
    "y": (BASE, X, 9 - y, {}, "other data: y must be the same"),
    "rows": (BASE, X[:-10], y[:-10], {}, "other data: X, y, sample_weight must be the same"),
    "weight": (BASE, X, y, {"sample_weight": y + 1}, "other data: sample_weight must"),
    "X_val": (BASE, X, y, {"X_val": X, "y_val": y}, "other data: X_val must"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_data_or_parameters_are_an_error(kind, path):
    stopped(MLPClassifier(**BASE), path, X, y)
    parameters, rows, targets, options, message = OTHERS[kind]
    estimator = MLPClassifier(**parameters)
    with pytest.raises(ValueError, match=message):
        estimator.fit(rows, targets, resume=path, **options)
    assert not estimator.__sklearn_is_fitted__()


def test_bad_arguments(path, tmp_path):
    with pytest.raises(ValueError, match="solver='lbfgs'"):
        MLPClassifier(solver="lbfgs").fit(X, y, checkpoint=path)
    with pytest.raises(ValueError, match="checkpoint must be a path"):
        MLPClassifier().fit(X, y, checkpoint_every=3)
    for every in (0, -1, 1.5, True, "1", timedelta(-1)):
        with pytest.raises(ValueError, match="checkpoint_every must be a number of epochs"):
            MLPClassifier().fit(X, y, checkpoint=path, checkpoint_every=every)
    with pytest.raises(FileNotFoundError):
        MLPClassifier().fit(X, y, resume=path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        MLPClassifier().fit(X, y, checkpoint=tmp_path / "missing" / "run")
    with pytest.raises(ValueError, match=r"scoring=.* cannot be written"):
        MLPClassifier(scoring=lambda model, X, y: 0.0).fit(X, y, checkpoint=path)
    MLPClassifier(**BASE).fit(X, y).save(path)
    with pytest.raises(fastmlp.ModelFileError, match="no checkpoint, but a model"):
        MLPClassifier(**BASE).fit(X, y, resume=path)
    stopped(MLPClassifier(**BASE), path, X, y)
    with pytest.raises(fastmlp.ModelFileError, match=r"kind must be one of \['MLPRegressor'\]"):
        MLPRegressor(**BASE).fit(X, y, resume=path)


def test_how_often(path, monkeypatch):
    written = []
    write = checkpoints.write_model_file
    monkeypatch.setattr(
        checkpoints, "write_model_file", lambda *them: (written.append(them), write(*them))
    )
    MLPClassifier(**BASE).fit(X, y, checkpoint=path, checkpoint_every=3)
    assert len(written) == 4  # at the beginning, after the epochs 3 and 6, and at the end
    written.clear()
    MLPClassifier(**BASE).fit(X, y, checkpoint=path)
    assert len(written) == 2  # the fit takes less than 30 seconds
    written.clear()
    MLPClassifier(**BASE).fit(X, y, checkpoint=path, checkpoint_every=timedelta(0))
    assert len(written) == 10


def test_full_disk_is_a_warning_and_the_training_goes_on(path, monkeypatch):
    expected = MLPClassifier(**BASE).fit(X, y)
    write, n_calls = checkpoints.write_model_file, []

    def full(*arguments):
        n_calls.append(1)
        if len(n_calls) > 3:
            raise OSError(28, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(checkpoints, "write_model_file", full)
    with pytest.warns(UserWarning, match="could not be written, and the fit goes on: .*No space"):
        model = MLPClassifier(**BASE).fit(X, y, checkpoint=path, checkpoint_every=1)
    assert (model.predict_proba(X) == expected.predict_proba(X)).all()
    again = MLPClassifier(**BASE).fit(X, y, resume=path)
    assert (again.predict_proba(X) == expected.predict_proba(X)).all()


def test_time_limit_counts_from_the_first_beginning(path):
    parameters = BASE | {"max_iter": 100_000, "tol": 0.0, "n_iter_no_change": np.inf}
    model = MLPClassifier(**parameters, max_seconds=0.3)
    model.fit(X, y, checkpoint=path, checkpoint_every=1)
    n_epochs = fastmlp.load(path).n_iter_
    assert model.stop_reason_ == "max_seconds"
    assert n_epochs >= model.n_iter_ - 1
    # There is no time left, but a fit has one epoch, or a part of it.
    again = MLPClassifier(**parameters, max_seconds=0.3).fit(X, y, resume=path)
    assert again.n_iter_ <= n_epochs + 1
    more = MLPClassifier(**parameters, max_seconds=0.6).fit(X, y, resume=path)
    assert more.n_iter_ > n_epochs + 1


# Tables -------------------------------------------------------------------------------------------

TABLE = {"n_members": 6, "random_state": 0}


def stopped_after(monkeypatch, estimator, n_members, path, rows, targets):
    """Fit with a checkpoint after every network, and stop after some of them."""
    end_member, ended = MemberCheckpoints.end_member, []

    def end(self, candidate, k):
        end_member(self, candidate, k)
        ended.append(k)
        if len(ended) == n_members:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(MemberCheckpoints, "end_member", end)
        with pytest.raises(Stop):
            estimator.fit(rows, targets, checkpoint=path, checkpoint_every=1)


@pytest.mark.filterwarnings("ignore:.*tasks which were still being processed")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("n_rows", "n_members"), [(120, 1), (120, 7), (5200, 4), (5200, 9)])
def test_ensemble_goes_on_network_by_network(n_rows, n_members, path, monkeypatch):
    """5,200 rows have rounds of successive halving, and 120 have none."""
    rng = np.random.RandomState(0)
    rows = rng.standard_normal((n_rows, 3))
    targets = rows[:, 0] * rows[:, 1] > 0
    expected = TabularMLPClassifier(**TABLE).fit(rows, targets)
    estimator = TabularMLPClassifier(**TABLE)
    stopped_after(monkeypatch, estimator, n_members, path, rows, targets)
    with pytest.raises(fastmlp.ModelFileError, match="has not ended"):
        fastmlp.load(path)
    for again in (
        TabularMLPClassifier(**TABLE, n_jobs=1).fit(rows, targets, checkpoint=path, resume=path),
        TabularMLPClassifier(**TABLE).fit(rows, targets, resume=path),  # of the end
        fastmlp.load(path),
    ):
        assert (again.predict_proba(rows) == expected.predict_proba(rows)).all()
        boards = [dict(model.leaderboard_, seconds=None) for model in (again, expected)]
        assert boards[0] == boards[1]
        assert vars(again).keys() == vars(expected).keys()


@pytest.mark.filterwarnings("ignore:.*tasks which were still being processed")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_networks_of_the_file_are_not_trained_again(path, monkeypatch):
    estimator = TabularMLPRegressor(**TABLE)
    stopped_after(monkeypatch, estimator, 9, path, X[:100], y[:100].astype(float))
    begun = []
    member = fastmlp._tabular.training.Member
    train = member.train
    monkeypatch.setattr(
        member, "train", lambda self, *them: (begun.append(self.n_epochs), train(self, *them))[1]
    )
    model = TabularMLPRegressor(**TABLE).fit(X[:100], y[:100].astype(float), resume=path)
    n_networks = 6 + 2 + 2 * 3  # on the first fold, the second and the three others
    assert len(begun) <= n_networks - 9
    assert len(model.leaderboard_["loss"]) == 6


def test_how_often_with_rounds(path, monkeypatch):
    """The networks of later rounds count as well as those of the first."""
    rng = np.random.RandomState(0)
    rows = rng.standard_normal((5200, 3))
    targets = rows[:, 0] * rows[:, 1]
    trained, written = [], []
    end_member, write = MemberCheckpoints.end_member, MemberCheckpoints.write
    monkeypatch.setattr(
        MemberCheckpoints, "end_member", lambda self, *them: trained.append(end_member(self, *them))
    )
    monkeypatch.setattr(
        MemberCheckpoints,
        "write",
        lambda self, *them, **options: written.append(write(self, *them, **options)),
    )
    TabularMLPRegressor(**TABLE).fit(rows, targets, checkpoint=path, checkpoint_every=4)
    assert len(trained) > 9
    assert len(written) == 2 + len(trained) // 4  # and at the beginning and at the end


@pytest.mark.filterwarnings("ignore:.*tasks which were still being processed")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_survivors_of_a_round_are_not_chosen_again(path, monkeypatch):
    """The losses have changed since then: the survivors have been trained on."""
    rng = np.random.RandomState(0)
    rows = rng.standard_normal((5200, 3))
    targets = rows[:, 0] * rows[:, 1]
    stopped_after(monkeypatch, TabularMLPRegressor(**TABLE), 7, path, rows, targets)
    chosen, best = [], fastmlp._tabular.training.best
    monkeypatch.setattr(
        fastmlp._tabular.training, "best", lambda *them: (chosen.append(them), best(*them))[1]
    )
    TabularMLPRegressor(**TABLE).fit(rows, targets, resume=path)
    # Six networks of the first round and one of the second: one of four choices had been made.
    assert len(chosen) == 3


def test_splits_of_a_generator(path):
    """A file cannot hold the generator, but the rows that it gives are compared."""
    targets = y[:100].astype(float)
    expected = TabularMLPRegressor(**TABLE, cv=KFold(3)).fit(X[:100], targets, checkpoint=path)
    again = TabularMLPRegressor(**TABLE, cv=KFold(3)).fit(X[:100], targets, resume=path)
    assert (again.predict(X) == expected.predict(X)).all()
    with pytest.raises(ValueError, match="other data: cv must be the same"):
        TabularMLPRegressor(**TABLE, cv=KFold(4)).fit(X[:100], targets, resume=path)


def test_other_tables_are_an_error(path):
    targets = y[:100].astype(float)
    TabularMLPRegressor(**TABLE).fit(X[:100], targets, checkpoint=path)
    for parameters, rows, numbers, message in (
        (TABLE | {"n_members": 5}, X[:100], targets, "n_members=6, but"),
        (TABLE, X[:100] ** 2, targets, "X must be the same"),
        # These are encoded to the same numbers.
        (TABLE, 4 * X[:100], targets, "X must be the same"),
        (TABLE, X[:100], 4 * targets, "y must be the same"),
        (TABLE, X[:100], targets + np.arange(100), "y must be the same"),
        (TABLE | {"cv": 3}, X[:100], targets, "cv=None, but"),
    ):
        with pytest.raises(ValueError, match=message):
            TabularMLPRegressor(**parameters).fit(rows, numbers, resume=path)


# Processes ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_killed_at_random_moments(tmp_path):
    assert kills.kill(12, 0, tmp_path) >= 12


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_killed_and_resumed_until_the_end(tmp_path):
    assert kills.resume(8, 1, tmp_path) > 1
