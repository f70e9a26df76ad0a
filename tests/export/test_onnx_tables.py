"""The estimators for tables in onnxruntime, beside their own predictions."""

import datetime
import re

import numpy as np
import onnx
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx_outputs import N_ROWS, assert_agree, assert_same_labels, outputs

from fastmlp import TabularMLPClassifier, TabularMLPRegressor, to_onnx
from fastmlp._onnx.columns import Sources, inputs_of_table
from fastmlp._onnx.graph import Graph, model_of
from fastmlp._onnx.table import add_inputs
from fastmlp._tabular.ensemble import Ensemble, Part
from fastmlp._tabular.inputs import InputMaps
from fastmlp._tabular.member import Member
from fastmlp._tabular.regressor import Scale
from fastmlp._tabular.settings import Settings, draw_settings
from fastmlp._tabular.table import TableEncoder

MICROSECOND, SECOND = "timedelta64[us]", np.timedelta64(1, "s")
CITIES = ["Bonn", "Ulm", "Köln", " ", "bonn"]


def dates(rng, n):
    """Dates of two centuries, a tenth of them at the very beginning or end of an hour."""
    seconds = rng.randint(-80 * 365 * 86_400, 120 * 365 * 86_400, n)
    at_edge = rng.uniform(size=n) < 0.1
    seconds[at_edge] = seconds[at_edge] // 3600 * 3600
    micro = np.where(at_edge, rng.choice([-1, 0, 1], n), rng.randint(0, 10**6, n))
    return np.datetime64("1970-01-01", "us") + (seconds * 10**6 + micro).astype(MICROSECOND)


def table(n, seed, *, is_unseen=False):
    """Columns of all kinds; with values that are not in the training rows."""
    rng = np.random.RandomState(seed)
    joined = pd.Series(dates(rng, n))
    frame = pd.DataFrame({
        "size": 3 * rng.standard_normal(n),
        "count": rng.poisson(3, n),
        "complete": rng.uniform(size=n),
        "city": rng.choice(CITIES + ["Rom", "ulm"] * is_unseen, n).astype(object),
        "tag": rng.choice(["", "x", "y"], n).astype(object),
        "nothing": np.nan,
        "constant": 1.0,
        "one word": "same",
        "married": (rng.uniform(size=n) < 0.5).astype(object),
        "smokes": rng.uniform(size=n) < 0.3,
        "joined": joined,
        "seen": joined.sample(frac=1, random_state=seed).to_numpy(),
        "zoned": joined.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"),
        "served": rng.randint(0, 10**9, n).astype("timedelta64[ms]"),
        "grade": pd.Categorical(rng.choice([0.0, 1.5, 2.5, 1e9] + [-7.0, 2.0] * is_unseen, n)),
    })  # fmt: skip
    for name in ("size", "city", "tag", "married", "joined", "zoned", "served", "grade"):
        frame.loc[rng.uniform(size=n) < 0.1, name] = None
    if is_unseen:
        unusual = [np.nan, np.inf, -np.inf, 1e12, -1e12, 1e-300]
        frame.loc[: len(unusual) - 1, "complete"] = unusual
    return frame


def fed(frame, model):
    """The inputs of the model of ONNX for a frame, by the conventions that its inputs state."""
    found = {}
    for given in model.graph.input:
        name, meaning = given.name, given.doc_string
        if name.endswith(": UTC offset"):
            zoned = frame[name.removesuffix(": UTC offset")].dt
            offset = zoned.tz_localize(None) - zoned.tz_convert("UTC").dt.tz_localize(None)
            values = offset.dt.total_seconds()
        elif meaning.startswith("strings"):
            (missing,) = re.findall("'(.*)'", meaning)
            values = frame[name].fillna(missing)
        elif meaning.startswith("seconds since 1970"):
            start = pd.Timestamp(0, tz=getattr(frame[name].dtype, "tz", None))
            values = (frame[name] - start).dt.total_seconds()
        elif meaning.startswith("seconds"):
            values = frame[name].dt.total_seconds()
        else:
            values = frame[name].astype(float)
        is_string = given.type.tensor_type.elem_type == onnx.TensorProto.STRING
        found[name] = values.to_numpy(object if is_string else float)[:, np.newaxis]
    return found


TRAINING, ROWS = table(600, 0), table(N_ROWS, 1, is_unseen=True)
SIGNAL = (
    TRAINING["size"].fillna(1)
    + TRAINING["joined"].dt.month.fillna(13) / 4
    + 2 * (TRAINING["city"] == "Bonn")
    + 2 * (TRAINING["grade"] == 1.5)
    + TRAINING["smokes"]
).to_numpy()
CLASSES = np.array(["high", "low", "middle"])[np.digitize(SIGNAL, [0.5, 3])]
KINDS = {
    "ensemble": {"n_members": 4},
    "student": {"n_members": 4, "refit_single": True},
    "realmlp": {"members": "realmlp", "max_seconds": 0.7},
}


