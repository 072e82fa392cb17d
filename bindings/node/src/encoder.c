#include "addon.h"

#include <stdlib.h>
#include <string.h>

static int64_t weigh_encoder(const mio_encoder *encoder)
{
    mio_tensor_info info = {.struct_size = sizeof info};
    int64_t bytes = 0;
    for (size_t i = 0; i < mio_encoder_tensor_count(encoder); i++)
        if (!mio_encoder_tensor(encoder, i, &info))
            bytes += (int64_t)(info.count * sizeof(float));
    return bytes;
}

NOUN(builder, 0)
NOUN(encoder, weigh_encoder(object))
PARAMETERS(encoder)

/* ---- construction ---- */

/* -1 stands for none. */
static mio_node node(call *c, size_t index)
{
    const double value = number(c, index);
    if (!c->failed && !(value >= -1 && value <= INT32_MAX && value == (double)(mio_node)value))
        refuse_size(c, "a node of the builder is expected");
    return c->failed ? -1 : (mio_node)value;
}

MAKER(builder, builder_create, void *context = handle(&c, 0); const size_t channels = size(&c, 1);
      const size_t height = size(&c, 2);
      const size_t width = size(&c, 3), mio_builder_create(context, channels, height, width, &made))
MAKER(encoder, builder_finish, void *builder = handle(&c, 0); const mio_node features = node(&c, 1);
      const mio_node projections = node(&c, 2);
      const mio_node predictions = node(&c, 3),
      mio_builder_finish_with_predictions(builder, features, projections, predictions, &made))
MAKER(encoder, encoder_load, void *context = handle(&c, 0);
      const char *path = text(&c, 1), mio_encoder_load(context, path, &made))
CALLER(encoder_save, void *encoder = handle(&c, 0); const char *path = text(&c, 1), mio_encoder_save(encoder, path))

static napi_value builder_name(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *builder = handle(&c, 0);
    const char *name = text(&c, 1);
    if (!c.failed)
        mio_builder_name(builder, name);
    return NULL;
}

/* builder, kind of layer, its numbers: returns the node. */
static napi_value builder_add(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    mio_builder *b = handle(&c, 0);
    const char *kind = text(&c, 1);
    const int adds = !strcmp(kind, "add");
    size_t n[5] = {0};
    mio_node x = -1, made = -1;
    if (!c.failed && strcmp(kind, "input"))
        x = node(&c, 2);
    const mio_node right = adds && !c.failed ? node(&c, 3) : -1;
    for (size_t i = 0; i < 5 && !c.failed && !adds; i++)
        n[i] = is_absent(&c, 3 + i) ? 0 : size(&c, 3 + i);
    for (size_t i = 0; i < 5; i++)
        if (n[i] > INT32_MAX)
            refuse_size(&c, "a layer's numbers are below 2^31");
    if (c.failed)
        return NULL;
    if (!strcmp(kind, "input"))
        made = mio_builder_input(b);
    else if (!strcmp(kind, "conv2d"))
        made = mio_builder_conv2d(b, x, n[0], n[1], n[2], n[3]);
    else if (!strcmp(kind, "batchNorm"))
        made = mio_builder_batch_norm(b, x);
    else if (!strcmp(kind, "batchNormPlain"))
        made = mio_builder_batch_norm_plain(b, x);
    else if (!strcmp(kind, "relu"))
        made = mio_builder_relu(b, x);
    else if (!strcmp(kind, "maxPool"))
        made = mio_builder_max_pool(b, x, n[0], n[1], n[2]);
    else if (!strcmp(kind, "globalAveragePool"))
        made = mio_builder_global_average_pool(b, x);
    else if (adds)
        made = mio_builder_add(b, x, right);
    else if (!strcmp(kind, "linear"))
        made = mio_builder_linear(b, x, n[0], n[1] != 0);
    else if (!strcmp(kind, "resnet"))
        made = mio_builder_resnet(b, x, (int32_t)n[0], n[1], (mio_stem)n[2]);
    else if (!strcmp(kind, "projector"))
        made = mio_builder_projector(b, x, n[0], n[1], n[2]);
    else if (!strcmp(kind, "predictor"))
        made = mio_builder_predictor(b, x, n[0], n[1], n[2]);
    else if (!strcmp(kind, "mlp"))
        made = mio_builder_mlp(b, x, n[0], n[1], n[2], (mio_norm)n[3], (mio_norm)n[4]);
    return of_number(&c, made);
}

