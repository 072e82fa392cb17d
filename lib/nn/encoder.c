#include "nn/encoder.h"

#include "kernels/target.h"
#include "nn/network.h"

#include <math.h>
#include <string.h>

const char *const mio__algorithm_names[] = {"exact", "accurate", "fast", NULL};
const char *const mio__initialization_names[] = {"torchvision", "uniform", NULL};

const char *const mio__precision_names[] = {"fp32", "bf16", NULL};

enum { PARAMETER_ALGORITHM, PARAMETER_BATCH_INVARIANT, PARAMETER_INITIALIZATION, PARAMETER_PRECISION, PARAMETER_COUNT };

static const mio__parameter parameters[PARAMETER_COUNT] = {
    [PARAMETER_ALGORITHM] = {"algorithm", MIO_PARAMETER_CHOICE, MIO__CONV_FAST, 0, 0, 0, 0, mio__algorithm_names,
                             "how 3x3 convolutions are computed: directly, or by Winograd's smaller or larger tiles",
                             ""},
    [PARAMETER_BATCH_INVARIANT] =
        {"batch_invariant", MIO_PARAMETER_BOOLEAN, 0, 0, 1, 0, 0, NULL,
         "give an image the same bits alone and among others, at a higher cost for few images", ""},
    [PARAMETER_INITIALIZATION] = {"initialization", MIO_PARAMETER_CHOICE, MIO__INITIALIZE_TORCHVISION, 0, 0, 0, 0,
                                  mio__initialization_names,
                                  "how mio_encoder_initialize draws convolutions: Kaiming normal over the fan-out, or "
                                  "uniform within 1/sqrt(fan-in), "
                                  "PyTorch's default",
                                  ""},
    [PARAMETER_PRECISION] =
        {"precision", MIO_PARAMETER_CHOICE, MIO__FP32, 0, 0, 0, 0, mio__precision_names,
         "what activations and the factors of products are stored in; weights, sums and statistics are "
         "fp32. bf16 needs a CPU with AVX-512 BF16",
         ""},
};

MIO__DEFINE_SETTINGS_FUNCTIONS(encoder)

static mio_status check_setting(size_t index, double value)
{
    if (index == PARAMETER_PRECISION && value != MIO__FP32 && !mio__target_has_bf16())
        return mio__fail(
            MIO_ERROR_UNSUPPORTED,
            "encoder: precision 'bf16' needs a CPU with AVX-512 BF16, which this one lacks or LIBXSMM_TARGET "
            "hides; keep 'fp32'");
    return MIO_OK;
}

/* ---- life ---- */

static mio_status build(mio_encoder *encoder, const mio__layers *layers, const mio__outputs *outputs)
{
    mio_status status = mio__graph_make(layers, outputs, &encoder->graph);
    if (status)
        return status;
    const size_t channels = encoder->graph.layers.items[0].channels;
    encoder->mean = mio__alloc_zeroed(encoder->context, channels, sizeof *encoder->mean);
    encoder->deviation = mio__alloc_zeroed(encoder->context, channels, sizeof *encoder->deviation);
    if (!encoder->mean || !encoder->deviation)
        return MIO_ERROR_MEMORY;
    for (size_t c = 0; c < channels; c++)
        encoder->deviation[c] = 1;
    encoder->has_mutex = !pthread_mutex_init(&encoder->mutex, NULL);
    if (!encoder->has_mutex)
        return mio__fail(MIO_ERROR_MEMORY, "out of memory: no room for a lock");
    return mio__encoder_make_tensors(encoder);
}

