"""Pipelines with our estimators, converted by skl2onnx and run by onnxruntime."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import skl2onnx
from numpy.testing import assert_allclose, assert_array_equal
from onnx_outputs import N_ROWS, assert_agree, assert_same_labels, outputs
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import BaggingRegressor, StackingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastmlp import MLPClassifier, MLPRegressor, TabularMLPClassifier, TabularMLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = 10 + 5 * RNG.standard_normal((N_ROWS, 4))
VALUES = X[:, 0] / 5 + np.abs(X[:, 1] - 10)
LABELS = np.array(["high", "low", "middle"])[np.digitize(VALUES, [4, 7])]
FEW = slice(0, 400)

CLASSIFIERS = {
    "MLPClassifier": lambda **given: MLPClassifier((8,), max_iter=5, random_state=0, **given),
    "TabularMLPClassifier": lambda: TabularMLPClassifier(n_members=2, random_state=0),
}
REGRESSORS = {
    "MLPRegressor": lambda **given: MLPRegressor(
        hidden_layer_sizes=(8,), max_iter=5, random_state=0, **given
    ),
    "TabularMLPRegressor": lambda: TabularMLPRegressor(n_members=2, random_state=0),
}
DTYPES = ("float32", "float64")


def fitted(make, y, dtype="float32"):
    return make_pipeline(StandardScaler(), make()).fit(X[FEW].astype(dtype), y[FEW])


def converted(pipeline, rows, **options):
    return skl2onnx.to_onnx(pipeline, rows[:1], options={type(pipeline[-1]): options})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_labels_and_probabilities(kind, dtype):
    """Without ZipMap, which is the default: a dictionary for each row."""
    pipeline, rows = fitted(CLASSIFIERS[kind], LABELS, dtype), X.astype(dtype)
    got = outputs(converted(pipeline, rows, zipmap=False), {"X": rows})
    expected = pipeline.predict_proba(rows)
    assert list(got) == ["label", "probabilities"]
    assert got["probabilities"].dtype == dtype
    assert_agree(got["probabilities"], expected)
    assert_same_labels(got["label"], pipeline.predict(rows), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("zipmap", [None, True])
def test_zipmap(kind, zipmap, dtype):
    pipeline, rows = fitted(CLASSIFIERS[kind], LABELS, dtype), X.astype(dtype)
    options = {} if zipmap is None else {"zipmap": zipmap}
    got = outputs(converted(pipeline, rows, **options), {"X": rows})
    assert list(got) == ["output_label", "output_probability"]
    found = pd.DataFrame(got["output_probability"])
    assert list(found) == ["high", "low", "middle"]
    assert_agree(found.to_numpy(), pipeline.predict_proba(rows))


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_zipmap_of_columns_and_class_labels(kind):
    pipeline, rows = fitted(CLASSIFIERS[kind], LABELS), X.astype(np.float32)
    got = outputs(converted(pipeline, rows, zipmap="columns"), {"X": rows})
    assert list(got) == ["output_label", "shigh", "slow", "smiddle"]
    found = np.column_stack(list(got.values())[1:])
    assert_agree(found, pipeline.predict_proba(rows))
    with_classes = converted(pipeline, rows, zipmap=False, output_class_labels=True)
    assert outputs(with_classes, {"X": rows})["class_labels"].tolist() == ["high", "low", "middle"]


@pytest.mark.parametrize("zipmap", [False, True])
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_without_class_labels(kind, zipmap):
    """Option nocl: classes are indices."""
    pipeline, rows = fitted(CLASSIFIERS[kind], LABELS), X.astype(np.float32)
    got = outputs(converted(pipeline, rows, zipmap=zipmap, nocl=True), {"X": rows})
    expected = pipeline.predict_proba(rows)
    label, probabilities = got.values()
    assert label.dtype == np.int64
    assert_same_labels(label, expected.argmax(axis=1), expected)
    if zipmap:
        assert list(probabilities[0]) == [0, 1, 2]


@pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_two_classes(make):
    pipeline, rows = fitted(make, VALUES > 5), X.astype(np.float32)
    got = outputs(converted(pipeline, rows, zipmap=False), {"X": rows})
    expected = pipeline.predict_proba(rows)
    assert_agree(got["probabilities"], expected)
    assert_same_labels(got["label"], pipeline.predict(rows), expected)


def test_multilabel():
    y = np.column_stack([VALUES > 5, X[:, 2] > 10, X[:, 3] > 12]).astype(int)
    pipeline, rows = fitted(CLASSIFIERS["MLPClassifier"], y), X.astype(np.float32)
    got = outputs(converted(pipeline, rows, zipmap=False), {"X": rows})
    expected = pipeline.predict_proba(rows)
    assert_agree(got["probabilities"], expected)
    is_clear = np.abs(expected - 0.5) > 1e-5
    assert_array_equal(got["label"][is_clear], pipeline.predict(rows)[is_clear])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", REGRESSORS)
def test_regressors(kind, dtype):
    pipeline, rows = fitted(REGRESSORS[kind], VALUES, dtype), X.astype(dtype)
    model = skl2onnx.to_onnx(pipeline, rows[:1])
    got = outputs(model, {"X": rows})
    assert list(got) == ["variable"]
    assert got["variable"].dtype == dtype
    assert_agree(got["variable"], pipeline.predict(rows)[:, np.newaxis])


def test_several_outputs():
    y = np.column_stack([VALUES, -VALUES])
    pipeline, rows = fitted(REGRESSORS["MLPRegressor"], y), X.astype(np.float32)
    got = outputs(skl2onnx.to_onnx(pipeline, rows[:1]), {"X": rows})
    assert_agree(got["variable"], pipeline.predict(rows))


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_types_of_rows(dtype):
    """The network's own type decides neither what is read nor what comes out."""
    network = MLPRegressor(
        hidden_layer_sizes=(8,), max_iter=5, dtype="float64", random_state=0
    ).fit(X[FEW], VALUES[FEW])
    rows = X.astype(dtype)
    got = outputs(skl2onnx.to_onnx(network, rows[:1]), {"X": rows})["variable"]
    assert got.dtype == dtype
    assert_agree(got, network.predict(rows)[:, np.newaxis])
    whole = X.astype(np.int64)
    of_whole = skl2onnx.to_onnx(network, initial_types=[("X", Int64TensorType([None, 4]))])
    got = outputs(of_whole, {"X": whole})["variable"]
    assert_agree(got, network.predict(whole)[:, np.newaxis])


