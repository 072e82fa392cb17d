#include "kernels/polyphase_vector.h"

#include "kernels/vector.h"

/* F(4, 2): four outputs of two taps from five inputs by five products, of polynomials at the points 0, 1, -1, 2 and
   infinity. Each transform is a matrix, written out as sums, applied to columns, then to rows. */
#define INLINE static inline __attribute__((always_inline))

enum { POINTS = 5, OUTPUTS = 4, TAPS = 3, DOWN = MIO__SQUARE_POINTS, ACROSS = DOWN + POINTS, MIDDLE = ACROSS + POINTS };
enum { AHEAD = 64 };

/* Loads, and asks the next cache for what the same pixel needs soon: pixels are too many streams for the hardware. */
INLINE mio__vector load_ahead(const mio__real *pixel, size_t at)
{
    __builtin_prefetch(pixel + at + AHEAD, 0, 2);
    return mio__load(pixel + at);
}

/* B' d */
INLINE void input_line(const mio__vector *d, mio__vector *t)
{
    const mio__vector odd = d[3] - d[1], even = d[2] - d[0];
    t[0] = odd - 2 * even;
    t[1] = d[3] - 2 * d[1] - d[2];
    t[2] = d[3] + 2 * d[1] - 3 * d[2];
    t[3] = odd;
    t[4] = d[4] - d[2] - 2 * odd;
}

/* A' p */
INLINE void output_line(const mio__vector *p, mio__vector *y)
{
    const mio__vector sum = p[1] + p[2], difference = p[1] - p[2];
    y[0] = p[0] + sum + p[3];
    y[1] = difference + 2 * p[3];
    y[2] = sum + 4 * p[3];
    y[3] = difference + 8 * p[3] + p[4];
}

/* A d */
INLINE void gradient_line(const mio__vector *d, mio__vector *t)
{
    const mio__vector even = d[0] + d[2], odd = d[1] + d[3];
    t[0] = d[0];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = d[0] + 2 * d[1] + 4 * d[2] + 8 * d[3];
    t[4] = d[3];
}

/* G g */
INLINE void weights_line(mio__vector first, mio__vector second, mio__vector *t)
{
    t[0] = (mio__real)0.5 * first;
    t[1] = (mio__real)-0.5 * (first + second);
    t[2] = (mio__real)(-1 / 6.0) * (first - second);
    t[3] = (mio__real)(1 / 6.0) * (first + 2 * second);
    t[4] = second;
}

/* G' p */
INLINE void weights_gradient_line(const mio__vector *p, mio__vector *first, mio__vector *second)
{
    const mio__vector one = (mio__real)-0.5 * p[1], minus = (mio__real)(-1 / 6.0) * p[2],
                      two = (mio__real)(1 / 6.0) * p[3];
    *first = (mio__real)0.5 * p[0] + one + minus + two;
    *second = one - minus + 2 * two + p[4];
}

/* ---- pixels to points ---- */

static void square_input(const mio__real *const *pixels, size_t count, mio__real *points, size_t stride)
{
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector half[POINTS][POINTS], d[POINTS], t[POINTS];
#pragma GCC unroll 5
        for (int c = 0; c < POINTS; c++) {
#pragma GCC unroll 5
            for (int r = 0; r < POINTS; r++)
                d[r] = load_ahead(pixels[r * POINTS + c], i);
            input_line(d, t);
#pragma GCC unroll 5
            for (int r = 0; r < POINTS; r++)
                half[r][c] = t[r];
        }
#pragma GCC unroll 5
        for (int r = 0; r < POINTS; r++) {
            input_line(half[r], t);
#pragma GCC unroll 5
            for (int c = 0; c < POINTS; c++)
                mio__store(points + (size_t)(r * POINTS + c) * stride + i, t[c]);
        }
    }
}

static void line_input(const mio__real *const *pixels, size_t count, mio__real *points, size_t stride)
{
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector d[POINTS], t[POINTS];
#pragma GCC unroll 5
        for (int r = 0; r < POINTS; r++)
            d[r] = load_ahead(pixels[r], i);
        input_line(d, t);
#pragma GCC unroll 5
        for (int r = 0; r < POINTS; r++)
            mio__store(points + (size_t)r * stride + i, t[r]);
    }
}

