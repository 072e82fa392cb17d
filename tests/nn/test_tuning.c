/* Measured choices of an encoder: made, followed, seen, kept in files. */
#define _DEFAULT_SOURCE /* mkstemp */
#include "small_networks.h"

#include "kernels/target.h"

#include <math.h>
#include <string.h>

static const char *const algorithms[] = {"exact", "accurate", "fast"};
static const char *const methods[] = {"direct", "winograd2", "winograd4"};

/* A file with these bytes at `path`. */
static void write_file(const char *text, size_t length)
{
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, length, file), length);
    ck_assert_int_eq(fclose(file), 0);
}

static char *read_file(void)
{
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    char *text = calloc(1, 1 << 16);
    ck_assert_uint_lt(fread(text, 1, 1 << 16, file), 1 << 16);
    fclose(file);
    return text;
}

static char *table_of(const mio_encoder *encoder)
{
    good(mio_encoder_save_tuning(encoder, path));
    return read_file();
}

static mio_convolution_info convolution(const mio_encoder *encoder, size_t views, size_t count, size_t index)
{
    mio_convolution_info info = {.struct_size = sizeof info};
    good(mio_encoder_convolution(encoder, views, count, index, &info));
    return info;
}

static int place_of(const char *method)
{
    for (int i = 0; i < 3; i++)
        if (!strcmp(methods[i], method))
            return i;
    return -1;
}

/* A table in which each pass of every 3x3 stride-1 convolution of wide layers has a method of its own. */
static void force(mio_encoder *encoder, size_t views, size_t count, const char *const named[4])
{
    static const char *const passes[] = {"forward", "data", "weights", "infer"};
    char text[1 << 15];
    size_t at = (size_t)snprintf(text, sizeof text, "libmio tuning 1\n");
    for (size_t i = 0; i < mio_encoder_convolution_count(encoder); i++) {
        const mio_convolution_info info = convolution(encoder, views, count, i);
        const mio__images images = mio__images_of(views, count);
        if (info.kernel != 3 || info.stride != 1 || info.in_channels < 16)
            continue;
        for (int pass = 0; pass < 4; pass++) {
            char row[160];
            snprintf(row, sizeof row, "%s fp32 %s %zu %zu %zu %zu %zu 3 1 1 ", passes[pass], mio__target_name(),
                     pass == 3 ? 32 : images.views * images.groups * images.lanes, info.in_channels, info.out_channels,
                     info.height, info.width);
            if (!strstr(text, row))
                at += (size_t)snprintf(text + at, sizeof text - at, "%s%s\n", row, named[pass]);
        }
    }
    write_file(text, at);
    good(mio_encoder_load_tuning(encoder, path));
}

/* Features, projections and all gradients of one training pass; the caller frees. */
static float *train(mio_encoder *encoder, size_t count, size_t *size)
{
    const mio__tensor *tensors;
    const size_t tensor_count = mio__encoder_tensors(encoder, &tensors), outputs = 2 * count * PROJECTIONS;
    float *images = numbers(1, 2 * count * 3 * 256);
    *size = outputs;
    for (size_t t = 0; t < tensor_count; t++)
        *size += tensors[t].trainable ? tensors[t].count : 0;
    float *all = malloc(*size * sizeof *all), *next = all + outputs, *grad = numbers(2, outputs);
    good(mio_encoder_forward(encoder, 2, count, images, NULL, all));
    good(mio_encoder_backward(encoder, grad, NULL));
    for (size_t t = 0; t < tensor_count; t++)
        if (tensors[t].trainable) {
            good(mio_encoder_get_gradient(encoder, tensors[t].name, tensors[t].count, next));
            next += tensors[t].count;
        }
    free(images), free(grad);
    return all;
}

static double error(size_t count, const float *got, const float *expected)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        difference += ((double)got[i] - (double)expected[i]) * ((double)got[i] - (double)expected[i]);
        size += (double)expected[i] * (double)expected[i];
    }
    return sqrt(difference / size);
}

/* ---- the tuner ---- */

