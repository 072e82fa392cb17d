/* Inner loops of elementwise.c. Tensors hold stored numbers; rows of them lie `row` or `from_row`, `to_row` elements
   apart. */
#ifndef MIO_KERNELS_ELEMENTWISE_VECTOR_H
#define MIO_KERNELS_ELEMENTWISE_VECTOR_H

#include "kernels/real.h"
#include "kernels/variant.h"

#include <stddef.h>

typedef struct mio__elementwise_kernels {
    /** y = max(x, 0), NaN stays NaN; y may be x. */
    void (*relu)(size_t count, const void *x, void *y);
    /** dx (+)= y > 0 ? dy : 0; dx may be dy. */
    void (*relu_gradient)(size_t count, const void *y, const void *dy, int accumulate, void *dx);
    /** y = a + b; y may be either. */
    void (*add)(size_t count, const void *a, const void *b, void *y);
    /** y += bias in each row of `width` numbers. */
    void (*add_bias)(size_t rows, size_t width, const mio__real *bias, void *y);
    /** sums += the rows, one by one. */
    void (*sum_rows)(size_t rows, size_t width, const void *x, double *sums);
    /** Rows of `channels` floats into rows of `width` numbers, filled up with 0. */
    void (*pack)(size_t rows, size_t channels, size_t width, size_t from_row, size_t to_row, const float *from,
                 void *to);
    /** The first `channels` numbers of each row as floats. */
    void (*unpack)(size_t rows, size_t channels, size_t from_row, size_t to_row, const void *from, float *to);
} mio__elementwise_kernels;

MIO__DECLARE_STORED_VARIANTS(mio__elementwise_kernels, mio__elementwise_loops);

#endif
