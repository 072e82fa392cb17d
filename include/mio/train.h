/* libmio: training: recipes by name, the step, the run, monitors and checkpoints. */
#ifndef MIO_TRAIN_H
#define MIO_TRAIN_H

#include <mio/augment.h>
#include <mio/loss.h>
#include <mio/optim.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Steps an encoder on batches of views. One call at a time, except mio_trainer_cancel. */
typedef struct mio_trainer mio_trainer;

/**
 * Joins the parts of a training run, all kept alive: the optimizer gets the encoder's tensors (unless it has them), the
 * encoder needs a projector (and if it makes predictions, of the projections' width), the loader must give 2 views.
 * An optimizer serves one trainer: a step moves everything that it has.
 * A call on the trainer is one on all its parts: meanwhile they have no other, nor a share in another trainer's call.
 * Errors: MIO_ERROR_ARGUMENT (a NULL, or parts that do not fit so), MIO_ERROR_STATE (a learnable tensor of the loss has
 * another width than the projections), MIO_ERROR_MEMORY; the optimizer is then as before.
 */
MIO_API mio_status mio_trainer_create(mio_encoder *encoder, mio_loss *loss, mio_optimizer *optimizer,
                                      mio_schedule *schedule, mio_loader *loader, mio_trainer **trainer);
/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_trainer *mio_trainer_retain(mio_trainer *trainer);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_trainer_release(mio_trainer *trainer);
/**
 * Parameters: "epochs" or "steps" (where mio_trainer_run ends), "join_views", "monitor_interval", "labels" (1: the loss
 * gets the labels of each batch; dataset indices it gets in any case), and those below. What the loss learns is added
 * to the optimizer, which keeps the loss alive; the loss's state is part of checkpoints.
 *
 * "predictor" (default 1): byol, simsiam and nnclr get the encoder's predictions, and the projections as their targets;
 * 0: the projections stand for both. A step fails with MIO_ERROR_STATE where the encoder has no predictor.
 * "momentum_encoder" (0): targets (byol, simsiam, nnclr) or keys (moco, whose view 2 then goes through it alone) come
 * from a copy of the encoder made before the first step with it. After each step its weights keep the share "momentum"
 * (0.996) of themselves and take the rest from the encoder; "momentum_schedule" leaves that share constant or raises
 * it along half a cosine to 1 at the end of the run, so the run's length matters. Its batch norms take the
 * statistics of its own batches and have running statistics of their own, which are not averaged. It is part of
 * checkpoints. "micro_batch" (0: none): the encoder works on so many images of a view at once, and the loss still
 * sees the whole batch. All images are embedded, the loss gives the gradients of all projections, and each
 * micro-batch is embedded once more and back-propagated through; its weight gradients are added in order. Without
 * batch norm that is the gradient of the whole batch; batch norm takes the statistics of each micro-batch, and
 * updates the running ones once for each, in the order of the images. The batch must be a multiple of micro_batch,
 * "join_views" 0.
 * Memory: for each image of a batch its views, 2 x height x width x channels floats in each of the loader's 1 +
 * "prefetch" slots, at most 8 rows of projections (12 where the loss has targets), and the loss's work space; for a
 * micro-batch the activations; the weights twice more for gradients and their sums, once more for a momentum encoder,
 * and what the optimizer keeps.
 */
MIO_API mio_status mio_trainer_set(mio_trainer *trainer, const char *parameter, double value);
/** Sets a named parameter from text: a number, "true"/"false", or the name of a choice. */
MIO_API mio_status mio_trainer_set_text(mio_trainer *trainer, const char *parameter, const char *text);
/** Reads a named parameter. */
MIO_API mio_status mio_trainer_get(const mio_trainer *trainer, const char *parameter, double *value);
/** Number of named parameters. */
MIO_API size_t mio_trainer_parameter_count(const mio_trainer *trainer);
/** Describes the parameter at index; info->struct_size must be set. Errors: MIO_ERROR_ARGUMENT past the last. */
MIO_API mio_status mio_trainer_parameter(const mio_trainer *trainer, size_t index, mio_parameter_info *info);

/**
 * What one step did. The caller sets struct_size. The monitors, from positive_similarity on, are taken every
 * "monitor_interval" steps, from the first 512 pairs of the batch, before the weights change; NAN on the other steps,
 * but for the two mean similarities, where the loss found those of the projections itself.
 */
