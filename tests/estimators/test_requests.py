"""What users of scikit-learn asked for: class weights, validation rows of one's own, callbacks."""

import builtins
import io
import pickle
import re
import sys

import numpy as np
import pytest
import sklearn.metrics
import sklearn.neural_network
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
TRAIN, VAL = np.arange(150) % 3 > 0, np.arange(150) % 3 == 0
NUMBERS = X[:, 0] * X[:, 1]


def same_weights(a, b):
    return all((V == W).all() for V, W in zip(a.coefs_, b.coefs_, strict=True))


# Class weights ---------------------------------------------------------------------------------


def test_class_weight_is_a_sample_weight():
    weight = {0: 1.0, 1: 2.5, 2: 0.0}
    rows = np.random.RandomState(0).uniform(size=150)
    parameters = dict(max_iter=5, random_state=0)
    by_class = MLPClassifier(class_weight=weight, **parameters).fit(X, Y, sample_weight=rows)
    by_hand = MLPClassifier(**parameters).fit(
        X, Y, sample_weight=rows * np.vectorize(weight.get)(Y)
    )
    for a, b in zip(by_class.coefs_, by_hand.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_balanced_class_weight_helps_the_rare_class():
    rows = np.concatenate([np.flatnonzero(Y == 1), np.flatnonzero(Y == 2)[:5]])
    parameters = dict(max_iter=60, random_state=0, learning_rate_init=0.01)
    plain = MLPClassifier(**parameters).fit(X[rows], Y[rows])
    balanced = MLPClassifier(class_weight="balanced", **parameters).fit(X[rows], Y[rows])
    rare = X[Y == 2]
    assert balanced.predict_proba(rare)[:, 1].mean() > plain.predict_proba(rare)[:, 1].mean() + 0.1


def test_class_weight_of_labels():
    labels = np.column_stack([Y == 0, Y == 1]).astype(int)
    weights = [{0: 1, 1: 3}, {0: 1, 1: 1}]
    classifier = MLPClassifier(class_weight=weights, max_iter=3).fit(X, labels)
    assert classifier.predict(X).shape == labels.shape


@pytest.mark.parametrize(
    ("w", "class_weight", "dtype", "message"),
    [
        (1e200, {0: 1e308, 1: 1, 2: 1}, "float64", "sample_weight times class_weight must be fin"),
        (1e30, {0: 1e30, 1: 1, 2: 1}, "float32", "sample_weight times class_weight must be finite"),
        (None, {0: 1e300, 1: 1, 2: 1}, "float32", "^class_weight must be finite in float32, but"),
        (None, {0: 0, 1: 0, 2: 0}, "float32", "^class_weight must not be zero throughout"),
        (None, {0: -1, 1: 1, 2: 1}, "float32", "^class_weight must not be negative"),
        (1e300, None, "float32", "sample_weight contains infinity or a value too large"),
    ],
)
def test_errors_name_the_weight(w, class_weight, dtype, message):
    classifier = MLPClassifier(class_weight=class_weight, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        classifier.fit(X, Y, None if w is None else np.full(150, w))


def test_bad_class_weight():
    with pytest.raises(ValueError, match="class_weight"):
        MLPClassifier(class_weight="heavy").fit(X, Y)
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows"):
        MLPClassifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


# Validation rows of one's own, history ---------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_history_of_own_validation_rows(solver):
    weight = np.random.RandomState(0).uniform(size=VAL.sum())
    classifier = MLPClassifier(solver=solver, max_iter=10, random_state=0)
    classifier.fit(X[TRAIN], Y[TRAIN], X_val=X[VAL], y_val=Y[VAL], sample_weight_val=weight)
    history = classifier.history_
    columns = {"loss", "val_loss", "val_score", "seconds"}
    assert set(history) == columns | ({"learning_rate"} if solver == "adam" else set())
    assert all(len(column) == classifier.n_iter_ for column in history.values())
    probabilities = classifier.predict_proba(X[VAL]).astype(float)
    expected = log_loss(Y[VAL], probabilities / probabilities.sum(axis=1, keepdims=True),
                        sample_weight=weight)  # fmt: skip
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)
    score = classifier.score(X[VAL], Y[VAL], sample_weight=weight)
    assert history["val_score"][-1] == pytest.approx(score)
    assert all(seconds > 0 for seconds in history["seconds"])


def test_own_validation_rows_do_not_change_the_training():
    parameters = dict(max_iter=10, random_state=0)
    plain = MLPRegressor(**parameters).fit(X, NUMBERS)
    watched = MLPRegressor(**parameters).fit(X, NUMBERS, X_val=X[:9], y_val=NUMBERS[:9])
    assert same_weights(plain, watched)
    assert watched.validation_scores_ is None
    assert watched.history_["val_loss"][-1] == pytest.approx(
        mean_squared_error(NUMBERS[:9], watched.predict(X[:9])) / 2, rel=1e-5
    )


def test_early_stopping_by_own_validation_rows():
    classifier = MLPClassifier(
        early_stopping=True, n_iter_no_change=5, learning_rate_init=0.05, random_state=0
    ).fit(X[TRAIN], Y[TRAIN], X_val=X[VAL], y_val=Y[VAL])
    assert classifier.validation_scores_ == classifier.history_["val_score"]
    assert classifier.score(X[VAL], Y[VAL]) == pytest.approx(classifier.best_validation_score_)
    assert classifier.best_validation_score_ == max(classifier.validation_scores_)
    assert classifier.t_ == TRAIN.sum() * classifier.n_iter_  # no rows were set aside


@pytest.mark.parametrize(
    "scoring", ["neg_log_loss", "f1_macro", lambda estimator, X, y: estimator.score(X, y) / 2]
)
def test_scoring(scoring):
    classifier = MLPClassifier(
        scoring=scoring, early_stopping=True, n_iter_no_change=3, max_iter=30, random_state=0
    ).fit(X[TRAIN], Y[TRAIN], X_val=X[VAL], y_val=Y[VAL])
    scorer = sklearn.metrics.get_scorer(scoring) if isinstance(scoring, str) else scoring
    assert scorer(classifier, X[VAL], Y[VAL]) == pytest.approx(classifier.best_validation_score_)


def test_scoring_with_a_split_names_and_strings():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    names = np.array(["x", "y", "z"])[Y]
    classifier = MLPClassifier(
        scoring="neg_log_loss", early_stopping=True, max_iter=5, random_state=0
    )  # a split without one of the classes has no log loss
    classifier.fit(frame, names)
    assert len(classifier.validation_scores_) == classifier.n_iter_


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (dict(X_val=X), "X_val and y_val must be given together, got no y_val"),
        (dict(y_val=Y), "X_val and y_val must be given together, got no X_val"),
        (dict(sample_weight_val=np.ones(150)), "sample_weight_val needs X_val and y_val"),
        (dict(X_val=X[:, :2], y_val=Y), "X_val.*features"),
        (dict(X_val=X[:, :2].tolist()), "given together, got no y_val .or X_val as a list of pai"),
        (dict(X_val=[(X, Y), X]), "given together, got no y_val"),
        (dict(X_val=[]), "X_val must have one, got 0 pairs"),
        (dict(X_val=[(X, Y)] * 2, sample_weight_val=[None]), "sample_weight_val must be a list"),
        (dict(X_val=[(X, Y)], sample_weight_val=np.ones(150)), "sample_weight_val must be a list"),
        (dict(X_val=[(X, Y), (X[:, :2], Y)]), "X_val.*number 1 of 2: .*features"),
        (dict(X_val=X, y_val=Y + 1), "X_val, y_val.*classes not in"),
        (dict(X_val=X, y_val=Y[:3]), "X_val, y_val.*inconsistent"),
        (dict(X_val=X, y_val=Y, sample_weight_val=-np.ones(150)), "X_val.*sample_weight_val"),
        (dict(X_val=X * np.nan, y_val=Y), "X_val.*NaN"),
    ],
)
def test_bad_validation_rows(validation, message):
    classifier = MLPClassifier(max_iter=2, random_state=0).fit(X, Y)
    before = pickle.dumps(classifier)
    with pytest.raises(ValueError, match=message):
        classifier.fit(X, Y, **validation)
    assert pickle.dumps(classifier) == before


