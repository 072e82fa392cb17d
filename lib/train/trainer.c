#include "train/trainer.h"

#include "data/loader.h"
#include "loss/loss.h"
#include "optim/optimizer.h"
#include "train/passes.h"
#include "train/snapshot.h"
#include "train/views.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const momentum_schedules[] = {"constant", "cosine", NULL};

const mio__parameter mio__trainer_table[MIO__TRAINER_PARAMETERS] = {
    [MIO__TRAINER_EPOCHS] = {"epochs", MIO_PARAMETER_INTEGER, 100, 1, 1e9, 0, 0, NULL,
                             "where a run ends, unless 'steps' says it", "epochs"},
    [MIO__TRAINER_STEPS] = {"steps", MIO_PARAMETER_INTEGER, 0, 0, 9007199254740992.0, 0, 1, NULL,
                            "where a run ends; 0: after 'epochs'", "steps"},
    [MIO__TRAINER_JOIN_VIEWS] = {"join_views", MIO_PARAMETER_BOOLEAN, 0, 0, 1, 0, 0, NULL,
                                 "batch norm takes both views together, else one after the other", ""},
    [MIO__TRAINER_MONITOR_INTERVAL] = {"monitor_interval", MIO_PARAMETER_INTEGER, 10, 0, 1e9, 0, 0, NULL,
                                       "steps from one measurement of the monitors to the next; 0: none", "steps"},
    [MIO__TRAINER_LABELS] = {"labels", MIO_PARAMETER_BOOLEAN, 0, 0, 1, 0, 0, NULL,
                             "the loss gets the labels of the batch, for losses that learn from them", ""},
    [MIO__TRAINER_PREDICTOR] = {"predictor", MIO_PARAMETER_BOOLEAN, 1, 0, 1, 0, 0, NULL,
                                "losses of predictions (byol, simsiam, nnclr) get the encoder's; off, the "
                                "projections stand for them",
                                ""},
    [MIO__TRAINER_MOMENTUM_ENCODER] = {"momentum_encoder", MIO_PARAMETER_BOOLEAN, 0, 0, 1, 0, 0, NULL,
                                       "targets (byol, simsiam, nnclr) and keys (moco) come from a copy of the "
                                       "encoder whose weights follow slowly",
                                       ""},
    [MIO__TRAINER_MOMENTUM] = {"momentum", MIO_PARAMETER_REAL, 0.996, 0, 1, 0, 0, NULL,
                               "share of its old weights that the momentum encoder keeps in a step", ""},
    [MIO__TRAINER_MOMENTUM_SCHEDULE] = {"momentum_schedule", MIO_PARAMETER_CHOICE, MIO__MOMENTUM_CONSTANT, 0, 0, 0, 0,
                                        momentum_schedules,
                                        "how that share goes on: as it is, or along half a cosine to 1 at the end of "
                                        "the run",
                                        ""},
    [MIO__TRAINER_MICRO_BATCH] = {"micro_batch", MIO_PARAMETER_INTEGER, 0, 0, 1048576, 0, 0, NULL,
                                  "images of a view that the encoder works on at once, in two passes over the batch: "
                                  "the same gradient on less memory, with batch norm over a micro-batch; 0: all",
                                  "images"},
};

MIO__DEFINE_SETTINGS_FUNCTIONS(trainer)

/* ---- creation ---- */

static mio_status check_parts(const mio_encoder *encoder, const mio_loader *loader, size_t *dim)
{
    double views;
    size_t predicted = 0;
    mio_status status = mio_encoder_projection_dim(encoder, dim);
    if (!status)
        status = mio_encoder_prediction_dim(encoder, &predicted);
    if (!status)
        status = mio_loader_get(loader, "views", &views);
    if (status)
        return status;
    if (!*dim)
        return mio__fail(MIO_ERROR_ARGUMENT, "the encoder has no projector, and the loss needs its projections");
    if (predicted && predicted != *dim)
        return mio__fail(MIO_ERROR_ARGUMENT,
                         "the encoder's predictions have %zu values and its projections %zu; they are "
                         "compared: give the predictor's last layer the projections' width",
                         predicted, *dim);
    if (views != 2)
        return mio__fail(MIO_ERROR_ARGUMENT, "the loader gives %g views of an image; training takes 2", views);
    return mio__views_check(encoder, mio__loader_augment(loader));
}

