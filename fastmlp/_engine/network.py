"""`Network`: a network with its parameters, outputs, losses and gradients."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastmlp._engine.checks import (
    as_random_state,
    check_data,
    check_dtype,
    check_features,
    check_out,
    check_parameter,
)
from fastmlp._engine.conversions import Conversions
from fastmlp._engine.initializers import check_init, initialize
from fastmlp._engine.input_layer import InputLayer
from fastmlp._engine.layout import EVERYTHING
from fastmlp._engine.passes import Passes
from fastmlp._engine.rows import Features
from fastmlp._engine.saved_network import SavedNetwork
from fastmlp._engine.structure import ARGUMENTS, Array, Structure
from fastmlp._engine.threads import check_n_threads


class Forward(NamedTuple):
    """The weighted inputs and activations of all layers: ``a[0]`` is X, ``a[l + 1] = f(z[l])``."""

    z: list[Array]
    a: list[Array]


class Gradients(NamedTuple):
    """The loss and its derivatives with respect to ``z[l]``, ``W[l]`` and ``b[l]``.

    They are called ``delta[l]``, ``dW[l]`` and ``db[l]``. With layer normalization, ``delta[l]`` is
    the derivative with respect to the values before normalization, ``a[l] @ W[l] + b[l]``.
    """

    loss: float
    delta: list[Array]
    dW: list[Array]
    db: list[Array]


class Views(list):
    """A list of views of a network's arrays. Assigning to an item writes into the network."""

    def __init__(self, views, network):
        super().__init__(views)
        self._network = network

    def __setitem__(self, index, value):
        if not isinstance(index, (int, np.integer)):
            raise TypeError(f"index must be the number of one layer, got {index!r}")
        view = self[index]
        view[...] = check_parameter(f"item {index}", value, view)
        self._network.parameters.remove_missing()


