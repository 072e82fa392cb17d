/* Crop and resize in one pass over the output's rows: each mixes the source rows that it lies between, then its
   columns. Only the crop is touched. */
#include "data/augment_operations.h"

#include <math.h>

/* ---- bilinear, pixel centres at half integers (align_corners false) ---- */

/* The two source places of output place `at`, first scaled as torch scales: in float. */
static mio__tap tap_at(size_t at, size_t from, size_t to)
{
    const float scale = (float)from / (float)to;
    float place = scale * ((float)at + 0.5f) - 0.5f;
    if (place < 0)
        place = 0;
    size_t first = (size_t)place;
    if (first >= from)
        first = from - 1;
    const float second_weight = place - (float)first;
    return (mio__tap){first, first + (first + 1 < from), 1 - second_weight, second_weight};
}

void mio__picture_crop(mio__picture *picture, mio__pixels source, size_t top, size_t left, size_t height, size_t width,
                       int flip)
{
    const size_t channels = picture->channels;
    for (size_t x = 0; x < picture->width; x++) {
        mio__tap *tap = &picture->taps[flip ? picture->width - 1 - x : x];
        *tap = tap_at(x, width, picture->width);
        tap->first *= channels;
        tap->second *= channels;
    }
    const uint8_t *corner = source.pixels + top * source.row_stride + left * channels;
    for (size_t y = 0; y < picture->height; y++) {
        const mio__tap tap = tap_at(y, height, picture->height);
        picture->kernels->mix_bytes(width * channels, corner + tap.first * source.row_stride, tap.first_weight / 255,
                                    corner + tap.second * source.row_stride, tap.second_weight / 255, picture->row);
        picture->kernels->gather(picture->width, channels, picture->taps, picture->row, picture->narrow);
        picture->kernels->split(picture->width, channels, picture->narrow, picture->planes + y * picture->width,
                                picture->stride);
    }
}

/* ---- antialiased: a triangle as wide as the reduction ---- */

typedef struct triangle {
    float centre, inverse; /* inverse: 1 / half its width */
    size_t start, count;
} triangle;

static triangle triangle_at(size_t at, size_t from, size_t to)
{
    const float scale = (float)from / (float)to, support = scale >= 1 ? scale : 1;
    const float centre = scale * ((float)at + 0.5f);
    const float low = centre - support + 0.5f, high = centre + support + 0.5f;
    size_t start = low > 0 ? (size_t)low : 0, end = (size_t)high;
    /* Rounding of float on very wide sources must not leave the row, nor the room for the weights. */
    if (end > from)
        end = from;
    if (start >= end)
        start = end - 1;
    if (end - start > mio__span_limit(from, to))
        end = start + mio__span_limit(from, to);
    return (triangle){centre, 1 / support, start, end - start};
}

static float triangle_weight(const triangle *shape, size_t j)
{
    const float distance = fabsf(((float)(shape->start + j) - shape->centre + 0.5f) * shape->inverse);
    return distance < 1 ? 1 - distance : 0;
}

static float triangle_total(const triangle *shape)
{
    float total = 0;
    for (size_t j = 0; j < shape->count; j++)
        total += triangle_weight(shape, j);
    return total;
}

static void fill_spans(mio__picture *picture, size_t width, int flip)
{
    float *weights = picture->span_weights;
    for (size_t x = 0; x < picture->width; x++) {
        const triangle shape = triangle_at(x, width, picture->width);
        const float total = triangle_total(&shape);
        for (size_t j = 0; j < shape.count; j++)
            weights[j] = triangle_weight(&shape, j) / total;
        picture->spans[flip ? picture->width - 1 - x : x] = (mio__span){shape.start, shape.count, weights};
        weights += shape.count;
    }
}

void mio__picture_crop_antialias(mio__picture *picture, mio__pixels source, size_t top, size_t left, size_t height,
                                 size_t width, int flip)
{
    const size_t channels = picture->channels;
    fill_spans(picture, width, flip);
    const uint8_t *corner = source.pixels + top * source.row_stride + left * channels;
    for (size_t y = 0; y < picture->height; y++) {
        const triangle shape = triangle_at(y, height, picture->height);
        const float total = triangle_total(&shape) * 255;
        const uint8_t *row = corner + shape.start * source.row_stride;
        picture->kernels->mix_bytes(width * channels, row, triangle_weight(&shape, 0) / total, row, 0, picture->row);
        for (size_t j = 1; j < shape.count; j++)
            picture->kernels->add_bytes(width * channels, row + j * source.row_stride,
                                        triangle_weight(&shape, j) / total, picture->row);
        picture->kernels->gather_span(picture->width, channels, picture->spans, picture->row, picture->narrow);
        picture->kernels->split(picture->width, channels, picture->narrow, picture->planes + y * picture->width,
                                picture->stride);
    }
}
