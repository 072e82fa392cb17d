/* Batch normalisation against its definition in double, on shapes with every kind of filling. */
#include "blocked.h"

#include "kernels/batch_norm.h"

/* A batch norm with its arguments. */
typedef struct norm_case {
    mio__batch_norm norm;
    size_t channels; /* filled up */
    mio__real *x, *residual, *dy, *y, *dx, *dresidual, *gamma, *beta, *mean, *rstd, *running_mean, *running_variance;
    mio__real *dgamma, *dbeta;
    void *scratch;
} norm_case;

static mio__real *channel_array(size_t count)
{
    mio__real *array = blocked_memory(count * sizeof *array);
    memset(array, 0, count * sizeof *array);
    return array;
}

static norm_case make_case(size_t channels, size_t height, size_t width, size_t views, size_t count, int relu)
{
    norm_case t = {.norm = {mio__shape_of(channels, height, width), mio__images_of(views, count), 1e-5, 0.1, relu}};
    const mio__shape *shape = &t.norm.shape;
    const mio__images *images = &t.norm.images;
    t.channels = shape->blocks * shape->block;
    enum { RESIDUAL = 1, OUTPUT = 3, INPUT_GRADIENT = 4 };
    mio__real **tensors[] = {&t.x, &t.residual, &t.dy, &t.y, &t.dx, &t.dresidual};
    for (size_t i = 0; i < BLOCKED_SIZE(tensors); i++) {
        *tensors[i] = blocked_new(shape, images);
        if (i != OUTPUT && i != INPUT_GRADIENT)
            blocked_fill(shape, images, 100 * channels + count + i, i == RESIDUAL ? 0 : 777, *tensors[i]);
    }
    t.gamma = channel_array(t.channels);
    t.beta = channel_array(t.channels);
    t.dgamma = channel_array(t.channels);
    t.dbeta = channel_array(t.channels);
    t.running_mean = channel_array(t.channels);
    t.running_variance = channel_array(t.channels);
    t.mean = channel_array(views * t.channels);
    t.rstd = channel_array(views * t.channels);
    for (size_t c = 0; c < channels; c++) {
        t.gamma[c] = (mio__real)(1 + 0.5 * sin(3.0 * (double)c));
        t.beta[c] = (mio__real)(0.3 * cos((double)c));
        t.running_mean[c] = (mio__real)(0.1 * (double)(c % 7));
        t.running_variance[c] = (mio__real)(1 + 0.1 * (double)(c % 5));
    }
    t.scratch = blocked_memory(mio__batch_norm_scratch_size(&t.norm, 5));
    return t;
}

static void free_case(norm_case *t)
{
    void *all[] = {t->x,      t->residual, t->dy,     t->y,    t->dx,           t->dresidual,
                   t->gamma,  t->beta,     t->mean,   t->rstd, t->running_mean, t->running_variance,
                   t->dgamma, t->dbeta,    t->scratch};
    for (size_t i = 0; i < BLOCKED_SIZE(all); i++)
        free(all[i]);
}

static double value_at(const norm_case *t, const mio__real *x, size_t view, size_t image, size_t pixel, size_t c)
{
    return (double)x[blocked_place(&t->norm.shape, &t->norm.images, view, image, pixel, c)];
}

static size_t pixels_of(const norm_case *t)
{
    return t->norm.shape.height * t->norm.shape.width;
}

/* Mean and variance of a channel in a view: two passes in double. */
static void reference_statistics(const norm_case *t, size_t view, size_t c, double *mean, double *variance)
{
    const double count = (double)(t->norm.images.count * pixels_of(t));
    double sum = 0, squares = 0;
    for (size_t image = 0; image < t->norm.images.count; image++)
        for (size_t pixel = 0; pixel < pixels_of(t); pixel++)
            sum += value_at(t, t->x, view, image, pixel, c);
    *mean = sum / count;
    for (size_t image = 0; image < t->norm.images.count; image++)
        for (size_t pixel = 0; pixel < pixels_of(t); pixel++) {
            const double d = value_at(t, t->x, view, image, pixel, c) - *mean;
            squares += d * d;
        }
    *variance = squares / count;
}

