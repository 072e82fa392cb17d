#include "kernels/pool_vector.h"

/* The arrays are disjoint. Plain loops: the compiler makes vectors of them for each instruction set. */

static void maximum(size_t count, const mio__real *restrict x, mio__real *restrict y)
{
    for (size_t i = 0; i < count; i++)
        y[i] = x[i] > y[i] || x[i] != x[i] ? x[i] : y[i];
}

static void contest(size_t count, int first, mio__real tap, const mio__real *restrict x, mio__real *restrict best,
                    mio__real *restrict winner)
{
    if (first) {
        for (size_t i = 0; i < count; i++) {
            best[i] = x[i];
            winner[i] = tap;
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const int wins = x[i] > best[i] || x[i] != x[i];
        best[i] = wins ? x[i] : best[i];
        winner[i] = wins ? tap : winner[i];
    }
}

static void award(size_t count, mio__real tap, const mio__real *restrict winner, const mio__real *restrict dy,
                  mio__real *restrict dx)
{
    for (size_t i = 0; i < count; i++)
        dx[i] += winner[i] == tap ? dy[i] : 0;
}

const mio__pool_kernels MIO__VARIANT(mio__pool_loops) = {maximum, contest, award};
