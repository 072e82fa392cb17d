#include "evaluate/knn_vector.h"

/* Similarities looked at together: two registers of the widest kind. */
enum { STRIP = 32 };

/* Soon hardly any similarity is high enough: strips without one are left at a glance. */
static int any_above(const float *similarities, float bound)
{
    int any = 0;
    for (size_t i = 0; i < STRIP; i++)
        any |= similarities[i] > bound;
    return any;
}

static size_t take_above(size_t count, const float *similarities, float bound, uint32_t first, mio__neighbour *list)
{
    size_t taken = 0, i = 0;
    while (i < count) {
        if (i + STRIP <= count && !any_above(similarities + i, bound)) {
            i += STRIP;
            continue;
        }
        /* Without a branch, which nothing could predict: one that is not taken is overwritten by the next. */
        for (const size_t end = count - i < STRIP ? count : i + STRIP; i < end; i++) {
            list[taken] = (mio__neighbour){similarities[i], first + (uint32_t)i};
            taken += similarities[i] > bound;
        }
    }
    return taken;
}

const mio__knn_kernels MIO__VARIANT(mio__knn_loops) = {take_above};
