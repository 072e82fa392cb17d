/* The encoder's promises: tensors, refusals, passes, files, memory. */
#define _POSIX_C_SOURCE 200809L
#include "nn/small_networks.h"

#include <zlib.h>

/* ---- initialisation and tensors ---- */

typedef struct expectation {
    const char *name;
    size_t count;
    double deviation, bound;
} expectation;

/* Mean, deviation and bound of a tensor, within four standard errors; the same seed gives the same, another one
   others. */
static void check_drawing(mio_encoder *encoder, mio_encoder *same, const expectation *e)
{
    float *values = malloc(e->count * sizeof *values), *others = malloc(e->count * sizeof *values);
    double sum = 0, square = 0;
    good(mio_encoder_get_tensor(encoder, e->name, e->count, values));
    good(mio_encoder_get_tensor(same, e->name, e->count, others));
    ck_assert_int_eq(memcmp(values, others, e->count * sizeof *values), 0);
    for (size_t k = 0; k < e->count; k++) {
        ck_assert_double_le(fabs(values[k]), e->bound);
        sum += values[k];
        square += (double)values[k] * values[k];
    }
    const double n = (double)e->count;
    ck_assert_double_lt(fabs(sum / n), 4 * e->deviation / sqrt(n));
    ck_assert_double_lt(fabs(sqrt(square / n) / e->deviation - 1), 4 / sqrt(2 * n));
    good(mio_encoder_initialize(same, 1));
    good(mio_encoder_get_tensor(same, e->name, e->count, others));
    ck_assert_int_ne(memcmp(values, others, e->count * sizeof *values), 0);
    good(mio_encoder_initialize(same, 0));
    good(mio_encoder_get_tensor(same, e->name, e->count, others));
    ck_assert_int_eq(memcmp(values, others, e->count * sizeof *values), 0);
    free(values);
    free(others);
}

START_TEST(initial_weights)
{
    mio_builder *b;
    mio_encoder *encoder, *same;
    good(mio_builder_create(context, 3, 16, 16, &b));
    mio_node x = mio_builder_conv2d(b, mio_builder_input(b), 40, 5, 2, 2);
    x = mio_builder_batch_norm(b, x);
    const mio_node h = mio_builder_global_average_pool(b, mio_builder_conv2d(b, x, 60, 3, 1, 1));
    const mio_node z = mio_builder_linear(b, h, 50, 1);
    good(mio_builder_finish(b, h, z, &encoder));
    good(mio_builder_finish(b, h, z, &same));
    mio_builder_release(b);
    static const expectation torchvision[] = {
        {"conv0.weight", 40 * 3 * 25, 0.0447213595, 1},          /* sqrt(2 / (40 x 25)) */
        {"conv2.weight", 60 * 40 * 9, 0.0608580619, 1},          /* sqrt(2 / (60 x 9)) */
        {"linear4.weight", 50 * 60, 0.0745355992, 0.1290994449}, /* 1 / sqrt(60), its third */
        {"linear4.bias", 50, 0.0745355992, 0.1290994449},
    };
    static const expectation uniform[] = {
        {"conv0.weight", 40 * 3 * 25, 0.0666666667, 0.1154700539}, /* 1 / sqrt(3 x 25), its third */
        {"conv2.weight", 60 * 40 * 9, 0.0304290310, 0.0527046277}, /* 1 / sqrt(40 x 9), its third */
        {"linear4.weight", 50 * 60, 0.0745355992, 0.1290994449},
    };
    for (size_t i = 0; i < 4; i++)
        check_drawing(encoder, same, &torchvision[i]);
    good(mio_encoder_set_text(encoder, "initialization", "uniform"));
    good(mio_encoder_set_text(same, "initialization", "uniform"));
    good(mio_encoder_initialize(encoder, 0));
    good(mio_encoder_initialize(same, 0));
    for (size_t i = 0; i < 3; i++)
        check_drawing(encoder, same, &uniform[i]);
    float one;
    good(mio_encoder_get_tensor(encoder, "bn1.num_batches_tracked", 1, &one));
    ck_assert(one == 0);
    mio_encoder_release(encoder);
    mio_encoder_release(same);
}
END_TEST

