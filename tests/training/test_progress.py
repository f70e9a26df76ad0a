"""What a fit shows while it runs: seconds, callbacks, the time left."""

import time

import numpy as np
import pytest

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._training.history import Epoch
from fastmlp._training.progress import PlainLine

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.RandomState(0).standard_normal((60, 3))
Y = X[:, 0] > 0


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_seconds_of_an_epoch_include_its_validation(solver):
    def slow_score(estimator, rows, y):
        time.sleep(0.02)
        return 0.0

    classifier = MLPClassifier((3,), solver=solver, scoring=slow_score, max_iter=3)
    seconds = classifier.fit(X, Y, X_val=X, y_val=Y).history_["seconds"]
    assert min(seconds) >= 0.02


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_every_callback_is_called_though_one_has_stopped(solver):
    called = []

    def stop(estimator, state):
        called.append("stop")
        return state.epoch == 2

    def watch(estimator, state):
        called.append("watch")

    MLPRegressor(hidden_layer_sizes=(3,), solver=solver, callbacks=[stop, watch]).fit(X, X[:, 0])
    assert called == ["stop", "watch"] * 2


def test_time_left(monkeypatch, capsys):
    """Two of ten epochs have taken 10 s: 40 s are left."""
    now = 100.0
    monkeypatch.setattr("fastmlp._training.progress.time.perf_counter", lambda: now)
    line = PlainLine()
    now += 10
    line(Epoch(2, 10, 0.5, None, None, 1e-3, 5.0))
    assert capsys.readouterr().out == "epoch 2/10  loss 0.5  rate 0.001  40 s left\n"
    now += 40
    line(Epoch(10, 10, 0.25, None, None, 1e-3, 5.0))
    line.close()
    assert capsys.readouterr().out == "epoch 10/10  loss 0.25  rate 0.001  0 s left\n"
