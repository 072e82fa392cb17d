#include "kernels/batch_norm_vector.h"

#include "kernels/vector.h"

/* A strip is 1, 2 or 4 registers of a row: a constant in each call, so that its arrays become registers. */
#define STRIP static inline __attribute__((always_inline)) void
enum { WIDTH = MIO__VECTOR_WIDTH, STRIP_LIMIT = 4 };
/* Rows that are summed in mio__real before the sum moves to double: keeps the rounding error near one addition's. */
enum { SUM_ROWS = 64 };

static size_t strip_vectors(size_t block)
{
    const size_t vectors = block / WIDTH;
    return vectors < STRIP_LIMIT ? vectors : STRIP_LIMIT;
}

STRIP add_to_doubles(size_t vectors, const mio__vector *values, double *sums)
{
    for (size_t v = 0; v < vectors; v++)
        for (size_t i = 0; i < WIDTH; i++)
            sums[v * WIDTH + i] += (double)values[v][i];
}

/* ---- sums ---- */

static void sums(size_t rows, size_t block, const void *values, double *sum)
{
    const mio__stored *x = values;
    for (size_t row = 0; row < rows; row++)
        for (size_t c = 0; c < block; c++)
            sum[c] += (double)mio__widen(x[row * block + c]);
}

/* ---- moments ---- */

STRIP moments_strip(size_t vectors, size_t rows, size_t block, const mio__real *shift, const mio__stored *x,
                    double *sum, double *square)
{
    mio__vector shifts[STRIP_LIMIT];
    for (size_t v = 0; v < vectors; v++)
        shifts[v] = mio__load(shift + v * WIDTH);
    for (size_t start = 0; start < rows; start += SUM_ROWS) {
        const size_t stop = rows - start < SUM_ROWS ? rows : start + SUM_ROWS;
        mio__vector sums[STRIP_LIMIT] = {{0}}, squares[STRIP_LIMIT] = {{0}};
        for (size_t row = start; row < stop; row++)
            for (size_t v = 0; v < vectors; v++) {
                const mio__vector d = mio__load_stored(x + row * block + v * WIDTH) - shifts[v];
                sums[v] += d;
                squares[v] += d * d;
            }
        add_to_doubles(vectors, sums, sum);
        add_to_doubles(vectors, squares, square);
    }
}

static void moments(size_t rows, size_t block, const mio__real *shift, const void *values, double *sum, double *square)
{
    const mio__stored *x = values;
    const size_t vectors = strip_vectors(block);
    if (!vectors) {
        for (size_t row = 0; row < rows; row++)
            for (size_t c = 0; c < block; c++) {
                const double d = (double)mio__widen(x[row * block + c]) - (double)shift[c];
                sum[c] += d;
                square[c] += d * d;
            }
        return;
    }
    for (size_t c = 0; c < block; c += vectors * WIDTH)
        if (vectors == 4)
            moments_strip(4, rows, block, shift + c, x + c, sum + c, square + c);
        else if (vectors == 2)
            moments_strip(2, rows, block, shift + c, x + c, sum + c, square + c);
        else
            moments_strip(1, rows, block, shift + c, x + c, sum + c, square + c);
}

/* ---- normalize ---- */

STRIP normalize_strip(size_t vectors, size_t rows, size_t block, const mio__real *mean, const mio__real *scale,
                      const mio__real *beta, const mio__stored *x, const mio__stored *residual, int relu,
                      mio__stored *y)
{
    mio__vector means[STRIP_LIMIT], scales[STRIP_LIMIT], betas[STRIP_LIMIT];
    for (size_t v = 0; v < vectors; v++) {
        means[v] = mio__load(mean + v * WIDTH);
        scales[v] = mio__load(scale + v * WIDTH);
        betas[v] = mio__load(beta + v * WIDTH);
    }
    for (size_t row = 0; row < rows; row++)
        for (size_t v = 0; v < vectors; v++) {
            const size_t at = row * block + v * WIDTH;
            mio__vector value = (mio__load_stored(x + at) - means[v]) * scales[v] + betas[v];
            if (residual)
                value += mio__load_stored(residual + at);
            mio__store_stored(y + at, relu ? mio__relu(value) : value);
        }
}

