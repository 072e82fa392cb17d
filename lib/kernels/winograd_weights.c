#include "kernels/winograd.h"

#include "kernels/conv_direct.h"

/* Columns of a private and of a shared block, and of one GEMM at most; pieces to aim at; pairs of channel blocks that
   keep workers busy; channels of a tap's matrix that are transposed at a time. */
enum { PRIVATE_COLUMNS = 128, SHARED_COLUMNS = 256, GEMM_COLUMNS = 64, PIECES = 16, PAIRS = 9 };
enum { STRIP = 16, TAPS = 9, BLOCK_LIMIT = 64 };

/* ---- the transformed weights ---- */

size_t mio__winograd_weight_stride(const mio__winograd_pass *pass)
{
    return mio__point_stride(pass->target.blocks * pass->target.block * pass->source.blocks * pass->source.block,
                             pass->tiling.precision);
}

size_t mio__winograd_weight_count(const mio__winograd_pass *pass)
{
    return pass->tiling.points * mio__winograd_weight_stride(pass);
}

typedef struct preparation {
    const mio__winograd_pass *pass;
    const mio__real *weights;
    void *transformed;
} preparation;

/* Where rows of weights of one pair of blocks come from, and which those are. */
typedef struct weight_rows {
    const mio__real *taps; /* [tap][row][column], row and tap_stride elements apart */
    ptrdiff_t tap_stride;
    size_t row, rows, columns;
    size_t tile, first_row,
        first_column; /* place in the transformed tile, which starts at element `tile` of each point */
} weight_rows;

/* Transforms rows: [source channel][target channel]. */
static void transform_rows(const preparation *job, const weight_rows *w)
{
    const mio__winograd_pass *pass = job->pass;
    const size_t stride = mio__winograd_weight_stride(pass), start = w->tile + w->first_row * pass->target.block;
#ifdef MIO_HAVE_BF16_VARIANT
    for (size_t r = 0; pass->tiling.precision == MIO__BF16 && r < w->rows; r += 2) {
        mio__real points[MIO__WINOGRAD_POINTS * 2 * BLOCK_LIMIT];
        uint16_t *to = (uint16_t *)job->transformed + start + r * pass->target.block + 2 * w->first_column;
        for (size_t i = 0; i < 2; i++)
            pass->tiling.transforms->weights(w->taps + (r + i) * w->row, w->tap_stride, w->columns,
                                             points + i * w->columns, 2 * w->columns);
        for (size_t point = 0; point < pass->tiling.points; point++)
            mio__bf16_loops_bf16.pair_floats(2, w->columns, w->columns, points + point * 2 * w->columns,
                                             to + point * stride);
    }
#endif
    for (size_t r = 0; pass->tiling.precision == MIO__FP32 && r < w->rows; r++)
        pass->tiling.transforms->weights(
            w->taps + r * w->row, w->tap_stride, w->columns,
            (mio__real *)job->transformed + start + r * pass->target.block + w->first_column, stride);
}

/* One pair of blocks, forward: the weights as they are. */
static void prepare_forward(void *argument, size_t item, size_t worker)
{
    const preparation *job = argument;
    const size_t from = job->pass->source.block, to = job->pass->target.block, tile = from * to;
    (void)worker;
    transform_rows(job, &(weight_rows){.taps = job->weights + item * TAPS * tile,
                                       .tap_stride = (ptrdiff_t)tile,
                                       .row = to,
                                       .rows = from,
                                       .columns = to,
                                       .tile = item * tile});
}

/* One pair of blocks, backward: every tap transposed, and the taps in reverse, which rotates them by half a turn. */
static void prepare_backward(void *argument, size_t item, size_t worker)
{
    const preparation *job = argument;
    const size_t from = job->pass->source.block, to = job->pass->target.block, tile = from * to; /* of dy, of dx */
    const size_t blocks = job->pass->target.blocks, out = item / blocks, in = item % blocks;
    const mio__real *weights = job->weights + item * TAPS * tile; /* [tap][channel of dx][channel of dy] */
    (void)worker;
    for (size_t k = 0; k < from; k += STRIP)
        for (size_t c = 0; c < to; c += STRIP) {
            mio__real strip[TAPS][STRIP][STRIP];
            for (size_t tap = 0; tap < TAPS; tap++)
                for (size_t i = 0; i < STRIP; i++)
                    for (size_t j = 0; j < STRIP; j++)
                        strip[tap][j][i] = weights[tap * tile + (c + i) * from + k + j];
            transform_rows(job, &(weight_rows){.taps = strip[TAPS - 1][0],
                                               .tap_stride = -STRIP * STRIP,
                                               .row = STRIP,
                                               .rows = STRIP,
                                               .columns = STRIP,
                                               .tile = (in * job->pass->source.blocks + out) * tile,
                                               .first_row = k,
                                               .first_column = c});
        }
}

