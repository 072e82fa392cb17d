#include "evaluate/probe.h"

#include <math.h>
#include <string.h>

enum {
    PARAMETER_LEARNING_RATE = MIO__PROBE_STANDARDIZE + 1,
    PARAMETER_MOMENTUM,
    PARAMETER_DECAY,
    PARAMETER_WEIGHT_DECAY,
    PARAMETER_BATCH_SIZE,
    PARAMETER_EPOCHS,
    PARAMETER_VALIDATION_FRACTION,
    PARAMETER_SEED,
    PARAMETER_COUNT
};

static const mio__parameter parameters[PARAMETER_COUNT] = {
    [MIO__PROBE_STANDARDIZE] = {"standardize", MIO_PARAMETER_BOOLEAN, 0, 0, 1, 0, 0, NULL,
                                "bring every feature to mean 0 and deviation 1 first", ""},
    [PARAMETER_LEARNING_RATE] = {"learning_rate", MIO_PARAMETER_REAL, 0.01, 0, INFINITY, 1, 1, NULL,
                                 "of the first epoch", ""},
    [PARAMETER_MOMENTUM] = {"momentum", MIO_PARAMETER_REAL, 0.9, 0, 1, 0, 1, NULL, "of the steps", ""},
    [PARAMETER_DECAY] = {"decay", MIO_PARAMETER_REAL, 0.98, 0, 1, 1, 0, NULL,
                         "factor on the learning rate after each epoch", ""},
    [PARAMETER_WEIGHT_DECAY] = {"weight_decay", MIO_PARAMETER_REAL, 0, 0, INFINITY, 0, 1, NULL,
                                "times the weights, added to their gradient", ""},
    [PARAMETER_BATCH_SIZE] = {"batch_size", MIO_PARAMETER_INTEGER, 32, 1, 65536, 0, 0, NULL, "of a step", "rows"},
    [PARAMETER_EPOCHS] = {"epochs", MIO_PARAMETER_INTEGER, 100, 1, 1e6, 0, 0, NULL, "passes over the rows", "epochs"},
    [PARAMETER_VALIDATION_FRACTION] = {"validation_fraction", MIO_PARAMETER_REAL, 0.2, 0, 1, 0, 1, NULL,
                                       "of the rows kept back to choose the epoch where no validation set is given; "
                                       "0: the last epoch",
                                       ""},
    [PARAMETER_SEED] = {"seed", MIO_PARAMETER_INTEGER, 0, 0, 9007199254740992.0, 0, 1, NULL,
                        "of start weights, split and order", ""},
};

typedef struct sgd {
    const mio__settings *settings;
    const mio__scaling *scaling;
    const float *features;
    const int32_t *labels;
    mio__linear *linear;
    size_t batch, rows; /* batch size, and rounded up to whole logits blocks */
    mio__gemm gradient;
    float *x;                               /* rows x dim */
    float *p;                               /* rows x width */
    int32_t *batch_labels;                  /* rows */
    float *weight_gradient, *weight_moment; /* dim x width */
    float *bias_gradient, *bias_moment;     /* width */
} sgd;

static void step_array(size_t count, float rate, float momentum, float decay, const float *gradient, float *moment,
                       float *values)
{
    for (size_t i = 0; i < count; i++) {
        moment[i] = momentum * moment[i] + (gradient[i] + decay * values[i]);
        values[i] -= rate * moment[i];
    }
}

/* One step on the rows that `order` names. */
static void step(sgd *s, double rate, size_t count, const size_t *order)
{
    const double *values = s->settings->values;
    const float momentum = (float)values[PARAMETER_MOMENTUM], decay = (float)values[PARAMETER_WEIGHT_DECAY];
    const size_t dim = s->linear->dim, width = s->linear->width;
    for (size_t row = 0; row < count; row++) {
        mio__scale_rows(s->scaling, 1, dim, s->features + order[row] * dim, s->x + row * dim);
        s->batch_labels[row] = s->labels[order[row]];
    }
    memset(s->x + count * dim, 0, (s->rows - count) * dim * sizeof *s->x);
    mio__linear_gradients(s->linear, &s->gradient, count, s->rows, s->x, s->batch_labels, s->p, s->weight_gradient,
                          s->bias_gradient);
    step_array(dim * width, (float)rate, momentum, decay, s->weight_gradient, s->weight_moment, s->linear->weights);
    step_array(width, (float)rate, momentum, decay, s->bias_gradient, s->bias_moment, s->linear->bias);
}

/* All epochs on the rows that chosen[0 .. count) names; order is scratch of the same size. best, which may be NULL,
   gets the weights of the epoch with the lowest validation loss. */
