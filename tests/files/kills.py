"""Fits that are killed: `python tests/files/kills.py 1000 200`.

Fits that write a checkpoint after every epoch are killed (SIGKILL) at random moments, until there
are 1000 files, each of which must be a whole one. Then 200 runs are killed, resumed and killed
again until they end, and the model must be that of the run that was never stopped, bit for bit.
"""

import argparse
import itertools
import multiprocessing
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import fastmlp

# Children are forked, since a new interpreter would take longer than most of the fits.
FORK = multiprocessing.get_context("fork")

RNG = np.random.RandomState(0)
X = RNG.standard_normal((400, 6))
Y = X[:, 0] * X[:, 1] + X[:, 2]

MLP = {"hidden_layer_sizes": (20,), "max_iter": 60, "tol": 0, "random_state": 0}
RUNS = [
    (fastmlp.MLPRegressor, MLP | options)
    for options in (
        {"solver": "adamw", "dropout": 0.2},
        {"early_stopping": True, "n_iter_no_change": 20},
        {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 5, "tol": 1e-3},
        {"averaging": 0.95, "learning_rate": "cosine", "dtype": "float64"},
        {"input_layer": fastmlp.InputLayer(numeric_embedding="pbld"), "layer_norm": True},
        {"shuffle": False, "n_threads": 2, "random_state": np.random.RandomState(3)},
    )
] + [
    (fastmlp.TabularMLPRegressor, {"n_members": 6, "random_state": 0}),
    (fastmlp.TabularMLPRegressor, {"n_members": 6, "random_state": 1, "refit_single": True}),
]


def fit(cls, parameters, path, resume):
    """Fit with checkpoints; go on from the file if there is one."""
    warnings.simplefilter("ignore")
    estimator = cls(**parameters)
    estimator.fit(X, Y, checkpoint=path, checkpoint_every=1, resume=path if resume else None)


def started(*arguments):
    child = FORK.Process(target=fit, args=arguments)
    child.start()
    return child


def seconds_of(cls, parameters, path):
    """Fit to the end in a child and return the time that it took."""
    began = time.perf_counter()
    child = started(cls, parameters, path, False)
    child.join()
    assert child.exitcode == 0
    return time.perf_counter() - began


def is_whole(path):
    """Whether the file is a checkpoint. One of an ensemble in training is no model yet."""
    try:
        fastmlp.load(path)
    except fastmlp.ModelFileError as error:
        return "has not ended" in str(error)
    return True


def kill(n_files, seed, folder):
    """Kill fits at random moments until there are so many files. Return how often that was."""
    source, left = random.Random(seed), n_files
    seconds = [seconds_of(*run, Path(folder, "whole.safetensors")) for run in RUNS]
    for i in itertools.count():
        if left == 0:
            return i
        run, path = i % len(RUNS), Path(folder, f"{i}.safetensors")
        child = started(*RUNS[run], path, False)
        time.sleep(source.uniform(0, seconds[run]))
        child.kill()
        child.join()
        if path.exists():
            assert is_whole(path), path
            left -= 1
            path.unlink()
        for leftover in Path(folder).glob(".*.part"):
            leftover.unlink()


def resume(n_runs, seed, folder):
    """Kill and resume runs until they end. Return how often in total they were killed."""
    source, n_kills = random.Random(seed), 0
    whole = [Path(folder, f"whole{i}.safetensors") for i in range(len(RUNS))]
    seconds = [seconds_of(*run, path) for run, path in zip(RUNS, whole, strict=True)]
    for i in range(n_runs):
        run, path = i % len(RUNS), Path(folder, "resumed.safetensors")
        path.unlink(missing_ok=True)
        for attempt in itertools.count():
            child = started(*RUNS[run], path, path.exists())
            # The later, the longer, so that every run comes to its end.
            child.join(source.uniform(0, seconds[run]) * (1 + attempt / 4))
            if child.exitcode is not None:
                break
            child.kill()
            child.join()
            n_kills += 1
        assert child.exitcode == 0, (RUNS[run], child.exitcode)
        ours, expected = fastmlp.load(path).predict(X), fastmlp.load(whole[run]).predict(X)
        assert (ours == expected).all(), RUNS[run]
    return n_kills


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n_files", type=int)
    parser.add_argument("n_resumed", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        n_kills = kill(arguments.n_files, arguments.seed, folder)
        print(f"{n_kills} kills: {arguments.n_files} files, all of them whole", flush=True)
        n_kills = resume(arguments.n_resumed, arguments.seed, folder)
        print(f"{arguments.n_resumed} runs, killed {n_kills} times in all: the same bits")


if __name__ == "__main__":
    sys.exit(main())
