/* Time of one loss value with gradients, in milliseconds: bench_loss [threads [dim]] */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#include <mio/mio.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { REPEATS = 400 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fill(size_t count, float *values, unsigned seed)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(int)seed * 0x1p-31f;
    }
}

/* Median and minimum over about a second of runs. */
static void measure(mio_loss *loss, size_t pairs, size_t dim)
{
    float *z = malloc(4 * pairs * dim * sizeof *z), *z2 = z + pairs * dim, *gradient = z2 + pairs * dim;
    if (!z)
        return;
    fill(2 * pairs * dim, z, 1);
    double times[REPEATS], value = 0, spent = 0;
    size_t runs = 0;
    for (size_t i = 0; i < 3; i++)
        mio_loss_compute(loss, pairs, dim, z, z2, &value, gradient, gradient + pairs * dim);
    for (; runs < REPEATS && (spent < 1000 || runs < 3); spent += times[runs++]) {
        const double start = now();
        mio_loss_compute(loss, pairs, dim, z, z2, &value, gradient, gradient + pairs * dim);
        times[runs] = now() - start;
    }
    qsort(times, runs, sizeof *times, ascending);
    size_t bytes = 0;
    mio_loss_workspace_bytes(loss, pairs, dim, sizeof *z, &bytes);
    printf("%-14s %6zu pairs x %4zu  min %8.3f  median %8.3f ms  %6.1f MB  value %.9g\n", mio_loss_name(loss), pairs,
           dim, times[0], times[runs / 2], (double)bytes * 1e-6, value);
    free(z);
}

int main(int count, char **arguments)
{
    static const char *const names[] = {"mio", "nt_xent"};
    static const size_t sizes[] = {64, 256, 1024, 4096};
    const double threads = count > 1 ? atof(arguments[1]) : 2;
    const size_t dim = count > 2 ? (size_t)atoi(arguments[2]) : 128;
    mio_context *context = NULL;
    if (mio_context_create(&context) || mio_context_set(context, "threads", threads)) {
        printf("%s\n", mio_last_error());
        return 1;
    }
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        mio_loss *loss = NULL;
        mio_loss_create(context, names[n], &loss);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            measure(loss, sizes[i], dim);
        mio_loss_release(loss);
    }
    mio_context_release(context);
    return 0;
}
