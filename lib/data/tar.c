#define _POSIX_C_SOURCE 200809L
#include "data/stream_private.h"

#include <string.h>

enum { BLOCK = 512, EXTENSION_LIMIT = 1 << 20 };

/* Fields of a header block. */
enum { NAME = 0, SIZE = 124, CHECKSUM = 148, TYPE = 156, MAGIC = 257, PREFIX = 345 };

/* What extension members say about the next one. */
typedef struct extension {
    int has_name, has_size;
    uint64_t size;
    char name[MIO__TAR_NAME_LIMIT];
} extension;

static int is_zero(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return 0;
    return 1;
}

/* A number field: octal digits between spaces, or, first bit set, big-endian binary. Returns 0 if it is neither. */
static int parse_number(const unsigned char *field, size_t width, uint64_t *value)
{
    uint64_t number = 0;
    size_t i = 0;
    if (field[0] == 0x80) {
        for (i = 1; i < width; i++) {
            if (number >> 55)
                return 0;
            number = number << 8 | field[i];
        }
        *value = number;
        return 1;
    }
    while (i < width && field[i] == ' ')
        i++;
    for (; i < width && field[i] >= '0' && field[i] <= '7'; i++)
        number = number << 3 | (uint64_t)(field[i] - '0');
    for (; i < width; i++)
        if (field[i] && field[i] != ' ')
            return 0;
    *value = number;
    return 1;
}

static int checksum_holds(const unsigned char *header)
{
    uint64_t said, sum = 0;
    if (!parse_number(header + CHECKSUM, 8, &said))
        return 0;
    for (size_t i = 0; i < BLOCK; i++)
        sum += i >= CHECKSUM && i < CHECKSUM + 8 ? ' ' : header[i];
    return sum == said;
}

/* The name in the header itself: of ustar's, prefix/name. */
static void header_name(const unsigned char *header, char *name)
{
    size_t used = 0;
    if (!memcmp(header + MAGIC, "ustar\00000", 8) && header[PREFIX]) {
        used = strnlen((const char *)header + PREFIX, 155);
        memcpy(name, header + PREFIX, used);
        name[used++] = '/';
    }
    const size_t length = strnlen((const char *)header + NAME, 100);
    memcpy(name + used, header + NAME, length);
    name[used + length] = 0;
}

static mio_status take_name(const mio__stream *stream, const char *text, size_t length, char *name)
{
    while (length && !text[length - 1])
        length--;
    if (length >= MIO__TAR_NAME_LIMIT)
        return mio__stream_fail(stream, stream->offset, "a member's name has %zu bytes; at most %d are read", length,
                                MIO__TAR_NAME_LIMIT - 1);
    if (memchr(text, 0, length))
        return mio__stream_fail(stream, stream->offset, "a member's name holds a zero byte");
    memcpy(name, text, length);
    name[length] = 0;
    return MIO_OK;
}

/* Decimal number; 0 if it is none. */
static int parse_decimal(const char *text, size_t length, uint64_t *value)
{
    uint64_t number = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || number > UINT64_MAX / 10 - 1)
            return 0;
        number = number * 10 + (uint64_t)(text[i] - '0');
    }
    *value = number;
    return length > 0;
}

/* Records of a pax header: "length key=value\n"; length counts the whole record. */
static mio_status take_pax(const mio__stream *stream, const char *text, size_t size, extension *next)
{
    while (size) {
        const char *space = memchr(text, ' ', size);
        uint64_t length;
        if (!space || !parse_decimal(text, (size_t)(space - text), &length) || length > size ||
            length < (size_t)(space - text) + 2 || text[length - 1] != '\n')
            return mio__stream_fail(stream, stream->offset, "a pax header before this place is corrupt");
        const char *key = space + 1, *end = text + length - 1;
        const char *equals = memchr(key, '=', (size_t)(end - key));
        if (!equals)
            return mio__stream_fail(stream, stream->offset, "a pax header before this place is corrupt");
        const size_t key_length = (size_t)(equals - key), value_length = (size_t)(end - equals - 1);
        if (key_length == 4 && !memcmp(key, "path", 4)) {
            const mio_status status = take_name(stream, equals + 1, value_length, next->name);
            if (status)
                return status;
            next->has_name = 1;
        } else if (key_length == 4 && !memcmp(key, "size", 4)) {
            if (!parse_decimal(equals + 1, value_length, &next->size))
                return mio__stream_fail(stream, stream->offset, "a pax header before this place is corrupt");
            next->has_size = 1;
        } else if (key_length > 10 && !memcmp(key, "GNU.sparse", 10)) {
            return mio__fail(MIO_ERROR_UNSUPPORTED, "'%s': the archive holds a sparse member; write it without sparse",
                             stream->path);
        }
        text += length;
        size -= length;
    }
    return MIO_OK;
}

static mio_status skip(mio__stream *stream, uint64_t size)
{
    unsigned char scratch[4096];
    while (size) {
        const size_t piece = size < sizeof scratch ? (size_t)size : sizeof scratch;
        size_t got;
        const mio_status status = mio__stream_take(stream, scratch, piece, &got);
        if (status)
            return status;
        if (got < piece)
            return mio__stream_fail(stream, stream->offset, "the archive ends inside a member");
        size -= piece;
    }
    return MIO_OK;
}

