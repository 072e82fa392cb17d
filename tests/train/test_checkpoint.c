#define _DEFAULT_SOURCE /* fork, usleep, mkdtemp, RLIMIT_FSIZE */
#include "tiny.h"

#include "kernels/target.h"
#include "nn/network.h"
#include "train/trainer.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], path[96];

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/mio-checkpoint-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/run.mio", folder);
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static mio_trainer *new_trainer(mio_context *context, const tiny_options *options)
{
    mio_trainer *trainer;
    ck_assert_msg(!tiny_trainer(context, options, &trainer), "%s", mio_last_error());
    return trainer;
}

/* 2N steps equal N, save, load into a fresh trainer, N: at odd places, at an epoch's end, before the first step. */
static const struct {
    size_t before, after;
    tiny_options options;
} runs[] = {
    {3, 6, {.optimizer = "sgd"}},
    {TINY_STEPS_PER_EPOCH, 5, {.optimizer = "lars"}},
    {TINY_STEPS_PER_EPOCH + 1, 7, {.optimizer = "adamw", .prefetch = 2}},
    {0, 3, {.join_views = 1}},
    {2 * TINY_STEPS_PER_EPOCH - 1, 2, {.loss = "nt_xent", .prefetch = 1}},
};

START_TEST(resumed_run_is_the_same_run)
{
    mio_context *contexts[2] = {tiny_context(2), tiny_context(_i % 2 ? 1 : 5)};
    mio_trainer *whole = new_trainer(contexts[0], &runs[_i].options);
    tiny_options other = runs[_i].options;
    other.join_views = 0; /* the checkpoint brings it */
    double losses[2][16];
    tiny_run(whole, runs[_i].before, NULL);
    ck_assert_msg(!mio_trainer_save(whole, path), "%s", mio_last_error());
    tiny_run(whole, runs[_i].after, losses[0]);

    mio_context_set(contexts[1], "seed", 99); /* nothing of the fresh trainer's own start remains */
    mio_trainer *resumed = new_trainer(contexts[1], &other);
    tiny_run(resumed, 2, NULL);
    ck_assert_msg(!mio_trainer_restore(resumed, path), "%s", mio_last_error());
    ck_assert_uint_eq(mio_trainer_steps_done(resumed), runs[_i].before);
    tiny_run(resumed, runs[_i].after, losses[1]);
    ck_assert_mem_eq(losses[0], losses[1], runs[_i].after * sizeof(double));
    ck_assert(tiny_equal(whole, resumed));
    ck_assert_uint_eq(mio_trainer_steps_done(whole), mio_trainer_steps_done(resumed));
    mio_trainer_release(whole);
    mio_trainer_release(resumed);
    mio_context_release(contexts[0]);
    mio_context_release(contexts[1]);
}
END_TEST

START_TEST(saving_changes_nothing)
{
    mio_context *context = tiny_context(2);
    mio_trainer *trainers[2] = {new_trainer(context, NULL), new_trainer(context, NULL)};
    for (size_t i = 0; i < 6; i++) {
        tiny_run(trainers[0], 1, NULL);
        tiny_run(trainers[1], 1, NULL);
        ck_assert_int_eq(mio_trainer_save(trainers[1], path), MIO_OK);
    }
    ck_assert(tiny_equal(trainers[0], trainers[1]));
    mio_trainer_release(trainers[0]);
    mio_trainer_release(trainers[1]);
    mio_context_release(context);
}
END_TEST

START_TEST(parameters_come_back)
{
    mio_context *context = tiny_context(1);
    mio_trainer *saved = new_trainer(context, NULL), *restored = new_trainer(context, NULL);
    double value;
    ck_assert_int_eq(mio_trainer_set(saved, "epochs", 7), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(saved, "join_views", 1), MIO_OK);
    ck_assert_int_eq(mio_trainer_save(saved, path), MIO_OK);
    ck_assert_int_eq(mio_trainer_restore(restored, path), MIO_OK);
    ck_assert_int_eq(mio_trainer_get(restored, "join_views", &value), MIO_OK);
    ck_assert_double_eq(value, 1);
    ck_assert_int_eq(mio_trainer_get(restored, "epochs", &value), MIO_OK);
    ck_assert_double_eq(value, 100); /* how far to go is the host's to say */
    mio_trainer_release(saved);
    mio_trainer_release(restored);
    mio_context_release(context);
}
END_TEST

