#include "kernels/winograd.h"

#include "kernels/conv_direct.h"

/* Columns of one GEMM, of one whose weights are prefetched at most, and of a shared block; transformed weights beyond
   this many elements stream through the cache, so that all workers share each point's; fewest items that keep workers
   busy; fewest long ones for each worker. */
enum {
    COLUMNS = 64,
    STREAMED_COLUMNS = 32,
    SHARED_COLUMNS = 256,
    SHARED_WEIGHTS = 36 * 300 * 300,
    ITEMS = 8,
    LONG_ITEMS = 4
};
/* Bytes of a cache line; elements of mio__real that keep the points of an array off each other's cache sets. */
enum { LINE = 64, SKEW = 48 };

/* ---- tiles ---- */

mio__tiling mio__tiling_make(const mio__conv_geometry *geometry, const mio__shape *tiled, size_t m, size_t padding,
                             const void *zeros)
{
    const mio__winograd_kernels *kernels = MIO__PICK_STORED(mio__winograd, geometry->images.precision);
    mio__tiling tiling = {
        .m = m,
        .n = m + 2,
        .points = (m + 2) * (m + 2),
        .padding = padding,
        .lanes = geometry->images.lanes,
        .groups = geometry->images.views * geometry->images.groups,
        .rows = (tiled->height + m - 1) / m,
        .columns = (tiled->width + m - 1) / m,
        .transforms = m == 4 ? &kernels->four : &kernels->two,
        .zeros = zeros,
        .precision = geometry->images.precision,
    };
    tiling.tiles = tiling.groups * tiling.rows * tiling.columns;
    return tiling;
}

size_t mio__point_stride(size_t count, mio__precision precision)
{
    const size_t size = mio__number_size(precision), line = LINE / size;
    return (count + line - 1) / line * line + SKEW * sizeof(mio__real) / size;
}

void mio__tile_pixels(const mio__tiling *tiling, const mio__shape *shape, const void *tensor, size_t block, size_t tile,
                      size_t extent, size_t padding, const void *outside, const void **pixels)
{
    const size_t group = tile / tiling->columns / tiling->rows, pixel = tiling->lanes * shape->block;
    const size_t top = tile / tiling->columns % tiling->rows * tiling->m - padding; /* below zero wraps round */
    const size_t left = tile % tiling->columns * tiling->m - padding;
    const size_t plane = (group * shape->blocks + block) * shape->height * shape->width * pixel;
    for (size_t r = 0; r < extent; r++)
        for (size_t c = 0; c < extent; c++) {
            const int inside = tile < tiling->tiles && top + r < shape->height && left + c < shape->width;
            const size_t place = plane + ((top + r) * shape->width + left + c) * pixel;
            pixels[r * extent + c] = inside ? mio__from(tensor, place, tiling->precision) : outside;
        }
}

/* ---- the plan ---- */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static mio__gemm block_gemm(const mio__winograd_pass *pass, size_t tiles)
{
    const size_t from = pass->source.block, to = pass->target.block, columns = tiles * pass->tiling.lanes;
    if (pass->tiling.precision == MIO__BF16)
        return mio__gemm_make_bf16(to, columns, from, from, 0, 0, 0);
    const int streamed = pass->tiling.lanes < MIO__MANY_LANES && columns <= STREAMED_COLUMNS;
    return streamed ? mio__gemm_make_streamed(to, columns, from)
                    : mio__gemm_make(to, columns, from, to, from, to, 0, 0, 0);
}

mio__winograd_pass mio__winograd_pass_make(const mio__conv_geometry *geometry, size_t m, int backward,
                                           const void *zeros)
{
    mio__winograd_pass pass = {
        .source = backward ? geometry->output : geometry->input,
        .target = backward ? geometry->input : geometry->output,
    };
    const size_t padding = backward ? 2 - geometry->padding : geometry->padding;
    const size_t lanes = geometry->images.lanes;
    pass.tiling = mio__tiling_make(geometry, &pass.target, m, padding, zeros);
    const size_t tiles = pass.tiling.tiles;
    pass.slots = smaller(COLUMNS / lanes, tiles);
    pass.phased = mio__winograd_weight_count(&pass) > SHARED_WEIGHTS || tiles < ITEMS * pass.slots;
    pass.chunks = pass.phased ? smaller(SHARED_COLUMNS / COLUMNS, (tiles + pass.slots - 1) / pass.slots) : 1;
    const size_t rest = tiles % pass.slots;
    pass.whole = block_gemm(&pass, pass.slots);
    pass.rest = rest ? block_gemm(&pass, rest) : pass.whole;
    return pass;
}

