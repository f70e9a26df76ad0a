"""All of fastmlp's arithmetic but for the kernels, in the order in which a mini-batch meets it.

A  Tables               what is where in the flat buffers
B  Losses               output activation, loss and delta^L together
C  Stage 1: rows        equations (1), (2), (3) for a block of rows
D  Stage 2: parameters  equations (4), (5) for a block of parameters
E  The boundary         what Python calls

The kernels are the inner loops in C, built for several instruction sets: the three products of a
layer, activations and solvers. They are in `_simd/` and come in through `_kernels.pxd`.

Notation and the numbered equations are those of docs/how-it-works.md. A stage is a parallel loop
over blocks; a block writes only what is its own, and how the work is cut into blocks depends on
the problem and never on the number of threads: so neither does the result. The core allocates
nothing; all memory is NumPy's.
"""

import os
from time import perf_counter

import numpy as np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.pyport cimport PY_SSIZE_T_MAX
from cython.parallel cimport parallel, prange
from libc.math cimport fabs, sqrt
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset
from numpy.random cimport bitgen_t

from fastmlp._blas cimport gemm, real
from fastmlp._kernels cimport (
    ADADELTA,
    ADAGRAD,
    ADAM,
    ELU,
    GELU,
    IDENTITY,
    LEAKY_RELU,
    LOGISTIC,
    MISH,
    NADAM,
    RELU,
    RMSPROP,
    RPROP,
    SELU,
    SGD,
    SILU,
    SOFTPLUS,
    TANH,
    Layer,
    Matrix,
    Solver,
    activate,
    add_decay,
    add_multiple,
    add_noise,
    all_finite,
    backward_kernel,
    dropout,
    exp_of,
    exponentials,
    flush_denormals,
    forward_kernel,
    gradient_kernel,
    has_kernels,
    kernels,
    log_of,
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
from fastmlp._openmp cimport (
    FASTMLP_OPENMP,
    omp_get_max_threads,
    omp_get_num_threads,
    omp_get_thread_num,
    wait_for_all,
)

cnp.import_array()

# ================================================================================================
# A  Tables
# ================================================================================================

# A block of parameters: rows first to last (exclusive) of the layer's matrix [W; b], or
# [W; b; gain; shift] if it is normalised, whose rows are (stride,).
cdef packed struct Block:
    Py_ssize_t layer
    Py_ssize_t first
    Py_ssize_t last

# What is done to the weights in every step beside the solver's move; 0 leaves it out.
cdef packed struct Regularizer:
    double l1
    double l2                   # both over the batch's sum of sample weights
    double weight_decay
    double clip_value
    double clip_norm
    double max_norm
    double averaging            # the decay of the weights' moving average
    uint64_t seed               # of dropout and noise

# The same as NumPy's types; those of the kernels' tables are described in _simd/kernels.h.
cdef Layer a_layer
cdef Block a_block
cdef Solver a_solver
cdef Regularizer a_regularizer
LAYER = np.asarray(<Layer[:1:1]> &a_layer).dtype
BLOCK = np.asarray(<Block[:1:1]> &a_block).dtype
SOLVER = np.asarray(<Solver[:1:1]> &a_solver).dtype
REGULARIZER = np.asarray(<Regularizer[:1:1]> &a_regularizer).dtype

cdef enum:
    MOST_WORKSPACES = 1024      # so many threads can take part in a prediction
    COLUMNS_AT_ONCE = 32        # a thread's share of columns is made of whole vectors
    ROWS_AT_ONCE = 32           # of softmax

# The activations of hidden layers; the output's belongs to the loss.
# name: (its number, whether its derivative needs z: or else f(z) is enough)
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
}

# name: (its number, how many state arrays of the parameters' layout it keeps; one more for amsgrad)
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

# Where the rows of a mini-batch come from: `order` says which rows of the data (NULL: as they are).
# Sparse rows have an `indptr`; dense ones lie `stride` numbers apart. For an output alone there are
# no targets and no weights.
cdef struct Source:
    const Py_ssize_t* order     # (batch,)
    const Py_ssize_t* indptr    # (any + 1,) where a row's numbers begin
    const Py_ssize_t* indices   # (n_nonzero,) their columns
    const void* values          # (n_nonzero,) the numbers, of the core's type; or (any, stride)
    Py_ssize_t stride
    const void* y               # (any, n_targets)
    Py_ssize_t n_targets
    const void* sample_weight   # (any,)

# A block of rows of a workspace with room for `capacity` rows, of what the table of layers says;
# a^0, a copy of the inputs where they cannot be read in place, is its end.
cdef struct Rows:
    Py_ssize_t first
    Py_ssize_t n
    Py_ssize_t capacity
    Source source
    double scale                # 1 / the mini-batch's sum of sample weights
    uint64_t key                # of the random numbers of this mini-batch
    Py_ssize_t before           # how many rows of the mini-batch came before those in the workspace
    bint are_shared             # whether other threads read what is made of them


cdef inline Source dense_rows(const void* values, Py_ssize_t stride) noexcept nogil:
    cdef Source source
    source.order = source.indptr = source.indices = NULL
    source.values, source.stride = values, stride
    source.y = source.sample_weight = NULL
    source.n_targets = 0
    return source


cdef inline Rows all_rows(Py_ssize_t n, Py_ssize_t capacity, Source source) noexcept nogil:
    cdef Rows rows
    rows.first, rows.n, rows.capacity, rows.source = 0, n, capacity, source
    rows.scale, rows.key, rows.before, rows.are_shared = 1, 0, 0, False
    return rows


cdef inline Rows block_of_rows(Py_ssize_t i, Py_ssize_t block_rows, Rows rows) noexcept nogil:
    """The i-th block: by value, for a thread to have its own; within a stage by its address."""
    rows.first = i * block_rows
    rows.n = min(block_rows, rows.n - rows.first)
    return rows


cdef inline Py_ssize_t in_data(const Rows* rows, Py_ssize_t i) noexcept nogil:
    """Which row of the data the i-th row of the block is."""
    return rows.first + i if rows.source.order == NULL else rows.source.order[rows.first + i]


cdef inline real* at(
    real* work, Py_ssize_t offset, Py_ssize_t stride, const Rows* rows,
) noexcept nogil:
    """Where the block's rows of one of the workspace's matrices begin."""
    return work + rows.capacity * offset + rows.first * stride


cdef inline bint is_sparse(const Rows* rows) noexcept nogil:
    return rows.source.indptr != NULL


cdef inline uint64_t key_of_row(const Rows* rows, Py_ssize_t l, Py_ssize_t i) noexcept nogil:
    """Where the random numbers of a layer and of the i-th row of the block begin."""
    return random_bits(random_bits(rows.key, l), rows.before + rows.first + i)


cdef inline bint is_perturbed(const Layer* layer) noexcept nogil:
    return layer.dropout > 0 or layer.noise > 0


cdef inline bint is_copied(const Layer* layers, const real* any, const Rows* rows) noexcept nogil:
    """Whether the inputs cannot be read where they are.

    BLAS wants them side by side, noise and dropout change them.
    """
    if is_sparse(rows) or rows.source.order == NULL:
        return False
    return is_perturbed(layers) or not has_kernels(&layers[1], any)


cdef inline Matrix inputs(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* work,
    const Rows* rows,
) noexcept nogil:
    """a^{l-1} of the block's rows, (rows.n, n_in) of layer l, if not sparse."""
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
    QUANTILE                # identity + pinball loss; several quantiles: see `ascending`
    POISSON                 # exp + half the Poisson deviance, summed over the outputs
    GAMMA                   # exp + half the gamma deviance, summed over the outputs
    TWEEDIE                 # exp + half the Tweedie deviance, summed over the outputs

LOSSES = {
    "log_loss": LOG_LOSS,
    "binary_log_loss": BINARY_LOG_LOSS,
    "softmax_squared_error": SOFTMAX_SQUARED_ERROR,
    "logistic_squared_error": LOGISTIC_SQUARED_ERROR,
    "squared_error": SQUARED_ERROR,
    "absolute_error": ABSOLUTE_ERROR,
    "huber": HUBER,
    "quantile": QUANTILE,
    "poisson": POISSON,
    "gamma": GAMMA,
    "tweedie": TWEEDIE,
}

