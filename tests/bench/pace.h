/* What the benchmark programs share: options, the clock, and the protocol by which run.py alternates processes. */
#ifndef BENCH_PACE_H
#define BENCH_PACE_H

#include <mio/common.h>

#include <stddef.h>

/* Options are pairs "--name value". */
typedef struct bench_options {
    int count;
    char **arguments;
} bench_options;

const char *bench_text(const bench_options *options, const char *name, const char *fallback);
double bench_number(const bench_options *options, const char *name, double fallback);
size_t bench_size(const bench_options *options, const char *name, size_t fallback);

/* Prints the library's last error and ends the program unless status is MIO_OK. */
void bench_require(mio_status status);
/* Memory or the end of the program. */
void *bench_allocate(size_t size);
/* Uniform numbers in (-1, 1), and bytes; the same at every call. */
float *bench_floats(size_t count);
unsigned char *bench_bytes(size_t count);

/* Something to time. */
typedef struct bench_case {
    const char *name;
    void (*run)(void *argument);
    void *argument;
} bench_case;

/* Runs every case "--warm-up" times (2). With "--pause 1" it then prints "ready" and the names of the cases, and for
   each line "NAME COUNT" of its input runs that case COUNT times and prints the milliseconds of each on one line; a
   name of "go" is the first case's. At any other line, or the end of the input, it prints {"peak_mb": ...}. Without
   "--pause" it times each case "--steps" times (10) and prints a JSON line of it. With "--clock cpu" the milliseconds
   are CPU time of the process. Peaks are those of the process, and as "work_mb" what the cases took beyond what had
   been made before the first. */
void bench_pace(const bench_options *options, size_t count, const bench_case *cases);

#endif
