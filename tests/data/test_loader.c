#define _POSIX_C_SOURCE 200809L
#include "support/allocator.h"

#include <check.h>
#include <math.h>
#include <mio/augment.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COUNT = 23, SIDE = 12, CHANNELS = 3, VIEW = SIDE * SIDE * CHANNELS };

static uint8_t pixels[COUNT * SIDE * SIDE * CHANNELS];
static int32_t labels[COUNT];

/* Once: a loader may be reading already. */
static void fill(void)
{
    if (labels[1])
        return;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; i < COUNT; i++)
        labels[i] = (int32_t)(i % 4);
}

static mio_context *make_context(size_t threads)
{
    mio_context *context = NULL;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    ck_assert_int_eq(mio_context_set(context, "threads", (double)threads), MIO_OK);
    ck_assert_int_eq(mio_context_set(context, "seed", 77), MIO_OK);
    return context;
}

/* A loader of batches of 5 over the pixels above; it alone keeps dataset, augment and context alive. */
static mio_loader *make(size_t threads, size_t prefetch)
{
    fill();
    mio_context *context = make_context(threads);
    mio_dataset *dataset = NULL;
    mio_augment *augment = NULL;
    mio_loader *loader = NULL;
    ck_assert_int_eq(mio_dataset_from_memory(context, COUNT, SIDE, SIDE, CHANNELS, 0, pixels, labels, &dataset),
                     MIO_OK);
    ck_assert_int_eq(mio_augment_create(context, "mio-paper", SIDE, SIDE, CHANNELS, &augment), MIO_OK);
    ck_assert_int_eq(mio_loader_create(dataset, augment, &loader), MIO_OK);
    ck_assert_int_eq(mio_loader_set(loader, "batch_size", 5), MIO_OK);
    ck_assert_int_eq(mio_loader_set(loader, "prefetch", (double)prefetch), MIO_OK);
    mio_dataset_release(dataset);
    mio_augment_release(augment);
    mio_context_release(context);
    return loader;
}

static mio_batch next(mio_loader *loader)
{
    mio_batch batch = {.struct_size = sizeof batch};
    ck_assert_msg(mio_loader_next(loader, &batch) == MIO_OK, "%s", mio_last_error());
    ck_assert(batch.wait_seconds >= 0 && batch.wait_seconds < 60);
    return batch;
}

static uint64_t hash(uint64_t seed, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++)
        seed = (seed ^ at[i]) * UINT64_C(0x100000001b3);
    return seed;
}

/* A number for everything that a batch holds. */
static uint64_t digest(const mio_batch *batch)
{
    uint64_t sum = hash(14695981039346656037u, &batch->epoch, sizeof batch->epoch);
    sum = hash(sum, &batch->step, sizeof batch->step);
    sum = hash(sum, batch->images, batch->views * batch->count * VIEW * sizeof(float));
    sum = hash(sum, batch->indices, batch->count * sizeof *batch->indices);
    return hash(sum, batch->labels, batch->count * sizeof *batch->labels);
}

START_TEST(an_epoch_covers_every_image_once)
{
    mio_loader *loader = make(2, 2);
    ck_assert_int_eq(mio_loader_set(loader, "drop_last", 0), MIO_OK);
    uint64_t steps = 0;
    ck_assert_int_eq(mio_loader_steps_per_epoch(loader, &steps), MIO_OK);
    ck_assert_uint_eq(steps, 5);
    size_t order[2][COUNT];
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        int seen[COUNT] = {0};
        size_t total = 0;
        for (uint64_t step = 0; step < steps; step++) {
            const mio_batch batch = next(loader);
            ck_assert_uint_eq(batch.epoch, epoch);
            ck_assert_uint_eq(batch.step, step);
            ck_assert_uint_eq(batch.views, 2);
            ck_assert_uint_eq(batch.count, step < 4 ? 5 : 3);
            for (size_t i = 0; i < batch.count; i++) {
                seen[batch.indices[i]]++;
                order[epoch][total++] = batch.indices[i];
                ck_assert_int_eq(batch.labels[i], labels[batch.indices[i]]);
            }
        }
        for (size_t i = 0; i < COUNT; i++)
            ck_assert_int_eq(seen[i], 1);
    }
    ck_assert_mem_ne(order[0], order[1], sizeof order[0]);
    mio_loader_release(loader);
}
END_TEST

