/* The spectrum of a symmetric operator that is known by its products alone. */
#ifndef MIO_ANALYSIS_LANCZOS_H
#define MIO_ANALYSIS_LANCZOS_H

#include "core/context.h"

typedef struct mio__operator {
    size_t size;
    /** product = operator x direction, size values each. */
    mio_status (*apply)(void *argument, const double *direction, double *product);
    void *argument;
} mio__operator;

/**
 * Lanczos with full reorthogonalisation from the random vector number `probe` of the context's seed. values: the Ritz
 * values, ascending; weights: the squared first components of their vectors, which sum to 1; *count: how many there
 * are, fewer than steps (and the operator's size) where the space of the start vector is exhausted. Both arrays hold
 * `steps` values. Memory: (steps + 1) x size. Errors: apply's; MIO_ERROR_ARGUMENT (steps or size 0, a product
 * that is not finite).
 */
mio_status mio__lanczos(mio_context *context, const mio__operator *operator, size_t steps, uint64_t probe,
                        double *values, double *weights, size_t *count);

#endif
