/* The table of recipes. */
#ifndef MIO_TRAIN_RECIPE_H
#define MIO_TRAIN_RECIPE_H

#include "core/settings.h"

/** A parameter, with its part's prefix, that a recipe sets. */
typedef struct mio__recipe_setting {
    const char *parameter;
    double value;
} mio__recipe_setting;

/** One recipe: the kinds of its parts and what it sets otherwise than their defaults. */
typedef struct mio__recipe_kind {
    const char *name, *meaning;
    const char *loss, *optimizer, *schedule, *augment;
    const mio__recipe_setting *settings; /* ended by a NULL parameter */
    const mio__recipe_setting *own;      /* what comes after them, or NULL */
} mio__recipe_kind;

/** Recipe at index, in alphabetical order; NULL past the last one. */
const mio__recipe_kind *mio__recipe_kind_at(size_t index);

/** Parameters of the encoder that a recipe builds, in the table's order. */
enum {
    MIO__RECIPE_DEPTH,
    MIO__RECIPE_BASE_WIDTH,
    MIO__RECIPE_STEM,
    MIO__RECIPE_IMAGENET_STEM_FROM,
    MIO__RECIPE_INITIALIZATION,
    MIO__RECIPE_ALGORITHM,
    MIO__RECIPE_PRECISION,
    MIO__RECIPE_HEIGHT,
    MIO__RECIPE_WIDTH,
    MIO__RECIPE_ENCODER_PARAMETERS
};
extern const mio__parameter mio__recipe_encoder_table[MIO__RECIPE_ENCODER_PARAMETERS];

/** Parameters of its projector. */
enum {
    MIO__RECIPE_LAYERS,
    MIO__RECIPE_HIDDEN,
    MIO__RECIPE_OUT,
    MIO__RECIPE_HIDDEN_NORM,
    MIO__RECIPE_LAST_NORM,
    MIO__RECIPE_PROJECTOR_PARAMETERS
};
extern const mio__parameter mio__recipe_projector_table[MIO__RECIPE_PROJECTOR_PARAMETERS];

/** Parameters of its predictor. */
enum { MIO__RECIPE_PREDICTOR_LAYERS, MIO__RECIPE_PREDICTOR_HIDDEN, MIO__RECIPE_PREDICTOR_PARAMETERS };
extern const mio__parameter mio__recipe_predictor_table[MIO__RECIPE_PREDICTOR_PARAMETERS];

#endif