static mio_status make_buffers(mio_trainer *trainer)
{
    const mio__tensor *tensors;
    const size_t count = mio__encoder_tensors(trainer->encoder, &tensors);
    trainer->statistics = mio__alloc_zeroed(
        trainer->context, mio__snapshot_size(trainer->encoder, MIO__SNAPSHOT_STATISTICS) + 1, sizeof(float));
    trainer->square_sums = mio__alloc_zeroed(trainer->context, count + 1, sizeof(double));
    return trainer->statistics && trainer->square_sums ? MIO_OK : MIO_ERROR_MEMORY;
}

static void release_loss(void *loss)
{
    mio_loss_release(loss);
}

/* What the loss learns is stepped with the encoder by an optimizer that keeps it alive; what it keeps for every image
   has its place from the start. */
static mio_status add_loss(mio_trainer *trainer)
{
    const mio__loss_tensor *tensors;
    mio_status status =
        mio__loss_reserve_indices(trainer->loss, mio_dataset_count(mio__loader_dataset(trainer->loader)));
    if (!status)
        status = mio__loss_make_tensors(trainer->loss, trainer->dim);
    const size_t count = mio__loss_tensors(trainer->loss, &tensors);
    if (!status && count)
        status = mio__optimizer_keep(trainer->optimizer, mio_loss_retain(trainer->loss), release_loss);
    for (size_t i = 0; !status && i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "loss.%s", tensors[i].name);
        if (!mio__optimizer_has_array(trainer->optimizer, tensors[i].count, tensors[i].value))
            status = mio_optimizer_add_array(trainer->optimizer, name, tensors[i].rank, tensors[i].count,
                                             tensors[i].value, tensors[i].gradient);
    }
    return status;
}

mio_status mio_trainer_create(mio_encoder *encoder, mio_loss *loss, mio_optimizer *optimizer, mio_schedule *schedule,
                              mio_loader *loader, mio_trainer **trainer)
{
    if (!encoder || !loss || !optimizer || !schedule || !loader || !trainer)
        return mio__fail(MIO_ERROR_ARGUMENT,
                         "a trainer needs an encoder, a loss, an optimizer, a schedule, a loader and "
                         "a place for itself; one of them is NULL");
    size_t dim;
    mio_status status = check_parts(encoder, loader, &dim);
    if (status)
        return status;
    mio_context *context = mio__encoder_context(encoder);
    mio_trainer *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    atomic_init(&made->cancelled, 0);
    made->context = mio_context_retain(context);
    mio__settings_init(&made->settings, "trainer", "", mio__trainer_table, MIO__TRAINER_PARAMETERS);
    made->encoder = mio_encoder_retain(encoder);
    made->loss = mio_loss_retain(loss);
    made->optimizer = mio_optimizer_retain(optimizer);
    made->schedule = mio_schedule_retain(schedule);
    made->loader = mio_loader_retain(loader);
    made->dim = dim;
    const mio__optimizer_mark before = mio__optimizer_mark_now(optimizer);
    status = make_buffers(made);
    if (!status && !mio__optimizer_has_encoder(optimizer, encoder))
        status = mio_optimizer_add_encoder(optimizer, encoder);
    if (!status)
        status = add_loss(made);
    if (status) {
        mio__optimizer_return(optimizer, before);
        mio_trainer_release(made);
        return status;
    }
    if (!mio__views_agree(encoder, mio__loader_augment(loader)))
        mio__log(context, MIO_LOG_WARNING,
                 "the augment normalises views otherwise than mio_encoder_embed will normalise "
                 "images; give both the same means and deviations");
    *trainer = made;
    return MIO_OK;
}

