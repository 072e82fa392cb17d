#define _GNU_SOURCE /* sched_getaffinity */
#include "core/context.h"

#include "core/threads.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PARAMETER_THREADS, PARAMETER_SEED, PARAMETER_COUNT };

struct mio_context {
    mio__references references;
    mio_allocator allocator;
    mio_executor executor;
    mio_log log;
    mio__pool *pool; /* NULL under a host's executor */
    mio__settings settings;
    /* A loader may be reading it ahead while the host, between its calls, sets it. */
    atomic_size_t threads;
};

static const mio__parameter parameters[PARAMETER_COUNT] = {
    [PARAMETER_THREADS] = {"threads", MIO_PARAMETER_INTEGER, 1, 1, 1024, 0, 0, NULL,
                           "threads of the internal pool, or workers under a host's executor", "threads"},
    [PARAMETER_SEED] = {"seed", MIO_PARAMETER_INTEGER, 0, 0, 9007199254740992.0, 0, 1, NULL,
                        "root of every random stream", ""},
};

void mio__references_init(mio__references *references)
{
    atomic_init(references, 1);
}

void mio__references_take(mio__references *references)
{
    atomic_fetch_add_explicit(references, 1, memory_order_relaxed);
}

int mio__references_drop(mio__references *references)
{
    return atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel) == 1;
}

/* ---- defaults of the hooks ---- */

/* Large blocks ask for large pages, as a wish: weights that stream through the cache cost a tenth more without. */
enum { LARGE_PAGE = 1 << 21 };

static void *heap_alloc(void *user, size_t size, size_t alignment)
{
    (void)user;
    void *pointer;
    const size_t least = size >= LARGE_PAGE ? LARGE_PAGE : sizeof(void *);
    if (posix_memalign(&pointer, alignment < least ? least : alignment, size))
        return NULL;
#ifdef MADV_HUGEPAGE
    if (size >= LARGE_PAGE)
        madvise(pointer, size / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE);
#endif
    return pointer;
}

static void heap_free(void *user, void *pointer, size_t size, size_t alignment)
{
    (void)user, (void)size, (void)alignment;
    free(pointer);
}

/* CPUs that this process may run on. */
static size_t available_cpus(void)
{
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) > 0)
        return (size_t)CPU_COUNT(&set);
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : online < 1024 ? (size_t)online : 1024;
}

/* ---- creation ---- */

/* Copies the hooks over the defaults. A hook whose struct_size does not reach its last function is refused. */
static mio_status take_hooks(const mio_context_options *options, mio_allocator *allocator, mio_executor *executor,
                             mio_log *log)
{
    if (!options)
        return MIO_OK;
    mio_context_options given;
    mio_status status =
        mio__struct_take(&given, sizeof given, options, MIO__UP_TO(mio_context_options, log), "mio_context_options");
    if (!status && given.allocator) {
        status = mio__struct_take(allocator, sizeof *allocator, given.allocator, MIO__UP_TO(mio_allocator, free),
                                  "mio_allocator");
        if (!status && (!allocator->alloc || !allocator->free))
            status = mio__fail(MIO_ERROR_ARGUMENT, "the allocator needs alloc and free");
    }
    if (!status && given.executor) {
        status = mio__struct_take(executor, sizeof *executor, given.executor, MIO__UP_TO(mio_executor, parallel_for),
                                  "mio_executor");
        if (!status && !executor->parallel_for)
            status = mio__fail(MIO_ERROR_ARGUMENT, "the executor needs parallel_for");
    }
    if (!status && given.log) {
        status = mio__struct_take(log, sizeof *log, given.log, MIO__UP_TO(mio_log, write), "mio_log");
        if (!status && !log->write)
            status = mio__fail(MIO_ERROR_ARGUMENT, "the log needs write");
    }
    return status;
}

mio_status mio_context_create(mio_context **context)
{
    return mio_context_create_with(NULL, context);
}

mio_status mio_context_create_with(const mio_context_options *options, mio_context **context)
{
    if (!context)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the new context is NULL");
    mio_allocator allocator = {sizeof allocator, NULL, heap_alloc, heap_free};
    mio_executor executor = {0};
    mio_log log = {0};
    const mio_status status = take_hooks(options, &allocator, &executor, &log);
    if (status)
        return status;
    mio_context *made = allocator.alloc(allocator.user, sizeof *made, 64);
    mio__pool *pool = made && !executor.parallel_for ? mio__pool_create(&allocator) : NULL;
    if (!made || (!executor.parallel_for && !pool)) {
        if (made)
            allocator.free(allocator.user, made, sizeof *made, 64);
        return mio__fail(MIO_ERROR_MEMORY, "out of memory: no room for a context");
    }
    if (pool)
        executor = (mio_executor){sizeof executor, pool, mio__pool_parallel_for};
    mio__references_init(&made->references);
    made->allocator = allocator;
    made->executor = executor;
    made->log = log;
    made->pool = pool;
    mio__settings_init(&made->settings, "context", "", parameters, PARAMETER_COUNT);
    made->settings.values[PARAMETER_THREADS] = (double)available_cpus();
    atomic_init(&made->threads, (size_t)made->settings.values[PARAMETER_THREADS]);
    *context = made;
    return MIO_OK;
}

mio_context *mio_context_retain(mio_context *context)
{
    if (context)
        mio__references_take(&context->references);
    return context;
}

