#include "nn/pass.h"

#include "kernels/elementwise.h"
#include "kernels/pool.h"

void *mio__pass_at(const mio__pass *pass, size_t place)
{
    return pass->arena + place;
}

void mio__pass_prepare(const mio__pass *pass)
{
    const mio__plan *plan = pass->plan;
    for (size_t s = 0; s < plan->graph->step_count; s++) {
        const mio__tensor *tensors = pass->tensors + mio__step_layer(plan->graph, &plan->graph->steps[s])->tensor;
        if (plan->convs[s])
            mio__conv_prepare(plan->convs[s], pass->workers, tensors[0].value);
        if (plan->finished[s] != MIO__NONE) {
            const mio__batch_norm norm = mio__plan_batch_norm(plan, s);
            mio__batch_norm_scale(&norm, tensors[0].value, tensors[3].value,
                                  plan->scales + mio__plan_scales_at(plan, s));
        }
    }
}

static void conv_forward(const mio__pass *pass, size_t s, const mio__tensor *tensors, int bias, const void *x, void *y)
{
    const mio__plan *plan = pass->plan;
    mio__conv_forward(plan->convs[s], pass->workers, pass->scratch, x, y);
    if (bias)
        mio__add_bias(plan->context, pass->workers, &plan->graph->values[s + 1].shape, &plan->images, tensors[1].value,
                      y);
}

/* tensors: weight, bias, running mean, running variance, number of batches. */
static void batch_norm_forward(const mio__pass *pass, size_t s, const mio__tensor *tensors, const void *x,
                               const void *residual, void *y)
{
    const mio__plan *plan = pass->plan;
    const mio__batch_norm norm = mio__plan_batch_norm(plan, s);
    if (!plan->training) {
        mio__batch_norm_infer(plan->context, pass->workers, &norm, x, residual, tensors[0].value, tensors[1].value,
                              tensors[2].value, tensors[3].value, y);
        return;
    }
    mio__real *mean = mio__pass_at(pass, plan->statistics[s]);
    mio__real *rstd = mio__pass_at(pass, plan->statistics[s] + mio__plan_statistics_size(plan, s));
    mio__batch_norm_forward(plan->context, pass->workers, pass->scratch, &norm, x, residual, tensors[0].value,
                            tensors[1].value, mean, rstd, tensors[2].value, tensors[3].value, y);
    tensors[4].value[0] += (mio__real)plan->images.views;
}

/* A batch norm together with the convolution before it. */
static void run_finished(const mio__pass *pass, size_t s)
{
    const mio__plan *plan = pass->plan;
    const mio__step *norm = &plan->graph->steps[s], *conv = &plan->graph->steps[plan->finished[s]];
    const mio__tensor *tensors = pass->tensors + mio__step_layer(plan->graph, norm)->tensor;
    const mio__finish finish = {
        .mean = tensors[2].value,
        .scale = plan->scales + mio__plan_scales_at(plan, s),
        .beta = tensors[1].value,
        .residual = norm->other == MIO__NONE ? NULL : mio__pass_at(pass, plan->values[norm->other]),
        .relu = norm->relu,
    };
    mio__conv_infer(plan->convs[plan->finished[s]], pass->workers, pass->scratch, &finish,
                    mio__pass_at(pass, plan->values[conv->input]), mio__pass_at(pass, plan->values[s + 1]));
}

static void run_step(const mio__pass *pass, size_t s)
{
    const mio__plan *plan = pass->plan;
    const mio__step *step = &plan->graph->steps[s];
    const mio__layer *layer = mio__step_layer(plan->graph, step);
    const mio__tensor *tensors = pass->tensors + layer->tensor;
    const mio__shape *input = &plan->graph->values[step->input].shape;
    const mio__shape *output = &plan->graph->values[s + 1].shape;
    if (plan->values[s + 1] == MIO__NONE) /* a later step computes it */
        return;
    if (plan->finished[s] != MIO__NONE) {
        run_finished(pass, s);
        return;
    }
    const void *x = mio__pass_at(pass, plan->values[step->input]);
    const void *other = step->other == MIO__NONE ? NULL : mio__pass_at(pass, plan->values[step->other]);
    void *y = mio__pass_at(pass, plan->values[s + 1]);
    switch (step->kind) {
    case MIO__LAYER_CONV: conv_forward(pass, s, tensors, layer->bias, x, y); break;
    case MIO__LAYER_BATCH_NORM: batch_norm_forward(pass, s, tensors, x, other, y); break;
    case MIO__LAYER_RELU:
        mio__relu_forward(plan->context, pass->workers, plan->images.precision, mio__tensor_size(output, &plan->images),
                          x, y);
        break;
    case MIO__LAYER_ADD:
        mio__add(plan->context, pass->workers, plan->images.precision, mio__tensor_size(output, &plan->images), x,
                 other, y);
        break;
    case MIO__LAYER_MAX_POOL:
        mio__max_pool_forward(plan->context, pass->workers, input, output, &plan->images, layer->kernel, layer->stride,
                              layer->padding, x, y);
        break;
    case MIO__LAYER_AVERAGE_POOL:
        mio__average_pool_forward(plan->context, pass->workers, input, &plan->images, x, y);
        break;
    case MIO__LAYER_INPUT:
    case MIO__LAYER_LINEAR: /* its steps are convolutions */
    case MIO__LAYER_KINDS: break;
    }
}

void mio__pass_forward(const mio__pass *pass, size_t steps)
{
    for (size_t s = 0; s < steps; s++)
        run_step(pass, s);
}
