/* Running out of memory at every single request of a small run from end to end: MIO_ERROR_MEMORY, no leak, no crash.
   And a step requests nothing once the first one is done. */
#include "support/allocator.h"
#include "tiny.h"

#include <mio/evaluate.h>
#include <stdio.h>
#include <unistd.h>

static char path[64];

/* Everything once: create, two steps, save, restore, evaluate. */
static mio_status whole_life(mio_context *context)
{
    static uint8_t pixels[8 * TINY_SIZE * TINY_SIZE * 3];
    static const tiny_options options = {.prefetch = 0};
    mio_trainer *trainer = NULL;
    mio_knn *knn = NULL;
    mio_probe *probe = NULL;
    float features[8 * 16];
    int32_t labels[8] = {0, 1, 0, 1, 0, 1, 0, 1}, predictions[8];
    mio_status status = tiny_trainer(context, &options, &trainer);
    for (int step = 0; !status && step < 2; step++) {
        mio_step_report report = {.struct_size = sizeof report};
        status = mio_trainer_step(trainer, &report);
    }
    if (!status)
        status = mio_trainer_save(trainer, path);
    if (!status)
        status = mio_trainer_restore(trainer, path);
    if (!status)
        status = mio_encoder_embed(mio_trainer_encoder(trainer), 8, TINY_SIZE, TINY_SIZE, 3, 0, pixels, features);
    if (!status)
        status = mio_knn_create(context, &knn);
    if (!status)
        status = mio_knn_fit(knn, 8, 16, features, labels);
    if (!status)
        status = mio_knn_predict(knn, 8, 16, features, predictions);
    if (!status)
        status = mio_probe_create(context, "exact", &probe);
    if (!status)
        status = mio_probe_fit(probe, 8, 16, features, labels, 2);
    if (!status)
        status = mio_probe_predict(probe, 8, 16, features, predictions, NULL);
    mio_probe_release(probe);
    mio_knn_release(knn);
    mio_trainer_release(trainer);
    return status;
}

static mio_status recipe_life(mio_context *context)
{
    mio_dataset *dataset = NULL;
    mio_recipe *recipe = NULL;
    mio_trainer *trainer = NULL;
    mio_status status = tiny_dataset(context, &dataset);
    if (!status)
        status = mio_recipe_create(context, "mio-small", &recipe);
    if (!status)
        status = mio_recipe_set(recipe, "encoder.base_width", 4);
    if (!status)
        status = mio_recipe_set(recipe, "projector.hidden", 16);
    if (!status)
        status = mio_recipe_set(recipe, "loader.batch_size", 24);
    if (!status)
        status = mio_recipe_choose(recipe, "loss", "nt_xent");
    if (!status)
        status = mio_recipe_build(recipe, dataset, &trainer);
    mio_trainer_release(trainer);
    mio_recipe_release(recipe);
    mio_dataset_release(dataset);
    return status;
}

static mio_status (*const lives[])(mio_context *) = {whole_life, recipe_life};

START_TEST(every_request_may_be_refused)
{
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 1);
    ck_assert_ptr_nonnull(context);
    ck_assert_msg(!lives[_i](context), "%s",
                  mio_last_error()); /* what libxsmm and the like keep for good is there now */
    const size_t held = atomic_load(&allocator.blocks);
    test_allocator_fail_at(&allocator, 0);
    ck_assert_int_eq(lives[_i](context), MIO_OK);
    const size_t requests = atomic_load(&allocator.requests);
    ck_assert_uint_gt(requests, 50);
    for (size_t n = 1; n <= requests; n++) {
        test_allocator_fail_at(&allocator, n);
        const mio_status status = lives[_i](context);
        ck_assert_msg(status == MIO_ERROR_MEMORY, "request %zu of %zu: %s: %s", n, requests, mio_status_name(status),
                      mio_last_error());
        ck_assert_uint_eq(atomic_load(&allocator.blocks), held);
    }
    test_allocator_fail_at(&allocator, 0);
    ck_assert_int_eq(lives[_i](context), MIO_OK);
    mio_context_release(context);
    ck_assert_uint_eq(atomic_load(&allocator.blocks), 0);
    ck_assert_uint_eq(atomic_load(&allocator.mistakes), 0);
}
END_TEST

/* A step that ran out of memory can be tried again, and is then the step that it would have been. */
START_TEST(a_step_may_be_tried_again)
{
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 1);
    mio_trainer *control, *trainer;
    ck_assert_msg(!tiny_trainer(context, NULL, &control), "%s", mio_last_error());
    test_allocator_fail_at(&allocator, 0);
    tiny_run(control, 1, NULL);
    const size_t requests = atomic_load(&allocator.requests);
    tiny_run(control, 1, NULL);
    ck_assert_uint_gt(requests, 10);
    for (size_t n = 1; n <= requests; n++) {
        test_allocator_fail_at(&allocator, 0);
        ck_assert_msg(!tiny_trainer(context, NULL, &trainer), "%s", mio_last_error());
        test_allocator_fail_at(&allocator, n);
        ck_assert_int_eq(mio_trainer_step(trainer, NULL), MIO_ERROR_MEMORY);
        test_allocator_fail_at(&allocator, 0);
        tiny_run(trainer, 2, NULL);
        ck_assert(tiny_equal(control, trainer));
        mio_trainer_release(trainer);
    }
    mio_trainer_release(control);
    mio_context_release(context);
    ck_assert_uint_eq(atomic_load(&allocator.blocks), 0);
}
END_TEST

START_TEST(later_steps_request_nothing)
{
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 2);
    const tiny_options options = {.prefetch = (size_t)_i};
    mio_trainer *trainer;
    ck_assert_msg(!tiny_trainer(context, &options, &trainer), "%s", mio_last_error());
    tiny_run(trainer, 1 + (size_t)_i * 3, NULL); /* what is read ahead is part of the first step */
    test_allocator_fail_from(&allocator, 1);
    tiny_run(trainer, 12, NULL);
    ck_assert_uint_eq(atomic_load(&allocator.requests), 0);
    mio_trainer_release(trainer);
    mio_context_release(context);
    ck_assert_uint_eq(atomic_load(&allocator.blocks), 0);
}
END_TEST

int main(void)
{
    snprintf(path, sizeof path, "/tmp/mio-memory-%ld.mio", (long)getpid());
    Suite *suite = suite_create("memory");
    TCase *tests = tcase_create("memory");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, every_request_may_be_refused, 0, 2);
    tcase_add_test(tests, a_step_may_be_tried_again);
    tcase_add_loop_test(tests, later_steps_request_nothing, 0, 2);
    suite_add_tcase(suite, tests);
    const int result = tiny_main(suite);
    remove(path);
    return result;
}
