#define _POSIX_C_SOURCE 200809L
/* Losses that take more than rows, or learn, or remember: labels, indices, targets, queues, tensors, callbacks. */
#include "golden/golden.h"
#include "loss/loss.h"
#include "loss/support.h"
#include "support/allocator.h"

#include <stdio.h>
#include <unistd.h>

enum { LIMIT = 2 * 80 * 64 };
static double z[LIMIT], grad[LIMIT], other[LIMIT];

static double compute(mio_loss *loss, size_t pairs, size_t dim, const double *rows, double *gradient)
{
    double value = NAN;
    ASSERT_OK(mio_loss_compute_f64(loss, pairs, dim, rows, rows + pairs * dim, &value, gradient,
                                   gradient ? gradient + pairs * dim : NULL));
    return value;
}

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
    return compute(loss, pairs, dim, moved, NULL);
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
            const double value = compute(loss, pairs, dim, z, grad);
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
    compute(loss, PAIRS, DIM, z, NULL);
    ASSERT_OK(mio_loss_get_gradient(loss, learnt[_i].tensor, count, slope));
    for (size_t i = 0; i < count; i++) {
        double difference = 0;
        for (int k = -3; k <= 3; k++) {
            memcpy(moved, start, sizeof moved);
            moved[i] += 2e-3 * k;
            ASSERT_OK(mio_loss_set_tensor(loss, learnt[_i].tensor, count, moved));
            difference += (k < 0 ? -1 : 1) * stencil[k < 0 ? -k : k] / 2e-3 * compute(loss, PAIRS, DIM, z, NULL);
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
        const double expected = compute(loss, pairs, dim, z, grad);
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
        value = compute(loss, PAIRS, DIM, z, grad);
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
    const double value = compute(loss, PAIRS, DIM, z, grad);
    for (size_t b = 0; b < PAIRS; b++)
        for (size_t v = 0; v < 2; v++) {
            const size_t from = v * HALF + b * DIM, place = (b * 10 + 3) % PAIRS, to = (1 - v) * HALF + place * DIM;
            moved[place] = labels[b];
            memcpy(changed + to, z + from, DIM * sizeof *z);
            memcpy(expected + to, grad + from, DIM * sizeof *z);
        }
    ASSERT_OK(mio_loss_set_batch(loss, PAIRS, moved, NULL));
    ck_assert_double_eq_tol(compute(loss, PAIRS, DIM, changed, found), value, 1e-13);
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
        compute(sogclr, PAIRS, DIM, z, grad);
        compute(dcl, PAIRS, DIM, z, other);
        for (size_t i = 0; i < COUNT; i++)
            other[i] *= 2 * 0.3;
        ck_assert_double_le(support_distance(COUNT, grad, other), 1e-12);
    }
    mio_loss *byol = support_loss(context, "byol", NULL), *simsiam = support_loss(context, "simsiam", NULL);
    const double squares = compute(byol, PAIRS, DIM, z, grad), cosines = compute(simsiam, PAIRS, DIM, z, other);
    for (size_t i = 0; i < COUNT; i++)
        other[i] *= 4;
    ck_assert_double_le(support_distance(COUNT, grad, other), 1e-14);
    ck_assert_double_eq_tol(squares, 4 + 4 * cosines, 1e-14);
    mio_loss *supcon = support_loss(context, "supcon", equal), *nt_xent = support_loss(context, "nt_xent", warm);
    for (int32_t b = 0; b < PAIRS; b++)
        labels[b] = 100 - b;
    ASSERT_OK(mio_loss_set_batch(supcon, PAIRS, labels, NULL));
    const double value = compute(nt_xent, PAIRS, DIM, z, other);
    ck_assert_double_eq_tol(compute(supcon, PAIRS, DIM, z, grad), value, 1e-13);
    ck_assert_double_le(support_distance(COUNT, grad, other), 1e-13);
    ASSERT_OK(mio_loss_set_batch(supcon, 0, NULL, NULL));
    ck_assert_double_eq_tol(compute(supcon, PAIRS, DIM, z, NULL), value, 1e-13);
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
    compute(loss, pairs, dim, z, NULL);
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
    const double value = compute(loss, pairs, dim, z, grad);
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
        ck_assert_double_eq(compute(loss, pairs, dim, z, NULL),
                            compute(loss, pairs, dim, z, grad)); /* the first moves nothing */
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

/* ---- queues ---- */

/* Twelve rows pass through a queue of five; moco's keys and nnclr's first view enter it, and a value alone moves
 * nothing. */
START_TEST(test_queue_moves)
{
    enum { PAIRS = 4, DIM = 3 };
    static const char *const names[] = {"moco", "nnclr"};
    mio_context *context = support_context(1);
    mio_loss *loss = support_loss(context, names[_i], NULL);
    double rows[5 * DIM], unit[DIM];
    support_fill(5 * DIM, rows, 4);
    ASSERT_OK(mio_loss_set_queue_f64(loss, 5, DIM, rows));
    double size;
    ASSERT_OK(mio_loss_get(loss, "queue_size", &size));
    ck_assert(size == 5);
    for (unsigned step = 0; step < 3; step++) {
        support_views(PAIRS, DIM, z, z + PAIRS * DIM, step);
        const double value = compute(loss, PAIRS, DIM, z, NULL);
        ck_assert(compute(loss, PAIRS, DIM, z, grad) == value);
        for (size_t b = 0; b < PAIRS; b++) {
            const double *row = (double *)loss->queue.rows + (step * PAIRS + b) % 5 * loss->queue.width;
            mio__unit_row(DIM, sizeof *z, z + ((_i ? 0 : PAIRS) + b) * DIM, unit);
            for (size_t k = 0; k < DIM; k++)
                ck_assert_double_eq_tol(row[k], unit[k], 1e-15);
        }
    }
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* A queue that nobody set is made of unit vectors, the same for the same seed; a float queue serves double batches. */
START_TEST(test_queue_from_seed)
{
    enum { PAIRS = 6, DIM = 20 };
    static const support_setting short_queue[] = {{"queue_size", 300}, {NULL, 0}};
    float narrow[2 * PAIRS * DIM];
    double first = NAN;
    support_views(PAIRS, DIM, z, z + PAIRS * DIM, 4);
    support_narrow(2 * PAIRS * DIM, z, narrow);
    for (int seed = 0; seed < 3; seed++) {
        mio_context *context = support_context(1 + seed);
        ASSERT_OK(mio_context_set(context, "seed", seed / 2));
        mio_loss *loss = support_loss(context, "moco", short_queue);
        double value, again;
        ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, narrow, narrow + PAIRS * DIM, &value, NULL, NULL));
        for (size_t i = 0; i < 300; i++) {
            double square = 0;
            for (size_t k = 0; k < DIM; k++)
                square += pow(((float *)loss->queue.rows)[i * loss->queue.width + k], 2);
            ck_assert_double_eq_tol(square, 1, 1e-6);
        }
        again = compute(loss, PAIRS, DIM, z, NULL);
        ck_assert_uint_eq(loss->queue.element, 8);
        ck_assert_double_eq_tol(again, value, 1e-6 * fabs(value));
        first = seed ? first : value;
        ck_assert((value == first) == (seed < 2));
        mio_loss_release(loss);
        mio_context_release(context);
    }
}
END_TEST

