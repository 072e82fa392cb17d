/* What every loss over cosine similarities obeys, and inputs at the ends of the number range. */
#include "loss/loss.h"
#include "loss/support.h"

#include <float.h>

enum { PAIRS = 37, DIM = 19, HALF = PAIRS * DIM, COUNT = 2 * HALF };
static const char *const names[] = {"mio", "mio_decoupled", "nt_xent", "supcon", "dcl",    "dclw",
                                    "hcl", "byol",          "simsiam", "siglip", "schane", "sogclr"};
enum { NAMES = sizeof names / sizeof *names };

static double z[COUNT], grad[COUNT], changed[COUNT], changed_grad[COUNT];

/* With labels or indices; the averages of sogclr, which would differ from call to call, forget at once. */
static mio_loss *make(mio_context *context, const char *name)
{
    static const support_setting forgetful[] = {{"gamma", 1}, {NULL, 0}};
    mio_loss *loss = support_loss(context, name, strcmp(name, "sogclr") ? NULL : forgetful);
    ASSERT_OK(support_give(loss, PAIRS, DIM));
    return loss;
}

static double compute(mio_loss *loss, const double *rows, double *gradient)
{
    double value = NAN;
    ASSERT_OK(mio_loss_compute_f64(loss, PAIRS, DIM, rows, rows + HALF, &value, gradient, gradient + HALF));
    return value;
}

