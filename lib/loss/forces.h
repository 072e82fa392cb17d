/* A loss over pairs as forces between rows, and how these change as the rows move: what analysis.h reads its
   displacements and Hessians from. In unit space every pair of rows {i, j} pulls its two ends towards each other with
   the derivative of the loss by its cosine: one number for each positive pair, and for negatives a sum of terms. */
#ifndef MIO_LOSS_FORCES_H
#define MIO_LOSS_FORCES_H

#include "loss/pair.h"

/** A number, and how fast it changes along the direction in which the rows move. */
typedef struct mio__dual {
    double value, slope;
} mio__dual;

mio__dual mio__dual_add(mio__dual a, mio__dual b);
mio__dual mio__dual_minus(mio__dual a, mio__dual b);
mio__dual mio__dual_times(mio__dual a, mio__dual b);
mio__dual mio__dual_scale(double factor, mio__dual a);
mio__dual mio__dual_exp(mio__dual a);
mio__dual mio__dual_softplus(mio__dual a);
mio__dual mio__dual_sigmoid(mio__dual a);
/** log(exp(a) + exp(b)); either may be -infinity with slope 0. */
mio__dual mio__dual_log_add(mio__dual a, mio__dual b);

/** What a row gives to its pairs in a term: factor exp(rate s - shift). Bounds as mio__row_weight. */
typedef struct mio__pull {
    mio__dual factor, shift;
} mio__pull;

/** A part of the derivative by the cosines s of negatives. The pulls of both ends add up, or where logistic is not 0 it
   is logistic x sigmoid(rate s + bias). */
typedef struct mio__term {
    mio__pair_choice choice; /* MIO__PAIR_SAME_CLASS counts as attraction */
    int across;              /* pairs of one row of each view alone */
    double rate, bias, logistic;
} mio__term;

typedef struct mio__forces {
    size_t terms;
    mio__term term[MIO__PAIR_TERMS];
    const mio__dual *cosine; /* per pair: of its two rows */
    /* per slot: log of the sum of exp(rate s) over its negatives of the choice */
    const mio__dual *log_sum[MIO__PAIR_TERMS];
    mio__dual *attraction;            /* per pair, written: the derivative by its cosine, without the L2 term's */
    double l2;                        /* written: the L2 term's */
    mio__pull *pull[MIO__PAIR_TERMS]; /* per slot of a row, written unless the term is logistic */
} mio__forces;

#endif
