/* Chooses the kernels for this CPU, and switches the handling of denormal numbers. */

#include "kernels.h"

#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

extern const fastmlp_kernels fastmlp_baseline;
#ifdef FASTMLP_X86
extern const fastmlp_kernels fastmlp_avx2, fastmlp_avx512;
#endif

const fastmlp_kernels *fastmlp_active;

/* A copy of the fastest table, with all products left to BLAS. */
static fastmlp_kernels blas;

/* The tables, fastest first and "blas" last. NULL if the CPU lacks the instructions. */
enum { N_TABLES = 4 };
static const fastmlp_kernels *table(int i)
{
#ifdef FASTMLP_X86
    __builtin_cpu_init();
    if (i == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")
                   ? &fastmlp_avx512
                   : NULL;
    if (i == 1)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &fastmlp_avx2
                                                                               : NULL;
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