FRAME = pd.DataFrame({"size": X[:, 0], "near": X[:, 1], "city": np.where(X[:, 2] > 9, "a", "b")})


def feed_of(frame):
    return {name: frame[name].to_numpy()[:, np.newaxis] for name in frame}


def types_of(number):
    one = [None, 1]
    return [("size", number(one)), ("near", number(one)), ("city", StringTensorType(one))]


def test_column_transformer():
    prepared = make_column_transformer(
        (StandardScaler(), ["size", "near"]), (OneHotEncoder(), ["city"])
    )
    pipeline = make_pipeline(prepared, REGRESSORS["MLPRegressor"]()).fit(FRAME[FEW], VALUES[FEW])
    model = skl2onnx.to_onnx(pipeline, initial_types=types_of(FloatTensorType))
    feed = feed_of(FRAME.astype({"size": "f4", "near": "f4", "city": object}))
    assert_agree(outputs(model, feed)["variable"], pipeline.predict(FRAME)[:, np.newaxis])


@pytest.mark.parametrize("kind", ["TabularMLPClassifier", "TabularMLPRegressor"])
def test_data_frames(kind):
    """The columns are found by their names."""
    model = (CLASSIFIERS | REGRESSORS)[kind]()
    model.fit(FRAME[FEW], LABELS[FEW] if kind in CLASSIFIERS else VALUES[FEW])
    feed = feed_of(FRAME.astype({"city": object}))
    types = types_of(DoubleTensorType)[::-1]
    if kind in REGRESSORS:
        got = outputs(skl2onnx.to_onnx(model, initial_types=types), feed)["variable"]
        assert_agree(got, model.predict(FRAME)[:, np.newaxis])
        return
    options = {type(model): {"zipmap": False}}
    got = outputs(skl2onnx.to_onnx(model, initial_types=types, options=options), feed)
    assert_agree(got["probabilities"], model.predict_proba(FRAME))
    by_default = outputs(skl2onnx.to_onnx(model, initial_types=types), feed)
    found = pd.DataFrame(by_default["output_probability"])
    assert_agree(found.to_numpy(), model.predict_proba(FRAME))


