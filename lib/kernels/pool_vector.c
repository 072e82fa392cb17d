#include "kernels/pool_vector.h"

#include "kernels/vector.h"

enum { WIDTH = MIO__VECTOR_WIDTH };

/* The arrays are disjoint. A pixel has 2^k x block values: whole registers, or fewer values than one register has. */

static inline __attribute__((always_inline)) mio__vector blend(mio__mask mask, mio__vector yes, mio__vector no)
{
    return (mio__vector)((mask & (mio__mask)yes) | (~mask & (mio__mask)no));
}

/* Both results of a window for one register of values. */
static inline __attribute__((always_inline)) void judge(const mio__pool_window *window, const mio__stored *x,
                                                        mio__vector *maximum, mio__vector *winner)
{
    mio__vector best = mio__load_stored(x), first = {0}, pixel = {0};
    for (size_t row = 0; row < window->rows; row++)
        for (size_t column = 0; column < window->columns; column++) {
            const mio__vector value = mio__load_stored(x + row * window->row_stride + column * window->column_stride);
            const mio__mask wins = (value > best) | (value != value);
            best = blend(wins, value, best);
            first = blend(wins, pixel, first);
            pixel += 1;
        }
    *maximum = best;
    *winner = first;
}

static void judge_one(const mio__pool_window *window, const mio__stored *x, mio__stored *maximum, mio__real *winner)
{
    *maximum = *x;
    *winner = 0;
    for (size_t row = 0; row < window->rows; row++)
        for (size_t column = 0; column < window->columns; column++) {
            const mio__stored stored = x[row * window->row_stride + column * window->column_stride];
            const mio__real value = mio__widen(stored);
            if (value > mio__widen(*maximum) || value != value) {
                *maximum = stored;
                *winner = (mio__real)(row * window->columns + column);
            }
        }
}

static void maximum(size_t count, const mio__pool_window *window, const void *from, void *to)
{
    const mio__stored *x = from;
    mio__stored *y = to;
    size_t i = 0;
    mio__vector best, first;
    mio__real pixel;
    for (; i + WIDTH <= count; i += WIDTH) {
        judge(window, x + i, &best, &first);
        mio__store_stored(y + i, best);
    }
    for (; i < count; i++)
        judge_one(window, x + i, y + i, &pixel);
}

static void winner(size_t count, const mio__pool_window *window, const void *from, mio__real *winners)
{
    const mio__stored *x = from;
    size_t i = 0;
    mio__vector best, first;
    mio__stored value;
    for (; i + WIDTH <= count; i += WIDTH) {
        judge(window, x + i, &best, &first);
        mio__store(winners + i, first);
    }
    for (; i < count; i++)
        judge_one(window, x + i, &value, winners + i);
}

static void award(size_t count, mio__real pixel, const mio__real *winners, const void *given, void *to)
{
    const mio__stored *dy = given;
    mio__stored *dx = to;
    size_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        mio__store_stored(dx + i, mio__load_stored(dx + i) +
                                      mio__select(mio__load(winners + i) == pixel, mio__load_stored(dy + i)));
    for (; i < count; i++)
        dx[i] = mio__narrow(mio__widen(dx[i]) + (winners[i] == pixel ? mio__widen(dy[i]) : 0));
}

static void sum(size_t count, const void *from, double *restrict sums)
{
    const mio__stored *restrict x = from;
    for (size_t i = 0; i < count; i++)
        sums[i] += (double)mio__widen(x[i]);
}

static void mean(size_t count, const double *restrict sums, double pixels, void *to)
{
    mio__stored *restrict y = to;
    for (size_t i = 0; i < count; i++)
        y[i] = mio__narrow((mio__real)(sums[i] / pixels));
}

static void spread(size_t count, mio__real share, const void *given, int accumulate, void *to)
{
    const mio__stored *restrict dy = given;
    mio__stored *restrict dx = to;
    for (size_t i = 0; i < count; i++)
        dx[i] = mio__narrow((accumulate ? mio__widen(dx[i]) : 0) + mio__widen(dy[i]) * share);
}

const mio__pool_kernels MIO__VARIANT(mio__pool_loops) = {maximum, winner, award, sum, mean, spread};
