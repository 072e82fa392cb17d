#define _POSIX_C_SOURCE 200809L /* pread, O_CLOEXEC */
#include "core/archive_format.h"
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* No deflate stream expands further, so a record that claims more is corrupt and no memory is spent on it. */
enum { DEFLATE_RATIO_LIMIT = 1032 };

struct mio__archive {
    mio_context *context;
    char *path;
    int file;
    uint64_t file_size;
    archive_record *records;
    size_t count, capacity;
};

static mio_status corrupt(const mio__archive *archive, uint64_t offset, const char *what)
{
    return mio__fail(MIO_ERROR_FORMAT, "'%s' is damaged at offset %llu: %s", archive->path, (unsigned long long)offset,
                     what);
}

/* size bytes from offset on, all of which must be there. */
static mio_status read_bytes(const mio__archive *archive, uint64_t offset, void *bytes, size_t size)
{
    if (offset > archive->file_size || size > archive->file_size - offset)
        return corrupt(archive, archive->file_size, "the file ends here, in the middle of its contents");
    unsigned char *next = bytes;
    while (size > 0) {
        const ssize_t got = pread(archive->file, next, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return mio__file_failure("read", archive->path, errno);
        if (got == 0)
            return corrupt(archive, offset, "the file ends here, in the middle of its contents");
        next += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return MIO_OK;
}

static mio_status read_file_header(mio__archive *archive)
{
    unsigned char header[FILE_HEADER];
    if (archive->file_size >= sizeof file_mark) {
        const mio_status status = read_bytes(archive, 0, header, sizeof file_mark);
        if (status)
            return status;
        if (memcmp(header, file_mark, sizeof file_mark))
            return mio__fail(MIO_ERROR_FORMAT,
                             "'%s' is not a libmio file: its first 8 bytes (offset 0) are another mark", archive->path);
    }
    const mio_status status = read_bytes(archive, 0, header, sizeof header);
    if (status)
        return status;
    const unsigned version = (unsigned)get_number(header + 12, 4);
    if (version < OLDEST_VERSION || version > VERSION)
        return mio__fail(MIO_ERROR_FORMAT,
                         "'%s' has format version %u (offset 12); this build reads versions %d to %d%s", archive->path,
                         version, OLDEST_VERSION, VERSION, version > VERSION ? ": use a newer libmio" : "");
    return MIO_OK;
}

/* Reads the record header at *offset and moves *offset behind the record. */
static mio_status read_record(mio__archive *archive, uint64_t *offset)
{
    unsigned char header[RECORD_HEADER];
    mio_status status = mio__grow(archive->context, (void **)&archive->records, &archive->capacity, archive->count,
                                  archive->count + 1, sizeof *archive->records);
    if (status || (status = read_bytes(archive, *offset, header, sizeof header)))
        return status;
    archive_record *record = &archive->records[archive->count];
    const size_t length = (size_t)get_number(header + 4, 4);
    record->stored = !memcmp(header, "RECS", 4);
    if ((!record->stored && memcmp(header, "RECD", 4)) || length == 0 || length > NAME_LIMIT)
        return corrupt(archive, *offset, "no record begins here");
    if ((status = read_bytes(archive, *offset + RECORD_HEADER, record->name, length)))
        return status;
    record->name[length] = 0;
    if (crc_of(record->name, length, crc_of(header, 28, 0)) != get_number(header + 28, 4))
        return corrupt(archive, *offset, "the checksum of a record's header is wrong");
    record->size = get_number(header + 8, 8);
    record->packed_size = get_number(header + 16, 8);
    record->crc = (uint32_t)get_number(header + 24, 4);
    record->offset = *offset + RECORD_HEADER + length;
    if (record->packed_size > archive->file_size - record->offset)
        return corrupt(archive, archive->file_size, "the file ends here, in the middle of a record");
    if (record->stored ? record->size != record->packed_size : record->size / DEFLATE_RATIO_LIMIT > record->packed_size)
        return corrupt(archive, *offset, "a record claims more contents than its bytes can hold");
    *offset = record->offset + record->packed_size;
    archive->count++;
    return MIO_OK;
}

static mio_status read_end(const mio__archive *archive, uint64_t offset)
{
    unsigned char mark[END_MARK];
    const mio_status status = read_bytes(archive, offset, mark, sizeof mark);
    if (status)
        return status;
    if (crc_of(mark, 16, 0) != get_number(mark + 16, 4) || get_number(mark + 8, 8) != offset ||
        get_number(mark + 4, 4) != archive->count)
        return corrupt(archive, offset, "the end mark is wrong");
    if (archive->file_size != offset + END_MARK)
        return corrupt(archive, offset + END_MARK, "there are bytes behind the end mark");
    return MIO_OK;
}

static mio_status read_structure(mio__archive *archive)
{
    mio_status status = read_file_header(archive);
    uint64_t offset = FILE_HEADER;
    while (!status) {
        unsigned char tag[4];
        status = read_bytes(archive, offset, tag, sizeof tag);
        if (!status && !memcmp(tag, "DONE", 4))
            return read_end(archive, offset);
        if (!status)
            status = read_record(archive, &offset);
    }
    return status;
}

static mio_status open_file(mio__archive *archive)
{
    archive->file = open(archive->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* no waiting for a pipe */
    struct stat facts;
    if (archive->file < 0 || fstat(archive->file, &facts))
        return mio__file_failure("open", archive->path, errno);
    if (!S_ISREG(facts.st_mode))
        return mio__fail(MIO_ERROR_IO, "cannot read '%s': it is not a regular file", archive->path);
    archive->file_size = (uint64_t)facts.st_size;
    return read_structure(archive);
}

mio_status mio__archive_open(mio_context *context, const char *path, mio__archive **archive)
{
    mio__archive *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    made->context = mio_context_retain(context);
    made->file = -1;
    made->path = mio__copy_text(context, path);
    const mio_status status = made->path ? open_file(made) : MIO_ERROR_MEMORY;
    if (status)
        mio__archive_close(made);
    else
        *archive = made;
    return status;
}

void mio__archive_close(mio__archive *archive)
{
    if (!archive)
        return;
    if (archive->file >= 0)
        close(archive->file);
    mio_context *context = archive->context;
    mio__free(context, archive->records);
    mio__free(context, archive->path);
    mio__free(context, archive);
    mio_context_release(context);
}

static const archive_record *find_record(const mio__archive *archive, const char *name)
{
    for (size_t i = 0; i < archive->count; i++)
        if (!strcmp(archive->records[i].name, name))
            return &archive->records[i];
    return NULL;
}

mio_status mio__archive_refuse(const mio__archive *archive, const char *name, const char *format, ...)
{
    char reason[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    const archive_record *record = find_record(archive, name);
    return mio__fail(MIO_ERROR_FORMAT, "'%s': record '%s' at offset %llu: %s", archive->path, name,
                     record ? (unsigned long long)record->offset : 0, reason);
}

mio_status mio__archive_blame(const mio__archive *archive, const char *name, mio_status status)
{
    if (status != MIO_ERROR_FORMAT && status != MIO_ERROR_ARGUMENT)
        return status;
    char reason[400];
    snprintf(reason, sizeof reason, "%.399s", mio_last_error());
    return mio__archive_refuse(archive, name, "%s", reason);
}

int mio__archive_has(const mio__archive *archive, const char *name)
{
    return find_record(archive, name) != NULL;
}

mio_status mio__archive_size(const mio__archive *archive, const char *name, size_t *size)
{
    const archive_record *record = find_record(archive, name);
    if (!record || record->size > SIZE_MAX)
        return mio__fail(MIO_ERROR_FORMAT, "'%s' has no record '%s'", archive->path, name);
    *size = (size_t)record->size;
    return MIO_OK;
}

/* ---- reading one record ---- */

static mio_status damaged(const mio__archive_reader *reader)
{
    const archive_record *record = reader->record;
    return mio__fail(MIO_ERROR_FORMAT, "'%s': the contents of record '%s' at offset %llu are damaged",
                     reader->archive->path, record->name, (unsigned long long)record->offset);
}

mio_status mio__archive_begin(const mio__archive *archive, const char *name, size_t size, mio__archive_reader *reader)
{
    *reader = (mio__archive_reader){.archive = archive, .record = find_record(archive, name)};
    const archive_record *record = reader->record;
    if (!record)
        return mio__fail(MIO_ERROR_FORMAT, "'%s' has no record '%s'", archive->path, name);
    if (record->size != size)
        return mio__fail(MIO_ERROR_FORMAT, "'%s': record '%s' at offset %llu has %llu bytes, not %zu", archive->path,
                         name, (unsigned long long)record->offset, (unsigned long long)record->size, size);
    if (record->stored)
        return MIO_OK;
    reader->chunk = mio__alloc(archive->context, CHUNK);
    if (!reader->chunk)
        return MIO_ERROR_MEMORY;
    reader->stream = (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free, .opaque = archive->context};
    reader->inflating = inflateInit2(&reader->stream, -15) == Z_OK;
    return reader->inflating ? MIO_OK : MIO_ERROR_MEMORY; /* recorded by zlib_alloc */
}

/* The next bytes of the stream, at most size, which must be left. */
static mio_status read_stream(mio__archive_reader *reader, void *bytes, size_t size)
{
    const archive_record *record = reader->record;
    const mio_status status = read_bytes(reader->archive, record->offset + reader->done, bytes, size);
    if (status)
        return status;
    reader->crc = crc_of(bytes, size, reader->crc);
    reader->done += size;
    return MIO_OK;
}

static size_t smaller(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

/* In chunks, whose checksum is taken while they are in the cache. */
static mio_status next_stored(mio__archive_reader *reader, unsigned char *bytes, size_t size)
{
    mio_status status = size > reader->record->size - reader->done ? damaged(reader) : MIO_OK;
    for (size_t part; size > 0 && !status; bytes += part, size -= part) {
        part = smaller(size, CHUNK);
        status = read_stream(reader, bytes, part);
    }
    return status;
}

/* Fills bytes as far as the stream goes; *got counts them. */
static mio_status inflate_some(mio__archive_reader *reader, unsigned char *bytes, size_t size, size_t *got)
{
    z_stream *stream = &reader->stream;
    int result = Z_OK;
    *got = 0;
    while (*got < size && result == Z_OK) {
        const uint64_t left = reader->record->packed_size - reader->done;
        if (stream->avail_in == 0 && left > 0) {
            stream->avail_in = (uInt)smaller(left, CHUNK);
            stream->next_in = reader->chunk;
            const mio_status status = read_stream(reader, reader->chunk, stream->avail_in);
            if (status)
                return status;
        }
        const uInt part = (uInt)smaller(size - *got, INT_MAX);
        stream->next_out = bytes + *got;
        stream->avail_out = part;
        result = inflate(stream, Z_NO_FLUSH);
        *got += part - stream->avail_out;
    }
    reader->ended = reader->ended || result == Z_STREAM_END;
    return result == Z_MEM_ERROR ? MIO_ERROR_MEMORY : MIO_OK;
}

mio_status mio__archive_next(mio__archive_reader *reader, void *bytes, size_t size)
{
    if (reader->record->stored)
        return next_stored(reader, bytes, size);
    size_t got;
    const mio_status status = inflate_some(reader, bytes, size, &got);
    return status ? status : got < size ? damaged(reader) : MIO_OK;
}

/* Whether the stream ends where the contents do, and the checksum is right. */
static mio_status check_end(mio__archive_reader *reader)
{
    const archive_record *record = reader->record;
    if (!record->stored) {
        unsigned char beyond;
        size_t got = 0;
        const mio_status status = reader->ended ? MIO_OK : inflate_some(reader, &beyond, 1, &got);
        if (status)
            return status;
        if (!reader->ended || got > 0 || reader->stream.avail_in > 0)
            return damaged(reader);
    }
    return reader->crc == record->crc && reader->done == record->packed_size ? MIO_OK : damaged(reader);
}

mio_status mio__archive_end(mio__archive_reader *reader, mio_status status)
{
    if (!status)
        status = check_end(reader);
    if (reader->inflating)
        inflateEnd(&reader->stream);
    mio__free(reader->archive->context, reader->chunk);
    return status;
}

mio_status mio__archive_get(const mio__archive *archive, const char *name, void *bytes, size_t size)
{
    mio__archive_reader reader;
    mio_status status = mio__archive_begin(archive, name, size, &reader);
    if (!status)
        status = mio__archive_next(&reader, bytes, size);
    return mio__archive_end(&reader, status);
}

mio_status mio__archive_get_text(mio__archive *archive, const char *name, size_t room, char *text)
{
    size_t size = 0;
    mio_status status = mio__archive_size(archive, name, &size);
    if (!status && size >= room)
        status = mio__archive_refuse(archive, name, "it has %zu bytes; at most %zu are expected", size, room - 1);
    if (!status)
        status = mio__archive_get(archive, name, text, size);
    if (!status)
        text[size] = 0;
    return status;
}
