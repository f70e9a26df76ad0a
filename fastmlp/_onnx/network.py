"""A network in the operators of ONNX."""

import numpy as np

from fastmlp._engine.torch_modules import EPSILON_OF_LAYER_NORM
from fastmlp._onnx.activations import Activations
from fastmlp._onnx.input_layer import Inputs


def add_network(graph, network, x, *, is_wide=False):
    """Add a network, and return the name of its output.

    Parameters
    ----------
    graph : Graph
    network : Network
    x : str
        The columns of X, in the dtype of the network.
    is_wide : bool, default=False
        Whether the activation of the output is computed in float64, as `Network.output` does for
        rows of float64.

    Returns
    -------
    str
        The output, before any function of the user's own.
    """
    activations = Activations(graph, network.dtype)
    a = x
    for l in range(network.n_layers):
        with graph.within(f"layer{l}"):
            z = _weighted_inputs(graph, network, l, a)
            a = _activated(graph, activations, network, l, z, a)
    if is_wide and network.dtype == np.float32:
        a, activations = graph.cast(a, np.float64), Activations(graph, np.float64)
    loss = network.passes.loss
    with graph.within("output"):
        if loss.n_quantiles > 1:
            return activations.ascending(a, network.layer_sizes[-1])
        return getattr(activations, loss.row.output_activation)(a)


def _weighted_inputs(graph, network, l, a):
    """Add z of a layer, normalized if the layer is."""
    W, b = (np.array(array) for array in network.params[l])
    norm = network.norms[l]
    if norm is not None:
        # The mean over the units is subtracted from the parameters: that of z is then 0, so that
        # nothing cancels where its variance is computed as the mean of the squares.
        W, b = _without_mean(W), _without_mean(b)
    if l == 0 and network.input_layer is not None:
        z = _first_layer(graph, Inputs(graph, network, a), W, b)
    else:
        z = graph.add("Gemm", a, W, b)
    if norm is None:
        return z
    gain, shift = (np.array(array) for array in norm)
    return graph.add("LayerNormalization", z, gain, shift, axis=-1, epsilon=EPSILON_OF_LAYER_NORM)


def _without_mean(parameters):
    wide = parameters.astype(np.float64)
    return (wide - wide.mean(axis=-1, keepdims=True)).astype(parameters.dtype)


def _first_layer(graph, inputs, W, b):
    """Add z of the first layer behind an input layer."""
    dense = b if inputs.dense is None else graph.add("Gemm", inputs.dense, W[inputs.order], b)
    one_hot = inputs.one_hot(W)
    return graph.add("Sum", dense, *one_hot) if one_hot else dense


def _activated(graph, activations, network, l, z, before):
    """Add the activation of a hidden layer; that of the output layer comes with the loss."""
    if l == network.n_layers - 1:
        return z
    a = getattr(activations, network.activations_of_hidden[l])(z)
    mix = network.mixes[l]
    if mix is not None:
        a = graph.add("Add", z, graph.add("Mul", np.array(mix), graph.add("Sub", a, z)))
    if network.parameters.rows[l].is_residual:
        a = graph.add("Add", a, before)
    return a
