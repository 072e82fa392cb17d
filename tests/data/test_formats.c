/* Every reader on small valid files, and the words of its refusals. */
#define _XOPEN_SOURCE 700
#include "samples.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static mio_context *context;
static mio_dataset *dataset;

static void start(void)
{
    sample_begin();
    dataset = NULL;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
}

static void stop(void)
{
    mio_context_release(context);
    sample_end();
}

static void expect(const char *format, const char *name, const char *split, size_t count, size_t classes)
{
    mio_dataset_release(dataset);
    dataset = NULL;
    const mio_status status = mio_dataset_open(context, format, sample_path(name), split, &dataset);
    ck_assert_msg(!status, "%s %s: %s", format, name, mio_last_error());
    ck_assert_uint_eq(mio_dataset_count(dataset), count);
    ck_assert_uint_eq(mio_dataset_class_count(dataset), classes);
}

static void expect_refusal(const char *format, const char *name, const char *split, mio_status status, const char *words)
{
    mio_dataset *none = NULL;
    ck_assert_int_eq(mio_dataset_open(context, format, sample_path(name), split, &none), status);
    ck_assert_msg(strstr(mio_last_error(), words), "'%s' is not in: %s", words, mio_last_error());
    ck_assert_ptr_null(none);
}

static void expect_image(size_t index, size_t height, size_t width, const uint8_t *pixels, int label)
{
    size_t real_height, real_width;
    int32_t real_label;
    ck_assert_int_eq(mio_dataset_image_size(dataset, index, &real_height, &real_width), MIO_OK);
    ck_assert_uint_eq(real_height, height);
    ck_assert_uint_eq(real_width, width);
    const size_t size = height * width * mio_dataset_channels(dataset);
    uint8_t *real = malloc(size);
    ck_assert_int_eq(mio_dataset_image(dataset, index, size, real), MIO_OK);
    ck_assert_mem_eq(real, pixels, size);
    free(real);
    ck_assert_int_eq(mio_dataset_label(dataset, index, &real_label), MIO_OK);
    ck_assert_int_eq(real_label, label);
}

/* ---- IDX ---- */

static void write_idx(const char *images_name, const char *labels_name, int packed)
{
    sample_bytes images = sample_idx_images(7, 5, 4), labels = sample_idx_labels(7);
    if (packed) {
        sample_bytes plain = images;
        images = sample_gzip(&plain);
        sample_free(&plain);
        plain = labels;
        labels = sample_gzip(&plain);
        sample_free(&plain);
    }
    sample_write(images_name, images.bytes, images.size);
    sample_write(labels_name, labels.bytes, labels.size);
    sample_free(&images);
    sample_free(&labels);
}

START_TEST(idx_under_every_name)
{
    sample_folder("a");
    write_idx("a/train-images-idx3-ubyte", "a/train-labels-idx1-ubyte", 0);
    write_idx("a/t10k-images.idx3-ubyte", "a/t10k-labels.idx1-ubyte", 0);
    sample_folder("b");
    write_idx("b/train-images-idx3-ubyte.gz", "b/train-labels-idx1-ubyte.gz", 1);
    write_idx("b/t10k-images.idx3-ubyte.gz", "b/t10k-labels.idx1-ubyte.gz", 1);
    uint8_t pixels[7 * 20];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = sample_value(i);
    const char *const folders[] = {"a", "b"}, *const splits[] = {"train", "test"};
    for (size_t i = 0; i < 4; i++) {
        expect("idx", folders[i / 2], splits[i % 2], 7, 3);
        ck_assert_uint_eq(mio_dataset_channels(dataset), 1);
        for (size_t k = 0; k < 7; k++)
            expect_image(k, 5, 4, pixels + k * 20, (int)(k % 3));
    }
    mio_dataset_release(dataset);
}
END_TEST

/* Changes one byte of the images file and expects the refusal to name file, offset and reason. */
static void expect_idx_refusal(const char *name, size_t at, unsigned char value, const char *words)
{
    write_idx("train-images-idx3-ubyte", "train-labels-idx1-ubyte", 0);
    sample_bytes bytes = sample_read(sample_path(name));
    bytes.bytes[at] = value;
    sample_write(name, bytes.bytes, bytes.size);
    sample_free(&bytes);
    char place[256];
    snprintf(place, sizeof place, "%s', offset %zu: ", name, at);
    expect_refusal("idx", "", "train", MIO_ERROR_FORMAT, place);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), words));
}

