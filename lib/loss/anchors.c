/* Losses against learnable rows, one a class, means over all N = 2B rows (both views have the image's label y). Both
   are experimental: their conventions are stated here and have not been held against an official implementation.
       cam        class anchor margin (arXiv 2306.00630), rows e as they are, anchors c:
                  mean of |e - c_y|^2 / 2 + 1/2 sum over ordered k != l of max(0, 2 anchor_margin - |c_k - c_l|)^2
                  + 1/2 sum over k of max(0, norm_margin - |c_k|)^2
       prototype  for class-incremental learning, in the form of CIDER (Ming et al. 2023), unit vectors u, prototypes c
                  of length 1: mean of the cross-entropy of softmax(u . c / t) with y
                  + mean over k of log(mean over l != k of exp(c_k . c_l / t)) */
#include "loss/loss.h"

#include <math.h>
#include <string.h>

/* Rows of a batch are taken in tiles, and these in at most so many pieces: each adds up what prototypes get from it. */
enum { PIECES = 16 };

/* A pass over rows, then one over classes. */
typedef struct anchors {
    mio_loss *loss;
    size_t classes, dim;
    const double *rows; /* classes x dim */
    double *slope;      /* the same */
    double *values;     /* per class */
    double *unit;       /* prototype: classes x width */
    double *inverse;    /* prototype: 1 / length, per class */
    double *log_sums;   /* prototype: of its similarities to the others, per class */
    /* prototype, in the passes' type */
    size_t padded; /* classes, filled up to whole lanes */
    size_t pieces;
    double *piece_values;     /* per piece */
    char *plain, *transposed; /* unit: padded x width, width x padded; zero for the filling */
    char *weights, *slopes;   /* per worker: edge x padded; per piece: padded x width */
} anchors;

static size_t padded_classes(size_t classes)
{
    return (classes + MIO__PAIR_LANES - 1) / MIO__PAIR_LANES * MIO__PAIR_LANES;
}

/* Per class a row and three numbers, in double; for prototype then the rest of `anchors`, in its order. */
static size_t extra(const mio_loss *loss, const mio__pair_plan *plan)
{
    double classes = 1;
    mio__settings_get(&loss->settings, "classes", &classes);
    const size_t count = (size_t)classes, padded = padded_classes(count);
    const size_t type = plan->wide ? sizeof(double) : sizeof(float);
    size_t numbers, rows, weights, bytes;
    if (plan->width > SIZE_MAX / 1024 || __builtin_mul_overflow(count, plan->width + 3, &numbers) ||
        __builtin_mul_overflow(padded, (PIECES + 2) * plan->width, &rows) ||
        __builtin_mul_overflow(padded, plan->workers * plan->edge, &weights) ||
        __builtin_add_overflow(rows, weights, &bytes) || __builtin_add_overflow(bytes, numbers, &bytes) ||
        bytes > SIZE_MAX / 32)
        return 0;
    return (numbers + PIECES + 1) * sizeof(double) + (loss->kind == &mio__loss_prototype ? (rows + weights) * type : 0);
}

static anchors carve(mio_loss *loss)
{
    const mio__loss_tensor *tensor = &loss->tensors[0];
    const mio__pair_plan *plan = &loss->pairs.plan;
    anchors work = {loss, tensor->shape[0], tensor->shape[1], tensor->value64, tensor->gradient64, .unit = loss->extra};
    work.values = work.unit + work.classes * plan->width;
    work.inverse = work.values + work.classes;
    work.log_sums = work.inverse + work.classes;
    work.piece_values = work.log_sums + work.classes;
    work.padded = padded_classes(work.classes);
    work.pieces = plan->tiles < PIECES ? plan->tiles : PIECES;
    const size_t rows = work.padded * plan->width * mio__pairs_type(&loss->pairs);
    work.plain = (char *)(work.piece_values + PIECES);
    work.transposed = work.plain + rows;
    work.slopes = work.transposed + rows;
    work.weights = work.slopes + PIECES * rows;
    return work;
}

