/* libmio: random views of images, and the loader that assembles batches of them ahead of the step. */
#ifndef MIO_AUGMENT_H
#define MIO_AUGMENT_H

#include <mio/data.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A pipeline of random operations from a byte image to a normalised float view, in this order: horizontal flip, random
 * resized crop, colour jitter, grey, Gaussian blur, solarise, normalisation. The semantics are torchvision 0.14's on
 * float tensors. Which random numbers a view gets depends only on (seed, epoch, image, view, operation).
 * Thread-safety: it may be applied from any threads at once, and set only while no call uses it.
 */
typedef struct mio_augment mio_augment;

/** Name of the preset at index ("mio-paper", "none", "simclr", ...); NULL past the last one. */
MIO_API const char *mio_augment_name_at(size_t index);
/**
 * Makes a pipeline from a preset for views of height x width x channels. Every probability and range is a named
 * parameter. Images of other than 1 or 3 channels have no colour: a pipeline that would change it is refused where it
 * is used (mio_augment_apply, the loader, mio_recipe_build), so that its parameters can be set before.
 * Errors: MIO_ERROR_ARGUMENT (unknown preset; views that cannot be), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_augment_create(mio_context *context, const char *preset, size_t height, size_t width,
                                      size_t channels, mio_augment **augment);
/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_augment *mio_augment_retain(mio_augment *augment);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_augment_release(mio_augment *augment);
/** Sets a named parameter. Errors: MIO_ERROR_ARGUMENT names the parameter and its bounds. */
MIO_API mio_status mio_augment_set(mio_augment *augment, const char *parameter, double value);
/** Sets a named parameter from text: a number, "true"/"false", or the name of a choice. */
MIO_API mio_status mio_augment_set_text(mio_augment *augment, const char *parameter, const char *text);
/** Reads a named parameter. */
MIO_API mio_status mio_augment_get(const mio_augment *augment, const char *parameter, double *value);
/** Number of named parameters. */
MIO_API size_t mio_augment_parameter_count(const mio_augment *augment);
/** Describes the parameter at index; info->struct_size must be set. Errors: MIO_ERROR_ARGUMENT past the last. */
MIO_API mio_status mio_augment_parameter(const mio_augment *augment, size_t index, mio_parameter_info *info);
/** Per-channel mean and deviation subtracted and divided by at the end, in units of [0,1]. Default 0 and 1.
    Errors: MIO_ERROR_ARGUMENT (another number of channels than the views', a value that is not finite, a deviation of 0). */
MIO_API mio_status mio_augment_set_normalization(mio_augment *augment, size_t channels, const double *mean,
                                                 const double *deviation);
/**
 * One view of one image.
 * pixels: height x width x channels bytes, row_stride bytes between rows (0: packed); view: the pipeline's height x
 * width x channels floats, written. seed, epoch, image and view_index name the random stream; epoch and image are below
 * 2^32, view_index below 2^16.
 * Errors: MIO_ERROR_ARGUMENT (a NULL, an extent of 0, a stride shorter than a row, a number beyond those),
 * MIO_ERROR_MEMORY.
 * Thread-safety: may run concurrently with itself.
 * Memory: from the context, freed before it returns.
 */
MIO_API mio_status mio_augment_apply(const mio_augment *augment, uint64_t seed, uint64_t epoch, uint64_t image,
                                     uint64_t view_index, size_t height, size_t width, size_t row_stride,
                                     const uint8_t *pixels, float *view);

/** Walks a dataset epoch by epoch in a random order and hands out batches of views. One call at a time. */
typedef struct mio_loader mio_loader;

/** A batch, borrowed from the loader until the next mio_loader_next. The caller sets struct_size. */
typedef struct mio_batch {
    size_t struct_size;    /**< sizeof(mio_batch) */
    uint64_t epoch;        /**< counted from 0 */
    uint64_t step;         /**< batch within the epoch, counted from 0 */
    size_t count;          /**< images */
    size_t views;          /**< views of each image */
    const float *images;   /**< views x count x height x width x channels, normalised */
    const size_t *indices; /**< count: which images of the dataset */
    const int32_t *labels; /**< count: their labels, -1 where there is none */
    double wait_seconds;   /**< how long this call waited for the batch to be ready */
} mio_batch;

/**
 * Makes a loader. Parameters: "batch_size", "views", "seed", "shuffle", "drop_last", "prefetch" (batches assembled
 * ahead by a thread of the loader's own on the context's executor; 0 assembles inside mio_loader_next, as does a
 * context of one thread). The batches do not depend on prefetch or threads.
 * The loader keeps dataset and augment alive; the augment must not be changed after the first batch.
 */
MIO_API mio_status mio_loader_create(mio_dataset *dataset, mio_augment *augment, mio_loader **loader);
/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_loader *mio_loader_retain(mio_loader *loader);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_loader_release(mio_loader *loader);
/** Sets a named parameter. Errors: MIO_ERROR_ARGUMENT names the parameter and its bounds. */
MIO_API mio_status mio_loader_set(mio_loader *loader, const char *parameter, double value);
/** Sets a named parameter from text: a number, "true"/"false", or the name of a choice. */
MIO_API mio_status mio_loader_set_text(mio_loader *loader, const char *parameter, const char *text);
/** Reads a named parameter. */
MIO_API mio_status mio_loader_get(const mio_loader *loader, const char *parameter, double *value);
/** Number of named parameters. */
MIO_API size_t mio_loader_parameter_count(const mio_loader *loader);
/** Describes the parameter at index; info->struct_size must be set. Errors: MIO_ERROR_ARGUMENT past the last. */
MIO_API mio_status mio_loader_parameter(const mio_loader *loader, size_t index, mio_parameter_info *info);
/** Batches in one epoch. Errors: MIO_ERROR_ARGUMENT if drop_last leaves none (the message says how many images). */
MIO_API mio_status mio_loader_steps_per_epoch(const mio_loader *loader, uint64_t *steps);
/** Next batch; runs on into the next epoch for ever. Errors: those of reading and augmenting. */
MIO_API mio_status mio_loader_next(mio_loader *loader, mio_batch *batch);
/** Continues so that the next batch is batch `step` of epoch `epoch`; throws away what was assembled ahead. */
MIO_API mio_status mio_loader_seek(mio_loader *loader, uint64_t epoch, uint64_t step);

#ifdef __cplusplus
}
#endif
#endif
