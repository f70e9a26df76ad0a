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
    with pytest.raises(ValueError, match="out must be"):
        predictor(X, np.zeros((300, 2), np.float32, order="F"))


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
