#include "train/snapshot.h"

#include <string.h>

static int is_in(const mio__tensor *tensor, mio__snapshot_kind kind)
{
    return kind == MIO__SNAPSHOT_ALL || !tensor->trainable;
}

size_t mio__snapshot_size(const mio_encoder *encoder, mio__snapshot_kind kind)
{
    const mio__tensor *tensors;
    const size_t count = mio__encoder_tensors(encoder, &tensors);
    size_t size = 0;
    for (size_t t = 0; t < count; t++)
        size += is_in(&tensors[t], kind) ? tensors[t].stored : 0;
    return size;
}

void mio__snapshot_take(const mio_encoder *encoder, mio__snapshot_kind kind, mio__real *snapshot)
{
    const mio__tensor *tensors;
    const size_t count = mio__encoder_tensors(encoder, &tensors);
    for (size_t t = 0; t < count; t++)
        if (is_in(&tensors[t], kind)) {
            memcpy(snapshot, tensors[t].value, tensors[t].stored * sizeof *snapshot);
            snapshot += tensors[t].stored;
        }
}

void mio__snapshot_return(mio_encoder *encoder, mio__snapshot_kind kind, const mio__real *snapshot)
{
    const mio__tensor *tensors;
    const size_t count = mio__encoder_tensors(encoder, &tensors);
    for (size_t t = 0; t < count; t++)
        if (is_in(&tensors[t], kind)) {
            memcpy(tensors[t].value, snapshot, tensors[t].stored * sizeof *snapshot);
            snapshot += tensors[t].stored;
        }
    mio__encoder_changed(encoder);
}
