/* Losses against learnable rows, one a class, means over all N = 2B rows (both views have the image's label y). Both
   are experimental: their conventions are stated here and have not been held against an official implementation.
       cam        class anchor margin (arXiv 2306.00630), rows e as they are, anchors c:
                  mean of |e - c_y|^2 / 2 + 1/2 sum over ordered k != l of max(0, 2 anchor_margin - |c_k - c_l|)^2
                  + 1/2 sum over k of max(0, norm_margin - |c_k|)^2
       prototype  for class-incremental learning, in the form of CIDER (Ming et al. 2023), unit vectors u, prototypes c
                  of length 1: mean of the cross-entropy of softmax(u . c / t) with y
                  + mean over k of log(mean over l != k of exp(c_k . c_l / t)) */
#include "loss/loss.h"

#include <float.h>
#include <math.h>
#include <string.h>

static double steepest(const double *p)
{
    (void)p;
    return 0;
}

/* A pass over chunks of rows, then one over classes. */
typedef struct anchors {
    mio_loss *loss;
    size_t classes, dim;
    const double *rows; /* classes x dim */
    double *slope;      /* the same */
    double *values;     /* per class */
    double *unit;       /* prototype: classes x width */
    double *inverse;    /* prototype: 1 / length, per class */
    double *log_sums;   /* prototype: of its similarities to the others, per class */
} anchors;

static size_t extra(const mio_loss *loss, const mio__pair_plan *plan)
{
    double classes = 1;
    size_t bytes;
    mio__settings_get(&loss->settings, "classes", &classes);
    if (plan->width > SIZE_MAX / 1024 ||
        __builtin_mul_overflow((size_t)classes, (plan->width + 3) * sizeof(double), &bytes) || bytes > SIZE_MAX / 4)
        return 0;
    return bytes;
}

static anchors carve(mio_loss *loss)
{
    const mio__loss_tensor *tensor = &loss->tensors[0];
    anchors work = {loss, tensor->shape[0], tensor->shape[1], tensor->exact, tensor->slope, .unit = loss->extra};
    work.values = work.unit + work.classes * loss->pairs.plan.width;
    work.inverse = work.values + work.classes;
    work.log_sums = work.inverse + work.classes;
    return work;
}

/* Runs both passes and returns the sum of what they found, in order. */
static double run_passes(const anchors *work, mio__work rows, mio__work class)
{
    const mio__pairs *pairs = &work->loss->pairs;
    mio__pairs_by_chunk(pairs, rows, (anchors *)work);
    double value = mio__pairs_sum_of_chunks(pairs);
    mio__parallel(work->loss->context, pairs->plan.workers, work->classes, class, (anchors *)work);
    for (size_t k = 0; k < work->classes; k++)
        value += work->values[k];
    return value;
}

/* ---- cam ---- */

enum { ANCHOR_MARGIN, NORM_MARGIN, CAM_CLASSES };

static const mio__parameter cam_parameters[] = {
    [ANCHOR_MARGIN] = MIO__WEIGHT("anchor_margin", 1, "anchors closer than twice this repel each other"),
    [NORM_MARGIN] = MIO__WEIGHT("norm_margin", 1, "anchors shorter than this are pushed outwards"),
    [CAM_CLASSES] = MIO__COUNT("classes", 10, "number of anchors; labels are 0 .. classes - 1", "classes"),
};

static void write_row(const mio__pairs *pairs, size_t view, size_t b, const double *row)
{
    void *to = pairs->batch.gradient[view];
    for (size_t k = 0; to && k < pairs->plan.dim; k++)
        if (pairs->batch.element == sizeof(float))
            ((float *)to)[b * pairs->plan.dim + k] = (float)fmax(-FLT_MAX, fmin(FLT_MAX, row[k]));
        else
            ((double *)to)[b * pairs->plan.dim + k] = row[k];
}

static void attract_rows(void *argument, size_t chunk, size_t worker)
{
    const anchors *work = argument;
    const mio__pairs *pairs = &work->loss->pairs;
    const double share = 0.5 / (double)pairs->plan.pairs;
    double *row = mio__pairs_worker_row(pairs, worker, 0), value = 0;
    size_t start, end;
    mio__pairs_chunk(pairs, chunk, &start, &end);
    for (size_t b = start; b < end; b++)
        for (size_t view = 0; view < 2; view++) {
            const double *anchor = work->rows + (size_t)work->loss->labels[b] * work->dim;
            mio__pairs_read(pairs, view, b, row);
            for (size_t k = 0; k < work->dim; k++) {
                const double apart = row[k] - anchor[k];
                value += 0.5 * share * apart * apart;
                row[k] = share * apart;
            }
            write_row(pairs, view, b, row);
        }
    pairs->chunk_sums[chunk * pairs->plan.width] = value;
}

