/* A loss of the caller's own. Its rows are checked and measured like those of any other. */
#include "loss/loss.h"

#include <math.h>

static double steepest(const double *p)
{
    (void)p;
    return 0;
}

static mio_status run(mio_loss *loss, double *value)
{
    const mio__batch *batch = &loss->pairs.batch;
    const mio_loss_callback *callback = &loss->callback;
    mio_status status;
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
    return status ? mio__fail(status, "the callback of loss '%s' returned %s", mio_loss_name(loss),
                              mio_status_name(status))
                  : MIO_OK;
}

const mio__loss_kind mio__loss_custom = {
    "custom", NULL, 0, .steepest = steepest, .run = run, .flags = MIO__LOSS_ONE_PAIR};
