"""Fits whose results must have the same bits for any number of ranks.

Run by ``mpiexec python mpi_fits.py FILE``, which writes digests of the results of all ranks to the
file. The tests run the same cases in a single process.
"""

import hashlib
import json
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.metrics import make_scorer, zero_one_loss

from fastmlp import InputLayer, MLPClassifier, MLPRegressor, _core, distributed

N_ROWS = 403
RNG = np.random.RandomState(0)
X = RNG.standard_normal((N_ROWS, 6)).astype("f4")
NUMBERS = X[:, 0] - X[:, 1] * X[:, 2]
COUNTS = RNG.poisson(np.exp(0.5 * X[:, 0]))
CODES = np.column_stack([X[:, :3], np.sort(RNG.randint(0, 5, N_ROWS))]).astype("f4")
SPARSE = scipy.sparse.random(N_ROWS, 60, 0.1, random_state=0, format="csr", dtype=np.float32)
WEIGHT = RNG.uniform(0, 2, N_ROWS)
LABELS_OF_SETS = (X[:, :3] > 0.3).astype(int)
# The classes are sorted, so that most ranks lack some.
LABELS = np.sort(np.array(["a", "bb", "ccc", "dddd"])[RNG.randint(0, 4, N_ROWS)])
LARGE = RNG.standard_normal((20000, 3)).astype("f4")

COMMON = {"hidden_layer_sizes": (8, 8), "max_iter": 3, "random_state": 0}

CLASSIFIERS = {
    "default": {},
    "learning_rate_invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "learning_rate_adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "tol": 1.0, "n_iter_no_change": 1,
        "max_iter": 8,
    },
    "learning_rate_plateau": {
        "learning_rate": "plateau", "tol": 1.0, "schedule_params": {"patience": 1}, "max_iter": 8,
    },
    "learning_rate_cosine": {"learning_rate": "cosine"},
    "learning_rate_one_cycle": {"learning_rate": "one_cycle"},
    "dropout_and_noise": {"dropout": 0.3, "input_dropout": 0.1, "input_noise": 0.2},
    "dropout_in_small_batches": {"dropout": 0.3, "batch_size": 5},
    "clip_norm": {"solver": "sgd", "clip_norm": 0.05},
    "clip_value": {"solver": "sgd", "clip_value": 0.01},
    "max_norm": {"max_norm": 0.5},
    "averaging": {"averaging": 0.9},
    "penalties": {"l1": 0.05, "alpha": 0.3, "batch_size": 7},
    "without_shuffling": {"shuffle": False},
    "float64": {"dtype": "float64"},
    "layer_norm_and_residual": {"layer_norm": True, "residual": True},
    "fewer_rows_in_a_batch_than_slots": {"batch_size": 3, "max_iter": 2},
    "single_rows": {"batch_size": 1, "max_iter": 1},
    "batch_of_all_rows": {"batch_size": N_ROWS},
    "class_weight": {"class_weight": {"a": 2.0, "bb": 1.0, "ccc": 0.5, "dddd": 3.0}},
    "class_weight_of_some_classes": {"class_weight": {"a": 2.0, "ccc": 0.5}},
    "class_weight_balanced": {"class_weight": "balanced"},
    "class_weight_balanced_lbfgs": {"class_weight": "balanced", "solver": "lbfgs"},
    "early_stopping": {"early_stopping": True, "validation_fraction": 0.2},
    "early_stopping_by_scores": {
        "early_stopping": True, "scoring": ["accuracy", "neg_log_loss", make_scorer(zero_one_loss)],
    },
    "early_stopping_by_one_score": {"early_stopping": True, "scoring": "neg_log_loss"},
    "diagnostics": {"diagnostics": True},
    "swish_in_float64_with_adamw": {
        "activation": "silu", "dtype": "float64", "solver": "adamw", "weight_decay": 0.1,
    },
}  # fmt: skip

ATTRIBUTES = (
    "n_iter_", "t_", "stop_reason_", "best_iter_", "loss_", "best_loss_", "best_validation_score_",
    "validation_scores_",
)  # fmt: skip


def bits_of(*things):
    """Return a digest of arrays, numbers and words."""
    digest = hashlib.sha256()
    for thing in things:
        array = np.asarray(thing)
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(array.tobytes() if array.dtype != object else repr(thing).encode())
    return digest.hexdigest()[:16]


def results_of(model, X):
    """Return digests of a fitted model's parts, by their names."""
    history = {name: it for name, it in model.history_.items() if name != "seconds"}
    methods = [name for name in ("predict", "predict_proba") if hasattr(model, name)]
    return {
        "weights": bits_of(*model.coefs_, *model.intercepts_),
        "history": bits_of(*(it for name in sorted(history) for it in (name, history[name]))),
        "loss_curve": bits_of(getattr(model, "loss_curve_", None)),
        "attributes": repr([getattr(model, name, None) for name in ATTRIBUTES]),
        "predictions": bits_of(*(getattr(model, name)(X) for name in methods)),
        "classes": bits_of(getattr(model, "classes_", None)),
    }