/* ---- facts and tensors ---- */

/* {featureDim, projectionDim (0: none), channels, height, width} */
static napi_value encoder_facts(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *encoder = handle(&c, 0);
    size_t features = 0, projections = 0, channels = 0, height = 0, width = 0;
    napi_value facts = NULL;
    if (c.failed)
        return NULL;
    check(&c, mio_encoder_feature_dim(encoder, &features));
    check(&c, mio_encoder_input_shape(encoder, &channels, &height, &width));
    if (mio_encoder_projection_dim(encoder, &projections))
        projections = 0;
    napi_create_object(env, &facts);
    put(&c, facts, "featureDim", of_number(&c, (double)features));
    put(&c, facts, "projectionDim", of_number(&c, (double)projections));
    put(&c, facts, "channels", of_number(&c, (double)channels));
    put(&c, facts, "height", of_number(&c, (double)height));
    put(&c, facts, "width", of_number(&c, (double)width));
    return c.failed ? NULL : facts;
}

/* [{name, shape, count, trainable}] */
static napi_value encoder_tensors(napi_env env, napi_callback_info info)
{
    call c;
    napi_value list = NULL;
    begin(&c, env, info);
    void *encoder = handle(&c, 0);
    if (c.failed)
        return NULL;
    const size_t count = mio_encoder_tensor_count(encoder);
    napi_create_array(env, &list);
    for (size_t i = 0; i < count && !c.failed; i++) {
        mio_tensor_info tensor = {.struct_size = sizeof tensor};
        napi_value made = NULL, shape = NULL, trainable = NULL;
        check(&c, mio_encoder_tensor(encoder, i, &tensor));
        if (c.failed)
            break;
        napi_create_object(env, &made);
        napi_create_array(env, &shape);
        for (size_t k = 0; k < tensor.rank; k++)
            napi_set_element(env, shape, (uint32_t)k, of_number(&c, (double)tensor.shape[k]));
        napi_get_boolean(env, tensor.trainable != 0, &trainable);
        put(&c, made, "name", of_text(&c, tensor.name));
        put(&c, made, "shape", shape);
        put(&c, made, "count", of_number(&c, (double)tensor.count));
        put(&c, made, "trainable", trainable);
        napi_set_element(env, list, (uint32_t)i, made);
    }
    return c.failed ? NULL : list;
}

/* encoder, name, count, Float32Array: copied there; with set, from there. */
CALLER(encoder_get_tensor, void *encoder = handle(&c, 0); const char *name = text(&c, 1);
       const size_t count = size(&c, 2);
       float *values = needed(&c, 3, napi_float32_array, count), mio_encoder_get_tensor(encoder, name, count, values))
CALLER(encoder_set_tensor, void *encoder = handle(&c, 0); const char *name = text(&c, 1);
       const size_t count = size(&c, 2); const float *values = needed(&c, 3, napi_float32_array, count),
                                         mio_encoder_set_tensor(encoder, name, count, values))
/* encoder, channels, Float64Array of means, and of deviations */
CALLER(encoder_set_normalization, void *encoder = handle(&c, 0); const size_t channels = size(&c, 1);
       const double *mean = needed(&c, 2, napi_float64_array, channels);
       const double *deviation = needed(&c, 3, napi_float64_array, channels),
       mio_encoder_set_normalization(encoder, channels, mean, deviation))
CALLER(encoder_get_normalization, void *encoder = handle(&c, 0); const size_t channels = size(&c, 1);
       double *mean = needed(&c, 2, napi_float64_array, channels);
       double *deviation = needed(&c, 3, napi_float64_array, channels),
       mio_encoder_get_normalization(encoder, channels, mean, deviation))

/* ---- passes ---- */

