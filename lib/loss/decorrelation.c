/* Losses over the columns of a batch (no normalisation of rows). With B images, d columns, z_c a view less its column
   means, D = z_c1^T z_c2 and the like never held as a whole:
       barlow_twins  u = z_c / sqrt(var + 1e-5) with var over B; C = u1^T u2 / B;
                     sum over k of (C_kk - 1)^2 + off_diagonal_weight x sum over k != l of C_kl^2  (Zbontar et al. 2021)
       vicreg        invariance_weight x mean over B d of (z1 - z2)^2
                     + variance_weight / 2 x sum over views of mean over k of max(0, 1 - sqrt(var_k + 1e-4)),
                     var over B - 1
                     + covariance_weight x sum over views of 1/d sum over k != l of Cov_kl^2, Cov = z_c^T z_c / (B - 1)
                     (Bardes et al. 2022, the official code)
   Items are blocks of columns: one owns its columns' statistics, its tiles of the d x d matrix and its gradient. */
#include "loss/loss.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { BLOCK = 16, ROWS = 16 };

enum { OFF_DIAGONAL };
enum { INVARIANCE, VARIANCE, COVARIANCE };

static const double barlow_epsilon = 1e-5, vicreg_epsilon = 1e-4;

static const mio__parameter barlow_parameters[] = {
    [OFF_DIAGONAL] = MIO__WEIGHT("off_diagonal_weight", 0.005, "weight of the correlations between different columns"),
};

static const mio__parameter vicreg_parameters[] = {
    [INVARIANCE] = MIO__WEIGHT("invariance_weight", 25, "weight of the mean square difference of the views"),
    [VARIANCE] = MIO__WEIGHT("variance_weight", 25, "weight of the columns' lack of spread"),
    [COVARIANCE] = MIO__WEIGHT("covariance_weight", 1, "weight of the covariances between different columns"),
};

static double steepest(const double *p)
{
    (void)p;
    return 0;
}

/* In extra, doubles: both views' columns, pairs x width; deviations, width each; values of blocks; per worker, a
   block's strip of the matrix (width x BLOCK) and of the gradient (rows x BLOCK). */
typedef struct columns {
    mio_loss *loss;
    const mio__pair_kernels *kernels;
    size_t pairs, dim, rows, width; /* rows: pairs padded to whole steps of the product */
    double *centred[2];             /* standardised for barlow_twins */
    double *deviation[2], *values, *strips;
    int barlow;
    size_t view; /* in hand */
} columns;

static size_t padded(size_t pairs)
{
    return (pairs + ROWS - 1) / ROWS * ROWS;
}

static size_t strip_values(size_t rows, size_t width)
{
    return (rows + width) * BLOCK;
}

static size_t extra(const mio_loss *loss, const mio__pair_plan *plan)
{
    (void)loss;
    const size_t rows = padded(plan->pairs);
    size_t matrix, strips, total;
    if (__builtin_mul_overflow(rows, 2 * plan->width, &matrix) ||
        __builtin_mul_overflow(plan->workers, strip_values(rows, plan->width), &strips) ||
        __builtin_add_overflow(matrix, strips, &total) || total > SIZE_MAX / 32)
        return 0;
    return (total + 3 * plan->width) * sizeof(double);
}

static columns carve(mio_loss *loss, int barlow)
{
    const mio__pair_plan *plan = &loss->pairs.plan;
    columns work = {loss,        loss->pairs.kernels, plan->pairs, plan->dim, padded(plan->pairs),
                    plan->width, .barlow = barlow};
    double *at = loss->extra;
    work.strips = at;
    at += plan->workers * strip_values(work.rows, work.width);
    for (size_t view = 0; view < 2; view++) {
        work.centred[view] = at;
        work.deviation[view] = at + work.rows * work.width;
        at = work.deviation[view] + work.width;
    }
    work.values = at;
    return work;
}

