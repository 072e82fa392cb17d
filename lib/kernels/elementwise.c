#include "kernels/elementwise.h"

#include "kernels/elementwise_vector.h"

#include <string.h>

/* Values per item of parallel work. */
enum { PIECE = 32768, BLOCK_LIMIT = 64 };

/* What the items of a pass share. */
typedef struct pass {
    size_t count;
    mio__precision precision;
    const mio__elementwise_kernels *kernels;
    const void *a, *b;
    void *y;
    const mio__real *bias;
    mio__real *dbias;
    int accumulate;
    const mio__shape *shape;
    const mio__images *images;
    size_t chunk_pixels, chunks; /* pack and unpack: pixels of a piece, pieces of a group */
    const float *rows_in;
    float *rows_out;
} pass;

static pass start_pass(mio__precision precision)
{
    return (pass){.precision = precision, .kernels = MIO__PICK_STORED(mio__elementwise_loops, precision)};
}

/* A pass over a tensor. */
static pass start_blocked(const mio__shape *shape, const mio__images *images)
{
    pass s = start_pass(images->precision);
    s.shape = shape;
    s.images = images;
    return s;
}

static size_t piece_size(const pass *s, size_t item)
{
    const size_t left = s->count - item * PIECE;
    return left < PIECE ? left : PIECE;
}

static size_t piece_count(size_t count)
{
    return (count + PIECE - 1) / PIECE;
}

static void relu_forward(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const size_t start = item * PIECE;
    s->kernels->relu(piece_size(s, item), mio__from(s->a, start, s->precision), mio__at(s->y, start, s->precision));
}

void mio__relu_forward(mio_context *context, size_t workers, mio__precision precision, size_t count, const void *x,
                       void *y)
{
    pass s = start_pass(precision);
    s.count = count, s.a = x, s.y = y;
    mio__parallel(context, workers, piece_count(count), relu_forward, &s);
}

static void relu_backward(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const size_t start = item * PIECE;
    s->kernels->relu_gradient(piece_size(s, item), mio__from(s->a, start, s->precision),
                              mio__from(s->b, start, s->precision), s->accumulate, mio__at(s->y, start, s->precision));
}

void mio__relu_backward(mio_context *context, size_t workers, mio__precision precision, size_t count, const void *y,
                        const void *dy, void *dx, int accumulate)
{
    pass s = start_pass(precision);
    s.count = count, s.a = y, s.b = dy, s.y = dx, s.accumulate = accumulate;
    mio__parallel(context, workers, piece_count(count), relu_backward, &s);
}

static void add(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const size_t start = item * PIECE;
    s->kernels->add(piece_size(s, item), mio__from(s->a, start, s->precision), mio__from(s->b, start, s->precision),
                    mio__at(s->y, start, s->precision));
}

void mio__add(mio_context *context, size_t workers, mio__precision precision, size_t count, const void *a,
              const void *b, void *y)
{
    pass s = start_pass(precision);
    s.count = count, s.a = a, s.b = b, s.y = y;
    mio__parallel(context, workers, piece_count(count), add, &s);
}

/* ---- bias ---- */

static size_t pixel_count(const pass *s)
{
    return s->shape->height * s->shape->width;
}

/* Start of one channel block of one group; groups are counted through all views. */
static size_t slab_start(const pass *s, size_t group, size_t block)
{
    return (group * s->shape->blocks + block) * pixel_count(s) * s->images->lanes * s->shape->block;
}

static void add_bias(void *argument, size_t slab, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const size_t width = s->shape->block, block = slab % s->shape->blocks, group = slab / s->shape->blocks;
    const size_t real = mio__group_count(s->images, group % s->images->groups);
    for (size_t pixel = 0; pixel < pixel_count(s); pixel++)
        s->kernels->add_bias(
            real, width, s->bias + block * width,
            mio__at(s->y, slab_start(s, group, block) + pixel * s->images->lanes * width, s->precision));
}

void mio__add_bias(mio_context *context, size_t workers, const mio__shape *shape, const mio__images *images,
                   const mio__real *bias, void *y)
{
    pass s = start_blocked(shape, images);
    s.bias = bias, s.y = y;
    mio__parallel(context, workers, images->views * images->groups * shape->blocks, add_bias, &s);
}

