#include "loss/loss.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* In alphabetical order. */
static const mio__loss_kind *const kinds[] = {
    &mio__loss_barlow_twins, &mio__loss_byol,      &mio__loss_cam,           &mio__loss_dcl,    &mio__loss_dclw,
    &mio__loss_hcl,          &mio__loss_mio,       &mio__loss_mio_decoupled, &mio__loss_moco,   &mio__loss_nnclr,
    &mio__loss_nt_xent,      &mio__loss_prototype, &mio__loss_schane,        &mio__loss_siglip, &mio__loss_simsiam,
    &mio__loss_sogclr,       &mio__loss_supcon,    &mio__loss_vicreg,
};
enum { KIND_COUNT = sizeof kinds / sizeof *kinds };

/* ---- life ---- */

const char *mio_loss_name_at(size_t index)
{
    return index < KIND_COUNT ? kinds[index]->name : NULL;
}

static const mio__loss_kind *find_kind(const char *name)
{
    const size_t place = mio__find_name("loss", name, mio_loss_name_at);
    return place == MIO__NO_NAME ? NULL : kinds[place];
}

static mio_status make(mio_context *context, const mio__loss_kind *kind, const char *own_name, mio_loss **loss)
{
    mio_loss *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    made->context = mio_context_retain(context);
    made->pairs.context = context;
    made->pairs.keep_gradient = (kind->flags & MIO__LOSS_KEEP) != 0;
    made->pairs.storage = kind->storage;
    made->kind = kind;
    if (own_name && !(made->own_name = mio__copy_text(context, own_name))) {
        mio_loss_release(made);
        return MIO_ERROR_MEMORY;
    }
    mio__settings_init(&made->settings, "loss", mio_loss_name(made), kind->parameters, kind->parameter_count);
    const mio_status status = mio__loss_make_tensors(made, 0);
    if (status)
        mio_loss_release(made);
    else
        *loss = made;
    return status;
}

mio_status mio_loss_create(mio_context *context, const char *name, mio_loss **loss)
{
    if (!context)
        return mio__settings_null("context");
    if (!loss)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the new loss is NULL");
    const mio__loss_kind *kind = find_kind(name);
    if (!kind)
        return MIO_ERROR_ARGUMENT;
    return make(context, kind, NULL, loss);
}

mio_status mio_loss_create_custom(mio_context *context, const char *name, const mio_loss_callback *callback,
                                  mio_loss **loss)
{
    if (!context)
        return mio__settings_null("context");
    if (!name || !callback || !loss)
        return mio__fail(MIO_ERROR_ARGUMENT,
                         "a loss of the caller's needs a name, a callback and a place for itself; one "
                         "of them is NULL");
    mio_loss_callback given;
    mio_loss *made = NULL;
    mio_status status = mio__struct_take(&given, sizeof given, callback, MIO__UP_TO(mio_loss_callback, compute_f64),
                                         "mio_loss_callback");
    if (!status && !given.compute)
        status = mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': the callback's compute is not set", name);
    if (!status && (!name[0] || strlen(name) > MIO__LOSS_NAME_LIMIT))
        status = mio__fail(MIO_ERROR_ARGUMENT, "the loss's name has %zu bytes; it may have 1 to %d", strlen(name),
                           MIO__LOSS_NAME_LIMIT);
    if (!status)
        status = make(context, &mio__loss_custom, name, &made);
    if (status)
        return status;
    made->callback = given;
    *loss = made;
    return MIO_OK;
}

mio_loss *mio_loss_retain(mio_loss *loss)
{
    if (loss)
        mio__references_take(&loss->references);
    return loss;
}

void mio_loss_release(mio_loss *loss)
{
    if (!loss || !mio__references_drop(&loss->references))
        return;
    mio_context *context = loss->context;
    mio__pairs_free(&loss->pairs);
    mio__loss_free_given(loss);
    mio__loss_free_tensors(loss);
    mio__queue_free(loss);
    mio__free(context, loss->log_moving);
    mio__free(context, loss->extra);
    mio__free(context, loss->own_name);
    mio__free(context, loss);
    mio_context_release(context);
}

