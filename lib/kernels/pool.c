#include "kernels/pool.h"

#include "kernels/pool_vector.h"

#include <string.h>

/* A pixel of one group and block has at most 32 images of 64 channels. Work is cut into bands of rows. */
enum { PIXEL_LIMIT = 32 * 64, BAND = 8 };

typedef struct max_pool {
    const mio__shape *input, *output;
    size_t kernel, stride, padding;
    size_t pixel; /* values of one pixel: lanes x block */
    size_t bands; /* of one group and block */
    mio__precision precision;
    const mio__pool_kernels *kernels;
    const void *x, *dy;
    void *y, *dx;
    int accumulate;
} max_pool;

/* The part of a window that lies inside the input along one axis: positions first .. last - 1. */
typedef struct span {
    size_t first, last;
} span;

static span window(const max_pool *s, size_t output, size_t extent)
{
    const size_t start = output * s->stride, end = start + s->kernel;
    return (span){start > s->padding ? start - s->padding : 0, end < s->padding            ? 0
                                                               : end - s->padding < extent ? end - s->padding
                                                                                           : extent};
}

/* The window without its padding. */
static mio__pool_window clip(const max_pool *s, span rows, span columns)
{
    return (mio__pool_window){rows.last - rows.first, columns.last - columns.first, s->input->width * s->pixel,
                              s->pixel};
}

/* Rows first .. last - 1 of an item's band. */
static span band_rows(const max_pool *s, size_t item, size_t height)
{
    const size_t first = item % s->bands * BAND;
    return (span){first, first + BAND < height ? first + BAND : height};
}

static max_pool describe(const mio__shape *input, const mio__shape *output, const mio__images *images, size_t kernel,
                         size_t stride, size_t padding, size_t height)
{
    return (max_pool){.input = input,
                      .output = output,
                      .kernel = kernel,
                      .stride = stride,
                      .padding = padding,
                      .pixel = images->lanes * input->block,
                      .bands = (height + BAND - 1) / BAND,
                      .precision = images->precision,
                      .kernels = MIO__PICK_STORED(mio__pool_loops, images->precision)};
}

static void forward_band(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const max_pool *s = argument;
    const size_t slab = item / s->bands;
    const size_t x = slab * s->input->height * s->input->width * s->pixel;
    const size_t y = slab * s->output->height * s->output->width * s->pixel;
    const span band = band_rows(s, item, s->output->height);
    for (size_t row = band.first; row < band.last; row++)
        for (size_t column = 0; column < s->output->width; column++) {
            const span rows = window(s, row, s->input->height), columns = window(s, column, s->input->width);
            const mio__pool_window w = clip(s, rows, columns);
            const size_t from = (rows.first * s->input->width + columns.first) * s->pixel;
            const size_t to = (row * s->output->width + column) * s->pixel;
            s->kernels->maximum(s->pixel, &w, mio__from(s->x, x + from, s->precision),
                                mio__at(s->y, y + to, s->precision));
        }
}

void mio__max_pool_forward(mio_context *context, size_t workers, const mio__shape *input, const mio__shape *output,
                           const mio__images *images, size_t kernel, size_t stride, size_t padding, const void *x,
                           void *y)
{
    max_pool s = describe(input, output, images, kernel, stride, padding, output->height);
    s.x = x;
    s.y = y;
    mio__parallel(context, workers, images->views * images->groups * input->blocks * s.bands, forward_band, &s);
}

/* Gives dy of one window to the winners in rows of the band. */
static void backward_window(const max_pool *s, span rows, span columns, span band, const void *x, const void *dy,
                            void *dx)
{
    mio__real winner[PIXEL_LIMIT];
    const mio__pool_window w = clip(s, rows, columns);
    const size_t start = (rows.first * s->input->width + columns.first) * s->pixel;
    s->kernels->winner(s->pixel, &w, mio__from(x, start, s->precision), winner);
    for (size_t r = 0; r < w.rows; r++)
        for (size_t c = 0; c < w.columns && rows.first + r >= band.first && rows.first + r < band.last; c++)
            s->kernels->award(s->pixel, (mio__real)(r * w.columns + c), winner, dy,
                              mio__at(dx, start + r * w.row_stride + c * w.column_stride, s->precision));
}

