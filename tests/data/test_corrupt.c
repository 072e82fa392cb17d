/* Every reader on broken files: cut off at each byte, with bytes changed, and with memory running out. An error or a
   valid dataset must come of it, and nothing may be left behind. Deterministic; most telling under sanitizers. */
#define _XOPEN_SOURCE 700
#include "samples.h"

#include "support/allocator.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that a broken file of a few thousand may cost: a header that promises more must be held against the file
   first. */
enum { MOST = 16 << 20 };

static test_allocator allocator;
static mio_context *context;

static void start(void)
{
    sample_begin();
    test_allocator_init(&allocator);
    context = test_allocator_context(&allocator, 1);
    ck_assert_ptr_nonnull(context);
}

static void stop(void)
{
    mio_context_release(context);
    ck_assert_uint_eq(allocator.blocks, 0);
    ck_assert_uint_eq(allocator.mistakes, 0);
    sample_end();
}

/* One dataset of one format, one of whose files is to be broken. */
typedef struct victim {
    const char *format, *path, *split;
    const char *file;    /* the broken one */
    size_t count;        /* images when whole */
    int tail_is_ignored; /* bytes at the very end may be missing or changed without harm */
} victim;

/* Looks at everything in a dataset. */
static void walk(const mio_dataset *dataset)
{
    const size_t channels = mio_dataset_channels(dataset);
    for (size_t i = 0; i < mio_dataset_count(dataset); i++) {
        size_t height, width;
        int32_t label;
        ck_assert_int_eq(mio_dataset_image_size(dataset, i, &height, &width), MIO_OK);
        ck_assert_int_eq(mio_dataset_label(dataset, i, &label), MIO_OK);
        ck_assert(label >= -1 && label < (int32_t)mio_dataset_class_count(dataset));
        uint8_t *pixels = malloc(height * width * channels);
        ck_assert_int_eq(mio_dataset_image(dataset, i, height * width * channels, pixels), MIO_OK);
        free(pixels);
    }
    double mean[3], deviation[3];
    ck_assert(channels == 1 || channels == 3);
    ck_assert_int_eq(mio_dataset_statistics(dataset, channels, mean, deviation), MIO_OK);
}

static mio_status open_victim(const victim *it, size_t *count)
{
    mio_dataset *dataset = NULL;
    const mio_status status = mio_dataset_open(context, it->format, sample_path(it->path), it->split, &dataset);
    if (status) {
        ck_assert_ptr_null(dataset);
        ck_assert_msg(status == MIO_ERROR_FORMAT || status == MIO_ERROR_UNSUPPORTED || status == MIO_ERROR_ARGUMENT ||
                          status == MIO_ERROR_IO,
                      "%s", mio_status_name(status));
        return status;
    }
    walk(dataset);
    *count = mio_dataset_count(dataset);
    mio_dataset_release(dataset);
    return MIO_OK;
}

/* Every cut is refused; the message names the file. */
static void cut_everywhere(const victim *it, size_t step)
{
    sample_bytes whole = sample_read(sample_path(it->file));
    size_t count = 0;
    ck_assert_msg(!open_victim(it, &count), "%s: %s", it->file, mio_last_error());
    ck_assert_uint_eq(count, it->count);
    for (size_t size = 0; size < whole.size; size += size + step < whole.size || step == 1 ? step : 1) {
        sample_write(it->file, whole.bytes, size);
        const mio_status status = open_victim(it, &count);
        ck_assert_msg(status || it->tail_is_ignored, "%s cut to %zu of %zu bytes is read", it->file, size, whole.size);
        if (status && !it->tail_is_ignored) {
            const char *name = strrchr(it->file, '/') ? strrchr(it->file, '/') + 1 : it->file;
            ck_assert_msg(strstr(mio_last_error(), name) || status == MIO_ERROR_ARGUMENT, "%s: %s", it->file,
                          mio_last_error());
        }
    }
    sample_append(&whole, "\x01", 1);
    sample_write(it->file, whole.bytes, whole.size);
    whole.size--;
    const mio_status longer = open_victim(it, &count);
    ck_assert_msg(longer || it->tail_is_ignored, "%s with a byte more is read", it->file);
    sample_write(it->file, whole.bytes, whole.size);
    sample_free(&whole);
}

