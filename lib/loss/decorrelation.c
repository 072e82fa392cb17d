/* Losses over the columns of a batch (no normalisation of rows). With B images, d columns, z_c a view less its column
   means, D = z_c1^T z_c2 and the like never held as a whole:
       barlow_twins  u = z_c / sqrt(var + 1e-5) with var over B; C = u1^T u2 / B;
                     sum over k of (C_kk - 1)^2 + off_diagonal_weight x sum over k != l of C_kl^2  (Zbontar et al. 2021)
       vicreg        invariance_weight x mean over B d of (z1 - z2)^2
                     + variance_weight / 2 x sum over views of mean over k of max(0, 1 - sqrt(var_k + 1e-4)),
                     var over B - 1
                     + covariance_weight x sum over views of 1/d sum over k != l of Cov_kl^2, Cov = z_c^T z_c / (B - 1)
                     (Bardes et al. 2022, the official code)
   Items are blocks of columns: one owns its columns' statistics, its strip of the d x d matrix and its gradient. With
   the standardised columns u of a view (vicreg: z_c / scale), m = u_other^T u_own / (B or B - 1), and w the losses'
   weights, the gradient by u is a constant times u_other (w m), and u_own . that is the constant times m . (w m): so
   the way back through the standardisation needs no sum over rows. barlow_twins keeps its matrix where that is no
   larger than a view: the second view's gradient reads it transposed. */
#include "loss/columns_vector.h"
#include "loss/loss.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { BLOCK = MIO__COLUMNS, ROWS = 64, LIST = 32 };
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

/* A weight that would take the matrix beyond float. */
static int barlow_needs_double(const double *p)
{
    return p[OFF_DIAGONAL] > 1e15;
}

/* In extra: per worker, a strip of the matrix (width x BLOCK) and rows of a gradient (ROWS x BLOCK); both views'
   standardised columns (rows x width); the kept matrix, as strips of view 0; statistics, width each; values of blocks. */
typedef struct columns {
    mio_loss *loss;
    const mio__column_loops *loops;
    size_t pairs, dim, rows, width; /* rows, width: pairs and dim padded to whole steps of the products */
    size_t type;
    char *strips, *standard[2], *matrix; /* matrix NULL: not kept */
    double *mean[2], *square[2], *deviation[2], *factor[2], *values;
    double scale[2]; /* of vicreg's columns: factor = 1 / scale */
    int barlow;
    size_t view; /* in hand */
} columns;

static size_t padded(size_t count, size_t step)
{
    return (count + step - 1) / step * step;
}

static size_t strip_values(size_t width)
{
    return (width + ROWS) * BLOCK;
}

static int is_barlow(const mio_loss *loss)
{
    return loss->kind == &mio__loss_barlow_twins;
}

static int keeps_matrix(const mio_loss *loss, size_t rows, size_t width)
{
    return is_barlow(loss) && width <= rows;
}

static size_t extra(const mio_loss *loss, const mio__pair_plan *plan)
{
    const size_t rows = padded(plan->pairs, ROWS), width = padded(plan->dim, BLOCK);
    size_t views, strips, total;
    if (__builtin_mul_overflow(rows, 2 * width, &views) ||
        __builtin_mul_overflow(plan->workers, strip_values(width), &strips) ||
        __builtin_add_overflow(views, strips, &total) || total > SIZE_MAX / 64)
        return 0;
    total += keeps_matrix(loss, rows, width) ? width * width : 0;
    return total * (plan->wide ? sizeof(double) : sizeof(float)) + 9 * width * sizeof(double);
}

static columns carve(mio_loss *loss)
{
    const mio__pair_plan *plan = &loss->pairs.plan;
    const mio__column_kernels *kernels = MIO__PICK(mio__column_loops_of);
    columns work = {.loss = loss, .loops = &kernels->narrow, .pairs = plan->pairs, .dim = plan->dim};
    work.barlow = is_barlow(loss);
    if (plan->wide)
        work.loops = loss->pairs.batch.element == sizeof(double) ? &kernels->wide : &kernels->mixed;
    work.rows = padded(plan->pairs, ROWS);
    work.width = padded(plan->dim, BLOCK);
    work.type = mio__pairs_type(&loss->pairs);
    work.strips = loss->extra;
    char *at = work.strips + plan->workers * strip_values(work.width) * work.type;
    for (size_t view = 0; view < 2; view++, at += work.rows * work.width * work.type)
        work.standard[view] = at;
    if (keeps_matrix(loss, work.rows, work.width)) {
        work.matrix = at;
        at += work.width * work.width * work.type;
    }
    double *numbers = (double *)at;
    for (size_t view = 0; view < 2; view++, numbers += 4 * work.width) {
        work.mean[view] = numbers;
        work.square[view] = numbers + work.width;
        work.deviation[view] = numbers + 2 * work.width;
        work.factor[view] = numbers + 3 * work.width;
    }
    work.values = numbers;
    return work;
}

