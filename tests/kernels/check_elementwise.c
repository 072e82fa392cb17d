/* Passes over whole tensors, and the doors between row-major arrays and the blocked layout. */
#include "blocked.h"

#include "kernels/elementwise.h"

static const size_t sizes[] = {1, 7, 16, 1000, 32768, 32769, 100003};

static mio__real *values(size_t count, uint64_t seed)
{
    mio__real *array = blocked_memory(count * sizeof *array);
    mio__random random = blocked_random(seed);
    for (size_t i = 0; i < count; i++)
        array[i] = (mio__real)mio__random_between(&random, -1, 1);
    return array;
}

START_TEST(relu_and_sum)
{
    mio_context *context = blocked_context();
    const size_t count = sizes[_i];
    mio__real *a = values(count, 1), *b = values(count, 2), *y = values(count, 3), *before = values(count, 3);
    size_t wrong = 0;
    mio__add(context, 2, MIO__FP32, count, a, b, y);
    for (size_t i = 0; i < count; i++)
        wrong += y[i] != a[i] + b[i];
    mio__relu_forward(context, 2, MIO__FP32, count, a, y);
    for (size_t i = 0; i < count; i++)
        wrong += y[i] != (a[i] > 0 ? a[i] : 0);
    mio__relu_backward(context, 2, MIO__FP32, count, a, b, y, 0);
    for (size_t i = 0; i < count; i++)
        wrong += y[i] != (a[i] > 0 ? b[i] : 0);
    memcpy(y, before, count * sizeof *y);
    mio__relu_backward(context, 2, MIO__FP32, count, a, b, y, 1);
    for (size_t i = 0; i < count; i++)
        wrong += y[i] != before[i] + (a[i] > 0 ? b[i] : 0);
    ck_assert_uint_eq(wrong, 0);
    /* In place. */
    memcpy(y, b, count * sizeof *y);
    mio__relu_backward(context, 2, MIO__FP32, count, a, y, y, 0);
    mio__add(context, 2, MIO__FP32, count, y, a, y);
    mio__relu_forward(context, 2, MIO__FP32, count, y, y);
    for (size_t i = 0; i < count; i++) {
        const mio__real sum = (a[i] > 0 ? b[i] : 0) + a[i];
        wrong += y[i] != (sum > 0 ? sum : 0);
    }
    ck_assert_uint_eq(wrong, 0);
    y[0] = NAN;
    mio__relu_forward(context, 2, MIO__FP32, count, y, y);
    ck_assert(isnan(y[0]));
    free(a), free(b), free(y), free(before);
    mio_context_release(context);
}
END_TEST

static void check_bias(mio_context *context, const mio__shape *shape, const mio__images *images)
{
    const size_t channels = shape->blocks * shape->block, size = mio__tensor_size(shape, images);
    mio__real *y = blocked_new(shape, images), *before = blocked_new(shape, images);
    mio__real *bias = values(channels, 5), *sums = values(channels, 6);
    for (size_t c = shape->channels; c < channels; c++)
        bias[c] = 0;
    blocked_fill(shape, images, 7, 0, y);
    memcpy(before, y, size * sizeof *y);
    mio__add_bias(context, 2, shape, images, bias, y);
    blocked_assert_filling_zero(shape, images, y);
    blocked_assert_channels_zero(shape, images, y);
    size_t wrong = 0;
    for (size_t view = 0; view < images->views; view++)
        for (size_t image = 0; image < images->count; image++)
            for (size_t pixel = 0; pixel < shape->height * shape->width; pixel++)
                for (size_t c = 0; c < shape->channels; c++) {
                    const size_t at = blocked_place(shape, images, view, image, pixel, c);
                    wrong += y[at] != before[at] + bias[c];
                }
    ck_assert_uint_eq(wrong, 0);
    blocked_fill(shape, images, 8, 555, y);
    mio__sum_bias(context, 2, shape, images, y, sums);
    blocked_error error = {0};
    for (size_t c = 0; c < channels; c++) {
        double sum = 0;
        for (size_t view = 0; view < images->views && c < shape->channels; view++)
            for (size_t image = 0; image < images->count; image++)
                for (size_t pixel = 0; pixel < shape->height * shape->width; pixel++)
                    sum += (double)y[blocked_place(shape, images, view, image, pixel, c)];
        blocked_compare(&error, (double)sums[c], sum, fmax(1, fabs(sum)));
        ck_assert(c < shape->channels || sums[c] == 0);
    }
    ck_assert_double_lt(blocked_relative(&error), 1e-7);
    free(y), free(before), free(bias), free(sums);
}

