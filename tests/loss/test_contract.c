/* What callers are promised beside the numbers: parameters, refusals, aliasing, threads, memory. */
#include "loss/support.h"
#include "support/allocator.h"

enum { PAIRS = 50, DIM = 9, HALF = PAIRS * DIM, COUNT = 2 * HALF };
static const char *const names[] = {"barlow_twins", "byol",          "cam",     "dcl",    "dclw",    "hcl",
                                    "mio",          "mio_decoupled", "moco",    "nnclr",  "nt_xent", "prototype",
                                    "schane",       "siglip",        "simsiam", "sogclr", "supcon",  "vicreg"};
enum { NAMES = sizeof names / sizeof *names };

static float z[COUNT], grad[COUNT];

static void fill(void)
{
    static double wide[COUNT];
    support_views(PAIRS, DIM, wide, wide + HALF, 1);
    support_narrow(COUNT, wide, z);
}

static mio_loss *make(mio_context *context, const char *name)
{
    mio_loss *loss = support_loss(context, name, NULL);
    ASSERT_OK(support_give(loss, PAIRS, DIM));
    return loss;
}

/* The loss as it was before its first batch. */
static void renew(mio_loss **loss, size_t pairs, size_t dim, mio_context *context)
{
    if (!support_moves(mio_loss_name(*loss)))
        return;
    mio_loss *fresh = support_loss(context, mio_loss_name(*loss), NULL);
    ASSERT_OK(support_give(fresh, pairs, dim));
    mio_loss_release(*loss);
    *loss = fresh;
}

START_TEST(test_parameters)
{
    static const struct {
        const char *loss, *parameter;
        double initial;
    } table[] = {
        {"barlow_twins", "off_diagonal_weight", 0.005},
        {"cam", "anchor_margin", 1},
        {"cam", "norm_margin", 1},
        {"cam", "classes", 10},
        {"dcl", "temperature", 0.1},
        {"dclw", "temperature", 0.1},
        {"dclw", "sigma", 0.5},
        {"hcl", "temperature", 0.5},
        {"hcl", "beta", 1},
        {"hcl", "positive_prior", 0.1},
        {"mio", "positive_temperature", 0.5},
        {"mio", "negative_temperature", 0.5},
        {"mio", "l2_weight", 1},
        {"mio", "reduction", 0},
        {"mio_decoupled", "positive_temperature", 0.5},
        {"mio_decoupled", "negative_temperature", 0.5},
        {"mio_decoupled", "l2_weight", 0},
        {"moco", "temperature", 0.07},
        {"moco", "queue_size", 65536},
        {"nnclr", "temperature", 0.1},
        {"nnclr", "queue_size", 65536},
        {"nt_xent", "temperature", 0.5},
        {"prototype", "temperature", 0.1},
        {"prototype", "classes", 10},
        {"schane", "temperature", 0.5},
        {"siglip", "log_scale", 2.302585092994045684},
        {"siglip", "bias", -10},
        {"sogclr", "temperature", 0.1},
        {"sogclr", "gamma", 0.9},
        {"supcon", "temperature", 0.07},
        {"supcon", "base_temperature", 0.07},
        {"vicreg", "invariance_weight", 25},
        {"vicreg", "variance_weight", 25},
        {"vicreg", "covariance_weight", 1},
    };
    enum { ROWS = sizeof table / sizeof *table };
    mio_context *context = support_context(1);
    size_t row = 0;
    for (size_t n = 0; n < NAMES; n++) {
        mio_loss *loss = support_loss(context, names[n], NULL);
        ck_assert_str_eq(mio_loss_name(loss), names[n]);
        for (size_t i = 0; i < mio_loss_parameter_count(loss); i++, row++) {
            mio_parameter_info info = {.struct_size = sizeof info};
            double value;
            ck_assert_uint_lt(row, ROWS);
            ASSERT_OK(mio_loss_parameter(loss, i, &info));
            ck_assert_str_eq(table[row].loss, names[n]);
            ck_assert_str_eq(info.name, table[row].parameter);
            ck_assert(info.default_value == table[row].initial && info.meaning[0]);
            ASSERT_OK(mio_loss_get(loss, info.name, &value));
            ck_assert(value == table[row].initial);
            if (strstr(info.name, "temperature") || strstr(info.name, "sigma")) {
                ck_assert_int_eq(mio_loss_set(loss, info.name, 0), MIO_ERROR_ARGUMENT);
                ck_assert_int_eq(mio_loss_set(loss, info.name, INFINITY), MIO_ERROR_ARGUMENT);
                ASSERT_OK(mio_loss_set(loss, info.name, 1e-300));
            }
        }
        mio_loss_release(loss);
    }
    ck_assert_uint_eq(row, ROWS);
    mio_context_release(context);
}
END_TEST

