"""Every script of examples/ runs, draws its picture, and finds what it says one should see."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

matplotlib = pytest.importorskip("matplotlib")

FOLDER = Path(__file__).parent.parent / "examples"
MNIST = "mnist_in_a_minute"
SCRIPTS = sorted(
    path.stem for path in FOLDER.glob("[!_]*.py") if not path.stem.startswith("cluster_")
)


def numbers(pattern, text):
    """The groups of every match, as numbers."""
    found = [tuple(map(float, match.groups())) for match in re.finditer(pattern, text)]
    assert found, text
    return found


def holds_for_mirror_symmetry(printed):
    ratio = r"([\d.]+) : ([\d.]+) : ([\d.]+)"
    starts = numbers(rf"\d+ +(\d+)  {ratio} +{ratio} +([\d.]+)\n", printed)
    found = [start for start in starts if start[0] == 64]
    assert len(found) >= len(starts) / 2
    assert all(start[-1] < 0.05 for start in found)
    assert any(start[1:7] == pytest.approx([1, 2, 4] * 2, rel=0.1) for start in found)


def holds_for_family_trees(printed):
    assert "104 facts" in printed
    splits = numbers(r"(\d+) of 100 learned, (\d) of 4", printed)
    assert all(learned == 100 for learned, _ in splits)
    assert sum(right for _, right in splits) > len(splits)  # of 4 each


def holds_for_prediction_intervals(printed):
    [shares] = numbers(r"quantiles +([\d.]+)% +([\d.]+)% +([\d.]+)%", printed)
    assert shares == pytest.approx([90] * 3, abs=3)
    assert numbers(r"crossings .*: (\d+)", printed) == [(0,)]


def holds_for_mnist_in_a_minute(printed):
    assert numbers(r"test accuracy ([\d.]+)", printed)[0][0] > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_example(script, tmp_path):
    arguments = []
    if script == MNIST:
        if "FASTMLP_MNIST" not in os.environ:
            pytest.skip("FASTMLP_MNIST names no file")
        arguments = ["--data", os.environ["FASTMLP_MNIST"]]
    done = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / f"{script}.py", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert (tmp_path / f"{script}.png").stat().st_size > 10_000
    assert "What one should see" in done.stdout
    check = globals().get(f"holds_for_{script}")
    if check:
        check(done.stdout)


@pytest.mark.parametrize("script", SCRIPTS)
def test_example_is_short(script):
    assert len((FOLDER / f"{script}.py").read_text().splitlines()) < 100
