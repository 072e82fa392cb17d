/* Pooling against its definition. */
#include "blocked.h"

#include "kernels/pool.h"

/* Kernel, stride, padding; and the input they are tried on. */
typedef struct pool_case {
    size_t kernel, stride, padding, height, width;
} pool_case;

static const pool_case cases[] = {{3, 2, 1, 9, 7}, {2, 2, 0, 4, 6},  {3, 1, 1, 2, 3},
                                  {1, 1, 0, 1, 1}, {3, 2, 1, 21, 5}, {5, 3, 2, 17, 8}};

static size_t pooled(size_t extent, const pool_case *p)
{
    return (extent + 2 * p->padding - p->kernel) / p->stride + 1;
}

/* Pixel of the input that a window takes, or the number of pixels if none beats minus infinity. */
static size_t winner(const mio__shape *shape, const mio__images *images, const pool_case *p, const mio__real *x,
                     size_t view, size_t image, size_t c, size_t row, size_t column)
{
    size_t best = shape->height * shape->width;
    double maximum = -INFINITY;
    for (size_t i = 0; i < p->kernel * p->kernel; i++) {
        const size_t r = row * p->stride + i / p->kernel, k = column * p->stride + i % p->kernel;
        if (r < p->padding || k < p->padding || r - p->padding >= shape->height || k - p->padding >= shape->width)
            continue;
        const size_t pixel = (r - p->padding) * shape->width + k - p->padding;
        const double value = (double)x[blocked_place(shape, images, view, image, pixel, c)];
        if (value > maximum) {
            maximum = value;
            best = pixel;
        }
    }
    return best;
}

static void check_max_pool(mio_context *context, size_t channels, size_t views, size_t count, const pool_case *p,
                           int accumulate)
{
    const mio__shape in = mio__shape_of(channels, p->height, p->width);
    const mio__shape out = mio__shape_of(channels, pooled(p->height, p), pooled(p->width, p));
    const mio__images images = mio__images_of(views, count);
    mio__real *x = blocked_new(&in, &images), *y = blocked_new(&out, &images), *dy = blocked_new(&out, &images);
    mio__real *dx = blocked_new(&in, &images), *expected = blocked_new(&in, &images);
    const size_t size = mio__tensor_size(&in, &images);
    blocked_fill(&in, &images, channels + count, 0, x);
    blocked_fill(&out, &images, channels + count + 1, 0, dy);
    blocked_fill(&in, &images, channels + count + 2, 0, dx);
    /* Few different values: equal maxima are common, and all may be negative. */
    for (size_t i = 0; i < size; i++)
        x[i] = (mio__real)floor((double)x[i]);
    for (size_t i = 0; i < size; i++)
        expected[i] = accumulate ? dx[i] : 0;
    mio__max_pool_forward(context, 2, &in, &out, &images, p->kernel, p->stride, p->padding, x, y);
    mio__max_pool_backward(context, 2, &in, &out, &images, p->kernel, p->stride, p->padding, x, dy, dx, accumulate);
    size_t wrong = 0;
    for (size_t view = 0; view < views; view++)
        for (size_t image = 0; image < count; image++)
            for (size_t c = 0; c < channels; c++)
                for (size_t pixel = 0; pixel < out.height * out.width; pixel++) {
                    const size_t from =
                        winner(&in, &images, p, x, view, image, c, pixel / out.width, pixel % out.width);
                    const size_t at = blocked_place(&out, &images, view, image, pixel, c);
                    const size_t source = blocked_place(&in, &images, view, image, from, c);
                    wrong += y[at] != x[source];
                    expected[source] += dy[at];
                }
    ck_assert_uint_eq(wrong, 0);
    blocked_error error = {0};
    for (size_t i = 0; i < size; i++)
        blocked_compare(&error, (double)dx[i], (double)expected[i], 1);
    ck_assert_double_lt(blocked_relative(&error), 1e-6);
    blocked_assert_filling_zero(&out, &images, y);
    blocked_assert_filling_zero(&in, &images, dx);
    blocked_assert_channels_zero(&in, &images, dx);
    free(x), free(y), free(dy), free(dx), free(expected);
}

