#include "data/image.h"

#include "data/store.h"

#include <string.h>

/* Codecs that this build may lack. */
#ifdef MIO_HAVE_JPEG
enum { HAVE_JPEG = 1 };
#else
enum { HAVE_JPEG = 0 };
#define mio__jpeg_examine NULL
#define mio__jpeg_decode NULL
#endif
#ifdef MIO_HAVE_PNG
enum { HAVE_PNG = 1 };
#else
enum { HAVE_PNG = 0 };
#define mio__png_examine NULL
#define mio__png_decode NULL
#endif

typedef struct codec {
    const char *name, *option, *library;
    const char *magic;
    size_t magic_size;
    int is_built;
    mio_status (*examine)(const mio__encoded *encoded, mio__image_shape *shape);
    mio_status (*decode)(const mio__encoded *encoded, mio__reducer *reducer);
} codec;

static const codec codecs[] = {
    {"JPEG", "jpeg", "libjpeg-turbo", "\xff\xd8\xff", 3, HAVE_JPEG, mio__jpeg_examine, mio__jpeg_decode},
    {"PNG", "png", "libpng", "\x89PNG\r\n\x1a\n", 8, HAVE_PNG, mio__png_examine, mio__png_decode},
};

mio_status mio__image_fail(const mio__encoded *encoded, mio_status status, size_t offset, const char *message)
{
    if (encoded->archive)
        return mio__fail(status, "'%s', member '%s', offset %zu: %s", encoded->archive, encoded->name, offset, message);
    return mio__fail(status, "'%s', offset %zu: %s", encoded->name, offset, message);
}

static char lower(char letter)
{
    return letter >= 'A' && letter <= 'Z' ? (char)(letter + ('a' - 'A')) : letter;
}

int mio__image_is_named(const char *name)
{
    static const char *const extensions[] = {".jpg", ".jpeg", ".png"};
    const size_t length = strlen(name);
    for (size_t i = 0; i < 3; i++) {
        const size_t size = strlen(extensions[i]);
        size_t same = 0;
        while (size < length && same < size && lower(name[length - size + same]) == extensions[i][same])
            same++;
        if (same == size)
            return 1;
    }
    return 0;
}

/* The contents decide, not the name. */
static mio_status find_codec(const mio__encoded *encoded, const codec **found)
{
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++) {
        if (encoded->size < codecs[i].magic_size || memcmp(encoded->bytes, codecs[i].magic, codecs[i].magic_size))
            continue;
        *found = &codecs[i];
        if (codecs[i].is_built)
            return MIO_OK;
        return mio__fail(MIO_ERROR_UNSUPPORTED,
                         "'%s' is a %s, which this build cannot read; build libmio with -D%s=enabled (%s)",
                         encoded->name, codecs[i].name, codecs[i].option, codecs[i].library);
    }
    return mio__image_fail(encoded, MIO_ERROR_FORMAT, 0,
                           encoded->size ? "neither a JPEG nor a PNG begins like this" : "the file is empty");
}

mio_status mio__image_examine(const mio__encoded *encoded, mio__image_shape *shape)
{
    const codec *found = NULL;
    mio_status status = find_codec(encoded, &found);
    if (!status)
        status = found->examine(encoded, shape);
    if (!status && (!shape->height || !shape->width || shape->height > MIO__IMAGE_PIXELS_LIMIT / shape->width))
        return mio__image_fail(encoded, MIO_ERROR_FORMAT, 0,
                               "the header claims more than 2^28 pixels; none are decoded");
    return status;
}

mio__image_shape mio__image_reduced(mio__image_shape shape, size_t shorter_side)
{
    const size_t shorter = shape.height < shape.width ? shape.height : shape.width;
    if (shorter <= shorter_side)
        return shape;
    const size_t longer = shape.height < shape.width ? shape.width : shape.height;
    const size_t kept = (size_t)(((uint64_t)longer * shorter_side + shorter / 2) / shorter);
    if (shape.height < shape.width)
        return (mio__image_shape){shorter_side, kept, shape.channels};
    return (mio__image_shape){kept, shorter_side, shape.channels};
}

static void free_reducer(mio__reducer *reducer)
{
    mio__free(reducer->context, reducer->row);
    mio__free(reducer->context, reducer->sums);
    mio__free(reducer->context, reducer->line);
}

mio_status mio__image_decode(const mio__encoded *encoded, const mio__image_shape *kept, uint8_t *pixels)
{
    const codec *found = NULL;
    mio_status status = find_codec(encoded, &found);
    if (status)
        return status;
    mio__reducer reducer = {.context = encoded->context, .to = *kept, .pixels = pixels};
    status = found->decode(encoded, &reducer);
    free_reducer(&reducer);
    return status;
}

/* ---- averaging over areas ---- */

/* Lengths are counted in units in which both grids are whole: an input pixel is to.width units wide, an output pixel
   from.width; the same downwards. All sums are then whole numbers (below 2^28 x 255) and are rounded once. */

mio_status mio__reducer_start(mio__reducer *reducer, size_t height, size_t width)
{
    const size_t channels = reducer->to.channels, outputs = reducer->to.width * channels;
    reducer->from = (mio__image_shape){height, width, channels};
    reducer->row = mio__alloc(reducer->context, width * channels);
    reducer->sums = mio__alloc_zeroed(reducer->context, outputs, sizeof *reducer->sums);
    reducer->line = mio__alloc(reducer->context, outputs * sizeof *reducer->line);
    return reducer->row && reducer->sums && reducer->line ? MIO_OK : MIO_ERROR_MEMORY;
}

/* One input row into line: each pixel's colour by its width in the output pixels that it lies in, two at most. */
static void add_across(mio__reducer *reducer, const uint8_t *row)
{
    const size_t channels = reducer->to.channels, inputs = reducer->from.width, outputs = reducer->to.width;
    uint64_t *line = reducer->line;
    memset(line, 0, outputs * channels * sizeof *line);
    size_t room = inputs; /* units left in the output pixel */
    for (size_t x = 0; x < inputs; x++, row += channels) {
        const size_t here = outputs < room ? outputs : room, next = outputs - here;
        for (size_t c = 0; c < channels; c++)
            line[c] += here * (uint64_t)row[c];
        room -= here;
        if (room)
            continue;
        line += channels;
        room = inputs - next;
        for (size_t c = 0; next && c < channels; c++)
            line[c] += next * (uint64_t)row[c];
    }
}

void mio__reducer_add(mio__reducer *reducer, const uint8_t *row)
{
    const mio__image_shape from = reducer->from, to = reducer->to;
    const size_t values = to.width * to.channels, y = reducer->rows++;
    if (from.height == to.height && from.width == to.width) {
        memcpy(reducer->pixels + y * values, row, values);
        return;
    }
    add_across(reducer, row);
    const uint64_t start = (uint64_t)y * to.height, out = start / from.height, end = (out + 1) * from.height;
    const uint64_t here = end - start < to.height ? end - start : to.height, next = to.height - here;
    for (size_t i = 0; i < values; i++)
        reducer->sums[i] += here * reducer->line[i];
    if (start + here < end)
        return;
    const uint64_t area = (uint64_t)from.height * from.width;
    uint8_t *target = reducer->pixels + out * values;
    for (size_t i = 0; i < values; i++) {
        target[i] = (uint8_t)((reducer->sums[i] + area / 2) / area);
        reducer->sums[i] = next * reducer->line[i];
    }
}
