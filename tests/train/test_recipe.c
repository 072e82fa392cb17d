#include "tiny.h"

#include "train/momentum.h"

#include <stdio.h>

static mio_context *context;

static void setup(void)
{
    context = tiny_context(2);
}

static void teardown(void)
{
    mio_context_release(context);
}

static mio_recipe *new_recipe(const char *name)
{
    mio_recipe *recipe;
    ck_assert_msg(!mio_recipe_create(context, name, &recipe), "%s", mio_last_error());
    return recipe;
}

static double get(const mio_recipe *recipe, const char *parameter)
{
    double value = NAN;
    ck_assert_msg(!mio_recipe_get(recipe, parameter, &value), "%s", mio_last_error());
    return value;
}

START_TEST(names_are_sorted_and_explained)
{
    size_t count = 0;
    for (; mio_recipe_name_at(count); count++) {
        ck_assert_ptr_nonnull(mio_recipe_meaning_at(count));
        ck_assert_uint_gt(strlen(mio_recipe_meaning_at(count)), 20);
        if (count)
            ck_assert_int_lt(strcmp(mio_recipe_name_at(count - 1), mio_recipe_name_at(count)), 0);
        mio_recipe_release(new_recipe(mio_recipe_name_at(count)));
    }
    ck_assert_uint_ge(count, 13);
    ck_assert_ptr_null(mio_recipe_meaning_at(count));
    mio_recipe *recipe = NULL;
    ck_assert_int_eq(mio_recipe_create(context, "best", &recipe), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "mio-paper"));
    ck_assert_ptr_null(recipe);
}
END_TEST

/* What DESIGN.md says of the authors' recipe and of the reference runs. */
START_TEST(documented_choices)
{
    static const struct {
        const char *recipe, *parameter;
        double value;
    } choices[] = {
        {"mio-paper", "encoder.depth", 50},
        {"mio-paper", "encoder.base_width", 64},
        {"mio-paper", "encoder.stem", MIO_STEM_SMALL_UNPADDED},
        {"mio-paper", "encoder.imagenet_stem_from", 64},
        {"mio-paper", "projector.layers", 2},
        {"mio-paper", "projector.hidden", 2048},
        {"mio-paper", "projector.out", 128},
        {"mio-paper", "loss.positive_temperature", 0.5},
        {"mio-paper", "loss.negative_temperature", 0.5},
        {"mio-paper", "loss.l2_weight", 1},
        {"mio-paper", "optimizer.momentum", 0.9},
        {"mio-paper", "optimizer.trust_coefficient", 0.001},
        {"mio-paper", "optimizer.weight_decay", 1e-6},
        {"mio-paper", "optimizer.compat", 1},
        {"mio-paper", "loader.batch_size", 128},
        {"mio-paper", "loader.drop_last", 1},
        {"mio-paper", "trainer.epochs", 250},
        {"mio-paper", "trainer.join_views", 0},
        {"mio-paper", "augment.crop_scale_min", 0.8},
        {"mio-paper", "augment.hue", 0.1},
        {"mio-reference", "encoder.depth", 18},
        {"mio-reference", "encoder.base_width", 16},
        {"mio-reference", "encoder.stem", MIO_STEM_SMALL},
        {"mio-reference", "projector.hidden", 2048},
        {"mio-reference", "projector.out", 128},
        {"mio-reference", "loader.batch_size", 256},
        {"mio-reference", "optimizer.nesterov", 1},
        {"mio-reference", "optimizer.momentum", 0.9},
        {"mio-reference", "optimizer.weight_decay", 5e-4},
        {"mio-reference", "optimizer.exclude_vectors", 0},
        {"mio-reference", "trainer.epochs", 4},
        {"mio-reference", "augment.crop_scale_min", 0.2},
        {"mio-reference", "encoder.initialization", 1},
        {"mio-reference", "augment.hue", 0},
        {"mio-reference", "augment.jitter_order", 1},
        {"mio-small", "encoder.height", 24},
        {"mio-small", "predictor.layers", 0},
        {"mio-small", "trainer.momentum_encoder", 0},
        {"simclr", "loss.temperature", 0.5},
        {"simclr", "projector.last_norm", MIO_NORM_AFFINE},
        {"moco_v2", "loss.temperature", 0.2},
        {"moco_v2", "trainer.momentum_encoder", 1},
        {"byol", "projector.last_norm", MIO_NORM_NONE},
        {"byol", "predictor.layers", 2},
        {"byol", "trainer.momentum_encoder", 1},
        {"byol", "trainer.momentum_schedule", MIO__MOMENTUM_COSINE},
        {"simsiam", "projector.last_norm", MIO_NORM_PLAIN},
        {"simsiam", "predictor.layers", 2},
        {"simsiam", "trainer.momentum_encoder", 0},
        {"barlow_twins", "projector.last_norm", MIO_NORM_NONE},
        {"vicreg", "projector.last_norm", MIO_NORM_NONE},
        {"nnclr", "projector.layers", 3},
        {"nnclr", "predictor.layers", 2},
        {"supcon", "trainer.labels", 1},
        {"sogclr", "loss.gamma", 0.9},
        {"vicreg", "loader.batch_size", 128},
    };
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        mio_recipe *recipe = new_recipe(choices[i].recipe);
        ck_assert_msg(get(recipe, choices[i].parameter) == choices[i].value, "%s: %s is %g, not %g", choices[i].recipe,
                      choices[i].parameter, get(recipe, choices[i].parameter), choices[i].value);
        mio_recipe_release(recipe);
    }
}
END_TEST

