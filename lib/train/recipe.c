#include "train/recipe.h"

#include "core/context.h"
#include "data/augment.h"
#include "data/dataset.h"
#include "train/part.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The parts, in the order in which their parameters are listed. */
enum {
    PART_ENCODER,
    PART_PROJECTOR,
    PART_PREDICTOR,
    PART_LOSS,
    PART_OPTIMIZER,
    PART_SCHEDULE,
    PART_AUGMENT,
    PART_LOADER,
    PART_TRAINER,
    PARTS
};

/* A parameter's name with its prefix, made once and kept: callers hold pointers to it. */
typedef struct known_name {
    struct known_name *next;
    char text[];
} known_name;

/* Who has set a parameter. */
enum { THE_RECIPE = 1, THE_CALLER };

/* Parameters are kept in objects of their own kind, from which mio_recipe_build takes those that were set. An augment
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
    mio__part parts[PARTS];
    unsigned char touched[PARTS][MIO__SETTINGS_LIMIT]; /* by whom; 0: by nobody */
    unsigned char touching;                            /* who sets parameters now */
    int chosen[PARTS];                                 /* another kind than the recipe's: its settings do not apply */
    known_name *names;
};

const char *mio_recipe_name_at(size_t index)
{
    const mio__recipe_kind *kind = mio__recipe_kind_at(index);
    return kind ? kind->name : NULL;
}

const char *mio_recipe_meaning_at(size_t index)
{
    const mio__recipe_kind *kind = mio__recipe_kind_at(index);
    return kind ? kind->meaning : NULL;
}

/* ---- creation ---- */

static const mio__recipe_kind *find_kind(const char *name)
{
    const size_t place = mio__find_name("recipe", name, mio_recipe_name_at);
    return place == MIO__NO_NAME ? NULL : mio__recipe_kind_at(place);
}

static mio_status make_loader(mio_recipe *recipe)
{
    static const uint8_t pixels[3] = {0};
    const size_t channels = recipe->augment->channels;
    mio_dataset *dataset = NULL;
    mio_status status = mio_dataset_from_memory(recipe->context, 1, 1, 1, channels, 0, pixels, NULL, &dataset);
    if (!status)
        status = mio_loader_create(dataset, recipe->augment, &recipe->loader);
    mio_dataset_release(dataset);
    return status;
}

static mio_status make_parts(mio_recipe *recipe)
{
    const mio__recipe_kind *kind = recipe->kind;
    mio__settings_init(&recipe->encoder, "encoder", "", mio__recipe_encoder_table, MIO__RECIPE_ENCODER_PARAMETERS);
    mio__settings_init(&recipe->projector, "projector", "", mio__recipe_projector_table,
                       MIO__RECIPE_PROJECTOR_PARAMETERS);
    mio__settings_init(&recipe->predictor, "predictor", "", mio__recipe_predictor_table,
                       MIO__RECIPE_PREDICTOR_PARAMETERS);
    mio__settings_init(&recipe->trainer, "trainer", "", mio__trainer_table, MIO__TRAINER_PARAMETERS);
    mio_status status = mio_loss_create(recipe->context, kind->loss, &recipe->loss);
    if (!status)
        status = mio_optimizer_create(recipe->context, kind->optimizer, &recipe->optimizer);
    if (!status)
        status = mio_schedule_create(recipe->context, kind->schedule, &recipe->schedule);
    if (!status)
        status = mio_augment_create(recipe->context, kind->augment, 32, 32, 3, &recipe->augment);
    return status ? status : make_loader(recipe);
}

static void list_parts(mio_recipe *recipe)
{
    mio__part *parts = recipe->parts;
    parts[PART_ENCODER] = (mio__part){"encoder", &recipe->encoder, &mio__part_settings};
    parts[PART_PROJECTOR] = (mio__part){"projector", &recipe->projector, &mio__part_settings};
    parts[PART_PREDICTOR] = (mio__part){"predictor", &recipe->predictor, &mio__part_settings};
    parts[PART_LOSS] = (mio__part){"loss", recipe->loss, &mio__part_loss};
    parts[PART_OPTIMIZER] = (mio__part){"optimizer", recipe->optimizer, &mio__part_optimizer};
    parts[PART_SCHEDULE] = (mio__part){"schedule", recipe->schedule, &mio__part_schedule};
    parts[PART_AUGMENT] = (mio__part){"augment", recipe->augment, &mio__part_augment};
    parts[PART_LOADER] = (mio__part){"loader", recipe->loader, &mio__part_loader};
    parts[PART_TRAINER] = (mio__part){"trainer", &recipe->trainer, &mio__part_settings};
}

