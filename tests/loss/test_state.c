#define _POSIX_C_SOURCE 200809L
/* What losses keep from batch to batch: queues, tensors, their state in archives; and a loss of the caller's own. */
#include "loss/loss.h"
#include "loss/support.h"
#include "support/allocator.h"

#include <unistd.h>

static double z[256], grad[256];

/* ---- queues ---- */

/* Twelve rows pass through a queue of five; moco's keys and nnclr's first view enter it, and a value alone
   moves nothing. */
START_TEST(test_queue_moves)
{
    enum { PAIRS = 4, DIM = 3 };
    static const char *const names[] = {"moco", "nnclr"};
    mio_context *context = support_context(1);
    mio_loss *loss = support_loss(context, names[_i], NULL);
    double rows[5 * DIM], unit[DIM];
    support_fill(5 * DIM, rows, 4);
    ASSERT_OK(mio_loss_set_queue_f64(loss, 5, DIM, rows));
    double size;
    ASSERT_OK(mio_loss_get(loss, "queue_size", &size));
    ck_assert(size == 5);
    for (unsigned step = 0; step < 3; step++) {
        support_views(PAIRS, DIM, z, z + PAIRS * DIM, step);
        const double value = support_compute(loss, PAIRS, DIM, z, NULL);
        ck_assert(support_compute(loss, PAIRS, DIM, z, grad) == value);
        for (size_t b = 0; b < PAIRS; b++) {
            const double *row = (double *)loss->queue.rows + (step * PAIRS + b) % 5 * loss->queue.width;
            mio__unit_row(DIM, sizeof *z, z + ((_i ? 0 : PAIRS) + b) * DIM, unit);
            for (size_t k = 0; k < DIM; k++)
                ck_assert_double_eq_tol(row[k], unit[k], 1e-15);
        }
    }
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* A queue that nobody set is made of unit vectors, the same for the same seed; a float queue serves double batches. */
START_TEST(test_queue_from_seed)
{
    enum { PAIRS = 6, DIM = 20 };
    static const support_setting short_queue[] = {{"queue_size", 300}, {NULL, 0}};
    float narrow[2 * PAIRS * DIM];
    double first = NAN;
    support_views(PAIRS, DIM, z, z + PAIRS * DIM, 4);
    support_narrow(2 * PAIRS * DIM, z, narrow);
    for (int seed = 0; seed < 3; seed++) {
        mio_context *context = support_context(1 + seed);
        ASSERT_OK(mio_context_set(context, "seed", seed / 2));
        mio_loss *loss = support_loss(context, "moco", short_queue);
        double value, again;
        ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, narrow, narrow + PAIRS * DIM, &value, NULL, NULL));
        for (size_t i = 0; i < 300; i++) {
            double square = 0;
            for (size_t k = 0; k < DIM; k++)
                square += pow(((float *)loss->queue.rows)[i * loss->queue.width + k], 2);
            ck_assert_double_eq_tol(square, 1, 1e-6);
        }
        again = support_compute(loss, PAIRS, DIM, z, NULL);
        ck_assert_uint_eq(loss->queue.element, 8);
        ck_assert_double_eq_tol(again, value, 1e-6 * fabs(value));
        first = seed ? first : value;
        ck_assert((value == first) == (seed < 2));
        mio_loss_release(loss);
        mio_context_release(context);
    }
}
END_TEST

/* ---- tensors ---- */