/* The learning rate of each step of a recipe's schedule, through a trainer's reports. */
static double rate_of(mio_recipe *recipe, uint64_t step, uint64_t steps_per_epoch)
{
    mio_schedule *schedule;
    double rate = NAN;
    ck_assert_int_eq(mio_schedule_create(context, "cosine", &schedule), MIO_OK);
    mio_parameter_info info = {.struct_size = sizeof info};
    for (size_t i = 0; i < mio_schedule_parameter_count(schedule); i++) {
        char name[96];
        ck_assert_int_eq(mio_schedule_parameter(schedule, i, &info), MIO_OK);
        snprintf(name, sizeof name, "schedule.%s", info.name);
        ck_assert_int_eq(mio_schedule_set(schedule, info.name, get(recipe, name)), MIO_OK);
    }
    ck_assert_int_eq(mio_schedule_at(schedule, step, steps_per_epoch, &rate), MIO_OK);
    mio_schedule_release(schedule);
    return rate;
}

START_TEST(documented_learning_rates)
{
    mio_recipe *paper = new_recipe("mio-paper"), *reference = new_recipe("mio-reference");
    /* per epoch: from 1e-4 in ten epochs to 1.5, then a cosine to 1e-4 at epoch 1000 */
    ck_assert_double_eq_tol(rate_of(paper, 0, 312), 1e-4, 1e-12);
    ck_assert_double_eq_tol(rate_of(paper, 311, 312), 1e-4, 1e-12);
    ck_assert_double_eq_tol(rate_of(paper, 9 * 312, 312), 1.5, 1e-12);
    ck_assert_double_eq_tol(rate_of(paper, 10 * 312, 312), 1.5, 1e-12);
    ck_assert_double_eq_tol(rate_of(paper, 249 * 312, 312),
                            1e-4 + 0.5 * (1.5 - 1e-4) * (1 + cos(3.14159265358979324 * 239 / 990)), 1e-9);
    /* per step: 100 steps of warm-up to 0.2, then a cosine to 0 at the end of epoch 4 */
    ck_assert_int_eq(mio_recipe_set(reference, "schedule.total", 780), MIO_OK);
    ck_assert_double_le(rate_of(reference, 0, 195), 0.2 / 100 + 1e-12);
    ck_assert_double_eq_tol(rate_of(reference, 49, 195), 0.1, 0.2 / 99);
    ck_assert_double_eq_tol(rate_of(reference, 100, 195), 0.2, 1e-4);
    ck_assert_double_eq_tol(rate_of(reference, 440, 195), 0.1, 1e-3);
    ck_assert_double_le(rate_of(reference, 779, 195), 1e-5);
    mio_recipe_release(paper);
    mio_recipe_release(reference);
}
END_TEST

START_TEST(parameters_are_the_parts)
{
    mio_recipe *recipe = new_recipe("mio-paper");
    const size_t count = mio_recipe_parameter_count(recipe);
    ck_assert_uint_gt(count, 40);
    for (size_t i = 0; i < count; i++) {
        mio_parameter_info info = {.struct_size = sizeof info};
        ck_assert_int_eq(mio_recipe_parameter(recipe, i, &info), MIO_OK);
        ck_assert_ptr_nonnull(strchr(info.name, '.'));
        ck_assert_ptr_nonnull(info.meaning);
        ck_assert(isfinite(info.maximum) || info.maximum_exclusive || info.kind == MIO_PARAMETER_CHOICE);
        ck_assert_double_eq(get(recipe, info.name), info.default_value);
        ck_assert_int_eq(mio_recipe_set(recipe, info.name, info.default_value), MIO_OK);
    }
    mio_parameter_info info = {.struct_size = sizeof info};
    ck_assert_int_eq(mio_recipe_parameter(recipe, count, &info), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_recipe_set_text(recipe, "encoder.stem", "imagenet"), MIO_OK);
    ck_assert_double_eq(get(recipe, "encoder.stem"), MIO_STEM_IMAGENET);
    mio_recipe_release(recipe);
}
END_TEST

