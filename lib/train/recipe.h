/* Inside of a recipe: the table of their kinds (recipe_table.c), one with what was set on it (recipe.c), and the trainer
   that comes of it (recipe_build.c). */
#ifndef MIO_TRAIN_RECIPE_H
#define MIO_TRAIN_RECIPE_H

#include "core/context.h"
#include "core/settings.h"
#include "train/part.h"

#include <mio/train.h>

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

/** The parts, in the order in which their parameters are listed. */
enum {
    MIO__PART_ENCODER,
    MIO__PART_PROJECTOR,
    MIO__PART_PREDICTOR,
    MIO__PART_LOSS,
    MIO__PART_OPTIMIZER,
    MIO__PART_SCHEDULE,
    MIO__PART_AUGMENT,
    MIO__PART_LOADER,
    MIO__PART_TRAINER,
    MIO__PARTS
};

/** A parameter's name with its prefix, made once and kept: callers hold pointers to it. */
typedef struct mio__known_name {
    struct mio__known_name *next;
    char text[];
} mio__known_name;

/** Who has set a parameter. */
enum { MIO__SET_BY_RECIPE = 1, MIO__SET_BY_CALLER };

/** Parameters are kept in objects of their own kind, from which mio_recipe_build takes those that were set. An augment
   and a loader can only be made for a dataset, so these two are made for one of a single pixel. */
struct mio_recipe {
    mio__references references;
    mio_context *context;
    const mio__recipe_kind *kind;
    mio__settings encoder, projector, predictor, trainer;
    mio_loss *loss;
    mio_optimizer *optimizer;
    mio_schedule *schedule;
    mio_augment *augment;
    mio_loader *loader;
    mio__part parts[MIO__PARTS];
    unsigned char touched[MIO__PARTS][MIO__SETTINGS_LIMIT]; /* by whom; 0: by nobody */
    unsigned char touching;                                 /* who sets parameters now */
    int chosen[MIO__PARTS]; /* another kind than the recipe's: its settings do not apply */
    mio__known_name *names;
};

#endif
