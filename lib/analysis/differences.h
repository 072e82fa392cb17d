/* Hessian products by central differences of gradients, and what the calls that give Hessians check alike. */
#ifndef MIO_ANALYSIS_DIFFERENCES_H
#define MIO_ANALYSIS_DIFFERENCES_H

#include "loss/loss.h"

typedef struct mio__gradient {
    size_t size;
    /** gradient = that of the function at x, size values each. */
    mio_status (*at)(void *argument, const double *x, double *gradient);
    void *argument;
} mio__gradient;

/** The step, in units of mio__reach, at which rounding and curvature cost about alike in double. */
#define MIO__DIFFERENCE_STEP 1e-5

/** |x|, whatever its scale. */
double mio__length(size_t size, const double *x);
/** How many times the direction is as long as x, or as 1 where x is 0. Infinite for a direction of 0. */
double mio__reach(size_t size, const double *x, const double *direction);
/**
 * product = (gradient(x + h direction) - gradient(x - h direction)) / 2h. space: 2 x size values. A direction of 0 has
 * the product 0, whatever h.
 */
mio_status mio__difference(const mio__gradient *gradient, const double *x, double h, const double *direction,
                           double *space, double *product);

/** Errors: MIO_ERROR_ARGUMENT (NULL), MIO_ERROR_UNSUPPORTED (what the loss calls a gradient is not the gradient of a
 * function). */
mio_status mio__analysis_check_function(const mio_loss *loss);
/** Errors: MIO_ERROR_ARGUMENT (a NULL, a value that is not finite). */
mio_status mio__analysis_check_direction(size_t size, const double *direction, const double *product);
/** Errors: MIO_ERROR_ARGUMENT (a NULL). */
mio_status mio__analysis_check_spectrum(const double *eigenvalues, const double *weights, const size_t *count);

#endif