/* Filling stays 0 in weights and gradients, whatever passes run. */
START_TEST(filling_stays_zero)
{
    mio_encoder *encoder = small(context);
    float *images = numbers(1, 2 * 5 * PIXELS);
    good(train_once(encoder, 2, 5, images));
    for (size_t i = 0; i < encoder->graph.tensor_count; i++) {
        const mio__tensor *tensor = &encoder->tensors[i];
        float *torch = malloc(tensor->count * sizeof *torch);
        mio__real *again = calloc(tensor->stored, sizeof *again);
        for (int gradient = 0; gradient <= tensor->trainable; gradient++) {
            const mio__real *stored = gradient ? tensor->gradient : tensor->value;
            mio__tensor_unpack(encoder, i, stored, torch);
            mio__tensor_pack(encoder, i, torch, again);
            for (size_t k = 0; k < tensor->stored; k++)
                ck_assert_msg(stored[k] == again[k], "%s: filling", tensor->name);
        }
        free(torch);
        free(again);
    }
    free(images);
    mio_encoder_release(encoder);
}
END_TEST

/* torchvision's names in its order; the file lists one tensor a line after the model's name. */
START_TEST(torchvision_names)
{
    static const char *const resnet18[] = {"conv1.weight",          "bn1.weight",         "bn1.bias",
                                           "bn1.running_mean",      "bn1.running_var",    "bn1.num_batches_tracked",
                                           "layer1.0.conv1.weight", "layer1.0.bn1.weight"};
    mio_builder *b;
    mio_encoder *encoder;
    good(mio_builder_create(context, 3, 32, 32, &b));
    const mio_node h = mio_builder_resnet(b, mio_builder_input(b), _i, 8, MIO_STEM_IMAGENET);
    good(mio_builder_finish(b, h, -1, &encoder));
    mio_builder_release(b);
    ck_assert_uint_eq(mio_encoder_tensor_count(encoder), _i == 18 ? 120 : _i == 34 ? 216 : 318);
    size_t dim, trainable = 0;
    good(mio_encoder_feature_dim(encoder, &dim));
    ck_assert_uint_eq(dim, _i == 50 ? 256 : 64);
    good(mio_encoder_projection_dim(encoder, &dim));
    ck_assert_uint_eq(dim, 0);
    for (size_t i = 0; i < mio_encoder_tensor_count(encoder); i++) {
        mio_tensor_info info = {.struct_size = sizeof info};
        good(mio_encoder_tensor(encoder, i, &info));
        if (i < 8)
            ck_assert_str_eq(info.name, resnet18[i]);
        trainable += info.trainable ? info.count : 0;
        if (!strcmp(info.name, "layer4.0.downsample.0.weight")) {
            ck_assert_uint_eq(info.rank, 4);
            ck_assert_uint_eq(info.shape[0], _i == 50 ? 256 : 64);
            ck_assert_uint_eq(info.shape[2], 1);
        }
    }
    ck_assert_uint_eq(trainable, _i == 18 ? 176712 : _i == 34 ? 335464 : 374152);
    mio_encoder_release(encoder);
}
END_TEST

/* ---- refusals ---- */

START_TEST(builder_refuses)
{
    mio_builder *b;
    mio_encoder *encoder = NULL;
    refused(mio_builder_create(context, 3, 0, 5, &b), MIO_ERROR_ARGUMENT, "no extent may be 0");
    good(mio_builder_create(context, 3, 4, 4, &b));
    mio_builder_name(b, "too.large");
    ck_assert_int_eq(mio_builder_conv2d(b, mio_builder_input(b), 8, 7, 1, 1), -1);
    ck_assert_int_eq(mio_builder_relu(b, 0), -1);
    ck_assert_int_eq(mio_builder_linear(b, 99, 1, 1), -1);
    refused(mio_builder_finish(b, 0, -1, &encoder), MIO_ERROR_ARGUMENT, "too.large");
    mio_builder_release(b);

    good(mio_builder_create(context, 3, 4, 4, &b));
    const mio_node x = mio_builder_conv2d(b, mio_builder_input(b), 8, 3, 1, 1);
    refused(mio_builder_finish(b, x, -1, &encoder), MIO_ERROR_ARGUMENT, "8 x 4 x 4");
    const mio_node h = mio_builder_global_average_pool(b, x);
    refused(mio_builder_finish(b, h, 77, &encoder), MIO_ERROR_ARGUMENT, "77");
    good(mio_builder_finish(b, h, -1, &encoder)); /* a failed finish does not stick */
    mio_encoder_release(encoder);
    mio_builder_name(b, "conv0");
    const mio_node twice = mio_builder_linear(b, h, 3, 0);
    refused(mio_builder_finish(b, twice, -1, &encoder), MIO_ERROR_ARGUMENT, "'conv0'");
    ck_assert_int_eq(mio_builder_add(b, x, h), -1);
    refused(mio_builder_finish(b, h, -1, &encoder), MIO_ERROR_ARGUMENT, "differ in shape");
    mio_builder_release(b);

    good(mio_builder_create(context, 3, 9, 9, &b));
    ck_assert_int_eq(mio_builder_resnet(b, mio_builder_input(b), 19, 8, MIO_STEM_SMALL), -1);
    refused(mio_builder_finish(b, 0, -1, &encoder), MIO_ERROR_ARGUMENT, "18, 34 or 50");
    mio_builder_release(b);
    refused(mio_builder_finish(NULL, 0, -1, &encoder), MIO_ERROR_ARGUMENT, "NULL");
    mio_builder_release(NULL);
}
END_TEST

