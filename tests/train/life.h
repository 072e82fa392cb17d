/* The life of a trainer, under an allocator that refuses. */
#ifndef TESTS_TRAIN_LIFE_H
#define TESTS_TRAIN_LIFE_H

#include "support/allocator.h"

#include <check.h>
#include <mio/train.h>

typedef mio_status (*life_maker)(mio_context *context, const char *name, mio_trainer **trainer);

/* A trainer is made, steps, is saved and restored into another. */
static inline mio_status life(mio_context *context, life_maker make, const char *name, const char *path)
{
    mio_trainer *trainer = NULL, *other = NULL;
    mio_status status = make(context, name, &trainer);
    for (int step = 0; !status && step < 2; step++)
        status = mio_trainer_step(trainer, NULL);
    if (!status)
        status = mio_trainer_save(trainer, path);
    if (!status)
        status = make(context, name, &other);
    if (!status)
        status = mio_trainer_restore(other, path);
    mio_trainer_release(trainer);
    mio_trainer_release(other);
    return status;
}

/* Refuses request `first` of a life, and in further ones every stride-th after it: each ends cleanly, nothing is
   kept. */
static inline void life_under_refusals(life_maker make, const char *name, const char *path, size_t first, size_t stride)
{
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 1);
    ck_assert_msg(!life(context, make, name, path), "%s", mio_last_error());
    const size_t held = atomic_load(&allocator.blocks);
    test_allocator_fail_at(&allocator, 0);
    ck_assert_int_eq(life(context, make, name, path), MIO_OK);
    const size_t requests = atomic_load(&allocator.requests);
    ck_assert_uint_gt(requests, first);
    for (size_t n = first; n <= requests; n += stride) {
        test_allocator_fail_at(&allocator, n);
        ck_assert_msg(life(context, make, name, path) == MIO_ERROR_MEMORY, "request %zu of %zu", n, requests);
        ck_assert_uint_eq(atomic_load(&allocator.blocks), held);
    }
    mio_context_release(context);
    ck_assert_uint_eq(atomic_load(&allocator.blocks), 0);
    ck_assert_uint_eq(atomic_load(&allocator.mistakes), 0);
}

#endif
