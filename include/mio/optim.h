/* libmio: optimizers over named arrays, and learning-rate schedules. Both usable alone. */
#ifndef MIO_OPTIM_H
#define MIO_OPTIM_H

#include <mio/encoder.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An optimizer with its parameters, the arrays it steps and their state (momenta). One call at a time. */
typedef struct mio_optimizer mio_optimizer;

/** Name of the optimizer at index ("adamw", "lars", "sgd"); NULL past the last one. */
MIO_API const char *mio_optimizer_name_at(size_t index);
/** Makes an optimizer by name. Errors: MIO_ERROR_ARGUMENT lists the known names. */
MIO_API mio_status mio_optimizer_create(mio_context *context, const char *name, mio_optimizer **optimizer);
/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_optimizer *mio_optimizer_retain(mio_optimizer *optimizer);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_optimizer_release(mio_optimizer *optimizer);
/** The name it was created by. The text lives as long as the library. */
MIO_API const char *mio_optimizer_name(const mio_optimizer *optimizer);
/** Sets a named parameter. Errors: MIO_ERROR_ARGUMENT names the parameter and its bounds. */
MIO_API mio_status mio_optimizer_set(mio_optimizer *optimizer, const char *parameter, double value);
/** Sets a named parameter from text: a number, "true"/"false", or the name of a choice. */
MIO_API mio_status mio_optimizer_set_text(mio_optimizer *optimizer, const char *parameter, const char *text);
/** Reads a named parameter. */
MIO_API mio_status mio_optimizer_get(const mio_optimizer *optimizer, const char *parameter, double *value);
/** Number of named parameters. */
MIO_API size_t mio_optimizer_parameter_count(const mio_optimizer *optimizer);
/** Describes the parameter at index; info->struct_size must be set. Errors: MIO_ERROR_ARGUMENT past the last. */
MIO_API mio_status mio_optimizer_parameter(const mio_optimizer *optimizer, size_t index, mio_parameter_info *info);

/**
 * Name patterns of arrays that get neither weight decay nor layer adaptation: an array is excluded if its name contains
 * one of them. Applies to arrays already added and to later ones. Arrays of rank 0 or 1 (biases and batch norm,
 * shortcuts' included) are excluded besides while the parameter "exclude_vectors" is 1.
 */
MIO_API mio_status mio_optimizer_set_exclusions(mio_optimizer *optimizer, size_t count, const char *const *patterns);

/**
 * Adds every trainable tensor of an encoder; the optimizer keeps the encoder alive.
 * Errors: MIO_ERROR_ARGUMENT (the encoder has been added already), MIO_ERROR_MEMORY; the optimizer is then as before.
 */
MIO_API mio_status mio_optimizer_add_encoder(mio_optimizer *optimizer, mio_encoder *encoder);
/**
 * Adds an array of the caller's: values and gradients stay the caller's and must outlive the optimizer's last step.
 * rank: how many dimensions it has (1 for a bias).
 * Errors: MIO_ERROR_ARGUMENT (a NULL, count 0), MIO_ERROR_MEMORY.
 */
MIO_API mio_status mio_optimizer_add_array(mio_optimizer *optimizer, const char *name, size_t rank, size_t count,
                                           float *values, const float *gradients);
/**
 * One step on every array from its present gradient, with the parameter "learning_rate".
 * Errors: MIO_ERROR_STATE (nothing was added), MIO_ERROR_ARGUMENT (a non-finite gradient: the array is named, and
 * nothing was changed).
 */
MIO_API mio_status mio_optimizer_step(mio_optimizer *optimizer);

/** A learning rate as a function of the step. One call at a time. */
typedef struct mio_schedule mio_schedule;

/** Name of the schedule at index ("constant", "cosine", "step"); NULL past the last one. */
MIO_API const char *mio_schedule_name_at(size_t index);
/** Makes a schedule by name: "constant", "step" (decay by a factor every so often), "cosine" (linear warm-up first). */
MIO_API mio_status mio_schedule_create(mio_context *context, const char *name, mio_schedule **schedule);
/** Takes another reference; returns its argument. NULL is accepted. Thread-safety: safe. */
MIO_API mio_schedule *mio_schedule_retain(mio_schedule *schedule);
/** Gives a reference back. NULL is accepted. Thread-safety: safe. */
MIO_API void mio_schedule_release(mio_schedule *schedule);
/** The name it was created by. The text lives as long as the library. */
MIO_API const char *mio_schedule_name(const mio_schedule *schedule);
/** Sets a named parameter. Errors: MIO_ERROR_ARGUMENT names the parameter and its bounds. */
MIO_API mio_status mio_schedule_set(mio_schedule *schedule, const char *parameter, double value);
/** Sets a named parameter from text: a number, "true"/"false", or the name of a choice. */
MIO_API mio_status mio_schedule_set_text(mio_schedule *schedule, const char *parameter, const char *text);
/** Reads a named parameter. */
MIO_API mio_status mio_schedule_get(const mio_schedule *schedule, const char *parameter, double *value);
/** Number of named parameters. */
MIO_API size_t mio_schedule_parameter_count(const mio_schedule *schedule);
/** Describes the parameter at index; info->struct_size must be set. Errors: MIO_ERROR_ARGUMENT past the last. */
MIO_API mio_status mio_schedule_parameter(const mio_schedule *schedule, size_t index, mio_parameter_info *info);
/** Learning rate of the step (counted from 0) when an epoch has steps_per_epoch steps (at least 1). */
MIO_API mio_status mio_schedule_at(const mio_schedule *schedule, uint64_t step, uint64_t steps_per_epoch,
                                   double *learning_rate);

#ifdef __cplusplus
}
#endif
#endif
