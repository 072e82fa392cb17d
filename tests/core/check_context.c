/* The context: hooks, parameters, memory, references; and the thread pool behind it. */
#define _POSIX_C_SOURCE 200809L
#include "suite.h"

#include "core/context.h"
#include "support/allocator.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void assert_words(const char *first, const char *second)
{
    ck_assert_msg(strstr(mio_last_error(), first) && strstr(mio_last_error(), second), "'%s' lacks '%s' or '%s'",
                  mio_last_error(), first, second);
}

/* ---- parallel work that notices mistakes ---- */

enum { ITEM_LIMIT = 5000, WORKER_LIMIT = 64 };

typedef struct probe {
    atomic_int done[ITEM_LIMIT], busy[WORKER_LIMIT];
    atomic_int mistakes; /* two items at once under one worker number, or a number out of range */
    size_t workers;
} probe;

static void probe_item(void *argument, size_t item, size_t worker)
{
    probe *p = argument;
    if (worker >= p->workers || atomic_exchange(&p->busy[worker], 1))
        atomic_fetch_add(&p->mistakes, 1);
    atomic_fetch_add(&p->done[item], 1);
    for (volatile int i = 0; i < 50; i++)
        ;
    atomic_store(&p->busy[worker], 0);
}

/* Runs items on workers; 1 if every item was done exactly once. */
static int parallel_is_right(mio_context *context, size_t workers, size_t items)
{
    probe *p = calloc(1, sizeof *p);
    p->workers = workers;
    mio__parallel(context, workers, items, probe_item, p);
    int right = !p->mistakes;
    for (size_t i = 0; i < ITEM_LIMIT; i++)
        right &= p->done[i] == (i < items);
    free(p);
    return right;
}

static void assert_parallel(mio_context *context)
{
    static const size_t items[] = {0, 1, 2, 3, 7, 100, ITEM_LIMIT};
    static const size_t workers[] = {1, 2, 5, 33};
    for (size_t i = 0; i < 7; i++)
        for (size_t w = 0; w < 4; w++)
            ck_assert_msg(parallel_is_right(context, workers[w], items[i]), "%zu items, %zu workers", items[i],
                          workers[w]);
}

/* ---- creation ---- */

static void *never_alloc(void *user, size_t size, size_t alignment)
{
    (void)user, (void)size, (void)alignment;
    return NULL;
}

static void never_free(void *user, void *pointer, size_t size, size_t alignment)
{
    (void)user, (void)pointer, (void)size, (void)alignment;
}

static void serial_for(void *user, size_t count, mio_task task, void *argument)
{
    (void)user;
    for (size_t i = 0; i < count; i++)
        task(argument, i);
}

static void reversed_for(void *user, size_t count, mio_task task, void *argument)
{
    (void)user;
    while (count-- > 0)
        task(argument, count);
}

typedef struct one_task {
    mio_task task;
    void *argument;
    size_t index;
} one_task;

static void *run_task(void *argument)
{
    const one_task *t = argument;
    t->task(t->argument, t->index);
    return NULL;
}