void mio__winograd_prepare(mio_context *context, const mio__winograd_pass *pass, int backward, size_t workers,
                           const mio__real *weights, void *transformed)
{
    preparation job = {pass, weights, transformed};
    mio__parallel(context, workers, pass->source.blocks * pass->target.blocks,
                  backward ? prepare_backward : prepare_forward, &job);
}

/* ---- the plan of the weight gradient ---- */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t pair_count(const mio__winograd_gradient *plan)
{
    return plan->input.blocks * plan->output.blocks;
}

static size_t tile_size(const mio__winograd_gradient *plan)
{
    return plan->input.block * plan->output.block;
}

mio__winograd_gradient mio__winograd_gradient_make(const mio__conv_geometry *geometry, size_t m, const void *zeros)
{
    mio__winograd_gradient plan = {
        .input = geometry->input,
        .output = geometry->output,
        .tiling = mio__tiling_make(geometry, &geometry->output, m, geometry->padding, zeros),
    };
    const size_t lanes = plan.tiling.lanes, tiles = plan.tiling.tiles;
    plan.slots = smaller(GEMM_COLUMNS / lanes, tiles);
    const size_t gemms = (tiles + plan.slots - 1) / plan.slots;
    const size_t columns = pair_count(&plan) >= PAIRS ? SHARED_COLUMNS : PRIVATE_COLUMNS;
    plan.chunks = smaller(columns / GEMM_COLUMNS, gemms);
    plan.blocks = (gemms + plan.chunks - 1) / plan.chunks;
    if (pair_count(&plan) < PAIRS)
        for (plan.pieces = 1; plan.pieces < PIECES && plan.pieces * 2 <= plan.blocks;)
            plan.pieces *= 2;
    const size_t from = plan.input.block, to = plan.output.block;
    plan.gemm = plan.tiling.precision == MIO__BF16
                    ? mio__gemm_make_bf16(to, from, plan.slots * lanes, from, 1, 0, 0)
                    : mio__gemm_make(to, from, plan.slots * lanes, to, from, to, 0, 1, 0);
    return plan;
}

/* ---- work space: each worker's dU of one pair; V and the transformed dy, of each worker or shared; the pieces ---- */

static size_t block_columns(const mio__winograd_gradient *plan)
{
    return plan->chunks * plan->slots * plan->tiling.lanes;
}

static size_t x_stride(const mio__winograd_gradient *plan)
{
    return mio__point_stride(plan->input.blocks * plan->input.block * block_columns(plan), plan->tiling.precision);
}

static size_t y_stride(const mio__winograd_gradient *plan)
{
    return mio__point_stride(plan->output.blocks * plan->output.block * block_columns(plan), plan->tiling.precision);
}

static size_t u_stride(const mio__winograd_gradient *plan)
{
    return mio__point_stride(tile_size(plan), MIO__FP32);
}

/* Bytes of V and the transformed dy. */
static size_t array_size(const mio__winograd_gradient *plan)
{
    return plan->tiling.points * (x_stride(plan) + y_stride(plan)) * mio__number_size(plan->tiling.precision);
}

static size_t weight_count(const mio__winograd_gradient *plan)
{
    return TAPS * pair_count(plan) * tile_size(plan);
}

size_t mio__winograd_gradient_scratch_size(const mio__winograd_gradient *plan, size_t workers)
{
    const size_t partial = plan->pieces > 1 ? plan->pieces * weight_count(plan) : 0;
    return (workers * plan->tiling.points * u_stride(plan) + partial) * sizeof(mio__real) +
           (plan->pieces ? workers : 1) * array_size(plan);
}

/* ---- the weight gradient ---- */

typedef struct run {
    const mio__winograd_gradient *plan;
    const void *x, *dy;
    mio__real *products, *sums;
    char *arrays;
    size_t block; /* phased: the block at hand */
} run;

