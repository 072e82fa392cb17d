/* What the files of the addon share. Every function that index.js calls checks the kinds and lengths of its arguments,
   makes one call of libmio and turns a status that is no success into an Error whose code is the status's name. Handles
   are externals, which give their reference back when they are closed or collected; only index.js sees them, so that
   none is taken for another's. Arrays for results come from index.js too: made here, one that is too large would end
   the process. */
#ifndef MIO_NODE_ADDON_H
#define MIO_NODE_ADDON_H

#define NAPI_VERSION 8
#include <mio/mio.h>
#include <node_api.h>

/* Of the addon alone: node itself exports thousands of names. */
#pragma GCC visibility push(hidden)

enum { ARGUMENTS = 12, TEXTS = 3, TEXT_SIZE = 4096 };

/* One call from JavaScript. Once failed is set an exception is pending, and the function returns at once. */
typedef struct call {
    napi_env env;
    napi_value arguments[ARGUMENTS];
    int failed, texts;
    char text[TEXTS][TEXT_SIZE];
} call;

void begin(call *c, napi_env env, napi_callback_info info);
/* A TypeError: an argument of another kind. */
void refuse(call *c, const char *what);
/* A RangeError: a number, a length or a shape that does not fit. */
void refuse_size(call *c, const char *what);
void refuse_memory(call *c);
/* Of a call of libmio; an exception of JavaScript's that led to the failure stays. */
void check(call *c, mio_status status);

/* ---- arguments, by their index ---- */

napi_valuetype kind_of(const call *c, size_t index);
int is_absent(const call *c, size_t index);
void *handle(call *c, size_t index);
void *handle_or_null(call *c, size_t index);
double number(call *c, size_t index);
size_t size(call *c, size_t index);
const char *text(call *c, size_t index);
const char *text_or_null(call *c, size_t index);
/* count values of a typed array; NULL where there is none. */
void *array(call *c, size_t index, napi_typedarray_type type, size_t count);
void *needed(call *c, size_t index, napi_typedarray_type type, size_t count);
/* Of a typed array: doubles if it holds doubles, else floats. */
napi_typedarray_type type_of(const call *c, size_t index);
/* Product of extents, at most 2^53. */
size_t product(call *c, const size_t *extents, size_t count);
size_t area(call *c, size_t rows, size_t columns);

/* ---- results ---- */

typedef void (*release_function)(void *object);

napi_value of_number(const call *c, double value);
napi_value of_text(const call *c, const char *value);
/* Takes the reference over. bytes: what the object holds, so that the collector hurries where it is much. */
napi_value of_handle(call *c, void *object, release_function release, int64_t bytes);
void put(const call *c, napi_value object, const char *name, napi_value value);
/* Any object's: before it is collected. */
napi_value close_object(napi_env env, napi_callback_info info);

/* ---- calls on threads of their own ---- */

/* A call that another thread makes, on copies of JavaScript's memory and references of its own. */
typedef struct task {
    const char *name;
    mio_status (*run)(void *what);
    napi_value (*answer)(call *c, void *what); /* once it has succeeded; NULL: out of memory */
    void (*release)(napi_env env, void *what);
} task;

/* Takes `what` over; returns the promise of the end. */
napi_value start_task(call *c, const task *kind, void *what);

/* ---- losses of JavaScript's own ---- */

/* The function that a custom loss calls until leave(): an argument of the call, so that it lives as long. */
typedef struct own_function {
    napi_env env;
    napi_value function;
    napi_typedarray_type type;
    size_t values;
    const void *z[2];  /* NULL but while the function runs */
    void *gradient[2]; /* NULL where none is wanted */
    double *value;
    int answered;
    struct own_function *outer; /* of the call whose function makes this one */
} own_function;

/* Brackets every call of libmio that may compute a loss. */
void enter(call *c, size_t index, own_function *own);
void leave(const own_function *own);

/* ---- nouns ---- */

/* How a noun gives its reference back, and what it weighs. */
#define NOUN(noun, weight)                                                                                             \
    void release_##noun(void *object)                                                                                  \
    {                                                                                                                  \
        mio_##noun##_release(object);                                                                                  \
    }                                                                                                                  \
    int64_t bytes_of_##noun(const mio_##noun *object)                                                                  \
    {                                                                                                                  \
        (void)object;                                                                                                  \
        return weight;                                                                                                 \
    }

