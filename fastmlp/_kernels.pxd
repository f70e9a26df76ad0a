"""Declarations of the C kernels in `_simd/`, and wrappers that choose one by its type."""

from libc.stdint cimport uint64_t

from fastmlp._blas cimport real


cdef extern from "_simd/kernels.h" nogil:
    ctypedef struct Layer "fastmlp_layer":
        Py_ssize_t kind, n_in, n_dense, n_out, stride, activation, W, b, gain, shift, mix
        Py_ssize_t s, z, f, a, delta, delta_z, delta_f, delta_a, spread
        Py_ssize_t is_embedded, is_normalized, is_learned, is_residual
        double dropout, noise

    ctypedef struct Solver "fastmlp_solver":
        Py_ssize_t kind, t, nesterov, amsgrad
        double learning_rate, step_rate, momentum, beta_1, beta_2, epsilon, rho
        double momentum_decay, momentum_product, momentum_now, momentum_next
        double eta_minus, eta_plus, smallest_step, largest_step

    ctypedef struct Matrix "fastmlp_rows":
        const void* base
        Py_ssize_t stride
        const Py_ssize_t* index

    enum Kind "fastmlp_kind":
        WEIGHTS "FASTMLP_WEIGHTS"
        COSINES "FASTMLP_COSINES"
        EMBEDDINGS "FASTMLP_EMBEDDINGS"
        SCALES "FASTMLP_SCALES"

    enum:
        MOST_FREQUENCIES "FASTMLP_MOST_FREQUENCIES"

    enum Activation "fastmlp_activation":
        IDENTITY "FASTMLP_IDENTITY"
        LOGISTIC "FASTMLP_LOGISTIC"
        TANH "FASTMLP_TANH"
        RELU "FASTMLP_RELU"
        LEAKY_RELU "FASTMLP_LEAKY_RELU"
        ELU "FASTMLP_ELU"
        SELU "FASTMLP_SELU"
        GELU "FASTMLP_GELU"
        SILU "FASTMLP_SILU"
        MISH "FASTMLP_MISH"
        SOFTPLUS "FASTMLP_SOFTPLUS"
        SOFTSIGN "FASTMLP_SOFTSIGN"
        HARD_SWISH "FASTMLP_HARD_SWISH"

    enum SolverKind "fastmlp_solver_kind":
        SGD "FASTMLP_SGD"
        ADAM "FASTMLP_ADAM"
        NADAM "FASTMLP_NADAM"
        RMSPROP "FASTMLP_RMSPROP"
        ADAGRAD "FASTMLP_ADAGRAD"
        ADADELTA "FASTMLP_ADADELTA"
        RPROP "FASTMLP_RPROP"

    ctypedef struct Table32 "fastmlp_table_f32":
        Py_ssize_t largest
        void (*forward)(const Layer*, Py_ssize_t, Matrix, const float*, float*,
                        float*, float*) noexcept nogil
        void (*backward)(const Layer*, Py_ssize_t, const float*, const float*, float*,
                         Py_ssize_t, const float*) noexcept nogil
        void (*gradient)(const Layer*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Matrix, const float*,
                         float*, bint, float*) noexcept nogil
        void (*activate)(Py_ssize_t, const float*, float*, Py_ssize_t) noexcept nogil
        void (*times_derivative)(Py_ssize_t, const float*, const float*, float*,
                                 Py_ssize_t) noexcept nogil
        void (*mix)(const float*, const float*, const float*, float*,
                    Py_ssize_t) noexcept nogil
        void (*mix_back)(const float*, const float*, float*, Py_ssize_t) noexcept nogil
        void (*add_mixed)(const float*, const float*, const float*, float*,
                          Py_ssize_t) noexcept nogil
        float (*normalize)(float*, const float*, const float*, float*, Py_ssize_t) noexcept nogil
        void (*normalize_back)(const float*, const float*, float, const float*, float*,
                               Py_ssize_t) noexcept nogil
        void (*dropout)(uint64_t, double, const float*, float*, Py_ssize_t) noexcept nogil
        void (*add_noise)(uint64_t, double, float*, Py_ssize_t) noexcept nogil
        void (*softmax)(Py_ssize_t, Py_ssize_t, const float*, float*, Py_ssize_t, float*,
                        float*) noexcept nogil
        void (*exponentials)(const float*, float*, Py_ssize_t) noexcept nogil
        void (*logarithms)(const float*, float*, Py_ssize_t) noexcept nogil
        void (*add_multiple)(float, const float*, float*, Py_ssize_t) noexcept nogil
        void (*add_rows)(
            const float*, const Py_ssize_t*, Py_ssize_t, Py_ssize_t, const float*, Py_ssize_t,
            float*,
        ) noexcept nogil
        Py_ssize_t (*add_to_rows)(
            const float*, const Py_ssize_t*, Py_ssize_t, Py_ssize_t, Py_ssize_t, const float*,
            float*, Py_ssize_t,
        ) noexcept nogil
        void (*embed)(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, const float*, float*,
                      Py_ssize_t) noexcept nogil
        void (*embed_back)(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, const float*,
                           const float*, Py_ssize_t, float*) noexcept nogil
        void (*bins)(const float*, const float*, Py_ssize_t, Py_ssize_t, const float*, float*,
                     Py_ssize_t) noexcept nogil
        float (*dot)(const float*, const float*, Py_ssize_t) noexcept nogil
        double (*add_decay)(float, const float*, float*, Py_ssize_t) noexcept nogil
        float (*largest_size)(const float*, Py_ssize_t) noexcept nogil
        double (*sum_of_squares)(const float*, Py_ssize_t) noexcept nogil
        void (*move)(const Solver*, float*, const float*, float*, Py_ssize_t,
                     Py_ssize_t) noexcept nogil

    ctypedef struct Table64 "fastmlp_table_f64":
        Py_ssize_t largest
        void (*forward)(const Layer*, Py_ssize_t, Matrix, const double*, double*,
                        double*, double*) noexcept nogil
        void (*backward)(const Layer*, Py_ssize_t, const double*, const double*, double*,
                         Py_ssize_t, const double*) noexcept nogil
        void (*gradient)(const Layer*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Matrix, const double*,
                         double*, bint, double*) noexcept nogil
        void (*activate)(Py_ssize_t, const double*, double*, Py_ssize_t) noexcept nogil
        void (*times_derivative)(Py_ssize_t, const double*, const double*, double*,
                                 Py_ssize_t) noexcept nogil
        void (*mix)(const double*, const double*, const double*, double*,
                    Py_ssize_t) noexcept nogil
        void (*mix_back)(const double*, const double*, double*, Py_ssize_t) noexcept nogil
        void (*add_mixed)(const double*, const double*, const double*, double*,
                          Py_ssize_t) noexcept nogil
        double (*normalize)(double*, const double*, const double*, double*,
                            Py_ssize_t) noexcept nogil
        void (*normalize_back)(const double*, const double*, double, const double*, double*,
                               Py_ssize_t) noexcept nogil
        void (*dropout)(uint64_t, double, const double*, double*, Py_ssize_t) noexcept nogil
        void (*add_noise)(uint64_t, double, double*, Py_ssize_t) noexcept nogil
        void (*softmax)(Py_ssize_t, Py_ssize_t, const double*, double*, Py_ssize_t, double*,
                        double*) noexcept nogil
        void (*exponentials)(const double*, double*, Py_ssize_t) noexcept nogil
        void (*logarithms)(const double*, double*, Py_ssize_t) noexcept nogil
        void (*add_multiple)(double, const double*, double*, Py_ssize_t) noexcept nogil
        void (*add_rows)(
            const double*, const Py_ssize_t*, Py_ssize_t, Py_ssize_t, const double*, Py_ssize_t,
            double*,
        ) noexcept nogil
        Py_ssize_t (*add_to_rows)(
            const double*, const Py_ssize_t*, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double*,
            double*, Py_ssize_t,
        ) noexcept nogil
        void (*embed)(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double*, double*,
                      Py_ssize_t) noexcept nogil
        void (*embed_back)(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double*,
                           const double*, Py_ssize_t, double*) noexcept nogil
        void (*bins)(const double*, const double*, Py_ssize_t, Py_ssize_t, const double*, double*,
                     Py_ssize_t) noexcept nogil
        double (*dot)(const double*, const double*, Py_ssize_t) noexcept nogil
        double (*add_decay)(double, const double*, double*, Py_ssize_t) noexcept nogil
        double (*largest_size)(const double*, Py_ssize_t) noexcept nogil
        double (*sum_of_squares)(const double*, Py_ssize_t) noexcept nogil
        void (*move)(const Solver*, double*, const double*, double*, Py_ssize_t,
                     Py_ssize_t) noexcept nogil

    ctypedef struct Kernels "fastmlp_kernels":
        const char* name
        Table32 f32
        Table64 f64

    const Kernels* kernels "fastmlp_active"
    bint use "fastmlp_use"(const char* name)
    const char* name_of "fastmlp_name"(int i)
    const char* its_compiler "fastmlp_compiler"
    uint64_t random_bits "fastmlp_random"(uint64_t key, Py_ssize_t i)
    unsigned long long flush_denormals "fastmlp_flush_denormals"()
    void restore_denormals "fastmlp_restore_denormals"(unsigned long long state)


