/* Batch normalisation in the blocked layout, with what usually follows it: residual sum and ReLU. */
#ifndef MIO_KERNELS_BATCH_NORM_H
#define MIO_KERNELS_BATCH_NORM_H

#include "core/context.h"
#include "kernels/layout.h"
#include "kernels/real.h"

/** One batch norm. Tensors are stored in images' precision. Per-channel arrays have blocks x block elements (filling
    included), aligned to 64. */
typedef struct mio__batch_norm {
    mio__shape shape;
    mio__images images;
    double epsilon;  /* 1e-5 */
    double momentum; /* 0.1: weight of the new value in the running statistics */
    int relu;        /* y = max(0, ...) at the end */
} mio__batch_norm;

/** Bytes of scratch for so many workers. */
size_t mio__batch_norm_scratch_size(const mio__batch_norm *norm, size_t workers);

/**
 * Training: y = relu?(gamma (x - mean_v) rstd_v + beta + residual), statistics per view v over its real images and
 * pixels. mean, rstd: views x channels (filled up), written, kept for the backward pass. Running statistics are updated
 * once per view, in order, with torch's rule (unbiased variance). residual may be NULL. y may be x (then x is lost to
 * the backward pass). gamma and beta of filling channels are 0, and so y of filling channels is residual's, which is 0.
 * Numerics: sums over fixed pieces in a fixed binary tree, in double; independent of workers.
 */
void mio__batch_norm_forward(mio_context *context, size_t workers, void *scratch, const mio__batch_norm *norm,
                             const void *x, const void *residual, const mio__real *gamma, const mio__real *beta,
                             mio__real *mean, mio__real *rstd, mio__real *running_mean, mio__real *running_variance,
                             void *y);
/** Its factor of each channel in evaluation: gamma / sqrt(running_variance + epsilon), rounded once. */
void mio__batch_norm_scale(const mio__batch_norm *norm, const mio__real *gamma, const mio__real *running_variance,
                           mio__real *scale);
/** Evaluation: the same with the running statistics, which stay as they are. */
void mio__batch_norm_infer(mio_context *context, size_t workers, const mio__batch_norm *norm, const void *x,
                           const void *residual, const mio__real *gamma, const mio__real *beta,
                           const mio__real *running_mean, const mio__real *running_variance, void *y);
/**
 * Backward: with g = dy masked by y > 0 (if relu), dresidual (+)= g (NULL if there is none; dresidual_accumulate),
 * dgamma, dbeta overwritten (summed over views; both NULL if nobody wants them), dx overwritten: gradient through the
 * batch statistics of each view. Gradients of filling images are written as 0. dx may be dy. y is read only if relu. x
 * is the input of the forward pass.
 */
void mio__batch_norm_backward(mio_context *context, size_t workers, void *scratch, const mio__batch_norm *norm,
                              const void *x, const void *y, const void *dy, const mio__real *gamma,
                              const mio__real *mean, const mio__real *rstd, mio__real *dgamma, mio__real *dbeta,
                              void *dx, void *dresidual, int dresidual_accumulate);

#endif
