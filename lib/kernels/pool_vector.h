/* Inner loops of pool.c over `count` contiguous stored values: a pixel of one group and channel block. */
#ifndef MIO_KERNELS_POOL_VECTOR_H
#define MIO_KERNELS_POOL_VECTOR_H

#include "kernels/real.h"
#include "kernels/variant.h"

#include <stddef.h>

/** The pixels of a window: x is its first, row_stride and column_stride are distances in elements. */
typedef struct mio__pool_window {
    size_t rows, columns, row_stride, column_stride;
} mio__pool_window;

typedef struct mio__pool_kernels {
    /** y = the maximum of the window; NaN wins. */
    void (*maximum)(size_t count, const mio__pool_window *window, const void *x, void *y);
    /** winner = number of the window's pixel (row x columns + column) that holds the maximum, the first of equals. */
    void (*winner)(size_t count, const mio__pool_window *window, const void *x, mio__real *winner);
    /** dx += dy where winner is pixel. */
    void (*award)(size_t count, mio__real pixel, const mio__real *winner, const void *dy, void *dx);
    /** sums += x. */
    void (*sum)(size_t count, const void *x, double *sums);
    /** y = sums / pixels. */
    void (*mean)(size_t count, const double *sums, double pixels, void *y);
    /** dx (+)= dy share. */
    void (*spread)(size_t count, mio__real share, const void *dy, int accumulate, void *dx);
} mio__pool_kernels;

MIO__DECLARE_STORED_VARIANTS(mio__pool_kernels, mio__pool_loops);

#endif
