#include "train/passes.h"

#include "train/snapshot.h"

#include <string.h>

mio_status mio__cut_make(const mio_trainer *trainer, size_t views, size_t count, mio__cut *cut)
{
    const int join = trainer->settings.values[MIO__TRAINER_JOIN_VIEWS] != 0;
    const size_t micro = (size_t)trainer->settings.values[MIO__TRAINER_MICRO_BATCH];
    *cut = join ? (mio__cut){1, views * count, 1} : (mio__cut){views, count, 1};
    if (!micro || micro >= count)
        return MIO_OK;
    if (join)
        return mio__fail(MIO_ERROR_STATE, "a micro-batch has images of one view, which leaves nothing to join; set "
                                          "'join_views' or 'micro_batch' to 0");
    if (count % micro)
        return mio__fail(MIO_ERROR_STATE,
                         "a batch of %zu images cannot be cut into micro-batches of %zu; let the "
                         "loader's 'batch_size' be a multiple of 'micro_batch', and 'drop_last' 1",
                         count, micro);
    *cut = (mio__cut){1, micro, views * count / micro};
    return MIO_OK;
}

/* Floats of one pass's images. */
static size_t images_size(const mio_trainer *trainer, const mio__cut *cut)
{
    size_t channels, height, width;
    mio_encoder_input_shape(trainer->encoder, &channels, &height, &width);
    return cut->views * cut->count * channels * height * width;
}

mio_status mio__passes_forward(mio_trainer *trainer, const mio__cut *cut, mio_encoder *other, const float *images,
                               float *projections, float *predictions)
{
    const size_t rows = cut->views * cut->count * trainer->dim, size = images_size(trainer, cut);
    mio_status status = MIO_OK;
    for (size_t i = 0; !status && i < cut->passes; i++) {
        const float *part = images + i * size;
        if (other)
            status =
                mio__encoder_forward_as(trainer->encoder, other, cut->views, cut->count, part, projections + i * rows);
        else
            status = mio_encoder_forward(trainer->encoder, cut->views, cut->count, part, NULL, projections + i * rows);
        if (!status && predictions)
            status = mio_encoder_predictions(trainer->encoder, predictions + i * rows);
    }
    return status;
}

/* ---- sums of gradients ---- */

static size_t gradients_size(const mio_encoder *encoder)
{
    const mio__tensor *tensors;
    size_t size = 0;
    for (size_t t = mio__encoder_tensors(encoder, &tensors); t-- > 0;)
        size += tensors[t].trainable ? tensors[t].stored : 0;
    return size;
}

typedef struct summation {
    const mio__tensor *tensors;
    float *sums; /* of all tensors, one after the other */
    int first, last;
} summation;

/* Adds a tensor's gradient to its sum, which takes the gradient's place in the end. */
static void sum_tensor(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const summation *work = argument;
    const mio__tensor *tensor = &work->tensors[item];
    float *sum = work->sums;
    for (size_t t = 0; t < item; t++)
        sum += work->tensors[t].trainable ? work->tensors[t].stored : 0;
    if (!tensor->trainable)
        return;
    if (work->first)
        memcpy(sum, tensor->gradient, tensor->stored * sizeof *sum);
    for (size_t i = 0; !work->first && i < tensor->stored; i++)
        sum[i] += tensor->gradient[i];
    if (work->last)
        memcpy(tensor->gradient, sum, tensor->stored * sizeof *sum);
}

static void sum_gradients(const mio_trainer *trainer, int first, int last)
{
    summation work = {.sums = trainer->gradient_sums.values, .first = first, .last = last};
    const size_t count = mio__encoder_tensors(trainer->encoder, &work.tensors);
    mio__parallel(trainer->context, mio__workers(trainer->context), count, sum_tensor, &work);
}

mio_status mio__passes_backward(mio_trainer *trainer, const mio__cut *cut, const float *images,
                                const float *grad_projections, const float *grad_predictions)
{
    const size_t rows = cut->views * cut->count * trainer->dim, size = images_size(trainer, cut);
    if (cut->passes == 1)
        return mio_encoder_backward_predictions(trainer->encoder, grad_predictions, grad_projections, NULL);
    mio_status status = mio__rows_reserve(trainer->context, &trainer->gradient_sums, gradients_size(trainer->encoder));
    mio__snapshot_return(trainer->encoder, MIO__SNAPSHOT_STATISTICS, trainer->statistics);
    for (size_t i = 0; !status && i < cut->passes; i++) {
        status = mio_encoder_forward(trainer->encoder, cut->views, cut->count, images + i * size, NULL, NULL);
        if (!status)
            status = mio_encoder_backward_predictions(trainer->encoder,
                                                      grad_predictions ? grad_predictions + i * rows : NULL,
                                                      grad_projections ? grad_projections + i * rows : NULL, NULL);
        if (!status)
            sum_gradients(trainer, i == 0, i == cut->passes - 1);
    }
    return status;
}
