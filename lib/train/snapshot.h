/* Copies of an encoder's tensors as they are stored, to go back to. */
#ifndef MIO_TRAIN_SNAPSHOT_H
#define MIO_TRAIN_SNAPSHOT_H

#include "nn/encoder.h"

/** Which tensors. */
typedef enum mio__snapshot_kind { MIO__SNAPSHOT_ALL, MIO__SNAPSHOT_STATISTICS } mio__snapshot_kind;

/** Values that a snapshot holds. */
size_t mio__snapshot_size(const mio_encoder *encoder, mio__snapshot_kind kind);
void mio__snapshot_take(const mio_encoder *encoder, mio__snapshot_kind kind, mio__real *snapshot);
void mio__snapshot_return(mio_encoder *encoder, mio__snapshot_kind kind, const mio__real *snapshot);

#endif
