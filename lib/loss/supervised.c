/* Losses in which every row of a label is a positive of every other. With x = s / t, N = 2B rows, P(i) the other rows
   of row i's label (its other view included), Neg(i) the rows of other labels, means over all rows:
       supcon  (t / base) (-mean over P of x + log of the sum of exp(x) over all other rows)     (Khosla et al. 2020)
       schane  -log(A / |P|) + log(A + Q), A = sum over P of exp(x),
               Q = |Neg| (sum over Neg of exp(2 x)) / (sum over Neg of exp(x))
   schane is experimental: hard negatives weighted by their similarity (arXiv 2308.14893, 2402.14551), in a form known
   from a re-implementation, with weights over negatives alone and unit vectors. Without labels supcon is nt_xent. */
#include "loss/loss.h"

#include <math.h>
#include <string.h>

enum { TEMPERATURE, BASE };

/* A rate at which exp(rate s) is 1 for every cosine, and still 0 for pairs that are left out (s = -infinity). */
static const double flat = 1e-30;

/* The second: a scale that would take the gradient's sums beyond float. */
static int needs_double(const double *p)
{
    return mio__is_steep(mio__rate(p[TEMPERATURE])) || p[TEMPERATURE] / p[BASE] > 1e15;
}

/* Other rows of a row's label, the positive included. */
static double positives(const mio_loss *loss, size_t b)
{
    return loss->pairs.class_of ? 2 * (double)loss->class_size[b] - 1 : 1;
}

static mio__row_weight *weight(mio__pairs *pairs, size_t term, size_t view, size_t b)
{
    return &pairs->weights[term][mio__pairs_slot(pairs, view, b)];
}

/* ---- supcon ---- */

static const mio__parameter supcon_parameters[] = {
    [TEMPERATURE] = MIO__TEMPERATURE("temperature", 0.07, "temperature of the softmax over similarities"),
    [BASE] = MIO__TEMPERATURE("base_temperature", 0.07, "the loss is scaled by temperature / base_temperature"),
};

/* extra: the sum of the unit vectors of a class of several images, width values, and after them the place of each
   image's. */
static size_t extra_of_supcon(const mio_loss *loss, const mio__pair_plan *plan)
{
    (void)loss;
    return plan->pairs / 2 * plan->width * sizeof(double) + (plan->pairs + 1) * sizeof(uint32_t);
}

static uint32_t *places(const mio_loss *loss)
{
    const mio__pair_plan *plan = &loss->pairs.plan;
    return (uint32_t *)((double *)loss->extra + plan->pairs / 2 * plan->width);
}

static void sum_classes(mio_loss *loss)
{
    const mio__pairs *pairs = &loss->pairs;
    const size_t width = pairs->plan.width;
    double *sums = loss->extra, *unit = mio__pairs_worker_row(pairs, 0, 0);
    uint32_t *place = places(loss), known = 0;
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        if (loss->class_size[b] < 2)
            continue;
        const uint32_t first = pairs->class_of[b];
        place[b] = first == b ? known++ : place[first];
        double *sum = sums + place[b] * width;
        if (first == b)
            memset(sum, 0, width * sizeof *sum);
        for (size_t view = 0; view < 2; view++) {
            mio__pairs_unit(pairs, view, b, unit);
            pairs->kernels->add(width, unit, sum);
        }
    }
}

typedef struct attraction {
    const mio_loss *loss;
    double factor;
} attraction;

