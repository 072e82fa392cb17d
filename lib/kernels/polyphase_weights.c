#include "kernels/polyphase.h"

#include "kernels/conv_direct.h"
#include "kernels/winograd.h"

/* Pieces to aim at; pairs of channel blocks that keep workers busy; tiles of a shared block and of a private one;
   channels of a tap's matrix that are transposed at a time. */
enum { PIECES = 16, PAIRS = 8, SHARED_TILES = 4, PRIVATE_TILES = 1, STRIP = 16, TAPS = 9 };
enum { SIDE = 4, TILE = SIDE * SIDE, MIDDLE = MIO__PHASE_POINTS - 1 };

/* ---- the transformed weights ---- */

size_t mio__polyphase_weight_stride(const mio__polyphase_pass *pass)
{
    const mio__shape *fine = &pass->phases.fine, *coarse = &pass->phases.coarse;
    return mio__point_stride(fine->blocks * fine->block * coarse->blocks * coarse->block, MIO__FP32);
}

size_t mio__polyphase_weight_count(const mio__polyphase_pass *pass)
{
    return MIO__PHASE_POINTS * mio__polyphase_weight_stride(pass);
}

typedef struct preparation {
    const mio__polyphase_pass *pass;
    const mio__real *weights;
    mio__real *transformed;
} preparation;

/* One pair of blocks, forward: the weights as they are. */
static void prepare_forward(void *argument, size_t item, size_t worker)
{
    const preparation *job = argument;
    const mio__phases *phases = &job->pass->phases;
    const size_t tile = phases->fine.block * phases->coarse.block;
    (void)worker;
    phases->kernels->weights(job->weights + item * TAPS * tile, (ptrdiff_t)tile, tile, job->transformed + item * tile,
                             mio__polyphase_weight_stride(job->pass));
}

/* One pair of blocks, backward: every tap transposed, and the taps in reverse, which rotates them by half a turn. */
static void prepare_backward(void *argument, size_t item, size_t worker)
{
    const preparation *job = argument;
    const mio__phases *phases = &job->pass->phases;
    const size_t from = phases->coarse.block, to = phases->fine.block, tile = from * to;
    const size_t out = item / phases->fine.blocks, in = item % phases->fine.blocks;
    const mio__real *weights = job->weights + item * TAPS * tile; /* [tap][channel of dx][channel of dy] */
    mio__real *transformed = job->transformed + (in * phases->coarse.blocks + out) * tile;
    (void)worker;
    for (size_t k = 0; k < from; k += STRIP)
        for (size_t c = 0; c < to; c += STRIP) {
            mio__real strip[TAPS][STRIP][STRIP];
            for (size_t tap = 0; tap < TAPS; tap++)
                for (size_t i = 0; i < STRIP; i++)
                    for (size_t j = 0; j < STRIP; j++)
                        strip[tap][j][i] = weights[tap * tile + (c + i) * from + k + j];
            for (size_t j = 0; j < STRIP; j++)
                phases->kernels->weights(strip[TAPS - 1][j], -STRIP * STRIP, STRIP, transformed + (k + j) * to + c,
                                         mio__polyphase_weight_stride(job->pass));
        }
}

void mio__polyphase_prepare(mio_context *context, const mio__polyphase_pass *pass, size_t workers,
                            const mio__real *weights, mio__real *transformed)
{
    preparation job = {pass, weights, transformed};
    mio__parallel(context, workers, pass->phases.fine.blocks * pass->phases.coarse.blocks,
                  pass->backward ? prepare_backward : prepare_forward, &job);
}

/* ---- the plan of the weight gradient ---- */

static size_t pair_count(const mio__polyphase_gradient *plan)
{
    return plan->phases.fine.blocks * plan->phases.coarse.blocks;
}

static size_t tile_size(const mio__polyphase_gradient *plan)
{
    return plan->phases.fine.block * plan->phases.coarse.block;
}

mio__polyphase_gradient mio__polyphase_gradient_make(const mio__conv_geometry *geometry, const mio__real *zeros)
{
    mio__polyphase_gradient plan = {.phases = mio__phases_make(geometry, zeros)};
    const size_t tiles = plan.phases.tiles, from = plan.phases.fine.block, to = plan.phases.coarse.block;
    const size_t most = pair_count(&plan) < PAIRS ? PRIVATE_TILES : SHARED_TILES;
    plan.slots = tiles < most ? tiles : most;
    plan.blocks = (tiles + plan.slots - 1) / plan.slots;
    if (pair_count(&plan) < PAIRS)
        for (plan.pieces = 1; plan.pieces < PIECES && plan.pieces * 2 <= plan.blocks;)
            plan.pieces *= 2;
    plan.first = mio__gemm_make(to, from, plan.phases.lanes, to, from, to, 0, 1, 0);
    plan.next = mio__gemm_make(to, from, plan.phases.lanes, to, from, to, 0, 1, 1);
    return plan;
}

/* ---- work space: each worker's address lists and sums of products, of all pairs or of one; then the points of x and
   of dy, of each worker or shared; the pieces ---- */

static size_t list_length(const mio__polyphase_gradient *plan)
{
    return plan->slots * TILE;
}

