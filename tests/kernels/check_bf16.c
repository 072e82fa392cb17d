/* Holds what is stored and multiplied in bf16 against the same sources in plain C, against the fp32 kernels on the same
   numbers, and against the definition. Skipped on CPUs without bf16. */
#include "kernels/batch_norm.h"
#include "kernels/batch_norm_vector.h"
#include "kernels/bf16_vector.h"
#include "kernels/conv.h"
#include "kernels/elementwise.h"
#include "kernels/elementwise_vector.h"
#include "kernels/pool.h"
#include "kernels/winograd_vector.h"

#include "blocked.h"

#include <float.h>

/* Plain C. */
extern const mio__bf16_kernels mio__bf16_loops_bf16_reference;
extern const mio__elementwise_kernels mio__elementwise_loops_bf16_reference;
extern const mio__winograd_kernels mio__winograd_bf16_reference;

/* ---- numbers ---- */

static float widen(uint16_t stored)
{
    const uint32_t bits = (uint32_t)stored << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint16_t narrow(float value)
{
    uint16_t stored;
    mio__elementwise_loops_bf16_reference.pack(1, 1, 1, 1, 1, &value, &stored);
    return stored;
}

/* For LeakSanitizer, which asks by this name: arrays of blocked.h live as long as the process, a test where Check
   forks. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:blocked.h\n";
}

static uint16_t *narrowed(size_t count, const float *values)
{
    uint16_t *stored = blocked_memory(count * sizeof *stored);
    for (size_t i = 0; i < count; i++)
        stored[i] = narrow(values[i]);
    return stored;
}

/* The same numbers as floats. */
static float *widened(size_t count, const uint16_t *stored)
{
    float *values = blocked_memory(count * sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = widen(stored[i]);
    return values;
}

static float *uniform(uint64_t seed, size_t count)
{
    mio__random random = blocked_random(seed);
    float *values = blocked_memory(count * sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)mio__random_between(&random, -1, 1);
    return values;
}

static uint16_t *uniform_stored(uint64_t seed, size_t count)
{
    return narrowed(count, uniform(seed, count));
}

static void assert_narrowed(const char *what, size_t count, const uint16_t *stored, const float *expected)
{
    for (size_t i = 0; i < count; i++)
        if (stored[i] != narrow(expected[i]))
            ck_abort_msg("%s: element %zu is %g, not %g rounded", what, i, (double)widen(stored[i]),
                         (double)expected[i]);
}

START_TEST(rounding)
{
    const float values[] = {0,       -0.0f,    1,         0x1.01p0f, 0x1.03p0f, -0x1.01p0f, 0x1.010002p0f, 0x1.ffffp0f,
                            FLT_MAX, INFINITY, -INFINITY, NAN,       1e-20f,    3e38f,      -2.5f,         0x1.fep10f};
    const uint16_t expected[] = {0,      0x8000, 0x3f80, 0x3f80, 0x3f82, 0xbf80, 0x3f81, 0x4000,
                                 0x7f80, 0x7f80, 0xff80, 0x7fc0, 0x1e3d, 0x7f62, 0xc020, 0x44ff};
    uint16_t fast[16], plain[16];
    mio__elementwise_loops_bf16.pack(1, 16, 16, 16, 16, values, fast);
    mio__elementwise_loops_bf16_reference.pack(1, 16, 16, 16, 16, values, plain);
    for (size_t i = 0; i < 16; i++) {
        ck_assert_uint_eq(plain[i], expected[i]);
        ck_assert_uint_eq(fast[i], expected[i]);
    }
    uint16_t relu[16], sum[16];
    mio__elementwise_loops_bf16.relu(16, plain, relu); /* a register's conversions */
    for (size_t i = 0; i < 16; i++)
        ck_assert_uint_eq(relu[i], values[i] <= 0 ? 0 : expected[i]);
    mio__elementwise_loops_bf16.add(16, plain, plain, sum);
    for (size_t i = 0; i < 16; i++)
        ck_assert_uint_eq(sum[i], narrow(2 * widen(plain[i])));
}
END_TEST

/* ---- products ---- */

static void check_product(size_t m, size_t n, size_t k, size_t count, int paired_b)
{
    const uint16_t *left = uniform_stored(1, count * k * m), *right = uniform_stored(2, count * k * n);
    const void *a[5], *b[5];
    for (size_t i = 0; i < count; i++)
        a[i] = left + i * k * m, b[i] = right + i * k * n;
    for (int turn = 0; turn < 4; turn++) {
        const mio__bf16_product product = {m, n, k, paired_b ? 2 : k, paired_b ? 2 * n : 2, m, turn % 2, turn / 2};
        const float *before = uniform(3, m * n);
        const size_t size = m * n * (product.stored ? sizeof(uint16_t) : sizeof(float));
        void *got = blocked_memory(size), *expected = blocked_memory(size);
        memcpy(got, product.stored ? (const void *)narrowed(m * n, before) : before, size);
        memcpy(expected, got, size);
        mio__bf16_loops_bf16.multiply(&product, a, b, got, count);
        mio__bf16_loops_bf16_reference.multiply(&product, a, b, expected, count);
        for (size_t i = 0; i < m * n; i++) {
            const float x = product.stored ? widen(((uint16_t *)got)[i]) : ((float *)got)[i];
            const float y = product.stored ? widen(((uint16_t *)expected)[i]) : ((float *)expected)[i];
            /* Sums in another order, which may fall on the other side of a tie. */
            const double bound = 1e-6 * (double)(k * count) + (product.stored ? fabs((double)y) / 127 : 0);
            if (!(fabs((double)x - (double)y) <= bound))
                ck_abort_msg("%zu x %zu x %zu, turn %d: element %zu is %g, not %g", m, n, k, turn, i, (double)x,
                             (double)y);
        }
    }
}

START_TEST(products)
{
    static const size_t rows[] = {4, 8, 16, 32, 48, 64, 112}, depths[] = {2, 4, 16, 64};
    for (size_t i = 0; i < BLOCKED_SIZE(rows); i++)
        for (size_t n = 1; n < 30; n++)
            check_product(rows[i], n, depths[n % 4], 1 + n % 5, n % 3 == 0);
    check_product(64, 64, 64, 3, 0);
    check_product(64, 64, 32, 5, 1);
}
END_TEST

START_TEST(pairs)
{
    for (size_t columns = 2; columns < 70; columns += 2) {
        const size_t rows = 6, count = rows * columns;
        const float *values = uniform(columns, 2 * count);
        uint16_t got[6 * 70], expected[6 * 70];
        mio__bf16_loops_bf16.pair_floats(rows, columns, columns + 3, values, got);
        mio__bf16_loops_bf16_reference.pair_floats(rows, columns, columns + 3, values, expected);
        ck_assert_mem_eq(got, expected, count * sizeof *got);
        ck_assert_uint_eq(got[2 * columns + 3], narrow(values[3 * (columns + 3) + 1]));
        const uint16_t *stored = narrowed(count, values);
        mio__bf16_loops_bf16.pair(rows, columns, stored, got);
        mio__bf16_loops_bf16_reference.pair(rows, columns, stored, expected);
        ck_assert_mem_eq(got, expected, count * sizeof *got);
    }
}
END_TEST

/* ---- Winograd's transforms ---- */

enum { LANES = 6, BLOCK = 32, PIXEL = LANES * BLOCK, STRIDE = PIXEL + 32 };

static void check_stored(const char *what, size_t count, const uint16_t *got, const uint16_t *expected)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)widen(got[i]) - (double)widen(expected[i])) <=
              fabs((double)widen(expected[i])) / 100 + 1e-5))
            ck_abort_msg("%s: element %zu is %g, not %g", what, i, (double)widen(got[i]), (double)widen(expected[i]));
}

