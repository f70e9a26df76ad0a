/* All kernels for one instruction set, that of the compiler's flags: products.h,
   elementwise.h, rows.h and solvers.h, for float and for double. Only the table leaves this file. */

#include "kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* How many bytes a vector has, as setup.py says for an instruction set, and how many rows a tile:
   8 x 2 vectors of accumulators, and half a vector beside them, of 32 registers, 6 x 2 of 16. The
   addresses of 12 rows would not fit the general registers of x86: (1) of `mid` in bench/ takes 6%
   longer so. */
#ifndef VECTOR_BYTES
#define VECTOR_BYTES 16
#endif
#if VECTOR_BYTES == 64
#define FASTMLP_KERNELS fastmlp_avx512
#define ISA "avx512"
#define TILE_ROWS 8
#elif VECTOR_BYTES == 32
#define FASTMLP_KERNELS fastmlp_avx2
#define ISA "avx2"
#define TILE_ROWS 6
#else
#define FASTMLP_KERNELS fastmlp_baseline
#define ISA "baseline"
#if defined(__aarch64__)
#define TILE_ROWS 8
#else
#define TILE_ROWS 6
#endif
#endif
#define HALF_BESIDE (TILE_ROWS == 8)

#if VECTOR_BYTES > 16
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>
#endif

#if defined(__GNUC__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define ALIGNED __attribute__((aligned(64)))
#ifndef __clang__ /* which has no __builtin_shuffle */
#define CAN_SHUFFLE
#endif
#else /* a compiler without vector extensions: vectors of one number */
#define ALWAYS_INLINE static __forceinline
#define ALIGNED
#define __restrict__ __restrict
#endif

static inline ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

#define LEAK 0.01 /* of leaky_relu */
#define SELU_SCALE 1.0507009873554805
#define SELU_ALPHA 1.6732632423543772

ALWAYS_INLINE double fma_f64(double x, double y, double z); /* sums of float squares are double */

#define REAL float
#define ROOT sqrtf
#define SIZE fabsf
#define WITH_SIGN copysignf
#define NAME(x) x##_f32
#define INTEGER int32_t
#define IS_FLOAT 1
#include "real.h"
#undef REAL
#undef ROOT
#undef SIZE
#undef WITH_SIGN
#undef NAME
#undef INTEGER
#undef IS_FLOAT

#define REAL double
#define ROOT sqrt
#define SIZE fabs
#define WITH_SIGN copysign
#define NAME(x) x##_f64
#define INTEGER int64_t
#define IS_FLOAT 0
#include "real.h"

/* Without vector extensions of the compiler, all products are BLAS's. */
#ifdef __GNUC__
#define LARGEST PTRDIFF_MAX
#else
#define LARGEST 0
#endif

#define TABLE(S)                                                                                   \
    {                                                                                              \
        LARGEST, forward_##S, backward_##S, gradient_##S, activate_##S, times_derivative_##S,      \
            normalize_##S, normalize_back_##S, dropout_##S, add_noise_##S, softmax_##S,            \
            exponentials_##S, logarithms_##S, add_multiple_##S, add_decay_##S, all_finite_##S,     \
            sum_of_squares_##S, move_##S                                                           \
    }

const fastmlp_kernels FASTMLP_KERNELS = {ISA, TABLE(f32), TABLE(f64)};
