#include "analysis/lanczos.h"

#include "analysis/differences.h"
#include "core/eigenvalues.h"
#include "core/random.h"

#include <math.h>
#include <string.h>

/* ---- the basis ---- */

enum { PIECE = 4096 }; /* values that one item of a pass over a vector takes */

typedef struct basis {
    mio_context *context;
    size_t size, count;
    double *vectors; /* the first count are orthonormal, the next one is being made */
    double *products;
} basis;

static double dot(size_t size, const double *a, const double *b)
{
    double sums[8] = {0};
    size_t i = 0;
    for (; i + 8 <= size; i += 8)
        for (size_t k = 0; k < 8; k++)
            sums[k] += a[i + k] * b[i + k];
    for (size_t k = 0; i + k < size; k++)
        sums[k] += a[i + k] * b[i + k];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

static void find_product(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const basis *q = argument;
    q->products[item] = dot(q->size, q->vectors + item * q->size, q->vectors + q->count * q->size);
}

static void take_off(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const basis *q = argument;
    const size_t start = item * PIECE, end = start + PIECE < q->size ? start + PIECE : q->size;
    double *made = q->vectors + q->count * q->size;
    for (size_t j = 0; j < q->count; j++)
        for (size_t i = start; i < end; i++)
            made[i] -= q->products[j] * q->vectors[j * q->size + i];
}

/* Takes what lies along the basis off the vector being made; twice, as once leaves rounding. Returns what was left of
   its product with the last vector the first time. */
static double orthogonalise(basis *q)
{
    double along = 0;
    for (size_t round = 0; round < 2; round++) {
        mio__parallel(q->context, mio__workers(q->context), q->count, find_product, q);
        mio__parallel(q->context, mio__workers(q->context), (q->size + PIECE - 1) / PIECE, take_off, q);
        along += q->products[q->count - 1];
    }
    return along;
}

/* Brings the vector being made to length 1; returns its length. */
static double normalise(basis *q)
{
    double *made = q->vectors + q->count * q->size;
    const double length = mio__length(q->size, made);
    for (size_t i = 0; i < q->size && length > 0; i++)
        made[i] /= length;
    return length;
}

static mio_status extend(basis *q, const mio__operator *operator, size_t steps, double *diagonal, double *beside)
{
    double largest = 0;
    while (q->count < steps) {
        double *next = q->vectors + (q->count + 1) * q->size;
        const mio_status status = operator->apply(operator->argument, next - q->size, next);
        if (status)
            return status;
        const size_t row = q->count++;
        diagonal[row] = orthogonalise(q);
        beside[row] = normalise(q);
        largest = fmax(largest, fmax(fabs(diagonal[row]), beside[row]));
        if (!isfinite(diagonal[row]) || !isfinite(beside[row]))
            return mio__fail(MIO_ERROR_ARGUMENT,
                             "the Hessian is beyond the range of double here: a row or a temperature "
                             "is too small");
        if (beside[row] <= 1e-12 * largest)
            break;
    }
    return MIO_OK;
}

mio_status mio__lanczos(mio_context *context, const mio__operator *operator, size_t steps, uint64_t probe,
                        double *values, double *weights, size_t *count)
{
    if (!steps)
        return mio__fail(MIO_ERROR_ARGUMENT, "0 steps find no eigenvalue; ask for 1 or more");
    if (!operator->size)
        return mio__fail(MIO_ERROR_ARGUMENT, "nothing is trained here: a Hessian of 0 rows has no eigenvalue");
    if (probe > UINT32_MAX)
        return mio__fail(MIO_ERROR_ARGUMENT, "probe %zu is beyond the last start vector, %u", (size_t)probe,
                         UINT32_MAX);
    const size_t most = steps < operator->size ? steps : operator->size;
    if (most > SIZE_MAX / 16 / operator->size)
        return mio__fail(MIO_ERROR_ARGUMENT, "%zu steps of %zu values are beyond the address space",
                         most, operator->size);
    basis q = {context, operator->size, 0, mio__alloc_zeroed(context, (most + 1) * operator->size, sizeof(double)),
               NULL};
    double *diagonal = mio__alloc_zeroed(context, most, sizeof *diagonal);
    double *beside = mio__alloc_zeroed(context, most, sizeof *beside);
    q.products = mio__alloc_zeroed(context, most, sizeof *q.products);
    mio_status status = q.vectors && diagonal && beside && q.products ? MIO_OK : MIO_ERROR_MEMORY;
    if (!status) {
        mio__random random;
        mio__random_start(&random, mio__seed(context), 0, probe, 0, MIO__PURPOSE_LANCZOS);
        for (size_t i = 0; i < q.size; i++)
            q.vectors[i] = mio__random_normal(&random);
        normalise(&q);
        status = extend(&q, operator, most, diagonal, beside);
    }
    if (!status) {
        mio__tridiagonal(q.count, diagonal, beside, weights);
        memcpy(values, diagonal, q.count * sizeof *values);
        *count = q.count;
    }
    mio__free(context, q.vectors);
    mio__free(context, q.products);
    mio__free(context, diagonal);
    mio__free(context, beside);
    return status;
}