static void compare_output(const norm_case *t, int with_residual, size_t view, size_t c, double mean, double rstd,
                           blocked_error *error)
{
    for (size_t image = 0; image < t->norm.images.count; image++)
        for (size_t pixel = 0; pixel < pixels_of(t); pixel++) {
            double y =
                (double)t->gamma[c] * (value_at(t, t->x, view, image, pixel, c) - mean) * rstd + (double)t->beta[c];
            if (with_residual)
                y += value_at(t, t->residual, view, image, pixel, c);
            const double expected = t->norm.relu && y < 0 ? 0 : y;
            blocked_compare(error, value_at(t, t->y, view, image, pixel, c), expected, y);
        }
}

static void run_forward(mio_context *context, size_t workers, norm_case *t, int with_residual)
{
    mio__batch_norm_forward(context, workers, t->scratch, &t->norm, t->x, with_residual ? t->residual : NULL, t->gamma,
                            t->beta, t->mean, t->rstd, t->running_mean, t->running_variance, t->y);
}

static void run_backward(mio_context *context, size_t workers, norm_case *t, int with_residual, int accumulate)
{
    mio__batch_norm_backward(context, workers, t->scratch, &t->norm, t->x, t->y, t->dy, t->gamma, t->mean, t->rstd,
                             t->dgamma, t->dbeta, t->dx, with_residual ? t->dresidual : NULL, accumulate);
}

static void assert_forward(mio_context *context, norm_case *t, int with_residual)
{
    const double count = (double)(t->norm.images.count * pixels_of(t));
    blocked_error output = {0}, means = {0}, deviations = {0}, running = {0};
    mio__real running_mean[256], running_variance[256];
    memcpy(running_mean, t->running_mean, t->channels * sizeof(mio__real));
    memcpy(running_variance, t->running_variance, t->channels * sizeof(mio__real));
    run_forward(context, 2, t, with_residual);
    for (size_t c = 0; c < t->norm.shape.channels; c++) {
        double expected_mean = (double)running_mean[c], expected_variance = (double)running_variance[c];
        for (size_t view = 0; view < t->norm.images.views; view++) {
            double mean, variance;
            reference_statistics(t, view, c, &mean, &variance);
            const double rstd = 1 / sqrt(variance + 1e-5);
            blocked_compare(&means, (double)t->mean[view * t->channels + c], mean, fmax(1, fabs(mean)));
            blocked_compare(&deviations, (double)t->rstd[view * t->channels + c], rstd, rstd);
            compare_output(t, with_residual, view, c, mean, rstd, &output);
            expected_mean = 0.9 * expected_mean + 0.1 * mean;
            expected_variance = 0.9 * expected_variance + 0.1 * variance * count / (count - 1);
        }
        blocked_compare(&running, (double)t->running_mean[c], expected_mean, 1);
        blocked_compare(&running, (double)t->running_variance[c], expected_variance, 1);
    }
    ck_assert_double_lt(blocked_relative(&output), 2e-6);
    ck_assert_double_lt(blocked_relative(&means), 1e-6);
    ck_assert_double_lt(blocked_relative(&deviations), 2e-6);
    ck_assert_double_lt(blocked_relative(&running), 1e-6);
    blocked_assert_filling_zero(&t->norm.shape, &t->norm.images, t->y);
    blocked_assert_channels_zero(&t->norm.shape, &t->norm.images, t->y);
}

/* Gradient that arrives at the sum before the ReLU. */
static double masked(const norm_case *t, size_t view, size_t image, size_t pixel, size_t c)
{
    return t->norm.relu && !(value_at(t, t->y, view, image, pixel, c) > 0) ? 0
                                                                           : value_at(t, t->dy, view, image, pixel, c);
}

static void assert_input_gradient(const norm_case *t, size_t view, size_t c, double *sum, double *product,
                                  blocked_error *error)
{
    const double count = (double)(t->norm.images.count * pixels_of(t));
    double mean, variance;
    reference_statistics(t, view, c, &mean, &variance);
    const double rstd = 1 / sqrt(variance + 1e-5), scale = (double)t->gamma[c] * rstd;
    *sum = *product = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t image = 0; image < t->norm.images.count; image++)
            for (size_t pixel = 0; pixel < pixels_of(t); pixel++) {
                const double g = masked(t, view, image, pixel, c);
                const double xhat = (value_at(t, t->x, view, image, pixel, c) - mean) * rstd;
                if (pass == 0) {
                    *sum += g;
                    *product += g * xhat;
                } else {
                    const double expected = scale * (g - *sum / count - xhat * *product / count);
                    blocked_compare(error, value_at(t, t->dx, view, image, pixel, c), expected, scale * g);
                }
            }
}

