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
from cpython.pyport cimport PY_SSIZE_T_MAX
from cython.parallel cimport parallel, prange
from libc.math cimport exp, fabs, log, log1p, pow, sqrt
from libc.string cimport memcpy, memset

from fastmlp._blas cimport gemm, real
from fastmlp._kernels cimport (
    IDENTITY,
    LOGISTIC,
    RELU,
    TANH,
    Layer,
    Matrix,
    Solver,
    activate,
    adam,
    add_multiple,
    all_finite,
    backward_kernel,
    exponentials,
    flush_denormals,
    forward_kernel,
    gradient_kernel,
    has_kernels,
    kernels,
    name_of,
    restore_denormals,
    sgd,
    sum_of_squares,
    times_derivative,
    use,
)
from fastmlp._openmp cimport FASTMLP_OPENMP, omp_get_max_threads, omp_get_thread_num

cnp.import_array()

# ================================================================================================
# A  Tables
# ================================================================================================

# A block of parameters: rows first to last (exclusive) of the (n_in + 1, stride) matrix [W; b].
cdef packed struct Block:
    Py_ssize_t layer
    Py_ssize_t first
    Py_ssize_t last

# The same as NumPy's types; those of the kernels' tables are described in _simd/kernels.h.
cdef Layer a_layer
cdef Block a_block
cdef Solver a_solver
LAYER = np.asarray(<Layer[:1:1]> &a_layer).dtype
BLOCK = np.asarray(<Block[:1:1]> &a_block).dtype
SOLVER = np.asarray(<Solver[:1:1]> &a_solver).dtype

cdef enum:
    MOST_WORKSPACES = 1024      # so many threads can take part in a prediction
    COLUMNS_AT_ONCE = 32        # a thread's share of columns is made of whole vectors

# The activations of hidden layers; the output's belongs to the loss.
ACTIVATIONS = {"identity": IDENTITY, "logistic": LOGISTIC, "tanh": TANH, "relu": RELU}

cdef enum SolverKind:
    SGD
    ADAM

# name: (its number, how many state arrays of the parameters' layout it keeps)
SOLVERS = {"sgd": (SGD, 1), "adam": (ADAM, 2)}

# Where the rows of a mini-batch come from: `order` says which rows of the data (NULL: as they are).
# Sparse rows have an `indptr`; dense ones lie `stride` numbers apart.
cdef struct Source:
    const Py_ssize_t* order     # (batch,)
    const Py_ssize_t* indptr    # (any + 1,) where a row's numbers begin
    const Py_ssize_t* indices   # (n_nonzero,) their columns
    const void* values          # (n_nonzero,) the numbers, of the core's type; or (any, stride)
    Py_ssize_t stride

# A block of rows of a workspace with room for `capacity` rows. The workspace begins with the rows'
# weights (capacity,) and targets (capacity, n_targets), then comes what the table of layers says;
# a^0, a copy of the inputs for those products that BLAS makes, is its end.
cdef struct Rows:
    Py_ssize_t first
    Py_ssize_t n
    Py_ssize_t capacity
    Source source


cdef inline Rows all_rows(Py_ssize_t n, Py_ssize_t capacity, Source source) noexcept nogil:
    cdef Rows rows
    rows.first, rows.n, rows.capacity, rows.source = 0, n, capacity, source
    return rows


cdef inline Rows block_of_rows(Py_ssize_t i, Py_ssize_t block_rows, Rows rows) noexcept nogil:
    rows.first = i * block_rows
    rows.n = min(block_rows, rows.n - rows.first)
    return rows


cdef inline Py_ssize_t in_data(Rows rows, Py_ssize_t i) noexcept nogil:
    """Which row of the data the i-th row of the block is."""
    return rows.first + i if rows.source.order == NULL else rows.source.order[rows.first + i]


cdef inline real* at(
    real* work, Py_ssize_t offset, Py_ssize_t stride, Rows rows,
) noexcept nogil:
    """Where the block's rows of one of the workspace's matrices begin."""
    return work + rows.capacity * offset + rows.first * stride