typedef struct mio_step_report {
    size_t struct_size;         /**< sizeof(mio_step_report) */
    uint64_t step;              /**< steps done, this one included */
    uint64_t epoch;             /**< epoch of this step, counted from 0 */
    uint64_t steps_per_epoch;   /**< batches in an epoch */
    uint64_t total_steps;       /**< where mio_trainer_run ends */
    double loss;                /**< of this step's batch, before the step */
    double learning_rate;       /**< that this step used */
    double images_per_second;   /**< images (each in two views) over the time of this step */
    double step_seconds;        /**< time of this step */
    double wait_seconds;        /**< of these, spent waiting for the loader */
    double positive_similarity; /**< mean cosine s+ of positive pairs */
    double negative_similarity; /**< mean cosine s- of negative pairs */
    double pair_accuracy;       /**< balanced accuracy of "cosine > 0" as a classifier of pairs */
    double alignment;           /**< mean squared distance of positive pairs of unit vectors */
    double uniformity;          /**< log mean exp(-2 squared distance) over all pairs of one view's unit vectors */
    double channel_deviation;   /**< of one view's unit projections; 1/sqrt(dim) is healthy, 0 a collapse */
    double effective_rank;      /**< exp of the entropy of the singular values of one view's unit projections */
    double mutual_information;  /**< Jensen-Shannon estimate from the pair logits, in nats, at the loss's temperatures
                                     (0.5 where it has none); docs/mathematics.md */
    double gradient_norm;       /**< of all weights together */
} mio_step_report;

/**
 * One optimizer step on the next batch. report may be NULL.
 * Errors: those of the parts; MIO_ERROR_STATE with the step and the first layer named when a loss, projection, gradient
 * or weight is not finite. After any error the trainer is as before the step: weights, running statistics, place in the
 * data.
 */
MIO_API mio_status mio_trainer_step(mio_trainer *trainer, mio_step_report *report);

/** Called after each step; 0 continues, any other number ends the run with MIO_ERROR_CANCELLED. It may save, read
    and cancel the trainer and embed with its encoder, not step, run, set or restore it. */
typedef int32_t (*mio_step_callback)(void *user, const mio_step_report *report);
/**
 * Steps to the end ("epochs" or "steps"). callback may be NULL.
 * Errors: those of mio_trainer_step; a short last batch of an epoch that could not be stepped on (not a multiple of
 * "micro_batch", or a single image) is refused before the first step; MIO_ERROR_CANCELLED.
 */
MIO_API mio_status mio_trainer_run(mio_trainer *trainer, mio_step_callback callback, void *user);
/**
 * Asks a running mio_trainer_run to end after its present step; where none runs, the next one ends before its first
 * step. A run takes the request with it, however it ends.
 * Thread-safety: from any thread; also async-signal-safe.
 */
MIO_API void mio_trainer_cancel(mio_trainer *trainer);

/**
 * mio_encoder_tune for the batches that this trainer's steps give the encoder. To be called before the first step;
 * checkpoints keep what was chosen.
 * Errors: mio_encoder_tune's and mio_loader_steps_per_epoch's; MIO_ERROR_STATE where a step would not work.
 */
MIO_API mio_status mio_trainer_tune(mio_trainer *trainer, double seconds);

/** The trainer's encoder, borrowed. */
MIO_API mio_encoder *mio_trainer_encoder(mio_trainer *trainer);
/** Steps done. */
MIO_API uint64_t mio_trainer_steps_done(const mio_trainer *trainer);

/**
 * Saves everything that the next step depends on. Compressed, CRC-checked, written to a temporary file beside path,
 * synced and renamed: a killed process leaves the old checkpoint or the new one.
 * Errors: MIO_ERROR_IO, MIO_ERROR_MEMORY, MIO_ERROR_STATE (something is not finite and could not be restored: it is
 * named, and the old file stays).
 */
