/* A finished network: the layers that its outputs need, and the steps they are executed in. A batch norm takes the
   residual sum and the ReLU behind it into its own step where nothing else looks at what lies between. */
#ifndef MIO_NN_GRAPH_H
#define MIO_NN_GRAPH_H

#include "kernels/layout.h"
#include "nn/layers.h"

#define MIO__NONE SIZE_MAX

/** A tensor of activations: 0 is the image, s + 1 what step s makes. */
typedef struct mio__value {
    mio__shape shape;
    size_t consumers;   /* places where steps read it */
    int output;         /* it is the features, the projections or the predictions */
    int needs_gradient; /* weights lie before it */
} mio__value;

/** One call of a kernel. */
typedef struct mio__step {
    mio__layer_kind kind; /* a linear layer is a CONV */
    size_t layer;         /* that gives it its name, numbers and tensors */
    size_t input;         /* value */
    size_t other;         /* value: second summand, or residual of a batch norm, or MIO__NONE */
    int relu;             /* batch norm: ReLU at the end */
} mio__step;

/** What leaves a network: layers, or -1 for none. Features there always are; predictions need projections. */
typedef struct mio__outputs {
    int32_t features, projections, predictions;
} mio__outputs;

typedef struct mio__graph {
    mio_context *context; /* borrowed */
    mio__layers layers;
    mio__step *steps;
    size_t step_count;
    mio__value *values; /* step_count + 1 */
    mio__outputs outputs;
    size_t features, projections, predictions; /* values, or MIO__NONE */
    size_t tensor_count;
} mio__graph;

/**
 * Copies what the outputs need. Errors: MIO_ERROR_ARGUMENT (no such layer, outputs other than channels x 1 x 1, a name
 * used twice), MIO_ERROR_MEMORY.
 */
mio_status mio__graph_make(const mio__layers *layers, const mio__outputs *outputs, mio__graph *graph);
void mio__graph_free(mio__graph *graph);

/** The layer of a step. */
const mio__layer *mio__step_layer(const mio__graph *graph, const mio__step *step);

#endif
