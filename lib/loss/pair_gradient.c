/* What the pair engine's passes and the losses add up for each row, and its way back to the rows as they were given. */
#include "loss/pair.h"

void mio__pairs_combine(const mio__pairs *pairs, size_t view, size_t b, double scale, double weight,
                        const double *vector)
{
    const size_t width = pairs->plan.width, at = mio__pairs_slot(pairs, view, b) * width;
    if (pairs->plan.wide) {
        double *row = (double *)pairs->gradient + at;
        for (size_t k = 0; k < width; k++)
            row[k] = scale * row[k] + weight * vector[k];
    } else {
        float *row = (float *)pairs->gradient + at;
        for (size_t k = 0; k < width; k++)
            row[k] = (float)(scale * row[k] + weight * vector[k]);
    }
}

void mio__pairs_add(const mio__pairs *pairs, size_t view, size_t b, double weight, const double *vector)
{
    mio__pairs_combine(pairs, view, b, 1, weight, vector);
}

typedef struct dots {
    const mio__pairs *pairs;
    size_t views;
} dots;

static void dot_chunk(void *argument, size_t chunk, size_t worker)
{
    const dots *work = argument;
    const mio__pairs *pairs = work->pairs;
    const size_t width = pairs->plan.width;
    double *unit = mio__pairs_worker_row(pairs, worker, 0), *row = mio__pairs_worker_row(pairs, worker, 1), sum = 0;
    size_t start, end;
    mio__pairs_chunk(pairs, chunk, &start, &end);
    for (size_t b = start; b < end; b++)
        for (size_t view = 0; view < work->views; view++) {
            const size_t at = mio__pairs_slot(pairs, view, b) * width;
            mio__pairs_unit(pairs, view, b, unit);
            if (pairs->plan.wide)
                pairs->kernels->combine_wide(width, 1, (double *)pairs->gradient + at, 0, unit, row);
            else
                pairs->kernels->combine_narrow(width, 1, (float *)pairs->gradient + at, 0, unit, row);
            sum += pairs->kernels->dot(width, row, unit);
        }
    pairs->chunk_sums[chunk * width] = sum;
}

double mio__pairs_dot_gradient(const mio__pairs *pairs, size_t views)
{
    mio__pairs_by_chunk(pairs, dot_chunk, &(dots){pairs, views});
    return mio__pairs_sum_of_chunks(pairs);
}

/* ---- the way back through the normalisation ---- */

typedef struct finish {
    const mio__pairs *pairs;
    double factor;
    const double *weights_of_pair;
} finish;

/* gradient of z = (g - (g . unit) unit) / |z| */
static void write_row(const finish *work, size_t view, size_t b, const double *unit, const double *positive,
                      double *row)
{
    const mio__pairs *pairs = work->pairs;
    const mio__pair_kernels *kernels = pairs->kernels;
    const size_t slot = mio__pairs_slot(pairs, view, b), width = pairs->plan.width, dim = pairs->plan.dim;
    const double weight = work->weights_of_pair[b];
    if (work->factor == 0)
        kernels->combine_wide(width, 0, positive, weight, positive, row);
    else if (pairs->plan.wide)
        kernels->combine_wide(width, work->factor, (double *)pairs->gradient + slot * width, weight, positive, row);
    else
        kernels->combine_narrow(width, work->factor, (float *)pairs->gradient + slot * width, weight, positive, row);
    const double along = kernels->dot(width, row, unit), inverse = pairs->inverse[slot], scale = pairs->scale[slot];
    if (pairs->batch.element == sizeof(double))
        kernels->write_double(dim, row, along, unit, inverse, scale, (double *)pairs->batch.gradient[view] + b * dim);
    else
        kernels->write_float(dim, row, along, unit, inverse, scale, (float *)pairs->batch.gradient[view] + b * dim);
}

static void finish_chunk(void *argument, size_t chunk, size_t worker)
{
    const finish *work = argument;
    const mio__pairs *pairs = work->pairs;
    double *first = mio__pairs_worker_row(pairs, worker, 0), *second = mio__pairs_worker_row(pairs, worker, 1);
    double *row = mio__pairs_worker_row(pairs, worker, 2);
    size_t start, end;
    mio__pairs_chunk(pairs, chunk, &start, &end);
    for (size_t b = start; b < end; b++) {
        mio__pairs_unit(pairs, 0, b, first);
        mio__pairs_unit(pairs, 1, b, second);
        if (pairs->batch.gradient[0])
            write_row(work, 0, b, first, second, row);
        if (pairs->batch.gradient[1])
            write_row(work, 1, b, second, first, row);
    }
}

void mio__pairs_finish(mio__pairs *pairs, double factor, const double *weights_of_pair)
{
    if (!pairs->batch.gradient[0] && !pairs->batch.gradient[1])
        return;
    finish work = {pairs, factor, weights_of_pair};
    mio__pairs_by_chunk(pairs, finish_chunk, &work);
}
