/* All in double, but for images. */
#include "addon.h"

/* Arguments 1 .. 4 of a loss or 3 .. 6: pairs, dim, z1, z2. */
typedef struct pairing {
    size_t pairs, dim;
    const double *z1, *z2;
} pairing;

static pairing pairing_of(call *c, size_t first)
{
    pairing p = {.pairs = size(c, first), .dim = size(c, first + 1)};
    const size_t values = area(c, p.pairs, p.dim);
    p.z1 = needed(c, first + 2, napi_float64_array, values);
    p.z2 = needed(c, first + 3, napi_float64_array, values);
    return p;
}

/* Values of both views. */
static size_t both(call *c, const pairing *p)
{
    return product(c, (size_t[]){2, p->pairs, p->dim}, 3);
}

/* loss, pairs, dim, z1, z2, rate, arrays for the three parts */
CALLER(loss_displacements, void *loss = handle(&c, 0); const pairing p = pairing_of(&c, 1);
       const double rate = number(&c, 5); const size_t values = both(&c, &p);
       double *attraction = needed(&c, 6, napi_float64_array, values);
       double *repulsion = needed(&c, 7, napi_float64_array, values);
       double *l2 = needed(&c, 8, napi_float64_array, values),
       mio_analysis_displacements(loss, p.pairs, p.dim, p.z1, p.z2, rate, attraction, repulsion, l2))

static napi_value of_information(call *c, mio_mutual_information found)
{
    napi_value made = NULL;
    if (c->failed)
        return NULL;
    napi_create_object(c->env, &made);
    put(c, made, "jensenShannon", of_number(c, found.jensen_shannon));
    put(c, made, "positivePairs", of_number(c, found.positive_pairs));
    put(c, made, "negativePairs", of_number(c, found.negative_pairs));
    put(c, made, "infoNce", of_number(c, found.info_nce));
    return made;
}

/* loss, pairs, dim, z1, z2 */
static napi_value loss_mutual_information(napi_env env, napi_callback_info info)
{
    call c;
    mio_mutual_information found = {.struct_size = sizeof found};
    begin(&c, env, info);
    void *loss = handle(&c, 0);
    const pairing p = pairing_of(&c, 1);
    if (!c.failed)
        check(&c, mio_analysis_mutual_information(loss, p.pairs, p.dim, p.z1, p.z2, &found));
    return of_information(&c, found);
}

/* context, temperatures of positives and negatives, pairs, dim, z1, z2 */
static napi_value mutual_information_at(napi_env env, napi_callback_info info)
{
    call c;
    mio_mutual_information found = {.struct_size = sizeof found};
    begin(&c, env, info);
    void *context = handle(&c, 0);
    const double positive = number(&c, 1), negative = number(&c, 2);
    const pairing p = pairing_of(&c, 3);
    if (!c.failed)
        check(&c, mio_analysis_mutual_information_at(context, positive, negative, p.pairs, p.dim, p.z1, p.z2, &found));
    return of_information(&c, found);
}

/* context, count, in, out, gradients, features, array for the weights */
CALLER(projector_gradient, void *context = handle(&c, 0); const size_t count = size(&c, 1);
       const size_t in = size(&c, 2); const size_t out = size(&c, 3);
       const double *gradients = needed(&c, 4, napi_float64_array, area(&c, count, out));
       const double *features = needed(&c, 5, napi_float64_array, area(&c, count, in));
       double *weights = needed(&c, 6, napi_float64_array, area(&c, out, in)),
       mio_analysis_projector_gradient(context, count, in, out, gradients, features, weights))

/* ---- Hessians; the last argument is the function of a custom loss ---- */

/* loss, pairs, dim, z1, z2, direction, array for the product, function */
static napi_value loss_hessian_product(napi_env env, napi_callback_info info)
{
    call c;
    own_function own;
    begin(&c, env, info);
    void *loss = handle(&c, 0);
    const pairing p = pairing_of(&c, 1);
    const size_t values = both(&c, &p);
    const double *direction = needed(&c, 5, napi_float64_array, values);
    double *bent = needed(&c, 6, napi_float64_array, values);
    if (c.failed)
        return NULL;
    enter(&c, 7, &own);
    const mio_status status = mio_analysis_hessian_product(loss, p.pairs, p.dim, p.z1, p.z2, direction, bent);
    leave(&own);
    check(&c, status);
    return NULL;
}