const char *mio_loss_name(const mio_loss *loss)
{
    return !loss ? NULL : loss->own_name ? loss->own_name : loss->kind->name;
}

/* ---- computing ---- */

static mio_status check_shape(const mio_loss *loss, size_t pairs, size_t dim)
{
    const size_t least = loss->kind->flags & MIO__LOSS_ONE_PAIR ? 1 : 2;
    if (pairs < least)
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s' needs at least %zu pair%s, not %zu", mio_loss_name(loss), least,
                         least == 1 ? "" : "s", pairs);
    if (!dim)
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': dim is 0; rows need at least one value", mio_loss_name(loss));
    return MIO_OK;
}

/* Bytes of the kind's further work space. Errors: MIO_ERROR_ARGUMENT (beyond the address space). */
static mio_status extra_bytes(const mio_loss *loss, const mio__pair_plan *plan, size_t *bytes)
{
    *bytes = 0;
    if (!loss->kind->extra)
        return MIO_OK;
    *bytes = loss->kind->extra(loss, plan);
    return *bytes ? MIO_OK
                  : mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': %zu pairs of %zu values are beyond the address space",
                              mio_loss_name(loss), plan->pairs, plan->dim);
}

double mio__loss_temperature(const mio_loss *loss, const char *name)
{
    const char *const names[] = {name, "temperature"};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < loss->kind->parameter_count; k++)
            if (!strcmp(loss->kind->parameters[k].name, names[i]))
                return loss->settings.values[k];
    return 0.5;
}

int mio__loss_needs_double(const mio_loss *loss)
{
    return loss->kind->needs_double && loss->kind->needs_double(loss->settings.values);
}

static mio_status prepare(mio_loss *loss, const mio__batch *batch, int wide)
{
    mio__pair_plan plan;
    size_t bytes = 0;
    mio_status status =
        mio__pair_plan_make(loss->context, batch->pairs, batch->dim, batch->element, wide, loss->pairs.storage, &plan);
    if (!status)
        status = extra_bytes(loss, &plan, &bytes);
    if (!status && bytes)
        status = mio__reserve(loss->context, &loss->extra, &loss->extra_capacity, bytes);
    return status ? status : mio__loss_check_given(loss, batch->pairs, batch->dim);
}

/* Takes the batch in. What depends on its width and stays is made last: a batch that is refused fixes none. */
static mio_status begin(mio_loss *loss, const mio__batch *batch, int wide)
{
    mio_status status = prepare(loss, batch, wide);
    if (!status)
        status = mio__pairs_begin(&loss->pairs, batch, wide);
    if (!status)
        status = mio__loss_make_tensors(loss, batch->dim);
    if (!status && loss->kind->flags & MIO__LOSS_QUEUE)
        status = mio__queue_prepare(loss, batch->dim, batch->element);
    return status;
}

mio_status mio__loss_compute(mio_loss *loss, const mio__batch *batch, double *value)
{
    if (!loss)
        return mio__settings_null("loss");
    if (!batch->z[0] || !batch->z[1])
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': %s is NULL", mio_loss_name(loss), batch->z[0] ? "z2" : "z1");
    const double *p = loss->settings.values;
    double result = 0;
    loss->advances = 0;
    mio__loss_read_tensors(loss);
    mio_status status = check_shape(loss, batch->pairs, batch->dim);
    if (!status)
        status = begin(loss, batch, mio__loss_needs_double(loss));
    if (!status && loss->kind->run)
        status = loss->kind->run(loss, &result);
    else if (!status)
        result = loss->kind->compute(&loss->pairs, p);
    if (status)
        return status;
    mio__loss_write_gradients(loss);
    if (value)
        *value = result;
    loss->computed = 1;
    loss->advances = batch->gradient[0] || batch->gradient[1];
    loss->zero_rows = loss->pairs.zero_rows;
    loss->mean_positive = loss->pairs.mean_positive;
    loss->mean_negative = loss->pairs.mean_negative;
    return MIO_OK;
}

