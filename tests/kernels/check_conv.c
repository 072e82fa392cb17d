/* Holds every convolution kernel against the definition over odd shapes, and, with --bench, times them. */
#define _POSIX_C_SOURCE 200809L
#include "core/random.h"
#include "kernels/batch_norm.h"
#include "kernels/conv.h"
#include "kernels/gemm.h"
#include "kernels/target.h"
#include "support/allocator.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct problem {
    size_t in, out, height, width, kernel, stride, padding;
} problem;

static mio__conv_geometry geometry_of(const problem *p, size_t views, size_t count)
{
    const size_t height = mio__conv_extent(p->height, p->kernel, p->stride, p->padding);
    const size_t width = mio__conv_extent(p->width, p->kernel, p->stride, p->padding);
    return (mio__conv_geometry){mio__shape_of(p->in, p->height, p->width),
                                mio__shape_of(p->out, height, width),
                                p->kernel,
                                p->stride,
                                p->padding,
                                mio__images_of(views, count)};
}

/* ---- tensors ---- */

static mio__real *new_tensor(size_t count)
{
    void *pointer;
    if (posix_memalign(&pointer, 64, count * sizeof(mio__real)))
        abort();
    for (size_t i = 0; i < count; i++)
        ((mio__real *)pointer)[i] = NAN; /* what a kernel fails to write shows */
    return pointer;
}

/* Uniform numbers in (-1, 1); the channels' filling, and the filling images unless they are to have numbers too, stay
 * 0. */
static mio__real *new_activations(const mio__shape *shape, const mio__images *images, uint64_t seed, int filled)
{
    mio__real *tensor = new_tensor(mio__tensor_size(shape, images));
    const size_t lanes = images->lanes, pixels = shape->height * shape->width;
    mio__random random;
    mio__random_start(&random, seed, 0, 0, 0, MIO__PURPOSE_CROP);
    for (size_t i = 0; i < mio__tensor_size(shape, images); i++) {
        const size_t lane = i / shape->block % lanes, block = i / shape->block / lanes / pixels % shape->blocks;
        const size_t group = i / shape->block / lanes / pixels / shape->blocks % images->groups;
        const int real = block * shape->block + i % shape->block < shape->channels &&
                         (filled || lane < mio__group_count(images, group));
        tensor[i] = real ? (mio__real)mio__random_between(&random, -1, 1) : 0;
    }
    return tensor;
}

/* Whether element i of a weight tensor belongs to real channels. */
static int real_weight(const mio__conv_geometry *g, size_t i)
{
    const size_t c = i / g->output.block % g->input.block, tile = g->input.block * g->output.block;
    const size_t pair = i / tile / g->kernel / g->kernel;
    return pair / g->input.blocks * g->output.block + i % g->output.block < g->output.channels &&
           pair % g->input.blocks * g->input.block + c < g->input.channels;
}

static size_t weight_count(const mio__conv_geometry *g)
{
    return mio__conv_weight_count(&g->input, &g->output, g->kernel);
}

static mio__real *new_weights(const mio__conv_geometry *g, uint64_t seed)
{
    mio__real *weights = new_tensor(weight_count(g));
    mio__random random;
    mio__random_start(&random, seed, 1, 0, 0, MIO__PURPOSE_CROP);
    for (size_t i = 0; i < weight_count(g); i++)
        weights[i] = real_weight(g, i) ? (mio__real)mio__random_between(&random, -1, 1) : 0;
    return weights;
}

/* ---- one problem ---- */

typedef struct tensors {
    mio__real *x, *w, *dy, *y, *dx, *dw;
} tensors;

static tensors new_tensors(const mio__conv_geometry *g)
{
    return (tensors){
        new_activations(&g->input, &g->images, 1, 1),        new_weights(g, 2),
        new_activations(&g->output, &g->images, 3, 0),       new_tensor(mio__tensor_size(&g->output, &g->images)),
        new_tensor(mio__tensor_size(&g->input, &g->images)), new_tensor(weight_count(g))};
}

static void free_tensors(const tensors *t)
{
    free(t->x), free(t->w), free(t->dy), free(t->y), free(t->dx), free(t->dw);
}

