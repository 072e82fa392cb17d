#include "loss/loss.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* In alphabetical order. */
static const mio__loss_kind *const kinds[] = {
    &mio__loss_dcl,           &mio__loss_dclw,    &mio__loss_hcl,    &mio__loss_mio,
    &mio__loss_mio_decoupled, &mio__loss_nt_xent, &mio__loss_supcon,
};
enum { KIND_COUNT = sizeof kinds / sizeof *kinds };

struct mio_loss {
    mio__references references;
    mio_context *context;
    mio__settings settings;
    const mio__loss_kind *kind;
    mio__pairs pairs;
    int computed;
    size_t zero_rows;
    double mean_positive, mean_negative;
};

MIO__DEFINE_SETTINGS_FUNCTIONS(loss)

/* ---- life ---- */

const char *mio_loss_name_at(size_t index)
{
    return index < KIND_COUNT ? kinds[index]->name : NULL;
}

static const mio__loss_kind *find_kind(const char *name)
{
    for (size_t i = 0; name && i < KIND_COUNT; i++)
        if (!strcmp(name, kinds[i]->name))
            return kinds[i];
    char known[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < KIND_COUNT && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", kinds[i]->name);
    mio__fail(MIO_ERROR_ARGUMENT, "there is no loss '%s'; there are %s", name ? name : "NULL", known);
    return NULL;
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
    mio_loss *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    made->context = mio_context_retain(context);
    made->pairs.context = context;
    made->kind = kind;
    mio__settings_init(&made->settings, "loss", kind->name, kind->parameters, kind->parameter_count);
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
    mio__free(context, loss);
    mio_context_release(context);
}

const char *mio_loss_name(const mio_loss *loss)
{
    return loss ? loss->kind->name : NULL;
}

/* ---- computing ---- */

static mio_status check_shape(const mio_loss *loss, size_t pairs, size_t dim)
{
    if (pairs < 2)
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s' has negative pairs and needs at least 2 pairs, not %zu",
                         loss->kind->name, pairs);
    if (!dim)
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': dim is 0; rows need at least one value", loss->kind->name);
    return MIO_OK;
}

static mio_status compute(mio_loss *loss, const mio__batch *batch, double *value)
{
    if (!loss)
        return mio__settings_null("loss");
    if (!batch->z[0] || !batch->z[1])
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': %s is NULL", loss->kind->name, batch->z[0] ? "z2" : "z1");
    mio_status status = check_shape(loss, batch->pairs, batch->dim);
    const double *p = loss->settings.values;
    if (!status)
        status = mio__pairs_begin(&loss->pairs, batch, loss->kind->steepest(p));
    if (status)
        return status;
    const double result = loss->kind->compute(&loss->pairs, p);
    if (value)
        *value = result;
    loss->computed = 1;
    loss->zero_rows = loss->pairs.zero_rows;
    loss->mean_positive = loss->pairs.mean_positive;
    loss->mean_negative = loss->pairs.mean_negative;
    return MIO_OK;
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

static mio_status check_computed(const mio_loss *loss)
{
    if (!loss)
        return mio__settings_null("loss");
    return loss->computed
               ? MIO_OK
               : mio__fail(MIO_ERROR_STATE, "loss '%s' has computed no batch yet; call mio_loss_compute first",
                           loss->kind->name);
}

mio_status mio_loss_zero_rows(const mio_loss *loss, size_t *rows)
{
    const mio_status status = check_computed(loss);
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
        status = mio__pair_plan_make(loss->context, pairs, dim, element_size,
                                     loss->kind->steepest(loss->settings.values), &plan);
    if (!status)
        *bytes = plan.size;
    return status;
}

mio_status mio__loss_similarities(const mio_loss *loss, double *positive, double *negative)
{
    const mio_status status = check_computed(loss);
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

double mio__softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

double mio__sigmoid(double x)
{
    const double e = exp(-fabs(x));
    return (x > 0 ? 1 : e) / (1 + e);
}
