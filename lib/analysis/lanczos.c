#include "analysis/lanczos.h"

#include "analysis/differences.h"
#include "core/random.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- the tridiagonal matrix ---- */

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
        const double turned = (d[i] - shifted) * sine + 2 * cosine * beside;
        carried = sine * turned;
        d[i + 1] = shifted + carried;
        shifted = cosine * turned - beside;
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
            while (last + 1 < n && fabs(beside[last]) > DBL_EPSILON * (fabs(diagonal[last]) + fabs(diagonal[last + 1])))
                last++;
            if (last == first)
                break;
            ql_step(first, last, diagonal, beside, weights);
        }
    for (size_t i = 0; i < n; i++)
        weights[i] *= weights[i];
    sort(n, diagonal, weights);
}

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
