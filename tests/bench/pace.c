#define _POSIX_C_SOURCE 200809L
#include "pace.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

const char *bench_text(const bench_options *options, const char *name, const char *fallback)
{
    for (int i = 0; i + 1 < options->count; i++)
        if (!strncmp(options->arguments[i], "--", 2) && !strcmp(options->arguments[i] + 2, name))
            return options->arguments[i + 1];
    return fallback;
}

double bench_number(const bench_options *options, const char *name, double fallback)
{
    const char *text = bench_text(options, name, NULL);
    return text ? strtod(text, NULL) : fallback;
}

size_t bench_size(const bench_options *options, const char *name, size_t fallback)
{
    return (size_t)bench_number(options, name, (double)fallback);
}

void bench_require(mio_status status)
{
    if (status) {
        fprintf(stderr, "%s\n", mio_last_error());
        exit(EXIT_FAILURE);
    }
}

void *bench_allocate(size_t size)
{
    void *pointer = NULL;
    if (posix_memalign(&pointer, 64, size)) {
        fprintf(stderr, "out of memory\n");
        exit(EXIT_FAILURE);
    }
    return pointer;
}

static uint32_t next(uint32_t *state)
{
    return *state = *state * 1664525u + 1013904223u;
}

float *bench_floats(size_t count)
{
    float *values = bench_allocate(count * sizeof *values);
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(int32_t)next(&state) * 0x1p-31f;
    return values;
}

unsigned char *bench_bytes(size_t count)
{
    unsigned char *values = bench_allocate(count);
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++)
        values[i] = (unsigned char)(next(&state) >> 24);
    return values;
}

static double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

static double timed(const bench_case *job, clockid_t clock)
{
    const double start = now(clock);
    job->run(job->argument);
    return now(clock) - start;
}

static double peak_mb(void)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss * 1024e-6;
}

static double resident_mb(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file) {
        if (fscanf(file, "%*u %lu", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE) * 1e-6;
}

/* How to time, and what was resident before the first call. */
typedef struct pace {
    clockid_t clock;
    double before_mb;
} pace;

static const bench_case *find(size_t count, const bench_case *cases, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(cases[i].name, name) || (i == 0 && !strcmp(name, "go")))
            return &cases[i];
    return NULL;
}

static void serve(const pace *how, size_t count, const bench_case *cases)
{
    char line[256];
    printf("ready");
    for (size_t i = 0; i < count; i++)
        printf(" %s", cases[i].name);
    printf("\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        const char *name = strtok(line, " \n"), *times = strtok(NULL, " \n");
        const bench_case *job = name ? find(count, cases, name) : NULL;
        if (!job)
            break;
        for (unsigned long i = times ? strtoul(times, NULL, 10) : 1; i; i--)
            printf("%.4f%s", timed(job, how->clock), i > 1 ? " " : "\n");
        fflush(stdout);
    }
    printf("{\"peak_mb\": %.1f, \"work_mb\": %.1f}\n", peak_mb(), peak_mb() - how->before_mb);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const pace *how, const bench_case *job, size_t steps)
{
    double *times = bench_allocate((steps + 1) * sizeof *times);
    for (size_t i = 0; i < steps; i++)
        times[i] = timed(job, how->clock);
    qsort(times, steps, sizeof *times, ascending);
    if (steps)
        printf("{\"case\": \"%s\", \"min_ms\": %.4f, \"median_ms\": %.4f, \"steps\": %zu, \"peak_mb\": %.1f, "
               "\"work_mb\": %.1f}\n",
               job->name, times[0], times[steps / 2], steps, peak_mb(), peak_mb() - how->before_mb);
    fflush(stdout);
    free(times);
}

void bench_pace(const bench_options *options, size_t count, const bench_case *cases)
{
    const int cpu = !strcmp(bench_text(options, "clock", "wall"), "cpu");
    const pace how = {cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, resident_mb()};
    for (size_t i = 0; i < count; i++)
        for (size_t turn = bench_size(options, "warm-up", 2); turn; turn--)
            cases[i].run(cases[i].argument);
    if (bench_number(options, "pause", 0)) {
        serve(&how, count, cases);
        return;
    }
    for (size_t i = 0; i < count; i++)
        report(&how, &cases[i], bench_size(options, "steps", 10));
}
