/* Running a plan: the passes over the steps. */
#ifndef MIO_NN_PASS_H
#define MIO_NN_PASS_H

#include "nn/encoder.h"
#include "nn/plan.h"

/** What a pass works with. */
typedef struct mio__pass {
    const mio__plan *plan;
    const mio__tensor *tensors; /* of the encoder; a training pass changes running statistics and gradients */
    char *arena;                /* plan->arena_size bytes */
    void *scratch;              /* mio__plan_scratch_size(plan, workers) bytes */
    size_t workers;
} mio__pass;

/** The buffer at a place of the plan. */
void *mio__pass_at(const mio__pass *pass, size_t place);
/** Derives the forms of the weights that convolutions read. */
void mio__pass_prepare(const mio__pass *pass);
/**
 * From the packed image, value 0, through the first `steps` steps, which make the values up to number `steps`. A
 * training plan uses batch statistics and updates the running ones.
 */
void mio__pass_forward(const mio__pass *pass, size_t steps);

/** Which gradients hold something yet: one flag a value. */
typedef unsigned char mio__started;

/** Adds the gradient of an output: rows views x count x channels, or NULL for zeros where nothing else gives one. */
void mio__pass_seed(const mio__pass *pass, mio__started *started, size_t value, const float *rows);
/** From the seeded outputs to the gradients of all weights, after mio__pass_forward on the same training plan. */
void mio__pass_backward(const mio__pass *pass, mio__started *started);

#endif
