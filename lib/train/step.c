/* What a step does with a batch, up to the gradients of all weights:

       targets      the momentum encoder's projections, where there is one
       projections  and predictions of the views
       loss         of the projections, or of the predictions against targets (the momentum encoder's, else the
                    projections themselves, both constants)
       backward     from the loss's gradients to those of the weights */
#include "data/loader.h"
#include "loss/loss.h"
#include "train/passes.h"

#include <math.h>
#include <stdio.h>

/* How the loss and the trainer's parameters want a batch treated. */
typedef struct course {
    int predicts; /* the loss sees predictions */
    int momentum; /* targets or keys come from the momentum encoder */
    int keys;     /* view 2 makes keys: it goes through the momentum encoder alone */
    mio__cut cut; /* of what goes through an encoder: both views, or one */
} course;

static int is_set(const mio_trainer *trainer, size_t parameter)
{
    return trainer->settings.values[parameter] != 0;
}

int mio__step_predicts(const mio_trainer *trainer)
{
    return trainer->loss->kind->flags & MIO__LOSS_PREDICTIONS && is_set(trainer, MIO__TRAINER_PREDICTOR);
}

static mio_status choose_course(const mio_trainer *trainer, size_t count, course *c)
{
    const unsigned flags = trainer->loss->kind->flags;
    size_t dim;
    mio_encoder_prediction_dim(trainer->encoder, &dim);
    *c = (course){.predicts = mio__step_predicts(trainer), .momentum = is_set(trainer, MIO__TRAINER_MOMENTUM_ENCODER)};
    c->keys = c->momentum && flags & MIO__LOSS_KEYS;
    if (c->predicts && !dim)
        return mio__fail(MIO_ERROR_STATE,
                         "the loss '%s' learns predictions and the encoder makes none; give it a "
                         "predictor (mio_builder_finish_with_predictions, a recipe's "
                         "'predictor.layers'), or set the trainer's parameter 'predictor' to 0",
                         mio_loss_name(trainer->loss));
    if (c->momentum && !(flags & MIO__LOSS_TARGETS))
        return mio__fail(MIO_ERROR_STATE,
                         "the loss '%s' has no targets for a momentum encoder to make; byol, simsiam, "
                         "moco and nnclr have. Set the trainer's parameter 'momentum_encoder' to 0",
                         mio_loss_name(trainer->loss));
    return mio__cut_make(trainer, c->keys ? 1 : 2, count, &c->cut);
}

static mio_status make_room(mio_trainer *trainer, const course *c, size_t count)
{
    const size_t values = 2 * count * trainer->dim;
    mio_status status = mio__rows_reserve(trainer->context, &trainer->projections, values);
    if (!status)
        status = mio__rows_reserve(trainer->context, &trainer->gradients, values);
    if (!status && c->predicts)
        status = mio__rows_reserve(trainer->context, &trainer->predictions, values);
    if (!status && c->momentum && !c->keys)
        status = mio__rows_reserve(trainer->context, &trainer->targets, values);
    return status ? status : mio__monitor_reserve(&trainer->monitor, trainer->context, count, trainer->dim);
}

/* Keys take the place of view 2's projections. */
static mio_status embed(mio_trainer *trainer, const course *c, const mio_batch *batch)
{
    const size_t half = batch->count * trainer->dim;
    size_t channels, height, width;
    mio_encoder_input_shape(trainer->encoder, &channels, &height, &width);
    const float *second = batch->images + batch->count * channels * height * width;
    mio_status status = MIO_OK;
    if (c->keys)
        status = mio__passes_forward(trainer, &c->cut, trainer->momentum.encoder, second,
                                     trainer->projections.values + half, NULL);
    else if (c->momentum)
        status = mio__passes_forward(trainer, &c->cut, trainer->momentum.encoder, batch->images,
                                     trainer->targets.values, NULL);
    if (!status)
        status = mio__passes_forward(trainer, &c->cut, NULL, batch->images, trainer->projections.values,
                                     c->predicts ? trainer->predictions.values : NULL);
    return status;
}

/* A forward pass refuses pixels that are not finite: that is said with the step. */
static mio_status explain_forward(const mio_trainer *trainer, mio_status failure)
{
    char words[256];
    snprintf(words, sizeof words, "%s", mio_last_error());
    failure = mio__guard_explain(trainer, failure, 0, NULL, NULL);
    return failure == MIO_ERROR_ARGUMENT ? mio__fail(MIO_ERROR_STATE, "step %llu: the batch: %s",
                                                     (unsigned long long)trainer->steps_done + 1, words)
                                         : failure;
}

