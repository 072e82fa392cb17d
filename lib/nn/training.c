/* The training pass: forward with batch statistics, backward to the gradients of all weights. */
#include "core/finite.h"
#include "kernels/elementwise.h"
#include "nn/network.h"

#include <math.h>
#include <string.h>

void mio__training_free(mio_encoder *encoder)
{
    mio__training *training = &encoder->training;
    mio__plan_destroy(training->plan);
    mio__free(encoder->context, training->arena);
    mio__free(encoder->context, training->scratch);
    mio__free(encoder->context, training->started);
    *training = (mio__training){0};
}

mio_status mio__encoder_check_batch(const mio_encoder *encoder, size_t views, size_t count)
{
    const mio__graph *graph = &encoder->graph;
    if (!views || !count)
        return mio__fail(MIO_ERROR_ARGUMENT, "a batch of %zu views of %zu images is empty", views, count);
    if (views > SIZE_MAX / 4096 / count)
        return mio__fail(MIO_ERROR_MEMORY, "out of memory: %zu views of %zu images are too many", views, count);
    for (size_t s = 0; s < graph->step_count; s++) {
        const mio__layer *layer = mio__step_layer(graph, &graph->steps[s]);
        if (layer->kind == MIO__LAYER_BATCH_NORM && count * layer->height * layer->width < 2)
            return mio__fail(MIO_ERROR_ARGUMENT,
                             "batch norm '%s' would see one value per channel and view; give at least 2 images a view",
                             layer->name);
    }
    return MIO_OK;
}

static int plan_fits(const mio_encoder *encoder, size_t views, size_t count)
{
    const mio__plan *plan = encoder->training.plan;
    return plan && plan->images.views == views && plan->images.count == count &&
           plan->algorithm == mio__encoder_algorithm(encoder) && plan->tuned == encoder->tuned &&
           plan->images.precision == mio__encoder_precision(encoder);
}

static mio_status replan(mio_encoder *encoder, size_t views, size_t count)
{
    mio__training *training = &encoder->training;
    mio__training_free(encoder);
    const mio__images images = mio__images_in(mio__encoder_precision(encoder), views, count);
    mio_status status = mio__plan_create(encoder->context, &encoder->graph, &images, mio__encoder_algorithm(encoder),
                                         &encoder->tuning, 1, &training->plan);
    if (!status) {
        training->plan->tuned = encoder->tuned;
        training->arena = mio__alloc(encoder->context, training->plan->arena_size);
        training->started = mio__alloc(encoder->context, encoder->graph.step_count + 1);
        if (!training->arena || !training->started)
            status = MIO_ERROR_MEMORY;
    }
    if (status)
        mio__training_free(encoder);
    return status;
}

mio_status mio__training_plan(mio_encoder *encoder, size_t views, size_t count)
{
    mio_status status = mio__encoder_check_batch(encoder, views, count);
    if (status)
        return status;
    encoder->training.ready = 0;
    if ((status = mio__encoder_make_gradients(encoder)))
        return status;
    return plan_fits(encoder, views, count) ? MIO_OK : replan(encoder, views, count);
}

static mio_status reserve_scratch(mio_encoder *encoder, size_t workers)
{
    mio__training *training = &encoder->training;
    return mio__reserve(encoder->context, &training->scratch, &training->scratch_capacity,
                        mio__plan_scratch_size(training->plan, workers));
}

mio__pass mio__training_pass(const mio_encoder *encoder)
{
    const mio__training *training = &encoder->training;
    return (mio__pass){training->plan, encoder->tensors, training->arena, training->scratch,
                       mio__workers(encoder->context)};
}

/* From the packed image to the outputs. */
static mio_status run_forward(mio_encoder *encoder)
{
    mio__training *training = &encoder->training;
    const mio_status status = reserve_scratch(encoder, mio__workers(encoder->context));
    if (status)
        return status;
    const mio__pass pass = mio__training_pass(encoder);
    if (training->plan->prepared != encoder->version) {
        mio__pass_prepare(&pass);
        training->plan->prepared = encoder->version;
    }
    mio__pass_forward(&pass, encoder->graph.step_count);
    training->plan->prepared = ++encoder->version; /* for inference, which derives from running statistics too */
    training->ready = 1;
    return MIO_OK;
}

/* From the output gradients to those of the weights. */
static mio_status run_backward(mio_encoder *encoder, const mio__output_gradients *gradients)
{
    mio__training *training = &encoder->training;
    if (!training->ready)
        return mio__fail(MIO_ERROR_STATE,
                         "there is no forward pass to go back over; call mio_encoder_forward first, and "
                         "again after each backward pass or change of the weights");
    const mio_status status = reserve_scratch(encoder, mio__workers(encoder->context));
    if (status)
        return status;
    const mio__pass pass = mio__training_pass(encoder);
    memset(training->started, 0, encoder->graph.step_count + 1);
    mio__pass_seed(&pass, training->started, encoder->graph.features, gradients->features);
    mio__pass_seed(&pass, training->started, encoder->graph.projections, gradients->projections);
    mio__pass_seed(&pass, training->started, encoder->graph.predictions, gradients->predictions);
    mio__pass_backward(&pass, training->started);
    training->ready = 0; /* its activations' room has been used for gradients */
    return MIO_OK;
}