START_TEST(drop_last_leaves_the_rest_out)
{
    mio_loader *loader = make(1, 2);
    uint64_t steps = 0;
    ck_assert_int_eq(mio_loader_steps_per_epoch(loader, &steps), MIO_OK);
    ck_assert_uint_eq(steps, 4);
    for (size_t i = 0; i < 9; i++) {
        const mio_batch batch = next(loader);
        ck_assert_uint_eq(batch.count, 5);
        ck_assert_uint_eq(batch.epoch, i / 4);
        ck_assert_uint_eq(batch.step, i % 4);
    }
    mio_loader_release(loader);
}
END_TEST

START_TEST(batches_hold_the_views_of_their_images)
{
    mio_loader *loader = make(2, 1);
    ck_assert_int_eq(mio_loader_set(loader, "views", 3), MIO_OK);
    ck_assert_int_eq(mio_loader_seek(loader, 2, 1), MIO_OK);
    mio_context *context = make_context(1);
    mio_augment *augment = NULL;
    ck_assert_int_eq(mio_augment_create(context, "mio-paper", SIDE, SIDE, CHANNELS, &augment), MIO_OK);
    const mio_batch batch = next(loader);
    for (size_t v = 0; v < 3; v++)
        for (size_t i = 0; i < batch.count; i++) {
            float view[VIEW];
            ck_assert_int_eq(mio_augment_apply(augment, 77, 2, batch.indices[i], v, SIDE, SIDE, 0,
                                               pixels + batch.indices[i] * VIEW, view),
                             MIO_OK);
            ck_assert_mem_eq(view, batch.images + (v * batch.count + i) * VIEW, sizeof view);
        }
    mio_augment_release(augment);
    mio_context_release(context);
    mio_loader_release(loader);
}
END_TEST

START_TEST(batches_depend_on_neither_threads_nor_prefetch)
{
    enum { BATCHES = 11 };
    uint64_t wanted[BATCHES];
    for (size_t threads = 1; threads <= 5; threads += threads == 1 ? 1 : 3)
        for (size_t prefetch = 0; prefetch <= 3; prefetch += prefetch ? 2 : 1) {
            mio_loader *loader = make(threads, prefetch);
            ck_assert_int_eq(mio_loader_set(loader, "drop_last", 0), MIO_OK);
            for (size_t i = 0; i < BATCHES; i++) {
                const mio_batch batch = next(loader);
                if (threads == 1 && prefetch == 0)
                    wanted[i] = digest(&batch);
                else
                    ck_assert_uint_eq(digest(&batch), wanted[i]);
            }
            mio_loader_release(loader);
        }
}
END_TEST

START_TEST(seeking_equals_walking)
{
    uint64_t walked[10];
    mio_loader *loader = make(3, 2);
    for (size_t i = 0; i < 10; i++) {
        const mio_batch batch = next(loader);
        walked[i] = digest(&batch);
    }
    const size_t places[] = {0, 9, 3, 4, 5, 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        ck_assert_int_eq(mio_loader_seek(loader, places[i] / 4, places[i] % 4), MIO_OK);
        for (size_t j = places[i]; j < 10 && j < places[i] + 2; j++) {
            const mio_batch batch = next(loader);
            ck_assert_uint_eq(digest(&batch), walked[j]);
        }
    }
    ck_assert_int_eq(mio_loader_seek(loader, 0, 4), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loader_seek(loader, UINT64_C(1) << 32, 0), MIO_ERROR_ARGUMENT);
    const mio_batch after = next(loader);
    ck_assert_uint_eq(after.step, 3); /* refused: it went on from 1, 2 */
    mio_loader_release(loader);
}
END_TEST

START_TEST(seed_and_shuffle_are_obeyed)
{
    mio_loader *loader = make(2, 2);
    double seed = 0;
    ck_assert_int_eq(mio_loader_get(loader, "seed", &seed), MIO_OK);
    ck_assert_double_eq(seed, 77);
    mio_batch batch = next(loader);
    const uint64_t first = digest(&batch);
    ck_assert_int_eq(mio_loader_set(loader, "seed", 78), MIO_OK);
    ck_assert_int_eq(mio_loader_seek(loader, 0, 0), MIO_OK);
    batch = next(loader);
    ck_assert_uint_ne(digest(&batch), first);
    ck_assert_int_eq(mio_loader_set(loader, "seed", 77), MIO_OK);
    ck_assert_int_eq(mio_loader_seek(loader, 0, 0), MIO_OK);
    batch = next(loader);
    ck_assert_uint_eq(digest(&batch), first);
    ck_assert_int_eq(mio_loader_set_text(loader, "shuffle", "false"), MIO_OK);
    batch = next(loader);
    ck_assert_uint_eq(batch.step, 1);
    for (size_t i = 0; i < 5; i++)
        ck_assert_uint_eq(batch.indices[i], 5 + i);
    mio_loader_release(loader);
}
END_TEST

