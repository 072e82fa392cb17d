#include "core/context.h"
#include "data/augment.h"
#include "golden/golden.h"
#include "support/allocator.h"

#include <check.h>
#include <stdio.h>

static mio_context *context;

static void set_up(void)
{
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
}

static void tear_down(void)
{
    mio_context_release(context);
}

static mio_augment *make(const char *preset, size_t height, size_t width, size_t channels)
{
    mio_augment *augment = NULL;
    ck_assert_msg(mio_augment_create(context, preset, height, width, channels, &augment) == MIO_OK, "%s",
                  mio_last_error());
    return augment;
}

static void set(mio_augment *augment, const char *parameter, double value)
{
    ck_assert_msg(mio_augment_set(augment, parameter, value) == MIO_OK, "%s", mio_last_error());
}

static double get(const mio_augment *augment, const char *parameter)
{
    double value = -1;
    ck_assert_int_eq(mio_augment_get(augment, parameter, &value), MIO_OK);
    return value;
}

/* ---- operations against torchvision ---- */

enum { BLUR_LIMIT = 9, ARGUMENTS = 10 };

typedef struct golden_case {
    char operation[32];
    size_t number, channels, height, width;
    double arguments[ARGUMENTS];
    size_t count;
} golden_case;

/* "operation:number:channels:height:width:arguments". */
static golden_case parse_case(const char *name)
{
    golden_case parsed = {0};
    const char *at = strchr(name, ':');
    memcpy(parsed.operation, name, (size_t)(at - name));
    size_t *const sizes[] = {&parsed.number, &parsed.channels, &parsed.height, &parsed.width};
    for (size_t i = 0; i < 4; i++)
        *sizes[i] = strtoul(at + 1, (char **)&at, 10);
    while (*at == ':' && parsed.count < ARGUMENTS)
        parsed.arguments[parsed.count++] = strtod(at + 1, (char **)&at);
    return parsed;
}

static int is(const golden_case *given, const char *operation)
{
    return !strcmp(given->operation, operation);
}

/* The size of the operation's result. */
static void result_size(const golden_case *given, size_t *height, size_t *width)
{
    *height = given->height;
    *width = given->width;
    if (is(given, "resized_crop")) {
        *height = (size_t)given->arguments[4];
        *width = (size_t)given->arguments[5];
    } else if (is(given, "resize_antialias")) {
        *height = (size_t)given->arguments[0];
        *width = (size_t)given->arguments[1];
    }
}

static void run_case(const golden_case *given, mio__picture *picture, mio__pixels source)
{
    const double *a = given->arguments;
    if (is(given, "resized_crop")) {
        mio__picture_crop(picture, source, (size_t)a[0], (size_t)a[1], (size_t)a[2], (size_t)a[3], 0);
        return;
    }
    if (is(given, "resize_antialias")) {
        mio__picture_crop_antialias(picture, source, 0, 0, source.height, source.width, 0);
        return;
    }
    if (is(given, "pipeline")) {
        mio__picture_crop(picture, source, (size_t)a[0], (size_t)a[1], (size_t)a[2], (size_t)a[3], (int)a[5]);
        mio__picture_hue(picture, (float)a[9]);
        mio__picture_contrast(picture, (float)a[7]);
        mio__picture_brightness(picture, (float)a[6]);
        mio__picture_saturation(picture, (float)a[8]);
        mio__picture_blur(picture, 3, 0.7);
        mio__picture_solarize(picture, 0.5f);
        return;
    }
    mio__picture_crop(picture, source, 0, 0, source.height, source.width, is(given, "hflip"));
    if (is(given, "brightness"))
        mio__picture_brightness(picture, (float)a[0]);
    else if (is(given, "contrast"))
        mio__picture_contrast(picture, (float)a[0]);
    else if (is(given, "saturation"))
        mio__picture_saturation(picture, (float)a[0]);
    else if (is(given, "hue"))
        mio__picture_hue(picture, (float)a[0]);
    else if (is(given, "gray"))
        mio__picture_grey(picture);
    else if (is(given, "gaussian_blur"))
        mio__picture_blur(picture, (size_t)a[0], a[1]);
    else if (is(given, "solarize"))
        mio__picture_solarize(picture, (float)a[0]);
    else
        ck_assert_msg(is(given, "hflip"), "no operation %s", given->operation);
}

