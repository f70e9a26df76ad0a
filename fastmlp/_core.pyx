"""All arithmetic of fastmlp, in the order in which a mini-batch meets it.

A  Tables               what is where in the flat buffers
B  Activations          f and f'
C  Losses               output activation, loss and delta^L together
D  Stage 1: rows        equations (1), (2), (3) for a block of rows
E  Stage 2: parameters  equations (4), (5) for a block of parameters
F  Solvers              the step of (5)
G  The boundary         what Python calls

Notation and the numbered equations are those of docs/how-it-works.md. A stage is a parallel loop
over blocks; a block writes only what is its own, and how the work is cut into blocks depends on
the problem and never on the number of threads: so neither does the result. The core allocates
nothing; all memory is NumPy's.
"""

import numpy as np

from cython.parallel cimport parallel, prange
from libc.math cimport exp, expf, fabs, log, log1p, pow, sqrt, sqrtf, tanh, tanhf
from libc.string cimport memcpy, memset

from fastmlp._blas cimport gemm, real, sum_of_squares
from fastmlp._openmp cimport FASTMLP_OPENMP, omp_get_max_threads

# ================================================================================================
# A  Tables
# ================================================================================================

# One row per layer, the input included (layer 0, which has no parameters). Offsets, not pointers:
# they survive a copy and a pickle.
cdef packed struct Layer:
    Py_ssize_t n_in         # m_{l-1}
    Py_ssize_t n_out        # m_l
    Py_ssize_t stride       # n_out, padded: how far apart the rows of W, z, a, delta are
    Py_ssize_t activation
    Py_ssize_t W            # offset into the parameters: W (n_in, stride), and after it ...
    Py_ssize_t b            # ... b (stride,): together an (n_in + 1, stride) matrix
    Py_ssize_t z            # offsets into a workspace, for each row that it can hold: z, a and
    Py_ssize_t a            # delta are (capacity, stride); z == a where z is not kept
    Py_ssize_t delta

# A block of parameters: rows first to last (exclusive) of the (n_in + 1, stride) matrix [W; b].
cdef packed struct Block:
    Py_ssize_t layer
    Py_ssize_t first
    Py_ssize_t last

cdef packed struct Solver:
    Py_ssize_t kind
    Py_ssize_t t            # steps made so far
    Py_ssize_t nesterov
    double learning_rate
    double step_rate        # learning_rate with the corrections for step t
    double momentum
    double beta_1
    double beta_2
    double epsilon

# The same as NumPy's types.
cdef Layer a_layer
cdef Block a_block
cdef Solver a_solver
LAYER = np.asarray(<Layer[:1:1]> &a_layer).dtype
BLOCK = np.asarray(<Block[:1:1]> &a_block).dtype
SOLVER = np.asarray(<Solver[:1:1]> &a_solver).dtype

# Where the rows of a mini-batch come from: `order` says which rows of the data (NULL: as they are).
# Sparse rows stay where they are; for dense ones `indptr` is NULL.
cdef struct Source:
    const Py_ssize_t* order     # (batch,)
    const Py_ssize_t* indptr    # (any + 1,) where a row's numbers begin
    const Py_ssize_t* indices   # (n_nonzero,) their columns
    const void* values          # (n_nonzero,) the numbers, of the core's type

# A block of rows of a workspace with room for `capacity` rows. The workspace begins with the rows'
# weights (capacity,) and targets (capacity, n_targets), then comes what the table of layers says;
# a^0, which sparse rows and predictions do without, is its end.
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


# ================================================================================================
# B  Activations
# ================================================================================================

cdef enum Activation:
    IDENTITY
    LOGISTIC
    TANH
    RELU

# Those of the hidden layers; the output's belongs to the loss.
ACTIVATIONS = {"identity": IDENTITY, "logistic": LOGISTIC, "tanh": TANH, "relu": RELU}


cdef inline real exp_(real x) noexcept nogil:
    if real is float:
        return expf(x)
    else:
        return exp(x)


cdef inline real tanh_(real x) noexcept nogil:
    if real is float:
        return tanhf(x)
    else:
        return tanh(x)


cdef inline real sqrt_(real x) noexcept nogil:
    if real is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef inline real logistic(real z) noexcept nogil:
    cdef real e
    if z < 0:
        e = exp_(z)
        return e / (1 + e)
    return 1 / (1 + exp_(-z))


