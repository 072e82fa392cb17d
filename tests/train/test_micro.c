#define _DEFAULT_SOURCE /* mkdtemp */
/* Large batches in micro-batches: the gradient of the whole batch, on the memory of a micro-batch. */
#include "tiny.h"

#include "loss/loss.h"
#include "support/allocator.h"
#include "train/trainer.h"

#include <stdio.h>
#include <unistd.h>

enum { OUT = 12 };

/* ---- trainers around an encoder without batch norm ---- */

static mio_encoder *encoder_without_norms(mio_context *context)
{
    mio_builder *b;
    mio_encoder *encoder;
    ck_assert_int_eq(mio_builder_create(context, 3, TINY_SIZE, TINY_SIZE, &b), MIO_OK);
    mio_node x = mio_builder_relu(b, mio_builder_conv2d(b, mio_builder_input(b), 16, 3, 1, 1));
    x = mio_builder_relu(b, mio_builder_conv2d(b, x, 16, 3, 2, 1));
    const mio_node h = mio_builder_global_average_pool(b, x);
    const mio_node z = mio_builder_mlp(b, h, 2, 24, OUT, MIO_NORM_NONE, MIO_NORM_NONE);
    mio_builder_name(b, "predictor");
    const mio_node p = mio_builder_mlp(b, z, 2, 10, OUT, MIO_NORM_NONE, MIO_NORM_NONE);
    ck_assert_msg(!mio_builder_finish_with_predictions(b, h, z, p, &encoder), "%s", mio_last_error());
    mio_builder_release(b);
    return encoder;
}

/* A tiny trainer's parts, with another encoder. */
static mio_trainer *with_encoder(mio_context *context, const char *loss, mio_encoder *encoder)
{
    mio_trainer *usual = NULL, *trainer = NULL;
    mio_optimizer *optimizer = NULL;
    ck_assert_int_eq(tiny_trainer(context, &(tiny_options){.loss = loss}, &usual), MIO_OK);
    ck_assert_int_eq(mio_optimizer_create(context, "sgd", &optimizer), MIO_OK);
    ck_assert_int_eq(mio_trainer_create(encoder, usual->loss, optimizer, usual->schedule, usual->loader, &trainer),
                     MIO_OK);
    mio_optimizer_release(optimizer);
    mio_trainer_release(usual);
    return trainer;
}

/* The whole gradient of the step just done; the caller frees. */
static float *gradient_of(const mio_encoder *encoder, size_t *count)
{
    const mio__tensor *tensors;
    float *values = NULL;
    *count = 0;
    for (size_t t = 0, all = mio__encoder_tensors(encoder, &tensors); t < all; t++) {
        if (!tensors[t].trainable)
            continue;
        values = realloc(values, (*count + tensors[t].stored) * sizeof *values);
        memcpy(values + *count, tensors[t].gradient, tensors[t].stored * sizeof *values);
        *count += tensors[t].stored;
    }
    return values;
}

