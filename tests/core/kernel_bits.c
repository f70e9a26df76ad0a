/* Every kernel of fastmlp/_simd over sizes that cross all edges; test_compilers.py compares what
   different compilers make of it. Prints for every instruction set that this CPU can run, kernel
   and size a hash of all numbers that come out.

   Compiled once with -DREAL=float -DTYPE=f32 and once with -DREAL=double -DTYPE=f64. What is
   computed here is exact, so that this program is no cause of a difference. */

#include "../../fastmlp/_simd/kernels.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE (&fastmlp_active->TYPE)
#define DIGITS ((int)(sizeof(REAL) == sizeof(float) ? FLT_MANT_DIG : DBL_MANT_DIG))
#define LINE ((ptrdiff_t)(64 / sizeof(REAL)))

enum { MOST = 1 << 20 }; /* numbers of an array */
enum kind { PLAIN, WIDE, POSITIVE, SPECIAL, N_KINDS };
static const char *const KINDS[] = {"plain", "wide", "positive", "special"};

/* Arrays that begin at a cache line, as the core's do. */
static REAL *array(void)
{
    char *memory = malloc(MOST * sizeof(REAL) + 64);
    if (!memory)
        exit(1);
    return (REAL *)(memory + 64 - (size_t)memory % 64);
}

static REAL power_of_two(int i)
{
    REAL x = 1;
    for (; i > 0; i--)
        x *= 2;
    for (; i < 0; i++)
        x /= 2;
    return x;
}

/* n numbers: in [-1, 1); of very different sizes; in (0, 1]; or with those that are special. */
static void fill(REAL *x, ptrdiff_t n, uint64_t key, enum kind kind)
{
    const REAL huge = sizeof(REAL) == sizeof(float) ? (REAL)FLT_MAX : (REAL)DBL_MAX;
    const REAL least = sizeof(REAL) == sizeof(float) ? (REAL)FLT_MIN : (REAL)DBL_MIN;
    volatile REAL zero = 0;
    const REAL special[] = {0, -zero, huge, -huge, least, -least, 1, -1, 1 / zero, -1 / zero,
                            zero / zero};
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint64_t bits = fastmlp_random(key, i), more = fastmlp_random(~key, i);
        const int64_t whole = (int64_t)(bits >> (64 - DIGITS)), half = (int64_t)1 << (DIGITS - 1);
        if (kind == POSITIVE)
            x[i] = (REAL)(whole + 1) * power_of_two(-DIGITS);
        else
            x[i] = (REAL)(whole - half) * power_of_two(1 - DIGITS);
        if (kind == WIDE)
            x[i] *= power_of_two((int)(more % 61) - 40);
        if (kind == SPECIAL && more % 5 == 0)
            x[i] = special[more / 5 % (sizeof special / sizeof special[0])];
    }
}

/* Rows of n numbers, `stride` apart, and 0 between them. */
static void fill_rows(REAL *x, ptrdiff_t n_rows, ptrdiff_t n, ptrdiff_t stride, uint64_t key,
                      enum kind kind)
{
    memset(x, 0, n_rows * stride * sizeof(REAL));
    for (ptrdiff_t i = 0; i < n_rows; i++)
        fill(x + i * stride, n, key + (uint64_t)i, kind);
}

static uint64_t hash;

/* Of all bits; but a NaN is a NaN, whatever its sign and its digits. */
static void add(const REAL *x, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        uint64_t bits = 0;
        memcpy(&bits, x + i, sizeof(REAL));
        hash = (hash ^ (x[i] != x[i] ? 1 : bits)) * 0x100000001b3u;
        hash ^= hash >> 29;
    }
}

static void add_rows(const REAL *x, ptrdiff_t n_rows, ptrdiff_t n, ptrdiff_t stride)
{
    for (ptrdiff_t i = 0; i < n_rows; i++)
        add(x + i * stride, n);
}

static void add_double(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    hash = (hash ^ (x != x ? 1 : bits)) * 0x100000001b3u;
}

