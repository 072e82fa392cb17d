/* Values and gradients of published implementations and of automatic differentiation (tests/golden/losses.txt). */
#include "golden/golden.h"
#include "loss/support.h"

#include <stdio.h>

enum { PAIRS_SMALL = 4, DIM_SMALL = 3, PAIRS_WIDE = 9, DIM_WIDE = 17 };

static const struct {
    const char *record, *loss;
    support_setting settings[5];
} cases[] = {
#define MIO_CASE(name, p, n, l)                                                                                        \
    {"mio/" name, "mio", {{"positive_temperature", p}, {"negative_temperature", n}, {"l2_weight", l}}},                \
    {                                                                                                                  \
        "mio/" name "_pooled", "mio",                                                                                  \
        {                                                                                                              \
            {"positive_temperature", p}, {"negative_temperature", n}, {"l2_weight", l}, {"reduction", 1},              \
        }                                                                                                              \
    }
    MIO_CASE("tp0.5_tn0.5_l0", 0.5, 0.5, 0),
    MIO_CASE("tp0.5_tn0.5_l1", 0.5, 0.5, 1),
    MIO_CASE("tp0.3_tn0.7_l1", 0.3, 0.7, 1),
    MIO_CASE("tp0.1_tn0.07_l1", 0.1, 0.07, 1),
    MIO_CASE("tp2_tn0.25_l0.125", 2, 0.25, 0.125),
    MIO_CASE("tp0.02_tn0.01_l3", 0.02, 0.01, 3),
    {"mio/tp0.5_tn0.5_l1", "mio", {{NULL, 0}}}, /* the defaults */
    {"mio_decoupled/tp0.5_tn0.5_l0", "mio_decoupled", {{NULL, 0}}},
    {"mio_decoupled/tp0.5_tn0.5_l1", "mio_decoupled", {{"l2_weight", 1}}},
    {"mio_decoupled/tp0.2_tn0.1_l0.5",
     "mio_decoupled",
     {{"positive_temperature", 0.2}, {"negative_temperature", 0.1}, {"l2_weight", 0.5}}},
    {"nt_xent/t0.5", "nt_xent", {{NULL, 0}}},
    {"nt_xent/t0.1", "nt_xent", {{"temperature", 0.1}}},
    {"supcon/t0.07_base0.07_unlabelled", "supcon", {{NULL, 0}}},
    {"hcl/t0.5_prior0.1_beta1", "hcl", {{NULL, 0}}},
    {"hcl/t0.5_prior0_beta0", "hcl", {{"positive_prior", 0}, {"beta", 0}}},
    {"dcl/t0.1", "dcl", {{NULL, 0}}},
    {"dclw/t0.1_sigma0.5", "dclw", {{NULL, 0}}},
    {"supcon/t0.07_base0.07", "supcon", {{NULL, 0}}},
    {"supcon/t0.1_base0.07", "supcon", {{"temperature", 0.1}}},
    {"supcon/t0.1_base0.1", "supcon", {{"temperature", 0.1}, {"base_temperature", 0.1}}},
    {"schane/t0.5", "schane", {{NULL, 0}}},
    {"schane/t0.5_unlabelled", "schane", {{NULL, 0}}},
    {"nnclr/t0.1", "nnclr", {{NULL, 0}}},
    {"moco/t0.07", "moco", {{NULL, 0}}},
    {"barlow_twins/w0.005", "barlow_twins", {{NULL, 0}}},
    {"vicreg/25_25_1", "vicreg", {{NULL, 0}}},
    {"siglip/t10_b-10", "siglip", {{NULL, 0}}},
    {"byol/sum", "byol", {{NULL, 0}}},
    {"simsiam/half", "simsiam", {{NULL, 0}}},
    {"sogclr/t0.1_step1", "sogclr", {{NULL, 0}}},
};
enum { CASE_COUNT = sizeof cases / sizeof *cases };

static golden_file golden;

static void small_input(double *z1, double *z2)
{
    for (size_t i = 0; i < PAIRS_SMALL; i++)
        for (size_t k = 0; k < DIM_SMALL; k++) {
            const double slope = 0.1 * ((double)i - (double)k);
            z1[i * DIM_SMALL + k] = sin(1 + 1.7 * (double)i + 0.9 * (double)k) + slope;
            z2[i * DIM_SMALL + k] = sin(1.35 + 1.7 * (double)i + 0.9 * (double)k) + slope;
        }
}

static const double *find(const char *input, const char *record, const char *part, size_t count)
{
    char name[160];
    snprintf(name, sizeof name, "%s/%s/%s", input, record, part);
    const double *values = golden_find(&golden, name, count);
    ck_assert_msg(values != NULL, "losses.txt has no record %s", name);
    return values;
}

