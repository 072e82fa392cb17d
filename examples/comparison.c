#include "comparison.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- parts as the recipe has them ---- */

/* Passes the recipe's parameters of a part on, each to set(object, name, value). */
static void copy_parameters(const mio_recipe *recipe, const char *prefix, void *object,
                            mio_status (*set)(void *, const char *, double))
{
    const size_t length = strlen(prefix);
    for (size_t i = 0; i < mio_recipe_parameter_count(recipe); i++) {
        mio_parameter_info info = {.struct_size = sizeof info};
        double present;
        check(mio_recipe_parameter(recipe, i, &info));
        if (strncmp(info.name, prefix, length))
            continue;
        check(mio_recipe_get(recipe, info.name, &present));
        check(set(object, info.name + length, present));
    }
}

static mio_status set_augment(void *object, const char *name, double number)
{
    return mio_augment_set(object, name, number);
}

static mio_status set_loss(void *object, const char *name, double number)
{
    return mio_loss_set(object, name, number);
}

/* The recipe's views. It shows parameters that depend on the views' size as of at most 32 pixels, so larger views are
   measured without blur and solarisation unless they were set. */
static mio_augment *augment_of(mio_context *context, const mio_recipe *recipe, const mio_encoder *encoder)
{
    size_t channels, height, width;
    mio_augment *augment;
    check(mio_encoder_input_shape(encoder, &channels, &height, &width));
    double *mean = allocate(2 * channels, sizeof *mean);
    check(mio_augment_create(context, "none", height, width, channels, &augment));
    copy_parameters(recipe, "augment.", augment, set_augment);
    check(mio_encoder_get_normalization(encoder, channels, mean, mean + channels));
    check(mio_augment_set_normalization(augment, channels, mean, mean + channels));
    free(mean);
    return augment;
}

static void *copy_of(const void *from, size_t count, size_t size)
{
    return memcpy(allocate(count, size), from, count * size);
}

comparison_batch comparison_batch_of(mio_context *context, const mio_recipe *recipe, mio_dataset *dataset, size_t count,
                                     const mio_encoder *encoder)
{
    comparison_batch batch = {.context = context, .count = count};
    size_t channels, height, width;
    mio_loader *loader;
    mio_batch views = {.struct_size = sizeof views};
    mio_augment *augment = augment_of(context, recipe, encoder);
    check(mio_encoder_input_shape(encoder, &channels, &height, &width));
    check(mio_encoder_projection_dim(encoder, &batch.dim));
    check(mio_loader_create(dataset, augment, &loader));
    check(mio_loader_set(loader, "batch_size", (double)count));
    check(mio_loader_set(loader, "prefetch", 0));
    check(mio_loader_next(loader, &views));
    batch.images = copy_of(views.images, 2 * count, channels * height * width * sizeof(float));
    batch.labels = copy_of(views.labels, count, sizeof *batch.labels);
    batch.indices = copy_of(views.indices, count, sizeof *batch.indices);
    batch.z = allocate(2 * count, batch.dim * sizeof *batch.z);
    mio_loader_release(loader);
    mio_augment_release(augment);
    return batch;
}

void comparison_batch_free(comparison_batch *batch)
{
    free(batch->images);
    free(batch->labels);
    free(batch->indices);
    free(batch->z);
}

mio_loss *comparison_loss(const comparison_batch *batch, const mio_recipe *recipe, const char *name)
{
    mio_loss *loss;
    double labels;
    check(mio_loss_create(batch->context, name, &loss));
    copy_parameters(recipe, "loss.", loss, set_loss);
    check(mio_recipe_get(recipe, "trainer.labels", &labels));
    check(mio_loss_set_batch(loss, batch->count, labels != 0 ? batch->labels : NULL, batch->indices));
    return loss;
}

/* ---- the state of an encoder ---- */

/* Copies every running statistic out or in; returns how many numbers they are. */
static size_t pass_statistics(mio_encoder *encoder, float *values, bool in)
{
    size_t used = 0;
    for (size_t i = 0; i < mio_encoder_tensor_count(encoder); i++) {
        mio_tensor_info info = {.struct_size = sizeof info};
        check(mio_encoder_tensor(encoder, i, &info));
        if (info.trainable)
            continue;
        if (values && in)
            check(mio_encoder_set_tensor(encoder, info.name, info.count, values + used));
        else if (values)
            check(mio_encoder_get_tensor(encoder, info.name, info.count, values + used));
        used += info.count;
    }
    return used;
}

static double squared_distance(size_t dim, const double *a, const double *b)
{
    double sum = 0;
    for (size_t k = 0; k < dim; k++)
        sum += (a[k] - b[k]) * (a[k] - b[k]);
    return sum;
}

