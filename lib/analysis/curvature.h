/* A batch of a loss with known forces: its parts, and its Hessian's product with any direction. With unit vectors u,
   cosines s_ij and A_ij the force between i and j, the gradient in unit space is g_i = sum A_ij u_j and that of the
   rows (g_i - (g_i . u_i) u_i) / |z_i|. Along a direction the rows' unit vectors move by w, so that s_ij' = w_i . u_j +
   u_i . w_j and g_i' = sum A_ij' u_j + A_ij w_j: passes over the same tiles, and no matrix of pairs at any size. */
#ifndef MIO_ANALYSIS_CURVATURE_H
#define MIO_ANALYSIS_CURVATURE_H

#include "loss/loss.h"

typedef struct mio__curvature {
    mio_loss *loss;
    mio__pairs *pairs; /* the loss's, with the batch taken in; its gradient is where pulls are added up */
    mio__forces forces;
    mio__dual *cosine, *log_sum[MIO__PAIR_TERMS];
    double *weights;                   /* per pair */
    double *moved, *transposed, *bent; /* slots x width: w; the same in transposed tiles; g' */
} mio__curvature;

/** Whether the forces are known; otherwise MIO_ERROR_UNSUPPORTED, which names the losses whose are. */
mio_status mio__curvature_check(const mio_loss *loss);
/** Takes a batch in, in double, and finds its forces. Errors: those of mio_loss_compute_f64. End it in any case. */
mio_status mio__curvature_begin(mio__curvature *curvature, mio_loss *loss, size_t pairs, size_t dim, const double *z1,
                                const double *z2);
void mio__curvature_end(mio__curvature *curvature);
/** Adds the pulls of the negatives of one choice to the gradient. */
void mio__curvature_pull(mio__curvature *curvature, mio__pair_choice choice);
/** The Hessian's product with a direction, once all pulls have been added. Both are 2 x pairs x dim. */
void mio__curvature_apply(mio__curvature *curvature, const double *direction, double *product);

#endif
