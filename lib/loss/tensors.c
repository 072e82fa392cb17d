/* Learnable tensors of a loss, and its named parameters, of which some are such tensors. */
#include "core/random.h"
#include "loss/loss.h"

#include <math.h>
#include <string.h>

static size_t tensor_count(const mio_loss *loss)
{
    return loss->kind->tensors[0] ? loss->kind->tensors[1] ? 2 : 1 : 0;
}

/* Place of the parameter that a tensor is, or the count where it is none. */
static size_t parameter_of(const mio_loss *loss, size_t tensor)
{
    size_t i = 0;
    while (i < loss->settings.count && strcmp(loss->settings.table[i].name, loss->kind->tensors[tensor]))
        i++;
    return i;
}

static size_t classes(const mio_loss *loss)
{
    double value = 0;
    mio__settings_get(&loss->settings, "classes", &value);
    return (size_t)value;
}

/* ---- making ---- */

static void fill_with_unit_rows(const mio_loss *loss, mio__loss_tensor *tensor)
{
    const size_t dim = tensor->shape[1];
    for (size_t row = 0; row < tensor->shape[0]; row++) {
        mio__random random;
        mio__random_start(&random, mio__seed(loss->context), 0, row, 1, MIO__PURPOSE_QUEUE);
        double *to = tensor->value64 + row * dim, square = 0;
        for (size_t k = 0; k < dim; k++) {
            to[k] = mio__random_normal(&random);
            square += to[k] * to[k];
        }
        for (size_t k = 0; k < dim; k++)
            to[k] = square > 0 ? to[k] / sqrt(square) : 1 / sqrt((double)dim);
    }
}

/* dim 0: a number. */
static mio_status make_tensor(mio_loss *loss, size_t index, size_t dim)
{
    mio__loss_tensor made = {.name = loss->kind->tensors[index], .count = 1};
    if (dim) {
        made.rank = 2;
        made.shape[0] = classes(loss);
        made.shape[1] = dim;
        if (__builtin_mul_overflow(made.shape[0], dim, &made.count) || made.count > SIZE_MAX / 64)
            return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': %zu classes of %zu values are beyond the address space",
                             mio_loss_name(loss), made.shape[0], dim);
    }
    made.value64 = mio__alloc_zeroed(loss->context, made.count, 2 * sizeof(double) + 2 * sizeof(float));
    if (!made.value64)
        return MIO_ERROR_MEMORY;
    made.gradient64 = made.value64 + made.count;
    made.value = (float *)(made.gradient64 + made.count);
    made.gradient = made.value + made.count;
    if (dim)
        fill_with_unit_rows(loss, &made);
    else
        made.value64[0] = loss->settings.values[parameter_of(loss, index)];
    for (size_t i = 0; i < made.count; i++)
        made.value[i] = (float)made.value64[i];
    loss->tensors[index] = made;
    return MIO_OK;
}

mio_status mio__loss_make_tensors(mio_loss *loss, size_t dim)
{
    mio_status status = MIO_OK;
    for (size_t i = 0; !status && i < tensor_count(loss); i++) {
        const mio__loss_tensor *tensor = &loss->tensors[i];
        const int number = parameter_of(loss, i) < loss->settings.count;
        if (!tensor->value64 && (number || dim))
            status = make_tensor(loss, i, number ? 0 : dim);
        else if (tensor->rank == 2 && dim && (tensor->shape[0] != classes(loss) || tensor->shape[1] != dim))
            status =
                mio__fail(MIO_ERROR_STATE,
                          "loss '%s': '%s' are %zu x %zu, and the batch and the parameter 'classes' "
                          "ask for %zu x %zu; make another loss",
                          mio_loss_name(loss), tensor->name, tensor->shape[0], tensor->shape[1], classes(loss), dim);
    }
    return status;
}

void mio__loss_free_tensors(mio_loss *loss)
{
    for (size_t i = 0; i < tensor_count(loss); i++)
        mio__free(loss->context, loss->tensors[i].value64);
}

