/* The batch-inner blocked layout that activations have everywhere inside the network:

       x[group][channel block][row][column][lane][channel in block]

   A group holds `lanes` images side by side, so one pixel of one group is a lanes x block matrix, the B operand of a
   GEMM whatever the kernel, stride or padding. Views start at a new group; the last group of a view is filled up with
   zero images, which take no part in statistics, loss or gradients (backward passes keep their gradients 0). Channels
   are filled up to whole blocks with channels that stay exactly 0.

   Weights: w[out block][in block][kernel row][kernel column][in channel][out channel], filled up with zeros likewise. */
#ifndef MIO_KERNELS_LAYOUT_H
#define MIO_KERNELS_LAYOUT_H

#include "kernels/real.h"

#include <stddef.h>

/** What activations and their gradients are stored in. Arithmetic and sums are in mio__real or wider whatever it is. */
typedef enum mio__precision { MIO__FP32, MIO__BF16 } mio__precision;

/** Extents of one image's tensor. */
typedef struct mio__shape {
    size_t channels, height, width;
    size_t block;  /* channels per block: 4, 8, 16, 32 or 64 */
    size_t blocks; /* blocks that hold the channels */
} mio__shape;

/** How the images of a batch lie. */
typedef struct mio__images {
    size_t views;
    size_t count;  /* images per view */
    size_t lanes;  /* images per group; depends on count alone */
    size_t groups; /* groups per view */
    mio__precision precision;
} mio__images;

/** Shape with its blocking: 4 or 8 channels in one block, else the largest of 64, 32, 16 that divides channels rounded
    up to 16. */
mio__shape mio__shape_of(size_t channels, size_t height, size_t width);
/** Lanes from which on one pixel alone has columns enough for a product; fewer: images are few, and weights come from
    memory. */
enum { MIO__MANY_LANES = 16 };
/** Layout of a batch: lanes 32 where that divides count, else 16, or the power of two that covers a smaller count. */
mio__images mio__images_of(size_t views, size_t count);
/** The same for a training pass in a precision: bf16 has 2 lanes at least, which products over images take in pairs. */
mio__images mio__images_in(mio__precision precision, size_t views, size_t count);
/** Elements of a whole tensor. */
size_t mio__tensor_size(const mio__shape *shape, const mio__images *images);
/** Elements of one group of a tensor. */
size_t mio__group_size(const mio__shape *shape, const mio__images *images);
/** Images of view-local group g that are real, not filling. */
size_t mio__group_count(const mio__images *images, size_t group);

/** Bytes of a stored number. */
static inline size_t mio__number_size(mio__precision precision)
{
    return precision == MIO__BF16 ? 2 : sizeof(mio__real);
}

/** Address of an element of a tensor; NULL for no tensor. */
static inline void *mio__at(void *tensor, size_t element, mio__precision precision)
{
    return tensor ? (char *)tensor + element * mio__number_size(precision) : NULL;
}

static inline const void *mio__from(const void *tensor, size_t element, mio__precision precision)
{
    return tensor ? (const char *)tensor + element * mio__number_size(precision) : NULL;
}

#endif
