/* Global contrastive loss with moving averages (Yuan et al. 2022, SogCLR). With N = 2B rows, n = N - 2 negatives each
   and a number u for every image of the dataset:
       g_i = mean over negatives of exp(s / t)
       u_i = (1 - gamma) u + gamma g_i, g_i at the image's first visit; u becomes the mean over both views
       w_ij = exp(s_ij / t) / max(u_i, 1e-8), a constant to the gradient
       L = 1/B sum over rows of (-s+ + mean over negatives of w s)
   The value says nothing; the gradient at gamma 1 is 2 t times that of dcl. Of an image that occurs twice in a batch,
   the later row's u stays. u is kept as its logarithm. */
#include "loss/loss.h"

#include <math.h>

enum { TEMPERATURE, GAMMA };

static const double least = 1e-8;  /* of u in the weights */
static const double largest = 600; /* logarithm of a weight, far beyond sense, so that all stays finite */

static const mio__parameter parameters[] = {
    [TEMPERATURE] = MIO__TEMPERATURE("temperature", 0.1, "temperature of the similarities"),
    [GAMMA] = {"gamma", MIO_PARAMETER_REAL, 0.9, 0, 1, 1, 0, NULL, "weight of the new value in the moving average", ""},
};

static int needs_double(const double *p)
{
    return mio__is_steep(mio__rate(p[TEMPERATURE]));
}

/* The new averages' logarithms, one an image, wait here until the state moves on. */
static size_t extra(const mio_loss *loss, const mio__pair_plan *plan)
{
    (void)loss;
    return plan->pairs * sizeof(double);
}

mio_status mio__loss_reserve_indices(mio_loss *loss, size_t count)
{
    if (!(loss->kind->flags & MIO__LOSS_INDICES) || count <= loss->moving_count)
        return MIO_OK;
    if (count > SIZE_MAX / 32)
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': %zu indices are beyond the address space", mio_loss_name(loss),
                         count);
    const size_t room = count > 2 * loss->moving_count ? count : 2 * loss->moving_count;
    double *moving = mio__alloc_zeroed(loss->context, room, sizeof *moving);
    if (!moving)
        return MIO_ERROR_MEMORY;
    for (size_t i = 0; i < room; i++)
        moving[i] = i < loss->moving_count ? loss->log_moving[i] : -INFINITY;
    mio__free(loss->context, loss->log_moving);
    loss->log_moving = moving;
    loss->moving_count = room;
    return MIO_OK;
}

static size_t largest_index(const mio_loss *loss)
{
    size_t index = 0;
    for (size_t b = 0; b < loss->index_count; b++)
        index = loss->indices[b] > index ? loss->indices[b] : index;
    return index;
}

typedef struct averages {
    mio_loss *loss;
    double rate, share; /* share: of an image in the mean */
} averages;

/* The new average and the weights of an image's rows; its part of the value without the negatives'. */
static double visit(void *argument, size_t b)
{
    const averages *all = argument;
    mio_loss *loss = all->loss;
    mio__pairs *pairs = &loss->pairs;
    const double negatives = 2 * (double)pairs->plan.pairs - 2, gamma = loss->settings.values[GAMMA];
    const double old = loss->log_moving[loss->indices[b]];
    double both[2];
    for (size_t view = 0; view < 2; view++) {
        const size_t slot = mio__pairs_slot(pairs, view, b);
        const double sum = mio__log_sum_value(&pairs->log_sums[0][slot], all->rate), g = sum - log(negatives);
        both[view] = old == -INFINITY ? g : mio__log_add(old + log1p(-gamma), g + log(gamma));
        const double factor = exp(fmin(sum - fmax(both[view], log(least)), largest));
        pairs->weights[0][slot] = (mio__row_weight){all->share / negatives * factor, sum};
    }
    ((double *)loss->extra)[b] = mio__log_add(both[0], both[1]) - log(2);
    const double similarity = pairs->similarity_of_pair[b];
    pairs->similarity_of_pair[b] = -2 * all->share;
    return -2 * all->share * similarity;
}

static mio_status run(mio_loss *loss, double *value)
{
    const size_t index = largest_index(loss);
    const mio_status status = mio__loss_reserve_indices(loss, index < SIZE_MAX ? index + 1 : index);
    if (status)
        return status;
    mio__pairs *pairs = &loss->pairs;
    const double rate = mio__rate(loss->settings.values[TEMPERATURE]);
    mio__pairs_log_sums(pairs, 0, rate);
    const double positive = mio__pairs_sum(pairs, visit, &(averages){loss, rate, 1 / (double)pairs->plan.pairs});
    mio__pairs_pull(pairs, 1, &rate);
    *value =
        positive + 0.5 * mio__pairs_dot_gradient(pairs, 2); /* each weighted pair stands there twice, from either end */
    mio__pairs_finish(pairs, 1, pairs->similarity_of_pair);
    return MIO_OK;
}

static void advance(mio_loss *loss)
{
    const double *made = loss->extra;
    for (size_t b = 0; b < loss->pairs.plan.pairs; b++)
        loss->log_moving[loss->indices[b]] = made[b];
}

const mio__loss_kind mio__loss_sogclr = {"sogclr",
                                         parameters,
                                         2,
                                         .needs_double = needs_double,
                                         .run = run,
                                         .advance = advance,
                                         .flags = MIO__LOSS_INDICES | MIO__LOSS_KEEP | MIO__LOSS_STOP_GRADIENT,
                                         .storage = MIO__PAIR_FOR_SEVERAL,
                                         .extra = extra};