cdef void activate(
    Py_ssize_t activation,
    const real* z,          # (n,)
    real* a,                # (n,) may be z
    Py_ssize_t n,
) noexcept nogil:
    """a = f(z)."""
    cdef Py_ssize_t i
    if activation == LOGISTIC:
        for i in range(n):
            a[i] = logistic(z[i])
    elif activation == TANH:
        for i in range(n):
            a[i] = tanh_(z[i])
    elif activation == RELU:
        for i in range(n):
            a[i] = 0 if z[i] < 0 else z[i]      # in this order NaN stays NaN
    elif a != z:
        memcpy(a, z, n * sizeof(real))


cdef void times_derivative(
    Py_ssize_t activation,
    const real* a,          # (n,) f(z)
    real* delta,            # (n,)
    Py_ssize_t n,
) noexcept nogil:
    """delta *= f'(z), where f' is a function of a; that of relu is 0 where a is 0."""
    cdef Py_ssize_t i
    if activation == LOGISTIC:
        for i in range(n):
            delta[i] *= a[i] * (1 - a[i])
    elif activation == TANH:
        for i in range(n):
            delta[i] *= 1 - a[i] * a[i]
    elif activation == RELU:
        for i in range(n):
            delta[i] = 0 if a[i] == 0 else delta[i]


# ================================================================================================
# C  Losses
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


cdef inline real saturated_exp(real z) noexcept nogil:
    """exp(z), held far enough below the largest number that sums and products of it are finite."""
    if real is float:
        return expf(min(z, <float> 60))
    else:
        return exp(min(z, <double> 500))


cdef inline double softmax(
    const real* z,          # (n,)
    real* a,                # (n,) may be z
    Py_ssize_t n,
) noexcept nogil:
    """a = exp(z) / sum(exp(z)); returns log(sum(exp(z)))."""
    cdef Py_ssize_t k
    cdef real largest = z[0], total = 0
    for k in range(1, n):
        largest = max(largest, z[k])
    for k in range(n):
        a[k] = exp_(z[k] - largest)
        total += a[k]
    for k in range(n):
        a[k] /= total
    return <double> largest + log(<double> total)


cdef void output_activation(
    Py_ssize_t loss,
    const real* z,          # (n,)
    real* a,                # (n,)
    Py_ssize_t n,
) noexcept nogil:
    """a^L of one row without a target: what a prediction is."""
    cdef Py_ssize_t k
    if loss == LOG_LOSS:
        softmax(z, a, n)
    elif loss == BINARY_LOG_LOSS:
        for k in range(n):
            a[k] = logistic(z[k])
    elif loss == POISSON:
        for k in range(n):
            a[k] = saturated_exp(z[k])
    else:
        memcpy(a, z, n * sizeof(real))


cdef double output_delta(
    Py_ssize_t loss,
    Layer layer,
    const real* z,          # (n_rows, stride)
    real* a,                # (n_rows, stride) may be z
    const real* y,          # (n_rows, n_targets)
    const real* w,          # (n_rows,) sample weight over the batch's sum of them
    real* delta,            # (n_rows, stride)
    Py_ssize_t n_rows,
) noexcept nogil:
    """(2) a^L, delta^L = w dC/da^L f'(z^L), and the rows' weighted loss, which it returns.

    For each of the four losses that is w (a^L - y), if softmax's y is read as one-hot. The loss
    comes from z and not from log(a): it is exact where a rounds to 0 or 1.
    """
    cdef Py_ssize_t i, k
    cdef double row_loss, total = 0
    for i in range(n_rows):
        row_loss = 0
        if loss == LOG_LOSS:
            k = <Py_ssize_t> y[0]
            row_loss = -<double> z[k]
            row_loss += softmax(z, a, layer.n_out)
            for k in range(layer.n_out):
                delta[k] = w[i] * a[k]
            k = <Py_ssize_t> y[0]
            delta[k] = w[i] * (a[k] - 1)
            y += 1
        else:
            for k in range(layer.n_out):
                if loss == BINARY_LOG_LOSS:
                    row_loss += binary_log_loss(z[k], y[k])
                    a[k] = logistic(z[k])
                elif loss == POISSON:
                    row_loss += poisson(z[k], y[k], saturated_exp(z[k]))
                    a[k] = saturated_exp(z[k])
                else:
                    row_loss += squared_error(z[k], y[k])
                    a[k] = z[k]
                delta[k] = w[i] * (a[k] - y[k])
            y += layer.n_out
        total += w[i] * row_loss
        z += layer.stride
        a += layer.stride
        delta += layer.stride
    return total


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
# D  Stage 1: rows. A block touches only its own rows and only reads parameters.
# ================================================================================================

