/* The calling thread's last failure. */
#ifndef MIO_CORE_STATUS_H
#define MIO_CORE_STATUS_H

#include <mio/common.h>
#include <stddef.h>
#include <stdint.h>

/** Records a failure in words (one line: the culprit and the remedy) and returns its status. */
__attribute__((format(printf, 2, 3))) mio_status mio__fail(mio_status status, const char *format, ...);

/** The index of a name among those that name_at lists (NULL past its end), or MIO__NO_NAME after recording "there is no
    NOUN 'given'; there are ...". given may be NULL, which is none of them. */
size_t mio__find_name(const char *noun, const char *given, const char *(*name_at)(size_t index));
#define MIO__NO_NAME SIZE_MAX

#endif