START_TEST(test_rotation)
{
    mio_context *context = support_context(1);
    mio_loss *loss = make(context, names[_i]);
    support_views(PAIRS, DIM, z, z + HALF, 1);
    const double value = compute(loss, z, grad);
    /* A rotation in planes of neighbouring values, applied to rows and to the expected gradient. */
    memcpy(changed, z, sizeof z);
    for (size_t row = 0; row < 2 * PAIRS; row++)
        for (size_t k = 0; k + 1 < DIM; k++)
            for (int part = 0; part < 2; part++) {
                double *x = (part ? grad : changed) + row * DIM + k, c = cos(0.3 + (double)k), s = sin(0.3 + (double)k);
                const double first = c * x[0] - s * x[1], second = s * x[0] + c * x[1];
                x[0] = first, x[1] = second;
            }
    ck_assert_double_eq_tol(compute(loss, changed, changed_grad), value, 1e-13);
    ck_assert_double_le(support_distance(COUNT, changed_grad, grad), 1e-12);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

START_TEST(test_permutation_and_swap)
{
    mio_context *context = support_context(1);
    mio_loss *loss = make(context, names[_i]);
    support_views(PAIRS, DIM, z, z + HALF, 2);
    const double value = compute(loss, z, grad);
    double expected[COUNT];
    int32_t labels[PAIRS];
    for (size_t b = 0; b < PAIRS; b++)
        for (size_t v = 0; v < 2; v++) {
            const size_t from = v * HALF + b * DIM, to = (1 - v) * HALF + (b * 10 + 3) % PAIRS * DIM;
            memcpy(changed + to, z + from, DIM * sizeof *z);
            memcpy(expected + to, grad + from, DIM * sizeof *z);
            labels[(b * 10 + 3) % PAIRS] = (int32_t)(b * b % 5 % 3);
        }
    if (!strcmp(names[_i], "schane"))
        ASSERT_OK(mio_loss_set_batch(loss, PAIRS, labels, NULL));
    ck_assert_double_eq_tol(compute(loss, changed, changed_grad), value, 1e-13);
    ck_assert_double_le(support_distance(COUNT, changed_grad, expected), 1e-12);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* Each row scaled by its own factor: the value stays, its gradient is divided by it; gradients stand on their rows. */
START_TEST(test_row_scale_and_orthogonality)
{
    mio_context *context = support_context(1);
    mio_loss *loss = make(context, names[_i]);
    support_views(PAIRS, DIM, z, z + HALF, 3);
    const double value = compute(loss, z, grad);
    for (size_t row = 0; row < 2 * PAIRS; row++)
        for (size_t k = 0; k < DIM; k++) {
            const double factor = pow(10, (double)row - 30);
            changed[row * DIM + k] = factor * z[row * DIM + k];
        }
    ck_assert_double_eq_tol(compute(loss, changed, changed_grad), value, 1e-13);
    for (size_t row = 0; row < 2 * PAIRS; row++) {
        double along = 0;
        for (size_t k = 0; k < DIM; k++) {
            changed_grad[row * DIM + k] *= pow(10, (double)row - 30);
            along += grad[row * DIM + k] * z[row * DIM + k];
        }
        const double size = support_norm(DIM, grad + row * DIM) * support_norm(DIM, z + row * DIM);
        ck_assert_double_le(fabs(along), 1e-12 * size);
    }
    ck_assert_double_le(support_distance(COUNT, changed_grad, grad), 1e-12);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

START_TEST(test_mean_square_identity)
{
    mio_context *context = support_context(1);
    static const support_setting without[] = {{"l2_weight", 0}, {NULL, 0}};
    mio_loss *plain = support_loss(context, "mio", without), *full = support_loss(context, "mio", NULL);
    support_views(PAIRS, DIM, z, z + HALF, 4);
    double square = 0;
    for (size_t b = 0; b < PAIRS; b++) {
        const double *x = z + b * DIM, *y = x + HALF;
        const double nx = support_norm(DIM, x), ny = support_norm(DIM, y);
        for (size_t k = 0; k < DIM; k++)
            square += (x[k] / nx - y[k] / ny) * (x[k] / nx - y[k] / ny) / HALF;
    }
    ck_assert_double_eq_tol(compute(full, z, grad) - compute(plain, z, grad), square, 1e-14);
    mio_loss_release(plain);
    mio_loss_release(full);
    mio_context_release(context);
}
END_TEST

START_TEST(test_value_identities)
{
    mio_context *context = support_context(1);
    static const support_setting cool[] = {{"temperature", 0.2}, {NULL, 0}};
    static const support_setting supcon_cool[] = {{"temperature", 0.2}, {"base_temperature", 0.2}, {NULL, 0}};
    static const support_setting hcl_cool[] = {{"temperature", 0.2}, {"beta", 0}, {"positive_prior", 0}, {NULL, 0}};
    mio_loss *nt_xent = support_loss(context, "nt_xent", cool), *supcon = support_loss(context, "supcon", supcon_cool);
    mio_loss *hcl = support_loss(context, "hcl", hcl_cool), *mio = support_loss(context, "mio", NULL);
    support_views(PAIRS, DIM, z, z + HALF, 6);
    const double value = compute(nt_xent, z, grad);
    ck_assert_double_eq_tol(compute(supcon, z, changed_grad), value, 1e-13);
    ck_assert_double_le(support_distance(COUNT, changed_grad, grad), 1e-13);
    ck_assert_double_eq_tol(compute(hcl, z, changed_grad), value, 1e-13);
    ck_assert_double_le(support_distance(COUNT, changed_grad, grad), 1e-13);
    /* All similarities 0: mio is 2 ln 2 beside its mean square, 2 / dim; nt_xent is ln(2B - 1). */
    double rows[4 * 8] = {0};
    for (size_t i = 0; i < 4; i++)
        rows[i * 8 + i] = 3;
    double found;
    ASSERT_OK(mio_loss_compute_f64(mio, 2, 8, rows, rows + 16, &found, NULL, NULL));
    ck_assert_double_eq_tol(found, 2 * log(2) + 2.0 / 8, 1e-15);
    ASSERT_OK(mio_loss_compute_f64(nt_xent, 2, 8, rows, rows + 16, &found, NULL, NULL));
    ck_assert_double_eq_tol(found, log(3), 1e-15);
    mio_loss_release(nt_xent), mio_loss_release(supcon), mio_loss_release(hcl), mio_loss_release(mio);
    mio_context_release(context);
}
END_TEST

static void check_finite(size_t count, const float *x)
{
    for (size_t i = 0; i < count; i++)
        ck_assert(isfinite(x[i]));
}

/* Float rows from the smallest to the largest magnitudes: the same value, gradients scaled or saturated. */
START_TEST(test_extreme_scales)
{
    static const double scales[] = {1e-44, 1e-38, 1e-20, 1e18, 1e37};
    static float narrow[COUNT], narrow_grad[COUNT];
    mio_context *context = support_context(1);
    mio_loss *loss = make(context, names[_i]);
    support_views(PAIRS, DIM, z, z + HALF, 7);
    const double value = compute(loss, z, grad);
    for (size_t c = 0; c < sizeof scales / sizeof *scales; c++) {
        double found;
        for (size_t i = 0; i < COUNT; i++)
            narrow[i] = (float)(z[i] * scales[c]);
        ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, narrow, narrow + HALF, &found, narrow_grad, narrow_grad + HALF));
        check_finite(COUNT, narrow_grad);
        ck_assert(isfinite(found));
        if (scales[c] >= 1e-20) {
            ck_assert_double_eq_tol(found, value, 2e-6 * fmax(1, fabs(value)));
        } else {
            int saturated = 0;
            for (size_t i = 0; i < COUNT; i++)
                saturated |= fabsf(narrow_grad[i]) == FLT_MAX;
            ck_assert_int_eq(saturated, scales[c] < 1e-40);
        }
    }
    static const double wide_scales[] = {1e-300, 1e300, 1e-320};
    for (size_t c = 0; c < 3; c++) {
        for (size_t i = 0; i < COUNT; i++)
            changed[i] = z[i] * wide_scales[c];
        ck_assert_double_eq_tol(compute(loss, changed, changed_grad), value, c < 2 ? 1e-12 : 1e-2);
        for (size_t i = 0; i < COUNT; i++)
            ck_assert(isfinite(changed_grad[i]));
    }
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* Temperatures down to the end of the number range keep all finite, and float calls follow double ones. */
START_TEST(test_sharp_temperatures)
{
    static const double temperatures[] = {0.049, 1e-3, 1e-6, 1e-30};
    static float narrow[COUNT], narrow_grad[COUNT];
    mio_context *context = support_context(1);
    mio_loss *loss = make(context, names[_i]);
    support_views(PAIRS, DIM, z, z + HALF, 8);
    support_narrow(COUNT, z, narrow);
    for (size_t c = 0; c < sizeof temperatures / sizeof *temperatures; c++) {
        mio_parameter_info info = {.struct_size = sizeof info};
        for (size_t i = 0; i < mio_loss_parameter_count(loss); i++) {
            ASSERT_OK(mio_loss_parameter(loss, i, &info));
            if (strstr(info.name, "temperature"))
                ASSERT_OK(mio_loss_set(loss, info.name, temperatures[c]));
            else if (!strcmp(info.name, "log_scale"))
                ASSERT_OK(mio_loss_set(loss, info.name, -log(temperatures[c])));
        }
        double found;
        const double value = compute(loss, z, grad);
        ck_assert(isfinite(value));
        for (size_t i = 0; i < COUNT; i++)
            ck_assert(isfinite(grad[i]));
        ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, narrow, narrow + HALF, &found, narrow_grad, narrow_grad + HALF));
        ck_assert_double_eq_tol(found, value, 1e-12 * fabs(value));
        check_finite(COUNT, narrow_grad);
        support_widen(COUNT, narrow_grad, changed_grad);
        ck_assert_double_le(support_distance(COUNT, changed_grad, grad), 1e-7);
    }
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

START_TEST(test_equal_and_zero_rows)
{
    static float narrow[COUNT], narrow_grad[COUNT];
    mio_context *context = support_context(1);
    mio_loss *loss = make(context, names[_i]);
    double value, positive, negative;
    size_t zeros = 99;
    for (size_t i = 0; i < COUNT; i++)
        narrow[i] = (float)(i % DIM) - 4;
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, narrow, narrow + HALF, &value, narrow_grad, narrow_grad + HALF));
    ck_assert(isfinite(value));
    for (size_t i = 0; i < COUNT; i++)
        ck_assert(fabsf(narrow_grad[i]) < 1e-6f);
    ASSERT_OK(mio_loss_zero_rows(loss, &zeros));
    ck_assert_uint_eq(zeros, 0);
    ASSERT_OK(mio__loss_similarities(loss, &positive, &negative));
    ck_assert_double_eq_tol(positive, 1, 1e-12);
    ck_assert_double_eq_tol(negative, 1, 1e-12);

    support_views(PAIRS, DIM, z, z + HALF, 9);
    memset(z + 5 * DIM, 0, DIM * sizeof *z);
    memset(z + HALF + 5 * DIM, 0, DIM * sizeof *z);
    memset(z + HALF + 8 * DIM, 0, DIM * sizeof *z);
    support_narrow(COUNT, z, narrow);
    const double exact = compute(loss, z, grad);
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, narrow, narrow + HALF, &value, narrow_grad, narrow_grad + HALF));
    ck_assert_double_eq_tol(value, exact, 2e-6 * fmax(1, fabs(exact)));
    ASSERT_OK(mio_loss_zero_rows(loss, &zeros));
    ck_assert_uint_eq(zeros, 3);
    check_finite(COUNT, narrow_grad);
    for (size_t k = 0; k < DIM; k++) {
        ck_assert(narrow_grad[5 * DIM + k] == 0 && narrow_grad[HALF + 5 * DIM + k] == 0);
        ck_assert(narrow_grad[HALF + 8 * DIM + k] == 0 && grad[HALF + 8 * DIM + k] == 0);
    }
    memset(narrow, 0, sizeof narrow);
    ASSERT_OK(mio_loss_compute(loss, PAIRS, DIM, narrow, narrow + HALF, &value, narrow_grad, narrow_grad + HALF));
    ck_assert(isfinite(value));
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* The mean square of zero rows is the definition's: a pair of a zero row and a unit row is at squared distance 1. */
START_TEST(test_mean_square_of_zero_rows)
{
    mio_context *context = support_context(1);
    static const support_setting without[] = {{"l2_weight", 0}, {NULL, 0}};
    mio_loss *plain = support_loss(context, "mio", without), *full = support_loss(context, "mio", NULL);
    const double rows[8] = {0, 0, 1, 0, 2, 0, 0, 3}; /* pairs: (0, e0), (e0, e1) */
    double with, alone;
    ASSERT_OK(mio_loss_compute_f64(full, 2, 2, rows, rows + 4, &with, NULL, NULL));
    ASSERT_OK(mio_loss_compute_f64(plain, 2, 2, rows, rows + 4, &alone, NULL, NULL));
    ck_assert_double_eq_tol(with - alone, (1 + 2) / 4.0, 1e-15);
    mio_loss_release(plain);
    mio_loss_release(full);
    mio_context_release(context);
}
END_TEST

