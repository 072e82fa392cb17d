/* The readers of published formats on small valid files, and the words of their refusals. */
#include "expect.h"

#include <stdio.h>
#include <string.h>

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
    sample_free(&tar);
    sample_free(&packed);
}
END_TEST

START_TEST(cifar100_labels)
{
    sample_bytes records = sample_cifar(0, 10, 2);
    for (size_t i = 0; i < 10; i++) {
        records.bytes[i * 3074] = (unsigned char)(2 * i);      /* coarse, below 20 */
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
    expect_refusal("cifar100", "", "test", MIO_ERROR_FORMAT,
                   "test.bin', offset 9223: label 100; there are 100 classes");
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
    expect_refusal("cifar10", "", "train", MIO_ERROR_FORMAT,
                   "data_batch_4.bin', offset 0: 1 images, where the other batches have 2");
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
    expect_refusal("cifar10", "twice.tar", "test", MIO_ERROR_FORMAT,
                   "twice.tar', member 'y/test_batch.bin', offset 0: the archive holds 'test_batch.bin' twice");
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

int main(void)
{
    const TTest *const tests[] = {idx_under_every_name, idx_refusals,     cifar10_in_folders_and_tars,
                                  cifar100_labels,      cifar10_refusals, stl10_splits};
    return expect_run("formats", sizeof tests / sizeof *tests, tests);
}
