#include "kernels/polyphase.h"

#include "kernels/conv_direct.h"
#include "kernels/winograd.h"

/* Transformed weights beyond this many elements stream through the cache, so that all workers share each point's; tiles
   that share them then; fewest items that keep workers busy. */
enum { SHARED_WEIGHTS = 36 * 300 * 300, SHARED_TILES = 4, ITEMS = 4 };
enum { LINES = 2 * MIO__LINE_POINTS, SIDE = 4, TILE = SIDE * SIDE, MIDDLE = MIO__PHASE_POINTS - 1 };

/* ---- tiles ---- */

const mio__phase_axis mio__phase_odd = {MIO__LINE_POINTS, 2, (size_t)-1}, mio__phase_even = {SIDE, 2, 0};
const mio__phase_axis mio__phase_coarse = {SIDE, 1, 0};
/* Of dy, what the data gradient reads for the pixels of x that two taps meet; those pixels. */
static const mio__phase_axis coarse_five = {MIO__LINE_POINTS, 1, 0}, odd_written = {SIDE, 2, 1};

mio__phases mio__phases_make(const mio__conv_geometry *geometry, const mio__real *zeros)
{
    mio__phases phases = {
        .fine = geometry->input,
        .coarse = geometry->output,
        .lanes = geometry->images.lanes,
        .groups = geometry->images.views * geometry->images.groups,
        .rows = (geometry->output.height + SIDE - 1) / SIDE,
        .columns = (geometry->output.width + SIDE - 1) / SIDE,
        .kernels = MIO__PICK(mio__polyphase),
        .zeros = zeros,
    };
    phases.tiles = phases.groups * phases.rows * phases.columns;
    return phases;
}

void mio__phase_pixels(const mio__phases *phases, const mio__shape *shape, const mio__real *tensor, size_t block,
                       size_t tile, const mio__phase_axis *rows, const mio__phase_axis *columns,
                       const mio__real *outside, const mio__real **pixels)
{
    const size_t group = tile / phases->columns / phases->rows, pixel = phases->lanes * shape->block;
    const size_t top = tile / phases->columns % phases->rows * SIDE * rows->step + rows->offset;
    const size_t left = tile % phases->columns * SIDE * columns->step + columns->offset;
    const mio__real *plane = tensor + (group * shape->blocks + block) * shape->height * shape->width * pixel;
    for (size_t r = 0; r < rows->count; r++)
        for (size_t c = 0; c < columns->count; c++) {
            const size_t row = top + r * rows->step, column = left + c * columns->step; /* below zero wraps round */
            const int inside = row < shape->height && column < shape->width;
            *pixels++ = inside ? plane + (row * shape->width + column) * pixel : outside;
        }
}

static size_t square_stride(const mio__phases *phases, const mio__shape *shape, size_t blocks, size_t slots)
{
    return mio__point_stride(blocks * slots * phases->lanes * shape->block, MIO__FP32);
}

static size_t line_stride(const mio__phases *phases, const mio__shape *shape, size_t blocks, size_t slots)
{
    return mio__point_stride(blocks * slots * SIDE * phases->lanes * shape->block, MIO__FP32);
}

size_t mio__phase_points_size(const mio__phases *phases, const mio__shape *shape, size_t blocks, size_t slots)
{
    return MIO__SQUARE_POINTS * square_stride(phases, shape, blocks, slots) +
           LINES * line_stride(phases, shape, blocks, slots);
}

mio__phase_points mio__phase_points_at(const mio__phases *phases, const mio__shape *shape, size_t blocks, size_t slots,
                                       mio__real *at)
{
    mio__phase_points points = {.squares = at, .slots = slots, .pixel = phases->lanes * shape->block};
    points.square_stride = square_stride(phases, shape, blocks, slots);
    points.line_stride = line_stride(phases, shape, blocks, slots);
    points.lines = at + MIO__SQUARE_POINTS * points.square_stride;
    return points;
}

mio__real *mio__phase_square(const mio__phase_points *points, size_t point, size_t block, size_t slot)
{
    return points->squares + point * points->square_stride + (block * points->slots + slot) * points->pixel;
}

mio__real *mio__phase_line(const mio__phase_points *points, size_t line, size_t block, size_t slot)
{
    return points->lines + line * points->line_stride + (block * points->slots + slot) * SIDE * points->pixel;
}

/* The i-th line's pixels out of a part's: down a column of 5 x 4, or across a row of 4 x 5. */
static void line_of(const mio__real *const *part, size_t across, size_t i, const mio__real **line)
{
    for (size_t k = 0; k < MIO__LINE_POINTS; k++)
        line[k] = across ? part[i * MIO__LINE_POINTS + k] : part[k * SIDE + i];
}

