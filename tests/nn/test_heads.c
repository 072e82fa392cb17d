#define _POSIX_C_SOURCE 200809L /* mkstemp */
/* Heads: multi-layer perceptrons of every kind, predictions as a third output, and passes with another's weights. */
#include "small_networks.h"

enum { IMAGES = 4, HEAD_OUT = 5 };

static mio_status build_heads(mio_context *in, mio_norm last, mio_encoder **encoder)
{
    mio_builder *b;
    mio_status status = mio_builder_create(in, 3, HEIGHT, WIDTH, &b);
    if (status)
        return status;
    mio_node x = mio_builder_conv2d(b, mio_builder_input(b), 12, 3, 2, 1);
    x = mio_builder_relu(b, mio_builder_batch_norm(b, x));
    const mio_node h = mio_builder_global_average_pool(b, x);
    mio_builder_name(b, "projector.mlp");
    const mio_node z = mio_builder_mlp(b, h, 3, 16, HEAD_OUT, MIO_NORM_AFFINE, last);
    status = mio_builder_finish_with_predictions(b, h, z, mio_builder_predictor(b, z, 2, 8, HEAD_OUT), encoder);
    mio_builder_release(b);
    return status;
}

static mio_encoder *heads(mio_norm last)
{
    mio_encoder *encoder;
    good(build_heads(context, last, &encoder));
    return encoder;
}

static const mio__tensor *tensor_of(const mio_encoder *encoder, const char *name)
{
    for (size_t i = 0; i < encoder->graph.tensor_count; i++)
        if (!strcmp(encoder->tensors[i].name, name))
            return &encoder->tensors[i];
    return NULL;
}

START_TEST(names_and_kinds)
{
    mio_encoder *encoder = heads(MIO_NORM_PLAIN);
    static const char *const there[] = {"projector.mlp.0.linear_layer.weight", "projector.mlp.0.bn_layer.weight",
                                        "projector.mlp.4.bn_layer.running_mean", "predictor.mlp.0.bn_layer.bias",
                                        "predictor.mlp.2.linear_layer.bias"};
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        ck_assert_msg(tensor_of(encoder, there[i]) != NULL, "%s", there[i]);
    ck_assert_ptr_null(tensor_of(encoder, "projector.mlp.4.linear_layer.bias"));
    ck_assert_ptr_null(tensor_of(encoder, "predictor.mlp.2.bn_layer.weight"));
    ck_assert(tensor_of(encoder, "projector.mlp.0.bn_layer.weight")->trainable);
    ck_assert(!tensor_of(encoder, "projector.mlp.4.bn_layer.weight")->trainable);
    ck_assert(!tensor_of(encoder, "projector.mlp.4.bn_layer.bias")->trainable);
    size_t dim;
    good(mio_encoder_prediction_dim(encoder, &dim));
    ck_assert_uint_eq(dim, HEAD_OUT);
    mio_encoder_release(encoder);
    encoder = heads(MIO_NORM_NONE);
    ck_assert_ptr_nonnull(tensor_of(encoder, "projector.mlp.4.linear_layer.bias"));
    mio_encoder_release(encoder);
    encoder = small(context);
    good(mio_encoder_prediction_dim(encoder, &dim));
    ck_assert_uint_eq(dim, 0);
    mio_encoder_release(encoder);
}
END_TEST

