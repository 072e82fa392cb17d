/* What index.js is made of: every function checks the kinds and lengths of its arguments, makes one call of libmio and
   turns a status that is no success into an Error whose code is the status's name. Handles are externals, which give
   their reference back when they are closed or collected; only index.js sees them, so that none is taken for another's.
   Arrays for results come from index.js too: made here, one that is too large would end the process. */
#define NAPI_VERSION 8
#include <mio/mio.h>
#include <node_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGUMENTS = 8, TEXTS = 3, TEXT_SIZE = 4096 };

/* One call from JavaScript. Once failed is set an exception is pending, and the function returns at once. */
typedef struct call {
    napi_env env;
    napi_value arguments[ARGUMENTS];
    int failed, texts;
    char text[TEXTS][TEXT_SIZE];
} call;

static void begin(call *c, napi_env env, napi_callback_info info)
{
    size_t count = ARGUMENTS;
    c->env = env;
    c->failed = c->texts = 0;
    napi_get_cb_info(env, info, &count, c->arguments, NULL, NULL); /* missing ones are undefined */
}

static void refuse(call *c, const char *what)
{
    if (!c->failed)
        napi_throw_type_error(c->env, "MIO_ERROR_ARGUMENT", what);
    c->failed = 1;
}

static void check(call *c, mio_status status)
{
    if (status != MIO_OK && !c->failed) {
        napi_throw_error(c->env, mio_status_name(status), mio_last_error());
        c->failed = 1;
    }
}

/* ---- arguments ---- */

static napi_valuetype kind_of(const call *c, size_t index)
{
    napi_valuetype kind = napi_undefined;
    napi_typeof(c->env, c->arguments[index], &kind);
    return kind;
}

static int is_absent(const call *c, size_t index)
{
    const napi_valuetype kind = kind_of(c, index);
    return kind == napi_undefined || kind == napi_null;
}

typedef void (*release_function)(void *object);

/* What an external points to. */
typedef struct holder {
    void *object; /* NULL once closed */
    release_function release;
    int64_t bytes; /* that the collector is told of */
} holder;

static holder *holder_of(call *c, size_t index)
{
    void *pointer = NULL;
    if (kind_of(c, index) != napi_external || napi_get_value_external(c->env, c->arguments[index], &pointer) != napi_ok)
        refuse(c, "a libmio object is expected");
    return pointer;
}

static void *handle(call *c, size_t index)
{
    const holder *h = holder_of(c, index);
    if (h && !h->object)
        refuse(c, "the object has been closed");
    return h ? h->object : NULL;
}

static double number(call *c, size_t index)
{
    double value = 0;
    if (kind_of(c, index) != napi_number || napi_get_value_double(c->env, c->arguments[index], &value) != napi_ok)
        refuse(c, "a number is expected");
    return value;
}

static size_t size(call *c, size_t index)
{
    const double value = number(c, index);
    if (!c->failed && !(value >= 0 && value <= 9007199254740991.0 && value == (double)(size_t)value))
        refuse(c, "a whole number of at least 0 is expected");
    return c->failed ? 0 : (size_t)value;
}

/* -1 stands for none. */
static mio_node node(call *c, size_t index)
{
    const double value = number(c, index);
    if (!c->failed && !(value >= -1 && value <= INT32_MAX && value == (double)(mio_node)value))
        refuse(c, "a node of the builder is expected");
    return c->failed ? -1 : (mio_node)value;
}

static const char *text(call *c, size_t index)
{
    size_t length = 0;
    char *place = c->text[c->texts < TEXTS ? c->texts++ : TEXTS - 1];
    place[0] = 0;
    if (kind_of(c, index) != napi_string ||
        napi_get_value_string_utf8(c->env, c->arguments[index], place, TEXT_SIZE, &length) != napi_ok)
        refuse(c, "a string is expected");
    else if (length == TEXT_SIZE - 1 || strlen(place) != length)
        refuse(c, "a string is too long or holds a zero character");
    return place;
}

static const char *text_or_null(call *c, size_t index)
{
    return is_absent(c, index) ? NULL : text(c, index);
}

