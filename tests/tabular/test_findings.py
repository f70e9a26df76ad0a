"""What `diagnose` says about the estimators for tables."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from fastmlp import TabularMLPClassifier, TabularMLPRegressor, diagnose

RNG = np.random.RandomState(0)
X = RNG.standard_normal((200, 3))
SIGNAL = X[:, 0] - X[:, 1]


def names(model):
    return [finding.name for finding in diagnose(model)]


def test_nothing_stands_out():
    regressor = TabularMLPRegressor(n_members=2, random_state=0).fit(X, SIGNAL)
    assert str(diagnose(regressor)) == "Nothing stands out."
    assert names(TabularMLPClassifier(n_members=2, random_state=0).fit(X, SIGNAL > 0)) == []


@pytest.mark.parametrize("weight", [None, np.arange(1.0, 201.0)])
def test_targets_that_do_not_depend_on_the_columns(weight):
    y = RNG.permutation(SIGNAL)
    regressor = TabularMLPRegressor(n_members=2, random_state=0).fit(X, y, weight)
    assert names(regressor) == ["nothing learned"]
    classifier = TabularMLPClassifier(n_members=2, random_state=0).fit(X, y > 1, weight)
    assert names(classifier) == ["nothing learned"]


def test_a_fit_whose_time_is_over():
    model = TabularMLPRegressor(n_members=2, max_seconds=1e-6, random_state=0).fit(X, SIGNAL)
    assert "cut short" in names(model)


def test_a_category_that_names_the_rows():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(X, columns=list("abc")).assign(
        key=[f"row {i}" for i in range(200)], kind=np.arange(200).astype(str).astype("U1")
    )
    model = TabularMLPRegressor(n_members=2, random_state=0).fit(table, SIGNAL)
    (finding,) = diagnose(model)
    assert finding.name == "identifiers"
    assert "categories key have more than 100 values in 200 rows" in finding.what


def test_before_the_fit():
    with pytest.raises(NotFittedError):
        diagnose(TabularMLPRegressor())
