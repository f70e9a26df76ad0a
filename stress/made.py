"""Small tables, good ones and bad ones, and what is compared of an estimator."""

import hashlib
import pickle

import numpy as np
import pandas as pd
import scipy.sparse

# Attributes of a fit that is under way, and those that the next fit makes anew.
NOT_COMPARED = {"_in_training", "_checked_parameters", "_generator"}

CLASSIFICATION = ("binary", "words", "multiclass", "multilabel")
REGRESSION = ("numbers", "several", "counts")
KINDS = (
    "float64", "float32", "float16", "int64", "int8", "uint8", "bool", "fortran", "strided",
    "reversed", "list", "frame", "csr", "csc", "coo", "csr32", "readonly",
)  # fmt: skip


def loss_of_user(y, z):
    """The squared error, as a function of a user."""
    return 0.5 * ((z - y) ** 2).sum(axis=1), z - y


class FailureOfUser(Exception):
    """Raised by a function of a user."""


def fails(*arguments, **keywords):
    """Raise an exception of its own, as a function of a user may do."""
    raise FailureOfUser


def end_after_two(estimator, state):
    """End the training after two epochs, as a callback."""
    return state.epoch == 2


def goes_on(estimator, state):
    """Let the training go on, as a callback."""
    return False


def as_kind(X, kind):
    """Return the numbers in another type, layout or container."""
    if kind in ("float64", "float32", "float16", "int64", "int8", "uint8", "bool"):
        return X.astype(kind)
    return {
        "fortran": np.asfortranarray,
        "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
        "reversed": lambda X: X[::-1].copy()[::-1],
        "list": lambda X: X.tolist(),
        "frame": lambda X: pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])]),
        "csr": scipy.sparse.csr_matrix,
        "csc": scipy.sparse.csc_array,
        "coo": scipy.sparse.coo_array,
        "csr32": lambda X: scipy.sparse.csr_array(X.astype(np.float32)),
        "readonly": read_only,
    }[kind](X)


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def make(task, n_rows, n_features, kind="float64", seed=0, n_codes=0):
    """Return X, y and weights. The last ``n_codes`` columns of X are codes from 0 to 3."""
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((n_rows, n_features))
    if kind in ("csr", "csc", "coo", "csr32"):
        X *= rng.uniform(size=X.shape) < 0.4
    if kind in ("uint8", "int8", "int64"):
        X = np.abs(X * 3).round()
    if n_codes:
        X[:, n_features - n_codes :] = rng.randint(0, 4, (n_rows, n_codes))
    z = X @ rng.standard_normal((n_features, 3)) + 0.3 * rng.standard_normal((n_rows, 3))
    y = {
        "binary": (z[:, 0] > 0).astype(int),
        "words": np.array(["no", "yes"])[(z[:, 0] > 0).astype(int)],
        "multiclass": z.argmax(axis=1) * 10,
        "multilabel": (z > 0).astype(int),
        "numbers": z[:, 0],
        "several": z,
        "counts": rng.poisson(np.exp(np.clip(z[:, 0] / 2, -2, 2))) + 1,
    }[task]
    return as_kind(X, kind), y, rng.uniform(0.1, 2, n_rows)


def dense(X):
    """Return a float64 array with the numbers of X, to be spoiled."""
    X = X.toarray() if scipy.sparse.issparse(X) else X
    return np.array(X, dtype=np.float64)


