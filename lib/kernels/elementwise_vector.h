/* Inner loops of elementwise.c over `count` contiguous values. */
#ifndef MIO_KERNELS_ELEMENTWISE_VECTOR_H
#define MIO_KERNELS_ELEMENTWISE_VECTOR_H

#include "kernels/real.h"
#include "kernels/variant.h"

#include <stddef.h>

typedef struct mio__elementwise_kernels {
    /** y = max(x, 0), NaN stays NaN; y may be x. */
    void (*relu)(size_t count, const mio__real *x, mio__real *y);
    /** dx (+)= y > 0 ? dy : 0; dx may be dy. */
    void (*relu_gradient)(size_t count, const mio__real *y, const mio__real *dy, int accumulate, mio__real *dx);
    /** y = a + b; y may be either. */
    void (*add)(size_t count, const mio__real *a, const mio__real *b, mio__real *y);
} mio__elementwise_kernels;

MIO__DECLARE_VARIANTS(mio__elementwise_kernels, mio__elementwise_loops);

#endif
