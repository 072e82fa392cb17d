/* Hessians by the rows: against differences of gradients, against their own symmetries, and their spectra against a
   dense eigen-solver. */
#include "analysis/lanczos.h"
#include "core/eigenvalues.h"
#include "loss/support.h"
#include "support/allocator.h"

#include <mio/analysis.h>

enum { PAIRS = 21, DIM = 7, HALF = PAIRS * DIM, COUNT = 2 * HALF };

typedef struct sample {
    const char *name;
    int labels, closed; /* closed: by unit vectors, in closed form */
    support_setting settings[4];
} sample;

static const sample samples[] = {
    {"mio", 0, 1, {{NULL, 0}}},
    {"mio", 0, 1, {{"reduction", 1}, {"positive_temperature", 0.2}, {"negative_temperature", 0.7}}},
    {"mio_decoupled", 0, 1, {{"l2_weight", 3}, {"negative_temperature", 0.3}}},
    {"nt_xent", 0, 1, {{NULL, 0}}},
    {"nt_xent", 0, 1, {{"temperature", 0.05}}},
    {"dcl", 0, 1, {{NULL, 0}}},
    {"hcl", 0, 1, {{NULL, 0}}},
    {"hcl", 0, 1, {{"beta", 0}, {"positive_prior", 0.8}}},
    {"hcl", 0, 1, {{"temperature", 0.02}}},
    {"supcon", 0, 1, {{"temperature", 0.3}}},
    {"supcon", 1, 1, {{"temperature", 0.2}, {"base_temperature", 0.1}}},
    {"schane", 1, 1, {{NULL, 0}}},
    {"siglip", 0, 1, {{"bias", -3}}},
    {"barlow_twins", 0, 0, {{NULL, 0}}},
    {"vicreg", 0, 0, {{NULL, 0}}},
    {"cam", 1, 0, {{"classes", 3}}},
    {"prototype", 1, 0, {{"classes", 3}}},
};
enum { SAMPLES = sizeof samples / sizeof *samples };

static double z[COUNT], direction[COUNT], other[COUNT], product[COUNT], second[COUNT], expected[COUNT];

static mio_loss *loss_of(mio_context *context, const sample *s, size_t pairs, size_t dim)
{
    mio_loss *loss = support_loss(context, s->name, s->settings);
    int32_t labels[PAIRS];
    for (size_t b = 0; b < pairs; b++)
        labels[b] = (int32_t)(b * b % 5 % 3);
    if (s->labels)
        ASSERT_OK(mio_loss_set_batch(loss, pairs, labels, NULL));
    support_views(pairs, dim, z, z + pairs * dim, 5);
    support_fill(2 * pairs * dim, direction, 77);
    support_fill(2 * pairs * dim, other, 99);
    return loss;
}

