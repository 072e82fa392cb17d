/* Which method computes which convolution, unless a table of measured choices (conv_tuning.h) says otherwise. */
#include "kernels/conv.h"
#include "kernels/conv_gather.h"
#include "kernels/polyphase.h"

/* What Winograd's methods cost, as measured with AVX-512 (docs/performance.md, "Which algorithm"): by the smaller
   number of channels, the time of a product with its share of the transforms, relative to a product of the direct
   method; and what reading a weight costs beside those, in such products, which matters where images are few. */
static const struct {
    size_t channels;                /* this many and more */
    double product[MIO__PASSES][2]; /* F(2x2), F(4x4) */
    double weight[3];               /* direct, F(2x2), F(4x4) */
    double streamed;                /* direct, where weights are prefetched: as measured with AVX2 */
} costs[] = {
    {16, {{1.60, 1.90}, {1.60, 1.90}, {1.55, 2.00}}, {3, 2, 2}, 3},
    {32, {{1.33, 1.55}, {1.33, 1.55}, {1.40, 1.60}}, {3, 2, 2}, 3},
    {64, {{1.15, 1.33}, {1.15, 1.33}, {1.30, 1.28}}, {3, 2, 2}, 3},
    {256, {{1.15, 1.33}, {1.15, 1.33}, {1.30, 1.28}}, {12, 12, 11}, 5}, /* from here on weights come from memory */
    {512, {{1.00, 1.05}, {1.00, 1.05}, {1.20, 1.20}}, {12, 8, 6.5}, 5},
};

int mio__conv_permits(const mio__conv_geometry *geometry, mio__conv_algorithm algorithm, mio__conv_method method)
{
    static const mio__conv_algorithm least[MIO__METHODS] = {MIO__CONV_EXACT, MIO__CONV_ACCURATE, MIO__CONV_FAST,
                                                            MIO__CONV_FAST};
    const int winograd = geometry->kernel == 3 && geometry->stride == 1 && geometry->padding <= 2 &&
                         geometry->input.block >= 16 && geometry->output.block >= 16;
    const int applies = method == MIO__POLYPHASE ? mio__polyphase_applies(geometry) : winograd;
    return method == MIO__DIRECT || (applies && algorithm >= least[method]);
}

const char *mio__conv_method_name(mio__conv_method method)
{
    static const char *const names[MIO__METHODS] = {"direct", "winograd2", "winograd4", "polyphase"};
    return names[method];
}

/* Taps that meet pixels, summed over the positions of one axis. */
static size_t axis_taps(const mio__conv_geometry *geometry, size_t input, size_t output)
{
    size_t taps = 0;
    for (size_t position = 0; position < output; position++)
        for (size_t tap = 0; tap < 3; tap++)
            taps += position * geometry->stride + tap - geometry->padding < input;
    return taps;
}

/* Images that the choice counts with. From 16 on they are all one: an image has then the same bits in evaluation
   whatever group it lies in, and in training a batch's share on another machine is computed as the whole is. */
static size_t images_of(const mio__conv_geometry *geometry)
{
    const size_t images = geometry->images.views * geometry->images.groups * geometry->images.lanes;
    return images < 16 ? images : 64;
}

static size_t row_of(const mio__conv_geometry *geometry)
{
    const size_t in = geometry->input.channels, out = geometry->output.channels;
    size_t row = sizeof costs / sizeof *costs - 1;
    while (row && (in < out ? in : out) < costs[row].channels)
        row--;
    return row;
}

/* Cost per pair of channels, in products of the direct method. */
static double winograd_cost(const mio__conv_geometry *geometry, mio__conv_pass pass, mio__conv_method method)
{
    const size_t m = method == MIO__WINOGRAD2 ? 2 : 4, row = row_of(geometry);
    const size_t tiles = ((geometry->output.height + m - 1) / m) * ((geometry->output.width + m - 1) / m);
    return (double)((m + 2) * (m + 2)) *
           (costs[row].product[pass][m / 4] * (double)(tiles * images_of(geometry)) + costs[row].weight[1 + m / 4]);
}

static double direct_cost(const mio__conv_geometry *geometry, int training)
{
    const size_t taps = axis_taps(geometry, geometry->input.height, geometry->output.height) *
                        axis_taps(geometry, geometry->input.width, geometry->output.width);
    const size_t row = row_of(geometry);
    const int streamed = !training && mio__gather_suits(geometry) && mio__gemm_streams();
    return (double)(taps * images_of(geometry)) + 9 * (streamed ? costs[row].streamed : costs[row].weight[0]);
}

/* Whether the algorithm by phases is the faster one at stride 2: where pixels have lanes enough for products of their
   own, and tiles are not mostly padding; 1.25: the transforms' share. */
static int suits_phases(const mio__conv_geometry *geometry)
{
    const size_t tiles = ((geometry->output.height + 3) / 4) * ((geometry->output.width + 3) / 4);
    const size_t taps = axis_taps(geometry, geometry->input.height, geometry->output.height) *
                        axis_taps(geometry, geometry->input.width, geometry->output.width);
    return geometry->images.lanes >= MIO__MANY_LANES && 81 * 1.25 * (double)tiles < (double)taps;
}

static mio__conv_method choose(const mio__conv_geometry *geometry, mio__conv_algorithm algorithm, int training,
                               mio__conv_pass pass)
{
    if (mio__conv_permits(geometry, algorithm, MIO__POLYPHASE) && suits_phases(geometry))
        return MIO__POLYPHASE;
    mio__conv_method best = MIO__DIRECT;
    double least = direct_cost(geometry, training);
    for (int method = MIO__WINOGRAD2; method <= MIO__WINOGRAD4; method++) {
        if (!mio__conv_permits(geometry, algorithm, (mio__conv_method)method))
            continue;
        const double cost = winograd_cost(geometry, pass, (mio__conv_method)method);
        if (cost < least) {
            least = cost;
            best = (mio__conv_method)method;
        }
    }
    return best;
}

mio__conv_choice mio__conv_choose(const mio__conv_geometry *geometry, mio__conv_algorithm algorithm, int training)
{
    mio__conv_choice choice;
    for (int pass = 0; pass < MIO__PASSES; pass++)
        choice.of[pass] = choose(geometry, algorithm, training, (mio__conv_pass)pass);
    return choice;
}
