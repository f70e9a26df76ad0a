"""Whether a change leaves every bit as it was: hashes of what a fixed set of fits comes to.

    python tests/hashes.py write before.json     # with the code as it was
    python tests/hashes.py compare before.json   # with the code as it is

Only public names are used, so that the code may be rearranged in between. The hashes depend on the
versions of NumPy, SciPy and scikit-learn: write and compare on one machine.
"""

import argparse
import hashlib
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse

from fastmlp import InputLayer, MLPClassifier, MLPRegressor, Network

N_ROWS, N_FEATURES = 700, 23
COMMON = {"hidden_layer_sizes": (40, 40), "max_iter": 4, "random_state": 0}
SOLVERS = ("sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad", "adadelta", "rprop", "lbfgs")
ACTIVATIONS = (
    "identity", "logistic", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish",
    "softplus",
)  # fmt: skip
LOSSES = {
    "squared_error": {}, "absolute_error": {}, "huber": {"delta": 0.5},
    "quantile": {"quantiles": [0.1, 0.5, 0.9]}, "poisson": {}, "gamma": {},
    "tweedie": {"power": 1.3},
}  # fmt: skip
SCHEDULES = (
    "step",
    "exponential",
    "cosine",
    "cosine_restarts",
    "one_cycle",
    "coslog4",
    "flat_cosine",
    "plateau",
)
REGULARIZERS = {
    "l1": 1e-3, "alpha": 0.1, "weight_decay": 0.1, "dropout": 0.3, "input_dropout": 0.2,
    "input_noise": 0.1, "max_norm": 0.5, "clip_norm": 0.1, "clip_value": 1e-3, "averaging": 0.9,
    "layer_norm": True, "residual": True, "early_stopping": True, "batch_size": 64,
    "learned_activation": True, "parametrization": "ntk",
    "learning_rate_factors": {"bias": 0.1}, "init": "he_normal",
    "shuffle": False, "diagnostics": True,
}  # fmt: skip


def fits():
    """Name: an estimator, and whether its rows are sparse."""
    classifiers = {f"solver {name}": {"solver": name} for name in SOLVERS}
    classifiers |= {f"activation {name}": {"activation": name} for name in ACTIVATIONS}
    classifiers |= {f"schedule {name}": {"learning_rate": name} for name in SCHEDULES}
    classifiers |= {f"{name}={value}": {name: value} for name, value in REGULARIZERS.items()}
    classifiers |= {f"schedule of sgd {name}": {"solver": "sgd", "learning_rate": name}
                    for name in ("invscaling", "adaptive")}  # fmt: skip
    classifiers |= {
        "amsgrad": {"solver_params": {"amsgrad": True}},
        "smoothing": {"loss_params": {"label_smoothing": 0.1}},
        "squared error": {"loss": "squared_error"},
        "parts": {"batch_size": 1_500, "clip_norm": 0.1, "l1": 1e-3},
        "float64": {"dtype": "float64"},
        "no hidden layer": {"hidden_layer_sizes": ()},
        "class weights": {"class_weight": "balanced"},
        "cosines": {"input_layer": InputLayer(numeric_embedding="pbld", scaling=True)},
    }
    for name, settings in classifiers.items():
        yield name, MLPClassifier(**COMMON | settings), False
    yield "sparse", MLPClassifier(**COMMON), True
    yield "sparse lbfgs", MLPClassifier(**COMMON, solver="lbfgs"), True
    for loss, params in LOSSES.items():
        yield f"loss {loss}", MLPRegressor(loss, **COMMON, loss_params=params), False


def data_for(estimator, name, is_sparse):
    generator = np.random.RandomState(7)
    n_rows = 3 * N_ROWS if name == "parts" else N_ROWS
    X = generator.standard_normal((n_rows, N_FEATURES))
    scores = X[:, :3] + 0.3 * generator.standard_normal((n_rows, 3))
    weight = generator.uniform(0.5, 2, n_rows)
    if is_sparse:
        X = scipy.sparse.csr_matrix(X * (X > 1))
    is_classifier = isinstance(estimator, MLPClassifier)
    return X, scores.argmax(axis=1) if is_classifier else np.exp(scores[:, 0]), weight


def outcome(name, estimator, is_sparse, n_threads):
    """All numbers that a fit leaves behind, as bytes."""
    X, y, weight = data_for(estimator, name, is_sparse)
    estimator.set_params(n_threads=n_threads).fit(X, y, weight)
    predict = getattr(estimator, "predict_proba", estimator.predict)
    curve = getattr(estimator, "loss_curve_", [estimator.loss_])
    few = X[:5].astype(np.float32)
    numbers = [*estimator.coefs_, *estimator.intercepts_, curve, predict(X), predict(few)]
    return b"".join(np.ascontiguousarray(array).tobytes() for array in numbers)


def outcome_of_network(dtype):
    generator = np.random.RandomState(3)
    X, y = generator.standard_normal((300, 9)), generator.randint(0, 4, 300)
    network = Network([9, 30, 4], "gelu", "log_loss", dtype=dtype, random_state=0)
    loss, delta, dW, db = network.loss_and_gradients(X, y, alpha=0.1)
    z, a = network.forward(X)
    return b"".join(array.tobytes() for array in [np.array(loss), *delta, *dW, *db, *z, *a])


def hashes():
    """Name: the hash of its outcome."""
    result = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, estimator, is_sparse in fits():
            outcomes = {outcome(name, estimator, is_sparse, n_threads) for n_threads in (1, 2)}
            if len(outcomes) > 1:
                sys.exit(f"{name}: the number of threads changes the bits")
            result[name] = hashlib.sha256(sorted(outcomes)[0]).hexdigest()
        for dtype in ("float32", "float64"):
            result[f"network {dtype}"] = hashlib.sha256(outcome_of_network(dtype)).hexdigest()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("write", "compare"))
    parser.add_argument("path", type=Path)
    given = parser.parse_args()
    found = hashes()
    if given.command == "write":
        given.path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{len(found)} hashes written to {given.path}")
        return 0
    before = json.loads(given.path.read_text(encoding="utf-8"))
    others = [name for name in before if found.get(name) != before[name]]
    print(f"{len(before) - len(others)} of {len(before)} are as they were", *others, sep="\n  ")
    return int(bool(others))


if __name__ == "__main__":
    sys.exit(main())