cdef void gather_rows(
    const real[:, ::1] X,           # (any, m_0), if dense
    const real[:, ::1] y,           # (any, n_targets)
    const real[::1] sample_weight,  # (any,)
    double scale,                   # 1 / the mini-batch's sum of sample weights
    Layer layer,                    # the input
    real* work,
    Rows rows,
) noexcept nogil:
    """Copy the block's targets, scaled weights and dense inputs into the workspace."""
    cdef Py_ssize_t i, j, n_targets = y.shape[1]
    cdef bint is_dense = rows.source.indptr == NULL
    cdef real* w = at(work, 0, 1, rows)                         # (rows.n,)
    cdef real* targets = at(work, 1, n_targets, rows)           # (rows.n, n_targets)
    cdef real* x = at(work, layer.a, layer.stride, rows)        # (rows.n, stride)
    for i in range(rows.n):
        j = in_data(rows, i)
        w[i] = <real> (scale * sample_weight[j])
        memcpy(targets + i * n_targets, &y[j, 0], n_targets * sizeof(real))
        if is_dense:
            memcpy(x + i * layer.stride, &X[j, 0], layer.n_out * sizeof(real))


cdef void add_sparse_product(
    Layer layer,                # the first with weights
    const real* W,              # (n_in, stride)
    real* z,                    # (rows.n, stride)
    Rows rows,
) noexcept nogil:
    """(1) z += x W for sparse x: one row of W for every number that is not 0."""
    cdef const real* values = <const real*> rows.source.values
    cdef Py_ssize_t i, j, k, p
    cdef const real* w
    for i in range(rows.n):
        j = in_data(rows, i)
        for p in range(rows.source.indptr[j], rows.source.indptr[j + 1]):
            w = W + rows.source.indices[p] * layer.stride
            for k in range(layer.n_out):
                z[k] += values[p] * w[k]
        z += layer.stride


cdef void forward_rows(
    Py_ssize_t n_layers,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    const real* x,              # (rows.n, m_0), rows x_stride apart, if dense
    Py_ssize_t x_stride,
    real* work,
    Rows rows,
) noexcept nogil:
    """(1) z^l = a^{l-1} W^l + b^l, a^l = f(z^l) up to z^L."""
    cdef Py_ssize_t l, i
    cdef Layer layer
    cdef const real* a = x      # (rows.n, n_in) a^{l-1}
    cdef Py_ssize_t a_stride = x_stride
    cdef real* z                # (rows.n, stride) z^l
    for l in range(1, n_layers + 1):
        layer = layers[l]
        z = at(work, layer.z, layer.stride, rows)
        for i in range(rows.n):
            memcpy(z + i * layer.stride, params + layer.b, layer.stride * sizeof(real))
        if l == 1 and rows.source.indptr != NULL:
            add_sparse_product(layer, params + layer.W, z, rows)
        else:
            # (1) z (rows.n, n_out) += a (rows.n, n_in) W (n_in, n_out)
            gemm(False, False, rows.n, layer.n_out, layer.n_in, <real> 1, a, a_stride,
                 params + layer.W, layer.stride, <real> 1, z, layer.stride)
        if l < n_layers:
            a = at(work, layer.a, layer.stride, rows)
            a_stride = layer.stride
            activate(layer.activation, z, <real*> a, rows.n * layer.stride)


cdef void backward_rows(
    Py_ssize_t n_layers,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* work,
    Rows rows,
) noexcept nogil:
    """(3) delta^{l-1} = (delta^l (W^l)^T) * f'(z^{l-1}), for each hidden layer."""
    cdef Py_ssize_t l
    cdef Layer layer, before
    cdef real* delta            # (rows.n, before.stride) delta^{l-1}
    for l in range(n_layers, 1, -1):
        layer, before = layers[l], layers[l - 1]
        delta = at(work, before.delta, before.stride, rows)
        # (3) delta^{l-1} (rows.n, n_in) = delta^l (rows.n, n_out) W^T (n_out, n_in)
        gemm(False, True, rows.n, layer.n_in, layer.n_out, <real> 1,
             at(work, layer.delta, layer.stride, rows), layer.stride,
             params + layer.W, layer.stride, <real> 0, delta, before.stride)
        times_derivative(before.activation, at(work, before.a, before.stride, rows), delta,
                         rows.n * before.stride)


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
    cdef Layer first = layers[0], last = layers[n_layers]
    cdef real* z = at(work, last.z, last.stride, rows)          # (rows.n, stride)
    cdef real* a = at(work, last.a, last.stride, rows)          # (rows.n, stride)
    cdef real* delta = at(work, last.delta, last.stride, rows)  # (rows.n, stride)
    cdef real* y = at(work, 1, n_targets, rows)                 # (rows.n, n_targets)
    cdef real* w = at(work, 0, 1, rows)                         # (rows.n,)
    forward_rows(n_layers, layers, params, at(work, first.a, first.stride, rows), first.stride,
                 work, rows)
    return output_delta(loss, last, z, a, y, w, delta, rows.n)