/* Whatever it measures, the encoder keeps to what its parameter permits, also when that changes afterwards. */
START_TEST(keeps_to_the_algorithm)
{
    mio_encoder *encoder = resnet(context, 16);
    good(mio_encoder_set_text(encoder, "algorithm", algorithms[_i]));
    good(mio_encoder_tune(encoder, 2, 16, 0));
    good(mio_encoder_tune(encoder, 0, 64, 0));
    good(mio_encoder_tune(encoder, 0, 1, 0));
    size_t tuned = 0;
    for (int lower = _i; lower >= 0; lower--) {
        good(mio_encoder_set_text(encoder, "algorithm", algorithms[lower]));
        for (size_t i = 0; i < mio_encoder_convolution_count(encoder); i++) {
            const mio_convolution_info info = convolution(encoder, 2, 16, i);
            ck_assert_int_le(place_of(info.forward), lower);
            ck_assert_int_le(place_of(info.weight_gradient), lower);
            if (info.data_gradient)
                ck_assert_int_le(place_of(info.data_gradient), lower);
            ck_assert_int_le(place_of(convolution(encoder, 0, 64, i).forward), lower);
            if (lower == _i)
                tuned += (size_t)info.tuned;
            ck_assert_int_eq(convolution(encoder, 2, 64, i).tuned, 0); /* other batches are not tuned */
        }
    }
    ck_assert_int_eq(tuned > 0, _i > 0);
    if (_i) {
        good(mio_encoder_set_text(encoder, "algorithm", algorithms[_i]));
        ck_assert_int_eq(convolution(encoder, 0, 17, 2).tuned, 1); /* 17 images go in groups of 32 */
        ck_assert_int_eq(convolution(encoder, 0, 1, 2).tuned, 1);
    }
    good(mio_encoder_clear_tuning(encoder));
    ck_assert_int_eq(convolution(encoder, 2, 16, 2).tuned, 0);
    mio_encoder_release(encoder);
}
END_TEST

START_TEST(tuner_refuses)
{
    mio_encoder *encoder = small(context);
    mio_convolution_info info = {.struct_size = sizeof info};
    refused(mio_encoder_tune(NULL, 2, 4, 0), MIO_ERROR_ARGUMENT, "NULL");
    refused(mio_encoder_tune(encoder, 2, 0, 0), MIO_ERROR_ARGUMENT, "images is 0");
    refused(mio_encoder_tune(encoder, SIZE_MAX / 2, 4, 0), MIO_ERROR_ARGUMENT, "too many");
    refused(mio_encoder_tune(encoder, 2, 4, -1), MIO_ERROR_ARGUMENT, "-1 seconds");
    refused(mio_encoder_tune(encoder, 2, 4, NAN), MIO_ERROR_ARGUMENT, "seconds");
    refused(mio_encoder_save_tuning(encoder, NULL), MIO_ERROR_ARGUMENT, "path");
    refused(mio_encoder_save_tuning(encoder, "/nowhere/table"), MIO_ERROR_IO, "/nowhere/table");
    refused(mio_encoder_load_tuning(encoder, NULL), MIO_ERROR_ARGUMENT, "path");
    refused(mio_encoder_load_tuning(encoder, "/nowhere/table"), MIO_ERROR_IO, "'/nowhere/table'");
    refused(mio_encoder_load_tuning(encoder, "/tmp"), MIO_ERROR_IO, "regular file");
    refused(mio_encoder_clear_tuning(NULL), MIO_ERROR_ARGUMENT, "NULL");
    refused(mio_encoder_convolution(encoder, 1, 4, 6, &info), MIO_ERROR_ARGUMENT, "no index 6");
    refused(mio_encoder_convolution(encoder, 1, 0, 0, &info), MIO_ERROR_ARGUMENT, "images is 0");
    refused(mio_encoder_convolution(encoder, 1, 4, 0, NULL), MIO_ERROR_ARGUMENT, "info");
    info.struct_size = 0;
    refused(mio_encoder_convolution(encoder, 1, 4, 0, &info), MIO_ERROR_ARGUMENT, "struct_size");
    ck_assert_uint_eq(mio_encoder_convolution_count(NULL), 0);
    mio_encoder_release(encoder);
}
END_TEST

/* ---- introspection ---- */

