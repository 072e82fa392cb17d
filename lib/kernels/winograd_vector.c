#include "kernels/winograd_vector.h"

#include "kernels/vector.h"

/* Each transform is a matrix applied to the columns of a tile, then to its rows. The matrices are written out as sums;
   m is a constant wherever these are inlined. Lavin and Gray: Fast Algorithms for Convolutional Neural Networks. */
#define INLINE static inline __attribute__((always_inline))

enum { POINTS = 6, TAPS = 3, AHEAD = 64 };

/* Loads, and asks for what the same pixel needs soon: pixels are so many streams that the hardware loses track, and
   powers of two apart, so the near cache cannot hold them ahead but the next one can. */
INLINE mio__vector load_ahead(const mio__real *from)
{
    __builtin_prefetch(from + AHEAD, 0, 2);
    return mio__load(from);
}

/* B' d */
INLINE void input_line(int m, const mio__vector *d, mio__vector *t)
{
    if (m == 2) {
        t[0] = d[0] - d[2];
        t[1] = d[1] + d[2];
        t[2] = d[2] - d[1];
        t[3] = d[1] - d[3];
        return;
    }
    const mio__vector even = d[4] - 4 * d[2], odd = d[3] - 4 * d[1];
    const mio__vector even2 = d[4] - d[2], odd2 = 2 * (d[3] - d[1]);
    t[0] = 4 * d[0] - 5 * d[2] + d[4];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = even2 + odd2;
    t[4] = even2 - odd2;
    t[5] = 4 * d[1] - 5 * d[3] + d[5];
}

/* A' p */
INLINE void output_line(int m, const mio__vector *p, mio__vector *y)
{
    const mio__vector sum = p[1] + p[2], difference = p[1] - p[2];
    if (m == 2) {
        y[0] = p[0] + sum;
        y[1] = difference - p[3];
        return;
    }
    const mio__vector sum2 = p[3] + p[4], difference2 = p[3] - p[4];
    y[0] = p[0] + sum + sum2;
    y[1] = difference + 2 * difference2;
    y[2] = sum + 4 * sum2;
    y[3] = difference + 8 * difference2 + p[5];
}

/* A d */
INLINE void gradient_line(int m, const mio__vector *d, mio__vector *t)
{
    if (m == 2) {
        t[0] = d[0];
        t[1] = d[0] + d[1];
        t[2] = d[0] - d[1];
        t[3] = -d[1];
        return;
    }
    const mio__vector even = d[0] + d[2], odd = d[1] + d[3];
    const mio__vector even2 = d[0] + 4 * d[2], odd2 = 2 * d[1] + 8 * d[3];
    t[0] = d[0];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = even2 + odd2;
    t[4] = even2 - odd2;
    t[5] = d[3];
}

/* G g */
INLINE void weights_line(int m, const mio__vector *g, mio__vector *t)
{
    const mio__vector ends = g[0] + g[2];
    if (m == 2) {
        t[0] = g[0];
        t[1] = (mio__real)0.5 * (ends + g[1]);
        t[2] = (mio__real)0.5 * (ends - g[1]);
        t[3] = g[2];
        return;
    }
    const mio__real sixth = (mio__real)(-1.0 / 6), small = (mio__real)(1.0 / 24);
    const mio__vector ends2 = g[0] + 4 * g[2];
    t[0] = (mio__real)0.25 * g[0];
    t[1] = sixth * (ends + g[1]);
    t[2] = sixth * (ends - g[1]);
    t[3] = small * (ends2 + 2 * g[1]);
    t[4] = small * (ends2 - 2 * g[1]);
    t[5] = g[2];
}

/* G' p */
INLINE void weights_gradient_line(int m, const mio__vector *p, mio__vector *g)
{
    const mio__vector sum = p[1] + p[2], difference = p[1] - p[2];
    if (m == 2) {
        g[0] = p[0] + (mio__real)0.5 * sum;
        g[1] = (mio__real)0.5 * difference;
        g[2] = (mio__real)0.5 * sum + p[3];
        return;
    }
    const mio__real sixth = (mio__real)(1.0 / 6), small = (mio__real)(1.0 / 24);
    const mio__vector sum2 = p[3] + p[4], difference2 = p[3] - p[4];
    g[0] = (mio__real)0.25 * p[0] - sixth * sum + small * sum2;
    g[1] = 2 * small * difference2 - sixth * difference;
    g[2] = sixth * (sum2 - sum) + p[5];
}

/* The largest of them: the compiler would not unroll it unasked. */
INLINE void input_tile(int m, const mio__real *const *pixels, size_t count, mio__real *points, size_t stride)
{
    const int n = m + 2;
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector half[POINTS][POINTS], d[POINTS], t[POINTS];
#pragma GCC unroll 6
        for (int c = 0; c < n; c++) {
#pragma GCC unroll 6
            for (int r = 0; r < n; r++)
                d[r] = load_ahead(pixels[r * n + c] + i);
            input_line(m, d, t);
#pragma GCC unroll 6
            for (int r = 0; r < n; r++)
                half[r][c] = t[r];
        }
#pragma GCC unroll 6
        for (int r = 0; r < n; r++) {
            input_line(m, half[r], t);
#pragma GCC unroll 6
            for (int c = 0; c < n; c++)
                mio__store(points + (size_t)(r * n + c) * stride + i, t[c]);
        }
    }
}