static double dot(size_t count, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Gradient at z + h direction. */
static void gradient_at(mio_loss *loss, double h, double *gradient)
{
    static double moved[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        moved[i] = z[i] + h * direction[i];
    ASSERT_OK(mio_loss_compute_f64(loss, PAIRS, DIM, moved, moved + HALF, NULL, gradient, gradient + HALF));
}

/* Central differences with Richardson's extrapolation: of fourth order. */
static void difference(mio_loss *loss, double h, double *to)
{
    static double at[4][COUNT];
    gradient_at(loss, h, at[0]);
    gradient_at(loss, -h, at[1]);
    gradient_at(loss, 2 * h, at[2]);
    gradient_at(loss, -2 * h, at[3]);
    for (size_t i = 0; i < COUNT; i++)
        to[i] = (8 * (at[0][i] - at[1][i]) - (at[2][i] - at[3][i])) / (12 * h);
}

START_TEST(test_differences)
{
    mio_context *context = support_context(2);
    mio_loss *loss = loss_of(context, &samples[_i], PAIRS, DIM);
    ASSERT_OK(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z + HALF, direction, product));
    difference(loss, 2e-5, expected);
    ck_assert_double_gt(support_norm(COUNT, expected), 0);
    const double distance = support_distance(COUNT, product, expected);
    ck_assert_msg(distance < (samples[_i].closed ? 1e-9 : 1e-8), "%s: %g", samples[_i].name, distance);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

START_TEST(test_symmetry)
{
    mio_context *context = support_context(2);
    mio_loss *loss = loss_of(context, &samples[_i], PAIRS, DIM);
    ASSERT_OK(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z + HALF, direction, product));
    ASSERT_OK(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z + HALF, other, second));
    const double size = support_norm(COUNT, product) * support_norm(COUNT, other);
    const double tolerance = samples[_i].closed ? 1e-14 : 1e-8;
    ck_assert_double_le(fabs(dot(COUNT, other, product) - dot(COUNT, direction, second)), tolerance * size);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* A loss of unit vectors does not change as one row is scaled, and that row's gradient changes as 1 / its length: H z_i
   is minus the gradient of row i, and nothing for the other rows. */
START_TEST(test_scaling_a_row)
{
    mio_context *context = support_context(2);
    mio_loss *loss = loss_of(context, &samples[_i], PAIRS, DIM);
    if (samples[_i].closed) {
        const size_t row = 30;
        memset(direction, 0, sizeof direction);
        memcpy(direction + row * DIM, z + row * DIM, DIM * sizeof *z);
        ASSERT_OK(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z + HALF, direction, product));
        ASSERT_OK(mio_loss_compute_f64(loss, PAIRS, DIM, z, z + HALF, NULL, second, second + HALF));
        memset(expected, 0, sizeof expected);
        for (size_t k = row * DIM; k < (row + 1) * DIM; k++)
            expected[k] = -second[k];
        ck_assert_double_le(support_distance(COUNT, product, expected), 1e-13);
        ck_assert_double_le(fabs(dot(COUNT, z, product)), 1e-15 * support_norm(COUNT, z));
    }
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* ---- spectra ---- */

/* Jacobi's rotations: eigenvalues of a dense symmetric matrix, ascending, and the first components of the vectors. */
static void dense_eigenvalues(size_t n, double *a, double *values, double *first)
{
    for (size_t i = 0; i < n; i++)
        first[i] = i == 0;
    for (size_t sweep = 0; sweep < 60; sweep++)
        for (size_t p = 0; p < n; p++)
            for (size_t q = p + 1; q < n; q++) {
                if (a[p * n + q] == 0)
                    continue;
                const double angle = 0.5 * atan2(2 * a[p * n + q], a[q * n + q] - a[p * n + p]);
                const double c = cos(angle), s = sin(angle), left = first[p], right = first[q];
                for (size_t k = 0; k < n; k++) {
                    const double x = a[k * n + p], y = a[k * n + q];
                    a[k * n + p] = c * x - s * y;
                    a[k * n + q] = s * x + c * y;
                }
                for (size_t k = 0; k < n; k++) {
                    const double x = a[p * n + k], y = a[q * n + k];
                    a[p * n + k] = c * x - s * y;
                    a[q * n + k] = s * x + c * y;
                }
                first[p] = c * left - s * right;
                first[q] = s * left + c * right;
            }
    for (size_t i = 0; i < n; i++)
        values[i] = a[i * n + i];
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++)
            if (values[j] < values[i]) {
                const double value = values[i], component = first[i];
                values[i] = values[j], first[i] = first[j];
                values[j] = value, first[j] = component;
            }
}

enum { FEW = 5, SMALL = 4, SIZE = 2 * FEW * SMALL };

static void dense_hessian(mio_loss *loss, double *matrix)
{
    double one[SIZE];
    for (size_t i = 0; i < SIZE; i++) {
        for (size_t k = 0; k < SIZE; k++)
            one[k] = k == i;
        ASSERT_OK(mio_analysis_hessian_product(loss, FEW, SMALL, z, z + FEW * SMALL, one, matrix + i * SIZE));
    }
}

/* As many steps as there are dimensions find every eigenvalue; fewer the outermost; mean and mean square of the
   spectrum follow from the weights of many probes. */
