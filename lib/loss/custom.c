/* A loss of the caller's own. Its rows are checked and measured like those of any other. */
#include "loss/loss.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static mio_status check_gradients(const mio_loss *loss)
{
    const mio__batch *batch = &loss->pairs.batch;
    for (size_t view = 0; view < 2; view++)
        for (size_t i = 0; batch->gradient[view] && i < batch->pairs * batch->dim; i++) {
            const double value = batch->element == sizeof(float) ? ((const float *)batch->gradient[view])[i]
                                                                 : ((const double *)batch->gradient[view])[i];
            if (!isfinite(value))
                return mio__fail(MIO_ERROR_STATE,
                                 "the callback of loss '%s' made grad_z%zu row %zu, column %zu %g, which is not "
                                 "finite",
                                 mio_loss_name(loss), view + 1, i / batch->dim, i % batch->dim, value);
        }
    return MIO_OK;
}

static mio_status run(mio_loss *loss, double *value)
{
    const mio__batch *batch = &loss->pairs.batch;
    const mio_loss_callback *callback = &loss->callback;
    mio_status status;
    char before[512];
    snprintf(before, sizeof before, "%s", mio_last_error());
    *value = NAN;
    if (batch->element == sizeof(float))
        status = callback->compute(callback->user, batch->pairs, batch->dim, batch->z[0], batch->z[1], value,
                                   batch->gradient[0], batch->gradient[1]);
    else if (callback->compute_f64)
        status = callback->compute_f64(callback->user, batch->pairs, batch->dim, batch->z[0], batch->z[1], value,
                                       batch->gradient[0], batch->gradient[1]);
    else
        return mio__fail(MIO_ERROR_UNSUPPORTED, "loss '%s' has no compute_f64; call mio_loss_compute",
                         mio_loss_name(loss));
    if (!status)
        return check_gradients(loss);
    const char *words =
        strcmp(before, mio_last_error()) ? mio_last_error() : NULL; /* of a call that the callback made */
    return mio__fail(status, "the callback of loss '%s' returned %s%s%s", mio_loss_name(loss), mio_status_name(status),
                     words ? ": " : "", words ? words : "");
}

const mio__loss_kind mio__loss_custom = {"custom", NULL, 0, .run = run, .flags = MIO__LOSS_ONE_PAIR};
