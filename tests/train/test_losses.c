#define _DEFAULT_SOURCE /* mkdtemp */
/* Training with losses that take labels or indices, learn or remember, and with a loss of the caller's own. */
#include "life.h"
#include "tiny.h"

#include "loss/loss.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static const char *const names[] = {"siglip", "cam",  "prototype", "sogclr",       "moco",  "nnclr",
                                    "supcon", "byol", "schane",    "barlow_twins", "vicreg"};
enum { NAMES = sizeof names / sizeof *names, STEPS = 8, HALFWAY = 3 };

static char folder[64], path[96];

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/mio-losses-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/run.mio", folder);
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
}

static mio_trainer *make(mio_context *context, const char *name)
{
    mio_trainer *trainer = NULL;
    const mio_status status = tiny_trainer(context, &(tiny_options){.loss = name}, &trainer);
    ck_assert_msg(!status, "%s", mio_last_error());
    ck_assert_int_eq(mio_trainer_set(trainer, "labels", 1), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "predictor", 0), MIO_OK); /* the tiny encoder has none */
    return trainer;
}

/* Interrupted or not, on one thread or two: the same losses, bit for bit. */
START_TEST(test_resume)
{
    double whole[STEPS], rest[STEPS];
    mio_context *one = tiny_context(1), *two = tiny_context(2);
    mio_trainer *trainer = make(one, names[_i]);
    tiny_run(trainer, HALFWAY, whole);
    ck_assert_int_eq(mio_trainer_save(trainer, path), MIO_OK);
    tiny_run(trainer, STEPS - HALFWAY, whole + HALFWAY);
    mio_trainer_release(trainer);
    trainer = make(two, names[_i]);
    const mio_status status = mio_trainer_restore(trainer, path);
    ck_assert_msg(!status, "%s", mio_last_error());
    tiny_run(trainer, STEPS - HALFWAY, rest);
    ck_assert_mem_eq(rest, whole + HALFWAY, (STEPS - HALFWAY) * sizeof *rest);
    mio_trainer_release(trainer);
    mio_context_release(one);
    mio_context_release(two);
}
END_TEST

/* The optimizer steps what the loss learns. */
START_TEST(test_learns)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer = make(context, "siglip");
    double bias;
    tiny_run(trainer, 2, NULL);
    ck_assert_int_eq(mio_loss_get(trainer->loss, "bias", &bias), MIO_OK);
    ck_assert(bias != -10 && bias > -11 && bias < -9);
    mio_trainer_release(trainer);
    trainer = make(context, "prototype");
    const mio__loss_tensor *tensors;
    double before[10 * 12], after[10 * 12];
    ck_assert_uint_eq(mio__loss_tensors(trainer->loss, &tensors), 1);
    ck_assert_int_eq(mio_loss_get_tensor(trainer->loss, "prototypes", 10 * 12, before), MIO_OK);
    tiny_run(trainer, 1, NULL);
    ck_assert_int_eq(mio_loss_get_tensor(trainer->loss, "prototypes", 10 * 12, after), MIO_OK);
    for (size_t i = 0; i < 10 * 12; i++)
        ck_assert(before[i] != after[i]);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* An optimizer that outlives trainer and loss still has what the loss learnt. */
START_TEST(test_optimizer_outlives)
{
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 1);
    mio_trainer *trainer = make(context, "siglip");
    tiny_run(trainer, 1, NULL);
    mio_optimizer *optimizer = mio_optimizer_retain(trainer->optimizer);
    mio_loss *loss = trainer->loss;
    mio_trainer_release(trainer);
    double before, bias;
    ck_assert_int_eq(mio_loss_get(loss, "bias", &before), MIO_OK);
    ck_assert_int_eq(mio_optimizer_set(optimizer, "learning_rate", 0.1), MIO_OK);
    ck_assert_int_eq(mio_optimizer_step(optimizer), MIO_OK);
    ck_assert_int_eq(mio_loss_get(loss, "bias", &bias), MIO_OK);
    ck_assert(isfinite(bias) && bias != before);
    mio_optimizer_release(optimizer);
    mio_context_release(context);
    ck_assert_uint_eq(atomic_load(&allocator.blocks), 0);
    ck_assert_uint_eq(atomic_load(&allocator.mistakes), 0);
}
END_TEST

