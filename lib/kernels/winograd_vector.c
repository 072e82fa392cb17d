#include "kernels/winograd_vector.h"

#include "kernels/vector.h"

/* Each transform is a matrix applied to the columns of a tile, then to its rows. The matrices are written out as sums;
   m is a constant wherever these are inlined. Lavin and Gray: Fast Algorithms for Convolutional Neural Networks.

   F(4 x 4) multiplies polynomials at the points 0, P, -P, Q, -Q and infinity. 1 and 2 take the fewest operations; what
   bf16 rounds between the transforms is amplified least, to less than half of that, near 5/8 and 3/2. */
#define INLINE static inline __attribute__((always_inline))

enum { POINTS = 6, TAPS = 3, AHEAD = 64 };

/* Registers of each pixel that one half of a transform takes before the other: a half has only one column or row of
   pixels in hand then. All of a tile's are so many, powers of two apart, that they share a few sets of the nearest
   cache: it loses a line before the next register of it is read. Registers as wide as a line have nothing to lose. */
enum { RUN = MIO__VECTOR_BYTES == 64 ? 1 : 8 };
typedef mio__vector halfway[POINTS][POINTS][RUN]; /* [row][column], the rows transformed */

#ifdef MIO_BF16
#define P ((mio__real)0.625)
#define Q ((mio__real)1.5)
#else
#define P ((mio__real)1)
#define Q ((mio__real)2)
#endif
#define P2 (P * P)
#define Q2 (Q * Q)
/* Reciprocals of the products of a point's distances from the other finite ones, the first without its sign. */
#define FACTOR_P ((mio__real)(1 / (2.0 * P2 * (Q2 - P2))))
#define FACTOR_Q ((mio__real)(1 / (2.0 * Q2 * (Q2 - P2))))

/* Loads, and asks for what the same pixel needs soon: pixels are so many streams that the hardware loses track, and
   powers of two apart, so the near cache cannot hold them ahead but the next one can. */
INLINE mio__vector load_ahead(const void *pixel, size_t at)
{
    const mio__stored *from = (const mio__stored *)pixel + at;
    __builtin_prefetch(from + AHEAD, 0, 2);
    return mio__load_stored(from);
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
    const mio__vector even = d[4] - Q2 * d[2], odd = P * (d[3] - Q2 * d[1]);
    const mio__vector even2 = d[4] - P2 * d[2], odd2 = Q * (d[3] - P2 * d[1]);
    t[0] = P2 * Q2 * d[0] - (P2 + Q2) * d[2] + d[4];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = even2 + odd2;
    t[4] = even2 - odd2;
    t[5] = P2 * Q2 * d[1] - (P2 + Q2) * d[3] + d[5];
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
    y[1] = P * difference + Q * difference2;
    y[2] = P2 * sum + Q2 * sum2;
    y[3] = P2 * P * difference + Q2 * Q * difference2 + p[5];
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
    const mio__vector even = d[0] + P2 * d[2], odd = P * d[1] + P2 * P * d[3];
    const mio__vector even2 = d[0] + Q2 * d[2], odd2 = Q * d[1] + Q2 * Q * d[3];
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
    if (m == 2) {
        const mio__vector ends = g[0] + g[2];
        t[0] = g[0];
        t[1] = (mio__real)0.5 * (ends + g[1]);
        t[2] = (mio__real)0.5 * (ends - g[1]);
        t[3] = g[2];
        return;
    }
    const mio__vector ends1 = g[0] + P2 * g[2], ends2 = g[0] + Q2 * g[2];
    t[0] = 1 / (P2 * Q2) * g[0];
    t[1] = -FACTOR_P * (ends1 + P * g[1]);
    t[2] = -FACTOR_P * (ends1 - P * g[1]);
    t[3] = FACTOR_Q * (ends2 + Q * g[1]);
    t[4] = FACTOR_Q * (ends2 - Q * g[1]);
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
    const mio__vector sum2 = p[3] + p[4], difference2 = p[3] - p[4];
    g[0] = 1 / (P2 * Q2) * p[0] - FACTOR_P * sum + FACTOR_Q * sum2;
    g[1] = Q * FACTOR_Q * difference2 - P * FACTOR_P * difference;
    g[2] = P2 * FACTOR_P * (sum2 - sum) + p[5];
}