cdef void copy_output(
    Layer layer,                # the last
    real* work,
    real* out,                  # (batch, n_out)
    Rows rows,
) noexcept nogil:
    cdef real* a = at(work, layer.a, layer.stride, rows)        # (rows.n, stride)
    cdef Py_ssize_t i
    out += rows.first * layer.n_out
    for i in range(rows.n):
        memcpy(out + i * layer.n_out, a + i * layer.stride, layer.n_out * sizeof(real))


cdef void predict_rows(
    Py_ssize_t loss,
    const Layer[::1] layers,    # (n_layers + 1,)
    const real* params,
    const real* X,              # (capacity, m_0) the rows that the workspace stands for, if dense
    real* work,
    real* out,                  # (capacity, m_L)
    Rows rows,
) noexcept nogil:
    """(1) and the output activation for a block of rows."""
    cdef Py_ssize_t i, n_layers = layers.shape[0] - 1, n_columns = layers[0].n_out
    cdef Layer last = layers[n_layers]
    cdef real* z = at(work, last.z, last.stride, rows)          # (rows.n, stride)
    forward_rows(n_layers, &layers[0], params, X + rows.first * n_columns, n_columns, work, rows)
    out += rows.first * last.n_out
    for i in range(rows.n):
        output_activation(loss, z + i * last.stride, out + i * last.n_out, last.n_out)


# ================================================================================================
# E  Stage 2: parameters. A block reads the whole mini-batch and writes only its own parameters.
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
    cdef Py_ssize_t i, j, k, p, column
    cdef real* row
    for i in range(rows.n):
        j = in_data(rows, i)
        for p in range(rows.source.indptr[j], rows.source.indptr[j + 1]):
            column = rows.source.indices[p]
            if block.first <= column < block.last:
                row = dW + (column - block.first) * layer.stride
                for k in range(layer.n_out):
                    row[k] += values[p] * delta[k]
        delta += layer.stride


cdef double gradient_of_block(
    Block block,
    const Layer* layers,        # (n_layers + 1,)
    const real* params,
    real* gradient,             # as params
    const real* work,
    Rows rows,                  # the whole mini-batch
    double l2,                  # alpha over the batch's sum of sample weights
    bint adds_up,               # to the gradient of other rows
) noexcept nogil:
    """(4) dW^l = (a^{l-1})^T delta^l + l2 W^l, db^l = sum of the rows of delta^l.

    Returns the block's share of the penalty 1/2 l2 sum(W^2).
    """
    cdef Layer layer = layers[block.layer], before = layers[block.layer - 1]
    cdef Py_ssize_t last = min(block.last, layer.n_in), first = block.first
    cdef const real* a = work + rows.capacity * before.a + first    # (rows.n, n_in), from a column
    cdef const real* delta = work + rows.capacity * layer.delta     # (rows.n, n_out)
    cdef const real* W = params + layer.W + first * layer.stride    # (last - first, stride)
    cdef real* dW = gradient + layer.W + first * layer.stride       # (last - first, stride)
    cdef real* db = gradient + layer.b                              # (n_out,)
    cdef Py_ssize_t i, k, n = (last - first) * layer.stride
    cdef real decay = <real> l2
    cdef double penalty = 0

    if block.layer == 1 and rows.source.indptr != NULL:
        if not adds_up:
            memset(dW, 0, n * sizeof(real))
        add_sparse_gradient(block, layer, delta, dW, rows)
    else:
        # (4) dW (last - first, n_out) = a^T (last - first, rows.n) delta (rows.n, n_out)
        gemm(True, False, last - first, layer.n_out, rows.n, <real> 1, a, before.stride,
             delta, layer.stride, <real> (1 if adds_up else 0), dW, layer.stride)
    if l2 != 0:
        for i in range(n):
            dW[i] += decay * W[i]
        penalty = 0.5 * l2 * sum_of_squares(W, n)
    if block.last > layer.n_in:
        if not adds_up:
            memset(db, 0, layer.n_out * sizeof(real))
        for i in range(rows.n):
            for k in range(layer.n_out):
                db[k] += delta[i * layer.stride + k]
    return penalty


