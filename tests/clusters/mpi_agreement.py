"""Fits on whose arguments the ranks do not agree, in a single context, by ``mpiexec``.

Writes what every rank has caught, and what it has fitted afterwards, to a file.
"""

import io
import json
import pickle
import sys
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import mpi_fits
import numpy as np
import pandas as pd
import scipy.sparse
from mpi4py import MPI

from fastmlp import MLPClassifier, MLPRegressor, distributed
from fastmlp._engine.threads import available_threads

COMM = MPI.COMM_WORLD
RANK, N = COMM.Get_rank(), COMM.Get_size()
IS_LAST = RANK == N - 1
MINE = mpi_fits.Shard(RANK, N, "equal")
X, NUMBERS, LABELS = (MINE(it) for it in (mpi_fits.X, mpi_fits.NUMBERS, mpi_fits.LABELS))
COMMON = mpi_fits.COMMON


def classifier(**parameters):
    return MLPClassifier(**(COMMON | parameters))


def regressor(**parameters):
    return MLPRegressor(**(COMMON | parameters))


def with_nan(X):
    X = X.copy()
    X[3, 2] = np.nan
    return X


def frame(X, names):
    return pd.DataFrame(X, columns=list(names))


def raises(model, state):
    raise ZeroDivisionError("all have found it")


def changes_on_last(model, state):
    if IS_LAST:
        model.learning_rate_init = 0.1


# Each returns an estimator that is fitted, a method, and arguments.
DISAGREEMENTS = {
    "nan": lambda: (classifier(), "fit", with_nan(X) if IS_LAST else X, LABELS),
    "nan_on_two": lambda: (classifier(), "fit", with_nan(X) if RANK else X, LABELS),
    "nan_of_numbers": lambda: (regressor(), "fit", X, NUMBERS * (np.nan if IS_LAST else 1)),
    "parameter": lambda: (classifier(alpha=0.5 if IS_LAST else 0.1), "fit", X, LABELS),
    "sizes": lambda: (
        classifier(hidden_layer_sizes=(9,) if IS_LAST else np.array([8, 4])), "fit", X, LABELS
    ),
    "bad_parameter": lambda: (classifier(alpha=-1 if IS_LAST else 0.1), "fit", X, LABELS),
    "features": lambda: (classifier(), "fit", X[:, :4] if IS_LAST else X, LABELS),
    "names": lambda: (classifier(), "fit", frame(X, "abcdez" if IS_LAST else "abcdef"), LABELS),
    "names_on_one": lambda: (classifier(), "fit", frame(X, "abcdef") if IS_LAST else X, LABELS),
    "sparse": lambda: (classifier(), "fit", scipy.sparse.csr_matrix(X) if IS_LAST else X, LABELS),
    "kind_of_labels": lambda: (classifier(), "fit", X, LABELS == "a" if IS_LAST else LABELS),
    "columns_of_y": lambda: (
        regressor(), "fit", X, np.tile(NUMBERS[:, np.newaxis], 1 + IS_LAST)
    ),
    "no_rows": lambda: (classifier(), "fit", X[: 0 if IS_LAST else None],
                        LABELS[: 0 if IS_LAST else None]),
    "lengths": lambda: (classifier(), "fit", X[1:] if IS_LAST else X, LABELS),
    "weight": lambda: (
        regressor(), "fit", X, NUMBERS, *([np.ones(len(X))] if IS_LAST else [])
    ),
    "negative_weight": lambda: (
        regressor(), "fit", X, NUMBERS, np.full(len(X), -1.0 if IS_LAST else 1.0)
    ),
    "method": lambda: (
        regressor(), "partial_fit" if IS_LAST else "fit", X, NUMBERS
    ),
    "estimator": lambda: (
        regressor() if IS_LAST else classifier(), "fit", X, np.arange(len(X)) % 3
    ),
    "weights_before": lambda: (
        regressor(random_state=RANK).initialize(6), "partial_fit", X, NUMBERS
    ),
    "unknown_class": lambda: (
        classifier(), "partial_fit", X, np.where(IS_LAST, "zz", LABELS)
    ),
    "classes": lambda: (classifier(), "partial_fit", X, LABELS),
    "other_classes": lambda: (classifier(), "partial_fit", X, LABELS),
    "callback_on_all": lambda: (classifier(callbacks=raises), "fit", X, LABELS),
    "changed_by_callback_on_one": lambda: (
        classifier(callbacks=changes_on_last), "fit", X, LABELS
    ),
    "divergence": lambda: (
        regressor(solver="sgd", learning_rate_init=1e30, max_iter=30), "fit", X, NUMBERS
    ),
}  # fmt: skip
KEYWORDS = {
    "unknown_class": {"classes": ["a", "bb", "ccc", "dddd"]},
    "classes": {"classes": ["a", "bb", "ccc", "dddd"] + ["e"] * IS_LAST},
    "other_classes": {"classes": ["0" if IS_LAST else "e", "a", "bb", "ccc", "dddd"]},
    "validation_on_one": {"X_val": X, "y_val": LABELS} if IS_LAST else {},
    "validation_with_nan": {"X_val": with_nan(X) if IS_LAST else X, "y_val": LABELS},
    "validation_weight_on_one": {
        "X_val": X, "y_val": LABELS, "sample_weight_val": np.ones(len(X)) if IS_LAST else None,
    },
    "checkpoint_on_one": {"checkpoint": "unused.mlp"} if IS_LAST else {},
    "checkpoint_every": {"checkpoint_every": 3} if IS_LAST else {},
    "resume": {"resume": "absent.mlp"} if IS_LAST else {},
}  # fmt: skip