START_TEST(two_presets_in_one)
{
    mio_builder *b;
    mio_encoder *encoder;
    good(mio_builder_create(context, 3, 8, 8, &b));
    mio_builder_name(b, "left");
    const mio_node left = mio_builder_resnet(b, mio_builder_input(b), 18, 4, MIO_STEM_SMALL);
    const mio_node right = mio_builder_resnet(b, mio_builder_input(b), 18, 4, MIO_STEM_SMALL);
    const mio_node h = mio_builder_add(b, left, right);
    good(mio_builder_finish(b, h, mio_builder_projector(b, h, 1, 1, 6), &encoder));
    mio_builder_release(b);
    float weights[4 * 27];
    good(mio_encoder_get_tensor(encoder, "left.conv1.weight", 4 * 27, weights));
    good(mio_encoder_get_tensor(encoder, "conv1.weight", 4 * 27, weights));
    mio_encoder_release(encoder);
}
END_TEST

START_TEST(encoder_refuses)
{
    mio_encoder *encoder = small(context);
    float *images = numbers(1, 2 * 3 * PIXELS), out[2 * 3 * FEATURES], z[2 * 3 * PROJECTIONS];
    refused(mio_encoder_backward(encoder, z, NULL), MIO_ERROR_STATE, "mio_encoder_forward");
    refused(mio_encoder_forward(encoder, 2, 0, images, out, NULL), MIO_ERROR_ARGUMENT, "empty");
    refused(mio_encoder_forward(encoder, 2, 1, images, out, NULL), MIO_ERROR_ARGUMENT, "bn_layer");
    refused(mio_encoder_get_gradient(encoder, "conv0.weight", 12 * 27, out), MIO_ERROR_STATE, "forward");
    good(mio_encoder_forward(encoder, 2, 3, images, out, z));
    images[(4 * HEIGHT + 7) * WIDTH * 3 + 5 * 3 + 2] = NAN;
    refused(mio_encoder_forward(encoder, 2, 3, images, out, NULL), MIO_ERROR_ARGUMENT,
            "image 4, row 7, column 5, channel 2");
    images[(4 * HEIGHT + 7) * WIDTH * 3 + 5 * 3 + 2] = -INFINITY;
    refused(mio_encoder_infer(encoder, 6, images, out, NULL), MIO_ERROR_ARGUMENT,
            "image 4, row 7, column 5, channel 2");
    refused(mio_encoder_backward(encoder, NULL, NULL), MIO_ERROR_ARGUMENT, "all NULL");
    good(mio_encoder_backward(encoder, z, out)); /* what was refused changed nothing */
    refused(mio_encoder_backward(encoder, z, NULL), MIO_ERROR_STATE, "after each backward pass");
    refused(mio_encoder_set_tensor(encoder, "conv0.weight", 3, out), MIO_ERROR_ARGUMENT, "324 values, not 3");
    refused(mio_encoder_set_tensor(encoder, "conv9.weight", 3, out), MIO_ERROR_ARGUMENT, "conv9.weight");
    out[0] = 1;
    out[3] = NAN;
    refused(mio_encoder_set_tensor(encoder, "bn1.bias", 12, out), MIO_ERROR_ARGUMENT, "value 3");
    refused(mio_encoder_set_text(encoder, "algorithm", "slow"), MIO_ERROR_ARGUMENT, "accurate");
    uint8_t bytes[PIXELS] = {0};
    refused(mio_encoder_embed(encoder, 1, HEIGHT, WIDTH, 1, 0, bytes, out), MIO_ERROR_ARGUMENT, "1 channels");
    refused(mio_encoder_embed(encoder, 1, HEIGHT, WIDTH, 3, 29, bytes, out), MIO_ERROR_ARGUMENT, "row_stride 29");
    refused(mio_encoder_embed(encoder, 1, 0, WIDTH, 3, 0, bytes, out), MIO_ERROR_ARGUMENT, "extent");
    const double mean[3] = {0, 0, 0}, deviation[3] = {1, 0, 1};
    refused(mio_encoder_set_normalization(encoder, 3, mean, deviation), MIO_ERROR_ARGUMENT, "channel 1");
    refused(mio_encoder_set_normalization(encoder, 2, mean, deviation), MIO_ERROR_ARGUMENT, "2 channels");
    free(images);
    mio_encoder_release(encoder);
}
END_TEST

