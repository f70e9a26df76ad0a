"""Many networks on Dask and Ray: the same bits as alone, also if a worker is killed."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import chdir, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score

from fastmlp import MLPClassifier, MLPRegressor, TabularMLPRegressor, distributed
from fastmlp._engine.threads import available_threads
from fastmlp._tabular import training

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
RNG = np.random.RandomState(0)
X = RNG.standard_normal((600, 5))
Y = X[:, 0] * X[:, 1] + X[:, 2]
PARAMETERS = {"n_members": 6, "random_state": 0}
NETWORK = MLPRegressor(
    hidden_layer_sizes=(50,), max_iter=30, tol=0, n_iter_no_change=30, random_state=0
)


def run(example, folder):
    return subprocess.run(
        [sys.executable, "-P", "-W", "ignore", EXAMPLES / example],
        cwd=folder,  # Ray's workers look for modules there
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def cluster():
    library = pytest.importorskip("distributed")
    import dask

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            # On a busy machine, a killed worker takes longer than 15 s to come back.
            dask.config.set({"distributed.deploy.lost-worker-timeout": "300s"}),
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
def test_dask_gives_the_same_bits_and_sends_the_rows_once(cluster, expected, sent):
    with joblib.parallel_config("dask"):
        model = TabularMLPRegressor(**PARAMETERS).fit(X, Y)
    assert (model.predict(X) == expected.predict(X)).all()
    # Each goes to the scheduler, which is in this process, and from there to a worker.
    n_splits, n_ways = 5, 2
    assert 1 <= sent.count(5) <= n_ways  # the rows: X in three parts, y and the weights
    assert 1 <= sent.count(2) <= n_splits * n_ways


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory):
    ray = pytest.importorskip("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Workers look for modules in this folder first, which must not be the source.
        with chdir(tmp_path_factory.mktemp("ray")):
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


class Workers(NamedTuple):
    """Two workers of a cluster: the context that hands fits to them, and their processes."""

    context: Callable
    pids: Callable


@pytest.fixture(params=["dask", "ray"])
def workers(request):
    if request.param == "dask":
        client = request.getfixturevalue("cluster")
        client.wait_for_workers(2, timeout=120)
        return Workers(distributed.dask, lambda: list(client.run(os.getpid).values()))
    ray = request.getfixturevalue("ray_cluster")

    def pid():
        time.sleep(0.5)  # so that each worker has one of the tasks
        return os.getpid()

    task = ray.remote(pid)
    return Workers(distributed.ray, lambda: ray.get([task.remote() for _ in range(2)]))


@contextmanager
def killed_after(seconds, pid):
    """Kill a process after some time."""
    killer = threading.Timer(seconds, os.kill, [pid, signal.SIGKILL])
    killer.start()
    yield
    killer.join()


def test_ray_gives_the_same_bits_and_stores_the_rows_once(ray_cluster, expected, sent):
    with distributed.ray():
        model = TabularMLPRegressor(**PARAMETERS).fit(X, Y)
    assert (model.predict(X) == expected.predict(X)).all()
    n_splits = 5
    assert sent.count(5) == 1  # X in three parts, y and the weights
    assert 1 <= sent.count(2) <= n_splits


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "rows",
    [X, X.tolist(), pd.DataFrame(X), sparse.csr_array(X)],
    ids=lambda rows: type(rows).__name__,
)
def test_searches_on_ray_store_the_rows_once(ray_cluster, rows, monkeypatch):
    stored, put = [], ray_cluster.put
    monkeypatch.setattr(ray_cluster, "put", lambda value: stored.append(value) or put(value))
    weights = {"sample_weight": np.linspace(1, 2, len(Y))}
    search = GridSearchCV(NETWORK, {"alpha": [1e-4, 1e-3, 1e-2]}, cv=3)
    expected = clone(search).fit(rows, Y, **weights)
    with distributed.ray():
        found = search.fit(rows, Y, **weights)
    assert all(found.cv_results_["mean_test_score"] == expected.cv_results_["mean_test_score"])
    assert [type(value) for value in stored] == [type(rows)]  # all else is small


def test_ray_gives_a_fit_as_many_threads_as_cpus(ray_cluster):
    for n_cpus in (1, 2):
        with distributed.ray(num_cpus=n_cpus):
            assert joblib.effective_n_jobs() == 2 // n_cpus
            threads = joblib.Parallel()(joblib.delayed(available_threads)() for _ in range(4))
        assert set(threads) == {min(n_cpus, available_threads())}


def test_numbers_of_jobs_on_ray(ray_cluster):
    with distributed.ray():
        assert joblib.effective_n_jobs(None) == joblib.effective_n_jobs(-1) == 2
        assert joblib.effective_n_jobs(1) == joblib.effective_n_jobs(-2) == 1
        assert joblib.effective_n_jobs(-9) == 1
        assert joblib.effective_n_jobs(7) == 7
        with pytest.raises(ValueError, match="n_jobs must not be 0"):
            joblib.Parallel(n_jobs=0)(joblib.delayed(abs)(-i) for i in range(3))


@pytest.mark.parametrize("pre_dispatch", ["2*n_jobs", "all"])
def test_ray_runs_n_jobs_at_a_time(ray_cluster, pre_dispatch):
    """The cluster has room for eight of these tasks."""

    def times_of_task():
        began = time.time()
        time.sleep(0.3)
        return began, time.time()

    with distributed.ray(num_cpus=0.25):
        parallel = joblib.Parallel(n_jobs=2, pre_dispatch=pre_dispatch)
        times = parallel(joblib.delayed(times_of_task)() for _ in range(6))
    at_a_time = [sum(begin <= moment < end for begin, end in times) for moment, _ in times]
    assert max(at_a_time) == 2


def test_a_cluster_with_room_for_one_task_runs_it(ray_cluster):
    with distributed.ray(num_cpus=2):
        pids = joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(3))
        [here] = joblib.Parallel(n_jobs=1)([joblib.delayed(os.getpid)()])
    assert os.getpid() not in pids
    assert here == os.getpid()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "estimator",
    [
        CalibratedClassifierCV(MLPClassifier(max_iter=3, random_state=0), cv=2),
        BaggingClassifier(MLPClassifier(max_iter=3, random_state=0), 3, random_state=0),
        VotingClassifier([("a", MLPClassifier(max_iter=3, random_state=0))], voting="soft"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_estimators_of_scikit_learn_on_ray(ray_cluster, estimator):
    """What they give to their fits, and to other calls: modules, functions, types."""
    expected = clone(estimator).fit(X, Y > 0)
    with distributed.ray():
        found = clone(estimator).fit(X, Y > 0)
    assert (found.predict_proba(X) == expected.predict_proba(X)).all()


@pytest.mark.parametrize("place", [0, 6])
def test_what_cannot_be_sent_to_ray_is_an_error(ray_cluster, place):
    with distributed.ray(), pytest.raises(TypeError, match="pickle"):
        joblib.Parallel()(
            joblib.delayed(id)(threading.Lock() if i == place else i) for i in range(8)
        )


def test_calls_within_a_call_on_ray(ray_cluster):
    with distributed.ray():
        calls = (joblib.delayed(np.sum)(X + i) for i in range(12))
        found = []
        for value in joblib.Parallel(return_as="generator")(calls):
            assert joblib.Parallel()(joblib.delayed(np.sum)(X) for _ in range(3)) == [X.sum()] * 3
            found.append(value)
    assert found == [np.sum(X + i) for i in range(12)]


def test_errors_of_the_work_on_ray_keep_their_type(ray_cluster):
    with distributed.ray(), pytest.raises(ZeroDivisionError, match="by zero"):
        joblib.Parallel()(joblib.delayed(divmod)(1, i) for i in range(4))


def test_a_bug_on_ray_is_no_lost_worker(ray_cluster):
    """With Ray's own backend an ensemble sees these errors, and trains again after the second."""
    exceptions = ray_cluster.exceptions
    with pytest.raises(exceptions.RayTaskError) as raised:
        ray_cluster.get(ray_cluster.remote(lambda: 1 / 0).remote())
    assert not training.is_of_worker(raised.value)
    assert training.is_of_worker(exceptions.WorkerCrashedError())


