/* Activations, their derivatives, and the functions that they are built from.

   To add an activation, write a function f and its derivative d_f(z, f(z)) here, and add a line to
   `activate` and to `times_derivative`.

   Nothing here branches, so the compiler can vectorize the loops for any vector width. Every number
   goes through the same operations in each of them, so the bits do not depend on the width. Fused
   multiply-adds are written out (fma.h). */

/* 2^i, for an integer i in the exponent range of normal numbers. */
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

/* Split x = i log(2) + r with |r| <= log(2) / 2. Sets i and returns exp(r) - 1. */
ALWAYS_INLINE REAL NAME(reduced_expm1)(REAL x, INTEGER *i)
{
    /* Adding 1.5 * 2^(digits - 1) rounds to an integer and leaves it in the lowest bits. */
#if IS_FLOAT
    const REAL magic = 12582912.0f, log2_e = 1.44269504f;
    const REAL log_2_high = 0.693359375f, log_2_low = -2.12194440e-4f;
#else
    const REAL magic = 6755399441055744.0, log2_e = 1.4426950408889634;
    const REAL log_2_high = 6.93147180369123816490e-01, log_2_low = 1.90821492927058770002e-10;
#endif
    REAL shifted = NAME(fma)(x, log2_e, magic), n = shifted - magic, r, p;
    INTEGER bits, zero;
    memcpy(&bits, &shifted, sizeof bits);
    memcpy(&zero, &magic, sizeof zero);
    *i = bits - zero;
    r = NAME(fma)(-n, log_2_high, x);
    r = NAME(fma)(-n, log_2_low, r);
    /* Taylor series. The first omitted term is below a tenth of a unit in the last place. */
#if IS_FLOAT
    p = 1 / 5040.f;
    p = NAME(fma)(p, r, 1 / 720.f);
#else
    p = 1 / 6227020800.;
    p = NAME(fma)(p, r, 1 / 479001600.);
    p = NAME(fma)(p, r, 1 / 39916800.);
    p = NAME(fma)(p, r, 1 / 3628800.);
    p = NAME(fma)(p, r, 1 / 362880.);
    p = NAME(fma)(p, r, 1 / 40320.);
    p = NAME(fma)(p, r, 1 / 5040.);
    p = NAME(fma)(p, r, 1 / 720.);
#endif
    p = NAME(fma)(p, r, (REAL)(1 / 120.));
    p = NAME(fma)(p, r, (REAL)(1 / 24.));
    p = NAME(fma)(p, r, (REAL)(1 / 6.));
    p = NAME(fma)(p, r, (REAL)0.5);
    return NAME(fma)(p, r * r, r);
}

/* e^x; NaN stays NaN. 2^i is applied as two factors, because it may overflow or underflow by
   itself. */
ALWAYS_INLINE REAL NAME(exp)(REAL x)
{
#if IS_FLOAT
    const REAL lowest = -104, highest = 89;
#else
    const REAL lowest = -746, highest = 710;
#endif
    INTEGER i, half;
    REAL p;
    /* Both comparisons use x itself. If the second one used the result of the first, gcc 12 would
       build it from masks, which is slower (bench/figures.md: exp-clamp). */
    REAL within = x < lowest ? lowest : x;
    within = x > highest ? highest : within;
    p = NAME(reduced_expm1)(within, &i) + 1;
    half = i >> 1;
    return p * NAME(power_of_two)(half) * NAME(power_of_two)(i - half);
}

/* tanh(x) = e / (e + 2) for e = exp(2 |x|) - 1, which is accurate for small x, too. */
ALWAYS_INLINE REAL NAME(tanh)(REAL x)
{
    const REAL highest = IS_FLOAT ? 10 : 20; /* tanh rounds to 1 from here on */
    REAL size = SIZE(x), scale, e;
    INTEGER i;
    size = size > highest ? highest : size;
    e = NAME(reduced_expm1)(2 * size, &i);
    scale = NAME(power_of_two)(i);
    e = NAME(fma)(scale, e, scale - 1);
    e = e / (e + 2);
    return WITH_SIGN(e, x);
}

