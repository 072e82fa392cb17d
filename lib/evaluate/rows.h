/* Feature matrices as the caller gives them: count x dim floats, row-major. */
#ifndef MIO_EVALUATE_ROWS_H
#define MIO_EVALUATE_ROWS_H

#include "core/context.h"

/** Refuses NULL, empty and non-finite matrices; the message names `what`, row and column. */
mio_status mio__rows_check(const char *what, size_t count, size_t dim, const float *rows);
/** Refuses labels outside 0 .. classes-1. */
mio_status mio__labels_check(const char *what, size_t count, const int32_t *labels, size_t classes);
/** unit = row / |row|, whatever the scale; a row of zeros stays one. */
void mio__row_normalize(size_t dim, const float *row, float *unit);
/** Per column: mean and population deviation (1 where a column is constant), dim values each. */
void mio__rows_statistics(mio_context *context, size_t count, size_t dim, const float *rows, double *mean,
                          double *deviation);

#endif