START_TEST(operations_equal_torchvision)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/augment.txt.gz", getenv("MIO_GOLDEN") ? getenv("MIO_GOLDEN") : ".");
    golden_file file;
    ck_assert_msg(golden_open(&file, path) == 0, "cannot read %s", path);
    ck_assert_uint_gt(file.count, 60);
    for (size_t i = 0; i < file.count; i++) {
        const golden_record *record = &file.records[i];
        const golden_case given = parse_case(record->name);
        uint8_t bytes[32 * 32 * 3];
        golden_picture(given.number, given.channels, given.height, given.width, bytes);
        size_t height, width;
        result_size(&given, &height, &width);
        mio__picture picture;
        const size_t size =
            mio__picture_lay_out(&picture, given.channels, height, width, given.width, BLUR_LIMIT, NULL);
        void *scratch = mio__alloc(context, size);
        mio__picture_lay_out(&picture, given.channels, height, width, given.width, BLUR_LIMIT, scratch);
        run_case(&given, &picture, (mio__pixels){bytes, given.height, given.width, given.width * given.channels});
        ck_assert_uint_eq(record->count, given.channels * height * width);
        for (size_t c = 0; c < given.channels; c++)
            for (size_t p = 0; p < height * width; p++) {
                const double got = picture.planes[c * picture.stride + p];
                const double wanted = record->values[c * height * width + p];
                ck_assert_msg(fabs(got - wanted) <= 2e-6, "%s, channel %zu, pixel %zu: %.9g instead of %.9g",
                              record->name, c, p, got, wanted);
            }
        mio__free(context, scratch);
    }
    golden_close(&file);
}
END_TEST

START_TEST(flip_mirrors_the_antialiased_crop_too)
{
    uint8_t bytes[11 * 13 * 3];
    golden_picture(20, 3, 11, 13, bytes);
    mio__picture picture;
    void *scratch = mio__alloc(context, mio__picture_lay_out(&picture, 3, 4, 5, 13, 1, NULL));
    mio__picture_lay_out(&picture, 3, 4, 5, 13, 1, scratch);
    const mio__pixels source = {bytes, 11, 13, 39};
    float straight[3][20];
    mio__picture_crop_antialias(&picture, source, 1, 2, 9, 10, 0);
    for (size_t c = 0; c < 3; c++)
        memcpy(straight[c], picture.planes + c * picture.stride, sizeof straight[c]);
    mio__picture_crop_antialias(&picture, source, 1, 2, 9, 10, 1);
    for (size_t c = 0; c < 3; c++)
        for (size_t y = 0; y < 4; y++)
            for (size_t x = 0; x < 5; x++)
                ck_assert_float_eq(picture.planes[c * picture.stride + y * 5 + x], straight[c][y * 5 + 4 - x]);
    mio__free(context, scratch);
}
END_TEST

START_TEST(blur_wider_than_the_picture_keeps_constants)
{
    const uint8_t bytes[3 * 2] = {102, 102, 102, 102, 102, 102};
    mio__picture picture;
    void *scratch = mio__alloc(context, mio__picture_lay_out(&picture, 1, 3, 2, 2, 41, NULL));
    mio__picture_lay_out(&picture, 1, 3, 2, 2, 41, scratch);
    mio__picture_crop(&picture, (mio__pixels){bytes, 3, 2, 2}, 0, 0, 3, 2, 0);
    mio__picture_blur(&picture, 41, 9);
    for (size_t i = 0; i < 6; i++)
        ck_assert_float_eq_tol(picture.planes[i], 0.4, 1e-6);
    mio__free(context, scratch);
}
END_TEST

/* ---- what is drawn ---- */

enum { DRAWS = 20000 };

