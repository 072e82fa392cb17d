/* Images of another size than the encoder's, and their way from bytes to normalised floats. */
#ifndef MIO_NN_RESIZE_H
#define MIO_NN_RESIZE_H

#include "core/context.h"

/** For each output position along one axis, which inputs it is a weighted mean of. */
typedef struct mio__resize_axis {
    size_t input, output;
    size_t most;    /* weights kept for each position */
    size_t *first;  /* output: first input */
    size_t *count;  /* output: inputs, at most `most` */
    float *weights; /* output x most; each position's sum to 1 */
} mio__resize_axis;

/**
 * Bilinear with antialias: position i lies at (i + 0.5) input / output - 0.5; the weights are a triangle of half-width
 * max(1, input / output) about it. Errors: MIO_ERROR_MEMORY.
 */
mio_status mio__resize_axis_make(mio_context *context, size_t input, size_t output, mio__resize_axis *axis);
void mio__resize_axis_free(mio_context *context, mio__resize_axis *axis);

/**
 * One image: rows->input x columns->input x channels bytes, row_stride apart, to rows->output x columns->output x
 * channels floats in units of bytes. scratch: rows->input x columns->output x channels floats.
 */
void mio__resize(const mio__resize_axis *rows, const mio__resize_axis *columns, size_t channels, size_t row_stride,
                 const uint8_t *pixels, float *scratch, float *resized);

#endif
