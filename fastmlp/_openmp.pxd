"""The only place that names omp_*; where OpenMP is missing, one thread."""

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define FASTMLP_OPENMP 1
    #ifdef _MSC_VER
    static void fastmlp_wait(void) { __pragma(omp barrier) }
    #else
    static void fastmlp_wait(void) { _Pragma("omp barrier") }
    #endif
    #else
    #define FASTMLP_OPENMP 0
    static int omp_get_max_threads(void) { return 1; }
    static int omp_get_thread_num(void) { return 0; }
    static void fastmlp_wait(void) {}
    #endif
    """
    const bint FASTMLP_OPENMP
    int omp_get_max_threads() noexcept nogil
    int omp_get_thread_num() noexcept nogil
    # Cython ends a prange of a parallel block without a barrier: no thread may go on to what others
    # have not finished before all of them have called this.
    void wait_for_all "fastmlp_wait"() noexcept nogil
