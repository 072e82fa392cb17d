#include "core/random.h"

#include <math.h>

void mio__philox(const uint32_t key[2], const uint32_t counter[4], uint32_t block[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    block[0] = c0;
    block[1] = c1;
    block[2] = c2;
    block[3] = c3;
}

void mio__random_start(mio__random *random, uint64_t seed, uint64_t epoch, uint64_t image, uint64_t view,
                       mio__purpose purpose)
{
    random->key[0] = (uint32_t)seed;
    random->key[1] = (uint32_t)(seed >> 32);
    random->counter[0] = 0;
    random->counter[1] = (uint32_t)purpose << 16 | (uint32_t)view;
    random->counter[2] = (uint32_t)image;
    random->counter[3] = (uint32_t)epoch;
    random->used = 4;
}

uint32_t mio__random_bits(mio__random *random)
{
    if (random->used == 4) {
        mio__philox(random->key, random->counter, random->block);
        random->counter[0]++;
        random->used = 0;
    }
    return random->block[random->used++];
}

double mio__random_uniform(mio__random *random)
{
    return mio__random_bits(random) * 0x1p-32;
}

double mio__random_between(mio__random *random, double low, double high)
{
    return low + (high - low) * mio__random_uniform(random);
}

uint32_t mio__random_below(mio__random *random, uint64_t limit)
{
    /* Lemire's multiply and reject. */
    const uint64_t threshold = (UINT64_C(0x100000000) - limit) % limit;
    for (;;) {
        const uint64_t product = mio__random_bits(random) * limit;
        if ((product & 0xFFFFFFFFu) >= threshold)
            return (uint32_t)(product >> 32);
    }
}

double mio__random_normal(mio__random *random)
{
    /* Box and Muller; 1 - u lies in (0, 1]. */
    const double radius = sqrt(-2 * log(1 - mio__random_uniform(random)));
    return radius * cos(6.283185307179586477 * mio__random_uniform(random));
}

void mio__random_permutation(mio__random *random, size_t count, size_t *order)
{
    for (size_t i = 0; i < count; i++) {
        const size_t j = mio__random_below(random, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
}
