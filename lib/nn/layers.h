/* The layers of a network as they were given: what the builder collects and files keep. */
#ifndef MIO_NN_LAYERS_H
#define MIO_NN_LAYERS_H

#include "core/context.h"

/** Kinds of layers. Files hold these numbers: never renumber. */
typedef enum mio__layer_kind {
    MIO__LAYER_INPUT = 0,
    MIO__LAYER_CONV = 1,
    MIO__LAYER_BATCH_NORM = 2,
    MIO__LAYER_RELU = 3,
    MIO__LAYER_MAX_POOL = 4,
    MIO__LAYER_AVERAGE_POOL = 5,
    MIO__LAYER_ADD = 6,
    MIO__LAYER_LINEAR = 7,
    MIO__LAYER_KINDS
} mio__layer_kind;

/** What is the same for all layers of a kind. */
typedef struct mio__layer_facts {
    const char *name; /* "conv", "bn", ...: what they are called where they were given no name */
    int inputs;
    int reads_input, reads_output; /* again on the way back */
} mio__layer_facts;

/** By kind. */
extern const mio__layer_facts mio__layer_facts_of[MIO__LAYER_KINDS];

enum { MIO__LAYER_NAME_LIMIT = 160 };

/** One layer and the tensor that leaves it. */
typedef struct mio__layer {
    mio__layer_kind kind;
    int32_t inputs[2];              /* earlier layers; -1 where there is none */
    size_t kernel, stride, padding; /* convolution and max pool */
    int bias;                       /* linear */
    int plain;                      /* batch norm: its weight stays 1 and its bias 0 */
    size_t channels, height, width; /* of the output */
    size_t tensor;                  /* place of its first tensor in a finished encoder */
    char name[MIO__LAYER_NAME_LIMIT + 1];
} mio__layer;

/** A growing list; layer 0 is the input, and every layer comes after those it reads. */
typedef struct mio__layers {
    mio_context *context; /* borrowed */
    mio__layer *items;
    size_t count, capacity;
} mio__layers;

/** Starts the list with the input layer. Errors: MIO_ERROR_ARGUMENT (an extent of 0 or too large), MIO_ERROR_MEMORY. */
mio_status mio__layers_start(mio__layers *layers, mio_context *context, size_t channels, size_t height, size_t width);
/**
 * Appends a layer of which kind, inputs, kernel, stride, padding, bias, plain, name and, for convolution and linear,
 * channels are given; works out its shape. Errors: MIO_ERROR_ARGUMENT (names the layer and what does not fit),
 * MIO_ERROR_MEMORY.
 */
mio_status mio__layers_add(mio__layers *layers, const mio__layer *layer);
/** Frees the list. */
void mio__layers_free(mio__layers *layers);

/** Tensors of a layer: 1 for a convolution, 5 for a batch norm, 1 or 2 for a linear layer, else 0. */
size_t mio__layer_tensor_count(const mio__layer *layer);

#endif