static void assert_backward(mio_context *context, norm_case *t, int with_residual, int accumulate)
{
    mio__real *before = blocked_new(&t->norm.shape, &t->norm.images);
    memcpy(before, t->dresidual, mio__tensor_size(&t->norm.shape, &t->norm.images) * sizeof *before);
    run_backward(context, 2, t, with_residual, accumulate);
    blocked_error input = {0}, gammas = {0}, betas = {0}, residual = {0};
    for (size_t c = 0; c < t->norm.shape.channels; c++) {
        double dgamma = 0, dbeta = 0, magnitude = 0;
        for (size_t view = 0; view < t->norm.images.views; view++) {
            double sum, product;
            assert_input_gradient(t, view, c, &sum, &product, &input);
            dbeta += sum;
            dgamma += product;
            for (size_t image = 0; image < t->norm.images.count; image++)
                for (size_t pixel = 0; pixel < pixels_of(t); pixel++) {
                    const double g = masked(t, view, image, pixel, c);
                    magnitude += fabs(g);
                    if (with_residual)
                        blocked_compare(&residual, value_at(t, t->dresidual, view, image, pixel, c),
                                        g + (accumulate ? value_at(t, before, view, image, pixel, c) : 0), 1);
                }
        }
        blocked_compare(&gammas, (double)t->dgamma[c], dgamma, magnitude);
        blocked_compare(&betas, (double)t->dbeta[c], dbeta, magnitude);
    }
    /* Of two samples, xhat is a difference of nearly equal numbers in some channel. */
    ck_assert_double_lt(blocked_relative(&input), t->norm.images.count * pixels_of(t) < 8 ? 2e-5 : 2e-6);
    ck_assert_double_lt(blocked_relative(&gammas), 2e-6);
    ck_assert_double_lt(blocked_relative(&betas), 2e-7);
    ck_assert_double_lt(blocked_relative(&residual), 2e-7);
    blocked_assert_filling_zero(&t->norm.shape, &t->norm.images, t->dx);
    blocked_assert_channels_zero(&t->norm.shape, &t->norm.images, t->dx);
    if (with_residual && !accumulate)
        blocked_assert_filling_zero(&t->norm.shape, &t->norm.images, t->dresidual);
    for (size_t c = t->norm.shape.channels; c < t->channels; c++)
        ck_assert(t->dgamma[c] == 0 && t->dbeta[c] == 0);
    free(before);
}

START_TEST(training_matches_definition)
{
    mio_context *context = blocked_context();
    const size_t channels = blocked_channels[_i];
    for (size_t n = 0; n < BLOCKED_SIZE(blocked_counts); n++)
        for (size_t e = (n + (size_t)_i) % 2; e < BLOCKED_SIZE(blocked_extents); e += 2) {
            const size_t *extent = blocked_extents[e], views = 1 + (n + e / 2) % 2;
            if (blocked_counts[n] * extent[0] * extent[1] < 2)
                continue;
            const int relu = (n / 2 + e) % 2, residual = (n + e) % 3 > 0, accumulate = (n + e) % 3 == 2;
            norm_case t = make_case(channels, extent[0], extent[1], views, blocked_counts[n], relu);
            assert_forward(context, &t, residual);
            assert_backward(context, &t, residual, accumulate);
            free_case(&t);
        }
    mio_context_release(context);
}
END_TEST

START_TEST(large_tensor_matches_definition)
{
    /* Several pieces per image and a last group that is not full. */
    mio_context *context = blocked_context();
    norm_case t = make_case(48, 33, 31, 2, 72, 1);
    assert_forward(context, &t, 1);
    assert_backward(context, &t, 1, 0);
    free_case(&t);
    mio_context_release(context);
}
END_TEST

START_TEST(evaluation_uses_running_statistics)
{
    mio_context *context = blocked_context();
    const size_t channels = blocked_channels[_i];
    norm_case t = make_case(channels, 3, 5, 1, 17, 1);
    mio__batch_norm_infer(context, 2, &t.norm, t.x, t.residual, t.gamma, t.beta, t.running_mean, t.running_variance,
                          t.y);
    blocked_error error = {0};
    for (size_t c = 0; c < channels; c++)
        compare_output(&t, 1, 0, c, (double)t.running_mean[c], 1 / sqrt((double)t.running_variance[c] + 1e-5), &error);
    ck_assert_double_lt(blocked_relative(&error), 1e-6);
    blocked_assert_filling_zero(&t.norm.shape, &t.norm.images, t.y);
    free_case(&t);
    mio_context_release(context);
}
END_TEST

