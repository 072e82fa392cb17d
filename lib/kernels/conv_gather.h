/* Direct convolution of few images, forward: for each column of taps a copy of the image, shifted and padded with
   zeros, in which the pixels that a tap reads follow each other, so that one GEMM takes many of them; a weight is read
   once for all. */
#ifndef MIO_KERNELS_CONV_GATHER_H
#define MIO_KERNELS_CONV_GATHER_H

#include "core/context.h"
#include "kernels/conv.h"
#include "kernels/gemm.h"

typedef struct mio__gather {
    mio__conv_geometry geometry;
    size_t rows;    /* of one copy */
    size_t columns; /* of C, of one GEMM: pixels x lanes */
    mio__gemm whole, rest;
} mio__gather;

/** Whether it beats one GEMM for each run of columns that meet the same taps. */
int mio__gather_suits(const mio__conv_geometry *geometry);
mio__gather mio__gather_make(const mio__conv_geometry *geometry);
size_t mio__gather_scratch_size(const mio__gather *gather, size_t workers);
/** weights: as mio__direct_run reads them. finish may be NULL. */
void mio__gather_run(mio_context *context, const mio__gather *gather, size_t workers, void *scratch,
                     const void *weights, const mio__finish *finish, const void *x, void *y);

#endif
