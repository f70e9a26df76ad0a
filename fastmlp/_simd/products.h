/* The three products of a layer: equations (1), (3) and (4).

   All products are built from one tile. It holds R rows by V vectors of the result in registers for
   the whole sum. Each term of the sum takes R numbers of the left operand, V vectors of the right
   operand and R V fused multiply-adds.

   Every element of the result is one chain of fused multiply-adds in the order of the sum. Its bits
   therefore do not depend on its place in the batch, on how the work is shared out, or on the
   vector width (if there are fused multiply-adds). The exceptions are (1) of a layer of one output
   and (3) of a layer of one input: their sums have several chains, the same ones for every row.

   A product is computed in parts of SUM_BLOCK terms and COLUMN_BLOCK bytes of columns, so that this
   part of the right operand stays in the cache for all rows (bench/figures.md: cache-blocks).
   Between two parts the intermediate sums are kept in the result. */

#define SUM_BLOCK 256
#define COLUMN_BLOCK 1024 /* bytes */
#define CACHE_LINE 64
#define TERMS_AHEAD 8
#define ROW_TERMS_AHEAD 16 /* of a single row */
#define MANY_TERMS 64
#define MANY_COLUMNS (4 * LANES)
#define TOO_LARGE (1 << 20) /* bytes; more than the cache of one core holds */

#ifdef HAS_VECTORS
/* How a tile reads the left operand. The operand is x, read by rows, or x^T, read by columns of x.
   Those columns lie side by side in each row of x. Packed columns are a copy (n_terms, MOST_ROWS),
   whose rows lie side by side. */
enum { NAME(by_rows), NAME(by_columns), NAME(packed) };

typedef struct {
    const REAL *base;
    ptrdiff_t stride;
    const ptrdiff_t *index;
} NAME(matrix);

ALWAYS_INLINE const REAL *NAME(row)(NAME(matrix) x, ptrdiff_t i)
{
    return x.base + (x.index ? x.index[i] : i) * x.stride;
}

/* Prefetch a cache line that will be needed soon. */
ALWAYS_INLINE void NAME(fetch)(const REAL *line)
{
    __builtin_prefetch(line, 0, 2); /* for reading, into the second-level cache */
}

/* Claim the cache lines of rows that other cores have read and that this core will write: fetch them
   for writing. The other caches then give them up while this core computes, and later writes do not
   have to wait (bench/figures.md: claim-lines). */
ALWAYS_INLINE void NAME(claim)(const REAL *rows, ptrdiff_t stride, ptrdiff_t n_rows,
                               ptrdiff_t n_columns)
{
    for (ptrdiff_t i = 0; i < n_rows; i++)
        for (ptrdiff_t k = 0; k < n_columns; k += CACHE_LINE / sizeof(REAL))
            __builtin_prefetch(rows + i * stride + k, 1, 3);
}

#define LANES ((ptrdiff_t)(VECTOR_BYTES / sizeof(REAL)))
#include "tile.h"

/* R rows of C, n_columns wide. Remainder columns use half a vector if that is enough. The half
   vector is part of the last tile if there are registers for it, because a tile of its own is
   slower (bench/figures.md: half-vector-tail). Panels with fewer rows than a full tile use more
   vectors: each multiply-add waits for the previous one in its chain, and it takes several chains
   to keep the units busy. */
#define TILE(R, V, H)                                                                              \
    NAME(tile)(R, V, H, order, n_terms, x, first, B + j, B_stride, start ? start + j : NULL,       \
               start_stride, C + j, C_stride, relu, gate ? gate + j : NULL, ahead,                 \
               claimed ? claimed + j : NULL)
#define TILE_WHILE(R, V, MORE_THAN)                                                                \
    for (; n_columns - j > (MORE_THAN); j += (V)*LANES)                                            \
        TILE(R, V, 0);