# A loss with its parameters: label smoothing, Huber's delta, Tweedie's power, or quantiles.
cdef struct Loss:
    Py_ssize_t kind
    const double* params        # (n_params,)
    Py_ssize_t n_params


cdef inline double within_exp(double z, const real* any) noexcept nogil:
    """z, held so near to 0 that sums and products of exp(z) and of its reciprocal are finite."""
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
    real* a,                # (n,) not z
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
    real* a,                # (n,) not z
    Py_ssize_t n,
) noexcept nogil:
    """a^L of one row, what a prediction is, unless it is softmax."""
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
    """logs = log(1 + e^-|z|), which is -log(a) or -log(1 - a), the smaller; returns their sum."""
    cdef double total = 0
    cdef Py_ssize_t k
    for k in range(n):
        logs[k] = -fabs(z[k])
    activate(SOFTPLUS, logs, logs, n)
    for k in range(n):
        total += logs[k]
    return total


cdef double output_deltas(
    const Loss* loss,
    const Layer* last,
    const real* z,          # (rows.n, stride)
    real* delta,            # (rows.n, stride)
    const Rows* rows,
) noexcept nogil:
    """(2) delta^L = w dC/da^L f'(z^L) of some rows; returns the sum of their weighted losses.

    a^L is nowhere else. Where it may round to 0 or 1 the loss comes from z and not from log(a).
    """
    cdef const real* y = <const real*> rows.source.y                            # (any, n_targets)
    cdef const real* sample_weight = <const real*> rows.source.sample_weight    # (any,)
    cdef real[ROWS_AT_ONCE] largest, logs, w
    cdef double total = 0, log_sum = 0
    cdef Py_ssize_t first = 0, n = 0, i, j, k
    while first < rows.n:
        n = min(ROWS_AT_ONCE, rows.n - first)
        if is_softmax(loss):
            softmax(n, last.n_out, z, delta, last.stride, largest, logs)
        elif last.stride == 1:      # side by side
            output_activation(loss, z, delta, n)
            if loss.kind == BINARY_LOG_LOSS:
                logs_of_logistic(z, logs, n)
        for i in range(n):
            if is_softmax(loss):
                log_sum = <double> largest[i] + <double> logs[i]
            elif last.stride == 1 and loss.kind == BINARY_LOG_LOSS:
                log_sum = logs[i]
            elif last.stride > 1:
                if loss.kind == BINARY_LOG_LOSS:
                    log_sum = logs_of_logistic(z + i * last.stride, delta + i * last.stride,
                                               last.n_out)
                output_activation(loss, z + i * last.stride, delta + i * last.stride, last.n_out)
            j = in_data(rows, first + i)
            w[i] = <real> (rows.scale * sample_weight[j])
            total += w[i] * loss_of_row(loss, last.n_out, z + i * last.stride, log_sum,
                                        y + j * rows.source.n_targets, delta + i * last.stride)
        # A loop of its own: a vector waits for numbers that were just written into its place one
        # by one. 64-7-10 of bench/grid.py takes 5% longer in one loop.
        for i in range(n):
            for k in range(i * last.stride, (i + 1) * last.stride):
                delta[k] *= w[i]
        first += n
        z += n * last.stride
        delta += n * last.stride
    return total


cdef inline double loss_of_row(
    const Loss* loss,
    Py_ssize_t n_out,
    const real* z,          # (n_out,)
    double log_sum,         # log(sum(exp(z))) for softmax, sum of logs_of_logistic, or 0
    const real* y,          # (n_targets,)
    real* delta,            # (n_out,) a^L
) noexcept nogil:
    """C of one row, and dC/dz^L in the place of a^L."""
    cdef Py_ssize_t k
    cdef double total = log_sum
    if loss.kind == LOG_LOSS:
        return cross_entropy(loss.params[0], log_sum, z, <Py_ssize_t> y[0], delta, n_out)
    if loss.kind == SOFTMAX_SQUARED_ERROR:
        return softmax_squared_error(<Py_ssize_t> y[0], delta, n_out)
    if loss.kind == QUANTILE and loss.n_params > 1:
        return pinballs(loss.params, z, y[0], delta, n_out)
    for k in range(n_out):
        total += loss_of_output(loss, z[k], y[k], &delta[k])
    return total


# The losses of a row: they get its a^L in `delta`, put dC/dz^L there, and return C.

