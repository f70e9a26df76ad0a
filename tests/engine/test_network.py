"""Network: what the low-level object offers, refuses and survives."""

import copy
import pickle
import sys

import numpy as np
import pytest
import scipy.sparse
from problems import make_problem
from scipy.sparse import csr_array

from fastmlp import Network
from fastmlp._core import ACTIVATIONS
from fastmlp._engine.layout import aligned_zeros
from fastmlp._engine.rows import Features


@pytest.fixture
def network():
    return Network([3, 4, 2], "tanh", dtype="float64", random_state=0)


def test_by_hand():
    """Two inputs, two relu units, one output; every number worked out on paper."""
    network = Network([2, 2, 1], dtype="float64")
    network.params = [([[1, -1], [2, 1]], [0, -2]), ([[3], [5]], [1])]
    z, a = network.forward([[1, 2]])
    assert z[0].tolist() == [[5, -1]]
    assert a[1].tolist() == [[5, 0]]
    assert z[1].tolist() == a[2].tolist() == [[16]]
    loss, delta, dW, db = network.loss_and_gradients([[1, 2]], [14])
    assert loss == 2
    assert delta[1].tolist() == [[2]]
    assert delta[0].tolist() == [[6, 0]]
    assert dW[1].tolist() == [[10], [0]]
    assert dW[0].tolist() == [[6, 0], [12, 0]]
    assert db[0].tolist() == [6, 0]
    assert db[1].tolist() == [2]


def test_first_weights_are_those_of_scikit_learn(network):
    rng = np.random.RandomState(0)
    for W, b in network.params:
        bound = np.sqrt(6 / sum(W.shape))
        assert (W == rng.uniform(-bound, bound, W.shape)).all()
        assert (b == rng.uniform(-bound, bound, b.shape)).all()


def test_params_are_views(network):
    network.W[0][...] = 1
    network.b[1] = [5, 6]
    assert (network.params[0][0] == 1).all()
    assert network.params[1][1].tolist() == [5, 6]
    network.params = [(2 * W, b) for W, b in network.params]
    assert (network.W[0] == 2).all()


@pytest.mark.parametrize(
    "params",
    [
        [],
        [(np.ones((3, 4)), np.ones(4))],
        [(np.ones((3, 4)), np.ones(4)), (np.ones((2, 4)), np.ones(2))],
    ],
)
def test_params_of_other_shapes_are_refused(network, params):
    before = network.snapshot()
    with pytest.raises(ValueError, match="params"):
        network.params = params
    with pytest.raises(ValueError, match="shape"):
        network.W[0] = np.ones((4, 3))
    with pytest.raises(TypeError, match="index"):
        network.W[0:1] = [np.ones((3, 4))]
    assert (network.parameters.flat == before).all()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_are_equal_and_independent(network, clone):
    twin = clone(network)
    X = np.ones((5, 3))
    assert (twin.output(X) == network.output(X)).all()
    assert twin.parameters.flat.ctypes.data % 64 == 0
    twin.W[0][...] = 0
    assert network.W[0].any()


