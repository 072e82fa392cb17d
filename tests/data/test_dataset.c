#include "support/allocator.h"

#include <check.h>
#include <math.h>
#include <mio/mio.h>
#include <stdlib.h>
#include <string.h>

static mio_context *context;

static void start(void)
{
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
}

static void stop(void)
{
    mio_context_release(context);
}

static uint8_t pixel(size_t i)
{
    return (uint8_t)(i * 97 + i / 7);
}

/* 12 images of 3x4x3 with rows 20 bytes apart; labels 0 1 2 0 1 2 ... */
enum { COUNT = 12, HEIGHT = 3, WIDTH = 4, CHANNELS = 3, STRIDE = 20, ROW = WIDTH * CHANNELS };
static uint8_t pixels[COUNT * HEIGHT * STRIDE];
static int32_t labels[COUNT];

static mio_dataset *make(int labelled)
{
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = pixel(i);
    for (size_t i = 0; i < COUNT; i++)
        labels[i] = (int32_t)(i % 3);
    mio_dataset *dataset = NULL;
    ck_assert_int_eq(mio_dataset_from_memory(context, COUNT, HEIGHT, WIDTH, CHANNELS, STRIDE, pixels,
                                             labelled ? labels : NULL, &dataset),
                     MIO_OK);
    return dataset;
}

START_TEST(memory_shows_the_callers_pixels)
{
    mio_dataset *dataset = make(1);
    ck_assert_uint_eq(mio_dataset_count(dataset), COUNT);
    ck_assert_uint_eq(mio_dataset_channels(dataset), CHANNELS);
    ck_assert_uint_eq(mio_dataset_class_count(dataset), 3);
    ck_assert_ptr_null(mio_dataset_class_name(dataset, 0));
    size_t height = 0, width = 0;
    ck_assert_int_eq(mio_dataset_image_size(dataset, 11, &height, &width), MIO_OK);
    ck_assert_uint_eq(height, HEIGHT);
    ck_assert_uint_eq(width, WIDTH);
    ck_assert_int_eq(mio_dataset_image_size(dataset, 11, NULL, NULL), MIO_OK);
    uint8_t image[HEIGHT * ROW];
    for (size_t i = 0; i < COUNT; i++) {
        int32_t label = -2;
        ck_assert_int_eq(mio_dataset_image(dataset, i, sizeof image, image), MIO_OK);
        for (size_t y = 0; y < HEIGHT; y++)
            ck_assert_mem_eq(image + y * ROW, pixels + (i * HEIGHT + y) * STRIDE, ROW);
        ck_assert_int_eq(mio_dataset_label(dataset, i, &label), MIO_OK);
        ck_assert_int_eq(label, (int)(i % 3));
    }
    mio_dataset_release(dataset);
}
END_TEST