static void sum_bias(void *argument, size_t block, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const size_t width = s->shape->block;
    double sums[BLOCK_LIMIT] = {0};
    for (size_t group = 0; group < s->images->views * s->images->groups; group++) {
        const size_t real = mio__group_count(s->images, group % s->images->groups);
        for (size_t pixel = 0; pixel < pixel_count(s); pixel++)
            s->kernels->sum_rows(
                real, width,
                mio__from(s->a, slab_start(s, group, block) + pixel * s->images->lanes * width, s->precision), sums);
    }
    for (size_t c = 0; c < width; c++)
        s->dbias[block * width + c] = (mio__real)sums[c];
}

void mio__sum_bias(mio_context *context, size_t workers, const mio__shape *shape, const mio__images *images,
                   const void *dy, mio__real *dbias)
{
    pass s = start_blocked(shape, images);
    s.a = dy, s.dbias = dbias;
    mio__parallel(context, workers, shape->blocks, sum_bias, &s);
}

/* ---- pack and unpack ---- */

/* Pixels at a time such that the piece of all blocks stays in the nearest cache. */
static void cut_pixels(pass *s)
{
    const size_t pixel = s->images->lanes * s->shape->blocks * s->shape->block;
    s->chunk_pixels = pixel < PIECE / 8 ? PIECE / 8 / pixel : 1;
    s->chunks = (pixel_count(s) + s->chunk_pixels - 1) / s->chunk_pixels;
}

/* Where the pixels of one image of one piece lie on both sides. */
typedef struct place {
    size_t first, last; /* pixels */
    size_t group, real; /* group through all views; its real images */
} place;

static place find_place(const pass *s, size_t item)
{
    const size_t first = item % s->chunks * s->chunk_pixels, last = first + s->chunk_pixels, group = item / s->chunks;
    return (place){first, last < pixel_count(s) ? last : pixel_count(s), group,
                   mio__group_count(s->images, group % s->images->groups)};
}

/* Start of an image in the row-major array. */
static size_t row_start(const pass *s, size_t group, size_t lane)
{
    const size_t view = group / s->images->groups, first = group % s->images->groups * s->images->lanes;
    return (view * s->images->count + first + lane) * pixel_count(s) * s->shape->channels;
}

/* Channels of a block that exist. */
static size_t block_channels(const mio__shape *shape, size_t block)
{
    const size_t left = shape->channels - block * shape->block;
    return left < shape->block ? left : shape->block;
}

static void pack(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const place p = find_place(s, item);
    const size_t width = s->shape->block, lanes = s->images->lanes;
    for (size_t block = 0; block < s->shape->blocks; block++) {
        const size_t start = slab_start(s, p.group, block), channels = block_channels(s->shape, block);
        for (size_t lane = 0; lane < p.real; lane++)
            s->kernels->pack(p.last - p.first, channels, width, s->shape->channels, lanes * width,
                             s->rows_in + row_start(s, p.group, lane) + p.first * s->shape->channels + block * width,
                             mio__at(s->y, start + (p.first * lanes + lane) * width, s->precision));
        for (size_t pixel = p.first; pixel < p.last && p.real < lanes; pixel++)
            memset(mio__at(s->y, start + (pixel * lanes + p.real) * width, s->precision), 0,
                   (lanes - p.real) * width * mio__number_size(s->precision));
    }
}

void mio__pack(mio_context *context, size_t workers, const mio__shape *shape, const mio__images *images,
               const float *rows, void *x)
{
    pass s = start_blocked(shape, images);
    s.y = x, s.rows_in = rows;
    cut_pixels(&s);
    mio__parallel(context, workers, images->views * images->groups * s.chunks, pack, &s);
}

static void unpack(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const pass *s = argument;
    const place p = find_place(s, item);
    const size_t width = s->shape->block, lanes = s->images->lanes;
    for (size_t block = 0; block < s->shape->blocks; block++) {
        const size_t start = slab_start(s, p.group, block), channels = block_channels(s->shape, block);
        for (size_t lane = 0; lane < p.real; lane++)
            s->kernels->unpack(p.last - p.first, channels, lanes * width, s->shape->channels,
                               mio__from(s->a, start + (p.first * lanes + lane) * width, s->precision),
                               s->rows_out + row_start(s, p.group, lane) + p.first * s->shape->channels +
                                   block * width);
    }
}