static void check_transforms(const mio__winograd_transforms *fast, const mio__winograd_transforms *plain, size_t m)
{
    const size_t n = m + 2;
    const uint16_t *numbers = uniform_stored(m, n * n * PIXEL);
    const float *sums = uniform(m + 1, n * n * STRIDE);
    const void *pixels[36];
    void *written[2][16];
    uint16_t *points[2];
    for (size_t i = 0; i < n * n; i++)
        pixels[i] = numbers + i * PIXEL;
    for (int k = 0; k < 2; k++) {
        points[k] = blocked_memory(n * n * STRIDE * sizeof(uint16_t));
        memset(points[k], 0, n * n * STRIDE * sizeof(uint16_t));
        for (size_t i = 0; i < m * m; i++)
            written[k][i] = memset(blocked_memory(PIXEL * sizeof(uint16_t)), 0x3f, PIXEL * sizeof(uint16_t));
    }
    fast->input(pixels, PIXEL, points[0], STRIDE), plain->input(pixels, PIXEL, points[1], STRIDE);
    check_stored("input", n * n * STRIDE, points[0], points[1]);
    fast->input_columns(pixels, BLOCK, PIXEL, points[0], STRIDE);
    plain->input_columns(pixels, BLOCK, PIXEL, points[1], STRIDE);
    check_stored("input in columns", n * n * STRIDE, points[0], points[1]);
    fast->gradient_columns(pixels, BLOCK, PIXEL, points[0], STRIDE);
    plain->gradient_columns(pixels, BLOCK, PIXEL, points[1], STRIDE);
    check_stored("gradient in columns", n * n * STRIDE, points[0], points[1]);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        fast->output(sums, STRIDE, PIXEL, written[0], accumulate);
        plain->output(sums, STRIDE, PIXEL, written[1], accumulate);
        for (size_t i = 0; i < m * m; i++)
            check_stored("output", PIXEL, written[0][i], written[1][i]);
    }
}

