"""The inputs of the networks: ranks, bins and one-hot categories."""

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm, rankdata

from fastmlp._tabular import inputs
from fastmlp._tabular.inputs import InputMaps
from fastmlp._tabular.settings import Settings
from fastmlp._tabular.table import Encoded

RNG = np.random.RandomState(0)


def a_table(n_rows, cardinalities):
    numbers = RNG.standard_normal((n_rows, 3)).astype(np.float32)
    codes = [RNG.randint(-1, size, n_rows) for size in cardinalities]
    return Encoded(numbers, np.array(codes, np.int32).reshape(len(codes), n_rows).T.copy())


@pytest.mark.parametrize("n_bins", [0, 4, 7])
def test_columns(n_bins):
    encoded = a_table(40, [3, 2])
    maps, settings = InputMaps(encoded, np.array([3, 2])), Settings(n_bins=n_bins)
    maps.learn(settings)
    X = maps.inputs(encoded, settings)
    assert X.dtype == np.float32
    assert_array_equal(X[:, :3], encoded.numbers)
    ranks = norm.ppf((rankdata(encoded.numbers, axis=0) - 0.5) / 40)
    highest, lowest = encoded.numbers.argmax(axis=0), encoded.numbers.argmin(axis=0)
    for rows in (highest, lowest):  # between its knots the map is linear
        assert_allclose(X[rows, np.arange(3, 6)], ranks[rows, np.arange(3)], rtol=1e-5)
    for j, x in enumerate(encoded.numbers.T):
        if n_bins:
            edges = np.quantile(x, np.linspace(0, 1, n_bins + 1))
            part = X[:, 6 + j * n_bins : 6 + (j + 1) * n_bins]
            shares = (x[:, np.newaxis] - edges[:-1]) / np.diff(edges)
            assert_allclose(part, np.clip(shares, 0, 1), atol=1e-5)
    ones = X[:, 6 + 3 * n_bins :]
    assert_array_equal(ones[:, :3], encoded.codes[:, :1] == np.arange(3))
    assert_array_equal(ones[:, 3:], encoded.codes[:, 1:] == np.arange(2))


@pytest.mark.parametrize("cardinalities", [[], [3], [400]])
@pytest.mark.parametrize("n_bins", [0, 5])
def test_parts_make_the_whole(cardinalities, n_bins, monkeypatch):
    encoded = a_table(50, cardinalities)
    maps, settings = InputMaps(encoded, np.array(cardinalities, int)), Settings(n_bins=n_bins)
    maps.learn(settings)
    whole = maps.inputs(encoded, settings)
    assert scipy.sparse.issparse(whole) == (cardinalities == [400])
    monkeypatch.setattr(inputs, "ROWS_AT_A_TIME", 16)
    parts = maps.inputs(encoded, settings)
    if scipy.sparse.issparse(whole):
        whole, parts = whole.toarray(), parts.toarray()
    assert_array_equal(parts, whole)


def test_a_table_of_many_numbers_has_fewer_bins():
    encoded = Encoded(RNG.standard_normal((30, 300)).astype(np.float32), np.empty((30, 0), int))
    maps, settings = InputMaps(encoded, np.array([], int)), Settings(n_bins=16)
    maps.learn(settings)
    assert maps.inputs(encoded, settings).shape == (30, 300 + 300 + 6 * 300)


def test_a_network_without_columns_has_an_input():
    encoded = Encoded(np.empty((5, 0), np.float32), np.empty((5, 0), np.int32))
    maps = InputMaps(encoded, np.array([], int))
    maps.learn(Settings())
    assert_array_equal(maps.inputs(encoded, Settings()), np.zeros((5, 1)))