START_TEST(test_similarities)
{
    mio_context *context = support_context(3);
    mio_loss *loss = support_loss(context, "mio", NULL);
    double positive = 0, negative = 0, found_positive, found_negative;
    ck_assert_int_eq(mio__loss_similarities(loss, &found_positive, &found_negative), MIO_ERROR_STATE);
    support_views(PAIRS, DIM, z, z + HALF, 10);
    for (size_t i = 0; i < 2 * PAIRS; i++)
        for (size_t j = 0; j < 2 * PAIRS; j++) {
            double s = 0;
            for (size_t k = 0; k < DIM; k++)
                s += z[i * DIM + k] * z[j * DIM + k];
            s /= support_norm(DIM, z + i * DIM) * support_norm(DIM, z + j * DIM);
            if (j == (i + PAIRS) % (2 * PAIRS))
                positive += s / (2 * PAIRS);
            else if (i != j)
                negative += s / (2 * PAIRS) / (2 * PAIRS - 2);
        }
    compute(loss, z, grad);
    ASSERT_OK(mio__loss_similarities(loss, &found_positive, &found_negative));
    ck_assert_double_eq_tol(found_positive, positive, 1e-13);
    ck_assert_double_eq_tol(found_negative, negative, 1e-13);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("properties");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_rotation, 0, NAMES);
    tcase_add_loop_test(tests, test_permutation_and_swap, 0, NAMES);
    tcase_add_loop_test(tests, test_row_scale_and_orthogonality, 0, NAMES);
    tcase_add_test(tests, test_mean_square_identity);
    tcase_add_test(tests, test_value_identities);
    tcase_add_loop_test(tests, test_extreme_scales, 0, NAMES);
    tcase_add_loop_test(tests, test_sharp_temperatures, 0, NAMES);
    tcase_add_loop_test(tests, test_equal_and_zero_rows, 0, NAMES);
    tcase_add_test(tests, test_mean_square_of_zero_rows);
    tcase_add_test(tests, test_similarities);
    return support_run("loss/properties", tests);
}
