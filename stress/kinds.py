"""The kinds of fits that are interrupted, forked and shared by threads."""

import functools

import made

from fastmlp import (
    InputLayer,
    MLPClassifier,
    MLPRegressor,
    TabularMLPClassifier,
    TabularMLPRegressor,
)

SOLVERS = ("sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad", "adadelta", "rprop", "lbfgs")

# The estimator, its task and its parameters, by name.
MLPS = {f"{solver} {task}": (cls, task, {"solver": solver}) for solver in SOLVERS
        for cls, task in ((MLPClassifier, "multiclass"), (MLPRegressor, "several"))} | {
    "early stopping": (MLPClassifier, "binary", {"early_stopping": True, "n_iter_no_change": 99}),
    "scorer": (MLPRegressor, "numbers", {"early_stopping": True, "scoring": "r2"}),
    "multilabel": (MLPClassifier, "multilabel", {"layer_norm": True, "residual": True}),
    "custom loss": (MLPRegressor, "several", {"loss": made.loss_of_user}),
    "custom loss, lbfgs": (MLPRegressor, "several", {"loss": made.loss_of_user, "solver": "lbfgs"}),
    "plateau": (MLPRegressor, "numbers", {"learning_rate": "plateau", "diagnostics": True}),
    "input layer": (MLPRegressor, "numbers", {
        "input_layer": InputLayer(n_categories=[], numeric_embedding="pbld")}),
    "dropout": (MLPClassifier, "words", {"dropout": 0.3, "input_noise": 0.1, "averaging": 0.9}),
    "two threads": (MLPRegressor, "several", {"n_threads": 2, "batch_size": 400}),
    "two threads, lbfgs": (MLPClassifier, "multiclass", {"n_threads": 2, "solver": "lbfgs"}),
    "float64": (MLPRegressor, "counts", {"loss": "poisson", "dtype": "float64"}),
    "callbacks": (MLPClassifier, "binary", {"callbacks": made.goes_on}),
    "class weights": (MLPClassifier, "words", {"class_weight": "balanced"}),
}  # fmt: skip
TABULAR = {
    "ensemble of classifiers": (TabularMLPClassifier, "multiclass", {}),
    "ensemble of regressors": (TabularMLPRegressor, "numbers", {}),
    "ensemble, two jobs": (TabularMLPClassifier, "words", {"n_jobs": 2}),
    "ensemble, refit_single": (TabularMLPRegressor, "numbers", {"refit_single": True}),
    "realmlp": (TabularMLPClassifier, "binary", {"members": "realmlp"}),
}
KINDS = MLPS | TABULAR


def estimator(kind, max_iter=20):
    """Return an estimator of this kind that is not fitted."""
    cls, _, parameters = KINDS[kind]
    if kind in TABULAR:
        return cls(n_members=2, random_state=0, **parameters)
    common = {"hidden_layer_sizes": (16, 16), "max_iter": max_iter, "tol": 0, "random_state": 0}
    return cls(**common | parameters)


@functools.cache
def table(kind, n_rows=None, seed=1):
    """Return X and y for this kind of estimator."""
    n_rows = n_rows or (60 if kind in TABULAR else 400)
    X, y, _ = made.make(KINDS[kind][1], n_rows, 5, seed=seed)
    return X, y


def numbers_of(model, X):
    """Return the bits of the weights, where they can be had, and of the outputs."""
    return made.bits_of(model), made.output_of(model, X)


@functools.cache
def expected(kind, max_iter=20, seed=1):
    """Return the numbers of a fit that nothing disturbs."""
    X, y = table(kind, seed=seed)
    return numbers_of(estimator(kind, max_iter).fit(X, y), X)