cdef inline bint is_sparse(Rows rows) noexcept nogil:
    return rows.source.indptr != NULL


cdef inline bint is_copied(const Layer* layers, const real* any, Rows rows) noexcept nogil:
    """Whether the inputs must lie side by side, for BLAS; kernels read them where they are."""
    return not is_sparse(rows) and rows.source.order != NULL and not has_kernels(&layers[1], any)


cdef inline Matrix inputs(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* work,
    Rows rows,
) noexcept nogil:
    """a^{l-1} of the block's rows, (rows.n, n_in) of layer l, if not sparse."""
    cdef Matrix x
    cdef Layer before = layers[l - 1]
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

cdef enum Loss:
    LOG_LOSS                # softmax + cross-entropy; the target is the class's number
    BINARY_LOG_LOSS         # logistic + binary cross-entropy, summed over the outputs
    SQUARED_ERROR           # identity + half the squared error, summed over the outputs
    POISSON                 # exp + half the Poisson deviance, summed over the outputs

LOSSES = {
    "log_loss": LOG_LOSS,
    "binary_log_loss": BINARY_LOG_LOSS,
    "squared_error": SQUARED_ERROR,
    "poisson": POISSON,
}


cdef inline void saturated_exp(const real* z, real* a, Py_ssize_t n) noexcept nogil:
    """exp(z), held far enough below the largest number that sums and products of it are finite."""
    cdef Py_ssize_t k
    for k in range(n):
        a[k] = min(z[k], <real> (60 if real is float else 500))
    exponentials(a, <real> 0, a, n)


cdef inline double softmax(
    const real* z,          # (n,)
    real* a,                # (n,) not z
    Py_ssize_t n,
) noexcept nogil:
    """a = exp(z) / sum(exp(z)); returns log(sum(exp(z)))."""
    cdef Py_ssize_t k
    cdef real largest = z[0], total = 0
    for k in range(1, n):
        largest = max(largest, z[k])
    exponentials(z, largest, a, n)
    for k in range(n):
        total += a[k]
    for k in range(n):
        a[k] /= total
    return <double> largest + log(<double> total)


cdef double output_activation(
    Py_ssize_t loss,
    const real* z,          # (n,)
    real* a,                # (n,) not z
    Py_ssize_t n,
) noexcept nogil:
    """a^L of one row: what a prediction is. Returns log(sum(exp(z))) for softmax."""
    if loss == LOG_LOSS:
        return softmax(z, a, n)
    if loss == BINARY_LOG_LOSS:
        activate(LOGISTIC, z, a, n)
    elif loss == POISSON:
        saturated_exp(z, a, n)
    else:
        memcpy(a, z, n * sizeof(real))
    return 0


cdef double output_delta(
    Py_ssize_t loss,
    Py_ssize_t n_out,
    const real* z,          # (n_out,)
    const real* y,          # (n_targets,)
    double w,               # sample weight over the batch's sum of them
    real* delta,            # (n_out,)
) noexcept nogil:
    """(2) delta^L = w dC/da^L f'(z^L) and the weighted loss of a row, which it returns.

    For each of the four losses that is w (a^L - y), if softmax's y is read as one-hot; a^L is
    nowhere else. The loss comes from z and not from log(a): it is exact where a rounds to 0 or 1.
    """
    cdef Py_ssize_t k
    cdef double row_loss = output_activation(loss, z, delta, n_out)
    if loss == LOG_LOSS:
        k = <Py_ssize_t> y[0]
        row_loss -= z[k]
        delta[k] -= 1
    else:
        for k in range(n_out):
            if loss == BINARY_LOG_LOSS:
                row_loss += binary_log_loss(z[k], y[k])
            elif loss == POISSON:
                row_loss += poisson(z[k], y[k], delta[k])
            else:
                row_loss += squared_error(z[k], y[k])
            delta[k] -= y[k]
    for k in range(n_out):
        delta[k] *= <real> w
    return w * row_loss