/* ---- tensors ---- */

START_TEST(test_tensors)
{
    mio_context *context = support_context(1);
    mio_loss *siglip = support_loss(context, "siglip", NULL), *cam = support_loss(context, "cam", NULL);
    mio_tensor_info info = {.struct_size = sizeof info};
    const mio__loss_tensor *tensors;
    double value = 0, values[20];
    ck_assert_uint_eq(mio_loss_tensor_count(siglip), 2);
    ASSERT_OK(mio_loss_tensor(siglip, 1, &info));
    ck_assert(!strcmp(info.name, "bias") && info.rank == 0 && info.count == 1 && info.trainable == 1);
    ck_assert_int_eq(mio_loss_tensor(siglip, 2, &info), MIO_ERROR_ARGUMENT);
    /* parameter and tensor are one, in double until an optimizer steps the float */
    ASSERT_OK(mio_loss_set(siglip, "bias", -3.3));
    ASSERT_OK(mio_loss_get_tensor(siglip, "bias", 1, &value));
    ck_assert(value == -3.3);
    ck_assert_uint_eq(mio__loss_tensors(siglip, &tensors), 2);
    tensors[1].value[0] -= 1;
    ASSERT_OK(mio_loss_get(siglip, "bias", &value));
    ck_assert(value == (double)((float)-3.3 - 1));
    ASSERT_OK(mio_loss_set(siglip, "log_scale", 1));
    ASSERT_OK(mio_loss_get(siglip, "bias", &value));
    ck_assert(value == (double)((float)-3.3 - 1));
    tensors[0].value[0] = 1e6f; /* beyond the parameter's bounds: held */
    ASSERT_OK(mio_loss_get(siglip, "log_scale", &value));
    ck_assert(value == 100);
    ASSERT_OK(mio_loss_set(siglip, "log_scale", value));
    ck_assert_int_eq(mio_loss_set_tensor(siglip, "bias", 2, values), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loss_get_tensor(siglip, "scale", 1, values), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "log_scale, bias"));
    ck_assert_int_eq(mio_loss_get_gradient(siglip, "bias", 1, values), MIO_ERROR_STATE);
    ASSERT_OK(mio_loss_tensor(cam, 0, &info));
    ck_assert(info.rank == 2 && info.shape[0] == 10 && info.shape[1] == 0 && info.count == 0);
    ck_assert_int_eq(mio_loss_get_tensor(cam, "anchors", 20, values), MIO_ERROR_STATE);
    memset(values, 0, sizeof values);
    ck_assert_int_eq(mio_loss_set_tensor(cam, "anchors", 19, values), MIO_ERROR_ARGUMENT);
    values[3] = NAN;
    ck_assert_int_eq(mio_loss_set_tensor(cam, "anchors", 20, values), MIO_ERROR_ARGUMENT);
    values[3] = 1.1;
    ASSERT_OK(mio_loss_set_tensor(cam, "anchors", 20, values));
    ASSERT_OK(mio_loss_tensor(cam, 0, &info));
    ck_assert(info.shape[1] == 2 && info.count == 20);
    ck_assert_uint_eq(mio_loss_tensor_count(NULL), 0);
    mio_loss_release(siglip);
    mio_loss_release(cam);
    mio_context_release(context);
}
END_TEST

