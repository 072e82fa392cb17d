/* Inside of a trainer. */
#ifndef MIO_TRAIN_TRAINER_H
#define MIO_TRAIN_TRAINER_H

#include "core/context.h"
#include "nn/encoder.h"
#include "train/monitor.h"

#include <mio/train.h>

/** Its parameters, in the table's order. */
enum {
    MIO__TRAINER_EPOCHS,
    MIO__TRAINER_STEPS,
    MIO__TRAINER_JOIN_VIEWS,
    MIO__TRAINER_MONITOR_INTERVAL,
    MIO__TRAINER_LABELS,
    MIO__TRAINER_PARAMETERS
};

extern const mio__parameter mio__trainer_table[MIO__TRAINER_PARAMETERS];

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
    atomic_int cancelled;

    float *projections, *gradients; /* 2 x count x dim; room for `room` images */
    size_t room;
    float *statistics;     /* the running statistics before the step */
    double *square_sums;   /* one for each tensor */
    mio__monitor monitor;
};

/* ---- guard.c ---- */

/**
 * Why a step came to nothing. If a weight, an activation, the projections (count x dim values), the loss or a gradient is
 * not finite, says so (MIO_ERROR_STATE: step and first layer, in the order in which they are computed); otherwise leaves
 * the failure as it is. loss and projections may be NULL.
 */
mio_status mio__guard_explain(const mio_trainer *trainer, mio_status failure, size_t count, const float *projections,
                              const double *loss);

#endif
