"""Conversion of networks from and to stacks of PyTorch's modules. PyTorch is imported lazily."""

from importlib import import_module

import numpy as np

# Our name of an activation, the class in torch.nn, and the options with which they are the same.
ACTIVATIONS = {
    "identity": ("Identity", {}),
    "logistic": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01}),
    "elu": ("ELU", {"alpha": 1.0}),
    "selu": ("SELU", {}),
    "gelu": ("GELU", {"approximate": "none"}),
    "silu": ("SiLU", {}),
    "mish": ("Mish", {}),
    "softplus": ("Softplus", {"beta": 1.0}),
    "softsign": ("Softsign", {}),
    "hard_swish": ("Hardswish", {}),
}

# The last module, for the losses whose output activation PyTorch has.
OUTPUTS = {"softmax": "Softmax", "logistic": "Sigmoid", "identity": None}
LOSSES = {"Softmax": "log_loss", "Sigmoid": "binary_log_loss", None: "squared_error"}

EPSILON_OF_LAYER_NORM = 1e-5


def torch_nn():
    """Import torch.nn, or say what is missing."""
    try:
        return import_module("torch.nn")
    except ImportError as error:
        raise ImportError("this needs PyTorch: pip install torch") from error


class Stack:
    """What a stack of modules consists of.

    Parameters
    ----------
    module : torch.nn.Sequential
        Linear layers, each but the last followed by LayerNorm or not, an activation or none, and
        Dropout or not. Behind the last one may be Softmax or Sigmoid. Sequentials may be nested.

    Attributes
    ----------
    linears, norms : list of modules
        A Linear for each layer, and a LayerNorm or None for each hidden layer.
    activations : list of str
        Our names of the activations of the hidden layers.
    output : str or None
        The class of the last activation.
    """

    def __init__(self, module):
        self.nn = torch_nn()
        if not isinstance(module, self.nn.Module):
            raise TypeError(f"module must be a torch.nn.Sequential, got {module!r}")
        self.linears, self.norms, self.activations, self.output = [], [], [], None
        self._name_of = {getattr(self.nn, name): ours for ours, (name, _) in ACTIVATIONS.items()}
        for one in self._flat(module):
            self._take(one)
        if not self.linears:
            raise ValueError("module must have a Linear layer")
        if len(self.norms) == len(self.linears):
            raise ValueError("module must not have LayerNorm behind the last Linear layer")
        self._end_layer()
        names = self.activations[len(self.linears) - 1 :]
        if names and names != ["identity"]:
            self.output = ACTIVATIONS[names[0]][0]
        if self.output not in LOSSES:
            raise ValueError(f"module must end with Linear, Softmax or Sigmoid, got {self.output}")
        self.activations = self.activations[: len(self.linears) - 1]

    def _flat(self, module):
        if not isinstance(module, self.nn.Sequential):
            yield module
            return
        for child in module:
            yield from self._flat(child)

    def _take(self, one):
        """Take the next module of the stack."""
        if isinstance(one, self.nn.Dropout):
            return  # for training only
        if self.output:
            raise ValueError(f"module must end with {self.output}, got {one!r} behind it")
        if isinstance(one, self.nn.Linear):
            if self.linears:
                self._end_layer()
            self.linears.append(one)
        elif not self.linears:
            raise ValueError(f"module must begin with a Linear layer, got {one!r}")
        elif isinstance(one, self.nn.LayerNorm):
            self._take_norm(one)
        elif isinstance(one, self.nn.Softmax):
            if one.dim not in (1, -1):
                raise ValueError(f"Softmax must have dim=1, got {one!r}")
            self.output = "Softmax"
        else:
            self._take_activation(one)

    def _take_norm(self, one):
        self._check_place(self.norms, one, "LayerNorm")
        if len(self.activations) == len(self.linears):
            raise ValueError(f"LayerNorm must come before the activation, got {one!r}")
        if one.weight is None or not np.isclose(one.eps, EPSILON_OF_LAYER_NORM, rtol=1e-6):
            raise ValueError(f"LayerNorm must have parameters and eps=1e-5, got {one!r}")
        self.norms += [None] * (len(self.linears) - 1 - len(self.norms)) + [one]

    def _take_activation(self, one):
        name = self._name_of.get(type(one))
        if name is None:
            raise ValueError(
                "module must consist of Linear, LayerNorm, Dropout and known activations, got "
                f"{one!r}"
            )
        for option, value in ACTIVATIONS[name][1].items():
            if getattr(one, option) != value:
                raise ValueError(f"{type(one).__name__} must have {option}={value!r}, got {one!r}")
        self._check_place(self.activations, one, "activation")
        self.activations.append(name)

    def _check_place(self, taken, one, what):
        if len(taken) == len(self.linears):
            raise ValueError(f"a layer must not have a second {what}, got {one!r}")

    def _end_layer(self):
        """Fill in what the last layer does not have."""
        n_layers = len(self.linears)
        self.norms += [None] * (n_layers - len(self.norms))
        self.activations += ["identity"] * (n_layers - len(self.activations))

    def arguments(self, loss):
        """Return the arguments of a `Network` of this structure."""
        hidden_norms = self.norms[:-1]
        if any(hidden_norms) and not all(hidden_norms):
            raise ValueError("module must have LayerNorm in all hidden layers or in none")
        dtype = str(self.linears[0].weight.dtype).removeprefix("torch.")
        sizes = [self.linears[0].in_features, *(linear.out_features for linear in self.linears)]
        for before, linear in zip(sizes, self.linears, strict=False):
            if linear.in_features != before:
                raise ValueError(f"module must have layers that fit one another, got {linear!r}")
        return {
            "layer_sizes": sizes,
            "activation": self.activations or "identity",
            "loss": loss or LOSSES[self.output],
            "layer_norm": any(hidden_norms),
            "dtype": dtype,
        }

    def fill(self, network):
        """Copy the parameters into a network of this structure."""
        for (W, b), linear in zip(network.params, self.linears, strict=True):
            W[...] = _array(linear.weight).T
            b[...] = 0 if linear.bias is None else _array(linear.bias)
        for pair, norm in zip(network.norms, self.norms, strict=True):
            if norm is not None:
                pair[0][...] = _array(norm.weight)
                pair[1][...] = 0 if norm.bias is None else _array(norm.bias)