void mio__phase_input(const mio__phases *phases, int backward, const mio__real *tensor, size_t block, size_t tile,
                      size_t slot, const mio__phase_points *points)
{
    const mio__shape *shape = backward ? &phases->coarse : &phases->fine;
    const mio__phase_axis *five = backward ? &coarse_five : &mio__phase_odd;
    const mio__phase_axis *four = backward ? &mio__phase_coarse : &mio__phase_even;
    const size_t pixel = points->pixel;
    const mio__real *pixels[MIO__PHASE_PIXELS], *line[MIO__LINE_POINTS];
    mio__phase_pixels(phases, shape, tensor, block, tile, five, five, phases->zeros, pixels);
    phases->kernels->square_input(pixels, pixel, mio__phase_square(points, 0, block, slot), points->square_stride);
    for (size_t across = 0; across < 2; across++) {
        mio__real *to = mio__phase_line(points, across * MIO__LINE_POINTS, block, slot);
        mio__phase_pixels(phases, shape, tensor, block, tile, across ? four : five, across ? five : four, phases->zeros,
                          pixels);
        for (size_t i = 0; i < SIDE; i++) {
            line_of(pixels, across, i, line);
            phases->kernels->line_input(line, pixel, to + i * pixel, points->line_stride);
        }
    }
}

/* ---- the plan ---- */

int mio__polyphase_applies(const mio__conv_geometry *geometry)
{
    return geometry->images.precision == MIO__FP32 && geometry->kernel == 3 && geometry->stride == 2 &&
           geometry->padding == 1 && geometry->input.block >= 16 && geometry->output.block >= 16;
}

static const mio__shape *source_of(const mio__polyphase_pass *pass)
{
    return pass->backward ? &pass->phases.coarse : &pass->phases.fine;
}

static const mio__shape *target_of(const mio__polyphase_pass *pass)
{
    return pass->backward ? &pass->phases.fine : &pass->phases.coarse;
}

mio__polyphase_pass mio__polyphase_pass_make(const mio__conv_geometry *geometry, int backward, const mio__real *zeros)
{
    mio__polyphase_pass pass = {.phases = mio__phases_make(geometry, zeros), .backward = backward};
    const size_t from = source_of(&pass)->block, to = target_of(&pass)->block, lanes = pass.phases.lanes;
    const size_t tiles = pass.phases.tiles;
    pass.phased = mio__polyphase_weight_count(&pass) > SHARED_WEIGHTS || tiles < ITEMS;
    pass.slots = !pass.phased ? 1 : tiles < SHARED_TILES ? tiles : SHARED_TILES;
    for (int accumulate = 0; accumulate < 2; accumulate++)
        pass.pixel[accumulate] = mio__gemm_make(to, lanes, from, to, from, to, 0, 0, accumulate);
    pass.four = mio__gemm_make(to, SIDE * lanes, from, to, from, to, 0, 0, 0);
    return pass;
}

/* ---- work space: each worker's two address lists and a pixel for what falls outside; then the points of the source
   and the products, of each worker or shared. Private products are of one target block at a time. ---- */

static size_t product_blocks(const mio__polyphase_pass *pass)
{
    return pass->phased ? target_of(pass)->blocks : 1;
}

static size_t own_size(const mio__polyphase_pass *pass)
{
    const size_t lists = (2 * source_of(pass)->blocks * sizeof(void *) + 63) / 64 * 64;
    return lists + (pass->phases.lanes * target_of(pass)->block * sizeof(mio__real) + 63) / 64 * 64;
}

/* Numbers. */
static size_t source_size(const mio__polyphase_pass *pass)
{
    return mio__phase_points_size(&pass->phases, source_of(pass), source_of(pass)->blocks, pass->slots);
}

static size_t arrays_size(const mio__polyphase_pass *pass)
{
    return source_size(pass) +
           mio__phase_points_size(&pass->phases, target_of(pass), product_blocks(pass), pass->slots);
}

size_t mio__polyphase_pass_scratch_size(const mio__polyphase_pass *pass, size_t workers)
{
    return workers * own_size(pass) + (pass->phased ? 1 : workers) * arrays_size(pass) * sizeof(mio__real);
}

/* ---- the passes ---- */

typedef struct run {
    const mio__polyphase_pass *pass;
    char *own;         /* of all workers */
    mio__real *arrays; /* likewise, or shared */
    const mio__real *weights, *source;
    const mio__finish *finish;
    mio__real *target;
    int accumulate;
    size_t first, tiles; /* phased: the block at hand */
} run;

