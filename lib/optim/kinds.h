/* An optimizer is one row of a table: its name, its parameters, and how one piece of an array is stepped. */
#ifndef MIO_OPTIM_KINDS_H
#define MIO_OPTIM_KINDS_H

#include "core/context.h"
#include "optim/optim_vector.h"

#include <float.h>

/** Every kind's first parameters. */
enum { MIO__OPTIM_LEARNING_RATE, MIO__OPTIM_WEIGHT_DECAY, MIO__OPTIM_EXCLUDE_VECTORS, MIO__OPTIM_OWN };

/** What one array's step is made of, found once a step from the parameters and, where asked for, the norms. */
typedef struct mio__array_step {
    double values_norm, gradient_norm; /* of the values, and of gradient + decay x values */
    double decay;                      /* 0 for excluded arrays */
    int excluded;
    uint64_t number; /* of this step, from 1 */
} mio__array_step;

typedef struct mio__optimizer_kind {
    const char *name;
    const mio__parameter *parameters;
    size_t parameter_count;
    size_t states; /* arrays of state beside each array */
    /** Steps count values; state[i] are the matching pieces of the state arrays. p: the parameters' values. */
    void (*step)(const mio__optimizer_kernels *kernels, const double *p, const mio__array_step *array, size_t count,
                 const float *gradients, float *const state[], float *values);
    /** Index of the boolean parameter that turns exclusions into the authors' rule; 0 if there is none. */
    size_t compatible;
} mio__optimizer_kind;

extern const mio__optimizer_kind mio__optimizer_sgd, mio__optimizer_lars, mio__optimizer_adamw;

/** The rows that every kind's table begins with. */
#define MIO__OPTIM_COMMON(rate, decay, exclude)                                                                        \
    [MIO__OPTIM_LEARNING_RATE] = {"learning_rate",                                                                     \
                                  MIO_PARAMETER_REAL,                                                                  \
                                  rate,                                                                                \
                                  0,                                                                                   \
                                  FLT_MAX,                                                                             \
                                  0,                                                                                   \
                                  0,                                                                                   \
                                  NULL,                                                                                \
                                  "learning rate of the next step; a trainer sets it from its schedule",               \
                                  ""},                                                                                 \
    [MIO__OPTIM_WEIGHT_DECAY] = {"weight_decay",                                                                       \
                                 MIO_PARAMETER_REAL,                                                                   \
                                 decay,                                                                                \
                                 0,                                                                                    \
                                 FLT_MAX,                                                                              \
                                 0,                                                                                    \
                                 0,                                                                                    \
                                 NULL,                                                                                 \
                                 "weight decay of arrays that are not excluded",                                       \
                                 ""},                                                                                  \
    [MIO__OPTIM_EXCLUDE_VECTORS] = {                                                                                   \
        "exclude_vectors",                                                                                             \
        MIO_PARAMETER_BOOLEAN,                                                                                         \
        exclude,                                                                                                       \
        0,                                                                                                             \
        1,                                                                                                             \
        0,                                                                                                             \
        0,                                                                                                             \
        NULL,                                                                                                          \
        "1: arrays of rank 0 or 1 (biases, batch norm) get neither weight decay nor layer adaptation",                 \
        ""}

#endif
