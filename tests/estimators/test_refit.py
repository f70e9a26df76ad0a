"""An estimator while it is fitted: what its callbacks see, what others see, what must not be."""

import pickle
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.metrics import get_scorer

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.randn(80, 3).astype(np.float32)
WIDE = rng.randn(80, 5).astype(np.float32)
TWO, THREE = np.arange(80) % 2, np.arange(80) % 3
NUMBERS = X @ [1.0, 2.0, 3.0]

FITS = {
    "fit": lambda model, y: model.fit(X, y),
    "fit other columns": lambda model, y: model.fit(WIDE, y),
    "warm_start": lambda model, y: model.set_params(warm_start=True).fit(X, y),
    "partial_fit": lambda model, y: model.partial_fit(X, y),
    "lbfgs": lambda model, y: model.set_params(solver="lbfgs", dtype="float32").fit(X, y),
}


def in_a_thread(function):
    """What it returns, or the error that it raises, in another thread."""
    results = []

    def call():
        try:
            results.append(function())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return results[0]


def answers(model):
    """All that is asked of an estimator, with rows of three columns."""
    found = [model.predict(X), model.activations(X)[0], model.coefs_[0].copy()]
    found.append(pickle.loads(pickle.dumps(model)).predict(X))
    if isinstance(model, MLPClassifier):
        accuracy = get_scorer("accuracy")(model, X, np.arange(80) % 2)
        found += [model.predict_proba(X), model.predict_log_proba(X), accuracy]
    return [np.asarray(answer) for answer in found]


class Watcher:
    """A callback that asks the estimator, here and in another thread, and may fail."""

    def __init__(self, *, fails=False):
        self.fails = fails
        self.elsewhere = []

    def __reduce__(self):
        return Watcher, ()

    def __call__(self, estimator, state):
        self.elsewhere.append(in_a_thread(lambda: answers(estimator)))
        rows = X if estimator.n_features_in_ == 3 else WIDE
        copied = pickle.loads(pickle.dumps(estimator))
        assert_array_equal(copied.predict(rows), estimator.predict(rows))
        if self.fails:
            raise OSError("enough")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("of_classes", [True, False])
def test_other_threads_see_the_network_before(of_classes, how, fails):
    model = MLPClassifier if of_classes else MLPRegressor
    model = model(hidden_layer_sizes=(4,), max_iter=3, random_state=0, learning_rate_init=0.1)
    first, then = NUMBERS, -NUMBERS
    if of_classes:  # which may be others if all begins anew
        first, then = TWO, THREE if how in ("fit", "lbfgs") else TWO
    model.fit(X, first)
    before = answers(model)
    watcher = Watcher(fails=fails)
    model.set_params(callbacks=watcher)
    if fails:
        with pytest.raises(OSError, match="enough"):
            FITS[how](model, then)
    else:
        FITS[how](model, then)
    assert len(watcher.elsewhere) >= 1
    for seen in watcher.elsewhere:
        for there, expected in zip(seen, before, strict=True):
            assert_array_equal(there, expected)
    if not fails:
        assert not np.array_equal(model.coefs_[0], before[2])
    else:
        for after, expected in zip(answers(model), before, strict=True):
            assert_array_equal(after, expected)
        assert not [name for name in vars(model) if "training" in name]


def test_callbacks_see_the_network_in_training():
    seen = []

    def watch(estimator, state):
        seen.append(model.predict(X))

    model = MLPRegressor(max_iter=3, random_state=0, callbacks=watch)
    model.fit(X, NUMBERS)
    assert_array_equal(seen[-1], model.predict(X))
    assert len({numbers.tobytes() for numbers in seen}) == 3
    model.set_params(warm_start=True).fit(X, NUMBERS)
    model.partial_fit(X, NUMBERS)
    assert len({numbers.tobytes() for numbers in seen}) == 7
    assert_array_equal(seen[-1], model.predict(X))


def test_the_first_fit_is_not_there_for_others_before_its_end():
    seen = []

    def watch(estimator, state):
        seen.append(in_a_thread(lambda: estimator.predict(X)))

    model = MLPRegressor(max_iter=2, callbacks=watch).fit(X, NUMBERS)
    assert [type(error) for error in seen] == [NotFittedError] * 2
    assert np.isfinite(model.predict(X)).all()


class EndsWhenAsked(dict):
    """The attributes of an estimator whose fit ends just after somebody has seen it."""

    def __contains__(self, name):
        return name == "_in_training" or super().__contains__(name)


def test_a_fit_may_end_while_somebody_asks():
    model = MLPRegressor(max_iter=2, random_state=0).fit(X, NUMBERS)
    expected = model.predict(X)
    model.__dict__ = EndsWhenAsked(vars(model))
    assert_array_equal(model.predict(X), expected)


def test_readers_while_it_is_fitted_again_and_again():
    """Numbers of classes and columns change; whoever reads never sees both."""
    model = MLPClassifier((3,), max_iter=1, random_state=0, tol=1.0, n_threads=1)
    kinds = [(X, TWO), (WIDE, THREE)]
    failed, is_over = [], threading.Event()

    def read():
        while not is_over.is_set():
            for rows, y in kinds:
                try:
                    shape = model.predict_proba(rows).shape
                    if shape != (80, len(np.unique(y))):
                        failed.append(shape)
                except ValueError as error:
                    if "features" not in str(error):  # of the other kind of rows
                        failed.append(error)
                except Exception as error:
                    failed.append(error)

    model.fit(*kinds[0])
    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(30):
        model.fit(*kinds[i % 2])
    is_over.set()
    for thread in threads:
        thread.join()
    assert failed == []


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("name", ["fit", "partial_fit", "initialize"])
def test_a_callback_must_not_fit_its_own_estimator(name, solver):
    if (name, solver) == ("partial_fit", "lbfgs"):
        pytest.skip("there is none")

    def fit_again(estimator, state):
        if name == "initialize":
            model.initialize(3)
        getattr(estimator, name)(X, NUMBERS)

    model = MLPRegressor(solver=solver, max_iter=3, random_state=0).fit(X, NUMBERS)
    before = pickle.dumps(model)
    model.set_params(callbacks=fit_again)
    with pytest.raises(RuntimeError, match=r"MLPRegressor is being fitted.*must not be called"):
        model.fit(X, NUMBERS)
    assert pickle.dumps(model.set_params(callbacks=None)) == before
    assert model.fit(X, NUMBERS).n_iter_ == 3
