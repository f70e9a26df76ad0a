"""One network on the rows of several processes: the same bits for any number of them."""

import io
import json
import shutil
import subprocess
import sys
import threading
import warnings
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import mpi_fits
import numpy as np
import pytest

from fastmlp import MLPClassifier, MLPRegressor, distributed
from fastmlp._distributed import context
from fastmlp._distributed.context import NEEDED
from fastmlp._engine.threads import available_threads

MPI = pytest.importorskip("mpi4py.MPI")
if shutil.which("mpiexec") is None:
    pytest.skip("mpiexec is not installed", allow_module_level=True)

HERE = Path(__file__).parent
SECONDS = 300  # after which a launch is taken to hang
ALONE = MPI.COMM_SELF


def launch(n_ranks, script, *arguments):
    """Run a script on several ranks; all must end well."""
    done = subprocess.run(
        ["mpiexec", "-n", str(n_ranks), sys.executable, HERE / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


# The bits -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory):
    """A function that returns the results of all runs, for each rank of a number of ranks."""

    @cache
    def results(n_ranks):
        path = tmp_path_factory.mktemp("mpi") / "results.json"
        launch(n_ranks, "mpi_fits.py", path)
        runs = mpi_fits.runs(n_ranks)
        return [dict(zip(runs, it, strict=True)) for it in json.loads(path.read_text())]

    return results


@cache
def alone(case, n_slots):
    """The results of this process alone."""
    return mpi_fits.result(ALONE, case, "equal", n_slots)


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("case", mpi_fits.CASES)
def test_bits_do_not_depend_on_the_number_of_ranks(of_ranks, case, n_ranks):
    check_bits(of_ranks, case, n_ranks)


@pytest.mark.slow
@pytest.mark.parametrize("case", mpi_fits.THOROUGH)
def test_bits_of_eight_ranks(of_ranks, case):
    check_bits(of_ranks, case, 8)


def check_bits(of_ranks, case, n_ranks):
    runs = [run for run in mpi_fits.runs(n_ranks) if run[0] == case]
    assert runs
    for run in runs:
        expected = alone(case, run[2])
        assert "error" not in expected
        for rank, results in enumerate(of_ranks(n_ranks)):
            assert results[run] == expected, (run, rank)


def test_bits_depend_on_the_number_of_slots():
    of_slots = {alone("default", n)["weights"] for n in (1, 4, 5, 8, 12)}
    assert len(of_slots) == 5


def test_cases_differ_from_each_other():
    """A setting that had no effect would not be tested by its case."""
    digests = {case: alone(case, 8).get("weights") for case in mpi_fits.CLASSIFIERS}
    may_equal = {"diagnostics", "early_stopping_by_scores", "early_stopping_by_one_score"}
    shown = [it for case, it in digests.items() if case not in may_equal]
    assert len(set(shown)) == len(shown)


# Arguments ----------------------------------------------------------------------------------------


def communicator(**changed):
    """An object with the methods of a communicator, none of which does anything."""
    return SimpleNamespace(**dict.fromkeys(NEEDED, lambda *_: None) | changed)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"comm": object()}, TypeError, "comm must be a communicator"),
        ({"comm": 3}, TypeError, "comm must be a communicator.*3"),
        ({"comm": communicator(Idup=None)}, TypeError, "Idup"),
        ({"n_slots": 0}, ValueError, "n_slots must be at least.* got 0"),
        ({"n_slots": -8}, ValueError, "n_slots must be at least.* got -8"),
        ({"n_slots": True}, TypeError, "n_slots must be None or a whole number, got True"),
        ({"n_slots": 1.5}, TypeError, "n_slots must be None or a whole number, got 1.5"),
        ({"n_slots": "8"}, TypeError, "n_slots must be None or a whole number, got '8'"),
        (
            {"comm": communicator(Get_size=lambda: 3), "n_slots": 2},
            ValueError,
            "n_slots must be at least the number of ranks, 3, got 2",
        ),
        ({"timeout": 0}, ValueError, "timeout must be .* got 0"),
        ({"timeout": -1}, ValueError, "timeout must be .* got -1"),
        ({"timeout": float("nan")}, ValueError, "timeout must be .* got nan"),
        ({"timeout": "x"}, TypeError, "timeout must be .* got 'x'"),
        ({"timeout": True}, TypeError, "timeout must be .* got True"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message), distributed.mpi(**({"comm": ALONE} | arguments)):
        pass


def test_context_within_another_one_is_an_error():
    with (
        distributed.mpi(ALONE),
        pytest.raises(RuntimeError, match="leave that context first"),
        distributed.mpi(ALONE),
    ):
        pass
    with distributed.mpi(ALONE):  # and the first one has ended well
        pass


