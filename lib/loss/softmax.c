/* Losses in which each row picks its positive among its negatives by a softmax. With x = s+ / t for the row's positive,
   L = log of the sum of exp(s / t) over its negatives, and means over all N = 2B rows:
       nt_xent  -x + log(exp(x) + exp(L))                          (Chen et al. 2020)
       dcl      -x + L                                             (Yeh et al. 2022)
       dclw     -w x + L,  w = 2 - B softmax over the batch of s+ / sigma, a constant to the gradient
       hcl      log(1 + Q exp(-x)), Q = max((R - prior n exp(x)) / (1 - prior), n exp(-1 / t)),
                R = n (sum of exp((1 + beta) s / t)) / (sum of exp(beta s / t)), n = N - 2   (Robinson et al. 2021) */
#include "loss/loss.h"

#include <math.h>

/* Places of the parameters. */
enum { TEMPERATURE, SIGMA = 1, BETA = 1, PRIOR = 2 };

static int needs_double(const double *p)
{
    return mio__is_steep(mio__rate(p[0]));
}

static void set_weight(mio__pairs *pairs, size_t term, size_t view, size_t b, double factor, double shift)
{
    pairs->weights[term][mio__pairs_slot(pairs, view, b)] = (mio__row_weight){factor, shift};
}

/* What the work on one pair of images knows of all. */
typedef struct softmax {
    mio__pairs *pairs;
    const double *p;
    double rate, share;          /* of a similarity; of a row in the mean */
    double sharpness, positives; /* dclw: of the positives' weights, and the logarithm of their sum */
} softmax;

/* The gradient pass, if it is wanted. The positives' derivatives stand in similarity_of_pair. */
static void pull(mio__pairs *pairs, size_t terms, const double rates[])
{
    if (!mio__pairs_wants_gradient(pairs))
        return;
    mio__pairs_pull(pairs, terms, rates);
    mio__pairs_finish(pairs, 1, pairs->similarity_of_pair);
}

/* ---- nt_xent ---- */

static const mio__parameter nt_xent_parameters[] = {
    [TEMPERATURE] = MIO__TEMPERATURE("temperature", 0.5, "temperature of the softmax over similarities"),
};

static double visit_nt_xent(void *argument, size_t b)
{
    const softmax *all = argument;
    mio__pairs *pairs = all->pairs;
    const double x = all->rate * pairs->similarity_of_pair[b];
    double value = 0, pulled = 0;
    for (size_t view = 0; view < 2; view++) {
        const double gap = mio__pairs_log_sum(pairs, 0, all->rate, view, b) - x, soft = mio__softplus(gap);
        value += soft;
        pulled -= mio__sigmoid(gap);
        set_weight(pairs, 0, view, b, all->share * all->rate, x + soft);
    }
    pairs->similarity_of_pair[b] = all->share * all->rate * pulled;
    return all->share * value;
}

static double compute_nt_xent(mio__pairs *pairs, const double *p)
{
    const double rate = mio__rate(p[TEMPERATURE]);
    softmax all = {.pairs = pairs, .p = p, .rate = rate, .share = 0.5 / (double)pairs->plan.pairs};
    mio__pairs_log_sums(pairs, 0, rate);
    const double value = mio__pairs_sum(pairs, visit_nt_xent, &all);
    pull(pairs, 1, &rate);
    return value;
}

/* One term over all negatives: nt_xent's and dcl's. */
static void terms_of_softmax(const mio_loss *loss, mio__forces *forces)
{
    forces->terms = 1;
    forces->term[0] = (mio__term){.rate = mio__rate(loss->settings.values[TEMPERATURE])};
}

