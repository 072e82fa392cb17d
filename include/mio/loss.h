/* libmio: contrastive losses on plain arrays: value and closed-form gradient. Needs no encoder, dataset or trainer. */
#ifndef MIO_LOSS_H
#define MIO_LOSS_H

#include <mio/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A loss with its parameters and work space. One call at a time on each object. */
typedef struct mio_loss mio_loss;

/** Name of the loss at index, in alphabetical order; NULL past the last one. Thread-safety: safe. */
MIO_API const char *mio_loss_name_at(size_t index);

/**
 * Makes a loss by name ("mio", "nt_xent", ...) with its default parameters.
 * Errors: MIO_ERROR_ARGUMENT (unknown name; the message lists the known ones), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_loss_create(mio_context *context, const char *name, mio_loss **loss);
/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_loss *mio_loss_retain(mio_loss *loss);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_loss_release(mio_loss *loss);

/** The name it was created by. The text lives as long as the library, that of a custom loss as long as the loss. */
MIO_API const char *mio_loss_name(const mio_loss *loss);
/** Sets a named parameter. Errors: MIO_ERROR_ARGUMENT names the loss, its parameters or the bounds. */
MIO_API mio_status mio_loss_set(mio_loss *loss, const char *parameter, double value);
/** As mio_loss_set, from text: a number, "true"/"false", or the name of a choice. */
MIO_API mio_status mio_loss_set_text(mio_loss *loss, const char *parameter, const char *text);
/** Reads a named parameter. */
MIO_API mio_status mio_loss_get(const mio_loss *loss, const char *parameter, double *value);
/** Number of named parameters. */
MIO_API size_t mio_loss_parameter_count(const mio_loss *loss);
/** Describes the parameter at index; info->struct_size must be set. */
MIO_API mio_status mio_loss_parameter(const mio_loss *loss, size_t index, mio_parameter_info *info);

/**
 * Value and gradient of one batch of positive pairs: row b of z1 and row b of z2 are two views of image b.
 *
 * z1, z2: pairs x dim, row-major, raw projector outputs (normalised inside, without epsilon; see docs/mathematics.md).
 * value: the loss; may be NULL. grad_z1, grad_z2: pairs x dim, overwritten; either or both may be NULL.
 * z1 and z2 may alias; the outputs overlap nothing. Any alignment of the element type.
 * A row of exact zeros has unit vector 0 and gradient 0 and is counted (mio_loss_zero_rows). A gradient beyond the
 * range of float saturates at its largest value.
 * supcon takes labels, and is a multiple of NT-Xent without; schane, cam, prototype need labels and sogclr indices
 * (mio_loss_set_batch); byol, simsiam, moco and nnclr take targets (mio_loss_set_targets), else z of the other view
 * stands for them as a constant; in moco z1 are queries, z2 keys, and grad_z2 is 0. Only a call that asks for a
 * gradient moves queues and moving averages on.
 * Errors: MIO_ERROR_STATE (labels or indices are missing; labels, indices or targets are of another shape than the
 * batch; the queue or a learnable tensor has another width), MIO_ERROR_ARGUMENT (fewer than 2 pairs where the loss has
 * negatives or statistics within the batch, dim 0, a label beyond "classes", a NULL or non-finite input: the message
 * names array, row and column), MIO_ERROR_MEMORY; of a custom loss what its callback returns, MIO_ERROR_STATE if it
 * makes a gradient that is not finite, and MIO_ERROR_UNSUPPORTED in double if it has no compute_f64.
 * Work space: O(pairs x dim), kept by the loss; no pairs x pairs matrix at any size.
 * Numerics: sums in double, in an order that does not depend on the thread count. Where a temperature of negatives is
 * below 0.05 (hcl: 0.05 (1 + beta); schane: 0.1; siglip: scale or bias above 20) float would lose digits, and the
 * whole batch is computed in double, about 5 times slower.
 * Thread-safety: one call at a time on each loss.
 */
MIO_API mio_status mio_loss_compute(mio_loss *loss, size_t pairs, size_t dim, const float *z1, const float *z2,
                                    double *value, float *grad_z1, float *grad_z2);
/** As mio_loss_compute, in double precision throughout. */
MIO_API mio_status mio_loss_compute_f64(mio_loss *loss, size_t pairs, size_t dim, const double *z1, const double *z2,
                                        double *value, double *grad_z1, double *grad_z2);

/**
 * Labels and dataset indices of the batches to come, `count` values each, one for each image (both its views have the
 * same). Copied; every compute uses them until the next mio_loss_set_batch. A NULL, or count 0, clears what was set.
 * A compute of another number of pairs is refused (MIO_ERROR_STATE) while the loss uses them.
 * labels: supcon (without them NT-Xent), schane, cam, prototype. A negative label makes the image a class of its own in
 * supcon and schane; cam and prototype need 0 .. classes - 1. indices: sogclr, which keeps a number for every index up
 * to the largest. Other losses ignore both.
 * Errors: MIO_ERROR_ARGUMENT, MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_loss_set_batch(mio_loss *loss, size_t count, const int32_t *labels, const size_t *indices);
/**
 * Constant targets of the batches to come: pairs x dim, row-major, normalised inside, copied, valid until the next
 * call. byol, simsiam: t1 is the target of view 1's image (z2 predicts it), t2 that of view 2's (z1 predicts it). moco:
 * t2 holds the keys of z1's queries; t1 is not read. nnclr: the projections whose nearest neighbours are looked up, of
 * which t1 enters the queue; z are the predictions. Where one is NULL, z of that view itself is taken; both NULL
 * forgets the targets.
 * Errors: MIO_ERROR_ARGUMENT (a loss without targets; a non-finite value), MIO_ERROR_MEMORY (the targets are
 * forgotten).
 */
