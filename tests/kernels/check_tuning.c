/* Convolutions whose passes are computed in different ways, and the table that says which. */
#define _POSIX_C_SOURCE 200809L
#include "golden/golden.h"
#include "kernels/conv_tuning.h"
#include "kernels/target.h"
#include "support/allocator.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static test_allocator allocator;
static mio_context *context;

static void begin(void)
{
    test_allocator_init(&allocator);
    context = test_allocator_context(&allocator, 2);
    ck_assert_ptr_nonnull(context);
}

static void end(void)
{
    mio_context_release(context);
    ck_assert_uint_eq(allocator.blocks, 0);
    ck_assert_uint_eq(allocator.mistakes, 0);
}

/* Whole channel blocks and groups: nothing is filled up. */
static mio__conv_geometry geometry_of(size_t in, size_t out, size_t height, size_t width, size_t padding, size_t count)
{
    return (mio__conv_geometry){mio__shape_of(in, height, width),
                                mio__shape_of(out, height + 2 * padding - 2, width + 2 * padding - 2),
                                3,
                                1,
                                padding,
                                mio__images_of(1, count)};
}

/* ---- results ---- */

typedef struct results {
    size_t inputs, outputs, weights;
    mio__real *x, *dy, *w, *y, *dx, *dw;
} results;

static mio__real *numbers(uint64_t stream, size_t count)
{
    void *values;
    if (posix_memalign(&values, 64, count * sizeof(mio__real)))
        abort();
    for (size_t i = 0; i < count; i++)
        ((mio__real *)values)[i] = (mio__real)golden_signed(stream, i);
    return values;
}

static results new_results(const mio__conv_geometry *g)
{
    results r;
    r.inputs = mio__tensor_size(&g->input, &g->images), r.outputs = mio__tensor_size(&g->output, &g->images);
    r.weights = mio__conv_weight_count(&g->input, &g->output, 3);
    r.x = numbers(1, r.inputs), r.dy = numbers(2, r.outputs), r.w = numbers(3, r.weights);
    r.y = numbers(4, r.outputs), r.dx = numbers(5, r.inputs), r.dw = numbers(6, r.weights);
    return r;
}

static void free_results(const results *r)
{
    free(r->x), free(r->dy), free(r->w), free(r->y), free(r->dx), free(r->dw);
}

static results run(const mio__conv_geometry *g, const mio__conv_choice *choice, double threads)
{
    results r = new_results(g);
    mio__conv *conv;
    void *scratch;
    ck_assert_int_eq(mio_context_set(context, "threads", threads), MIO_OK);
    ck_assert_int_eq(mio__conv_create_as(context, g, choice, 1, &conv), MIO_OK);
    const size_t workers = mio__workers(context);
    ck_assert(!posix_memalign(&scratch, 64, mio__conv_scratch_size(conv, workers) + 64));
    mio__conv_prepare(conv, workers, r.w);
    mio__conv_forward(conv, workers, scratch, r.x, r.y);
    mio__conv_backward_data(conv, workers, scratch, r.dy, r.dx, 0);
    mio__conv_backward_weights(conv, workers, scratch, r.x, r.dy, r.dw);
    for (int pass = 0; pass < MIO__PASSES; pass++)
        ck_assert_int_eq(mio__conv_method_of(conv, (mio__conv_pass)pass), choice->of[pass]);
    free(scratch);
    mio__conv_destroy(conv);
    return r;
}

static double error(size_t count, const mio__real *got, const mio__real *expected)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        difference += ((double)got[i] - (double)expected[i]) * ((double)got[i] - (double)expected[i]);
        size += (double)expected[i] * (double)expected[i];
    }
    return sqrt(difference / size);
}

static const struct {
    size_t in, out, height, width, padding, count;
} shapes[] = {
    {16, 32, 8, 8, 1, 16}, {64, 64, 5, 7, 1, 1}, {32, 16, 4, 4, 1, 32}, {64, 128, 2, 2, 1, 4}, {16, 16, 9, 6, 0, 16}};