static void bend_nt_xent(const mio_loss *loss, mio__forces *forces)
{
    const mio__pairs *pairs = &loss->pairs;
    const double rate = forces->term[0].rate, weight = 0.5 / (double)pairs->plan.pairs;
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        const mio__dual x = mio__dual_scale(rate, forces->cosine[b]);
        mio__dual pulled = {0, 0};
        for (size_t view = 0; view < 2; view++) {
            const size_t slot = mio__pairs_slot(pairs, view, b);
            const mio__dual gap = mio__dual_minus(forces->log_sum[0][slot], x);
            pulled = mio__dual_minus(pulled, mio__dual_sigmoid(gap));
            forces->pull[0][slot] = (mio__pull){{weight * rate, 0}, mio__dual_add(x, mio__dual_softplus(gap))};
        }
        forces->attraction[b] = mio__dual_scale(weight * rate, pulled);
    }
}

/* ---- dcl, dclw ---- */

static const mio__parameter dcl_parameters[] = {
    [TEMPERATURE] = MIO__TEMPERATURE("temperature", 0.1, "temperature of the similarities"),
    [SIGMA] = MIO__TEMPERATURE("sigma", 0.5, "temperature of the positives' weights"), /* dclw alone */
};

/* The log of the sum of exp(sharpness s) over positive pairs. sharpness 0, where all pairs weigh the same: plain dcl.
 */
static double log_of_positives(const mio__pairs *pairs, double sharpness)
{
    double peak = -INFINITY, sum = 0;
    for (size_t b = 0; b < pairs->plan.pairs; b++)
        peak = fmax(peak, pairs->similarity_of_pair[b]);
    for (size_t b = 0; b < pairs->plan.pairs; b++)
        sum += exp(sharpness * (pairs->similarity_of_pair[b] - peak));
    return sharpness * peak + log(sum);
}

static double weight_of_positive(const mio__pairs *pairs, size_t b, double sharpness, double log_sum)
{
    return sharpness > 0 ? 2 - (double)pairs->plan.pairs * exp(sharpness * pairs->similarity_of_pair[b] - log_sum) : 1;
}

static double visit_decoupled(void *argument, size_t b)
{
    const softmax *all = argument;
    mio__pairs *pairs = all->pairs;
    const double w = weight_of_positive(pairs, b, all->sharpness, all->positives);
    double value = -2 * w * all->rate * pairs->similarity_of_pair[b];
    for (size_t view = 0; view < 2; view++) {
        const double sum = mio__pairs_log_sum(pairs, 0, all->rate, view, b);
        value += sum;
        set_weight(pairs, 0, view, b, all->share * all->rate, sum);
    }
    pairs->similarity_of_pair[b] = -2 * all->share * w * all->rate;
    return all->share * value;
}

static double decoupled(mio__pairs *pairs, const double *p, double sharpness)
{
    const double rate = mio__rate(p[TEMPERATURE]);
    softmax all = {.pairs = pairs, .p = p, .rate = rate, .share = 0.5 / (double)pairs->plan.pairs};
    all.sharpness = sharpness;
    all.positives = sharpness > 0 ? log_of_positives(pairs, sharpness) : 0;
    mio__pairs_log_sums(pairs, 0, rate);
    const double value = mio__pairs_sum(pairs, visit_decoupled, &all);
    pull(pairs, 1, &rate);
    return value;
}

static double compute_dcl(mio__pairs *pairs, const double *p)
{
    return decoupled(pairs, p, 0);
}

static double compute_dclw(mio__pairs *pairs, const double *p)
{
    return decoupled(pairs, p, mio__rate(p[SIGMA]));
}

/* The weights of dclw's positives are constants, here as in its gradient. */
static void bend_decoupled(const mio_loss *loss, mio__forces *forces, double sharpness)
{
    const mio__pairs *pairs = &loss->pairs;
    const double rate = forces->term[0].rate, share = 0.5 / (double)pairs->plan.pairs;
    const double positives = log_of_positives(pairs, sharpness);
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        forces->attraction[b] = (mio__dual){-2 * share * rate * weight_of_positive(pairs, b, sharpness, positives), 0};
        for (size_t view = 0; view < 2; view++) {
            const size_t slot = mio__pairs_slot(pairs, view, b);
            forces->pull[0][slot] = (mio__pull){{share * rate, 0}, forces->log_sum[0][slot]};
        }
    }
}

