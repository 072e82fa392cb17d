/* libmio: what an encoder has learned: k-nearest neighbours, linear probe, fine-tuning; search. */
#ifndef MIO_EVALUATE_H
#define MIO_EVALUATE_H

#include <mio/augment.h>
#include <mio/encoder.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Features of every image of a dataset: count x feature_dim, in order. Images of other sizes are resized.
 * Errors: MIO_ERROR_ARGUMENT (a NULL; another channel count than the encoder's), MIO_ERROR_MEMORY.
 * Thread-safety: as mio_encoder_embed.
 */
MIO_API mio_status mio_evaluate_embed(mio_encoder *encoder, const mio_dataset *dataset, float *features);
/** Fraction of equal entries. Errors: MIO_ERROR_ARGUMENT (count 0). */
MIO_API mio_status mio_evaluate_accuracy(size_t count, const int32_t *labels, const int32_t *predictions,
                                         double *accuracy);

/** Nearest-neighbour search and classification by cosine similarity. One call at a time, but mio_knn_search and
    mio_knn_predict, which may run concurrently with themselves and each other. */
typedef struct mio_knn mio_knn;

/**
 * Makes a k-NN classifier. Parameters: "k" 200, "temperature" 0.1, "weighted" 1 (votes exp(s/temperature); 0: plain
 * votes). Both common conventions can be set: (k 200, T 0.1: MoCo, lightly) and (k 20, T 0.07: DINO, solo-learn). In
 * a bank of fewer than k rows all vote.
 * Ties go to the lowest class, then neighbours to the lowest index.
 */
MIO_API mio_status mio_knn_create(mio_context *context, mio_knn **knn);
/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_knn *mio_knn_retain(mio_knn *knn);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_knn_release(mio_knn *knn);
/** Sets a named parameter. Errors: MIO_ERROR_ARGUMENT names the parameter and its bounds. */
MIO_API mio_status mio_knn_set(mio_knn *knn, const char *parameter, double value);
/** Sets a named parameter from text: a number, "true"/"false", or the name of a choice. */
MIO_API mio_status mio_knn_set_text(mio_knn *knn, const char *parameter, const char *text);
/** Reads a named parameter. */
MIO_API mio_status mio_knn_get(const mio_knn *knn, const char *parameter, double *value);
/** Number of named parameters. */
MIO_API size_t mio_knn_parameter_count(const mio_knn *knn);
/** Describes the parameter at index; info->struct_size must be set. Errors: MIO_ERROR_ARGUMENT past the last. */
MIO_API mio_status mio_knn_parameter(const mio_knn *knn, size_t index, mio_parameter_info *info);
/**
 * Stores the bank: count x dim features (normalised copies are kept) and labels >= 0, or NULL to search only.
 * Errors: MIO_ERROR_ARGUMENT (0 rows or columns, more than 2^32 - 1 rows, a value that is not finite, a negative
 * label), MIO_ERROR_MEMORY. After an error the bank is as before.
 */
MIO_API mio_status mio_knn_fit(mio_knn *knn, size_t count, size_t dim, const float *features, const int32_t *labels);
/** Class of each of count queries (count x dim). Errors: MIO_ERROR_STATE before fit or without labels;
    mio_knn_search's. */
MIO_API mio_status mio_knn_predict(mio_knn *knn, size_t count, size_t dim, const float *queries, int32_t *predictions);
/**
 * The `neighbours` most similar bank rows of each query, best first: indices and cosines, both count x neighbours;
 * either may be NULL.
 * Memory: tiled, O(count x neighbours), never count x bank.
 * Errors: MIO_ERROR_STATE (before fit), MIO_ERROR_ARGUMENT (neighbours 0 or more than the bank has, another dim than
 * the bank's, a value that is not finite), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_knn_search(mio_knn *knn, size_t count, size_t dim, const float *queries, size_t neighbours,
                                  size_t *indices, float *similarities);

/** A linear classifier on frozen features. One call at a time. */
typedef struct mio_probe mio_probe;

/** Name of the solver at index ("exact", "sgd"); NULL past the last one. */
MIO_API const char *mio_probe_name_at(size_t index);
/**
 * Makes a linear probe: "exact" (multinomial logistic regression with an L2 penalty on standardised features, to its
 * optimum by L-BFGS) or "sgd" (the MIO paper's: momentum 0.9, lr 0.01 x 0.98 an epoch, batch 32, 100 epochs, the epoch
 * with the lowest validation loss kept).
 * Parameters of "exact": "standardize" 1, "penalty" 1e-4 (times the squared weights, on the mean cross-entropy),
 * "iterations" 100, "tolerance" 1e-5 (of the gradient's largest entry); of "sgd": "standardize" 0, "learning_rate",
 * "momentum", "decay", "weight_decay", "batch_size", "epochs", "seed", "validation_fraction" 0.2.
 */
MIO_API mio_status mio_probe_create(mio_context *context, const char *solver, mio_probe **probe);
/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_probe *mio_probe_retain(mio_probe *probe);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_probe_release(mio_probe *probe);
/** Sets a named parameter. Errors: MIO_ERROR_ARGUMENT names the parameter and its bounds. */
MIO_API mio_status mio_probe_set(mio_probe *probe, const char *parameter, double value);
/** Sets a named parameter from text: a number, "true"/"false", or the name of a choice. */
MIO_API mio_status mio_probe_set_text(mio_probe *probe, const char *parameter, const char *text);
/** Reads a named parameter. */
MIO_API mio_status mio_probe_get(const mio_probe *probe, const char *parameter, double *value);
/** Number of named parameters. */
MIO_API size_t mio_probe_parameter_count(const mio_probe *probe);
/** Describes the parameter at index; info->struct_size must be set. Errors: MIO_ERROR_ARGUMENT past the last. */
MIO_API mio_status mio_probe_parameter(const mio_probe *probe, size_t index, mio_parameter_info *info);
/**
 * Trains on count x dim features and labels 0 .. classes-1. Without a validation set "sgd" keeps "validation_fraction"
 * of the rows back as one (0: none, the last epoch is kept).
 * Errors: MIO_ERROR_ARGUMENT, MIO_ERROR_MEMORY; MIO_ERROR_STATE ("exact" with "penalty" 0; "sgd" whose weights grew
 * beyond all bounds). After an error the probe predicts as before.
 */
MIO_API mio_status mio_probe_fit(mio_probe *probe, size_t count, size_t dim, const float *features,
                                 const int32_t *labels, size_t classes);
/** As mio_probe_fit with a validation set that chooses the epoch ("sgd") or the penalty ("exact", "penalty" 0). */
MIO_API mio_status mio_probe_fit_validated(mio_probe *probe, size_t count, size_t dim, const float *features,
                                           const int32_t *labels, size_t classes, size_t validation_count,
                                           const float *validation_features, const int32_t *validation_labels);
/**
 * Class of each of count x dim feature rows; logits (count x classes) may be NULL.
 * Errors: MIO_ERROR_STATE (before fit), MIO_ERROR_ARGUMENT (another dim than fitted, a value that is not finite),
 * MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_probe_predict(mio_probe *probe, size_t count, size_t dim, const float *features,
                                     int32_t *predictions, float *logits);

/** Trains encoder and a linear classifier together on few labels. One call at a time on it and its encoder. */
typedef struct mio_finetune mio_finetune;

/**
 * Makes a fine-tuning run on an encoder. Parameters: "epochs", "batch_size", "learning_rate", "momentum",
 * "weight_decay", "decay" (factor an epoch), "label_fraction" (share of the training images that is used, class by
 * class; above 0, up to 1), "seed". Training changes the encoder: load it again for the next run.
 */
MIO_API mio_status mio_finetune_create(mio_encoder *encoder, mio_finetune **finetune);
/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_finetune *mio_finetune_retain(mio_finetune *finetune);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_finetune_release(mio_finetune *finetune);
/** Sets a named parameter. Errors: MIO_ERROR_ARGUMENT names the parameter and its bounds. */
MIO_API mio_status mio_finetune_set(mio_finetune *finetune, const char *parameter, double value);
/** Sets a named parameter from text: a number, "true"/"false", or the name of a choice. */
MIO_API mio_status mio_finetune_set_text(mio_finetune *finetune, const char *parameter, const char *text);
/** Reads a named parameter. */
MIO_API mio_status mio_finetune_get(const mio_finetune *finetune, const char *parameter, double *value);
/** Number of named parameters. */
MIO_API size_t mio_finetune_parameter_count(const mio_finetune *finetune);
/** Describes the parameter at index; info->struct_size must be set. Errors: MIO_ERROR_ARGUMENT past the last. */
MIO_API mio_status mio_finetune_parameter(const mio_finetune *finetune, size_t index, mio_parameter_info *info);
/**
 * Trains on `label_fraction` of the dataset, views drawn by augment (1 view); the epoch with the best validation loss
 * is kept (validation may be NULL: the last). The augment must normalise as the encoder does. A run that diverges ends
 * with the best epoch before, with a warning, where there is one. On failure encoder and classifier are as before.
 * Errors: MIO_ERROR_ARGUMENT (no labels; images or views of another shape, another normalisation), MIO_ERROR_STATE (it
 * diverged before there was a best epoch; lower "learning_rate"), MIO_ERROR_MEMORY, the dataset's.
 */
MIO_API mio_status mio_finetune_run(mio_finetune *finetune, mio_dataset *train, mio_dataset *validation,
                                    mio_augment *augment);
/** Classes of every image of a dataset: mio_dataset_count values. Errors: MIO_ERROR_STATE (before a run),
    MIO_ERROR_ARGUMENT, MIO_ERROR_MEMORY. */
MIO_API mio_status mio_finetune_predict(mio_finetune *finetune, const mio_dataset *dataset, int32_t *predictions);

#ifdef __cplusplus
}
#endif
#endif
