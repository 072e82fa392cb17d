/* The queue of unit vectors that moco and nnclr compare with. */
#include "core/random.h"
#include "loss/loss.h"

#include <string.h>

static size_t asked_rows(const mio_loss *loss)
{
    double rows = 0;
    mio__settings_get(&loss->settings, "queue_size", &rows);
    return (size_t)rows;
}

/* An empty queue of this shape. */
static mio_status make_queue(const mio_loss *loss, size_t count, size_t dim, size_t element, mio__loss_queue *queue)
{
    const size_t padded = (count + MIO__PAIR_EDGE - 1) / MIO__PAIR_EDGE * MIO__PAIR_EDGE;
    size_t values;
    mio__loss_queue made = {count, dim,     (dim + MIO__PAIR_LANES - 1) / MIO__PAIR_LANES * MIO__PAIR_LANES,
                            0,     element, NULL};
    if (dim > SIZE_MAX / 1024 || __builtin_mul_overflow(padded, made.width, &values) || values > SIZE_MAX / 64)
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': a queue of %zu x %zu is beyond the address space",
                         mio_loss_name(loss), count, dim);
    made.rows = mio__alloc_zeroed(loss->context, values, element);
    if (!made.rows)
        return MIO_ERROR_MEMORY;
    *queue = made;
    return MIO_OK;
}

static void write_row(const mio__loss_queue *queue, size_t row, const double *values)
{
    for (size_t k = 0; k < queue->dim; k++)
        if (queue->element == sizeof(float))
            ((float *)queue->rows)[row * queue->width + k] = (float)values[k];
        else
            ((double *)queue->rows)[row * queue->width + k] = values[k];
}

typedef struct filling {
    const mio__loss_queue *queue;
    uint64_t seed;
    double *rows; /* one a worker */
} filling;

static void fill_row(void *argument, size_t row, size_t worker)
{
    const filling *work = argument;
    const size_t dim = work->queue->dim;
    double *values = work->rows + worker * dim;
    mio__random random;
    mio__random_start(&random, work->seed, 0, row, 0, MIO__PURPOSE_QUEUE);
    for (size_t k = 0; k < dim; k++)
        values[k] = mio__random_normal(&random);
    mio__unit_row(dim, sizeof(double), values, values);
    write_row(work->queue, row, values);
}

static mio_status fill(const mio_loss *loss, const mio__loss_queue *queue)
{
    const size_t workers = mio__workers(loss->context);
    filling work = {queue, mio__seed(loss->context),
                    mio__alloc_zeroed(loss->context, workers * queue->dim, sizeof(double))};
    if (!work.rows)
        return MIO_ERROR_MEMORY;
    mio__parallel(loss->context, workers, queue->count, fill_row, &work);
    mio__free(loss->context, work.rows);
    return MIO_OK;
}

/* A queue of floats becomes one of doubles, for a batch in double. */
static mio_status widen(mio_loss *loss)
{
    mio__loss_queue wide;
    const mio_status status = make_queue(loss, loss->queue.count, loss->queue.dim, sizeof(double), &wide);
    if (status)
        return status;
    wide.next = loss->queue.next;
    for (size_t i = 0; i < wide.count * wide.width; i++)
        ((double *)wide.rows)[i] = ((const float *)loss->queue.rows)[i];
    mio__queue_free(loss);
    loss->queue = wide;
    return MIO_OK;
}

mio_status mio__queue_prepare(mio_loss *loss, size_t dim, size_t element)
{
    mio__loss_queue *queue = &loss->queue, made;
    if (queue->rows && queue->count != asked_rows(loss))
        mio__queue_free(loss); /* the parameter was changed: begin anew */
    if (queue->rows && queue->dim != dim)
        return mio__fail(MIO_ERROR_STATE,
                         "loss '%s': the queue holds rows of %zu values, the batch of %zu; set another "
                         "queue with mio_loss_set_queue",
                         mio_loss_name(loss), queue->dim, dim);
    if (queue->rows)
        return queue->element < element ? widen(loss) : MIO_OK;
    mio_status status = make_queue(loss, asked_rows(loss), dim, element, &made);
    if (status)
        return status;
    status = fill(loss, &made);
    if (status)
        mio__free(loss->context, made.rows);
    else
        *queue = made;
    return status;
}

void mio__queue_push(mio_loss *loss, size_t view)
{
    mio__loss_queue *queue = &loss->queue;
    double *row = mio__pairs_worker_row(&loss->pairs, 0, 0);
    const size_t pairs = loss->pairs.plan.pairs;
    for (size_t b = pairs > queue->count ? pairs - queue->count : 0; b < pairs; b++) {
        mio__loss_target(loss, view, b, row);
        write_row(queue, queue->next, row);
        queue->next = (queue->next + 1) % queue->count;
    }
}

void mio__queue_free(mio_loss *loss)
{
    mio__free(loss->context, loss->queue.rows);
    loss->queue.rows = NULL;
}

static mio_status set_queue(mio_loss *loss, size_t count, size_t dim, size_t element, const void *rows)
{
    if (!loss)
        return mio__settings_null("loss");
    if (!(loss->kind->flags & MIO__LOSS_QUEUE))
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s' has no queue; moco and nnclr have", mio_loss_name(loss));
    if (!rows || !dim)
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': the queue's rows are %s", mio_loss_name(loss),
                         rows ? "empty" : "NULL");
    mio__settings trial = loss->settings;
    mio_status status = mio__settings_set(&trial, "queue_size", (double)count);
    mio__loss_queue made = {0};
    if (!status)
        status = make_queue(loss, count, dim, element, &made);
    double *unit = status ? NULL : mio__alloc_zeroed(loss->context, dim, sizeof *unit);
    if (!status && !unit)
        status = MIO_ERROR_MEMORY;
    for (size_t row = 0; !status && row < count; row++) {
        const size_t column = mio__unit_row(dim, element, (const char *)rows + row * dim * element, unit);
        if (column < dim)
            status = mio__fail(MIO_ERROR_ARGUMENT, "rows[%zu][%zu] of the queue is not finite", row, column);
        else
            write_row(&made, row, unit);
    }
    mio__free(loss->context, unit);
    if (status) {
        mio__free(loss->context, made.rows);
        return status;
    }
    mio__queue_free(loss);
    loss->queue = made;
    loss->settings = trial;
    return MIO_OK;
}

mio_status mio_loss_set_queue(mio_loss *loss, size_t count, size_t dim, const float *rows)
{
    return set_queue(loss, count, dim, sizeof(float), rows);
}

mio_status mio_loss_set_queue_f64(mio_loss *loss, size_t count, size_t dim, const double *rows)
{
    return set_queue(loss, count, dim, sizeof(double), rows);
}
