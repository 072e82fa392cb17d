/* The loops over pixels that a view is made with, compiled once per instruction set. Planes are `count` floats, one
   channel each; byte rows are interleaved. Pointers need only their element's alignment; arguments do not overlap
   unless said. */
#ifndef MIO_DATA_AUGMENT_KERNELS_H
#define MIO_DATA_AUGMENT_KERNELS_H

#include "kernels/variant.h"

#include <stddef.h>
#include <stdint.h>

/** Two places of a row, in elements, and their weights: one output pixel of a linear interpolation. */
typedef struct mio__tap {
    size_t first, second;
    float first_weight, second_weight;
} mio__tap;

/** A stretch of a row, in pixels, and its weights: one output pixel of an antialiased interpolation. */
typedef struct mio__span {
    size_t start, count;
    const float *weights;
} mio__span;

typedef struct mio__augment_kernels {
    /* ---- resampling; rows that are gathered from may be read 3 floats past their end, and the outputs of
       gather and gather_span written so, where channels is 3 ---- */

    /** out = weight_a a + weight_b b over bytes. a and b may be the same row. */
    void (*mix_bytes)(size_t count, const uint8_t *a, float weight_a, const uint8_t *b, float weight_b, float *out);
    /** out += weight a over bytes. */
    void (*add_bytes)(size_t count, const uint8_t *a, float weight, float *out);
    /** Interpolates an interleaved row: out is width x channels. */
    void (*gather)(size_t width, size_t channels, const mio__tap *taps, const float *row, float *out);
    void (*gather_span)(size_t width, size_t channels, const mio__span *spans, const float *row, float *out);
    /** Interleaved row to the planes planes[c x stride + i]. */
    void (*split)(size_t width, size_t channels, const float *row, float *planes, size_t stride);

    /* ---- colour ---- */

    /** plane = plane factor + offset, limited to [0, 1]. */
    void (*scale)(size_t count, float *plane, float factor, float offset);
    /** plane = factor plane + (1 - factor) other, limited to [0, 1]. */
    void (*blend)(size_t count, float *plane, float factor, const float *other);
    /** The grey of red, green and blue, by the weights of ITU-R 601. */
    void (*luma)(size_t count, const float *red, const float *green, const float *blue, float *grey);
    /** Sum in a fixed order, the same for every instruction set. */
    double (*sum)(size_t count, const float *plane);
    /** Turns the hue by shift, -0.5 .. 0.5 of the circle. */
    void (*hue)(size_t count, float *red, float *green, float *blue, float shift);
    /** 1 - x where x >= threshold. */
    void (*solarize)(size_t count, float *plane, float threshold);

    /* ---- filter and output ---- */

    /** out = the sum over j < terms of weights[j] rows[j]; the rows may overlap each other. */
    void (*combine)(size_t count, size_t terms, const float *const *rows, const float *weights, float *out);
    /** out[i x channels + c] = planes[c x stride + i] scale[c] + shift[c]. */
    void (*join)(size_t count, size_t channels, const float *planes, size_t stride, const float *scale,
                 const float *shift, float *out);
} mio__augment_kernels;

MIO__DECLARE_VARIANTS(mio__augment_kernels, mio__augment_kernels);

#endif
