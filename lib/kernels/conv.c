#include "kernels/conv.h"

#include "kernels/conv_direct.h"
#include "kernels/conv_gather.h"
#include "kernels/polyphase.h"
#include "kernels/winograd.h"

struct mio__conv {
    mio_context *context; /* outlives the convolution */
    mio__conv_geometry geometry;
    int training;
    mio__conv_choice choice;
    const mio__real *weights;
    /* Weights as forward and the data gradient read them, in the images' precision; in fp32, direct forward reads them
       as they are. */
    void *derived[2];
    void *zeros;           /* a pixel, for what is not direct */
    mio__direct direct[2]; /* forward, data gradient */
    int gathers;           /* direct forward goes through copies */
    mio__gather gather;
    mio__direct_weights direct_gradient;
    mio__winograd_pass winograd[2];
    mio__winograd_gradient winograd_gradient;
    mio__polyphase_pass phases[2];
    mio__polyphase_gradient phases_gradient;
};

size_t mio__conv_extent(size_t input, size_t kernel, size_t stride, size_t padding)
{
    return kernel && stride && input + 2 * padding >= kernel ? (input + 2 * padding - kernel) / stride + 1 : 0;
}

size_t mio__conv_weight_count(const mio__shape *input, const mio__shape *output, size_t kernel)
{
    return output->blocks * output->block * input->blocks * input->block * kernel * kernel;
}

/* ---- life ---- */

/* Winograd's tile m, or 0: another method. */
static size_t tile_of(const mio__conv *conv, mio__conv_pass pass)
{
    static const size_t tiles[MIO__METHODS] = {0, 2, 4, 0};
    return tiles[conv->choice.of[pass]];
}

