/* Measured choices of convolution algorithms in training: a run taken up again has those of its checkpoint. */
#define _DEFAULT_SOURCE /* mkdtemp */
#include "tiny.h"

#include "nn/network.h"
#include "train/trainer.h"

#include <stdio.h>
#include <unistd.h>

static char folder[64], path[96], table[96];

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/mio-tuned-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/run.mio", folder);
    snprintf(table, sizeof table, "%s/tuning.txt", folder);
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void good(mio_status status)
{
    ck_assert_msg(!status, "%s", mio_last_error());
}

/* A trainer whose second convolution has a choice: ResNet-18 of width 16 on the tiny images. */
static mio_trainer *new_trainer(mio_context *context, mio_recipe **recipe)
{
    mio_dataset *dataset;
    mio_trainer *trainer;
    good(tiny_dataset(context, &dataset));
    good(mio_recipe_create(context, "mio-small", recipe));
    good(mio_recipe_set(*recipe, "encoder.height", TINY_SIZE));
    good(mio_recipe_set(*recipe, "projector.hidden", 32));
    good(mio_recipe_set(*recipe, "projector.out", 12));
    good(mio_recipe_set(*recipe, "loader.batch_size", TINY_BATCH));
    good(mio_recipe_build(*recipe, dataset, &trainer));
    mio_dataset_release(dataset);
    return trainer;
}

static mio_convolution_info second(mio_trainer *trainer, size_t views, size_t count)
{
    mio_convolution_info info = {.struct_size = sizeof info};
    good(mio_encoder_convolution(mio_trainer_encoder(trainer), views, count, 1, &info));
    return info;
}

/* Direct sums for the first stage, which the built-in choice computes by Winograd. */
static void make_direct(mio_trainer *trainer)
{
    static const char *const passes[] = {"forward", "data", "weights"};
    FILE *file = fopen(table, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "libmio tuning 1\n");
    for (int i = 0; i < 3; i++)
        fprintf(file, "%s fp32 %s %d 16 16 %d %d 3 1 1 direct\n", passes[i],
                mio_context_target(mio__encoder_context(mio_trainer_encoder(trainer))), 2 * TINY_BATCH, TINY_SIZE,
                TINY_SIZE);
    ck_assert_int_eq(fclose(file), 0);
    good(mio_encoder_load_tuning(mio_trainer_encoder(trainer), table));
}

/* N + N steps under a table equal N, save, and N after restoring into a trainer without it, or with another. */
START_TEST(resumed_run_has_its_table)
{
    mio_context *context = tiny_context(2);
    mio_recipe *recipes[3];
    mio_trainer *whole = new_trainer(context, &recipes[0]), *resumed = new_trainer(context, &recipes[1]),
                *plain = new_trainer(context, &recipes[2]);
    double losses[3][4];
    if (_i == 0)
        make_direct(whole);
    else if (_i == 1)
        make_direct(resumed); /* the checkpoint has no table: none it is */
    else {
        good(mio_trainer_tune(whole, 0));
        make_direct(resumed);
    }
    tiny_run(whole, 2, NULL);
    good(mio_trainer_save(whole, path));
    tiny_run(whole, 4, losses[0]);
    good(mio_trainer_restore(resumed, path));
    good(mio_context_set(context, "threads", 3));
    tiny_run(resumed, 4, losses[1]);
    ck_assert_mem_eq(losses[0], losses[1], sizeof losses[0]);
    ck_assert(tiny_equal(whole, resumed));
    ck_assert_str_eq(second(resumed, 2, TINY_BATCH).forward, second(whole, 2, TINY_BATCH).forward);
    ck_assert_int_eq(second(resumed, 2, TINY_BATCH).tuned, _i == 1 ? 0 : 3);
    tiny_run(plain, 2, NULL);
    tiny_run(plain, 4, losses[2]);
    if (_i == 0) /* the table matters */
        ck_assert(!tiny_equal(plain, whole));
    for (int i = 0; i < 3; i++)
        mio_recipe_release(recipes[i]);
    mio_trainer_release(whole);
    mio_trainer_release(resumed);
    mio_trainer_release(plain);
    mio_context_release(context);
}
END_TEST

/* A checkpoint that does not fit leaves the table alone. */
START_TEST(failed_restore_keeps_the_table)
{
    mio_context *context = tiny_context(1);
    mio_recipe *recipe;
    mio_trainer *trainer = new_trainer(context, &recipe), *other;
    good(tiny_trainer(context, NULL, &other));
    good(mio_trainer_save(other, path));
    make_direct(trainer);
    ck_assert_int_ne(mio_trainer_restore(trainer, path), MIO_OK);
    ck_assert_int_eq(second(trainer, 2, TINY_BATCH).tuned, 3);
    mio_recipe_release(recipe);
    mio_trainer_release(trainer);
    mio_trainer_release(other);
    mio_context_release(context);
}
END_TEST

/* What is tuned is what a step runs: both views apart or joined, or micro-batches. */
START_TEST(steps_follow)
{
    static const struct {
        const char *parameter;
        double value;
        size_t views, count;
    } ways[] = {{NULL, 0, 2, TINY_BATCH}, {"join_views", 1, 1, 2 * TINY_BATCH}, {"micro_batch", 4, 1, 4}};
    mio_context *context = tiny_context(2);
    mio_recipe *recipe;
    mio_trainer *trainer = new_trainer(context, &recipe);
    if (ways[_i].parameter)
        good(mio_trainer_set(trainer, ways[_i].parameter, ways[_i].value));
    good(mio_trainer_tune(trainer, 0));
    ck_assert_int_eq(second(trainer, ways[_i].views, ways[_i].count).tuned, 3);
    tiny_run(trainer, 1, NULL);
    const mio__images *images = &mio_trainer_encoder(trainer)->training.plan->images;
    ck_assert_uint_eq(images->views, ways[_i].views);
    ck_assert_uint_eq(images->count, ways[_i].count);
    ck_assert_int_eq(mio_trainer_tune(trainer, -1), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_trainer_tune(NULL, 1), MIO_ERROR_ARGUMENT);
    /* Nothing is measured for steps that cannot be. */
    good(mio_trainer_set(trainer, "join_views", 0));
    good(mio_trainer_set(trainer, "micro_batch", 1));
    const mio_status step = mio_trainer_step(trainer, NULL);
    ck_assert_int_ne(step, MIO_OK);
    ck_assert_int_eq(mio_trainer_tune(trainer, 0), step);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "batch norm"));
    mio_recipe_release(recipe);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tuned training");
    TCase *cases = tcase_create("tuned training");
    tcase_set_timeout(cases, 120);
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_loop_test(cases, resumed_run_has_its_table, 0, 3);
    tcase_add_test(cases, failed_restore_keeps_the_table);
    tcase_add_loop_test(cases, steps_follow, 0, 3);
    suite_add_tcase(suite, cases);
    return tiny_main(suite);
}
