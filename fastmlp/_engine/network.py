"""`Network`: a network in memory, its arguments, and what can be asked of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastmlp._engine.checks import (
    as_random_state,
    check_activation,
    check_connections,
    check_data,
    check_dtype,
    check_features,
    check_flag,
    check_layer_sizes,
    check_loss,
    check_out,
    check_parameter,
)
from fastmlp._engine.initializers import check_init, initialize
from fastmlp._engine.layout import EVERYTHING
from fastmlp._engine.losses import Loss
from fastmlp._engine.parameters import Parameters
from fastmlp._engine.passes import Passes
from fastmlp._engine.rows import Features
from fastmlp._engine.threads import check_n_threads

Array: TypeAlias = NDArray[Any]


class Forward(NamedTuple):
    """Every weighted input and activation of some rows: ``a[l + 1] = f(z[l])``, ``a[0]`` is X."""

    z: list[Array]
    a: list[Array]


class Gradients(NamedTuple):
    """The loss and its derivatives: ``delta[l]`` by ``z[l]``, ``dW[l]``, ``db[l]`` by W and b.

    With layer normalisation ``delta[l]`` belongs to what is normalised, ``a[l] @ W[l] + b[l]``.
    """

    loss: float
    delta: list[Array]
    dW: list[Array]
    db: list[Array]


class Views(list):
    """Arrays that are views onto a network: assigning to an item writes into the network."""

    def __init__(self, views, network):
        super().__init__(views)
        self._network = network

    def __setitem__(self, index, value):
        if not isinstance(index, (int, np.integer)):
            raise TypeError(f"index must be the number of one layer, got {index!r}")
        view = self[index]
        view[...] = check_parameter(f"item {index}", value, view)
        self._network.parameters.remove_missing()


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
        'leaky_relu' (slope 0.01), 'elu', 'selu', 'gelu', 'silu', 'mish', 'softplus',
        'softsign', 'hard_swish'.
    loss : str or callable, default='squared_error'
        The cost, and with it the output's activation. A class's number is the target of 'log_loss'
        and 'softmax_squared_error' (softmax); numbers in [0, 1] are those of 'binary_log_loss' and
        'logistic_squared_error' (logistic). For regression there are 'squared_error',
        'absolute_error', 'huber', 'log_cosh' and 'quantile' (identity), and 'poisson', 'gamma' and
        'tweedie' (exp). Each is the mean over the rows of a sum over the outputs; squared errors
        and deviances are halved. With several quantiles the target is one number, and the outputs
        are the quantiles in ascending order. A function f(y, z) has the identity as activation: see
        `MLPRegressor`.
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
        Layers of weights.
    parameters : Parameters
        The buffer of all numbers, for the package's own modules.
    passes : Passes
        What is computed over many rows, for the package's own modules.

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
        layer_sizes: Iterable[int],
        activation: str | Sequence[str] = "relu",
        loss: str | Callable[[Array, Array], tuple[Array, Array]] = "squared_error",
        *,
        loss_params: Mapping[str, Any] | None = None,
        layer_norm: bool = False,
        residual: bool = False,
        init: Any = None,
        connections: Sequence[ArrayLike | None] | None = None,
        dtype: DTypeLike = "float32",
        random_state: int | np.random.RandomState | None = None,
        n_threads: int | None = None,
    ) -> None:
        layer_sizes = check_layer_sizes(layer_sizes)
        if len(layer_sizes) < 2:
            raise ValueError(
                f"layer_sizes must have at least the inputs and the outputs, got {layer_sizes}"
            )
        self._layer_sizes = layer_sizes
        self._activation = check_activation(activation, self.n_layers - 1)
        check_loss(loss)
        check_n_threads(n_threads)
        self._loss = Loss(loss, loss_params, layer_sizes[-1])
        self._layer_norm = check_flag("layer_norm", layer_norm)
        self._residual = check_flag("residual", residual)
        self._dtype = check_dtype(dtype)
        self._connections = check_connections(connections, layer_sizes)
        init = check_init(init, self.n_layers)
        random_state = as_random_state(random_state)
        self._take(self._new_parameters(), n_threads)
        initialize(self, init, random_state)

    # What the tables follow from cannot be changed.
    @property
    def layer_sizes(self) -> tuple[int, ...]:
        return self._layer_sizes

    @property
    def activation(self) -> str | tuple[str, ...]:
        return self._activation

    @property
    def loss(self) -> str | Callable[[Array, Array], tuple[Array, Array]]:
        return self._loss.name

    @property
    def loss_params(self) -> dict[str, Any]:
        return dict(self._loss.params)

    @property
    def layer_norm(self) -> bool:
        return self._layer_norm

    @property
    def residual(self) -> bool:
        return self._residual

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    @property
    def n_layers(self) -> int:
        return len(self._layer_sizes) - 1

    @property
    def n_threads(self) -> int | None:
        return self.passes.n_threads

    @n_threads.setter
    def n_threads(self, n_threads: int | None) -> None:
        self.passes.n_threads = n_threads

    @property
    def activations_of_hidden(self):
        """A name for each hidden layer."""
        if isinstance(self.activation, str):
            return (self.activation,) * (self.n_layers - 1)
        return self.activation

    def _new_parameters(self):
        """Zeros, and all tables that follow from the arguments."""
        return Parameters(
            self.layer_sizes,
            self.activations_of_hidden,
            self.dtype,
            layer_norm=self.layer_norm,
            residual=self.residual,
            connections=self._connections,
        )

    def _take(self, parameters, n_threads):
        self.parameters = parameters
        self.passes = Passes(parameters, self._loss, n_threads)

    def has_connections(self, connections: Sequence[ArrayLike | None] | None) -> bool:
        """Whether the network's connections are those of the argument of this name.

        Parameters
        ----------
        connections : list or None
            As in the constructor.

        Returns
        -------
        bool

        Examples
        --------
        >>> from fastmlp import Network
        >>> Network([2, 1]).has_connections([[[True], [False]]])
        False
        """
        given = check_connections(connections, self.layer_sizes) or [None] * self.n_layers
        ours = self._connections or [None] * self.n_layers
        return all(map(np.array_equal, given, ours))

    def copy(self, dtype: DTypeLike | None = None) -> "Network":
        """The same network with parameters of its own.

        Parameters
        ----------
        dtype : {'float32', 'float64'} or None, default=None
            The arithmetic; None leaves it as it is.

        Returns
        -------
        Network

        Examples
        --------
        >>> from fastmlp import Network
        >>> Network([2, 1]).copy(dtype='float64').dtype
        dtype('float64')
        """
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin._dtype = self.dtype if dtype is None else check_dtype(dtype)
        if twin.dtype == self.dtype:
            parameters = self.parameters.copy()
        else:
            parameters = twin._new_parameters()
            parameters.load(self.parameters.state())
        twin._take(parameters, self.n_threads)
        return twin

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
            "_layer_sizes", "_activation", "_loss", "_layer_norm", "_residual", "_connections",
            "_dtype",
        )  # fmt: skip
        state = {name: getattr(self, name) for name in arguments}
        return state | {"n_threads": self.n_threads, "parameters": self.parameters.state()}

    def __setstate__(self, state):
        parameters, n_threads = state.pop("parameters"), state.pop("n_threads")
        vars(self).update(state)
        own = self._new_parameters()
        own.load(parameters)
        self._take(own, n_threads)

    def snapshot(self) -> Array:
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
        return self.parameters.flat.copy()

    def restore(self, snapshot: Array) -> None:
        """Set the parameters to what they were at the time of a `snapshot`.

        Parameters
        ----------
        snapshot : ndarray
            What `snapshot` has returned for a network of the same layers and dtype.

        Examples
        --------
        See `snapshot`.
        """
        self.parameters.flat[...] = snapshot

    @property
    def W(self) -> list[Array]:
        """List of the weights, ``W[l]`` of shape (n_in, n_out): views onto the network."""
        return Views((W for W, _ in self.parameters.matrices()), self)

    @property
    def b(self) -> list[Array]:
        """List of the biases, ``b[l]`` of shape (n_out,): views onto the network."""
        return Views((b for _, b in self.parameters.matrices()), self)

    @property
    def params(self) -> tuple[tuple[Array, Array], ...]:
        """Tuple of ``(W, b)``, a pair for each layer: views onto the network.

        Write into the arrays, or assign a list of such pairs, which is copied.
        """
        return tuple(self.parameters.matrices())

    @params.setter
    def params(self, params: Iterable[tuple[ArrayLike, ArrayLike]]) -> None:
        pairs = [tuple(pair) for pair in params]
        if [len(pair) for pair in pairs] != [2] * self.n_layers:
            raise ValueError(f"params must be {self.n_layers} pairs (W, b), got {len(pairs)} items")
        checked = [
            (view, check_parameter(f"params[{l}]: {name}", given, view))
            for l, pair in enumerate(zip(self.params, pairs, strict=True))
            for name, view, given in zip(("W", "b"), *pair, strict=True)
        ]
        for view, array in checked:
            view[...] = array
        self.parameters.remove_missing()

    @property
    def norms(self) -> list[tuple[Array, Array] | None]:
        """List of ``(gain, shift)`` of normalised layers, or None: views of shape (n_out,)."""
        return self.parameters.norms()

    def forward(self, X: Any) -> Forward:
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
        X = check_features(X, self.layer_sizes[0], self.dtype)
        passes = self.passes
        work = passes.workspace(X.shape[0], passes.table(EVERYTHING))
        output = passes.forward(Features.of(X), work)
        z, a = (passes.in_workspace(work, name, X.shape[0]) for name in ("z", "a"))
        return Forward(z, [X, *a[:-1], output])

    def output(self, X: Any, out: Array | None = None) -> Array:
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
            check_out(out, None, self.dtype)
            if isinstance(X, np.ndarray) and np.may_share_memory(X, out):
                X = X.copy()  # or rows would be read where others have been written
        return self.passes.output(X, out)

    def loss_and_gradients(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, alpha: float = 0.0
    ) -> Gradients:
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
        data = check_data(X, y, sample_weight, self)
        if not isinstance(alpha, Real):
            raise TypeError(f"alpha must be a number >= 0, got {alpha!r}")
        if not 0 <= alpha < np.inf:
            raise ValueError(f"alpha must be a number >= 0, got {alpha!r}")
        loss, gradient, work = self.passes.gradient_and_workspace(data, alpha)
        dW, db = zip(*self.parameters.matrices(gradient), strict=True)
        delta = self.passes.in_workspace(work, "delta", data.n_rows)
        return Gradients(loss, delta, list(dW), list(db))
