/* What reaches a linear projector's weights. */
#include <mio/analysis.h>

#include "core/context.h"

#include <string.h>

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
