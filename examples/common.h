/* What the example programs share: leaving with a message, reading the command line, datasets as arrays, JSON lines. */
#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <mio/mio.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

/* Exit codes of every program; pretrain adds 128 + the signal's number for a run that was stopped. */
enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/** Prints "program: message" and leaves with the code. */
_Noreturn void leave(int code, const char *format, ...);
/** Leaves with libmio's own words if a call failed: EXIT_USAGE for a refused argument, else EXIT_FAILED. */
void check(mio_status status);
/** Closes a file that was written; leaves if not all of it was. */
void close_written(FILE *file, const char *path);
/** count x size bytes, zeroed, for free; or leaves. */
void *allocate(size_t count, size_t size);
/** Seconds on a clock that only moves forward. */
double seconds_now(void);

/* ---- the command line ---- */

/** A place on the command line; begin with next = 1. */
typedef struct arguments {
    int count, next;
    char **values;
} arguments;

/** The same walk for every program: names it in messages. */
arguments arguments_of(int count, char **values);
/** Whether the next argument is this option; if so, steps over it. */
bool option(arguments *line, const char *name);
/** The next argument, or leaves: `owner` needs it. */
const char *value(arguments *line, const char *owner);
/** The next argument unless that is an option or the end: NULL. */
const char *optional_value(arguments *line);
/** The next argument as a number in [minimum, maximum], or leaves. */
double number(arguments *line, const char *owner, double minimum, double maximum);
/** Leaves: nobody knows the next argument. */
_Noreturn void unknown_argument(const arguments *line);

/** Prints a table of names from one of the library's _name_at functions. */
void print_names(const char *title, const char *(*name_at)(size_t));
/** Prints one named parameter as a line of --help. */
void print_parameter(const mio_parameter_info *info, double present);

/** Sets a parameter of a recipe from "NAME=VALUE", or leaves. */
void recipe_set_pair(mio_recipe *recipe, const char *pair);

/* ---- data ---- */

/** Opens a dataset, or leaves; images of folders get the encoder's channels, also where all are grey. */
mio_dataset *dataset_for(mio_context *context, const mio_encoder *encoder, const char *format, const char *path,
                         const char *split);
/** Labels of all images; leaves if one has none. */
int32_t *labels_of(const mio_dataset *dataset);
/** Features of all images, count x dim. */
float *features_of(mio_encoder *encoder, const mio_dataset *dataset, size_t *dim);
/** The same network with fresh random weights: what training is compared with. */
mio_encoder *untrained_copy(mio_context *context, const char *path, uint64_t seed);

/* ---- JSON lines ---- */

/** Writes `"name": value`, or null for what JSON cannot hold (NaN, infinities). Doubles survive the round trip. */
void json_number(FILE *file, const char *name, double number);
/** Reads the number called name out of one line of the kind that these programs write; NAN where there is none. */
double json_number_in(const char *line, const char *name);
/** Copies the text called name out of a line, without escapes; false where there is none or it is too long. */
bool json_text_in(const char *line, const char *name, char *text, size_t capacity);

#endif
