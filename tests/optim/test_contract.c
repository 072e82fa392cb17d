/* What callers are promised beside the numbers: parameters, refusals, threads, memory, checkpoints, encoders. */
#include "loss/support.h"
#include "nn/encoder.h"
#include "optim/optimizer.h"
#include "support/allocator.h"

#include <stdio.h>
#include <unistd.h>

enum { COUNT = 100000, FIRST = 70001 };
static const char *const names[] = {"adamw", "lars", "sgd"};

static float values[COUNT], gradients[COUNT];

static void fill(unsigned seed)
{
    static double wide[COUNT];
    support_fill(COUNT, wide, seed);
    support_narrow(COUNT, wide, values);
    support_fill(COUNT, wide, seed + 1);
    support_narrow(COUNT, wide, gradients);
}

static mio_optimizer *create(mio_context *context, const char *name)
{
    mio_optimizer *optimizer = NULL;
    ASSERT_OK(mio_optimizer_create(context, name, &optimizer));
    return optimizer;
}

/* Two arrays in one: a matrix and a vector, of no round sizes. */
static mio_optimizer *create_with_arrays(mio_context *context, const char *name)
{
    mio_optimizer *optimizer = create(context, name);
    ASSERT_OK(mio_optimizer_add_array(optimizer, "a.weight", 2, FIRST, values, gradients));
    ASSERT_OK(mio_optimizer_add_array(optimizer, "a.bias", 1, COUNT - FIRST, values + FIRST, gradients + FIRST));
    return optimizer;
}

START_TEST(test_parameters)
{
    static const struct {
        const char *optimizer, *parameter;
        double initial;
    } table[] = {
        {"adamw", "learning_rate", 0.001},
        {"adamw", "weight_decay", 0.01},
        {"adamw", "exclude_vectors", 0},
        {"adamw", "beta1", 0.9},
        {"adamw", "beta2", 0.999},
        {"adamw", "epsilon", 1e-8},
        {"lars", "learning_rate", 1.5},
        {"lars", "weight_decay", 1e-6},
        {"lars", "exclude_vectors", 1},
        {"lars", "momentum", 0.9},
        {"lars", "nesterov", 0},
        {"lars", "trust_coefficient", 0.001},
        {"lars", "convention", 0},
        {"lars", "compat", 0},
        {"sgd", "learning_rate", 0.1},
        {"sgd", "weight_decay", 0},
        {"sgd", "exclude_vectors", 0},
        {"sgd", "momentum", 0.9},
        {"sgd", "nesterov", 0},
    };
    enum { ROWS = sizeof table / sizeof *table };
    mio_context *context = support_context(1);
    size_t row = 0;
    for (size_t n = 0; n < 3; n++) {
        ck_assert_str_eq(mio_optimizer_name_at(n), names[n]);
        mio_optimizer *optimizer = create(context, names[n]);
        ck_assert_str_eq(mio_optimizer_name(optimizer), names[n]);
        for (size_t i = 0; i < mio_optimizer_parameter_count(optimizer); i++, row++) {
            mio_parameter_info info = {.struct_size = sizeof info};
            ck_assert_uint_lt(row, ROWS);
            ASSERT_OK(mio_optimizer_parameter(optimizer, i, &info));
            ck_assert_str_eq(table[row].optimizer, names[n]);
            ck_assert_str_eq(info.name, table[row].parameter);
            ck_assert(info.default_value == table[row].initial);
        }
        mio_optimizer_release(optimizer);
    }
    ck_assert_uint_eq(row, ROWS);
    ck_assert_ptr_null(mio_optimizer_name_at(3));
    mio_context_release(context);
}
END_TEST

