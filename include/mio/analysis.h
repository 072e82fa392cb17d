/* libmio: why a loss learns what it learns: closed forms on plain arrays, in double; and the curvature that its
   training meets, on arrays and through an encoder. */
#ifndef MIO_ANALYSIS_H
#define MIO_ANALYSIS_H

#include <mio/encoder.h>
#include <mio/loss.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * How one gradient step of the given rate on the rows themselves would move every row, dz = -rate dL/dz, in parts that
 * add up to it, with the loss's parameters. For "mio", "mio_decoupled", "nt_xent", "dcl", "dclw", "hcl", "supcon",
 * "schane" and "siglip".
 *
 * attraction: by the row's positive, in supcon and schane by all rows of its label (less the softmax's
 * share, where the softmax holds the positives too); repulsion: by all other rows; l2: by mio's L2 term, else
 * zeros. Each of the three is 2 x pairs x dim, first the rows of z1, and may be NULL. z1, z2: pairs x dim, raw
 * projector outputs, as mio_loss_compute_f64 takes them; z1 and z2 may alias. Labels come from mio_loss_set_batch.
 * Errors: MIO_ERROR_UNSUPPORTED (another loss), MIO_ERROR_ARGUMENT (as mio_loss_compute_f64; a rate that is not
 * finite), MIO_ERROR_STATE (as mio_loss_compute_f64), MIO_ERROR_MEMORY.
 * Work space: twice that of mio_loss_compute_f64.
 * Thread-safety: one call at a time on each loss.
 */
MIO_API mio_status mio_analysis_displacements(mio_loss *loss, size_t pairs, size_t dim, const double *z1,
                                              const double *z2, double rate, double *attraction, double *repulsion,
                                              double *l2);

/** Estimates of mutual information, in nats. The caller sets struct_size. */
typedef struct mio_mutual_information {
    size_t struct_size;    /**< sizeof(mio_mutual_information) */
    double jensen_shannon; /**< positive_pairs + negative_pairs: 0 where all cosines are 0, at most 2 ln 2 */
    double positive_pairs; /**< ln 2 - mean softplus(-s / positive_temperature): grows as positives draw together */
    double negative_pairs; /**< ln 2 - mean softplus(s / negative_temperature): grows as negatives draw apart */
    double info_nce;       /**< ln(2 pairs - 1) less NT-Xent at positive_temperature: at most ln(2 pairs - 1) */
} mio_mutual_information;

/**
 * Both estimates from the cosines of one batch, for a curve along training: of any loss, at its own temperatures, that
 * is at its "positive_temperature" and "negative_temperature", or at its "temperature" for both, or at 0.5 where it has
 * none. Arguments as mio_analysis_displacements.
 * Errors: MIO_ERROR_ARGUMENT (a NULL, struct_size not set, fewer than 2 pairs, a value that is not finite),
 * MIO_ERROR_MEMORY.
 * Work space: as mio_loss_compute_f64, for the call.
 * Thread-safety: safe, beside mio_loss_compute on the same loss too, while the loss's parameters stay.
 */
MIO_API mio_status mio_analysis_mutual_information(mio_loss *loss, size_t pairs, size_t dim, const double *z1,
                                                   const double *z2, mio_mutual_information *information);

/** The same at given temperatures, finite and above 0, whatever the loss: what compares the embeddings of several
    losses. */
MIO_API mio_status mio_analysis_mutual_information_at(mio_context *context, double positive_temperature,
                                                      double negative_temperature, size_t pairs, size_t dim,
                                                      const double *z1, const double *z2,
                                                      mio_mutual_information *information);

/**
 * The gradient that reaches the weights of a linear projector z = W h + bias: the sum over rows of gradient x feature.
 *
 * gradients: count x out, dL/dz of every row (both views); features: count x in, the encoder features h; weights: out x
 * in, written. Sums in the order of the rows.
 * Errors: MIO_ERROR_ARGUMENT (a NULL or a size of 0).
 */
MIO_API mio_status mio_analysis_projector_gradient(mio_context *context, size_t count, size_t in, size_t out,
                                                   const double *gradients, const double *features, double *weights);

