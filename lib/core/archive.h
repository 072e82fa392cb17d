/* The file that encoders and checkpoints are kept in: named records, deflated or as they are, each with its CRC-32. */
#ifndef MIO_CORE_ARCHIVE_H
#define MIO_CORE_ARCHIVE_H

#include <mio/context.h>
#include <zlib.h>

/** A file being written: a temporary beside `path` until it is committed. */
typedef struct mio__archive_writer mio__archive_writer;

/** Starts a file. kind: four letters ("ENCO", "CHKP") in the header. Errors: MIO_ERROR_IO, MIO_ERROR_MEMORY. */
mio_status mio__archive_create(mio_context *context, const char *path, const char *kind, mio__archive_writer **writer);
/**
 * Keeps the records that follow as they are: weights give Huffman codes a tenth of their size at most, and reading that
 * back takes longer than all the rest of loading an encoder.
 */
void mio__archive_store(mio__archive_writer *writer);
/** Appends a record; names are unique, at most 255 bytes. Errors: MIO_ERROR_IO (a full disk included),
    MIO_ERROR_MEMORY. */
mio_status mio__archive_put(mio__archive_writer *writer, const char *name, const void *bytes, size_t size);
/** Writes the end mark, syncs, renames over path, syncs the folder, and frees the writer. On failure path is as
    before. */
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
/** Fails with MIO_ERROR_FORMAT: file, record, its offset and, in words, what is wrong with its contents. */
__attribute__((format(printf, 3, 4))) mio_status mio__archive_refuse(const mio__archive *archive, const char *name,
                                                                     const char *format, ...);
/** The same where whoever took the contents refused them (MIO_ERROR_FORMAT, MIO_ERROR_ARGUMENT), in its words; other
    statuses stay as they are. */
mio_status mio__archive_blame(const mio__archive *archive, const char *name, mio_status status);
/** 1 if there is such a record. */
int mio__archive_has(const mio__archive *archive, const char *name);
/** Reads a record of exactly `size` bytes into bytes. Errors: MIO_ERROR_FORMAT (another size, bad data, bad CRC),
    MIO_ERROR_IO, MIO_ERROR_MEMORY. Thread-safety: several records of one archive may be read at once. */
mio_status mio__archive_get(const mio__archive *archive, const char *name, void *bytes, size_t size);
/** A text record into a buffer of `room` bytes, ended by a zero; a longer one is refused. */
mio_status mio__archive_get_text(mio__archive *archive, const char *name, size_t room, char *text);

/** A record being read in parts; lives on its reader's stack. */
typedef struct mio__archive_reader {
    const mio__archive *archive;
    const struct archive_record *record;
    uint64_t done; /* bytes of the record's stream read so far */
    uint32_t crc;  /* of them */
    int inflating, ended;
    unsigned char *chunk;
    z_stream stream;
} mio__archive_reader;

/** Starts on a record of exactly `size` bytes. Errors and thread-safety as mio__archive_get, for all three. */
mio_status mio__archive_begin(const mio__archive *archive, const char *name, size_t size, mio__archive_reader *reader);
/** The next `size` bytes of the contents; what they hold is not to be trusted before mio__archive_end has said so. */
mio_status mio__archive_next(mio__archive_reader *reader, void *bytes, size_t size);
/** To be called once, after a failure too, with what went before; frees what the reader holds. Returns status, or,
    where that is MIO_OK, whether the record was read to its end and is sound. */
mio_status mio__archive_end(mio__archive_reader *reader, mio_status status);

#endif