def fit(estimator, X, y, kind="ensemble"):
    return estimator(**KINDS[kind], random_state=0).fit(X, y)


def assert_predictions_agree(model, converted, feed, rows):
    got = outputs(converted, feed)
    if isinstance(model, TabularMLPRegressor):
        assert list(got) == ["variable"]
        assert_agree(got["variable"], model.predict(rows)[:, np.newaxis])
        return
    assert list(got) == ["label", "probabilities"]
    expected = model.predict_proba(rows)
    assert_agree(got["probabilities"], expected)
    assert_same_labels(got["label"], model.predict(rows), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("estimator", [TabularMLPClassifier, TabularMLPRegressor])
def test_data_frames(estimator, kind):
    """Columns of all kinds, of pandas and with values that no training row had."""
    is_classifier = estimator is TabularMLPClassifier
    model = fit(estimator, TRAINING, CLASSES if is_classifier else SIGNAL, kind)
    converted = to_onnx(model)
    names = list(TRAINING)
    names.insert(names.index("zoned") + 1, "zoned: UTC offset")
    assert [one.name for one in converted.graph.input] == names
    assert [one.domain for one in converted.opset_import] == ["", "ai.onnx.ml"]
    assert {n.op_type for n in converted.graph.node if n.domain} == {"LabelEncoder"}
    assert_predictions_agree(model, converted, fed(ROWS, converted), ROWS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("estimator", [TabularMLPClassifier, TabularMLPRegressor])
def test_arrays(estimator, dtype):
    """One input of float64, with categories, missing values and two classes."""
    rng = np.random.RandomState(0)
    X = 10 * rng.standard_normal((N_ROWS, 4))
    X[:, 2] = rng.randint(-2, 6, N_ROWS)
    X = X.astype(dtype)
    training = X[:400]
    if dtype != np.int64:
        X[rng.uniform(size=X.shape) < 0.1] = np.nan
        X[400:410] = np.inf
        X[410:420] = -np.inf
    training = np.where(X[:400] == 5, 4, X[:400])  # 5 is a category that it does not have
    y = np.nan_to_num(training[:, 0]) > 1
    model = estimator(n_members=2, categorical_features=[2], random_state=0).fit(training, y)
    converted = to_onnx(model)
    assert [one.name for one in converted.graph.input] == ["X"]
    assert [one.domain for one in converted.opset_import] == [""]
    assert_predictions_agree(model, converted, {"X": X.astype(np.float64)}, X)


def test_rows_of_objects():
    """Strings in an array without names: an input for each column."""
    X = [[1.0, "a"], [2.0, None], [3.0, "b"]] * 30
    y = [1.0, 2.0, 5.0] * 30
    model = fit(TabularMLPRegressor, X, y)
    feed = {"x0": [[1.0], [np.nan], [9.0]], "x1": [["a"], [""], ["new"]]}
    feed = {"x0": np.array(feed["x0"]), "x1": np.array(feed["x1"], object)}
    got = outputs(to_onnx(model), feed)["variable"]
    expected = model.predict([[1.0, "a"], [None, None], [9.0, "new"]])
    assert_allclose(got[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_columns_that_do_not_vary(library):
    """The networks then have one input, which is 0."""
    X = library({"a": [1.0] * 40, "b": ["same"] * 40})
    model = fit(TabularMLPRegressor, X, np.arange(40.0))
    feed = {"a": np.ones((3, 1)), "b": np.array([["same"]] * 3, object)}
    got = outputs(to_onnx(model), feed)["variable"]
    assert_allclose(got[:, 0], model.predict(X)[:3], rtol=1e-5)


def test_empty_string_and_missing():
    """Both are categories, so one of them needs another name."""
    values = ["", "missing", None, "x"] * 20
    model = fit(TabularMLPRegressor, pd.DataFrame({"a": values}), [1.0, 2.0, 3.0, 4.0] * 20)
    converted = to_onnx(model)
    assert converted.graph.input[0].doc_string == "strings; 'missing_' where missing"
    feed = np.array([[""], ["missing"], ["missing_"], ["x"], ["new"]], object)
    got = outputs(converted, {"a": feed})["variable"][:, 0]
    rows = pd.DataFrame({"a": ["", "missing", None, "x", "new"]})
    assert_allclose(got, model.predict(rows), rtol=1e-5)
    assert len(set(np.round(got, 2))) == 5


def test_columns_with_the_names_of_outputs():
    X = pd.DataFrame({"label": np.arange(40.0), "probabilities": 1.0, "label_": 2.0})
    converted = to_onnx(fit(TabularMLPClassifier, X, np.arange(40) > 20))
    assert [one.name for one in converted.graph.output] == ["label__", "probabilities_"]


def test_columns_without_inputs_in_onnx():
    y = np.arange(40.0)
    with pytest.raises(ValueError, match="column without a name"):
        to_onnx(fit(TabularMLPRegressor, pd.DataFrame({"": y}), y))
    zoned = pd.Series(dates(np.random.RandomState(0), 40)).dt.tz_localize("UTC")
    X = pd.DataFrame({"a": zoned.dt.tz_convert("Asia/Tokyo"), "a: UTC offset": y})
    with pytest.raises(ValueError, match="'a: UTC offset'"):
        to_onnx(fit(TabularMLPRegressor, X, y))


@pytest.mark.parametrize("has_ranks", [False, True])
@pytest.mark.parametrize("scaling", ["quantile", "robust"])
def test_what_the_networks_read(scaling, has_ranks):
    """The matrix itself, whose numbers differ in the last bits at most; ties are at the knots."""
    encoder = TableEncoder(scaling=scaling)
    training = TRAINING.assign(size=TRAINING["size"].round(1))
    rows = ROWS.assign(size=ROWS["size"].round(1))
    maps = InputMaps(encoder.fit_transform(training), encoder.cardinalities)
    settings = Settings(has_ranks=has_ranks)
    inputs = inputs_of_table(encoder)
    graph = Graph(taken=[one.name for one in inputs] + ["all"])
    sources = Sources(graph, single={one.name: one.name for one in inputs})
    graph.add("Identity", add_inputs(graph, sources, encoder, maps, settings), result="all")
    info = onnx.helper.make_tensor_value_info
    types = {object: onnx.TensorProto.STRING, np.float64: onnx.TensorProto.DOUBLE}
    given = [info(one.name, types[one.dtype], [None, 1], one.meaning) for one in inputs]
    given_out = [info("all", onnx.TensorProto.FLOAT, [None, maps.n_columns(settings)])]
    model = model_of(graph, given, given_out, "the inputs of a table")
    got = outputs(model, fed(rows, model))["all"]
    expected = maps.inputs(encoder.transform(rows), settings)
    assert_allclose(got, expected, rtol=2e-7, atol=1e-30)
    n_codes = len(encoder.cardinalities)
    assert n_codes == 5 + 3 * 3
    assert_array_equal(got[:, -n_codes:], expected[:, -n_codes:])
    assert (np.ptp(expected, axis=0) > 0).all()


def drawn(n_rows, *, is_regression):
    """An ensemble of networks that are not trained, with a dozen of drawn settings."""
    encoder = TableEncoder(scaling="robust")
    maps = InputMaps(encoder.fit_transform(TRAINING), encoder.cardinalities)
    parts = []
    for seed in range(12):
        settings = draw_settings(np.random.RandomState(seed), n_rows)
        member = Member(
            settings, seed, maps, 1 if is_regression else 3, is_regression=is_regression
        )
        parts.append(Part(settings, (seed + 1) / 78, member.network))
    kinds = {(p.settings.activation, p.settings.layer_norm, p.settings.n_bins > 0) for p in parts}
    assert len(kinds) >= 6
    return Ensemble(encoder, maps, parts)


@pytest.mark.parametrize("is_regression", [False, True])
@pytest.mark.parametrize("n_rows", [1_000, 30_000])
def test_drawn_settings(n_rows, is_regression):
    """Networks of all kinds that an ensemble may have, by the estimator around them."""
    model = (TabularMLPRegressor if is_regression else TabularMLPClassifier)()
    model._ensemble = drawn(n_rows, is_regression=is_regression)
    if is_regression:
        model._scale = Scale(mean=5.0, std=2.0, smallest=3.0, largest=8.0)
    else:
        model.classes_, model.temperature_ = np.array([1, 2, 5]), 0.6
    converted = to_onnx(model)
    assert_predictions_agree(model, converted, fed(ROWS, converted), ROWS)


def test_calendar():
    """Every day of four centuries, and the seconds around midnight."""
    days = np.arange(np.datetime64("1800-01-01"), np.datetime64("2201-01-01"))
    moments = np.concatenate([days.astype("datetime64[us]"), days - np.timedelta64(1, "us")])
    rows = pd.DataFrame({"at": moments})
    encoder = TableEncoder().fit(rows)
    graph = Graph(taken=["at", "codes"])
    maps = InputMaps(encoder.transform(rows), encoder.cardinalities)
    whole = add_inputs(
        graph, Sources(graph, single={"at": "at"}), encoder, maps, Settings(has_ranks=False)
    )
    graph.add("Identity", whole, result="codes")
    info = onnx.helper.make_tensor_value_info
    given = [info("at", onnx.TensorProto.DOUBLE, [None, 1])]
    model = model_of(graph, given, [info("codes", onnx.TensorProto.FLOAT, [None, 4])], "dates")
    seconds = (moments - np.datetime64(0, "us")) / SECOND
    got = outputs(model, {"at": seconds[:, np.newaxis]})["codes"][:, 1:]
    stamps = [moment.item() for moment in moments]
    assert isinstance(stamps[0], datetime.datetime)
    parts = [(one.month, one.weekday(), one.hour) for one in stamps]
    codes = [np.unique(part, return_inverse=True)[1] for part in zip(*parts, strict=True)]
    assert_array_equal(got, np.column_stack(codes))