/* ---- passes ---- */

/* Everything a step changes, in one array. */
static float *whole_state(const mio_encoder *encoder, size_t *count)
{
    size_t total = 0;
    for (size_t i = 0; i < encoder->graph.tensor_count; i++)
        total += 2 * encoder->tensors[i].count;
    float *state = calloc(total, sizeof *state), *next = state;
    for (size_t i = 0; i < encoder->graph.tensor_count; i++) {
        const mio__tensor *tensor = &encoder->tensors[i];
        mio__tensor_unpack(encoder, i, tensor->value, next);
        if (tensor->gradient)
            mio__tensor_unpack(encoder, i, tensor->gradient, next + tensor->count);
        next += 2 * tensor->count;
    }
    *count = total;
    return state;
}

START_TEST(same_bits_for_any_threads)
{
    static const double threads[] = {1, 2, 5};
    static const char *const algorithms[] = {"exact", "accurate", "fast"};
    const size_t count = 37;
    float *images = numbers(1, 2 * count * 3 * 256), *first = NULL;
    size_t size = 0;
    for (int i = 0; i < 3; i++) {
        good(mio_context_set(context, "threads", threads[i]));
        mio_encoder *encoder = resnet(context, 16);
        good(mio_encoder_set_text(encoder, "algorithm", algorithms[_i]));
        good(train_once(encoder, 2, count, images));
        good(train_once(encoder, 1, 2 * count, images));
        float *state = whole_state(encoder, &size);
        if (!first)
            first = state;
        else {
            ck_assert_int_eq(memcmp(first, state, size * sizeof *state), 0);
            free(state);
        }
        mio_encoder_release(encoder);
    }
    free(first);
    free(images);
}
END_TEST

/* The parameter decides how 3x3 convolutions are computed, also after passes have been planned. */
START_TEST(algorithm_is_followed)
{
    static const char *const names[] = {"exact", "accurate", "fast"}, *const expected[] = {"direct", "winograd2",
                                                                                           "winograd4"};
    mio_encoder *encoder = resnet(context, 16);
    float *images = numbers(1, 32 * 3 * 256);
    for (int i = 0; i < 3; i++) {
        good(mio_encoder_set_text(encoder, "algorithm", names[i]));
        good(mio_encoder_forward(encoder, 1, 32, images, NULL, NULL));
        ck_assert_str_eq(mio__encoder_layer_algorithm(encoder, "layer1.1.conv2"), expected[i]);
        ck_assert_str_eq(mio__encoder_layer_algorithm(encoder, "layer2.0.downsample.0"), "direct");
        ck_assert_ptr_null(mio__encoder_layer_algorithm(encoder, "bn1"));
    }
    free(images);
    mio_encoder_release(encoder);
}
END_TEST

/* Threads may change between a forward pass and its backward pass. */
START_TEST(threads_change_midway)
{
    mio_encoder *encoder = resnet(context, 16);
    float *images = numbers(1, 33 * 3 * 256), z[33 * PROJECTIONS];
    good(mio_context_set(context, "threads", 1));
    good(mio_encoder_forward(encoder, 1, 33, images, NULL, z));
    good(mio_context_set(context, "threads", 7));
    good(mio_encoder_backward(encoder, z, NULL));
    free(images);
    mio_encoder_release(encoder);
}
END_TEST

