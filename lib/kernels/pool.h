/* Pooling in the blocked layout. */
#ifndef MIO_KERNELS_POOL_H
#define MIO_KERNELS_POOL_H

#include "core/context.h"
#include "kernels/layout.h"
#include "kernels/real.h"

/** Maximum over kernel x kernel windows; padding never wins; of equal values the first in row order takes the gradient
    (torch's rule). backward: dx (+)= the gradient, recomputing the winner from x. */
void mio__max_pool_forward(mio_context *context, size_t workers, const mio__shape *input, const mio__shape *output,
                           const mio__images *images, size_t kernel, size_t stride, size_t padding, const void *x,
                           void *y);
void mio__max_pool_backward(mio_context *context, size_t workers, const mio__shape *input, const mio__shape *output,
                            const mio__images *images, size_t kernel, size_t stride, size_t padding, const void *x,
                            const void *dy, void *dx, int accumulate);

/** Mean over pixels: output channels x 1 x 1 in the same blocking. backward: dx (+)= dy / pixels. */
void mio__average_pool_forward(mio_context *context, size_t workers, const mio__shape *input, const mio__images *images,
                               const void *x, void *y);
void mio__average_pool_backward(mio_context *context, size_t workers, const mio__shape *input,
                                const mio__images *images, const void *dy, void *dx, int accumulate);

#endif
