"""Validation of a network's arguments. Error messages name the argument."""

import itertools
import operator

import numpy as np
import scipy.sparse

from fastmlp import _core
from fastmlp._core import ACTIVATIONS, LOSSES
from fastmlp._engine.rows import Data, Features, with_valid_indices

PARAMETRIZATIONS = ("standard", "ntk")


def as_numbers(array, dtype):
    """Convert to a C-contiguous, aligned array of the dtype; values too large become infinite."""
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    if array.dtype.kind in "biu":
        return array.astype(dtype, order="C", subok=False)
    with np.errstate(over="ignore"):
        return array.astype(dtype, order="C", subok=False)


def as_finite(name, given, dtype):
    """Convert to a C-contiguous, aligned array of the dtype; raise if a value is not finite."""
    array = as_numbers(given, dtype)
    if _core.largest_of(array) < np.inf:
        return array
    what = "numbers too large for that: dtype='float64' holds larger ones"
    if not np.isfinite(given).all():
        what = "NaN" if np.isnan(given).any() else "infinity"
    raise ValueError(f"{name} must be finite in {dtype.name}, but has {what}")


def check_parameter(name, given, view):
    """Return ``given`` as an array with the shape and dtype of ``view``."""
    given = np.asarray(given)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {given.dtype}")
    if given.shape != view.shape:
        raise ValueError(f"{name} must have shape {view.shape}, got {given.shape}")
    return as_finite(name, given, view.dtype)


def check_layer_sizes(layer_sizes, name="layer_sizes"):
    """Return the sizes as a tuple of ints. Error messages call the argument ``name``."""
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
    """Return the name of an activation, or a tuple with one name for each hidden layer."""
    names = [activation] if isinstance(activation, str) else activation
    if not isinstance(names, list | tuple | np.ndarray):
        raise ValueError(
            f"activation must be one of {sorted(ACTIVATIONS)} or a list of them, got {activation!r}"
        )
    for name in names:
        check_choice("activation", name, ACTIVATIONS)
    if isinstance(activation, str):
        return activation
    if len(names) != n_hidden:
        raise ValueError(
            f"activation must be a name or a list of one for each of the {n_hidden} hidden layers, "
            f"got {len(names)}"
        )
    return tuple(map(str, names))


def check_loss(loss):
    """Raise unless the loss is a function or the name of a loss."""
    if not callable(loss):
        check_choice("loss", loss, LOSSES)


def check_flag(name, given):
    if not isinstance(given, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {given!r}")
    return bool(given)


def described(given):
    """Describe a value, which may be too long to print, by its type and length."""
    kind = type(given).__name__
    return f"a {kind} of {len(given)}" if hasattr(given, "__len__") else f"a {kind}"


def check_connections(connections, layer_sizes):
    """Return None, or a list with a boolean matrix or None for each layer of weights."""
    if connections is None:
        return None
    shapes = list(itertools.pairwise(layer_sizes))
    if not isinstance(connections, list | tuple) or len(connections) != len(shapes):
        raise ValueError(
            f"connections must be a list of {len(shapes)} matrices or None, one for each layer of "
            f"weights, got {described(connections)}"
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
    """Return float32 or float64 as a numpy.dtype; raise for anything else."""
    for allowed in (np.dtype(np.float32), np.dtype(np.float64)):
        if isinstance(dtype, str) and dtype == allowed.name:
            return allowed
        if isinstance(dtype, (np.dtype, type)) and dtype == allowed:
            return allowed
    raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")


def as_random_state(random_state):
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


def check_choice(name, given, allowed):
    if not isinstance(given, str) or given not in allowed:
        raise ValueError(f"{name} must be one of {sorted(allowed)}, got {given!r}")


def as_matrix(array, name, n_columns, dtype):
    """Return a finite, C-contiguous, aligned matrix of the dtype with ``n_columns`` columns."""
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
    return as_finite(name, array, dtype)


def check_features(X, n_features, dtype):
    """Return X in the form that the core expects: a dense array or a CSR matrix."""
    if not scipy.sparse.issparse(X):
        return as_matrix(X, "X", n_features, dtype)
    X = with_valid_indices(X.tocsr())
    numbers = as_matrix(X.data[:, np.newaxis], "X", 1, dtype) if X.nnz else X.data
    if X.shape[1] != n_features or X.shape[0] == 0:
        raise ValueError(f"X must have shape (n_rows, {n_features}), got {X.shape}")
    parts = (numbers.ravel().astype(dtype, copy=False), X.indices, X.indptr)
    return scipy.sparse.csr_matrix(parts, shape=X.shape)


def check_targets(y, n_rows, loss, dtype):
    """Return the targets in the form that the core expects: shape (n_rows, n_targets).

    A class is represented by its index.
    """
    if not scipy.sparse.issparse(y) and np.ndim(y) == 1:
        y = np.asarray(y)[:, np.newaxis]
    y = as_matrix(y, "y", loss.n_targets, dtype)
    if len(y) != n_rows:
        raise ValueError(f"y must have as many rows as X, {n_rows}, got {len(y)}")
    loss.check_targets(y)
    return y


def check_sample_weight(sample_weight, n_rows, dtype, name="sample_weight"):
    """Return the sample weights in the form that the core expects; None becomes all ones."""
    if sample_weight is None:
        return np.ones(n_rows, dtype=dtype)
    weight = np.asarray(sample_weight)
    if weight.shape != (n_rows,):
        raise ValueError(f"{name} must have shape ({n_rows},), got {weight.shape}")
    weight = as_matrix(weight[:, np.newaxis], name, 1, dtype)[:, 0]
    if not (weight >= 0).all():
        raise ValueError(f"{name} must not be negative, got {weight.min()}")
    with np.errstate(over="ignore"):
        total = weight.sum(dtype=np.float64)
    if not 1e-300 < total < np.inf:
        raise ValueError(
            f"{name} must not be zero throughout, and must have a finite sum: it is "
            f"{total} in {dtype.name}"
        )
    return weight


def check_data(X, y, sample_weight, network):
    """Check X, y and the sample weights, and return them as `Data` for the network."""
    X = check_features(X, network.layer_sizes[0], network.dtype)
    network.passes.check_columns(X)
    n_rows = X.shape[0]
    return Data(
        Features.of(X),
        check_targets(y, n_rows, network.passes.loss, network.dtype),
        check_sample_weight(sample_weight, n_rows, network.dtype),
    )


def check_out(out, shape, dtype):
    """Raise unless ``out`` is an array into which outputs can be written."""
    if not isinstance(out, np.ndarray) or out.ndim != 2:
        raise ValueError(f"out must be a matrix, got {described(out)}")
    if not out.flags.writeable:
        raise ValueError("out must be an array that can be written")
    if out.dtype not in (dtype, np.float64) or not out.flags.carray:
        raise ValueError(
            f"out must be a C-ordered array of {dtype.name} or float64, got one of "
            f"{out.dtype} with strides {out.strides}"
        )
    if shape is not None and out.shape != shape:
        raise ValueError(f"out must be of shape {shape}, got {out.shape}")


def check_parametrization(parametrization):
    """Return the parametrization, or raise unless it is known."""
    if parametrization not in PARAMETRIZATIONS:
        raise ValueError(
            f"parametrization must be one of {list(PARAMETRIZATIONS)}, got {parametrization!r}"
        )
    return parametrization