size_t mio__loss_tensors(const mio_loss *loss, const mio__loss_tensor **tensors)
{
    *tensors = loss->tensors;
    return tensor_count(loss);
}

/* ---- double and float ---- */

/* A number stays within its parameter's bounds, wherever the optimizer went. */
static double current(const mio_loss *loss, size_t tensor, size_t i)
{
    const mio__loss_tensor *t = &loss->tensors[tensor];
    const double x = (float)t->value64[i] == t->value[i] ? t->value64[i] : (double)t->value[i];
    if (t->rank)
        return x;
    const mio__parameter *bounds = &loss->settings.table[parameter_of(loss, tensor)];
    return fmin(fmax(x, bounds->minimum), bounds->maximum);
}

void mio__loss_read_tensors(mio_loss *loss)
{
    for (size_t t = 0; t < tensor_count(loss); t++) {
        mio__loss_tensor *tensor = &loss->tensors[t];
        for (size_t i = 0; tensor->value64 && i < tensor->count; i++)
            tensor->value64[i] = current(loss, t, i);
        if (tensor->value64 && !tensor->rank)
            loss->settings.values[parameter_of(loss, t)] = tensor->value64[0];
    }
}

void mio__loss_write_gradients(mio_loss *loss)
{
    for (size_t t = 0; t < tensor_count(loss); t++)
        for (size_t i = 0; i < loss->tensors[t].count; i++)
            loss->tensors[t].gradient[i] = (float)loss->tensors[t].gradient64[i];
}

/* ---- parameters ---- */

/* A parameter was set: the tensor that it is follows. */
static void follow_parameters(mio_loss *loss)
{
    for (size_t t = 0; t < tensor_count(loss); t++)
        if (parameter_of(loss, t) < loss->settings.count) {
            loss->tensors[t].value64[0] = loss->settings.values[parameter_of(loss, t)];
            loss->tensors[t].value[0] = (float)loss->tensors[t].value64[0];
        }
}

mio_status mio_loss_set(mio_loss *loss, const char *parameter, double value)
{
    if (!loss)
        return mio__settings_null("loss");
    mio__loss_read_tensors(loss);
    const mio_status status = mio__settings_set(&loss->settings, parameter, value);
    if (!status)
        follow_parameters(loss);
    return status;
}

mio_status mio_loss_set_text(mio_loss *loss, const char *parameter, const char *text)
{
    if (!loss)
        return mio__settings_null("loss");
    mio__loss_read_tensors(loss);
    const mio_status status = mio__settings_set_text(&loss->settings, parameter, text);
    if (!status)
        follow_parameters(loss);
    return status;
}

mio_status mio_loss_get(const mio_loss *loss, const char *parameter, double *value)
{
    if (!loss)
        return mio__settings_null("loss");
    const mio_status status = mio__settings_get(&loss->settings, parameter, value);
    for (size_t t = 0; !status && t < tensor_count(loss); t++)
        if (!loss->tensors[t].rank && loss->tensors[t].value64 && !strcmp(parameter, loss->tensors[t].name))
            *value = current(loss, t, 0);
    return status;
}

size_t mio_loss_parameter_count(const mio_loss *loss)
{
    return loss ? loss->settings.count : 0;
}

mio_status mio_loss_parameter(const mio_loss *loss, size_t index, mio_parameter_info *info)
{
    return loss ? mio__settings_info(&loss->settings, index, info) : mio__settings_null("loss");
}

/* ---- public access ---- */

size_t mio_loss_tensor_count(const mio_loss *loss)
{
    return loss ? tensor_count(loss) : 0;
}

