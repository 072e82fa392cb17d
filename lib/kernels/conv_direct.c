#include "kernels/conv_direct.h"

#include "kernels/batch_norm_vector.h"

#include <string.h>

/* An item of parallel work holds about this many multiplications at least: some tens of microseconds. */
enum { ITEM_WORK = 1 << 21 };
/* Columns of a GEMM's B that short runs of lanes are joined up to. */
enum { JOINED = 64, BLOCK_LIMIT = 64 };

/* ---- the plan ---- */

/* Position that the tap of an output position reads or, backward, that the tap carries an input position to. Returns 0
   where there is none. */
static int meets(const mio__conv_geometry *geometry, int backward, size_t position, size_t tap, size_t extent,
                 size_t *source)
{
    if (!backward) {
        *source = position * geometry->stride + tap - geometry->padding;
        return *source < extent; /* below zero wraps round to beyond it */
    }
    const size_t shifted = position + geometry->padding - tap;
    *source = shifted / geometry->stride;
    return position + geometry->padding >= tap && shifted % geometry->stride == 0 && *source < extent;
}

static mio_status make_axis(mio_context *context, const mio__conv_geometry *geometry, int backward, size_t target,
                            size_t extent, mio__axis *axis)
{
    axis->first = mio__alloc_zeroed(context, target + 1, sizeof *axis->first);
    axis->tap = mio__alloc_zeroed(context, target * geometry->kernel, sizeof *axis->tap);
    axis->source = mio__alloc_zeroed(context, target * geometry->kernel, sizeof *axis->source);
    if (!axis->first || !axis->tap || !axis->source)
        return MIO_ERROR_MEMORY;
    size_t count = 0;
    for (size_t position = 0; position < target; position++) {
        axis->first[position] = count;
        for (size_t tap = 0; tap < geometry->kernel; tap++)
            if (meets(geometry, backward, position, tap, extent, &axis->source[count]))
                axis->tap[count++] = tap;
    }
    axis->first[target] = count;
    return MIO_OK;
}

/* Whether the column after a run can join it: the same taps, read `step` further on. */
static int follows(const mio__axis *columns, size_t column, size_t step)
{
    const size_t from = columns->first[column - 1], to = columns->first[column], count = to - from;
    if (columns->first[column + 1] - to != count)
        return 0;
    for (size_t i = 0; i < count; i++)
        if (columns->tap[from + i] != columns->tap[to + i] ||
            columns->source[from + i] + step != columns->source[to + i])
            return 0;
    return 1;
}

/* Index of the GEMM for runs of this length, made on first use. */
static size_t find_gemm(mio__direct *direct, size_t length, size_t step)
{
    const size_t n = length * direct->lanes, from = direct->source.block, to = direct->target.block;
    for (size_t i = 0; i < direct->gemm_count; i++)
        if (direct->gemms[i][0].n == n)
            return i;
    mio__gemm *pair = direct->gemms[direct->gemm_count];
    for (int accumulate = 0; accumulate < 2; accumulate++)
        pair[accumulate] = direct->precision == MIO__BF16
                               ? mio__gemm_make_bf16(to, n, from, from * step, 0, accumulate, 1)
                               : mio__gemm_make(to, n, from, to, from * step, to, 0, 0, accumulate);
    return direct->gemm_count++;
}

/* Cuts the columns into segments. Neighbouring pixels are a GEMM's columns where they lie at equal distances. */
static mio_status make_segments(mio_context *context, const mio__conv_geometry *geometry, int backward,
                                mio__direct *direct)
{
    const size_t width = direct->target.width, longest = direct->lanes < JOINED ? JOINED / direct->lanes : 1;
    const size_t step = backward || direct->lanes > 1 ? 1 : geometry->stride;
    direct->segments = mio__alloc_zeroed(context, width, sizeof *direct->segments);
    direct->gemms = mio__alloc_zeroed(context, longest, sizeof *direct->gemms);
    if (!direct->segments || !direct->gemms)
        return MIO_ERROR_MEMORY;
    for (size_t column = 0, length; column < width; column += length) {
        for (length = 1; column + length < width && length < longest; length++)
            if (!follows(&direct->columns, column + length, step))
                break;
        direct->segments[direct->segment_count++] = (mio__segment){column, length, find_gemm(direct, length, step)};
    }
    return MIO_OK;
}

