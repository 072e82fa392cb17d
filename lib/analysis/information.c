/* What the cosines of a batch tell of mutual information. */
#include <mio/analysis.h>

#include "loss/loss.h"

#include <math.h>
#include <string.h>

static mio_status check(const mio_context *context, const double temperatures[2], size_t pairs, size_t dim,
                        const double *z1, const double *z2, const mio_mutual_information *information)
{
    if (!context)
        return mio__settings_null("context");
    for (size_t i = 0; i < 2; i++)
        if (!(temperatures[i] > 0 && isfinite(temperatures[i])))
            return mio__fail(MIO_ERROR_ARGUMENT, "the %s temperature is %g; it must be finite and above 0",
                             i ? "negative" : "positive", temperatures[i]);
    const mio_status status =
        mio__struct_check(information, MIO__UP_TO(mio_mutual_information, jensen_shannon), "mio_mutual_information");
    if (status)
        return status;
    if (!z1 || !z2)
        return mio__fail(MIO_ERROR_ARGUMENT, "%s is NULL", z1 ? "z2" : "z1");
    return pairs >= 2 && dim ? MIO_OK
                             : mio__fail(MIO_ERROR_ARGUMENT,
                                         "%zu pairs of %zu values: at least 2 pairs of 1 value are needed", pairs, dim);
}

static void estimate(mio__pairs *pairs, double positive, double negative, mio_mutual_information *found)
{
    const double rows = 2 * (double)pairs->plan.pairs, *s = pairs->similarity_of_pair;
    found->positive_pairs = found->negative_pairs = log(2);
    found->info_nce = log(rows - 1);
    found->negative_pairs -= mio__pairs_softplus(pairs, negative) / rows / (rows - 2);
    mio__pairs_log_sums(pairs, 0, positive);
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        found->positive_pairs -= 2 / rows * mio__softplus(-positive * s[b]);
        for (size_t view = 0; view < 2; view++) {
            const mio__log_sum *sum = &pairs->log_sums[0][mio__pairs_slot(pairs, view, b)];
            found->info_nce -= mio__softplus(mio__log_sum_value(sum, positive) - positive * s[b]) / rows;
        }
    }
    found->jensen_shannon = found->positive_pairs + found->negative_pairs;
}

mio_status mio_analysis_mutual_information_at(mio_context *context, double positive_temperature,
                                              double negative_temperature, size_t pairs, size_t dim, const double *z1,
                                              const double *z2, mio_mutual_information *information)
{
    const double temperatures[2] = {positive_temperature, negative_temperature};
    const mio__batch batch = {pairs, dim, sizeof(double), {z1, z2}, {NULL, NULL}};
    mio__pairs rows = {.context = context};
    mio_status status = check(context, temperatures, pairs, dim, z1, z2, information);
    if (status)
        return status;
    status = mio__pairs_begin(&rows, &batch, 1);
    if (!status) {
        mio_mutual_information found = {0};
        estimate(&rows, mio__rate(positive_temperature), mio__rate(negative_temperature), &found);
        mio__struct_give(information, &found, sizeof found);
    }
    mio__pairs_free(&rows);
    return status;
}

mio_status mio_analysis_mutual_information(mio_loss *loss, size_t pairs, size_t dim, const double *z1, const double *z2,
                                           mio_mutual_information *information)
{
    if (!loss)
        return mio__settings_null("loss");
    return mio_analysis_mutual_information_at(loss->context, mio__loss_temperature(loss, "positive_temperature"),
                                              mio__loss_temperature(loss, "negative_temperature"), pairs, dim, z1, z2,
                                              information);
}
