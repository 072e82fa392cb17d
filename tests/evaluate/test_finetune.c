#include "../train/tiny.h"

#include <mio/evaluate.h>

static const double mean[3] = {0.5, 0.5, 0.5}, deviation[3] = {0.25, 0.25, 0.25};

typedef struct scene {
    mio_context *context;
    mio_dataset *train, *validation;
    mio_encoder *encoder;
    mio_augment *augment;
    mio_finetune *finetune;
} scene;

static scene make_scene(size_t threads)
{
    scene s = {.context = tiny_context(threads)};
    mio_dataset *all;
    ck_assert_int_eq(tiny_dataset(s.context, &all), MIO_OK);
    ck_assert_int_eq(mio_dataset_split(all, 0.7, 1, &s.train, &s.validation), MIO_OK);
    mio_dataset_release(all);
    ck_assert_int_eq(tiny_encoder(s.context, 0, &s.encoder), MIO_OK);
    ck_assert_int_eq(mio_encoder_set_normalization(s.encoder, 3, mean, deviation), MIO_OK);
    ck_assert_int_eq(mio_augment_create(s.context, "none", TINY_SIZE, TINY_SIZE, 3, &s.augment), MIO_OK);
    ck_assert_int_eq(mio_augment_set_normalization(s.augment, 3, mean, deviation), MIO_OK);
    ck_assert_int_eq(mio_finetune_create(s.encoder, &s.finetune), MIO_OK);
    ck_assert_int_eq(mio_finetune_set(s.finetune, "epochs", 12), MIO_OK);
    ck_assert_int_eq(mio_finetune_set(s.finetune, "batch_size", 8), MIO_OK);
    return s;
}

static void free_scene(scene *s)
{
    mio_finetune_release(s->finetune);
    mio_augment_release(s->augment);
    mio_encoder_release(s->encoder);
    mio_dataset_release(s->train);
    mio_dataset_release(s->validation);
    mio_context_release(s->context);
}

static double accuracy(scene *s, const mio_dataset *dataset)
{
    const size_t count = mio_dataset_count(dataset);
    int32_t labels[TINY_COUNT], predictions[TINY_COUNT];
    double value;
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(mio_dataset_label(dataset, i, &labels[i]), MIO_OK);
    ck_assert_msg(!mio_finetune_predict(s->finetune, dataset, predictions), "%s", mio_last_error());
    ck_assert_int_eq(mio_evaluate_accuracy(count, labels, predictions, &value), MIO_OK);
    return value;
}

START_TEST(learns_and_keeps_the_best_epoch)
{
    scene s = make_scene(2);
    ck_assert_msg(!mio_finetune_run(s.finetune, s.train, _i ? s.validation : NULL, s.augment), "%s", mio_last_error());
    ck_assert_double_ge(accuracy(&s, s.train), 0.9);
    ck_assert_double_ge(accuracy(&s, s.validation), 0.8);
    free_scene(&s);
}
END_TEST

/* With a rate that ruins the encoder after a while, the epoch that is kept is an earlier, better one. */
START_TEST(a_ruined_run_goes_back)
{
    double accuracies[2];
    for (int validated = 0; validated < 2; validated++) {
        scene s = make_scene(2);
        mio_finetune_set(s.finetune, "learning_rate", 1);
        const mio_status status = mio_finetune_run(s.finetune, s.train, validated ? s.validation : NULL, s.augment);
        ck_assert_msg(!status, "%s", mio_last_error());
        accuracies[validated] = accuracy(&s, s.validation);
        free_scene(&s);
    }
    ck_assert_double_gt(accuracies[1], accuracies[0]);
}
END_TEST

START_TEST(threads_do_not_matter)
{
    size_t counts[3];
    float *tensors[3];
    static const size_t threads[] = {1, 2, 5};
    for (size_t i = 0; i < 3; i++) {
        scene s = make_scene(threads[i]);
        mio_finetune_set(s.finetune, "epochs", 2);
        mio_finetune_set(s.finetune, "label_fraction", 0.5);
        ck_assert_msg(!mio_finetune_run(s.finetune, s.train, s.validation, s.augment), "%s", mio_last_error());
        tensors[i] = tiny_tensors(s.encoder, &counts[i]);
        ck_assert_mem_eq(tensors[0], tensors[i], counts[0] * sizeof(float));
        free_scene(&s);
    }
    for (size_t i = 0; i < 3; i++)
        free(tensors[i]);
}
END_TEST

