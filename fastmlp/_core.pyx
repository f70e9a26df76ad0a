"""The arithmetic of fastmlp except the kernels, in the order in which a mini-batch meets it.

A  Tables               what is where in the flat buffers
B  Losses               output activation, loss and delta^L together
C  Stage 1: rows        equations (6), (1), (2), (3) for a block of rows
D  Stage 2: parameters  equations (4), (7), (5) for a block of parameters
E  The boundary         what Python calls
F  L-BFGS               equation (8)

The kernels are the inner loops in C, built for several instruction sets: the three products of a
layer, activations and solvers. They are in `_simd/` and are declared in `_kernels.pxd`.

The notation and the numbered equations are those of docs/how-it-works.md. The members of a team of
threads (`_team/team.h`) share out the pieces of a stage, and each piece writes only its own part of
the data. With the kernels, every number is one chain of operations, however the work is cut into
pieces; where that is not so, the cut does not depend on the number of threads (`is_cut_fixed`).
Therefore the result does not depend on it either. The core allocates no memory that grows with the
rows; NumPy owns it.

Another thread may change an array while the core reads it. Even then, a number read from one array
must never lead outside of another. Tables are therefore checked once per call, and column numbers
and class numbers are checked where they are used.
"""

import os
from time import perf_counter

import numpy as np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.pyport cimport PY_SSIZE_T_MAX
from libc.math cimport fabs, sqrt
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset
from numpy.random cimport bitgen_t

from fastmlp._blas cimport gemm, real
from fastmlp._kernels cimport (
    ADADELTA,
    ADAGRAD,
    ADAM,
    COSINES,
    ELU,
    EMBEDDINGS,
    GELU,
    HARD_SWISH,
    IDENTITY,
    LEAKY_RELU,
    LOGISTIC,
    MISH,
    MOST_FREQUENCIES,
    NADAM,
    RELU,
    RMSPROP,
    RPROP,
    SCALES,
    SELU,
    SGD,
    SILU,
    SOFTPLUS,
    SOFTSIGN,
    TANH,
    WEIGHTS,
    Layer,
    Matrix,
    Solver,
    activate,
    add_decay,
    add_mixed,
    add_multiple,
    add_noise,
    add_rows,
    add_to_rows,
    all_finite,
    backward_kernel,
    dot,
    dropout,
    embed,
    embed_back,
    exp_of,
    exponentials,
    flush_denormals,
    forward_kernel,
    gradient_kernel,
    has_kernels,
    in_bins,
    its_compiler,
    kernels,
    largest_size,
    log_of,
    mix,
    mix_back,
    move,
    name_of,
    normalize,
    normalize_back,
    random_bits,
    restore_denormals,
    softmax,
    sum_of_squares,
    times_derivative,
    use,
    whole_power,
)
from fastmlp._team cimport (
    MOST_MEMBERS,
    Team,
    go_anywhere,
    let_bind,
    next_piece,
    piece_is_done,
    rehearse_team,
    run_team,
    set_patience,
    start_teams,
    wait_for_all,
    wait_for_pieces,
)

cnp.import_array()

# ================================================================================================
# A  Tables
# ================================================================================================

# A block of parameters: rows first to last (exclusive) of the layer's matrix, whose rows have
# `stride` numbers. That is [W; b], with gain and shift below if the layer is normalized, and mix if
# its activation is learned. Sums over parameters are added up by block, so that they do not depend
# on the number of threads.
cdef packed struct Block:
    Py_ssize_t layer
    Py_ssize_t first
    Py_ssize_t last

# How a column of X becomes inputs of the first layer, if the network has an input layer. In a row
# of a^0, the numbers come first. After them, each one-hot column has one number: 1, or its scale.
cdef packed struct Column:
    Py_ssize_t kind
    Py_ssize_t place            # of its first number in a row of a^0, ...
    Py_ssize_t n                # ... and how many it has
    Py_ssize_t row              # of its parameters in W, cosines or embeddings; or its first bin
    Py_ssize_t n_codes          # codes are 0 to n_codes - 1; any other number counts as no code
    Py_ssize_t n_frequencies
    Py_ssize_t n_linear         # outputs of the linear map of the cosines; 0 without one

cdef enum ColumnKind:
    NUMBER                      # as it is
    BINS_OF_NUMBER              # piecewise linear encoding: see _simd/inputs.h
    COSINES_OF_NUMBER           # see _simd/inputs.h
    EMBEDDED_CODE               # a row of the matrix of embeddings
    ONE_HOT_CODE                # a row of W

COLUMN_KINDS = {
    "number": NUMBER, "bins": BINS_OF_NUMBER, "cosines": COSINES_OF_NUMBER,
    "embedding": EMBEDDED_CODE, "one_hot": ONE_HOT_CODE,
}

MOST_FREQUENCIES_OF_NUMBER = MOST_FREQUENCIES
WEIGHTS_OF_LAYER = WEIGHTS

# What a step does to the parameters in addition to the solver's move, and how fast each kind of
# parameter moves. 0 turns an entry off, except for the rates.
cdef packed struct Regularizer:
    double l1
    double l2                   # l1 and l2 are divided by the batch's sum of sample weights
    double weight_decay
    double clip_value
    double clip_norm
    double max_norm
    double averaging            # the decay rate of the moving average of the weights
    double bias_rate            # the learning rates of biases and shifts, of gains and scales, of
    double scale_rate           # learned activations, and of embeddings, as multiples of that of
    double activation_rate      # the weights
    double embedding_rate
    Py_ssize_t is_ntk           # whether W is 1 / sqrt(n_in) times the numbers that move
    uint64_t seed               # for dropout and noise

# The same structs as NumPy types. _simd/kernels.h describes those that the kernels use.
cdef Layer a_layer
cdef Block a_block
cdef Column a_column
cdef Solver a_solver
cdef Regularizer a_regularizer
LAYER = np.asarray(<Layer[:1:1]> &a_layer).dtype
BLOCK = np.asarray(<Block[:1:1]> &a_block).dtype
COLUMN = np.asarray(<Column[:1:1]> &a_column).dtype
SOLVER = np.asarray(<Solver[:1:1]> &a_solver).dtype
REGULARIZER = np.asarray(<Regularizer[:1:1]> &a_regularizer).dtype

cdef enum:
    COLUMNS_AT_ONCE = 32        # columns are shared out in whole vectors
    ROWS_AT_ONCE = 32           # rows that softmax takes at a time
    COLUMNS_OF_CODES = 16       # one-hot columns whose rows of W are added at a time
    ROWS_TO_FINISH = 16         # rows in a piece of the work after a layer's product
    ROWS_OF_BLOCK = 128         # rows that go through all layers while they are in the cache
    PARAMETERS_OF_PIECE = 131072    # moved while their gradient is in the cache; see figures.md
    NUMBERS_OF_PART = 4096      # of a vector of L-BFGS: stays in the first cache
    CACHE_LINE = 64             # bytes

ROWS_IN_BLOCK = ROWS_OF_BLOCK
PARAMETERS_IN_PIECE = PARAMETERS_OF_PIECE
NUMBERS_IN_PART = NUMBERS_OF_PART

# The activations of hidden layers. The output activation belongs to the loss.
# name: (its number, whether its derivative needs z; otherwise f(z) is enough)
ACTIVATIONS = {
    "identity": (IDENTITY, False),
    "logistic": (LOGISTIC, False),
    "tanh": (TANH, False),
    "relu": (RELU, False),
    "leaky_relu": (LEAKY_RELU, False),
    "elu": (ELU, False),
    "selu": (SELU, False),
    "gelu": (GELU, True),
    "silu": (SILU, True),
    "mish": (MISH, True),
    "softplus": (SOFTPLUS, False),
    "softsign": (SOFTSIGN, False),
    "hard_swish": (HARD_SWISH, True),
}

# name: (its number, the number of state arrays with the parameters' layout; one more for amsgrad)
SOLVERS = {
    "sgd": (SGD, 1),
    "adam": (ADAM, 2),
    "adamw": (ADAM, 2),
    "nadam": (NADAM, 2),
    "rmsprop": (RMSPROP, 1),
    "adagrad": (ADAGRAD, 1),
    "adadelta": (ADADELTA, 2),
    "rprop": (RPROP, 2),
}

# Where the rows of a mini-batch come from. `order` gives their row numbers in the data; if it is
# NULL they are taken in sequence. Sparse rows have an `indptr`, and the column numbers of each row
# ascend; dense rows are `stride` numbers apart. For outputs alone, there are no targets and no
# weights.
cdef struct Source:
    const Py_ssize_t* order     # (batch,)
    const Py_ssize_t* indptr    # (any + 1,) where the numbers of each row begin
    const Py_ssize_t* indices   # (n_nonzero,) column numbers
    const void* values          # (n_nonzero,) numbers of the core's type; or (any, stride) if dense
    Py_ssize_t stride
    Py_ssize_t n_nonzero
    const void* y               # (any, n_targets)
    Py_ssize_t n_targets
    const void* sample_weight   # (any,)

# Some rows of a mini-batch, or of a part of it, in a workspace with room for `capacity` rows. The
# table of layers says where their matrices are. a^0, a copy of inputs that cannot be read in place,
# comes last.
cdef struct Rows:
    Py_ssize_t first
    Py_ssize_t n
    Py_ssize_t capacity
    Source source
    double scale                # 1 / the mini-batch's sum of sample weights
    double* row_loss            # (capacity,) where ...
    double loss_factor          # ... the weighted loss of each row is added, times this factor
    uint64_t key                # for the random numbers of this mini-batch
    double dropout_factor       # all dropout rates are multiplied by it
    Py_ssize_t before           # rows of the mini-batch in earlier parts of it
    Py_ssize_t place            # rows of the mini-batch before all of these parts
    bint are_shared             # whether other threads read the results of these rows
    Py_ssize_t* places          # (capacity,) for (4) with sparse rows: see `find_places`