/* A plain norm at the end leaves each channel of a view with mean 0 and variance 1. */
START_TEST(plain_norm_standardises)
{
    mio_encoder *encoder = heads(MIO_NORM_PLAIN);
    float *images = numbers(1, 2 * IMAGES * PIXELS), z[2 * IMAGES * HEAD_OUT], p[2 * IMAGES * HEAD_OUT];
    good(mio_encoder_forward(encoder, 2, IMAGES, images, NULL, z));
    for (size_t view = 0; view < 2; view++)
        for (size_t c = 0; c < HEAD_OUT; c++) {
            double sum = 0, squares = 0;
            for (size_t i = 0; i < IMAGES; i++) {
                const double x = z[(view * IMAGES + i) * HEAD_OUT + c];
                sum += x;
                squares += x * x;
            }
            ck_assert_double_eq_tol(sum / IMAGES, 0, 1e-5);
            ck_assert_double_eq_tol(squares / IMAGES, 1, 5e-2);
        }
    good(mio_encoder_predictions(encoder, p));
    good(mio_encoder_backward_predictions(encoder, p, NULL, NULL));
    ck_assert_ptr_null(tensor_of(encoder, "projector.mlp.4.bn_layer.weight")->gradient);
    free(images);
    mio_encoder_release(encoder);
}
END_TEST

/* The predictions of one pass are lost to the next backward pass; no predictor, no predictions. */
START_TEST(refusals)
{
    mio_encoder *encoder = heads(MIO_NORM_NONE), *without = small(context), *made = NULL;
    float *images = numbers(1, IMAGES * PIXELS), p[IMAGES * HEAD_OUT];
    refused(mio_encoder_predictions(encoder, p), MIO_ERROR_STATE, "mio_encoder_forward");
    refused(mio_encoder_predictions(encoder, NULL), MIO_ERROR_ARGUMENT, "NULL");
    refused(mio_encoder_predictions(without, p), MIO_ERROR_ARGUMENT, "no predictor");
    good(mio_encoder_forward(encoder, 1, IMAGES, images, NULL, NULL));
    good(mio_encoder_predictions(encoder, p));
    refused(mio_encoder_backward_predictions(encoder, NULL, NULL, NULL), MIO_ERROR_ARGUMENT, "all NULL");
    good(mio_encoder_backward_predictions(encoder, p, NULL, NULL));
    refused(mio_encoder_predictions(encoder, p), MIO_ERROR_STATE, "mio_encoder_forward");
    good(mio_encoder_forward(without, 1, IMAGES, images, NULL, NULL));
    refused(mio_encoder_backward_predictions(without, p, NULL, NULL), MIO_ERROR_ARGUMENT, "no predictor");

    mio_builder *b;
    good(mio_builder_create(context, 3, 4, 4, &b));
    const mio_node h = mio_builder_global_average_pool(b, mio_builder_input(b)), z = mio_builder_linear(b, h, 3, 0);
    refused(mio_builder_finish_with_predictions(b, h, z, z, &made), MIO_ERROR_ARGUMENT, "predictor");
    refused(mio_builder_finish_with_predictions(b, h, -1, z, &made), MIO_ERROR_ARGUMENT, "without projections");
    refused(mio_builder_finish_with_predictions(b, h, z, 50, &made), MIO_ERROR_ARGUMENT, "50");
    ck_assert_int_eq(mio_builder_mlp(b, h, 0, 1, 1, MIO_NORM_NONE, MIO_NORM_NONE), -1);
    refused(mio_builder_finish(b, h, z, &made), MIO_ERROR_ARGUMENT, "1 to 64 layers");
    mio_builder_release(b);
    good(mio_builder_create(context, 3, 1, 1, &b));
    ck_assert_int_eq(mio_builder_mlp(b, mio_builder_input(b), 2, 4, 4, MIO_NORM_AFFINE, (mio_norm)3), -1);
    refused(mio_builder_finish(b, 0, -1, &made), MIO_ERROR_ARGUMENT, "not 2 and 3");
    mio_builder_release(b);
    free(images);
    mio_encoder_release(encoder);
    mio_encoder_release(without);
}
END_TEST