static void normalize_narrow(size_t rows, size_t block, const mio__real *mean, const mio__real *scale,
                             const mio__real *beta, const mio__stored *x, const mio__stored *residual, int relu,
                             mio__stored *y)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t c = 0; c < block; c++) {
            const size_t at = row * block + c;
            const mio__real more = residual ? mio__widen(residual[at]) : 0;
            const mio__real value = (mio__widen(x[at]) - mean[c]) * scale[c] + beta[c] + more;
            y[at] = mio__narrow(relu && value <= 0 ? 0 : value);
        }
}

static void normalize(size_t rows, size_t block, const mio__real *mean, const mio__real *scale, const mio__real *beta,
                      const void *input, const void *other, int relu, void *output)
{
    const mio__stored *x = input, *residual = other;
    mio__stored *y = output;
    const size_t vectors = strip_vectors(block);
    if (!vectors) {
        normalize_narrow(rows, block, mean, scale, beta, x, residual, relu, y);
        return;
    }
    for (size_t c = 0; c < block; c += vectors * WIDTH) {
        const mio__stored *more = residual ? residual + c : NULL;
        if (vectors == 4)
            normalize_strip(4, rows, block, mean + c, scale + c, beta + c, x + c, more, relu, y + c);
        else if (vectors == 2)
            normalize_strip(2, rows, block, mean + c, scale + c, beta + c, x + c, more, relu, y + c);
        else
            normalize_strip(1, rows, block, mean + c, scale + c, beta + c, x + c, more, relu, y + c);
    }
}

/* ---- gradient sums ---- */

STRIP gradient_sums_strip(size_t vectors, size_t rows, size_t block, const mio__real *mean, const mio__stored *x,
                          const mio__stored *y, const mio__stored *dy, mio__stored *masked, double *sum,
                          double *product)
{
    mio__vector means[STRIP_LIMIT];
    for (size_t v = 0; v < vectors; v++)
        means[v] = mio__load(mean + v * WIDTH);
    for (size_t start = 0; start < rows; start += SUM_ROWS) {
        const size_t stop = rows - start < SUM_ROWS ? rows : start + SUM_ROWS;
        mio__vector sums[STRIP_LIMIT] = {{0}}, products[STRIP_LIMIT] = {{0}};
        for (size_t row = start; row < stop; row++)
            for (size_t v = 0; v < vectors; v++) {
                const size_t at = row * block + v * WIDTH;
                mio__vector g = mio__load_stored(dy + at);
                if (y)
                    g = mio__select(mio__load_stored(y + at) > 0, g);
                if (masked)
                    mio__store_stored(masked + at, g);
                sums[v] += g;
                products[v] += g * (mio__load_stored(x + at) - means[v]);
            }
        add_to_doubles(vectors, sums, sum);
        add_to_doubles(vectors, products, product);
    }
}

static void gradient_sums(size_t rows, size_t block, const mio__real *mean, const void *input, const void *result,
                          const void *given, void *kept, double *sum, double *product)
{
    const mio__stored *x = input, *y = result, *dy = given;
    mio__stored *masked = kept;
    const size_t vectors = strip_vectors(block);
    if (!vectors) {
        for (size_t at = 0; at < rows * block; at++) {
            const size_t c = at % block;
            const mio__real g = !y || mio__widen(y[at]) > 0 ? mio__widen(dy[at]) : 0;
            if (masked)
                masked[at] = mio__narrow(g);
            sum[c] += (double)g;
            product[c] += (double)g * ((double)mio__widen(x[at]) - (double)mean[c]);
        }
        return;
    }
    for (size_t c = 0; c < block; c += vectors * WIDTH) {
        const mio__stored *output = y ? y + c : NULL;
        mio__stored *more = masked ? masked + c : NULL;
        if (vectors == 4)
            gradient_sums_strip(4, rows, block, mean + c, x + c, output, dy + c, more, sum + c, product + c);
        else if (vectors == 2)
            gradient_sums_strip(2, rows, block, mean + c, x + c, output, dy + c, more, sum + c, product + c);
        else
            gradient_sums_strip(1, rows, block, mean + c, x + c, output, dy + c, more, sum + c, product + c);
    }
}

