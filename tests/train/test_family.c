#define _DEFAULT_SOURCE /* mkdtemp */
/* The recipes of the family: each learns without collapse, goes on bit for bit from a checkpoint and on any number of
   threads, and does what its method says. */
#include "life.h"
#include "tiny.h"

#include "loss/loss.h"
#include "train/trainer.h"

#include <stdio.h>
#include <unistd.h>

static const char *const names[] = {"barlow_twins", "byol",   "moco_v2", "nnclr",  "simclr",
                                    "simsiam",      "sogclr", "supcon",  "vicreg", "mio-small"};
enum { NAMES = sizeof names / sizeof *names, BATCH = 24, OUT = 12, STEPS = 7, HALFWAY = 3, LEARNING = 60 };

static char folder[64], path[96];

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/mio-family-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/run.mio", folder);
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
}

/* ---- tiny trainers ---- */

static mio_status shrink(mio_recipe *recipe, size_t steps)
{
    const struct {
        const char *parameter;
        double value;
    } sizes[] = {{"encoder.base_width", 4},       {"projector.hidden", 32},         {"projector.out", OUT},
                 {"loader.batch_size", BATCH},    {"loader.prefetch", 0},           {"schedule.warmup", 4},
                 {"augment.crop_scale_min", 0.8}, {"trainer.steps", (double)steps}, {"trainer.monitor_interval", 1}};
    double layers, rate;
    mio_status status = mio_recipe_get(recipe, "predictor.layers", &layers);
    if (!status)
        status = mio_recipe_get(recipe, "schedule.learning_rate", &rate);
    if (!status)
        status = mio_recipe_set(recipe, "schedule.learning_rate", rate / 10); /* for a tenth of the batch */
    for (size_t i = 0; !status && i < sizeof sizes / sizeof *sizes; i++)
        status = mio_recipe_set(recipe, sizes[i].parameter, sizes[i].value);
    if (!status && layers > 0)
        status = mio_recipe_set(recipe, "predictor.hidden", 8);
    if (!status && mio_recipe_get(recipe, "loss.queue_size", &layers) == MIO_OK)
        status = mio_recipe_set(recipe, "loss.queue_size", BATCH);
    if (!status)
        status = mio_recipe_set(recipe, "trainer.momentum", 0.9); /* of a few dozen steps */
    return status;
}

static mio_status build(mio_context *context, const char *name, size_t steps, mio_trainer **trainer)
{
    mio_dataset *dataset = NULL;
    mio_recipe *recipe = NULL;
    mio_status status = tiny_dataset(context, &dataset);
    if (!status)
        status = mio_recipe_create(context, name, &recipe);
    if (!status)
        status = shrink(recipe, steps);
    if (!status)
        status = mio_recipe_build(recipe, dataset, trainer);
    mio_recipe_release(recipe);
    mio_dataset_release(dataset);
    return status;
}

static mio_trainer *make(mio_context *context, const char *name, size_t steps)
{
    mio_trainer *trainer = NULL;
    ck_assert_msg(!build(context, name, steps, &trainer), "%s: %s", name, mio_last_error());
    return trainer;
}

static void expect_equal(mio_trainer *a, mio_trainer *b)
{
    ck_assert(tiny_equal(a, b));
    ck_assert_int_eq(!a->momentum.encoder, !b->momentum.encoder);
    if (!a->momentum.encoder)
        return;
    size_t counts[2];
    float *values[2] = {tiny_tensors(a->momentum.encoder, &counts[0]), tiny_tensors(b->momentum.encoder, &counts[1])};
    ck_assert_uint_eq(counts[0], counts[1]);
    ck_assert_mem_eq(values[0], values[1], counts[0] * sizeof(float));
    free(values[0]);
    free(values[1]);
}

/* ---- every recipe ---- */

/* Interrupted or not, on one thread or three: the same losses, weights and momentum encoder, bit for bit. */
START_TEST(test_resume)
{
    double whole[STEPS], rest[STEPS];
    mio_context *one = tiny_context(1), *many = tiny_context(3);
    mio_trainer *trainer = make(one, names[_i], STEPS), *other = make(many, names[_i], STEPS);
    tiny_run(trainer, HALFWAY, whole);
    ck_assert_int_eq(mio_trainer_save(trainer, path), MIO_OK);
    tiny_run(trainer, STEPS - HALFWAY, whole + HALFWAY);
    tiny_run(other, 1, NULL);
    const mio_status status = mio_trainer_restore(other, path);
    ck_assert_msg(!status, "%s", mio_last_error());
    tiny_run(other, STEPS - HALFWAY, rest);
    ck_assert_mem_eq(rest, whole + HALFWAY, (STEPS - HALFWAY) * sizeof *rest);
    expect_equal(trainer, other);
    mio_trainer_release(trainer);
    mio_trainer_release(other);
    mio_context_release(one);
    mio_context_release(many);
}
END_TEST

