#include "../golden/golden.h"
#include "core/eigenvalues.h"
#include "train/monitor.h"

#include <check.h>

enum { STREAM = 0xe00000 };

static mio_context *context;

static void setup(void)
{
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
}

static void teardown(void)
{
    mio_context_release(context);
}

/* ---- eigenvalues ---- */

/* A = Q D Q^T of reflections Q = I - 2 v v^T / |v|^2 has the eigenvalues on D. */
static void check_eigenvalues(size_t n, const double *expected)
{
    double *a = calloc(n * n, sizeof *a), *v = calloc(n, sizeof *v), *found = calloc(n, sizeof *found);
    double *scratch = calloc(mio__eigenvalues_scratch(n), sizeof *scratch), square = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        v[i] = golden_signed(STREAM + 1, i);
        square += v[i] * v[i];
        largest = fmax(largest, fabs(expected[i]));
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < n; k++)
                a[i * n + j] +=
                    ((i == k) - 2 * v[i] * v[k] / square) * expected[k] * ((j == k) - 2 * v[j] * v[k] / square);
    mio__eigenvalues(n, a, scratch, found);
    for (size_t i = 0; i < n; i++)
        ck_assert_double_eq_tol(found[i], expected[i], 1e-13 * (double)n * (largest + 1e-300));
    free(a);
    free(v);
    free(found);
    free(scratch);
}

START_TEST(eigenvalues_are_found)
{
    const double one[] = {-3}, two[] = {-1, 5}, equal[] = {2, 2, 2, 2}, low[] = {0, 0, 0, 0, 7},
                 wide[] = {-1e6, -1, -1e-6, 0, 1e-6, 1e-3, 1, 1e6};
    double many[60], few[60] = {0};
    for (size_t i = 0; i < 60; i++)
        many[i] = (double)i * (double)i / 100 - 3;
    few[57] = 1e-9, few[58] = 2, few[59] = 1e9;
    check_eigenvalues(1, one);
    check_eigenvalues(2, two);
    check_eigenvalues(4, equal);
    check_eigenvalues(5, low);
    check_eigenvalues(8, wide);
    check_eigenvalues(60, many);
    check_eigenvalues(60, few);
}
END_TEST

START_TEST(eigenvalues_of_zeros)
{
    double a[9] = {0}, scratch[9], found[3] = {1, 1, 1};
    mio__eigenvalues(3, a, scratch, found);
    for (size_t i = 0; i < 3; i++)
        ck_assert_double_eq(found[i], 0);
}
END_TEST

/* ---- measures against plain sums ---- */

typedef struct batch {
    size_t pairs, dim;
    float *z[2];
} batch;

static batch make_batch(size_t pairs, size_t dim, double noise)
{
    batch b = {pairs, dim, {malloc(pairs * dim * sizeof(float)), malloc(pairs * dim * sizeof(float))}};
    for (size_t i = 0; i < pairs * dim; i++) {
        b.z[0][i] = (float)(golden_signed(STREAM + 2, i) + 0.2);
        b.z[1][i] = (float)(3 * (b.z[0][i] + noise * golden_signed(STREAM + 3, i)));
    }
    return b;
}

static void free_batch(batch *b)
{
    free(b->z[0]);
    free(b->z[1]);
}

static mio_step_report measure(const batch *b, double positive, double negative)
{
    mio__monitor monitor = {0};
    mio_step_report measures = {0};
    ck_assert_int_eq(mio__monitor_reserve(&monitor, context, b->pairs, b->dim), MIO_OK);
    mio__monitor_measure(&monitor, b->pairs, b->dim, b->z[0], b->z[1], positive, negative, &measures);
    mio__monitor_free(&monitor);
    return measures;
}

static double *unit_rows(const batch *b)
{
    double *units = malloc(2 * b->pairs * b->dim * sizeof *units);
    for (size_t row = 0; row < 2 * b->pairs; row++) {
        const float *z = b->z[row / b->pairs] + row % b->pairs * b->dim;
        double square = 0;
        for (size_t i = 0; i < b->dim; i++)
            square += (double)z[i] * z[i];
        for (size_t i = 0; i < b->dim; i++)
            units[row * b->dim + i] = square > 0 ? z[i] / sqrt(square) : 0;
    }
    return units;
}

static const struct {
    size_t pairs, dim;
    double noise;
} sizes[] = {{2, 1, 1}, {2, 3, 0.5}, {17, 5, 2}, {40, 64, 1}, {9, 130, 0.3}};