/* ---- state in an archive ---- */

static const char *const keepers[] = {"siglip", "cam", "prototype", "sogclr", "moco", "nnclr"};
enum { KEPT_PAIRS = 9, KEPT_DIM = 5, KEPT_HALF = KEPT_PAIRS * KEPT_DIM };

static double step(mio_loss *loss, unsigned number)
{
    float narrow[2 * KEPT_HALF], narrow_grad[2 * KEPT_HALF];
    const mio__loss_tensor *tensors;
    double value;
    support_views(KEPT_PAIRS, KEPT_DIM, z, z + KEPT_HALF, number);
    support_narrow(2 * KEPT_HALF, z, narrow);
    ASSERT_OK(mio_loss_compute(loss, KEPT_PAIRS, KEPT_DIM, narrow, narrow + KEPT_HALF, &value, narrow_grad,
                               narrow_grad + KEPT_HALF));
    for (size_t t = 0; t < mio__loss_tensors(loss, &tensors); t++) /* what an optimizer does */
        for (size_t i = 0; i < tensors[t].count; i++)
            tensors[t].value[i] -= 0.1f * tensors[t].gradient[i];
    return value;
}

START_TEST(test_save_and_restore)
{
    char path[] = "/tmp/mio-loss-XXXXXX";
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 1);
    mio_loss *loss = support_loss(context, keepers[_i], NULL), *same = support_loss(context, keepers[_i], NULL);
    mio__archive_writer *writer;
    mio__archive *archive;
    const int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    ASSERT_OK(support_give(loss, KEPT_PAIRS, KEPT_DIM));
    ASSERT_OK(support_give(same, KEPT_PAIRS, KEPT_DIM));
    step(same, 9); /* makes the tensors that an optimizer would hold */
    for (unsigned i = 0; i < 3; i++)
        step(loss, i);
    ASSERT_OK(mio__archive_create(context, path, "TEST", &writer));
    ASSERT_OK(mio__loss_write(loss, writer));
    ASSERT_OK(mio__archive_commit(writer));
    mio_status status = MIO_ERROR_MEMORY;
    mio_loss *state = NULL;
    for (size_t n = 1; status; n++) { /* every allocation refused once */
        ck_assert_uint_lt(n, 100);
        test_allocator_fail_at(&allocator, n);
        status = mio__archive_open(context, path, &archive);
        if (status)
            continue;
        status = mio__loss_read(same, &loss->settings, archive, &state);
        mio__archive_close(archive);
        ck_assert(!status || status == MIO_ERROR_MEMORY);
        ck_assert(!status == (state != NULL));
    }
    test_allocator_fail_at(&allocator, 1000000);
    mio__loss_take(same, state);
    mio_loss_release(state);
    for (unsigned i = 3; i < 6; i++) {
        const double expected = step(loss, i);
        ck_assert(step(same, i) == expected);
    }
    mio_loss_release(loss);
    mio_loss_release(same);
    mio_context_release(context);
    ck_assert_uint_eq(allocator.blocks, 0);
    ck_assert_uint_eq(allocator.mistakes, 0);
    unlink(path);
}
END_TEST

