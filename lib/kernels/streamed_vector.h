/* Products whose A comes from memory and is read once: the weights, where images are few. The next block of A is asked
   for while the one at hand is multiplied, so that reading and multiplying overlap. Compiled once per instruction set. */
#ifndef MIO_KERNELS_STREAMED_VECTOR_H
#define MIO_KERNELS_STREAMED_VECTOR_H

#include "kernels/real.h"
#include "kernels/variant.h"

#include <stddef.h>

typedef struct mio__streamed_kernels {
    /**
     * C = the sum over r < count of A_r B_r, column-major and packed: A m x k, B k x n, C m x n; m a multiple of 16,
     * count >= 1. What follows the last A is asked for too, never read. Alignment: of the element. Arrays do not
     * overlap.
     */
    void (*multiply)(size_t m, size_t n, size_t k, const mio__real *const *a, const mio__real *const *b, mio__real *c,
                     size_t count);
} mio__streamed_kernels;

MIO__DECLARE_VARIANTS(mio__streamed_kernels, mio__streamed);

#endif
