/* The calling thread's last failure. */
#ifndef MIO_CORE_STATUS_H
#define MIO_CORE_STATUS_H

#include <mio/common.h>
#include <stddef.h>

/** Records a failure in words (one line: the culprit and the remedy) and returns its status. */
__attribute__((format(printf, 2, 3))) mio_status mio__fail(mio_status status, const char *format, ...);

/** Refuses a name that no table has: "there is no NOUN 'given'; there are ...", with what name_at lists (NULL past its
    end). */
mio_status mio__refuse_name(const char *noun, const char *given, const char *(*name_at)(size_t index));

#endif
