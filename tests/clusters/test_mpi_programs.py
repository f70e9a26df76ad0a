"""Whole programs under mpiexec, as the guide shows them: the example, and errors outside."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mpi4py")
if shutil.which("mpiexec") is None:
    pytest.skip("mpiexec is not installed", allow_module_level=True)

EXAMPLE = Path(__file__).parents[2] / "examples" / "cluster_mpi.py"
PROGRAM = """
import numpy as np
from mpi4py import MPI
from fastmlp import MLPClassifier, distributed

comm, place = MPI.COMM_WORLD, {place!r}
if place == "before" and comm.rank == 1:
    np.load("absent.npy")
X, y = np.random.RandomState(comm.rank).randn(40, 3), np.arange(40) % 2
with distributed.mpi(comm):
    MLPClassifier((4,), batch_size=20, max_iter=2, random_state=0).fit(X, y)
if place == "after" and comm.rank == 1:
    np.load("absent.npy")
comm.Barrier()
"""


def run(program, n_ranks):
    return subprocess.run(
        ["mpiexec", "-n", str(n_ranks), sys.executable, "-P", "-m", "mpi4py", program],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_example():
    shown = run(EXAMPLE, 2)
    assert shown.returncode == 0, shown.stderr
    assert "2 processes, accuracy 0.9" in shown.stdout
    assert "the same weights as of one process: True" in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize("place", ["before", "after", "nowhere"])
def test_an_exception_outside_of_the_context_ends_all(place, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(place=place))
    shown = run(program, 3)
    if place == "nowhere":
        assert shown.returncode == 0, shown.stderr
    else:
        assert shown.returncode != 0
        assert "absent.npy" in shown.stderr