/* Within five standard deviations of a binomial. */
static void check_rate(const char *what, size_t happened, double probability)
{
    const double spread = 5 * sqrt(DRAWS * probability * (1 - probability));
    ck_assert_msg(fabs((double)happened - DRAWS * probability) <= spread, "%s: %zu of %d, expected %g -+ %g", what,
                  happened, DRAWS, DRAWS * probability, spread);
}

START_TEST(rates_are_as_asked)
{
    mio_augment *augment = make("mio-paper", 64, 64, 3);
    size_t flips = 0, jitters = 0, greys = 0, blurs = 0, solarizations = 0, first[MIO__JITTERS] = {0}, together = 0;
    double sigma = 0, brightness = 0, hue = 0;
    for (uint64_t image = 0; image < DRAWS; image++) {
        mio__view view;
        mio__augment_draw(augment, 7, 3, image, 1, 96, 96, &view);
        flips += (size_t)view.flip;
        jitters += (size_t)view.jitter;
        greys += (size_t)view.grey;
        blurs += (size_t)view.blur;
        solarizations += (size_t)view.solarize;
        together += (size_t)(view.flip && view.blur);
        first[view.order[0]]++;
        sigma += view.sigma;
        brightness += view.factor[MIO__JITTER_BRIGHTNESS];
        hue += view.factor[MIO__JITTER_HUE];
        ck_assert(view.sigma >= 0.1 && view.sigma <= 2);
        ck_assert(view.factor[MIO__JITTER_CONTRAST] >= 0.6f && view.factor[MIO__JITTER_CONTRAST] <= 1.4f);
        ck_assert(fabsf(view.factor[MIO__JITTER_HUE]) <= 0.1f);
    }
    check_rate("flip", flips, 0.5);
    check_rate("jitter", jitters, 0.8);
    check_rate("grey", greys, 0.2);
    check_rate("blur", blurs, 0.5);
    check_rate("solarize", solarizations, 0.2);
    check_rate("flip and blur", together, 0.25);
    for (size_t i = 0; i < MIO__JITTERS; i++)
        check_rate("first jitter", first[i], 0.25);
    /* Means of uniform numbers: within five standard deviations. */
    ck_assert_double_eq_tol(sigma / DRAWS, 1.05, 5 * 1.9 / sqrt(12.0 * DRAWS));
    ck_assert_double_eq_tol(brightness / DRAWS, 1, 5 * 0.8 / sqrt(12.0 * DRAWS));
    ck_assert_double_eq_tol(hue / DRAWS, 0, 5 * 0.2 / sqrt(12.0 * DRAWS));
    mio_augment_release(augment);
}
END_TEST

START_TEST(crops_are_spread_as_asked)
{
    mio_augment *augment = make("mio-paper", 32, 32, 3);
    set(augment, "crop_scale_min", 0.2);
    set(augment, "crop_scale_max", 0.5); /* every try fits: both marginals are exact */
    double area = 0, ratio = 0, top = 0;
    size_t small = 0, wide = 0;
    for (uint64_t image = 0; image < DRAWS; image++) {
        mio__view view;
        mio__augment_draw(augment, 1, 0, image, 0, 1000, 1200, &view);
        ck_assert(view.height >= 1 && view.top + view.height <= 1000);
        ck_assert(view.width >= 1 && view.left + view.width <= 1200);
        const double share = (double)(view.height * view.width) / (1000.0 * 1200);
        const double log_ratio = log((double)view.width / (double)view.height);
        ck_assert(share > 0.198 && share < 0.502 && fabs(log_ratio) < log(4.0 / 3) + 0.01);
        area += share;
        ratio += log_ratio;
        small += share < 0.275;
        wide += log_ratio > 0;
        top += (double)view.top / (double)(1000 - view.height);
    }
    ck_assert_double_eq_tol(area / DRAWS, 0.35, 5 * 0.3 / sqrt(12.0 * DRAWS));
    ck_assert_double_eq_tol(ratio / DRAWS, 0, 5 * 2 * log(4.0 / 3) / sqrt(12.0 * DRAWS));
    ck_assert_double_eq_tol(top / DRAWS, 0.5, 5 / sqrt(12.0 * DRAWS));
    check_rate("small crops", small, 0.25);
    check_rate("wide crops", wide, 0.5);
    mio_augment_release(augment);
}
END_TEST

