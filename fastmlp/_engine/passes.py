"""`Passes`: what is computed over many rows at a time, in workspaces of bounded size."""

import math
from functools import partial

import numpy as np

from fastmlp import _core
from fastmlp._engine.checks import check_features, check_out
from fastmlp._engine.layout import (
    EVERYTHING,
    FOR_GRADIENT,
    ROWS_IN_BLOCK,
    aligned_zeros,
    ceil_div,
    rows_in_block,
    with_workspace,
)
from fastmlp._engine.rows import Features
from fastmlp._engine.threads import candidates_for, core_in_use, threads_for

# A pass over all rows (a prediction, a full gradient) takes them in parts of at most so many rows
# and of about so many operations: bounds its memory, and the time until Ctrl-C is heard.
ROWS_IN_PASS = 4096
FLOPS_IN_PASS = 1e10

# In training, the work for a node beside the products takes as long as they do for so many
# weights: reading a row, activations, the loss. 200-1-1-10 of bench/grid.py has little else, and
# takes 25% longer without a second thread.
WEIGHTS_FOR_A_NODE = 6

# Reading the weights takes as long as the arithmetic of so many rows; a thread gets no fewer
# columns than this of the widest layer, and none where there is as good as nothing to do.
ROWS_THAT_OUTWEIGH_READING = 8
COLUMNS_FOR_A_THREAD = 32
FEW_WEIGHTS = 400_000


def _norm(numbers):
    """Not by BLAS, whose threads would wake up for it."""
    return math.sqrt(np.einsum("i,i->", numbers, numbers))


