/* What becomes of a column of numbers in the first layer of tables.

   Piecewise linear encoding: x, and for each bin how far x is through it, from 0 to 1.

   Learned cosines: with K frequencies f and phases p,

       h_k = cos(2 pi f_k x + p_k),

   which are the inputs themselves, or go through V (n_linear, K) and c (n_linear,):

       e = (x, V h + c).

   The parameters of one column of X lie side by side: f, p, then V and c if there are.

   Gorishniy, Rubachev and Babenko, On embeddings for numerical features, NeurIPS 2022; with phases,
   and with x beside the linear map (PBLD), in Holzmueller, Grinsztajn and Steinwart, Better by
   default, NeurIPS 2024. */

/* The angle in turns, from -1/2 to 1/2. What exceeds 2^21 turns in size has no accurate angle. */
ALWAYS_INLINE REAL NAME(turns)(REAL x, REAL frequency, REAL phase)
{
#if IS_FLOAT
    const REAL magic = 12582912.0f; /* adding it rounds to an integer: see reduced_expm1 */
#else
    const REAL magic = 6755399441055744.0;
#endif
    const REAL most = 2097152, per_turn = (REAL)0.15915494309189533577; /* 1 / (2 pi) */
    REAL u = NAME(fma)(frequency, x, phase * per_turn);
    REAL within = u < -most ? -most : u;
    within = u > most ? most : within;
    return within - ((within + magic) - magic);
}

/* sin(pi u) and cos(pi u) for |u| <= 1/2, from their series. The first omitted term is below a
   tenth of a unit in the last place of 1. */
ALWAYS_INLINE REAL NAME(sine_of_half)(REAL u)
{
    static const REAL series[12] = {
        (REAL)3.14159265358979323846, (REAL)-5.16771278004997002925, (REAL)2.55016403987734544386,
        (REAL)-0.599264529320792076888, (REAL)0.0821458866111282287988,
        (REAL)-0.00737043094571435077726, (REAL)4.66302805767612564421e-4,
        (REAL)-2.19153534478302158274e-5, (REAL)7.95205400147551278478e-7,
        (REAL)-2.29484289972698731102e-8, (REAL)5.39266466260812848935e-10,
        (REAL)-1.05184717169320645551e-11,
    };
    const REAL square = u * u;
    REAL sum = 0;
#pragma GCC unroll 16
    for (int k = IS_FLOAT ? 6 : 11; k >= 0; k--)
        sum = NAME(fma)(sum, square, series[k]);
    return sum * u;
}

ALWAYS_INLINE REAL NAME(cosine_of_half)(REAL u)
{
    static const REAL series[13] = {
        (REAL)1, (REAL)-4.93480220054467930942, (REAL)4.05871212641676821819,
        (REAL)-1.3352627688545894958, (REAL)0.235330630358893204542,
        (REAL)-0.0258068913900140600126, (REAL)0.00192957430940392304790,
        (REAL)-1.04638104924845707118e-4, (REAL)4.30306958703294700730e-6,
        (REAL)-1.38789524622137721145e-7, (REAL)3.60473079746250093386e-9,
        (REAL)-7.70070713060135337974e-11, (REAL)1.37686472803774137042e-12,
    };
    const REAL square = u * u;
    REAL sum = 0;
#pragma GCC unroll 16
    for (int k = IS_FLOAT ? 7 : 12; k >= 0; k--)
        sum = NAME(fma)(sum, square, series[k]);
    return sum;
}

