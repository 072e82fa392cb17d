#include "nn/builder.h"

#include "nn/network.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- life ---- */

mio_status mio_builder_create(mio_context *context, size_t channels, size_t height, size_t width, mio_builder **builder)
{
    if (!context || !builder)
        return mio__fail(MIO_ERROR_ARGUMENT, "a builder needs a context and a place for its handle; one is NULL");
    mio_builder *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    made->context = mio_context_retain(context);
    const mio_status status = mio__layers_start(&made->layers, context, channels, height, width);
    if (status)
        mio_builder_release(made);
    else
        *builder = made;
    return status;
}

mio_builder *mio_builder_retain(mio_builder *builder)
{
    if (builder)
        mio__references_take(&builder->references);
    return builder;
}

void mio_builder_release(mio_builder *builder)
{
    if (!builder || !mio__references_drop(&builder->references))
        return;
    mio_context *context = builder->context;
    mio__layers_free(&builder->layers);
    mio__free(context, builder);
    mio_context_release(context);
}

/* ---- errors and names ---- */

mio_node mio__builder_stick(mio_builder *builder, mio_status status)
{
    if (builder && !builder->status) {
        builder->status = status;
        snprintf(builder->error, sizeof builder->error, "%s", mio_last_error());
    }
    return -1;
}

static mio_status first_error(const mio_builder *builder)
{
    return builder->status ? mio__fail(builder->status, "%s", builder->error) : MIO_OK;
}

void mio_builder_name(mio_builder *builder, const char *name)
{
    if (!builder || builder->status)
        return;
    if (!name || !name[0] || strlen(name) > MIO__LAYER_NAME_LIMIT) {
        const mio_status status = mio__fail(MIO_ERROR_ARGUMENT, "a layer's name has 1 to %d bytes, not %zu",
                                            MIO__LAYER_NAME_LIMIT, name ? strlen(name) : 0);
        mio__builder_stick(builder, status);
        return;
    }
    snprintf(builder->name, sizeof builder->name, "%s", name);
}

void mio__builder_take_name(mio_builder *builder, char *name)
{
    if (!builder)
        return;
    memcpy(name, builder->name, sizeof builder->name);
    builder->name[0] = 0;
}

void mio__builder_name_under(mio_builder *builder, const char *prefix, const char *format, ...)
{
    char name[2 * MIO__LAYER_NAME_LIMIT] = "";
    int used = prefix[0] ? snprintf(name, sizeof name, "%s.", prefix) : 0;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name + used, sizeof name - (size_t)used, format, arguments);
    va_end(arguments);
    mio_builder_name(builder, name);
}

/* ---- layers ---- */

static mio_node add_layer(mio_builder *builder, mio__layer layer)
{
    if (!builder) {
        mio__settings_null("builder");
        return -1;
    }
    if (builder->status)
        return -1;
    mio__builder_take_name(builder, layer.name);
    if (!layer.name[0])
        snprintf(layer.name, sizeof layer.name, "%s%zu", mio__layer_facts_of[layer.kind].name,
                 builder->layers.count - 1);
    const mio_status status = mio__layers_add(&builder->layers, &layer);
    return status ? mio__builder_stick(builder, status) : (mio_node)(builder->layers.count - 1);
}

mio_node mio_builder_input(mio_builder *builder)
{
    if (!builder)
        mio__settings_null("builder");
    return builder && !builder->status ? 0 : -1;
}

mio_node mio_builder_conv2d(mio_builder *builder, mio_node input, size_t out_channels, size_t kernel, size_t stride,
                            size_t padding)
{
    return add_layer(builder, (mio__layer){.kind = MIO__LAYER_CONV,
                                           .inputs = {input, -1},
                                           .channels = out_channels,
                                           .kernel = kernel,
                                           .stride = stride,
                                           .padding = padding});
}

mio_node mio_builder_batch_norm(mio_builder *builder, mio_node input)
{
    return add_layer(builder, (mio__layer){.kind = MIO__LAYER_BATCH_NORM, .inputs = {input, -1}});
}

mio_node mio_builder_batch_norm_plain(mio_builder *builder, mio_node input)
{
    return add_layer(builder, (mio__layer){.kind = MIO__LAYER_BATCH_NORM, .inputs = {input, -1}, .plain = 1});
}

mio_node mio_builder_relu(mio_builder *builder, mio_node input)
{
    return add_layer(builder, (mio__layer){.kind = MIO__LAYER_RELU, .inputs = {input, -1}});
}

mio_node mio_builder_max_pool(mio_builder *builder, mio_node input, size_t kernel, size_t stride, size_t padding)
{
    return add_layer(builder, (mio__layer){.kind = MIO__LAYER_MAX_POOL,
                                           .inputs = {input, -1},
                                           .kernel = kernel,
                                           .stride = stride,
                                           .padding = padding});
}

mio_node mio_builder_global_average_pool(mio_builder *builder, mio_node input)
{
    return add_layer(builder, (mio__layer){.kind = MIO__LAYER_AVERAGE_POOL, .inputs = {input, -1}});
}

mio_node mio_builder_add(mio_builder *builder, mio_node left, mio_node right)
{
    return add_layer(builder, (mio__layer){.kind = MIO__LAYER_ADD, .inputs = {left, right}});
}

mio_node mio_builder_linear(mio_builder *builder, mio_node input, size_t out_features, int32_t bias)
{
    return add_layer(
        builder,
        (mio__layer){.kind = MIO__LAYER_LINEAR, .inputs = {input, -1}, .channels = out_features, .bias = bias != 0});
}

/* ---- finish ---- */

mio_status mio_builder_finish(mio_builder *builder, mio_node features, mio_node projections, mio_encoder **encoder)
{
    return mio_builder_finish_with_predictions(builder, features, projections, -1, encoder);
}

mio_status mio_builder_finish_with_predictions(mio_builder *builder, mio_node features, mio_node projections,
                                               mio_node predictions, mio_encoder **encoder)
{
    if (!builder || !encoder)
        return mio__fail(MIO_ERROR_ARGUMENT, "the builder or the place for the encoder is NULL");
    mio_status status = first_error(builder);
    mio_encoder *made = NULL;
    if (!status)
        status = mio__encoder_create(&builder->layers, &(mio__outputs){features, projections, predictions}, &made);
    if (!status)
        status = mio_encoder_initialize(made, mio__seed(builder->context));
    if (status)
        mio_encoder_release(made);
    else
        *encoder = made;
    return status;
}