/* Bands are of input rows here: windows that reach into two bands are judged twice, and no two items write one row. */
static void backward_band(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const max_pool *s = argument;
    const size_t slab = item / s->bands, row_size = s->input->width * s->pixel;
    const void *x = mio__from(s->x, slab * s->input->height * row_size, s->precision);
    const size_t dy = slab * s->output->height * s->output->width * s->pixel;
    void *dx = mio__at(s->dx, slab * s->input->height * row_size, s->precision);
    const span band = band_rows(s, item, s->input->height);
    if (!s->accumulate)
        memset(mio__at(dx, band.first * row_size, s->precision), 0,
               (band.last - band.first) * row_size * mio__number_size(s->precision));
    for (size_t row = 0; row < s->output->height; row++) {
        const span rows = window(s, row, s->input->height);
        if (rows.last <= band.first || rows.first >= band.last)
            continue;
        for (size_t column = 0; column < s->output->width; column++)
            backward_window(s, rows, window(s, column, s->input->width), band, x,
                            mio__from(s->dy, dy + (row * s->output->width + column) * s->pixel, s->precision), dx);
    }
}

void mio__max_pool_backward(mio_context *context, size_t workers, const mio__shape *input, const mio__shape *output,
                            const mio__images *images, size_t kernel, size_t stride, size_t padding, const void *x,
                            const void *dy, void *dx, int accumulate)
{
    max_pool s = describe(input, output, images, kernel, stride, padding, input->height);
    s.x = x;
    s.dy = dy;
    s.dx = dx;
    s.accumulate = accumulate;
    mio__parallel(context, workers, images->views * images->groups * input->blocks * s.bands, backward_band, &s);
}

/* ---- average ---- */

typedef struct average_pool {
    size_t pixels, pixel;
    mio__precision precision;
    const mio__pool_kernels *kernels;
    const void *from;
    void *to;
    int accumulate;
} average_pool;

static void average_forward(void *argument, size_t slab, size_t worker)
{
    (void)worker;
    const average_pool *s = argument;
    double sums[PIXEL_LIMIT] = {0};
    for (size_t p = 0; p < s->pixels; p++)
        s->kernels->sum(s->pixel, mio__from(s->from, (slab * s->pixels + p) * s->pixel, s->precision), sums);
    s->kernels->mean(s->pixel, sums, (double)s->pixels, mio__at(s->to, slab * s->pixel, s->precision));
}

static void average_backward(void *argument, size_t slab, size_t worker)
{
    (void)worker;
    const average_pool *s = argument;
    for (size_t p = 0; p < s->pixels; p++)
        s->kernels->spread(s->pixel, 1 / (mio__real)s->pixels, mio__from(s->from, slab * s->pixel, s->precision),
                           s->accumulate, mio__at(s->to, (slab * s->pixels + p) * s->pixel, s->precision));
}

static void run_average(mio_context *context, size_t workers, const mio__shape *input, const mio__images *images,
                        const void *from, void *to, int accumulate, mio__work work)
{
    average_pool s = {.pixels = input->height * input->width,
                      .pixel = images->lanes * input->block,
                      .precision = images->precision,
                      .kernels = MIO__PICK_STORED(mio__pool_loops, images->precision),
                      .from = from,
                      .to = to,
                      .accumulate = accumulate};
    mio__parallel(context, workers, images->views * images->groups * input->blocks, work, &s);
}

void mio__average_pool_forward(mio_context *context, size_t workers, const mio__shape *input, const mio__images *images,
                               const void *x, void *y)
{
    run_average(context, workers, input, images, x, y, 0, average_forward);
}

void mio__average_pool_backward(mio_context *context, size_t workers, const mio__shape *input,
                                const mio__images *images, const void *dy, void *dx, int accumulate)
{
    run_average(context, workers, input, images, dy, dx, accumulate, average_backward);
}