/* A thread for every task. */
static void threads_for(void *user, size_t count, mio_task task, void *argument)
{
    (void)user;
    pthread_t threads[WORKER_LIMIT];
    one_task tasks[WORKER_LIMIT];
    for (size_t i = 0; i < count; i++) {
        tasks[i] = (one_task){task, argument, i};
        if (pthread_create(&threads[i], NULL, run_task, &tasks[i]))
            abort();
    }
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static char last_line[600];
static int32_t last_level;

static void keep_line(void *user, int32_t level, const char *message)
{
    ++*(int *)user;
    last_level = level;
    snprintf(last_line, sizeof last_line, "%s", message);
}

START_TEST(creation_refuses_bad_hooks)
{
    mio_context *context = NULL;
    ck_assert_int_eq(mio_context_create(NULL), MIO_ERROR_ARGUMENT);
    assert_words("context", "NULL");
    const mio_allocator no_size = {0, NULL, never_alloc, never_free},
                        no_free = {sizeof no_free, NULL, never_alloc, NULL};
    const mio_executor no_call = {sizeof no_call, NULL, NULL}, short_executor = {8, NULL, serial_for};
    const mio_log no_write = {sizeof no_write, NULL, NULL};
    const struct {
        mio_context_options options;
        const char *words[2];
    } bad[] = {
        {{0, NULL, NULL, NULL}, {"options", "struct_size"}},
        {{sizeof(mio_context_options) - 1, NULL, NULL, NULL}, {"options", "struct_size"}},
        {{sizeof(mio_context_options), &no_size, NULL, NULL}, {"allocator", "struct_size"}},
        {{sizeof(mio_context_options), &no_free, NULL, NULL}, {"allocator", "free"}},
        {{sizeof(mio_context_options), NULL, &no_call, NULL}, {"executor", "parallel_for"}},
        {{sizeof(mio_context_options), NULL, &short_executor, NULL}, {"executor", "struct_size"}},
        {{sizeof(mio_context_options), NULL, NULL, &no_write}, {"log", "write"}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(mio_context_create_with(&bad[i].options, &context), MIO_ERROR_ARGUMENT);
        assert_words(bad[i].words[0], bad[i].words[1]);
        ck_assert_ptr_null(context);
    }
    ck_assert_int_eq(mio_context_create_with(NULL, &context), MIO_OK);
    mio_context_release(context);
}
END_TEST

START_TEST(creation_survives_running_out_of_memory)
{
    test_allocator a;
    test_allocator_init(&a);
    const mio_context_options options = {sizeof options, &a.hook, NULL, NULL};
    size_t n = 0;
    mio_context *context = NULL;
    mio_status status;
    do {
        test_allocator_fail_at(&a, ++n);
        status = mio_context_create_with(&options, &context);
        if (status) {
            ck_assert_int_eq(status, MIO_ERROR_MEMORY);
            assert_words("out of memory", "context");
            ck_assert_uint_eq(a.blocks, 0);
            ck_assert_ptr_null(context);
        }
    } while (status && n < 10);
    ck_assert_int_eq(status, MIO_OK);
    ck_assert_uint_gt(n, 1);
    test_allocator_fail_at(&a, 0);
    assert_parallel(context);
    mio_context_release(context);
    ck_assert_uint_eq(a.blocks, 0);
    ck_assert_uint_eq(a.bytes, 0);
    ck_assert_uint_eq(a.mistakes, 0);
}
END_TEST

START_TEST(parameters)
{
    mio_context *context;
    double value;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    ck_assert_uint_eq(mio_context_parameter_count(context), 2);
    ck_assert_int_eq(mio_context_get(context, "threads", &value), MIO_OK);
    ck_assert_double_ge(value, 1);
    ck_assert_uint_eq(mio__workers(context), (size_t)value);
    mio_parameter_info info = {.struct_size = sizeof info};
    ck_assert_int_eq(mio_context_parameter(context, 0, &info), MIO_OK);
    ck_assert_str_eq(info.name, "threads");
    ck_assert_double_eq(info.default_value, value);
    ck_assert_int_eq(mio_context_parameter(context, 1, &info), MIO_OK);
    ck_assert_str_eq(info.name, "seed");
    ck_assert_int_eq(mio_context_parameter(context, 2, &info), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_context_set(context, "threads", 7), MIO_OK);
    ck_assert_uint_eq(mio__workers(context), 7);
    ck_assert_int_eq(mio_context_set_text(context, "threads", "3"), MIO_OK);
    ck_assert_uint_eq(mio__workers(context), 3);
    ck_assert_int_eq(mio_context_set(context, "threads", 0), MIO_ERROR_ARGUMENT);
    assert_words("context: 'threads'", ">= 1 and <= 1024");
    ck_assert_uint_eq(mio__workers(context), 3);
    ck_assert_int_eq(mio_context_set(context, "thread", 1), MIO_ERROR_ARGUMENT);
    assert_words("context has no parameter 'thread'", "threads, seed");
    ck_assert_int_eq(mio_context_set(context, "seed", 9007199254740991.0), MIO_OK);
    ck_assert(mio__seed(context) == UINT64_C(9007199254740991));
    ck_assert_int_eq(mio_context_set(context, "seed", 9007199254740992.0), MIO_ERROR_ARGUMENT);
    assert_words("seed", "9007199254740992");
    ck_assert_int_eq(mio_context_set(context, "seed", -1), MIO_ERROR_ARGUMENT);
    mio_context_release(context);
    ck_assert_int_eq(mio_context_set(NULL, "threads", 1), MIO_ERROR_ARGUMENT);
    assert_words("context", "NULL");
    ck_assert_int_eq(mio_context_set_text(NULL, "threads", "1"), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_context_get(NULL, "threads", &value), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_context_parameter(NULL, 0, &info), MIO_ERROR_ARGUMENT);
    ck_assert_uint_eq(mio_context_parameter_count(NULL), 0);
    ck_assert_ptr_null(mio_context_retain(NULL));
    mio_context_release(NULL);
    ck_assert_ptr_nonnull(mio_context_target(NULL));
}
END_TEST

START_TEST(memory_is_aligned_counted_and_checked)
{
    test_allocator a;
    test_allocator_init(&a);
    mio_context *context = test_allocator_context(&a, 2);
    ck_assert_ptr_nonnull(context);
    const size_t before = a.blocks;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4097};
    void *blocks[6];
    for (int i = 0; i < 6; i++) {
        blocks[i] = mio__alloc(context, sizes[i]);
        ck_assert_ptr_nonnull(blocks[i]);
        ck_assert_uint_eq((uintptr_t)blocks[i] % 64, 0);
        memset(blocks[i], 1, sizes[i]);
    }
    ck_assert_uint_eq(a.blocks, before + 6);
    for (int i = 0; i < 6; i++)
        mio__free(context, blocks[i]);
    mio__free(context, NULL);
    const unsigned char *zeros = mio__alloc_zeroed(context, 10, 7);
    for (int i = 0; i < 70; i++)
        ck_assert_int_eq(zeros[i], 0);
    mio__free(context, (void *)zeros);
    ck_assert_ptr_null(mio__alloc(context, SIZE_MAX));
    assert_words("out of memory", "bytes");
    ck_assert_ptr_null(mio__alloc(context, SIZE_MAX - 64));
    ck_assert_ptr_null(mio__alloc_zeroed(context, SIZE_MAX / 4, 8));
    ck_assert_ptr_null(mio__alloc_zeroed(context, SIZE_MAX, SIZE_MAX));
    char *copy = mio__copy_text(context, "two words");
    ck_assert_str_eq(copy, "two words");
    mio__free(context, copy);
    void *buffer = NULL;
    size_t capacity = 0;
    ck_assert_int_eq(mio__reserve(context, &buffer, &capacity, 100), MIO_OK);
    void *first = buffer;
    ck_assert_int_eq(mio__reserve(context, &buffer, &capacity, 50), MIO_OK);
    ck_assert_ptr_eq(buffer, first);
    test_allocator_fail_at(&a, 1);
    ck_assert_int_eq(mio__reserve(context, &buffer, &capacity, 101), MIO_ERROR_MEMORY);
    ck_assert_ptr_eq(buffer, first);
    ck_assert_uint_eq(capacity, 100);
    ck_assert_int_eq(mio__reserve(context, &buffer, &capacity, 101), MIO_OK);
    ck_assert_uint_eq(capacity, 101);
    mio__free(context, buffer);
    mio_context_release(context);
    ck_assert_uint_eq(a.blocks, 0);
    ck_assert_uint_eq(a.mistakes, 0);
}
END_TEST

START_TEST(host_executors_serve)
{
    static void (*const calls[])(void *, size_t, mio_task, void *) = {serial_for, reversed_for, threads_for};
    const mio_executor executor = {sizeof executor, NULL, calls[_i]};
    const mio_context_options options = {sizeof options, NULL, &executor, NULL};
    mio_context *context;
    ck_assert_int_eq(mio_context_create_with(&options, &context), MIO_OK);
    assert_parallel(context);
    mio_context_release(context);
}
END_TEST

START_TEST(log_gets_lines)
{
    int lines = 0;
    const mio_log log = {sizeof log, &lines, keep_line};
    const mio_context_options options = {sizeof options, NULL, NULL, &log};
    mio_context *context;
    ck_assert_int_eq(mio_context_create_with(&options, &context), MIO_OK);
    mio__log(context, MIO_LOG_WARNING, "epoch %d", 3);
    ck_assert_int_eq(lines, 1);
    ck_assert_int_eq(last_level, MIO_LOG_WARNING);
    ck_assert_str_eq(last_line, "epoch 3");
    mio_context_release(context);
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    mio__log(context, MIO_LOG_ERROR, "nobody listens");
    ck_assert_int_eq(lines, 1);
    mio_context_release(context);
}
END_TEST

/* ---- references and the pool ---- */

static void *retain_and_release(void *argument)
{
    mio_context *context = argument;
    for (int i = 0; i < 20000; i++) {
        mio_context *mine = mio_context_retain(context);
        mio_context_release(mine);
    }
    mio_context_release(context); /* the reference taken for this thread */
    return NULL;
}

START_TEST(references_count_across_threads)
{
    test_allocator a;
    test_allocator_init(&a);
    mio_context *context = test_allocator_context(&a, 2);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, retain_and_release, mio_context_retain(context)), 0);
    mio_context_release(context); /* whoever is last destroys it */
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(a.blocks, 0);
    ck_assert_uint_eq(a.mistakes, 0);
}
END_TEST