/* Largest relative error of rstd after `value` has been put into every real place. */
static double deviation_error(norm_case *t, mio_context *context)
{
    double worst = 0;
    run_forward(context, 2, t, 0);
    for (size_t c = 0; c < t->norm.shape.channels; c++) {
        double mean, variance;
        reference_statistics(t, 0, c, &mean, &variance);
        worst = fmax(worst, fabs((double)t->rstd[c] * sqrt(variance + 1e-5) - 1));
    }
    return worst;
}

START_TEST(variance_survives_a_large_mean)
{
    mio_context *context = blocked_context();
    norm_case t = make_case(64, 16, 16, 1, 96, 0);
    const size_t size = mio__tensor_size(&t.norm.shape, &t.norm.images);
    for (size_t i = 0; i < size; i++)
        t.x[i] += 1000;
    ck_assert_double_lt(deviation_error(&t, context), 1e-6);
    /* One image of zeros at the place where the shift is taken. */
    for (size_t pixel = 0; pixel < 256; pixel++)
        for (size_t c = 0; c < 64; c++)
            t.x[blocked_place(&t.norm.shape, &t.norm.images, 0, 0, pixel, c)] = 0;
    ck_assert_double_lt(deviation_error(&t, context), 1e-6);
    /* A constant channel has no variance at all. */
    for (size_t i = 0; i < size; i++)
        t.x[i] = (mio__real)1000.123;
    ck_assert_double_lt(deviation_error(&t, context), 1e-6);
    free_case(&t);
    mio_context_release(context);
}
END_TEST

/* Runs both passes and gathers all results in one array. */
static mio__real *results(mio_context *context, size_t workers, size_t *size)
{
    norm_case t = make_case(80, 20, 20, 2, 144, 1);
    run_forward(context, workers, &t, 1);
    run_backward(context, workers, &t, 1, 1);
    const size_t tensor = mio__tensor_size(&t.norm.shape, &t.norm.images), c = t.channels;
    const struct {
        const mio__real *from;
        size_t count;
    } parts[] = {{t.y, tensor},       {t.dx, tensor},          {t.dresidual, tensor}, {t.mean, 2 * c}, {t.rstd, 2 * c},
                 {t.running_mean, c}, {t.running_variance, c}, {t.dgamma, c},         {t.dbeta, c}};
    mio__real *all = blocked_memory((3 * tensor + 8 * c) * sizeof *all);
    *size = 0;
    for (size_t i = 0; i < BLOCKED_SIZE(parts); i++) {
        memcpy(all + *size, parts[i].from, parts[i].count * sizeof *all);
        *size += parts[i].count;
    }
    free_case(&t);
    return all;
}

START_TEST(bits_do_not_depend_on_workers)
{
    mio_context *context = blocked_context();
    size_t size;
    mio__real *one = results(context, 1, &size);
    for (size_t workers = 2; workers <= 5; workers += 3) {
        mio__real *more = results(context, workers, &size);
        ck_assert(!memcmp(one, more, size * sizeof *one));
        free(more);
    }
    free(one);
    mio_context_release(context);
}
END_TEST

START_TEST(passes_work_in_place)
{
    mio_context *context = blocked_context();
    norm_case apart = make_case(17, 5, 4, 2, 33, 1), joined = make_case(17, 5, 4, 2, 33, 1);
    const size_t bytes = mio__tensor_size(&apart.norm.shape, &apart.norm.images) * sizeof(mio__real);
    run_forward(context, 2, &apart, 1);
    run_backward(context, 2, &apart, 1, 0);
    mio__real *x = joined.x, *y = joined.y;
    joined.y = x; /* y over x */
    run_forward(context, 2, &joined, 1);
    ck_assert(!memcmp(apart.y, joined.y, bytes));
    joined.y = apart.y;
    joined.x = apart.x;
    mio__real *dx = joined.dx, *dy = joined.dy;
    joined.dx = dy; /* dx over dy */
    run_backward(context, 2, &joined, 1, 0);
    ck_assert(!memcmp(apart.dx, joined.dx, bytes));
    ck_assert(!memcmp(apart.dresidual, joined.dresidual, bytes));
    mio__real *dresidual = joined.dresidual;
    joined.dx = dx;
    memcpy(dy, apart.dy, bytes);
    joined.dresidual = dy; /* dresidual over dy */
    run_backward(context, 2, &joined, 1, 0);
    ck_assert(!memcmp(apart.dx, joined.dx, bytes));
    ck_assert(!memcmp(apart.dresidual, joined.dresidual, bytes));
    joined.x = x;
    joined.y = y;
    joined.dresidual = dresidual;
    free_case(&apart);
    free_case(&joined);
    mio_context_release(context);
}
END_TEST

