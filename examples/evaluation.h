/* Measurements of an encoder on a dataset's two splits, each printed as a row of a table and written as JSON. */
#ifndef EXAMPLES_EVALUATION_H
#define EXAMPLES_EVALUATION_H

#include "common.h"

/** What is measured on. The caller sets context, train and test, which evaluation_end releases. */
typedef struct evaluation {
    mio_context *context;
    mio_dataset *train, *test;
    int32_t *train_labels, *test_labels;
    size_t classes;
    FILE *json; /* NULL: none */
    const char *json_path;
    size_t rows;
} evaluation;

/** Feature rows of both splits, dim values each. */
typedef struct features {
    size_t dim;
    const float *train, *test;
} features;

/** Reads the labels, prints the table's head, begins the JSON file where a path is given. */
void evaluation_begin(evaluation *e, const char *json_path);
/** Ends the JSON file and releases everything. */
void evaluation_end(evaluation *e);

/** Pixels of all images in [0,1], count x dim; leaves if the images differ in size. */
float *pixels_of(const mio_dataset *dataset, size_t *dim);

/** Weighted k-NN. encoder: the row's name. Returns the accuracy, as do the others. */
double evaluate_knn(evaluation *e, const char *encoder, const features *f, size_t k, double temperature);
/** Linear classifier by a solver of mio_probe. */
double evaluate_linear(evaluation *e, const char *encoder, const features *f, const char *solver);
/** Fine-tunes the encoder in the file on a fraction of the labels. epochs 0: the library's own number. */
double evaluate_finetuning(evaluation *e, const char *path, double fraction, double epochs, const char *augment);

#endif