/* ---- gradient ---- */

STRIP gradient_strip(size_t vectors, size_t rows, size_t block, const mio__real *mean, const mio__real *scale,
                     const mio__real *offset, const mio__real *slope, const mio__stored *x, const mio__stored *y,
                     const mio__stored *dy, mio__stored *dx, mio__stored *dresidual, int accumulate)
{
    mio__vector means[STRIP_LIMIT], scales[STRIP_LIMIT], offsets[STRIP_LIMIT], slopes[STRIP_LIMIT];
    for (size_t v = 0; v < vectors; v++) {
        means[v] = mio__load(mean + v * WIDTH);
        scales[v] = mio__load(scale + v * WIDTH);
        offsets[v] = mio__load(offset + v * WIDTH);
        slopes[v] = mio__load(slope + v * WIDTH);
    }
    for (size_t row = 0; row < rows; row++)
        for (size_t v = 0; v < vectors; v++) {
            const size_t at = row * block + v * WIDTH;
            mio__vector g = mio__load_stored(dy + at);
            if (y)
                g = mio__select(mio__load_stored(y + at) > 0, g);
            const mio__vector centred = mio__load_stored(x + at) - means[v];
            if (dresidual)
                mio__store_stored(dresidual + at, accumulate ? mio__load_stored(dresidual + at) + g : g);
            mio__store_stored(dx + at, scales[v] * g - offsets[v] - slopes[v] * centred);
        }
}

static void gradient_narrow(size_t rows, size_t block, const mio__real *mean, const mio__real *scale,
                            const mio__real *offset, const mio__real *slope, const mio__stored *x, const mio__stored *y,
                            const mio__stored *dy, mio__stored *dx, mio__stored *dresidual, int accumulate)
{
    for (size_t at = 0; at < rows * block; at++) {
        const size_t c = at % block;
        const mio__real g = !y || mio__widen(y[at]) > 0 ? mio__widen(dy[at]) : 0;
        const mio__real centred = mio__widen(x[at]) - mean[c];
        if (dresidual)
            dresidual[at] = mio__narrow(accumulate ? mio__widen(dresidual[at]) + g : g);
        dx[at] = mio__narrow(scale[c] * g - offset[c] - slope[c] * centred);
    }
}

static void gradient(size_t rows, size_t block, const mio__real *mean, const mio__real *scale, const mio__real *offset,
                     const mio__real *slope, const void *input, const void *result, const void *given, void *made,
                     void *other, int accumulate)
{
    const mio__stored *x = input, *y = result, *dy = given;
    mio__stored *dx = made, *dresidual = other;
    const size_t vectors = strip_vectors(block);
    if (!vectors) {
        gradient_narrow(rows, block, mean, scale, offset, slope, x, y, dy, dx, dresidual, accumulate);
        return;
    }
    for (size_t c = 0; c < block; c += vectors * WIDTH) {
        const mio__stored *output = y ? y + c : NULL;
        mio__stored *more = dresidual ? dresidual + c : NULL;
        if (vectors == 4)
            gradient_strip(4, rows, block, mean + c, scale + c, offset + c, slope + c, x + c, output, dy + c, dx + c,
                           more, accumulate);
        else if (vectors == 2)
            gradient_strip(2, rows, block, mean + c, scale + c, offset + c, slope + c, x + c, output, dy + c, dx + c,
                           more, accumulate);
        else
            gradient_strip(1, rows, block, mean + c, scale + c, offset + c, slope + c, x + c, output, dy + c, dx + c,
                           more, accumulate);
    }
}

const mio__batch_norm_kernels MIO__VARIANT(mio__batch_norm_loops) = {sums, moments, normalize, gradient_sums, gradient};
