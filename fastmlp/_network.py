"""A network in memory: its table of layers, its buffers, its first weights, and `Network`."""

import itertools
import operator
from functools import partial
from numbers import Real
from typing import NamedTuple

import numpy as np
import scipy.sparse

from fastmlp import _core
from fastmlp._core import ACTIVATIONS, BLOCK, LAYER, LOSSES
from fastmlp._data import Data, Features, trusted
from fastmlp._threads import check_n_threads, core_in_use, threads_for

CACHE_LINE = 64  # bytes

# Rows are taken in blocks of at most so many, parameters in blocks of about so many, and a layer is
# not cut into more blocks than this: large enough for BLAS, small enough to keep threads busy.
ROWS_IN_BLOCK = 128
ROWS_FOR_TWO_BLOCKS = 64
PARAMETERS_IN_BLOCK = 32_768
BLOCKS_IN_LAYER = 1024

# A pass over all rows (a prediction, a full gradient) takes them in parts of at most so many rows
# and of about so many operations: bounds its memory, and the time until Ctrl-C is heard.
ROWS_IN_PASS = 4096
FLOPS_IN_PASS = 1e10

# Reading the weights takes as long as the arithmetic of so many rows; a thread gets no fewer
# columns than this of the widest layer, and none where there is as good as nothing to do.
ROWS_THAT_OUTWEIGH_READING = 8
COLUMNS_FOR_A_THREAD = 32
FEW_WEIGHTS = 400_000

# A class's number is handed to the core as a float32, which has 24 bits.
MOST_CLASSES = 2**24


class Forward(NamedTuple):
    """Every weighted input and activation of some rows: ``a[l + 1] = f(z[l])``, ``a[0]`` is X."""

    z: list
    a: list


class Gradients(NamedTuple):
    """The loss and its derivatives: ``delta[l]`` by ``z[l]``, ``dW[l]``, ``db[l]`` by W and b."""

    loss: float
    delta: list
    dW: list
    db: list


class _Views(list):
    """Arrays that are views onto a network: assigning to an item writes into the network."""

    def __setitem__(self, index, value):
        if not isinstance(index, (int, np.integer)):
            raise TypeError(f"index must be the number of one layer, got {index!r}")
        view = self[index]
        view[...] = _check_parameter(f"item {index}", value, view)


def _check_parameter(name, given, view):
    """``given`` as an array that may take the place of ``view``."""
    given = np.asarray(given)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {given.dtype}")
    if given.shape != view.shape:
        raise ValueError(f"{name} must have shape {view.shape}, got {given.shape}")
    with np.errstate(over="ignore"):  # numbers too large for the dtype become infinite
        given = given.astype(view.dtype)
    if not np.isfinite(given).all():
        raise ValueError(f"{name} must be finite in {view.dtype.name}")
    return given


def aligned_zeros(shape, dtype):
    """Zeros that begin at a cache line."""
    dtype = np.dtype(dtype)
    n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    memory = np.zeros(n_bytes + CACHE_LINE, dtype=np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + n_bytes].view(dtype).reshape(shape)