/* A loss with what it needs beside the rows. */
static mio_loss *make_case(mio_context *context, int index, size_t pairs, size_t dim)
{
    static const int32_t labels[2][PAIRS_WIDE] = {{0, 1, 0, 2}, {0, 1, 2, 0, 1, 2, 0, 1, 2}};
    static const int32_t own[PAIRS_WIDE] = {-1, -1, 7, -3, 2, 1, -1, -1, 0};
    static const size_t indices[PAIRS_WIDE] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    const char *record = cases[index].record;
    const int wide = pairs == PAIRS_WIDE;
    mio_loss *loss = support_loss(context, cases[index].loss, cases[index].settings);
    double queue[6 * DIM_SMALL];
    for (size_t i = 0; i < 6 * DIM_SMALL; i++)
        queue[i] = cos(0.3 + 1.1 * (double)(i / DIM_SMALL) + 0.7 * (double)(i % DIM_SMALL));
    if (strstr(record, "unlabelled"))
        ASSERT_OK(mio_loss_set_batch(loss, pairs, strstr(record, "schane") ? own : NULL, NULL));
    else if (strstr(record, "supcon") || strstr(record, "schane"))
        ASSERT_OK(mio_loss_set_batch(loss, pairs, labels[wide], NULL));
    else if (strstr(record, "sogclr"))
        ASSERT_OK(mio_loss_set_batch(loss, pairs, NULL, indices));
    else if (strstr(record, "moco") || strstr(record, "nnclr"))
        ASSERT_OK(mio_loss_set_queue_f64(loss, wide ? 11 : 6, dim,
                                         wide ? golden_find(&golden, "inputs/wide_queue", 11 * dim) : queue));
    return loss;
}

static void check_case(mio_context *context, int index, const char *input, size_t pairs, size_t dim, const double *z1,
                       const double *z2)
{
    const char *record = cases[index].record;
    const double *value = find(input, record, "value", 1), *gradient = find(input, record, "gradient", 2 * pairs * dim);
    mio_loss *loss = make_case(context, index, pairs, dim);
    double found, grad[2 * PAIRS_WIDE * DIM_WIDE];
    ASSERT_OK(mio_loss_compute_f64(loss, pairs, dim, z1, z2, &found, grad, grad + pairs * dim));
    ck_assert_msg(fabs(found - *value) <= 1e-12 * fmax(1, fabs(*value)), "%s/%s: %.17g instead of %.17g", input, record,
                  found, *value);
    const double error = support_distance(2 * pairs * dim, grad, gradient);
    ck_assert_msg(error <= 1e-12, "%s/%s: gradient in double is off by %g", input, record, error);

    mio_loss_release(loss);
    loss = make_case(context, index, pairs, dim);
    float narrow[2 * PAIRS_WIDE * DIM_WIDE], narrow_grad[2 * PAIRS_WIDE * DIM_WIDE];
    support_narrow(pairs * dim, z1, narrow);
    support_narrow(pairs * dim, z2, narrow + pairs * dim);
    ASSERT_OK(mio_loss_compute(loss, pairs, dim, narrow, narrow + pairs * dim, &found, narrow_grad,
                               narrow_grad + pairs * dim));
    ck_assert_msg(fabs(found - *value) <= 1e-5 * fmax(1, fabs(*value)), "%s/%s: %.9g in float instead of %.9g", input,
                  record, found, *value);
    support_widen(2 * pairs * dim, narrow_grad, grad);
    const double narrow_error = support_distance(2 * pairs * dim, grad, gradient);
    ck_assert_msg(narrow_error <= 1e-5, "%s/%s: gradient in float is off by %g", input, record, narrow_error);
    mio_loss_release(loss);
}

START_TEST(test_golden)
{
    mio_context *context = support_context(2);
    double z1[PAIRS_SMALL * DIM_SMALL], z2[PAIRS_SMALL * DIM_SMALL];
    small_input(z1, z2);
    check_case(context, _i, "small", PAIRS_SMALL, DIM_SMALL, z1, z2);
    const double *wide1 = golden_find(&golden, "inputs/wide_z1", PAIRS_WIDE * DIM_WIDE);
    const double *wide2 = golden_find(&golden, "inputs/wide_z2", PAIRS_WIDE * DIM_WIDE);
    ck_assert(wide1 && wide2);
    check_case(context, _i, "wide", PAIRS_WIDE, DIM_WIDE, wide1, wide2);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    const char *folder = getenv("MIO_GOLDEN");
    char path[1024];
    snprintf(path, sizeof path, "%s/losses.txt", folder ? folder : "tests/golden");
    if (golden_open(&golden, path))
        return 77;
    TCase *tests = tcase_create("golden");
    tcase_add_loop_test(tests, test_golden, 0, CASE_COUNT);
    const int failed = support_run("loss/golden", tests);
    golden_close(&golden);
    return failed;
}