/* Runs all passes with so many threads, as a network would. */
static const char *run(const mio__conv_geometry *g, mio__conv_algorithm algorithm, double threads, const tensors *t,
                       int accumulate)
{
    static char name[16];
    mio_context *context;
    mio__conv *conv;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    ck_assert_int_eq(mio_context_set(context, "threads", threads), MIO_OK);
    ck_assert_int_eq(mio__conv_create(context, g, algorithm, 1, &conv), MIO_OK);
    const size_t workers = mio__workers(context);
    void *scratch;
    ck_assert(!posix_memalign(&scratch, 64, mio__conv_scratch_size(conv, workers) + 64));
    mio__conv_prepare(conv, workers, t->w);
    mio__conv_forward(conv, workers, scratch, t->x, t->y);
    mio__conv_backward_data(conv, workers, scratch, t->dy, t->dx, accumulate);
    mio__conv_backward_weights(conv, workers, scratch, t->x, t->dy, t->dw);
    snprintf(name, sizeof name, "%s", mio__conv_algorithm_name(conv));
    free(scratch);
    mio__conv_destroy(conv);
    mio_context_release(context);
    return name;
}

/* Errors allowed, in units of the rounding error: of the whole in the L2 norm, and of an element, whose rounding errors
   add up like a random walk over a sum of `length` products below 1. */
typedef struct tolerance {
    double whole, element;
} tolerance;

static tolerance tolerance_of(const char *algorithm)
{
    const double unit = sizeof(mio__real) == sizeof(float) ? 1 : DBL_EPSILON / FLT_EPSILON;
    if (!strcmp(algorithm, "winograd4"))
        return (tolerance){2e-5 * unit, 48 * FLT_EPSILON * unit};
    return (tolerance){5e-6 * unit, 8 * FLT_EPSILON * unit};
}

static void compare(const char *what, const mio__real *got, const mio__real *expected, size_t count, double length,
                    const tolerance *allowed)
{
    double error = 0, size = 0, worst = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)got[i] - (double)expected[i]);
        if (difference != difference) /* not an assertion: Check writes a record of each */
            ck_abort_msg("%s: element %zu is not a number", what, i);
        error += difference * difference;
        size += (double)expected[i] * (double)expected[i];
        worst = difference > worst ? difference : worst;
    }
    const double whole = size > 0 ? sqrt(error / size) : sqrt(error);
    ck_assert_msg(whole <= allowed->whole, "%s: relative error %g > %g", what, whole, allowed->whole);
    const double bound = allowed->element * sqrt(length) * log2(length + 2);
    ck_assert_msg(worst <= bound, "%s: an element is off by %g > %g", what, worst, bound);
}

/* Filling must be 0 to the bit. */
static void check_filling(const char *what, const mio__conv_geometry *g, const tensors *t)
{
    for (int input = 0; input < 2; input++) {
        const mio__shape *shape = input ? &g->input : &g->output;
        const mio__real *tensor = input ? t->dx : t->y;
        const size_t plane = shape->height * shape->width * g->images.lanes * shape->block;
        for (size_t i = 0; i < mio__tensor_size(shape, &g->images); i++)
            if (i / plane % shape->blocks * shape->block + i % shape->block >= shape->channels && tensor[i] != 0)
                ck_abort_msg("%s: the filling of %s holds %g", what, input ? "dx" : "y", (double)tensor[i]);
    }
    for (size_t i = 0; i < weight_count(g); i++)
        if (!real_weight(g, i) && t->dw[i] != 0)
            ck_abort_msg("%s: the filling of dw holds %g", what, (double)t->dw[i]);
}

static void same_bits(const char *what, const tensors *a, const tensors *b, const mio__conv_geometry *g)
{
    ck_assert_msg(!memcmp(a->y, b->y, mio__tensor_size(&g->output, &g->images) * sizeof *a->y), "%s: y", what);
    ck_assert_msg(!memcmp(a->dx, b->dx, mio__tensor_size(&g->input, &g->images) * sizeof *a->dx), "%s: dx", what);
    ck_assert_msg(!memcmp(a->dw, b->dw, weight_count(g) * sizeof *a->dw), "%s: dw", what);
}