cdef inline bint has_kernels(const Layer* layer, const real* any) noexcept nogil:
    """Whether kernels compute the layer's products, and not BLAS. Only its size matters."""
    if real is float:
        return layer.n_in * layer.n_out <= kernels.f32.largest
    else:
        return layer.n_in * layer.n_out <= kernels.f64.largest


cdef inline void forward_kernel(
    const Layer* layer, Py_ssize_t n, Matrix x, const real* W, real* z, real* a,
    real* delta,
) noexcept nogil:
    if real is float:
        kernels.f32.forward(layer, n, x, W, z, a, delta)
    else:
        kernels.f64.forward(layer, n, x, W, z, a, delta)


cdef inline void backward_kernel(
    const Layer* layer, Py_ssize_t n, const real* delta, const real* W, real* delta_a,
    Py_ssize_t stride, const real* gate,
) noexcept nogil:
    if real is float:
        kernels.f32.backward(layer, n, delta, W, delta_a, stride, gate)
    else:
        kernels.f64.backward(layer, n, delta, W, delta_a, stride, gate)


cdef inline void gradient_kernel(
    const Layer* layer, Py_ssize_t first, Py_ssize_t last, Py_ssize_t n, Matrix x,
    const real* delta, real* dW, bint adds_up, real* W,
) noexcept nogil:
    if real is float:
        kernels.f32.gradient(layer, first, last, n, x, delta, dW, adds_up, W)
    else:
        kernels.f64.gradient(layer, first, last, n, x, delta, dW, adds_up, W)