static double input(const columns *work, size_t view, size_t b, size_t k)
{
    const mio__batch *batch = &work->loss->pairs.batch;
    const size_t at = b * work->dim + k;
    return batch->element == sizeof(float) ? (double)((const float *)batch->z[view])[at]
                                           : ((const double *)batch->z[view])[at];
}

/* ---- statistics ---- */

static void centre_column(const columns *work, size_t view, size_t k)
{
    const double count = (double)work->pairs;
    double *column = work->centred[view] + k, sum = 0, square = 0;
    for (size_t b = 0; b < work->pairs; b++)
        sum += input(work, view, b, k);
    const double mean = sum / count;
    for (size_t b = 0; b < work->pairs; b++) {
        const double x = input(work, view, b, k) - mean;
        column[b * work->width] = x;
        square += x * x;
    }
    const double deviation =
        work->barlow ? sqrt(square / count + barlow_epsilon) : sqrt(square / (count - 1) + vicreg_epsilon);
    work->deviation[view][k] = deviation;
    for (size_t b = 0; work->barlow && b < work->pairs; b++)
        column[b * work->width] /= deviation;
}

static void centre_block(void *argument, size_t block, size_t worker)
{
    (void)worker;
    const columns *work = argument;
    for (size_t view = 0; view < 2; view++) {
        for (size_t b = 0; b < work->rows; b++)
            memset(work->centred[view] + b * work->width + block * BLOCK, 0, BLOCK * sizeof(double));
        for (size_t k = block * BLOCK; k < (block + 1) * BLOCK && k < work->dim; k++)
            centre_column(work, view, k);
    }
}

/* ---- the matrix and the gradient, a block of columns at a time ---- */

/* Turns a strip of barlow_twins' B C, [other column][own column], into derivatives by its entries. */
static double judge_correlations(const columns *work, size_t block, double *strip)
{
    const double weight = work->loss->settings.values[OFF_DIAGONAL], count = (double)work->pairs;
    double value = 0;
    for (size_t l = 0; l < work->dim; l++)
        for (size_t i = 0; i < BLOCK; i++) {
            double *entry = &strip[l * BLOCK + i];
            const double c = *entry / count, wrong = l == block * BLOCK + i ? c - 1 : c;
            const double w = l == block * BLOCK + i ? 1 : weight;
            if (block * BLOCK + i < work->dim)
                value += w * wrong * wrong;
            *entry = 2 * w * wrong / count;
        }
    return value;
}

/* The same of vicreg's (B - 1) Cov. */
static double judge_covariances(const columns *work, size_t block, double *strip)
{
    const double weight = work->loss->settings.values[COVARIANCE] / (double)work->dim, less = (double)work->pairs - 1;
    double value = 0;
    for (size_t l = 0; l < work->dim; l++)
        for (size_t i = 0; i < BLOCK; i++) {
            double *entry = &strip[l * BLOCK + i];
            const double c = l == block * BLOCK + i ? 0 : *entry / less;
            value += weight * c * c;
            *entry = 4 * weight * c / less;
        }
    return value;
}

/* The terms of vicreg that need no matrix; the invariance with view 0. */
static double judge_columns(const columns *work, size_t block)
{
    const double *p = work->loss->settings.values, dim = (double)work->dim;
    double value = 0, square = 0;
    for (size_t k = block * BLOCK; k < (block + 1) * BLOCK && k < work->dim; k++) {
        value += 0.5 * p[VARIANCE] / dim * fmax(0, 1 - work->deviation[work->view][k]);
        for (size_t b = 0; !work->view && b < work->pairs; b++) {
            const double x = input(work, 0, b, k) - input(work, 1, b, k);
            square += x * x;
        }
    }
    return value + p[INVARIANCE] * square / dim / (double)work->pairs;
}

static void write_value(const columns *work, size_t b, size_t k, double value)
{
    const mio__batch *batch = &work->loss->pairs.batch;
    void *to = batch->gradient[work->view];
    if (batch->element == sizeof(float))
        ((float *)to)[b * work->dim + k] = (float)fmax(-FLT_MAX, fmin(FLT_MAX, value));
    else
        ((double *)to)[b * work->dim + k] = fmax(-DBL_MAX, fmin(DBL_MAX, value));
}