/* The data gradient added to what is there already: half a unit everywhere. */
static void check_accumulation(const char *what, const mio__conv_geometry *g, mio__conv_algorithm algorithm,
                               const tensors *expected, const tolerance *allowed, double length)
{
    const size_t count = mio__tensor_size(&g->input, &g->images);
    tensors t = new_tensors(g);
    mio__real *sum = new_tensor(count);
    for (size_t i = 0; i < count; i++)
        t.dx[i] = 0.5, sum[i] = expected->dx[i] + (mio__real)0.5;
    run(g, algorithm, 2, &t, 1);
    compare(what, t.dx, sum, count, length, allowed);
    free(sum);
    free_tensors(&t);
}

/* Whether element i of the output belongs to a real image. */
static int real_image(const mio__conv_geometry *g, size_t i)
{
    const size_t group = i / mio__group_size(&g->output, &g->images) % g->images.groups;
    return i / g->output.block % g->images.lanes < mio__group_count(&g->images, group);
}

/* Batch norm after a convolution, apart or as its finish: turns with and without residual and ReLU. arrays: mean,
   deviation, gamma, beta, scale. */
static void check_finish(const char *what, const mio__conv_geometry *g, mio_context *context, const mio__conv *conv,
                         void *scratch, const tensors *t, mio__real *const *arrays)
{
    const size_t count = mio__tensor_size(&g->output, &g->images);
    mio__real *apart = new_tensor(count), *finished = new_tensor(count);
    for (int turn = 0; turn < 4; turn++) {
        const mio__batch_norm norm = {g->output, g->images, 1e-5, 0.1, turn % 2};
        const mio__real *residual = turn / 2 ? t->dy : NULL;
        mio__batch_norm_scale(&norm, arrays[2], arrays[1], arrays[4]);
        const mio__finish finish = {arrays[0], arrays[4], arrays[3], residual, norm.relu};
        mio__conv_forward(conv, 2, scratch, t->x, apart);
        mio__batch_norm_infer(context, 2, &norm, apart, residual, arrays[2], arrays[3], arrays[0], arrays[1], apart);
        mio__conv_infer(conv, turn + 1, scratch, &finish, t->x, finished);
        for (size_t i = 0; i < count; i++) /* what fills up the last group is nobody's */
            if (apart[i] != finished[i] && real_image(g, i))
                ck_abort_msg("%s: finished, turn %d: element %zu is %g, not %g", what, turn, i, (double)finished[i],
                             (double)apart[i]);
    }
    free(apart), free(finished);
}

/* As inference plans it, where few images go other ways than in training. */
static void check_inference(const char *what, const mio__conv_geometry *g, mio__conv_algorithm algorithm,
                            const tensors *expected, const tolerance *allowed, double length)
{
    mio_context *context;
    mio__conv *conv;
    void *scratch;
    mio__real *arrays[5];
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    ck_assert_int_eq(mio_context_set(context, "threads", 5), MIO_OK);
    ck_assert_int_eq(mio__conv_create(context, g, algorithm, 0, &conv), MIO_OK);
    ck_assert(!posix_memalign(&scratch, 64, mio__conv_scratch_size(conv, 5) + 64));
    for (size_t i = 0; i < 5; i++) {
        const size_t channels = g->output.blocks * g->output.block;
        arrays[i] = new_tensor(channels);
        for (size_t c = 0; c < channels; c++)
            arrays[i][c] = c < g->output.channels ? (mio__real)(1 + i + c % 7) / 4 : 0;
    }
    tensors t = new_tensors(g);
    mio__conv_prepare(conv, 5, t.w);
    mio__conv_forward(conv, 5, scratch, t.x, t.y);
    compare(what, t.y, expected->y, mio__tensor_size(&g->output, &g->images), length, allowed);
    check_finish(what, g, context, conv, scratch, &t, arrays);
    for (size_t i = 0; i < 5; i++)
        free(arrays[i]);
    free_tensors(&t);
    free(scratch);
    mio__conv_destroy(conv);
    mio_context_release(context);
}