cdef inline double cross_entropy(
    double smoothing,           # this share of the target goes to all classes alike
    double log_sum,             # log(sum(exp(z)))
    const real* z,              # (n,)
    Py_ssize_t k,               # the class
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
    """The pinball losses of ascending quantiles, of which each moves those above it, too."""
    cdef real[ROWS_AT_ONCE] slopes      # of some softplus
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
    """C of one output, where it is a sum over the outputs."""
    cdef double a = delta[0], e = z - y
    if loss.kind == SQUARED_ERROR:
        delta[0] = <real> e
        return 0.5 * e * e
    if loss.kind == BINARY_LOG_LOSS:
        y += loss.params[0] * (0.5 - y)
        delta[0] = <real> (a - y)
        return max(z, 0) - y * z        # -y log(a) - (1 - y) log(1 - a) but for log(1 + e^-|z|)
    if loss.kind == LOGISTIC_SQUARED_ERROR:
        delta[0] = <real> ((a - y) * a * (1 - a))
        return 0.5 * (a - y) * (a - y)
    if loss.kind == ABSOLUTE_ERROR:
        delta[0] = (e > 0) - (e < 0)
        return fabs(e)
    if loss.kind == HUBER:
        return huber(loss.params[0], e, delta)
    if loss.kind == QUANTILE:
        return pinball(loss.params[0], z, y, delta)
    if loss.kind == POISSON:
        delta[0] = <real> (a - y)
        return y * ((log_of(y) if y > 0 else 0) - z) - y + a
    if loss.kind == GAMMA:
        return gamma(within_exp(z, delta), y, delta)
    return tweedie(loss.params[0], within_exp(z, delta), y, delta)


cdef inline double huber(double limit, double e, real* delta) noexcept nogil:
    """Huber, Annals of Mathematical Statistics 35, 1964: squared up to the limit, then straight."""
    delta[0] = <real> min(max(e, -limit), limit)
    return 0.5 * e * e if fabs(e) <= limit else limit * (fabs(e) - 0.5 * limit)


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
    """Half the deviance of a power p between 1 and 2, a = exp(z).

    y^(2-p) / ((1-p) (2-p)) - y a^(1-p) / (1-p) + a^(2-p) / (2-p)
    """
    cdef double p = 1 - power, q = 2 - power
    cdef double of_y = y * exp_of(p * z), of_a = exp_of(q * z)
    cdef double power_of_y = exp_of(q * log_of(y)) if y > 0 else 0
    delta[0] = <real> (of_a - of_y)
    return power_of_y / (p * q) - of_y / p + of_a / q


# ================================================================================================
# C  Stage 1: rows. A block touches only its own rows and only reads parameters.
# ================================================================================================

cdef void copy_inputs(
    const Layer* layers,            # (n_layers + 1,)
    real* work,
    const Rows* rows,
) noexcept nogil:
    """Copy the block's inputs into the workspace, with noise and dropout, if need be."""
    cdef Py_ssize_t i
    cdef const Layer* layer = &layers[0]
    cdef const real* X = <const real*> rows.source.values       # (any, m_0)
    cdef real* x                                                # (rows.n, stride)
    if not is_copied(layers, work, rows):
        return
    x = at(work, layer.a, layer.stride, rows)
    for i in range(rows.n):
        memcpy(x + i * layer.stride, X + in_data(rows, i) * layer.n_out,
               layer.n_out * sizeof(real))
        perturb(layer, x + i * layer.stride, key_of_row(rows, 0, i))


cdef inline void perturb(const Layer* layer, real* x, uint64_t key) noexcept nogil:
    """Noise and dropout on a row of inputs."""
    if layer.noise > 0:
        add_noise(key, layer.noise, x, layer.n_out)
    if layer.dropout > 0:
        dropout(random_bits(key, -1), layer.dropout, x, x, layer.n_out)


cdef void add_sparse_product(
    const Layer* layer,         # the first with weights
    const real* W,              # (n_in, stride)
    real* z,                    # (rows.n, stride)
    const Rows* rows,
) noexcept nogil:
    """(1) z += x W for sparse x: one row of W for every number that is not 0."""
    cdef const real* values = <const real*> rows.source.values
    cdef Py_ssize_t i, j, p
    for i in range(rows.n):
        j = in_data(rows, i)
        for p in range(rows.source.indptr[j], rows.source.indptr[j + 1]):
            add_multiple(values[p], W + rows.source.indices[p] * layer.stride, z, layer.stride)
        z += layer.stride


cdef void forward_product(
    const Layer* layer,
    const real* params,
    Matrix x,                   # (rows.n, n_in), if not sparse
    real* z,                    # (rows.n, stride)
    real* f,                    # (rows.n, stride) may be z
    real* delta,                # (rows.n, stride) where others have read it, or NULL
    bint sparse,                # whether x is that of the rows
    const Rows* rows,
) noexcept nogil:
    """(1) z = x W + b, f(z)."""
    cdef Py_ssize_t i
    if not sparse and has_kernels(layer, z):
        forward_kernel(layer, rows.n, x, params + layer.W, z, f, delta)
        return
    for i in range(rows.n):
        memcpy(z + i * layer.stride, params + layer.b, layer.stride * sizeof(real))
    if sparse:
        add_sparse_product(layer, params + layer.W, z, rows)
    else:
        # (1) z (rows.n, n_out) += x (rows.n, n_in) W (n_in, n_out)
        gemm(False, False, rows.n, layer.n_out, layer.n_in, <real> 1, <const real*> x.base,
             x.stride, params + layer.W, layer.stride, <real> 1, z, layer.stride)
    activate(layer.activation, z, f, rows.n * layer.stride)


cdef void forward_layer(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    const Rows* rows,
) noexcept nogil:
    """(1) z^l = a^{l-1} W^l + b^l, a^l = f(z^l), with what may stand between and after them."""
    cdef const Layer* layer = &layers[l]
    cdef Matrix x = inputs(l, layers, work, rows)               # (rows.n, n_in) a^{l-1}
    cdef real* s = at(work, layer.s, layer.stride, rows)        # (rows.n, stride)
    cdef real* f = at(work, layer.f, layer.stride, rows)        # (rows.n, stride)
    cdef real* delta = at(work, layer.delta, layer.stride, rows) if rows.are_shared else NULL
    cdef bint sparse = l == 1 and is_sparse(rows)
    cdef Layer product
    if layer.is_normalized:
        product = layer[0]
        product.activation = IDENTITY
        forward_product(&product, params, x, s, s, delta, sparse, rows)
        normalize_rows(layer, params, work, rows)
        activate(layer.activation, at(work, layer.z, layer.stride, rows), f,
                 rows.n * layer.stride)
    else:
        forward_product(layer, params, x, s, f, delta, sparse, rows)
    if layer.dropout > 0 or layer.is_residual:
        finish_rows(l, layers, work, rows)


cdef void normalize_rows(
    const Layer* layer, const real* params, real* work, const Rows* rows,
) noexcept nogil:
    """s = (s - mean) / spread, z = gain s + shift, and 1 / spread, row by row."""
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
    real* work,
    const Rows* rows,
) noexcept nogil:
    """a^l = dropout(f(z^l)) + a^{l-1}, or one of both."""
    cdef const Layer* layer = &layers[l]
    cdef const Layer* before = &layers[l - 1]
    cdef real* f = at(work, layer.f, layer.stride, rows)                # (rows.n, stride)
    cdef real* a = at(work, layer.a, layer.stride, rows)                # (rows.n, stride)
    cdef real* a_before = at(work, before.a, before.stride, rows)       # (rows.n, stride)
    cdef Py_ssize_t i, k
    for i in range(rows.n):
        if layer.dropout > 0:
            dropout(key_of_row(rows, l, i), layer.dropout, f, a, layer.n_out)
        elif a != f:
            memcpy(a, f, layer.n_out * sizeof(real))
        if layer.is_residual:
            for k in range(layer.n_out):
                a[k] += a_before[k]
        f += layer.stride
        a += layer.stride
        a_before += before.stride


cdef void forward_columns(
    Py_ssize_t n_layers,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    const Rows* rows,
    int n_threads,
) noexcept nogil:
    """(1) up to z^L for few dense rows: each thread takes some columns of W, and its cache them.

    Not for normalised and residual layers.

    A single row through `large` of bench/ takes half the time on two threads.
    """
    cdef Py_ssize_t l = 0, i, share = 0, first
    cdef int t
    cdef Layer part
    cdef Matrix x
    cdef real* z
    cdef real* a
    with parallel(num_threads=n_threads):
        for l in range(1, n_layers + 1):
            share = (layers[l].n_out + n_threads - 1) // n_threads
            share = (share + COLUMNS_AT_ONCE - 1) // COLUMNS_AT_ONCE * COLUMNS_AT_ONCE
            for t in prange(n_threads, schedule="static", chunksize=1):
                first = t * share
                part = layers[l]
                part.n_out = min(share, part.n_out - first)
                part.activation = IDENTITY
                if part.n_out > 0:
                    x = inputs(l, layers, work, rows)
                    z = at(work, part.z, part.stride, rows) + first
                    a = at(work, part.a, part.stride, rows) + first
                    forward_kernel(&part, rows.n, x, params + part.W + first, z, z,
                                   <real*> NULL)
                    for i in range(rows.n):
                        activate(layers[l].activation, z + i * part.stride, a + i * part.stride,
                                 part.n_out)
            wait_for_all(n_threads)


cdef void backward_layer(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    const Rows* rows,
) noexcept nogil:
    """(3) delta^{l-1} = (delta^l (W^l)^T) * f'(z^{l-1}), with what stands between."""
    cdef const Layer* layer = &layers[l]
    cdef const Layer* before = &layers[l - 1]
    cdef const real* delta = at(work, layer.delta, layer.stride, rows)          # (rows.n, stride)
    cdef real* delta_a = at(work, before.delta_a, before.stride, rows)          # those of layer
    cdef real* delta_z = at(work, before.delta_z, before.stride, rows)          # l - 1
    cdef const real* f = at(work, before.f, before.stride, rows)                # those of layer
    # The kernel makes the derivative of relu, too, where nothing stands between.
    cdef bint is_gated = (before.activation == RELU and has_kernels(layer, work)
                          and not layer.is_residual and before.dropout == 0 and delta_z == delta_a)
    if has_kernels(layer, work):
        backward_kernel(layer, rows.n, delta, params + layer.W, delta_a, before.stride,
                        f if is_gated else NULL)
    else:
        # (3) delta_a (rows.n, n_in) = delta^l (rows.n, n_out) W^T (n_out, n_in)
        gemm(False, True, rows.n, layer.n_in, layer.n_out, <real> 1, delta, layer.stride,
             params + layer.W, layer.stride, <real> 0, delta_a, before.stride)
    if layer.is_residual:
        add_multiple(<real> 1, at(work, layer.delta_a, layer.stride, rows), delta_a,
                     rows.n * before.stride)
    if before.dropout > 0 or delta_z != delta_a:
        delta_behind_dropout(l - 1, before, delta_a, delta_z, rows)
    if not is_gated:
        times_derivative(before.activation, at(work, before.z, before.stride, rows), f, delta_z,
                         rows.n * before.stride)
    if before.is_normalized:
        normalize_rows_back(before, params, work, rows)


cdef void delta_behind_dropout(
    Py_ssize_t l,
    const Layer* layer,
    const real* delta_a,        # (rows.n, stride)
    real* delta_z,              # (rows.n, stride) may be delta_a
    const Rows* rows,
) noexcept nogil:
    """What was dropped on the way forward has no slope."""
    cdef Py_ssize_t i
    for i in range(rows.n):
        if layer.dropout > 0:
            dropout(key_of_row(rows, l, i), layer.dropout, delta_a, delta_z, layer.n_out)
        else:
            memcpy(delta_z, delta_a, layer.n_out * sizeof(real))
        delta_a += layer.stride
        delta_z += layer.stride


