#include "../golden/golden.h"
#include "evaluate/lbfgs.h"
#include "evaluate/probe.h"
#include "evaluate/rows.h"

#include <check.h>
#include <stdio.h>

enum { STREAM = 0xc00000 };

static mio_context *context;

static void setup(void)
{
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
}

static void teardown(void)
{
    mio_context_release(context);
}

/* Rows that carry their label (r mod classes) in one column each, under noise of the given size. */
static void make_rows(size_t stream, size_t count, size_t dim, size_t classes, double noise, float *features,
                      int32_t *labels)
{
    for (size_t r = 0; r < count; r++) {
        labels[r] = (int32_t)(r % classes);
        for (size_t d = 0; d < dim; d++)
            features[r * dim + d] = (float)(noise * golden_signed(STREAM + stream, r * dim + d) + (d == r % classes));
    }
}

START_TEST(gradient_agrees_with_finite_differences)
{
    enum { ROWS = 150, DIM = 7, CLASSES = 5, SIZE = (DIM + 1) * CLASSES };
    float features[ROWS * DIM];
    int32_t labels[ROWS];
    make_rows(1, ROWS, DIM, CLASSES, 1, features, labels);
    const mio__samples samples = {ROWS, features, labels};
    const mio__scaling none = {NULL, NULL};
    mio__regression *regression;
    ck_assert_int_eq(mio__regression_create(context, &none, &samples, DIM, CLASSES, &regression), MIO_OK);
    mio__regression_set_penalty(regression, 0.01);
    double weights[SIZE], gradient[SIZE], spare[SIZE], error = 0, norm = 0;
    for (size_t i = 0; i < SIZE; i++)
        weights[i] = golden_signed(STREAM + 2, i);
    mio__regression_value(regression, weights, gradient);
    for (size_t i = 0; i < SIZE; i++) {
        const double step = 1.0 / 64, at = weights[i];
        weights[i] = at + step;
        const double above = mio__regression_value(regression, weights, spare);
        weights[i] = at - step;
        const double below = mio__regression_value(regression, weights, spare);
        weights[i] = at;
        error += pow((above - below) / (2 * step) - gradient[i], 2);
        norm += gradient[i] * gradient[i];
    }
    ck_assert_double_le(sqrt(error / norm), 1e-4); /* the third derivative's share at this step; logits are float */
    mio__regression_free(regression);
}
END_TEST

/* The optimum in double by plain gradient descent's fixed point: the largest entry of the gradient at given weights. */
static double plain_gradient(size_t count, size_t dim, size_t classes, const double *x, const int32_t *labels,
                             double penalty, const double *weights)
{
    double gradient[256] = {0}, logits[8], most = 0;
    for (size_t r = 0; r < count; r++) {
        double sum = 0;
        for (size_t c = 0; c < classes; c++) {
            logits[c] = weights[dim * classes + c];
            for (size_t d = 0; d < dim; d++)
                logits[c] += x[r * dim + d] * weights[d * classes + c];
            sum += exp(logits[c]);
        }
        for (size_t c = 0; c < classes; c++) {
            const double p = exp(logits[c]) / sum - ((size_t)labels[r] == c);
            for (size_t d = 0; d < dim; d++)
                gradient[d * classes + c] += p * x[r * dim + d] / (double)count;
            gradient[dim * classes + c] += p / (double)count;
        }
    }
    for (size_t i = 0; i < (dim + 1) * classes; i++) {
        gradient[i] += i < dim * classes ? 2 * penalty * weights[i] : 0;
        most = fmax(most, fabs(gradient[i]));
    }
    return most;
}

/* Recovers weights and biases (on standardised features) of a fitted probe. */
static void take_weights(const mio_probe *probe, double *weights)
{
    const mio__linear *linear = &probe->linear;
    for (size_t d = 0; d < linear->dim; d++)
        for (size_t c = 0; c < linear->classes; c++)
            weights[d * linear->classes + c] = linear->weights[d * linear->width + c];
    for (size_t c = 0; c < linear->classes; c++)
        weights[linear->dim * linear->classes + c] = linear->bias[c];
}

