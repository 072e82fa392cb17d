/* The Hessian of a loss by the rows that it is given: in closed form where the loss's forces are known, else by central
   differences of its closed-form gradient. */
#include <mio/analysis.h>

#include "analysis/curvature.h"
#include "analysis/differences.h"
#include "analysis/lanczos.h"

#include <math.h>
#include <string.h>

typedef struct hessian {
    mio_loss *loss;
    size_t pairs, dim;
    double *own; /* where products are differences: both views, one after the other, and room for as much three times */
    mio__curvature curvature;
} hessian;

static size_t size_of(const hessian *h)
{
    return 2 * h->pairs * h->dim;
}

static mio_status closed_product(void *argument, const double *direction, double *product)
{
    hessian *h = argument;
    mio__curvature_apply(&h->curvature, direction, product);
    return MIO_OK;
}

static mio_status gradient_at(void *argument, const double *z, double *gradient)
{
    const hessian *h = argument;
    const size_t half = h->pairs * h->dim;
    const mio__batch batch = {h->pairs, h->dim, sizeof(double), {z, z + half}, {gradient, gradient + half}};
    return mio__loss_compute(h->loss, &batch, NULL);
}

/* ---- differences: how far to go. What a loss is a function of, directions of rows or columns less their means, bends
   on the scale of each of them, so that the shortest decides. ---- */

/* A row of zeros has no direction: it stays, and its product is 0. */
static void hold_zero_rows(const hessian *h, double *values)
{
    for (size_t row = 0; row < 2 * h->pairs; row++)
        if (mio__length(h->dim, h->own + row * h->dim) == 0)
            memset(values + row * h->dim, 0, h->dim * sizeof *values);
}

static double reach_of_rows(const hessian *h, const double *direction)
{
    double reach = INFINITY;
    for (size_t at = 0; at < size_of(h); at += h->dim)
        if (mio__length(h->dim, direction + at) > 0)
            reach = fmin(reach, mio__reach(h->dim, h->own + at, direction + at));
    return reach;
}

/* Column k of a view less its mean, to `column`; returns its length. */
static double centred_length(const hessian *h, const double *view, size_t k, double *column)
{
    double mean = 0;
    for (size_t b = 0; b < h->pairs; b++)
        mean += view[b * h->dim + k] / (double)h->pairs;
    for (size_t b = 0; b < h->pairs; b++)
        column[b] = view[b * h->dim + k] - mean;
    return mio__length(h->pairs, column);
}

/* A column's variance counts with at least about what the losses add to it. */
static double reach_of_columns(const hessian *h, const double *direction, double *column)
{
    const double least = sqrt(1e-5 * (double)h->pairs);
    double reach = INFINITY;
    for (size_t view = 0; view < 2; view++)
        for (size_t k = 0; k < h->dim; k++) {
            const size_t at = view * h->pairs * h->dim;
            const double along = centred_length(h, direction + at, k, column);
            if (along > 0)
                reach = fmin(reach, hypot(centred_length(h, h->own + at, k, column), least) / along);
        }
    return reach;
}

static mio_status difference_product(void *argument, const double *direction, double *product)
{
    hessian *h = argument;
    const mio__gradient gradient = {size_of(h), gradient_at, h};
    const uint32_t flags = h->loss->kind->flags;
    double *space = h->own + gradient.size, *held = space + 2 * gradient.size;
    memcpy(held, direction, gradient.size * sizeof *held);
    if (flags & MIO__LOSS_DIRECTIONS)
        hold_zero_rows(h, held);
    double reach = flags & MIO__LOSS_DIRECTIONS ? reach_of_rows(h, held)
                   : flags & MIO__LOSS_COLUMNS  ? reach_of_columns(h, held, space)
                                                : INFINITY;
    if (reach == INFINITY) /* of neither kind, or a direction that moves neither */
        reach = mio__reach(gradient.size, h->own, held);
    const mio_status status = mio__difference(&gradient, h->own, MIO__DIFFERENCE_STEP * reach, held, space, product);
    if (!status && flags & MIO__LOSS_DIRECTIONS)
        hold_zero_rows(h, product);
    return status;
}

/* ---- both kinds ---- */

/* Takes the batch in; checks everything but what is asked of it. */
static mio_status begin(hessian *h, mio_loss *loss, size_t pairs, size_t dim, const double *z1, const double *z2)
{
    mio_status status = mio__analysis_check_function(loss);
    if (status)
        return status;
    *h = (hessian){.loss = loss, .pairs = pairs, .dim = dim};
    if (loss->kind->bend) {
        status = mio__curvature_begin(&h->curvature, loss, pairs, dim, z1, z2);
        for (mio__pair_choice choice = MIO__PAIR_ALL; !status && choice <= MIO__PAIR_OTHER_CLASS; choice++)
            mio__curvature_pull(&h->curvature, choice);
        return status;
    }
    const mio__batch batch = {pairs, dim, sizeof(double), {z1, z2}, {NULL, NULL}};
    status = mio__loss_compute(loss, &batch, NULL);
    if (!status && !(h->own = mio__alloc_zeroed(loss->context, 4, size_of(h) * sizeof *h->own)))
        status = MIO_ERROR_MEMORY;
    for (size_t i = 0; !status && i < pairs * dim; i++) {
        h->own[i] = z1[i];
        h->own[pairs * dim + i] = z2[i];
    }
    return status;
}

static void end(hessian *h)
{
    mio__curvature_end(&h->curvature);
    if (h->own)
        mio__free(h->loss->context, h->own);
}

static mio__operator operator_of(hessian *h)
{
    return (mio__operator){size_of(h), h->own ? difference_product : closed_product, h};
}

mio_status mio_analysis_hessian_product(mio_loss *loss, size_t pairs, size_t dim, const double *z1, const double *z2,
                                        const double *direction, double *product)
{
    hessian h = {NULL};
    mio_status status = begin(&h, loss, pairs, dim, z1, z2);
    if (!status)
        status = mio__analysis_check_direction(size_of(&h), direction, product);
    if (!status) {
        const mio__operator operator= operator_of(&h);
        status = operator.apply(operator.argument, direction, product);
    }
    end(&h);
    return status;
}

mio_status mio_analysis_hessian_spectrum(mio_loss *loss, size_t pairs, size_t dim, const double *z1, const double *z2,
                                         size_t steps, uint64_t probe, double *eigenvalues, double *weights,
                                         size_t *count)
{
    hessian h = {NULL};
    mio_status status = mio__analysis_check_spectrum(eigenvalues, weights, count);
    if (!status)
        status = begin(&h, loss, pairs, dim, z1, z2);
    if (!status) {
        const mio__operator operator= operator_of(&h);
        status = mio__lanczos(loss->context, &operator, steps, probe, eigenvalues, weights, count);
    }
    end(&h);
    return status;
}
