/* Whether views are what an encoder expects. */
#ifndef MIO_TRAIN_VIEWS_H
#define MIO_TRAIN_VIEWS_H

#include <mio/augment.h>
#include <mio/encoder.h>

/** Refuses views of another height, width or number of channels than the encoder's. */
mio_status mio__views_check(const mio_encoder *encoder, const mio_augment *augment);
/** 1 if views are normalised as mio_encoder_embed normalises images; else the two show the encoder different things. */
int mio__views_agree(const mio_encoder *encoder, const mio_augment *augment);

#endif