/* Labels are handed over when they are asked for, and not before. */
START_TEST(test_labels_are_asked_for)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer = make(context, "schane");
    ck_assert_int_eq(mio_trainer_set(trainer, "labels", 0), MIO_OK);
    ck_assert_int_eq(mio_trainer_step(trainer, NULL), MIO_ERROR_STATE);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "parameter 'labels'"));
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), 0);
    ck_assert_int_eq(mio_trainer_set(trainer, "labels", 1), MIO_OK);
    tiny_run(trainer, 1, NULL);
    ck_assert_int_eq(mio_trainer_set(trainer, "labels", 0), MIO_OK); /* those of the last batch are gone with it */
    ck_assert_int_eq(mio_trainer_step(trainer, NULL), MIO_ERROR_STATE);
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), 1);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* A step that came to nothing moves neither averages nor queue: trying again gives the same. */
START_TEST(test_failed_step)
{
    static const char *const moving[] = {"sogclr", "moco"};
    mio_context *context = tiny_context(1);
    mio_trainer *trainer = make(context, moving[_i]), *other = make(context, moving[_i]);
    float value = 1, gradient = 0;
    double expected[3], found[3];
    tiny_run(other, 3, expected);
    ck_assert_int_eq(mio_optimizer_add_array(trainer->optimizer, "other", 1, 1, &value, &gradient), MIO_OK);
    tiny_run(trainer, 1, found);
    gradient = NAN; /* refused by the optimizer, after the loss */
    ck_assert_int_ne(mio_trainer_step(trainer, NULL), MIO_OK);
    gradient = 0;
    tiny_run(trainer, 2, found + 1);
    ck_assert_mem_eq(found, expected, sizeof found);
    mio_trainer_release(trainer);
    mio_trainer_release(other);
    mio_context_release(context);
}
END_TEST

/* ---- memory ---- */

static const char *const keepers[] = {"sogclr", "moco", "prototype", "siglip", "supcon"};

static mio_status make_keeper(mio_context *context, const char *name, mio_trainer **trainer)
{
    mio_status status = tiny_trainer(context, &(tiny_options){.loss = name}, trainer);
    if (!status)
        status = mio_trainer_set(*trainer, "labels", 1);
    return !status && !strcmp(name, "moco") ? mio_loss_set((*trainer)->loss, "queue_size", 50) : status;
}

START_TEST(test_every_request_may_be_refused)
{
    life_under_refusals(make_keeper, keepers[_i], path, 1, 1);
}
END_TEST

START_TEST(test_later_steps_request_nothing)
{
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 2);
    mio_trainer *trainer = NULL;
    ck_assert_msg(!make_keeper(context, keepers[_i], &trainer), "%s", mio_last_error());
    tiny_run(trainer, 1, NULL);
    test_allocator_fail_from(&allocator, 1);
    tiny_run(trainer, 12, NULL);
    ck_assert_uint_eq(atomic_load(&allocator.requests), 0);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* ---- a loss of the caller's own ---- */

/* The mean square distance of the views, less that of view 1 to the batch's next image. */
static mio_status attract_and_repel(void *user, size_t pairs, size_t dim, const float *z1, const float *z2,
                                    double *value, float *grad_z1, float *grad_z2)
{
    const double share = 1 / (double)(pairs * dim);
    ++*(int *)user;
    *value = 0;
    for (size_t i = 0; i < pairs * dim; i++) {
        const size_t next = (i + dim) % (pairs * dim), last = (i + pairs * dim - dim) % (pairs * dim);
        const double apart = (double)z1[i] - z2[i], away = (double)z1[i] - z1[next], from = (double)z1[last] - z1[i];
        *value += share * (apart * apart - 0.1 * away * away);
        grad_z1[i] = (float)(2 * share * (apart - 0.1 * away + 0.1 * from));
        grad_z2[i] = (float)(-2 * share * apart);
    }
    return MIO_OK;
}

static mio_trainer *make_custom_as(mio_context *context, const char *name, int *calls)
{
    const mio_loss_callback callback = {sizeof callback, calls, attract_and_repel, NULL};
    mio_trainer *usual = NULL, *trainer = NULL;
    mio_loss *loss = NULL;
    mio_optimizer *optimizer = NULL;
    ck_assert_int_eq(tiny_trainer(context, NULL, &usual), MIO_OK);
    ck_assert_int_eq(mio_loss_create_custom(context, name, &callback, &loss), MIO_OK);
    ck_assert_int_eq(mio_optimizer_create(context, "sgd", &optimizer), MIO_OK);
    ck_assert_int_eq(mio_trainer_create(usual->encoder, loss, optimizer, usual->schedule, usual->loader, &trainer),
                     MIO_OK);
    mio_optimizer_release(optimizer);
    mio_loss_release(loss);
    mio_trainer_release(usual);
    return trainer;
}

