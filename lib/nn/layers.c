#include "nn/layers.h"

#include "kernels/conv.h"

#include <string.h>

/* Far beyond what any machine holds, and far below where products of a few of them overflow. */
enum { EXTENT_LIMIT = 1 << 24, WINDOW_LIMIT = 1 << 12 };
#define VALUE_LIMIT ((size_t)1 << 40)

const mio__layer_facts mio__layer_facts_of[MIO__LAYER_KINDS] = {
    [MIO__LAYER_INPUT] = {"input", 0, 0, 0},       [MIO__LAYER_CONV] = {"conv", 1, 1, 0},
    [MIO__LAYER_BATCH_NORM] = {"bn", 1, 1, 0},     [MIO__LAYER_RELU] = {"relu", 1, 0, 1},
    [MIO__LAYER_MAX_POOL] = {"max_pool", 1, 1, 0}, [MIO__LAYER_AVERAGE_POOL] = {"average_pool", 1, 0, 0},
    [MIO__LAYER_ADD] = {"add", 2, 0, 0},           [MIO__LAYER_LINEAR] = {"linear", 1, 1, 0},
};

size_t mio__layer_tensor_count(const mio__layer *layer)
{
    switch (layer->kind) {
    case MIO__LAYER_CONV: return 1;
    case MIO__LAYER_BATCH_NORM: return 5;
    case MIO__LAYER_LINEAR: return layer->bias ? 2 : 1;
    default: return 0;
    }
}

static mio_status append(mio__layers *layers, const mio__layer *layer)
{
    if (layer->channels > EXTENT_LIMIT || layer->height > EXTENT_LIMIT || layer->width > EXTENT_LIMIT ||
        layer->height * layer->width > VALUE_LIMIT / layer->channels)
        return mio__fail(MIO_ERROR_ARGUMENT, "layer '%s': %zu x %zu x %zu values are too many", layer->name,
                         layer->channels, layer->height, layer->width);
    if (layers->count == INT32_MAX)
        return mio__fail(MIO_ERROR_ARGUMENT, "layer '%s' is one layer too many", layer->name);
    const mio_status status = mio__grow(layers->context, (void **)&layers->items, &layers->capacity, layers->count,
                                        layers->count + 1, sizeof *layers->items);
    if (status)
        return status;
    layers->items[layers->count++] = *layer;
    return MIO_OK;
}

mio_status mio__layers_start(mio__layers *layers, mio_context *context, size_t channels, size_t height, size_t width)
{
    *layers = (mio__layers){.context = context};
    if (!channels || !height || !width)
        return mio__fail(MIO_ERROR_ARGUMENT, "images of %zu channels, %zu x %zu pixels: no extent may be 0", channels,
                         height, width);
    return append(layers, &(mio__layer){.kind = MIO__LAYER_INPUT,
                                        .inputs = {-1, -1},
                                        .channels = channels,
                                        .height = height,
                                        .width = width,
                                        .name = "input"});
}

void mio__layers_free(mio__layers *layers)
{
    mio__free(layers->context, layers->items);
    *layers = (mio__layers){.context = layers->context};
}

/* ---- shapes ---- */

static mio_status window_shape(mio__layer *layer, const mio__layer *input)
{
    if (!layer->kernel || !layer->stride)
        return mio__fail(MIO_ERROR_ARGUMENT, "layer '%s': kernel and stride must be at least 1", layer->name);
    if (layer->kernel > WINDOW_LIMIT || layer->stride > WINDOW_LIMIT || layer->padding > WINDOW_LIMIT)
        return mio__fail(MIO_ERROR_ARGUMENT, "layer '%s': kernel, stride and padding must not exceed %d", layer->name,
                         WINDOW_LIMIT);
    layer->height = mio__conv_extent(input->height, layer->kernel, layer->stride, layer->padding);
    layer->width = mio__conv_extent(input->width, layer->kernel, layer->stride, layer->padding);
    if (!layer->height || !layer->width)
        return mio__fail(
            MIO_ERROR_ARGUMENT,
            "layer '%s': its input of %zu x %zu pixels is smaller than its %zu x %zu kernel (padding %zu); "
            "start from larger images",
            layer->name, input->height, input->width, layer->kernel, layer->kernel, layer->padding);
    return MIO_OK;
}

