/* What an encoder is made of. */
#ifndef MIO_NN_NETWORK_H
#define MIO_NN_NETWORK_H

#include "nn/pass.h"

#include <pthread.h>

/* Batches of inference have one of these many lanes: powers of two up to 32. */
enum { MIO__LANE_KINDS = 6 };

/** What one running evaluation pass has for itself. */
typedef struct mio__inference_state {
    struct mio__inference_state *next;
    void *arena;
    void *scratch;
    size_t scratch_capacity;
    float *rows; /* one batch of images, row-major */
} mio__inference_state;

/** Evaluation passes over batches of one size: the plan is shared, states are lent to the passes that run. */
typedef struct mio__inference {
    mio__plan *plan; /* NULL until first used */
    mio__inference_state *idle;
} mio__inference;

/** The training pass: one at a time. */
typedef struct mio__training {
    mio__plan *plan; /* for the last batch size; NULL before the first pass */
    void *arena;
    void *scratch;
    size_t scratch_capacity;
    mio__started *started;
    int ready; /* a forward pass waits for its backward pass */
} mio__training;

struct mio_encoder {
    mio__references references;
    mio_context *context;
    mio__settings settings;
    mio__graph graph;
    mio__tensor *tensors; /* graph.tensor_count */
    char *names;
    mio__real *values;        /* of all tensors */
    mio__real *gradients;     /* of the trainable ones; NULL before the first training pass */
    double *mean, *deviation; /* one a channel */
    uint64_t version;         /* grows whenever the weights change; from 1 */
    mio__tuning tuning;       /* measured choices of how convolutions are computed */
    uint64_t tuned;           /* grows whenever they change */
    mio__training training;
    pthread_mutex_t mutex; /* guards inference */
    int has_mutex;
    mio__inference inference[MIO__LANE_KINDS]; /* by log2 of the lanes */
};

/* ---- encoder.c ---- */

/** An encoder of these layers whose weights are still to be written (mio__encoder_make_tensors). Errors:
    mio__graph_make's. */
mio_status mio__encoder_create(const mio__layers *layers, const mio__outputs *outputs, mio_encoder **encoder);
/** How convolutions are drawn. */
typedef enum mio__initialization { MIO__INITIALIZE_TORCHVISION, MIO__INITIALIZE_UNIFORM } mio__initialization;
/** The parameter "initialization". */
mio__initialization mio__encoder_initialization(const mio_encoder *encoder);
/** The parameter "batch_invariant". */
int mio__encoder_batch_invariant(const mio_encoder *encoder);
/** The algorithm that the parameter asks for. */
mio__conv_algorithm mio__encoder_algorithm(const mio_encoder *encoder);
/** The parameter "precision". */
mio__precision mio__encoder_precision(const mio_encoder *encoder);
/** Name of the algorithm of a layer's convolution in the last training pass; NULL if it has none. For tests. */
const char *mio__encoder_layer_algorithm(const mio_encoder *encoder, const char *layer);

/* ---- tensors.c ---- */

/** Lays out tensors, names and values; weights are still to be written, by mio__tensor_pack or as a copy of
    another's. */
mio_status mio__encoder_make_tensors(mio_encoder *encoder);
/** The layer that owns a tensor. */
const mio__layer *mio__tensor_layer(const mio_encoder *encoder, size_t tensor);
/** Extent of a tensor's first dimension; a single number has one row. */
size_t mio__tensor_rows(const mio__tensor *tensor);
/** Stores rows [first, first + count) of a tensor, which torch begins with; first: a multiple of 16. To begin at row
    0. */
void mio__tensor_pack_rows(const mio_encoder *encoder, size_t tensor, size_t first, size_t count, const float *torch,
                           mio__real *stored);
/** Between a tensor's storage and PyTorch's layout. values: tensor count elements. */
void mio__tensor_pack(const mio_encoder *encoder, size_t tensor, const float *torch, mio__real *stored);
void mio__tensor_unpack(const mio_encoder *encoder, size_t tensor, const mio__real *stored, float *torch);

/* ---- tensor_file.c ---- */

/** Reads all tensors, on all threads, to values, which are laid out as the encoder's. Errors: MIO_ERROR_FORMAT,
    MIO_ERROR_IO, MIO_ERROR_MEMORY. */
mio_status mio__tensors_read(const mio_encoder *encoder, const char *prefix, const mio__archive *archive,
                             mio__real *values);

/* ---- training.c: the passes without the doors to row-major floats ---- */

/** Plans a pass over views x count images unless the last one was alike. Errors as mio_encoder_forward. */
mio_status mio__training_plan(mio_encoder *encoder, size_t views, size_t count);
/** The pass that its functions take; scratch is there. */
mio__pass mio__training_pass(const mio_encoder *encoder);
/** What is known of the derivatives by the outputs: rows, or NULL. */
typedef struct mio__output_gradients {
    const float *features, *projections, *predictions;
} mio__output_gradients;
/** Frees everything of the training pass. */
void mio__training_free(mio_encoder *encoder);
/** Refuses images with a non-finite pixel, naming it. */
mio_status mio__check_pixels(const mio_encoder *encoder, size_t count, const float *images);

/* ---- inference.c ---- */

/** Frees plans and idle states. */
void mio__inference_free(mio_encoder *encoder);
#endif