void mio_context_release(mio_context *context)
{
    if (!context || !mio__references_drop(&context->references))
        return;
    mio__pool_destroy(context->pool);
    const mio_allocator allocator = context->allocator;
    allocator.free(allocator.user, context, sizeof *context, 64);
}

/* ---- parameters ---- */

static mio_status apply(mio_context *context, mio_status status)
{
    if (!status)
        atomic_store_explicit(&context->threads, (size_t)context->settings.values[PARAMETER_THREADS],
                              memory_order_relaxed);
    return status;
}

mio_status mio_context_set(mio_context *context, const char *parameter, double value)
{
    return context ? apply(context, mio__settings_set(&context->settings, parameter, value))
                   : mio__settings_null("context");
}

mio_status mio_context_set_text(mio_context *context, const char *parameter, const char *text)
{
    return context ? apply(context, mio__settings_set_text(&context->settings, parameter, text))
                   : mio__settings_null("context");
}

mio_status mio_context_get(const mio_context *context, const char *parameter, double *value)
{
    return context ? mio__settings_get(&context->settings, parameter, value) : mio__settings_null("context");
}

size_t mio_context_parameter_count(const mio_context *context)
{
    return context ? context->settings.count : 0;
}

mio_status mio_context_parameter(const mio_context *context, size_t index, mio_parameter_info *info)
{
    if (!context)
        return mio__settings_null("context");
    const mio_status status = mio__settings_info(&context->settings, index, info);
    /* The default of "threads" is a property of the machine, not of the table. */
    if (!status && index == PARAMETER_THREADS && info->struct_size >= MIO__UP_TO(mio_parameter_info, default_value))
        info->default_value = (double)available_cpus();
    return status;
}

uint64_t mio__seed(const mio_context *context)
{
    return (uint64_t)context->settings.values[PARAMETER_SEED];
}

/* ---- memory: a header before each block remembers its size, which the hook's free wants to know ---- */

enum { ALIGNMENT = 64 };

void *mio__alloc(mio_context *context, size_t size)
{
    char *block =
        size <= SIZE_MAX / 2 ? context->allocator.alloc(context->allocator.user, size + ALIGNMENT, ALIGNMENT) : NULL;
    if (!block) {
        mio__fail(MIO_ERROR_MEMORY, "out of memory: the allocator refused %zu bytes", size);
        return NULL;
    }
    memcpy(block, &size, sizeof size);
    return block + ALIGNMENT;
}

void *mio__alloc_zeroed(mio_context *context, size_t count, size_t element_size)
{
    const size_t size = element_size && count > SIZE_MAX / 2 / element_size ? SIZE_MAX : count * element_size;
    void *pointer = mio__alloc(context, size);
    return pointer ? memset(pointer, 0, size) : NULL;
}

void mio__free(mio_context *context, void *pointer)
{
    if (!pointer)
        return;
    char *block = (char *)pointer - ALIGNMENT;
    size_t size;
    memcpy(&size, block, sizeof size);
    context->allocator.free(context->allocator.user, block, size + ALIGNMENT, ALIGNMENT);
}

mio_status mio__reserve(mio_context *context, void **buffer, size_t *capacity, size_t size)
{
    if (*buffer && size <= *capacity)
        return MIO_OK;
    void *larger = mio__alloc(context, size);
    if (!larger)
        return MIO_ERROR_MEMORY;
    mio__free(context, *buffer);
    *buffer = larger;
    *capacity = size;
    return MIO_OK;
}

mio_status mio__grow(mio_context *context, void **array, size_t *capacity, size_t used, size_t needed,
                     size_t element_size)
{
    if (needed <= *capacity)
        return MIO_OK;
    size_t larger = *capacity ? *capacity : 64;
    while (larger < needed)
        larger = larger <= SIZE_MAX / 4 ? larger * 2 : needed;
    void *grown = mio__alloc(context, larger > SIZE_MAX / 2 / element_size ? SIZE_MAX : larger * element_size);
    if (!grown)
        return MIO_ERROR_MEMORY;
    if (used)
        memcpy(grown, *array, used * element_size);
    mio__free(context, *array);
    *array = grown;
    *capacity = larger;
    return MIO_OK;
}

char *mio__copy_text(mio_context *context, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = mio__alloc(context, size);
    return copy ? memcpy(copy, text, size) : NULL;
}

/* ---- threads ---- */

size_t mio__workers(const mio_context *context)
{
    return atomic_load_explicit(&context->threads, memory_order_relaxed);
}

size_t mio__workers_locked(const mio_context *context)
{
    return context->pool ? mio__workers(context) : 1;
}

typedef struct worker_share {
    mio__work work;
    void *argument;
    size_t items;
    atomic_size_t next;
} worker_share;

static void run_worker(void *argument, size_t worker)
{
    worker_share *share = argument;
    for (;;) {
        const size_t item = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed);
        if (item >= share->items)
            return;
        share->work(share->argument, item, worker);
    }
}

void mio__parallel(mio_context *context, size_t workers, size_t items, mio__work work, void *argument)
{
    worker_share share = {.work = work, .argument = argument, .items = items};
    if (workers > items)
        workers = items;
    if (workers <= 1)
        run_worker(&share, 0);
    else
        context->executor.parallel_for(context->executor.user, workers, run_worker, &share);
}

double mio__seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void mio__log(mio_context *context, mio_log_level level, const char *format, ...)
{
    if (!context->log.write)
        return;
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    context->log.write(context->log.user, level, message);
}
