/* What the core calls: a table of functions for float and one for double.

   kernels.c is compiled once for every instruction set and defines such a table each time;
   choose.c picks the one for this CPU. Matrices are row-major. A row begins `stride` numbers after
   the one before; a stride is a whole number of cache lines, what lies between n_out and the stride
   is padding: it is 0 in parameters and delta, and it may be computed with. Rows of one number lie
   side by side, without padding. */

#ifndef FASTMLP_KERNELS_H
#define FASTMLP_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* One row per layer, the input included (layer 0, which has no parameters). Offsets, not pointers:
   they survive a copy and a pickle. Those into a workspace count for each row that it can hold:
   z, f, a, delta, ... are (capacity, stride), and two of them are one where no step between needs
   both. Without normalisation s is z, and delta_z is delta; otherwise

       s = (a^{l-1} W + b - mean) / spread over a row, z = gain s + shift,

   and then f = f(z), a = dropout(f) + a^{l-1} if the layer is residual. */
typedef struct {
    ptrdiff_t n_in;          /* m_{l-1} */
    ptrdiff_t n_out;         /* m_l */
    ptrdiff_t stride;        /* n_out, padded: how far apart the rows of W, z, a, delta are */
    ptrdiff_t activation;
    ptrdiff_t W;             /* offset into the parameters: W (n_in, stride), and after it ... */
    ptrdiff_t b;             /* ... b (stride,): together an (n_in + 1, stride) matrix */
    ptrdiff_t gain;          /* where the layer is normalised two more rows: gain and shift */
    ptrdiff_t shift;
    ptrdiff_t s;
    ptrdiff_t z;
    ptrdiff_t f;
    ptrdiff_t a;
    ptrdiff_t delta;         /* dC/d(a^{l-1} W + b) */
    ptrdiff_t delta_z;       /* dC/dz */
    ptrdiff_t delta_a;       /* dC/da, of residual layers */
    ptrdiff_t spread;        /* (capacity,) 1 / spread of every row */
    ptrdiff_t is_normalized;
    ptrdiff_t is_residual;
    double dropout;          /* the share of a that is set to 0 in training */
    double noise;            /* standard deviation of what is added to the inputs in training */
} fastmlp_layer;

/* A solver with its settings; those that it does not know are of no account. */
typedef struct {
    ptrdiff_t kind;
    ptrdiff_t t;             /* steps made so far; in a step, its number from 1 */
    ptrdiff_t nesterov;
    ptrdiff_t amsgrad;
    double learning_rate;
    double step_rate;        /* learning_rate with the corrections for step t */
    double momentum;
    double beta_1;
    double beta_2;
    double epsilon;
    double rho;
    double momentum_decay;
    double momentum_product; /* of nadam, up to step t */
    double momentum_now;     /* what nadam takes of the gradient and of its average in step t */
    double momentum_next;
    double eta_minus;
    double eta_plus;
    double smallest_step;
    double largest_step;
} fastmlp_solver;

/* A matrix by its rows: row i begins at base + index[i] * stride, without index at
   base + i * stride. So the rows of a shuffled mini-batch are read where they are. */
typedef struct {
    const void *base;
    ptrdiff_t stride;
    const ptrdiff_t *index;
} fastmlp_rows;

enum fastmlp_activation {
    FASTMLP_IDENTITY,
    FASTMLP_LOGISTIC,
    FASTMLP_TANH,
    FASTMLP_RELU,
    FASTMLP_LEAKY_RELU,
    FASTMLP_ELU,
    FASTMLP_SELU,
    FASTMLP_GELU,
    FASTMLP_SILU,
    FASTMLP_MISH,
    FASTMLP_SOFTPLUS,
    FASTMLP_SOFTSIGN,
    FASTMLP_HARD_SWISH
};

enum fastmlp_solver_kind {
    FASTMLP_SGD,
    FASTMLP_ADAM,
    FASTMLP_NADAM,
    FASTMLP_RMSPROP,
    FASTMLP_ADAGRAD,
    FASTMLP_ADADELTA,
    FASTMLP_RPROP
};

/* The i-th number of the sequence that a key begins: SplitMix64 (Steele, Lea and Flood, OOPSLA
   2014), which any thread can enter anywhere. */