START_TEST(a_held_batch_stays_untouched)
{
    mio_loader *loader = make(2, 3);
    next(loader);
    const mio_batch held = next(loader);
    const uint64_t before = digest(&held);
    const struct timespec pause = {0, 30000000};
    nanosleep(&pause, NULL); /* the producer fills what it may */
    ck_assert_uint_eq(digest(&held), before);
    ck_assert_int_eq(mio_loader_set(loader, "batch_size", 7), MIO_OK);
    ck_assert_int_eq(mio_loader_seek(loader, 0, 0), MIO_OK);
    ck_assert_uint_eq(digest(&held), before);
    ck_assert_uint_eq(next(loader).count, 7);
    mio_loader_release(loader);
}
END_TEST

START_TEST(parameters_change_between_batches)
{
    mio_loader *loader = make(2, 2);
    ck_assert_int_eq(mio_loader_seek(loader, 1, 3), MIO_OK);
    ck_assert_int_eq(mio_loader_set(loader, "batch_size", 11), MIO_OK); /* two steps an epoch: 3 is past the end */
    mio_batch batch = next(loader);
    ck_assert_uint_eq(batch.epoch, 2);
    ck_assert_uint_eq(batch.step, 0);
    ck_assert_int_eq(mio_loader_set(loader, "prefetch", 0), MIO_OK);
    ck_assert_int_eq(mio_loader_set(loader, "views", 1), MIO_OK);
    batch = next(loader);
    ck_assert_uint_eq(batch.step, 1);
    ck_assert_uint_eq(batch.views, 1);
    ck_assert_int_eq(mio_loader_set(loader, "batch_size", 24), MIO_OK);
    uint64_t steps = 9;
    ck_assert_int_eq(mio_loader_steps_per_epoch(loader, &steps), MIO_ERROR_ARGUMENT);
    ck_assert_uint_eq(steps, 9);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "23 images"));
    ck_assert_int_eq(mio_loader_next(loader, &batch), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loader_set(loader, "drop_last", 0), MIO_OK);
    ck_assert_uint_eq(next(loader).count, COUNT);
    mio_loader_release(loader);
}
END_TEST

START_TEST(threads_may_change_while_it_reads_ahead)
{
    fill();
    mio_context *context = make_context(2);
    mio_dataset *dataset = NULL;
    mio_augment *augment = NULL;
    mio_loader *loader = NULL, *reference = make(1, 0);
    ck_assert_int_eq(mio_dataset_from_memory(context, COUNT, SIDE, SIDE, CHANNELS, 0, pixels, labels, &dataset),
                     MIO_OK);
    ck_assert_int_eq(mio_augment_create(context, "mio-paper", SIDE, SIDE, CHANNELS, &augment), MIO_OK);
    ck_assert_int_eq(mio_loader_create(dataset, augment, &loader), MIO_OK);
    ck_assert_int_eq(mio_loader_set(loader, "batch_size", 5), MIO_OK);
    for (size_t i = 0; i < 12; i++) {
        ck_assert_int_eq(mio_context_set(context, "threads", (double)(i * 3 % 7 + 1)), MIO_OK);
        const mio_batch batch = next(loader), wanted = next(reference);
        ck_assert_uint_eq(digest(&batch), digest(&wanted));
    }
    mio_loader_release(loader);
    mio_loader_release(reference);
    mio_augment_release(augment);
    mio_dataset_release(dataset);
    mio_context_release(context);
}
END_TEST

START_TEST(release_while_producing)
{
    for (size_t i = 0; i < 40; i++) {
        mio_loader *loader = make(2, 1 + i % 4);
        for (size_t j = 0; j < i % 3; j++)
            next(loader);
        if (i % 5 == 0)
            ck_assert_int_eq(mio_loader_seek(loader, 1, 0), MIO_OK);
        mio_loader_retain(loader);
        mio_loader_release(loader);
        mio_loader_release(loader);
    }
    mio_loader_release(NULL);
}
END_TEST

static pthread_t interrupted;

static void note_thread(int signal_number)
{
    (void)signal_number;
    interrupted = pthread_self();
}

START_TEST(signals_stay_with_the_host)
{
    mio_loader *loader = make(2, 3);
    const struct sigaction action = {.sa_handler = note_thread};
    ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
    for (size_t i = 0; i < 50; i++) {
        interrupted = (pthread_t)0;
        next(loader);
        ck_assert_int_eq(kill(getpid(), SIGUSR1), 0);
        while (!*(volatile pthread_t *)&interrupted)
            ;
        ck_assert(pthread_equal(interrupted, pthread_self()));
    }
    mio_loader_release(loader);
}
END_TEST