static void square_gradient(const mio__real *const *pixels, size_t count, mio__real *points, size_t stride)
{
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector half[POINTS][OUTPUTS], d[OUTPUTS], t[POINTS];
#pragma GCC unroll 4
        for (int c = 0; c < OUTPUTS; c++) {
#pragma GCC unroll 4
            for (int r = 0; r < OUTPUTS; r++)
                d[r] = load_ahead(pixels[r * OUTPUTS + c], i);
            gradient_line(d, t);
#pragma GCC unroll 5
            for (int r = 0; r < POINTS; r++)
                half[r][c] = t[r];
        }
#pragma GCC unroll 5
        for (int r = 0; r < POINTS; r++) {
            gradient_line(half[r], t);
#pragma GCC unroll 5
            for (int c = 0; c < POINTS; c++)
                mio__store(points + (size_t)(r * POINTS + c) * stride + i, t[c]);
        }
    }
}

static void line_gradient(const mio__real *const *pixels, size_t count, mio__real *points, size_t stride)
{
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector d[OUTPUTS], t[POINTS];
#pragma GCC unroll 4
        for (int r = 0; r < OUTPUTS; r++)
            d[r] = load_ahead(pixels[r], i);
        gradient_line(d, t);
#pragma GCC unroll 5
        for (int r = 0; r < POINTS; r++)
            mio__store(points + (size_t)r * stride + i, t[r]);
    }
}

/* ---- points to pixels ---- */

INLINE void write(mio__real *to, mio__vector v, int accumulate)
{
    mio__store(to, accumulate ? mio__load(to) + v : v);
}

INLINE void square_pixels(const mio__real *points, size_t stride, size_t count, mio__real *const *pixels,
                          int accumulate)
{
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector half[OUTPUTS][POINTS], p[POINTS], y[OUTPUTS];
#pragma GCC unroll 5
        for (int c = 0; c < POINTS; c++) {
#pragma GCC unroll 5
            for (int r = 0; r < POINTS; r++)
                p[r] = mio__load(points + (size_t)(r * POINTS + c) * stride + i);
            output_line(p, y);
#pragma GCC unroll 4
            for (int r = 0; r < OUTPUTS; r++)
                half[r][c] = y[r];
        }
#pragma GCC unroll 4
        for (int r = 0; r < OUTPUTS; r++) {
            output_line(half[r], y);
#pragma GCC unroll 4
            for (int c = 0; c < OUTPUTS; c++)
                write(pixels[r * OUTPUTS + c] + i, y[c], accumulate);
        }
    }
}

INLINE void line_pixels(const mio__real *points, size_t stride, size_t count, mio__real *const *pixels, int accumulate)
{
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector p[POINTS], y[OUTPUTS];
#pragma GCC unroll 5
        for (int r = 0; r < POINTS; r++)
            p[r] = mio__load(points + (size_t)r * stride + i);
        output_line(p, y);
#pragma GCC unroll 4
        for (int r = 0; r < OUTPUTS; r++)
            write(pixels[r] + i, y[r], accumulate);
    }
}

static void square_output(const mio__real *points, size_t stride, size_t count, mio__real *const *pixels,
                          int accumulate)
{
    if (accumulate)
        square_pixels(points, stride, count, pixels, 1);
    else
        square_pixels(points, stride, count, pixels, 0);
}

static void line_output(const mio__real *points, size_t stride, size_t count, mio__real *const *pixels, int accumulate)
{
    if (accumulate)
        line_pixels(points, stride, count, pixels, 1);
    else
        line_pixels(points, stride, count, pixels, 0);
}