mio_status mio__encoder_create(const mio__layers *layers, const mio__outputs *outputs, mio_encoder **encoder)
{
    mio_encoder *made = mio__alloc_zeroed(layers->context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    made->context = mio_context_retain(layers->context);
    made->graph.context = made->graph.layers.context = made->context;
    made->version = 1;
    made->tuning.context = made->context;
    mio__settings_init(&made->settings, "encoder", "", parameters, PARAMETER_COUNT);
    made->settings.check = check_setting;
    const mio_status status = build(made, layers, outputs);
    if (status)
        mio_encoder_release(made);
    else
        *encoder = made;
    return status;
}

size_t mio__encoder_values_count(const mio_encoder *encoder)
{
    const size_t count = encoder->graph.tensor_count;
    const mio__tensor *last = count ? &encoder->tensors[count - 1] : NULL;
    return last ? (size_t)(last->value - encoder->values) + last->stored : 0;
}

static void take_tensors(mio_encoder *encoder, const mio_encoder *from)
{
    memcpy(encoder->values, from->values, mio__encoder_values_count(encoder) * sizeof *encoder->values);
    mio__encoder_changed(encoder);
}

mio_status mio__encoder_copy(const mio_encoder *encoder, mio_encoder **copy)
{
    mio_encoder *made = NULL;
    const mio_status status = mio__encoder_create(&encoder->graph.layers, &encoder->graph.outputs, &made);
    if (status)
        return status;
    const size_t channels = encoder->graph.layers.items[0].channels;
    const mio_status copied = mio__tuning_copy(&encoder->tuning, &made->tuning);
    if (copied) {
        mio_encoder_release(made);
        return copied;
    }
    made->settings = encoder->settings;
    memcpy(made->mean, encoder->mean, channels * sizeof *made->mean);
    memcpy(made->deviation, encoder->deviation, channels * sizeof *made->deviation);
    take_tensors(made, encoder);
    *copy = made;
    return MIO_OK;
}

mio_encoder *mio_encoder_retain(mio_encoder *encoder)
{
    if (encoder)
        mio__references_take(&encoder->references);
    return encoder;
}

void mio_encoder_release(mio_encoder *encoder)
{
    if (!encoder || !mio__references_drop(&encoder->references))
        return;
    mio_context *context = encoder->context;
    mio__training_free(encoder);
    mio__inference_free(encoder);
    mio__tuning_free(&encoder->tuning);
    if (encoder->has_mutex)
        pthread_mutex_destroy(&encoder->mutex);
    mio__free(context, encoder->mean);
    mio__free(context, encoder->deviation);
    mio__free(context, encoder->tensors);
    mio__free(context, encoder->names);
    mio__free(context, encoder->values);
    mio__free(context, encoder->gradients);
    mio__graph_free(&encoder->graph);
    mio__free(context, encoder);
    mio_context_release(context);
}

/* ---- what others see of it ---- */

mio_context *mio__encoder_context(const mio_encoder *encoder)
{
    return encoder->context;
}

size_t mio__encoder_tensors(const mio_encoder *encoder, const mio__tensor **tensors)
{
    *tensors = encoder->tensors;
    return encoder->graph.tensor_count;
}

void mio__encoder_changed(mio_encoder *encoder)
{
    encoder->version++;
    encoder->training.ready = 0;
}

mio__conv_algorithm mio__encoder_algorithm(const mio_encoder *encoder)
{
    return (mio__conv_algorithm)encoder->settings.values[PARAMETER_ALGORITHM];
}

mio__precision mio__encoder_precision(const mio_encoder *encoder)
{
    return (mio__precision)encoder->settings.values[PARAMETER_PRECISION];
}

int mio__encoder_batch_invariant(const mio_encoder *encoder)
{
    return encoder->settings.values[PARAMETER_BATCH_INVARIANT] != 0;
}

mio__initialization mio__encoder_initialization(const mio_encoder *encoder)
{
    return (mio__initialization)encoder->settings.values[PARAMETER_INITIALIZATION];
}

const char *mio__encoder_layer_algorithm(const mio_encoder *encoder, const char *layer)
{
    const mio__plan *plan = encoder->training.plan;
    for (size_t s = 0; plan && s < encoder->graph.step_count; s++)
        if (plan->convs[s] && !strcmp(mio__step_layer(&encoder->graph, &encoder->graph.steps[s])->name, layer))
            return mio__conv_algorithm_name(plan->convs[s]);
    return NULL;
}

static mio_status value_width(const mio_encoder *encoder, size_t value, size_t *dim)
{
    if (!dim)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the width is NULL");
    *dim = value == MIO__NONE ? 0 : encoder->graph.values[value].shape.channels;
    return MIO_OK;
}

mio_status mio_encoder_feature_dim(const mio_encoder *encoder, size_t *dim)
{
    return encoder ? value_width(encoder, encoder->graph.features, dim) : mio__settings_null("encoder");
}

mio_status mio_encoder_projection_dim(const mio_encoder *encoder, size_t *dim)
{
    return encoder ? value_width(encoder, encoder->graph.projections, dim) : mio__settings_null("encoder");
}

mio_status mio_encoder_prediction_dim(const mio_encoder *encoder, size_t *dim)
{
    return encoder ? value_width(encoder, encoder->graph.predictions, dim) : mio__settings_null("encoder");
}

mio_status mio_encoder_input_shape(const mio_encoder *encoder, size_t *channels, size_t *height, size_t *width)
{
    if (!encoder)
        return mio__settings_null("encoder");
    const mio__layer *input = &encoder->graph.layers.items[0];
    if (channels)
        *channels = input->channels;
    if (height)
        *height = input->height;
    if (width)
        *width = input->width;
    return MIO_OK;
}

/* ---- normalisation ---- */

static mio_status check_normalization(const mio_encoder *encoder, size_t channels, const double *mean,
                                      const double *deviation)
{
    if (!encoder)
        return mio__settings_null("encoder");
    if (!mean || !deviation)
        return mio__fail(MIO_ERROR_ARGUMENT, "the array of means or of deviations is NULL");
    const size_t own = encoder->graph.layers.items[0].channels;
    if (channels != own)
        return mio__fail(MIO_ERROR_ARGUMENT, "the normalisation is given for %zu channels; the encoder has %zu",
                         channels, own);
    return MIO_OK;
}

mio_status mio_encoder_set_normalization(mio_encoder *encoder, size_t channels, const double *mean,
                                         const double *deviation)
{
    const mio_status status = check_normalization(encoder, channels, mean, deviation);
    if (status)
        return status;
    for (size_t c = 0; c < channels; c++)
        if (!isfinite(mean[c]) || !isfinite(deviation[c]) || deviation[c] <= 0)
            return mio__fail(MIO_ERROR_ARGUMENT,
                             "channel %zu: mean %g and deviation %g; means are finite, deviations finite and > 0", c,
                             mean[c], deviation[c]);
    memcpy(encoder->mean, mean, channels * sizeof *mean);
    memcpy(encoder->deviation, deviation, channels * sizeof *deviation);
    return MIO_OK;
}

mio_status mio_encoder_get_normalization(const mio_encoder *encoder, size_t channels, double *mean, double *deviation)
{
    const mio_status status = check_normalization(encoder, channels, mean, deviation);
    if (status)
        return status;
    memcpy(mean, encoder->mean, channels * sizeof *mean);
    memcpy(deviation, encoder->deviation, channels * sizeof *deviation);
    return MIO_OK;
}