static const struct {
    const char *loss;
    int momentum_encoder;
} kinds[] = {{"mio", 0}, {"nt_xent", 0}, {"barlow_twins", 0}, {"vicreg", 0}, {"byol", 1}, {"simsiam", 0}, {"moco", 1}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* One pass or two, whole or in pieces: the same gradient, but for the order of float sums. */
START_TEST(equals_the_whole_batch)
{
    mio_context *context = tiny_context(2);
    mio_encoder *encoders[2];
    float *gradients[2];
    size_t count;
    double losses[2];
    for (size_t micro = 1; micro <= 8; micro *= 2) {
        for (int i = 0; i < 2; i++) {
            encoders[i] = encoder_without_norms(context);
            mio_trainer *trainer = with_encoder(context, kinds[_i].loss, encoders[i]);
            ck_assert_int_eq(mio_trainer_set(trainer, "momentum_encoder", kinds[_i].momentum_encoder), MIO_OK);
            ck_assert_int_eq(mio_trainer_set(trainer, "micro_batch", i ? (double)micro : 0), MIO_OK);
            tiny_run(trainer, 1, &losses[i]);
            gradients[i] = gradient_of(encoders[i], &count);
            mio_trainer_release(trainer);
            mio_encoder_release(encoders[i]);
        }
        double difference = 0, norm = 0;
        for (size_t i = 0; i < count; i++) {
            difference += pow((double)gradients[0][i] - gradients[1][i], 2);
            norm += pow(gradients[0][i], 2);
        }
        ck_assert_double_eq_tol(losses[0], losses[1], 1e-6 * (1 + fabs(losses[0])));
        ck_assert(norm > 0);
        ck_assert_msg(sqrt(difference / norm) < 5e-6, "%s, micro-batches of %zu: off by %g", kinds[_i].loss, micro,
                      sqrt(difference / norm));
        free(gradients[0]);
        free(gradients[1]);
    }
    mio_context_release(context);
}
END_TEST

/* A run that would come to a last batch which micro-batches do not divide is refused before its first step. */
START_TEST(last_batch_is_checked_first)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer;
    ck_assert_int_eq(tiny_trainer(context, NULL, &trainer), MIO_OK);
    ck_assert_int_eq(mio_loader_set(trainer->loader, "batch_size", 15), MIO_OK); /* leaves 12 of 72 */
    ck_assert_int_eq(mio_loader_set(trainer->loader, "drop_last", 0), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "micro_batch", 5), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "steps", 5), MIO_OK);
    ck_assert_int_eq(mio_trainer_run(trainer, NULL, NULL), MIO_ERROR_STATE);
    ck_assert_msg(strstr(mio_last_error(), "12 images") && strstr(mio_last_error(), "drop_last"), "%s",
                  mio_last_error());
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), 0);
    ck_assert_int_eq(mio_trainer_set(trainer, "steps", 4), MIO_OK); /* ends before that batch */
    ck_assert_int_eq(mio_trainer_run(trainer, NULL, NULL), MIO_OK);
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), 4);
    ck_assert_int_eq(mio_loader_set(trainer->loader, "drop_last", 1), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "steps", 6), MIO_OK);
    ck_assert_int_eq(mio_trainer_run(trainer, NULL, NULL), MIO_OK);
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), 6);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* So is one of a single image, which has no negatives. */
START_TEST(last_image_is_checked_first)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer;
    ck_assert_int_eq(tiny_trainer(context, NULL, &trainer), MIO_OK);
    ck_assert_int_eq(mio_loader_set(trainer->loader, "batch_size", 71), MIO_OK); /* of 72 */
    ck_assert_int_eq(mio_loader_set(trainer->loader, "drop_last", 0), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "steps", 2), MIO_OK);
    ck_assert_int_eq(mio_trainer_run(trainer, NULL, NULL), MIO_ERROR_STATE);
    ck_assert_msg(strstr(mio_last_error(), "one image") && strstr(mio_last_error(), "drop_last"), "%s",
                  mio_last_error());
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), 0);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* Where view 2 goes through the momentum encoder alone, view 1 of one image is alone in the encoder. */
START_TEST(last_key_is_checked_first)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer;
    ck_assert_int_eq(tiny_trainer(context, &(tiny_options){.loss = "moco", .join_views = 1}, &trainer), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "momentum_encoder", 1), MIO_OK);
    ck_assert_int_eq(mio_loader_set(trainer->loader, "batch_size", 71), MIO_OK); /* of 72 */
    ck_assert_int_eq(mio_loader_set(trainer->loader, "drop_last", 0), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "steps", 2), MIO_OK);
    ck_assert_int_eq(mio_trainer_run(trainer, NULL, NULL), MIO_ERROR_STATE);
    ck_assert_msg(strstr(mio_last_error(), "one value") != NULL, "%s", mio_last_error());
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), 0);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* A micro-batch that holds the batch is the batch: the same bits. */
START_TEST(enough_is_the_whole_batch)
{
    mio_context *context = tiny_context(2);
    mio_trainer *whole, *micro;
    ck_assert_int_eq(tiny_trainer(context, NULL, &whole), MIO_OK);
    ck_assert_int_eq(tiny_trainer(context, NULL, &micro), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(micro, "micro_batch", TINY_BATCH), MIO_OK);
    tiny_run(whole, 3, NULL);
    tiny_run(micro, 3, NULL);
    ck_assert(tiny_equal(whole, micro));
    mio_trainer_release(whole);
    mio_trainer_release(micro);
    mio_context_release(context);
}
END_TEST

