/* 3x3 convolution of stride 2 and padding 1 with fewer products. Along one axis, outputs i take tap 1 from the even
   inputs (2 i) and taps 0 and 2 from the odd ones (2 i - 1, 2 i + 1), a convolution of stride 1 with two taps:
   Winograd's F(4, 2) has 5 products for 4 outputs there. In two dimensions a tile of 4 x 4 outputs is the sum of four
   parts: both axes odd, a square of 5 x 5 points; one odd and one even, 5 points for each of 4 positions, a line down
   the columns or across the rows; and both even, the middle tap on plain pixels. 81 products where the definition has
   144, and 36 matrices of weights. The data gradient reads what forward writes and the reverse, with the same tiles.
   Everything in mio__real. */
#ifndef MIO_KERNELS_POLYPHASE_H
#define MIO_KERNELS_POLYPHASE_H

#include "core/context.h"
#include "kernels/conv.h"
#include "kernels/gemm.h"
#include "kernels/polyphase_vector.h"

/** Where the tiles lie: over the output, group by group, row by row. */
typedef struct mio__phases {
    mio__shape fine, coarse; /* of x and of y */
    size_t lanes, groups, rows, columns, tiles;
    const mio__polyphase_kernels *kernels;
    const mio__real *zeros; /* a pixel of zeros: stands in for those outside */
} mio__phases;

/** Forward or the data gradient. */
typedef struct mio__polyphase_pass {
    mio__phases phases;
    int backward;
    size_t slots;             /* tiles of a block */
    int phased;               /* 0: each item of parallel work is a block; 1: all workers share a block */
    mio__gemm pixel[2], four; /* of a pixel's lanes, overwriting and accumulating; of four pixels' */
} mio__polyphase_pass;

/** Whether it applies: fp32, 3x3, stride 2, padding 1, whole vectors of channels. */
int mio__polyphase_applies(const mio__conv_geometry *geometry);
/** zeros: at least lanes x the larger channel block numbers, all 0; must live as long as the plan. */
mio__polyphase_pass mio__polyphase_pass_make(const mio__conv_geometry *geometry, int backward, const mio__real *zeros);
size_t mio__polyphase_pass_scratch_size(const mio__polyphase_pass *pass, size_t workers);
/** weights: as made by mio__polyphase_prepare. finish may be NULL. */
void mio__polyphase_pass_run(mio_context *context, const mio__polyphase_pass *pass, size_t workers, void *scratch,
                             const mio__real *weights, const mio__finish *finish, const mio__real *source,
                             mio__real *target, int accumulate);

/** Elements from point to point of the transformed weights, and in all. */
size_t mio__polyphase_weight_stride(const mio__polyphase_pass *pass);
size_t mio__polyphase_weight_count(const mio__polyphase_pass *pass);
/** Transformed weights [point][target block][source block][source channel][target channel]. */
void mio__polyphase_prepare(mio_context *context, const mio__polyphase_pass *pass, size_t workers,
                            const mio__real *weights, mio__real *transformed);

/** The weight gradient: for each block of tiles, pair of channel blocks and point, a product over lanes. */
typedef struct mio__polyphase_gradient {
    mio__phases phases;
    size_t slots, blocks; /* tiles of a block, blocks */
    size_t pieces;        /* partial sums, each over a fixed run of blocks by one worker; 0: workers share a block, pair
                             by pair */
    mio__gemm first, next;
} mio__polyphase_gradient;

mio__polyphase_gradient mio__polyphase_gradient_make(const mio__conv_geometry *geometry, const mio__real *zeros);
size_t mio__polyphase_gradient_scratch_size(const mio__polyphase_gradient *plan, size_t workers);
void mio__polyphase_gradient_run(mio_context *context, const mio__polyphase_gradient *plan, size_t workers,
                                 void *scratch, const mio__real *x, const mio__real *dy, mio__real *dw);

/* ---- shared by the passes ---- */

enum { MIO__PHASE_PIXELS = 25 }; /* of one part of a tile, at most */

/** Positions along one axis: `count` of them from tile x 4 x step + offset on, `step` apart. */
typedef struct mio__phase_axis {
    size_t count, step, offset; /* offset may have wrapped below zero */
} mio__phase_axis;

/** Axes of x: what two taps read, what the middle tap reads. */
extern const mio__phase_axis mio__phase_odd, mio__phase_even;
/** A tile's pixels of y. */
extern const mio__phase_axis mio__phase_coarse;

mio__phases mio__phases_make(const mio__conv_geometry *geometry, const mio__real *zeros);
/** The pixels of one tile in one channel block of a tensor, row by row, or the stand-in where they are outside. */
void mio__phase_pixels(const mio__phases *phases, const mio__shape *shape, const mio__real *tensor, size_t block,
                       size_t tile, const mio__phase_axis *rows, const mio__phase_axis *columns,
                       const mio__real *outside, const mio__real **pixels);

/** Points of a block of tiles: squares [point][channel block][slot][lane][channel], lines, down and then across, with
    four positions for each slot. */
typedef struct mio__phase_points {
    mio__real *squares, *lines;
    size_t square_stride, line_stride; /* from point to point */
    size_t slots, pixel;               /* tiles; numbers of a pixel */
} mio__phase_points;

size_t mio__phase_points_size(const mio__phases *phases, const mio__shape *shape, size_t blocks, size_t slots);
mio__phase_points mio__phase_points_at(const mio__phases *phases, const mio__shape *shape, size_t blocks, size_t slots,
                                       mio__real *at);
/** Where the four parts of a point begin. */
mio__real *mio__phase_square(const mio__phase_points *points, size_t point, size_t block, size_t slot);
mio__real *mio__phase_line(const mio__phase_points *points, size_t line, size_t block, size_t slot);
/** Transforms one tile of x (or, backward, of dy) in one channel block as a pass reads it. */
void mio__phase_input(const mio__phases *phases, int backward, const mio__real *tensor, size_t block, size_t tile,
                      size_t slot, const mio__phase_points *points);

#endif
