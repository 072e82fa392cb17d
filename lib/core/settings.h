/* Named parameters: one table-driven mechanism for every noun. */
#ifndef MIO_CORE_SETTINGS_H
#define MIO_CORE_SETTINGS_H

#include <mio/common.h>

/** One row of a parameter table. */
typedef struct mio__parameter {
    const char *name;
    mio_parameter_kind kind;
    double initial;
    double minimum, maximum; /* of a choice: ignored */
    int minimum_exclusive, maximum_exclusive;
    const char *const *choices; /* NULL-terminated; choices only */
    const char *meaning;
    const char *unit;
} mio__parameter;

enum { MIO__SETTINGS_LIMIT = 48 };

/** The parameters of one object: the table is shared, the values are its own, in the table's order. */
typedef struct mio__settings {
    const char *noun; /* "loss": for messages */
    const char *name; /* "mio": for messages; "" where the noun has one kind only */
    const mio__parameter *table;
    size_t count;
    /* Refuses a value that the table allows but this machine or object does not; NULL: none is. */
    mio_status (*check)(size_t index, double value);
    double values[MIO__SETTINGS_LIMIT];
} mio__settings;

/** Points settings at a table of at most MIO__SETTINGS_LIMIT rows and takes the initial values. Strings are
    borrowed. */
void mio__settings_init(mio__settings *settings, const char *noun, const char *name, const mio__parameter *table,
                        size_t count);
mio_status mio__settings_set(mio__settings *settings, const char *parameter, double value);
mio_status mio__settings_set_text(mio__settings *settings, const char *parameter, const char *text);
mio_status mio__settings_get(const mio__settings *settings, const char *parameter, double *value);
mio_status mio__settings_info(const mio__settings *settings, size_t index, mio_parameter_info *info);
/** Records that a handle is NULL. */
mio_status mio__settings_null(const char *noun);

/**
 * Defines the five public parameter functions of a noun whose struct mio_<noun> has a member `settings`.
 */
#define MIO__DEFINE_SETTINGS_FUNCTIONS(noun)                                                                           \
    mio_status mio_##noun##_set(mio_##noun *object, const char *parameter, double value)                               \
    {                                                                                                                  \
        return object ? mio__settings_set(&object->settings, parameter, value) : mio__settings_null(#noun);            \
    }                                                                                                                  \
    mio_status mio_##noun##_set_text(mio_##noun *object, const char *parameter, const char *text)                      \
    {                                                                                                                  \
        return object ? mio__settings_set_text(&object->settings, parameter, text) : mio__settings_null(#noun);        \
    }                                                                                                                  \
    mio_status mio_##noun##_get(const mio_##noun *object, const char *parameter, double *value)                        \
    {                                                                                                                  \
        return object ? mio__settings_get(&object->settings, parameter, value) : mio__settings_null(#noun);            \
    }                                                                                                                  \
    size_t mio_##noun##_parameter_count(const mio_##noun *object)                                                      \
    {                                                                                                                  \
        return object ? object->settings.count : 0;                                                                    \
    }                                                                                                                  \
    mio_status mio_##noun##_parameter(const mio_##noun *object, size_t index, mio_parameter_info *info)                \
    {                                                                                                                  \
        return object ? mio__settings_info(&object->settings, index, info) : mio__settings_null(#noun);                \
    }

#endif
