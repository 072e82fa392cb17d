/* The file that encoders and checkpoints are kept in: named records, zlib-compressed, each with its CRC-32. */
#ifndef MIO_CORE_ARCHIVE_H
#define MIO_CORE_ARCHIVE_H

#include <mio/context.h>

/** A file being written: a temporary beside `path` until it is committed. */
typedef struct mio__archive_writer mio__archive_writer;

/** Starts a file. kind: four letters ("ENCO", "CHKP") in the header. Errors: MIO_ERROR_IO, MIO_ERROR_MEMORY. */
mio_status mio__archive_create(mio_context *context, const char *path, const char *kind, mio__archive_writer **writer);
/**
 * Stores the records that follow as they are, in zlib's format all the same: weights give Huffman codes a tenth of
 * their size at most, and reading that back takes longer than all the rest of loading an encoder. To be called before
 * the first record.
 */
void mio__archive_store(mio__archive_writer *writer);
/** Appends a record; names are unique, at most 255 bytes. Errors: MIO_ERROR_IO (a full disk included), MIO_ERROR_MEMORY. */
mio_status mio__archive_put(mio__archive_writer *writer, const char *name, const void *bytes, size_t size);
/** Writes the end mark, syncs, renames over path, syncs the folder, and frees the writer. On failure path is as before. */
mio_status mio__archive_commit(mio__archive_writer *writer);
/** Removes the temporary file and frees the writer. NULL is accepted. */
void mio__archive_abandon(mio__archive_writer *writer);

/** A file opened for reading; its structure has been checked, its records' contents not yet. */
typedef struct mio__archive mio__archive;

/** Errors: MIO_ERROR_IO; MIO_ERROR_FORMAT (not ours, truncated, of a later version: file and offset are named). */
mio_status mio__archive_open(mio_context *context, const char *path, mio__archive **archive);
/** NULL is accepted. */
void mio__archive_close(mio__archive *archive);
/** Size of a record, or MIO_ERROR_FORMAT naming file and record. */
mio_status mio__archive_size(const mio__archive *archive, const char *name, size_t *size);
/** 1 if there is such a record. */
int mio__archive_has(const mio__archive *archive, const char *name);
/** Decompresses a record of exactly `size` bytes into bytes. Errors: MIO_ERROR_FORMAT (another size, bad data, bad CRC). */
mio_status mio__archive_get(mio__archive *archive, const char *name, void *bytes, size_t size);

#endif