/* Mean squared distance of positive pairs; log mean exp(-2 squared distance) within view 1; both of unit vectors. */
static void spread_of(const comparison_batch *batch, comparison_point *point)
{
    const size_t count = batch->count, dim = batch->dim;
    double *unit = allocate(2 * count, dim * sizeof *unit), *origin = allocate(dim, sizeof *origin), potential = 0;
    for (size_t i = 0; i < 2 * count * dim; i++)
        unit[i] = batch->z[i] / sqrt(squared_distance(dim, batch->z + i / dim * dim, origin));
    for (size_t i = 0; i < count; i++) {
        point->alignment += squared_distance(dim, unit + i * dim, unit + (count + i) * dim) / (double)count;
        for (size_t j = 0; j < i; j++)
            potential += exp(-2 * squared_distance(dim, unit + i * dim, unit + j * dim));
    }
    point->uniformity = log(2 * potential / (double)count / (double)(count - 1));
    free(origin);
    free(unit);
}

comparison_point comparison_look(comparison_batch *batch, mio_encoder *encoder, double step)
{
    const size_t half = batch->count * batch->dim;
    comparison_point point = {.step = step};
    mio_mutual_information information = {.struct_size = sizeof information};
    float *saved = allocate(pass_statistics(encoder, NULL, false), sizeof *saved);
    float *projections = allocate(2 * half, sizeof *projections);
    pass_statistics(encoder, saved, false);
    check(mio_encoder_forward(encoder, 2, batch->count, batch->images, NULL, projections));
    pass_statistics(encoder, saved, true);
    for (size_t i = 0; i < 2 * half; i++)
        batch->z[i] = projections[i];
    check(mio_analysis_mutual_information_at(batch->context, 0.5, 0.5, batch->count, batch->dim, batch->z,
                                             batch->z + half, &information));
    point.positive_pairs = information.positive_pairs;
    point.negative_pairs = information.negative_pairs;
    point.info_nce = information.info_nce;
    spread_of(batch, &point);
    free(projections);
    free(saved);
    return point;
}

/* ---- spectra ---- */

void comparison_spectra(const comparison_batch *batch, mio_encoder *encoder, mio_loss *loss, size_t steps,
                        comparison_spectrum *by_rows, comparison_spectrum *by_weights)
{
    enum { PROBES = 4, STEPS = COMPARISON_ATOMS / PROBES };
    by_rows->count = by_weights->count = 0;
    for (uint64_t probe = 0; probe < PROBES; probe++) {
        double *values = by_rows->values + by_rows->count, *shares = by_rows->shares + by_rows->count;
        size_t found;
        const mio_status status =
            mio_analysis_hessian_spectrum(loss, batch->count, batch->dim, batch->z,
                                          batch->z + batch->count * batch->dim, STEPS, probe, values, shares, &found);
        if (status == MIO_ERROR_UNSUPPORTED)
            return;
        check(status);
        for (size_t i = 0; i < found; i++)
            shares[i] /= PROBES;
        by_rows->count += found;
    }
    if (steps)
        check(mio_analysis_encoder_hessian_spectrum(encoder, loss, batch->count, batch->images, 0, steps, 0,
                                                    by_weights->values, by_weights->shares, &by_weights->count));
}

/* ---- JSON lines ---- */

static void write_array(FILE *file, const char *name, size_t count, const double *numbers)
{
    fprintf(file, ", \"%s\": [", name);
    for (size_t i = 0; i < count; i++)
        fprintf(file, "%s%.17g", i ? ", " : "", numbers[i]);
    fputs("]", file);
}

static void write_spectrum(FILE *file, const char *loss, const char *by, const char *when, const comparison_spectrum *s)
{
    if (!s->count)
        return;
    fprintf(file, "{\"loss\": \"%s\", \"hessian\": \"%s\", \"when\": \"%s\"", loss, by, when);
    write_array(file, "eigenvalues", s->count, s->values);
    write_array(file, "shares", s->count, s->shares);
    fputs("}\n", file);
}

static void write_numbers(FILE *file, const char *loss, size_t count, const char *const *names, const double *numbers)
{
    fprintf(file, "{\"loss\": \"%s\"", loss);
    for (size_t i = 0; i < count; i++) {
        fputs(", ", file);
        json_number(file, names[i], numbers[i]);
    }
    fputs("}\n", file);
}

void comparison_write_json(const char *path, size_t count, const comparison *losses)
{
    static const char *const accuracies[] = {"knn", "linear"};
    static const char *const moments[] = {"step",     "positive_pairs", "negative_pairs",
                                          "info_nce", "alignment",      "uniformity"};
    static const char *const when[] = {"start", "end"};
    FILE *file = fopen(path, "w");
    if (!file)
        leave(EXIT_FAILED, "cannot write '%s'", path);
    for (const comparison *c = losses; c < losses + count; c++) {
        for (size_t i = 0; i < c->point_count; i++) {
            const comparison_point *p = &c->points[i];
            write_numbers(file, c->loss, 6, moments,
                          (const double[]){p->step, p->positive_pairs, p->negative_pairs, p->info_nce, p->alignment,
                                           p->uniformity});
        }
        write_numbers(file, c->loss, 2, accuracies, (const double[]){c->knn, c->linear});
        for (size_t i = 0; i < 2; i++) {
            write_spectrum(file, c->loss, "rows", when[i], &c->by_rows[i]);
            write_spectrum(file, c->loss, "weights", when[i], &c->by_weights[i]);
        }
    }
    close_written(file, path);
}
