/* 2-D convolution in the blocked layout: forward, data gradient, weight gradient; and, as its 1x1 case on 1x1 images,
   the fully connected layer. */
#ifndef MIO_KERNELS_CONV_H
#define MIO_KERNELS_CONV_H

#include "core/context.h"
#include "kernels/finish.h"
#include "kernels/layout.h"
#include "kernels/real.h"

/** What may be used for 3x3 convolutions. Others are always direct. */
typedef enum mio__conv_algorithm {
    MIO__CONV_EXACT,    /* direct alone: every product of the definition, padding taps skipped */
    MIO__CONV_ACCURATE, /* Winograd F(2x2, 3x3) as well */
    MIO__CONV_FAST      /* Winograd F(4x4, 3x3) too, and at stride 2 by phases */
} mio__conv_algorithm;

/** How a pass is computed. */
typedef enum mio__conv_method {
    MIO__DIRECT,
    MIO__WINOGRAD2,
    MIO__WINOGRAD4,
    MIO__POLYPHASE,
    MIO__METHODS
} mio__conv_method;

/** The passes of a convolution. */
typedef enum mio__conv_pass { MIO__FORWARD, MIO__BACKWARD_DATA, MIO__BACKWARD_WEIGHTS, MIO__PASSES } mio__conv_pass;

/** The method of each pass. */
typedef struct mio__conv_choice {
    mio__conv_method of[MIO__PASSES];
} mio__conv_choice;

/** The problem. */
typedef struct mio__conv_geometry {
    mio__shape input, output;
    size_t kernel, stride, padding;
    mio__images images;
} mio__conv_geometry;

/** Whether the method can compute this convolution, and the algorithm allows it. */
int mio__conv_permits(const mio__conv_geometry *geometry, mio__conv_algorithm algorithm, mio__conv_method method);
/** The built-in choice among what the algorithm allows: by shape, number of images and, for few, instruction set
    (conv_choice.c). */
mio__conv_choice mio__conv_choose(const mio__conv_geometry *geometry, mio__conv_algorithm algorithm, int training);
/** "direct", "winograd2", "winograd4" or "polyphase". */
const char *mio__conv_method_name(mio__conv_method method);

/** A convolution planned for one geometry: kernels resolved, derived weights and work space owned. */
typedef struct mio__conv mio__conv;

/** Output extent for an input extent; 0 where the kernel does not fit. */
size_t mio__conv_extent(size_t input, size_t kernel, size_t stride, size_t padding);
/** Elements of a weight tensor in the layout of layout.h. */
size_t mio__conv_weight_count(const mio__shape *input, const mio__shape *output, size_t kernel);

/** Plans a convolution in the precision of geometry's images: in bf16, products of bf16 numbers with fp32 sums. choice:
 * methods that can compute it. training 0 leaves out what only the gradients need. Errors: MIO_ERROR_MEMORY. */
mio_status mio__conv_create_as(mio_context *context, const mio__conv_geometry *geometry, const mio__conv_choice *choice,
                               int training, mio__conv **conv);
/** The same with the built-in choice. */
mio_status mio__conv_create(mio_context *context, const mio__conv_geometry *geometry, mio__conv_algorithm algorithm,
                            int training, mio__conv **conv);
/** NULL is accepted. */
void mio__conv_destroy(mio__conv *conv);
/** What computes a pass. */
mio__conv_method mio__conv_method_of(const mio__conv *conv, mio__conv_pass pass);
/** Name of what computes the forward pass. */
const char *mio__conv_algorithm_name(const mio__conv *conv);

/** Bytes of scratch that the passes need for so many workers. Shared by all convolutions of a network, one at a time.
 */
size_t mio__conv_scratch_size(const mio__conv *conv, size_t workers);
/**
 * Derives the forms of the weights that the passes read (transposed, rotated, Winograd-transformed). Call after every
 * change of the weights and before the passes; they keep a pointer to `weights`.
 */
void mio__conv_prepare(mio__conv *conv, size_t workers, const mio__real *weights);
/** The part of that which one pass needs. */
void mio__conv_prepare_pass(mio__conv *conv, mio__conv_pass pass, size_t workers, const mio__real *weights);

/** y = conv(x). All images of all views. Tensors are stored in the images' precision, weights and their gradients in
    mio__real; tensors aligned to 64 bytes, disjoint; scratch aligned to 64. */
void mio__conv_forward(const mio__conv *conv, size_t workers, void *scratch, const void *x, void *y);
/** The same, and y finished. */
void mio__conv_infer(const mio__conv *conv, size_t workers, void *scratch, const mio__finish *finish, const void *x,
                     void *y);
/** dx = (accumulate ? dx : 0) + the gradient of conv with respect to x, for the gradient dy of y. */
void mio__conv_backward_data(const mio__conv *conv, size_t workers, void *scratch, const void *dy, void *dx,
                             int accumulate);
/**
 * dw = the gradient with respect to the weights (overwritten; filling stays 0). Sums over images in fixed pieces whose
 * partial sums are added in a binary tree: the bits do not depend on workers.
 */
void mio__conv_backward_weights(const mio__conv *conv, size_t workers, void *scratch, const void *x, const void *dy,
                                mio__real *dw);

/** The definition in plain loops and double accumulators, for tests: same layouts, all in mio__real. Any of the outputs
 * may be NULL. */
void mio__conv_reference(const mio__conv_geometry *geometry, const mio__real *weights, const mio__real *x,
                         const mio__real *dy, mio__real *y, mio__real *dx, mio__real *dw);

#endif
