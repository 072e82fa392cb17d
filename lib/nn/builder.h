/* What the presets, which are made of public builder calls, need besides: errors that stick and names under a prefix.
 */
#ifndef MIO_NN_BUILDER_H
#define MIO_NN_BUILDER_H

#include "nn/layers.h"

#include <mio/encoder.h>

struct mio_builder {
    mio__references references;
    mio_context *context;
    mio__layers layers;
    mio_status status; /* the first error, and its words */
    char error[512];
    char name[MIO__LAYER_NAME_LIMIT + 1]; /* of the next layer; "" for none */
};

/** Records a failure, if it is the first, and returns -1. */
mio_node mio__builder_stick(mio_builder *builder, mio_status status);
/** Moves the name given for the next layer to name (MIO__LAYER_NAME_LIMIT + 1 bytes). */
void mio__builder_take_name(mio_builder *builder, char *name);
/** Names the next layer "prefix.format", or "format" where the prefix is "". */
__attribute__((format(printf, 3, 4))) void mio__builder_name_under(mio_builder *builder, const char *prefix,
                                                                   const char *format, ...);

#endif
