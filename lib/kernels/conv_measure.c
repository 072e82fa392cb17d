/* The tuner: what a table of choices is made from. */
#include "kernels/conv_tuning.h"
#include "kernels/target.h"

#include <stdio.h>
#include <string.h>

/* Turns of every method at least; bytes of a cache line, and what no cache holds. */
enum { TURNS = 3, LINE = 64, BETWEEN_LIMIT = 64 << 20 };

/* A method takes the place of the built-in choice where it needs less than this share of its time: differences below
   are as likely noise. */
static const double worth = 0.97;

/* One task with memory to run it. */
typedef struct trial {
    mio_context *context;
    const mio__tuning_task *task;
    size_t workers;
    mio__conv *convs[MIO__METHODS]; /* NULL: not a candidate */
    void *x, *y, *scratch;
    mio__real *weights, *gradient;
    const volatile unsigned char *between; /* read before each run */
    size_t between_size;
    double seconds[MIO__METHODS]; /* the least; 0: not a candidate */
} trial;

size_t mio__tuning_candidates(const mio__tuning_task *task, mio__conv_algorithm algorithm)
{
    size_t count = 0;
    for (int method = 0; method < MIO__METHODS; method++)
        count += mio__conv_permits(&task->geometry, algorithm, (mio__conv_method)method) != 0;
    return count;
}

/* Numbers as activations are: neither all alike nor near the end of the range. */
static void fill(void *tensor, mio__precision precision, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const float value = (float)((uint32_t)i * 2654435761u >> 16 & 255) / 256 - 0.498f;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        if (precision == MIO__BF16)
            ((uint16_t *)tensor)[i] = (uint16_t)(bits >> 16);
        else
            ((mio__real *)tensor)[i] = value;
    }
}

/* Room for a tensor, filled; batches beyond the address space get none. */
static void *make_tensor(const trial *t, const mio__shape *shape)
{
    const mio__images *images = &t->task->geometry.images;
    const size_t count = mio__tensor_size(shape, images), size = mio__number_size(images->precision);
    const double exact = (double)mio__group_size(shape, images) * (double)images->views * (double)images->groups;
    void *tensor = mio__alloc(t->context, exact * (double)size < 0x1p61 ? count * size : SIZE_MAX / 4);
    if (tensor)
        fill(tensor, images->precision, count);
    return tensor;
}

static mio_status make_candidates(trial *t, mio__conv_algorithm algorithm)
{
    const mio__conv_geometry *geometry = &t->task->geometry;
    const int training = t->task->pass != MIO__INFERENCE;
    size_t scratch = 64;
    for (int m = 0; m < MIO__METHODS; m++) {
        const mio__conv_method method = (mio__conv_method)m;
        const mio__conv_choice choice = {{method, method, method}};
        if (!mio__conv_permits(geometry, algorithm, method))
            continue;
        const mio_status status = mio__conv_create_as(t->context, geometry, &choice, training, &t->convs[m]);
        if (status)
            return status;
        mio__conv_prepare(t->convs[m], t->workers, t->weights);
        const size_t size = mio__conv_scratch_size(t->convs[m], t->workers);
        scratch = size > scratch ? size : scratch;
    }
    t->scratch = mio__alloc(t->context, scratch);
    return t->scratch ? MIO_OK : MIO_ERROR_MEMORY;
}

static mio_status begin(trial *t, mio__conv_algorithm algorithm)
{
    const mio__conv_geometry *geometry = &t->task->geometry;
    const size_t count = mio__conv_weight_count(&geometry->input, &geometry->output, geometry->kernel);
    t->x = make_tensor(t, &geometry->input);
    t->y = make_tensor(t, &geometry->output);
    t->weights = mio__alloc(t->context, count * sizeof *t->weights);
    t->gradient = mio__alloc(t->context, count * sizeof *t->gradient);
    if (!t->x || !t->y || !t->weights || !t->gradient)
        return MIO_ERROR_MEMORY;
    fill(t->weights, MIO__FP32, count);
    return make_candidates(t, algorithm);
}

