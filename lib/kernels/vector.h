/* One register of numbers, as wide as the instruction set that the including file is compiled for (kernels/variant.h).
   Compiler vectors, so that the arithmetic reads as arithmetic. */
#ifndef MIO_KERNELS_VECTOR_H
#define MIO_KERNELS_VECTOR_H

#include "kernels/real.h"

#include <stdint.h>
#include <string.h>
#if defined(MIO_BF16) && defined(__AVX512BF16__)
#include <immintrin.h>
#endif

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

/* ---- stored numbers: loads and stores that convert, to the nearest, ties to even; NaN stays NaN. The processor's own
   conversion to bf16 makes subnormal numbers 0, mio__narrow keeps them. ---- */

#ifdef MIO_BF16
typedef uint16_t mio__halves __attribute__((vector_size(MIO__VECTOR_BYTES / 2)));
typedef uint32_t mio__words __attribute__((vector_size(MIO__VECTOR_BYTES)));

static inline __attribute__((always_inline)) mio__vector mio__load_stored(const mio__stored *from)
{
    mio__halves halves;
    memcpy(&halves, from, sizeof halves);
    return (mio__vector)(__builtin_convertvector(halves, mio__words) << 16);
}

#ifdef __AVX512BF16__
static inline __attribute__((always_inline)) void mio__store_stored(mio__stored *to, mio__vector v)
{
    const __m256bh halves = _mm512_cvtneps_pbh((__m512)v);
    memcpy(to, &halves, sizeof halves);
}
#else
static inline __attribute__((always_inline)) void mio__store_stored(mio__stored *to, mio__vector v)
{
    const mio__words bits = (mio__words)v, nan = (mio__words)(v != v);
    const mio__words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, quiet = (bits >> 16) | 0x40;
    const mio__halves halves = __builtin_convertvector((nan & quiet) | (~nan & rounded), mio__halves);
    memcpy(to, &halves, sizeof halves);
}
#endif

static inline mio__real mio__widen(mio__stored stored)
{
    const uint32_t bits = (uint32_t)stored << 16;
    mio__real value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline mio__stored mio__narrow(mio__real value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (mio__stored)(value != value ? (bits >> 16) | 0x40 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/** The numbers of both side by side: even[0], odd[0], even[1], ... */
static inline __attribute__((always_inline)) void mio__store_pairs(mio__stored *to, mio__vector even, mio__vector odd)
{
#ifdef __AVX512BF16__
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)even));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)odd));
    const __m512i pairs = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
    memcpy(to, &pairs, sizeof pairs);
#else
    for (size_t i = 0; i < MIO__VECTOR_WIDTH; i++) {
        to[2 * i] = mio__narrow(even[i]);
        to[2 * i + 1] = mio__narrow(odd[i]);
    }
#endif
}
#else
static inline __attribute__((always_inline)) mio__vector mio__load_stored(const mio__stored *from)
{
    return mio__load(from);
}

static inline __attribute__((always_inline)) void mio__store_stored(mio__stored *to, mio__vector v)
{
    mio__store(to, v);
}

static inline mio__real mio__widen(mio__stored stored)
{
    return stored;
}

static inline mio__stored mio__narrow(mio__real value)
{
    return value;
}
#endif

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
