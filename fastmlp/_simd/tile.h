/* One tile, of vectors of the type VECTOR with LANES numbers; products.h includes this for whole
   vectors and for halves. */

/* C (R, V) = start + sum over n_terms of x B; start is (R, V), its rows start_stride apart, or
   NULL. */
ALWAYS_INLINE void TILE(const int R, const int V, const int order, ptrdiff_t n_terms,
                        NAME(matrix) x, ptrdiff_t first, const REAL *B, ptrdiff_t B_stride,
                        const REAL *start, ptrdiff_t start_stride, REAL *C, ptrdiff_t C_stride)
{
    VECTOR sum[TILE_ROWS][8];
    const REAL *rows[TILE_ROWS];
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            sum[r][v] =
                start ? *(const VECTOR *)(start + r * start_stride + v * LANES) : (VECTOR){0};
        rows[r] = order == NAME(by_rows) ? NAME(row)(x, first + r) : NULL;
    }
    for (ptrdiff_t p = 0; p < n_terms; p++) {
        const REAL *columns = order == NAME(by_columns) ? NAME(row)(x, p) + first : NULL;
        VECTOR b[8];
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            b[v] = *(const VECTOR *)(B + p * B_stride + v * LANES);
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            REAL left = order == NAME(by_rows) ? rows[r][p] : columns[r];
#pragma GCC unroll 8
            for (int v = 0; v < V; v++)
                sum[r][v] += left * b[v];
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            *(VECTOR *)(C + r * C_stride + v * LANES) = sum[r][v];
}