ALWAYS_INLINE REAL NAME(logistic)(REAL z)
{
    REAL e = NAME(exp)(z < 0 ? z : -z);
    return (z < 0 ? e : 1) / (1 + e);
}

/* e^x - 1 for x <= 0, and 0 for x > 0. */
ALWAYS_INLINE REAL NAME(expm1)(REAL x)
{
    const REAL lowest = IS_FLOAT ? -80 : -700; /* the result has long been -1 here */
    REAL scale, e;
    INTEGER i;
    x = x < lowest ? lowest : x;
    x = x > 0 ? 0 : x;
    e = NAME(reduced_expm1)(x, &i);
    scale = NAME(power_of_two)(i);
    return NAME(fma)(scale, e, scale - 1);
}

/* 2 atanh(s) for |s| <= 1/3, from its series. */
ALWAYS_INLINE REAL NAME(twice_atanh)(REAL s)
{
    REAL square = s * s, sum = 0;
#pragma GCC unroll 16
    for (int k = IS_FLOAT ? 8 : 16; k > 0; k--)
        sum = NAME(fma)(sum, square, (REAL)(2.0 / (2 * k + 1)));
    return NAME(fma)(s * square, sum, 2 * s);
}

/* log(x) for a normal x > 0, written as x = m 2^e with m in [3/4, 3/2). NaN stays NaN. */
ALWAYS_INLINE REAL NAME(log)(REAL x)
{
#if IS_FLOAT
    const INTEGER lowest = 0x3f400000, digits = 23;
#else
    const INTEGER lowest = 0x3fe8000000000000, digits = 52;
#endif
    INTEGER bits, e;
    REAL m;
    memcpy(&bits, &x, sizeof x);
    e = (bits - lowest) >> digits;
    bits -= e * ((INTEGER)1 << digits);
    memcpy(&m, &bits, sizeof m);
    m = NAME(twice_atanh)((m - 1) / (m + 1));
    return NAME(fma)((REAL)e, (REAL)0.693147180559945309, m) + (x - x);
}

/* log(1 + e^z) = max(z, 0) + log(1 + u) with u = e^-|z| and log(1 + u) = 2 atanh(u / (u + 2)). */
ALWAYS_INLINE REAL NAME(softplus)(REAL z)
{
    REAL u = NAME(exp)(z < 0 ? z : -z);
    return (z < 0 ? 0 : z) + NAME(twice_atanh)(u / (u + 2));
}

/* The normal distribution function: erfc(|z| / sqrt(2)) / 2 for z < 0, and 1 minus that otherwise.

   erfc(x) = t exp(P(2 t - 1) - x^2) with t = 2 / (2 + x), as in Press, Teukolsky, Vetterling and
   Flannery, Numerical Recipes, section 6.2. P is a Chebyshev expansion, converted to powers. */
ALWAYS_INLINE REAL NAME(normal_cdf)(REAL z)
{
#if IS_FLOAT
    static const REAL P[] = {
        -0.6717940917f,    0.6726422172f,   0.04734388761f,    -0.04687488818f,
        -0.009880019324f,  0.008703812035f, 0.00179406625f,    -0.00204873476f,
        -0.000227910966f,  0.0003337358939f, 8.000738162e-6f,
    };
#else
    static const REAL P[] = {
        -0.671794084056692266,     0.672643223977656728,     0.0473433068419044283,
        -0.0468956102311752965,    -0.00987268936638995857,  0.00882493855706062317,
        0.00175893355779901609,    -0.00234581250048285335,  -0.000146246863378003364,
        0.000673678795580234959,   -0.0000937350311709817049, -0.00017430294720307622,
        0.0000714010141275703064,  0.0000317451797494374039, -0.0000301878845513942443,
        1.37726641344644184e-7,    8.56262342012128565e-6,   -2.94798687699825925e-6,
        -1.27231190486886998e-6,   1.25002766125697535e-6,   -1.68498007206532975e-7,
        -2.49583276171966701e-7,   1.53343459209081768e-7,   1.44486580462526755e-9,
        -3.91718205102718583e-8,   1.11723522636237579e-8,   4.06088214696972022e-9,
        -1.89023060089445366e-9,
    };
#endif
    enum { n = sizeof P / sizeof P[0] };
    REAL x = (z < 0 ? -z : z) * (REAL)0.70710678118654752, t = 2 / (2 + x), y = 2 * t - 1;
    REAL p = P[n - 1], half;
#pragma GCC unroll 28
    for (int k = n - 2; k >= 0; k--)
        p = NAME(fma)(p, y, P[k]);
    half = (REAL)0.5 * t * NAME(exp)(NAME(fma)(-x, x, p));
    return z < 0 ? half : 1 - half;
}

