/* Mutual information optimisation (Manna et al., arXiv 2111.12664): every pair is judged by itself, same image or not.

   With N = 2B rows, cosine similarities s, positives s+ and negatives s-:
       mio            mean softplus(-s+ / tp) + mean softplus(s- / tn) + l2_weight MSE
       mio_decoupled  -mean(s+ / tp) + log(1 + mean exp(s- / tn)) + l2_weight MSE
   where the means run over the B positive and the N (N - 2) ordered negative pairs, and MSE is the mean square
   difference of the unit vectors' values. "mio" is the form of the authors' public code (2021); its pooled reduction is
   one mean over all N (N - 1) ordered pairs. "mio_decoupled" is this library's derivation from the abstract of the
   paper's third version: the repulsion among positives removed, the mean over negatives replaced by its Jensen bound;
   it has not been held against the paper's equation. */
#include "loss/loss.h"

#include <math.h>

enum { POSITIVE, NEGATIVE, L2, REDUCTION };

static const char *const reductions[] = {"balanced", "pooled", NULL};

static const mio__parameter mio_parameters[] = {
    [POSITIVE] = MIO__TEMPERATURE("positive_temperature", 0.5, "temperature of positive pairs"),
    [NEGATIVE] = MIO__TEMPERATURE("negative_temperature", 0.5, "temperature of negative pairs"),
    [L2] = MIO__WEIGHT("l2_weight", 1, "weight of the mean square difference of the two views' unit vectors"),
    [REDUCTION] = {"reduction", MIO_PARAMETER_CHOICE, 0, 0, 0, 0, 0, reductions,
                   "balanced: positives and negatives averaged apart; pooled: one mean over all pairs", ""},
};

static const mio__parameter decoupled_parameters[] = {
    [POSITIVE] = MIO__TEMPERATURE("positive_temperature", 0.5, "temperature of positive pairs"),
    [NEGATIVE] = MIO__TEMPERATURE("negative_temperature", 0.5, "temperature of negative pairs"),
    [L2] = MIO__WEIGHT("l2_weight", 0, "weight of the mean square difference of the two views' unit vectors"),
};

static int needs_double(const double *p)
{
    return mio__is_steep(mio__rate(p[NEGATIVE]));
}

/* The derivative of l2_weight MSE by each positive similarity: MSE = (2/d) (1 - mean s+). */
static double l2_pull(const mio__pairs *pairs, const double *p)
{
    return -2 * p[L2] / (double)pairs->plan.dim / (double)pairs->plan.pairs;
}

/* What the work on one positive pair knows of all: its rate, its weight, and what the L2 term adds to its
   derivative. */
typedef struct positives {
    mio__pairs *pairs;
    double rate, weight, by_l2;
} positives;

/* Turns a positive's similarity into its derivative, and returns softplus(-s / tp). */
static double judge_positive(void *argument, size_t b)
{
    const positives *all = argument;
    double *s = &all->pairs->similarity_of_pair[b];
    const double x = -all->rate * *s;
    *s = -all->weight * all->rate * mio__sigmoid(x) + all->by_l2;
    return mio__softplus(x);
}

/* Weights of a positive pair of images, and of an ordered negative pair of rows. */
static double positive_weight_of(const mio__pairs *pairs, const double *p)
{
    const double rows = 2 * (double)pairs->plan.pairs;
    return p[REDUCTION] != 0 ? 2 / (rows * (rows - 1)) : 2 / rows;
}

static double negative_weight_of(const mio__pairs *pairs, const double *p)
{
    const double rows = 2 * (double)pairs->plan.pairs;
    return p[REDUCTION] != 0 ? 1 / (rows * (rows - 1)) : 1 / (rows * (rows - 2));
}

static double compute_mio(mio__pairs *pairs, const double *p)
{
    const double rate = mio__rate(p[NEGATIVE]), positive_weight = positive_weight_of(pairs, p);
    const double negative_weight = negative_weight_of(pairs, p);
    const double square = mio__pairs_mean_square(pairs);
    positives all = {pairs, mio__rate(p[POSITIVE]), positive_weight, l2_pull(pairs, p)};
    const double positive = mio__pairs_sum(pairs, judge_positive, &all);
    const double negative = mio__pairs_softplus(pairs, rate);
    mio__pairs_finish(pairs, 2 * negative_weight * rate, pairs->similarity_of_pair);
    return positive_weight * positive + negative_weight * negative + p[L2] * square;
}

static void terms_of_mio(const mio_loss *loss, mio__forces *forces)
{
    const double *p = loss->settings.values, rate = mio__rate(p[NEGATIVE]);
    forces->terms = 1;
    forces->term[0] = (mio__term){.rate = rate, .logistic = 2 * negative_weight_of(&loss->pairs, p) * rate};
}

