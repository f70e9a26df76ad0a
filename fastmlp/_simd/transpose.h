/* Transposes, used by backward for W and by softmax for its rows. */

#define VECTOR NAME(vector)
#define LANES ((ptrdiff_t)(VECTOR_BYTES / sizeof(REAL)))

#ifdef CAN_SHUFFLE
/* Shuffle indices of the k-th number of the upper and the lower row in round s. An index below
   LANES refers to the upper row. */
#define OF_UPPER(k, s) ((k) & (s) ? LANES + (k) - (s) : (k))
#define OF_LOWER(k, s) ((k) & (s) ? LANES + (k) : (k) + (s))
/* The masks are written out. gcc would rebuild a mask that is filled by a loop in every call
   (bench/figures.md: shuffle-masks). */
#define ALL_2(F, s) F(0, s), F(1, s)
#define ALL_4(F, s) ALL_2(F, s), F(2, s), F(3, s)
#define ALL_8(F, s) ALL_4(F, s), F(4, s), F(5, s), F(6, s), F(7, s)
#define ALL_16(F, s)                                                                               \
    ALL_8(F, s), F(8, s), F(9, s), F(10, s), F(11, s), F(12, s), F(13, s), F(14, s), F(15, s)
#if IS_FLOAT && VECTOR_BYTES == 64
#define ALL ALL_16
#elif IS_FLOAT ? VECTOR_BYTES == 32 : VECTOR_BYTES == 64
#define ALL ALL_8
#elif IS_FLOAT || VECTOR_BYTES == 32
#define ALL ALL_4
#else
#define ALL ALL_2
#endif
#define ROUND(s)                                                                                   \
    _Pragma("GCC unroll 16") for (int i = 0; (s) < LANES && i < LANES; i++) if (!(i & (s)))        \
    {                                                                                              \
        const VECTOR a = row[i], b = row[i + (s)];                                                 \
        row[i] = __builtin_shuffle(a, b, (NAME(mask)){ALL(OF_UPPER, s)});                          \
        row[i + (s)] = __builtin_shuffle(a, b, (NAME(mask)){ALL(OF_LOWER, s)});                    \
    }
#endif

/* T (LANES, LANES), with rows T_stride apart, = the transpose of a square of W. Round s = 1, 2, 4
   ... swaps the two off-diagonal s x s blocks of every 2s x 2s block. Shuffles are faster than
   single loads and stores (bench/figures.md: transpose-squares). */
ALWAYS_INLINE void NAME(transpose_square)(const REAL *W, ptrdiff_t W_stride, REAL *T,
                                          ptrdiff_t T_stride)
{
#ifdef CAN_SHUFFLE
    VECTOR row[2 * LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        row[i] = *(const VECTOR *)(W + i * W_stride);
    ROUND(1)
    ROUND(2)
    ROUND(4)
    ROUND(8)
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        *(VECTOR *)(T + i * T_stride) = row[i];
#else
    for (ptrdiff_t i = 0; i < LANES; i++)
        for (ptrdiff_t j = 0; j < LANES; j++)
            T[j * T_stride + i] = W[i * W_stride + j];
#endif
}

/* T (n_columns, width), with its rows side by side, = the transpose of W (n_rows, n_columns); 0
   beyond n_rows. It is made of whole squares even where n_columns ends within one: W is padded, and
   T has room for it. */
ALWAYS_INLINE void NAME(transpose)(const REAL *W, ptrdiff_t W_stride, ptrdiff_t n_rows,
                                   ptrdiff_t n_columns, REAL *T, ptrdiff_t width)
{
    REAL rest[LANES * LANES] ALIGNED;
    for (ptrdiff_t i = 0; i < width; i += LANES)
        for (ptrdiff_t j = 0; j < n_columns; j += LANES) {
            const REAL *square = W + i * W_stride + j;
            if (i + LANES <= n_rows) {
                NAME(transpose_square)(square, W_stride, T + j * width + i, width);
                continue;
            }
            for (ptrdiff_t k = 0; k < LANES; k++)
                if (i + k < n_rows)
                    memcpy(rest + k * LANES, square + k * W_stride, LANES * sizeof(REAL));
                else
                    memset(rest + k * LANES, 0, LANES * sizeof(REAL));
            NAME(transpose_square)(rest, LANES, T + j * width + i, width);
        }
}

#undef VECTOR
#undef LANES
#undef OF_UPPER
#undef OF_LOWER
#undef ALL_2
#undef ALL_4
#undef ALL_8
#undef ALL_16
#undef ALL
#undef ROUND
