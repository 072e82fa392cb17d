/* libmio: the context holds everything that reaches outside the library: memory, threads, the log; and the seed. */
#ifndef MIO_CONTEXT_H
#define MIO_CONTEXT_H

#include <mio/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Root of every other object. Reference-counted; objects made from it keep it alive. */
typedef struct mio_context mio_context;

/**
 * Memory hook. Both functions may be called from several threads concurrently. alloc returns NULL when out of
 * memory; the alignment is a power of two. free receives the size and alignment that alloc was called with, and
 * never NULL.
 */
typedef struct mio_allocator {
    size_t struct_size;                                                     /**< sizeof(mio_allocator) */
    void *user;                                                             /**< handed to both functions */
    void *(*alloc)(void *user, size_t size, size_t alignment);              /**< NULL when out of memory */
    void (*free)(void *user, void *pointer, size_t size, size_t alignment); /**< gives a block back */
} mio_allocator;

/** One piece of parallel work: index runs over 0 .. count-1. */
typedef void (*mio_task)(void *argument, size_t index);

/**
 * Thread hook: parallel_for calls task(argument, index) once for every index below count and returns when all have
 * returned. The tasks may run in any order, serially or on any threads; they never wait for each other. It may be
 * called from several threads concurrently.
 */
typedef struct mio_executor {
    size_t struct_size;                                                            /**< sizeof(mio_executor) */
    void *user;                                                                    /**< handed to parallel_for */
    void (*parallel_for)(void *user, size_t count, mio_task task, void *argument); /**< runs all tasks */
} mio_executor;

/** Severity of a log message. */
typedef enum mio_log_level {
    MIO_LOG_ERROR = 0,
    MIO_LOG_WARNING = 1,
    MIO_LOG_INFO = 2,
    MIO_LOG_DEBUG = 3
} mio_log_level;

/** Log hook: one formatted line without its newline. May be called from several threads concurrently. */
typedef struct mio_log {
    size_t struct_size;                                            /**< sizeof(mio_log) */
    void *user;                                                    /**< handed to write */
    void (*write)(void *user, int32_t level, const char *message); /**< level is a mio_log_level */
} mio_log;

/** Hooks, given once at creation and copied; a NULL member takes the library's own. */
typedef struct mio_context_options {
    size_t struct_size;             /**< sizeof(mio_context_options) */
    const mio_allocator *allocator; /**< default: the C library's heap */
    const mio_executor *executor;   /**< default: an internal pool of `threads` threads */
    const mio_log *log;             /**< default: no log */
} mio_context_options;

/**
 * Makes a context with the library's own memory and threads, and no log.
 * Errors: MIO_ERROR_ARGUMENT (context NULL), MIO_ERROR_MEMORY.
 * Thread-safety: safe.
 */
MIO_API mio_status mio_context_create(mio_context **context);

/** As mio_context_create, with hooks. NULL options equal mio_context_create. */
MIO_API mio_status mio_context_create_with(const mio_context_options *options, mio_context **context);

/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_context *mio_context_retain(mio_context *context);

/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_context_release(mio_context *context);

/**
 * Sets a named parameter: "threads" (how many threads the internal pool uses, and into how many workers the work is
 * cut under a host's executor; results do not depend on it) or "seed" (the root of every random stream).
 * Errors: MIO_ERROR_ARGUMENT names the parameter and its bounds.
 * Thread-safety: only while no other call runs in the context; a loader may be reading ahead.
 */
MIO_API mio_status mio_context_set(mio_context *context, const char *parameter, double value);
/** As mio_context_set, from text: a number, "true"/"false", or the name of a choice. */
MIO_API mio_status mio_context_set_text(mio_context *context, const char *parameter, const char *text);
/** Reads a named parameter. Thread-safety: not while one is set. */
MIO_API mio_status mio_context_get(const mio_context *context, const char *parameter, double *value);
/** Number of named parameters. */
MIO_API size_t mio_context_parameter_count(const mio_context *context);
/** Describes the parameter at index; info->struct_size must be set. Errors: MIO_ERROR_ARGUMENT past the last one. */
MIO_API mio_status mio_context_parameter(const mio_context *context, size_t index, mio_parameter_info *info);

/**
 * Name of the instruction set that the kernels use ("avx512", "avx2", "generic"), decided once per process from
 * libxsmm's target. Bits of results may differ between targets. Never NULL.
 */
MIO_API const char *mio_context_target(const mio_context *context);

#ifdef __cplusplus
}
#endif
#endif