static mio_trainer *make_custom(mio_context *context, int *calls)
{
    return make_custom_as(context, "attract_and_repel", calls);
}

START_TEST(test_custom)
{
    mio_context *context = tiny_context(2);
    int calls = 0;
    mio_trainer *trainer = make_custom(context, &calls);
    double losses[STEPS], rest[2];
    tiny_run(trainer, STEPS, losses);
    ck_assert_int_eq(calls, STEPS);
    ck_assert(losses[STEPS - 1] < losses[0]);
    ck_assert_int_eq(mio_trainer_save(trainer, path), MIO_OK);
    tiny_run(trainer, 2, losses);
    mio_trainer_release(trainer);
    trainer = make_custom(context, &calls);
    ck_assert_int_eq(mio_trainer_restore(trainer, path), MIO_OK);
    tiny_run(trainer, 2, rest);
    ck_assert_mem_eq(rest, losses, sizeof rest);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* Checkpoints take names as long as they may be, and tell the caller's from the library's. */
START_TEST(test_custom_names)
{
    mio_context *context = tiny_context(1);
    char longest[102];
    int calls = 0;
    memset(longest, 'x', sizeof longest);
    longest[101] = 0;
    const mio_loss_callback callback = {sizeof callback, &calls, attract_and_repel, NULL};
    mio_loss *loss = NULL;
    ck_assert_int_eq(mio_loss_create_custom(context, longest, &callback, &loss), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "1 to 100"));
    ck_assert_int_eq(mio_loss_create_custom(context, "", &callback, &loss), MIO_ERROR_ARGUMENT);
    longest[100] = 0;
    const char *const own[] = {longest, "nt_xent"};
    for (size_t i = 0; i < 2; i++) {
        mio_trainer *trainer = make_custom_as(context, own[i], &calls);
        tiny_run(trainer, 1, NULL);
        ck_assert_int_eq(mio_trainer_save(trainer, path), MIO_OK);
        ck_assert_msg(!mio_trainer_restore(trainer, path), "%s", mio_last_error());
        mio_trainer_release(trainer);
    }
    mio_trainer *other = make(context, "nt_xent");
    ck_assert_int_eq(mio_trainer_restore(other, path), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "custom nt_xent"));
    mio_trainer_release(other);
    mio_context_release(context);
}
END_TEST

/* A gradient that is not finite is the callback's, and what a library call in it said comes out. */
static mio_status broken(void *user, size_t pairs, size_t dim, const float *z1, const float *z2, double *value,
                         float *grad_z1, float *grad_z2)
{
    *value = 1;
    if (user)
        return mio_loss_compute(user, pairs, 0, z1, z2, value, grad_z1, grad_z2);
    memset(grad_z1, 0, pairs * dim * sizeof *grad_z1);
    memset(grad_z2, 0, pairs * dim * sizeof *grad_z2);
    grad_z2[dim + 2] = INFINITY;
    return MIO_OK;
}

START_TEST(test_broken_custom)
{
    mio_context *context = tiny_context(1);
    const float z1[6] = {1, 2, 3, 4, 5, 6}, z2[6] = {3, 2, 1, 6, 5, 4};
    float gradient[2][6];
    double value;
    mio_loss *inner = NULL, *loss = NULL;
    ck_assert_int_eq(mio_loss_create(context, "mio", &inner), MIO_OK);
    mio_loss_callback callback = {sizeof callback, NULL, broken, NULL};
    ck_assert_int_eq(mio_loss_create_custom(context, "infinite", &callback, &loss), MIO_OK);
    ck_assert_int_eq(mio_loss_compute(loss, 2, 3, z1, z2, &value, gradient[0], gradient[1]), MIO_ERROR_STATE);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "loss 'infinite' made grad_z2 row 1, column 2 inf"));
    mio_loss_release(loss);
    callback.user = inner;
    ck_assert_int_eq(mio_loss_create_custom(context, "wrapped", &callback, &loss), MIO_OK);
    ck_assert_int_eq(mio_loss_compute(loss, 2, 3, z1, z2, &value, gradient[0], gradient[1]), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "loss 'wrapped' returned MIO_ERROR_ARGUMENT: loss 'mio': dim is 0"));
    mio_loss_release(loss);
    mio_loss_release(inner);
    mio_context_release(context);
}
END_TEST

