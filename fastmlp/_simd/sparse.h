/* The products of sparse rows: equation (1) adds rows of W, equation (4) adds to rows of dW.

   For each element, the chain of multiply-adds has one term for each nonzero number, in the order
   of the row. A strip of up to eight vectors of columns stays in registers while the numbers of a
   row are gone through (bench/figures.md: sparse-strips). Another thread may change `indices`
   meanwhile: each is read once, and what is not within the matrix is skipped. */

ALWAYS_INLINE ptrdiff_t NAME(index)(const volatile ptrdiff_t *indices, ptrdiff_t p)
{
    return indices[p];
}

#ifdef HAS_VECTORS
#define STRIP 8
#define LANES ((ptrdiff_t)(VECTOR_BYTES / sizeof(REAL)))

ALWAYS_INLINE void NAME(add_rows_of)(const int V, const REAL *values, const ptrdiff_t *indices,
                                     ptrdiff_t n_terms, ptrdiff_t n_in, const REAL *W,
                                     ptrdiff_t stride, REAL *z)
{
    NAME(vector) sum[STRIP];
#pragma GCC unroll 8
    for (int v = 0; v < V; v++)
        sum[v] = *(const NAME(vector) *)(z + v * LANES);
    for (ptrdiff_t p = 0; p < n_terms; p++) {
        const ptrdiff_t j = NAME(index)(indices, p);
        if (j < 0 || j >= n_in)
            continue;
        const NAME(vector) x = values[p] - (NAME(vector)){0};
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            sum[v] = NAME(fma_vector)(x, *(const NAME(vector) *)(W + j * stride + v * LANES),
                                      sum[v]);
    }
#pragma GCC unroll 8
    for (int v = 0; v < V; v++)
        *(NAME(vector) *)(z + v * LANES) = sum[v];
}

ALWAYS_INLINE ptrdiff_t NAME(add_to_rows_of)(const int V, const REAL *values,
                                             const ptrdiff_t *indices, ptrdiff_t n_terms,
                                             ptrdiff_t first, ptrdiff_t last, const REAL *delta,
                                             REAL *dW, ptrdiff_t stride)
{
    NAME(vector) d[STRIP];
    ptrdiff_t p = 0;
#pragma GCC unroll 8
    for (int v = 0; v < V; v++)
        d[v] = *(const NAME(vector) *)(delta + v * LANES);
    for (; p < n_terms; p++) {
        const ptrdiff_t j = NAME(index)(indices, p) - first;
        if (j >= last - first)
            break;
        if (j < 0)
            continue;
        const NAME(vector) x = values[p] - (NAME(vector)){0};
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) {
            NAME(vector) *c = (NAME(vector) *)(dW + j * stride + v * LANES);
            *c = NAME(fma_vector)(x, d[v], *c);
        }
    }
    return p;
}

/* The vectors are a compile-time constant of each case, so that they stay in registers. */
#define IN_STRIPS(CALL)                                                                            \
    ptrdiff_t k = 0;                                                                               \
    for (; k + LANES <= stride; k += STRIP * LANES)                                                \
        switch (least((stride - k) / LANES, STRIP)) {                                              \
        case 1: CALL(1); break;                                                                    \
        case 2: CALL(2); break;                                                                    \
        case 3: CALL(3); break;                                                                    \
        case 4: CALL(4); break;                                                                    \
        case 5: CALL(5); break;                                                                    \
        case 6: CALL(6); break;                                                                    \
        case 7: CALL(7); break;                                                                    \
        default: CALL(8);                                                                          \
        }                                                                                          \
    if (stride >= LANES)                                                                           \
        k = stride;
#else
#define IN_STRIPS(CALL) ptrdiff_t k = 0;
#endif

/* z += x W, for a row x of n_terms numbers */
static void NAME(add_rows)(const REAL *values, const ptrdiff_t *indices, ptrdiff_t n_terms,
                           ptrdiff_t n_in, const REAL *W, ptrdiff_t stride, REAL *z)
{
#define CALL(V) NAME(add_rows_of)(V, values, indices, n_terms, n_in, W + k, stride, z + k)
    IN_STRIPS(CALL)
#undef CALL
    for (; k < stride; k++) /* a single column */
        for (ptrdiff_t p = 0; p < n_terms; p++) {
            const ptrdiff_t j = NAME(index)(indices, p);
            if (j >= 0 && j < n_in)
                z[k] = NAME(fma)(values[p], W[j * stride + k], z[k]);
        }
}

/* dW += x^T delta, for a row x of ascending columns and the rows first to last of dW. Returns how
   many numbers come before `last`. */
static ptrdiff_t NAME(add_to_rows)(const REAL *values, const ptrdiff_t *indices, ptrdiff_t n_terms,
                                   ptrdiff_t first, ptrdiff_t last, const REAL *delta, REAL *dW,
                                   ptrdiff_t stride)
{
    ptrdiff_t n_before = 0;
#define CALL(V)                                                                                    \
    n_before = NAME(add_to_rows_of)(V, values, indices, n_terms, first, last, delta + k, dW + k,   \
                                    stride)
    IN_STRIPS(CALL)
#undef CALL
    for (; k < stride; k++) /* a single column */
        for (n_before = 0; n_before < n_terms; n_before++) {
            const ptrdiff_t j = NAME(index)(indices, n_before) - first;
            if (j >= last - first)
                break;
            if (j >= 0)
                dW[j * stride + k] = NAME(fma)(values[n_before], delta[k], dW[j * stride + k]);
        }
    return n_before;
}
#undef IN_STRIPS
#undef STRIP
#undef LANES
