/* What tests of kernels share: tensors in the blocked layout filled at random, and errors as norms. */
#ifndef TESTS_KERNELS_BLOCKED_H
#define TESTS_KERNELS_BLOCKED_H

#include "core/context.h"
#include "core/random.h"
#include "kernels/layout.h"
#include "kernels/real.h"
#include "kernels/target.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const size_t blocked_channels[] = {1, 3, 5, 16, 17, 48, 64, 80, 130};
static const size_t blocked_counts[] = {1, 2, 3, 5, 16, 17, 32, 33};
static const size_t blocked_extents[][2] = {{1, 1}, {2, 3}, {9, 7}, {4, 4}}; /* height, width */
#define BLOCKED_SIZE(array) (sizeof(array) / sizeof(array)[0])

/** Place of one value; image counts within its view. */
static inline size_t blocked_place(const mio__shape *shape, const mio__images *images, size_t view, size_t image,
                                   size_t pixel, size_t channel)
{
    const size_t group = view * images->groups + image / images->lanes;
    const size_t slab = group * shape->blocks + channel / shape->block;
    const size_t row = (slab * shape->height * shape->width + pixel) * images->lanes + image % images->lanes;
    return row * shape->block + channel % shape->block;
}

/** Aligned memory that ends with the test's process. */
static inline void *blocked_memory(size_t size)
{
    void *memory = aligned_alloc(64, (size + 127) / 64 * 64);
    if (!memory)
        abort();
    return memory;
}

static inline mio__real *blocked_new(const mio__shape *shape, const mio__images *images)
{
    return blocked_memory(mio__tensor_size(shape, images) * sizeof(mio__real));
}

static inline mio_context *blocked_context(void)
{
    mio_context *context;
    if (mio_context_create(&context) || mio_context_set(context, "threads", 5))
        abort();
    return context;
}

static inline mio__random blocked_random(uint64_t seed)
{
    mio__random random;
    mio__random_start(&random, seed, 0, 0, 0, MIO__PURPOSE_PROBE);
    return random;
}

/**
 * Random values of unit deviation in real images; `filling` in all other images, which a kernel must not look at;
 * filling channels 0.
 * Channels have means of their own, up to 2 deviations from 0.
 */
static inline void blocked_fill(const mio__shape *shape, const mio__images *images, uint64_t seed, mio__real filling,
                                mio__real *x)
{
    mio__random random = blocked_random(seed);
    double mean[16];
    for (size_t c = 0; c < 16; c++)
        mean[c] = 2 * sin((double)c);
    memset(x, 0, mio__tensor_size(shape, images) * sizeof *x);
    for (size_t view = 0; view < images->views; view++)
        for (size_t image = 0; image < images->groups * images->lanes; image++)
            for (size_t pixel = 0; pixel < shape->height * shape->width; pixel++)
                for (size_t c = 0; c < shape->channels; c++)
                    x[blocked_place(shape, images, view, image, pixel, c)] =
                        image >= images->count ? filling
                                               : (mio__real)(mio__random_between(&random, -1.73, 1.73) + mean[c % 16]);
}

/** Asserts that every value of filling images is 0. (An assertion writes to a file when it holds, too: one for all.) */
static inline void blocked_assert_filling_zero(const mio__shape *shape, const mio__images *images, const mio__real *x)
{
    size_t others = 0;
    for (size_t view = 0; view < images->views; view++)
        for (size_t image = images->count; image < images->groups * images->lanes; image++)
            for (size_t pixel = 0; pixel < shape->height * shape->width; pixel++)
                for (size_t c = 0; c < shape->blocks * shape->block; c++)
                    others += x[blocked_place(shape, images, view, image, pixel, c)] != 0;
    ck_assert_uint_eq(others, 0);
}

/** Asserts that channels beyond the shape's are 0 in a tensor. */
static inline void blocked_assert_channels_zero(const mio__shape *shape, const mio__images *images, const mio__real *x)
{
    size_t others = 0;
    for (size_t view = 0; view < images->views; view++)
        for (size_t image = 0; image < images->groups * images->lanes; image++)
            for (size_t pixel = 0; pixel < shape->height * shape->width; pixel++)
                for (size_t c = shape->channels; c < shape->blocks * shape->block; c++)
                    others += x[blocked_place(shape, images, view, image, pixel, c)] != 0;
    ck_assert_uint_eq(others, 0);
}

/** Sum of squared differences and of a squared scale, gathered value by value. */
typedef struct blocked_error {
    double difference, scale;
} blocked_error;

static inline void blocked_compare(blocked_error *error, double got, double expected, double scale)
{
    error->difference += (got - expected) * (got - expected);
    error->scale += scale * scale;
}

/** Wall clock. */
static inline double blocked_seconds(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/** Runs a suite of one case; what main returns. */
static inline int blocked_run(Suite *suite, TCase *tests)
{
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}

/** |difference| / |scale|; a NaN anywhere gives NaN, which passes no bound. */
static inline double blocked_relative(const blocked_error *error)
{
    return error->difference == 0 ? 0 : sqrt(error->difference / error->scale);
}

#endif
