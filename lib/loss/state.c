/* What a loss keeps from batch to batch, in checkpoints:

       loss/tensor/NAME        its values, doubles
       loss/queue/shape        text: rows, values, place of the oldest row, bytes of a value
       loss/queue/rows         count x dim values
       loss/moving             sogclr: the logarithm of u by index, doubles; -infinity for an index not seen */
#include "loss/loss.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 64, TEXT_SIZE = 128 };

/* ---- writing ---- */

/* The records' rows have no filling: they are packed to the front of a copy. */
static mio_status write_queue(const mio_loss *loss, mio__archive_writer *writer)
{
    const mio__loss_queue *queue = &loss->queue;
    const size_t row = queue->dim * queue->element, stride = queue->width * queue->element;
    char text[TEXT_SIZE];
    snprintf(text, sizeof text, "rows %zu dim %zu next %zu bytes %zu", queue->count, queue->dim, queue->next,
             queue->element);
    char *packed = mio__alloc(loss->context, queue->count * row);
    if (!packed)
        return MIO_ERROR_MEMORY;
    for (size_t i = 0; i < queue->count; i++)
        memcpy(packed + i * row, (const char *)queue->rows + i * stride, row);
    mio_status status = mio__archive_put(writer, "loss/queue/shape", text, strlen(text));
    if (!status)
        status = mio__archive_put(writer, "loss/queue/rows", packed, queue->count * row);
    mio__free(loss->context, packed);
    return status;
}

mio_status mio__loss_write(const mio_loss *loss, mio__archive_writer *writer)
{
    const mio__loss_tensor *tensors;
    const size_t count = mio__loss_tensors(loss, &tensors);
    mio_status status = MIO_OK;
    mio__loss_read_tensors((mio_loss *)loss); /* what an optimizer changed last */
    for (size_t t = 0; !status && t < count; t++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "loss/tensor/%s", loss->kind->tensors[t]);
        size_t fine = 0;
        while (tensors[t].value64 && fine < tensors[t].count && isfinite(tensors[t].value64[fine]))
            fine++;
        if (tensors[t].value64 && fine < tensors[t].count)
            status = mio__fail(MIO_ERROR_STATE,
                               "value %zu of the loss's '%s' is not finite and cannot be saved; restore an earlier "
                               "checkpoint",
                               fine, loss->kind->tensors[t]);
        else if (tensors[t].value64)
            status = mio__archive_put(writer, name, tensors[t].value64, tensors[t].count * sizeof(double));
    }
    if (!status && loss->queue.rows)
        status = write_queue(loss, writer);
    if (!status && loss->log_moving)
        status = mio__archive_put(writer, "loss/moving", loss->log_moving, loss->moving_count * sizeof(double));
    return status;
}

/* ---- reading ---- */

static mio_status read_tensors(mio_loss *state, mio__archive *archive)
{
    mio_status status = MIO_OK;
    for (size_t t = 0; !status && t < 2 && state->kind->tensors[t]; t++) {
        char name[NAME_SIZE];
        size_t size;
        snprintf(name, sizeof name, "loss/tensor/%s", state->kind->tensors[t]);
        if (!mio__archive_has(archive, name))
            continue;
        if ((status = mio__archive_size(archive, name, &size)))
            break;
        double *values = mio__alloc(state->context, size + sizeof *values);
        if (!values)
            return MIO_ERROR_MEMORY;
        status = mio__archive_get(archive, name, values, size);
        if (!status && size % sizeof *values)
            status = mio__archive_refuse(archive, name, "it has %zu bytes, no whole number of doubles", size);
        if (!status)
            status = mio__archive_blame(
                archive, name, mio_loss_set_tensor(state, state->kind->tensors[t], size / sizeof *values, values));
        mio__free(state->context, values);
    }
    return status;
}

static mio_status read_shape(mio__archive *archive, mio__loss_queue *shape)
{
    char text[TEXT_SIZE];
    const mio_status status = mio__archive_get_text(archive, "loss/queue/shape", sizeof text, text);
    if (status)
        return status;
    if (sscanf(text, "rows %zu dim %zu next %zu bytes %zu", &shape->count, &shape->dim, &shape->next,
               &shape->element) != 4 ||
        shape->next >= shape->count || !shape->dim || shape->count > SIZE_MAX / 16 / shape->dim ||
        (shape->element != sizeof(float) && shape->element != sizeof(double)))
        return mio__archive_refuse(archive, "loss/queue/shape", "it makes no sense: '%s'", text);
    return MIO_OK;
}