START_TEST(convolutions_are_described)
{
    mio_encoder *encoder = small(context);
    ck_assert_uint_eq(mio_encoder_convolution_count(encoder), 6);
    const mio_convolution_info first = convolution(encoder, 2, 4, 0), second = convolution(encoder, 0, 4, 1),
                               third = convolution(encoder, 2, 4, 2), last = convolution(encoder, 2, 4, 5);
    ck_assert_str_eq(first.name, "conv0");
    ck_assert_uint_eq(first.in_channels, 3);
    ck_assert_uint_eq(first.out_channels, 12);
    ck_assert_uint_eq(first.height, HEIGHT);
    ck_assert_uint_eq(first.width, WIDTH);
    ck_assert_uint_eq(first.kernel, 3);
    ck_assert_uint_eq(first.stride, 1);
    ck_assert_uint_eq(first.padding, 1);
    ck_assert_str_eq(first.forward, "direct");
    ck_assert_str_eq(first.weight_gradient, "direct");
    ck_assert_ptr_null(first.data_gradient); /* of the images */
    ck_assert_ptr_null(second.data_gradient);
    ck_assert_ptr_null(second.weight_gradient);
    ck_assert_str_eq(third.data_gradient, "direct");
    ck_assert_uint_eq(third.stride, 2);
    ck_assert_uint_eq(last.in_channels, 7);
    ck_assert_uint_eq(last.out_channels, PROJECTIONS);
    ck_assert_uint_eq(last.height, 1);
    ck_assert_uint_eq(last.kernel, 1);
    mio_convolution_info part;
    memset(&part, 0x55, sizeof part);
    part.struct_size = offsetof(mio_convolution_info, kernel);
    good(mio_encoder_convolution(encoder, 2, 4, 0, &part));
    ck_assert_uint_eq(part.width, WIDTH);
    ck_assert_uint_eq(part.kernel & 0xff, 0x55); /* beyond what the caller has */
    mio_encoder_release(encoder);
}
END_TEST

/* ---- results ---- */

/* Every method, forced upon a pass, gives what direct gives: the last bits may turn a ReLU over, which is a thousandth
   of a gradient, where a wrong method would leave nothing of it. A backward pass follows the choices of its forward
   pass. */
START_TEST(forced_choices_agree)
{
    mio_encoder *encoder = resnet(context, 16);
    size_t size;
    good(mio_encoder_set_text(encoder, "algorithm", "exact"));
    float *exact = train(encoder, 16, &size);
    good(mio_encoder_set_text(encoder, "algorithm", "fast"));
    for (int i = 0; i < 27; i += 2) {
        const char *const named[4] = {methods[i % 3], methods[i / 3 % 3], methods[i / 9], methods[i % 3]};
        force(encoder, 2, 16, named);
        float *got = train(encoder, 16, &size);
        ck_assert_str_eq(mio__encoder_layer_algorithm(encoder, "layer1.1.conv2"), named[0]);
        const mio_convolution_info info = convolution(encoder, 2, 16, 2);
        ck_assert_str_eq(info.name, "layer1.0.conv2");
        ck_assert_str_eq(info.forward, named[0]);
        ck_assert_str_eq(info.data_gradient, named[1]);
        ck_assert_str_eq(info.weight_gradient, named[2]);
        ck_assert_int_eq(info.tuned, 3);
        ck_assert_double_lt(error(size, got, exact), 1e-2);
        free(got);
    }
    free(exact);
    mio_encoder_release(encoder);
}
END_TEST

/* The same table gives the same bits, whoever made it and with any number of threads. */
START_TEST(table_decides_the_bits)
{
    static const double threads[] = {2, 1, 5};
    float *results[3];
    size_t size;
    mio_encoder *first = resnet(context, 16);
    good(mio_encoder_tune(first, 2, 17, 0));
    good(mio_encoder_tune(first, 0, 17, 0));
    char *table = table_of(first), *copy;
    for (int i = 0; i < 3; i++) {
        mio_encoder *encoder = resnet(context, 16);
        write_file(table, strlen(table));
        good(mio_encoder_load_tuning(encoder, path));
        copy = table_of(encoder);
        ck_assert_str_eq(copy, table);
        free(copy);
        good(mio_context_set(context, "threads", threads[i]));
        results[i] = train(encoder, 17, &size);
        if (i)
            ck_assert_mem_eq(results[i], results[0], size * sizeof *results[0]);
        mio_encoder_release(encoder);
    }
    float *own = train(first, 17, &size);
    ck_assert_mem_eq(own, results[0], size * sizeof *own);
    for (int i = 0; i < 3; i++)
        free(results[i]);
    free(own), free(table);
    mio_encoder_release(first);
}
END_TEST