static void end(trial *t)
{
    for (int m = 0; m < MIO__METHODS; m++)
        mio__conv_destroy(t->convs[m]);
    mio__free(t->context, t->x);
    mio__free(t->context, t->y);
    mio__free(t->context, t->weights);
    mio__free(t->context, t->gradient);
    mio__free(t->context, t->scratch);
}

/* As a step runs it: in training the weights have changed before each pass. */
static void run(const trial *t, mio__conv *conv)
{
    if (t->task->pass == MIO__FORWARD || t->task->pass == MIO__BACKWARD_DATA)
        mio__conv_prepare_pass(conv, (mio__conv_pass)t->task->pass, t->workers, t->weights);
    if (t->task->pass == MIO__BACKWARD_DATA)
        mio__conv_backward_data(conv, t->workers, t->scratch, t->y, t->x, 0);
    else if (t->task->pass == MIO__BACKWARD_WEIGHTS)
        mio__conv_backward_weights(conv, t->workers, t->scratch, t->x, t->y, t->gradient);
    else
        mio__conv_forward(conv, t->workers, t->scratch, t->x, t->y);
}

/* Drives out of the cache what other layers would. */
static void pass_time(const trial *t)
{
    for (size_t i = 0; i < t->between_size; i += LINE)
        (void)t->between[i];
}

/* The least of each method's times, taken in turns; the first turn warms up. */
static void take_turns(trial *t, double seconds)
{
    const double began = mio__seconds();
    for (int turn = 0; turn <= TURNS || mio__seconds() - began < seconds; turn++)
        for (int m = 0; m < MIO__METHODS; m++) {
            if (!t->convs[m])
                continue;
            pass_time(t);
            const double from = mio__seconds();
            run(t, t->convs[m]);
            const double took = mio__seconds() - from;
            if (turn && (turn == 1 || took < t->seconds[m]))
                t->seconds[m] = took;
        }
}

static mio__tuning_row row_of(const trial *t, mio__conv_algorithm algorithm)
{
    const int training = t->task->pass != MIO__INFERENCE;
    const mio__conv_choice built_in = mio__conv_choose(&t->task->geometry, algorithm, training);
    const mio__conv_method usual = built_in.of[training ? t->task->pass : MIO__FORWARD];
    mio__tuning_row row = {.key = mio__tuning_key_of(&t->task->geometry, t->task->pass), .method = usual};
    snprintf(row.target, sizeof row.target, "%s", mio__target_name());
    double least = worth * t->seconds[usual];
    for (int m = 0; m < MIO__METHODS; m++) {
        if (!t->convs[m])
            continue;
        const double rounded = 1e6 * t->seconds[m] + 0.5;
        row.microseconds[m] = rounded < 1 ? 1 : rounded < 999999999 ? (uint32_t)rounded : 999999999;
        if (t->seconds[m] < least) {
            least = t->seconds[m];
            row.method = (mio__conv_method)m;
        }
    }
    return row;
}

mio_status mio__tuning_measure(mio__tuning *tuning, size_t count, const mio__tuning_task *tasks,
                               mio__conv_algorithm algorithm, size_t between, double seconds)
{
    const size_t size = between < BETWEEN_LIMIT ? between : BETWEEN_LIMIT;
    unsigned char *others = mio__alloc(tuning->context, size + 1);
    if (!others)
        return MIO_ERROR_MEMORY;
    memset(others, 1, size); /* pages of its own */
    mio_status status = MIO_OK;
    for (size_t i = 0; i < count && !status; i++) {
        trial t = {.context = tuning->context,
                   .task = &tasks[i],
                   .workers = mio__workers(tuning->context),
                   .between = others,
                   .between_size = size};
        status = begin(&t, algorithm);
        if (!status) {
            take_turns(&t, seconds / (double)count);
            const mio__tuning_row row = row_of(&t, algorithm);
            status = mio__tuning_put(tuning, &row);
        }
        end(&t);
    }
    mio__free(tuning->context, others);
    return status;
}
