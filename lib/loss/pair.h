/* The pair engine that the losses over all pairs of a batch stand on: rows normalised once, then passes over 64 x 64
   tiles of the cosine similarities, which never exist as a whole.

   Slots: row b of view v is slot v x slots_per_view + b; each view is filled up with zero rows to whole tiles. Positive
   pairs (b of view 0, b of view 1) are known in double from the start and left out of every pass: "negatives" of a slot
   are all rows of both views but itself and its positive.

   A pass walks the upper triangle of tiles. Tiles are gathered into blocks, and in each round of a round-robin
   tournament every block meets at most one other, so the pairs of blocks of a round run in parallel and own what they
   add to; rounds follow each other in order. So the bits do not depend on the number of workers, and no copies of the
   gradient are kept. */
#ifndef MIO_LOSS_PAIR_H
#define MIO_LOSS_PAIR_H

#include "core/context.h"
#include "kernels/gemm.h"
#include "loss/pair_vector.h"

/** One call's arrays: pairs x dim values of `element` bytes (4: float, 8: double), row-major. */
typedef struct mio__batch {
    size_t pairs, dim, element;
    const void *z[2];
    void *gradient[2]; /* either may be NULL */
} mio__batch;

/** What is kept of the unit vectors: all that passes need, and for several passes the tiles of cosines where these are
    small enough; rows, for rectangular passes; or nothing. */
typedef enum mio__pair_storage {
    MIO__PAIR_FOR_PASSES,
    MIO__PAIR_FOR_SEVERAL,
    MIO__PAIR_ROWS_ALONE,
    MIO__PAIR_NOTHING
} mio__pair_storage;

/** What depends on the shape alone. */
typedef struct mio__pair_plan {
    size_t pairs, dim, workers;
    int wide;                    /* passes in double, else in float */
    size_t edge;                 /* of a tile: 16, 32 or 64 */
    size_t slots_per_view;       /* pairs rounded up to whole tiles */
    size_t tiles, group, blocks; /* tiles in all, tiles to a block, blocks */
    size_t width;                /* dim rounded up */
    size_t kept;                 /* tiles that the first pass keeps for the next */
    size_t size;                 /* bytes of work space */
} mio__pair_plan;

enum {
    MIO__PAIR_TERMS = 3, /**< exponents in one row of any loss, at most */
    MIO__PAIR_ROWS = 3,  /**< rows of scratch of a worker */
    MIO__PAIR_TILES = 3, /**< tiles of scratch of a worker */
};

/** Which of the negatives a pass takes, where images have classes. */
typedef enum mio__pair_choice { MIO__PAIR_ALL, MIO__PAIR_SAME_CLASS, MIO__PAIR_OTHER_CLASS } mio__pair_choice;

typedef struct mio__pairs {
    mio_context *context;
    mio__pair_storage storage;
    void *work; /* one piece of memory that all of the following point into */
    size_t capacity;
    mio__pair_plan plan;
    const mio__pair_kernels *kernels;
    mio__gemm similarity, pull, pull_transposed;
    mio__batch batch;
    int keep_gradient;        /* 1: the passes add to the gradient also where the batch asks for none */
    const uint32_t *class_of; /* per pair; NULL without classes */
    mio__pair_choice choice;  /* of the next passes; ALL at first */

    void *unit, *transposed, *gradient;      /* slots x width; tiles of width x edge; slots x width: float or double */
    double *scale, *inverse;                 /* per slot: unit = z x scale x inverse; both 0 for a zero row */
    double *similarity_of_pair;              /* per pair */
    mio__log_sum *log_sums[MIO__PAIR_TERMS]; /* per slot */
    mio__row_weight *weights[MIO__PAIR_TERMS]; /* per slot */
    double *chunk_sums;                        /* sums of unit vectors by chunks of pairs */
    double *block_values;
    double *rows;     /* per worker: MIO__PAIR_ROWS rows in double */
    void *tile_space; /* per worker: MIO__PAIR_TILES tiles; then the kept ones */
    int kept_known;

    size_t zero_rows;
    double mean_positive, mean_negative; /* cosine similarities of the batch */
} mio__pairs;

/** Fills in the plan. Errors: MIO_ERROR_ARGUMENT (the sizes overflow). wide: passes in double whatever the element. */
mio_status mio__pair_plan_make(const mio_context *context, size_t pairs, size_t dim, size_t element, int wide,
                               mio__pair_storage storage, mio__pair_plan *plan);

/**
 * Takes a batch in: checks it, normalises its rows, finds the positives' similarities and the means; clears the
 * gradient. Nothing outside of pairs is written. Errors: MIO_ERROR_ARGUMENT (a non-finite value), MIO_ERROR_MEMORY.
 */
mio_status mio__pairs_begin(mio__pairs *pairs, const mio__batch *batch, int wide);
void mio__pairs_free(mio__pairs *pairs);
/** mio__pairs_begin does it unless the storage is MIO__PAIR_NOTHING. */
void mio__pairs_clear_gradient(mio__pairs *pairs);
/** Slot of row b of a view. */
size_t mio__pairs_slot(const mio__pairs *pairs, size_t view, size_t b);

/** Bytes of an element of unit, transposed and gradient: 4 or 8. */
size_t mio__pairs_type(const mio__pairs *pairs);
/** One of a worker's MIO__PAIR_ROWS rows; mio__pairs_finish and mio__pairs_begin use all of them. */
double *mio__pairs_worker_row(const mio__pairs *pairs, size_t worker, size_t index);
/** A row as it was given, width values. */
void mio__pairs_read(const mio__pairs *pairs, size_t view, size_t b, double *row);
/** The unit vector of a row, width values. */
void mio__pairs_unit(const mio__pairs *pairs, size_t view, size_t b, double *row);
/** Adds weight x vector (width values) to the gradient of a row. */
void mio__pairs_add(const mio__pairs *pairs, size_t view, size_t b, double weight, const double *vector);
/** gradient of a row = scale x itself + weight x vector. */
void mio__pairs_combine(const mio__pairs *pairs, size_t view, size_t b, double scale, double weight,
                        const double *vector);
