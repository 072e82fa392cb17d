/* ResNets as torchvision builds and names them (He et al. 2015; the bottleneck's stride on its 3x3: "v1.5"). */
#include "nn/builder.h"

#include <stdio.h>

/* Where a block stands: its tensors are called prefix.layer<stage>.<index>.* */
typedef struct block_place {
    mio_builder *builder;
    char name[MIO__LAYER_NAME_LIMIT + 32];
} block_place;

static mio_node conv_norm(const block_place *place, mio_node x, const char *conv, const char *norm, size_t channels,
                          size_t kernel, size_t stride)
{
    mio__builder_name_under(place->builder, place->name, "%s", conv);
    x = mio_builder_conv2d(place->builder, x, channels, kernel, stride, kernel / 2);
    mio__builder_name_under(place->builder, place->name, "%s", norm);
    return mio_builder_batch_norm(place->builder, x);
}

/* Two 3x3 convolutions beside a shortcut, which is projected where the shape changes. */
static mio_node basic_block(const block_place *place, mio_node x, size_t width, size_t stride, int project)
{
    mio_node y = conv_norm(place, x, "conv1", "bn1", width, 3, stride);
    y = mio_builder_relu(place->builder, y);
    y = conv_norm(place, y, "conv2", "bn2", width, 3, 1);
    if (project)
        x = conv_norm(place, x, "downsample.0", "downsample.1", width, 1, stride);
    return mio_builder_relu(place->builder, mio_builder_add(place->builder, y, x));
}

/* 1x1, 3x3, 1x1 to four times the width, beside a shortcut. */
static mio_node bottleneck(const block_place *place, mio_node x, size_t width, size_t stride, int project)
{
    mio_node y = conv_norm(place, x, "conv1", "bn1", width, 1, 1);
    y = mio_builder_relu(place->builder, y);
    y = conv_norm(place, y, "conv2", "bn2", width, 3, stride);
    y = mio_builder_relu(place->builder, y);
    y = conv_norm(place, y, "conv3", "bn3", 4 * width, 1, 1);
    if (project)
        x = conv_norm(place, x, "downsample.0", "downsample.1", 4 * width, 1, stride);
    return mio_builder_relu(place->builder, mio_builder_add(place->builder, y, x));
}

static mio_node stem_layers(mio_builder *builder, const char *prefix, mio_node x, size_t width, mio_stem stem)
{
    mio__builder_name_under(builder, prefix, "conv1");
    if (stem == MIO_STEM_IMAGENET)
        x = mio_builder_conv2d(builder, x, width, 7, 2, 3);
    else
        x = mio_builder_conv2d(builder, x, width, 3, 1, stem == MIO_STEM_SMALL);
    mio__builder_name_under(builder, prefix, "bn1");
    x = mio_builder_relu(builder, mio_builder_batch_norm(builder, x));
    return stem == MIO_STEM_IMAGENET ? mio_builder_max_pool(builder, x, 3, 2, 1) : x;
}

mio_node mio_builder_resnet(mio_builder *builder, mio_node input, int32_t depth, size_t base_width, mio_stem stem)
{
    static const int blocks_18[4] = {2, 2, 2, 2}, blocks_34[4] = {3, 4, 6, 3};
    if (depth != 18 && depth != 34 && depth != 50)
        return mio__builder_stick(builder,
                                  mio__fail(MIO_ERROR_ARGUMENT, "a ResNet has depth 18, 34 or 50, not %d", (int)depth));
    if (base_width < 1 || base_width > 1 << 16)
        return mio__builder_stick(
            builder, mio__fail(MIO_ERROR_ARGUMENT, "a ResNet's base width is 1 to %d, not %zu", 1 << 16, base_width));
    if (stem < MIO_STEM_IMAGENET || stem > MIO_STEM_SMALL_UNPADDED)
        return mio__builder_stick(builder,
                                  mio__fail(MIO_ERROR_ARGUMENT, "a ResNet's stem is 0, 1 or 2, not %d", (int)stem));
    const int *blocks = depth == 18 ? blocks_18 : blocks_34;
    const int deep = depth == 50;
    char prefix[MIO__LAYER_NAME_LIMIT + 1] = "";
    mio__builder_take_name(builder, prefix);
    mio_node x = stem_layers(builder, prefix, input, base_width, stem);
    block_place place = {.builder = builder};
    for (int stage = 0; stage < 4; stage++) {
        const size_t width = base_width << stage;
        for (int i = 0; i < blocks[stage]; i++) {
            const size_t stride = stage > 0 && i == 0 ? 2 : 1;
            snprintf(place.name, sizeof place.name, "%s%slayer%d.%d", prefix, prefix[0] ? "." : "", stage + 1, i);
            if (deep)
                x = bottleneck(&place, x, width, stride, i == 0);
            else
                x = basic_block(&place, x, width, stride, stage > 0 && i == 0);
        }
    }
    return mio_builder_global_average_pool(builder, x);
}