START_TEST(idx_refusals)
{
    expect_idx_refusal("train-images-idx3-ubyte", 2, 0x0d, "element type 0x0d");
    expect_idx_refusal("train-images-idx3-ubyte", 3, 2, "2 dimensions");
    expect_idx_refusal("train-images-idx3-ubyte", 4, 0xff, "more elements than the file can hold");
    expect_idx_refusal("train-images-idx3-ubyte", 8, 0x7f, "more elements than the file can hold");
    write_idx("train-images-idx3-ubyte", "train-labels-idx1-ubyte", 0);
    sample_bytes labels = sample_idx_labels(6);
    sample_write("train-labels-idx1-ubyte", labels.bytes, labels.size);
    expect_refusal("idx", "", "train", MIO_ERROR_FORMAT, "offset 4: 6 labels for 7 images");
    sample_free(&labels);
    labels = sample_idx_labels(7);
    sample_append(&labels, "x", 1);
    sample_write("train-labels-idx1-ubyte", labels.bytes, labels.size);
    expect_refusal("idx", "", "train", MIO_ERROR_FORMAT, "offset 15: more bytes follow");
    sample_free(&labels);
    expect_refusal("idx", "", "test", MIO_ERROR_IO, "t10k-images-idx3-ubyte");
    expect_refusal("idx", "", "validation", MIO_ERROR_ARGUMENT, "train, test");
    expect_refusal("idx", "", NULL, MIO_ERROR_ARGUMENT, "needs a split");
}
END_TEST

/* ---- CIFAR ---- */

static void expect_cifar(size_t count)
{
    uint8_t pixels[3072];
    ck_assert_uint_eq(mio_dataset_channels(dataset), 3);
    for (size_t i = 0; i < count; i++) {
        for (size_t p = 0; p < 1024; p++)
            for (size_t c = 0; c < 3; c++)
                pixels[3 * p + c] = sample_value(i * 3072 + c * 1024 + p);
        expect_image(i, 32, 32, pixels, (int)(i % 10));
    }
}

static const char cifar_names[] = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";

START_TEST(cifar10_in_folders_and_tars)
{
    sample_bytes tar = {0};
    sample_folder("cifar-10-batches-bin");
    /* in the tar in another order than they count */
    for (size_t k = 5; k > 0; k--) {
        char name[64];
        snprintf(name, sizeof name, "cifar-10-batches-bin/data_batch_%zu.bin", k);
        sample_bytes batch = sample_cifar((k - 1) * 3, 3, 1);
        sample_write(name, batch.bytes, batch.size);
        sample_tar_add(&tar, name, '0', batch.bytes, batch.size);
        sample_free(&batch);
    }
    sample_bytes test = sample_cifar(0, 10, 1);
    sample_write("cifar-10-batches-bin/test_batch.bin", test.bytes, test.size);
    sample_tar_add(&tar, "cifar-10-batches-bin/", '5', NULL, 0);
    sample_tar_add(&tar, "./cifar-10-batches-bin/readme.html", '0', "<p>", 3);
    sample_tar_add(&tar, "./cifar-10-batches-bin/test_batch.bin", '0', test.bytes, test.size);
    sample_tar_add(&tar, "./cifar-10-batches-bin/batches.meta.txt", '0', cifar_names, strlen(cifar_names));
    sample_tar_end(&tar);
    sample_free(&test);
    sample_bytes packed = sample_gzip(&tar);
    sample_write("c.tar", tar.bytes, tar.size);
    sample_write("c.tar.gz", packed.bytes, packed.size);
    const char *const paths[] = {"", "cifar-10-batches-bin", "c.tar", "c.tar.gz"};
    for (size_t i = 0; i < 4; i++) {
        expect("cifar10", paths[i], "train", 15, 10);
        expect_cifar(15);
        expect("cifar10", paths[i], "test", 10, 10);
        expect_cifar(10);
        const char *name = mio_dataset_class_name(dataset, 9);
        if (i < 2)
            ck_assert_ptr_null(name);
        else
            ck_assert_str_eq(name, "truck");
        ck_assert_ptr_null(mio_dataset_class_name(dataset, 10));
    }
    mio_dataset_release(dataset);
    sample_free(&tar);
    sample_free(&packed);
}
END_TEST

