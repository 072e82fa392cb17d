/* libmio: image encoders: a builder for convolutional networks, training passes, and embedding of images. */
#ifndef MIO_ENCODER_H
#define MIO_ENCODER_H

#include <mio/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Collects the layers of an encoder. Errors stick: every later call returns -1, mio_builder_finish reports the first.
    One call at a time. */
typedef struct mio_builder mio_builder;
/** A tensor in the graph under construction; negative after an error. */
typedef int32_t mio_node;
/** A finished network with its weights: encoder (features) and projector (projections). */
typedef struct mio_encoder mio_encoder;

/** First layers of a ResNet. */
typedef enum mio_stem {
    MIO_STEM_IMAGENET = 0,      /**< 7x7 stride 2 padding 3, batch norm, ReLU, 3x3 max pool stride 2 padding 1 */
    MIO_STEM_SMALL = 1,         /**< 3x3 stride 1 padding 1, batch norm, ReLU; for images up to about 64 pixels */
    MIO_STEM_SMALL_UNPADDED = 2 /**< as SMALL without padding: what the MIO paper's code does for 32x32 */
} mio_stem;

/**
 * Starts a network for images of height x width pixels with channels values each.
 * Errors: MIO_ERROR_ARGUMENT (an extent of 0), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_builder_create(mio_context *context, size_t channels, size_t height, size_t width,
                                      mio_builder **builder);
/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_builder *mio_builder_retain(mio_builder *builder);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_builder_release(mio_builder *builder);

/**
 * Names the tensors of the next layer: "layer1.0.conv1" makes "layer1.0.conv1.weight". Without it layers are called
 * "conv0", "bn1", ... after their place in the graph. Before mio_builder_resnet, _projector, _predictor or _mlp it is a
 * prefix: "left" makes "left.conv1.weight". At most 160 bytes.
 */
MIO_API void mio_builder_name(mio_builder *builder, const char *name);

/** The image tensor. */
MIO_API mio_node mio_builder_input(mio_builder *builder);
/** 2-D convolution without bias, square kernel: out = floor((in + 2 padding - kernel) / stride) + 1. */
MIO_API mio_node mio_builder_conv2d(mio_builder *builder, mio_node input, size_t out_channels, size_t kernel,
                                    size_t stride, size_t padding);
/** Batch normalisation over images and pixels: epsilon 1e-5, momentum 0.1, running variance unbiased (torch's
    rules). */
MIO_API mio_node mio_builder_batch_norm(mio_builder *builder, mio_node input);
/** The same without weight and bias of its own: they stay 1 and 0, and are no part of training. */
MIO_API mio_node mio_builder_batch_norm_plain(mio_builder *builder, mio_node input);
/** max(x, 0). */
MIO_API mio_node mio_builder_relu(mio_builder *builder, mio_node input);
/** Maximum over a square window; padding never wins. */
MIO_API mio_node mio_builder_max_pool(mio_builder *builder, mio_node input, size_t kernel, size_t stride,
                                      size_t padding);
/** Mean over all pixels: channels x 1 x 1. */
MIO_API mio_node mio_builder_global_average_pool(mio_builder *builder, mio_node input);
/** Sum of two tensors of one shape. */
MIO_API mio_node mio_builder_add(mio_builder *builder, mio_node left, mio_node right);
/** Fully connected layer over all values of a channels x 1 x 1 tensor; bias 0 or 1. */
MIO_API mio_node mio_builder_linear(mio_builder *builder, mio_node input, size_t out_features, int32_t bias);

/**
 * A ResNet of depth 18, 34 (basic blocks) or 50 (bottlenecks, stride on the 3x3: "v1.5") up to and including global
 * average pooling; base_width is torchvision's 64. Tensor names are torchvision's, without fc.
 */
MIO_API mio_node mio_builder_resnet(mio_builder *builder, mio_node input, int32_t depth, size_t base_width,
                                    mio_stem stem);
/**
 * The MIO projector: `layers` linear layers without bias, batch norm after each, ReLU after all but the last.
 * Tensors are projector.mlp.{0,2,...}.linear_layer.weight and .bn_layer.*.
 */
MIO_API mio_node mio_builder_projector(mio_builder *builder, mio_node input, size_t layers, size_t hidden, size_t out);
/**
 * A predictor as BYOL and NNCLR have it: like the projector, but the last layer is linear with a bias and without batch
 * norm. Tensors are predictor.mlp.{0,2,...}.linear_layer.weight, .bn_layer.* and, of the last, .linear_layer.bias.
 */
MIO_API mio_node mio_builder_predictor(mio_builder *builder, mio_node input, size_t layers, size_t hidden, size_t out);

