#include "evaluate/linear.h"

#include "core/finite.h"

#include <math.h>
#include <string.h>

enum { ROWS = MIO__LINEAR_ROWS, VECTOR = 16 };

mio_status mio__linear_init(mio__linear *linear, mio_context *context, size_t dim, size_t classes)
{
    const size_t width = (classes + VECTOR - 1) / VECTOR * VECTOR;
    *linear = (mio__linear){.context = context, .dim = dim, .classes = classes, .width = width};
    linear->weights = mio__alloc_zeroed(context, dim, width * sizeof(float));
    linear->bias = mio__alloc_zeroed(context, width, sizeof(float));
    if (!linear->weights || !linear->bias) {
        mio__linear_free(linear);
        return MIO_ERROR_MEMORY;
    }
    linear->gemm = mio__gemm_make(width, ROWS, dim, width, dim, width, 0, 0, 0);
    return MIO_OK;
}

void mio__linear_free(mio__linear *linear)
{
    if (!linear->context)
        return;
    mio__free(linear->context, linear->weights);
    mio__free(linear->context, linear->bias);
    *linear = (mio__linear){0};
}

void mio__linear_randomize(mio__linear *linear, mio__random *random)
{
    const double bound = 1 / sqrt((double)linear->dim);
    for (size_t d = 0; d < linear->dim; d++)
        for (size_t c = 0; c < linear->classes; c++)
            linear->weights[d * linear->width + c] = (float)mio__random_between(random, -bound, bound);
    for (size_t c = 0; c < linear->classes; c++)
        linear->bias[c] = (float)mio__random_between(random, -bound, bound);
}

void mio__linear_copy(mio__linear *to, const mio__linear *from)
{
    memcpy(to->weights, from->weights, from->dim * from->width * sizeof(float));
    memcpy(to->bias, from->bias, from->width * sizeof(float));
}

void mio__linear_logits(const mio__linear *linear, const float *x, float *logits)
{
    const float *const weights = linear->weights;
    mio__gemm_run(&linear->gemm, &weights, &x, logits, 1);
    for (size_t row = 0; row < ROWS; row++)
        for (size_t c = 0; c < linear->width; c++)
            logits[row * linear->width + c] += linear->bias[c];
}

double mio__linear_loss(const mio__linear *linear, int32_t label, double scale, float *logits)
{
    double highest = logits[0], sum = 0;
    const double own = logits[label];
    for (size_t c = 1; c < linear->classes; c++)
        if (logits[c] > highest)
            highest = logits[c];
    for (size_t c = 0; c < linear->classes; c++)
        sum += exp(logits[c] - highest);
    for (size_t c = 0; c < linear->classes; c++)
        logits[c] = (float)((exp(logits[c] - highest) / sum - (c == (size_t)label)) * scale);
    memset(logits + linear->classes, 0, (linear->width - linear->classes) * sizeof(float));
    return log(sum) + highest - own;
}

mio__gemm mio__linear_gradient_gemm(const mio__linear *linear, size_t rows)
{
    return mio__gemm_make(linear->width, linear->dim, rows, linear->width, linear->dim, linear->width, 0, 1, 0);
}

void mio__linear_gradients(const mio__linear *linear, const mio__gemm *gemm, size_t count, size_t rows, const float *x,
                           const int32_t *labels, float *p, float *weight_gradient, float *bias_gradient)
{
    const size_t dim = linear->dim, width = linear->width;
    for (size_t row = 0; row < count; row += ROWS)
        mio__linear_logits(linear, x + row * dim, p + row * width);
    memset(bias_gradient, 0, width * sizeof *bias_gradient);
    for (size_t row = 0; row < count; row++) {
        mio__linear_loss(linear, labels[row], 1 / (double)count, p + row * width);
        for (size_t c = 0; c < width; c++)
            bias_gradient[c] += p[row * width + c];
    }
    memset(p + count * width, 0, (rows - count) * width * sizeof *p);
    mio__gemm_run(gemm, (const float *const[]){p}, (const float *const[]){x}, weight_gradient, 1);
}

int mio__linear_is_finite(const mio__linear *linear)
{
    const size_t weights = linear->dim * linear->width;
    return mio__first_not_finite(weights, linear->weights) == weights &&
           mio__first_not_finite(linear->width, linear->bias) == linear->width;
}

void mio__scale_rows(const mio__scaling *scaling, size_t count, size_t dim, const float *rows, float *scaled)
{
    if (!scaling->mean) {
        memcpy(scaled, rows, count * dim * sizeof *scaled);
        return;
    }
    for (size_t row = 0; row < count; row++)
        for (size_t d = 0; d < dim; d++)
            scaled[row * dim + d] = (float)((rows[row * dim + d] - scaling->mean[d]) / scaling->deviation[d]);
}

/* ---- whole matrices ---- */

typedef struct apply_work {
    const mio__linear *linear;
    const mio__scaling *scaling;
    size_t count;
    const float *rows;
    const int32_t *labels;
    int32_t *predictions;
    float *logits;
    double *losses; /* a sum for each block of rows, or NULL */
    float *scratch; /* for each worker: ROWS x dim and ROWS x width */
} apply_work;

static int32_t highest_class(const mio__linear *linear, const float *logits)
{
    size_t best = 0;
    for (size_t c = 1; c < linear->classes; c++)
        if (logits[c] > logits[best])
            best = c;
    return (int32_t)best;
}

static void apply_block(void *argument, size_t item, size_t worker)
{
    const apply_work *work = argument;
    const mio__linear *linear = work->linear;
    const size_t first = item * ROWS, rows = work->count - first < ROWS ? work->count - first : ROWS;
    float *x = work->scratch + worker * ROWS * (linear->dim + linear->width), *logits = x + ROWS * linear->dim;
    mio__scale_rows(work->scaling, rows, linear->dim, work->rows + first * linear->dim, x);
    memset(x + rows * linear->dim, 0, (ROWS - rows) * linear->dim * sizeof *x);
    mio__linear_logits(linear, x, logits);
    double loss = 0;
    for (size_t row = 0; row < rows; row++) {
        float *own = logits + row * linear->width;
        if (work->predictions)
            work->predictions[first + row] = highest_class(linear, own);
        if (work->logits)
            memcpy(work->logits + (first + row) * linear->classes, own, linear->classes * sizeof *own);
        if (work->losses)
            loss += mio__linear_loss(linear, work->labels[first + row], 1, own);
    }
    if (work->losses)
        work->losses[item] = loss;
}

mio_status mio__linear_apply(const mio__linear *linear, const mio__scaling *scaling, size_t count, const float *rows,
                             const int32_t *labels, int32_t *predictions, float *logits, double *loss)
{
    mio_context *context = linear->context;
    const size_t items = (count + ROWS - 1) / ROWS;
    size_t workers = mio__workers(context);
    workers = workers < items ? workers : items;
    apply_work work = {linear,
                       scaling,
                       count,
                       rows,
                       labels,
                       predictions,
                       logits,
                       loss ? mio__alloc_zeroed(context, items, sizeof(double)) : NULL,
                       mio__alloc_zeroed(context, workers * ROWS, (linear->dim + linear->width) * sizeof(float))};
    mio_status status = MIO_ERROR_MEMORY;
    if (work.scratch && (!loss || work.losses)) {
        mio__parallel(context, workers, items, apply_block, &work);
        double sum = 0;
        for (size_t i = 0; loss && i < items; i++)
            sum += work.losses[i];
        if (loss)
            *loss = sum / (double)count;
        status = MIO_OK;
    }
    mio__free(context, work.losses);
    mio__free(context, work.scratch);
    return status;
}