/* loss, pairs, dim, z1, z2, steps, probe, arrays for eigenvalues and weights, function: how many there are */
static napi_value loss_hessian_spectrum(napi_env env, napi_callback_info info)
{
    call c;
    own_function own;
    size_t count = 0;
    begin(&c, env, info);
    void *loss = handle(&c, 0);
    const pairing p = pairing_of(&c, 1);
    const size_t steps = size(&c, 5), probe = size(&c, 6);
    double *eigenvalues = needed(&c, 7, napi_float64_array, steps);
    double *weights = needed(&c, 8, napi_float64_array, steps);
    if (c.failed)
        return NULL;
    enter(&c, 9, &own);
    const mio_status status =
        mio_analysis_hessian_spectrum(loss, p.pairs, p.dim, p.z1, p.z2, steps, probe, eigenvalues, weights, &count);
    leave(&own);
    check(&c, status);
    return c.failed ? NULL : of_number(&c, (double)count);
}

static napi_value encoder_weights(napi_env env, napi_callback_info info)
{
    call c;
    size_t count = 0;
    begin(&c, env, info);
    void *encoder = handle(&c, 0);
    if (!c.failed)
        check(&c, mio_analysis_encoder_weights(encoder, &count));
    return c.failed ? NULL : of_number(&c, (double)count);
}

/* Argument 3: two views of so many images, normalised floats. */
static const float *views_of(call *c, mio_encoder *encoder, size_t pairs)
{
    size_t shape[5] = {2, pairs};
    if (!c->failed)
        check(c, mio_encoder_input_shape(encoder, shape + 2, shape + 3, shape + 4));
    return needed(c, 3, napi_float32_array, product(c, shape, 5));
}

/* encoder, loss, pairs, images, step, direction, array for the product, function */
static napi_value encoder_hessian_product(napi_env env, napi_callback_info info)
{
    call c;
    own_function own;
    size_t count = 0;
    begin(&c, env, info);
    void *encoder = handle(&c, 0), *loss = handle(&c, 1);
    const size_t pairs = size(&c, 2);
    const float *images = views_of(&c, encoder, pairs);
    const double step = number(&c, 4);
    if (!c.failed)
        check(&c, mio_analysis_encoder_weights(encoder, &count));
    const double *direction = needed(&c, 5, napi_float64_array, count);
    double *bent = needed(&c, 6, napi_float64_array, count);
    if (c.failed)
        return NULL;
    enter(&c, 7, &own);
    const mio_status status = mio_analysis_encoder_hessian_product(encoder, loss, pairs, images, step, direction, bent);
    leave(&own);
    check(&c, status);
    return NULL;
}

/* encoder, loss, pairs, images, step, steps, probe, arrays for eigenvalues and weights, function: how many there are */
static napi_value encoder_hessian_spectrum(napi_env env, napi_callback_info info)
{
    call c;
    own_function own;
    size_t count = 0;
    begin(&c, env, info);
    void *encoder = handle(&c, 0), *loss = handle(&c, 1);
    const size_t pairs = size(&c, 2);
    const float *images = views_of(&c, encoder, pairs);
    const double step = number(&c, 4);
    const size_t steps = size(&c, 5), probe = size(&c, 6);
    double *eigenvalues = needed(&c, 7, napi_float64_array, steps);
    double *weights = needed(&c, 8, napi_float64_array, steps);
    if (c.failed)
        return NULL;
    enter(&c, 9, &own);
    const mio_status status = mio_analysis_encoder_hessian_spectrum(encoder, loss, pairs, images, step, steps, probe,
                                                                    eigenvalues, weights, &count);
    leave(&own);
    check(&c, status);
    return c.failed ? NULL : of_number(&c, (double)count);
}

const entry analysis_entries[] = {
    ENTRY(loss_displacements),       ENTRY(loss_mutual_information),
    ENTRY(mutual_information_at),    ENTRY(projector_gradient),
    ENTRY(loss_hessian_product),     ENTRY(loss_hessian_spectrum),
    ENTRY(encoder_weights),          ENTRY(encoder_hessian_product),
    ENTRY(encoder_hessian_spectrum), {NULL, NULL},
};
