/* The tile from which products.h builds all products. */

/* Finishes a sum: applies relu, or sets it to 0 where the gate is 0, which is the derivative of
   relu. Doing this in registers saves passes over the result (bench/figures.md: fused-relu). */
#define FINISH(name, vector, mask)                                                                 \
    ALWAYS_INLINE vector name(vector c, int relu, const REAL *gate)                                \
    {                                                                                              \
        if (relu)                                                                                  \
            c = (vector)((mask)c & ~(mask)(c < 0)); /* NaN stays NaN */                            \
        if (gate)                                                                                  \
            c = (vector)((mask)c & (mask)(*(const vector *)gate != 0));                            \
        return c;                                                                                  \
    }
FINISH(NAME(finish), NAME(vector), NAME(mask))
FINISH(NAME(finish_half), NAME(half_vector), NAME(half_mask))
#undef FINISH

/* C = start + the sum over n_terms of x B, for R rows of V vectors and H half vectors (H is 0 or
   1). The rows of start are start_stride apart; start may be NULL. The rows of gate are as far
   apart as those of C. Unless `ahead` is 0, rows of B are prefetched into the first-level cache
   `ahead` terms before they are needed (bench/figures.md: terms-ahead). Unless `claimed` is NULL, its R
   rows, which lie like those of C, are claimed from other cores, one after the other as the sum
   grows. */
ALWAYS_INLINE void NAME(tile)(const int R, const int V, const int H, const int order,
                              ptrdiff_t n_terms, NAME(matrix) x, ptrdiff_t first, const REAL *B,
                              ptrdiff_t B_stride, const REAL *start, ptrdiff_t start_stride,
                              REAL *C, ptrdiff_t C_stride, int relu, const REAL *gate,
                              const int ahead, const REAL *claimed)
{
    const ptrdiff_t terms_a_claim = n_terms / R;
    ptrdiff_t n_claims = 0, next_claim = 0;
    NAME(vector) sum[MOST_ROWS][8];
    NAME(half_vector) half_sum[MOST_ROWS];
    const REAL *rows[MOST_ROWS];
#pragma GCC unroll 14
    for (int r = 0; r < R; r++) {
        const REAL *from = start ? start + r * start_stride : NULL;
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            sum[r][v] = start ? *(const NAME(vector) *)(from + v * LANES) : (NAME(vector)){0};
        if (H)
            half_sum[r] =
                start ? *(const NAME(half_vector) *)(from + V * LANES) : (NAME(half_vector)){0};
        rows[r] = order == NAME(by_rows) ? NAME(row)(x, first + r) : NULL;
    }
    for (ptrdiff_t p = 0; p < n_terms; p++) {
        const REAL *columns = order == NAME(by_columns) ? NAME(row)(x, p) + first
                              : order == NAME(packed)   ? x.base + p * MOST_ROWS
                                                        : NULL;
        const REAL *terms = B + p * B_stride;
        NAME(vector) b[8];
        NAME(half_vector) half_b = {0};
        if (claimed && p == next_claim && n_claims < R) {
            NAME(claim)(claimed + n_claims * C_stride, C_stride, 1, V * LANES + H);
            n_claims++;
            next_claim += terms_a_claim;
        }
        if (ahead)
#pragma GCC unroll 8
            for (int v = 0; v < V; v += CACHE_LINE / VECTOR_BYTES)
                __builtin_prefetch(terms + ahead * B_stride + v * LANES, 0, 3);
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            b[v] = *(const NAME(vector) *)(terms + v * LANES);
        if (H)
            half_b = *(const NAME(half_vector) *)(terms + V * LANES);
#pragma GCC unroll 14
        for (int r = 0; r < R; r++) {
            const REAL number = order == NAME(by_rows) ? rows[r][p] : columns[r];
            const NAME(vector) left = number - (NAME(vector)){0};
#pragma GCC unroll 8
            for (int v = 0; v < V; v++)
                sum[r][v] = NAME(fma_vector)(left, b[v], sum[r][v]);
            /* Use half of `left` and not `number`. gcc would broadcast `number` a second time, from
               a register, which occupies the units that multiply
               (bench/figures.md: half-vector-operand). */
            if (H)
                half_sum[r] =
                    NAME(fma_half)(*(const NAME(half_vector) *)&left, half_b, half_sum[r]);
        }
    }
#pragma GCC unroll 14
    for (int r = 0; r < R; r++) {
        REAL *to = C + r * C_stride;
        const REAL *by = gate ? gate + r * C_stride : NULL;
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            *(NAME(vector) *)(to + v * LANES) =
                NAME(finish)(sum[r][v], relu, gate ? by + v * LANES : NULL);
        if (H)
            *(NAME(half_vector) *)(to + V * LANES) =
                NAME(finish_half)(half_sum[r], relu, gate ? by + V * LANES : NULL);
    }
}
