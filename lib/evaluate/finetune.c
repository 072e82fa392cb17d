#include "core/finite.h"
#include "data/dataset.h"
#include "evaluate/linear.h"
#include "nn/encoder.h"
#include "train/snapshot.h"
#include "train/views.h"

#include <math.h>
#include <mio/evaluate.h>
#include <mio/optim.h>
#include <string.h>

enum {
    PARAMETER_EPOCHS,
    PARAMETER_BATCH_SIZE,
    PARAMETER_LEARNING_RATE,
    PARAMETER_MOMENTUM,
    PARAMETER_WEIGHT_DECAY,
    PARAMETER_DECAY,
    PARAMETER_LABEL_FRACTION,
    PARAMETER_SEED,
    PARAMETER_COUNT
};

static const mio__parameter parameters[PARAMETER_COUNT] = {
    [PARAMETER_EPOCHS] = {"epochs", MIO_PARAMETER_INTEGER, 100, 1, 1e6, 0, 0, NULL, "passes over the labelled images",
                          "epochs"},
    [PARAMETER_BATCH_SIZE] = {"batch_size", MIO_PARAMETER_INTEGER, 32, 1, 65536, 0, 0, NULL,
                              "of a step; all images where there are fewer", "images"},
    [PARAMETER_LEARNING_RATE] = {"learning_rate", MIO_PARAMETER_REAL, 0.01, 0, INFINITY, 1, 1, NULL,
                                 "of the first epoch", ""},
    [PARAMETER_MOMENTUM] = {"momentum", MIO_PARAMETER_REAL, 0.9, 0, 1, 0, 1, NULL, "of the steps", ""},
    [PARAMETER_WEIGHT_DECAY] = {"weight_decay", MIO_PARAMETER_REAL, 0, 0, INFINITY, 0, 1, NULL,
                                "times the weights, added to their gradient", ""},
    [PARAMETER_DECAY] = {"decay", MIO_PARAMETER_REAL, 0.98, 0, 1, 1, 0, NULL,
                         "factor on the learning rate after each epoch", ""},
    [PARAMETER_LABEL_FRACTION] = {"label_fraction", MIO_PARAMETER_REAL, 1, 0, 1, 1, 0, NULL,
                                  "of the training images, class by class, whose labels are used", ""},
    [PARAMETER_SEED] = {"seed", MIO_PARAMETER_INTEGER, 0, 0, 9007199254740992.0, 0, 1, NULL,
                        "of the choice of labels, the head's start, order and views", ""},
};

struct mio_finetune {
    mio__references references;
    mio_context *context;
    mio__settings settings;
    mio_encoder *encoder;
    size_t dim;
    mio__linear head; /* dim 0: not trained yet */
};

MIO__DEFINE_SETTINGS_FUNCTIONS(finetune)

mio_status mio_finetune_create(mio_encoder *encoder, mio_finetune **finetune)
{
    if (!encoder || !finetune)
        return mio__fail(MIO_ERROR_ARGUMENT, "the encoder or the place for the new finetune is NULL");
    mio_context *context = mio__encoder_context(encoder);
    mio_finetune *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    made->context = mio_context_retain(context);
    made->encoder = mio_encoder_retain(encoder);
    mio_encoder_feature_dim(encoder, &made->dim);
    mio__settings_init(&made->settings, "finetune", "", parameters, PARAMETER_COUNT);
    *finetune = made;
    return MIO_OK;
}

mio_finetune *mio_finetune_retain(mio_finetune *finetune)
{
    if (finetune)
        mio__references_take(&finetune->references);
    return finetune;
}

void mio_finetune_release(mio_finetune *finetune)
{
    if (!finetune || !mio__references_drop(&finetune->references))
        return;
    mio_context *context = finetune->context;
    mio__linear_free(&finetune->head);
    mio_encoder_release(finetune->encoder);
    mio__free(context, finetune);
    mio_context_release(context);
}

/* ---- one run ---- */

typedef struct run {
    mio_finetune *finetune;
    mio_context *context;
    const mio_dataset *validation; /* NULL: none */
    mio_dataset *labelled;
    mio_loader *loader;
    mio_optimizer *optimizer;
    mio__linear head, best_head;
    size_t batch, rows; /* batch size, and rounded up to whole logits blocks */
    mio__gemm weight_gemm, feature_gemm;
    float *features, *feature_gradient; /* rows x dim */
    float *p;                           /* rows x width: gradient in the logits */
    float *weight_gradient, *bias_gradient;
    float *start_tensors, *best_tensors; /* the encoder's before the run, and after the best epoch */
    double lowest;                       /* validation loss of that; infinite before there is one */
    float *validation_features;
    int32_t *validation_labels;
} run;