/* The kept name of a parameter, or NULL. */
static const char *find_name(const mio_recipe *recipe, const mio__part *part, const char *parameter)
{
    const size_t prefix = strlen(part->name);
    for (const known_name *n = recipe->names; n; n = n->next)
        if (!strncmp(n->text, part->name, prefix) && n->text[prefix] == '.' && !strcmp(n->text + prefix + 1, parameter))
            return n->text;
    return NULL;
}

/* Makes the prefixed names of a part's parameters that are not there yet. */
static mio_status make_names(mio_recipe *recipe, const mio__part *part)
{
    for (size_t i = 0; i < part->functions->count(part->object); i++) {
        const char *parameter = mio__part_parameter(part, i);
        if (find_name(recipe, part, parameter))
            continue;
        const size_t size = strlen(part->name) + strlen(parameter) + 2;
        known_name *name = mio__alloc(recipe->context, sizeof *name + size);
        if (!name)
            return MIO_ERROR_MEMORY;
        snprintf(name->text, size, "%s.%s", part->name, parameter);
        name->next = recipe->names;
        recipe->names = name;
    }
    return MIO_OK;
}

static mio_status apply(mio_recipe *recipe, const mio__recipe_setting *settings)
{
    mio_status status = MIO_OK;
    for (const mio__recipe_setting *s = settings; !status && s && s->parameter; s++)
        status = mio_recipe_set(recipe, s->parameter, s->value);
    return status;
}

mio_status mio_recipe_create(mio_context *context, const char *name, mio_recipe **recipe)
{
    if (!context || !recipe)
        return mio__fail(MIO_ERROR_ARGUMENT, "the context or the place for the new recipe is NULL");
    const mio__recipe_kind *kind = find_kind(name);
    if (!kind)
        return MIO_ERROR_ARGUMENT;
    mio_recipe *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    made->context = mio_context_retain(context);
    made->kind = kind;
    made->touching = THE_RECIPE;
    mio_status status = make_parts(made);
    if (!status)
        list_parts(made);
    for (size_t i = 0; !status && i < PARTS; i++)
        status = make_names(made, &made->parts[i]);
    if (!status)
        status = apply(made, kind->settings);
    if (!status)
        status = apply(made, kind->own);
    if (status) {
        mio_recipe_release(made);
        return status;
    }
    made->touching = THE_CALLER;
    *recipe = made;
    return MIO_OK;
}

mio_recipe *mio_recipe_retain(mio_recipe *recipe)
{
    if (recipe)
        mio__references_take(&recipe->references);
    return recipe;
}

void mio_recipe_release(mio_recipe *recipe)
{
    if (!recipe || !mio__references_drop(&recipe->references))
        return;
    mio_context *context = recipe->context;
    mio_loss_release(recipe->loss);
    mio_optimizer_release(recipe->optimizer);
    mio_schedule_release(recipe->schedule);
    mio_loader_release(recipe->loader);
    mio_augment_release(recipe->augment);
    for (known_name *next; recipe->names; recipe->names = next) {
        next = recipe->names->next;
        mio__free(context, recipe->names);
    }
    mio__free(context, recipe);
    mio_context_release(context);
}

/* ---- parameters ---- */

/* The optimizer's learning rate is the schedule's before every step: it is neither listed nor set. */
static mio_status refuse_unused(const char *parameter)
{
    return parameter && !strcmp(parameter, "optimizer.learning_rate")
               ? mio__fail(MIO_ERROR_ARGUMENT, "a recipe's learning rate comes from its schedule: set "
                                               "'schedule.learning_rate'")
               : MIO_OK;
}

