#include "evaluate/lbfgs.h"
#include "evaluate/probe.h"

#include <math.h>
#include <string.h>

/* Multinomial logistic regression. Logits and gradients are made in float by GEMMs, sums and weights kept in double:
   the rows fall into at most PIECES pieces, fixed by their number, whose gradients are added in order. */
enum { ROWS = MIO__LINEAR_ROWS, PIECES = 32 };

enum { PARAMETER_PENALTY = MIO__PROBE_STANDARDIZE + 1, PARAMETER_ITERATIONS, PARAMETER_TOLERANCE, PARAMETER_COUNT };

static const mio__parameter parameters[PARAMETER_COUNT] = {
    [MIO__PROBE_STANDARDIZE] = {"standardize", MIO_PARAMETER_BOOLEAN, 1, 0, 1, 0, 0, NULL,
                                "bring every feature to mean 0 and deviation 1 first", ""},
    [PARAMETER_PENALTY] = {"penalty", MIO_PARAMETER_REAL, 1e-4, 0, INFINITY, 0, 1, NULL,
                           "times the squared weights, added to the mean cross-entropy; 0: chosen by validation", ""},
    [PARAMETER_ITERATIONS] = {"iterations", MIO_PARAMETER_INTEGER, 100, 1, 1e9, 0, 0, NULL, "at most so many of L-BFGS",
                              ""},
    [PARAMETER_TOLERANCE] = {"tolerance", MIO_PARAMETER_REAL, 1e-5, 0, INFINITY, 0, 1, NULL,
                             "ends when no entry of the gradient is larger", ""},
};

struct mio__regression {
    mio_context *context;
    size_t count, dim, classes;
    size_t blocks, pieces; /* of ROWS rows; of blocks */
    double penalty;
    float *x; /* blocks x ROWS x dim, scaled, filled up with zeros */
    const int32_t *labels;
    mio__linear linear;
    mio__gemm gradient[2]; /* dim x width (+)= x^T p over one block: the first of a piece, the others */
    size_t workers;
    float *logits;      /* workers x ROWS x width */
    float *weight_sums; /* pieces x dim x width */
    double *bias_sums;  /* pieces x width */
    double *losses;     /* pieces */
};

void mio__regression_free(mio__regression *r)
{
    if (!r)
        return;
    mio__free(r->context, r->x);
    mio__linear_free(&r->linear);
    mio__free(r->context, r->logits);
    mio__free(r->context, r->weight_sums);
    mio__free(r->context, r->bias_sums);
    mio__free(r->context, r->losses);
    mio__free(r->context, r);
}

typedef struct scale_work {
    mio__regression *regression;
    const mio__scaling *scaling;
    const float *features;
} scale_work;

static void scale_block(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const scale_work *work = argument;
    mio__regression *r = work->regression;
    const size_t first = item * ROWS, rows = r->count - first < ROWS ? r->count - first : ROWS;
    float *x = r->x + first * r->dim;
    mio__scale_rows(work->scaling, rows, r->dim, work->features + first * r->dim, x);
    memset(x + rows * r->dim, 0, (ROWS - rows) * r->dim * sizeof *x);
}

mio_status mio__regression_create(mio_context *context, const mio__scaling *scaling, const mio__samples *samples,
                                  size_t dim, size_t classes, mio__regression **regression)
{
    mio__regression *r = mio__alloc_zeroed(context, 1, sizeof *r);
    if (!r)
        return MIO_ERROR_MEMORY;
    r->context = context;
    r->count = samples->count;
    r->dim = dim;
    r->classes = classes;
    r->blocks = (samples->count + ROWS - 1) / ROWS;
    r->pieces = r->blocks < PIECES ? r->blocks : PIECES;
    r->labels = samples->labels;
    r->workers = mio__workers(context);
    r->x = mio__alloc(context, r->blocks * ROWS * dim * sizeof(float));
    if (!r->x || mio__linear_init(&r->linear, context, dim, classes)) {
        mio__regression_free(r);
        return MIO_ERROR_MEMORY;
    }
    const size_t width = r->linear.width;
    r->logits = mio__alloc_zeroed(context, r->workers * ROWS, width * sizeof(float));
    r->weight_sums = mio__alloc_zeroed(context, r->pieces * dim, width * sizeof(float));
    r->bias_sums = mio__alloc_zeroed(context, r->pieces, width * sizeof(double));
    r->losses = mio__alloc_zeroed(context, r->pieces, sizeof(double));
    if (!r->logits || !r->weight_sums || !r->bias_sums || !r->losses) {
        mio__regression_free(r);
        return MIO_ERROR_MEMORY;
    }
    for (int accumulate = 0; accumulate < 2; accumulate++)
        r->gradient[accumulate] = mio__gemm_make(width, dim, ROWS, width, dim, width, 0, 1, accumulate);
    scale_work work = {r, scaling, samples->features};
    mio__parallel(context, r->workers, r->blocks, scale_block, &work);
    *regression = r;
    return MIO_OK;
}

void mio__regression_set_penalty(mio__regression *regression, double penalty)
{
    regression->penalty = penalty;
}

