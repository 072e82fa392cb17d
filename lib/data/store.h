/* Inside of a dataset, for the readers that fill one. */
#ifndef MIO_DATA_STORE_H
#define MIO_DATA_STORE_H

#include "core/context.h"
#include "data/dataset.h"

/** Owned pixel memory: a list, because the readers of folders learn the sizes as they go. */
typedef struct mio__pixel_block {
    struct mio__pixel_block *next;
} mio__pixel_block;

struct mio_dataset {
    mio__references references;
    mio_context *context;
    size_t count, channels, class_count;
    const uint8_t *pixels; /* first image, where all have one size and lie height x row_stride apart */
    size_t height, width, row_stride;
    mio__pixels *places; /* count: where each image lies; NULL where `pixels` says it */
    int32_t *labels;     /* count, or NULL */
    char **class_names;  /* class_name_count, or NULL; one allocation with its text */
    size_t class_name_count;
    char *image_names;         /* text of the images' names, or NULL */
    size_t *image_name_starts; /* count: where each name begins in it */
    mio__pixel_block *blocks;  /* owned pixels */
    mio_dataset *parent;       /* of a subset: whose images it shows; never a subset itself */
    size_t *indices;           /* of a subset: count indices into parent */
};

/** Limits that keep sums and sizes far from overflow, whatever a file's header claims. */
#define MIO__IMAGE_PIXELS_LIMIT ((size_t)1 << 28)
#define MIO__IMAGE_CHANNELS_LIMIT ((size_t)1 << 12)
#define MIO__DATASET_COUNT_LIMIT ((uint64_t)UINT32_MAX)

/** An empty dataset that a reader fills; mio_dataset_release takes it away at any stage. */
mio_status mio__dataset_create(mio_context *context, mio_dataset **dataset);
/**
 * Makes room for count packed images of one size, and for labels where `labelled`. *pixels: the room.
 * Errors: MIO_ERROR_MEMORY, the size beyond size_t included.
 */
mio_status mio__dataset_make_room(mio_dataset *dataset, size_t count, size_t height, size_t width, size_t channels,
                                  int labelled, uint8_t **pixels);
/** Copies class names: count strings after one another in text, each ended by a zero byte. */
mio_status mio__dataset_name_classes(mio_dataset *dataset, size_t count, const char *text, size_t size);
/** Copies class names from a file's text, one a line; blank lines are passed over. */
mio_status mio__dataset_name_classes_by_lines(mio_dataset *dataset, const char *text, size_t size);
/** Counts the classes, forgets labels that are all -1. The last step of every reader. */
void mio__dataset_finish(mio_dataset *dataset);

/** What mio_dataset_open was asked for. */
typedef struct mio__source {
    mio_context *context;
    const char *format, *path;
    const char *split;   /* NULL where none was given */
    size_t shorter_side; /* larger images are reduced to it; folders only */
    size_t channels;     /* at least; folders only */
} mio__source;

/* The readers: each fills an empty dataset. */
mio_status mio__read_idx(const mio__source *source, mio_dataset *dataset);
mio_status mio__read_cifar10(const mio__source *source, mio_dataset *dataset);
mio_status mio__read_cifar100(const mio__source *source, mio_dataset *dataset);
mio_status mio__read_stl10(const mio__source *source, mio_dataset *dataset);
mio_status mio__read_folder(const mio__source *source, mio_dataset *dataset);
mio_status mio__read_flat(const mio__source *source, mio_dataset *dataset);

/** MIO_ERROR_ARGUMENT: format, split and what it can be. */
mio_status mio__refuse_split(const mio__source *source, const char *known);
/** folder/name in new memory; NULL when out of memory. */
char *mio__join_path(mio_context *context, const char *folder, const char *name);

#endif
