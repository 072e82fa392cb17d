#include "addon.h"

#include <stdlib.h>

NOUN(recipe, 0)
NOUN(trainer, bytes_of_encoder(mio_trainer_encoder((mio_trainer *)object)))
PARAMETERS(recipe)
PARAMETERS(trainer)
MAKER(recipe, recipe_create, void *context = handle(&c, 0);
      const char *name = text(&c, 1), mio_recipe_create(context, name, &made))
CALLER(recipe_choose, void *recipe = handle(&c, 0); const char *part = text(&c, 1);
       const char *name = text(&c, 2), mio_recipe_choose(recipe, part, name))
MAKER(trainer, recipe_build, void *recipe = handle(&c, 0);
      void *dataset = handle(&c, 1), mio_recipe_build(recipe, dataset, &made))
MAKER(trainer, trainer_create, void *encoder = handle(&c, 0); void *loss = handle(&c, 1);
      void *optimizer = handle(&c, 2); void *schedule = handle(&c, 3);
      void *loader = handle(&c, 4), mio_trainer_create(encoder, loss, optimizer, schedule, loader, &made))
CALLER(trainer_save, void *trainer = handle(&c, 0); const char *path = text(&c, 1), mio_trainer_save(trainer, path))
CALLER(trainer_restore, void *trainer = handle(&c, 0);
       const char *path = text(&c, 1), mio_trainer_restore(trainer, path))

static napi_value of_report(const call *c, mio_step_report r)
{
    napi_value made = NULL;
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"step", (double)r.step},
        {"epoch", (double)r.epoch},
        {"stepsPerEpoch", (double)r.steps_per_epoch},
        {"totalSteps", (double)r.total_steps},
        {"loss", r.loss},
        {"learningRate", r.learning_rate},
        {"imagesPerSecond", r.images_per_second},
        {"stepSeconds", r.step_seconds},
        {"waitSeconds", r.wait_seconds},
        {"positiveSimilarity", r.positive_similarity},
        {"negativeSimilarity", r.negative_similarity},
        {"pairAccuracy", r.pair_accuracy},
        {"alignment", r.alignment},
        {"uniformity", r.uniformity},
        {"channelDeviation", r.channel_deviation},
        {"effectiveRank", r.effective_rank},
        {"mutualInformation", r.mutual_information},
        {"gradientNorm", r.gradient_norm},
    };
    napi_create_object(c->env, &made);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put(c, made, numbers[i].name, of_number(c, numbers[i].value));
    return made;
}

/* trainer, the function of a custom loss */
static napi_value trainer_step(napi_env env, napi_callback_info info)
{
    call c;
    own_function own;
    mio_step_report report = {.struct_size = sizeof report};
    begin(&c, env, info);
    void *trainer = handle(&c, 0);
    if (c.failed)
        return NULL;
    enter(&c, 1, &own);
    const mio_status status = mio_trainer_step(trainer, &report);
    leave(&own);
    check(&c, status);
    return c.failed ? NULL : of_report(&c, report);
}

typedef struct stepping {
    mio_trainer *trainer;
    mio_step_report report;
} stepping;

static mio_status run_step(void *what)
{
    stepping *s = what;
    return mio_trainer_step(s->trainer, &s->report);
}

static napi_value give_report(call *c, void *what)
{
    const stepping *s = what;
    return of_report(c, s->report);
}

static void release_step(napi_env env, void *what)
{
    stepping *s = what;
    (void)env;
    mio_trainer_release(s->trainer);
    free(s);
}

static napi_value trainer_step_later(napi_env env, napi_callback_info info)
{
    static const task kind = {"mio_trainer_step", run_step, give_report, release_step};
    call c;
    begin(&c, env, info);
    void *trainer = handle(&c, 0);
    stepping *s = c.failed ? NULL : malloc(sizeof *s);
    if (!s) {
        refuse_memory(&c);
        return NULL;
    }
    *s = (stepping){mio_trainer_retain(trainer), {.struct_size = sizeof s->report}};
    return start_task(&c, &kind, s);
}

static napi_value trainer_steps_done(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *trainer = handle(&c, 0);
    return c.failed ? NULL : of_number(&c, (double)mio_trainer_steps_done(trainer));
}

static napi_value trainer_encoder(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *trainer = handle(&c, 0);
    return c.failed ? NULL : of_handle(&c, mio_encoder_retain(mio_trainer_encoder(trainer)), release_encoder, 0);
}

const entry train_entries[] = {
    ENTRY(recipe_create),      ENTRY(recipe_set),         ENTRY(recipe_get),
    ENTRY(recipe_choose),      ENTRY(recipe_build),       ENTRY(trainer_create),
    ENTRY(trainer_set),        ENTRY(trainer_get),        ENTRY(trainer_step),
    ENTRY(trainer_step_later), ENTRY(trainer_steps_done), ENTRY(trainer_encoder),
    ENTRY(trainer_save),       ENTRY(trainer_restore),    {NULL, NULL},
};