/* A pass has the bits of its method, whatever computes the others, on any number of threads; every method is within its
   own error. */
START_TEST(every_mixture)
{
    const mio__conv_geometry g = geometry_of(shapes[_i].in, shapes[_i].out, shapes[_i].height, shapes[_i].width,
                                             shapes[_i].padding, shapes[_i].count);
    static const double bounds[MIO__METHODS] = {5e-6, 5e-6, 2e-5};
    results whole[MIO__METHODS], exact = new_results(&g);
    mio__conv_reference(&g, exact.w, exact.x, exact.dy, exact.y, exact.dx, exact.dw);
    for (int m = 0; m < MIO__METHODS; m++) {
        const mio__conv_method method = (mio__conv_method)m;
        if (!mio__conv_permits(&g, MIO__CONV_FAST, method))
            continue;
        whole[m] = run(&g, &(mio__conv_choice){{method, method, method}}, 2);
        ck_assert_double_lt(error(exact.outputs, whole[m].y, exact.y), bounds[m]);
        ck_assert_double_lt(error(exact.inputs, whole[m].dx, exact.dx), bounds[m]);
        ck_assert_double_lt(error(exact.weights, whole[m].dw, exact.dw), bounds[m]);
    }
    const int all = MIO__WINOGRAD4 + 1;
    for (int i = 0; i < all * all * all; i++) {
        const mio__conv_choice choice = {
            {(mio__conv_method)(i % all), (mio__conv_method)(i / all % all), (mio__conv_method)(i / all / all)}};
        const results r = run(&g, &choice, i % 2 ? 1 : 5);
        ck_assert(!memcmp(r.y, whole[choice.of[MIO__FORWARD]].y, r.outputs * sizeof *r.y));
        ck_assert(!memcmp(r.dx, whole[choice.of[MIO__BACKWARD_DATA]].dx, r.inputs * sizeof *r.dx));
        ck_assert(!memcmp(r.dw, whole[choice.of[MIO__BACKWARD_WEIGHTS]].dw, r.weights * sizeof *r.dw));
        free_results(&r);
    }
    for (int m = 0; m < all; m++)
        free_results(&whole[m]);
    free_results(&exact);
}
END_TEST

/* ---- what may be chosen ---- */

START_TEST(algorithms_permit)
{
    const mio__conv_geometry g = geometry_of(16, 16, 8, 8, 1, 16);
    mio__conv_geometry wide = g, strided = g, thin = g;
    wide.kernel = 5, wide.padding = 2, strided.stride = 2, thin.input = mio__shape_of(3, 8, 8);
    static const int permitted[3][3] = {{1, 0, 0}, {1, 1, 0}, {1, 1, 1}};
    for (int algorithm = 0; algorithm < 3; algorithm++)
        for (int method = 0; method <= MIO__WINOGRAD4; method++) {
            ck_assert_int_eq(mio__conv_permits(&g, (mio__conv_algorithm)algorithm, (mio__conv_method)method),
                             permitted[algorithm][method]);
            ck_assert_int_eq(mio__conv_permits(&wide, (mio__conv_algorithm)algorithm, (mio__conv_method)method),
                             !method);
            ck_assert_int_eq(mio__conv_permits(&strided, (mio__conv_algorithm)algorithm, (mio__conv_method)method),
                             !method);
            ck_assert_int_eq(mio__conv_permits(&thin, (mio__conv_algorithm)algorithm, (mio__conv_method)method),
                             !method);
        }
}
END_TEST

/* An image has the same bits in groups of 16 and of 32 lanes: so the choice must be the same. */
START_TEST(evaluation_ignores_lanes)
{
    for (size_t channels = 16; channels <= 1024; channels *= 2)
        for (size_t extent = 1; extent <= 40; extent++)
            for (int algorithm = 0; algorithm < 3; algorithm++) {
                const mio__conv_geometry a = geometry_of(channels, channels, extent, extent, 1, 16),
                                         b = geometry_of(channels, channels, extent, extent, 1, 32);
                const mio__conv_choice few = mio__conv_choose(&a, (mio__conv_algorithm)algorithm, 1),
                                       many = mio__conv_choose(&b, (mio__conv_algorithm)algorithm, 1);
                ck_assert_int_eq(few.of[MIO__FORWARD], many.of[MIO__FORWARD]);
            }
}
END_TEST