mio_trainer *mio_trainer_retain(mio_trainer *trainer)
{
    if (trainer)
        mio__references_take(&trainer->references);
    return trainer;
}

void mio_trainer_release(mio_trainer *trainer)
{
    if (!trainer || !mio__references_drop(&trainer->references))
        return;
    mio_context *context = trainer->context;
    mio_loader_release(trainer->loader);
    mio_schedule_release(trainer->schedule);
    mio_optimizer_release(trainer->optimizer);
    mio_loss_release(trainer->loss);
    mio_encoder_release(trainer->encoder);
    mio__monitor_free(&trainer->monitor);
    mio__momentum_free(&trainer->momentum, context);
    mio__free(context, trainer->projections.values);
    mio__free(context, trainer->predictions.values);
    mio__free(context, trainer->targets.values);
    mio__free(context, trainer->gradients.values);
    mio__free(context, trainer->gradient_sums.values);
    mio__free(context, trainer->statistics);
    mio__free(context, trainer->square_sums);
    mio__free(context, trainer);
    mio_context_release(context);
}

mio_encoder *mio_trainer_encoder(mio_trainer *trainer)
{
    return trainer ? trainer->encoder : NULL;
}

uint64_t mio_trainer_steps_done(const mio_trainer *trainer)
{
    return trainer ? trainer->steps_done : 0;
}

/* ---- the step ---- */

static uint64_t total_steps(const mio_trainer *trainer, uint64_t steps_per_epoch)
{
    const double steps = trainer->settings.values[MIO__TRAINER_STEPS];
    return steps > 0 ? (uint64_t)steps : (uint64_t)trainer->settings.values[MIO__TRAINER_EPOCHS] * steps_per_epoch;
}

mio_status mio__trainer_follow_end(mio_trainer *trainer)
{
    double by_epochs;
    uint64_t per_epoch;
    mio_status status = mio_schedule_get(trainer->schedule, "unit", &by_epochs);
    if (!status)
        status = mio_loader_steps_per_epoch(trainer->loader, &per_epoch);
    if (status)
        return status;
    const double steps = (double)total_steps(trainer, per_epoch);
    return mio_schedule_set(trainer->schedule, "total", by_epochs != 0 ? ceil(steps / (double)per_epoch) : steps);
}

mio_status mio__rows_reserve(mio_context *context, mio__rows *rows, size_t values)
{
    void *place = rows->values;
    const mio_status status = mio__reserve(context, &place, &rows->capacity, values * sizeof *rows->values);
    rows->values = place;
    return status;
}

/* What a step changes before it can fail: the running statistics. */
static void keep_statistics(mio_trainer *trainer)
{
    mio__snapshot_take(trainer->encoder, MIO__SNAPSHOT_STATISTICS, trainer->statistics);
    mio__momentum_keep(&trainer->momentum);
}

static void return_statistics(mio_trainer *trainer)
{
    mio__snapshot_return(trainer->encoder, MIO__SNAPSHOT_STATISTICS, trainer->statistics);
    mio__momentum_return(&trainer->momentum);
}

/* The whole step on a batch. On failure running statistics may have changed, the rest has not. */
static mio_status step_on(mio_trainer *trainer, const mio_batch *batch, uint64_t steps_per_epoch, double *loss,
                          double *learning_rate)
{
    if (batch->views != 2)
        return mio__fail(MIO_ERROR_STATE, "the loader gives %zu views of an image; training takes 2", batch->views);
    mio_status status = mio__step_gradients(trainer, batch, loss);
    if (!status)
        status = mio_schedule_at(trainer->schedule, trainer->steps_done, steps_per_epoch, learning_rate);
    if (!status)
        status = mio_optimizer_set(trainer->optimizer, "learning_rate", *learning_rate);
    if (status)
        return status;
    status = mio_optimizer_step(trainer->optimizer);
    if (!status)
        return MIO_OK;
    const mio_status known =
        mio__guard_explain(trainer, status, 2 * batch->count * trainer->dim, trainer->projections.values, loss);
    return known == MIO_ERROR_ARGUMENT ? mio__fail(MIO_ERROR_STATE, "step %llu: %s",
                                                   (unsigned long long)trainer->steps_done + 1, mio_last_error())
                                       : known;
}