#define STRING_OF(x) #x
#define STRING(x) STRING_OF(x)
static void print(const char *kernel, const char *what, ptrdiff_t a, ptrdiff_t b, ptrdiff_t c)
{
    printf("%s %s %s %s %td %td %td %016llx\n", fastmlp_active->name, STRING(TYPE), kernel, what, a,
           b, c, (unsigned long long)hash);
    hash = 0xcbf29ce484222325u;
}

static REAL *x, *y, *z, *u, *v, *w;

static ptrdiff_t padded(ptrdiff_t n)
{
    const ptrdiff_t stride = n == 1 ? 1 : (n + LINE - 1) / LINE * LINE;
    return stride > 1 && stride * sizeof(REAL) % 1024 == 0 ? stride + LINE : stride;
}

/* The three products of a layer. */
static void products(ptrdiff_t n, ptrdiff_t n_in, ptrdiff_t n_out, enum kind kind)
{
    static ptrdiff_t order[4096];
    const ptrdiff_t stride = padded(n_out), a_stride = padded(n_in), x_stride = n_in + 3;
    fastmlp_layer layer = {
        .n_in = n_in, .n_dense = n_in, .n_out = n_out, .stride = stride, .b = n_in * stride,
    };
    for (ptrdiff_t i = 0; i < n; i++)
        order[i] = (i * 7 + 3) % n;
    for (int shuffled = 0; shuffled < 2; shuffled++) {
        const fastmlp_rows rows = {x, x_stride, shuffled && n % 7 ? order : NULL};
        fill(x, n * x_stride, 1, kind);
        fill_rows(w, n_in + 1, n_out, stride, 2, kind);
        layer.activation = shuffled ? FASTMLP_RELU : FASTMLP_TANH;
        fill_rows(z, n, n_out, stride, 3, PLAIN);
        fill_rows(y, n, n_out, stride, 4, PLAIN);
        TABLE->forward(&layer, n, rows, w, z, shuffled ? z : u, y);
        add_rows(z, n, n_out, stride);
        if (!shuffled)
            add_rows(u, n, n_out, stride);
        print("forward", KINDS[kind], n, n_in, n_out);

        fill_rows(y, n, n_out, stride, 5, kind);
        fill_rows(u, n, n_in, a_stride, 6, SPECIAL); /* the gate */
        TABLE->backward(&layer, n, y, w, z, a_stride, shuffled ? u : NULL);
        add_rows(z, n, n_in, a_stride);
        print("backward", KINDS[kind], n, n_in, n_out);

        fill_rows(z, n_in + 1, n_out, stride, 7, kind);
        TABLE->gradient(&layer, 0, n_in + 1, n, rows, y, z, shuffled, shuffled ? w : NULL);
        add_rows(z, n_in + 1, n_out, stride);
        TABLE->gradient(&layer, n_in / 3, n_in, n, rows, y, z, !shuffled, NULL);
        add_rows(z, n_in - n_in / 3, n_out, stride);
        print("gradient", KINDS[kind], n, n_in, n_out);
    }
}

static void all_products(enum kind kind)
{
    static const ptrdiff_t large[][3] = {
        {7, 600, 1}, {600, 9, 1}, {5, 1, 300}, {3, 257, 300}, {130, 511, 70}, {1, 700, 530},
        {600, 17, 33}, {1, 300, 1030},
    };
    for (ptrdiff_t n = 1; n <= 41; n++) {
        products(n, 7, 33, kind);
        products(13, n, 21, kind);
        products(25, 31, n, kind);
        products(n, n, 1, kind);
        products(n, 1, n, kind);
    }
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++)
        products(large[i][0], large[i][1], large[i][2], kind);
}

/* (1) and (4) for a sparse row of n_terms numbers in a layer of n_in inputs and `stride` outputs.
   Some of its columns are not within the matrix, as if another thread had changed them. */
static void sparse_products(ptrdiff_t n_terms, ptrdiff_t n_in, ptrdiff_t stride, enum kind kind)
{
    static ptrdiff_t columns[64];
    for (ptrdiff_t p = 0; p < n_terms; p++)
        columns[p] = p * (n_in + 2) / n_terms - 1;
    fill(x, n_terms, 31, kind);
    fill(y, n_in * stride, 32, kind);
    fill(z, stride, 33, kind);
    TABLE->add_rows(x, columns, n_terms, n_in, y, stride, z);
    add(z, stride);
    print("add_rows", KINDS[kind], n_terms, n_in, stride);
    fill(z, stride, 34, kind);
    add_double((double)TABLE->add_to_rows(x, columns, n_terms, 1, n_in, z, y, stride));
    add(y, n_in * stride);
    print("add_to_rows", KINDS[kind], n_terms, n_in, stride);
}