/* Each row with the sum of its class but for the row itself and its other view. */
static void attract_chunk(void *argument, size_t chunk, size_t worker)
{
    const attraction *work = argument;
    const mio_loss *loss = work->loss;
    const mio__pairs *pairs = &loss->pairs;
    const size_t width = pairs->plan.width;
    double *units[2] = {mio__pairs_worker_row(pairs, worker, 0), mio__pairs_worker_row(pairs, worker, 1)};
    double *rest = mio__pairs_worker_row(pairs, worker, 2), value = 0;
    size_t start, end;
    mio__pairs_chunk(pairs, chunk, &start, &end);
    for (size_t b = start; b < end; b++) {
        if (loss->class_size[b] < 2)
            continue;
        const double *sum = (const double *)loss->extra + places(loss)[b] * width;
        const double pull = -work->factor / positives(loss, b);
        for (size_t view = 0; view < 2; view++)
            mio__pairs_unit(pairs, view, b, units[view]);
        for (size_t k = 0; k < width; k++)
            rest[k] = sum[k] - units[0][k] - units[1][k];
        for (size_t view = 0; view < 2; view++) {
            value += pull * pairs->kernels->dot(width, units[view], rest);
            if (mio__pairs_wants_gradient(pairs))
                mio__pairs_add(pairs, view, b, 2 * pull, rest);
        }
    }
    pairs->chunk_sums[chunk * width] = value;
}

/* The pull among rows of one label but for the two views of an image; returns its part of the value. */
static double attract_classes(mio_loss *loss, double factor)
{
    sum_classes(loss);
    mio__pairs_by_chunk(&loss->pairs, attract_chunk, &(attraction){loss, factor});
    return mio__pairs_sum_of_chunks(&loss->pairs);
}

/* What the work on one pair of images knows of all. */
typedef struct supervision {
    mio_loss *loss;
    const double *rates;
    double share; /* of a row in the value */
} supervision;

static double visit_supcon(void *argument, size_t b)
{
    const supervision *all = argument;
    mio__pairs *pairs = &all->loss->pairs;
    const double rate = all->rates[0], factor = all->share * rate;
    const double x = rate * pairs->similarity_of_pair[b], others = 1 - 1 / positives(all->loss, b);
    double value = 2 * others * x, pulled = 2 * others;
    for (size_t view = 0; view < 2; view++) {
        const double gap = mio__pairs_log_sum(pairs, 0, rate, view, b) - x, soft = mio__softplus(gap);
        value += soft;
        pulled -= mio__sigmoid(gap);
        *weight(pairs, 0, view, b) = (mio__row_weight){factor, x + soft};
    }
    pairs->similarity_of_pair[b] = factor * pulled;
    return all->share * value;
}

static mio_status run_supcon(mio_loss *loss, double *value)
{
    mio__pairs *pairs = &loss->pairs;
    const double *p = loss->settings.values, rate = mio__rate(p[TEMPERATURE]);
    const double share = 0.5 * p[TEMPERATURE] / p[BASE] / (double)pairs->plan.pairs;
    const double among = pairs->class_of ? attract_classes(loss, share * rate) : 0;
    mio__pairs_log_sums(pairs, 0, rate);
    *value = among + mio__pairs_sum(pairs, visit_supcon, &(supervision){loss, &rate, share});
    if (mio__pairs_wants_gradient(pairs)) {
        mio__pairs_pull(pairs, 1, &rate);
        mio__pairs_finish(pairs, 1, pairs->similarity_of_pair);
    }
    return MIO_OK;
}

/* The softmax over other labels; and where there are labels, the softmax over this one, and the constant pull within
 * it. */
static void terms_of_supcon(const mio_loss *loss, mio__forces *forces)
{
    const double rate = mio__rate(loss->settings.values[TEMPERATURE]);
    const mio__pair_choice other = loss->pairs.class_of ? MIO__PAIR_OTHER_CLASS : MIO__PAIR_ALL;
    forces->terms = loss->pairs.class_of ? 3 : 1;
    forces->term[0] = (mio__term){.choice = other, .rate = rate};
    forces->term[1] = (mio__term){.choice = MIO__PAIR_SAME_CLASS, .rate = rate};
    forces->term[2] = (mio__term){.choice = MIO__PAIR_SAME_CLASS, .rate = flat};
}