/**
 * Hessian-vector product: the Hessian of the loss with respect to the rows, times a direction: how the gradient of
 * mio_loss_compute_f64 changes as the raw rows move along it, through the normalisation. direction, product: 2 x
 * pairs x dim, first the rows of z1; they overlap nothing. What a loss learns or was given (tensors, labels) is
 * held; its tensors' gradients are overwritten, as by displacements and spectra.
 *
 * In closed form for "mio", "mio_decoupled", "nt_xent", "dcl", "hcl", "supcon", "schane" and "siglip". For
 * "barlow_twins", "vicreg", "cam", "prototype" and a caller's own loss with compute_f64 by central differences of the
 * gradient: about 1e-9 of the product, with a step of 1e-5 times the length of the row ("prototype"), of the centred
 * column ("barlow_twins", "vicreg") that moves the most for its length, or of all rows together. "prototype" holds rows
 * of zeros. The others, "byol", "dclw", "moco", "nnclr", "simsiam" and "sogclr", hold constant in their gradient what
 * moves with the rows, so it is the gradient of no function: MIO_ERROR_UNSUPPORTED. Other errors
 * as mio_loss_compute_f64; MIO_ERROR_ARGUMENT (a NULL, a direction that is not finite).
 * Work space: about twice that of mio_loss_compute_f64, for the call; no pairs x pairs matrix at any size.
 * Thread-safety: one call at a time on each loss.
 */
MIO_API mio_status mio_analysis_hessian_product(mio_loss *loss, size_t pairs, size_t dim, const double *z1,
                                                const double *z2, const double *direction, double *product);
/**
 * The spectrum of that Hessian by `steps` steps of Lanczos's method with full reorthogonalisation.
 *
 * eigenvalues: the Ritz values, ascending; the outermost are the Hessian's own eigenvalues first. weights: sum to 1;
 * with them the eigenvalues stand for the whole spectrum as the start vector sees it, so that a function's mean over
 * the spectrum is near the sum of weights[i] f(eigenvalues[i]), and the density is drawn by widening each to a bell
 * (stochastic Lanczos quadrature; mean over several probes). Both hold `steps` values, of which *count are written:
 * fewer where the Hessian has fewer (as many as rows x dim; a matrix of low rank). probe: the start vector, random
 * normal numbers drawn from the context's seed and this number, below 2^32. Same bits for any number of threads.
 * Errors: mio_analysis_hessian_product's; MIO_ERROR_ARGUMENT (steps 0, a probe of 2^32 or more, a NULL place). Memory
 * on top: (steps + 1) x 2 x pairs x dim doubles.
 */
MIO_API mio_status mio_analysis_hessian_spectrum(mio_loss *loss, size_t pairs, size_t dim, const double *z1,
                                                 const double *z2, size_t steps, uint64_t probe, double *eigenvalues,
                                                 double *weights, size_t *count);

/**
 * The step of differences of an encoder's gradients where none is given, in units of the length of all weights. Smaller
 * ones lose more to rounding in float (about 4e-8 / step of the product), larger ones to third derivatives (about 3
 * step^2), and count more of the kinks of ReLU as curvature; without those, the product is best, within 1e-4, at 2e-3.
 */
#define MIO_ANALYSIS_STEP 1e-4

/** How many numbers of an encoder are trained: all trainable tensors, in the order of mio_encoder_tensor. */
MIO_API mio_status mio_analysis_encoder_weights(const mio_encoder *encoder, size_t *count);
/**
 * Hessian-vector product with respect to an encoder's weights, of the training loss of one fixed batch: central
 * differences of back-propagated gradients. direction, product: as many values as mio_analysis_encoder_weights says,
 * in its order.
 *
 * images: 2 views x pairs x height x width x channels floats, normalised, as mio_encoder_forward takes them (each view
 * by itself in batch norm). step: the weights move to either side by step times the length of all weights; 0:
 * MIO_ANALYSIS_STEP. Weights and running statistics are as before, bit for bit, when the call returns, also after an
 * error; the gradients are not, and a mio_encoder_backward needs a new mio_encoder_forward.
 * Errors: those of the passes and of mio_loss_compute_f64; MIO_ERROR_UNSUPPORTED (the losses that
 * mio_analysis_hessian_product refuses); MIO_ERROR_ARGUMENT (an encoder without projections; a step below 0 or not
 * finite).
 * Memory: 3 doubles and 2 floats a weight.
 * Thread-safety: one call at a time on encoder and loss.
 */
MIO_API mio_status mio_analysis_encoder_hessian_product(mio_encoder *encoder, mio_loss *loss, size_t pairs,
                                                        const float *images, double step, const double *direction,
                                                        double *product);
/**
 * Its spectrum, as mio_analysis_hessian_spectrum: each step is two passes forward and back.
 * Errors: those of mio_analysis_encoder_hessian_product and mio_analysis_hessian_spectrum; MIO_ERROR_ARGUMENT (an
 * encoder without weights). Memory on top: (steps + 1) doubles a weight.
 */
MIO_API mio_status mio_analysis_encoder_hessian_spectrum(mio_encoder *encoder, mio_loss *loss, size_t pairs,
                                                         const float *images, double step, size_t steps, uint64_t probe,
                                                         double *eigenvalues, double *weights, size_t *count);

#ifdef __cplusplus
}
#endif
#endif
