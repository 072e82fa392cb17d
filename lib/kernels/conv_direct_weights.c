#include "kernels/conv_direct.h"

#include <string.h>

/* Items of parallel work to aim at; pixels that all taps use in turn; pixels of one GEMM, which reads each of them once
   for every few columns of its C. */
enum { ITEMS = 16, PIXELS = 32, GEMM_PIXELS = 4, SUM_CHUNK = 4096 };

mio__direct_weights mio__direct_weights_make(const mio__conv_geometry *geometry)
{
    mio__direct_weights plan = {.geometry = *geometry, .groups = geometry->images.views * geometry->images.groups};
    const mio__shape *input = &geometry->input, *output = &geometry->output;
    const size_t rows = plan.groups * output->height;
    plan.pieces = 1;
    while (plan.pieces * input->blocks * output->blocks < ITEMS && plan.pieces * 2 <= rows)
        plan.pieces *= 2;
    const int copies = geometry->images.precision == MIO__BF16;
    plan.rows_at_once = output->width < PIXELS ? PIXELS / output->width : 1;
    mio__gemm *const gemms[] = {&plan.first, &plan.next};
    for (int accumulate = 0; accumulate < 2; accumulate++)
        *gemms[accumulate] = copies ? mio__gemm_make_bf16(output->block, input->block, geometry->images.lanes,
                                                          input->block, 1, accumulate, 0)
                                    : mio__gemm_make(output->block, input->block, geometry->images.lanes, output->block,
                                                     input->block, output->block, 0, 1, accumulate);
    return plan;
}

static size_t weight_count(const mio__direct_weights *plan)
{
    return mio__conv_weight_count(&plan->geometry.input, &plan->geometry.output, plan->geometry.kernel);
}

static size_t list_length(const mio__direct_weights *plan)
{
    return plan->rows_at_once * plan->geometry.output.width;
}

static size_t pixel_size(const mio__direct_weights *plan, const mio__shape *shape)
{
    return plan->geometry.images.lanes * shape->block;
}

/* Scratch: each worker's two address lists and, in bf16, the pixels of x and dy with the numbers of two lanes side by
   side, which the products take in pairs; then the partial sums. */
static size_t own_size(const mio__direct_weights *plan)
{
    const size_t lists = (2 * list_length(plan) * sizeof(void *) + 63) / 64 * 64;
    if (plan->geometry.images.precision != MIO__BF16)
        return lists;
    const size_t pixels = pixel_size(plan, &plan->geometry.input) + pixel_size(plan, &plan->geometry.output);
    return lists + (list_length(plan) * pixels * sizeof(uint16_t) + 63) / 64 * 64;
}

size_t mio__direct_weights_scratch_size(const mio__direct_weights *plan, size_t workers)
{
    const size_t partial = plan->pieces > 1 ? plan->pieces * weight_count(plan) : 0;
    return workers * own_size(plan) + partial * sizeof(mio__real);
}

typedef struct run {
    const mio__direct_weights *plan;
    char *own; /* of all workers */
    const void *x, *dy;
    mio__real *sums; /* one weight tensor per piece */
} run;

/* One worker's part of the scratch. */
typedef struct lists {
    const void **a, **b;
    uint16_t *dy, *x; /* copies */
} lists;

static lists own_lists(const run *job, size_t worker)
{
    const size_t length = list_length(job->plan), size = (2 * length * sizeof(void *) + 63) / 64 * 64;
    char *own = job->own + worker * own_size(job->plan);
    lists l = {.a = (const void **)(void *)own, .dy = (uint16_t *)(void *)(own + size)};
    l.b = l.a + length;
    l.x = l.dy + length * pixel_size(job->plan, &job->plan->geometry.output);
    return l;
}

static const void *dy_row(const run *job, size_t out, size_t unit)
{
    const mio__conv_geometry *geometry = &job->plan->geometry;
    const mio__shape *output = &geometry->output;
    const size_t group = unit / output->height, row = unit % output->height;
    return mio__from(job->dy,
                     ((group * output->blocks + out) * output->height + row) * output->width *
                         pixel_size(job->plan, output),
                     geometry->images.precision);
}

/* Copies the pixels of dy in rows [begin, end) of the batch. */
static void copy_rows(const run *job, size_t out, size_t begin, size_t end, const lists *l)
{
#ifdef MIO_HAVE_BF16_VARIANT
    const mio__shape *output = &job->plan->geometry.output;
    const size_t rows = job->plan->geometry.images.lanes * output->width;
    for (size_t unit = begin; unit < end; unit++)
        mio__bf16_loops_bf16.pair(rows, output->block, dy_row(job, out, unit),
                                  l->dy + (unit - begin) * rows * output->block);
#else
    (void)job, (void)out, (void)begin, (void)end, (void)l;
#endif
}

/* x's pixel, or a copy of it with the given number. */
static const void *take_pixel(const run *job, const void *pixel, size_t number, const lists *l)
{
#ifdef MIO_HAVE_BF16_VARIANT
    const mio__conv_geometry *geometry = &job->plan->geometry;
    if (geometry->images.precision == MIO__BF16) {
        uint16_t *copy = l->x + number * pixel_size(job->plan, &geometry->input);
        mio__bf16_loops_bf16.pair(geometry->images.lanes, geometry->input.block, pixel, copy);
        return copy;
    }
#else
    (void)job, (void)number, (void)l;
#endif
    return pixel;
}