MIO_API mio_status mio_loss_set_targets(mio_loss *loss, size_t pairs, size_t dim, const float *t1, const float *t2);
/** As mio_loss_set_targets, from double. */
MIO_API mio_status mio_loss_set_targets_f64(mio_loss *loss, size_t pairs, size_t dim, const double *t1,
                                            const double *t2);
/**
 * Replaces the queue of moco or nnclr: count x dim rows, normalised inside, oldest first; sets the parameter
 * "queue_size" to count. A queue that was never set is filled with random unit vectors from the context's seed.
 * After a compute that wrote a gradient, the batch's rows (moco: the keys; nnclr: view 1) take the place of the oldest.
 * Errors: MIO_ERROR_ARGUMENT (a loss without queue, a non-finite value), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_loss_set_queue(mio_loss *loss, size_t count, size_t dim, const float *rows);
/** As mio_loss_set_queue, from double. */
MIO_API mio_status mio_loss_set_queue_f64(mio_loss *loss, size_t count, size_t dim, const double *rows);

/**
 * Number of learnable tensors of the loss: siglip's "log_scale" and "bias" (numbers, also parameters of the same
 * names), cam's "anchors" and prototype's "prototypes" (classes x dim; random unit vectors from the context's seed at
 * first).
 */
MIO_API size_t mio_loss_tensor_count(const mio_loss *loss);
/**
 * Describes the tensor at index. One of classes x dim is made by the first compute or mio_loss_set_tensor, or by a
 * trainer; before that, its count and shape[1] are 0.
 */
MIO_API mio_status mio_loss_tensor(const mio_loss *loss, size_t index, mio_tensor_info *info);
/**
 * Copies a tensor out; count must be its size. A loss keeps its tensors in double, an optimizer steps them as floats.
 * Errors: MIO_ERROR_ARGUMENT, MIO_ERROR_STATE (not made yet).
 */
MIO_API mio_status mio_loss_get_tensor(const mio_loss *loss, const char *name, size_t count, double *values);
/**
 * Copies a tensor in, as mio_loss_get_tensor gives it; makes one that is not made yet, with dim = count / classes.
 * Errors: MIO_ERROR_ARGUMENT (an unknown name, another count, a non-finite value), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_loss_set_tensor(mio_loss *loss, const char *name, size_t count, const double *values);
/** Copies out the gradient that the last compute found, be it in float or double. Errors: as mio_loss_get_tensor. */
MIO_API mio_status mio_loss_get_gradient(const mio_loss *loss, const char *name, size_t count, double *values);

/** A loss of the caller's own. struct_size is set to sizeof(mio_loss_callback). */
typedef struct mio_loss_callback {
    size_t struct_size; /**< sizeof(mio_loss_callback) */
    void *user;         /**< handed to the calls */
    /** As mio_loss_compute: value is never NULL, either gradient may be. Inputs are finite. Anything but MIO_OK ends
        the call with that status. */
    mio_status (*compute)(void *user, size_t pairs, size_t dim, const float *z1, const float *z2, double *value,
                          float *grad_z1, float *grad_z2);
    /** The same in double, for mio_loss_compute_f64; may be NULL. */
    mio_status (*compute_f64)(void *user, size_t pairs, size_t dim, const double *z1, const double *z2, double *value,
                              double *grad_z1, double *grad_z2);
} mio_loss_callback;

/**
 * Makes a loss of the caller's own, to be used wherever a loss is: on arrays and in a trainer. It has no parameters,
 * and sees rows alone: no labels, indices or targets. name: for messages and checkpoints, 1 to 100 bytes; copied. user
 * must live as long as the loss.
 * Errors: MIO_ERROR_ARGUMENT (a NULL, struct_size not set, a name of another length), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_loss_create_custom(mio_context *context, const char *name, const mio_loss_callback *callback,
                                          mio_loss **loss);

/** How many rows of the last computed batch (both views) were exactly zero. */
MIO_API mio_status mio_loss_zero_rows(const mio_loss *loss, size_t *rows);
/**
 * Bytes of work space that mio_loss_compute (element_size 4) or _f64 (8) needs at a given size, with the context's
 * present "threads". What a loss keeps from batch to batch (queue, tensors, moving averages) and what was given to it
 * comes on top.
 */
MIO_API mio_status mio_loss_workspace_bytes(const mio_loss *loss, size_t pairs, size_t dim, size_t element_size,
                                            size_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
