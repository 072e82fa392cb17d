/* Plain loops of a fixed length, which the compiler turns into vectors of its instruction set; sums keep one partial
   sum per lane, so that their order is written here and not left to the compiler. */
#include "loss/pair_vector.h"

#include "kernels/vector.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = MIO__PAIR_LANES };

/* ---- rows ---- */

static double sum_of_lanes(const double lanes[LANES])
{
    double half[LANES / 2];
    for (size_t i = 0; i < LANES / 2; i++)
        half[i] = lanes[i] + lanes[i + LANES / 2];
    return ((half[0] + half[1]) + (half[2] + half[3])) + ((half[4] + half[5]) + (half[6] + half[7]));
}

/* x - x is 0 for finite x and NaN otherwise. */
static double largest(size_t width, const double *row)
{
    double most[LANES] = {0}, broken[LANES] = {0};
    for (size_t k = 0; k < width; k += LANES)
        for (size_t i = 0; i < LANES; i++) {
            const double x = fabs(row[k + i]);
            most[i] = x > most[i] ? x : most[i];
            broken[i] += x - x;
        }
    double result = 0;
    for (size_t i = 0; i < LANES; i++)
        result = most[i] > result ? most[i] : result;
    return result + sum_of_lanes(broken);
}

static void read_float(size_t dim, size_t width, const float *from, double *row)
{
    for (size_t k = 0; k < dim; k++)
        row[k] = from[k];
    memset(row + dim, 0, (width - dim) * sizeof *row);
}

static void read_double(size_t dim, size_t width, const double *from, double *row)
{
    memcpy(row, from, dim * sizeof *row);
    memset(row + dim, 0, (width - dim) * sizeof *row);
}

static double dot(size_t width, const double *a, const double *b)
{
    double sum[LANES] = {0};
    for (size_t k = 0; k < width; k += LANES)
        for (size_t i = 0; i < LANES; i++)
            sum[i] += a[k + i] * b[k + i];
    return sum_of_lanes(sum);
}

static void scale(size_t width, double first, double second, double *row)
{
    for (size_t k = 0; k < width; k++)
        row[k] = row[k] * first * second;
}

static void add(size_t width, const double *row, double *sum)
{
    for (size_t k = 0; k < width; k++)
        sum[k] += row[k];
}

static void store_narrow(size_t width, const double *row, float *to, float *transposed, size_t stride)
{
    for (size_t k = 0; k < width; k++)
        to[k] = (float)row[k];
    for (size_t k = 0; transposed && k < width; k++)
        transposed[k * stride] = to[k];
}

static void store_wide(size_t width, const double *row, double *to, double *transposed, size_t stride)
{
    memcpy(to, row, width * sizeof *to);
    for (size_t k = 0; transposed && k < width; k++)
        transposed[k * stride] = row[k];
}

static void combine_narrow(size_t width, double factor, const float *from, double weight, const double *other,
                           double *out)
{
    for (size_t k = 0; k < width; k++)
        out[k] = factor * from[k] + weight * other[k];
}

static void combine_wide(size_t width, double factor, const double *from, double weight, const double *other,
                         double *out)
{
    for (size_t k = 0; k < width; k++)
        out[k] = factor * from[k] + weight * other[k];
}

static double limited(double x, double limit)
{
    return x > limit ? limit : x < -limit ? -limit : x;
}

static void write_float(size_t dim, const double *from, double along, const double *unit, double first, double second,
                        float *to)
{
    for (size_t k = 0; k < dim; k++)
        to[k] = (float)limited((from[k] - along * unit[k]) * first * second, FLT_MAX);
}

static void write_double(size_t dim, const double *from, double along, const double *unit, double first, double second,
                         double *to)
{
    for (size_t k = 0; k < dim; k++)
        to[k] = limited((from[k] - along * unit[k]) * first * second, DBL_MAX);
}

/* ---- narrow tiles ---- */

/* exp(x) for x <= 88, 0 below the normal numbers; relative error 1e-7. exp(x) = 2^n exp(f), n the nearest integer to
   x / ln 2, |f| <= ln(2)/2; the polynomial is a Chebyshev fit to (exp(f) - 1 - f) / f^2. */
