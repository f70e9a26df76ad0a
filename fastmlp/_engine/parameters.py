"""`Parameters`: the trainable parameters, their memory layout, and how they are saved."""

import itertools
import math
import operator
from collections import namedtuple

import numpy as np

from fastmlp._core import LAYER, PARAMETERS_IN_PIECE
from fastmlp._engine.layout import (
    aligned_copy,
    aligned_zeros,
    layer_table,
    n_parameters,
    parameter_blocks,
    whole_lines,
)

# Version of the format of `Parameters.state`. Newer code must keep reading older versions.
VERSION = 1

INPUT_MATRICES = ("cosines", "embeddings", "scales")

# A row of the table of layers. Its fields are read faster than those of the array.
Layer = namedtuple("Layer", LAYER.names)


class Parameters:
    """The parameters of all layers in one flat buffer.

    These are the weights W and the biases b, the gain and the shift of normalized layers, and the
    mix of layers with a learned activation.

    Parameters
    ----------
    layer_sizes : tuple of int
    activations : tuple of str
        Activation of each hidden layer.
    dtype : numpy.dtype
    connections : list or None
        A boolean matrix or None for each layer of weights.
    columns : Columns or None
        The input layer.
    buffer : callable, default=None
        Returns the memory for `flat`, for the shapes of the `tensors` by name and the dtype. None
        allocates it.
    structure : dict
        Further arguments of `layer_table`.

    Attributes
    ----------
    flat : ndarray of shape (n_params,)
        The parameters, with zeros as padding between layers and rows. It is aligned to a cache
        line.
    layers : ndarray of LAYER
        The table with the offset of each array.
    rows : tuple of Layer
        The layers of weights of the same table, as tuples.
    blocks : ndarray of BLOCK
        The blocks into which the core splits the parameters.
    largest_piece : int
        Number of parameters, including padding, whose gradient a thread keeps at a time.
    mask : ndarray of shape (n_params,) or (0,)
        0 at the weights of missing connections, 1 elsewhere. Empty if no connection is missing.
    n_weights : int
        Number of weights that a row meets, not counting biases: of a one-hot column, those of one
        code.
    """

    def __init__(
        self, layer_sizes, activations, dtype, *, connections, columns=None, buffer=None,
        **structure,
    ):  # fmt: skip
        self.layer_sizes = layer_sizes
        self.activations = activations
        self.dtype = dtype
        self.connections = connections
        self.columns = columns
        self.layers = layer_table(
            layer_sizes, activations, dtype.itemsize, columns=columns, **structure
        )
        entries = list(map(Layer._make, self.layers.tolist()))
        self.rows = tuple(entries[1 : len(layer_sizes)])
        self._matrices_of_inputs = entries[len(layer_sizes) :]
        # The sizes may come from a file: until `buffer` has checked them, nothing that is as large
        # as they say may be made.
        if buffer is None:
            self.flat = aligned_zeros(n_parameters(self.layers, dtype.itemsize), dtype)
        else:
            self.flat = buffer(self._shapes(), dtype)
        self.blocks = parameter_blocks(self.layers)
        rows_in_blocks = self.blocks["last"] - self.blocks["first"]
        strides = self.layers["stride"][self.blocks["layer"]]
        self.largest_piece = max(
            int((rows_in_blocks * strides).max()), min(self.flat.size, PARAMETERS_IN_PIECE)
        )
        self.mask = self._mask_of_connections()
        sizes = (entries[0].n_out, *layer_sizes[1:])
        self.n_weights = sum(itertools.starmap(operator.mul, itertools.pairwise(sizes)))

    def matrices(self, buffer=None):
        """Return (W, b) of each layer, as views of the parameters.

        With ``buffer``, they are views of that buffer, which has the layout of the parameters.
        """
        flat = self.flat if buffer is None else buffer
        matrices = []
        for layer in self.rows:
            n_in, n_out, stride = layer.n_in, layer.n_out, layer.stride
            rows = flat[layer.W : layer.b + stride].reshape(n_in + 1, stride)
            matrices.append((rows[:n_in, :n_out], rows[n_in, :n_out]))
        return matrices

    def norms(self, buffer=None):
        """Return (gain, shift) of each layer, or None where a layer is not normalized.

        See `matrices` for ``buffer``.
        """
        flat = self.flat if buffer is None else buffer
        pairs = []
        for layer in self.rows:
            places = (layer.gain, layer.shift) if layer.is_normalized else ()
            pairs.append(tuple(flat[start : start + layer.n_out] for start in places) or None)
        return pairs

    def mixes(self, buffer=None):
        """Return the mix of each layer, or None where the activation is not learned.

        See `matrices` for ``buffer``.
        """
        flat = self.flat if buffer is None else buffer
        return [
            flat[layer.mix : layer.mix + layer.n_out] if layer.is_learned else None
            for layer in self.rows
        ]

    def arrays(self, buffer=None):
        """Return the views by name: 'W0' and 'b0', then 'gain0', 'shift0' and 'mix0' if there are.

        See `matrices` for ``buffer``.
        """
        named = {}
        views = zip(self.matrices(buffer), self.norms(buffer), self.mixes(buffer), strict=True)
        for l, ((W, b), norms, mix) in enumerate(views):
            named |= {f"W{l}": W, f"b{l}": b}
            named |= dict(zip((f"gain{l}", f"shift{l}"), norms or (), strict=False))
            named |= {} if mix is None else {f"mix{l}": mix}
        return named | self.of_inputs(buffer)

    def of_inputs(self, buffer=None):
        """Return the parameters of the input layer by name, as far as there are.

        'frequencies' and 'phases' are of shape (n_numbers, n_frequencies), 'linear_weights'
        (n_numbers, n_linear, n_frequencies), 'linear_biases' (n_numbers, n_linear), 'scales'
        (n_inputs,), and 'embedding3' of column 3 is of shape (n_categories, embedding_size). See
        `matrices` for ``buffer``.
        """
        if self.columns is None:
            return {}
        flat = self.flat if buffer is None else buffer
        cosines, embeddings, scales = (
            flat[it.W : it.W + it.n_dense * it.stride].reshape(it.n_dense, it.stride)
            for it in self._matrices_of_inputs
        )
        named = {}
        for _, column in self.columns.of_kind("cosines")[:1]:
            n_numbers, n, n_linear = len(cosines), int(column["n_frequencies"]), column["n_linear"]
            named = {"frequencies": cosines[:, :n], "phases": cosines[:, n : 2 * n]}
            end = (2 + int(n_linear)) * n
            if n_linear:
                linear = np.lib.stride_tricks.as_strided(
                    cosines[:, 2 * n :], (n_numbers, int(n_linear), n),
                    (cosines.strides[0], n * cosines.itemsize, cosines.itemsize),
                )  # fmt: skip
                named |= {
                    "linear_weights": linear,
                    "linear_biases": cosines[:, end : end + int(n_linear)],
                }
        for j, column in self.columns.of_kind("embedding"):
            first, n_codes = int(column["row"]), int(column["n_codes"])
            named[f"embedding{j}"] = embeddings[first : first + n_codes, : int(column["n"])]
        if len(scales):
            named["scales"] = scales[0, : self.columns.n_inputs]
        return named

    def _shapes(self):
        """Return the shape of each array of `tensors` by name."""
        shapes = {}
        for l, layer in enumerate(self.rows):
            n_out = layer.stride
            shapes |= {f"layers.{l}.weight": (layer.n_in, n_out), f"layers.{l}.bias": (n_out,)}
            if layer.is_normalized:
                shapes |= {f"layers.{l}.gain": (n_out,), f"layers.{l}.shift": (n_out,)}
            if layer.is_learned:
                shapes[f"layers.{l}.mix"] = (n_out,)
            n_numbers = sum(map(math.prod, shapes.values()))
            rest = whole_lines(n_numbers, self.dtype.itemsize) - n_numbers
            if rest:  # a layer of one unit
                last, (size,) = shapes.popitem()
                shapes[last] = (size + rest,)
        for name, matrix in zip(INPUT_MATRICES, self._matrices_of_inputs, strict=False):
            if matrix.n_dense:
                shapes[f"inputs.{name}"] = (matrix.n_dense, matrix.stride)
        return shapes

    def tensors(self):
        """Return all of the buffer as arrays by name, in its order and with its padding.

        'layers.0.weight' is of shape (n_in, n_padded) and 'layers.0.bias' (n_padded,), where
        n_padded >= n_out; then 'layers.0.gain', 'layers.0.shift' and 'layers.0.mix', if there are.
        The matrices of the input layer follow: 'inputs.cosines', 'inputs.embeddings' and
        'inputs.scales'.
        """
        shapes = self._shapes()
        ends = np.cumsum(list(map(math.prod, shapes.values())))
        parts = np.split(self.flat, ends[:-1])
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }

    def state(self):
        """Return the parameters without padding, and the format version, for serialization.

        Returns
        -------
        dict
            'version', and a copy of each array of `arrays`.
        """
        return {"version": VERSION} | {name: view.copy() for name, view in self.arrays().items()}

    def load(self, state):
        """Load a return value of `state`. The layers must be the same; the dtype may differ."""
        views = self.arrays()
        if state.get("version") != VERSION or state.keys() - {"version"} != views.keys():
            raise ValueError(
                f"the state must be of version {VERSION} and have {sorted(views)}, got version "
                f"{state.get('version')} with {sorted(state.keys() - {'version'})}"
            )
        for name, view in views.items():
            if np.shape(state[name]) != view.shape:
                raise ValueError(
                    f"{name} must have shape {view.shape}, got {np.shape(state[name])}"
                )
        for name, view in views.items():
            view[...] = state[name]

    @property
    def columns_for_core(self):
        """The columns and the bins of the input layer, as `_core.Model` takes them."""
        if self.columns is None:
            return ()
        return self.columns.table, self.columns.bins.astype(self.dtype)

    def copy(self):
        """Copy the parameters into a new buffer. The tables are shared."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin.flat = aligned_copy(self.flat)
        return twin

    def remove_missing(self):
        """Set the weights of missing connections to 0."""
        if len(self.mask):
            self.flat *= self.mask

    def shorten(self, max_norm):
        """Scale down each unit's weight vector whose norm exceeds ``max_norm``."""
        for W, _ in self.matrices():
            norms = np.linalg.norm(W.astype(float), axis=0)
            longer = norms > max_norm
            W[:, longer] *= (max_norm / norms[longer]).astype(W.dtype)

    def _mask_of_connections(self):
        if self.connections is None:
            return np.zeros(0, dtype=self.dtype)
        mask = np.ones_like(self.flat)
        for (W, _), there in zip(self.matrices(mask), self.connections, strict=True):
            if there is not None:
                W[...] = there
        return mask