mio_status mio_loss_tensor(const mio_loss *loss, size_t index, mio_tensor_info *info)
{
    if (!loss)
        return mio__settings_null("loss");
    const mio_status status = mio__struct_check(info, MIO__UP_TO(mio_tensor_info, name), "mio_tensor_info");
    if (status)
        return status;
    if (index >= tensor_count(loss))
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s' has %zu tensors; there is no tensor %zu", mio_loss_name(loss),
                         tensor_count(loss), index);
    const mio__loss_tensor *tensor = &loss->tensors[index];
    const int number = parameter_of(loss, index) < loss->settings.count;
    mio_tensor_info full = {.name = loss->kind->tensors[index],
                            .rank = number ? 0 : 2,
                            .shape = {number          ? 0
                                      : tensor->count ? tensor->shape[0]
                                                      : classes(loss),
                                      tensor->shape[1]},
                            .count = tensor->count,
                            .trainable = 1};
    mio__struct_give(info, &full, sizeof full);
    return MIO_OK;
}

static mio_status find_tensor(const mio_loss *loss, const char *name, const void *values, size_t *index)
{
    if (!loss)
        return mio__settings_null("loss");
    for (*index = 0; name && *index < tensor_count(loss); ++*index)
        if (!strcmp(name, loss->kind->tensors[*index]))
            return values ? MIO_OK : mio__fail(MIO_ERROR_ARGUMENT, "tensor '%s': the values are NULL", name);
    return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s' has no tensor '%s'; it has %s%s%s", mio_loss_name(loss),
                     name ? name : "NULL", tensor_count(loss) ? loss->kind->tensors[0] : "none",
                     tensor_count(loss) == 2 ? ", " : "", tensor_count(loss) == 2 ? loss->kind->tensors[1] : "");
}

static mio_status check_count(const mio__loss_tensor *tensor, const char *name, size_t count)
{
    if (!tensor->value64)
        return mio__fail(MIO_ERROR_STATE, "tensor '%s' is not made yet; call mio_loss_compute or mio_loss_set_tensor",
                         name);
    return count == tensor->count
               ? MIO_OK
               : mio__fail(MIO_ERROR_ARGUMENT, "tensor '%s' has %zu values, not %zu", name, tensor->count, count);
}

mio_status mio_loss_get_tensor(const mio_loss *loss, const char *name, size_t count, double *values)
{
    size_t index;
    mio_status status = find_tensor(loss, name, values, &index);
    if (!status)
        status = check_count(&loss->tensors[index], name, count);
    for (size_t i = 0; !status && i < count; i++)
        values[i] = current(loss, index, i);
    return status;
}

mio_status mio_loss_get_gradient(const mio_loss *loss, const char *name, size_t count, double *values)
{
    size_t index;
    mio_status status = find_tensor(loss, name, values, &index);
    if (!status)
        status = check_count(&loss->tensors[index], name, count);
    if (!status)
        status = mio__loss_check_computed(loss);
    if (!status)
        memcpy(values, loss->tensors[index].gradient64, count * sizeof *values);
    return status;
}

mio_status mio_loss_set_tensor(mio_loss *loss, const char *name, size_t count, const double *values)
{
    size_t index;
    mio_status status = find_tensor(loss, name, values, &index);
    for (size_t i = 0; !status && i < count; i++)
        if (!isfinite((float)values[i]))
            status = mio__fail(MIO_ERROR_ARGUMENT, "tensor '%s': value %zu is %g; it must be finite, also as a float",
                               name, i, values[i]);
    if (!status && parameter_of(loss, index) < loss->settings.count)
        return count == 1 ? mio_loss_set(loss, name, values[0])
                          : mio__fail(MIO_ERROR_ARGUMENT, "tensor '%s' has 1 value, not %zu", name, count);
    if (!status && !loss->tensors[index].value64)
        status =
            !count || count % classes(loss)
                ? mio__fail(MIO_ERROR_ARGUMENT, "tensor '%s' has %zu rows; %zu values are no whole number for each",
                            name, classes(loss), count)
                : mio__loss_make_tensors(loss, count / classes(loss));
    if (!status)
        status = check_count(&loss->tensors[index], name, count);
    for (size_t i = 0; !status && i < count; i++) {
        loss->tensors[index].value64[i] = values[i];
        loss->tensors[index].value[i] = (float)values[i];
    }
    return status;
}