START_TEST(test_refusals)
{
    mio_context *context = support_context(1);
    mio_optimizer *optimizer = NULL;
    ck_assert_int_eq(mio_optimizer_create(context, "adam", &optimizer), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "adamw"));
    ck_assert_ptr_null(optimizer);
    optimizer = create(context, "sgd");
    ck_assert_int_eq(mio_optimizer_step(optimizer), MIO_ERROR_STATE);
    ck_assert_int_eq(mio_optimizer_step(NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_optimizer_add_array(optimizer, NULL, 1, 4, values, gradients), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_optimizer_add_array(optimizer, "w", 1, 4, NULL, gradients), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_optimizer_add_array(optimizer, "w", 1, 4, values, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_optimizer_add_array(optimizer, "w", 1, 0, values, gradients), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_optimizer_add_encoder(optimizer, NULL), MIO_ERROR_ARGUMENT);
    static const char *const broken[] = {"bn", NULL};
    ck_assert_int_eq(mio_optimizer_set_exclusions(optimizer, 2, broken), MIO_ERROR_ARGUMENT);
    ASSERT_OK(mio_optimizer_set_exclusions(optimizer, 0, NULL));
    ck_assert_int_eq(mio_optimizer_set(optimizer, "momentum", 1), MIO_ERROR_ARGUMENT);
    mio_optimizer_release(optimizer);
    mio_optimizer_release(NULL);
    mio_schedule *schedule = NULL;
    ck_assert_int_eq(mio_schedule_create(context, "linear", &schedule), MIO_ERROR_ARGUMENT);
    ASSERT_OK(mio_schedule_create(context, "cosine", &schedule));
    double rate = 7;
    ck_assert_int_eq(mio_schedule_at(schedule, 3, 0, &rate), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_schedule_at(schedule, 3, 1, NULL), MIO_ERROR_ARGUMENT);
    ck_assert(rate == 7);
    mio_context_release(context);
    mio_schedule_release(schedule);
}
END_TEST

/* The largest gradients that are finite leave a state that is, and can be restored. */
START_TEST(test_largest_gradient)
{
    static const float largest[2] = {3e38f, -1e21f}, none[2] = {0, 0};
    mio_context *context = support_context(1);
    mio_optimizer *optimizer = create(context, "adamw");
    float two[2] = {1, 1};
    static float given[2];
    memcpy(given, largest, sizeof given);
    ASSERT_OK(mio_optimizer_add_array(optimizer, "w", 1, 2, two, given));
    ASSERT_OK(mio_optimizer_step(optimizer));
    memcpy(given, none, sizeof given);
    ASSERT_OK(mio_optimizer_step(optimizer));
    const float resting[2] = {two[0], two[1]};
    ck_assert(fabsf(two[0] - 1) < 0.01f && fabsf(two[1] - 1) < 0.01f && two[0] < 1 && two[1] > 1);
    ASSERT_OK(mio_optimizer_step(optimizer)); /* an infinite second moment would leave the mean no way */
    ck_assert(two[0] < resting[0] && two[1] > resting[1]);
    ck_assert_int_eq(mio_optimizer_set(optimizer, "epsilon", 1e-46), MIO_ERROR_ARGUMENT);
    mio_optimizer_release(optimizer);
    mio_context_release(context);
}
END_TEST

/* Gradients so small that LARS would step further than float reaches: finite all the same. */
START_TEST(test_smallest_gradient)
{
    mio_context *context = support_context(1);
    for (int convention = 0; convention < 2; convention++) {
        mio_optimizer *optimizer = create(context, "lars");
        float two[2] = {1, -1};
        static const float tiny[2] = {1e-42f, 0};
        ASSERT_OK(mio_optimizer_set(optimizer, "convention", convention));
        ASSERT_OK(mio_optimizer_set(optimizer, "weight_decay", 0));
        ASSERT_OK(mio_optimizer_add_array(optimizer, "w", 2, 2, two, tiny));
        ASSERT_OK(mio_optimizer_step(optimizer));
        ck_assert(isfinite(two[0]) && two[0] < 1 && two[1] == -1);
        ck_assert_int_eq(mio_optimizer_set(optimizer, "learning_rate", 1e39), MIO_ERROR_ARGUMENT);
        ck_assert_int_eq(mio_optimizer_set(optimizer, "weight_decay", 1e39), MIO_ERROR_ARGUMENT);
        mio_optimizer_release(optimizer);
    }
    mio_context_release(context);
}
END_TEST

/* A non-finite gradient anywhere: the array is named, nothing moves, and the next good step is as if it had not been.
 */
START_TEST(test_bad_gradient)
{
    static float before[COUNT], expected[COUNT];
    mio_context *context = support_context(2);
    fill(5);
    memcpy(before, values, sizeof values);
    mio_optimizer *first = create_with_arrays(context, names[_i]);
    ASSERT_OK(mio_optimizer_step(first));
    memcpy(expected, values, sizeof values);
    mio_optimizer_release(first);

    memcpy(values, before, sizeof values);
    mio_optimizer *optimizer = create_with_arrays(context, names[_i]);
    const float kept = gradients[COUNT - 1];
    gradients[COUNT - 1] = NAN;
    ck_assert_int_eq(mio_optimizer_step(optimizer), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "gradient of 'a.bias'"));
    gradients[COUNT - 1] = -INFINITY;
    ck_assert_int_eq(mio_optimizer_step(optimizer), MIO_ERROR_ARGUMENT);
    ck_assert_mem_eq(values, before, sizeof values);
    gradients[COUNT - 1] = kept;
    ASSERT_OK(mio_optimizer_step(optimizer));
    ck_assert_mem_eq(values, expected, sizeof values);
    mio_optimizer_release(optimizer);
    mio_context_release(context);
}
END_TEST

