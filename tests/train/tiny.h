/* A small run on images made by a formula. */
#ifndef TESTS_TRAIN_TINY_H
#define TESTS_TRAIN_TINY_H

#include "../golden/golden.h"

#include <check.h>
#include <mio/train.h>

enum {
    TINY_COUNT = 72,
    TINY_SIZE = 10,
    TINY_BATCH = 16,
    TINY_STEPS_PER_EPOCH = TINY_COUNT / TINY_BATCH,
    TINY_CLASSES = 4
};

/* What a run is made of, when it is not as usual. */
typedef struct tiny_options {
    const char *optimizer; /* NULL: sgd */
    const char *loss;      /* NULL: mio */
    size_t width;          /* of the first layer; 0: 8 */
    size_t prefetch;
    int join_views;
} tiny_options;

/* Coloured gratings, one direction a class, under noise. */
static inline void tiny_pixels(uint8_t *pixels)
{
    for (size_t i = 0; i < TINY_COUNT; i++)
        for (size_t y = 0; y < TINY_SIZE; y++)
            for (size_t x = 0; x < TINY_SIZE; x++)
                for (size_t c = 0; c < 3; c++) {
                    const size_t class = i % TINY_CLASSES, at = ((i * TINY_SIZE + y) * TINY_SIZE + x) * 3 + c;
                    const double phase =
                        (double)(class & 1 ? x : y) * (class & 2 ? 2.2 : 1.1) + (double)c * (double)class;
                    pixels[at] = (uint8_t)(128 + 70 * sin(phase) + 40 * golden_signed(0x1000000, at));
                }
}

/* Every call returns its status: also for runs that are meant to fail. All parts are released with the trainer. */
static inline mio_status tiny_dataset(mio_context *context, mio_dataset **dataset)
{
    static uint8_t pixels[TINY_COUNT * TINY_SIZE * TINY_SIZE * 3];
    int32_t labels[TINY_COUNT];
    tiny_pixels(pixels);
    for (size_t i = 0; i < TINY_COUNT; i++)
        labels[i] = (int32_t)(i % TINY_CLASSES);
    return mio_dataset_from_memory(context, TINY_COUNT, TINY_SIZE, TINY_SIZE, 3, 0, pixels, labels, dataset);
}

static inline mio_status tiny_encoder(mio_context *context, size_t width, mio_encoder **encoder)
{
    mio_builder *builder;
    mio_status status = mio_builder_create(context, 3, TINY_SIZE, TINY_SIZE, &builder);
    if (status)
        return status;
    mio_builder_name(builder, "conv1");
    mio_node x = mio_builder_conv2d(builder, mio_builder_input(builder), width ? width : 8, 3, 1, 1);
    mio_builder_name(builder, "bn1");
    x = mio_builder_relu(builder, mio_builder_batch_norm(builder, x));
    mio_builder_name(builder, "conv2");
    x = mio_builder_conv2d(builder, x, 16, 3, 2, 1);
    mio_builder_name(builder, "bn2");
    x = mio_builder_relu(builder, mio_builder_batch_norm(builder, x));
    const mio_node features = mio_builder_global_average_pool(builder, x);
    status = mio_builder_finish(builder, features, mio_builder_projector(builder, features, 2, 32, 12), encoder);
    mio_builder_release(builder);
    return status;
}

static inline mio_status tiny_loader(mio_context *context, const tiny_options *options, mio_loader **loader)
{
    const double mean[3] = {0.5, 0.5, 0.5}, deviation[3] = {0.25, 0.25, 0.25};
    mio_dataset *dataset = NULL;
    mio_augment *augment = NULL;
    mio_status status = tiny_dataset(context, &dataset);
    if (!status)
        status = mio_augment_create(context, "mio-paper", TINY_SIZE, TINY_SIZE, 3, &augment);
    if (!status)
        status = mio_augment_set_normalization(augment, 3, mean, deviation);
    if (!status)
        status = mio_loader_create(dataset, augment, loader);
    if (!status) {
        mio_loader_set(*loader, "batch_size", TINY_BATCH);
        mio_loader_set(*loader, "prefetch", (double)options->prefetch);
    }
    mio_augment_release(augment);
    mio_dataset_release(dataset);
    return status;
}

static inline mio_status tiny_trainer(mio_context *context, const tiny_options *options, mio_trainer **trainer)
{
    static const tiny_options usual = {0};
    mio_encoder *encoder = NULL;
    mio_loss *loss = NULL;
    mio_optimizer *optimizer = NULL;
    mio_schedule *schedule = NULL;
    mio_loader *loader = NULL;
    options = options ? options : &usual;
    mio_status status = tiny_encoder(context, options->width, &encoder);
    if (!status)
        status = mio_loss_create(context, options->loss ? options->loss : "mio", &loss);
    if (!status)
        status = mio_optimizer_create(context, options->optimizer ? options->optimizer : "sgd", &optimizer);
    if (!status)
        status = mio_schedule_create(context, "constant", &schedule);
    if (!status)
        status = mio_schedule_set(schedule, "learning_rate", 0.05);
    if (!status)
        status = tiny_loader(context, options, &loader);
    if (!status)
        status = mio_trainer_create(encoder, loss, optimizer, schedule, loader, trainer);
    if (!status) {
        mio_trainer_set(*trainer, "join_views", options->join_views);
        mio_trainer_set(*trainer, "monitor_interval", 1);
    }
    mio_loader_release(loader);
    mio_schedule_release(schedule);
    mio_optimizer_release(optimizer);
    mio_loss_release(loss);
    mio_encoder_release(encoder);
    return status;
}

static inline mio_context *tiny_context(size_t threads)
{
    mio_context *context;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    ck_assert_int_eq(mio_context_set(context, "threads", (double)threads), MIO_OK);
    return context;
}

/* Steps, and the losses seen. */
static inline void tiny_run(mio_trainer *trainer, size_t steps, double *losses)
{
    for (size_t i = 0; i < steps; i++) {
        mio_step_report report = {.struct_size = sizeof report};
        const mio_status status = mio_trainer_step(trainer, &report);
        ck_assert_msg(!status, "step %zu: %s", i, mio_last_error());
        if (losses)
            losses[i] = report.loss;
    }
}

/* All tensors of an encoder one after the other; the caller frees. */
static inline float *tiny_tensors(const mio_encoder *encoder, size_t *count)
{
    mio_tensor_info info = {.struct_size = sizeof info};
    *count = 0;
    for (size_t t = 0; t < mio_encoder_tensor_count(encoder); t++) {
        ck_assert_int_eq(mio_encoder_tensor(encoder, t, &info), MIO_OK);
        *count += info.count;
    }
    float *values = malloc(*count * sizeof *values), *next = values;
    for (size_t t = 0; t < mio_encoder_tensor_count(encoder); t++, next += info.count) {
        mio_encoder_tensor(encoder, t, &info);
        ck_assert_int_eq(mio_encoder_get_tensor(encoder, info.name, info.count, next), MIO_OK);
    }
    return values;
}

static inline int tiny_equal(mio_trainer *a, mio_trainer *b)
{
    size_t counts[2];
    float *values[2] = {tiny_tensors(mio_trainer_encoder(a), &counts[0]),
                        tiny_tensors(mio_trainer_encoder(b), &counts[1])};
    const int equal = counts[0] == counts[1] && !memcmp(values[0], values[1], counts[0] * sizeof(float));
    free(values[0]);
    free(values[1]);
    return equal;
}

static inline int tiny_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}

#endif