def _padded(n, itemsize):
    """``n`` numbers rounded up to whole cache lines, and never to a multiple of 1 KiB.

    Rows that far apart compete for the same sets of the cache.
    """
    in_line = CACHE_LINE // itemsize
    lines = -(-n // in_line)
    if lines * CACHE_LINE % 1024 == 0:
        lines += 1
    return lines * in_line


def _layer_table(layer_sizes, activation, n_targets, itemsize, *, keep_z):
    """The core's table of layers. The inputs come last in a workspace: not all have them."""
    layers = np.zeros(len(layer_sizes), dtype=LAYER)
    layers["activation"] = ACTIVATIONS[activation]
    n_params, n_row = 0, 1 + n_targets
    for l, n_out in enumerate(layer_sizes):
        layer = layers[l]
        stride = _padded(n_out, itemsize)
        layer["n_out"], layer["stride"] = n_out, stride
        if l == 0:
            continue
        layer["z"] = layer["a"] = n_row
        n_row += stride
        if keep_z:
            layer["a"] = n_row
            n_row += stride
        layer["delta"] = n_row
        n_row += stride
        layer["n_in"] = layer_sizes[l - 1]
        layer["W"] = n_params
        layer["b"] = n_params + layer_sizes[l - 1] * stride
        n_params = int(layer["b"]) + stride
    layers[-1]["activation"] = ACTIVATIONS["identity"]  # the output's belongs to the loss
    layers[0]["a"] = n_row
    return layers


def _parameter_blocks(layers):
    """Cut each layer's [W; b] into a power of two of blocks of rows."""
    blocks = []
    for l in range(1, len(layers)):
        n_rows = int(layers["n_in"][l]) + 1
        wanted = min(n_rows * int(layers["stride"][l]) / PARAMETERS_IN_BLOCK, BLOCKS_IN_LAYER)
        n_blocks = min(n_rows, _power_of_two(wanted))
        cuts = [n_rows * i // n_blocks for i in range(n_blocks + 1)]
        blocks += [(l, first, last) for first, last in itertools.pairwise(cuts)]
    return np.array(blocks, dtype=BLOCK)


def _power_of_two(x):
    """The smallest power of two that is not below ``x``."""
    return 1 << max(0, int(np.ceil(np.log2(x)))) if x > 1 else 1


def rows_in_block(n_rows):
    """How many rows of ``n_rows`` a block takes: a power of two of about equal blocks."""
    n_blocks = _power_of_two(n_rows / ROWS_IN_BLOCK)
    if n_rows >= ROWS_FOR_TWO_BLOCKS:
        n_blocks = max(n_blocks, 2)
    return -(-n_rows // n_blocks)


class Workspace(NamedTuple):
    """Room for what the table of layers says, for some rows."""

    layers: np.ndarray
    memory: np.ndarray
    capacity: int
    block_rows: int


def check_layer_sizes(layer_sizes, name="layer_sizes"):
    """The sizes as a tuple of ints, or an error that names the argument."""
    try:
        if isinstance(layer_sizes, (bytes, bytearray, set, frozenset, dict)):
            raise TypeError
        sizes = tuple(operator.index(n) for n in layer_sizes)
    except TypeError:
        raise TypeError(f"{name} must be whole numbers >= 1, got {layer_sizes!r}") from None
    if any(n < 1 for n in sizes):
        raise ValueError(f"{name} must be > 0, got {list(sizes)}.")
    if any(n > 2**30 for n in sizes) or sum(map(operator.mul, sizes[:-1], sizes[1:])) > 2**50:
        raise ValueError(f"{name} make a network that no memory holds, got {list(sizes)}")
    return sizes


def check_dtype(dtype):
    """float32 or float64 as a dtype, or an error."""
    for allowed in (np.dtype(np.float32), np.dtype(np.float64)):
        if isinstance(dtype, str) and dtype == allowed.name:
            return allowed
        if isinstance(dtype, (np.dtype, type)) and dtype == allowed:
            return allowed
    raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")


def _as_random_state(random_state):
    if isinstance(random_state, np.random.RandomState):
        return random_state
    if random_state is not None and not hasattr(random_state, "__index__"):
        raise TypeError(
            f"random_state must be None, an int or a numpy.random.RandomState, got {random_state!r}"
        )
    try:
        return np.random.RandomState(random_state)
    except ValueError as error:
        raise ValueError(f"random_state: {error}, got {random_state!r}") from None


def _check_choice(name, given, allowed):
    if not isinstance(given, str) or given not in allowed:
        raise ValueError(f"{name} must be one of {sorted(allowed)}, got {given!r}")


class Network:
    """A multilayer perceptron in arrays: every z, a, delta and gradient can be seen.

    Layers are counted from 0: ``z[l] = a[l] @ W[l] + b[l]``, ``a[l + 1] = f(z[l])``, ``a[0] = X``.
    The estimators are built on it; it needs no fitting and imposes no training.

    Parameters
    ----------
    layer_sizes : sequence of int
        The number of nodes of each layer: inputs, hidden layers, outputs.
    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='relu'
        f of the hidden layers.
    loss : {'log_loss', 'binary_log_loss', 'squared_error', 'poisson'}, default='squared_error'
        The cost, and with it the output's activation: softmax for 'log_loss' (the target is a
        class's number), logistic for 'binary_log_loss' (targets in [0, 1]), identity for
        'squared_error', exp for 'poisson' (targets >= 0). Each is the mean over the rows of a sum
        over the outputs; 'squared_error' and 'poisson' are halved.
    dtype : {'float32', 'float64'}, default='float32'
        The arithmetic.
    random_state : int, RandomState or None, default=None
        Source of the first weights, uniform in +-sqrt(6 / (n_in + n_out)), or with 2 in place of 6
        for 'logistic' (Glorot and Bengio, AISTATS 2010).
    n_threads : int or None, default=None
        None takes as many as pay off. Results do not depend on it.

    Attributes
    ----------
    layer_sizes : tuple of int
    activation, loss : str
    dtype : numpy.dtype
    n_layers : int
        Layers of weights, the lecture's L.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import Network
    >>> net = Network([2, 2, 1], activation='identity', dtype='float64')
    >>> net.params = [([[1, 0], [0, 1]], [0, 1]), ([[1], [2]], [3])]
    >>> z, a = net.forward([[1, 2]])
    >>> z[0]
    array([[1., 3.]])
    >>> net.loss_and_gradients([[1, 2]], [8]).dW[1]
    array([[2.],
           [6.]])
    """

    def __init__(
        self,
        layer_sizes,
        activation="relu",
        loss="squared_error",
        *,
        dtype="float32",
        random_state=None,
        n_threads=None,
    ):
        _check_choice("activation", activation, ACTIVATIONS)
        _check_choice("loss", loss, LOSSES)
        layer_sizes = check_layer_sizes(layer_sizes)
        if len(layer_sizes) < 2:
            raise ValueError(
                f"layer_sizes must have at least the inputs and the outputs, got {layer_sizes}"
            )
        if loss == "log_loss" and layer_sizes[-1] > MOST_CLASSES:
            raise ValueError(f"layer_sizes: at most {MOST_CLASSES} classes, got {layer_sizes[-1]}")
        check_n_threads(n_threads)
        self._layer_sizes = layer_sizes
        self._activation = activation
        self._loss = loss
        self._dtype = check_dtype(dtype)
        self.n_threads = n_threads
        self._lay_out()
        self._initialize(random_state)

    # What the tables follow from cannot be changed.
    layer_sizes = property(lambda self: self._layer_sizes)
    activation = property(lambda self: self._activation)
    loss = property(lambda self: self._loss)
    dtype = property(lambda self: self._dtype)

    def _lay_out(self):
        """The tables and the (zeroed) parameters; all that follows from the arguments."""
        n_out = self.layer_sizes[-1]
        self._n_targets = 1 if self.loss == "log_loss" else n_out
        arguments = (self.layer_sizes, self.activation, self._n_targets, self.dtype.itemsize)
        self._layers = _layer_table(*arguments, keep_z=False)
        self._layers_with_z = _layer_table(*arguments, keep_z=True)
        self._blocks = _parameter_blocks(self._layers)
        self._flat = aligned_zeros(self._layers["b"][-1] + self._layers["stride"][-1], self.dtype)
        self._weights = sum(itertools.starmap(operator.mul, itertools.pairwise(self.layer_sizes)))
        room = (ROWS_IN_BLOCK * int(self._layers["a"][0]),)
        self._predictor = _core.Predictor(
            self._layers,
            LOSSES[self.loss],
            self._flat,
            ROWS_IN_BLOCK,
            partial(aligned_zeros, room, self.dtype),
        )

    def _initialize(self, random_state):
        random_state = _as_random_state(random_state)
        factor = 2.0 if self.activation == "logistic" else 6.0
        for W, b in self.params:
            bound = np.sqrt(factor / sum(W.shape))
            W[...] = random_state.uniform(-bound, bound, W.shape)
            b[...] = random_state.uniform(-bound, bound, b.shape)

    def __repr__(self):
        return (
            f"Network({list(self.layer_sizes)}, activation={self.activation!r}, "
            f"loss={self.loss!r}, dtype={self.dtype.name!r})"
        )

    def __getstate__(self):
        arguments = ("_layer_sizes", "_activation", "_loss", "_dtype", "n_threads")
        state = {name: getattr(self, name) for name in arguments}
        return state | {"flat": self._flat}

    def __setstate__(self, state):
        flat = state.pop("flat")
        vars(self).update(state)
        self._lay_out()
        self._flat[...] = flat

    def snapshot(self):
        """Copy the parameters, for `restore`.

        Returns
        -------
        ndarray
            W and b of all layers, in the network's own layout.

        Examples
        --------
        >>> from fastmlp import Network
        >>> net = Network([2, 1], random_state=0)
        >>> first = net.snapshot()
        >>> net.W[0] = [[0], [0]]
        >>> net.restore(first)
        >>> bool(net.W[0].all())
        True
        """
        return self._flat.copy()

    def restore(self, snapshot):
        """Set the parameters to what they were at the time of a `snapshot`.

        Parameters
        ----------
        snapshot : ndarray
            What `snapshot` has returned for a network of the same layers and dtype.

        Examples
        --------
        See `snapshot`.
        """
        self._flat[...] = snapshot

    @property
    def n_layers(self):
        return len(self.layer_sizes) - 1

    @property
    def W(self):
        """List of the weights, ``W[l]`` of shape (n_in, n_out): views onto the network."""
        return _Views(W for W, _ in self._matrices(self._flat))

    @property
    def b(self):
        """List of the biases, ``b[l]`` of shape (n_out,): views onto the network."""
        return _Views(b for _, b in self._matrices(self._flat))

    @property
    def params(self):
        """Tuple of ``(W, b)``, a pair for each layer: views onto the network.

        Write into the arrays, or assign a list of such pairs, which is copied.
        """
        return tuple(self._matrices(self._flat))

    @params.setter
    def params(self, params):
        pairs = [tuple(pair) for pair in params]
        if [len(pair) for pair in pairs] != [2] * self.n_layers:
            raise ValueError(f"params must be {self.n_layers} pairs (W, b), got {len(pairs)} items")
        checked = [
            (view, _check_parameter(f"params[{l}]: {name}", given, view))
            for l, pair in enumerate(zip(self.params, pairs, strict=True))
            for name, view, given in zip(("W", "b"), *pair, strict=True)
        ]
        for view, array in checked:
            view[...] = array

    def _matrices(self, flat):
        """(W, b) of each layer as views onto a buffer of the parameters' layout."""
        matrices = []
        for layer in self._layers[1:]:
            n_in, n_out, stride = (int(layer[name]) for name in ("n_in", "n_out", "stride"))
            rows = flat[int(layer["W"]) : int(layer["b"]) + stride].reshape(n_in + 1, stride)
            matrices.append((rows[:n_in, :n_out], rows[n_in, :n_out]))
        return matrices

    def forward(self, X):
        """Every weighted input and activation, equation (1).

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, layer_sizes[0])
            The inputs, a row for each sample.

        Returns
        -------
        z : list of ndarray
            ``z[l]`` of shape (n_rows, layer_sizes[l + 1]).
        a : list of ndarray
            ``a[0]`` is X, ``a[l + 1]`` is f(z[l]); ``a[-1]`` is the output.

        Examples
        --------
        >>> from fastmlp import Network
        >>> z, a = Network([3, 4, 2], activation='tanh', random_state=0).forward([[1, 2, 3]])
        >>> [layer.shape for layer in a]
        [(1, 3), (1, 4), (1, 2)]
        """
        X = self._check_X(X)
        work = self._workspace(X.shape[0], keep_z=True)
        output = self._pass_forward(Features.of(X), work)
        z, a = (self._in_workspace(work, name, X.shape[0]) for name in ("z", "a"))
        return Forward(z, [X, *a[:-1], output])

    def output(self, X, out=None):
        """The last layer's activation; the memory that it takes does not grow with the rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, layer_sizes[0])
            The inputs, a row for each sample.
        out : ndarray of shape (n_rows, layer_sizes[-1]), default=None
            Where the result goes: C-ordered and of the network's dtype. For an X that is so, too,
            a call is little more than the arithmetic.

        Returns
        -------
        ndarray of shape (n_rows, layer_sizes[-1])

        Examples
        --------
        >>> from fastmlp import Network
        >>> net = Network([3, 2], loss='log_loss', random_state=0)
        >>> float(net.output([[1, 2, 3]]).sum().round(3))
        1.0
        """
        output = self._dense_output(X, out)
        if output is not None:
            return output
        output = self._output(Features.of(self._check_X(X)))
        if out is None:
            return output
        if not isinstance(out, np.ndarray) or out.shape != output.shape:
            raise ValueError(f"out must be an array of shape {output.shape}, got {out!r}")
        out[...] = output
        return out

    def loss_and_gradients(self, X, y, sample_weight=None, alpha=0.0):
        """The loss and its derivatives, equations (1) to (4); the parameters stay as they are.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, layer_sizes[0])
            The inputs, a row for each sample.
        y : array-like of shape (n_rows,) or (n_rows, layer_sizes[-1])
            For 'log_loss' the classes' numbers, of shape (n_rows,).
        sample_weight : array-like of shape (n_rows,), default=None
            Weights of the rows in the mean; not negative.
        alpha : float, default=0.0
            L2: ``0.5 * alpha * sum(W**2) / sum(sample_weight)`` is added to the loss.

        Returns
        -------
        loss : float
        delta : list of ndarray
            ``delta[l]`` of shape (n_rows, layer_sizes[l + 1]): dC/dz[l], the weight of the row in
            the mean included.
        dW, db : list of ndarray
            Of the shapes of W and b.

        Examples
        --------
        A step of gradient descent by hand:

        >>> from fastmlp import Network
        >>> net = Network([1, 3, 1], activation='tanh', random_state=0)
        >>> X, y = [[0.0], [1.0]], [1.0, 2.0]
        >>> before = net.loss_and_gradients(X, y)
        >>> for W, dW in zip(net.W, before.dW):
        ...     W -= 0.1 * dW
        >>> net.loss_and_gradients(X, y).loss < before.loss
        True
        """
        data = self._check_data(X, y, sample_weight)
        if not isinstance(alpha, Real):
            raise TypeError(f"alpha must be a number >= 0, got {alpha!r}")
        if not 0 <= alpha < np.inf:
            raise ValueError(f"alpha must be a number >= 0, got {alpha!r}")
        gradient = aligned_zeros(self._flat.shape, self.dtype)
        work = self._workspace(data.n_rows, keep_z=True, dense=not data.features.is_sparse)
        loss = self._add_gradient(data, gradient, work, alpha)
        dW, db = zip(*self._matrices(gradient), strict=True)
        delta = self._in_workspace(work, "delta", data.n_rows)
        return Gradients(loss, delta, list(dW), list(db))

    def _flops(self, n_rows):
        """Operations of a training step: three products of 2 m n k each for every layer."""
        return 6 * n_rows * self._weights

    def _threads(self, n_rows):
        n_row_blocks = -(-n_rows // rows_in_block(n_rows))
        n_blocks = max(n_row_blocks, len(self._blocks))
        return threads_for(self._flops(n_rows), n_blocks, self.n_threads)

    def _largest_block(self):
        """How many numbers the largest block of parameters has."""
        rows = self._blocks["last"] - self._blocks["first"]
        return int((rows * self._layers["stride"][self._blocks["layer"]]).max())

    def _rows_in_pass(self):
        two_blocks = 2 * ROWS_IN_BLOCK
        rows = int(FLOPS_IN_PASS / self._flops(1)) // two_blocks * two_blocks
        return max(ROWS_IN_BLOCK, min(rows, ROWS_IN_PASS))

    def _workspace(self, n_rows, *, block_rows=None, keep_z=False, dense=False):
        """Room for ``n_rows`` rows, and with ``dense`` for a copy of their inputs."""
        capacity = -(-n_rows // 16) * 16  # every matrix in it begins at a cache line
        layers = self._layers_with_z if keep_z else self._layers
        row_size = int(layers["a"][0]) + dense * int(layers["stride"][0])
        memory = aligned_zeros(capacity * row_size, self.dtype)
        return Workspace(layers, memory, capacity, block_rows or rows_in_block(n_rows))

    def _in_workspace(self, work, name, n_rows):
        """Views onto z, a or delta of every layer but the input."""
        views = []
        for layer in work.layers[1:]:
            start, stride = work.capacity * int(layer[name]), int(layer["stride"])
            matrix = work.memory[start : start + n_rows * stride].reshape(n_rows, stride)
            views.append(matrix[:, : int(layer["n_out"])])
        return views

    def _parts(self, n_rows):
        """Slices of the rows, one for each part of a pass."""
        step = self._rows_in_pass()
        return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))

    def _workspace_for_pass(self, n_rows, **kind):
        """Room for a part. Blocks do not depend on how many rows there are."""
        n_rows = min(n_rows, self._rows_in_pass())
        return self._workspace(n_rows, block_rows=ROWS_IN_BLOCK, **kind)

    def _threads_for_pass(self, work, passes):
        """``passes``: how many of a training step's three products of matrices are made."""
        n_row_blocks = -(-work.capacity // work.block_rows)
        return threads_for(self._flops(work.capacity) * passes / 3, n_row_blocks, self.n_threads)

    def _dense_output(self, X, out=None):
        """a^L of all rows; None if the core cannot take X as it is, or if it is not finite."""
        if not self._predictor.takes(X):
            return None
        if len(X) <= ROWS_IN_BLOCK and not _core.uses_blas():
            return self._predictor(X, out, self._threads_for_block(len(X)))
        if out is None:
            out = np.empty((len(X), self.layer_sizes[-1]), dtype=self.dtype)
        n_blocks = -(-min(len(X), self._rows_in_pass()) // ROWS_IN_BLOCK)
        with core_in_use:
            n_threads = threads_for(self._flops(len(X)) / 3, n_blocks, self.n_threads)
            for rows in self._parts(len(X)):
                if self._predictor(X[rows], out[rows], n_threads) is None:
                    return None
        return out

    def _threads_for_block(self, n_rows):
        """How many threads share out the columns of a single block of rows."""
        if self._weights * n_rows < FEW_WEIGHTS:  # this is a matter of microseconds
            return 1
        flops = 2 * self._weights * max(n_rows, ROWS_THAT_OUTWEIGH_READING)
        return threads_for(flops, max(self.layer_sizes[1:]) // COLUMNS_FOR_A_THREAD, self.n_threads)

    def _output(self, features):
        """a^L of all rows, which are finite."""
        if not features.is_sparse:
            return self._dense_output(features.values)
        work = self._workspace_for_pass(features.n_rows)
        out = np.empty((features.n_rows, self.layer_sizes[-1]), dtype=self.dtype)
        for rows in self._parts(features.n_rows):
            self._pass_forward(features.part(rows), work, out[rows])
        return out

    def _pass_forward(self, features, work, out=None):
        """a^L of as many rows as fit the workspace, which then holds every z and a."""
        if out is None:
            out = np.empty((features.n_rows, self.layer_sizes[-1]), dtype=self.dtype)
        with core_in_use:
            _core.forward(
                work.layers, LOSSES[self.loss], self._flat, work.memory, *features, out,
                work.capacity, work.block_rows, self._threads_for_pass(work, 1),
            )  # fmt: skip
        return out

    def _activations(self, features, layers):
        """a^l of some layers of weights, for all rows."""
        work = self._workspace_for_pass(features.n_rows)
        results = [
            np.empty((features.n_rows, self.layer_sizes[l + 1]), dtype=self.dtype) for l in layers
        ]
        for rows in self._parts(features.n_rows):
            part = features.part(rows)
            output = self._pass_forward(part, work)
            views = [*self._in_workspace(work, "a", part.n_rows)[:-1], output]
            for result, l in zip(results, layers, strict=True):
                result[rows] = views[l]
        return results

    def _evaluate(self, data, order):
        """a^L and the loss, without penalty, of the rows ``order`` of the data."""
        work = self._workspace_for_pass(len(order), dense=not data.features.is_sparse)
        out = np.empty((len(order), self.layer_sizes[-1]), dtype=self.dtype)
        row_loss = np.zeros(-(-work.capacity // work.block_rows))
        scale = 1 / data.sample_weight[order].sum(dtype=np.float64)
        with core_in_use:
            for rows in self._parts(len(order)):
                _core.evaluate(
                    work.layers, LOSSES[self.loss], self._flat, work.memory, *data.arrays,
                    order[rows], work.capacity, work.block_rows, scale, out[rows], row_loss,
                    self._threads_for_pass(work, 1),
                )  # fmt: skip
        return out, float(row_loss.sum())

    def _full_gradient(self, data, alpha, gradient):
        """The loss over all rows; its gradient is written."""
        work = self._workspace_for_pass(data.n_rows, dense=not data.features.is_sparse)
        return self._add_gradient(data, gradient, work, alpha)

    def _add_gradient(self, data, gradient, work, alpha):
        """Loss and gradient over all rows, in parts as large as the workspace."""
        row_loss = np.zeros(-(-work.capacity // work.block_rows))
        penalty = np.zeros(len(self._blocks))
        scale = 1 / data.sample_weight.sum(dtype=np.float64)
        order = np.arange(data.n_rows)
        with core_in_use:
            for start in range(0, data.n_rows, work.capacity):
                _core.add_gradient(
                    work.layers, self._blocks, LOSSES[self.loss], self._flat, gradient,
                    work.memory, *data.arrays, order[start : start + work.capacity],
                    work.capacity, work.block_rows, scale,
                    alpha * scale if start == 0 else 0.0, start > 0, row_loss, penalty,
                    self._threads_for_pass(work, 3),
                )  # fmt: skip
        return float(row_loss.sum() + penalty.sum())

    def _as_matrix(self, array, name, n_columns):
        """A finite C-ordered, aligned matrix of the network's dtype with this many columns."""
        if scipy.sparse.issparse(array):
            raise TypeError(f"{name} must be dense, got a sparse matrix: use its toarray()")
        array = np.asarray(array)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
        if array.ndim != 2 or array.shape[1] != n_columns or len(array) == 0:
            raise ValueError(f"{name} must have shape (n_rows, {n_columns}), got {array.shape}")
        with np.errstate(over="ignore"):  # numbers too large for the dtype become infinite
            array = np.require(array, dtype=self.dtype, requirements=["C", "A"])
        if not np.isfinite(array).all():
            raise ValueError(
                f"{name} must be finite in {self.dtype.name}: it has NaN, infinity or numbers too "
                "large for that"
            )
        return array

    def _check_data(self, X, y, sample_weight):
        X = self._check_X(X)
        n_rows = X.shape[0]
        return Data(
            Features.of(X),
            self._check_y(y, n_rows),
            self._check_sample_weight(sample_weight, n_rows),
        )

    def _check_X(self, X):
        if not scipy.sparse.issparse(X):
            return self._as_matrix(X, "X", self.layer_sizes[0])
        X = trusted(X.tocsr())
        numbers = self._as_matrix(X.data[:, np.newaxis], "X", 1) if X.nnz else X.data
        if X.shape[1] != self.layer_sizes[0] or X.shape[0] == 0:
            raise ValueError(f"X must have shape (n_rows, {self.layer_sizes[0]}), got {X.shape}")
        parts = (numbers.ravel().astype(self.dtype, copy=False), X.indices, X.indptr)
        return scipy.sparse.csr_matrix(parts, shape=X.shape)

    def _check_y(self, y, n_rows):
        """The targets as the core wants them: (n_rows, n_targets), a class as its number."""
        if not scipy.sparse.issparse(y) and np.ndim(y) == 1:
            y = np.asarray(y)[:, np.newaxis]
        y = self._as_matrix(y, "y", self._n_targets)
        if len(y) != n_rows:
            raise ValueError(f"y must have as many rows as X, {n_rows}, got {len(y)}")
        n_classes = self.layer_sizes[-1]
        if self.loss == "log_loss" and not ((y >= 0) & (y < n_classes) & (y == y.round())).all():
            raise ValueError(f"y must be whole numbers from 0 to {n_classes - 1} for 'log_loss'")
        if self.loss == "binary_log_loss" and not ((y >= 0) & (y <= 1)).all():
            raise ValueError("y must lie between 0 and 1 for 'binary_log_loss'")
        if self.loss == "poisson" and not (y >= 0).all():
            raise ValueError("y must not be negative for 'poisson'")
        return y

    def _check_sample_weight(self, sample_weight, n_rows):
        if sample_weight is None:
            return np.ones(n_rows, dtype=self.dtype)
        weight = np.asarray(sample_weight)
        if weight.shape != (n_rows,):
            raise ValueError(f"sample_weight must have shape ({n_rows},), got {weight.shape}")
        weight = self._as_matrix(weight[:, np.newaxis], "sample_weight", 1)[:, 0]
        if not (weight >= 0).all():
            raise ValueError(f"sample_weight must not be negative, got {weight.min()}")
        with np.errstate(over="ignore"):
            total = weight.sum(dtype=np.float64)
        if not 1e-300 < total < np.inf:
            raise ValueError(
                "sample_weight must not be zero throughout, and must have a finite sum: it is "
                f"{total} in {self.dtype.name}"
            )
        return weight