/* Every value goes to its place and comes back; filling is 0. */
static void check_pack(mio_context *context, const mio__shape *shape, const mio__images *images)
{
    const size_t pixels = shape->height * shape->width;
    const size_t count = images->views * images->count * pixels * shape->channels;
    float *rows = blocked_memory(count * sizeof *rows), *back = blocked_memory(count * sizeof *back);
    mio__real *x = blocked_new(shape, images);
    memset(x, 0xFF, mio__tensor_size(shape, images) * sizeof *x);
    for (size_t i = 0; i < count; i++)
        rows[i] = (float)(i + 1);
    mio__pack(context, 2, shape, images, rows, x);
    blocked_assert_filling_zero(shape, images, x);
    blocked_assert_channels_zero(shape, images, x);
    size_t wrong = 0, i = 0;
    for (size_t view = 0; view < images->views; view++)
        for (size_t image = 0; image < images->count; image++)
            for (size_t pixel = 0; pixel < pixels; pixel++)
                for (size_t c = 0; c < shape->channels; c++)
                    wrong += x[blocked_place(shape, images, view, image, pixel, c)] != (mio__real)rows[i++];
    mio__unpack(context, 2, shape, images, x, back);
    ck_assert_uint_eq(wrong, 0);
    ck_assert(!memcmp(rows, back, count * sizeof *rows));
    free(rows), free(back), free(x);
}

START_TEST(bias_and_packing)
{
    mio_context *context = blocked_context();
    for (size_t n = 0; n < BLOCKED_SIZE(blocked_counts); n++)
        for (size_t e = 0; e < BLOCKED_SIZE(blocked_extents); e++) {
            const mio__shape shape = mio__shape_of(blocked_channels[_i], blocked_extents[e][0], blocked_extents[e][1]);
            const mio__images images = mio__images_of(1 + (n + e) % 2, blocked_counts[n]);
            check_bias(context, &shape, &images);
            check_pack(context, &shape, &images);
        }
    mio_context_release(context);
}
END_TEST

START_TEST(weights_keep_their_places)
{
    for (size_t i = 0; i < BLOCKED_SIZE(blocked_channels); i++)
        for (size_t kernel = 1; kernel <= 3; kernel += 2) {
            const mio__shape in = mio__shape_of(blocked_channels[i], 4, 4),
                             out = mio__shape_of(blocked_channels[_i], 4, 4);
            const size_t taps = kernel * kernel, count = in.channels * out.channels * taps;
            const size_t size = in.blocks * in.block * out.blocks * out.block * taps;
            float *torch = blocked_memory(count * sizeof *torch), *back = blocked_memory(count * sizeof *back);
            mio__real *weights = blocked_memory(size * sizeof *weights);
            for (size_t k = 0; k < count; k++)
                torch[k] = (float)(k + 1);
            memset(weights, 0xFF, size * sizeof *weights);
            const size_t some = out.channels > 16 ? 16 : out.channels; /* in two parts where there are that many */
            mio__pack_weights(&in, &out, kernel, 0, some, torch, weights);
            mio__pack_weights(&in, &out, kernel, some, out.channels - some, torch + some * in.channels * taps, weights);
            mio__unpack_weights(&in, &out, kernel, weights, back);
            ck_assert(!memcmp(torch, back, count * sizeof *torch));
            size_t wrong = 0, filled = 0;
            for (size_t o = 0; o < out.channels; o++)
                for (size_t c = 0; c < in.channels; c++)
                    for (size_t tap = 0; tap < taps; tap++) {
                        const size_t block = o / out.block * in.blocks + c / in.block;
                        const size_t at = ((block * taps + tap) * in.block + c % in.block) * out.block + o % out.block;
                        wrong += weights[at] != (mio__real)torch[(o * in.channels + c) * taps + tap];
                    }
            for (size_t k = 0; k < size; k++)
                filled += weights[k] != 0;
            ck_assert_uint_eq(wrong, 0);
            ck_assert_uint_eq(filled, count);
            free(torch), free(back), free(weights);
        }
}
END_TEST