cdef inline void activate(
    Py_ssize_t activation, const real* z, real* a, Py_ssize_t n,
) noexcept nogil:
    """a = f(z); a may be z."""
    if real is float:
        kernels.f32.activate(activation, z, a, n)
    else:
        kernels.f64.activate(activation, z, a, n)


cdef inline void times_derivative(
    Py_ssize_t activation, const real* z, const real* f, real* delta, Py_ssize_t n,
) noexcept nogil:
    """delta *= f'(z), computed from z or from f(z)."""
    if real is float:
        kernels.f32.times_derivative(activation, z, f, delta, n)
    else:
        kernels.f64.times_derivative(activation, z, f, delta, n)


cdef inline void mix(
    const real* mix, const real* z, const real* f, real* a, Py_ssize_t n,
) noexcept nogil:
    """a = z + mix (f - z); a may be f."""
    if real is float:
        kernels.f32.mix(mix, z, f, a, n)
    else:
        kernels.f64.mix(mix, z, f, a, n)


cdef inline void mix_back(
    const real* mix, const real* delta_f, real* delta_z, Py_ssize_t n,
) noexcept nogil:
    """delta_z = delta_f (1 - mix) + mix delta_z, where delta_z holds delta_f f'(z)."""
    if real is float:
        kernels.f32.mix_back(mix, delta_f, delta_z, n)
    else:
        kernels.f64.mix_back(mix, delta_f, delta_z, n)