/* ---- the table ---- */

static mio__tuning_row row_for(const mio__conv_geometry *g, int pass, mio__conv_method method)
{
    mio__tuning_row row = {.key = mio__tuning_key_of(g, pass), .method = method, .microseconds = {12, 0, 999999999}};
    snprintf(row.target, sizeof row.target, "%s", mio__target_name());
    return row;
}

START_TEST(rows_are_followed)
{
    mio__tuning tuning = {.context = context};
    const mio__conv_geometry g = geometry_of(16, 16, 8, 8, 1, 64), other = geometry_of(16, 16, 8, 9, 1, 64);
    int tuned = -1;
    mio__tuning_row row = row_for(&g, MIO__BACKWARD_DATA, MIO__WINOGRAD2);
    ck_assert_int_eq(mio__tuning_put(&tuning, &row), MIO_OK);
    row = row_for(&g, MIO__BACKWARD_WEIGHTS, MIO__DIRECT);
    ck_assert_int_eq(mio__tuning_put(&tuning, &row), MIO_OK);
    const mio__conv_choice built_in = mio__conv_choose(&g, MIO__CONV_FAST, 1);
    mio__conv_choice choice = mio__tuning_choose(&tuning, &g, MIO__CONV_FAST, 1, &tuned);
    ck_assert_int_eq(choice.of[MIO__FORWARD], built_in.of[MIO__FORWARD]);
    ck_assert_int_eq(choice.of[MIO__BACKWARD_DATA], MIO__WINOGRAD2);
    ck_assert_int_eq(choice.of[MIO__BACKWARD_WEIGHTS], MIO__DIRECT);
    ck_assert_int_eq(tuned, 2);
    choice = mio__tuning_choose(&tuning, &g, MIO__CONV_EXACT, 1, &tuned);
    ck_assert_int_eq(choice.of[MIO__BACKWARD_DATA], MIO__DIRECT); /* what the algorithm forbids is not followed */
    ck_assert_int_eq(tuned, 1);
    mio__tuning_choose(&tuning, &other, MIO__CONV_FAST, 1, &tuned);
    ck_assert_int_eq(tuned, 0);
    mio__tuning_choose(&tuning, &g, MIO__CONV_FAST, 0, &tuned); /* evaluation has rows of its own */
    ck_assert_int_eq(tuned, 0);
    row = row_for(&g, MIO__INFERENCE, MIO__WINOGRAD2);
    ck_assert_int_eq(mio__tuning_put(&tuning, &row), MIO_OK);
    choice = mio__tuning_choose(&tuning, &g, MIO__CONV_FAST, 0, &tuned);
    ck_assert_int_eq(choice.of[MIO__FORWARD], MIO__WINOGRAD2);
    row.method = MIO__DIRECT; /* the same key: replaced */
    ck_assert_int_eq(mio__tuning_put(&tuning, &row), MIO_OK);
    ck_assert_uint_eq(tuning.count, 3);
    choice = mio__tuning_choose(&tuning, &g, MIO__CONV_FAST, 0, &tuned);
    ck_assert_int_eq(choice.of[MIO__FORWARD], MIO__DIRECT);
    mio__tuning_free(&tuning);
}
END_TEST

/* ---- text ---- */