static void bend_dcl(const mio_loss *loss, mio__forces *forces)
{
    bend_decoupled(loss, forces, 0);
}

static void bend_dclw(const mio_loss *loss, mio__forces *forces)
{
    bend_decoupled(loss, forces, mio__rate(loss->settings.values[SIGMA]));
}

/* ---- hcl ---- */

static const mio__parameter hcl_parameters[] = {
    [TEMPERATURE] = MIO__TEMPERATURE("temperature", 0.5, "temperature of the similarities"),
    [BETA] = MIO__WEIGHT("beta", 1, "how much harder negatives count more; 0: all alike"),
    [PRIOR] = {"positive_prior", MIO_PARAMETER_REAL, 0.1, 0, 1, 0, 1, NULL,
               "assumed share of negatives that are of the positive's class", ""},
};

/* The sums' error grows where the presumed positives are taken out of them. */
static int hcl_needs_double(const double *p)
{
    return mio__is_steep((1 + p[BETA]) * mio__rate(p[TEMPERATURE]) / (1 - p[PRIOR]));
}

/* One row: r = log(R) - x. Returns the row's loss and its derivatives by r and, with r held, by x. */
static double hcl_row(const double *p, double n, double x, double r, double *by_r, double *by_x)
{
    const double prior = p[PRIOR], least = n * exp(-mio__rate(p[TEMPERATURE]) - x);
    *by_r = *by_x = 0;
    if (r > 50) { /* everything beside R is below rounding, and R may be beyond the range of double */
        *by_r = 1;
        return r - log1p(-prior);
    }
    const double q = (exp(r) - prior * n) / (1 - prior);
    if (q < least) {
        *by_x = -least / (1 + least);
        return log1p(least);
    }
    *by_r = exp(r) / (1 - prior) / (1 + q);
    return log1p(q);
}

static double visit_hcl(void *argument, size_t b)
{
    const softmax *all = argument;
    /* Of the hard negatives' sum and of the plain one that it is set against; without beta the latter counts them. */
    const double *p = all->p, rates[2] = {(1 + p[BETA]) * all->rate, p[BETA] * all->rate};
    mio__pairs *pairs = all->pairs;
    const double n = 2 * (double)pairs->plan.pairs - 2, log_n = log(n), x = all->rate * pairs->similarity_of_pair[b];
    double value = 0, pulled = 0;
    for (size_t view = 0; view < 2; view++) {
        const double hard = mio__pairs_log_sum(pairs, 0, rates[0], view, b);
        const double plain = p[BETA] > 0 ? mio__pairs_log_sum(pairs, 1, rates[1], view, b) : log_n;
        double by_r, by_x;
        value += hcl_row(p, n, x, log_n + hard - plain - x, &by_r, &by_x);
        pulled += by_x - by_r;
        set_weight(pairs, 0, view, b, all->share * by_r * rates[0], hard);
        if (p[BETA] > 0)
            set_weight(pairs, 1, view, b, -all->share * by_r * rates[1], plain);
    }
    pairs->similarity_of_pair[b] = all->share * all->rate * pulled;
    return all->share * value;
}

static double compute_hcl(mio__pairs *pairs, const double *p)
{
    const double rate = mio__rate(p[TEMPERATURE]), rates[2] = {(1 + p[BETA]) * rate, p[BETA] * rate};
    const size_t terms = p[BETA] > 0 ? 2 : 1;
    softmax all = {.pairs = pairs, .p = p, .rate = rate, .share = 0.5 / (double)pairs->plan.pairs};
    mio__pairs_all_log_sums(pairs, terms, rates, NULL);
    const double value = mio__pairs_sum(pairs, visit_hcl, &all);
    pull(pairs, terms, rates);
    return value;
}