class Passes:
    """A network at work on rows: outputs, losses and gradients; the parameters stay as they are.

    Parameters
    ----------
    parameters : Parameters
    loss : Loss
    n_threads : int or None
        None uses as many as are worthwhile.

    Attributes
    ----------
    model : _core.Model
        What the core knows about the network.
    """

    def __init__(self, parameters, loss, n_threads=None):
        self.parameters = parameters
        self.loss = loss
        self.n_threads = n_threads
        self.dtype = parameters.dtype
        self.n_outputs = parameters.layer_sizes[-1]
        self._n_weights = parameters.n_weights
        self.model = self.model_of(parameters.flat)
        self._predictor = _core.Predictor(
            self.model, parameters.layers, ROWS_IN_BLOCK, partial(aligned_zeros, dtype=self.dtype)
        )

    def model_of(self, flat):
        """The network with its parameters in another buffer, for the core."""
        own = self.parameters
        loss = self.loss
        return _core.Model(own.layers, own.blocks, *loss.for_core, flat, own.mask, loss.function)

    # Workspaces ----------------------------------------------------------------------------------

    def table(self, kept, *perturbation):
        """The table of layers with the places of what a pass keeps."""
        return with_workspace(self.parameters.layers, kept, *perturbation)

    def workspace(self, n_rows, layers=None, *, block_rows=None, dense=False):
        """Room for ``n_rows`` rows, and with ``dense`` for a copy of their inputs."""
        capacity = ceil_div(n_rows, 16) * 16  # every matrix in it begins at a cache line
        layers = self.parameters.layers if layers is None else layers
        row_size = int(layers["a"][0]) + dense * int(layers["stride"][0])
        memory = aligned_zeros(capacity * row_size, self.dtype)
        block_rows = block_rows or rows_in_block(n_rows, self.parameters.n_weights)
        return _core.Workspace(layers, memory, capacity, block_rows)

    def _workspace_for_pass(self, n_rows, layers=None, *, dense=False):
        """Room for a part. Blocks do not depend on how many rows there are."""
        n_rows = min(n_rows, self._rows_in_pass())
        return self.workspace(n_rows, layers, block_rows=ROWS_IN_BLOCK, dense=dense)

    def in_workspace(self, work, name, n_rows):
        """Views onto z, a or delta of every layer but the input."""
        views = []
        for layer in work.layers[1:]:
            start, stride = work.capacity * int(layer[name]), int(layer["stride"])
            matrix = work.memory[start : start + n_rows * stride].reshape(n_rows, stride)
            views.append(matrix[:, : int(layer["n_out"])])
        return views

    def _rows_in_pass(self):
        two_blocks = 2 * ROWS_IN_BLOCK
        rows = int(FLOPS_IN_PASS / self.flops(1)) // two_blocks * two_blocks
        return max(ROWS_IN_BLOCK, min(rows, ROWS_IN_PASS))

    def _parts(self, n_rows):
        """Slices of the rows, one for each part of a pass."""
        step = self._rows_in_pass()
        return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))

    # Numbers of threads --------------------------------------------------------------------------

    def flops(self, n_rows):
        """Operations of a training step: three products of 2 m n k each for every layer."""
        return 6 * n_rows * self.parameters.n_weights

    def candidates(self, n_rows):
        """Numbers of threads for a step of training."""
        own = self.parameters
        beside = 6 * n_rows * WEIGHTS_FOR_A_NODE * sum(own.layer_sizes)
        n_row_blocks = ceil_div(n_rows, rows_in_block(n_rows, own.n_weights))
        n_blocks = max(n_row_blocks, len(own.blocks))
        return candidates_for(self.flops(n_rows) + beside, n_blocks, self.n_threads)

    def _threads_for_pass(self, work, n_products):
        """``n_products``: how many of a training step's three products of matrices are made."""
        n_row_blocks = ceil_div(work.capacity, work.block_rows)
        return threads_for(self.flops(work.capacity) * n_products / 3, n_row_blocks, self.n_threads)

    def _threads_for_block(self, n_rows):
        """How many threads share out the columns of a single block of rows."""
        n_weights = self._n_weights
        if n_weights * n_rows < FEW_WEIGHTS:  # this is a matter of microseconds
            return 1
        flops = 2 * n_weights * max(n_rows, ROWS_THAT_OUTWEIGH_READING)
        widest = max(self.parameters.layer_sizes[1:])
        return threads_for(flops, widest // COLUMNS_FOR_A_THREAD, self.n_threads)

    # Outputs -------------------------------------------------------------------------------------

    def output_of_array(self, X, out=None):
        """a^L of all rows; None if X is not an array of numbers that fits, or is not finite."""
        if not isinstance(X, np.ndarray) or X.ndim != 2:
            return None
        if len(X) <= ROWS_IN_BLOCK and not _core.uses_blas():
            return self._predictor(X, out, self._threads_for_block(len(X)))
        if out is None:
            out = self._new_output(X)
        n_blocks = ceil_div(min(len(X), self._rows_in_pass()), ROWS_IN_BLOCK)
        with core_in_use:
            n_threads = threads_for(self.flops(len(X)) / 3, n_blocks, self.n_threads)
            for rows in self._parts(len(X)):
                if self._predictor(X[rows], out[rows], n_threads) is None:
                    return None
        return out

    def output(self, X, out=None):
        """a^L of any rows; what is not an array of numbers is checked first: lists, say."""
        output = self.output_of_array(X, out)
        if output is not None:
            return output
        given = X if hasattr(X, "dtype") else np.asarray(X)
        X = check_features(given, self.parameters.layer_sizes[0], self.dtype)
        if out is None:
            out = self._new_output(given)
        if self._output_of_features(Features.of(X), out) is None:
            raise ValueError("X was changed while it was read: it is no longer finite")
        return out

    def _new_output(self, X):
        """Room for a^L of the rows of X: of float64 unless both X and the network are float32."""
        is_float32 = X.dtype.newbyteorder("=") == np.float32 == self.dtype
        shape = (X.shape[0], self.n_outputs)
        return np.empty(shape, dtype=np.float32 if is_float32 else np.float64)

    def _output_of_features(self, features, out=None):
        """a^L of rows in the network's dtype."""
        if not features.is_sparse:
            return self.output_of_array(features.values, out)
        shape = (features.n_rows, self.n_outputs)
        if out is None:
            out = np.empty(shape, dtype=self.dtype)
        check_out(out, shape, self.dtype)
        work = self._workspace_for_pass(features.n_rows)
        for rows in self._parts(features.n_rows):
            narrow = self.forward(features.part(rows), work)
            if out.dtype == self.dtype:
                out[rows] = narrow
            else:
                _core.widen(self.model, work, out[rows])
        return out

    def forward(self, features, work):
        """a^L of as many rows as fit the workspace, which then holds every z and a."""
        out = np.empty((features.n_rows, self.n_outputs), dtype=self.dtype)
        samples = _core.Samples(*features)
        with core_in_use:
            _core.forward(self.model, work, samples, out, self._threads_for_pass(work, 1))
        return out

    def activations(self, features, layers):
        """a^l of some layers of weights, for all rows."""
        sizes = self.parameters.layer_sizes
        work = self._workspace_for_pass(features.n_rows)
        results = [np.empty((features.n_rows, sizes[l + 1]), dtype=self.dtype) for l in layers]
        for rows in self._parts(features.n_rows):
            part = features.part(rows)
            output = self.forward(part, work)
            views = [*self.in_workspace(work, "a", part.n_rows)[:-1], output]
            for result, l in zip(results, layers, strict=True):
                result[rows] = views[l]
        return results

    # Losses and gradients ------------------------------------------------------------------------

    def evaluate(self, data, order):
        """a^L and the loss, without penalty, of the rows ``order`` of the data."""
        work = self._workspace_for_pass(len(order), dense=data.is_dense)
        out = np.empty((len(order), self.n_outputs), dtype=self.dtype)
        row_loss = np.zeros(ceil_div(work.capacity, work.block_rows))
        scale = 1 / data.sample_weight[order].sum(dtype=np.float64)
        samples = _core.Samples(*data.arrays)
        with core_in_use:
            for rows in self._parts(len(order)):
                _core.evaluate(
                    self.model, work, samples, order[rows], scale, out[rows], row_loss,
                    self._threads_for_pass(work, 1),
                )  # fmt: skip
        return out, float(row_loss.sum())

    def full_gradient(self, data, gradient, alpha=0.0, l1=0.0):
        """The loss over all rows, with penalties; its gradient is written."""
        layers = self.table(FOR_GRADIENT)
        work = self._workspace_for_pass(data.n_rows, layers, dense=data.is_dense)
        return self._add_gradient(data, gradient, work, alpha, l1)

    def gradient_and_workspace(self, data, alpha=0.0, l1=0.0):
        """Loss, gradient, and a workspace with every z, a and delta of these rows."""
        gradient = aligned_zeros(self.parameters.flat.shape, self.dtype)
        work = self.workspace(data.n_rows, self.table(EVERYTHING), dense=data.is_dense)
        return self._add_gradient(data, gradient, work, alpha, l1), gradient, work

    def _add_gradient(self, data, numbers, work, alpha, l1):
        """Loss and gradient over all rows, in parts as large as the workspace."""
        scale = 1 / data.sample_weight.sum(dtype=np.float64)
        penalties = (l1 * scale, alpha * scale)
        gradient = _core.Gradient(self.model, work, numbers, scale, penalties)
        samples = _core.Samples(*data.arrays)
        order = np.arange(data.n_rows)
        with core_in_use:
            for start in range(0, data.n_rows, work.capacity):
                _core.add_gradient(
                    self.model, work, samples, order[start : start + work.capacity], gradient,
                    start == 0, self._threads_for_pass(work, 3),
                )  # fmt: skip
        return gradient.loss

    # Whether numbers are finite ------------------------------------------------------------------

    def is_finite_for(self, features):
        """Whether the outputs for these rows are finite: by norms, or else by looking at them."""
        largest = float(max(features.values.max(), -features.values.min()))
        most_in_row = self.parameters.layer_sizes[0]
        if features.is_sparse:  # a column may be there twice
            most_in_row = int(np.diff(features.indptr).max())
        with np.errstate(over="ignore", invalid="ignore"):
            bound = self.largest_number(most_in_row * largest)
        if bound < math.sqrt(np.finfo(self.dtype).max) / 4:  # squares are finite, too
            return True
        output = self._output_of_features(features)  # None if the rows are not finite
        return output is not None and bool(
            np.isfinite(self.parameters.flat).all() & np.isfinite(output).all()
        )

    def largest_number(self, size):
        """A bound of z and a in all layers, for inputs of this norm; infinite if unknown.

        By |z| <= |W, b| |(a, 1)|, Frobenius's norm; no activation makes more of it than below.
        """
        largest = size
        layers, flat = self.parameters.layers[1:], self.parameters.flat
        for layer, norms in zip(layers, self.parameters.norms(), strict=True):
            root = math.sqrt(layer["n_out"])
            numbers = flat[int(layer["W"]) : int(layer["b"]) + int(layer["stride"])]
            z = _norm(numbers) * math.hypot(size, 1.0)
            if not z < math.inf:  # NaN, too
                return math.inf
            largest = max(largest, z)
            if norms is not None:
                gain, shift = norms
                z = root * _norm(gain) + _norm(shift)
            size = 1.06 * z + 2 * root + bool(layer["is_residual"]) * size
            largest = max(largest, size)
        return largest
