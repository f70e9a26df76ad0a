/* Activations, their derivatives, and what they are made of.

   Everything is free of branches, so that the compiler turns the loops into vectors of any width,
   and every number gets the same operations in each of them: the bits do not depend on it. */

/* 2^i for a whole number i between the exponents of normal numbers. */
ALWAYS_INLINE REAL NAME(power_of_two)(INTEGER i)
{
    REAL x;
#if IS_FLOAT
    INTEGER bits = (INTEGER)((uint32_t)(i + 127) << 23);
#else
    INTEGER bits = (INTEGER)((uint64_t)(i + 1023) << 52);
#endif
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x = i log(2) + r with |r| <= log(2) / 2; returns exp(r) - 1 and sets i. */
ALWAYS_INLINE REAL NAME(reduced_expm1)(REAL x, INTEGER *i)
{
    /* Adding 1.5 * 2^(digits - 1) rounds to a whole number and shows it in the last bits. */
#if IS_FLOAT
    const REAL magic = 12582912.0f, log2_e = 1.44269504f;
    const REAL log_2_high = 0.693359375f, log_2_low = -2.12194440e-4f;
#else
    const REAL magic = 6755399441055744.0, log2_e = 1.4426950408889634;
    const REAL log_2_high = 6.93147180369123816490e-01, log_2_low = 1.90821492927058770002e-10;
#endif
    REAL shifted = x * log2_e + magic, n = shifted - magic, r, p;
    INTEGER bits, zero;
    memcpy(&bits, &shifted, sizeof bits);
    memcpy(&zero, &magic, sizeof zero);
    *i = bits - zero;
    r = x - n * log_2_high;
    r = r - n * log_2_low;
    /* Taylor's series: the first term left out is below a tenth of the last digit. */
#if IS_FLOAT
    p = 1 / 5040.f;
    p = p * r + 1 / 720.f;
#else
    p = 1 / 6227020800.;
    p = p * r + 1 / 479001600.;
    p = p * r + 1 / 39916800.;
    p = p * r + 1 / 3628800.;
    p = p * r + 1 / 362880.;
    p = p * r + 1 / 40320.;
    p = p * r + 1 / 5040.;
    p = p * r + 1 / 720.;
#endif
    p = p * r + (REAL)(1 / 120.);
    p = p * r + (REAL)(1 / 24.);
    p = p * r + (REAL)(1 / 6.);
    p = p * r + (REAL)0.5;
    return p * (r * r) + r;
}

/* e^x; NaN stays NaN. In two factors: the first alone may be too large, or too small. */
ALWAYS_INLINE REAL NAME(exp)(REAL x)
{
#if IS_FLOAT
    const REAL lowest = -104, highest = 89;
#else
    const REAL lowest = -746, highest = 710;
#endif
    INTEGER i, half;
    REAL p;
    x = x < lowest ? lowest : x;
    x = x > highest ? highest : x;
    p = NAME(reduced_expm1)(x, &i) + 1;
    half = i >> 1;
    return p * NAME(power_of_two)(half) * NAME(power_of_two)(i - half);
}

/* tanh(x) = e / (e + 2) for e = exp(2 |x|) - 1, which is exact for small x, too. */
ALWAYS_INLINE REAL NAME(tanh)(REAL x)
{
    const REAL highest = IS_FLOAT ? 10 : 20; /* from where tanh rounds to 1 */
    REAL size = x < 0 ? -x : x, scale, e;
    INTEGER i;
    size = size > highest ? highest : size;
    e = NAME(reduced_expm1)(2 * size, &i);
    scale = NAME(power_of_two)(i);
    e = scale * e + (scale - 1);
    e = e / (e + 2);
    return x < 0 ? -e : e;
}

ALWAYS_INLINE REAL NAME(logistic)(REAL z)
{
    REAL e = NAME(exp)(z < 0 ? z : -z);
    return (z < 0 ? e : 1) / (1 + e);
}

/* a = f(z) */
static void NAME(activate)(ptrdiff_t activation, const REAL *z, REAL *a, ptrdiff_t n)
{
    ptrdiff_t i;
    if (activation == FASTMLP_LOGISTIC)
        for (i = 0; i < n; i++)
            a[i] = NAME(logistic)(z[i]);
    else if (activation == FASTMLP_TANH)
        for (i = 0; i < n; i++)
            a[i] = NAME(tanh)(z[i]);
    else if (activation == FASTMLP_RELU)
        for (i = 0; i < n; i++)
            a[i] = z[i] < 0 ? 0 : z[i]; /* in this order NaN stays NaN */
    else if (a != z)
        memcpy(a, z, n * sizeof(REAL));
}

/* delta *= f'(z), where f' is a function of a; that of relu is 0 where a is 0. */
static void NAME(times_derivative)(ptrdiff_t activation, const REAL *__restrict__ a,
                                   REAL *__restrict__ delta, ptrdiff_t n)
{
    ptrdiff_t i;
    if (activation == FASTMLP_LOGISTIC)
        for (i = 0; i < n; i++)
            delta[i] *= a[i] * (1 - a[i]);
    else if (activation == FASTMLP_TANH)
        for (i = 0; i < n; i++)
            delta[i] *= 1 - a[i] * a[i];
    else if (activation == FASTMLP_RELU)
        for (i = 0; i < n; i++)
            delta[i] = a[i] == 0 ? 0 : delta[i];
}

/* a = exp(z - shift) */
static void NAME(exponentials)(const REAL *z, REAL shift, REAL *a, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        a[i] = NAME(exp)(z[i] - shift);
}

/* c += x b */
static void NAME(add_multiple)(REAL x, const REAL *__restrict__ b, REAL *__restrict__ c,
                               ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        c[i] += x * b[i];
}

/* Whether all numbers are finite: 0 times any other is NaN. */
static int NAME(all_finite)(const REAL *x, ptrdiff_t n)
{
    REAL sums[32] = {0}, total = 0;
    ptrdiff_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int s = 0; s < 32; s++)
            sums[s] += 0 * x[i + s];
    for (; i < n; i++)
        sums[0] += 0 * x[i];
    for (int s = 0; s < 32; s++)
        total += sums[s];
    return total == 0;
}

/* In 32 sums whatever the width of a vector, so that the bits do not depend on it. */
static double NAME(sum_of_squares)(const REAL *W, ptrdiff_t n)
{
    double sums[32] = {0}, total = 0;
    ptrdiff_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int s = 0; s < 32; s++)
            sums[s] += (double)W[i + s] * W[i + s];
    for (; i < n; i++)
        sums[0] += (double)W[i] * W[i];
    for (int s = 0; s < 32; s++)
        total += sums[s];
    return total;
}
