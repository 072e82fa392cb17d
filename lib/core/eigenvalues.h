/* Eigenvalues of small symmetric matrices. */
#ifndef MIO_CORE_EIGENVALUES_H
#define MIO_CORE_EIGENVALUES_H

#include <stddef.h>

/**
 * Eigenvalues of a symmetric tridiagonal matrix, in place of the diagonal, ascending, and the squared first components
 * of their vectors. beside: n - 1 values next to the diagonal, overwritten; room for n. By implicit QL steps.
 */
void mio__tridiagonal(size_t n, double *diagonal, double *beside, double *weights);

/** Doubles of scratch for an n x n matrix. */
size_t mio__eigenvalues_scratch(size_t n);
/**
 * values: n, ascending. matrix: n x n symmetric, row-major, overwritten. Exact to a few units of rounding of the
 * largest eigenvalue: Householder's tridiagonal form, then QL.
 */
void mio__eigenvalues(size_t n, double *matrix, double *scratch, double *values);

#endif
