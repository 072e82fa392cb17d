#include "data/augment_operations.h"

#include <math.h>
#include <string.h>

/* Takes bytes from a scratch of which `used` bytes are gone; every piece is aligned to 64. */
static void *carve(char *scratch, size_t *used, size_t bytes)
{
    void *piece = scratch ? scratch + *used : NULL;
    *used += (bytes + 63) / 64 * 64;
    return piece;
}

size_t mio__picture_lay_out(mio__picture *picture, size_t channels, size_t height, size_t width, size_t source_width,
                            size_t blur_limit, void *scratch)
{
    size_t used = 0;
    /* Planes a multiple of 4096 bytes apart would contend for the same lines of the cache. */
    const size_t stride = (height * width + 15) / 16 * 16 + 80;
    picture->kernels = MIO__PICK(mio__augment_kernels);
    picture->channels = channels;
    picture->height = height;
    picture->width = width;
    picture->stride = stride;
    picture->planes = carve(scratch, &used, channels * stride * sizeof(float));
    picture->spare = carve(scratch, &used, stride * sizeof(float));
    picture->line = carve(scratch, &used, (width + blur_limit) * sizeof(float));
    picture->weights = carve(scratch, &used, blur_limit * sizeof(float));
    picture->rows = carve(scratch, &used, blur_limit * sizeof *picture->rows);
    picture->row = carve(scratch, &used, (source_width * channels + 3) * sizeof(float));
    picture->narrow = carve(scratch, &used, (width * channels + 3) * sizeof(float));
    picture->taps = carve(scratch, &used, width * sizeof(mio__tap));
    picture->spans = carve(scratch, &used, width * sizeof(mio__span));
    picture->span_weights = carve(scratch, &used, width * mio__span_limit(source_width, width) * sizeof(float));
    return used;
}

static size_t pixel_count(const mio__picture *picture)
{
    return picture->height * picture->width;
}

static float *plane(const mio__picture *picture, size_t channel)
{
    return picture->planes + channel * picture->stride;
}

/* ---- colour ---- */

static void scale_all(mio__picture *picture, float factor, float offset)
{
    for (size_t c = 0; c < picture->channels; c++)
        picture->kernels->scale(pixel_count(picture), plane(picture, c), factor, offset);
}

/* The grey of the picture: its only plane, or the spare one, filled. */
static const float *grey_plane(mio__picture *picture)
{
    if (picture->channels != 3)
        return picture->planes;
    picture->kernels->luma(pixel_count(picture), plane(picture, 0), plane(picture, 1), plane(picture, 2),
                           picture->spare);
    return picture->spare;
}

void mio__picture_brightness(mio__picture *picture, float factor)
{
    scale_all(picture, factor, 0);
}

void mio__picture_contrast(mio__picture *picture, float factor)
{
    const size_t count = pixel_count(picture);
    const float mean = (float)(picture->kernels->sum(count, grey_plane(picture)) / (double)count);
    scale_all(picture, factor, (1 - factor) * mean);
}

void mio__picture_saturation(mio__picture *picture, float factor)
{
    const float *grey = grey_plane(picture);
    for (size_t c = 0; c < picture->channels; c++)
        picture->kernels->blend(pixel_count(picture), plane(picture, c), factor, grey);
}

void mio__picture_hue(mio__picture *picture, float shift)
{
    picture->kernels->hue(pixel_count(picture), plane(picture, 0), plane(picture, 1), plane(picture, 2), shift);
}

void mio__picture_grey(mio__picture *picture)
{
    const float *grey = grey_plane(picture);
    for (size_t c = 0; c < picture->channels; c++)
        memcpy(plane(picture, c), grey, pixel_count(picture) * sizeof(float));
}

void mio__picture_solarize(mio__picture *picture, float threshold)
{
    for (size_t c = 0; c < picture->channels; c++)
        picture->kernels->solarize(pixel_count(picture), plane(picture, c), threshold);
}

/* ---- blur ---- */

/* Fills the kernel of 2 x radius + 1 weights, which sum to 1, and returns the radius without the weights that float
   cannot see beside the middle one. */
static size_t gaussian(size_t radius, double sigma, float *weights)
{
    double total = 0;
    for (size_t j = 0; j <= 2 * radius; j++)
        total += exp(-0.5 * pow(((double)j - (double)radius) / sigma, 2));
    size_t seen = 0;
    for (size_t j = 0; j <= 2 * radius; j++) {
        const double distance = fabs((double)j - (double)radius);
        weights[j] = (float)(exp(-0.5 * pow(distance / sigma, 2)) / total);
        if (weights[j] > 1e-9f && (size_t)distance > seen)
            seen = (size_t)distance;
    }
    return seen;
}

/* Position of place + step in a row of size pixels that is mirrored at its ends, the end pixels not doubled. */
static size_t mirror(size_t place, ptrdiff_t step, size_t size)
{
    if (size == 1)
        return 0;
    const ptrdiff_t period = 2 * ((ptrdiff_t)size - 1);
    ptrdiff_t at = ((ptrdiff_t)place + step) % period;
    if (at < 0)
        at += period;
    return (size_t)(at < (ptrdiff_t)size ? at : period - at);
}

/* spare = the plane filtered along its columns by 2 x radius + 1 weights. */
static void blur_columns(mio__picture *picture, const float *from, const float *weights, size_t radius)
{
    const size_t terms = 2 * radius + 1;
    for (size_t y = 0; y < picture->height; y++) {
        for (size_t j = 0; j < terms; j++)
            picture->rows[j] = from + mirror(y, (ptrdiff_t)j - (ptrdiff_t)radius, picture->height) * picture->width;
        picture->kernels->combine(picture->width, terms, picture->rows, weights, picture->spare + y * picture->width);
    }
}

/* The plane = spare filtered along its rows. */
static void blur_rows(mio__picture *picture, const float *weights, size_t radius, float *to)
{
    const size_t width = picture->width, terms = 2 * radius + 1;
    for (size_t j = 0; j < terms; j++)
        picture->rows[j] = picture->line + j;
    for (size_t y = 0; y < picture->height; y++) {
        const float *from = picture->spare + y * width;
        float *middle = picture->line + radius;
        memcpy(middle, from, width * sizeof(float));
        for (size_t x = 1; x <= radius; x++) {
            picture->line[radius - x] = from[mirror(0, -(ptrdiff_t)x, width)];
            middle[width - 1 + x] = from[mirror(width - 1, (ptrdiff_t)x, width)];
        }
        picture->kernels->combine(width, terms, picture->rows, weights, to + y * width);
    }
}

void mio__picture_blur(mio__picture *picture, size_t kernel, double sigma)
{
    const size_t seen = gaussian(kernel / 2, sigma, picture->weights);
    const float *weights = picture->weights + kernel / 2 - seen;
    for (size_t c = 0; c < picture->channels; c++) {
        blur_columns(picture, plane(picture, c), weights, seen);
        blur_rows(picture, weights, seen, plane(picture, c));
    }
}

void mio__picture_write(const mio__picture *picture, const float *scale, const float *shift, float *out)
{
    picture->kernels->join(pixel_count(picture), picture->channels, picture->planes, picture->stride, scale, shift,
                           out);
}