/* Views apart are as two passes; the running statistics move once a view. */
START_TEST(views_one_after_the_other)
{
    mio_encoder *together = small(context), *apart = small(context);
    float *images = numbers(1, 2 * 5 * PIXELS);
    float a[2 * 5 * FEATURES], b[2 * 5 * FEATURES], batches;
    good(mio_encoder_forward(together, 2, 5, images, a, NULL));
    good(mio_encoder_forward(apart, 1, 5, images, b, NULL));
    good(mio_encoder_forward(apart, 1, 5, images + 5 * PIXELS, b + 5 * FEATURES, NULL));
    for (size_t i = 0; i < 2 * 5 * FEATURES; i++)
        ck_assert_float_eq_tol(a[i], b[i], 2e-6f);
    size_t size;
    float *s = whole_state(together, &size), *t = whole_state(apart, &size);
    for (size_t i = 0; i < size; i++)
        ck_assert_float_eq_tol(s[i], t[i], 2e-6f);
    good(mio_encoder_get_tensor(together, "bn1.num_batches_tracked", 1, &batches));
    ck_assert(batches == 2);
    free(s);
    free(t);
    free(images);
    mio_encoder_release(together);
    mio_encoder_release(apart);
}
END_TEST

/* A step allocates at its first run only. */
START_TEST(steps_without_allocation)
{
    mio_encoder *encoder = resnet(context, 16);
    float *images = numbers(1, 2 * 20 * 3 * 256);
    good(train_once(encoder, 2, 20, images));
    test_allocator_fail_from(&allocator, 1);
    for (int i = 0; i < 3; i++) {
        mio__encoder_changed(encoder);
        good(train_once(encoder, 2, 20, images));
    }
    ck_assert_uint_eq(allocator.requests, 0);
    test_allocator_fail_at(&allocator, 0);
    free(images);
    mio_encoder_release(encoder);
}
END_TEST

START_TEST(plan_shares_memory)
{
    mio_builder *b;
    mio_encoder *encoder;
    good(mio_builder_create(context, 3, 32, 32, &b));
    const mio_node h = mio_builder_resnet(b, mio_builder_input(b), 18, 64, MIO_STEM_SMALL);
    good(mio_builder_finish(b, h, mio_builder_projector(b, h, 2, 2048, 128), &encoder));
    mio_builder_release(b);
    for (int training = 0; training <= 1; training++) {
        mio__plan *plan;
        const mio__images images = mio__images_of(training ? 2 : 1, training ? 64 : 32);
        good(mio__plan_create(context, &encoder->graph, &images, MIO__CONV_EXACT, &encoder->tuning, training, &plan));
        printf("ResNet-18, %s of %zu x %zu: planned %.1f MB, unshared %.1f MB\n", training ? "training" : "inference",
               images.views, images.count, (double)plan->arena_size * 1e-6, (double)plan->unshared_size * 1e-6);
        ck_assert_double_lt((double)plan->arena_size, (training ? 0.6 : 0.4) * (double)plan->unshared_size);
        mio__plan_destroy(plan);
    }
    mio_encoder_release(encoder);
}
END_TEST

/* ---- files ---- */

START_TEST(saves_and_loads_every_bit)
{
    mio_encoder *encoder = trained(context), *loaded;
    static uint8_t bytes[9 * PIXELS];
    float a[9 * FEATURES], b[9 * FEATURES];
    fill_bytes(bytes, sizeof bytes);
    good(mio_encoder_set_text(encoder, "initialization", "uniform"));
    good(mio_encoder_save(encoder, path));
    good(mio_encoder_load(context, path, &loaded));
    good(mio_encoder_embed(encoder, 9, HEIGHT, WIDTH, 3, 0, bytes, a));
    good(mio_encoder_embed(loaded, 9, HEIGHT, WIDTH, 3, 0, bytes, b));
    ck_assert_int_eq(memcmp(a, b, sizeof a), 0);
    ck_assert_uint_eq(mio_encoder_tensor_count(encoder), mio_encoder_tensor_count(loaded));
    for (size_t i = 0; i < encoder->graph.tensor_count; i++) {
        ck_assert_str_eq(encoder->tensors[i].name, loaded->tensors[i].name);
        ck_assert_int_eq(
            memcmp(encoder->tensors[i].value, loaded->tensors[i].value, encoder->tensors[i].stored * sizeof(mio__real)),
            0);
    }
    double algorithm, initialization;
    good(mio_encoder_get(loaded, "algorithm", &algorithm));
    good(mio_encoder_get(loaded, "initialization", &initialization));
    ck_assert(algorithm == 1 && initialization == 1);
    good(mio_encoder_initialize(loaded, 5));
    mio__archive *archive;
    good(mio__archive_open(context, path, &archive));
    good(mio__encoder_restore(loaded, archive));
    good(mio_encoder_embed(loaded, 9, HEIGHT, WIDTH, 3, 0, bytes, b));
    ck_assert_int_eq(memcmp(a, b, sizeof a), 0);
    mio_encoder *other = resnet(context, 4);
    refused(mio__encoder_restore(other, archive), MIO_ERROR_FORMAT, "another network");
    mio__archive_close(archive);
    mio_encoder_release(other);
    mio_encoder_release(encoder);
    mio_encoder_release(loaded);
}
END_TEST