START_TEST(transforms)
{
    check_transforms(&mio__winograd_bf16.two, &mio__winograd_bf16_reference.two, 2);
    check_transforms(&mio__winograd_bf16.four, &mio__winograd_bf16_reference.four, 4);
}
END_TEST

/* ---- elementwise, batch norm, pooling: what the fp32 kernels give for the same numbers, rounded once ---- */

static mio__images images_in(mio__precision precision, size_t views, size_t count)
{
    mio__images images = mio__images_of(views, count);
    images.precision = precision;
    return images;
}

START_TEST(elementwise)
{
    mio_context *context = blocked_context();
    for (size_t count = 1; count < 80000; count = count * 3 + 1) {
        uint16_t *a = uniform_stored(1, count), *b = uniform_stored(2, count), *y = uniform_stored(3, count);
        float *fa = widened(count, a), *fb = widened(count, b), *fy = widened(count, y);
        mio__relu_backward(context, 3, MIO__BF16, count, a, b, y, 1);
        mio__relu_backward(context, 3, MIO__FP32, count, fa, fb, fy, 1);
        assert_narrowed("the gradient of ReLU", count, y, fy);
        mio__add(context, 3, MIO__BF16, count, a, b, y);
        mio__add(context, 3, MIO__FP32, count, fa, fb, fy);
        assert_narrowed("a sum", count, y, fy);
        mio__relu_forward(context, 3, MIO__BF16, count, a, y);
        mio__relu_forward(context, 3, MIO__FP32, count, fa, fy);
        assert_narrowed("ReLU", count, y, fy);
        free(a), free(b), free(y), free(fa), free(fb), free(fy);
    }
    mio_context_release(context);
}
END_TEST