static void check_problem(const problem *p, size_t views, size_t count)
{
    const mio__conv_geometry g = geometry_of(p, views, count);
    const double taps = (double)(p->kernel * p->kernel);
    const double pixels = (double)(views * count * g.output.height * g.output.width);
    tensors expected = new_tensors(&g);
    mio__conv_reference(&g, expected.w, expected.x, expected.dy, expected.y, expected.dx, expected.dw);
    for (int algorithm = MIO__CONV_EXACT; algorithm <= MIO__CONV_FAST; algorithm++) {
        tensors t = new_tensors(&g), u = new_tensors(&g), v = new_tensors(&g);
        const char *name = run(&g, (mio__conv_algorithm)algorithm, 2, &t, 0);
        const tolerance allowed = tolerance_of(name);
        char what[160];
        snprintf(what, sizeof what, "%s %zu->%zu %zux%zu k%zu s%zu p%zu, %zu x %zu images", name, p->in, p->out,
                 p->height, p->width, p->kernel, p->stride, p->padding, views, count);
        compare(what, t.y, expected.y, mio__tensor_size(&g.output, &g.images), taps * (double)p->in, &allowed);
        compare(what, t.dx, expected.dx, mio__tensor_size(&g.input, &g.images), taps * (double)p->out, &allowed);
        compare(what, t.dw, expected.dw, weight_count(&g), pixels, &allowed);
        check_filling(what, &g, &t);
        check_accumulation(what, &g, (mio__conv_algorithm)algorithm, &expected, &allowed, taps * (double)p->out);
        check_inference(what, &g, (mio__conv_algorithm)algorithm, &expected, &allowed, taps * (double)p->in);
        run(&g, (mio__conv_algorithm)algorithm, 1, &u, 0);
        run(&g, (mio__conv_algorithm)algorithm, 5, &v, 0);
        same_bits(what, &t, &u, &g);
        same_bits(what, &t, &v, &g);
        free_tensors(&t), free_tensors(&u), free_tensors(&v);
        if (p->kernel != 3)
            break; /* there is one algorithm only */
    }
    free_tensors(&expected);
}

/* ---- the suites ---- */

/* Kernels, strides, paddings and shapes of every kind, few images. */
static const problem shapes[] = {
    {1, 4, 5, 7, 3, 1, 1},    {3, 16, 9, 6, 3, 1, 0},   {3, 17, 12, 11, 7, 2, 3}, {4, 8, 6, 6, 5, 1, 2},
    {5, 3, 4, 4, 3, 2, 1},    {8, 33, 7, 5, 3, 3, 0},   {16, 16, 1, 1, 1, 1, 0},  {16, 24, 6, 5, 1, 1, 0},
    {20, 40, 7, 7, 1, 2, 0},  {32, 48, 8, 6, 3, 2, 1},  {48, 96, 3, 3, 3, 1, 1},  {64, 64, 8, 8, 3, 1, 1},
    {64, 32, 5, 9, 2, 2, 0},  {70, 130, 4, 6, 3, 1, 1}, {96, 16, 2, 2, 3, 1, 1},  {64, 128, 1, 1, 1, 1, 0},
    {16, 16, 10, 3, 4, 3, 2}, {33, 65, 6, 6, 1, 1, 1},  {16, 32, 3, 4, 3, 1, 2},  {24, 24, 1, 5, 1, 3, 0},
    {80, 10, 1, 1, 1, 1, 0},  {16, 16, 2, 3, 5, 1, 2},  {128, 64, 4, 4, 3, 2, 1}, {2, 2, 6, 6, 6, 1, 0},
};

START_TEST(every_shape)
{
    check_problem(&shapes[_i], 2, 3);
}
END_TEST

/* 3x3 stride 1, where Winograd works: paddings 0 to 2, and extents that leave parts of tiles. */
static const problem winograd_shapes[] = {
    {16, 16, 8, 8, 3, 1, 1},  {16, 32, 9, 10, 3, 1, 1},  {32, 16, 7, 13, 3, 1, 0},   {24, 40, 11, 6, 3, 1, 2},
    {64, 64, 4, 4, 3, 1, 1},  {70, 48, 6, 8, 3, 1, 1},   {128, 64, 14, 14, 3, 1, 1}, {64, 130, 7, 7, 3, 1, 1},
    {32, 32, 18, 5, 3, 1, 0}, {16, 64, 10, 12, 3, 1, 2}, {512, 256, 4, 4, 3, 1, 1},  {256, 512, 8, 8, 3, 1, 1},
};