cdef void normalize_rows_back(
    const Layer* layer, const real* params, real* work, const Rows* rows,
) noexcept nogil:
    """delta from delta_z, row by row."""
    cdef const real* s = at(work, layer.s, layer.stride, rows)                  # (rows.n, stride)
    cdef const real* spread = at(work, layer.spread, 1, rows)                   # (rows.n,)
    cdef const real* delta_z = at(work, layer.delta_z, layer.stride, rows)      # (rows.n, stride)
    cdef real* delta = at(work, layer.delta, layer.stride, rows)                # (rows.n, stride)
    cdef Py_ssize_t i, k
    for i in range(rows.n):
        k = i * layer.stride
        normalize_back(s + k, params + layer.gain, spread[i], delta_z + k, delta + k, layer.n_out)


cdef void forward_rows(
    Py_ssize_t n_layers,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    Rows rows,
) noexcept nogil:
    """(1) up to z^L."""
    cdef Py_ssize_t l
    for l in range(1, n_layers + 1):
        forward_layer(l, layers, params, work, &rows)


cdef void backward_rows(
    Py_ssize_t n_layers,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    Rows rows,
) noexcept nogil:
    """(3) for each hidden layer."""
    cdef Py_ssize_t l
    for l in range(n_layers, 1, -1):
        backward_layer(l, layers, params, work, &rows)


cdef double loss_of_rows(
    const Loss* loss,
    Py_ssize_t n_layers,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    Rows rows,
) noexcept nogil:
    """(1), (2) for a block of rows; returns its weighted loss."""
    cdef const Layer* last = &layers[n_layers]
    cdef real* z = at(work, last.z, last.stride, &rows)         # (rows.n, stride)
    cdef real* delta = at(work, last.delta, last.stride, &rows)  # (rows.n, stride)
    copy_inputs(layers, work, &rows)
    forward_rows(n_layers, layers, params, work, rows)
    return output_deltas(loss, last, z, delta, &rows)


cdef void output_of_rows(
    const Loss* loss,
    const Layer* last,
    real* work,
    real* out,                  # (batch, m_L)
    Rows rows,
) noexcept nogil:
    """a^L of a block of rows from their z^L."""
    cdef real* z = at(work, last.z, last.stride, &rows)         # (rows.n, stride)
    cdef real* a = at(work, last.delta, last.stride, &rows)     # (rows.n, stride) a place for it
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

cdef void add_sparse_gradient(
    Block block,
    const Layer* layer,         # the first with weights
    const real* delta,          # (rows.n, stride)
    real* dW,                   # (last - first, stride) the block's rows
    const Rows* rows,           # the whole mini-batch
) noexcept nogil:
    """(4) dW += x^T delta for sparse x: a row of delta for each number in the block."""
    cdef const real* values = <const real*> rows.source.values
    cdef Py_ssize_t i, j, p, column
    for i in range(rows.n):
        j = in_data(rows, i)
        for p in range(rows.source.indptr[j], rows.source.indptr[j + 1]):
            column = rows.source.indices[p]
            if block.first <= column < block.last:
                add_multiple(values[p], delta, dW + (column - block.first) * layer.stride,
                             layer.stride)
        delta += layer.stride


cdef void gradient_without_kernels(
    Block block,
    const Layer* layer,
    Matrix x,                   # (rows.n, n_in), if not sparse
    const real* delta,          # (rows.n, stride)
    real* dW,                   # (last - first, stride)
    bint sparse,                # whether x is that of the rows
    bint adds_up,
    const Rows* rows,           # the whole mini-batch
) noexcept nogil:
    """(4) dW = x^T delta, db = sum of the rows of delta, for sparse x, or by BLAS."""
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
    Py_ssize_t row,             # of the layer's matrix
    const Layer* layer,
    real* dW,                   # (stride,)
    const real* work,
    bint adds_up,
    const Rows* rows,           # the whole mini-batch
) noexcept nogil:
    """(4) of gain: the sum of the rows of delta_z * s; of shift: that of delta_z."""
    cdef const real* delta_z = work + rows.capacity * layer.delta_z         # (rows.n, stride)
    cdef const real* s = work + rows.capacity * layer.s                     # (rows.n, stride)
    cdef bint is_gain = layer.W + row * layer.stride == layer.gain
    cdef Py_ssize_t i, k
    if not adds_up:
        memset(dW, 0, layer.stride * sizeof(real))
    for i in range(rows.n):
        for k in range(i * layer.stride, i * layer.stride + layer.n_out):
            dW[k - i * layer.stride] += delta_z[k] * s[k] if is_gain else delta_z[k]


cdef double gradient_of_block(
    Block block,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    const real* connections,    # (n_params,) 1 where a weight is, 0 where none is; or NULL
    real* dW,                   # (last - first, stride) the block's rows of [dW; db; ...]
    const real* work,
    const Rows* rows,           # the whole mini-batch
    double l1,                  # both over the batch's sum of sample weights
    double l2,
    bint adds_up,               # to the gradient of other rows
    real* shared,               # params where the solver moves them next and others have read
                                # them, or NULL
) noexcept nogil:
    """(4) dW^l = (a^{l-1})^T delta^l + l1 sign(W^l) + l2 W^l, db^l = sum of the rows of delta^l.

    Returns the block's share of the penalty l1 sum(|W|) + 1/2 l2 sum(W^2).
    """
    cdef const Layer* layer = &layers[block.layer]
    cdef const real* delta = work + rows.capacity * layer.delta             # (rows.n, stride)
    cdef Py_ssize_t of_W = layer.W + block.first * layer.stride
    cdef const real* W = params + of_W                                      # (last - first, stride)
    cdef Py_ssize_t n = max(0, min(block.last, layer.n_in) - block.first) * layer.stride, j, k
    cdef Matrix x = inputs(block.layer, layers, work, rows)                 # (rows.n, n_in)
    cdef bint sparse = block.layer == 1 and is_sparse(rows)
    cdef double penalty = 0
    if block.first > layer.n_in:
        pass
    elif sparse or not has_kernels(layer, work):
        gradient_without_kernels(block, layer, x, delta, dW, sparse, adds_up, rows)
    else:
        gradient_kernel(layer, block.first, min(block.last, layer.n_in + 1), rows.n, x, delta, dW,
                        adds_up, shared + of_W if shared != NULL else NULL)
    for j in range(max(block.first, layer.n_in + 1), block.last):
        gradient_of_normalization(j, layer, dW + (j - block.first) * layer.stride, work, adds_up,
                                  rows)
    for j in range(block.last - block.first):   # dW may have been another layer's
        for k in range(layer.n_out, layer.stride):
            dW[j * layer.stride + k] = 0
    if l2 > 0:
        penalty = 0.5 * l2 * add_decay(<real> l2, W, dW, n)
    if l1 > 0:
        penalty += l1 * add_signs(<real> l1, W, dW, n)
    if connections != NULL:
        for j in range(n):
            dW[j] *= connections[of_W + j]
    return penalty


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
    const double* squares,      # (n_blocks,) of every block's gradient
    Py_ssize_t n_blocks,
) noexcept nogil:
    """What takes the norm of the whole gradient down to clip_norm, if it is larger.

    Pascanu, Mikolov and Bengio, ICML 2013.
    """
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n_blocks):
        total += squares[i]
    return clip_norm / sqrt(total) if total > clip_norm * clip_norm else 1


cdef double momentum_of_nadam(const Solver* solver, Py_ssize_t t) noexcept nogil:
    cdef double log_of_base = -0.040821994520255166     # 0.96^(t decay)
    return solver.beta_1 * (1 - 0.5 * exp_of(log_of_base * (t * solver.momentum_decay)))


cdef void begin_step(Solver* solver, double learning_rate) noexcept nogil:
    """Make the solver what it is in the step after those it has made."""
    cdef double now
    solver.t += 1
    solver.learning_rate = solver.step_rate = learning_rate
    if solver.kind == ADAM:
        solver.step_rate *= (sqrt(1 - whole_power(solver.beta_2, solver.t))
                             / (1 - whole_power(solver.beta_1, solver.t)))
    elif solver.kind == NADAM:
        solver.step_rate *= sqrt(1 - whole_power(solver.beta_2, solver.t))
        now = momentum_of_nadam(solver, solver.t)
        solver.momentum_product *= now
        solver.momentum_now = (1 - now) / (1 - solver.momentum_product)
        now = momentum_of_nadam(solver, solver.t + 1)
        solver.momentum_next = now / (1 - solver.momentum_product * now)


