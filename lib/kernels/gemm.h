/* Batch-reduce GEMM: the one heavy primitive. libxsmm generates it for the shape; plain C does the same where it cannot. */
#ifndef MIO_KERNELS_GEMM_H
#define MIO_KERNELS_GEMM_H

#include "kernels/real.h"

#include <stddef.h>

/**
 * C (+)= sum over r < count of A_r B_r, column-major as in BLAS: A is m x k (or k x m transposed), B is k x n (or n x k
 * transposed), C is m x n; ld* are the distances between columns. In row-major eyes: C[n][m] (+)= B[n][k] A[k][m].
 * A, B and C do not overlap. Alignment: of the element.
 */
typedef struct mio__gemm {
    size_t m, n, k, lda, ldb, ldc;
    int transpose_a, transpose_b;
    int accumulate; /* 0: C is written without being read */
    void (*jit)(void);  /* libxsmm's kernel, or NULL for plain C */
    void (*more)(void); /* the same, accumulating: for the rest of a long list */
} mio__gemm;

/** Resolves the kernel. Never fails: without a JIT kernel the plain C path stands in. Not to be called inside a step. */
mio__gemm mio__gemm_make(size_t m, size_t n, size_t k, size_t lda, size_t ldb, size_t ldc, int transpose_a,
                         int transpose_b, int accumulate);
/** Runs it on count >= 1 pairs of blocks. The lists stay as they are. */
void mio__gemm_run(const mio__gemm *gemm, const mio__real *const *a, const mio__real *const *b, mio__real *c,
                   size_t count);
/** The plain C path, whatever was resolved: the reference. */
void mio__gemm_run_reference(const mio__gemm *gemm, const mio__real *const *a, const mio__real *const *b, mio__real *c,
                             size_t count);

#endif