/* A block of tiles at work. */
typedef struct block_of_tiles {
    mio__phase_points source, products;
    size_t first;
    const mio__real **lists;
    mio__real *outside;
} block_of_tiles;

static block_of_tiles open_block(const run *job, size_t first, size_t worker)
{
    const mio__polyphase_pass *pass = job->pass;
    const size_t lists = (2 * source_of(pass)->blocks * sizeof(void *) + 63) / 64 * 64;
    mio__real *arrays = job->arrays + (pass->phased ? 0 : worker * arrays_size(pass));
    char *own = job->own + worker * own_size(pass);
    return (block_of_tiles){
        mio__phase_points_at(&pass->phases, source_of(pass), source_of(pass)->blocks, pass->slots, arrays),
        mio__phase_points_at(&pass->phases, target_of(pass), product_blocks(pass), pass->slots,
                             arrays + source_size(pass)),
        first,
        (const mio__real **)(void *)own,
        (mio__real *)(void *)(own + lists),
    };
}

/* What the middle tap does: pixels of one tile straight from the source to the target. */
static void multiply_pixels(const run *job, const block_of_tiles *work, size_t block, size_t slot)
{
    const mio__polyphase_pass *pass = job->pass;
    const mio__shape *from = source_of(pass), *to = target_of(pass);
    const mio__phase_axis *read = pass->backward ? &mio__phase_coarse : &mio__phase_even;
    const mio__phase_axis *written = pass->backward ? &mio__phase_even : &mio__phase_coarse;
    const size_t plane = from->height * from->width * pass->phases.lanes * from->block;
    const mio__real *sources[MIO__PHASE_PIXELS], *targets[MIO__PHASE_PIXELS];
    mio__phase_pixels(&pass->phases, from, job->source, 0, work->first + slot, read, read, NULL, sources);
    mio__phase_pixels(&pass->phases, to, job->target, block, work->first + slot, written, written, NULL, targets);
    for (size_t i = 0; i < TILE; i++) {
        for (size_t b = 0; targets[i] && b < from->blocks; b++) /* the one is inside where the other is */
            work->lists[from->blocks + b] = sources[i] + b * plane;
        if (targets[i])
            mio__gemm_run(&pass->pixel[job->accumulate], work->lists, work->lists + from->blocks,
                          (mio__real *)targets[i], from->blocks); /* of the target, which is writable */
    }
}

/* The products of one point with one target block, whose products begin at block `place`. */
static void multiply(const run *job, const block_of_tiles *work, size_t point, size_t block, size_t place, size_t tiles)
{
    const mio__polyphase_pass *pass = job->pass;
    const mio__shape *from = source_of(pass);
    const size_t blocks = from->blocks, tile = from->block * target_of(pass)->block;
    const mio__real *weights = job->weights + point * mio__polyphase_weight_stride(pass) + block * blocks * tile;
    for (size_t i = 0; i < blocks; i++)
        work->lists[i] = weights + i * tile;
    for (size_t slot = 0; slot < tiles; slot++) {
        const int square = point < MIO__SQUARE_POINTS;
        const size_t line = point - MIO__SQUARE_POINTS;
        if (point == MIDDLE) {
            multiply_pixels(job, work, block, slot);
            continue;
        }
        for (size_t i = 0; i < blocks; i++)
            work->lists[blocks + i] = square ? mio__phase_square(&work->source, point, i, slot)
                                             : mio__phase_line(&work->source, line, i, slot);
        mio__real *to = square ? mio__phase_square(&work->products, point, place, slot)
                               : mio__phase_line(&work->products, line, place, slot);
        mio__gemm_run(square ? &pass->pixel[0] : &pass->four, work->lists, work->lists + blocks, to, blocks);
    }
}

/* Forward: adds the other parts to what the middle tap has written, and finishes. */
static void write_coarse(const run *job, const block_of_tiles *work, size_t block, size_t place, size_t slot)
{
    const mio__phases *phases = &job->pass->phases;
    const mio__phase_points *products = &work->products;
    const mio__real *found[MIO__PHASE_PIXELS];
    mio__real *pixels[TILE];
    mio__phase_pixels(phases, &phases->coarse, job->target, block, work->first + slot, &mio__phase_coarse,
                      &mio__phase_coarse, work->outside, found);
    for (size_t i = 0; i < TILE; i++)
        pixels[i] = (mio__real *)found[i]; /* of the target, which is writable */
    phases->kernels->merged_output(mio__phase_square(products, 0, place, slot), products->square_stride,
                                   mio__phase_line(products, 0, place, slot), products->line_stride, products->pixel,
                                   pixels);
    for (size_t r = 0; job->finish && r < SIDE; r++) {
        size_t inside = 0; /* pixels of a row follow each other */
        while (inside < SIDE && pixels[r * SIDE + inside] != work->outside)
            inside++;
        if (inside)
            mio__finish_rows(job->finish, MIO__FP32, block, phases->coarse.block, inside * phases->lanes, job->target,
                             pixels[r * SIDE]);
    }
}

