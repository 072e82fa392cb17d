#include "kernels/conv_gather.h"

#include "kernels/conv_direct.h"

#include <string.h>

/* Columns of a GEMM. */
enum { COLUMNS = 64 };

/* ---- the copies: [input block][tap column][class][row][column], pixels of the output's grid. A copy's row r holds the
   input's row r - padding; rows are sorted into classes by r modulo the stride, so that the rows that a tap reads
   follow each other too. Classes that no tap reads are left out. ---- */

static size_t class_rows(const mio__conv_geometry *geometry, size_t class)
{
    return geometry->output.height + (geometry->kernel - 1 - class) / geometry->stride;
}

static size_t class_count(const mio__conv_geometry *geometry)
{
    return geometry->kernel < geometry->stride ? geometry->kernel : geometry->stride;
}

static size_t rows_before(const mio__conv_geometry *geometry, size_t class)
{
    size_t rows = 0;
    for (size_t i = 0; i < class; i++)
        rows += class_rows(geometry, i);
    return rows;
}

static size_t row_size(const mio__conv_geometry *geometry)
{
    return geometry->output.width * geometry->images.lanes * geometry->input.block;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- the plan ---- */

int mio__gather_suits(const mio__conv_geometry *geometry)
{
    const int plain = geometry->kernel == 1 && geometry->stride == 1 && !geometry->padding;
    return geometry->images.lanes < MIO__MANY_LANES && !plain;
}

/* Columns of C in a group. */
static size_t all_columns(const mio__gather *gather)
{
    const mio__shape *output = &gather->geometry.output;
    return output->height * output->width * gather->geometry.images.lanes;
}

static mio__gemm columns_gemm(const mio__conv_geometry *geometry, size_t columns)
{
    const size_t from = geometry->input.block, to = geometry->output.block;
    return geometry->images.precision == MIO__BF16 ? mio__gemm_make_bf16(to, columns, from, from, 0, 0, 1)
                                                   : mio__gemm_make_streamed(to, columns, from);
}

mio__gather mio__gather_make(const mio__conv_geometry *geometry)
{
    mio__gather gather = {.geometry = *geometry, .rows = rows_before(geometry, class_count(geometry))};
    const size_t all = all_columns(&gather);
    gather.columns = smaller(all, COLUMNS);
    gather.whole = columns_gemm(geometry, gather.columns);
    gather.rest = all % gather.columns ? columns_gemm(geometry, all % gather.columns) : gather.whole;
    return gather;
}

/* Addresses in one of a worker's lists. */
static size_t list_length(const mio__gather *gather)
{
    return gather->geometry.input.blocks * gather->geometry.kernel * gather->geometry.kernel;
}

static size_t lists_size(const mio__gather *gather, size_t workers)
{
    return (workers * 2 * list_length(gather) * sizeof(void *) + 63) / 64 * 64;
}

size_t mio__gather_scratch_size(const mio__gather *gather, size_t workers)
{
    const mio__conv_geometry *geometry = &gather->geometry;
    return lists_size(gather, workers) + geometry->input.blocks * geometry->kernel * gather->rows * row_size(geometry) *
                                             mio__number_size(geometry->images.precision);
}

/* ---- the pass ---- */

typedef struct run {
    const mio__gather *gather;
    const void **lists;
    void *copies;
    const void *weights, *x; /* x, y: of the group at hand */
    const mio__finish *finish;
    void *y;
    const void *tensor; /* y of the first group */
} run;

/* One row of one copy: pixels from column `tap` - padding on, `stride` apart. row: of the input; beyond it, all zeros.
 */
static void copy_row(const mio__conv_geometry *geometry, const char *row, size_t tap, char *to)
{
    const size_t pixel = geometry->images.lanes * geometry->input.block * mio__number_size(geometry->images.precision);
    for (size_t column = 0; column < geometry->output.width; column++) {
        const size_t from = column * geometry->stride + tap - geometry->padding; /* below zero wraps round */
        if (row && from < geometry->input.width)
            memcpy(to + column * pixel, row + from * pixel, pixel);
        else
            memset(to + column * pixel, 0, pixel);
    }
}

/* First phase: one row of one input block in the copies of all tap columns. */
static void copy_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const mio__gather *gather = job->gather;
    const mio__conv_geometry *geometry = &gather->geometry;
    const mio__shape *input = &geometry->input;
    const size_t block = item / gather->rows, place = item % gather->rows,
                 pixel = geometry->images.lanes * input->block;
    size_t class = 0;
    while (place >= rows_before(geometry, class + 1))
        class ++;
    const size_t row = (place - rows_before(geometry, class)) * geometry->stride + class - geometry->padding;
    const mio__precision precision = geometry->images.precision;
    const void *from =
        row < input->height ? mio__from(job->x, (block * input->height + row) * input->width * pixel, precision) : NULL;
    (void)worker;
    for (size_t tap = 0; tap < geometry->kernel; tap++)
        copy_row(geometry, from, tap,
                 mio__at(job->copies, ((block * geometry->kernel + tap) * gather->rows + place) * row_size(geometry),
                         precision));
}

