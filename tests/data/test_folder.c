/* Folders and tars of images, and the images themselves. */
#define _XOPEN_SOURCE 700
#include "expect.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

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

static void expect_name(size_t index, const char *expected)
{
    const char *name = NULL;
    ck_assert_msg(!mio_dataset_image_name(dataset, index, &name), "%s", mio_last_error());
    ck_assert_str_eq(name, expected);
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
    expect_name(0, "b/0.png");
    expect_name(1, "b/deep/1.PNG");
    expect_name(2, "b a/2.pNg");
    uint8_t grey[9 * 13 * 3];
    ck_assert_int_eq(mio_dataset_image(dataset, 0, sizeof grey, grey), MIO_OK);
    for (size_t i = 0; i < sizeof grey; i += 3)
        ck_assert(grey[i] == grey[i + 1] && grey[i] == grey[i + 2]);
    ck_assert_uint_eq(grey[3 * 13], 29); /* as expected.txt has it for grey.png */
    expect("folder", "set/train", NULL, 3, 2);
    expect("flat", "set", NULL, 4, 0);
    expect_name(0, "train/b/0.png");
    expect("flat", "set", "train", 4, 0);
    expect_picture(3, -1);
    expect_name(3, "loose.png");
    sample_folder("set/train/empty");
    expect_refusal("folder", "set", "train", MIO_ERROR_ARGUMENT, "set/train/empty' holds no images");
    expect_refusal("folder", "set", "test", MIO_ERROR_IO, "set/test");
    expect_refusal("flat", "set/train/empty", NULL, MIO_ERROR_ARGUMENT, "holds no images");
    expect_refusal("folder", "set/train/b a", NULL, MIO_ERROR_ARGUMENT, "'flat'");
}
END_TEST

START_TEST(names_of_parts_are_the_parents)
{
    static const size_t indices[2] = {2, 0};
    static const size_t second[1] = {0};
    mio_dataset *part, *smaller;
    const char *name = NULL;
    sample_folder("c");
    copy_image("rgb.png", "c/1.png");
    copy_image("rgb.png", "c/2.png");
    copy_image("rgb.png", "c/3.png");
    expect("flat", "c", NULL, 3, 0);
    ck_assert_int_eq(mio_dataset_subset(dataset, 2, indices, &part), MIO_OK);
    ck_assert_int_eq(mio_dataset_subset(part, 1, second, &smaller), MIO_OK);
    mio_dataset_release(part);
    mio_dataset_release(dataset);
    dataset = smaller;
    expect_name(0, "3.png");
    ck_assert_int_eq(mio_dataset_image_name(dataset, 1, &name), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_image_name(dataset, 0, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_dataset_image_name(NULL, 0, &name), MIO_ERROR_ARGUMENT);
    mio_dataset_release(dataset);
    static const uint8_t pixels[2] = {0};
    ck_assert_int_eq(mio_dataset_from_memory(context, 2, 1, 1, 1, 0, pixels, NULL, &dataset), MIO_OK);
    ck_assert_int_eq(mio_dataset_image_name(dataset, 0, &name), MIO_ERROR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "'folder' and 'flat'"));
    ck_assert_ptr_null(name);
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
    expect_name(0, "apple/1.png");
    memcpy(name + 6, "zebra", 5);
    expect_name(2, name + 6);
    expect("flat", "t.tar.gz", NULL, 4, 0);
    expect_name(0, "train/apple/1.png");
    expect_name(3, "trainer/pear/1.png");
    expect_refusal("folder", "t.tar.gz", "test", MIO_ERROR_ARGUMENT, "in 'test'");
    expect("folder", "t.tar.gz", "./train//", 3, 2);
    static const char zeros[1000];
    sample_append(&packed, zeros, sizeof zeros); /* as a tape's last block leaves them */
    sample_write("padded.tar.gz", packed.bytes, packed.size);
    expect("folder", "padded.tar.gz", "train", 3, 2);
    sample_append(&packed, "x", 1);
    sample_write("padded.tar.gz", packed.bytes, packed.size);
    expect_refusal("folder", "padded.tar.gz", "train", MIO_ERROR_FORMAT, "the gzip data are corrupt");
    sample_bytes absolute = {0};
    sample_tar_add(&absolute, "/data/apple/1.png", '0', png.bytes, png.size);
    sample_tar_add(&absolute, "/data/pear/1.png", '0', png.bytes, png.size);
    sample_tar_end(&absolute);
    sample_write("absolute.tar", absolute.bytes, absolute.size);
    expect("folder", "absolute.tar", "data", 2, 2);
    ck_assert_str_eq(mio_dataset_class_name(dataset, 1), "pear");
    expect("folder", "absolute.tar", "/data", 2, 2);
    sample_free(&absolute);
    sample_bytes packed_image = sample_gzip(&png);
    sample_folder("packed");
    sample_write("packed/a.png", packed_image.bytes, packed_image.size);
    expect_refusal("flat", "packed", NULL, MIO_ERROR_FORMAT, "neither a JPEG nor a PNG");
    sample_free(&packed_image);
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
    expect_refusal("flat", "bomb", NULL, MIO_ERROR_FORMAT,
                   "bomb/1.png', offset 0: the header claims more than 2^28 pixels");
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
    const mio_dataset_options options = {sizeof options, shorter_side, 0};
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
            ck_assert_msg(apart <= (side < cases[n].exact ? 2.5 : 0), "%s at %zu: %g apart", cases[n].name, side,
                          apart);
        }
    }
    static const mio_dataset_options wrong[] = {{1, 3, 0}, {sizeof *wrong, 0, 1}, {sizeof *wrong, 0, 4}};
    mio_dataset *none = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert_int_eq(mio_dataset_open_with(context, "flat", sample_path("one"), NULL, &wrong[i], &none),
                         MIO_ERROR_ARGUMENT);
}
END_TEST

