"""`SavedNetwork`: how a network is written to a model file, and read from one."""

from dataclasses import fields as fields_of_class

import numpy as np

from fastmlp._core import ACTIVATIONS
from fastmlp._engine.checks import PARAMETRIZATIONS
from fastmlp._engine.input_layer import InputLayer
from fastmlp._engine.losses import LOSSES
from fastmlp._engine.model_file import is_list_of
from fastmlp._engine.saves import SavesModel

FLAGS = ("layer_norm", "residual", "learned_activation")

# The fields of an input layer that are not lists.
SIMPLE_FIELDS = tuple(
    field.name
    for field in fields_of_class(InputLayer)
    if field.name not in ("categorical_features", "n_categories", "bin_edges")
)


class SavedNetwork(SavesModel):
    """Mixin of `Network`: what is written of it, and how it is read."""

    def _write(self, parts):
        """Add what the network consists of to the parts of a model file."""
        if callable(self.loss):
            raise ValueError(
                f"loss={self.loss!r}: a function cannot be written to a model file, only the "
                f"names of losses: {sorted(LOSSES)}"
            )
        parts.add(
            layer_sizes=self.layer_sizes,
            activations=self.activations_of_hidden,
            loss=self.loss,
            loss_params=self.loss_params,
            parametrization=self.parametrization,
            dtype=self.dtype.name,
            **{name: getattr(self, name) for name in FLAGS},
        )
        if self.input_layer is not None:
            _write_input_layer(parts.part("input_layer"), self.input_layer)
        if self._connections is not None:
            parts.add(has_connections=[mask is not None for mask in self._connections])
            for l, mask in enumerate(self._connections):
                if mask is not None:
                    parts.array(f"layers.{l}.connections", mask)
        parts.buffer(self.parameters.tensors())

    @classmethod
    def _read(cls, fields):
        """Return a network. Its parameters are where they are: in the memory of the file."""
        network = object.__new__(cls)
        sizes, structure = _read_structure(fields)
        with fields.checks("layer_sizes"):
            network._set_structure(sizes, connections=None, **structure)
            network._connections = _read_connections(fields, network._sizes)
            network._take(network._new_parameters(fields.buffer), None)
        return network


def _write_input_layer(parts, layer):
    parts.add(
        categorical_features=layer.categorical_features,
        n_categories=layer.n_categories,
        **{name: getattr(layer, name) for name in SIMPLE_FIELDS},
        n_edges=[len(edges) for edges in layer.bin_edges],
    )
    parts.array("edges", np.concatenate([np.zeros(0), *layer.bin_edges]))


def _read_structure(fields):
    """Return the layer sizes, and the other arguments of `Structure` but the connections."""
    sizes = fields.wholes("layer_sizes", 1, 2**30)
    if len(sizes) < 2:
        raise fields.error("layer_sizes", f"must be at least two sizes, got {sizes}")
    # Tables of this many rows are made below.
    n_rows, *_ = fields.shape("layers.0.weight") or (0,)
    if sizes[0] > n_rows:
        raise fields.error("layer_sizes", f"must begin with at most {n_rows}, got {sizes[0]}")
    activations = fields.texts("activations", len(sizes) - 2)
    structure = {
        "activation": activations if len(set(activations)) > 1 else (activations or ["relu"])[0],
        "loss": fields.choice("loss", LOSSES),
        "loss_params": _loss_params(fields.part("loss_params")),
        "parametrization": fields.choice("parametrization", PARAMETRIZATIONS),
        "dtype": fields.choice("dtype", ["float32", "float64"]),
        "input_layer": _read_input_layer(fields),
        **{name: fields.flag(name) for name in FLAGS},
    }
    for l, activation in enumerate(activations):
        if activation not in ACTIVATIONS:
            raise fields.error(f"activations[{l}]", f"must be one of {sorted(ACTIVATIONS)}")
    return sizes, structure


def _loss_params(fields):
    names = fields.names()
    return {
        name: fields.numbers(name) if name == "quantiles" else fields.number(name) for name in names
    }


def _read_input_layer(fields):
    if "input_layer" not in fields:
        return None
    fields = fields.part("input_layer")
    n_edges = fields.wholes("n_edges", 0, 2**31)
    edges = fields.array("edges", "f8", (sum(n_edges),))
    with fields.checks("input_layer"):
        return InputLayer(
            tuple(fields.wholes("categorical_features", 0, 2**30)),
            tuple(fields.wholes("n_categories", 1, 2**24)),
            bin_edges=tuple(map(tuple, np.split(edges, np.cumsum(n_edges)[:-1])))
            if n_edges
            else (),
            **{name: fields.value(name, "a value", _is_simple) for name in SIMPLE_FIELDS},
        )


def _is_simple(value):
    return value is None or isinstance(value, bool | int | float | str)


def _read_connections(fields, sizes):
    if "has_connections" not in fields:
        return None
    there = fields.value(
        "has_connections",
        f"a list of {len(sizes) - 1} truth values",
        lambda it: is_list_of(it, bool, len(sizes) - 1),
    )
    return [
        fields.array(f"layers.{l}.connections", "?", (sizes[l], sizes[l + 1])) if there[l] else None
        for l in range(len(there))
    ]