START_TEST(text_round_trip)
{
    mio__tuning tuning = {.context = context}, read;
    for (size_t extent = 3; extent < 60; extent++)
        for (int pass = 0; pass < MIO__TUNED_PASSES; pass++) {
            mio__conv_geometry g = geometry_of(16 * extent, 32, extent, extent + 1, extent % 3, 16);
            g.images.precision = extent % 2 ? MIO__FP32 : MIO__BF16;
            mio__tuning_row row = row_for(&g, pass, (mio__conv_method)(extent % 3));
            if (extent % 5 == 0)
                strcpy(row.target, "another");
            ck_assert_int_eq(mio__tuning_put(&tuning, &row), MIO_OK);
        }
    char *texts[2];
    size_t lengths[2];
    ck_assert_int_eq(mio__tuning_print(&tuning, &texts[0], &lengths[0]), MIO_OK);
    ck_assert_msg(!mio__tuning_parse(context, "'text'", lengths[0], texts[0], &read), "%s", mio_last_error());
    ck_assert_uint_eq(read.count, tuning.count);
    ck_assert_mem_eq(read.rows, tuning.rows, tuning.count * sizeof *tuning.rows);
    ck_assert_int_eq(mio__tuning_print(&read, &texts[1], &lengths[1]), MIO_OK);
    ck_assert_str_eq(texts[0], texts[1]);
    mio__free(context, texts[0]);
    mio__free(context, texts[1]);
    mio__tuning_free(&tuning);
    mio__tuning_free(&read);
}
END_TEST

#define HEAD "libmio tuning 1\n"
#define ROW "forward fp32 avx512 64 16 16 8 8 3 1 1 winograd4"

static const struct {
    const char *text, *words;
} malformed[] = {
    {"", "'t', line 1: a table of choices begins with"},
    {"\n" HEAD, "line 1: a table of choices begins with"},
    {"libmio tuning\n", "line 1: a table of choices begins with"},
    {"libmio tuning 1 2\n", "line 1: a table of choices begins with"},
    {"libmio tuning 2\n", "line 1: the table has version 2; this build reads version 1"},
    {HEAD "upward fp32\n", "line 2: there is no pass 'upward'"},
    {HEAD "# remark\n\nforward fp64\n", "line 4: there is no precision 'fp64'"},
    {HEAD "forward\n", "line 2: the line ends before the precision"},
    {HEAD "forward fp32", "line 2: the line ends before the target"},
    {HEAD "forward fp32 a_target_of_many_letters\n", "has more than 15 letters"},
    {HEAD "forward fp32 avx512 64 16 16 8 8 3\n", "line 2: the line ends before the number 'stride'"},
    {HEAD "forward fp32 avx512 64 16 -16 8 8 3 1 1 direct\n", "'-16' is no number for 'out'"},
    {HEAD "forward fp32 avx512 64 16 1e3 8 8 3 1 1 direct\n", "'1e3' is no number for 'out'"},
    {HEAD "forward fp32 avx512 64 16 1234567890 8 8 3 1 1 direct\n", "'1234567890' is no number for 'out'"},
    {HEAD "forward fp32 avx512 0 16 16 8 8 3 1 1 direct\n", "'images' is 0"},
    {HEAD "forward fp32 avx512 64 16 16 8 8 3 1 1\n", "line 2: the line ends before the algorithm"},
    {HEAD "forward fp32 avx512 64 16 16 8 8 3 1 1 magic\n", "line 2: there is no algorithm 'magic'"},
    {HEAD "forward fp32 avx512 64 16 16 8 8 3 1 1 \x01\x02\n", "there is no algorithm '\?\?'"},
    {HEAD "forward fp32 avx512 64 16 16 8 8 3 2 1 winograd4\n", "'winograd4' cannot compute this convolution"},
    {HEAD "forward fp32 avx512 64 16 16 8 8 5 1 2 winograd2\n", "'winograd2' cannot compute this convolution"},
    {HEAD "forward fp32 avx512 64 3 16 8 8 3 1 1 winograd2\n", "'winograd2' cannot compute this convolution"},
    {HEAD "forward fp32 avx512 64 16 16 2 9 3 1 0 direct\n", "a kernel of 3 does not fit into 2 x 9"},
    {HEAD ROW " fast\n", "'fast' is no time"},
    {HEAD ROW " magic=3\n", "there is no algorithm 'magic' to have a time"},
    {HEAD ROW " direct=\n", "'' is no number of microseconds"},
    {HEAD ROW " direct=1.5\n", "'1.5' is no number of microseconds"},
    {HEAD ROW "\n" ROW "\n", "line 3: an earlier line chooses for the same pass and convolution"},
};

