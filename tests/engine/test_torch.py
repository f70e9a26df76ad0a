"""Conversion of networks from and to stacks of PyTorch's modules."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastmlp import InputLayer, Network
from fastmlp._core import ACTIVATIONS

torch = pytest.importorskip("torch", reason="compares with PyTorch")
nn = torch.nn


def rows(n_in=5, dtype=np.float64):
    return np.random.RandomState(0).standard_normal((50, n_in)).astype(dtype)


def output_of(stack, X):
    with torch.no_grad():
        return stack(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_pytorch_there_and_back(activation, layer_norm, dtype):
    network = Network(
        [5, 7, 4, 3], activation, "log_loss", layer_norm=layer_norm, dtype=dtype, random_state=0
    )
    for norm in filter(None, network.norms):
        norm[0][...], norm[1][...] = np.random.RandomState(1).uniform(0.5, 2, (2, len(norm[0])))
    X = rows(dtype=dtype)
    stack = network.to_torch()
    rtol = 1e-5 if dtype == "float32" else 1e-10
    assert_allclose(output_of(stack, X), network.output(X), rtol=rtol, atol=rtol)
    back = Network.from_torch(stack)
    assert back.activations_of_hidden == network.activations_of_hidden
    assert (back.loss, back.layer_norm, back.dtype) == ("log_loss", layer_norm, dtype)
    assert (back.output(X) == network.output(X)).all()


@pytest.mark.parametrize(
    ("end", "loss", "expected"),
    [
        ([nn.Softmax(dim=1)], None, "log_loss"),
        ([nn.Softmax(dim=-1), nn.Dropout()], None, "log_loss"),
        ([nn.Sigmoid()], None, "binary_log_loss"),
        ([], None, "squared_error"),
        ([nn.Identity()], None, "squared_error"),
        ([], "huber", "huber"),
    ],
    ids=str,
)
def test_pytorch_stacks(end, loss, expected):
    torch.manual_seed(0)
    stack = nn.Sequential(
        nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.GELU(), nn.Dropout(0.2)),
        nn.Linear(6, 4, bias=False), nn.LayerNorm(4, bias=False), nn.ELU(), nn.Linear(4, 2), *end,
    ).double().eval()  # fmt: skip
    network = Network.from_torch(stack, loss)
    assert network.loss == expected
    assert network.dtype == np.float64
    assert_allclose(network.output(rows()), output_of(stack, rows()), rtol=1e-9, atol=1e-12)
    alone = nn.Sequential(nn.Linear(5, 2), *end).double().eval()
    network = Network.from_torch(alone, loss, n_threads=1)
    assert network.n_threads == 1
    assert_allclose(network.output(rows()), output_of(alone, rows()), rtol=1e-9, atol=1e-12)
    logits = nn.Linear(5, 3).double()  # a module alone is a stack of one
    network = Network.from_torch(logits, "log_loss")
    expected = torch.softmax(torch.from_numpy(output_of(logits, rows())), dim=1).numpy()
    assert_allclose(network.output(rows()), expected, rtol=1e-9)


def test_pytorch_copies_are_independent():
    network = Network([3, 4, 2], random_state=0)
    stack = network.to_torch()
    before = network.output(np.ones((1, 3)))
    with torch.no_grad():
        stack[0].weight += 1
    assert (network.output(np.ones((1, 3))) == before).all()
    again = Network.from_torch(stack)
    again.W[0][...] = 0
    assert (stack[0].weight != 0).all()


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([], "must have a Linear layer"),
        ([nn.ReLU(), nn.Linear(2, 1)], "must begin with a Linear layer, got ReLU"),
        ([nn.Linear(2, 3), nn.PReLU(), nn.Linear(3, 1)], "known activations, got PReLU"),
        ([nn.Linear(2, 3), nn.Conv1d(3, 3, 1)], "known activations, got Conv1d"),
        ([nn.Linear(2, 3), nn.LeakyReLU(0.2), nn.Linear(3, 1)], "negative_slope=0.01, got"),
        ([nn.Linear(2, 3), nn.GELU("tanh"), nn.Linear(3, 1)], "approximate='none', got"),
        ([nn.Linear(2, 3), nn.ReLU(), nn.Tanh(), nn.Linear(3, 1)], "a second activation, got Tanh"),
        ([nn.Linear(2, 3), nn.ReLU(), nn.LayerNorm(3), nn.Linear(3, 1)], "before the activation"),
        ([nn.Linear(2, 3), nn.LayerNorm(3, eps=1e-3), nn.Linear(3, 1)], "eps=1e-5"),
        ([nn.Linear(2, 3), nn.LayerNorm(3)], "behind the last Linear"),
        (
            [nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 3), nn.Linear(3, 1)],
            "in all hidden layers or in none",
        ),
        ([nn.Linear(2, 3), nn.ReLU()], "must end with Linear, Softmax or Sigmoid, got ReLU"),
        ([nn.Linear(2, 3), nn.Softmax(dim=1), nn.Linear(3, 1)], "must end with Softmax"),
        ([nn.Linear(2, 3), nn.Softmax(dim=0)], "dim=1"),
        ([nn.Linear(2, 3), nn.Linear(4, 1)], "fit one another"),
    ],
    ids=str,
)
def test_pytorch_modules_without_a_counterpart(modules, message):
    with pytest.raises(ValueError, match=message):
        Network.from_torch(nn.Sequential(*modules))


def test_networks_without_a_counterpart_in_pytorch():
    with pytest.raises(TypeError, match=r"module must be a torch.nn.Sequential, got 3"):
        Network.from_torch(3)
    for options, message in (
        ({"residual": True}, "residual=True"),
        ({"learned_activation": True}, "learned_activation"),
        ({"input_layer": InputLayer()}, "an input_layer"),
        ({"loss": "poisson"}, "loss='poisson'"),
        ({"loss": "quantile", "loss_params": {"quantiles": [0.1, 0.9]}}, "loss='quantile'"),
    ):
        with pytest.raises(ValueError, match=message):
            Network([3, 4, 4, 2], **options).to_torch()