START_TEST(impossible_crops_take_the_middle)
{
    mio_augment *augment = make("mio-paper", 32, 32, 3);
    const struct {
        size_t height, width, crop_height, crop_width;
    } cases[] = {{10, 1000, 10, 13}, {1000, 10, 13, 10}, {1, 50, 1, 1}, {50, 1, 1, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mio__view view;
        mio__augment_draw(augment, 1, 2, 3, 0, cases[i].height, cases[i].width, &view);
        ck_assert_uint_eq(view.height, cases[i].crop_height);
        ck_assert_uint_eq(view.width, cases[i].crop_width);
        ck_assert_uint_eq(view.top, (cases[i].height - view.height) / 2);
        ck_assert_uint_eq(view.left, (cases[i].width - view.width) / 2);
    }
    /* A least ratio so large that the height rounds to 0 keeps one row. */
    set(augment, "crop_ratio_max", 1000);
    set(augment, "crop_ratio_min", 999);
    mio__view view;
    mio__augment_draw(augment, 1, 2, 3, 0, 5, 4, &view);
    ck_assert_uint_eq(view.height, 1);
    ck_assert_uint_eq(view.width, 4);
    mio_augment_release(augment);
}
END_TEST

START_TEST(streams_do_not_touch_each_other)
{
    mio_augment *all = make("mio-paper", 64, 64, 3), *some = make("mio-paper", 64, 64, 3);
    set(some, "flip_probability", 0);
    set(some, "jitter_probability", 0);
    set(some, "solarize_probability", 0);
    set(some, "hue", 0);
    for (uint64_t image = 0; image < 100; image++) {
        mio__view a, b;
        mio__augment_draw(all, 5, 1, image, 0, 80, 90, &a);
        mio__augment_draw(some, 5, 1, image, 0, 80, 90, &b);
        ck_assert_uint_eq(a.top, b.top);
        ck_assert_uint_eq(a.width, b.width);
        ck_assert_int_eq(a.grey, b.grey);
        ck_assert_int_eq(a.blur, b.blur);
        ck_assert_double_eq(a.sigma, b.sigma);
        ck_assert_float_eq(a.factor[0], b.factor[0]);
        ck_assert_float_eq(a.factor[2], b.factor[2]);
        ck_assert_mem_eq(a.order, b.order, sizeof a.order);
    }
    mio_augment_release(all);
    mio_augment_release(some);
}
END_TEST

START_TEST(every_part_of_the_key_counts)
{
    mio_augment *augment = make("mio-paper", 16, 16, 3);
    uint8_t bytes[20 * 20 * 3];
    golden_picture(1, 3, 20, 20, bytes);
    float views[5][16 * 16 * 3], again[16 * 16 * 3];
    const uint64_t keys[5][4] = {{1, 0, 0, 0}, {2, 0, 0, 0}, {1, 1, 0, 0}, {1, 0, 1, 0}, {1, 0, 0, 1}};
    for (size_t i = 0; i < 5; i++) {
        ck_assert_int_eq(
            mio_augment_apply(augment, keys[i][0], keys[i][1], keys[i][2], keys[i][3], 20, 20, 0, bytes, views[i]),
            MIO_OK);
        for (size_t j = 0; j < i; j++)
            ck_assert_mem_ne(views[i], views[j], sizeof views[i]);
    }
    ck_assert_int_eq(mio_augment_apply(augment, 1, 0, 0, 1, 20, 20, 0, bytes, again), MIO_OK);
    ck_assert_mem_eq(again, views[4], sizeof again);
    mio_augment_release(augment);
}
END_TEST

/* ---- the public pipeline ---- */

START_TEST(none_only_resizes_and_normalises)
{
    mio_augment *augment = make("none", 5, 4, 3);
    const double mean[3] = {0.1, 0.2, 0.3}, deviation[3] = {0.5, 0.25, 2};
    ck_assert_int_eq(mio_augment_set_normalization(augment, 3, mean, deviation), MIO_OK);
    uint8_t bytes[5 * 32];
    memset(bytes, 255, sizeof bytes);
    float view[5 * 4 * 3 + 1] = {[60] = -7};
    for (size_t y = 0; y < 5; y++)
        golden_picture(30 + y, 3, 1, 4, bytes + y * 32);
    ck_assert_int_eq(mio_augment_apply(augment, 9, 8, 7, 6, 5, 4, 32, bytes, view), MIO_OK);
    for (size_t y = 0; y < 5; y++)
        for (size_t i = 0; i < 12; i++)
            ck_assert_double_eq_tol(view[y * 12 + i], (bytes[y * 32 + i] / 255.0 - mean[i % 3]) / deviation[i % 3],
                                    1e-6);
    ck_assert_float_eq(view[60], -7);
    mio_augment_release(augment);
}
END_TEST

START_TEST(every_size_works)
{
    /* One-pixel images and views, huge ratios, every preset and channel count: finite, in range, nothing beyond. */
    const size_t sources[][2] = {{1, 1}, {1, 700}, {700, 1}, {2, 3}, {33, 65}};
    const size_t targets[][2] = {{1, 1}, {1, 40}, {40, 1}, {3, 2}, {33, 34}};
    static uint8_t bytes[33 * 65 * 4];
    golden_picture(1, 3, 33, 65, bytes);
    static float view[40 * 40 * 4 + 1];
    for (size_t p = 0; mio_augment_name_at(p); p++)
        for (size_t channels = 1; channels <= 3; channels += 2)
            for (size_t t = 0; t < 5; t++) {
                mio_augment *augment = make(mio_augment_name_at(p), targets[t][0], targets[t][1], channels);
                const size_t count = targets[t][0] * targets[t][1] * channels;
                set(augment, "blur_probability", 1);
                set(augment, "blur_kernel", 6);
                for (size_t s = 0; s < 5; s++)
                    for (int antialias = 0; antialias < 2; antialias++) {
                        set(augment, "antialias", antialias);
                        view[count] = 99;
                        ck_assert_int_eq(
                            mio_augment_apply(augment, 1, 2, s, 4, sources[s][0], sources[s][1], 0, bytes, view),
                            MIO_OK);
                        for (size_t i = 0; i < count; i++)
                            ck_assert_msg(view[i] >= 0 && view[i] <= 1.00001f, "%s: %g", mio_augment_name_at(p),
                                          (double)view[i]);
                        ck_assert_float_eq(view[count], 99);
                    }
                mio_augment_release(augment);
            }
}
END_TEST

START_TEST(many_channels_pass_without_colour)
{
    mio_augment *augment = make("none", 6, 6, 5);
    set(augment, "flip_probability", 1);
    uint8_t bytes[6 * 6 * 5];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    float view[6 * 6 * 5];
    ck_assert_int_eq(mio_augment_apply(augment, 1, 0, 0, 0, 6, 6, 0, bytes, view), MIO_OK);
    for (size_t y = 0; y < 6; y++)
        for (size_t x = 0; x < 6; x++)
            for (size_t c = 0; c < 5; c++)
                ck_assert_double_eq_tol(view[(y * 6 + x) * 5 + c], bytes[(y * 6 + 5 - x) * 5 + c] / 255.0, 1e-6);
    set(augment, "jitter_probability", 1);
    set(augment, "contrast", 1);
    ck_assert_int_eq(mio_augment_apply(augment, 1, 0, 0, 0, 6, 6, 0, bytes, view), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "jitter_probability"));
    mio_augment_release(augment);
    augment = make("mio-paper", 6, 6, 5); /* refused where it is used, not before its colours can be taken out */
    ck_assert_int_eq(mio_augment_apply(augment, 1, 0, 0, 0, 6, 6, 0, bytes, view), MIO_ERROR_ARGUMENT);
    set(augment, "jitter_probability", 0);
    set(augment, "grey_probability", 0);
    ck_assert_int_eq(mio_augment_apply(augment, 1, 0, 0, 0, 6, 6, 0, bytes, view), MIO_OK);
    mio_augment_release(augment);
}
END_TEST

