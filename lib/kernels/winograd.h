/* Winograd's convolution F(m x m, 3 x 3), stride 1: the output in tiles of m x m pixels, each from n x n = (m + 2)^2
   input pixels. A transformed tile has n x n points, and at each point the whole convolution is one matrix product over
   channels. "Columns" are the columns of those products: the lanes of tiles, a tile's lanes together. */
#ifndef MIO_KERNELS_WINOGRAD_H
#define MIO_KERNELS_WINOGRAD_H

#include "core/context.h"
#include "kernels/conv.h"
#include "kernels/gemm.h"
#include "kernels/winograd_vector.h"

enum { MIO__WINOGRAD_POINTS = 36 }; /* at most: m = 4 */

/** Where the tiles lie: over the written (or, for the weight gradient, the output's) tensor, group by group, row by
 * row. */
typedef struct mio__tiling {
    size_t m, n, points;
    size_t padding; /* of the read tensor */
    size_t lanes, groups, rows, columns, tiles;
    const mio__winograd_transforms *transforms;
    const void *zeros;        /* a pixel of zeros: stands in for those outside */
    mio__precision precision; /* of the tensors, of transformed weights and pixels; products are mio__real */
} mio__tiling;

/** A pass from one tensor to another: forward, or the data gradient with rotated weights. */
typedef struct mio__winograd_pass {
    mio__shape source, target;
    mio__tiling tiling;
    size_t slots;  /* tiles of one GEMM */
    size_t chunks; /* GEMMs that a block of tiles takes at each point and written channel block */
    int phased; /* 0: each item of parallel work is a block of one GEMM, all in cache; 1: all workers share a block */
    mio__gemm whole, rest;
} mio__winograd_pass;

/** zeros: at least lanes x the larger channel block stored numbers, all 0; must live as long as the plan. */
mio__winograd_pass mio__winograd_pass_make(const mio__conv_geometry *geometry, size_t m, int backward,
                                           const void *zeros);
size_t mio__winograd_pass_scratch_size(const mio__winograd_pass *pass, size_t workers);
/** weights: as made by mio__winograd_prepare. finish may be NULL. */
void mio__winograd_pass_run(mio_context *context, const mio__winograd_pass *pass, size_t workers, void *scratch,
                            const void *weights, const mio__finish *finish, const void *source, void *target,
                            int accumulate);

/** Elements from point to point of the transformed weights, and in all. */
size_t mio__winograd_weight_stride(const mio__winograd_pass *pass);
size_t mio__winograd_weight_count(const mio__winograd_pass *pass);
/** Transformed weights [point][target block][source block][source channel][target channel], in bf16 in pairs. */
void mio__winograd_prepare(mio_context *context, const mio__winograd_pass *pass, int backward, size_t workers,
                           const mio__real *weights, void *transformed);

/** The weight gradient: for each block of tiles, pair of channel blocks and point, a product over columns. */
typedef struct mio__winograd_gradient {
    mio__shape input, output;
    mio__tiling tiling;
    size_t slots, chunks, blocks; /* tiles of a GEMM, GEMMs of a block, blocks */
    size_t pieces; /* partial sums, each over a fixed run of blocks by one worker; 0: workers share a block, pair by
                      pair */
    mio__gemm gemm;
} mio__winograd_gradient;

mio__winograd_gradient mio__winograd_gradient_make(const mio__conv_geometry *geometry, size_t m, const void *zeros);
size_t mio__winograd_gradient_scratch_size(const mio__winograd_gradient *plan, size_t workers);
void mio__winograd_gradient_run(mio_context *context, const mio__winograd_gradient *plan, size_t workers, void *scratch,
                                const void *x, const void *dy, mio__real *dw);

/* ---- shared by the passes ---- */

mio__tiling mio__tiling_make(const mio__conv_geometry *geometry, const mio__shape *tiled, size_t m, size_t padding,
                             const void *zeros);
/** Elements between the points of an array with so many numbers at each: apart from powers of two, which share cache
 * sets. */
size_t mio__point_stride(size_t count, mio__precision precision);
/**
 * The pixels of one tile in one channel block of a tensor: extent x extent of them from (tile row x m - padding, tile
 * column x m - padding) on, or the stand-in where they are outside. A tile beyond the last one is all outside.
 */
void mio__tile_pixels(const mio__tiling *tiling, const mio__shape *shape, const void *tensor, size_t block, size_t tile,
                      size_t extent, size_t padding, const void *outside, const void **pixels);

#endif
