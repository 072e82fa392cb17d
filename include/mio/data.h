/* libmio: datasets: labelled or unlabelled byte images from files, folders, memory or a callback. */
#ifndef MIO_DATA_H
#define MIO_DATA_H

#include <mio/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A sequence of byte images (height x width x channels, RGB or grey) with optional labels. Immutable once made; may be
 * read from any threads at once. Reference-counted.
 */
typedef struct mio_dataset mio_dataset;

/** Name of the dataset format at index ("cifar10", "cifar100", "flat", "folder", "idx", "stl10"); NULL past the
    last. */
MIO_API const char *mio_dataset_format_at(size_t index);

/**
 * Opens a dataset and decodes it into memory once.
 *
 * format, path, split:
 *   "idx"      a folder of IDX files, plain or .gz, with the MNIST names; split "train" or "test" (t10k)
 *   "cifar10"  the binary version: its folder, or the .tar.gz (or .tar) itself; split "train" or "test"
 *   "cifar100" likewise, fine labels (split "train:coarse" or "test:coarse" takes the 20 coarse ones)
 *   "stl10"    likewise; split "train", "test", "unlabeled", or "train:K" for fold K of 0..9
 *   "folder"   one sub-folder per class (sorted by name), JPEG and PNG inside at any depth; path is a folder, or a .tar.gz
 *              or .tar of such folders; split names a sub-folder of path, or is NULL
 *   "flat"     all JPEG and PNG images below path, without labels; path and split as for "folder"
 * Images of folders keep their own sizes up to a limit (mio_dataset_options), lie in the order of their names (bytes
 * compared), are RGB unless all are grey (mio_dataset_options), and lose their alpha. .jpg, .jpeg and .png are found in
 * any case; names that begin with a dot are passed over; symbolic links are followed, but not back into a folder that
 * leads to them.
 * Errors: MIO_ERROR_IO, MIO_ERROR_FORMAT (truncated, oversized or corrupt: file and offset are named),
 * MIO_ERROR_UNSUPPORTED (a codec this build lacks; CMYK), MIO_ERROR_ARGUMENT (unknown format or split; an empty
 * dataset), MIO_ERROR_MEMORY.
 * Memory: from the context, except what libjpeg takes while it decodes one image, at most 1 GiB.
 */
MIO_API mio_status mio_dataset_open(mio_context *context, const char *format, const char *path, const char *split,
                                    mio_dataset **dataset);

/** How to open a dataset. The caller sets struct_size; 0 elsewhere takes the default. */
typedef struct mio_dataset_options {
    size_t struct_size; /**< sizeof(mio_dataset_options) */
    /** "folder", "flat": larger images are reduced to this shorter side by averaging; default 256. */
    size_t shorter_side;
    /** "folder", "flat": 3 makes images RGB also where all are grey, for an encoder of colour images; default: RGB
        unless all are grey. */
    size_t channels;
} mio_dataset_options;
/** As mio_dataset_open, with options. NULL options equal mio_dataset_open. Errors also: MIO_ERROR_ARGUMENT (channels
    other than 0 and 3). */
MIO_API mio_status mio_dataset_open_with(mio_context *context, const char *format, const char *path, const char *split,
                                         const mio_dataset_options *options, mio_dataset **dataset);

/**
 * A dataset over the caller's own pixels, not copied: they must outlive the dataset. images: count x height rows of
 * width x channels bytes, row_stride bytes apart (0: width x channels). labels: count values >= 0, or NULL; copied.
 * Errors: MIO_ERROR_ARGUMENT (a NULL, an extent of 0, a stride shorter than a row, a negative label), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_dataset_from_memory(mio_context *context, size_t count, size_t height, size_t width,
                                           size_t channels, size_t row_stride, const uint8_t *images,
                                           const int32_t *labels, mio_dataset **dataset);

/**
 * Image callback: writes image `index` (height x width x channels bytes, packed) and its label (-1 for none). Returns
 * 0, or any other number to fail the read with MIO_ERROR_IO. May be called from several threads concurrently.
 */