def test_ctrl_c_cancels_what_runs_on_ray(ray_cluster):
    endless = clone(NETWORK).set_params(max_iter=10**9, n_iter_no_change=10**9)
    threading.Timer(2, os.kill, [os.getpid(), signal.SIGINT]).start()
    with distributed.ray(), pytest.raises(KeyboardInterrupt):
        cross_val_score(endless, X, Y)
    with distributed.ray():
        assert joblib.Parallel()(joblib.delayed(abs)(-i) for i in range(4)) == [0, 1, 2, 3]


def test_ray_needs_a_cluster(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ValueError, match=r"call ray\.init\(\) first"), distributed.ray():
        pass


def test_more_cpus_than_a_machine_of_the_cluster_has(ray_cluster):
    with (
        pytest.warns(UserWarning, match="num_cpus=100.*more than 2 CPUs"),
        distributed.ray(num_cpus=100),
    ):
        pass


def test_options_that_are_not_known(ray_cluster, cluster):
    with pytest.raises(ValueError, match="num_cpu "), distributed.ray(num_cpu=2):
        pass
    with pytest.raises(TypeError, match="num_cpus"), distributed.ray(num_cpus="2"):
        pass
    with pytest.raises(ValueError, match="num_cpus"), distributed.ray(num_cpus=-2):
        pass
    with (
        pytest.raises(ValueError, match="num_returns must be left"),
        distributed.ray(num_returns=2),
    ):
        pass
    with pytest.raises(TypeError, match="'clint' is no option"), distributed.dask(clint=2):
        pass
    with distributed.dask(client=cluster, retries=2):
        assert joblib.Parallel()(joblib.delayed(abs)(-i) for i in range(3)) == [0, 1, 2]