static double mean(size_t count, const double *values)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return sum / (double)count;
}

/* The loss falls, and the projections keep their spread over the sphere. */
START_TEST(test_learns)
{
    mio_context *context = tiny_context(2);
    mio_trainer *trainer = make(context, names[_i], LEARNING);
    double losses[LEARNING];
    mio_step_report report = {.struct_size = sizeof report};
    tiny_run(trainer, LEARNING - 1, losses);
    ck_assert_msg(!mio_trainer_step(trainer, &report), "%s", mio_last_error());
    losses[LEARNING - 1] = report.loss;
    const double first = mean(6, losses + 2), last = mean(6, losses + LEARNING - 6); /* queues are full after one */
    const double spread = report.channel_deviation * sqrt(OUT);
    printf("%-13s loss %8.4f -> %8.4f, spread %.2f, rank %.1f\n", names[_i], first, last, spread,
           report.effective_rank);
    ck_assert_msg(last < first, "%s: the loss went from %g to %g", names[_i], first, last);
    ck_assert_msg(spread > 0.3, "%s: the spread is %g", names[_i], spread);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* ---- what the methods say ---- */

/* The momentum encoder's weights follow, and its batch norms have running statistics of their own. */
START_TEST(test_momentum_follows)
{
    mio_context *context = tiny_context(2);
    mio_trainer *trainer = make(context, "byol", 4);
    tiny_run(trainer, 1, NULL);
    const mio__tensor *to, *from;
    mio_encoder *before;
    const size_t count = mio__encoder_tensors(trainer->momentum.encoder, &to);
    ck_assert_int_eq(mio__encoder_copy(trainer->momentum.encoder, &before), MIO_OK);
    tiny_run(trainer, 1, NULL);
    mio__encoder_tensors(trainer->encoder, &from);
    const mio__tensor *old;
    mio__encoder_tensors(before, &old);
    const double share = mio__momentum_at(MIO__MOMENTUM_COSINE, 0.9, 1, 4);
    size_t moved = 0;
    for (size_t t = 0; t < count; t++)
        for (size_t i = 0; i < to[t].count; i++) {
            const double a = old[t].value[i], b = from[t].value[i];
            if (to[t].trainable)
                ck_assert_double_eq_tol(to[t].value[i], share * a + (1 - share) * b, 1e-6 * (1 + fabs(a) + fabs(b)));
            else
                moved += strstr(to[t].name, "running_mean") && !strstr(to[t].name, "predictor") && to[t].value[i] != a;
        }
    ck_assert_uint_gt(moved, 0);
    mio_encoder_release(before);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* Switched off, and after a step that made it and failed, it is gone: the next is a copy of the encoder then. Targets
   that the trainer gave go with the step. */
START_TEST(test_momentum_restarts)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer = make(context, "byol", 6);
    float gradient = NAN, value = 1;
    ck_assert_int_eq(mio_optimizer_add_array(trainer->optimizer, "other", 1, 1, &value, &gradient), MIO_OK);
    ck_assert_int_ne(mio_trainer_step(trainer, NULL), MIO_OK);
    ck_assert_ptr_null(trainer->momentum.encoder);
    gradient = 0;
    tiny_run(trainer, 1, NULL);
    ck_assert_ptr_nonnull(trainer->momentum.encoder);
    ck_assert(!trainer->loss->target_set[0] && !trainer->loss->target_set[1]);
    ck_assert_int_eq(mio_trainer_set(trainer, "momentum_encoder", 0), MIO_OK);
    tiny_run(trainer, 1, NULL);
    ck_assert_ptr_null(trainer->momentum.encoder);
    ck_assert_int_eq(mio_trainer_set(trainer, "momentum_encoder", 1), MIO_OK);
    tiny_run(trainer, 1, NULL);
    ck_assert_ptr_nonnull(trainer->momentum.encoder);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

START_TEST(test_momentum_schedule)
{
    ck_assert_double_eq(mio__momentum_at(MIO__MOMENTUM_CONSTANT, 0.9, 7, 10), 0.9);
    ck_assert_double_eq_tol(mio__momentum_at(MIO__MOMENTUM_COSINE, 0.9, 0, 10), 0.9, 1e-15);
    ck_assert_double_eq_tol(mio__momentum_at(MIO__MOMENTUM_COSINE, 0.9, 5, 10), 0.95, 1e-15);
    ck_assert_double_eq_tol(mio__momentum_at(MIO__MOMENTUM_COSINE, 0.9, 10, 10), 1, 1e-15);
    ck_assert_double_eq(mio__momentum_at(MIO__MOMENTUM_COSINE, 0.9, 11, 10), 1);
}
END_TEST

/* The gradients of one step, put together from public calls. targets of BYOL: of a second encoder, here the same. */
static void step_by_hand(mio_encoder *encoder, const char *name, const mio_batch *batch, mio_optimizer *optimizer)
{
    const size_t values = BATCH * OUT;
    float *z = calloc(2 * values, sizeof *z), *p = calloc(2 * values, sizeof *p), *g = calloc(2 * values, sizeof *g);
    mio_loss *loss;
    ck_assert_int_eq(mio_loss_create(mio__encoder_context(encoder), name, &loss), MIO_OK);
    ck_assert_int_eq(mio_encoder_forward(encoder, 2, BATCH, batch->images, NULL, z), MIO_OK);
    ck_assert_int_eq(mio_encoder_predictions(encoder, p), MIO_OK);
    ck_assert_int_eq(mio_loss_set_targets(loss, BATCH, OUT, z, z + values), MIO_OK);
    ck_assert_int_eq(mio_loss_compute(loss, BATCH, OUT, p, p + values, NULL, g, g + values), MIO_OK);
    ck_assert_int_eq(mio_encoder_backward_predictions(encoder, g, NULL, NULL), MIO_OK);
    ck_assert_int_eq(mio_optimizer_step(optimizer), MIO_OK);
    mio_loss_release(loss);
    free(z);
    free(p);
    free(g);
}

/* In the first step BYOL's momentum encoder is the encoder itself, as SimSiam's always is. */
START_TEST(test_step_by_hand)
{
    static const char *const recipes[] = {"byol", "simsiam"};
    mio_context *context = tiny_context(2);
    mio_trainer *trainer = make(context, recipes[_i], STEPS), *other = make(context, recipes[_i], STEPS);
    mio_step_report report = {.struct_size = sizeof report};
    mio_batch batch = {.struct_size = sizeof batch};
    ck_assert_msg(!mio_trainer_step(trainer, &report), "%s", mio_last_error());
    ck_assert_int_eq(mio_loader_next(other->loader, &batch), MIO_OK);
    ck_assert_int_eq(mio_optimizer_set(other->optimizer, "learning_rate", report.learning_rate), MIO_OK);
    step_by_hand(other->encoder, recipes[_i], &batch, other->optimizer);
    ck_assert(tiny_equal(trainer, other));
    /* Similarities are the projections', and the loss has seen predictions: between measurements they are not known. */
    ck_assert_int_eq(mio_trainer_set(trainer, "monitor_interval", 0), MIO_OK);
    ck_assert_msg(!mio_trainer_step(trainer, &report), "%s", mio_last_error());
    ck_assert(isnan(report.positive_similarity) && isnan(report.negative_similarity));
    mio_trainer_release(trainer);
    mio_trainer_release(other);
    mio_context_release(context);
}
END_TEST

/* MoCo: keys are the momentum encoder's projections of view 2, and end up in the queue. */
START_TEST(test_keys)
{
    mio_context *context = tiny_context(2);
    mio_trainer *trainer = make(context, "moco_v2", STEPS);
    tiny_run(trainer, 1, NULL);
    const float *key = trainer->projections.values + BATCH * OUT;
    const mio__loss_queue *queue = &trainer->loss->queue;
    ck_assert_uint_eq(queue->next, 0); /* full, and round */
    double norm = 0;
    for (size_t k = 0; k < OUT; k++)
        norm += (double)key[k] * key[k];
    for (size_t k = 0; k < OUT; k++)
        ck_assert_double_eq_tol(((const float *)queue->rows)[k], key[k] / sqrt(norm), 1e-6);
    size_t batches = 0, keys = 0;
    const mio__tensor *own, *copied;
    const size_t count = mio__encoder_tensors(trainer->encoder, &own);
    mio__encoder_tensors(trainer->momentum.encoder, &copied);
    for (size_t t = 0; t < count; t++)
        if (strstr(own[t].name, "num_batches_tracked")) {
            batches += own[t].value[0] == 1;
            keys += copied[t].value[0] == 1;
        }
    ck_assert_uint_gt(batches, 10); /* one view each */
    ck_assert_uint_eq(batches, keys);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* ---- refusals ---- */

static void refused(mio_trainer *trainer, const char *word)
{
    ck_assert_int_eq(mio_trainer_step(trainer, NULL), MIO_ERROR_STATE);
    ck_assert_msg(strstr(mio_last_error(), word) != NULL, "%s", mio_last_error());
}

START_TEST(test_refusals)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer = NULL, *control = NULL;
    ck_assert_int_eq(tiny_trainer(context, &(tiny_options){.loss = "byol"}, &trainer), MIO_OK);
    ck_assert_int_eq(tiny_trainer(context, &(tiny_options){.loss = "byol"}, &control), MIO_OK);
    refused(trainer, "predictor.layers");
    ck_assert_int_eq(mio_trainer_set(trainer, "predictor", 0), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(control, "predictor", 0), MIO_OK);
    tiny_run(trainer, 2, NULL);
    tiny_run(control, 2, NULL);
    ck_assert(tiny_equal(trainer, control));
    mio_trainer_release(trainer);
    mio_trainer_release(control);
    ck_assert_int_eq(tiny_trainer(context, NULL, &trainer), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "momentum_encoder", 1), MIO_OK);
    refused(trainer, "'mio' has no targets");
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* A step that came to nothing moves neither the momentum encoder nor a queue: trying again gives the same. */
START_TEST(test_failed_step)
{
    static const char *const moving[] = {"byol", "moco_v2", "nnclr"};
    mio_context *context = tiny_context(1);
    mio_trainer *trainer = make(context, moving[_i], 3), *other = make(context, moving[_i], 3);
    float value = 1, gradient = 0;
    tiny_run(other, 3, NULL);
    ck_assert_int_eq(mio_optimizer_add_array(trainer->optimizer, "other", 1, 1, &value, &gradient), MIO_OK);
    tiny_run(trainer, 1, NULL);
    gradient = NAN; /* refused by the optimizer, after the loss */
    ck_assert_int_ne(mio_trainer_step(trainer, NULL), MIO_OK);
    gradient = 0;
    tiny_run(trainer, 2, NULL);
    expect_equal(trainer, other);
    mio_trainer_release(trainer);
    mio_trainer_release(other);
    mio_context_release(context);
}
END_TEST

/* ---- memory ---- */

static const char *const keepers[] = {"byol", "moco_v2", "nnclr"};

static mio_status make_keeper(mio_context *context, const char *name, mio_trainer **trainer)
{
    return build(context, name, STEPS, trainer);
}

/* Every request of a few hundred takes long: every seventh, from another one for each recipe. */
START_TEST(test_requests_may_be_refused)
{
    life_under_refusals(make_keeper, keepers[_i], path, 1 + (size_t)_i, 7);
}
END_TEST

START_TEST(test_later_steps_request_nothing)
{
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 2);
    mio_trainer *trainer = make(context, names[_i], STEPS);
    tiny_run(trainer, 1, NULL);
    test_allocator_fail_from(&allocator, 1);
    tiny_run(trainer, 4, NULL);
    ck_assert_uint_eq(atomic_load(&allocator.requests), 0);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("family");
    TCase *tests = tcase_create("family");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, test_resume, 0, NAMES);
    tcase_add_loop_test(tests, test_learns, 0, NAMES);
    tcase_add_test(tests, test_momentum_follows);
    tcase_add_test(tests, test_momentum_restarts);
    tcase_add_test(tests, test_momentum_schedule);
    tcase_add_loop_test(tests, test_step_by_hand, 0, 2);
    tcase_add_test(tests, test_keys);
    tcase_add_test(tests, test_refusals);
    tcase_add_loop_test(tests, test_failed_step, 0, 3);
    tcase_add_loop_test(tests, test_requests_may_be_refused, 0, 3);
    tcase_add_loop_test(tests, test_later_steps_request_nothing, 0, NAMES);
    suite_add_tcase(suite, tests);
    return tiny_main(suite);
}