#ifndef __SANITIZE_THREAD__ /* which cannot follow a fork of several threads */
START_TEST(a_forked_child_goes_on)
{
    mio_loader *loader = make(2, 2), *reference = make(1, 0);
    next(loader);
    next(reference);
    const mio_batch wanted = next(reference);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (!child) {
        mio_batch batch = {.struct_size = sizeof batch};
        alarm(20);
        const int fine = mio_loader_next(loader, &batch) == MIO_OK && digest(&batch) == digest(&wanted);
        mio_loader_release(loader);
        mio_loader_release(reference);
        _exit(fine ? 0 : 1);
    }
    int code = -1;
    ck_assert_int_eq(waitpid(child, &code, 0), child);
    ck_assert_int_eq(code, 0);
    const mio_batch batch = next(loader);
    ck_assert_uint_eq(digest(&batch), digest(&wanted));
    mio_loader_release(loader);
    mio_loader_release(reference);
}
END_TEST
#endif

START_TEST(arguments_are_refused)
{
    mio_loader *loader = make(1, 0), *other = NULL;
    mio_context *context = make_context(1);
    mio_dataset *dataset = NULL;
    mio_augment *augment = NULL;
    ck_assert_int_eq(mio_dataset_from_memory(context, COUNT, SIDE, SIDE, CHANNELS, 0, pixels, NULL, &dataset), MIO_OK);
    ck_assert_int_eq(mio_augment_create(context, "none", SIDE, SIDE, 1, &augment), MIO_OK);
    ck_assert_int_eq(mio_loader_create(dataset, augment, &other), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "channels"));
    ck_assert_int_eq(mio_loader_create(NULL, augment, &other), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loader_create(dataset, NULL, &other), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loader_create(dataset, augment, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_null(other);
    mio_batch batch = {.struct_size = 8};
    ck_assert_int_eq(mio_loader_next(loader, &batch), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "sizeof(mio_batch)"));
    ck_assert_int_eq(mio_loader_next(loader, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loader_next(NULL, &batch), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loader_seek(NULL, 0, 0), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loader_set(loader, "batch_size", 0), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loader_set(loader, "views", 17), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loader_set(loader, "batchsize", 1), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loader_set(NULL, "views", 1), MIO_ERROR_ARGUMENT);
    ck_assert_uint_eq(mio_loader_parameter_count(loader), 6);
    mio_parameter_info info = {.struct_size = sizeof info};
    ck_assert_int_eq(mio_loader_parameter(loader, 2, &info), MIO_OK);
    ck_assert_str_eq(info.name, "seed");
    ck_assert_double_eq(info.default_value, 77);
    mio_augment_release(augment);
    mio_dataset_release(dataset);
    mio_context_release(context);
    mio_loader_release(loader);
}
END_TEST

START_TEST(contradictory_augment_is_reported)
{
    fill();
    mio_context *context = make_context(2);
    mio_dataset *dataset = NULL;
    mio_augment *augment = NULL;
    mio_loader *loader = NULL;
    ck_assert_int_eq(mio_dataset_from_memory(context, COUNT, SIDE, SIDE, CHANNELS, 0, pixels, NULL, &dataset), MIO_OK);
    ck_assert_int_eq(mio_augment_create(context, "none", 4, 4, CHANNELS, &augment), MIO_OK);
    ck_assert_int_eq(mio_augment_set(augment, "crop_ratio_min", 2), MIO_OK);
    ck_assert_int_eq(mio_loader_create(dataset, augment, &loader), MIO_OK);
    ck_assert_int_eq(mio_loader_set(loader, "batch_size", 5), MIO_OK);
    mio_batch batch = {.struct_size = sizeof batch};
    ck_assert_int_eq(mio_loader_next(loader, &batch), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "crop_ratio_min"));
    ck_assert_int_eq(mio_augment_set(augment, "crop_ratio_min", 1), MIO_OK);
    ck_assert_int_eq(next(loader).labels[0], -1);
    mio_loader_release(loader);
    mio_augment_release(augment);
    mio_dataset_release(dataset);
    mio_context_release(context);
}
END_TEST

/* ---- memory ---- */