/* Back through the standardisation: (g - mean g - u mean(g u)) / deviation. */
static void write_barlow_column(const columns *work, size_t k, const double *gradient)
{
    const double *u = work->centred[work->view] + k, count = (double)work->pairs;
    double mean = 0, along = 0;
    for (size_t b = 0; b < work->pairs; b++) {
        mean += gradient[b * BLOCK] / count;
        along += gradient[b * BLOCK] * u[b * work->width] / count;
    }
    for (size_t b = 0; b < work->pairs; b++)
        write_value(work, b, k,
                    (gradient[b * BLOCK] - mean - u[b * work->width] * along) / work->deviation[work->view][k]);
}

static void write_vicreg_column(const columns *work, size_t k, const double *gradient)
{
    const double *p = work->loss->settings.values, *x = work->centred[work->view] + k;
    const double dim = (double)work->dim, count = (double)work->pairs, deviation = work->deviation[work->view][k];
    const double spread = deviation < 1 ? 0.5 * p[VARIANCE] / dim / (count - 1) / deviation : 0;
    for (size_t b = 0; b < work->pairs; b++) {
        const double apart = input(work, work->view, b, k) - input(work, 1 - work->view, b, k);
        write_value(work, b, k,
                    gradient[b * BLOCK] - spread * x[b * work->width] + 2 * p[INVARIANCE] * apart / dim / count);
    }
}

static void visit_block(void *argument, size_t block, size_t worker)
{
    const columns *work = argument;
    const size_t width = work->width, view = work->view, other = work->barlow ? 1 - view : view;
    double *strip = work->strips + worker * strip_values(work->rows, width), *gradient = strip + width * BLOCK;
    work->kernels->product(&(mio__wide_product){BLOCK, width, work->rows, work->centred[view] + block * BLOCK, width,
                                                work->centred[other], 1, width, strip, BLOCK, 0});
    work->values[block] = work->barlow ? judge_correlations(work, block, strip)
                                       : judge_covariances(work, block, strip) + judge_columns(work, block);
    if (!work->loss->pairs.batch.gradient[view])
        return;
    work->kernels->product(&(mio__wide_product){BLOCK, work->rows, width, strip, BLOCK, work->centred[other], width, 1,
                                                gradient, BLOCK, 0});
    for (size_t i = 0; i < BLOCK && block * BLOCK + i < work->dim; i++)
        if (work->barlow)
            write_barlow_column(work, block * BLOCK + i, gradient + i);
        else
            write_vicreg_column(work, block * BLOCK + i, gradient + i);
}

static mio_status run_columns(mio_loss *loss, int barlow, double *value)
{
    columns work = carve(loss, barlow);
    const size_t blocks = work.width / BLOCK, workers = loss->pairs.plan.workers;
    mio__parallel(loss->context, workers, blocks, centre_block, &work);
    *value = 0;
    for (work.view = 0; work.view < 2; work.view++) {
        if (barlow && work.view && !loss->pairs.batch.gradient[1])
            continue; /* the value came with the first view */
        mio__parallel(loss->context, workers, blocks, visit_block, &work);
        for (size_t block = 0; (!barlow || !work.view) && block < blocks; block++)
            *value += work.values[block];
    }
    return MIO_OK;
}

static mio_status run_barlow(mio_loss *loss, double *value)
{
    return run_columns(loss, 1, value);
}

static mio_status run_vicreg(mio_loss *loss, double *value)
{
    return run_columns(loss, 0, value);
}

const mio__loss_kind mio__loss_barlow_twins = {"barlow_twins",       barlow_parameters, 1,
                                               .steepest = steepest, .run = run_barlow, .extra = extra};
const mio__loss_kind mio__loss_vicreg = {"vicreg",          vicreg_parameters, 3, .steepest = steepest,
                                         .run = run_vicreg, .extra = extra};