def last_epoch(estimator):
    return {name: column[-1] for name, column in estimator.history_.items()}


def worst(estimator, X, y, sample_weight=None):
    return -max(estimator.predict_proba(X)[:, 0])


@pytest.mark.parametrize("own", [False, True])
def test_several_scorers_are_recorded_and_the_first_decides(own):
    accuracy = sklearn.metrics.make_scorer(sklearn.metrics.accuracy_score)
    scoring = ["neg_log_loss", worst, "accuracy", accuracy, accuracy]
    settings = dict(early_stopping=True, max_iter=30, random_state=0, learning_rate_init=0.02)
    validation = dict(X_val=X[VAL], y_val=Y[VAL]) if own else {}
    several = MLPClassifier(scoring=scoring, **settings).fit(X[TRAIN], Y[TRAIN], **validation)
    first = MLPClassifier(scoring=scoring[0], **settings).fit(X[TRAIN], Y[TRAIN], **validation)
    names = ["neg_log_loss", "worst", "accuracy", "accuracy_score", "accuracy_score(2)"]
    assert set(several.history_) - set(first.history_) == {f"val_{name}" for name in names}
    assert several.history_["val_score"] == several.history_["val_neg_log_loss"]
    assert several.history_["val_score"] == first.history_["val_score"]
    assert several.validation_scores_ == first.validation_scores_
    assert same_weights(several, first)
    np.testing.assert_allclose(
        several.history_["val_accuracy"], several.history_["val_accuracy_score"]
    )
    if own:
        plain = MLPClassifier(**settings | dict(early_stopping=False))
        plain.set_params(scoring=scoring).fit(X[TRAIN], Y[TRAIN], **validation)
        seen, p = last_epoch(plain), plain.predict_proba(X[VAL])
        assert seen["val_neg_log_loss"] == pytest.approx(-log_loss(Y[VAL], p))
        assert seen["val_accuracy"] == pytest.approx(plain.score(X[VAL], Y[VAL]))
        assert seen["val_worst"] == pytest.approx(-p[:, 0].max())


def test_a_scorer_named_as_a_column_of_the_history():
    def loss(estimator, X, y):
        return 7.0

    def score(estimator, X, y):
        return 8.0

    regressor = MLPRegressor(scoring=[score, loss], max_iter=1, random_state=0)
    seen = last_epoch(regressor.fit(X, NUMBERS, X_val=X, y_val=NUMBERS))
    assert (seen["val_score"], seen["val_score(2)"], seen["val_loss(2)"]) == (8.0, 8.0, 7.0)
    assert seen["val_loss"] == pytest.approx(np.mean((regressor.predict(X) - NUMBERS) ** 2) / 2)


@pytest.mark.parametrize("scoring", [[], ["no such"], ["r2", 3], ["r2", None], [["r2"]]])
def test_bad_lists_of_scorers(scoring):
    with pytest.raises(ValueError, match="scoring must be a name of a scorer"):
        MLPRegressor(scoring=scoring).fit(X, NUMBERS)


def test_a_scorer_that_the_estimator_cannot_serve_is_an_error_that_names_it():
    model = MLPRegressor(early_stopping=True, scoring="roc_auc", max_iter=2)
    with pytest.raises(ValueError, match=r"scoring='roc_auc' cannot be computed: .*predict_proba"):
        model.fit(np.arange(60.0).reshape(30, 2) / 60, np.arange(30) % 2)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("scoring", [None, ["r2", "neg_mean_squared_error"]])