static void count_precision_warnings(void *user, int32_t level, const char *message)
{
    *(size_t *)user += level == MIO_LOG_WARNING && strstr(message, "another precision") != NULL;
}

/* A run of a CPU with bf16 goes on, in fp32 where this one has none. The checkpoint is made here by claiming bf16. */
START_TEST(precision_that_this_cpu_lacks)
{
    size_t warnings = 0;
    const mio_log log = {sizeof log, &warnings, count_precision_warnings};
    mio_context_options hooks = {.struct_size = sizeof hooks, .log = &log};
    mio_context *context;
    ck_assert_int_eq(mio_context_create_with(&hooks, &context), MIO_OK);
    mio_trainer *saved = new_trainer(context, NULL), *restored = new_trainer(context, NULL);
    tiny_run(saved, 2, NULL);
    mio_encoder *encoder = mio_trainer_encoder(saved);
    size_t index = 0;
    mio_parameter_info info = {.struct_size = sizeof info};
    while (!mio_encoder_parameter(encoder, index, &info) && strcmp(info.name, "precision"))
        index++;
    encoder->settings.values[index] = 1;
    ck_assert_int_eq(mio_trainer_save(saved, path), MIO_OK);
    encoder->settings.values[index] = 0;
    ck_assert_msg(!mio_trainer_restore(restored, path), "%s", mio_last_error());
    double precision;
    ck_assert_int_eq(mio_encoder_get(mio_trainer_encoder(restored), "precision", &precision), MIO_OK);
    ck_assert(precision == mio__target_has_bf16());
    ck_assert_uint_eq(warnings, !mio__target_has_bf16());
    ck_assert_uint_eq(mio_trainer_steps_done(restored), 2);
    ck_assert_int_eq(mio_encoder_set(mio_trainer_encoder(restored), "precision", 0), MIO_OK);
    ck_assert(tiny_equal(saved, restored));
    tiny_run(saved, 1, NULL);
    tiny_run(restored, 1, NULL);
    ck_assert(tiny_equal(saved, restored));
    mio_trainer_release(saved);
    mio_trainer_release(restored);
    mio_context_release(context);
}
END_TEST

/* Saved behind the end of an epoch that a larger batch has shortened: both go on with the next one. */
START_TEST(batch_size_changes_in_mid_epoch)
{
    mio_context *context = tiny_context(2);
    mio_trainer *saved = new_trainer(context, NULL), *restored = new_trainer(context, NULL);
    double losses[2][3];
    tiny_run(saved, TINY_STEPS_PER_EPOCH - 1, NULL);
    ck_assert_int_eq(mio_loader_set(saved->loader, "batch_size", 2 * TINY_BATCH), MIO_OK);
    ck_assert_int_eq(mio_trainer_save(saved, path), MIO_OK);
    ck_assert_msg(!mio_trainer_restore(restored, path), "%s", mio_last_error());
    tiny_run(saved, 3, losses[0]);
    tiny_run(restored, 3, losses[1]);
    ck_assert_mem_eq(losses[0], losses[1], sizeof losses[0]);
    ck_assert(tiny_equal(saved, restored));
    mio_trainer_release(saved);
    mio_trainer_release(restored);
    mio_context_release(context);
}
END_TEST

START_TEST(encoder_can_be_loaded_from_it)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer = new_trainer(context, NULL);
    mio_encoder *encoder;
    size_t counts[2];
    tiny_run(trainer, 3, NULL);
    ck_assert_int_eq(mio_trainer_save(trainer, path), MIO_OK);
    ck_assert_msg(!mio_encoder_load(context, path, &encoder), "%s", mio_last_error());
    float *a = tiny_tensors(encoder, &counts[0]), *b = tiny_tensors(mio_trainer_encoder(trainer), &counts[1]);
    ck_assert_uint_eq(counts[0], counts[1]);
    ck_assert_mem_eq(a, b, counts[0] * sizeof *a);
    free(a);
    free(b);
    mio_encoder_release(encoder);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* ---- refusals leave the trainer as it was ---- */

