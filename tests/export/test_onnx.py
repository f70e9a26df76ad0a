"""Networks and estimators of numbers in onnxruntime, beside their own predictions."""

import itertools
import re
import sys
import threading

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from onnx_outputs import N_ROWS, RTOL, assert_agree, assert_same_labels, outputs
from problems import make_connections
from scipy.special import ndtr
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

import fastmlp
from fastmlp import InputLayer, MLPClassifier, MLPRegressor, Network, to_onnx
from fastmlp._core import ACTIVATIONS
from fastmlp._engine.losses import LOSSES
from fastmlp._onnx.activations import Activations
from fastmlp._onnx.graph import Graph, model_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.standard_normal((N_ROWS, 5)) * 2
X[:, 1], X[:, 3] = RNG.randint(-2, 8, N_ROWS), RNG.randint(-2, 33, N_ROWS)
EDGES = [[-1, 0, 0.5, 2], [], [0, 1, 3]]
X[:40, 0], X[40:60, 2] = np.repeat([-1.0, 0.0, 0.5, 2.0], 10), 1.0  # at the edges of bins
CODED = {"categorical_features": [1, 3], "n_categories": [5, 31]}
FLAGS = ("layer_norm", "residual", "learned_activation")
DTYPES = ("float32", "float64")


def changed(network):
    """The network with all parameters, also those that begin at 0 or 1, at random places."""
    rng = np.random.RandomState(1)
    for views in (*network.norms, network.mixes, network.input_parameters.values()):
        for view in views or ():
            if view is not None:
                view[...] += rng.uniform(-0.5, 0.5, view.shape)
    for b in network.b:
        b[...] += rng.uniform(-0.1, 0.1, b.shape)
    return network


def assert_network_agrees(network, rows=X):
    rows = rows[:, : network.layer_sizes[0]].astype(network.dtype)
    got = outputs(to_onnx(network), {"X": rows})["output"]
    assert got.dtype == network.dtype
    assert_agree(got, network.output(rows), RTOL[network.dtype.name])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_activations_losses_and_options(activation, loss):
    """The product of all of them."""
    for dtype, *flags in itertools.product(DTYPES, *[(False, True)] * 3):
        n_outputs = 1 if loss == "quantile" else 3
        options = dict(zip(FLAGS, flags, strict=True))
        sizes = (5, 8, 8, n_outputs)
        network = Network(sizes, activation, loss, dtype=dtype, random_state=0, **options)
        assert_network_agrees(changed(network))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scaling", [False, True])
@pytest.mark.parametrize("one_hot", [0, 9, 50])
@pytest.mark.parametrize("embedding", [None, "cosine", "pbld", "piecewise_linear"])
def test_input_layers(embedding, one_hot, scaling, dtype):
    """Codes in all columns, in some, and in none; with and without a normalized first layer."""
    options = {
        "numeric_embedding": embedding, "one_hot_max_size": one_hot, "scaling": scaling,
        "frequency_scale": 1.5,
    }  # fmt: skip
    has_bins = embedding == "piecewise_linear"
    inputs = InputLayer(**CODED, **options, bin_edges=EDGES if has_bins else "quantile")
    for layer_norm, several in itertools.product((False, True), (False, True)):
        network = Network(
            (5, 16, 3), "silu", input_layer=inputs, layer_norm=layer_norm, dtype=dtype,
            loss="quantile" if several else "squared_error", random_state=0,
            loss_params={"quantiles": [0.1, 0.5, 0.9]} if several else None,
        )  # fmt: skip
        assert_network_agrees(changed(network))
    only_codes = InputLayer([0, 1], [5, 31], **options, bin_edges=[] if has_bins else "quantile")
    network = Network((2, 4, 2), input_layer=only_codes, dtype=dtype, random_state=0)
    assert_network_agrees(changed(network), X[:, [1, 3]])
    edges = [*EDGES, [1.0, 2.0, 9.0], [0.0, 1.0]] if has_bins else "quantile"
    no_codes = InputLayer(**options, bin_edges=edges)
    network = Network((5, 4, 2), input_layer=no_codes, dtype=dtype, random_state=0)
    assert_network_agrees(changed(network))


