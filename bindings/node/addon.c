/* What index.js is made of: every function checks the kinds and lengths of its arguments, makes one call of libmio and turns
   a status that is no success into an Error whose code is the status's name. Handles are externals, which give their
   reference back when they are collected; only index.js sees them, so that none is taken for another's. */
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

static void *handle(call *c, size_t index)
{
    void *pointer = NULL;
    if (kind_of(c, index) != napi_external || napi_get_value_external(c->env, c->arguments[index], &pointer) != napi_ok)
        refuse(c, "a libmio object is expected");
    return pointer;
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

typedef void (*release_function)(void *object);

static void finalize(napi_env env, void *object, void *release)
{
    (void)env;
    release_function function;
    memcpy(&function, &release, sizeof function);
    function(object);
}

/* Takes the reference over. */
static napi_value of_handle(call *c, void *object, release_function release)
{
    napi_value made = NULL;
    void *hint;
    memcpy(&hint, &release, sizeof hint);
    if (c->failed)
        return NULL;
    if (napi_create_external(c->env, object, finalize, hint, &made) != napi_ok) {
        release(object);
        refuse(c, "out of memory");
    }
    return made;
}

/* A new typed array; *values is where it lies. */
static napi_value new_array(call *c, napi_typedarray_type type, size_t element, size_t count, void **values)
{
    napi_value buffer, made = NULL;
    if (!c->failed && (napi_create_arraybuffer(c->env, count * element, values, &buffer) != napi_ok ||
                       napi_create_typedarray(c->env, type, count, buffer, 0, &made) != napi_ok))
        refuse(c, "out of memory");
    return made;
}

static void put(const call *c, napi_value object, const char *name, napi_value value)
{
    napi_set_named_property(c->env, object, name, value);
}

/* ---- one noun's life and parameters ---- */

#define NOUN(noun)                                                                                                      \
    static void release_##noun(void *object)                                                                            \
    {                                                                                                                   \
        mio_##noun##_release(object);                                                                                   \
    }

#define PARAMETERS(noun)                                                                                                \
    static napi_value noun##_set(napi_env env, napi_callback_info info)                                                 \
    {                                                                                                                   \
        call c;                                                                                                         \
        begin(&c, env, info);                                                                                           \
        void *object = handle(&c, 0);                                                                                   \
        const char *name = text(&c, 1);                                                                                 \
        const int words = kind_of(&c, 2) == napi_string;                                                                \
        const char *value = words ? text(&c, 2) : NULL;                                                                 \
        const double plain = words ? 0 : number(&c, 2);                                                                 \
        if (!c.failed)                                                                                                  \
            check(&c, words ? mio_##noun##_set_text(object, name, value) : mio_##noun##_set(object, name, plain));      \
        return NULL;                                                                                                    \
    }                                                                                                                   \
    static napi_value noun##_get(napi_env env, napi_callback_info info)                                                 \
    {                                                                                                                   \
        call c;                                                                                                         \
        begin(&c, env, info);                                                                                           \
        void *object = handle(&c, 0);                                                                                   \
        const char *name = text(&c, 1);                                                                                 \
        double value = 0;                                                                                               \
        if (!c.failed)                                                                                                  \
            check(&c, mio_##noun##_get(object, name, &value));                                                          \
        return c.failed ? NULL : of_number(&c, value);                                                                  \
    }

NOUN(context)
NOUN(loss)
NOUN(builder)
NOUN(encoder)
NOUN(dataset)
NOUN(recipe)
NOUN(trainer)
NOUN(knn)
PARAMETERS(context)
PARAMETERS(loss)
PARAMETERS(encoder)
PARAMETERS(recipe)
PARAMETERS(knn)

/* A function that makes an object: its arguments, and the call. */
#define MAKER(noun, function, declarations, status)                                                                     \
    static napi_value function(napi_env env, napi_callback_info info)                                                   \
    {                                                                                                                   \
        call c;                                                                                                         \
        mio_##noun *made = NULL;                                                                                        \
        begin(&c, env, info);                                                                                           \
        declarations;                                                                                                   \
        if (!c.failed)                                                                                                  \
            check(&c, status);                                                                                          \
        return of_handle(&c, made, release_##noun);                                                                     \
    }

MAKER(context, context_create, (void)0, mio_context_create(&made))
MAKER(loss, loss_create, void *context = handle(&c, 0); const char *name = text(&c, 1),
      mio_loss_create(context, name, &made))
MAKER(builder, builder_create, void *context = handle(&c, 0);
      const size_t channels = size(&c, 1); const size_t height = size(&c, 2); const size_t width = size(&c, 3),
      mio_builder_create(context, channels, height, width, &made))
MAKER(encoder, builder_finish, void *builder = handle(&c, 0);
      const mio_node features = node(&c, 1); const mio_node projections = node(&c, 2),
      mio_builder_finish(builder, features, projections, &made))
MAKER(encoder, encoder_load, void *context = handle(&c, 0); const char *path = text(&c, 1),
      mio_encoder_load(context, path, &made))
MAKER(recipe, recipe_create, void *context = handle(&c, 0); const char *name = text(&c, 1),
      mio_recipe_create(context, name, &made))
MAKER(trainer, recipe_build, void *recipe = handle(&c, 0); void *dataset = handle(&c, 1),
      mio_recipe_build(recipe, dataset, &made))
MAKER(knn, knn_create, void *context = handle(&c, 0), mio_knn_create(context, &made))

/* A function that only changes something, or writes a file. */
#define CALLER(function, declarations, status)                                                                          \
    static napi_value function(napi_env env, napi_callback_info info)                                                   \
    {                                                                                                                   \
        call c;                                                                                                         \
        begin(&c, env, info);                                                                                           \
        declarations;                                                                                                   \
        if (!c.failed)                                                                                                  \
            check(&c, status);                                                                                          \
        return NULL;                                                                                                    \
    }

CALLER(encoder_save, void *encoder = handle(&c, 0); const char *path = text(&c, 1), mio_encoder_save(encoder, path))
CALLER(trainer_save, void *trainer = handle(&c, 0); const char *path = text(&c, 1), mio_trainer_save(trainer, path))
CALLER(trainer_restore, void *trainer = handle(&c, 0); const char *path = text(&c, 1), mio_trainer_restore(trainer, path))
CALLER(recipe_choose, void *recipe = handle(&c, 0); const char *part = text(&c, 1); const char *name = text(&c, 2),
       mio_recipe_choose(recipe, part, name))
/* loss, count, Int32Array of labels or nothing */
CALLER(loss_set_labels, void *loss = handle(&c, 0); const size_t count = size(&c, 1);
       const int32_t *labels = array(&c, 2, napi_int32_array, count), mio_loss_set_batch(loss, count, labels, NULL))
/* knn, count, dim, Float32Array, Int32Array or nothing */
CALLER(knn_fit, void *knn = handle(&c, 0); const size_t count = size(&c, 1); const size_t dim = size(&c, 2);
       const float *features = needed(&c, 3, napi_float32_array, area(&c, count, dim));
       const int32_t *labels = array(&c, 4, napi_int32_array, count), mio_knn_fit(knn, count, dim, features, labels))

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

/* builder, kind of layer, its numbers: returns the node. */
static napi_value builder_add(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    mio_builder *b = handle(&c, 0);
    const char *kind = text(&c, 1);
    size_t n[4] = {0};
    mio_node x = -1, made = -1;
    if (!c.failed && strcmp(kind, "input"))
        x = node(&c, 2);
    for (size_t i = 0; i < 4 && !c.failed; i++)
        n[i] = is_absent(&c, 3 + i) ? 0 : size(&c, 3 + i);
    if (c.failed)
        return NULL;
    if (!strcmp(kind, "input"))
        made = mio_builder_input(b);
    else if (!strcmp(kind, "conv2d"))
        made = mio_builder_conv2d(b, x, n[0], n[1], n[2], n[3]);
    else if (!strcmp(kind, "batchNorm"))
        made = mio_builder_batch_norm(b, x);
    else if (!strcmp(kind, "relu"))
        made = mio_builder_relu(b, x);
    else if (!strcmp(kind, "maxPool"))
        made = mio_builder_max_pool(b, x, n[0], n[1], n[2]);
    else if (!strcmp(kind, "globalAveragePool"))
        made = mio_builder_global_average_pool(b, x);
    else if (!strcmp(kind, "add"))
        made = mio_builder_add(b, x, node(&c, 3));
    else if (!strcmp(kind, "linear"))
        made = mio_builder_linear(b, x, n[0], n[1] != 0);
    else if (!strcmp(kind, "resnet"))
        made = mio_builder_resnet(b, x, (int32_t)n[0], n[1], n[2] ? MIO_STEM_SMALL : MIO_STEM_IMAGENET);
    else if (!strcmp(kind, "projector"))
        made = mio_builder_projector(b, x, n[0], n[1], n[2]);
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

/* encoder, count, height, width, channels, Uint8Array: what embedding takes, and the length of its result. */
typedef struct embedding {
    mio_encoder *encoder;
    size_t shape[4], values;
    uint8_t *images;
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
    return e;
}

static mio_status embed(const embedding *e, float *features)
{
    return mio_encoder_embed(e->encoder, e->shape[0], e->shape[1], e->shape[2], e->shape[3], 0, e->images, features);
}

static napi_value encoder_embed(napi_env env, napi_callback_info info)
{
    call c;
    void *features = NULL;
    begin(&c, env, info);
    const embedding e = embedding_of(&c);
    const napi_value made = new_array(&c, napi_float32_array, sizeof(float), e.values, &features);
    if (!c.failed)
        check(&c, embed(&e, features));
    return c.failed ? NULL : made;
}

/* The same on a thread of its own, on copies of what it needs. */
typedef struct later {
    embedding what;
    float *features;
    mio_status status;
    char message[512];
    napi_deferred promise;
    napi_async_work work;
} later;

static void free_later(later *l)
{
    mio_encoder_release(l->what.encoder);
    free(l->what.images);
    free(l->features);
    free(l);
}

static void embed_later(napi_env env, void *data)
{
    later *l = data;
    (void)env;
    l->status = embed(&l->what, l->features);
    snprintf(l->message, sizeof l->message, "%s", l->status ? mio_last_error() : "");
}

static void finish_later(napi_env env, napi_status unused, void *data)
{
    later *l = data;
    call c = {.env = env};
    void *features = NULL;
    (void)unused;
    napi_value result = l->status ? NULL : new_array(&c, napi_float32_array, sizeof(float), l->what.values, &features);
    if (result) {
        memcpy(features, l->features, l->what.values * sizeof(float));
        napi_resolve_deferred(env, l->promise, result);
    } else {
        napi_value error = NULL;
        napi_create_error(env, of_text(&c, mio_status_name(l->status ? l->status : MIO_ERROR_MEMORY)),
                          of_text(&c, l->status ? l->message : "out of memory"), &error);
        napi_reject_deferred(env, l->promise, error);
    }
    napi_delete_async_work(env, l->work);
    free_later(l);
}

static napi_value encoder_embed_later(napi_env env, napi_callback_info info)
{
    call c;
    napi_value promise = NULL, name;
    begin(&c, env, info);
    const embedding e = embedding_of(&c);
    if (c.failed)
        return NULL;
    const size_t bytes = e.shape[0] * e.shape[1] * e.shape[2] * e.shape[3];
    later *l = calloc(1, sizeof *l);
    if (!l) {
        refuse(&c, "out of memory");
        return NULL;
    }
    l->what = e;
    l->what.encoder = mio_encoder_retain(e.encoder);
    l->what.images = malloc(bytes ? bytes : 1);
    l->features = malloc((e.values ? e.values : 1) * sizeof(float));
    napi_create_string_utf8(env, "mio_encoder_embed", NAPI_AUTO_LENGTH, &name);
    if (!l->what.images || !l->features || napi_create_promise(env, &l->promise, &promise) != napi_ok ||
        napi_create_async_work(env, NULL, name, embed_later, finish_later, l, &l->work) != napi_ok) {
        free_later(l);
        refuse(&c, "out of memory");
        return NULL;
    }
    memcpy(l->what.images, e.images, bytes);
    napi_queue_async_work(env, l->work);
    return promise;
}

/* ---- data ---- */

MAKER(dataset, dataset_open, void *context = handle(&c, 0); const char *format = text(&c, 1); const char *path = text(&c, 2);
      const char *split = text_or_null(&c, 3),
      mio_dataset_open(context, format, path, split, &made))

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

/* context, count, height, width, channels, Uint8Array, Int32Array or nothing. Copied: JavaScript's memory may move away. */
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
    return of_handle(&c, made, release_dataset);
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

/* Features of every image. */
static napi_value dataset_embed(napi_env env, napi_callback_info info)
{
    call c;
    void *features = NULL;
    size_t dim = 0;
    begin(&c, env, info);
    void *encoder = handle(&c, 0), *dataset = handle(&c, 1);
    if (!c.failed)
        check(&c, mio_encoder_feature_dim(encoder, &dim));
    const size_t count = c.failed ? 0 : mio_dataset_count(dataset);
    const napi_value made = new_array(&c, napi_float32_array, sizeof(float), count * dim, &features);
    if (!c.failed)
        check(&c, mio_evaluate_embed(encoder, dataset, features));
    return c.failed ? NULL : made;
}

/* ---- training ---- */

static napi_value trainer_step(napi_env env, napi_callback_info info)
{
    call c;
    napi_value made = NULL;
    mio_step_report r = {.struct_size = sizeof r};
    begin(&c, env, info);
    void *trainer = handle(&c, 0);
    if (!c.failed)
        check(&c, mio_trainer_step(trainer, &r));
    if (c.failed)
        return NULL;
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
    napi_create_object(env, &made);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put(&c, made, numbers[i].name, of_number(&c, numbers[i].value));
    return made;
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
    return c.failed ? NULL : of_handle(&c, mio_encoder_retain(mio_trainer_encoder(trainer)), release_encoder);
}

/* ---- search ---- */

static napi_value knn_predict(napi_env env, napi_callback_info info)
{
    call c;
    void *classes = NULL;
    begin(&c, env, info);
    void *knn = handle(&c, 0);
    const size_t shape[2] = {size(&c, 1), size(&c, 2)};
    const float *queries = needed(&c, 3, napi_float32_array, area(&c, shape[0], shape[1]));
    const napi_value made = new_array(&c, napi_int32_array, sizeof(int32_t), shape[0], &classes);
    if (!c.failed)
        check(&c, mio_knn_predict(knn, shape[0], shape[1], queries, classes));
    return c.failed ? NULL : made;
}

/* knn, count, dim, Float32Array, neighbours: {indices, similarities}; indices as numbers that JavaScript counts with. */
static napi_value knn_search(napi_env env, napi_callback_info info)
{
    call c;
    void *places = NULL, *similarities = NULL;
    napi_value both = NULL;
    begin(&c, env, info);
    void *knn = handle(&c, 0);
    const size_t shape[2] = {size(&c, 1), size(&c, 2)}, neighbours = size(&c, 4);
    const float *queries = needed(&c, 3, napi_float32_array, area(&c, shape[0], shape[1]));
    const size_t count = area(&c, shape[0], neighbours);
    const napi_value found = new_array(&c, napi_float64_array, sizeof(double), count, &places);
    const napi_value close = new_array(&c, napi_float32_array, sizeof(float), count, &similarities);
    size_t *indices = c.failed ? NULL : malloc((count ? count : 1) * sizeof *indices);
    if (!indices)
        refuse(&c, "out of memory");
    else
        check(&c, mio_knn_search(knn, shape[0], shape[1], queries, neighbours, indices, similarities));
    for (size_t i = 0; i < count && !c.failed; i++)
        ((double *)places)[i] = (double)indices[i];
    free(indices);
    if (c.failed)
        return NULL;
    napi_create_object(env, &both);
    put(&c, both, "indices", found);
    put(&c, both, "similarities", close);
    return both;
}

/* ---- the module ---- */

static const struct {
    const char *name;
    napi_callback function;
} functions[] = {
    {"version", version},
    {"context_create", context_create},
    {"context_set", context_set},
    {"context_get", context_get},
    {"context_target", context_target},
    {"loss_create", loss_create},
    {"loss_set", loss_set},
    {"loss_get", loss_get},
    {"loss_name_at", loss_name_at},
    {"loss_compute", loss_compute},
    {"loss_set_labels", loss_set_labels},
    {"builder_create", builder_create},
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
    {"dataset_facts", dataset_facts},
    {"dataset_label", dataset_label},
    {"dataset_embed", dataset_embed},
    {"recipe_create", recipe_create},
    {"recipe_set", recipe_set},
    {"recipe_get", recipe_get},
    {"recipe_choose", recipe_choose},
    {"recipe_build", recipe_build},
    {"trainer_step", trainer_step},
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
};

NAPI_MODULE_INIT()
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        napi_value function;
        if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function) != napi_ok ||
            napi_set_named_property(env, exports, functions[i].name, function) != napi_ok)
            return NULL;
    }
    return exports;
}
