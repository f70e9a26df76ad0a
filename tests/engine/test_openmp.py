"""fastmlp in one process with libraries that have OpenMP, each with a copy of its own."""

import os
import random
import subprocess
import sys
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "beside_openmp.py"
PACKAGES = ("fastmlp", "torch", "sklearn", "lightgbm", "xgboost")
SECONDS_OF_HANG = 300


def orders_of_import():
    """Each package first, and each last, and some at random; or all that there are."""
    if os.environ.get("FASTMLP_ALL_ORDERS") == "1":
        return list(permutations(PACKAGES))
    rotated = [PACKAGES[i:] + PACKAGES[:i] for i in range(len(PACKAGES))]
    source = random.Random(0)
    return [*rotated, *(tuple(source.sample(PACKAGES, len(PACKAGES))) for _ in range(3))]


def digest(order):
    """What fastmlp computes after these imports; in threads, however few CPUs there are."""
    done = subprocess.run(
        [sys.executable, "-P", SCRIPT, *order],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=SECONDS_OF_HANG,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def alone():
    return digest(["fastmlp"])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="OpenMP as on Linux, and forks")
@pytest.mark.parametrize("order", orders_of_import(), ids="-".join)
def test_same_bits_beside_openmp(order, alone):
    """In any order of imports, after fits of the others, and in forked children: no hang."""
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert len(alone) == 1
    assert digest(order) == alone