START_TEST(gradient_vanishes_at_the_solution)
{
    enum { ROWS = 200, DIM = 6, CLASSES = 4 };
    const double noise = _i ? 0.2 : 2; /* separable, and not */
    float features[ROWS * DIM];
    int32_t labels[ROWS], predictions[ROWS];
    double mean[DIM], deviation[DIM], x[ROWS * DIM], weights[(DIM + 1) * CLASSES], accuracy;
    make_rows(3, ROWS, DIM, CLASSES, noise, features, labels);
    mio_probe *probe;
    ck_assert_int_eq(mio_probe_create(context, "exact", &probe), MIO_OK);
    ck_assert_int_eq(mio_probe_fit(probe, ROWS, DIM, features, labels, CLASSES), MIO_OK);
    mio__rows_statistics(context, ROWS, DIM, features, mean, deviation);
    for (size_t i = 0; i < ROWS * DIM; i++)
        x[i] = (features[i] - mean[i % DIM]) / deviation[i % DIM];
    take_weights(probe, weights);
    ck_assert_double_le(plain_gradient(ROWS, DIM, CLASSES, x, labels, 1e-4, weights), 2e-5);
    ck_assert_int_eq(mio_probe_predict(probe, ROWS, DIM, features, predictions, NULL), MIO_OK);
    ck_assert_int_eq(mio_evaluate_accuracy(ROWS, labels, predictions, &accuracy), MIO_OK);
    if (_i)
        ck_assert_double_eq(accuracy, 1);
    else
        ck_assert(accuracy > 0.4 && accuracy < 1);
    mio_probe_release(probe);
}
END_TEST

START_TEST(optimum_is_scikit_learns)
{
    enum { ROWS = 90, DIM = 6, CLASSES = 3, SIZE = DIM * CLASSES };
    static const char *const penalties[] = {"0.1", "0.01", "0.0001"};
    char path[4096], name[64];
    golden_file golden;
    snprintf(path, sizeof path, "%s/probe.txt", getenv("MIO_GOLDEN"));
    ck_assert_int_eq(golden_open(&golden, path), 0);
    float features[ROWS * DIM];
    int32_t labels[ROWS];
    for (size_t r = 0; r < ROWS; r++)
        for (size_t d = 0; d < DIM; d++) {
            labels[r] = (int32_t)(r % CLASSES);
            features[r * DIM + d] = (float)(golden_signed(STREAM, r * DIM + d) * (double)(d + 1) +
                                            1.5 * (d == r % CLASSES) + 10.0 * (double)d);
        }
    for (size_t p = 0; p < 3; p++) {
        mio_probe *probe;
        double weights[SIZE + CLASSES], mean_bias = 0, error = 0, norm = 0;
        ck_assert_int_eq(mio_probe_create(context, "exact", &probe), MIO_OK);
        ck_assert_int_eq(mio_probe_set_text(probe, "penalty", penalties[p]), MIO_OK);
        ck_assert_int_eq(mio_probe_fit(probe, ROWS, DIM, features, labels, CLASSES), MIO_OK);
        take_weights(probe, weights);
        snprintf(name, sizeof name, "penalty%s/weights", penalties[p]);
        const double *expected = golden_find(&golden, name, SIZE);
        ck_assert_ptr_nonnull(expected);
        for (size_t d = 0; d < DIM; d++)
            for (size_t c = 0; c < CLASSES; c++) {
                error += pow(weights[d * CLASSES + c] - expected[c * DIM + d], 2);
                norm += pow(expected[c * DIM + d], 2);
            }
        ck_assert_double_le(sqrt(error / norm), 1e-3);
        snprintf(name, sizeof name, "penalty%s/bias", penalties[p]);
        expected = golden_find(&golden, name, CLASSES);
        ck_assert_ptr_nonnull(expected);
        for (size_t c = 0; c < CLASSES; c++)
            mean_bias += weights[SIZE + c] / CLASSES;
        for (size_t c = 0; c < CLASSES; c++)
            ck_assert_double_eq_tol(weights[SIZE + c] - mean_bias, expected[c], 1e-3);
        mio_probe_release(probe);
    }
    golden_close(&golden);
}
END_TEST

/* Rosenbrock's valley in ten dimensions, with its minimum 0 at (1, ..., 1). */
static double valley(void *user, const double *x, double *gradient)
{
    const size_t count = *(const size_t *)user;
    double value = 0;
    for (size_t i = 0; i < count; i++)
        gradient[i] = 0;
    for (size_t i = 0; i + 1 < count; i++) {
        const double bend = x[i + 1] - x[i] * x[i], off = 1 - x[i];
        value += 100 * bend * bend + off * off;
        gradient[i] += -400 * bend * x[i] - 2 * off;
        gradient[i + 1] += 200 * bend;
    }
    return value;
}

