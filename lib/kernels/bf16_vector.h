/* Products of bf16 numbers, summed in fp32, and the orders of numbers that they read. The processor multiplies pairs:
   the numbers of two neighbouring rows of A (two summands) lie side by side, [row / 2][column][2]. */
#ifndef MIO_KERNELS_BF16_VECTOR_H
#define MIO_KERNELS_BF16_VECTOR_H

#include "kernels/variant.h"

#include <stddef.h>
#include <stdint.h>

/** C[n][m] (+)= the sum over blocks of A B: A in pairs, [k / 2][m][2]; m is 4, 8 or a multiple of 16; k is even. */
typedef struct mio__bf16_product {
    size_t m, n, k;
    size_t column, pair; /* elements of B from column to column, and from one pair of summands to the next */
    size_t ldc;          /* elements from column to column of C */
    int accumulate;
    int stored; /* C is bf16; else float */
} mio__bf16_product;

typedef struct mio__bf16_kernels {
    /** On count >= 1 pairs of blocks. A product is summed in fp32 and rounded once. C overlaps neither A nor B. */
    void (*multiply)(const mio__bf16_product *product, const void *const *a, const void *const *b, void *c,
                     size_t count);
    /** Floats [row][column] into pairs of rows; rows and columns even. */
    void (*pair_floats)(size_t rows, size_t columns, size_t row, const float *from, uint16_t *to);
    /** The same for bf16 numbers. */
    void (*pair)(size_t rows, size_t columns, const uint16_t *from, uint16_t *to);
} mio__bf16_kernels;

#ifdef MIO_HAVE_BF16_VARIANT
extern const mio__bf16_kernels mio__bf16_loops_bf16;
#endif

#endif