START_TEST(arguments_are_refused)
{
    mio_dataset *dataset = make(1), *other = NULL;
    uint8_t image[HEIGHT * ROW];
    int32_t label, negative[2] = {0, -1};
    size_t index = COUNT, height;
    double statistics[3];
    const struct {
        size_t count, height, width, channels, stride;
    } shapes[] = {{0, 1, 1, 1, 0},
                  {1, 0, 1, 1, 0},
                  {1, 1, 0, 1, 0},
                  {1, 1, 1, 0, 0},
                  {1, 1, 4, 3, 11},
                  {1, SIZE_MAX / 2, 3, 1, 0},
                  {SIZE_MAX / 4, 64, 64, 3, 0},
                  {1, 1 << 20, 1 << 20, 1, 0},
                  {4294967295u, 1 << 14, 1, 1, SIZE_MAX / 2}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        ck_assert_int_eq(mio_dataset_from_memory(context, shapes[i].count, shapes[i].height, shapes[i].width,
                                                 shapes[i].channels, shapes[i].stride, pixels, NULL, &other),
                         MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_from_memory(context, 2, 1, 1, 1, 0, pixels, negative, &other), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "label 1 is -1"));
    ck_assert_int_eq(mio_dataset_from_memory(NULL, 1, 1, 1, 1, 0, pixels, NULL, &other), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_from_memory(context, 1, 1, 1, 1, 0, NULL, NULL, &other), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_from_memory(context, 1, 1, 1, 1, 0, pixels, NULL, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_image(dataset, COUNT, sizeof image, image), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_image(dataset, 0, sizeof image - 1, image), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_image(dataset, 0, sizeof image, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_image_size(NULL, 0, &height, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_label(dataset, COUNT, &label), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_label(dataset, 0, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_subset(dataset, 1, &index, &other), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_subset(dataset, 0, &index, &other), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_statistics(dataset, 1, statistics, statistics), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_open(context, "tiff", ".", NULL, &other), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "idx"));
    ck_assert_int_eq(mio_dataset_open(context, "idx", NULL, "train", &other), MIO_ERROR_ARGUMENT);
    const double fractions[] = {0, 1, -0.5, NAN};
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(mio_dataset_split(dataset, fractions[i], 0, &other, &other), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_null(other);
    ck_assert_uint_eq(mio_dataset_count(NULL), 0);
    ck_assert_uint_eq(mio_dataset_channels(NULL), 0);
    ck_assert_uint_eq(mio_dataset_class_count(NULL), 0);
    ck_assert_ptr_null(mio_dataset_class_name(NULL, 0));
    mio_dataset_release(NULL);
    mio_dataset_release(dataset);
}
END_TEST

START_TEST(formats_are_listed)
{
    const char *const names[] = {"cifar10", "cifar100", "flat", "folder", "idx", "stl10"};
    for (size_t i = 0; i < 6; i++)
        ck_assert_str_eq(mio_dataset_format_at(i), names[i]);
    ck_assert_ptr_null(mio_dataset_format_at(6));
}
END_TEST

static int32_t read_image(void *user, size_t index, uint8_t *image, int32_t *label)
{
    const size_t *limit = user;
    for (size_t i = 0; i < 6; i++)
        image[i] = pixel(index * 6 + i);
    if (index % 2)
        *label = (int32_t)index;
    return index < *limit ? 0 : 42;
}

START_TEST(callback_is_read_once)
{
    size_t limit = 100;
    const mio_image_source source = {sizeof source, &limit, read_image};
    mio_dataset *dataset = NULL;
    for (double threads = 1; threads < 6; threads += 2) {
        ck_assert_int_eq(mio_context_set(context, "threads", threads), MIO_OK);
        ck_assert_int_eq(mio_dataset_from_callback(context, 100, 2, 3, 1, &source, &dataset), MIO_OK);
        ck_assert_uint_eq(mio_dataset_class_count(dataset), 100);
        for (size_t i = 0; i < 100; i++) {
            uint8_t image[6];
            int32_t label;
            ck_assert_int_eq(mio_dataset_image(dataset, i, 6, image), MIO_OK);
            ck_assert_int_eq(mio_dataset_label(dataset, i, &label), MIO_OK);
            ck_assert_int_eq(label, i % 2 ? (int)i : -1);
            for (size_t k = 0; k < 6; k++)
                ck_assert_uint_eq(image[k], pixel(i * 6 + k));
        }
        mio_dataset_release(dataset);
    }
    limit = 57;
    dataset = NULL;
    ck_assert_int_eq(mio_dataset_from_callback(context, 100, 2, 3, 1, &source, &dataset), MIO_ERROR_IO);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "42 for image 57"));
    const mio_image_source short_struct = {sizeof source - 1, &limit, read_image};
    ck_assert_int_eq(mio_dataset_from_callback(context, 1, 2, 3, 1, &short_struct, &dataset), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_from_callback(context, 0, 2, 3, 1, &source, &dataset), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_null(dataset);
}
END_TEST

START_TEST(subset_shares_and_keeps_alive)
{
    mio_dataset *dataset = make(1), *half = NULL, *part = NULL;
    const size_t even[] = {10, 8, 6, 4, 2, 0, 0}, ends[] = {6, 1};
    ck_assert_int_eq(mio_dataset_subset(dataset, 7, even, &half), MIO_OK);
    ck_assert_int_eq(mio_dataset_subset(half, 2, ends, &part), MIO_OK);
    mio_dataset_release(dataset);
    ck_assert_uint_eq(mio_dataset_count(half), 7);
    mio_dataset_release(half);
    ck_assert_uint_eq(mio_dataset_count(part), 2);
    ck_assert_uint_eq(mio_dataset_class_count(part), 3);
    ck_assert_uint_eq(mio_dataset_channels(part), CHANNELS);
    uint8_t image[HEIGHT * ROW];
    int32_t label;
    ck_assert_int_eq(mio_dataset_image(part, 1, sizeof image, image), MIO_OK);
    ck_assert_mem_eq(image, pixels + 8 * HEIGHT * STRIDE, ROW);
    ck_assert_int_eq(mio_dataset_label(part, 1, &label), MIO_OK);
    ck_assert_int_eq(label, 8 % 3);
    mio_dataset_release(part);
}
END_TEST

/* sizes[c] images of class c, mixed; each image's one pixel tells which it is. */
static mio_dataset *make_classes(size_t classes, const size_t *sizes, uint8_t *bytes, int32_t *names)
{
    size_t count = 0, left[8];
    memcpy(left, sizes, classes * sizeof *sizes);
    for (size_t round = 0, added = 1; added; round++) {
        added = 0;
        for (size_t c = 0; c < classes; c++)
            if (left[c]) {
                left[c]--;
                names[count] = (int32_t)c;
                bytes[count] = (uint8_t)count;
                count++;
                added = 1;
            }
    }
    mio_dataset *dataset = NULL;
    ck_assert_int_eq(mio_dataset_from_memory(context, count, 1, 1, 1, 0, bytes, names, &dataset), MIO_OK);
    return dataset;
}

static size_t count_label(const mio_dataset *dataset, int32_t wanted)
{
    size_t count = 0;
    for (size_t i = 0; i < mio_dataset_count(dataset); i++) {
        int32_t label;
        ck_assert_int_eq(mio_dataset_label(dataset, i, &label), MIO_OK);
        count += label == wanted;
    }
    return count;
}

/* Marks the images of a part; they must come in order. */
static void mark(const mio_dataset *part, unsigned char *seen)
{
    int last = -1;
    for (size_t i = 0; i < mio_dataset_count(part); i++) {
        uint8_t which;
        ck_assert_int_eq(mio_dataset_image(part, i, 1, &which), MIO_OK);
        ck_assert_int_gt((int)which, last);
        last = which;
        seen[which]++;
    }
}

START_TEST(split_is_stratified)
{
    /* fraction 0.3: nearest numbers, but never none on either side; a single image goes first. */
    const size_t sizes[] = {10, 5, 1, 2, 30, 3}, expected[] = {3, 2, 1, 1, 9, 1};
    uint8_t bytes[64];
    int32_t names[64];
    mio_dataset *dataset = make_classes(6, sizes, bytes, names), *first, *second, *again, *rest;
    ck_assert_int_eq(mio_dataset_split(dataset, 0.3, 5, &first, &second), MIO_OK);
    for (int32_t c = 0; c < 6; c++) {
        ck_assert_uint_eq(count_label(first, c), expected[c]);
        ck_assert_uint_eq(count_label(second, c), sizes[c] - expected[c]);
    }
    ck_assert_uint_eq(mio_dataset_class_count(second), 6);
    unsigned char seen[64] = {0}, taken[64] = {0}, more[64] = {0}, other[64] = {0};
    mark(first, seen);
    memcpy(taken, seen, sizeof seen);
    mark(second, seen);
    for (size_t i = 0; i < mio_dataset_count(dataset); i++)
        ck_assert_uint_eq(seen[i], 1);
    /* the same seed: the same; a larger fraction: the same and more; another seed: others */
    ck_assert_int_eq(mio_dataset_split(dataset, 0.6, 5, &again, &rest), MIO_OK);
    mark(again, more);
    for (size_t i = 0; i < 64; i++)
        ck_assert(!taken[i] || more[i]);
    mio_dataset_release(again);
    mio_dataset_release(rest);
    ck_assert_int_eq(mio_dataset_split(dataset, 0.3, 6, &again, &rest), MIO_OK);
    mark(again, other);
    ck_assert_int_ne(memcmp(taken, other, sizeof taken), 0);
    mio_dataset_release(again);
    mio_dataset_release(rest);
    mio_dataset_release(first);
    mio_dataset_release(second);
    mio_dataset_release(dataset);
    /* singles only: nothing is left for the second part */
    const size_t singles[] = {1, 1, 1};
    dataset = make_classes(3, singles, bytes, names);
    ck_assert_int_eq(mio_dataset_split(dataset, 0.5, 0, &first, &second), MIO_ERROR_ARGUMENT);
    mio_dataset_release(dataset);
}
END_TEST

/* Labels far apart cost no memory. */
START_TEST(split_of_sparse_labels)
{
    const int32_t sparse[6] = {INT32_MAX, 0, INT32_MAX, 7, 0, 7};
    uint8_t bytes[6] = {0, 1, 2, 3, 4, 5};
    mio_dataset *dataset, *first, *second;
    ck_assert_int_eq(mio_dataset_from_memory(context, 6, 1, 1, 1, 0, bytes, sparse, &dataset), MIO_OK);
    ck_assert_int_eq(mio_dataset_split(dataset, 0.5, 3, &first, &second), MIO_OK);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(count_label(first, sparse[1 + i]), 1);
        ck_assert_uint_eq(count_label(second, sparse[1 + i]), 1);
    }
    mio_dataset_release(first);
    mio_dataset_release(second);
    mio_dataset_release(dataset);
}
END_TEST

START_TEST(split_without_labels)
{
    mio_dataset *dataset = make(0), *first, *second, *inner, *outer;
    ck_assert_uint_eq(mio_dataset_class_count(dataset), 0);
    ck_assert_int_eq(mio_dataset_split(dataset, 0.75, 1, &first, &second), MIO_OK);
    ck_assert_uint_eq(mio_dataset_count(first), 9);
    ck_assert_uint_eq(mio_dataset_count(second), 3);
    /* of a subset, too */
    ck_assert_int_eq(mio_dataset_split(first, 1.0 / 3, 1, &inner, &outer), MIO_OK);
    ck_assert_uint_eq(mio_dataset_count(inner), 3);
    mio_dataset_release(inner);
    mio_dataset_release(outer);
    mio_dataset_release(first);
    mio_dataset_release(second);
    mio_dataset_release(dataset);
}
END_TEST

START_TEST(statistics_are_exact)
{
    mio_dataset *dataset = make(1), *part;
    double mean[3], deviation[3], first_mean[3], first_deviation[3];
    for (size_t c = 0; c < CHANNELS; c++) {
        double sum = 0, squares = 0;
        const double pixel_count = COUNT * HEIGHT * WIDTH;
        for (size_t i = 0; i < COUNT * HEIGHT; i++)
            for (size_t x = 0; x < WIDTH; x++) {
                const double value = pixels[i * STRIDE + x * CHANNELS + c];
                sum += value;
                squares += value * value;
            }
        first_mean[c] = sum / pixel_count / 255;
        first_deviation[c] = sqrt(squares / pixel_count - sum / pixel_count * (sum / pixel_count)) / 255;
    }
    for (double threads = 1; threads < 6; threads++) {
        ck_assert_int_eq(mio_context_set(context, "threads", threads), MIO_OK);
        ck_assert_int_eq(mio_dataset_statistics(dataset, CHANNELS, mean, deviation), MIO_OK);
        for (size_t c = 0; c < CHANNELS; c++) {
            ck_assert_double_eq_tol(mean[c], first_mean[c], 1e-15);
            ck_assert_double_eq_tol(deviation[c], first_deviation[c], 1e-13);
        }
    }
    const size_t two[] = {3, 3};
    ck_assert_int_eq(mio_dataset_subset(dataset, 2, two, &part), MIO_OK);
    ck_assert_int_eq(mio_dataset_statistics(part, CHANNELS, mean, deviation), MIO_OK);
    ck_assert_double_ne(mean[0], first_mean[0]);
    mio_dataset_release(part);
    mio_dataset_release(dataset);
    /* a constant image deviates by nothing at all; a row longer than a 32-bit sum of squares holds */
    const size_t width = 150001;
    uint8_t *row = malloc(width);
    ck_assert_ptr_nonnull(row);
    memset(row, 255, width);
    ck_assert_int_eq(mio_dataset_from_memory(context, 1, 1, width, 1, 0, row, NULL, &dataset), MIO_OK);
    ck_assert_int_eq(mio_dataset_statistics(dataset, 1, mean, deviation), MIO_OK);
    ck_assert_double_eq(mean[0], 1);
    ck_assert_double_eq(deviation[0], 0);
    mio_dataset_release(dataset);
    free(row);
}
END_TEST

static mio_status everything(mio_context *with)
{
    size_t limit = 6;
    const mio_image_source source = {sizeof source, &limit, read_image};
    mio_dataset *dataset = NULL, *first = NULL, *second = NULL, *part = NULL;
    double mean, deviation;
    const size_t indices[] = {0, 1};
    mio_status status = mio_dataset_from_callback(with, 6, 2, 3, 1, &source, &dataset);
    if (!status)
        status = mio_dataset_split(dataset, 0.5, 1, &first, &second);
    if (!status)
        status = mio_dataset_subset(first, 2, indices, &part);
    if (!status)
        status = mio_dataset_statistics(part, 1, &mean, &deviation);
    mio_dataset_release(dataset);
    dataset = NULL;
    if (!status)
        status = mio_dataset_from_memory(with, 2, 1, 1, 1, 0, pixels, labels, &dataset);
    mio_dataset_release(dataset);
    mio_dataset_release(part);
    mio_dataset_release(first);
    mio_dataset_release(second);
    return status;
}

START_TEST(memory_failure_unwinds)
{
    mio_dataset_release(make(1)); /* fills pixels and labels */
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *with = test_allocator_context(&allocator, 1);
    ck_assert_ptr_nonnull(with);
    const size_t held = allocator.blocks;
    mio_status status = MIO_ERROR_MEMORY;
    size_t n = 0;
    while (status) {
        test_allocator_fail_at(&allocator, ++n);
        status = everything(with);
        ck_assert(status == MIO_OK || status == MIO_ERROR_MEMORY);
        ck_assert_uint_eq(allocator.blocks, held);
    }
    ck_assert_uint_gt(n, 10);
    mio_context_release(with);
    ck_assert_uint_eq(allocator.blocks, 0);
    ck_assert_uint_eq(allocator.mistakes, 0);
}
END_TEST

int main(void)
{
    TCase *cases = tcase_create("dataset");
    tcase_add_checked_fixture(cases, start, stop);
    tcase_add_test(cases, memory_shows_the_callers_pixels);
    tcase_add_test(cases, arguments_are_refused);
    tcase_add_test(cases, formats_are_listed);
    tcase_add_test(cases, callback_is_read_once);
    tcase_add_test(cases, subset_shares_and_keeps_alive);
    tcase_add_test(cases, split_is_stratified);
    tcase_add_test(cases, split_of_sparse_labels);
    tcase_add_test(cases, split_without_labels);
    tcase_add_test(cases, statistics_are_exact);
    tcase_add_test(cases, memory_failure_unwinds);
    Suite *suite = suite_create("dataset");
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
