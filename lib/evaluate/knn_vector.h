/* Inner loop of knn.c: similarities that are high enough become candidates. */
#ifndef MIO_EVALUATE_KNN_VECTOR_H
#define MIO_EVALUATE_KNN_VECTOR_H

#include "kernels/variant.h"

#include <stddef.h>
#include <stdint.h>

typedef struct mio__neighbour {
    float similarity;
    uint32_t index;
} mio__neighbour;

typedef struct mio__knn_kernels {
    /** Appends those of `count` similarities, of rows first, first + 1, ..., that are above the bound to a list with
        room for all of them, in their order. Returns how many. */
    size_t (*take_above)(size_t count, const float *similarities, float bound, uint32_t first, mio__neighbour *list);
} mio__knn_kernels;

MIO__DECLARE_VARIANTS(mio__knn_kernels, mio__knn_loops);

#endif
