/* Losses that take more than rows, or learn: labels, indices, targets, tensors. What they keep: test_state.c. */
#include "golden/golden.h"
#include "loss/loss.h"
#include "loss/support.h"

#include <stdio.h>

enum { LIMIT = 2 * 80 * 64 };
static double z[LIMIT], grad[LIMIT], other[LIMIT];

/* Labels also for supcon; constant targets for losses that have them. */
static mio_loss *make(mio_context *context, const char *name, size_t pairs, size_t dim, double scale)
{
    static const int32_t labels[80] = {2, 0, 1, 1, 2, 0, 2, -1, 1, 0, 0, 0, -1, 2, 2, 1};
    const int rows_of_classes = !strcmp(name, "cam") || !strcmp(name, "prototype");
    mio_loss *loss = support_loss(context, name, NULL);
    ASSERT_OK(support_give(loss, pairs, dim));
    if (!strcmp(name, "supcon") || !strcmp(name, "schane"))
        ASSERT_OK(mio_loss_set_batch(loss, pairs, labels, NULL));
    if (!strcmp(name, "byol") || !strcmp(name, "simsiam") || !strcmp(name, "moco") || !strcmp(name, "nnclr")) {
        support_fill(2 * pairs * dim, other, 77);
        ASSERT_OK(mio_loss_set_targets_f64(loss, pairs, dim, other, other + pairs * dim));
    }
    if (rows_of_classes) {
        ASSERT_OK(mio_loss_set(loss, "classes", 3));
        support_fill(3 * dim, other, 5);
        for (size_t i = 0; i < 3 * dim; i++)
            other[i] *= scale;
        ASSERT_OK(mio_loss_set_tensor(loss, mio_loss_name(loss)[0] == 'c' ? "anchors" : "prototypes", 3 * dim, other));
    }
    if (!strcmp(name, "cam")) {
        ASSERT_OK(mio_loss_set(loss, "anchor_margin", scale * sqrt((double)dim)));
        ASSERT_OK(mio_loss_set(loss, "norm_margin", scale * sqrt((double)dim)));
    }
    return loss;
}

static const double stencil[] = {0, 3.0 / 4, -3.0 / 20, 1.0 / 60};

static double value_at(mio_loss *loss, size_t pairs, size_t dim, const double *direction, double step)
{
    static double moved[LIMIT];
    for (size_t i = 0; i < 2 * pairs * dim; i++)
        moved[i] = z[i] + step * direction[i];
    return support_compute(loss, pairs, dim, moved, NULL);
}

static const char *const smooth[] = {"supcon",  "schane", "barlow_twins", "vicreg",    "siglip", "byol",
                                     "simsiam", "moco",   "nnclr",        "prototype", "cam"};

START_TEST(test_finite_differences)
{
    static const size_t sizes[][2] = {{2, 3}, {7, 5}, {40, 20}, {70, 64}};
    static const double scales[] = {1, 0.02, 50};
    static double direction[LIMIT];
    mio_context *context = support_context(1);
    const int one_way = !strcmp(smooth[_i], "moco"); /* keys are constants */
    for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c++)
        for (size_t x = 0; x < 3; x++) {
            const size_t pairs = sizes[c][0], dim = sizes[c][1], count = 2 * pairs * dim;
            mio_loss *loss = make(context, smooth[_i], pairs, dim, scales[x]);
            support_views(pairs, dim, z, z + pairs * dim, 23);
            support_fill(count, direction, 99);
            memset(direction + count / 2, 0, one_way ? count / 2 * sizeof *direction : 0);
            for (size_t i = 0; i < count; i++)
                z[i] *= scales[x];
            double along = 0, difference = 0;
            const double step = 1e-3 * scales[x];
            for (int k = 1; k <= 3; k++)
                difference += stencil[k] * (value_at(loss, pairs, dim, direction, k * step) -
                                            value_at(loss, pairs, dim, direction, -k * step));
            const double value = support_compute(loss, pairs, dim, z, grad);
            for (size_t i = 0; i < count; i++)
                along += grad[i] * direction[i];
            const double error = fabs(difference / step - along);
            const double size =
                support_norm(count, grad) * support_norm(count, direction) + 1e-4 * fabs(value) / scales[x];
            ck_assert_msg(error <= 1e-8 * size, "%s, %zu x %zu, scale %g: off by %g", smooth[_i], pairs, dim, scales[x],
                          error / size);
            mio_loss_release(loss);
        }
    mio_context_release(context);
}
END_TEST

