/* Whether numbers are finite: asked before a step, a save, and of everything that is read. */
#ifndef MIO_CORE_FINITE_H
#define MIO_CORE_FINITE_H

#include <stddef.h>

/** Index of the first of count values that is infinite or not a number; count if all are finite. */
size_t mio__first_not_finite(size_t count, const float *values);

#endif