static mio_status run_epochs(sgd *s, size_t count, const size_t *chosen, size_t *order, const mio__samples *validation,
                             mio__linear *best)
{
    const double *values = s->settings->values;
    double rate = values[PARAMETER_LEARNING_RATE], lowest = INFINITY;
    for (size_t epoch = 0; epoch < (size_t)values[PARAMETER_EPOCHS]; epoch++) {
        mio__random random;
        mio__random_start(&random, (uint64_t)values[PARAMETER_SEED], epoch, 1, 0, MIO__PURPOSE_PROBE);
        mio__random_permutation(&random, count, order);
        for (size_t i = 0; i < count; i++)
            order[i] = chosen[order[i]];
        for (size_t i = 0; i < count; i += s->batch)
            step(s, rate, count - i < s->batch ? count - i : s->batch, order + i);
        rate *= values[PARAMETER_DECAY];
        double loss = 0;
        const mio_status status = best ? mio__linear_apply(s->linear, s->scaling, validation->count,
                                                           validation->features, validation->labels, NULL, NULL, &loss)
                                       : MIO_OK;
        if (status)
            return status;
        if (best && loss < lowest) {
            lowest = loss;
            mio__linear_copy(best, s->linear);
        }
    }
    if (best ? lowest < INFINITY : mio__linear_is_finite(s->linear))
        return MIO_OK;
    return mio__fail(MIO_ERROR_STATE,
                     "probe 'sgd': the weights grew beyond all bounds; lower 'learning_rate' or 'weight_decay'");
}

static mio_status make_sgd(sgd *s, mio_context *context)
{
    const size_t dim = s->linear->dim, width = s->linear->width;
    s->batch = (size_t)s->settings->values[PARAMETER_BATCH_SIZE];
    s->rows = (s->batch + MIO__LINEAR_ROWS - 1) / MIO__LINEAR_ROWS * MIO__LINEAR_ROWS;
    s->gradient = mio__linear_gradient_gemm(s->linear, s->rows);
    s->x = mio__alloc_zeroed(context, s->rows, dim * sizeof(float));
    s->p = mio__alloc_zeroed(context, s->rows, width * sizeof(float));
    s->weight_gradient = mio__alloc_zeroed(context, 2 * dim, width * sizeof(float));
    s->bias_gradient = mio__alloc_zeroed(context, 2, width * sizeof(float));
    s->batch_labels = mio__alloc_zeroed(context, s->rows, sizeof *s->batch_labels);
    if (!s->x || !s->p || !s->weight_gradient || !s->bias_gradient || !s->batch_labels)
        return MIO_ERROR_MEMORY;
    s->weight_moment = s->weight_gradient + dim * width;
    s->bias_moment = s->bias_gradient + width;
    return MIO_OK;
}

static void free_sgd(sgd *s, mio_context *context)
{
    mio__free(context, s->x);
    mio__free(context, s->p);
    mio__free(context, s->weight_gradient);
    mio__free(context, s->bias_gradient);
    mio__free(context, s->batch_labels);
}

/* The rows kept back for validation, copied together: the last ones of a random order. */
static mio_status hold_out(mio_context *context, const mio__samples *train, size_t dim, size_t count,
                           const size_t *order, mio__samples *held)
{
    float *features = mio__alloc(context, (count ? count : 1) * dim * sizeof(float));
    int32_t *labels = mio__alloc(context, (count ? count : 1) * sizeof(int32_t));
    *held = (mio__samples){count, features, labels};
    if (!features || !labels)
        return MIO_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        memcpy(features + i * dim, train->features + order[i] * dim, dim * sizeof *features);
        labels[i] = train->labels[order[i]];
    }
    return MIO_OK;
}

static mio_status fit_sgd(const mio__settings *settings, const mio__scaling *scaling, const mio__samples *train,
                          const mio__samples *validation, mio__linear *linear)
{
    mio_context *context = linear->context;
    const size_t count = train->count;
    size_t held_count = 0; /* at least one row stays to train on */
    if (!validation->count)
        held_count = (size_t)(settings->values[PARAMETER_VALIDATION_FRACTION] * (double)count);
    sgd s = {.settings = settings,
             .scaling = scaling,
             .features = train->features,
             .labels = train->labels,
             .linear = linear};
    mio__samples held = {0};
    mio__linear best = {0};
    mio__random random;
    mio__random_start(&random, (uint64_t)settings->values[PARAMETER_SEED], 0, 0, 0, MIO__PURPOSE_PROBE);
    size_t *order = mio__alloc_zeroed(context, count, 2 * sizeof(size_t));
    mio_status status = order ? make_sgd(&s, context) : MIO_ERROR_MEMORY;
    if (!status) {
        mio__linear_randomize(linear, &random);
        mio__random_permutation(&random, count, order);
        status = hold_out(context, train, linear->dim, held_count, order + count - held_count, &held);
    }
    const mio__samples *judge = validation->count ? validation : &held;
    if (!status && judge->count)
        status = mio__linear_init(&best, context, linear->dim, linear->classes);
    if (!status)
        status = run_epochs(&s, count - held_count, order, order + count, judge, judge->count ? &best : NULL);
    if (!status && judge->count)
        mio__linear_copy(linear, &best);
    mio__linear_free(&best);
    mio__free(context, (void *)held.features);
    mio__free(context, (void *)held.labels);
    mio__free(context, order);
    free_sgd(&s, context);
    return status;
}

const mio__solver mio__probe_sgd = {"sgd", parameters, PARAMETER_COUNT, fit_sgd};
