"""Weight initializers."""

import numpy as np

from fastmlp._engine.activations import ACTIVATIONS
from fastmlp._engine.checks import check_parameter


def _uniform(variance, shape, random_state):
    bound = np.sqrt(3 * variance)
    return random_state.uniform(-bound, bound, shape)


def _normal(variance, shape, random_state):
    return np.sqrt(variance) * random_state.standard_normal(shape)


def glorot_uniform(shape, random_state):
    """Variance 2 / (n_in + n_out): Glorot and Bengio, AISTATS 2010."""
    return _uniform(2 / sum(shape), shape, random_state)


def glorot_normal(shape, random_state):
    return _normal(2 / sum(shape), shape, random_state)


def he_uniform(shape, random_state):
    """Variance 2 / n_in: He, Zhang, Ren and Sun, ICCV 2015."""
    return _uniform(2 / shape[0], shape, random_state)


def he_normal(shape, random_state):
    return _normal(2 / shape[0], shape, random_state)


def lecun_uniform(shape, random_state):
    """Variance 1 / n_in: LeCun, Bottou, Orr and Mueller, Efficient backprop, 1998."""
    return _uniform(1 / shape[0], shape, random_state)


def lecun_normal(shape, random_state):
    return _normal(1 / shape[0], shape, random_state)


def orthogonal(shape, random_state):
    """Orthonormal rows or columns, whichever are fewer: Saxe, McClelland and Ganguli, ICLR 2014."""
    wide = random_state.standard_normal((max(shape), min(shape)))
    Q, R = np.linalg.qr(wide)
    Q *= np.sign(np.diag(R))  # makes Q uniformly distributed over orthogonal matrices
    return Q if shape[0] >= shape[1] else Q.T


def zeros(shape, random_state):
    """All zeros. In the last layer, this gives all rows the same output before training."""
    return np.zeros(shape)


INITIALIZERS = {
    function.__name__: function
    for function in (
        glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal,
        orthogonal, zeros,
    )
}  # fmt: skip


def check_init(init, n_layers):
    """Return a list with an entry for each layer of weights.

    An entry is None (scikit-learn's initialization), a name, a function or an array.
    """
    per_layer = list(init) if isinstance(init, list | tuple) else [init] * n_layers
    if len(per_layer) != n_layers:
        raise ValueError(
            f"init must have an entry for each of the {n_layers} layers of weights, got "
            f"{len(per_layer)}"
        )
    for entry in per_layer:
        if isinstance(entry, str) and entry not in INITIALIZERS:
            raise ValueError(f"init must be one of {sorted(INITIALIZERS)}, got {entry!r}")
        if entry is not None and not (
            isinstance(entry, str | list | tuple | np.ndarray) or callable(entry)
        ):
            raise TypeError(
                "init must be None, a name, a function f(shape, random_state), or a list of these "
                f"or of arrays for each layer, got {entry!r}"
            )
    return per_layer


def initialize(network, init, random_state):
    """Initialize the weights of a network, layer by layer. See `check_init` for ``init``."""
    of_hidden = network.activations_of_hidden
    activations = (*of_hidden, *of_hidden[-1:])
    if isinstance(network.activation, str):  # applies to the last layer as well, as in scikit-learn
        activations = (network.activation,) * network.n_layers
    for l, (W, b) in enumerate(network.params):
        if init[l] is None and network.parametrization == "ntk":
            W[...] = lecun_normal(W.shape, random_state)
            continue
        if init[l] is None:
            name = activations[l] if activations else "identity"
            bound = np.sqrt(ACTIVATIONS[name].init_scale / sum(W.shape))
            W[...] = random_state.uniform(-bound, bound, W.shape)
            b[...] = random_state.uniform(-bound, bound, b.shape)
            continue
        function = INITIALIZERS[init[l]] if isinstance(init[l], str) else init[l]
        given = function(W.shape, random_state) if callable(function) else function
        W[...] = check_parameter(f"init[{l}]", given, W)
    for gain, _ in filter(None, network.norms):
        gain[...] = 1
    for mix in network.mixes:
        if mix is not None:
            mix[...] = 1
    initialize_inputs(network, random_state)
    network.parameters.remove_missing()


def initialize_inputs(network, random_state):
    """Initialize the input layer, as RealMLP does: Holzmueller and others, NeurIPS 2024."""
    for name, view in network.input_parameters.items():
        if name == "frequencies":
            view[...] = network.input_layer.frequency_scale * random_state.randn(*view.shape)
        elif name == "phases":
            view[...] = random_state.uniform(-np.pi, np.pi, view.shape)
        elif name.startswith("linear"):
            bound = 1 / np.sqrt(network.input_layer.n_frequencies)
            view[...] = random_state.uniform(-bound, bound, view.shape)
        else:
            view[...] = 1 if name == "scales" else random_state.randn(*view.shape)


def start_at_mean(network, data, order):
    """Set the last biases so that outputs exp(z) start near the weighted mean of the targets.

    ``order`` selects the rows over which the mean is taken.
    """
    y, weight = data.y[order].astype(np.float64), data.sample_weight[order].astype(np.float64)
    mean = np.average(y, axis=0, weights=weight)
    network.b[-1][mean > 0] = np.log(mean[mean > 0])