/* An image has the same bits among few and many, as long as it goes by 16 or more. */
START_TEST(evaluation_stays_invariant)
{
    static const char *const named[4] = {"direct", "direct", "direct", "winograd2"};
    float *images = numbers(1, 40 * 3 * 256), *many = malloc(40 * 128 * sizeof *many),
          *few = malloc(16 * 128 * sizeof *few);
    mio_encoder *encoder = resnet(context, 16);
    good(mio_encoder_set(encoder, "batch_invariant", 1));
    force(encoder, 2, 16, named);
    ck_assert_str_eq(convolution(encoder, 0, 3, 1).forward, "winograd2");
    ck_assert_str_eq(convolution(encoder, 0, 40, 1).forward, "winograd2");
    good(mio_encoder_infer(encoder, 40, images, many, NULL));
    good(mio_encoder_infer(encoder, 3, images, few, NULL));
    ck_assert_mem_eq(few, many, 3 * 128 * sizeof *few);
    good(mio_encoder_clear_tuning(encoder)); /* followed at once, also by plans that exist */
    good(mio_encoder_infer(encoder, 40, images, few = realloc(few, 40 * 128 * sizeof *few), NULL));
    ck_assert_mem_ne(few, many, 40 * 128 * sizeof *few);
    ck_assert_double_lt(error(40 * 128, few, many), 1e-4);
    free(images), free(many), free(few);
    mio_encoder_release(encoder);
}
END_TEST

/* ---- files ---- */

START_TEST(bad_files_change_nothing)
{
    static const char bad[] = "libmio tuning 1\n\nforward fp32 avx512 64 16 16 8 8 3 1 1 sideways\n";
    mio_encoder *encoder = resnet(context, 16);
    char words[160];
    good(mio_encoder_tune(encoder, 1, 16, 0));
    char *before = table_of(encoder), *after;
    write_file(bad, sizeof bad - 1);
    snprintf(words, sizeof words, "'%s', line 3: there is no algorithm 'sideways'", path);
    refused(mio_encoder_load_tuning(encoder, path), MIO_ERROR_FORMAT, words);
    after = table_of(encoder);
    ck_assert_str_eq(before, after);
    free(before), free(after);
    mio_encoder_release(encoder);
}
END_TEST

/* Rows for other shapes, precisions and targets do nothing, and are not lost. */
START_TEST(foreign_rows_are_kept)
{
    static const char rows[] = "forward fp32 %s 64 48 48 9 9 3 1 1 direct\n"
                               "forward fp32 other_cpu 32 16 16 16 16 3 1 1 direct\n"
                               "forward bf16 %s 32 16 16 16 16 3 1 1 winograd2 direct=3\n"
                               "weights fp32 %s 16 16 16 16 16 3 1 1 direct\n";
    char text[1024];
    mio_encoder *encoder = resnet(context, 16);
    const size_t head = (size_t)snprintf(text, sizeof text, "libmio tuning 1\n");
    snprintf(text + head, sizeof text - head, rows, mio__target_name(), mio__target_name(), mio__target_name());
    write_file(text, strlen(text));
    good(mio_encoder_load_tuning(encoder, path));
    for (size_t i = 0; i < mio_encoder_convolution_count(encoder); i++)
        ck_assert_int_eq(convolution(encoder, 2, 16, i).tuned, 0);
    char *kept = table_of(encoder);
    for (char *row = strtok(text + head, "\n"); row; row = strtok(NULL, "\n"))
        ck_assert_msg(strstr(kept, strchr(row, ' ')) != NULL, "'%s' is lost", row);
    free(kept);
    mio_encoder_release(encoder);
}
END_TEST

/* Encoder files and copies keep the table. */
START_TEST(encoders_keep_their_table)
{
    static const char *const named[4] = {"winograd2", "direct", "winograd2", "direct"};
    mio_encoder *encoder = resnet(context, 16), *loaded, *copy;
    size_t size;
    force(encoder, 2, 16, named);
    char *table = table_of(encoder), *tables[2];
    good(mio_encoder_save(encoder, path));
    good(mio_encoder_load(context, path, &loaded));
    good(mio__encoder_copy(encoder, &copy));
    tables[0] = table_of(loaded);
    tables[1] = table_of(copy);
    float *results[3] = {train(encoder, 16, &size), train(loaded, 16, &size), train(copy, 16, &size)};
    for (int i = 0; i < 2; i++) {
        ck_assert_str_eq(tables[i], table);
        ck_assert_mem_eq(results[0], results[i + 1], size * sizeof **results);
        free(tables[i]);
    }
    for (int i = 0; i < 3; i++)
        free(results[i]);
    free(table);
    mio_encoder_release(encoder);
    mio_encoder_release(loaded);
    mio_encoder_release(copy);
}
END_TEST

