/* What the loss suites share: inputs, and a loss made in one line. */
#ifndef TESTS_LOSS_SUPPORT_H
#define TESTS_LOSS_SUPPORT_H

#include <check.h>
#include <math.h>
#include <mio/mio.h>
#include <stdlib.h>
#include <string.h>

#define ASSERT_OK(call) ck_assert_msg((call) == MIO_OK, "%s: %s", #call, mio_last_error())
/* Largest shape of the small tests. */
enum { SUPPORT_LIMIT = 2 * 200 * 130 };

typedef struct support_setting {
    const char *name;
    double value;
} support_setting;

/* A loss with up to four settings; the array ends with a NULL name. */
static inline mio_loss *support_loss(mio_context *context, const char *name, const support_setting *settings)
{
    mio_loss *loss = NULL;
    ASSERT_OK(mio_loss_create(context, name, &loss));
    for (; settings && settings->name; settings++)
        ASSERT_OK(mio_loss_set(loss, settings->name, settings->value));
    return loss;
}

/* Gives a loss what it needs beside the rows: labels, indices, a short queue. */
static inline mio_status support_give(mio_loss *loss, size_t pairs, size_t dim)
{
    static int32_t labels[4096];
    static size_t indices[4096];
    static float queue[40 * 256];
    const char *name = mio_loss_name(loss);
    for (size_t b = 0; b < pairs && b < 4096; b++) {
        labels[b] = (int32_t)(b * b % 5 % 3);
        indices[b] = (b * 7 + 3) % pairs;
    }
    for (size_t i = 0; i < sizeof queue / sizeof *queue; i++)
        queue[i] = (float)sin((double)(i + i * i % 97));
    if (!strcmp(name, "schane") || !strcmp(name, "cam") || !strcmp(name, "prototype"))
        return mio_loss_set_batch(loss, pairs, labels, NULL);
    if (!strcmp(name, "sogclr"))
        return mio_loss_set_batch(loss, pairs, NULL, indices);
    return !strcmp(name, "moco") || !strcmp(name, "nnclr") ? mio_loss_set_queue(loss, 40, dim, queue) : MIO_OK;
}

/* Whether a compute changes what the next one finds. */
static inline int support_moves(const char *name)
{
    return !strcmp(name, "sogclr") || !strcmp(name, "moco") || !strcmp(name, "nnclr");
}

static inline mio_context *support_context(double threads)
{
    mio_context *context = NULL;
    ASSERT_OK(mio_context_create(&context));
    ASSERT_OK(mio_context_set(context, "threads", threads));
    return context;
}

/* count multiples of 2^-23 in [-1, 1): sums of two of them are exact in float. */
static inline void support_fill(size_t count, double *values, unsigned seed)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (double)((seed ^ seed >> 15) >> 8) * 0x1p-23 - 1;
    }
}

/* Two views of `pairs` images: view 2 is view 1 with as much noise again. Values are exact in float. */
static inline void support_views(size_t pairs, size_t dim, double *z1, double *z2, unsigned seed)
{
    support_fill(pairs * dim, z1, seed);
    support_fill(pairs * dim, z2, seed + 17);
    for (size_t i = 0; i < pairs * dim; i++)
        z2[i] += z1[i];
}

static inline double support_norm(size_t count, const double *x)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

/* |a - b| / |b| */
static inline double support_distance(size_t count, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sqrt(sum) / support_norm(count, b);
}

static inline void support_narrow(size_t count, const double *from, float *to)
{
    for (size_t i = 0; i < count; i++)
        to[i] = (float)from[i];
}

static inline void support_widen(size_t count, const float *from, double *to)
{
    for (size_t i = 0; i < count; i++)
        to[i] = from[i];
}

/* The value of rows of both views, one after the other; gradient likewise, or NULL. */
static inline double support_compute(mio_loss *loss, size_t pairs, size_t dim, const double *rows, double *gradient)
{
    double value = NAN;
    ASSERT_OK(mio_loss_compute_f64(loss, pairs, dim, rows, rows + pairs * dim, &value, gradient,
                                   gradient ? gradient + pairs * dim : NULL));
    return value;
}

/* Runs a suite of one case. */
static inline int support_run(const char *name, TCase *cases)
{
    Suite *suite = suite_create(name);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
