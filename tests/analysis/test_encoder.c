/* Hessians by an encoder's weights: a linear encoder's is known in closed form, one with batch norm and ReLU is held
   against itself; and the encoder stays as it was. */
#include "loss/support.h"
#include "support/allocator.h"

#include <mio/analysis.h>

enum { SIZE = 6, CHANNELS = 5, FEATURES = 8, OUT = 4, IMAGES = 12, PIXELS = SIZE * SIZE * CHANNELS };
enum { ROWS = 2 * IMAGES, MOST = 4000 };

static float images[ROWS * PIXELS];
static double direction[MOST], other[MOST], product[MOST], second[MOST];

/* The mean pixel, through one matrix. */
static mio_encoder *linear_encoder(mio_context *context)
{
    mio_builder *builder;
    mio_encoder *encoder;
    ASSERT_OK(mio_builder_create(context, CHANNELS, SIZE, SIZE, &builder));
    const mio_node mean = mio_builder_global_average_pool(builder, mio_builder_input(builder));
    mio_builder_name(builder, "matrix");
    ASSERT_OK(mio_builder_finish(builder, mean, mio_builder_linear(builder, mean, OUT, 0), &encoder));
    mio_builder_release(builder);
    return encoder;
}

static mio_encoder *deep_encoder(mio_context *context)
{
    mio_builder *builder;
    mio_encoder *encoder;
    ASSERT_OK(mio_builder_create(context, CHANNELS, SIZE, SIZE, &builder));
    mio_node x = mio_builder_conv2d(builder, mio_builder_input(builder), FEATURES, 3, 1, 1);
    x = mio_builder_relu(builder, mio_builder_batch_norm(builder, x));
    x = mio_builder_global_average_pool(builder, x);
    ASSERT_OK(mio_builder_finish(builder, x, mio_builder_projector(builder, x, 2, 16, OUT), &encoder));
    mio_builder_release(builder);
    return encoder;
}

static void fill_images(void)
{
    static double pixels[ROWS * PIXELS];
    support_fill(ROWS * PIXELS, pixels, 12);
    for (size_t i = 0; i < ROWS * PIXELS / 2; i++)
        pixels[ROWS * PIXELS / 2 + i] = pixels[i] + 0.3 * pixels[ROWS * PIXELS / 2 + i];
    for (size_t i = 0; i < ROWS * PIXELS; i++)
        pixels[i] += (double)(i / PIXELS % IMAGES * (i % CHANNELS) % 7) * 0.3;
    support_narrow(ROWS * PIXELS, pixels, images);
}