def _array(tensor):
    return tensor.detach().cpu().numpy()


def stack_of(network):
    """Return a torch.nn.Sequential with copies of a network's parameters."""
    output = network.passes.loss.row.output_activation
    refused = {
        "residual=True": network.residual,
        "learned_activation=True": network.learned_activation,
        "an input_layer": network.input_layer is not None,
        f"loss={network.loss!r}": output not in OUTPUTS or network.passes.loss.n_quantiles > 1,
    }
    for what, is_there in refused.items():
        if is_there:
            raise ValueError(f"a stack of PyTorch's modules has no counterpart of {what}")
    nn, torch = torch_nn(), import_module("torch")
    dtype = getattr(torch, network.dtype.name)
    modules = []
    for l, ((W, b), norm) in enumerate(zip(network.params, network.norms, strict=True)):
        linear = nn.Linear(*W.shape, dtype=dtype)
        _set(torch, linear, W.T, b)
        modules.append(linear)
        if norm is not None:
            layer_norm = nn.LayerNorm(len(b), eps=EPSILON_OF_LAYER_NORM, dtype=dtype)
            _set(torch, layer_norm, *norm)
            modules.append(layer_norm)
        if l < network.n_layers - 1:
            name, options = ACTIVATIONS[network.activations_of_hidden[l]]
            modules.append(getattr(nn, name)(**options))
    if OUTPUTS[output]:
        options = {"dim": 1} if output == "softmax" else {}
        modules.append(getattr(nn, OUTPUTS[output])(**options))
    return nn.Sequential(*modules).eval()


def _set(torch, module, weight, bias):
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(np.array(weight)))
        module.bias.copy_(torch.from_numpy(np.array(bias)))
