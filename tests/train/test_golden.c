/* Whole steps of the authors' recipe against PyTorch: from stored states, and a free run (tests/golden/README.md). */
#include "core/archive.h"
#include "golden/golden.h"
#include "nn/network.h"
#include "optim/optimizer.h"

#include <check.h>
#include <mio/loss.h>
#include <mio/optim.h>
#include <stdio.h>
#include <unistd.h>

enum { WIDTH = 4, HIDDEN = 16, OUT = 8, SIZE = 12 };

static mio_context *context;
static golden_file golden;
static char scratch_path[64];

static void open_golden(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("MIO_GOLDEN"), name);
    ck_assert_msg(!golden_open(&golden, path), "%s", path);
}

static void setup(void)
{
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    snprintf(scratch_path, sizeof scratch_path, "/tmp/mio-golden-%ld.mio", (long)getpid());
}

static void teardown(void)
{
    remove(scratch_path);
    golden_close(&golden);
    mio_context_release(context);
}

/* ---- a run: ResNet-18 of width 4, its loss, its optimizer ---- */

typedef struct run {
    mio_encoder *encoder;
    mio_loss *loss;
    mio_optimizer *optimizer;
    size_t count;
    float *images, *z, *gradient; /* views x count x ... */
} run;

static run make_run(size_t count)
{
    run r = {.count = count,
             .images = malloc(2 * count * SIZE * SIZE * 3 * sizeof(float)),
             .z = malloc(2 * count * OUT * sizeof(float)),
             .gradient = malloc(2 * count * OUT * sizeof(float))};
    mio_builder *builder;
    ck_assert_int_eq(mio_builder_create(context, 3, SIZE, SIZE, &builder), MIO_OK);
    const mio_node h = mio_builder_resnet(builder, mio_builder_input(builder), 18, WIDTH, MIO_STEM_SMALL_UNPADDED);
    ck_assert_int_eq(mio_builder_finish(builder, h, mio_builder_projector(builder, h, 2, HIDDEN, OUT), &r.encoder),
                     MIO_OK);
    mio_builder_release(builder);
    ck_assert_int_eq(mio_loss_create(context, "mio", &r.loss), MIO_OK);
    ck_assert_int_eq(mio_optimizer_create(context, "lars", &r.optimizer), MIO_OK);
    ck_assert_int_eq(mio_optimizer_add_encoder(r.optimizer, r.encoder), MIO_OK);
    return r;
}

static void free_run(run *r)
{
    free(r->images);
    free(r->z);
    free(r->gradient);
    mio_optimizer_release(r->optimizer);
    mio_loss_release(r->loss);
    mio_encoder_release(r->encoder);
}

/* The formula's start, its weights multiplied by 1 + 1e-7 noise where `noise` is not 0. */
static void start(run *r, size_t noise)
{
    mio_tensor_info info = {.struct_size = sizeof info};
    size_t place = 0;
    for (size_t i = 0; i < mio_encoder_tensor_count(r->encoder); i++) {
        ck_assert_int_eq(mio_encoder_tensor(r->encoder, i, &info), MIO_OK);
        if (!info.trainable)
            continue;
        float *values = malloc(info.count * sizeof *values);
        golden_parameter(place, info.name, info.rank, info.shape, values);
        for (size_t e = 0; noise && e < info.count; e++)
            values[e] = (float)(values[e] * (1 + 1e-7 * golden_signed(GOLDEN_NOISE + 4096 * noise + place, e)));
        ck_assert_int_eq(mio_encoder_set_tensor(r->encoder, info.name, info.count, values), MIO_OK);
        free(values);
        place++;
    }
}

static void take_batch(run *r, size_t batch)
{
    float *next = r->images;
    for (size_t view = 0; view < 2; view++)
        for (size_t i = 0; i < r->count; i++)
            for (size_t y = 0; y < SIZE; y++)
                for (size_t x = 0; x < SIZE; x++)
                    for (size_t c = 0; c < 3; c++)
                        *next++ = golden_pixel(batch, view, 3, SIZE, SIZE, i, c, y, x);
}