#define CASE(R, V)                                                                                 \
    case R:                                                                                        \
        if (HALF_BESIDE) {                                                                         \
            TILE_WHILE(R, V, (V)*LANES + LANES / 2)                                                \
            if (n_columns - j > (V)*LANES) {                                                       \
                TILE(R, V, 1);                                                                     \
                break;                                                                             \
            }                                                                                      \
        }                                                                                          \
        TILE_WHILE(R, V, ((V)-1) * LANES)                                                          \
        if (V > 4) TILE_WHILE(R, 4, 3 * LANES)                                                     \
        if (V > 2) TILE_WHILE(R, 2, LANES)                                                         \
        if (n_columns - j > LANES / 2)                                                             \
            TILE(R, 1, 0);                                                                         \
        else if (n_columns > j)                                                                    \
            TILE(R, 0, 1);                                                                         \
        break;

ALWAYS_INLINE void NAME(panel)(ptrdiff_t R, const int order, const int ahead, ptrdiff_t n_columns,
                               ptrdiff_t n_terms, NAME(matrix) x, ptrdiff_t first, const REAL *B,
                               ptrdiff_t B_stride, const REAL *start, ptrdiff_t start_stride,
                               REAL *C, ptrdiff_t C_stride, int relu, const REAL *gate,
                               const REAL *claimed)
{
    ptrdiff_t j = 0;
    switch (R) {
        CASE(1, 8)
        CASE(2, 4)
        CASE(3, 4)
        CASE(4, 2)
        CASE(5, 2)
        CASE(6, 2)
#if TILE_ROWS == 8
        CASE(7, 2)
        CASE(8, 2)
#endif
#if MOST_ROWS > TILE_ROWS
    case MOST_ROWS:
        if (order == NAME(packed)) {
            TILE_WHILE(MOST_ROWS, 2, LANES)
            if (n_columns - j > LANES / 2)
                TILE(MOST_ROWS, 1, 0);
            else if (n_columns > j)
                TILE(MOST_ROWS, 0, 1);
        }
        break;
#endif
    }
}

/* packed (n_terms, MOST_ROWS) = R columns of x. */
ALWAYS_INLINE void NAME(pack)(ptrdiff_t R, ptrdiff_t n_terms, NAME(matrix) x, ptrdiff_t first,
                              REAL *packed)
{
#define COPY(R)                                                                                    \
    for (ptrdiff_t p = 0; p < n_terms; p++)                                                        \
        memcpy(packed + p * MOST_ROWS, NAME(row)(x, p) + first, (R) * sizeof(REAL));
    /* With a constant size, a copy is a few vectors. */
    if (R == MOST_ROWS)
        COPY(MOST_ROWS)
    else if (R == TILE_ROWS)
        COPY(TILE_ROWS)
    else
        COPY(R)
#undef COPY
}

/* Prefetch what the next tile, with rows `first` to first + R, will read of the left operand: of x^T
   the cache lines that its columns enter; of x the beginnings of its rows, which the CPU's own
   prefetcher then follows. It cannot follow hundreds of rows at a time. The rows may be in the cache
   of another core, or in memory, which is far away on CPUs with many cores. */
ALWAYS_INLINE void NAME(fetch_rows)(const int order, NAME(matrix) x, ptrdiff_t first, ptrdiff_t R,
                                    ptrdiff_t n_terms)
{
    enum { line = CACHE_LINE / sizeof(REAL) };
    if (R <= 0 || n_terms < MANY_TERMS)
        return;
    if (order == NAME(by_rows))
        for (ptrdiff_t r = 0; r < R; r++)
            for (ptrdiff_t p = 0; p < 4 * line; p += line)
                NAME(fetch)(NAME(row)(x, first + r) + p);
    else
        for (ptrdiff_t k = (first + line - 1) / line * line; k < first + R; k += line)
            for (ptrdiff_t p = 0; p < n_terms; p++)
                NAME(fetch)(NAME(row)(x, p) + least(k + line, first + R) - 1);
}