/* Transforms tile `slot` of a block of tiles in one channel block: first come those of x, then those of dy. */
static void transform(const run *job, char *arrays, size_t tile, size_t slot, size_t channel_block)
{
    const mio__winograd_gradient *plan = job->plan;
    const mio__tiling *tiling = &plan->tiling;
    const void *pixels[MIO__WINOGRAD_POINTS];
    if (channel_block < plan->input.blocks) {
        const size_t pixel = tiling->lanes * plan->input.block;
        mio__tile_pixels(tiling, &plan->input, job->x, channel_block, tile, tiling->n, tiling->padding, tiling->zeros,
                         pixels);
        const size_t place = channel_block * block_columns(plan) * plan->input.block + slot * pixel;
        tiling->transforms->input_columns(pixels, plan->input.block, pixel, mio__at(arrays, place, tiling->precision),
                                          x_stride(plan));
        return;
    }
    const size_t block = channel_block - plan->input.blocks, pixel = tiling->lanes * plan->output.block;
    mio__tile_pixels(tiling, &plan->output, job->dy, block, tile, tiling->m, 0, tiling->zeros, pixels);
    const size_t place =
        tiling->points * x_stride(plan) + block * block_columns(plan) * plan->output.block + slot * pixel;
    tiling->transforms->gradient_columns(pixels, plan->output.block, pixel, mio__at(arrays, place, tiling->precision),
                                         y_stride(plan));
}

/* The products of one pair of blocks over a block of tiles, back to taps, and added to dw unless that is fresh. */
static void multiply(const run *job, const char *arrays, size_t worker, size_t pair, mio__real *dw, int fresh)
{
    const mio__winograd_gradient *plan = job->plan;
    const size_t columns = block_columns(plan), from = plan->input.block, to = plan->output.block;
    const size_t points = plan->tiling.points, step = plan->slots * plan->tiling.lanes;
    const size_t v = pair % plan->input.blocks * columns * from;
    const size_t dy = points * x_stride(plan) + pair / plan->input.blocks * columns * to;
    const mio__precision precision = plan->tiling.precision;
    mio__real *products = job->products + worker * points * u_stride(plan);
    for (size_t point = 0; point < points; point++) {
        const void *a[SHARED_COLUMNS / GEMM_COLUMNS], *b[SHARED_COLUMNS / GEMM_COLUMNS];
        for (size_t i = 0; i < plan->chunks; i++) {
            a[i] = mio__from(arrays, dy + point * y_stride(plan) + i * step * to, precision);
            b[i] = mio__from(arrays, v + point * x_stride(plan) + i * step * from, precision);
        }
        mio__gemm_run_stored(&plan->gemm, a, b, products + point * u_stride(plan), plan->chunks);
    }
    plan->tiling.transforms->weights_gradient(products, u_stride(plan), from * to, dw + pair * TAPS * from * to,
                                              from * to, !fresh);
}

/* Private: one piece. */
static void piece_item(void *argument, size_t piece, size_t worker)
{
    const run *job = argument;
    const mio__winograd_gradient *plan = job->plan;
    char *arrays = job->arrays + worker * array_size(plan);
    const size_t begin = piece * plan->blocks / plan->pieces, end = (piece + 1) * plan->blocks / plan->pieces;
    const size_t slots = plan->chunks * plan->slots, pairs = pair_count(plan);
    for (size_t block = begin; block < end; block++) {
        for (size_t i = 0; i < plan->input.blocks + plan->output.blocks; i++)
            for (size_t slot = 0; slot < slots; slot++)
                transform(job, arrays, block * slots + slot, slot, i);
        for (size_t pair = 0; pair < pairs; pair++)
            multiply(job, arrays, worker, pair, job->sums + piece * weight_count(plan), block == begin);
    }
}

/* Shared, first phase: one tile of one channel block. */
static void transform_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const size_t slots = job->plan->chunks * job->plan->slots, slot = item % slots;
    (void)worker;
    transform(job, job->arrays, job->block * slots + slot, slot, item / slots);
}

/* Second phase: one pair of channel blocks. */
static void pair_item(void *argument, size_t pair, size_t worker)
{
    const run *job = argument;
    multiply(job, job->arrays, worker, pair, job->sums, job->block == 0);
}

void mio__winograd_gradient_run(mio_context *context, const mio__winograd_gradient *plan, size_t workers, void *scratch,
                                const void *x, const void *dy, mio__real *dw)
{
    run job = {.plan = plan, .x = x, .dy = dy, .products = scratch, .sums = dw};
    job.arrays = (char *)(job.products + workers * plan->tiling.points * u_stride(plan));
    if (plan->pieces) {
        mio__real *partial = (mio__real *)(void *)(job.arrays + workers * array_size(plan));
        job.sums = plan->pieces > 1 ? partial : dw;
        mio__parallel(context, workers, plan->pieces, piece_item, &job);
        if (plan->pieces > 1)
            mio__sum_pieces(context, workers, plan->pieces, weight_count(plan), partial, dw);
        return;
    }
    for (; job.block < plan->blocks; job.block++) {
        mio__parallel(context, workers, (plan->input.blocks + plan->output.blocks) * plan->chunks * plan->slots,
                      transform_item, &job);
        mio__parallel(context, workers, pair_count(plan), pair_item, &job);
    }
}
