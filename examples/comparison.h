/* What compare_losses measures of one encoder on one fixed batch of views, and the page that shows it. */
#ifndef EXAMPLES_COMPARISON_H
#define EXAMPLES_COMPARISON_H

#include "common.h"

enum { COMPARISON_POINTS = 64, COMPARISON_ATOMS = 256 };

/** Views of the same images for all losses: 2 x count, as a recipe draws them. */
typedef struct comparison_batch {
    mio_context *context;
    size_t count, dim; /* images; width of the projections */
    float *images;     /* 2 views x count x height x width x channels */
    int32_t *labels;
    size_t *indices;
    double *z; /* 2 x count x dim: projections of the encoder looked at last */
} comparison_batch;

/** One moment of training. Mutual information at temperatures 0.5, whatever the loss: one measure for all. */
typedef struct comparison_point {
    double step, positive_pairs, negative_pairs, info_nce, alignment, uniformity;
} comparison_point;

/** Eigenvalues with the shares of the spectrum that they stand for; count 0 where the loss has no Hessian. */
typedef struct comparison_spectrum {
    size_t count;
    double values[COMPARISON_ATOMS], shares[COMPARISON_ATOMS];
} comparison_spectrum;

/** All that is measured of one loss. [0]: before training, [1]: after. */
typedef struct comparison {
    const char *loss;
    double knn, linear; /* accuracies */
    size_t point_count;
    comparison_point points[COMPARISON_POINTS];
    comparison_spectrum by_rows[2], by_weights[2];
} comparison;

/** Draws the views with the recipe's augmentation. The dataset's images must have labels. */
comparison_batch comparison_batch_of(mio_context *context, const mio_recipe *recipe, mio_dataset *dataset, size_t count,
                                     const mio_encoder *encoder);
void comparison_batch_free(comparison_batch *batch);
/** A loss of its own with the recipe's parameters, given the batch's indices, and its labels where the recipe gives
 * them. */
mio_loss *comparison_loss(const comparison_batch *batch, const mio_recipe *recipe, const char *name);

/** Projects the batch as a training pass does; the encoder's running statistics are put back. */
comparison_point comparison_look(comparison_batch *batch, mio_encoder *encoder, double step);
/** Spectra of the loss's Hessian by the projections looked at last, and by the weights in `steps` steps (0: left out).
 */
void comparison_spectra(const comparison_batch *batch, mio_encoder *encoder, mio_loss *loss, size_t steps,
                        comparison_spectrum *by_rows, comparison_spectrum *by_weights);

/** Writes the page, and all numbers as JSON lines. */
void comparison_write_page(const char *path, const char *title, size_t count, const comparison *losses,
                           double untrained_knn, double untrained_linear);
void comparison_write_json(const char *path, size_t count, const comparison *losses);

#endif
