#include "kernels/conv.h"

enum { BLOCK_LIMIT = 64 };

/* One pixel of one image in one block: `block` elements. */
static size_t pixel_at(const mio__shape *shape, size_t lanes, size_t group, size_t block, size_t row, size_t column,
                       size_t lane)
{
    return ((((group * shape->blocks + block) * shape->height + row) * shape->width + column) * lanes + lane) *
           shape->block;
}

/* The input x output channel matrix of one tap of one pair of blocks. */
static size_t tap_at(const mio__conv_geometry *geometry, size_t out, size_t in, size_t row, size_t column)
{
    return (((out * geometry->input.blocks + in) * geometry->kernel + row) * geometry->kernel + column) *
           geometry->input.block * geometry->output.block;
}

/* y[k] summed over the input blocks and taps that meet one output pixel. */
static void forward_pixel(const mio__conv_geometry *geometry, const mio__real *weights, const mio__real *x,
                          size_t group, size_t out, size_t row, size_t column, size_t lane, mio__real *y)
{
    const mio__shape *input = &geometry->input;
    const size_t width = geometry->output.block;
    double sum[BLOCK_LIMIT] = {0};
    for (size_t in = 0; in < input->blocks; in++)
        for (size_t r = 0; r < geometry->kernel; r++)
            for (size_t s = 0; s < geometry->kernel; s++) {
                const size_t from_row = row * geometry->stride + r - geometry->padding;
                const size_t from_column = column * geometry->stride + s - geometry->padding;
                if (from_row >= input->height || from_column >= input->width)
                    continue;
                const mio__real *from =
                    x + pixel_at(input, geometry->images.lanes, group, in, from_row, from_column, lane);
                const mio__real *w = weights + tap_at(geometry, out, in, r, s);
                for (size_t c = 0; c < input->block; c++)
                    for (size_t k = 0; k < width; k++)
                        sum[k] += (double)from[c] * (double)w[c * width + k];
            }
    for (size_t k = 0; k < width; k++)
        y[k] = (mio__real)sum[k];
}

/* dx[c] summed over the output blocks and taps that one input pixel takes part in. */
static void backward_pixel(const mio__conv_geometry *geometry, const mio__real *weights, const mio__real *dy,
                           size_t group, size_t in, size_t row, size_t column, size_t lane, mio__real *dx)
{
    const mio__shape *output = &geometry->output;
    const size_t width = output->block, block = geometry->input.block;
    double sum[BLOCK_LIMIT] = {0};
    for (size_t out = 0; out < output->blocks; out++)
        for (size_t r = 0; r < geometry->kernel; r++)
            for (size_t s = 0; s < geometry->kernel; s++) {
                const size_t to_row = row + geometry->padding - r, to_column = column + geometry->padding - s;
                if (row + geometry->padding < r || column + geometry->padding < s || to_row % geometry->stride ||
                    to_column % geometry->stride || to_row / geometry->stride >= output->height ||
                    to_column / geometry->stride >= output->width)
                    continue;
                const mio__real *from = dy + pixel_at(output, geometry->images.lanes, group, out,
                                                      to_row / geometry->stride, to_column / geometry->stride, lane);
                const mio__real *w = weights + tap_at(geometry, out, in, r, s);
                for (size_t c = 0; c < block; c++)
                    for (size_t k = 0; k < width; k++)
                        sum[c] += (double)from[k] * (double)w[c * width + k];
            }
    for (size_t c = 0; c < block; c++)
        dx[c] = (mio__real)sum[c];
}

/* dw[c][k] of one tap of one pair of blocks, summed over all pixels. */
static void weights_tap(const mio__conv_geometry *geometry, const mio__real *x, const mio__real *dy, size_t out,
                        size_t in, size_t tap_row, size_t tap_column, mio__real *dw)
{
    const mio__shape *input = &geometry->input, *output = &geometry->output;
    const size_t lanes = geometry->images.lanes, groups = geometry->images.views * geometry->images.groups;
    double sum[BLOCK_LIMIT * BLOCK_LIMIT] = {0};
    for (size_t i = 0; i < groups * output->height * output->width * lanes; i++) {
        const size_t lane = i % lanes, column = i / lanes % output->width;
        const size_t row = i / lanes / output->width % output->height,
                     group = i / lanes / output->width / output->height;
        const size_t from_row = row * geometry->stride + tap_row - geometry->padding;
        const size_t from_column = column * geometry->stride + tap_column - geometry->padding;
        if (from_row >= input->height || from_column >= input->width)
            continue;
        const mio__real *from = x + pixel_at(input, lanes, group, in, from_row, from_column, lane);
        const mio__real *to = dy + pixel_at(output, lanes, group, out, row, column, lane);
        for (size_t c = 0; c < input->block; c++)
            for (size_t k = 0; k < output->block; k++)
                sum[c * output->block + k] += (double)from[c] * (double)to[k];
    }
    for (size_t i = 0; i < input->block * output->block; i++)
        dw[i] = (mio__real)sum[i];
}

void mio__conv_reference(const mio__conv_geometry *geometry, const mio__real *weights, const mio__real *x,
                         const mio__real *dy, mio__real *y, mio__real *dx, mio__real *dw)
{
    const size_t groups = geometry->images.views * geometry->images.groups, lanes = geometry->images.lanes;
    for (int backward = 0; backward < 2; backward++) {
        const mio__shape *shape = backward ? &geometry->input : &geometry->output;
        if (!(backward ? dx : y))
            continue;
        for (size_t i = 0; i < groups * shape->blocks * shape->height * shape->width * lanes; i++) {
            const size_t lane = i % lanes, column = i / lanes % shape->width,
                         row = i / lanes / shape->width % shape->height;
            const size_t block = i / lanes / shape->width / shape->height % shape->blocks;
            const size_t group = i / lanes / shape->width / shape->height / shape->blocks;
            if (backward)
                backward_pixel(geometry, weights, dy, group, block, row, column, lane, dx + i * shape->block);
            else
                forward_pixel(geometry, weights, x, group, block, row, column, lane, y + i * shape->block);
        }
    }
    const size_t taps = geometry->kernel * geometry->kernel;
    for (size_t i = 0; dw && i < geometry->output.blocks * geometry->input.blocks * taps; i++)
        weights_tap(geometry, x, dy, i / taps / geometry->input.blocks, i / taps % geometry->input.blocks,
                    i % taps / geometry->kernel, i % geometry->kernel,
                    dw + i * geometry->input.block * geometry->output.block);
}
