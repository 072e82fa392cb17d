#include "kernels/conv.h"

#include "kernels/conv_direct.h"

struct mio__conv {
    mio_context *context; /* outlives the convolution */
    mio__conv_geometry geometry;
    int training;
    const mio__real *weights;
    mio__real *transposed; /* for the data gradient */
    mio__direct forward, backward;
    mio__direct_weights gradient;
};

size_t mio__conv_extent(size_t input, size_t kernel, size_t stride, size_t padding)
{
    return kernel && stride && input + 2 * padding >= kernel ? (input + 2 * padding - kernel) / stride + 1 : 0;
}

size_t mio__conv_weight_count(const mio__shape *input, const mio__shape *output, size_t kernel)
{
    return output->blocks * output->block * input->blocks * input->block * kernel * kernel;
}

static mio_status plan_direct(mio__conv *conv)
{
    const mio__conv_geometry *geometry = &conv->geometry;
    mio_status status = mio__direct_create(conv->context, geometry, 0, &conv->forward);
    if (status || !conv->training)
        return status;
    const size_t count = mio__conv_weight_count(&geometry->input, &geometry->output, geometry->kernel);
    conv->transposed = mio__alloc(conv->context, count * sizeof *conv->transposed);
    conv->gradient = mio__direct_weights_make(geometry);
    return conv->transposed ? mio__direct_create(conv->context, geometry, 1, &conv->backward) : MIO_ERROR_MEMORY;
}

mio_status mio__conv_create(mio_context *context, const mio__conv_geometry *geometry, mio__conv_algorithm algorithm,
                            int training, mio__conv **conv)
{
    (void)algorithm;
    mio__conv *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    made->context = context;
    made->geometry = *geometry;
    made->training = training;
    const mio_status status = plan_direct(made);
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
    mio__direct_destroy(conv->context, &conv->forward);
    mio__direct_destroy(conv->context, &conv->backward);
    mio__free(conv->context, conv->transposed);
    mio__free(conv->context, conv);
}

const char *mio__conv_algorithm_name(const mio__conv *conv)
{
    (void)conv;
    return "direct";
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

size_t mio__conv_scratch_size(const mio__conv *conv, size_t workers)
{
    size_t size = mio__direct_scratch_size(&conv->forward, workers);
    if (conv->training) {
        size = larger(size, mio__direct_scratch_size(&conv->backward, workers));
        size = larger(size, mio__direct_weights_scratch_size(&conv->gradient, workers));
    }
    return size;
}

void mio__conv_prepare(mio__conv *conv, size_t workers, const mio__real *weights)
{
    conv->weights = weights;
    if (conv->training)
        mio__direct_transpose(conv->context, &conv->geometry, workers, weights, conv->transposed);
}

void mio__conv_forward(const mio__conv *conv, size_t workers, void *scratch, const mio__real *x, mio__real *y)
{
    mio__direct_run(conv->context, &conv->forward, workers, scratch, conv->weights, x, y, 0);
}

void mio__conv_backward_data(const mio__conv *conv, size_t workers, void *scratch, const mio__real *dy, mio__real *dx,
                             int accumulate)
{
    mio__direct_run(conv->context, &conv->backward, workers, scratch, conv->transposed, dy, dx, accumulate);
}

void mio__conv_backward_weights(const mio__conv *conv, size_t workers, void *scratch, const mio__real *x,
                                const mio__real *dy, mio__real *dw)
{
    mio__direct_weights_run(conv->context, &conv->gradient, workers, scratch, x, dy, dw);
}
