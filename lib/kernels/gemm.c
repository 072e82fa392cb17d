#include "kernels/gemm.h"

#include <string.h>
#ifndef MIO_DOUBLE
#include <libxsmm.h>
#endif

/* Columns and rows of C that plain C keeps in registers; pairs of blocks that one call of a JIT kernel takes; rows that
   streamed_vector.h wants a multiple of. */
enum { TILE_M = 8, TILE_N = 4, PAIRS = 256, STREAMED_ROWS = 16 };

typedef void (*kernel)(void);

static kernel resolve(const mio__gemm *gemm, int accumulate)
{
#ifdef MIO_DOUBLE
    (void)gemm, (void)accumulate;
    return NULL;
#else
    const libxsmm_blasint lda = (libxsmm_blasint)gemm->lda, ldb = (libxsmm_blasint)gemm->ldb,
                          ldc = (libxsmm_blasint)gemm->ldc;
    const float alpha = 1, beta = accumulate ? 1 : 0;
    const int flags = gemm->transpose_b ? LIBXSMM_GEMM_FLAG_TRANS_B : LIBXSMM_GEMM_FLAG_NONE;
    if (gemm->transpose_a)
        return NULL;
    mio__jit_start();
    mio__jit_lock();
    const kernel found = (kernel)libxsmm_smmdispatch_reducebatch_addr(
        (libxsmm_blasint)gemm->m, (libxsmm_blasint)gemm->n, (libxsmm_blasint)gemm->k, &lda, &ldb, &ldc, &alpha, &beta,
        &flags, NULL);
    mio__jit_unlock();
    return found;
#endif
}

mio__gemm mio__gemm_make(size_t m, size_t n, size_t k, size_t lda, size_t ldb, size_t ldc, int transpose_a,
                         int transpose_b, int accumulate)
{
    mio__gemm gemm = {.m = m,
                      .n = n,
                      .k = k,
                      .lda = lda,
                      .ldb = ldb,
                      .ldc = ldc,
                      .transpose_a = transpose_a,
                      .transpose_b = transpose_b,
                      .accumulate = accumulate};
    gemm.more = resolve(&gemm, 1);
    gemm.jit = !accumulate && gemm.more ? resolve(&gemm, 0) : gemm.more;
    return gemm;
}

/* Measured with AVX2 alone (docs/performance.md, "With AVX2"): elsewhere libxsmm's kernels stay. */
int mio__gemm_streams(void)
{
    return mio__target() == MIO__TARGET_AVX2;
}

mio__gemm mio__gemm_make_streamed(size_t m, size_t n, size_t k)
{
    mio__gemm gemm = mio__gemm_make(m, n, k, m, k, m, 0, 0, 0);
    if (m % STREAMED_ROWS == 0 && mio__gemm_streams())
        gemm.streamed = MIO__PICK(mio__streamed);
    return gemm;
}

mio__gemm mio__gemm_make_bf16(size_t m, size_t n, size_t k, size_t ldb, int paired_b, int accumulate, int stored)
{
    return (mio__gemm){.m = m,
                       .n = n,
                       .k = k,
                       .precision = MIO__BF16,
                       .product = {m, n, k, paired_b ? 2 : ldb, paired_b ? 2 * n : 2, m, accumulate, stored}};
}

#ifndef MIO_DOUBLE
/* libxsmm's kernels move the addresses in the lists along while they run: they get copies. */
static void run_jit(const mio__gemm *gemm, const float *const *a, const float *const *b, float *c, size_t count)
{
    const float *left[PAIRS], *right[PAIRS];
    for (size_t done = 0; done < count; done += PAIRS) {
        const unsigned long long pairs = count - done < PAIRS ? count - done : PAIRS;
        memcpy(left, a + done, pairs * sizeof *left);
        memcpy(right, b + done, pairs * sizeof *right);
        ((libxsmm_smmfunction_reducebatch_addr)(done ? gemm->more : gemm->jit))(left, right, c, &pairs);
    }
}
#endif

void mio__gemm_run(const mio__gemm *gemm, const mio__real *const *a, const mio__real *const *b, mio__real *c,
                   size_t count)
{
    if (gemm->streamed) {
        gemm->streamed->multiply(gemm->m, gemm->n, gemm->k, a, b, c, count);
        return;
    }
#ifndef MIO_DOUBLE
    if (gemm->jit) {
        run_jit(gemm, a, b, c, count);
        return;
    }
#endif
    mio__gemm_run_reference(gemm, a, b, c, count);
}

void mio__gemm_run_stored(const mio__gemm *gemm, const void *const *a, const void *const *b, void *c, size_t count)
{
#ifdef MIO_HAVE_BF16_VARIANT
    if (gemm->precision == MIO__BF16) {
        mio__bf16_loops_bf16.multiply(&gemm->product, a, b, c, count);
        return;
    }
#endif
    mio__gemm_run(gemm, (const mio__real *const *)a, (const mio__real *const *)b, c, count);
}

/* A whole TILE_M x TILE_N tile of C at row i, column j; A not transposed. */
static void whole_tile(const mio__gemm *gemm, const mio__real *const *a, const mio__real *const *b, mio__real *c,
                       size_t count, size_t i, size_t j)
{
    mio__real sum[TILE_N][TILE_M] = {{0}};
    const size_t step = gemm->transpose_b ? gemm->ldb : 1, column = gemm->transpose_b ? 1 : gemm->ldb;
    for (size_t r = 0; r < count; r++)
        for (size_t p = 0; p < gemm->k; p++) {
            const mio__real *left = a[r] + p * gemm->lda + i, *right = b[r] + p * step + j * column;
            for (size_t y = 0; y < TILE_N; y++)
                for (size_t x = 0; x < TILE_M; x++)
                    sum[y][x] += left[x] * right[y * column];
        }
    for (size_t y = 0; y < TILE_N; y++)
        for (size_t x = 0; x < TILE_M; x++) {
            mio__real *to = c + (j + y) * gemm->ldc + i + x;
            *to = (gemm->accumulate ? *to : 0) + sum[y][x];
        }
}

/* One element of C. */
static void one_element(const mio__gemm *gemm, const mio__real *const *a, const mio__real *const *b, mio__real *c,
                        size_t count, size_t i, size_t j)
{
    mio__real sum = 0;
    for (size_t r = 0; r < count; r++)
        for (size_t p = 0; p < gemm->k; p++)
            sum += a[r][gemm->transpose_a ? p + i * gemm->lda : i + p * gemm->lda] *
                   b[r][gemm->transpose_b ? j + p * gemm->ldb : p + j * gemm->ldb];
    mio__real *to = c + j * gemm->ldc + i;
    *to = (gemm->accumulate ? *to : 0) + sum;
}

void mio__gemm_run_reference(const mio__gemm *gemm, const mio__real *const *a, const mio__real *const *b, mio__real *c,
                             size_t count)
{
    const size_t whole_m = gemm->transpose_a ? 0 : gemm->m / TILE_M * TILE_M, whole_n = gemm->n / TILE_N * TILE_N;
    for (size_t j = 0; j < gemm->n; j++)
        for (size_t i = 0; i < gemm->m; i++) {
            if (i >= whole_m || j >= whole_n)
                one_element(gemm, a, b, c, count, i, j);
            else if (i % TILE_M == 0 && j % TILE_N == 0)
                whole_tile(gemm, a, b, c, count, i, j);
        }
}