START_TEST(test_threads)
{
    static float expected[COUNT];
    static const double threads[] = {1, 2, 5};
    for (size_t t = 0; t < 3; t++) {
        mio_context *context = support_context(threads[t]);
        fill(9);
        mio_optimizer *optimizer = create_with_arrays(context, names[_i]);
        for (size_t step = 0; step < 4; step++)
            ASSERT_OK(mio_optimizer_step(optimizer));
        if (!t)
            memcpy(expected, values, sizeof values);
        ck_assert_mem_eq(values, expected, sizeof values);
        mio_optimizer_release(optimizer);
        mio_context_release(context);
    }
}
END_TEST

START_TEST(test_out_of_memory)
{
    static const char *const patterns[] = {"bn", "bias"};
    test_allocator allocator;
    int finished = 0;
    fill(3);
    for (size_t n = 1; !finished; n++) {
        ck_assert_uint_lt(n, 60);
        test_allocator_init(&allocator);
        mio_context *context = test_allocator_context(&allocator, 1);
        test_allocator_fail_at(&allocator, n);
        mio_optimizer *optimizer = NULL;
        mio_status status = mio_optimizer_create(context, names[_i], &optimizer);
        if (!status)
            status = mio_optimizer_set_exclusions(optimizer, 2, patterns);
        if (!status)
            status = mio_optimizer_add_array(optimizer, "a.weight", 2, FIRST, values, gradients);
        if (!status)
            status = mio_optimizer_add_array(optimizer, "a.bias", 1, COUNT - FIRST, values + FIRST, gradients + FIRST);
        ck_assert(!status || status == MIO_ERROR_MEMORY);
        if (!status) {
            test_allocator_fail_from(&allocator, 1); /* a step asks for nothing */
            ASSERT_OK(mio_optimizer_step(optimizer));
            ck_assert_uint_eq(allocator.requests, 0);
            finished = 1;
        }
        mio_optimizer_release(optimizer);
        mio_context_release(context);
        ck_assert_uint_eq(allocator.blocks, 0);
        ck_assert_uint_eq(allocator.mistakes, 0);
    }
}
END_TEST

/* ---- checkpoints ---- */

static void temporary(char *path, size_t size)
{
    snprintf(path, size, "/tmp/mio-optim-%ld", (long)getpid());
}

static void write_state(mio_context *context, const mio_optimizer *optimizer, const char *path)
{
    mio__archive_writer *writer = NULL;
    ASSERT_OK(mio__archive_create(context, path, "CHKP", &writer));
    ASSERT_OK(mio__optimizer_write(optimizer, writer));
    ASSERT_OK(mio__archive_commit(writer));
}