/* Visits all classes and returns the sum of what they found, in order. */
static double visit_classes(const anchors *work, mio__work class)
{
    double value = 0;
    mio__parallel(work->loss->context, work->loss->pairs.plan.workers, work->classes, class, (anchors *)work);
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

static void attract_rows(void *argument, size_t chunk, size_t worker)
{
    const anchors *work = argument;
    const mio__pairs *pairs = &work->loss->pairs;
    const mio__pair_kernels *kernels = pairs->kernels;
    const size_t dim = work->dim;
    const double share = 0.5 / (double)pairs->plan.pairs;
    double *row = mio__pairs_worker_row(pairs, worker, 0), value = 0;
    size_t start, end;
    mio__pairs_chunk(pairs, chunk, &start, &end);
    for (size_t b = start; b < end; b++)
        for (size_t view = 0; view < 2; view++) {
            const double *anchor = work->rows + (size_t)work->loss->labels[b] * dim;
            void *to = pairs->batch.gradient[view];
            mio__pairs_read(pairs, view, b, row);
            kernels->combine_wide(dim, 1, row, -1, anchor, row);
            value += 0.5 * share * kernels->dot(pairs->plan.width, row, row);
            if (to && pairs->batch.element == sizeof(float))
                kernels->write_float(dim, row, 0, row, share, 1, (float *)to + b * dim);
            else if (to)
                kernels->write_double(dim, row, 0, row, share, 1, (double *)to + b * dim);
        }
    pairs->chunk_sums[chunk * pairs->plan.width] = value;
}

/* Adds the pull of an anchor's own rows. row, sum: width values each. */
static void attract_anchor(const anchors *work, size_t class, double *row, double *sum)
{
    const mio__pairs *pairs = &work->loss->pairs;
    const double share = 0.5 / (double)pairs->plan.pairs, *own = work->rows + class * work->dim;
    double count = 0;
    memset(sum, 0, work->dim * sizeof *sum);
    for (size_t b = 0; b < pairs->plan.pairs; b++)
        for (size_t view = 0; view < 2 && (size_t)work->loss->labels[b] == class; view++) {
            mio__pairs_read(pairs, view, b, row);
            pairs->kernels->add(work->dim, row, sum);
            count++;
        }
    for (size_t k = 0; k < work->dim; k++)
        work->slope[class * work->dim + k] += share * (count * own[k] - sum[k]);
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
    attract_anchor(work, class, mio__pairs_worker_row(&work->loss->pairs, worker, 0),
                   mio__pairs_worker_row(&work->loss->pairs, worker, 1));
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
    anchors work = carve(loss);
    mio__pairs_by_chunk(&loss->pairs, attract_rows, &work);
    *value = mio__pairs_sum_of_chunks(&loss->pairs);
    *value += visit_classes(&work, visit_anchor);
    return MIO_OK;
}

/* ---- prototype ---- */

enum { TEMPERATURE, PROTOTYPE_CLASSES };

static const mio__parameter prototype_parameters[] = {
    [TEMPERATURE] = MIO__TEMPERATURE("temperature", 0.1, "temperature of the softmax over prototypes"),
    [PROTOTYPE_CLASSES] = MIO__COUNT("classes", 10, "number of prototypes; labels are 0 .. classes - 1", "classes"),
};

static int needs_double(const double *p)
{
    return mio__is_steep(mio__rate(p[TEMPERATURE]));
}

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

/* One of the products of a tile of rows: columns x rows of c, from a and b in the passes' type. */
static void multiply(const anchors *work, size_t which, const mio__wide_product *wide, const void *a, const void *b,
                     void *c)
{
    if (work->loss->pairs.plan.wide) {
        mio__wide_product product = *wide;
        product.a = a;
        product.b = b;
        product.c = c;
        work->loss->pairs.kernels->product(&product);
    } else {
        mio__gemm_run(&work->loss->products[which], (const float *const[]){a}, (const float *const[]){b}, c, 1);
    }
}

/* c[row][class] = their cosine; c[row][k] = weights x prototypes; c[class][k] += weights x rows. */
enum { COSINES, PULL_ROWS, PULL_PROTOTYPES };

static void make_products(mio_loss *loss, size_t padded)
{
    const size_t width = loss->pairs.plan.width, edge = loss->pairs.plan.edge;
    if (loss->pairs.plan.wide ||
        (loss->product_width == width && loss->products[COSINES].m == padded && loss->products[COSINES].n == edge))
        return;
    loss->products[COSINES] = mio__gemm_make(padded, edge, width, padded, width, padded, 0, 0, 0);
    loss->products[PULL_ROWS] = mio__gemm_make(width, edge, padded, width, padded, width, 0, 0, 0);
    loss->products[PULL_PROTOTYPES] = mio__gemm_make(width, padded, edge, width, padded, width, 0, 1, 1);
    loss->product_width = width;
}

/* Turns a row's cosines into derivatives by them; returns its loss. */
static double classify_row(const anchors *work, size_t own, char *cosines)
{
    const mio__pairs *pairs = &work->loss->pairs;
    const double rate = rate_of(work), share = 0.5 / (double)pairs->plan.pairs;
    if (pairs->plan.wide) {
        double *row = (double *)cosines;
        const double x = rate * row[own];
        const double sum = pairs->kernels->wide.softmax(work->classes, work->padded, rate, share * rate, row);
        row[own] -= share * rate;
        return share * (sum - x);
    }
    float *row = (float *)cosines;
    const double x = rate * row[own];
    const double sum = pairs->kernels->narrow.softmax(work->classes, work->padded, rate, share * rate, row);
    row[own] -= (float)(share * rate);
    return share * (sum - x);
}

/* Writes the gradients of a tile of rows, and adds to those of the prototypes. */
static double classify_tile(const anchors *work, size_t tile, char *weights, char *slopes)
{
    const mio__pairs *pairs = &work->loss->pairs;
    const size_t edge = pairs->plan.edge, width = pairs->plan.width, padded = work->padded,
                 type = mio__pairs_type(pairs);
    const char *rows = (const char *)pairs->unit + tile * edge * width * type;
    const size_t first = tile * edge % pairs->plan.slots_per_view;
    double value = 0;
    multiply(work, COSINES, &(mio__wide_product){padded, edge, width, NULL, padded, NULL, width, 1, NULL, padded, 0},
             work->transposed, rows, weights);
    for (size_t i = 0; i < edge; i++) {
        char *row = weights + i * padded * type;
        if (first + i < pairs->plan.pairs)
            value += classify_row(work, (size_t)work->loss->labels[first + i], row);
        else
            memset(row, 0, padded * type);
    }
    if (mio__pairs_wants_gradient(pairs))
        multiply(work, PULL_ROWS,
                 &(mio__wide_product){width, edge, padded, NULL, width, NULL, padded, 1, NULL, width, 0}, work->plain,
                 weights, (char *)pairs->gradient + tile * edge * width * type);
    multiply(work, PULL_PROTOTYPES,
             &(mio__wide_product){width, padded, edge, NULL, width, NULL, 1, padded, NULL, width, 1}, rows, weights,
             slopes);
    return value;
}

static void classify_piece(void *argument, size_t piece, size_t worker)
{
    const anchors *work = argument;
    const mio__pair_plan *plan = &work->loss->pairs.plan;
    const size_t type = mio__pairs_type(&work->loss->pairs), rows = work->padded * plan->width * type;
    char *slopes = work->slopes + piece * rows;
    memset(slopes, 0, rows);
    work->piece_values[piece] = 0;
    for (size_t tile = piece * plan->tiles / work->pieces; tile < (piece + 1) * plan->tiles / work->pieces; tile++)
        work->piece_values[piece] +=
            classify_tile(work, tile, work->weights + worker * plan->edge * work->padded * type, slopes);
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

/* An element of an array in the passes' type. */
static double element(const anchors *work, const char *array, size_t at)
{
    return work->loss->pairs.plan.wide ? ((const double *)array)[at] : (double)((const float *)array)[at];
}

static void visit_prototype(void *argument, size_t class, size_t worker)
{
    const anchors *work = argument;
    const mio__pairs *pairs = &work->loss->pairs;
    const size_t width = pairs->plan.width;
    const double *own = work->unit + class * width;
    double *gradient = mio__pairs_worker_row(pairs, worker, 1);
    memset(gradient, 0, width * sizeof *gradient);
    for (size_t piece = 0; piece < work->pieces; piece++)
        for (size_t k = 0; k < width; k++)
            gradient[k] += element(work, work->slopes, (piece * work->padded + class) * width + k);
    work->values[class] = 0;
    if (work->classes > 1) {
        work->values[class] = (work->log_sums[class] - log((double)work->classes - 1)) / (double)work->classes;
        repel(work, class, gradient);
    }
    const double along = pairs->kernels->dot(width, gradient, own);
    for (size_t k = 0; k < work->dim; k++)
        work->slope[class * work->dim + k] = (gradient[k] - along * own[k]) * work->inverse[class];
}

/* Class classes .. padded - 1 are the filling. */
static void normalize(void *argument, size_t class, size_t worker)
{
    (void)worker;
    const anchors *work = argument;
    const mio__pairs *pairs = &work->loss->pairs;
    const size_t width = pairs->plan.width;
    double *unit = work->unit + class * width;
    if (class < work->classes) {
        const double *from = work->rows + class * work->dim, length = distance(work->dim, from, NULL);
        work->inverse[class] = length > 0 ? 1 / length : 0;
        for (size_t k = 0; k < width; k++)
            unit[k] = k < work->dim ? from[k] * work->inverse[class] : 0;
    }
    for (size_t k = 0; k < width; k++) {
        const double x = class < work->classes ? unit[k] : 0;
        if (pairs->plan.wide)
            ((double *)work->plain)[class * width + k] = ((double *)work->transposed)[k * work->padded + class] = x;
        else
            ((float *)work->plain)[class * width + k] = ((float *)work->transposed)[k * work->padded + class] =
                (float)x;
    }
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
    make_products(loss, work.padded);
    mio__parallel(loss->context, pairs->plan.workers, work.padded, normalize, &work);
    mio__parallel(loss->context, pairs->plan.workers, work.classes, sum_prototype, &work);
    mio__parallel(loss->context, pairs->plan.workers, work.pieces, classify_piece, &work);
    *value = 0;
    for (size_t piece = 0; piece < work.pieces; piece++)
        *value += work.piece_values[piece];
    *value += visit_classes(&work, visit_prototype);
    memset(pairs->similarity_of_pair, 0, pairs->plan.pairs * sizeof *pairs->similarity_of_pair);
    mio__pairs_finish(pairs, 1, pairs->similarity_of_pair);
    return MIO_OK;
}

const mio__loss_kind mio__loss_cam = {"cam",
                                      cam_parameters,
                                      3,
                                      .run = run_cam,
                                      .extra = extra,
                                      .flags = MIO__LOSS_LABELS | MIO__LOSS_ONE_PAIR,
                                      .storage = MIO__PAIR_NOTHING,
                                      .tensors = {"anchors"}};
const mio__loss_kind mio__loss_prototype = {"prototype",
                                            prototype_parameters,
                                            2,
                                            .needs_double = needs_double,
                                            .run = run_prototype,
                                            .extra = extra,
                                            .flags = MIO__LOSS_LABELS | MIO__LOSS_ONE_PAIR | MIO__LOSS_DIRECTIONS,
                                            .storage = MIO__PAIR_ROWS_ALONE,
                                            .tensors = {"prototypes"}};