/* Changes a byte here and there: whatever comes of it, nothing breaks. No rounds where any byte is a valid pixel. */
static void change_bytes(const victim *it, size_t rounds)
{
    sample_bytes whole = sample_read(sample_path(it->file));
    uint32_t random = 12345;
    size_t refused = 0, count;
    for (size_t i = 0; i < rounds; i++) {
        random = random * 1664525u + 1013904223u;
        /* headers first: they are where the harm is */
        const size_t at = i < 64 ? i % whole.size : (random >> 8) % whole.size;
        const unsigned char before = whole.bytes[at];
        const unsigned char values[4] = {(unsigned char)(before ^ 1u << (random >> 29)), 0, 0xff,
                                         (unsigned char)(random >> 20)};
        whole.bytes[at] = values[random >> 5 & 3];
        sample_write(it->file, whole.bytes, whole.size);
        allocator.peak = 0;
        refused += open_victim(it, &count) != MIO_OK;
        ck_assert_msg(allocator.peak < MOST, "%s with byte %zu = %u takes %zu bytes", it->file, at, whole.bytes[at],
                      (size_t)allocator.peak);
        whole.bytes[at] = before;
    }
    ck_assert_msg(refused || !rounds, "%s: no change was noticed", it->file);
    sample_write(it->file, whole.bytes, whole.size);
    sample_free(&whole);
}

/* Refuses each request for memory once. */
static void starve(const victim *it)
{
    const size_t held = allocator.blocks;
    mio_status status = MIO_ERROR_MEMORY;
    size_t n = 0, count;
    while (status) {
        mio_dataset *dataset = NULL;
        test_allocator_fail_at(&allocator, ++n);
        status = mio_dataset_open(context, it->format, sample_path(it->path), it->split, &dataset);
        ck_assert_msg(status == MIO_OK || status == MIO_ERROR_MEMORY, "%s: request %zu: %s", it->file, n,
                      mio_last_error());
        ck_assert_msg(status != MIO_OK || allocator.requests < n, "%s: request %zu failed unnoticed", it->file, n);
        mio_dataset_release(dataset);
        ck_assert_uint_eq(allocator.blocks, held);
    }
    test_allocator_fail_at(&allocator, 0);
    ck_assert_uint_gt(n, 3);
    ck_assert_int_eq(open_victim(it, &count), MIO_OK);
}

static void torment(const victim *it, size_t step, size_t rounds)
{
    cut_everywhere(it, step);
    change_bytes(it, rounds);
    starve(it);
}

static void write_bytes(const char *name, sample_bytes bytes, int packed)
{
    if (packed) {
        sample_bytes plain = bytes;
        bytes = sample_gzip(&plain);
        sample_free(&plain);
    }
    sample_write(name, bytes.bytes, bytes.size);
    sample_free(&bytes);
}

START_TEST(idx)
{
    for (int packed = 0; packed < 2; packed++) {
        const victim images = {"idx", "", "train", packed ? "train-images-idx3-ubyte.gz" : "train-images-idx3-ubyte",
                               4,     0};
        const victim labels = {"idx", "", "train", packed ? "train-labels-idx1-ubyte.gz" : "train-labels-idx1-ubyte",
                               4,     0};
        if (packed) {
            remove(sample_path("train-images-idx3-ubyte"));
            remove(sample_path("train-labels-idx1-ubyte"));
        }
        write_bytes(images.file, sample_idx_images(4, 5, 6), packed);
        write_bytes(labels.file, sample_idx_labels(4), packed);
        torment(&images, 1, 300);
        torment(&labels, 1, 150);
    }
}
END_TEST

START_TEST(cifar)
{
    sample_bytes tar = {0}, batch = sample_cifar(0, 1, 1);
    sample_tar_add(&tar, "cifar/test_batch.bin", '0', batch.bytes, batch.size);
    sample_tar_add(&tar, "cifar/batches.meta.txt", '0', "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n", 20);
    sample_tar_end(&tar);
    write_bytes("test_batch.bin", batch, 0);
    write_bytes("c.tar.gz", tar, 1);
    write_bytes("train.bin", sample_cifar(0, 1, 2), 0);
    torment(&(victim){"cifar10", "", "test", "test_batch.bin", 1, 0}, 97, 60);
    torment(&(victim){"cifar100", "", "train", "train.bin", 1, 0}, 97, 60);
    torment(&(victim){"cifar10", "c.tar.gz", "test", "c.tar.gz", 1, 0}, 11, 300);
}
END_TEST

