/* Direct convolution: what conv.c plans and runs where Winograd does not apply. */
#ifndef MIO_KERNELS_CONV_DIRECT_H
#define MIO_KERNELS_CONV_DIRECT_H

#include "core/context.h"
#include "kernels/conv.h"
#include "kernels/gemm.h"

/** Along one axis: the taps that meet each written position, and the position that each of them reads. */
typedef struct mio__axis {
    size_t *first; /* the taps of position o are those from first[o] to below first[o + 1] */
    size_t *tap, *source;
} mio__axis;

/** A run of written columns that meet the same taps and whose pixels are read and written by one GEMM. */
typedef struct mio__segment {
    size_t column, length, kernel;
} mio__segment;

/**
 * A pass from one tensor to another: forward reads x and writes y, the data gradient reads dy and writes dx. Both are
 * one batch-reduce GEMM per segment and written channel block, over the read channel blocks and the taps that meet it.
 */
typedef struct mio__direct {
    mio__shape source, target;
    size_t kernel, lanes, groups; /* groups of all views */
    mio__axis rows, columns;
    mio__segment *segments;
    size_t segment_count, segments_per_item;
    mio__gemm (*gemms)[2]; /* by segment's kernel and accumulate */
    size_t gemm_count;
    mio__precision precision; /* of the tensors and of the weights as they are read */
} mio__direct;

/** Plans forward (backward 0) or the data gradient. The struct must be zeroed. Errors: MIO_ERROR_MEMORY. */
mio_status mio__direct_create(mio_context *context, const mio__conv_geometry *geometry, int backward,
                              mio__direct *direct);
void mio__direct_destroy(mio_context *context, mio__direct *direct);
size_t mio__direct_scratch_size(const mio__direct *direct, size_t workers);
/** weights: [target block][source block][row][column][source channel][target channel], in bf16 in pairs of source
    channels. finish may be NULL. */
void mio__direct_run(mio_context *context, const mio__direct *direct, size_t workers, void *scratch,
                     const void *weights, const mio__finish *finish, const void *source, void *target, int accumulate);
/** Finishes `rows` rows of `block` channels at y, of channel block `index`; they lie in the tensor `target`. */
void mio__finish_rows(const mio__finish *finish, mio__precision precision, size_t index, size_t block, size_t rows,
                      const void *target, void *y);

/** Weights as the data gradient reads them: [in block][out block][row][column][out channel][in channel], in bf16 in
   pairs of out channels. */
void mio__direct_transpose(mio_context *context, const mio__conv_geometry *geometry, size_t workers,
                           const mio__real *weights, void *transposed);
/** Weights as forward reads them in bf16. */
void mio__direct_pair(mio_context *context, const mio__conv_geometry *geometry, size_t workers,
                      const mio__real *weights, void *paired);

/** The weight gradient: a batch-reduce GEMM over pixels for each pair of blocks and each tap. */
typedef struct mio__direct_weights {
    mio__conv_geometry geometry;
    size_t groups;       /* of all views */
    size_t pieces;       /* a power of two: partial sums, each over a fixed run of output rows of the batch */
    size_t rows_at_once; /* output rows whose pixels stay in cache while all taps use them */
    mio__gemm first, next;
} mio__direct_weights;

mio__direct_weights mio__direct_weights_make(const mio__conv_geometry *geometry);
size_t mio__direct_weights_scratch_size(const mio__direct_weights *plan, size_t workers);
void mio__direct_weights_run(mio_context *context, const mio__direct_weights *plan, size_t workers, void *scratch,
                             const void *x, const void *dy, mio__real *dw);

/**
 * target = the sum of `pieces` (a power of two) arrays of `count` elements that lie one after the other, added in a
 * binary tree. The arrays are used up.
 */
void mio__sum_pieces(mio_context *context, size_t workers, size_t pieces, size_t count, mio__real *partial,
                     mio__real *target);

#endif
