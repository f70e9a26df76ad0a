"""Row-major matrix product over SciPy's BLAS."""

from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv

ctypedef fused real:
    float
    double


cdef inline void row_times_matrix(
    bint transpose_B,
    Py_ssize_t n,
    Py_ssize_t k,
    real alpha,
    const real* a,      # (k,)
    const real* B,      # (k, n), or (n, k) if transposed; rows ldb apart
    Py_ssize_t ldb,
    real beta,
    real* c,            # (n,)
) noexcept nogil:
    """c = alpha a B + beta c.

    gemm would first pack all of B, which costs more than the product of a single row
    (bench/figures.md: blas-single-row).
    """
    cdef char transpose = b"t" if transpose_B else b"n"
    cdef int rows = <int> (k if transpose_B else n), columns = <int> (n if transpose_B else k)
    cdef int stride_B = <int> ldb, one = 1
    if real is float:
        sgemv(&transpose, &rows, &columns, &alpha, <float*> B, &stride_B, <float*> a, &one,
              &beta, c, &one)
    else:
        dgemv(&transpose, &rows, &columns, &alpha, <double*> B, &stride_B, <double*> a, &one,
              &beta, c, &one)


cdef inline void gemm(
    bint transpose_A,
    bint transpose_B,
    Py_ssize_t m,
    Py_ssize_t n,
    Py_ssize_t k,
    real alpha,
    const real* A,      # (m, k), or (k, m) if transposed; rows lda apart
    Py_ssize_t lda,
    const real* B,      # (k, n), or (n, k) if transposed; rows ldb apart
    Py_ssize_t ldb,
    real beta,
    real* C,            # (m, n); rows ldc apart
    Py_ssize_t ldc,
) noexcept nogil:
    """C = alpha A B + beta C.

    A row-major matrix is the transpose of a column-major one, and C^T = B^T A^T. So BLAS gets the
    operands in reverse order.
    """
    if m == 1 and not transpose_A:
        row_times_matrix(transpose_B, n, k, alpha, A, B, ldb, beta, C)
        return
    cdef char trans_A = b"t" if transpose_A else b"n", trans_B = b"t" if transpose_B else b"n"
    cdef int rows = <int> n, columns = <int> m, inner = <int> k
    cdef int stride_A = <int> lda, stride_B = <int> ldb, stride_C = <int> ldc
    if real is float:
        sgemm(&trans_B, &trans_A, &rows, &columns, &inner, &alpha,
              <float*> B, &stride_B, <float*> A, &stride_A, &beta, C, &stride_C)
    else:
        dgemm(&trans_B, &trans_A, &rows, &columns, &inner, &alpha,
              <double*> B, &stride_B, <double*> A, &stride_A, &beta, C, &stride_C)
