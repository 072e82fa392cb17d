/* Real data, where it is there: what is read equals what Python and PIL read. Skips with 77 without any. */
#include <mio/mio.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static const char *fashion;

#ifdef MIO_HAVE_JPEG
static char archive[1024];

static int has_archive(void)
{
    const char *folder = getenv("MIO_TEST_DATA");
    snprintf(archive, sizeof archive, "%s/cifar10-jpeg.tar.gz", folder ? folder : "");
    return folder && !access(archive, R_OK);
}
#endif

static int has_fashion(void)
{
    char path[1024];
    fashion = getenv("MIO_FASHION_MNIST");
    snprintf(path, sizeof path, "%s/train-images-idx3-ubyte.gz", fashion ? fashion : "");
    return fashion && !access(path, R_OK);
}

static mio_dataset *open_dataset(const char *format, const char *path, const char *split, size_t count)
{
    mio_context *context = NULL;
    mio_dataset *dataset = NULL;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    const mio_status status = mio_dataset_open(context, format, path, split, &dataset);
    ck_assert_msg(!status, "%s", mio_last_error());
    mio_context_release(context);
    ck_assert_uint_eq(mio_dataset_count(dataset), count);
    ck_assert_uint_eq(mio_dataset_class_count(dataset), 10);
    return dataset;
}

/* CRC-32 over all pixels, and over all labels as bytes; every class must have count / 10 images. */
static void sum_up(const mio_dataset *dataset, size_t image_size, unsigned long *pixels, unsigned long *labels)
{
    size_t classes[10] = {0};
    uint8_t image[4096];
    *pixels = *labels = 0;
    for (size_t i = 0; i < mio_dataset_count(dataset); i++) {
        int32_t label = -1;
        ck_assert_int_eq(mio_dataset_image(dataset, i, image_size, image), MIO_OK);
        ck_assert_int_eq(mio_dataset_label(dataset, i, &label), MIO_OK);
        ck_assert(label >= 0 && label < 10);
        classes[label]++;
        const uint8_t byte = (uint8_t)label;
        *pixels = crc32(*pixels, image, (unsigned)image_size);
        *labels = crc32(*labels, &byte, 1);
    }
    for (size_t c = 0; c < 10; c++)
        ck_assert_uint_eq(classes[c], mio_dataset_count(dataset) / 10);
}

START_TEST(fashion_mnist)
{
    const struct {
        const char *split;
        size_t count;
        unsigned long pixels, labels;
        double sum;
    } parts[] = {{"train", 60000, 0xae65dccd, 0x2ed6e46a, 3431114169.0},
                 {"test", 10000, 0x12728439, 0x242bc73f, 573469082.0}};
    for (size_t p = 0; p < 2; p++) {
        mio_dataset *dataset = open_dataset("idx", fashion, parts[p].split, parts[p].count);
        unsigned long pixels, labels;
        double mean, deviation;
        sum_up(dataset, 784, &pixels, &labels);
        ck_assert_uint_eq(pixels, parts[p].pixels);
        ck_assert_uint_eq(labels, parts[p].labels);
        ck_assert_int_eq(mio_dataset_statistics(dataset, 1, &mean, &deviation), MIO_OK);
        ck_assert_double_eq_tol(mean, parts[p].sum / (255.0 * 784 * (double)parts[p].count), 1e-15);
        mio_dataset_release(dataset);
    }
}
END_TEST

#ifdef MIO_HAVE_JPEG
/* Decoders may round differently: sums are compared to 1e-4, single pixels to 2 levels. */
START_TEST(cifar10_jpeg)
{
    static const char *const names[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                        "dog",      "frog",       "horse", "ship", "truck"};
    const struct {
        const char *split;
        size_t count;
        double sums[3];
        struct {
            size_t index, sum;
            uint8_t first[6], middle[3];
        } images[3];
    } parts[] = {{"train",
                  50000,
                  {6413765015, 6294170581, 5829777341},
                  {{0, 456420, {0xc8, 0xca, 0xc5, 0xca, 0xcc, 0xc7}, {8, 7, 12}},
                   {12345, 386041, {0x8a, 0x9d, 0x66, 0x85, 0x99, 0x5e}, {145, 178, 89}},
                   {49999, 322105, {0x29, 0xaf, 0xec, 0x24, 0xac, 0xe8}, {98, 125, 144}}}},
                 {"test",
                  10000,
                  {1290104439, 1266598065, 1176037503},
                  {{0, 475641, {0x8d, 0x9f, 0xb3, 0x9f, 0xb0, 0xc4}, {207, 203, 218}},
                   {2345, 351958, {0x26, 0x28, 0x27, 0x57, 0x59, 0x54}, {58, 60, 55}},
                   {9999, 384887, {0xff, 0xff, 0xf6, 0xfd, 0xf9, 0xf0}, {66, 35, 30}}}}};
    for (size_t p = 0; p < 2; p++) {
        mio_dataset *dataset = open_dataset("folder", archive, parts[p].split, parts[p].count);
        ck_assert_uint_eq(mio_dataset_channels(dataset), 3);
        unsigned long pixels, labels;
        sum_up(dataset, 3072, &pixels, &labels);
        double mean[3], deviation[3];
        ck_assert_int_eq(mio_dataset_statistics(dataset, 3, mean, deviation), MIO_OK);
        for (size_t c = 0; c < 3; c++)
            ck_assert_double_eq_tol(mean[c], parts[p].sums[c] / (255.0 * 1024 * (double)parts[p].count), 1e-4);
        for (size_t c = 0; c < 10; c++)
            ck_assert_str_eq(mio_dataset_class_name(dataset, c), names[c]);
        for (size_t i = 0; i < 3; i++) {
            uint8_t image[3072];
            long sum = 0;
            ck_assert_int_eq(mio_dataset_image(dataset, parts[p].images[i].index, sizeof image, image), MIO_OK);
            for (size_t k = 0; k < 3072; k++)
                sum += image[k];
            ck_assert_int_le(labs(sum - (long)parts[p].images[i].sum), 3072);
            for (size_t k = 0; k < 6; k++)
                ck_assert_int_le(abs(image[k] - parts[p].images[i].first[k]), 2);
            for (size_t k = 0; k < 3; k++)
                ck_assert_int_le(abs(image[(16 * 32 + 16) * 3 + k] - parts[p].images[i].middle[k]), 2);
        }
        mio_dataset_release(dataset);
    }
}
END_TEST
#endif

int main(void)
{
    TCase *cases = tcase_create("real");
    tcase_set_timeout(cases, 120);
    size_t count = 0;
    if (has_fashion() && ++count)
        tcase_add_test(cases, fashion_mnist);
    else
        fprintf(stderr, "skipped: no Fashion-MNIST in '%s' (meson option fashion_mnist)\n", fashion ? fashion : "");
#ifdef MIO_HAVE_JPEG
    if (has_archive() && ++count)
        tcase_add_test(cases, cifar10_jpeg);
    else
        fprintf(stderr, "skipped: no '%s' (meson option test_data)\n", archive);
#endif
    if (!count)
        return 77;
    Suite *suite = suite_create("real");
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
