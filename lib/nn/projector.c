/* The projector of the MIO paper's code, under its names: layer i is projector.mlp.{2 i}, the ReLUs lie between. */
#include "nn/builder.h"

enum { LAYER_LIMIT = 64 };

mio_node mio_builder_projector(mio_builder *builder, mio_node input, size_t layers, size_t hidden, size_t out)
{
    if (layers < 1 || layers > LAYER_LIMIT)
        return mio__builder_stick(
            builder, mio__fail(MIO_ERROR_ARGUMENT, "a projector has 1 to %d layers, not %zu", LAYER_LIMIT, layers));
    char prefix[MIO__LAYER_NAME_LIMIT + 1] = "";
    mio__builder_take_name(builder, prefix);
    mio_node x = input;
    for (size_t i = 0; i < layers; i++) {
        const int last = i == layers - 1;
        mio__builder_name_under(builder, prefix, "projector.mlp.%zu.linear_layer", 2 * i);
        x = mio_builder_linear(builder, x, last ? out : hidden, 0);
        mio__builder_name_under(builder, prefix, "projector.mlp.%zu.bn_layer", 2 * i);
        x = mio_builder_batch_norm(builder, x);
        if (!last)
            x = mio_builder_relu(builder, x);
    }
    return x;
}
