/* What the loader and the evaluation see of a dataset: pixels without a copy. */
#ifndef MIO_DATA_DATASET_H
#define MIO_DATA_DATASET_H

#include <mio/data.h>

/** One image where it lies. */
typedef struct mio__pixels {
    const uint8_t *pixels;
    size_t height, width, row_stride; /* row_stride in bytes */
} mio__pixels;

mio_context *mio__dataset_context(const mio_dataset *dataset);
/** Image at index, which must exist. Valid as long as the dataset. */
mio__pixels mio__dataset_pixels(const mio_dataset *dataset, size_t index);
/** Its label, -1 for none. */
int32_t mio__dataset_label(const mio_dataset *dataset, size_t index);

#endif