/* C (n_rows, n_columns) = start + the sum over n_terms of x B, in parts that fit the cache. `claimed`
   has the shape of C, or is NULL.

   Of x^T a tile reads a few numbers of each of hundreds of rows. If several tiles read the same ones,
   they are packed first (bench/figures.md: packed-columns).

   A core can wait for a few cache lines at a time only. Packed tiles therefore claim a row now and
   then (tile.h), in a panel of its own, because a tile that merely may claim is 2 to 4% slower. */
ALWAYS_INLINE void NAME(product)(const int order, ptrdiff_t n_rows, ptrdiff_t n_columns,
                                 ptrdiff_t n_terms, NAME(matrix) x, ptrdiff_t first, const REAL *B,
                                 ptrdiff_t B_stride, const REAL *start, ptrdiff_t start_stride,
                                 REAL *C, ptrdiff_t C_stride, int relu, const REAL *claimed)
{
    enum { column_block = COLUMN_BLOCK / sizeof(REAL) };
    const int packs =
        order == NAME(by_columns) && n_rows >= TILE_ROWS && n_columns >= MANY_COLUMNS;
    REAL packed[SUM_BLOCK * MOST_ROWS] ALIGNED;
    for (ptrdiff_t j = 0; j < n_columns; j += column_block)
        for (ptrdiff_t p = 0; p < n_terms; p += SUM_BLOCK) {
            const ptrdiff_t width = least(column_block, n_columns - j);
            const ptrdiff_t size = least(SUM_BLOCK, n_terms - p);
            NAME(matrix) part = x;
            if (order == NAME(by_rows))
                part.base += p;
            else if (x.index)
                part.index += p;
            else
                part.base += p * x.stride;
            for (ptrdiff_t i = 0, R; i < n_rows; i += R) {
                REAL *c = C + i * C_stride + j;
                const REAL *own = claimed && p == 0 ? claimed + i * C_stride + j : NULL;
                const REAL *before = p > 0 ? c : start ? start + i * start_stride + j : NULL;
                R = packs ? rows_of_packed_tile(n_rows - i) : rows_of_tile(n_rows - i);
                if (own && !packs)
                    NAME(claim)(own, C_stride, R, width);
                if (j == 0)
                    NAME(fetch_rows)(order, part, first + i + R, least(R, n_rows - i - R), size);
#define PANEL(order, left, at, own)                                                                \
    NAME(panel)(R, order, TERMS_AHEAD, width, size, left, at, B + p * B_stride + j, B_stride,      \
                before, p > 0 ? C_stride : start_stride, c, C_stride,                              \
                relu && p + SUM_BLOCK >= n_terms, NULL, own)
                if (packs) {
                    const NAME(matrix) copy = {packed, MOST_ROWS, NULL};
                    NAME(pack)(R, size, part, first + i, packed);
                    if (own)
                        PANEL(NAME(packed), copy, 0, own);
                    else
                        PANEL(NAME(packed), copy, 0, NULL);
                } else {
                    PANEL(order, part, first + i, NULL);
                }
#undef PANEL
            }
        }
}

/* z (1, n_columns) = b + x (1, n_terms) W, for a single row. Each number of W is used once, so the
   time goes into reading W. Reading it from top to bottom with prefetches is faster than `product`
   (bench/figures.md: single-row). */
static void NAME(row_by_matrix)(ptrdiff_t n_columns, ptrdiff_t n_terms, NAME(matrix) x,
                                const REAL *W, ptrdiff_t stride, const REAL *b, REAL *z, int relu)
{
    ptrdiff_t j = 0;
    for (; j + 8 * LANES <= n_columns; j += 8 * LANES)
        NAME(tile)(1, 8, 0, NAME(by_rows), n_terms, x, 0, W + j, stride, b + j, 0, z + j, stride,
                   relu, NULL, ROW_TERMS_AHEAD, NULL);
    NAME(product)(NAME(by_rows), 1, n_columns - j, n_terms, x, 0, W + j, stride, b + j, 0, z + j,
                  stride, relu, NULL);
}

