/* What training sees of an optimizer: what it steps, and its state in checkpoints. */
#ifndef MIO_OPTIM_OPTIMIZER_H
#define MIO_OPTIM_OPTIMIZER_H

#include "core/archive.h"

#include <mio/optim.h>

/** 1 if the encoder's tensors have been added. */
int mio__optimizer_has_encoder(const mio_optimizer *optimizer, const mio_encoder *encoder);
/** 1 if an array at this place has been added. */
int mio__optimizer_has_array(const mio_optimizer *optimizer, size_t count, const float *values);
/** What an optimizer has at some time, to go back to. */
typedef struct mio__optimizer_mark {
    size_t arrays, encoders, owners;
} mio__optimizer_mark;

mio__optimizer_mark mio__optimizer_mark_now(const mio_optimizer *optimizer);
/** Drops what was added since. */
void mio__optimizer_return(mio_optimizer *optimizer, mio__optimizer_mark mark);
/** Takes over a reference to what arrays belong to, and gives it back at the optimizer's end, or at once on failure. */
mio_status mio__optimizer_keep(mio_optimizer *optimizer, void *object, void (*release)(void *object));
/** Writes parameters, step count and every array's state as records whose names begin with "optimizer/". Exclusions are
   the host's to set again. */
mio_status mio__optimizer_write(const mio_optimizer *optimizer, mio__archive_writer *writer);
/** Reads them into an optimizer of the same kind with the same arrays; on failure it is unchanged. */
mio_status mio__optimizer_restore(mio_optimizer *optimizer, mio__archive *archive);

#endif
