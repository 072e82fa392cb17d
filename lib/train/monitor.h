/* What a batch of projections looks like: similarities, spread over the sphere, collapse, mutual information. */
#ifndef MIO_TRAIN_MONITOR_H
#define MIO_TRAIN_MONITOR_H

#include "core/context.h"

#include <mio/train.h>

/** Of a larger batch the first so many pairs are measured: batches come in random order, so they are a fair sample. */
enum { MIO__MONITOR_PAIRS = 512 };

/** Work space; zeroed at first. */
typedef struct mio__monitor {
    mio_context *context;
    void *memory;
    size_t capacity;
} mio__monitor;

/** Makes room for batches of this size. context is borrowed. */
mio_status mio__monitor_reserve(mio__monitor *monitor, mio_context *context, size_t pairs, size_t dim);
void mio__monitor_free(mio__monitor *monitor);

/**
 * Measures z1, z2 (pairs x dim, pairs >= 2), for which room has been made, and writes the report's measures, from
 * positive_similarity to mutual_information. The temperatures are those of the critic s /
 * t of positive and negative pairs. Memory: none. The same bits for any number of threads.
 */
void mio__monitor_measure(mio__monitor *monitor, size_t pairs, size_t dim, const float *z1, const float *z2,
                          double positive_temperature, double negative_temperature, mio_step_report *report);

#endif
