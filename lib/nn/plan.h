/* A plan: for one batch, where every buffer of a pass lies in a single arena. Buffers whose times do not meet share
   room; element-wise steps work in place where nothing reads their input again. */
#ifndef MIO_NN_PLAN_H
#define MIO_NN_PLAN_H

#include "kernels/batch_norm.h"
#include "kernels/conv_tuning.h"
#include "nn/graph.h"

typedef struct mio__plan {
    mio_context *context; /* borrowed, as is the graph */
    const mio__graph *graph;
    mio__images images;
    mio__conv_algorithm algorithm;
    uint64_t tuned; /* version of the table of choices that the convolutions follow; the maker keeps it */
    int training;
    uint64_t prepared; /* version of the weights that the convolutions were prepared with; 0 for none */
    mio__conv **convs; /* one a step; NULL for other steps */
    /* Inference: the convolution that a batch norm step finishes, one a step, MIO__NONE for none. It is computed in the
       batch norm's step; its own value is never stored, and its own place is MIO__NONE. */
    size_t *finished;
    mio__real *scales; /* inference: of all channels of all those batch norms, step by step */
    /* Places in the arena in bytes, or MIO__NONE. */
    size_t *values;     /* one a value */
    size_t *gradients;  /* one a value */
    size_t *statistics; /* one a step: mean, then reciprocal deviation, of a batch norm in training */
    size_t *temporary;  /* one a step: gradient of a batch norm's input before it is added to what others gave */
    size_t seed;        /* gradient of the features where it is added to that of the projections */
    size_t arena_size;
    size_t unshared_size; /* what the same buffers take without sharing */
} mio__plan;

/** The convolution that a step is, for a batch of images. */
mio__conv_geometry mio__step_geometry(const mio__graph *graph, size_t step, const mio__images *images);
/** Plans a pass over images. Errors: MIO_ERROR_MEMORY. */
mio_status mio__plan_create(mio_context *context, const mio__graph *graph, const mio__images *images,
                            mio__conv_algorithm algorithm, const mio__tuning *tuning, int training, mio__plan **plan);
/** NULL is accepted. */
void mio__plan_destroy(mio__plan *plan);
/** Bytes of scratch that the passes need for so many workers. */
size_t mio__plan_scratch_size(const mio__plan *plan, size_t workers);
/** Bytes of the means of a batch norm step, and of its reciprocal deviations, which follow them. */
size_t mio__plan_statistics_size(const mio__plan *plan, size_t step);
/** Elements before the scales of a finishing batch norm step; for the number of steps, of all of them. */
size_t mio__plan_scales_at(const mio__plan *plan, size_t step);
/** The batch norm that a step is, with this plan's images. */
mio__batch_norm mio__plan_batch_norm(const mio__plan *plan, size_t step);

#endif