def test_codes_of_no_category():
    """Whatever is no code, NaN included, adds nothing."""
    network = Network((1, 3), input_layer=InputLayer([0], [4]), random_state=0)
    rows = np.array([[-1], [4], [1e30], [-np.inf], [np.inf], [np.nan]], np.float32)
    got = outputs(to_onnx(network), {"X": rows})["output"]
    assert_allclose(got, np.tile(network.b[0], (6, 1)))


def test_structures():
    sizes = (5, 9, 9, 9, 2)
    activation = ["gelu", "relu", "tanh"]
    for options in (
        {"connections": make_connections(sizes)},
        {"parametrization": "ntk"},
        {"loss": "quantile", "loss_params": {"quantiles": [0.1, 0.9]}},
        {"loss": lambda y, z: ((z - y) ** 2, z - y)},
        dict.fromkeys(FLAGS, True),
    ):
        assert_network_agrees(changed(Network(sizes, activation, random_state=0, **options)))
    assert_network_agrees(Network((5, 2), "relu", random_state=0))
    assert_network_agrees(Network((5, 1, 1), "tanh", layer_norm=True, random_state=0))


def test_a_shared_shift_does_not_cancel():
    """The mean over the units is large beside their deviations from it."""
    network = Network((5, 16, 2), "tanh", layer_norm=True, random_state=0)
    network.b[0][...] += 300
    wide = network.copy("float64")
    got = outputs(to_onnx(network), {"X": X.astype(np.float32)})["output"]
    assert_agree(got, wide.output(X.astype(np.float32)))


def test_gelu_of_float64_is_that_of_the_normal_distribution():
    z = np.linspace(-35, 10, 5000)[:, np.newaxis]
    graph = Graph(taken=["z", "f"])
    graph.add("Identity", Activations(graph, np.float64).gelu("z"), result="f")
    info = onnx.helper.make_tensor_value_info
    double = onnx.TensorProto.DOUBLE
    model = model_of(graph, [info("z", double, [None, 1])], [info("f", double, [None, 1])], "gelu")
    assert_allclose(outputs(model, {"z": z})["f"], z * ndtr(z), rtol=1e-11)


LABELS = {
    "strings": np.array(["no", "yes", "ä"]),
    "objects": np.array(["no", "yes", "ä"], dtype=object),
    "int": np.array([-3, 7, 10]),
    "uint8": np.array([0, 200, 255], np.uint8),
    "floats": np.array([0.0, 1.0, 5.0]),
    "truth values": np.array([False, True]),
    "two strings": np.array(["b", "a"]),
}


