"""`Parameters`: the numbers that training moves, where each of them is, and how to keep them."""

import itertools
import operator

import numpy as np

from fastmlp._engine.layout import aligned_zeros, layer_table, n_parameters, parameter_blocks

# Of `Parameters.state`. Older ones can be read.
VERSION = 1


class Parameters:
    """W and b of every layer, and gain and shift of normalised ones, in one flat buffer.

    Parameters
    ----------
    layer_sizes : tuple of int
    activations : tuple of str
        Of the hidden layers.
    dtype : numpy.dtype
    layer_norm, residual : bool
    connections : list or None
        A boolean matrix or None for each layer of weights.

    Attributes
    ----------
    flat : ndarray of shape (n_params,)
        The numbers, and zeros between layers and rows; begins at a cache line.
    layers : ndarray of LAYER
        The table that says what is where.
    blocks : ndarray of BLOCK
        The pieces in which the core takes the parameters.
    mask : ndarray of shape (n_params,) or (0,)
        1 where a parameter is, 0 where none is; empty if all connections are there.
    n_weights : int
        Without biases.
    """

    def __init__(self, layer_sizes, activations, dtype, *, layer_norm, residual, connections):
        self.layer_sizes = layer_sizes
        self.activations = activations
        self.dtype = dtype
        self.connections = connections
        self.layers = layer_table(
            layer_sizes, activations, dtype.itemsize, layer_norm=layer_norm, residual=residual
        )
        self.blocks = parameter_blocks(self.layers)
        self.flat = aligned_zeros(n_parameters(self.layers, dtype.itemsize), dtype)
        self.mask = self._mask_of_connections()
        self.n_weights = sum(itertools.starmap(operator.mul, itertools.pairwise(layer_sizes)))

    @property
    def largest_block(self):
        """How many numbers the largest block has."""
        rows = self.blocks["last"] - self.blocks["first"]
        return int((rows * self.layers["stride"][self.blocks["layer"]]).max())

    def matrices(self, buffer=None):
        """(W, b) of each layer: views onto the parameters, or onto a buffer of their layout."""
        flat = self.flat if buffer is None else buffer
        matrices = []
        for layer in self.layers[1:]:
            n_in, n_out, stride = (int(layer[name]) for name in ("n_in", "n_out", "stride"))
            rows = flat[int(layer["W"]) : int(layer["b"]) + stride].reshape(n_in + 1, stride)
            matrices.append((rows[:n_in, :n_out], rows[n_in, :n_out]))
        return matrices

    def norms(self, buffer=None):
        """(gain, shift) of each layer, likewise; None where it is not normalised."""
        flat = self.flat if buffer is None else buffer
        pairs = []
        for layer in self.layers[1:]:
            places = (int(layer[name]) for name in ("gain", "shift"))
            pair = tuple(flat[start : start + int(layer["n_out"])] for start in places)
            pairs.append(pair if layer["is_normalized"] else None)
        return pairs

    def arrays(self, buffer=None):
        """Every view by its name: 'W0', 'b0', and 'gain0' and 'shift0' where they are."""
        named = {}
        pairs = zip(self.matrices(buffer), self.norms(buffer), strict=True)
        for l, ((W, b), norms) in enumerate(pairs):
            named |= {f"W{l}": W, f"b{l}": b}
            named |= dict(zip((f"gain{l}", f"shift{l}"), norms or (), strict=False))
        return named

    def state(self):
        """The numbers without what lies between them, and a version: what a file needs.

        Returns
        -------
        dict
            'version' and a copy of each of `arrays`.
        """
        return {"version": VERSION} | {name: view.copy() for name, view in self.arrays().items()}

    def load(self, state):
        """Take in what `state` has returned, for the same layers in whatever arithmetic."""
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

    def copy(self):
        """The same numbers in a buffer of their own, and the same tables."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin.flat = aligned_zeros(self.flat.shape, self.dtype)
        twin.flat[...] = self.flat
        return twin

    def remove_missing(self):
        """Set the weights to 0 where no connection is."""
        if len(self.mask):
            self.flat *= self.mask

    def shorten(self, max_norm):
        """Shorten the weight vectors of units that are longer than this."""
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
