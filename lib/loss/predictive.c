/* Predictions p of one view against constant targets t of the other, unit vectors, means over the B images:
       byol     mean of (|p_1 - t_2|^2 + |p_2 - t_1|^2) = mean of (4 - 2 p_1 . t_2 - 2 p_2 . t_1)   (Grill et al. 2020)
       simsiam  -1/2 mean of (p_1 . t_2 + p_2 . t_1)                                                (Chen and He 2021)
   The targets are those of mio_loss_set_targets, or z itself as a constant. byol's gradient is 4 times simsiam's. */
#include "loss/loss.h"

#include <string.h>

/* Whether a row has a direction: |unit|^2. */
static double present(const double *row, size_t width)
{
    for (size_t k = 0; k < width; k++)
        if (row[k] != 0)
            return 1;
    return 0;
}

typedef struct predictions {
    const mio_loss *loss;
    double slope; /* derivative of the loss by a cosine */
    int squares;
} predictions;

/* Writes the chunk's gradients into the accumulators and its part of the value into the chunk's row of sums. */
static void predict_chunk(void *argument, size_t chunk, size_t worker)
{
    const predictions *work = argument;
    const mio__pairs *pairs = &work->loss->pairs;
    const size_t width = pairs->plan.width;
    double *unit = mio__pairs_worker_row(pairs, worker, 0), *target = mio__pairs_worker_row(pairs, worker, 1),
           value = 0;
    size_t start, end;
    mio__pairs_chunk(pairs, chunk, &start, &end);
    for (size_t b = start; b < end; b++)
        for (size_t view = 0; view < 2; view++) {
            mio__pairs_unit(pairs, view, b, unit);
            mio__loss_target(work->loss, 1 - view, b, target);
            const double cosine = pairs->kernels->dot(width, unit, target);
            value += work->slope * cosine;
            if (work->squares)
                value -= 0.5 * work->slope * (present(unit, width) + present(target, width));
            if (mio__pairs_wants_gradient(pairs))
                mio__pairs_add(pairs, view, b, work->slope, target);
        }
    pairs->chunk_sums[chunk * width] = value;
}

/* Without targets each view is the other's: mio__pairs_begin has found the cosines. Returns the value. */
static double predict_each_other(const predictions *work, mio__pairs *pairs)
{
    double value = 0;
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        const int first = pairs->scale[mio__pairs_slot(pairs, 0, b)] != 0;
        const int second = pairs->scale[mio__pairs_slot(pairs, 1, b)] != 0;
        value += 2 * work->slope * pairs->similarity_of_pair[b];
        if (work->squares)
            value -= work->slope * (first + second);
        pairs->similarity_of_pair[b] = work->slope;
    }
    mio__pairs_finish(pairs, 0, pairs->similarity_of_pair);
    return value;
}

static mio_status predict(mio_loss *loss, double slope, int squares, double *value)
{
    mio__pairs *pairs = &loss->pairs;
    predictions work = {loss, slope / (double)pairs->plan.pairs, squares};
    if (!loss->target_set[0] && !loss->target_set[1]) {
        *value = predict_each_other(&work, pairs);
        return MIO_OK;
    }
    mio__pairs_clear_gradient(pairs);
    mio__pairs_by_chunk(pairs, predict_chunk, &work);
    *value = mio__pairs_sum_of_chunks(pairs);
    memset(pairs->similarity_of_pair, 0, pairs->plan.pairs * sizeof *pairs->similarity_of_pair);
    mio__pairs_finish(pairs, 1, pairs->similarity_of_pair);
    return MIO_OK;
}

static mio_status run_byol(mio_loss *loss, double *value)
{
    return predict(loss, -2, 1, value);
}

static mio_status run_simsiam(mio_loss *loss, double *value)
{
    return predict(loss, -0.5, 0, value);
}

const mio__loss_kind mio__loss_byol = {"byol",
                                       NULL,
                                       0,
                                       .run = run_byol,
                                       .flags = MIO__LOSS_ONE_PAIR | MIO__LOSS_TARGETS | MIO__LOSS_PREDICTIONS |
                                                MIO__LOSS_STOP_GRADIENT,
                                       .storage = MIO__PAIR_NOTHING};
const mio__loss_kind mio__loss_simsiam = {"simsiam",
                                          NULL,
                                          0,
                                          .run = run_simsiam,
                                          .flags = MIO__LOSS_ONE_PAIR | MIO__LOSS_TARGETS | MIO__LOSS_PREDICTIONS |
                                                   MIO__LOSS_STOP_GRADIENT,
                                          .storage = MIO__PAIR_NOTHING};
