/* Bytes from a plain file, from a gzip file, or from the members of a tar inside either. */
#ifndef MIO_DATA_STREAM_H
#define MIO_DATA_STREAM_H

#include "core/context.h"

typedef struct mio__stream mio__stream;

/**
 * Opens a regular file; one that begins like gzip is decompressed.
 * Errors: MIO_ERROR_IO, MIO_ERROR_FORMAT, MIO_ERROR_MEMORY. One thread at a time; the reads below likewise.
 */
mio_status mio__stream_open(mio_context *context, const char *path, mio__stream **stream);
/** NULL is accepted. */
void mio__stream_close(mio__stream *stream);

/** Reads exactly size bytes; fewer are MIO_ERROR_FORMAT. what: what is read, for the message ("the header"). */
mio_status mio__stream_read_exactly(mio__stream *stream, void *bytes, size_t size, const char *what);
/** Reads the rest into new memory, one zero byte after it; more than limit bytes are MIO_ERROR_FORMAT. */
mio_status mio__stream_read_rest(mio__stream *stream, size_t limit, char **text, size_t *size);
/** MIO_ERROR_FORMAT if bytes follow. */
mio_status mio__stream_expect_end(mio__stream *stream);

/** No more than so many bytes can follow: exact for plain files and members, deflate's highest ratio for gzip. */
uint64_t mio__stream_bound(const mio__stream *stream);
/** Place of the next byte in the decompressed file, or within the member. */
uint64_t mio__stream_offset(const mio__stream *stream);
/** Records a MIO_ERROR_FORMAT that names file, member and offset, and returns it. */
__attribute__((format(printf, 3, 4))) mio_status mio__stream_fail(const mio__stream *stream, uint64_t offset,
                                                                  const char *format, ...);

/** A member of a tar: ustar, GNU and pax names. name is borrowed until the next one, without a leading "./". */
typedef struct mio__tar_member {
    const char *name; /* NULL past the last member */
    uint64_t size;
    int is_link; /* a hard or symbolic link: no bytes of its own */
} mio__tar_member;

/**
 * Passes over the rest of the present member and goes to the next file or link; folders are passed over. From then on
 * reads end where the member ends. At the archive's end mark the rest of the file is read, so that its checksum is
 * verified; nothing but zeros may follow. Errors: MIO_ERROR_FORMAT (header checksum, sizes, no end mark),
 * MIO_ERROR_UNSUPPORTED (sparse members).
 */
mio_status mio__tar_next(mio__stream *stream, mio__tar_member *member);

#endif