/* ---- work space ---- */

/* Columns of a block of tiles. */
static size_t block_columns(const mio__winograd_pass *pass)
{
    return pass->chunks * pass->slots * pass->tiling.lanes;
}

/* Stored numbers from point to point of V, the transformed input, [source block][column][channel] at each point. */
static size_t v_stride(const mio__winograd_pass *pass)
{
    return mio__point_stride(pass->source.blocks * block_columns(pass) * pass->source.block, pass->tiling.precision);
}

/* Numbers from point to point of the products, [target block][column][channel]; private ones have one target block. */
static size_t product_stride(const mio__winograd_pass *pass)
{
    return mio__point_stride((pass->phased ? pass->target.blocks : 1) * block_columns(pass) * pass->target.block,
                             MIO__FP32);
}

/* A worker's own part of the scratch: two address lists, and a pixel for what falls outside the written tensor. */
static size_t own_size(const mio__winograd_pass *pass)
{
    const size_t lists = (2 * pass->source.blocks * sizeof(void *) + 63) / 64 * 64;
    return lists + (pass->tiling.lanes * pass->target.block * sizeof(mio__real) + 63) / 64 * 64;
}

/* Bytes of V, and of it and the products. */
static size_t v_size(const mio__winograd_pass *pass)
{
    return pass->tiling.points * v_stride(pass) * mio__number_size(pass->tiling.precision);
}

static size_t arrays_size(const mio__winograd_pass *pass)
{
    return v_size(pass) + pass->tiling.points * product_stride(pass) * sizeof(mio__real);
}

size_t mio__winograd_pass_scratch_size(const mio__winograd_pass *pass, size_t workers)
{
    return workers * own_size(pass) + (pass->phased ? 1 : workers) * arrays_size(pass);
}

/* ---- the passes ---- */

typedef struct run {
    const mio__winograd_pass *pass;
    char *own;    /* of all workers */
    char *arrays; /* likewise, or shared */
    const void *weights, *source;
    const mio__finish *finish;
    void *target;
    int accumulate;
    size_t first, tiles; /* phased: the block at hand */
    size_t span;         /* target blocks of an item of products */
} run;

/* Transforms one tile of a block of tiles, in one source block. */
static void transform_input(const run *job, char *v, size_t tile, size_t slot, size_t block)
{
    const mio__winograd_pass *pass = job->pass;
    const mio__tiling *tiling = &pass->tiling;
    const size_t pixel = tiling->lanes * pass->source.block;
    const void *pixels[MIO__WINOGRAD_POINTS];
    mio__tile_pixels(tiling, &pass->source, job->source, block, tile, tiling->n, tiling->padding, tiling->zeros,
                     pixels);
    const size_t place = block * block_columns(pass) * pass->source.block + slot * pixel;
    tiling->transforms->input(pixels, pixel, mio__at(v, place, tiling->precision), v_stride(pass));
}

/* Transforms one tile of a block of tiles back, in one target block. products: of that target block. */
static void transform_output(const run *job, const mio__real *products, size_t tile, size_t slot, size_t block,
                             void *outside)
{
    const mio__winograd_pass *pass = job->pass;
    const mio__tiling *tiling = &pass->tiling;
    const size_t pixel = tiling->lanes * pass->target.block;
    const void *found[MIO__WINOGRAD_POINTS];
    void *pixels[MIO__WINOGRAD_POINTS];
    mio__tile_pixels(tiling, &pass->target, job->target, block, tile, tiling->m, 0, outside, found);
    for (size_t i = 0; i < tiling->m * tiling->m; i++)
        pixels[i] = (void *)found[i]; /* of the written tensor, whose pixels are writable */
    tiling->transforms->output(products + slot * pixel, product_stride(pass), pixel, pixels, job->accumulate);
    for (size_t r = 0; job->finish && r < tiling->m; r++) {
        size_t inside = 0; /* pixels of a row follow each other */
        while (inside < tiling->m && pixels[r * tiling->m + inside] != outside)
            inside++;
        if (inside)
            mio__finish_rows(job->finish, tiling->precision, block, pass->target.block, inside * tiling->lanes,
                             job->target, pixels[r * tiling->m]);
    }
}

