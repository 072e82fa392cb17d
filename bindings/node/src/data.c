#include "addon.h"

#include <string.h>

static int64_t weigh_dataset(const mio_dataset *dataset)
{
    int64_t pixels = 0;
    size_t height, width;
    for (size_t i = 0; i < mio_dataset_count(dataset); i++)
        if (!mio_dataset_image_size(dataset, i, &height, &width))
            pixels += (int64_t)(height * width);
    return pixels * (int64_t)mio_dataset_channels(dataset);
}

NOUN(dataset, weigh_dataset(object))
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

/* Indices come as 64 bits. */
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "indices are BigUint64Arrays");
MAKER(dataset, dataset_subset, void *dataset = handle(&c, 0); const size_t count = size(&c, 1);
      const size_t *indices = needed(&c, 2, napi_biguint64_array, count),
      mio_dataset_subset(dataset, count, indices, &made))

/* dataset, fraction, seed: [first, second] */
static napi_value dataset_split(napi_env env, napi_callback_info info)
{
    call c;
    mio_dataset *first = NULL, *second = NULL;
    napi_value pair = NULL;
    begin(&c, env, info);
    void *dataset = handle(&c, 0);
    const double fraction = number(&c, 1);
    const size_t seed = size(&c, 2);
    if (!c.failed)
        check(&c, mio_dataset_split(dataset, fraction, seed, &first, &second));
    if (c.failed)
        return NULL;
    napi_create_array(env, &pair);
    napi_value made = of_handle(&c, first, release_dataset, bytes_of_dataset(first));
    if (c.failed) {
        release_dataset(second);
        return NULL;
    }
    napi_set_element(env, pair, 0, made);
    made = of_handle(&c, second, release_dataset, bytes_of_dataset(second));
    if (c.failed)
        return NULL;
    napi_set_element(env, pair, 1, made);
    return pair;
}

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

/* {count, classes, channels} */
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
    put(&c, facts, "channels", of_number(&c, (double)mio_dataset_channels(dataset)));
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

/* {height, width} of an image */
static napi_value dataset_image_size(napi_env env, napi_callback_info info)
{
    call c;
    size_t height = 0, width = 0;
    napi_value made = NULL;
    begin(&c, env, info);
    void *dataset = handle(&c, 0);
    const size_t index = size(&c, 1);
    if (!c.failed)
        check(&c, mio_dataset_image_size(dataset, index, &height, &width));
    if (c.failed)
        return NULL;
    napi_create_object(env, &made);
    put(&c, made, "height", of_number(&c, (double)height));
    put(&c, made, "width", of_number(&c, (double)width));
    return made;
}

/* dataset, index, bytes, Uint8Array for them */
CALLER(dataset_image, void *dataset = handle(&c, 0); const size_t index = size(&c, 1); const size_t bytes = size(&c, 2);
       uint8_t *pixels = needed(&c, 3, napi_uint8_array, bytes), mio_dataset_image(dataset, index, bytes, pixels))
/* dataset, channels, Float64Array for means, and for deviations */
CALLER(dataset_statistics, void *dataset = handle(&c, 0); const size_t channels = size(&c, 1);
       double *mean = needed(&c, 2, napi_float64_array, channels);
       double *deviation = needed(&c, 3, napi_float64_array, channels),
       mio_dataset_statistics(dataset, channels, mean, deviation))

const entry data_entries[] = {
    ENTRY(dataset_open),       ENTRY(dataset_from_images), ENTRY(dataset_subset),     ENTRY(dataset_split),
    ENTRY(dataset_facts),      ENTRY(dataset_class_name),  ENTRY(dataset_image_name), ENTRY(dataset_label),
    ENTRY(dataset_image_size), ENTRY(dataset_image),       ENTRY(dataset_statistics), {NULL, NULL},
};