/* A layer of one unit would use only one lane of a tile's vectors. Its rows therefore have no
   padding, and its products are those of a matrix and a vector, with vectors along x
   (bench/figures.md: one-unit-layers). */

/* z (R, 1) = start + x (R, n_terms) w (n_terms,), in SUMS chains and one for the remainder of each
   row, for every vector width. */
ALWAYS_INLINE void NAME(dots)(const int R, ptrdiff_t n_terms, NAME(matrix) x, ptrdiff_t first,
                              const REAL *w, REAL start, REAL *z)
{
    enum { V = SUMS * sizeof(REAL) / VECTOR_BYTES };
    NAME(vector) sums[4][V];
    REAL rest[4];
    const REAL *rows[4];
    ptrdiff_t p = 0;
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
        rows[r] = NAME(row)(x, first + r);
        rest[r] = start;
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            sums[r][v] = (NAME(vector)){0};
    }
    for (; p + SUMS <= n_terms; p += SUMS)
#pragma GCC unroll 4
        for (int r = 0; r < R; r++)
#pragma GCC unroll 8
            for (int v = 0; v < V; v++)
                sums[r][v] = NAME(fma_vector)(*(const NAME(vector) *)(rows[r] + p + v * LANES),
                                              *(const NAME(vector) *)(w + p + v * LANES),
                                              sums[r][v]);
    for (; p < n_terms; p++)
#pragma GCC unroll 4
        for (int r = 0; r < R; r++)
            rest[r] = NAME(fma)(rows[r][p], w[p], rest[r]);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
        z[first + r] = n_terms < SUMS ? rest[r] : rest[r] + NAME(total)((REAL *)sums[r]);
}

/* z (n, 1) = start + x (n, n_terms) w (n_terms,) */
ALWAYS_INLINE void NAME(matrix_by_vector)(ptrdiff_t n, ptrdiff_t n_terms, NAME(matrix) x,
                                          const REAL *w, REAL start, REAL *z)
{
    ptrdiff_t i = 0;
    for (; i + 4 <= n; i += 4)
        NAME(dots)(4, n_terms, x, i, w, start, z);
    for (; i < n; i++)
        NAME(dots)(1, n_terms, x, i, w, start, z);
}

/* sums = delta^T (1, n) x (n, ...), for V vectors and H half vectors of columns. With adds_up the
   product is added to sums. */
ALWAYS_INLINE void NAME(weighted_rows)(const int V, const int H, ptrdiff_t n, NAME(matrix) x,
                                       ptrdiff_t first, const REAL *delta, REAL *sums,
                                       int adds_up)
{
    NAME(vector) sum[8];
    NAME(half_vector) half_sum = {0};
    if (H && adds_up)
        half_sum = *(const NAME(half_vector) *)(sums + V * LANES);
#pragma GCC unroll 8
    for (int v = 0; v < V; v++)
        sum[v] = adds_up ? *(const NAME(vector) *)(sums + v * LANES) : (NAME(vector)){0};
    for (ptrdiff_t i = 0; i < n; i++) {
        const REAL *row = NAME(row)(x, i) + first;
        const NAME(vector) factor = delta[i] - (NAME(vector)){0};
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            sum[v] = NAME(fma_vector)(factor, *(const NAME(vector) *)(row + v * LANES), sum[v]);
        if (H)
            half_sum = NAME(fma_half)(*(const NAME(half_vector) *)&factor,
                                      *(const NAME(half_vector) *)(row + V * LANES), half_sum);
    }
#pragma GCC unroll 8
    for (int v = 0; v < V; v++)
        *(NAME(vector) *)(sums + v * LANES) = sum[v];
    if (H)
        *(NAME(half_vector) *)(sums + V * LANES) = half_sum;
}

/* The same for R columns that do not fill half a vector. */
ALWAYS_INLINE void NAME(weighted_numbers)(const int R, ptrdiff_t n, NAME(matrix) x, ptrdiff_t first,
                                          const REAL *delta, REAL *sums, int adds_up)
{
    REAL sum[4];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
        sum[r] = adds_up ? sums[r] : 0;
    for (ptrdiff_t i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int r = 0; r < R; r++)
            sum[r] = NAME(fma)(delta[i], NAME(row)(x, i)[first + r], sum[r]);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
        sums[r] = sum[r];
}