START_TEST(pools_come_and_go)
{
    for (int i = 0; i < 300; i++) {
        mio_context *context;
        ck_assert_int_eq(mio_context_create(&context), MIO_OK);
        if (i % 3)
            ck_assert(parallel_is_right(context, 4, 10));
        if (i % 5 == 0)
            nanosleep(&(struct timespec){0, 300000}, NULL); /* the threads have gone to sleep */
        mio_context_release(context);
    }
}
END_TEST

START_TEST(more_threads_than_cores)
{
    mio_context *context;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    for (int i = 0; i < 20; i++)
        ck_assert(parallel_is_right(context, 40, 1000));
    for (size_t workers = 1; workers < 40; workers += 3) /* fewer after more */
        ck_assert(parallel_is_right(context, workers, 100));
    mio_context_release(context);
}
END_TEST

typedef struct crowd_member {
    mio_context *context;
    int right;
} crowd_member;

static void *work_alone(void *argument)
{
    crowd_member *m = argument;
    m->right = 1;
    for (int i = 0; i < 150; i++)
        m->right &= parallel_is_right(m->context, (size_t)(2 + i % 4), (size_t)(1 + i % 97));
    return NULL;
}

START_TEST(one_pool_serves_many_callers)
{
    mio_context *context;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    pthread_t threads[6];
    crowd_member members[6];
    for (int i = 0; i < 6; i++) {
        members[i].context = context;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work_alone, &members[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        ck_assert(members[i].right);
    }
    mio_context_release(context);
}
END_TEST

START_TEST(idle_threads_wake_up)
{
    mio_context *context;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    for (int i = 0; i < 200; i++) {
        ck_assert(parallel_is_right(context, 3, 30));
        nanosleep(&(struct timespec){0, i % 2 ? 1000000 : 50000}, NULL); /* asleep, or about to be */
    }
    mio_context_release(context);
}
END_TEST

/* Sums are written by one pass and read by the next without any lock of their own. */
typedef struct relay {
    double values[64];
} relay;

static void relay_item(void *argument, size_t item, size_t worker)
{
    (void)worker;
    relay *r = argument;
    r->values[item] += 1;
}

START_TEST(a_pass_sees_what_the_last_one_wrote)
{
    mio_context *context;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    relay r = {{0}};
    for (int i = 0; i < 2000; i++)
        mio__parallel(context, 3, 64, relay_item, &r);
    for (int i = 0; i < 64; i++)
        ck_assert_double_eq(r.values[i], 2000);
    mio_context_release(context);
}
END_TEST

START_TEST(a_forked_child_goes_on_alone)
{
    mio_context *context;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    ck_assert(parallel_is_right(context, 4, 100));
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        int right = parallel_is_right(context, 4, 100);
        mio_context_release(context);
#ifndef __SANITIZE_THREAD__ /* which forbids a child threads of its own */
        mio_context *own;
        right &= mio_context_create(&own) == MIO_OK && parallel_is_right(own, 4, 100);
        mio_context_release(own);
#endif
        _exit(right ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert(parallel_is_right(context, 4, 100));
    mio_context_release(context);
}
END_TEST

/* ---- benchmark: what starting and ending one piece of parallel work costs ---- */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

enum { ITEM_MICROSECONDS = 20 };

static void wait_a_little(void *argument, size_t item, size_t worker)
{
    (void)argument, (void)item, (void)worker;
    const double end = seconds() + 1e-6 * ITEM_MICROSECONDS;
    while (seconds() < end)
        ;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int run_benchmarks(void)
{
    enum { REPEATS = 1001 };
    mio_context *context;
    double times[REPEATS];
    if (mio_context_create(&context))
        return 1;
    for (int asleep = 0; asleep < 2; asleep++) {
        for (int i = 0; i < REPEATS; i++) {
            if (asleep)
                nanosleep(&(struct timespec){0, 500000}, NULL);
            const double start = seconds();
            mio__parallel(context, 2, 2, wait_a_little, NULL);
            times[i] = seconds() - start;
        }
        qsort(times, REPEATS, sizeof times[0], compare_doubles);
        printf("2 items of %d us on 2 threads, %s: median %.1f us, 90 %% %.1f us\n", ITEM_MICROSECONDS,
               asleep ? "asleep" : "spinning", 1e6 * times[REPEATS / 2], 1e6 * times[REPEATS * 9 / 10]);
    }
    mio_context_release(context);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench"))
        return run_benchmarks();
    TCase *tests = tcase_create("context");
    tcase_add_test(tests, creation_refuses_bad_hooks);
    tcase_add_test(tests, creation_survives_running_out_of_memory);
    tcase_add_test(tests, parameters);
    tcase_add_test(tests, memory_is_aligned_counted_and_checked);
    tcase_add_loop_test(tests, host_executors_serve, 0, 3);
    tcase_add_test(tests, log_gets_lines);
    tcase_add_test(tests, references_count_across_threads);
    tcase_add_test(tests, pools_come_and_go);
    tcase_add_test(tests, more_threads_than_cores);
    tcase_add_test(tests, one_pool_serves_many_callers);
    tcase_add_test(tests, idle_threads_wake_up);
    tcase_add_test(tests, a_pass_sees_what_the_last_one_wrote);
    tcase_add_test(tests, a_forked_child_goes_on_alone);
    return run_suite(suite_create("context"), tests);
}