START_TEST(malformed_text_is_refused)
{
    mio__tuning read;
    const char *text = malformed[_i].text;
    ck_assert_int_eq(mio__tuning_parse(context, "'t'", strlen(text), text, &read), MIO_ERROR_FORMAT);
    ck_assert_msg(strstr(mio_last_error(), malformed[_i].words) != NULL, "'%s' does not say '%s'", mio_last_error(),
                  malformed[_i].words);
    ck_assert_uint_eq(read.count, 0);
}
END_TEST

/* Every text cut short, and every byte of one changed, is read or refused, and nothing leaks. */
START_TEST(damaged_text_is_harmless)
{
    static const char text[] = HEAD ROW " direct=12\n\tweights bf16 generic 1 64 64 4 5 3 1 2 direct  \r\n# end";
    char changed[sizeof text];
    for (size_t length = 0; length < sizeof text; length++) {
        mio__tuning read;
        if (!mio__tuning_parse(context, "'t'", length, text, &read))
            ck_assert_uint_le(read.count, 2);
        mio__tuning_free(&read);
        for (int byte = 0; byte < 256; byte += 5) {
            memcpy(changed, text, sizeof text);
            changed[length] = (char)byte;
            mio__tuning_parse(context, "'t'", sizeof text - 1, changed, &read);
            mio__tuning_free(&read);
        }
    }
}
END_TEST

/* ---- the tuner ---- */

START_TEST(measured_rows_keep_to_the_algorithm)
{
    const mio__tuning_task tasks[] = {{geometry_of(16, 16, 8, 8, 1, 16), MIO__FORWARD},
                                      {geometry_of(16, 16, 8, 8, 1, 16), MIO__BACKWARD_DATA},
                                      {geometry_of(16, 16, 8, 8, 1, 16), MIO__BACKWARD_WEIGHTS},
                                      {geometry_of(64, 64, 4, 4, 1, 1), MIO__INFERENCE}};
    for (int algorithm = 0; algorithm < 3; algorithm++) {
        mio__tuning tuning = {.context = context};
        ck_assert_int_eq(mio__tuning_measure(&tuning, 4, tasks, (mio__conv_algorithm)algorithm, 1000, 0), MIO_OK);
        ck_assert_uint_eq(tuning.count, 4);
        for (size_t i = 0; i < 4; i++) {
            const mio__tuning_row *row = mio__tuning_find(&tuning, &tuning.rows[i].key);
            ck_assert_ptr_eq(row, &tuning.rows[i]);
            ck_assert_int_eq(row->key.pass, tasks[i].pass);
            ck_assert(mio__conv_permits(&tasks[i].geometry, (mio__conv_algorithm)algorithm, row->method));
            for (int m = 0; m < MIO__METHODS; m++) {
                const int tried =
                    mio__conv_permits(&tasks[i].geometry, (mio__conv_algorithm)algorithm, (mio__conv_method)m);
                ck_assert_int_eq(row->microseconds[m] != 0, tried);
            }
        }
        mio__tuning_free(&tuning);
    }
}
END_TEST

static int check_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(void)
{
    Suite *suite = suite_create("tuning");
    TCase *cases = tcase_create("tuning");
    tcase_set_timeout(cases, 60);
    tcase_add_checked_fixture(cases, begin, end);
    tcase_add_loop_test(cases, every_mixture, 0, sizeof shapes / sizeof *shapes);
    tcase_add_test(cases, algorithms_permit);
    tcase_add_test(cases, evaluation_ignores_lanes);
    tcase_add_test(cases, rows_are_followed);
    tcase_add_test(cases, text_round_trip);
    tcase_add_loop_test(cases, malformed_text_is_refused, 0, sizeof malformed / sizeof *malformed);
    tcase_add_test(cases, damaged_text_is_harmless);
    tcase_add_test(cases, measured_rows_keep_to_the_algorithm);
    suite_add_tcase(suite, cases);
    return check_main(suite);
}