static mio_status check_labels(const mio_dataset *dataset, const char *what, size_t classes)
{
    for (size_t i = 0; i < mio_dataset_count(dataset); i++) {
        const int32_t label = mio__dataset_label(dataset, i);
        if (label < 0 || (size_t)label >= classes)
            return mio__fail(MIO_ERROR_ARGUMENT, "image %zu of the %s set has the label %d; fine-tuning needs 0 .. %zu",
                             i, what, (int)label, classes ? classes - 1 : 0);
    }
    return MIO_OK;
}

static mio_status check_channels(const mio_encoder *encoder, const mio_dataset *dataset, const char *what)
{
    size_t channels;
    mio_encoder_input_shape(encoder, &channels, NULL, NULL);
    if (mio_dataset_channels(dataset) == channels)
        return MIO_OK;
    return mio__fail(MIO_ERROR_ARGUMENT, "the images of the %s set have %zu channels; the encoder takes %zu", what,
                     mio_dataset_channels(dataset), channels);
}

static mio_status check_augment(const mio_encoder *encoder, const mio_augment *augment)
{
    const mio_status status = mio__views_check(encoder, augment);
    if (status || mio__views_agree(encoder, augment))
        return status;
    return mio__fail(MIO_ERROR_ARGUMENT, "the augment's normalisation is not the encoder's; give "
                                         "mio_augment_set_normalization what mio_encoder_get_normalization says");
}

static mio_status make_loader(run *t, mio_dataset *train, mio_augment *augment)
{
    const double *values = t->finetune->settings.values;
    mio_dataset *rest = NULL;
    mio_status status = MIO_OK;
    if (values[PARAMETER_LABEL_FRACTION] < 1)
        status = mio_dataset_split(train, values[PARAMETER_LABEL_FRACTION], (uint64_t)values[PARAMETER_SEED],
                                   &t->labelled, &rest);
    else
        t->labelled = mio_dataset_retain(train);
    mio_dataset_release(rest);
    if (!status)
        status = mio_loader_create(t->labelled, augment, &t->loader);
    if (status)
        return status;
    const size_t count = mio_dataset_count(t->labelled);
    t->batch = (size_t)values[PARAMETER_BATCH_SIZE] < count ? (size_t)values[PARAMETER_BATCH_SIZE] : count;
    mio_loader_set(t->loader, "seed", values[PARAMETER_SEED]);
    mio_loader_set(t->loader, "views", 1);
    mio_loader_set(t->loader, "drop_last", 1);
    return mio_loader_set(t->loader, "batch_size", (double)t->batch);
}

static mio_status make_head(run *t, size_t classes)
{
    const size_t dim = t->finetune->dim;
    mio__random random;
    mio_status status = mio__linear_init(&t->head, t->context, dim, classes);
    if (!status && t->validation)
        status = mio__linear_init(&t->best_head, t->context, dim, classes);
    if (status)
        return status;
    mio__random_start(&random, (uint64_t)t->finetune->settings.values[PARAMETER_SEED], 0, 0, 0, MIO__PURPOSE_PROBE);
    mio__linear_randomize(&t->head, &random);
    const size_t width = t->head.width;
    t->rows = (t->batch + MIO__LINEAR_ROWS - 1) / MIO__LINEAR_ROWS * MIO__LINEAR_ROWS;
    t->weight_gemm = mio__linear_gradient_gemm(&t->head, t->rows);
    t->feature_gemm = mio__gemm_make(dim, t->rows, width, width, width, dim, 1, 0, 0);
    t->features = mio__alloc_zeroed(t->context, t->rows, dim * sizeof(float));
    t->feature_gradient = mio__alloc_zeroed(t->context, t->rows, dim * sizeof(float));
    t->p = mio__alloc_zeroed(t->context, t->rows, width * sizeof(float));
    t->weight_gradient = mio__alloc_zeroed(t->context, dim, width * sizeof(float));
    t->bias_gradient = mio__alloc_zeroed(t->context, width, sizeof(float));
    return t->features && t->feature_gradient && t->p && t->weight_gradient && t->bias_gradient ? MIO_OK
                                                                                                : MIO_ERROR_MEMORY;
}