START_TEST(cifar100_labels)
{
    sample_bytes records = sample_cifar(0, 10, 2);
    for (size_t i = 0; i < 10; i++) {
        records.bytes[i * 3074] = (unsigned char)(2 * i);     /* coarse, below 20 */
        records.bytes[i * 3074 + 1] = (unsigned char)(11 * i); /* fine, below 100 */
    }
    sample_write("train.bin", records.bytes, records.size);
    sample_write("test.bin", records.bytes, records.size);
    const char *const splits[] = {"train", "test", "train:coarse", "test:coarse"};
    for (size_t s = 0; s < 4; s++) {
        expect("cifar100", "", splits[s], 10, s < 2 ? 100 : 19);
        for (size_t i = 0; i < 10; i++) {
            int32_t label;
            ck_assert_int_eq(mio_dataset_label(dataset, i, &label), MIO_OK);
            ck_assert_int_eq(label, (int)(s < 2 ? 11 * i : 2 * i));
        }
    }
    records.bytes[3 * 3074 + 1] = 100;
    sample_write("test.bin", records.bytes, records.size);
    expect_refusal("cifar100", "", "test", MIO_ERROR_FORMAT, "test.bin', offset 9223: label 100; there are 100 classes");
    records.bytes[3 * 3074] = 20;
    sample_write("test.bin", records.bytes, records.size);
    expect_refusal("cifar100", "", "test:coarse", MIO_ERROR_FORMAT, "offset 9222: label 20; there are 20 classes");
    sample_write("test.bin", records.bytes, records.size - 1);
    expect_refusal("cifar100", "", "test", MIO_ERROR_FORMAT, "offset 27666: the file ends inside a record");
    sample_write("test.bin", "", 0);
    expect_refusal("cifar100", "", "test", MIO_ERROR_FORMAT, "the file is empty");
    sample_write("fine_label_names.txt", "one\ntwo\n", 8);
    expect_refusal("cifar100", "", "train", MIO_ERROR_FORMAT, "2 class names; there are 100");
    expect_refusal("cifar100", "", "coarse", MIO_ERROR_ARGUMENT, "train:coarse");
    sample_free(&records);
    mio_dataset_release(dataset);
}
END_TEST

START_TEST(cifar10_refusals)
{
    for (size_t k = 1; k <= 5; k++) {
        char name[64];
        snprintf(name, sizeof name, "data_batch_%zu.bin", k);
        sample_bytes batch = sample_cifar(0, k == 4 ? 1 : 2, 1);
        if (k == 5)
            batch.bytes[3073] = 10;
        sample_write(name, batch.bytes, batch.size);
        sample_free(&batch);
    }
    expect_refusal("cifar10", "", "train", MIO_ERROR_FORMAT, "data_batch_4.bin', offset 0: 1 images, where the other batches have 2");
    sample_bytes batch = sample_cifar(0, 2, 1);
    sample_write("data_batch_4.bin", batch.bytes, batch.size);
    expect_refusal("cifar10", "", "train", MIO_ERROR_FORMAT, "data_batch_5.bin', offset 3073: label 10");
    expect_refusal("cifar10", "", "test", MIO_ERROR_IO, "holds no 'test_batch.bin'");
    expect_refusal("cifar10", "absent.tar.gz", "test", MIO_ERROR_IO, "absent.tar.gz");
    sample_bytes tar = {0};
    sample_tar_add(&tar, "x/test_batch.bin", '0', batch.bytes, batch.size);
    sample_tar_add(&tar, "y/test_batch.bin", '0', batch.bytes, batch.size);
    sample_tar_end(&tar);
    sample_write("twice.tar", tar.bytes, tar.size);
    expect_refusal("cifar10", "twice.tar", "test", MIO_ERROR_FORMAT, "twice.tar', member 'y/test_batch.bin', offset 0: the archive holds 'test_batch.bin' twice");
    sample_free(&tar);
    sample_free(&batch);
}
END_TEST

/* ---- STL-10 ---- */

static void expect_stl(size_t index, size_t source, int label)
{
    static uint8_t pixels[27648];
    for (size_t c = 0; c < 3; c++)
        for (size_t x = 0; x < 96; x++)
            for (size_t y = 0; y < 96; y++)
                pixels[(y * 96 + x) * 3 + c] = sample_value(source * 27648 + (c * 96 + x) * 96 + y);
    expect_image(index, 96, 96, pixels, label);
}