def outcome(name):
    """Return what a fit raises, whether the model is as before, and the bits of another fit."""
    if name in DISAGREEMENTS:
        model, method, *arguments = DISAGREEMENTS[name]()
    else:
        model, method, arguments = classifier(), "fit", (X, LABELS)
    before = pickle.dumps(vars(model)) if name not in WITH_CALLBACKS else sorted(vars(model))
    caught, notes = None, []
    try:
        getattr(model, method)(*arguments, **KEYWORDS.get(name, {}))
    except Exception as error:
        caught, notes = f"{type(error).__name__}: {error}", getattr(error, "__notes__", [])
    after = pickle.dumps(vars(model)) if name not in WITH_CALLBACKS else sorted(vars(model))
    weights = mpi_fits.bits_of(*model.coefs_) if caught is None else None
    other = mpi_fits.fit(classifier(), mpi_fits.X, mpi_fits.LABELS, MINE)
    return {
        "error": caught, "notes": notes, "is_unchanged": before == after, "weights": weights,
        "next": other["weights"],
    }  # fmt: skip


WITH_CALLBACKS = ("callback_on_all", "changed_by_callback_on_one")
NAMES = list(dict.fromkeys([*DISAGREEMENTS, *KEYWORDS]))
# These could end all ranks, so they have launches of their own.
APART = ["bad_parameter", "changed_by_callback_on_one"]


def entered(**arguments):
    """Return what a context raises."""
    try:
        with distributed.mpi(COMM, **arguments):
            return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def limited_by_time():
    def slow(model, state):
        time.sleep(0.05 * (RANK + 1))

    shown = io.StringIO()
    with distributed.mpi(COMM), redirect_stdout(shown), redirect_stderr(shown):
        model = classifier(max_seconds=0.5, max_iter=10000, tol=0, verbose=2, callbacks=slow)
        model.fit(X, LABELS)
    return model.stop_reason_, model.n_iter_, mpi_fits.bits_of(*model.coefs_), shown.getvalue()


def threads():
    before = available_threads()
    with distributed.mpi(COMM):
        within = available_threads()
    return before, within, available_threads()


def streamed():
    """Return the bits of a fit to a stream, whose rows differ between the ranks."""
    with distributed.mpi(COMM):
        model = regressor().fit_stream(lambda: iter([(X, NUMBERS)]))
    return mpi_fits.bits_of(*model.coefs_)


def stopped_by_first():
    def stop(model, state):
        return state.epoch == 2 and RANK == 0

    with distributed.mpi(COMM):
        model = classifier(callbacks=stop, max_iter=5).fit(X, LABELS)
    return model.stop_reason_, model.n_iter_, mpi_fits.bits_of(*model.coefs_)


def apart(path, name):
    with distributed.mpi(COMM, timeout=5):
        of_ranks = COMM.gather(outcome(name))
    if RANK == 0:
        Path(path).write_text(json.dumps(of_ranks))


def main(path):
    result = {"entered": {"n_slots": entered(n_slots=8 + IS_LAST),
                          "timeout": entered(timeout=9 + IS_LAST)}}  # fmt: skip
    with distributed.mpi(COMM, timeout=20):
        result |= {name: outcome(name) for name in NAMES if name not in APART}
        nested = None
        try:
            with distributed.mpi(COMM):
                pass
        except RuntimeError as error:
            nested = str(error)
    result |= {"nested": nested, "time": limited_by_time(), "threads": threads()}
    result |= {"stopped": stopped_by_first(), "streamed": streamed()}
    of_ranks = COMM.gather(result)
    if RANK == 0:
        Path(path).write_text(json.dumps(of_ranks))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    (main if len(sys.argv) == 2 else apart)(*sys.argv[1:])
