/* Both paths against the definitions written as plain loops over the whole matrix of similarities, at shapes around
   every tile edge; and gradients against finite differences. */
#include "loss/support.h"

static const size_t shapes[][2] = {{2, 1},  {2, 3},   {3, 17},  {5, 130}, {15, 16},  {16, 17},   {17, 3},   {33, 64},
                                   {64, 8}, {65, 33}, {100, 1}, {127, 5}, {128, 32}, {150, 128}, {200, 130}};
enum { SHAPES = sizeof shapes / sizeof *shapes, ROWS = 400 };

/* ---- the definitions ---- */

static size_t positive_of(size_t pairs, size_t i)
{
    return (i + pairs) % (2 * pairs);
}

/* h[i][j] = derivative of the loss by s_ij = s_ji; returns the value. Rows i, j of both views in order. */
static double mio_reference(size_t pairs, size_t dim, const double *s, double *h, double tp, double tn, double l2,
                            int pooled)
{
    const size_t n = 2 * pairs;
    const double all = (double)n * (double)(n - 1), negatives = (double)n * (double)(n - 2);
    double value = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            const double x = s[i * n + j];
            h[i * n + j] = 0;
            if (j == positive_of(pairs, i)) {
                const double weight = 1 / (pooled ? all : (double)n);
                value += weight * log1p(exp(-x / tp)) + l2 * (2 - 2 * x) / (double)(n * dim);
                h[i * n + j] = -2 * weight / tp / (1 + exp(x / tp)) - 4 * l2 / (double)(n * dim);
            } else if (i != j) {
                const double weight = 1 / (pooled ? all : negatives);
                value += weight * log1p(exp(x / tn));
                h[i * n + j] = 2 * weight / tn / (1 + exp(-x / tn));
            }
        }
    return value;
}

/* decoupled 1: dcl, the positive left out of the denominator. */
static double softmax_reference(size_t pairs, const double *s, double *h, double t, int decoupled)
{
    const size_t n = 2 * pairs;
    double value = 0;
    memset(h, 0, n * n * sizeof *h);
    for (size_t i = 0; i < n; i++) {
        const size_t p = positive_of(pairs, i);
        double sum = 0;
        for (size_t j = 0; j < n; j++)
            if (j != i && (!decoupled || j != p))
                sum += exp(s[i * n + j] / t);
        value += (log(sum) - s[i * n + p] / t) / (double)n;
        for (size_t j = 0; j < n; j++) {
            if (j == i)
                continue;
            const double share = !decoupled || j != p ? exp(s[i * n + j] / t) / sum : 0;
            const double g = (share - (j == p)) / t / (double)n;
            h[i * n + j] += g;
            h[j * n + i] += g;
        }
    }
    return value;
}

typedef struct reference {
    double value, before; /* before: norm of the gradient before the projection off the rows' own directions */
    double *gradient;
} reference;

static void unit_rows(size_t n, size_t dim, const double *z1, const double *z2, double *unit, double *norm)
{
    for (size_t i = 0; i < n; i++) {
        const double *z = i < n / 2 ? z1 + i * dim : z2 + (i - n / 2) * dim;
        norm[i] = support_norm(dim, z);
        for (size_t k = 0; k < dim; k++)
            unit[i * dim + k] = norm[i] > 0 ? z[k] / norm[i] : 0;
    }
}

static reference compute_reference(const char *name, size_t pairs, size_t dim, const double *z1, const double *z2)
{
    const size_t n = 2 * pairs;
    reference out = {0, 0, calloc(n * dim, sizeof(double))};
    double *s = calloc(n * n, sizeof *s), *h = calloc(n * n, sizeof *h), *unit = calloc(n * dim, sizeof *unit);
    double norm[ROWS], *g = calloc(dim, sizeof *g);
    ck_assert(out.gradient && s && h && unit && g && n <= ROWS);
    unit_rows(n, dim, z1, z2, unit, norm);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < dim; k++)
                s[i * n + j] += unit[i * dim + k] * unit[j * dim + k];
    if (!strcmp(name, "mio"))
        out.value = mio_reference(pairs, dim, s, h, 0.5, 0.5, 1, 0);
    else if (!strcmp(name, "pooled"))
        out.value = mio_reference(pairs, dim, s, h, 0.3, 0.2, 0.5, 1);
    else
        out.value = softmax_reference(pairs, s, h, 0.1, !strcmp(name, "dcl"));
    for (size_t i = 0; i < n; i++) {
        double along = 0;
        memset(g, 0, dim * sizeof *g);
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < dim; k++)
                g[k] += h[i * n + j] * unit[j * dim + k];
        for (size_t k = 0; k < dim; k++)
            along += g[k] * unit[i * dim + k];
        for (size_t k = 0; k < dim; k++) {
            out.gradient[i * dim + k] = (g[k] - along * unit[i * dim + k]) / norm[i];
            out.before += g[k] * g[k] / norm[i] / norm[i];
        }
    }
    out.before = sqrt(out.before);
    free(s), free(h), free(unit), free(g);
    return out;
}

