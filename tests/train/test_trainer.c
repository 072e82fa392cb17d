#define _POSIX_C_SOURCE 200809L /* nanosleep, sigaction */
#include "tiny.h"

#include "nn/encoder.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

START_TEST(loss_falls)
{
    mio_context *context = tiny_context(2);
    mio_trainer *trainer;
    double losses[120], first = 0, last = 0;
    ck_assert_msg(!tiny_trainer(context, NULL, &trainer), "%s", mio_last_error());
    tiny_run(trainer, 120, losses);
    for (size_t i = 0; i < 10; i++) {
        first += losses[i] / 10;
        last += losses[110 + i] / 10;
    }
    ck_assert_double_lt(last, first - 0.1);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

START_TEST(report_is_complete)
{
    mio_context *context = tiny_context(2);
    mio_trainer *trainer;
    ck_assert_msg(!tiny_trainer(context, NULL, &trainer), "%s", mio_last_error());
    ck_assert_int_eq(mio_trainer_set(trainer, "monitor_interval", 3), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "epochs", 2), MIO_OK);
    for (uint64_t step = 1; step <= 6; step++) {
        mio_step_report r = {.struct_size = sizeof r};
        ck_assert_int_eq(mio_trainer_step(trainer, &r), MIO_OK);
        const int measured = step % 3 == 1;
        ck_assert_uint_eq(r.step, step);
        ck_assert_uint_eq(r.epoch, (step - 1) / TINY_STEPS_PER_EPOCH);
        ck_assert_uint_eq(r.steps_per_epoch, TINY_STEPS_PER_EPOCH);
        ck_assert_uint_eq(r.total_steps, 2 * TINY_STEPS_PER_EPOCH);
        ck_assert(isfinite(r.loss) && r.loss > 0);
        ck_assert_double_eq(r.learning_rate, 0.05);
        ck_assert(r.step_seconds > 0 && r.wait_seconds >= 0 && r.wait_seconds <= r.step_seconds);
        ck_assert_double_eq_tol(r.images_per_second * r.step_seconds, TINY_BATCH, 1e-6);
        ck_assert(fabs(r.positive_similarity) <= 1 && fabs(r.negative_similarity) <= 1);
        const double monitors[] = {r.pair_accuracy,  r.alignment,          r.uniformity,   r.channel_deviation,
                                   r.effective_rank, r.mutual_information, r.gradient_norm};
        for (size_t i = 0; i < sizeof monitors / sizeof *monitors; i++)
            ck_assert_int_eq(isfinite(monitors[i]) != 0, measured);
        if (measured) {
            /* alignment is 2 - 2 s+; the loss is its three terms */
            ck_assert_double_eq_tol(r.alignment, 2 - 2 * r.positive_similarity, 1e-6);
            ck_assert_double_eq_tol(r.loss, 2 * log(2) - r.mutual_information + r.alignment / 12, 1e-5);
            ck_assert(r.effective_rank >= 1 && r.effective_rank <= 12);
            ck_assert_double_gt(r.gradient_norm, 0);
        }
    }
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), 6);
    ck_assert_int_eq(mio_trainer_step(trainer, NULL), MIO_OK);
    mio_step_report brief = {.struct_size = offsetof(mio_step_report, loss)}; /* an older caller's, shorter struct */
    brief.loss = -7;
    ck_assert_int_eq(mio_trainer_step(trainer, &brief), MIO_OK);
    ck_assert_uint_eq(brief.step, 8);
    ck_assert_double_eq(brief.loss, -7);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* Threads, reading ahead, looking at monitors: none of them changes a bit. */
START_TEST(bits_do_not_depend_on_threads)
{
    static const struct {
        size_t threads, prefetch, interval;
    } ways[] = {{1, 0, 1}, {2, 0, 0}, {5, 0, 1}, {2, 2, 3}, {5, 1, 1}};
    enum { WAYS = sizeof ways / sizeof *ways, STEPS = 11 };
    mio_context *contexts[WAYS];
    mio_trainer *trainers[WAYS];
    double losses[WAYS][STEPS];
    for (size_t i = 0; i < WAYS; i++) {
        const tiny_options options = {.prefetch = ways[i].prefetch, .join_views = _i, .optimizer = _i ? "lars" : "sgd"};
        contexts[i] = tiny_context(ways[i].threads);
        ck_assert_msg(!tiny_trainer(contexts[i], &options, &trainers[i]), "%s", mio_last_error());
        mio_trainer_set(trainers[i], "monitor_interval", (double)ways[i].interval);
        tiny_run(trainers[i], STEPS, losses[i]);
        ck_assert_mem_eq(losses[0], losses[i], sizeof losses[0]);
        ck_assert(tiny_equal(trainers[0], trainers[i]));
    }
    for (size_t i = 0; i < WAYS; i++) {
        mio_trainer_release(trainers[i]);
        mio_context_release(contexts[i]);
    }
}
END_TEST