START_TEST(doors)
{
    mio_context *context = blocked_context();
    for (size_t c = 0; c < BLOCKED_SIZE(blocked_channels); c++)
        for (size_t n = 0; n < BLOCKED_SIZE(blocked_counts); n++) {
            const mio__shape shape = mio__shape_of(blocked_channels[c], 3, 5);
            const mio__images stored = images_in(MIO__BF16, 2, blocked_counts[n]),
                              plain = images_in(MIO__FP32, 2, blocked_counts[n]);
            const size_t count = mio__tensor_size(&shape, &plain), rows = 2 * blocked_counts[n] * 15 * shape.channels;
            const size_t channels = shape.blocks * shape.block;
            float *from = uniform(1, rows), *to = blocked_memory(rows * sizeof *to),
                  *x = blocked_memory(count * sizeof *x);
            uint16_t *y = blocked_memory(count * sizeof *y);
            mio__pack(context, 3, &shape, &stored, from, y);
            mio__pack(context, 3, &shape, &plain, from, x);
            assert_narrowed("packed", count, y, x);
            mio__unpack(context, 3, &shape, &stored, y, to);
            for (size_t i = 0; i < rows; i++)
                if (to[i] != widen(narrow(from[i])))
                    ck_abort_msg("unpacked: %g, not %g rounded", (double)to[i], (double)from[i]);
            float *bias = uniform(4, channels), *sums = blocked_memory(channels * sizeof *sums),
                  *more = blocked_memory(channels * sizeof *more), *wide = widened(count, y);
            mio__sum_bias(context, 3, &shape, &stored, y, sums);
            mio__sum_bias(context, 3, &shape, &plain, wide, more);
            ck_assert_mem_eq(sums, more, channels * sizeof *sums);
            mio__add_bias(context, 3, &shape, &stored, bias, y);
            mio__add_bias(context, 3, &shape, &plain, bias, wide);
            assert_narrowed("with bias", count, y, wide);
            free(from), free(to), free(x), free(y), free(bias), free(sums), free(more), free(wide);
        }
    mio_context_release(context);
}
END_TEST

/* Everything that a batch norm reads and writes, in one precision. */
typedef struct norm_arrays {
    mio__batch_norm norm;
    void *x, *residual, *y, *dy, *dx, *dresidual, *scratch;
    float *gamma, *beta, *mean, *rstd, *running_mean, *running_variance, *dgamma, *dbeta;
} norm_arrays;

static void *tensor_in(mio__precision precision, const mio__batch_norm *norm, uint64_t seed)
{
    float *values = blocked_memory(mio__tensor_size(&norm->shape, &norm->images) * sizeof *values);
    blocked_fill(&norm->shape, &norm->images, seed, 0, values);
    const size_t count = mio__tensor_size(&norm->shape, &norm->images);
    uint16_t *stored = narrowed(count, values);
    free(values);
    return precision == MIO__BF16 ? (void *)stored : widened(count, stored);
}

static norm_arrays norm_in(mio__precision precision, const mio__shape *shape, size_t count, int relu)
{
    norm_arrays t = {.norm = {*shape, images_in(precision, 2, count), 1e-5, 0.1, relu}};
    const size_t channels = shape->blocks * shape->block;
    void **const tensors[] = {&t.x, &t.residual, &t.y, &t.dy, &t.dx, &t.dresidual};
    float **const arrays[] = {&t.gamma,  &t.beta, &t.mean, &t.rstd, &t.running_mean, &t.running_variance,
                              &t.dgamma, &t.dbeta};
    for (size_t i = 0; i < 6; i++)
        *tensors[i] = tensor_in(precision, &t.norm, i);
    for (size_t i = 0; i < 8; i++) {
        *arrays[i] = uniform(10 + i, 2 * channels);
        for (size_t c = shape->channels; c < channels; c++)
            (*arrays[i])[c] = 0;
    }
    t.scratch = blocked_memory(mio__batch_norm_scratch_size(&t.norm, 3));
    return t;
}

static void run_norm(mio_context *context, const norm_arrays *t, int with_residual)
{
    mio__batch_norm_forward(context, 3, t->scratch, &t->norm, t->x, with_residual ? t->residual : NULL, t->gamma,
                            t->beta, t->mean, t->rstd, t->running_mean, t->running_variance, t->y);
}