START_TEST(every_tile)
{
    check_problem(&winograd_shapes[_i], 1, 4);
}
END_TEST

/* The same at stride 2: with enough images, by phases. */
static const problem phase_shapes[] = {
    {16, 16, 8, 8, 3, 2, 1},   {32, 16, 9, 16, 3, 2, 1},  {64, 128, 16, 15, 3, 2, 1}, {70, 40, 11, 7, 3, 2, 1},
    {128, 64, 7, 18, 3, 2, 1}, {256, 512, 8, 8, 3, 2, 1}, {384, 384, 7, 8, 3, 2, 1},
};

START_TEST(every_phase)
{
    check_problem(&phase_shapes[_i], 1 + _i % 2, _i % 3 ? 16 : 32);
}
END_TEST

/* Numbers of images that fill groups and that do not. */
static const size_t counts[] = {1, 2, 3, 5, 16, 17, 32, 33, 48};

START_TEST(every_count)
{
    static const problem problems[] = {
        {16, 32, 6, 8, 3, 1, 1}, {3, 16, 6, 6, 3, 1, 1},  {16, 16, 7, 6, 3, 2, 1},
        {16, 32, 8, 9, 3, 2, 1}, {32, 16, 4, 4, 1, 1, 0}, {32, 64, 1, 1, 1, 1, 0},
    };
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        for (size_t views = 1; views <= 2; views++)
            check_problem(&problems[i], views, counts[_i]);
}
END_TEST

START_TEST(extents)
{
    ck_assert_uint_eq(mio__conv_extent(32, 3, 1, 1), 32);
    ck_assert_uint_eq(mio__conv_extent(32, 3, 2, 1), 16);
    ck_assert_uint_eq(mio__conv_extent(224, 7, 2, 3), 112);
    ck_assert_uint_eq(mio__conv_extent(2, 3, 1, 0), 0);
}
END_TEST

/* What is planned: the cheapest that the algorithm allows, by shape and batch alone. */
START_TEST(choice)
{
    /* Where weights are asked for ahead, the method that has the fewest of them is the faster one. */
    const char *fewest = mio__gemm_streams() ? "direct" : "winograd2";
    const struct {
        problem shape;
        size_t count;
        const char *names[3];
    } rows[] = {
        {{64, 64, 32, 32, 3, 1, 1}, 64, {"direct", "winograd2", "winograd4"}},
        {{256, 256, 8, 8, 3, 1, 1}, 1, {"direct", "winograd2", "winograd2"}},
        {{512, 512, 4, 4, 3, 1, 1}, 1, {"direct", fewest, fewest}},
        {{256, 256, 4, 4, 3, 1, 1}, 1, {"direct", "direct", "direct"}}, /* its weights are the larger part */
        {{512, 512, 4, 4, 3, 1, 1}, 64, {"direct", "winograd2", "winograd4"}},
        {{64, 64, 2, 2, 3, 1, 1}, 64, {"direct", "direct", "direct"}}, /* tiles would be mostly padding */
        {{3, 64, 32, 32, 3, 1, 1}, 64, {"direct", "direct", "direct"}},
        {{64, 128, 32, 32, 3, 2, 1}, 64, {"direct", "direct", "polyphase"}},
        {{64, 128, 32, 32, 3, 2, 1}, 8, {"direct", "direct", "direct"}},
        {{64, 128, 32, 32, 3, 2, 0}, 64, {"direct", "direct", "direct"}},
        {{64, 128, 4, 4, 3, 2, 1}, 64, {"direct", "direct", "direct"}},
    };
    mio_context *context;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int algorithm = 0; algorithm < 3; algorithm++) {
            const mio__conv_geometry g = geometry_of(&rows[i].shape, 1, rows[i].count);
            mio__conv *conv;
            ck_assert_int_eq(mio__conv_create(context, &g, (mio__conv_algorithm)algorithm, 0, &conv), MIO_OK);
            ck_assert_str_eq(mio__conv_algorithm_name(conv), rows[i].names[algorithm]);
            mio__conv_destroy(conv);
        }
    mio_context_release(context);
}
END_TEST

