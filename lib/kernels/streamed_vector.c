#include "kernels/streamed_vector.h"

#include "kernels/vector.h"

#define INLINE static inline __attribute__((always_inline))

/* Registers of a column of C, and columns at a time: 12 sums hide the latency of multiply-add. */
enum { VECTORS = 2, COLUMNS = 6 };

/* One block of A against one of B, and what is asked for meanwhile, `pace` numbers further at each summand. */
typedef struct piece {
    size_t m, k;
    const mio__real *a, *b;
    mio__real *c;
    const mio__real *ahead;
    size_t pace;
    int add; /* to C; else C is written */
} piece;

/* columns x vectors registers of C at row `row` and column `first`; both are constants. */
INLINE void tile(int vectors, int columns, const piece *p, size_t row, size_t first, const mio__real *ahead)
{
    mio__vector sums[COLUMNS][VECTORS];
    mio__real *c = p->c + first * p->m + row;
#pragma GCC unroll 6
    for (int j = 0; j < columns; j++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            sums[j][v] = p->add ? mio__load(c + (size_t)j * p->m + v * MIO__VECTOR_WIDTH) : (mio__vector){0};
    const mio__real *left = p->a + row, *right = p->b + first * p->k;
    for (size_t i = 0; i < p->k; i++, left += p->m, right++, ahead += p->pace) {
        mio__vector x[VECTORS];
        __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            x[v] = mio__load(left + v * MIO__VECTOR_WIDTH);
#pragma GCC unroll 6
        for (int j = 0; j < columns; j++)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sums[j][v] += x[v] * right[(size_t)j * p->k];
    }
#pragma GCC unroll 6
    for (int j = 0; j < columns; j++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            mio__store(c + (size_t)j * p->m + v * MIO__VECTOR_WIDTH, sums[j][v]);
}

#define CASE(columns)                                                                                                  \
    case columns: tile(vectors, columns, p, row, first, ahead); break

/* All columns of `vectors` registers, in nearly equal tiles, each asking for its share of as many rows of the next
   A. */
INLINE void strip(int vectors, piece *p, size_t n, size_t row)
{
    const size_t tiles = (n + COLUMNS - 1) / COLUMNS, rows = (size_t)vectors * MIO__VECTOR_WIDTH;
    const mio__real *ahead = p->ahead + row * p->k;
    p->pace = (rows + tiles - 1) / tiles;
    for (size_t t = 0; t < tiles; t++, ahead += p->pace * p->k) {
        const size_t first = t * n / tiles;
        switch ((t + 1) * n / tiles - first) {
            CASE(1);
            CASE(2);
            CASE(3);
            CASE(4);
            CASE(5);
            CASE(6);
        }
    }
}

static void multiply(size_t m, size_t n, size_t k, const mio__real *const *a, const mio__real *const *b, mio__real *c,
                     size_t count)
{
    enum { ROWS = VECTORS * MIO__VECTOR_WIDTH };
    for (size_t r = 0; r < count; r++) {
        piece p = {m, k, a[r], b[r], c, r + 1 < count ? a[r + 1] : a[r] + m * k, 0, r > 0};
        size_t row = 0;
        for (; row + ROWS <= m; row += ROWS)
            strip(VECTORS, &p, n, row);
        for (; row < m; row += MIO__VECTOR_WIDTH)
            strip(1, &p, n, row);
    }
}

const mio__streamed_kernels MIO__VARIANT(mio__streamed) = {multiply};
