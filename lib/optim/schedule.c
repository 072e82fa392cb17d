/* Learning rates as functions of the step. k counts steps or, with unit "epochs", whole epochs that have passed.
       constant  learning_rate
       step      learning_rate factor^floor(k / interval)
       cosine    k < warmup: a line from start to learning_rate; then
                 minimum + (learning_rate - minimum) (1 + cos(pi (k - warmup) / (total - warmup))) / 2, and minimum from
                 k = total on.
   The warm-up's line has `warmup` steps and one more end than steps; warmup_includes says which ends it has:
       start  k / warmup              the first step has the start rate; the full rate comes right after the warm-up
       peak   (k + 1) / warmup        the first step is past the start rate; the last one has the full rate
       both   k / (warmup - 1)        from the start rate to the full rate; the MIO authors' code, by epochs */
#include "core/context.h"

#include <math.h>
#include <mio/optim.h>
#include <string.h>

typedef struct schedule_kind {
    const char *name;
    const mio__parameter *parameters;
    size_t parameter_count;
    size_t unit; /* index of the parameter "unit"; parameter_count if there is none */
    double (*at)(const double *p, double k);
} schedule_kind;

struct mio_schedule {
    mio__references references;
    mio_context *context;
    mio__settings settings;
    const schedule_kind *kind;
};

MIO__DEFINE_SETTINGS_FUNCTIONS(schedule)

static const char *const units[] = {"steps", "epochs", NULL};

#define LEARNING_RATE(initial)                                                                                         \
    {                                                                                                                  \
        "learning_rate", MIO_PARAMETER_REAL, initial, 0, INFINITY, 0, 1, NULL, "full learning rate", ""                \
    }
#define UNIT(initial)                                                                                                  \
    {                                                                                                                  \
        "unit", MIO_PARAMETER_CHOICE, initial, 0, 0, 0, 0, units, "what the schedule counts in", ""                    \
    }

/* ---- constant ---- */

static const mio__parameter constant_parameters[] = {LEARNING_RATE(0.1)};

static double constant_at(const double *p, double k)
{
    (void)k;
    return p[0];
}

/* ---- step ---- */

enum { RATE, FACTOR, INTERVAL, STEP_UNIT };

static const mio__parameter step_parameters[] = {
    [RATE] = LEARNING_RATE(0.1),
    [FACTOR] = {"factor", MIO_PARAMETER_REAL, 0.1, 0, INFINITY, 1, 1, NULL, "what the rate is multiplied by", ""},
    [INTERVAL] = {"interval", MIO_PARAMETER_INTEGER, 30, 1, 9007199254740992.0, 0, 0, NULL, "how often",
                  "steps or epochs"},
    [STEP_UNIT] = UNIT(1),
};

static double step_at(const double *p, double k)
{
    return p[RATE] * pow(p[FACTOR], floor(k / p[INTERVAL]));
}

/* ---- cosine ---- */

enum { START = 1, MINIMUM, WARMUP, TOTAL, COSINE_UNIT, INCLUDES };
enum { INCLUDES_START, INCLUDES_PEAK, INCLUDES_BOTH };

static const char *const ends[] = {"start", "peak", "both", NULL};

static const mio__parameter cosine_parameters[] = {
    [RATE] = LEARNING_RATE(1.5),
    [START] = {"start", MIO_PARAMETER_REAL, 1e-4, 0, INFINITY, 0, 1, NULL, "rate where the warm-up's line begins", ""},
    [MINIMUM] = {"minimum", MIO_PARAMETER_REAL, 1e-4, 0, INFINITY, 0, 1, NULL, "rate where the cosine ends", ""},
    [WARMUP] = {"warmup", MIO_PARAMETER_INTEGER, 10, 0, 9007199254740992.0, 0, 0, NULL, "length of the warm-up",
                "steps or epochs"},
    [TOTAL] = {"total", MIO_PARAMETER_INTEGER, 1000, 1, 9007199254740992.0, 0, 0, NULL,
               "where the cosine ends, warm-up included", "steps or epochs"},
    [COSINE_UNIT] = UNIT(1),
    [INCLUDES] = {"warmup_includes", MIO_PARAMETER_CHOICE, INCLUDES_BOTH, 0, 0, 0, 0, ends,
                  "which ends of the warm-up's line are steps: k / warmup, (k + 1) / warmup, k / (warmup - 1)", ""},
};

static double cosine_at(const double *p, double k)
{
    const double length = p[WARMUP], rest = p[TOTAL] - length;
    if (k < length) {
        const double part = p[INCLUDES] == INCLUDES_START  ? k / length
                            : p[INCLUDES] == INCLUDES_PEAK ? (k + 1) / length
                            : length > 1                   ? k / (length - 1)
                                                           : 0;
        return p[START] + (p[RATE] - p[START]) * part;
    }
    if (k - length >= rest)
        return p[MINIMUM];
    return p[MINIMUM] + 0.5 * (p[RATE] - p[MINIMUM]) * (1 + cos(3.14159265358979323846 * (k - length) / rest));
}

/* ---- objects ---- */

/* In alphabetical order. */
static const schedule_kind kinds[] = {
    {"constant", constant_parameters, 1, 1, constant_at},
    {"cosine", cosine_parameters, 7, COSINE_UNIT, cosine_at},
    {"step", step_parameters, 4, STEP_UNIT, step_at},
};
enum { KIND_COUNT = sizeof kinds / sizeof *kinds };

const char *mio_schedule_name_at(size_t index)
{
    return index < KIND_COUNT ? kinds[index].name : NULL;
}

mio_status mio_schedule_create(mio_context *context, const char *name, mio_schedule **schedule)
{
    if (!context)
        return mio__settings_null("context");
    if (!schedule)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the new schedule is NULL");
    const size_t place = mio__find_name("schedule", name, mio_schedule_name_at);
    if (place == MIO__NO_NAME)
        return MIO_ERROR_ARGUMENT;
    const schedule_kind *kind = &kinds[place];
    mio_schedule *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    made->context = mio_context_retain(context);
    made->kind = kind;
    mio__settings_init(&made->settings, "schedule", kind->name, kind->parameters, kind->parameter_count);
    *schedule = made;
    return MIO_OK;
}

mio_schedule *mio_schedule_retain(mio_schedule *schedule)
{
    if (schedule)
        mio__references_take(&schedule->references);
    return schedule;
}

void mio_schedule_release(mio_schedule *schedule)
{
    if (!schedule || !mio__references_drop(&schedule->references))
        return;
    mio_context *context = schedule->context;
    mio__free(context, schedule);
    mio_context_release(context);
}

const char *mio_schedule_name(const mio_schedule *schedule)
{
    return schedule ? schedule->kind->name : NULL;
}

mio_status mio_schedule_at(const mio_schedule *schedule, uint64_t step, uint64_t steps_per_epoch, double *learning_rate)
{
    if (!schedule)
        return mio__settings_null("schedule");
    if (!steps_per_epoch || !learning_rate)
        return mio__fail(MIO_ERROR_ARGUMENT, "schedule '%s': %s", schedule->kind->name,
                         steps_per_epoch ? "the place for the learning rate is NULL"
                                         : "steps_per_epoch is 0; an epoch has at least one step");
    const double *p = schedule->settings.values;
    const int by_epoch = schedule->kind->unit < schedule->settings.count && p[schedule->kind->unit] != 0;
    *learning_rate = schedule->kind->at(p, (double)(by_epoch ? step / steps_per_epoch : step));
    return MIO_OK;
}