cdef inline double binary_log_loss(double z, double y) noexcept nogil:
    """-y log(a) - (1 - y) log(1 - a) for a = logistic(z)."""
    return max(z, 0) - y * z + log1p(exp(-fabs(z)))


cdef inline double poisson(double z, double y, double a) noexcept nogil:
    """y log(y / a) - y + a for a = exp(z); its first term is 0 for y = 0."""
    cdef double log_y = log(y) if y > 0 else 0
    return y * (log_y - z) - y + a


cdef inline double squared_error(double z, double y) noexcept nogil:
    return 0.5 * (z - y) * (z - y)


# ================================================================================================
# C  Stage 1: rows. A block touches only its own rows and only reads parameters.
# ================================================================================================

cdef void gather_rows(
    const real[:, ::1] y,           # (any, n_targets)
    const real[::1] sample_weight,  # (any,)
    double scale,                   # 1 / the mini-batch's sum of sample weights
    const Layer* layers,            # (n_layers + 1,)
    real* work,
    Rows rows,
) noexcept nogil:
    """Copy the block's targets and scaled weights, and for BLAS its inputs, into the workspace."""
    cdef Py_ssize_t i, j, n_targets = y.shape[1]
    cdef Layer layer = layers[0]
    cdef bint with_inputs = is_copied(layers, work, rows)
    cdef const real* X = <const real*> rows.source.values       # (any, m_0)
    cdef real* w = at(work, 0, 1, rows)                         # (rows.n,)
    cdef real* targets = at(work, 1, n_targets, rows)           # (rows.n, n_targets)
    cdef real* x = at(work, layer.a, layer.stride, rows)        # (rows.n, stride)
    for i in range(rows.n):
        j = in_data(rows, i)
        w[i] = <real> (scale * sample_weight[j])
        memcpy(targets + i * n_targets, &y[j, 0], n_targets * sizeof(real))
        if with_inputs:
            memcpy(x + i * layer.stride, X + j * layer.n_out, layer.n_out * sizeof(real))


cdef void add_sparse_product(
    Layer layer,                # the first with weights
    const real* W,              # (n_in, stride)
    real* z,                    # (rows.n, stride)
    Rows rows,
) noexcept nogil:
    """(1) z += x W for sparse x: one row of W for every number that is not 0."""
    cdef const real* values = <const real*> rows.source.values
    cdef Py_ssize_t i, j, p
    for i in range(rows.n):
        j = in_data(rows, i)
        for p in range(rows.source.indptr[j], rows.source.indptr[j + 1]):
            add_multiple(values[p], W + rows.source.indices[p] * layer.stride, z, layer.stride)
        z += layer.stride


cdef void forward_without_kernels(
    const Layer* layer,
    const real* params,
    Matrix x,                   # (rows.n, n_in), if not sparse
    real* z,                    # (rows.n, stride)
    real* a,                    # (rows.n, stride) may be z
    bint sparse,                # whether x is that of the rows
    Rows rows,
) noexcept nogil:
    """(1) z = x W + b, a = f(z) for sparse x, or by BLAS."""
    cdef Py_ssize_t i
    for i in range(rows.n):
        memcpy(z + i * layer.stride, params + layer.b, layer.stride * sizeof(real))
    if sparse:
        add_sparse_product(layer[0], params + layer.W, z, rows)
    else:
        # (1) z (rows.n, n_out) += x (rows.n, n_in) W (n_in, n_out)
        gemm(False, False, rows.n, layer.n_out, layer.n_in, <real> 1, <const real*> x.base,
             x.stride, params + layer.W, layer.stride, <real> 1, z, layer.stride)
    activate(layer.activation, z, a, rows.n * layer.stride)


cdef void forward_layer(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    Rows rows,
) noexcept nogil:
    """(1) z^l = a^{l-1} W^l + b^l, a^l = f(z^l)."""
    cdef const Layer* layer = &layers[l]
    cdef Matrix x = inputs(l, layers, work, rows)               # (rows.n, n_in) a^{l-1}
    cdef real* z = at(work, layer.z, layer.stride, rows)        # (rows.n, stride) z^l
    cdef real* a = at(work, layer.a, layer.stride, rows)        # (rows.n, stride) a^l
    cdef bint sparse = l == 1 and is_sparse(rows)
    if sparse or not has_kernels(layer, work):
        forward_without_kernels(layer, params, x, z, a, sparse, rows)
    else:
        forward_kernel(layer, rows.n, x, params + layer.W, z, a)