def test_rows_do_not_begin_a_kilobyte_apart():
    network = Network([1, 256, 512, 1024, 1], dtype="float32")
    strides = network.parameters.layers["stride"] * network.dtype.itemsize
    assert (strides[1:-1] % 64 == 0).all()
    assert (strides % 1024 != 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_of_one_unit_are_vectors(dtype):
    network = Network([5, 1, 1, 3, 1], dtype=dtype)
    assert network.parameters.layers["stride"].tolist()[1:3] == [1, 1]
    assert all(W.flags.c_contiguous for W in network.W if W.shape[1] == 1)
    assert all(W.ctypes.data % 64 == 0 for W in network.W)
    assert network.parameters.flat.nbytes % 64 == 0


def test_aligned_zeros():
    for _ in range(20):
        array = aligned_zeros((3, 5), "float32")
        assert array.ctypes.data % 64 == 0
        assert not array.any()


def test_output_takes_many_rows_in_passes():
    network = Network([2, 3, 2], "tanh", "log_loss", random_state=0)
    X = np.random.RandomState(0).standard_normal((10_000, 2)).astype("float32")
    np.testing.assert_allclose(network.output(X), network.forward(X).a[-1], rtol=1e-6)


def test_loss_and_gradients_leave_the_parameters(network):
    before = network.snapshot()
    network.loss_and_gradients(np.ones((5, 3)), np.ones((5, 2)))
    assert (network.parameters.flat == before).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(layer_sizes=[3]), ValueError, "layer_sizes must have at least"),
        (dict(layer_sizes=[3, 0, 1]), ValueError, r"layer_sizes must be > 0, got \[3, 0, 1\]"),
        (dict(layer_sizes=[3, -2]), ValueError, "layer_sizes"),
        (dict(layer_sizes=[3, 2.5]), TypeError, r"layer_sizes.*whole.*2\.5"),
        (dict(layer_sizes=7), TypeError, "layer_sizes"),
        (dict(layer_sizes={3, 1}), TypeError, "layer_sizes"),
        (dict(layer_sizes=b"ab"), TypeError, "layer_sizes"),
        (dict(layer_sizes=[3, 1], random_state="a"), TypeError, "random_state.*'a'"),
        (dict(layer_sizes=[3, 1], random_state=-1), ValueError, "random_state.*-1"),
        (dict(layer_sizes=[3, 2**31]), ValueError, "layer_sizes"),
        (dict(layer_sizes=[3, 1], activation="swish"), ValueError, "activation.*relu.*swish"),
        (dict(layer_sizes=[3, 1], loss="hinge"), ValueError, "loss.*log_loss.*hinge"),
        (dict(layer_sizes=[3, 1], dtype="int32"), ValueError, "dtype.*float64.*int32"),
        (dict(layer_sizes=[3, 1], dtype=">f4"), ValueError, "dtype.*float64.*>f4"),
        (dict(layer_sizes=[3, 1], dtype=None), ValueError, "dtype.*float64.*None"),
        (dict(layer_sizes=[3, 2, 1], activation=[]), ValueError, "activation must be.*1 hidden"),
        (dict(layer_sizes=[3, 1], activation=7), ValueError, "activation"),
        (dict(layer_sizes=[2**30] * 9), ValueError, "layer_sizes make a network that no memory"),
        (dict(layer_sizes=[1, 2**25], loss="log_loss"), ValueError, "layer_sizes: at most"),
        (dict(layer_sizes=[3, 1], n_threads=0), ValueError, "n_threads"),
        (dict(layer_sizes=[3, 1], n_threads=1.5), TypeError, "n_threads"),
    ],
)
def test_constructor_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        Network(**arguments)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.ones((5, 2)), ValueError, r"X must have shape \(n_rows, 3\), got \(5, 2\)"),
        (np.ones(3), ValueError, "X must have shape"),
        (np.ones((0, 3)), ValueError, "X must have shape"),
        ([[1, 2, np.nan]], ValueError, "X must be finite in float64, but has NaN$"),
        ([[1, 2, np.inf]], ValueError, "X must be finite in float64, but has infinity$"),
        ([[1, np.nan, np.inf]], ValueError, "X must be finite in float64, but has NaN$"),
        ([["a", "b", "c"]], TypeError, "X must hold real numbers"),
        ([[1j, 0, 0]], TypeError, "X must hold real numbers"),
    ],
)
def test_rows_are_checked(network, X, error, message):
    for method in (network.forward, network.output):
        with pytest.raises(error, match=message):
            method(X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_rows", [2, 128, 129, 4097])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_every_row_is_checked(bad, n_rows, dtype):
    """Also where the core reads X as it is."""
    network = Network([3, 5, 2], dtype=dtype, n_threads=2)
    for i in {1, n_rows // 2, n_rows - 1}:
        for column in (0, 2):
            X = np.ones((n_rows, 3), dtype=dtype)
            X[i, column] = bad
            for method in (network.output, network.forward):
                with pytest.raises(ValueError, match="X must be finite"):
                    method(X)
            with pytest.raises(ValueError, match="X must be finite"):
                network.output(X, np.empty((n_rows, 2), dtype=dtype))
            with pytest.raises(ValueError, match="X must be finite"):
                network.output(scipy.sparse.csr_array(X))


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("log_loss", [0, 1, 2], "whole numbers from 0 to 1"),
        ("log_loss", [0, 0.5, 1], "whole numbers"),
        ("log_loss", [0, -1, 1], "whole numbers"),
        ("log_loss", [0, 1], "as many rows as X, 3, got 2"),
        ("binary_log_loss", [[0, 1], [0, 2], [1, 1]], "between 0 and 1"),
        ("poisson", [[0, 1], [0, -2], [1, 1]], "not be negative"),
        ("squared_error", [1, 2, 3], r"y must have shape \(n_rows, 2\), got \(3, 1\)"),
        ("squared_error", [[1, np.nan]] * 3, "y must be finite"),
    ],
)
def test_targets_are_checked(loss, y, message):
    network = Network([1, 2], loss=loss)
    with pytest.raises(ValueError, match=message):
        network.loss_and_gradients(np.ones((3, 1)), y)


