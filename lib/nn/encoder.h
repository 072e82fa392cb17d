/* What the rest of the library sees of an encoder: its tensors as they are stored, and its part of an archive. */
#ifndef MIO_NN_ENCODER_H
#define MIO_NN_ENCODER_H

#include "core/archive.h"
#include "kernels/conv_tuning.h"
#include "kernels/real.h"

#include <mio/encoder.h>

/** A weight or running statistic. Weights are stored in the blocked layout of kernels/layout.h, whose filling is 0 in
    values and gradients alike, so that element-wise steps and norms need not know about it. */
typedef struct mio__tensor {
    const char *name;
    size_t rank;
    size_t shape[4];     /* PyTorch's */
    size_t count;        /* elements without filling */
    size_t stored;       /* elements with filling */
    mio__real *value;    /* stored elements, aligned to 64 */
    int trainable;       /* 0 for running statistics */
    mio__real *gradient; /* the same; NULL for running statistics, and for weights before the first training pass */
} mio__tensor;

mio_context *mio__encoder_context(const mio_encoder *encoder);
/** Values of all tensors together, as stored: from the first tensor's on. */
size_t mio__encoder_values_count(const mio_encoder *encoder);
/** The tensors in order; they stay where they are as long as the encoder lives. */
size_t mio__encoder_tensors(const mio_encoder *encoder, const mio__tensor **tensors);
/** Gives trainable tensors their gradients, 0 at first, if they have none yet. Errors: MIO_ERROR_MEMORY. */
mio_status mio__encoder_make_gradients(mio_encoder *encoder);
/** To be called after tensors were changed from outside: derived weights are then made afresh before the next pass. */
void mio__encoder_changed(mio_encoder *encoder);
/** Choices of the parameters "algorithm", "initialization" and "precision", which recipes have too. */
extern const char *const mio__algorithm_names[], *const mio__initialization_names[], *const mio__precision_names[];

/** Another encoder of the same network, with the same parameters, weights, running statistics, normalisation and
    choices. */
mio_status mio__encoder_copy(const mio_encoder *encoder, mio_encoder **copy);
/**
 * mio_encoder_forward with the weights of `other`, an encoder of the same network, whose running statistics move on;
 * those of `encoder`, which lends its memory, stay. There is no way back. projections are written.
 */
mio_status mio__encoder_forward_as(mio_encoder *encoder, mio_encoder *other, size_t views, size_t count,
                                   const float *images, float *projections);

/** Whether the encoder can train on such a batch: a batch norm over one value has no variance; PyTorch refuses it
    too. */
mio_status mio__encoder_check_batch(const mio_encoder *encoder, size_t views, size_t count);
/** Exchanges the encoder's table of choices for another of its context. Cannot fail. */
void mio__encoder_swap_tuning(mio_encoder *encoder, mio__tuning *tuning);
/** Reads the table that an archive holds; an empty one where it holds none. */
mio_status mio__encoder_read_tuning(mio_context *context, mio__archive *archive, mio__tuning *tuning);
/** Appends the table, if it is not empty. */
mio_status mio__encoder_write_tuning(const mio_encoder *encoder, mio__archive_writer *writer);

/** Appends graph, tensors, normalisation and choices to an archive. */
mio_status mio__encoder_write(const mio_encoder *encoder, mio__archive_writer *writer);
/** Reads tensors and normalisation, no choices, into an encoder of the same graph; on failure it is unchanged. */
mio_status mio__encoder_restore(mio_encoder *encoder, mio__archive *archive);
/** Appends the tensors alone, as records PREFIX/tensor/NAME. */
mio_status mio__encoder_write_tensors(const mio_encoder *encoder, const char *prefix, mio__archive_writer *writer);
/** Reads them; on failure the encoder is of no more use. */
mio_status mio__encoder_read_tensors(mio_encoder *encoder, const char *prefix, mio__archive *archive);

#endif
