"""Memory layout of the flat buffers: the table of layers and the blocks of work."""

import math

import numpy as np

from fastmlp import _core
from fastmlp._core import ACTIVATIONS, BLOCK, LAYER

CACHE_LINE = 64  # bytes

# Threads share out the parameters in blocks: whole tiles of the kernels, if a layer has enough rows
# for FEW_BLOCKS of them, and at least about NUMBERS_IN_BLOCK parameters.
ROWS_OF_TILE = 8
NUMBERS_IN_BLOCK = 512
FEW_BLOCKS = 32

# A larger mini-batch is processed in parts, so that the activations of a part stay in the cache
# (bench/figures.md: row-parts).
ROWS_IN_PART = 1024

# Which intermediate results of each layer a workspace keeps, from fewest to most.
FOR_OUTPUT, FOR_GRADIENT, EVERYTHING = range(3)


def aligned_zeros(shape, dtype):
    """Return an array of zeros that starts at the beginning of a cache line."""
    dtype = np.dtype(dtype)
    n_numbers = math.prod(shape) if isinstance(shape, tuple) else shape
    return _aligned(np.zeros, n_numbers * dtype.itemsize, shape, dtype)


def aligned_copy(array):
    """Return a C-contiguous copy that starts at the beginning of a cache line."""
    twin = _aligned(np.empty, array.nbytes, array.shape, array.dtype)
    twin[...] = array
    return twin


def _aligned(new, n_bytes, shape, dtype):
    memory = new(n_bytes + CACHE_LINE, dtype=np.uint8)
    start = -memory.__array_interface__["data"][0] % CACHE_LINE
    return np.ndarray(shape, dtype, memory, start)