MIO_API mio_status mio_trainer_save(const mio_trainer *trainer, const char *path);
/**
 * Restores a checkpoint into a trainer built from the same parts; the run then continues bit for bit. If anything
 * does not fit (the message says what) the trainer is unchanged. The loader's augment is changed too: no other
 * loader may be using it. The parameters of all parts come back too, but for those that no step depends on
 * ("epochs", "steps", "monitor_interval", "prefetch") and for a schedule's "total" that is the length of the run
 * (see mio_recipe): a longer or shorter run stretches its schedule. Logs a warning if the kernel target differs. A
 * run in bf16 goes on in fp32, with a warning, where the CPU has no bf16.
 * Errors: MIO_ERROR_IO, MIO_ERROR_FORMAT (a broken file, or of another network or optimizer), MIO_ERROR_ARGUMENT (of
 * another loss, schedule or dataset), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_trainer_restore(mio_trainer *trainer, const char *path);

/**
 * A named, complete set of choices for a run: encoder, loss, optimizer, schedule, augmentation, loader. Parameters of
 * the parts are reached through a prefix: "loss.l2_weight", "optimizer.momentum", "schedule.warmup",
 * "augment.crop_scale_min", "loader.batch_size", "encoder.depth", "encoder.precision", "projector.hidden",
 * "predictor.layers", "trainer.epochs". A "schedule.total" that neither the recipe nor the caller set becomes the
 * length of the run, and a "schedule.warmup" that the caller did not set at most a quarter of that. Parameters of the
 * augmentation that nobody set and that depend on the size of the views (blur, solarise, jitter) take the defaults for
 * the run's view size when the trainer is built; until then mio_recipe_get and mio_recipe_parameter give those for
 * views of at most 32 pixels. The learning rate is the schedule's: "optimizer.learning_rate" cannot be set. Names
 * that mio_recipe_parameter gives live as long as the recipe. One call at a time.
 */
typedef struct mio_recipe mio_recipe;

/** Name of the recipe at index ("mio-paper", "mio-small", "byol", "simclr", ...); NULL past the last one. */
MIO_API const char *mio_recipe_name_at(size_t index);
/** One line on what the recipe is and where it comes from. NULL past the last one. */
MIO_API const char *mio_recipe_meaning_at(size_t index);
/** Makes a recipe by name. Errors: MIO_ERROR_ARGUMENT lists the known ones. */
MIO_API mio_status mio_recipe_create(mio_context *context, const char *name, mio_recipe **recipe);
/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_recipe *mio_recipe_retain(mio_recipe *recipe);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_recipe_release(mio_recipe *recipe);
/** Sets a named parameter. Errors: MIO_ERROR_ARGUMENT names the parameter and its bounds. */
MIO_API mio_status mio_recipe_set(mio_recipe *recipe, const char *parameter, double value);
/** Sets a named parameter from text: a number, "true"/"false", or the name of a choice. */
MIO_API mio_status mio_recipe_set_text(mio_recipe *recipe, const char *parameter, const char *text);
/** Reads a named parameter. */
MIO_API mio_status mio_recipe_get(const mio_recipe *recipe, const char *parameter, double *value);
/** Number of named parameters. */
MIO_API size_t mio_recipe_parameter_count(const mio_recipe *recipe);
/** Describes the parameter at index; info->struct_size must be set. Errors: MIO_ERROR_ARGUMENT past the last. */
MIO_API mio_status mio_recipe_parameter(const mio_recipe *recipe, size_t index, mio_parameter_info *info);
/** Replaces a part by another kind: part "loss", "optimizer" or "schedule"; its parameters return to their defaults.
    Errors: MIO_ERROR_ARGUMENT (another part, an unknown name: the known ones are listed), MIO_ERROR_MEMORY. */
MIO_API mio_status mio_recipe_choose(mio_recipe *recipe, const char *part, const char *name);
/**
 * Builds the trainer for a dataset: encoder for its image size and channels (or "encoder.height"/"encoder.width"),
 * normalisation from the dataset's own statistics. The caller releases the trainer, which keeps the dataset alive; the
 * recipe may be changed, built again or released.
 * Errors: MIO_ERROR_ARGUMENT (images of several sizes without "encoder.height", less than one batch, parameters that
 * do not fit each other), MIO_ERROR_UNSUPPORTED (bf16 on this CPU), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_recipe_build(mio_recipe *recipe, mio_dataset *dataset, mio_trainer **trainer);

#ifdef __cplusplus
}
#endif
#endif