START_TEST(lbfgs_finds_the_end_of_the_valley)
{
    size_t count = 10;
    double x[10];
    mio__minimum minimum;
    for (size_t i = 0; i < count; i++)
        x[i] = i % 2 ? 1 : -1.2;
    ck_assert_int_eq(mio__lbfgs(context, count, x, valley, &count, 500, 1e-9, &minimum), MIO_OK);
    ck_assert_double_le(minimum.largest_gradient, 1e-9);
    ck_assert_uint_lt(minimum.evaluations, 200);
    for (size_t i = 0; i < count; i++)
        ck_assert_double_eq_tol(x[i], 1, 1e-8);
}
END_TEST

START_TEST(validation_chooses_the_penalty)
{
    enum { ROWS = 40, HELD = 400, DIM = 30, CLASSES = 2 };
    static float features[ROWS * DIM], held[HELD * DIM], logits[HELD * CLASSES];
    int32_t labels[ROWS], held_labels[HELD], predictions[HELD];
    make_rows(5, ROWS, DIM, CLASSES, 3, features, labels);
    make_rows(6, HELD, DIM, CLASSES, 3, held, held_labels);
    mio_probe *probe;
    double losses[2];
    ck_assert_int_eq(mio_probe_create(context, "exact", &probe), MIO_OK);
    for (int chosen = 0; chosen < 2; chosen++) {
        ck_assert_int_eq(mio_probe_set(probe, "penalty", chosen ? 0 : 1e-6), MIO_OK);
        ck_assert_int_eq(mio_probe_fit_validated(probe, ROWS, DIM, features, labels, CLASSES, HELD, held, held_labels),
                         MIO_OK);
        ck_assert_int_eq(mio_probe_predict(probe, HELD, DIM, held, predictions, logits), MIO_OK);
        losses[chosen] = 0;
        for (size_t r = 0; r < HELD; r++)
            losses[chosen] +=
                log1p(exp(logits[r * 2 + (size_t)!held_labels[r]] - logits[r * 2 + (size_t)held_labels[r]]));
    }
    ck_assert_double_lt(losses[1], 0.5 * losses[0]);
    ck_assert_int_eq(mio_probe_fit(probe, ROWS, DIM, features, labels, CLASSES), MIO_ERROR_STATE);
    mio_probe_release(probe);
}
END_TEST

START_TEST(threads_do_not_matter)
{
    enum { ROWS = 3000, DIM = 20, CLASSES = 10 };
    static float features[ROWS * DIM], logits[2][ROWS * CLASSES];
    static int32_t labels[ROWS], predictions[ROWS];
    make_rows(7, ROWS, DIM, CLASSES, 2, features, labels);
    mio_probe *probe;
    ck_assert_int_eq(mio_probe_create(context, _i ? "sgd" : "exact", &probe), MIO_OK);
    if (_i)
        ck_assert_int_eq(mio_probe_set(probe, "epochs", 3), MIO_OK);
    for (int run = 0; run < 3; run++) {
        mio_context_set(context, "threads", run == 0 ? 1 : run == 1 ? 2 : 5);
        ck_assert_int_eq(mio_probe_fit(probe, ROWS, DIM, features, labels, CLASSES), MIO_OK);
        ck_assert_int_eq(mio_probe_predict(probe, ROWS, DIM, features, predictions, logits[run > 0]), MIO_OK);
        if (run)
            ck_assert_mem_eq(logits[0], logits[1], sizeof logits[0]);
    }
    mio_probe_release(probe);
}
END_TEST

START_TEST(sgd_learns)
{
    enum { ROWS = 600, DIM = 12, CLASSES = 5 };
    static float features[ROWS * DIM];
    int32_t labels[ROWS], predictions[ROWS];
    double accuracy;
    make_rows(8, ROWS, DIM, CLASSES, 0.4, features, labels);
    mio_probe *probe;
    ck_assert_int_eq(mio_probe_create(context, "sgd", &probe), MIO_OK);
    ck_assert_int_eq(mio_probe_fit(probe, ROWS, DIM, features, labels, CLASSES), MIO_OK);
    ck_assert_int_eq(mio_probe_predict(probe, ROWS, DIM, features, predictions, NULL), MIO_OK);
    ck_assert_int_eq(mio_evaluate_accuracy(ROWS, labels, predictions, &accuracy), MIO_OK);
    ck_assert_double_ge(accuracy, 0.99);
    mio_probe_release(probe);
}
END_TEST