static mio_status conv_shape(mio__layer *layer, const mio__layer *input)
{
    if (!layer->channels || layer->channels > EXTENT_LIMIT)
        return mio__fail(MIO_ERROR_ARGUMENT, "layer '%s': %zu output channels; it takes 1 to %d", layer->name,
                         layer->channels, EXTENT_LIMIT);
    const mio_status status = window_shape(layer, input);
    if (!status && layer->channels * layer->kernel * layer->kernel > VALUE_LIMIT / input->channels)
        return mio__fail(MIO_ERROR_ARGUMENT, "layer '%s': %zu x %zu x %zu x %zu weights are too many", layer->name,
                         layer->channels, input->channels, layer->kernel, layer->kernel);
    return status;
}

static mio_status pool_shape(mio__layer *layer, const mio__layer *input)
{
    layer->channels = input->channels;
    if (2 * layer->padding > layer->kernel)
        return mio__fail(MIO_ERROR_ARGUMENT, "layer '%s': padding %zu is more than half the kernel %zu", layer->name,
                         layer->padding, layer->kernel);
    return window_shape(layer, input);
}

static mio_status linear_shape(mio__layer *layer, const mio__layer *input)
{
    if (input->height != 1 || input->width != 1)
        return mio__fail(MIO_ERROR_ARGUMENT,
                         "layer '%s': a linear layer takes channels x 1 x 1, not %zu x %zu x %zu; pool first",
                         layer->name, input->channels, input->height, input->width);
    layer->kernel = layer->stride = 1;
    layer->padding = 0;
    return conv_shape(layer, input);
}

static mio_status add_shape(mio__layer *layer, const mio__layer *left, const mio__layer *right)
{
    if (left->channels != right->channels || left->height != right->height || left->width != right->width)
        return mio__fail(MIO_ERROR_ARGUMENT,
                         "layer '%s': '%s' (%zu x %zu x %zu) and '%s' (%zu x %zu x %zu) differ in shape", layer->name,
                         left->name, left->channels, left->height, left->width, right->name, right->channels,
                         right->height, right->width);
    return MIO_OK;
}

static mio_status work_out_shape(mio__layer *layer, const mio__layer *input, const mio__layer *second)
{
    const size_t channels = layer->channels;
    layer->channels = input->channels;
    layer->height = input->height;
    layer->width = input->width;
    switch (layer->kind) {
    case MIO__LAYER_CONV: layer->channels = channels; return conv_shape(layer, input);
    case MIO__LAYER_LINEAR: layer->channels = channels; return linear_shape(layer, input);
    case MIO__LAYER_MAX_POOL: return pool_shape(layer, input);
    case MIO__LAYER_AVERAGE_POOL: layer->height = layer->width = 1; return MIO_OK;
    case MIO__LAYER_ADD: return add_shape(layer, input, second);
    default: return MIO_OK;
    }
}

mio_status mio__layers_add(mio__layers *layers, const mio__layer *layer)
{
    mio__layer made = *layer;
    const mio__layer *inputs[2] = {NULL, NULL};
    if (layer->kind <= MIO__LAYER_INPUT || layer->kind >= MIO__LAYER_KINDS)
        return mio__fail(MIO_ERROR_ARGUMENT, "layer '%s' is of no known kind", layer->name);
    for (int i = 0; i < mio__layer_facts_of[layer->kind].inputs; i++) {
        const int32_t input = layer->inputs[i];
        if (input < 0 || (size_t)input >= layers->count)
            return mio__fail(MIO_ERROR_ARGUMENT, "layer '%s': its input %d is no node of this builder", layer->name,
                             (int)input);
        inputs[i] = &layers->items[input];
    }
    if (!inputs[1])
        made.inputs[1] = -1;
    const mio_status status = work_out_shape(&made, inputs[0], inputs[1]);
    return status ? status : append(layers, &made);
}
