/* All kernels for one instruction set, the one of the compiler flags: products.h, elementwise.h,
   rows.h, sparse.h, inputs.h and solvers.h, for float and for double. Only the table is visible outside of
   this file. */

#include "kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The bytes of a vector, set by setup.py for each instruction set, and the rows of a tile. With 32
   registers a tile has 8 x 2 vectors of accumulators and a column of half vectors beside them; with
   16 registers it has 6 x 2. Twelve rows would need more addresses than x86 has general registers
   (bench/figures.md: tile-rows), unless the left operand is packed (products.h): a tile then has up
   to MOST_ROWS rows (bench/figures.md: packed-columns). */
#ifndef VECTOR_BYTES
#define VECTOR_BYTES 16
#endif
#if VECTOR_BYTES == 64
#define FASTMLP_KERNELS fastmlp_avx512
#define ISA "avx512"
#define TILE_ROWS 8
#define MOST_ROWS 14
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
#ifndef MOST_ROWS
#define MOST_ROWS TILE_ROWS
#endif
#define HALF_BESIDE (TILE_ROWS == 8)

#if VECTOR_BYTES > 16
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>
#endif

/* The vector extensions of gcc. clang has them in its form for Windows (clang-cl), too. */
#if defined(__GNUC__) || defined(__clang__)
#define HAS_VECTORS
#endif

#ifdef HAS_VECTORS
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define ALIGNED __attribute__((aligned(64)))
#ifndef __clang__ /* clang has no __builtin_shuffle */
#define CAN_SHUFFLE
#endif
#else /* no vector extensions: vectors of one number */
#define ALWAYS_INLINE static __forceinline
#define ALIGNED
#define __restrict__ __restrict
#endif

static inline ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* How many of n rows the next tile takes. The last two tiles share their rows equally, because a
   tile of very few rows has too few chains of multiply-adds (bench/figures.md: equal-tiles). */
static inline ptrdiff_t rows_of_tile(ptrdiff_t n)
{
    return n <= TILE_ROWS ? n : n < 2 * TILE_ROWS ? (n + 1) / 2 : TILE_ROWS;
}

/* The same if the left operand is packed. */
static inline ptrdiff_t rows_of_packed_tile(ptrdiff_t n)
{
    return n == MOST_ROWS || n >= MOST_ROWS + TILE_ROWS ? MOST_ROWS : rows_of_tile(n);
}

enum { ROWS_OF_STRIP = 16 }; /* whole vectors of every instruction set: inputs.h */

#define LEAK 0.01 /* slope of leaky_relu */
#define SELU_SCALE 1.0507009873554805
#define SELU_ALPHA 1.6732632423543772

ALWAYS_INLINE double fma_f64(double x, double y, double z); /* float squares are summed in double */

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

/* Without vector extensions, BLAS computes all products. */
#ifdef HAS_VECTORS
#define LARGEST PTRDIFF_MAX
#else
#define LARGEST 0
#endif

#define TABLE(S)                                                                                   \
    {                                                                                              \
        LARGEST, forward_##S, backward_##S, gradient_##S, activate_##S, times_derivative_##S,      \
            mix_##S, mix_back_##S, add_mixed_##S, normalize_##S, normalize_back_##S, dropout_##S, add_noise_##S, softmax_##S,            \
            exponentials_##S, logarithms_##S, add_multiple_##S, add_rows_##S, add_to_rows_##S,     \
            embed_##S, embed_back_##S, bins_##S, dot_##S, add_decay_##S, largest_size_##S, sum_of_squares_##S, move_##S                          \
    }

const fastmlp_kernels FASTMLP_KERNELS = {ISA, TABLE(f32), TABLE(f64)};