/* count values of a typed array; NULL where there is none. */
static void *array(call *c, size_t index, napi_typedarray_type type, size_t count)
{
    napi_typedarray_type found;
    size_t length;
    void *values;
    bool is_array = false;
    if (is_absent(c, index))
        return NULL;
    if (napi_is_typedarray(c->env, c->arguments[index], &is_array) != napi_ok || !is_array ||
        napi_get_typedarray_info(c->env, c->arguments[index], &found, &length, &values, NULL, NULL) != napi_ok) {
        refuse(c, "a typed array is expected");
        return NULL;
    }
    /* Buffers are Uint8Arrays; clamped ones hold the same bytes. */
    if (found != type && !(type == napi_uint8_array && found == napi_uint8_clamped_array))
        refuse(c, "a typed array of another type is expected");
    else if (length != count)
        refuse(c, "a typed array has another length than its shape");
    return c->failed ? NULL : values;
}

static void *needed(call *c, size_t index, napi_typedarray_type type, size_t count)
{
    if (!c->failed && is_absent(c, index))
        refuse(c, "a typed array is expected");
    return array(c, index, type, count);
}

/* Product of extents, at most 2^53. */
static size_t product(call *c, const size_t *extents, size_t count)
{
    size_t all = 1;
    for (size_t i = 0; i < count; i++)
        if (__builtin_mul_overflow(all, extents[i], &all) || all > (size_t)1 << 53)
            refuse(c, "the shape is too large");
    return c->failed ? 0 : all;
}

static size_t area(call *c, size_t rows, size_t columns)
{
    return product(c, (size_t[]){rows, columns}, 2);
}

/* ---- results ---- */

static napi_value of_number(const call *c, double value)
{
    napi_value made = NULL;
    napi_create_double(c->env, value, &made);
    return made;
}

static napi_value of_text(const call *c, const char *value)
{
    napi_value made = NULL;
    if (value)
        napi_create_string_utf8(c->env, value, NAPI_AUTO_LENGTH, &made);
    else
        napi_get_null(c->env, &made);
    return made;
}

static void let_go(napi_env env, holder *h)
{
    int64_t all;
    if (!h->object)
        return;
    h->release(h->object);
    h->object = NULL;
    napi_adjust_external_memory(env, -h->bytes, &all);
}

static void finalize(napi_env env, void *data, void *unused)
{
    (void)unused;
    let_go(env, data);
    free(data);
}

/* Takes the reference over. bytes: what the object holds, so that the collector hurries where it is much. */
static napi_value of_handle(call *c, void *object, release_function release, int64_t bytes)
{
    napi_value made = NULL;
    int64_t all;
    holder *h = c->failed ? NULL : malloc(sizeof *h);
    if (c->failed)
        return NULL;
    if (!h || napi_create_external(c->env, h, finalize, NULL, &made) != napi_ok) {
        release(object);
        free(h);
        refuse(c, "out of memory");
        return NULL;
    }
    *h = (holder){object, release, bytes};
    napi_adjust_external_memory(c->env, bytes, &all);
    return made;
}

/* Any object's: before it is collected. */
static napi_value close_object(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    holder *h = holder_of(&c, 0);
    if (h)
        let_go(env, h);
    return NULL;
}

static void put(const call *c, napi_value object, const char *name, napi_value value)
{
    napi_set_named_property(c->env, object, name, value);
}

/* ---- one noun's life and parameters ---- */

#define NOUN(noun, weight)                                                                                             \
    static void release_##noun(void *object)                                                                           \
    {                                                                                                                  \
        mio_##noun##_release(object);                                                                                  \
    }                                                                                                                  \
    static int64_t bytes_of_##noun(const mio_##noun *object)                                                           \
    {                                                                                                                  \
        (void)object;                                                                                                  \
        return weight;                                                                                                 \
    }

static int64_t weigh_encoder(const mio_encoder *encoder)
{
    mio_tensor_info info = {.struct_size = sizeof info};
    int64_t bytes = 0;
    for (size_t i = 0; i < mio_encoder_tensor_count(encoder); i++)
        if (!mio_encoder_tensor(encoder, i, &info))
            bytes += (int64_t)(info.count * sizeof(float));
    return bytes;
}