static void check_norm(mio_context *context, const mio__shape *shape, size_t count, int turn)
{
    norm_arrays stored = norm_in(MIO__BF16, shape, count, turn % 2), plain = norm_in(MIO__FP32, shape, count, turn % 2);
    const size_t size = mio__tensor_size(shape, &plain.norm.images), channels = shape->blocks * shape->block;
    run_norm(context, &stored, turn / 2);
    run_norm(context, &plain, turn / 2);
    ck_assert_mem_eq(stored.mean, plain.mean, 2 * channels * sizeof(float));
    ck_assert_mem_eq(stored.rstd, plain.rstd, 2 * channels * sizeof(float));
    ck_assert_mem_eq(stored.running_variance, plain.running_variance, channels * sizeof(float));
    assert_narrowed("y", size, stored.y, plain.y);
    plain.y = widened(size, stored.y);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        mio__batch_norm_backward(context, 3, stored.scratch, &stored.norm, stored.x, stored.y, stored.dy, stored.gamma,
                                 stored.mean, stored.rstd, stored.dgamma, stored.dbeta, stored.dx,
                                 turn / 2 ? stored.dresidual : NULL, accumulate);
        mio__batch_norm_backward(context, 3, plain.scratch, &plain.norm, plain.x, plain.y, plain.dy, plain.gamma,
                                 plain.mean, plain.rstd, plain.dgamma, plain.dbeta, plain.dx,
                                 turn / 2 ? plain.dresidual : NULL, accumulate);
        ck_assert_mem_eq(stored.dgamma, plain.dgamma, channels * sizeof(float));
        ck_assert_mem_eq(stored.dbeta, plain.dbeta, channels * sizeof(float));
        assert_narrowed("dx", size, stored.dx, plain.dx);
        assert_narrowed("dresidual", size, stored.dresidual, plain.dresidual);
        plain.dresidual = widened(size, stored.dresidual);
    }
}

START_TEST(batch_norm)
{
    mio_context *context = blocked_context();
    for (size_t c = 0; c < BLOCKED_SIZE(blocked_channels); c++)
        for (size_t n = 1; n < BLOCKED_SIZE(blocked_counts); n++) {
            const mio__shape shape = mio__shape_of(blocked_channels[c], 5, 3);
            check_norm(context, &shape, blocked_counts[n], (int)(c + n) % 4);
        }
    const mio__shape large = mio__shape_of(64, 32, 32);
    check_norm(context, &large, 40, 3);
    mio_context_release(context);
}
END_TEST

START_TEST(pooling)
{
    mio_context *context = blocked_context();
    for (size_t c = 0; c < BLOCKED_SIZE(blocked_channels); c++) {
        const mio__shape input = mio__shape_of(blocked_channels[c], 9, 7),
                         output = mio__shape_of(blocked_channels[c], 5, 4);
        const mio__images stored = images_in(MIO__BF16, 1, 5), plain = images_in(MIO__FP32, 1, 5);
        const size_t from = mio__tensor_size(&input, &plain), to = mio__tensor_size(&output, &plain);
        uint16_t *x = uniform_stored(1, from), *y = uniform_stored(2, to), *dx = uniform_stored(3, from);
        float *fx = widened(from, x), *fy = widened(to, y), *fdx = widened(from, dx);
        mio__max_pool_forward(context, 3, &input, &output, &stored, 3, 2, 1, x, y);
        mio__max_pool_forward(context, 3, &input, &output, &plain, 3, 2, 1, fx, fy);
        assert_narrowed("a maximum", to, y, fy);
        mio__max_pool_backward(context, 3, &input, &output, &stored, 3, 2, 1, x, y, dx, 0);
        mio__max_pool_backward(context, 3, &input, &output, &plain, 3, 2, 1, fx, fy, fdx, 0);
        for (size_t i = 0; i < from; i++) /* a winner of several windows is rounded with each */
            if (!(fabs((double)widen(dx[i]) - (double)fdx[i]) <= fabs((double)fdx[i]) / 60 + 4e-2))
                ck_abort_msg("the gradient of a maximum is %g, not %g", (double)widen(dx[i]), (double)fdx[i]);
        mio__average_pool_forward(context, 3, &input, &stored, x, y);
        mio__average_pool_forward(context, 3, &input, &plain, fx, fy);
        assert_narrowed("an average", to / 20, y, fy);
        fy = widened(to, y);
        mio__average_pool_backward(context, 3, &input, &stored, y, dx, 0);
        mio__average_pool_backward(context, 3, &input, &plain, fy, fdx, 0);
        assert_narrowed("the gradient of an average", from, dx, fdx);
    }
    mio_context_release(context);
}
END_TEST