/* A restore from `path` that fails with this status; the run then goes on as one that never tried. */
static void check_refused(const tiny_options *options, mio_status expected)
{
    mio_context *context = tiny_context(2);
    mio_trainer *tried = new_trainer(context, options), *control = new_trainer(context, options);
    tiny_run(tried, 3, NULL);
    tiny_run(control, 3, NULL);
    ck_assert_msg(mio_trainer_restore(tried, path) == expected, "%s", mio_last_error());
    ck_assert_uint_eq(mio_trainer_steps_done(tried), 3);
    ck_assert(tiny_equal(tried, control));
    tiny_run(tried, 3, NULL);
    tiny_run(control, 3, NULL);
    ck_assert(tiny_equal(tried, control));
    mio_trainer_release(tried);
    mio_trainer_release(control);
    mio_context_release(context);
}

static void save_run(const tiny_options *options)
{
    mio_context *context = tiny_context(2);
    mio_trainer *trainer = new_trainer(context, options);
    tiny_run(trainer, 5, NULL);
    ck_assert_msg(!mio_trainer_save(trainer, path), "%s", mio_last_error());
    mio_trainer_release(trainer);
    mio_context_release(context);
}

/* The arrays that patterns exclude are the host's choice, and must be the same again. */
START_TEST(other_exclusions_are_refused)
{
    static const char *const patterns[] = {"projector"};
    mio_context *context = tiny_context(1);
    mio_trainer *saved = new_trainer(context, NULL), *plain = new_trainer(context, NULL),
                *same = new_trainer(context, NULL);
    ck_assert_int_eq(mio_optimizer_set_exclusions(saved->optimizer, 1, patterns), MIO_OK);
    ck_assert_int_eq(mio_optimizer_set_exclusions(same->optimizer, 1, patterns), MIO_OK);
    tiny_run(saved, 2, NULL);
    ck_assert_int_eq(mio_trainer_save(saved, path), MIO_OK);
    ck_assert_int_eq(mio_trainer_restore(plain, path), MIO_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "exclusions"));
    ck_assert_int_eq(mio_trainer_restore(same, path), MIO_OK);
    tiny_run(saved, 2, NULL);
    tiny_run(same, 2, NULL);
    ck_assert(tiny_equal(saved, same));
    mio_trainer_release(saved);
    mio_trainer_release(plain);
    mio_trainer_release(same);
    mio_context_release(context);
}
END_TEST

START_TEST(other_parts_are_refused)
{
    static const tiny_options others[] = {{.width = 16}, {.optimizer = "lars"}, {.loss = "nt_xent"}};
    save_run(&others[_i]);
    mio_context *context = tiny_context(1);
    mio_trainer *trainer = new_trainer(context, NULL);
    const mio_status status = mio_trainer_restore(trainer, path);
    ck_assert_msg(status == MIO_ERROR_ARGUMENT || status == MIO_ERROR_FORMAT, "%d: %s", status, mio_last_error());
    mio_trainer_release(trainer);
    mio_context_release(context);
    check_refused(NULL, status);
}
END_TEST

START_TEST(an_encoder_file_is_no_checkpoint)
{
    mio_context *context = tiny_context(1);
    mio_encoder *encoder;
    ck_assert_int_eq(tiny_encoder(context, 0, &encoder), MIO_OK);
    ck_assert_int_eq(mio_encoder_save(encoder, path), MIO_OK);
    mio_encoder_release(encoder);
    mio_context_release(context);
    check_refused(NULL, MIO_ERROR_FORMAT);
}
END_TEST