static int64_t weigh_dataset(const mio_dataset *dataset)
{
    int64_t pixels = 0;
    size_t height, width;
    for (size_t i = 0; i < mio_dataset_count(dataset); i++)
        if (!mio_dataset_image_size(dataset, i, &height, &width))
            pixels += (int64_t)(height * width);
    return pixels * (int64_t)mio_dataset_channels(dataset);
}

#define PARAMETERS(noun)                                                                                               \
    static napi_value noun##_set(napi_env env, napi_callback_info info)                                                \
    {                                                                                                                  \
        call c;                                                                                                        \
        begin(&c, env, info);                                                                                          \
        void *object = handle(&c, 0);                                                                                  \
        const char *name = text(&c, 1);                                                                                \
        const int words = kind_of(&c, 2) == napi_string;                                                               \
        const char *value = words ? text(&c, 2) : NULL;                                                                \
        const double plain = words ? 0 : number(&c, 2);                                                                \
        if (!c.failed)                                                                                                 \
            check(&c, words ? mio_##noun##_set_text(object, name, value) : mio_##noun##_set(object, name, plain));     \
        return NULL;                                                                                                   \
    }                                                                                                                  \
    static napi_value noun##_get(napi_env env, napi_callback_info info)                                                \
    {                                                                                                                  \
        call c;                                                                                                        \
        begin(&c, env, info);                                                                                          \
        void *object = handle(&c, 0);                                                                                  \
        const char *name = text(&c, 1);                                                                                \
        double value = 0;                                                                                              \
        if (!c.failed)                                                                                                 \
            check(&c, mio_##noun##_get(object, name, &value));                                                         \
        return c.failed ? NULL : of_number(&c, value);                                                                 \
    }

NOUN(context, 0)
NOUN(loss, 0)
NOUN(builder, 0)
NOUN(encoder, weigh_encoder(object))
NOUN(dataset, weigh_dataset(object))
NOUN(recipe, 0)
NOUN(trainer, weigh_encoder(mio_trainer_encoder((mio_trainer *)object)))
NOUN(knn, 0)
NOUN(probe, 0)
PARAMETERS(context)
PARAMETERS(loss)
PARAMETERS(encoder)
PARAMETERS(recipe)
PARAMETERS(trainer)
PARAMETERS(knn)
PARAMETERS(probe)

/* A function that makes an object: its arguments, and the call. */
#define MAKER(noun, function, declarations, status)                                                                    \
    static napi_value function(napi_env env, napi_callback_info info)                                                  \
    {                                                                                                                  \
        call c;                                                                                                        \
        mio_##noun *made = NULL;                                                                                       \
        begin(&c, env, info);                                                                                          \
        declarations;                                                                                                  \
        if (!c.failed)                                                                                                 \
            check(&c, status);                                                                                         \
        return of_handle(&c, made, release_##noun, c.failed ? 0 : bytes_of_##noun(made));                              \
    }

MAKER(context, context_create, (void)0, mio_context_create(&made))
MAKER(loss, loss_create, void *context = handle(&c, 0);
      const char *name = text(&c, 1), mio_loss_create(context, name, &made))
MAKER(builder, builder_create, void *context = handle(&c, 0); const size_t channels = size(&c, 1);
      const size_t height = size(&c, 2);
      const size_t width = size(&c, 3), mio_builder_create(context, channels, height, width, &made))
MAKER(encoder, builder_finish, void *builder = handle(&c, 0); const mio_node features = node(&c, 1);
      const mio_node projections = node(&c, 2);
      const mio_node predictions = node(&c, 3),
      mio_builder_finish_with_predictions(builder, features, projections, predictions, &made))
MAKER(encoder, encoder_load, void *context = handle(&c, 0);
      const char *path = text(&c, 1), mio_encoder_load(context, path, &made))
MAKER(recipe, recipe_create, void *context = handle(&c, 0);
      const char *name = text(&c, 1), mio_recipe_create(context, name, &made))
MAKER(trainer, recipe_build, void *recipe = handle(&c, 0);
      void *dataset = handle(&c, 1), mio_recipe_build(recipe, dataset, &made))
MAKER(knn, knn_create, void *context = handle(&c, 0), mio_knn_create(context, &made))
MAKER(probe, probe_create, void *context = handle(&c, 0);
      const char *solver = text(&c, 1), mio_probe_create(context, solver, &made))

/* A function that only changes something, or writes a file. */
#define CALLER(function, declarations, status)                                                                         \
    static napi_value function(napi_env env, napi_callback_info info)                                                  \
    {                                                                                                                  \
        call c;                                                                                                        \
        begin(&c, env, info);                                                                                          \
        declarations;                                                                                                  \
        if (!c.failed)                                                                                                 \
            check(&c, status);                                                                                         \
        return NULL;                                                                                                   \
    }

CALLER(encoder_save, void *encoder = handle(&c, 0); const char *path = text(&c, 1), mio_encoder_save(encoder, path))
CALLER(trainer_save, void *trainer = handle(&c, 0); const char *path = text(&c, 1), mio_trainer_save(trainer, path))
CALLER(trainer_restore, void *trainer = handle(&c, 0);
       const char *path = text(&c, 1), mio_trainer_restore(trainer, path))
CALLER(recipe_choose, void *recipe = handle(&c, 0); const char *part = text(&c, 1);
       const char *name = text(&c, 2), mio_recipe_choose(recipe, part, name))
/* loss, count, Int32Array of labels or nothing, BigUint64Array of indices or nothing */
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "indices come as 64 bits");
CALLER(loss_set_batch, void *loss = handle(&c, 0); const size_t count = size(&c, 1);
       const int32_t *labels = array(&c, 2, napi_int32_array, count);
       const size_t *indices = array(&c, 3, napi_biguint64_array, count),
       mio_loss_set_batch(loss, count, labels, indices))
/* knn, count, dim, Float32Array, Int32Array or nothing */
CALLER(knn_fit, void *knn = handle(&c, 0); const size_t count = size(&c, 1); const size_t dim = size(&c, 2);
       const float *features = needed(&c, 3, napi_float32_array, area(&c, count, dim));
       const int32_t *labels = array(&c, 4, napi_int32_array, count), mio_knn_fit(knn, count, dim, features, labels))
/* probe, count, dim, Float32Array, Int32Array, classes */
CALLER(probe_fit, void *probe = handle(&c, 0); const size_t count = size(&c, 1); const size_t dim = size(&c, 2);
       const float *features = needed(&c, 3, napi_float32_array, area(&c, count, dim));
       const int32_t *labels = needed(&c, 4, napi_int32_array, count);
       const size_t classes = size(&c, 5), mio_probe_fit(probe, count, dim, features, labels, classes))
/* knn, count, dim, Float32Array, Int32Array for the classes; a probe likewise */
CALLER(knn_predict, void *knn = handle(&c, 0); const size_t count = size(&c, 1); const size_t dim = size(&c, 2);
       const float *queries = needed(&c, 3, napi_float32_array, area(&c, count, dim));
       int32_t *classes = needed(&c, 4, napi_int32_array, count), mio_knn_predict(knn, count, dim, queries, classes))
CALLER(probe_predict, void *probe = handle(&c, 0); const size_t count = size(&c, 1); const size_t dim = size(&c, 2);
       const float *features = needed(&c, 3, napi_float32_array, area(&c, count, dim));
       int32_t *classes = needed(&c, 4, napi_int32_array, count),
       mio_probe_predict(probe, count, dim, features, classes, NULL))

static napi_value context_target(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *context = handle(&c, 0);
    return c.failed ? NULL : of_text(&c, mio_context_target(context));
}

static napi_value version(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    return of_number(&c, mio_version());
}

/* ---- losses ---- */

static napi_value loss_name_at(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    const size_t index = size(&c, 0);
    return c.failed ? NULL : of_text(&c, mio_loss_name_at(index));
}

/* loss, pairs, dim, z1, z2, gradients or nothing: all Float32Array or all Float64Array. */
static napi_value loss_compute(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *loss = handle(&c, 0);
    const size_t shape[2] = {size(&c, 1), size(&c, 2)}, count = area(&c, shape[0], shape[1]);
    napi_typedarray_type type = napi_float32_array;
    bool is_array = false;
    if (!c.failed && napi_is_typedarray(env, c.arguments[3], &is_array) == napi_ok && is_array)
        napi_get_typedarray_info(env, c.arguments[3], &type, NULL, NULL, NULL, NULL);
    if (type != napi_float64_array)
        type = napi_float32_array;
    const void *z1 = needed(&c, 3, type, count), *z2 = needed(&c, 4, type, count);
    void *g1 = array(&c, 5, type, count), *g2 = array(&c, 6, type, count);
    double value = 0;
    if (!c.failed)
        check(&c, type == napi_float64_array ? mio_loss_compute_f64(loss, shape[0], shape[1], z1, z2, &value, g1, g2)
                                             : mio_loss_compute(loss, shape[0], shape[1], z1, z2, &value, g1, g2));
    return c.failed ? NULL : of_number(&c, value);
}

/* ---- encoders ---- */

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
            refuse(&c, "a layer's numbers are below 2^31");
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

/* encoder, count, height, width, channels, Uint8Array, Float32Array for the features. */
typedef struct embedding {
    mio_encoder *encoder;
    size_t shape[4], values;
    uint8_t *images;
    float *features;
} embedding;

static embedding embedding_of(call *c)
{
    embedding e = {.encoder = handle(c, 0)};
    size_t dim = 0;
    for (size_t i = 0; i < 4; i++)
        e.shape[i] = size(c, 1 + i);
    const size_t bytes = product(c, e.shape, 4);
    if (!c->failed && e.shape[0] && !bytes)
        refuse(c, "images of no pixels");
    e.images = needed(c, 5, napi_uint8_array, bytes);
    if (!c->failed)
        check(c, mio_encoder_feature_dim(e.encoder, &dim));
    e.values = area(c, e.shape[0], dim);
    e.features = needed(c, 6, napi_float32_array, e.values);
    return e;
}

static mio_status embed(const embedding *e)
{
    return mio_encoder_embed(e->encoder, e->shape[0], e->shape[1], e->shape[2], e->shape[3], 0, e->images, e->features);
}

static napi_value encoder_embed(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    const embedding e = embedding_of(&c);
    if (!c.failed)
        check(&c, embed(&e));
    return NULL;
}

/* ---- on threads of their own ---- */

/* A call that another thread makes, and the promise of its end. */
typedef struct later {
    mio_status (*run)(struct later *l);
    napi_value (*answer)(call *c, struct later *l); /* once it has succeeded */
    void (*release)(struct later *l);
    embedding what; /* images and features are copies of JavaScript's memory */
    napi_ref features;
    mio_trainer *trainer;
    mio_step_report report;
    mio_status status;
    char message[512];
    napi_deferred promise;
    napi_async_work work;
} later;

static void run_later(napi_env env, void *data)
{
    later *l = data;
    (void)env;
    l->status = l->run(l);
    snprintf(l->message, sizeof l->message, "%s", l->status ? mio_last_error() : "");
}

static void drop_later(napi_env env, later *l)
{
    if (l->work)
        napi_delete_async_work(env, l->work);
    if (l->features)
        napi_delete_reference(env, l->features);
    l->release(l);
    free(l);
}

static void finish_later(napi_env env, napi_status ended, void *data)
{
    later *l = data;
    call c = {.env = env};
    if (ended != napi_ok) /* it never ran */
        l->status = MIO_ERROR_CANCELLED;
    napi_value error = NULL, result = l->status ? NULL : l->answer(&c, l);
    if (result) {
        napi_resolve_deferred(env, l->promise, result);
    } else {
        napi_create_error(env, of_text(&c, mio_status_name(l->status ? l->status : MIO_ERROR_MEMORY)),
                          of_text(&c, l->status ? l->message : "out of memory"), &error);
        napi_reject_deferred(env, l->promise, error);
    }
    drop_later(env, l);
}

/* Takes l over; returns the promise. */
static napi_value start_later(call *c, later *l, const char *name)
{
    napi_value promise = NULL, label = of_text(c, name);
    if (napi_create_promise(c->env, &l->promise, &promise) != napi_ok ||
        napi_create_async_work(c->env, NULL, label, run_later, finish_later, l, &l->work) != napi_ok ||
        napi_queue_async_work(c->env, l->work) != napi_ok) {
        drop_later(c->env, l);
        refuse(c, "out of memory");
        return NULL;
    }
    return promise;
}

static mio_status run_embed(later *l)
{
    return embed(&l->what);
}

static napi_value give_features(call *c, later *l)
{
    napi_value features = NULL;
    void *values = NULL;
    size_t length = 0;
    napi_get_reference_value(c->env, l->features, &features);
    napi_get_typedarray_info(c->env, features, NULL, &length, &values, NULL, NULL);
    if (length != l->what.values)
        return NULL;
    memcpy(values, l->what.features, length * sizeof(float));
    return features;
}

static void release_embed(later *l)
{
    mio_encoder_release(l->what.encoder);
    free(l->what.images);
    free(l->what.features);
}

static napi_value encoder_embed_later(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    const embedding e = embedding_of(&c);
    later *l = c.failed ? NULL : calloc(1, sizeof *l);
    if (!l) {
        refuse(&c, "out of memory");
        return NULL;
    }
    const size_t bytes = e.shape[0] * e.shape[1] * e.shape[2] * e.shape[3];
    *l = (later){.run = run_embed, .answer = give_features, .release = release_embed, .what = e};
    l->what.encoder = mio_encoder_retain(e.encoder);
    l->what.images = malloc(bytes ? bytes : 1);
    l->what.features = malloc((e.values ? e.values : 1) * sizeof(float));
    if (!l->what.images || !l->what.features ||
        napi_create_reference(env, c.arguments[6], 1, &l->features) != napi_ok) {
        release_embed(l);
        free(l);
        refuse(&c, "out of memory");
        return NULL;
    }
    memcpy(l->what.images, e.images, bytes);
    return start_later(&c, l, "mio_encoder_embed");
}

/* ---- data ---- */

MAKER(dataset, dataset_open, void *context = handle(&c, 0); const char *format = text(&c, 1);
      const char *path = text(&c, 2);
      const char *split = text_or_null(&c, 3), mio_dataset_open(context, format, path, split, &made))

/* What mio_dataset_from_callback copies from. */
typedef struct pictures {
    const uint8_t *images;
    const int32_t *labels;
    size_t bytes;
} pictures;

static int32_t read_picture(void *user, size_t index, uint8_t *pixels, int32_t *label)
{
    const pictures *p = user;
    memcpy(pixels, p->images + index * p->bytes, p->bytes);
    *label = p->labels ? p->labels[index] : -1;
    return 0;
}

/* context, count, height, width, channels, Uint8Array, Int32Array or nothing. Copied: JavaScript's memory may move
   away. */
static napi_value dataset_from_images(napi_env env, napi_callback_info info)
{
    call c;
    mio_dataset *made = NULL;
    size_t shape[4];
    begin(&c, env, info);
    void *context = handle(&c, 0);
    for (size_t i = 0; i < 4; i++)
        shape[i] = size(&c, 1 + i);
    pictures p = {.images = needed(&c, 5, napi_uint8_array, product(&c, shape, 4)),
                  .labels = array(&c, 6, napi_int32_array, shape[0]),
                  .bytes = shape[1] * shape[2] * shape[3]};
    const mio_image_source source = {sizeof source, &p, read_picture};
    if (!c.failed)
        check(&c, mio_dataset_from_callback(context, shape[0], shape[1], shape[2], shape[3], &source, &made));
    return of_handle(&c, made, release_dataset, c.failed ? 0 : bytes_of_dataset(made));
}

MAKER(dataset, dataset_subset, void *dataset = handle(&c, 0); const size_t count = size(&c, 1);
      const size_t *indices = needed(&c, 2, napi_biguint64_array, count),
      mio_dataset_subset(dataset, count, indices, &made))

static napi_value dataset_class_name(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *dataset = handle(&c, 0);
    const size_t label = size(&c, 1);
    return c.failed ? NULL : of_text(&c, mio_dataset_class_name(dataset, label));
}

static napi_value dataset_image_name(napi_env env, napi_callback_info info)
{
    call c;
    const char *name = NULL;
    begin(&c, env, info);
    void *dataset = handle(&c, 0);
    const size_t index = size(&c, 1);
    if (!c.failed)
        check(&c, mio_dataset_image_name(dataset, index, &name));
    return c.failed ? NULL : of_text(&c, name);
}

/* {count, classes} */
static napi_value dataset_facts(napi_env env, napi_callback_info info)
{
    call c;
    napi_value facts = NULL;
    begin(&c, env, info);
    void *dataset = handle(&c, 0);
    if (c.failed)
        return NULL;
    napi_create_object(env, &facts);
    put(&c, facts, "count", of_number(&c, (double)mio_dataset_count(dataset)));
    put(&c, facts, "classes", of_number(&c, (double)mio_dataset_class_count(dataset)));
    return facts;
}

static napi_value dataset_label(napi_env env, napi_callback_info info)
{
    call c;
    int32_t label = -1;
    begin(&c, env, info);
    void *dataset = handle(&c, 0);
    const size_t index = size(&c, 1);
    if (!c.failed)
        check(&c, mio_dataset_label(dataset, index, &label));
    return c.failed ? NULL : of_number(&c, label);
}

/* encoder, dataset, Float32Array for the features of every image */
static napi_value dataset_embed(napi_env env, napi_callback_info info)
{
    call c;
    size_t dim = 0;
    begin(&c, env, info);
    void *encoder = handle(&c, 0), *dataset = handle(&c, 1);
    if (!c.failed)
        check(&c, mio_encoder_feature_dim(encoder, &dim));
    float *features = needed(&c, 2, napi_float32_array, c.failed ? 0 : area(&c, mio_dataset_count(dataset), dim));
    if (!c.failed)
        check(&c, mio_evaluate_embed(encoder, dataset, features));
    return NULL;
}

/* ---- training ---- */

static napi_value of_report(const call *c, mio_step_report r)
{
    napi_value made = NULL;
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"step", (double)r.step},
        {"epoch", (double)r.epoch},
        {"stepsPerEpoch", (double)r.steps_per_epoch},
        {"totalSteps", (double)r.total_steps},
        {"loss", r.loss},
        {"learningRate", r.learning_rate},
        {"imagesPerSecond", r.images_per_second},
        {"stepSeconds", r.step_seconds},
        {"waitSeconds", r.wait_seconds},
        {"positiveSimilarity", r.positive_similarity},
        {"negativeSimilarity", r.negative_similarity},
        {"pairAccuracy", r.pair_accuracy},
        {"alignment", r.alignment},
        {"uniformity", r.uniformity},
        {"channelDeviation", r.channel_deviation},
        {"effectiveRank", r.effective_rank},
        {"mutualInformation", r.mutual_information},
        {"gradientNorm", r.gradient_norm},
    };
    napi_create_object(c->env, &made);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put(c, made, numbers[i].name, of_number(c, numbers[i].value));
    return made;
}