cdef inline void add_mixed(
    const real* delta, const real* z, const real* f, real* c, Py_ssize_t n,
) noexcept nogil:
    """c += delta (f - z)."""
    if real is float:
        kernels.f32.add_mixed(delta, z, f, c, n)
    else:
        kernels.f64.add_mixed(delta, z, f, c, n)


cdef inline real normalize(
    real* s, const real* gain, const real* shift, real* z, Py_ssize_t n,
) noexcept nogil:
    if real is float:
        return kernels.f32.normalize(s, gain, shift, z, n)
    else:
        return kernels.f64.normalize(s, gain, shift, z, n)


cdef inline void normalize_back(
    const real* s, const real* gain, real inverse_spread, const real* delta_z, real* delta,
    Py_ssize_t n,
) noexcept nogil:
    if real is float:
        kernels.f32.normalize_back(s, gain, inverse_spread, delta_z, delta, n)
    else:
        kernels.f64.normalize_back(s, gain, inverse_spread, delta_z, delta, n)


cdef inline void dropout(
    uint64_t key, double rate, const real* f, real* a, Py_ssize_t n,
) noexcept nogil:
    """a = f / (1 - rate), or 0 for a share `rate` of the units; a may be f."""
    if real is float:
        kernels.f32.dropout(key, rate, f, a, n)
    else:
        kernels.f64.dropout(key, rate, f, a, n)


cdef inline void add_noise(uint64_t key, double deviation, real* x, Py_ssize_t n) noexcept nogil:
    if real is float:
        kernels.f32.add_noise(key, deviation, x, n)
    else:
        kernels.f64.add_noise(key, deviation, x, n)


cdef inline void softmax(
    Py_ssize_t n, Py_ssize_t n_out, const real* z, real* a, Py_ssize_t stride, real* largest,
    real* logs,
) noexcept nogil:
    """a = exp(z) / sum(exp(z)) for each row."""
    if real is float:
        kernels.f32.softmax(n, n_out, z, a, stride, largest, logs)
    else:
        kernels.f64.softmax(n, n_out, z, a, stride, largest, logs)


cdef inline void exponentials(const real* z, real* a, Py_ssize_t n) noexcept nogil:
    """a = exp(z); a may be z."""
    if real is float:
        kernels.f32.exponentials(z, a, n)
    else:
        kernels.f64.exponentials(z, a, n)


# The exp, log and pow of the C library give different bits on different machines. These do not.

cdef inline double exp_of(double x) noexcept nogil:
    kernels.f64.exponentials(&x, &x, 1)
    return x


cdef inline double log_of(double x) noexcept nogil:
    """log(x) for a normal x > 0."""
    kernels.f64.logarithms(&x, &x, 1)
    return x


cdef inline double whole_power(double x, Py_ssize_t n) noexcept nogil:
    """x^n for n >= 0, by repeated squaring.

    The error is about that of rounding x in its last digit.
    """
    cdef double result = 1
    while n > 0:
        if n & 1:
            result *= x
        x *= x
        n >>= 1
    return result


cdef inline void add_multiple(real x, const real* b, real* c, Py_ssize_t n) noexcept nogil:
    """c += x b."""
    if real is float:
        kernels.f32.add_multiple(x, b, c, n)
    else:
        kernels.f64.add_multiple(x, b, c, n)


