"""Small fits and mini-batches beside scikit-learn, where checks take most of the time.

python bench/small.py
python bench/small.py --json bench/results/zen4/small.json   # for bench/pages.py
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import report
import scipy.sparse
import sklearn.neural_network
from sklearn.datasets import load_diabetes, load_iris
from sklearn.preprocessing import scale
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import validate_data

import fastmlp

KINDS = ("MLPClassifier", "MLPRegressor")
N_ROUNDS, SECONDS_IN_ROUND = 15, 0.05


def fastest(*functions):
    """The shortest seconds of a call of each function; they take turns."""
    best = [np.inf] * len(functions)
    for _ in range(N_ROUNDS):
        for i, function in enumerate(functions):
            began = time.perf_counter()
            while True:
                before = time.perf_counter()
                function()
                now = time.perf_counter()
                best[i] = min(best[i], now - before)
                if now - began > SECONDS_IN_ROUND:
                    break
    return best


def estimators(kind, **parameters):
    """The estimators of fastmlp and of scikit-learn."""
    return [getattr(package, kind)(**parameters) for package in (fastmlp, sklearn.neural_network)]


def rows_and_targets(kind, n_rows, n_columns=10, dtype=np.float32):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, n_columns)).astype(dtype)
    z = np.tanh(X @ rng.standard_normal(n_columns).astype(dtype))
    return X, (z > 0).astype(int) if kind == "MLPClassifier" else z


def row(name, ours, theirs, more=""):
    return [name, f"{1e6 * ours:,.0f} us", f"{1e6 * theirs:,.0f} us", f"{theirs / ours:.2f}", more]


def fits():
    """Rows of one epoch, from the checks to the fitted estimator."""
    for kind in KINDS:
        X, y = rows_and_targets(kind, 200)
        ours, theirs = estimators(kind, max_iter=1)

        def validate(estimator=theirs, X=X, y=y, kind=kind):
            """What scikit-learn's own estimator calls of its validation, for rows and labels."""
            estimator._validate_params()
            validate_data(estimator, X, y, multi_output=True, dtype=np.float32)
            if kind == "MLPClassifier":
                check_classification_targets(y)
                unique_labels(y)

        of_ours, of_theirs, of_checks = fastest(
            lambda ours=ours, X=X, y=y: ours.fit(X, y),
            lambda theirs=theirs, X=X, y=y: theirs.fit(X, y),
            validate,
        )
        checks = f"scikit-learn's checks alone: {1e6 * of_checks:.0f} us"
        yield row(f"{kind}: fit of 200 x 10, one epoch", of_ours, of_theirs, checks)


def mini_batches():
    for kind in KINDS:
        for sizes in ((100,), (32,)):
            for n_rows in (1, 32):
                X, y = rows_and_targets(kind, n_rows)
                pair = estimators(kind, hidden_layer_sizes=sizes)
                known = {"classes": [0, 1]} if kind == "MLPClassifier" else {}
                for estimator in pair:
                    estimator.partial_fit(X, y, **known)
                seconds = fastest(*[lambda e=e, X=X, y=y: e.partial_fit(X, y) for e in pair])
                yield row(f"{kind}: partial_fit, 10-{sizes[0]}, {n_rows} row(s)", *seconds)


def sparse_rows(dtype):
    return scipy.sparse.random(2_000, 50_000, 0.002, "csr", dtype, random_state=0)


def lbfgs():
    """By iteration: both stop by the same rule, but rounding may lead to other iterations."""
    iris, diabetes = load_iris(return_X_y=True), load_diabetes(return_X_y=True)
    labels = np.random.RandomState(0).randint(2, size=2_000)
    problems = {
        "iris": (KINDS[0], scale(iris[0]), iris[1]),
        "diabetes": (KINDS[1], scale(diabetes[0]), scale(diabetes[1])),
        "200 x 10": (KINDS[0], *rows_and_targets(KINDS[0], 200, dtype=np.float64)),
        "1000 x 20": (KINDS[1], *rows_and_targets(KINDS[1], 1_000, 20, dtype=np.float64)),
        "sparse 2000 x 50000": (KINDS[0], sparse_rows(np.float64), labels),
        "the same, float32": (KINDS[0], sparse_rows(np.float32), labels),
    }
    for name, (kind, X, y) in problems.items():
        for sizes in ((100,), (10,)):
            pair = estimators(
                kind, hidden_layer_sizes=sizes, solver="lbfgs", max_iter=200, random_state=0
            )
            seconds = fastest(*[lambda e=e, X=X, y=y: e.fit(X, y) for e in pair])
            n_iters = [estimator.n_iter_ for estimator in pair]
            by_iteration = [s / n for s, n in zip(seconds, n_iters, strict=True)]
            more = f"iterations: {n_iters[0]}, {n_iters[1]}"
            yield row(f"lbfgs, an iteration: {name}, {sizes[0]} hidden", *by_iteration, more)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="PATH", help="keep the table")
    given = parser.parse_args()
    heads = ["", "fastmlp", "scikit-learn", "ratio", ""]
    rows = [*fits(), *mini_batches(), *lbfgs()]
    print(report.table(heads, rows))
    if given.json:
        report.keep(given.json, {"times": (heads, rows)})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