START_TEST(refusals_name_the_culprit)
{
    static const struct {
        const char *parameter, *word;
    } wrong[] = {{"temperature", "loss."},
                 {"loss.temprature", "temperature"},
                 {"optimiser.momentum", "optimizer."},
                 {"", "encoder."},
                 {".", "encoder."},
                 {"loss.", "positive_temperature"},
                 {"optimizer.learning_rate", "schedule.learning_rate"}};
    mio_recipe *recipe = new_recipe("mio-small");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_int_eq(mio_recipe_set(recipe, wrong[i].parameter, 1), MIO_ERROR_ARGUMENT);
        ck_assert_msg(strstr(mio_last_error(), wrong[i].word) != NULL, "%s: %s", wrong[i].parameter, mio_last_error());
    }
    ck_assert_int_eq(mio_recipe_set(recipe, NULL, 1), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_recipe_set(recipe, "loss.positive_temperature", 0), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_recipe_choose(recipe, "encoder", "vit"), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_recipe_choose(recipe, "loss", "best"), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_recipe_choose(recipe, NULL, NULL), MIO_ERROR_ARGUMENT);
    mio_recipe_release(recipe);
}
END_TEST

static mio_trainer *build(mio_recipe *recipe)
{
    mio_dataset *dataset;
    mio_trainer *trainer;
    ck_assert_int_eq(tiny_dataset(context, &dataset), MIO_OK);
    ck_assert_msg(!mio_recipe_build(recipe, dataset, &trainer), "%s", mio_last_error());
    mio_dataset_release(dataset);
    return trainer;
}

static mio_recipe *small_recipe(void)
{
    mio_recipe *recipe = new_recipe("mio-small");
    ck_assert_int_eq(mio_recipe_set_text(recipe, "encoder.depth", "18"), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "encoder.base_width", 4), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "projector.hidden", 24), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "projector.out", 10), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "loader.batch_size", 24), MIO_OK);
    return recipe;
}

START_TEST(build_follows_the_parameters)
{
    mio_recipe *recipe = small_recipe();
    ck_assert_int_eq(mio_recipe_set(recipe, "encoder.height", 0), MIO_OK);
    mio_trainer *trainer = build(recipe);
    mio_encoder *encoder = mio_trainer_encoder(trainer);
    size_t dim, height, channels;
    double mean[3], deviation[3], expected_mean[3], expected_deviation[3];
    mio_dataset *dataset;
    ck_assert_int_eq(mio_encoder_projection_dim(encoder, &dim), MIO_OK);
    ck_assert_uint_eq(dim, 10);
    ck_assert_int_eq(mio_encoder_feature_dim(encoder, &dim), MIO_OK);
    ck_assert_uint_eq(dim, 32);
    ck_assert_int_eq(mio_encoder_input_shape(encoder, &channels, &height, NULL), MIO_OK);
    ck_assert_uint_eq(channels, 3);
    ck_assert_uint_eq(height, TINY_SIZE);
    ck_assert_int_eq(tiny_dataset(context, &dataset), MIO_OK);
    ck_assert_int_eq(mio_dataset_statistics(dataset, 3, expected_mean, expected_deviation), MIO_OK);
    ck_assert_int_eq(mio_encoder_get_normalization(encoder, 3, mean, deviation), MIO_OK);
    ck_assert_mem_eq(mean, expected_mean, sizeof mean);
    ck_assert_mem_eq(deviation, expected_deviation, sizeof deviation);
    mio_dataset_release(dataset);
    mio_step_report report = {.struct_size = sizeof report};
    ck_assert_msg(!mio_trainer_step(trainer, &report), "%s", mio_last_error());
    ck_assert_uint_eq(report.steps_per_epoch, TINY_COUNT / 24);
    mio_trainer_release(trainer);
    mio_recipe_release(recipe);
}
END_TEST