START_TEST(test_names)
{
    mio_context *context = support_context(1);
    mio_loss *loss = NULL;
    for (size_t i = 0; i < NAMES; i++)
        ck_assert_str_eq(mio_loss_name_at(i), names[i]);
    ck_assert_ptr_null(mio_loss_name_at(NAMES));
    ck_assert_int_eq(mio_loss_create(context, "infonce", &loss), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_null(loss);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "'infonce'"));
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "nt_xent"));
    ck_assert_int_eq(mio_loss_create(context, NULL, &loss), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loss_create(NULL, "mio", &loss), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loss_create(context, "mio", NULL), MIO_ERROR_ARGUMENT);
    ASSERT_OK(mio_loss_create(context, "mio", &loss));
    ck_assert_int_eq(mio_loss_set(loss, "temprature", 1), MIO_ERROR_ARGUMENT);
    ck_assert_str_eq(mio_last_error(), "loss 'mio' has no parameter 'temprature'; it has positive_temperature, "
                                       "negative_temperature, l2_weight, reduction");
    ASSERT_OK(mio_loss_set_text(loss, "reduction", "pooled"));
    /* The loss outlives the caller's hold on the context. */
    mio_context_release(context);
    ck_assert_ptr_eq(mio_loss_retain(loss), loss);
    mio_loss_release(loss);
    fill();
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, NULL, NULL, NULL));
    mio_loss_release(loss);
    mio_loss_release(NULL);
    ck_assert_ptr_null(mio_loss_retain(NULL));
}
END_TEST

/* Every refusal leaves the outputs alone and says what is wrong. */
static void expect_refusal(mio_loss *loss, size_t pairs, size_t dim, const float *z1, const float *z2,
                           const char *words)
{
    double value = 7;
    for (size_t i = 0; i < COUNT; i++)
        grad[i] = 3;
    ck_assert_int_eq(mio_loss_compute(loss, pairs, dim, z1, z2, &value, grad, grad + HALF), MIO_ERROR_ARGUMENT);
    ck_assert_msg(strstr(mio_last_error(), words) != NULL, "'%s' does not say '%s'", mio_last_error(), words);
    ck_assert(value == 7);
    for (size_t i = 0; i < COUNT; i++)
        ck_assert(grad[i] == 3);
}

