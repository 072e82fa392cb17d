/* Weights and running statistics: where they are stored, and the doors to PyTorch's layout. */
#include "kernels/elementwise.h"
#include "nn/network.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- layout ---- */

static const char *const norm_suffixes[5] = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"};

static int is_weight(const mio__layer *layer, size_t part)
{
    return layer->kind != MIO__LAYER_BATCH_NORM && part == 0;
}

static mio__shape input_shape(const mio_encoder *encoder, const mio__layer *layer)
{
    const mio__layer *input = &encoder->graph.layers.items[layer->inputs[0]];
    return mio__shape_of(input->channels, input->height, input->width);
}

static mio__shape output_shape(const mio__layer *layer)
{
    return mio__shape_of(layer->channels, layer->height, layer->width);
}

static mio__tensor describe_weight(const mio_encoder *encoder, const mio__layer *layer)
{
    const mio__shape input = input_shape(encoder, layer), output = output_shape(layer);
    const int linear = layer->kind == MIO__LAYER_LINEAR;
    mio__tensor tensor = {.rank = linear ? 2 : 4, .shape = {output.channels, input.channels}, .trainable = 1};
    if (!linear)
        tensor.shape[2] = tensor.shape[3] = layer->kernel;
    tensor.count = output.channels * input.channels * layer->kernel * layer->kernel;
    tensor.stored = mio__conv_weight_count(&input, &output, layer->kernel);
    return tensor;
}

static mio__tensor describe(const mio_encoder *encoder, const mio__layer *layer, size_t part)
{
    if (is_weight(layer, part))
        return describe_weight(encoder, layer);
    if (part == 4)
        return (mio__tensor){.rank = 0, .count = 1, .stored = 1};
    const mio__shape shape = output_shape(layer);
    return (mio__tensor){.rank = 1,
                         .shape = {shape.channels},
                         .count = shape.channels,
                         .stored = shape.blocks * shape.block,
                         .trainable = part < 2 && !layer->plain};
}

/* Tensors begin at multiples of 64 bytes. */
static size_t room_of(const mio__tensor *tensor)
{
    return (tensor->stored + 15) / 16 * 16;
}

static mio_status make_names(mio_encoder *encoder)
{
    const mio__layers *layers = &encoder->graph.layers;
    size_t size = 1;
    for (size_t i = 0; i < layers->count; i++)
        size += mio__layer_tensor_count(&layers->items[i]) *
                (strlen(layers->items[i].name) + sizeof ".num_batches_tracked");
    encoder->names = mio__alloc(encoder->context, size);
    if (!encoder->names)
        return MIO_ERROR_MEMORY;
    char *next = encoder->names;
    for (size_t i = 0; i < layers->count; i++) {
        const mio__layer *layer = &layers->items[i];
        for (size_t part = 0; part < mio__layer_tensor_count(layer); part++) {
            encoder->tensors[layer->tensor + part].name = next;
            next +=
                snprintf(next, size - (size_t)(next - encoder->names), "%s.%s", layer->name, norm_suffixes[part]) + 1;
        }
    }
    return MIO_OK;
}

/* Their filling is 0 from now on, but for weights of several dimensions, which nobody reads before mio__tensor_pack has
   written all of them: their memory is first touched by the threads that load them. */
static void place_tensors(mio_encoder *encoder)
{
    mio__real *next = encoder->values;
    for (size_t i = 0; i < encoder->graph.tensor_count; i++) {
        mio__tensor *tensor = &encoder->tensors[i];
        const size_t unset = tensor->rank > 1 ? tensor->stored : 0;
        memset(next + unset, 0, (room_of(tensor) - unset) * sizeof *next);
        tensor->value = next;
        next += room_of(tensor);
    }
}

mio_status mio__encoder_make_tensors(mio_encoder *encoder)
{
    const mio__layers *layers = &encoder->graph.layers;
    const size_t count = encoder->graph.tensor_count;
    encoder->tensors = mio__alloc_zeroed(encoder->context, count ? count : 1, sizeof *encoder->tensors);
    if (!encoder->tensors)
        return MIO_ERROR_MEMORY;
    size_t total = 0;
    for (size_t i = 0; i < layers->count; i++)
        for (size_t part = 0; part < mio__layer_tensor_count(&layers->items[i]); part++) {
            mio__tensor *tensor = &encoder->tensors[layers->items[i].tensor + part];
            *tensor = describe(encoder, &layers->items[i], part);
            total += room_of(tensor);
        }
    encoder->values = mio__alloc(encoder->context, (total ? total : 1) * sizeof *encoder->values);
    if (!encoder->values)
        return MIO_ERROR_MEMORY;
    place_tensors(encoder);
    return make_names(encoder);
}

mio_status mio__encoder_make_gradients(mio_encoder *encoder)
{
    if (encoder->gradients)
        return MIO_OK;
    size_t total = 0;
    for (size_t i = 0; i < encoder->graph.tensor_count; i++)
        total += encoder->tensors[i].trainable ? room_of(&encoder->tensors[i]) : 0;
    encoder->gradients = mio__alloc_zeroed(encoder->context, total ? total : 1, sizeof *encoder->gradients);
    if (!encoder->gradients)
        return MIO_ERROR_MEMORY;
    mio__real *next = encoder->gradients;
    for (size_t i = 0; i < encoder->graph.tensor_count; i++)
        if (encoder->tensors[i].trainable) {
            encoder->tensors[i].gradient = next;
            next += room_of(&encoder->tensors[i]);
        }
    return MIO_OK;
}

/* ---- PyTorch's layout ---- */

