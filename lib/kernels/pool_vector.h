/* Inner loops of pool.c over `count` contiguous values, a pixel of one group and channel block. */
#ifndef MIO_KERNELS_POOL_VECTOR_H
#define MIO_KERNELS_POOL_VECTOR_H

#include "kernels/real.h"
#include "kernels/variant.h"

#include <stddef.h>

typedef struct mio__pool_kernels {
    /** y = max(y, x); NaN wins. */
    void (*maximum)(size_t count, const mio__real *x, mio__real *y);
    /** Where x beats best (or best is not yet set: first), best = x and winner = tap. */
    void (*contest)(size_t count, int first, mio__real tap, const mio__real *x, mio__real *best, mio__real *winner);
    /** dx += dy where winner is tap. */
    void (*award)(size_t count, mio__real tap, const mio__real *winner, const mio__real *dy, mio__real *dx);
} mio__pool_kernels;

MIO__DECLARE_VARIANTS(mio__pool_kernels, mio__pool_loops);

#endif