static const struct {
    const char *loss, *tensor;
} learnt[] = {{"siglip", "log_scale"}, {"siglip", "bias"}, {"cam", "anchors"}, {"prototype", "prototypes"}};

START_TEST(test_finite_differences_of_tensors)
{
    enum { PAIRS = 13, DIM = 6 };
    mio_context *context = support_context(1);
    mio_loss *loss = make(context, learnt[_i].loss, PAIRS, DIM, 0.7);
    const size_t count = strcmp(learnt[_i].loss, "siglip") ? 3 * DIM : 1;
    double start[3 * DIM], slope[3 * DIM], moved[3 * DIM];
    support_views(PAIRS, DIM, z, z + PAIRS * DIM, 8);
    ASSERT_OK(mio_loss_get_tensor(loss, learnt[_i].tensor, count, start));
    support_compute(loss, PAIRS, DIM, z, NULL);
    ASSERT_OK(mio_loss_get_gradient(loss, learnt[_i].tensor, count, slope));
    for (size_t i = 0; i < count; i++) {
        double difference = 0;
        for (int k = -3; k <= 3; k++) {
            memcpy(moved, start, sizeof moved);
            moved[i] += 2e-3 * k;
            ASSERT_OK(mio_loss_set_tensor(loss, learnt[_i].tensor, count, moved));
            difference +=
                (k < 0 ? -1 : 1) * stencil[k < 0 ? -k : k] / 2e-3 * support_compute(loss, PAIRS, DIM, z, NULL);
        }
        ck_assert_double_eq_tol(difference, slope[i], 1e-8 * (1 + fabs(slope[i])));
    }
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* Float calls follow double ones. */
START_TEST(test_float_follows_double)
{
    static const size_t sizes[][2] = {{2, 1}, {16, 17}, {33, 64}, {65, 33}, {80, 5}};
    static float narrow[LIMIT], narrow_grad[LIMIT];
    mio_context *context = support_context(2);
    for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c++) {
        const size_t pairs = sizes[c][0], dim = sizes[c][1], count = 2 * pairs * dim;
        mio_loss *loss = make(context, smooth[_i], pairs, dim, 1);
        support_views(pairs, dim, z, z + count / 2, 31);
        support_narrow(count, z, narrow);
        double value;
        ASSERT_OK(mio_loss_compute(loss, pairs, dim, narrow, narrow + count / 2, &value, narrow_grad,
                                   narrow_grad + count / 2));
        mio_loss_release(loss);
        loss = make(context, smooth[_i], pairs, dim, 1);
        const double expected = support_compute(loss, pairs, dim, z, grad);
        ck_assert_double_eq_tol(value, expected, 1e-6 * fmax(1, fabs(expected)));
        support_widen(count, narrow_grad, other);
        double error = 0;
        for (size_t i = 0; i < count; i++)
            error += (other[i] - grad[i]) * (other[i] - grad[i]);
        error = sqrt(error) / (support_norm(count, grad) + 1e-3);
        ck_assert_msg(error <= 2e-6, "%s, %zu x %zu: off by %g", smooth[_i], pairs, dim, error);
        mio_loss_release(loss);
    }
    mio_context_release(context);
}
END_TEST

