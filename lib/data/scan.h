/* The image files below a folder, by name. */
#ifndef MIO_DATA_SCAN_H
#define MIO_DATA_SCAN_H

#include "core/context.h"

/** A growing list of names, kept in one text. */
typedef struct mio__names {
    mio_context *context;
    char *text;
    size_t used, text_capacity;
    size_t *starts; /* count: where each name begins in text */
    size_t count, capacity;
} mio__names;

/** Errors: MIO_ERROR_MEMORY; more than 2^32 - 1 names. */
mio_status mio__names_add(mio__names *names, const char *name);
void mio__names_free(mio__names *names);
static inline const char *mio__names_at(const mio__names *names, size_t index)
{
    return names->text + names->starts[index];
}
/**
 * Sorts the names: bytes compared, a slash before all else, so that what lies in one folder stays together. order:
 * count places, order[i] becomes the place that name i had before; or NULL. Errors: MIO_ERROR_MEMORY.
 */
mio_status mio__names_sort(mio__names *names, size_t *order);

/**
 * Adds every image file below folder, by its path from there, in no order. by_class: files right in the folder are
 * passed over, and a sub-folder without images is MIO_ERROR_ARGUMENT. Names with a leading dot are passed over.
 * Symbolic links are followed, but not back into a folder that the way leads through. Errors: MIO_ERROR_IO,
 * MIO_ERROR_MEMORY.
 */
mio_status mio__scan_folder(mio__names *names, const char *folder, int by_class);

#endif