/* tanh(softplus(z)) in terms of e^z. mish(z) is z times this. */
ALWAYS_INLINE REAL NAME(tanh_of_softplus)(REAL z)
{
    const REAL highest = IS_FLOAT ? 20 : 40; /* the result has long been 1 here */
    REAL e = NAME(exp)(z > highest ? highest : z), n = e * (e + 2);
    return n / (n + 2);
}

ALWAYS_INLINE REAL NAME(relu)(REAL z) { return z < 0 ? 0 : z; } /* this order keeps NaN */

ALWAYS_INLINE REAL NAME(leaky_relu)(REAL z) { return z < 0 ? (REAL)LEAK * z : z; }

ALWAYS_INLINE REAL NAME(elu)(REAL z) { return z < 0 ? NAME(expm1)(z) : z; }

ALWAYS_INLINE REAL NAME(selu)(REAL z)
{
    return (REAL)SELU_SCALE * (z < 0 ? (REAL)SELU_ALPHA * NAME(expm1)(z) : z);
}

ALWAYS_INLINE REAL NAME(gelu)(REAL z) { return z * NAME(normal_cdf)(z); }

ALWAYS_INLINE REAL NAME(silu)(REAL z) { return z * NAME(logistic)(z); }

ALWAYS_INLINE REAL NAME(mish)(REAL z) { return z * NAME(tanh_of_softplus)(z); }

/* The derivatives f'(z), in terms of f(z) where possible. */
ALWAYS_INLINE REAL NAME(d_logistic)(REAL z, REAL f) { return f * (1 - f); }

ALWAYS_INLINE REAL NAME(d_tanh)(REAL z, REAL f) { return NAME(fma)(-f, f, 1); }

ALWAYS_INLINE REAL NAME(d_leaky_relu)(REAL z, REAL f) { return f < 0 ? (REAL)LEAK : 1; }

ALWAYS_INLINE REAL NAME(d_elu)(REAL z, REAL f) { return f < 0 ? f + 1 : 1; }

ALWAYS_INLINE REAL NAME(d_selu)(REAL z, REAL f)
{
    return f < 0 ? f + (REAL)(SELU_SCALE * SELU_ALPHA) : (REAL)SELU_SCALE;
}

ALWAYS_INLINE REAL NAME(d_gelu)(REAL z, REAL f)
{
    const REAL density = (REAL)0.39894228040143268 * NAME(exp)((REAL)-0.5 * z * z);
    return NAME(fma)(z, density, NAME(normal_cdf)(z));
}

ALWAYS_INLINE REAL NAME(d_silu)(REAL z, REAL f)
{
    REAL s = NAME(logistic)(z);
    return s * NAME(fma)(z, 1 - s, 1);
}

ALWAYS_INLINE REAL NAME(d_mish)(REAL z, REAL f)
{
    REAL t = NAME(tanh_of_softplus)(z);
    return NAME(fma)(z * NAME(d_tanh)(z, t), NAME(logistic)(z), t);
}

ALWAYS_INLINE REAL NAME(d_softplus)(REAL z, REAL f) { return -NAME(expm1)(-f); }

ALWAYS_INLINE REAL NAME(softsign)(REAL z) { return z / (1 + SIZE(z)); }

/* 1 / (1 + |z|)^2 */
ALWAYS_INLINE REAL NAME(d_softsign)(REAL z, REAL f) { return (1 - SIZE(f)) * (1 - SIZE(f)); }