static double step(run *r)
{
    double loss;
    const size_t half = r->count * OUT;
    ck_assert_msg(!mio_encoder_forward(r->encoder, 2, r->count, r->images, NULL, r->z), "%s", mio_last_error());
    ck_assert_int_eq(
        mio_loss_compute(r->loss, r->count, OUT, r->z, r->z + half, &loss, r->gradient, r->gradient + half), MIO_OK);
    ck_assert_int_eq(mio_encoder_backward(r->encoder, r->gradient, NULL), MIO_OK);
    ck_assert_msg(!mio_optimizer_step(r->optimizer), "%s", mio_last_error());
    return loss;
}

/* ---- the optimizer's velocities, through its records ---- */

/* Place of a trainable tensor among the optimizer's arrays and the golden parameters: both count trainable ones. */
static void for_each_trainable(const run *r, void (*visit)(const run *r, size_t place, size_t tensor, void *argument),
                               void *argument)
{
    const mio__tensor *tensors;
    const size_t count = mio__encoder_tensors(r->encoder, &tensors);
    size_t place = 0;
    for (size_t t = 0; t < count; t++)
        if (tensors[t].trainable)
            visit(r, place++, t, argument);
}

static void copy_record(mio__archive *from, mio__archive_writer *to, const char *name)
{
    size_t size;
    ck_assert_msg(!mio__archive_size(from, name, &size), "%s", mio_last_error());
    void *bytes = malloc(size);
    ck_assert_int_eq(mio__archive_get(from, name, bytes, size), MIO_OK);
    ck_assert_int_eq(mio__archive_put(to, name, bytes, size), MIO_OK);
    free(bytes);
}

static mio__archive *open_state(const run *r)
{
    mio__archive_writer *writer;
    mio__archive *archive;
    ck_assert_int_eq(mio__archive_create(context, scratch_path, "TEST", &writer), MIO_OK);
    ck_assert_int_eq(mio__optimizer_write(r->optimizer, writer), MIO_OK);
    ck_assert_int_eq(mio__archive_commit(writer), MIO_OK);
    ck_assert_int_eq(mio__archive_open(context, scratch_path, &archive), MIO_OK);
    return archive;
}

typedef struct velocity_writer {
    mio__archive_writer *writer;
    size_t step;
} velocity_writer;

static const double *record(size_t number, const char *kind, const char *name, size_t count)
{
    char full[300];
    snprintf(full, sizeof full, "step%zu/%s/%s", number, kind, name);
    const double *values = golden_find(&golden, full, count);
    ck_assert_msg(values != NULL, "there is no record %s of %zu", full, count);
    return values;
}

static void put_velocity(const run *r, size_t place, size_t t, void *argument)
{
    const velocity_writer *to = argument;
    const mio__tensor *tensors;
    char name[64];
    mio__encoder_tensors(r->encoder, &tensors);
    const double *values = record(to->step, "velocity", tensors[t].name, tensors[t].count);
    float *torch = malloc(tensors[t].count * sizeof *torch), *stored = calloc(tensors[t].stored, sizeof *stored);
    for (size_t i = 0; i < tensors[t].count; i++)
        torch[i] = (float)values[i];
    mio__tensor_pack(r->encoder, t, torch, stored);
    snprintf(name, sizeof name, "optimizer/state/%zu", place);
    ck_assert_int_eq(mio__archive_put(to->writer, name, stored, tensors[t].stored * sizeof *stored), MIO_OK);
    free(torch);
    free(stored);
}

/* Puts the stored state of a step into a run: weights, running statistics, velocities. */
static void restore_state(run *r, size_t number)
{
    const mio__tensor *tensors;
    const size_t count = mio__encoder_tensors(r->encoder, &tensors);
    for (size_t t = 0; t < count; t++) {
        if (!tensors[t].rank) /* num_batches_tracked */
            continue;
        const double *values =
            record(number, tensors[t].trainable ? "state" : "running", tensors[t].name, tensors[t].count);
        float *torch = malloc(tensors[t].count * sizeof *torch);
        for (size_t i = 0; i < tensors[t].count; i++)
            torch[i] = (float)values[i];
        ck_assert_int_eq(mio_encoder_set_tensor(r->encoder, tensors[t].name, tensors[t].count, torch), MIO_OK);
        free(torch);
    }
    mio__archive *archive = open_state(r);
    char path[80];
    snprintf(path, sizeof path, "%s.2", scratch_path);
    velocity_writer to = {.step = number};
    ck_assert_int_eq(mio__archive_create(context, path, "TEST", &to.writer), MIO_OK);
    copy_record(archive, to.writer, "optimizer/arrays");
    copy_record(archive, to.writer, "optimizer/parameters");
    copy_record(archive, to.writer, "optimizer/steps");
    for_each_trainable(r, put_velocity, &to);
    ck_assert_int_eq(mio__archive_commit(to.writer), MIO_OK);
    mio__archive_close(archive);
    ck_assert_int_eq(mio__archive_open(context, path, &archive), MIO_OK);
    ck_assert_msg(!mio__optimizer_restore(r->optimizer, archive), "%s", mio_last_error());
    mio__archive_close(archive);
    remove(path);
}

