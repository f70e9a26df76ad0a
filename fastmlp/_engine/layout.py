"""Memory layout of the flat buffers: the table of layers and the blocks of work."""

import itertools

import numpy as np

from fastmlp._core import ACTIVATIONS, BLOCK, LAYER

CACHE_LINE = 64  # bytes

# Work is split into blocks for the threads: blocks of at most ROWS_IN_BLOCK rows, and at most
# MOST_BLOCKS blocks of about PARAMETERS_IN_BLOCK parameters. Blocks are large enough for BLAS to be
# efficient and small enough to keep all threads busy.
ROWS_IN_BLOCK = 128
ROWS_OF_TILE = 8
PARAMETERS_IN_BLOCK = 32_768
MOST_BLOCKS = 1024

# Less work than this is not split: one thread finishes it before a second one has woken up. With
# more, splitting pays (bench/figures.md: two-row-blocks).
PARAMETERS_FOR_TWO_BLOCKS = 2_048
PRODUCTS_FOR_TWO_BLOCKS = 100_000

# A larger mini-batch is processed in parts, so that the activations of a part stay in the cache
# (bench/figures.md: row-parts).
ROWS_IN_PART = 1024

# Which intermediate results of each layer a workspace keeps, from fewest to most.
FOR_OUTPUT, FOR_GRADIENT, EVERYTHING = range(3)


def aligned_zeros(shape, dtype):
    """Return an array of zeros that starts at the beginning of a cache line."""
    dtype = np.dtype(dtype)
    n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    memory = np.zeros(n_bytes + CACHE_LINE, dtype=np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + n_bytes].view(dtype).reshape(shape)


def ceil_div(n, size):
    """Return n / size, rounded up."""
    return -(-n // size)


def _whole_lines(n, itemsize):
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
    size = _whole_lines(n, itemsize)
    return size if size * itemsize % 1024 else size + CACHE_LINE // itemsize


def layer_table(layer_sizes, activations, itemsize, *, layer_norm, residual):
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
    """
    layers = np.zeros(len(layer_sizes), dtype=LAYER)
    n_params = 0
    for l, n_out in enumerate(layer_sizes):
        layer = layers[l]
        stride = _padded(n_out, itemsize)
        layer["n_out"], layer["stride"] = n_out, stride
        layer["activation"], _ = ACTIVATIONS["identity"]  # the loss includes that of the output
        if l == 0:
            continue
        layer["n_in"] = layer_sizes[l - 1]
        if l <= len(activations):
            layer["activation"], _ = ACTIVATIONS[activations[l - 1]]
            layer["is_normalized"] = layer_norm
            layer["is_residual"] = residual and l > 1 and layer_sizes[l - 1] == n_out
        layer["W"] = n_params
        layer["b"] = layer["gain"] = layer["shift"] = n_params + layer_sizes[l - 1] * stride
        if layer["is_normalized"]:
            layer["gain"] += stride
            layer["shift"] += 2 * stride
        n_params = n_parameters(layers[: l + 1], itemsize)
    return with_workspace(layers, FOR_OUTPUT)


def n_parameters(layers, itemsize):
    """Return the number of elements in the flat buffer of these layers, including padding."""
    return _whole_lines(int(layers["shift"][-1] + layers["stride"][-1]), itemsize)


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
        size = int(layer["stride"])
        is_changed = layer["is_residual"] or layer["dropout"] > 0
        has_own_z = kept == EVERYTHING or (kept == FOR_GRADIENT and layer["activation"] in needs_z)
        layer["s"] = place(True, None, size)
        layer["z"] = place(kept and layer["is_normalized"], layer["s"], size)
        layer["f"] = place(has_own_z, layer["z"], size)
        layer["a"] = place(kept and is_changed, layer["f"], size)
        layer["delta"] = place(True, None, size)
        layer["delta_z"] = place(kept and layer["is_normalized"], layer["delta"], size)
        layer["delta_a"] = place(kept and layer["is_residual"], layer["delta_z"], size)
        layer["spread"] = place(layer["is_normalized"], 0, 1)
    layers["a"][0] = n_row  # the inputs come last because not every workspace holds them
    return layers


def parameter_blocks(layers):
    """Split the parameters into blocks.

    The parameters are first split into about equal parts, whose number is a power of two. A part
    that spans several layers is then split at the layer boundaries. Each block consists of
    consecutive rows of one layer's parameter matrix. Except at the end of a layer, it is a whole
    number of the kernels' tiles.
    """
    n_rows = (layers["shift"] - layers["W"]) // layers["stride"] + 1
    ends = np.cumsum((n_rows * layers["stride"])[1:])
    n_parts = _power_of_two(min(ends[-1] / PARAMETERS_IN_BLOCK, MOST_BLOCKS))
    if ends[-1] >= PARAMETERS_FOR_TWO_BLOCKS:
        n_parts = max(n_parts, 2)
    marks = ends[-1] * np.arange(1, n_parts) / n_parts
    blocks = []
    for l in range(1, len(layers)):
        begin = ends[l - 1] - n_rows[l] * layers["stride"][l]
        cuts = np.round((marks - begin) / layers["stride"][l] / ROWS_OF_TILE) * ROWS_OF_TILE
        inner = np.unique(cuts[(cuts > 0) & (cuts < n_rows[l])])
        places = [0, *inner.astype(int).tolist(), int(n_rows[l])]
        blocks += [(l, first, last) for first, last in itertools.pairwise(places)]
    return np.array(blocks, dtype=BLOCK)


def _power_of_two(x):
    """Return the smallest power of two that is not less than ``x``."""
    return 1 << max(0, int(np.ceil(np.log2(x)))) if x > 1 else 1


def rows_in_block(n_rows, n_weights):
    """Return the number of rows per block, for blocks of about equal size.

    The number of blocks is a power of two. Rows are not split between two threads if a block would
    then have fewer rows than a tile, because a partial tile is slower on one thread and on two
    (bench/figures.md: whole-tiles).
    """
    n_blocks = _power_of_two(n_rows / ROWS_IN_BLOCK)
    if n_rows >= 2 * ROWS_OF_TILE and n_rows * n_weights >= PRODUCTS_FOR_TWO_BLOCKS:
        n_blocks = max(n_blocks, 2)
    return ceil_div(n_rows, n_blocks)