cdef void forward_columns(
    Py_ssize_t n_layers,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    Rows rows,
    int n_threads,
) noexcept nogil:
    """(1) up to z^L for few dense rows: each thread takes some columns of W, and its cache them.

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
                    forward_kernel(&part, rows.n, x, params + part.W + first, z, z)
                    for i in range(rows.n):
                        activate(layers[l].activation, z + i * part.stride, a + i * part.stride,
                                 part.n_out)


cdef void backward_layer(
    Py_ssize_t l,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    Rows rows,
) noexcept nogil:
    """(3) delta^{l-1} = (delta^l (W^l)^T) * f'(z^{l-1})."""
    cdef const Layer* layer = &layers[l]
    cdef const Layer* before = &layers[l - 1]
    cdef const real* delta = at(work, layer.delta, layer.stride, rows)          # (rows.n, stride)
    cdef const real* a_before = at(work, before.a, before.stride, rows)         # those of layer
    cdef real* delta_before = at(work, before.delta, before.stride, rows)       # l - 1
    if has_kernels(layer, work):
        backward_kernel(layer, before, rows.n, delta, params + layer.W, a_before, delta_before)
        return
    # (3) delta^{l-1} (rows.n, n_in) = delta^l (rows.n, n_out) W^T (n_out, n_in)
    gemm(False, True, rows.n, layer.n_in, layer.n_out, <real> 1, delta, layer.stride,
         params + layer.W, layer.stride, <real> 0, delta_before, before.stride)
    times_derivative(before.activation, a_before, delta_before, rows.n * before.stride)


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
        forward_layer(l, layers, params, work, rows)


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
        backward_layer(l, layers, params, work, rows)


cdef double loss_of_rows(
    Py_ssize_t loss,
    Py_ssize_t n_layers,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    Py_ssize_t n_targets,
    real* work,
    Rows rows,
) noexcept nogil:
    """(1), (2) for a block of rows that has been gathered; returns its weighted loss."""
    cdef Layer last = layers[n_layers]
    cdef real* z = at(work, last.z, last.stride, rows)          # (rows.n, stride)
    cdef real* delta = at(work, last.delta, last.stride, rows)  # (rows.n, stride)
    cdef real* y = at(work, 1, n_targets, rows)                 # (rows.n, n_targets)
    cdef real* w = at(work, 0, 1, rows)                         # (rows.n,)
    cdef double total = 0
    cdef Py_ssize_t i
    forward_rows(n_layers, layers, params, work, rows)
    for i in range(rows.n):
        total += output_delta(loss, last.n_out, z + i * last.stride, y + i * n_targets, w[i],
                              delta + i * last.stride)
    return total


cdef void output_of_rows(
    Py_ssize_t loss,
    Layer last,
    real* work,
    real* out,                  # (batch, m_L)
    Rows rows,
) noexcept nogil:
    """a^L of a block of rows from their z^L."""
    cdef real* z = at(work, last.z, last.stride, rows)          # (rows.n, stride)
    cdef Py_ssize_t i
    out += rows.first * last.n_out
    for i in range(rows.n):
        output_activation(loss, z + i * last.stride, out + i * last.n_out, last.n_out)


# ================================================================================================
# D  Stage 2: parameters. A block reads the whole mini-batch and writes only its own parameters.
# ================================================================================================

