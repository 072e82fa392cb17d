/* IDX, the format of MNIST: a big-endian header (two zero bytes, the element type, the number of dimensions, each
   dimension in four bytes), then the elements. */
#include "data/store.h"
#include "data/stream.h"

#include <string.h>
#include <unistd.h>

enum { TYPE_BYTE = 8 };

/* Opens the first name that exists: the separator before "idx" and the compression differ between mirrors. */
static mio_status open_part(const mio__source *source, const char *const names[4], mio__stream **stream)
{
    char *path = NULL;
    for (size_t i = 0; i < 4; i++) {
        mio__free(source->context, path);
        path = mio__join_path(source->context, source->path, names[i]);
        if (!path)
            return MIO_ERROR_MEMORY;
        if (!access(path, F_OK)) {
            const mio_status status = mio__stream_open(source->context, path, stream);
            mio__free(source->context, path);
            return status;
        }
    }
    mio__free(source->context, path);
    return mio__fail(MIO_ERROR_IO, "'%s' holds none of %s, %s, %s, %s", source->path, names[0], names[1], names[2],
                     names[3]);
}

/* Reads a header of `rank` dimensions and checks that the file can hold what it claims. */
static mio_status read_header(mio__stream *stream, size_t rank, size_t *dimensions)
{
    unsigned char header[16];
    mio_status status = mio__stream_read_exactly(stream, header, 4 + 4 * rank, "the IDX header");
    if (status)
        return status;
    if (header[0] || header[1])
        return mio__stream_fail(stream, 0, "no IDX file: it does not begin with two zero bytes");
    if (header[2] != TYPE_BYTE)
        return mio__stream_fail(stream, 2, "element type 0x%02x; only unsigned bytes (0x08) are images or labels",
                                header[2]);
    if (header[3] != rank)
        return mio__stream_fail(stream, 3, "%d dimensions where %zu were expected", header[3], rank);
    uint64_t size = 1;
    for (size_t i = 0; i < rank; i++) {
        const unsigned char *field = header + 4 + 4 * i;
        const uint64_t extent =
            (uint64_t)field[0] << 24 | (uint64_t)field[1] << 16 | (uint64_t)field[2] << 8 | field[3];
        if (!extent)
            return mio__stream_fail(stream, 4 + 4 * i, "dimension %zu is 0", i);
        if (extent > mio__stream_bound(stream) / size)
            return mio__stream_fail(stream, 4 + 4 * i, "the header claims more elements than the file can hold");
        size *= extent;
        dimensions[i] = (size_t)extent;
    }
    return MIO_OK;
}

static mio_status read_images(mio__stream *stream, mio_dataset *dataset)
{
    size_t shape[3];
    mio_status status = read_header(stream, 3, shape);
    if (status)
        return status;
    if (shape[1] > MIO__IMAGE_PIXELS_LIMIT / shape[2])
        return mio__stream_fail(stream, 8, "images of %zu x %zu; at most 2^28 pixels are read", shape[1], shape[2]);
    uint8_t *pixels;
    if ((status = mio__dataset_make_room(dataset, shape[0], shape[1], shape[2], 1, 1, &pixels)) ||
        (status = mio__stream_read_exactly(stream, pixels, shape[0] * shape[1] * shape[2], "images")))
        return status;
    return mio__stream_expect_end(stream);
}

/* Labels come as bytes and are widened in place, from the last one on. */
static mio_status read_labels(mio__stream *stream, mio_dataset *dataset)
{
    size_t count = 0;
    mio_status status = read_header(stream, 1, &count);
    if (status)
        return status;
    if (count != dataset->count)
        return mio__stream_fail(stream, 4, "%zu labels for %zu images", count, dataset->count);
    uint8_t *bytes = (uint8_t *)dataset->labels;
    if ((status = mio__stream_read_exactly(stream, bytes, count, "labels")))
        return status;
    for (size_t i = count; i-- > 0;) {
        const int32_t label = bytes[i];
        memcpy(bytes + i * sizeof label, &label, sizeof label);
    }
    return mio__stream_expect_end(stream);
}

mio_status mio__read_idx(const mio__source *source, mio_dataset *dataset)
{
    static const char *const names[2][2][4] = {
        {{"train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "train-images.idx3-ubyte",
          "train-images.idx3-ubyte.gz"},
         {"train-labels-idx1-ubyte", "train-labels-idx1-ubyte.gz", "train-labels.idx1-ubyte",
          "train-labels.idx1-ubyte.gz"}},
        {{"t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz", "t10k-images.idx3-ubyte", "t10k-images.idx3-ubyte.gz"},
         {"t10k-labels-idx1-ubyte", "t10k-labels-idx1-ubyte.gz", "t10k-labels.idx1-ubyte",
          "t10k-labels.idx1-ubyte.gz"}},
    };
    const int is_train = source->split && !strcmp(source->split, "train");
    if (!is_train && (!source->split || strcmp(source->split, "test")))
        return mio__refuse_split(source, "train, test");
    mio_status (*const read_part[2])(mio__stream *, mio_dataset *) = {read_images, read_labels};
    mio_status status = MIO_OK;
    for (size_t part = 0; part < 2 && !status; part++) {
        mio__stream *stream = NULL;
        status = open_part(source, names[!is_train][part], &stream);
        if (!status)
            status = read_part[part](stream, dataset);
        mio__stream_close(stream);
    }
    return status;
}