/* The products' kernels, anew for another width. */
static void make_products(mio_loss *loss, size_t width)
{
    if (loss->product_width == width)
        return;
    loss->products[0] = mio__gemm_make(BLOCK, width, ROWS, width, width, BLOCK, 0, 1, 1);
    loss->products[1] = mio__gemm_make(BLOCK, ROWS, width, BLOCK, width, BLOCK, 0, 0, 0);
    loss->product_width = width;
}

static mio__column_block block_of(const columns *work, const void *matrix, size_t first_row, size_t block)
{
    const size_t left = work->dim - block * BLOCK, at = first_row * work->dim + block * BLOCK;
    return (mio__column_block){(const char *)matrix + at * work->loss->pairs.batch.element, work->pairs - first_row,
                               left < BLOCK ? left : BLOCK, work->dim};
}

/* ---- statistics ---- */

static void measure_block(void *argument, size_t block, size_t worker)
{
    (void)worker;
    const columns *work = argument;
    const double count = (double)work->pairs;
    for (size_t view = 0; view < 2; view++) {
        const mio__column_block z = block_of(work, work->loss->pairs.batch.z[view], 0, block);
        work->loops->measure(&z, work->mean[view] + block * BLOCK, work->square[view] + block * BLOCK);
        for (size_t k = block * BLOCK; k < (block + 1) * BLOCK; k++) {
            const double square = work->square[view][k];
            work->deviation[view][k] =
                work->barlow ? sqrt(square / count + barlow_epsilon) : sqrt(square / (count - 1) + vicreg_epsilon);
            work->factor[view][k] = 1 / work->deviation[view][k];
        }
    }
}

/* One power of two for all columns of a view: its covariances fit float whatever the batch's scale. */
static void choose_scales(columns *work)
{
    for (size_t view = 0; view < 2; view++) {
        double most = 0;
        for (size_t k = 0; k < work->dim; k++)
            most = fmax(most, work->deviation[view][k]);
        int exponent;
        frexp(most, &exponent);
        work->scale[view] = ldexp(1, exponent);
        for (size_t k = 0; k < work->width; k++)
            work->factor[view][k] = 1 / work->scale[view];
    }
}

static void standardize_block(void *argument, size_t block, size_t worker)
{
    (void)worker;
    const columns *work = argument;
    for (size_t view = 0; view < 2; view++) {
        const mio__column_block z = block_of(work, work->loss->pairs.batch.z[view], 0, block);
        char *to = work->standard[view] + block * BLOCK * work->type;
        work->loops->standardize(&z, work->mean[view] + block * BLOCK, work->factor[view] + block * BLOCK, work->width,
                                 to);
        for (size_t b = work->pairs; b < work->rows; b++)
            memset(to + b * work->width * work->type, 0, BLOCK * work->type);
    }
}

/* ---- the matrix and the gradient, a block of columns at a time ---- */

/* strip[column of other][own column] = the sum over rows of their products. */
static void find_strip(const columns *work, const char *other, const char *own, void *strip)
{
    const size_t width = work->width, step = ROWS * width * work->type;
    if (work->type == sizeof(double)) {
        work->loss->pairs.kernels->product(&(mio__wide_product){BLOCK, width, work->rows, (const double *)own, width,
                                                                (const double *)other, 1, width, strip, BLOCK, 0});
        return;
    }
    const float *a[LIST], *b[LIST];
    const size_t tiles = work->rows / ROWS;
    memset(strip, 0, width * BLOCK * sizeof(float));
    for (size_t first = 0; first < tiles; first += LIST) {
        const size_t count = tiles - first < LIST ? tiles - first : LIST;
        for (size_t i = 0; i < count; i++) {
            a[i] = (const float *)(own + (first + i) * step);
            b[i] = (const float *)(other + (first + i) * step);
        }
        mio__gemm_run(&work->loss->products[0], a, b, strip, count);
    }
}

