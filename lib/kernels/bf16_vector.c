#include "kernels/bf16_vector.h"

#include "kernels/vector.h"

#define INLINE static inline __attribute__((always_inline))

#ifdef __AVX512BF16__

/* Registers of a column of C, columns at a time: their sums and one column of A fill the registers. */
enum { WIDTH = 16, VECTORS = 4, COLUMNS = 12, TILE = 24 };

INLINE __m512 load_c(const mio__bf16_product *product, const void *c, size_t at, __mmask16 mask)
{
    if (!product->stored)
        return _mm512_maskz_loadu_ps(mask, (const float *)c + at);
    const __m256i halves = _mm256_maskz_loadu_epi16(mask, (const uint16_t *)c + at);
    return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16);
}

INLINE void store_c(const mio__bf16_product *product, void *c, size_t at, __mmask16 mask, __m512 sum)
{
    if (product->accumulate)
        sum += load_c(product, c, at, mask);
    if (product->stored)
        _mm256_mask_storeu_epi16((uint16_t *)c + at, mask, (__m256i)_mm512_cvtneps_pbh(sum));
    else
        _mm512_mask_storeu_ps((float *)c + at, mask, sum);
}

/* columns x vectors registers of C at row `row` and column `first`; both are constants. mask: of the last register. */
INLINE void tile(int vectors, int columns, const mio__bf16_product *product, const void *const *a, const void *const *b,
                 void *c, size_t count, size_t row, size_t first, __mmask16 mask)
{
    __m512 sums[COLUMNS][VECTORS];
#pragma GCC unroll 12
    for (int j = 0; j < columns; j++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sums[j][v] = _mm512_setzero_ps();
    for (size_t block = 0; block < count; block++) {
        const uint32_t *left = (const uint32_t *)a[block] + row;
        const uint16_t *right = (const uint16_t *)b[block] + first * product->column;
        for (size_t p = 0; p < product->k / 2; p++) {
            __m512bh x[VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                x[v] = (__m512bh)_mm512_maskz_loadu_epi32(v + 1 < vectors ? 0xffff : mask,
                                                          left + p * product->m + v * WIDTH);
#pragma GCC unroll 12
            for (int j = 0; j < columns; j++) {
                int32_t pair;
                memcpy(&pair, right + (size_t)j * product->column + p * product->pair, sizeof pair);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++)
                    sums[j][v] = _mm512_dpbf16_ps(sums[j][v], x[v], (__m512bh)_mm512_set1_epi32(pair));
            }
        }
    }
#pragma GCC unroll 12
    for (int j = 0; j < columns; j++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store_c(product, c, (first + (size_t)j) * product->ldc + row + (size_t)v * WIDTH,
                    v + 1 < vectors ? 0xffff : mask, sums[j][v]);
}

#define CASE(columns)                                                                                                  \
    case columns: tile(vectors, columns, product, a, b, c, count, row, first, mask); break

/* All columns of `vectors` registers, in nearly equal tiles. */
INLINE void strip(int vectors, const mio__bf16_product *product, const void *const *a, const void *const *b, void *c,
                  size_t count, size_t row, __mmask16 mask)
{
    const size_t most = vectors == 1 ? COLUMNS : (size_t)(TILE / vectors), tiles = (product->n + most - 1) / most;
    for (size_t t = 0; t < tiles; t++) {
        const size_t first = t * product->n / tiles;
        switch ((t + 1) * product->n / tiles - first) {
            CASE(1);
            CASE(2);
            CASE(3);
            CASE(4);
            CASE(5);
            CASE(6);
        default:
            if (vectors == VECTORS)
                break;
            switch ((t + 1) * product->n / tiles - first) {
                CASE(7);
                CASE(8);
                CASE(9);
                CASE(10);
                CASE(11);
                CASE(12);
            }
        }
    }
}

static void multiply(const mio__bf16_product *product, const void *const *a, const void *const *b, void *c,
                     size_t count)
{
    size_t row = 0;
    for (; row + 4 * WIDTH <= product->m; row += 4 * WIDTH)
        strip(4, product, a, b, c, count, row, 0xffff);
    for (; row + 2 * WIDTH <= product->m; row += 2 * WIDTH)
        strip(2, product, a, b, c, count, row, 0xffff);
    for (; row < product->m; row += WIDTH)
        strip(1, product, a, b, c, count, row,
              (__mmask16)(product->m - row < WIDTH ? (1u << (product->m - row)) - 1 : 0xffff));
}

#else

/* The definition. */
static void multiply(const mio__bf16_product *product, const void *const *a, const void *const *b, void *c,
                     size_t count)
{
    for (size_t j = 0; j < product->n; j++)
        for (size_t i = 0; i < product->m; i++) {
            float sum = 0;
            for (size_t block = 0; block < count; block++)
                for (size_t p = 0; p < product->k; p++) {
                    const uint16_t *left = (const uint16_t *)a[block] + (p / 2 * product->m + i) * 2 + p % 2;
                    const uint16_t *right =
                        (const uint16_t *)b[block] + j * product->column + p / 2 * product->pair + p % 2;
                    sum += mio__widen(*left) * mio__widen(*right);
                }
            const size_t at = j * product->ldc + i;
            if (product->stored) {
                uint16_t *to = (uint16_t *)c + at;
                *to = mio__narrow(product->accumulate ? mio__widen(*to) + sum : sum);
            } else {
                float *to = (float *)c + at;
                *to = product->accumulate ? *to + sum : sum;
            }
        }
}

#endif

static void pair_floats(size_t rows, size_t columns, size_t row, const float *from, uint16_t *to)
{
    for (size_t r = 0; r < rows; r += 2, from += 2 * row, to += 2 * columns) {
        size_t c = 0;
#ifdef __AVX512BF16__
        for (; c + WIDTH <= columns; c += WIDTH) {
            const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from + c)));
            const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from + row + c)));
            _mm512_storeu_si512(to + 2 * c, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
        }
#endif
        for (; c < columns; c++) {
            to[2 * c] = mio__narrow(from[c]);
            to[2 * c + 1] = mio__narrow(from[row + c]);
        }
    }
}

static void pair(size_t rows, size_t columns, const uint16_t *from, uint16_t *to)
{
    for (size_t r = 0; r < rows; r += 2, from += 2 * columns, to += 2 * columns) {
        size_t c = 0;
#ifdef __AVX512BF16__
        for (; c + WIDTH <= columns; c += WIDTH) {
            const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i_u *)(from + c)));
            const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i_u *)(from + columns + c)));
            _mm512_storeu_si512(to + 2 * c, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
        }
#endif
        for (; c < columns; c++) {
            to[2 * c] = from[c];
            to[2 * c + 1] = from[columns + c];
        }
    }
}

const mio__bf16_kernels MIO__VARIANT(mio__bf16_loops) = {multiply, pair_floats, pair};