/** What follows a linear layer of mio_builder_mlp. */
typedef enum mio_norm {
    MIO_NORM_NONE = 0,  /**< nothing; the layer has a bias */
    MIO_NORM_PLAIN = 1, /**< batch norm without weight and bias of its own */
    MIO_NORM_AFFINE = 2 /**< batch norm */
} mio_norm;
/**
 * Any other head: `layers` linear layers: hidden_norm and a ReLU after all but the last, last_norm after the last.
 * Tensors are mlp.{0,2,...}.linear_layer.weight (and .bias) and .bn_layer.*; a name given before, like
 * "projector.mlp", takes the place of "mlp".
 */
MIO_API mio_node mio_builder_mlp(mio_builder *builder, mio_node input, size_t layers, size_t hidden, size_t out,
                                 mio_norm hidden_norm, mio_norm last_norm);

/**
 * Plans the network and initialises its weights as torchvision does, from the context's seed.
 * features: what mio_encoder_embed returns, channels x 1 x 1. projections: what the loss sees, channels x 1 x 1;
 * -1 for none. The builder may be released or finished again afterwards.
 * Errors: the builder's first error; MIO_ERROR_ARGUMENT (a node of another shape); MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_builder_finish(mio_builder *builder, mio_node features, mio_node projections,
                                      mio_encoder **encoder);
/**
 * The same with a third output: predictions (channels x 1 x 1; -1 for none), which byol, simsiam and nnclr compare with
 * the projections of the other view. It needs projections, and layers of its own.
 */
MIO_API mio_status mio_builder_finish_with_predictions(mio_builder *builder, mio_node features, mio_node projections,
                                                       mio_node predictions, mio_encoder **encoder);

/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_encoder *mio_encoder_retain(mio_encoder *encoder);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_encoder_release(mio_encoder *encoder);

/**
 * Sets a named parameter of the encoder: "algorithm" (how 3x3 convolutions are computed: exact, accurate, fast),
 * "initialization" (how mio_encoder_initialize draws convolutions: "torchvision", or "uniform", PyTorch's default),
 * "precision" (fp32 or bf16: what activations and the factors of products are stored in, while weights, sums and
 * statistics stay fp32; may change between passes; errors: MIO_ERROR_UNSUPPORTED on a CPU without AVX-512 BF16), or
 * "batch_invariant" (1: mio_encoder_infer and _embed give an image the same bits alone and among others; 0, the
 * default: calls with fewer than 9 images run image by image, with less delay, and may differ from larger calls in the
 * last bits).
 */
MIO_API mio_status mio_encoder_set(mio_encoder *encoder, const char *parameter, double value);
/** Sets a named parameter from text: a number, "true"/"false", or the name of a choice. */
MIO_API mio_status mio_encoder_set_text(mio_encoder *encoder, const char *parameter, const char *text);
/** Reads a named parameter. */
MIO_API mio_status mio_encoder_get(const mio_encoder *encoder, const char *parameter, double *value);
/** Number of named parameters. */
MIO_API size_t mio_encoder_parameter_count(const mio_encoder *encoder);
/** Describes the parameter at index; info->struct_size must be set. Errors: MIO_ERROR_ARGUMENT past the last. */
MIO_API mio_status mio_encoder_parameter(const mio_encoder *encoder, size_t index, mio_parameter_info *info);

/**
 * Measures which way of computing each convolution is fastest on this machine, with the context's threads, and
 * stores that in a table of choices, which the encoder follows in place of the built-in one.
 *
 * views, count: the batch of the mio_encoder_forward and mio_encoder_backward that will follow; views 0: calls of
 * mio_encoder_infer and mio_encoder_embed with so many images. Other batches keep the built-in choice, or the table's
 * from other calls of this function. Only what the parameter "algorithm" permits is tried, and only that is followed:
 * under "exact" there is nothing to choose. seconds: about how long to measure in all; each method is timed at least
 * three times however long that takes, and 0 stops there. A choice changes the last bits of results. They depend on
 * the table alone, not on the number of threads, so that whoever saves the table can repeat them; mio_encoder_save
 * and mio_trainer_save keep it too, and mio_trainer_restore brings it back.
 * Errors: MIO_ERROR_ARGUMENT (count 0, a time below 0), MIO_ERROR_MEMORY; the encoder is then as before. Memory while
 * it measures: what one convolution at a time needs, its gradients, its weights as every method derives them and up
 * to 64 MiB that empty the cache between runs included.
 */
MIO_API mio_status mio_encoder_tune(mio_encoder *encoder, size_t views, size_t count, double seconds);
/**
 * Writes the encoder's table of choices as text, one a line with its pass, precision, kernel target
 * (mio_context_target), images and shape; written to a temporary file beside path, synced, then renamed over it.
 */