START_TEST(test_tensors)
{
    mio_context *context = support_context(1);
    mio_loss *siglip = support_loss(context, "siglip", NULL), *cam = support_loss(context, "cam", NULL);
    mio_tensor_info info = {.struct_size = sizeof info};
    const mio__loss_tensor *tensors;
    double value = 0, values[20];
    ck_assert_uint_eq(mio_loss_tensor_count(siglip), 2);
    ASSERT_OK(mio_loss_tensor(siglip, 1, &info));
    ck_assert(!strcmp(info.name, "bias") && info.rank == 0 && info.count == 1 && info.trainable == 1);
    ck_assert_int_eq(mio_loss_tensor(siglip, 2, &info), MIO_ERROR_ARGUMENT);
    /* parameter and tensor are one, in double until an optimizer steps the float */
    ASSERT_OK(mio_loss_set(siglip, "bias", -3.3));
    ASSERT_OK(mio_loss_get_tensor(siglip, "bias", 1, &value));
    ck_assert(value == -3.3);
    ck_assert_uint_eq(mio__loss_tensors(siglip, &tensors), 2);
    tensors[1].value[0] -= 1;
    ASSERT_OK(mio_loss_get(siglip, "bias", &value));
    ck_assert(value == (double)((float)-3.3 - 1));
    ASSERT_OK(mio_loss_set(siglip, "log_scale", 1));
    ASSERT_OK(mio_loss_get(siglip, "bias", &value));
    ck_assert(value == (double)((float)-3.3 - 1));
    tensors[0].value[0] = 1e6f; /* beyond the parameter's bounds: held */
    ASSERT_OK(mio_loss_get(siglip, "log_scale", &value));
    ck_assert(value == 100);
    ASSERT_OK(mio_loss_set(siglip, "log_scale", value));
    ck_assert_int_eq(mio_loss_set_tensor(siglip, "bias", 2, values), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loss_get_tensor(siglip, "scale", 1, values), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "log_scale, bias"));
    ck_assert_int_eq(mio_loss_get_gradient(siglip, "bias", 1, values), MIO_ERROR_STATE);
    ASSERT_OK(mio_loss_tensor(cam, 0, &info));
    ck_assert(info.rank == 2 && info.shape[0] == 10 && info.shape[1] == 0 && info.count == 0);
    ck_assert_int_eq(mio_loss_get_tensor(cam, "anchors", 20, values), MIO_ERROR_STATE);
    memset(values, 0, sizeof values);
    ck_assert_int_eq(mio_loss_set_tensor(cam, "anchors", 19, values), MIO_ERROR_ARGUMENT);
    values[3] = NAN;
    ck_assert_int_eq(mio_loss_set_tensor(cam, "anchors", 20, values), MIO_ERROR_ARGUMENT);
    values[3] = 1.1;
    ASSERT_OK(mio_loss_set_tensor(cam, "anchors", 20, values));
    ASSERT_OK(mio_loss_tensor(cam, 0, &info));
    ck_assert(info.shape[1] == 2 && info.count == 20);
    ck_assert_uint_eq(mio_loss_tensor_count(NULL), 0);
    mio_loss_release(siglip);
    mio_loss_release(cam);
    mio_context_release(context);
}
END_TEST

/* ---- state in an archive ---- */

static const char *const keepers[] = {"siglip", "cam", "prototype", "sogclr", "moco", "nnclr"};
enum { KEPT_PAIRS = 9, KEPT_DIM = 5, KEPT_HALF = KEPT_PAIRS * KEPT_DIM };

static double step(mio_loss *loss, unsigned number)
{
    float narrow[2 * KEPT_HALF], narrow_grad[2 * KEPT_HALF];
    const mio__loss_tensor *tensors;
    double value;
    support_views(KEPT_PAIRS, KEPT_DIM, z, z + KEPT_HALF, number);
    support_narrow(2 * KEPT_HALF, z, narrow);
    ASSERT_OK(mio_loss_compute(loss, KEPT_PAIRS, KEPT_DIM, narrow, narrow + KEPT_HALF, &value, narrow_grad,
                               narrow_grad + KEPT_HALF));
    for (size_t t = 0; t < mio__loss_tensors(loss, &tensors); t++) /* what an optimizer does */
        for (size_t i = 0; i < tensors[t].count; i++)
            tensors[t].value[i] -= 0.1f * tensors[t].gradient[i];
    return value;
}

START_TEST(test_save_and_restore)
{
    char path[] = "/tmp/mio-loss-XXXXXX";
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 1);
    mio_loss *loss = support_loss(context, keepers[_i], NULL), *same = support_loss(context, keepers[_i], NULL);
    mio__archive_writer *writer;
    mio__archive *archive;
    const int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    ASSERT_OK(support_give(loss, KEPT_PAIRS, KEPT_DIM));
    ASSERT_OK(support_give(same, KEPT_PAIRS, KEPT_DIM));
    step(same, 9); /* makes the tensors that an optimizer would hold */
    for (unsigned i = 0; i < 3; i++)
        step(loss, i);
    ASSERT_OK(mio__archive_create(context, path, "TEST", &writer));
    ASSERT_OK(mio__loss_write(loss, writer));
    ASSERT_OK(mio__archive_commit(writer));
    mio_status status = MIO_ERROR_MEMORY;
    mio_loss *state = NULL;
    for (size_t n = 1; status; n++) { /* every allocation refused once */
        ck_assert_uint_lt(n, 100);
        test_allocator_fail_at(&allocator, n);
        status = mio__archive_open(context, path, &archive);
        if (status)
            continue;
        status = mio__loss_read(same, &loss->settings, archive, &state);
        mio__archive_close(archive);
        ck_assert(!status || status == MIO_ERROR_MEMORY);
        ck_assert(!status == (state != NULL));
    }
    test_allocator_fail_at(&allocator, 1000000);
    mio__loss_take(same, state);
    mio_loss_release(state);
    for (unsigned i = 3; i < 6; i++) {
        const double expected = step(loss, i);
        ck_assert(step(same, i) == expected);
    }
    mio_loss_release(loss);
    mio_loss_release(same);
    mio_context_release(context);
    ck_assert_uint_eq(allocator.blocks, 0);
    ck_assert_uint_eq(allocator.mistakes, 0);
    unlink(path);
}
END_TEST