#define DECLARE_NOUN(noun)                                                                                             \
    void release_##noun(void *object);                                                                                 \
    int64_t bytes_of_##noun(const mio_##noun *object);

DECLARE_NOUN(context)
DECLARE_NOUN(builder)
DECLARE_NOUN(encoder)
DECLARE_NOUN(dataset)
DECLARE_NOUN(augment)
DECLARE_NOUN(loader)
DECLARE_NOUN(loss)
DECLARE_NOUN(optimizer)
DECLARE_NOUN(schedule)
DECLARE_NOUN(recipe)
DECLARE_NOUN(trainer)
DECLARE_NOUN(knn)
DECLARE_NOUN(probe)
DECLARE_NOUN(finetune)

/* noun_set and noun_get. */
#define PARAMETERS(noun)                                                                                               \
    static napi_value noun##_set(napi_env env, napi_callback_info info)                                                \
    {                                                                                                                  \
        call c;                                                                                                        \
        begin(&c, env, info);                                                                                          \
        void *object = handle(&c, 0);                                                                                  \
        const char *name = text(&c, 1);                                                                                \
        const int words = kind_of(&c, 2) == napi_string;                                                               \
        const char *value = words ? text(&c, 2) : NULL;                                                                \
        const double plain = words ? 0 : number(&c, 2);                                                                \
        if (!c.failed)                                                                                                 \
            check(&c, words ? mio_##noun##_set_text(object, name, value) : mio_##noun##_set(object, name, plain));     \
        return NULL;                                                                                                   \
    }                                                                                                                  \
    static napi_value noun##_get(napi_env env, napi_callback_info info)                                                \
    {                                                                                                                  \
        call c;                                                                                                        \
        begin(&c, env, info);                                                                                          \
        void *object = handle(&c, 0);                                                                                  \
        const char *name = text(&c, 1);                                                                                \
        double value = 0;                                                                                              \
        if (!c.failed)                                                                                                 \
            check(&c, mio_##noun##_get(object, name, &value));                                                         \
        return c.failed ? NULL : of_number(&c, value);                                                                 \
    }

/* A function that makes an object: its arguments, and the call. */
#define MAKER(noun, function, declarations, status)                                                                    \
    static napi_value function(napi_env env, napi_callback_info info)                                                  \
    {                                                                                                                  \
        call c;                                                                                                        \
        mio_##noun *made = NULL;                                                                                       \
        begin(&c, env, info);                                                                                          \
        declarations;                                                                                                  \
        if (!c.failed)                                                                                                 \
            check(&c, status);                                                                                         \
        return of_handle(&c, made, release_##noun, c.failed ? 0 : bytes_of_##noun(made));                              \
    }

/* A function that only changes something, fills an array or writes a file. */
#define CALLER(function, declarations, status)                                                                         \
    static napi_value function(napi_env env, napi_callback_info info)                                                  \
    {                                                                                                                  \
        call c;                                                                                                        \
        begin(&c, env, info);                                                                                          \
        declarations;                                                                                                  \
        if (!c.failed)                                                                                                 \
            check(&c, status);                                                                                         \
        return NULL;                                                                                                   \
    }

/* Name of the kind at an index; null past the last. */
#define NAMES(function, name_at)                                                                                       \
    static napi_value function(napi_env env, napi_callback_info info)                                                  \
    {                                                                                                                  \
        call c;                                                                                                        \
        begin(&c, env, info);                                                                                          \
        const size_t index = size(&c, 0);                                                                              \
        return c.failed ? NULL : of_text(&c, name_at(index));                                                          \
    }

/* ---- the module: one list a file ---- */

typedef struct entry {
    const char *name; /* NULL ends the list */
    napi_callback function;
} entry;

#define ENTRY(function)                                                                                                \
    {                                                                                                                  \
#function, function                                                                                            \
    }

extern const entry context_entries[], encoder_entries[], data_entries[], augment_entries[], loss_entries[],
    optim_entries[], analysis_entries[], train_entries[], evaluate_entries[];

#pragma GCC visibility pop

#endif
