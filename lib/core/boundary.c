#include "core/boundary.h"

#include "core/status.h"

#include <string.h>

static size_t struct_size(const void *of)
{
    size_t size = 0;
    if (of)
        memcpy(&size, of, sizeof size);
    return size;
}

static mio_status check(const void *of, size_t least, const char *name)
{
    if (!of)
        return mio__fail(MIO_ERROR_ARGUMENT, "the %s is NULL", name);
    if (struct_size(of) < least)
        return mio__fail(MIO_ERROR_ARGUMENT, "the struct_size of the %s is %zu; set it to sizeof(%s)", name,
                         struct_size(of), name);
    return MIO_OK;
}

mio_status mio__struct_take(void *to, size_t size, const void *from, size_t least, const char *name)
{
    const mio_status status = check(from, least, name);
    if (status)
        return status;
    const size_t given = struct_size(from), shared = given < size ? given : size;
    memcpy(to, from, shared);
    memset((char *)to + shared, 0, size - shared);
    return MIO_OK;
}

mio_status mio__struct_check(const void *to, size_t least, const char *name)
{
    return check(to, least, name);
}

void mio__struct_give(void *to, const void *full, size_t size)
{
    const size_t given = struct_size(to), shared = given < size ? given : size;
    memcpy((char *)to + sizeof given, (const char *)full + sizeof given, shared - sizeof given);
}