START_TEST(stl10)
{
    write_bytes("train_X.bin", sample_stl_images(2), 0);
    write_bytes("train_y.bin", sample_stl_labels(2), 0);
    sample_write("fold_indices.txt", "0\n1\n0\n1\n0\n1\n0\n1\n0\n1\n", 20);
    torment(&(victim){"stl10", "", "train", "train_X.bin", 2, 0}, 2047, 0);
    torment(&(victim){"stl10", "", "train", "train_y.bin", 2, 0}, 1, 40);
    torment(&(victim){"stl10", "", "train:9", "fold_indices.txt", 1, 1}, 1, 100);
}
END_TEST

static const char *images_folder(void)
{
    const char *folder = getenv("MIO_TEST_IMAGES");
    return folder ? folder : "images";
}

static int is_readable(const char *name)
{
#if !defined MIO_HAVE_JPEG
    if (strstr(name, ".jp") || strstr(name, ".JP"))
        return 0;
#endif
#if !defined MIO_HAVE_PNG
    if (strstr(name, ".png") || strstr(name, ".PNG"))
        return 0;
#endif
    return strcmp(name, "expected.txt") && strcmp(name, "cmyk.jpg") && name[0] != '.';
}

/* Each codec's files one after another. A JPEG may lose its last bytes unharmed, a PNG may not. */
START_TEST(images)
{
    DIR *folder = opendir(images_folder());
    ck_assert_ptr_nonnull(folder);
    size_t count = 0;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        if (!is_readable(entry->d_name))
            continue;
        char from[1024], class_folder[300], file[600];
        snprintf(from, sizeof from, "%s/%s", images_folder(), entry->d_name);
        snprintf(class_folder, sizeof class_folder, "s%zu", count++);
        sample_folder(class_folder);
        snprintf(file, sizeof file, "%s/%s", class_folder, entry->d_name);
        write_bytes(file, sample_read(from), 0);
        torment(&(victim){"flat", class_folder, NULL, file, 1, 1}, 3, 200);
    }
    closedir(folder);
}
END_TEST

#ifdef MIO_HAVE_PNG
START_TEST(tar_of_images)
{
    char from[1024];
    snprintf(from, sizeof from, "%s/rgb.png", images_folder());
    sample_bytes colour = sample_read(from), tar = {0};
    snprintf(from, sizeof from, "%s/grey.png", images_folder());
    sample_bytes grey = sample_read(from);
    char name[220] = "train/b/";
    memset(name + 8, 'n', 200);
    strcpy(name + 208, ".png");
    sample_tar_add(&tar, "././@LongLink", 'L', name, strlen(name) + 1);
    sample_tar_add(&tar, "train/b/cut", '0', grey.bytes, grey.size);
    sample_tar_add(&tar, "PaxHeader", 'x', "20 path=train/c/x.png\n", 22);
    sample_tar_add(&tar, "train/c/cut", '0', colour.bytes, colour.size);
    sample_tar_add(&tar, "train/a/1.png", '0', colour.bytes, colour.size);
    sample_tar_end(&tar);
    /* The pax record's length is its own first field: 22 bytes. */
    for (size_t i = 0; i + 20 < tar.size; i++)
        if (!memcmp(tar.bytes + i, "20 path=", 8))
            tar.bytes[i + 1] = '2';
    sample_write("t.tar", tar.bytes, tar.size);
    /* of the two zero blocks that end it one is enough */
    torment(&(victim){"folder", "t.tar", "train", "t.tar", 3, 1}, 41, 1000);
    write_bytes("t.tar.gz", tar, 1);
    torment(&(victim){"folder", "t.tar.gz", "train", "t.tar.gz", 3, 0}, 1, 500);
    sample_free(&colour);
    sample_free(&grey);
}
END_TEST
#endif

int main(void)
{
    TCase *cases = tcase_create("corrupt");
    tcase_add_checked_fixture(cases, start, stop);
    tcase_set_timeout(cases, 170);
    tcase_add_test(cases, idx);
    tcase_add_test(cases, cifar);
    tcase_add_test(cases, stl10);
    tcase_add_test(cases, images);
#ifdef MIO_HAVE_PNG
    tcase_add_test(cases, tar_of_images);
#endif
    Suite *suite = suite_create("corrupt");
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
