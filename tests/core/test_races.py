"""Many short steps on several threads: where one does not wait for another, bits change.

A step of 16 rows takes some microseconds, so that threads meet thousands of times in a fit; layers
of 256 nodes have several blocks of parameters and of columns, and every thread has some of each.
"""

import functools

import numpy as np
import pytest

from fastmlp import InputLayer, MLPClassifier, Network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.standard_normal((1600, 256)).astype(np.float32)
Y = RNG.randint(0, 64, len(X))

OPTIONS = {
    "nothing": {},
    "clip_norm": {"clip_norm": 0.1},
    "max_norm": {"max_norm": 0.9},
    "averaging": {"averaging": 0.99},
    "all three": {"clip_norm": 0.1, "max_norm": 0.9, "averaging": 0.99},
    "sgd and structure": {
        "solver": "sgd",
        "layer_norm": True,
        "residual": True,
        "learned_activation": True,
    },
    "dropout": {"dropout": 0.2, "clip_value": 0.01},
    "inputs": {
        "input_layer": InputLayer(numeric_embedding="pbld", n_frequencies=3, scaling=True),
        "parametrization": "ntk",
    },
}


def bits_of_fit(options, n_threads):
    classifier = MLPClassifier(
        (256, 256), batch_size=16, max_iter=2, random_state=0, n_threads=n_threads,
        learning_rate_init=0.01, **OPTIONS[options],
    ).fit(X, Y)  # fmt: skip
    assert classifier.n_iter_ == 2
    return [array.tobytes() for array in (*classifier.coefs_, np.array(classifier.loss_curve_))]


def bits_of_lbfgs(n_threads):
    """Passes over three blocks of rows."""
    classifier = MLPClassifier(
        (64, 64), solver="lbfgs", max_iter=40, random_state=0, dtype="float32", n_threads=n_threads
    ).fit(X[:384], Y[:384])
    return [array.tobytes() for array in (*classifier.coefs_, np.array(classifier.loss_))]


def bits_of_single_rows(n_threads):
    """Through layers so wide that threads share out their columns."""
    sizes = (256, 700, 650, 64, 700, 3)
    network = Network(sizes, "tanh", "log_loss", random_state=0, n_threads=n_threads)
    return [network.output(X[i : i + 1]).tobytes() for i in range(300)]


FUNCTIONS = {name: functools.partial(bits_of_fit, name) for name in OPTIONS} | {
    "lbfgs": bits_of_lbfgs,
    "single_rows": bits_of_single_rows,
}


@functools.cache
def bits_on_one_thread(name):
    return FUNCTIONS[name](1)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_bits_under_stress(name, n_threads):
    for _ in range(2):
        assert FUNCTIONS[name](n_threads) == bits_on_one_thread(name)