static int is_phased(const mio__conv *conv, mio__conv_pass pass)
{
    return conv->choice.of[pass] == MIO__POLYPHASE;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Forward or the data gradient. */
static mio_status plan_direct(mio__conv *conv, mio__conv_pass pass)
{
    const mio__conv_geometry *geometry = &conv->geometry;
    const size_t count = mio__conv_weight_count(&geometry->input, &geometry->output, geometry->kernel);
    if (pass == MIO__BACKWARD_DATA || geometry->images.precision == MIO__BF16) {
        conv->derived[pass] = mio__alloc(conv->context, count * mio__number_size(geometry->images.precision));
        if (!conv->derived[pass])
            return MIO_ERROR_MEMORY;
    }
    conv->gathers = !conv->training && mio__gather_suits(geometry);
    if (!conv->gathers)
        return mio__direct_create(conv->context, geometry, pass == MIO__BACKWARD_DATA, &conv->direct[pass]);
    conv->gather = mio__gather_make(geometry);
    return MIO_OK;
}

static mio_status plan_winograd(mio__conv *conv, mio__conv_pass pass)
{
    const mio__precision precision = conv->geometry.images.precision;
    mio__winograd_pass *plan = &conv->winograd[pass];
    *plan = mio__winograd_pass_make(&conv->geometry, tile_of(conv, pass), pass == MIO__BACKWARD_DATA, conv->zeros);
    conv->derived[pass] = mio__alloc(conv->context, mio__winograd_weight_count(plan) * mio__number_size(precision));
    return conv->derived[pass] ? MIO_OK : MIO_ERROR_MEMORY;
}

static mio_status plan_phases(mio__conv *conv, mio__conv_pass pass)
{
    mio__polyphase_pass *plan = &conv->phases[pass];
    *plan = mio__polyphase_pass_make(&conv->geometry, pass == MIO__BACKWARD_DATA, conv->zeros);
    conv->derived[pass] = mio__alloc(conv->context, mio__polyphase_weight_count(plan) * sizeof(mio__real));
    return conv->derived[pass] ? MIO_OK : MIO_ERROR_MEMORY;
}

static mio_status make_zeros(mio__conv *conv)
{
    const mio__conv_geometry *geometry = &conv->geometry;
    const size_t block = larger(geometry->input.block, geometry->output.block);
    for (int pass = 0; pass < (conv->training ? MIO__PASSES : 1) && !conv->zeros; pass++)
        if (conv->choice.of[pass] != MIO__DIRECT &&
            !(conv->zeros = mio__alloc_zeroed(conv->context, geometry->images.lanes * block, sizeof(mio__real))))
            return MIO_ERROR_MEMORY;
    return MIO_OK;
}

static mio_status plan(mio__conv *conv)
{
    mio_status status = make_zeros(conv);
    for (int pass = MIO__FORWARD; !status && pass <= (conv->training ? MIO__BACKWARD_DATA : MIO__FORWARD); pass++)
        status = tile_of(conv, (mio__conv_pass)pass)     ? plan_winograd(conv, (mio__conv_pass)pass)
                 : is_phased(conv, (mio__conv_pass)pass) ? plan_phases(conv, (mio__conv_pass)pass)
                                                         : plan_direct(conv, (mio__conv_pass)pass);
    if (status || !conv->training)
        return status;
    if (tile_of(conv, MIO__BACKWARD_WEIGHTS))
        conv->winograd_gradient =
            mio__winograd_gradient_make(&conv->geometry, tile_of(conv, MIO__BACKWARD_WEIGHTS), conv->zeros);
    else if (is_phased(conv, MIO__BACKWARD_WEIGHTS))
        conv->phases_gradient = mio__polyphase_gradient_make(&conv->geometry, conv->zeros);
    else
        conv->direct_gradient = mio__direct_weights_make(&conv->geometry);
    return MIO_OK;
}

mio_status mio__conv_create_as(mio_context *context, const mio__conv_geometry *geometry, const mio__conv_choice *choice,
                               int training, mio__conv **conv)
{
    mio__conv *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    made->context = context;
    made->geometry = *geometry;
    made->training = training;
    made->choice = *choice;
    const mio_status status = plan(made);
    if (status)
        mio__conv_destroy(made);
    else
        *conv = made;
    return status;
}

mio_status mio__conv_create(mio_context *context, const mio__conv_geometry *geometry, mio__conv_algorithm algorithm,
                            int training, mio__conv **conv)
{
    const mio__conv_choice choice = mio__conv_choose(geometry, algorithm, training);
    return mio__conv_create_as(context, geometry, &choice, training, conv);
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

mio__conv_method mio__conv_method_of(const mio__conv *conv, mio__conv_pass pass)
{
    return conv->choice.of[pass];
}

const char *mio__conv_algorithm_name(const mio__conv *conv)
{
    return mio__conv_method_name(conv->choice.of[MIO__FORWARD]);
}

/* ---- the passes ---- */

size_t mio__conv_scratch_size(const mio__conv *conv, size_t workers)
{
    size_t size = 0;
    for (int pass = MIO__FORWARD; pass <= (conv->training ? MIO__BACKWARD_DATA : MIO__FORWARD); pass++)
        size = larger(size, tile_of(conv, (mio__conv_pass)pass)
                                ? mio__winograd_pass_scratch_size(&conv->winograd[pass], workers)
                            : is_phased(conv, (mio__conv_pass)pass)
                                ? mio__polyphase_pass_scratch_size(&conv->phases[pass], workers)
                            : conv->gathers ? mio__gather_scratch_size(&conv->gather, workers)
                                            : mio__direct_scratch_size(&conv->direct[pass], workers));
    if (!conv->training)
        return size;
    return larger(size, tile_of(conv, MIO__BACKWARD_WEIGHTS)
                            ? mio__winograd_gradient_scratch_size(&conv->winograd_gradient, workers)
                        : is_phased(conv, MIO__BACKWARD_WEIGHTS)
                            ? mio__polyphase_gradient_scratch_size(&conv->phases_gradient, workers)
                            : mio__direct_weights_scratch_size(&conv->direct_gradient, workers));
}

void mio__conv_prepare_pass(mio__conv *conv, mio__conv_pass pass, size_t workers, const mio__real *weights)
{
    conv->weights = weights;
    if (pass == MIO__BACKWARD_WEIGHTS || !conv->derived[pass])
        return;
    if (tile_of(conv, pass))
        mio__winograd_prepare(conv->context, &conv->winograd[pass], pass == MIO__BACKWARD_DATA, workers, weights,
                              conv->derived[pass]);
    else if (is_phased(conv, pass))
        mio__polyphase_prepare(conv->context, &conv->phases[pass], workers, weights, conv->derived[pass]);
    else if (pass == MIO__BACKWARD_DATA)
        mio__direct_transpose(conv->context, &conv->geometry, workers, weights, conv->derived[pass]);
#ifdef MIO_HAVE_BF16_VARIANT
    else
        mio__direct_pair(conv->context, &conv->geometry, workers, weights, conv->derived[pass]);
#endif
}

void mio__conv_prepare(mio__conv *conv, size_t workers, const mio__real *weights)
{
    mio__conv_prepare_pass(conv, MIO__FORWARD, workers, weights);
    mio__conv_prepare_pass(conv, MIO__BACKWARD_DATA, workers, weights);
}

/* What direct forward reads. */
static const void *direct_weights(const mio__conv *conv)
{
    return conv->derived[0] ? conv->derived[0] : conv->weights;
}

void mio__conv_infer(const mio__conv *conv, size_t workers, void *scratch, const mio__finish *finish, const void *x,
                     void *y)
{
    if (tile_of(conv, MIO__FORWARD))
        mio__winograd_pass_run(conv->context, &conv->winograd[0], workers, scratch, conv->derived[0], finish, x, y, 0);
    else if (is_phased(conv, MIO__FORWARD))
        mio__polyphase_pass_run(conv->context, &conv->phases[0], workers, scratch, conv->derived[0], finish, x, y, 0);
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
    if (tile_of(conv, MIO__BACKWARD_DATA))
        mio__winograd_pass_run(conv->context, &conv->winograd[1], workers, scratch, conv->derived[1], NULL, dy, dx,
                               accumulate);
    else if (is_phased(conv, MIO__BACKWARD_DATA))
        mio__polyphase_pass_run(conv->context, &conv->phases[1], workers, scratch, conv->derived[1], NULL, dy, dx,
                                accumulate);
    else
        mio__direct_run(conv->context, &conv->direct[1], workers, scratch, conv->derived[1], NULL, dy, dx, accumulate);
}

void mio__conv_backward_weights(const mio__conv *conv, size_t workers, void *scratch, const void *x, const void *dy,
                                mio__real *dw)
{
    if (tile_of(conv, MIO__BACKWARD_WEIGHTS))
        mio__winograd_gradient_run(conv->context, &conv->winograd_gradient, workers, scratch, x, dy, dw);
    else if (is_phased(conv, MIO__BACKWARD_WEIGHTS))
        mio__polyphase_gradient_run(conv->context, &conv->phases_gradient, workers, scratch, x, dy, dw);
    else
        mio__direct_weights_run(conv->context, &conv->direct_gradient, workers, scratch, x, dy, dw);
}
