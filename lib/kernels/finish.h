/* What inference does to the outputs of a convolution while they are at hand: the batch norm behind it, with the
   residual sum and the ReLU that may follow. The arithmetic is mio__batch_norm_infer's, operation by operation, so that
   the bits are too. */
#ifndef MIO_KERNELS_FINISH_H
#define MIO_KERNELS_FINISH_H

#include "kernels/real.h"

/** y = relu?((y - mean) scale + beta + residual). Arrays by channel have blocks x block elements. */
typedef struct mio__finish {
    const mio__real *mean, *scale, *beta;
    const void *residual; /* a tensor like the output, which it does not overlap; NULL for none */
    int relu;
} mio__finish;

#endif