class Network(Structure, Conversions, SavedNetwork):
    """A multilayer perceptron whose weights, activations and gradients are NumPy arrays.

    Layers are numbered from 0: ``z[l] = a[l] @ W[l] + b[l]``, ``a[l + 1] = f(z[l])``, ``a[0] = X``.
    The estimators are built on this class. A network can be used without fitting it, and its
    parameters can be updated by any training loop.

    Parameters
    ----------
    layer_sizes : sequence of int
        Number of nodes of each layer: inputs, hidden layers, outputs.
    activation : str or list of str, default='relu'
        Activation function of the hidden layers, or a list with one for each hidden layer:
        'identity', 'logistic', 'tanh', 'relu', 'leaky_relu' (slope 0.01), 'elu', 'selu', 'gelu',
        'silu', 'mish', 'softplus', 'softsign' or 'hard_swish'.
    loss : str or callable, default='squared_error'
        Loss function, which also determines the activation of the output layer (in parentheses).
        'log_loss' and 'softmax_squared_error' (softmax) take class indices as targets.
        'binary_log_loss' and 'logistic_squared_error' (logistic) take targets in [0, 1]. The
        regression losses are 'squared_error', 'absolute_error', 'huber', 'log_cosh' and 'quantile'
        (identity), and 'poisson', 'gamma' and 'tweedie' (exp). Each loss is summed over the outputs
        and averaged over the rows. Squared errors and deviances are halved. With several
        quantiles, there is one target per row, and the outputs are the quantiles in ascending
        order. A function f(y, z) is used with the identity activation; see `MLPRegressor`.
    loss_params : dict or None, default=None
        Options of the loss (with their defaults): ``label_smoothing`` of 'log_loss' and
        'binary_log_loss' (0), ``delta`` of 'huber' (1), ``quantiles`` of 'quantile' (0.5; a number
        or an ascending list), ``power`` of 'tweedie' (1.5).
    layer_norm : bool, default=False
        Whether to apply layer normalization to the z of hidden layers. Each row is normalized to
        mean 0 and variance 1, then multiplied by a learned gain and added to a learned shift.
    residual : bool, default=False
        Whether to add ``a[l]`` to ``a[l + 1]`` if both are hidden layers of equal width.
    learned_activation : bool, default=False
        Whether each hidden unit learns how much of the activation function it uses: f(z) is
        replaced by ``z + mix * (f(z) - z)``, with a number ``mix`` for each unit that is 1 at the
        start. See ``mixes``.
    parametrization : {'standard', 'ntk'}, default='standard'
        'ntk' is the neural tangent parametrization: weights are ``V / sqrt(n_in)``, and training
        moves V. The step size of a layer then does not depend on its number of inputs. With
        ``init=None``, V is standard normal and biases are 0.
    input_layer : InputLayer or None, default=None
        How the columns of X become the inputs of the first layer: one-hot codes, embeddings,
        learned cosines and scales; see `InputLayer`. ``layer_sizes[0]`` is the number of columns,
        and ``W[0]`` has a row for each input. See ``input_parameters``.
    init : None, str, callable or list, default=None
        Initializer of the weights: 'glorot_uniform', 'glorot_normal', 'he_uniform', 'he_normal',
        'lecun_uniform', 'lecun_normal', 'orthogonal' or 'zeros'; a function
        f(shape, random_state); or a list with one of these or an array for each layer of weights.
        Biases are then initialized to 0. None initializes as scikit-learn does: weights and biases
        are uniform in +-sqrt(6 / (n_in + n_out)), with 2 in place of 6 for 'logistic'.
    connections : list or None, default=None
        For each layer of weights, None or a boolean matrix of shape (n_in, n_out). Where it is
        False, there is no connection, and the weight is 0.
    dtype : {'float32', 'float64'}, default='float32'
        Data type of the parameters and computations.
    random_state : int, RandomState or None, default=None
        Random number generator for the initial weights.
    n_threads : int or None, default=None
        Number of threads. None chooses the number automatically. Results do not depend on it.

    Attributes
    ----------
    layer_sizes : tuple of int
    activation : str or tuple of str
    loss : str or callable
    loss_params : dict
    layer_norm, residual, learned_activation : bool
    parametrization : str
    dtype : numpy.dtype
    n_layers : int
        Number of layers of weights.
    parameters : Parameters
        The buffer of all parameters. For internal use.
    passes : Passes
        Computations over many rows. For internal use.

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
        learned_activation: bool = False,
        parametrization: str = "standard",
        input_layer: InputLayer | None = None,
        init: Any = None,
        connections: Sequence[ArrayLike | None] | None = None,
        dtype: DTypeLike = "float32",
        random_state: int | np.random.RandomState | None = None,
        n_threads: int | None = None,
    ) -> None:
        check_n_threads(n_threads)
        self._set_structure(
            layer_sizes, activation, loss, loss_params, layer_norm=layer_norm, residual=residual,
            learned_activation=learned_activation, parametrization=parametrization,
            input_layer=input_layer, connections=connections, dtype=dtype,
        )  # fmt: skip
        init = check_init(init, self.n_layers)
        random_state = as_random_state(random_state)
        self._take(self._new_parameters(), n_threads)
        initialize(self, init, random_state)

    @property
    def n_threads(self) -> int | None:
        return self.passes.n_threads

    @n_threads.setter
    def n_threads(self, n_threads: int | None) -> None:
        check_n_threads(n_threads)
        self.passes.n_threads = n_threads

    def _take(self, parameters, n_threads):
        self.parameters = parameters
        self.passes = Passes(parameters, self._loss, n_threads)

    def copy(self, dtype: DTypeLike | None = None) -> "Network":
        """Copy the network, including its parameters.

        Parameters
        ----------
        dtype : {'float32', 'float64'} or None, default=None
            Data type of the copy. None keeps the data type.

        Returns
        -------
        Network
            The copy, which shares no parameters with the original.

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
            twin.parameters = self.parameters.copy()
            twin.passes = self.passes.of(twin.parameters)
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

    def __getstate__(self):
        state = {name: getattr(self, name) for name in ARGUMENTS}
        return state | {"n_threads": self.n_threads, "parameters": self.parameters.state()}

    def __setstate__(self, state):
        parameters, n_threads = state.pop("parameters"), state.pop("n_threads")
        vars(self).update(state)
        own = self._new_parameters()
        own.load(parameters)
        self._take(own, n_threads)

    def snapshot(self) -> Array:
        """Copy the parameters, to be passed to `restore` later.

        Returns
        -------
        ndarray
            All parameters, in the network's internal layout.

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
        """Restore the parameters from a `snapshot`.

        Parameters
        ----------
        snapshot : ndarray
            Return value of `snapshot` for a network with the same layers and dtype.

        Examples
        --------
        See `snapshot`.
        """
        self.parameters.flat[...] = snapshot

    @property
    def W(self) -> list[Array]:
        """List of the weights ``W[l]``, of shape (n_in, n_out), as views of the network."""
        return Views((W for W, _ in self.parameters.matrices()), self)

    @property
    def b(self) -> list[Array]:
        """List of the biases ``b[l]``, of shape (n_out,), as views of the network."""
        return Views((b for _, b in self.parameters.matrices()), self)

    @property
    def params(self) -> tuple[tuple[Array, Array], ...]:
        """Tuple with a pair ``(W, b)`` for each layer, as views of the network.

        To change the parameters, write into the arrays or assign a list of such pairs. Assigned
        arrays are copied.
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
        """List with ``(gain, shift)``, views of shape (n_out,), for each normalized layer.

        The entry is None for a layer without normalization.
        """
        return self.parameters.norms()

    @property
    def mixes(self) -> list[Array | None]:
        """List with the ``mix`` of each layer whose activation is learned, of shape (n_out,).

        They are views of the network. The entry is None for a layer without a learned activation.
        """
        return self.parameters.mixes()

    @property
    def input_parameters(self) -> dict[str, Array]:
        """The parameters of the input layer by name, as views of the network.

        'frequencies' and 'phases' are of shape (n_numbers, n_frequencies), 'linear_weights' of
        shape (n_numbers, n_linear, n_frequencies), 'linear_biases' of shape (n_numbers, n_linear),
        'scales' of shape (n_inputs,), and 'embedding3', for column 3 of X, is of shape
        (n_categories, embedding_size). Those that the input layer does not have are missing.
        """
        return self.parameters.of_inputs()

    def forward(self, X: Any) -> Forward:
        """Compute the weighted inputs and activations of all layers, equation (1).

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, layer_sizes[0])
            The inputs, one row per sample.

        Returns
        -------
        z : list of ndarray
            The weighted inputs, ``z[l]`` of shape (n_rows, layer_sizes[l + 1]).
        a : list of ndarray
            The activations: ``a[0]`` is X, or the inputs of the first layer if there is an input
            layer; ``a[l + 1]`` is f(z[l]), and ``a[-1]`` is the output.

        Examples
        --------
        >>> from fastmlp import Network
        >>> z, a = Network([3, 4, 2], activation='tanh', random_state=0).forward([[1, 2, 3]])
        >>> [layer.shape for layer in a]
        [(1, 3), (1, 4), (1, 2)]
        """
        X = check_features(X, self.layer_sizes[0], self.dtype)
        passes = self.passes
        passes.check_columns(X)
        work = passes.workspace(X.shape[0], passes.table(EVERYTHING))
        output = passes.forward(Features.of(X), work)
        z, a = (passes.in_workspace(work, name, X.shape[0]) for name in ("z", "a"))
        inputs = X if self._columns is None else passes.inputs_in(work, X)
        return Forward(z, [inputs, *a[:-1], output])

    def output(self, X: Any, out: Array | None = None) -> Array:
        """Compute the activation of the output layer.

        Apart from the result, the memory needed does not grow with the number of rows. A numeric
        array of any dtype and memory order is read in place, without a converted copy.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, layer_sizes[0])
            The inputs, one row per sample.
        out : ndarray of shape (n_rows, layer_sizes[-1]), default=None
            Array for the result, C-contiguous and of the network's dtype or float64.

        Returns
        -------
        ndarray of shape (n_rows, layer_sizes[-1])
            The outputs, in float32 if both X and the network are float32, otherwise in float64. If
            only the network is float32, the activation of the output layer is computed in float64.

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
                X = X.copy()  # writing outputs must not overwrite rows not yet read
        return self.passes.output(X, out)

    def loss_and_gradients(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, alpha: float = 0.0
    ) -> Gradients:
        """Compute the loss and its derivatives, equations (1) to (4).

        The parameters are not changed.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, layer_sizes[0])
            The inputs, one row per sample.
        y : array-like of shape (n_rows,) or (n_rows, layer_sizes[-1])
            The targets. For 'log_loss', the class indices, of shape (n_rows,).
        sample_weight : array-like of shape (n_rows,), default=None
            Sample weights, which must not be negative. The loss is a weighted mean over the rows.
        alpha : float, default=0.0
            Strength of the L2 penalty: ``0.5 * alpha * sum(W**2) / sum(sample_weight)`` is added to
            the loss.

        Returns
        -------
        loss : float
            The loss, including the penalty.
        delta : list of ndarray
            The derivatives dC/dz[l], of shape (n_rows, layer_sizes[l + 1]). They include the
            weight of each row in the mean.
        dW, db : list of ndarray
            The derivatives of the loss with respect to W and b.

        Examples
        --------
        A step of gradient descent:

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