void mio__unpack(mio_context *context, size_t workers, const mio__shape *shape, const mio__images *images,
                 const void *x, float *rows)
{
    pass s = start_blocked(shape, images);
    s.a = x, s.rows_out = rows;
    cut_pixels(&s);
    mio__parallel(context, workers, images->views * images->groups * s.chunks, unpack, &s);
}

/* ---- weights ---- */

/* Place of w[out][in][row][column] (tap = row * kernel + column) in the blocked layout. */
static size_t weight_place(const mio__shape *input, const mio__shape *output, size_t kernel, size_t out, size_t in,
                           size_t tap)
{
    const size_t blocks = out / output->block * input->blocks + in / input->block;
    return ((blocks * kernel * kernel + tap) * input->block + in % input->block) * output->block + out % output->block;
}

/* Output channels that are packed together, and their weights that are packed at a time: a cache line of each. A block
   never begins or ends within them. */
enum { TOGETHER = 16 };

/* turned[weight][channel] = weights [0, length) of the rows of count channels, 0 for further channels. */
static void turn_weights(size_t count, size_t length, size_t row, const float *torch,
                         mio__real turned[TOGETHER][TOGETHER])
{
    if (count == TOGETHER && length == TOGETHER) { /* for the compiler, which unrolls it */
        for (size_t k = 0; k < TOGETHER; k++)
            for (size_t i = 0; i < TOGETHER; i++)
                turned[k][i] = torch[i * row + k];
        return;
    }
    for (size_t k = 0; k < length; k++)
        for (size_t i = 0; i < TOGETHER; i++)
            turned[k][i] = i < count ? torch[i * row + k] : 0;
}

/* Weights [first, first + length) of the rows of output channels [out, out + count). A cache line is stored at once:
   their places are far apart, and a line's worth of single stores for each would fill the CPU's queue of them. */
static void pack_square(const mio__shape *input, const mio__shape *output, size_t kernel, size_t out, size_t count,
                        size_t first, size_t length, const float *torch, mio__real *weights)
{
    const size_t taps = kernel * kernel, tile = input->block * output->block;
    const size_t width = output->block < TOGETHER ? output->block : TOGETHER;
    mio__real turned[TOGETHER][TOGETHER];
    turn_weights(count, length, input->channels * taps, torch + first, turned);
    for (size_t done = 0; done < length;) {
        const size_t in = (first + done) / taps, tap = (first + done) % taps;
        mio__real *to = weights + weight_place(input, output, kernel, out, in, tap);
        for (size_t left = taps - tap; left > 0 && done < length; left--, done++, to += tile)
            if (width == TOGETHER)
                memcpy(to, turned[done], sizeof *turned);
            else
                memcpy(to, turned[done], width * sizeof **turned);
    }
}

void mio__pack_weights(const mio__shape *input, const mio__shape *output, size_t kernel, size_t first, size_t count,
                       const float *torch, mio__real *weights)
{
    const size_t row = input->channels * kernel * kernel;
    const size_t inputs = input->blocks * input->block, outputs = output->blocks * output->block;
    if (first == 0 && (inputs > input->channels || outputs > output->channels))
        memset(weights, 0, inputs * outputs * kernel * kernel * sizeof *weights);
    for (size_t done = 0; done < count; done += TOGETHER)
        for (size_t at = 0; at < row; at += TOGETHER)
            pack_square(input, output, kernel, first + done, count - done < TOGETHER ? count - done : TOGETHER, at,
                        row - at < TOGETHER ? row - at : TOGETHER, torch + done * row, weights);
}

void mio__unpack_weights(const mio__shape *input, const mio__shape *output, size_t kernel, const mio__real *weights,
                         float *torch)
{
    for (size_t out = 0; out < output->channels; out++)
        for (size_t in = 0; in < input->channels; in++)
            for (size_t tap = 0; tap < kernel * kernel; tap++)
                *torch++ = (float)weights[weight_place(input, output, kernel, out, in, tap)];
}