/* The product of one point, one target block and the tiles of one GEMM. */
static void multiply(const run *job, const char *v, mio__real *products, size_t point, size_t block, size_t chunk,
                     size_t tiles, const void **lists)
{
    const mio__winograd_pass *pass = job->pass;
    const size_t from = pass->source.block, to = pass->target.block, blocks = pass->source.blocks;
    const size_t column = chunk * pass->slots * pass->tiling.lanes;
    const size_t weights = point * mio__winograd_weight_stride(pass) + block * blocks * from * to;
    const mio__precision precision = pass->tiling.precision;
    for (size_t i = 0; i < blocks; i++) {
        lists[i] = mio__from(job->weights, weights + i * from * to, precision);
        lists[blocks + i] = mio__from(v, point * v_stride(pass) + (i * block_columns(pass) + column) * from, precision);
    }
    mio__gemm_run_stored(tiles == pass->slots ? &pass->whole : &pass->rest, lists, lists + blocks,
                         products + point * product_stride(pass) + column * to, blocks);
}

/* Where the products are. */
static mio__real *products_after(const mio__winograd_pass *pass, char *v)
{
    return (mio__real *)(void *)(v + v_size(pass));
}

/* The worker's lists and its pixel for what falls outside. */
static const void **own_lists(const run *job, size_t worker)
{
    return (const void **)(void *)(job->own + worker * own_size(job->pass));
}

static void *own_outside(const run *job, size_t worker)
{
    const size_t lists = (2 * job->pass->source.blocks * sizeof(void *) + 63) / 64 * 64;
    return job->own + worker * own_size(job->pass) + lists;
}

/* Private: one block of tiles from input to output. */
static void private_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const mio__winograd_pass *pass = job->pass;
    const size_t first = item * pass->slots, tiles = smaller(pass->slots, pass->tiling.tiles - first);
    char *v = job->arrays + worker * arrays_size(pass);
    mio__real *products = products_after(pass, v);
    for (size_t block = 0; block < pass->source.blocks; block++)
        for (size_t slot = 0; slot < tiles; slot++)
            transform_input(job, v, first + slot, slot, block);
    for (size_t block = 0; block < pass->target.blocks; block++) {
        for (size_t point = 0; point < pass->tiling.points; point++)
            multiply(job, v, products, point, block, 0, tiles, own_lists(job, worker));
        for (size_t slot = 0; slot < tiles; slot++)
            transform_output(job, products, first + slot, slot, block, own_outside(job, worker));
    }
}

/* Shared, first phase: one tile of one source block. */
static void input_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const size_t slot = item % job->tiles;
    (void)worker;
    transform_input(job, job->arrays, job->first + slot, slot, item / job->tiles);
}

/* Second phase: one point and one target block, or all of them, all columns. */
static void multiply_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const mio__winograd_pass *pass = job->pass;
    const size_t columns = block_columns(pass) * pass->target.block, items = pass->target.blocks / job->span;
    for (size_t block = item % items * job->span; block < (item % items + 1) * job->span; block++)
        for (size_t chunk = 0; chunk * pass->slots < job->tiles; chunk++)
            multiply(job, job->arrays, products_after(pass, job->arrays) + block * columns, item / items, block, chunk,
                     smaller(pass->slots, job->tiles - chunk * pass->slots), own_lists(job, worker));
}

/* Third phase: one tile of one target block. */
static void output_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const mio__winograd_pass *pass = job->pass;
    const size_t slot = item % job->tiles, block = item / job->tiles;
    const mio__real *products = products_after(pass, job->arrays) + block * block_columns(pass) * pass->target.block;
    transform_output(job, products, job->first + slot, slot, block, own_outside(job, worker));
}

void mio__winograd_pass_run(mio_context *context, const mio__winograd_pass *pass, size_t workers, void *scratch,
                            const void *weights, const mio__finish *finish, const void *source, void *target,
                            int accumulate)
{
    const size_t tiles = pass->tiling.tiles;
    run job = {
        .pass = pass,
        .own = scratch,
        .arrays = (char *)scratch + workers * own_size(pass),
        .weights = weights,
        .source = source,
        .finish = finish,
        .target = target,
        .accumulate = accumulate,
    };
    if (!pass->phased) {
        mio__parallel(context, workers, (tiles + pass->slots - 1) / pass->slots, private_item, &job);
        return;
    }
    /* Weights that stream from memory are prefetched, best in long runs. */
    job.span = pass->whole.streamed && pass->tiling.points >= LONG_ITEMS * workers ? pass->target.blocks : 1;
    for (; job.first < tiles; job.first += job.tiles) {
        job.tiles = smaller(pass->chunks * pass->slots, tiles - job.first);
        mio__parallel(context, workers, pass->source.blocks * job.tiles, input_item, &job);
        mio__parallel(context, workers, pass->tiling.points * pass->target.blocks / job.span, multiply_item, &job);
        mio__parallel(context, workers, pass->target.blocks * job.tiles, output_item, &job);
    }
}