START_TEST(wide_photos_are_reduced)
{
    /* A wide gradient keeps its slope through both resizes. */
    enum { WIDTH = 5000 };
    static uint8_t bytes[2 * WIDTH * 3];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i / 3 % WIDTH * 255 / (WIDTH - 1));
    for (int antialias = 0; antialias < 2; antialias++) {
        mio_augment *augment = make("none", 2, 10, 3);
        set(augment, "antialias", antialias);
        float view[2 * 10 * 3];
        ck_assert_int_eq(mio_augment_apply(augment, 1, 0, 0, 0, 2, WIDTH, 0, bytes, view), MIO_OK);
        for (size_t i = 0; i < 60; i++) {
            const double x = (double)(i / 3 % 10);
            ck_assert_double_eq_tol(view[i], (x + 0.5) / 10, 0.02);
        }
        mio_augment_release(augment);
    }
}
END_TEST

/* ---- presets and parameters ---- */

START_TEST(presets_are_what_they_say)
{
    size_t count = 0;
    for (; mio_augment_name_at(count); count++) {
        mio_augment *augment = make(mio_augment_name_at(count), 32, 32, 1);
        ck_assert_uint_eq(mio_augment_parameter_count(augment), MIO__AUGMENT_PARAMETERS);
        for (size_t i = 0; i < MIO__AUGMENT_PARAMETERS; i++) {
            mio_parameter_info info = {.struct_size = sizeof info};
            ck_assert_int_eq(mio_augment_parameter(augment, i, &info), MIO_OK);
            ck_assert_double_eq(info.default_value, get(augment, info.name));
            ck_assert(info.default_value >= info.minimum && info.default_value <= info.maximum);
            ck_assert_int_eq(mio_augment_set(augment, info.name, info.default_value), MIO_OK);
            ck_assert_int_eq(mio_augment_set(augment, info.name, info.minimum - 1), MIO_ERROR_ARGUMENT);
            ck_assert_int_eq(mio_augment_set(augment, info.name, info.maximum + 1), MIO_ERROR_ARGUMENT);
            ck_assert_int_eq(mio_augment_set(augment, info.name, NAN), MIO_ERROR_ARGUMENT);
        }
        mio_augment_release(augment);
    }
    ck_assert_uint_ge(count, 6);
    mio_augment *small = make("mio-paper", 32, 32, 3), *large = make("mio-paper", 96, 96, 3);
    ck_assert_double_eq(get(small, "blur_probability"), 0);
    ck_assert_double_eq(get(small, "solarize_probability"), 0);
    ck_assert_double_eq(get(large, "blur_probability"), 0.5);
    ck_assert_double_eq(get(large, "solarize_probability"), 0.2);
    ck_assert_double_eq(get(large, "crop_scale_min"), 0.8);
    mio_augment_release(small);
    mio_augment_release(large);
    mio_augment *reference = make("mio-reference", 32, 32, 3);
    ck_assert_double_eq(get(reference, "jitter_order"), 1);
    ck_assert_double_eq(get(reference, "hue"), 0);
    ck_assert_double_eq(get(reference, "crop_scale_min"), 0.2);
    ck_assert_int_eq(mio_augment_set_text(reference, "jitter_order", "random"), MIO_OK);
    mio_augment_release(reference);
}
END_TEST

