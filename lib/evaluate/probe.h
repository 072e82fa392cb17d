/* The linear probe and its solvers. */
#ifndef MIO_EVALUATE_PROBE_H
#define MIO_EVALUATE_PROBE_H

#include "evaluate/linear.h"

#include <mio/evaluate.h>

/** A labelled feature matrix, checked. count 0: there is none. */
typedef struct mio__samples {
    size_t count;
    const float *features; /* count x dim */
    const int32_t *labels;
} mio__samples;

/** One way to fit a probe. */
typedef struct mio__solver {
    const char *name;
    const mio__parameter *parameters;
    size_t parameter_count;
    /* Fits linear (zero weights at first) to scaled features. */
    mio_status (*fit)(const mio__settings *settings, const mio__scaling *scaling, const mio__samples *train,
                      const mio__samples *validation, mio__linear *linear);
} mio__solver;

extern const mio__solver mio__probe_exact, mio__probe_sgd;

/** The parameter that every solver has, at index 0: whether features are standardised first. */
enum { MIO__PROBE_STANDARDIZE };

struct mio_probe {
    mio__references references;
    mio_context *context;
    mio__settings settings;
    const mio__solver *solver;
    mio__linear linear;       /* dim 0: not fitted yet */
    double *mean, *deviation; /* dim each; NULL without standardisation */
};

/**
 * The exact solver's objective, for its own use and for tests: mean cross-entropy plus penalty times the squared
 * weights (not the biases). weights: dim x classes, then classes biases.
 */
typedef struct mio__regression mio__regression;
mio_status mio__regression_create(mio_context *context, const mio__scaling *scaling, const mio__samples *samples,
                                  size_t dim, size_t classes, mio__regression **regression);
void mio__regression_free(mio__regression *regression);
void mio__regression_set_penalty(mio__regression *regression, double penalty);
/** user: a mio__regression. */
double mio__regression_value(void *user, const double *weights, double *gradient);

#endif