/* The strip of a block of view 1 from the kept strips of view 0. */
static void transpose_strip(const columns *work, size_t block, char *strip)
{
    const size_t type = work->type, width = work->width;
    for (size_t k = 0; k < width; k++) {
        const size_t column = k / BLOCK * width * BLOCK + block * BLOCK * BLOCK + k % BLOCK;
        for (size_t i = 0; i < BLOCK; i++)
            memcpy(strip + (k * BLOCK + i) * type, work->matrix + (column + i * BLOCK) * type, type);
    }
}

/* The sums of a block of the view in hand, each found once where the matrix is kept. */
static void take_strip(const columns *work, size_t block, char *strip)
{
    const size_t view = work->view, bytes = work->width * BLOCK * work->type;
    const char *own = work->standard[view] + block * BLOCK * work->type;
    if (work->matrix && view) {
        transpose_strip(work, block, strip);
        return;
    }
    find_strip(work, work->standard[work->barlow ? 1 - view : view], own, strip);
    if (work->matrix)
        memcpy(work->matrix + block * bytes, strip, bytes);
}

/* product[row][own column] = the sum over columns of other of other x strip. */
static void pull_rows(const columns *work, const char *other, const void *strip, void *product)
{
    const size_t width = work->width;
    if (work->type == sizeof(double))
        work->loss->pairs.kernels->product(
            &(mio__wide_product){BLOCK, ROWS, width, strip, BLOCK, (const double *)other, width, 1, product, BLOCK, 0});
    else
        mio__gemm_run(&work->loss->products[1], (const float *const[]){strip},
                      (const float *const[]){(const float *)other}, product, 1);
}

static double entry(const columns *work, const void *strip, size_t at)
{
    return work->type == sizeof(double) ? ((const double *)strip)[at] : (double)((const float *)strip)[at];
}

static void set_entry(const columns *work, void *strip, size_t at, double value)
{
    if (work->type == sizeof(double))
        ((double *)strip)[at] = value;
    else
        ((float *)strip)[at] = (float)value;
}

/* Turns a strip of sums into w m; along: m . (w m) for each column. Returns the strip's part of the value, for vicreg
   without its weight. */
static double judge_strip(const columns *work, size_t block, void *strip, double *along)
{
    const size_t first = block * BLOCK, count = work->dim - first < BLOCK ? work->dim - first : BLOCK;
    const double divisor = (double)work->pairs - (work->barlow ? 0 : 1);
    const double weight = work->barlow ? work->loss->settings.values[OFF_DIAGONAL] : 1;
    double diagonal[BLOCK], value = 0;
    for (size_t i = 0; i < count; i++) {
        diagonal[i] = entry(work, strip, (first + i) * BLOCK + i) / divisor;
        set_entry(work, strip, (first + i) * BLOCK + i, 0);
    }
    work->loops->judge(work->dim, divisor, weight, strip, along);
    for (size_t i = 0; i < count; i++) {
        const double wrong = diagonal[i] - 1;
        value += weight * along[i] + (work->barlow ? wrong * wrong : 0);
        along[i] = weight * along[i] + (work->barlow ? wrong * diagonal[i] : 0);
        if (work->barlow)
            set_entry(work, strip, (first + i) * BLOCK + i, wrong);
    }
    return value;
}

/* The terms of vicreg that need no matrix; the invariance with view 0. */
static double judge_columns(const columns *work, size_t block)
{
    const double *p = work->loss->settings.values, dim = (double)work->dim;
    double value = 0;
    for (size_t k = block * BLOCK; k < (block + 1) * BLOCK && k < work->dim; k++)
        value += 0.5 * p[VARIANCE] / dim * fmax(0, 1 - work->deviation[work->view][k]);
    if (!work->view) {
        const mio__column_block z = block_of(work, work->loss->pairs.batch.z[0], 0, block);
        const mio__column_block other = block_of(work, work->loss->pairs.batch.z[1], 0, block);
        value += p[INVARIANCE] * work->loops->apart(&z, other.at) / dim / (double)work->pairs;
    }
    return value;
}