/* Adds the pull of an anchor's own rows. */
static void attract_anchor(const anchors *work, size_t class, double *row)
{
    const mio__pairs *pairs = &work->loss->pairs;
    const double share = 0.5 / (double)pairs->plan.pairs, *own = work->rows + class * work->dim;
    for (size_t b = 0; b < pairs->plan.pairs; b++)
        for (size_t view = 0; view < 2 && (size_t)work->loss->labels[b] == class; view++) {
            mio__pairs_read(pairs, view, b, row);
            for (size_t k = 0; k < work->dim; k++)
                work->slope[class * work->dim + k] += share * (own[k] - row[k]);
        }
}

/* Distance of an anchor to another, or to 0 where that is NULL. */
static double distance(size_t dim, const double *a, const double *b)
{
    double square = 0;
    for (size_t k = 0; k < dim; k++) {
        const double x = a[k] - (b ? b[k] : 0);
        square += x * x;
    }
    return sqrt(square);
}

static void visit_anchor(void *argument, size_t class, size_t worker)
{
    const anchors *work = argument;
    const double *p = work->loss->settings.values, *own = work->rows + class * work->dim;
    double *slope = work->slope + class * work->dim, value = 0;
    memset(slope, 0, work->dim * sizeof *slope);
    attract_anchor(work, class, mio__pairs_worker_row(&work->loss->pairs, worker, 0));
    for (size_t other = 0; other < work->classes; other++) {
        const double *from = work->rows + other * work->dim, apart = distance(work->dim, own, from);
        const double lack = fmax(0, 2 * p[ANCHOR_MARGIN] - apart);
        if (other == class)
            continue;
        value += 0.5 * lack * lack;
        for (size_t k = 0; apart > 0 && k < work->dim; k++) /* equal anchors have no direction to part in */
            slope[k] -= 2 * lack * (own[k] - from[k]) / apart;
    }
    const double length = distance(work->dim, own, NULL), lack = fmax(0, p[NORM_MARGIN] - length);
    value += 0.5 * lack * lack;
    for (size_t k = 0; length > 0 && k < work->dim; k++)
        slope[k] -= lack * own[k] / length;
    work->values[class] = value;
}

static mio_status run_cam(mio_loss *loss, double *value)
{
    const anchors work = carve(loss);
    *value = run_passes(&work, attract_rows, visit_anchor);
    return MIO_OK;
}

/* ---- prototype ---- */

enum { TEMPERATURE, PROTOTYPE_CLASSES };

static const mio__parameter prototype_parameters[] = {
    [TEMPERATURE] = MIO__TEMPERATURE("temperature", 0.1, "temperature of the softmax over prototypes"),
    [PROTOTYPE_CLASSES] = MIO__COUNT("classes", 10, "number of prototypes; labels are 0 .. classes - 1", "classes"),
};

static double rate_of(const anchors *work)
{
    return mio__rate(work->loss->settings.values[TEMPERATURE]);
}

static double cosine(const anchors *work, const double *row, size_t class)
{
    const mio__pairs *pairs = &work->loss->pairs;
    return pairs->kernels->dot(pairs->plan.width, row, work->unit + class * pairs->plan.width);
}

/* log of the sum over classes but `left_out` of exp(rate cosine). */
static double log_sum(const anchors *work, const double *row, size_t left_out)
{
    double peak = -INFINITY, sum = 0;
    for (size_t class = 0; class < work->classes; class ++)
        if (class != left_out)
            peak = fmax(peak, cosine(work, row, class));
    for (size_t class = 0; class < work->classes; class ++)
        if (class != left_out)
            sum += exp(rate_of(work) * (cosine(work, row, class) - peak));
    return rate_of(work) * peak + log(sum);
}

/* Each row: its loss, its log sum (kept in the weights' shift), its gradient. */
static void classify_rows(void *argument, size_t chunk, size_t worker)
{
    const anchors *work = argument;
    const mio__pairs *pairs = &work->loss->pairs;
    const size_t width = pairs->plan.width;
    const double rate = rate_of(work), share = 0.5 / (double)pairs->plan.pairs;
    double *row = mio__pairs_worker_row(pairs, worker, 0), value = 0;
    size_t start, end;
    mio__pairs_chunk(pairs, chunk, &start, &end);
    for (size_t b = start; b < end; b++)
        for (size_t view = 0; view < 2; view++) {
            const size_t own = (size_t)work->loss->labels[b];
            mio__pairs_unit(pairs, view, b, row);
            const double sum = log_sum(work, row, work->classes);
            pairs->weights[0][mio__pairs_slot(pairs, view, b)].shift = sum;
            value += share * (sum - rate * cosine(work, row, own));
            for (size_t class = 0; mio__pairs_wants_gradient(pairs) && class < work->classes; class ++) {
                const double part = exp(fmin(rate * cosine(work, row, class) - sum, 0)) - (class == own);
                mio__pairs_add(pairs, view, b, share * rate * part, work->unit + class * width);
            }
        }
    pairs->chunk_sums[chunk * width] = value;
}