INLINE void pixel_line(int m, int gradient, const mio__vector *d, mio__vector *t)
{
    if (gradient)
        gradient_line(m, d, t);
    else
        input_line(m, d, t);
}

/* B' d (gradient: A d) for `run` registers at `at` of the pixels of column c, `side` to a row. */
INLINE void down_column(int m, int gradient, int side, const void *const *pixels, size_t at, size_t run, int c,
                        halfway half)
{
    for (size_t k = 0; k < run; k++) {
        mio__vector d[POINTS], t[POINTS];
#pragma GCC unroll 6
        for (int r = 0; r < side; r++)
            d[r] = load_ahead(pixels[r * side + c], at + k * MIO__VECTOR_WIDTH);
        pixel_line(m, gradient, d, t);
#pragma GCC unroll 6
        for (int r = 0; r < m + 2; r++)
            half[r][c][k] = t[r];
    }
}

/* All columns. */
INLINE void down_pixels(int m, int gradient, const void *const *pixels, size_t at, size_t run, halfway half)
{
    const int side = gradient ? m : m + 2;
#pragma GCC unroll 6
    for (int c = 0; c < side; c++)
        down_column(m, gradient, side, pixels, at, run, c, half);
}

/* Row r of (B' d) B or (A d) A', register k. */
INLINE void across_row(int m, int gradient, halfway half, int r, size_t k, mio__vector *points)
{
    const int side = gradient ? m : m + 2;
    mio__vector d[POINTS];
#pragma GCC unroll 6
    for (int c = 0; c < side; c++)
        d[c] = half[r][c][k];
    pixel_line(m, gradient, d, points);
}

/* Registers of a run from register i on. */
INLINE size_t run_from(size_t i, size_t registers)
{
    return RUN == 1 || registers - i >= RUN ? RUN : registers - i;
}

/* Transformed tiles in order. */
INLINE void plain_tile(int m, int gradient, const void *const *pixels, size_t count, mio__stored *to, size_t stride)
{
    const size_t registers = count / MIO__VECTOR_WIDTH;
    const int n = m + 2;
    for (size_t i = 0; i < registers; i += RUN) {
        const size_t run = run_from(i, registers);
        halfway half;
        down_pixels(m, gradient, pixels, i * MIO__VECTOR_WIDTH, run, half);
#pragma GCC unroll 6
        for (int r = 0; r < n; r++)
            for (size_t k = 0; k < run; k++) {
                mio__vector t[POINTS];
                across_row(m, gradient, half, r, k, t);
#pragma GCC unroll 6
                for (int c = 0; c < n; c++)
                    mio__store_stored(to + (size_t)(r * n + c) * stride + (i + k) * MIO__VECTOR_WIDTH, t[c]);
            }
    }
}

#ifdef MIO_BF16
/* Transformed tiles in pairs of lanes. */
INLINE void column_tile(int m, int gradient, const void *const *pixels, size_t block, size_t count, mio__stored *to,
                        size_t stride)
{
    const int n = m + 2;
    for (size_t lane = 0; lane < count; lane += 2 * block)
        for (size_t c = 0; c < block; c += MIO__VECTOR_WIDTH) {
            halfway even, odd;
            down_pixels(m, gradient, pixels, lane + c, 1, even);
            down_pixels(m, gradient, pixels, lane + block + c, 1, odd);
#pragma GCC unroll 6
            for (int r = 0; r < n; r++) {
                mio__vector first[POINTS], second[POINTS];
                across_row(m, gradient, even, r, 0, first);
                across_row(m, gradient, odd, r, 0, second);
#pragma GCC unroll 6
                for (int p = 0; p < n; p++)
                    mio__store_pairs(to + (size_t)(r * n + p) * stride + lane + 2 * c, first[p], second[p]);
            }
        }
}
#else
INLINE void column_tile(int m, int gradient, const void *const *pixels, size_t block, size_t count, mio__stored *to,
                        size_t stride)
{
    (void)block;
    plain_tile(m, gradient, pixels, count, to, stride);
}
#endif

