/* A batch through the encoder, at once or in micro-batches: exact gradients of large batches on little memory. */
#ifndef MIO_TRAIN_PASSES_H
#define MIO_TRAIN_PASSES_H

#include "train/trainer.h"

/**
 * `passes` passes of `views` x `count` images each, which lie one after the other as the views of a batch do. With more
 * than one pass every batch norm normalises each pass alone.
 */
typedef struct mio__cut {
    size_t views, count, passes;
} mio__cut;

/** Cuts views x count images as the trainer's parameters say. Errors: MIO_ERROR_STATE. */
mio_status mio__cut_make(const mio_trainer *trainer, size_t views, size_t count, mio__cut *cut);
/**
 * Embeds images with the trained encoder (other NULL) or with the weights of another of the same network. projections,
 * and predictions unless NULL: a row of the trainer's dim for each image. Only the last pass's activations are kept.
 */
mio_status mio__passes_forward(mio_trainer *trainer, const mio__cut *cut, mio_encoder *other, const float *images,
                               float *projections, float *predictions);
/**
 * Gradients of all weights, summed over the passes in their order, after mio__passes_forward of the same images. Of
 * several passes each is run forward once more, from the running statistics that the step began with.
 */
mio_status mio__passes_backward(mio_trainer *trainer, const mio__cut *cut, const float *images,
                                const float *grad_projections, const float *grad_predictions);

#endif