/** The sum over the rows of the first `views` views of unit . gradient: the weights that the passes gave to the cosines
    so far, times the cosines. */
double mio__pairs_dot_gradient(const mio__pairs *pairs, size_t views);
/** Calls work for chunks of pairs in parallel: item, and mio__pairs_chunk for what it spans. */
void mio__pairs_by_chunk(const mio__pairs *pairs, mio__work work, void *argument);
void mio__pairs_chunk(const mio__pairs *pairs, size_t chunk, size_t *start, size_t *end);
/** The sum over chunks of chunk_sums[chunk x width], in order: where such work leaves its part of a value. */
double mio__pairs_sum_of_chunks(const mio__pairs *pairs);
/** What is done with pair b, many at once: it owns what belongs to the pair. Returns its part of a sum. */
typedef double (*mio__pair_visit)(void *argument, size_t b);
/** Visits all pairs; returns the sum of what they returned. */
double mio__pairs_sum(mio__pairs *pairs, mio__pair_visit visit, void *argument);

/** s[row of unit][row of transposed] = their cosines: one tile of unit vectors (edge x width) against another that lies
    transposed (width x edge), all of the plan's type. */
void mio__tile_cosines(const mio__pairs *pairs, const void *transposed, const void *unit, void *s);
/** gradient (edge x width) += weight x unit; weight[row of gradient][row of unit], or that transposed. */
void mio__tile_pull(const mio__pairs *pairs, void *gradient, const void *unit, const void *weight, int transposed);
const mio__tile_loops *mio__tile_loops_of(const mio__pairs *pairs);
/** For the loops: filling, from count to end, gets no weight; the narrow ones know no shift, which goes into the
    factor. */
void mio__settle_weights(const mio__pairs *pairs, size_t count, size_t end, mio__row_weight *weights);

/**
 * What is done with a tile of cosines, s[row of tile right][row of tile left], -infinity for pairs that are left out
 * (itself, positives, filling, the other choice); left <= right, and each tile stands for both orders of its pairs, but
 * one on the diagonal, which holds both. s may be overwritten; space is two more tiles. A visit owns what belongs to
 * the rows of both. Returns what it adds to the walk's sum.
 */
typedef double (*mio__tile_visit)(void *argument, size_t left, size_t right, void *s, void *space);
/** Visits all tiles of the upper triangle, many at once; returns the sum of what they returned. */
double mio__pairs_walk(mio__pairs *pairs, mio__tile_visit visit, void *argument);
/**
 * Sum of log(1 + exp(rate s)) over all ordered negative pairs. Adds to the gradient of each slot i the sum over its
 * negatives j of sigmoid(rate s_ij) unit_j.
 */
double mio__pairs_softplus(mio__pairs *pairs, double rate);
/**
 * The same over the pairs of one row of each view, each once, with log(1 + exp(x)), x = rate s + bias, and sigmoid(x).
 * *sigmoids: the sum of sigmoid(x).
 */
double mio__pairs_softplus_across(mio__pairs *pairs, double rate, double bias, double *sigmoids);
/** log_sums[term][slot] = the sum over the slot's negatives of exp(rate s). */
void mio__pairs_log_sums(mio__pairs *pairs, size_t term, double rate);
/** The same for terms 0 .. terms - 1 in one pass, each with its choice of the pairs; choices NULL: the pass's. Terms of
    one choice follow each other. */
void mio__pairs_all_log_sums(mio__pairs *pairs, size_t terms, const double rates[], const mio__pair_choice choices[]);
/** The logarithm of one of them. */
double mio__log_sum_value(const mio__log_sum *sum, double rate);
/** That of a row's term. */
double mio__pairs_log_sum(const mio__pairs *pairs, size_t term, double rate, size_t view, size_t b);
/**
 * Adds to the gradient of each slot i the sum over its negatives j and the terms t of
 * (factor_ti exp(rate_t s_ij - shift_ti) + factor_tj exp(rate_t s_ij - shift_tj)) unit_j,
 * with factor and shift from weights[term][slot], which the caller filled for the slots of real rows.
 */
void mio__pairs_pull(mio__pairs *pairs, size_t terms, const double rates[]);
/** The same, each term with its choice of the pairs, as in mio__pairs_all_log_sums. */
void mio__pairs_pull_chosen(mio__pairs *pairs, size_t terms, const double rates[], const mio__pair_choice choices[]);
/** Sum of exp(rate s) over all ordered negative pairs; adds to the gradient of each slot i the sum over its negatives j
    of exp(rate s_ij) unit_j. Not for wide plans, where it may overflow. */
double mio__pairs_exponentials(mio__pairs *pairs, double rate);
/**
 * Writes the batch's gradients: for the slot i with positive p, unit-space gradient factor x (what the passes added)
 * + weights_of_pair[b] unit_p, through the normalisation. weights_of_pair: one number a pair. factor 0: what the passes
 * added is not read.
 */
void mio__pairs_finish(mio__pairs *pairs, double factor, const double *weights_of_pair);
/** Mean over pairs of the squared distance of their unit vectors divided by dim, zero rows as they are. */
double mio__pairs_mean_square(const mio__pairs *pairs);
/** 1 if a gradient is asked for or kept: otherwise the passes that only add to it need not run. */
int mio__pairs_wants_gradient(const mio__pairs *pairs);

#endif
