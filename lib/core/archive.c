#define _POSIX_C_SOURCE 200809L /* pread, O_CLOEXEC */
#include "core/archive.h"

#include "core/context.h"
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* Layout of a file, all numbers little-endian:

       8 bytes  mark        4 bytes  kind        4 bytes  version
       any number of records:
           4 bytes  "RECD" or "RECS"         4 bytes  length of the name
           8 bytes  size of the contents     8 bytes  size of the stream
           4 bytes  CRC-32 of the stream     4 bytes  CRC-32 of the 28 bytes before it and the name
           the name, the stream: deflate's ("RECD") or the contents as they are ("RECS", since version 3)
       4 bytes  "DONE"      4 bytes  number of records   8 bytes  where this end mark begins
       4 bytes  CRC-32 of the 16 bytes before it

   Deflate's streams are bare: zlib's own header and checksum would only be a second sum to take, as long as the first.
   Files are read and written through file descriptors, as stdio would take memory behind the context's back. */

enum { FILE_HEADER = 16, RECORD_HEADER = 32, END_MARK = 20, NAME_LIMIT = 255, CHUNK = 1 << 16 };
enum { VERSION = 3, OLDEST_VERSION = 2 };

static const unsigned char file_mark[8] = {0x89, 'M', 'I', 'O', '\r', '\n', 0x1a, '\n'};

/* No deflate stream expands further, so a record that claims more is corrupt and no memory is spent on it. */
enum { DEFLATE_RATIO_LIMIT = 1032 };

typedef struct archive_record {
    char name[NAME_LIMIT + 1];
    uint64_t size, packed_size;
    uint64_t offset; /* of the stream */
    uint32_t crc;
    int stored; /* the stream is the contents */
} archive_record;

/* ---- numbers ---- */

static void put_number(unsigned char *bytes, uint64_t value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get_number(const unsigned char *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static uint32_t crc_of(const void *bytes, size_t size, uint32_t crc)
{
    const unsigned char *next = bytes;
    while (size > 0) {
        const uInt part = size < CHUNK ? (uInt)size : CHUNK;
        crc = (uint32_t)crc32(crc, next, part);
        next += part;
        size -= part;
    }
    return crc;
}

static void *zlib_alloc(void *context, unsigned items, unsigned size)
{
    return mio__alloc(context, (size_t)items * size);
}

static void zlib_free(void *context, void *pointer)
{
    mio__free(context, pointer);
}

/* ---- writing ---- */

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
    if (writer->count == writer->capacity) {
        const size_t capacity = writer->capacity ? 2 * writer->capacity : 64;
        archive_record *records = mio__alloc(writer->context, capacity * sizeof *records);
        if (!records)
            return MIO_ERROR_MEMORY;
        if (writer->count)
            memcpy(records, writer->records, writer->count * sizeof *records);
        mio__free(writer->context, writer->records);
        writer->records = records;
        writer->capacity = capacity;
    }
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
        (status = writer->storing ? write_stored(writer, bytes, size, &crc) : write_deflated(writer, bytes, size, &crc)))
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

/* ---- reading ---- */

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

static mio_status grow_records(mio__archive *archive)
{
    if (archive->count < archive->capacity)
        return MIO_OK;
    const size_t capacity = archive->capacity ? 2 * archive->capacity : 64;
    archive_record *records = mio__alloc(archive->context, capacity * sizeof *records);
    if (!records)
        return MIO_ERROR_MEMORY;
    if (archive->count)
        memcpy(records, archive->records, archive->count * sizeof *records);
    mio__free(archive->context, archive->records);
    archive->records = records;
    archive->capacity = capacity;
    return MIO_OK;
}

/* Reads the record header at *offset and moves *offset behind the record. */
static mio_status read_record(mio__archive *archive, uint64_t *offset)
{
    unsigned char header[RECORD_HEADER];
    mio_status status = grow_records(archive);
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
    if (status != MIO_ERROR_FORMAT)
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
