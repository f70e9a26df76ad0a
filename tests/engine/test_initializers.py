"""First weights."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastmlp import MLPClassifier, Network
from fastmlp._engine.initializers import INITIALIZERS

VARIANCES = {  # of a weight between 300 and 200 nodes
    "glorot": 2 / 500,
    "he": 2 / 300,
    "lecun": 1 / 300,
}


def first_weights(init):
    return Network([300, 200], init=init, random_state=0, dtype="float64")


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if "_" in name])
def test_variance(name):
    W = first_weights(name).W[0]
    family, distribution = name.split("_")
    assert_allclose(W.var(), VARIANCES[family], rtol=0.02)
    assert_allclose(W.mean(), 0, atol=1e-3)
    # the largest of 60,000 numbers in standard deviations
    bounds = (1.72, np.sqrt(3)) if distribution == "uniform" else (3.5, 6)
    assert bounds[0] < abs(W).max() / W.std() < bounds[1] * 1.01


@pytest.mark.parametrize("sizes", [(30, 20), (20, 30), (20, 20)])
def test_orthogonal(sizes):
    W = Network(sizes, init="orthogonal", random_state=0, dtype="float64").W[0]
    product = W.T @ W if sizes[0] >= sizes[1] else W @ W.T
    assert_allclose(product, np.eye(20), atol=1e-12)


def test_biases_are_zero_but_for_those_of_scikit_learn():
    assert not first_weights("he_normal").b[0].any()
    assert first_weights(None).b[0].all()


def test_one_for_each_layer():
    given = np.arange(12.0).reshape(3, 4)
    network = Network(
        [2, 3, 4, 5], init=[lambda shape, random_state: np.ones(shape), given, "zeros"]
    )
    assert (network.W[0] == 1).all()
    assert (network.W[1] == given).all()
    assert not network.W[2].any()


def test_function_draws_from_the_random_state():
    def init(shape, random_state):
        return random_state.uniform(size=shape)

    twins = [MLPClassifier(init=init, random_state=7).initialize(3, [0, 1]) for _ in range(2)]
    assert (twins[0].coefs_[0] == twins[1].coefs_[0]).all()
    assert twins[0].coefs_[0].min() > 0


def test_zeros_for_the_last_layer():
    classifier = MLPClassifier((5,), init=["he_uniform", "zeros"]).initialize(3, [0, 1, 2])
    assert (classifier.predict_proba(np.ones((2, 3))) == 1 / 3).all()