@pytest.mark.parametrize(
    ("w", "message"),
    [
        ([1, 2], "sample_weight must have shape"),
        ([1, -1, 1], "sample_weight must not be negative"),
        ([0, 0, 0], "sample_weight must not be zero throughout"),
        ([1e308] * 3, "finite sum"),
        ([1, np.nan, 1], "sample_weight must be finite"),
    ],
)
def test_weights_are_checked(network, w, message):
    with pytest.raises(ValueError, match=message):
        network.loss_and_gradients(np.ones((3, 3)), np.ones((3, 2)), w)


@pytest.mark.parametrize("alpha", [-1, np.nan, "much", [1]])
def test_alpha_is_checked(network, alpha):
    with pytest.raises((ValueError, TypeError), match="alpha"):
        network.loss_and_gradients(np.ones((3, 3)), np.ones((3, 2)), alpha=alpha)


def test_too_large_for_the_dtype():
    for rows in ([[1e300]], csr_array([[1e300]])):
        with pytest.raises(ValueError, match=r"float32, but has numbers.*dtype='float64'"):
            Network([1, 1], dtype="float32").output(rows)
    with pytest.raises(ValueError, match=r"params\[0\]: W must be.*but has infinity"):
        Network([1, 1], dtype="float32").params = [([[np.inf]], [0])]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("learned_activation", [False, True])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_what_cannot_overflow_is_within_the_bound(
    activation, learned_activation, layer_norm, residual, dtype
):
    rng = np.random.RandomState(0)
    options = {"layer_norm": layer_norm, "residual": residual, "dtype": dtype}
    options["learned_activation"] = learned_activation
    for scale in (1e-3, 1.0, 1e3):
        net = Network([3, 4, 4, 2], activation, **options)
        for W in net.W:
            W[...] = scale * rng.randn(*W.shape)
        for gain, shift in filter(None, net.norms):
            gain[...], shift[...] = scale * rng.randn(2, 4)
        for mix in net.mixes[:-1] if learned_activation else ():
            mix[...] = scale * rng.randn(4)
        for b in net.b:
            b[...] = scale * rng.randn(len(b))
        X = scale * rng.randn(20, 3)
        z, a = net.forward(X)
        bound = net.passes.largest_number(np.linalg.norm(X, axis=1).max())
        assert max(abs(numbers).max() for numbers in (*z, *a)) <= bound < np.inf