static double dot(size_t count, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

/* z_i = W m_i, so the product with V is the sum over rows of (Hessian by the rows x V m)_i m_i^T. */
START_TEST(test_linear)
{
    static const char *const names[] = {"mio", "nt_xent"};
    static float means[ROWS * CHANNELS], projections[ROWS * OUT];
    double z[ROWS * OUT], moved[ROWS * OUT], bent[ROWS * OUT], wide[ROWS * CHANNELS], expected[OUT * CHANNELS];
    mio_context *context = support_context(2);
    mio_loss *loss = support_loss(context, names[_i], NULL);
    mio_encoder *encoder = linear_encoder(context);
    size_t count = 0;
    fill_images();
    ASSERT_OK(mio_analysis_encoder_weights(encoder, &count));
    ck_assert_uint_eq(count, OUT * CHANNELS);
    support_fill(count, direction, 4);
    ASSERT_OK(mio_encoder_forward(encoder, 2, IMAGES, images, means, projections));
    support_widen(ROWS * OUT, projections, z);
    support_widen(ROWS * CHANNELS, means, wide);
    for (size_t i = 0; i < ROWS * OUT; i++)
        moved[i] = dot(CHANNELS, direction + i % OUT * CHANNELS, wide + i / OUT * CHANNELS);
    ASSERT_OK(mio_analysis_hessian_product(loss, IMAGES, OUT, z, z + IMAGES * OUT, moved, bent));
    ASSERT_OK(mio_analysis_projector_gradient(context, ROWS, CHANNELS, OUT, bent, wide, expected));
    for (size_t i = 0; i < 2; i++) {
        const double step = i ? 2e-3 : 0, tolerance = i ? 1e-4 : 2e-3;
        ASSERT_OK(mio_analysis_encoder_hessian_product(encoder, loss, IMAGES, images, step, direction, product));
        const double distance = support_distance(count, product, expected);
        ck_assert_msg(distance < tolerance, "%s at step %g: %g", names[_i], step, distance);
    }
    mio_encoder_release(encoder);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* All tensors, one after the other. */
static size_t copy_tensors(const mio_encoder *encoder, float *to)
{
    size_t used = 0;
    for (size_t i = 0; i < mio_encoder_tensor_count(encoder); i++) {
        mio_tensor_info info = {.struct_size = sizeof info};
        ASSERT_OK(mio_encoder_tensor(encoder, i, &info));
        ASSERT_OK(mio_encoder_get_tensor(encoder, info.name, info.count, to + used));
        used += info.count;
    }
    ck_assert_uint_le(used, MOST);
    return used;
}

static mio_status failing(void *user, size_t pairs, size_t dim, const double *z1, const double *z2, double *value,
                          double *grad_z1, double *grad_z2)
{
    (void)z1, (void)z2;
    size_t *calls = user;
    *value = 0;
    for (size_t i = 0; i < pairs * dim; i++)
        grad_z1[i] = grad_z2[i] = 0.1;
    return ++*calls < 4 ? MIO_OK : MIO_ERROR_IO;
}

static mio_status never(void *user, size_t pairs, size_t dim, const float *z1, const float *z2, double *value,
                        float *grad_z1, float *grad_z2)
{
    (void)user, (void)pairs, (void)dim, (void)z1, (void)z2, (void)value, (void)grad_z1, (void)grad_z2;
    return MIO_ERROR_INTERNAL;
}

/* Weights, running statistics and what is derived from them are as before, also after an error in mid-course. */
START_TEST(test_encoder_stays)
{
    static float before[MOST], after[MOST], features[2][IMAGES * FEATURES];
    double values[6], weights[6];
    size_t count = 0, calls = 0;
    mio_context *context = support_context(2);
    mio_encoder *encoder = deep_encoder(context);
    mio_loss *loss = support_loss(context, "mio", NULL), *broken;
    const mio_loss_callback callback = {sizeof callback, &calls, never, failing};
    fill_images();
    for (size_t i = 0; i < 3; i++) /* running statistics like no other */
        ASSERT_OK(mio_encoder_forward(encoder, 2, IMAGES, images, NULL, NULL));
    ASSERT_OK(mio_encoder_infer(encoder, IMAGES, images, features[0], NULL));
    const size_t size = copy_tensors(encoder, before);
    ASSERT_OK(mio_analysis_encoder_hessian_spectrum(encoder, loss, IMAGES, images, 0, 6, 0, values, weights, &count));
    ck_assert_uint_eq(count, 6);
    ck_assert_double_gt(values[5], 0);
    copy_tensors(encoder, after);
    ck_assert_mem_eq(before, after, size * sizeof *before);
    ASSERT_OK(mio_encoder_infer(encoder, IMAGES, images, features[1], NULL));
    ck_assert_mem_eq(features[0], features[1], sizeof features[0]);

    ASSERT_OK(mio_loss_create_custom(context, "broken", &callback, &broken));
    ck_assert_int_eq(
        mio_analysis_encoder_hessian_spectrum(encoder, broken, IMAGES, images, 0, 6, 0, values, weights, &count),
        MIO_ERROR_IO);
    ck_assert_uint_eq(calls, 4);
    copy_tensors(encoder, after);
    ck_assert_mem_eq(before, after, size * sizeof *before);
    mio_encoder_release(encoder);
    mio_loss_release(loss);
    mio_loss_release(broken);
    mio_context_release(context);
}
END_TEST

/* Through batch norm: the scale of a matrix before it does not matter, so that the product of its own direction is
   minus its gradient; and products are symmetric. */
START_TEST(test_batch_norm)
{
    static float values[MOST], slopes[MOST], projections[ROWS * OUT], gradients[ROWS * OUT];
    mio_context *context = support_context(2);
    mio_loss *loss = support_loss(context, "nt_xent", NULL);
    mio_builder *builder;
    mio_encoder *encoder;
    size_t count;
    fill_images();
    ASSERT_OK(mio_builder_create(context, CHANNELS, SIZE, SIZE, &builder));
    const mio_node x = mio_builder_global_average_pool(
        builder, mio_builder_conv2d(builder, mio_builder_input(builder), FEATURES, 3, 1, 1));
    ASSERT_OK(mio_builder_finish(builder, x, mio_builder_projector(builder, x, 1, 0, OUT), &encoder));
    mio_builder_release(builder);
    ASSERT_OK(mio_analysis_encoder_weights(encoder, &count));
    const char *const name = "projector.mlp.0.linear_layer.weight";
    const size_t size = OUT * FEATURES, place = FEATURES * CHANNELS * 9;
    ASSERT_OK(mio_encoder_get_tensor(encoder, name, size, values));
    ASSERT_OK(mio_encoder_forward(encoder, 2, IMAGES, images, NULL, projections));
    ASSERT_OK(mio_loss_compute(loss, IMAGES, OUT, projections, projections + IMAGES * OUT, NULL, gradients,
                               gradients + IMAGES * OUT));
    ASSERT_OK(mio_encoder_backward(encoder, gradients, NULL));
    ASSERT_OK(mio_encoder_get_gradient(encoder, name, size, slopes));
    memset(direction, 0, sizeof direction);
    support_widen(size, values, direction + place);
    ASSERT_OK(mio_analysis_encoder_hessian_product(encoder, loss, IMAGES, images, 2e-3, direction, product));
    support_widen(size, slopes, second);
    for (size_t i = 0; i < size; i++)
        second[i] = -second[i];
    ck_assert_double_le(support_distance(size, product + place, second), 1e-2);
    support_fill(count, direction, 8);
    support_fill(count, other, 9);
    ASSERT_OK(mio_analysis_encoder_hessian_product(encoder, loss, IMAGES, images, 1e-3, direction, product));
    ASSERT_OK(mio_analysis_encoder_hessian_product(encoder, loss, IMAGES, images, 1e-3, other, second));
    ck_assert_double_le(fabs(dot(count, other, product) - dot(count, direction, second)),
                        1e-3 * support_norm(count, product) * support_norm(count, other));
    mio_encoder_release(encoder);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* All steps find the eigenvalues of the dense matrix that products with unit vectors make. */
START_TEST(test_spectrum)
{
    enum { SMALL = OUT * CHANNELS };
    double trace = 0, squares = 0, values[SMALL], weights[SMALL], sum = 0, sum_of_squares = 0;
    size_t count = 0;
    mio_context *context = support_context(1);
    mio_loss *loss = support_loss(context, "mio", NULL);
    mio_encoder *encoder = linear_encoder(context);
    fill_images();
    for (size_t i = 0; i < SMALL; i++) {
        memset(direction, 0, sizeof direction);
        direction[i] = 1;
        ASSERT_OK(mio_analysis_encoder_hessian_product(encoder, loss, IMAGES, images, 2e-3, direction, product));
        trace += product[i];
        squares += dot(SMALL, product, product);
    }
    ASSERT_OK(
        mio_analysis_encoder_hessian_spectrum(encoder, loss, IMAGES, images, 2e-3, SMALL, 0, values, weights, &count));
    ck_assert_uint_eq(count, SMALL);
    for (size_t i = 0; i < SMALL; i++) {
        sum += values[i];
        sum_of_squares += values[i] * values[i];
    }
    ck_assert_double_eq_tol(sum, trace, 1e-3 * sqrt(squares));
    ck_assert_double_eq_tol(sum_of_squares, squares, 1e-3 * squares);
    mio_encoder_release(encoder);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

START_TEST(test_threads)
{
    double values[2][5], weights[2][5];
    size_t count;
    fill_images();
    for (size_t i = 0; i < 2; i++) {
        mio_context *context = support_context(i ? 3 : 1);
        mio_loss *loss = support_loss(context, "mio", NULL);
        mio_encoder *encoder = deep_encoder(context);
        ASSERT_OK(mio_analysis_encoder_hessian_spectrum(encoder, loss, IMAGES, images, 0, 5, 3, values[i], weights[i],
                                                        &count));
        mio_encoder_release(encoder);
        mio_loss_release(loss);
        mio_context_release(context);
    }
    ck_assert_mem_eq(values[0], values[1], sizeof values[0]);
    ck_assert_mem_eq(weights[0], weights[1], sizeof weights[0]);
}
END_TEST

START_TEST(test_out_of_memory)
{
    static float before[MOST], after[MOST];
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_status status = MIO_ERROR_MEMORY;
    fill_images();
    for (size_t n = 1; status == MIO_ERROR_MEMORY; n++) {
        double values[2], weights[2];
        size_t count;
        test_allocator_fail_at(&allocator, 0);
        mio_context *context = test_allocator_context(&allocator, 1);
        mio_loss *loss = support_loss(context, "mio", NULL);
        mio_encoder *encoder = deep_encoder(context);
        const size_t size = copy_tensors(encoder, before);
        test_allocator_fail_at(&allocator, n);
        status = mio_analysis_encoder_hessian_spectrum(encoder, loss, IMAGES, images, 0, 2, 0, values, weights, &count);
        test_allocator_fail_at(&allocator, 0);
        copy_tensors(encoder, after);
        ck_assert_mem_eq(before, after, size * sizeof *before);
        mio_encoder_release(encoder);
        mio_loss_release(loss);
        mio_context_release(context);
        ck_assert_uint_eq(atomic_load(&allocator.blocks), 0);
    }
    ck_assert_int_eq(status, MIO_OK);
}
END_TEST

START_TEST(test_refusals)
{
    double value, weight;
    size_t count;
    mio_context *context = support_context(1);
    mio_loss *mio = support_loss(context, "mio", NULL), *byol = support_loss(context, "byol", NULL);
    mio_encoder *encoder = linear_encoder(context), *plain, *untrained;
    mio_builder *builder;
    ASSERT_OK(mio_builder_create(context, CHANNELS, SIZE, SIZE, &builder));
    const mio_node mean = mio_builder_global_average_pool(builder, mio_builder_input(builder));
    ASSERT_OK(mio_builder_finish(builder, mean, -1, &plain));
    ASSERT_OK(mio_builder_finish(builder, mean, mean, &untrained));
    mio_builder_release(builder);
#define REFUSES(status, encoder, loss, pairs, images, step, steps)                                                     \
    ck_assert_int_eq(                                                                                                  \
        mio_analysis_encoder_hessian_spectrum(encoder, loss, pairs, images, step, steps, 0, &value, &weight, &count),  \
        status)
    REFUSES(MIO_ERROR_UNSUPPORTED, encoder, byol, IMAGES, images, 0, 1);
    REFUSES(MIO_ERROR_ARGUMENT, NULL, mio, IMAGES, images, 0, 1);
    REFUSES(MIO_ERROR_ARGUMENT, encoder, NULL, IMAGES, images, 0, 1);
    REFUSES(MIO_ERROR_ARGUMENT, plain, mio, IMAGES, images, 0, 1);
    REFUSES(MIO_ERROR_ARGUMENT, untrained, mio, IMAGES, images, 0, 1);
    REFUSES(MIO_ERROR_ARGUMENT, encoder, mio, 0, images, 0, 1);
    REFUSES(MIO_ERROR_ARGUMENT, encoder, mio, SIZE_MAX / 2, images, 0, 1);
    REFUSES(MIO_ERROR_ARGUMENT, encoder, mio, IMAGES, NULL, 0, 1);
    REFUSES(MIO_ERROR_ARGUMENT, encoder, mio, IMAGES, images, NAN, 1);
    REFUSES(MIO_ERROR_ARGUMENT, encoder, mio, IMAGES, images, -1, 1);
    REFUSES(MIO_ERROR_ARGUMENT, encoder, mio, IMAGES, images, 0, 0);
    ASSERT_OK(mio_analysis_encoder_weights(encoder, &count));
    double *nothing = calloc(
        2 * count, sizeof *nothing); /* a direction of 0 asks nothing of the loss, but is checked as others are */
    ck_assert_int_eq(mio_analysis_encoder_hessian_product(encoder, mio, 1, images, 0, nothing, nothing + count),
                     MIO_ERROR_ARGUMENT);
    free(nothing);
    ck_assert_int_eq(mio_analysis_encoder_weights(NULL, &count), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_encoder_weights(encoder, NULL), MIO_ERROR_ARGUMENT);
    mio_encoder_release(plain);
    mio_encoder_release(untrained);
    mio_encoder_release(encoder);
    mio_loss_release(mio);
    mio_loss_release(byol);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("encoder");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_linear, 0, 2);
    tcase_add_test(tests, test_batch_norm);
    tcase_add_test(tests, test_spectrum);
    tcase_add_test(tests, test_encoder_stays);
    tcase_add_test(tests, test_threads);
    tcase_add_test(tests, test_out_of_memory);
    tcase_add_test(tests, test_refusals);
    return support_run("analysis/encoder", tests);
}