cdef void move_block(
    const Solver* solver,
    double weight_decay,
    Block block,
    const Layer* layers,        # (n_layers + 1,)
    real* params,               # (n_params,)
    const real* dW,             # (last - first, stride) the block's rows of [dW; db; ...]
    real* state,                # (n_states, n_params)
    Py_ssize_t n_params,
) noexcept nogil:
    """(5) Every parameter of the block moves against its gradient.

    Weight decay apart from the gradient: Loshchilov and Hutter, ICLR 2019.
    """
    cdef const Layer* layer = &layers[block.layer]
    cdef Py_ssize_t i = layer.W + block.first * layer.stride
    cdef Py_ssize_t n = (block.last - block.first) * layer.stride
    if weight_decay > 0:
        scale_by(<real> (1 - solver.learning_rate * weight_decay), params + i,
                 max(0, min(block.last, layer.n_in) - block.first) * layer.stride)
    move(solver, params + i, dW, state + i, n_params, n)


cdef void limit_columns(
    double max_norm,
    const Layer* layer,
    Py_ssize_t first,           # column
    real* params,               # (n_params,)
) noexcept nogil:
    """Shorten those of some units' weight vectors that are longer than max_norm.

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
    Py_ssize_t t,               # the step, from 1
    Block block,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,         # (n_params,)
    real* average,              # (n_params,)
) noexcept nogil:
    """average = decay average + (1 - decay) W, with a shorter memory in the beginning.

    Polyak and Juditsky, 1992; the exponential form as in Tarvainen and Valpola, NIPS 2017.
    """
    cdef const Layer* layer = &layers[block.layer]
    cdef real rest = <real> (1 - min(decay, (1 + t) / (10 + <double> t)))
    cdef Py_ssize_t start = layer.W + block.first * layer.stride, i
    for i in range(start, start + (block.last - block.first) * layer.stride):
        average[i] += rest * (params[i] - average[i])


# ================================================================================================
# E  The boundary: shapes are checked, the GIL is released, blocks are shared out
# ================================================================================================

# Rows of the data are either dense, X of shape (n, m_0) with indices and indptr empty, or sparse: X
# holds the numbers that are not 0, (n_nonzero, 1), with their columns and the rows' beginnings.

cdef inline Py_ssize_t how_many(Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    """How many pieces of a size it takes to hold n."""
    return (n + size - 1) // size


cdef double sum_of_weights(
    const real[::1] sample_weight, const Py_ssize_t* order, Py_ssize_t n,
) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n):
        total += sample_weight[order[i]]
    return total


cdef inline double reciprocal(double weight_sum) noexcept nogil:
    """A mini-batch of weight 0, or as good as 0, has no loss and no gradient."""
    return 1 / weight_sum if weight_sum > 1e-300 else 0


cdef Loss loss_of(
    Py_ssize_t kind, const double[::1] params, const Layer[::1] layers,
) except *:
    cdef Loss loss
    if params.shape[0] == 0 or (kind == QUANTILE and params.shape[0] > 1
                                and params.shape[0] != layers[layers.shape[0] - 1].n_out):
        raise ValueError("loss_params must have a number, or one for each output")
    loss.kind, loss.params, loss.n_params = kind, &params[0], params.shape[0]
    return loss


cdef inline const real* or_null(const real[::1] array) noexcept nogil:
    return &array[0] if array.shape[0] > 0 else NULL


cdef Source source_of(
    const real[:, ::1] X, const Py_ssize_t[::1] indices, const Py_ssize_t[::1] indptr,
) noexcept nogil:
    cdef Source source = dense_rows(&X[0, 0], X.shape[1])
    if indptr.shape[0] > 0:
        source.indptr, source.indices = &indptr[0], &indices[0]
    return source


cdef inline Source with_targets(
    Source source,
    const Py_ssize_t* order,            # (any,)
    const real[:, ::1] y,               # (any, n_targets)
    const real[::1] sample_weight,      # (any,)
) noexcept nogil:
    source.order, source.sample_weight = order, &sample_weight[0]
    source.y, source.n_targets = &y[0, 0], y.shape[1]
    return source


cdef int check_table(
    const Layer[::1] layers, const real[::1] params, const real[::1] work, Py_ssize_t capacity,
) except -1:
    cdef Py_ssize_t l, end
    cdef Layer layer
    for l in range(1, layers.shape[0]):
        layer = layers[l]
        end = max(max(max(layer.s, layer.z), max(layer.f, layer.a)),
                  max(max(layer.delta, layer.delta_z), layer.delta_a)) + layer.stride
        if work.shape[0] < capacity * max(end, layer.spread + 1):
            raise ValueError("work is smaller than the table of layers says")
        if params.shape[0] < max(layer.b, layer.shift) + layer.stride:
            raise ValueError("params is smaller than the table of layers says")
    return 0


cdef int check_table_of(
    int type_number, const Layer[::1] layers, params, work, Py_ssize_t capacity,
) except -1:
    """The same for arrays of either type."""
    cdef const float[::1] params32, work32
    cdef const double[::1] params64, work64
    if type_number == cnp.NPY_FLOAT:
        params32, work32 = params, work
        return check_table(layers, params32, work32, capacity)
    params64, work64 = params, work
    return check_table(layers, params64, work64, capacity)


cdef Py_ssize_t check_columns(
    const Layer[::1] layers,
    const real[:, ::1] X,
    const Py_ssize_t[::1] indices,
    const Py_ssize_t[::1] indptr,
) except -1:
    """Raise unless X fits the network; returns the number of rows."""
    if indptr.shape[0] == 0:
        if X.shape[1] != layers[0].n_out:
            raise ValueError(f"X must have {layers[0].n_out} columns, got {X.shape[1]}")
        return X.shape[0]
    if indices.shape[0] == 0 or X.shape[0] < indices.shape[0]:
        raise ValueError("sparse X must have a number for each of its indices, and at least one")
    return indptr.shape[0] - 1


cdef int check_rows(
    Py_ssize_t n_rows,
    const Layer[::1] layers,
    const real[::1] work,
    const Py_ssize_t[::1] indptr,
    const real[:, ::1] y,
    const real[::1] sample_weight,
    Py_ssize_t capacity,
) except -1:
    """Raise unless y and sample_weight belong to the rows, and dense rows fit the workspace."""
    if y.shape[0] != n_rows or sample_weight.shape[0] != n_rows:
        raise ValueError("X, y and sample_weight must have the same number of rows")
    if indptr.shape[0] == 0 and work.shape[0] < capacity * (layers[0].a + layers[0].stride):
        raise ValueError("work has no room for dense rows")
    return 0


cdef int check_layout(
    Py_ssize_t n_params, Py_ssize_t n_average, Py_ssize_t n_connections,
) except -1:
    if n_average not in (0, n_params) or n_connections not in (0, n_params):
        raise ValueError("average and connections must have the layout of params, or be empty")
    return 0


cdef int check_out(const Layer[::1] layers, const real[:, ::1] out, Py_ssize_t n) except -1:
    if out.shape[0] != n or out.shape[1] != layers[layers.shape[0] - 1].n_out:
        raise ValueError("out must have a row for each of X's and a column for each output")
    return 0


cdef Py_ssize_t largest_block(const Layer[::1] layers, const Block[::1] blocks) noexcept nogil:
    """How many numbers the largest block of parameters has."""
    cdef Py_ssize_t i, most = 0
    for i in range(blocks.shape[0]):
        most = max(most, (blocks[i].last - blocks[i].first) * layers[blocks[i].layer].stride)
    return most


cdef inline Py_ssize_t start_of(Block block, const Layer* layers) noexcept nogil:
    """Where the block's parameters begin."""
    return layers[block.layer].W + block.first * layers[block.layer].stride


cdef inline Py_ssize_t size_of(Block block, const Layer* layers) noexcept nogil:
    return (block.last - block.first) * layers[block.layer].stride


cdef Py_ssize_t first_block(
    int t, int n_team, const Block[::1] blocks, const Layer* layers, Py_ssize_t n_params,
) noexcept nogil:
    """The first block of thread t: each has those in its share of all parameters.

    Dealt out in turn, blocks of few large and many small layers would not come to the same for
    all, and everybody would read what all layers have made: `small` in bench/ takes 3% longer.
    """
    cdef Py_ssize_t i = 0
    while i < blocks.shape[0] and (
        (2 * start_of(blocks[i], layers) + size_of(blocks[i], layers)) * n_team < 2 * t * n_params
    ):
        i += 1
    return i