START_TEST(max_pool_matches_definition)
{
    mio_context *context = blocked_context();
    for (size_t n = 0; n < BLOCKED_SIZE(blocked_counts); n++)
        for (size_t p = 0; p < BLOCKED_SIZE(cases); p++)
            check_max_pool(context, blocked_channels[_i], 1 + (n + p) % 2, blocked_counts[n], &cases[p], n / 2 % 2);
    mio_context_release(context);
}
END_TEST

START_TEST(max_pool_passes_on_not_a_number)
{
    mio_context *context = blocked_context();
    const mio__shape in = mio__shape_of(16, 3, 3), out = mio__shape_of(16, 1, 1);
    const mio__images images = mio__images_of(1, 16);
    mio__real *x = blocked_new(&in, &images), *y = blocked_new(&out, &images);
    for (size_t pixel = 0; pixel < 9; pixel++) {
        blocked_fill(&in, &images, 1, 0, x);
        x[blocked_place(&in, &images, 0, 3, pixel, 7)] = NAN;
        mio__max_pool_forward(context, 1, &in, &out, &images, 3, 1, 0, x, y);
        ck_assert(isnan(y[blocked_place(&out, &images, 0, 3, 0, 7)]));
        ck_assert(!isnan(y[blocked_place(&out, &images, 0, 3, 0, 6)]));
    }
    free(x), free(y);
    mio_context_release(context);
}
END_TEST

static void check_average_pool(mio_context *context, size_t channels, size_t views, size_t count, const size_t *extent,
                               int accumulate)
{
    const mio__shape in = mio__shape_of(channels, extent[0], extent[1]), out = mio__shape_of(channels, 1, 1);
    const mio__images images = mio__images_of(views, count);
    const size_t pixels = extent[0] * extent[1];
    mio__real *x = blocked_new(&in, &images), *y = blocked_new(&out, &images), *dy = blocked_new(&out, &images);
    mio__real *dx = blocked_new(&in, &images), *before = blocked_new(&in, &images);
    blocked_fill(&in, &images, channels + count, 0, x);
    blocked_fill(&out, &images, channels + count + 1, 0, dy);
    blocked_fill(&in, &images, channels + count + 2, 0, dx);
    memcpy(before, dx, mio__tensor_size(&in, &images) * sizeof *dx);
    mio__average_pool_forward(context, 2, &in, &images, x, y);
    mio__average_pool_backward(context, 2, &in, &images, dy, dx, accumulate);
    blocked_error forward = {0}, backward = {0};
    for (size_t view = 0; view < views; view++)
        for (size_t image = 0; image < count; image++)
            for (size_t c = 0; c < channels; c++) {
                const size_t at = blocked_place(&out, &images, view, image, 0, c);
                double sum = 0;
                for (size_t pixel = 0; pixel < pixels; pixel++) {
                    const size_t source = blocked_place(&in, &images, view, image, pixel, c);
                    sum += (double)x[source];
                    blocked_compare(&backward, (double)dx[source],
                                    (double)dy[at] / (double)pixels + (accumulate ? (double)before[source] : 0), 1);
                }
                blocked_compare(&forward, (double)y[at], sum / (double)pixels, 1);
            }
    ck_assert_double_lt(blocked_relative(&forward), 2e-7);
    ck_assert_double_lt(blocked_relative(&backward), 2e-7);
    blocked_assert_filling_zero(&in, &images, dx);
    blocked_assert_filling_zero(&out, &images, y);
    free(x), free(y), free(dy), free(dx), free(before);
}

START_TEST(average_pool_matches_definition)
{
    mio_context *context = blocked_context();
    for (size_t n = 0; n < BLOCKED_SIZE(blocked_counts); n++)
        for (size_t e = 0; e < BLOCKED_SIZE(blocked_extents); e++)
            check_average_pool(context, blocked_channels[_i], 1 + (n + e) % 2, blocked_counts[n], blocked_extents[e],
                               n / 2 % 2);
    mio_context_release(context);
}
END_TEST