# ================================================================================================
# F  Solvers: one function on a range of parameters for each, and a row in SOLVERS
# ================================================================================================

cdef enum SolverKind:
    SGD
    ADAM

# name: (its number, how many state arrays of the parameters' layout it keeps)
SOLVERS = {"sgd": (SGD, 1), "adam": (ADAM, 2)}


cdef Solver at_step(Solver solver, Py_ssize_t t) noexcept nogil:
    """The solver as it is in step t = 1, 2, ..."""
    solver.t = t
    solver.step_rate = solver.learning_rate
    if solver.kind == ADAM:
        solver.step_rate *= sqrt(1 - pow(solver.beta_2, t)) / (1 - pow(solver.beta_1, t))
    return solver


cdef void sgd(
    Solver solver,
    real* params,               # (n,)
    const real* gradient,       # (n,)
    real* velocity,             # (n,)
    Py_ssize_t n,
) noexcept nogil:
    """(5) v = mu v - rate g; W += v, or with Nesterov's momentum W += mu v - rate g.

    Sutskever, Martens, Dahl and Hinton, ICML 2013, in scikit-learn's form.
    """
    cdef real mu = <real> solver.momentum, rate = <real> solver.step_rate
    cdef Py_ssize_t i
    for i in range(n):
        velocity[i] = mu * velocity[i] - rate * gradient[i]
    if solver.nesterov:
        for i in range(n):
            params[i] += mu * velocity[i] - rate * gradient[i]
    else:
        for i in range(n):
            params[i] += velocity[i]


cdef void adam(
    Solver solver,
    real* params,               # (n,)
    const real* gradient,       # (n,)
    real* m,                    # (n,)
    real* v,                    # (n,)
    Py_ssize_t n,
) noexcept nogil:
    """(5) W -= rate m / (sqrt(v) + epsilon), with both bias corrections in the rate.

    Kingma and Ba, ICLR 2015, the form at the end of its section 2.
    """
    cdef real rate = <real> solver.step_rate
    cdef real beta_1 = <real> solver.beta_1, one_less_1 = <real> (1 - solver.beta_1)
    cdef real beta_2 = <real> solver.beta_2, one_less_2 = <real> (1 - solver.beta_2)
    cdef real epsilon = <real> solver.epsilon
    cdef Py_ssize_t i
    for i in range(n):
        m[i] = beta_1 * m[i] + one_less_1 * gradient[i]
        v[i] = beta_2 * v[i] + one_less_2 * gradient[i] * gradient[i]
        params[i] -= rate * m[i] / (sqrt_(v[i]) + epsilon)


cdef void move_block(
    Solver solver,
    Block block,
    const Layer* layers,        # (n_layers + 1,)
    real* params,               # (n_params,)
    const real* gradient,       # (n_params,)
    real* state,                # (n_states, n_params)
    Py_ssize_t n_params,
) noexcept nogil:
    """(5) Every parameter of the block moves against its gradient."""
    cdef Layer layer = layers[block.layer]
    cdef Py_ssize_t i = layer.W + block.first * layer.stride
    cdef Py_ssize_t n = (block.last - block.first) * layer.stride
    if solver.kind == SGD:
        sgd(solver, params + i, gradient + i, state + i, n)
    else:
        adam(solver, params + i, gradient + i, state + i, state + n_params + i, n)


# ================================================================================================
# G  The boundary: shapes are checked, the GIL is released, blocks are shared out
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
    source.values = NULL
    if indptr.shape[0] > 0:
        source.indptr, source.indices = &indptr[0], &indices[0]
        source.values = &X[0, 0]
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


