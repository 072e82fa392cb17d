/* The command line of pretrain, and the recipe that it describes. */
#ifndef EXAMPLES_PRETRAIN_OPTIONS_H
#define EXAMPLES_PRETRAIN_OPTIONS_H

#include "common.h"

/** sets belongs to the caller. */
typedef struct pretrain_options {
    const char *format, *path, *split, *recipe, *output, *tuning; /* the last NULL where not given */
    const char *parts[3]; /* loss, optimizer, schedule; NULL as the recipe has it */
    const char **sets;
    size_t set_count;
    double threads, seed, tune, checkpoint_every; /* NAN, NAN, NAN, 0 where not given */
    bool resume, help;
} pretrain_options;

/** Reads the command line, or leaves. --list prints the names and leaves too. */
pretrain_options pretrain_options_read(arguments line);
/** The recipe with the parts chosen and the parameters set. */
mio_recipe *pretrain_recipe(mio_context *context, const pretrain_options *options);
/** Prints how to use the program and the recipe's parameters, from the library's own table. */
void pretrain_help(const pretrain_options *options, const mio_recipe *recipe);

#endif