START_TEST(bits_do_not_depend_on_workers)
{
    mio_context *context = blocked_context();
    const mio__shape shape = mio__shape_of(130, 9, 7);
    const mio__images images = mio__images_of(2, 33);
    mio__real *dy = blocked_new(&shape, &images), *first = values(160, 1), *sums = values(160, 2);
    blocked_fill(&shape, &images, 3, 0, dy);
    mio__sum_bias(context, 1, &shape, &images, dy, first);
    for (size_t workers = 2; workers <= 5; workers += 3) {
        mio__sum_bias(context, workers, &shape, &images, dy, sums);
        ck_assert(!memcmp(first, sums, shape.blocks * shape.block * sizeof *sums));
    }
    free(dy), free(first), free(sums);
    mio_context_release(context);
}
END_TEST

static int run_benchmarks(void)
{
    mio_context *context = blocked_context();
    const size_t count = (size_t)1 << 24;
    mio__real *a = values(count, 1), *b = values(count, 2), *y = values(count, 3);
    const mio__shape shape = mio__shape_of(3, 32, 32);
    const mio__images images = mio__images_of(2, 1024);
    const double bytes = (double)(count * sizeof *a), packed = (double)(mio__tensor_size(&shape, &images) * sizeof *a);
    static const char *const names[] = {"add", "relu", "relu backward", "pack 3 channels", "unpack 3 channels"};
    const double moved[] = {3 * bytes, 2 * bytes, 3 * bytes, 1.75 * packed, 1.75 * packed};
    double best[5] = {1e9, 1e9, 1e9, 1e9, 1e9};
    for (int repeat = 0; repeat < 10; repeat++)
        for (int what = 0; what < 5; what++) {
            const double start = blocked_seconds();
            if (what == 0)
                mio__add(context, 2, MIO__FP32, count, a, b, y);
            else if (what == 1)
                mio__relu_forward(context, 2, MIO__FP32, count, a, y);
            else if (what == 2)
                mio__relu_backward(context, 2, MIO__FP32, count, a, b, y, 0);
            else if (what == 3)
                mio__pack(context, 2, &shape, &images, (const float *)b, y);
            else
                mio__unpack(context, 2, &shape, &images, y, (float *)b);
            best[what] = fmin(best[what], blocked_seconds() - start);
        }
    printf("%.1f MB, 2 workers, %s\n", 1e-6 * bytes, mio__target_name());
    for (int what = 0; what < 5; what++)
        printf("  %-18s %7.3f ms %6.1f GB/s\n", names[what], 1e3 * best[what], 1e-9 * moved[what] / best[what]);
    free(a), free(b), free(y);
    mio_context_release(context);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench"))
        return run_benchmarks();
    Suite *suite = suite_create("elementwise");
    TCase *tests = tcase_create("elementwise");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, relu_and_sum, 0, BLOCKED_SIZE(sizes));
    tcase_add_loop_test(tests, bias_and_packing, 0, BLOCKED_SIZE(blocked_channels));
    tcase_add_loop_test(tests, weights_keep_their_places, 0, BLOCKED_SIZE(blocked_channels));
    tcase_add_test(tests, bits_do_not_depend_on_workers);
    return blocked_run(suite, tests);
}