static inline float exponential(float x)
{
    const float low = -87.3f;
    const float round = 12582912.0f; /* 1.5 x 2^23: adding it leaves the nearest integer in the low bits */
    const float bounded = x > low ? x : low;
    const float shifted = bounded * 1.44269504f + round, n = shifted - round;
    const float f = (bounded - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts */
    float p = 0.0013933688f;
    p = p * f + 0.008363205f;
    p = p * f + 0.041666463f;
    p = p * f + 0.16666576f;
    p = p * f + 0.5f;
    p = p * (f * f) + f + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    float power;
    memcpy(&power, &bits, sizeof power);
    return x > low ? p * power : 0.0f;
}

/* Sum of the logarithms of numbers in [1, 2^64]: fifteen of them make a product that double holds. */
static double sum_of_logs(size_t count, const float *numbers)
{
    double sum = 0, product = 1;
    for (size_t i = 0; i < count; i++) {
        product *= numbers[i];
        if (i % 15 == 14 || i + 1 == count) {
            sum += log(product);
            product = 1;
        }
    }
    return sum;
}

/* log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)); every 1 + exp(-|x|) is at most 2, so that a lane multiplies up to
   64 of them before it takes one logarithm. */
static double narrow_softplus(size_t edge, double rate, double bias, const void *similarities, void *weights)
{
    enum { WIDTH = 64 };
    const float *s = similarities;
    float *weight = weights, product[WIDTH], positive[WIDTH] = {0};
    const float r = (float)rate, shift = (float)bias;
    for (size_t i = 0; i < WIDTH; i++)
        product[i] = 1;
    for (size_t p = 0; p < edge * edge; p += WIDTH)
        for (size_t i = 0; i < WIDTH; i++) {
            const float x = r * s[p + i] + shift, e = exponential(x > 0 ? -x : x), sum = 1 + e;
            product[i] *= sum;
            positive[i] += x > 0 ? x : 0;
            weight[p + i] = (x > 0 ? 1 : e) / sum;
        }
    double total = sum_of_logs(WIDTH, product);
    for (size_t i = 0; i < WIDTH; i++)
        total += positive[i];
    return total;
}

static double narrow_sum(size_t edge, const void *tile)
{
    const float *values = tile;
    double sum[LANES] = {0};
    for (size_t p = 0; p < edge * edge; p += LANES)
        for (size_t l = 0; l < LANES; l++)
            sum[l] += values[p + l];
    return sum_of_lanes(sum);
}

static void narrow_nearest(size_t edge, const void *similarities, double *best, uint32_t *place)
{
    const float *s = similarities;
    for (size_t i = 0; i < edge; i += LANES) {
        float most[LANES];
        uint32_t at[LANES];
        for (size_t l = 0; l < LANES; l++) {
            most[l] = (float)best[i + l];
            at[l] = place[i + l];
        }
        for (uint32_t row = 0; row < edge; row++)
            for (size_t l = 0; l < LANES; l++) {
                const float x = s[row * edge + i + l];
                at[l] = x > most[l] ? row : at[l];
                most[l] = x > most[l] ? x : most[l];
            }
        for (size_t l = 0; l < LANES; l++) {
            best[i + l] = most[l];
            place[i + l] = at[l];
        }
    }
}

static void narrow_leave_out(size_t edge, size_t columns, size_t rows, const uint32_t *of_column,
                             const uint32_t *of_row, int same, void *similarities)
{
    for (size_t j = 0; j < rows; j++) {
        float *s = (float *)similarities + j * edge;
        const uint32_t class = of_row[j];
        for (size_t i = 0; i < columns; i++)
            s[i] = (of_column[i] == class) == same ? -INFINITY : s[i];
    }
}

static double narrow_softmax(size_t columns, size_t padded, double rate, double factor, void *row)
{
    float *s = row, lane[LANES] = {0}, r = (float)rate;
    double lanes[LANES];
    for (size_t k = 0; k < padded; k += LANES)
        for (size_t l = 0; l < LANES; l++) {
            const float e = exponential(r * s[k + l]);
            s[k + l] = k + l < columns ? e : 0;
            lane[l] += s[k + l];
        }
    for (size_t l = 0; l < LANES; l++)
        lanes[l] = lane[l];
    const double sum = sum_of_lanes(lanes);
    const float share = (float)(factor / sum);
    for (size_t k = 0; k < padded; k++)
        s[k] *= share;
    return log(sum);
}

static void narrow_exponentials(size_t edge, double rate, const void *similarities, mio__log_sum *columns,
                                void *weights)
{
    const float *s = similarities, r = (float)rate;
    float *weight = weights, column[MIO__PAIR_EDGE] = {0};
    for (size_t j = 0; j < edge; j++)
        for (size_t i = 0; i < edge; i += LANES)
            for (size_t l = 0; l < LANES; l++) {
                const size_t at = j * edge + i + l;
                weight[at] = exponential(r * s[at]);
                column[i + l] += weight[at];
            }
    for (size_t i = 0; i < edge; i++)
        columns[i].sum += column[i];
}

static void narrow_sums(size_t edge, double rate, const void *similarities, mio__log_sum *columns, mio__log_sum *rows)
{
    const float *s = similarities, r = (float)rate;
    float column[MIO__PAIR_EDGE] = {0};
    for (size_t j = 0; j < edge; j++) {
        float row[LANES] = {0};
        for (size_t i = 0; i < edge; i += LANES)
            for (size_t l = 0; l < LANES; l++) {
                const float e = exponential(r * s[j * edge + i + l]);
                column[i + l] += e;
                row[l] += e;
            }
        double lanes[LANES];
        for (size_t l = 0; l < LANES; l++)
            lanes[l] = row[l];
        if (rows)
            rows[j].sum += sum_of_lanes(lanes);
    }
    for (size_t i = 0; i < edge; i++)
        columns[i].sum += column[i];
}

static void narrow_weights(size_t edge, double rate, const void *similarities, const mio__row_weight *columns,
                           const mio__row_weight *rows, int accumulate, void *weights)
{
    const float *s = similarities, r = (float)rate;
    float *weight = weights, factor[MIO__PAIR_EDGE] = {0};
    for (size_t i = 0; i < edge; i++)
        factor[i] = (float)columns[i].factor;
    for (size_t j = 0; j < edge; j++) {
        const float own = (float)rows[j].factor;
        for (size_t i = 0; i < edge; i += LANES)
            for (size_t l = 0; l < LANES; l++) {
                float *to = weight + j * edge + i + l;
                *to = (accumulate ? *to : 0) + (factor[i + l] + own) * exponential(r * s[j * edge + i + l]);
            }
    }
}

/* ---- wide tiles: the C library's functions, any rate ---- */

static double wide_softplus(size_t edge, double rate, double bias, const void *similarities, void *weights)
{
    const double *s = similarities;
    double *weight = weights, total = 0;
    for (size_t j = 0; j < edge; j++) {
        double row = 0;
        for (size_t i = 0; i < edge; i++) {
            const double x = rate * s[j * edge + i] + bias, e = exp(-fabs(x));
            row += (x > 0 ? x : 0) + log1p(e);
            weight[j * edge + i] = (x > 0 ? 1 : e) / (1 + e);
        }
        total += row;
    }
    return total;
}

static double wide_sum(size_t edge, const void *tile)
{
    const double *values = tile;
    double sum[LANES] = {0};
    for (size_t p = 0; p < edge * edge; p += LANES)
        for (size_t l = 0; l < LANES; l++)
            sum[l] += values[p + l];
    return sum_of_lanes(sum);
}

static void wide_nearest(size_t edge, const void *similarities, double *best, uint32_t *place)
{
    const double *s = similarities;
    for (uint32_t row = 0; row < edge; row++)
        for (size_t i = 0; i < edge; i++) {
            const double x = s[row * edge + i];
            place[i] = x > best[i] ? row : place[i];
            best[i] = x > best[i] ? x : best[i];
        }
}

static double wide_softmax(size_t columns, size_t padded, double rate, double factor, void *row)
{
    double *s = row, peak = -INFINITY, sum = 0;
    for (size_t k = 0; k < columns; k++)
        peak = s[k] > peak ? s[k] : peak;
    for (size_t k = 0; k < padded; k++) {
        s[k] = k < columns ? exp(rate * (s[k] - peak)) : 0;
        sum += s[k];
    }
    for (size_t k = 0; k < columns; k++)
        s[k] *= factor / sum;
    return rate * peak + log(sum);
}

static void wide_leave_out(size_t edge, size_t columns, size_t rows, const uint32_t *of_column, const uint32_t *of_row,
                           int same, void *similarities)
{
    for (size_t j = 0; j < rows; j++) {
        double *s = (double *)similarities + j * edge;
        const uint32_t class = of_row[j];
        for (size_t i = 0; i < columns; i++)
            s[i] = (of_column[i] == class) == same ? -INFINITY : s[i];
    }
}

/* Adds exp(rate s) for count values `stride` apart to a sum whose peak rises to the largest of them. Differences come
   before products: a fused rate x s - rate x peak leaves the product's rounding error, which is huge at steep rates. */
static void add_exponentials(size_t count, double rate, const double *s, size_t stride, mio__log_sum *sum)
{
    double peak = -INFINITY;
    for (size_t i = 0; i < count; i++)
        peak = s[i * stride] > peak ? s[i * stride] : peak;
    if (peak == -INFINITY)
        return;
    if (sum->sum == 0) {
        sum->peak = peak;
    } else if (peak > sum->peak) {
        sum->sum *= exp(rate * (sum->peak - peak));
        sum->peak = peak;
    }
    double added = 0;
    for (size_t i = 0; i < count; i++)
        if (s[i * stride] > -INFINITY)
            added += exp(rate * (s[i * stride] - sum->peak));
    sum->sum += added;
}

static void wide_sums(size_t edge, double rate, const void *similarities, mio__log_sum *columns, mio__log_sum *rows)
{
    const double *s = similarities;
    for (size_t i = 0; i < edge; i++) {
        add_exponentials(edge, rate, s + i, edge, &columns[i]);
        if (rows)
            add_exponentials(edge, rate, s + i * edge, 1, &rows[i]);
    }
}

static double wide_weight(double rate, double s, const mio__row_weight *row)
{
    return row->factor * exp(fmin(rate * s - row->shift, 0));
}

static void wide_weights(size_t edge, double rate, const void *similarities, const mio__row_weight *columns,
                         const mio__row_weight *rows, int accumulate, void *weights)
{
    const double *s = similarities;
    double *weight = weights;
    for (size_t j = 0; j < edge; j++)
        for (size_t i = 0; i < edge; i++) {
            const double x = s[j * edge + i];
            const double own = x == -INFINITY ? 0 : wide_weight(rate, x, &columns[i]) + wide_weight(rate, x, &rows[j]);
            weight[j * edge + i] = (accumulate ? weight[j * edge + i] : 0) + own;
        }
}

typedef double wide_vector __attribute__((vector_size(MIO__VECTOR_BYTES)));

static inline wide_vector load(const double *from)
{
    wide_vector v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void store(double *to, wide_vector v)
{
    memcpy(to, &v, sizeof v);
}

/* Four rows by two vectors of c at a time. */
static void product(const mio__wide_product *p)
{
    enum { ROWS = 4, WIDTH = MIO__VECTOR_BYTES / sizeof(double) };
    for (size_t j = 0; j < p->rows; j += ROWS)
        for (size_t i = 0; i < p->columns; i += 2 * WIDTH) {
            wide_vector left[ROWS] = {{0}}, right[ROWS] = {{0}};
            for (size_t k = 0; k < p->inner; k++) {
                const double *a = p->a + k * p->a_stride + i, *b = p->b + k * p->b_inner + j * p->b_row;
                const wide_vector first = load(a), second = load(a + WIDTH);
                for (size_t y = 0; y < ROWS; y++) {
                    left[y] += first * b[y * p->b_row];
                    right[y] += second * b[y * p->b_row];
                }
            }
            for (size_t y = 0; y < ROWS; y++) {
                double *to = p->c + (j + y) * p->c_stride + i;
                store(to, p->accumulate ? load(to) + left[y] : left[y]);
                store(to + WIDTH, p->accumulate ? load(to + WIDTH) + right[y] : right[y]);
            }
        }
}

const mio__pair_kernels MIO__VARIANT(mio__pair_loops) = {
    .read_float = read_float,
    .read_double = read_double,
    .largest = largest,
    .dot = dot,
    .scale = scale,
    .add = add,
    .store_narrow = store_narrow,
    .store_wide = store_wide,
    .combine_narrow = combine_narrow,
    .combine_wide = combine_wide,
    .write_float = write_float,
    .write_double = write_double,
    .product = product,
    .narrow = {narrow_softplus, narrow_sum, narrow_nearest, narrow_leave_out, narrow_softmax, narrow_exponentials,
               narrow_sums, narrow_weights},
    .wide = {wide_softplus, wide_sum, wide_nearest, wide_leave_out, wide_softmax, NULL, wide_sums, wide_weights},
};
