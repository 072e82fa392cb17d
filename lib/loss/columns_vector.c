/* Written once for both types, 0 for float and 1 for double, which are constants wherever these are inlined. Loops over
   a block's columns are of a fixed length, so that the compiler turns them into vectors; each column's sum runs down
   its rows in order. */
#include "loss/columns_vector.h"

#include <float.h>
#include <string.h>

enum { COLUMNS = MIO__COLUMNS };

#define INLINE static inline __attribute__((always_inline))

INLINE double get(int wide, const void *array, size_t at)
{
    return wide ? ((const double *)array)[at] : (double)((const float *)array)[at];
}

INLINE void set(int wide, void *array, size_t at, double value)
{
    if (wide)
        ((double *)array)[at] = value;
    else
        ((float *)array)[at] = (float)value;
}

/* One row of a block, 0 from count on. */
INLINE void read_row(int wide, const mio__column_block *z, size_t row, double *to)
{
    if (z->count == COLUMNS) {
        for (size_t i = 0; i < COLUMNS; i++)
            to[i] = get(wide, z->at, row * z->stride + i);
        return;
    }
    for (size_t i = 0; i < COLUMNS; i++)
        to[i] = i < z->count ? get(wide, z->at, row * z->stride + i) : 0;
}

INLINE void measure(int wide, const mio__column_block *z, double *mean, double *square)
{
    double sum[COLUMNS] = {0}, middle[COLUMNS], deviations[COLUMNS] = {0}, x[COLUMNS];
    for (size_t b = 0; b < z->rows; b++) {
        read_row(wide, z, b, x);
        for (size_t i = 0; i < COLUMNS; i++)
            sum[i] += x[i];
    }
    for (size_t i = 0; i < COLUMNS; i++)
        middle[i] = sum[i] / (double)z->rows;
    for (size_t b = 0; b < z->rows; b++) {
        read_row(wide, z, b, x);
        for (size_t i = 0; i < COLUMNS; i++)
            deviations[i] += (x[i] - middle[i]) * (x[i] - middle[i]);
    }
    memcpy(mean, middle, sizeof middle);
    memcpy(square, deviations, sizeof deviations);
}

INLINE void standardize(int given, int made, const mio__column_block *z, const double *mean, const double *factor,
                        size_t width, void *to)
{
    double middle[COLUMNS], times[COLUMNS], x[COLUMNS];
    memcpy(middle, mean, sizeof middle);
    memcpy(times, factor, sizeof times);
    for (size_t b = 0; b < z->rows; b++) {
        read_row(given, z, b, x);
        for (size_t i = 0; i < COLUMNS; i++)
            set(made, to, b * width + i, (x[i] - middle[i]) * times[i]);
    }
}

INLINE void judge(int wide, size_t rows, double divisor, double weight, void *matrix, double *square)
{
    double sum[COLUMNS] = {0};
    const double share = 1 / divisor;
    for (size_t l = 0; l < rows; l++)
        for (size_t i = 0; i < COLUMNS; i++) {
            const double c = get(wide, matrix, l * COLUMNS + i) * share;
            sum[i] += c * c;
            set(wide, matrix, l * COLUMNS + i, weight * c);
        }
    memcpy(square, sum, sizeof sum);
}

INLINE double apart(int wide, const mio__column_block *z, const void *other)
{
    const mio__column_block against = {other, z->rows, z->count, z->stride};
    double sum[COLUMNS] = {0}, x[COLUMNS], y[COLUMNS], total = 0;
    for (size_t b = 0; b < z->rows; b++) {
        read_row(wide, z, b, x);
        read_row(wide, &against, b, y);
        for (size_t i = 0; i < COLUMNS; i++)
            sum[i] += (x[i] - y[i]) * (x[i] - y[i]);
    }
    for (size_t i = 0; i < COLUMNS; i++)
        total += sum[i];
    return total;
}

INLINE void write_row(int wide, size_t count, const double *row, void *to, size_t at)
{
    const double limit = wide ? DBL_MAX : FLT_MAX;
    for (size_t i = 0; i < count; i++)
        set(wide, to, at + i, row[i] > limit ? limit : row[i] < -limit ? -limit : row[i]);
}

INLINE void write(int given, int made, const mio__column_gradient *gradient, const mio__column_block *z,
                  const void *other, void *to)
{
    const mio__column_block against = {other, z->rows, z->count, z->stride};
    double of_product[COLUMNS], of_standard[COLUMNS], row[COLUMNS], x[COLUMNS], y[COLUMNS];
    const double of_difference = gradient->of_difference;
    memcpy(of_product, gradient->of_product, sizeof of_product);
    memcpy(of_standard, gradient->of_standard, sizeof of_standard);
    for (size_t b = 0; b < z->rows; b++) {
        for (size_t i = 0; i < COLUMNS; i++)
            row[i] = of_product[i] * get(made, gradient->product, b * COLUMNS + i) +
                     of_standard[i] * get(made, gradient->standard, b * gradient->width + i);
        if (of_difference != 0) {
            read_row(given, z, b, x);
            read_row(given, &against, b, y);
            for (size_t i = 0; i < COLUMNS; i++)
                row[i] += of_difference * (x[i] - y[i]);
        }
        if (z->count == COLUMNS)
            write_row(given, COLUMNS, row, to, b * z->stride);
        else
            write_row(given, z->count, row, to, b * z->stride);
    }
}

/* The loops for one type of z and gradients and one of the matrices in between. */
#define DEFINE_LOOPS(prefix, given, made)                                                                              \
    static void prefix##_measure(const mio__column_block *z, double *mean, double *square)                             \
    {                                                                                                                  \
        measure(given, z, mean, square);                                                                               \
    }                                                                                                                  \
    static void prefix##_standardize(const mio__column_block *z, const double *mean, const double *factor,             \
                                     size_t width, void *to)                                                           \
    {                                                                                                                  \
        standardize(given, made, z, mean, factor, width, to);                                                          \
    }                                                                                                                  \
    static void prefix##_judge(size_t rows, double divisor, double weight, void *matrix, double *square)               \
    {                                                                                                                  \
        judge(made, rows, divisor, weight, matrix, square);                                                            \
    }                                                                                                                  \
    static double prefix##_apart(const mio__column_block *z, const void *other)                                        \
    {                                                                                                                  \
        return apart(given, z, other);                                                                                 \
    }                                                                                                                  \
    static void prefix##_write(const mio__column_gradient *gradient, const mio__column_block *z, const void *other,    \
                               void *to)                                                                               \
    {                                                                                                                  \
        write(given, made, gradient, z, other, to);                                                                    \
    }

DEFINE_LOOPS(narrow, 0, 0)
DEFINE_LOOPS(mixed, 0, 1)
DEFINE_LOOPS(wide, 1, 1)

#define LOOPS(prefix)                                                                                                  \
    {                                                                                                                  \
        prefix##_measure, prefix##_standardize, prefix##_judge, prefix##_apart, prefix##_write                         \
    }

const mio__column_kernels MIO__VARIANT(mio__column_loops_of) = {LOOPS(narrow), LOOPS(mixed), LOOPS(wide)};