def test_a_library_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install .fastmlp.distributed"), distributed.ray():
        pass
    monkeypatch.setattr("joblib._dask.distributed", None)
    with pytest.raises(ValueError, match="dask is not installed"), distributed.dask():
        pass


def test_max_seconds_holds_for_the_whole_fit_on_clusters(workers):
    """No more epochs than two processes make; if each network had that time, there were many."""
    many = np.random.RandomState(1).standard_normal((80_000, 5))
    y = many[:, 0] * many[:, 1] + many[:, 2]
    model = TabularMLPRegressor(n_members=60, max_seconds=4, random_state=0).fit(many, y)
    n_alone = sum(model.leaderboard_["n_epochs"])
    with workers.context():
        model.fit(many, y)
    assert sum(model.leaderboard_["n_epochs"]) < 2 * n_alone  # five times as many without a limit
    assert model.score(many, y) > 0


def test_progress_on_clusters_shows_all_networks(workers, capsys):
    TabularMLPRegressor(**PARAMETERS, verbose=1).fit(X, Y)
    alone = capsys.readouterr()
    with workers.context():
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


def test_the_networks_of_a_killed_worker_are_trained_again(workers, expected):
    with killed_after(0.3, workers.pids()[0]), workers.context():
        model = TabularMLPRegressor(**PARAMETERS).fit(X, Y)
    assert (model.predict(X) == expected.predict(X)).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_joblibs_backend_for_dask_trains_them_again_too(cluster, expected):
    cluster.wait_for_workers(2, timeout=120)
    pids = list(cluster.run(os.getpid).values())
    with killed_after(0.3, pids[0]), joblib.parallel_config("dask"):
        model = TabularMLPRegressor(**PARAMETERS).fit(X, Y)
    assert (model.predict(X) == expected.predict(X)).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("delay", [0.1, 0.6, 1.2])
def test_searches_survive_a_killed_worker(workers, delay):
    """With the backends of joblib and of Ray there is an error if a worker is lost."""
    network = clone(NETWORK).set_params(max_iter=300, n_iter_no_change=300)
    search = GridSearchCV(network, {"alpha": [1e-4, 1e-3, 1e-2]}, cv=3)
    expected = clone(search).fit(X, Y).cv_results_["mean_test_score"]
    with killed_after(delay, workers.pids()[0]), workers.context():
        found = search.fit(X, Y).cv_results_["mean_test_score"]
    assert (found == expected).all()


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


def test_example_of_dask(tmp_path):
    pytest.importorskip("distributed")
    shown = run("cluster_dask.py", tmp_path)
    assert "the same results, bit for bit" in shown.stdout, shown.stderr


def test_example_of_ray(tmp_path):
    pytest.importorskip("ray")
    shown = run("cluster_ray.py", tmp_path)
    assert "the same results, bit for bit" in shown.stdout, shown.stderr