const mio__layer *mio__tensor_layer(const mio_encoder *encoder, size_t tensor)
{
    const mio__layers *layers = &encoder->graph.layers;
    size_t i = layers->count;
    while (i-- > 0)
        if (mio__layer_tensor_count(&layers->items[i]) && layers->items[i].tensor <= tensor)
            break;
    return &layers->items[i];
}

size_t mio__tensor_rows(const mio__tensor *tensor)
{
    return tensor->rank ? tensor->shape[0] : 1;
}

void mio__tensor_pack_rows(const mio_encoder *encoder, size_t tensor, size_t first, size_t count, const float *torch,
                           mio__real *stored)
{
    const mio__layer *layer = mio__tensor_layer(encoder, tensor);
    if (is_weight(layer, tensor - layer->tensor)) {
        const mio__shape input = input_shape(encoder, layer), output = output_shape(layer);
        mio__pack_weights(&input, &output, layer->kernel, first, count, torch, stored);
        return;
    }
    for (size_t i = 0; i < count; i++)
        stored[first + i] = (mio__real)torch[i];
}

void mio__tensor_pack(const mio_encoder *encoder, size_t tensor, const float *torch, mio__real *stored)
{
    mio__tensor_pack_rows(encoder, tensor, 0, mio__tensor_rows(&encoder->tensors[tensor]), torch, stored);
}

void mio__tensor_unpack(const mio_encoder *encoder, size_t tensor, const mio__real *stored, float *torch)
{
    const mio__layer *layer = mio__tensor_layer(encoder, tensor);
    if (is_weight(layer, tensor - layer->tensor)) {
        const mio__shape input = input_shape(encoder, layer), output = output_shape(layer);
        mio__unpack_weights(&input, &output, layer->kernel, stored, torch);
        return;
    }
    for (size_t i = 0; i < encoder->tensors[tensor].count; i++)
        torch[i] = (float)stored[i];
}

/* ---- public ---- */

size_t mio_encoder_tensor_count(const mio_encoder *encoder)
{
    return encoder ? encoder->graph.tensor_count : 0;
}

mio_status mio_encoder_tensor(const mio_encoder *encoder, size_t index, mio_tensor_info *info)
{
    if (!encoder)
        return mio__settings_null("encoder");
    if (index >= encoder->graph.tensor_count)
        return mio__fail(MIO_ERROR_ARGUMENT, "the encoder has %zu tensors; there is no index %zu",
                         encoder->graph.tensor_count, index);
    const mio_status status = mio__struct_check(info, MIO__UP_TO(mio_tensor_info, name), "mio_tensor_info");
    if (status)
        return status;
    const mio__tensor *tensor = &encoder->tensors[index];
    mio_tensor_info full = {
        .name = tensor->name, .rank = tensor->rank, .count = tensor->count, .trainable = tensor->trainable};
    memcpy(full.shape, tensor->shape, sizeof full.shape);
    mio__struct_give(info, &full, sizeof full);
    return MIO_OK;
}

/* Finds a tensor for a caller's array of count values. */
static mio_status find_tensor(const mio_encoder *encoder, const char *name, size_t count, const void *values,
                              size_t *index)
{
    if (!encoder)
        return mio__settings_null("encoder");
    if (!name || !values)
        return mio__fail(MIO_ERROR_ARGUMENT, "the tensor's name or the array of values is NULL");
    for (size_t i = 0; i < encoder->graph.tensor_count; i++) {
        if (strcmp(encoder->tensors[i].name, name))
            continue;
        if (encoder->tensors[i].count != count)
            return mio__fail(MIO_ERROR_ARGUMENT, "tensor '%s' has %zu values, not %zu", name, encoder->tensors[i].count,
                             count);
        *index = i;
        return MIO_OK;
    }
    return mio__fail(MIO_ERROR_ARGUMENT, "the encoder has no tensor '%.200s'; mio_encoder_tensor lists its names",
                     name);
}

mio_status mio_encoder_get_tensor(const mio_encoder *encoder, const char *name, size_t count, float *values)
{
    size_t index = 0;
    const mio_status status = find_tensor(encoder, name, count, values, &index);
    if (!status)
        mio__tensor_unpack(encoder, index, encoder->tensors[index].value, values);
    return status;
}

mio_status mio_encoder_set_tensor(mio_encoder *encoder, const char *name, size_t count, const float *values)
{
    size_t index = 0;
    const mio_status status = find_tensor(encoder, name, count, values, &index);
    if (status)
        return status;
    const mio__layer *layer = mio__tensor_layer(encoder, index);
    const size_t part = index - layer->tensor;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i]))
            return mio__fail(MIO_ERROR_ARGUMENT, "tensor '%s': value %zu is not finite", name, i);
        if (layer->plain && part < 2 && values[i] != (part == 0 ? 1.0f : 0.0f))
            return mio__fail(MIO_ERROR_ARGUMENT, "tensor '%s' is a plain batch norm's and stays %d", name, part == 0);
    }
    mio__tensor_pack(encoder, index, values, encoder->tensors[index].value);
    mio__encoder_changed(encoder);
    return MIO_OK;
}

mio_status mio_encoder_get_gradient(const mio_encoder *encoder, const char *name, size_t count, float *values)
{
    size_t index = 0;
    const mio_status status = find_tensor(encoder, name, count, values, &index);
    if (status)
        return status;
    const mio__tensor *tensor = &encoder->tensors[index];
    if (!tensor->trainable)
        return mio__fail(MIO_ERROR_ARGUMENT, "tensor '%s' is a running statistic and has no gradient", name);
    if (!tensor->gradient)
        return mio__fail(MIO_ERROR_STATE, "there are no gradients yet; call mio_encoder_forward and _backward first");
    mio__tensor_unpack(encoder, index, tensor->gradient, values);
    return MIO_OK;
}