/* Adds weight x row to the gradient by a unit prototype. */
static void add(const anchors *work, double weight, const double *row, double *gradient)
{
    for (size_t k = 0; k < work->dim; k++)
        gradient[k] += weight * row[k];
}

static void repel(const anchors *work, size_t class, double *gradient)
{
    const size_t width = work->loss->pairs.plan.width;
    const double *own = work->unit + class * width, rate = rate_of(work), weight = rate / (double)work->classes;
    for (size_t other = 0; other < work->classes; other++) {
        const double x = rate * cosine(work, own, other);
        if (other != class)
            add(work, weight * (exp(fmin(x - work->log_sums[class], 0)) + exp(fmin(x - work->log_sums[other], 0))),
                work->unit + other * width, gradient);
    }
}

static void visit_prototype(void *argument, size_t class, size_t worker)
{
    const anchors *work = argument;
    const mio__pairs *pairs = &work->loss->pairs;
    const size_t width = pairs->plan.width;
    const double rate = rate_of(work), share = 0.5 / (double)pairs->plan.pairs, *own = work->unit + class * width;
    double *row = mio__pairs_worker_row(pairs, worker, 0), *gradient = mio__pairs_worker_row(pairs, worker, 1);
    memset(gradient, 0, width * sizeof *gradient);
    for (size_t b = 0; b < pairs->plan.pairs; b++)
        for (size_t view = 0; view < 2; view++) {
            const double sum = pairs->weights[0][mio__pairs_slot(pairs, view, b)].shift;
            mio__pairs_unit(pairs, view, b, row);
            const double part = exp(fmin(rate * cosine(work, row, class) - sum, 0));
            add(work, share * rate * (part - ((size_t)work->loss->labels[b] == class)), row, gradient);
        }
    work->values[class] = 0;
    if (work->classes > 1) {
        work->values[class] = (work->log_sums[class] - log((double)work->classes - 1)) / (double)work->classes;
        repel(work, class, gradient);
    }
    const double along = pairs->kernels->dot(width, gradient, own);
    for (size_t k = 0; k < work->dim; k++)
        work->slope[class * work->dim + k] = (gradient[k] - along * own[k]) * work->inverse[class];
}

static void normalize(void *argument, size_t class, size_t worker)
{
    (void)worker;
    const anchors *work = argument;
    const size_t width = work->loss->pairs.plan.width;
    const double *from = work->rows + class * work->dim, length = distance(work->dim, from, NULL);
    work->inverse[class] = length > 0 ? 1 / length : 0;
    for (size_t k = 0; k < width; k++)
        work->unit[class * width + k] = k < work->dim ? from[k] * work->inverse[class] : 0;
}

static void sum_prototype(void *argument, size_t class, size_t worker)
{
    (void)worker;
    const anchors *work = argument;
    const double *own = work->unit + class * work->loss->pairs.plan.width;
    work->log_sums[class] = work->classes > 1 ? log_sum(work, own, class) : 0;
}

static mio_status run_prototype(mio_loss *loss, double *value)
{
    anchors work = carve(loss);
    mio__pairs *pairs = &loss->pairs;
    mio__parallel(loss->context, pairs->plan.workers, work.classes, normalize, &work);
    mio__parallel(loss->context, pairs->plan.workers, work.classes, sum_prototype, &work);
    *value = run_passes(&work, classify_rows, visit_prototype);
    memset(pairs->similarity_of_pair, 0, pairs->plan.pairs * sizeof *pairs->similarity_of_pair);
    mio__pairs_finish(pairs, 1, pairs->similarity_of_pair);
    return MIO_OK;
}

const mio__loss_kind mio__loss_cam = {"cam",
                                      cam_parameters,
                                      3,
                                      .steepest = steepest,
                                      .run = run_cam,
                                      .extra = extra,
                                      .flags = MIO__LOSS_LABELS | MIO__LOSS_ONE_PAIR,
                                      .tensors = {"anchors"}};
const mio__loss_kind mio__loss_prototype = {"prototype",
                                            prototype_parameters,
                                            2,
                                            .steepest = steepest,
                                            .run = run_prototype,
                                            .extra = extra,
                                            .flags = MIO__LOSS_LABELS | MIO__LOSS_ONE_PAIR,
                                            .tensors = {"prototypes"}};