/* ---- memory ---- */

/* Labels, targets in either precision, a queue, a loss of the caller's: every allocation refused once. */
static mio_status give_everything(mio_context *context, const float *narrow)
{
    static const int32_t labels[KEPT_PAIRS] = {1, 0, 1, 2, 2, 2, 7, -1, 0};
    static const size_t indices[KEPT_PAIRS] = {3, 1, 2, 0, 8, 7, 6, 5, 4};
    mio_loss *loss = NULL, *supcon = NULL, *anchors = NULL;
    mio_status status = mio_loss_create(context, "nnclr", &loss);
    if (!status)
        status = mio_loss_set_queue(loss, KEPT_PAIRS, KEPT_DIM, narrow);
    if (!status)
        status = mio_loss_set_targets(loss, KEPT_PAIRS, KEPT_DIM, narrow, narrow + KEPT_HALF);
    if (!status) /* in double: the queue is widened */
        status = mio_loss_compute_f64(loss, KEPT_PAIRS, KEPT_DIM, z, z + KEPT_HALF, NULL, grad, grad + KEPT_HALF);
    if (!status)
        status = mio_loss_create(context, "supcon", &supcon);
    if (!status)
        status = mio_loss_set_batch(supcon, KEPT_PAIRS, labels, indices);
    if (!status)
        status = mio_loss_compute_f64(supcon, KEPT_PAIRS, KEPT_DIM, z, z + KEPT_HALF, NULL, grad, grad + KEPT_HALF);
    if (!status)
        status = mio_loss_create(context, "cam", &anchors);
    if (!status)
        status = mio_loss_set_tensor(anchors, "anchors", 10 * 3, z);
    mio_loss_release(loss);
    mio_loss_release(supcon);
    mio_loss_release(anchors);
    return status;
}

/* A sound file with a state that no loss has: the message names file, record and fault. */
START_TEST(test_senseless_state)
{
    static const double bad_moving[] = {0, NAN};
    static const char shape[] = "rows 0 dim 4 next 0 bytes 8";
    static const struct {
        const char *loss, *record;
        const void *bytes;
        size_t size;
        const char *fault;
    } cases[] = {{"sogclr", "loss/moving", bad_moving, 7, "7 bytes"},
                 {"sogclr", "loss/moving", bad_moving, sizeof bad_moving, "value 1"},
                 {"moco", "loss/queue/shape", shape, sizeof shape - 1, "rows 0"},
                 {"siglip", "loss/tensor/bias", bad_moving + 1, sizeof(double), "finite"}};
    char path[] = "/tmp/mio-state-XXXXXX";
    const int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    mio_context *context = support_context(1);
    mio_loss *loss = support_loss(context, cases[_i].loss, NULL), *state = NULL;
    mio__archive_writer *writer;
    mio__archive *archive;
    ASSERT_OK(mio__archive_create(context, path, "TEST", &writer));
    ASSERT_OK(mio__archive_put(writer, cases[_i].record, cases[_i].bytes, cases[_i].size));
    ASSERT_OK(mio__archive_commit(writer));
    ASSERT_OK(mio__archive_open(context, path, &archive));
    ck_assert_int_eq(mio__loss_read(loss, &loss->settings, archive, &state), MIO_ERROR_FORMAT);
    ck_assert_ptr_null(state);
    const char *const words[] = {path, cases[_i].record, cases[_i].fault};
    for (size_t i = 0; i < 3; i++)
        ck_assert_msg(strstr(mio_last_error(), words[i]) != NULL, "'%s' is not in '%s'", words[i], mio_last_error());
    mio__archive_close(archive);
    mio_loss_release(loss);
    mio_context_release(context);
    unlink(path);
}
END_TEST