START_TEST(measures_are_their_definitions)
{
    batch b = make_batch(sizes[_i].pairs, sizes[_i].dim, sizes[_i].noise);
    const double positive_temperature = 0.4, negative_temperature = 0.7;
    const mio_step_report found = measure(&b, positive_temperature, negative_temperature);
    double *u = unit_rows(&b), positives = 0, negatives = 0, right[2] = {0}, distance = 0, gaussian = 0, js[2] = {0};
    const size_t rows = 2 * b.pairs;
    double negative_count = 0, view_pairs = 0;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < rows; j++) {
            double s = 0, apart = 0;
            for (size_t d = 0; d < b.dim; d++) {
                s += u[i * b.dim + d] * u[j * b.dim + d];
                apart += pow(u[i * b.dim + d] - u[j * b.dim + d], 2);
            }
            if (i != j && i % b.pairs == j % b.pairs) {
                positives += s / (double)rows;
                right[0] += (s > 0) / (double)rows;
                distance += apart / (double)rows;
                js[0] -= log1p(exp(-s / positive_temperature)) / (double)rows;
            } else if (i != j) {
                negatives += s;
                right[1] += s <= 0;
                js[1] -= log1p(exp(s / negative_temperature));
                negative_count++;
            }
            if (i != j && i < b.pairs && j < b.pairs) {
                gaussian += exp(-2 * apart);
                view_pairs++;
            }
        }
    double deviations = 0;
    for (size_t d = 0; d < b.dim; d++) {
        double mean = 0, square = 0;
        for (size_t i = 0; i < b.pairs; i++)
            mean += u[i * b.dim + d] / (double)b.pairs;
        for (size_t i = 0; i < b.pairs; i++)
            square += pow(u[i * b.dim + d] - mean, 2);
        deviations += sqrt(square / (double)(b.pairs - 1)) / (double)b.dim;
    }
    ck_assert_double_eq_tol(found.positive_similarity, positives, 1e-12);
    ck_assert_double_eq_tol(found.negative_similarity, negatives / negative_count, 1e-12);
    ck_assert_double_eq_tol(found.pair_accuracy, (right[0] + right[1] / negative_count) / 2, 1e-12);
    ck_assert_double_eq_tol(found.alignment, distance, 1e-12);
    ck_assert_double_eq_tol(found.uniformity, log(gaussian / view_pairs), 1e-12);
    ck_assert_double_eq_tol(found.channel_deviation, deviations, 1e-12);
    ck_assert_double_eq_tol(found.mutual_information, js[0] + js[1] / negative_count + 2 * log(2), 1e-12);
    free(u);
    free_batch(&b);
}
END_TEST

/* Rows along orthogonal axes, counts[k] of them along axis k: the singular values are the roots of the counts. */
START_TEST(effective_rank_of_known_singular_values)
{
    static const size_t counts[] = {9, 4, 1, 1, 16};
    const int wide = _i; /* more channels than rows, or fewer */
    batch b = make_batch(31, wide ? 50 : 5, 1);
    double total = 0, entropy = 0;
    for (size_t k = 0, row = 0; k < 5; k++)
        for (size_t i = 0; i < counts[k]; i++, row++)
            for (size_t d = 0; d < b.dim; d++)
                b.z[0][row * b.dim + d] = d == k ? (float)(row + 1) : 0;
    for (size_t k = 0; k < 5; k++)
        total += sqrt((double)counts[k]);
    for (size_t k = 0; k < 5; k++)
        entropy -= sqrt((double)counts[k]) / total * log(sqrt((double)counts[k]) / total);
    ck_assert_double_eq_tol(measure(&b, 1, 1).effective_rank, exp(entropy), 1e-5);
    free_batch(&b);
}
END_TEST

START_TEST(collapse_shows)
{
    batch b = make_batch(20, 8, 1);
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; i < 20 * 8; i++)
            b.z[v][i] = (float)(i % 8) + 1;
    const mio_step_report found = measure(&b, 0.5, 0.5);
    ck_assert_double_eq_tol(found.channel_deviation, 0, 1e-12);
    ck_assert_double_eq_tol(found.effective_rank, 1, 1e-5);
    ck_assert_double_eq_tol(found.uniformity, 0, 1e-12);
    ck_assert_double_eq_tol(found.pair_accuracy, 0.5, 1e-12);
    free_batch(&b);
}
END_TEST

START_TEST(rows_of_zeros_stay_finite)
{
    batch b = make_batch(6, 4, 1);
    for (size_t i = 0; i < 6 * 4; i++)
        b.z[0][i] = b.z[1][i] = 0;
    const mio_step_report found = measure(&b, 0.5, 0.5);
    ck_assert_double_eq(found.effective_rank, 0);
    ck_assert_double_eq(found.alignment, 0);
    ck_assert_double_eq_tol(found.mutual_information, 0, 1e-12);
    free_batch(&b);
}
END_TEST

START_TEST(large_batches_are_sampled)
{
    enum { DIM = 3 };
    batch b = make_batch(MIO__MONITOR_PAIRS + 100, DIM, 1);
    const mio_step_report all = measure(&b, 0.5, 0.5);
    batch first = {MIO__MONITOR_PAIRS, DIM, {b.z[0], b.z[1]}};
    const mio_step_report part = measure(&first, 0.5, 0.5);
    ck_assert_mem_eq(&all, &part, sizeof all);
    free_batch(&b);
}
END_TEST

START_TEST(threads_do_not_matter)
{
    batch b = make_batch(100, 40, 1);
    mio_step_report found[3];
    for (int i = 0; i < 3; i++) {
        mio_context_set(context, "threads", i == 0 ? 1 : i == 1 ? 2 : 5);
        found[i] = measure(&b, 0.5, 0.3);
    }
    ck_assert_mem_eq(&found[0], &found[1], sizeof found[0]);
    ck_assert_mem_eq(&found[0], &found[2], sizeof found[0]);
    free_batch(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("monitor");
    TCase *tests = tcase_create("monitor");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, eigenvalues_are_found);
    tcase_add_test(tests, eigenvalues_of_zeros);
    tcase_add_loop_test(tests, measures_are_their_definitions, 0, sizeof sizes / sizeof *sizes);
    tcase_add_loop_test(tests, effective_rank_of_known_singular_values, 0, 2);
    tcase_add_test(tests, collapse_shows);
    tcase_add_test(tests, rows_of_zeros_stay_finite);
    tcase_add_test(tests, large_batches_are_sampled);
    tcase_add_test(tests, threads_do_not_matter);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
