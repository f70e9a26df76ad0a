"""What the networks read: numbers, ranks and codes, and the input layer that makes bins of them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm, rankdata

from fastmlp import Network
from fastmlp._tabular import inputs
from fastmlp._tabular.inputs import InputMaps
from fastmlp._tabular.settings import MOST_ONE_HOT, Settings, realmlp
from fastmlp._tabular.table import Encoded

RNG = np.random.RandomState(0)


def a_table(n_rows, cardinalities, n_numbers=3):
    numbers = RNG.standard_normal((n_rows, n_numbers)).astype(np.float32)
    codes = [RNG.randint(-1, size, n_rows) for size in cardinalities]
    return Encoded(numbers, np.array(codes, np.int32).reshape(len(codes), n_rows).T.copy())


def first_layer_inputs(maps, encoded, settings):
    """All inputs of the first layer of a network with these settings."""
    network = Network(
        [maps.n_columns(settings), 1], input_layer=maps.input_layer(settings), dtype="float64"
    )
    return network.forward(maps.inputs(encoded, settings)).a[0]


@pytest.mark.parametrize("n_bins", [0, 4, 7])
def test_columns(n_bins):
    encoded = a_table(40, [3, 2])
    maps, settings = InputMaps(encoded, np.array([3, 2])), Settings(n_bins=n_bins)
    X = maps.inputs(encoded, settings)
    assert X.dtype == np.float32
    assert_array_equal(X[:, :3], encoded.numbers)
    assert_array_equal(X[:, 6:], encoded.codes)
    ranks = norm.ppf((rankdata(encoded.numbers, axis=0) - 0.5) / 40)
    highest, lowest = encoded.numbers.argmax(axis=0), encoded.numbers.argmin(axis=0)
    for rows in (highest, lowest):  # between its knots the map is linear
        assert_allclose(X[rows, np.arange(3, 6)], ranks[rows, np.arange(3)], rtol=1e-5)
    expected = []
    for x in encoded.numbers.T:
        expected.append(x[:, np.newaxis])
        if n_bins:
            edges = np.quantile(x, np.linspace(0, 1, n_bins + 1))
            shares = (x[:, np.newaxis] - edges[:-1]) / np.diff(edges)
            expected.append(np.clip(shares, 0, 1))
    expected += [X[:, 3:6], encoded.codes[:, :1] == np.arange(3)]
    expected += [encoded.codes[:, 1:] == np.arange(2)]
    assert_allclose(first_layer_inputs(maps, encoded, settings), np.hstack(expected), atol=1e-6)


@pytest.mark.parametrize("n_numbers", [0, 3])
@pytest.mark.parametrize("cardinalities", [[], [3], [400, 2]])
@pytest.mark.parametrize("has_ranks", [False, True])
def test_a_joined_table_gives_the_same_inputs(n_numbers, cardinalities, has_ranks):
    """Networks without ranks read its matrix: a large table has no further copy of it."""
    encoded = a_table(50, cardinalities, n_numbers)
    joined, settings = encoded.joined(), Settings(has_ranks=has_ranks)
    maps = InputMaps(joined, np.array(cardinalities, int))
    X = maps.inputs(joined, settings)
    assert_array_equal(X, maps.inputs(encoded, settings))
    assert np.shares_memory(X, joined.matrix) == (not has_ranks)
    assert_array_equal(joined.numbers, encoded.numbers)
    assert_array_equal(joined.codes, encoded.codes)


@pytest.mark.parametrize("cardinalities", [[], [3], [400, 2]])
@pytest.mark.parametrize("has_ranks", [False, True])
def test_parts_make_the_whole(cardinalities, has_ranks, monkeypatch):
    encoded = a_table(50, cardinalities)
    maps = InputMaps(encoded, np.array(cardinalities, int))
    settings = Settings(has_ranks=has_ranks)
    whole = maps.inputs(encoded, settings)
    assert whole.shape == (50, maps.n_columns(settings))
    monkeypatch.setattr(inputs, "ROWS_AT_A_TIME", 16)
    assert_array_equal(maps.inputs(encoded, settings), whole)


def test_many_values_are_embedded():
    encoded = a_table(50, [MOST_ONE_HOT, MOST_ONE_HOT + 1, 10], n_numbers=0)
    maps = InputMaps(encoded, np.array([MOST_ONE_HOT, MOST_ONE_HOT + 1, 10]))
    assert first_layer_inputs(maps, encoded, Settings()).shape == (50, 8 + MOST_ONE_HOT + 10)
    assert first_layer_inputs(maps, encoded, realmlp(is_regression=True)).shape == (50, 24)


def test_a_table_of_many_numbers_has_fewer_bins():
    encoded = a_table(30, [], n_numbers=300)
    maps, settings = InputMaps(encoded, np.array([], int)), Settings(n_bins=16)
    assert first_layer_inputs(maps, encoded, settings).shape == (30, 300 + 300 + 6 * 300)
    encoded = a_table(30, [], n_numbers=600)
    maps = InputMaps(encoded, np.array([], int))
    assert first_layer_inputs(maps, encoded, settings).shape == (30, 600 + 600)


def test_a_network_without_columns_has_an_input():
    encoded = Encoded(np.empty((5, 0), np.float32), np.empty((5, 0), np.int32))
    maps = InputMaps(encoded, np.array([], int))
    assert_array_equal(maps.inputs(encoded, Settings()), np.zeros((5, 1)))
    assert_array_equal(first_layer_inputs(maps, encoded, Settings()), np.zeros((5, 1)))


def test_edges_of_many_rows_are_those_of_a_sample(monkeypatch):
    encoded = a_table(1_000, [], n_numbers=1)
    monkeypatch.setattr(inputs, "MOST_ROWS_LEARNED_FROM", 300)
    edges = InputMaps(encoded, np.array([], int)).input_layer(Settings()).bin_edges[0]
    assert_allclose(edges, np.quantile(encoded.numbers[::4, 0], np.linspace(0, 1, 17)))