/* The part that a prefixed name belongs to, and the rest of the name; NULL after recording which parts there are. */
static mio__part *find_part(const mio_recipe *recipe, const char *name, const char **parameter)
{
    const char *dot = name ? strchr(name, '.') : NULL;
    for (size_t i = 0; dot && i < PARTS; i++) {
        const mio__part *part = &recipe->parts[i];
        if (strlen(part->name) == (size_t)(dot - name) && !strncmp(name, part->name, (size_t)(dot - name))) {
            *parameter = dot + 1;
            return (mio__part *)part;
        }
    }
    mio__fail(MIO_ERROR_ARGUMENT,
              "recipe '%s' has no parameter '%.60s'; names begin with encoder., projector., predictor., "
              "loss., optimizer., schedule., augment., loader. or trainer.",
              recipe->kind->name, name ? name : "NULL");
    return NULL;
}

static mio_status touch(mio_recipe *recipe, const mio__part *part, const char *parameter, mio_status status)
{
    if (!status)
        recipe->touched[part - recipe->parts][mio__part_find(part, parameter)] = recipe->touching;
    return status;
}

mio_status mio_recipe_set(mio_recipe *recipe, const char *parameter, double value)
{
    if (!recipe)
        return mio__settings_null("recipe");
    const char *own;
    mio__part *part = refuse_unused(parameter) ? NULL : find_part(recipe, parameter, &own);
    return part ? touch(recipe, part, own, part->functions->set(part->object, own, value)) : MIO_ERROR_ARGUMENT;
}

mio_status mio_recipe_set_text(mio_recipe *recipe, const char *parameter, const char *text)
{
    if (!recipe)
        return mio__settings_null("recipe");
    const char *own;
    mio__part *part = refuse_unused(parameter) ? NULL : find_part(recipe, parameter, &own);
    return part ? touch(recipe, part, own, part->functions->set_text(part->object, own, text)) : MIO_ERROR_ARGUMENT;
}

mio_status mio_recipe_get(const mio_recipe *recipe, const char *parameter, double *value)
{
    if (!recipe)
        return mio__settings_null("recipe");
    const char *own;
    const mio__part *part = find_part(recipe, parameter, &own);
    return part ? part->functions->get(part->object, own, value) : MIO_ERROR_ARGUMENT;
}

/* Parameters of a part that are listed. */
static size_t listed(const mio_recipe *recipe, size_t part)
{
    return recipe->parts[part].functions->count(recipe->parts[part].object) - (part == PART_OPTIMIZER);
}

/* The part's own index of one of them. */
static size_t own_index(const mio_recipe *recipe, size_t part, size_t index)
{
    return index + (part == PART_OPTIMIZER && index >= mio__part_find(&recipe->parts[part], "learning_rate"));
}

size_t mio_recipe_parameter_count(const mio_recipe *recipe)
{
    size_t count = 0;
    for (size_t i = 0; recipe && i < PARTS; i++)
        count += listed(recipe, i);
    return count;
}

/* The name with its prefix, and the recipe's own default. */
static void adapt_info(const mio_recipe *recipe, size_t index, mio_parameter_info *info)
{
    info->name = find_name(recipe, &recipe->parts[index], info->name);
    if (recipe->chosen[index])
        return;
    const mio__recipe_setting *settings[2] = {recipe->kind->settings, recipe->kind->own};
    for (size_t i = 0; i < 2; i++)
        for (const mio__recipe_setting *s = settings[i]; s && s->parameter; s++)
            if (!strcmp(s->parameter, info->name))
                info->default_value = s->value;
}

mio_status mio_recipe_parameter(const mio_recipe *recipe, size_t index, mio_parameter_info *info)
{
    if (!recipe)
        return mio__settings_null("recipe");
    size_t at = index;
    for (size_t i = 0; i < PARTS; i++) {
        const mio__part *part = &recipe->parts[i];
        const size_t count = listed(recipe, i);
        if (at < count) {
            mio_parameter_info full = {.struct_size = sizeof full};
            mio_status status = mio__struct_check(info, MIO__UP_TO(mio_parameter_info, name), "mio_parameter_info");
            if (!status)
                status = part->functions->info(part->object, own_index(recipe, i, at), &full);
            if (status)
                return status;
            adapt_info(recipe, i, &full);
            mio__struct_give(info, &full, sizeof full);
            return MIO_OK;
        }
        at -= count;
    }
    return mio__fail(MIO_ERROR_ARGUMENT, "the recipe has %zu parameters; there is no index %zu",
                     mio_recipe_parameter_count(recipe), index);
}