/* (4) dW^T (1, n_weights) = delta^T (1, n) x (n, n_weights), and db = sum of delta unless NULL */
static void NAME(gradient_of_one)(ptrdiff_t n_weights, ptrdiff_t n, NAME(matrix) x,
                                  ptrdiff_t first, const REAL *delta, REAL *dW, REAL *db,
                                  int adds_up)
{
    ptrdiff_t j = 0;
#define COLUMNS(V, H)                                                                              \
    for (; j + (V)*LANES + (H)*LANES / 2 <= n_weights; j += (V)*LANES + (H)*LANES / 2)             \
        NAME(weighted_rows)(V, H, n, x, first + j, delta, dW + j, adds_up);
    COLUMNS(8, 0)
    COLUMNS(4, 1)
    COLUMNS(4, 0)
    COLUMNS(2, 1)
    COLUMNS(2, 0)
    COLUMNS(1, 1)
    COLUMNS(1, 0)
    COLUMNS(0, 1)
#undef COLUMNS
#define COLUMNS(R)                                                                                 \
    for (; j + (R) <= n_weights; j += (R))                                                         \
        NAME(weighted_numbers)(R, n, x, first + j, delta, dW + j, adds_up);
    COLUMNS(4)
    COLUMNS(2)
    COLUMNS(1)
#undef COLUMNS
    if (db) {
        REAL sum = adds_up ? *db : 0;
        for (ptrdiff_t i = 0; i < n; i++)
            sum += delta[i];
        *db = sum;
    }
}

/* (3) delta_a (n, n_in) = delta (n, 1) W^T (1, n_in), through the gate */
static void NAME(backward_of_one)(ptrdiff_t n, ptrdiff_t n_in, const REAL *delta, const REAL *W,
                                  REAL *delta_a, ptrdiff_t a_stride, const REAL *gate)
{
    REAL w[SUM_BLOCK] ALIGNED; /* 0 for the padding of delta_a */
    for (ptrdiff_t j = 0; j < n_in; j += SUM_BLOCK) {
        const ptrdiff_t size = least(SUM_BLOCK, n_in - j);
        memcpy(w, W + j, size * sizeof(REAL));
        memset(w + size, 0, (SUM_BLOCK - size) * sizeof(REAL));
        for (ptrdiff_t i = 0; i < n; i++)
            for (ptrdiff_t k = 0; k < size; k += LANES) {
                const ptrdiff_t at = i * a_stride + j + k;
                *(NAME(vector) *)(delta_a + at) = NAME(finish)(
                    delta[i] * *(const NAME(vector) *)(w + k), 0, gate ? gate + at : NULL);
            }
    }
}

/* (1) z (n, n_out) = x (n, n_dense) W (n_dense, n_out) + b, a = f(z). If delta (n, n_out) is not NULL
   and the sum has only one part, the cache lines of delta are claimed. */
static void NAME(forward)(const fastmlp_layer *layer, ptrdiff_t n, fastmlp_rows x, const REAL *W,
                          REAL *z, REAL *a, REAL *delta)
{
    const ptrdiff_t stride = layer->stride;
    const REAL *b = W + (layer->b - layer->W);
    const NAME(matrix) left = {x.base, x.stride, x.index};
    const int relu = layer->activation == FASTMLP_RELU && a == z;
    if (stride == 1)
        NAME(matrix_by_vector)(n, layer->n_dense, left, W, *b, z);
    else if (n == 1 && layer->n_dense * stride * (ptrdiff_t)sizeof(REAL) > TOO_LARGE)
        NAME(row_by_matrix)(layer->n_out, layer->n_dense, left, W, stride, b, z, relu);
    else
        NAME(product)(NAME(by_rows), n, layer->n_out, layer->n_dense, left, 0, W, stride, b, 0, z,
                      stride, relu, layer->n_dense <= SUM_BLOCK ? delta : NULL);
    if (!relu || stride == 1)
        NAME(activate)(layer->activation, z, a, n * stride);
}

