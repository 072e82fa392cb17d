/* The Hessian of a training loss by an encoder's weights: central differences of back-propagated gradients. */
#include <mio/analysis.h>

#include "analysis/differences.h"
#include "analysis/lanczos.h"
#include "nn/encoder.h"

#include <math.h>

typedef struct passes {
    mio_context *context;
    mio_encoder *encoder;
    mio_loss *loss;
    size_t pairs, dim, tensors, weights; /* weights: numbers that are trained */
    const float *images;
    double step;
    mio_tensor_info *info; /* of every tensor */
    float *saved;          /* all tensors as they were */
    float *values;         /* one tensor */
    float *rows;           /* 2 x pairs x dim: projections, then their gradients */
    double *wide, *slopes; /* the same in double */
    double *point, *space; /* the weights as they were; room for as much twice */
    int is_saved;
} passes;

static mio_status count_weights(const mio_encoder *encoder, size_t *all, size_t *trained, size_t *largest)
{
    *all = *trained = *largest = 0;
    for (size_t i = 0; i < mio_encoder_tensor_count(encoder); i++) {
        mio_tensor_info info = {.struct_size = sizeof info};
        const mio_status status = mio_encoder_tensor(encoder, i, &info);
        if (status)
            return status;
        *all += info.count;
        *trained += info.trainable ? info.count : 0;
        *largest = info.count > *largest ? info.count : *largest;
    }
    return MIO_OK;
}

mio_status mio_analysis_encoder_weights(const mio_encoder *encoder, size_t *count)
{
    size_t all, trained, largest;
    if (!encoder)
        return mio__settings_null("encoder");
    if (!count)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the number of weights is NULL");
    const mio_status status = count_weights(encoder, &all, &trained, &largest);
    if (!status)
        *count = trained;
    return status;
}

/* ---- life ---- */

static mio_status check(const mio_encoder *encoder, const mio_loss *loss, size_t pairs, const float *images,
                        double step)
{
    size_t dim = 0;
    if (!encoder)
        return mio__settings_null("encoder");
    mio_status status = mio__analysis_check_function(loss);
    if (!status)
        status = mio_encoder_projection_dim(encoder, &dim);
    if (!status && !dim)
        status = mio__fail(MIO_ERROR_ARGUMENT, "the encoder has no projections for a loss to see");
    if (!status && !images)
        status = mio__fail(MIO_ERROR_ARGUMENT, "the images are NULL");
    if (!status && !(step >= 0 && isfinite(step)))
        status = mio__fail(MIO_ERROR_ARGUMENT, "the step is %g; it must be finite and at least 0", step);
    if (!status && (!pairs || pairs > SIZE_MAX / 64 / dim))
        status = mio__fail(MIO_ERROR_ARGUMENT, "%zu pairs are too %s", pairs, pairs ? "many" : "few");
    return status;
}

static mio_status allocate(passes *p)
{
    size_t all, largest;
    p->tensors = mio_encoder_tensor_count(p->encoder);
    const mio_status status = count_weights(p->encoder, &all, &p->weights, &largest);
    if (status)
        return status;
    const size_t rows = 2 * p->pairs * p->dim;
    return (p->info = mio__alloc_zeroed(p->context, p->tensors, sizeof *p->info)) &&
                   (p->saved = mio__alloc_zeroed(p->context, all, sizeof *p->saved)) &&
                   (p->values = mio__alloc_zeroed(p->context, largest, sizeof *p->values)) &&
                   (p->rows = mio__alloc_zeroed(p->context, rows, sizeof *p->rows)) &&
                   (p->wide = mio__alloc_zeroed(p->context, rows, sizeof *p->wide)) &&
                   (p->slopes = mio__alloc_zeroed(p->context, rows, sizeof *p->slopes)) &&
                   (p->point = mio__alloc_zeroed(p->context, p->weights, sizeof *p->point)) &&
                   (p->space = mio__alloc_zeroed(p->context, 2 * p->weights, sizeof *p->space))
               ? MIO_OK
               : MIO_ERROR_MEMORY;
}

/* Sets every tensor to what was saved. */
static mio_status put_back(const passes *p)
{
    const float *from = p->saved;
    mio_status first = MIO_OK;
    for (size_t i = 0; i < p->tensors; from += p->info[i].count, i++) {
        const mio_status status = mio_encoder_set_tensor(p->encoder, p->info[i].name, p->info[i].count, from);
        first = first ? first : status;
    }
    return first;
}