/* Labels, targets and their losses under threads; the other losses are in test_contract.c. */
START_TEST(test_threads)
{
    enum { PAIRS = 77, DIM = 33, COUNT = 2 * PAIRS * DIM };
    static const double threads[] = {1, 2, 5};
    static double first[COUNT];
    double value, expected = 0;
    mio_context *context = support_context(1);
    support_views(PAIRS, DIM, z, z + COUNT / 2, 3);
    for (size_t t = 0; t < 3; t++) {
        ASSERT_OK(mio_context_set(context, "threads", threads[t]));
        mio_loss *loss = make(context, smooth[_i], PAIRS, DIM, 1);
        value = support_compute(loss, PAIRS, DIM, z, grad);
        if (!t) {
            expected = value;
            memcpy(first, grad, sizeof first);
        }
        ck_assert(value == expected);
        ck_assert_mem_eq(first, grad, sizeof first);
        mio_loss_release(loss);
    }
    mio_context_release(context);
}
END_TEST

/* supcon, schane: images permuted with their labels, views exchanged. */
START_TEST(test_labelled_permutation)
{
    enum { PAIRS = 37, DIM = 11, HALF = PAIRS * DIM };
    static const char *const names[] = {"supcon", "schane"};
    static double changed[2 * HALF], expected[2 * HALF], found[2 * HALF];
    int32_t labels[PAIRS], moved[PAIRS];
    mio_context *context = support_context(1);
    mio_loss *loss = support_loss(context, names[_i], NULL);
    support_views(PAIRS, DIM, z, z + HALF, 2);
    for (size_t b = 0; b < PAIRS; b++)
        labels[b] = (int32_t)(b * b % 7) * 1000003 - 1;
    ASSERT_OK(mio_loss_set_batch(loss, PAIRS, labels, NULL));
    const double value = support_compute(loss, PAIRS, DIM, z, grad);
    for (size_t b = 0; b < PAIRS; b++)
        for (size_t v = 0; v < 2; v++) {
            const size_t from = v * HALF + b * DIM, place = (b * 10 + 3) % PAIRS, to = (1 - v) * HALF + place * DIM;
            moved[place] = labels[b];
            memcpy(changed + to, z + from, DIM * sizeof *z);
            memcpy(expected + to, grad + from, DIM * sizeof *z);
        }
    ASSERT_OK(mio_loss_set_batch(loss, PAIRS, moved, NULL));
    ck_assert_double_eq_tol(support_compute(loss, PAIRS, DIM, changed, found), value, 1e-13);
    ck_assert_double_le(support_distance(2 * HALF, found, expected), 1e-12);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

START_TEST(test_identities)
{
    enum { PAIRS = 19, DIM = 7, COUNT = 2 * PAIRS * DIM };
    static const support_setting whole[] = {{"temperature", 0.3}, {"gamma", 1}, {NULL, 0}};
    static const support_setting warm[] = {{"temperature", 0.3}, {NULL, 0}};
    static const support_setting equal[] = {{"temperature", 0.3}, {"base_temperature", 0.3}, {NULL, 0}};
    const size_t indices[PAIRS] = {5, 9, 1, 0, 2, 3, 4, 18, 17, 16, 15, 14, 13, 12, 11, 10, 8, 7, 6};
    int32_t labels[PAIRS];
    mio_context *context = support_context(1);
    support_views(PAIRS, DIM, z, z + COUNT / 2, 12);
    mio_loss *sogclr = support_loss(context, "sogclr", whole), *dcl = support_loss(context, "dcl", warm);
    ASSERT_OK(mio_loss_set_batch(sogclr, PAIRS, NULL, indices));
    for (int step = 0; step < 2; step++) { /* gamma 1 forgets: the second step is the same */
        support_compute(sogclr, PAIRS, DIM, z, grad);
        support_compute(dcl, PAIRS, DIM, z, other);
        for (size_t i = 0; i < COUNT; i++)
            other[i] *= 2 * 0.3;
        ck_assert_double_le(support_distance(COUNT, grad, other), 1e-12);
    }
    mio_loss *byol = support_loss(context, "byol", NULL), *simsiam = support_loss(context, "simsiam", NULL);
    const double squares = support_compute(byol, PAIRS, DIM, z, grad);
    const double cosines = support_compute(simsiam, PAIRS, DIM, z, other);
    for (size_t i = 0; i < COUNT; i++)
        other[i] *= 4;
    ck_assert_double_le(support_distance(COUNT, grad, other), 1e-14);
    ck_assert_double_eq_tol(squares, 4 + 4 * cosines, 1e-14);
    mio_loss *supcon = support_loss(context, "supcon", equal), *nt_xent = support_loss(context, "nt_xent", warm);
    for (int32_t b = 0; b < PAIRS; b++)
        labels[b] = 100 - b;
    ASSERT_OK(mio_loss_set_batch(supcon, PAIRS, labels, NULL));
    const double value = support_compute(nt_xent, PAIRS, DIM, z, other);
    ck_assert_double_eq_tol(support_compute(supcon, PAIRS, DIM, z, grad), value, 1e-13);
    ck_assert_double_le(support_distance(COUNT, grad, other), 1e-13);
    ASSERT_OK(mio_loss_set_batch(supcon, 0, NULL, NULL));
    ck_assert_double_eq_tol(support_compute(supcon, PAIRS, DIM, z, NULL), value, 1e-13);
    mio_loss_release(sogclr), mio_loss_release(dcl), mio_loss_release(byol), mio_loss_release(simsiam);
    mio_loss_release(supcon), mio_loss_release(nt_xent);
    mio_context_release(context);
}
END_TEST

/* ---- golden values of what is learnt and remembered ---- */

static const double *record(const golden_file *golden, const char *name, size_t count)
{
    const double *values = golden_find(golden, name, count);
    ck_assert_msg(values != NULL, "losses.txt has no record %s", name);
    return values;
}

static void small_input(void)
{
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 3; k++) {
            const double slope = 0.1 * ((double)i - (double)k);
            z[i * 3 + k] = sin(1 + 1.7 * (double)i + 0.9 * (double)k) + slope;
            z[12 + i * 3 + k] = sin(1.35 + 1.7 * (double)i + 0.9 * (double)k) + slope;
        }
}

