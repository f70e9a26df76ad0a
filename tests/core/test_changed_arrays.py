"""Arrays that do not fit, or that somebody changes: an error or other numbers, never a crash."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse

from fastmlp import InputLayer, MLPClassifier, MLPRegressor, Network, _core
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


def an_output(**changes):
    """Compute outputs with an input layer whose tables may have been changed."""
    layer = InputLayer(
        [1, 2], [4, 30], numeric_embedding="pbld", n_frequencies=3, scaling=True, embedding_size=5
    )
    network = Network([5, 6, 2], random_state=0, input_layer=layer)
    parameters, passes = network.parameters, network.passes
    columns, bins = parameters.columns_for_core
    arguments = {"layers": parameters.layers, "columns": columns, "bins": bins}
    for name, change in changes.items():
        arguments[name] = change(arguments[name])
    model = _core.Model(
        arguments["layers"], parameters.blocks, _core.LOSSES["squared_error"], np.zeros(1),
        parameters.flat, parameters.mask, None, arguments["columns"], arguments["bins"],
    )  # fmt: skip
    work = passes.workspace(8)
    samples = _core.Samples(np.ones((8, 5), np.float32), np.zeros(0, int), np.zeros(0, int))
    _core.forward(model, work, samples, np.zeros((8, 2), np.float32), 1)


KINDS = _core.COLUMN_KINDS


@pytest.mark.parametrize(
    "changes",
    [
        *({"columns": changed(field, j, value)} for field, j, value in (
            ("kind", 0, 7), ("kind", 0, -1), ("kind", 0, KINDS["number"]),
            ("kind", 0, KINDS["bins"]), ("kind", 0, KINDS["one_hot"]),
            ("kind", 1, KINDS["number"]),
            ("kind", 2, KINDS["one_hot"]), ("kind", 2, KINDS["cosines"]),
            ("place", 0, -1), ("place", 0, 10**6), ("place", 1, 0), ("place", 1, 10**6),
            ("place", 2, 14), ("n", 0, 5), ("n", 0, 0), ("n", 1, 2), ("n", 2, 100),
            ("row", 0, -1), ("row", 0, 3), ("row", 1, 0), ("row", 1, 19), ("row", 2, 1),
            ("n_codes", 1, 5), ("n_codes", 2, 31), ("n_codes", 2, -1),
            ("n_frequencies", 0, 129), ("n_frequencies", 0, 0), ("n_frequencies", 0, 10),
            ("n_linear", 0, 4), ("n_linear", 0, -1), ("n_linear", 0, 0),
        )),
        *({"layers": changed(field, l, value)} for field, l, value in (
            ("n_dense", 1, 30), ("n_dense", 1, -1), ("n_dense", 1, 3), ("n_out", 0, 100),
            ("n_in", 0, 4), ("n_in", 1, 20), ("kind", 3, 2), ("kind", 1, 1), ("W", 3, -1),
            ("W", 4, 10**6), ("n_dense", 3, 10**6), ("n_dense", 4, -1), ("n_out", 4, 100),
            ("n_out", 5, 3), ("n_in", 5, 1), ("stride", 3, 1), ("is_embedded", 0, 0),
        )),
        {"columns": lambda columns: columns[:4]},
        {"columns": lambda columns: columns[:0]},
        {"bins": lambda bins: bins[:1]},
        {"bins": lambda bins: bins.astype(float)},
    ],
)  # fmt: skip
def test_columns_that_do_not_fit(changes):
    """No table of an input layer may lead the core outside of an array."""
    an_output()
    message = (
        "columns do not fit|layers do not fit|must be columns|bins must|not one of|a block must"
    )
    with pytest.raises(ValueError, match=message):
        an_output(**changes)


def test_numbers_side_by_side_fit():
    network = Network([3, 2], random_state=0, input_layer=InputLayer())
    columns, bins = network.parameters.columns_for_core
    columns = columns.copy()
    columns["place"] = [2, 1, 0]  # the core would copy three numbers from place 2 on
    with pytest.raises(ValueError, match="the columns do not fit"):
        _core.Model(
            network.parameters.layers, network.parameters.blocks, _core.LOSSES["squared_error"],
            np.zeros(1), network.parameters.flat, network.parameters.mask, None, columns, bins,
        )  # fmt: skip


@pytest.mark.parametrize("value", [1e9, -5, np.nan, np.inf, 2.5])
def test_codes_that_change_under_the_core(value):
    """As another thread could do between the check and the core's use."""
    layer = InputLayer([0, 1], [4, 300], scaling=True)
    network = Network([3, 6, 2], random_state=0, input_layer=layer)
    data = check_data(np.ones((300, 3)), np.zeros((300, 2)), None, network)
    data.features.values[:, :2] = value
    descent = Descent(network, "adam", {})
    loss, _ = descent.epoch(data, np.arange(300), 100)
    assert np.isfinite([loss, network.passes.evaluate(data, np.arange(300))[1]]).all()