static void all_sparse_products(enum kind kind)
{
    for (ptrdiff_t n_lines = 1; n_lines <= 19; n_lines++)
        sparse_products(17, 21, n_lines * LINE, kind);
    sparse_products(17, 21, 1, kind);
    sparse_products(0, 3, LINE, kind);
    sparse_products(60, 5, LINE, kind);
}

/* The cosines of a column of n rows, with and without a linear map, and their gradient. */
static void cosines(ptrdiff_t n, ptrdiff_t n_frequencies, ptrdiff_t n_linear, enum kind kind)
{
    const ptrdiff_t n_params = (2 + n_linear) * n_frequencies + n_linear;
    const ptrdiff_t stride = (n_linear ? 1 + n_linear : n_frequencies) + 3;
    fill(w, n_params, 51, kind);
    fill(x, n, 52, kind);
    for (ptrdiff_t i = 0; i < n; i++) /* up to angles that are not accurate */
        x[i] *= power_of_two((int)(i % 30));
    fill(z, n * stride, 53, PLAIN);
    TABLE->embed(w, n_frequencies, n_linear, n, x, z, stride);
    add(z, n * stride);
    print("embed", KINDS[kind], n, n_frequencies, n_linear);
    fill(y, n * stride, 54, kind);
    fill(u, n_params, 55, kind);
    TABLE->embed_back(w, n_frequencies, n_linear, n, x, y, stride, u);
    add(u, n_params);
    print("embed_back", KINDS[kind], n, n_frequencies, n_linear);
}

static void bins(ptrdiff_t n, ptrdiff_t n_bins, enum kind kind)
{
    const ptrdiff_t stride = n_bins + 2;
    fill(w, n_bins, 56, kind);
    fill(v, n_bins, 57, kind);
    fill(x, n, 58, kind);
    fill(z, n * stride, 59, PLAIN);
    TABLE->bins(w, v, n_bins, n, x, z, stride);
    add(z, n * stride);
    print("bins", KINDS[kind], n, n_bins, 0);
}

static void all_cosines(enum kind kind)
{
    for (ptrdiff_t n = 1; n <= 40; n++) {
        cosines(n, 16, 3, kind);
        cosines(21, n, 0, kind);
        cosines(21, n, 2, kind);
        bins(7, n, kind);
    }
    cosines(33, FASTMLP_MOST_FREQUENCIES, 1, kind);
}