static void bend_supcon(const mio_loss *loss, mio__forces *forces)
{
    const mio__pairs *pairs = &loss->pairs;
    const double *p = loss->settings.values, rate = forces->term[0].rate;
    const double factor = rate * 0.5 * p[TEMPERATURE] / p[BASE] / (double)pairs->plan.pairs;
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        const mio__dual x = mio__dual_scale(rate, forces->cosine[b]), others = {1 - 1 / positives(loss, b), 0};
        mio__dual pulled = {0, 0};
        for (size_t view = 0; view < 2; view++) {
            const size_t slot = mio__pairs_slot(pairs, view, b);
            mio__dual sum = forces->log_sum[0][slot];
            if (forces->terms > 1)
                sum = mio__dual_log_add(sum, forces->log_sum[1][slot]);
            const mio__dual gap = mio__dual_minus(sum, x), all = mio__dual_add(x, mio__dual_softplus(gap));
            pulled = mio__dual_add(pulled, mio__dual_minus(others, mio__dual_sigmoid(gap)));
            forces->pull[0][slot] = forces->pull[1][slot] = (mio__pull){{factor, 0}, all};
            forces->pull[2][slot] = (mio__pull){{-factor / positives(loss, b), 0}, {0, 0}};
        }
        forces->attraction[b] = mio__dual_scale(factor, pulled);
    }
}

/* ---- schane ---- */

static const mio__parameter schane_parameters[] = {
    [TEMPERATURE] = MIO__TEMPERATURE("temperature", 0.5, "temperature of the similarities"),
};

static int schane_needs_double(const double *p)
{
    return mio__is_steep(2 * mio__rate(p[TEMPERATURE]));
}

/* Terms: 0, exp(2x) over negatives; 1, exp(x) over negatives; 2, exp(x) over positives but for the other view. */
static const mio__pair_choice choices[] = {MIO__PAIR_OTHER_CLASS, MIO__PAIR_OTHER_CLASS, MIO__PAIR_SAME_CLASS};

/* One row: its loss; its weights; the derivative by the similarity of its pair is returned. */
static double schane_row(const supervision *all, size_t view, size_t b, double *value)
{
    mio__pairs *pairs = &all->loss->pairs;
    const double *rates = all->rates, x = rates[1] * pairs->similarity_of_pair[b];
    const double negatives = 2 * (double)(pairs->plan.pairs - all->loss->class_size[b]);
    const double hard = mio__pairs_log_sum(pairs, 0, rates[0], view, b),
                 plain = mio__pairs_log_sum(pairs, 1, rates[1], view, b);
    const double attract = mio__log_add(x, mio__pairs_log_sum(pairs, 2, rates[1], view, b));
    const double gap = negatives > 0 ? log(negatives) + hard - plain - attract : -INFINITY;
    const double pulled = negatives > 0 ? all->share * mio__sigmoid(gap) : 0;
    *value += all->share * (log(positives(all->loss, b)) + (negatives > 0 ? mio__softplus(gap) : 0));
    *weight(pairs, 0, view, b) = (mio__row_weight){pulled * rates[0], negatives > 0 ? hard : 0};
    *weight(pairs, 1, view, b) = (mio__row_weight){-pulled * rates[1], negatives > 0 ? plain : 0};
    *weight(pairs, 2, view, b) = (mio__row_weight){-pulled * rates[1], attract};
    return -pulled * rates[1] * exp(x - attract);
}

static double visit_schane(void *argument, size_t b)
{
    const supervision *all = argument;
    double value = 0, pulled = 0;
    for (size_t view = 0; view < 2; view++)
        pulled += schane_row(all, view, b, &value);
    all->loss->pairs.similarity_of_pair[b] = pulled;
    return value;
}

