/* The internal thread pool: what parallel_for runs on when the host gives no executor. */
#ifndef MIO_CORE_THREADS_H
#define MIO_CORE_THREADS_H

#include <mio/context.h>

typedef struct mio__pool mio__pool;

/** A pool without threads; they start when work first asks for them. NULL when out of memory. */
mio__pool *mio__pool_create(const mio_allocator *allocator);
/** Ends the threads. No work may be running. */
void mio__pool_destroy(mio__pool *pool);
/**
 * mio_executor's parallel_for: the caller and up to count - 1 pool threads share the tasks. May be called from several
 * threads at once. A thread that cannot be started is done without: the caller then does its share.
 */
void mio__pool_parallel_for(void *pool, size_t count, mio_task task, void *argument);

#endif
