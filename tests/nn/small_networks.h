/* What the encoder's suites share: a context that counts, small networks, numbers to feed them. */
#ifndef TESTS_NN_SMALL_NETWORKS_H
#define TESTS_NN_SMALL_NETWORKS_H

#include "nn/network.h"

#include "golden/golden.h"
#include "support/allocator.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64];
static test_allocator allocator;
static mio_context *context;

static inline void begin(void)
{
    snprintf(path, sizeof path, "/tmp/mio-encoder-XXXXXX");
    const int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    test_allocator_init(&allocator);
    context = test_allocator_context(&allocator, 2);
    ck_assert_ptr_nonnull(context);
}

static inline void end(void)
{
    unlink(path);
    mio_context_release(context);
    ck_assert_uint_eq(allocator.blocks, 0);
    ck_assert_uint_eq(allocator.mistakes, 0);
}

static inline void good(mio_status status)
{
    ck_assert_msg(status == MIO_OK, "%s: %s", mio_status_name(status), mio_last_error());
}

static inline void refused(mio_status status, mio_status expected, const char *words)
{
    ck_assert_msg(status == expected, "%s, not %s: %s", mio_status_name(status), mio_status_name(expected),
                  mio_last_error());
    ck_assert_msg(strstr(mio_last_error(), words) != NULL, "'%s' does not say '%s'", mio_last_error(), words);
}

static inline float *numbers(uint64_t stream, size_t count)
{
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)golden_signed(stream, i);
    return values;
}

/* A residual network of 3 x 12 x 10 images with 12 features and 5 projections. */
enum { HEIGHT = 12, WIDTH = 10, PIXELS = 3 * HEIGHT * WIDTH, FEATURES = 12, PROJECTIONS = 5 };

static inline mio_status build_small(mio_context *in, mio_encoder **encoder)
{
    mio_builder *b;
    const mio_status status = mio_builder_create(in, 3, HEIGHT, WIDTH, &b);
    if (status)
        return status;
    mio_node x = mio_builder_conv2d(b, mio_builder_input(b), 12, 3, 1, 1);
    x = mio_builder_relu(b, mio_builder_batch_norm(b, x));
    mio_node y = mio_builder_batch_norm(b, mio_builder_conv2d(b, x, 12, 3, 1, 1));
    x = mio_builder_max_pool(b, mio_builder_relu(b, mio_builder_add(b, y, x)), 3, 2, 1);
    y = mio_builder_conv2d(b, mio_builder_relu(b, x), 12, 1, 2, 0);
    const mio_node h = mio_builder_global_average_pool(b, y);
    const mio_node z = mio_builder_linear(b, mio_builder_projector(b, h, 2, 16, 7), PROJECTIONS, 1);
    const mio_status finished = mio_builder_finish(b, h, z, encoder);
    mio_builder_release(b);
    return finished;
}

static inline mio_encoder *small(mio_context *in)
{
    mio_encoder *encoder;
    good(build_small(in, &encoder));
    return encoder;
}

/* One step's worth: forward and backward, with something for the gradients to be. */
static inline mio_status train_once(mio_encoder *encoder, size_t views, size_t count, const float *images)
{
    float *z = malloc(views * count * PROJECTIONS * sizeof *z);
    mio_status status = mio_encoder_forward(encoder, views, count, images, NULL, z);
    if (!status)
        status = mio_encoder_backward(encoder, z, NULL);
    free(z);
    return status;
}
static inline mio_encoder *resnet(mio_context *in, size_t width)
{
    mio_builder *b;
    mio_encoder *encoder;
    good(mio_builder_create(in, 3, 16, 16, &b));
    const mio_node h = mio_builder_resnet(b, mio_builder_input(b), 18, width, MIO_STEM_SMALL);
    good(mio_builder_finish(b, h, mio_builder_projector(b, h, 2, 40, PROJECTIONS), &encoder));
    mio_builder_release(b);
    return encoder;
}
static inline mio_encoder *trained(mio_context *in)
{
    static const double mean[3] = {0.4, 0.5, 0.6}, deviation[3] = {0.2, 0.25, 0.3};
    mio_encoder *encoder = small(in);
    float *images = numbers(1, 2 * 5 * PIXELS);
    good(train_once(encoder, 2, 5, images));
    good(mio_encoder_set_normalization(encoder, 3, mean, deviation));
    good(mio_encoder_set_text(encoder, "algorithm", "accurate"));
    free(images);
    return encoder;
}

static inline void fill_bytes(uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)golden_bits(3, i);
}

static inline TCase *group(Suite *suite, const char *name)
{
    TCase *made = tcase_create(name);
    tcase_set_timeout(made, 100);
    tcase_add_checked_fixture(made, begin, end);
    suite_add_tcase(suite, made);
    return made;
}

#endif
