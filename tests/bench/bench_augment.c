/* Microseconds per augmented view on one core, best and median of the rounds; one JSON line a pipeline. Given the path
   of compare_pytorch.py it times torchvision's authors' pipeline right after its own and prints the ratio of the
   minima.

   bench_augment [ROUNDS [compare_pytorch.py [PYTHON]]] */
#define _POSIX_C_SOURCE 200809L
#include <mio/augment.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 256, ROUND_LIMIT = 1000 };

typedef struct pipeline {
    const char *preset;
    size_t size;
    size_t source; /* side of the source images */
} pipeline;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void require(mio_status status)
{
    if (status) {
        fprintf(stderr, "%s\n", mio_last_error());
        exit(EXIT_FAILURE);
    }
}

/* torchvision's minimum for one batch, in milliseconds, from the script's JSON line; 0 if there is none. */
static double torchvision(const char *script, const char *python, size_t size)
{
    char command[4096], line[4096] = "";
    snprintf(command, sizeof command, "'%s' '%s' augment --size %zu --batch %d --steps 5", python, script, size, BATCH);
    FILE *pipe = popen(command, "r");
    if (!pipe || !fgets(line, sizeof line, pipe))
        line[0] = 0;
    if (pipe)
        pclose(pipe);
    const char *value = strstr(line, "\"min_ms\":");
    return value ? strtod(value + strlen("\"min_ms\":"), NULL) : 0;
}

int main(int count, char **arguments)
{
    const int asked = count > 1 ? atoi(arguments[1]) : 30;
    const int rounds = asked < 1 ? 1 : asked > ROUND_LIMIT ? ROUND_LIMIT : asked;
    const pipeline pipelines[] = {{"mio-paper", 32, 32}, {"mio-paper", 96, 96},     {"simclr", 32, 32},
                                  {"simclr", 96, 96},    {"mio-reference", 32, 32}, {"none", 32, 32},
                                  {"simclr", 224, 500}};
    mio_context *context = NULL;
    require(mio_context_create(&context));
    require(mio_context_set(context, "threads", 1));
    for (size_t p = 0; p < sizeof pipelines / sizeof *pipelines; p++) {
        const pipeline *job = &pipelines[p];
        const size_t bytes = job->source * job->source * 3, images = BATCH;
        uint8_t *pixels = malloc(images * bytes);
        if (!pixels)
            return EXIT_FAILURE;
        for (size_t i = 0; i < images * bytes; i++)
            pixels[i] = (uint8_t)((i * 2654435761u) >> 11);
        mio_dataset *dataset = NULL;
        mio_augment *augment = NULL;
        mio_loader *loader = NULL;
        require(mio_dataset_from_memory(context, images, job->source, job->source, 3, 0, pixels, NULL, &dataset));
        require(mio_augment_create(context, job->preset, job->size, job->size, 3, &augment));
        require(mio_loader_create(dataset, augment, &loader));
        require(mio_loader_set(loader, "views", 1));
        double times[ROUND_LIMIT];
        for (int i = -2; i < rounds; i++) {
            mio_batch batch = {.struct_size = sizeof batch};
            const double start = now();
            require(mio_loader_next(loader, &batch));
            if (i >= 0)
                times[i] = (now() - start) / BATCH * 1e6;
        }
        qsort(times, (size_t)rounds, sizeof *times, compare_doubles);
        printf("{\"work\": \"augment\", \"preset\": \"%s\", \"size\": %zu, \"source\": %zu, \"target\": \"%s\", "
               "\"min_us\": %.3f, \"median_us\": %.3f",
               job->preset, job->size, job->source, mio_context_target(context), times[0], times[rounds / 2]);
        if (count > 2 && !strcmp(job->preset, "mio-paper")) {
            const double theirs =
                torchvision(arguments[2], count > 3 ? arguments[3] : "/usr/bin/python3", job->size) / BATCH * 1e3;
            printf(", \"torchvision_min_us\": %.1f, \"ratio\": %.1f", theirs, theirs / times[0]);
        }
        printf("}\n");
        fflush(stdout);
        mio_loader_release(loader);
        mio_augment_release(augment);
        mio_dataset_release(dataset);
        free(pixels);
    }
    mio_context_release(context);
    return EXIT_SUCCESS;
}