def test_several_validation_sets_are_recorded_and_the_last_decides(solver, scoring):
    pairs = [(X[TRAIN], NUMBERS[TRAIN]), [X[VAL], NUMBERS[VAL]]]
    w = np.linspace(0, 1, VAL.sum())
    settings = dict(solver=solver, scoring=scoring, early_stopping=solver == "adam", max_iter=30)
    several, last = (MLPRegressor(random_state=0, **settings) for _ in range(2))
    several.fit(X, NUMBERS, X_val=pairs, sample_weight_val=[None, w])
    last.fit(X, NUMBERS, X_val=X[VAL], y_val=NUMBERS[VAL], sample_weight_val=w)
    assert same_weights(several, last)
    assert getattr(last, "validation_scores_", 0) == getattr(several, "validation_scores_", 0)
    new = set(several.history_) - set(last.history_)
    measures = ["loss", "score", *([] if scoring is None else scoring)]
    assert new == {f"val_{name}_{i}" for name in measures for i in (0, 1)}
    for name in set(last.history_) - {"seconds"}:
        assert several.history_[name] == last.history_[name]
    for name in measures:
        assert several.history_[f"val_{name}"] == several.history_[f"val_{name}_1"]
    once = MLPRegressor(random_state=0, **settings | dict(max_iter=1, early_stopping=False))
    once.fit(X, NUMBERS, X_val=tuple(pairs))
    seen, predicted = last_epoch(once), once.predict(X)
    for i, rows in enumerate((TRAIN, VAL)):
        error = mean_squared_error(NUMBERS[rows], predicted[rows])
        assert seen[f"val_loss_{i}"] == pytest.approx(error / 2)
        expected = sklearn.metrics.r2_score(NUMBERS[rows], predicted[rows])
        assert seen[f"val_score_{i}"] == pytest.approx(expected)


def test_partial_fit_takes_validation_rows():
    classifier = MLPClassifier(random_state=0, scoring=["accuracy", "neg_log_loss"])
    regressor = MLPRegressor(random_state=0)
    w = np.linspace(0, 1, VAL.sum())
    for rows in (slice(75), slice(75, 150)):
        classifier.partial_fit(X[rows], Y[rows], None, [0, 1, 2], X_val=[(X[VAL], Y[VAL])])
        own = dict(X_val=X[VAL], y_val=NUMBERS[VAL], sample_weight_val=w)
        regressor.partial_fit(X[rows], NUMBERS[rows], **own)
    plain = MLPRegressor(random_state=0)
    for rows in (slice(75), slice(75, 150)):
        plain.partial_fit(X[rows], NUMBERS[rows])
    assert same_weights(plain, regressor)
    seen, p = last_epoch(classifier), classifier.predict_proba(X[VAL])
    assert seen["val_neg_log_loss"] == seen["val_neg_log_loss_0"]
    assert seen["val_neg_log_loss"] == pytest.approx(-log_loss(Y[VAL], p), rel=1e-5)
    assert seen["val_accuracy"] == pytest.approx(classifier.score(X[VAL], Y[VAL]))
    assert len(regressor.history_["val_score"]) == 2
    expected = regressor.score(X[VAL], NUMBERS[VAL], w)
    assert last_epoch(regressor)["val_score"] == pytest.approx(expected)
    assert regressor.validation_scores_ is None
    with pytest.raises(ValueError, match="classes not in"):
        classifier.partial_fit(X, Y, X_val=X, y_val=Y + 1)


@pytest.mark.parametrize("model", [MLPClassifier, MLPRegressor])
def test_rows_set_aside_that_count_nothing(model):
    found = set()
    for i in range(30):  # this row alone counts, be it set aside or not
        with pytest.raises(ValueError, match=r"sample_weight.*must not be 0 for all") as error:
            model(early_stopping=True, random_state=0).fit(X, Y, np.arange(150) == i)
        found.add(
            re.search(r"15 rows that early_stopping sets aside|135 rows", str(error.value))[0]
        )
    assert len(found) == 2
    # scikit-learn before 1.9 does not look, and so our own check does.
    zero = r"sample_weight_val.*(at least one non-zero|must not be zero throughout)"
    with pytest.raises(ValueError, match=zero):
        model().fit(X, Y, X_val=X, y_val=Y, sample_weight_val=np.zeros(150))


