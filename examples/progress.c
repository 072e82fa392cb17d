#define _POSIX_C_SOURCE 200809L
#include "progress.h"
#include "common.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

progress progress_begin(uint64_t steps_done)
{
    return (progress){.is_terminal = isatty(STDERR_FILENO), .first_step = steps_done, .began = seconds_now()};
}

static void print_duration(double seconds)
{
    const unsigned long whole = (unsigned long)(seconds + 0.5);
    if (whole >= 3600)
        fprintf(stderr, "%lu:%02lu:%02lu", whole / 3600, whole / 60 % 60, whole % 60);
    else
        fprintf(stderr, "%lu:%02lu", whole / 60, whole % 60);
}

void progress_show(progress *bar, const mio_step_report *report)
{
    enum { WIDTH = 24 };
    const double now = seconds_now();
    bar->rate = bar->rate > 0 ? 0.95 * bar->rate + 0.05 * report->images_per_second : report->images_per_second;
    const bool is_due = bar->is_terminal ? now - bar->drawn > 0.1 || report->step == report->total_steps
                                         : report->step % report->steps_per_epoch == 0;
    if (!is_due)
        return;
    bar->drawn = now;
    if (bar->is_terminal) {
        char cells[WIDTH + 1];
        const size_t filled = (size_t)(report->step * WIDTH / report->total_steps);
        memset(cells, '-', WIDTH);
        memset(cells, '#', filled < WIDTH ? filled : WIDTH);
        cells[WIDTH] = 0;
        fprintf(stderr, "\r[%s] ", cells);
    }
    fprintf(stderr, "epoch %llu  step %llu/%llu  loss %.4f  lr %.4g  %.0f images/s  ",
            (unsigned long long)report->epoch + 1, (unsigned long long)report->step,
            (unsigned long long)report->total_steps, report->loss, report->learning_rate, bar->rate);
    const double steps = (double)(report->step - bar->first_step);
    print_duration((double)(report->total_steps - report->step) * (now - bar->began) / steps);
    fputs(bar->is_terminal ? " left \033[K" : " left\n", stderr);
}

void progress_end(const progress *bar)
{
    if (bar->is_terminal && bar->drawn > 0)
        fputc('\n', stderr);
}

void metrics_write(FILE *file, const mio_step_report *report)
{
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"loss", report->loss},
        {"learning_rate", report->learning_rate},
        {"gradient_norm", report->gradient_norm},
        {"positive_similarity", report->positive_similarity},
        {"negative_similarity", report->negative_similarity},
        {"pair_accuracy", report->pair_accuracy},
        {"alignment", report->alignment},
        {"uniformity", report->uniformity},
        {"channel_deviation", report->channel_deviation},
        {"effective_rank", report->effective_rank},
        {"mutual_information", report->mutual_information},
        {"images_per_second", report->images_per_second},
        {"step_seconds", report->step_seconds},
        {"wait_seconds", report->wait_seconds},
    };
    fprintf(file, "{\"step\": %llu, \"epoch\": %llu", (unsigned long long)report->step,
            (unsigned long long)report->epoch);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        fputs(", ", file);
        json_number(file, numbers[i].name, numbers[i].value);
    }
    fputs("}\n", file);
}

FILE *metrics_open(const char *path, uint64_t steps_done)
{
    FILE *file = fopen(path, steps_done ? "r+" : "w");
    if (!file && steps_done && errno == ENOENT)
        file = fopen(path, "w+");
    if (!file)
        leave(EXIT_FAILED, "cannot write '%s': %s", path, strerror(errno));
    char line[4096];
    long end = 0;
    while (steps_done && fgets(line, sizeof line, file) && strchr(line, '\n') &&
           json_number_in(line, "step") <= (double)steps_done)
        end = ftell(file);
    if (fseek(file, end, SEEK_SET) || ftruncate(fileno(file), end))
        leave(EXIT_FAILED, "cannot cut '%s': %s", path, strerror(errno));
    setvbuf(file, NULL, _IOLBF, BUFSIZ); /* whole lines, for whoever follows the run */
    return file;
}
