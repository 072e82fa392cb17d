#include "../golden/golden.h"

#include <check.h>
#include <mio/evaluate.h>

static mio_context *context;

static void setup(void)
{
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
}

static void teardown(void)
{
    mio_context_release(context);
}

static mio_encoder *make_encoder(size_t channels, size_t size)
{
    mio_builder *builder;
    mio_encoder *encoder;
    ck_assert_int_eq(mio_builder_create(context, channels, size, size, &builder), MIO_OK);
    mio_node x = mio_builder_conv2d(builder, mio_builder_input(builder), 6, 3, 2, 1);
    x = mio_builder_relu(builder, mio_builder_batch_norm(builder, x));
    x = mio_builder_global_average_pool(builder, x);
    ck_assert_int_eq(mio_builder_finish(builder, x, -1, &encoder), MIO_OK);
    mio_builder_release(builder);
    return encoder;
}

/* Every image alone through mio_encoder_embed. */
static void check_features(mio_encoder *encoder, const mio_dataset *dataset, const float *features)
{
    size_t dim;
    ck_assert_int_eq(mio_encoder_feature_dim(encoder, &dim), MIO_OK);
    for (size_t i = 0; i < mio_dataset_count(dataset); i++) {
        size_t height, width;
        const size_t channels = mio_dataset_channels(dataset);
        ck_assert_int_eq(mio_dataset_image_size(dataset, i, &height, &width), MIO_OK);
        uint8_t *pixels = malloc(height * width * channels);
        float alone[16];
        ck_assert_int_eq(mio_dataset_image(dataset, i, height * width * channels, pixels), MIO_OK);
        ck_assert_int_eq(mio_encoder_embed(encoder, 1, height, width, channels, 0, pixels, alone), MIO_OK);
        for (size_t d = 0; d < dim; d++)
            ck_assert_float_eq_tol(features[i * dim + d], alone[d], 1e-5f);
        free(pixels);
    }
}

START_TEST(all_images_in_order)
{
    enum { COUNT = 700, SIZE = 8, STRIDE = 3 * SIZE + 5 };
    uint8_t *pixels = malloc(COUNT * SIZE * STRIDE);
    for (size_t i = 0; i < COUNT * SIZE * STRIDE; i++)
        pixels[i] = (uint8_t)golden_bits(0xf00000, i);
    mio_encoder *encoder = make_encoder(3, _i ? 12 : SIZE); /* resized, and not */
    mio_dataset *dataset, *subset;
    float *features = malloc(COUNT * 6 * sizeof *features);
    size_t indices[300];
    ck_assert_int_eq(mio_dataset_from_memory(context, COUNT, SIZE, SIZE, 3, STRIDE, pixels, NULL, &dataset), MIO_OK);
    ck_assert_int_eq(mio_evaluate_embed(encoder, dataset, features), MIO_OK);
    check_features(encoder, dataset, features);
    for (size_t i = 0; i < 300; i++)
        indices[i] = (i * 37) % COUNT;
    ck_assert_int_eq(mio_dataset_subset(dataset, 300, indices, &subset), MIO_OK);
    ck_assert_int_eq(mio_evaluate_embed(encoder, subset, features), MIO_OK);
    check_features(encoder, subset, features);
    mio_dataset_release(subset);
    mio_dataset_release(dataset);
    mio_encoder_release(encoder);
    free(features);
    free(pixels);
}
END_TEST

START_TEST(refusals)
{
    uint8_t pixels[2 * 4 * 4] = {0};
    float features[12];
    mio_encoder *encoder = make_encoder(3, 4);
    mio_dataset *dataset;
    ck_assert_int_eq(mio_dataset_from_memory(context, 2, 4, 4, 1, 0, pixels, NULL, &dataset), MIO_OK);
    ck_assert_int_eq(mio_evaluate_embed(encoder, dataset, features), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_evaluate_embed(encoder, dataset, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_evaluate_embed(NULL, dataset, features), MIO_ERROR_ARGUMENT);
    mio_dataset_release(dataset);
    mio_encoder_release(encoder);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("embed");
    TCase *tests = tcase_create("embed");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, all_images_in_order, 0, 2);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
