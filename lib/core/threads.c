#define _POSIX_C_SOURCE 200809L
#include "core/threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

/* Threads look for work this many times before they sleep: some tens of microseconds. */
enum { SPINS = 2000, THREAD_LIMIT = 1024 };

/* One call of parallel_for. Lives on its caller's stack, linked into the pool while it still has tasks to give. */
typedef struct job {
    struct job *next_job;
    mio_task task;
    void *argument;
    size_t count;
    atomic_size_t next;    /* first task not yet taken */
    atomic_size_t helpers; /* pool threads inside the job */
} job;

struct mio__pool {
    mio_allocator allocator;
    pthread_mutex_t mutex; /* guards jobs, threads, sleepers */
    pthread_cond_t wake;   /* there is a job, or the pool ends */
    pthread_cond_t left;   /* a helper left a job */
    job *jobs;
    atomic_size_t waiting; /* jobs in the list: what idle threads spin on */
    atomic_int ending;
    size_t sleepers;
    size_t thread_count;
    pid_t process; /* a forked child has none of the threads */
    pthread_t threads[THREAD_LIMIT];
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* A monotonic bound on the spinning would cost a clock call each turn; a count of pauses is bounded all the same. */
static int spin_until(atomic_size_t *value, int nonzero)
{
    for (int i = 0; i < SPINS; i++) {
        if ((atomic_load_explicit(value, memory_order_acquire) != 0) == nonzero)
            return 1;
        relax();
    }
    return 0;
}

static void run_tasks(job *work)
{
    for (;;) {
        const size_t index = atomic_fetch_add_explicit(&work->next, 1, memory_order_relaxed);
        if (index >= work->count)
            return;
        work->task(work->argument, index);
    }
}

static int has_tasks(job *work)
{
    return atomic_load_explicit(&work->next, memory_order_relaxed) < work->count;
}

/* Under the mutex. */
static void unlink_job(mio__pool *pool, job *gone)
{
    for (job **link = &pool->jobs; *link; link = &(*link)->next_job)
        if (*link == gone) {
            *link = gone->next_job;
            atomic_fetch_sub_explicit(&pool->waiting, 1, memory_order_relaxed);
            return;
        }
}

/* Under the mutex: the first job with tasks left. Jobs without any are unlinked, so that nobody spins on them. */
static job *find_job(mio__pool *pool)
{
    for (job *work = pool->jobs, *following; work; work = following) {
        following = work->next_job;
        if (has_tasks(work))
            return work;
        unlink_job(pool, work);
    }
    return NULL;
}

static void *pool_thread(void *argument)
{
    mio__pool *pool = argument;
    pthread_mutex_lock(&pool->mutex);
    while (!atomic_load_explicit(&pool->ending, memory_order_relaxed)) {
        job *work = find_job(pool);
        if (work) {
            atomic_fetch_add_explicit(&work->helpers, 1, memory_order_relaxed);
            pthread_mutex_unlock(&pool->mutex);
            run_tasks(work);
            pthread_mutex_lock(&pool->mutex);
            /* The caller may return, and the job be gone, as soon as helpers reaches 0. */
            if (atomic_fetch_sub_explicit(&work->helpers, 1, memory_order_release) == 1)
                pthread_cond_broadcast(&pool->left);
            continue;
        }
        pthread_mutex_unlock(&pool->mutex);
        const int found = spin_until(&pool->waiting, 1);
        pthread_mutex_lock(&pool->mutex);
        if (!found && !find_job(pool) && !atomic_load_explicit(&pool->ending, memory_order_relaxed)) {
            pool->sleepers++;
            pthread_cond_wait(&pool->wake, &pool->mutex);
            pool->sleepers--;
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

mio__pool *mio__pool_create(const mio_allocator *allocator)
{
    mio__pool *pool = allocator->alloc(allocator->user, sizeof *pool, 64);
    if (!pool)
        return NULL;
    pool->allocator = *allocator;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->left, NULL);
    pool->jobs = NULL;
    atomic_init(&pool->waiting, 0);
    atomic_init(&pool->ending, 0);
    pool->sleepers = pool->thread_count = 0;
    pool->process = getpid();
    return pool;
}

void mio__pool_destroy(mio__pool *pool)
{
    if (!pool)
        return;
    if (pool->process == getpid()) {
        pthread_mutex_lock(&pool->mutex);
        atomic_store_explicit(&pool->ending, 1, memory_order_relaxed);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
        /* A spinning thread sees the end after its spin. */
        for (size_t i = 0; i < pool->thread_count; i++)
            pthread_join(pool->threads[i], NULL);
        pthread_cond_destroy(&pool->left);
        pthread_cond_destroy(&pool->wake);
        pthread_mutex_destroy(&pool->mutex);
    }
    pool->allocator.free(pool->allocator.user, pool, sizeof *pool, 64);
}

/* Under the mutex: the host's signals stay with the host's threads. */
static void start_threads(mio__pool *pool, size_t wanted)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->thread_count < wanted && pool->thread_count < THREAD_LIMIT)
        if (pthread_create(&pool->threads[pool->thread_count], NULL, pool_thread, pool))
            break;
        else
            pool->thread_count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void mio__pool_parallel_for(void *argument, size_t count, mio_task task, void *task_argument)
{
    mio__pool *pool = argument;
    job work = {.task = task, .argument = task_argument, .count = count};
    if (count <= 1 || pool->process != getpid()) {
        run_tasks(&work);
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    start_threads(pool, count - 1);
    work.next_job = pool->jobs;
    pool->jobs = &work;
    atomic_fetch_add_explicit(&pool->waiting, 1, memory_order_release);
    if (pool->sleepers)
        pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);

    run_tasks(&work);

    pthread_mutex_lock(&pool->mutex);
    unlink_job(pool, &work); /* no helper can join any more */
    pthread_mutex_unlock(&pool->mutex);
    if (spin_until(&work.helpers, 0))
        return;
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load_explicit(&work.helpers, memory_order_acquire))
        pthread_cond_wait(&pool->left, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}