void mio__loss_advance(mio_loss *loss)
{
    if (loss->advances && loss->kind->advance)
        loss->kind->advance(loss);
    loss->advances = 0;
}

static mio_status compute(mio_loss *loss, const mio__batch *batch, double *value)
{
    const mio_status status = mio__loss_compute(loss, batch, value);
    if (!status)
        mio__loss_advance(loss);
    return status;
}

void mio__loss_clear_gradient(const mio_loss *loss, size_t view)
{
    const mio__batch *batch = &loss->pairs.batch;
    if (batch->gradient[view])
        memset(batch->gradient[view], 0, batch->pairs * batch->dim * batch->element);
}

mio_status mio_loss_compute(mio_loss *loss, size_t pairs, size_t dim, const float *z1, const float *z2, double *value,
                            float *grad_z1, float *grad_z2)
{
    return compute(loss, &(mio__batch){pairs, dim, sizeof(float), {z1, z2}, {grad_z1, grad_z2}}, value);
}

mio_status mio_loss_compute_f64(mio_loss *loss, size_t pairs, size_t dim, const double *z1, const double *z2,
                                double *value, double *grad_z1, double *grad_z2)
{
    return compute(loss, &(mio__batch){pairs, dim, sizeof(double), {z1, z2}, {grad_z1, grad_z2}}, value);
}

/* ---- questions ---- */

mio_status mio__loss_check_computed(const mio_loss *loss)
{
    if (!loss)
        return mio__settings_null("loss");
    return loss->computed
               ? MIO_OK
               : mio__fail(MIO_ERROR_STATE, "loss '%s' has computed no batch yet; call mio_loss_compute first",
                           mio_loss_name(loss));
}

mio_status mio_loss_zero_rows(const mio_loss *loss, size_t *rows)
{
    const mio_status status = mio__loss_check_computed(loss);
    if (status)
        return status;
    if (!rows)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the number of zero rows is NULL");
    *rows = loss->zero_rows;
    return MIO_OK;
}

mio_status mio_loss_workspace_bytes(const mio_loss *loss, size_t pairs, size_t dim, size_t element_size, size_t *bytes)
{
    if (!loss)
        return mio__settings_null("loss");
    if (element_size != sizeof(float) && element_size != sizeof(double))
        return mio__fail(MIO_ERROR_ARGUMENT, "element_size is %zu; it must be 4 (float) or 8 (double)", element_size);
    if (!bytes)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the bytes of work space is NULL");
    mio_status status = check_shape(loss, pairs, dim);
    mio__pair_plan plan;
    if (!status)
        status = mio__pair_plan_make(loss->context, pairs, dim, element_size, mio__loss_needs_double(loss),
                                     loss->pairs.storage, &plan);
    size_t extra = 0;
    if (!status)
        status = extra_bytes(loss, &plan, &extra);
    if (!status)
        *bytes = plan.size + extra;
    return status;
}

mio_status mio__loss_similarities(const mio_loss *loss, double *positive, double *negative)
{
    const mio_status status = mio__loss_check_computed(loss);
    if (!status) {
        *positive = loss->mean_positive;
        *negative = loss->mean_negative;
    }
    return status;
}

/* ---- scalar mathematics that the losses share ---- */

double mio__rate(double temperature)
{
    return temperature < 1 / DBL_MAX ? DBL_MAX : 1 / temperature;
}

double mio__log_add(double a, double b)
{
    const double most = a > b ? a : b, least = a > b ? b : a;
    return most == -INFINITY ? most : most + log1p(exp(least - most));
}

double mio__softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

double mio__sigmoid(double x)
{
    const double e = exp(-fabs(x));
    return (x > 0 ? 1 : e) / (1 + e);
}