@pytest.mark.parametrize("names", [["size"], ["size", "near"]])
def test_one_matrix_for_named_columns(names):
    frame = FRAME[names]
    model = REGRESSORS["TabularMLPRegressor"]().fit(frame[FEW], VALUES[FEW])
    matrix = [("X", DoubleTensorType([None, len(names)]))]
    got = outputs(skl2onnx.to_onnx(model, initial_types=matrix), {"X": frame.to_numpy()})
    assert_agree(got["variable"], model.predict(frame)[:, np.newaxis])


def test_inputs_that_do_not_fit():
    model = REGRESSORS["TabularMLPRegressor"]().fit(FRAME[FEW], VALUES[FEW])
    number, text = DoubleTensorType([None, 1]), StringTensorType([None, 1])
    with pytest.raises(ValueError, match="no input 'near' among"):
        skl2onnx.to_onnx(model, initial_types=[("size", number), ("city", text), ("far", number)])
    with pytest.raises(ValueError, match="'city' must hold strings"):
        skl2onnx.to_onnx(model, initial_types=[(name, number) for name in FRAME])


def test_opset():
    network = REGRESSORS["MLPRegressor"](layer_norm=True).fit(X[FEW], VALUES[FEW])
    rows = X.astype(np.float32)
    for opset in (17, 18, 20, 21):
        model = skl2onnx.to_onnx(network, rows[:1], target_opset=opset)
        (version,) = [one.version for one in model.opset_import if not one.domain]
        assert 17 <= version <= opset
        got = outputs(model, {"X": rows})["variable"]
        assert_agree(got, network.predict(rows)[:, np.newaxis])
    with pytest.raises(ValueError, match="MLPRegressor needs target_opset >= 17, got 16"):
        skl2onnx.to_onnx(network, rows[:1], target_opset=16)


@pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS)
@pytest.mark.parametrize(
    "around",
    [
        lambda inner: GridSearchCV(inner, {}, cv=2),
        lambda inner: CalibratedClassifierCV(inner, cv=2),
        lambda inner: StackingClassifier([("one", inner)], cv=2),
    ],
)
def test_other_estimators_around(around, make):
    whole = around(make()).fit(X[FEW], LABELS[FEW])
    model = skl2onnx.to_onnx(whole, X[:1], options={id(whole): {"zipmap": False}})
    assert_agree(outputs(model, {"X": X})["probabilities"], whole.predict_proba(X))


def test_two_of_them_in_one_graph():
    whole = BaggingRegressor(REGRESSORS["MLPRegressor"](), 2, random_state=0)
    whole.fit(X[FEW], VALUES[FEW])
    got = outputs(skl2onnx.to_onnx(whole, X[:1]), {"X": X})["variable"]
    assert_allclose(got[:, 0], whole.predict(X), rtol=1e-5)


@pytest.mark.parametrize(
    "imports",
    ["import fastmlp, skl2onnx", "import skl2onnx, fastmlp"],
)
def test_registered_by_imports(imports):
    code = f"""{imports}
import numpy as np
network = fastmlp.MLPRegressor(hidden_layer_sizes=()).initialize(2)
print(skl2onnx.to_onnx(network, np.zeros((1, 2))).graph.output[0].name)
"""
    shown = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "variable\n"


def test_import_of_fastmlp_is_light():
    code = "import sys, fastmlp; print({'onnx', 'skl2onnx', 'onnxruntime'} & set(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "set()\n"


def test_search_for_the_module_stays_as_it_is():
    """Looking for skl2onnx is not importing it, and its loader is the usual one."""
    code = """
import importlib.util, sys, fastmlp
spec = importlib.util.find_spec("skl2onnx")
assert "skl2onnx" not in sys.modules
import skl2onnx
assert type(skl2onnx.__loader__) is type(fastmlp.__loader__)
from skl2onnx._supported_operators import sklearn_operator_name_map
assert fastmlp.MLPClassifier in sklearn_operator_name_map
assert importlib.util.find_spec("skl2onnx_that_is_not_there") is None
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