static uint64_t padding(uint64_t size)
{
    return (BLOCK - size % BLOCK) % BLOCK;
}

/* An extension member: a long name (L), a pax header (x), or one that says nothing of use here. */
static mio_status take_extension(mio__stream *stream, char type, uint64_t size, extension *next)
{
    if (type != 'L' && type != 'x')
        return skip(stream, size + padding(size));
    if (size > EXTENSION_LIMIT)
        return mio__stream_fail(stream, stream->offset, "a header of %llu bytes; at most %d are read",
                                (unsigned long long)size, EXTENSION_LIMIT);
    char *text = mio__alloc(stream->context, (size_t)size + 1);
    if (!text)
        return MIO_ERROR_MEMORY;
    size_t got;
    mio_status status = mio__stream_take(stream, text, (size_t)size, &got);
    if (!status && got < size)
        status = mio__stream_fail(stream, stream->offset, "the archive ends inside a header");
    if (!status && type == 'L') {
        status = take_name(stream, text, (size_t)size, next->name);
        next->has_name = 1;
    } else if (!status) {
        status = take_pax(stream, text, (size_t)size, next);
    }
    mio__free(stream->context, text);
    return status ? status : skip(stream, padding(size));
}

/* After the first zero block: reads on to the end, so that gzip's checksum is seen too. */
static mio_status finish_archive(mio__stream *stream)
{
    unsigned char scratch[4096];
    size_t got;
    do {
        const uint64_t start = stream->offset;
        const mio_status status = mio__stream_take(stream, scratch, sizeof scratch, &got);
        if (status)
            return status;
        if (!is_zero(scratch, got))
            return mio__stream_fail(stream, start, "bytes other than zero follow the archive's end mark");
    } while (got);
    return MIO_OK;
}

/* The next header block; *ended at the end mark. */
static mio_status take_header(mio__stream *stream, unsigned char *header, int *ended)
{
    size_t got;
    const uint64_t start = stream->offset;
    const mio_status status = mio__stream_take(stream, header, BLOCK, &got);
    if (status)
        return status;
    if (got < BLOCK)
        return mio__stream_fail(stream, start, "the archive ends early, without its end mark");
    *ended = is_zero(header, BLOCK);
    if (*ended)
        return finish_archive(stream);
    if (!checksum_holds(header))
        return mio__stream_fail(stream, start, "no tar header here: its checksum does not hold");
    return MIO_OK;
}

static mio_status leave_member(mio__stream *stream)
{
    if (!stream->in_member)
        return MIO_OK;
    stream->in_member = 0;
    const uint64_t rest = stream->member_end - stream->offset;
    return skip(stream, rest + padding(stream->member_end - stream->member_start));
}

/* Starts a member, unless it is of a kind to be passed over: *found stays 0. */
static mio_status enter_member(mio__stream *stream, const unsigned char *header, uint64_t size, const extension *next,
                               mio__tar_member *member, int *found)
{
    const char type = (char)header[TYPE];
    const int is_file = type == '0' || type == 0 || type == '7', is_link = type == '1' || type == '2';
    if (type == 'S')
        return mio__fail(MIO_ERROR_UNSUPPORTED, "'%s': the archive holds a sparse member; write it without sparse",
                         stream->path);
    if (next->has_size)
        size = next->size;
    if (!is_file && !is_link) /* folders and devices have no bytes, whatever old writers put into the size */
        return type >= '3' && type <= '6' ? MIO_OK : skip(stream, size + padding(size));
    if (next->has_name)
        memcpy(stream->member_name, next->name, strlen(next->name) + 1);
    else
        header_name(header, stream->member_name);
    const char *name = stream->member_name;
    while (name[0] == '.' && name[1] == '/')
        for (name += 2; *name == '/'; name++) {
        }
    if (*name && name[strlen(name) - 1] == '/') /* before ustar, folders were files with such a name */
        return MIO_OK;
    member->name = name;
    member->size = is_link ? 0 : size;
    member->is_link = is_link;
    stream->member_start = stream->offset;
    stream->member_end = stream->offset + member->size;
    stream->in_member = 1;
    *found = 1;
    return MIO_OK;
}

mio_status mio__tar_next(mio__stream *stream, mio__tar_member *member)
{
    mio_status status = leave_member(stream);
    int found = 0, ended = 0;
    extension *next = status ? NULL : mio__alloc(stream->context, sizeof *next);
    if (!next)
        return status ? status : MIO_ERROR_MEMORY;
    next->has_name = next->has_size = 0;
    *member = (mio__tar_member){0};
    while (!status && !found) {
        unsigned char header[BLOCK];
        uint64_t size = 0;
        status = take_header(stream, header, &ended);
        if (status || ended)
            break;
        const char type = (char)header[TYPE];
        const int extends = type == 'L' || type == 'K' || type == 'x' || type == 'g';
        if (!parse_number(header + SIZE, 12, &size) || size > mio__stream_bound(stream) ||
            (!extends && next->has_size && next->size > mio__stream_bound(stream))) {
            status = mio__stream_fail(stream, stream->offset, "a member claims more bytes than the archive can hold");
        } else if (extends) {
            status = take_extension(stream, type, size, next);
        } else {
            status = enter_member(stream, header, size, next, member, &found);
            next->has_name = next->has_size = 0;
        }
    }
    mio__free(stream->context, next);
    return status;
}