/* What is done to n numbers side by side. */
static void flat(ptrdiff_t n, enum kind kind)
{
    for (ptrdiff_t f = FASTMLP_IDENTITY; f <= FASTMLP_HARD_SWISH; f++) {
        fill(z, n, 11, kind);
        for (ptrdiff_t i = 0; i < n; i++) /* from where it rounds to 1 to where it is 0 */
            z[i] *= power_of_two((int)(i % 11));
        TABLE->activate(f, z, u, n);
        add(u, n);
        print("activate", KINDS[kind], f, n, 0);
        fill(v, n, 12, kind);
        TABLE->times_derivative(f, z, u, v, n);
        add(v, n);
        print("times_derivative", KINDS[kind], f, n, 0);
    }
    TABLE->exponentials(z, u, n);
    add(u, n);
    print("exponentials", KINDS[kind], n, 0, 0);

    fill(x, n, 13, kind);
    fill(y, n, 14, kind);
    fill(z, n, 15, kind);
    TABLE->add_multiple((REAL)0.3, x, y, n);
    add(y, n);
    print("add_multiple", KINDS[kind], n, 0, 0);
    add_double(TABLE->add_decay((REAL)0.3, x, z, n));
    add(z, n);
    print("add_decay", KINDS[kind], n, 0, 0);
    add_double(TABLE->sum_of_squares(x, n));
    print("sum_of_squares", KINDS[kind], n, 0, 0);
    add_double(TABLE->largest_size(x, n));
    print("largest_size", KINDS[kind], n, 0, 0);
    const REAL product = TABLE->dot(x, y, n);
    add(&product, 1);
    print("dot", KINDS[kind], n, 0, 0);

    fill(x, n, 61, kind);
    fill(y, n, 62, kind);
    fill(z, n, 63, kind);
    fill(u, n, 64, kind);
    TABLE->mix(x, y, z, v, n);
    add(v, n);
    print("mix", KINDS[kind], n, 0, 0);
    TABLE->mix_back(x, y, u, n);
    add(u, n);
    print("mix_back", KINDS[kind], n, 0, 0);
    TABLE->add_mixed(x, y, z, u, n);
    add(u, n);
    print("add_mixed", KINDS[kind], n, 0, 0);

    TABLE->dropout(16, 0.3, x, y, n);
    add(y, n);
    print("dropout", KINDS[kind], n, 0, 0);
    TABLE->add_noise(17, 0.3, x, n);
    add(x, n);
    print("add_noise", KINDS[kind], n, 0, 0);

    fill(x, n, 18, kind);
    fill(y, n, 19, kind);
    fill(z, n, 20, kind);
    fill(u, n, 21, kind);
    const REAL factor = TABLE->normalize(x, y, z, v, n);
    add(&factor, 1);
    add(x, n);
    add(v, n);
    print("normalize", KINDS[kind], n, 0, 0);
    TABLE->normalize_back(x, y, factor, u, v, n);
    add(v, n);
    print("normalize_back", KINDS[kind], n, 0, 0);
}

static void softmax(ptrdiff_t n, ptrdiff_t n_out, enum kind kind)
{
    const ptrdiff_t stride = padded(n_out);
    fill_rows(z, n, n_out, stride, 31, kind);
    for (ptrdiff_t i = 0; i < n * stride; i++)
        z[i] *= 16;
    TABLE->softmax(n, n_out, z, u, stride, x, y);
    add_rows(u, n, stride, stride);
    add(x, n);
    add(y, n);
    print("softmax", KINDS[kind], n, n_out, 0);
}

/* Three steps of every solver. */
static void solvers(ptrdiff_t n, enum kind kind)
{
    for (ptrdiff_t variant = 0; variant < 2; variant++)
        for (ptrdiff_t s = FASTMLP_SGD; s <= FASTMLP_RPROP; s++) {
            fastmlp_solver solver = {
                .kind = s, .nesterov = variant, .amsgrad = variant, .learning_rate = 0.01,
                .step_rate = 0.01, .momentum = 0.9, .beta_1 = 0.9, .beta_2 = 0.999,
                .epsilon = 1e-8, .rho = 0.95, .momentum_now = 0.1, .momentum_next = 0.8,
                .eta_minus = 0.5, .eta_plus = 1.2, .smallest_step = 1e-6, .largest_step = 50,
            };
            fill(w, n, 41, kind);
            memset(v, 0, 3 * (n + LINE) * sizeof(REAL));
            for (solver.t = 1; solver.t <= 3; solver.t++) {
                fill(u, n, 42 + (uint64_t)solver.t, kind);
                TABLE->move(&solver, w, u, v, n + LINE, n);
                add(w, n);
                add(v, 3 * (n + LINE));
            }
            print("move", KINDS[kind], s, variant, n);
        }
}

int main(void)
{
    REAL **arrays[] = {&x, &y, &z, &u, &v, &w};
    for (int i = 0; i < 6; i++)
        *arrays[i] = array();
    for (int i = 0; fastmlp_name(i); i++) {
        if (!strcmp(fastmlp_name(i), "blas"))
            continue;
        fastmlp_use(fastmlp_name(i));
        fastmlp_flush_denormals();
        hash = 0xcbf29ce484222325u;
        for (enum kind kind = PLAIN; kind < N_KINDS; kind++) {
            all_products(kind);
            all_sparse_products(kind);
            all_cosines(kind);
            for (ptrdiff_t n = 1; n <= 70; n++) {
                flat(n, kind);
                solvers(n, kind);
                softmax(n, 10, kind);
                softmax(19, n, kind);
            }
            flat(100003, kind);
            solvers(1003, kind);
        }
    }
    return 0;
}