START_TEST(not_a_number_stays_visible)
{
    mio_context *context = blocked_context();
    norm_case t = make_case(16, 2, 2, 1, 16, 1);
    t.x[5] = NAN;
    run_forward(context, 1, &t, 0);
    ck_assert(isnan(t.y[5]) && isnan(t.y[5 + 16]) && !isnan(t.y[6]));
    free_case(&t);
    mio_context_release(context);
}
END_TEST

/* ---- benchmark: bytes that each pass must move, against a copy ---- */

typedef struct copy_pass {
    const mio__real *from;
    mio__real *to;
    size_t count;
} copy_pass;

enum { COPY_PIECE = 65536 };

static void copy_piece(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const copy_pass *s = argument;
    const size_t start = item * COPY_PIECE, left = s->count - start;
    memcpy(s->to + start, s->from + start, (left < COPY_PIECE ? left : COPY_PIECE) * sizeof *s->to);
}

static void benchmark(mio_context *context, size_t workers, size_t channels, size_t extent, size_t count)
{
    norm_case t = make_case(channels, extent, extent, 2, count, 1);
    const size_t size = mio__tensor_size(&t.norm.shape, &t.norm.images);
    static const char *const names[] = {"copy",  "forward",  "forward+residual",
                                        "infer", "backward", "backward+residual"};
    static const double moved[] = {2, 3, 4, 2, 7, 7}; /* tensors read or written */
    printf("%zu channels, %zux%zu, 2 x %zu images, %zu workers, %s: %.1f MB a tensor\n", channels, extent, extent,
           count, workers, mio__target_name(), 1e-6 * (double)(size * sizeof(mio__real)));
    for (int what = 0; what < 6; what++) {
        double best = 1e9;
        for (int repeat = 0; repeat < 15; repeat++) {
            copy_pass copy = {t.x, t.y, size};
            const double start = blocked_seconds();
            if (what == 0)
                mio__parallel(context, workers, (size + COPY_PIECE - 1) / COPY_PIECE, copy_piece, &copy);
            else if (what < 3)
                run_forward(context, workers, &t, what == 2);
            else if (what == 3)
                mio__batch_norm_infer(context, workers, &t.norm, t.x, NULL, t.gamma, t.beta, t.running_mean,
                                      t.running_variance, t.y);
            else
                run_backward(context, workers, &t, what == 5, 0);
            best = fmin(best, blocked_seconds() - start);
        }
        printf("  %-18s %7.3f ms %6.1f GB/s\n", names[what], 1e3 * best,
               1e-9 * moved[what] * (double)(size * sizeof(mio__real)) / best);
    }
    free_case(&t);
}

static int run_benchmarks(void)
{
    mio_context *context = blocked_context();
    mio_context_set(context, "threads", 2);
    for (size_t workers = 1; workers <= 2; workers++) {
        benchmark(context, workers, 64, 32, 128);
        benchmark(context, workers, 16, 32, 256);
        benchmark(context, workers, 128, 8, 128);
    }
    mio_context_release(context);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench"))
        return run_benchmarks();
    Suite *suite = suite_create("batch norm");
    TCase *tests = tcase_create("batch norm");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, training_matches_definition, 0, BLOCKED_SIZE(blocked_channels));
    tcase_add_loop_test(tests, evaluation_uses_running_statistics, 0, BLOCKED_SIZE(blocked_channels));
    tcase_add_test(tests, large_tensor_matches_definition);
    tcase_add_test(tests, variance_survives_a_large_mean);
    tcase_add_test(tests, bits_do_not_depend_on_workers);
    tcase_add_test(tests, passes_work_in_place);
    tcase_add_test(tests, not_a_number_stays_visible);
    return blocked_run(suite, tests);
}
