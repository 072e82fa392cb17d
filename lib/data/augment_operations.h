/* The operations that a view is made of, one by one, on a float picture in [0, 1] kept as planes. The semantics are
   torchvision 0.14's float tensor path. */
#ifndef MIO_DATA_AUGMENT_OPERATIONS_H
#define MIO_DATA_AUGMENT_OPERATIONS_H

#include "data/augment_kernels.h"
#include "data/dataset.h"

/** A picture being worked on; all memory lies in the scratch that it was laid out in. */
typedef struct mio__picture {
    const mio__augment_kernels *kernels;
    size_t channels, height, width;
    size_t stride;      /* floats between planes */
    float *planes;      /* channels planes of height x width */
    float *spare;       /* one more plane */
    float *line;        /* width + 2 x (largest blur radius) */
    float *weights;     /* largest blur kernel */
    const float **rows; /* as many */
    float *row;         /* mixed source row: source width x channels, and 3 */
    float *narrow;      /* the same row at the picture's width */
    mio__tap *taps;     /* width */
    mio__span *spans;   /* width */
    float *span_weights;
} mio__picture;

/**
 * Lays a picture out in scratch and returns the bytes it needs; scratch NULL only counts them.
 * source_width: the widest image that is to be cropped from; blur_limit: the largest blur kernel.
 * scratch: aligned to 64.
 */
size_t mio__picture_lay_out(mio__picture *picture, size_t channels, size_t height, size_t width, size_t source_width,
                            size_t blur_limit, void *scratch);

/** Most source pixels that an antialiased output pixel covers: twice the reduction, and those it shares. */
static inline size_t mio__span_limit(size_t from, size_t to)
{
    return 2 * (from / to + 1) + 2;
}

/** Bilinear resize, without antialias, of the source's crop (top, left, height x width), mirrored where flip is 1. */
void mio__picture_crop(mio__picture *picture, mio__pixels source, size_t top, size_t left, size_t height, size_t width,
                       int flip);
/** The same with torchvision's antialias. */
void mio__picture_crop_antialias(mio__picture *picture, mio__pixels source, size_t top, size_t left, size_t height,
                                 size_t width, int flip);

void mio__picture_brightness(mio__picture *picture, float factor);
/** 1 or 3 channels. */
void mio__picture_contrast(mio__picture *picture, float factor);
/** 3 channels, as hue and grey. */
void mio__picture_saturation(mio__picture *picture, float factor);
void mio__picture_hue(mio__picture *picture, float shift);
void mio__picture_grey(mio__picture *picture);
/** Gaussian blur by an odd kernel; edges are mirrored, again and again where the picture is smaller than the kernel. */
void mio__picture_blur(mio__picture *picture, size_t kernel, double sigma);
void mio__picture_solarize(mio__picture *picture, float threshold);
/** Writes height x width x channels: x scale + shift, channel by channel. */
void mio__picture_write(const mio__picture *picture, const float *scale, const float *shift, float *out);

#endif