/* The pixels of rows [begin, end) of the batch that a tap joins: their addresses in dy's block out and x's block in. */
static size_t list_pixels(const run *job, size_t out, size_t in, size_t tap_row, size_t tap_column, size_t begin,
                          size_t end, const lists *l)
{
    const mio__conv_geometry *geometry = &job->plan->geometry;
    const mio__shape *input = &geometry->input, *output = &geometry->output;
    const mio__precision precision = geometry->images.precision;
    const size_t x_pixel = pixel_size(job->plan, input), y_pixel = pixel_size(job->plan, output);
    size_t count = 0;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t group = unit / output->height, row = unit % output->height;
        const size_t from = row * geometry->stride + tap_row - geometry->padding; /* below zero wraps round */
        if (from >= input->height)
            continue;
        const size_t x = ((group * input->blocks + in) * input->height + from) * input->width * x_pixel;
        const void *dy =
            precision == MIO__BF16 ? l->dy + (unit - begin) * output->width * y_pixel : dy_row(job, out, unit);
        for (size_t column = 0; column < output->width; column++) {
            const size_t source = column * geometry->stride + tap_column - geometry->padding;
            if (source >= input->width)
                continue;
            l->a[count] = mio__from(dy, column * y_pixel, precision);
            l->b[count] = take_pixel(job, mio__from(job->x, x + source * x_pixel, precision), count, l);
            count++;
        }
    }
    return count;
}

/* One piece of one pair of blocks, all taps. */
static void run_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const mio__direct_weights *plan = job->plan;
    const mio__conv_geometry *geometry = &plan->geometry;
    const size_t pairs = geometry->input.blocks * geometry->output.blocks, kernel = geometry->kernel;
    const size_t pair = item % pairs, piece = item / pairs, rows = plan->groups * geometry->output.height;
    const size_t tile = geometry->input.block * geometry->output.block, end = (piece + 1) * rows / plan->pieces;
    mio__real *sums = job->sums + piece * weight_count(plan) + pair * kernel * kernel * tile;
    const lists l = own_lists(job, worker);
    size_t stop;
    for (size_t begin = piece * rows / plan->pieces; begin < end; begin = stop) {
        const int fresh = begin == piece * rows / plan->pieces;
        stop = begin + plan->rows_at_once < end ? begin + plan->rows_at_once : end;
        if (geometry->images.precision == MIO__BF16)
            copy_rows(job, pair / geometry->input.blocks, begin, stop, &l);
        for (size_t tap = 0; tap < kernel * kernel; tap++) {
            const size_t count = list_pixels(job, pair / geometry->input.blocks, pair % geometry->input.blocks,
                                             tap / kernel, tap % kernel, begin, stop, &l);
            for (size_t i = 0; i < count; i += GEMM_PIXELS)
                mio__gemm_run_stored(fresh && !i ? &plan->first : &plan->next, l.a + i, l.b + i, sums + tap * tile,
                                     count - i < GEMM_PIXELS ? count - i : GEMM_PIXELS);
            if (!count && fresh)
                memset(sums + tap * tile, 0, tile * sizeof *sums);
        }
    }
}

void mio__direct_weights_run(mio_context *context, const mio__direct_weights *plan, size_t workers, void *scratch,
                             const void *x, const void *dy, mio__real *dw)
{
    mio__real *partial = (mio__real *)(void *)((char *)scratch + workers * own_size(plan));
    run job = {plan, scratch, x, dy, plan->pieces > 1 ? partial : dw};
    mio__parallel(context, workers, plan->pieces * plan->geometry.input.blocks * plan->geometry.output.blocks, run_item,
                  &job);
    if (plan->pieces > 1)
        mio__sum_pieces(context, workers, plan->pieces, weight_count(plan), partial, dw);
}

typedef struct summation {
    size_t pieces, count;
    mio__real *partial, *target;
} summation;

static void sum_item(void *argument, size_t item, size_t worker)
{
    const summation *job = argument;
    const size_t begin = item * SUM_CHUNK, left = job->count - begin, count = left < SUM_CHUNK ? left : SUM_CHUNK;
    (void)worker;
    for (size_t step = 1; step < job->pieces; step *= 2)
        for (size_t piece = 0; piece < job->pieces; piece += 2 * step) {
            mio__real *restrict sum = job->partial + piece * job->count + begin;
            const mio__real *restrict other = sum + step * job->count;
            for (size_t i = 0; i < count; i++)
                sum[i] += other[i];
        }
    memcpy(job->target + begin, job->partial + begin, count * sizeof *job->target);
}

void mio__sum_pieces(mio_context *context, size_t workers, size_t pieces, size_t count, mio__real *partial,
                     mio__real *target)
{
    summation job = {pieces, count, partial, target};
    mio__parallel(context, workers, (count + SUM_CHUNK - 1) / SUM_CHUNK, sum_item, &job);
}