static void check_siglip(mio_context *context, const double *expected, size_t pairs, size_t dim)
{
    mio_loss *loss = support_loss(context, "siglip", NULL);
    double slopes[2];
    support_compute(loss, pairs, dim, z, NULL);
    ASSERT_OK(mio_loss_get_gradient(loss, "log_scale", 1, slopes));
    ASSERT_OK(mio_loss_get_gradient(loss, "bias", 1, slopes + 1));
    ck_assert_double_le(support_distance(2, slopes, expected), 1e-12);
    mio_loss_release(loss);
}

/* Both views hold view 1's rows: the mean over all rows is the golden mean over one view. */
static void check_cam(mio_context *context, const golden_file *golden, const char *input, size_t pairs, size_t dim,
                      const int32_t *labels, const double *anchors)
{
    char name[80];
    mio_loss *loss = support_loss(context, "cam", NULL);
    double slopes[51];
    ASSERT_OK(mio_loss_set(loss, "classes", 3));
    ASSERT_OK(mio_loss_set_tensor(loss, "anchors", 3 * dim, anchors));
    ASSERT_OK(mio_loss_set_batch(loss, pairs, labels, NULL));
    memcpy(z + pairs * dim, z, pairs * dim * sizeof *z);
    const double value = support_compute(loss, pairs, dim, z, grad);
    for (size_t i = 0; i < pairs * dim; i++)
        grad[i] += grad[pairs * dim + i];
    snprintf(name, sizeof name, "%s/cam/m1_p1_z1_only/value", input);
    ck_assert_double_eq_tol(value, *record(golden, name, 1), 1e-12 * value);
    snprintf(name, sizeof name, "%s/cam/m1_p1_z1_only/gradient", input);
    ck_assert_double_le(support_distance(pairs * dim, grad, record(golden, name, 2 * pairs * dim)), 1e-12);
    snprintf(name, sizeof name, "%s/cam/m1_p1_z1_only/anchor_gradient", input);
    ASSERT_OK(mio_loss_get_gradient(loss, "anchors", 3 * dim, slopes));
    ck_assert_double_le(support_distance(3 * dim, slopes, record(golden, name, 3 * dim)), 1e-12);
    mio_loss_release(loss);
}

