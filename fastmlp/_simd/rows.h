/* What else may be done to a row of a layer: normalisation, dropout, noise. */

/* So many sums whatever the width of a vector, and what is left of a row goes to the first of them,
   each to its own: so the bits do not depend on the width. */
#define SUMS 16

ALWAYS_INLINE REAL NAME(total)(const REAL *sums)
{
    REAL total = 0;
    for (int i = 0; i < SUMS; i++)
        total += sums[i];
    return total;
}

static REAL NAME(sum)(const REAL *x, ptrdiff_t n)
{
    REAL sums[SUMS] = {0};
    ptrdiff_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int s = 0; s < SUMS; s++)
            sums[s] += x[i + s];
    for (int s = 0; i + s < n; s++)
        sums[s] += x[i + s];
    return NAME(total)(sums);
}

static REAL NAME(dot)(const REAL *x, const REAL *y, ptrdiff_t n)
{
    REAL sums[SUMS] = {0};
    ptrdiff_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int s = 0; s < SUMS; s++)
            sums[s] += x[i + s] * y[i + s];
    for (int s = 0; i + s < n; s++)
        sums[s] += x[i + s] * y[i + s];
    return NAME(total)(sums);
}

/* s = (s - mean) / sqrt(variance + 1e-5), z = gain s + shift; returns the factor.

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
        z[i] = gain[i] * s[i] + shift[i];
    }
    return factor;
}

/* With u = gain delta_z: delta = (u - mean(u) - s mean(u s)) factor. */
static void NAME(normalize_back)(const REAL *s, const REAL *gain, REAL factor, const REAL *delta_z,
                                 REAL *delta, ptrdiff_t n)
{
    REAL mean, slope;
    for (ptrdiff_t i = 0; i < n; i++)
        delta[i] = gain[i] * delta_z[i];
    mean = NAME(sum)(delta, n) / (REAL)n;
    slope = NAME(dot)(delta, s, n) / (REAL)n;
    for (ptrdiff_t i = 0; i < n; i++)
        delta[i] = (delta[i] - mean - s[i] * slope) * factor;
}

/* a = f / (1 - rate), but 0 for a share `rate` of them.

   Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, JMLR 15, 2014, scaled in training. */
static void NAME(dropout)(uint64_t key, double rate, const REAL *f, REAL *a, ptrdiff_t n)
{
    const uint64_t threshold = (uint64_t)(rate * 4294967296.0);
    const REAL factor = (REAL)(1 / (1 - rate));
    for (ptrdiff_t i = 0; i < n; i++)
        a[i] = fastmlp_random(key, i) >> 32 < threshold ? 0 : factor * f[i];
}

/* x += deviation times normal numbers, two uniform ones for each (Box and Muller, 1958). The cosine
   is that of a whole turn v: -cos(2 pi v) = 2 sin(pi v)^2 - 1 for v in [-1/2, 1/2). */
static void NAME(add_noise)(uint64_t key, double deviation, REAL *x, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint64_t bits = fastmlp_random(key, i);
        const REAL u = ((REAL)(int32_t)(bits >> 41) + (REAL)0.5) * (REAL)(1.0 / (1 << 23));
        const REAL v = (REAL)(int32_t)((uint32_t)bits) * (REAL)(1.0 / 4294967296.0);
        const REAL w = v * (REAL)3.14159265358979324, square = w * w;
        /* Taylor's series of the sine, and the logarithm by u = m 2^e with m in [3/4, 3/2) */
        REAL sine = (REAL)(-1 / 39916800.), m, e;
        INTEGER u_bits, exponent;
        sine = sine * square + (REAL)(1 / 362880.);
        sine = sine * square + (REAL)(-1 / 5040.);
        sine = sine * square + (REAL)(1 / 120.);
        sine = sine * square + (REAL)(-1 / 6.);
        sine = w + w * square * sine;
        memcpy(&u_bits, &u, sizeof u);
#if IS_FLOAT
        exponent = (u_bits - 0x3f400000) >> 23;
        u_bits -= (INTEGER)((uint32_t)exponent << 23);
#else
        exponent = (u_bits - 0x3fe8000000000000) >> 52;
        u_bits -= (INTEGER)((uint64_t)exponent << 52);
#endif
        memcpy(&m, &u_bits, sizeof m);
        e = (REAL)exponent * (REAL)0.693147180559945309 + NAME(twice_atanh)((m - 1) / (m + 1));
        x[i] += (REAL)deviation * ROOT(-2 * e) * (2 * sine * sine - 1);
    }
}

#undef SUMS