def train(
    const Layer[::1] layers,            # IN (n_layers + 1,)
    const Block[::1] blocks,            # IN (n_blocks,)
    Py_ssize_t loss,
    real[::1] params,                   # INOUT (n_params,)
    real[::1] gradient,                 # OUT (n_params,)
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
    check_table(layers, params, work, capacity)
    check_rows(check_columns(layers, X, indices, indptr), layers, work, indptr, y, sample_weight,
               capacity)
    if gradient.shape[0] != n_params or state.shape[1] != n_params:
        raise ValueError("gradient and state must have the layout of params")
    if capacity < batch_size or row_loss.shape[0] < how_many(batch_size, block_rows):
        raise ValueError("work and row_loss must have room for batch_size rows")
    if penalty.shape[0] != blocks.shape[0]:
        raise ValueError("penalty must have a place for each block of parameters")
    if n_rows == 0:
        return

    with nogil, parallel(num_threads=n_threads):
        for step in range(n_steps):
            start = step * batch_size
            n = min(batch_size, n_rows - start)
            scale = reciprocal(sum_of_weights(sample_weight, &order[start], n))
            rows = all_rows(n, capacity, ordered(source, &order[start]))
            now = at_step(solver[0], solver[0].t + step + 1)
            # chunks of 1, shared out in turn: a thread gets the same blocks in each step, and its
            # caches hold their parameters
            for i in prange(how_many(n, block_rows), schedule="static", chunksize=1):
                gather_rows(X, y, sample_weight, scale, layers[0], &work[0],
                            block_of_rows(i, block_rows, rows))
                row_loss[i] += n * loss_of_rows(loss, n_layers, &layers[0], &params[0], n_targets,
                                                &work[0], block_of_rows(i, block_rows, rows))
                backward_rows(n_layers, &layers[0], &params[0], &work[0],
                              block_of_rows(i, block_rows, rows))
            for i in prange(blocks.shape[0], schedule="static", chunksize=1):
                penalty[i] += n * gradient_of_block(
                    blocks[i], &layers[0], &params[0], &gradient[0], &work[0], rows,
                    alpha * scale, False,
                )
                move_block(now, blocks[i], &layers[0], &params[0], &gradient[0], &state[0, 0],
                           n_params)
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
        for i in prange(how_many(rows.n, block_rows), schedule="static", chunksize=1):
            gather_rows(X, y, sample_weight, scale, layers[0], &work[0],
                        block_of_rows(i, block_rows, rows))
            row_loss[i] += loss_of_rows(loss, n_layers, &layers[0], &params[0], n_targets,
                                        &work[0], block_of_rows(i, block_rows, rows))
            backward_rows(n_layers, &layers[0], &params[0], &work[0],
                          block_of_rows(i, block_rows, rows))
        for i in prange(blocks.shape[0], schedule="static", chunksize=1):
            penalty[i] += gradient_of_block(blocks[i], &layers[0], &params[0], &gradient[0],
                                            &work[0], rows, l2, adds_up)


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
    check_table(layers, params, work, capacity)
    check_rows(check_columns(layers, X, indices, indptr), layers, work, indptr, y, sample_weight,
               capacity)
    check_out(layers, out, rows.n)
    if rows.n > capacity or row_loss.shape[0] < how_many(capacity, block_rows):
        raise ValueError("work and row_loss must have room for all rows")

    with nogil, parallel(num_threads=n_threads):
        for i in prange(how_many(rows.n, block_rows), schedule="static", chunksize=1):
            gather_rows(X, y, sample_weight, scale, layers[0], &work[0],
                        block_of_rows(i, block_rows, rows))
            row_loss[i] += loss_of_rows(loss, n_layers, &layers[0], &params[0], n_targets,
                                        &work[0], block_of_rows(i, block_rows, rows))
            copy_output(layers[n_layers], &work[0], &out[0, 0],
                        block_of_rows(i, block_rows, rows))


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
    cdef Py_ssize_t n_rows = check_columns(layers, X, indices, indptr), i
    cdef Rows rows = all_rows(n_rows, capacity, source_of(X, indices, indptr))
    check_table(layers, params, work, capacity)
    check_out(layers, out, n_rows)
    if n_rows > capacity:
        raise ValueError("work must have room for all rows")

    with nogil, parallel(num_threads=n_threads):
        for i in prange(how_many(n_rows, block_rows), schedule="static", chunksize=1):
            predict_rows(loss, layers, &params[0], &X[0, 0], &work[0], &out[0, 0],
                         block_of_rows(i, block_rows, rows))


def openmp_threads():
    """How many threads OpenMP would start by itself, or None where it is missing."""
    return omp_get_max_threads() if FASTMLP_OPENMP else None