/* The recipe's own rows for what the encoder has too: the same choices and defaults. */
START_TEST(encoder_parameters_are_the_encoders)
{
    mio_recipe *recipe = small_recipe();
    mio_trainer *trainer = build(recipe);
    const mio_encoder *encoder = mio_trainer_encoder(trainer);
    size_t found = 0;
    for (size_t i = 0; i < mio_recipe_parameter_count(recipe); i++)
        for (size_t k = 0; k < mio_encoder_parameter_count(encoder); k++) {
            mio_parameter_info ours = {.struct_size = sizeof ours}, theirs = {.struct_size = sizeof theirs};
            ck_assert_int_eq(mio_recipe_parameter(recipe, i, &ours), MIO_OK);
            ck_assert_int_eq(mio_encoder_parameter(encoder, k, &theirs), MIO_OK);
            if (strncmp(ours.name, "encoder.", 8) || strcmp(ours.name + 8, theirs.name))
                continue;
            ck_assert_uint_eq(ours.choice_count, theirs.choice_count);
            for (size_t c = 0; c < ours.choice_count; c++)
                ck_assert_str_eq(ours.choices[c], theirs.choices[c]);
            ck_assert_double_eq(ours.default_value, theirs.default_value);
            found++;
        }
    ck_assert_uint_eq(found, 3); /* algorithm, initialization, precision */
    mio_trainer_release(trainer);
    mio_recipe_release(recipe);
}
END_TEST

START_TEST(algorithm_and_precision_reach_the_encoder)
{
    mio_recipe *recipe = small_recipe();
    mio_trainer *plain = build(recipe), *trainer = NULL;
    mio_dataset *dataset;
    double value;
    ck_assert_int_eq(mio_recipe_set_text(recipe, "encoder.algorithm", "exact"), MIO_OK);
    ck_assert_int_eq(mio_recipe_set_text(recipe, "encoder.precision", "fp64"), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "bf16"));
    ck_assert_int_eq(mio_recipe_set_text(recipe, "encoder.precision", "bf16"), MIO_OK);
    ck_assert_int_eq(tiny_dataset(context, &dataset), MIO_OK);
    const int has_bf16 = mio_encoder_set_text(mio_trainer_encoder(plain), "precision", "bf16") == MIO_OK;
    const mio_status status = mio_recipe_build(recipe, dataset, &trainer);
    if (has_bf16) {
        ck_assert_msg(!status, "%s", mio_last_error());
        ck_assert_int_eq(mio_encoder_get(mio_trainer_encoder(trainer), "precision", &value), MIO_OK);
        ck_assert_double_eq(value, 1);
        tiny_run(trainer, 2, NULL);
        mio_trainer_release(trainer);
    } else {
        ck_assert_int_eq(status, MIO_ERROR_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(mio_last_error(), "precision 'bf16' needs"));
        ck_assert_ptr_null(trainer);
    }
    ck_assert_int_eq(mio_recipe_set_text(recipe, "encoder.precision", "fp32"), MIO_OK);
    ck_assert_msg(!mio_recipe_build(recipe, dataset, &trainer), "%s", mio_last_error());
    ck_assert_int_eq(mio_encoder_get(mio_trainer_encoder(trainer), "algorithm", &value), MIO_OK);
    ck_assert_double_eq(value, 0);
    mio_trainer_release(trainer);
    mio_trainer_release(plain);
    mio_dataset_release(dataset);
    mio_recipe_release(recipe);
}
END_TEST

/* Runs the next step and returns its learning rate. */
static double next_rate(mio_trainer *trainer)
{
    mio_step_report report = {.struct_size = sizeof report};
    ck_assert_msg(!mio_trainer_step(trainer, &report), "%s", mio_last_error());
    return report.learning_rate;
}

/* The end is that of the run, in epochs of three steps. A warm-up of 100 steps that nobody asked for takes a
   quarter. */
static const struct {
    double epochs, warmup, expected;
} short_runs[] = {{3, 2, 2}, {8, -1, 6}};