/* A record that holds no table. */
START_TEST(damaged_record_is_refused)
{
    static const char text[] = "libmio tuning 1\nforward\n";
    mio__archive_writer *writer;
    mio__archive *archive;
    mio__tuning tuning;
    good(mio__archive_create(context, path, "ENCO", &writer));
    good(mio__archive_put(writer, "encoder/tuning", text, sizeof text - 1));
    good(mio__archive_commit(writer));
    good(mio__archive_open(context, path, &archive));
    refused(mio__encoder_read_tuning(context, archive, &tuning), MIO_ERROR_FORMAT,
            "record 'encoder/tuning' at offset 62: table, line 2: the line ends");
    mio__archive_close(archive);
}
END_TEST

/* ---- memory ---- */

static mio_status life(mio_encoder *encoder, mio_encoder **other)
{
    mio_status status = mio_encoder_tune(encoder, 1, 2, 0);
    if (!status)
        status = mio_encoder_save_tuning(encoder, path);
    if (!status)
        status = mio_encoder_load_tuning(encoder, path);
    if (!status)
        status = mio__encoder_copy(encoder, other);
    if (!status)
        status = mio_encoder_save(encoder, path);
    mio_encoder_release(*other);
    *other = NULL;
    if (!status)
        status = mio_encoder_load(context, path, other);
    mio_encoder_release(*other);
    *other = NULL;
    return status;
}

START_TEST(out_of_memory)
{
    mio_builder *b;
    mio_encoder *encoder, *other = NULL;
    good(mio_builder_create(context, 16, 6, 6, &b));
    const mio_node x = mio_builder_conv2d(b, mio_builder_conv2d(b, mio_builder_input(b), 16, 3, 1, 1), 16, 3, 1, 1);
    good(mio_builder_finish(b, mio_builder_global_average_pool(b, x), -1, &encoder));
    mio_builder_release(b);
    size_t refusals = 0;
    for (;; refusals++) {
        good(mio_encoder_clear_tuning(encoder));
        const size_t blocks = atomic_load(&allocator.blocks);
        test_allocator_fail_at(&allocator, refusals + 1);
        const mio_status status = life(encoder, &other);
        test_allocator_fail_at(&allocator, 0);
        if (!status)
            break;
        ck_assert_int_eq(status, MIO_ERROR_MEMORY);
        good(mio_encoder_clear_tuning(encoder));
        ck_assert_uint_eq(atomic_load(&allocator.blocks), blocks);
    }
    ck_assert_uint_gt(refusals, 30);
    mio_encoder_release(encoder);
}
END_TEST

/* Batches beyond the address space are refused, not measured. */
START_TEST(too_large_a_batch)
{
    mio_encoder *encoder = resnet(context, 64);
    test_allocator_fail_from(&allocator, 3);
    ck_assert_int_eq(mio_encoder_tune(encoder, 2, 1 << 20, 0), MIO_ERROR_MEMORY);
    test_allocator_fail_at(&allocator, 0);
    ck_assert_int_eq(convolution(encoder, 2, 1 << 20, 1).tuned, 0);
    mio_encoder_release(encoder);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tuning");
    TCase *tuner = group(suite, "tuner"), *results = group(suite, "results"), *files = group(suite, "files");
    tcase_add_loop_test(tuner, keeps_to_the_algorithm, 0, 3);
    tcase_add_test(tuner, tuner_refuses);
    tcase_add_test(tuner, convolutions_are_described);
    tcase_add_test(tuner, out_of_memory);
    tcase_add_test(tuner, too_large_a_batch);
    tcase_add_test(results, forced_choices_agree);
    tcase_add_test(results, table_decides_the_bits);
    tcase_add_test(results, evaluation_stays_invariant);
    tcase_add_test(files, bad_files_change_nothing);
    tcase_add_test(files, foreign_rows_are_kept);
    tcase_add_test(files, encoders_keep_their_table);
    tcase_add_test(files, damaged_record_is_refused);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