/* The same for a force: derivatives by r and by x as they change. */
static void hcl_slopes(const double *p, double n, mio__dual x, mio__dual r, mio__dual *by_r, mio__dual *by_x)
{
    double first, second;
    hcl_row(p, n, x.value, r.value, &first, &second);
    *by_r = (mio__dual){first, first * (1 - first) * r.slope};
    *by_x = (mio__dual){second, -second * (1 + second) * x.slope};
}

static void terms_of_hcl(const mio_loss *loss, mio__forces *forces)
{
    const double *p = loss->settings.values, rate = mio__rate(p[TEMPERATURE]);
    forces->terms = p[BETA] > 0 ? 2 : 1;
    forces->term[0] = (mio__term){.rate = (1 + p[BETA]) * rate};
    forces->term[1] = (mio__term){.rate = p[BETA] * rate};
}

static void bend_hcl(const mio_loss *loss, mio__forces *forces)
{
    const mio__pairs *pairs = &loss->pairs;
    const double *p = loss->settings.values, rate = mio__rate(p[TEMPERATURE]);
    const double share = 0.5 / (double)pairs->plan.pairs, n = 2 * (double)pairs->plan.pairs - 2;
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        const mio__dual x = mio__dual_scale(rate, forces->cosine[b]);
        mio__dual pulled = {0, 0}, by_r, by_x;
        for (size_t view = 0; view < 2; view++) {
            const size_t slot = mio__pairs_slot(pairs, view, b);
            const mio__dual hard = forces->log_sum[0][slot];
            const mio__dual plain = forces->terms == 2 ? forces->log_sum[1][slot] : (mio__dual){log(n), 0};
            const mio__dual r = mio__dual_minus(mio__dual_minus(hard, plain), x);
            hcl_slopes(p, n, x, (mio__dual){log(n) + r.value, r.slope}, &by_r, &by_x);
            pulled = mio__dual_add(pulled, mio__dual_minus(by_x, by_r));
            forces->pull[0][slot] = (mio__pull){mio__dual_scale(share * forces->term[0].rate, by_r), hard};
            forces->pull[1][slot] = (mio__pull){mio__dual_scale(-share * forces->term[1].rate, by_r), plain};
        }
        forces->attraction[b] = mio__dual_scale(share * rate, pulled);
    }
}

const mio__loss_kind mio__loss_nt_xent = {"nt_xent",
                                          nt_xent_parameters,
                                          1,
                                          .needs_double = needs_double,
                                          .compute = compute_nt_xent,
                                          .storage = MIO__PAIR_FOR_SEVERAL,
                                          .terms = terms_of_softmax,
                                          .bend = bend_nt_xent};
const mio__loss_kind mio__loss_dcl = {"dcl",
                                      dcl_parameters,
                                      1,
                                      .needs_double = needs_double,
                                      .compute = compute_dcl,
                                      .storage = MIO__PAIR_FOR_SEVERAL,
                                      .terms = terms_of_softmax,
                                      .bend = bend_dcl};
const mio__loss_kind mio__loss_dclw = {"dclw",
                                       dcl_parameters,
                                       2,
                                       .needs_double = needs_double,
                                       .compute = compute_dclw,
                                       .flags = MIO__LOSS_STOP_GRADIENT,
                                       .storage = MIO__PAIR_FOR_SEVERAL,
                                       .terms = terms_of_softmax,
                                       .bend = bend_dclw};
const mio__loss_kind mio__loss_hcl = {"hcl",
                                      hcl_parameters,
                                      3,
                                      .needs_double = hcl_needs_double,
                                      .compute = compute_hcl,
                                      .storage = MIO__PAIR_FOR_SEVERAL,
                                      .terms = terms_of_hcl,
                                      .bend = bend_hcl};
