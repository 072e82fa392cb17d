/* Inference and embedding: the same features in any company, from bytes of any size. */
#define _POSIX_C_SOURCE 200809L
#include "nn/small_networks.h"

#include "nn/resize.h"

#include <pthread.h>

/* An image's features do not depend on its company, nor on threads; without batch_invariant, only calls with few images
   may differ from others, and then in the last bits. */
START_TEST(embeds_alike_alone_and_together)
{
    enum { MANY = 75 };
    static const char *const algorithms[] = {"exact", "accurate", "fast"};
    mio_encoder *encoder = resnet(context, _i < 3 ? 16 : 6);
    good(mio_encoder_set_text(encoder, "algorithm", algorithms[_i % 3]));
    const size_t image = 3 * 256, dim = _i < 3 ? 128 : 48;
    float *images = numbers(1, MANY * image);
    float *together = malloc(MANY * dim * sizeof *together), *alone = malloc(MANY * dim * sizeof *alone);
    good(mio_encoder_forward(encoder, 1, MANY, images, NULL, NULL));
    good(mio_encoder_infer(encoder, MANY, images, together, NULL));
    good(mio_encoder_infer(encoder, 3, images, alone, NULL));
    for (size_t i = 0; i < 3 * dim; i++)
        ck_assert_float_eq_tol(alone[i], together[i], 1e-4f);
    good(mio_encoder_infer(encoder, 12, images + 60 * image, alone, NULL));
    ck_assert_int_eq(memcmp(alone, together + 60 * dim, 12 * dim * sizeof *alone), 0);
    good(mio_encoder_set(encoder, "batch_invariant", 1));
    for (size_t i = 0; i < MANY; i += 1 + i % 7) {
        good(mio_encoder_infer(encoder, 1, images + i * image, alone, NULL));
        ck_assert_int_eq(memcmp(alone, together + i * dim, dim * sizeof *alone), 0);
    }
    for (size_t count = 2; count < MANY; count += 9) {
        good(mio_context_set(context, "threads", (double)(count % 4 + 1)));
        good(mio_encoder_infer(encoder, count, images, alone, NULL));
        ck_assert_int_eq(memcmp(alone, together, count * dim * sizeof *alone), 0);
    }
    free(images);
    free(together);
    free(alone);
    mio_encoder_release(encoder);
}
END_TEST

typedef struct embedder {
    mio_encoder *encoder;
    const uint8_t *bytes;
    const float *expected;
    size_t count;
    int wrong;
} embedder;

enum { CROWD = 40 };

static void *embed_repeatedly(void *argument)
{
    embedder *job = argument;
    float *features = malloc(CROWD * FEATURES * sizeof *features);
    for (int i = 0; i < 6; i++)
        if (mio_encoder_embed(job->encoder, job->count, HEIGHT, WIDTH, 3, 0, job->bytes, features) ||
            memcmp(features, job->expected, job->count * FEATURES * sizeof *features))
            job->wrong++;
    free(features);
    return NULL;
}

