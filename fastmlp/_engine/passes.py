"""`Passes`: computations over many rows, in workspaces of bounded size."""

import math
from functools import partial

import numpy as np
import scipy.sparse

from fastmlp import _core
from fastmlp._core import ROWS_IN_BLOCK
from fastmlp._engine.checks import check_features, check_out
from fastmlp._engine.input_layer import check_codes
from fastmlp._engine.layout import (
    EVERYTHING,
    FOR_GRADIENT,
    ROWS_OF_TILE,
    aligned_zeros,
    ceil_div,
    with_workspace,
)
from fastmlp._engine.rows import Features
from fastmlp._engine.threads import candidates_for, core_in_use, threads_for

# A pass over all rows (a prediction or a full gradient) processes them in parts. They have at most
# ROWS_IN_PASS rows where a workspace holds them, which bounds the memory, and about FLOPS_IN_PASS
# operations, which bounds the delay of Ctrl-C.
ROWS_IN_PASS = 4096
FLOPS_IN_PASS = 1e10

# In training, each node also costs time outside the matrix products: reading a row, activations,
# the loss. That takes about as long as the products for this many weights. Counting it gives small
# layers a second thread where that pays (bench/figures.md: node-work).
WEIGHTS_FOR_A_NODE = 6

# For a prediction on a single block of rows. Reading the weights takes as long as the arithmetic of
# ROWS_THAT_OUTWEIGH_READING rows. Each thread gets at least COLUMNS_FOR_A_THREAD columns of the
# widest layer. Below FEW_WEIGHTS (weights times rows), a single thread does all the work.
ROWS_THAT_OUTWEIGH_READING = 8
COLUMNS_FOR_A_THREAD = 32
FEW_WEIGHTS = 400_000

# If all numbers are smaller than this, their squares are finite, too.
LARGEST_SAFE = {
    np.dtype(name): math.sqrt(np.finfo(name).max) / 4 for name in ("float32", "float64")
}


