/* The charts of a training run, drawn from its metrics.jsonl. */
#ifndef EXAMPLES_CURVES_H
#define EXAMPLES_CURVES_H

#include <stdio.h>

/** Writes the loss and the monitors; leaves if the file cannot be read or holds no step. */
void curves_write(FILE *page, const char *metrics_path);

#endif