/* Howard and others, ICCV 2019. */
ALWAYS_INLINE REAL NAME(hard_swish)(REAL z)
{
    REAL gate = z + 3 > 0 ? z + 3 : 0;
    gate = gate < 6 ? gate : 6;
    return z * (gate / 6);
}

ALWAYS_INLINE REAL NAME(d_hard_swish)(REAL z, REAL f)
{
    REAL slope = NAME(fma)(2, z, 3) / 6;
    slope = z > -3 ? slope : 0;
    return z < 3 ? slope : 1;
}

/* a = f(z) */
static void NAME(activate)(ptrdiff_t activation, const REAL *z, REAL *a, ptrdiff_t n)
{
#define CASE(F, f)                                                                                 \
    case FASTMLP_##F:                                                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            a[i] = NAME(f)(z[i]);                                                                  \
        break;
    switch (activation) {
        CASE(LOGISTIC, logistic)
        CASE(TANH, tanh)
        CASE(RELU, relu)
        CASE(LEAKY_RELU, leaky_relu)
        CASE(ELU, elu)
        CASE(SELU, selu)
        CASE(GELU, gelu)
        CASE(SILU, silu)
        CASE(MISH, mish)
        CASE(SOFTPLUS, softplus)
        CASE(SOFTSIGN, softsign)
        CASE(HARD_SWISH, hard_swish)
        default: /* identity */
            if (a != z)
                memcpy(a, z, n * sizeof(REAL));
    }
#undef CASE
}

/* delta *= f'(z). The derivative of relu is 0 where f(z) is 0. */
static void NAME(times_derivative)(ptrdiff_t activation, const REAL *__restrict__ z,
                                   const REAL *__restrict__ f, REAL *__restrict__ delta,
                                   ptrdiff_t n)
{
    ptrdiff_t i;
#define CASE(F, d_f)                                                                               \
    case FASTMLP_##F:                                                                              \
        for (i = 0; i < n; i++)                                                                    \
            delta[i] *= NAME(d_f)(z[i], f[i]);                                                     \
        break;
    switch (activation) {
        case FASTMLP_RELU: /* also turns an infinite delta into 0 */
            for (i = 0; i < n; i++)
                delta[i] = f[i] == 0 ? 0 : delta[i];
            break;
        CASE(LOGISTIC, d_logistic)
        CASE(TANH, d_tanh)
        CASE(LEAKY_RELU, d_leaky_relu)
        CASE(ELU, d_elu)
        CASE(SELU, d_selu)
        CASE(GELU, d_gelu)
        CASE(SILU, d_silu)
        CASE(MISH, d_mish)
        CASE(SOFTPLUS, d_softplus)
        CASE(SOFTSIGN, d_softsign)
        CASE(HARD_SWISH, d_hard_swish)
        default: /* identity */
            break;
    }
#undef CASE
}

/* a = exp(z) */
static void NAME(exponentials)(const REAL *z, REAL *a, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        a[i] = NAME(exp)(z[i]);
}

/* a = log(z) */
static void NAME(logarithms)(const REAL *z, REAL *a, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        a[i] = NAME(log)(z[i]);
}

/* c += x b */
static void NAME(add_multiple)(REAL x, const REAL *__restrict__ b, REAL *__restrict__ c,
                               ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        c[i] = NAME(fma)(x, b[i], c[i]);
}

/* The sum of 32 numbers, in pairs: a chain of five additions instead of 31. */
ALWAYS_INLINE double NAME(total_of_32)(const REAL *sums)
{
    double pairs[32];
    for (int s = 0; s < 32; s++)
        pairs[s] = sums[s];
#pragma GCC unroll 5
    for (int half = 16; half > 0; half /= 2)
#pragma GCC unroll 16
        for (int s = 0; s < half; s++)
            pairs[s] += pairs[s + half];
    return pairs[0];
}

/* dW += x W; returns the sum of W^2. One loop instead of add_multiple and sum_of_squares, which
   would read W twice (bench/figures.md: decay-and-norm). */
