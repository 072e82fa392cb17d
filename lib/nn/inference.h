/* Evaluation passes over batches, for arrays of floats and of bytes. */
#ifndef MIO_NN_INFERENCE_H
#define MIO_NN_INFERENCE_H

#include "nn/network.h"

/** A pass that has what it needs. */
typedef struct mio__inference_run {
    mio__inference *kind;
    mio__inference_state *state;
    mio__pass pass;
} mio__inference_run;

/** Lanes of the next batch of a call with count images when so many of them are left. */
size_t mio__inference_lanes(const mio_encoder *encoder, size_t count, size_t left);
/** Borrows a state for batches of so many lanes; may be called from several threads. Errors: MIO_ERROR_MEMORY. */
mio_status mio__inference_begin(mio_encoder *encoder, size_t lanes, mio__inference_run *run);
/** Gives it back. */
void mio__inference_end(mio_encoder *encoder, mio__inference_run *run);
/** One batch of count <= lanes images (count x height x width x channels); features and projections may be NULL. */
void mio__inference_run_batch(const mio__inference_run *run, size_t count, const float *rows, float *features,
                              float *projections);

#endif