START_TEST(bits_do_not_depend_on_workers)
{
    mio_context *context = blocked_context();
    const mio__shape in = mio__shape_of(80, 29, 13), out = mio__shape_of(80, 15, 7), one = mio__shape_of(80, 1, 1);
    const mio__images images = mio__images_of(2, 33);
    const size_t size = mio__tensor_size(&in, &images) * sizeof(mio__real);
    mio__real *x = blocked_new(&in, &images), *dy = blocked_new(&out, &images), *y = blocked_new(&one, &images);
    mio__real *first = blocked_new(&in, &images), *dx = blocked_new(&in, &images);
    blocked_fill(&in, &images, 1, 0, x);
    blocked_fill(&out, &images, 2, 0, dy);
    const size_t workers[] = {1, 2, 5};
    for (int i = 0; i < 3; i++) {
        mio__max_pool_backward(context, workers[i], &in, &out, &images, 3, 2, 1, x, dy, dx, 0);
        mio__average_pool_forward(context, workers[i], &in, &images, dx, y);
        mio__average_pool_backward(context, workers[i], &in, &images, y, dx, 1);
        if (i == 0)
            memcpy(first, dx, size);
        ck_assert(!memcmp(first, dx, size));
    }
    free(x), free(dy), free(y), free(first), free(dx);
    mio_context_release(context);
}
END_TEST

static int run_benchmarks(void)
{
    mio_context *context = blocked_context();
    const mio__shape in = mio__shape_of(64, 48, 48), out = mio__shape_of(64, 24, 24), one = mio__shape_of(64, 1, 1);
    const mio__images images = mio__images_of(2, 64);
    mio__real *x = blocked_new(&in, &images), *y = blocked_new(&out, &images), *dx = blocked_new(&in, &images);
    mio__real *mean = blocked_new(&one, &images);
    blocked_fill(&in, &images, 1, 0, x);
    const double megabytes = 1e-6 * (double)(mio__tensor_size(&in, &images) * sizeof *x);
    double best[4] = {1e9, 1e9, 1e9, 1e9};
    for (int repeat = 0; repeat < 10; repeat++)
        for (int what = 0; what < 4; what++) {
            const double start = blocked_seconds();
            if (what == 0)
                mio__max_pool_forward(context, 2, &in, &out, &images, 3, 2, 1, x, y);
            else if (what == 1)
                mio__max_pool_backward(context, 2, &in, &out, &images, 3, 2, 1, x, y, dx, 0);
            else if (what == 2)
                mio__average_pool_forward(context, 2, &in, &images, x, mean);
            else
                mio__average_pool_backward(context, 2, &in, &images, mean, dx, 0);
            best[what] = fmin(best[what], blocked_seconds() - start);
        }
    static const char *const names[] = {"max forward", "max backward", "average forward", "average backward"};
    static const double moved[] = {1.25, 2.25, 1, 1}; /* in input tensors */
    printf("64 channels, 48x48, 2 x 64 images, 2 workers, %s: %.1f MB\n", mio__target_name(), megabytes);
    for (int what = 0; what < 4; what++)
        printf("  %-16s %7.3f ms %6.1f GB/s\n", names[what], 1e3 * best[what],
               1e-3 * moved[what] * megabytes / best[what]);
    free(x), free(y), free(dx), free(mean);
    mio_context_release(context);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench"))
        return run_benchmarks();
    Suite *suite = suite_create("pool");
    TCase *tests = tcase_create("pool");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, max_pool_matches_definition, 0, BLOCKED_SIZE(blocked_channels));
    tcase_add_loop_test(tests, average_pool_matches_definition, 0, BLOCKED_SIZE(blocked_channels));
    tcase_add_test(tests, max_pool_passes_on_not_a_number);
    tcase_add_test(tests, bits_do_not_depend_on_workers);
    return blocked_run(suite, tests);
}
