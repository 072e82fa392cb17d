#include "kernels/conv_direct.h"

#include <string.h>

/* Items of parallel work to aim at, and pixels of a batch-reduce GEMM. */
enum { ITEMS = 16, PIXELS = 128, SUM_CHUNK = 4096 };

mio__direct_weights mio__direct_weights_make(const mio__conv_geometry *geometry)
{
    mio__direct_weights plan = {.geometry = *geometry, .groups = geometry->images.views * geometry->images.groups};
    const mio__shape *input = &geometry->input, *output = &geometry->output;
    const size_t rows = plan.groups * output->height;
    plan.pieces = 1;
    while (plan.pieces * input->blocks * output->blocks < ITEMS && plan.pieces * 2 <= rows)
        plan.pieces *= 2;
    plan.rows_at_once = output->width < PIXELS ? PIXELS / output->width : 1;
    plan.first = mio__gemm_make(output->block, input->block, geometry->images.lanes, output->block, input->block,
                                output->block, 0, 1, 0);
    plan.next = mio__gemm_make(output->block, input->block, geometry->images.lanes, output->block, input->block,
                               output->block, 0, 1, 1);
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

/* Scratch: each worker's two address lists, then the partial sums. */
static size_t lists_size(const mio__direct_weights *plan, size_t workers)
{
    return (workers * 2 * list_length(plan) * sizeof(mio__real *) + 63) / 64 * 64;
}

size_t mio__direct_weights_scratch_size(const mio__direct_weights *plan, size_t workers)
{
    const size_t partial = plan->pieces > 1 ? plan->pieces * weight_count(plan) : 0;
    return lists_size(plan, workers) + partial * sizeof(mio__real);
}

typedef struct run {
    const mio__direct_weights *plan;
    const mio__real **lists;
    const mio__real *x, *dy;
    mio__real *sums; /* one weight tensor per piece */
} run;

/* The pixels of rows [begin, end) of the batch that a tap joins: their addresses in dy's block out and x's block in. */
static size_t list_pixels(const run *job, size_t out, size_t in, size_t tap_row, size_t tap_column, size_t begin,
                          size_t end, const mio__real **a, const mio__real **b)
{
    const mio__conv_geometry *geometry = &job->plan->geometry;
    const mio__shape *input = &geometry->input, *output = &geometry->output;
    const size_t lanes = geometry->images.lanes, x_pixel = lanes * input->block, y_pixel = lanes * output->block;
    size_t count = 0;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t group = unit / output->height, row = unit % output->height;
        const size_t from = row * geometry->stride + tap_row - geometry->padding; /* below zero wraps round */
        if (from >= input->height)
            continue;
        const mio__real *x = job->x + ((group * input->blocks + in) * input->height + from) * input->width * x_pixel;
        const mio__real *dy =
            job->dy + ((group * output->blocks + out) * output->height + row) * output->width * y_pixel;
        for (size_t column = 0; column < output->width; column++) {
            const size_t source = column * geometry->stride + tap_column - geometry->padding;
            if (source >= input->width)
                continue;
            a[count] = dy + column * y_pixel;
            b[count++] = x + source * x_pixel;
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
    const mio__real **a = job->lists + worker * 2 * list_length(plan), **b = a + list_length(plan);
    size_t stop;
    for (size_t begin = piece * rows / plan->pieces; begin < end; begin = stop) {
        const int fresh = begin == piece * rows / plan->pieces;
        stop = begin + plan->rows_at_once < end ? begin + plan->rows_at_once : end;
        for (size_t tap = 0; tap < kernel * kernel; tap++) {
            const size_t count = list_pixels(job, pair / geometry->input.blocks, pair % geometry->input.blocks,
                                             tap / kernel, tap % kernel, begin, stop, a, b);
            if (count)
                mio__gemm_run(fresh ? &plan->first : &plan->next, a, b, sums + tap * tile, count);
            else if (fresh)
                memset(sums + tap * tile, 0, tile * sizeof *sums);
        }
    }
}

void mio__direct_weights_run(mio_context *context, const mio__direct_weights *plan, size_t workers, void *scratch,
                             const mio__real *x, const mio__real *dy, mio__real *dw)
{
    mio__real *partial = (mio__real *)(void *)((char *)scratch + lists_size(plan, workers));
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
