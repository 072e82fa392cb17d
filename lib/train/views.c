#include "train/views.h"

#include "data/augment.h"

#include <math.h>

mio_status mio__views_check(const mio_encoder *encoder, const mio_augment *augment)
{
    size_t channels, height, width;
    const mio_status status = mio_encoder_input_shape(encoder, &channels, &height, &width);
    if (status)
        return status;
    if (augment->channels != channels || augment->height != height || augment->width != width)
        return mio__fail(MIO_ERROR_ARGUMENT,
                         "the views are %zu x %zu x %zu (height, width, channels), the encoder takes "
                         "%zu x %zu x %zu",
                         augment->height, augment->width, augment->channels, height, width, channels);
    return MIO_OK;
}

static int is_near(double a, double b)
{
    return fabs(a - b) <= 1e-4 * (1 + fabs(b));
}

int mio__views_agree(const mio_encoder *encoder, const mio_augment *augment)
{
    enum { CHANNELS = 1024 }; /* an augment has no more */
    double mean[CHANNELS], deviation[CHANNELS];
    if (augment->channels > CHANNELS || mio_encoder_get_normalization(encoder, augment->channels, mean, deviation))
        return 0;
    for (size_t c = 0; c < augment->channels; c++)
        if (!is_near(augment->scale[c], 1 / deviation[c]) || !is_near(augment->shift[c], -mean[c] / deviation[c]))
            return 0;
    return 1;
}