static void follow(mio_trainer *trainer, uint64_t total)
{
    const double *p = trainer->settings.values;
    const double share = mio__momentum_at((mio__momentum_schedule)p[MIO__TRAINER_MOMENTUM_SCHEDULE],
                                          p[MIO__TRAINER_MOMENTUM], trainer->steps_done, total);
    if (p[MIO__TRAINER_MOMENTUM_ENCODER] != 0)
        mio__momentum_follow(&trainer->momentum, trainer->encoder, share);
}

/* ---- the report ---- */

static void sum_squares(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const mio_trainer *trainer = argument;
    const mio__tensor *tensors;
    mio__encoder_tensors(trainer->encoder, &tensors);
    double sum = 0;
    for (size_t i = 0; tensors[item].gradient && i < tensors[item].stored; i++)
        sum += (double)tensors[item].gradient[i] * tensors[item].gradient[i];
    trainer->square_sums[item] = sum;
}

static double gradient_norm(mio_trainer *trainer)
{
    const mio__tensor *tensors;
    const size_t count = mio__encoder_tensors(trainer->encoder, &tensors);
    mio__parallel(trainer->context, mio__workers(trainer->context), count, sum_squares, trainer);
    double sum = 0;
    for (size_t t = 0; t < count; t++)
        sum += trainer->square_sums[t];
    return sqrt(sum);
}

static void measure(mio_trainer *trainer, size_t pairs, mio_step_report *report)
{
    const float *z1 = trainer->projections.values, *z2 = z1 + pairs * trainer->dim;
    mio__monitor_measure(&trainer->monitor, pairs, trainer->dim, z1, z2,
                         mio__loss_temperature(trainer->loss, "positive_temperature"),
                         mio__loss_temperature(trainer->loss, "negative_temperature"), report);
    report->gradient_norm = gradient_norm(trainer);
}

/* Everything but the times. */
static void describe(mio_trainer *trainer, const mio_batch *batch, uint64_t steps_per_epoch, double loss,
                     double learning_rate, mio_step_report *report)
{
    *report = (mio_step_report){
        .step = trainer->steps_done,
        .epoch = batch->epoch,
        .steps_per_epoch = steps_per_epoch,
        .total_steps = total_steps(trainer, steps_per_epoch),
        .loss = loss,
        .learning_rate = learning_rate,
        .wait_seconds = batch->wait_seconds,
        .positive_similarity = NAN,
        .negative_similarity = NAN,
        .pair_accuracy = NAN,
        .alignment = NAN,
        .uniformity = NAN,
        .channel_deviation = NAN,
        .effective_rank = NAN,
        .mutual_information = NAN,
        .gradient_norm = NAN,
    };
    const uint64_t interval = (uint64_t)trainer->settings.values[MIO__TRAINER_MONITOR_INTERVAL];
    if (interval && (trainer->steps_done - 1) % interval == 0 && batch->count > 1)
        measure(trainer, batch->count, report);
    else if (!mio__step_predicts(trainer)) /* a loss of predictions has their cosines, not the projections' */
        mio__loss_similarities(trainer->loss, &report->positive_similarity, &report->negative_similarity);
}

/* A copy that the step made itself goes with it. */
static mio_status refuse_step(mio_trainer *trainer, int followed, mio_status status)
{
    if (!followed)
        mio__momentum_free(&trainer->momentum, trainer->context);
    return status;
}

