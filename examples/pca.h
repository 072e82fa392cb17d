/* The plane in which feature vectors spread most. */
#ifndef EXAMPLES_PCA_H
#define EXAMPLES_PCA_H

#include <stddef.h>

/**
 * Projects count x dim features, each scaled to length 1 as nearest neighbours see them, on their first two principal
 * directions. points: count x 2, written; shares: the parts of the variance that the two directions hold.
 */
void pca_plane(size_t count, size_t dim, const float *features, float *points, double shares[2]);

#endif