def fitted(kind, dtype="float32", loss="log_loss"):
    """A classifier after a few steps, with y of a kind."""
    y = {
        "multilabel": (X[:, :3] > 0).astype(int),
        "one label": (X[:, :1] > 0).astype(int),
    }.get(kind)
    if y is None:
        labels = LABELS[kind]
        y = labels[np.digitize(X[:, 0], [-1, 1][: len(labels) - 1])]
    options = {"hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}
    return MLPClassifier(**options, loss=loss, dtype=dtype).fit(X[:500], y[:500])


@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", LABELS)
def test_classifiers(kind, dtype, loss):
    classifier, rows = fitted(kind, dtype, loss), X.astype(dtype)
    got = outputs(to_onnx(classifier), {"X": rows})
    expected = classifier.predict_proba(rows)
    assert list(got) == ["label", "probabilities"]
    assert got["probabilities"].dtype == dtype
    assert_agree(got["probabilities"], expected, RTOL[dtype])
    assert_same_labels(got["label"], classifier.predict(rows), expected)
    assert got["label"].dtype == (object if LABELS[kind].dtype.kind in "UO" else np.int64)


@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_multilabel(dtype, loss):
    classifier, rows = fitted("multilabel", dtype, loss), X.astype(dtype)
    got = outputs(to_onnx(classifier), {"X": rows})
    expected = classifier.predict_proba(rows)
    assert_agree(got["probabilities"], expected, RTOL[dtype])
    is_clear = np.abs(expected - 0.5) > 1e-5
    assert got["label"].dtype == np.int64
    np.testing.assert_array_equal(got["label"][is_clear], classifier.predict(rows)[is_clear])


def test_few_classes():
    """One class; two labels, which are not two classes; a decision at one half."""
    options = {"hidden_layer_sizes": (), "random_state": 0}
    one = MLPClassifier(**options).initialize(2, classes=["only"])
    rows = np.zeros((3, 2), np.float32)
    got = outputs(to_onnx(one), {"X": rows})
    assert got["label"].tolist() == ["only"] * 3
    assert got["probabilities"].tolist() == [[1.0]] * 3
    for n_labels in (1, 2):
        labels = MLPClassifier(**options).initialize(2, classes=range(n_labels), multilabel=True)
        got = outputs(to_onnx(labels), {"X": rows})
        assert got["label"].shape == got["probabilities"].shape == (3, n_labels)
    two = MLPClassifier(**options).initialize(2, classes=[4, 5])
    two.coefs_, two.intercepts_ = [np.zeros((2, 1))], [[0.0]]
    got = outputs(to_onnx(two), {"X": rows})
    assert got["label"].tolist() == two.predict(rows).tolist() == [4, 4, 4]


@pytest.mark.parametrize("loss", [name for name, row in LOSSES.items() if not row.classifier_loss])
def test_regressors(loss):
    quantiles = {"quantiles": [0.1, 0.5, 0.9]}
    params = quantiles if loss == "quantile" else None
    y = np.abs(X[:, 0]) + 0.1
    regressor = MLPRegressor(loss, (8,), max_iter=2, loss_params=params, random_state=0)
    regressor.fit(X[:500], y[:500])
    rows = X.astype(np.float32)
    got = outputs(to_onnx(regressor), {"X": rows})
    assert list(got) == ["variable"]
    assert_agree(got["variable"], regressor.predict(rows).reshape(N_ROWS, -1))
    if params is None:
        several = MLPRegressor(loss, (8,), max_iter=2, random_state=0)
        several.fit(X[:500], np.column_stack([y, 2 * y])[:500])
        got = outputs(to_onnx(several), {"X": rows})
        assert_agree(got["variable"], several.predict(rows))


def test_model_says_what_it_is():
    network = Network((5, 3), layer_norm=True, random_state=0)
    model = to_onnx(network)
    assert (model.producer_name, model.producer_version) == ("fastmlp", fastmlp.__version__)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
    assert "Network" in model.doc_string
    (given,) = model.graph.input
    assert given.name == "X"
    assert given.type.tensor_type.shape.dim[1].dim_value == 5
    deep = to_onnx(Network((5, 4, 3), random_state=0))
    assert all(node.name.startswith(("layer0/", "layer1/", "output")) for node in deep.graph.node)


def test_files(tmp_path):
    path = tmp_path / "network.onnx"
    network = Network((5, 3), random_state=0)
    model = to_onnx(network, path)
    assert onnx.load(path) == model
    assert [file.name for file in tmp_path.iterdir()] == ["network.onnx"]
    to_onnx(network, str(path))


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "network.onnx"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="full"):
        to_onnx(Network((5, 3)), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("model", [LinearRegression(), MLPClassifier, None, "net"])
def test_other_models(model):
    with pytest.raises(TypeError, match=f"got {re.escape(repr(model))}"):
        to_onnx(model)


@pytest.mark.parametrize(
    "name", ["MLPClassifier", "MLPRegressor", "TabularMLPClassifier", "TabularMLPRegressor"]
)
def test_unfitted(name):
    with pytest.raises(NotFittedError, match=name):
        to_onnx(getattr(fastmlp, name)())


def test_labels_without_a_type_in_onnx():
    classifier = MLPClassifier(()).initialize(2, classes=np.array([1, 2**63], np.uint64))
    with pytest.raises(ValueError, match=r"whole numbers below 2\^63, got \[9223372036854775808\]"):
        to_onnx(classifier)


def test_while_another_thread_fits():
    """What is exported is the last fit that has ended."""
    classifier, found = fitted("truth values"), []

    def export(estimator, state):
        thread = threading.Thread(target=lambda: found.append(to_onnx(estimator)))
        thread.start()
        thread.join()

    before = to_onnx(classifier)
    classifier.set_params(callbacks=export, hidden_layer_sizes=(5,), max_iter=1)
    classifier.fit(X[:500], np.digitize(X[:500, 0], [-1, 1]))
    assert found == [before]
    assert to_onnx(classifier) != before


def test_without_onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "fastmlp\[onnx\]"'):
        to_onnx(Network((5, 3)))
