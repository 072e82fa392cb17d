#include "train/momentum.h"

#include "core/context.h"
#include "train/snapshot.h"

#include <math.h>

mio_status mio__momentum_prepare(mio__momentum *momentum, const mio_encoder *from)
{
    if (!momentum->statistics)
        momentum->statistics = mio__alloc_zeroed(mio__encoder_context(from),
                                                 mio__snapshot_size(from, MIO__SNAPSHOT_STATISTICS) + 1, sizeof(float));
    if (!momentum->statistics)
        return MIO_ERROR_MEMORY;
    return momentum->encoder ? MIO_OK : mio__encoder_copy(from, &momentum->encoder);
}

void mio__momentum_free(mio__momentum *momentum, mio_context *context)
{
    mio_encoder_release(momentum->encoder);
    mio__free(context, momentum->statistics);
    *momentum = (mio__momentum){0};
}

void mio__momentum_keep(mio__momentum *momentum)
{
    if (momentum->encoder && momentum->statistics)
        mio__snapshot_take(momentum->encoder, MIO__SNAPSHOT_STATISTICS, momentum->statistics);
}

void mio__momentum_return(mio__momentum *momentum)
{
    if (momentum->encoder && momentum->statistics)
        mio__snapshot_return(momentum->encoder, MIO__SNAPSHOT_STATISTICS, momentum->statistics);
}

double mio__momentum_at(mio__momentum_schedule schedule, double base, uint64_t step, uint64_t total)
{
    if (schedule == MIO__MOMENTUM_CONSTANT)
        return base;
    const double progress = step < total ? (double)step / (double)total : 1;
    return 1 - (1 - base) * 0.5 * (1 + cos(3.14159265358979323846 * progress));
}

typedef struct following {
    const mio__tensor *to, *from;
    float share; /* of the new weights */
} following;

static void follow_tensor(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const following *work = argument;
    const mio__tensor *to = &work->to[item], *from = &work->from[item];
    for (size_t i = 0; to->trainable && i < to->stored; i++)
        to->value[i] += work->share * (from->value[i] - to->value[i]);
}

void mio__momentum_follow(mio__momentum *momentum, const mio_encoder *from, double share)
{
    if (!momentum->encoder)
        return;
    mio_context *context = mio__encoder_context(from);
    following work = {.share = (float)(1 - share)};
    const size_t count = mio__encoder_tensors(momentum->encoder, &work.to);
    mio__encoder_tensors(from, &work.from);
    mio__parallel(context, mio__workers(context), count, follow_tensor, &work);
    mio__encoder_changed(momentum->encoder);
}