START_TEST(threads_may_change_within_a_run)
{
    mio_context *contexts[2] = {tiny_context(1), tiny_context(1)};
    mio_trainer *trainers[2];
    for (size_t i = 0; i < 2; i++)
        ck_assert_msg(!tiny_trainer(contexts[i], NULL, &trainers[i]), "%s", mio_last_error());
    tiny_run(trainers[0], 9, NULL);
    for (size_t i = 0; i < 3; i++) {
        mio_context_set(contexts[1], "threads", i == 0 ? 2 : i == 1 ? 5 : 1);
        tiny_run(trainers[1], 3, NULL);
    }
    ck_assert(tiny_equal(trainers[0], trainers[1]));
    for (size_t i = 0; i < 2; i++) {
        mio_trainer_release(trainers[i]);
        mio_context_release(contexts[i]);
    }
}
END_TEST

START_TEST(views_joined_are_another_run)
{
    mio_context *context = tiny_context(2);
    mio_trainer *trainers[2];
    for (int i = 0; i < 2; i++) {
        const tiny_options options = {.join_views = i};
        ck_assert_msg(!tiny_trainer(context, &options, &trainers[i]), "%s", mio_last_error());
        tiny_run(trainers[i], 2, NULL);
    }
    ck_assert(!tiny_equal(trainers[0], trainers[1]));
    mio_trainer_release(trainers[0]);
    mio_trainer_release(trainers[1]);
    mio_context_release(context);
}
END_TEST

/* ---- run and cancel ---- */

static int32_t stop_at(void *user, const mio_step_report *report)
{
    return report->step == *(uint64_t *)user;
}

START_TEST(run_ends_where_it_should)
{
    mio_context *context = tiny_context(2);
    mio_trainer *trainer;
    uint64_t last = 7;
    ck_assert_msg(!tiny_trainer(context, NULL, &trainer), "%s", mio_last_error());
    ck_assert_int_eq(mio_trainer_set(trainer, "epochs", 1), MIO_OK);
    ck_assert_int_eq(mio_trainer_run(trainer, NULL, NULL), MIO_OK);
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), TINY_STEPS_PER_EPOCH);
    ck_assert_int_eq(mio_trainer_set(trainer, "steps", 10), MIO_OK);
    ck_assert_int_eq(mio_trainer_run(trainer, stop_at, &last), MIO_ERROR_CANCELLED);
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), 7);
    ck_assert_int_eq(mio_trainer_run(trainer, stop_at, &last), MIO_OK);
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), 10);
    ck_assert_int_eq(mio_trainer_run(trainer, NULL, NULL), MIO_OK); /* there is nothing left to do */
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), 10);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

static void *cancel_soon(void *trainer)
{
    const struct timespec pause = {0, 50000000};
    nanosleep(&pause, NULL);
    mio_trainer_cancel(trainer);
    return NULL;
}

static mio_trainer *signalled;

static void on_signal(int number)
{
    (void)number;
    mio_trainer_cancel(signalled);
}

static int32_t cancel_and_end(void *trainer, const mio_step_report *report)
{
    (void)report;
    mio_trainer_cancel(trainer);
    return 1;
}

START_TEST(cancel_ends_the_run)
{
    mio_context *context = tiny_context(2);
    mio_trainer *trainer;
    pthread_t thread;
    ck_assert_msg(!tiny_trainer(context, NULL, &trainer), "%s", mio_last_error());
    ck_assert_int_eq(mio_trainer_set(trainer, "steps", 1e9), MIO_OK);
    ck_assert_int_eq(pthread_create(&thread, NULL, cancel_soon, trainer), 0);
    ck_assert_int_eq(mio_trainer_run(trainer, NULL, NULL), MIO_ERROR_CANCELLED);
    pthread_join(thread, NULL);
    const uint64_t done = mio_trainer_steps_done(trainer);
    mio_trainer_cancel(trainer); /* one that comes early ends the next run */
    ck_assert_int_eq(mio_trainer_run(trainer, NULL, NULL), MIO_ERROR_CANCELLED);
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), done);
    signalled = trainer;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGALRM, &action, NULL);
    raise(SIGALRM);
    ck_assert_int_eq(mio_trainer_run(trainer, NULL, NULL), MIO_ERROR_CANCELLED);
    tiny_run(trainer, 1, NULL); /* single steps are not cancelled */
    ck_assert_int_eq(mio_trainer_run(trainer, cancel_and_end, trainer), MIO_ERROR_CANCELLED);
    ck_assert_int_eq(mio_trainer_set(trainer, "steps", (double)mio_trainer_steps_done(trainer) + 2), MIO_OK);
    ck_assert_int_eq(mio_trainer_run(trainer, NULL, NULL), MIO_OK); /* the request was for the run before */
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* ---- the guard ---- */