/* The inputs e of n rows, from the column x (n,); rows of e are `stride` apart. */
static void NAME(embed)(const REAL *params, ptrdiff_t n_frequencies, ptrdiff_t n_linear, ptrdiff_t n,
                        const REAL *x, REAL *e, ptrdiff_t stride)
{
    REAL numbers[ROWS_OF_STRIP], h[FASTMLP_MOST_FREQUENCIES][ROWS_OF_STRIP], sum[ROWS_OF_STRIP];
    const REAL *phases = params + n_frequencies, *V = phases + n_frequencies;
    const REAL *c = V + n_linear * n_frequencies;
    for (ptrdiff_t first = 0; first < n; first += ROWS_OF_STRIP) {
        const ptrdiff_t n_rows = least(ROWS_OF_STRIP, n - first);
        REAL *row = e + first * stride;
        for (ptrdiff_t i = 0; i < ROWS_OF_STRIP; i++)
            numbers[i] = i < n_rows ? x[first + i] : 0;
        for (ptrdiff_t k = 0; k < n_frequencies; k++) {
            for (ptrdiff_t i = 0; i < ROWS_OF_STRIP; i++) {
                const REAL s = NAME(sine_of_half)(
                    NAME(turns)(numbers[i], params[k], phases[k]));
                h[k][i] = NAME(fma)(-2 * s, s, 1);
            }
            for (ptrdiff_t i = 0; n_linear == 0 && i < n_rows; i++)
                row[i * stride + k] = h[k][i];
        }
        for (ptrdiff_t i = 0; n_linear > 0 && i < n_rows; i++)
            row[i * stride] = numbers[i];
        for (ptrdiff_t o = 0; o < n_linear; o++) {
            for (ptrdiff_t i = 0; i < ROWS_OF_STRIP; i++)
                sum[i] = c[o];
            for (ptrdiff_t k = 0; k < n_frequencies; k++) {
                const REAL v = V[o * n_frequencies + k];
                for (ptrdiff_t i = 0; i < ROWS_OF_STRIP; i++)
                    sum[i] = NAME(fma)(v, h[k][i], sum[i]);
            }
            for (ptrdiff_t i = 0; i < n_rows; i++)
                row[i * stride + 1 + o] = sum[i];
        }
    }
}

/* gradient += the derivatives of the cost, from delta = dC/de of n rows, which are `stride` apart */
static void NAME(embed_back)(const REAL *__restrict__ params, ptrdiff_t n_frequencies,
                             ptrdiff_t n_linear, ptrdiff_t n, const REAL *__restrict__ x,
                             const REAL *__restrict__ delta, ptrdiff_t stride,
                             REAL *__restrict__ gradient)
{
    REAL h[FASTMLP_MOST_FREQUENCIES], slope[FASTMLP_MOST_FREQUENCIES];
    REAL delta_h[FASTMLP_MOST_FREQUENCIES];
    const REAL two_pi = (REAL)6.28318530717958647693;
    const REAL *phases = params + n_frequencies, *V = phases + n_frequencies;
    REAL *d_phases = gradient + n_frequencies, *d_V = d_phases + n_frequencies;
    REAL *d_c = d_V + n_linear * n_frequencies;
    for (ptrdiff_t i = 0; i < n; i++, delta += stride) {
        const REAL turn = two_pi * x[i];
        for (ptrdiff_t k = 0; k < n_frequencies; k++) {
            const REAL u = NAME(turns)(x[i], params[k], phases[k]);
            const REAL s = NAME(sine_of_half)(u);
            h[k] = NAME(fma)(-2 * s, s, 1);
            slope[k] = -2 * s * NAME(cosine_of_half)(u);
            delta_h[k] = n_linear == 0 ? delta[k] : 0;
        }
        for (ptrdiff_t o = 0; o < n_linear; o++) {
            const REAL d = delta[1 + o];
            for (ptrdiff_t k = 0; k < n_frequencies; k++) {
                delta_h[k] = NAME(fma)(V[o * n_frequencies + k], d, delta_h[k]);
                d_V[o * n_frequencies + k] = NAME(fma)(d, h[k], d_V[o * n_frequencies + k]);
            }
            d_c[o] += d;
        }
        for (ptrdiff_t k = 0; k < n_frequencies; k++) {
            const REAL d = slope[k] * delta_h[k];
            d_phases[k] += d;
            gradient[k] = NAME(fma)(turn, d, gradient[k]);
        }
    }
}

/* The inputs e of n rows, from the column x (n,), the lower edges of the bins and 1 / their widths.

   Gorishniy, Rubachev and Babenko, NeurIPS 2022. */
static void NAME(bins)(const REAL *__restrict__ lower, const REAL *__restrict__ inverse_width,
                       ptrdiff_t n_bins, ptrdiff_t n, const REAL *__restrict__ x,
                       REAL *__restrict__ e, ptrdiff_t stride)
{
    for (ptrdiff_t i = 0; i < n; i++, e += stride) {
        e[0] = x[i];
        for (ptrdiff_t k = 0; k < n_bins; k++) {
            const REAL share = (x[i] - lower[k]) * inverse_width[k];
            const REAL at_least = share < 0 ? 0 : share;
            e[1 + k] = share > 1 ? 1 : at_least;
        }
    }
}