def ceil_div(n, size):
    """Return n / size, rounded up."""
    return -(-n // size)


def whole_lines(n, itemsize):
    """Round ``n`` numbers up to a whole number of cache lines."""
    in_line = CACHE_LINE // itemsize
    return ceil_div(n, in_line) * in_line


def _padded(n, itemsize):
    """Return the distance between the starts of consecutive rows of ``n`` numbers.

    It is a whole number of cache lines, but never a multiple of 1 KiB, because rows at such
    distances would compete for the same cache sets. Rows of a single number are not padded.
    """
    if n == 1:
        return 1
    size = whole_lines(n, itemsize)
    return size if size * itemsize % 1024 else size + CACHE_LINE // itemsize


def layer_table(
    layer_sizes, activations, itemsize, *, layer_norm, residual, learned_activation, columns=None
):
    """Return the core's table of layers, without a workspace; see `with_workspace`.

    Parameters
    ----------
    layer_sizes : sequence of int
        Number of nodes of each layer, including inputs and outputs.
    activations : sequence of str
        Activation of each hidden layer.
    itemsize : int
        Size of a number in bytes.
    layer_norm : bool
        Whether hidden layers are normalized.
    residual : bool
        Whether hidden layers have a residual connection. It applies only to hidden layers that
        are as wide as the previous hidden layer.
    learned_activation : bool
        Whether the activations of hidden layers are learned.
    columns : Columns or None
        The input layer, whose three matrices follow the layers in the table.
    """
    n_matrices = 0 if columns is None else len(columns.shapes)
    layers = np.zeros(len(layer_sizes) + n_matrices, dtype=LAYER)
    n_params = 0
    for l, n_out in enumerate(layer_sizes):
        layer = layers[l]
        if l == 0 and columns is not None:
            layer["is_embedded"], n_out = True, columns.n_slots
        stride = _padded(n_out, itemsize)
        layer["n_out"], layer["stride"] = n_out, stride
        layer["activation"], _ = ACTIVATIONS["identity"]  # the loss includes that of the output
        n_in = layer_sizes[max(l - 1, 0)]
        if l == 1 and columns is not None:
            n_in = columns.n_inputs
        layer["n_in"] = layer["n_dense"] = n_in
        if l == 0:
            continue
        if l == 1 and columns is not None:
            layer["n_dense"] = columns.n_dense
        if l <= len(activations):
            layer["activation"], _ = ACTIVATIONS[activations[l - 1]]
            layer["is_normalized"] = layer_norm
            layer["is_learned"] = learned_activation
            layer["is_residual"] = residual and l > 1 and layer_sizes[l - 1] == n_out
        layer["W"] = n_params
        layer["b"] = layer["gain"] = layer["shift"] = n_params + n_in * stride
        if layer["is_normalized"]:
            layer["gain"] += stride
            layer["shift"] += 2 * stride
        layer["mix"] = layer["shift"] + stride * layer["is_learned"]
        n_params = n_parameters(layers[: l + 1], itemsize)
    for kind in range(1, n_matrices + 1):
        layer = layers[len(layer_sizes) + kind - 1]
        n_rows, n_out = columns.shapes[kind - 1]
        layer["kind"], layer["n_dense"], layer["n_out"] = kind, n_rows, n_out
        layer["stride"] = whole_lines(n_out, itemsize)
        layer["W"] = n_params
        n_params = n_parameters(layers[: len(layer_sizes) + kind], itemsize)
    return with_workspace(layers, FOR_OUTPUT)


def rows_of_matrix(layer):
    """Return the number of rows in the matrix of parameters of an entry of the table."""
    if layer["kind"] != _core.WEIGHTS_OF_LAYER:
        return int(layer["n_dense"])
    return int(layer["mix"] - layer["W"]) // int(layer["stride"]) + 1


def n_parameters(layers, itemsize):
    """Return the number of elements in the flat buffer of these layers, including padding."""
    last = layers[-1]
    return whole_lines(int(last["W"]) + rows_of_matrix(last) * int(last["stride"]), itemsize)


def with_workspace(layers, kept, dropout=(), input_noise=0.0):
    """Return a copy of the table with the offsets of z, a, delta and so on in a workspace.

    Parameters
    ----------
    layers : ndarray of LAYER
        The table.
    kept : {FOR_OUTPUT, FOR_GRADIENT, EVERYTHING}
        Which intermediate results are kept. For the output alone, all results of a layer share
        the same memory. For a gradient, the results that the derivatives need are kept separately.
    dropout : sequence of float
        Dropout rates of the inputs and of each hidden layer; empty without dropout.
    input_noise : float
        Standard deviation of the noise on the inputs.
    """
    layers = layers.copy()
    layers["dropout"] = 0
    layers["dropout"][: len(dropout)] = dropout
    layers["noise"][0] = input_noise
    needs_z = [number for number, needs in ACTIVATIONS.values() if needs]
    n_row = 0

    def place(is_own, shared_with, size):
        nonlocal n_row
        if not is_own:
            return shared_with
        n_row += size
        return n_row - size

    for layer in layers[1:]:
        if layer["kind"] != _core.WEIGHTS_OF_LAYER:
            continue
        size = int(layer["stride"])
        is_learned = layer["is_learned"]
        is_changed = layer["is_residual"] or layer["dropout"] > 0 or is_learned
        has_own_z = (
            kept == EVERYTHING
            or is_learned
            or (kept == FOR_GRADIENT and layer["activation"] in needs_z)
        )
        layer["s"] = place(True, None, size)
        layer["z"] = place(kept and layer["is_normalized"], layer["s"], size)
        layer["f"] = place(has_own_z, layer["z"], size)
        layer["a"] = place(kept and is_changed, layer["f"], size)
        layer["delta"] = place(True, None, size)
        layer["delta_z"] = place(kept and layer["is_normalized"], layer["delta"], size)
        layer["delta_f"] = place(kept and is_learned, layer["delta_z"], size)
        layer["delta_a"] = place(kept and layer["is_residual"], layer["delta_f"], size)
        layer["spread"] = place(layer["is_normalized"], 0, 1)
    inputs = layers[0]
    is_scaled = bool(inputs["is_embedded"] and layers["n_out"][-1])
    size = int(inputs["stride"])
    inputs["delta_a"] = place(kept and inputs["is_embedded"], 0, size)
    inputs["delta"] = place(kept and is_scaled, inputs["delta_a"], size)
    own_e = place(kept and is_scaled, None, size)
    inputs["a"] = n_row  # the inputs come last because not every workspace holds them
    inputs["s"] = n_row if own_e is None else own_e
    return layers


def parameter_blocks(layers):
    """Split the parameters into blocks of consecutive rows of one layer's parameter matrix.

    Blocks are small, so that many threads get equal shares. BLAS needs larger products, and its
    results may depend on their size; its blocks are large.
    """
    pieces = []
    for l in range(1, len(layers)):
        layer = layers[l]
        stride, n_rows = int(layer["stride"]), rows_of_matrix(layer)
        if n_rows == 0:
            continue
        size = _core.PARAMETERS_IN_PIECE // stride if _core.uses_blas() else 0
        starts = np.arange(0, n_rows, max(size, _rows_in_block(n_rows, stride)))
        blocks = np.zeros(len(starts), dtype=BLOCK)
        blocks["layer"], blocks["first"] = l, starts
        blocks["last"] = np.append(starts[1:], n_rows)
        pieces.append(blocks)
    return np.concatenate(pieces)


def _rows_in_block(n_rows, stride):
    """Return the number of rows in a block: whole tiles, or fewer rows if a layer has few rows."""
    rows = ROWS_OF_TILE
    while rows > 1 and n_rows < rows * FEW_BLOCKS and rows * stride > 2 * NUMBERS_IN_BLOCK:
        rows //= 2
    return max(rows, ceil_div(NUMBERS_IN_BLOCK, stride * ROWS_OF_TILE) * ROWS_OF_TILE)