/* ---- memory ---- */

/* Labels, targets in either precision, a queue, a loss of the caller's: every allocation refused once. */
static mio_status give_everything(mio_context *context, const float *narrow)
{
    static const int32_t labels[KEPT_PAIRS] = {1, 0, 1, 2, 2, 2, 7, -1, 0};
    static const size_t indices[KEPT_PAIRS] = {3, 1, 2, 0, 8, 7, 6, 5, 4};
    mio_loss *loss = NULL, *supcon = NULL, *anchors = NULL;
    mio_status status = mio_loss_create(context, "nnclr", &loss);
    if (!status)
        status = mio_loss_set_queue(loss, KEPT_PAIRS, KEPT_DIM, narrow);
    if (!status)
        status = mio_loss_set_targets(loss, KEPT_PAIRS, KEPT_DIM, narrow, narrow + KEPT_HALF);
    if (!status) /* in double: the queue is widened */
        status = mio_loss_compute_f64(loss, KEPT_PAIRS, KEPT_DIM, z, z + KEPT_HALF, NULL, grad, grad + KEPT_HALF);
    if (!status)
        status = mio_loss_create(context, "supcon", &supcon);
    if (!status)
        status = mio_loss_set_batch(supcon, KEPT_PAIRS, labels, indices);
    if (!status)
        status = mio_loss_compute_f64(supcon, KEPT_PAIRS, KEPT_DIM, z, z + KEPT_HALF, NULL, grad, grad + KEPT_HALF);
    if (!status)
        status = mio_loss_create(context, "cam", &anchors);
    if (!status)
        status = mio_loss_set_tensor(anchors, "anchors", 10 * 3, z);
    mio_loss_release(loss);
    mio_loss_release(supcon);
    mio_loss_release(anchors);
    return status;
}

