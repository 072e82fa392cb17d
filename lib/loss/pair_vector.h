/* Inner loops of pair.c: rows of the batch, in double; and tiles of similarities, in the pass's type. */
#ifndef MIO_LOSS_PAIR_VECTOR_H
#define MIO_LOSS_PAIR_VECTOR_H

#include "kernels/variant.h"

#include <stddef.h>
#include <stdint.h>

enum {
    MIO__PAIR_LANES =
        16, /**< rows are padded with zeros to a multiple of this many elements, and tiles have such an edge */
    MIO__PAIR_EDGE = 64, /**< the largest edge of a tile */
};

/** The sum of exp(rate s) as exp(rate peak) x sum, peak the largest s. The narrow loops keep peak 0. */
typedef struct mio__log_sum {
    double peak, sum;
} mio__log_sum;

/** What a row adds to the weight of its pairs: factor x exp(rate s - shift), where exp(shift) is at least every
   exp(rate s) of the row; rounding beyond that is cut off. The narrow loops take shift as 0. */
typedef struct mio__row_weight {
    double factor, shift;
} mio__row_weight;

/**
 * Loops over an edge x edge tile, s[row][column] and weight[row][column]; excluded pairs have s = -infinity. `void` is
 * float in the narrow loops, which need |rate| <= MIO__PAIR_NARROW_RATE, and double in the wide ones, which take any
 * rate.
 */
typedef struct mio__tile_loops {
    /** weight = sigmoid(x), x = rate s + bias; returns the sum of log(1 + exp(x)). weight may be s. */
    double (*softplus)(size_t edge, double rate, double bias, const void *s, void *weight);
    /** The sum of a tile. */
    double (*sum)(size_t edge, const void *tile);
    /** Per column, the largest value above best, into best, and its row; the place of others stays. */
    void (*nearest)(size_t edge, const void *s, double *best, uint32_t *place);
    /** s = -infinity for the pairs of the first `columns` columns and `rows` rows that are of one class (same), or
        not. */
    void (*leave_out)(size_t edge, size_t columns, size_t rows, const uint32_t *of_column, const uint32_t *of_row,
                      int same, void *s);
    /** row = factor x softmax(rate row) over the first `columns` values, 0 from there to padded, a multiple of the
        lanes; returns the logarithm of the sum of exp(rate row). */
    double (*softmax)(size_t columns, size_t padded, double rate, double factor, void *row);
    /** weight = exp(rate s), which is added to the sums of columns. NULL in the wide loops: it may overflow. */
    void (*exponentials)(size_t edge, double rate, const void *s, mio__log_sum *columns, void *weight);
    /** Adds exp(rate s) to the sums of columns and rows; rows may be NULL. */
    void (*sums)(size_t edge, double rate, const void *s, mio__log_sum *columns, mio__log_sum *rows);
    /** weight (+)= what the column and the row give to each pair. */
    void (*weights)(size_t edge, double rate, const void *s, const mio__row_weight *columns,
                    const mio__row_weight *rows, int accumulate, void *weight);
} mio__tile_loops;

/** Up to this rate float similarities give gradients within 1e-6, and exp(+-rate) is well inside float's range. */
#define MIO__PAIR_NARROW_RATE 20.0

/** One GEMM in double: c[row][column] (+)= sum over k of b(row, k) a[k][column]. columns: a multiple of the lanes. */
typedef struct mio__wide_product {
    size_t columns, rows, inner;
    const double *a;
    size_t a_stride;
    const double *b;
    size_t b_row, b_inner; /* distances between rows and between inner indices of b */
    double *c;
    size_t c_stride;
    int accumulate;
} mio__wide_product;

typedef struct mio__pair_kernels {
    /** row = from. The padding is written as 0. */
    void (*read_float)(size_t dim, size_t width, const float *from, double *row);
    void (*read_double)(size_t dim, size_t width, const double *from, double *row);
    /** The largest magnitude, or NaN if a value is not finite. */
    double (*largest)(size_t width, const double *row);
    double (*dot)(size_t width, const double *a, const double *b);
    /** row *= first, then *= second. */
    void (*scale)(size_t width, double first, double second, double *row);
    /** sum += row. */
    void (*add)(size_t width, const double *row, double *sum);
    /** to[0..width) = row; column k of the transposed tile, stride elements apart, likewise, unless it is NULL. */
    void (*store_narrow)(size_t width, const double *row, float *to, float *transposed, size_t stride);
    void (*store_wide)(size_t width, const double *row, double *to, double *transposed, size_t stride);
    /** out = scale x from + weight x other. */
    void (*combine_narrow)(size_t width, double scale, const float *from, double weight, const double *other,
                           double *out);
    void (*combine_wide)(size_t width, double scale, const double *from, double weight, const double *other,
                         double *out);
    /** to = ((from - along x unit) x first) x second, held within the type's range. */
    void (*write_float)(size_t dim, const double *from, double along, const double *unit, double first, double second,
                        float *to);
    void (*write_double)(size_t dim, const double *from, double along, const double *unit, double first, double second,
                         double *to);
    void (*product)(const mio__wide_product *product);
    mio__tile_loops narrow, wide;
} mio__pair_kernels;

MIO__DECLARE_VARIANTS(mio__pair_kernels, mio__pair_loops);

#endif