/* SGD with momentum in double, from the probe's own start: one epoch in one batch is one gradient step. */
START_TEST(sgd_steps_are_momentum_sgd)
{
    enum { ROWS = 20, DIM = 3, CLASSES = 2, SIZE = (DIM + 1) * CLASSES, EPOCHS = 4 };
    float features[ROWS * DIM];
    int32_t labels[ROWS];
    make_rows(9, ROWS, DIM, CLASSES, 1, features, labels);
    mio_probe *probe;
    double weights[SIZE], found[SIZE], moment[SIZE] = {0}, rate = 0.5;
    ck_assert_int_eq(mio_probe_create(context, "sgd", &probe), MIO_OK);
    mio_probe_set(probe, "validation_fraction", 0);
    mio_probe_set(probe, "batch_size", ROWS);
    mio_probe_set(probe, "epochs", EPOCHS);
    mio_probe_set(probe, "learning_rate", rate);
    ck_assert_int_eq(mio_probe_fit(probe, ROWS, DIM, features, labels, CLASSES), MIO_OK);
    take_weights(probe, found);

    mio__random random;
    mio__linear start;
    mio__random_start(&random, 0, 0, 0, 0, MIO__PURPOSE_PROBE);
    ck_assert_int_eq(mio__linear_init(&start, context, DIM, CLASSES), MIO_OK);
    mio__linear_randomize(&start, &random);
    for (size_t i = 0; i < SIZE; i++)
        weights[i] =
            i < DIM * CLASSES ? start.weights[i / CLASSES * start.width + i % CLASSES] : start.bias[i - DIM * CLASSES];
    mio__linear_free(&start);
    for (int epoch = 0; epoch < EPOCHS; epoch++, rate *= 0.98) {
        double gradient[SIZE] = {0};
        for (size_t r = 0; r < ROWS; r++) {
            double logits[CLASSES], sum = 0;
            for (size_t c = 0; c < CLASSES; c++) {
                logits[c] = weights[DIM * CLASSES + c];
                for (size_t d = 0; d < DIM; d++)
                    logits[c] += features[r * DIM + d] * weights[d * CLASSES + c];
                sum += exp(logits[c]);
            }
            for (size_t c = 0; c < CLASSES; c++) {
                const double p = (exp(logits[c]) / sum - ((size_t)labels[r] == c)) / ROWS;
                for (size_t d = 0; d < DIM; d++)
                    gradient[d * CLASSES + c] += p * features[r * DIM + d];
                gradient[DIM * CLASSES + c] += p;
            }
        }
        for (size_t i = 0; i < SIZE; i++) {
            moment[i] = 0.9 * moment[i] + gradient[i];
            weights[i] -= rate * moment[i];
        }
    }
    for (size_t i = 0; i < SIZE; i++)
        ck_assert_double_eq_tol(found[i], weights[i], 1e-5);
    mio_probe_release(probe);
}
END_TEST

START_TEST(best_epoch_is_kept)
{
    enum { ROWS = 30, HELD = 300, DIM = 40, CLASSES = 2 };
    static float features[ROWS * DIM], held[HELD * DIM], logits[HELD * CLASSES];
    int32_t labels[ROWS], held_labels[HELD], predictions[HELD];
    make_rows(10, ROWS, DIM, CLASSES, 4, features, labels); /* few noisy rows: long training overfits */
    make_rows(11, HELD, DIM, CLASSES, 4, held, held_labels);
    double losses[2];
    for (int validated = 0; validated < 2; validated++) {
        mio_probe *probe;
        ck_assert_int_eq(mio_probe_create(context, "sgd", &probe), MIO_OK);
        mio_probe_set(probe, "validation_fraction", 0);
        ck_assert_int_eq(
            validated ? mio_probe_fit_validated(probe, ROWS, DIM, features, labels, CLASSES, HELD, held, held_labels)
                      : mio_probe_fit(probe, ROWS, DIM, features, labels, CLASSES),
            MIO_OK);
        ck_assert_int_eq(mio_probe_predict(probe, HELD, DIM, held, predictions, logits), MIO_OK);
        losses[validated] = 0;
        for (size_t r = 0; r < HELD; r++)
            losses[validated] +=
                log1p(exp(logits[r * 2 + (size_t)!held_labels[r]] - logits[r * 2 + (size_t)held_labels[r]])) / HELD;
        mio_probe_release(probe);
    }
    ck_assert_double_lt(losses[1], 0.8 * losses[0]);
}
END_TEST