MIO_API mio_status mio_encoder_save_tuning(const mio_encoder *encoder, const char *path);
/**
 * Replaces the encoder's table of choices by a file's. Rows for convolutions that the encoder does not have, or for
 * other targets, are kept and do nothing: one file may serve many encoders and machines.
 * Errors: MIO_ERROR_IO, MIO_ERROR_FORMAT (names file and line), MIO_ERROR_MEMORY; the encoder is then as before.
 */
MIO_API mio_status mio_encoder_load_tuning(mio_encoder *encoder, const char *path);
/** Empties the table: built-in choices again. */
MIO_API mio_status mio_encoder_clear_tuning(mio_encoder *encoder);

/**
 * A convolution or fully connected layer, and how it is computed: "direct", "winograd2" (F(2x2, 3x3)), "winograd4"
 * (F(4x4, 3x3)) or "polyphase" (3x3 of stride 2, F(4, 2) on odd and even pixels apart). The caller sets struct_size.
 * Strings live as long as the encoder.
 */
typedef struct mio_convolution_info {
    size_t struct_size;          /**< sizeof(mio_convolution_info) */
    const char *name;            /**< of the layer: "layer1.0.conv1" */
    size_t in_channels;          /**< of the input */
    size_t out_channels;         /**< of the output */
    size_t height;               /**< of the input; 1 for a fully connected layer, as all that follows */
    size_t width;                /**< of the input */
    size_t kernel;               /**< extent of the square kernel */
    size_t stride;               /**< in both directions */
    size_t padding;              /**< on all sides */
    const char *forward;         /**< what computes the output */
    const char *data_gradient;   /**< the gradient of the input; NULL in evaluation, and where nobody needs it */
    const char *weight_gradient; /**< the gradient of the weights; NULL in evaluation */
    int32_t tuned;               /**< how many of these passes follow the table of choices */
} mio_convolution_info;

/** Number of convolutions and fully connected layers. */
MIO_API size_t mio_encoder_convolution_count(const mio_encoder *encoder);
/**
 * Describes the convolution at index as a batch would compute it with the parameters as they are: views, count as for
 * mio_encoder_tune.
 * Errors: MIO_ERROR_ARGUMENT (past the last; count 0).
 */
MIO_API mio_status mio_encoder_convolution(const mio_encoder *encoder, size_t views, size_t count, size_t index,
                                           mio_convolution_info *info);

/** Width of the feature vectors. */
MIO_API mio_status mio_encoder_feature_dim(const mio_encoder *encoder, size_t *dim);
/** Width of the projections; 0 without a projector. */
MIO_API mio_status mio_encoder_projection_dim(const mio_encoder *encoder, size_t *dim);
/** Width of the predictions; 0 without a predictor. */
MIO_API mio_status mio_encoder_prediction_dim(const mio_encoder *encoder, size_t *dim);
/** Shape of the images it works on. Any of the pointers may be NULL. */
MIO_API mio_status mio_encoder_input_shape(const mio_encoder *encoder, size_t *channels, size_t *height, size_t *width);
/**
 * Per-channel mean and standard deviation, in units of [0,1] pixels, that mio_encoder_embed normalises with; saved
 * with the encoder. Default 0 and 1. `channels` must be the encoder's.
 */
MIO_API mio_status mio_encoder_set_normalization(mio_encoder *encoder, size_t channels, const double *mean,
                                                 const double *deviation);
/** Copies mean and deviation out, `channels` values each, which must be the encoder's number. */
MIO_API mio_status mio_encoder_get_normalization(const mio_encoder *encoder, size_t channels, double *mean,
                                                 double *deviation);

/** Draws all weights afresh as "initialization" says; linear layers uniform within 1/sqrt(fan-in), batch norm the
    identity. */
MIO_API mio_status mio_encoder_initialize(mio_encoder *encoder, uint64_t seed);

/** Number of tensors: weights and running statistics. */
MIO_API size_t mio_encoder_tensor_count(const mio_encoder *encoder);
/** Describes the tensor at index. */
MIO_API mio_status mio_encoder_tensor(const mio_encoder *encoder, size_t index, mio_tensor_info *info);
/** Copies a tensor out, in PyTorch's layout; count must equal its size. Errors: MIO_ERROR_ARGUMENT. */
MIO_API mio_status mio_encoder_get_tensor(const mio_encoder *encoder, const char *name, size_t count, float *values);
/**
 * Copies a tensor in, in PyTorch's layout; count must equal its size. After it mio_encoder_backward needs a new
 * mio_encoder_forward.
 * Errors: MIO_ERROR_ARGUMENT (an unknown name, another count, a non-finite value: tensor and place are named).
 */