/* The data gradient: every part writes pixels of its own. */
static void write_fine(const run *job, const block_of_tiles *work, size_t block, size_t place, size_t slot)
{
    const mio__phases *phases = &job->pass->phases;
    const mio__phase_points *products = &work->products;
    const size_t pixel = products->pixel;
    for (size_t part = 0; part < 3; part++) { /* the square, down, across */
        const mio__phase_axis *rows = part < 2 ? &odd_written : &mio__phase_even;
        const mio__phase_axis *columns = part != 1 ? &odd_written : &mio__phase_even;
        const mio__real *found[MIO__PHASE_PIXELS];
        mio__real *pixels[TILE];
        mio__phase_pixels(phases, &phases->fine, job->target, block, work->first + slot, rows, columns, work->outside,
                          found);
        for (size_t i = 0; i < TILE; i++) /* a line's pixels after each other */
            pixels[i] = (mio__real *)found[part == 1 ? i % SIDE * SIDE + i / SIDE : i];
        if (part == 0)
            phases->kernels->square_output(mio__phase_square(products, 0, place, slot), products->square_stride, pixel,
                                           pixels, job->accumulate);
        for (size_t i = 0; part && i < SIDE; i++)
            phases->kernels->line_output(mio__phase_line(products, (part - 1) * MIO__LINE_POINTS, place, slot) +
                                             i * pixel,
                                         products->line_stride, pixel, pixels + i * SIDE, job->accumulate);
    }
}

static void write_tile(const run *job, const block_of_tiles *work, size_t block, size_t place, size_t slot)
{
    if (job->pass->backward)
        write_fine(job, work, block, place, slot);
    else
        write_coarse(job, work, block, place, slot);
}

/* Private: one block of tiles from input to output. */
static void private_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const mio__polyphase_pass *pass = job->pass;
    const block_of_tiles work = open_block(job, item, worker);
    for (size_t block = 0; block < source_of(pass)->blocks; block++)
        mio__phase_input(&pass->phases, pass->backward, job->source, block, item, 0, &work.source);
    for (size_t block = 0; block < target_of(pass)->blocks; block++) {
        for (size_t point = 0; point < MIO__PHASE_POINTS; point++)
            multiply(job, &work, point, block, 0, 1);
        write_tile(job, &work, block, 0, 0);
    }
}

/* Shared, first phase: one tile of one source block. */
static void input_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const block_of_tiles work = open_block(job, job->first, worker);
    const size_t slot = item % job->tiles;
    mio__phase_input(&job->pass->phases, job->pass->backward, job->source, item / job->tiles, job->first + slot, slot,
                     &work.source);
}

/* Second phase: one point and one target block. The middle tap, which is the longest, first. */
static void multiply_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const block_of_tiles work = open_block(job, job->first, worker);
    const size_t blocks = target_of(job->pass)->blocks, block = item % blocks;
    multiply(job, &work, MIDDLE - item / blocks, block, block, job->tiles);
}

/* Third phase: one tile of one target block. */
static void output_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const block_of_tiles work = open_block(job, job->first, worker);
    const size_t block = item / job->tiles;
    write_tile(job, &work, block, block, item % job->tiles);
}

void mio__polyphase_pass_run(mio_context *context, const mio__polyphase_pass *pass, size_t workers, void *scratch,
                             const mio__real *weights, const mio__finish *finish, const mio__real *source,
                             mio__real *target, int accumulate)
{
    const size_t tiles = pass->phases.tiles;
    run job = {
        .pass = pass,
        .own = scratch,
        .arrays = (mio__real *)(void *)((char *)scratch + workers * own_size(pass)),
        .weights = weights,
        .source = source,
        .finish = finish,
        .target = target,
        .accumulate = accumulate != 0,
    };
    if (!pass->phased) {
        mio__parallel(context, workers, tiles, private_item, &job);
        return;
    }
    for (; job.first < tiles; job.first += job.tiles) {
        job.tiles = tiles - job.first < pass->slots ? tiles - job.first : pass->slots;
        mio__parallel(context, workers, source_of(pass)->blocks * job.tiles, input_item, &job);
        mio__parallel(context, workers, MIO__PHASE_POINTS * target_of(pass)->blocks, multiply_item, &job);
        mio__parallel(context, workers, target_of(pass)->blocks * job.tiles, output_item, &job);
    }
}
