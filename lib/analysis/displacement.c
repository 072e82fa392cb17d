/* The parts of a loss's gradient. */
#include <mio/analysis.h>

#include "analysis/curvature.h"

#include <math.h>
#include <string.h>

/* Writes -rate times the gradient that the pulls added so far and the weights of positive pairs make, if there is a
   place for it; and clears the pulls. */
static void write_part(mio__curvature *c, double rate, double *part)
{
    mio__pairs *pairs = c->pairs;
    const size_t half = pairs->plan.pairs * pairs->plan.dim;
    if (part) {
        pairs->batch.gradient[0] = part;
        pairs->batch.gradient[1] = part + half;
        mio__pairs_finish(pairs, 1, c->weights);
        pairs->batch.gradient[0] = pairs->batch.gradient[1] = NULL;
        for (size_t i = 0; i < 2 * half; i++)
            part[i] *= -rate;
    }
    memset(pairs->gradient, 0, 2 * pairs->plan.slots_per_view * pairs->plan.width * sizeof(double));
    memset(c->weights, 0, pairs->plan.pairs * sizeof *c->weights);
}

mio_status mio_analysis_displacements(mio_loss *loss, size_t pairs, size_t dim, const double *z1, const double *z2,
                                      double rate, double *attraction, double *repulsion, double *l2)
{
    mio__curvature curvature = {NULL}, *c = &curvature;
    mio_status status = mio__curvature_check(loss);
    if (!status && !isfinite(rate))
        status = mio__fail(MIO_ERROR_ARGUMENT, "the rate is %g; it must be finite", rate);
    if (!status)
        status = mio__curvature_begin(c, loss, pairs, dim, z1, z2);
    if (!status) {
        for (size_t b = 0; b < pairs; b++)
            c->weights[b] = c->forces.attraction[b].value;
        mio__curvature_pull(c, MIO__PAIR_SAME_CLASS);
        write_part(c, rate, attraction);
        for (size_t b = 0; b < pairs; b++)
            c->weights[b] = c->forces.l2;
        write_part(c, rate, l2);
        mio__curvature_pull(c, MIO__PAIR_ALL);
        mio__curvature_pull(c, MIO__PAIR_OTHER_CLASS);
        write_part(c, rate, repulsion);
    }
    mio__curvature_end(c);
    return status;
}
