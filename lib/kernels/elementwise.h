/* Passes over whole tensors, and the doors between the caller's row-major arrays and the blocked layout. */
#ifndef MIO_KERNELS_ELEMENTWISE_H
#define MIO_KERNELS_ELEMENTWISE_H

#include "core/context.h"
#include "kernels/layout.h"
#include "kernels/real.h"

/** y = max(x, 0); y may be x. */
void mio__relu_forward(mio_context *context, size_t workers, mio__precision precision, size_t count, const void *x,
                       void *y);
/** dx (+)= y > 0 ? dy : 0; dx may be dy. */
void mio__relu_backward(mio_context *context, size_t workers, mio__precision precision, size_t count, const void *y,
                        const void *dy, void *dx, int accumulate);
/** y = a + b; y may be either. */
void mio__add(mio_context *context, size_t workers, mio__precision precision, size_t count, const void *a,
              const void *b, void *y);
/** y += bias (blocks x block values) in every pixel of every real image. */
void mio__add_bias(mio_context *context, size_t workers, const mio__shape *shape, const mio__images *images,
                   const mio__real *bias, void *y);
/** dbias = sum of dy over images and pixels, in a fixed order. */
void mio__sum_bias(mio_context *context, size_t workers, const mio__shape *shape, const mio__images *images,
                   const void *dy, mio__real *dbias);

/** rows: views x count x height x width x channels, row-major; x: blocked, filling written as 0. */
void mio__pack(mio_context *context, size_t workers, const mio__shape *shape, const mio__images *images,
               const float *rows, void *x);
/** The way back; filling is dropped. */
void mio__unpack(mio_context *context, size_t workers, const mio__shape *shape, const mio__images *images,
                 const void *x, float *rows);
/**
 * Weights from PyTorch's layout (out, in, kernel, kernel) to ours: those of output channels [first, first + count),
 * which torch begins with. first: a multiple of 16; with 0, all filling of the tensor is written as 0.
 */
void mio__pack_weights(const mio__shape *input, const mio__shape *output, size_t kernel, size_t first, size_t count,
                       const float *torch, mio__real *weights);
/** The way back, of a whole tensor. */
void mio__unpack_weights(const mio__shape *input, const mio__shape *output, size_t kernel, const mio__real *weights,
                         float *torch);

#endif
