#include "core/context.h"
#include "data/dataset.h"
#include "nn/encoder.h"

#include <mio/evaluate.h>
#include <stdlib.h>
#include <string.h>

/* Images go through the encoder in chunks of one size. Where they lie side by side they are read in place. */
enum { CHUNK = 256 };

/* An image with what decides its chunk. */
typedef struct place {
    size_t height, width, index;
} place;

static int by_size(const void *left, const void *right)
{
    const place *a = left, *b = right;
    if (a->height != b->height)
        return a->height < b->height ? -1 : 1;
    if (a->width != b->width)
        return a->width < b->width ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

typedef struct embedding {
    mio_encoder *encoder;
    const mio_dataset *dataset;
    size_t dim;
    place *places;
    uint8_t *pixels; /* a chunk of packed images */
    size_t pixel_capacity;
    float *features; /* CHUNK x dim */
} embedding;

/* Images from `at` on that share a size, CHUNK at most. */
static size_t chunk_length(const embedding *e, size_t at, size_t count)
{
    const place *first = &e->places[at];
    size_t length = 1;
    while (length < CHUNK && at + length < count && first[length].height == first->height &&
           first[length].width == first->width)
        length++;
    return length;
}

/* 1 if a chunk's images follow each other in memory as mio_encoder_embed wants them. */
static int lie_together(const embedding *e, const place *chunk, size_t length)
{
    const mio__pixels first = mio__dataset_pixels(e->dataset, chunk->index);
    for (size_t i = 1; i < length; i++) {
        const mio__pixels next = mio__dataset_pixels(e->dataset, chunk[i].index);
        if (next.row_stride != first.row_stride || next.pixels != first.pixels + i * first.height * first.row_stride)
            return 0;
    }
    return 1;
}

static mio_status pack(embedding *e, const place *chunk, size_t length)
{
    const size_t row = chunk->width * mio_dataset_channels(e->dataset);
    void *pixels = e->pixels;
    const mio_status status =
        mio__reserve(mio__encoder_context(e->encoder), &pixels, &e->pixel_capacity, length * chunk->height * row);
    e->pixels = pixels;
    if (status)
        return status;
    uint8_t *out = e->pixels;
    for (size_t i = 0; i < length; i++) {
        const mio__pixels image = mio__dataset_pixels(e->dataset, chunk[i].index);
        for (size_t y = 0; y < image.height; y++, out += row)
            memcpy(out, image.pixels + y * image.row_stride, row);
    }
    return MIO_OK;
}

static mio_status embed_chunk(embedding *e, const place *chunk, size_t length, float *features)
{
    const uint8_t *pixels;
    size_t row_stride = 0;
    if (lie_together(e, chunk, length)) {
        const mio__pixels first = mio__dataset_pixels(e->dataset, chunk->index);
        pixels = first.pixels;
        row_stride = first.row_stride;
    } else {
        const mio_status status = pack(e, chunk, length);
        if (status)
            return status;
        pixels = e->pixels;
    }
    const int in_order = chunk[length - 1].index - chunk->index == length - 1;
    const mio_status status =
        mio_encoder_embed(e->encoder, length, chunk->height, chunk->width, mio_dataset_channels(e->dataset), row_stride,
                          pixels, in_order ? features + chunk->index * e->dim : e->features);
    for (size_t i = 0; !status && !in_order && i < length; i++)
        memcpy(features + chunk[i].index * e->dim, e->features + i * e->dim, e->dim * sizeof *features);
    return status;
}

mio_status mio_evaluate_embed(mio_encoder *encoder, const mio_dataset *dataset, float *features)
{
    if (!encoder || !dataset || !features)
        return mio__fail(MIO_ERROR_ARGUMENT, "the encoder, the dataset or the place for the features is NULL");
    mio_context *context = mio__encoder_context(encoder);
    embedding e = {.encoder = encoder, .dataset = dataset};
    const size_t count = mio_dataset_count(dataset);
    mio_status status = mio_encoder_feature_dim(encoder, &e.dim);
    if (status)
        return status;
    e.places = mio__alloc(context, count * sizeof *e.places);
    e.features = mio__alloc(context, CHUNK * e.dim * sizeof *e.features);
    if (!e.places || !e.features)
        status = MIO_ERROR_MEMORY;
    for (size_t i = 0; !status && i < count; i++) {
        const mio__pixels image = mio__dataset_pixels(dataset, i);
        e.places[i] = (place){image.height, image.width, i};
    }
    if (!status)
        qsort(e.places, count, sizeof *e.places, by_size);
    for (size_t at = 0, length; !status && at < count; at += length) {
        length = chunk_length(&e, at, count);
        status = embed_chunk(&e, &e.places[at], length, features);
    }
    mio__free(context, e.places);
    mio__free(context, e.features);
    mio__free(context, e.pixels);
    return status;
}
