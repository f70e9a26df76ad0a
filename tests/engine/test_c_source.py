"""The C source of a network, compiled by the compiler of this machine, beside its outputs."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastmlp import InputLayer, MLPClassifier, MLPRegressor, Network
from fastmlp._core import ACTIVATIONS
from fastmlp._engine.losses import LOSSES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

COMPILER = shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
STRICT = ["-std=c99", "-pedantic-errors", "-Wall", "-Wextra", "-Werror"]

CODED = InputLayer([1, 3], [4, 30], embedding_size=3, scaling=True)


@pytest.fixture
def compiled(tmp_path):
    """A function that compiles a source, and returns the outputs of rows."""

    def outputs(source, X, n_outputs, name="network"):
        path, library = tmp_path / f"{name}.c", tmp_path / f"{name}.so"
        path.write_text(source, encoding="ascii")
        command = [COMPILER, *STRICT, "-O2", "-shared", "-fPIC", path, "-o", library, "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        predict = getattr(ctypes.CDLL(library), f"{name}_predict")
        out = np.full((len(X), n_outputs), np.nan, X.dtype)
        for row, result in zip(np.ascontiguousarray(X), out, strict=True):
            predict(row.ctypes.data_as(ctypes.c_void_p), result.ctypes.data_as(ctypes.c_void_p))
        return out

    return outputs


def rows(dtype="float32", n_columns=4):
    X = np.random.RandomState(0).standard_normal((30, n_columns))
    X[:, 1], X[:, 3] = np.arange(30) % 6 - 1, np.arange(30) * 1.0 - 1
    return X.astype(dtype)


def assert_same(network, compiled, name="network"):
    X = rows(network.dtype.name)
    ours = compiled(network.to_c(name=name), X, network.layer_sizes[-1], name)
    tolerance = 2e-5 if network.dtype == np.float32 else 1e-10
    assert_allclose(ours, network.output(X), rtol=tolerance, atol=tolerance)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_activations(activation, dtype, compiled):
    network = Network([4, 9, 5, 3], activation, "log_loss", dtype=dtype, random_state=0)
    assert_same(network, compiled)


@needs_compiler
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_losses(loss, compiled):
    n_outputs = 1 if loss == "quantile" else 3
    assert_same(Network([4, 6, n_outputs], "tanh", loss, random_state=0), compiled)


STRUCTURES = {
    "linear": {"layer_sizes": [4, 2]},
    "one": {"layer_sizes": [4, 1, 1]},
    "norms": {"layer_norm": True, "activation": ["gelu", "selu", "elu"]},
    "residual": {"residual": True, "learned_activation": True, "activation": "silu"},
    "quantiles": {"loss": "quantile", "loss_params": {"quantiles": [0.1, 0.5, 0.9]}},
    "codes": {"input_layer": CODED},
    "one-hot": {"input_layer": InputLayer([1, 3], [4, 30], one_hot_max_size=50)},
    "pbld": {"input_layer": InputLayer([1], [4], numeric_embedding="pbld", frequency_scale=2.0)},
    "cosine": {"input_layer": InputLayer(numeric_embedding="cosine", scaling=True)},
    "bins": {
        "input_layer": InputLayer(
            [1], [4], numeric_embedding="piecewise_linear", bin_edges=[[-1, 0, 2], [], [0, 9, 20]]
        )
    },
}  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_structures(name, dtype, compiled):
    options = {"layer_sizes": [4, 6, 6, 6, 3], "activation": "tanh"} | STRUCTURES[name]
    network = Network(**options, dtype=dtype, random_state=0)
    rng = np.random.RandomState(1)
    for views in (*network.norms, network.mixes, network.input_parameters.values()):
        for view in views or ():
            if view is not None:
                view[...] = rng.uniform(-1, 1, view.shape)
    assert_same(network, compiled)


@needs_compiler
def test_estimators(tmp_path, compiled):
    X, y = rows(), np.array(["no", "*/ yes", "ä"])[np.arange(30) % 3]
    options = {"hidden_layer_sizes": (8,), "solver": "lbfgs", "dtype": "float32", "max_iter": 20}
    options["random_state"] = 0
    three = MLPClassifier(**options).fit(X, y)
    assert_allclose(compiled(three.to_c(name="three"), X, 3, "three"), three.predict_proba(X),
                    atol=1e-5)  # fmt: skip
    path = tmp_path / "two.c"
    two = MLPClassifier(**options).fit(X, y == "no")
    assert two.to_c(path, "two") == path.read_text(encoding="ascii")
    assert_allclose(compiled(path.read_text(), X, 1, "two")[:, 0], two.predict_proba(X)[:, 1],
                    atol=1e-5)  # fmt: skip
    assert "the probability of the second class of False, True" in path.read_text()
    regressor = MLPRegressor(**options).fit(X, X[:, 0])
    got = compiled(regressor.to_c(name="values"), X, 1, "values")[:, 0]
    assert_allclose(got, regressor.predict(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "na\u00efve", 3, None, "x" * 61])
def test_names(name):
    with pytest.raises(ValueError, match="name must be"):
        Network([2, 1]).to_c(name=name)
