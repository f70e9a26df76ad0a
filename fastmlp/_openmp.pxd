"""The only place that names omp_*; where OpenMP is missing, one thread."""

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define FASTMLP_OPENMP 1
    #ifdef _MSC_VER
    #define FASTMLP_BARRIER __pragma(omp barrier)
    #else
    #define FASTMLP_BARRIER _Pragma("omp barrier")
    #endif
    static void fastmlp_wait(int n_threads) { if (n_threads > 1) { FASTMLP_BARRIER } }
    #else
    #define FASTMLP_OPENMP 0
    static int omp_get_max_threads(void) { return 1; }
    static int omp_get_thread_num(void) { return 0; }
    static int omp_get_num_threads(void) { return 1; }
    static void fastmlp_wait(int n_threads) { (void)n_threads; }
    #endif
    """
    const bint FASTMLP_OPENMP
    int omp_get_max_threads() noexcept nogil
    int omp_get_thread_num() noexcept nogil
    int omp_get_num_threads() noexcept nogil
    # Cython ends a prange of a parallel block without a barrier: no thread may go on to what others
    # have not finished before all of them, n_threads, have called this.
    void wait_for_all "fastmlp_wait"(int n_threads) noexcept nogil