START_TEST(embeds_concurrently)
{
    static uint8_t bytes[CROWD * PIXELS];
    fill_bytes(bytes, sizeof bytes);
    mio_encoder *encoder = trained(context);
    good(mio_encoder_set(encoder, "batch_invariant", _i));
    float *expected = malloc(CROWD * FEATURES * sizeof *expected);
    good(mio_encoder_embed(encoder, CROWD, HEIGHT, WIDTH, 3, 0, bytes, expected));
    mio__encoder_changed(encoder); /* so that the threads meet over preparing it */
    pthread_t threads[4];
    embedder jobs[4];
    for (size_t i = 0; i < 4; i++) {
        jobs[i] = (embedder){encoder, bytes, expected, i % 2 ? CROWD : _i ? 3 : 20, 0};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, embed_repeatedly, &jobs[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(jobs[i].wrong, 0);
    }
    free(expected);
    mio_encoder_release(encoder);
}
END_TEST

/* Bytes of the encoder's own size: (v / 255 - mean) / deviation, whatever the stride. */
START_TEST(embeds_as_it_infers)
{
    enum { STRIDE = 3 * WIDTH + 7 };
    mio_encoder *encoder = trained(context);
    static uint8_t bytes[2 * HEIGHT * STRIDE];
    fill_bytes(bytes, sizeof bytes);
    double mean[3], deviation[3];
    good(mio_encoder_get_normalization(encoder, 3, mean, deviation));
    float images[2 * PIXELS], a[2 * FEATURES], b[2 * FEATURES], *next = images;
    for (size_t i = 0; i < 2 * HEIGHT; i++)
        for (size_t k = 0; k < 3 * WIDTH; k++)
            *next++ = (float)((bytes[i * STRIDE + k] / 255.0 - mean[k % 3]) / deviation[k % 3]);
    good(mio_encoder_infer(encoder, 2, images, a, NULL));
    good(mio_encoder_embed(encoder, 2, HEIGHT, WIDTH, 3, STRIDE, bytes, b));
    ck_assert_int_eq(memcmp(a, b, sizeof a), 0);
    good(mio_encoder_embed(encoder, 0, HEIGHT, WIDTH, 3, STRIDE, bytes, b));
    good(mio_encoder_embed(encoder, 0, HEIGHT, WIDTH, 3, 0, NULL, NULL));
    mio_encoder_release(encoder);
}
END_TEST

/* Batch norm's factors are derived once for many calls, and afresh when training has moved the running statistics. */
START_TEST(follows_the_running_statistics)
{
    enum { COUNT = 20 };
    mio_encoder *encoder = trained(context);
    float *images = numbers(5, COUNT * PIXELS), before[FEATURES], after[FEATURES], afresh[FEATURES];
    good(mio_encoder_infer(encoder, 1, images, before, NULL));
    good(mio_encoder_forward(encoder, 1, COUNT, images, NULL, NULL));
    good(mio_encoder_infer(encoder, 1, images, after, NULL));
    mio__encoder_changed(encoder);
    good(mio_encoder_infer(encoder, 1, images, afresh, NULL));
    ck_assert_int_ne(memcmp(before, after, sizeof after), 0);
    ck_assert_int_eq(memcmp(afresh, after, sizeof after), 0);
    free(images);
    mio_encoder_release(encoder);
}
END_TEST

START_TEST(embeds_without_allocating)
{
    static const size_t counts[] = {1, 3, 20, CROWD};
    static uint8_t bytes[CROWD * PIXELS];
    static float features[CROWD * FEATURES];
    fill_bytes(bytes, sizeof bytes);
    mio_encoder *encoder = trained(context);
    for (int again = 0; again < 2; again++) {
        if (again)
            test_allocator_fail_from(&allocator, 1);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            good(mio_encoder_embed(encoder, counts[i], HEIGHT, WIDTH, 3, 0, bytes, features));
    }
    ck_assert_uint_eq(allocator.requests, 0);
    test_allocator_fail_at(&allocator, 0);
    mio_encoder_release(encoder);
}
END_TEST

/* ---- resizing ---- */

static void resize(size_t height, size_t width, size_t channels, const uint8_t *pixels, size_t out_height,
                   size_t out_width, float *out)
{
    mio__resize_axis rows, columns;
    good(mio__resize_axis_make(context, height, out_height, &rows));
    good(mio__resize_axis_make(context, width, out_width, &columns));
    float *scratch = malloc(height * out_width * channels * sizeof *scratch);
    mio__resize(&rows, &columns, channels, width * channels, pixels, scratch, out);
    free(scratch);
    mio__resize_axis_free(context, &rows);
    mio__resize_axis_free(context, &columns);
}

START_TEST(resizes_by_the_rule)
{
    /* Enlarging by 2: positions -0.25, 0.25, 0.75, 1.25 of two pixels. Halving 4: triangle of half-width 2, centres 1
       and 3: weights 3 3 1 of 7 and their mirror image. */
    const uint8_t two[2] = {0, 100}, four[4] = {70, 140, 210, 0};
    float out[4];
    resize(1, 2, 1, two, 1, 4, out);
    ck_assert_float_eq_tol(out[0], 0, 1e-5f);
    ck_assert_float_eq_tol(out[1], 25, 1e-4f);
    ck_assert_float_eq_tol(out[2], 75, 1e-4f);
    ck_assert_float_eq_tol(out[3], 100, 1e-4f);
    resize(4, 1, 1, four, 2, 1, out);
    ck_assert_float_eq_tol(out[0], (3 * 70 + 3 * 140 + 210) / 7.f, 1e-3f);
    ck_assert_float_eq_tol(out[1], (140 + 3 * 210) / 7.f, 1e-3f);
    /* A constant stays, at any sizes; so does an image of the same size. */
    uint8_t flat[23 * 31 * 2];
    float large[40 * 50 * 2];
    memset(flat, 201, sizeof flat);
    for (size_t h = 1; h <= 40; h += 13)
        for (size_t w = 1; w <= 50; w += 7) {
            resize(23, 31, 2, flat, h, w, large);
            for (size_t i = 0; i < 2 * h * w; i++)
                ck_assert_float_eq_tol(large[i], 201, 1e-3f);
        }
    fill_bytes(flat, sizeof flat);
    resize(23, 31, 2, flat, 23, 31, large);
    for (size_t i = 0; i < sizeof flat; i++)
        ck_assert(large[i] == flat[i]);
}
END_TEST

/* torchvision's antialiased resize, if its golden values are there. */
START_TEST(resizes_as_torchvision)
{
    char file[1024];
    golden_file golden;
    snprintf(file, sizeof file, "%s/augment.txt.gz", getenv("MIO_GOLDEN") ? getenv("MIO_GOLDEN") : "");
    if (golden_open(&golden, file))
        return;
    size_t seen = 0;
    for (size_t r = 0; r < golden.count; r++) {
        unsigned number, channels, height, width, out_height, out_width;
        if (sscanf(golden.records[r].name, "resize_antialias:%u:%u:%u:%u:%u:%u", &number, &channels, &height, &width,
                   &out_height, &out_width) != 6)
            continue;
        uint8_t *pixels = malloc(height * width * channels);
        float *out = malloc(out_height * out_width * channels * sizeof *out);
        golden_picture(number, channels, height, width, pixels);
        resize(height, width, channels, pixels, out_height, out_width, out);
        for (size_t c = 0; c < channels; c++)
            for (size_t i = 0; i < out_height * out_width; i++)
                ck_assert_double_lt(
                    fabs(out[i * channels + c] / 255 - golden.records[r].values[c * out_height * out_width + i]), 3e-6);
        free(pixels);
        free(out);
        seen++;
    }
    ck_assert_uint_gt(seen, 0);
    golden_close(&golden);
}
END_TEST

START_TEST(embeds_other_sizes)
{
    mio_encoder *encoder = trained(context);
    static uint8_t large[2 * 3 * 4 * PIXELS], fitting[PIXELS];
    /* Pixels doubled, smoothly shaded: resizing gives back about the original. */
    for (size_t y = 0; y < HEIGHT; y++)
        for (size_t x = 0; x < WIDTH; x++)
            for (size_t c = 0; c < 3; c++) {
                fitting[(y * WIDTH + x) * 3 + c] = (uint8_t)(10 * y + 8 * x + 20 * c);
                for (size_t k = 0; k < 4; k++)
                    large[((2 * y + k / 2) * 2 * WIDTH + 2 * x + k % 2) * 3 + c] = fitting[(y * WIDTH + x) * 3 + c];
            }
    float a[FEATURES], b[FEATURES];
    double apart = 0, norm = 0;
    good(mio_encoder_embed(encoder, 1, HEIGHT, WIDTH, 3, 0, fitting, a));
    good(mio_encoder_embed(encoder, 1, 2 * HEIGHT, 2 * WIDTH, 3, 0, large, b));
    for (size_t i = 0; i < FEATURES; i++) {
        apart += (a[i] - b[i]) * (a[i] - b[i]);
        norm += a[i] * a[i];
    }
    ck_assert_double_lt(sqrt(apart / norm), 0.05);
    mio_encoder_release(encoder);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("embedding");
    TCase *inference = group(suite, "inference");
    tcase_add_loop_test(inference, embeds_alike_alone_and_together, 0, 6);
    tcase_add_loop_test(inference, embeds_concurrently, 0, 2);
    tcase_add_test(inference, embeds_as_it_infers);
    tcase_add_test(inference, follows_the_running_statistics);
    tcase_add_test(inference, embeds_without_allocating);
    tcase_add_test(inference, resizes_by_the_rule);
    tcase_add_test(inference, resizes_as_torchvision);
    tcase_add_test(inference, embeds_other_sizes);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