static unsigned char *read_file(size_t *size)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = calloc(1, 1 << 20);
    *size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static void expect_damage(const unsigned char *bytes, size_t size)
{
    mio_encoder *untouched = NULL;
    FILE *file = fopen(path, "wb");
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    fclose(file);
    const size_t blocks = allocator.blocks;
    refused(mio_encoder_load(context, path, &untouched), MIO_ERROR_FORMAT, "offset");
    ck_assert_ptr_null(untouched);
    ck_assert_uint_eq(allocator.blocks, blocks);
}

/* Also where another thread than the caller's meets the damage. */
START_TEST(damaged_files)
{
    good(mio_context_set(context, "threads", _i));
    mio_encoder *encoder = trained(context);
    good(mio_encoder_save(encoder, path));
    mio_encoder_release(encoder);
    size_t size;
    unsigned char *bytes = read_file(&size);
    for (size_t cut = 0; cut < size; cut += cut < 300 ? 1 : 61)
        expect_damage(bytes, cut);
    for (size_t i = 0; i < size; i += i < 600 ? 1 : 59) {
        if (i >= 8 && i < 12)
            continue;
        bytes[i] ^= (unsigned char)(1 << i % 8);
        expect_damage(bytes, size);
        bytes[i] ^= (unsigned char)(1 << i % 8);
    }
    expect_damage(bytes, size + 1);
    free(bytes);
}
END_TEST

/* Writes the file at path anew with other contents of one record of `size` bytes, all checksums right. */
static void forge(const char *record, const void *bytes, size_t size)
{
    size_t length;
    unsigned char *file = read_file(&length), *at = file + 16;
    while (!memcmp(at, "REC", 3)) { /* the layout is archive_format.h */
        const size_t name = (size_t)at[4], packed = (size_t)(at[16] | at[17] << 8 | at[18] << 16);
        if (name == strlen(record) && !memcmp(at + 32, record, name)) {
            ck_assert_int_eq(at[3], 'S');
            ck_assert_uint_eq(packed, size);
            memcpy(at + 32 + name, bytes, size);
            const uLong crc = crc32(crc32(0, NULL, 0), bytes, (uInt)size);
            for (int i = 0; i < 4; i++)
                at[24 + i] = (unsigned char)(crc >> (8 * i));
            const uLong header = crc32(crc32(crc32(0, NULL, 0), at, 28), at + 32, (uInt)name);
            for (int i = 0; i < 4; i++)
                at[28 + i] = (unsigned char)(header >> (8 * i));
        }
        at += 32 + name + packed;
    }
    FILE *out = fopen(path, "wb");
    ck_assert_uint_eq(fwrite(file, 1, length, out), length);
    fclose(out);
    free(file);
}

/* Contents that no encoder has, checksums and all: file, record and offset are named. An exponent that flipped on the
   disk is damage, not a number that is not finite. */