/* ---- convolution ---- */

typedef struct problem {
    size_t in, out, height, width, kernel, stride, padding, views, count;
} problem;

typedef struct passes {
    uint16_t *y, *dx;
    float *dw;
    char name[16];
} passes;

static void run_conv(const mio__conv_geometry *g, mio__conv_algorithm algorithm, size_t workers, const float *w,
                     const uint16_t *x, const uint16_t *dy, passes *p)
{
    mio_context *context = blocked_context();
    mio__conv *conv;
    ck_assert_int_eq(mio__conv_create(context, g, algorithm, 1, &conv), MIO_OK);
    void *scratch = blocked_memory(mio__conv_scratch_size(conv, workers));
    mio__conv_prepare(conv, workers, w);
    mio__conv_forward(conv, workers, scratch, x, p->y);
    mio__conv_backward_data(conv, workers, scratch, dy, p->dx, 0);
    mio__conv_backward_weights(conv, workers, scratch, x, dy, p->dw);
    snprintf(p->name, sizeof p->name, "%s", mio__conv_algorithm_name(conv));
    free(scratch);
    mio__conv_destroy(conv);
    mio_context_release(context);
}

static passes new_passes(const mio__conv_geometry *g)
{
    return (passes){blocked_memory(2 * mio__tensor_size(&g->output, &g->images)),
                    blocked_memory(2 * mio__tensor_size(&g->input, &g->images)),
                    blocked_memory(4 * mio__conv_weight_count(&g->input, &g->output, g->kernel)), ""};
}

static double stored_error(size_t count, const uint16_t *got, const float *expected)
{
    blocked_error error = {0};
    for (size_t i = 0; i < count; i++)
        blocked_compare(&error, (double)widen(got[i]), (double)expected[i], (double)expected[i]);
    return blocked_relative(&error);
}

static double float_error(size_t count, const float *got, const float *expected)
{
    blocked_error error = {0};
    for (size_t i = 0; i < count; i++)
        blocked_compare(&error, (double)got[i], (double)expected[i], (double)expected[i]);
    return blocked_relative(&error);
}

/* signs: at random, so that sums nearly cancel, as those of gradients do. */
static uint16_t *activations(const mio__shape *shape, const mio__images *images, uint64_t seed, int signs)
{
    mio__random random = blocked_random(seed + 100);
    float *values = blocked_memory(mio__tensor_size(shape, images) * sizeof *values);
    blocked_fill(shape, images, seed, 0, values);
    for (size_t i = 0; signs && i < mio__tensor_size(shape, images); i++)
        if (mio__random_between(&random, -1, 1) < 0)
            values[i] = -values[i];
    return narrowed(mio__tensor_size(shape, images), values);
}

/* Relative errors in the L2 norm: rounded weights and results, and for Winograd's the rounded transforms. */
static double bound_of(const char *name)
{
    return !strcmp(name, "winograd4") ? 1.6e-2 : !strcmp(name, "winograd2") ? 6.5e-3 : 3.5e-3;
}

