/* Files written whole or not at all, and small ones read whole. Through file descriptors, as stdio would take memory
   behind the context's back. */
#ifndef MIO_CORE_FILE_H
#define MIO_CORE_FILE_H

#include <mio/context.h>

/** A file being written: a temporary beside `path` until it is committed. */
typedef struct mio__file {
    mio_context *context; /* borrowed */
    char *path, *temporary;
    int descriptor;
} mio__file;

/** Starts a file. Errors: MIO_ERROR_IO, MIO_ERROR_MEMORY; there is then nothing to abandon. */
mio_status mio__file_create(mio_context *context, const char *path, mio__file *file);
/** Errors: MIO_ERROR_IO (a full disk included). */
mio_status mio__file_write(mio__file *file, const void *bytes, size_t size);
/** Syncs, renames over path, syncs the folder, and ends the file. On failure path is as before. */
mio_status mio__file_commit(mio__file *file);
/** Removes the temporary file. Also after mio__file_commit, and for a zeroed struct: then it does nothing. */
void mio__file_abandon(mio__file *file);

/** A file's bytes and a zero after them, allocated. Errors: MIO_ERROR_IO, MIO_ERROR_MEMORY, MIO_ERROR_FORMAT (more than
    `limit` bytes). */
mio_status mio__file_read(mio_context *context, const char *path, size_t limit, char **bytes, size_t *size);

/** Records that the system refused to do something: "cannot ACTION 'PATH': REASON". */
mio_status mio__file_failure(const char *action, const char *path, int error);

#endif
