/* Sigmoid loss over the pairs across views (Zhai et al. 2023): with x = e^log_scale s + bias, i of view 1, j of view 2,
       L = 1/B (sum over i of softplus(-x_ii) + sum over i != j of softplus(x_ij)).
   log_scale and bias are learnt: dL/dbias is the sum of the derivatives by x, dL/dlog_scale that of their products with
   e^log_scale s, which is the product of unit vectors and their gradients. */
#include "loss/loss.h"

#include <math.h>

enum { LOG_SCALE, BIAS };

static const mio__parameter parameters[] = {
    [LOG_SCALE] = {"log_scale", MIO_PARAMETER_REAL, 2.302585092994045684, -100, 100, 0, 0, NULL,
                   "logarithm of what cosines are multiplied by; learnt", ""},
    [BIAS] = {"bias", MIO_PARAMETER_REAL, -10, -1e6, 1e6, 0, 0, NULL, "what is added to every scaled cosine; learnt",
              ""},
};

static double scale_of(const double *p)
{
    return exp(fmin(fmax(p[LOG_SCALE], -100), 100));
}

/* A large bias costs float as many digits as a large scale. */
static int needs_double(const double *p)
{
    return mio__is_steep(fmax(scale_of(p), fabs(p[BIAS])));
}

static mio_status run(mio_loss *loss, double *value)
{
    mio__pairs *pairs = &loss->pairs;
    const double *p = loss->settings.values, scale = scale_of(p), share = 1 / (double)pairs->plan.pairs;
    double positives = 0, by_scale = 0, by_bias = 0, sigmoids = 0;
    *value = mio__pairs_softplus_across(pairs, scale, p[BIAS], &sigmoids);
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        double *s = &pairs->similarity_of_pair[b];
        const double x = scale * *s + p[BIAS], pulled = -mio__sigmoid(-x);
        positives += mio__softplus(-x);
        by_bias += pulled;
        by_scale += pulled * *s;
        *s = pulled * share * scale;
    }
    loss->tensors[BIAS].gradient64[0] = share * (by_bias + sigmoids);
    loss->tensors[LOG_SCALE].gradient64[0] = share * scale * by_scale;
    loss->tensors[LOG_SCALE].gradient64[0] += share * scale * mio__pairs_dot_gradient(pairs, 1);
    mio__pairs_finish(pairs, share * scale, pairs->similarity_of_pair);
    *value = share * (*value + positives);
    return MIO_OK;
}

/* log_scale and bias are held. */
static void terms(const mio_loss *loss, mio__forces *forces)
{
    const double *p = loss->settings.values, scale = scale_of(p), share = 1 / (double)loss->pairs.plan.pairs;
    forces->terms = 1;
    forces->term[0] = (mio__term){.across = 1, .rate = scale, .bias = p[BIAS], .logistic = share * scale};
}

static void bend(const mio_loss *loss, mio__forces *forces)
{
    const mio__term *term = &forces->term[0];
    for (size_t b = 0; b < loss->pairs.plan.pairs; b++) {
        const mio__dual x = mio__dual_add(mio__dual_scale(term->rate, forces->cosine[b]), (mio__dual){term->bias, 0});
        forces->attraction[b] = mio__dual_scale(-term->logistic, mio__dual_sigmoid(mio__dual_scale(-1, x)));
    }
}

const mio__loss_kind mio__loss_siglip = {"siglip",
                                         parameters,
                                         2,
                                         .needs_double = needs_double,
                                         .run = run,
                                         .flags = MIO__LOSS_KEEP,
                                         .terms = terms,
                                         .bend = bend,
                                         .tensors = {"log_scale", "bias"}};
