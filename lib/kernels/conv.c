#include "kernels/conv.h"

#include "kernels/conv_direct.h"
#include "kernels/conv_gather.h"
#include "kernels/winograd.h"

struct mio__conv {
    mio_context *context; /* outlives the convolution */
    mio__conv_geometry geometry;
    int training;
    size_t m; /* Winograd's tile, 0: direct */
    const mio__real *weights;
    /* Weights as forward and the data gradient read them, in the images' precision; in fp32, direct forward reads them
       as they are. */
    void *derived[2];
    void *zeros;           /* a pixel */
    mio__direct direct[2]; /* forward, data gradient */
    int gathers;           /* direct forward goes through copies */
    mio__gather gather;
    mio__direct_weights direct_gradient;
    mio__winograd_pass winograd[2];
    mio__winograd_gradient winograd_gradient;
};

size_t mio__conv_extent(size_t input, size_t kernel, size_t stride, size_t padding)
{
    return kernel && stride && input + 2 * padding >= kernel ? (input + 2 * padding - kernel) / stride + 1 : 0;
}

size_t mio__conv_weight_count(const mio__shape *input, const mio__shape *output, size_t kernel)
{
    return output->blocks * output->block * input->blocks * input->block * kernel * kernel;
}

/* ---- which algorithm ---- */

/* What reading one weight costs, in multiplications: it matters where the batch is small. */
enum { WEIGHT_COST = 16 };

/* Taps that meet pixels, summed over the positions of one axis. */
static size_t axis_taps(size_t input, size_t output, size_t padding)
{
    size_t taps = 0;
    for (size_t position = 0; position < output; position++)
        for (size_t tap = 0; tap < 3; tap++)
            taps += position + tap - padding < input;
    return taps;
}

/* Cost per pair of channels, in multiplications; `transforms`: Winograd's cost relative to its multiplications. */
static double winograd_cost(const mio__conv_geometry *geometry, size_t m, double transforms)
{
    const size_t tiles = ((geometry->output.height + m - 1) / m) * ((geometry->output.width + m - 1) / m);
    const size_t images = geometry->images.views * geometry->images.groups * geometry->images.lanes;
    return (double)((m + 2) * (m + 2)) * (transforms * (double)(tiles * images) + WEIGHT_COST);
}

static double direct_cost(const mio__conv_geometry *geometry)
{
    const size_t taps = axis_taps(geometry->input.height, geometry->output.height, geometry->padding) *
                        axis_taps(geometry->input.width, geometry->output.width, geometry->padding);
    const size_t images = geometry->images.views * geometry->images.groups * geometry->images.lanes;
    return (double)(taps * images) + 9 * WEIGHT_COST;
}

/* Winograd's m, or 0: the cheapest of what the algorithm allows. */
static size_t choose(const mio__conv_geometry *geometry, mio__conv_algorithm algorithm)
{
    if (algorithm == MIO__CONV_EXACT || geometry->kernel != 3 || geometry->stride != 1 || geometry->padding > 2 ||
        geometry->input.block < 16 || geometry->output.block < 16)
        return 0;
    const double two = winograd_cost(geometry, 2, 1.25), four = winograd_cost(geometry, 4, 1.5);
    if (algorithm == MIO__CONV_FAST && four < two && four < direct_cost(geometry))
        return 4;
    return two < direct_cost(geometry) ? 2 : 0;
}

/* ---- life ---- */

