"""`Network`: a network in memory, what can be asked of it, and what it refuses."""

import itertools
import math
import operator
from functools import partial
from numbers import Real
from typing import NamedTuple

import numpy as np
import scipy.sparse

from fastmlp import _core
from fastmlp._core import ACTIVATIONS, LOSSES
from fastmlp._engine.initializers import INITIALIZERS, check_init
from fastmlp._engine.layout import (
    EVERYTHING,
    FOR_GRADIENT,
    ROWS_IN_BLOCK,
    aligned_zeros,
    layer_table,
    n_parameters,
    parameter_blocks,
    rows_in_block,
    with_workspace,
)
from fastmlp._engine.options import LOSS_PARAMS, filled
from fastmlp._engine.rows import Data, Features, trusted
from fastmlp._engine.threads import candidates_for, check_n_threads, core_in_use, threads_for

# A pass over all rows (a prediction, a full gradient) takes them in parts of at most so many rows
# and of about so many operations: bounds its memory, and the time until Ctrl-C is heard.
ROWS_IN_PASS = 4096
FLOPS_IN_PASS = 1e10

# What is done in training for a node beside the products takes as long as they do for so many
# weights: reading a row, activations, the loss. 200-1-1-10 of bench/grid.py has little else, and
# takes 25% longer without a second thread.
WEIGHTS_FOR_A_NODE = 6

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
    """The loss and its derivatives: ``delta[l]`` by ``z[l]``, ``dW[l]``, ``db[l]`` by W and b.

    With layer normalisation ``delta[l]`` belongs to what is normalised, ``a[l] @ W[l] + b[l]``.
    """

    loss: float
    delta: list
    dW: list
    db: list


class _Views(list):
    """Arrays that are views onto a network: assigning to an item writes into the network."""

    def __init__(self, views, network):
        super().__init__(views)
        self._network = network

    def __setitem__(self, index, value):
        if not isinstance(index, (int, np.integer)):
            raise TypeError(f"index must be the number of one layer, got {index!r}")
        view = self[index]
        view[...] = _check_parameter(f"item {index}", value, view)
        self._network._remove_missing()


def _check_parameter(name, given, view):
    """``given`` as an array that may take the place of ``view``."""
    given = np.asarray(given)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {given.dtype}")
    if given.shape != view.shape:
        raise ValueError(f"{name} must have shape {view.shape}, got {given.shape}")
    return _as_finite(name, given, view.dtype)


def _as_finite(name, given, dtype):
    """C-ordered, aligned and of the dtype; or an error that says what is not finite in it."""
    with np.errstate(over="ignore"):  # numbers too large for the dtype become infinite
        array = np.require(given, dtype=dtype, requirements=["C", "A"])
    if np.isfinite(array).all():
        return array
    what = "numbers too large for that: dtype='float64' holds larger ones"
    if not np.isfinite(given).all():
        what = "NaN" if np.isnan(given).any() else "infinity"
    raise ValueError(f"{name} must be finite in {dtype.name}, but has {what}")


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


def check_activation(activation, n_hidden):
    """A name, or a tuple of one for each hidden layer."""
    names = [activation] if isinstance(activation, str) else activation
    if not isinstance(names, list | tuple | np.ndarray):
        raise ValueError(
            f"activation must be one of {sorted(ACTIVATIONS)} or a list of them, got {activation!r}"
        )
    for name in names:
        _check_choice("activation", name, ACTIVATIONS)
    if isinstance(activation, str):
        return activation
    if len(names) != n_hidden:
        raise ValueError(
            f"activation must be a name or a list of one for each of the {n_hidden} hidden layers, "
            f"got {len(names)}"
        )
    return tuple(map(str, names))