/* Copies all tensors out, and in again: whatever would not go in later is refused now. */
static mio_status save(passes *p)
{
    float *to = p->saved;
    double *weight = p->point;
    for (size_t i = 0; i < p->tensors; i++) {
        p->info[i].struct_size = sizeof p->info[i];
        mio_status status = mio_encoder_tensor(p->encoder, i, &p->info[i]);
        if (!status)
            status = mio_encoder_get_tensor(p->encoder, p->info[i].name, p->info[i].count, to);
        if (status)
            return status;
        for (size_t k = 0; p->info[i].trainable && k < p->info[i].count; k++)
            *weight++ = to[k];
        to += p->info[i].count;
    }
    p->is_saved = 1;
    return put_back(p);
}

static mio_status begin(passes *p, mio_encoder *encoder, mio_loss *loss, size_t pairs, const float *images, double step)
{
    mio_status status = check(encoder, loss, pairs, images, step);
    if (status)
        return status;
    *p = (passes){.context = mio__encoder_context(encoder), .encoder = encoder, .loss = loss, .pairs = pairs};
    p->images = images;
    p->step = step > 0 ? step : MIO_ANALYSIS_STEP;
    status = mio_encoder_projection_dim(encoder, &p->dim);
    if (!status)
        status = allocate(p);
    return status ? status : save(p);
}

/* Puts the encoder back and frees everything; a failure before that stays. */
static mio_status end(passes *p, mio_status status)
{
    const mio_status restored = p->is_saved ? put_back(p) : MIO_OK;
    if (!p->context)
        return status;
    void *const pieces[] = {p->info, p->saved, p->values, p->rows, p->wide, p->slopes, p->point, p->space};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        mio__free(p->context, pieces[i]);
    return status ? status : restored;
}

/* ---- the gradient at given weights ---- */

static mio_status set_weights(const passes *p, const double *x)
{
    mio_status status = MIO_OK;
    for (size_t i = 0; !status && i < p->tensors; i++) {
        if (!p->info[i].trainable)
            continue;
        for (size_t k = 0; k < p->info[i].count; k++)
            p->values[k] = (float)*x++;
        status = mio_encoder_set_tensor(p->encoder, p->info[i].name, p->info[i].count, p->values);
    }
    return status;
}

static mio_status get_gradients(const passes *p, double *gradient)
{
    mio_status status = MIO_OK;
    for (size_t i = 0; !status && i < p->tensors; i++) {
        if (!p->info[i].trainable)
            continue;
        status = mio_encoder_get_gradient(p->encoder, p->info[i].name, p->info[i].count, p->values);
        for (size_t k = 0; !status && k < p->info[i].count; k++)
            *gradient++ = p->values[k];
    }
    return status;
}

/* The loss in double, between passes in float. */
static mio_status gradient_at(void *argument, const double *x, double *gradient)
{
    const passes *p = argument;
    const size_t half = p->pairs * p->dim;
    const mio__batch batch = {
        p->pairs, p->dim, sizeof(double), {p->wide, p->wide + half}, {p->slopes, p->slopes + half}};
    mio_status status = set_weights(p, x);
    if (!status)
        status = mio_encoder_forward(p->encoder, 2, p->pairs, p->images, NULL, p->rows);
    for (size_t i = 0; i < 2 * half; i++)
        p->wide[i] = p->rows[i];
    if (!status)
        status = mio__loss_compute(p->loss, &batch, NULL);
    for (size_t i = 0; i < 2 * half; i++)
        p->rows[i] = (float)p->slopes[i];
    if (!status)
        status = mio_encoder_backward(p->encoder, p->rows, NULL);
    return status ? status : get_gradients(p, gradient);
}

static mio_status apply(void *argument, const double *direction, double *product)
{
    passes *p = argument;
    const mio__gradient gradient = {p->weights, gradient_at, p};
    const double h = p->step * mio__reach(p->weights, p->point, direction);
    return mio__difference(&gradient, p->point, h, direction, p->space, product);
}

mio_status mio_analysis_encoder_hessian_product(mio_encoder *encoder, mio_loss *loss, size_t pairs, const float *images,
                                                double step, const double *direction, double *product)
{
    passes p = {NULL};
    mio_status status = begin(&p, encoder, loss, pairs, images, step);
    if (!status)
        status = mio__analysis_check_direction(p.weights, direction, product);
    if (!status)
        status = apply(&p, direction, product);
    return end(&p, status);
}

mio_status mio_analysis_encoder_hessian_spectrum(mio_encoder *encoder, mio_loss *loss, size_t pairs,
                                                 const float *images, double step, size_t steps, uint64_t probe,
                                                 double *eigenvalues, double *weights, size_t *count)
{
    passes p = {NULL};
    mio_status status = mio__analysis_check_spectrum(eigenvalues, weights, count);
    if (!status)
        status = begin(&p, encoder, loss, pairs, images, step);
    if (!status) {
        const mio__operator operator= {p.weights, apply, &p};
        status = mio__lanczos(p.context, &operator, steps, probe, eigenvalues, weights, count);
    }
    return end(&p, status);
}