/* ---- comparisons ---- */

typedef struct comparison {
    size_t step;
    mio__archive *state;
    double difference[2], norm[2]; /* of gradients and of updates, squared, over all tensors */
} comparison;

static void compare(comparison *c, size_t which, size_t place, const char *name, size_t count, const float *values)
{
    const double *truth = record(c->step, which ? "update_sketch" : "gradient_sketch", name, GOLDEN_BUCKETS);
    const double length = *record(c->step, which ? "update_norm" : "gradient_norm", name, 1);
    double sketch[GOLDEN_BUCKETS] = {0};
    for (size_t i = 0; i < count; i++)
        golden_sketch_add(sketch, place, i, values[i]);
    for (size_t b = 0; b < GOLDEN_BUCKETS; b++)
        c->difference[which] += pow(sketch[b] - truth[b], 2);
    c->norm[which] += length * length;
}

static void compare_tensor(const run *r, size_t place, size_t t, void *argument)
{
    comparison *c = argument;
    const mio__tensor *tensors;
    char name[64];
    mio__encoder_tensors(r->encoder, &tensors);
    float *torch = malloc(tensors[t].count * sizeof *torch), *stored = malloc(tensors[t].stored * sizeof *stored);
    ck_assert_int_eq(mio_encoder_get_gradient(r->encoder, tensors[t].name, tensors[t].count, torch), MIO_OK);
    compare(c, 0, place, tensors[t].name, tensors[t].count, torch);
    snprintf(name, sizeof name, "optimizer/state/%zu", place);
    ck_assert_int_eq(mio__archive_get(c->state, name, stored, tensors[t].stored * sizeof *stored), MIO_OK);
    mio__tensor_unpack(r->encoder, t, stored, torch);
    compare(c, 1, place, tensors[t].name, tensors[t].count, torch);
    free(torch);
    free(stored);
}

static double running_distance(const run *r, size_t number)
{
    const mio__tensor *tensors;
    const size_t count = mio__encoder_tensors(r->encoder, &tensors);
    double worst = 0;
    for (size_t t = 0; t < count; t++) {
        if (tensors[t].trainable || !tensors[t].rank)
            continue;
        float values[1024];
        double difference = 0, norm = 0;
        const double *truth = record(number, "running_after", tensors[t].name, tensors[t].count);
        ck_assert_uint_le(tensors[t].count, 1024);
        ck_assert_int_eq(mio_encoder_get_tensor(r->encoder, tensors[t].name, tensors[t].count, values), MIO_OK);
        for (size_t i = 0; i < tensors[t].count; i++) {
            difference += pow(values[i] - truth[i], 2);
            norm += truth[i] * truth[i];
        }
        worst = fmax(worst, sqrt(difference / norm));
    }
    return worst;
}

static const size_t numbers[] = {0, 1, 10, 100};

/* The schedule of the recipe gives the stored rates. */
static double rate_at(size_t number)
{
    mio_schedule *schedule;
    double rate;
    ck_assert_int_eq(mio_schedule_create(context, "cosine", &schedule), MIO_OK);
    ck_assert_int_eq(mio_schedule_set(schedule, "learning_rate", 1.5), MIO_OK);
    ck_assert_int_eq(mio_schedule_set(schedule, "start", 1e-4), MIO_OK);
    ck_assert_int_eq(mio_schedule_set(schedule, "minimum", 1e-4), MIO_OK);
    ck_assert_int_eq(mio_schedule_set(schedule, "warmup", 4), MIO_OK);
    ck_assert_int_eq(mio_schedule_set(schedule, "total", 60), MIO_OK);
    ck_assert_int_eq(mio_schedule_set_text(schedule, "unit", "epochs"), MIO_OK);
    ck_assert_int_eq(mio_schedule_set_text(schedule, "warmup_includes", "both"), MIO_OK);
    ck_assert_int_eq(mio_schedule_at(schedule, number, 5, &rate), MIO_OK);
    mio_schedule_release(schedule);
    return rate;
}

