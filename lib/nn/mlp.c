/* Multi-layer perceptrons, and the heads that are ones: layer i is NAME.{2 i}, the ReLUs lie between. The names are
   those of the MIO paper's code. */
#include "nn/builder.h"

enum { LAYER_LIMIT = 64 };

static int is_norm(mio_norm norm)
{
    return norm == MIO_NORM_NONE || norm == MIO_NORM_PLAIN || norm == MIO_NORM_AFFINE;
}

static mio_node add_norm(mio_builder *builder, mio_node x, mio_norm norm)
{
    return norm == MIO_NORM_PLAIN ? mio_builder_batch_norm_plain(builder, x) : mio_builder_batch_norm(builder, x);
}

mio_node mio_builder_mlp(mio_builder *builder, mio_node input, size_t layers, size_t hidden, size_t out,
                         mio_norm hidden_norm, mio_norm last_norm)
{
    if (layers < 1 || layers > LAYER_LIMIT)
        return mio__builder_stick(builder, mio__fail(MIO_ERROR_ARGUMENT,
                                                     "a multi-layer perceptron (projector, predictor) has 1 to %d "
                                                     "layers, not %zu",
                                                     LAYER_LIMIT, layers));
    if (!is_norm(hidden_norm) || !is_norm(last_norm))
        return mio__builder_stick(
            builder, mio__fail(MIO_ERROR_ARGUMENT, "the norms of a multi-layer perceptron are 0, 1 or 2, not %d and %d",
                               (int)hidden_norm, (int)last_norm));
    char name[MIO__LAYER_NAME_LIMIT + 1] = "";
    mio__builder_take_name(builder, name);
    mio_node x = input;
    for (size_t i = 0; i < layers; i++) {
        const int last = i == layers - 1;
        const mio_norm norm = last ? last_norm : hidden_norm;
        mio__builder_name_under(builder, name[0] ? name : "mlp", "%zu.linear_layer", 2 * i);
        x = mio_builder_linear(builder, x, last ? out : hidden, norm == MIO_NORM_NONE);
        if (norm != MIO_NORM_NONE) {
            mio__builder_name_under(builder, name[0] ? name : "mlp", "%zu.bn_layer", 2 * i);
            x = add_norm(builder, x, norm);
        }
        if (!last)
            x = mio_builder_relu(builder, x);
    }
    return x;
}

/* A perceptron under the name that a head has, and the prefix that was given. */
static mio_node add_head(mio_builder *builder, const char *head, mio_node input, size_t layers, size_t hidden,
                         size_t out, mio_norm last_norm)
{
    char prefix[MIO__LAYER_NAME_LIMIT + 1] = "";
    mio__builder_take_name(builder, prefix);
    mio__builder_name_under(builder, prefix, "%s.mlp", head);
    return mio_builder_mlp(builder, input, layers, hidden, out, MIO_NORM_AFFINE, last_norm);
}

mio_node mio_builder_projector(mio_builder *builder, mio_node input, size_t layers, size_t hidden, size_t out)
{
    return add_head(builder, "projector", input, layers, hidden, out, MIO_NORM_AFFINE);
}

mio_node mio_builder_predictor(mio_builder *builder, mio_node input, size_t layers, size_t hidden, size_t out)
{
    return add_head(builder, "predictor", input, layers, hidden, out, MIO_NORM_NONE);
}