/* Two batches of a loader from nothing; returns the first failure. */
static mio_status walk(mio_context *context)
{
    mio_dataset *dataset = NULL;
    mio_augment *augment = NULL;
    mio_loader *loader = NULL;
    mio_status status = mio_dataset_from_memory(context, COUNT, SIDE, SIDE, CHANNELS, 0, pixels, labels, &dataset);
    if (!status)
        status = mio_augment_create(context, "mio-paper", SIDE, SIDE, CHANNELS, &augment);
    if (!status)
        status = mio_loader_create(dataset, augment, &loader);
    if (!status)
        status = mio_loader_set(loader, "batch_size", 5);
    for (size_t i = 0; !status && i < 2; i++) {
        mio_batch batch = {.struct_size = sizeof batch};
        status = mio_loader_next(loader, &batch);
        if (status) {
            ck_assert_ptr_nonnull(strstr(mio_last_error(), "out of memory"));
            ck_assert_int_eq(mio_loader_next(loader, &batch), MIO_OK); /* one refusal only: it recovers */
            ck_assert_uint_eq(batch.step, i);
        }
    }
    mio_loader_release(loader);
    mio_augment_release(augment);
    mio_dataset_release(dataset);
    return status;
}

START_TEST(memory_runs_out_cleanly)
{
    fill();
    for (size_t threads = 1; threads <= 2; threads++) {
        test_allocator allocator;
        test_allocator_init(&allocator);
        mio_context *context = test_allocator_context(&allocator, threads);
        ck_assert_ptr_nonnull(context);
        const size_t blocks = atomic_load(&allocator.blocks);
        mio_status status = MIO_ERROR_MEMORY;
        size_t n = 1;
        for (; status; n++) {
            ck_assert_uint_lt(n, 60);
            test_allocator_fail_at(&allocator, n);
            status = walk(context);
            ck_assert(status == MIO_OK || status == MIO_ERROR_MEMORY);
            ck_assert_uint_eq(atomic_load(&allocator.blocks), blocks);
        }
        ck_assert_uint_gt(n, 10);
        mio_context_release(context);
        ck_assert_uint_eq(atomic_load(&allocator.blocks), 0);
        ck_assert_uint_eq(atomic_load(&allocator.mistakes), 0);
    }
}
END_TEST

START_TEST(the_steady_state_allocates_nothing)
{
    fill();
    for (size_t threads = 1; threads <= 2; threads++) {
        test_allocator allocator;
        test_allocator_init(&allocator);
        mio_context *context = test_allocator_context(&allocator, threads);
        mio_dataset *dataset = NULL;
        mio_augment *augment = NULL;
        mio_loader *loader = NULL;
        ck_assert_int_eq(mio_dataset_from_memory(context, COUNT, SIDE, SIDE, CHANNELS, 0, pixels, labels, &dataset),
                         MIO_OK);
        ck_assert_int_eq(mio_augment_create(context, "mio-paper", SIDE, SIDE, CHANNELS, &augment), MIO_OK);
        ck_assert_int_eq(mio_loader_create(dataset, augment, &loader), MIO_OK);
        ck_assert_int_eq(mio_loader_set(loader, "batch_size", 5), MIO_OK);
        next(loader);
        const size_t requests = atomic_load(&allocator.requests);
        for (size_t i = 0; i < 20; i++)
            next(loader);
        ck_assert_uint_eq(atomic_load(&allocator.requests), requests);
        mio_loader_release(loader);
        mio_augment_release(augment);
        mio_dataset_release(dataset);
        mio_context_release(context);
        ck_assert_uint_eq(atomic_load(&allocator.blocks), 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loader");
    TCase *tests = tcase_create("loader");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, an_epoch_covers_every_image_once);
    tcase_add_test(tests, drop_last_leaves_the_rest_out);
    tcase_add_test(tests, batches_hold_the_views_of_their_images);
    tcase_add_test(tests, batches_depend_on_neither_threads_nor_prefetch);
    tcase_add_test(tests, seeking_equals_walking);
    tcase_add_test(tests, seed_and_shuffle_are_obeyed);
    tcase_add_test(tests, a_held_batch_stays_untouched);
    tcase_add_test(tests, parameters_change_between_batches);
    tcase_add_test(tests, threads_may_change_while_it_reads_ahead);
    tcase_add_test(tests, release_while_producing);
    tcase_add_test(tests, signals_stay_with_the_host);
#ifndef __SANITIZE_THREAD__
    tcase_add_test(tests, a_forked_child_goes_on);
#endif
    tcase_add_test(tests, arguments_are_refused);
    tcase_add_test(tests, contradictory_augment_is_reported);
    tcase_add_test(tests, memory_runs_out_cleanly);
    tcase_add_test(tests, the_steady_state_allocates_nothing);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