START_TEST(test_out_of_memory)
{
    float narrow[2 * KEPT_HALF];
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 1);
    support_views(KEPT_PAIRS, KEPT_DIM, z, z + KEPT_HALF, 5);
    support_narrow(2 * KEPT_HALF, z, narrow);
    ASSERT_OK(give_everything(context, narrow));
    const size_t held = allocator.blocks;
    test_allocator_fail_at(&allocator, 0);
    ASSERT_OK(give_everything(context, narrow));
    const size_t requests = allocator.requests;
    ck_assert_uint_gt(requests, 15);
    for (size_t n = 1; n <= requests; n++) {
        test_allocator_fail_at(&allocator, n);
        ck_assert_msg(give_everything(context, narrow) == MIO_ERROR_MEMORY, "request %zu of %zu", n, requests);
        ck_assert_uint_eq(allocator.blocks, held);
    }
    mio_context_release(context);
    ck_assert_uint_eq(allocator.mistakes, 0);
}
END_TEST

/* ---- a loss of the caller's own ---- */

typedef struct counter {
    int calls;
    mio_status answer;
} counter;

/* The mean square of all values. */
static mio_status mean_square(void *user, size_t pairs, size_t dim, const float *z1, const float *z2, double *value,
                              float *grad_z1, float *grad_z2)
{
    counter *count = user;
    count->calls++;
    *value = 0;
    for (size_t i = 0; i < pairs * dim; i++) {
        *value += ((double)z1[i] * z1[i] + (double)z2[i] * z2[i]) / (double)(2 * pairs * dim);
        if (grad_z1)
            grad_z1[i] = z1[i] / (float)(pairs * dim);
        if (grad_z2)
            grad_z2[i] = z2[i] / (float)(pairs * dim);
    }
    return count->answer;
}

START_TEST(test_custom)
{
    mio_context *context = support_context(1);
    counter count = {0, MIO_OK};
    mio_loss_callback callback = {sizeof callback, &count, mean_square, NULL};
    mio_loss *loss = NULL;
    char name[] = "mean_square";
    const float rows[4] = {1, 2, 3, 4};
    float gradient[2];
    double value = 7, positive, negative;
    ck_assert_int_eq(mio_loss_create_custom(context, NULL, &callback, &loss), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loss_create_custom(context, name, NULL, &loss), MIO_ERROR_ARGUMENT);
    callback.struct_size = 0;
    ck_assert_int_eq(mio_loss_create_custom(context, name, &callback, &loss), MIO_ERROR_ARGUMENT);
    callback.struct_size = sizeof callback;
    ASSERT_OK(mio_loss_create_custom(context, name, &callback, &loss));
    memset(name, 'x', sizeof name - 1);
    ck_assert_str_eq(mio_loss_name(loss), "mean_square");
    ck_assert_uint_eq(mio_loss_parameter_count(loss), 0);
    ASSERT_OK(mio_loss_compute(loss, 1, 2, rows, rows + 2, &value, NULL, gradient));
    ck_assert(value == 7.5 && gradient[0] == 1.5f && gradient[1] == 2);
    ASSERT_OK(mio__loss_similarities(loss, &positive, &negative));
    ck_assert_double_eq_tol(positive, 11 / sqrt(125), 1e-12);
    ck_assert_int_eq(mio_loss_compute_f64(loss, 1, 2, z, z, &value, NULL, NULL), MIO_ERROR_UNSUPPORTED);
    count.answer = MIO_ERROR_CANCELLED;
    value = 7;
    ck_assert_int_eq(mio_loss_compute(loss, 1, 2, rows, rows + 2, &value, NULL, NULL), MIO_ERROR_CANCELLED);
    ck_assert(value == 7 && strstr(mio_last_error(), "mean_square"));
    ck_assert_int_eq(mio_loss_compute(loss, 1, 2, rows, NULL, &value, NULL, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(count.calls, 2);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("state");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_queue_moves, 0, 2);
    tcase_add_test(tests, test_queue_from_seed);
    tcase_add_test(tests, test_tensors);
    tcase_add_loop_test(tests, test_save_and_restore, 0, 6);
    tcase_add_loop_test(tests, test_senseless_state, 0, 4);
    tcase_add_test(tests, test_out_of_memory);
    tcase_add_test(tests, test_custom);
    return support_run("loss/state", tests);
}
