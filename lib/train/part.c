#include "train/part.h"

#include <string.h>

/* The public functions, with the object's type forgotten. */
#define PART_FUNCTIONS(noun)                                                                                           \
    static size_t noun##_count(const void *object)                                                                     \
    {                                                                                                                  \
        return mio_##noun##_parameter_count(object);                                                                   \
    }                                                                                                                  \
    static mio_status noun##_info(const void *object, size_t index, mio_parameter_info *info)                          \
    {                                                                                                                  \
        return mio_##noun##_parameter(object, index, info);                                                            \
    }                                                                                                                  \
    static mio_status noun##_get(const void *object, const char *parameter, double *value)                             \
    {                                                                                                                  \
        return mio_##noun##_get(object, parameter, value);                                                             \
    }                                                                                                                  \
    static mio_status noun##_set(void *object, const char *parameter, double value)                                    \
    {                                                                                                                  \
        return mio_##noun##_set(object, parameter, value);                                                             \
    }                                                                                                                  \
    static mio_status noun##_set_text(void *object, const char *parameter, const char *text)                           \
    {                                                                                                                  \
        return mio_##noun##_set_text(object, parameter, text);                                                         \
    }                                                                                                                  \
    const mio__part_functions mio__part_##noun = {noun##_count, noun##_info, noun##_get, noun##_set, noun##_set_text}

PART_FUNCTIONS(encoder);
PART_FUNCTIONS(loss);
PART_FUNCTIONS(optimizer);
PART_FUNCTIONS(schedule);
PART_FUNCTIONS(augment);
PART_FUNCTIONS(loader);
PART_FUNCTIONS(trainer);

static size_t settings_count(const void *object)
{
    return ((const mio__settings *)object)->count;
}

static mio_status settings_info(const void *object, size_t index, mio_parameter_info *info)
{
    return mio__settings_info(object, index, info);
}

static mio_status settings_get(const void *object, const char *parameter, double *value)
{
    return mio__settings_get(object, parameter, value);
}

static mio_status settings_set(void *object, const char *parameter, double value)
{
    return mio__settings_set(object, parameter, value);
}

static mio_status settings_set_text(void *object, const char *parameter, const char *text)
{
    return mio__settings_set_text(object, parameter, text);
}

const mio__part_functions mio__part_settings = {settings_count, settings_info, settings_get, settings_set,
                                                settings_set_text};

const char *mio__part_parameter(const mio__part *part, size_t index)
{
    mio_parameter_info info = {.struct_size = sizeof info};
    part->functions->info(part->object, index, &info);
    return info.name;
}

size_t mio__part_find(const mio__part *part, const char *parameter)
{
    const size_t count = part->functions->count(part->object);
    size_t i = 0;
    while (i < count && strcmp(mio__part_parameter(part, i), parameter))
        i++;
    return i;
}

void mio__part_read(const mio__part *part, double *values)
{
    for (size_t i = 0; i < part->functions->count(part->object); i++)
        part->functions->get(part->object, mio__part_parameter(part, i), &values[i]);
}

mio_status mio__part_write(const mio__part *part, const double *values)
{
    mio_status status = MIO_OK;
    for (size_t i = 0; !status && i < part->functions->count(part->object); i++)
        status = part->functions->set(part->object, mio__part_parameter(part, i), values[i]);
    return status;
}
