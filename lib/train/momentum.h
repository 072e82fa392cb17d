/* The momentum encoder: a copy of the trained one whose weights follow slowly, and which makes targets and keys. */
#ifndef MIO_TRAIN_MOMENTUM_H
#define MIO_TRAIN_MOMENTUM_H

#include "nn/encoder.h"

/** How the momentum goes on. */
typedef enum mio__momentum_schedule { MIO__MOMENTUM_CONSTANT, MIO__MOMENTUM_COSINE } mio__momentum_schedule;

/** Zeroed at first. */
typedef struct mio__momentum {
    mio_encoder *encoder; /* NULL until it is first needed */
    float *statistics;    /* its running statistics before the step */
} mio__momentum;

/** Makes the copy, unless there is one. */
mio_status mio__momentum_prepare(mio__momentum *momentum, const mio_encoder *from);
void mio__momentum_free(mio__momentum *momentum, mio_context *context);
/** Keeps the running statistics, and goes back to them. Both do nothing where none was prepared. */
void mio__momentum_keep(mio__momentum *momentum);
void mio__momentum_return(mio__momentum *momentum);

/** The share of the old weights at a step of `total`: constant, or from base along half a cosine to 1 (BYOL). */
double mio__momentum_at(mio__momentum_schedule schedule, double base, uint64_t step, uint64_t total);
/**
 * weight = share weight + (1 - share) weight of `from`, for all weights. Running statistics are not averaged: the copy
 * has those of its own passes. Does nothing where there is no copy. The same bits for any number of workers.
 */
void mio__momentum_follow(mio__momentum *momentum, const mio_encoder *from, double share);

#endif