/* Weights that grow without bounds are an error, with a validation set and without, and the fit before them stays. */
START_TEST(divergence_is_an_error)
{
    float rows[64][2];
    int32_t labels[64], before[64], after[64];
    mio_probe *probe;
    for (int i = 0; i < 64; i++) {
        labels[i] = i % 2;
        rows[i][0] = (float)(i % 2 ? 1 : -1), rows[i][1] = (float)i / 64;
    }
    ck_assert_int_eq(mio_probe_create(context, "sgd", &probe), MIO_OK);
    ck_assert_int_eq(mio_probe_set(probe, "batch_size", 2), MIO_OK);
    ck_assert_int_eq(mio_probe_set(probe, "validation_fraction", _i ? 0.2 : 0), MIO_OK);
    ck_assert_int_eq(mio_probe_fit(probe, 64, 2, rows[0], labels, 2), MIO_OK);
    ck_assert_int_eq(mio_probe_predict(probe, 64, 2, rows[0], before, NULL), MIO_OK);
    ck_assert_mem_eq(before, labels, sizeof before);
    ck_assert_int_eq(mio_probe_set(probe, "learning_rate", 1), MIO_OK);
    ck_assert_int_eq(mio_probe_set(probe, "weight_decay", 1e6), MIO_OK);
    ck_assert_int_eq(mio_probe_fit(probe, 64, 2, rows[0], labels, 2), MIO_ERROR_STATE);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "learning_rate"));
    ck_assert_int_eq(mio_probe_predict(probe, 64, 2, rows[0], after, NULL), MIO_OK);
    ck_assert_mem_eq(after, before, sizeof after);
    mio_probe_release(probe);
}
END_TEST

START_TEST(refusals)
{
    const float good[] = {1, 2, 3, 5}, bad[] = {1, 2, INFINITY, 4};
    const int32_t labels[] = {0, 1}, outside[] = {0, 2};
    int32_t predictions[2];
    mio_probe *probe;
    ck_assert_int_eq(mio_probe_create(context, "best", &probe), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "exact, sgd"));
    ck_assert_int_eq(mio_probe_create(context, _i ? "sgd" : "exact", &probe), MIO_OK);
    ck_assert_int_eq(mio_probe_predict(probe, 2, 2, good, predictions, NULL), MIO_ERROR_STATE);
    ck_assert_int_eq(mio_probe_fit(probe, 2, 2, bad, labels, 2), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_probe_fit(probe, 2, 2, good, outside, 2), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_probe_fit(probe, 2, 2, good, NULL, 2), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_probe_fit(probe, 2, 2, good, labels, 0), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_probe_fit(probe, 2, 2, good, labels, 2), MIO_OK);
    ck_assert_int_eq(mio_probe_predict(probe, 1, 4, good, predictions, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_probe_predict(probe, 2, 2, good, predictions, NULL), MIO_OK);
    ck_assert_int_eq(predictions[0] * 2 + predictions[1], 1);
    mio_probe_release(probe);
}
END_TEST

/* A bound that cannot be reached is said to be exclusive. */
START_TEST(bounds_can_be_reached)
{
    mio_probe *probe;
    mio_parameter_info info = {.struct_size = sizeof info};
    ck_assert_int_eq(mio_probe_create(context, _i ? "sgd" : "exact", &probe), MIO_OK);
    for (size_t i = 0; i < mio_probe_parameter_count(probe); i++) {
        ck_assert_int_eq(mio_probe_parameter(probe, i, &info), MIO_OK);
        ck_assert_int_eq(mio_probe_set(probe, info.name, info.maximum),
                         info.maximum_exclusive ? MIO_ERROR_ARGUMENT : MIO_OK);
        ck_assert_int_eq(mio_probe_set(probe, info.name, info.minimum),
                         info.minimum_exclusive ? MIO_ERROR_ARGUMENT : MIO_OK);
    }
    mio_probe_release(probe);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("probe");
    TCase *tests = tcase_create("probe");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, gradient_agrees_with_finite_differences);
    tcase_add_loop_test(tests, gradient_vanishes_at_the_solution, 0, 2);
    tcase_add_test(tests, optimum_is_scikit_learns);
    tcase_add_test(tests, lbfgs_finds_the_end_of_the_valley);
    tcase_add_test(tests, validation_chooses_the_penalty);
    tcase_add_loop_test(tests, threads_do_not_matter, 0, 2);
    tcase_add_test(tests, sgd_learns);
    tcase_add_test(tests, sgd_steps_are_momentum_sgd);
    tcase_add_test(tests, best_epoch_is_kept);
    tcase_add_loop_test(tests, divergence_is_an_error, 0, 2);
    tcase_add_loop_test(tests, refusals, 0, 2);
    tcase_add_loop_test(tests, bounds_can_be_reached, 0, 2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
