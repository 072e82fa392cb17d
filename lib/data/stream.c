#define _POSIX_C_SOURCE 200809L
#include "data/stream_private.h"

#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

mio_status mio__stream_fail(const mio__stream *stream, uint64_t offset, const char *format, ...)
{
    char what[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (stream->in_member)
        return mio__fail(MIO_ERROR_FORMAT, "'%s', member '%.120s', offset %llu: %s", stream->path, stream->member_name,
                         (unsigned long long)offset, what);
    return mio__fail(MIO_ERROR_FORMAT, "'%s', offset %llu: %s", stream->path, (unsigned long long)offset, what);
}

static mio_status fail_gzip(const mio__stream *stream)
{
    const uint64_t place = stream->file_offset - stream->inflater.avail_in;
    return mio__fail(MIO_ERROR_FORMAT, "'%s', offset %llu: the gzip data are corrupt (%s)", stream->path,
                     (unsigned long long)place, stream->inflater.msg ? stream->inflater.msg : "unexpected end");
}

/* ---- opening ---- */

static void *inflater_alloc(void *context, unsigned items, unsigned size)
{
    return mio__alloc(context, (size_t)items * size);
}

static void inflater_free(void *context, void *pointer)
{
    mio__free(context, pointer);
}

/* Fills the empty buffer from the file; leaves it empty at the file's end. */
static mio_status refill(mio__stream *stream)
{
    ssize_t got;
    do
        got = read(stream->file, stream->buffer, sizeof stream->buffer);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return mio__file_failure("read", stream->path, errno);
    stream->inflater.next_in = stream->buffer;
    stream->inflater.avail_in = (unsigned)got;
    stream->file_offset += (uint64_t)got;
    return MIO_OK;
}

static mio_status open_file(mio__stream *stream)
{
    /* Without O_NONBLOCK a named pipe would wait for its writer before it can be refused. */
    stream->file = open(stream->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (stream->file < 0)
        return mio__file_failure("open", stream->path, errno);
    struct stat facts;
    if (fstat(stream->file, &facts))
        return mio__file_failure("examine", stream->path, errno);
    if (!S_ISREG(facts.st_mode))
        return mio__fail(MIO_ERROR_IO, "cannot read '%s': it is not a regular file", stream->path);
    stream->file_size = (uint64_t)facts.st_size;
    return refill(stream);
}

static mio_status start_inflating(mio__stream *stream)
{
    stream->inflater.zalloc = inflater_alloc;
    stream->inflater.zfree = inflater_free;
    stream->inflater.opaque = stream->context;
    const int code = inflateInit2(&stream->inflater, 15 + 16); /* the largest window, gzip's wrapping */
    if (code == Z_MEM_ERROR)
        return mio__fail(MIO_ERROR_MEMORY, "out of memory: no room to decompress '%s'", stream->path);
    if (code != Z_OK)
        return mio__fail(MIO_ERROR_INTERNAL, "zlib refused to start (code %d)", code);
    stream->inflating = 1;
    return MIO_OK;
}

mio_status mio__stream_open(mio_context *context, const char *path, mio__stream **stream)
{
    mio__stream *made = mio__alloc(context, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    memset(made, 0, offsetof(mio__stream, member_name));
    made->context = context;
    made->file = -1;
    made->path = mio__copy_text(context, path);
    mio_status status = made->path ? open_file(made) : MIO_ERROR_MEMORY;
    if (!status && made->inflater.avail_in >= 3 && !memcmp(made->buffer, "\x1f\x8b\x08", 3)) {
        made->is_gzip = 1;
        status = start_inflating(made);
    }
    if (status) {
        mio__stream_close(made);
        return status;
    }
    *stream = made;
    return MIO_OK;
}

void mio__stream_close(mio__stream *stream)
{
    if (!stream)
        return;
    if (stream->inflating)
        inflateEnd(&stream->inflater);
    if (stream->file >= 0)
        close(stream->file);
    mio__free(stream->context, stream->path);
    mio__free(stream->context, stream);
}

/* ---- reading ---- */

static mio_status take_plain(mio__stream *stream, unsigned char *bytes, size_t size, size_t *got)
{
    size_t done = 0;
    while (done < size) {
        if (!stream->inflater.avail_in) {
            const mio_status status = refill(stream);
            if (status)
                return status;
            if (!stream->inflater.avail_in)
                break;
        }
        const size_t rest = size - done, ready = stream->inflater.avail_in;
        const size_t piece = rest < ready ? rest : ready;
        memcpy(bytes + done, stream->inflater.next_in, piece);
        stream->inflater.next_in += piece;
        stream->inflater.avail_in -= (unsigned)piece;
        done += piece;
    }
    *got = done;
    return MIO_OK;
}

/* After one gzip member: another may follow, and together they are one file. Or zeros up to the end, as tapes leave
   them. */
static mio_status end_gzip_member(mio__stream *stream)
{
    z_stream *inflater = &stream->inflater;
    for (int padded = 0;; padded = 1) {
        if (!inflater->avail_in) {
            const mio_status status = refill(stream);
            if (status)
                return status;
            stream->at_end = !inflater->avail_in;
        }
        if (stream->at_end)
            return MIO_OK;
        if (*inflater->next_in && padded)
            return fail_gzip(stream);
        if (*inflater->next_in)
            return inflateReset(inflater) == Z_OK ? MIO_OK : fail_gzip(stream);
        inflater->next_in++;
        inflater->avail_in--;
    }
}

static mio_status take_inflated(mio__stream *stream, unsigned char *bytes, size_t size, size_t *got)
{
    z_stream *inflater = &stream->inflater;
    size_t done = 0;
    while (done < size && !stream->at_end) {
        if (!inflater->avail_in) {
            const mio_status status = refill(stream);
            if (status)
                return status;
            if (!inflater->avail_in)
                return fail_gzip(stream);
        }
        const size_t rest = size - done;
        const unsigned room = rest < (1u << 30) ? (unsigned)rest : 1u << 30;
        inflater->next_out = bytes + done;
        inflater->avail_out = room;
        const int code = inflate(inflater, Z_NO_FLUSH);
        done += room - inflater->avail_out;
        if (code == Z_MEM_ERROR)
            return mio__fail(MIO_ERROR_MEMORY, "out of memory: no room to decompress '%s'", stream->path);
        if (code == Z_STREAM_END) {
            const mio_status status = end_gzip_member(stream);
            if (status)
                return status;
        } else if (code != Z_OK && code != Z_BUF_ERROR) {
            return fail_gzip(stream);
        }
    }
    *got = done;
    return MIO_OK;
}

mio_status mio__stream_take(mio__stream *stream, void *bytes, size_t size, size_t *got)
{
    const mio_status status =
        stream->is_gzip ? take_inflated(stream, bytes, size, got) : take_plain(stream, bytes, size, got);
    if (!status)
        stream->offset += *got;
    return status;
}

/* Reads size bytes, fewer only at the end: *got. Corrupt gzip data, its checksum included, is MIO_ERROR_FORMAT. */
static mio_status read_up_to(mio__stream *stream, void *bytes, size_t size, size_t *got)
{
    if (!stream->in_member)
        return mio__stream_take(stream, bytes, size, got);
    const uint64_t left = stream->member_end - stream->offset;
    const size_t wanted = size < left ? size : (size_t)left;
    const mio_status status = mio__stream_take(stream, bytes, wanted, got);
    if (!status && *got < wanted)
        return mio__stream_fail(stream, mio__stream_offset(stream), "the archive ends inside this member");
    return status;
}

mio_status mio__stream_read_exactly(mio__stream *stream, void *bytes, size_t size, const char *what)
{
    size_t got;
    const mio_status status = read_up_to(stream, bytes, size, &got);
    if (!status && got < size)
        return mio__stream_fail(stream, mio__stream_offset(stream),
                                "the file ends early: %zu more bytes of %s were expected", size - got, what);
    return status;
}

mio_status mio__stream_read_rest(mio__stream *stream, size_t limit, char **text, size_t *size)
{
    char *bytes = NULL;
    size_t capacity = 0, used = 0, got = 0;
    mio_status status = MIO_OK;
    do {
        const size_t step = 4096;
        status = mio__grow(stream->context, (void **)&bytes, &capacity, used, used + step, 1);
        if (!status)
            status = read_up_to(stream, bytes + used, step - 1, &got);
        used += status ? 0 : got;
        if (!status && used > limit)
            status = mio__stream_fail(stream, limit, "longer than the %zu bytes that such a file may have", limit);
    } while (!status && got);
    if (status) {
        mio__free(stream->context, bytes);
        return status;
    }
    bytes[used] = 0;
    *text = bytes;
    *size = used;
    return MIO_OK;
}

mio_status mio__stream_expect_end(mio__stream *stream)
{
    unsigned char byte;
    size_t got;
    const uint64_t end = mio__stream_offset(stream);
    const mio_status status = read_up_to(stream, &byte, 1, &got);
    return !status && got ? mio__stream_fail(stream, end, "more bytes follow where the file should end") : status;
}

uint64_t mio__stream_bound(const mio__stream *stream)
{
    if (stream->in_member)
        return stream->member_end - stream->offset;
    if (!stream->is_gzip)
        return stream->file_size > stream->offset ? stream->file_size - stream->offset : 0;
    /* Deflate never makes more than 1032 bytes of one; zlib may hold back what it has made already, a window at most.
     */
    return stream->file_size < UINT64_MAX / 2048 ? stream->file_size * 1032 + 65536 : UINT64_MAX;
}

uint64_t mio__stream_offset(const mio__stream *stream)
{
    return stream->in_member ? stream->offset - stream->member_start : stream->offset;
}
