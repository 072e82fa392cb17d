/* The files that a published dataset consists of, in a folder or still in the tar they came in. */
#ifndef MIO_DATA_BUNDLE_H
#define MIO_DATA_BUNDLE_H

#include "data/store.h"
#include "data/stream.h"

/** One file of the dataset, found by its name alone, whatever folder of a tar it lies in; without a name it is not
 * looked for. */
typedef struct mio__bundle_file {
    const char *name;
    int is_optional;
} mio__bundle_file;

/** Reads one file to its end. file: its index in the list. */
typedef mio_status (*mio__bundle_read)(void *argument, size_t file, mio__stream *stream);

/**
 * Calls read for every file of the list that is there: in the list's order from a folder (or from `subfolder` in it,
 * which the published archive unpacks to), in the archive's order from a tar. Errors: read's; MIO_ERROR_IO (a file that
 * is not optional is missing); MIO_ERROR_FORMAT (twice in a tar).
 */
mio_status mio__bundle_visit(const mio__source *source, const char *subfolder, size_t count,
                             const mio__bundle_file *files, mio__bundle_read read, void *argument);
/** Number of records of record_size bytes in the file that begins here; MIO_ERROR_FORMAT unless they fill it. */
mio_status mio__bundle_records(mio__stream *stream, size_t record_size, size_t *records);
/** Names the dataset's classes by the lines of the file that begins here; MIO_ERROR_FORMAT unless there are
    `classes`. */
mio_status mio__bundle_class_names(mio__stream *stream, size_t classes, mio_dataset *dataset);

#endif
