/* A trainer from a recipe: its parts anew, for the dataset at hand, with what was set on the recipe's. */
#include "core/context.h"
#include "data/augment.h"
#include "train/recipe.h"
#include "train/trainer.h"

#include <math.h>

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
        status = pass_on(c->recipe, MIO__PART_AUGMENT, (mio__part){"augment", c->augment, &mio__part_augment});
    if (!status)
        status = mio__augment_check(c->augment);
    if (!status)
        status = mio_loader_create(c->dataset, c->augment, &c->loader);
    return status ? status : pass_on(c->recipe, MIO__PART_LOADER, (mio__part){"loader", c->loader, &mio__part_loader});
}

static mio_status make_objective(construction *c)
{
    mio_recipe *recipe = c->recipe;
    mio_status status = mio_loss_create(recipe->context, mio_loss_name(recipe->loss), &c->loss);
    if (!status)
        status = pass_on(recipe, MIO__PART_LOSS, (mio__part){"loss", c->loss, &mio__part_loss});
    if (!status)
        status = mio_optimizer_create(recipe->context, mio_optimizer_name(recipe->optimizer), &c->optimizer);
    if (!status)
        status = pass_on(recipe, MIO__PART_OPTIMIZER, (mio__part){"optimizer", c->optimizer, &mio__part_optimizer});
    if (!status)
        status = mio_schedule_create(recipe->context, mio_schedule_name(recipe->schedule), &c->schedule);
    return status ? status
                  : pass_on(recipe, MIO__PART_SCHEDULE, (mio__part){"schedule", c->schedule, &mio__part_schedule});
}

/* Nor may a warm-up that the caller did not set take more of a short run than a quarter: it would end before its full
   rate. */
static mio_status shorten_warmup(const construction *c, const mio__part *schedule)
{
    const size_t place = mio__part_find(schedule, "warmup");
    double warmup, total;
    if (place == mio_schedule_parameter_count(c->schedule) ||
        c->recipe->touched[MIO__PART_SCHEDULE][place] == MIO__SET_BY_CALLER)
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
    if (total == mio_schedule_parameter_count(c->schedule) || c->recipe->touched[MIO__PART_SCHEDULE][total])
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
        status = pass_on(recipe, MIO__PART_TRAINER, (mio__part){"trainer", c.trainer, &mio__part_trainer});
    if (!status)
        status = set_end(&c);
    if (status)
        mio_trainer_release(c.trainer);
    else
        *trainer = c.trainer;
    free_construction(&c);
    return status;
}