@pytest.mark.parametrize("model", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("size", [1e38, 1e-30])
def test_a_score_of_large_weights_is_that_of_ones(model, size):
    w = np.full(150, size)
    # alpha is divided by the weights
    settings = dict(early_stopping=True, max_iter=3, alpha=0.0, random_state=0)
    for own in ({}, dict(X_val=X, y_val=Y)):
        plain = model(**settings).fit(X, Y, **own)
        if own:
            own["sample_weight_val"] = w
        weighted = model(**settings).fit(X, Y, w, **own)
        np.testing.assert_allclose(weighted.validation_scores_, plain.validation_scores_, rtol=1e-4)


SCORES_OF_LOSSES = ["squared_error", "quantile", "poisson", "gamma", "tweedie"]
BAD_WEIGHTS = {
    "2-D": np.ones((150, 150)),
    "fewer": np.ones(149),
    "words": np.full(150, "a", object),
    "nan": np.full(150, np.nan),
}


@pytest.mark.parametrize("loss", SCORES_OF_LOSSES)
@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_scores_refuse_weights_that_are_none(loss, kind):
    y = np.abs(NUMBERS) + 1
    model = MLPRegressor(loss, (2,), max_iter=1, random_state=0).partial_fit(X, y)
    with pytest.raises(ValueError, match=r"weight|numbers of samples|could not convert|NaN"):
        model.score(X, y, BAD_WEIGHTS[kind])


@pytest.mark.parametrize("loss", SCORES_OF_LOSSES)
@pytest.mark.parametrize("spoil", [lambda y: y + 1j, lambda y: y * np.nan, lambda y: y[:-1]])
def test_scores_refuse_targets_that_are_none(loss, spoil):
    y = np.abs(NUMBERS) + 1
    model = MLPRegressor(loss, (2,), max_iter=1, random_state=0).partial_fit(X, y)
    with pytest.raises(ValueError, match=r"Complex|NaN|numbers of samples"):
        model.score(X, spoil(y))


@pytest.mark.parametrize("loss", ["quantile", "gamma", "tweedie"])
def test_scores_of_deviances_refuse_negative_weights(loss):
    y = np.abs(NUMBERS) + 1
    model = MLPRegressor(loss, (2,), max_iter=1, random_state=0).partial_fit(X, y)
    with pytest.raises(ValueError, match="Negative values"):
        model.score(X, y, np.where(np.arange(150) == 7, -1.0, 1.0))


def test_history_goes_on_with_warm_start_and_partial_fit():
    regressor = MLPRegressor(max_iter=3, warm_start=True).fit(X, NUMBERS)
    regressor.fit(X, NUMBERS, X_val=X, y_val=NUMBERS)
    regressor.partial_fit(X, NUMBERS)
    assert len(regressor.history_["loss"]) == 7
    val_loss = regressor.history_["val_loss"]
    assert np.isnan(val_loss).tolist() == [True] * 3 + [False] * 3 + [True]


def test_history_has_the_rate():
    regressor = MLPRegressor(solver="sgd", learning_rate="invscaling", max_iter=4)
    rates = regressor.fit(X, NUMBERS).history_["learning_rate"]
    expected = [1e-3, *(1e-3 / (150 * k + 1) ** 0.5 for k in (1, 2, 3))]
    np.testing.assert_allclose(rates, expected)


# Callbacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_function_is_told_of_every_epoch_and_may_stop(solver):
    seen = []

    def watch(estimator, state):
        assert estimator.predict(X[:2]).shape == (2,)  # usable in the middle of training
        assert estimator.n_iter_ == state.epoch
        seen.append(state)
        return state.epoch == 4

    regressor = MLPRegressor(solver=solver, callbacks=[watch], max_iter=50, random_state=0)
    regressor.fit(X, NUMBERS)
    assert [state.epoch for state in seen] == [1, 2, 3, 4] == list(range(1, regressor.n_iter_ + 1))
    assert [state.loss for state in seen] == regressor.history_["loss"]
    assert seen[0].max_iter == 50
    assert seen[0].val_loss is None
    shorter = MLPRegressor(solver=solver, max_iter=4, random_state=0).fit(X, NUMBERS)
    assert same_weights(regressor, shorter)


def test_an_error_in_a_callback_leaves_the_estimator():
    def fail(estimator, state):
        raise RuntimeError("enough")

    regressor = MLPRegressor(max_iter=3).fit(X, NUMBERS)
    before = pickle.dumps(vars(regressor)["_network"])
    with pytest.raises(RuntimeError, match="enough"):
        regressor.set_params(callbacks=fail).fit(X, NUMBERS)
    assert pickle.dumps(vars(regressor)["_network"]) == before


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("where", ["callback", "scorer"])
def test_a_stop_iteration_is_an_error_like_others(solver, where):
    def fail(*_):
        raise StopIteration("a bug")

    fails = {"callbacks": fail} if where == "callback" else {"scoring": fail}
    regressor = MLPRegressor(solver=solver, max_iter=3, random_state=0).fit(X, NUMBERS)
    before = pickle.dumps(vars(regressor)["_network"])
    with pytest.raises(StopIteration, match="a bug"):
        regressor.set_params(**fails).fit(X, NUMBERS, X_val=X, y_val=NUMBERS)
    assert pickle.dumps(vars(regressor)["_network"]) == before


@pytest.mark.parametrize("callbacks", [3, ["f"], [print, 3], dict])
def test_bad_callbacks(callbacks):
    with pytest.raises((TypeError, ValueError), match="callbacks"):
        MLPRegressor(callbacks=callbacks).fit(X, NUMBERS)


def test_scoring_monitor_of_scikit_learn():
    callback = pytest.importorskip("sklearn.callback")
    for give in ("set_callbacks", "parameter"):
        monitor = callback.ScoringMonitor(scoring="accuracy")
        classifier = MLPClassifier(max_iter=5, random_state=0)
        if give == "parameter":
            classifier.set_params(callbacks=[monitor])
        else:
            classifier.set_callbacks(monitor)
        classifier.fit(X, Y)
        log = monitor.get_logs(select="most_recent")
        scores = [row["accuracy"] for row in log.data if row["task_name"] == "epoch"]
        assert len(scores) == 5
        assert scores[-1] == pytest.approx(classifier.score(X, Y))


def test_progress_bar_of_scikit_learn(capsys):
    callback = pytest.importorskip("sklearn.callback")
    pytest.importorskip("rich")
    MLPClassifier(max_iter=5, callbacks=[callback.ProgressBar()]).fit(X, Y)
    assert "MLPClassifier" in capsys.readouterr().out


class Recorder:
    """A callback of scikit-learn's interface."""

    def __init__(self):
        self.calls = []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.calls.append(f"end {context.task_name}")
        assert fitted_estimator.predict(X[:2]).shape == (2,)
        return context.task_name == "epoch" and context.task_id == 1


def test_callbacks_of_scikit_learn_are_ended_and_may_stop():
    pytest.importorskip("sklearn.callback")
    recorder = Recorder()
    regressor = MLPRegressor(max_iter=9, callbacks=[recorder]).fit(X, NUMBERS)
    epoch = ["begin epoch", "end epoch"]
    assert recorder.calls == ["setup", "begin fit", *epoch, *epoch, "end fit", "teardown"]
    assert regressor.n_iter_ == 2
    recorder.calls.clear()
    regressor.set_params(solver="sgd", learning_rate_init=1e30)
    with pytest.raises(ValueError, match="non-finite"), np.errstate(all="ignore"):
        regressor.fit(X, NUMBERS)
    assert recorder.calls[:3] == ["setup", "begin fit", "begin epoch"]
    assert recorder.calls[-1] == "teardown"
    assert "end fit" not in recorder.calls


# Parameters that callbacks change ----------------------------------------------------------------


def after_two_epochs(**changes):
    def change(estimator, epoch):
        if epoch.epoch == 2:
            estimator.set_params(**changes)

    return change


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("change", [
    dict(learning_rate_init=0.1), dict(alpha=10.0), dict(l1=0.1), dict(weight_decay=0.5),
    dict(momentum=0.1), dict(nesterovs_momentum=False), dict(beta_1=0.2, beta_2=0.5),
    dict(epsilon=0.1), dict(max_norm=0.1), dict(clip_norm=1e-3), dict(clip_value=1e-4),
    dict(learning_rate="exponential", schedule_params={"gamma": 0.1}), dict(n_threads=1),
], ids=str)  # fmt: skip
def test_what_a_callback_sets_counts_from_the_next_epoch(change, solver):
    """As between calls of partial_fit."""
    parameters = dict(
        solver=solver, shuffle=False, batch_size=40, random_state=0, learning_rate_init=0.01
    )
    changed = MLPRegressor(max_iter=5, callbacks=after_two_epochs(**change), **parameters)
    changed.fit(X, NUMBERS)
    by_parts = MLPRegressor(max_iter=5, **parameters)
    for epoch in range(5):
        by_parts.set_params(**(change if epoch == 2 else {})).partial_fit(X, NUMBERS)
    assert same_weights(changed, by_parts)
    assert changed.loss_curve_ == by_parts.loss_curve_
    assert changed.history_["learning_rate"] == by_parts.history_["learning_rate"]
    unchanged = MLPRegressor(max_iter=5, **parameters).fit(X, NUMBERS)
    without_effect = {
        "adam": ("momentum", "nesterovs_momentum", "n_threads"),
        "sgd": ("beta_1", "epsilon", "n_threads"),
    }
    assert same_weights(changed, unchanged) == (next(iter(change)) in without_effect[solver])


def test_a_callback_may_stand_still_by_the_rate_or_switch_dropout_on():
    parameters = dict(max_iter=6, random_state=0, learning_rate_init=0.01)
    short = MLPRegressor(**parameters).set_params(max_iter=2).fit(X, NUMBERS)
    still = MLPRegressor(callbacks=after_two_epochs(learning_rate_init=1e-30), **parameters)
    still.fit(X, NUMBERS)
    assert same_weights(still, short)
    assert still.history_["learning_rate"] == [0.01] * 2 + [1e-30] * 4
    plain = MLPRegressor(**parameters).fit(X, NUMBERS)
    dropped = MLPRegressor(callbacks=after_two_epochs(dropout=0.9), **parameters).fit(X, NUMBERS)
    assert dropped.loss_curve_[:2] == plain.loss_curve_[:2]
    assert all(a > b for a, b in zip(dropped.loss_curve_[2:], plain.loss_curve_[2:], strict=True))


def test_diagnostics_follow_a_changed_penalty():
    parameters = dict(max_iter=3, random_state=0, learning_rate_init=1e-30, diagnostics=True)
    always = MLPRegressor(alpha=1e4, **parameters).fit(X, NUMBERS)
    later = MLPRegressor(alpha=0, callbacks=after_two_epochs(alpha=1e4), **parameters)
    norms = later.fit(X, NUMBERS).history_["gradient_norm"]
    assert norms[2] == always.history_["gradient_norm"][2]
    assert norms[2][0] > 10 * norms[1][0]


@pytest.mark.parametrize(("solver", "change", "message"), [
    ("adam", dict(hidden_layer_sizes=(3,)), r"hidden_layer_sizes=\(3,\): in the middle of"),
    ("adam", dict(solver="sgd"), "solver='sgd'"),
    ("adam", dict(activation="tanh", dtype="float64"), "activation='tanh', dtype='float64'"),
    ("adam", dict(max_iter=100, tol=0.1), "max_iter=100, tol=0.1"),
    ("adam", dict(batch_size=3), "batch_size=3"),
    ("adam", dict(input_noise=0.1), "input_noise=0.1"),
    ("adam", dict(init=[np.ones((4, 100)), np.ones((100, 1))]), "init="),
    ("adam", dict(averaging=0.9), "averaging or amsgrad"),
    ("adam", dict(solver_params={"amsgrad": True}), "averaging or amsgrad"),
    ("adam", dict(alpha=-1), "'alpha' parameter"),
    ("adam", dict(dropout=[0.1, 0.2]), "dropout must be"),
    ("adam", dict(schedule_params={"gamma": 0.1}), "schedule_params"),
    ("lbfgs", dict(alpha=1.0), "alpha=1.0: in the middle of a fit only n_threads"),
    ("lbfgs", dict(tol=1.0), "tol=1.0"),
])  # fmt: skip
def test_what_cannot_change_in_the_middle_of_a_fit_is_refused(solver, change, message):
    regressor = MLPRegressor(solver=solver, max_iter=5, random_state=0).fit(X, NUMBERS)
    regressor.set_params(callbacks=after_two_epochs(**change))
    before = pickle.dumps({k: v for k, v in vars(regressor).items() if k != "callbacks"})
    with pytest.raises(ValueError, match=message):
        regressor.fit(X, NUMBERS)
    assert pickle.dumps({k: v for k, v in vars(regressor).items() if k != "callbacks"}) == before


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_callback_may_set_what_it_likes_at_the_end_and_what_was_there(solver):
    def change(estimator, epoch):
        estimator.set_params(hidden_layer_sizes=(20, 3 * 10), n_threads=1 + epoch.epoch % 2)
        estimator.set_params(alpha=1e-4, init=[None] * 3)
        if epoch.epoch == 3:
            estimator.set_params(solver="sgd", tol=1.0)
        return epoch.epoch == 3

    regressor = MLPRegressor(
        hidden_layer_sizes=(20, 30),
        solver=solver,
        init=[None] * 3,
        callbacks=change,
        random_state=0,
    )
    assert regressor.fit(X, NUMBERS).n_iter_ == 3
    assert regressor.solver == "sgd"


# Progress --------------------------------------------------------------------------------------


def without(monkeypatch, *libraries):
    real = builtins.__import__

    def limited(name, *args, **kwargs):
        if name.split(".")[0] in libraries:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", limited)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("missing", [(), ("rich",)])
def test_verbose_shows_one_live_line(monkeypatch, missing, solver):
    without(monkeypatch, *missing)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    MLPClassifier(solver=solver, max_iter=8, verbose=1).fit(X, Y, X_val=X, y_val=Y)
    shown = terminal.getvalue()
    assert "8/8" in shown
    for word in ("loss", "val_score"):
        assert word in shown
    if missing:
        assert "left" in shown
        assert shown.count("\n") == 1


def test_verbose_in_a_file(monkeypatch, capsys):
    without(monkeypatch, "rich")
    MLPClassifier(max_iter=8, verbose=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("epoch 8/8  loss ")
    assert len(lines) <= 8


def test_verbose_in_a_notebook_without_widgets(monkeypatch, capsys):
    """rich then shows nothing, and warns in every fit."""
    rich = pytest.importorskip("rich")
    without(monkeypatch, "ipywidgets")
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr(rich, "_console", None)
    MLPClassifier(max_iter=8, verbose=1).fit(X, Y)
    shown = capsys.readouterr().out
    assert "8/8" in shown
    assert "loss" in shown


# Time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_max_seconds(solver):
    rng = np.random.RandomState(0)
    rows, y = rng.standard_normal((50_000, 100)), rng.standard_normal(50_000)
    regressor = MLPRegressor(
        hidden_layer_sizes=(200,), solver=solver, max_seconds=0.5, max_iter=10_000, max_fun=10**9,
        tol=0, n_iter_no_change=np.inf,
    )  # fmt: skip
    regressor.fit(rows, y)  # without a budget it takes hours
    assert regressor.stop_reason_ == "max_seconds"
    assert np.isfinite(regressor.predict(rows[:3])).all()
    assert 0 < regressor.n_iter_ < 10_000


def test_max_seconds_in_the_first_epoch(monkeypatch):
    monkeypatch.setattr("fastmlp._training.descent.SECONDS_IN_CORE", 0.0)
    regressor = MLPRegressor(max_seconds=1e-9, batch_size=10).fit(X, NUMBERS)
    assert regressor.t_ == 10
    assert regressor.n_iter_ == 1
    assert regressor.predict(X).shape == (150,)


def interrupt(estimator, state):
    if state.epoch == 2:
        raise KeyboardInterrupt


ENDS = {
    "converged": dict(tol=1e-2, max_iter=500, n_iter_no_change=3),
    "max_iter": dict(max_iter=2),
    "callback": dict(callbacks=lambda e, state: state.epoch == 2),
    "interrupted": dict(callbacks=interrupt),
    "max_seconds": dict(max_seconds=1e-9),
}


@pytest.mark.filterwarnings("ignore:Training interrupted by user")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("reason", ENDS)
def test_stop_reason(reason, solver, early_stopping):
    regressor = MLPRegressor(solver=solver, early_stopping=early_stopping, random_state=0)
    regressor.set_params(learning_rate_init=0.02, **ENDS[reason]).fit(X, NUMBERS)
    assert regressor.stop_reason_ == reason
    assert not hasattr(regressor.set_params(max_iter=3).initialize(4), "stop_reason_")


def test_stop_reason_is_of_the_last_fit():
    seen = []
    regressor = MLPRegressor(max_iter=2, warm_start=True, random_state=0)
    regressor.fit(X, NUMBERS).set_params(
        callbacks=lambda e, state: seen.append(hasattr(e, "stop_reason_"))
    )
    regressor.set_params(max_seconds=1e-9).fit(X, NUMBERS)
    assert (seen, regressor.stop_reason_) == ([False], "max_seconds")
    regressor.set_params(max_seconds=None).partial_fit(X, NUMBERS)
    assert (regressor.stop_reason_, regressor.best_iter_) == ("max_iter", 1)
    regressor.set_params(solver="lbfgs", dtype="float32", max_fun=2, max_iter=9, callbacks=None)
    assert regressor.fit(X, NUMBERS).stop_reason_ == "max_iter"


@pytest.mark.filterwarnings("ignore:Training has diverged")
def test_stop_reason_where_it_cannot_go_on():
    def too_far(estimator, state):
        if state.epoch == 2:
            estimator.coefs_ = [np.full_like(W, 1e30) for W in estimator.coefs_]

    scores = iter([0.5, 0.4, 0.9])
    settings = dict(early_stopping=True, scoring=lambda *_: next(scores), callbacks=too_far)
    regressor = MLPRegressor(max_iter=9, random_state=0, **settings).fit(X, NUMBERS)
    assert (regressor.stop_reason_, regressor.n_iter_, regressor.best_iter_) == ("failed", 3, 1)
    np.testing.assert_equal(regressor.validation_scores_, [0.5, 0.4, np.nan])
    once = MLPRegressor(max_iter=1, early_stopping=True, random_state=0).fit(X, NUMBERS)
    assert same_weights(regressor, once)


@pytest.mark.parametrize("learning_rate", ["constant", "one_cycle"])
def test_a_budget_that_ends_a_fit_early_warns(learning_rate):
    regressor = MLPRegressor(max_seconds=1e-9, learning_rate=learning_rate, random_state=0)
    message = r"max_seconds=1e-09 ended the fit in epoch 1 of 200, before"
    with pytest.warns(ConvergenceWarning, match=message) as record:
        regressor.fit(X, NUMBERS)
    assert [warning.filename for warning in record] == [__file__]
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):  # the last epoch is whole
        MLPRegressor(max_seconds=1e-9, max_iter=1).fit(X, NUMBERS)
    with pytest.warns(ConvergenceWarning, match="max_seconds=1e-09 ended the fit in epoch 1 of 20"):
        regressor.set_params(solver="lbfgs", learning_rate="constant").fit(X, NUMBERS)


@pytest.mark.parametrize("settings", [{}, dict(early_stopping=True), dict(solver="lbfgs")])
@pytest.mark.parametrize("own", [{}, dict(X_val=X[VAL], y_val=NUMBERS[VAL])])
def test_best_iter(own, settings):
    regressor = MLPRegressor(learning_rate_init=0.3, max_iter=15, random_state=0, **settings)
    for warm_start in (False, True):
        regressor.set_params(warm_start=warm_start).fit(X[TRAIN], NUMBERS[TRAIN], **own)
        history = {
            name: np.array(c[-regressor.n_iter_ :]) for name, c in regressor.history_.items()
        }
        values = -history["val_score"] if "val_score" in history else history["loss"]
        assert regressor.best_iter_ == values.argmin() + 1
    assert regressor.initialize(4).best_iter_ == 0


def test_bad_max_seconds():
    with pytest.raises(ValueError, match="max_seconds"):
        MLPRegressor(max_seconds=0).fit(X, NUMBERS)


@pytest.mark.usefixtures("interrupted")
def test_interrupt_is_heard_at_once():
    """Ctrl-C in the middle of an epoch of about ten seconds, which does not go on to its end."""
    rng = np.random.RandomState(0)
    rows, y = rng.standard_normal((200_000, 100)), rng.standard_normal(200_000)
    regressor = MLPRegressor(hidden_layer_sizes=(1000, 1000), batch_size=200)
    with pytest.warns(UserWarning, match="interrupted"):
        regressor.fit(rows.astype("float32"), y)
    assert 0 < regressor.t_ < len(rows) or regressor.n_iter_ == 0
    assert np.isfinite(regressor.predict(rows[:3])).all()


# Divergence, scale -----------------------------------------------------------------------------


def test_divergence_names_the_epoch_and_what_to_try():
    regressor = MLPRegressor(solver="sgd", learning_rate_init=1e10, max_iter=1000)
    with pytest.raises(ValueError, match=r"epoch \d+\. A lower learning_rate_init, scaled.*clip"):
        regressor.fit(X, NUMBERS)


def test_divergence_with_early_stopping_keeps_the_best():
    regressor = MLPRegressor(
        activation="identity", solver="sgd", learning_rate_init=1, early_stopping=True,
        random_state=0, max_iter=20,
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match="Training has diverged: the loss was .* in epoch"):
        regressor.fit(X, NUMBERS)
    assert regressor.n_iter_ < 20
    assert np.isnan(regressor.validation_scores_[-1])
    assert np.isfinite(regressor.predict(X)).all()


def test_unscaled_targets_warn_once():
    y = np.column_stack([NUMBERS, 5000 + NUMBERS, 1e6 * NUMBERS])
    regressor = MLPRegressor(solver="lbfgs", max_iter=2)
    with pytest.warns(UserWarning, match=r"^column\(s\) 1, 2 of y: .*'squared_error'") as record:
        regressor.fit(X, y)
    assert {warning.filename for warning in record} == {__file__}
    assert sum("mean or standard" in str(warning.message) for warning in record) == 1
    with pytest.warns(UserWarning, match=r"^y: the mean or standard deviation is beyond 1000"):
        MLPRegressor(max_iter=2).fit(X, y[:, 1])
    with pytest.warns(UserWarning, match=r"^y: .*TransformedTargetRegressor"):
        MLPRegressor().partial_fit(X, y[:, 2])
    regressor.fit(X, y / 1e6)
    MLPRegressor("huber", max_iter=2).fit(X, y[:, 1])
    MLPRegressor("tweedie", max_iter=2).fit(X, y[:, 1])
    MLPClassifier(max_iter=2).fit(X, 5000 + Y)


def test_unscaled_columns_warn_once_and_by_name():
    pandas = pytest.importorskip("pandas")
    rows = X.copy()
    rows[:, 1] += 5000
    rows[:, 3] *= 5000
    with pytest.warns(UserWarning, match=r"2 unscaled column.*: 1, 3\. Training") as record:
        MLPRegressor(max_iter=2).fit(rows, NUMBERS)
    assert sum("unscaled" in str(warning.message) for warning in record) == 1
    assert {warning.filename for warning in record} == {__file__}
    frame = pandas.DataFrame(rows, columns=["a", "size", "c", "price"])
    with pytest.warns(UserWarning, match="size, price"):
        MLPRegressor(max_iter=2).fit(frame, NUMBERS)


# Hidden layers, building without fitting -------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_activations(activation):
    classifier = MLPClassifier((7, 5), activation=activation, max_iter=3, dtype="float64")
    classifier.fit(X, Y)
    a, f = X, {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}[activation]
    layers = classifier.activations(X)
    for l in (0, 1):
        a = f(a @ classifier.coefs_[l] + classifier.intercepts_[l])
        np.testing.assert_allclose(layers[l], a, rtol=1e-10, atol=1e-12)
        assert (classifier.activations(X, l) == layers[l]).all()
    assert (layers[2] == classifier.predict_proba(X)).all()
    assert (classifier.activations(X, layer=-1) == layers[2]).all()
    for bad in (3, -4, 1.0, "last"):
        with pytest.raises(ValueError, match="layer must be"):
            classifier.activations(X, bad)


def test_activations_of_many_rows():
    regressor = MLPRegressor(hidden_layer_sizes=(3,), max_iter=1).fit(X, NUMBERS)
    many = np.tile(X, (100, 1))
    np.testing.assert_allclose(
        regressor.activations(many, 0), np.tile(regressor.activations(X, 0), (100, 1)), rtol=1e-5
    )


def test_initialize_gives_the_first_weights_of_fit():
    parameters = dict(hidden_layer_sizes=(5,), random_state=3, max_iter=2)
    built = MLPClassifier(warm_start=True, **parameters).initialize(4, classes=[0, 1, 2])
    assert built.predict_proba(X).shape == (150, 3)
    assert built.n_iter_ == built.t_ == 0
    first = MLPClassifier(callbacks=lambda e, s: True, **parameters)
    first.set_params(learning_rate_init=1e-30).fit(X, Y)
    assert same_weights(built, first)


def test_weights_set_before_fit_are_gone_on_with():
    regressor = MLPRegressor(hidden_layer_sizes=(5,), warm_start=True, max_iter=1, alpha=0)
    regressor.initialize(n_features=4, n_outputs=2)
    regressor.coefs_ = [np.zeros((4, 5)), np.zeros((5, 2))]
    regressor.intercepts_ = [np.zeros(5), np.ones(2)]
    regressor.set_params(learning_rate_init=1e-30).fit(X, X[:, :2])
    assert (regressor.predict(X) == 1).all()
    regressor.partial_fit(X, X[:, :2])
    labels = MLPClassifier().initialize(4, [0, 1, 2], multilabel=True)
    assert labels.partial_fit(X, np.eye(3, dtype=int)[Y]).predict(X).shape == (150, 3)


def loss_of(regressor):
    """Computed by hand, in float64."""
    of_weights = sum((W.astype(float) ** 2).sum() for W in regressor.coefs_)
    errors = regressor.predict(X).astype(float) - NUMBERS
    return (errors**2).mean() / 2 + regressor.alpha * of_weights / 2 / len(X)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_solvers_take_over_from_each_other(dtype, early_stopping):
    regressor = MLPRegressor(
        hidden_layer_sizes=(10,), warm_start=True, max_iter=20, random_state=0, dtype=dtype,
        early_stopping=early_stopping,
    ).fit(X, NUMBERS)  # fmt: skip
    assert regressor.coefs_[0].dtype == (dtype or "float32")
    losses = [loss_of(regressor)]
    for solver in ("lbfgs", "adam", "lbfgs", "sgd"):
        regressor.set_params(solver=solver).fit(X, NUMBERS)
        assert regressor.coefs_[0].dtype == (dtype or "float32")
        losses.append(loss_of(regressor))
        if solver == "lbfgs":
            assert regressor.loss_ == pytest.approx(losses[-1], rel=1e-4)
    assert losses[1] < losses[0] / 2
    assert losses[3] < losses[2]
    assert max(losses[2:]) < losses[0] / 2
    assert len(regressor.history_["loss"]) > len(regressor.loss_curve_)


def test_mini_batches_go_on_in_the_arithmetic_of_lbfgs():
    regressor = MLPRegressor(solver="lbfgs", max_iter=50, random_state=0).fit(X, NUMBERS)
    loss = loss_of(regressor)
    regressor.set_params(solver="adam", learning_rate_init=1e-5).partial_fit(X, NUMBERS)
    assert regressor.coefs_[0].dtype == "float64"
    assert regressor.loss_ == pytest.approx(loss, rel=1e-6)
    regressor.set_params(warm_start=True, max_iter=1, early_stopping=True).fit(X, NUMBERS)
    assert regressor.predict(X).dtype == "float64"
    built = MLPRegressor(warm_start=True, max_iter=3).initialize(4)
    assert built.set_params(solver="lbfgs").fit(X, NUMBERS).coefs_[0].dtype == "float32"
    assert built.set_params(warm_start=False).fit(X, NUMBERS).coefs_[0].dtype == "float64"


def test_adam_then_lbfgs_is_what_scikit_learn_makes_of_it():
    parameters = dict(hidden_layer_sizes=(10,), warm_start=True, max_iter=20, random_state=0)
    theirs = sklearn.neural_network.MLPRegressor(**parameters)
    ours = MLPRegressor(dtype="float64", **parameters)
    for solver in ("adam", "lbfgs", "adam", "lbfgs"):
        for regressor in (theirs, ours):
            regressor.set_params(solver=solver).fit(X, NUMBERS)
        assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-5, atol=1e-6)
        assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MLPRegressor().initialize(0), "n_features must be a whole number >= 1, got 0"),
        (lambda: MLPRegressor().initialize(2.5), "n_features"),
        (lambda: MLPRegressor().initialize(2, n_outputs=0), "n_outputs"),
        (lambda: MLPClassifier().initialize(2, classes=[]), "classes must have at least one label"),
        (lambda: MLPClassifier(alpha=-1).initialize(2, [0, 1]), "alpha"),
    ],
)
def test_bad_initialize(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# Prediction ------------------------------------------------------------------------------------


def test_the_short_way_refuses_what_the_long_way_refuses():
    classifier = MLPClassifier(max_iter=2).fit(X, Y)
    rows = X.astype(np.float32)
    assert classifier._network.passes.output_of_array(rows) is not None
    for bad in (np.full((2, 4), np.nan, "f"), np.full((2, 4), np.inf, "f"), rows[:, :3].copy()):
        with pytest.raises(ValueError, match=r"NaN|infinity|features"):
            classifier.predict(bad)
    large = np.full((2, 4), 1e25, "f")  # finite, but not its square
    assert np.isfinite(classifier.predict_proba(large)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_prediction_does_not_depend_on_the_rows_beside_it(dtype):
    rng = np.random.RandomState(0)
    rows = rng.standard_normal((5000, 30)).astype(dtype)
    regressor = MLPRegressor(hidden_layer_sizes=(50, 20), max_iter=2, dtype=dtype)
    regressor.fit(rows[:100], rows[:100, 0])
    together = regressor.predict(rows)
    rtol = 1e-12 if dtype == "float64" else 1e-4
    for part in (slice(0, 1), slice(17, 18), slice(100, 165), slice(4095, 4097)):
        np.testing.assert_allclose(
            regressor.predict(rows[part]), together[part], rtol=rtol, atol=rtol
        )


@pytest.mark.parametrize("n_threads", [0, -1, 1.5, "many"])
@pytest.mark.parametrize("n_rows", [1, 150])
def test_the_short_way_refuses_a_bad_number_of_threads(n_threads, n_rows):
    classifier = MLPClassifier(max_iter=2).fit(X, Y).set_params(n_threads=n_threads)
    with pytest.raises((TypeError, ValueError), match="n_threads must be"):
        classifier.predict(X[:n_rows].astype(np.float32))


def test_a_poisson_fit_of_large_counts_says_what_helps():
    """It begins at 1, as scikit-learn's does, and may stop there."""
    y = 1e6 * np.exp(X[:, 0])
    regressor = MLPRegressor("poisson", max_iter=2, random_state=0)
    with pytest.warns(UserWarning, match=r"Under 'poisson'.*divide y by its mean"):
        regressor.fit(X, y)
    regressor.fit(X, y / y.mean())


def test_numbers_too_large_for_float32_name_what_holds_them():
    """No warning of NumPy's is heard beside."""
    for estimator in (MLPClassifier(max_iter=2), MLPRegressor(max_iter=2)):
        for rows in (1e39 * X, -1e300 * X):
            with pytest.raises(ValueError, match=r"too large.*dtype='float64' holds larger ones"):
                estimator.fit(rows, Y)
            with pytest.raises(ValueError, match="dtype='float64' holds larger ones"):
                clone(estimator).fit(X, Y).predict(rows)