/* A' p for `run` registers of each point. */
INLINE void down_points(int m, const mio__real *points, size_t stride, size_t run, halfway half)
{
    const int n = m + 2;
#pragma GCC unroll 6
    for (int c = 0; c < n; c++)
        for (size_t k = 0; k < run; k++) {
            mio__vector p[POINTS], y[POINTS];
#pragma GCC unroll 6
            for (int r = 0; r < n; r++)
                p[r] = mio__load(points + (size_t)(r * n + c) * stride + k * MIO__VECTOR_WIDTH);
            output_line(m, p, y);
#pragma GCC unroll 6
            for (int r = 0; r < m; r++)
                half[r][c][k] = y[r];
        }
}

INLINE void output_tile(int m, const mio__real *points, size_t stride, size_t count, void *const *pixels,
                        int accumulate)
{
    const size_t registers = count / MIO__VECTOR_WIDTH;
    for (size_t i = 0; i < registers; i += RUN) {
        const size_t run = run_from(i, registers);
        halfway half;
        down_points(m, points + i * MIO__VECTOR_WIDTH, stride, run, half);
        for (int r = 0; r < m; r++)
            for (size_t k = 0; k < run; k++) {
                mio__vector p[POINTS], y[POINTS];
                for (int c = 0; c < m + 2; c++)
                    p[c] = half[r][c][k];
                output_line(m, p, y);
                for (int c = 0; c < m; c++) {
                    mio__stored *to = (mio__stored *)pixels[r * m + c] + (i + k) * MIO__VECTOR_WIDTH;
                    mio__store_stored(to, accumulate ? mio__load_stored(to) + y[c] : y[c]);
                }
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

static void input2(const void *const *pixels, size_t count, void *points, size_t stride)
{
    plain_tile(2, 0, pixels, count, points, stride);
}

static void input4(const void *const *pixels, size_t count, void *points, size_t stride)
{
    plain_tile(4, 0, pixels, count, points, stride);
}

static void input_columns2(const void *const *pixels, size_t block, size_t count, void *points, size_t stride)
{
    column_tile(2, 0, pixels, block, count, points, stride);
}

static void input_columns4(const void *const *pixels, size_t block, size_t count, void *points, size_t stride)
{
    column_tile(4, 0, pixels, block, count, points, stride);
}

static void output2(const mio__real *points, size_t stride, size_t count, void *const *pixels, int accumulate)
{
    if (accumulate)
        output_tile(2, points, stride, count, pixels, 1);
    else
        output_tile(2, points, stride, count, pixels, 0);
}

static void output4(const mio__real *points, size_t stride, size_t count, void *const *pixels, int accumulate)
{
    if (accumulate)
        output_tile(4, points, stride, count, pixels, 1);
    else
        output_tile(4, points, stride, count, pixels, 0);
}

static void gradient_columns2(const void *const *pixels, size_t block, size_t count, void *points, size_t stride)
{
    column_tile(2, 1, pixels, block, count, points, stride);
}

static void gradient_columns4(const void *const *pixels, size_t block, size_t count, void *points, size_t stride)
{
    column_tile(4, 1, pixels, block, count, points, stride);
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
    {input2, input_columns2, output2, gradient_columns2, weights2, weights_gradient2},
    {input4, input_columns4, output4, gradient_columns4, weights4, weights_gradient4},
};