cdef inline void add_rows(
    const real* values, const Py_ssize_t* indices, Py_ssize_t n_terms, Py_ssize_t n_in,
    const real* W, Py_ssize_t stride, real* z,
) noexcept nogil:
    if real is float:
        kernels.f32.add_rows(values, indices, n_terms, n_in, W, stride, z)
    else:
        kernels.f64.add_rows(values, indices, n_terms, n_in, W, stride, z)


cdef inline Py_ssize_t add_to_rows(
    const real* values, const Py_ssize_t* indices, Py_ssize_t n_terms, Py_ssize_t first,
    Py_ssize_t last, const real* delta, real* dW, Py_ssize_t stride,
) noexcept nogil:
    if real is float:
        return kernels.f32.add_to_rows(
            values, indices, n_terms, first, last, delta, dW, stride)
    else:
        return kernels.f64.add_to_rows(
            values, indices, n_terms, first, last, delta, dW, stride)


cdef inline void embed(
    const real* params, Py_ssize_t n_frequencies, Py_ssize_t n_linear, Py_ssize_t n,
    const real* x, real* e, Py_ssize_t stride,
) noexcept nogil:
    if real is float:
        kernels.f32.embed(params, n_frequencies, n_linear, n, x, e, stride)
    else:
        kernels.f64.embed(params, n_frequencies, n_linear, n, x, e, stride)


cdef inline void embed_back(
    const real* params, Py_ssize_t n_frequencies, Py_ssize_t n_linear, Py_ssize_t n,
    const real* x, const real* delta, Py_ssize_t stride, real* gradient,
) noexcept nogil:
    if real is float:
        kernels.f32.embed_back(params, n_frequencies, n_linear, n, x, delta, stride, gradient)
    else:
        kernels.f64.embed_back(params, n_frequencies, n_linear, n, x, delta, stride, gradient)


cdef inline void in_bins(
    const real* lower, const real* inverse_width, Py_ssize_t n_bins, Py_ssize_t n, const real* x,
    real* e, Py_ssize_t stride,
) noexcept nogil:
    if real is float:
        kernels.f32.bins(lower, inverse_width, n_bins, n, x, e, stride)
    else:
        kernels.f64.bins(lower, inverse_width, n_bins, n, x, e, stride)


cdef inline real dot(const real* a, const real* b, Py_ssize_t n) noexcept nogil:
    """The sum of a b."""
    if real is float:
        return kernels.f32.dot(a, b, n)
    else:
        return kernels.f64.dot(a, b, n)


cdef inline double add_decay(real x, const real* W, real* dW, Py_ssize_t n) noexcept nogil:
    """dW += x W; returns the sum of W^2."""
    if real is float:
        return kernels.f32.add_decay(x, W, dW, n)
    else:
        return kernels.f64.add_decay(x, W, dW, n)


cdef inline real largest_size(const real* x, Py_ssize_t n) noexcept nogil:
    if real is float:
        return kernels.f32.largest_size(x, n)
    else:
        return kernels.f64.largest_size(x, n)


cdef inline bint all_finite(const real* x, Py_ssize_t n) noexcept nogil:
    return 0 * largest_size(x, n) == 0      # 0 times infinity is NaN


cdef inline double sum_of_squares(const real* x, Py_ssize_t n) noexcept nogil:
    if real is float:
        return kernels.f32.sum_of_squares(x, n)
    else:
        return kernels.f64.sum_of_squares(x, n)


cdef inline void move(
    const Solver* solver, real* params, const real* gradient, real* state, Py_ssize_t stride,
    Py_ssize_t n,
) noexcept nogil:
    if real is float:
        kernels.f32.move(solver, params, gradient, state, stride, n)
    else:
        kernels.f64.move(solver, params, gradient, state, stride, n)