/* ---- public ---- */

mio_status mio__check_pixels(const mio_encoder *encoder, size_t count, const float *images)
{
    const mio__layer *input = &encoder->graph.layers.items[0];
    const size_t channels = input->channels, row = input->width * channels, all = count * input->height * row;
    const size_t at = mio__first_not_finite(all, images);
    return at == all
               ? MIO_OK
               : mio__fail(MIO_ERROR_ARGUMENT, "image %zu, row %zu, column %zu, channel %zu is not finite",
                           at / row / input->height, at / row % input->height, at % row / channels, at % channels);
}

static mio_status check_outputs(const mio_encoder *encoder, const float *projections, const float *predictions)
{
    if (projections && encoder->graph.projections == MIO__NONE)
        return mio__fail(MIO_ERROR_ARGUMENT, "the encoder has no projector; projections must be NULL");
    if (predictions && encoder->graph.predictions == MIO__NONE)
        return mio__fail(MIO_ERROR_ARGUMENT, "the encoder has no predictor; predictions must be NULL");
    return MIO_OK;
}

static void unpack_value(const mio_encoder *encoder, size_t value, float *rows)
{
    const mio__pass pass = mio__training_pass(encoder);
    if (rows)
        mio__unpack(encoder->context, pass.workers, &encoder->graph.values[value].shape, &pass.plan->images,
                    mio__pass_at(&pass, pass.plan->values[value]), rows);
}

/* Checks a batch, plans for it and packs it. */
static mio_status begin(mio_encoder *encoder, size_t views, size_t count, const float *images)
{
    if (!images)
        return mio__fail(MIO_ERROR_ARGUMENT, "the images are NULL");
    mio_status status = mio__encoder_check_batch(encoder, views, count);
    if (!status)
        status = mio__check_pixels(encoder, views * count, images);
    if (!status)
        status = mio__training_plan(encoder, views, count);
    if (status)
        return status;
    const mio__pass pass = mio__training_pass(encoder);
    mio__pack(encoder->context, pass.workers, &encoder->graph.values[0].shape, &pass.plan->images, images,
              mio__pass_at(&pass, pass.plan->values[0]));
    return MIO_OK;
}

mio_status mio_encoder_forward(mio_encoder *encoder, size_t views, size_t count, const float *images, float *features,
                               float *projections)
{
    if (!encoder)
        return mio__settings_null("encoder");
    mio_status status = check_outputs(encoder, projections, NULL);
    if (!status)
        status = begin(encoder, views, count, images);
    if (!status)
        status = run_forward(encoder);
    if (status)
        return status;
    unpack_value(encoder, encoder->graph.features, features);
    unpack_value(encoder, encoder->graph.projections, projections);
    return MIO_OK;
}

mio_status mio_encoder_predictions(const mio_encoder *encoder, float *predictions)
{
    if (!encoder)
        return mio__settings_null("encoder");
    if (!predictions)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the predictions is NULL");
    const mio_status status = check_outputs(encoder, NULL, predictions);
    if (status)
        return status;
    if (!encoder->training.ready)
        return mio__fail(MIO_ERROR_STATE, "there is no forward pass whose predictions are kept; call "
                                          "mio_encoder_forward first");
    unpack_value(encoder, encoder->graph.predictions, predictions);
    return MIO_OK;
}

mio_status mio__encoder_forward_as(mio_encoder *encoder, mio_encoder *other, size_t views, size_t count,
                                   const float *images, float *projections)
{
    mio_status status = begin(encoder, views, count, images);
    if (!status)
        status = reserve_scratch(encoder, mio__workers(encoder->context));
    if (status)
        return status;
    mio__pass pass = mio__training_pass(encoder);
    pass.tensors = other->tensors;
    encoder->training.plan->prepared = 0; /* with the weights of the encoder's own */
    mio__pass_prepare(&pass);
    mio__pass_forward(&pass, encoder->graph.projections);
    mio__encoder_changed(other);
    unpack_value(encoder, encoder->graph.projections, projections);
    return MIO_OK;
}

static mio_status backward(mio_encoder *encoder, const mio__output_gradients *gradients)
{
    if (!encoder)
        return mio__settings_null("encoder");
    if (!gradients->projections && !gradients->features && !gradients->predictions)
        return mio__fail(MIO_ERROR_ARGUMENT, "the gradients of projections, features and predictions are "
                                             "all NULL; give one");
    const mio_status status = check_outputs(encoder, gradients->projections, gradients->predictions);
    return status ? status : run_backward(encoder, gradients);
}

mio_status mio_encoder_backward(mio_encoder *encoder, const float *grad_projections, const float *grad_features)
{
    return backward(encoder, &(mio__output_gradients){grad_features, grad_projections, NULL});
}

mio_status mio_encoder_backward_predictions(mio_encoder *encoder, const float *grad_predictions,
                                            const float *grad_projections, const float *grad_features)
{
    return backward(encoder, &(mio__output_gradients){grad_features, grad_projections, grad_predictions});
}
