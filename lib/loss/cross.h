/* Rectangular passes: cosines of the rows of one side (left) with those of another (right), tile by tile. Each item
   owns a tile of left rows and walks all right ones, so the bits do not depend on the number of workers. What a pass
   adds to goes to the left side; for the right side the pass is run the other way round. */
#ifndef MIO_LOSS_CROSS_H
#define MIO_LOSS_CROSS_H

#include "loss/pair.h"

/** Unit vectors, count x plan.width, padded with zeros to whole tiles of plan.edge rows. */
typedef struct mio__cross_side {
    const void *rows;
    size_t element; /* 4 or 8; the left side's is the passes' */
    size_t count;
} mio__cross_side;

typedef struct mio__cross {
    mio__pairs *pairs; /* of the batch begun: plan and kernels; its tile space is used */
    mio__cross_side left, right;
    void *scratch; /* mio__cross_bytes() */
} mio__cross;

/** Bytes of scratch; 0 on overflow. */
size_t mio__cross_bytes(const mio__pair_plan *plan);
/** A view of the batch as a side, and where its gradient is added up. */
mio__cross_side mio__cross_view(const mio__pairs *pairs, size_t view);
void *mio__cross_gradient(const mio__pairs *pairs, size_t view);

/** sums[left row] = the sum over right rows of exp(rate s). sums: whole tiles. */
void mio__cross_log_sums(const mio__cross *cross, double rate, mio__log_sum *sums);
/** The same; also gradient[left row] += sum over right rows of exp(rate s) unit_right. Not for wide plans, where it may
    overflow. */
void mio__cross_exponentials(const mio__cross *cross, double rate, mio__log_sum *sums, void *gradient);
/**
 * gradient[left row] += sum over right rows of weight unit_right, where weight is factor exp(rate s - shift) of the
 * left row (of_left), or of the right row (of_right); the other is NULL. Weights: whole tiles. For narrow plans the
 * caller settles them (mio__cross_settle).
 */
void mio__cross_pull(const mio__cross *cross, double rate, const mio__row_weight *of_left,
                     const mio__row_weight *of_right, void *gradient);
/** Puts the shift of narrow weights into their factors, and clears the weights from count to the end of its tile. */
void mio__cross_settle(const mio__pairs *pairs, size_t count, mio__row_weight *weights);
/** nearest[left row] = the right row of the largest cosine, the first of equals; largest[left row] = that cosine. */
void mio__cross_nearest(const mio__cross *cross, size_t *nearest, double *largest);

#endif
