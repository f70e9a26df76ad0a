/* What the core calls: a table of functions for float and one for double.

   kernels.c is compiled once for every instruction set and defines such a table each time;
   choose.c picks the one for this CPU. Matrices are row-major. A row begins `stride` numbers after
   the one before; a stride is a whole number of cache lines, what lies between n_out and the stride
   is padding: it is 0 in parameters and delta, and it may be computed with. */

#ifndef FASTMLP_KERNELS_H
#define FASTMLP_KERNELS_H

#include <stddef.h>

/* One row per layer, the input included (layer 0, which has no parameters). Offsets, not pointers:
   they survive a copy and a pickle. */
typedef struct {
    ptrdiff_t n_in;         /* m_{l-1} */
    ptrdiff_t n_out;        /* m_l */
    ptrdiff_t stride;       /* n_out, padded: how far apart the rows of W, z, a, delta are */
    ptrdiff_t activation;
    ptrdiff_t W;            /* offset into the parameters: W (n_in, stride), and after it ... */
    ptrdiff_t b;            /* ... b (stride,): together an (n_in + 1, stride) matrix */
    ptrdiff_t z;            /* offsets into a workspace, for each row that it can hold: z, a and */
    ptrdiff_t a;            /* delta are (capacity, stride); z == a where z is not kept */
    ptrdiff_t delta;
} fastmlp_layer;

typedef struct {
    ptrdiff_t kind;
    ptrdiff_t t;            /* steps made so far */
    ptrdiff_t nesterov;
    double learning_rate;
    double step_rate;       /* learning_rate with the corrections for step t */
    double momentum;
    double beta_1;
    double beta_2;
    double epsilon;
} fastmlp_solver;

/* A matrix by its rows: row i begins at base + index[i] * stride, without index at
   base + i * stride. So the rows of a shuffled mini-batch are read where they are. */
typedef struct {
    const void *base;
    ptrdiff_t stride;
    const ptrdiff_t *index;
} fastmlp_rows;

enum fastmlp_activation { FASTMLP_IDENTITY, FASTMLP_LOGISTIC, FASTMLP_TANH, FASTMLP_RELU };

#define FASTMLP_TABLE(REAL)                                                                        \
    struct {                                                                                       \
        /* up to how many weights a layer's products are made here, and by BLAS beyond */          \
        ptrdiff_t largest;                                                                         \
        /* (1) z (n, n_out) = x (n, n_in) W + b, a = f(z); a may be z */                           \
        void (*forward)(const fastmlp_layer *layer, ptrdiff_t n, fastmlp_rows x,                   \
                        const REAL *W, REAL *z, REAL *a);                                          \
        /* (3) delta_before (n, n_in) = (delta (n, n_out) W^T) * f'(a_before) */                   \
        void (*backward)(const fastmlp_layer *layer, const fastmlp_layer *before, ptrdiff_t n,     \
                         const REAL *delta, const REAL *W, const REAL *a_before,                   \
                         REAL *delta_before);                                                      \
        /* (4) rows first to last of [dW; db] (last - first, n_out) = [x, 1]^T delta, plus what    \
           is there if adds_up */                                                                  \
        void (*gradient)(const fastmlp_layer *layer, ptrdiff_t first, ptrdiff_t last, ptrdiff_t n, \
                         fastmlp_rows x, const REAL *delta, REAL *dW, int adds_up);                \
        /* a = f(z) and delta *= f'(z), n numbers each */                                          \
        void (*activate)(ptrdiff_t activation, const REAL *z, REAL *a, ptrdiff_t n);               \
        void (*times_derivative)(ptrdiff_t activation, const REAL *a, REAL *delta, ptrdiff_t n);   \
        /* a = exp(z - shift) */                                                                   \
        void (*exponentials)(const REAL *z, REAL shift, REAL *a, ptrdiff_t n);                     \
        /* c += x b */                                                                             \
        void (*add_multiple)(REAL x, const REAL *b, REAL *c, ptrdiff_t n);                         \
        int (*all_finite)(const REAL *x, ptrdiff_t n);                                             \
        /* sum of W^2 */                                                                           \
        double (*sum_of_squares)(const REAL *W, ptrdiff_t n);                                      \
        /* (5) */                                                                                  \
        void (*sgd)(const fastmlp_solver *solver, REAL *params, const REAL *gradient,              \
                    REAL *velocity, ptrdiff_t n);                                                  \
        void (*adam)(const fastmlp_solver *solver, REAL *params, const REAL *gradient, REAL *m,    \
                     REAL *v, ptrdiff_t n);                                                        \
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
