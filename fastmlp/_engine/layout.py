"""What is where in the flat buffers: the table of layers, and the blocks that work is cut into."""

import itertools

import numpy as np

from fastmlp._core import ACTIVATIONS, BLOCK, LAYER

CACHE_LINE = 64  # bytes

# Rows are taken in blocks of at most so many, parameters in at most so many blocks of about so
# many: large enough for BLAS, small enough to keep threads busy.
ROWS_IN_BLOCK = 128
ROWS_OF_TILE = 8
PARAMETERS_IN_BLOCK = 32_768
MOST_BLOCKS = 1024

# Less than this is not cut in two: it is done before another thread has heard of it. `small` in
# bench/ takes 11 us a step on two threads, and 16 where there is just one block of rows.
PARAMETERS_FOR_TWO_BLOCKS = 2_048
PRODUCTS_FOR_TWO_BLOCKS = 100_000

# A larger mini-batch is taken in parts, and what the layers make of one stays in the cache.
# 200-300-10 of bench/grid.py takes 15% longer without, in batches of 4,096.
ROWS_IN_PART = 1024

# What a workspace keeps of every layer, from least to most.
FOR_OUTPUT, FOR_GRADIENT, EVERYTHING = range(3)


def aligned_zeros(shape, dtype):
    """Zeros that begin at a cache line."""
    dtype = np.dtype(dtype)
    n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    memory = np.zeros(n_bytes + CACHE_LINE, dtype=np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + n_bytes].view(dtype).reshape(shape)


def ceil_div(n, size):
    """How many pieces of this size it takes to hold n."""
    return -(-n // size)


def _whole_lines(n, itemsize):
    """``n`` numbers rounded up to whole cache lines."""
    in_line = CACHE_LINE // itemsize
    return ceil_div(n, in_line) * in_line


def _padded(n, itemsize):
    """How far apart rows of ``n`` numbers are: whole cache lines, and never a multiple of 1 KiB.

    Rows that far apart compete for the same sets of the cache. Rows of one number are a vector.
    """
    if n == 1:
        return 1
    size = _whole_lines(n, itemsize)
    return size if size * itemsize % 1024 else size + CACHE_LINE // itemsize


def layer_table(layer_sizes, activations, itemsize, *, layer_norm, residual):
    """The core's table of layers without what a workspace holds; see `with_workspace`.

    Parameters
    ----------
    activations : sequence of str
        Of the hidden layers.
    layer_norm, residual : bool
        Of hidden layers; the latter only for those that are as wide as the hidden layer before.
    """
    layers = np.zeros(len(layer_sizes), dtype=LAYER)
    n_params = 0
    for l, n_out in enumerate(layer_sizes):
        layer = layers[l]
        stride = _padded(n_out, itemsize)
        layer["n_out"], layer["stride"] = n_out, stride
        layer["activation"], _ = ACTIVATIONS["identity"]  # the output's belongs to the loss
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
    """How many numbers the flat buffer of these layers has, padding included."""
    return _whole_lines(int(layers["shift"][-1] + layers["stride"][-1]), itemsize)


def with_workspace(layers, kept, dropout=(), input_noise=0.0):
    """A copy of the table with the places of z, a, delta, ... in a workspace.

    Parameters
    ----------
    kept : {FOR_OUTPUT, FOR_GRADIENT, EVERYTHING}
        For the output alone one place does for all that a layer makes; for a gradient what the
        derivatives need stays beside it.
    dropout : sequence of float
        Rates, of the inputs and of every hidden layer; empty without.
    input_noise : float
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
    layers["a"][0] = n_row  # the inputs come last: not all workspaces have them
    return layers


def parameter_blocks(layers):
    """Cut all parameters into a power of two of about equal parts, and these where layers end.

    A block is some rows of a layer's matrix of parameters, and whole tiles of the kernels but for
    the last ones.
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
    """The smallest power of two that is not below ``x``."""
    return 1 << max(0, int(np.ceil(np.log2(x)))) if x > 1 else 1


def rows_in_block(n_rows, n_weights):
    """How many rows of ``n_rows`` a block takes: a power of two of about equal blocks.

    None has less than a tile for the sake of a second thread: `large` in bench/ takes 10% longer
    on two threads, and 33% on one, where a mini-batch of 8 rows is cut in two.
    """
    n_blocks = _power_of_two(n_rows / ROWS_IN_BLOCK)
    if n_rows >= 2 * ROWS_OF_TILE and n_rows * n_weights >= PRODUCTS_FOR_TWO_BLOCKS:
        n_blocks = max(n_blocks, 2)
    return ceil_div(n_rows, n_blocks)
