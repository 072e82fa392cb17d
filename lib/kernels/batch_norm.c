#include "kernels/batch_norm.h"

#include "kernels/batch_norm_vector.h"

#include <math.h>
#include <string.h>

/* Elements of a piece: what one item of parallel work does, and what one pair of partial sums covers. A constant of the
   format of sums: it fixes the bits. */
enum { PIECE = 65536, BLOCK_LIMIT = 64 };

/* How a tensor is cut: every block of every group into chunks of pixels. */
typedef struct cut {
    size_t pixels;       /* of an image */
    size_t chunk_pixels; /* of a piece; its last may have fewer */
    size_t chunks;
    size_t pieces; /* of one channel block of one view */
    size_t items;  /* pieces of the tensor */
    size_t record; /* doubles of a piece's sums: two per channel, then its count */
} cut;

static cut cut_tensor(const mio__batch_norm *norm)
{
    const mio__shape *shape = &norm->shape;
    const size_t pixel = norm->images.lanes * shape->block;
    cut c = {.pixels = shape->height * shape->width, .chunk_pixels = pixel < PIECE ? PIECE / pixel : 1};
    c.chunks = (c.pixels + c.chunk_pixels - 1) / c.chunk_pixels;
    c.pieces = norm->images.groups * c.chunks;
    c.items = norm->images.views * shape->blocks * c.pieces;
    c.record = 2 * shape->block + 8;
    return c;
}

/* One piece. */
typedef struct piece {
    size_t view, block;
    size_t start;    /* of its elements in the tensor */
    size_t pixels;   /* in the piece */
    size_t images;   /* real images in the group */
    double *sums;    /* its record in the scratch memory */
    size_t channels; /* start of its block in an array of channels */
    size_t per_view; /* start of its block in an array of views x channels */
} piece;

/* Items run through the tensor in memory order; records lie so that the pieces of one channel block are neighbours. */
static piece find_piece(const mio__batch_norm *norm, const cut *c, double *records, size_t item)
{
    const mio__shape *shape = &norm->shape;
    const size_t chunk = item % c->chunks, slab = item / c->chunks; /* slab: one block of one group */
    const size_t block = slab % shape->blocks, group = slab / shape->blocks % norm->images.groups;
    const size_t view = slab / shape->blocks / norm->images.groups;
    const size_t first = chunk * c->chunk_pixels, left = c->pixels - first;
    const size_t record = ((view * shape->blocks + block) * norm->images.groups + group) * c->chunks + chunk;
    return (piece){
        .view = view,
        .block = block,
        .start = (slab * c->pixels + first) * norm->images.lanes * shape->block,
        .pixels = left < c->chunk_pixels ? left : c->chunk_pixels,
        .images = mio__group_count(&norm->images, group),
        .sums = records ? records + record * c->record : NULL,
        .channels = block * shape->block,
        .per_view = (view * shape->blocks + block) * shape->block,
    };
}

/* Where all images of a group are real, the rows of its pixels form one long run; otherwise there is one run a pixel.
 */
typedef struct runs {
    size_t count, rows, stride; /* stride in elements */
} runs;

static runs runs_of(const mio__batch_norm *norm, const piece *p)
{
    const size_t lanes = norm->images.lanes, block = norm->shape.block;
    if (p->images == lanes)
        return (runs){1, p->pixels * lanes, 0};
    return (runs){p->pixels, p->images, lanes * block};
}

/* Writes 0 in the filling images of a piece. */
static void clear_filling(const mio__batch_norm *norm, const piece *p, void *tensor)
{
    const size_t lanes = norm->images.lanes, block = norm->shape.block;
    const mio__precision precision = norm->images.precision;
    if (p->images == lanes)
        return;
    for (size_t pixel = 0; pixel < p->pixels; pixel++)
        memset(mio__at(tensor, p->start + (pixel * lanes + p->images) * block, precision), 0,
               (lanes - p->images) * block * mio__number_size(precision));
}

/* What the items of a pass share. Members a pass does not use stay NULL. */
typedef struct pass {
    const mio__batch_norm *norm;
    const mio__batch_norm_kernels *kernels;
    cut c;
    double *records;
    mio__precision precision;
    const void *x, *y, *dy, *residual;
    const mio__real *gamma, *beta;
    mio__real *mean, *rstd, *running_mean, *running_variance;
    mio__real *dgamma, *dbeta;
    void *output, *dresidual;
    mio__real *offset, *slope; /* views x channels */
    void *masked;              /* the gradient behind the ReLU, if the first backward pass keeps it */
    int dresidual_accumulate;
} pass;