MIO_API mio_status mio_encoder_set_tensor(mio_encoder *encoder, const char *name, size_t count, const float *values);
/** Copies the gradient of a trainable tensor, as the last mio_encoder_backward left it, in PyTorch's layout. */
MIO_API mio_status mio_encoder_get_gradient(const mio_encoder *encoder, const char *name, size_t count, float *values);

/**
 * Training pass: batch statistics, running statistics updated, activations kept for mio_encoder_backward.
 *
 * images: views x count x height x width x channels floats, already normalised. Batch norm treats each view by itself,
 * in order, as if the views were passed one after the other; views 1 normalises all images together.
 * features: views x count x feature_dim; projections: views x count x projection_dim; either may be NULL.
 * Errors: MIO_ERROR_ARGUMENT (count 0, one value per channel in a batch norm, non-finite pixels: named),
 * MIO_ERROR_MEMORY.
 * Memory: activations for this batch size are planned on first use and kept.
 * Thread-safety: one call at a time.
 */
MIO_API mio_status mio_encoder_forward(mio_encoder *encoder, size_t views, size_t count, const float *images,
                                       float *features, float *projections);
/**
 * Gradients of all weights for the last mio_encoder_forward, overwriting the previous ones. Mind the order: the
 * projections' gradient comes first here, the features come first in mio_encoder_forward.
 * grad_projections: views x count x projection_dim; grad_features: views x count x feature_dim; either may be NULL (0).
 * Errors: MIO_ERROR_STATE (no forward pass to go back over), MIO_ERROR_ARGUMENT (both NULL), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_encoder_backward(mio_encoder *encoder, const float *grad_projections,
                                        const float *grad_features);
/**
 * Copies out the predictions of the last mio_encoder_forward: views x count x prediction_dim.
 * Errors: MIO_ERROR_STATE (there was none, or its memory has been used for a backward pass), MIO_ERROR_ARGUMENT.
 */
MIO_API mio_status mio_encoder_predictions(const mio_encoder *encoder, float *predictions);
/** mio_encoder_backward for an encoder with a predictor: grad_predictions is views x count x prediction_dim, or
    NULL. */
MIO_API mio_status mio_encoder_backward_predictions(mio_encoder *encoder, const float *grad_predictions,
                                                    const float *grad_projections, const float *grad_features);
/**
 * Evaluation pass on normalised floats: running statistics, nothing kept or changed. Shapes as mio_encoder_forward.
 * Errors: MIO_ERROR_ARGUMENT (images NULL; projections of an encoder without a projector), MIO_ERROR_MEMORY.
 * Thread-safety: as mio_encoder_embed.
 */
MIO_API mio_status mio_encoder_infer(mio_encoder *encoder, size_t count, const float *images, float *features,
                                     float *projections);
/**
 * Features of images, as bytes.
 *
 * images: count x height x width x channels in the encoder's channel order (RGB for every built-in reader); row_stride
 * bytes between rows, 0 means width x channels; images lie height x row_stride apart. Another size than the encoder's
 * is resized: bilinear with antialias (triangle filter widened by the scale), pixel centres at half-integers.
 * features: count x feature_dim, written. With count 0 there is nothing to do, and both pointers may be NULL.
 * Errors: MIO_ERROR_ARGUMENT (a NULL, another channel count, an extent of 0, a stride shorter than a row),
 * MIO_ERROR_MEMORY.
 * Memory: the encoder keeps a work space for every call that ever ran at once.
 * Thread-safety: may run concurrently with itself and mio_encoder_infer on one encoder, and with calls that take a
 * const mio_encoder, which may run concurrently with each other; not with a call that changes it, as a step of its
 * trainer.
 */
MIO_API mio_status mio_encoder_embed(mio_encoder *encoder, size_t count, size_t height, size_t width, size_t channels,
                                     size_t row_stride, const uint8_t *images, float *features);

/**
 * Loads an encoder: graph, weights, running statistics, normalisation. Also reads it out of a trainer's checkpoint.
 * Errors: MIO_ERROR_IO, MIO_ERROR_FORMAT (the message names file and offset), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_encoder_load(mio_context *context, const char *path, mio_encoder **encoder);
/**
 * Saves an encoder: written to a temporary file beside path, synced, then renamed over it. The parameter
 * "batch_invariant" is the host's and not saved, the others are.
 * Errors: MIO_ERROR_IO, MIO_ERROR_MEMORY, MIO_ERROR_STATE (a tensor is not finite, so that the file could not be
 * loaded: it is named, and the old file stays).
 */
MIO_API mio_status mio_encoder_save(const mio_encoder *encoder, const char *path);

#ifdef __cplusplus
}
#endif
#endif
