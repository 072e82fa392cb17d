/* Counter-based random numbers (Philox 4x32-10, Salmon et al. 2011): any number of a stream can be computed alone, so
   what an image gets does not depend on order, threads or where a run was resumed. */
#ifndef MIO_CORE_RANDOM_H
#define MIO_CORE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/** What a stream is used for; part of its key. Never renumber: the streams of old seeds would change. */
typedef enum mio__purpose {
    MIO__PURPOSE_INITIALIZE = 1,
    MIO__PURPOSE_SHUFFLE = 2,
    MIO__PURPOSE_SPLIT = 3,
    MIO__PURPOSE_FLIP = 4,
    MIO__PURPOSE_CROP = 5,
    MIO__PURPOSE_JITTER = 6,
    MIO__PURPOSE_GREY = 7,
    MIO__PURPOSE_BLUR = 8,
    MIO__PURPOSE_SOLARIZE = 9,
    MIO__PURPOSE_QUEUE = 10,
    MIO__PURPOSE_PROBE = 11,
    MIO__PURPOSE_LANCZOS = 12
} mio__purpose;

/** A stream and the place in it. */
typedef struct mio__random {
    uint32_t key[2];
    uint32_t counter[4]; /* place; purpose and view; image; epoch */
    uint32_t block[4];
    unsigned used; /* words of the block handed out */
} mio__random;

/** One block of Philox 4x32-10. */
void mio__philox(const uint32_t key[2], const uint32_t counter[4], uint32_t block[4]);

/** Starts the stream (seed, epoch, image, view, purpose). epoch and image below 2^32, view below 2^16. */
void mio__random_start(mio__random *random, uint64_t seed, uint64_t epoch, uint64_t image, uint64_t view,
                       mio__purpose purpose);
/** 32 random bits. */
uint32_t mio__random_bits(mio__random *random);
/** Uniform in [0, 1), 32 bits of resolution. */
double mio__random_uniform(mio__random *random);
/** Uniform in [low, high). */
double mio__random_between(mio__random *random, double low, double high);
/** Uniform integer below limit (1 .. 2^32), without bias. */
uint32_t mio__random_below(mio__random *random, uint64_t limit);
/** Standard normal. */
double mio__random_normal(mio__random *random);
/** Fills order[0..count) with a random permutation of 0 .. count-1; count at most 2^32. */
void mio__random_permutation(mio__random *random, size_t count, size_t *order);

#endif
