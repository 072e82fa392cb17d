/* What training sees of an optimizer: what it steps, and its state in checkpoints. */
#ifndef MIO_OPTIM_OPTIMIZER_H
#define MIO_OPTIM_OPTIMIZER_H

#include "core/archive.h"

#include <mio/loss.h>
#include <mio/optim.h>

/** 1 if the arrays of this encoder or loss have been added. */
int mio__optimizer_has(const mio_optimizer *optimizer, const void *owner);
/** Adds what a loss learns, made before (mio__loss_make_tensors); the optimizer keeps the loss alive. */
mio_status mio__optimizer_add_loss(mio_optimizer *optimizer, mio_loss *loss);
/** Writes parameters, step count and every array's state as records whose names begin with "optimizer/". Exclusions are
   the host's to set again. */
mio_status mio__optimizer_write(const mio_optimizer *optimizer, mio__archive_writer *writer);
/** Reads them into an optimizer of the same kind with the same arrays; on failure it is unchanged. */
mio_status mio__optimizer_restore(mio_optimizer *optimizer, mio__archive *archive);

#endif
