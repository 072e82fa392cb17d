/* The transforms of strided convolution by phases (polyphase.h), compiled once per instruction set. */
#ifndef MIO_KERNELS_POLYPHASE_VECTOR_H
#define MIO_KERNELS_POLYPHASE_VECTOR_H

#include "kernels/real.h"
#include "kernels/variant.h"

#include <stddef.h>

enum { MIO__SQUARE_POINTS = 25, MIO__LINE_POINTS = 5, MIO__PHASE_POINTS = 36 };

/**
 * Squares: 5 x 5 points of a tile's pixels where both axes have two taps. Lines: 5 points where one of them has. Every
 * function works on `count` numbers (a multiple of 16) at each position: the channels of the lanes of a pixel, or the
 * elements of a tap's matrix. Points are `stride` apart. Arrays overlap nowhere.
 */
typedef struct mio__polyphase_kernels {
    /** points = B' d B for 5 x 5 pixels, and B' d for 5. */
    void (*square_input)(const mio__real *const *pixels, size_t count, mio__real *points, size_t stride);
    void (*line_input)(const mio__real *const *pixels, size_t count, mio__real *points, size_t stride);
    /** pixels (+)= A' points A: 4 x 4 of them; and A' points: 4. */
    void (*square_output)(const mio__real *points, size_t stride, size_t count, mio__real *const *pixels,
                          int accumulate);
    void (*line_output)(const mio__real *points, size_t stride, size_t count, mio__real *const *pixels, int accumulate);
    /** 4 x 4 pixels += A' squares A + A' lines + lines A: 5 lines of 4 positions down the columns, 5 across the rows;
        a line's positions lie `count` apart, its points line_stride. */
    void (*merged_output)(const mio__real *squares, size_t square_stride, const mio__real *lines, size_t line_stride,
                          size_t count, mio__real *const *pixels);
    /** points = A d A' for 4 x 4 pixels of the output's gradient, and A d for 4. */
    void (*square_gradient)(const mio__real *const *pixels, size_t count, mio__real *points, size_t stride);
    void (*line_gradient)(const mio__real *const *pixels, size_t count, mio__real *points, size_t stride);
    /** 3 x 3 taps, tap_stride apart, to 25 square points, 5 lines down, 5 lines across and the middle tap. */
    void (*weights)(const mio__real *taps, ptrdiff_t tap_stride, size_t count, mio__real *points, size_t stride);
    /** Its transpose: taps (+)= what the points give. */
    void (*weights_gradient)(const mio__real *points, size_t stride, size_t count, mio__real *taps, size_t tap_stride,
                             int accumulate);
} mio__polyphase_kernels;

MIO__DECLARE_VARIANTS(mio__polyphase_kernels, mio__polyphase);

#endif