START_TEST(damage_is_refused)
{
    save_run(NULL);
    FILE *file = fopen(path, "r+b");
    ck_assert_ptr_nonnull(file);
    fseek(file, 0, SEEK_END);
    const long size = ftell(file), places[] = {size / 7, size / 2, size * 9 / 10};
    if (_i < 3) { /* one byte changed */
        fseek(file, places[_i], SEEK_SET);
        const int byte = fgetc(file);
        fseek(file, places[_i], SEEK_SET);
        fputc(byte ^ 0x10, file);
        fclose(file);
    } else { /* cut short */
        fclose(file);
        ck_assert_int_eq(truncate(path, _i == 3 ? size - 1 : size / 3), 0);
    }
    check_refused(NULL, MIO_ERROR_FORMAT);
}
END_TEST

START_TEST(missing_file_is_an_io_error)
{
    check_refused(NULL, MIO_ERROR_IO);
}
END_TEST

/* ---- the old checkpoint survives ---- */

static uint64_t steps_in_checkpoint(void)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer = new_trainer(context, NULL);
    ck_assert_msg(!mio_trainer_restore(trainer, path), "%s", mio_last_error());
    const uint64_t steps = mio_trainer_steps_done(trainer);
    mio_trainer_release(trainer);
    mio_context_release(context);
    return steps;
}

static void save_forever(void)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer = new_trainer(context, NULL);
    for (;;) {
        tiny_run(trainer, 1, NULL);
        if (mio_trainer_save(trainer, path))
            _exit(1);
    }
}

START_TEST(killed_process_leaves_a_checkpoint)
{
    save_run(NULL); /* 5 steps */
    for (unsigned round = 0; round < 20; round++) {
        const pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (!child)
            save_forever();
        usleep(20000 + 1777 * round);
        kill(child, SIGKILL);
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSIGNALED(status));
        ck_assert_uint_ge(steps_in_checkpoint(), 1);
    }
}
END_TEST

START_TEST(full_disk_leaves_the_old_checkpoint)
{
    save_run(NULL);
    struct stat file;
    ck_assert_int_eq(stat(path, &file), 0);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (!child) { /* files may not grow to a checkpoint's size here */
        const struct rlimit limit = {(rlim_t)file.st_size / 2, (rlim_t)file.st_size / 2};
        signal(SIGXFSZ, SIG_IGN);
        mio_context *context = tiny_context(1);
        mio_trainer *trainer = new_trainer(context, NULL);
        tiny_run(trainer, 1, NULL);
        setrlimit(RLIMIT_FSIZE, &limit);
        _exit(mio_trainer_save(trainer, path) == MIO_ERROR_IO ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_uint_eq(steps_in_checkpoint(), 5);
    char command[160];
    snprintf(command, sizeof command, "test $(ls -A %s | wc -l) = 1", folder);
    ck_assert_msg(system(command) == 0, "a temporary file was left behind");
}
END_TEST

START_TEST(no_folder_is_an_io_error)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer = new_trainer(context, NULL);
    ck_assert_int_eq(mio_trainer_save(trainer, "/nonexistent/folder/run.mio"), MIO_ERROR_IO);
    ck_assert_int_eq(mio_trainer_save(trainer, NULL), MIO_ERROR_ARGUMENT);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *tests = tcase_create("checkpoint");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, resumed_run_is_the_same_run, 0, sizeof runs / sizeof *runs);
    tcase_add_test(tests, saving_changes_nothing);
    tcase_add_test(tests, parameters_come_back);
    tcase_add_test(tests, precision_that_this_cpu_lacks);
    tcase_add_test(tests, batch_size_changes_in_mid_epoch);
    tcase_add_test(tests, encoder_can_be_loaded_from_it);
    tcase_add_loop_test(tests, other_parts_are_refused, 0, 3);
    tcase_add_test(tests, other_exclusions_are_refused);
    tcase_add_test(tests, an_encoder_file_is_no_checkpoint);
    tcase_add_loop_test(tests, damage_is_refused, 0, 5);
    tcase_add_test(tests, missing_file_is_an_io_error);
    tcase_add_test(tests, killed_process_leaves_a_checkpoint);
    tcase_add_test(tests, full_disk_leaves_the_old_checkpoint);
    tcase_add_test(tests, no_folder_is_an_io_error);
    suite_add_tcase(suite, tests);
    return tiny_main(suite);
}