INLINE void output_tile(int m, const mio__real *points, size_t stride, size_t count, mio__real *const *pixels,
                        int accumulate)
{
    const int n = m + 2;
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector half[POINTS][POINTS], p[POINTS], y[POINTS];
        for (int c = 0; c < n; c++) {
            for (int r = 0; r < n; r++)
                p[r] = mio__load(points + (size_t)(r * n + c) * stride + i);
            output_line(m, p, y);
            for (int r = 0; r < m; r++)
                half[r][c] = y[r];
        }
        for (int r = 0; r < m; r++) {
            output_line(m, half[r], y);
            for (int c = 0; c < m; c++) {
                mio__real *to = pixels[r * m + c] + i;
                mio__store(to, accumulate ? mio__load(to) + y[c] : y[c]);
            }
        }
    }
}

INLINE void gradient_tile(int m, const mio__real *const *pixels, size_t count, mio__real *points, size_t stride)
{
    const int n = m + 2;
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector half[POINTS][POINTS], d[POINTS], t[POINTS];
        for (int c = 0; c < m; c++) {
            for (int r = 0; r < m; r++)
                d[r] = load_ahead(pixels[r * m + c] + i);
            gradient_line(m, d, t);
            for (int r = 0; r < n; r++)
                half[r][c] = t[r];
        }
        for (int r = 0; r < n; r++) {
            gradient_line(m, half[r], t);
            for (int c = 0; c < n; c++)
                mio__store(points + (size_t)(r * n + c) * stride + i, t[c]);
        }
    }
}

INLINE void weights_tile(int m, const mio__real *taps, ptrdiff_t tap_stride, size_t count, mio__real *points,
                         size_t stride)
{
    const int n = m + 2;
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector half[POINTS][TAPS], g[TAPS], t[POINTS];
        for (int c = 0; c < TAPS; c++) {
            for (int r = 0; r < TAPS; r++)
                g[r] = mio__load(taps + (r * TAPS + c) * tap_stride + i);
            weights_line(m, g, t);
            for (int r = 0; r < n; r++)
                half[r][c] = t[r];
        }
        for (int r = 0; r < n; r++) {
            weights_line(m, half[r], t);
            for (int c = 0; c < n; c++)
                mio__store(points + (size_t)(r * n + c) * stride + i, t[c]);
        }
    }
}

INLINE void weights_gradient_tile(int m, const mio__real *points, size_t stride, size_t count, mio__real *taps,
                                  size_t tap_stride, int accumulate)
{
    const int n = m + 2;
    for (size_t i = 0; i < count; i += MIO__VECTOR_WIDTH) {
        mio__vector half[TAPS][POINTS], p[POINTS], g[TAPS];
        for (int c = 0; c < n; c++) {
            for (int r = 0; r < n; r++)
                p[r] = mio__load(points + (size_t)(r * n + c) * stride + i);
            weights_gradient_line(m, p, g);
            for (int r = 0; r < TAPS; r++)
                half[r][c] = g[r];
        }
        for (int r = 0; r < TAPS; r++) {
            weights_gradient_line(m, half[r], g);
            for (int c = 0; c < TAPS; c++) {
                mio__real *to = taps + (size_t)(r * TAPS + c) * tap_stride + i;
                mio__store(to, accumulate ? mio__load(to) + g[c] : g[c]);
            }
        }
    }
}

/* ---- the same for m = 2 and m = 4 ---- */

static void input2(const mio__real *const *pixels, size_t count, mio__real *points, size_t stride)
{
    input_tile(2, pixels, count, points, stride);
}

static void input4(const mio__real *const *pixels, size_t count, mio__real *points, size_t stride)
{
    input_tile(4, pixels, count, points, stride);
}

static void output2(const mio__real *points, size_t stride, size_t count, mio__real *const *pixels, int accumulate)
{
    if (accumulate)
        output_tile(2, points, stride, count, pixels, 1);
    else
        output_tile(2, points, stride, count, pixels, 0);
}

static void output4(const mio__real *points, size_t stride, size_t count, mio__real *const *pixels, int accumulate)
{
    if (accumulate)
        output_tile(4, points, stride, count, pixels, 1);
    else
        output_tile(4, points, stride, count, pixels, 0);
}

static void gradient2(const mio__real *const *pixels, size_t count, mio__real *points, size_t stride)
{
    gradient_tile(2, pixels, count, points, stride);
}

static void gradient4(const mio__real *const *pixels, size_t count, mio__real *points, size_t stride)
{
    gradient_tile(4, pixels, count, points, stride);
}

static void weights2(const mio__real *taps, ptrdiff_t tap_stride, size_t count, mio__real *points, size_t stride)
{
    weights_tile(2, taps, tap_stride, count, points, stride);
}

static void weights4(const mio__real *taps, ptrdiff_t tap_stride, size_t count, mio__real *points, size_t stride)
{
    weights_tile(4, taps, tap_stride, count, points, stride);
}

static void weights_gradient2(const mio__real *points, size_t stride, size_t count, mio__real *taps, size_t tap_stride,
                              int accumulate)
{
    if (accumulate)
        weights_gradient_tile(2, points, stride, count, taps, tap_stride, 1);
    else
        weights_gradient_tile(2, points, stride, count, taps, tap_stride, 0);
}

static void weights_gradient4(const mio__real *points, size_t stride, size_t count, mio__real *taps, size_t tap_stride,
                              int accumulate)
{
    if (accumulate)
        weights_gradient_tile(4, points, stride, count, taps, tap_stride, 1);
    else
        weights_gradient_tile(4, points, stride, count, taps, tap_stride, 0);
}

const mio__winograd_kernels MIO__VARIANT(mio__winograd) = {
    {input2, output2, gradient2, weights2, weights_gradient2},
    {input4, output4, gradient4, weights4, weights_gradient4},
};
