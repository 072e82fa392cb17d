/* The calling thread's last failure. */
#ifndef MIO_CORE_STATUS_H
#define MIO_CORE_STATUS_H

#include <mio/common.h>

/** Records a failure in words (one line: the culprit and the remedy) and returns its status. */
__attribute__((format(printf, 2, 3))) mio_status mio__fail(mio_status status, const char *format, ...);

#endif