/* 2N steps equal N, a checkpoint into a new optimizer, and N more. */
START_TEST(test_resume)
{
    static float middle[COUNT], expected[COUNT];
    char path[128];
    temporary(path, sizeof path);
    mio_context *context = support_context(2);
    fill(7);
    mio_optimizer *whole = create_with_arrays(context, names[_i]);
    ASSERT_OK(mio_optimizer_set(whole, "learning_rate", 0.37));
    for (size_t step = 0; step < 3; step++)
        ASSERT_OK(mio_optimizer_step(whole));
    memcpy(middle, values, sizeof values);
    write_state(context, whole, path);
    for (size_t step = 0; step < 3; step++)
        ASSERT_OK(mio_optimizer_step(whole));
    memcpy(expected, values, sizeof values);
    mio_optimizer_release(whole);

    memcpy(values, middle, sizeof values);
    mio_optimizer *resumed = create_with_arrays(context, names[_i]);
    mio__archive *archive = NULL;
    ASSERT_OK(mio__archive_open(context, path, &archive));
    ASSERT_OK(mio__optimizer_restore(resumed, archive));
    double rate;
    ASSERT_OK(mio_optimizer_get(resumed, "learning_rate", &rate));
    ck_assert(rate == 0.37);
    for (size_t step = 0; step < 3; step++)
        ASSERT_OK(mio_optimizer_step(resumed));
    ck_assert_mem_eq(values, expected, sizeof values);
    mio_optimizer_release(resumed);

    /* Another kind, or other arrays, are refused and left as they are. */
    mio_optimizer *other = create_with_arrays(context, names[(_i + 1) % 3]);
    ck_assert_int_eq(mio__optimizer_restore(other, archive), MIO_ERROR_FORMAT);
    mio_optimizer_release(other);
    other = create(context, names[_i]);
    ASSERT_OK(mio_optimizer_add_array(other, "b.weight", 2, COUNT, values, gradients));
    ck_assert_int_eq(mio__optimizer_restore(other, archive), MIO_ERROR_FORMAT);
    ASSERT_OK(mio_optimizer_get(other, "learning_rate", &rate));
    ck_assert(rate != 0.37);
    mio_optimizer_release(other);
    mio__archive_close(archive);
    remove(path);
    mio_context_release(context);
}
END_TEST

/* An array that comes later counts its own steps: the first moves it by the learning rate, as the first ever does. Also
   after a checkpoint. */
START_TEST(test_late_array)
{
    mio_context *context = support_context(1);
    static float late, late_gradient = 0.5f, again;
    char path[128];
    temporary(path, sizeof path);
    fill(3);
    mio_optimizer *optimizer = create_with_arrays(context, "adamw");
    ASSERT_OK(mio_optimizer_set(optimizer, "weight_decay", 0));
    for (size_t step = 0; step < 50; step++)
        ASSERT_OK(mio_optimizer_step(optimizer));
    late = 1;
    ASSERT_OK(mio_optimizer_add_array(optimizer, "late", 1, 1, &late, &late_gradient));
    ASSERT_OK(mio_optimizer_step(optimizer));
    ck_assert_double_eq_tol(late, 1 - 0.001, 1e-6);
    write_state(context, optimizer, path);
    again = late;
    ASSERT_OK(mio_optimizer_step(optimizer));

    fill(3);
    mio_optimizer *resumed = create_with_arrays(context, "adamw");
    mio__archive *archive = NULL;
    ASSERT_OK(mio_optimizer_add_array(resumed, "late", 1, 1, &again, &late_gradient));
    ASSERT_OK(mio__archive_open(context, path, &archive));
    ASSERT_OK(mio__optimizer_restore(resumed, archive));
    ASSERT_OK(mio_optimizer_step(resumed));
    ck_assert(again == late);
    mio__archive_close(archive);
    mio_optimizer_release(resumed);
    mio_optimizer_release(optimizer);
    remove(path);
    mio_context_release(context);
}
END_TEST

/* ---- encoders ---- */

static mio_encoder *small_encoder(mio_context *context)
{
    mio_builder *builder = NULL;
    mio_encoder *encoder = NULL;
    ASSERT_OK(mio_builder_create(context, 3, 8, 8, &builder));
    mio_node x = mio_builder_conv2d(builder, mio_builder_input(builder), 6, 3, 1, 1);
    x = mio_builder_relu(builder, mio_builder_batch_norm(builder, x));
    const mio_node features = mio_builder_global_average_pool(builder, x);
    const mio_node projections = mio_builder_linear(builder, features, 5, 1);
    ASSERT_OK(mio_builder_finish(builder, features, projections, &encoder));
    mio_builder_release(builder);
    return encoder;
}