static mio_status make_optimizer(run *t)
{
    const double *values = t->finetune->settings.values;
    mio_status status = mio_optimizer_create(t->context, "sgd", &t->optimizer);
    if (!status)
        status = mio_optimizer_set(t->optimizer, "momentum", values[PARAMETER_MOMENTUM]);
    if (!status)
        status = mio_optimizer_set(t->optimizer, "weight_decay", values[PARAMETER_WEIGHT_DECAY]);
    if (!status)
        status = mio_optimizer_add_encoder(t->optimizer, t->finetune->encoder);
    if (!status)
        status = mio_optimizer_add_array(t->optimizer, "fc.weight", 2, t->head.dim * t->head.width, t->head.weights,
                                         t->weight_gradient);
    return status ? status
                  : mio_optimizer_add_array(t->optimizer, "fc.bias", 1, t->head.width, t->head.bias, t->bias_gradient);
}

static mio_status make_validation(run *t)
{
    const size_t size = mio__snapshot_size(t->finetune->encoder, MIO__SNAPSHOT_ALL) + 1;
    t->lowest = INFINITY;
    t->start_tensors = mio__alloc_zeroed(t->context, size, sizeof(float));
    if (!t->start_tensors)
        return MIO_ERROR_MEMORY;
    mio__snapshot_take(t->finetune->encoder, MIO__SNAPSHOT_ALL, t->start_tensors);
    if (!t->validation)
        return MIO_OK;
    const size_t count = mio_dataset_count(t->validation);
    t->validation_features = mio__alloc_zeroed(t->context, count, t->finetune->dim * sizeof(float));
    t->validation_labels = mio__alloc_zeroed(t->context, count, sizeof(int32_t));
    t->best_tensors = mio__alloc_zeroed(t->context, size, sizeof(float));
    if (!t->validation_features || !t->validation_labels || !t->best_tensors)
        return MIO_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        t->validation_labels[i] = mio__dataset_label(t->validation, i);
    return MIO_OK;
}

static void free_run(run *t)
{
    mio_optimizer_release(t->optimizer);
    mio_loader_release(t->loader);
    mio_dataset_release(t->labelled);
    mio__linear_free(&t->head);
    mio__linear_free(&t->best_head);
    void *const arrays[] = {t->features,        t->feature_gradient,    t->p,
                            t->weight_gradient, t->bias_gradient,       t->start_tensors,
                            t->best_tensors,    t->validation_features, t->validation_labels};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        mio__free(t->context, arrays[i]);
}

static mio_status step(run *t)
{
    mio_batch batch = {.struct_size = sizeof batch};
    mio_encoder *encoder = t->finetune->encoder;
    const float *const p = t->p, *const weights = t->head.weights;
    mio_status status = mio_loader_next(t->loader, &batch);
    if (!status)
        status = mio_encoder_forward(encoder, 1, batch.count, batch.images, t->features, NULL);
    if (status)
        return status;
    mio__linear_gradients(&t->head, &t->weight_gemm, batch.count, t->rows, t->features, batch.labels, t->p,
                          t->weight_gradient, t->bias_gradient);
    mio__gemm_run(&t->feature_gemm, &weights, &p, t->feature_gradient, 1);
    status = mio_encoder_backward(encoder, NULL, t->feature_gradient);
    if (status)
        return status;
    status = mio_optimizer_step(t->optimizer);
    return status == MIO_ERROR_ARGUMENT ? MIO_ERROR_STATE : status; /* a gradient that is not finite: see diverged */
}

static mio_status validate(run *t)
{
    static const mio__scaling none = {NULL, NULL};
    double loss;
    mio_status status = mio_evaluate_embed(t->finetune->encoder, t->validation, t->validation_features);
    if (!status)
        status = mio__linear_apply(&t->head, &none, mio_dataset_count(t->validation), t->validation_features,
                                   t->validation_labels, NULL, NULL, &loss);
    if (!status && !isfinite(loss))
        return MIO_ERROR_STATE;
    if (status || loss >= t->lowest)
        return status;
    t->lowest = loss;
    mio__linear_copy(&t->best_head, &t->head);
    mio__snapshot_take(t->finetune->encoder, MIO__SNAPSHOT_ALL, t->best_tensors);
    return MIO_OK;
}

static int is_finite(const run *t)
{
    const mio__tensor *tensors;
    const size_t count = mio__encoder_tensors(t->finetune->encoder, &tensors);
    for (size_t i = 0; i < count; i++)
        if (mio__first_not_finite(tensors[i].stored, tensors[i].value) < tensors[i].stored)
            return 0;
    return mio__linear_is_finite(&t->head);
}