static size_t sum_stride(const mio__polyphase_gradient *plan)
{
    return mio__point_stride(tile_size(plan), MIO__FP32);
}

/* Bytes of a worker's lists, and of them and its sums. */
static size_t lists_size(const mio__polyphase_gradient *plan)
{
    return (2 * list_length(plan) * sizeof(void *) + 63) / 64 * 64;
}

static size_t own_size(const mio__polyphase_gradient *plan)
{
    const size_t pairs = plan->pieces ? pair_count(plan) : 1;
    return lists_size(plan) + pairs * MIO__PHASE_POINTS * sum_stride(plan) * sizeof(mio__real);
}

/* Numbers. */
static size_t x_size(const mio__polyphase_gradient *plan)
{
    return mio__phase_points_size(&plan->phases, &plan->phases.fine, plan->phases.fine.blocks, plan->slots);
}

static size_t arrays_size(const mio__polyphase_gradient *plan)
{
    return x_size(plan) +
           mio__phase_points_size(&plan->phases, &plan->phases.coarse, plan->phases.coarse.blocks, plan->slots);
}

static size_t weight_count(const mio__polyphase_gradient *plan)
{
    return TAPS * pair_count(plan) * tile_size(plan);
}

size_t mio__polyphase_gradient_scratch_size(const mio__polyphase_gradient *plan, size_t workers)
{
    const size_t partial = plan->pieces > 1 ? plan->pieces * weight_count(plan) : 0;
    return workers * own_size(plan) + ((plan->pieces ? workers : 1) * arrays_size(plan) + partial) * sizeof(mio__real);
}

/* ---- the weight gradient ---- */

typedef struct run {
    const mio__polyphase_gradient *plan;
    const mio__real *x, *dy;
    char *own;         /* of all workers */
    mio__real *arrays; /* likewise, or shared */
    mio__real *dw;     /* one for each piece */
    size_t block;      /* shared: the block at hand */
} run;

/* A block of tiles at work. */
typedef struct block_of_tiles {
    mio__phase_points x, dy;
    size_t first, tiles;
    const mio__real **lists;
    mio__real *sums;
} block_of_tiles;

static block_of_tiles open_block(const run *job, size_t block, size_t worker)
{
    const mio__polyphase_gradient *plan = job->plan;
    const mio__phases *phases = &plan->phases;
    mio__real *arrays = job->arrays + (plan->pieces ? worker * arrays_size(plan) : 0);
    char *own = job->own + worker * own_size(plan);
    const size_t first = block * plan->slots, left = phases->tiles - first;
    return (block_of_tiles){
        mio__phase_points_at(phases, &phases->fine, phases->fine.blocks, plan->slots, arrays),
        mio__phase_points_at(phases, &phases->coarse, phases->coarse.blocks, plan->slots, arrays + x_size(plan)),
        first,
        left < plan->slots ? left : plan->slots,
        (const mio__real **)(void *)own,
        (mio__real *)(void *)(own + lists_size(plan)),
    };
}

/* Transforms one tile in one channel block: first come those of x, then those of dy. */
static void transform(const run *job, const block_of_tiles *work, size_t slot, size_t channel_block)
{
    const mio__phases *phases = &job->plan->phases;
    const size_t tile = work->first + slot, pixel = work->dy.pixel;
    if (channel_block < phases->fine.blocks) {
        mio__phase_input(phases, 0, job->x, channel_block, tile, slot, &work->x);
        return;
    }
    const size_t block = channel_block - phases->fine.blocks;
    const mio__real *pixels[MIO__PHASE_PIXELS];
    mio__phase_pixels(phases, &phases->coarse, job->dy, block, tile, &mio__phase_coarse, &mio__phase_coarse,
                      phases->zeros, pixels);
    phases->kernels->square_gradient(pixels, pixel, mio__phase_square(&work->dy, 0, block, slot),
                                     work->dy.square_stride);
    for (size_t across = 0; across < 2; across++)
        for (size_t i = 0; i < SIDE; i++) {
            const mio__real *line[SIDE];
            for (size_t k = 0; k < SIDE; k++)
                line[k] = pixels[across ? i * SIDE + k : k * SIDE + i];
            phases->kernels->line_gradient(
                line, pixel, mio__phase_line(&work->dy, across * MIO__LINE_POINTS, block, slot) + i * pixel,
                work->dy.line_stride);
        }
}

/* Lists the pixels that the middle tap joins; returns how many. */
static size_t list_pixels(const run *job, const block_of_tiles *work, size_t out, size_t in)
{
    const mio__phases *phases = &job->plan->phases;
    const mio__real *y[MIO__PHASE_PIXELS], *x[MIO__PHASE_PIXELS];
    size_t count = 0;
    for (size_t slot = 0; slot < work->tiles; slot++) {
        mio__phase_pixels(phases, &phases->coarse, job->dy, out, work->first + slot, &mio__phase_coarse,
                          &mio__phase_coarse, NULL, y);
        mio__phase_pixels(phases, &phases->fine, job->x, in, work->first + slot, &mio__phase_even, &mio__phase_even,
                          NULL, x);
        for (size_t i = 0; i < TILE; i++)
            if (y[i]) { /* the one is inside where the other is */
                work->lists[count] = y[i];
                work->lists[list_length(job->plan) + count++] = x[i];
            }
    }
    return count;
}

