#include "loss/forces.h"
#include "loss/loss.h"

#include <math.h>

mio__dual mio__dual_add(mio__dual a, mio__dual b)
{
    return (mio__dual){a.value + b.value, a.slope + b.slope};
}

mio__dual mio__dual_minus(mio__dual a, mio__dual b)
{
    return (mio__dual){a.value - b.value, a.slope - b.slope};
}

mio__dual mio__dual_times(mio__dual a, mio__dual b)
{
    return (mio__dual){a.value * b.value, a.value * b.slope + a.slope * b.value};
}

mio__dual mio__dual_scale(double factor, mio__dual a)
{
    return (mio__dual){factor * a.value, factor * a.slope};
}

mio__dual mio__dual_exp(mio__dual a)
{
    const double e = exp(a.value);
    return (mio__dual){e, e * a.slope};
}

mio__dual mio__dual_softplus(mio__dual a)
{
    return (mio__dual){mio__softplus(a.value), mio__sigmoid(a.value) * a.slope};
}

mio__dual mio__dual_sigmoid(mio__dual a)
{
    return (mio__dual){mio__sigmoid(a.value), mio__sigmoid(a.value) * mio__sigmoid(-a.value) * a.slope};
}

mio__dual mio__dual_log_add(mio__dual a, mio__dual b)
{
    const double both = mio__log_add(a.value, b.value);
    if (both == -INFINITY)
        return (mio__dual){both, 0};
    return (mio__dual){both, exp(a.value - both) * a.slope + exp(b.value - both) * b.slope};
}
