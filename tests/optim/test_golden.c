/* Five steps of every optimizer, and the schedules, against tests/golden/optimizers.txt. */
#include "golden/golden.h"
#include "loss/support.h"

#include <stdio.h>

enum { TENSORS = 6, COUNT = 53, STEPS = 5 };

static const struct {
    const char *name;
    size_t rank, count;
} tensors[TENSORS] = {{"fc.weight", 2, 24},          {"fc.bias", 1, 4},     {"bn1.weight", 1, 5},
                      {"downsample.1.weight", 1, 5}, {"zero.weight", 2, 9}, {"still.weight", 2, 6}};

static const struct {
    const char *record, *optimizer;
    support_setting settings[7];
} cases[] = {
    {"sgd_m0_wd0", "sgd", {{"momentum", 0}}},
    {"sgd_m0.9_wd0", "sgd", {{NULL, 0}}},
    {"sgd_m0.9_wd0.01", "sgd", {{"weight_decay", 0.01}}},
    {"sgd_nesterov_m0.9_wd0.01", "sgd", {{"weight_decay", 0.01}, {"nesterov", 1}}},
    {"sgd_m0.9_wd0.01_excluded", "sgd", {{"weight_decay", 0.01}, {"exclude_vectors", 1}}},
    {"adamw_b0.9_0.999_eps1e-8_wd0.01", "adamw", {{NULL, 0}}},
    {"adamw_b0.8_0.95_eps1e-3_wd0.1",
     "adamw",
     {{"beta1", 0.8}, {"beta2", 0.95}, {"epsilon", 1e-3}, {"weight_decay", 0.1}}},
    {"adamw_b0.9_0.999_eps1e-8_wd0", "adamw", {{"weight_decay", 0}}},
    {"lars_google_m0.9_wd1e-6_eta0.001", "lars", {{NULL, 0}}},
    {"lars_google_m0.9_wd0.01_eta0.1", "lars", {{"weight_decay", 0.01}, {"trust_coefficient", 0.1}}},
    {"lars_google_nesterov_m0.9_wd0.01_eta0.1",
     "lars",
     {{"weight_decay", 0.01}, {"trust_coefficient", 0.1}, {"nesterov", 1}}},
    {"lars_google_m0.9_wd0.01_eta0.1_compat",
     "lars",
     {{"weight_decay", 0.01}, {"trust_coefficient", 0.1}, {"compat", 1}}},
    {"lars_google_m0.9_wd0_eta0.1", "lars", {{"weight_decay", 0}, {"trust_coefficient", 0.1}}},
    {"lars_fair_m0.9_wd1e-6_eta0.001", "lars", {{"convention", 1}}},
    {"lars_fair_m0.9_wd0.01_eta0.1", "lars", {{"convention", 1}, {"weight_decay", 0.01}, {"trust_coefficient", 0.1}}},
};
enum { CASE_COUNT = sizeof cases / sizeof *cases };

static golden_file golden;

static const double *find(const char *format, const char *name, int step, size_t count)
{
    char record[160];
    snprintf(record, sizeof record, format, name, step);
    const double *values = golden_find(&golden, record, count);
    ck_assert_msg(values != NULL, "optimizers.txt has no record %s", record);
    return values;
}

/* How far weights after `step` moved off the expected ones, relative to how far they moved from the start. */
static double error_of(const char *record, int step, const float *weights, const double *start)
{
    const double *expected = find("%s/step%d", record, step, COUNT);
    double error = 0, move = 0;
    for (size_t i = 0; i < COUNT; i++) {
        error += (weights[i] - expected[i]) * (weights[i] - expected[i]);
        move += (expected[i] - start[i]) * (expected[i] - start[i]);
    }
    return sqrt(error / move);
}

START_TEST(test_steps)
{
    mio_context *context = support_context(2);
    mio_optimizer *optimizer = NULL;
    float weights[COUNT], gradients[COUNT];
    const double *rates = golden_find(&golden, "rates", STEPS), *start = golden_find(&golden, "start", COUNT);
    ck_assert(rates && start);
    support_narrow(COUNT, start, weights);
    ASSERT_OK(mio_optimizer_create(context, cases[_i].optimizer, &optimizer));
    for (const support_setting *s = cases[_i].settings; s->name; s++)
        ASSERT_OK(mio_optimizer_set(optimizer, s->name, s->value));
    for (size_t t = 0, at = 0; t < TENSORS; at += tensors[t++].count)
        ASSERT_OK(mio_optimizer_add_array(optimizer, tensors[t].name, tensors[t].rank, tensors[t].count, weights + at,
                                          gradients + at));
    for (int step = 1; step <= STEPS; step++) {
        support_narrow(COUNT, find("%s%d", "gradient", step, COUNT), gradients);
        ASSERT_OK(mio_optimizer_set(optimizer, "learning_rate", rates[step - 1]));
        ASSERT_OK(mio_optimizer_step(optimizer));
        const double error = error_of(cases[_i].record, step, weights, start);
        ck_assert_msg(error <= 1e-6, "%s, step %d: off by %g of the move", cases[_i].record, step, error);
    }
    mio_optimizer_release(optimizer);
    mio_context_release(context);
}
END_TEST