/* The same for the points of squares or of lines. */
static size_t list_points(const run *job, const block_of_tiles *work, size_t point, size_t out, size_t in)
{
    const int square = point < MIO__SQUARE_POINTS;
    const size_t line = point - MIO__SQUARE_POINTS, positions = square ? 1 : SIDE;
    size_t count = 0;
    for (size_t slot = 0; slot < work->tiles; slot++) {
        const mio__real *y =
            square ? mio__phase_square(&work->dy, point, out, slot) : mio__phase_line(&work->dy, line, out, slot);
        const mio__real *x =
            square ? mio__phase_square(&work->x, point, in, slot) : mio__phase_line(&work->x, line, in, slot);
        for (size_t i = 0; i < positions; i++) {
            work->lists[count] = y + i * work->dy.pixel;
            work->lists[list_length(job->plan) + count++] = x + i * work->x.pixel;
        }
    }
    return count;
}

/* The products of one pair of blocks over a block of tiles, added to sums unless those are fresh. */
static void multiply(const run *job, const block_of_tiles *work, size_t pair, mio__real *sums, int fresh)
{
    const mio__polyphase_gradient *plan = job->plan;
    const size_t out = pair / plan->phases.fine.blocks, in = pair % plan->phases.fine.blocks;
    for (size_t point = 0; point < MIO__PHASE_POINTS; point++) {
        const size_t count = point == MIDDLE ? list_pixels(job, work, out, in) : list_points(job, work, point, out, in);
        mio__gemm_run(fresh ? &plan->first : &plan->next, work->lists, work->lists + list_length(plan),
                      sums + point * sum_stride(plan), count);
    }
}

/* Sums of products of one pair back to taps. */
static void to_taps(const run *job, const mio__real *sums, size_t pair, mio__real *dw, int accumulate)
{
    const mio__polyphase_gradient *plan = job->plan;
    const size_t tile = tile_size(plan);
    plan->phases.kernels->weights_gradient(sums, sum_stride(plan), tile, dw + pair * TAPS * tile, tile, accumulate);
}

/* Private: one piece. */
static void piece_item(void *argument, size_t piece, size_t worker)
{
    const run *job = argument;
    const mio__polyphase_gradient *plan = job->plan;
    const size_t begin = piece * plan->blocks / plan->pieces, end = (piece + 1) * plan->blocks / plan->pieces;
    const size_t pairs = pair_count(plan), all_sums = MIO__PHASE_POINTS * sum_stride(plan);
    mio__real *sums = NULL;
    for (size_t block = begin; block < end; block++) {
        const block_of_tiles work = open_block(job, block, worker);
        sums = work.sums;
        for (size_t i = 0; i < plan->phases.fine.blocks + plan->phases.coarse.blocks; i++)
            for (size_t slot = 0; slot < work.tiles; slot++)
                transform(job, &work, slot, i);
        for (size_t pair = 0; pair < pairs; pair++)
            multiply(job, &work, pair, sums + pair * all_sums, block == begin);
    }
    for (size_t pair = 0; pair < pairs; pair++)
        to_taps(job, sums + pair * all_sums, pair, job->dw + piece * weight_count(plan), 0);
}

/* Shared, first phase: one tile of one channel block. */
static void transform_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const block_of_tiles work = open_block(job, job->block, worker);
    transform(job, &work, item % work.tiles, item / work.tiles);
}

/* Second phase: one pair of channel blocks. */
static void pair_item(void *argument, size_t pair, size_t worker)
{
    const run *job = argument;
    const block_of_tiles work = open_block(job, job->block, worker);
    multiply(job, &work, pair, work.sums, 1);
    to_taps(job, work.sums, pair, job->dw, job->block > 0);
}

void mio__polyphase_gradient_run(mio_context *context, const mio__polyphase_gradient *plan, size_t workers,
                                 void *scratch, const mio__real *x, const mio__real *dy, mio__real *dw)
{
    run job = {.plan = plan, .x = x, .dy = dy, .own = scratch, .dw = dw};
    job.arrays = (mio__real *)(void *)(job.own + workers * own_size(plan));
    const size_t channel_blocks = plan->phases.fine.blocks + plan->phases.coarse.blocks;
    if (plan->pieces) {
        mio__real *partial = job.arrays + workers * arrays_size(plan);
        job.dw = plan->pieces > 1 ? partial : dw;
        mio__parallel(context, workers, plan->pieces, piece_item, &job);
        if (plan->pieces > 1)
            mio__sum_pieces(context, workers, plan->pieces, weight_count(plan), partial, dw);
        return;
    }
    for (; job.block < plan->blocks; job.block++) {
        const size_t left = plan->phases.tiles - job.block * plan->slots;
        mio__parallel(context, workers, channel_blocks * (left < plan->slots ? left : plan->slots), transform_item,
                      &job);
        mio__parallel(context, workers, pair_count(plan), pair_item, &job);
    }
}