def test_large_weights_that_lead_to_numbers_are_no_overflow():
    X = np.array([[1e-9, 0], [0, 1e-9]], dtype=np.float32)
    net = Network([2, 2, 1], "identity")
    net.params = [(np.full((2, 2), 1e25), [0, 0]), ([[1e10], [1e10]], [0])]
    assert net.passes.is_finite_for(Features.of(X))  # 1e16 * 1e10
    assert not net.passes.is_finite_for(Features.of(1e20 * X))
    assert not net.passes.is_finite_for(Features.of(csr_array(1e20 * X)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300 * 1e300, 1j])
def test_parameters_must_be_finite_and_real(network, bad):
    before = network.snapshot()
    with pytest.raises((ValueError, TypeError), match="item 0 must"):
        network.W[0] = np.full((3, 4), bad)
    with pytest.raises((ValueError, TypeError), match=r"params\[0\]: W must"):
        network.params = [(np.full((3, 4), bad), np.ones(4)), network.params[1]]
    assert (network.parameters.flat == before).all()


def test_what_the_tables_follow_from_cannot_be_changed(network):
    for name in ("layer_sizes", "activation", "loss", "dtype"):
        with pytest.raises(AttributeError):
            setattr(network, name, getattr(network, name))
    with pytest.raises(TypeError):
        network.params[0] = network.params[1]


def test_out_of_a_network():
    network, X, *_ = make_problem("log_loss", "relu", "float32", n_rows=200)
    expected = network.output(X)
    for n_rows in (1, 200):
        out = np.full((n_rows, 3), np.nan, dtype=np.float32)
        assert network.output(X[:n_rows], out) is out
        assert (out == expected[:n_rows]).all()
        out[...] = np.nan
        assert network.output(X[:n_rows].astype(float), out) is out
        assert (out == expected[:n_rows]).all()
    bad_ones = (np.zeros((3, 3), "f"), np.zeros((200, 3), "e"), np.zeros((3, 200), "f").T, [1])
    for bad in bad_ones:
        with pytest.raises(ValueError, match="out must be"):
            network.output(X, bad)


def test_state_of_parameters():
    """It has every number once, no padding, and fits another arithmetic."""
    settings = {"layer_norm": True, "learned_activation": True, "random_state": 0}
    network = Network([5, 7, 7, 2], **settings)
    state = network.parameters.state()
    sizes = {name: np.size(numbers) for name, numbers in state.items() if name != "version"}
    assert sum(sizes.values()) == 5 * 7 + 7 + 7 * 7 + 7 + 7 * 2 + 2 + 6 * 7
    other = Network([5, 7, 7, 2], **settings | {"random_state": 1, "dtype": "float64"})
    other.parameters.load(state)
    for ours, theirs in zip(other.params, network.params, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert (a == b).all()
    state["gain0"][...] = 7
    assert (network.norms[0][0] != 7).all()  # the state is a copy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 99}, "version 1 .* got version 99"),
        ({"W7": np.zeros(3)}, "W7"),
        ({"b0": np.zeros(3)}, r"b0 must have shape \(7,\), got \(3,\)"),
    ],
)
def test_state_that_does_not_fit(changes, message):
    parameters = Network([5, 7, 2], random_state=0).parameters
    before = parameters.flat.copy()
    with pytest.raises(ValueError, match=message):
        parameters.load(parameters.state() | changes)
    assert (parameters.flat == before).all()


@pytest.mark.parametrize(
    ("n_threads", "error"),
    [(0, ValueError), (-2, ValueError), ("two", TypeError), (1.5, TypeError)],
)
def test_number_of_threads_is_checked_when_it_is_set(n_threads, error):
    network = Network([2, 1], n_threads=2)
    with pytest.raises(error, match="n_threads must be None or"):
        network.n_threads = n_threads
    assert network.n_threads == 2


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python crashes without memory")
def test_without_memory_connections_are_not_taken_for_others(network):
    """Python refuses one object after the other."""
    testcapi = pytest.importorskip("_testcapi")
    for n in range(30):
        testcapi.set_nomemory(n, n + 1)
        try:
            is_same = network.has_connections(None)
        except MemoryError:
            is_same = True
        finally:
            testcapi.remove_mem_hooks()
        assert is_same, n
