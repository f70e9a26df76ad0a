"""The service of examples/serving: single rows, values that JSON has, and concurrent requests."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fastmlp import TabularMLPClassifier, TabularMLPRegressor

FILE = Path(__file__).parent.parent / "examples" / "serving" / "service.py"

RNG = np.random.RandomState(0)
TABLE = pd.DataFrame(
    {
        "size": RNG.standard_normal(120).round(2),
        "kind": RNG.choice(["a", "b"], 120),
        "flag": RNG.random_sample(120) < 0.5,
    }
)
TARGET = (TABLE["size"] > 0) + 2 * (TABLE["kind"] == "b")


@pytest.fixture(scope="module")
def service():
    spec = importlib.util.spec_from_file_location("service", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def classifier(service, tmp_path_factory):
    """A model and the address of the service of its file."""
    model = TabularMLPClassifier(n_members=2, random_state=0).fit(TABLE, TARGET)
    path = tmp_path_factory.mktemp("models") / "kinds.safetensors"
    model.save(path)
    with service.running(service.service(path)) as address:
        yield model, address


def rows_of(table):
    return table.astype(object).where(table.notna(), None).to_dict("records")


def test_a_single_row_and_many(service, classifier):
    model, address = classifier
    expected = model.predict_proba(TABLE)
    for n in (1, 120):
        answers = service.ask(address, rows_of(TABLE[:n]))
        assert [answer["label"] for answer in answers] == model.predict(TABLE[:n]).tolist()
        given = [[*answer["probabilities"].values()] for answer in answers]
        assert (np.array(given) == expected[:n]).all()
        assert [*answers[0]["probabilities"]] == ["0", "1", "2", "3"]


def test_missing_values_and_the_order_of_columns(service, classifier):
    model, address = classifier
    (answer,) = service.ask(address, [{"kind": None, "flag": True, "size": None}])
    row = pd.DataFrame({"size": [np.nan], "kind": [None], "flag": [True]})
    assert [*answer["probabilities"].values()] == model.predict_proba(row)[0].tolist()


def test_errors_name_the_column(service, classifier):
    _, address = classifier
    assert "- kind" in service.ask(address, [{"size": 1, "flag": True}])["detail"]
    row = {"size": 1, "kind": "a", "flag": True}
    assert "- colour" in service.ask(address, [row | {"colour": 3}])["detail"]
    assert "'size'" in service.ask(address, [row | {"size": "large"}])["detail"]
    assert "0 sample" in service.ask(address, [])["detail"]
    assert service.ask(address, {"size": 1})["detail"]


def test_concurrent_requests(service, classifier):
    model, address = classifier
    expected = model.predict_proba(TABLE)

    def ask(i):
        (answer,) = service.ask(address, rows_of(TABLE[i : i + 1]))
        return [*answer["probabilities"].values()]

    with ThreadPoolExecutor(8) as threads:
        given = list(threads.map(ask, range(120)))
    assert (np.array(given) == expected).all()


def test_regression(service, tmp_path):
    model = TabularMLPRegressor(n_members=2, random_state=0).fit(TABLE, TARGET * 1.5)
    model.save(tmp_path / "numbers.safetensors")
    with service.running(service.service(tmp_path / "numbers.safetensors")) as address:
        answers = service.ask(address, rows_of(TABLE[:5]))
    assert [answer["value"] for answer in answers] == model.predict(TABLE[:5]).tolist()