mio_status mio__direct_create(mio_context *context, const mio__conv_geometry *geometry, int backward,
                              mio__direct *direct)
{
    mio__conv_geometry flat = *geometry;
    if (flat.kernel == 1 && flat.stride == 1 && flat.padding == 0) { /* an image is one row of pixels */
        flat.input.width *= flat.input.height, flat.input.height = 1;
        flat.output.width *= flat.output.height, flat.output.height = 1;
    }
    direct->source = backward ? flat.output : flat.input;
    direct->target = backward ? flat.input : flat.output;
    direct->kernel = flat.kernel;
    direct->precision = flat.images.precision;
    direct->lanes = flat.images.lanes;
    direct->groups = flat.images.views * flat.images.groups;
    mio_status status =
        make_axis(context, &flat, backward, direct->target.height, direct->source.height, &direct->rows);
    if (!status)
        status = make_axis(context, &flat, backward, direct->target.width, direct->source.width, &direct->columns);
    if (!status)
        status = make_segments(context, &flat, backward, direct);
    if (status)
        return status;
    const size_t row_work = direct->source.blocks * direct->source.block * direct->target.block * flat.kernel *
                            flat.kernel * direct->target.width * direct->lanes;
    const size_t items = row_work / ITEM_WORK > 1 ? row_work / ITEM_WORK : 1;
    direct->segments_per_item = (direct->segment_count + items - 1) / items;
    return MIO_OK;
}

void mio__direct_destroy(mio_context *context, mio__direct *direct)
{
    mio__axis *const axes[] = {&direct->rows, &direct->columns};
    for (size_t i = 0; i < 2; i++) {
        mio__free(context, axes[i]->first);
        mio__free(context, axes[i]->tap);
        mio__free(context, axes[i]->source);
    }
    mio__free(context, direct->segments);
    mio__free(context, direct->gemms);
}

/* ---- the passes ---- */

/* Addresses that one worker's GEMM reads: both lists of this length. */
static size_t list_length(const mio__direct *direct)
{
    return direct->source.blocks * direct->kernel * direct->kernel;
}

size_t mio__direct_scratch_size(const mio__direct *direct, size_t workers)
{
    return workers * 2 * list_length(direct) * sizeof(void *);
}

typedef struct run {
    const mio__direct *direct;
    const void **lists;
    const mio__finish *finish;
    const void *weights, *source;
    void *target;
    int accumulate;
} run;

void mio__finish_rows(const mio__finish *finish, mio__precision precision, size_t index, size_t block, size_t rows,
                      const void *target, void *y)
{
    const size_t channel = index * block, place = (size_t)((const char *)y - (const char *)target);
    MIO__PICK_STORED(mio__batch_norm_loops, precision)
        ->normalize(rows, block, finish->mean + channel, finish->scale + channel, finish->beta + channel, y,
                    finish->residual ? (const char *)finish->residual + place : NULL, finish->relu, y);
}

/* One segment of one row of one written block: weights and source are those of the block and of the group, all by their
   first elements. Returns where it was written. */
static void *run_segment(const run *job, const mio__segment *segment, size_t row, size_t weights, size_t source,
                         size_t target, const void **lists)
{
    const mio__direct *direct = job->direct;
    const mio__shape *from = &direct->source;
    const size_t pixel = direct->lanes * from->block, tile = from->block * direct->target.block;
    const size_t taps = direct->kernel * direct->kernel, length = list_length(direct);
    const mio__axis *rows = &direct->rows, *columns = &direct->columns;
    size_t count = 0;
    for (size_t block = 0; block < from->blocks; block++)
        for (size_t r = rows->first[row]; r < rows->first[row + 1]; r++)
            for (size_t c = columns->first[segment->column]; c < columns->first[segment->column + 1]; c++) {
                const size_t a = weights + (block * taps + rows->tap[r] * direct->kernel + columns->tap[c]) * tile;
                const size_t b =
                    source + ((block * from->height + rows->source[r]) * from->width + columns->source[c]) * pixel;
                lists[count] = mio__from(job->weights, a, direct->precision);
                lists[length + count++] = mio__from(job->source, b, direct->precision);
            }
    const size_t place = target + (row * direct->target.width + segment->column) * direct->lanes * direct->target.block;
    void *to = mio__at(job->target, place, direct->precision);
    const mio__gemm *gemm = &direct->gemms[segment->kernel][job->accumulate];
    if (count)
        mio__gemm_run_stored(gemm, lists, lists + length, to, count);
    else if (!job->accumulate)
        memset(to, 0, gemm->n * gemm->m * mio__number_size(direct->precision));
    return to;
}

