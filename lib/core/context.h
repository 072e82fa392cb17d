/* What lies behind mio_context: memory, threads, log, seed, and the reference count that every object has. */
#ifndef MIO_CORE_CONTEXT_H
#define MIO_CORE_CONTEXT_H

#include "core/boundary.h"
#include "core/settings.h"
#include "core/status.h"

#include <mio/context.h>
#include <stdatomic.h>

/** Number of owners of an object. */
typedef atomic_size_t mio__references;

void mio__references_init(mio__references *references);
void mio__references_take(mio__references *references);
/** Returns 1 for the last owner, who must then destroy the object. */
int mio__references_drop(mio__references *references);

/* ---- memory: every byte that the library holds comes through here ---- */

/**
 * size bytes, aligned to 64. NULL when out of memory or when size is beyond half the address space; the failure is then
 * recorded already, and the caller returns MIO_ERROR_MEMORY.
 */
void *mio__alloc(mio_context *context, size_t size);
/** count x element_size bytes of zeros, checked for overflow. */
void *mio__alloc_zeroed(mio_context *context, size_t count, size_t element_size);
/** Gives back what mio__alloc returned. NULL is accepted. */
void mio__free(mio_context *context, void *pointer);
/**
 * Makes *buffer (NULL at first) at least size bytes large; its contents are lost when it grows. On failure the old
 * buffer stays. *capacity is kept by this function.
 */
mio_status mio__reserve(mio_context *context, void **buffer, size_t *capacity, size_t size);
/** Grows *array to hold `needed` elements and keeps the first `used`; doubles, so that appending is cheap. */
mio_status mio__grow(mio_context *context, void **array, size_t *capacity, size_t used, size_t needed,
                     size_t element_size);
/** A copy of a string. */
char *mio__copy_text(mio_context *context, const char *text);

/* ---- threads ---- */

/** Number of workers that parallel work is cut into: scratch memory is sized by it before the work starts. */
size_t mio__workers(const mio_context *context);

/** Workers for work under a lock: 1 under a host's executor, whose threads might meanwhile take up another call that
    waits for the same lock. */
size_t mio__workers_locked(const mio_context *context);

/** One item of parallel work. worker < workers; no two items run at once under one worker number. */
typedef void (*mio__work)(void *argument, size_t item, size_t worker);
/**
 * Calls work for every item below items, on at most `workers` workers, each taking the next free item: which worker
 * does an item, and when, is open, so results must not depend on it. Items never wait for each other. Returns when all
 * are done.
 */
void mio__parallel(mio_context *context, size_t workers, size_t items, mio__work work, void *argument);

/* ---- time, log and seed ---- */

/** Of a clock that nobody sets. */
double mio__seconds(void);
/** Sends one line to the log hook, if there is one. */
__attribute__((format(printf, 3, 4))) void mio__log(mio_context *context, mio_log_level level, const char *format, ...);
/** The root of the context's random streams. */
uint64_t mio__seed(const mio_context *context);

#endif