/* Loss and gradient of one piece: blocks piece, piece + pieces, ... */
static void add_piece(void *argument, size_t piece, size_t worker)
{
    mio__regression *r = argument;
    const size_t width = r->linear.width;
    float *logits = r->logits + worker * ROWS * width, *weight_sums = r->weight_sums + piece * r->dim * width;
    double *bias_sums = r->bias_sums + piece * width;
    memset(bias_sums, 0, width * sizeof *bias_sums);
    r->losses[piece] = 0;
    for (size_t block = piece; block < r->blocks; block += r->pieces) {
        const size_t first = block * ROWS, rows = r->count - first < ROWS ? r->count - first : ROWS;
        const float *const x = r->x + first * r->dim, *const p = logits;
        mio__linear_logits(&r->linear, x, logits);
        for (size_t row = 0; row < rows; row++) {
            float *own = logits + row * width;
            r->losses[piece] += mio__linear_loss(&r->linear, r->labels[first + row], 1, own);
            for (size_t c = 0; c < width; c++)
                bias_sums[c] += own[c];
        }
        memset(logits + rows * width, 0, (ROWS - rows) * width * sizeof *logits);
        mio__gemm_run(&r->gradient[block != piece], &p, &x, weight_sums, 1);
    }
}

double mio__regression_value(void *user, const double *weights, double *gradient)
{
    mio__regression *r = user;
    const size_t width = r->linear.width, classes = r->classes, size = r->dim * classes;
    for (size_t d = 0; d < r->dim; d++)
        for (size_t c = 0; c < classes; c++)
            r->linear.weights[d * width + c] = (float)weights[d * classes + c];
    for (size_t c = 0; c < classes; c++)
        r->linear.bias[c] = (float)weights[size + c];
    mio__parallel(r->context, r->workers, r->pieces, add_piece, r);

    double loss = 0, squares = 0;
    memset(gradient, 0, (size + classes) * sizeof *gradient);
    for (size_t piece = 0; piece < r->pieces; piece++) {
        const float *sums = r->weight_sums + piece * r->dim * width;
        for (size_t d = 0; d < r->dim; d++)
            for (size_t c = 0; c < classes; c++)
                gradient[d * classes + c] += sums[d * width + c];
        for (size_t c = 0; c < classes; c++)
            gradient[size + c] += r->bias_sums[piece * width + c];
        loss += r->losses[piece];
    }
    for (size_t i = 0; i < size + classes; i++)
        gradient[i] /= (double)r->count;
    for (size_t i = 0; i < size; i++) {
        gradient[i] += 2 * r->penalty * weights[i];
        squares += weights[i] * weights[i];
    }
    return loss / (double)r->count + r->penalty * squares;
}

/* ---- the solver ---- */

static mio_status solve(mio__regression *r, const mio__settings *settings, double penalty, double *weights,
                        mio__linear *linear)
{
    mio__regression_set_penalty(r, penalty);
    const mio_status status =
        mio__lbfgs(r->context, (r->dim + 1) * r->classes, weights, mio__regression_value, r,
                   (size_t)settings->values[PARAMETER_ITERATIONS], settings->values[PARAMETER_TOLERANCE], NULL);
    if (status)
        return status;
    for (size_t d = 0; d < r->dim; d++)
        for (size_t c = 0; c < r->classes; c++)
            linear->weights[d * linear->width + c] = (float)weights[d * r->classes + c];
    for (size_t c = 0; c < r->classes; c++)
        linear->bias[c] = (float)weights[r->dim * r->classes + c];
    return MIO_OK;
}

/* From the strongest penalty to the weakest, each from the last one's optimum; the lowest validation loss wins, the
   stronger of equals. */
static mio_status choose_penalty(mio__regression *r, const mio__settings *settings, const mio__scaling *scaling,
                                 const mio__samples *validation, double *weights, mio__linear *best)
{
    static const double penalties[] = {1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6};
    mio__linear trial;
    mio_status status = mio__linear_init(&trial, r->context, r->dim, r->classes);
    if (status)
        return status;
    double lowest = INFINITY;
    for (size_t i = 0; !status && i < sizeof penalties / sizeof *penalties; i++) {
        double loss;
        status = solve(r, settings, penalties[i], weights, &trial);
        if (!status)
            status = mio__linear_apply(&trial, scaling, validation->count, validation->features, validation->labels,
                                       NULL, NULL, &loss);
        if (!status && loss < lowest) {
            lowest = loss;
            mio__linear_copy(best, &trial);
        }
    }
    mio__linear_free(&trial);
    return status;
}

static mio_status fit_exact(const mio__settings *settings, const mio__scaling *scaling, const mio__samples *train,
                            const mio__samples *validation, mio__linear *linear)
{
    const double penalty = settings->values[PARAMETER_PENALTY];
    if (penalty == 0 && !validation->count)
        return mio__fail(MIO_ERROR_STATE, "probe 'exact' with 'penalty' 0 chooses it by a validation set: call "
                                          "mio_probe_fit_validated, or set a penalty");
    double *weights = mio__alloc_zeroed(linear->context, linear->dim + 1, linear->classes * sizeof(double));
    if (!weights)
        return MIO_ERROR_MEMORY;
    mio__regression *r = NULL;
    mio_status status = mio__regression_create(linear->context, scaling, train, linear->dim, linear->classes, &r);
    if (!status)
        status = penalty > 0 ? solve(r, settings, penalty, weights, linear)
                             : choose_penalty(r, settings, scaling, validation, weights, linear);
    mio__regression_free(r);
    mio__free(linear->context, weights);
    return status;
}

const mio__solver mio__probe_exact = {"exact", parameters, PARAMETER_COUNT, fit_exact};
