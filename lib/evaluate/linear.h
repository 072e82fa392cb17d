/* A linear classifier with softmax cross-entropy, as the probes and fine-tuning use it. */
#ifndef MIO_EVALUATE_LINEAR_H
#define MIO_EVALUATE_LINEAR_H

#include "core/context.h"
#include "core/random.h"
#include "kernels/gemm.h"

/** Rows that one logits GEMM takes. */
enum { MIO__LINEAR_ROWS = 64 };

/** logits = x weights + bias. Columns classes .. width-1 are filling: weights 0, logits without meaning. */
typedef struct mio__linear {
    mio_context *context; /* borrowed */
    size_t dim, classes;
    size_t width;   /* classes rounded up to a vector */
    float *weights; /* dim x width */
    float *bias;    /* width */
    mio__gemm gemm; /* MIO__LINEAR_ROWS x dim times dim x width */
} mio__linear;

/** Zero weights. On failure nothing is held. */
mio_status mio__linear_init(mio__linear *linear, mio_context *context, size_t dim, size_t classes);
/** A zeroed struct is accepted. */
void mio__linear_free(mio__linear *linear);
/** Uniform in +-1/sqrt(dim), as PyTorch's linear layer. */
void mio__linear_randomize(mio__linear *linear, mio__random *random);
void mio__linear_copy(mio__linear *to, const mio__linear *from);

/** x: MIO__LINEAR_ROWS x dim (rows to spare may hold anything finite); logits: MIO__LINEAR_ROWS x width, written. */
void mio__linear_logits(const mio__linear *linear, const float *x, float *logits);
/** Cross-entropy of one row; its logits become the gradient: softmax minus the label's 1, times scale, filling 0. */
double mio__linear_loss(const mio__linear *linear, int32_t label, double scale, float *logits);

/**
 * The gradients of the mean cross-entropy of count rows of x and their labels, by way of p, which gets those by the
 * logits: rows x width, rows a multiple of MIO__LINEAR_ROWS that covers count; x: rows x dim, finite beyond count.
 * gemm: mio__linear_gradient_gemm of these rows. weight_gradient: dim x width; bias_gradient: width.
 */
void mio__linear_gradients(const mio__linear *linear, const mio__gemm *gemm, size_t count, size_t rows, const float *x,
                           const int32_t *labels, float *p, float *weight_gradient, float *bias_gradient);
mio__gemm mio__linear_gradient_gemm(const mio__linear *linear, size_t rows);
int mio__linear_is_finite(const mio__linear *linear);

/** What is done to features before the classifier: (x - mean) / deviation. NULL arrays: nothing. */
typedef struct mio__scaling {
    const double *mean, *deviation;
} mio__scaling;

/** scaled: count x dim, scaled rows. */
void mio__scale_rows(const mio__scaling *scaling, size_t count, size_t dim, const float *rows, float *scaled);
/**
 * Classes (lowest of equals) and/or logits (count x classes) and/or the mean cross-entropy of count feature rows; each
 * of the outputs may be NULL, labels only with loss. Errors: MIO_ERROR_MEMORY.
 */
mio_status mio__linear_apply(const mio__linear *linear, const mio__scaling *scaling, size_t count, const float *rows,
                             const int32_t *labels, int32_t *predictions, float *logits, double *loss);

#endif
