/* A table of measured choices: which method computes which pass of which convolution. It is an input like the weights:
   bits depend on its rows, and never on when or how long they were measured. */
#ifndef MIO_KERNELS_CONV_TUNING_H
#define MIO_KERNELS_CONV_TUNING_H

#include "kernels/conv.h"

/** In evaluation forward passes are other work: weights stay, few images go other ways. */
enum { MIO__INFERENCE = MIO__PASSES, MIO__TUNED_PASSES };

/** The numbers of a key, in the order in which a file has them. */
enum {
    MIO__TUNED_IMAGES, /* of all views, filled up to whole groups; in evaluation 16 or 32 lanes both count as 32, so that an
                          image has the same bits in either */
    MIO__TUNED_IN,
    MIO__TUNED_OUT,
    MIO__TUNED_HEIGHT,
    MIO__TUNED_WIDTH,
    MIO__TUNED_KERNEL,
    MIO__TUNED_STRIDE,
    MIO__TUNED_PADDING,
    MIO__TUNED_NUMBERS
};

/** What a row is found by, besides the target. */
typedef struct mio__tuning_key {
    int pass; /* mio__conv_pass, or MIO__INFERENCE */
    mio__precision precision;
    uint32_t numbers[MIO__TUNED_NUMBERS];
} mio__tuning_key;

enum { MIO__TARGET_NAME = 16 };

typedef struct mio__tuning_row {
    mio__tuning_key key;
    char target[MIO__TARGET_NAME]; /* mio__target_name() of the process that measured */
    mio__conv_method method;
    uint32_t microseconds[MIO__METHODS]; /* what each method took; 0: not measured */
} mio__tuning_row;

/** The table; zeroed but for its context it is empty. */
typedef struct mio__tuning {
    mio_context *context; /* borrowed */
    mio__tuning_row *rows;
    size_t count, capacity;
} mio__tuning;

void mio__tuning_free(mio__tuning *tuning);
/** Errors: MIO_ERROR_MEMORY; the copy is then empty. */
mio_status mio__tuning_copy(const mio__tuning *tuning, mio__tuning *copy);
/** Adds a row, or replaces the one with its key and target. Errors: MIO_ERROR_MEMORY. */
mio_status mio__tuning_put(mio__tuning *tuning, const mio__tuning_row *row);
mio__tuning_key mio__tuning_key_of(const mio__conv_geometry *geometry, int pass);
/** The row for this process's target; NULL if there is none. */
const mio__tuning_row *mio__tuning_find(const mio__tuning *tuning, const mio__tuning_key *key);
/**
 * The table's choice where it has one that the algorithm allows, else the built-in one. *tuned counts the passes that
 * follow the table; NULL is accepted.
 */
mio__conv_choice mio__tuning_choose(const mio__tuning *tuning, const mio__conv_geometry *geometry,
                                    mio__conv_algorithm algorithm, int training, int *tuned);

/** A pass to be measured. */
typedef struct mio__tuning_task {
    mio__conv_geometry geometry;
    int pass;
} mio__tuning_task;

/** How many methods the algorithm allows for a task. */
size_t mio__tuning_candidates(const mio__tuning_task *task, mio__conv_algorithm algorithm);
/**
 * Times the methods that the algorithm allows for each task, in turns, within about `seconds` for all tasks together,
 * and puts the fastest into the table. between: bytes that the network touches between two runs of one convolution; so
 * many are read before each, so that weights come from where they would. Errors: MIO_ERROR_MEMORY.
 */
mio_status mio__tuning_measure(mio__tuning *tuning, size_t count, const mio__tuning_task *tasks,
                               mio__conv_algorithm algorithm, size_t between, double seconds);

/** The table as text, ended by a zero, allocated. Errors: MIO_ERROR_MEMORY. */
mio_status mio__tuning_print(const mio__tuning *tuning, char **text, size_t *length);
/**
 * Makes a table from text. source: "'FILE'", for messages. Errors: MIO_ERROR_FORMAT (source, line and what is wrong
 * with it), MIO_ERROR_MEMORY; the table is then empty.
 */
mio_status mio__tuning_parse(mio_context *context, const char *source, size_t length, const char *text,
                             mio__tuning *tuning);

#endif