cdef void add_sparse_gradient(
    Block block,
    Layer layer,                # the first with weights
    const real* delta,          # (rows.n, stride)
    real* dW,                   # (last - first, stride) the block's rows
    Rows rows,                  # the whole mini-batch
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
    Layer layer,
    Matrix x,                   # (rows.n, n_in), if not sparse
    const real* delta,          # (rows.n, stride)
    real* dW,                   # (last - first, stride)
    bint sparse,                # whether x is that of the rows
    bint adds_up,
    Rows rows,                  # the whole mini-batch
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


cdef double gradient_of_block(
    Block block,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* dW,                   # (last - first, stride) the block's rows of [dW; db]
    const real* work,
    Rows rows,                  # the whole mini-batch
    double l2,                  # alpha over the batch's sum of sample weights
    bint adds_up,               # to the gradient of other rows
) noexcept nogil:
    """(4) dW^l = (a^{l-1})^T delta^l + l2 W^l, db^l = sum of the rows of delta^l.

    Returns the block's share of the penalty 1/2 l2 sum(W^2).
    """
    cdef Layer layer = layers[block.layer]
    cdef const real* delta = work + rows.capacity * layer.delta             # (rows.n, stride)
    cdef const real* W = params + layer.W + block.first * layer.stride      # (last - first, stride)
    cdef Py_ssize_t n = (min(block.last, layer.n_in) - block.first) * layer.stride, j, k
    cdef Matrix x = inputs(block.layer, layers, work, rows)                 # (rows.n, n_in)
    cdef bint sparse = block.layer == 1 and is_sparse(rows)
    if sparse or not has_kernels(&layer, work):
        gradient_without_kernels(block, layer, x, delta, dW, sparse, adds_up, rows)
    else:
        gradient_kernel(&layer, block.first, block.last, rows.n, x, delta, dW, adds_up)
    for j in range(block.last - block.first):   # dW may have been another layer's
        for k in range(layer.n_out, layer.stride):
            dW[j * layer.stride + k] = 0
    if l2 == 0:
        return 0
    add_multiple(<real> l2, W, dW, n)
    return 0.5 * l2 * sum_of_squares(W, n)


cdef Solver at_step(Solver solver, Py_ssize_t t) noexcept nogil:
    """The solver as it is in step t = 1, 2, ..."""
    solver.t = t
    solver.step_rate = solver.learning_rate
    if solver.kind == ADAM:
        solver.step_rate *= sqrt(1 - pow(solver.beta_2, t)) / (1 - pow(solver.beta_1, t))
    return solver


cdef void move_block(
    Solver solver,
    Block block,
    const Layer* layers,        # (n_layers + 1,)
    real* params,               # (n_params,)
    const real* dW,             # (last - first, stride) the block's rows of [dW; db]
    real* state,                # (n_states, n_params)
    Py_ssize_t n_params,
) noexcept nogil:
    """(5) Every parameter of the block moves against its gradient."""
    cdef Layer layer = layers[block.layer]
    cdef Py_ssize_t i = layer.W + block.first * layer.stride
    cdef Py_ssize_t n = (block.last - block.first) * layer.stride
    if solver.kind == SGD:
        sgd(&solver, params + i, dW, state + i, n)
    else:
        adam(&solver, params + i, dW, state + i, state + n_params + i, n)


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


cdef Source source_of(
    const real[:, ::1] X, const Py_ssize_t[::1] indices, const Py_ssize_t[::1] indptr,
) noexcept nogil:
    cdef Source source
    source.order = source.indptr = source.indices = NULL
    source.values, source.stride = &X[0, 0], X.shape[1]
    if indptr.shape[0] > 0:
        source.indptr, source.indices = &indptr[0], &indices[0]
    return source


cdef inline Source ordered(Source source, const Py_ssize_t* order) noexcept nogil:
    source.order = order
    return source


cdef int check_table(
    const Layer[::1] layers, const real[::1] params, const real[::1] work, Py_ssize_t capacity,
) except -1:
    cdef Py_ssize_t l, end
    for l in range(1, layers.shape[0]):
        end = max(layers[l].z, max(layers[l].a, layers[l].delta)) + layers[l].stride
        if work.shape[0] < capacity * end:
            raise ValueError("work is smaller than the table of layers says")
        if params.shape[0] < layers[l].b + layers[l].stride:
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


def train(
    const Layer[::1] layers,            # IN (n_layers + 1,)
    const Block[::1] blocks,            # IN (n_blocks,)
    Py_ssize_t loss,
    real[::1] params,                   # INOUT (n_params,)
    real[:, ::1] gradient,              # OUT (n_threads, the largest block's numbers)
    real[:, ::1] state,                 # INOUT (n_states, n_params)
    real[::1] work,                     # OUT room for `capacity` rows
    const real[:, ::1] X,               # IN (n, m_0), or (n_nonzero, 1) if sparse
    const Py_ssize_t[::1] indices,      # IN (n_nonzero,), or empty
    const Py_ssize_t[::1] indptr,       # IN (n + 1,), or empty
    const real[:, ::1] y,               # IN (n, n_targets)
    const real[::1] sample_weight,      # IN (n,)
    const Py_ssize_t[::1] order,        # IN (n_rows,) rows of X, in the order of training
    Py_ssize_t batch_size,
    Py_ssize_t capacity,                # >= batch_size
    Py_ssize_t block_rows,
    double alpha,                       # L2
    Solver[::1] solver,                 # INOUT (1,) its t counts the steps
    double[::1] row_loss,               # INOUT (>= batch_size / block_rows,) and
    double[::1] penalty,                # INOUT (n_blocks,): a block's share of the epoch's loss
    int n_threads,
):
    """Make one step for each mini-batch of ``order``.

    ``row_loss`` and ``penalty`` add up (loss of a mini-batch before its step) * (its rows).
    """
    cdef Py_ssize_t n_layers = layers.shape[0] - 1, n_params = params.shape[0]
    cdef Py_ssize_t n_targets = y.shape[1]
    cdef Py_ssize_t n_rows = order.shape[0], n_steps = how_many(n_rows, batch_size)
    cdef Py_ssize_t step = 0, start = 0, n = 0, i
    cdef double scale = 0
    cdef Source source = source_of(X, indices, indptr)
    cdef Rows rows
    cdef Solver now
    cdef real* dW = NULL                # a thread's place for its block of the gradient
    cdef unsigned long long denormals = 0
    check_table(layers, params, work, capacity)
    check_rows(check_columns(layers, X, indices, indptr), layers, work, indptr, y, sample_weight,
               capacity)
    if state.shape[1] != n_params:
        raise ValueError("state must have the layout of params")
    if gradient.shape[0] < n_threads or gradient.shape[1] < largest_block(layers, blocks):
        raise ValueError("gradient must have room for a block for each thread")
    if capacity < batch_size or row_loss.shape[0] < how_many(batch_size, block_rows):
        raise ValueError("work and row_loss must have room for batch_size rows")
    if penalty.shape[0] != blocks.shape[0]:
        raise ValueError("penalty must have a place for each block of parameters")
    if n_rows == 0:
        return

    with nogil, parallel(num_threads=n_threads):
        denormals = flush_denormals()
        dW = &gradient[omp_get_thread_num(), 0]
        for step in range(n_steps):
            start = step * batch_size
            n = min(batch_size, n_rows - start)
            scale = reciprocal(sum_of_weights(sample_weight, &order[start], n))
            rows = all_rows(n, capacity, ordered(source, &order[start]))
            now = at_step(solver[0], solver[0].t + step + 1)
            # chunks of 1, shared out in turn: a thread gets the same blocks in each step, and its
            # caches hold their parameters
            for i in prange(how_many(n, block_rows), schedule="static", chunksize=1):
                gather_rows(y, sample_weight, scale, &layers[0], &work[0],
                            block_of_rows(i, block_rows, rows))
                row_loss[i] += n * loss_of_rows(loss, n_layers, &layers[0], &params[0], n_targets,
                                                &work[0], block_of_rows(i, block_rows, rows))
                backward_rows(n_layers, &layers[0], &params[0], &work[0],
                              block_of_rows(i, block_rows, rows))
            for i in prange(blocks.shape[0], schedule="static", chunksize=1):
                penalty[i] += n * gradient_of_block(
                    blocks[i], &layers[0], &params[0], dW, &work[0], rows, alpha * scale, False,
                )
                move_block(now, blocks[i], &layers[0], &params[0], dW, &state[0, 0], n_params)
        restore_denormals(denormals)
    solver[0].t += n_steps


def add_gradient(
    const Layer[::1] layers,            # IN (n_layers + 1,)
    const Block[::1] blocks,            # IN (n_blocks,)
    Py_ssize_t loss,
    const real[::1] params,             # IN (n_params,)
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
    double l2,                          # L2 over that sum; 0 if it has been counted
    bint adds_up,                       # to what gradient holds, or else replaces it
    double[::1] row_loss,               # INOUT (>= capacity / block_rows,) and
    double[::1] penalty,                # INOUT (n_blocks,): their sum grows by the loss
    int n_threads,
):
    """Loss and gradient of the rows ``order``; the parameters stay as they are.

    After the call ``work`` holds z, a and delta of these rows.
    """
    cdef Py_ssize_t n_layers = layers.shape[0] - 1, n_targets = y.shape[1], i
    cdef Rows rows = all_rows(order.shape[0], capacity,
                              ordered(source_of(X, indices, indptr), &order[0]))
    cdef unsigned long long denormals = 0
    check_table(layers, params, work, capacity)
    check_rows(check_columns(layers, X, indices, indptr), layers, work, indptr, y, sample_weight,
               capacity)
    if gradient.shape[0] != params.shape[0]:
        raise ValueError("gradient must have the layout of params")
    if rows.n > capacity or row_loss.shape[0] < how_many(capacity, block_rows):
        raise ValueError("work and row_loss must have room for all rows")
    if penalty.shape[0] != blocks.shape[0]:
        raise ValueError("penalty must have a place for each block of parameters")

    with nogil, parallel(num_threads=n_threads):
        denormals = flush_denormals()
        for i in prange(how_many(rows.n, block_rows), schedule="static", chunksize=1):
            gather_rows(y, sample_weight, scale, &layers[0], &work[0],
                        block_of_rows(i, block_rows, rows))
            row_loss[i] += loss_of_rows(loss, n_layers, &layers[0], &params[0], n_targets,
                                        &work[0], block_of_rows(i, block_rows, rows))
            backward_rows(n_layers, &layers[0], &params[0], &work[0],
                          block_of_rows(i, block_rows, rows))
        for i in prange(blocks.shape[0], schedule="static", chunksize=1):
            penalty[i] += gradient_of_block(
                blocks[i], &layers[0], &params[0],
                &gradient[layers[blocks[i].layer].W
                          + blocks[i].first * layers[blocks[i].layer].stride],
                &work[0], rows, l2, adds_up,
            )
        restore_denormals(denormals)


def evaluate(
    const Layer[::1] layers,            # IN (n_layers + 1,)
    Py_ssize_t loss,
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
    cdef Py_ssize_t n_layers = layers.shape[0] - 1, n_targets = y.shape[1], i
    cdef Rows rows = all_rows(order.shape[0], capacity,
                              ordered(source_of(X, indices, indptr), &order[0]))
    cdef unsigned long long denormals = 0
    check_table(layers, params, work, capacity)
    check_rows(check_columns(layers, X, indices, indptr), layers, work, indptr, y, sample_weight,
               capacity)
    check_out(layers, out, rows.n)
    if rows.n > capacity or row_loss.shape[0] < how_many(capacity, block_rows):
        raise ValueError("work and row_loss must have room for all rows")

    with nogil, parallel(num_threads=n_threads):
        denormals = flush_denormals()
        for i in prange(how_many(rows.n, block_rows), schedule="static", chunksize=1):
            gather_rows(y, sample_weight, scale, &layers[0], &work[0],
                        block_of_rows(i, block_rows, rows))
            row_loss[i] += loss_of_rows(loss, n_layers, &layers[0], &params[0], n_targets,
                                        &work[0], block_of_rows(i, block_rows, rows))
            output_of_rows(loss, layers[n_layers], &work[0], &out[0, 0],
                           block_of_rows(i, block_rows, rows))
        restore_denormals(denormals)


def forward(
    const Layer[::1] layers,            # IN (n_layers + 1,)
    Py_ssize_t loss,
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
            output_of_rows(loss, layers[n_layers], &work[0], &out[0, 0],
                           block_of_rows(i, block_rows, rows))
        restore_denormals(denormals)


cdef class Predictor:
    """a^L of dense rows: the short way, for one row as for many.

    Each thread takes a block of rows at a time through all layers, in a workspace for one block.
    Workspaces are kept for the next call; a call in another thread meanwhile takes others.
    """
    cdef const Layer[::1] layers            # (n_layers + 1,)
    cdef Py_ssize_t loss
    cdef Py_ssize_t block_rows
    cdef object params                      # (n_params,)
    cdef object new_workspace               # () -> room for block_rows rows
    cdef list workspaces
    cdef int type_number

    def __init__(self, const Layer[::1] layers, Py_ssize_t loss, params, Py_ssize_t block_rows,
                 new_workspace):
        self.layers, self.loss, self.params = layers, loss, params
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
        cdef Py_ssize_t n_blocks = how_many(n_rows, block_rows), n_infinite = 0, loss = self.loss
        for i in range(len(workspaces)):
            works[i] = <real*> cnp.PyArray_DATA(workspaces[i])
        if n_blocks == 1:   # a parallel region, even of one thread, costs as much as a row
            with nogil:
                n_infinite = predict_block(loss, n_layers, layers, params, x, works[0], a,
                                           block_rows, n_rows, n_threads)
            return n_infinite == 0
        with nogil:
            for i in prange(n_blocks, schedule="static", chunksize=1, num_threads=n_threads):
                n_infinite += predict_block(
                    loss, n_layers, layers, params, x + i * block_rows * layers[0].n_out,
                    works[omp_get_thread_num()], a + i * block_rows * layers[n_layers].n_out,
                    block_rows, min(block_rows, n_rows - i * block_rows), 1,
                )
        return n_infinite == 0


cdef Py_ssize_t predict_block(
    Py_ssize_t loss,
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
    cdef Source source
    cdef Rows rows
    cdef unsigned long long denormals
    if not all_finite(X, n * layers[0].n_out):
        return 1
    denormals = flush_denormals()
    source.order = source.indptr = source.indices = NULL
    source.values, source.stride = X, layers[0].n_out
    rows = all_rows(n, capacity, source)
    if n_threads > 1:
        forward_columns(n_layers, layers, params, work, rows, n_threads)
    else:
        forward_rows(n_layers, layers, params, work, rows)
    output_of_rows(loss, layers[n_layers], work, out, rows)
    restore_denormals(denormals)
    return 0


def seconds_of_a_step(int n_threads, int n_steps):
    """What a step of two parallel loops costs if they have nothing to do."""
    cdef int _step = 0, _i
    began = perf_counter()
    with nogil, parallel(num_threads=n_threads):
        for _step in range(n_steps):
            for _i in prange(n_threads, schedule="static", chunksize=1):
                pass
            for _i in prange(n_threads, schedule="static", chunksize=1):
                pass
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
    cdef Source source
    cdef Rows rows
    cdef Block block
    cdef int _i
    check_table(layers, params, work, n)
    if layers.shape[0] != 3 or gradient.shape[0] != params.shape[0]:
        raise ValueError("there must be one hidden layer, and gradient must be like params")
    source.order = source.indptr = source.indices = NULL
    source.values, source.stride = &work[0], 1
    rows = all_rows(n, n, source)
    block.layer, block.first, block.last = 2, 0, layers[2].n_in
    began = perf_counter()
    with nogil:
        for _i in range(n_times):
            if equation == 1:
                forward_layer(2, &layers[0], &params[0], &work[0], rows)
            elif equation == 3:
                backward_layer(2, &layers[0], &params[0], &work[0], rows)
            else:
                gradient_of_block(block, &layers[0], &params[0], &gradient[layers[2].W], &work[0],
                                  rows, 0, False)
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
