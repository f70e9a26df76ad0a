/* Fused multiply-adds: x y + z, rounded once, for a number, a vector and half a vector.

   This is the only file with fused multiply-add intrinsics. The compiler itself may fuse nothing
   (-ffp-contract=off), because each compiler would fuse different products and so decide the bits.
   Where the instruction is missing, as on x86 without FMA, all of these round twice. */

#if VECTOR_BYTES > 16 || defined(__aarch64__)
#define FUSED_NUMBER(x, y, z) (IS_FLOAT ? __builtin_fmaf(x, y, z) : __builtin_fma(x, y, z))
#else
#define FUSED_NUMBER(x, y, z) ((x) * (y) + (z))
#endif

#if VECTOR_BYTES == 64 && IS_FLOAT
#define FUSED(x, y, z) _mm512_fmadd_ps((__m512)(x), (__m512)(y), (__m512)(z))
#define FUSED_HALF(x, y, z) _mm256_fmadd_ps((__m256)(x), (__m256)(y), (__m256)(z))
#elif VECTOR_BYTES == 64
#define FUSED(x, y, z) _mm512_fmadd_pd((__m512d)(x), (__m512d)(y), (__m512d)(z))
#define FUSED_HALF(x, y, z) _mm256_fmadd_pd((__m256d)(x), (__m256d)(y), (__m256d)(z))
#elif VECTOR_BYTES == 32 && IS_FLOAT
#define FUSED(x, y, z) _mm256_fmadd_ps((__m256)(x), (__m256)(y), (__m256)(z))
#define FUSED_HALF(x, y, z) _mm_fmadd_ps((__m128)(x), (__m128)(y), (__m128)(z))
#elif VECTOR_BYTES == 32
#define FUSED(x, y, z) _mm256_fmadd_pd((__m256d)(x), (__m256d)(y), (__m256d)(z))
#define FUSED_HALF(x, y, z) _mm_fmadd_pd((__m128d)(x), (__m128d)(y), (__m128d)(z))
#elif defined(__aarch64__) && IS_FLOAT
#define FUSED(x, y, z) vfmaq_f32((float32x4_t)(z), (float32x4_t)(x), (float32x4_t)(y))
#define FUSED_HALF(x, y, z) vfma_f32((float32x2_t)(z), (float32x2_t)(x), (float32x2_t)(y))
#elif defined(__aarch64__)
#define FUSED(x, y, z) vfmaq_f64((float64x2_t)(z), (float64x2_t)(x), (float64x2_t)(y))
#define FUSED_HALF(x, y, z) vfma_f64((float64x1_t)(z), (float64x1_t)(x), (float64x1_t)(y))
#else
#define FUSED(x, y, z) ((x) * (y) + (z))
#define FUSED_HALF FUSED
#endif

ALWAYS_INLINE REAL NAME(fma)(REAL x, REAL y, REAL z) { return (REAL)FUSED_NUMBER(x, y, z); }

#ifdef HAS_VECTORS
ALWAYS_INLINE NAME(vector) NAME(fma_vector)(NAME(vector) x, NAME(vector) y, NAME(vector) z)
{
    return (NAME(vector))FUSED(x, y, z);
}

ALWAYS_INLINE NAME(half_vector) NAME(fma_half)(NAME(half_vector) x, NAME(half_vector) y,
                                               NAME(half_vector) z)
{
    return (NAME(half_vector))FUSED_HALF(x, y, z);
}
#endif

#undef FUSED_NUMBER
#undef FUSED
#undef FUSED_HALF
