/* The pipeline behind mio_augment: first everything random about a view is drawn, then the view is rendered. */
#ifndef MIO_DATA_AUGMENT_H
#define MIO_DATA_AUGMENT_H

#include "core/context.h"
#include "core/settings.h"
#include "data/augment_operations.h"

#include <mio/augment.h>

/** The parameters, in the table's order. */
enum {
    MIO__AUGMENT_CROP,
    MIO__AUGMENT_CROP_SCALE_MIN,
    MIO__AUGMENT_CROP_SCALE_MAX,
    MIO__AUGMENT_CROP_RATIO_MIN,
    MIO__AUGMENT_CROP_RATIO_MAX,
    MIO__AUGMENT_ANTIALIAS,
    MIO__AUGMENT_FLIP_PROBABILITY,
    MIO__AUGMENT_JITTER_PROBABILITY,
    MIO__AUGMENT_BRIGHTNESS,
    MIO__AUGMENT_CONTRAST,
    MIO__AUGMENT_SATURATION,
    MIO__AUGMENT_HUE,
    MIO__AUGMENT_JITTER_ORDER,
    MIO__AUGMENT_GREY_PROBABILITY,
    MIO__AUGMENT_BLUR_PROBABILITY,
    MIO__AUGMENT_BLUR_SIGMA_MIN,
    MIO__AUGMENT_BLUR_SIGMA_MAX,
    MIO__AUGMENT_BLUR_KERNEL,
    MIO__AUGMENT_SOLARIZE_PROBABILITY,
    MIO__AUGMENT_SOLARIZE_THRESHOLD,
    MIO__AUGMENT_PARAMETERS
};

struct mio_augment {
    mio__references references;
    mio_context *context;
    mio__settings settings;
    mio__parameter table[MIO__AUGMENT_PARAMETERS]; /* its own: the preset's values are the defaults */
    size_t height, width, channels;
    float *scale, *shift; /* channels: 1 / deviation and -mean / deviation */
};

/** The four operations of colour jitter: indices into mio__view.order and .factor. */
enum { MIO__JITTER_BRIGHTNESS, MIO__JITTER_CONTRAST, MIO__JITTER_SATURATION, MIO__JITTER_HUE, MIO__JITTERS };

/** Everything random about one view. */
typedef struct mio__view {
    size_t top, left, height, width;        /* the crop, in source pixels before the flip */
    int flip, jitter, grey, blur, solarize; /* 1: done */
    unsigned char order[MIO__JITTERS];
    float factor[MIO__JITTERS]; /* hue: its shift */
    double sigma;
} mio__view;

/** Refuses parameters that contradict each other or the channels. To be called before views are drawn. */
mio_status mio__augment_check(const mio_augment *augment);
/** Draws a view of an image of height x width. epoch and image below 2^32, index below 2^16. */
void mio__augment_draw(const mio_augment *augment, uint64_t seed, uint64_t epoch, uint64_t image, uint64_t index,
                       size_t height, size_t width, mio__view *view);
/** Bytes of scratch, aligned to 64, for images up to this width. */
size_t mio__augment_scratch_size(const mio_augment *augment, size_t source_width);
/** Draws a view and renders it into out: height x width x channels. source has the pipeline's channels. */
void mio__augment_run(const mio_augment *augment, void *scratch, uint64_t seed, uint64_t epoch, uint64_t image,
                      uint64_t index, mio__pixels source, float *out);

#endif