static size_t channel_count(const mio__batch_norm *norm)
{
    return norm->shape.blocks * norm->shape.block;
}

size_t mio__batch_norm_scratch_size(const mio__batch_norm *norm, size_t workers)
{
    (void)workers;
    const cut c = cut_tensor(norm);
    return c.items * c.record * sizeof(double) + 2 * norm->images.views * channel_count(norm) * sizeof(mio__real) + 64;
}

/* Real values of one channel in one view. */
static double sample_count(const mio__batch_norm *norm)
{
    return (double)norm->images.count * (double)(norm->shape.height * norm->shape.width);
}

/* ---- statistics: each piece gives mean and sum of squared deviations; pairs are merged in a tree ---- */

static void piece_statistics(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const piece p = find_piece(s->norm, &s->c, s->records, item);
    const size_t block = s->norm->shape.block;
    const runs r = runs_of(s->norm, &p);
    /* Deviations from the mean of the first pixel's images: small even where the mean is far from 0, and one stray
       image moves it by its share alone. */
    mio__real shift[BLOCK_LIMIT];
    double first[BLOCK_LIMIT] = {0};
    s->kernels->sums(p.images, block, mio__from(s->x, p.start, s->precision), first);
    for (size_t c = 0; c < block; c++)
        shift[c] = (mio__real)(first[c] / (double)p.images);
    double *mean = p.sums, *squares = p.sums + block, *count = p.sums + 2 * block;
    memset(p.sums, 0, s->c.record * sizeof(double));
    for (size_t run = 0; run < r.count; run++)
        s->kernels->moments(r.rows, block, shift, mio__from(s->x, p.start + run * r.stride, s->precision), mean,
                            squares);
    *count = (double)(r.count * r.rows);
    for (size_t c = 0; c < block; c++) {
        const double offset = mean[c] / *count;
        squares[c] -= offset * mean[c];
        squares[c] = squares[c] > 0 || isnan(squares[c]) ? squares[c] : 0;
        mean[c] = (double)shift[c] + offset;
    }
}

/* Chan's rule for the statistics of two samples. */
static void merge_statistics(size_t block, double *into, const double *other)
{
    const double count = into[2 * block] + other[2 * block];
    const double share = other[2 * block] / count, weight = into[2 * block] * share;
    for (size_t c = 0; c < block; c++) {
        const double delta = other[c] - into[c];
        into[c] += delta * share;
        into[block + c] += other[block + c] + delta * delta * weight;
    }
    into[2 * block] = count;
}

static void merge_sums(size_t block, double *into, const double *other)
{
    for (size_t c = 0; c < 2 * block; c++)
        into[c] += other[c];
}

/* Merges the records of one channel block of one view in a binary tree; returns the root. */
static const double *merge_tree(const pass *s, size_t view, size_t block,
                                void (*merge)(size_t block, double *into, const double *other))
{
    const size_t pieces = s->c.pieces;
    double *first = s->records + (view * s->norm->shape.blocks + block) * pieces * s->c.record;
    for (size_t step = 1; step < pieces; step *= 2)
        for (size_t i = 0; i + step < pieces; i += 2 * step)
            merge(s->norm->shape.block, first + i * s->c.record, first + (i + step) * s->c.record);
    return first;
}

static void update_running(mio__real *running, double momentum, double value)
{
    *running = (mio__real)((1 - momentum) * (double)*running + momentum * value);
}

static void block_statistics(void *argument, size_t block, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const mio__batch_norm *norm = s->norm;
    const size_t width = norm->shape.block;
    const double count = sample_count(norm);
    for (size_t view = 0; view < norm->images.views; view++) {
        const double *root = merge_tree(s, view, block, merge_statistics);
        mio__real *mean = s->mean + view * channel_count(norm), *rstd = s->rstd + view * channel_count(norm);
        for (size_t i = 0; i < width; i++) {
            const size_t c = block * width + i;
            mean[c] = (mio__real)root[i];
            rstd[c] = (mio__real)(1 / sqrt(root[width + i] / count + norm->epsilon));
            update_running(&s->running_mean[c], norm->momentum, root[i]);
            update_running(&s->running_variance[c], norm->momentum, root[width + i] / (count - 1));
        }
    }
}

