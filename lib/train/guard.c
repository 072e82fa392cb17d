#include "core/finite.h"
#include "loss/loss.h"
#include "train/trainer.h"

#include <math.h>
#include <string.h>

static int all_finite(size_t count, const float *values)
{
    return mio__first_not_finite(count, values) == count;
}

/* "layer1.0.conv1" of "layer1.0.conv1.weight". */
static int layer_length(const char *tensor)
{
    const char *dot = strrchr(tensor, '.');
    return dot ? (int)(dot - tensor) : (int)strlen(tensor);
}

/* The first tensor that is not finite among the weights (trainable 1) or the running statistics (0). */
static const mio__tensor *first_bad(const mio_encoder *encoder, int trainable)
{
    const mio__tensor *tensors;
    const size_t count = mio__encoder_tensors(encoder, &tensors);
    for (size_t t = 0; t < count; t++)
        if (tensors[t].trainable == trainable && !all_finite(tensors[t].stored, tensors[t].value))
            return &tensors[t];
    return NULL;
}

/* Gradients are made from the last layer to the first. */
static const mio__tensor *first_bad_gradient(const mio_encoder *encoder)
{
    const mio__tensor *tensors;
    for (size_t t = mio__encoder_tensors(encoder, &tensors); t-- > 0;)
        if (tensors[t].gradient && !all_finite(tensors[t].stored, tensors[t].gradient))
            return &tensors[t];
    return NULL;
}

static const mio__loss_tensor *first_bad_of_loss(const mio_loss *loss)
{
    const mio__loss_tensor *tensors;
    const size_t count = mio__loss_tensors(loss, &tensors);
    for (size_t t = 0; t < count; t++)
        if (!all_finite(tensors[t].count, tensors[t].gradient))
            return &tensors[t];
    return NULL;
}

mio_status mio__guard_explain(const mio_trainer *trainer, mio_status failure, size_t count, const float *projections,
                              const double *loss)
{
    const unsigned long long step = trainer->steps_done + 1;
    const char *remedy = "lower the learning rate, or look at the data; the weights are those before the step";
    const mio__tensor *bad = first_bad(trainer->encoder, 1);
    if (bad)
        return mio__fail(MIO_ERROR_STATE,
                         "step %llu: layer '%.*s': its weights (%s) were not finite before the step; "
                         "restore an earlier checkpoint and lower the learning rate",
                         step, layer_length(bad->name), bad->name, bad->name);
    bad = first_bad(trainer->encoder, 0);
    if (bad)
        return mio__fail(MIO_ERROR_STATE, "step %llu: layer '%.*s': its input is not finite; %s", step,
                         layer_length(bad->name), bad->name, remedy);
    if (projections && !all_finite(count, projections))
        return mio__fail(MIO_ERROR_STATE, "step %llu: the projections are not finite; %s", step, remedy);
    if (loss && !isfinite(*loss))
        return mio__fail(MIO_ERROR_STATE, "step %llu: the loss '%s' is %g; %s", step, mio_loss_name(trainer->loss),
                         *loss, remedy);
    bad = first_bad_gradient(trainer->encoder);
    if (bad && loss)
        return mio__fail(MIO_ERROR_STATE, "step %llu: layer '%.*s': the gradient of '%s' is not finite; %s", step,
                         layer_length(bad->name), bad->name, bad->name, remedy);
    const mio__loss_tensor *learnt = first_bad_of_loss(trainer->loss);
    if (learnt && loss)
        return mio__fail(MIO_ERROR_STATE, "step %llu: the gradient of the loss's '%s' is not finite; %s", step,
                         learnt->name, remedy);
    return failure;
}
