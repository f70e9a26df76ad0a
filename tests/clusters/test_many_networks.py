"""Many networks on Dask and Ray: the same bits as alone, also if a worker is killed."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from fastmlp import MLPRegressor, TabularMLPRegressor, distributed
from fastmlp._engine.threads import available_threads
from fastmlp._tabular import training

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
RNG = np.random.RandomState(0)
X = RNG.standard_normal((600, 5))
Y = X[:, 0] * X[:, 1] + X[:, 2]
PARAMETERS = {"n_members": 6, "random_state": 0}


def run(example):
    return subprocess.run(
        [sys.executable, "-P", "-W", "ignore", EXAMPLES / example],
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def cluster():
    library = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            library.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None
            ) as cluster,
            library.Client(cluster) as client,
        ):
            yield client


@pytest.fixture(scope="module")
def expected():
    return TabularMLPRegressor(**PARAMETERS).fit(X, Y)


@pytest.fixture
def sent(monkeypatch):
    """The numbers of arrays of what has been pickled to be sent."""
    numbers = []

    def state(self):
        numbers.append(len(self.arrays))
        return vars(self)

    monkeypatch.setattr(training.Arrays, "__getstate__", state, raising=False)
    return numbers


pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Sending large graph"),
]


@pytest.mark.filterwarnings("ignore::UserWarning:distributed")
def test_dask_gives_the_same_bits_and_sends_the_rows_once_a_round(cluster, expected, sent):
    with joblib.parallel_config("dask"):
        model = TabularMLPRegressor(**PARAMETERS).fit(X, Y)
    assert (model.predict(X) == expected.predict(X)).all()
    # Each goes to the scheduler, which is in this process, and from there to a worker.
    n_rounds, n_splits, n_ways = 3, 5, 2
    assert sent.count(5) <= n_rounds * n_ways  # the rows: X in three parts, y and the weights
    assert sent.count(2) <= n_splits * n_ways


@pytest.fixture(scope="module")
def ray_cluster():
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        register_ray()
        yield ray
        ray.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_same_bits_and_stores_the_rows_once(ray_cluster, expected, sent):
    with joblib.parallel_config("ray"):
        model = TabularMLPRegressor(**PARAMETERS).fit(X, Y)
    assert (model.predict(X) == expected.predict(X)).all()
    n_splits, n_ways = 5, 2
    assert 1 <= sent.count(5) <= n_ways  # X in three parts, y and the weights
    assert 1 <= sent.count(2) <= n_splits * n_ways


def test_max_seconds_holds_for_the_whole_fit_on_dask(cluster):
    """The time would not be enough for these networks; if each had it, a fit would take minutes."""
    many = np.random.RandomState(1).standard_normal((20_000, 5))
    y = many[:, 0] * many[:, 1] + many[:, 2]
    began = time.monotonic()
    with distributed.dask():
        model = TabularMLPRegressor(n_members=60, max_seconds=4, random_state=0).fit(many, y)
    assert time.monotonic() - began < 60
    assert model.score(many, y) > 0


def test_progress_on_dask_shows_all_networks(cluster, capsys):
    TabularMLPRegressor(**PARAMETERS, verbose=1).fit(X, Y)
    alone = capsys.readouterr()
    with distributed.dask():
        TabularMLPRegressor(**PARAMETERS, verbose=1).fit(X, Y)
    together = capsys.readouterr()

    def rounds(shown):
        return re.findall(r"round \d+: (\d+)/\1 networks", shown.out + shown.err)

    assert rounds(together) == rounds(alone)
    assert len(rounds(alone)) > 1


def test_a_worker_of_dask_has_one_thread(cluster):
    assert set(cluster.run(available_threads).values()) == {1}


def test_dask_runs_searches_with_the_same_scores(cluster):
    network = MLPRegressor(solver="lbfgs", max_iter=50, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = cross_val_score(network, X, Y, cv=3)
        with joblib.parallel_config("dask"):
            assert (cross_val_score(network, X, Y, cv=3) == expected).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dask_trains_the_networks_of_a_killed_worker_again(cluster, expected):
    pids = list(cluster.run(os.getpid).values())

    def kill():
        time.sleep(0.3)
        os.kill(pids[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with joblib.parallel_config("dask"):
        model = TabularMLPRegressor(**PARAMETERS).fit(X, Y)
    killer.join()
    assert (model.predict(X) == expected.predict(X)).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("delay", [0.1, 0.6, 1.2])
def test_searches_survive_a_killed_worker(cluster, delay):
    """With joblib's own backend, one worker has the rows, and without it there is an error."""
    network = MLPRegressor(
        hidden_layer_sizes=(50,), max_iter=300, tol=0, n_iter_no_change=300, random_state=0
    )
    search = GridSearchCV(network, {"alpha": [1e-4, 1e-3, 1e-2]}, cv=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = clone(search).fit(X, Y).cv_results_["mean_test_score"]
    pids = list(cluster.run(os.getpid).values())
    killer = threading.Timer(delay, os.kill, [pids[0], signal.SIGKILL])
    killer.start()
    with distributed.dask():
        found = search.fit(X, Y).cv_results_["mean_test_score"]
    killer.join()
    assert (found == expected).all()
    cluster.wait_for_workers(2, timeout=60)


def test_processes_of_joblib(expected):
    with joblib.parallel_config("loky", n_jobs=2):
        model = TabularMLPRegressor(**PARAMETERS).fit(X, Y)
    assert (model.predict(X) == expected.predict(X)).all()


def test_a_worker_of_joblib_that_dies_is_replaced(expected, monkeypatch, tmp_path):
    path = tmp_path / "died"
    monkeypatch.setattr(training, "_trained", partial(dying, os.getpid(), path))
    with (
        joblib.parallel_config("loky", n_jobs=2),
        pytest.warns(UserWarning, match="A worker was lost"),
    ):
        model = TabularMLPRegressor(**PARAMETERS).fit(X, Y)
    assert path.exists()
    assert (model.predict(X) == expected.predict(X)).all()


TRAINED = training._trained


def dying(parent, path, *arguments):
    """Kill the process, unless it is the parent or another one has died."""
    if os.getpid() != parent and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return TRAINED(*arguments)


def test_errors_of_the_work_are_not_tried_again(monkeypatch):
    calls = []

    def fails(*arguments):
        calls.append(1)
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(training, "_trained", fails)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        TabularMLPRegressor(**PARAMETERS, n_jobs=1).fit(X, Y)
    assert len(calls) == 1


def test_example_of_dask():
    pytest.importorskip("distributed")
    shown = run("cluster_dask.py")
    assert "the same results, bit for bit" in shown.stdout, shown.stderr


def test_example_of_ray():
    pytest.importorskip("ray")
    shown = run("cluster_ray.py")
    assert "the same results, bit for bit" in shown.stdout, shown.stderr