static const support_setting pooled[] = {
    {"positive_temperature", 0.3}, {"negative_temperature", 0.2}, {"l2_weight", 0.5}, {"reduction", 1}, {NULL, 0}};
static const support_setting sharp[] = {{"temperature", 0.1}, {NULL, 0}};
static const struct {
    const char *name, *loss;
    const support_setting *settings;
} losses[] = {{"mio", "mio", NULL}, {"pooled", "mio", pooled}, {"nt_xent", "nt_xent", sharp}, {"dcl", "dcl", NULL}};

static double error_against(const reference *expected, size_t count, const double *gradient)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (gradient[i] - expected->gradient[i]) * (gradient[i] - expected->gradient[i]);
    return sqrt(sum) / expected->before;
}

START_TEST(test_definition)
{
    const size_t pairs = shapes[_i][0], dim = shapes[_i][1], half = pairs * dim;
    static double z[SUPPORT_LIMIT], grad[SUPPORT_LIMIT];
    static float narrow[SUPPORT_LIMIT], narrow_grad[SUPPORT_LIMIT];
    mio_context *context = support_context(2);
    support_views(pairs, dim, z, z + half, 5);
    support_narrow(2 * half, z, narrow);
    for (size_t l = 0; l < sizeof losses / sizeof *losses; l++) {
        const reference expected = compute_reference(losses[l].name, pairs, dim, z, z + half);
        mio_loss *loss = support_loss(context, losses[l].loss, losses[l].settings);
        double value, narrow_value;
        ASSERT_OK(mio_loss_compute_f64(loss, pairs, dim, z, z + half, &value, grad, grad + half));
        ck_assert_double_eq_tol(value, expected.value, 1e-12 * fmax(1, fabs(expected.value)));
        const double error = error_against(&expected, 2 * half, grad);
        ck_assert_msg(error <= 1e-12, "%s, %zu x %zu: double is off by %g", losses[l].name, pairs, dim, error);
        ASSERT_OK(
            mio_loss_compute(loss, pairs, dim, narrow, narrow + half, &narrow_value, narrow_grad, narrow_grad + half));
        ck_assert_double_eq_tol(narrow_value, expected.value, 3e-7 * fmax(1, fabs(expected.value)));
        support_widen(2 * half, narrow_grad, grad);
        const double narrow_error = error_against(&expected, 2 * half, grad);
        ck_assert_msg(narrow_error <= 1e-6, "%s, %zu x %zu: float is off by %g", losses[l].name, pairs, dim,
                      narrow_error);
        mio_loss_release(loss);
        free(expected.gradient);
    }
    mio_context_release(context);
}
END_TEST

/* Value at z + step x direction. */
static double value_at(mio_loss *loss, size_t pairs, size_t dim, const double *z, const double *direction, double step)
{
    static double moved[SUPPORT_LIMIT];
    double value;
    for (size_t i = 0; i < 2 * pairs * dim; i++)
        moved[i] = z[i] + step * direction[i];
    ASSERT_OK(mio_loss_compute_f64(loss, pairs, dim, moved, moved + pairs * dim, &value, NULL, NULL));
    return value;
}

/* Sixth-order central differences along random directions. Not dclw: its weights are constants to the gradient. */
START_TEST(test_finite_differences)
{
    static const char *const names[] = {"mio", "mio_decoupled", "nt_xent", "supcon", "dcl", "hcl"};
    static const size_t sizes[][2] = {{2, 3}, {7, 5}, {40, 20}, {70, 64}};
    static const double scales[] = {1, 1e-4, 1e6};
    static double z[SUPPORT_LIMIT], grad[SUPPORT_LIMIT], direction[SUPPORT_LIMIT];
    mio_context *context = support_context(1);
    mio_loss *loss = support_loss(context, names[_i], NULL);
    for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c++)
        for (size_t x = 0; x < 3; x++) {
            const size_t pairs = sizes[c][0], dim = sizes[c][1], count = 2 * pairs * dim;
            support_views(pairs, dim, z, z + pairs * dim, 23);
            support_fill(count, direction, 99);
            double along = 0, value;
            for (size_t i = 0; i < count; i++)
                z[i] *= scales[x];
            ASSERT_OK(mio_loss_compute_f64(loss, pairs, dim, z, z + pairs * dim, &value, grad, grad + pairs * dim));
            for (size_t i = 0; i < count; i++)
                along += grad[i] * direction[i];
            static const double stencil[] = {0, 3.0 / 4, -3.0 / 20, 1.0 / 60};
            const double step = 2e-3 * scales[x];
            double difference = 0;
            for (int k = 1; k <= 3; k++)
                difference += stencil[k] * (value_at(loss, pairs, dim, z, direction, k * step) -
                                            value_at(loss, pairs, dim, z, direction, -k * step));
            const double error = fabs(difference / step - along);
            const double size = support_norm(count, grad) * support_norm(count, direction);
            ck_assert_msg(error <= 1e-8 * size, "%s, %zu x %zu, scale %g: off by %g", names[_i], pairs, dim, scales[x],
                          error / size);
        }
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("reference");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_definition, 0, SHAPES);
    tcase_add_loop_test(tests, test_finite_differences, 0, 6);
    return support_run("loss/reference", tests);
}