/* Batch norm: statistics of each micro-batch, and the running ones move on once for each of them, in their order. */
START_TEST(running_statistics)
{
    enum { MICRO = 4 };
    mio_context *context = tiny_context(2);
    mio_trainer *trainer;
    mio_encoder *control;
    ck_assert_int_eq(tiny_trainer(context, NULL, &trainer), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "micro_batch", MICRO), MIO_OK);
    ck_assert_int_eq(mio__encoder_copy(trainer->encoder, &control), MIO_OK);
    mio_batch batch = {.struct_size = sizeof batch};
    ck_assert_int_eq(mio_loader_next(trainer->loader, &batch), MIO_OK);
    for (size_t i = 0; i < 2 * TINY_BATCH; i += MICRO)
        ck_assert_int_eq(
            mio_encoder_forward(control, 1, MICRO, batch.images + i * TINY_SIZE * TINY_SIZE * 3, NULL, NULL), MIO_OK);
    ck_assert_int_eq(mio_loader_seek(trainer->loader, 0, 0), MIO_OK);
    tiny_run(trainer, 1, NULL);
    const mio__tensor *own, *expected;
    size_t compared = 0;
    for (size_t t = mio__encoder_tensors(trainer->encoder, &own), all = mio__encoder_tensors(control, &expected);
         t-- > 0 && all;)
        if (!own[t].trainable) {
            ck_assert_mem_eq(own[t].value, expected[t].value, own[t].stored * sizeof(float));
            compared++;
        }
    ck_assert_uint_eq(compared, 4 * 3); /* of four batch norms */
    mio_encoder_release(control);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* ---- resuming ---- */

static char folder[64], path[96];

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/mio-micro-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/run.mio", folder);
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
}

static mio_trainer *in_pieces(mio_context *context, size_t kind)
{
    mio_trainer *trainer;
    ck_assert_int_eq(tiny_trainer(context, &(tiny_options){.loss = kinds[kind].loss}, &trainer), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "momentum_encoder", kinds[kind].momentum_encoder), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "predictor", 0), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "micro_batch", 4), MIO_OK);
    return trainer;
}

START_TEST(resume)
{
    double whole[6], rest[3];
    mio_context *one = tiny_context(1), *many = tiny_context(3);
    mio_trainer *trainer = in_pieces(one, (size_t)_i), *other = in_pieces(many, (size_t)_i);
    ck_assert_int_eq(mio_trainer_set(other, "micro_batch", 0), MIO_OK); /* it comes back with the checkpoint */
    tiny_run(trainer, 3, whole);
    ck_assert_int_eq(mio_trainer_save(trainer, path), MIO_OK);
    tiny_run(trainer, 3, whole + 3);
    ck_assert_msg(!mio_trainer_restore(other, path), "%s", mio_last_error());
    tiny_run(other, 3, rest);
    ck_assert_mem_eq(rest, whole + 3, sizeof rest);
    ck_assert(tiny_equal(trainer, other));
    mio_trainer_release(trainer);
    mio_trainer_release(other);
    mio_context_release(one);
    mio_context_release(many);
}
END_TEST

