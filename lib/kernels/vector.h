/* One register of numbers, as wide as the instruction set that the including file is compiled for (kernels/variant.h).
   Compiler vectors, so that the arithmetic reads as arithmetic. */
#ifndef MIO_KERNELS_VECTOR_H
#define MIO_KERNELS_VECTOR_H

#include "kernels/real.h"

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
enum { MIO__VECTOR_BYTES = 64 };
#elif defined(__AVX__)
enum { MIO__VECTOR_BYTES = 32 };
#else
enum { MIO__VECTOR_BYTES = 16 };
#endif
enum { MIO__VECTOR_WIDTH = MIO__VECTOR_BYTES / (int)sizeof(mio__real) };

typedef mio__real mio__vector __attribute__((vector_size(MIO__VECTOR_BYTES)));
#ifdef MIO_DOUBLE
typedef int64_t mio__mask __attribute__((vector_size(MIO__VECTOR_BYTES)));
#else
typedef int32_t mio__mask __attribute__((vector_size(MIO__VECTOR_BYTES)));
#endif

/** Alignment: of the element. */
static inline __attribute__((always_inline)) mio__vector mio__load(const mio__real *from)
{
    mio__vector v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline __attribute__((always_inline)) void mio__store(mio__real *to, mio__vector v)
{
    memcpy(to, &v, sizeof v);
}

/** v where the mask is set, 0 elsewhere. */
static inline __attribute__((always_inline)) mio__vector mio__select(mio__mask mask, mio__vector v)
{
    return (mio__vector)(mask & (mio__mask)v);
}

/** max(v, 0); NaN stays NaN, so that a run gone wrong shows. */
static inline __attribute__((always_inline)) mio__vector mio__relu(mio__vector v)
{
    return mio__select(~(v <= 0), v);
}

#endif
