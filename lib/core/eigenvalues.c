#include "core/eigenvalues.h"

#include <float.h>
#include <math.h>

/* ---- of a tridiagonal matrix ---- */

/* One QL step with Wilkinson's shift on rows first .. last, whose neighbours outside are decoupled; the rotations also
   turn the first row of the eigenvectors. */
static void ql_step(size_t first, size_t last, double *d, double *e, double *row)
{
    const double half = (d[first + 1] - d[first]) / (2 * e[first]), root = hypot(half, 1);
    double shifted = d[last] - d[first] + e[first] / (half + copysign(root, half));
    double sine = 1, cosine = 1, carried = 0;
    for (size_t i = last; i-- > first;) {
        const double bulge = sine * e[i], beside = cosine * e[i], length = hypot(bulge, shifted);
        e[i + 1] = length;
        if (length == 0) { /* the matrix falls apart here */
            d[i + 1] -= carried;
            e[last] = 0;
            return;
        }
        sine = bulge / length;
        cosine = shifted / length;
        shifted = d[i + 1] - carried;
        const double rotated = (d[i] - shifted) * sine + 2 * cosine * beside;
        carried = sine * rotated;
        d[i + 1] = shifted + carried;
        shifted = cosine * rotated - beside;
        const double right = row[i + 1];
        row[i + 1] = sine * row[i] + cosine * right;
        row[i] = cosine * row[i] - sine * right;
    }
    d[first] -= carried;
    e[first] = shifted;
    e[last] = 0;
}

static void sort(size_t n, double *values, double *weights)
{
    for (size_t i = 1; i < n; i++) {
        const double value = values[i], weight = weights[i];
        size_t at = i;
        for (; at && values[at - 1] > value; at--) {
            values[at] = values[at - 1];
            weights[at] = weights[at - 1];
        }
        values[at] = value;
        weights[at] = weight;
    }
}

void mio__tridiagonal(size_t n, double *diagonal, double *beside, double *weights)
{
    enum { PATIENCE = 100 }; /* steps for one value; a few are enough for finite matrices */
    for (size_t i = 0; i < n; i++)
        weights[i] = i == 0;
    beside[n - 1] = 0;
    for (size_t first = 0; first < n; first++)
        for (size_t step = 0; step < PATIENCE; step++) {
            size_t last = first;
            while (last + 1 < n &&
                   fabs(beside[last]) > DBL_EPSILON * (fabs(diagonal[last]) + fabs(diagonal[last + 1])) + DBL_MIN)
                last++;
            if (last == first)
                break;
            ql_step(first, last, diagonal, beside, weights);
        }
    for (size_t i = 0; i < n; i++)
        weights[i] *= weights[i];
    sort(n, diagonal, weights);
}

/* ---- of any symmetric matrix ---- */

size_t mio__eigenvalues_scratch(size_t n)
{
    return 3 * n;
}

/* Householder's similarity on the trailing rows, as an update of rank two: with H = I - beta v v^T,
   H A H = A - v w^T - w v^T where w = beta A v - beta^2/2 (v^T A v) v. */
static void reflect_rows(size_t n, size_t size, double *a, const double *v, double beta, double *w)
{
    double product = 0;
    for (size_t i = 0; i < size; i++) {
        double sum = 0;
        for (size_t j = 0; j < size; j++)
            sum += a[i * n + j] * v[j];
        w[i] = beta * sum;
        product += v[i] * w[i];
    }
    for (size_t i = 0; i < size; i++)
        w[i] -= beta / 2 * product * v[i];
    for (size_t i = 0; i < size; i++)
        for (size_t j = 0; j < size; j++)
            a[i * n + j] -= v[i] * w[j] + w[i] * v[j];
}

/* diagonal: n; beside: n - 1 entries next to it; v, w: n of scratch. */
static void tridiagonalise(size_t n, double *a, double *diagonal, double *beside, double *v, double *w)
{
    for (size_t k = 0; k + 1 < n; k++) {
        const size_t size = n - k - 1;
        double *column = a + (k + 1) * n + k; /* a[k+1 .. n-1][k] */
        double squares = 0;
        for (size_t i = 0; i < size; i++) {
            v[i] = column[i * n];
            squares += v[i] * v[i];
        }
        const double first = v[0], norm = sqrt(squares), target = first > 0 ? -norm : norm;
        diagonal[k] = a[k * n + k];
        beside[k] = size > 1 ? target : first;
        v[0] = first - target;
        const double length = squares - first * first + v[0] * v[0]; /* |v|^2 */
        if (size > 1 && length > 0)
            reflect_rows(n, size, a + (k + 1) * n + k + 1, v, 2 / length, w);
        else
            beside[k] = first;
    }
    diagonal[n - 1] = a[n * n - 1];
}

void mio__eigenvalues(size_t n, double *matrix, double *scratch, double *values)
{
    double *beside = scratch, *v = scratch + n, *w = scratch + 2 * n;
    tridiagonalise(n, matrix, values, beside, v, w);
    mio__tridiagonal(n, values, beside, w);
}