/* Predictor, plain norms and all go through a file. */
START_TEST(saves_and_loads)
{
    mio_encoder *encoder = heads(MIO_NORM_PLAIN), *loaded;
    float *images = numbers(1, 2 * IMAGES * PIXELS), p[2][2 * IMAGES * HEAD_OUT];
    good(mio_encoder_forward(encoder, 2, IMAGES, images, NULL, NULL));
    good(mio_encoder_save(encoder, path));
    good(mio_encoder_load(context, path, &loaded));
    good(mio_encoder_forward(encoder, 2, IMAGES, images, NULL, NULL));
    good(mio_encoder_predictions(encoder, p[0]));
    good(mio_encoder_forward(loaded, 2, IMAGES, images, NULL, NULL));
    good(mio_encoder_predictions(loaded, p[1]));
    ck_assert_mem_eq(p[0], p[1], sizeof p[0]);
    ck_assert(!tensor_of(loaded, "projector.mlp.4.bn_layer.weight")->trainable);
    mio__archive *archive;
    mio_encoder *affine = heads(MIO_NORM_AFFINE);
    good(mio__archive_open(context, path, &archive));
    good(mio__encoder_restore(encoder, archive));
    refused(mio__encoder_restore(affine, archive), MIO_ERROR_FORMAT, "another network");
    mio__archive_close(archive);
    mio_encoder_release(affine);
    mio_encoder_release(encoder);
    mio_encoder_release(loaded);
    free(images);
}
END_TEST

/* A pass with another's weights is the other's pass, and leaves the encoder as it was. */
START_TEST(forward_as_another)
{
    mio_encoder *encoder = heads(MIO_NORM_AFFINE), *other, *control;
    float *images = numbers(1, 2 * IMAGES * PIXELS), z[3][2 * IMAGES * HEAD_OUT];
    good(mio__encoder_copy(encoder, &other));
    good(mio_encoder_initialize(other, 99));
    good(mio__encoder_copy(other, &control));
    good(mio_encoder_forward(encoder, 2, IMAGES, images, NULL, z[0]));
    good(mio__encoder_forward_as(encoder, other, 2, IMAGES, images, z[1]));
    good(mio_encoder_forward(control, 2, IMAGES, images, NULL, z[2]));
    ck_assert_mem_eq(z[1], z[2], sizeof z[1]);
    for (size_t i = 0; i < other->graph.tensor_count; i++) {
        if (strstr(other->tensors[i].name, "predictor")) /* not asked for */
            continue;
        ck_assert_mem_eq(other->tensors[i].value, control->tensors[i].value,
                         other->tensors[i].stored * sizeof(mio__real));
    }
    ck_assert_mem_ne(z[0], z[1], sizeof z[0]);
    refused(mio_encoder_backward(encoder, z[0], NULL), MIO_ERROR_STATE, "mio_encoder_forward");
    good(mio_encoder_forward(encoder, 2, IMAGES, images, NULL, z[1]));
    ck_assert_mem_eq(z[0], z[1], sizeof z[0]);
    mio_encoder_release(encoder);
    mio_encoder_release(other);
    mio_encoder_release(control);
    free(images);
}
END_TEST

static mio_status copy_life(mio_context *in)
{
    mio_encoder *encoder = NULL, *copy = NULL;
    mio_status status = build_heads(in, MIO_NORM_PLAIN, &encoder);
    if (!status)
        status = mio__encoder_copy(encoder, &copy);
    mio_encoder_release(encoder);
    mio_encoder_release(copy);
    return status;
}

START_TEST(memory_refused)
{
    const size_t blocks = allocator.blocks;
    mio_status status = MIO_ERROR_MEMORY;
    for (size_t n = 1; status; n++) {
        test_allocator_fail_at(&allocator, n);
        status = copy_life(context);
        ck_assert(!status || status == MIO_ERROR_MEMORY);
        ck_assert_uint_eq(allocator.blocks, blocks);
    }
    test_allocator_fail_at(&allocator, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("heads");
    TCase *tests = group(suite, "heads");
    tcase_add_test(tests, names_and_kinds);
    tcase_add_test(tests, plain_norm_standardises);
    tcase_add_test(tests, refusals);
    tcase_add_test(tests, saves_and_loads);
    tcase_add_test(tests, forward_as_another);
    tcase_add_test(tests, memory_refused);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