/* Exclusion by the caller's patterns is the authors' rule when the patterns are theirs. */
START_TEST(test_patterns)
{
    static const char *const patterns[] = {"bn", "bias"};
    mio_context *context = support_context(1);
    mio_optimizer *optimizer = NULL;
    float weights[COUNT], gradients[COUNT];
    const double *start = golden_find(&golden, "start", COUNT);
    support_narrow(COUNT, start, weights);
    support_narrow(COUNT, find("%s%d", "gradient", 1, COUNT), gradients);
    ASSERT_OK(mio_optimizer_create(context, "lars", &optimizer));
    ASSERT_OK(mio_optimizer_set(optimizer, "weight_decay", 0.01));
    ASSERT_OK(mio_optimizer_set(optimizer, "trust_coefficient", 0.1));
    ASSERT_OK(mio_optimizer_set(optimizer, "exclude_vectors", 0));
    ASSERT_OK(mio_optimizer_set(optimizer, "learning_rate", 0.1));
    for (size_t t = 0, at = 0; t < TENSORS; at += tensors[t++].count)
        ASSERT_OK(mio_optimizer_add_array(optimizer, tensors[t].name, tensors[t].rank, tensors[t].count, weights + at,
                                          gradients + at));
    ASSERT_OK(mio_optimizer_set_exclusions(optimizer, 2, patterns));
    ASSERT_OK(mio_optimizer_step(optimizer));
    ck_assert_double_le(error_of("lars_google_m0.9_wd0.01_eta0.1_compat", 1, weights, start), 1e-6);
    mio_optimizer_release(optimizer);
    mio_context_release(context);
}
END_TEST

/* ---- schedules ---- */

static const struct {
    const char *record, *schedule, *unit, *includes;
    support_setting settings[6];
} schedules[] = {
    {"schedule:constant:0.3", "constant", NULL, NULL, {{"learning_rate", 0.3}}},
    {"schedule:step:0.3:30:0.1", "step", "steps", NULL, {{"learning_rate", 0.3}, {"interval", 30}, {"factor", 0.1}}},
    {"schedule:step:0.01:1:0.98", "step", "epochs", NULL, {{"learning_rate", 0.01}, {"interval", 1}, {"factor", 0.98}}},
    {"schedule:warmup_cosine:0.2:0:100:780:0",
     "cosine",
     "steps",
     "start",
     {{"learning_rate", 0.2}, {"start", 0}, {"minimum", 0}, {"warmup", 100}, {"total", 780}}},
    {"schedule:warmup_cosine:0.2:0:100:780:1",
     "cosine",
     "steps",
     "peak",
     {{"learning_rate", 0.2}, {"start", 0}, {"minimum", 0}, {"warmup", 100}, {"total", 780}}},
    {"schedule:warmup_cosine:0.2:0.002:100:780:1",
     "cosine",
     "steps",
     "peak",
     {{"learning_rate", 0.2}, {"start", 0}, {"minimum", 0.002}, {"warmup", 100}, {"total", 780}}},
    {"schedule:warmup_cosine:0.2:0:0:10:1",
     "cosine",
     "steps",
     "peak",
     {{"learning_rate", 0.2}, {"start", 0}, {"minimum", 0}, {"warmup", 0}, {"total", 10}}},
    {"schedule:mio_epochs:1.5:0.0001:0.0001:10:1000", "cosine", NULL, NULL, {{NULL, 0}}}, /* the defaults */
    {"schedule:mio_epochs:1.5:0.0001:0.0001:4:60", "cosine", "epochs", "both", {{"warmup", 4}, {"total", 60}}},
};
enum { SCHEDULE_COUNT = sizeof schedules / sizeof *schedules };

START_TEST(test_schedules)
{
    mio_context *context = support_context(1);
    mio_schedule *schedule = NULL;
    ASSERT_OK(mio_schedule_create(context, schedules[_i].schedule, &schedule));
    for (const support_setting *s = schedules[_i].settings; s->name; s++)
        ASSERT_OK(mio_schedule_set(schedule, s->name, s->value));
    if (schedules[_i].unit)
        ASSERT_OK(mio_schedule_set_text(schedule, "unit", schedules[_i].unit));
    if (schedules[_i].includes)
        ASSERT_OK(mio_schedule_set_text(schedule, "warmup_includes", schedules[_i].includes));
    double unit = 0;
    if (strcmp(schedules[_i].schedule, "constant"))
        ASSERT_OK(mio_schedule_get(schedule, "unit", &unit));
    const golden_record *record = NULL;
    for (size_t i = 0; i < golden.count; i++)
        if (!strcmp(golden.records[i].name, schedules[_i].record))
            record = &golden.records[i];
    ck_assert_ptr_nonnull(record);
    for (size_t i = 0; i + 1 < record->count; i += 2) {
        const uint64_t k = (uint64_t)record->values[i], epoch = 37;
        double rate;
        /* By epochs every step of an epoch has its rate; by steps the length of an epoch does not matter. */
        for (uint64_t within = 0; within < (unit != 0 ? epoch : 1); within += 12) {
            ASSERT_OK(mio_schedule_at(schedule, unit != 0 ? k * epoch + within : k, epoch, &rate));
            ck_assert_double_eq_tol(rate, record->values[i + 1], 1e-15 + 1e-14 * record->values[i + 1]);
        }
    }
    mio_schedule_release(schedule);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    const char *folder = getenv("MIO_GOLDEN");
    char path[1024];
    snprintf(path, sizeof path, "%s/optimizers.txt", folder ? folder : "tests/golden");
    if (golden_open(&golden, path))
        return 77;
    TCase *tests = tcase_create("golden");
    tcase_add_loop_test(tests, test_steps, 0, CASE_COUNT);
    tcase_add_test(tests, test_patterns);
    tcase_add_loop_test(tests, test_schedules, 0, SCHEDULE_COUNT);
    const int failed = support_run("optim/golden", tests);
    golden_close(&golden);
    return failed;
}
