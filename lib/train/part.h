/* The named parameters of a run's parts, whatever the part is: for checkpoints and recipes. */
#ifndef MIO_TRAIN_PART_H
#define MIO_TRAIN_PART_H

#include "core/settings.h"

#include <mio/train.h>

/** The parameter functions of one noun, on an object of it. */
typedef struct mio__part_functions {
    size_t (*count)(const void *object);
    mio_status (*info)(const void *object, size_t index, mio_parameter_info *info);
    mio_status (*get)(const void *object, const char *parameter, double *value);
    mio_status (*set)(void *object, const char *parameter, double value);
    mio_status (*set_text)(void *object, const char *parameter, const char *text);
} mio__part_functions;

extern const mio__part_functions mio__part_encoder, mio__part_loss, mio__part_optimizer, mio__part_schedule,
    mio__part_augment, mio__part_loader, mio__part_trainer;
/** On bare mio__settings. */
extern const mio__part_functions mio__part_settings;

/** An object with its prefix: "loss". */
typedef struct mio__part {
    const char *name;
    void *object;
    const mio__part_functions *functions;
} mio__part;

/** Reads every parameter. values: at least MIO__SETTINGS_LIMIT. */
void mio__part_read(const mio__part *part, double *values);
/** Sets every parameter, as read from an object of the same kind; on failure the first ones are set. */
mio_status mio__part_write(const mio__part *part, const double *values);
/** Index of a parameter, or the count where there is none of that name. */
size_t mio__part_find(const mio__part *part, const char *parameter);
/** Name of the parameter at index, which exists. */
const char *mio__part_parameter(const mio__part *part, size_t index);

#endif