cdef inline Py_ssize_t ceil_div(Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    """Ceil division: the number of pieces of this size that hold n."""
    return (n + size - 1) // size


cdef inline Source dense_rows(const void* values, Py_ssize_t stride) noexcept nogil:
    cdef Source source
    source.order = source.indptr = source.indices = NULL
    source.values, source.stride, source.n_nonzero = values, stride, 0
    source.y = source.sample_weight = NULL
    source.n_targets = 0
    return source


cdef inline Rows all_rows(Py_ssize_t n, Py_ssize_t capacity, Source source) noexcept nogil:
    cdef Rows rows
    rows.first, rows.n, rows.capacity, rows.source = 0, n, capacity, source
    rows.scale, rows.key, rows.before, rows.place, rows.are_shared = 1, 0, 0, 0, False
    rows.dropout_factor, rows.row_loss, rows.loss_factor, rows.places = 1, NULL, 1, NULL
    return rows


cdef inline Rows piece_of_rows(Py_ssize_t i, Py_ssize_t n_pieces, Rows rows) noexcept nogil:
    """The i-th of n pieces of about equal size.

    It is returned by value, so that each thread has its own; within a stage it is passed by
    address.
    """
    cdef Py_ssize_t end = rows.first + (i + 1) * rows.n // n_pieces
    rows.first += i * rows.n // n_pieces
    rows.n = end - rows.first
    return rows


cdef inline Py_ssize_t in_data(const Rows* rows, Py_ssize_t i) noexcept nogil:
    """The row number in the data of the block's i-th row."""
    return rows.first + i if rows.source.order == NULL else rows.source.order[rows.first + i]


cdef inline Py_ssize_t read_once(const volatile Py_ssize_t* number) noexcept nogil:
    """Read a number only once, because another thread may change it between two reads."""
    return number[0]


cdef inline Py_ssize_t begin_of_row(const Source* source, Py_ssize_t j) noexcept nogil:
    """Where the numbers of sparse row j begin, which is also where those of row j - 1 end.

    The result lies within the array even if another thread has changed indptr.
    """
    return min(max(read_once(&source.indptr[j]), 0), source.n_nonzero)


cdef inline real* at(
    real* work, Py_ssize_t offset, Py_ssize_t stride, const Rows* rows,
) noexcept nogil:
    """Where the block's rows begin in one of the workspace's matrices."""
    return work + rows.capacity * offset + rows.first * stride


cdef inline bint is_sparse(const Rows* rows) noexcept nogil:
    return rows.source.indptr != NULL


cdef inline uint64_t key_of_row(const Rows* rows, Py_ssize_t l, Py_ssize_t i) noexcept nogil:
    """The key of the random numbers for layer l and the block's i-th row."""
    return random_bits(random_bits(rows.key, l), rows.place + rows.before + rows.first + i)


cdef inline bint is_perturbed(const Layer* layer) noexcept nogil:
    return layer.dropout > 0 or layer.noise > 0


cdef inline bint is_copied(const Layer* layers, const real* any, const Rows* rows) noexcept nogil:
    """Whether the inputs must be copied into the workspace.

    BLAS needs shuffled rows side by side, and an input layer, noise and dropout change the inputs.
    """
    if layers[0].is_embedded:
        return True
    if is_sparse(rows) or rows.source.order == NULL:
        return False
    return is_perturbed(layers) or not has_kernels(&layers[1], any)


cdef inline Matrix inputs(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* work,
    const Rows* rows,
) noexcept nogil:
    """a^{l-1} of the block's rows, (rows.n, n_in) of layer l, unless sparse."""
    cdef Matrix x
    cdef const Layer* before = &layers[l - 1]
    x.index = NULL
    if l > 1 or is_copied(layers, work, rows):
        x.base = at(<real*> work, before.a, before.stride, rows)
        x.stride = before.stride
        return x
    x.base = rows.source.values
    x.stride = rows.source.stride
    if rows.source.order == NULL:
        x.base = <const real*> x.base + rows.first * x.stride
    else:
        x.index = rows.source.order + rows.first
    return x


# ================================================================================================
# B  Losses
# ================================================================================================

cdef enum LossKind:
    LOG_LOSS                # softmax + cross-entropy; the target is the class's number
    BINARY_LOG_LOSS         # logistic + binary cross-entropy, summed over the outputs
    SOFTMAX_SQUARED_ERROR   # softmax + half the squared error; the target is the class's number
    LOGISTIC_SQUARED_ERROR  # logistic + half the squared error, summed over the outputs
    SQUARED_ERROR           # identity + half the squared error, summed over the outputs
    ABSOLUTE_ERROR          # identity + absolute error, summed over the outputs
    HUBER                   # identity + Huber's loss, summed over the outputs
    LOG_COSH                # identity + log(cosh(error)), summed over the outputs
    QUANTILE                # identity + pinball loss; for several quantiles see `ascending`
    POISSON                 # exp + half the Poisson deviance, summed over the outputs
    GAMMA                   # exp + half the gamma deviance, summed over the outputs
    TWEEDIE                 # exp + half the Tweedie deviance, summed over the outputs
    CUSTOM                  # identity + a Python function

LOSSES = {
    "log_loss": LOG_LOSS,
    "binary_log_loss": BINARY_LOG_LOSS,
    "softmax_squared_error": SOFTMAX_SQUARED_ERROR,
    "logistic_squared_error": LOGISTIC_SQUARED_ERROR,
    "squared_error": SQUARED_ERROR,
    "absolute_error": ABSOLUTE_ERROR,
    "huber": HUBER,
    "log_cosh": LOG_COSH,
    "quantile": QUANTILE,
    "poisson": POISSON,
    "gamma": GAMMA,
    "tweedie": TWEEDIE,
}

# The number of a loss that is a Python function. It has no name.
CUSTOM_LOSS = CUSTOM

# A loss with its parameters: label smoothing, Huber's delta, Tweedie's power, or the quantiles.
cdef struct Loss:
    Py_ssize_t kind
    const double* params        # (n_params,)
    Py_ssize_t n_params
    void* function              # a CustomLoss, or NULL


cdef inline double within_exp(double z, const real* any) noexcept nogil:
    """Clamp z so that sums and products of exp(z) and of its reciprocal stay finite."""
    cdef double most = 60 if real is float else 500
    return min(max(z, -most), most)


cdef inline void saturated_exp(const real* z, real* a, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        a[k] = min(z[k], <real> (60 if real is float else 500))
    exponentials(a, a, n)


cdef inline bint is_softmax(const Loss* loss) noexcept nogil:
    return loss.kind == LOG_LOSS or loss.kind == SOFTMAX_SQUARED_ERROR


cdef void ascending(
    const real* z,          # (n,)
    real* a,                # (n,) must not be z
    Py_ssize_t n,
) noexcept nogil:
    """Quantiles that do not cross: a[0] = z[0], a[k] = a[k - 1] + softplus(z[k])."""
    cdef Py_ssize_t k
    activate(SOFTPLUS, z, a, n)
    a[0] = z[0]
    for k in range(1, n):
        a[k] += a[k - 1]


cdef inline void output_activation(
    const Loss* loss,
    const real* z,          # (n,)
    real* a,                # (n,) must not be z
    Py_ssize_t n,
) noexcept nogil:
    """a^L of one row, as predictions return it, for all activations except softmax."""
    if loss.kind == BINARY_LOG_LOSS or loss.kind == LOGISTIC_SQUARED_ERROR:
        activate(LOGISTIC, z, a, n)
    elif loss.kind == POISSON or loss.kind == GAMMA or loss.kind == TWEEDIE:
        saturated_exp(z, a, n)
    elif loss.kind == QUANTILE and loss.n_params > 1:
        ascending(z, a, n)
    else:
        memcpy(a, z, n * sizeof(real))


cdef inline double logs_of_logistic(
    const real* z,          # (n,)
    real* logs,             # (n,)
    Py_ssize_t n,
) noexcept nogil:
    """logs = log(1 + e^-|z|), the smaller of -log(a) and -log(1 - a). Returns their sum."""
    cdef double total = 0
    cdef Py_ssize_t k
    for k in range(n):
        logs[k] = -fabs(z[k])
    activate(SOFTPLUS, logs, logs, n)
    for k in range(n):
        total += logs[k]
    return total


cdef inline void outputs_and_logs(
    const Loss* loss,
    const Layer* last,
    const real* z,          # (n, stride)
    real* a,                # (n, stride)
    double* logs,           # (n,)
    Py_ssize_t n,
) noexcept nogil:
    """a^L of up to ROWS_AT_ONCE rows, and the logarithm that is a part of each row's loss."""
    cdef real[ROWS_AT_ONCE] largest, rest
    cdef bint of_logistic = loss.kind == BINARY_LOG_LOSS
    cdef Py_ssize_t i, k
    if is_softmax(loss):
        softmax(n, last.n_out, z, a, last.stride, largest, rest)
        for i in range(n):
            logs[i] = <double> largest[i] + <double> rest[i]
        return
    memset(logs, 0, n * sizeof(double))
    if last.stride == 1:        # without padding, so one call does all rows
        if of_logistic:
            logs_of_logistic(z, rest, n)
            for i in range(n):
                logs[i] = rest[i]
        output_activation(loss, z, a, n)
        return
    for i in range(n):
        k = i * last.stride
        if of_logistic:
            logs[i] = logs_of_logistic(z + k, a + k, last.n_out)
        output_activation(loss, z + k, a + k, last.n_out)


cdef void output_deltas(
    const Loss* loss,
    const Layer* last,
    const real* z,          # (rows.n, stride)
    real* delta,            # (rows.n, stride)
    const Rows* rows,
) noexcept nogil:
    """(2) delta^L = w dC/da^L f'(z^L) of some rows. Adds their weighted losses to row_loss.

    a^L is only kept in the place of delta^L. Where it may round to 0 or 1, the loss is computed
    from z and not from log(a).
    """
    cdef const real* y = <const real*> rows.source.y                            # (any, n_targets)
    cdef const real* sample_weight = <const real*> rows.source.sample_weight    # (any,)
    cdef double* row_loss = rows.row_loss + rows.first                          # (rows.n,)
    cdef double[ROWS_AT_ONCE] logs
    cdef real[ROWS_AT_ONCE] w
    cdef Py_ssize_t first = 0, n = 0, i, j, k
    if loss.kind == CUSTOM:
        custom_deltas(loss, last, z, delta, rows)
        return
    while first < rows.n:
        n = min(ROWS_AT_ONCE, rows.n - first)
        outputs_and_logs(loss, last, z, delta, logs, n)
        for i in range(n):
            j = in_data(rows, first + i)
            w[i] = <real> (rows.scale * sample_weight[j])
            row_loss[first + i] += rows.loss_factor * (w[i] * loss_of_row(
                loss, last.n_out, z + i * last.stride, logs[i], y + j * rows.source.n_targets,
                delta + i * last.stride))
        # A separate loop. loss_of_row writes single numbers, and a vector load from the same place
        # right afterwards would have to wait for them (bench/figures.md: delta-scaling).
        for i in range(n):
            for k in range(i * last.stride, (i + 1) * last.stride):
                delta[k] *= w[i]
        first += n
        z += n * last.stride
        delta += n * last.stride


cdef class CustomLoss:
    """A loss that is a Python function, and the first error that it has raised.

    ``function(y, z)`` gets the targets and the outputs z of some rows, as two matrices of the
    network's type. It returns the loss of each row, (n,), and the derivatives by z, (n, m_L).
    """
    cdef object function
    cdef object error

    def __init__(self, function):
        self.function = function

    cdef tuple of_rows(self, y, z):
        """The loss and its derivatives, after checking their shapes."""
        loss, slopes = self.function(y, z)
        loss, slopes = np.asarray(loss), np.asarray(slopes)
        if loss.shape != (len(z),) or slopes.shape != z.shape:
            raise ValueError(
                f"loss must return an array of shape ({len(z)},) and one of shape {z.shape}, "
                f"got {loss.shape} and {slopes.shape}"
            )
        return loss.astype(np.float64), np.ascontiguousarray(slopes, dtype=z.dtype)

    cdef int raise_error(self) except -1:
        """Raise the error of the function, if there was one."""
        error, self.error = self.error, None
        if error is not None:
            raise error
        return 0


cdef void custom_deltas(
    const Loss* loss,
    const Layer* last,
    const real* z,          # (rows.n, stride)
    real* delta,            # (rows.n, stride)
    const Rows* rows,
) noexcept with gil:
    """(2) by a Python function. After an error, which is kept, the loss is NaN."""
    cdef CustomLoss custom = <CustomLoss> loss.function
    cdef const real* y = <const real*> rows.source.y                            # (any, n_targets)
    cdef const real* sample_weight = <const real*> rows.source.sample_weight    # (any,)
    cdef Py_ssize_t n_targets = rows.source.n_targets, i, j, k
    cdef real[:, ::1] targets, outputs
    cdef const real[:, ::1] slopes
    cdef const double[::1] losses
    cdef double* row_loss = rows.row_loss + rows.first                          # (rows.n,)
    cdef real w
    go_anywhere()
    memset(delta, 0, rows.n * last.stride * sizeof(real))
    if custom.error is not None:
        row_loss[0] = np.nan
        return
    try:
        dtype = np.float32 if real is float else np.float64
        targets = np.empty((rows.n, n_targets), dtype)
        outputs = np.empty((rows.n, last.n_out), dtype)
        for i in range(rows.n):
            memcpy(&targets[i, 0], y + in_data(rows, i) * n_targets, n_targets * sizeof(real))
            memcpy(&outputs[i, 0], z + i * last.stride, last.n_out * sizeof(real))
        losses, slopes = custom.of_rows(np.asarray(targets), np.asarray(outputs))
        for i in range(rows.n):
            j = in_data(rows, i)
            w = <real> (rows.scale * sample_weight[j])
            row_loss[i] += rows.loss_factor * (w * losses[i])
            for k in range(last.n_out):
                delta[i * last.stride + k] = w * slopes[i, k]
    except BaseException as error:
        custom.error = error
        row_loss[0] = np.nan


cdef inline Py_ssize_t class_of(real y, Py_ssize_t n) noexcept nogil:
    """y as a class number; 0 if another thread has changed it to none of the n classes."""
    return <Py_ssize_t> y if 0 <= y < n else 0


cdef inline double loss_of_row(
    const Loss* loss,
    Py_ssize_t n_out,
    const real* z,          # (n_out,)
    double log_sum,         # log(sum(exp(z))) for softmax, sum of logs_of_logistic, or 0
    const real* y,          # (n_targets,)
    real* delta,            # (n_out,) IN a^L, OUT dC/dz^L
) noexcept nogil:
    """C of one row. Replaces a^L in delta by dC/dz^L."""
    cdef Py_ssize_t k
    cdef double total = log_sum
    if loss.kind == LOG_LOSS:
        return cross_entropy(loss.params[0], log_sum, z, class_of(y[0], n_out), delta, n_out)
    if loss.kind == SOFTMAX_SQUARED_ERROR:
        return softmax_squared_error(class_of(y[0], n_out), delta, n_out)
    if loss.kind == QUANTILE and loss.n_params > 1:
        return pinballs(loss.params, z, y[0], delta, n_out)
    for k in range(n_out):
        total += loss_of_output(loss, z[k], y[k], &delta[k])
    return total


# The losses of one row. Each gets a^L in `delta`, replaces it by dC/dz^L, and returns C.

cdef inline double cross_entropy(
    double smoothing,           # share of the target that is spread evenly over all classes
    double log_sum,             # log(sum(exp(z)))
    const real* z,              # (n,)
    Py_ssize_t k,               # the true class
    real* delta,                # (n,)
    Py_ssize_t n,
) noexcept nogil:
    """dC/dz = a - y. Label smoothing: Szegedy and others, CVPR 2016."""
    cdef double mean_z = 0
    cdef Py_ssize_t j
    if smoothing == 0:
        delta[k] -= 1
        return log_sum - z[k]
    for j in range(n):
        mean_z += z[j] / <double> n
        delta[j] -= <real> (smoothing / n)
    delta[k] -= <real> (1 - smoothing)
    return log_sum - (1 - smoothing) * z[k] - smoothing * mean_z


cdef inline double softmax_squared_error(Py_ssize_t k, real* delta, Py_ssize_t n) noexcept nogil:
    """dC/dz_j = a_j (e_j - sum(e a)) with e = a - y."""
    cdef double total = 0, along = 0, a, e
    cdef Py_ssize_t j
    for j in range(n):
        a = delta[j]
        e = a - (j == k)
        total += 0.5 * e * e
        along += e * a
    for j in range(n):
        a = delta[j]
        delta[j] = <real> (a * (a - (j == k) - along))
    return total


cdef inline double pinballs(
    const double* quantiles,    # (n,)
    const real* z,              # (n,)
    double y,
    real* delta,                # (n,)
    Py_ssize_t n,
) noexcept nogil:
    """The pinball losses of ascending quantiles. Each z[k] also moves all quantiles above k."""
    cdef real[ROWS_AT_ONCE] slopes      # the derivatives of softplus for some quantiles
    cdef double total = 0
    cdef real slope = 0
    cdef Py_ssize_t k, first
    for k in range(n):
        total += pinball(quantiles[k], delta[k], y, &delta[k])
    for k in range(n - 1, 0, -1):
        first = k - k % ROWS_AT_ONCE
        if k == n - 1 or k == first + ROWS_AT_ONCE - 1:
            activate(LOGISTIC, z + first, slopes, k + 1 - first)
        slope += delta[k]
        delta[k] = slope * slopes[k - first]
    delta[0] += slope
    return total


cdef inline double loss_of_output(
    const Loss* loss, double z, double y, real* delta,
) noexcept nogil:
    """C of one output, for losses that are a sum over the outputs."""
    cdef double a = delta[0], e = z - y
    if loss.kind == SQUARED_ERROR:
        delta[0] = <real> e
        return 0.5 * e * e
    if loss.kind == BINARY_LOG_LOSS:
        y += loss.params[0] * (0.5 - y)
        delta[0] = <real> (a - y)
        return max(z, 0) - y * z        # -y log(a) - (1 - y) log(1 - a) without log(1 + e^-|z|)
    if loss.kind == LOGISTIC_SQUARED_ERROR:
        delta[0] = <real> ((a - y) * a * (1 - a))
        return 0.5 * (a - y) * (a - y)
    if loss.kind == ABSOLUTE_ERROR:
        delta[0] = (e > 0) - (e < 0)
        return fabs(e)
    if loss.kind == HUBER:
        return huber(loss.params[0], e, delta)
    if loss.kind == LOG_COSH:
        return log_cosh(e, delta)
    if loss.kind == QUANTILE:
        return pinball(loss.params[0], z, y, delta)
    if loss.kind == POISSON:
        delta[0] = <real> (a - y)
        return y * ((log_of(y) if y > 0 else 0) - z) - y + a
    if loss.kind == GAMMA:
        return gamma(within_exp(z, delta), y, delta)
    return tweedie(loss.params[0], within_exp(z, delta), y, delta)


cdef inline double huber(double limit, double e, real* delta) noexcept nogil:
    """Huber, Annals of Mathematical Statistics 35, 1964: quadratic up to the limit, then linear."""
    delta[0] = <real> min(max(e, -limit), limit)
    return 0.5 * e * e if fabs(e) <= limit else limit * (fabs(e) - 0.5 * limit)


cdef inline double log_cosh(double e, real* delta) noexcept nogil:
    """log(cosh(e)) and its derivative tanh(e), from t = e^(-2|e|), or from series near 0."""
    cdef double size = fabs(e), t, squared = e * e
    if size < 0.01:
        delta[0] = <real> (e * (1 - squared * (1 / 3.0 - squared * (2 / 15.0))))
        return squared * (0.5 - squared * (1 / 12.0 - squared * (1 / 45.0)))
    t = exp_of(-2 * size)
    delta[0] = <real> ((1 if e > 0 else -1) * (1 - t) / (1 + t))
    return size + log_of((1 + t) / 2)


cdef inline double pinball(double quantile, double a, double y, real* delta) noexcept nogil:
    """Koenker and Bassett, Econometrica 46, 1978."""
    if a > y:
        delta[0] = <real> (1 - quantile)
        return (1 - quantile) * (a - y)
    delta[0] = <real> (-quantile if a < y else 0)
    return quantile * (y - a)


cdef inline double gamma(double z, double y, real* delta) noexcept nogil:
    """log(a / y) + y / a - 1 for a = exp(z)."""
    cdef double ratio = y * exp_of(-z)
    delta[0] = <real> (1 - ratio)
    return z - log_of(y) + ratio - 1


cdef inline double tweedie(double power, double z, double y, real* delta) noexcept nogil:
    """Half the Tweedie deviance for a power p between 1 and 2, with a = exp(z):

    y^(2-p) / ((1-p) (2-p)) - y a^(1-p) / (1-p) + a^(2-p) / (2-p)
    """
    cdef double p = 1 - power, q = 2 - power
    cdef double of_y = y * exp_of(p * z), of_a = exp_of(q * z)
    cdef double power_of_y = exp_of(q * log_of(y)) if y > 0 else 0
    delta[0] = <real> (of_a - of_y)
    return power_of_y / (p * q) - of_y / p + of_a / q


# A network: its tables, its loss and its numbers. While rows are processed, the tables are those of
# the workspace.
cdef struct Net:
    Py_ssize_t n_layers
    Py_ssize_t n_blocks
    Py_ssize_t n_params
    const Layer* layers         # (n_layers + 1,), and 3 more if there is an input layer
    const Block* blocks         # (n_blocks,)
    const Column* columns       # (n_columns,) of X, if there is an input layer
    Py_ssize_t n_columns
    const void* bins            # (2, n_bins) lower edges, and 1 / widths, of all columns
    Py_ssize_t n_bins
    Loss loss
    void* params                # (n_params,)
    const void* connections     # (n_params,) 1 for each connection, 0 for each missing one; or NULL
    bint is_cut_fixed           # whether rows are cut into pieces regardless of the threads
    Py_ssize_t* groups          # (2, n_table) groups of columns in (1) and (3); or NULL
    Py_ssize_t n_table          # number of entries in the table of layers
    Py_ssize_t n_planned        # number of threads for which `groups` was made

# The penalty on the weights. l1 and l2 are divided by the batch's sum of sample weights.
cdef struct Penalty:
    double l1
    double l2
    double* sums                # (n_blocks,) where each block's share is added, ...
    double factor               # ... times this factor


cdef inline Py_ssize_t start_of(Block block, const Layer* layers) noexcept nogil:
    """The offset of the block's parameters."""
    return layers[block.layer].W + block.first * layers[block.layer].stride


cdef inline Py_ssize_t size_of(Block block, const Layer* layers) noexcept nogil:
    return (block.last - block.first) * layers[block.layer].stride


# ================================================================================================
# C  Stage 1: rows. A piece writes only its own rows and columns, and only reads the parameters.
# ================================================================================================

cdef void copy_inputs(const Net* net, real* work, const Rows* rows) noexcept nogil:
    """Copy the block's inputs into the workspace, or compute a^0, and add noise and dropout."""
    cdef Py_ssize_t i
    cdef const Layer* layer = &net.layers[0]
    cdef const real* X = <const real*> rows.source.values       # (any, n_in)
    cdef real* x                                                # (rows.n, stride)
    if not is_copied(net.layers, work, rows):
        return
    x = at(work, layer.a, layer.stride, rows)
    if layer.is_embedded:
        embed_rows(net, work, rows)
    for i in range(rows.n):
        if not layer.is_embedded:
            memcpy(x + i * layer.stride, X + in_data(rows, i) * layer.n_out,
                   layer.n_out * sizeof(real))
        perturb(layer, rows.dropout_factor, x + i * layer.stride, key_of_row(rows, 0, i))


cdef inline Py_ssize_t code_of(const Column* column, const volatile real* x) noexcept nogil:
    """The code that a number of X stands for; -1 for none. It is read only once."""
    cdef real number = x[0]
    return <Py_ssize_t> number if 0 <= number < column.n_codes else -1


cdef inline const real* matrix_of(const Net* net, const real* any, Py_ssize_t kind) noexcept nogil:
    """The matrix of cosines, embeddings or scales."""
    return <const real*> net.params + net.layers[net.n_layers + kind].W


cdef void gather_column(
    const Rows* rows, Py_ssize_t column, Py_ssize_t first, Py_ssize_t n,
    real* x,                    # (n,)
) noexcept nogil:
    """Some numbers of a column of X side by side."""
    cdef const real* X = <const real*> rows.source.values + column              # (any, stride)
    cdef Py_ssize_t i
    for i in range(n):
        x[i] = X[in_data(rows, first + i) * rows.source.stride]


cdef void embed_codes(
    const Net* net,
    const Column* column,
    const real* x,              # (n,) of the column
    Py_ssize_t n,
    real* e,                    # (n, any) where the first input of each row is stored
    Py_ssize_t stride,
) noexcept nogil:
    """(6) for a column of codes: their embeddings, or 1 for a one-hot code."""
    cdef const real* E = matrix_of(net, e, EMBEDDINGS)
    cdef Py_ssize_t of_E = net.layers[net.n_layers + EMBEDDINGS].stride, i, code
    for i in range(n):
        code = code_of(column, &x[i])
        if column.kind == ONE_HOT_CODE:
            e[0] = 1 if code >= 0 else 0
        elif code >= 0:
            memcpy(e, E + (column.row + code) * of_E, column.n * sizeof(real))
        else:
            memset(e, 0, column.n * sizeof(real))
        e += stride


cdef void embed_column(
    const Net* net,
    Py_ssize_t j,               # column of X
    real* e,                    # (rows.n, any) where its first input is stored, of each row
    Py_ssize_t stride,
    const Rows* rows,
) noexcept nogil:
    """(6) The inputs of the first layer that come from a column of X."""
    cdef const Column* column = &net.columns[j]
    cdef const real* P = matrix_of(net, e, COSINES) + (
        column.row * net.layers[net.n_layers + COSINES].stride)
    cdef const real* lower = <const real*> net.bins + column.row
    cdef real[ROWS_OF_BLOCK] x
    cdef Py_ssize_t first = 0, n
    while first < rows.n:
        n = min(ROWS_OF_BLOCK, rows.n - first)
        gather_column(rows, j, first, n, x)
        if column.kind == COSINES_OF_NUMBER:
            embed(P, column.n_frequencies, column.n_linear, n, x, e, stride)
        elif column.kind == BINS_OF_NUMBER:
            in_bins(lower, lower + net.n_bins, column.n - 1, n, x, e, stride)
        else:
            embed_codes(net, column, x, n, e, stride)
        first += n
        e += n * stride


cdef Py_ssize_t copy_numbers(
    const Net* net, Py_ssize_t first, real* e, const Rows* rows,
) noexcept nogil:
    """(6) for numbers that are used as they are. Returns the next column that is none of them."""
    cdef const real* X = <const real*> rows.source.values               # (any, n_in)
    cdef Py_ssize_t stride = net.layers[0].stride, place = net.columns[first].place, i, j = first
    while j < net.n_columns and net.columns[j].kind == NUMBER:
        j += 1
    for i in range(rows.n):
        memcpy(e + i * stride + place, X + in_data(rows, i) * rows.source.stride + first,
               (j - first) * sizeof(real))
    return j


cdef void embed_rows(const Net* net, real* work, const Rows* rows) noexcept nogil:
    """(6) a^0 of the rows, before noise and dropout: e, or scales * e."""
    cdef const Layer* layer = &net.layers[0]
    cdef const real* X = <const real*> rows.source.values               # (any, n_in)
    cdef real* e = at(work, layer.s, layer.stride, rows)                # (rows.n, stride)
    cdef real* a = at(work, layer.a, layer.stride, rows)                # (rows.n, stride)
    cdef const real* scales = matrix_of(net, work, SCALES)              # (m_0,)
    cdef Py_ssize_t n_dense = net.layers[1].n_dense, i, j, k, code
    j = 0
    while j < net.n_columns:
        if net.columns[j].kind == NUMBER:
            j = copy_numbers(net, j, e, rows)
        else:
            embed_column(net, j, e + net.columns[j].place, layer.stride, rows)
            j += 1
    if net.layers[net.n_layers + SCALES].n_out == 0:
        return
    for i in range(rows.n):
        for k in range(n_dense):
            a[k] = scales[k] * e[k]
        for j in range(net.n_columns):
            if net.columns[j].kind == ONE_HOT_CODE:
                k = net.columns[j].place
                code = code_of(&net.columns[j], X + in_data(rows, i) * layer.n_in + j)
                a[k] = scales[net.columns[j].row + code] * e[k] if code >= 0 else 0
        e += layer.stride
        a += layer.stride


cdef inline bint has_codes(const Layer* layer) noexcept nogil:
    """Whether some rows of the layer's W belong to codes."""
    return layer.n_dense < layer.n_in


cdef Py_ssize_t terms_of_row(
    const Net* net,
    const Rows* rows,
    Py_ssize_t i,
    const real* a,              # (stride,) a^0 of the row
    Py_ssize_t* column,         # INOUT where to go on
    real* values,               # (COLUMNS_OF_CODES,)
    Py_ssize_t* indices,        # (COLUMNS_OF_CODES,) ascending rows of W
) noexcept nogil:
    """The next one-hot codes of a row of X, as numbers of a sparse row. Returns their number."""
    cdef const real* x = <const real*> rows.source.values + (
        in_data(rows, i) * rows.source.stride)                          # (n_in,)
    cdef const Column* one
    cdef Py_ssize_t n = 0, code
    while column[0] < net.n_columns and n < COLUMNS_OF_CODES:
        one = &net.columns[column[0]]
        if one.kind == ONE_HOT_CODE:
            code = code_of(one, x + column[0])
            if code >= 0:
                values[n], indices[n] = a[one.place], one.row + code
                n += 1
        column[0] += 1
    return n


cdef void add_codes(const Net* net, real* work, const Rows* rows) noexcept nogil:
    """(1) s^1 += the rows of W of the one-hot codes, times their scales."""
    cdef const Layer* layer = &net.layers[1]
    cdef const real* W = <const real*> net.params + layer.W             # (n_in, stride)
    cdef real* s = at(work, layer.s, layer.stride, rows)                # (rows.n, stride)
    cdef const real* a = at(work, net.layers[0].a, net.layers[0].stride, rows)
    cdef real[COLUMNS_OF_CODES] values
    cdef Py_ssize_t[COLUMNS_OF_CODES] indices
    cdef Py_ssize_t i, column, n
    for i in range(rows.n):
        column = 0
        while column < net.n_columns:
            n = terms_of_row(net, rows, i, a, &column, values, indices)
            add_rows(values, indices, n, layer.n_in, W, layer.stride, s)
        s += layer.stride
        a += net.layers[0].stride


cdef inline bint is_trained(const Net* net) noexcept nogil:
    """Whether the input layer has parameters of its own."""
    cdef Py_ssize_t kind
    for kind in range(COSINES, SCALES + 1):
        if net.n_columns > 0 and net.layers[net.n_layers + kind].n_out > 0:
            return True
    return False


cdef void backward_inputs(const Net* net, real* work, const Rows* rows) noexcept nogil:
    """(3) for the inputs: dC/da^0, and dC/de = scales * dC/da^0.

    The number of a one-hot code in dC/da^0 is the product of its row of W and delta^1.
    """
    cdef const Layer* layer = &net.layers[0]
    cdef const Layer* first = &net.layers[1]
    cdef const real* W = <const real*> net.params + first.W             # (n_in, stride)
    cdef const real* X = <const real*> rows.source.values               # (any, n_in)
    cdef const real* delta = at(work, first.delta, first.stride, rows)  # (rows.n, stride)
    cdef real* delta_a = at(work, layer.delta_a, layer.stride, rows)    # (rows.n, stride)
    cdef real* delta_e = at(work, layer.delta, layer.stride, rows)      # (rows.n, stride)
    cdef const real* scales = matrix_of(net, work, SCALES)              # (m_0,)
    cdef bint is_scaled = net.layers[net.n_layers + SCALES].n_out > 0
    cdef const Column* column
    cdef Py_ssize_t i, j, k, code
    if first.n_dense > 0:
        backward_columns(1, net.layers, <const real*> net.params, work, rows, 0, first.n_dense)
    for i in range(rows.n):
        for j in range(net.n_columns if is_scaled else 0):
            column = &net.columns[j]
            if column.kind == ONE_HOT_CODE:
                code = code_of(column, X + in_data(rows, i) * layer.n_in + j)
                delta_a[column.place] = 0 if code < 0 else dot(
                    W + (column.row + code) * first.stride, delta, first.n_out)
        if layer.dropout > 0:
            dropout(random_bits(key_of_row(rows, 0, i), -1), rows.dropout_factor * layer.dropout,
                    delta_a, delta_a, layer.n_out)
        for k in range(first.n_dense if is_scaled else 0):
            delta_e[k] = scales[k] * delta_a[k]
        delta += first.stride
        delta_a += layer.stride
        delta_e += layer.stride


cdef inline void perturb(
    const Layer* layer, double factor, real* x, uint64_t key,
) noexcept nogil:
    """Apply noise and dropout to one row of inputs."""
    if layer.noise > 0:
        add_noise(key, layer.noise, x, layer.n_out)
    if layer.dropout > 0:
        dropout(random_bits(key, -1), factor * layer.dropout, x, x, layer.n_out)


cdef void add_sparse_product(
    const Layer* layer,         # the first layer with weights
    const real* W,              # (n_in, stride)
    real* z,                    # (rows.n, stride)
    const Rows* rows,
) noexcept nogil:
    """(1) z += x W for sparse x: adds a multiple of one row of W for each nonzero number."""
    cdef const real* values = <const real*> rows.source.values
    cdef Py_ssize_t i, j, p
    for i in range(rows.n):
        j = in_data(rows, i)
        p = begin_of_row(&rows.source, j)
        add_rows(values + p, rows.source.indices + p, begin_of_row(&rows.source, j + 1) - p,
                 layer.n_in, W, layer.stride, z)
        z += layer.stride


cdef void forward_product(
    const Layer* layer,
    const real* params,
    Matrix x,                   # (rows.n, n_dense), unless sparse
    real* z,                    # (rows.n, stride)
    real* f,                    # (rows.n, stride) may be z
    real* delta,                # (rows.n, stride) to be claimed from other cores, or NULL
    bint sparse,                # whether x is the sparse source of the rows
    const Rows* rows,
) noexcept nogil:
    """(1) z = x W + b, f(z)."""
    cdef Py_ssize_t i
    if not sparse and layer.n_dense > 0 and has_kernels(layer, z):
        forward_kernel(layer, rows.n, x, params + layer.W, z, f, delta)
        return
    for i in range(rows.n):
        memcpy(z + i * layer.stride, params + layer.b, layer.stride * sizeof(real))
    if sparse:
        add_sparse_product(layer, params + layer.W, z, rows)
    elif layer.n_dense > 0:
        # (1) z (rows.n, n_out) += x (rows.n, n_dense) W (n_dense, n_out)
        gemm(False, False, rows.n, layer.n_out, layer.n_dense, <real> 1, <const real*> x.base,
             x.stride, params + layer.W, layer.stride, <real> 1, z, layer.stride)
    activate(layer.activation, z, f, rows.n * layer.stride)


cdef inline bint is_relu_fused(const Layer* layer) noexcept nogil:
    """Whether the kernel computes f(z) with the product: f is relu and takes the place of z."""
    return layer.activation == RELU and not layer.is_normalized and layer.f == layer.z


cdef void forward_columns(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    const Rows* rows,
    Py_ssize_t first,           # some columns, up to `last`, which is not among them
    Py_ssize_t last,
) noexcept nogil:
    """(1) some columns of s^l = a^{l-1} W^l + b^l, and of f(s^l) if that is a fused relu."""
    cdef Layer part = layers[l]
    cdef Matrix x = inputs(l, layers, work, rows)                       # (rows.n, n_in) a^{l-1}
    cdef real* s = at(work, part.s, part.stride, rows) + first          # (rows.n, n) of stride
    cdef real* delta = at(work, part.delta, part.stride, rows) + first  # (rows.n, n) of stride
    part.n_out = last - first
    if not is_relu_fused(&layers[l]):
        part.activation = IDENTITY
    forward_kernel(&part, rows.n, x, params + part.W + first, s, s,
                   delta if rows.are_shared else NULL)


cdef void forward_layer(
    Py_ssize_t l, const Net* net, real* work, const Rows* rows,
) noexcept nogil:
    """(1) z^l = a^{l-1} W^l + b^l, a^l = f(z^l), and normalization, dropout, residual if any."""
    cdef const Layer* layers = net.layers                       # (n_layers + 1,)
    cdef const real* params = <const real*> net.params
    cdef Layer product = layers[l]
    cdef const Layer* layer = &layers[l]
    cdef Matrix x = inputs(l, layers, work, rows)               # (rows.n, n_in) a^{l-1}
    cdef real* s = at(work, layer.s, layer.stride, rows)        # (rows.n, stride)
    cdef real* f = at(work, layer.f, layer.stride, rows)        # (rows.n, stride)
    cdef real* delta = at(work, layer.delta, layer.stride, rows) if rows.are_shared else NULL
    cdef bint sparse = l == 1 and is_sparse(rows)
    if layer.is_normalized or has_codes(layer):
        product.activation = IDENTITY
        forward_product(&product, params, x, s, s, delta, sparse, rows)
        if has_codes(layer):
            add_codes(net, work, rows)
        activate_rows(l, layers, params, work, rows)
    else:
        forward_product(layer, params, x, s, f, delta, sparse, rows)
    finish_rows(l, layers, params, work, rows)


cdef void activate_rows(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    const Rows* rows,
) noexcept nogil:
    """f(z^l) from s^l = a^{l-1} W^l + b^l."""
    cdef const Layer* layer = &layers[l]
    if layer.is_normalized:
        normalize_rows(layer, params, work, rows)
    activate(layer.activation, at(work, layer.z, layer.stride, rows),
             at(work, layer.f, layer.stride, rows), rows.n * layer.stride)


cdef inline bint is_finished_by_columns(const Layer* layer) noexcept nogil:
    """Whether `forward_columns` computes a^l."""
    return is_relu_fused(layer) and not is_changed(layer)


cdef inline bint is_changed(const Layer* layer) noexcept nogil:
    """Whether a^l is not simply f(z^l)."""
    return layer.is_learned or layer.dropout > 0 or layer.is_residual


cdef void finish_forward(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    const Rows* rows,
) noexcept nogil:
    """a^l, after `forward_columns` has computed all columns."""
    if not is_relu_fused(&layers[l]):
        activate_rows(l, layers, params, work, rows)
    finish_rows(l, layers, params, work, rows)


cdef void normalize_rows(
    const Layer* layer, const real* params, real* work, const Rows* rows,
) noexcept nogil:
    """s = (s - mean) / spread, z = gain s + shift, and 1 / spread, for each row."""
    cdef real* s = at(work, layer.s, layer.stride, rows)        # (rows.n, stride)
    cdef real* z = at(work, layer.z, layer.stride, rows)        # (rows.n, stride)
    cdef real* spread = at(work, layer.spread, 1, rows)         # (rows.n,)
    cdef Py_ssize_t i
    for i in range(rows.n):
        spread[i] = normalize(s + i * layer.stride, params + layer.gain, params + layer.shift,
                              z + i * layer.stride, layer.n_out)


cdef void finish_rows(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    const Rows* rows,
) noexcept nogil:
    """a^l = dropout(f) + a^{l-1}, with or without dropout and residual connection.

    f is f(z^l), or if the activation is learned z^l + mix (f(z^l) - z^l).
    """
    cdef const Layer* layer = &layers[l]
    cdef const Layer* before = &layers[l - 1]
    cdef const real* z = at(work, layer.z, layer.stride, rows)          # (rows.n, stride)
    cdef real* f = at(work, layer.f, layer.stride, rows)                # (rows.n, stride)
    cdef real* a = at(work, layer.a, layer.stride, rows)                # (rows.n, stride)
    cdef real* a_before = at(work, before.a, before.stride, rows)       # (rows.n, stride)
    cdef Py_ssize_t i, k
    if not is_changed(layer):
        return
    for i in range(rows.n):
        if layer.is_learned:
            mix(params + layer.mix, z, f, a, layer.n_out)
            z += layer.stride
        if layer.dropout > 0:
            dropout(key_of_row(rows, l, i), rows.dropout_factor * layer.dropout,
                    a if layer.is_learned else f, a, layer.n_out)
        elif a != f and not layer.is_learned:
            memcpy(a, f, layer.n_out * sizeof(real))
        if layer.is_residual:
            for k in range(layer.n_out):
                a[k] += a_before[k]
        f += layer.stride
        a += layer.stride
        a_before += before.stride


# A forward pass of a few dense rows through all layers. In each layer, the members of a team first
# share out columns of W, and then rows for the work after the product. So even a single row can use
# several threads (bench/figures.md: column-pass).
cdef struct ByColumns:
    const Net* net
    void* work
    const Rows* rows
    Py_ssize_t* counters        # (4 n_layers,) pieces taken and done: of columns, then of rows


cdef Py_ssize_t columns_in_piece(const Layer* layer, int n_members) noexcept nogil:
    """The columns in a member's share: a whole number of vectors."""
    return ceil_div(ceil_div(layer.n_out, n_members), COLUMNS_AT_ONCE) * COLUMNS_AT_ONCE


cdef void take_columns(
    const ByColumns* it, const real* any, Py_ssize_t l, Team* team, Py_ssize_t* counters,
) noexcept nogil:
    """(1) s^l = a^{l-1} W^l + b^l, one piece of the columns at a time."""
    cdef Py_ssize_t size = columns_in_piece(&it.net.layers[l], team.n)
    cdef Py_ssize_t n = it.net.layers[l].n_out, first = next_piece(&counters[0]) * size
    while first < n:
        forward_columns(l, it.net.layers, <const real*> it.net.params, <real*> it.work, it.rows,
                        first, min(first + size, n))
        piece_is_done(team, &counters[1], ceil_div(n, size))
        first = next_piece(&counters[0]) * size


cdef void take_rows(
    const ByColumns* it, const real* any, Py_ssize_t l, Team* team, Py_ssize_t* counters,
) noexcept nogil:
    """Everything after the product in a layer, some rows at a time."""
    cdef Py_ssize_t n_pieces = ceil_div(it.rows.n, ROWS_TO_FINISH), i = next_piece(&counters[0])
    cdef Rows rows
    while i < n_pieces:
        rows = piece_of_rows(i, n_pieces, it.rows[0])
        finish_forward(l, it.net.layers, <const real*> it.net.params, <real*> it.work, &rows)
        piece_is_done(team, &counters[1], n_pieces)
        i = next_piece(&counters[0])


cdef void forward_by_columns(
    const ByColumns* it, const real* any, Team* team, int me,
) noexcept nogil:
    """(1) up to z^L, for any network."""
    cdef unsigned long long denormals = flush_denormals()
    cdef Py_ssize_t l, size
    cdef Py_ssize_t* counters = it.counters
    for l in range(1, it.net.n_layers + 1):
        take_columns(it, any, l, team, counters)
        size = columns_in_piece(&it.net.layers[l], team.n)
        wait_for_pieces(team, me, &counters[1], ceil_div(it.net.layers[l].n_out, size))
        take_rows(it, any, l, team, counters + 2)
        wait_for_pieces(team, me, &counters[3], ceil_div(it.rows.n, ROWS_TO_FINISH))
        counters += 4
    restore_denormals(denormals)


cdef void forward_by_columns_f32(void* it, Team* team, int me) noexcept nogil:
    forward_by_columns(<ByColumns*> it, <float*> NULL, team, me)


cdef void forward_by_columns_f64(void* it, Team* team, int me) noexcept nogil:
    forward_by_columns(<ByColumns*> it, <double*> NULL, team, me)


cdef inline bint is_gated(
    Py_ssize_t l, const Layer* layers, const real* any,
) noexcept nogil:
    """Whether the kernel of (3) also applies f', which is that of relu, to delta^{l-1}."""
    cdef const Layer* before = &layers[l - 1]
    return (before.activation == RELU and has_kernels(&layers[l], any)
            and not layers[l].is_residual and before.dropout == 0
            and before.delta_z == before.delta_a and not before.is_learned)


cdef void backward_columns(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    const Rows* rows,
    Py_ssize_t first,           # some columns, up to `last`, which is not among them
    Py_ssize_t last,
) noexcept nogil:
    """(3) some columns of delta^l (W^l)^T, and f' if the kernel applies it."""
    cdef Layer part = layers[l]
    cdef const Layer* before = &layers[l - 1]
    cdef const real* delta = at(work, part.delta, part.stride, rows)            # (rows.n, stride)
    cdef real* delta_a = at(work, before.delta_a, before.stride, rows) + first  # of layer l - 1
    cdef const real* f = at(work, before.f, before.stride, rows) + first        # of layer l - 1
    part.n_in = last - first
    if has_kernels(&part, work):
        backward_kernel(&part, rows.n, delta, params + part.W + first * part.stride, delta_a,
                        before.stride, f if is_gated(l, layers, work) else NULL)
    else:
        # (3) delta_a (rows.n, n) = delta^l (rows.n, n_out) W^T (n_out, n)
        gemm(False, True, rows.n, part.n_in, part.n_out, <real> 1, delta, part.stride,
             params + part.W + first * part.stride, part.stride, <real> 0, delta_a, before.stride)


cdef void finish_backward(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    const Rows* rows,
) noexcept nogil:
    """delta^{l-1}, after `backward_columns` has computed all columns."""
    cdef const Layer* layer = &layers[l]
    cdef const Layer* before = &layers[l - 1]
    cdef real* delta_a = at(work, before.delta_a, before.stride, rows)          # of layer l - 1
    cdef real* delta_z = at(work, before.delta_z, before.stride, rows)          # of layer l - 1
    cdef real* delta_f = at(work, before.delta_f, before.stride, rows)          # of layer l - 1
    cdef Py_ssize_t i
    if layer.is_residual:
        add_multiple(<real> 1, at(work, layer.delta_a, layer.stride, rows), delta_a,
                     rows.n * before.stride)
    if before.dropout > 0 or delta_f != delta_a:
        delta_behind_dropout(l - 1, before, delta_a, delta_f, rows)
    if before.is_learned:
        memcpy(delta_z, delta_f, rows.n * before.stride * sizeof(real))
    if not is_gated(l, layers, work):
        times_derivative(before.activation, at(work, before.z, before.stride, rows),
                         at(work, before.f, before.stride, rows), delta_z,
                         rows.n * before.stride)
    if before.is_learned:
        for i in range(rows.n):
            mix_back(params + before.mix, delta_f + i * before.stride,
                     delta_z + i * before.stride, before.n_out)
    if before.is_normalized:
        normalize_rows_back(before, params, work, rows)


cdef void delta_behind_dropout(
    Py_ssize_t l,
    const Layer* layer,
    const real* delta_a,        # (rows.n, stride)
    real* delta_f,              # (rows.n, stride) may be delta_a
    const Rows* rows,
) noexcept nogil:
    """Set delta to 0 for units that were dropped in the forward pass, and scale the others."""
    cdef Py_ssize_t i
    for i in range(rows.n):
        if layer.dropout > 0:
            dropout(key_of_row(rows, l, i), rows.dropout_factor * layer.dropout, delta_a,
                    delta_f, layer.n_out)
        else:
            memcpy(delta_f, delta_a, layer.n_out * sizeof(real))
        delta_a += layer.stride
        delta_f += layer.stride


cdef void normalize_rows_back(
    const Layer* layer, const real* params, real* work, const Rows* rows,
) noexcept nogil:
    """delta from delta_z, for each row."""
    cdef const real* s = at(work, layer.s, layer.stride, rows)                  # (rows.n, stride)
    cdef const real* spread = at(work, layer.spread, 1, rows)                   # (rows.n,)
    cdef const real* delta_z = at(work, layer.delta_z, layer.stride, rows)      # (rows.n, stride)
    cdef real* delta = at(work, layer.delta, layer.stride, rows)                # (rows.n, stride)
    cdef Py_ssize_t i, k
    for i in range(rows.n):
        k = i * layer.stride
        normalize_back(s + k, params + layer.gain, spread[i], delta_z + k, delta + k, layer.n_out)


cdef void forward_rows(const Net* net, real* work, const Rows* rows) noexcept nogil:
    """(6) and (1) up to z^L."""
    cdef Py_ssize_t l
    copy_inputs(net, work, rows)
    for l in range(1, net.n_layers + 1):
        forward_layer(l, net, work, rows)


cdef void backward_layer(
    Py_ssize_t l, const Net* net, real* work, const Rows* rows,
) noexcept nogil:
    """(3) delta^{l-1} = (delta^l (W^l)^T) * f'(z^{l-1}), and what lies in between."""
    backward_columns(l, net.layers, <const real*> net.params, work, rows, 0, net.layers[l].n_in)
    finish_backward(l, net.layers, <const real*> net.params, work, rows)


cdef void backward_rows(const Net* net, real* work, const Rows* rows) noexcept nogil:
    """(3) for each hidden layer, and for the inputs if they depend on parameters."""
    cdef Py_ssize_t l
    for l in range(net.n_layers, 1, -1):
        backward_layer(l, net, work, rows)
    if is_trained(net):
        backward_inputs(net, work, rows)


cdef void deltas_of_outputs(const Net* net, real* work, const Rows* rows) noexcept nogil:
    """(2), after `forward_rows`."""
    cdef const Layer* last = &net.layers[net.n_layers]
    output_deltas(&net.loss, last, at(work, last.z, last.stride, rows),
                  at(work, last.delta, last.stride, rows), rows)


cdef void loss_of_rows(const Net* net, real* work, const Rows* rows) noexcept nogil:
    """(1), (2) for some rows."""
    forward_rows(net, work, rows)
    deltas_of_outputs(net, work, rows)


cdef inline Py_ssize_t n_row_pieces(
    const Net* net, Py_ssize_t n_rows, int n_members,
) noexcept nogil:
    """The number of pieces of rows: as many for each member, unless the cut is fixed."""
    if net.is_cut_fixed:
        return ceil_div(n_rows, ROWS_OF_BLOCK)
    return n_members * ceil_div(n_rows, n_members * ROWS_OF_BLOCK)


cdef void rows_in_pieces(
    const Net* net, real* work, const Rows* rows, Team* team, int me,
) noexcept nogil:
    """(1), (2), (3) of all layers for a member's share of the rows, piece by piece."""
    cdef Py_ssize_t n_pieces = n_row_pieces(net, rows.n, team.n), i
    cdef Rows piece
    for i in range(me * n_pieces // team.n, (me + 1) * n_pieces // team.n):
        piece = piece_of_rows(i, n_pieces, rows[0])
        if piece.n > 0:
            loss_of_rows(net, work, &piece)
            backward_rows(net, work, &piece)


# With many threads, or few rows, a member's share of the rows is too small to pay for reading all
# of W. The products of wide layers are then cut into groups of columns as well, and the members
# meet at a barrier between two layers. The bits are the same, because a number's chain of
# operations does not depend on the cut.

cdef enum:
    # In the time of one multiply-add with a vector of a cache line's size: what it takes to fetch a
    # cache line of W that another core has written, and a cache line of the rows, which other
    # members read, too; and what it takes to wait at another barrier.
    TIME_OF_FETCH = 8
    TIME_OF_BARRIER = 5000


cdef Py_ssize_t groups_of_columns(
    Py_ssize_t n_rows, Py_ssize_t n_terms, Py_ssize_t n_columns, int n_members, Py_ssize_t in_line,
) noexcept nogil:
    """The number of groups of columns in a product for which the members take the least time.

    Then the rows are cut into n_members / (number of groups) pieces. `in_line` is how many numbers
    are in a cache line.
    """
    cdef Py_ssize_t best = 1, least = PY_SSIZE_T_MAX, n_groups, rows, lines, time
    for n_groups in range(1, min(n_members, ceil_div(n_columns, in_line)) + 1):
        rows = ceil_div(n_rows, n_members // n_groups)
        lines = ceil_div(ceil_div(n_columns, in_line), n_groups)
        time = n_terms * (rows * lines + TIME_OF_FETCH * lines) + (
            TIME_OF_FETCH * rows * ceil_div(n_terms, in_line))
        if n_groups > 1:
            time += TIME_OF_BARRIER
        if time < least:
            best, least = n_groups, time
    return best


cdef void plan_columns(
    Net* net, Py_ssize_t[:, ::1] groups, Py_ssize_t n_rows, int n_members, Py_ssize_t in_line,
) noexcept nogil:
    """Set net.groups if a product of these rows is to be cut by columns."""
    cdef const Layer* layer
    cdef Py_ssize_t l
    net.groups, net.n_planned = NULL, n_members
    if n_members == 1 or net.is_cut_fixed:
        return
    for l in range(1, net.n_layers + 1):
        layer = &net.layers[l]
        groups[0, l] = groups_of_columns(n_rows, layer.n_in, layer.n_out, n_members, in_line)
        groups[1, l] = groups_of_columns(n_rows, layer.n_out, layer.n_in, n_members, in_line)
        if l == 1 and has_codes(layer):
            groups[0, l] = 1
        if groups[0, l] > 1 or (groups[1, l] > 1 and l > 1):
            net.groups = &groups[0, 0]


# A member's way through stage 1 with its phases. A phase by columns reads what all members have
# written, and what it writes is read by all. A phase by rows reads and writes the member's own
# rows.
cdef struct Phases:
    const Net* net
    void* work
    Rows rows                   # of all members
    Rows mine
    Team* team
    int me
    bint is_by_columns          # whether the present phase is
    bint all_is_written         # whether nothing was written since the last barrier


cdef void begin_phase(Phases* it, bint is_by_columns) noexcept nogil:
    if (is_by_columns or it.is_by_columns) and not it.all_is_written:
        wait_for_all(it.team, it.me)
    it.is_by_columns, it.all_is_written = is_by_columns, False


cdef void columns_phase(
    Phases* it, const real* any, Py_ssize_t l, bint is_forward, Py_ssize_t n_groups,
) noexcept nogil:
    """The member's pieces of a product: some rows and some columns."""
    cdef const Net* net = it.net
    cdef Py_ssize_t n = net.layers[l].n_out if is_forward else net.layers[l].n_in
    cdef Py_ssize_t n_lines = ceil_div(n * sizeof(real), CACHE_LINE)
    cdef Py_ssize_t in_line = CACHE_LINE // sizeof(real)
    cdef Py_ssize_t n_cuts = net.n_planned // n_groups, i = it.me, first, last
    cdef Rows rows
    begin_phase(it, True)
    while i < n_cuts * n_groups:
        rows = piece_of_rows(i % n_cuts, n_cuts, it.rows)
        first = (i // n_cuts) * n_lines // n_groups * in_line
        last = min((i // n_cuts + 1) * n_lines // n_groups * in_line, n)
        i += it.team.n
        if rows.n == 0 or first >= last:
            continue
        if is_forward:
            forward_columns(l, net.layers, <const real*> net.params, <real*> it.work, &rows,
                            first, last)
        else:
            backward_columns(l, net.layers, <const real*> net.params, <real*> it.work, &rows,
                             first, last)


cdef void forward_phases(Phases* it, const real* any, Py_ssize_t l) noexcept nogil:
    cdef const Net* net = it.net
    cdef Py_ssize_t n_groups = net.groups[l]
    if n_groups == 1 or (l == 1 and is_sparse(&it.rows)):
        begin_phase(it, False)
        forward_layer(l, net, <real*> it.work, &it.mine)
        return
    columns_phase(it, any, l, True, n_groups)
    if not is_finished_by_columns(&net.layers[l]):
        begin_phase(it, False)
        finish_forward(l, net.layers, <const real*> net.params, <real*> it.work, &it.mine)


cdef void backward_phases(Phases* it, const real* any, Py_ssize_t l) noexcept nogil:
    cdef const Net* net = it.net
    cdef const Layer* before = &net.layers[l - 1]
    cdef Py_ssize_t n_groups = net.groups[net.n_table + l]
    if n_groups == 1:
        begin_phase(it, False)
        backward_layer(l, net, <real*> it.work, &it.mine)
        return
    columns_phase(it, any, l, False, n_groups)
    if before.is_normalized or not is_gated(l, net.layers, any):
        begin_phase(it, False)
        finish_backward(l, net.layers, <const real*> net.params, <real*> it.work, &it.mine)


cdef void rows_in_phases(
    const Net* net, real* work, const Rows* rows, Team* team, int me,
) noexcept nogil:
    """(1), (2), (3) of one layer after the other, by all members together."""
    cdef Phases it
    cdef Py_ssize_t l
    it.net, it.work, it.rows, it.team, it.me = net, work, rows[0], team, me
    it.mine = piece_of_rows(me, team.n, rows[0])
    it.is_by_columns, it.all_is_written = False, True
    if is_copied(net.layers, work, rows):
        begin_phase(&it, False)
        copy_inputs(net, work, &it.mine)
    for l in range(1, net.n_layers + 1):
        forward_phases(&it, work, l)
    begin_phase(&it, False)
    deltas_of_outputs(net, work, &it.mine)
    for l in range(net.n_layers, 1, -1):
        backward_phases(&it, work, l)
    if is_trained(net):
        begin_phase(&it, False)
        backward_inputs(net, work, &it.mine)


cdef void stage_of_rows(
    const Net* net, real* work, const Rows* rows, Team* team, int me,
) noexcept nogil:
    """Stage 1: a member's share of (1), (2), (3)."""
    if net.groups == NULL:
        rows_in_pieces(net, work, rows, team, me)
    else:
        rows_in_phases(net, work, rows, team, me)


cdef void output_of_rows(
    const Loss* loss,
    const Layer* last,
    real* work,
    real* out,                  # (batch, m_L)
    Rows rows,
) noexcept nogil:
    """a^L of a block of rows, computed from z^L."""
    cdef real* z = at(work, last.z, last.stride, &rows)         # (rows.n, stride)
    cdef real* a = at(work, last.delta, last.stride, &rows)     # (rows.n, stride) scratch
    cdef real[ROWS_AT_ONCE] largest, logs
    cdef Py_ssize_t first = 0, i
    out += rows.first * last.n_out
    if not is_softmax(loss):
        for i in range(rows.n):
            output_activation(loss, z + i * last.stride, out + i * last.n_out, last.n_out)
        return
    while first < rows.n:
        softmax(min(ROWS_AT_ONCE, rows.n - first), last.n_out, z + first * last.stride,
                a + first * last.stride, last.stride, largest, logs)
        for i in range(first, min(first + ROWS_AT_ONCE, rows.n)):
            memcpy(out + i * last.n_out, a + i * last.stride, last.n_out * sizeof(real))
        first += ROWS_AT_ONCE


# ================================================================================================
# D  Stage 2: parameters. A block reads the whole mini-batch and writes only its own parameters.
# ================================================================================================

cdef void find_places(const Net* net, const Rows* rows, Py_ssize_t first) noexcept nogil:
    """Prepare (4) for the blocks from `first` on: find each sparse row's first number in them.

    A member takes its blocks in ascending order, so that it looks at each number only once
    (bench/figures.md: sparse-places).
    """
    cdef const Py_ssize_t* indices = rows.source.indices
    cdef Py_ssize_t i, j, p, n, half, column
    if rows.places == NULL or first == net.n_blocks or net.blocks[first].layer > 1:
        return
    column = net.blocks[first].first
    for i in range(rows.n):
        j = in_data(rows, i)
        p = begin_of_row(&rows.source, j)
        n = begin_of_row(&rows.source, j + 1) - p
        while n > 0:            # without a branch, which would be hard to predict
            half = (n + 1) // 2
            p += half * (indices[p + half - 1] < column)
            n -= half
        rows.places[i] = p


cdef void add_sparse_gradient(
    Block block,
    const Layer* layer,         # the first layer with weights
    const real* delta,          # (rows.n, stride)
    real* dW,                   # (last - first, stride) the block's rows
    const Rows* rows,           # the whole mini-batch
) noexcept nogil:
    """(4) dW += x^T delta for sparse x: adds a multiple of a row of delta for each nonzero."""
    cdef const real* values = <const real*> rows.source.values
    cdef Py_ssize_t i, p, end
    for i in range(rows.n):
        p, end = rows.places[i], begin_of_row(&rows.source, in_data(rows, i) + 1)
        rows.places[i] = p + add_to_rows(
            values + p, rows.source.indices + p, end - p, block.first,
            min(block.last, layer.n_in), delta, dW, layer.stride)
        delta += layer.stride


cdef void gradient_without_kernels(
    Block block,
    const Layer* layer,
    Matrix x,                   # (rows.n, n_in), unless sparse
    const real* delta,          # (rows.n, stride)
    real* dW,                   # (last - first, stride)
    bint sparse,                # whether x is the sparse source of the rows
    bint adds_up,
    const Rows* rows,           # the whole mini-batch
) noexcept nogil:
    """(4) dW = x^T delta, db = sum of the rows of delta, for sparse x or with BLAS."""
    cdef Py_ssize_t i, n_weights = min(block.last, layer.n_in) - block.first
    cdef real* db = dW + n_weights * layer.stride               # (stride,)
    if sparse:
        if not adds_up:
            memset(dW, 0, n_weights * layer.stride * sizeof(real))
        add_sparse_gradient(block, layer, delta, dW, rows)
    else:
        # (4) dW (n_weights, n_out) = x^T (n_weights, rows.n) delta (rows.n, n_out)
        gemm(True, False, n_weights, layer.n_out, rows.n, <real> 1,
             <const real*> x.base + block.first, x.stride, delta, layer.stride,
             <real> (1 if adds_up else 0), dW, layer.stride)
    if block.last > layer.n_in:
        if not adds_up:
            memset(db, 0, layer.stride * sizeof(real))
        for i in range(rows.n):
            add_multiple(<real> 1, delta + i * layer.stride, db, layer.stride)


cdef void gradient_of_normalization(
    Py_ssize_t row,             # row of the layer's matrix
    const Layer* layer,
    real* dW,                   # (stride,)
    const real* work,
    const Rows* rows,           # the whole mini-batch
) noexcept nogil:
    """(4) for gain: sum of the rows of delta_z * s; for shift: sum of the rows of delta_z."""
    cdef const real* delta_z = work + rows.capacity * layer.delta_z         # (rows.n, stride)
    cdef const real* s = work + rows.capacity * layer.s                     # (rows.n, stride)
    cdef bint is_gain = layer.W + row * layer.stride == layer.gain
    cdef Py_ssize_t i, k
    for i in range(rows.n):
        for k in range(i * layer.stride, i * layer.stride + layer.n_out):
            dW[k - i * layer.stride] += delta_z[k] * s[k] if is_gain else delta_z[k]


cdef void add_gradient_of_codes(
    Block block,                # of the first layer's rows
    const Net* net,
    real* dW,                   # (last - first, stride) the block's rows
    const real* work,
    const Rows* rows,           # the whole mini-batch
) noexcept nogil:
    """(4) dW += the rows of delta^1, times the scales, for the codes of the block."""
    cdef const Layer* layer = &net.layers[1]
    cdef Py_ssize_t stride = net.layers[0].stride, i, n, column
    cdef const real* delta = work + rows.capacity * layer.delta         # (rows.n, stride)
    cdef const real* a = work + rows.capacity * net.layers[0].a         # (rows.n, stride) a^0
    cdef real[COLUMNS_OF_CODES] values
    cdef Py_ssize_t[COLUMNS_OF_CODES] indices
    for i in range(rows.n):
        column = 0
        while column < net.n_columns:
            n = terms_of_row(net, rows, i, a, &column, values, indices)
            add_to_rows(values, indices, n, block.first, min(block.last, layer.n_in), delta, dW,
                        layer.stride)
        delta += layer.stride
        a += stride


cdef void gradient_with_codes(
    Block block,
    const Net* net,
    real* dW,                   # (last - first, stride) the block's rows of [dW; db]
    const real* work,
    bint adds_up,
    const Rows* rows,           # the whole mini-batch
) noexcept nogil:
    """(4) of the first layer if some rows of W belong to codes."""
    cdef const Layer* layer = &net.layers[1]
    cdef Matrix x = inputs(1, net.layers, work, rows)                   # (rows.n, n_dense)
    cdef const real* delta = work + rows.capacity * layer.delta         # (rows.n, stride)
    cdef Py_ssize_t n_dense = max(0, min(block.last, layer.n_dense) - block.first), i
    cdef Py_ssize_t n_rows = min(block.last, layer.n_in + 1) - block.first
    cdef Block dense = block
    if not adds_up:
        memset(dW + n_dense * layer.stride, 0, (n_rows - n_dense) * layer.stride * sizeof(real))
    if n_dense > 0:
        dense.last = block.first + n_dense
        gradient_of_numbers(dense, net, x, delta, dW, adds_up, rows)
    if block.last > layer.n_dense:
        add_gradient_of_codes(block, net, dW, work, rows)
    for i in range(rows.n if block.last > layer.n_in else 0):
        add_multiple(<real> 1, delta + i * layer.stride, dW + (n_rows - 1) * layer.stride,
                     layer.stride)


cdef void gradient_of_numbers(
    Block block,                # rows of a layer's W, and of b if all rows of W belong to numbers
    const Net* net,
    Matrix x,                   # (rows.n, n_dense)
    const real* delta,          # (rows.n, stride)
    real* dW,                   # (last - first, stride)
    bint adds_up,
    const Rows* rows,           # the whole mini-batch
) noexcept nogil:
    """(4) by the kernels, or else by BLAS."""
    cdef const Layer* layer = &net.layers[block.layer]
    cdef real* W = <real*> net.params + start_of(block, net.layers)     # (last - first, stride)
    if has_kernels(layer, dW):
        gradient_kernel(layer, block.first, min(block.last, layer.n_in + 1), rows.n, x, delta, dW,
                        adds_up, W if rows.are_shared else NULL)
    else:
        gradient_without_kernels(block, layer, x, delta, dW, False, adds_up, rows)


cdef void gradient_of_cosines(
    Block block, const Net* net, real* dP, const real* work, const Rows* rows,
) noexcept nogil:
    """(7) for rows of the matrix of cosines, added to dP (last - first, stride)."""
    cdef const Layer* layer = &net.layers[block.layer]
    cdef const real* P = <const real*> net.params + layer.W             # (any, stride)
    cdef Py_ssize_t stride = net.layers[0].stride, first, j, n
    cdef const real* delta                                              # (rows.n, any) dC/de
    cdef const Column* column
    cdef real[ROWS_OF_BLOCK] x
    for j in range(net.n_columns):
        column = &net.columns[j]
        if column.kind != COSINES_OF_NUMBER or not block.first <= column.row < block.last:
            continue
        first = 0
        delta = work + rows.capacity * net.layers[0].delta + column.place
        while first < rows.n:
            n = min(ROWS_OF_BLOCK, rows.n - first)
            gather_column(rows, j, first, n, x)
            embed_back(P + column.row * layer.stride, column.n_frequencies, column.n_linear, n, x,
                       delta + first * stride, stride,
                       dP + (column.row - block.first) * layer.stride)
            first += n


cdef void gradient_of_embeddings(
    Block block, const Net* net, real* dE, const real* work, const Rows* rows,
) noexcept nogil:
    """(7) for some rows of embeddings: sums of dC/de, added to dE (last - first, stride)."""
    cdef Py_ssize_t of_E = net.layers[block.layer].stride, stride = net.layers[0].stride, i, j, row
    cdef const real* X = <const real*> rows.source.values               # (any, n_in)
    cdef const real* delta = work + rows.capacity * net.layers[0].delta  # (rows.n, stride) dC/de
    cdef const Column* column
    for j in range(net.n_columns):
        column = &net.columns[j]
        if (column.kind != EMBEDDED_CODE or column.row >= block.last
                or column.row + column.n_codes <= block.first):
            continue
        for i in range(rows.n):
            row = code_of(column, X + in_data(rows, i) * rows.source.stride + j)
            if row >= 0 and block.first <= row + column.row < block.last:
                add_multiple(<real> 1, delta + i * stride + column.place,
                             dE + (row + column.row - block.first) * of_E, column.n)


cdef void gradient_of_scales(
    const Net* net, real* d_scales, const real* work, const Rows* rows,
) noexcept nogil:
    """(7) for the scales: sums of e dC/da^0, added to d_scales (m_0,)."""
    cdef Py_ssize_t n_dense = net.layers[1].n_dense, stride = net.layers[0].stride, i, j, k, code
    cdef const real* X = <const real*> rows.source.values               # (any, n_in)
    cdef const real* e = work + rows.capacity * net.layers[0].s         # (rows.n, stride)
    cdef const real* delta_a = work + rows.capacity * net.layers[0].delta_a     # (rows.n, stride)
    for i in range(rows.n):
        for k in range(n_dense):
            d_scales[k] += e[k] * delta_a[k]
        for j in range(net.n_columns):
            if net.columns[j].kind == ONE_HOT_CODE:
                code = code_of(&net.columns[j], X + in_data(rows, i) * rows.source.stride + j)
                if code >= 0:
                    d_scales[net.columns[j].row + code] += delta_a[net.columns[j].place]
        e += stride
        delta_a += stride


cdef void gradient_of_inputs(
    Block block,
    const Net* net,
    real* dW,                   # (last - first, stride)
    const real* work,
    const Rows* rows,           # the whole mini-batch, or a part of it
) noexcept nogil:
    """(7) for a block of the input layer's parameters."""
    cdef const Layer* layer = &net.layers[block.layer]
    if rows.before == 0:
        memset(dW, 0, (block.last - block.first) * layer.stride * sizeof(real))
    if layer.kind == COSINES:
        gradient_of_cosines(block, net, dW, work, rows)
    elif layer.kind == EMBEDDINGS:
        gradient_of_embeddings(block, net, dW, work, rows)
    else:
        gradient_of_scales(net, dW, work, rows)


cdef void gradient_of_mix(
    const Layer* layer,
    real* d_mix,                # (stride,)
    const real* work,
    const Rows* rows,           # the whole mini-batch
) noexcept nogil:
    """(4) for mix: sum of the rows of delta_f * (f(z) - z)."""
    cdef const real* delta_f = work + rows.capacity * layer.delta_f         # (rows.n, stride)
    cdef const real* z = work + rows.capacity * layer.z                     # (rows.n, stride)
    cdef const real* f = work + rows.capacity * layer.f                     # (rows.n, stride)
    cdef Py_ssize_t i, k
    for i in range(rows.n):
        k = i * layer.stride
        add_mixed(delta_f + k, z + k, f + k, d_mix, layer.n_out)


cdef void gradient_of_block(
    Block block,                # one block, or several consecutive ones of a layer
    const Net* net,
    real* dW,                   # (last - first, stride) the block's rows of [dW; db; ...]
    const real* work,
    const Rows* rows,           # the whole mini-batch, or a part of it
) noexcept nogil:
    """(4) dW^l = (a^{l-1})^T delta^l, db^l = sum of the rows of delta^l, without penalties.

    If there was an earlier part of the mini-batch, its gradient is in dW, and this is added.
    """
    cdef const Layer* layer = &net.layers[block.layer]
    cdef const real* delta = work + rows.capacity * layer.delta             # (rows.n, stride)
    cdef Matrix x                                                           # (rows.n, n_in)
    cdef bint sparse = block.layer == 1 and is_sparse(rows), adds_up = rows.before > 0
    cdef Py_ssize_t j, k
    if layer.kind != WEIGHTS:
        gradient_of_inputs(block, net, dW, work, rows)
        return
    x = inputs(block.layer, net.layers, work, rows)
    if block.first > layer.n_in:
        pass
    elif has_codes(layer):
        gradient_with_codes(block, net, dW, work, adds_up, rows)
    elif sparse:
        gradient_without_kernels(block, layer, x, delta, dW, True, adds_up, rows)
    else:
        gradient_of_numbers(block, net, x, delta, dW, adds_up, rows)
    for j in range(max(block.first, layer.n_in + 1), block.last):
        k = (j - block.first) * layer.stride
        if not adds_up:
            memset(dW + k, 0, layer.stride * sizeof(real))
        if layer.is_learned and layer.W + j * layer.stride == layer.mix:
            gradient_of_mix(layer, dW + k, work, rows)
        else:
            gradient_of_normalization(j, layer, dW + k, work, rows)
    for j in range(block.last - block.first):   # dW may hold numbers of another layer
        for k in range(layer.n_out, layer.stride):
            dW[j * layer.stride + k] = 0


cdef double add_penalty(
    Block block, const Net* net, real* dW, const Penalty* penalty,
) noexcept nogil:
    """dW^l += l1 sign(W^l) + l2 W^l, and 0 where there is no connection.

    Returns the block's share of the penalty l1 sum(|W|) + 1/2 l2 sum(W^2).
    """
    cdef const Layer* layer = &net.layers[block.layer]
    cdef Py_ssize_t of_W = start_of(block, net.layers), j
    cdef const real* W = <const real*> net.params + of_W                    # (last - first, stride)
    cdef const real* connections = <const real*> net.connections
    cdef Py_ssize_t n = max(0, min(block.last, layer.n_in) - block.first) * layer.stride
    cdef double total = 0
    if penalty.l2 > 0:
        total = 0.5 * penalty.l2 * add_decay(<real> penalty.l2, W, dW, n)
    if penalty.l1 > 0:
        total += penalty.l1 * add_signs(<real> penalty.l1, W, dW, n)
    if connections != NULL:
        for j in range(n):
            dW[j] *= connections[of_W + j]
    return total


cdef Py_ssize_t end_of_piece(
    const Net* net, Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    """The end of a piece that begins with block `first`: the blocks that are processed together.

    They belong to one layer. If the cut is fixed, a piece is one block.
    """
    cdef Py_ssize_t end = first + 1, size = size_of(net.blocks[first], net.layers)
    while end < last and not net.is_cut_fixed and (
        net.blocks[end].layer == net.blocks[first].layer
        and size + size_of(net.blocks[end], net.layers) <= PARAMETERS_OF_PIECE
    ):
        size += size_of(net.blocks[end], net.layers)
        end += 1
    return end


cdef inline Block joined(const Net* net, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """The blocks of a piece as one."""
    cdef Block block = net.blocks[first]
    block.last = net.blocks[end - 1].last
    return block


cdef void gradient_of_piece(
    Py_ssize_t first,           # the first block of the piece
    Py_ssize_t end,
    const Net* net,
    real* dW,                   # the piece's rows of [dW; db; ...]
    const real* work,
    const Rows* rows,           # the whole mini-batch, or a part of it
    const Penalty* penalty,
) noexcept nogil:
    """(4) with penalties, whose shares are added to penalty.sums."""
    cdef Py_ssize_t i
    gradient_of_block(joined(net, first, end), net, dW, work, rows)
    for i in range(first, end):
        penalty.sums[i] += penalty.factor * add_penalty(net.blocks[i], net, dW, penalty)
        dW += size_of(net.blocks[i], net.layers)


cdef inline double add_signs(
    real x,
    const real* W,              # (n,)
    real* dW,                   # (n,)
    Py_ssize_t n,
) noexcept nogil:
    """dW += x sign(W); returns sum(|W|)."""
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n):
        dW[i] += x * ((W[i] > 0) - (W[i] < 0))
        total += fabs(W[i])
    return total


cdef inline void clip(real limit, real* x, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        x[i] = min(max(x[i], -limit), limit)


cdef inline void scale_by(real factor, real* x, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        x[i] *= factor


cdef double factor_of_clipping(
    double clip_norm,
    const double* squares,      # (n_blocks,) sum of squares of each block's gradient
    Py_ssize_t n_blocks,
) noexcept nogil:
    """The factor that reduces the norm of the whole gradient to clip_norm, or 1 if it is smaller.

    Pascanu, Mikolov and Bengio, ICML 2013.
    """
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n_blocks):
        total += squares[i]
    return clip_norm / sqrt(total) if total > clip_norm * clip_norm else 1


cdef double momentum_of_nadam(const Solver* solver, Py_ssize_t t) noexcept nogil:
    cdef double log_of_base = -0.040821994520255166     # log(0.96), for 0.96^(t decay)
    return solver.beta_1 * (1 - 0.5 * exp_of(log_of_base * (t * solver.momentum_decay)))


cdef double decay_after(double beta, Py_ssize_t t) noexcept nogil:
    """beta^t, or 0 once it no longer changes 1 - beta^t. That saves a loop in later steps."""
    return whole_power(beta, t) if t * (1 - beta) < 50 else 0


cdef void begin_step(Solver* solver, double learning_rate) noexcept nogil:
    """Prepare the solver for its next step."""
    cdef double now
    solver.t += 1
    solver.learning_rate = solver.step_rate = learning_rate
    if solver.kind == ADAM:
        solver.step_rate *= (sqrt(1 - decay_after(solver.beta_2, solver.t))
                             / (1 - decay_after(solver.beta_1, solver.t)))
    elif solver.kind == NADAM:
        solver.step_rate *= sqrt(1 - decay_after(solver.beta_2, solver.t))
        now = momentum_of_nadam(solver, solver.t)
        solver.momentum_product *= now
        solver.momentum_now = (1 - now) / (1 - solver.momentum_product)
        now = momentum_of_nadam(solver, solver.t + 1)
        solver.momentum_next = now / (1 - solver.momentum_product * now)


cdef inline bint has_rates(const Regularizer* rules) noexcept nogil:
    """Whether some parameters move faster or slower than others."""
    return (rules.is_ntk or rules.bias_rate != 1 or rules.scale_rate != 1
            or rules.activation_rate != 1 or rules.embedding_rate != 1)


cdef double rate_of_row(
    const Regularizer* rules, const Layer* layer, Py_ssize_t row,
) noexcept nogil:
    """The learning rate of a row that is not of weights, as a multiple of that of the weights."""
    cdef Py_ssize_t place = layer.W + row * layer.stride
    if layer.kind != WEIGHTS:
        return rules.scale_rate if layer.kind == SCALES else rules.embedding_rate
    if layer.is_learned and place == layer.mix:
        return rules.activation_rate
    if layer.is_normalized and place == layer.gain:
        return rules.scale_rate
    return rules.bias_rate


cdef void move_at_rate(
    const Solver* solver,
    double rate,                # a multiple of the learning rate
    double ntk,                 # W is this times the numbers that move
    real* params,               # (n,)
    real* dW,                   # (n,) is multiplied by ntk
    real* state,                # (n_states, n) of n_params
    Py_ssize_t n_params,
    Py_ssize_t n,
) noexcept nogil:
    """(5) for parameters with a learning rate of their own.

    For W = ntk V, the solver moves V, whose gradient is ntk dW: Jacot, Gabriel and Hongler,
    NeurIPS 2018. All solvers' steps are proportional to the learning rate.
    """
    cdef Solver scaled = solver[0]
    scaled.learning_rate *= rate * ntk
    scaled.step_rate *= rate * ntk
    scaled.smallest_step *= rate * ntk
    scaled.largest_step *= rate * ntk
    if ntk != 1:
        scale_by(<real> ntk, dW, n)
    move(&scaled, params, dW, state, n_params, n)


cdef void move_block(
    const Solver* solver,
    const Regularizer* rules,
    double decay,               # learning rate times weight decay
    Block block,
    const Layer* layers,        # (n_layers + 1,)
    real* params,               # (n_params,)
    real* dW,                   # (last - first, stride) the block's rows of [dW; db; ...]
    real* state,                # (n_states, n_params)
    Py_ssize_t n_params,
) noexcept nogil:
    """(5) Move every parameter of the block against its gradient.

    Weight decay is separate from the gradient: Loshchilov and Hutter, ICLR 2019.
    """
    cdef const Layer* layer = &layers[block.layer]
    cdef Py_ssize_t i = layer.W + block.first * layer.stride, j, row
    cdef Py_ssize_t n = (block.last - block.first) * layer.stride
    cdef Py_ssize_t n_weights = max(0, min(block.last, layer.n_in) - block.first) * layer.stride
    if decay > 0:
        scale_by(<real> (1 - decay), params + i, n_weights)
    if not has_rates(rules):
        move(solver, params + i, dW, state + i, n_params, n)
        return
    if n_weights > 0:
        move_at_rate(solver, 1, 1 / sqrt(<double> layer.n_in) if rules.is_ntk else 1, params + i,
                     dW, state + i, n_params, n_weights)
    if layer.kind != WEIGHTS:
        move_at_rate(solver, rate_of_row(rules, layer, 0), 1, params + i, dW, state + i, n_params,
                     n)
        return
    for row in range(max(block.first, layer.n_in), block.last):
        j = (row - block.first) * layer.stride
        move_at_rate(solver, rate_of_row(rules, layer, row), 1, params + i + j, dW + j,
                     state + i + j, n_params, layer.stride)


cdef void limit_columns(
    double max_norm,
    const Layer* layer,
    Py_ssize_t first,           # first column
    real* params,               # (n_params,)
) noexcept nogil:
    """Shorten the weight vectors of some units to max_norm if they are longer.

    Srebro and Shraibman, COLT 2005; Srivastava and others, JMLR 15, 2014.
    """
    cdef double[COLUMNS_AT_ONCE] squares
    cdef real* W = params + layer.W + first                     # (n_in, n) of (n_in, stride)
    cdef Py_ssize_t n = min(COLUMNS_AT_ONCE, layer.n_out - first), j, k
    for k in range(n):
        squares[k] = 0
    for j in range(layer.n_in):
        for k in range(n):
            squares[k] += <double> W[j * layer.stride + k] * W[j * layer.stride + k]
    for k in range(n):
        squares[k] = max_norm / sqrt(squares[k]) if squares[k] > max_norm * max_norm else 1
    for j in range(layer.n_in):
        for k in range(n):
            W[j * layer.stride + k] *= <real> squares[k]


cdef void average_block(
    double decay,
    Py_ssize_t t,               # the number of the step, from 1
    Block block,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,         # (n_params,)
    real* average,              # (n_params,)
) noexcept nogil:
    """average = decay average + (1 - decay) W, with a smaller decay in the first steps.

    Polyak and Juditsky, 1992; the exponential form as in Tarvainen and Valpola, NIPS 2017.
    """
    cdef const Layer* layer = &layers[block.layer]
    cdef real rest = <real> (1 - min(decay, (1 + t) / (10 + <double> t)))
    cdef Py_ssize_t start = layer.W + block.first * layer.stride, i
    for i in range(start, start + (block.last - block.first) * layer.stride):
        average[i] += rest * (params[i] - average[i])


# ================================================================================================
# E  The boundary: checks shapes, releases the GIL and shares out blocks.
# ================================================================================================

cdef double scale_of_batch(const Source* source, const real* any, Py_ssize_t n) noexcept nogil:
    """1 / the sum of the first n sample weights.

    Returns 0 if the sum is 0 or almost 0: such a mini-batch has no loss and no gradient.
    """
    cdef const real* sample_weight = <const real*> source.sample_weight     # (any,)
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n):
        total += sample_weight[source.order[i]]
    return 1 / total if total > 1e-300 else 0


cdef Loss loss_of(
    Py_ssize_t kind, const double[::1] params, Py_ssize_t n_outputs,
) except *:
    cdef Loss loss
    if params.shape[0] == 0 or (kind == QUANTILE and params.shape[0] > 1
                                and params.shape[0] != n_outputs):
        raise ValueError("loss_params must have a number, or one for each output")
    loss.kind, loss.params, loss.n_params, loss.function = kind, &params[0], params.shape[0], NULL
    return loss


cdef int type_of_floats(name, array) except -1:
    """The type number of an array, which must be float32 or float64."""
    if cnp.PyArray_Check(array) and cnp.PyArray_TYPE(array) in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
        return cnp.PyArray_TYPE(array)
    raise ValueError(f"{name} must be an array of float32 or float64")


cdef void* numbers_of(
    name, array, int type_number, int n_dims, bint is_written,
) except NULL:
    """The data pointer of an array, after checking that the core can use it as it is."""
    if not (
        cnp.PyArray_Check(array)
        and cnp.PyArray_TYPE(array) == type_number
        and cnp.PyArray_NDIM(array) == n_dims
        and (cnp.PyArray_ISCARRAY(array) if is_written else cnp.PyArray_ISCARRAY_RO(array))
    ):
        raise ValueError(
            f"{name} must be a C-ordered array of {n_dims} dimension(s) and of the network's type"
        )
    return cnp.PyArray_DATA(array)


cdef inline Py_ssize_t places_end(const Layer* layer) noexcept nogil:
    """The end of a layer's last matrix in the workspace, in numbers per row."""
    return max(layer.spread + 1, layer.stride + max(
        max(max(layer.s, layer.z), max(layer.f, layer.a)),
        max(max(layer.delta, layer.delta_z), max(layer.delta_f, layer.delta_a))))


cdef inline Py_ssize_t rows_of_matrix(const Layer* layer) noexcept nogil:
    """The number of rows in a layer's matrix of parameters, or in a matrix of the input layer."""
    if layer.kind != WEIGHTS:
        return layer.n_dense
    return layer.n_in + 1 + (2 if layer.is_normalized else 0) + (1 if layer.is_learned else 0)


cdef int check_layers(
    const Layer[::1] layers, Py_ssize_t n_layers, Py_ssize_t n_params,
) except -1:
    """Raise unless consecutive layers fit together and their parameters lie within n_params."""
    cdef Py_ssize_t l, first, end
    cdef Layer layer
    if n_layers < 1:
        raise ValueError("there must be a layer of weights")
    for l in range(1, n_layers + 1):
        layer = layers[l]
        if (layer.n_out < 1 or layer.stride < layer.n_out or layer.kind != WEIGHTS
                or (layer.n_in != layers[l - 1].n_out and not (l == 1 and layers[0].is_embedded))
                or (layer.n_dense != layer.n_in and not (l == 1 and layers[0].is_embedded))
                or layer.b != layer.W + layer.n_in * layer.stride
                or layer.is_residual and layers[l - 1].stride != layer.stride):
            raise ValueError("the layers do not fit one another")
        first = min(min(layer.W, layer.gain), min(layer.shift, layer.mix))
        end = max(max(layer.b, layer.gain), max(layer.shift, layer.mix)) + layer.stride
        if first < 0 or n_params < end:
            raise ValueError("params is smaller than the table of layers says")
    return 0


cdef int check_columns(
    const Layer[::1] layers, Py_ssize_t n_layers, const Column[::1] columns, Py_ssize_t n_params,
    Py_ssize_t n_bins,
) except -1:
    """Raise unless all places of an input layer lie within a^0, W and its own matrices."""
    cdef Layer inputs = layers[0], first = layers[1], layer
    cdef Py_ssize_t kind, j, n_one_hot = inputs.n_out - first.n_dense
    cdef Column it
    cdef bint fits = (
        0 <= first.n_dense <= first.n_in and n_one_hot >= 0
        and inputs.stride >= inputs.n_out and inputs.n_in == columns.shape[0])
    for kind in range(COSINES, SCALES + 1):
        layer = layers[n_layers + kind]
        fits = (
            fits and layer.kind == kind and 0 <= layer.n_out <= layer.stride and layer.n_in == 0
            and layer.W >= 0 and layer.n_dense >= 0
            and layer.W + rows_of_matrix(&layer) * layer.stride <= n_params)
    fits = fits and layers[n_layers + SCALES].n_out in (0, first.n_in)
    for j in range(columns.shape[0]):
        it = columns[j]
        fits = fits and it.row >= 0 and it.place >= 0 and it.n >= 1 and it.n_codes >= 0
        if it.kind == ONE_HOT_CODE:
            fits = (fits and it.n == 1 and first.n_dense <= it.place < inputs.n_out
                    and first.n_dense <= it.row and it.row + it.n_codes <= first.n_in)
            continue
        fits = fits and it.place + it.n <= first.n_dense
        if it.kind == COSINES_OF_NUMBER:
            layer = layers[n_layers + COSINES]
            fits = (fits and 1 <= it.n_frequencies <= MOST_FREQUENCIES and it.n_linear >= 0
                    and it.n == (it.n_linear + 1 if it.n_linear > 0 else it.n_frequencies)
                    and (2 + it.n_linear) * it.n_frequencies + it.n_linear <= layer.n_out
                    and it.row < rows_of_matrix(&layer))
        elif it.kind == EMBEDDED_CODE:
            layer = layers[n_layers + EMBEDDINGS]
            fits = (fits and it.n <= layer.n_out
                    and it.row + it.n_codes <= rows_of_matrix(&layer))
        elif it.kind == BINS_OF_NUMBER:
            fits = fits and it.row + it.n - 1 <= n_bins
        else:
            # `copy_numbers` copies numbers side by side at once
            fits = fits and it.kind == NUMBER and it.n == 1 and (
                j == 0 or columns[j - 1].kind != NUMBER or it.place == columns[j - 1].place + 1)
    if not fits:
        raise ValueError("the columns do not fit the layers")
    return 0


cdef int check_blocks(const Layer[::1] layers, const Block[::1] blocks) except -1:
    """Raise unless every block is a range of its layer's rows."""
    cdef Py_ssize_t i, n_rows
    cdef Layer layer
    if blocks.shape[0] == 0:
        raise ValueError("there must be a block of parameters")
    for i in range(blocks.shape[0]):
        if not 0 < blocks[i].layer < layers.shape[0]:
            raise ValueError("a block must belong to a layer")
        layer = layers[blocks[i].layer]
        n_rows = rows_of_matrix(&layer)
        if not 0 <= blocks[i].first < blocks[i].last <= n_rows:
            raise ValueError("a block must be some of its layer's rows")
    return 0


cdef int check_places(
    const Layer[::1] layers, Py_ssize_t n_numbers, Py_ssize_t capacity,
) except -1:
    """Raise unless the matrices of all layers fit in a workspace with this capacity."""
    cdef Py_ssize_t l, first
    cdef Layer layer
    if capacity < 1:
        raise ValueError("there must be room for a row")
    for l in range(0 if layers[0].is_embedded else 1, layers.shape[0]):
        layer = layers[l]
        if layer.kind != WEIGHTS:
            continue
        first = min(min(min(layer.s, layer.z), min(layer.f, layer.a)),
                    min(min(min(layer.delta, layer.delta_z), min(layer.delta_f, layer.delta_a)),
                        layer.spread))
        if first < 0 or n_numbers < capacity * places_end(&layer):
            raise ValueError("memory is smaller than the table of layers says")
    return 0


cdef class Model:
    """A network: layers, blocks of parameters, loss, parameters and connections, checked once.

    The tables are copied so that nobody can change them. The numbers may change at any time.
    """
    cdef const Layer[::1] layers            # (n_layers + 1,)
    cdef const Block[::1] blocks            # (n_blocks,)
    cdef const Column[::1] columns          # (n_columns,) of X, or empty without an input layer
    cdef object bins                        # (2, n_bins), or None without an input layer
    cdef const double[::1] loss_params      # (n_loss_params,)
    cdef object params                      # (n_params,)
    cdef object connections                 # (n_params,), or empty if there are all connections
    cdef CustomLoss custom                  # a loss in Python, or None
    cdef int type_number
    cdef Net net

    def __init__(self, layers, blocks, Py_ssize_t loss_kind, loss_params, params, connections,
                 function=None, columns=None, bins=None):
        cdef Py_ssize_t n_layers = len(layers) - 1 - (0 if columns is None else SCALES)
        self.layers, self.blocks = np.array(layers), np.array(blocks)
        self.columns = np.zeros(0, COLUMN) if columns is None else np.array(columns)
        self.loss_params = np.array(loss_params)
        self.params, self.connections = params, connections
        self.type_number = type_of_floats("params", params)
        self.net.params = numbers_of("params", params, self.type_number, 1, True)
        self.net.n_params = cnp.PyArray_DIM(params, 0)
        self.net.connections = numbers_of("connections", connections, self.type_number, 1, False)
        if cnp.PyArray_DIM(connections, 0) not in (0, self.net.n_params):
            raise ValueError("connections must have the layout of params, or be empty")
        if cnp.PyArray_DIM(connections, 0) == 0:
            self.net.connections = NULL
        check_layers(self.layers, n_layers, self.net.n_params)
        if self.layers[0].is_embedded != (self.columns.shape[0] > 0):
            raise ValueError("there must be columns if there is an input layer, and only then")
        if self.columns.shape[0] > 0:
            self.bins = np.array(bins)
            self.net.bins = numbers_of("bins", self.bins, self.type_number, 2, False)
            self.net.n_bins = cnp.PyArray_DIM(self.bins, 1)
            if cnp.PyArray_DIM(self.bins, 0) != 2:
                raise ValueError("bins must have two rows")
            check_columns(
                self.layers, n_layers, self.columns, self.net.n_params, self.net.n_bins)
            self.net.columns, self.net.n_columns = &self.columns[0], self.columns.shape[0]
        check_blocks(self.layers, self.blocks)
        self.net.n_layers, self.net.layers = n_layers, &self.layers[0]
        self.net.n_table = self.layers.shape[0]
        self.net.n_blocks, self.net.blocks = self.blocks.shape[0], &self.blocks[0]
        self.net.loss = loss_of(loss_kind, self.loss_params, self.layers[n_layers].n_out)
        if (loss_kind == CUSTOM) != (function is not None):
            raise ValueError("a function must be given for a custom loss, and for no other")
        if function is not None:
            self.custom = CustomLoss(function)
            self.net.loss.function = <void*> self.custom

    def with_params(self, params):
        """The same network with other parameters. The tables are shared."""
        cdef Model twin = Model.__new__(Model)
        twin.layers, twin.blocks, twin.loss_params = self.layers, self.blocks, self.loss_params
        twin.columns, twin.bins = self.columns, self.bins
        twin.params, twin.connections = params, self.connections
        twin.type_number, twin.net = self.type_number, self.net
        twin.net.params = numbers_of("params", params, self.type_number, 1, True)
        if cnp.PyArray_DIM(params, 0) != self.net.n_params:
            raise ValueError("params must have the layout of those of the model")
        if self.custom is not None:
            twin.custom = CustomLoss(self.custom.function)
            twin.net.loss.function = <void*> twin.custom
        return twin

    cdef int raise_error(self) except -1:
        """Raise the error of a custom loss, if there was one."""
        return 0 if self.custom is None else self.custom.raise_error()

    cdef Py_ssize_t n_targets(self):
        """The number of target columns that the loss reads."""
        cdef const Loss* loss = &self.net.loss
        if is_softmax(loss) or (loss.kind == QUANTILE and loss.n_params > 1):
            return 1
        return self.net.layers[self.net.n_layers].n_out


cdef bint has_kernels_throughout(Model model):
    """Whether no layer uses BLAS, whose results may depend on the numbers of rows and columns."""
    cdef Py_ssize_t l
    for l in range(1, model.net.n_layers + 1):
        if not (has_kernels(&model.net.layers[l], <float*> NULL)
                and has_kernels(&model.net.layers[l], <double*> NULL)):
            return False
    return True


cdef class Workspace:
    """Memory for the matrices of a table of layers, for some rows."""
    cdef const Layer[::1] table             # (n_layers + 1,) a copy of layers
    cdef readonly object layers
    cdef readonly object memory             # (>= capacity * numbers per row in the table,)
    cdef readonly Py_ssize_t capacity
    cdef int type_number
    cdef void* numbers
    cdef bint takes_dense                   # whether there is room for a copy of dense rows
    cdef Py_ssize_t[:, ::1] groups          # (2, n_table) of the present pass; see Net
    cdef Py_ssize_t[:, ::1] places          # (n_members, capacity) for sparse rows

    def __init__(self, layers, memory, Py_ssize_t capacity):
        self.layers, self.table, self.memory = layers, np.array(layers), memory
        self.capacity, self.groups = capacity, np.ones((2, len(layers)), dtype=np.intp)
        self.places = np.empty((0, capacity), dtype=np.intp)
        self.type_number = type_of_floats("memory", memory)
        self.numbers = numbers_of("memory", memory, self.type_number, 1, True)
        check_places(self.table, cnp.PyArray_DIM(memory, 0), capacity)
        self.takes_dense = (cnp.PyArray_DIM(memory, 0)
                            >= capacity * (self.table[0].a + self.table[0].stride))

    cdef Net net_of(self, Model model) except *:
        """The model with the places of its matrices in this workspace."""
        cdef Net net = model.net
        cdef Py_ssize_t l
        cdef Layer ours, theirs
        if self.type_number != model.type_number or self.table.shape[0] != net.n_table:
            raise ValueError("the workspace is not one of this model")
        for l in range(net.n_table):
            ours, theirs = self.table[l], net.layers[l]
            if (ours.n_in != theirs.n_in or ours.n_dense != theirs.n_dense
                    or ours.kind != theirs.kind or ours.is_embedded != theirs.is_embedded
                    or ours.n_out != theirs.n_out
                    or ours.stride != theirs.stride or ours.W != theirs.W or ours.b != theirs.b
                    or ours.gain != theirs.gain or ours.shift != theirs.shift
                    or ours.mix != theirs.mix or ours.is_learned != theirs.is_learned
                    or ours.is_normalized != theirs.is_normalized
                    or ours.is_residual != theirs.is_residual):
                raise ValueError("the workspace is not one of this model")
        net.layers = &self.table[0]
        net.is_cut_fixed = net.loss.kind == CUSTOM or not has_kernels_throughout(model)
        return net

    cdef Net plan(self, Model model, Py_ssize_t n_rows, int n_threads) except *:
        """The same, with a cut by columns if one is worthwhile for this many rows and threads."""
        cdef Net net = self.net_of(model)
        plan_columns(&net, self.groups, n_rows, n_threads,
                     CACHE_LINE // (4 if self.type_number == cnp.NPY_FLOAT else 8))
        return net

    cdef Py_ssize_t* places_for(self, const Source* source, int n_threads) except? NULL:
        """Memory for the `places` of sparse rows; NULL for dense rows."""
        if source.indptr == NULL:
            return NULL
        n_threads = max(n_threads, 1)
        if self.places.shape[0] < n_threads:
            self.places = np.empty((n_threads, self.capacity), dtype=np.intp)
        return &self.places[0, 0]


cdef class Samples:
    """Rows of the data, and for training their targets and weights.

    Dense X is of shape (n, m_0), and indices and indptr are empty. Sparse X holds the nonzero
    numbers, (n_nonzero, 1); indices holds their columns, and indptr where the rows begin.
    """
    cdef Source source                      # without an order
    cdef Py_ssize_t n_rows
    cdef int type_number
    cdef const Py_ssize_t[::1] indices      # (n_nonzero,), or empty
    cdef const Py_ssize_t[::1] indptr       # (n + 1,), or empty
    cdef object X                           # (n, m_0), or (n_nonzero, 1) if sparse
    cdef object y                           # (n, n_targets), or None if only outputs are computed
    cdef object sample_weight               # (n,), or None

    def __init__(self, X, const Py_ssize_t[::1] indices, const Py_ssize_t[::1] indptr, y=None,
                 sample_weight=None):
        cdef void* values
        self.type_number = type_of_floats("X", X)
        values = numbers_of("X", X, self.type_number, 2, False)
        self.X, self.indices, self.indptr = X, indices, indptr
        self.y, self.sample_weight = y, sample_weight
        self.source = dense_rows(values, cnp.PyArray_DIM(X, 1))
        self.n_rows = cnp.PyArray_DIM(X, 0)
        if indptr.shape[0] > 0:
            if self.source.stride != 1 or indices.shape[0] == 0 or self.n_rows < indices.shape[0]:
                raise ValueError("sparse X must have a number for each of its indices, at least 1")
            self.source.indptr, self.source.indices = &indptr[0], &indices[0]
            self.source.n_nonzero = indices.shape[0]
            self.n_rows = indptr.shape[0] - 1
        if y is not None:
            self.take_targets()

    cdef int take_targets(self) except -1:
        self.source.y = numbers_of("y", self.y, self.type_number, 2, False)
        self.source.n_targets = cnp.PyArray_DIM(self.y, 1)
        self.source.sample_weight = numbers_of(
            "sample_weight", self.sample_weight, self.type_number, 1, False)
        if (cnp.PyArray_DIM(self.y, 0) != self.n_rows
                or cnp.PyArray_DIM(self.sample_weight, 0) != self.n_rows):
            raise ValueError("X, y and sample_weight must have the same number of rows")
        return 0

    cdef int check_inputs(self, Model model) except -1:
        """Raise unless the model can take these inputs."""
        if self.type_number != model.type_number:
            raise ValueError("X must be of the network's type")
        if self.source.indptr == NULL and self.source.stride != model.net.layers[0].n_in:
            raise ValueError(
                f"X must have {model.net.layers[0].n_in} columns, got {self.source.stride}")
        if self.source.indptr != NULL and model.net.n_columns > 0:
            raise ValueError("X must be dense for a network with an input layer")
        return 0

    cdef Source in_order(
        self, Model model, Workspace work, const Py_ssize_t[::1] order,
    ) except *:
        """The rows ``order`` with their targets, checked for a model and a workspace."""
        cdef Source source = self.source
        cdef Py_ssize_t i
        self.check_inputs(model)
        if self.y is None:
            raise ValueError("y must be given")
        if source.n_targets != model.n_targets():
            raise ValueError(
                f"y must have {model.n_targets()} columns for this loss, got {source.n_targets}")
        if source.indptr == NULL and not work.takes_dense:
            raise ValueError("work has no room for dense rows")
        for i in range(order.shape[0]):
            if not 0 <= order[i] < self.n_rows:
                raise ValueError(f"order must have numbers of rows, of 0 to {self.n_rows - 1}")
        if order.shape[0] > 0:
            source.order = &order[0]
        return source


def scale_of_rows(
    Model model,                        # IN
    Workspace work,                     # IN
    Samples samples,                    # IN
    const Py_ssize_t[::1] order,        # IN (n_rows,) rows of the samples
):
    """1 / the sum of these rows' weights, as `train` computes it for a mini-batch."""
    cdef Source source = samples.in_order(model, work, order)
    if model.type_number == cnp.NPY_FLOAT:
        return scale_of_batch(&source, <float*> NULL, order.shape[0])
    return scale_of_batch(&source, <double*> NULL, order.shape[0])


cdef int check_state(const Solver* solver, Py_ssize_t n_states) except -1:
    """Raise unless there are as many arrays as the solver writes."""
    cdef Py_ssize_t n_needed = 0
    for kind, n_of_kind in SOLVERS.values():
        if kind == solver.kind:
            n_needed = n_of_kind + (1 if kind == ADAM and solver.amsgrad else 0)
    if n_needed == 0 or n_states < n_needed:
        raise ValueError(f"state must have {n_needed} arrays for this solver, got {n_states}")
    return 0


cdef int check_room(Py_ssize_t n_rows, Workspace work, Py_ssize_t n_places) except -1:
    """Raise unless work and row_loss have room for the rows."""
    if n_rows < 1 or n_rows > work.capacity:
        raise ValueError("work must have room for all rows, of which there must be one")
    if n_places < n_rows:
        raise ValueError("row_loss must have room for all rows")
    return 0


cdef void* check_out(Model model, out, Py_ssize_t n) except NULL:
    """The data pointer of out, after checking its shape for n rows."""
    cdef void* numbers = numbers_of("out", out, model.type_number, 2, True)
    if (cnp.PyArray_DIM(out, 0) != n
            or cnp.PyArray_DIM(out, 1) != model.net.layers[model.net.n_layers].n_out):
        raise ValueError("out must have a row for each of X's and a column for each output")
    return numbers


cdef Py_ssize_t largest_piece(const Net* net) noexcept nogil:
    """How many parameters a piece may have."""
    cdef Py_ssize_t i, most = min(net.n_params, PARAMETERS_OF_PIECE)
    for i in range(net.n_blocks):
        most = max(most, size_of(net.blocks[i], net.layers))
    return most


def largest_of(numbers):
    """The largest absolute value in an array; infinity if a number is not finite, 0 if it is empty.

    NumPy needs several passes for that, of microseconds each (bench/figures.md: largest-of).
    """
    cdef double largest
    if not (cnp.PyArray_Check(numbers) and cnp.PyArray_ISCARRAY_RO(numbers)
            and cnp.PyArray_TYPE(numbers) in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE)):
        with np.errstate(over="ignore"):
            numbers = np.require(numbers, np.float64, ["C", "A"])
    cdef void* start = cnp.PyArray_DATA(numbers)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(numbers)
    cdef bint is_float = cnp.PyArray_TYPE(numbers) == cnp.NPY_FLOAT
    with nogil:
        if is_float:
            largest = largest_size(<const float*> start, n)
        else:
            largest = largest_size(<const double*> start, n)
    return largest


def interpolate(
    const double[:, :] X,               # IN (n, n_columns)
    const double[::1] knots,            # IN (n_knots,) of all columns, ascending for each
    const double[::1] heights,          # IN (n_knots,)
    const Py_ssize_t[::1] ends,         # IN (n_columns,) where the knots of each column end
    double[:, ::1] out,                 # OUT (n, n_columns)
):
    """Linear interpolation between the knots of each column, constant beyond them; NaN stays NaN.

    A search without branches takes a fifth of NumPy's time (bench/figures.md: interpolate).
    """
    cdef Py_ssize_t i, j, first = 0, left, n, half
    cdef double x, low, high
    if (X.shape[0] != out.shape[0] or X.shape[1] != out.shape[1] or X.shape[1] != ends.shape[0]
            or knots.shape[0] != heights.shape[0]):
        raise ValueError("the arrays do not fit one another")
    for j in range(ends.shape[0]):
        if not first + 2 <= ends[j] <= knots.shape[0]:
            raise ValueError("each column must have at least two knots")
        with nogil:
            for i in range(X.shape[0]):
                x, left, n = X[i, j], first, ends[j] - first - 1
                while n > 1:
                    half = n // 2
                    left += half * (knots[left + half] <= x)
                    n -= half
                low, high = knots[left], knots[left + 1]
                x = low if x < low else high if x > high else x
                x = (x - low) / (high - low)
                out[i, j] = heights[left] + x * (heights[left + 1] - heights[left])
        first = ends[j]


def shuffle(Py_ssize_t[::1] order, bit_generator):
    """Shuffle ``order`` as RandomState.shuffle does, with the same random numbers.

    NumPy's own function holds the GIL, which slows down several fits at a time in threads
    (bench/figures.md: shuffle).
    """
    cdef bitgen_t* source = <bitgen_t*> PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
    cdef Py_ssize_t i = order.shape[0] - 1, j, is_below
    cdef uint32_t mask = 0
    if order.shape[0] - 1 > <Py_ssize_t> 0xffffffff:
        raise ValueError("order must have at most 2^32 rows")
    with bit_generator.lock, nogil:
        while mask < i:
            mask = 2 * mask + 1
        while i > 0:
            # Random numbers above i are rejected without a branch, which would be hard to predict.
            while i > mask >> 1:
                j = source.next_uint32(source.state) & mask
                is_below = j <= i
                j = j if is_below else i
                order[i], order[j] = order[j], order[i]
                i -= is_below
            mask >>= 1


# The training that a team runs.
cdef struct Training:
    Net net
    Py_ssize_t n_rows
    Py_ssize_t batch_size
    Py_ssize_t capacity         # larger mini-batches are processed in parts of this size
    const Regularizer* rules
    Solver* solver
    Source source
    void* average               # (n_params,), or NULL without averaging
    void* gradient              # (n_members, gradient_stride), or (1, n_params) if `whole`
    Py_ssize_t gradient_stride
    bint whole
    void* state                 # (n_states, n_params)
    void* work
    const double* schedule      # (n_steps, 3): see `train`
    double* row_loss            # (>= capacity,)
    double* penalty             # (n_blocks,)
    double* squares             # (n_blocks,) sums of squares of the gradient, for clipping
    Py_ssize_t* places          # (n_members, capacity) if the rows are sparse; see `find_places`

# A member's share of the training, and the state of its current step. Its blocks of parameters are
# the same in every step, so that they stay in its caches.
cdef struct Share:
    Py_ssize_t first
    Py_ssize_t last
    int me
    int n_members
    Solver solver
    double decay                # learning rate times weight decay
    Rows rows                   # of the current part of the mini-batch
    Py_ssize_t n                # number of rows of the whole mini-batch
    bint is_last                # whether this is the last part


cdef Py_ssize_t first_block(int t, int n_members, const Net* net) noexcept nogil:
    """The first block of member t. Each member has the blocks in an equal share of all parameters.

    If the blocks were dealt out in turn, networks of few large and many small layers would give
    some members more work than others, and every member would read the results of all layers
    (bench/figures.md: block-shares).
    """
    cdef Py_ssize_t i = 0
    while i < net.n_blocks and (
        (2 * start_of(net.blocks[i], net.layers) + size_of(net.blocks[i], net.layers)) * n_members
        < 2 * t * net.n_params
    ):
        i += 1
    return i


cdef inline real* gradient_place(
    const Training* it, const Share* mine, const real* any, Py_ssize_t i,
) noexcept nogil:
    """Where the gradient of the i-th block is stored."""
    if it.whole:
        return <real*> it.gradient + start_of(it.net.blocks[i], it.net.layers)
    return <real*> it.gradient + mine.me * it.gradient_stride


cdef inline void clip_or_move(
    const Training* it, const Share* mine, real* dW, Py_ssize_t first, Py_ssize_t end,
) noexcept nogil:
    """(5) for some blocks, or only their sums of squares if the whole gradient is to be clipped."""
    cdef const Regularizer* rules = it.rules
    cdef Block block = joined(&it.net, first, end)
    cdef Py_ssize_t i
    if rules.clip_value > 0:
        clip(<real> rules.clip_value, dW, size_of(block, it.net.layers))
    if rules.clip_norm == 0:
        move_block(&mine.solver, rules, mine.decay, block, it.net.layers, <real*> it.net.params,
                   dW, <real*> it.state, it.net.n_params)
        return
    for i in range(first, end):
        it.squares[i] = sum_of_squares(dW, size_of(it.net.blocks[i], it.net.layers))
        dW += size_of(it.net.blocks[i], it.net.layers)


cdef void train_parameters(const Training* it, const Share* mine, const real* any) noexcept nogil:
    """Stage 2: (4) for the member's blocks of parameters, and (5) if nothing comes between."""
    cdef double scale = mine.rows.scale if mine.is_last else 0      # penalties count once
    cdef Penalty penalty
    cdef Py_ssize_t i = mine.first, end
    cdef real* dW
    penalty.l1, penalty.l2 = it.rules.l1 * scale, it.rules.l2 * scale
    penalty.sums, penalty.factor = it.penalty, mine.n
    find_places(&it.net, &mine.rows, i)
    while i < mine.last:
        end = end_of_piece(&it.net, i, mine.last)
        dW = gradient_place(it, mine, any, i)
        gradient_of_piece(i, end, &it.net, dW, <const real*> it.work, &mine.rows, &penalty)
        if mine.is_last:
            clip_or_move(it, mine, dW, i, end)
        i = end


cdef void move_clipped(const Training* it, const Share* mine, const real* any) noexcept nogil:
    """(5) for the member's blocks, after the norm of the whole gradient is known."""
    cdef double factor = factor_of_clipping(it.rules.clip_norm, it.squares, it.net.n_blocks)
    cdef Py_ssize_t i
    cdef real* dW
    for i in range(mine.first, mine.last):
        dW = gradient_place(it, mine, any, i)
        if factor != 1:
            scale_by(<real> factor, dW, size_of(it.net.blocks[i], it.net.layers))
        move_block(&mine.solver, it.rules, mine.decay, it.net.blocks[i], it.net.layers,
                   <real*> it.net.params, dW, <real*> it.state, it.net.n_params)


cdef void limit_norms(const Training* it, const Share* mine, const real* any) noexcept nogil:
    cdef Py_ssize_t l, i
    for l in range(1, it.net.n_layers + 1):
        i = mine.me
        while i < ceil_div(it.net.layers[l].n_out, COLUMNS_AT_ONCE):
            limit_columns(it.rules.max_norm, &it.net.layers[l], i * COLUMNS_AT_ONCE,
                          <real*> it.net.params)
            i += mine.n_members


cdef void average_blocks(const Training* it, const Share* mine, const real* any) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(mine.first, mine.last):
        average_block(it.rules.averaging, mine.solver.t, it.net.blocks[i], it.net.layers,
                      <const real*> it.net.params, <real*> it.average)


cdef void begin_batch(
    const Training* it, Share* mine, const real* any, Py_ssize_t step,
) noexcept nogil:
    """Start the mini-batch of a step, before its first part."""
    cdef Py_ssize_t start = step * it.batch_size
    mine.n = min(it.batch_size, it.n_rows - start)
    mine.rows = all_rows(0, it.capacity, it.source)
    mine.rows.source.order += start
    mine.rows.row_loss, mine.rows.loss_factor = it.row_loss, mine.n
    mine.rows.scale = scale_of_batch(&mine.rows.source, any, mine.n)
    mine.rows.are_shared = mine.n_members > 1
    if it.places != NULL:
        mine.rows.places = it.places + mine.me * it.capacity
    mine.rows.key = random_bits(it.rules.seed, mine.solver.t)
    mine.rows.dropout_factor = it.schedule[3 * step + 1]


cdef inline bint take_part(const Training* it, Share* mine) noexcept nogil:
    """Advance to the next part of the mini-batch. Returns whether there is one."""
    mine.rows.before += mine.rows.n
    mine.rows.source.order += mine.rows.n
    mine.rows.n = min(it.capacity, mine.n - mine.rows.before)
    mine.is_last = mine.rows.before + mine.rows.n == mine.n
    return mine.rows.n > 0


cdef Share share_of(const Training* it, Team* team, int me) noexcept nogil:
    cdef Share mine
    memset(&mine, 0, sizeof(Share))
    mine.me, mine.n_members, mine.solver = me, team.n, it.solver[0]
    mine.first = first_block(me, team.n, &it.net)
    mine.last = first_block(me + 1, team.n, &it.net)
    return mine


cdef void end_step(
    const Training* it, const Share* mine, const real* any, Team* team, int me,
) noexcept nogil:
    """The remainder of (5) after every block has its gradient, and what follows (5)."""
    if it.rules.clip_norm > 0:
        move_clipped(it, mine, any)
        wait_for_all(team, me)
    if it.rules.max_norm > 0:
        limit_norms(it, mine, any)
        wait_for_all(team, me)
    if it.average != NULL:      # no other member uses these places before the next barrier
        average_blocks(it, mine, any)


cdef void train_as_member(
    const Training* it, const real* any, Team* team, int me,
) noexcept nogil:
    """A member's part of all steps.

    After each barrier, members use what all others have written before it.
    """
    cdef unsigned long long denormals = flush_denormals()
    cdef Py_ssize_t step
    cdef Share mine = share_of(it, team, me)
    for step in range(ceil_div(it.n_rows, it.batch_size)):
        begin_step(&mine.solver, it.schedule[3 * step])
        mine.decay = mine.solver.learning_rate * it.rules.weight_decay * it.schedule[3 * step + 2]
        begin_batch(it, &mine, any, step)
        while take_part(it, &mine):
            stage_of_rows(&it.net, <real*> it.work, &mine.rows, team, me)
            wait_for_all(team, me)
            train_parameters(it, &mine, any)
            wait_for_all(team, me)
        end_step(it, &mine, any, team, me)
    if me == 0:     # all members have the same solver state
        it.solver[0] = mine.solver
    restore_denormals(denormals)


cdef void apply_as_member(
    const Training* it, const real* any, Team* team, int me,
) noexcept nogil:
    """A member's part of (5), with a gradient that is already complete."""
    cdef unsigned long long denormals = flush_denormals()
    cdef Share mine = share_of(it, team, me)
    cdef Py_ssize_t i
    begin_step(&mine.solver, it.schedule[0])
    mine.decay = mine.solver.learning_rate * it.rules.weight_decay * it.schedule[2]
    for i in range(mine.first, mine.last):
        clip_or_move(it, &mine, gradient_place(it, &mine, any, i), i, i + 1)
    wait_for_all(team, me)
    end_step(it, &mine, any, team, me)
    if me == 0:
        it.solver[0] = mine.solver
    restore_denormals(denormals)


cdef void train_as_member_f32(void* it, Team* team, int me) noexcept nogil:
    train_as_member(<const Training*> it, <float*> NULL, team, me)


cdef void train_as_member_f64(void* it, Team* team, int me) noexcept nogil:
    train_as_member(<const Training*> it, <double*> NULL, team, me)


cdef void apply_as_member_f32(void* it, Team* team, int me) noexcept nogil:
    apply_as_member(<const Training*> it, <float*> NULL, team, me)


cdef void apply_as_member_f64(void* it, Team* team, int me) noexcept nogil:
    apply_as_member(<const Training*> it, <double*> NULL, team, me)


cdef double total_of(const double[::1] row_loss, const double[::1] penalty) noexcept:
    """The sum of all losses and penalties, in an order that does not depend on the threads."""
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(row_loss.shape[0]):
        total += row_loss[i]
    for i in range(penalty.shape[0]):
        total += penalty[i]
    return total


cdef class Step:
    """What `train` needs for steps: the solver, its state, the regularizer, places for gradients.

    It adds up (loss of a mini-batch before its step) * (number of its rows).
    """
    cdef Solver[::1] solver                     # (1,) its t counts the steps
    cdef const Regularizer[::1] regularizer     # (1,) l1 and l2 are not yet divided
    cdef object state                           # (n_states, n_params)
    cdef object average                         # (n_params,), or empty without averaging
    # (n_threads, size of the largest piece), or (1, n_params) for clipping by norm and for
    # mini-batches in parts
    cdef object gradient
    cdef readonly object row_loss               # (capacity,) and
    cdef readonly object penalty                # (n_blocks,): each row's and block's share
    cdef object squares                         # (n_blocks,)

    def __init__(self, Model model, Workspace work, solver, regularizer, state, average, gradient):
        self.solver, self.regularizer = solver, regularizer
        self.state, self.average, self.gradient = state, average, gradient
        self.row_loss = np.zeros(work.capacity)
        self.penalty, self.squares = np.zeros(model.net.n_blocks), np.zeros(model.net.n_blocks)

    @property
    def loss(self):
        """The sum of the added losses."""
        return total_of(self.row_loss, self.penalty)

    @property
    def key(self):
        """The key of the random numbers for the next step."""
        return random_bits(self.regularizer[0].seed, self.solver[0].t + 1)

    cdef Training training_of(self, Net net, int type_number) except *:
        """The training of a network without its rows, after checking all arrays."""
        cdef Training it
        cdef double[::1] row_loss = self.row_loss, penalty = self.penalty, squares = self.squares
        memset(&it, 0, sizeof(Training))
        it.net = net
        it.rules, it.solver = &self.regularizer[0], &self.solver[0]
        it.state = numbers_of("state", self.state, type_number, 2, True)
        it.average = numbers_of("average", self.average, type_number, 1, True)
        it.gradient = numbers_of("gradient", self.gradient, type_number, 2, True)
        it.gradient_stride = cnp.PyArray_DIM(self.gradient, 1)
        check_state(it.solver, cnp.PyArray_DIM(self.state, 0))
        if cnp.PyArray_DIM(self.state, 1) != net.n_params:
            raise ValueError("state must have the layout of params")
        if cnp.PyArray_DIM(self.average, 0) not in (0, net.n_params):
            raise ValueError("average must have the layout of params, or be empty")
        if cnp.PyArray_DIM(self.average, 0) == 0:
            it.average = NULL
        if penalty.shape[0] != net.n_blocks:
            raise ValueError("the step is not one of this model")
        it.row_loss, it.penalty, it.squares = &row_loss[0], &penalty[0], &squares[0]
        return it


def train(
    Model model,                        # its parameters INOUT
    Workspace work,                     # OUT
    Samples samples,                    # IN
    const Py_ssize_t[::1] order,        # IN (n_rows,) rows of the samples, in the order of training
    Py_ssize_t batch_size,
    const double[:, ::1] schedule,      # IN (n_steps, 3)
    Step step,                          # INOUT
    int n_threads,
):
    """Make one step for each mini-batch of ``order``.

    The schedule holds the learning rate of each step, and the factors by which its dropout rates
    and its weight decay are multiplied.
    """
    cdef Training it = training_of_rows(
        model, work, samples, order, batch_size, schedule, step, n_threads)
    if it.n_rows == 0:
        return
    with nogil:
        if model.type_number == cnp.NPY_FLOAT:
            run_team(train_as_member_f32, &it, n_threads)
        else:
            run_team(train_as_member_f64, &it, n_threads)
    model.raise_error()


cdef Training training_of_rows(
    Model model,
    Workspace work,
    Samples samples,
    const Py_ssize_t[::1] order,
    Py_ssize_t batch_size,
    const double[:, ::1] schedule,
    Step step,
    int n_threads,
) except *:
    """The training of `train`, after checking its arguments."""
    cdef Py_ssize_t n_rows = min(batch_size, work.capacity)     # at a time
    cdef Training it
    if batch_size < 1:
        raise ValueError("batch_size must be at least 1")
    it = step.training_of(work.plan(model, n_rows, n_threads), model.type_number)
    it.n_rows, it.batch_size, it.capacity = order.shape[0], batch_size, work.capacity
    it.work = work.numbers
    it.whole = it.rules.clip_norm > 0 or batch_size > it.capacity
    it.source = samples.in_order(model, work, order)
    it.places = work.places_for(&it.source, n_threads)
    check_room(n_rows, work, len(step.row_loss))
    if it.whole and it.gradient_stride != it.net.n_params:
        raise ValueError("gradient must have the layout of params")
    if not it.whole and (cnp.PyArray_DIM(step.gradient, 0) < n_threads
                         or it.gradient_stride < largest_piece(&it.net)):
        raise ValueError("gradient must have room for a piece for each thread")
    if schedule.shape[0] != ceil_div(it.n_rows, batch_size) or schedule.shape[1] != 3:
        raise ValueError("schedule must have three numbers for each step")
    it.schedule = &schedule[0, 0] if it.n_rows > 0 else NULL
    return it


def rehearse(
    Model model,
    Workspace work,
    Samples samples,
    const Py_ssize_t[::1] order,
    Py_ssize_t batch_size,
    const double[:, ::1] schedule,
    Step step,
    double[:, ::1] times,               # OUT (n_members, n_times) in seconds
):
    """Run the members of `train` one after the other on this CPU, for bench/cores.py.

    Records when each began and when it reached each barrier. The parameters are of no use
    afterwards.
    """
    cdef int n_members = times.shape[0]
    cdef Training it = training_of_rows(
        model, work, samples, order, batch_size, schedule, step, n_members)
    if it.n_rows == 0 or n_members == 0:
        return
    with nogil:
        if model.type_number == cnp.NPY_FLOAT:
            rehearse_team(train_as_member_f32, &it, n_members, &times[0, 0], times.shape[1])
        else:
            rehearse_team(train_as_member_f64, &it, n_members, &times[0, 0], times.shape[1])


def apply_gradient(Model model, Step step, const double[::1] schedule, int n_threads):
    """Make one step with the whole gradient that is stored in the step.

    If `add_gradient` has computed it for a mini-batch, this is the step of `train`, bit for bit.
    The schedule holds the three numbers of `train` for this step.
    """
    cdef Training it = step.training_of(model.net, model.type_number)
    if schedule.shape[0] != 3:
        raise ValueError("schedule must have three numbers")
    it.whole, it.schedule = True, &schedule[0]
    if it.gradient_stride != it.net.n_params:
        raise ValueError("gradient must have the layout of params")
    with nogil:
        if model.type_number == cnp.NPY_FLOAT:
            run_team(apply_as_member_f32, &it, n_threads)
        else:
            run_team(apply_as_member_f64, &it, n_threads)


# A pass over some rows, with or without a gradient.
cdef struct Pass:
    Net net
    Rows rows
    void* gradient              # (n_params,)
    void* work
    void* out                   # (rows, m_L)
    Penalty penalty
    Py_ssize_t* places          # (n_members, capacity) if the rows are sparse; see `find_places`
    Py_ssize_t n_taken          # pieces of rows taken so far


cdef Pass pass_of(Net net, Workspace work, Py_ssize_t n_rows, Source source) except *:
    cdef Pass it
    memset(&it, 0, sizeof(Pass))
    it.net, it.work = net, work.numbers
    it.rows = all_rows(n_rows, work.capacity, source)
    return it


cdef void gradient_as_member(Pass* it, const real* any, Team* team, int me) noexcept nogil:
    """(1) to (3) for the member's share of the rows, then (4) for that of the parameters."""
    cdef unsigned long long denormals = flush_denormals()
    cdef const Net* net = &it.net
    cdef real* work = <real*> it.work
    cdef Py_ssize_t i = first_block(me, team.n, net), last = first_block(me + 1, team.n, net), end
    cdef Rows rows = it.rows
    if it.places != NULL:
        rows.places = it.places + me * rows.capacity
    stage_of_rows(net, work, &rows, team, me)
    wait_for_all(team, me)
    find_places(net, &rows, i)
    while i < last:
        end = end_of_piece(net, i, last)
        gradient_of_piece(i, end, net, <real*> it.gradient + start_of(net.blocks[i], net.layers),
                          work, &rows, &it.penalty)
        i = end
    restore_denormals(denormals)


cdef void outputs_as_member(Pass* it, const real* any, Team* team, int me) noexcept nogil:
    """a^L of some pieces of the rows, and their loss if there are targets."""
    cdef unsigned long long denormals = flush_denormals()
    cdef real* work = <real*> it.work
    cdef Py_ssize_t n_pieces = n_row_pieces(&it.net, it.rows.n, team.n)
    cdef Py_ssize_t i = next_piece(&it.n_taken)
    cdef Rows piece
    while i < n_pieces:
        piece = piece_of_rows(i, n_pieces, it.rows)
        if it.rows.row_loss != NULL:
            loss_of_rows(&it.net, work, &piece)
        else:
            forward_rows(&it.net, work, &piece)
        output_of_rows(&it.net.loss, &it.net.layers[it.net.n_layers], work, <real*> it.out, piece)
        i = next_piece(&it.n_taken)
    restore_denormals(denormals)


cdef void gradient_as_member_f32(void* it, Team* team, int me) noexcept nogil:
    gradient_as_member(<Pass*> it, <float*> NULL, team, me)


cdef void gradient_as_member_f64(void* it, Team* team, int me) noexcept nogil:
    gradient_as_member(<Pass*> it, <double*> NULL, team, me)


cdef void outputs_as_member_f32(void* it, Team* team, int me) noexcept nogil:
    outputs_as_member(<Pass*> it, <float*> NULL, team, me)


cdef void outputs_as_member_f64(void* it, Team* team, int me) noexcept nogil:
    outputs_as_member(<Pass*> it, <double*> NULL, team, me)


cdef class Gradient:
    """The gradient of all parameters over some rows, and their loss. Both are added up in parts."""
    cdef readonly object numbers        # (n_params,)
    cdef readonly object row_loss       # (capacity,) and
    cdef readonly object penalty        # (n_blocks,): each row's and block's share of the loss
    cdef Py_ssize_t n_rows              # rows added so far
    cdef double scale                   # 1 / sum of the sample weights of all rows
    cdef Penalty penalties              # divided by that sum
    cdef uint64_t key                   # for the random numbers of dropout and noise
    cdef double dropout_factor
    cdef Py_ssize_t place               # of the first row in the mini-batch, for these numbers

    def __init__(self, Model model, Workspace work, numbers, double scale, penalties=(0, 0),
                 key=0, double dropout_factor=1, Py_ssize_t place=0):
        self.dropout_factor, self.place = dropout_factor, place
        self.numbers, self.scale, self.key, self.n_rows = numbers, scale, key, 0
        self.penalties.l1, self.penalties.l2 = penalties
        self.row_loss, self.penalty = np.zeros(work.capacity), np.zeros(model.net.n_blocks)

    @property
    def loss(self):
        """The sum of the added losses."""
        return total_of(self.row_loss, self.penalty)


def add_gradient(
    Model model,                        # IN
    Workspace work,                     # OUT z, a and delta of these rows
    Samples samples,                    # IN
    const Py_ssize_t[::1] order,        # IN (n_rows,) rows of the samples, at most work.capacity
    Gradient gradient,                  # INOUT
    bint with_penalties,                # True for exactly one of the parts
    int n_threads,
):
    """Add the gradient and the loss of some rows. The parameters do not change."""
    cdef double[::1] row_loss = gradient.row_loss, penalty = gradient.penalty
    cdef Pass it = pass_of(work.plan(model, order.shape[0], n_threads), work, order.shape[0],
                           samples.in_order(model, work, order))
    check_room(it.rows.n, work, row_loss.shape[0])
    it.gradient = numbers_of("gradient", gradient.numbers, model.type_number, 1, True)
    it.places = work.places_for(&it.rows.source, n_threads)
    if cnp.PyArray_DIM(gradient.numbers, 0) != it.net.n_params:
        raise ValueError("gradient must have the layout of params")
    if penalty.shape[0] != it.net.n_blocks:
        raise ValueError("the gradient is not one of this model")
    it.rows.scale, it.rows.key, it.rows.before = gradient.scale, gradient.key, gradient.n_rows
    it.rows.dropout_factor, it.rows.place = gradient.dropout_factor, gradient.place
    if with_penalties:
        it.penalty = gradient.penalties
    it.rows.row_loss, it.penalty.sums, it.penalty.factor = &row_loss[0], &penalty[0], 1
    with nogil:
        if model.type_number == cnp.NPY_FLOAT:
            run_team(gradient_as_member_f32, &it, n_threads)
        else:
            run_team(gradient_as_member_f64, &it, n_threads)
    model.raise_error()
    gradient.n_rows += it.rows.n


cdef void run_outputs(Pass* it, int type_number, int n_threads) noexcept nogil:
    if type_number == cnp.NPY_FLOAT:
        run_team(outputs_as_member_f32, it, n_threads)
    else:
        run_team(outputs_as_member_f64, it, n_threads)


def evaluate(
    Model model,                        # IN
    Workspace work,                     # OUT
    Samples samples,                    # IN
    const Py_ssize_t[::1] order,        # IN (n_rows,) rows of the samples, at most work.capacity
    double scale,                       # 1 / sum of the sample weights of all rows
    out,                                # OUT (n_rows, m_L) a^L
    double[::1] row_loss,               # INOUT (>= n_rows,) the losses are added
    int n_threads,
):
    """a^L and the loss (without penalty) of some rows."""
    cdef Pass it = pass_of(work.net_of(model), work, order.shape[0],
                           samples.in_order(model, work, order))
    check_room(it.rows.n, work, row_loss.shape[0])
    it.rows.scale, it.rows.row_loss = scale, &row_loss[0]
    it.out = check_out(model, out, it.rows.n)
    with nogil:
        run_outputs(&it, model.type_number, n_threads)
    model.raise_error()


def forward(
    Model model,                        # IN
    Workspace work,                     # OUT z^l of the rows, and a^l except for the last layer
    Samples samples,                    # IN at most work.capacity rows
    out,                                # OUT (n, m_L) a^L
    int n_threads,
):
    """a^L of all rows of the samples."""
    cdef Pass it = pass_of(work.net_of(model), work, samples.n_rows, samples.source)
    samples.check_inputs(model)
    if model.net.n_columns > 0 and not work.takes_dense:
        raise ValueError("work has no room for dense rows")
    check_room(it.rows.n, work, work.capacity)
    it.out = check_out(model, out, it.rows.n)
    with nogil:
        run_outputs(&it, model.type_number, n_threads)


# The types that X may have if it is not of the network's type. Rows are converted as they are read.
ctypedef fused number:
    signed char
    unsigned char
    short
    unsigned short
    int
    unsigned int
    long
    unsigned long
    long long
    unsigned long long
    float
    double


# The rows of a NumPy array of any order and any type of numbers.
cdef struct Strided:
    const char* data
    Py_ssize_t row_bytes
    Py_ssize_t column_bytes
    int type_number


cdef inline void convert(
    const number* row, Py_ssize_t column_bytes, real* x, Py_ssize_t n,
) noexcept nogil:
    cdef Py_ssize_t j
    if column_bytes == sizeof(number):      # a separate loop that compilers can vectorize
        for j in range(n):
            x[j] = <real> row[j]
        return
    for j in range(n):
        x[j] = <real> (<const number*> (<const char*> row + j * column_bytes))[0]


cdef void read_row(const Strided* X, Py_ssize_t i, real* x, Py_ssize_t n) noexcept nogil:
    """x (n,) = row i of X."""
    cdef const char* row = X.data + i * X.row_bytes
    if X.type_number == cnp.NPY_DOUBLE:
        convert(<const double*> row, X.column_bytes, x, n)
    elif X.type_number == cnp.NPY_FLOAT:
        convert(<const float*> row, X.column_bytes, x, n)
    elif X.type_number == cnp.NPY_LONG:
        convert(<const long*> row, X.column_bytes, x, n)
    elif X.type_number == cnp.NPY_ULONG:
        convert(<const unsigned long*> row, X.column_bytes, x, n)
    elif X.type_number == cnp.NPY_LONGLONG:
        convert(<const long long*> row, X.column_bytes, x, n)
    elif X.type_number == cnp.NPY_ULONGLONG:
        convert(<const unsigned long long*> row, X.column_bytes, x, n)
    elif X.type_number == cnp.NPY_INT:
        convert(<const int*> row, X.column_bytes, x, n)
    elif X.type_number == cnp.NPY_UINT:
        convert(<const unsigned int*> row, X.column_bytes, x, n)
    elif X.type_number == cnp.NPY_SHORT:
        convert(<const short*> row, X.column_bytes, x, n)
    elif X.type_number == cnp.NPY_USHORT:
        convert(<const unsigned short*> row, X.column_bytes, x, n)
    elif X.type_number == cnp.NPY_BYTE:
        convert(<const signed char*> row, X.column_bytes, x, n)
    elif X.type_number == cnp.NPY_UBYTE:
        convert(<const unsigned char*> row, X.column_bytes, x, n)
    else:
        convert(<const unsigned char*> row, X.column_bytes, x, n)


cdef inline bint is_readable(int type_number) noexcept nogil:
    """Whether `read_row` supports this type: all types from bool to float64."""
    return type_number <= cnp.NPY_DOUBLE


# The prediction that a team runs. Each member takes a piece of the rows at a time through all
# layers, in its own workspace. That holds the places of the table for ROWS_OF_BLOCK rows, with a^0
# only if there is an input layer, then the inputs of these rows, and then room for ROWS_AT_ONCE
# rows of outputs in float64.
cdef struct Prediction:
    Net net
    Py_ssize_t n_rows
    Strided X
    void* out                   # (n_rows, m_L)
    bint is_wide                # whether out is float64 but the network is float32
    void** works
    Py_ssize_t before_inputs    # numbers of a workspace's row before the inputs, ...
    Py_ssize_t in_inputs        # ... and of the inputs
    Py_ssize_t* counters        # for a pass by columns; otherwise NULL
    Py_ssize_t n_taken          # pieces of the rows taken so far
    Py_ssize_t n_infinite       # pieces without outputs, because of infinities or NaN


cdef Source read_block(
    const Prediction* it, real* inputs, Py_ssize_t first, Py_ssize_t n,
) noexcept nogil:
    """Some rows for the core: in place, or converted in the workspace."""
    cdef int our_type = cnp.NPY_FLOAT if real is float else cnp.NPY_DOUBLE
    cdef Py_ssize_t n_in = it.net.layers[0].n_in, i
    if (it.X.type_number == our_type and it.X.column_bytes == sizeof(real)
            and it.X.row_bytes == n_in * sizeof(real)):
        return dense_rows(it.X.data + first * it.X.row_bytes, n_in)
    for i in range(n):
        read_row(&it.X, first + i, inputs + i * n_in, n_in)
    return dense_rows(inputs, n_in)


cdef void predict_block(
    Prediction* it, int n_threads, Py_ssize_t first, Py_ssize_t n, real* work,
) noexcept nogil:
    """a^L of n <= ROWS_OF_BLOCK rows, from row `first`."""
    cdef ByColumns columns
    cdef const Layer* last = &it.net.layers[it.net.n_layers]
    cdef real* inputs = work + ROWS_OF_BLOCK * it.before_inputs     # (n, n_in)
    cdef Source source = read_block(it, inputs, first, n)
    cdef Rows rows = all_rows(n, ROWS_OF_BLOCK, source)
    cdef unsigned long long denormals
    if not all_finite(<const real*> source.values, n * source.stride):
        next_piece(&it.n_infinite)
        return
    denormals = flush_denormals()
    if it.counters != NULL:
        columns.net = &it.net
        columns.work, columns.rows, columns.counters = work, &rows, it.counters
        copy_inputs(&it.net, work, &rows)
        if real is float:
            run_team(forward_by_columns_f32, &columns, n_threads)
        else:
            run_team(forward_by_columns_f64, &columns, n_threads)
    else:
        forward_rows(&it.net, work, &rows)
    if it.is_wide:
        wide_output(&it.net.loss, last, at(work, last.z, last.stride, &rows),
                    <double*> (inputs + ROWS_OF_BLOCK * it.in_inputs),
                    <double*> it.out + first * last.n_out, n)
    else:
        output_of_rows(&it.net.loss, last, work, <real*> it.out + first * last.n_out, rows)
    restore_denormals(denormals)


cdef void wide_output(
    const Loss* loss,
    const Layer* last,
    const real* z,              # (n, stride)
    double* a,                  # (ROWS_AT_ONCE, stride) scratch
    double* out,                # (n, m_L)
    Py_ssize_t n,
) noexcept nogil:
    """a^L in float64, so that less of it rounds to 0 or 1 than in float32."""
    cdef double[ROWS_AT_ONCE] largest, logs
    cdef Py_ssize_t i, j, k, stride = last.stride
    for i in range(n):
        k = i % ROWS_AT_ONCE * stride
        for j in range(stride):
            a[k + j] = z[i * stride + j]
        if not is_softmax(loss):
            output_activation(loss, a + k, out + i * last.n_out, last.n_out)
        elif i % ROWS_AT_ONCE == ROWS_AT_ONCE - 1 or i == n - 1:
            k = i - i % ROWS_AT_ONCE
            softmax(i - k + 1, last.n_out, a, a, stride, largest, logs)
            for j in range(k, i + 1):
                memcpy(out + j * last.n_out, a + (j - k) * stride, last.n_out * sizeof(double))


cdef void predict_as_member(
    Prediction* it, const real* any, Team* team, int me,
) noexcept nogil:
    cdef Py_ssize_t n_pieces = n_row_pieces(&it.net, it.n_rows, team.n)
    cdef Py_ssize_t i = next_piece(&it.n_taken), first
    while i < n_pieces:
        first = i * it.n_rows // n_pieces
        predict_block(it, 1, first, (i + 1) * it.n_rows // n_pieces - first, <real*> it.works[me])
        i = next_piece(&it.n_taken)


cdef void predict_as_member_f32(void* it, Team* team, int me) noexcept nogil:
    predict_as_member(<Prediction*> it, <float*> NULL, team, me)


cdef void predict_as_member_f64(void* it, Team* team, int me) noexcept nogil:
    predict_as_member(<Prediction*> it, <double*> NULL, team, me)


cdef list take_workspaces(list kept, new_workspace, Py_ssize_t n_numbers, int n):
    """n workspaces, kept or new, or as many as there is memory for, but at least one."""
    cdef list taken = []
    while len(taken) < n:
        try:
            try:
                taken.append(kept.pop())
            except IndexError:      # without a GIL, another thread may have taken the last one
                taken.append(new_workspace(n_numbers))
        except MemoryError:
            if not taken:
                raise
            break
    return taken


cdef keep_workspaces(list kept, list taken):
    """Keep what `take_workspaces` has given, one by one: Python's `+=` leaks if memory is short."""
    for one in taken:
        kept.append(one)


cdef class Predictor:
    """a^L of dense rows, with as little overhead as possible even for a single row.

    Workspaces are kept for the next call. A concurrent call in another thread uses others.
    """
    cdef Model model
    cdef const Layer[::1] layers            # (n_layers + 1,) with places for one block of rows
    cdef Net net
    cdef object new_workspace               # (n) -> cache-aligned memory for n numbers
    cdef Py_ssize_t n_in_workspace
    cdef Py_ssize_t before_inputs, in_inputs    # see Prediction
    cdef list workspaces
    cdef int type_number

    def __init__(self, Model model, layers, new_workspace):
        cdef Workspace one
        cdef Py_ssize_t n_outputs = ROWS_AT_ONCE * model.net.layers[model.net.n_layers].stride
        self.model, self.layers, self.new_workspace = model, np.array(layers), new_workspace
        self.workspaces = []
        self.type_number = model.type_number
        if self.type_number == cnp.NPY_FLOAT:
            n_outputs *= 2      # outputs are float64
        self.before_inputs = self.layers[0].a
        if self.layers[0].is_embedded:
            self.before_inputs += self.layers[0].stride
        self.in_inputs = ceil_div(self.layers[0].n_in, CACHE_LINE) * CACHE_LINE
        self.n_in_workspace = ROWS_OF_BLOCK * (self.before_inputs + self.in_inputs) + n_outputs
        one = Workspace(layers, new_workspace(self.n_in_workspace), ROWS_OF_BLOCK)
        self.net = one.net_of(model)
        self.net.layers = &self.layers[0]

    cdef bint takes(self, X):
        """Whether X is an array that the core can read."""
        return (
            cnp.PyArray_CheckExact(X)
            and is_readable(cnp.PyArray_TYPE(X))
            and cnp.PyArray_ISBEHAVED_RO(X)
            and cnp.PyArray_NDIM(X) == 2
            and cnp.PyArray_DIM(X, 0) > 0
            and cnp.PyArray_DIM(X, 1) == self.layers[0].n_in
        )

    cdef Py_ssize_t n_columns(self):
        return self.net.layers[0].n_in

    cdef Py_ssize_t n_outputs(self):
        return self.net.layers[self.net.n_layers].n_out

    cdef void begin(self, Prediction* it, X):
        """Prepare a prediction for rows that `takes` has accepted."""
        memset(it, 0, sizeof(Prediction))
        it.n_rows, it.net = cnp.PyArray_DIM(X, 0), self.net
        it.before_inputs, it.in_inputs = self.before_inputs, self.in_inputs
        it.net.is_cut_fixed = not has_kernels_throughout(self.model)
        it.X.data, it.X.type_number = <const char*> cnp.PyArray_DATA(X), cnp.PyArray_TYPE(X)
        it.X.row_bytes = cnp.PyArray_STRIDE(X, 0)
        it.X.column_bytes = cnp.PyArray_STRIDE(X, 1)

    def __call__(self, X, out=None, int n_threads=1):
        """The output for X; None if X is not a suitable array of numbers, or is not finite.

        The output goes to ``out`` or to a new array. A new array is float32 if the network and X
        both are, and float64 otherwise. Threads share out blocks of rows, or the columns of a
        single block.
        """
        cdef cnp.npy_intp shape[2]
        cdef Prediction it
        cdef void* works[MOST_MEMBERS]
        cdef list workspaces
        cdef Py_ssize_t[::1] counters
        cdef Py_ssize_t i
        cdef bint by_columns
        if not self.takes(X):
            return None
        self.begin(&it, X)
        if out is None:
            shape[0], shape[1] = it.n_rows, it.net.layers[it.net.n_layers].n_out
            out = cnp.PyArray_SimpleNew(2, shape, self.type_of_output(it.X.type_number))
        elif not self.takes_out(out, it.n_rows):
            raise ValueError(
                "out must be a C-ordered array of float64, or of the network's dtype, and of shape "
                f"({it.n_rows}, {it.net.layers[it.net.n_layers].n_out})"
            )
        it.out = cnp.PyArray_DATA(out)
        it.is_wide = cnp.PyArray_TYPE(out) != self.type_number
        by_columns = (n_threads > 1 and it.n_rows <= ROWS_OF_BLOCK and not it.net.is_cut_fixed
                      and not has_codes(&it.net.layers[1]))
        if by_columns:
            counters = np.zeros(4 * it.net.n_layers, dtype=np.intp)
            it.counters = &counters[0]
        n_threads = max(1, min(n_threads, MOST_MEMBERS))
        workspaces = take_workspaces(
            self.workspaces, self.new_workspace, self.n_in_workspace,
            1 if by_columns else n_threads)
        for i in range(len(workspaces)):
            works[i] = cnp.PyArray_DATA(workspaces[i])
        if not by_columns:
            n_threads = len(workspaces)
        it.works = works
        self.run(&it, n_threads)
        keep_workspaces(self.workspaces, workspaces)
        return out if it.n_infinite == 0 else None

    cdef void run(self, Prediction* it, int n_threads):
        with nogil:
            if it.n_rows <= ROWS_OF_BLOCK and self.type_number == cnp.NPY_FLOAT:
                predict_block(it, n_threads, 0, it.n_rows, <float*> it.works[0])
            elif it.n_rows <= ROWS_OF_BLOCK:
                predict_block(it, n_threads, 0, it.n_rows, <double*> it.works[0])
            elif self.type_number == cnp.NPY_FLOAT:
                run_team(predict_as_member_f32, it, n_threads)
            else:
                run_team(predict_as_member_f64, it, n_threads)

    cdef int type_of_output(self, int type_of_X):
        return self.type_number if type_of_X == cnp.NPY_FLOAT else cnp.NPY_DOUBLE

    cdef bint takes_out(self, out, Py_ssize_t n_rows):
        return (
            cnp.PyArray_Check(out)
            and cnp.PyArray_TYPE(out) in (self.type_number, cnp.NPY_DOUBLE)
            and cnp.PyArray_ISCARRAY(out)
            and cnp.PyArray_NDIM(out) == 2
            and cnp.PyArray_DIM(out, 0) == n_rows
            and cnp.PyArray_DIM(out, 1) == self.net.layers[self.net.n_layers].n_out
        )


# The weighted mean of the outputs of several networks that read the same rows. Each member of a
# team takes a piece of the rows through all networks.
cdef struct Mixed:
    Prediction* networks        # (n_networks,)
    const double* weights       # (n_networks,)
    Py_ssize_t n_networks
    double* out                 # (n_rows, m_L)
    void** works                # (n_members,) each with room for the outputs of a block behind it
    Py_ssize_t n_in_workspace   # numbers before these outputs
    Py_ssize_t n_taken          # pieces of the rows taken so far
    Py_ssize_t n_infinite       # pieces without outputs, because of infinities or NaN


cdef void mixed_block(
    Mixed* it, Py_ssize_t first, Py_ssize_t n, real* work,
) noexcept nogil:
    """The mean of n <= ROWS_OF_BLOCK rows, from row `first`."""
    cdef Prediction one
    cdef Py_ssize_t n_outputs = it.networks[0].net.layers[it.networks[0].net.n_layers].n_out, k, m
    cdef double* out = it.out + first * n_outputs               # (n, m_L)
    cdef real* a = work + it.n_in_workspace                     # (n, m_L)
    memset(out, 0, n * n_outputs * sizeof(double))
    for m in range(it.n_networks):
        one = it.networks[m]
        one.X.data += first * one.X.row_bytes
        one.out = a
        predict_block(&one, 1, 0, n, work)
        if one.n_infinite > 0:
            next_piece(&it.n_infinite)
            return
        for k in range(n * n_outputs):
            out[k] += it.weights[m] * a[k]


cdef void mixed_as_member(Mixed* it, const real* any, Team* team, int me) noexcept nogil:
    cdef Py_ssize_t n_rows = it.networks[0].n_rows, first
    cdef Py_ssize_t n_pieces = n_row_pieces(&it.networks[0].net, n_rows, team.n)
    cdef Py_ssize_t i = next_piece(&it.n_taken)
    while i < n_pieces:
        first = i * n_rows // n_pieces
        mixed_block(it, first, (i + 1) * n_rows // n_pieces - first, <real*> it.works[me])
        i = next_piece(&it.n_taken)


cdef void mixed_as_member_f32(void* it, Team* team, int me) noexcept nogil:
    mixed_as_member(<Mixed*> it, <float*> NULL, team, me)


cdef void mixed_as_member_f64(void* it, Team* team, int me) noexcept nogil:
    mixed_as_member(<Mixed*> it, <double*> NULL, team, me)


cdef class Mixture:
    """The weighted mean of a^L of several networks of one type, for the same columns of X."""
    cdef tuple predictors                   # of class Predictor
    cdef const double[::1] weights          # (n_networks,)
    cdef object new_workspace               # (n) -> cache-aligned memory for n numbers
    cdef Py_ssize_t n_in_workspace
    cdef list workspaces

    def __init__(self, predictors, weights, new_workspace):
        cdef Predictor first, one
        self.predictors, self.weights = tuple(predictors), np.array(weights, np.float64)
        self.new_workspace, self.workspaces, self.n_in_workspace = new_workspace, [], 0
        if not self.predictors or len(self.predictors) != self.weights.shape[0]:
            raise ValueError("there must be a weight for each network, at least one")
        first = self.predictors[0]
        for one in self.predictors:
            if (one.type_number != first.type_number or one.n_columns() != first.n_columns()
                    or one.n_outputs() != first.n_outputs()):
                raise ValueError("the networks must have the same type, columns and outputs")
            self.n_in_workspace = max(self.n_in_workspace, one.n_in_workspace)

    def __call__(self, X, int n_threads=1):
        """The mean output, float64 of shape (n, m_L); None if X is not what a Predictor takes."""
        cdef Predictor first = self.predictors[0], one
        cdef Mixed it
        cdef void* works[MOST_MEMBERS]
        cdef double[:, ::1] out
        cdef unsigned char[::1] networks        # (n_networks,) of Prediction
        cdef list workspaces
        cdef Py_ssize_t i, n = len(self.predictors)
        cdef Py_ssize_t n_numbers = self.n_in_workspace + ROWS_OF_BLOCK * first.n_outputs()
        if not first.takes(X):
            return None
        memset(&it, 0, sizeof(Mixed))
        out = np.empty((cnp.PyArray_DIM(X, 0), first.n_outputs()))
        networks = np.empty(n * sizeof(Prediction), np.uint8)
        it.networks, it.weights, it.n_networks = <Prediction*> &networks[0], &self.weights[0], n
        for i in range(n):
            one = self.predictors[i]
            one.begin(&it.networks[i], X)
        it.out, it.n_in_workspace = &out[0, 0], self.n_in_workspace
        n_threads = max(1, min(n_threads, MOST_MEMBERS))
        workspaces = take_workspaces(self.workspaces, self.new_workspace, n_numbers, n_threads)
        for i in range(len(workspaces)):
            works[i] = cnp.PyArray_DATA(workspaces[i])
        it.works, n_threads = works, len(workspaces)
        with nogil:
            if first.type_number == cnp.NPY_FLOAT:
                run_team(mixed_as_member_f32, &it, n_threads)
            else:
                run_team(mixed_as_member_f64, &it, n_threads)
        keep_workspaces(self.workspaces, workspaces)
        return np.asarray(out) if it.n_infinite == 0 else None


def widen(
    Model model,                        # IN
    Workspace work,                     # IN z of n rows, as computed by `forward`
    double[:, ::1] out,                 # OUT (n, m_L) a^L
):
    """a^L in float64 of rows whose z^L is in the workspace of a float32 network."""
    cdef Net net = work.net_of(model)
    cdef const Layer* last = &net.layers[net.n_layers]
    cdef double[::1] a = np.empty(ROWS_AT_ONCE * last.stride)
    if work.type_number != cnp.NPY_FLOAT:
        raise ValueError("the network must be of float32")
    if out.shape[1] != last.n_out or out.shape[0] > work.capacity:
        raise ValueError("out must have a row for each in work, and a column for each output")
    if out.shape[0] > 0:
        wide_output(&net.loss, last, <float*> work.numbers + work.capacity * last.z, &a[0],
                    &out[0, 0], out.shape[0])


def seconds_of_product(
    int equation,
    Model model,                        # IN a network with one hidden layer
    Workspace work,                     # INOUT all of its rows are used
    Gradient gradient,                  # OUT
    int n_times,
):
    """The time of the second layer's product in equation (1), (3) or (4), for bench/gemm.py."""
    cdef Pass it = pass_of(
        work.net_of(model), work, work.capacity, dense_rows(work.numbers, 1))
    it.gradient = numbers_of("gradient", gradient.numbers, model.type_number, 1, True)
    if it.net.n_layers != 2 or cnp.PyArray_DIM(gradient.numbers, 0) != it.net.n_params:
        raise ValueError("there must be one hidden layer, and gradient must be like params")
    began = perf_counter()
    with nogil:
        if model.type_number == cnp.NPY_FLOAT:
            make_products(&it, <float*> NULL, equation, n_times)
        else:
            make_products(&it, <double*> NULL, equation, n_times)
    return (perf_counter() - began) / n_times


cdef void wait_as_member(void* n_times, Team* team, int me) noexcept nogil:
    cdef Py_ssize_t _i
    for _i in range((<Py_ssize_t*> n_times)[0]):
        wait_for_all(team, me)


def seconds_of_barrier(int n_threads, Py_ssize_t n_times):
    """The time that a barrier takes, for bench/cores.py."""
    began = perf_counter()
    with nogil:
        run_team(wait_as_member, &n_times, n_threads)
    return (perf_counter() - began) / n_times


cdef void make_products(Pass* it, const real* any, int equation, int n_times) noexcept nogil:
    cdef real* work = <real*> it.work
    cdef real* dW = <real*> it.gradient + it.net.layers[2].W
    cdef Block block
    cdef int _i
    block.layer, block.first, block.last = 2, 0, it.net.layers[2].n_in
    for _i in range(n_times):
        if equation == 1:
            forward_layer(2, &it.net, work, &it.rows)
        elif equation == 3:
            backward_layer(2, &it.net, work, &it.rows)
        else:
            gradient_of_block(block, &it.net, dW, work, &it.rows)


def set_spin_time(double microseconds):
    """Set how long a waiting thread spins before it sleeps."""
    set_patience(microseconds)


def let_threads_be_bound(bint is_allowed):
    """Set whether threads may be kept from the CPUs of others while they work."""
    let_bind(is_allowed)


def use_kernels(name=None, argument="kernels"):
    """Use the kernels with this name from now on, or the fastest that this CPU can run."""
    cdef bytes text = (name or "").encode()
    if not use(text):
        raise ValueError(f"{argument} must be one of {kernel_names()}, got {name!r}")


def kernel_names():
    """The names of the kernels that this CPU can run, fastest first, then 'blas'."""
    names = []
    while name_of(len(names)) != NULL:
        names.append(name_of(len(names)).decode())
    return names


def kernels_in_use():
    """The name of the kernels in use."""
    return kernels.name.decode()


def compiler():
    """The C compiler that the core was built with, and its version."""
    return its_compiler.decode()


def uses_blas():
    """Whether BLAS computes the products of any layer, of either type."""
    return kernels.f32.largest < PY_SSIZE_T_MAX


# ================================================================================================
# F  L-BFGS
# ================================================================================================

# Products of rows with vectors, and combinations of rows. The parts of the vectors are shared out.
cdef struct Vectors:
    const double* rows          # (n_rows, n)
    const double* vector        # (n,)
    const double* other         # (n,) or NULL
    const double* factors       # (n_rows,)
    double factor               # of the vector
    double* sums                # (n_parts, 2, n_rows) each part's share of the products
    double* out                 # (n,)
    Py_ssize_t n_rows, n, n_parts
    Py_ssize_t n_taken          # parts taken so far


cdef void products_as_member(void* vectors, Team* team, int me) noexcept nogil:
    """sums = the products of the rows with the vectors, for some parts."""
    cdef unsigned long long denormals = flush_denormals()
    cdef Vectors* it = <Vectors*> vectors
    cdef Py_ssize_t part = next_piece(&it.n_taken), r, start, size
    cdef const double* row
    cdef double* sums
    while part < it.n_parts:
        start, sums = part * NUMBERS_OF_PART, it.sums + part * 2 * it.n_rows
        size = min(<Py_ssize_t> NUMBERS_OF_PART, it.n - start)
        for r in range(it.n_rows):
            row = it.rows + r * it.n + start
            sums[r] = dot(row, it.vector + start, size)
            if it.other != NULL:
                sums[it.n_rows + r] = dot(row, it.other + start, size)
        part = next_piece(&it.n_taken)
    restore_denormals(denormals)


cdef void combination_as_member(void* vectors, Team* team, int me) noexcept nogil:
    """out = factor vector + factors rows, for some parts."""
    cdef unsigned long long denormals = flush_denormals()
    cdef Vectors* it = <Vectors*> vectors
    cdef Py_ssize_t part = next_piece(&it.n_taken), r, i, start, size
    while part < it.n_parts:
        start = part * NUMBERS_OF_PART
        size = min(<Py_ssize_t> NUMBERS_OF_PART, it.n - start)
        for i in range(start, start + size):
            it.out[i] = it.factor * it.vector[i]
        for r in range(it.n_rows):
            add_multiple(it.factors[r], it.rows + r * it.n + start, it.out + start, size)
        part = next_piece(&it.n_taken)
    restore_denormals(denormals)


cdef class Curvature:
    """What L-BFGS knows of the curvature: the last pairs of a step s and the gradient's change y.

    H approximates the inverse of the matrix of second derivatives: equation (8), which is (3.1) of
    Byrd, Nocedal and Schnabel (Mathematical Programming 63, 1994). A direction takes two readings
    of all pairs, whose memory is what it waits for.
    """
    cdef readonly Py_ssize_t n_pairs        # so many are known
    cdef Py_ssize_t oldest                  # the place of the oldest one
    cdef bint is_new                        # whether the last one's products are not known yet
    cdef double[:, :, ::1] pairs            # (most_pairs, 2, n) s and y
    cdef double[:, :, ::1] of_changes       # (most_pairs, 2, most_pairs) s_i^T y_j and y_i^T y_j
    cdef double[::1] sums                   # see Vectors

    def __init__(self, double[:, :, ::1] pairs):
        cdef Py_ssize_t most = pairs.shape[0]
        if most < 1 or pairs.shape[1] != 2 or pairs.shape[2] < 1:
            raise ValueError("pairs must be of shape (most_pairs, 2, n), of one number at least")
        self.pairs, self.of_changes = pairs, np.zeros((most, 2, most))
        self.sums = np.empty(ceil_div(pairs.shape[2], NUMBERS_OF_PART) * 4 * most)
        self.forget()

    def forget(self):
        """Forget all pairs, so that H is the identity again."""
        self.n_pairs, self.oldest, self.is_new = 0, 0, False

    def add(
        self,
        const double[::1] direction,        # IN (n,)
        double step,                        # s = step direction
        const double[::1] before,           # IN (n,) the gradient before the step
        const double[::1] after,            # IN (n,) and after it; s^T y must be positive
    ):
        """Add a pair, in the place of the oldest one if there is no other."""
        cdef Py_ssize_t place = self.place_of(self.n_pairs), i
        self.check_lengths(direction, before)
        self.check_lengths(direction, after)
        if self.is_new:
            raise ValueError("there must be a direction between two pairs")
        for i in range(self.pairs.shape[2]):
            self.pairs[place, 0, i] = step * direction[i]
            self.pairs[place, 1, i] = after[i] - before[i]
        if self.n_pairs < self.pairs.shape[0]:
            self.n_pairs += 1
        else:
            self.oldest = self.place_of(1)
        self.is_new = True

    def direction(
        self,
        const double[::1] gradient,         # IN (n,) g
        double[::1] out,                    # OUT (n,) d
        int n_threads,
    ):
        """(8) d = -H g, the direction in which to search for a lower loss."""
        cdef double[:, ::1] products = np.empty((2, 2 * self.pairs.shape[0]))
        cdef double[::1] factors = np.empty(2 * self.pairs.shape[0])
        cdef Py_ssize_t i, last = self.place_of(self.n_pairs - 1)
        cdef Vectors it
        self.check_lengths(gradient, out)
        it = self.vectors(&self.pairs[0, 0, 0], 2 * self.n_pairs, gradient)
        it.factors, it.out = &factors[0], &out[0]
        if self.is_new:
            it.other = &self.pairs[last, 1, 0]
        self.multiply(&it, products, n_threads)
        if self.is_new:
            for i in range(self.n_pairs):
                self.of_changes[i, 0, last] = products[1, 2 * i]
                self.of_changes[i, 1, last] = products[1, 2 * i + 1]
            self.is_new = False
        it.factor, it.n_taken = -self.solve(products[0], factors), 0
        with nogil:
            run_team(combination_as_member, &it, n_threads)

    def product(
        self,
        const double[::1] a,                # IN (n,)
        const double[::1] b,                # IN (n,)
        int n_threads,
    ):
        """The sum of a b."""
        cdef double[:, ::1] products = np.empty((2, 1))
        cdef Vectors it
        self.check_lengths(a, b)
        it = self.vectors(&a[0], 1, b)
        self.multiply(&it, products, n_threads)
        return products[0, 0]

    cdef double solve(self, const double[::1] g, double[::1] factors) noexcept:
        """Set the factors of all s and y in d, for the products g of all s and y with the gradient.

        Returns gamma, the factor of g in H g. R is the upper triangle of S^T Y, and D its diagonal,
        where the oldest pair is the first.
        """
        cdef Py_ssize_t k = self.n_pairs, i, j, at, other
        cdef const double[:, :, ::1] y = self.of_changes
        cdef double gamma, total
        if k == 0:
            return 1
        at = self.place_of(k - 1)
        gamma = y[at, 0, at] / y[at, 1, at]
        for i in range(k - 1, -1, -1):      # R p = S^T g, and gamma p are the factors of all y
            at = self.place_of(i)
            total = g[2 * at]
            for j in range(i + 1, k):
                other = self.place_of(j)
                total -= y[at, 0, other] * factors[2 * other + 1]
            factors[2 * at + 1] = total / y[at, 0, at]
        for i in range(k):                  # R^T v = D p + gamma (Y^T Y p - Y^T g), and -v of all s
            at = self.place_of(i)
            total = -g[2 * at + 1]
            for j in range(k):              # a product is known where the y of the newer pair is
                other = self.place_of(j)
                total += factors[2 * other + 1] * (
                    y[at, 1, other] if i <= j else y[other, 1, at])
            total = y[at, 0, at] * factors[2 * at + 1] + gamma * total
            for j in range(i):
                other = self.place_of(j)
                total += y[other, 0, at] * factors[2 * other]
            factors[2 * at] = -total / y[at, 0, at]
        for i in range(k):
            factors[2 * i + 1] *= gamma
        return gamma

    cdef Py_ssize_t place_of(self, Py_ssize_t i) noexcept:
        """The place of the i-th pair, where the oldest is the first."""
        return (self.oldest + i) % self.pairs.shape[0]

    cdef Vectors vectors(
            self, const double* rows, Py_ssize_t n_rows, const double[::1] vector) noexcept:
        cdef Vectors it
        memset(&it, 0, sizeof(Vectors))
        it.rows, it.n_rows, it.vector, it.n = rows, n_rows, &vector[0], vector.shape[0]
        it.sums, it.n_parts = &self.sums[0], ceil_div(it.n, NUMBERS_OF_PART)
        return it

    cdef void multiply(self, Vectors* it, double[:, ::1] products, int n_threads) noexcept:
        """products (2, n_rows) = the vector, and the other one if there is one, times the rows."""
        cdef Py_ssize_t v, r, part
        with nogil:
            run_team(products_as_member, it, n_threads)
        for v in range(2 if it.other != NULL else 1):
            for r in range(it.n_rows):
                products[v, r] = 0
                for part in range(it.n_parts):
                    products[v, r] += it.sums[(2 * part + v) * it.n_rows + r]

    cdef int check_lengths(self, const double[::1] a, const double[::1] b) except -1:
        cdef Py_ssize_t n = self.pairs.shape[2]
        if a.shape[0] != n or b.shape[0] != n:
            raise ValueError(
                f"the vectors must have {n} numbers, got {a.shape[0]} and {b.shape[0]}")
        return 0


use_kernels(os.environ.get("FASTMLP_KERNEL"), "FASTMLP_KERNEL")
if not start_teams():
    raise MemoryError("no memory for threads")