static mio_status read_queue(mio_loss *state, mio__archive *archive)
{
    mio__loss_queue shape = {0};
    if (!(state->kind->flags & MIO__LOSS_QUEUE) || !mio__archive_has(archive, "loss/queue/shape"))
        return MIO_OK;
    mio_status status = read_shape(archive, &shape);
    if (status)
        return status;
    const size_t row = shape.dim * shape.element;
    char *packed = mio__alloc(state->context, shape.count * row);
    if (!packed)
        return MIO_ERROR_MEMORY;
    status = mio__archive_get(archive, "loss/queue/rows", packed, shape.count * row);
    if (!status)
        status = mio__archive_blame(
            archive, "loss/queue/rows",
            shape.element == sizeof(float)
                ? mio_loss_set_queue(state, shape.count, shape.dim, (const float *)(const void *)packed)
                : mio_loss_set_queue_f64(state, shape.count, shape.dim, (const double *)(const void *)packed));
    /* the bits as they were, not normalised once more */
    for (size_t i = 0; !status && i < shape.count; i++)
        memcpy((char *)state->queue.rows + i * state->queue.width * shape.element, packed + i * row, row);
    if (!status)
        state->queue.next = shape.next;
    mio__free(state->context, packed);
    return status;
}

static mio_status read_moving(mio_loss *state, mio__archive *archive)
{
    size_t size;
    if (!(state->kind->flags & MIO__LOSS_INDICES) || !mio__archive_has(archive, "loss/moving"))
        return MIO_OK;
    mio_status status = mio__archive_size(archive, "loss/moving", &size);
    if (!status && size % sizeof(double))
        status = mio__archive_refuse(archive, "loss/moving", "it has %zu bytes, no whole number of doubles", size);
    if (!status && !(state->log_moving = mio__alloc(state->context, size)))
        status = MIO_ERROR_MEMORY;
    if (!status)
        status = mio__archive_get(archive, "loss/moving", state->log_moving, size);
    state->moving_count = status ? 0 : size / sizeof(double);
    for (size_t i = 0; !status && i < state->moving_count; i++)
        if (isnan(state->log_moving[i]) || state->log_moving[i] == INFINITY)
            status = mio__archive_refuse(archive, "loss/moving", "value %zu makes no sense", i);
    return status;
}

mio_status mio__loss_read(const mio_loss *like, const mio__settings *settings, mio__archive *archive, mio_loss **state)
{
    mio_loss *made = NULL;
    *state = NULL;
    if (like->own_name)
        return MIO_OK;
    mio_status status = mio_loss_create(like->context, like->kind->name, &made);
    if (status)
        return status;
    made->settings = *settings;
    status = read_tensors(made, archive);
    if (!status)
        status = read_queue(made, archive);
    if (!status)
        status = read_moving(made, archive);
    for (size_t t = 0; !status && t < 2; t++)
        if (made->tensors[t].value64 && like->tensors[t].value64 && made->tensors[t].count != like->tensors[t].count)
            status = mio__fail(MIO_ERROR_ARGUMENT, "the checkpoint's '%s' has %zu values, the loss's has %zu",
                               made->tensors[t].name, made->tensors[t].count, like->tensors[t].count);
    if (status)
        mio_loss_release(made);
    else
        *state = made;
    return status;
}

void mio__loss_take(mio_loss *loss, mio_loss *state)
{
    if (!state)
        return;
    for (size_t t = 0; t < 2; t++) {
        const mio__loss_tensor *from = &state->tensors[t];
        mio__loss_tensor *to = &loss->tensors[t];
        if (!from->value64 || !to->value64)
            continue;
        memcpy(to->value64, from->value64, from->count * sizeof *to->value64);
        memcpy(to->value, from->value, from->count * sizeof *to->value);
    }
    const mio__loss_queue queue = loss->queue;
    double *moving = loss->log_moving;
    const size_t count = loss->moving_count;
    loss->queue = state->queue;
    loss->log_moving = state->log_moving;
    loss->moving_count = state->moving_count;
    state->queue = queue;
    state->log_moving = moving;
    state->moving_count = count;
}
