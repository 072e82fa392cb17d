#include "addon.h"

#include <string.h>

NOUN(loss, 0)
PARAMETERS(loss)
NAMES(loss_name_at, mio_loss_name_at)
MAKER(loss, loss_create, void *context = handle(&c, 0);
      const char *name = text(&c, 1), mio_loss_create(context, name, &made))
/* loss, count, Int32Array of labels or nothing, BigUint64Array of indices or nothing */
CALLER(loss_set_batch, void *loss = handle(&c, 0); const size_t count = size(&c, 1);
       const int32_t *labels = array(&c, 2, napi_int32_array, count);
       const size_t *indices = array(&c, 3, napi_biguint64_array, count),
       mio_loss_set_batch(loss, count, labels, indices))

static napi_value loss_name(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *loss = handle(&c, 0);
    return c.failed ? NULL : of_text(&c, mio_loss_name(loss));
}

/* loss, pairs, dim, z1, z2, gradients or nothing, all Float32Array or all Float64Array; function of a custom loss */
static napi_value loss_compute(napi_env env, napi_callback_info info)
{
    call c;
    own_function own;
    begin(&c, env, info);
    void *loss = handle(&c, 0);
    const size_t shape[2] = {size(&c, 1), size(&c, 2)}, count = area(&c, shape[0], shape[1]);
    const napi_typedarray_type type = type_of(&c, 3);
    const void *z1 = needed(&c, 3, type, count), *z2 = needed(&c, 4, type, count);
    void *g1 = array(&c, 5, type, count), *g2 = array(&c, 6, type, count);
    double value = 0;
    if (c.failed)
        return NULL;
    enter(&c, 7, &own);
    const mio_status status = type == napi_float64_array
                                  ? mio_loss_compute_f64(loss, shape[0], shape[1], z1, z2, &value, g1, g2)
                                  : mio_loss_compute(loss, shape[0], shape[1], z1, z2, &value, g1, g2);
    leave(&own);
    check(&c, status);
    return c.failed ? NULL : of_number(&c, value);
}

/* ---- losses of JavaScript's own ---- */

/* Of the calls under way on this thread, the last; other threads have none. */
static _Thread_local own_function *innermost;

void enter(call *c, size_t index, own_function *own)
{
    *own = (own_function){.env = c->env, .outer = innermost};
    if (kind_of(c, index) == napi_function)
        own->function = c->arguments[index];
    innermost = own;
}

void leave(const own_function *own)
{
    innermost = own->outer;
}

/* function(pairs, dim, whether in double, whether each gradient is wanted), which calls loss_rows and loss_answer. */
static mio_status ask(own_function *own, size_t pairs, size_t dim)
{
    const napi_env env = own->env;
    call c = {.env = env};
    napi_handle_scope scope;
    napi_value receiver = NULL, given[5], result;
    if (napi_open_handle_scope(env, &scope) != napi_ok)
        return MIO_ERROR_MEMORY;
    napi_get_undefined(env, &receiver);
    given[0] = of_number(&c, (double)pairs);
    given[1] = of_number(&c, (double)dim);
    napi_get_boolean(env, own->type == napi_float64_array, &given[2]);
    napi_get_boolean(env, own->gradient[0] != NULL, &given[3]);
    napi_get_boolean(env, own->gradient[1] != NULL, &given[4]);
    const napi_status status = napi_call_function(env, receiver, own->function, 5, given, &result);
    napi_close_handle_scope(env, scope);
    return status == napi_ok && own->answered ? MIO_OK : MIO_ERROR_CANCELLED;
}

static mio_status compute(napi_typedarray_type type, size_t pairs, size_t dim, const void *z1, const void *z2,
                          double *value, void *grad_z1, void *grad_z2)
{
    own_function *own = innermost;
    if (!own || !own->function)
        return MIO_ERROR_UNSUPPORTED;
    own->type = type;
    own->values = pairs * dim;
    own->z[0] = z1;
    own->z[1] = z2;
    own->gradient[0] = grad_z1;
    own->gradient[1] = grad_z2;
    own->value = value;
    own->answered = 0;
    const mio_status status = ask(own, pairs, dim);
    own->z[0] = own->z[1] = NULL;
    return status;
}

static mio_status compute_floats(void *user, size_t pairs, size_t dim, const float *z1, const float *z2, double *value,
                                 float *grad_z1, float *grad_z2)
{
    (void)user;
    return compute(napi_float32_array, pairs, dim, z1, z2, value, grad_z1, grad_z2);
}

static mio_status compute_doubles(void *user, size_t pairs, size_t dim, const double *z1, const double *z2,
                                  double *value, double *grad_z1, double *grad_z2)
{
    (void)user;
    return compute(napi_float64_array, pairs, dim, z1, z2, value, grad_z1, grad_z2);
}

static const mio_loss_callback callback = {sizeof callback, NULL, compute_floats, compute_doubles};

/* Its function comes with each call: a loss that held it could never be collected where the function knows the loss. */
MAKER(loss, loss_create_custom, void *context = handle(&c, 0);
      const char *name = text(&c, 1), mio_loss_create_custom(context, name, &callback, &made))

static size_t element(const own_function *own)
{
    return own->type == napi_float64_array ? sizeof(double) : sizeof(float);
}

/* Arrays for z1 and z2, of the function that runs */
static napi_value loss_rows(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    const own_function *own = innermost;
    if (!own || !own->z[0])
        refuse(&c, "no loss is being computed");
    for (size_t view = 0; view < 2 && !c.failed; view++) {
        void *rows = needed(&c, view, own->type, own->values);
        if (!c.failed)
            memcpy(rows, own->z[view], own->values * element(own));
    }
    return NULL;
}

/* Value and gradients, as far as wanted, of the function that runs */
static napi_value loss_answer(napi_env env, napi_callback_info info)
{
    call c;
    const void *gradients[2] = {NULL, NULL};
    begin(&c, env, info);
    own_function *own = innermost;
    if (!own || !own->z[0])
        refuse(&c, "no loss is being computed");
    const double value = number(&c, 0);
    for (size_t view = 0; view < 2 && !c.failed; view++)
        if (own->gradient[view])
            gradients[view] = needed(&c, 1 + view, own->type, own->values);
    if (c.failed)
        return NULL;
    for (size_t view = 0; view < 2; view++)
        if (gradients[view])
            memcpy(own->gradient[view], gradients[view], own->values * element(own));
    *own->value = value;
    own->answered = 1;
    return NULL;
}

const entry loss_entries[] = {
    ENTRY(loss_create), ENTRY(loss_create_custom), ENTRY(loss_set),     ENTRY(loss_get),
    ENTRY(loss_name),   ENTRY(loss_name_at),       ENTRY(loss_compute), ENTRY(loss_set_batch),
    ENTRY(loss_rows),   ENTRY(loss_answer),        {NULL, NULL},
};