START_TEST(impossible_contents)
{
    const float numbers[FEATURES] = {0, 1, NAN};
    mio_encoder *encoder = trained(context), *loaded = NULL;
    const mio__tensor *tensor = encoder->tensors;
    while (tensor->count != FEATURES)
        tensor++;
    char record[100];
    snprintf(record, sizeof record, "encoder/tensor/%s", tensor->name);
    good(mio_context_set(context, "threads", _i));
    good(mio_encoder_save(encoder, path));
    forge("encoder/algorithm", (unsigned char[4]){9, 0, 0, 0}, 4);
    refused(mio_encoder_load(context, path, &loaded), MIO_ERROR_FORMAT, "record 'encoder/algorithm' at offset");
    ck_assert_ptr_nonnull(strstr(mio_last_error(), path));
    good(mio_encoder_save(encoder, path));
    forge(record, numbers, sizeof numbers);
    refused(mio_encoder_load(context, path, &loaded), MIO_ERROR_FORMAT, "value 2 of the tensor is not finite");
    ck_assert_ptr_nonnull(strstr(mio_last_error(), path));
    good(mio_encoder_save(encoder, path));
    size_t size;
    unsigned char *bytes = read_file(&size), *value = bytes;
    while (memcmp(value, record, strlen(record)))
        value++;
    value[strlen(record) + 3] |= 0x7f, value[strlen(record) + 2] |= 0x80;
    FILE *file = fopen(path, "wb");
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    fclose(file);
    refused(mio_encoder_load(context, path, &loaded), MIO_ERROR_FORMAT, "are damaged");
    free(bytes);
    mio_encoder_release(encoder);
}
END_TEST

/* What could not be loaded is not saved, and the file that was there stays. */
START_TEST(no_infinite_file)
{
    mio_encoder *encoder = trained(context), *loaded;
    good(mio_encoder_save(encoder, path));
    const mio__tensor *tensor = encoder->tensors;
    while (tensor->count != FEATURES)
        tensor++;
    tensor->value[2] = INFINITY;
    refused(mio_encoder_save(encoder, path), MIO_ERROR_STATE, "value 2 of tensor");
    ck_assert_ptr_nonnull(strstr(mio_last_error(), tensor->name));
    good(mio_encoder_load(context, path, &loaded));
    mio_encoder_release(loaded);
    mio_encoder_release(encoder);
}
END_TEST

/* Threads beyond the tensors take no memory. */
START_TEST(loading_takes_little_memory)
{
    mio_encoder *encoder = trained(context), *loaded;
    good(mio_encoder_save(encoder, path));
    size_t largest = 0;
    for (size_t i = 0; i < encoder->graph.tensor_count; i++)
        largest = encoder->tensors[i].count > largest ? encoder->tensors[i].count : largest;
    const size_t before = allocator.bytes, tensors = encoder->graph.tensor_count;
    good(mio_context_set(context, "threads", 1000));
    allocator.peak = 0;
    good(mio_encoder_load(context, path, &loaded));
    ck_assert_uint_lt(allocator.peak, allocator.bytes + tensors * largest * sizeof(float) + (1 << 16));
    ck_assert_uint_gt(allocator.bytes, before);
    mio_encoder_release(loaded);
    mio_encoder_release(encoder);
}
END_TEST

START_TEST(plain_norms_stay_plain)
{
    mio_builder *b;
    mio_encoder *encoder;
    good(mio_builder_create(context, 3, 8, 8, &b));
    const mio_node x = mio_builder_batch_norm_plain(b, mio_builder_conv2d(b, mio_builder_input(b), 2, 3, 1, 1));
    good(mio_builder_finish(b, mio_builder_global_average_pool(b, x), -1, &encoder));
    mio_builder_release(b);
    const char *weight = NULL, *bias = NULL;
    for (size_t i = 0; i < encoder->graph.tensor_count; i++) {
        const char *name = encoder->tensors[i].name;
        if (encoder->tensors[i].rank == 1 && strstr(name, ".weight"))
            weight = name;
        if (strstr(name, ".bias"))
            bias = name;
    }
    refused(mio_encoder_set_tensor(encoder, weight, 2, (float[2]){1, 2}), MIO_ERROR_ARGUMENT, "stays 1");
    refused(mio_encoder_set_tensor(encoder, bias, 2, (float[2]){0, 1}), MIO_ERROR_ARGUMENT, "stays 0");
    good(mio_encoder_set_tensor(encoder, weight, 2, (float[2]){1, 1}));
    good(mio_encoder_set_tensor(encoder, bias, 2, (float[2]){0, 0}));
    mio_encoder_release(encoder);
}
END_TEST

/* Records that are whole and lie: a graph changed number by number never crashes, leaks or loads as something else's.
 */