#ifdef MIO_HAVE_PNG
/* Grey images alone: of one channel, or of three equal ones where that is asked for. A caller that does not know the
   question gets the default. */
START_TEST(grey_images_as_colour)
{
    static const mio_dataset_options cases[] = {
        {sizeof *cases, 0, 0}, {sizeof *cases, 0, 3}, {offsetof(mio_dataset_options, channels), 0, 3}};
    uint8_t grey[9 * 13], pixels[9 * 13 * 3];
    sample_folder("grey");
    copy_image("grey.png", "grey/grey.png");
    for (size_t n = 0; n < 3; n++) {
        const size_t channels = n == 1 ? 3 : 1;
        mio_dataset_release(dataset);
        dataset = NULL;
        ck_assert_int_eq(mio_dataset_open_with(context, "flat", sample_path("grey"), NULL, &cases[n], &dataset),
                         MIO_OK);
        ck_assert_uint_eq(mio_dataset_channels(dataset), channels);
        ck_assert_int_eq(mio_dataset_image(dataset, 0, channels * sizeof grey, n == 1 ? pixels : grey), MIO_OK);
    }
    for (size_t i = 0; i < sizeof pixels; i++)
        ck_assert_uint_eq(pixels[i], grey[i / 3]);
}
END_TEST
#endif

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
    const TTest *const tests[] = {
        images_as_pil_decodes_them,
        images_are_reduced,
#ifdef MIO_HAVE_PNG
        folder_of_classes,
        grey_images_as_colour,
        names_of_parts_are_the_parents,
        links_are_followed_without_end,
        tar_of_classes_with_long_names,
        bombs_are_refused,
#endif
#ifdef MIO_HAVE_JPEG
        jpeg_refusals,
#endif
#if defined MIO_HAVE_JPEG && defined MIO_HAVE_PNG
        failure_is_the_first_in_order,
#endif
    };
    return expect_run("folder", sizeof tests / sizeof *tests, tests);
}