typedef struct mio_image_source {
    size_t struct_size;                                                         /**< sizeof(mio_image_source) */
    void *user;                                                                 /**< handed to read */
    int32_t (*read)(void *user, size_t index, uint8_t *pixels, int32_t *label); /**< 0 on success */
} mio_image_source;
/**
 * A dataset whose images come from a callback: each is read once, now, and kept in memory.
 * Errors: MIO_ERROR_IO (the callback failed; the message names the image), MIO_ERROR_ARGUMENT (a NULL, an extent of 0),
 * MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_dataset_from_callback(mio_context *context, size_t count, size_t height, size_t width,
                                             size_t channels, const mio_image_source *source, mio_dataset **dataset);

/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_dataset *mio_dataset_retain(mio_dataset *dataset);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_dataset_release(mio_dataset *dataset);

/** Number of images. */
MIO_API size_t mio_dataset_count(const mio_dataset *dataset);
/** Channels of every image. */
MIO_API size_t mio_dataset_channels(const mio_dataset *dataset);
/** Size of one image; they differ only in "folder" and "flat". Either pointer may be NULL. */
MIO_API mio_status mio_dataset_image_size(const mio_dataset *dataset, size_t index, size_t *height, size_t *width);
/** Copies one image out: height x width x channels bytes, packed. Errors: MIO_ERROR_ARGUMENT (no such image; capacity,
    in bytes, below its size). */
MIO_API mio_status mio_dataset_image(const mio_dataset *dataset, size_t index, size_t capacity, uint8_t *pixels);
/** Label of one image, -1 where there is none. Errors: MIO_ERROR_ARGUMENT (no such image). Splits of a "folder" are
    opened each on its own, and each numbers its own classes: compare their names. */
MIO_API mio_status mio_dataset_label(const mio_dataset *dataset, size_t index, int32_t *label);
/** Number of classes: the highest label + 1, 0 without labels. A subset or a split has its parent's. */
MIO_API size_t mio_dataset_class_count(const mio_dataset *dataset);
/** Name of a class, or NULL where the dataset has none. Lives as long as the dataset. */
MIO_API const char *mio_dataset_class_name(const mio_dataset *dataset, size_t label);

/**
 * The file that an image came from: its path below the folder, or the split of it, that was opened ("cat/1.png"), as
 * the archive has it for a tar. *name lives as long as the dataset; of a subset or a split, as long as its parent or
 * any part.
 * Errors: MIO_ERROR_UNSUPPORTED (a dataset whose images are no files of their own: any but "folder" and "flat"),
 * MIO_ERROR_ARGUMENT (no such image, a NULL).
 */
MIO_API mio_status mio_dataset_image_name(const mio_dataset *dataset, size_t index, const char **name);

/** The images at the given indices, in that order, sharing the pixels of the parent. Errors: MIO_ERROR_ARGUMENT (no
    such image; none at all), MIO_ERROR_MEMORY. */
MIO_API mio_status mio_dataset_subset(mio_dataset *dataset, size_t count, const size_t *indices, mio_dataset **subset);
/**
 * Splits at random into two: the first gets `fraction` of the images, class by class where there are labels (rounded to
 * the nearest number that leaves no class empty on either side; a class of one image goes to the first), the second the
 * rest. Both keep the dataset's order. The same seed gives the same split, and a larger fraction keeps what a smaller
 * one took.
 * Errors: MIO_ERROR_ARGUMENT (fraction outside (0, 1); nothing would be left for the second).
 */
MIO_API mio_status mio_dataset_split(mio_dataset *dataset, double fraction, uint64_t seed, mio_dataset **first,
                                     mio_dataset **second);
/** Per-channel mean and population standard deviation over all pixels, `channels` values each, in units of [0,1].
    Errors: MIO_ERROR_ARGUMENT (a NULL, another number of channels), MIO_ERROR_MEMORY. */
MIO_API mio_status mio_dataset_statistics(const mio_dataset *dataset, size_t channels, double *mean, double *deviation);

#ifdef __cplusplus
}
#endif
#endif