/* ---- forward ---- */

/* The second pass runs backwards: the end of x is what the caches still hold of the first. */
static piece piece_from_end(const pass *s, size_t item)
{
    return find_piece(s->norm, &s->c, s->records, s->c.items - 1 - item);
}

static void normalize_piece(const pass *s, const piece *p, const mio__real *mean, const mio__real *scale)
{
    const runs r = runs_of(s->norm, p);
    for (size_t run = 0; run < r.count; run++) {
        const size_t at = p->start + run * r.stride;
        s->kernels->normalize(r.rows, s->norm->shape.block, mean, scale, s->beta + p->channels,
                              mio__from(s->x, at, s->precision), mio__from(s->residual, at, s->precision),
                              s->norm->relu, mio__at(s->output, at, s->precision));
    }
    clear_filling(s->norm, p, s->output);
}

static void forward_piece(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const piece p = piece_from_end(s, item);
    mio__real scale[BLOCK_LIMIT];
    for (size_t c = 0; c < s->norm->shape.block; c++)
        scale[c] = s->gamma[p.channels + c] * s->rstd[p.per_view + c];
    normalize_piece(s, &p, s->mean + p.per_view, scale);
}

void mio__batch_norm_forward(mio_context *context, size_t workers, void *scratch, const mio__batch_norm *norm,
                             const void *x, const void *residual, const mio__real *gamma, const mio__real *beta,
                             mio__real *mean, mio__real *rstd, mio__real *running_mean, mio__real *running_variance,
                             void *y)
{
    pass s = {.norm = norm,
              .precision = norm->images.precision,
              .kernels = MIO__PICK_STORED(mio__batch_norm_loops, norm->images.precision),
              .c = cut_tensor(norm),
              .records = scratch,
              .x = x,
              .residual = residual,
              .gamma = gamma,
              .beta = beta,
              .mean = mean,
              .rstd = rstd,
              .running_mean = running_mean,
              .running_variance = running_variance,
              .output = y};
    mio__parallel(context, workers, s.c.items, piece_statistics, &s);
    mio__parallel(context, workers, norm->shape.blocks, block_statistics, &s);
    mio__parallel(context, workers, s.c.items, forward_piece, &s);
}

static mio__real scale_of(const mio__batch_norm *norm, mio__real gamma, mio__real running_variance)
{
    return (mio__real)((double)gamma / sqrt((double)running_variance + norm->epsilon));
}

void mio__batch_norm_scale(const mio__batch_norm *norm, const mio__real *gamma, const mio__real *running_variance,
                           mio__real *scale)
{
    for (size_t c = 0; c < channel_count(norm); c++)
        scale[c] = scale_of(norm, gamma[c], running_variance[c]);
}

static void infer_piece(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const piece p = find_piece(s->norm, &s->c, NULL, item);
    mio__real scale[BLOCK_LIMIT];
    for (size_t c = 0; c < s->norm->shape.block; c++)
        scale[c] = scale_of(s->norm, s->gamma[p.channels + c], s->running_variance[p.channels + c]);
    normalize_piece(s, &p, s->running_mean + p.channels, scale);
}

void mio__batch_norm_infer(mio_context *context, size_t workers, const mio__batch_norm *norm, const void *x,
                           const void *residual, const mio__real *gamma, const mio__real *beta,
                           const mio__real *running_mean, const mio__real *running_variance, void *y)
{
    /* The running statistics are written by the training pass alone. */
    pass s = {.norm = norm,
              .precision = norm->images.precision,
              .kernels = MIO__PICK_STORED(mio__batch_norm_loops, norm->images.precision),
              .c = cut_tensor(norm),
              .x = x,
              .residual = residual,
              .gamma = gamma,
              .beta = beta,
              .running_mean = (mio__real *)running_mean,
              .running_variance = (mio__real *)running_variance,
              .output = y};
    mio__parallel(context, workers, s.c.items, infer_piece, &s);
}

/* ---- backward: dx = gamma rstd (g - mean of g - xhat (mean of g xhat)) ---- */

