/* The interface between the core and the kernels: a table of functions for float and one for
   double.

   kernels.c is compiled once per instruction set and defines one such table each time; choose.c
   picks the table for this CPU.

   Matrices are row-major. Consecutive rows begin `stride` numbers apart, and a stride is a whole
   number of cache lines. The numbers between n_out and the stride are padding: 0 in parameters and
   in delta, and safe to compute with. Rows of one number lie side by side, without padding. */

#ifndef FASTMLP_KERNELS_H
#define FASTMLP_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* One entry per layer, including the input (layer 0). If the network has an input layer, which makes
   a^0 from the columns of X, three more entries follow the layers: the matrices of its cosines, of
   its embeddings and of its scales. Places are offsets
   and not pointers, so they survive copying and pickling. An offset into a workspace counts numbers
   per row, and is multiplied by the workspace's capacity: z, f, a, delta, ... are (capacity,
   stride). Two of them share a place if no step in between needs both. Without normalization, s is
   z and delta_z is delta. With it,

       s = (a^{l-1} W + b - mean) / spread over a row, z = gain s + shift.

   Then f = f(z), or z + mix (f(z) - z) if the activation is learned, and a = dropout(f), plus
   a^{l-1} if the layer is residual. */
typedef struct {
    ptrdiff_t kind;          /* what its matrix holds: fastmlp_kind */
    ptrdiff_t n_in;          /* m_{l-1}; of layer 0, the number of columns of X */
    ptrdiff_t n_dense;       /* so many rows of W belong to numbers of a^{l-1}, others to codes; of a
                                matrix of the input layer, all its rows, while its n_in is 0 */
    ptrdiff_t n_out;         /* m_l */
    ptrdiff_t stride;        /* padded n_out: the distance between rows of W, z, a, delta */
    ptrdiff_t activation;
    ptrdiff_t W;             /* offset of W (n_in, stride) in the parameters, followed by ... */
    ptrdiff_t b;             /* ... b (stride,); together an (n_in + 1, stride) matrix */
    ptrdiff_t gain;          /* two more rows if the layer is normalized: gain and shift */
    ptrdiff_t shift;
    ptrdiff_t mix;           /* one more row if the activation is learned; otherwise the last row */
    ptrdiff_t s;
    ptrdiff_t z;
    ptrdiff_t f;
    ptrdiff_t a;
    ptrdiff_t delta;         /* dC/d(a^{l-1} W + b) */
    ptrdiff_t delta_z;       /* dC/dz */
    ptrdiff_t delta_f;       /* dC/d(z + mix (f(z) - z)), for learned activations */
    ptrdiff_t delta_a;       /* dC/da, for residual layers */
    ptrdiff_t spread;        /* (capacity,) 1 / spread of each row */
    ptrdiff_t is_embedded;   /* of layer 0: whether there is an input layer */
    ptrdiff_t is_normalized;
    ptrdiff_t is_learned;    /* whether the activation is */
    ptrdiff_t is_residual;
    double dropout;          /* the share of a that training sets to 0 */
    double noise;            /* standard deviation of the noise on the inputs in training */
} fastmlp_layer;

/* A solver and its settings. Settings that the solver does not use are ignored. */
typedef struct {
    ptrdiff_t kind;
    ptrdiff_t t;             /* steps made so far; within a step its number, from 1 */
    ptrdiff_t nesterov;
    ptrdiff_t amsgrad;
    double learning_rate;
    double step_rate;        /* learning_rate with the corrections of step t */
    double momentum;
    double beta_1;
    double beta_2;
    double epsilon;
    double rho;
    double momentum_decay;
    double momentum_product; /* nadam: product of the momenta up to step t */
    double momentum_now;     /* nadam: weights of the gradient and of its average in step t */
    double momentum_next;
    double eta_minus;
    double eta_plus;
    double smallest_step;
    double largest_step;
} fastmlp_solver;

/* A matrix given by its rows. Row i begins at base + index[i] * stride, or at base + i * stride if
   index is NULL. The rows of a shuffled mini-batch can thus be read in place. */
typedef struct {
    const void *base;
    ptrdiff_t stride;
    const ptrdiff_t *index;
} fastmlp_rows;

