/* Inner loops of decorrelation.c, over blocks of MIO__COLUMNS columns: the sums in double. */
#ifndef MIO_LOSS_COLUMNS_VECTOR_H
#define MIO_LOSS_COLUMNS_VECTOR_H

#include "kernels/variant.h"

#include <stddef.h>

enum { MIO__COLUMNS = 32 };

/** The block of a matrix that begins at `at`: its rows are `stride` elements apart and hold `count` columns of the
    block. */
typedef struct mio__column_block {
    const void *at;
    size_t rows, count, stride;
} mio__column_block;

/** out = scale x (product - its part along standard) and so on: see write. */
typedef struct mio__column_gradient {
    const void *product;  /* rows x MIO__COLUMNS */
    const void *standard; /* rows `width` apart */
    size_t width;
    const double *of_product, *of_standard; /* per column */
    double of_difference;
} mio__column_gradient;

/** z, other and what `write` writes to are float in the narrow and mixed loops and double in the wide ones; other
    `void` is float in the narrow ones alone. Arrays of columns have MIO__COLUMNS values. */
typedef struct mio__column_loops {
    /** Means, and sums of squared deviations from them; both 0 from count on. */
    void (*measure)(const mio__column_block *z, double *mean, double *square);
    /** to = (z - mean) x factor, rows `width` apart; 0 from count on. */
    void (*standardize)(const mio__column_block *z, const double *mean, const double *factor, size_t width, void *to);
    /** square = sums of c^2 over the rows of a matrix, with c = entry / divisor; entry = weight x c. */
    void (*judge)(size_t rows, double divisor, double weight, void *matrix, double *square);
    /** Sum of (z - other)^2. */
    double (*apart)(const mio__column_block *z, const void *other);
    /** to = of_product x product + of_standard x standard + of_difference x (z - other), held within the type's range.
        to and other lie as z does; other is not read with of_difference 0. */
    void (*write)(const mio__column_gradient *gradient, const mio__column_block *z, const void *other, void *to);
} mio__column_loops;

typedef struct mio__column_kernels {
    mio__column_loops narrow, mixed, wide;
} mio__column_kernels;

MIO__DECLARE_VARIANTS(mio__column_kernels, mio__column_loops_of);

#endif