def run_python(code):
    return subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60
    )


def test_import_does_not_import_mpi4py():
    done = run_python(
        "import sys, fastmlp, fastmlp.distributed\n"
        "assert fastmlp.distributed.mpi\n"
        "assert not [name for name in sys.modules if name.startswith('mpi4py')]"
    )
    assert done.returncode == 0, done.stderr


def test_missing_mpi4py_is_an_error_that_names_what_to_install():
    done = run_python(
        "import sys\n"
        "sys.modules['mpi4py'] = None\n"
        "from fastmlp import distributed\n"
        "with distributed.mpi(): pass"
    )
    assert done.returncode == 1
    assert "ImportError" in done.stderr
    assert "fastmlp[distributed]" in done.stderr


def test_contexts_that_end_with_an_error_leave_nothing_behind():
    """An MPI has some 2000 communicators."""
    done = run_python(
        "from mpi4py import MPI\n"
        "from fastmlp import distributed\n"
        "for _ in range(1000):\n"
        "    try:\n"
        "        with distributed.mpi(MPI.COMM_SELF): raise ZeroDivisionError\n"
        "    except ZeroDivisionError: pass"
    )
    assert done.returncode == 0, done.stderr


# A single process ---------------------------------------------------------------------------------

X, NUMBERS, LABELS = mpi_fits.X, mpi_fits.NUMBERS, mpi_fits.LABELS


def fitted(model=MLPRegressor, y=NUMBERS, **parameters):
    """A model that is fitted, and the categories of the warnings of the fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = model(**(mpi_fits.COMMON | parameters)).fit(X, y)
    return model, [it.category.__name__ for it in caught]


def weights_of(model):
    return mpi_fits.results_of(model, X)["weights"]


def test_warnings_are_those_of_an_ordinary_fit():
    _, ordinary = fitted()
    with distributed.mpi(ALONE):
        _, shared = fitted()
    assert shared == ordinary == ["ConvergenceWarning"]


def test_fits_after_the_context_are_ordinary():
    before = weights_of(fitted()[0])
    with distributed.mpi(ALONE):
        within = weights_of(fitted()[0])
    assert weights_of(fitted()[0]) == before != within


def test_fits_are_ordinary_after_an_error_in_the_context():
    before = weights_of(fitted()[0])
    with pytest.raises(ZeroDivisionError), distributed.mpi(ALONE):
        raise ZeroDivisionError
    assert weights_of(fitted()[0]) == before


def test_fits_of_other_threads_are_not_shared():
    ordinary = weights_of(fitted()[0])
    of_thread = []
    with distributed.mpi(ALONE):
        thread = threading.Thread(target=lambda: of_thread.append(weights_of(fitted()[0])))
        thread.start()
        thread.join()
        shared = weights_of(fitted()[0])
    assert of_thread == [ordinary]
    assert shared != ordinary


def test_context_leaves_the_number_of_threads():
    before = available_threads()
    with distributed.mpi(ALONE):
        assert available_threads() == before
    with pytest.raises(ZeroDivisionError), distributed.mpi(ALONE):
        raise ZeroDivisionError
    assert available_threads() == before


def test_a_rank_that_is_bound_to_one_cpu_of_several_warns(monkeypatch):
    """As Open MPI binds them; other schedulers may do so on purpose, if all CPUs have ranks."""
    monkeypatch.setattr(context, "cpus", lambda: frozenset({3}))
    monkeypatch.setattr(context.os, "cpu_count", lambda: 4)
    with (
        pytest.warns(UserWarning, match="rank 0 may use one CPU of 4.*--bind-to none"),
        distributed.mpi(ALONE),
    ):
        assert available_threads() == 1
    monkeypatch.setattr(context.os, "cpu_count", lambda: 1)
    with distributed.mpi(ALONE):
        pass


def test_global_random_numbers_are_left_alone():
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    with distributed.mpi(ALONE):
        fitted()
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize("verbose", [True, 2])
def test_first_rank_shows_progress(verbose):
    shown = io.StringIO()
    with distributed.mpi(ALONE), redirect_stdout(shown), redirect_stderr(shown):
        fitted(verbose=verbose)
    assert "loss" in shown.getvalue()


def test_fewer_rows_than_slots_are_an_error():
    model = MLPClassifier(**mpi_fits.COMMON)
    with (
        distributed.mpi(ALONE, n_slots=8),
        pytest.raises(ValueError, match="n_slots=8 rows on all ranks together, got 5"),
    ):
        model.fit(X[:5], LABELS[:5])
    assert not hasattr(model, "coefs_")
