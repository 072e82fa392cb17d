/* Batch-reduce GEMM: the one heavy primitive. libxsmm generates it for the shape; plain C does the same where it
 * cannot. */
#ifndef MIO_KERNELS_GEMM_H
#define MIO_KERNELS_GEMM_H

#include "kernels/bf16_vector.h"
#include "kernels/layout.h"
#include "kernels/streamed_vector.h"

#include <stddef.h>

/**
 * C (+)= sum over r < count of A_r B_r, column-major as in BLAS: A is m x k (or k x m transposed), B is k x n (or n x k
 * transposed), C is m x n; ld* are the distances between columns. In row-major eyes: C[n][m] (+)= B[n][k] A[k][m].
 * A, B and C do not overlap. Alignment: of the element.
 */
typedef struct mio__gemm {
    size_t m, n, k, lda, ldb, ldc;
    int transpose_a, transpose_b;
    int accumulate;                        /* 0: C is written without being read */
    void (*jit)(void);                     /* libxsmm's kernel, or NULL for plain C */
    void (*more)(void);                    /* the same, accumulating: for the rest of a long list */
    const mio__streamed_kernels *streamed; /* the kernels instead, for an A that comes from memory; or NULL */
    mio__precision precision;              /* of A and B */
    mio__bf16_product product;             /* in bf16, instead of all the above but m, n and k */
} mio__gemm;

/** Resolves the kernel. Never fails: without a JIT kernel the plain C path stands in. Not to be called inside a step.
 */
mio__gemm mio__gemm_make(size_t m, size_t n, size_t k, size_t lda, size_t ldb, size_t ldc, int transpose_a,
                         int transpose_b, int accumulate);
/** The same, packed and not accumulating, for an A that comes from memory and is read once: weights, where columns are
    few. It is prefetched where mio__gemm_streams() and m is a multiple of 16. */
mio__gemm mio__gemm_make_streamed(size_t m, size_t n, size_t k);
/** Whether this CPU's products prefetch such an A. */
int mio__gemm_streams(void);
/**
 * The same for bf16 A and B, A m x k in pairs [k / 2][m][2] (bf16_vector.h). paired_b: B lies likewise, [k / 2][n][2],
 * else k x n. stored: C is bf16, else mio__real.
 */
mio__gemm mio__gemm_make_bf16(size_t m, size_t n, size_t k, size_t ldb, int paired_b, int accumulate, int stored);
/** Either on count >= 1 pairs of blocks, C m x n. The lists stay as they are. */
void mio__gemm_run_stored(const mio__gemm *gemm, const void *const *a, const void *const *b, void *c, size_t count);
/** Runs one in mio__real on count >= 1 pairs of blocks. The lists stay as they are. */
void mio__gemm_run(const mio__gemm *gemm, const mio__real *const *a, const mio__real *const *b, mio__real *c,
                   size_t count);
/** The plain C path, whatever was resolved: the reference. */
void mio__gemm_run_reference(const mio__gemm *gemm, const mio__real *const *a, const mio__real *const *b, mio__real *c,
                             size_t count);

#endif
