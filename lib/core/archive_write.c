#define _POSIX_C_SOURCE 200809L /* lseek */
#include "core/archive_format.h"
#include "core/file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct mio__archive_writer {
    mio_context *context;
    mio__file file;
    int deflating; /* the stream is initialised */
    int storing;
    z_stream stream;
    archive_record *records; /* only their names are looked at again */
    size_t count, capacity;
    uint64_t offset; /* where the next byte goes */
    unsigned char chunk[CHUNK];
};

static mio_status write_bytes(mio__archive_writer *writer, const void *bytes, size_t size)
{
    const mio_status status = mio__file_write(&writer->file, bytes, size);
    writer->offset += status ? 0 : size;
    return status;
}

static mio_status start_writing(mio__archive_writer *writer, const char *kind)
{
    writer->stream.zalloc = zlib_alloc;
    writer->stream.zfree = zlib_free;
    writer->stream.opaque = writer->context;
    /* Weights are noise to a search for repeats: Huffman codes and runs save as much in a fraction of the time. */
    if (deflateInit2(&writer->stream, 1, Z_DEFLATED, -15, 9, Z_RLE) != Z_OK)
        return mio__fail(MIO_ERROR_MEMORY, "out of memory: no room to compress '%s'", writer->file.path);
    writer->deflating = 1;
    unsigned char header[FILE_HEADER];
    memcpy(header, file_mark, sizeof file_mark);
    memcpy(header + 8, kind, 4);
    put_number(header + 12, VERSION, 4);
    return write_bytes(writer, header, sizeof header);
}

mio_status mio__archive_create(mio_context *context, const char *path, const char *kind, mio__archive_writer **writer)
{
    mio__archive_writer *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    made->context = mio_context_retain(context);
    mio_status status = mio__file_create(context, path, &made->file);
    if (!status)
        status = start_writing(made, kind);
    if (status)
        mio__archive_abandon(made);
    else
        *writer = made;
    return status;
}

void mio__archive_store(mio__archive_writer *writer)
{
    writer->storing = 1;
}

/* Compresses the contents behind the place where the record's header will go. */
static mio_status write_deflated(mio__archive_writer *writer, const void *bytes, size_t size, uint32_t *crc)
{
    z_stream *stream = &writer->stream;
    const unsigned char *next = bytes;
    deflateReset(stream);
    int result = Z_OK;
    while (result != Z_STREAM_END) {
        if (stream->avail_in == 0 && size > 0) {
            const uInt part = size < CHUNK ? (uInt)size : CHUNK;
            stream->next_in = (Bytef *)next; /* zlib does not write there */
            stream->avail_in = part;
            next += part;
            size -= part;
        }
        stream->next_out = writer->chunk;
        stream->avail_out = CHUNK;
        result = deflate(stream, size ? Z_NO_FLUSH : Z_FINISH);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return mio__fail(MIO_ERROR_INTERNAL, "zlib refuses to compress '%s'", writer->file.path);
        *crc = crc_of(writer->chunk, CHUNK - stream->avail_out, *crc);
        const mio_status status = write_bytes(writer, writer->chunk, CHUNK - stream->avail_out);
        if (status)
            return status;
    }
    return MIO_OK;
}

static mio_status write_stored(mio__archive_writer *writer, const void *bytes, size_t size, uint32_t *crc)
{
    *crc = crc_of(bytes, size, 0);
    return write_bytes(writer, bytes, size);
}

/* Makes room for one more record and enters its name. */
static mio_status enter_record(mio__archive_writer *writer, const char *name)
{
    const size_t length = strlen(name);
    if (length == 0 || length > NAME_LIMIT)
        return mio__fail(MIO_ERROR_ARGUMENT, "a record's name has 1 to %d bytes, not %zu", NAME_LIMIT, length);
    for (size_t i = 0; i < writer->count; i++)
        if (!strcmp(writer->records[i].name, name))
            return mio__fail(MIO_ERROR_ARGUMENT, "'%s' already has a record '%s'", writer->file.path, name);
    const mio_status status = mio__grow(writer->context, (void **)&writer->records, &writer->capacity, writer->count,
                                        writer->count + 1, sizeof *writer->records);
    if (status)
        return status;
    memcpy(writer->records[writer->count++].name, name, length + 1);
    return MIO_OK;
}

mio_status mio__archive_put(mio__archive_writer *writer, const char *name, const void *bytes, size_t size)
{
    mio_status status = enter_record(writer, name);
    if (status)
        return status;
    const size_t length = strlen(name);
    const uint64_t start = writer->offset;
    unsigned char header[RECORD_HEADER + NAME_LIMIT] = {0};
    uint32_t crc = 0;
    memcpy(header + RECORD_HEADER, name, length);
    if ((status = write_bytes(writer, header, RECORD_HEADER + length)) ||
        (status =
             writer->storing ? write_stored(writer, bytes, size, &crc) : write_deflated(writer, bytes, size, &crc)))
        return status;
    const uint64_t end = writer->offset;
    memcpy(header, writer->storing ? "RECS" : "RECD", 4);
    put_number(header + 4, length, 4);
    put_number(header + 8, size, 8);
    put_number(header + 16, end - start - RECORD_HEADER - length, 8);
    put_number(header + 24, crc, 4);
    put_number(header + 28, crc_of(name, length, crc_of(header, 28, 0)), 4);
    if (lseek(writer->file.descriptor, (off_t)start, SEEK_SET) < 0)
        return mio__file_failure("write", writer->file.temporary, errno);
    if ((status = write_bytes(writer, header, RECORD_HEADER)))
        return status;
    if (lseek(writer->file.descriptor, (off_t)end, SEEK_SET) < 0)
        return mio__file_failure("write", writer->file.temporary, errno);
    writer->offset = end;
    return MIO_OK;
}

static mio_status write_end(mio__archive_writer *writer)
{
    unsigned char mark[END_MARK];
    memcpy(mark, "DONE", 4);
    put_number(mark + 4, writer->count, 4);
    put_number(mark + 8, writer->offset, 8);
    put_number(mark + 16, crc_of(mark, 16, 0), 4);
    return write_bytes(writer, mark, sizeof mark);
}

mio_status mio__archive_commit(mio__archive_writer *writer)
{
    mio_status status = write_end(writer);
    if (!status)
        status = mio__file_commit(&writer->file);
    mio__archive_abandon(writer);
    return status;
}

void mio__archive_abandon(mio__archive_writer *writer)
{
    if (!writer)
        return;
    mio__file_abandon(&writer->file);
    if (writer->deflating)
        deflateEnd(&writer->stream);
    mio_context *context = writer->context;
    mio__free(context, writer->records);
    mio__free(context, writer);
    mio_context_release(context);
}
