#include "train/eigenvalues.h"

#include <float.h>
#include <math.h>

size_t mio__eigenvalues_scratch(size_t n)
{
    return 4 * n;
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

typedef struct bisection {
    size_t n;
    const double *diagonal, *beside;
    double low, high;
    double *values;
} bisection;

/* How many eigenvalues lie below x: the negative pivots of T - x I. */
static size_t count_below(const bisection *b, double x)
{
    size_t count = 0;
    double pivot = 1;
    for (size_t i = 0; i < b->n; i++) {
        const double square = i ? b->beside[i - 1] * b->beside[i - 1] : 0;
        pivot = b->diagonal[i] - x - square / pivot;
        if (pivot == 0)
            pivot = DBL_MIN / DBL_EPSILON;
        count += pivot < 0;
    }
    return count;
}

static void bisect(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const bisection *b = argument;
    double low = b->low, high = b->high;
    const double enough = 4 * DBL_EPSILON * fmax(fabs(low), fabs(high));
    while (high - low > enough) {
        const double middle = low + (high - low) / 2;
        if (count_below(b, middle) > item)
            high = middle;
        else
            low = middle;
    }
    b->values[item] = low + (high - low) / 2;
}

void mio__eigenvalues(mio_context *context, size_t n, double *matrix, double *scratch, double *values)
{
    double *diagonal = scratch, *beside = scratch + n, low = INFINITY, high = -INFINITY;
    tridiagonalise(n, matrix, diagonal, beside, scratch + 2 * n, scratch + 3 * n);
    for (size_t i = 0; i < n; i++) { /* Gershgorin's discs */
        const double radius = (i ? fabs(beside[i - 1]) : 0) + (i + 1 < n ? fabs(beside[i]) : 0);
        low = fmin(low, diagonal[i] - radius);
        high = fmax(high, diagonal[i] + radius);
    }
    bisection b = {n, diagonal, beside, low, high, values};
    mio__parallel(context, mio__workers(context), n, bisect, &b);
}