static void check_conv(const problem *p, mio__conv_algorithm algorithm, int print)
{
    const mio__conv_geometry g = {mio__shape_of(p->in, p->height, p->width),
                                  mio__shape_of(p->out, mio__conv_extent(p->height, p->kernel, p->stride, p->padding),
                                                mio__conv_extent(p->width, p->kernel, p->stride, p->padding)),
                                  p->kernel,
                                  p->stride,
                                  p->padding,
                                  mio__images_in(MIO__BF16, p->views, p->count)};
    const size_t inputs = mio__tensor_size(&g.input, &g.images), outputs = mio__tensor_size(&g.output, &g.images);
    const size_t weights = mio__conv_weight_count(&g.input, &g.output, g.kernel);
    float *torch = uniform(5, p->in * p->out * p->kernel * p->kernel), *w = blocked_memory(weights * sizeof *w);
    mio__pack_weights(&g.input, &g.output, g.kernel, 0, g.output.channels, torch, w);
    uint16_t *x = activations(&g.input, &g.images, 1, 0), *dy = activations(&g.output, &g.images, 2, 1);
    float *fx = widened(inputs, x), *fdy = widened(outputs, dy), *y = blocked_memory(outputs * sizeof *y),
          *dx = blocked_memory(inputs * sizeof *dx), *dw = blocked_memory(weights * sizeof *dw);
    mio__conv_reference(&g, w, fx, fdy, y, dx, dw);
    passes one = new_passes(&g), many = new_passes(&g);
    run_conv(&g, algorithm, 1, w, x, dy, &one);
    run_conv(&g, algorithm, 5, w, x, dy, &many);
    ck_assert_mem_eq(one.y, many.y, outputs * sizeof *one.y);
    ck_assert_mem_eq(one.dx, many.dx, inputs * sizeof *one.dx);
    ck_assert_mem_eq(one.dw, many.dw, weights * sizeof *one.dw);
    const double errors[3] = {stored_error(outputs, one.y, y), stored_error(inputs, one.dx, dx),
                              float_error(weights, one.dw, dw)};
    if (print)
        printf("%3zu -> %3zu %2zux%-2zu k%zu s%zu %-9s forward %.2e data %.2e weights %.2e\n", p->in, p->out, p->height,
               p->width, p->kernel, p->stride, one.name, errors[0], errors[1], errors[2]);
    for (int i = 0; i < 3; i++)
        if (!(errors[i] <= bound_of(one.name)))
            ck_abort_msg("%zu -> %zu, %zu x %zu, %s: relative error %g in pass %d", p->in, p->out, p->height, p->width,
                         one.name, errors[i], i);
    blocked_assert_channels_zero(&g.output, &g.images, widened(outputs, one.y));
    blocked_assert_channels_zero(&g.input, &g.images, widened(inputs, one.dx));
}

static const problem problems[] = {
    {3, 17, 9, 7, 3, 1, 1, 2, 5},     {5, 5, 6, 6, 3, 1, 1, 1, 3},     {8, 64, 5, 5, 3, 2, 1, 2, 1},
    {16, 16, 9, 7, 3, 1, 1, 2, 33},   {17, 48, 8, 8, 3, 1, 1, 2, 16},  {64, 64, 8, 8, 3, 1, 1, 2, 64},
    {130, 80, 4, 4, 3, 1, 1, 2, 32},  {48, 130, 7, 9, 3, 2, 1, 1, 17}, {64, 128, 8, 8, 1, 2, 0, 2, 32},
    {80, 16, 1, 1, 1, 1, 0, 2, 5},    {64, 64, 1, 1, 1, 1, 0, 2, 1},   {16, 32, 11, 13, 7, 2, 3, 2, 2},
    {320, 320, 4, 4, 3, 1, 1, 2, 16}, {16, 16, 6, 6, 3, 1, 0, 1, 1},
};

START_TEST(convolution)
{
    for (size_t i = 0; i < BLOCKED_SIZE(problems); i++)
        check_conv(&problems[i], (mio__conv_algorithm)_i, 0);
}
END_TEST

