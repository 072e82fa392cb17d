/* Views and the loader. */
#include "addon.h"

#include <string.h>

NOUN(augment, 0)
NOUN(loader, 0)
PARAMETERS(augment)
PARAMETERS(loader)
NAMES(augment_name_at, mio_augment_name_at)
MAKER(augment, augment_create, void *context = handle(&c, 0); const char *preset = text(&c, 1);
      const size_t height = size(&c, 2); const size_t width = size(&c, 3);
      const size_t channels = size(&c, 4), mio_augment_create(context, preset, height, width, channels, &made))
/* augment, channels, Float64Array of means, and of deviations */
CALLER(augment_set_normalization, void *augment = handle(&c, 0); const size_t channels = size(&c, 1);
       const double *mean = needed(&c, 2, napi_float64_array, channels);
       const double *deviation = needed(&c, 3, napi_float64_array, channels),
       mio_augment_set_normalization(augment, channels, mean, deviation))

/* augment, seed, epoch, image, view, height, width, the augment's channels, Uint8Array, values of a view, Float32Array
   for it */
static napi_value augment_apply(napi_env env, napi_callback_info info)
{
    call c;
    size_t stream[4], shape[3];
    begin(&c, env, info);
    void *augment = handle(&c, 0);
    for (size_t i = 0; i < 4; i++)
        stream[i] = size(&c, 1 + i);
    for (size_t i = 0; i < 3; i++)
        shape[i] = size(&c, 5 + i);
    const uint8_t *pixels = needed(&c, 8, napi_uint8_array, product(&c, shape, 3));
    float *view = needed(&c, 10, napi_float32_array, size(&c, 9));
    if (!c.failed)
        check(&c, mio_augment_apply(augment, stream[0], stream[1], stream[2], stream[3], shape[0], shape[1], 0, pixels,
                                    view));
    return NULL;
}

MAKER(loader, loader_create, void *dataset = handle(&c, 0);
      void *augment = handle(&c, 1), mio_loader_create(dataset, augment, &made))
CALLER(loader_seek, void *loader = handle(&c, 0); const size_t epoch = size(&c, 1);
       const size_t step = size(&c, 2), mio_loader_seek(loader, epoch, step))

static napi_value loader_steps_per_epoch(napi_env env, napi_callback_info info)
{
    call c;
    uint64_t steps = 0;
    begin(&c, env, info);
    void *loader = handle(&c, 0);
    if (!c.failed)
        check(&c, mio_loader_steps_per_epoch(loader, &steps));
    return c.failed ? NULL : of_number(&c, (double)steps);
}

/* loader, views, most images, values of a view, and for so many Float32Array for the views, Float64Array for indices,
   as JavaScript counts, Int32Array for labels: {epoch, step, count, views, waitSeconds} */
static napi_value loader_next(napi_env env, napi_callback_info info)
{
    call c;
    mio_batch batch = {.struct_size = sizeof batch};
    napi_value made = NULL;
    begin(&c, env, info);
    void *loader = handle(&c, 0);
    const size_t room[3] = {size(&c, 1), size(&c, 2), size(&c, 3)};
    float *images = needed(&c, 4, napi_float32_array, product(&c, room, 3));
    double *indices = needed(&c, 5, napi_float64_array, room[1]);
    int32_t *labels = needed(&c, 6, napi_int32_array, room[1]);
    if (!c.failed)
        check(&c, mio_loader_next(loader, &batch));
    if (!c.failed && (batch.views != room[0] || batch.count > room[1]))
        refuse_size(&c, "a batch has another shape than its loader's parameters");
    if (c.failed)
        return NULL;
    memcpy(images, batch.images, batch.views * batch.count * room[2] * sizeof(float));
    memcpy(labels, batch.labels, batch.count * sizeof *labels);
    for (size_t i = 0; i < batch.count; i++)
        indices[i] = (double)batch.indices[i];
    napi_create_object(env, &made);
    put(&c, made, "epoch", of_number(&c, (double)batch.epoch));
    put(&c, made, "step", of_number(&c, (double)batch.step));
    put(&c, made, "count", of_number(&c, (double)batch.count));
    put(&c, made, "views", of_number(&c, (double)batch.views));
    put(&c, made, "waitSeconds", of_number(&c, batch.wait_seconds));
    return made;
}

const entry augment_entries[] = {
    ENTRY(augment_create),
    ENTRY(augment_set),
    ENTRY(augment_get),
    ENTRY(augment_name_at),
    ENTRY(augment_set_normalization),
    ENTRY(augment_apply),
    ENTRY(loader_create),
    ENTRY(loader_set),
    ENTRY(loader_get),
    ENTRY(loader_seek),
    ENTRY(loader_steps_per_epoch),
    ENTRY(loader_next),
    {NULL, NULL},
};