static mio_status plan_direct(mio__conv *conv, int passes)
{
    const mio__conv_geometry *geometry = &conv->geometry;
    const size_t count = mio__conv_weight_count(&geometry->input, &geometry->output, geometry->kernel);
    const size_t size = count * mio__number_size(geometry->images.precision);
    conv->gathers = !conv->training && mio__gather_suits(geometry);
    if (geometry->images.precision == MIO__BF16)
        conv->derived[0] = mio__alloc(conv->context, size);
    if (geometry->images.precision == MIO__BF16 && !conv->derived[0])
        return MIO_ERROR_MEMORY;
    if (conv->gathers) {
        conv->gather = mio__gather_make(geometry);
        return MIO_OK;
    }
    for (int backward = 0; backward < passes; backward++) {
        const mio_status status = mio__direct_create(conv->context, geometry, backward, &conv->direct[backward]);
        if (status)
            return status;
    }
    if (!conv->training)
        return MIO_OK;
    conv->derived[1] = mio__alloc(conv->context, size);
    conv->direct_gradient = mio__direct_weights_make(geometry);
    return conv->derived[1] ? MIO_OK : MIO_ERROR_MEMORY;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static mio_status plan_winograd(mio__conv *conv, int passes)
{
    const mio__conv_geometry *geometry = &conv->geometry;
    const size_t block = larger(geometry->input.block, geometry->output.block);
    conv->zeros = mio__alloc_zeroed(conv->context, geometry->images.lanes * block, sizeof(mio__real));
    if (!conv->zeros)
        return MIO_ERROR_MEMORY;
    for (int backward = 0; backward < passes; backward++) {
        mio__winograd_pass *pass = &conv->winograd[backward];
        *pass = mio__winograd_pass_make(geometry, conv->m, backward, conv->zeros);
        conv->derived[backward] =
            mio__alloc(conv->context, mio__winograd_weight_count(pass) * mio__number_size(geometry->images.precision));
        if (!conv->derived[backward])
            return MIO_ERROR_MEMORY;
    }
    if (conv->training)
        conv->winograd_gradient = mio__winograd_gradient_make(geometry, conv->m, conv->zeros);
    return MIO_OK;
}

mio_status mio__conv_create(mio_context *context, const mio__conv_geometry *geometry, mio__conv_algorithm algorithm,
                            int training, mio__conv **conv)
{
    mio__conv *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    made->context = context;
    made->geometry = *geometry;
    made->training = training;
    made->m = choose(geometry, algorithm);
    const int passes = training ? 2 : 1;
    const mio_status status = made->m ? plan_winograd(made, passes) : plan_direct(made, passes);
    if (status)
        mio__conv_destroy(made);
    else
        *conv = made;
    return status;
}

void mio__conv_destroy(mio__conv *conv)
{
    if (!conv)
        return;
    for (int backward = 0; backward < 2; backward++) {
        mio__direct_destroy(conv->context, &conv->direct[backward]);
        mio__free(conv->context, conv->derived[backward]);
    }
    mio__free(conv->context, conv->zeros);
    mio__free(conv->context, conv);
}

const char *mio__conv_algorithm_name(const mio__conv *conv)
{
    return conv->m == 4 ? "winograd4" : conv->m == 2 ? "winograd2" : "direct";
}

/* ---- the passes ---- */

size_t mio__conv_scratch_size(const mio__conv *conv, size_t workers)
{
    if (conv->gathers)
        return mio__gather_scratch_size(&conv->gather, workers);
    size_t size = 0;
    for (int backward = 0; backward < (conv->training ? 2 : 1); backward++)
        size = larger(size, conv->m ? mio__winograd_pass_scratch_size(&conv->winograd[backward], workers)
                                    : mio__direct_scratch_size(&conv->direct[backward], workers));
    if (!conv->training)
        return size;
    return larger(size, conv->m ? mio__winograd_gradient_scratch_size(&conv->winograd_gradient, workers)
                                : mio__direct_weights_scratch_size(&conv->direct_gradient, workers));
}

void mio__conv_prepare(mio__conv *conv, size_t workers, const mio__real *weights)
{
    conv->weights = weights;
    for (int backward = 0; conv->m && backward < (conv->training ? 2 : 1); backward++)
        mio__winograd_prepare(conv->context, &conv->winograd[backward], backward, workers, weights,
                              conv->derived[backward]);
#ifdef MIO_HAVE_BF16_VARIANT
    if (!conv->m && conv->derived[0])
        mio__direct_pair(conv->context, &conv->geometry, workers, weights, conv->derived[0]);
#endif
    if (!conv->m && conv->training)
        mio__direct_transpose(conv->context, &conv->geometry, workers, weights, conv->derived[1]);
}

/* What direct forward reads. */
static const void *direct_weights(const mio__conv *conv)
{
    return conv->derived[0] ? conv->derived[0] : conv->weights;
}

void mio__conv_infer(const mio__conv *conv, size_t workers, void *scratch, const mio__finish *finish, const void *x,
                     void *y)
{
    if (conv->m)
        mio__winograd_pass_run(conv->context, &conv->winograd[0], workers, scratch, conv->derived[0], finish, x, y, 0);
    else if (conv->gathers)
        mio__gather_run(conv->context, &conv->gather, workers, scratch, direct_weights(conv), finish, x, y);
    else
        mio__direct_run(conv->context, &conv->direct[0], workers, scratch, direct_weights(conv), finish, x, y, 0);
}

void mio__conv_forward(const mio__conv *conv, size_t workers, void *scratch, const void *x, void *y)
{
    mio__conv_infer(conv, workers, scratch, NULL, x, y);
}

void mio__conv_backward_data(const mio__conv *conv, size_t workers, void *scratch, const void *dy, void *dx,
                             int accumulate)
{
    if (conv->m)
        mio__winograd_pass_run(conv->context, &conv->winograd[1], workers, scratch, conv->derived[1], NULL, dy, dx,
                               accumulate);
    else
        mio__direct_run(conv->context, &conv->direct[1], workers, scratch, conv->derived[1], NULL, dy, dx, accumulate);
}

void mio__conv_backward_weights(const mio__conv *conv, size_t workers, void *scratch, const void *x, const void *dy,
                                mio__real *dw)
{
    if (conv->m)
        mio__winograd_gradient_run(conv->context, &conv->winograd_gradient, workers, scratch, x, dy, dw);
    else
        mio__direct_weights_run(conv->context, &conv->direct_gradient, workers, scratch, x, dy, dw);
}