START_TEST(test_out_of_memory)
{
    float narrow[2 * KEPT_HALF];
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 1);
    support_views(KEPT_PAIRS, KEPT_DIM, z, z + KEPT_HALF, 5);
    support_narrow(2 * KEPT_HALF, z, narrow);
    ASSERT_OK(give_everything(context, narrow));
    const size_t held = allocator.blocks;
    test_allocator_fail_at(&allocator, 0);
    ASSERT_OK(give_everything(context, narrow));
    const size_t requests = allocator.requests;
    ck_assert_uint_gt(requests, 15);
    for (size_t n = 1; n <= requests; n++) {
        test_allocator_fail_at(&allocator, n);
        ck_assert_msg(give_everything(context, narrow) == MIO_ERROR_MEMORY, "request %zu of %zu", n, requests);
        ck_assert_uint_eq(allocator.blocks, held);
    }
    mio_context_release(context);
    ck_assert_uint_eq(allocator.mistakes, 0);
}
END_TEST

/* ---- a loss of the caller's own ---- */

typedef struct counter {
    int calls;
    mio_status answer;
} counter;

/* The mean square of all values. */
static mio_status mean_square(void *user, size_t pairs, size_t dim, const float *z1, const float *z2, double *value,
                              float *grad_z1, float *grad_z2)
{
    counter *count = user;
    count->calls++;
    *value = 0;
    for (size_t i = 0; i < pairs * dim; i++) {
        *value += ((double)z1[i] * z1[i] + (double)z2[i] * z2[i]) / (double)(2 * pairs * dim);
        if (grad_z1)
            grad_z1[i] = z1[i] / (float)(pairs * dim);
        if (grad_z2)
            grad_z2[i] = z2[i] / (float)(pairs * dim);
    }
    return count->answer;
}

START_TEST(test_custom)
{
    mio_context *context = support_context(1);
    counter count = {0, MIO_OK};
    mio_loss_callback callback = {sizeof callback, &count, mean_square, NULL};
    mio_loss *loss = NULL;
    char name[] = "mean_square";
    const float rows[4] = {1, 2, 3, 4};
    float gradient[2];
    double value = 7, positive, negative;
    ck_assert_int_eq(mio_loss_create_custom(context, NULL, &callback, &loss), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_loss_create_custom(context, name, NULL, &loss), MIO_ERROR_ARGUMENT);
    callback.struct_size = 0;
    ck_assert_int_eq(mio_loss_create_custom(context, name, &callback, &loss), MIO_ERROR_ARGUMENT);
    callback.struct_size = sizeof callback;
    ASSERT_OK(mio_loss_create_custom(context, name, &callback, &loss));
    memset(name, 'x', sizeof name - 1);
    ck_assert_str_eq(mio_loss_name(loss), "mean_square");
    ck_assert_uint_eq(mio_loss_parameter_count(loss), 0);
    ASSERT_OK(mio_loss_compute(loss, 1, 2, rows, rows + 2, &value, NULL, gradient));
    ck_assert(value == 7.5 && gradient[0] == 1.5f && gradient[1] == 2);
    ASSERT_OK(mio__loss_similarities(loss, &positive, &negative));
    ck_assert_double_eq_tol(positive, 11 / sqrt(125), 1e-12);
    ck_assert_int_eq(mio_loss_compute_f64(loss, 1, 2, z, z, &value, NULL, NULL), MIO_ERROR_UNSUPPORTED);
    count.answer = MIO_ERROR_CANCELLED;
    value = 7;
    ck_assert_int_eq(mio_loss_compute(loss, 1, 2, rows, rows + 2, &value, NULL, NULL), MIO_ERROR_CANCELLED);
    ck_assert(value == 7 && strstr(mio_last_error(), "mean_square"));
    ck_assert_int_eq(mio_loss_compute(loss, 1, 2, rows, NULL, &value, NULL, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(count.calls, 2);
    mio_loss_release(loss);
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
    tcase_add_loop_test(tests, test_queue_moves, 0, 2);
    tcase_add_test(tests, test_queue_from_seed);
    tcase_add_test(tests, test_tensors);
    tcase_add_loop_test(tests, test_save_and_restore, 0, 6);
    tcase_add_test(tests, test_out_of_memory);
    tcase_add_test(tests, test_custom);
    return support_run("loss/given", tests);
}