START_TEST(test_ritz_values)
{
    static const sample few[] = {
        {"mio", 0, 1, {{NULL, 0}}}, {"nt_xent", 0, 1, {{NULL, 0}}}, {"vicreg", 0, 0, {{NULL, 0}}}};
    static double matrix[SIZE * SIZE], dense[SIZE], first[SIZE], values[SIZE], weights[SIZE];
    mio_context *context = support_context(2);
    mio_loss *loss = loss_of(context, &few[_i], FEW, SMALL);
    const double *z2 = z + FEW * SMALL, tolerance = few[_i].closed ? 1e-12 : 1e-7;
    size_t count = 0;
    dense_hessian(loss, matrix);
    dense_eigenvalues(SIZE, matrix, dense, first);
    const double largest = fmax(fabs(dense[0]), fabs(dense[SIZE - 1]));
    ASSERT_OK(mio_analysis_hessian_spectrum(loss, FEW, SMALL, z, z2, SIZE + 9, 0, values, weights, &count));
    /* vicreg's does not see a shift of all rows: those zeros are one eigenvalue, of several dimensions. */
    ck_assert_uint_le(count, SIZE);
    ck_assert_uint_ge(count, few[_i].closed ? SIZE : SIZE - SMALL);
    double sum = 0, mean = 0, dense_mean = 0;
    for (size_t i = 0, j = 0; i < count; i++, j++) {
        while (j < SIZE - 1 && fabs(values[i] - dense[j]) > tolerance * largest)
            j++;
        ck_assert_double_eq_tol(values[i], dense[j], tolerance * largest);
        ck_assert(weights[i] >= 0);
        sum += weights[i];
    }
    for (size_t i = 0; i < SIZE; i++)
        dense_mean += dense[i] / SIZE;
    ck_assert_double_eq_tol(sum, 1, 1e-12);
    ASSERT_OK(mio_analysis_hessian_spectrum(loss, FEW, SMALL, z, z2, 25, 1, values, weights, &count));
    ck_assert_uint_eq(count, 25);
    ck_assert_double_eq_tol(values[0], dense[0], 1e-3 * largest);
    ck_assert_double_eq_tol(values[24], dense[SIZE - 1], 1e-3 * largest);
    for (uint64_t probe = 0; probe < 400; probe++) {
        ASSERT_OK(mio_analysis_hessian_spectrum(loss, FEW, SMALL, z, z2, 3, probe, values, weights, &count));
        for (size_t i = 0; i < count; i++)
            mean += weights[i] * values[i] / 400;
    }
    ck_assert_double_eq_tol(mean, dense_mean, 0.03 * largest);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

START_TEST(test_tridiagonal)
{
    enum { N = 23 };
    static double matrix[N * N], diagonal[N], beside[N], weights[N], dense[N], first[N];
    support_fill(N, diagonal, 4);
    support_fill(N, beside, 8);
    beside[7] = 0, beside[15] = 1e-9;
    for (size_t i = 0; i < N; i++) {
        matrix[i * N + i] = diagonal[i];
        if (i + 1 < N)
            matrix[i * N + i + 1] = matrix[(i + 1) * N + i] = beside[i];
    }
    dense_eigenvalues(N, matrix, dense, first);
    mio__tridiagonal(N, diagonal, beside, weights);
    for (size_t i = 0; i < N; i++) {
        ck_assert_double_eq_tol(diagonal[i], dense[i], 1e-14);
        ck_assert_double_eq_tol(weights[i], first[i] * first[i], 1e-13);
    }
    double one = 3, none = 0, weight = 0;
    mio__tridiagonal(1, &one, &none, &weight);
    ck_assert(one == 3 && weight == 1);
}
END_TEST

/* 5 on one vector, -2 on another, 0 elsewhere: three eigenvalues, and no more. */
static mio_status low_rank(void *argument, const double *from, double *to)
{
    const size_t size = *(const size_t *)argument;
    memset(to, 0, size * sizeof *to);
    to[3] = 5 * from[3];
    to[8] = -2 * from[8];
    return MIO_OK;
}

START_TEST(test_exhausted)
{
    size_t size = 50, count = 0;
    double values[20], weights[20];
    mio_context *context = support_context(1);
    const mio__operator operator= {size, low_rank, &size};
    ASSERT_OK(mio__lanczos(context, &operator, 20, 7, values, weights, &count));
    ck_assert_uint_eq(count, 3);
    ck_assert_double_eq_tol(values[0], -2, 1e-12);
    ck_assert_double_eq_tol(values[1], 0, 1e-12);
    ck_assert_double_eq_tol(values[2], 5, 1e-12);
    mio_context_release(context);
}
END_TEST

START_TEST(test_threads)
{
    enum { ROWS = 150, WIDE = 20 };
    static double z1[ROWS * WIDE], z2[ROWS * WIDE], values[2][30], weights[2][30];
    support_views(ROWS, WIDE, z1, z2, 3);
    for (size_t i = 0; i < 2; i++) {
        size_t count = 0;
        mio_context *context = support_context(i ? 5 : 1);
        mio_loss *loss = support_loss(context, _i ? "nt_xent" : "mio", NULL);
        ASSERT_OK(mio_analysis_hessian_spectrum(loss, ROWS, WIDE, z1, z2, 30, 2, values[i], weights[i], &count));
        ck_assert_uint_eq(count, 30);
        mio_loss_release(loss);
        mio_context_release(context);
    }
    ck_assert_mem_eq(values[0], values[1], sizeof values[0]);
    ck_assert_mem_eq(weights[0], weights[1], sizeof weights[0]);
}
END_TEST

/* A zero row moves nothing; rows of any length are normalised exactly. */
START_TEST(test_strange_rows)
{
    mio_context *context = support_context(2);
    mio_loss *loss = loss_of(context, &samples[_i], PAIRS, DIM);
    memset(z + 4 * DIM, 0, DIM * sizeof *z);
    for (size_t k = 0; k < DIM; k++) {
        z[6 * DIM + k] *= 1e120;
        direction[6 * DIM + k] *= 1e120;
    }
    ASSERT_OK(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z + HALF, direction, product));
    for (size_t k = 0; k < DIM; k++) {
        ck_assert(product[4 * DIM + k] == 0);
        z[6 * DIM + k] *= 1e-120;
        direction[6 * DIM + k] *= 1e-120;
        product[6 * DIM + k] *= 1e120;
    }
    ASSERT_OK(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z + HALF, direction, second));
    ck_assert_double_le(support_distance(COUNT, product, second), 1e-12);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* Of "prototype", whose products are differences: a zero row is held, and a long one does not hide the others. */