/* ---- refusals ---- */

/* A trainer that cannot be made leaves its optimizer as it was. */
START_TEST(test_refused_trainer)
{
    mio_context *context = tiny_context(1);
    mio_trainer *usual = NULL, *refused = NULL;
    mio_encoder *encoder = NULL;
    mio_loss *loss = NULL;
    const double prototypes[20] = {1};
    size_t count;
    ck_assert_int_eq(tiny_trainer(context, NULL, &usual), MIO_OK);
    ck_assert_int_eq(tiny_encoder(context, 0, &encoder), MIO_OK);
    ck_assert_int_eq(mio_loss_create(context, "prototype", &loss), MIO_OK);
    ck_assert_int_eq(mio_loss_set(loss, "classes", 4), MIO_OK);
    ck_assert_int_eq(mio_loss_set_tensor(loss, "prototypes", 20, prototypes), MIO_OK);
    tiny_run(usual, 1, NULL);
    ck_assert_int_eq(mio_trainer_create(encoder, loss, usual->optimizer, usual->schedule, usual->loader, &refused),
                     MIO_ERROR_STATE);
    ck_assert_ptr_null(refused);
    ck_assert_int_eq(mio_optimizer_set(usual->optimizer, "weight_decay", 0.1), MIO_OK);
    float *before = tiny_tensors(encoder, &count);
    tiny_run(usual, 1, NULL);
    float *after = tiny_tensors(encoder, &count);
    ck_assert_mem_eq(before, after, count * sizeof *after);
    ck_assert_int_eq(mio_trainer_save(usual, path), MIO_OK);
    mio_trainer *fresh = NULL;
    ck_assert_int_eq(tiny_trainer(context, NULL, &fresh), MIO_OK);
    ck_assert_msg(!mio_trainer_restore(fresh, path), "%s", mio_last_error());
    free(before);
    free(after);
    mio_trainer_release(fresh);
    mio_trainer_release(usual);
    mio_loss_release(loss);
    mio_encoder_release(encoder);
    mio_context_release(context);
}
END_TEST

/* What the loss learns is watched as the encoder is, and nothing is saved that could not be loaded. */
START_TEST(test_bad_tensors_of_a_loss)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer = make(context, "cam");
    tiny_run(trainer, 1, NULL);
    ck_assert_int_eq(mio_trainer_save(trainer, path), MIO_OK);
    const mio__loss_tensor *tensors;
    ck_assert_uint_eq(mio__loss_tensors(trainer->loss, &tensors), 1);
    const float kept = tensors[0].value[3];
    tensors[0].value[3] = INFINITY;
    ck_assert_int_eq(mio_trainer_save(trainer, path), MIO_ERROR_STATE);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "value 3 of the loss's 'anchors' is not finite"));
    tensors[0].value[3] = kept;
    ck_assert_msg(!mio_trainer_restore(trainer, path), "%s", mio_last_error()); /* the old one is still there */
    ck_assert_int_eq(mio_loss_set(trainer->loss, "anchor_margin", 1e39), MIO_OK);
    ck_assert_int_eq(mio_trainer_step(trainer, NULL), MIO_ERROR_STATE);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "step 2: the gradient of the loss's 'anchors' is not finite"));
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("losses");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, test_resume, 0, NAMES);
    tcase_add_test(tests, test_learns);
    tcase_add_test(tests, test_optimizer_outlives);
    tcase_add_test(tests, test_labels_are_asked_for);
    tcase_add_loop_test(tests, test_failed_step, 0, 2);
    tcase_add_loop_test(tests, test_every_request_may_be_refused, 0, 5);
    tcase_add_loop_test(tests, test_later_steps_request_nothing, 0, 5);
    tcase_add_test(tests, test_custom);
    tcase_add_test(tests, test_custom_names);
    tcase_add_test(tests, test_broken_custom);
    tcase_add_test(tests, test_refused_trainer);
    tcase_add_test(tests, test_bad_tensors_of_a_loss);
    Suite *suite = suite_create("train/losses");
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
