/* The transforms of Winograd's convolution F(m x m, 3 x 3), compiled once per instruction set. */
#ifndef MIO_KERNELS_WINOGRAD_VECTOR_H
#define MIO_KERNELS_WINOGRAD_VECTOR_H

#include "kernels/real.h"
#include "kernels/variant.h"

#include <stddef.h>

/**
 * For one m; n = m + 2. Every function works on `count` numbers (a multiple of 16) at each position of a tile: the
 * channels of the lanes of a pixel, or the elements of a tap's matrix. Transformed tiles have n x n points, `stride`
 * apart. Pixels and transformed pixels are stored numbers; weights and products are mio__real. Arrays overlap nowhere.
 * The functions in columns are for products over lanes: in bf16 the numbers of two neighbouring lanes, `block` channels
 * each, lie side by side (bf16_vector.h); otherwise they stay in order.
 */
typedef struct mio__winograd_transforms {
    /** points = B' d B for the n x n pixels d. */
    void (*input)(const void *const *pixels, size_t count, void *points, size_t stride);
    void (*input_columns)(const void *const *pixels, size_t block, size_t count, void *points, size_t stride);
    /** pixels (+)= A' points A: m x m of them. */
    void (*output)(const mio__real *points, size_t stride, size_t count, void *const *pixels, int accumulate);
    /** points = A d A' for the m x m pixels d of the output's gradient. */
    void (*gradient_columns)(const void *const *pixels, size_t block, size_t count, void *points, size_t stride);
    /** points = G g G' for the 3 x 3 taps g, tap_stride apart. */
    void (*weights)(const mio__real *taps, ptrdiff_t tap_stride, size_t count, mio__real *points, size_t stride);
    /** taps (+)= G' points G. */
    void (*weights_gradient)(const mio__real *points, size_t stride, size_t count, mio__real *taps, size_t tap_stride,
                             int accumulate);
} mio__winograd_transforms;

typedef struct mio__winograd_kernels {
    mio__winograd_transforms two, four; /* m = 2, m = 4 */
} mio__winograd_kernels;

MIO__DECLARE_STORED_VARIANTS(mio__winograd_kernels, mio__winograd);

#endif