/* What a block's gradient is made of. barlow_twins: (g - u mean(g u)) / deviation, the mean of g being 0. */
static void find_factors(const columns *work, size_t block, const double *along, double *of_product,
                         double *of_standard)
{
    const double *p = work->loss->settings.values, dim = (double)work->dim, count = (double)work->pairs;
    const double scale = work->scale[work->view];
    for (size_t i = 0; i < BLOCK; i++) {
        const double deviation = work->deviation[work->view][block * BLOCK + i];
        if (work->barlow) {
            of_product[i] = 2 / count / deviation;
            of_standard[i] = -of_product[i] * along[i];
        } else {
            of_product[i] = 4 * p[COVARIANCE] / dim / (count - 1) * fmin(scale * scale * scale, DBL_MAX);
            of_standard[i] = deviation < 1 ? -0.5 * p[VARIANCE] / dim / (count - 1) / deviation * scale : 0;
        }
    }
}

static void write_block(const columns *work, size_t block, const void *strip, const double *along, void *product)
{
    const size_t view = work->view, other = work->barlow ? 1 - view : view;
    const mio__batch *batch = &work->loss->pairs.batch;
    const double share = 1 / (double)work->dim / (double)work->pairs;
    double of_product[BLOCK], of_standard[BLOCK];
    find_factors(work, block, along, of_product, of_standard);
    mio__column_gradient gradient = {product, NULL, work->width, of_product, of_standard, 0};
    gradient.of_difference = work->barlow ? 0 : 2 * work->loss->settings.values[INVARIANCE] * share;
    for (size_t b = 0; b < work->pairs; b += ROWS) {
        const size_t row = b * work->width * work->type;
        mio__column_block z = block_of(work, batch->z[view], b, block);
        const mio__column_block against = block_of(work, batch->z[1 - view], b, block);
        const mio__column_block to = block_of(work, batch->gradient[view], b, block);
        z.rows = z.rows < ROWS ? z.rows : ROWS;
        gradient.standard = work->standard[view] + row + block * BLOCK * work->type;
        pull_rows(work, work->standard[other] + row, strip, product);
        work->loops->write(&gradient, &z, against.at, (void *)to.at);
    }
}

static void visit_block(void *argument, size_t block, size_t worker)
{
    const columns *work = argument;
    const size_t view = work->view;
    char *strip = work->strips + worker * strip_values(work->width) * work->type;
    double along[BLOCK];
    take_strip(work, block, strip);
    double value = judge_strip(work, block, strip, along);
    if (!work->barlow) {
        const double square = work->scale[view] * work->scale[view];
        value *= work->loss->settings.values[COVARIANCE] / (double)work->dim * fmin(square * square, DBL_MAX);
        value += judge_columns(work, block);
    }
    work->values[block] = value;
    if (work->loss->pairs.batch.gradient[view])
        write_block(work, block, strip, along, strip + work->width * BLOCK * work->type);
}

static mio_status run_columns(mio_loss *loss, double *value)
{
    columns work = carve(loss);
    const size_t blocks = work.width / BLOCK, workers = loss->pairs.plan.workers;
    make_products(loss, work.width);
    mio__parallel(loss->context, workers, blocks, measure_block, &work);
    if (!work.barlow)
        choose_scales(&work);
    mio__parallel(loss->context, workers, blocks, standardize_block, &work);
    *value = 0;
    for (work.view = 0; work.view < 2; work.view++) {
        if (work.barlow && work.view && !loss->pairs.batch.gradient[1])
            continue; /* the value came with the first view */
        mio__parallel(loss->context, workers, blocks, visit_block, &work);
        for (size_t block = 0; (!work.barlow || !work.view) && block < blocks; block++)
            *value += work.values[block];
    }
    return MIO_OK;
}

const mio__loss_kind mio__loss_barlow_twins = {"barlow_twins",
                                               barlow_parameters,
                                               1,
                                               .needs_double = barlow_needs_double,
                                               .run = run_columns,
                                               .extra = extra,
                                               .flags = MIO__LOSS_COLUMNS,
                                               .storage = MIO__PAIR_NOTHING};
const mio__loss_kind mio__loss_vicreg = {"vicreg",
                                         vicreg_parameters,
                                         3,
                                         .run = run_columns,
                                         .extra = extra,
                                         .flags = MIO__LOSS_COLUMNS,
                                         .storage = MIO__PAIR_NOTHING};