/* As inference plans it: with the batch norm behind it apart and as its finish, of one image and of many. */
START_TEST(inference)
{
    mio_context *context = blocked_context();
    static const size_t lanes[] = {1, 2, 16, 32};
    for (size_t k = 0; k < BLOCKED_SIZE(problems) * BLOCKED_SIZE(lanes); k++) {
        const problem *p = &problems[k / 4];
        const mio__conv_geometry g = {mio__shape_of(p->in, p->height, p->width),
                                      mio__shape_of(p->out,
                                                    mio__conv_extent(p->height, p->kernel, p->stride, p->padding),
                                                    mio__conv_extent(p->width, p->kernel, p->stride, p->padding)),
                                      p->kernel,
                                      p->stride,
                                      p->padding,
                                      {1, lanes[k % 4], lanes[k % 4], 1, MIO__BF16}};
        const size_t inputs = mio__tensor_size(&g.input, &g.images), outputs = mio__tensor_size(&g.output, &g.images);
        const size_t channels = g.output.blocks * g.output.block;
        float *w = uniform(1, mio__conv_weight_count(&g.input, &g.output, g.kernel)), *arrays[5],
              *fy = blocked_memory(outputs * 4);
        for (size_t i = 0; i < 5; i++) {
            arrays[i] = uniform(2 + i, channels);
            for (size_t c = 0; c < channels; c++)
                arrays[i][c] = i == 1 ? fabsf(arrays[i][c]) : arrays[i][c];
        }
        uint16_t *x = uniform_stored(8, inputs), *residual = uniform_stored(9, outputs),
                 *apart = blocked_memory(outputs * 2), *finished = blocked_memory(outputs * 2);
        const mio__batch_norm norm = {g.output, g.images, 1e-5, 0.1, 1};
        mio__conv *conv;
        ck_assert_int_eq(mio__conv_create(context, &g, MIO__CONV_FAST, 0, &conv), MIO_OK);
        void *scratch = blocked_memory(mio__conv_scratch_size(conv, 5));
        mio__conv_prepare(conv, 5, w);
        mio__conv_forward(conv, 5, scratch, x, apart);
        mio__conv_reference(&g, w, widened(inputs, x), NULL, fy, NULL, NULL);
        ck_assert_double_lt(stored_error(outputs, apart, fy), bound_of(mio__conv_algorithm_name(conv)));
        mio__batch_norm_scale(&norm, arrays[2], arrays[1], arrays[4]);
        const mio__finish finish = {arrays[0], arrays[4], arrays[3], residual, 1};
        mio__batch_norm_infer(context, 5, &norm, apart, residual, arrays[2], arrays[3], arrays[0], arrays[1], apart);
        mio__conv_infer(conv, 5, scratch, &finish, x, finished);
        ck_assert_mem_eq(apart, finished, outputs * sizeof *apart);
        mio__conv_destroy(conv);
    }
    mio_context_release(context);
}
END_TEST

/* --errors: what the layers of ResNet-18 lose. */
START_TEST(layer_errors)
{
    static const problem layers[] = {{64, 64, 32, 32, 3, 1, 1, 1, 32},  {128, 128, 16, 16, 3, 1, 1, 1, 32},
                                     {256, 256, 8, 8, 3, 1, 1, 1, 32},  {512, 512, 4, 4, 3, 1, 1, 1, 32},
                                     {64, 128, 32, 32, 3, 2, 1, 1, 32}, {64, 128, 32, 32, 1, 2, 0, 1, 32}};
    for (size_t i = 0; i < BLOCKED_SIZE(layers); i++)
        for (int a = layers[i].stride == 1 ? 0 : 2; a < 3; a++)
            check_conv(&layers[i], (mio__conv_algorithm)a, 1);
}
END_TEST

int main(int count, char **arguments)
{
    if (!mio__target_has_bf16())
        return 77;
    Suite *suite = suite_create("bf16");
    TCase *tests = tcase_create("bf16");
    tcase_set_timeout(tests, 60);
    if (count > 1 && !strcmp(arguments[1], "--errors")) {
        tcase_add_test(tests, layer_errors);
        return blocked_run(suite, tests);
    }
    tcase_add_test(tests, rounding);
    tcase_add_test(tests, products);
    tcase_add_test(tests, pairs);
    tcase_add_test(tests, transforms);
    tcase_add_test(tests, elementwise);
    tcase_add_test(tests, doors);
    tcase_add_test(tests, batch_norm);
    tcase_add_test(tests, pooling);
    tcase_add_loop_test(tests, convolution, 0, 3);
    tcase_add_test(tests, inference);
    return blocked_run(suite, tests);
}