START_TEST(stl10_splits)
{
    sample_folder("stl10_binary");
    sample_bytes images = sample_stl_images(20), labels = sample_stl_labels(20), tar = {0};
    const char folds[] = "0 2 4\n1 3 \n19\n5\n6\n7\n8\n9\n10\n11 11\n";
    sample_write("stl10_binary/train_X.bin", images.bytes, images.size);
    sample_write("stl10_binary/train_y.bin", labels.bytes, labels.size);
    sample_write("stl10_binary/test_X.bin", images.bytes, images.size);
    sample_write("stl10_binary/test_y.bin", labels.bytes, labels.size);
    sample_write("stl10_binary/unlabeled_X.bin", images.bytes, images.size);
    sample_write("stl10_binary/fold_indices.txt", folds, strlen(folds));
    sample_write("stl10_binary/class_names.txt", cifar_names, strlen(cifar_names));
    sample_tar_add(&tar, "stl10_binary/train_y.bin", '0', labels.bytes, labels.size);
    sample_tar_add(&tar, "stl10_binary/fold_indices.txt", '0', folds, strlen(folds));
    sample_tar_add(&tar, "stl10_binary/train_X.bin", '0', images.bytes, images.size);
    sample_tar_end(&tar);
    sample_write("stl.tar", tar.bytes, tar.size);
    sample_free(&tar);
    const char *const splits[] = {"train", "test", "unlabeled"};
    for (size_t s = 0; s < 3; s++) {
        expect("stl10", "", splits[s], 20, s < 2 ? 10 : 0);
        for (size_t i = 0; i < 20; i++)
            expect_stl(i, i, s < 2 ? (int)(i % 10) : -1);
    }
    ck_assert_str_eq(mio_dataset_class_name(dataset, 0), "airplane");
    const char *const paths[] = {"", "stl10_binary", "stl.tar"};
    for (size_t i = 0; i < 3; i++) {
        expect("stl10", paths[i], "train:0", 3, 5);
        expect_stl(2, 4, 4);
        expect("stl10", paths[i], "train:2", 1, 10);
        expect_stl(0, 19, 9);
        expect("stl10", paths[i], "train:9", 2, 2);
        expect_stl(1, 11, 1);
    }
    mio_dataset_release(dataset);
    dataset = NULL;
    expect_refusal("stl10", "", "train:10", MIO_ERROR_ARGUMENT, "train:9");
    expect_refusal("stl10", "", "train:", MIO_ERROR_ARGUMENT, "unlabeled");
    sample_write("stl10_binary/fold_indices.txt", "1\n2 20\n3 x", 10);
    expect_refusal("stl10", "", "train:1", MIO_ERROR_FORMAT, "fold_indices.txt, offset 6: no index of an image");
    expect_refusal("stl10", "", "train:2", MIO_ERROR_FORMAT, "fold_indices.txt, offset 9");
    expect_refusal("stl10", "", "train:5", MIO_ERROR_FORMAT, "there is no fold 5");
    labels.bytes[7] = 11;
    sample_write("stl10_binary/test_y.bin", labels.bytes, labels.size);
    expect_refusal("stl10", "", "test", MIO_ERROR_FORMAT, "test_y.bin', offset 7: label 11");
    sample_write("stl10_binary/test_y.bin", labels.bytes, 7);
    expect_refusal("stl10", "", "test", MIO_ERROR_FORMAT, "7 labels for 20 images");
    sample_write("stl10_binary/test_X.bin", images.bytes, images.size - 27000);
    expect_refusal("stl10", "", "test", MIO_ERROR_FORMAT, "test_X.bin', offset 525312: the file ends inside a record");
    sample_free(&images);
    sample_free(&labels);
}
END_TEST

/* ---- folders ---- */

static const char *image_file(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", getenv("MIO_TEST_IMAGES"), name);
    return path;
}

static void copy_image(const char *from, const char *to)
{
    sample_bytes bytes = sample_read(image_file(from));
    sample_write(to, bytes.bytes, bytes.size);
    sample_free(&bytes);
}

#ifdef MIO_HAVE_PNG
/* Alpha of "rgb.png", 13 x 9, in every pixel as make_images.py makes it. */
static void expect_picture(size_t index, int label)
{
    uint8_t pixels[9 * 13 * 3];
    for (size_t y = 0; y < 9; y++)
        for (size_t x = 0; x < 13; x++) {
            pixels[(y * 13 + x) * 3] = (uint8_t)(x * 19);
            pixels[(y * 13 + x) * 3 + 1] = (uint8_t)(y * 27 + 10);
            pixels[(y * 13 + x) * 3 + 2] = (uint8_t)(x * y * 2 + 60);
        }
    expect_image(index, 9, 13, pixels, label);
}