class Shard:
    """A rank's part of arrays that all ranks together have."""

    def __init__(self, rank, n_ranks, cut):
        self.rank, self.n_ranks, self.cut = rank, n_ranks, cut

    def __call__(self, array):
        bounds = CUTS[self.cut](array.shape[0], self.n_ranks)
        rows = slice(bounds[self.rank], bounds[self.rank + 1])
        return array.iloc[rows] if hasattr(array, "iloc") else array[rows]


def cut_at_random(n, n_ranks):
    inner = np.random.RandomState(n_ranks).choice(np.arange(1, n), n_ranks - 1, replace=False)
    return [0, *np.sort(inner).tolist(), n]


CUTS = {
    "equal": lambda n, n_ranks: [n * i // n_ranks for i in range(n_ranks + 1)],
    "random": cut_at_random,
    "nearly all on the last": lambda n, n_ranks: [*range(n_ranks), n],
    "nearly all on the first": lambda n, n_ranks: [0, *range(n - n_ranks + 1, n + 1)],
}


# Cases: functions of a shard that return the results ----------------------------------------------


def fit(model, X, y, mine, *weights, **validation):
    model.fit(mine(X), mine(y), *(mine(weight) for weight in weights), **validation)
    return results_of(model, X)


def classifier(**parameters):
    return MLPClassifier(**(COMMON | parameters))


def regressor(**parameters):
    return MLPRegressor(**(COMMON | parameters))


def of_classifier(parameters):
    return lambda mine: fit(classifier(**parameters), X, LABELS, mine)


def of_solver(solver):
    return lambda mine: fit(regressor(solver=solver, max_iter=4), X, NUMBERS, mine)


def half_squares(y, z):
    return 0.5 * ((z - y) ** 2).sum(axis=1), z - y


def validation_set(mine):
    model = classifier(early_stopping=True, scoring=["accuracy", "neg_log_loss"])
    return fit(model, X, LABELS, mine, X_val=mine(X[::3]), y_val=mine(LABELS[::3]))


def validation_set_with_fewer_rows_than_slots(mine):
    X_val, y_val, weight = (mine(it[::90]) for it in (X, LABELS, WEIGHT))
    return fit(
        classifier(early_stopping=True), X, LABELS, mine,
        X_val=X_val, y_val=y_val, sample_weight_val=weight,
    )  # fmt: skip


def several_validation_sets(mine):
    pairs = [(mine(X[:50]), mine(LABELS[:50])), (mine(X[100:]), mine(LABELS[100:]))]
    return fit(classifier(), X, LABELS, mine, X_val=pairs)


def early_stopping_with_weights_and_scorer(mine):
    model = regressor(early_stopping=True, scoring="neg_mean_absolute_error")
    return fit(model, X, NUMBERS, mine, WEIGHT)


def early_stopping_of_sparse_rows(mine):
    return fit(classifier(early_stopping=True, scoring="accuracy"), SPARSE, LABELS, mine)


def partial_fits(mine):
    model = classifier(solver="sgd")
    for first in range(0, 300, 100):
        rows = slice(first, first + 100)
        model.partial_fit(
            mine(X[rows]), mine(LABELS[rows]), classes=["a", "bb", "ccc", "dddd", "e"]
        )
    return results_of(model, X)


def partial_fits_after_a_fit(mine):
    model = regressor().fit(mine(X), mine(NUMBERS))
    for _ in range(3):
        model.partial_fit(mine(X), mine(NUMBERS), mine(WEIGHT))
    return results_of(model, X)


def fit_after_an_own_one(mine):
    """The labels and the weights of an earlier fit, on some rows of each rank, do not matter."""
    model = classifier()
    with ThreadPoolExecutor(1) as pool:  # fits of other threads are not shared
        labels = mine(np.sort(LABELS))[:20].copy()
        labels[0] = "a" if labels[0] != "a" else "bb"
        pool.submit(model.fit, mine(X)[:20], labels).result()
    return fit(model, X, LABELS, mine)


def parameters_that_may_differ(mine):
    """The first rank alone has callbacks; the ranks have other numbers of threads."""
    is_first = mine.rank == 0
    seen = []
    model = classifier(
        callbacks=(lambda model, state: seen.append(state.epoch)) if is_first else None,
        n_threads=1 + mine.rank, max_seconds=1000 if is_first else None,
    )  # fmt: skip
    results = fit(model, X, LABELS, mine)
    assert len(seen) == (model.n_iter_ if is_first else 0)
    return results


def warm_start(mine):
    model = classifier(warm_start=True, averaging=0.9)
    for rows in (X, X[::-1]):
        model.fit(mine(rows), mine(LABELS))
    return results_of(model, X)


def generator_as_random_state(mine):
    generator = np.random.RandomState(5)
    first = fit(classifier(random_state=generator), X, LABELS, mine)
    second = fit(classifier(random_state=generator), X, LABELS, mine)
    assert first["weights"] != second["weights"]
    return {f"{name} {i}": it for i, of_one in enumerate([first, second])
            for name, it in of_one.items()}  # fmt: skip


def callbacks_that_change_the_learning_rate(mine):
    def halve(model, state):
        model.learning_rate_init /= 2
        return state.epoch == 4

    return fit(classifier(max_iter=9, callbacks=halve), X, LABELS, mine)


def memory_map_of_float32(mine):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        path.write_bytes(X.tobytes())
        rows = np.memmap(path, "float32", "r", shape=X.shape)
        result = fit(classifier(), rows, LABELS, mine)
        del rows
    return result


def codes_of_the_last_rank_only(mine):
    layer = InputLayer(categorical_features=[3], one_hot_max_size=2)
    return fit(classifier(input_layer=layer), CODES, LABELS, mine)


CASES = {
    **{f"solver_{name}": of_solver(name) for name in (*_core.SOLVERS, "lbfgs")},
    **{name: of_classifier(parameters) for name, parameters in CLASSIFIERS.items()},
    "poisson": lambda mine: fit(regressor(loss="poisson"), X, COUNTS, mine),
    "poisson_with_weights": lambda mine: fit(regressor(loss="poisson"), X, COUNTS, mine, WEIGHT),
    "several_outputs": lambda mine: fit(regressor(), X, X[:, 1:4] ** 2, mine),
    "frames": lambda mine: fit(
        classifier(early_stopping=True, scoring="accuracy"),
        pd.DataFrame(X, columns=list("abcdef")), pd.Series(LABELS), mine,
    ),
    "loss_of_ones_own": lambda mine: fit(regressor(loss=half_squares), X, NUMBERS, mine),
    "multilabel": lambda mine: fit(classifier(), X, LABELS_OF_SETS, mine),
    "multilabel_sparse": lambda mine: fit(
        classifier(), X, scipy.sparse.csr_matrix(LABELS_OF_SETS), mine
    ),
    "two_classes": lambda mine: fit(classifier(), X, np.sort(X[:, 0] > 0), mine),
    "weights": lambda mine: fit(classifier(), X, LABELS, mine, WEIGHT),
    "weights_of_zero": lambda mine: fit(classifier(batch_size=4), X, LABELS, mine, WEIGHT > 1),
    "weights_of_zero_at_the_beginning": lambda mine: fit(
        classifier(), X, LABELS, mine, np.arange(N_ROWS) > 300
    ),
    "weights_lbfgs": lambda mine: fit(classifier(solver="lbfgs"), X, LABELS, mine, WEIGHT),
    "weights_and_class_weight": lambda mine: fit(
        classifier(class_weight="balanced"), X, LABELS, mine, WEIGHT
    ),
    "sparse": lambda mine: fit(classifier(), SPARSE, LABELS, mine),
    "sparse_lbfgs": lambda mine: fit(classifier(solver="lbfgs"), SPARSE, LABELS, mine),
    "large_batches": lambda mine: fit(
        regressor(batch_size=10000, dropout=0.1), LARGE, LARGE[:, 0] * LARGE[:, 1], mine
    ),
    "large_batches_lbfgs": lambda mine: fit(
        regressor(solver="lbfgs"), LARGE, LARGE[:, 0] * LARGE[:, 1], mine
    ),
    **{
        function.__name__: function
        for function in (
            validation_set, validation_set_with_fewer_rows_than_slots, several_validation_sets,
            early_stopping_with_weights_and_scorer, early_stopping_of_sparse_rows, partial_fits,
            partial_fits_after_a_fit, fit_after_an_own_one, parameters_that_may_differ, warm_start,
            generator_as_random_state,
            callbacks_that_change_the_learning_rate, memory_map_of_float32,
            codes_of_the_last_rank_only,
        )
    },
}  # fmt: skip

# With all cuts, and these numbers of slots.
THOROUGH = ("default", "solver_lbfgs", "early_stopping_by_scores")
N_SLOTS = (4, 5, 12)
MOST_FOR_ALL_CASES = 4


def runs(n_ranks):
    """Return what is to be run: tuples of a case, a cut and a number of slots.

    Many ranks take long, so that they run the thorough cases only.
    """
    several = list(CUTS)
    all_cases = [(case, several[i % len(several)], 8) for i, case in enumerate(CASES)]
    thorough = [(case, cut, 8) for case in THOROUGH for cut in CUTS]
    thorough += [("weights_of_zero_at_the_beginning", "equal", 8)]
    thorough += [(case, "random", n) for case in THOROUGH for n in N_SLOTS if n >= n_ranks]
    return dict.fromkeys(thorough if n_ranks > MOST_FOR_ALL_CASES else all_cases + thorough)


def result(comm, case, cut, n_slots):
    """Return the digests of a case, on the rows of this rank, or the error that it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.mpi(comm, n_slots=n_slots):
            try:
                return CASES[case](Shard(comm.Get_rank(), comm.Get_size(), cut))
            except Exception as error:
                return {"error": f"{type(error).__name__}: {error}"}


def main(path):
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    mine = [result(comm, *run) for run in runs(comm.Get_size())]
    of_ranks = comm.gather(mine)
    if comm.Get_rank() == 0:
        Path(path).write_text(json.dumps(of_ranks))


if __name__ == "__main__":
    main(*sys.argv[1:])