/* Every allocation refused once: an error, no leak, and nothing made. The passes themselves allocate nothing. */
START_TEST(out_of_memory)
{
    static const problem problems[] = {{16, 32, 8, 8, 3, 1, 1}, {16, 32, 8, 8, 3, 2, 1}, {16, 32, 8, 8, 5, 1, 2}};
    for (int i = 0; i < 3; i++) {
        test_allocator allocator;
        test_allocator_init(&allocator);
        mio_context *context = test_allocator_context(&allocator, 2);
        const size_t blocks = allocator.blocks;
        const mio__conv_geometry g = geometry_of(&problems[i], 1, 16);
        mio__conv *conv = NULL;
        size_t refused = 0;
        for (;; refused++) {
            test_allocator_fail_at(&allocator, refused + 1);
            const mio_status status = mio__conv_create(context, &g, MIO__CONV_FAST, 1, &conv);
            if (!status)
                break;
            ck_assert_int_eq(status, MIO_ERROR_MEMORY);
            ck_assert_ptr_null(conv);
            ck_assert_uint_eq(allocator.blocks, blocks);
        }
        ck_assert_uint_ge(refused, 3);
        test_allocator_fail_from(&allocator, 1);
        tensors t = new_tensors(&g);
        void *scratch;
        ck_assert(!posix_memalign(&scratch, 64, mio__conv_scratch_size(conv, 2) + 64));
        mio__conv_prepare(conv, 2, t.w);
        mio__conv_forward(conv, 2, scratch, t.x, t.y);
        mio__conv_backward_data(conv, 2, scratch, t.dy, t.dx, 0);
        mio__conv_backward_weights(conv, 2, scratch, t.x, t.dy, t.dw);
        ck_assert_uint_eq(allocator.requests, 0);
        mio__conv_destroy(conv);
        ck_assert_uint_eq(allocator.blocks, blocks);
        free(scratch);
        free_tensors(&t);
        mio_context_release(context);
        ck_assert_uint_eq(allocator.blocks, 0);
        ck_assert_uint_eq(allocator.mistakes, 0);
    }
}
END_TEST

/* ---- time ---- */