static napi_value trainer_step(napi_env env, napi_callback_info info)
{
    call c;
    mio_step_report report = {.struct_size = sizeof report};
    begin(&c, env, info);
    void *trainer = handle(&c, 0);
    if (!c.failed)
        check(&c, mio_trainer_step(trainer, &report));
    return c.failed ? NULL : of_report(&c, report);
}

static mio_status run_step(later *l)
{
    return mio_trainer_step(l->trainer, &l->report);
}

static napi_value give_report(call *c, later *l)
{
    return of_report(c, l->report);
}

static void release_step(later *l)
{
    mio_trainer_release(l->trainer);
}

static napi_value trainer_step_later(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *trainer = handle(&c, 0);
    later *l = c.failed ? NULL : calloc(1, sizeof *l);
    if (!l) {
        refuse(&c, "out of memory");
        return NULL;
    }
    *l = (later){
        .run = run_step, .answer = give_report, .release = release_step, .report = {.struct_size = sizeof l->report}};
    l->trainer = mio_trainer_retain(trainer);
    return start_later(&c, l, "mio_trainer_step");
}

static napi_value trainer_steps_done(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *trainer = handle(&c, 0);
    return c.failed ? NULL : of_number(&c, (double)mio_trainer_steps_done(trainer));
}

static napi_value trainer_encoder(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *trainer = handle(&c, 0);
    return c.failed ? NULL : of_handle(&c, mio_encoder_retain(mio_trainer_encoder(trainer)), release_encoder, 0);
}

