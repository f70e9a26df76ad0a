"""Many short steps on several threads: where one does not wait for another, bits change.

A step of 16 rows takes some microseconds, so that threads meet thousands of times in a fit; layers
of 256 nodes have several blocks of parameters and of columns, and every thread has some of each.
"""

import functools

import numpy as np
import pytest

from fastmlp import MLPClassifier

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
    "sgd and structure": {"solver": "sgd", "layer_norm": True, "residual": True},
    "dropout": {"dropout": 0.2, "clip_value": 0.01},
}


def bits_of_fit(options, n_threads):
    classifier = MLPClassifier(
        (256, 256), batch_size=16, max_iter=2, random_state=0, n_threads=n_threads,
        learning_rate_init=0.01, **OPTIONS[options],
    ).fit(X, Y)  # fmt: skip
    assert classifier.n_iter_ == 2
    return [array.tobytes() for array in (*classifier.coefs_, np.array(classifier.loss_curve_))]


@functools.cache
def bits_on_one_thread(options):
    return bits_of_fit(options, 1)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4])
@pytest.mark.parametrize("options", OPTIONS)
def test_bits_under_stress(options, n_threads):
    for _ in range(2):
        assert bits_of_fit(options, n_threads) == bits_on_one_thread(options)
