/* Shared by stream.c and tar.c. */
#ifndef MIO_DATA_STREAM_PRIVATE_H
#define MIO_DATA_STREAM_PRIVATE_H

#include "data/stream.h"

#include <zlib.h>

enum { MIO__STREAM_BUFFER = 1 << 16, MIO__TAR_NAME_LIMIT = 4096 };

struct mio__stream {
    mio_context *context;
    char *path;
    int file;   /* descriptor, -1 while there is none */
    int at_end; /* nothing more comes from the file, or from gzip */
    int is_gzip;
    int inflating; /* zlib's state is set up */
    uint64_t file_size;
    uint64_t file_offset; /* bytes taken from the file */
    uint64_t offset;      /* bytes handed out, decompressed */
    z_stream inflater;    /* next_in and avail_in also serve plain files */

    int in_member;                     /* reads end at member_end */
    uint64_t member_start, member_end; /* offsets */

    /* Not zeroed at the start: a folder opens many small files. */
    char member_name[MIO__TAR_NAME_LIMIT];
    unsigned char buffer[MIO__STREAM_BUFFER];
};

/** As mio__stream_read, past a member's end. */
mio_status mio__stream_take(mio__stream *stream, void *bytes, size_t size, size_t *got);

#endif