START_TEST(schedule_ends_with_the_run)
{
    const double warmup = short_runs[_i].expected, total = 3 * short_runs[_i].epochs;
    mio_recipe *recipe = small_recipe();
    ck_assert_double_eq(get(recipe, "schedule.warmup"), 100);
    if (short_runs[_i].warmup >= 0)
        ck_assert_int_eq(mio_recipe_set(recipe, "schedule.warmup", short_runs[_i].warmup), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "schedule.learning_rate", 0.2), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "trainer.epochs", short_runs[_i].epochs), MIO_OK);
    mio_trainer *trainer = build(recipe);
    for (double step = 0; step < total; step++) {
        const double rate = step < warmup ? 0.2 * (step + 1) / warmup
                                          : 0.1 * (1 + cos(3.14159265358979324 * (step - warmup) / (total - warmup)));
        ck_assert_double_eq_tol(next_rate(trainer), rate, 1e-12);
    }
    mio_trainer_release(trainer);
    mio_recipe_release(recipe);
}
END_TEST

/* An end that is moved after the recipe was built moves the schedule's. */
START_TEST(schedule_follows_the_trainers_end)
{
    mio_recipe *recipe = small_recipe();
    ck_assert_int_eq(mio_recipe_set(recipe, "schedule.warmup", 2), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "trainer.epochs", 6), MIO_OK);
    mio_trainer *whole = build(recipe);
    ck_assert_int_eq(mio_recipe_set(recipe, "trainer.epochs", 3), MIO_OK);
    mio_trainer *moved = build(recipe);
    ck_assert_int_eq(mio_trainer_set(moved, "epochs", 6), MIO_OK);
    for (size_t step = 0; step < 12; step++)
        ck_assert_double_eq(next_rate(moved), next_rate(whole));
    mio_trainer_release(moved);
    mio_trainer_release(whole);
    mio_recipe_release(recipe);
}
END_TEST

/* A run of three epochs goes on to six: the cosine is then that of six. An end that was set comes from the
   checkpoint. */
START_TEST(schedule_stretches_with_a_resumed_run)
{
    static const char path[] = "/tmp/mio-recipe-stretched.mio";
    const int set = _i;
    mio_recipe *recipe = small_recipe();
    ck_assert_int_eq(mio_recipe_set(recipe, "schedule.warmup", 2), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "schedule.learning_rate", 0.2), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "trainer.epochs", 3), MIO_OK);
    mio_trainer *same = build(recipe);
    if (set)
        ck_assert_int_eq(mio_recipe_set(recipe, "schedule.total", 12), MIO_OK);
    mio_trainer *trainer = build(recipe);
    tiny_run(trainer, 9, NULL);
    ck_assert_msg(!mio_trainer_save(trainer, path), "%s", mio_last_error());
    mio_trainer_release(trainer);

    mio_recipe_release(recipe);
    recipe = small_recipe();
    ck_assert_int_eq(mio_recipe_set(recipe, "trainer.epochs", 6), MIO_OK);
    trainer = build(recipe);
    ck_assert_msg(!mio_trainer_restore(trainer, path), "%s", mio_last_error());
    const double end = set ? 12 : 18;
    for (uint64_t step = 9; step < 11; step++)
        ck_assert_double_eq_tol(next_rate(trainer),
                                0.1 * (1 + cos(3.14159265358979324 * (double)(step - 2) / (end - 2))), 1e-12);
    ck_assert_msg(!mio_trainer_restore(same, path), "%s", mio_last_error());
    ck_assert_double_eq_tol(next_rate(same), set ? 0.1 * (1 + cos(3.14159265358979324 * 0.7)) : 0, 1e-12);
    remove(path);
    mio_trainer_release(same);
    mio_trainer_release(trainer);
    mio_recipe_release(recipe);
}
END_TEST

START_TEST(one_recipe_builds_runs_of_their_own)
{
    mio_recipe *recipe = small_recipe();
    mio_trainer *trainers[2] = {build(recipe), build(recipe)};
    mio_recipe_release(recipe);
    tiny_run(trainers[0], 4, NULL);
    tiny_run(trainers[1], 4, NULL);
    ck_assert(tiny_equal(trainers[0], trainers[1]));
    mio_trainer_release(trainers[0]);
    tiny_run(trainers[1], 1, NULL);
    mio_trainer_release(trainers[1]);
}
END_TEST

