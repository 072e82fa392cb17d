/* Minimisation of a smooth function by L-BFGS with a strong Wolfe line search (Nocedal & Wright, Algorithms 7.4, 7.5,
   3.5, 3.6). */
#ifndef MIO_EVALUATE_LBFGS_H
#define MIO_EVALUATE_LBFGS_H

#include "core/context.h"

/** Value at x; its gradient is written. Both hold as many values as the problem has. */
typedef double (*mio__objective)(void *user, const double *x, double *gradient);

/** What a minimisation did. */
typedef struct mio__minimum {
    double value;
    double largest_gradient; /* max |gradient| at x */
    size_t iterations, evaluations;
} mio__minimum;

/**
 * Moves x downhill until max |gradient| <= tolerance, `iterations` iterations have been done, or rounding hides every
 * further descent. minimum may be NULL. Errors: MIO_ERROR_MEMORY (x is unchanged).
 */
mio_status mio__lbfgs(mio_context *context, size_t count, double *x, mio__objective objective, void *user,
                      size_t iterations, double tolerance, mio__minimum *minimum);

#endif