/* One thread alone is timed by its own clock, which a busy machine disturbs less. */
static clockid_t the_clock = CLOCK_MONOTONIC;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(the_clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

enum { PASSES = 4, ALGORITHMS = 3 };
static const char *const passes[PASSES] = {"forward", "data", "weights", "prepare"};

typedef struct contender {
    mio__conv *conv;
    void *scratch;
    double best[PASSES];
} contender;

static void time_once(contender *c, size_t workers, const tensors *t)
{
    for (int pass = 0; pass < PASSES; pass++) {
        const double start = seconds();
        if (pass == 0)
            mio__conv_forward(c->conv, workers, c->scratch, t->x, t->y);
        else if (pass == 1)
            mio__conv_backward_data(c->conv, workers, c->scratch, t->dy, t->dx, 0);
        else if (pass == 2)
            mio__conv_backward_weights(c->conv, workers, c->scratch, t->x, t->dy, t->dw);
        else
            mio__conv_prepare(c->conv, workers, t->w);
        const double time = seconds() - start;
        c->best[pass] = time < c->best[pass] ? time : c->best[pass];
    }
}

/* Alternates between the algorithms, so that a noisy moment hits them alike, and keeps each one's best time. GF/s count
   the definition's operations, padding taps included. */
static void bench_problem(mio_context *context, const problem *p, size_t views, size_t count, double budget)
{
    const mio__conv_geometry g = geometry_of(p, views, count);
    const size_t workers = mio__workers(context);
    const double work = 2e-9 * (double)(p->in * p->out * p->kernel * p->kernel * g.output.height * g.output.width) *
                        (double)(views * count);
    const tensors t = new_tensors(&g);
    const int algorithms = p->kernel == 3 ? ALGORITHMS : 1;
    contender contenders[ALGORITHMS];
    for (int i = 0; i < algorithms; i++) {
        contender *c = &contenders[i];
        if (mio__conv_create(context, &g, (mio__conv_algorithm)i, 1, &c->conv))
            exit(1);
        if (posix_memalign(&c->scratch, 64, mio__conv_scratch_size(c->conv, workers) + 64))
            exit(1);
        mio__conv_prepare(c->conv, workers, t.w);
        for (int pass = 0; pass < PASSES; pass++)
            c->best[pass] = INFINITY;
    }
    const double start = seconds();
    for (int turn = 0; turn < 3 || (seconds() - start < budget && turn < 200); turn++)
        for (int i = 0; i < algorithms; i++)
            time_once(&contenders[i], workers, &t);
    printf("%4zu ->%4zu %3zux%-3zu k%zu s%zu, %zu x %zu images, %zu threads, %s\n", p->in, p->out, p->height, p->width,
           p->kernel, p->stride, views, count, workers, mio__target_name());
    for (int i = 0; i < algorithms; i++) {
        contender *c = &contenders[i];
        printf("   %-10s", mio__conv_algorithm_name(c->conv));
        for (int pass = 0; pass < 3; pass++)
            printf("  %s %8.3f ms %4.0f GF/s x%.2f", passes[pass], 1e3 * c->best[pass], work / c->best[pass],
                   contenders[0].best[pass] / c->best[pass]);
        printf("  %s %.3f ms\n", passes[3], 1e3 * c->best[3]);
        free(c->scratch);
        mio__conv_destroy(c->conv);
    }
    free_tensors(&t);
}

/* seconds for each layer; which one, or a negative number for all; images; threads, 0 for the context's own. */
static int bench(double budget, int only, size_t count, int threads)
{
    static const problem layers[] = {
        {64, 64, 32, 32, 3, 1, 1},   {128, 128, 16, 16, 3, 1, 1}, {256, 256, 8, 8, 3, 1, 1},
        {512, 512, 4, 4, 3, 1, 1},   {16, 16, 32, 32, 3, 1, 1},   {32, 32, 16, 16, 3, 1, 1},
        {64, 64, 8, 8, 3, 1, 1},     {128, 128, 4, 4, 3, 1, 1},   {64, 128, 32, 32, 3, 2, 1},
        {128, 256, 16, 16, 3, 2, 1}, {256, 512, 8, 8, 3, 2, 1},   {64, 128, 32, 32, 1, 2, 0},
        {128, 256, 16, 16, 1, 2, 0}, {256, 512, 8, 8, 1, 2, 0},   {64, 256, 32, 32, 1, 1, 0},
        {512, 128, 16, 16, 1, 1, 0}, {3, 64, 32, 32, 3, 1, 1},    {3, 16, 32, 32, 3, 1, 1},
        {1, 16, 28, 28, 3, 1, 1},    {3, 64, 96, 96, 7, 2, 3},    {512, 2048, 1, 1, 1, 1, 0},
        {2048, 128, 1, 1, 1, 1, 0},
    };
    mio_context *context;
    if (mio_context_create(&context))
        return 1;
    if (threads > 0 && mio_context_set(context, "threads", threads))
        return 1;
    if (threads == 1)
        the_clock = CLOCK_THREAD_CPUTIME_ID;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        if (only < 0 || (size_t)only == i)
            bench_problem(context, &layers[i], 1, count, budget);
    mio_context_release(context);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench"))
        return bench(argc > 2 ? atof(argv[2]) : 1, argc > 3 ? atoi(argv[3]) : -1,
                     argc > 4 ? strtoul(argv[4], NULL, 10) : 64, argc > 5 ? atoi(argv[5]) : 0);
    Suite *suite = suite_create("conv");
    TCase *cases = tcase_create("conv");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, extents);
    tcase_add_test(cases, choice);
    tcase_add_test(cases, out_of_memory);
    tcase_add_loop_test(cases, every_shape, 0, sizeof shapes / sizeof *shapes);
    tcase_add_loop_test(cases, every_tile, 0, sizeof winograd_shapes / sizeof *winograd_shapes);
    tcase_add_loop_test(cases, every_phase, 0, sizeof phase_shapes / sizeof *phase_shapes);
    tcase_add_loop_test(cases, every_count, 0, sizeof counts / sizeof *counts);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