START_TEST(refusals)
{
    mio_context *context = tiny_context(1);
    mio_trainer *trainer;
    ck_assert_int_eq(tiny_trainer(context, NULL, &trainer), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "micro_batch", 5), MIO_OK);
    ck_assert_int_eq(mio_trainer_step(trainer, NULL), MIO_ERROR_STATE);
    ck_assert_msg(strstr(mio_last_error(), "16 images") && strstr(mio_last_error(), "of 5"), "%s", mio_last_error());
    ck_assert_int_eq(mio_trainer_set(trainer, "micro_batch", 4), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "join_views", 1), MIO_OK);
    ck_assert_int_eq(mio_trainer_step(trainer, NULL), MIO_ERROR_STATE);
    ck_assert_msg(strstr(mio_last_error(), "join_views") != NULL, "%s", mio_last_error());
    ck_assert_uint_eq(mio_trainer_steps_done(trainer), 0);
    mio_trainer_release(trainer);
    mio_context_release(context);
}
END_TEST

/* ---- the memory ceiling ---- */

/* Most bytes that a run's trainer holds, and of these the work space of loss and monitor. */
static size_t peak_of(size_t batch, size_t micro, size_t *workspace)
{
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 1);
    mio_trainer *trainer = NULL;
    ck_assert_int_eq(tiny_trainer(context, &(tiny_options){.loss = "nt_xent"}, &trainer), MIO_OK);
    ck_assert_int_eq(mio_loader_set(trainer->loader, "batch_size", (double)batch), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "micro_batch", (double)micro), MIO_OK);
    ck_assert_int_eq(mio_trainer_set(trainer, "monitor_interval", 0), MIO_OK);
    tiny_run(trainer, 2, NULL);
    test_allocator_fail_from(&allocator, 1);
    tiny_run(trainer, 3, NULL);
    ck_assert_uint_eq(atomic_load(&allocator.requests), 0);
    ck_assert_int_eq(mio_loss_workspace_bytes(trainer->loss, batch, OUT, sizeof(float), workspace), MIO_OK);
    *workspace += trainer->monitor.capacity;
    const size_t peak = atomic_load(&allocator.peak);
    mio_trainer_release(trainer);
    mio_context_release(context);
    return peak;
}

/* A batch four times as large in the same micro-batches takes more only for its views (with a label and an index each),
   its projections and their gradients, and the work space of loss and monitor, which is a number of rows like these. */
START_TEST(memory_ceiling)
{
    enum { SMALL = 16, LARGE = 64, MICRO = 8 };
    size_t workspace[2], ignored;
    const size_t small = peak_of(SMALL, MICRO, &workspace[0]), large = peak_of(LARGE, MICRO, &workspace[1]);
    const size_t more = LARGE - SMALL, view = TINY_SIZE * TINY_SIZE * 3 * sizeof(float);
    const size_t rows = 2 * more * OUT * sizeof(float), beside = more * (sizeof(int32_t) + sizeof(size_t));
    const size_t allowed = 2 * more * view + beside + 2 * rows + workspace[1] - workspace[0] + 1024;
    ck_assert_msg(large - small <= allowed, "%zu bytes more, %zu are explained", large - small, allowed);
    const size_t whole = peak_of(LARGE, 0, &ignored);
    ck_assert_msg(whole > large + 2 * (LARGE - MICRO) * view, "whole batch %zu, micro-batches %zu bytes", whole, large);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("micro");
    TCase *tests = tcase_create("micro");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, equals_the_whole_batch, 0, KINDS);
    tcase_add_test(tests, enough_is_the_whole_batch);
    tcase_add_test(tests, running_statistics);
    tcase_add_loop_test(tests, resume, 0, KINDS);
    tcase_add_test(tests, refusals);
    tcase_add_test(tests, last_batch_is_checked_first);
    tcase_add_test(tests, last_image_is_checked_first);
    tcase_add_test(tests, last_key_is_checked_first);
    tcase_add_test(tests, memory_ceiling);
    suite_add_tcase(suite, tests);
    return tiny_main(suite);
}