static double NAME(add_decay)(REAL x, const REAL *__restrict__ W, REAL *__restrict__ dW,
                              ptrdiff_t n)
{
    REAL sums[32] = {0};
    ptrdiff_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int s = 0; s < 32; s++) {
            dW[i + s] = NAME(fma)(x, W[i + s], dW[i + s]);
            sums[s] = NAME(fma)(W[i + s], W[i + s], sums[s]);
        }
    for (int s = 0; i + s < n; s++) {
        dW[i + s] = NAME(fma)(x, W[i + s], dW[i + s]);
        sums[s] = NAME(fma)(W[i + s], W[i + s], sums[s]);
    }
    return NAME(total_of_32)(sums);
}

/* The comparison overlooks NaN, but 0 times an infinity or a NaN is NaN. */
static REAL NAME(largest_size)(const REAL *x, ptrdiff_t n)
{
    REAL sums[32] = {0}, most[32] = {0}, total = 0;
    ptrdiff_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int s = 0; s < 32; s++) {
            REAL size = x[i + s] < 0 ? -x[i + s] : x[i + s];
            sums[s] += 0 * x[i + s];
            most[s] = size > most[s] ? size : most[s];
        }
    for (int s = 0; i + s < n; s++) {
        REAL size = x[i + s] < 0 ? -x[i + s] : x[i + s];
        sums[s] += 0 * x[i + s];
        most[s] = size > most[s] ? size : most[s];
    }
    for (int s = 0; s < 32; s++) {
        total += sums[s];
        most[0] = most[s] > most[0] ? most[s] : most[0];
    }
    return total == 0 ? most[0] : (REAL)INFINITY;
}

/* Uses 32 partial sums for every vector width, so that the bits do not depend on the width. */
static double NAME(sum_of_squares)(const REAL *W, ptrdiff_t n)
{
    double sums[32] = {0}, total = 0;
    ptrdiff_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int s = 0; s < 32; s++)
            sums[s] = fma_f64(W[i + s], W[i + s], sums[s]);
    for (int s = 0; i + s < n; s++)
        sums[s] = fma_f64(W[i + s], W[i + s], sums[s]);
    for (int s = 0; s < 32; s++)
        total += sums[s];
    return total;
}

/* The number of partial sums, the same for every vector width, so that the bits do not depend on
   the width. Remainder elements are added to the first partial sums, one to each. */
#define SUMS 16

/* The sum of the partial sums, in pairs: a chain of four additions instead of 15. */
ALWAYS_INLINE REAL NAME(total)(REAL *sums)
{
#pragma GCC unroll 4
    for (int half = SUMS / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (int s = 0; s < half; s++)
            sums[s] += sums[s + half];
    return sums[0];
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
#pragma GCC unroll 1 /* otherwise gcc does not vectorize it */
        for (int s = 0; s < SUMS; s++)
            sums[s] = NAME(fma)(x[i + s], y[i + s], sums[s]);
    for (int s = 0; i + s < n; s++)
        sums[s] = NAME(fma)(x[i + s], y[i + s], sums[s]);
    return NAME(total)(sums);
}

/* A learned activation: a = z + mix (f - z), for one row.

   Holzmueller, Grinsztajn and Steinwart, Better by default, NeurIPS 2024. */
static void NAME(mix)(const REAL *__restrict__ mix, const REAL *__restrict__ z, const REAL *f,
                      REAL *a, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        a[i] = NAME(fma)(mix[i], f[i] - z[i], z[i]);
}

/* delta_z = delta_f (1 - mix) + mix delta_z, where delta_z holds delta_f f'(z) */
static void NAME(mix_back)(const REAL *__restrict__ mix, const REAL *__restrict__ delta_f,
                           REAL *__restrict__ delta_z, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        delta_z[i] = NAME(fma)(mix[i], delta_z[i] - delta_f[i], delta_f[i]);
}

/* c += delta (f - z) */
static void NAME(add_mixed)(const REAL *__restrict__ delta, const REAL *__restrict__ z,
                            const REAL *__restrict__ f, REAL *__restrict__ c, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        c[i] = NAME(fma)(delta[i], f[i] - z[i], c[i]);
}
