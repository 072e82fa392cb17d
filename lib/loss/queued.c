/* Losses against a queue of earlier unit vectors Q. With t the temperature, means over the B images, q, k, p unit
   vectors:
       moco   -q_b . k_b / t + log(exp(q_b . k_b / t) + sum over Q of exp(q_b . Q / t))   (He et al. 2020)
              q from z1; k, a constant, from the targets t2, or z2 itself
       nnclr  half the sum over both orders of the views of
              -n_b . p_b / t + log(sum over images c of exp(n_b . p_c / t)), n_b the member of Q nearest to view 1's
              projection (targets t1, or z1), p the predictions z2 of view 2   (Dwibedi et al. 2021, the paper's form)
   The loss sees the queue as it was; afterwards k (moco) or view 1's projections (nnclr) replace its oldest rows. */
#include "loss/cross.h"
#include "loss/loss.h"

#include <math.h>
#include <string.h>

enum { TEMPERATURE };

static int needs_double(const double *p)
{
    return mio__is_steep(mio__rate(p[TEMPERATURE]));
}

static const mio__parameter moco_parameters[] = {
    [TEMPERATURE] = MIO__TEMPERATURE("temperature", 0.07, "temperature of the softmax over similarities"),
    MIO__COUNT("queue_size", 65536, "earlier rows that are kept as negatives", "rows"),
};

static const mio__parameter nnclr_parameters[] = {
    [TEMPERATURE] = MIO__TEMPERATURE("temperature", 0.1, "temperature of the softmax over similarities"),
    MIO__COUNT("queue_size", 65536, "earlier rows that are kept as possible neighbours", "rows"),
};

static mio__cross_side queue_side(const mio_loss *loss)
{
    return (mio__cross_side){loss->queue.rows, loss->queue.element, loss->queue.count};
}

/* ---- moco ---- */

static size_t moco_extra(const mio_loss *loss, const mio__pair_plan *plan)
{
    (void)loss;
    return mio__cross_bytes(plan);
}

static mio_status run_moco(mio_loss *loss, double *value)
{
    mio__pairs *pairs = &loss->pairs;
    const double rate = mio__rate(loss->settings.values[TEMPERATURE]), share = 1 / (double)pairs->plan.pairs;
    const mio__cross cross = {pairs, mio__cross_view(pairs, 0), queue_side(loss), loss->extra};
    double *query = mio__pairs_worker_row(pairs, 0, 0), *key = mio__pairs_worker_row(pairs, 0, 1);
    const int wants = pairs->batch.gradient[0] != NULL;
    const int apart = !wants || pairs->plan.wide; /* else one pass adds up the gradients as parts of sums yet unknown */
    if (apart)
        mio__cross_log_sums(&cross, rate, pairs->log_sums[0]);
    else
        mio__cross_exponentials(&cross, rate, pairs->log_sums[0], mio__cross_gradient(pairs, 0));
    *value = 0;
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        mio__pairs_unit(pairs, 0, b, query);
        mio__loss_target(loss, 1, b, key);
        const double x = rate * pairs->kernels->dot(pairs->plan.width, query, key);
        const double gap = mio__log_sum_value(&pairs->log_sums[0][b], rate) - x;
        *value += share * mio__softplus(gap);
        const double all = x + mio__softplus(gap), scale = apart ? 1 : share * rate * exp(-all);
        pairs->weights[0][b] = (mio__row_weight){share * rate, all};
        pairs->similarity_of_pair[b] = 0;
        if (wants)
            mio__pairs_combine(pairs, 0, b, scale, -share * rate * mio__sigmoid(gap), key);
    }
    if (wants && apart) {
        mio__cross_settle(pairs, pairs->plan.pairs, pairs->weights[0]);
        mio__cross_pull(&cross, rate, pairs->weights[0], NULL, mio__cross_gradient(pairs, 0));
    }
    mio__pairs_finish(pairs, 1, pairs->similarity_of_pair);
    mio__loss_clear_gradient(loss, 1);
    return MIO_OK;
}

static void advance_moco(mio_loss *loss)
{
    mio__queue_push(loss, 1);
}

/* ---- nnclr ---- */

/* extra: scratch, then the neighbours' rows, their cosines and places. */
typedef struct neighbours {
    void *scratch, *rows;
    size_t *nearest;
    double *cosine;
} neighbours;

static size_t rounded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t rows_bytes(const mio__pair_plan *plan)
{
    return plan->slots_per_view * plan->width * (plan->wide ? sizeof(double) : sizeof(float));
}

static size_t nnclr_extra(const mio_loss *loss, const mio__pair_plan *plan)
{
    (void)loss;
    const size_t scratch = mio__cross_bytes(plan);
    return scratch ? rounded(scratch) + rounded(rows_bytes(plan)) +
                         rounded(plan->slots_per_view * (sizeof(size_t) + sizeof(double)))
                   : 0;
}

static neighbours carve(const mio_loss *loss)
{
    const mio__pair_plan *plan = &loss->pairs.plan;
    char *rows = (char *)loss->extra + rounded(mio__cross_bytes(plan));
    double *cosine = (double *)(rows + rounded(rows_bytes(plan)));
    return (neighbours){loss->extra, rows, (size_t *)(cosine + plan->slots_per_view), cosine};
}

