/* Inner loops of batch_norm.c over `rows` contiguous rows of `block` channels. Arrays by channel have block elements;
   arrays by row and channel hold stored numbers. */
#ifndef MIO_KERNELS_BATCH_NORM_VECTOR_H
#define MIO_KERNELS_BATCH_NORM_VECTOR_H

#include "kernels/real.h"
#include "kernels/variant.h"

#include <stddef.h>

typedef struct mio__batch_norm_kernels {
    /** sum += sum of x, one by one. */
    void (*sums)(size_t rows, size_t block, const void *x, double *sum);
    /** sum += sum of (x - shift), square += sum of (x - shift)^2. */
    void (*moments)(size_t rows, size_t block, const mio__real *shift, const void *x, double *sum, double *square);
    /** y = relu?((x - mean) scale + beta + residual); residual may be NULL, y may be x or residual. */
    void (*normalize)(size_t rows, size_t block, const mio__real *mean, const mio__real *scale, const mio__real *beta,
                      const void *x, const void *residual, int relu, void *y);
    /**
     * With g = y > 0 ? dy : 0 (y NULL: g = dy): sum += sum of g, product += sum of g (x - mean), and masked = g (masked
     * may be NULL or dy).
     */
    void (*gradient_sums)(size_t rows, size_t block, const mio__real *mean, const void *x, const void *y,
                          const void *dy, void *masked, double *sum, double *product);
    /**
     * dx = scale g - offset - slope (x - mean), dresidual (+)= g. dresidual may be NULL; dx and dresidual may be dy
     * (not both).
     */
    void (*gradient)(size_t rows, size_t block, const mio__real *mean, const mio__real *scale, const mio__real *offset,
                     const mio__real *slope, const void *x, const void *y, const void *dy, void *dx, void *dresidual,
                     int accumulate);
} mio__batch_norm_kernels;

MIO__DECLARE_STORED_VARIANTS(mio__batch_norm_kernels, mio__batch_norm_loops);

#endif