/* A line down the columns has the rows' points, so it joins the squares between their two steps. */
static void merged_output(const mio__real *squares, size_t square_stride, const mio__real *lines, size_t line_stride,
                          size_t count, mio__real *const *pixels)
{
    const mio__real *across = lines + POINTS * line_stride;
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector half[OUTPUTS][POINTS], p[POINTS], y[OUTPUTS], sum[OUTPUTS][OUTPUTS];
#pragma GCC unroll 5
        for (int r = 0; r < POINTS; r++) {
#pragma GCC unroll 5
            for (int c = 0; c < POINTS; c++)
                p[c] = mio__load(squares + (size_t)(r * POINTS + c) * square_stride + i);
            output_line(p, y);
#pragma GCC unroll 4
            for (int c = 0; c < OUTPUTS; c++)
                half[c][r] = y[c] + mio__load(lines + (size_t)r * line_stride + (size_t)c * count + i);
        }
#pragma GCC unroll 4
        for (int c = 0; c < OUTPUTS; c++) {
            output_line(half[c], y);
#pragma GCC unroll 4
            for (int r = 0; r < OUTPUTS; r++)
                sum[r][c] = y[r];
        }
#pragma GCC unroll 4
        for (int r = 0; r < OUTPUTS; r++) {
#pragma GCC unroll 5
            for (int c = 0; c < POINTS; c++)
                p[c] = mio__load(across + (size_t)c * line_stride + (size_t)r * count + i);
            output_line(p, y);
#pragma GCC unroll 4
            for (int c = 0; c < OUTPUTS; c++)
                write(pixels[r * OUTPUTS + c] + i, y[c] + sum[r][c], 1);
        }
    }
}

/* ---- weights ---- */

static void weights(const mio__real *taps, ptrdiff_t tap_stride, size_t count, mio__real *points, size_t stride)
{
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector w[TAPS][TAPS], left[POINTS], middle[POINTS], right[POINTS], t[POINTS];
        for (int r = 0; r < TAPS; r++)
            for (int c = 0; c < TAPS; c++)
                w[r][c] = mio__load(taps + (r * TAPS + c) * tap_stride + (ptrdiff_t)i);
        weights_line(w[0][0], w[2][0], left);
        weights_line(w[0][1], w[2][1], middle);
        weights_line(w[0][2], w[2][2], right);
        for (int r = 0; r < POINTS; r++) {
            weights_line(left[r], right[r], t);
            for (int c = 0; c < POINTS; c++)
                mio__store(points + (size_t)(r * POINTS + c) * stride + i, t[c]);
            mio__store(points + (size_t)(DOWN + r) * stride + i, middle[r]);
        }
        weights_line(w[1][0], w[1][2], t);
        for (int c = 0; c < POINTS; c++)
            mio__store(points + (size_t)(ACROSS + c) * stride + i, t[c]);
        mio__store(points + (size_t)MIDDLE * stride + i, w[1][1]);
    }
}

INLINE void taps_of(const mio__real *points, size_t stride, size_t count, mio__real *taps, size_t tap_stride,
                    int accumulate)
{
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector w[TAPS][TAPS], left[POINTS], middle[POINTS], right[POINTS], p[POINTS];
        for (int r = 0; r < POINTS; r++) {
            for (int c = 0; c < POINTS; c++)
                p[c] = mio__load(points + (size_t)(r * POINTS + c) * stride + i);
            weights_gradient_line(p, &left[r], &right[r]);
            middle[r] = mio__load(points + (size_t)(DOWN + r) * stride + i);
        }
        weights_gradient_line(left, &w[0][0], &w[2][0]);
        weights_gradient_line(middle, &w[0][1], &w[2][1]);
        weights_gradient_line(right, &w[0][2], &w[2][2]);
        for (int c = 0; c < POINTS; c++)
            p[c] = mio__load(points + (size_t)(ACROSS + c) * stride + i);
        weights_gradient_line(p, &w[1][0], &w[1][2]);
        w[1][1] = mio__load(points + (size_t)MIDDLE * stride + i);
        for (int r = 0; r < TAPS; r++)
            for (int c = 0; c < TAPS; c++)
                write(taps + (size_t)(r * TAPS + c) * tap_stride + i, w[r][c], accumulate);
    }
}

static void weights_gradient(const mio__real *points, size_t stride, size_t count, mio__real *taps, size_t tap_stride,
                             int accumulate)
{
    if (accumulate)
        taps_of(points, stride, count, taps, tap_stride, 1);
    else
        taps_of(points, stride, count, taps, tap_stride, 0);
}

const mio__polyphase_kernels MIO__VARIANT(mio__polyphase) = {
    square_input,    line_input,    square_output, line_output,      merged_output,
    square_gradient, line_gradient, weights,       weights_gradient,
};