/* ---- search ---- */

/* knn, count, dim, Float32Array, neighbours, Float64Array for indices, as JavaScript counts, Float32Array for
   similarities */
static napi_value knn_search(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *knn = handle(&c, 0);
    const size_t shape[2] = {size(&c, 1), size(&c, 2)}, neighbours = size(&c, 4);
    const float *queries = needed(&c, 3, napi_float32_array, area(&c, shape[0], shape[1]));
    const size_t count = area(&c, shape[0], neighbours);
    double *places = needed(&c, 5, napi_float64_array, count);
    float *similarities = needed(&c, 6, napi_float32_array, count);
    size_t *indices = c.failed ? NULL : malloc((count ? count : 1) * sizeof *indices);
    if (!indices)
        refuse(&c, "out of memory");
    else
        check(&c, mio_knn_search(knn, shape[0], shape[1], queries, neighbours, indices, similarities));
    for (size_t i = 0; i < count && !c.failed; i++)
        places[i] = (double)indices[i];
    free(indices);
    return NULL;
}

/* ---- the module ---- */

static const struct {
    const char *name;
    napi_callback function;
} functions[] = {
    {"version", version},
    {"close", close_object},
    {"context_create", context_create},
    {"context_set", context_set},
    {"context_get", context_get},
    {"context_target", context_target},
    {"loss_create", loss_create},
    {"loss_set", loss_set},
    {"loss_get", loss_get},
    {"loss_name_at", loss_name_at},
    {"loss_compute", loss_compute},
    {"loss_set_batch", loss_set_batch},
    {"builder_create", builder_create},
    {"builder_name", builder_name},
    {"builder_add", builder_add},
    {"builder_finish", builder_finish},
    {"encoder_load", encoder_load},
    {"encoder_save", encoder_save},
    {"encoder_set", encoder_set},
    {"encoder_get", encoder_get},
    {"encoder_facts", encoder_facts},
    {"encoder_embed", encoder_embed},
    {"encoder_embed_later", encoder_embed_later},
    {"dataset_open", dataset_open},
    {"dataset_from_images", dataset_from_images},
    {"dataset_subset", dataset_subset},
    {"dataset_facts", dataset_facts},
    {"dataset_class_name", dataset_class_name},
    {"dataset_image_name", dataset_image_name},
    {"dataset_label", dataset_label},
    {"dataset_embed", dataset_embed},
    {"recipe_create", recipe_create},
    {"recipe_set", recipe_set},
    {"recipe_get", recipe_get},
    {"recipe_choose", recipe_choose},
    {"recipe_build", recipe_build},
    {"trainer_set", trainer_set},
    {"trainer_get", trainer_get},
    {"trainer_step", trainer_step},
    {"trainer_step_later", trainer_step_later},
    {"trainer_steps_done", trainer_steps_done},
    {"trainer_encoder", trainer_encoder},
    {"trainer_save", trainer_save},
    {"trainer_restore", trainer_restore},
    {"knn_create", knn_create},
    {"knn_set", knn_set},
    {"knn_get", knn_get},
    {"knn_fit", knn_fit},
    {"knn_predict", knn_predict},
    {"knn_search", knn_search},
    {"probe_create", probe_create},
    {"probe_set", probe_set},
    {"probe_get", probe_get},
    {"probe_fit", probe_fit},
    {"probe_predict", probe_predict},
};

NAPI_MODULE_INIT()
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        napi_value function;
        if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function) !=
                napi_ok ||
            napi_set_named_property(env, exports, functions[i].name, function) != napi_ok)
            return NULL;
    }
    return exports;
}
