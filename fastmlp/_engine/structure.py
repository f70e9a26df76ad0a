"""`Structure`: the arguments of a network that decide which parameters it has, and where."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp._engine.checks import (
    check_activation,
    check_connections,
    check_dtype,
    check_flag,
    check_layer_sizes,
    check_loss,
    check_parametrization,
)
from fastmlp._engine.input_layer import Columns, InputLayer
from fastmlp._engine.losses import Loss
from fastmlp._engine.parameters import Parameters

Array: TypeAlias = NDArray[Any]

# The attributes that are saved with a network.
ARGUMENTS = (
    "_layer_sizes", "_activation", "_loss", "_layer_norm", "_residual", "_learned_activation",
    "_parametrization", "_columns", "_connections", "_dtype",
)  # fmt: skip


def _is_equal(given, ours):
    """Whether two connections of a layer, both of its shape if they are matrices, are the same.

    `np.array_equal` would say no if there is no memory to compare them.
    """
    if given is None or ours is None:
        return given is ours
    return bool((given == ours).all())


class Structure:
    """The validated arguments of `Network`. They cannot change: the tables come from them."""

    def _set_structure(
        self, layer_sizes, activation, loss, loss_params, *, layer_norm, residual,
        learned_activation, parametrization, input_layer, connections, dtype,
    ):  # fmt: skip
        layer_sizes = check_layer_sizes(layer_sizes)
        if len(layer_sizes) < 2:
            raise ValueError(
                f"layer_sizes must have at least the inputs and the outputs, got {layer_sizes}"
            )
        self._layer_sizes = layer_sizes
        self._activation = check_activation(activation, self.n_layers - 1)
        check_loss(loss)
        self._loss = Loss(loss, loss_params, layer_sizes[-1])
        self._layer_norm = check_flag("layer_norm", layer_norm)
        self._residual = check_flag("residual", residual)
        self._learned_activation = check_flag("learned_activation", learned_activation)
        self._parametrization = check_parametrization(parametrization)
        self._dtype = check_dtype(dtype)
        self._columns = self._check_input_layer(input_layer)
        self._connections = check_connections(connections, self._sizes)

    def _check_input_layer(self, input_layer):
        if input_layer is None:
            return None
        if not isinstance(input_layer, InputLayer):
            raise TypeError(f"input_layer must be an InputLayer or None, got {input_layer!r}")
        n_columns = self.layer_sizes[0]
        return Columns(input_layer.of_columns(n_columns), n_columns)

    @property
    def _sizes(self):
        """The layer sizes, with the number of inputs of the first layer in place of columns."""
        n_inputs = self.layer_sizes[0] if self._columns is None else self._columns.n_inputs
        return (n_inputs, *self.layer_sizes[1:])

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        return self._layer_sizes

    @property
    def activation(self) -> str | tuple[str, ...]:
        return self._activation

    @property
    def loss(self) -> str | Callable[[Array, Array], tuple[Array, Array]]:
        return self._loss.name

    @property
    def loss_params(self) -> dict[str, Any]:
        return dict(self._loss.params)

    @property
    def layer_norm(self) -> bool:
        return self._layer_norm

    @property
    def residual(self) -> bool:
        return self._residual

    @property
    def learned_activation(self) -> bool:
        return self._learned_activation

    @property
    def parametrization(self) -> str:
        return self._parametrization

    @property
    def input_layer(self) -> InputLayer | None:
        return None if self._columns is None else self._columns.layer

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    @property
    def n_layers(self) -> int:
        return len(self._layer_sizes) - 1

    @property
    def activations_of_hidden(self):
        """The activation of each hidden layer."""
        if isinstance(self.activation, str):
            return (self.activation,) * (self.n_layers - 1)
        return self.activation

    def _new_parameters(self, buffer=None):
        """Create parameters of zeros, with the tables for the network's arguments.

        With ``buffer``, they are in other memory; see `Parameters`.
        """
        return Parameters(
            self.layer_sizes,
            self.activations_of_hidden,
            self.dtype,
            layer_norm=self.layer_norm,
            residual=self.residual,
            learned_activation=self.learned_activation,
            connections=self._connections,
            columns=self._columns,
            buffer=buffer,
        )

    def has_connections(self, connections: Sequence[ArrayLike | None] | None) -> bool:
        """Whether the network has the given connections.

        Parameters
        ----------
        connections : list or None
            Connections in the format of the constructor.

        Returns
        -------
        bool

        Examples
        --------
        >>> from fastmlp import Network
        >>> Network([2, 1]).has_connections([[[True], [False]]])
        False
        """
        given = check_connections(connections, self._sizes) or [None] * self.n_layers
        ours = self._connections or [None] * self.n_layers
        return all(map(_is_equal, given, ours))

    def _unusual(self):
        """Names of the rarely used arguments that are not at their defaults."""
        flags = ("loss_params", "layer_norm", "residual", "learned_activation", "input_layer")
        unusual = [name for name in flags if getattr(self, name)]
        return unusual + ["parametrization"] * (self.parametrization != "standard")