static int gives_batch(const mio_trainer *trainer)
{
    return is_set(trainer, MIO__TRAINER_LABELS) || trainer->loss->kind->flags & MIO__LOSS_INDICES;
}

/* Labels and indices, for a loss that asks for them: what the host gave stays otherwise. And targets. */
static mio_status give_batch(const mio_trainer *trainer, const course *c, const mio_batch *batch)
{
    const int labels = is_set(trainer, MIO__TRAINER_LABELS);
    const float *targets = c->keys       ? NULL
                           : c->momentum ? trainer->targets.values
                           : c->predicts ? trainer->projections.values
                                         : NULL;
    mio_status status = MIO_OK;
    if (gives_batch(trainer))
        status = mio_loss_set_batch(trainer->loss, batch->count, labels ? batch->labels : NULL, batch->indices);
    if (!status && trainer->loss->kind->flags & MIO__LOSS_TARGETS)
        status = mio_loss_set_targets(trainer->loss, batch->count, trainer->dim, targets,
                                      targets ? targets + batch->count * trainer->dim : NULL);
    return status;
}

void mio__step_forget(const mio_trainer *trainer)
{
    if (gives_batch(trainer))
        mio_loss_set_batch(trainer->loss, 0, NULL, NULL);
    if (trainer->loss->kind->flags & MIO__LOSS_TARGETS)
        mio_loss_set_targets(trainer->loss, 0, 0, NULL, NULL);
}

mio_status mio__step_gradients(mio_trainer *trainer, const mio_batch *batch, double *loss)
{
    course c;
    mio_status status = choose_course(trainer, batch->count, &c);
    if (!status)
        status = make_room(trainer, &c, batch->count);
    if (status)
        return status;
    if ((status = embed(trainer, &c, batch)))
        return explain_forward(trainer, status);
    const size_t half = batch->count * trainer->dim;
    const float *z = c.predicts ? trainer->predictions.values : trainer->projections.values;
    float *gradients = trainer->gradients.values;
    *loss = NAN;
    status = give_batch(trainer, &c, batch);
    if (!status)
        status = mio__loss_compute(
            trainer->loss,
            &(mio__batch){batch->count, trainer->dim, sizeof(float), {z, z + half}, {gradients, gradients + half}},
            loss);
    if (status || !isfinite(*loss))
        return mio__guard_explain(trainer, status ? status : MIO_ERROR_STATE, 2 * half, z, status ? NULL : loss);
    return mio__passes_backward(trainer, &c.cut, batch->images, c.predicts ? NULL : gradients,
                                c.predicts ? gradients : NULL);
}

/* Whether the encoder can take what the course gives it; fails as the step would. */
static mio_status check_cut(const mio_trainer *trainer, const course *c)
{
    const mio_status status = mio__encoder_check_batch(trainer->encoder, c->cut.views, c->cut.count);
    return status == MIO_ERROR_ARGUMENT ? mio__fail(MIO_ERROR_STATE, "%s", mio_last_error()) : status;
}

mio_status mio__step_check_last_batch(const mio_trainer *trainer)
{
    course c;
    double batch, drop_last;
    mio_status status = mio_loader_get(trainer->loader, "batch_size", &batch);
    if (!status)
        status = mio_loader_get(trainer->loader, "drop_last", &drop_last);
    if (status || drop_last != 0)
        return status;
    const size_t last = mio_dataset_count(mio__loader_dataset(trainer->loader)) % (size_t)batch;
    if (!last)
        return MIO_OK;
    status = choose_course(trainer, last, &c);
    if (!status && last == 1 && !(trainer->loss->kind->flags & MIO__LOSS_ONE_PAIR))
        return mio__fail(MIO_ERROR_STATE,
                         "the last batch of an epoch would be one image, and loss '%s' compares images; let the "
                         "loader's 'drop_last' be 1, or change its 'batch_size'",
                         mio_loss_name(trainer->loss));
    return status ? status : check_cut(trainer, &c);
}

mio_status mio_trainer_tune(mio_trainer *trainer, double seconds)
{
    course c;
    double batch;
    if (!trainer)
        return mio__settings_null("trainer");
    uint64_t steps;
    mio_status status = mio_loader_steps_per_epoch(trainer->loader, &steps);
    if (!status)
        status = mio_loader_get(trainer->loader, "batch_size", &batch);
    const size_t all = mio_dataset_count(mio__loader_dataset(trainer->loader));
    if (!status)
        status = choose_course(trainer, batch < (double)all ? (size_t)batch : all, &c);
    if (!status)
        status = check_cut(trainer, &c);
    return status ? status : mio_encoder_tune(trainer->encoder, c.cut.views, c.cut.count, seconds);
}
