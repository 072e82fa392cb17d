/* Structs that cross the library's boundary begin with `size_t struct_size`, set by the caller, whose header may be
   older or newer than the library: it may know fewer of their fields, or more. */
#ifndef MIO_CORE_BOUNDARY_H
#define MIO_CORE_BOUNDARY_H

#include <mio/common.h>

#include <stddef.h>

/** Size of a struct up to a field and with it. */
#define MIO__UP_TO(type, field) (offsetof(type, field) + sizeof(((type *)NULL)->field))

/**
 * to (size bytes) = what the caller's struct has of it, 0 for the rest. least: up to the last field of the first
 * release. Errors: MIO_ERROR_ARGUMENT: from is NULL or smaller than that; name is its type's.
 */
mio_status mio__struct_take(void *to, size_t size, const void *from, size_t least, const char *name);
/** Whether there is a struct of the caller's to write to, up to its last field that a caller cannot do
    without. Errors: MIO_ERROR_ARGUMENT. */
mio_status mio__struct_check(const void *to, size_t least, const char *name);
/** Writes full (size bytes) as far as the caller's struct goes. */
void mio__struct_give(void *to, const void *full, size_t size);

#endif