START_TEST(test_refusals)
{
    mio_context *context = support_context(2);
    mio_loss *loss = make(context, names[_i]);
    size_t rows = 5;
    fill();
    ck_assert_int_eq(mio_loss_zero_rows(loss, &rows), MIO_ERROR_STATE);
    expect_refusal(NULL, PAIRS, DIM, z, z + HALF, "NULL");
    expect_refusal(loss, PAIRS, DIM, NULL, z, "z1");
    expect_refusal(loss, PAIRS, DIM, z, NULL, "z2");
    static const char *const lone[] = {"byol", "cam", "moco", "prototype", "simsiam"};
    int one_is_enough = 0;
    for (size_t i = 0; i < sizeof lone / sizeof *lone; i++)
        one_is_enough |= !strcmp(lone[i], names[_i]);
    expect_refusal(loss, 0, DIM, z, z + HALF, one_is_enough ? "at least 1 pair," : "at least 2 pairs");
    if (!one_is_enough)
        expect_refusal(loss, 1, DIM, z, z + HALF, "at least 2 pairs");
    expect_refusal(loss, PAIRS, 0, z, z + HALF, "dim");
    expect_refusal(loss, SIZE_MAX / 8, DIM, z, z + HALF, "address space");
    expect_refusal(loss, SIZE_MAX, SIZE_MAX, z, z + HALF, "address space");
    expect_refusal(loss, (size_t)1 << 40, (size_t)1 << 40, z, z + HALF, "address space");
    z[HALF + 41 * DIM + 7] = NAN;
    expect_refusal(loss, PAIRS, DIM, z, z + HALF, "z2[41][7] is NaN");
    z[6 * DIM + 2] = -INFINITY;
    expect_refusal(loss, PAIRS, DIM, z, z + HALF, "z1[6][2] is infinite");
    ck_assert_int_eq(mio_loss_zero_rows(loss, &rows), MIO_ERROR_STATE);
    ck_assert_uint_eq(rows, 5);
    double wide[COUNT], value = 7;
    fill();
    support_widen(COUNT, z, wide);
    wide[8] = INFINITY;
    ck_assert_int_eq(mio_loss_compute_f64(loss, PAIRS, DIM, wide, wide + HALF, &value, NULL, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "z1[0][8] is infinite"));
    ck_assert(value == 7);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

START_TEST(test_optional_outputs)
{
    mio_context *context = support_context(2);
    mio_loss *loss = make(context, names[_i]);
    static float alone[COUNT];
    double value, again;
    fill();
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, &value, grad, grad + HALF));
    renew(&loss, PAIRS, DIM, context);
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, &again, NULL, NULL));
    ck_assert(again == value);
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, NULL, alone, NULL));
    renew(&loss, PAIRS, DIM, context);
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, NULL, NULL, alone + HALF));
    ck_assert_mem_eq(alone, grad, sizeof grad);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* Both views in one array, and arrays that are aligned to nothing but their elements. */
START_TEST(test_aliases_and_alignment)
{
    mio_context *context = support_context(2);
    mio_loss *loss = make(context, names[_i]);
    static char space[2][COUNT * sizeof(float) + 64];
    double value, again;
    fill();
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z, &value, grad, grad + HALF));
    memcpy(z + HALF, z, HALF * sizeof *z);
    static float apart[COUNT];
    renew(&loss, PAIRS, DIM, context);
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, &again, apart, apart + HALF));
    ck_assert(value == again);
    ck_assert_mem_eq(apart, grad, sizeof grad);
    float *rows = (float *)(space[0] + 4), *out = (float *)(space[1] + 20);
    memcpy(rows, z, sizeof z);
    memset(space[1], 0x55, sizeof space[1]);
    renew(&loss, PAIRS, DIM, context);
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, rows, rows + HALF, &again, out, out + HALF));
    ck_assert(value == again);
    ck_assert_mem_eq(out, grad, sizeof grad);
    for (size_t i = 0; i < 20; i++)
        ck_assert(space[1][i] == 0x55);
    for (size_t i = 20 + sizeof grad; i < sizeof space[1]; i++)
        ck_assert(space[1][i] == 0x55);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* The same bits for any number of workers, also when the loss is old and the number changes. */
