/* libmio: why a loss learns what it learns: closed forms on plain arrays, in double. Needs loss.h alone. */
#ifndef MIO_ANALYSIS_H
#define MIO_ANALYSIS_H

#include <mio/loss.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * How one gradient step of the given rate on the rows themselves would move every row, dz = -rate dL/dz, in parts that add
 * up to it. For the losses "mio" and "nt_xent", with the loss's parameters.
 *
 * attraction: by the row's positive (nt_xent: what is left of it, the softmax's share taken off); repulsion: by all
 * negatives; l2: by mio's L2 term, zeros in nt_xent. Each of the three is 2 x pairs x dim, first the rows of z1, and
 * may be NULL. z1, z2: pairs x dim, raw projector outputs, as mio_loss_compute_f64 takes them; z1 and z2 may alias.
 * Errors: MIO_ERROR_UNSUPPORTED (another loss), MIO_ERROR_ARGUMENT (as mio_loss_compute_f64; a rate that is not finite),
 * MIO_ERROR_MEMORY. Work space: that of mio_loss_compute_f64. Thread-safety: one call at a time on each loss.
 */
MIO_API mio_status mio_analysis_displacements(mio_loss *loss, size_t pairs, size_t dim, const double *z1,
                                              const double *z2, double rate, double *attraction, double *repulsion,
                                              double *l2);

/** Estimates of mutual information, in nats. The caller sets struct_size. */
typedef struct mio_mutual_information {
    size_t struct_size;     /**< sizeof(mio_mutual_information) */
    double jensen_shannon;  /**< positive_pairs + negative_pairs: 0 where both look alike, at most 2 ln 2 */
    double positive_pairs;  /**< ln 2 - mean softplus(-s / positive_temperature): grows as positives draw together */
    double negative_pairs;  /**< ln 2 - mean softplus(s / negative_temperature): grows as negatives draw apart */
    double info_nce;        /**< ln(2 pairs - 1) less NT-Xent at the loss's temperature: at most ln(2 pairs - 1) */
} mio_mutual_information;

/**
 * Both estimates from the cosines of one batch, for a curve along training. For the losses "mio" (info_nce at its
 * positive_temperature) and "nt_xent" (jensen_shannon with both temperatures equal to its own). Arguments and errors as
 * mio_analysis_displacements.
 */
MIO_API mio_status mio_analysis_mutual_information(mio_loss *loss, size_t pairs, size_t dim, const double *z1,
                                                   const double *z2, mio_mutual_information *information);

/**
 * The gradient that reaches the weights of a linear projector z = W h + bias: the sum over rows of gradient x feature.
 *
 * gradients: count x out, dL/dz of every row (both views); features: count x in, the encoder features h; weights: out x in,
 * written. Sums in the order of the rows. Errors: MIO_ERROR_ARGUMENT (a NULL or a size of 0).
 */
MIO_API mio_status mio_analysis_projector_gradient(mio_context *context, size_t count, size_t in, size_t out,
                                                   const double *gradients, const double *features, double *weights);

#ifdef __cplusplus
}
#endif
#endif
