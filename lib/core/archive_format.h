/* How an archive lies in a file, for its writer and its reader. */
#ifndef MIO_CORE_ARCHIVE_FORMAT_H
#define MIO_CORE_ARCHIVE_FORMAT_H

#include "core/archive.h"
#include "core/context.h"

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

typedef struct archive_record {
    char name[NAME_LIMIT + 1];
    uint64_t size, packed_size;
    uint64_t offset; /* of the stream */
    uint32_t crc;
    int stored; /* the stream is the contents */
} archive_record;

static inline void put_number(unsigned char *bytes, uint64_t value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
}

static inline uint64_t get_number(const unsigned char *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static inline uint32_t crc_of(const void *bytes, size_t size, uint32_t crc)
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

static inline void *zlib_alloc(void *context, unsigned items, unsigned size)
{
    return mio__alloc(context, (size_t)items * size);
}

static inline void zlib_free(void *context, void *pointer)
{
    mio__free(context, pointer);
}

#endif