/* What each tap of each input block contributes to the columns of C from `first` on. */
static void fill_lists(const run *job, size_t block, size_t first, const void **a, const void **b)
{
    const mio__gather *gather = job->gather;
    const mio__conv_geometry *geometry = &gather->geometry;
    const size_t kernel = geometry->kernel, tile = geometry->input.block * geometry->output.block;
    const size_t weights = block * list_length(gather) * tile;
    const mio__precision precision = geometry->images.precision;
    for (size_t in = 0; in < geometry->input.blocks; in++)
        for (size_t r = 0; r < kernel; r++) {
            const size_t row = rows_before(geometry, r % geometry->stride) + r / geometry->stride;
            for (size_t c = 0; c < kernel; c++) {
                const size_t copy = ((in * kernel + c) * gather->rows + row) * row_size(geometry);
                *a++ = mio__from(job->weights, weights + ((in * kernel + r) * kernel + c) * tile, precision);
                *b++ = mio__from(job->copies, copy + first * geometry->input.block, precision);
            }
        }
}

/* Second phase: the columns of one GEMM in one output block. */
static void multiply_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const mio__gather *gather = job->gather;
    const mio__shape *output = &gather->geometry.output;
    const size_t all = all_columns(gather), parts = (all + gather->columns - 1) / gather->columns;
    const size_t block = item / parts, first = item % parts * gather->columns, length = list_length(gather);
    const void **lists = job->lists + worker * 2 * length;
    const mio__precision precision = gather->geometry.images.precision;
    const mio__gemm *gemm = first + gather->columns <= all ? &gather->whole : &gather->rest;
    void *to = mio__at(job->y, (block * all + first) * output->block, precision);
    fill_lists(job, block, first, lists, lists + length);
    mio__gemm_run_stored(gemm, lists, lists + length, to, length);
    if (job->finish)
        mio__finish_rows(job->finish, precision, block, output->block, gemm->n, job->tensor, to);
}

void mio__gather_run(mio_context *context, const mio__gather *gather, size_t workers, void *scratch,
                     const void *weights, const mio__finish *finish, const void *x, void *y)
{
    const mio__conv_geometry *geometry = &gather->geometry;
    const size_t all = all_columns(gather), parts = (all + gather->columns - 1) / gather->columns;
    run job = {gather, scratch, (char *)scratch + lists_size(gather, workers), weights, x, finish, y, y};
    for (size_t group = 0; group < geometry->images.views * geometry->images.groups; group++) {
        mio__parallel(context, workers, geometry->input.blocks * gather->rows, copy_item, &job);
        mio__parallel(context, workers, geometry->output.blocks * parts, multiply_item, &job);
        job.x = mio__from(job.x, mio__group_size(&geometry->input, &geometry->images), geometry->images.precision);
        job.y = mio__at(job.y, mio__group_size(&geometry->output, &geometry->images), geometry->images.precision);
    }
}