/* (3) delta_a (n, n_in) = delta (n, n_out) W^T (n_out, n_in), and 0 where the gate (n, n_in) is 0,
   unless that is NULL. W is transposed in strips as wide as a tile. */
static void NAME(backward)(const fastmlp_layer *layer, ptrdiff_t n, const REAL *delta,
                           const REAL *W, REAL *delta_a, ptrdiff_t a_stride, const REAL *gate)
{
    enum { width = 2 * VECTOR_BYTES / sizeof(REAL) };
    REAL strip[SUM_BLOCK * width] ALIGNED;
    const ptrdiff_t stride = layer->stride, n_columns = layer->n_in;
    if (a_stride == 1) {
        const NAME(matrix) left = {delta, stride, NULL};
        NAME(matrix_by_vector)(n, layer->n_out, left, W, 0, delta_a);
        for (ptrdiff_t i = 0; gate && i < n; i++)
            delta_a[i] = gate[i] == 0 ? 0 : delta_a[i];
        return;
    }
    if (stride == 1) {
        NAME(backward_of_one)(n, n_columns, delta, W, delta_a, a_stride, gate);
        return;
    }
    for (ptrdiff_t j = 0; j < n_columns; j += width)
        for (ptrdiff_t p = 0; p < layer->n_out; p += SUM_BLOCK) {
            const ptrdiff_t n_terms = least(SUM_BLOCK, layer->n_out - p);
            const NAME(matrix) left = {delta + p, stride, NULL};
            NAME(transpose)(W + j * stride + p, stride, least(width, layer->n_in - j), n_terms,
                            strip, width);
            for (ptrdiff_t i = 0, R; i < n; i += R) {
                REAL *c = delta_a + i * a_stride + j;
                const int is_last = p + SUM_BLOCK >= layer->n_out;
                R = rows_of_tile(n - i);
                NAME(panel)(R, NAME(by_rows), 0, least(width, n_columns - j), n_terms, left, i, strip,
                            width, p > 0 ? c : NULL, a_stride, c, a_stride, 0,
                            gate && is_last ? gate + i * a_stride + j : NULL, NULL);
            }
        }
}

/* (4) dW (last - first, n_out) = x^T (last - first, n) delta (n, n_out). db is the row of a column
   of ones that follows the last column of x. */
static void NAME(gradient)(const fastmlp_layer *layer, ptrdiff_t first, ptrdiff_t last, ptrdiff_t n,
                           fastmlp_rows x, const REAL *delta, REAL *dW, int adds_up, REAL *W)
{
    const ptrdiff_t stride = layer->stride, n_columns = layer->n_out;
    const ptrdiff_t n_weights = least(last, layer->n_dense) - first;
    const REAL one = 1;
    const NAME(matrix) left = {x.base, x.stride, x.index}, ones = {&one, 0, NULL};
    REAL *db = last > layer->n_in ? dW + n_weights * stride : NULL;
    if (stride == 1) {
        NAME(gradient_of_one)(n_weights, n, left, first, delta, dW, db, adds_up);
        return;
    }
    NAME(product)(NAME(by_columns), n_weights, n_columns, n, left, first, delta, stride,
                  adds_up ? dW : NULL, stride, dW, stride, 0, W);
    if (db)
        NAME(product)(NAME(by_columns), 1, n_columns, n, ones, 0, delta, stride,
                      adds_up ? db : NULL, stride, db, stride, 0, NULL);
}

#undef LANES
#undef CASE
#undef TILE_WHILE
#undef TILE
#else
/* Without vector extensions, BLAS computes the products. */
#define forward_f32 NULL
#define backward_f32 NULL
#define gradient_f32 NULL
#define forward_f64 NULL
#define backward_f64 NULL
#define gradient_f64 NULL
#endif
