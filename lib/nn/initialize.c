/* Initial weights as torchvision draws them, or as PyTorch does by itself. */
#include "core/random.h"
#include "nn/network.h"

#include <math.h>

/* Numbers that one item of parallel work draws; each has its place in the tensor's stream. */
enum { PIECE = 1 << 14 };

typedef struct drawing {
    const mio__layer *layer;
    size_t fan_in;
    int normal; /* else uniform */
    uint64_t seed;
    size_t tensor, count;
    float *values; /* PyTorch's layout, so that the blocking has no part in which weight gets which number */
} drawing;

/* Kaiming normal over the fan-out, for ReLU, or uniform within 1/sqrt(fan-in). A value takes two words of the
   stream. */
static void draw_piece(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const drawing *draw = argument;
    const size_t first = item * PIECE, last = draw->count - first < PIECE ? draw->count : first + PIECE;
    const mio__layer *layer = draw->layer;
    const double deviation = sqrt(2.0 / ((double)layer->channels * (double)layer->kernel * (double)layer->kernel));
    const double bound = 1 / sqrt((double)draw->fan_in);
    mio__random random;
    mio__random_start(&random, draw->seed, 0, draw->tensor, 0, MIO__PURPOSE_INITIALIZE);
    random.counter[0] = (uint32_t)(first / 2); /* a block of four words serves two values */
    for (size_t i = first; i < last; i++) {
        if (draw->normal) {
            draw->values[i] = (float)(deviation * mio__random_normal(&random));
        } else {
            draw->values[i] = (float)mio__random_between(&random, -bound, bound);
            mio__random_bits(&random);
        }
    }
}

static void draw_tensor(mio_encoder *encoder, size_t index, uint64_t seed, float *values)
{
    const mio__layer *layer = mio__tensor_layer(encoder, index);
    const mio__tensor *tensor = &encoder->tensors[index];
    const int conv = layer->kind == MIO__LAYER_CONV;
    const size_t channels = encoder->graph.layers.items[layer->inputs[0]].channels;
    drawing draw = {layer,
                    conv ? channels * layer->kernel * layer->kernel : channels,
                    conv && mio__encoder_initialization(encoder) == MIO__INITIALIZE_TORCHVISION,
                    seed,
                    index,
                    tensor->count,
                    values};
    mio__parallel(encoder->context, mio__workers(encoder->context), (tensor->count + PIECE - 1) / PIECE, draw_piece,
                  &draw);
    mio__tensor_pack(encoder, index, values, tensor->value);
}

/* Batch norm starts as the identity: weight and running variance 1, the rest 0. */
static void reset_norm(const mio__layer *layer, const mio__tensor *tensors)
{
    for (size_t c = 0; c < layer->channels; c++) {
        tensors[0].value[c] = tensors[3].value[c] = 1;
        tensors[1].value[c] = tensors[2].value[c] = 0;
    }
    tensors[4].value[0] = 0;
}

mio_status mio_encoder_initialize(mio_encoder *encoder, uint64_t seed)
{
    if (!encoder)
        return mio__settings_null("encoder");
    if (seed >= UINT64_C(1) << 53)
        return mio__fail(MIO_ERROR_ARGUMENT, "the seed must be below 2^53");
    size_t largest = 1;
    for (size_t i = 0; i < encoder->graph.tensor_count; i++)
        largest = encoder->tensors[i].count > largest ? encoder->tensors[i].count : largest;
    float *values = mio__alloc(encoder->context, largest * sizeof *values);
    if (!values)
        return MIO_ERROR_MEMORY;
    for (size_t i = 0; i < encoder->graph.layers.count; i++) {
        const mio__layer *layer = &encoder->graph.layers.items[i];
        if (layer->kind == MIO__LAYER_BATCH_NORM)
            reset_norm(layer, encoder->tensors + layer->tensor);
        else
            for (size_t part = 0; part < mio__layer_tensor_count(layer); part++)
                draw_tensor(encoder, layer->tensor + part, seed, values);
    }
    mio__free(encoder->context, values);
    mio__encoder_changed(encoder);
    return MIO_OK;
}
