"""Arrays that do not fit, or that somebody changes: an error or other numbers, never a crash."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse

from fastmlp import MLPClassifier, MLPRegressor, Network, _core
from fastmlp._core import SOLVERS
from fastmlp._engine.checks import check_data
from fastmlp._training.descent import Descent

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.standard_normal((200, 50)).astype(np.float32)
Y = X[:, 0] > 0


@pytest.mark.parametrize("kind", [1, 2, 5, 99, -1])
def test_a_state_that_belongs_to_another_solver(kind):
    """A flipped byte in a pickle: adam would write a second array behind that of sgd."""
    classifier = MLPClassifier((40,), solver="sgd", random_state=0)
    classifier.partial_fit(X, Y, classes=[False, True])
    classifier._descent._solver["kind"] = kind
    changed = pickle.loads(pickle.dumps(classifier))
    with pytest.raises(ValueError, match="state must have"):
        changed.partial_fit(X, Y)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_needs_the_arrays_that_it_is_said_to_need(solver):
    classifier = MLPClassifier((4,), solver=solver, random_state=0)
    classifier.partial_fit(X, Y, classes=[False, True])
    descent = classifier._descent
    descent._state = descent._state[:-1]
    with pytest.raises(ValueError, match="state must have"):
        classifier.partial_fit(X, Y)


@pytest.mark.parametrize("places", [slice(None), slice(1, None, 2)])  # rows that end far away
@pytest.mark.parametrize("name", ["indices", "indptr"])
@pytest.mark.parametrize("value", [10**9, -(10**9), 2**62])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_indices_that_change_during_a_fit(name, value, solver, places):
    rows = scipy.sparse.random(500, 50, 0.2, format="csr", dtype=np.float32, random_state=0)
    rows.indices, rows.indptr = rows.indices.astype(np.int64), rows.indptr.astype(np.int64)

    def change(estimator, state):
        getattr(rows, name)[places] = value

    regressor = MLPRegressor(solver=solver, callbacks=change, max_iter=3, random_state=0)
    regressor.fit(rows, np.zeros(500))
    assert np.isfinite(regressor.predict(X)).all()


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("places", [slice(None), slice(1, None, 2)])
@pytest.mark.parametrize("name", ["indices", "indptr"])
@pytest.mark.parametrize("value", [10**9, -(10**9), 2**62])
def test_sparse_indices_that_change_under_the_core(name, value, places, n_threads):
    """Once the core has its arrays, which a fit does not share with the user."""
    rows = scipy.sparse.random(500, 50, 0.2, format="csr", dtype=np.float32, random_state=0)
    network = Network([50, 20, 1], random_state=0, n_threads=n_threads)
    data = check_data(rows, np.zeros(500), None, network)
    getattr(data.features, name)[places] = value
    descent = Descent(network, "adam", {})
    for _ in range(2):
        loss, _ = descent.epoch(data, np.arange(500), 100)
    assert np.isfinite([loss, network.passes.evaluate(data, np.arange(500))[1]]).all()
    gradient = np.zeros_like(network.parameters.flat)
    assert np.isfinite(network.passes.full_gradient(data, gradient))


@pytest.mark.parametrize("value", [1e9, -1, np.nan, np.inf])
def test_classes_that_change_under_the_core(value):
    """As another thread could do between the check and the core's use."""
    network = Network([50, 4, 3], loss="log_loss", random_state=0)
    y = np.zeros((200, 1), dtype=np.float32)
    data = check_data(X, y, None, network)
    data.y[...] = value
    assert np.isfinite(network.passes.evaluate(data, np.arange(200))[1])


def a_gradient(**changes):
    """Call `add_gradient` with objects of arrays, some of them changed."""
    network = Network([3, 4, 2], random_state=0)
    parameters, passes = network.parameters, network.passes
    work = passes.workspace(8, passes.table(1), dense=True)
    nothing = np.zeros(0, np.intp)
    arguments = {
        "layers": work.layers, "blocks": parameters.blocks, "memory": work.memory,
        "params": parameters.flat, "gradient": np.zeros_like(parameters.flat),
        "X": np.zeros((8, 3), np.float32), "y": np.zeros((8, 2), np.float32),
        "sample_weight": np.ones(8, np.float32), "order": np.arange(8),
        "indptr": nothing, "indices": nothing,
    }  # fmt: skip
    for name, value in changes.items():
        arguments[name] = value(arguments[name]) if callable(value) else value
    a = SimpleNamespace(**arguments)
    model = _core.Model(
        a.layers, a.blocks, _core.LOSSES["squared_error"], np.zeros(1), a.params, a.params[:0]
    )
    workspace = _core.Workspace(a.layers, a.memory, work.capacity)
    samples = _core.Samples(a.X, a.indices, a.indptr, a.y, a.sample_weight)
    gradient = _core.Gradient(model, workspace, a.gradient, 1.0)
    _core.add_gradient(model, workspace, samples, a.order, gradient, True, 1)


def changed(field, row, value):
    """A function that returns a table with another number in it."""

    def change(table):
        table = table.copy()
        table[field][row] = value
        return table

    return change


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": np.array([0, 8])}, "order must have numbers of rows"),
        ({"order": np.array([-1])}, "order must have numbers of rows"),
        ({"order": np.zeros(0, np.intp)}, "work must have room"),
        ({"blocks": changed("layer", 0, 3)}, "a block must belong to a layer"),
        ({"blocks": changed("layer", 0, 0)}, "a block must belong to a layer"),
        ({"blocks": changed("last", 0, 99)}, "a block must be some of its layer's rows"),
        ({"blocks": changed("first", 0, -1)}, "a block must be some of its layer's rows"),
        ({"blocks": lambda blocks: blocks[:0]}, "a block of parameters"),
        ({"layers": changed("n_in", 2, 5)}, "the layers do not fit"),
        ({"layers": changed("stride", 1, 2)}, "the layers do not fit"),
        ({"layers": changed("W", 1, -16)}, "the layers do not fit|params is smaller"),
        ({"layers": changed("delta", 1, 10**6)}, "memory is smaller"),
        ({"layers": changed("z", 1, -1)}, "memory is smaller"),
        ({"layers": changed("shift", 1, 10**6)}, "params is smaller"),
        ({"layers": lambda layers: layers[:1]}, "there must be a layer of weights"),
        ({"y": np.zeros((8, 1), np.float32)}, "y must have 2 columns"),
        ({"memory": np.zeros(16, np.float32)}, "memory is smaller"),
        ({"X": np.zeros((8, 4), np.float32)}, "X must have 3 columns"),
        ({"X": np.zeros((8, 3))}, "y must be a C-ordered array of 2 dim"),
        ({"X": np.zeros((3, 8), np.float32).T}, "X must be a C-ordered array"),
        ({"X": [[0.0] * 3] * 8}, "X must be an array of float32 or float64"),
        ({"y": np.zeros((7, 2), np.float32)}, "the same number of rows"),
        ({"sample_weight": np.ones(7, np.float32)}, "the same number of rows"),
        ({"gradient": np.zeros(3, np.float32)}, "gradient must have the layout of params"),
        ({"gradient": np.zeros(200)}, "gradient must be a C-ordered array"),
        ({"memory": np.zeros(10**4)}, "the workspace is not one of this model"),
        ({"indptr": np.array([0, 1])}, "sparse X must have"),
    ],
)
def test_tables_and_arrays_that_do_not_fit(changes, message):
    a_gradient()
    with pytest.raises(ValueError, match=message):
        a_gradient(**changes)