/* ---- another kind of a part ---- */

static mio_status choose(mio_recipe *recipe, size_t index, mio__part chosen)
{
    const mio_status status = make_names(recipe, &chosen);
    if (status)
        return status;
    recipe->parts[index] = chosen;
    recipe->chosen[index] = 1;
    memset(recipe->touched[index], 0, sizeof recipe->touched[index]);
    return MIO_OK;
}

/* The new part takes the old one's place, or is released. */
#define DEFINE_CHOOSE(noun, index)                                                                                     \
    static mio_status choose_##noun(mio_recipe *recipe, const char *name)                                              \
    {                                                                                                                  \
        mio_##noun *made = NULL;                                                                                       \
        mio_status status = mio_##noun##_create(recipe->context, name, &made);                                         \
        if (!status)                                                                                                   \
            status = choose(recipe, index, (mio__part){#noun, made, &mio__part_##noun});                               \
        mio_##noun *unused = status ? made : recipe->noun;                                                             \
        if (!status)                                                                                                   \
            recipe->noun = made;                                                                                       \
        mio_##noun##_release(unused);                                                                                  \
        return status;                                                                                                 \
    }

DEFINE_CHOOSE(loss, PART_LOSS)
DEFINE_CHOOSE(optimizer, PART_OPTIMIZER)
DEFINE_CHOOSE(schedule, PART_SCHEDULE)

mio_status mio_recipe_choose(mio_recipe *recipe, const char *part, const char *name)
{
    if (!recipe)
        return mio__settings_null("recipe");
    if (part && !strcmp(part, "loss"))
        return choose_loss(recipe, name);
    if (part && !strcmp(part, "optimizer"))
        return choose_optimizer(recipe, name);
    if (part && !strcmp(part, "schedule"))
        return choose_schedule(recipe, name);
    return mio__fail(MIO_ERROR_ARGUMENT, "a recipe's part can be loss, optimizer or schedule, not '%.60s'",
                     part ? part : "NULL");
}

/* ---- building ---- */

/* What a trainer is made of, while it is being made. */
typedef struct construction {
    mio_recipe *recipe;
    mio_dataset *dataset;
    size_t channels, height, width;
    double *mean, *deviation; /* channels each */
    mio_encoder *encoder;
    mio_augment *augment;
    mio_loader *loader;
    mio_loss *loss;
    mio_optimizer *optimizer;
    mio_schedule *schedule;
    mio_trainer *trainer;
} construction;

/* Gives a new part what was set on the recipe's. */
static mio_status pass_on(const mio_recipe *recipe, size_t index, mio__part to)
{
    const mio__part *from = &recipe->parts[index];
    mio_status status = MIO_OK;
    for (size_t i = 0; !status && i < from->functions->count(from->object); i++) {
        double value;
        const char *parameter = mio__part_parameter(from, i);
        if (!recipe->touched[index][i])
            continue;
        status = from->functions->get(from->object, parameter, &value);
        if (!status)
            status = to.functions->set(to.object, parameter, value);
    }
    return status;
}

static mio_status find_size(construction *c)
{
    const double *values = c->recipe->encoder.values;
    size_t height, width;
    c->channels = mio_dataset_channels(c->dataset);
    mio_status status = mio_dataset_image_size(c->dataset, 0, &c->height, &c->width);
    for (size_t i = 1; !status && values[MIO__RECIPE_HEIGHT] == 0 && i < mio_dataset_count(c->dataset); i++) {
        status = mio_dataset_image_size(c->dataset, i, &height, &width);
        if (!status && (height != c->height || width != c->width))
            status = mio__fail(MIO_ERROR_ARGUMENT,
                               "the dataset's images differ in size (%zu x %zu, %zu x %zu); set "
                               "\"encoder.height\" and \"encoder.width\"",
                               c->height, c->width, height, width);
    }
    if (values[MIO__RECIPE_HEIGHT] > 0)
        c->height = c->width = (size_t)values[MIO__RECIPE_HEIGHT];
    if (values[MIO__RECIPE_WIDTH] > 0)
        c->width = (size_t)values[MIO__RECIPE_WIDTH];
    return status;
}

static mio_status find_statistics(construction *c)
{
    c->mean = mio__alloc_zeroed(c->recipe->context, 2 * c->channels, sizeof(double));
    if (!c->mean)
        return MIO_ERROR_MEMORY;
    c->deviation = c->mean + c->channels;
    const mio_status status = mio_dataset_statistics(c->dataset, c->channels, c->mean, c->deviation);
    for (size_t i = 0; !status && i < c->channels; i++)
        if (c->deviation[i] == 0) /* every pixel alike */
            c->deviation[i] = 1;
    return status;
}

static mio_stem stem_for(const construction *c)
{
    const double *values = c->recipe->encoder.values, from = values[MIO__RECIPE_IMAGENET_STEM_FROM];
    const size_t shorter = c->height < c->width ? c->height : c->width;
    return from > 0 && (double)shorter >= from ? MIO_STEM_IMAGENET : (mio_stem)values[MIO__RECIPE_STEM];
}

static mio_node add_projector(const construction *c, mio_builder *builder, mio_node features)
{
    const double *p = c->recipe->projector.values;
    mio_builder_name(builder, "projector.mlp");
    return mio_builder_mlp(builder, features, (size_t)p[MIO__RECIPE_LAYERS], (size_t)p[MIO__RECIPE_HIDDEN],
                           (size_t)p[MIO__RECIPE_OUT], (mio_norm)p[MIO__RECIPE_HIDDEN_NORM],
                           (mio_norm)p[MIO__RECIPE_LAST_NORM]);
}

static mio_node add_predictor(const construction *c, mio_builder *builder, mio_node projections)
{
    const double *p = c->recipe->predictor.values;
    const size_t layers = (size_t)p[MIO__RECIPE_PREDICTOR_LAYERS];
    return layers ? mio_builder_predictor(builder, projections, layers, (size_t)p[MIO__RECIPE_PREDICTOR_HIDDEN],
                                          (size_t)c->recipe->projector.values[MIO__RECIPE_OUT])
                  : -1;
}

/* Gives the new encoder its own parameters. */
static mio_status set_encoder(const construction *c)
{
    const double *values = c->recipe->encoder.values;
    mio_status status = mio_encoder_set(c->encoder, "algorithm", values[MIO__RECIPE_ALGORITHM]);
    if (!status)
        status = mio_encoder_set(c->encoder, "precision", values[MIO__RECIPE_PRECISION]);
    if (!status)
        status = mio_encoder_set(c->encoder, "initialization", values[MIO__RECIPE_INITIALIZATION]);
    if (!status && values[MIO__RECIPE_INITIALIZATION] != 0)
        status = mio_encoder_initialize(c->encoder, mio__seed(c->recipe->context));
    return status ? status : mio_encoder_set_normalization(c->encoder, c->channels, c->mean, c->deviation);
}

static mio_status make_encoder(construction *c)
{
    const double *encoder = c->recipe->encoder.values;
    mio_builder *builder;
    mio_status status = mio_builder_create(c->recipe->context, c->channels, c->height, c->width, &builder);
    if (status)
        return status;
    const mio_node features =
        mio_builder_resnet(builder, mio_builder_input(builder), (int32_t)encoder[MIO__RECIPE_DEPTH],
                           (size_t)encoder[MIO__RECIPE_BASE_WIDTH], stem_for(c));
    const mio_node projections = add_projector(c, builder, features);
    const mio_node predictions = add_predictor(c, builder, projections);
    status = mio_builder_finish_with_predictions(builder, features, projections, predictions, &c->encoder);
    mio_builder_release(builder);
    return status ? status : set_encoder(c);
}

static mio_status make_views(construction *c)
{
    mio_context *context = c->recipe->context;
    mio_status status =
        mio_augment_create(context, c->recipe->kind->augment, c->height, c->width, c->channels, &c->augment);
    if (!status)
        status = mio_augment_set_normalization(c->augment, c->channels, c->mean, c->deviation);
    if (!status)
        status = pass_on(c->recipe, PART_AUGMENT, (mio__part){"augment", c->augment, &mio__part_augment});
    if (!status)
        status = mio__augment_check(c->augment);
    if (!status)
        status = mio_loader_create(c->dataset, c->augment, &c->loader);
    return status ? status : pass_on(c->recipe, PART_LOADER, (mio__part){"loader", c->loader, &mio__part_loader});
}

static mio_status make_objective(construction *c)
{
    mio_recipe *recipe = c->recipe;
    mio_status status = mio_loss_create(recipe->context, mio_loss_name(recipe->loss), &c->loss);
    if (!status)
        status = pass_on(recipe, PART_LOSS, (mio__part){"loss", c->loss, &mio__part_loss});
    if (!status)
        status = mio_optimizer_create(recipe->context, mio_optimizer_name(recipe->optimizer), &c->optimizer);
    if (!status)
        status = pass_on(recipe, PART_OPTIMIZER, (mio__part){"optimizer", c->optimizer, &mio__part_optimizer});
    if (!status)
        status = mio_schedule_create(recipe->context, mio_schedule_name(recipe->schedule), &c->schedule);
    return status ? status : pass_on(recipe, PART_SCHEDULE, (mio__part){"schedule", c->schedule, &mio__part_schedule});
}

/* Nor may a warm-up that the caller did not set take more of a short run than a quarter: it would end before its full
   rate. */
static mio_status shorten_warmup(const construction *c, const mio__part *schedule)
{
    const size_t place = mio__part_find(schedule, "warmup");
    double warmup, total;
    if (place == mio_schedule_parameter_count(c->schedule) || c->recipe->touched[PART_SCHEDULE][place] == THE_CALLER)
        return MIO_OK;
    mio_status status = mio_schedule_get(c->schedule, "warmup", &warmup);
    if (!status)
        status = mio_schedule_get(c->schedule, "total", &total);
    return status || warmup <= floor(total / 4) ? status : mio_schedule_set(c->schedule, "warmup", floor(total / 4));
}

/* A schedule's end that nobody set is the run's, also when a checkpoint comes back into a longer or shorter one. */
static mio_status set_end(construction *c)
{
    const mio__part schedule = {"schedule", c->schedule, &mio__part_schedule};
    const size_t total = mio__part_find(&schedule, "total");
    if (total == mio_schedule_parameter_count(c->schedule) || c->recipe->touched[PART_SCHEDULE][total])
        return MIO_OK;
    c->trainer->follows_end = 1;
    const mio_status status = mio__trainer_follow_end(c->trainer);
    return status ? status : shorten_warmup(c, &schedule);
}

static void free_construction(construction *c)
{
    mio__free(c->recipe->context, c->mean);
    mio_encoder_release(c->encoder);
    mio_augment_release(c->augment);
    mio_loader_release(c->loader);
    mio_loss_release(c->loss);
    mio_optimizer_release(c->optimizer);
    mio_schedule_release(c->schedule);
}

mio_status mio_recipe_build(mio_recipe *recipe, mio_dataset *dataset, mio_trainer **trainer)
{
    if (!recipe)
        return mio__settings_null("recipe");
    if (!dataset || !trainer)
        return mio__fail(MIO_ERROR_ARGUMENT, "the dataset or the place for the trainer is NULL");
    construction c = {.recipe = recipe, .dataset = dataset};
    uint64_t steps;
    mio_status status = find_size(&c);
    if (!status)
        status = find_statistics(&c);
    if (!status)
        status = make_encoder(&c);
    if (!status)
        status = make_views(&c);
    if (!status) /* a batch there must be */
        status = mio_loader_steps_per_epoch(c.loader, &steps);
    if (!status)
        status = make_objective(&c);
    if (!status)
        status = mio_trainer_create(c.encoder, c.loss, c.optimizer, c.schedule, c.loader, &c.trainer);
    if (!status)
        status = pass_on(recipe, PART_TRAINER, (mio__part){"trainer", c.trainer, &mio__part_trainer});
    if (!status)
        status = set_end(&c);
    if (status)
        mio_trainer_release(c.trainer);
    else
        *trainer = c.trainer;
    free_construction(&c);
    return status;
}