START_TEST(folder_of_classes)
{
    sample_folder("set");
    sample_folder("set/train");
    sample_folder("set/train/b");
    sample_folder("set/train/b a");
    sample_folder("set/train/b/deep");
    sample_folder("set/train/.hidden");
    copy_image("rgb.png", "set/train/b/deep/1.PNG");
    copy_image("grey.png", "set/train/b/0.png");
    copy_image("rgb.png", "set/train/b a/2.pNg");
    copy_image("rgb.png", "set/train/b a/.3.png");
    copy_image("rgb.png", "set/train/.hidden/4.png");
    copy_image("rgb.png", "set/train/loose.png");
    sample_write("set/train/b/notes.txt", "text", 4);
    expect("folder", "set", "train", 3, 2);
    ck_assert_uint_eq(mio_dataset_channels(dataset), 3);
    ck_assert_str_eq(mio_dataset_class_name(dataset, 0), "b");
    ck_assert_str_eq(mio_dataset_class_name(dataset, 1), "b a");
    expect_picture(1, 0);
    expect_picture(2, 1);
    uint8_t grey[9 * 13 * 3];
    ck_assert_int_eq(mio_dataset_image(dataset, 0, sizeof grey, grey), MIO_OK);
    for (size_t i = 0; i < sizeof grey; i += 3)
        ck_assert(grey[i] == grey[i + 1] && grey[i] == grey[i + 2]);
    ck_assert_uint_eq(grey[3 * 13], 29); /* as expected.txt has it for grey.png */
    expect("folder", "set/train", NULL, 3, 2);
    expect("flat", "set", NULL, 4, 0);
    expect("flat", "set", "train", 4, 0);
    expect_picture(3, -1);
    sample_folder("set/train/empty");
    expect_refusal("folder", "set", "train", MIO_ERROR_ARGUMENT, "set/train/empty' holds no images");
    expect_refusal("folder", "set", "test", MIO_ERROR_IO, "set/test");
    expect_refusal("flat", "set/train/empty", NULL, MIO_ERROR_ARGUMENT, "holds no images");
    expect_refusal("folder", "set/train/b a", NULL, MIO_ERROR_ARGUMENT, "'flat'");
    mio_dataset_release(dataset);
}
END_TEST

START_TEST(links_are_followed_without_end)
{
    sample_folder("a");
    sample_folder("a/in");
    sample_folder("b");
    copy_image("rgb.png", "b/1.png");
    ck_assert_int_eq(symlink("..", sample_path("a/in/up")), 0);
    ck_assert_int_eq(symlink(".", sample_path("a/in/self")), 0);
    ck_assert_int_eq(symlink("../../b", sample_path("a/in/other")), 0);
    ck_assert_int_eq(symlink("../b/1.png", sample_path("a/link.png")), 0);
    ck_assert_int_eq(symlink("nowhere", sample_path("a/in/broken.txt")), 0);
    expect("flat", "a", NULL, 2, 0);
    expect_picture(0, -1);
    ck_assert_int_eq(symlink("nowhere", sample_path("a/in/broken.png")), 0);
    expect_refusal("flat", "a", NULL, MIO_ERROR_IO, "a/in/broken.png");
    ck_assert_int_eq(mkfifo(sample_path("b/2.png"), 0600), 0);
    expect("flat", "b", NULL, 1, 0);
    expect_refusal("flat", "b/2.png", NULL, MIO_ERROR_IO, "not a regular file");
    mio_dataset_release(dataset);
}
END_TEST

/* A pax record with its own length in front. */
static void add_pax(sample_bytes *tar, const char *key, const char *value)
{
    char record[600];
    size_t length = strlen(key) + strlen(value) + 3, digits = 1;
    while (snprintf(record, sizeof record, "%zu", length + digits) != (int)digits)
        digits++;
    snprintf(record, sizeof record, "%zu %s=%s\n", length + digits, key, value);
    sample_tar_add(tar, "PaxHeader", 'x', record, strlen(record));
}