def check_flag(name, given):
    if not isinstance(given, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {given!r}")
    return bool(given)


def _described(given):
    """A few words about what may be too long to show."""
    kind = type(given).__name__
    return f"a {kind} of {len(given)}" if hasattr(given, "__len__") else f"a {kind}"


def check_connections(connections, layer_sizes):
    """A boolean matrix, or None, for each layer of weights; or None."""
    if connections is None:
        return None
    shapes = list(itertools.pairwise(layer_sizes))
    if not isinstance(connections, list | tuple) or len(connections) != len(shapes):
        raise ValueError(
            f"connections must be a list of {len(shapes)} matrices or None, one for each layer of "
            f"weights, got {_described(connections)}"
        )
    checked = []
    for l, (given, shape) in enumerate(zip(connections, shapes, strict=True)):
        try:
            matrix = None if given is None else np.array(given)
        except ValueError:  # rows of different lengths
            matrix = np.zeros(0)
        if matrix is not None and matrix.shape != shape:
            raise ValueError(
                f"connections[{l}] must have shape {shape}, that of W[{l}], got {matrix.shape}"
            )
        if matrix is not None and not np.isin(matrix, (0, 1)).all():
            raise ValueError(f"connections[{l}] must be True or False everywhere")
        checked.append(None if matrix is None else matrix.astype(bool))
    return checked


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


# Losses whose target is one number a row, a class's; and what the others' targets must be.
OF_CLASSES = ("log_loss", "softmax_squared_error")
TARGETS = {
    "binary_log_loss": (lambda y: (y >= 0) & (y <= 1), "lie between 0 and 1"),
    "logistic_squared_error": (lambda y: (y >= 0) & (y <= 1), "lie between 0 and 1"),
    "poisson": (lambda y: y >= 0, "not be negative"),
    "tweedie": (lambda y: y >= 0, "not be negative"),
    "gamma": (lambda y: y >= np.finfo(y.dtype).tiny, "be positive (and a normal number)"),
}


def _norm(numbers):
    """Not by BLAS, whose threads would wake up for it."""
    return math.sqrt(np.einsum("i,i->", numbers, numbers))


class Network:
    """A multilayer perceptron in arrays: every z, a, delta and gradient can be seen.

    Layers are counted from 0: ``z[l] = a[l] @ W[l] + b[l]``, ``a[l + 1] = f(z[l])``, ``a[0] = X``.
    The estimators are built on it; it needs no fitting and imposes no training.

    Parameters
    ----------
    layer_sizes : sequence of int
        The number of nodes of each layer: inputs, hidden layers, outputs.
    activation : str or list of str, default='relu'
        f of the hidden layers, or of each of them: 'identity', 'logistic', 'tanh', 'relu',
        'leaky_relu' (slope 0.01), 'elu', 'selu', 'gelu', 'silu', 'mish', 'softplus'.
    loss : str, default='squared_error'
        The cost, and with it the output's activation. A class's number is the target of 'log_loss'
        and 'softmax_squared_error' (softmax); numbers in [0, 1] are those of 'binary_log_loss' and
        'logistic_squared_error' (logistic). For regression there are 'squared_error',
        'absolute_error', 'huber' and 'quantile' (identity), and 'poisson', 'gamma' and 'tweedie'
        (exp). Each is the mean over the rows of a sum over the outputs; squared errors and
        deviances are halved. With several quantiles the target is one number, and the outputs are
        the quantiles in ascending order.
    loss_params : dict or None, default=None
        ``label_smoothing`` of 'log_loss' and 'binary_log_loss' (0), ``delta`` of 'huber' (1),
        ``quantiles`` of 'quantile' (0.5, or an ascending list), ``power`` of 'tweedie' (1.5).
    layer_norm : bool, default=False
        Whether the z of hidden layers is normalised: each row to mean 0 and variance 1, then times
        a gain plus a shift that are learned.
    residual : bool, default=False
        Whether ``a[l]`` is added to ``a[l + 1]`` where both are hidden and of equal width.
    init : None, str, callable or list, default=None
        The first weights: 'glorot_uniform', 'glorot_normal', 'he_uniform', 'he_normal',
        'lecun_uniform', 'lecun_normal', 'orthogonal' or 'zeros'; a function
        f(shape, random_state); or a list of these or of arrays, one for each layer of weights.
        Biases are then 0. None is scikit-learn's: weights and biases uniform in
        +-sqrt(6 / (n_in + n_out)), or with 2 in place of 6 for 'logistic'.
    connections : list or None, default=None
        A boolean matrix of shape (n_in, n_out), or None, for each layer of weights: where it is
        False there is no weight.
    dtype : {'float32', 'float64'}, default='float32'
        The arithmetic.
    random_state : int, RandomState or None, default=None
        Source of the first weights.
    n_threads : int or None, default=None
        None takes as many as pay off. Results do not depend on it.

    Attributes
    ----------
    layer_sizes : tuple of int
    activation : str or tuple of str
    loss : str
    loss_params : dict
    layer_norm, residual : bool
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
        loss_params=None,
        layer_norm=False,
        residual=False,
        init=None,
        connections=None,
        dtype="float32",
        random_state=None,
        n_threads=None,
    ):
        layer_sizes = check_layer_sizes(layer_sizes)
        if len(layer_sizes) < 2:
            raise ValueError(
                f"layer_sizes must have at least the inputs and the outputs, got {layer_sizes}"
            )
        self._activation = check_activation(activation, len(layer_sizes) - 2)
        _check_choice("loss", loss, LOSSES)
        if loss in OF_CLASSES and layer_sizes[-1] > MOST_CLASSES:
            raise ValueError(f"layer_sizes: at most {MOST_CLASSES} classes, got {layer_sizes[-1]}")
        check_n_threads(n_threads)
        self._layer_sizes = layer_sizes
        self._loss = loss
        self._loss_params = filled("loss_params", loss, loss_params, LOSS_PARAMS)
        if self._n_quantiles not in (1, layer_sizes[-1]):
            raise ValueError(
                f"layer_sizes must end with {self._n_quantiles} outputs, one for each quantile, "
                f"got {layer_sizes[-1]}"
            )
        self._layer_norm = check_flag("layer_norm", layer_norm)
        self._residual = check_flag("residual", residual)
        self._dtype = check_dtype(dtype)
        self._connections = check_connections(connections, layer_sizes)
        self.n_threads = n_threads
        init = check_init(init, self.n_layers)
        random_state = _as_random_state(random_state)
        self._lay_out()
        self._initialize(init, random_state)

    # What the tables follow from cannot be changed.
    layer_sizes = property(lambda self: self._layer_sizes)
    activation = property(lambda self: self._activation)
    loss = property(lambda self: self._loss)
    loss_params = property(lambda self: dict(self._loss_params))
    layer_norm = property(lambda self: self._layer_norm)
    residual = property(lambda self: self._residual)
    dtype = property(lambda self: self._dtype)

    @property
    def _activations_of_hidden(self):
        if isinstance(self.activation, str):
            return (self.activation,) * (self.n_layers - 1)
        return self.activation

    @property
    def _n_quantiles(self):
        return len(self._loss_params.get("quantiles", (0.5,)))

    def _lay_out(self):
        """The tables and the (zeroed) parameters; all that follows from the arguments."""
        one_target = self.loss in OF_CLASSES or self._n_quantiles > 1
        self._n_targets = 1 if one_target else self.layer_sizes[-1]
        self._layers = layer_table(
            self.layer_sizes,
            self._activations_of_hidden,
            self.dtype.itemsize,
            layer_norm=self.layer_norm,
            residual=self.residual,
        )
        self._blocks = parameter_blocks(self._layers)
        self._flat = aligned_zeros(n_parameters(self._layers, self.dtype.itemsize), self.dtype)
        self._mask = self._mask_of_connections()
        self._weights = sum(itertools.starmap(operator.mul, itertools.pairwise(self.layer_sizes)))
        given = [np.ravel(value) for value in self._loss_params.values()]
        self._loss_numbers = np.concatenate([*given, [0.0]])[: max(1, sum(map(len, given)))]
        self._make_predictor()

    def _make_predictor(self):
        self._predictor = _core.Predictor(
            self._layers,
            *self._core_loss,
            self._flat,
            ROWS_IN_BLOCK,
            partial(aligned_zeros, dtype=self.dtype),
        )

    @property
    def _core_loss(self):
        """The loss as the core wants it: a number, and its parameters."""
        return LOSSES[self.loss], self._loss_numbers

    def _mask_of_connections(self):
        """1 where a parameter is, 0 where none is; empty if all are there."""
        if self._connections is None:
            return np.zeros(0, dtype=self.dtype)
        mask = np.ones_like(self._flat)
        for (W, _), there in zip(self._matrices(mask), self._connections, strict=True):
            if there is not None:
                W[...] = there
        return mask

    def _has_connections(self, connections):
        """Whether the network's connections are those of the argument of this name."""
        given = check_connections(connections, self.layer_sizes) or [None] * self.n_layers
        ours = self._connections or [None] * self.n_layers
        return all(map(np.array_equal, given, ours))

    def _remove_missing(self):
        """Set the weights to 0 where no connection is."""
        if len(self._mask):
            self._flat *= self._mask

    def _shorten(self, max_norm):
        """Shorten the weight vectors of units that are longer than this."""
        for W, _ in self.params:
            norms = np.linalg.norm(W.astype(float), axis=0)
            longer = norms > max_norm
            W[:, longer] *= (max_norm / norms[longer]).astype(W.dtype)

    def _twin(self):
        """The same network with parameters of its own, and the same tables."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin._flat = aligned_zeros(self._flat.shape, self.dtype)
        twin._flat[...] = self._flat
        twin._make_predictor()
        return twin

    def _copy_as(self, dtype):
        """The same network in another arithmetic."""
        twin = object.__new__(type(self))
        state = self.__getstate__()
        del state["flat"]
        vars(twin).update(state | {"_dtype": np.dtype(dtype)})
        twin._lay_out()
        for ours, theirs in zip(twin.params, self.params, strict=True):
            for view, numbers in zip(ours, theirs, strict=True):
                view[...] = numbers
        for ours, theirs in zip(twin.norms, self.norms, strict=True):
            for view, numbers in zip(ours or (), theirs or (), strict=True):
                view[...] = numbers
        return twin

    def _initialize(self, init, random_state):
        activations = (*self._activations_of_hidden, *self._activations_of_hidden[-1:])
        if isinstance(self.activation, str):  # of the last layer, too: so does scikit-learn
            activations = (self.activation,) * self.n_layers
        for l, (W, b) in enumerate(self.params):
            if init[l] is None:
                is_logistic = activations[l : l + 1] == ("logistic",)
                bound = np.sqrt((2.0 if is_logistic else 6.0) / sum(W.shape))
                W[...] = random_state.uniform(-bound, bound, W.shape)
                b[...] = random_state.uniform(-bound, bound, b.shape)
                continue
            function = INITIALIZERS[init[l]] if isinstance(init[l], str) else init[l]
            given = function(W.shape, random_state) if callable(function) else function
            W[...] = _check_parameter(f"init[{l}]", given, W)
        for gain, _ in filter(None, self.norms):
            gain[...] = 1
        self._remove_missing()

    def _begin_at_mean(self, data, order):
        """Let outputs that are exp(z) begin near the weighted mean of the targets."""
        y, weight = data.y[order].astype(np.float64), data.sample_weight[order].astype(np.float64)
        mean = np.average(y, axis=0, weights=weight)
        self.b[-1][mean > 0] = np.log(mean[mean > 0])

    def __repr__(self):
        return (
            f"Network({list(self.layer_sizes)}, activation={self.activation!r}, "
            f"loss={self.loss!r}, dtype={self.dtype.name!r}"
            f"{''.join(f', {name}={getattr(self, name)!r}' for name in self._unusual())})"
        )

    def _unusual(self):
        """Names of arguments that are not at their default, of those that are rarely given."""
        return [name for name in ("loss_params", "layer_norm", "residual") if getattr(self, name)]

    def __getstate__(self):
        arguments = (
            "_layer_sizes", "_activation", "_loss", "_loss_params", "_layer_norm", "_residual",
            "_connections", "_dtype", "n_threads",
        )  # fmt: skip
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
        return _Views((W for W, _ in self._matrices(self._flat)), self)

    @property
    def b(self):
        """List of the biases, ``b[l]`` of shape (n_out,): views onto the network."""
        return _Views((b for _, b in self._matrices(self._flat)), self)

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
        self._remove_missing()

    @property
    def norms(self):
        """List of ``(gain, shift)`` of normalised layers, or None: views of shape (n_out,)."""
        pairs = []
        for layer in self._layers[1:]:
            places = (int(layer[name]) for name in ("gain", "shift"))
            pair = tuple(self._flat[start : start + int(layer["n_out"])] for start in places)
            pairs.append(pair if layer["is_normalized"] else None)
        return pairs

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
        work = self._workspace(X.shape[0], self._table(EVERYTHING))
        output = self._pass_forward(Features.of(X), work)
        z, a = (self._in_workspace(work, name, X.shape[0]) for name in ("z", "a"))
        return Forward(z, [X, *a[:-1], output])

    def output(self, X, out=None):
        """The last layer's activation; the memory that it takes does not grow with the rows.

        An array of numbers is read as it is, whatever their type and order, and converted on the
        way.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, layer_sizes[0])
            The inputs, a row for each sample.
        out : ndarray of shape (n_rows, layer_sizes[-1]), default=None
            Where the result goes: C-ordered, of the network's dtype or float64.

        Returns
        -------
        ndarray of shape (n_rows, layer_sizes[-1])
            Of float32 if X and the network are so. Otherwise of float64: with a network of float32
            the last layer's function is then taken in float64.

        Examples
        --------
        >>> from fastmlp import Network
        >>> net = Network([3, 2], loss='log_loss', random_state=0)
        >>> float(net.output([[1, 2, 3]]).sum().round(3))
        1.0
        """
        if out is not None:
            self._check_out(out)
            if isinstance(X, np.ndarray) and np.may_share_memory(X, out):
                X = X.copy()  # or rows would be read where others have been written
        output = self._dense_output(X, out)
        return self._output_of_any(X, out) if output is None else output

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
        loss, gradient, work = self._see(data, alpha)
        dW, db = zip(*self._matrices(gradient), strict=True)
        delta = self._in_workspace(work, "delta", data.n_rows)
        return Gradients(loss, delta, list(dW), list(db))

    def _see(self, data, alpha, l1=0.0):
        """Loss, gradient, and a workspace with every z, a and delta of these rows."""
        gradient = aligned_zeros(self._flat.shape, self.dtype)
        work = self._workspace(data.n_rows, self._table(EVERYTHING), dense=data.is_dense)
        return self._add_gradient(data, gradient, work, alpha, l1), gradient, work

    def _table(self, kept, *perturbation):
        return with_workspace(self._layers, kept, *perturbation)

    def _flops(self, n_rows):
        """Operations of a training step: three products of 2 m n k each for every layer."""
        return 6 * n_rows * self._weights

    def _candidates(self, n_rows):
        """Numbers of threads for a step of training."""
        beside = 6 * n_rows * WEIGHTS_FOR_A_NODE * sum(self.layer_sizes)
        n_row_blocks = -(-n_rows // rows_in_block(n_rows, self._weights))
        n_blocks = max(n_row_blocks, len(self._blocks))
        return candidates_for(self._flops(n_rows) + beside, n_blocks, self.n_threads)

    def _largest_block(self):
        """How many numbers the largest block of parameters has."""
        rows = self._blocks["last"] - self._blocks["first"]
        return int((rows * self._layers["stride"][self._blocks["layer"]]).max())

    def _rows_in_pass(self):
        two_blocks = 2 * ROWS_IN_BLOCK
        rows = int(FLOPS_IN_PASS / self._flops(1)) // two_blocks * two_blocks
        return max(ROWS_IN_BLOCK, min(rows, ROWS_IN_PASS))

    def _workspace(self, n_rows, layers=None, *, block_rows=None, dense=False):
        """Room for ``n_rows`` rows, and with ``dense`` for a copy of their inputs."""
        capacity = -(-n_rows // 16) * 16  # every matrix in it begins at a cache line
        layers = self._layers if layers is None else layers
        row_size = int(layers["a"][0]) + dense * int(layers["stride"][0])
        memory = aligned_zeros(capacity * row_size, self.dtype)
        return Workspace(
            layers, memory, capacity, block_rows or rows_in_block(n_rows, self._weights)
        )

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

    def _workspace_for_pass(self, n_rows, layers=None, *, dense=False):
        """Room for a part. Blocks do not depend on how many rows there are."""
        n_rows = min(n_rows, self._rows_in_pass())
        return self._workspace(n_rows, layers, block_rows=ROWS_IN_BLOCK, dense=dense)

    def _threads_for_pass(self, work, passes):
        """``passes``: how many of a training step's three products of matrices are made."""
        n_row_blocks = -(-work.capacity // work.block_rows)
        return threads_for(self._flops(work.capacity) * passes / 3, n_row_blocks, self.n_threads)

    def _dense_output(self, X, out=None):
        """a^L of all rows; None if X is not an array of numbers that fits, or is not finite."""
        if not isinstance(X, np.ndarray) or X.ndim != 2:
            return None
        if len(X) <= ROWS_IN_BLOCK and not _core.uses_blas():
            return self._predictor(X, out, self._threads_for_block(len(X)))
        if out is None:
            out = self._new_output(X)
        n_blocks = -(-min(len(X), self._rows_in_pass()) // ROWS_IN_BLOCK)
        with core_in_use:
            n_threads = threads_for(self._flops(len(X)) / 3, n_blocks, self.n_threads)
            for rows in self._parts(len(X)):
                if self._predictor(X[rows], out[rows], n_threads) is None:
                    return None
        return out

    def _new_output(self, X):
        """Room for a^L of the rows of X: of float64 unless both X and the network are float32."""
        is_float32 = X.dtype.newbyteorder("=") == np.float32 == self.dtype
        shape = (X.shape[0], self.layer_sizes[-1])
        return np.empty(shape, dtype=np.float32 if is_float32 else np.float64)

    def _threads_for_block(self, n_rows):
        """How many threads share out the columns of a single block of rows."""
        if self._weights * n_rows < FEW_WEIGHTS:  # this is a matter of microseconds
            return 1
        flops = 2 * self._weights * max(n_rows, ROWS_THAT_OUTWEIGH_READING)
        return threads_for(flops, max(self.layer_sizes[1:]) // COLUMNS_FOR_A_THREAD, self.n_threads)

    def _check_out(self, out):
        if not isinstance(out, np.ndarray) or out.ndim != 2:
            raise ValueError(f"out must be a matrix, got {_described(out)}")
        if not out.flags.writeable:
            raise ValueError("out must be an array that can be written")
        if out.dtype not in (self.dtype, np.float64) or not out.flags.carray:
            raise ValueError(
                f"out must be a C-ordered array of {self.dtype.name} or float64, got one of "
                f"{out.dtype} with strides {out.strides}"
            )

    def _output_of_any(self, X, out=None):
        """a^L of rows that have to be checked first: of lists, say, or sparse ones."""
        given = X if hasattr(X, "dtype") else np.asarray(X)
        X = self._check_X(given)
        if out is None:
            out = self._new_output(given)
        if self._output_of_features(Features.of(X), out) is None:
            raise ValueError("X was changed while it was read: it is no longer finite")
        return out

    def _output_of_features(self, features, out=None):
        """a^L of rows in the network's dtype."""
        if not features.is_sparse:
            return self._dense_output(features.values, out)
        if out is None:
            out = np.empty((features.n_rows, self.layer_sizes[-1]), dtype=self.dtype)
        self._sparse_output(features, out)
        return out

    def _sparse_output(self, features, out):
        if out.shape != (features.n_rows, self.layer_sizes[-1]):
            shape = (features.n_rows, self.layer_sizes[-1])
            raise ValueError(f"out must have shape {shape}, got {out.shape}")
        work = self._workspace_for_pass(features.n_rows)
        for rows in self._parts(features.n_rows):
            narrow = self._pass_forward(features.part(rows), work)
            if out.dtype == self.dtype:
                out[rows] = narrow
            else:
                _core.widen(work.layers, *self._core_loss, work.memory, out[rows], work.capacity)

    def _pass_forward(self, features, work, out=None):
        """a^L of as many rows as fit the workspace, which then holds every z and a."""
        if out is None:
            out = np.empty((features.n_rows, self.layer_sizes[-1]), dtype=self.dtype)
        with core_in_use:
            _core.forward(
                work.layers, *self._core_loss, self._flat, work.memory, *features, out,
                work.capacity, work.block_rows, self._threads_for_pass(work, 1),
            )  # fmt: skip
        return out

    def _is_finite_for(self, features):
        """Whether the outputs for these rows are finite: by norms, or else by looking at them."""
        largest = float(max(features.values.max(), -features.values.min()))
        most_in_row = self.layer_sizes[0]
        if features.is_sparse:  # a column may be there twice
            most_in_row = int(np.diff(features.indptr).max())
        with np.errstate(over="ignore", invalid="ignore"):
            bound = self._largest_number(most_in_row * largest)
        if bound < math.sqrt(np.finfo(self.dtype).max) / 4:  # squares are finite, too
            return True
        output = self._output_of_features(features)  # None if the rows are not finite
        return output is not None and bool(
            np.isfinite(self._flat).all() & np.isfinite(output).all()
        )

    def _largest_number(self, size):
        """A bound of z and a in all layers, for inputs of this norm; infinite if unknown.

        By |z| <= |W, b| |(a, 1)|, Frobenius's norm; no activation makes more of it than below.
        """
        largest = size
        for layer, norms in zip(self._layers[1:], self.norms, strict=True):
            root = math.sqrt(layer["n_out"])
            numbers = self._flat[int(layer["W"]) : int(layer["b"]) + int(layer["stride"])]
            z = _norm(numbers) * math.hypot(size, 1.0)
            if not z < math.inf:  # NaN, too
                return math.inf
            largest = max(largest, z)
            if norms is not None:
                gain, shift = norms
                z = root * _norm(gain) + _norm(shift)
            size = 1.06 * z + 2 * root + self.residual * size
            largest = max(largest, size)
        return largest

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
        work = self._workspace_for_pass(len(order), dense=data.is_dense)
        out = np.empty((len(order), self.layer_sizes[-1]), dtype=self.dtype)
        row_loss = np.zeros(-(-work.capacity // work.block_rows))
        scale = 1 / data.sample_weight[order].sum(dtype=np.float64)
        with core_in_use:
            for rows in self._parts(len(order)):
                _core.evaluate(
                    work.layers, *self._core_loss, self._flat, work.memory, *data.arrays,
                    order[rows], work.capacity, work.block_rows, scale, out[rows], row_loss,
                    self._threads_for_pass(work, 1),
                )  # fmt: skip
        return out, float(row_loss.sum())

    def _full_gradient(self, data, gradient, alpha=0.0, l1=0.0):
        """The loss over all rows; its gradient is written."""
        work = self._workspace_for_pass(data.n_rows, self._table(FOR_GRADIENT), dense=data.is_dense)
        return self._add_gradient(data, gradient, work, alpha, l1)

    def _add_gradient(self, data, gradient, work, alpha, l1=0.0):
        """Loss and gradient over all rows, in parts as large as the workspace."""
        row_loss = np.zeros(-(-work.capacity // work.block_rows))
        penalty = np.zeros(len(self._blocks))
        scale = 1 / data.sample_weight.sum(dtype=np.float64)
        rates = (l1 * scale, alpha * scale)
        order = np.arange(data.n_rows)
        with core_in_use:
            for start in range(0, data.n_rows, work.capacity):
                _core.add_gradient(
                    work.layers, self._blocks, *self._core_loss, self._flat, self._mask, gradient,
                    work.memory, *data.arrays, order[start : start + work.capacity],
                    work.capacity, work.block_rows, scale, *(rates if start == 0 else (0.0, 0.0)),
                    start > 0, row_loss, penalty, self._threads_for_pass(work, 3),
                )  # fmt: skip
        return float(row_loss.sum() + penalty.sum())

    def _as_matrix(self, array, name, n_columns):
        """A finite C-ordered, aligned matrix of the network's dtype with this many columns."""
        if scipy.sparse.issparse(array):
            raise TypeError(f"{name} must be dense, got a sparse matrix: use its toarray()")
        array = np.asarray(array)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
        if array.ndim != 2 or array.shape[1] != n_columns:
            raise ValueError(f"{name} must have shape (n_rows, {n_columns}), got {array.shape}")
        if len(array) == 0:
            raise ValueError(
                f"{name} must have shape (n_rows, {n_columns}) with a row at least, got none"
            )
        return _as_finite(name, array, self.dtype)

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
        if self.loss in OF_CLASSES and not ((y >= 0) & (y < n_classes) & (y == y.round())).all():
            raise ValueError(f"y must be whole numbers from 0 to {n_classes - 1} for {self.loss!r}")
        if self.loss in TARGETS:
            is_good, what = TARGETS[self.loss]
            if not is_good(y).all():
                raise ValueError(f"y must {what} for {self.loss!r}")
        return y

    def _check_sample_weight(self, sample_weight, n_rows, name="sample_weight"):
        if sample_weight is None:
            return np.ones(n_rows, dtype=self.dtype)
        weight = np.asarray(sample_weight)
        if weight.shape != (n_rows,):
            raise ValueError(f"{name} must have shape ({n_rows},), got {weight.shape}")
        weight = self._as_matrix(weight[:, np.newaxis], name, 1)[:, 0]
        if not (weight >= 0).all():
            raise ValueError(f"{name} must not be negative, got {weight.min()}")
        with np.errstate(over="ignore"):
            total = weight.sum(dtype=np.float64)
        if not 1e-300 < total < np.inf:
            raise ValueError(
                f"{name} must not be zero throughout, and must have a finite sum: it is "
                f"{total} in {self.dtype.name}"
            )
        return weight
