/* Other operations on the rows of a layer: normalization, dropout, noise, softmax. */

/* s = (s - mean) / sqrt(variance + 1e-5), z = gain s + shift. Returns 1 / sqrt(variance + 1e-5).

   Ba, Kiros and Hinton, Layer normalization, 2016. */
static REAL NAME(normalize)(REAL *s, const REAL *gain, const REAL *shift, REAL *z, ptrdiff_t n)
{
    const REAL mean = NAME(sum)(s, n) / (REAL)n;
    REAL factor;
    for (ptrdiff_t i = 0; i < n; i++)
        s[i] -= mean;
    factor = 1 / ROOT(NAME(dot)(s, s, n) / (REAL)n + (REAL)1e-5);
    for (ptrdiff_t i = 0; i < n; i++) {
        s[i] *= factor;
        z[i] = NAME(fma)(gain[i], s[i], shift[i]);
    }
    return factor;
}

/* delta = (u - mean(u) - s mean(u s)) factor, with u = gain delta_z. */
static void NAME(normalize_back)(const REAL *s, const REAL *gain, REAL factor, const REAL *delta_z,
                                 REAL *delta, ptrdiff_t n)
{
    REAL mean, slope;
    for (ptrdiff_t i = 0; i < n; i++)
        delta[i] = gain[i] * delta_z[i];
    mean = NAME(sum)(delta, n) / (REAL)n;
    slope = NAME(dot)(delta, s, n) / (REAL)n;
    for (ptrdiff_t i = 0; i < n; i++)
        delta[i] = NAME(fma)(-s[i], slope, delta[i] - mean) * factor;
}

/* a = f / (1 - rate), but 0 for a share `rate` of the units.

   Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, JMLR 15, 2014, with the scaling
   moved to training. */
static void NAME(dropout)(uint64_t key, double rate, const REAL *f, REAL *a, ptrdiff_t n)
{
    const uint64_t threshold = (uint64_t)(rate * 4294967296.0);
    const REAL factor = (REAL)(1 / (1 - rate));
    for (ptrdiff_t i = 0; i < n; i++)
        a[i] = fastmlp_random(key, i) >> 32 < threshold ? 0 : factor * f[i];
}

/* x += deviation times normal numbers, each from two uniform ones (Box and Muller, 1958). With v in
   [-1/2, 1/2) as a fraction of a turn, the cosine is -cos(2 pi v) = 2 sin(pi v)^2 - 1. */
static void NAME(add_noise)(uint64_t key, double deviation, REAL *x, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint64_t bits = fastmlp_random(key, i);
        const REAL u = ((REAL)(int32_t)(bits >> 41) + (REAL)0.5) * (REAL)(1.0 / (1 << 23));
        const REAL v = (REAL)(int32_t)((uint32_t)bits) * (REAL)(1.0 / 4294967296.0);
        const REAL w = v * (REAL)3.14159265358979324, square = w * w;
        /* Taylor series of the sine */
        REAL sine = (REAL)(-1 / 39916800.);
        sine = NAME(fma)(sine, square, (REAL)(1 / 362880.));
        sine = NAME(fma)(sine, square, (REAL)(-1 / 5040.));
        sine = NAME(fma)(sine, square, (REAL)(1 / 120.));
        sine = NAME(fma)(sine, square, (REAL)(-1 / 6.));
        sine = NAME(fma)(w * square, sine, w);
        x[i] = NAME(fma)((REAL)deviation * ROOT(-2 * NAME(log)(u)),
                         NAME(fma)(2 * sine, sine, -1), x[i]);
    }
}

/* SQUARE numbers are a cache line, and rows are padded to whole cache lines. softmax takes SQUARE
   rows at a time, one in each lane, which is faster than one row after the other
   (bench/figures.md: softmax-lanes). */
#define SQUARE ((ptrdiff_t)(64 / sizeof(REAL)))

/* a = exp(z) / sum(exp(z)) for each row of z (n, n_out). largest (n,) is the maximum of each row,
   and logs (n,) = log(sum(exp(z - largest))). Rows of a and z are `stride` apart, and a is 0 beyond
   n_out. */
static void NAME(softmax)(ptrdiff_t n_rows, ptrdiff_t n_out, const REAL *z, REAL *a,
                          ptrdiff_t stride, REAL *largest, REAL *logs)
{
    REAL T[SQUARE * SQUARE] ALIGNED, back[SQUARE * SQUARE] ALIGNED;
    REAL most[SQUARE] ALIGNED, sum[SQUARE] ALIGNED, log[SQUARE] ALIGNED;
    if (stride == 1) { /* one class, and no padding for a transpose */
        memcpy(largest, z, n_rows * sizeof(REAL));
        memset(logs, 0, n_rows * sizeof(REAL));
        for (ptrdiff_t i = 0; i < n_rows; i++)
            a[i] = 1;
        return;
    }
    for (ptrdiff_t first = 0; first < n_rows; first += SQUARE) {
        const ptrdiff_t n = least(SQUARE, n_rows - first);
        for (ptrdiff_t j = 0; j < n_out; j += SQUARE) {
            NAME(transpose)(z + j, stride, n, SQUARE, T, SQUARE);
            if (j == 0)
                memcpy(most, T, sizeof most);
            for (ptrdiff_t k = 0; k < least(SQUARE, n_out - j); k++)
#pragma GCC unroll 1 /* otherwise gcc does not vectorize it */
                for (ptrdiff_t r = 0; r < SQUARE; r++)
                    most[r] = T[k * SQUARE + r] > most[r] ? T[k * SQUARE + r] : most[r];
        }
        memset(sum, 0, sizeof sum);
        for (ptrdiff_t j = 0; j < n_out; j += SQUARE) {
            const ptrdiff_t n_columns = least(SQUARE, n_out - j);
            if (n_out > SQUARE)
                NAME(transpose)(z + j, stride, n, SQUARE, T, SQUARE);
            for (ptrdiff_t k = 0; k < n_columns; k++)
                for (ptrdiff_t r = 0; r < SQUARE; r++) {
                    T[k * SQUARE + r] = NAME(exp)(T[k * SQUARE + r] - most[r]);
                    sum[r] += T[k * SQUARE + r];
                }
            memset(T + n_columns * SQUARE, 0, (SQUARE - n_columns) * SQUARE * sizeof(REAL));
            NAME(transpose)(T, SQUARE, SQUARE, SQUARE, back, SQUARE);
            for (ptrdiff_t i = 0; i < n; i++)
                memcpy(a + i * stride + j, back + i * SQUARE, SQUARE * sizeof(REAL));
        }
        for (ptrdiff_t r = 0; r < SQUARE; r++) {
            log[r] = NAME(log)(sum[r]);
            sum[r] = 1 / sum[r];
        }
        memcpy(largest + first, most, n * sizeof(REAL));
        memcpy(logs + first, log, n * sizeof(REAL));
        for (ptrdiff_t i = 0; i < n; i++)
            for (ptrdiff_t j = 0; j < n_out; j += SQUARE)
                for (ptrdiff_t k = 0; k < SQUARE; k++)
                    a[i * stride + j + k] *= sum[i];
        z += SQUARE * stride;
        a += SQUARE * stride;
    }
}

#undef SQUARE
#undef SUMS
