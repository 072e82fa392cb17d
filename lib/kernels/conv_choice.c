/* Which method computes which convolution, unless a table of measured choices (conv_tuning.h) says otherwise. */
#include "kernels/conv.h"

/* What reading one weight costs, in multiplications: it matters where the batch is small. */
enum { WEIGHT_COST = 16 };

int mio__conv_permits(const mio__conv_geometry *geometry, mio__conv_algorithm algorithm, mio__conv_method method)
{
    static const mio__conv_algorithm least[MIO__METHODS] = {MIO__CONV_EXACT, MIO__CONV_ACCURATE, MIO__CONV_FAST};
    const int winograd = geometry->kernel == 3 && geometry->stride == 1 && geometry->padding <= 2 &&
                         geometry->input.block >= 16 && geometry->output.block >= 16;
    return method == MIO__DIRECT || (winograd && algorithm >= least[method]);
}

const char *mio__conv_method_name(mio__conv_method method)
{
    static const char *const names[MIO__METHODS] = {"direct", "winograd2", "winograd4"};
    return names[method];
}

/* Taps that meet pixels, summed over the positions of one axis. */
static size_t axis_taps(size_t input, size_t output, size_t padding)
{
    size_t taps = 0;
    for (size_t position = 0; position < output; position++)
        for (size_t tap = 0; tap < 3; tap++)
            taps += position + tap - padding < input;
    return taps;
}

/* Images that the choice counts with. From 16 on they are all one: an image has then the same bits in evaluation whatever
   group it lies in, and in training a batch's share on another machine is computed as the whole is. */
static size_t images_of(const mio__conv_geometry *geometry)
{
    const size_t images = geometry->images.views * geometry->images.groups * geometry->images.lanes;
    return images < 16 ? images : 64;
}

/* Cost per pair of channels, in multiplications; `transforms`: Winograd's cost relative to its multiplications. */
static double winograd_cost(const mio__conv_geometry *geometry, size_t m, double transforms)
{
    const size_t tiles = ((geometry->output.height + m - 1) / m) * ((geometry->output.width + m - 1) / m);
    return (double)((m + 2) * (m + 2)) * (transforms * (double)(tiles * images_of(geometry)) + WEIGHT_COST);
}

static double direct_cost(const mio__conv_geometry *geometry)
{
    const size_t taps = axis_taps(geometry->input.height, geometry->output.height, geometry->padding) *
                        axis_taps(geometry->input.width, geometry->output.width, geometry->padding);
    return (double)(taps * images_of(geometry)) + 9 * WEIGHT_COST;
}

static double cost(const mio__conv_geometry *geometry, mio__conv_method method)
{
    return method == MIO__DIRECT      ? direct_cost(geometry)
           : method == MIO__WINOGRAD2 ? winograd_cost(geometry, 2, 1.25)
                                      : winograd_cost(geometry, 4, 1.5);
}

static mio__conv_method choose(const mio__conv_geometry *geometry, mio__conv_algorithm algorithm)
{
    mio__conv_method best = MIO__DIRECT;
    for (int method = MIO__DIRECT + 1; method < MIO__METHODS; method++)
        if (mio__conv_permits(geometry, algorithm, (mio__conv_method)method) &&
            cost(geometry, (mio__conv_method)method) < cost(geometry, best))
            best = (mio__conv_method)method;
    return best;
}

mio__conv_choice mio__conv_choose(const mio__conv_geometry *geometry, mio__conv_algorithm algorithm)
{
    const mio__conv_method method = choose(geometry, algorithm);
    return (mio__conv_choice){{method, method, method}};
}
