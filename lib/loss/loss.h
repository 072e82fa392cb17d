/* A loss is one row of a table: its name, its parameters and its mathematics on top of the pair engine. */
#ifndef MIO_LOSS_LOSS_H
#define MIO_LOSS_LOSS_H

#include "loss/pair.h"

#include <mio/loss.h>

/** One kind of loss. `p` are the parameters' values in the table's order. */
typedef struct mio__loss_kind {
    const char *name;
    const mio__parameter *parameters;
    size_t parameter_count;
    /** The largest rate (1 / temperature) that its passes over negatives use. */
    double (*steepest)(const double *p);
    /** Value of the batch that pairs holds; also writes the gradients that the batch asks for. */
    double (*compute)(mio__pairs *pairs, const double *p);
} mio__loss_kind;

extern const mio__loss_kind mio__loss_mio, mio__loss_mio_decoupled;
extern const mio__loss_kind mio__loss_nt_xent, mio__loss_supcon, mio__loss_dcl, mio__loss_dclw, mio__loss_hcl;

/** A row for a temperature: finite and above 0. */
#define MIO__TEMPERATURE(name, initial, meaning)                                                                       \
    {                                                                                                                  \
        name, MIO_PARAMETER_REAL, initial, 0, INFINITY, 1, 1, NULL, meaning, ""                                        \
    }
/** A row for a weight: finite and at least 0. */
#define MIO__WEIGHT(name, initial, meaning)                                                                            \
    {                                                                                                                  \
        name, MIO_PARAMETER_REAL, initial, 0, INFINITY, 0, 1, NULL, meaning, ""                                        \
    }

/** 1 / temperature, finite however small that is. */
double mio__rate(double temperature);
/** log(1 + exp(x)) and its derivative 1 / (1 + exp(-x)), for any x. */
double mio__softplus(double x);
double mio__sigmoid(double x);

/**
 * Mean cosine similarity of positive and of negative pairs in the last computed batch; both come for nothing.
 * Errors: MIO_ERROR_STATE before the first batch.
 */
mio_status mio__loss_similarities(const mio_loss *loss, double *positive, double *negative);

#endif
