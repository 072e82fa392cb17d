/* The parts of a loss's gradient, and what its cosines tell of mutual information. */
#include <mio/analysis.h>

#include "loss/loss.h"

#include <math.h>
#include <string.h>

/* ---- displacements ---- */

static mio_status check(const mio_loss *loss)
{
    if (!loss)
        return mio__settings_null("loss");
    return loss->kind->split ? MIO_OK
                             : mio__fail(MIO_ERROR_UNSUPPORTED,
                                         "loss '%s' has no closed form of its parts; mio and nt_xent "
                                         "have",
                                         mio_loss_name(loss));
}

/* Takes the batch in, in double; the gradients of all passes are kept. */
static mio_status begin(mio_loss *loss, size_t pairs, size_t dim, const double *z1, const double *z2)
{
    double value;
    const mio__batch batch = {pairs, dim, sizeof(double), {z1, z2}, {NULL, NULL}};
    mio_status status = mio__loss_compute(loss, &batch, &value); /* checks everything */
    loss->pairs.keep_gradient = 1;
    if (!status)
        status = mio__pairs_begin(&loss->pairs, &batch, loss->kind->steepest(loss->settings.values));
    loss->pairs.keep_gradient = 0;
    return status;
}

/* Writes -rate times the gradient that factor and weights make, if there is a place for it. */
static void write_part(mio_loss *loss, double rate, double factor, const double *weights, double *part)
{
    mio__pairs *pairs = &loss->pairs;
    const size_t half = pairs->plan.pairs * pairs->plan.dim;
    if (!part)
        return;
    pairs->batch.gradient[0] = part;
    pairs->batch.gradient[1] = part + half;
    mio__pairs_finish(pairs, factor, weights);
    pairs->batch.gradient[0] = pairs->batch.gradient[1] = NULL;
    for (size_t i = 0; i < 2 * half; i++)
        part[i] *= -rate;
}

mio_status mio_analysis_displacements(mio_loss *loss, size_t pairs, size_t dim, const double *z1, const double *z2,
                                      double rate, double *attraction, double *repulsion, double *l2)
{
    mio_status status = check(loss);
    if (!status && !isfinite(rate))
        status = mio__fail(MIO_ERROR_ARGUMENT, "the rate is %g; it must be finite", rate);
    if (!status)
        status = begin(loss, pairs, dim, z1, z2);
    if (status)
        return status;
    double by_l2;
    loss->pairs.keep_gradient = 1;
    const double factor = loss->kind->split(&loss->pairs, loss->settings.values, &by_l2);
    loss->pairs.keep_gradient = 0;
    double *weights = loss->pairs.similarity_of_pair;
    write_part(loss, rate, 0, weights, attraction);
    for (size_t b = 0; b < pairs; b++)
        weights[b] = by_l2;
    write_part(loss, rate, 0, weights, l2);
    memset(weights, 0, pairs * sizeof *weights);
    write_part(loss, rate, factor, weights, repulsion);
    return MIO_OK;
}

/* ---- mutual information ---- */

static double parameter(const mio_loss *loss, const char *mio_name)
{
    double value = 0;
    mio__settings_get(&loss->settings, loss->kind == &mio__loss_mio ? mio_name : "temperature", &value);
    return value;
}

mio_status mio_analysis_mutual_information(mio_loss *loss, size_t pairs, size_t dim, const double *z1, const double *z2,
                                           mio_mutual_information *information)
{
    mio_status status = check(loss);
    if (!status && (!information || information->struct_size < sizeof(size_t)))
        status = mio__fail(MIO_ERROR_ARGUMENT, "information.struct_size is not set; set it to "
                                               "sizeof(mio_mutual_information)");
    if (!status)
        status = begin(loss, pairs, dim, z1, z2);
    if (status)
        return status;
    const double positive = mio__rate(parameter(loss, "positive_temperature"));
    const double negative = mio__rate(parameter(loss, "negative_temperature"));
    const double rows = 2 * (double)pairs, *s = loss->pairs.similarity_of_pair;
    mio_mutual_information found = {information->struct_size, 0, log(2), log(2), log(rows - 1)};
    found.negative_pairs -= mio__pairs_softplus(&loss->pairs, negative) / rows / (rows - 2);
    mio__pairs_log_sums(&loss->pairs, 0, positive);
    for (size_t b = 0; b < pairs; b++) {
        found.positive_pairs -= 2 / rows * mio__softplus(-positive * s[b]);
        for (size_t view = 0; view < 2; view++) {
            const mio__log_sum *sum = &loss->pairs.log_sums[0][mio__pairs_slot(&loss->pairs, view, b)];
            found.info_nce -= mio__softplus(mio__log_sum_value(sum, positive) - positive * s[b]) / rows;
        }
    }
    found.jensen_shannon = found.positive_pairs + found.negative_pairs;
    memcpy(information, &found, information->struct_size < sizeof found ? information->struct_size : sizeof found);
    return MIO_OK;
}

/* ---- the projector ---- */

typedef struct projector {
    size_t count, in, out;
    const double *gradients, *features;
    double *weights;
} projector;

static void sum_outer_products(void *argument, size_t row, size_t worker)
{
    (void)worker;
    const projector *work = argument;
    double *to = work->weights + row * work->in;
    memset(to, 0, work->in * sizeof *to);
    for (size_t i = 0; i < work->count; i++)
        for (size_t k = 0; k < work->in; k++)
            to[k] += work->gradients[i * work->out + row] * work->features[i * work->in + k];
}

mio_status mio_analysis_projector_gradient(mio_context *context, size_t count, size_t in, size_t out,
                                           const double *gradients, const double *features, double *weights)
{
    if (!context)
        return mio__settings_null("context");
    if (!gradients || !features || !weights)
        return mio__fail(MIO_ERROR_ARGUMENT, "the %s are NULL",
                         !gradients ? "gradients"
                         : features ? "weights"
                                    : "features");
    if (!count || !in || !out)
        return mio__fail(MIO_ERROR_ARGUMENT, "%zu rows from %zu to %zu values: none of them may be 0", count, in, out);
    projector work = {count, in, out, gradients, features, weights};
    mio__parallel(context, mio__workers(context), out, sum_outer_products, &work);
    return MIO_OK;
}
