/* Eigenvalues of a small symmetric matrix. */
#ifndef MIO_TRAIN_EIGENVALUES_H
#define MIO_TRAIN_EIGENVALUES_H

#include "core/context.h"

/** Doubles of scratch for an n x n matrix. */
size_t mio__eigenvalues_scratch(size_t n);
/**
 * values: n, ascending. matrix: n x n symmetric, row-major, overwritten. Exact to a few units of rounding of the
 * largest eigenvalue: Householder's tridiagonal form, then bisection by Sturm counts. The same bits for any number of
 * threads.
 */
void mio__eigenvalues(mio_context *context, size_t n, double *matrix, double *scratch, double *values);

#endif
