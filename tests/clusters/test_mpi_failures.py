"""Ranks that do not agree, fail, or are interrupted: all of them learn of it, or end."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import fastmlp

pytest.importorskip("mpi4py")
if shutil.which("mpiexec") is None:
    pytest.skip("mpiexec is not installed", allow_module_level=True)

HERE = Path(__file__).parent
N_RANKS = 3
LONGEST = 40  # seconds in which all ranks must have ended
SECONDS_TO_END = 5.0  # processes that mpiexec has ended may still be there for a moment


class Ended(NamedTuple):
    """What came of a launch; ``seconds`` is None if it had to be killed."""

    status: int
    stderr: str
    seconds: float | None
    folder: Path


def ended(
    script, kind, folder, *others, n_ranks=N_RANKS, longest=LONGEST, meanwhile=lambda folder: None
):
    """Run a script until it ends, or too long a time has passed. No process is left behind."""
    began = time.monotonic()
    arguments = [sys.executable, HERE / script, kind, folder, *map(str, others)]
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            ["mpiexec", "-n", str(n_ranks), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            meanwhile(folder)
            process.wait(longest)
            seconds = time.monotonic() - began
        except subprocess.TimeoutExpired:
            seconds = None
        finally:
            end = time.monotonic() + SECONDS_TO_END
            for rank, pid in pids(folder).items():
                while is_of(pid, folder) and time.monotonic() < end:
                    time.sleep(0.05)
                if is_of(pid, folder):
                    (folder / f"left.{rank}").touch()
                    os.kill(pid, signal.SIGKILL)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return Ended(process.returncode, (folder / "stderr").read_text(), seconds, folder)


def pids(folder):
    """The process ids of the ranks that have begun."""
    texts = {int(it.suffix[1:]): it.read_text() for it in folder.glob("pid.*")}
    return {rank: int(text) for rank, text in texts.items() if text}


def is_of(pid, folder):
    """Whether a process is still there, and is a rank that has been started for a folder."""
    try:
        return str(folder) in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # it has ended, or the system has no such files
        return False


def wait_for(folder, n_ranks):
    """Wait until the fit is under way on all ranks."""
    end = time.monotonic() + LONGEST
    while len(list(folder.glob("ready.*"))) < n_ranks:
        assert time.monotonic() < end, "the fit has not begun"
        time.sleep(0.02)


# Agreement ---------------------------------------------------------------------------------------


def agreement(folder, *names):
    """What the ranks have found, for each of them."""
    path = folder / "results.json"
    done = subprocess.run(
        ["mpiexec", "-n", str(N_RANKS), sys.executable, HERE / "mpi_agreement.py", path, *names],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return agreement(tmp_path_factory.mktemp("agreement"))


# What the error says on all ranks; where only some ranks have failed, the others name them.
ON_ALL = {
    "parameter": "parameter alpha must be the same .* rank 0 has 0.1 and rank 2 0.5",
    "sizes": r"hidden_layer_sizes must .* rank 0 has array\(\[8, 4\]\) and rank 2 \(9,\)",
    "features": "number of features .* rank 0 has 6 and rank 2 4",
    "names": "names of the features.* rank 2 .*'z'",
    "names_on_one": "names of the features.* rank 0 has None and rank 2",
    "sparse": "sparse.* rank 0 has False and rank 2 True",
    "kind_of_labels": "kind of y .* rank 0 .* rank 2",
    "columns_of_y": "y must be the same on all ranks.* rank 0 .* rank 2",
    "weight": "sample_weight .*rank 0 has False and rank 2 True",
    "method": "rank 0 with the parameters, .*rank 2 in partial_fit",
    "estimator": "rank 0 has 'MLPClassifier' and rank 2 'MLPRegressor'",
    "weights_before": "random_state must be the same .* rank 0 has 0 and ranks 1, 2 1",
    "unknown_class": "classes not in .*'zz'",
    "classes": "must be the same on all ranks, but rank 0 .*rank 2",
    "other_classes": "must be the same on all ranks, but rank 0 .*rank 2",
    "validation_on_one": "number of validation sets .* rank 0 has 0 and rank 2 1",
    "validation_weight_on_one": "sample_weight_val .* rank 0 has False and rank 2 True",
    "checkpoint_on_one": "checkpoints .* rank 0 has False and rank 2 True",
    "callback_on_all": "ZeroDivisionError: all have found it",
    "divergence": "Divergence: .*learning_rate_init",
}
ON_SOME = {
    "nan": ([2], "Input X contains NaN"),
    "nan_on_two": ([1, 2], "Input X contains NaN"),
    "nan_of_numbers": ([2], "Input y contains NaN"),
    "no_rows": ([2], "0 sample"),
    "lengths": ([2], "inconsistent numbers of samples"),
    "negative_weight": ([2], "Negative values in data passed to `sample_weight`"),
    "validation_with_nan": ([2], "Input X contains NaN"),
    "checkpoint_every": ([2], "checkpoint_every=3 needs a file"),
    "resume": ([2], "No such file or directory: 'absent.mlp'"),
}


def named(ranks):
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"


def check_errors_on_some(found, name, ranks, message):
    for rank, of_rank in enumerate(found):
        error, notes = of_rank["error"], of_rank["notes"]
        assert error is not None, (rank, name)
        assert message in error
        if rank in ranks:
            assert notes == [f"(on {named(ranks)} of {N_RANKS})"]
        else:
            assert f": {named(ranks)}: " in error


def test_all_disagreements_are_tested(found):
    besides = {"entered", "nested", "time", "threads", "stopped", "streamed"}
    assert set(found[0]) == {*ON_ALL, *ON_SOME} | besides


@pytest.mark.parametrize("name", ON_ALL)
def test_disagreements_are_errors_on_all_ranks(found, name):
    [error] = {of_rank[name]["error"] for of_rank in found}
    assert error is not None
    assert re.search(ON_ALL[name], error)


@pytest.mark.parametrize("name", ON_SOME)
def test_errors_of_some_ranks_are_raised_on_all(found, name):
    check_errors_on_some([of_rank[name] for of_rank in found], name, *ON_SOME[name])


@pytest.mark.parametrize("name", [*ON_ALL, *ON_SOME])
def test_estimator_is_unchanged_and_another_fit_works(found, name):
    assert all(of_rank[name]["is_unchanged"] for of_rank in found)
    assert {of_rank[name]["next"] for of_rank in found} == {found[0]["parameter"]["next"]}


def test_bad_parameter_on_one_rank_is_an_error_on_all(tmp_path):
    results = agreement(tmp_path, "bad_parameter")
    check_errors_on_some(results, "bad_parameter", [2], "'alpha' parameter")


def test_parameter_changed_by_the_callback_of_one_rank_does_not_part_the_weights(tmp_path):
    results = agreement(tmp_path, "changed_by_callback_on_one")
    assert len({of_rank["weights"] for of_rank in results}) == 1  # or None on all: an error


@pytest.mark.parametrize(
    ("name", "message"),
    [("n_slots", "rank 0 has 8 and rank 2 9"), ("timeout", "rank 0 has 9 and rank 2 10")],
)
def test_arguments_of_the_context_must_be_the_same(found, name, message):
    [error] = {of_rank["entered"][name] for of_rank in found}
    assert error == f"ValueError: {name} must be the same on all ranks, but {message}"


def test_contexts_cannot_be_nested(found):
    assert all("leave that context first" in of_rank["nested"] for of_rank in found)


def test_time_limit_is_that_of_the_first_rank(found):
    results = [of_rank["time"] for of_rank in found]
    reasons, n_iter, weights, _ = zip(*results, strict=True)
    assert set(reasons) == {"max_seconds"}
    assert len(set(n_iter)) == len(set(weights)) == 1


def test_only_the_first_rank_shows_progress(found):
    shown = [of_rank["time"][3] for of_rank in found]
    assert "Iteration 2, loss" in shown[0]
    assert shown[1:] == ["", ""]


def test_ranks_share_the_threads_of_a_machine(found):
    for of_rank in found:
        before, within, after = of_rank["threads"]
        assert within == max(1, before // N_RANKS)
        assert after == before


def test_callback_of_the_first_rank_stops_all(found):
    assert len({json.dumps(of_rank["stopped"]) for of_rank in found}) == 1
    assert found[0]["stopped"][:2] == ["callback", 2]


def test_streams_are_shared(found):
    assert len({of_rank["streamed"] for of_rank in found}) == 1


# Failures ----------------------------------------------------------------------------------------


def stop(folder):
    wait_for(folder, N_RANKS)
    os.kill(pids(folder)[2], signal.SIGSTOP)


# The rank that fails, and what is printed.
FAILURES = {
    ("raise", 2): "rank 2 has raised ZeroDivisionError: a fault",
    ("raise", 0): "rank 0 has raised ZeroDivisionError: a fault",
    ("raise_within", 1): "rank 1 has raised ZeroDivisionError: a fault",
    ("exit", 2): "rank 2 has raised SystemExit: 0",
    ("stop", 2): "no answer from rank 2",
    ("stop", 0): "no answer from rank 0",
    ("is_stopped", 2): "no answer from rank 2",
    ("one_less", 2): "rank 2 (is|has waited 5 seconds) at the end of the context",
    ("raise_before", 2): "rank 2 did not come",
    ("never", 1): "rank 1 did not come",
    ("caught", 2): "rank 2",
}


N_KILLS = 20
KILLS = [("kill", i) for i in range(N_KILLS)]
STOPS = [("stop_later", i) for i in range(N_RANKS)]


@pytest.fixture(scope="module")
def launches(tmp_path_factory):
    """A function that returns what came of a failure.

    Most launches wait most of the time, so all of them begin with the first one.
    """
    pool = ThreadPoolExecutor(3)

    def begin(key):
        kind, rank = key
        return pool.submit(
            ended, "mpi_failures.py", kind, tmp_path_factory.mktemp(f"{kind}{rank}"),
            rank % N_RANKS, **({"meanwhile": stop} if kind == "is_stopped" else {}),
        )  # fmt: skip

    @cache
    def begun():
        mixed = itertools.zip_longest(FAILURES, KILLS[::2], KILLS[1::2], STOPS)
        return {key: begin(key) for keys in mixed for key in keys if key is not None}

    yield lambda key: begun()[key].result()
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda it: f"{it[0]}-{it[1]}")
def test_failure_of_a_rank_ends_all(launches, failure):
    outcome = launches(failure)
    assert outcome.seconds is not None, outcome.stderr
    assert outcome.status != 0
    assert re.search(FAILURES[failure], outcome.stderr)
    assert not list(outcome.folder.glob("left.*"))
    assert len(pids(outcome.folder)) == N_RANKS


# Killed ranks, and checkpoints -------------------------------------------------------------------

N_OF_RESUMED = (1, 2, 4)


@pytest.fixture(scope="module")
def kills(launches):
    """What came of fits in which a rank was killed."""
    return [launches(key) for key in KILLS]


@pytest.fixture(scope="module")
def stops(launches):
    """What came of fits in which a rank was stopped."""
    return [launches(key) for key in STOPS]


def checkpoint_of(outcome):
    path = outcome.folder / "checkpoint"
    return path if path.exists() else None


def test_killed_or_stopped_rank_ends_all(kills, stops):
    for outcome in kills + stops:
        assert outcome.seconds is not None
        assert outcome.status != 0
        assert not list(outcome.folder.glob("left.*"))


def test_checkpoints_of_killed_fits_are_whole(kills):
    paths = [path for path in map(checkpoint_of, kills) if path]
    models = [fastmlp.load(path) for path in paths]
    assert len(models) > N_KILLS / 2
    assert len({model.n_iter_ for model in models}) > 3  # these are different moments


@pytest.mark.parametrize("n_ranks", N_OF_RESUMED)
def test_killed_and_stopped_fits_are_resumed_with_the_same_bits(
    kills, stops, tmp_path_factory, n_ranks
):
    paths = [path for path in map(checkpoint_of, stops + kills) if path]
    assert any("stop_later" in str(path) for path in paths)
    mine = paths[N_OF_RESUMED.index(n_ranks) :: len(N_OF_RESUMED)]
    folders = [tmp_path_factory.mktemp("resumed") for _ in range(2)]
    resumed = ended("mpi_failures.py", "resume", folders[0], *mine, n_ranks=n_ranks, longest=150)
    whole = ended("mpi_failures.py", "resume", folders[1], n_ranks=1)
    assert resumed.status == whole.status == 0, resumed.stderr + whole.stderr
    [[expected]] = json.loads((folders[1] / "results").read_text())
    results = json.loads((folders[0] / "results").read_text())
    assert len(results) == n_ranks
    for of_rank in results:
        assert of_rank == [expected] * len(mine)


# Interrupts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_interrupt_ends_the_fit_after_the_same_step(tmp_path, solver):
    def interrupt(folder):
        wait_for(folder, N_RANKS)
        for _, pid in sorted(pids(folder).items(), reverse=True):  # the first rank decides
            os.kill(pid, signal.SIGINT)

    outcome = ended(
        "mpi_failures.py", "interrupt", tmp_path, solver, meanwhile=interrupt, longest=150
    )
    assert outcome.status == 0, outcome.stderr
    results = json.loads((tmp_path / "results").read_text())
    assert len(results) == N_RANKS
    for of_rank in results:
        assert of_rank == results[0]
        assert of_rank["warnings"] == ["Training interrupted by user."]
        assert of_rank["handler"]
        if solver == "adam":
            assert of_rank["stop_reason_"] == "interrupted"