static const mio__tensor *find_tensor(const mio_encoder *encoder, const char *name)
{
    const mio__tensor *tensors;
    const size_t count = mio__encoder_tensors(encoder, &tensors);
    for (size_t t = 0; t < count; t++)
        if (!strcmp(tensors[t].name, name))
            return &tensors[t];
    ck_abort_msg("there is no tensor %s", name);
}

/* A step fails, says so with these words, and changes nothing. */
static void check_failure(mio_trainer *trainer, const char *const *words)
{
    size_t count;
    float *before = tiny_tensors(mio_trainer_encoder(trainer), &count);
    mio_step_report report = {.struct_size = sizeof report, .loss = -5};
    const uint64_t done = mio_trainer_steps_done(trainer);
    ck_assert_int_eq(mio_trainer_step(trainer, &report), MIO_ERROR_STATE);
    for (; *words; words++)
        ck_assert_msg(strstr(mio_last_error(), *words) != NULL, "'%s' is not in: %s", *words, mio_last_error());
    ck_assert_double_eq(report.loss, -5);
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), done);
    float *after = tiny_tensors(mio_trainer_encoder(trainer), &count);
    ck_assert_mem_eq(before, after, count * sizeof *before);
    free(before);
    free(after);
}

START_TEST(bad_weight_is_named)
{
    static const char *const words[] = {"step 3", "conv1", NULL};
    mio_context *context = tiny_context(2);
    mio_trainer *trainer;
    ck_assert_msg(!tiny_trainer(context, NULL, &trainer), "%s", mio_last_error());
    tiny_run(trainer, 2, NULL);
    mio_encoder *encoder = mio_trainer_encoder(trainer);
    const mio__tensor *tensors;
    mio__encoder_tensors(encoder, &tensors);
    const mio__tensor *tensor = find_tensor(encoder, "conv1.weight");
    tensor->value[3] = NAN;
    mio__encoder_changed(encoder);
    check_failure(trainer, words);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* Finite weights whose layer overflows: the first layer that sees it is named, and the run goes on once they are
   mended. */
START_TEST(overflow_is_named_and_undone)
{
    static const char *const words[] = {"step 3", "bn2", NULL};
    mio_context *context = tiny_context(2);
    mio_trainer *trainers[2];
    for (size_t i = 0; i < 2; i++) {
        ck_assert_msg(!tiny_trainer(context, NULL, &trainers[i]), "%s", mio_last_error());
        tiny_run(trainers[i], 2, NULL);
    }
    mio_encoder *encoder = mio_trainer_encoder(trainers[1]);
    const mio__tensor *tensor = find_tensor(encoder, "bn1.bias");
    const float kept = tensor->value[0];
    tensor->value[0] = 3e38f;
    mio__encoder_changed(encoder);
    check_failure(trainers[1], words);
    tensor->value[0] = kept;
    mio__encoder_changed(encoder);
    tiny_run(trainers[0], 3, NULL);
    tiny_run(trainers[1], 3, NULL);
    ck_assert(tiny_equal(trainers[0], trainers[1]));
    mio_trainer_release(trainers[0]);
    mio_trainer_release(trainers[1]);
    mio_context_release(context);
}
END_TEST

/* A last batch norm that scales by a denormal leaves projections finite, and their gradients beyond float. */
START_TEST(bad_gradient_is_named)
{
    static const char *const words[] = {"step 1", "gradient", "projector", NULL};
    mio_context *context = tiny_context(2);
    mio_trainer *trainer;
    ck_assert_msg(!tiny_trainer(context, NULL, &trainer), "%s", mio_last_error());
    mio_encoder *encoder = mio_trainer_encoder(trainer);
    float scales[12], zeros[12] = {0};
    for (size_t i = 0; i < 12; i++)
        scales[i] = 1e-41f;
    ck_assert_int_eq(mio_encoder_set_tensor(encoder, "projector.mlp.2.bn_layer.weight", 12, scales), MIO_OK);
    ck_assert_int_eq(mio_encoder_set_tensor(encoder, "projector.mlp.2.bn_layer.bias", 12, zeros), MIO_OK);
    check_failure(trainer, words);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* A deviation below what a float can divide by makes pixels of one channel infinite: the first of them is named. */
START_TEST(bad_pixel_is_named)
{
    static const char *const words[] = {"step 1: the batch: image 0, row 0, column 0, channel 1 is not finite", NULL};
    const double mean[3] = {0}, deviation[3] = {1, 1e-300, 1};
    mio_context *context = tiny_context(2);
    mio_loader *loader;
    mio_dataset *dataset;
    mio_augment *augment;
    mio_encoder *encoder;
    mio_loss *loss;
    mio_optimizer *optimizer;
    mio_schedule *schedule;
    mio_trainer *trainer;
    ck_assert_int_eq(tiny_dataset(context, &dataset), MIO_OK);
    ck_assert_int_eq(mio_augment_create(context, "none", TINY_SIZE, TINY_SIZE, 3, &augment), MIO_OK);
    ck_assert_msg(!mio_augment_set_normalization(augment, 3, mean, deviation), "%s", mio_last_error());
    ck_assert_int_eq(mio_loader_create(dataset, augment, &loader), MIO_OK);
    ck_assert_int_eq(mio_loader_set(loader, "batch_size", TINY_BATCH), MIO_OK);
    ck_assert_int_eq(tiny_encoder(context, 0, &encoder), MIO_OK);
    ck_assert_int_eq(mio_loss_create(context, "mio", &loss), MIO_OK);
    ck_assert_int_eq(mio_optimizer_create(context, "sgd", &optimizer), MIO_OK);
    ck_assert_int_eq(mio_schedule_create(context, "constant", &schedule), MIO_OK);
    ck_assert_int_eq(mio_trainer_create(encoder, loss, optimizer, schedule, loader, &trainer), MIO_OK);
    check_failure(trainer, words);
    mio_trainer_release(trainer);
    mio_schedule_release(schedule);
    mio_optimizer_release(optimizer);
    mio_loss_release(loss);
    mio_encoder_release(encoder);
    mio_loader_release(loader);
    mio_augment_release(augment);
    mio_dataset_release(dataset);
    mio_context_release(context);
}
END_TEST

START_TEST(refusals)
{
    mio_context *context = tiny_context(1);
    const tiny_options options = {0};
    mio_encoder *encoder, *bare;
    mio_builder *builder;
    mio_loss *loss;
    mio_optimizer *optimizer;
    mio_schedule *schedule;
    mio_loader *loader;
    mio_trainer *trainer = NULL;
    ck_assert_int_eq(tiny_encoder(context, 0, &encoder), MIO_OK);
    ck_assert_int_eq(mio_loss_create(context, "mio", &loss), MIO_OK);
    ck_assert_int_eq(mio_optimizer_create(context, "sgd", &optimizer), MIO_OK);
    ck_assert_int_eq(mio_schedule_create(context, "constant", &schedule), MIO_OK);
    ck_assert_int_eq(tiny_loader(context, &options, &loader), MIO_OK);
    ck_assert_int_eq(mio_trainer_create(encoder, NULL, optimizer, schedule, loader, &trainer), MIO_ERROR_ARGUMENT);
    mio_loader_set(loader, "views", 1);
    ck_assert_int_eq(mio_trainer_create(encoder, loss, optimizer, schedule, loader, &trainer), MIO_ERROR_ARGUMENT);
    mio_loader_set(loader, "views", 2);
    ck_assert_int_eq(mio_builder_create(context, 3, TINY_SIZE, TINY_SIZE, &builder), MIO_OK);
    const mio_node pooled = mio_builder_global_average_pool(builder, mio_builder_input(builder));
    ck_assert_int_eq(mio_builder_finish(builder, pooled, -1, &bare), MIO_OK);
    mio_builder_release(builder);
    ck_assert_int_eq(mio_trainer_create(bare, loss, optimizer, schedule, loader, &trainer), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "projector"));
    mio_encoder_release(bare);
    ck_assert_ptr_null(trainer);
    ck_assert_int_eq(mio_trainer_create(encoder, loss, optimizer, schedule, loader, &trainer), MIO_OK);
    mio_loader_set(loader, "batch_size", TINY_COUNT + 1); /* no batch at all */
    ck_assert_int_eq(mio_trainer_step(trainer, NULL), MIO_ERROR_ARGUMENT);
    mio_step_report report = {0};
    ck_assert_int_eq(mio_trainer_step(trainer, &report), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_trainer_step(NULL, NULL), MIO_ERROR_ARGUMENT);
    mio_trainer_release(trainer);
    mio_loader_release(loader);
    mio_schedule_release(schedule);
    mio_optimizer_release(optimizer);
    mio_loss_release(loss);
    mio_encoder_release(encoder);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trainer");
    TCase *tests = tcase_create("trainer");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, loss_falls);
    tcase_add_test(tests, report_is_complete);
    tcase_add_loop_test(tests, bits_do_not_depend_on_threads, 0, 2);
    tcase_add_test(tests, threads_may_change_within_a_run);
    tcase_add_test(tests, views_joined_are_another_run);
    tcase_add_test(tests, run_ends_where_it_should);
    tcase_add_test(tests, cancel_ends_the_run);
    tcase_add_test(tests, bad_weight_is_named);
    tcase_add_test(tests, overflow_is_named_and_undone);
    tcase_add_test(tests, bad_gradient_is_named);
    tcase_add_test(tests, bad_pixel_is_named);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return tiny_main(suite);
}