/* encoder, count, Float32Array of normalised images, Float32Array for features, and for projections or nothing */
static napi_value encoder_infer(napi_env env, napi_callback_info info)
{
    call c;
    size_t shape[4] = {0}, feature_dim = 0, projection_dim = 0;
    begin(&c, env, info);
    void *encoder = handle(&c, 0);
    shape[0] = size(&c, 1);
    if (!c.failed) {
        check(&c, mio_encoder_input_shape(encoder, shape + 1, shape + 2, shape + 3));
        check(&c, mio_encoder_feature_dim(encoder, &feature_dim));
        check(&c, mio_encoder_projection_dim(encoder, &projection_dim));
    }
    const float *images = needed(&c, 2, napi_float32_array, product(&c, shape, 4));
    float *features = needed(&c, 3, napi_float32_array, area(&c, shape[0], feature_dim));
    float *projections = array(&c, 4, napi_float32_array, area(&c, shape[0], projection_dim));
    if (!c.failed)
        check(&c, mio_encoder_infer(encoder, shape[0], images, features, projections));
    return NULL;
}

/* encoder, count, height, width, channels, Uint8Array, Float32Array for the features. */
typedef struct embedding {
    mio_encoder *encoder;
    size_t shape[4], bytes, values;
    uint8_t *images;
    float *features;
    napi_ref answer; /* JavaScript's features, where the others are copies */
} embedding;

static embedding embedding_of(call *c)
{
    embedding e = {.encoder = handle(c, 0)};
    size_t dim = 0;
    for (size_t i = 0; i < 4; i++)
        e.shape[i] = size(c, 1 + i);
    e.bytes = product(c, e.shape, 4);
    if (!c->failed && e.shape[0] && !e.bytes)
        refuse_size(c, "images of no pixels");
    e.images = needed(c, 5, napi_uint8_array, e.bytes);
    if (!c->failed)
        check(c, mio_encoder_feature_dim(e.encoder, &dim));
    e.values = area(c, e.shape[0], dim);
    e.features = needed(c, 6, napi_float32_array, e.values);
    return e;
}

static mio_status embed(void *what)
{
    const embedding *e = what;
    return mio_encoder_embed(e->encoder, e->shape[0], e->shape[1], e->shape[2], e->shape[3], 0, e->images, e->features);
}

static napi_value encoder_embed(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    embedding e = embedding_of(&c);
    if (!c.failed)
        check(&c, embed(&e));
    return NULL;
}

static napi_value give_features(call *c, void *what)
{
    const embedding *e = what;
    napi_value features = NULL;
    void *values = NULL;
    size_t length = 0;
    napi_get_reference_value(c->env, e->answer, &features);
    napi_get_typedarray_info(c->env, features, NULL, &length, &values, NULL, NULL);
    if (length != e->values)
        return NULL;
    if (length)
        memcpy(values, e->features, length * sizeof(float));
    return features;
}

static void release_embedding(napi_env env, void *what)
{
    embedding *e = what;
    if (e->answer)
        napi_delete_reference(env, e->answer);
    mio_encoder_release(e->encoder);
    free(e->images);
    free(e->features);
    free(e);
}

static napi_value encoder_embed_later(napi_env env, napi_callback_info info)
{
    static const task kind = {"mio_encoder_embed", embed, give_features, release_embedding};
    call c;
    begin(&c, env, info);
    const embedding given = embedding_of(&c);
    embedding *e = c.failed ? NULL : malloc(sizeof *e);
    if (!e) {
        refuse_memory(&c);
        return NULL;
    }
    *e = given;
    e->encoder = mio_encoder_retain(given.encoder);
    e->images = malloc(e->bytes ? e->bytes : 1);
    e->features = malloc((e->values ? e->values : 1) * sizeof(float));
    if (!e->images || !e->features || napi_create_reference(env, c.arguments[6], 1, &e->answer) != napi_ok) {
        release_embedding(env, e);
        refuse_memory(&c);
        return NULL;
    }
    if (e->bytes)
        memcpy(e->images, given.images, e->bytes);
    return start_task(&c, &kind, e);
}

const entry encoder_entries[] = {
    ENTRY(builder_create),
    ENTRY(builder_name),
    ENTRY(builder_add),
    ENTRY(builder_finish),
    ENTRY(encoder_load),
    ENTRY(encoder_save),
    ENTRY(encoder_set),
    ENTRY(encoder_get),
    ENTRY(encoder_facts),
    ENTRY(encoder_tensors),
    ENTRY(encoder_get_tensor),
    ENTRY(encoder_set_tensor),
    ENTRY(encoder_set_normalization),
    ENTRY(encoder_get_normalization),
    ENTRY(encoder_infer),
    ENTRY(encoder_embed),
    ENTRY(encoder_embed_later),
    {NULL, NULL},
};
