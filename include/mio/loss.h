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
 * Ownership: the caller releases it; it keeps the context alive.
 * Errors: MIO_ERROR_ARGUMENT (unknown name; the message lists the known ones), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_loss_create(mio_context *context, const char *name, mio_loss **loss);
/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_loss *mio_loss_retain(mio_loss *loss);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_loss_release(mio_loss *loss);

/** The name it was created by. The text lives as long as the library. */
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
 * Errors: MIO_ERROR_ARGUMENT (fewer than 2 pairs where the loss has negatives, dim 0, a NULL or non-finite input: the
 * message names array, row and column), MIO_ERROR_MEMORY.
 * Work space: O(pairs x dim), kept by the loss; no pairs x pairs matrix at any size.
 * Numerics: sums in double, in an order that does not depend on the thread count. Where a temperature of negatives is
 * below 0.05 (hcl: 0.05 (1 + beta)) float would lose digits, and the whole batch is computed in double, about 5 times
 * slower.
 * Thread-safety: one call at a time on each loss.
 */
MIO_API mio_status mio_loss_compute(mio_loss *loss, size_t pairs, size_t dim, const float *z1, const float *z2,
                                    double *value, float *grad_z1, float *grad_z2);
/** As mio_loss_compute, in double precision throughout. */
MIO_API mio_status mio_loss_compute_f64(mio_loss *loss, size_t pairs, size_t dim, const double *z1, const double *z2,
                                        double *value, double *grad_z1, double *grad_z2);

/** How many rows of the last computed batch (both views) were exactly zero. */
MIO_API mio_status mio_loss_zero_rows(const mio_loss *loss, size_t *rows);
/** Bytes of work space that mio_loss_compute (element_size 4) or _f64 (8) needs at a given size. */
MIO_API mio_status mio_loss_workspace_bytes(const mio_loss *loss, size_t pairs, size_t dim, size_t element_size,
                                            size_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