def with_value(value):
    def spoil(X):
        X = dense(X)
        X.flat[X.size // 2] = value
        return X

    return spoil


SPOILED_X = {
    "nan": with_value(np.nan),
    "inf": with_value(np.inf),
    "minus inf": with_value(-np.inf),
    "1e300": with_value(1e300),
    "1e38": with_value(3.4e38),
    "more columns": lambda X: np.hstack([dense(X)] * 2),
    "fewer columns": lambda X: dense(X)[:, :-1],
    "fewer rows": lambda X: dense(X)[:-1],
    "no rows": lambda X: dense(X)[:0],
    "one row": lambda X: dense(X)[:1],
    "no columns": lambda X: dense(X)[:, :0],
    "1-D": lambda X: dense(X)[0],
    "3-D": lambda X: dense(X)[None],
    "number": lambda X: 3.0,
    "none": lambda X: None,
    "text": lambda X: "text",
    "words": lambda X: dense(X).astype(str).astype(object) + np.array("a", dtype=object),
    "complex": lambda X: dense(X) * 1j,
    "objects": lambda X: np.full(dense(X).shape, None),
    "ragged": lambda X: [[1.0], [1.0, 2.0]],
    "nan in sparse": lambda X: scipy.sparse.csr_array(with_value(np.nan)(X)),
    "huge columns": lambda X: scipy.sparse.csr_array((dense(X).shape[0], 2**33)),
    "dict": lambda X: {"a": 1},
}

SPOILED_Y = {
    "nan": lambda y: np.where(np.arange(len(y)) == 1, np.nan, dense(y).reshape(len(y), -1)[:, 0]),
    "inf": lambda y: np.full(len(y), np.inf),
    "1e300": lambda y: np.full(len(y), 1e300),
    "negative": lambda y: np.full(len(y), -1.0),
    "words": lambda y: np.full(len(y), "word"),
    "fewer": lambda y: y[:-1],
    "more": lambda y: np.concatenate([y, y]),
    "none": lambda y: None,
    "one": lambda y: np.ones(len(y), int),
    "empty": lambda y: y[:0],
    "3-D": lambda y: np.zeros((len(y), 2, 2)),
    "columns": lambda y: np.zeros((len(y), 5)),
    "no columns": lambda y: np.zeros((len(y), 0)),
    "objects": lambda y: np.array([None, "a", 1] * len(y), dtype=object)[: len(y)],
    "many": lambda y: np.arange(len(y)),
    "complex": lambda y: np.ones(len(y)) * 1j,
}

SPOILED_WEIGHT = {
    "nan": lambda w: np.full(len(w), np.nan),
    "inf": lambda w: np.full(len(w), np.inf),
    "negative": lambda w: -w,
    "zero": lambda w: np.zeros(len(w)),
    "fewer": lambda w: w[:-1],
    "2-D": lambda w: w[:, None] @ w[None],
    "words": lambda w: w.astype(str).astype(object) + "a",
    "1e300": lambda w: np.full(len(w), 1e300),
    "1e-300": lambda w: np.full(len(w), 1e-300),
    "number": lambda w: 2.0,
}


def spoiled(table, how):
    """Return X with a fault."""
    return SPOILED_X[how](table)


def spoiled_y(y, how):
    """Return y with a fault."""
    try:
        return SPOILED_Y[how](y)
    except ValueError:  # words cannot be numbers
        return None


def spoiled_weight(weight, how):
    """Return weights with a fault."""
    return SPOILED_WEIGHT[how](weight)


def some_rows(X, start, stop):
    """Return a slice of the rows of any container."""
    if scipy.sparse.issparse(X):
        return X.tocsr()[start:stop]
    return X.iloc[start:stop] if hasattr(X, "iloc") else X[start:stop]


def batches(X, y, n_rows=17):
    """Return a function that gives batches of the rows, as `fit_stream` takes it."""

    def give():
        for start in range(0, len(y), n_rows):
            yield some_rows(X, start, start + n_rows), y[start : start + n_rows]

    return give


def state_of(model):
    """Return the bytes of all attributes: parameters, weights, history, state of the solver."""
    attributes = {k: v for k, v in vars(model).items() if k not in NOT_COMPARED}
    if isinstance(attributes.get("random_state"), np.random.RandomState):
        del attributes["random_state"]  # an object of the user's, which a fit draws from
    return {name: digest(pickle.dumps(value)) for name, value in attributes.items()}


def digest(data):
    return hashlib.sha1(data).hexdigest()


def bits_of(model):
    """Return the bytes of all weights of a fitted estimator, or None if it is not fitted."""
    if not hasattr(model, "coefs_"):
        return None
    arrays = [*model.coefs_, *model.intercepts_]
    arrays += [view for pair in getattr(model, "norms_", ()) if pair for view in pair]
    arrays += [view for view in getattr(model, "mixes_", ()) if view is not None]
    arrays += list(getattr(model, "input_parameters_", {}).values())
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


def output_of(model, X):
    """Return the bytes of the probabilities or of the predictions."""
    method = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    return np.ascontiguousarray(method(X)).tobytes()
