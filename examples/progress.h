/* What a training run tells: a progress bar for people, a file of JSON lines for programs. */
#ifndef EXAMPLES_PROGRESS_H
#define EXAMPLES_PROGRESS_H

#include <mio/train.h>

#include <stdbool.h>
#include <stdio.h>

/** The state of the bar. Begin with progress_begin. */
typedef struct progress {
    bool is_terminal;
    uint64_t first_step; /* steps that were done before this run */
    double began, drawn; /* seconds */
    double rate;         /* images a second, smoothed */
} progress;

progress progress_begin(uint64_t steps_done);
/** Redraws the bar on stderr at most ten times a second; without a terminal prints a line at the end of each epoch. */
void progress_show(progress *bar, const mio_step_report *report);
/** Ends the bar's line. */
void progress_end(const progress *bar);

/** Appends one step as a line. Monitors that the step did not take, and anything else not finite, are null. */
void metrics_write(FILE *file, const mio_step_report *report);
/**
 * Opens the metrics for appending after step `steps_done`, cutting off what a run that was interrupted wrote beyond its
 * checkpoint. steps_done 0 begins an empty file.
 */
FILE *metrics_open(const char *path, uint64_t steps_done);

#endif
