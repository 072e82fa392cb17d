#include "core/finite.h"

#include <stdint.h>
#include <string.h>

static int is_finite(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7f800000) != 0x7f800000;
}

size_t mio__first_not_finite(size_t count, const float *values)
{
    enum { BLOCK = 256 };
    size_t i = 0;
    for (int fine = 1; fine && i + BLOCK <= count; i += fine ? BLOCK : 0) /* without a branch for each value */
        for (size_t k = 0; k < BLOCK; k++)
            fine &= is_finite(values[i + k]);
    while (i < count && is_finite(values[i]))
        i++;
    return i;
}