START_TEST(test_differences_of_rows)
{
    static const double lengths[] = {1, 1e4, 1e8, 1e-8};
    mio_context *context = support_context(2);
    mio_loss *loss = loss_of(context, &samples[SAMPLES - 1], PAIRS, DIM);
    memset(z + 4 * DIM, 0, DIM * sizeof *z);
    for (size_t n = 0; n < 4; n++) {
        for (size_t k = 0; k < DIM; k++) {
            z[6 * DIM + k] *= lengths[n];
            direction[6 * DIM + k] *= lengths[n];
        }
        ASSERT_OK(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z + HALF, direction, product));
        for (size_t k = 0; k < DIM; k++) {
            ck_assert(product[4 * DIM + k] == 0);
            z[6 * DIM + k] /= lengths[n];
            direction[6 * DIM + k] /= lengths[n];
            product[6 * DIM + k] *= lengths[n];
        }
        if (n == 0)
            memcpy(expected, product, sizeof expected);
        const double distance = support_distance(COUNT, product, expected);
        ck_assert_msg(distance <= 1e-8, "length %g: %g", lengths[n], distance);
    }
    ck_assert_double_lt(support_norm(COUNT, expected), 100);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* Of losses of columns less their means: these do not matter, and a column that hardly varies is no obstacle. */