mio_status mio_trainer_step(mio_trainer *trainer, mio_step_report *report)
{
    if (!trainer)
        return mio__settings_null("trainer");
    mio_status status =
        report ? mio__struct_check(report, MIO__UP_TO(mio_step_report, step), "mio_step_report") : MIO_OK;
    if (status)
        return status;
    const double start = mio__seconds();
    uint64_t steps_per_epoch, epoch, step;
    mio__loader_position(trainer->loader, &epoch, &step);
    mio_batch batch = {.struct_size = sizeof batch};
    status = mio_loader_steps_per_epoch(trainer->loader, &steps_per_epoch);
    if (!status && trainer->follows_end)
        status = mio__trainer_follow_end(trainer);
    const int follows = trainer->settings.values[MIO__TRAINER_MOMENTUM_ENCODER] != 0,
              followed = !!trainer->momentum.encoder;
    if (!status && follows)
        status = mio__momentum_prepare(&trainer->momentum, trainer->encoder);
    if (!status)
        status = mio_loader_next(trainer->loader, &batch);
    if (status)
        return refuse_step(trainer, followed, status);
    double loss = NAN, learning_rate = NAN;
    keep_statistics(trainer);
    status = step_on(trainer, &batch, steps_per_epoch, &loss, &learning_rate);
    if (status) {
        return_statistics(trainer);
        mio__loader_return(trainer->loader, epoch, step);
        mio__step_forget(trainer);
        return refuse_step(trainer, followed, status);
    }
    mio__loss_advance(trainer->loss);
    mio__step_forget(trainer);
    if (!follows) /* switched on again, it starts from the encoder anew */
        mio__momentum_free(&trainer->momentum, trainer->context);
    follow(trainer, total_steps(trainer, steps_per_epoch));
    trainer->steps_done++;
    if (report) {
        mio_step_report full;
        describe(trainer, &batch, steps_per_epoch, loss, learning_rate, &full);
        full.step_seconds = mio__seconds() - start;
        full.images_per_second = (double)batch.count / full.step_seconds;
        mio__struct_give(report, &full, sizeof full);
    }
    return MIO_OK;
}

/* ---- the run ---- */

void mio_trainer_cancel(mio_trainer *trainer)
{
    if (trainer)
        atomic_store(&trainer->cancelled, 1);
}

/* Whether the run comes to the end of an epoch. */
static int ends_epoch(const mio_trainer *trainer, uint64_t steps_per_epoch)
{
    uint64_t epoch, step;
    mio__loader_position(trainer->loader, &epoch, &step);
    return trainer->steps_done + steps_per_epoch - step <= total_steps(trainer, steps_per_epoch);
}

static mio_status run(mio_trainer *trainer, mio_step_callback callback, void *user)
{
    uint64_t steps_per_epoch;
    mio_status status = mio_loader_steps_per_epoch(trainer->loader, &steps_per_epoch);
    if (!status && ends_epoch(trainer, steps_per_epoch))
        status = mio__step_check_last_batch(trainer);
    while (!status) {
        if (atomic_load(&trainer->cancelled))
            return mio__fail(MIO_ERROR_CANCELLED, "the run was cancelled after step %llu",
                             (unsigned long long)trainer->steps_done);
        status = mio_loader_steps_per_epoch(trainer->loader, &steps_per_epoch);
        if (status || trainer->steps_done >= total_steps(trainer, steps_per_epoch))
            return status;
        mio_step_report report = {.struct_size = sizeof report};
        status = mio_trainer_step(trainer, callback ? &report : NULL);
        if (!status && callback && callback(user, &report))
            status = mio__fail(MIO_ERROR_CANCELLED, "the callback ended the run after step %llu",
                               (unsigned long long)trainer->steps_done);
    }
    return status;
}

mio_status mio_trainer_run(mio_trainer *trainer, mio_step_callback callback, void *user)
{
    if (!trainer)
        return mio__settings_null("trainer");
    const mio_status status = run(trainer, callback, user);
    atomic_store(&trainer->cancelled, 0); /* however this run ended: the request was for it */
    return status;
}
