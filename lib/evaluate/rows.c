#include "evaluate/rows.h"

#include "core/finite.h"

#include <math.h>

mio_status mio__rows_check(const char *what, size_t count, size_t dim, const float *rows)
{
    if (!rows || !count || !dim)
        return mio__fail(MIO_ERROR_ARGUMENT, "%s: %s; give at least one row of at least one value", what,
                         rows ? "the matrix is empty" : "the pointer is NULL");
    if (count > SIZE_MAX / sizeof(float) / dim)
        return mio__fail(MIO_ERROR_ARGUMENT, "%s: %zu x %zu values are more than memory can hold", what, count, dim);
    const size_t at = mio__first_not_finite(count * dim, rows);
    return at == count * dim ? MIO_OK
                             : mio__fail(MIO_ERROR_ARGUMENT, "%s: row %zu, column %zu is %g; features must be finite",
                                         what, at / dim, at % dim, (double)rows[at]);
}

mio_status mio__labels_check(const char *what, size_t count, const int32_t *labels, size_t classes)
{
    if (!labels)
        return mio__fail(MIO_ERROR_ARGUMENT, "%s: the labels are NULL", what);
    for (size_t row = 0; row < count; row++)
        if (labels[row] < 0 || (size_t)labels[row] >= classes)
            return mio__fail(MIO_ERROR_ARGUMENT, "%s: label %d of row %zu is outside 0 .. %zu", what, (int)labels[row],
                             row, classes - 1);
    return MIO_OK;
}

void mio__row_normalize(size_t dim, const float *row, float *unit)
{
    double squares = 0; /* neither overflows nor underflows: float's range squared lies within double's */
    for (size_t i = 0; i < dim; i++)
        squares += (double)row[i] * row[i];
    const double scale = squares > 0 ? 1 / sqrt(squares) : 0;
    for (size_t i = 0; i < dim; i++)
        unit[i] = (float)(row[i] * scale);
}

enum { COLUMNS = 32 };

typedef struct statistics_work {
    size_t count, dim;
    const float *rows;
    double *mean, *deviation;
} statistics_work;

/* One block of columns over all rows: the order of the sums is the rows' own. */
static void column_statistics(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const statistics_work *work = argument;
    const size_t first = item * COLUMNS;
    const size_t columns = work->dim - first < COLUMNS ? work->dim - first : COLUMNS;
    double sums[COLUMNS] = {0}, squares[COLUMNS] = {0};
    for (size_t row = 0; row < work->count; row++)
        for (size_t i = 0; i < columns; i++)
            sums[i] += work->rows[row * work->dim + first + i];
    for (size_t i = 0; i < columns; i++)
        work->mean[first + i] = sums[i] / (double)work->count;
    for (size_t row = 0; row < work->count; row++)
        for (size_t i = 0; i < columns; i++) {
            const double centred = work->rows[row * work->dim + first + i] - work->mean[first + i];
            squares[i] += centred * centred;
        }
    for (size_t i = 0; i < columns; i++) {
        const double deviation = sqrt(squares[i] / (double)work->count);
        /* Rounding of the mean alone must not count as spread. */
        work->deviation[first + i] = deviation > 1e-12 * fabs(work->mean[first + i]) ? deviation : 1;
    }
}

void mio__rows_statistics(mio_context *context, size_t count, size_t dim, const float *rows, double *mean,
                          double *deviation)
{
    statistics_work work = {count, dim, rows, mean, deviation};
    mio__parallel(context, mio__workers(context), (dim + COLUMNS - 1) / COLUMNS, column_statistics, &work);
}