START_TEST(test_threads)
{
    enum { MANY = 300, WIDTH = 33, SIZE = 2 * MANY * WIDTH };
    static double wide[SIZE], wide_grad[SIZE], first_wide_grad[SIZE];
    static float narrow[SIZE], narrow_grad[SIZE], first_grad[SIZE];
    static const double threads[] = {1, 2, 5, 1};
    mio_context *context = support_context(1);
    mio_loss *loss = support_loss(context, names[_i], NULL);
    ASSERT_OK(support_give(loss, MANY, WIDTH));
    double value, first = 0, wide_value, first_wide = 0;
    support_views(MANY, WIDTH, wide, wide + SIZE / 2, 77);
    support_narrow(SIZE, wide, narrow);
    for (size_t t = 0; t < 4; t++) {
        ASSERT_OK(mio_context_set(context, "threads", threads[t]));
        renew(&loss, MANY, WIDTH, context);
        ASSERT_OK(mio_loss_compute(loss, MANY, WIDTH, narrow, narrow + SIZE / 2, &value, narrow_grad,
                                   narrow_grad + SIZE / 2));
        ASSERT_OK(mio_loss_compute_f64(loss, MANY, WIDTH, wide, wide + SIZE / 2, &wide_value, wide_grad,
                                       wide_grad + SIZE / 2));
        if (!t) {
            first = value, first_wide = wide_value;
            memcpy(first_grad, narrow_grad, sizeof narrow_grad);
            memcpy(first_wide_grad, wide_grad, sizeof wide_grad);
        }
        ck_assert(value == first && wide_value == first_wide);
        ck_assert_mem_eq(narrow_grad, first_grad, sizeof narrow_grad);
        ck_assert_mem_eq(wide_grad, first_wide_grad, sizeof wide_grad);
    }
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

START_TEST(test_out_of_memory)
{
    test_allocator allocator;
    int finished = 0;
    for (size_t n = 1; !finished; n++) {
        ck_assert_uint_lt(n, 100);
        test_allocator_init(&allocator);
        mio_context *context = test_allocator_context(&allocator, 2);
        ck_assert_ptr_nonnull(context);
        test_allocator_fail_at(&allocator, n);
        mio_loss *loss = NULL;
        double value = 7;
        fill();
        mio_status status = mio_loss_create(context, names[_i], &loss);
        ck_assert(!status == (loss != NULL));
        if (!status)
            status = support_give(loss, PAIRS, DIM);
        if (!status) {
            status = mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, &value, grad, grad + HALF);
            ck_assert(!status || value == 7);
        }
        ck_assert(!status || status == MIO_ERROR_MEMORY);
        if (loss && status) { /* the refusal was for once: the loss is usable */
            ASSERT_OK(support_give(loss, PAIRS, DIM));
            ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, &value, grad, grad + HALF));
        }
        finished = !status;
        mio_loss_release(loss);
        mio_context_release(context);
        ck_assert_uint_eq(allocator.blocks, 0);
        ck_assert_uint_eq(allocator.mistakes, 0);
    }
}
END_TEST

/* The first call takes what mio_loss_workspace_bytes says; repeats take nothing. */
START_TEST(test_work_space)
{
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 2);
    mio_loss *loss = make(context, names[_i]);
    size_t bytes = 0;
    double rows[10 * DIM];
    support_fill(10 * DIM, rows, 3);
    if (mio_loss_tensor_count(loss) == 1)
        ASSERT_OK(mio_loss_set_tensor(loss, strcmp(names[_i], "cam") ? "prototypes" : "anchors", 10 * DIM, rows));
    fill();
    ASSERT_OK(mio_loss_workspace_bytes(loss, PAIRS, DIM, sizeof *z, &bytes));
    const size_t before = allocator.bytes, blocks = allocator.blocks;
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, NULL, grad, grad + HALF));
    if (!strcmp(names[_i], "sogclr"))
        bytes += PAIRS * sizeof(double); /* the moving averages, which stay */
    ck_assert_uint_eq(allocator.bytes - before, bytes + 64 * (allocator.blocks - blocks)); /* headers of 64 bytes */
    test_allocator_fail_from(&allocator, 1);
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(names[_i], "moco") && strcmp(names[_i], "nnclr"))
            ASSERT_OK(support_give(loss, PAIRS - i, DIM));
        ASSERT_OK(mio_loss_compute(loss, PAIRS - i, DIM, z, z + HALF, NULL, grad, grad + HALF));
    }
    ck_assert_uint_eq(allocator.requests, 0);
    ck_assert_int_eq(mio_loss_workspace_bytes(loss, PAIRS, DIM, 3, &bytes), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loss_workspace_bytes(loss, 0, DIM, 4, &bytes), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loss_workspace_bytes(loss, PAIRS, DIM, 4, NULL), MIO_ERROR_ARGUMENT);
    ASSERT_OK(mio_loss_workspace_bytes(loss, 32768, 128, 4, &bytes));
    ck_assert_uint_le(bytes, 300000000);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* One loss through batches of many sizes and both types gives what a new one gives. sogclr's averages move on
   meanwhile. */