START_TEST(tar_of_classes_with_long_names)
{
    sample_bytes png = sample_read(image_file("rgb.png")), tar = {0};
    char name[300] = "train/zebra/";
    memset(name + 12, 'n', 200);
    strcpy(name + 212, ".png");
    sample_tar_add(&tar, "././@LongLink", 'L', name, strlen(name) + 1);
    sample_tar_add(&tar, "train/zebra/cut", '0', png.bytes, png.size);
    memcpy(name + 6, "apple", 5);
    sample_tar_add(&tar, "pax_global_header", 'g', "19 comment=nothing\n", 19);
    add_pax(&tar, "path", name);
    sample_tar_add(&tar, "train/apple/cut", '0', png.bytes, png.size);
    add_pax(&tar, "size", "4");
    sample_tar_add(&tar, "train/readme", '0', "text", 4);
    sample_tar_add(&tar, "./train/apple/1.png", 0, png.bytes, png.size);
    sample_tar_add(&tar, "train/apple/._1.png", '0', "fork", 4);
    sample_tar_add(&tar, "trainer/pear/1.png", '0', png.bytes, png.size);
    sample_bytes whole = {0};
    sample_append(&whole, tar.bytes, tar.size);
    sample_tar_end(&whole);
    sample_bytes packed = sample_gzip(&whole);
    sample_write("t.tar.gz", packed.bytes, packed.size);
    expect("folder", "t.tar.gz", "train", 3, 2);
    ck_assert_str_eq(mio_dataset_class_name(dataset, 0), "apple");
    ck_assert_str_eq(mio_dataset_class_name(dataset, 1), "zebra");
    expect_picture(0, 0);
    expect_picture(1, 0);
    expect_picture(2, 1);
    expect("flat", "t.tar.gz", NULL, 4, 0);
    mio_dataset_release(dataset);
    dataset = NULL;
    expect_refusal("folder", "t.tar.gz", "test", MIO_ERROR_ARGUMENT, "in 'test'");
    sample_write("cut.tar", tar.bytes, tar.size);
    expect_refusal("folder", "cut.tar", "train", MIO_ERROR_FORMAT, "without its end mark");
    sample_append(&whole, "x", 1);
    sample_write("more.tar", whole.bytes, whole.size);
    expect_refusal("folder", "more.tar", "train", MIO_ERROR_FORMAT, "follow the archive's end mark");
    const size_t size = tar.size;
    sample_tar_add(&tar, "train/apple/2.png", '2', NULL, 0);
    sample_write("link.tar", tar.bytes, tar.size);
    expect_refusal("folder", "link.tar", "train", MIO_ERROR_UNSUPPORTED, "train/apple/2.png' is a link");
    tar.size = size;
    sample_tar_add(&tar, "train/apple/1.png", '0', png.bytes, png.size);
    sample_tar_end(&tar);
    sample_write("twice.tar", tar.bytes, tar.size);
    expect_refusal("folder", "twice.tar", "train", MIO_ERROR_FORMAT, "'apple/1.png' twice");
    tar.size = size;
    sample_tar_add(&tar, "train/apple/3.png", '0', png.bytes, png.size - 5);
    sample_tar_end(&tar);
    sample_write("bad.tar", tar.bytes, tar.size);
    expect_refusal("folder", "bad.tar", "train", MIO_ERROR_FORMAT, "bad.tar', member 'apple/3.png', offset");
    sample_free(&png);
    sample_free(&tar);
    sample_free(&whole);
    sample_free(&packed);
}
END_TEST

