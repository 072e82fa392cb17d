/* Compressed images: what they are, and their pixels, reduced while they are decoded. */
#ifndef MIO_DATA_IMAGE_H
#define MIO_DATA_IMAGE_H

#include "core/context.h"

/** A compressed image in memory. archive: the tar that it is a member of, or NULL. The names are for messages. */
typedef struct mio__encoded {
    mio_context *context;
    const char *archive, *name;
    const unsigned char *bytes;
    size_t size;
} mio__encoded;

/** Shape of a decoded image: 1 channel if the file is grey, else 3. */
typedef struct mio__image_shape {
    size_t height, width, channels;
} mio__image_shape;

/** 1 for .jpg, .jpeg and .png in any case. */
int mio__image_is_named(const char *name);
/** Reads the header. Errors: MIO_ERROR_FORMAT, MIO_ERROR_UNSUPPORTED (no codec; CMYK), MIO_ERROR_MEMORY. */
mio_status mio__image_examine(const mio__encoded *encoded, mio__image_shape *shape);
/** The shape an image is kept in: its shorter side at most `shorter_side`. */
mio__image_shape mio__image_reduced(mio__image_shape shape, size_t shorter_side);
/**
 * Decodes into pixels: kept->height x width x channels bytes, packed; kept comes from mio__image_reduced. A JPEG is
 * scaled by 1/2, 1/4 or 1/8 in its DCT first where that leaves enough; the rest is averaged over areas. Errors: as
 * above.
 */
mio_status mio__image_decode(const mio__encoded *encoded, const mio__image_shape *kept, uint8_t *pixels);

/** Records a failure that names archive, file and offset, and returns status. */
mio_status mio__image_fail(const mio__encoded *encoded, mio_status status, size_t offset, const char *message);

/* ---- for the codecs ---- */

/** Takes an image row by row and leaves it area-averaged in pixels. */
typedef struct mio__reducer {
    mio_context *context;
    mio__image_shape from, to;
    uint8_t *pixels;
    size_t rows;    /* taken so far */
    uint64_t *sums; /* to.width x channels: the row of output under way */
    uint64_t *line; /* to.width x channels: one input row, averaged across */
    uint8_t *row;   /* from.width x channels: for the codec to decode into */
} mio__reducer;

/** Says what comes: from is at least as large as to. Errors: MIO_ERROR_MEMORY. */
mio_status mio__reducer_start(mio__reducer *reducer, size_t height, size_t width);
void mio__reducer_add(mio__reducer *reducer, const uint8_t *row);

mio_status mio__jpeg_examine(const mio__encoded *encoded, mio__image_shape *shape);
mio_status mio__jpeg_decode(const mio__encoded *encoded, mio__reducer *reducer);
mio_status mio__png_examine(const mio__encoded *encoded, mio__image_shape *shape);
mio_status mio__png_decode(const mio__encoded *encoded, mio__reducer *reducer);

#endif