/* An encoder's tensors step as arrays of PyTorch's layout do, and the next pass sees the new weights. */
START_TEST(test_encoder)
{
    enum { IMAGES = 4, PIXELS = 2 * IMAGES * 8 * 8 * 3, OUTPUTS = 2 * IMAGES * 5 };
    static double wide[PIXELS];
    static float images[PIXELS], projections[OUTPUTS], again[OUTPUTS], downstream[OUTPUTS];
    mio_context *context = support_context(2);
    mio_encoder *encoder = small_encoder(context);
    support_fill(PIXELS, wide, 3);
    support_narrow(PIXELS, wide, images);
    support_fill(OUTPUTS, wide, 4);
    support_narrow(OUTPUTS, wide, downstream);
    ASSERT_OK(mio_encoder_forward(encoder, 2, IMAGES, images, NULL, projections));
    ASSERT_OK(mio_encoder_backward(encoder, downstream, NULL));

    mio_optimizer *optimizer = create(context, names[_i]), *reference = create(context, names[_i]);
    ASSERT_OK(mio_optimizer_add_encoder(optimizer, encoder));
    ck_assert(mio__optimizer_has_encoder(optimizer, encoder));
    ck_assert(!mio__optimizer_has_encoder(reference, encoder));
    ck_assert_int_eq(mio_optimizer_add_encoder(optimizer, encoder), MIO_ERROR_ARGUMENT);
    static float copies[16][512], slopes[16][512], after[512];
    const size_t count = mio_encoder_tensor_count(encoder);
    mio_tensor_info info = {.struct_size = sizeof info};
    ck_assert_uint_le(count, 16);
    for (size_t i = 0; i < count; i++) {
        ASSERT_OK(mio_encoder_tensor(encoder, i, &info));
        ck_assert_uint_le(info.count, 512);
        ASSERT_OK(mio_encoder_get_tensor(encoder, info.name, info.count, copies[i]));
        if (!info.trainable)
            continue;
        ASSERT_OK(mio_encoder_get_gradient(encoder, info.name, info.count, slopes[i]));
        ASSERT_OK(mio_optimizer_add_array(reference, info.name, info.rank, info.count, copies[i], slopes[i]));
    }
    ASSERT_OK(mio_optimizer_step(optimizer));
    ASSERT_OK(mio_optimizer_step(reference));
    for (size_t i = 0; i < count; i++) {
        ASSERT_OK(mio_encoder_tensor(encoder, i, &info));
        ASSERT_OK(mio_encoder_get_tensor(encoder, info.name, info.count, after));
        for (size_t k = 0; k < info.count; k++)
            ck_assert_msg(fabsf(after[k] - copies[i][k]) <= 1e-6f * (1 + fabsf(copies[i][k])), "%s[%zu]", info.name, k);
    }
    ASSERT_OK(mio_encoder_forward(encoder, 2, IMAGES, images, NULL, again));
    ck_assert_mem_ne(again, projections, sizeof again);
    /* The optimizer keeps the encoder alive. */
    mio_encoder_release(encoder);
    ASSERT_OK(mio_optimizer_step(optimizer));
    mio_optimizer_release(optimizer);
    mio_optimizer_release(reference);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("contract");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_parameters);
    tcase_add_test(tests, test_refusals);
    tcase_add_test(tests, test_largest_gradient);
    tcase_add_test(tests, test_late_array);
    tcase_add_test(tests, test_smallest_gradient);
    tcase_add_loop_test(tests, test_bad_gradient, 0, 3);
    tcase_add_loop_test(tests, test_threads, 0, 3);
    tcase_add_loop_test(tests, test_out_of_memory, 0, 3);
    tcase_add_loop_test(tests, test_resume, 0, 3);
    tcase_add_loop_test(tests, test_encoder, 0, 3);
    return support_run("optim/contract", tests);
}