static void bend_mio(const mio_loss *loss, mio__forces *forces)
{
    const double *p = loss->settings.values, rate = mio__rate(p[POSITIVE]);
    const double weight = positive_weight_of(&loss->pairs, p);
    for (size_t b = 0; b < loss->pairs.plan.pairs; b++)
        forces->attraction[b] =
            mio__dual_scale(-weight * rate, mio__dual_sigmoid(mio__dual_scale(-rate, forces->cosine[b])));
    forces->l2 = l2_pull(&loss->pairs, p);
}

/* The sum of exp(rate s) over all ordered negative pairs, from the rows' sums. */
static mio__log_sum sum_of_all(const mio__pairs *pairs, double rate)
{
    mio__log_sum all = {-INFINITY, 0};
    for (size_t view = 0; view < 2; view++)
        for (size_t b = 0; b < pairs->plan.pairs; b++) {
            const mio__log_sum *row = &pairs->log_sums[0][mio__pairs_slot(pairs, view, b)];
            const double peak = row->peak > all.peak ? row->peak : all.peak;
            all.sum = all.sum * exp(rate * (all.peak - peak)) + row->sum * exp(rate * (row->peak - peak));
            all.peak = peak;
        }
    return all;
}

/* At any rate: returns the logarithm of the sum; the gradients get exp(rate s) as parts of the sum. */
static double pull_apart(mio__pairs *pairs, double rate)
{
    mio__pairs_log_sums(pairs, 0, rate);
    const mio__log_sum sum = sum_of_all(pairs, rate);
    const double all = mio__log_sum_value(&sum, rate);
    for (size_t slot = 0; slot < 2 * pairs->plan.slots_per_view; slot++)
        pairs->weights[0][slot] = (mio__row_weight){0.5, all};
    if (mio__pairs_wants_gradient(pairs))
        mio__pairs_pull(pairs, 1, &rate);
    return all;
}

static double compute_decoupled(mio__pairs *pairs, const double *p)
{
    const double count = (double)pairs->plan.pairs, rows = 2 * count;
    const double rate = mio__rate(p[NEGATIVE]), positive_rate = mio__rate(p[POSITIVE]);
    double value = p[L2] * mio__pairs_mean_square(pairs);
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        value -= positive_rate * pairs->similarity_of_pair[b] / count;
        pairs->similarity_of_pair[b] = -positive_rate / count + l2_pull(pairs, p);
    }
    const int wide = pairs->plan.wide;
    const double all = wide ? pull_apart(pairs, rate) : log(mio__pairs_exponentials(pairs, rate));
    const double log_mean = all - log(rows) - log(rows - 2), share = wide ? 1 : exp(-all);
    mio__pairs_finish(pairs, 2 * rate * mio__sigmoid(log_mean) * share, pairs->similarity_of_pair);
    return value + mio__softplus(log_mean);
}

static void terms_of_decoupled(const mio_loss *loss, mio__forces *forces)
{
    forces->terms = 1;
    forces->term[0] = (mio__term){.rate = mio__rate(loss->settings.values[NEGATIVE])};
}

static void bend_decoupled(const mio_loss *loss, mio__forces *forces)
{
    const mio__pairs *pairs = &loss->pairs;
    const double *p = loss->settings.values, count = (double)pairs->plan.pairs, rate = mio__rate(p[NEGATIVE]);
    mio__dual all = {-INFINITY, 0}, mean;
    for (size_t view = 0; view < 2; view++)
        for (size_t b = 0; b < pairs->plan.pairs; b++)
            all = mio__dual_log_add(all, forces->log_sum[0][mio__pairs_slot(pairs, view, b)]);
    mean = mio__dual_minus(all, (mio__dual){log(2 * count) + log(2 * count - 2), 0});
    const mio__dual factor = mio__dual_scale(rate, mio__dual_sigmoid(mean));
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        forces->attraction[b] = (mio__dual){-mio__rate(p[POSITIVE]) / count, 0};
        for (size_t view = 0; view < 2; view++)
            forces->pull[0][mio__pairs_slot(pairs, view, b)] = (mio__pull){factor, all};
    }
    forces->l2 = l2_pull(pairs, p);
}

const mio__loss_kind mio__loss_mio = {
    "mio",           mio_parameters, 4, .needs_double = needs_double, .compute = compute_mio, .terms = terms_of_mio,
    .bend = bend_mio};
const mio__loss_kind mio__loss_mio_decoupled = {"mio_decoupled",
                                                decoupled_parameters,
                                                3,
                                                .needs_double = needs_double,
                                                .compute = compute_decoupled,
                                                .terms = terms_of_decoupled,
                                                .bend = bend_decoupled};
