"""What the core is given: arrays that do not fit are refused before anything has changed."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastmlp import InputLayer, Network, _core
from fastmlp._engine.layout import FOR_GRADIENT, aligned_zeros

NOTHING = np.zeros(0, np.intp)
N_ROWS = 8


def some_rows(dtype="float32", n_in=3, with_y=True):
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((N_ROWS, n_in)), rng.standard_normal((N_ROWS, 2))
    targets = (y.astype(dtype), np.ones(N_ROWS, dtype)) if with_y else ()
    return _core.Samples(X.astype(dtype), NOTHING, NOTHING, *targets)


def sparse_rows():
    row = np.ones((1, 1), np.float32)
    y, sample_weight = np.zeros((1, 2), np.float32), np.ones(1, np.float32)
    return _core.Samples(row, np.array([1]), np.array([0, 1]), y, sample_weight)


def parts(sizes=(3, 4, 2), dtype="float32", **options):
    """What `train` and the others take, for a network of these sizes."""
    network = Network(sizes, dtype=dtype, random_state=0, **options)
    passes, flat = network.passes, network.parameters.flat
    solver = np.zeros(1, _core.SOLVER)
    solver["kind"], n_states = _core.SOLVERS["sgd"]
    return SimpleNamespace(
        model=passes.model, params=flat, samples=some_rows(dtype, sizes[0]),
        work=passes.workspace(N_ROWS, passes.table(FOR_GRADIENT), dense=True), n_threads=1,
        order=np.arange(N_ROWS), batch_size=4, schedule=np.full((2, 3), [0.1, 1, 1]),
        solver=solver, rules=np.zeros(1, _core.REGULARIZER), average=flat[:0],
        state=aligned_zeros((n_states, flat.size), flat.dtype),
        gradient=aligned_zeros((1, flat.size), flat.dtype), of_step=passes.model,
        row_loss=np.zeros(N_ROWS), out=np.zeros((N_ROWS, sizes[-1]), flat.dtype), passes=passes,
    )  # fmt: skip


def step_of(it):
    return _core.Step(it.of_step, it.work, it.solver, it.rules, it.state, it.average, it.gradient)


def train(it):
    _core.train(
        it.model, it.work, it.samples, it.order, it.batch_size, it.schedule, step_of(it),
        it.n_threads,
    )  # fmt: skip


def apply_gradient(it):
    _core.apply_gradient(it.model, step_of(it), it.schedule[0], 1)


def add_gradient(it):
    gradient = _core.Gradient(it.of_step, it.work, it.gradient[0], 0.5)
    _core.add_gradient(it.model, it.work, it.samples, it.order, gradient, True, 1)


def evaluate(it):
    _core.evaluate(it.model, it.work, it.samples, it.order, 1.0, it.out, it.row_loss, 1)


def forward(it):
    _core.forward(it.model, it.work, it.samples, it.out, 1)


def widen(it):
    _core.widen(it.model, it.work, it.out.astype(float))


def without_room(**options):
    it = parts(**options)
    return it.passes.workspace(N_ROWS, it.passes.table(FOR_GRADIENT))


def clipping():
    rules = np.zeros(1, _core.REGULARIZER)
    rules["clip_norm"] = 1
    return rules


@pytest.mark.parametrize(
    ("call", "changes", "message"),
    [
        (train, {"batch_size": 0}, "batch_size must be at least 1"),
        (train, {"state": np.zeros((1, 3), np.float32)}, "state must have the layout of params"),
        (train, {"average": np.zeros(3, np.float32)}, "average must have the layout of params"),
        (train, {"of_step": parts((3, 4, 4, 2)).model}, "the step is not one of this model"),
        (train, {"gradient": np.zeros((0, 999), np.float32)}, "a piece for each thread"),
        (train, {"gradient": np.zeros((1, 3), np.float32)}, "a piece for each thread"),
        (train, {"gradient": np.zeros((1, 999), np.float32), "rules": clipping()},
         "gradient must have the layout of params"),
        (train, {"schedule": np.zeros((1, 3))}, "three numbers for each step"),
        (train, {"schedule": np.zeros((2, 2))}, "three numbers for each step"),
        (train, {"samples": some_rows(with_y=False)}, "y must be given"),
        (train, {"samples": some_rows("float64")}, "X must be of the network's type"),
        (train, {"work": without_room()}, "work has no room for dense rows"),
        (apply_gradient, {"schedule": np.zeros((1, 2))}, "schedule must have three numbers"),
        (apply_gradient, {"gradient": np.zeros((1, 3), np.float32)}, "the layout of params"),
        (add_gradient, {"of_step": parts((3, 4, 4, 2)).model}, "not one of this model"),
        (evaluate, {"row_loss": np.zeros(7)}, "row_loss must have room for all rows"),
        (evaluate, {"out": np.zeros((7, 2), np.float32)}, "out must have a row for each"),
        (evaluate, {"out": np.zeros((8, 3), np.float32)}, "out must have a row for each"),
        (forward, {"out": np.zeros((8, 2))}, "out must be a C-ordered array"),
        (forward, {"out": np.zeros(16, np.float32)}, "out must be a C-ordered array"),
        (forward, {"out": [[0.0, 0.0]] * 8}, "out must be a C-ordered array"),
        (widen, {"out": np.zeros((99, 2))}, "out must have a row for each in work"),
        (widen, {"out": np.zeros((8, 1))}, "out must have a row for each in work"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, changes, message):
    call(parts())
    it = parts()
    vars(it).update(changes)
    before = it.params.copy()
    with pytest.raises(ValueError, match=message):
        call(it)
    assert_array_equal(it.params, before)


def test_an_input_layer_takes_no_sparse_rows():
    it = parts(input_layer=InputLayer([1], [4]))
    it.samples = sparse_rows()
    with pytest.raises(ValueError, match="X must be dense for a network with an input layer"):
        train(it)


def a_model(**changes):
    it = parts()
    parameters = it.passes.parameters
    arguments = {
        "kind": _core.LOSSES["squared_error"], "loss_params": np.zeros(1),
        "connections": parameters.flat[:0], "function": None,
    } | changes  # fmt: skip
    return _core.Model(
        parameters.layers, parameters.blocks, arguments["kind"], arguments["loss_params"],
        parameters.flat, arguments["connections"], arguments["function"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_params": np.zeros(0)}, "loss_params must have a number"),
        ({"kind": _core.LOSSES["quantile"], "loss_params": np.full(3, 0.5)}, "one for each output"),
        ({"connections": np.zeros(3, np.float32)}, "connections must have the layout of params"),
        ({"function": len}, "a function must be given for a custom loss, and for no other"),
    ],
)
def test_a_model_that_does_not_fit(changes, message):
    a_model()
    with pytest.raises(ValueError, match=message):
        a_model(**changes)


def test_other_parameters_must_have_the_layout():
    with pytest.raises(ValueError, match="the layout of those of the model"):
        a_model().with_params(np.zeros(3, np.float32))


def test_a_workspace_has_room_for_a_row():
    work = parts().work
    with pytest.raises(ValueError, match="room for a row"):
        _core.Workspace(work.layers, work.memory, 0)


def test_only_float32_is_widened():
    it = parts(dtype="float64")
    with pytest.raises(ValueError, match="must be of float32"):
        widen(it)


def test_without_rows_nothing_is_trained():
    it = parts()
    it.order, it.schedule = NOTHING, np.zeros((0, 3))
    before = it.params.copy()
    train(it)
    times = np.full((2, 5), np.nan)
    it.gradient = aligned_zeros((2, it.params.size), np.float32)
    _core.rehearse(
        it.model, it.work, it.samples, it.order, it.batch_size, it.schedule, step_of(it), times
    )
    assert_array_equal(it.params, before)
    assert np.isnan(times).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gradient_that_is_applied_makes_the_step_of_train(dtype):
    trained, applied = parts(dtype=dtype), parts(dtype=dtype)
    trained.batch_size, trained.schedule = N_ROWS, trained.schedule[:1]
    train(trained)
    it = applied
    scale = _core.scale_of_rows(it.model, it.work, it.samples, it.order)
    assert scale == 1 / N_ROWS
    gradient = _core.Gradient(it.model, it.work, it.gradient[0], scale)
    _core.add_gradient(it.model, it.work, it.samples, it.order, gradient, True, 1)
    _core.apply_gradient(it.model, step_of(it), it.schedule[0], 2)
    assert_array_equal(applied.params, trained.params)


@pytest.mark.parametrize("shape", [(299, 2), (300, 3), (300,)])
def test_outputs_of_another_shape_are_refused(shape):
    predictor = parts().passes.predictor
    X = np.ones((300, 3), np.float32)
    with pytest.raises(ValueError, match=r"out must be a C-ordered array .* of shape \(300, 2\)"):
        predictor(X, np.zeros(shape, np.float32))
    for other in (
        np.zeros((300, 2), np.float32, order="F"), np.zeros((300, 2), np.int32),
        [[0.0, 0.0]] * 300,
    ):  # fmt: skip
        with pytest.raises(ValueError, match="out must be"):
            predictor(X, other)


@pytest.mark.parametrize(
    "X",
    [
        np.ones(3, np.float32), np.ones((0, 3), np.float32), np.ones((2, 4), np.float32),
        np.ones((2, 3), complex), np.ones((2, 3), object), [[1.0, 2.0, 3.0]],
    ],
)  # fmt: skip
def test_rows_that_the_core_cannot_read_are_left_to_others(X):
    assert parts().passes.predictor(X, None) is None


@pytest.mark.parametrize(
    "numbers",
    [[1, -5.5], np.array([[1, 2], [3, -9]]), np.asfortranarray([[1.0, 4], [-7, 2]]), np.ones(0)],
)
def test_the_largest_of_any_numbers(numbers):
    assert _core.largest_of(numbers) == np.max(np.abs(numbers), initial=0)


def test_sparse_rows_have_an_index():
    row, y, sample_weight = np.ones((1, 1), np.float32), np.ones((1, 2), np.float32), np.ones(1)
    with pytest.raises(ValueError, match="a number for each of its indices, at least 1"):
        _core.Samples(row, NOTHING, np.array([0, 0]), y, sample_weight.astype(np.float32))
    rows = np.ones((1, 2), np.float32)  # a sparse matrix has its numbers in one column
    with pytest.raises(ValueError, match="a number for each of its indices, at least 1"):
        _core.Samples(rows, np.array([0]), np.array([0, 1]), y, sample_weight.astype(np.float32))


def test_no_rows_are_widened():
    it = parts()
    it.out = it.out[:0]
    widen(it)


class Memory:
    """Gives memory some times, and then there is no more."""

    def __init__(self, n_times):
        self.n_times = n_times

    def __call__(self, n_numbers):
        if self.n_times == 0:
            raise MemoryError
        self.n_times -= 1
        return aligned_zeros(n_numbers, np.dtype("float32"))


def test_with_less_memory_a_prediction_has_fewer_threads():
    network = Network([3, 40, 2], random_state=0)
    passes = network.passes
    X = np.random.RandomState(0).standard_normal((1000, 3)).astype(np.float32)
    expected = passes.predictor(X, None, 4)
    layers = network.parameters.layers
    for n_times in (2, 3):  # the first one is for a look at the workspace
        predictor = _core.Predictor(passes.model, layers, Memory(n_times))
        assert_array_equal(predictor(X, None, 4), expected)
    with pytest.raises(MemoryError):
        _core.Predictor(passes.model, layers, Memory(1))(X, None, 4)


# Tables that do not fit --------------------------------------------------------------------------

INPUT_LAYERS = {
    "pbld": InputLayer([2, 3], [3, 20], numeric_embedding="pbld", scaling=True),
    "bins": InputLayer(
        [2, 3], [3, 20], numeric_embedding="piecewise_linear", bin_edges=[[0, 1, 2], [0, 1]]
    ),
}


def changed(table, row, field, value):
    """Return a copy of a table with another number in it."""
    table = table.copy()
    table[field][row] = value
    return table


def a_model_of(network, **tables):
    """Return the model of a network with an input layer, with other tables."""
    parameters = network.passes.parameters
    columns, bins = parameters.columns_for_core
    tables = {
        "layers": parameters.layers, "blocks": parameters.blocks, "params": parameters.flat,
        "columns": columns, "bins": bins,
    } | tables  # fmt: skip
    return _core.Model(
        tables["layers"], tables["blocks"], _core.LOSSES["squared_error"], np.zeros(1),
        tables["params"], parameters.flat[:0], None, tables["columns"], tables["bins"],
    )  # fmt: skip


LAYERS_THAT_DO_NOT_FIT = [
    # row, field, value. Rows 0 to 3 are layers, 4 to 6 the matrices of the input layer.
    *[(1, field, value) for field, value in (
        ("n_out", 0), ("n_out", 17), ("kind", 1), ("n_dense", 20), ("n_dense", -1), ("b", 303),
    )],
    *[(2, field, value) for field, value in (
        ("n_in", 7), ("n_dense", 5), ("n_dense", 7), ("b", 415), ("W", -16), ("n_in", -1),
        ("stride", 4),
    )],
    *[(l, field, value) for l in (1, 2, 3) for field in ("gain", "shift", "mix")
      for value in (-1, 10**6)],
    *[(0, field, value) for field, value in (
        ("n_out", 15), ("n_out", 33), ("n_in", 3), ("n_in", 5), ("stride", 16), ("stride", 1),
        ("is_embedded", 0), ("n_out", 0),
    )],
    *[(row, field, value) for row in (4, 5, 6) for field, value in (
        ("kind", 0), ("n_out", -1), ("n_out", 97), ("n_in", 1), ("W", -1), ("W", 10**6),
        ("n_dense", -1), ("n_dense", 10**5),
    )],
    (6, "n_out", 18),
    (4, "n_dense", 1), (4, "n_out", 8), (5, "n_out", 7), (5, "n_dense", 19),
]  # fmt: skip


@pytest.mark.parametrize(("row", "field", "value"), LAYERS_THAT_DO_NOT_FIT)
def test_layers_that_do_not_fit(row, field, value):
    network = Network([4, 6, 5, 2], input_layer=INPUT_LAYERS["pbld"], random_state=0)
    layers = network.passes.parameters.layers
    a_model_of(network)
    with pytest.raises(ValueError, match=r"layers|params|input layer"):
        a_model_of(network, layers=changed(layers, row, field, value))


@pytest.mark.parametrize(
    ("kind", "field", "values"),
    [
        *[(kind, "kind", (-1, 99)) for kind in INPUT_LAYERS],
        *[(kind, "place", (-1, 10**6)) for kind in INPUT_LAYERS],
        *[(kind, "n", (-1, 0, 100)) for kind in INPUT_LAYERS],
        *[(kind, "row", (-1, 10**6)) for kind in INPUT_LAYERS],
        *[(kind, "n_codes", (-1,)) for kind in INPUT_LAYERS],
        ("pbld", "n_frequencies", (0, 129, 17)),
        ("pbld", "n_linear", (-1, 4, 50)),
    ],
)
def test_columns_that_do_not_fit(kind, field, values):
    network = Network([4, 6, 5, 2], input_layer=INPUT_LAYERS[kind], random_state=0)
    table = network.passes.parameters.columns_for_core[0]
    a_model_of(network)
    for row in range(2 if field.startswith(("n_freq", "n_lin")) else len(table)):
        for value in values:
            with pytest.raises(ValueError, match="columns do not fit the layers"):
                a_model_of(network, columns=changed(table, row, field, value))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("layer", 0, "belong to a layer"),
        ("layer", 7, "belong to a layer"),
        ("first", -1, "some of its layer's rows"),
        ("first", 20, "some of its layer's rows"),
        ("last", 0, "some of its layer's rows"),
        ("last", 21, "some of its layer's rows"),
    ],
)
def test_blocks_that_do_not_fit(field, value, message):
    network = Network([4, 6, 5, 2], input_layer=INPUT_LAYERS["pbld"], random_state=0)
    blocks = network.passes.parameters.blocks
    with pytest.raises(ValueError, match=message):
        a_model_of(network, blocks=changed(blocks, 0, field, value))


@pytest.mark.parametrize(
    "tables", [{"columns": np.zeros(0, _core.COLUMN)}, {"bins": np.zeros((3, 0), np.float32)}]
)
def test_an_input_layer_has_columns_and_two_rows_of_bins(tables):
    network = Network([4, 6, 5, 2], input_layer=INPUT_LAYERS["bins"], random_state=0)
    with pytest.raises(ValueError, match=r"columns|bins"):
        a_model_of(network, **tables)


PLACES = ("s", "z", "f", "a", "delta", "delta_z", "delta_f", "delta_a", "spread")


@pytest.mark.parametrize("field", PLACES)
@pytest.mark.parametrize("row", [0, 1, 3])
def test_places_outside_of_the_memory(row, field):
    network = Network([4, 6, 5, 2], input_layer=INPUT_LAYERS["pbld"], random_state=0)
    passes = network.passes
    work = passes.workspace(N_ROWS, passes.table(FOR_GRADIENT), dense=True)
    for value in (-1, 10**6):
        with pytest.raises(ValueError, match="memory is smaller"):
            _core.Workspace(changed(work.layers, row, field, value), work.memory, N_ROWS)


OF_THE_MODEL = [
    name for name in _core.LAYER.names if name not in (*PLACES, "activation", "dropout", "noise")
]


@pytest.mark.parametrize("field", OF_THE_MODEL)
def test_a_workspace_of_another_model(field):
    it = parts()
    memory = np.zeros(10**5, np.float32)
    layers = it.work.layers
    it.work = _core.Workspace(layers, memory, N_ROWS)
    forward(it)
    it.work = _core.Workspace(changed(layers, 1, field, layers[field][1] + 1), memory, N_ROWS)
    with pytest.raises(ValueError, match="the workspace is not one of this model"):
        forward(it)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((5, 2))}, "do not fit one another"),
        ({"X": np.zeros((4, 3))}, "do not fit one another"),
        ({"out": np.zeros((5, 2))}, "do not fit one another"),
        ({"out": np.zeros((4, 3))}, "do not fit one another"),
        ({"heights": np.zeros(4)}, "do not fit one another"),
        ({"ends": np.array([2, 4, 5])}, "do not fit one another"),
        ({"ends": np.array([1, 5])}, "at least two knots"),
        ({"ends": np.array([2, 3])}, "at least two knots"),
        ({"ends": np.array([2, 6])}, "at least two knots"),
    ],
)
def test_knots_that_do_not_fit(change, message):
    arrays = {
        "X": np.zeros((4, 2)), "knots": np.arange(5.0), "heights": np.arange(5.0),
        "ends": np.array([2, 5]), "out": np.zeros((4, 2)),
    }  # fmt: skip
    _core.interpolate(*arrays.values())
    with pytest.raises(ValueError, match=message):
        _core.interpolate(*(arrays | change).values())


# What benchmarks call ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("equation", [1, 3, 4])
def test_seconds_of_a_product(equation, dtype):
    it = parts((1, 4, 2), dtype=dtype)
    gradient = _core.Gradient(it.model, it.work, it.gradient[0], 1.0)
    before = it.params.copy()
    assert _core.seconds_of_product(equation, it.model, it.work, gradient, 2) > 0
    assert_array_equal(it.params, before)
    it = parts((3, 4, 4, 2), dtype=dtype)
    gradient = _core.Gradient(it.model, it.work, it.gradient[0], 1.0)
    with pytest.raises(ValueError, match="there must be one hidden layer"):
        _core.seconds_of_product(equation, it.model, it.work, gradient, 2)


def test_seconds_of_a_barrier():
    assert _core.seconds_of_barrier(2, 10) > 0
