/* Chooses the kernels for this CPU, and switches the handling of denormal numbers. */

#include "kernels.h"

#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif
#ifdef _MSC_VER
#include <intrin.h>
#endif

extern const fastmlp_kernels fastmlp_baseline;
#ifdef FASTMLP_X86
extern const fastmlp_kernels fastmlp_avx2, fastmlp_avx512;
#endif

const fastmlp_kernels *fastmlp_active;

/* A copy of the fastest table, with all products left to BLAS. */
static fastmlp_kernels blas;

#if defined(FASTMLP_X86) && defined(_MSC_VER)
/* What a linker for Windows has no library for: whether the CPU has all features of a leaf of cpuid
   (Intel's manual, volume 2, CPUID), and whether the system keeps these parts of its state. */
static int has_all(int leaf, int in_ecx, unsigned features, unsigned long long state)
{
    int known[4]; /* eax, ebx, ecx, edx */
    __cpuidex(known, 1, 0);
    if (!(known[2] & 1 << 27) || (_xgetbv(0) & state) != state) /* OSXSAVE, XCR0 */
        return 0;
    __cpuidex(known, leaf, 0);
    return ((unsigned)known[in_ecx ? 2 : 1] & features) == features;
}

static int has_avx2(void)
{
    return has_all(1, 1, 1u << 12 /* fma */, 0x6) && has_all(7, 0, 1u << 5 /* avx2 */, 0x6);
}

static int has_avx512(void)
{
    return has_all(7, 0, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31 /* f, dq, bw, vl */, 0xe6);
}
#elif defined(FASTMLP_X86)
static int has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
#endif

/* The tables, fastest first and "blas" last. NULL if the CPU lacks the instructions. */
enum { N_TABLES = 4 };
static const fastmlp_kernels *table(int i)
{
#ifdef FASTMLP_X86
    if (i == 0)
        return has_avx512() ? &fastmlp_avx512 : NULL;
    if (i == 1)
        return has_avx2() ? &fastmlp_avx2 : NULL;
#endif
    return i == 2 ? &fastmlp_baseline : i == 3 ? &blas : NULL;
}

int fastmlp_use(const char *name)
{
    if (!blas.name) {
        int i = 0;
        while (!table(i))
            i++;
        blas = *table(i);
        blas.name = "blas";
        blas.f32.largest = blas.f64.largest = 0;
    }
    for (int i = 0; i < N_TABLES; i++)
        if (table(i) && (!*name || strcmp(name, table(i)->name) == 0)) {
            fastmlp_active = table(i);
            return 1;
        }
    return 0;
}

const char *fastmlp_name(int i)
{
    for (int j = 0; j < N_TABLES; j++)
        if (table(j) && i-- == 0)
            return table(j)->name;
    return NULL;
}

#define AS_TEXT_(x) #x
#define AS_TEXT(x) AS_TEXT_(x)
const char fastmlp_compiler[] =
#if defined(__clang__)
    __VERSION__; /* names itself, as in "Clang 19.1.7" or "Apple LLVM 16.0.0" */
#elif defined(__GNUC__)
    "GCC " __VERSION__;
#else
    "MSVC " AS_TEXT(_MSC_VER);
#endif

unsigned long long fastmlp_flush_denormals(void)
{
#if defined(__x86_64__) || defined(_M_X64)
    const unsigned int state = _mm_getcsr();
    _mm_setcsr(state | 0x8040); /* FTZ for results and DAZ for operands */
    return state;
#elif defined(__aarch64__) && defined(__GNUC__)
    unsigned long long state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    __asm__ volatile("msr fpcr, %0" : : "r"(state | 1ull << 24));
    return state;
#else
    return 0;
#endif
}

void fastmlp_restore_denormals(unsigned long long state)
{
#if defined(__x86_64__) || defined(_M_X64)
    _mm_setcsr((unsigned int)state);
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm__ volatile("msr fpcr, %0" : : "r"(state));
#else
    (void)state;
#endif
}