/* The projections of a view, in the passes' type, into rows; or the view's own unit vectors. */
static mio__cross_side projections(const mio_loss *loss, size_t view, void *rows)
{
    const mio__pairs *pairs = &loss->pairs;
    const size_t width = pairs->plan.width;
    if (!loss->target_set[view])
        return mio__cross_view(pairs, view);
    double *row = mio__pairs_worker_row(pairs, 0, 0);
    memset(rows, 0, rows_bytes(&pairs->plan));
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        mio__loss_target(loss, view, b, row);
        for (size_t k = 0; k < width; k++)
            if (pairs->plan.wide)
                ((double *)rows)[b * width + k] = row[k];
            else
                ((float *)rows)[b * width + k] = (float)row[k];
    }
    return (mio__cross_side){rows, mio__pairs_type(pairs), pairs->plan.pairs};
}

/* A row of the queue, in double and in the passes' type. */
static void read_neighbour(const mio_loss *loss, size_t from, double *row, void *rows, size_t to)
{
    const size_t width = loss->pairs.plan.width;
    for (size_t k = 0; k < width; k++) {
        const size_t at = from * width + k;
        row[k] = loss->queue.element == sizeof(float) ? (double)((const float *)loss->queue.rows)[at]
                                                      : ((const double *)loss->queue.rows)[at];
        if (loss->pairs.plan.wide)
            ((double *)rows)[to * width + k] = row[k];
        else
            ((float *)rows)[to * width + k] = (float)row[k];
    }
}

/* Neighbours of one view's projections against the predictions of the other. */
static double half(mio_loss *loss, size_t view, double rate)
{
    mio__pairs *pairs = &loss->pairs;
    const neighbours n = carve(loss);
    const size_t other = 1 - view;
    const double share = 0.5 / (double)pairs->plan.pairs;
    double *neighbour = mio__pairs_worker_row(pairs, 0, 0), *predicted = mio__pairs_worker_row(pairs, 0, 1), value = 0;
    mio__cross_nearest(&(mio__cross){pairs, projections(loss, view, n.rows), queue_side(loss), n.scratch}, n.nearest,
                       n.cosine);
    memset(n.rows, 0, rows_bytes(&pairs->plan));
    for (size_t b = 0; b < pairs->plan.pairs; b++)
        read_neighbour(loss, n.nearest[b], neighbour, n.rows, b);
    const mio__cross_side rows = {n.rows, mio__pairs_type(pairs), pairs->plan.pairs};
    const mio__cross_side predictions = mio__cross_view(pairs, other);
    mio__cross_log_sums(&(mio__cross){pairs, rows, predictions, n.scratch}, rate, pairs->log_sums[0]);
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        read_neighbour(loss, n.nearest[b], neighbour, n.rows, b);
        mio__pairs_unit(pairs, other, b, predicted);
        const double sum = mio__log_sum_value(&pairs->log_sums[0][b], rate);
        value += share * (sum - rate * pairs->kernels->dot(pairs->plan.width, neighbour, predicted));
        pairs->weights[0][b] = (mio__row_weight){share * rate, sum};
        if (mio__pairs_wants_gradient(pairs))
            mio__pairs_add(pairs, other, b, -share * rate, neighbour);
    }
    if (mio__pairs_wants_gradient(pairs)) {
        mio__cross_settle(pairs, pairs->plan.pairs, pairs->weights[0]);
        mio__cross_pull(&(mio__cross){pairs, predictions, rows, n.scratch}, rate, NULL, pairs->weights[0],
                        mio__cross_gradient(pairs, other));
    }
    return value;
}

static mio_status run_nnclr(mio_loss *loss, double *value)
{
    mio__pairs *pairs = &loss->pairs;
    const double rate = mio__rate(loss->settings.values[TEMPERATURE]);
    *value = half(loss, 0, rate) + half(loss, 1, rate);
    memset(pairs->similarity_of_pair, 0, pairs->plan.pairs * sizeof *pairs->similarity_of_pair);
    mio__pairs_finish(pairs, 1, pairs->similarity_of_pair);
    return MIO_OK;
}

static void advance_nnclr(mio_loss *loss)
{
    mio__queue_push(loss, 0);
}

const mio__loss_kind mio__loss_moco = {"moco",
                                       moco_parameters,
                                       2,
                                       .needs_double = needs_double,
                                       .run = run_moco,
                                       .advance = advance_moco,
                                       .extra = moco_extra,
                                       .flags = MIO__LOSS_ONE_PAIR | MIO__LOSS_TARGETS | MIO__LOSS_KEYS |
                                                MIO__LOSS_QUEUE | MIO__LOSS_STOP_GRADIENT,
                                       .storage = MIO__PAIR_ROWS_ALONE};
const mio__loss_kind mio__loss_nnclr = {"nnclr",
                                        nnclr_parameters,
                                        2,
                                        .needs_double = needs_double,
                                        .run = run_nnclr,
                                        .advance = advance_nnclr,
                                        .extra = nnclr_extra,
                                        .flags = MIO__LOSS_TARGETS | MIO__LOSS_PREDICTIONS | MIO__LOSS_QUEUE |
                                                 MIO__LOSS_STOP_GRADIENT,
                                        .storage = MIO__PAIR_ROWS_ALONE};
