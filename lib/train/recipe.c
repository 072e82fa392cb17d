#include "train/recipe.h"

#include "core/context.h"
#include "data/augment.h"
#include "train/trainer.h"

#include <stdio.h>
#include <string.h>

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
    parts[MIO__PART_ENCODER] = (mio__part){"encoder", &recipe->encoder, &mio__part_settings};
    parts[MIO__PART_PROJECTOR] = (mio__part){"projector", &recipe->projector, &mio__part_settings};
    parts[MIO__PART_PREDICTOR] = (mio__part){"predictor", &recipe->predictor, &mio__part_settings};
    parts[MIO__PART_LOSS] = (mio__part){"loss", recipe->loss, &mio__part_loss};
    parts[MIO__PART_OPTIMIZER] = (mio__part){"optimizer", recipe->optimizer, &mio__part_optimizer};
    parts[MIO__PART_SCHEDULE] = (mio__part){"schedule", recipe->schedule, &mio__part_schedule};
    parts[MIO__PART_AUGMENT] = (mio__part){"augment", recipe->augment, &mio__part_augment};
    parts[MIO__PART_LOADER] = (mio__part){"loader", recipe->loader, &mio__part_loader};
    parts[MIO__PART_TRAINER] = (mio__part){"trainer", &recipe->trainer, &mio__part_settings};
}

/* The kept name of a parameter, or NULL. */
static const char *find_name(const mio_recipe *recipe, const mio__part *part, const char *parameter)
{
    const size_t prefix = strlen(part->name);
    for (const mio__known_name *n = recipe->names; n; n = n->next)
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
        mio__known_name *name = mio__alloc(recipe->context, sizeof *name + size);
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
    made->touching = MIO__SET_BY_RECIPE;
    mio_status status = make_parts(made);
    if (!status)
        list_parts(made);
    for (size_t i = 0; !status && i < MIO__PARTS; i++)
        status = make_names(made, &made->parts[i]);
    if (!status)
        status = apply(made, kind->settings);
    if (!status)
        status = apply(made, kind->own);
    if (status) {
        mio_recipe_release(made);
        return status;
    }
    made->touching = MIO__SET_BY_CALLER;
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
    for (mio__known_name *next; recipe->names; recipe->names = next) {
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
    for (size_t i = 0; dot && i < MIO__PARTS; i++) {
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
    return recipe->parts[part].functions->count(recipe->parts[part].object) - (part == MIO__PART_OPTIMIZER);
}

/* The part's own index of one of them. */
static size_t own_index(const mio_recipe *recipe, size_t part, size_t index)
{
    return index + (part == MIO__PART_OPTIMIZER && index >= mio__part_find(&recipe->parts[part], "learning_rate"));
}

size_t mio_recipe_parameter_count(const mio_recipe *recipe)
{
    size_t count = 0;
    for (size_t i = 0; recipe && i < MIO__PARTS; i++)
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
    for (size_t i = 0; i < MIO__PARTS; i++) {
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

DEFINE_CHOOSE(loss, MIO__PART_LOSS)
DEFINE_CHOOSE(optimizer, MIO__PART_OPTIMIZER)
DEFINE_CHOOSE(schedule, MIO__PART_SCHEDULE)

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
