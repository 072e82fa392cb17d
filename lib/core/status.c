#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The last error of each thread: fixed in size, so that running out of memory can be reported. */
static _Thread_local char last_error[512];

mio_status mio__fail(mio_status status, const char *format, ...)
{
    /* Through a second buffer: a caller may quote the last error in the new one. */
    char message[sizeof last_error];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    memcpy(last_error, message, sizeof message);
    return status;
}

size_t mio__find_name(const char *noun, const char *given, const char *(*name_at)(size_t index))
{
    char known[sizeof last_error] = "";
    size_t used = 0;
    for (size_t i = 0; given && name_at(i); i++)
        if (!strcmp(given, name_at(i)))
            return i;
    for (size_t i = 0; name_at(i) && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", name_at(i));
    mio__fail(MIO_ERROR_ARGUMENT, "there is no %s '%.60s'; there are %s", noun, given ? given : "NULL", known);
    return MIO__NO_NAME;
}

const char *mio_last_error(void)
{
    return last_error;
}

const char *mio_status_name(mio_status status)
{
    switch (status) {
    case MIO_OK: return "MIO_OK";
    case MIO_ERROR_ARGUMENT: return "MIO_ERROR_ARGUMENT";
    case MIO_ERROR_MEMORY: return "MIO_ERROR_MEMORY";
    case MIO_ERROR_IO: return "MIO_ERROR_IO";
    case MIO_ERROR_FORMAT: return "MIO_ERROR_FORMAT";
    case MIO_ERROR_UNSUPPORTED: return "MIO_ERROR_UNSUPPORTED";
    case MIO_ERROR_STATE: return "MIO_ERROR_STATE";
    case MIO_ERROR_CANCELLED: return "MIO_ERROR_CANCELLED";
    case MIO_ERROR_COMM: return "MIO_ERROR_COMM";
    case MIO_ERROR_INTERNAL: return "MIO_ERROR_INTERNAL";
    }
    return "MIO_STATUS_UNKNOWN";
}

uint32_t mio_version(void)
{
    return MIO_VERSION_MAJOR << 16 | MIO_VERSION_MINOR << 8 | MIO_VERSION_PATCH;
}