START_TEST(few_labels_will_do)
{
    scene s = make_scene(2);
    mio_finetune_set(s.finetune, "label_fraction", 0.1); /* fewer images than a batch */
    ck_assert_msg(!mio_finetune_run(s.finetune, s.train, s.validation, s.augment), "%s", mio_last_error());
    ck_assert_double_ge(accuracy(&s, s.validation), 0.25);
    free_scene(&s);
}
END_TEST

/* A failed run leaves encoder and classifier as they were: what was predicted before is predicted again. */
static void check_unchanged(scene *s, mio_dataset *train, mio_dataset *validation, mio_status expected,
                            const char *words)
{
    const size_t count = mio_dataset_count(s->train), dim = 16;
    float *features[2];
    int32_t predictions[2][TINY_COUNT];
    for (int after = 0; after < 2; after++) {
        features[after] = calloc(count * dim, sizeof(float));
        if (after) {
            ck_assert_int_eq(mio_finetune_run(s->finetune, train, validation, s->augment), expected);
            ck_assert_msg(strstr(mio_last_error(), words) != NULL, "%s", mio_last_error());
        }
        ck_assert_int_eq(mio_evaluate_embed(s->encoder, s->train, features[after]), MIO_OK);
        ck_assert_msg(!mio_finetune_predict(s->finetune, s->train, predictions[after]), "%s", mio_last_error());
    }
    ck_assert_mem_eq(features[0], features[1], count * dim * sizeof(float));
    ck_assert_mem_eq(predictions[0], predictions[1], count * sizeof(int32_t));
    free(features[0]), free(features[1]);
}

START_TEST(failures_change_nothing)
{
    static uint8_t pixels[8 * TINY_SIZE * TINY_SIZE];
    const int32_t labels[8] = {0, 1, 2, 3, 0, 1, 2, 3};
    mio_dataset *grey;
    scene s = make_scene(2);
    size_t dim;
    ck_assert_int_eq(mio_encoder_feature_dim(s.encoder, &dim), MIO_OK);
    ck_assert_uint_eq(dim, 16);
    ck_assert_int_eq(mio_dataset_from_memory(s.context, 8, TINY_SIZE, TINY_SIZE, 1, 0, pixels, labels, &grey), MIO_OK);
    ck_assert_msg(!mio_finetune_run(s.finetune, s.train, s.validation, s.augment), "%s", mio_last_error());
    check_unchanged(&s, s.train, grey, MIO_ERROR_ARGUMENT, "validation set have 1 channels");
    check_unchanged(&s, grey, NULL, MIO_ERROR_ARGUMENT, "training set have 1 channels");
    static const double rates[] = {1e30, 3e37};
    for (int i = 0; i < 4; i++) {
        mio_finetune_set(s.finetune, "learning_rate", rates[i / 2]);
        mio_finetune_set(s.finetune, "epochs", 1 + i / 2 * 3);
        check_unchanged(&s, s.train, i % 2 ? s.validation : NULL, MIO_ERROR_STATE, "lower 'learning_rate'");
    }
    mio_dataset_release(grey);
    free_scene(&s);
}
END_TEST

START_TEST(refusals)
{
    scene s = make_scene(1);
    static uint8_t pixels[4 * TINY_SIZE * TINY_SIZE * 3];
    const double other[3] = {0.4, 0.5, 0.5};
    int32_t predictions[TINY_COUNT];
    mio_dataset *unlabelled;
    ck_assert_int_eq(mio_finetune_predict(s.finetune, s.train, predictions), MIO_ERROR_STATE);
    ck_assert_int_eq(mio_finetune_run(s.finetune, NULL, NULL, s.augment), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_from_memory(s.context, 4, TINY_SIZE, TINY_SIZE, 3, 0, pixels, NULL, &unlabelled),
                     MIO_OK);
    ck_assert_int_eq(mio_finetune_run(s.finetune, unlabelled, NULL, s.augment), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "label"));
    ck_assert_int_eq(mio_finetune_run(s.finetune, s.train, unlabelled, s.augment), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_set_normalization(s.augment, 3, other, deviation), MIO_OK);
    ck_assert_int_eq(mio_finetune_run(s.finetune, s.train, NULL, s.augment), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "normalisation"));
    mio_dataset_release(unlabelled);
    free_scene(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("finetune");
    TCase *tests = tcase_create("finetune");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, learns_and_keeps_the_best_epoch, 0, 2);
    tcase_add_test(tests, a_ruined_run_goes_back);
    tcase_add_test(tests, threads_do_not_matter);
    tcase_add_test(tests, few_labels_will_do);
    tcase_add_test(tests, failures_change_nothing);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return tiny_main(suite);
}
