#include "kernels/elementwise_vector.h"

#include "kernels/vector.h"

enum { WIDTH = MIO__VECTOR_WIDTH };

static void relu(size_t count, const void *from, void *to)
{
    const mio__stored *x = from;
    mio__stored *y = to;
    size_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        mio__store_stored(y + i, mio__relu(mio__load_stored(x + i)));
    for (; i < count; i++)
        y[i] = mio__widen(x[i]) <= 0 ? 0 : x[i];
}

static void relu_gradient(size_t count, const void *result, const void *given, int accumulate, void *to)
{
    const mio__stored *y = result, *dy = given;
    mio__stored *dx = to;
    size_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH) {
        const mio__vector g = mio__select(mio__load_stored(y + i) > 0, mio__load_stored(dy + i));
        mio__store_stored(dx + i, accumulate ? mio__load_stored(dx + i) + g : g);
    }
    for (; i < count; i++) {
        const mio__real g = mio__widen(y[i]) > 0 ? mio__widen(dy[i]) : 0;
        dx[i] = mio__narrow(accumulate ? mio__widen(dx[i]) + g : g);
    }
}

static void add(size_t count, const void *first, const void *second, void *to)
{
    const mio__stored *a = first, *b = second;
    mio__stored *y = to;
    size_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        mio__store_stored(y + i, mio__load_stored(a + i) + mio__load_stored(b + i));
    for (; i < count; i++)
        y[i] = mio__narrow(mio__widen(a[i]) + mio__widen(b[i]));
}

static void add_bias(size_t rows, size_t width, const mio__real *bias, void *to)
{
    mio__stored *y = to;
    for (size_t row = 0; row < rows; row++)
        for (size_t c = 0; c < width; c++)
            y[row * width + c] = mio__narrow(mio__widen(y[row * width + c]) + bias[c]);
}

static void sum_rows(size_t rows, size_t width, const void *from, double *sums)
{
    const mio__stored *x = from;
    for (size_t row = 0; row < rows; row++)
        for (size_t c = 0; c < width; c++)
            sums[c] += (double)mio__widen(x[row * width + c]);
}

/* channels and width are constants where it matters. */
static inline __attribute__((always_inline)) void pack_rows(size_t rows, size_t channels, size_t width, size_t from_row,
                                                            size_t to_row, const float *from, mio__stored *to)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t c = 0; c < width; c++)
            to[row * to_row + c] = c < channels ? mio__narrow(from[row * from_row + c]) : 0;
}

static void pack(size_t rows, size_t channels, size_t width, size_t from_row, size_t to_row, const float *from,
                 void *to)
{
    if (channels == 3 && width == 4)
        pack_rows(rows, 3, 4, from_row, to_row, from, to);
    else
        pack_rows(rows, channels, width, from_row, to_row, from, to);
}

static void unpack(size_t rows, size_t channels, size_t from_row, size_t to_row, const void *stored, float *to)
{
    const mio__stored *from = stored;
    for (size_t row = 0; row < rows; row++)
        for (size_t c = 0; c < channels; c++)
            to[row * to_row + c] = (float)mio__widen(from[row * from_row + c]);
}

const mio__elementwise_kernels MIO__VARIANT(mio__elementwise_loops) = {relu,     relu_gradient, add,   add_bias,
                                                                       sum_rows, pack,          unpack};
