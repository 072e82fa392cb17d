#include "evaluation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The training split's label of a class of the test split. Folders of images number their classes in each split on its
   own, so a class that has no test images would shift all later ones. */
static int32_t training_label(const evaluation *e, int32_t label)
{
    const char *name = mio_dataset_class_name(e->test, (size_t)label);
    if (!name || !mio_dataset_class_name(e->train, 0))
        return label;
    for (size_t class = 0; class < mio_dataset_class_count(e->train); class ++)
        if (!strcmp(mio_dataset_class_name(e->train, class), name))
            return (int32_t) class;
    leave(EXIT_FAILED, "the test split has a class '%s', which the training split lacks", name);
}

void evaluation_begin(evaluation *e, const char *json_path)
{
    e->train_labels = labels_of(e->train);
    e->test_labels = labels_of(e->test);
    for (size_t i = 0; i < mio_dataset_count(e->test); i++)
        e->test_labels[i] = training_label(e, e->test_labels[i]);
    e->classes = mio_dataset_class_count(e->train);
    if (json_path && !(e->json = fopen(json_path, "w")))
        leave(EXIT_FAILED, "cannot write '%s': %s", json_path, strerror(errno));
    e->json_path = json_path;
    if (e->json)
        fputs("[", e->json);
    printf("%-12s %-26s %9s %9s\n", "encoder", "method", "accuracy", "seconds");
}

void evaluation_end(evaluation *e)
{
    if (e->json) {
        fputs("\n]\n", e->json);
        close_written(e->json, e->json_path);
    }
    free(e->train_labels);
    free(e->test_labels);
    mio_dataset_release(e->train);
    mio_dataset_release(e->test);
    mio_context_release(e->context);
}

static double add_row(evaluation *e, const char *encoder, const char *method, const int32_t *predictions, double began)
{
    double accuracy;
    const double seconds = seconds_now() - began;
    check(mio_evaluate_accuracy(mio_dataset_count(e->test), e->test_labels, predictions, &accuracy));
    printf("%-12s %-26s %7.2f %% %9.2f\n", encoder, method, 100 * accuracy, seconds);
    fflush(stdout);
    if (e->json) {
        fprintf(e->json, "%s\n  {\"encoder\": \"%s\", \"method\": \"%s\", ", e->rows ? "," : "", encoder, method);
        json_number(e->json, "accuracy", accuracy);
        fputs(", ", e->json);
        json_number(e->json, "seconds", seconds);
        fputs("}", e->json);
    }
    e->rows++;
    return accuracy;
}

float *pixels_of(const mio_dataset *dataset, size_t *dim)
{
    const size_t count = mio_dataset_count(dataset), channels = mio_dataset_channels(dataset);
    size_t height, width;
    check(mio_dataset_image_size(dataset, 0, &height, &width));
    *dim = height * width * channels;
    float *values = allocate(count, *dim * sizeof *values);
    uint8_t *pixels = allocate(*dim, 1);
    for (size_t i = 0; i < count; i++) {
        size_t own_height, own_width;
        check(mio_dataset_image_size(dataset, i, &own_height, &own_width));
        if (own_height != height || own_width != width)
            leave(EXIT_FAILED, "--raw needs images of one size; image %zu is %zu x %zu, image 0 is %zu x %zu", i,
                  own_height, own_width, height, width);
        check(mio_dataset_image(dataset, i, *dim, pixels));
        for (size_t j = 0; j < *dim; j++)
            values[i * *dim + j] = (float)pixels[j] / 255.0f;
    }
    free(pixels);
    return values;
}

double evaluate_knn(evaluation *e, const char *encoder, const features *f, size_t k, double temperature)
{
    const double began = seconds_now();
    char method[64];
    mio_knn *knn;
    int32_t *predictions = allocate(mio_dataset_count(e->test), sizeof *predictions);
    check(mio_knn_create(e->context, &knn));
    check(mio_knn_set(knn, "k", (double)k));
    check(mio_knn_set(knn, "temperature", temperature));
    check(mio_knn_fit(knn, mio_dataset_count(e->train), f->dim, f->train, e->train_labels));
    check(mio_knn_predict(knn, mio_dataset_count(e->test), f->dim, f->test, predictions));
    snprintf(method, sizeof method, "k-NN (k %zu, T %g)", k, temperature);
    const double accuracy = add_row(e, encoder, method, predictions, began);
    mio_knn_release(knn);
    free(predictions);
    return accuracy;
}

/* That of the context, for what has a seed of its own. */
static double seed_of(const evaluation *e)
{
    double seed;
    check(mio_context_get(e->context, "seed", &seed));
    return seed;
}

double evaluate_linear(evaluation *e, const char *encoder, const features *f, const char *solver)
{
    const double began = seconds_now();
    char method[64];
    mio_probe *probe;
    int32_t *predictions = allocate(mio_dataset_count(e->test), sizeof *predictions);
    check(mio_probe_create(e->context, solver, &probe));
    if (!strcmp(solver, "sgd"))
        check(mio_probe_set(probe, "seed", seed_of(e)));
    check(mio_probe_fit(probe, mio_dataset_count(e->train), f->dim, f->train, e->train_labels, e->classes));
    check(mio_probe_predict(probe, mio_dataset_count(e->test), f->dim, f->test, predictions, NULL));
    snprintf(method, sizeof method, "linear (%s)", solver);
    const double accuracy = add_row(e, encoder, method, predictions, began);
    mio_probe_release(probe);
    free(predictions);
    return accuracy;
}

/* Views for the encoder: its own size, normalised as it was trained. */
static mio_augment *views_for(mio_context *context, const mio_encoder *encoder, const char *name)
{
    size_t channels, height, width;
    mio_augment *augment;
    check(mio_encoder_input_shape(encoder, &channels, &height, &width));
    double *mean = allocate(2 * channels, sizeof *mean);
    check(mio_augment_create(context, name, height, width, channels, &augment));
    check(mio_encoder_get_normalization(encoder, channels, mean, mean + channels));
    check(mio_augment_set_normalization(augment, channels, mean, mean + channels));
    free(mean);
    return augment;
}

double evaluate_finetuning(evaluation *e, const char *path, double fraction, double epochs, const char *augment)
{
    const double began = seconds_now();
    char method[64];
    mio_encoder *encoder;
    mio_finetune *finetune;
    int32_t *predictions = allocate(mio_dataset_count(e->test), sizeof *predictions);
    check(mio_encoder_load(e->context, path, &encoder));
    check(mio_finetune_create(encoder, &finetune));
    check(mio_finetune_set(finetune, "label_fraction", fraction));
    check(mio_finetune_set(finetune, "seed", seed_of(e)));
    if (epochs > 0)
        check(mio_finetune_set(finetune, "epochs", epochs));
    mio_augment *views = views_for(e->context, encoder, augment);
    check(mio_finetune_run(finetune, e->train, NULL, views));
    check(mio_finetune_predict(finetune, e->test, predictions));
    snprintf(method, sizeof method, "fine-tuned, %g %% of labels", 100 * fraction);
    const double accuracy = add_row(e, "trained", method, predictions, began);
    mio_augment_release(views);
    mio_finetune_release(finetune);
    mio_encoder_release(encoder);
    free(predictions);
    return accuracy;
}
