#include "kernels/elementwise_vector.h"

#include "kernels/vector.h"

enum { WIDTH = MIO__VECTOR_WIDTH };

static void relu(size_t count, const mio__real *x, mio__real *y)
{
    size_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        mio__store(y + i, mio__relu(mio__load(x + i)));
    for (; i < count; i++)
        y[i] = x[i] <= 0 ? 0 : x[i];
}

static void relu_gradient(size_t count, const mio__real *y, const mio__real *dy, int accumulate, mio__real *dx)
{
    size_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH) {
        const mio__vector g = mio__select(mio__load(y + i) > 0, mio__load(dy + i));
        mio__store(dx + i, accumulate ? mio__load(dx + i) + g : g);
    }
    for (; i < count; i++) {
        const mio__real g = y[i] > 0 ? dy[i] : 0;
        dx[i] = accumulate ? dx[i] + g : g;
    }
}

static void add(size_t count, const mio__real *a, const mio__real *b, mio__real *y)
{
    size_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        mio__store(y + i, mio__load(a + i) + mio__load(b + i));
    for (; i < count; i++)
        y[i] = a[i] + b[i];
}

const mio__elementwise_kernels MIO__VARIANT(mio__elementwise_loops) = {relu, relu_gradient, add};