START_TEST(arguments_are_refused)
{
    mio_augment *augment = NULL;
    ck_assert_int_eq(mio_augment_create(NULL, "none", 1, 1, 1, &augment), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_create(context, "none", 1, 1, 1, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_create(context, "nonne", 1, 1, 1, &augment), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "simclr"));
    ck_assert_int_eq(mio_augment_create(context, NULL, 1, 1, 1, &augment), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_create(context, "none", 0, 1, 1, &augment), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_create(context, "none", 1, 1, 0, &augment), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_create(context, "none", 1, SIZE_MAX, 3, &augment), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_null(augment);
    augment = make("none", 2, 2, 3);
    const double good[3] = {1, 1, 1}, zero[3] = {1, 0, 1}, bad[3] = {1, 1, INFINITY};
    ck_assert_int_eq(mio_augment_set_normalization(augment, 1, good, good), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_set_normalization(augment, 3, good, zero), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_set_normalization(augment, 3, bad, good), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_set_normalization(NULL, 3, good, good), MIO_ERROR_ARGUMENT);
    const uint8_t bytes[12] = {0};
    float view[12] = {[0] = 5};
    ck_assert_int_eq(mio_augment_apply(NULL, 0, 0, 0, 0, 2, 2, 0, bytes, view), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_apply(augment, 0, 0, 0, 0, 2, 2, 0, NULL, view), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_apply(augment, 0, 0, 0, 0, 2, 2, 0, bytes, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_apply(augment, 0, 0, 0, 0, 0, 2, 0, bytes, view), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_apply(augment, 0, 0, 0, 0, 2, 2, 5, bytes, view), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_apply(augment, 0, UINT64_MAX, 0, 0, 2, 2, 0, bytes, view), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_augment_apply(augment, 0, 0, 0, 65536, 2, 2, 0, bytes, view), MIO_ERROR_ARGUMENT);
    set(augment, "crop_scale_min", 0.9);
    set(augment, "crop_scale_max", 0.8);
    ck_assert_int_eq(mio_augment_apply(augment, 0, 0, 0, 0, 2, 2, 0, bytes, view), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "crop_scale_max"));
    ck_assert_float_eq(view[0], 5);
    mio_augment_release(augment);
    mio_augment_release(NULL);
    ck_assert_ptr_null(mio_augment_retain(NULL));
}
END_TEST

START_TEST(memory_runs_out_cleanly)
{
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *counted = test_allocator_context(&allocator, 1);
    ck_assert_ptr_nonnull(counted);
    const size_t blocks = allocator.blocks;
    const uint8_t bytes[12] = {0};
    float view[12];
    mio_status status = MIO_ERROR_MEMORY;
    for (size_t n = 1; status; n++) {
        ck_assert_uint_lt(n, 20);
        mio_augment *augment = NULL;
        test_allocator_fail_at(&allocator, n);
        status = mio_augment_create(counted, "mio-paper", 2, 2, 3, &augment);
        if (!status)
            status = mio_augment_apply(augment, 0, 0, 0, 0, 2, 2, 0, bytes, view);
        ck_assert(status == MIO_OK || status == MIO_ERROR_MEMORY);
        mio_augment_release(augment);
        ck_assert_uint_eq(allocator.blocks, blocks);
    }
    mio_context_release(counted);
    ck_assert_uint_eq(allocator.blocks, 0);
    ck_assert_uint_eq(allocator.mistakes, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("augment");
    TCase *tests = tcase_create("augment");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, operations_equal_torchvision);
    tcase_add_test(tests, flip_mirrors_the_antialiased_crop_too);
    tcase_add_test(tests, blur_wider_than_the_picture_keeps_constants);
    tcase_add_test(tests, rates_are_as_asked);
    tcase_add_test(tests, crops_are_spread_as_asked);
    tcase_add_test(tests, impossible_crops_take_the_middle);
    tcase_add_test(tests, streams_do_not_touch_each_other);
    tcase_add_test(tests, every_part_of_the_key_counts);
    tcase_add_test(tests, none_only_resizes_and_normalises);
    tcase_add_test(tests, every_size_works);
    tcase_add_test(tests, many_channels_pass_without_colour);
    tcase_add_test(tests, wide_photos_are_reduced);
    tcase_add_test(tests, presets_are_what_they_say);
    tcase_add_test(tests, arguments_are_refused);
    tcase_add_test(tests, memory_runs_out_cleanly);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