START_TEST(test_shapes_in_turn)
{
    enum { MOST = 300, WIDTH = 128, SIZE = 2 * MOST * WIDTH };
    static const size_t pairs[] = {16, 256, 256, 40, 40, 300, 16}, wide[] = {0, 1, 0, 1, 0, 0, 0};
    static double values[SIZE], wide_grad[SIZE];
    static float narrow[SIZE], grad_of[2][SIZE];
    mio_context *context = support_context(2);
    mio_loss *old = support_loss(context, names[_i], NULL);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const size_t half = pairs[i] * WIDTH;
        support_views(pairs[i], WIDTH, values, values + half, (unsigned)i);
        support_narrow(2 * half, values, narrow);
        ASSERT_OK(support_give(old, pairs[i], WIDTH));
        if (wide[i]) {
            ASSERT_OK(
                mio_loss_compute_f64(old, pairs[i], WIDTH, values, values + half, NULL, wide_grad, wide_grad + half));
            continue;
        }
        mio_loss *fresh = support_loss(context, names[_i], NULL), *losses[] = {old, fresh};
        double found[2];
        ASSERT_OK(support_give(fresh, pairs[i], WIDTH));
        for (size_t l = 0; l < 2; l++)
            ASSERT_OK(mio_loss_compute(losses[l], pairs[i], WIDTH, narrow, narrow + half, &found[l], grad_of[l],
                                       grad_of[l] + half));
        if (strcmp(names[_i], "sogclr")) {
            ck_assert_msg(found[0] == found[1], "batch %zu: %.17g, not %.17g", i, found[0], found[1]);
            ck_assert_mem_eq(grad_of[0], grad_of[1], 2 * half * sizeof *narrow);
        }
        mio_loss_release(fresh);
    }
    mio_loss_release(old);
    mio_context_release(context);
}
END_TEST

/* Values of parameters at which float alone would lose digits, or everything: it follows double all the same. */
START_TEST(test_float_at_the_edges)
{
    static const struct {
        const char *name;
        support_setting settings[4];
        double tolerance;
    } cases[] = {
        {"hcl", {{"temperature", 0.12}, {"positive_prior", 0.999}}, 1e-5},
        {"hcl", {{"temperature", 0.0656}, {"beta", 0.3}, {"positive_prior", 0.99}}, 1e-5},
        {"hcl", {{"positive_prior", 0.9}}, 1e-5},
        {"barlow_twins", {{"off_diagonal_weight", 1e30}}, 1e-5},
        {"supcon", {{"base_temperature", 1e-30}}, 1e-5},
    };
    static double wide[COUNT], wide_grad[COUNT], narrow_grad[COUNT];
    mio_context *context = support_context(2);
    mio_loss *loss = support_loss(context, cases[_i].name, cases[_i].settings);
    double found, expected;
    fill();
    for (size_t i = 0; i < COUNT; i++)
        wide[i] = z[i];
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, &found, grad, grad + HALF));
    ASSERT_OK(mio_loss_compute_f64(loss, PAIRS, DIM, wide, wide + HALF, &expected, wide_grad, wide_grad + HALF));
    for (size_t i = 0; i < COUNT; i++)
        narrow_grad[i] = grad[i];
    ck_assert_double_le(fabs(found - expected), cases[_i].tolerance * fabs(expected));
    const double distance = support_distance(COUNT, narrow_grad, wide_grad);
    ck_assert_msg(distance <= cases[_i].tolerance, "%s: %g", cases[_i].name, distance);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* A tensor that is there keeps its shape until the next batch makes it anew. */
START_TEST(test_shape_of_a_tensor)
{
    mio_context *context = support_context(1);
    mio_loss *loss = support_loss(context, "cam", (support_setting[]){{"classes", 10}, {NULL, 0}});
    mio_tensor_info info = {.struct_size = sizeof info};
    fill();
    ASSERT_OK(support_give(loss, PAIRS, DIM));
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, NULL, NULL, NULL));
    ASSERT_OK(mio_loss_set(loss, "classes", 3));
    ASSERT_OK(mio_loss_tensor(loss, 0, &info));
    ck_assert_uint_eq(info.rank, 2);
    ck_assert_uint_eq(info.shape[0], 10);
    ck_assert_uint_eq(info.shape[0] * info.shape[1], info.count);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* What is refused leaves nothing behind: neither a width nor the loss of earlier targets. */