/* Two steps, the second with the indices rolled by one. */
static void check_sogclr(mio_context *context, const golden_file *golden, const char *input, size_t pairs, size_t dim)
{
    mio_loss *loss = support_loss(context, "sogclr", NULL);
    for (int step = 1; step <= 2; step++) {
        char name[80];
        size_t indices[9];
        for (size_t i = 0; i < pairs; i++)
            indices[i] = (i + (size_t)step - 1) % pairs;
        ASSERT_OK(mio_loss_set_batch(loss, pairs, NULL, indices));
        ck_assert_double_eq(support_compute(loss, pairs, dim, z, NULL),
                            support_compute(loss, pairs, dim, z, grad)); /* the first moves nothing */
        snprintf(name, sizeof name, "%s/sogclr/t0.1_step%d/gradient", input, step);
        ck_assert_double_le(support_distance(2 * pairs * dim, grad, record(golden, name, 2 * pairs * dim)), 1e-12);
        snprintf(name, sizeof name, "%s/sogclr/t0.1_step%d/u", input, step);
        for (size_t i = 0; i < pairs; i++)
            ck_assert_double_eq_tol(exp(loss->log_moving[i]) / record(golden, name, pairs)[i], 1, 1e-12);
    }
    mio_loss_release(loss);
}

START_TEST(test_golden)
{
    static const double small_anchors[] = {0.9, 0.1, -0.2, -0.3, 0.8, 0.1, 0.2, 0.2, 0.1};
    static const int32_t small_labels[] = {0, 1, 0, 2}, wide_labels[] = {0, 1, 2, 0, 1, 2, 0, 1, 2};
    golden_file golden;
    const char *folder = getenv("MIO_GOLDEN");
    char path[1024];
    snprintf(path, sizeof path, "%s/losses.txt", folder ? folder : "tests/golden");
    ck_assert_msg(golden_open(&golden, path) == 0, "%s cannot be read", path);
    mio_context *context = support_context(1);
    small_input();
    check_siglip(context, record(&golden, "small/siglip/t10_b-10/scale_bias_gradient", 2), 4, 3);
    check_sogclr(context, &golden, "small", 4, 3);
    check_cam(context, &golden, "small", 4, 3, small_labels, small_anchors);
    memcpy(z, record(&golden, "inputs/wide_z1", 9 * 17), 9 * 17 * sizeof *z);
    memcpy(z + 9 * 17, record(&golden, "inputs/wide_z2", 9 * 17), 9 * 17 * sizeof *z);
    check_siglip(context, record(&golden, "wide/siglip/t10_b-10/scale_bias_gradient", 2), 9, 17);
    check_sogclr(context, &golden, "wide", 9, 17);
    check_cam(context, &golden, "wide", 9, 17, wide_labels, record(&golden, "inputs/wide_anchors", 51));
    mio_context_release(context);
    golden_close(&golden);
}
END_TEST

/* ---- refusals ---- */

static void expect_state(mio_context *context, const char *name, const char *words)
{
    mio_loss *loss = support_loss(context, name, NULL);
    double value = 7;
    ck_assert_int_eq(mio_loss_compute_f64(loss, 5, 3, z, z + 15, &value, grad, grad + 15), MIO_ERROR_STATE);
    ck_assert_msg(strstr(mio_last_error(), words) && strstr(mio_last_error(), "mio_loss_set_batch"), "%s",
                  mio_last_error());
    ck_assert(value == 7);
    mio_loss_release(loss);
}