class Passes:
    """Computes outputs, losses and gradients of a network, without changing its parameters.

    Parameters
    ----------
    parameters : Parameters
    loss : Loss
    n_threads : int or None
        Number of threads. None chooses the number automatically.

    Attributes
    ----------
    model : _core.Model
        The core's description of the network.
    """

    def __init__(self, parameters, loss, n_threads=None):
        self.parameters = parameters
        self.loss = loss
        self.n_threads = n_threads
        self.dtype = parameters.dtype
        self.n_outputs = parameters.layer_sizes[-1]
        self._n_weights = parameters.n_weights
        self.model = _core.Model(
            parameters.layers, parameters.blocks, *loss.for_core, parameters.flat, parameters.mask,
            loss.function, *parameters.columns_for_core,
        )  # fmt: skip
        self._predictor = None

    def of(self, parameters):
        """Return the same for a copy of the parameters. The core's tables are shared."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin.parameters = parameters
        twin.model = self.model.with_params(parameters.flat)
        twin._predictor = None
        return twin

    @property
    def predictor(self):
        """The core's predictor, which is created for the first prediction.

        Without a lock, which a forked child could inherit from another thread; functools'
        cached_property has one in Python 3.11. Two threads may create a predictor each.
        """
        predictor = self._predictor
        if predictor is None:
            own = self.parameters
            new_workspace = partial(aligned_zeros, dtype=self.dtype)
            predictor = _core.Predictor(self.model, own.layers, new_workspace)
            self._predictor = predictor
        return predictor

    # Workspaces ----------------------------------------------------------------------------------

    def table(self, kept, *perturbation):
        """Return the table of layers for a workspace; see `with_workspace`."""
        return with_workspace(self.parameters.layers, kept, *perturbation)

    def workspace(self, n_rows, layers=None, *, dense=False):
        """Allocate a workspace for ``n_rows`` rows, and if ``dense`` for a copy of their inputs."""
        capacity = ceil_div(n_rows, 16) * 16  # aligns every matrix to a cache line
        layers = self.parameters.layers if layers is None else layers
        has_inputs = dense or self.parameters.columns is not None
        row_size = int(layers["a"][0]) + has_inputs * int(layers["stride"][0])
        memory = aligned_zeros(capacity * row_size, self.dtype)
        return _core.Workspace(layers, memory, capacity)

    def _workspace_for_pass(self, n_rows, layers=None, *, dense=False):
        """Allocate a workspace for a part of the rows."""
        return self.workspace(min(n_rows, self._rows_in_pass()), layers, dense=dense)

    def in_workspace(self, work, name, n_rows):
        """Return views of z, a or delta of every layer except the input."""
        views = []
        for layer in work.layers[1 : len(self.parameters.layer_sizes)]:
            start, stride = work.capacity * int(layer[name]), int(layer["stride"])
            matrix = work.memory[start : start + n_rows * stride].reshape(n_rows, stride)
            views.append(matrix[:, : int(layer["n_out"])])
        return views

    def inputs_in(self, work, X):
        """Return all inputs of the first layer for the rows X that are in a workspace."""
        start, stride = work.capacity * int(work.layers["a"][0]), int(work.layers["stride"][0])
        a = work.memory[start : start + len(X) * stride].reshape(len(X), stride)
        return self.parameters.columns.expand(a, X)

    def _rows_in_pass(self, most=ROWS_IN_PASS):
        two_blocks = 2 * ROWS_IN_BLOCK
        rows = int(FLOPS_IN_PASS / self.flops(1)) // two_blocks * two_blocks
        return max(ROWS_IN_BLOCK, min(rows, most))

    def _parts(self, n_rows, most=ROWS_IN_PASS):
        """Yield a slice of the rows for each part of a pass, with ``most`` rows at most."""
        step = self._rows_in_pass(most)
        return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))

    # Numbers of threads --------------------------------------------------------------------------

    def flops(self, n_rows):
        """Number of operations of a training step: three products of 2 m n k for each layer."""
        return 6 * n_rows * self.parameters.n_weights

    def candidates(self, n_rows):
        """Return the candidate numbers of threads for a training step."""
        own = self.parameters
        beside = 6 * n_rows * WEIGHTS_FOR_A_NODE * sum(own.layer_sizes)
        n_pieces = max(ceil_div(n_rows, ROWS_OF_TILE), len(own.blocks))
        return candidates_for(self.flops(n_rows) + beside, n_pieces, self.n_threads)

    def _threads_for_pass(self, work, n_products):
        """Return the number of threads for a pass.

        ``n_products`` is the number of matrix products per layer: 1 for an output, 3 for a
        gradient.
        """
        n_pieces = ceil_div(work.capacity, ROWS_OF_TILE)
        return threads_for(self.flops(work.capacity) * n_products / 3, n_pieces, self.n_threads)

    def _threads_for_block(self, n_rows):
        """Return the number of threads that share the columns of a single block of rows."""
        n_weights = self._n_weights
        if n_weights * n_rows < FEW_WEIGHTS:  # takes only microseconds
            return 1
        flops = 2 * n_weights * max(n_rows, ROWS_THAT_OUTWEIGH_READING)
        widest = max(self.parameters.layer_sizes[1:])
        return threads_for(flops, widest // COLUMNS_FOR_A_THREAD, self.n_threads)

    # Columns of codes ----------------------------------------------------------------------------

    def check_columns(self, X):
        """Raise unless the input layer, if there is one, can read these rows."""
        columns = self.parameters.columns
        if columns is None:
            return
        if scipy.sparse.issparse(X):
            raise ValueError("X must be dense for a network with an input layer, got a sparse X")
        check_codes(X, columns.coded)

    def _has_bad_codes(self, X):
        """Whether the array needs `check_columns` and its error message."""
        coded = self.parameters.columns.coded
        if X.dtype.kind != "f" or not coded or X.shape[1] != self.parameters.layer_sizes[0]:
            return False
        codes = X[:, list(coded)]
        return not np.array_equal(codes, np.floor(codes))

    # Outputs -------------------------------------------------------------------------------------

    def output_of_array(self, X, out=None):
        """Return the output for all rows of an array.

        Return None if X is not a numeric array of the right shape, or if it is not finite.
        """
        if not isinstance(X, np.ndarray) or X.ndim != 2:
            return None
        if self.parameters.columns is not None and self._has_bad_codes(X):
            return None
        if len(X) <= ROWS_IN_BLOCK and not _core.uses_blas():
            return self.predictor(X, out, self._threads_for_block(len(X)))
        if out is None:
            out = self._new_output(X)
        check_out(out, (len(X), self.n_outputs), self.dtype)
        n_pieces = ceil_div(self._rows_in_pass(len(X)), ROWS_OF_TILE)
        with core_in_use:
            n_threads = threads_for(self.flops(len(X)) / 3, n_pieces, self.n_threads)
            for rows in self._parts(len(X), len(X)):  # the predictor needs no memory for them
                if self.predictor(X[rows], out[rows], n_threads) is None:
                    return None
        return out

    def output(self, X, out=None):
        """Return the output for all rows. Anything but a numeric array is validated first."""
        output = self.output_of_array(X, out)
        if output is not None:
            return output
        given = X if hasattr(X, "dtype") else np.asarray(X)
        X = check_features(given, self.parameters.layer_sizes[0], self.dtype)
        self.check_columns(X)
        if out is None:
            out = self._new_output(given)
        if self._output_of_features(Features.of(X), out) is None:
            raise ValueError("X was changed while it was read: it is no longer finite")
        return out

    def _new_output(self, X):
        """Allocate the output for the rows of X.

        It is float64 unless both X and the network are float32.
        """
        is_float32 = X.dtype.newbyteorder("=") == np.float32 == self.dtype
        shape = (X.shape[0], self.n_outputs)
        return np.empty(shape, dtype=np.float32 if is_float32 else np.float64)

    def _output_of_features(self, features, out=None):
        """Return the output for rows that are in the network's dtype."""
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
        """Return the output for rows that fit in the workspace.

        Afterwards the workspace holds z and a of all layers, as far as it keeps them.
        """
        out = np.empty((features.n_rows, self.n_outputs), dtype=self.dtype)
        samples = _core.Samples(*features)
        with core_in_use:
            _core.forward(self.model, work, samples, out, self._threads_for_pass(work, 1))
        return out

    def activations(self, features, layers):
        """Return the activations of the given layers of weights for all rows."""
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

    def evaluate(self, data, order, scale=None):
        """Return the output and the loss, without penalties, for the rows ``order`` of the data.

        The loss is the mean, or the weighted sum times ``scale``.
        """
        work = self._workspace_for_pass(len(order), dense=data.is_dense)
        out = np.empty((len(order), self.n_outputs), dtype=self.dtype)
        row_loss = np.zeros(work.capacity)
        if scale is None:
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
        """Return the loss over all rows, with penalties, and write its gradient."""
        return self.gradient_over(data, alpha, l1)(gradient)

    def gradient_over(self, data, alpha=0.0, l1=0.0, work=None, scale=None):
        """Return a function that writes the gradient over all rows and returns the loss.

        Everything that does not depend on the parameters is done here, once (bench/figures.md:
        lbfgs-setup). By default, the workspace is one for rows in parts, and ``scale`` is 1 / the
        sum of the sample weights.
        """
        if work is None:
            layers = self.table(FOR_GRADIENT)
            work = self._workspace_for_pass(data.n_rows, layers, dense=data.is_dense)
        if scale is None:
            scale = 1 / data.sample_weight.sum(dtype=np.float64)
        penalties = (l1 * scale, alpha * scale)
        samples = _core.Samples(*data.arrays)
        order = np.arange(data.n_rows)
        parts = [order[start : start + work.capacity] for start in order[:: work.capacity]]

        def loss_and_gradient(numbers):
            gradient = _core.Gradient(self.model, work, numbers, scale, penalties)
            with core_in_use:
                for part in parts:
                    _core.add_gradient(
                        self.model, work, samples, part, gradient, part is parts[0],
                        self._threads_for_pass(work, 3),
                    )  # fmt: skip
            return gradient.loss

        return loss_and_gradient

    def gradient_and_workspace(self, data, alpha=0.0, l1=0.0):
        """Return the loss, the gradient, and a workspace with z, a and delta of all layers."""
        gradient = aligned_zeros(self.parameters.flat.shape, self.dtype)
        work = self.workspace(data.n_rows, self.table(EVERYTHING), dense=data.is_dense)
        return self.gradient_over(data, alpha, l1, work)(gradient), gradient, work

    # Whether numbers are finite ------------------------------------------------------------------

    def is_finite_for(self, features):
        """Whether the parameters and the outputs for these rows are finite.

        Two upper bounds, computed from norms, are tried first: a quick one, and a closer one. The
        outputs are computed only if both are too large.
        """
        most_in_row = self.parameters.layer_sizes[0]
        if features.is_sparse:  # duplicate entries are possible
            most_in_row = int(np.diff(features.indptr).max())
        safe, size = LARGEST_SAFE[self.dtype], most_in_row * _core.largest_of(features.values)
        if self.parameters.columns is not None:  # no bound is known
            size = math.inf
        largest = _core.largest_of(self.parameters.flat)
        if self.largest_number(size, lambda first, end: largest * math.sqrt(end - first)) < safe:
            return True
        if self.largest_number(size) < safe:
            return True
        output = self._output_of_features(features)  # None if the rows are not finite
        return output is not None and bool(
            largest < math.inf and _core.largest_of(output) < math.inf
        )

    def _norm(self, first, end):
        """Return the norm of a range of the parameters, without BLAS and the threads it wakes."""
        numbers = self.parameters.flat[first:end]
        return math.sqrt(np.einsum("i,i->", numbers, numbers))

    def largest_number(self, size, norm=None):
        """Return an upper bound of |z| and |a| in all layers, for inputs of norm ``size``.

        ``norm(first, end)`` returns an upper bound of the norm of a range of the parameters. By
        default, it is the norm itself.

        It uses |z| <= |(W, b)| |(a, 1)| with the Frobenius norm, and a bound that holds for every
        activation function. It is infinite if no bound is known.
        """
        norm, largest = norm or self._norm, size
        for layer in self.parameters.rows:
            root = math.sqrt(layer.n_out)
            z = norm(layer.W, layer.b + layer.stride) * math.hypot(size, 1.0)
            if not z < math.inf:  # NaN, too
                return math.inf
            largest = max(largest, z)
            if layer.is_normalized:
                gain, shift = (
                    norm(first, first + layer.n_out) for first in (layer.gain, layer.shift)
                )
                z = root * gain + shift
            f = 1.06 * z + 2 * root
            if layer.is_learned:
                f = z + norm(layer.mix, layer.mix + layer.n_out) * (f + z)
            size = f + layer.is_residual * size
            largest = max(largest, size)
        return largest