/* Something was no longer finite: the best epoch before that is the result, if there is one. */
static mio_status diverged(const run *t, uint64_t epoch)
{
    if (t->lowest == INFINITY)
        return mio__fail(MIO_ERROR_STATE, "fine-tuning grew beyond all bounds in epoch %llu; lower 'learning_rate'",
                         (unsigned long long)epoch);
    mio__log(t->context, MIO_LOG_WARNING,
             "fine-tuning grew beyond all bounds in epoch %llu; the best epoch before is kept",
             (unsigned long long)epoch);
    return MIO_OK;
}

static mio_status run_epochs(run *t)
{
    const double *values = t->finetune->settings.values;
    const uint64_t epochs = (uint64_t)values[PARAMETER_EPOCHS];
    double rate = values[PARAMETER_LEARNING_RATE];
    uint64_t steps, epoch = 0;
    mio_status status = mio_loader_steps_per_epoch(t->loader, &steps);
    for (; !status && epoch < epochs; epoch++) {
        status = mio_optimizer_set(t->optimizer, "learning_rate", rate);
        for (uint64_t s = 0; !status && s < steps; s++)
            status = step(t);
        if (!status && t->validation)
            status = validate(t);
        rate *= values[PARAMETER_DECAY];
    }
    if (!status && !t->validation && !is_finite(t))
        status = MIO_ERROR_STATE;
    return status == MIO_ERROR_STATE ? diverged(t, epoch) : status;
}

/* What the run comes to: the best or the last epoch, or, after a failure, what was there before. */
static void settle(run *t, mio_status status)
{
    mio_finetune *finetune = t->finetune;
    if (status) {
        mio__snapshot_return(finetune->encoder, MIO__SNAPSHOT_ALL, t->start_tensors);
        return;
    }
    if (t->validation) {
        mio__linear_copy(&t->head, &t->best_head);
        mio__snapshot_return(finetune->encoder, MIO__SNAPSHOT_ALL, t->best_tensors);
    }
    mio__linear_free(&finetune->head);
    finetune->head = t->head;
    t->head = (mio__linear){0};
}

mio_status mio_finetune_run(mio_finetune *finetune, mio_dataset *train, mio_dataset *validation, mio_augment *augment)
{
    if (!finetune)
        return mio__settings_null("finetune");
    if (!train || !augment)
        return mio__fail(MIO_ERROR_ARGUMENT, "fine-tuning needs a training set and an augment; one of them is NULL");
    const size_t classes = mio_dataset_class_count(train);
    mio_status status = check_labels(train, "training", classes);
    if (!status && validation)
        status = check_labels(validation, "validation", classes);
    if (!status)
        status = check_channels(finetune->encoder, train, "training");
    if (!status && validation)
        status = check_channels(finetune->encoder, validation, "validation");
    if (!status)
        status = check_augment(finetune->encoder, augment);
    if (status)
        return status;
    run t = {.finetune = finetune, .context = finetune->context, .validation = validation};
    status = make_loader(&t, train, augment);
    if (!status)
        status = make_head(&t, classes);
    if (!status)
        status = make_optimizer(&t);
    if (!status)
        status = make_validation(&t);
    if (!status) {
        status = run_epochs(&t);
        settle(&t, status);
    }
    free_run(&t);
    return status;
}

mio_status mio_finetune_predict(mio_finetune *finetune, const mio_dataset *dataset, int32_t *predictions)
{
    static const mio__scaling none = {NULL, NULL};
    if (!finetune)
        return mio__settings_null("finetune");
    if (!dataset || !predictions)
        return mio__fail(MIO_ERROR_ARGUMENT, "the dataset or the place for the predictions is NULL");
    if (!finetune->head.dim)
        return mio__fail(MIO_ERROR_STATE, "there is no classifier yet; call mio_finetune_run first");
    const size_t count = mio_dataset_count(dataset);
    float *features = mio__alloc_zeroed(finetune->context, count, finetune->dim * sizeof(float));
    if (!features)
        return MIO_ERROR_MEMORY;
    mio_status status = mio_evaluate_embed(finetune->encoder, dataset, features);
    if (!status)
        status = mio__linear_apply(&finetune->head, &none, count, features, NULL, predictions, NULL, NULL);
    mio__free(finetune->context, features);
    return status;
}