START_TEST(test_differences_of_columns)
{
    const sample *s = &samples[_i];
    mio_context *context = support_context(2);
    mio_loss *loss = loss_of(context, s, PAIRS, DIM);
    for (size_t row = 0; row < 2 * PAIRS; row++)
        z[row * DIM + 2] *= 1e-3;
    ASSERT_OK(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z + HALF, direction, product));
    difference(loss, 2e-6, expected);
    const double distance = support_distance(COUNT, product, expected);
    ck_assert_msg(distance <= 1e-6, "%s: %g", s->name, distance);
    for (size_t row = 0; row < 2 * PAIRS; row++)
        for (size_t k = 0; k < DIM; k++)
            z[row * DIM + k] += ldexp(1, 8 + (int)(k % 3));
    ASSERT_OK(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z + HALF, direction, second));
    const double apart = support_distance(COUNT, product, second);
    ck_assert_msg(apart <= 2e-5, "%s: %g", s->name, apart); /* an offset takes bits from so small a step */
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* A product is linear: a direction of any length gives the same, times a power of two. */
START_TEST(test_long_directions)
{
    static const int powers[] = {600, -600};
    mio_context *context = support_context(2);
    mio_loss *loss = loss_of(context, &samples[_i], PAIRS, DIM);
    ASSERT_OK(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z + HALF, direction, expected));
    for (size_t p = 0; p < 2; p++) {
        for (size_t i = 0; i < COUNT; i++)
            other[i] = ldexp(direction[i], powers[p]);
        ASSERT_OK(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z + HALF, other, product));
        for (size_t i = 0; i < COUNT; i++)
            ck_assert_msg(product[i] == ldexp(expected[i], powers[p]), "%s: %g of %g", samples[_i].name, product[i],
                          expected[i]);
    }
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* ---- memory and refusals ---- */

START_TEST(test_memory)
{
    enum { MANY = 1024, WIDE = 64, STEPS = 4 };
    static double z1[MANY * WIDE], z2[MANY * WIDE];
    double values[STEPS], weights[STEPS];
    size_t count, bytes;
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_context *context = test_allocator_context(&allocator, 2);
    mio_loss *loss = support_loss(context, "nt_xent", NULL);
    support_views(MANY, WIDE, z1, z2, 4);
    ASSERT_OK(mio_analysis_hessian_spectrum(loss, MANY, WIDE, z1, z2, STEPS, 0, values, weights, &count));
    ASSERT_OK(mio_loss_workspace_bytes(loss, MANY, WIDE, sizeof(double), &bytes));
    const size_t basis = (STEPS + 1) * 2 * MANY * WIDE * sizeof(double);
    ck_assert_uint_le(atomic_load(&allocator.peak), 2 * bytes + basis + 600000);
    ck_assert_uint_lt(atomic_load(&allocator.peak), 2 * MANY * 2 * MANY * sizeof(double)); /* no matrix of pairs */
    mio_loss_release(loss);
    mio_context_release(context);
    ck_assert_uint_eq(atomic_load(&allocator.blocks), 0);
}
END_TEST

START_TEST(test_out_of_memory)
{
    test_allocator allocator;
    test_allocator_init(&allocator);
    mio_status status = MIO_ERROR_MEMORY;
    size_t n = 1;
    for (; status == MIO_ERROR_MEMORY; n++) {
        double values[3], weights[3];
        size_t count;
        test_allocator_fail_at(&allocator, 0);
        mio_context *context = test_allocator_context(&allocator, 1);
        mio_loss *loss = loss_of(context, &samples[_i], PAIRS, DIM);
        test_allocator_fail_at(&allocator, n);
        status = mio_analysis_hessian_spectrum(loss, PAIRS, DIM, z, z + HALF, 3, 0, values, weights, &count);
        mio_loss_release(loss);
        mio_context_release(context);
        ck_assert_uint_eq(atomic_load(&allocator.blocks), 0);
    }
    ck_assert_int_eq(status, MIO_OK);
    ck_assert_uint_gt(n, 5);
}
END_TEST