START_TEST(test_refused_batches)
{
    mio_context *context = support_context(2);
    mio_loss *loss = support_loss(context, names[_i], NULL);
    fill();
    ASSERT_OK(support_give(loss, PAIRS, DIM - 1));
    if (!strcmp(names[_i], "moco") || !strcmp(names[_i], "nnclr")) { /* a queue of the loss's own */
        mio_loss_release(loss);
        loss = support_loss(context, names[_i], NULL);
    }
    z[3] = NAN;
    ck_assert_int_eq(mio_loss_compute(loss, PAIRS, DIM - 1, z, z + HALF, NULL, NULL, NULL), MIO_ERROR_ARGUMENT);
    fill();
    ASSERT_OK(support_give(loss, PAIRS, DIM));
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, NULL, grad, grad + HALF));
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

START_TEST(test_refused_targets)
{
    static float target[HALF], bad[HALF];
    mio_context *context = support_context(1);
    mio_loss *loss = support_loss(context, "byol", NULL);
    double value, again;
    fill();
    for (size_t i = 0; i < HALF; i++)
        target[i] = bad[i] = z[(i * 7 + 5) % COUNT];
    bad[HALF - 1] = NAN;
    ASSERT_OK(mio_loss_set_targets(loss, PAIRS, DIM, target, NULL));
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, &value, NULL, NULL));
    ASSERT_OK(mio_loss_set_targets(loss, PAIRS, DIM, target, NULL));
    ck_assert_int_eq(mio_loss_set_targets(loss, PAIRS, DIM, target, bad), MIO_ERROR_ARGUMENT);
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, z, z + HALF, &again, NULL, NULL));
    ck_assert(value == again);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* 4096 pairs: memory stays O(pairs x dim), and the float path still follows the double one. */
START_TEST(test_large_batch)
{
    enum { MANY = 4096, WIDTH = 16, SIZE = 2 * MANY * WIDTH };
    static double wide[SIZE], wide_grad[SIZE], widened[SIZE];
    static float narrow[SIZE], narrow_grad[SIZE];
    mio_context *context = support_context(2);
    mio_loss *loss = support_loss(context, "mio", NULL);
    double value, wide_value;
    size_t bytes;
    support_views(MANY, WIDTH, wide, wide + SIZE / 2, 3);
    support_narrow(SIZE, wide, narrow);
    ASSERT_OK(mio_loss_workspace_bytes(loss, MANY, WIDTH, 4, &bytes));
    ck_assert_uint_le(bytes, 4 * sizeof narrow + 200 * 2 * MANY);
    ASSERT_OK(
        mio_loss_compute(loss, MANY, WIDTH, narrow, narrow + SIZE / 2, &value, narrow_grad, narrow_grad + SIZE / 2));
    ASSERT_OK(
        mio_loss_compute_f64(loss, MANY, WIDTH, wide, wide + SIZE / 2, &wide_value, wide_grad, wide_grad + SIZE / 2));
    ck_assert_double_eq_tol(value, wide_value, 1e-7);
    support_widen(SIZE, narrow_grad, widened);
    ck_assert_double_le(support_distance(SIZE, widened, wide_grad), 1e-6);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("contract");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_parameters);
    tcase_add_test(tests, test_names);
    tcase_add_loop_test(tests, test_refusals, 0, NAMES);
    tcase_add_loop_test(tests, test_optional_outputs, 0, NAMES);
    tcase_add_loop_test(tests, test_aliases_and_alignment, 0, NAMES);
    tcase_add_loop_test(tests, test_threads, 0, NAMES);
    tcase_add_loop_test(tests, test_out_of_memory, 0, NAMES);
    tcase_add_loop_test(tests, test_work_space, 0, NAMES);
    tcase_add_loop_test(tests, test_shapes_in_turn, 0, NAMES);
    tcase_add_loop_test(tests, test_refused_batches, 0, NAMES);
    tcase_add_loop_test(tests, test_float_at_the_edges, 0, 5);
    tcase_add_test(tests, test_shape_of_a_tensor);
    tcase_add_test(tests, test_refused_targets);
    tcase_add_test(tests, test_large_batch);
    return support_run("loss/contract", tests);
}