def shuffle(Py_ssize_t[::1] order, bit_generator):
    """What RandomState.shuffle makes of ``order``, by the same random numbers, without the GIL.

    By NumPy's, which holds it, two fits at a time of `tiny` in bench/ were 1.5 times as fast as one
    after the other; by this they are 1.7 to 1.9 times.
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
            # Numbers beyond i are passed over: no branch for that, which would be hard to predict.
            while i > mask >> 1:
                j = source.next_uint32(source.state) & mask
                is_below = j <= i
                j = j if is_below else i
                order[i], order[j] = order[j], order[i]
                i -= is_below
            mask >>= 1


def train(
    const Layer[::1] layers,            # IN (n_layers + 1,)
    const Block[::1] blocks,            # IN (n_blocks,)
    Py_ssize_t loss_kind,
    const double[::1] loss_params,      # IN (n_loss_params,)
    real[::1] params,                   # INOUT (n_params,)
    real[::1] average,                  # INOUT (n_params,), or empty: no averaging
    const real[::1] connections,        # IN (n_params,), or empty: all are there
    real[:, ::1] gradient,              # OUT (n_threads, the largest block's numbers), or (1,
                                        #     n_params) for clipping by norm and for several parts
    real[:, ::1] state,                 # INOUT (n_states, n_params)
    real[::1] work,                     # OUT room for `capacity` rows
    const real[:, ::1] X,               # IN (n, m_0), or (n_nonzero, 1) if sparse
    const Py_ssize_t[::1] indices,      # IN (n_nonzero,), or empty
    const Py_ssize_t[::1] indptr,       # IN (n + 1,), or empty
    const real[:, ::1] y,               # IN (n, n_targets)
    const real[::1] sample_weight,      # IN (n,)
    const Py_ssize_t[::1] order,        # IN (n_rows,) rows of X, in the order of training
    Py_ssize_t batch_size,
    Py_ssize_t capacity,                # of which a larger mini-batch is taken in parts
    Py_ssize_t block_rows,
    const double[::1] learning_rates,   # IN (n_steps,)
    const Regularizer[::1] regularizer,     # IN (1,) l1 and l2 not yet divided
    Solver[::1] solver,                 # INOUT (1,) its t counts the steps
    double[::1] row_loss,               # INOUT (>= capacity / block_rows,) and
    double[::1] penalty,                # INOUT (n_blocks,): a block's share of the epoch's loss
    double[::1] squares,                # OUT (n_blocks,) of the gradient's numbers, for clipping
    int n_threads,
):
    """Make one step for each mini-batch of ``order``.

    ``row_loss`` and ``penalty`` add up (loss of a mini-batch before its step) * (its rows).
    """
    cdef Py_ssize_t n_layers = layers.shape[0] - 1, n_params = params.shape[0]
    cdef Py_ssize_t n_rows = order.shape[0], n_steps = how_many(n_rows, batch_size)
    cdef Py_ssize_t step = 0, start = 0, n = 0, done = 0, l = 0, i = 0
    cdef Py_ssize_t mine = 0, end = 0
    cdef int me = 0, n_team = 1
    cdef double scale = 0, factor = 1
    cdef Source source
    cdef Loss loss = loss_of(loss_kind, loss_params, layers)
    cdef Regularizer rules = regularizer[0]
    cdef bint clips_norm = rules.clip_norm > 0  # then the whole gradient comes before any move
    cdef bint whole = clips_norm or batch_size > capacity, is_last = True
    cdef const real* mask = or_null(connections)
    cdef Rows rows, block
    cdef Solver now
    cdef real* dW = NULL                # a thread's place for its block of the gradient
    cdef unsigned long long denormals = 0
    check_table(layers, params, work, capacity)
    check_rows(check_columns(layers, X, indices, indptr), layers, work, indptr, y, sample_weight,
               capacity)
    check_layout(n_params, average.shape[0], connections.shape[0])
    if state.shape[1] != n_params:
        raise ValueError("state must have the layout of params")
    if whole and gradient.shape[1] != n_params:
        raise ValueError("gradient must have the layout of params")
    if not whole and (gradient.shape[0] < n_threads
                      or gradient.shape[1] < largest_block(layers, blocks)):
        raise ValueError("gradient must have room for a block for each thread")
    if row_loss.shape[0] < how_many(min(batch_size, capacity), block_rows):
        raise ValueError("row_loss must have room for the blocks of a mini-batch")
    if penalty.shape[0] != blocks.shape[0] or squares.shape[0] != blocks.shape[0]:
        raise ValueError("penalty and squares must have a place for each block of parameters")
    if learning_rates.shape[0] != n_steps:
        raise ValueError("learning_rates must have a number for each step")
    if n_rows == 0:
        return
    source = with_targets(source_of(X, indices, indptr), &order[0], y, sample_weight)

    # A thread takes the same blocks in each step, and its caches hold their parameters. Loops by
    # hand: a prange here would wait twice, at its beginning by gcc's doing and at our barrier,
    # which costs `tiny` in bench/ 15%.
    with nogil, parallel(num_threads=n_threads):
        denormals = flush_denormals()
        me, n_team = omp_get_thread_num(), omp_get_num_threads()
        mine = first_block(me, n_team, blocks, &layers[0], n_params)
        end = first_block(me + 1, n_team, blocks, &layers[0], n_params)
        now = solver[0]
        for step in range(n_steps):
            start = step * batch_size
            n = min(batch_size, n_rows - start)
            scale = reciprocal(sum_of_weights(sample_weight, &order[start], n))
            begin_step(&now, learning_rates[step])
            done = 0
            while done < n:
                rows = all_rows(min(capacity, n - done), capacity, source)
                rows.source.order += start + done
                rows.scale, rows.are_shared = scale, n_team > 1
                rows.key, rows.before = random_bits(rules.seed, now.t), done
                is_last = done + rows.n == n
                i = me
                while i < how_many(rows.n, block_rows):
                    block = block_of_rows(i, block_rows, rows)
                    row_loss[i] += n * loss_of_rows(&loss, n_layers, &layers[0], &params[0],
                                                    &work[0], block)
                    backward_rows(n_layers, &layers[0], &params[0], &work[0], block)
                    i = i + n_team
                wait_for_all(n_team)
                for i in range(mine, end):
                    dW = (&gradient[0, start_of(blocks[i], &layers[0])] if whole
                          else &gradient[me, 0])
                    penalty[i] += n * gradient_of_block(
                        blocks[i], &layers[0], &params[0], mask, dW, &work[0], &rows,
                        rules.l1 * scale if is_last else 0, rules.l2 * scale if is_last else 0,
                        done > 0, &params[0] if is_last and n_team > 1 else NULL,
                    )
                    if is_last and rules.clip_value > 0:
                        clip(<real> rules.clip_value, dW, size_of(blocks[i], &layers[0]))
                    if is_last and clips_norm:
                        squares[i] = sum_of_squares(dW, size_of(blocks[i], &layers[0]))
                    elif is_last:
                        move_block(&now, rules.weight_decay, blocks[i], &layers[0], &params[0], dW,
                                   &state[0, 0], n_params)
                wait_for_all(n_team)
                done = done + rows.n
            if clips_norm:
                factor = factor_of_clipping(rules.clip_norm, &squares[0], blocks.shape[0])
                for i in range(mine, end):
                    dW = &gradient[0, start_of(blocks[i], &layers[0])]
                    if factor != 1:
                        scale_by(<real> factor, dW, size_of(blocks[i], &layers[0]))
                    move_block(&now, rules.weight_decay, blocks[i], &layers[0], &params[0], dW,
                               &state[0, 0], n_params)
                wait_for_all(n_team)
            if rules.max_norm > 0:
                for l in range(1, n_layers + 1):
                    i = me
                    while i < how_many(layers[l].n_out, COLUMNS_AT_ONCE):
                        limit_columns(rules.max_norm, &layers[l], i * COLUMNS_AT_ONCE, &params[0])
                        i = i + n_team
                wait_for_all(n_team)
            if average.shape[0] > 0:
                for i in range(mine, end):
                    average_block(rules.averaging, now.t, blocks[i], &layers[0], &params[0],
                                  &average[0])
                wait_for_all(n_team)
        if me == 0:     # they all have come to the same
            solver[0] = now
        restore_denormals(denormals)


def add_gradient(
    const Layer[::1] layers,            # IN (n_layers + 1,)
    const Block[::1] blocks,            # IN (n_blocks,)
    Py_ssize_t loss_kind,
    const double[::1] loss_params,      # IN (n_loss_params,)
    const real[::1] params,             # IN (n_params,)
    const real[::1] connections,        # IN (n_params,), or empty: all are there
    real[::1] gradient,                 # INOUT (n_params,)
    real[::1] work,                     # OUT room for `capacity` rows
    const real[:, ::1] X,               # IN (n, m_0), or (n_nonzero, 1) if sparse
    const Py_ssize_t[::1] indices,      # IN (n_nonzero,), or empty
    const Py_ssize_t[::1] indptr,       # IN (n + 1,), or empty
    const real[:, ::1] y,               # IN (n, n_targets)
    const real[::1] sample_weight,      # IN (n,)
    const Py_ssize_t[::1] order,        # IN (n_rows,) at most `capacity` rows of X
    Py_ssize_t capacity,
    Py_ssize_t block_rows,
    double scale,                       # 1 / sum of the sample weights of all rows
    double l1,                          # over that sum; 0 if it has been counted
    double l2,                          # likewise
    bint adds_up,                       # to what gradient holds, or else replaces it
    double[::1] row_loss,               # INOUT (>= capacity / block_rows,) and
    double[::1] penalty,                # INOUT (n_blocks,): their sum grows by the loss
    int n_threads,
):
    """Loss and gradient of the rows ``order``; the parameters stay as they are.

    After the call ``work`` holds z, a and delta of these rows.
    """
    cdef Py_ssize_t n_layers = layers.shape[0] - 1, i
    cdef Rows rows = all_rows(order.shape[0], capacity,
                              with_targets(source_of(X, indices, indptr), &order[0], y,
                                           sample_weight))
    cdef Loss loss = loss_of(loss_kind, loss_params, layers)
    cdef const real* mask = or_null(connections)
    cdef unsigned long long denormals = 0
    rows.scale = scale
    check_table(layers, params, work, capacity)
    check_rows(check_columns(layers, X, indices, indptr), layers, work, indptr, y, sample_weight,
               capacity)
    check_layout(params.shape[0], 0, connections.shape[0])
    if gradient.shape[0] != params.shape[0]:
        raise ValueError("gradient must have the layout of params")
    if rows.n > capacity or row_loss.shape[0] < how_many(capacity, block_rows):
        raise ValueError("work and row_loss must have room for all rows")
    if penalty.shape[0] != blocks.shape[0]:
        raise ValueError("penalty must have a place for each block of parameters")

    with nogil, parallel(num_threads=n_threads):
        denormals = flush_denormals()
        for i in prange(how_many(rows.n, block_rows), schedule="static", chunksize=1):
            row_loss[i] += loss_of_rows(&loss, n_layers, &layers[0], &params[0], &work[0],
                                        block_of_rows(i, block_rows, rows))
            backward_rows(n_layers, &layers[0], &params[0], &work[0],
                          block_of_rows(i, block_rows, rows))
        wait_for_all(n_threads)
        for i in prange(blocks.shape[0], schedule="static", chunksize=1):
            penalty[i] += gradient_of_block(
                blocks[i], &layers[0], &params[0], mask,
                &gradient[start_of(blocks[i], &layers[0])], &work[0], &rows, l1, l2, adds_up,
                NULL,
            )
        restore_denormals(denormals)


def evaluate(
    const Layer[::1] layers,            # IN (n_layers + 1,)
    Py_ssize_t loss_kind,
    const double[::1] loss_params,      # IN (n_loss_params,)
    const real[::1] params,             # IN (n_params,)
    real[::1] work,                     # OUT room for `capacity` rows
    const real[:, ::1] X,               # IN (n, m_0), or (n_nonzero, 1) if sparse
    const Py_ssize_t[::1] indices,      # IN (n_nonzero,), or empty
    const Py_ssize_t[::1] indptr,       # IN (n + 1,), or empty
    const real[:, ::1] y,               # IN (n, n_targets)
    const real[::1] sample_weight,      # IN (n,)
    const Py_ssize_t[::1] order,        # IN (n_rows,) at most `capacity` rows of X
    Py_ssize_t capacity,
    Py_ssize_t block_rows,
    double scale,                       # 1 / sum of the sample weights of all rows
    real[:, ::1] out,                   # OUT (n_rows, m_L) a^L
    double[::1] row_loss,               # INOUT (>= capacity / block_rows,) grows by the loss
    int n_threads,
):
    """a^L and the loss (without penalty) of the rows ``order``."""
    cdef Py_ssize_t n_layers = layers.shape[0] - 1, i
    cdef Rows rows = all_rows(order.shape[0], capacity,
                              with_targets(source_of(X, indices, indptr), &order[0], y,
                                           sample_weight))
    cdef Loss loss = loss_of(loss_kind, loss_params, layers)
    cdef unsigned long long denormals = 0
    rows.scale = scale
    check_table(layers, params, work, capacity)
    check_rows(check_columns(layers, X, indices, indptr), layers, work, indptr, y, sample_weight,
               capacity)
    check_out(layers, out, rows.n)
    if rows.n > capacity or row_loss.shape[0] < how_many(capacity, block_rows):
        raise ValueError("work and row_loss must have room for all rows")

    with nogil, parallel(num_threads=n_threads):
        denormals = flush_denormals()
        for i in prange(how_many(rows.n, block_rows), schedule="static", chunksize=1):
            row_loss[i] += loss_of_rows(&loss, n_layers, &layers[0], &params[0], &work[0],
                                        block_of_rows(i, block_rows, rows))
            output_of_rows(&loss, &layers[n_layers], &work[0], &out[0, 0],
                           block_of_rows(i, block_rows, rows))
        restore_denormals(denormals)


def forward(
    const Layer[::1] layers,            # IN (n_layers + 1,)
    Py_ssize_t loss_kind,
    const double[::1] loss_params,      # IN (n_loss_params,)
    const real[::1] params,             # IN (n_params,)
    real[::1] work,                     # OUT room for `capacity` rows
    const real[:, ::1] X,               # IN (n, m_0), or (n_nonzero, 1) if sparse
    const Py_ssize_t[::1] indices,      # IN (n_nonzero,), or empty
    const Py_ssize_t[::1] indptr,       # IN (n + 1,), or empty
    real[:, ::1] out,                   # OUT (n, m_L) a^L
    Py_ssize_t capacity,                # >= n
    Py_ssize_t block_rows,
    int n_threads,
):
    """a^L of every row of X.

    After the call ``work`` holds z^l of the rows, and a^l but for the last layer.
    """
    cdef Py_ssize_t n_rows = check_columns(layers, X, indices, indptr)
    cdef Py_ssize_t n_layers = layers.shape[0] - 1, i
    cdef Rows rows = all_rows(n_rows, capacity, source_of(X, indices, indptr))
    cdef Loss loss = loss_of(loss_kind, loss_params, layers)
    cdef unsigned long long denormals = 0
    check_table(layers, params, work, capacity)
    check_out(layers, out, n_rows)
    if n_rows > capacity:
        raise ValueError("work must have room for all rows")

    with nogil, parallel(num_threads=n_threads):
        denormals = flush_denormals()
        for i in prange(how_many(n_rows, block_rows), schedule="static", chunksize=1):
            forward_rows(n_layers, &layers[0], &params[0], &work[0],
                         block_of_rows(i, block_rows, rows))
            output_of_rows(&loss, &layers[n_layers], &work[0], &out[0, 0],
                           block_of_rows(i, block_rows, rows))
        restore_denormals(denormals)


cdef class Predictor:
    """a^L of dense rows: the short way, for one row as for many.

    Each thread takes a block of rows at a time through all layers, in a workspace for one block.
    Workspaces are kept for the next call; a call in another thread meanwhile takes others.
    """
    cdef const Layer[::1] layers            # (n_layers + 1,)
    cdef Py_ssize_t loss_kind
    cdef const double[::1] loss_params      # (n_loss_params,)
    cdef Py_ssize_t block_rows
    cdef object params                      # (n_params,)
    cdef object new_workspace               # () -> room for block_rows rows
    cdef list workspaces
    cdef int type_number

    def __init__(self, const Layer[::1] layers, Py_ssize_t loss_kind,
                 const double[::1] loss_params, params, Py_ssize_t block_rows, new_workspace):
        self.layers, self.params = layers, params
        self.loss_kind, self.loss_params = loss_kind, loss_params
        self.block_rows, self.new_workspace = block_rows, new_workspace
        self.workspaces = []
        self.type_number = cnp.PyArray_TYPE(params)
        check_table_of(self.type_number, layers, params, new_workspace(), block_rows)

    def takes(self, X):
        """Whether X is an array that the core can read as it is."""
        return (
            cnp.PyArray_CheckExact(X)
            and cnp.PyArray_TYPE(X) == self.type_number
            and cnp.PyArray_ISCARRAY_RO(X)
            and cnp.PyArray_NDIM(X) == 2
            and cnp.PyArray_DIM(X, 0) > 0
            and cnp.PyArray_DIM(X, 1) == self.layers[0].n_out
        )

    def __call__(self, X, out=None, int n_threads=1):
        """The output for X, in ``out`` or a new array; None if X does not do or is not finite."""
        cdef cnp.npy_intp shape[2]
        cdef Py_ssize_t n_rows
        cdef bint is_finite
        cdef list workspaces = []
        if not self.takes(X):
            return None
        n_rows = cnp.PyArray_DIM(X, 0)
        if out is None:
            shape[0], shape[1] = n_rows, self.layers[self.layers.shape[0] - 1].n_out
            out = cnp.PyArray_SimpleNew(2, shape, self.type_number)
        elif not self.takes_out(out, n_rows):
            raise ValueError(
                f"out must be a C-ordered array of shape ({n_rows}, "
                f"{self.layers[self.layers.shape[0] - 1].n_out}) and of the network's dtype"
            )
        n_threads = min(n_threads, MOST_WORKSPACES)
        while len(workspaces) < (n_threads if n_rows > self.block_rows else 1):
            workspaces.append(self.workspaces.pop() if self.workspaces else self.new_workspace())
        if self.type_number == cnp.NPY_FLOAT:
            is_finite = self.run(<float*> 0, X, out, workspaces, n_rows, n_threads)
        else:
            is_finite = self.run(<double*> 0, X, out, workspaces, n_rows, n_threads)
        self.workspaces += workspaces
        return out if is_finite else None

    cdef bint takes_out(self, out, Py_ssize_t n_rows):
        return (
            cnp.PyArray_Check(out)
            and cnp.PyArray_TYPE(out) == self.type_number
            and cnp.PyArray_ISCARRAY(out)
            and cnp.PyArray_NDIM(out) == 2
            and cnp.PyArray_DIM(out, 0) == n_rows
            and cnp.PyArray_DIM(out, 1) == self.layers[self.layers.shape[0] - 1].n_out
        )

    cdef bint run(
        self, const real* any, X, out, list workspaces, Py_ssize_t n_rows, int n_threads,
    ):
        cdef real* works[MOST_WORKSPACES]
        cdef const real* x = <const real*> cnp.PyArray_DATA(X)              # (n_rows, m_0)
        cdef real* a = <real*> cnp.PyArray_DATA(out)                        # (n_rows, m_L)
        cdef const real* params = <const real*> cnp.PyArray_DATA(self.params)
        cdef const Layer* layers = &self.layers[0]
        cdef Py_ssize_t n_layers = self.layers.shape[0] - 1, i, block_rows = self.block_rows
        cdef Py_ssize_t n_blocks = how_many(n_rows, block_rows), n_infinite = 0
        cdef Loss loss = loss_of(self.loss_kind, self.loss_params, self.layers)
        for i in range(len(workspaces)):
            works[i] = <real*> cnp.PyArray_DATA(workspaces[i])
        if n_blocks == 1:   # a parallel region, even of one thread, costs as much as a row
            with nogil:
                n_infinite = predict_block(&loss, n_layers, layers, params, x, works[0], a,
                                           block_rows, n_rows, n_threads)
            return n_infinite == 0
        with nogil:
            for i in prange(n_blocks, schedule="static", chunksize=1, num_threads=n_threads):
                n_infinite += predict_block(
                    &loss, n_layers, layers, params, x + i * block_rows * layers[0].n_out,
                    works[omp_get_thread_num()], a + i * block_rows * layers[n_layers].n_out,
                    block_rows, min(block_rows, n_rows - i * block_rows), 1,
                )
        return n_infinite == 0


cdef Py_ssize_t predict_block(
    const Loss* loss,
    Py_ssize_t n_layers,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    const real* X,              # (n, m_0)
    real* work,                 # room for `capacity` rows
    real* out,                  # (n, m_L)
    Py_ssize_t capacity,
    Py_ssize_t n,
    int n_threads,
) noexcept nogil:
    """a^L of n rows; returns 1, and leaves `out` as it is, if they are not finite."""
    cdef Rows rows
    cdef unsigned long long denormals
    if not all_finite(X, n * layers[0].n_out):
        return 1
    denormals = flush_denormals()
    rows = all_rows(n, capacity, dense_rows(X, layers[0].n_out))
    if n_threads > 1:
        forward_columns(n_layers, layers, params, work, &rows, n_threads)
    else:
        forward_rows(n_layers, layers, params, work, rows)
    output_of_rows(loss, &layers[n_layers], work, out, rows)
    restore_denormals(denormals)
    return 0


def seconds_of_a_step(int n_threads, int n_steps):
    """What a step of two parallel loops costs if they have nothing to do."""
    cdef int _step = 0
    began = perf_counter()
    with nogil, parallel(num_threads=n_threads):
        for _step in range(2 * n_steps):
            wait_for_all(omp_get_num_threads())
    return (perf_counter() - began) / n_steps


def seconds_of_product(
    int equation,
    const Layer[::1] layers,            # IN (3,) of a network with one hidden layer
    const real[::1] params,             # IN (n_params,)
    real[::1] gradient,                 # OUT (n_params,)
    real[::1] work,                     # INOUT room for n rows
    Py_ssize_t n,
    int n_times,
):
    """What the product of equation (1), (3) or (4) takes in the second layer, for bench/gemm.py."""
    cdef Rows rows
    cdef Block block
    cdef int _i
    check_table(layers, params, work, n)
    if layers.shape[0] != 3 or gradient.shape[0] != params.shape[0]:
        raise ValueError("there must be one hidden layer, and gradient must be like params")
    rows = all_rows(n, n, dense_rows(&work[0], 1))
    block.layer, block.first, block.last = 2, 0, layers[2].n_in
    began = perf_counter()
    with nogil:
        for _i in range(n_times):
            if equation == 1:
                forward_layer(2, &layers[0], &params[0], &work[0], &rows)
            elif equation == 3:
                backward_layer(2, &layers[0], &params[0], &work[0], &rows)
            else:
                gradient_of_block(block, &layers[0], &params[0], NULL, &gradient[layers[2].W],
                                  &work[0], &rows, 0, 0, False, NULL)
    return (perf_counter() - began) / n_times


def openmp_threads():
    """How many threads OpenMP would start by itself, or None where it is missing."""
    return omp_get_max_threads() if FASTMLP_OPENMP else None


def use_kernels(name=None, argument="kernels"):
    """Take the kernels of this name from now on, or the fastest that this CPU can run."""
    cdef bytes text = (name or "").encode()
    if not use(text):
        raise ValueError(f"{argument} must be one of {kernel_names()}, got {name!r}")


def kernel_names():
    """The kernels that this CPU can run, fastest first, and 'blas'."""
    names = []
    while name_of(len(names)) != NULL:
        names.append(name_of(len(names)).decode())
    return names


def kernels_in_use():
    """The name of the kernels that the core takes."""
    return kernels.name.decode()


def uses_blas():
    """Whether BLAS makes the products of any layer."""
    return min(kernels.f32.largest, kernels.f64.largest) < PY_SSIZE_T_MAX


use_kernels(os.environ.get("FASTMLP_KERNEL"), "FASTMLP_KERNEL")