/* rgb.png with another width and height in its header, the checksum made good. */
static void write_bomb(const char *name, unsigned width, unsigned height)
{
    sample_bytes png = sample_read(image_file("rgb.png"));
    for (unsigned i = 0; i < 4; i++) {
        png.bytes[16 + i] = (unsigned char)(width >> (24 - 8 * i));
        png.bytes[20 + i] = (unsigned char)(height >> (24 - 8 * i));
    }
    unsigned long crc = 0xffffffffu; /* bit by bit: zlib's is not this test's to link */
    for (size_t i = 12; i < 29; i++) {
        crc ^= png.bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    crc ^= 0xffffffffu;
    for (unsigned i = 0; i < 4; i++)
        png.bytes[29 + i] = (unsigned char)(crc >> (24 - 8 * i));
    sample_write(name, png.bytes, png.size);
    sample_free(&png);
}

START_TEST(bombs_are_refused)
{
    sample_folder("bomb");
    write_bomb("bomb/1.png", 900000, 900000);
    expect_refusal("flat", "bomb", NULL, MIO_ERROR_FORMAT, "bomb/1.png', offset 0: the header claims more than 2^28 pixels");
    write_bomb("bomb/1.png", 16384, 16384);
    expect_refusal("flat", "bomb", NULL, MIO_ERROR_FORMAT, "bomb/1.png");
    write_bomb("bomb/1.png", 0, 10);
    expect_refusal("flat", "bomb", NULL, MIO_ERROR_FORMAT, "bomb/1.png");
}
END_TEST
#endif

/* Reads expected.txt and compares with what each file decodes to: PNG exactly, JPEG within 2 levels, which decoders
   other than libjpeg-turbo may differ by. */
START_TEST(images_as_pil_decodes_them)
{
    FILE *expected = fopen(image_file("expected.txt"), "r");
    ck_assert_ptr_nonnull(expected);
    char name[64];
    size_t height, width, channels, files = 0;
    ck_assert_int_eq(fscanf(expected, "# %*[^\n]"), 0);
    while (fscanf(expected, "%63s %zu %zu %zu", name, &height, &width, &channels) == 4) {
        const int is_jpeg = strcasecmp(name + strlen(name) - 4, ".png") != 0;
        int skip = 0;
#ifndef MIO_HAVE_JPEG
        skip |= is_jpeg;
#endif
#ifndef MIO_HAVE_PNG
        skip |= !is_jpeg;
#endif
        char folder[128];
        snprintf(folder, sizeof folder, "f%zu", files++);
        sample_folder(folder);
        snprintf(folder + strlen(folder), sizeof folder - strlen(folder), "/%s", name);
        copy_image(name, folder);
        *strchr(folder, '/') = 0;
        uint8_t pixels[9 * 13 * 3];
        if (skip) {
            expect_refusal("flat", folder, NULL, MIO_ERROR_UNSUPPORTED, "this build cannot read");
        } else {
            expect("flat", folder, NULL, 1, 0);
            ck_assert_uint_eq(mio_dataset_channels(dataset), channels);
            ck_assert_int_eq(mio_dataset_image(dataset, 0, sizeof pixels, pixels), MIO_OK);
        }
        for (size_t i = 0; i < height * width * channels; i++) {
            int value;
            ck_assert_int_eq(fscanf(expected, "%d", &value), 1);
            ck_assert_msg(skip || abs(pixels[i] - value) <= (is_jpeg ? 2 : 0), "%s: byte %zu is %d, not %d", name, i,
                          pixels[i], value);
        }
    }
    fclose(expected);
    ck_assert_uint_eq(files, 13);
    mio_dataset_release(dataset);
}
END_TEST

enum { LARGEST = 48 * 64 * 3 };

typedef struct picture {
    size_t height, width, channels;
    uint8_t pixels[LARGEST];
} picture;

/* One image as "flat" reads it with the given limit. */
static void read_reduced(const char *name, size_t shorter_side, picture *to)
{
    char file[128];
    const mio_dataset_options options = {sizeof options, shorter_side};
    snprintf(file, sizeof file, "one/%s", name);
    copy_image(name, file);
    mio_dataset_release(dataset);
    dataset = NULL;
    ck_assert_int_eq(mio_dataset_open_with(context, "flat", sample_path("one"), NULL, &options, &dataset), MIO_OK);
    ck_assert_int_eq(mio_dataset_image_size(dataset, 0, &to->height, &to->width), MIO_OK);
    ck_assert_int_eq(mio_dataset_image(dataset, 0, LARGEST, to->pixels), MIO_OK);
    to->channels = mio_dataset_channels(dataset);
    remove(sample_path(file));
}

/* Length that output `o` of `outputs` and input `i` of `inputs` share, in units of which an output has `inputs`. */
static size_t overlap(size_t o, size_t outputs, size_t i, size_t inputs)
{
    const size_t low = o * inputs > i * outputs ? o * inputs : i * outputs;
    const size_t high = (o + 1) * inputs < (i + 1) * outputs ? (o + 1) * inputs : (i + 1) * outputs;
    return high > low ? high - low : 0;
}

/* Mean difference to the area averages of the whole image. */
static double difference(const picture *whole, const picture *reduced)
{
    double difference = 0;
    const size_t size = reduced->height * reduced->width * reduced->channels, area = whole->height * whole->width;
    for (size_t i = 0; i < size; i++) {
        const size_t c = i % whole->channels, x = i / whole->channels % reduced->width;
        const size_t y = i / whole->channels / reduced->width;
        size_t sum = 0;
        for (size_t v = 0; v < whole->height; v++)
            for (size_t u = 0; u < whole->width; u++)
                sum += overlap(y, reduced->height, v, whole->height) * overlap(x, reduced->width, u, whole->width) *
                       whole->pixels[(v * whole->width + u) * whole->channels + c];
        difference += abs(reduced->pixels[i] - (int)((sum + area / 2) / area));
    }
    return difference / (double)size;
}

START_TEST(images_are_reduced)
{
    /* Below `exact` a JPEG is scaled in its DCT, where an average is one only nearly. */
    static const struct {
        const char *name;
        int is_jpeg;
        size_t first, exact;
    } cases[] = {{"rgb.png", 0, 1, 1},    {"interlaced.png", 0, 1, 1}, {"grey.png", 0, 1, 1},
                 {"rgb444.JPG", 1, 6, 6}, {"grey.jpg", 1, 6, 6},       {"smooth.jpg", 1, 6, 25}};
    static picture whole, reduced;
    sample_folder("one");
    for (size_t n = 0; n < 6; n++) {
#ifndef MIO_HAVE_JPEG
        if (cases[n].is_jpeg)
            continue;
#endif
#ifndef MIO_HAVE_PNG
        if (!cases[n].is_jpeg)
            continue;
#endif
        read_reduced(cases[n].name, 64, &whole);
        for (size_t side = cases[n].first; side <= whole.height; side++) {
            read_reduced(cases[n].name, side, &reduced);
            ck_assert_uint_eq(reduced.height, side);
            ck_assert_uint_eq(reduced.width, (whole.width * side + whole.height / 2) / whole.height);
            const double apart = difference(&whole, &reduced);
            ck_assert_msg(apart <= (side < cases[n].exact ? 2.5 : 0), "%s at %zu: %g apart", cases[n].name, side, apart);
        }
    }
    const mio_dataset_options options = {1, 3};
    mio_dataset *none = NULL;
    ck_assert_int_eq(mio_dataset_open_with(context, "flat", sample_path("one"), NULL, &options, &none),
                     MIO_ERROR_ARGUMENT);
    mio_dataset_release(dataset);
}
END_TEST

#ifdef MIO_HAVE_JPEG
START_TEST(jpeg_refusals)
{
    sample_folder("j");
    copy_image("cmyk.jpg", "j/1.jpg");
    expect_refusal("flat", "j", NULL, MIO_ERROR_UNSUPPORTED, "CMYK");
    sample_bytes jpeg = sample_read(image_file("rgb420.jpg"));
    sample_write("j/1.jpg", jpeg.bytes, jpeg.size - 20);
    expect_refusal("flat", "j", NULL, MIO_ERROR_FORMAT, "j/1.jpg', offset ");
    sample_write("j/1.jpg", "GIF89a", 6);
    expect_refusal("flat", "j", NULL, MIO_ERROR_FORMAT, "neither a JPEG nor a PNG");
    sample_write("j/1.jpg", "", 0);
    expect_refusal("flat", "j", NULL, MIO_ERROR_FORMAT, "the file is empty");
    sample_free(&jpeg);
}
END_TEST

#ifdef MIO_HAVE_PNG
/* The first bad file in the order of names is the one reported, however many threads look. */
START_TEST(failure_is_the_first_in_order)
{
    sample_folder("many");
    for (size_t i = 0; i < 60; i++) {
        char name[64];
        snprintf(name, sizeof name, "many/%02zu.png", i);
        copy_image("rgb.png", name);
        if (i == 23 || i == 24 || i == 50)
            sample_write(name, "bad", 3);
    }
    for (double threads = 1; threads < 9; threads += 3) {
        ck_assert_int_eq(mio_context_set(context, "threads", threads), MIO_OK);
        mio_dataset *none = NULL;
        ck_assert_int_eq(mio_dataset_open(context, "flat", sample_path("many"), NULL, &none), MIO_ERROR_FORMAT);
        ck_assert_ptr_nonnull(strstr(mio_last_error(), "many/23.png', offset 0"));
    }
}
END_TEST
#endif
#endif

int main(void)
{
    TCase *cases = tcase_create("formats");
    tcase_add_checked_fixture(cases, start, stop);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, idx_under_every_name);
    tcase_add_test(cases, idx_refusals);
    tcase_add_test(cases, cifar10_in_folders_and_tars);
    tcase_add_test(cases, cifar100_labels);
    tcase_add_test(cases, cifar10_refusals);
    tcase_add_test(cases, stl10_splits);
    tcase_add_test(cases, images_as_pil_decodes_them);
    tcase_add_test(cases, images_are_reduced);
#ifdef MIO_HAVE_PNG
    tcase_add_test(cases, folder_of_classes);
    tcase_add_test(cases, links_are_followed_without_end);
    tcase_add_test(cases, tar_of_classes_with_long_names);
    tcase_add_test(cases, bombs_are_refused);
#endif
#ifdef MIO_HAVE_JPEG
    tcase_add_test(cases, jpeg_refusals);
#ifdef MIO_HAVE_PNG
    tcase_add_test(cases, failure_is_the_first_in_order);
#endif
#endif
    Suite *suite = suite_create("formats");
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