static inline uint64_t fastmlp_random(uint64_t key, ptrdiff_t i)
{
    uint64_t x = key + (uint64_t)i * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

#define FASTMLP_TABLE(REAL)                                                                        \
    struct {                                                                                       \
        /* up to how many weights a layer's products are made here, and by BLAS beyond */          \
        ptrdiff_t largest;                                                                         \
        /* (1) z (n, n_out) = x (n, n_in) W + b, a = f(z); a may be z. Unless it is NULL, delta is \
           taken from the caches of other cores, for (3). */                                       \
        void (*forward)(const fastmlp_layer *layer, ptrdiff_t n, fastmlp_rows x,                   \
                        const REAL *W, REAL *z, REAL *a, REAL *delta);                             \
        /* (3) delta_a (n, n_in), its rows a stride apart, = delta (n, n_out) W^T; 0 where the     \
           gate (n, n_in) is, unless that is NULL */                                               \
        void (*backward)(const fastmlp_layer *layer, ptrdiff_t n, const REAL *delta,               \
                         const REAL *W, REAL *delta_a, ptrdiff_t stride, const REAL *gate);        \
        /* (4) rows first to last of [dW; db] (last - first, n_out) = [x, 1]^T delta, plus what    \
           is there if adds_up. Unless it is NULL, these rows of W are taken from the caches of    \
           other cores, for the solver. */                                                         \
        void (*gradient)(const fastmlp_layer *layer, ptrdiff_t first, ptrdiff_t last, ptrdiff_t n, \
                         fastmlp_rows x, const REAL *delta, REAL *dW, int adds_up, REAL *W);       \
        /* a = f(z) and delta *= f'(z), n numbers each */                                          \
        void (*activate)(ptrdiff_t activation, const REAL *z, REAL *a, ptrdiff_t n);               \
        void (*times_derivative)(ptrdiff_t activation, const REAL *z, const REAL *f, REAL *delta,  \
                                 ptrdiff_t n);                                                     \
        /* s = (s - mean) / spread, z = gain s + shift; returns 1 / spread */                      \
        REAL (*normalize)(REAL *s, const REAL *gain, const REAL *shift, REAL *z, ptrdiff_t n);     \
        /* delta from delta_z and what normalize has left and returned */                          \
        void (*normalize_back)(const REAL *s, const REAL *gain, REAL inverse_spread,               \
                               const REAL *delta_z, REAL *delta, ptrdiff_t n);                     \
        /* a = f / (1 - rate), or 0 for a share `rate` that the key chooses; a may be f */         \
        void (*dropout)(uint64_t key, double rate, const REAL *f, REAL *a, ptrdiff_t n);           \
        /* x += deviation times normal random numbers that the key chooses */                      \
        void (*add_noise)(uint64_t key, double deviation, REAL *x, ptrdiff_t n);                   \
        /* a (n, n_out) = exp(z) / sum(exp(z)) by rows, `stride` apart; a is 0 beyond n_out, and   \
           may be z. largest (n,) = max(z), logs (n,) = log(sum(exp(z - largest))) */              \
        void (*softmax)(ptrdiff_t n, ptrdiff_t n_out, const REAL *z, REAL *a, ptrdiff_t stride,    \
                        REAL *largest, REAL *logs);                                                \
        /* a = exp(z) */                                                                           \
        void (*exponentials)(const REAL *z, REAL *a, ptrdiff_t n);                                 \
        /* a = log(z), for normal z > 0 */                                                         \
        void (*logarithms)(const REAL *z, REAL *a, ptrdiff_t n);                                   \
        /* c += x b */                                                                             \
        void (*add_multiple)(REAL x, const REAL *b, REAL *c, ptrdiff_t n);                         \
        /* dW += x W; returns the sum of W^2 */                                                    \
        double (*add_decay)(REAL x, const REAL *W, REAL *dW, ptrdiff_t n);                         \
        int (*all_finite)(const REAL *x, ptrdiff_t n);                                             \
        /* sum of W^2 */                                                                           \
        double (*sum_of_squares)(const REAL *W, ptrdiff_t n);                                      \
        /* (5) for n parameters, with the solver's arrays of state, stride apart */                \
        void (*move)(const fastmlp_solver *solver, REAL *params, const REAL *gradient,             \
                     REAL *state, ptrdiff_t stride, ptrdiff_t n);                                  \
    }

typedef FASTMLP_TABLE(float) fastmlp_table_f32;
typedef FASTMLP_TABLE(double) fastmlp_table_f64;

typedef struct {
    const char *name;
    fastmlp_table_f32 f32;
    fastmlp_table_f64 f64;
} fastmlp_kernels;

/* The table in use: before anything else, fastmlp_use must be called. */
extern const fastmlp_kernels *fastmlp_active;

/* Use the table of a name, or for "" the fastest that this CPU can run. "blas" is that one,
   but with all products made by BLAS. Returns 0 if there is none of this name. */
int fastmlp_use(const char *name);

/* The i-th name that this CPU can run, fastest first; NULL at the end. */
const char *fastmlp_name(int i);

/* Let numbers below the smallest normal one be 0 in this thread; returns what restore needs. */
unsigned long long fastmlp_flush_denormals(void);
void fastmlp_restore_denormals(unsigned long long state);

#endif