/* Items: written block, then group, then row, then part of the row, the last changing fastest. */
static void run_item(void *argument, size_t item, size_t worker)
{
    const run *job = argument;
    const mio__direct *direct = job->direct;
    const mio__shape *from = &direct->source, *to = &direct->target;
    const size_t parts = (direct->segment_count + direct->segments_per_item - 1) / direct->segments_per_item;
    const size_t part = item % parts, row = item / parts % to->height;
    const size_t group = item / parts / to->height % direct->groups, block = item / parts / to->height / direct->groups;
    const size_t weights = block * list_length(direct) * from->block * to->block;
    const size_t source = group * from->blocks * from->height * from->width * direct->lanes * from->block;
    const size_t target = (group * to->blocks + block) * to->height * to->width * direct->lanes * to->block;
    const size_t begin = part * direct->segments_per_item, end = begin + direct->segments_per_item;
    for (size_t i = begin; i < end && i < direct->segment_count; i++) {
        void *written = run_segment(job, &direct->segments[i], row, weights, source, target,
                                    job->lists + worker * 2 * list_length(direct));
        if (job->finish)
            mio__finish_rows(job->finish, direct->precision, block, to->block,
                             direct->segments[i].length * direct->lanes, job->target, written);
    }
}

void mio__direct_run(mio_context *context, const mio__direct *direct, size_t workers, void *scratch,
                     const void *weights, const mio__finish *finish, const void *source, void *target, int accumulate)
{
    run job = {direct, scratch, finish, weights, source, target, accumulate != 0};
    const size_t parts = (direct->segment_count + direct->segments_per_item - 1) / direct->segments_per_item;
    mio__parallel(context, workers, direct->target.blocks * direct->groups * direct->target.height * parts, run_item,
                  &job);
}

/* ---- the weights of the data gradient ---- */

typedef struct transposition {
    const mio__conv_geometry *geometry;
    const mio__real *weights;
    void *transposed;
} transposition;

/* One pair of blocks. */
static void transpose_item(void *argument, size_t item, size_t worker)
{
    const transposition *job = argument;
    const mio__conv_geometry *geometry = job->geometry;
    const size_t from = geometry->input.block, to = geometry->output.block, taps = geometry->kernel * geometry->kernel;
    const size_t in = item % geometry->input.blocks, out = item / geometry->input.blocks;
    const mio__real *source = job->weights + item * taps * from * to;
    const size_t target = (in * geometry->output.blocks + out) * taps * from * to;
    (void)worker;
    for (size_t tap = 0; tap < taps; tap++, source += from * to) {
        mio__real tile[BLOCK_LIMIT * BLOCK_LIMIT];
        mio__real *to_tile = (mio__real *)job->transposed + target + tap * from * to;
        mio__real *turned = geometry->images.precision == MIO__BF16 ? tile : to_tile;
        for (size_t k = 0; k < to; k++)
            for (size_t c = 0; c < from; c++)
                turned[k * from + c] = source[c * to + k];
#ifdef MIO_HAVE_BF16_VARIANT
        if (geometry->images.precision == MIO__BF16)
            mio__bf16_loops_bf16.pair_floats(to, from, from, tile,
                                             (uint16_t *)job->transposed + target + tap * from * to);
#endif
    }
}

void mio__direct_transpose(mio_context *context, const mio__conv_geometry *geometry, size_t workers,
                           const mio__real *weights, void *transposed)
{
    transposition job = {geometry, weights, transposed};
    mio__parallel(context, workers, geometry->input.blocks * geometry->output.blocks, transpose_item, &job);
}

#ifdef MIO_HAVE_BF16_VARIANT
static void pair_item(void *argument, size_t item, size_t worker)
{
    const transposition *job = argument;
    const size_t taps = job->geometry->kernel * job->geometry->kernel, columns = job->geometry->output.block;
    const size_t rows = taps * job->geometry->input.block, place = item * rows * columns;
    (void)worker;
    mio__bf16_loops_bf16.pair_floats(rows, columns, columns, job->weights + place, (uint16_t *)job->transposed + place);
}

void mio__direct_pair(mio_context *context, const mio__conv_geometry *geometry, size_t workers,
                      const mio__real *weights, void *paired)
{
    transposition job = {geometry, weights, paired};
    mio__parallel(context, workers, geometry->input.blocks * geometry->output.blocks, pair_item, &job);
}
#endif
