/* Inside of a trainer. */
#ifndef MIO_TRAIN_TRAINER_H
#define MIO_TRAIN_TRAINER_H

#include "core/context.h"
#include "nn/encoder.h"
#include "train/momentum.h"
#include "train/monitor.h"

#include <mio/train.h>

/** Its parameters, in the table's order. */
enum {
    MIO__TRAINER_EPOCHS,
    MIO__TRAINER_STEPS,
    MIO__TRAINER_JOIN_VIEWS,
    MIO__TRAINER_MONITOR_INTERVAL,
    MIO__TRAINER_LABELS,
    MIO__TRAINER_PREDICTOR,
    MIO__TRAINER_MOMENTUM_ENCODER,
    MIO__TRAINER_MOMENTUM,
    MIO__TRAINER_MOMENTUM_SCHEDULE,
    MIO__TRAINER_MICRO_BATCH,
    MIO__TRAINER_PARAMETERS
};

extern const mio__parameter mio__trainer_table[MIO__TRAINER_PARAMETERS];

/** A buffer of rows that grows on demand; zeroed at first. */
typedef struct mio__rows {
    float *values;
    size_t capacity; /* bytes */
} mio__rows;

/** Makes room for so many values; what was there is lost when it grows. */
mio_status mio__rows_reserve(mio_context *context, mio__rows *rows, size_t values);

struct mio_trainer {
    mio__references references;
    mio_context *context;
    mio__settings settings;
    mio_encoder *encoder;
    mio_loss *loss;
    mio_optimizer *optimizer;
    mio_schedule *schedule;
    mio_loader *loader;
    size_t dim; /* of the projections */
    uint64_t steps_done;
    int follows_end; /* the schedule's "total" is the length of the run, as nobody set it: each step sees to that */
    atomic_int cancelled;

    mio__rows projections, predictions, targets, gradients; /* 2 x count x dim each, where the step needs them */
    mio__rows gradient_sums;                                /* of the micro-batches, tensor by tensor */
    float *statistics;                                      /* the running statistics before the step */
    double *square_sums;                                    /* one for each tensor */
    mio__momentum momentum;
    mio__monitor monitor;
};

/** Sets the schedule's "total" to the length of the run, in the unit that the schedule counts in. */
mio_status mio__trainer_follow_end(mio_trainer *trainer);

/* ---- step.c ---- */

/** Whether the loss sees predictions in place of projections. */
int mio__step_predicts(const mio_trainer *trainer);
/** Gradients of all weights for a batch, and its loss. On failure running statistics may have changed, the rest has
    not. */
mio_status mio__step_gradients(mio_trainer *trainer, const mio_batch *batch, double *loss);
/** Whether an epoch's last batch, if it is a short one, can be stepped on: better refused at the start of a run than
    after hours. */
mio_status mio__step_check_last_batch(const mio_trainer *trainer);
/** Takes back what that gave the loss, labels, indices and targets, once the loss has moved on. */
void mio__step_forget(const mio_trainer *trainer);

/* ---- guard.c ---- */

/**
 * Why a step came to nothing. If a weight, an activation, the projections (count x dim values), the loss or a gradient
 * is not finite, says so (MIO_ERROR_STATE: step and first layer, in the order in which they are computed); otherwise
 * leaves the failure as it is. loss and projections may be NULL.
 */
mio_status mio__guard_explain(const mio_trainer *trainer, mio_status failure, size_t count, const float *projections,
                              const double *loss);

#endif