START_TEST(single_steps)
{
    const size_t number = numbers[_i];
    char name[64];
    open_golden("trajectory.txt.gz");
    run r = make_run(8);
    if (number)
        restore_state(&r, number);
    else
        start(&r, 0);
    snprintf(name, sizeof name, "step%zu/rate", number);
    const double rate = rate_at(number);
    ck_assert_double_eq_tol(rate, *golden_find(&golden, name, 1), 1e-12);
    ck_assert_int_eq(mio_optimizer_set(r.optimizer, "learning_rate", rate), MIO_OK);
    take_batch(&r, number);
    snprintf(name, sizeof name, "step%zu/loss", number);
    const double loss_error = fabs(step(&r) / *golden_find(&golden, name, 1) - 1);
    comparison c = {.step = number, .state = open_state(&r)};
    for_each_trainable(&r, compare_tensor, &c);
    mio__archive_close(c.state);
    const double gradient_error = sqrt(c.difference[0] / c.norm[0]), update_error = sqrt(c.difference[1] / c.norm[1]);
    const double running_error = running_distance(&r, number);
    snprintf(name, sizeof name, "float32/step%zu", number);
    const double *torch = golden_find(&golden, name, 4);
    printf("step %3zu: loss %.1e gradient %.1e update %.1e running %.1e; PyTorch float32: %.1e %.1e %.1e\n", number,
           loss_error, gradient_error, update_error, running_error, torch[0], torch[1], torch[2]);
    ck_assert_double_le(loss_error, 1e-5);
    ck_assert_double_le(gradient_error, 1e-4);
    ck_assert_double_le(update_error, 1e-3);
    ck_assert_double_le(running_error, 1e-5);
    free_run(&r);
}
END_TEST

START_TEST(free_run_stays_in_the_band)
{
    enum { RUNS = 8, STEPS = 100, WINDOW = 10, BATCHES = 4, EARLY = 3 };
    open_golden("curve.txt");
    const double *mean = golden_find(&golden, "mean", STEPS), *deviation = golden_find(&golden, "deviation", STEPS);
    const double *window_mean = golden_find(&golden, "window_mean", STEPS / WINDOW);
    const double *window_deviation = golden_find(&golden, "window_deviation", STEPS / WINDOW);
    ck_assert(mean && deviation && window_mean && window_deviation);
    double windows[STEPS / WINDOW] = {0}, early = 0, late = 0;
    run source[BATCHES];
    for (size_t b = 0; b < BATCHES; b++) {
        source[b] = make_run(16);
        take_batch(&source[b], b);
    }
    for (size_t n = 0; n < RUNS; n++) {
        run r = make_run(16);
        start(&r, 101 + n);
        ck_assert_int_eq(mio_optimizer_set(r.optimizer, "learning_rate", 0.5), MIO_OK);
        for (size_t t = 0; t < STEPS; t++) {
            memcpy(r.images, source[t % BATCHES].images, 2 * 16 * SIZE * SIZE * 3 * sizeof(float));
            const double loss = step(&r);
            windows[t / WINDOW] += loss / (RUNS * WINDOW);
            if (t < EARLY)
                early = fmax(early, fabs(loss - mean[t]) / deviation[t]);
        }
        free_run(&r);
    }
    for (size_t w = 0; w < STEPS / WINDOW; w++)
        late = fmax(late, fabs(windows[w] - window_mean[w]) / (window_deviation[w] * sqrt(1.0 / RUNS + 1.0 / 40)));
    printf("curve: early %.1f of 20, windows %.2f of 4\n", early, late);
    ck_assert_double_le(early, 20);
    ck_assert_double_le(late, 4);
    for (size_t b = 0; b < BATCHES; b++)
        free_run(&source[b]);
}
END_TEST

int main(void)
{
    if (!getenv("MIO_GOLDEN"))
        return 77;
    Suite *suite = suite_create("golden steps");
    TCase *tests = tcase_create("golden");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, single_steps, 0, (int)(sizeof numbers / sizeof *numbers));
    tcase_add_test(tests, free_run_stays_in_the_band);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