static mio_status run_schane(mio_loss *loss, double *value)
{
    mio__pairs *pairs = &loss->pairs;
    const double rate = mio__rate(loss->settings.values[TEMPERATURE]), rates[] = {2 * rate, rate, rate};
    mio__pairs_all_log_sums(pairs, 3, rates, choices);
    *value = mio__pairs_sum(pairs, visit_schane, &(supervision){loss, rates, 0.5 / (double)pairs->plan.pairs});
    if (!mio__pairs_wants_gradient(pairs))
        return MIO_OK;
    mio__pairs_pull_chosen(pairs, 3, rates, choices);
    mio__pairs_finish(pairs, 1, pairs->similarity_of_pair);
    return MIO_OK;
}

/* As run_schane has them. */
static void terms_of_schane(const mio_loss *loss, mio__forces *forces)
{
    const double rate = mio__rate(loss->settings.values[TEMPERATURE]);
    forces->terms = 3;
    forces->term[0] = (mio__term){.choice = MIO__PAIR_OTHER_CLASS, .rate = 2 * rate};
    forces->term[1] = (mio__term){.choice = MIO__PAIR_OTHER_CLASS, .rate = rate};
    forces->term[2] = (mio__term){.choice = MIO__PAIR_SAME_CLASS, .rate = rate};
}

/* One row of schane_row's: writes its pulls, returns the derivative by the cosine of its pair. */
static mio__dual bend_schane_row(const mio_loss *loss, mio__forces *forces, mio__dual x, size_t b, size_t slot)
{
    const double share = 0.5 / (double)loss->pairs.plan.pairs, rate = forces->term[1].rate;
    const double negatives = 2 * (double)(loss->pairs.plan.pairs - loss->class_size[b]);
    const mio__dual hard = forces->log_sum[0][slot], plain = forces->log_sum[1][slot];
    const mio__dual attract = mio__dual_log_add(x, forces->log_sum[2][slot]);
    mio__dual pulled = {0, 0};
    for (size_t t = 0; t < 3; t++)
        forces->pull[t][slot] = (mio__pull){{0, 0}, {0, 0}};
    if (negatives == 0)
        return pulled;
    const mio__dual ratio = mio__dual_minus(mio__dual_minus(hard, plain), attract);
    pulled = mio__dual_scale(share * rate, mio__dual_sigmoid((mio__dual){log(negatives) + ratio.value, ratio.slope}));
    forces->pull[0][slot] = (mio__pull){mio__dual_scale(2, pulled), hard};
    forces->pull[1][slot] = (mio__pull){mio__dual_scale(-1, pulled), plain};
    forces->pull[2][slot] = (mio__pull){mio__dual_scale(-1, pulled), attract};
    return mio__dual_scale(-1, mio__dual_times(pulled, mio__dual_exp(mio__dual_minus(x, attract))));
}

static void bend_schane(const mio_loss *loss, mio__forces *forces)
{
    for (size_t b = 0; b < loss->pairs.plan.pairs; b++) {
        const mio__dual x = mio__dual_scale(forces->term[1].rate, forces->cosine[b]);
        forces->attraction[b] = (mio__dual){0, 0};
        for (size_t view = 0; view < 2; view++)
            forces->attraction[b] = mio__dual_add(
                forces->attraction[b], bend_schane_row(loss, forces, x, b, mio__pairs_slot(&loss->pairs, view, b)));
    }
}

const mio__loss_kind mio__loss_supcon = {"supcon",
                                         supcon_parameters,
                                         2,
                                         .needs_double = needs_double,
                                         .run = run_supcon,
                                         .extra = extra_of_supcon,
                                         .flags = MIO__LOSS_MAY_LABEL,
                                         .storage = MIO__PAIR_FOR_SEVERAL,
                                         .terms = terms_of_supcon,
                                         .bend = bend_supcon};
const mio__loss_kind mio__loss_schane = {"schane",
                                         schane_parameters,
                                         1,
                                         .needs_double = schane_needs_double,
                                         .run = run_schane,
                                         .flags = MIO__LOSS_LABELS,
                                         .storage = MIO__PAIR_FOR_SEVERAL,
                                         .terms = terms_of_schane,
                                         .bend = bend_schane};