START_TEST(lying_graphs)
{
    mio_encoder *encoder = trained(context), *loaded;
    good(mio_encoder_save(encoder, path));
    mio__archive *archive;
    size_t size;
    good(mio__archive_open(context, path, &archive));
    good(mio__archive_size(archive, "encoder/graph", &size));
    unsigned char *graph = malloc(size);
    good(mio__archive_get(archive, "encoder/graph", graph, size));
    mio__archive_close(archive);
    for (size_t i = 0; i < size; i++)
        for (int value = 0; value < 3; value++) {
            const unsigned char kept = graph[i];
            const unsigned char lies[3] = {(unsigned char)(kept + 1), 0xff, 0};
            graph[i] = lies[value];
            mio__archive_writer *writer;
            good(mio__archive_create(context, path, "ENCO", &writer));
            good(mio__archive_put(writer, "encoder/graph", graph, size));
            mio__archive_commit(writer);
            const size_t blocks = allocator.blocks;
            allocator.peak = 0;
            ck_assert_int_eq(mio_encoder_load(context, path, &loaded), MIO_ERROR_FORMAT);
            ck_assert_uint_eq(allocator.blocks, blocks);
            ck_assert_uint_lt(allocator.peak, allocator.bytes + (1 << 20));
            graph[i] = kept;
        }
    free(graph);
    mio_encoder_release(encoder);
}
END_TEST

/* ---- memory ---- */

static mio_status whole_life(mio_context *in, const float *images, const uint8_t *bytes)
{
    mio_encoder *encoder = NULL, *loaded = NULL;
    float features[3 * FEATURES];
    mio_status status = build_small(in, &encoder);
    if (!status)
        status = train_once(encoder, 2, 3, images);
    if (!status)
        status = mio_encoder_save(encoder, path);
    if (!status)
        status = mio_encoder_load(in, path, &loaded);
    if (!status)
        status = mio_encoder_embed(loaded, 3, HEIGHT + 1, WIDTH, 3, 0, bytes, features);
    if (!status)
        status = mio_encoder_infer(loaded, 3, images, features, NULL);
    mio_encoder_release(encoder);
    mio_encoder_release(loaded);
    return status;
}

START_TEST(memory_refused)
{
    static uint8_t bytes[3 * 3 * (HEIGHT + 1) * WIDTH];
    float *images = numbers(1, 2 * 3 * PIXELS);
    fill_bytes(bytes, sizeof bytes);
    good(whole_life(context, images, bytes));
    const size_t blocks = allocator.blocks;
    for (size_t n = 1;; n++) {
        test_allocator_fail_at(&allocator, n);
        const mio_status status = whole_life(context, images, bytes);
        ck_assert_uint_eq(allocator.blocks, blocks);
        if (!status) {
            ck_assert_uint_lt(allocator.requests, n);
            break;
        }
        ck_assert_msg(status == MIO_ERROR_MEMORY, "request %zu: %s", n, mio_last_error());
    }
    test_allocator_fail_at(&allocator, 0);
    free(images);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encoder");
    TCase *tensors = group(suite, "tensors"), *passes = group(suite, "passes"), *files = group(suite, "files");
    TCase *memory = group(suite, "memory");
    tcase_add_test(tensors, initial_weights);
    tcase_add_test(tensors, filling_stays_zero);
    tcase_add_test(tensors, plain_norms_stay_plain);
    tcase_add_loop_test(tensors, torchvision_names, 18, 19);
    tcase_add_loop_test(tensors, torchvision_names, 34, 35);
    tcase_add_loop_test(tensors, torchvision_names, 50, 51);
    tcase_add_test(tensors, builder_refuses);
    tcase_add_test(tensors, two_presets_in_one);
    tcase_add_test(tensors, encoder_refuses);
    tcase_add_loop_test(passes, same_bits_for_any_threads, 0, 3);
    tcase_add_test(passes, algorithm_is_followed);
    tcase_add_test(passes, threads_change_midway);
    tcase_add_test(passes, views_one_after_the_other);
    tcase_add_test(passes, steps_without_allocation);
    tcase_add_test(passes, plan_shares_memory);
    tcase_add_test(files, saves_and_loads_every_bit);
    tcase_add_loop_test(files, damaged_files, 1, 4);
    tcase_add_loop_test(files, impossible_contents, 1, 4);
    tcase_add_test(files, no_infinite_file);
    tcase_add_test(files, loading_takes_little_memory);
    tcase_add_test(files, lying_graphs);
    tcase_add_test(memory, memory_refused);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