START_TEST(test_missing)
{
    const int32_t labels[6] = {0, 1, 2, 3, 4, 10};
    const size_t indices[5] = {0, 1, 2, 3, SIZE_MAX};
    mio_context *context = support_context(1);
    support_views(5, 3, z, z + 15, 1);
    expect_state(context, "schane", "labels");
    expect_state(context, "cam", "labels");
    expect_state(context, "prototype", "labels");
    expect_state(context, "sogclr", "indices");
    mio_loss *loss = support_loss(context, "prototype", NULL), *sogclr = support_loss(context, "sogclr", NULL);
    mio_loss *moco = support_loss(context, "moco", NULL), *mio = support_loss(context, "mio", NULL);
    ASSERT_OK(mio_loss_set_batch(loss, 6, labels, NULL));
    ck_assert_int_eq(mio_loss_compute_f64(loss, 5, 3, z, z + 15, NULL, NULL, NULL), MIO_ERROR_STATE);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "6 labels"));
    ck_assert_int_eq(mio_loss_compute_f64(loss, 6, 2, z, z + 12, NULL, NULL, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "label 10 of image 5"));
    ASSERT_OK(mio_loss_set_batch(loss, 5, labels, NULL));
    ASSERT_OK(mio_loss_compute_f64(loss, 5, 3, z, z + 15, NULL, NULL, NULL));
    ck_assert_int_eq(mio_loss_compute_f64(loss, 5, 2, z, z + 15, NULL, NULL, NULL), MIO_ERROR_STATE);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "10 x 3"));
    ASSERT_OK(mio_loss_set_batch(sogclr, 5, NULL, indices));
    ck_assert_int_eq(mio_loss_compute_f64(sogclr, 5, 3, z, z + 15, NULL, NULL, NULL), MIO_ERROR_ARGUMENT);
    z[4] = NAN;
    ck_assert_int_eq(mio_loss_set_targets_f64(moco, 5, 3, NULL, z), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "t2[1][1]"));
    ck_assert_int_eq(mio_loss_set_queue_f64(moco, 5, 3, z), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "rows[1][1]"));
    ck_assert_int_eq(mio_loss_set_queue_f64(moco, 0, 3, z + 5), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loss_set_queue_f64(mio, 1, 3, z + 5), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loss_set_targets_f64(mio, 1, 3, z + 5, NULL), MIO_ERROR_ARGUMENT);
    ASSERT_OK(mio_loss_set_targets_f64(moco, 1, 3, NULL, z + 5));
    ck_assert_int_eq(mio_loss_compute_f64(moco, 2, 3, z + 5, z + 15, NULL, NULL, NULL), MIO_ERROR_STATE);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "1 x 3"));
    ASSERT_OK(mio_loss_set_queue_f64(moco, 2, 4, z + 5));
    ASSERT_OK(mio_loss_set_targets_f64(moco, 0, 0, NULL, NULL));
    ck_assert_int_eq(mio_loss_compute_f64(moco, 2, 3, z + 5, z + 15, NULL, NULL, NULL), MIO_ERROR_STATE);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "mio_loss_set_queue"));
    mio_loss_release(loss), mio_loss_release(sogclr), mio_loss_release(moco), mio_loss_release(mio);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    enum { SMOOTH = sizeof smooth / sizeof *smooth };
    TCase *tests = tcase_create("given");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_finite_differences, 0, SMOOTH);
    tcase_add_loop_test(tests, test_finite_differences_of_tensors, 0, 4);
    tcase_add_loop_test(tests, test_float_follows_double, 0, SMOOTH);
    tcase_add_loop_test(tests, test_threads, 0, SMOOTH);
    tcase_add_loop_test(tests, test_labelled_permutation, 0, 2);
    tcase_add_test(tests, test_identities);
    tcase_add_test(tests, test_golden);
    tcase_add_test(tests, test_missing);
    return support_run("loss/given", tests);
}