START_TEST(parts_can_be_replaced)
{
    mio_recipe *recipe = small_recipe();
    ck_assert_int_eq(mio_recipe_set(recipe, "loss.l2_weight", 3), MIO_OK);
    ck_assert_int_eq(mio_recipe_choose(recipe, "loss", "mio"), MIO_OK);
    ck_assert_double_eq(get(recipe, "loss.l2_weight"), 1); /* defaults come back */
    ck_assert_int_eq(mio_recipe_choose(recipe, "loss", "nt_xent"), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "loss.l2_weight", 1), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_recipe_set(recipe, "loss.temperature", 0.2), MIO_OK);
    ck_assert_int_eq(mio_recipe_choose(recipe, "optimizer", "adamw"), MIO_OK);
    ck_assert_int_eq(mio_recipe_choose(recipe, "schedule", "constant"), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "schedule.learning_rate", 0.001), MIO_OK);
    mio_trainer *trainer = build(recipe);
    mio_step_report report = {.struct_size = sizeof report};
    ck_assert_msg(!mio_trainer_step(trainer, &report), "%s", mio_last_error());
    ck_assert_double_eq(report.learning_rate, 0.001);
    mio_trainer_release(trainer);
    mio_recipe_release(recipe);
}
END_TEST

START_TEST(grey_images_and_other_sizes)
{
    enum { COUNT = 40, SIZE = 28 };
    static uint8_t pixels[COUNT * SIZE * SIZE];
    mio_dataset *dataset;
    mio_trainer *trainer;
    size_t channels, height, width;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)golden_bits(0x1100000, i);
    ck_assert_int_eq(mio_dataset_from_memory(context, COUNT, SIZE, SIZE, 1, 0, pixels, NULL, &dataset), MIO_OK);
    mio_recipe *recipe = new_recipe("mio-tiny");
    ck_assert_int_eq(mio_recipe_set(recipe, "encoder.height", 16), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "encoder.base_width", 4), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "loader.batch_size", 8), MIO_OK);
    ck_assert_msg(!mio_recipe_build(recipe, dataset, &trainer), "%s", mio_last_error());
    ck_assert_int_eq(mio_encoder_input_shape(mio_trainer_encoder(trainer), &channels, &height, &width), MIO_OK);
    ck_assert_uint_eq(channels, 1);
    ck_assert_uint_eq(height, 16);
    ck_assert_uint_eq(width, 16);
    tiny_run(trainer, 2, NULL);
    mio_trainer_release(trainer);
    mio_recipe_release(recipe);
    mio_dataset_release(dataset);
}
END_TEST

/* Four channels have no colour to jitter; what the caller sets comes before the preset is judged. */
START_TEST(channels_without_colour)
{
    enum { COUNT = 32, SIZE = 16, CHANNELS = 4 };
    static uint8_t pixels[COUNT * SIZE * SIZE * CHANNELS];
    mio_dataset *dataset;
    mio_trainer *trainer;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)golden_bits(0x1100001, i);
    ck_assert_int_eq(mio_dataset_from_memory(context, COUNT, SIZE, SIZE, CHANNELS, 0, pixels, NULL, &dataset), MIO_OK);
    mio_recipe *recipe = small_recipe();
    ck_assert_int_eq(mio_recipe_set(recipe, "loader.batch_size", 8), MIO_OK);
    ck_assert_int_eq(mio_recipe_build(recipe, dataset, &trainer), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "jitter_probability"));
    ck_assert_int_eq(mio_recipe_set(recipe, "augment.jitter_probability", 0), MIO_OK);
    ck_assert_int_eq(mio_recipe_set(recipe, "augment.grey_probability", 0), MIO_OK);
    ck_assert_msg(!mio_recipe_build(recipe, dataset, &trainer), "%s", mio_last_error());
    tiny_run(trainer, 2, NULL);
    mio_trainer_release(trainer);
    mio_recipe_release(recipe);
    mio_dataset_release(dataset);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recipe");
    TCase *tests = tcase_create("recipe");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, names_are_sorted_and_explained);
    tcase_add_test(tests, documented_choices);
    tcase_add_test(tests, schedule_follows_the_trainers_end);
    tcase_add_test(tests, documented_learning_rates);
    tcase_add_test(tests, parameters_are_the_parts);
    tcase_add_test(tests, refusals_name_the_culprit);
    tcase_add_test(tests, build_follows_the_parameters);
    tcase_add_test(tests, encoder_parameters_are_the_encoders);
    tcase_add_test(tests, algorithm_and_precision_reach_the_encoder);
    tcase_add_loop_test(tests, schedule_ends_with_the_run, 0, 2);
    tcase_add_loop_test(tests, schedule_stretches_with_a_resumed_run, 0, 2);
    tcase_add_test(tests, one_recipe_builds_runs_of_their_own);
    tcase_add_test(tests, parts_can_be_replaced);
    tcase_add_test(tests, grey_images_and_other_sizes);
    tcase_add_test(tests, channels_without_colour);
    suite_add_tcase(suite, tests);
    return tiny_main(suite);
}