/* What the rows of a matrix of parameters are. Those of a layer begin with its weights. */
enum fastmlp_kind {
    FASTMLP_WEIGHTS,
    FASTMLP_COSINES,         /* one row for each number with cosines: see inputs.h */
    FASTMLP_EMBEDDINGS,      /* one row for each code */
    FASTMLP_SCALES           /* one row, with a number for each row of the first layer's W */
};

enum { FASTMLP_MOST_FREQUENCIES = 128 };

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

/* The i-th number of the random sequence that belongs to a key: SplitMix64 (Steele, Lea and Flood,
   OOPSLA 2014). Any thread can start anywhere in the sequence. */
static inline uint64_t fastmlp_random(uint64_t key, ptrdiff_t i)
{
    uint64_t x = key + (uint64_t)i * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

#define FASTMLP_TABLE(REAL)                                                                        \
    struct {                                                                                       \
        /* layers with more weights than this leave their products to BLAS */                      \
        ptrdiff_t largest;                                                                         \
        /* (1) z (n, n_out) = x (n, n_in) W + b, a = f(z); a may be z. If delta is not NULL,       \
           its cache lines are claimed from other cores, because (3) will write them. */           \
        void (*forward)(const fastmlp_layer *layer, ptrdiff_t n, fastmlp_rows x,                   \
                        const REAL *W, REAL *z, REAL *a, REAL *delta);                             \
        /* (3) delta_a (n, n_in) = delta (n, n_out) W^T, with rows of delta_a `stride` apart.      \
           If gate (n, n_in) is not NULL, delta_a is 0 where the gate is 0. */                     \
        void (*backward)(const fastmlp_layer *layer, ptrdiff_t n, const REAL *delta,               \
                         const REAL *W, REAL *delta_a, ptrdiff_t stride, const REAL *gate);        \
        /* (4) rows first to last of [dW; db] (last - first, n_out) = [x, 1]^T delta, added to     \
           the present values if adds_up. If W is not NULL, the cache lines of these rows are      \
           claimed from other cores, because the solver will write them. */                        \
        void (*gradient)(const fastmlp_layer *layer, ptrdiff_t first, ptrdiff_t last, ptrdiff_t n, \
                         fastmlp_rows x, const REAL *delta, REAL *dW, int adds_up, REAL *W);       \
        /* a = f(z) and delta *= f'(z), for n numbers each */                                      \
        void (*activate)(ptrdiff_t activation, const REAL *z, REAL *a, ptrdiff_t n);               \
        void (*times_derivative)(ptrdiff_t activation, const REAL *z, const REAL *f, REAL *delta,  \
                                 ptrdiff_t n);                                                     \
        /* a = z + mix (f - z); a may be f */                                                      \
        void (*mix)(const REAL *mix, const REAL *z, const REAL *f, REAL *a, ptrdiff_t n);          \
        /* delta_z = delta_f (1 - mix) + mix delta_z, where delta_z holds delta_f f'(z) */         \
        void (*mix_back)(const REAL *mix, const REAL *delta_f, REAL *delta_z, ptrdiff_t n);        \
        /* c += delta (f - z) */                                                                   \
        void (*add_mixed)(const REAL *delta, const REAL *z, const REAL *f, REAL *c, ptrdiff_t n);  \
        /* s = (s - mean) / spread, z = gain s + shift; returns 1 / spread */                      \
        REAL (*normalize)(REAL *s, const REAL *gain, const REAL *shift, REAL *z, ptrdiff_t n);     \
        /* delta from delta_z, and from the results of normalize */                                \
        void (*normalize_back)(const REAL *s, const REAL *gain, REAL inverse_spread,               \
                               const REAL *delta_z, REAL *delta, ptrdiff_t n);                     \
        /* a = f / (1 - rate), or 0 for a share `rate` chosen by the key; a may be f */            \
        void (*dropout)(uint64_t key, double rate, const REAL *f, REAL *a, ptrdiff_t n);           \
        /* x += deviation times normal random numbers chosen by the key */                         \
        void (*add_noise)(uint64_t key, double deviation, REAL *x, ptrdiff_t n);                   \
        /* a (n, n_out) = exp(z) / sum(exp(z)) for each row, with rows `stride` apart; a is 0      \
           beyond n_out, and a may be z. largest (n,) = max(z), logs (n,) = log(sum(exp(z -        \
           largest))) */                                                                           \
        void (*softmax)(ptrdiff_t n, ptrdiff_t n_out, const REAL *z, REAL *a, ptrdiff_t stride,    \
                        REAL *largest, REAL *logs);                                                \
        /* a = exp(z) */                                                                           \
        void (*exponentials)(const REAL *z, REAL *a, ptrdiff_t n);                                 \
        /* a = log(z), for normal z > 0 */                                                         \
        void (*logarithms)(const REAL *z, REAL *a, ptrdiff_t n);                                   \
        /* c += x b */                                                                             \
        void (*add_multiple)(REAL x, const REAL *b, REAL *c, ptrdiff_t n);                         \
        /* (1) z (stride,) += x W for a sparse row x of n_terms numbers */                         \
        void (*add_rows)(const REAL *values, const ptrdiff_t *indices, ptrdiff_t n_terms,          \
                         ptrdiff_t n_in, const REAL *W, ptrdiff_t stride, REAL *z);                \
        /* (4) dW (last - first, stride) += x^T delta for a sparse row x; returns how many of its  \
           numbers come before column `last` */                                                    \
        ptrdiff_t (*add_to_rows)(const REAL *values, const ptrdiff_t *indices, ptrdiff_t n_terms,  \
                                 ptrdiff_t first, ptrdiff_t last, const REAL *delta, REAL *dW,     \
                                 ptrdiff_t stride);                                                \
        /* e (n, any), n rows `stride` apart, from a column x (n,) and its row of cosines */       \
        void (*embed)(const REAL *params, ptrdiff_t n_frequencies, ptrdiff_t n_linear,             \
                      ptrdiff_t n, const REAL *x, REAL *e, ptrdiff_t stride);                      \
        /* gradient of that row of cosines += the part of n rows of dC/de */                       \
        void (*embed_back)(const REAL *params, ptrdiff_t n_frequencies, ptrdiff_t n_linear,        \
                           ptrdiff_t n, const REAL *x, const REAL *delta, ptrdiff_t stride,        \
                           REAL *gradient);                                                        \
        /* e (n, 1 + n_bins), n rows `stride` apart: a column x (n,), and its place in each bin */  \
        void (*bins)(const REAL *lower, const REAL *inverse_width, ptrdiff_t n_bins, ptrdiff_t n,  \
                     const REAL *x, REAL *e, ptrdiff_t stride);                                    \
        /* the sum of a b */                                                                       \
        REAL (*dot)(const REAL *a, const REAL *b, ptrdiff_t n);                                    \
        /* dW += x W; returns the sum of W^2 */                                                    \
        double (*add_decay)(REAL x, const REAL *W, REAL *dW, ptrdiff_t n);                         \
        /* the largest |x|, infinity if a number is not finite, 0 if there are none */             \
        REAL (*largest_size)(const REAL *x, ptrdiff_t n);                                          \
        /* sum of W^2 */                                                                           \
        double (*sum_of_squares)(const REAL *W, ptrdiff_t n);                                      \
        /* (5) for n parameters; the solver's state arrays are `stride` apart */                   \
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

/* The table in use. fastmlp_use must be called before anything else. */
extern const fastmlp_kernels *fastmlp_active;

/* Use the table with this name, or the fastest one that this CPU can run if the name is "". "blas"
   is the fastest table with all products left to BLAS. Returns 0 if there is no such table. */
int fastmlp_use(const char *name);

/* The i-th name of the tables that this CPU can run, fastest first; NULL at the end. */
const char *fastmlp_name(int i);

/* The compiler of the kernels, and its version. */
extern const char fastmlp_compiler[];

/* Treat numbers below the smallest normal one as 0 in this thread. Returns the state that
   fastmlp_restore_denormals needs. */
unsigned long long fastmlp_flush_denormals(void);
void fastmlp_restore_denormals(unsigned long long state);

#endif
