/* libmio: what every header shares: symbol visibility, status codes, the last error, named parameters.

   Ownership: an object that a call gives through a pointer argument is the caller's, who gives it back by the noun's
   _release; it keeps alive what it was made from. An object that a call returns is borrowed, but what _retain returns
   is an owner more. Texts are borrowed either way. Arrays are the caller's, and read or written during the call alone, unless it says
   otherwise. */
#ifndef MIO_COMMON_H
#define MIO_COMMON_H

#include <stddef.h>
#include <stdint.h>

#define MIO_VERSION_MAJOR 0
#define MIO_VERSION_MINOR 1
#define MIO_VERSION_PATCH 0

#if defined(_WIN32) && defined(MIO_BUILD)
#define MIO_API __declspec(dllexport)
#elif defined(__GNUC__) && defined(MIO_BUILD)
#define MIO_API __attribute__((visibility("default")))
#else
#define MIO_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Result of every call that can fail. The values are part of the ABI. */
typedef enum mio_status {
    MIO_OK = 0,                /**< success */
    MIO_ERROR_ARGUMENT = 1,    /**< an argument or an input value is refused; nothing was changed */
    MIO_ERROR_MEMORY = 2,      /**< the allocator returned NULL */
    MIO_ERROR_IO = 3,          /**< the operating system refused to open, read, write or rename */
    MIO_ERROR_FORMAT = 4,      /**< a file is truncated, corrupt or of another kind */
    MIO_ERROR_UNSUPPORTED = 5, /**< this build or this CPU lacks the feature */
    MIO_ERROR_STATE = 6,       /**< another call must come first, or a value that the object holds or has just
                                    computed is not finite */
    MIO_ERROR_CANCELLED = 7,   /**< a cancel request or a callback ended the call */
    MIO_ERROR_COMM = 8,        /**< reserved for training on several machines; no call returns it yet */
    MIO_ERROR_INTERNAL = 9     /**< a defect in libmio */
} mio_status;

/** Name of a status ("MIO_ERROR_MEMORY"); "MIO_STATUS_UNKNOWN" for a number outside the enum. Never NULL. */
MIO_API const char *mio_status_name(mio_status status);

/**
 * The calling thread's last failure in words: the culprit and the remedy. Never NULL; "" before any failure. Success
 * does not clear it. The text is valid until the thread's next failure. Read it on the thread that made the call,
 * before that thread calls libmio again: a runtime that moves work between threads must stay on that thread until it
 * has copied the text.
 */
MIO_API const char *mio_last_error(void);

/** Version of the library at run time: major << 16 | minor << 8 | patch. */
MIO_API uint32_t mio_version(void);

/** What kind of number a named parameter holds. */
typedef enum mio_parameter_kind {
    MIO_PARAMETER_REAL = 0,    /**< any number within the bounds */
    MIO_PARAMETER_INTEGER = 1, /**< a whole number within the bounds */
    MIO_PARAMETER_BOOLEAN = 2, /**< 0 or 1 */
    MIO_PARAMETER_CHOICE = 3   /**< an index into `choices`; the _set_text calls also accept the choice's name */
} mio_parameter_kind;

/**
 * Description of one named parameter. The caller sets struct_size to sizeof(mio_parameter_info); the library fills as
 * many fields as that covers. The strings live as long as the library.
 */
typedef struct mio_parameter_info {
    size_t struct_size;         /**< sizeof(mio_parameter_info) */
    const char *name;           /**< as the _set and _get calls take it */
    int32_t kind;               /**< a mio_parameter_kind */
    double default_value;       /**< value of a new object */
    double minimum;             /**< -INFINITY where there is none */
    double maximum;             /**< INFINITY where there is none */
    int32_t minimum_exclusive;  /**< 1 if the minimum itself is refused */
    int32_t maximum_exclusive;  /**< 1 if the maximum itself is refused */
    size_t choice_count;        /**< of a choice, else 0 */
    const char *const *choices; /**< their names, by value */
    const char *meaning;        /**< one line */
    const char *unit;           /**< "" where there is none */
} mio_parameter_info;

/** One weight or running statistic. The caller sets struct_size. The name lives as long as its object. */
typedef struct mio_tensor_info {
    size_t struct_size; /**< sizeof(mio_tensor_info) */
    const char *name;   /**< an encoder's are torchvision's, e.g. "layer1.0.conv1.weight" */
    size_t rank;        /**< how many entries of shape count; 0 for a scalar */
    size_t shape[4];    /**< as PyTorch: convolution out, in, kernel, kernel; linear out, in */
    size_t count;       /**< product of the shape */
    int32_t trainable;  /**< 1 for weights, 0 for running statistics */
} mio_tensor_info;

#ifdef __cplusplus
}
#endif
#endif