static void piece_gradient_sums(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const piece p = find_piece(s->norm, &s->c, s->records, item);
    const runs r = runs_of(s->norm, &p);
    const size_t block = s->norm->shape.block;
    memset(p.sums, 0, s->c.record * sizeof(double));
    for (size_t run = 0; run < r.count; run++) {
        const size_t at = p.start + run * r.stride;
        s->kernels->gradient_sums(r.rows, block, s->mean + p.per_view, mio__from(s->x, at, s->precision),
                                  mio__from(s->y, at, s->precision), mio__from(s->dy, at, s->precision),
                                  mio__at(s->masked, at, s->precision), p.sums, p.sums + block);
    }
}

static void block_gradients(void *argument, size_t block, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const mio__batch_norm *norm = s->norm;
    const size_t width = norm->shape.block;
    const double count = sample_count(norm);
    double dgamma[BLOCK_LIMIT] = {0}, dbeta[BLOCK_LIMIT] = {0};
    for (size_t view = 0; view < norm->images.views; view++) {
        const double *root = merge_tree(s, view, block, merge_sums);
        for (size_t i = 0; i < width; i++) {
            const size_t c = block * width + i, at = view * channel_count(norm) + c;
            const double rstd = (double)s->rstd[at], scale = (double)s->gamma[c] * rstd;
            dbeta[i] += root[i];
            dgamma[i] += root[width + i] * rstd;
            s->offset[at] = (mio__real)(scale * root[i] / count);
            s->slope[at] = (mio__real)(scale * rstd * rstd * root[width + i] / count);
        }
    }
    for (size_t i = 0; s->dgamma && i < width; i++) {
        s->dgamma[block * width + i] = (mio__real)dgamma[i];
        s->dbeta[block * width + i] = (mio__real)dbeta[i];
    }
}

static void backward_piece(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const piece p = piece_from_end(s, item);
    const runs r = runs_of(s->norm, &p);
    const size_t block = s->norm->shape.block;
    mio__real scale[BLOCK_LIMIT];
    for (size_t c = 0; c < block; c++)
        scale[c] = s->gamma[p.channels + c] * s->rstd[p.per_view + c];
    for (size_t run = 0; run < r.count; run++) {
        const size_t at = p.start + run * r.stride;
        s->kernels->gradient(r.rows, block, s->mean + p.per_view, scale, s->offset + p.per_view, s->slope + p.per_view,
                             mio__from(s->x, at, s->precision), mio__from(s->y, at, s->precision),
                             mio__from(s->dy, at, s->precision), mio__at(s->output, at, s->precision),
                             mio__at(s->dresidual, at, s->precision), s->dresidual_accumulate);
    }
    clear_filling(s->norm, &p, s->output);
    if (s->masked || (s->dresidual && !s->dresidual_accumulate))
        clear_filling(s->norm, &p, s->masked ? s->masked : s->dresidual);
}

void mio__batch_norm_backward(mio_context *context, size_t workers, void *scratch, const mio__batch_norm *norm,
                              const void *x, const void *y, const void *dy, const mio__real *gamma,
                              const mio__real *mean, const mio__real *rstd, mio__real *dgamma, mio__real *dbeta,
                              void *dx, void *dresidual, int dresidual_accumulate)
{
    /* mean and rstd are read here; the forward pass is what writes them. */
    pass s = {.norm = norm,
              .precision = norm->images.precision,
              .kernels = MIO__PICK_STORED(mio__batch_norm_loops, norm->images.precision),
              .c = cut_tensor(norm),
              .records = scratch,
              .x = x,
              .y = norm->relu ? y : NULL,
              .dy = dy,
              .gamma = gamma,
              .mean = (mio__real *)mean,
              .rstd = (mio__real *)rstd,
              .output = dx,
              .dgamma = dgamma,
              .dbeta = dbeta,
              .dresidual = dresidual,
              .dresidual_accumulate = dresidual_accumulate};
    s.offset = (mio__real *)(s.records + s.c.items * s.c.record);
    s.slope = s.offset + norm->images.views * channel_count(norm);
    /* The residual's gradient is the masked one: the first pass writes it, and the second reads it in place of two. */
    s.masked = s.y && !dresidual_accumulate ? dresidual : NULL;
    mio__parallel(context, workers, s.c.items, piece_gradient_sums, &s);
    mio__parallel(context, workers, norm->shape.blocks, block_gradients, &s);
    if (s.masked) {
        s.dy = s.masked;
        s.y = s.dresidual = NULL;
    }
    mio__parallel(context, workers, s.c.items, backward_piece, &s);
}