/* Rows s times as long have a Hessian s^2 times smaller, whatever s. */
START_TEST(test_spectra_at_any_scale)
{
    static const double scales[] = {1e-100, 1e-80, 1e80, 1e100};
    mio_context *context = support_context(1);
    mio_loss *loss = loss_of(context, &samples[3], PAIRS, DIM);
    double values[5], scaled[5], weights[5];
    size_t count = 0, again = 0;
    ASSERT_OK(mio_analysis_hessian_spectrum(loss, PAIRS, DIM, z, z + HALF, 5, 0, values, weights, &count));
    for (size_t i = 0; i < COUNT; i++)
        z[i] *= scales[_i];
    ASSERT_OK(mio_analysis_hessian_spectrum(loss, PAIRS, DIM, z, z + HALF, 5, 0, scaled, weights, &again));
    ck_assert_uint_eq(again, count);
    for (size_t i = 0; i < count; i++)
        ck_assert_double_eq_tol(scaled[i] * scales[_i] * scales[_i], values[i], 1e-9 * fabs(values[count - 1]));
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

START_TEST(test_refusals)
{
    static const char *const constants[] = {"byol", "dclw", "moco", "nnclr", "simsiam", "sogclr"};
    mio_context *context = support_context(1);
    mio_loss *loss = loss_of(context, &samples[0], PAIRS, DIM);
    double value, weight;
    size_t count = 0;
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        mio_loss *unsupported = support_loss(context, constants[i], NULL);
        ASSERT_OK(support_give(unsupported, PAIRS, DIM));
        ck_assert_int_eq(mio_analysis_hessian_product(unsupported, PAIRS, DIM, z, z + HALF, direction, product),
                         MIO_ERROR_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(mio_last_error(), constants[i]));
        mio_loss_release(unsupported);
    }
    ck_assert_int_eq(mio_analysis_hessian_product(NULL, PAIRS, DIM, z, z, direction, product), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_hessian_product(loss, PAIRS, DIM, z, NULL, direction, product), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_hessian_product(loss, 1, DIM, z, z, direction, product), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z, NULL, product), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z, direction, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_hessian_spectrum(loss, PAIRS, DIM, z, z, 0, 0, &value, &weight, &count),
                     MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_hessian_spectrum(loss, PAIRS, DIM, z, z, 1, 0, &value, NULL, &count),
                     MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_hessian_spectrum(loss, PAIRS, DIM, z, z, 1, 1ULL << 32, &value, &weight, &count),
                     MIO_ERROR_ARGUMENT);
    direction[9] = NAN;
    ck_assert_int_eq(mio_analysis_hessian_product(loss, PAIRS, DIM, z, z, direction, product), MIO_ERROR_ARGUMENT);
    z[0] = INFINITY;
    ck_assert_int_eq(mio_analysis_hessian_spectrum(loss, PAIRS, DIM, z, z, 1, 0, &value, &weight, &count),
                     MIO_ERROR_ARGUMENT);
    ck_assert_uint_eq(count, 0);
    mio_loss *schane = support_loss(context, "schane", NULL);
    ck_assert_int_eq(mio_analysis_hessian_product(schane, PAIRS, DIM, z, z, other, product), MIO_ERROR_STATE);
    mio_loss_release(schane);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("hessian");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_differences, 0, SAMPLES);
    tcase_add_loop_test(tests, test_symmetry, 0, SAMPLES);
    tcase_add_loop_test(tests, test_scaling_a_row, 0, SAMPLES);
    tcase_add_loop_test(tests, test_ritz_values, 0, 3);
    tcase_add_test(tests, test_tridiagonal);
    tcase_add_test(tests, test_exhausted);
    tcase_add_loop_test(tests, test_threads, 0, 2);
    tcase_add_loop_test(tests, test_strange_rows, 0, 4);
    tcase_add_loop_test(tests, test_long_directions, 0, SAMPLES);
    tcase_add_test(tests, test_differences_of_rows);
    tcase_add_loop_test(tests, test_differences_of_columns, 13, 15);
    tcase_add_loop_test(tests, test_spectra_at_any_scale, 0, 4);
    tcase_add_test(tests, test_memory);
    tcase_add_loop_test(tests, test_out_of_memory, 10, 14); /* closed forms, and differences */
    tcase_add_test(tests, test_refusals);
    return support_run("analysis/hessian", tests);
}
