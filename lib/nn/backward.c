#include "nn/pass.h"

#include "kernels/elementwise.h"
#include "kernels/pool.h"

#include <string.h>

/* The gradient of a value to write to, or NULL where none is needed; *accumulate tells whether it holds something. */
static void *open_gradient(const mio__pass *pass, mio__started *started, size_t value, int *accumulate)
{
    if (value == MIO__NONE || pass->plan->gradients[value] == MIO__NONE)
        return NULL;
    *accumulate = started[value];
    started[value] = 1;
    return mio__pass_at(pass, pass->plan->gradients[value]);
}

static size_t value_size(const mio__pass *pass, size_t value)
{
    return mio__tensor_size(&pass->plan->graph->values[value].shape, &pass->plan->images);
}

/* d (+)= g */
static void add_gradient(const mio__pass *pass, size_t value, int accumulate, const void *g, void *d)
{
    const mio__precision precision = pass->plan->images.precision;
    const size_t size = value_size(pass, value);
    if (accumulate)
        mio__add(pass->plan->context, pass->workers, precision, size, d, g, d);
    else
        memcpy(d, g, size * mio__number_size(precision));
}

void mio__pass_seed(const mio__pass *pass, mio__started *started, size_t value, const float *rows)
{
    const mio__plan *plan = pass->plan;
    if (value == MIO__NONE || plan->gradients[value] == MIO__NONE)
        return;
    void *gradient = mio__pass_at(pass, plan->gradients[value]);
    const mio__shape *shape = &plan->graph->values[value].shape;
    if (!rows) {
        if (!plan->graph->values[value].consumers && !started[value]) {
            memset(gradient, 0, value_size(pass, value) * mio__number_size(plan->images.precision));
            started[value] = 1;
        }
        return;
    }
    void *packed = started[value] ? mio__pass_at(pass, plan->seed) : gradient;
    mio__pack(plan->context, pass->workers, shape, &plan->images, rows, packed);
    if (started[value])
        add_gradient(pass, value, 1, packed, gradient);
    started[value] = 1;
}

/* ---- steps ---- */

static void conv_backward(const mio__pass *pass, size_t s, const mio__tensor *tensors, int bias, const void *x,
                          const void *dy, void *dx, int accumulate)
{
    const mio__plan *plan = pass->plan;
    if (bias)
        mio__sum_bias(plan->context, pass->workers, &plan->graph->values[s + 1].shape, &plan->images, dy,
                      tensors[1].gradient);
    mio__conv_backward_weights(plan->convs[s], pass->workers, pass->scratch, x, dy, tensors[0].gradient);
    if (dx)
        mio__conv_backward_data(plan->convs[s], pass->workers, pass->scratch, dy, dx, accumulate);
}

/* The kernel overwrites dx: where others have written before it, it writes aside, and the sum follows. So it does where
   the residual is the very input. An input whose gradient nobody wants has no room for one: then it goes over dy. */
static void batch_norm_backward(const mio__pass *pass, mio__started *started, size_t s, const mio__tensor *tensors,
                                void *dy)
{
    const mio__plan *plan = pass->plan;
    const mio__step *step = &plan->graph->steps[s];
    const mio__batch_norm norm = mio__plan_batch_norm(plan, s);
    const mio__real *mean = mio__pass_at(pass, plan->statistics[s]);
    const mio__real *rstd = mio__pass_at(pass, plan->statistics[s] + mio__plan_statistics_size(plan, s));
    int accumulate = 0, accumulate_other = 0;
    void *other = open_gradient(pass, started, step->other, &accumulate_other);
    void *sum = open_gradient(pass, started, step->input, &accumulate);
    void *dx = !sum ? dy : accumulate ? mio__pass_at(pass, plan->temporary[s]) : sum;
    mio__batch_norm_backward(plan->context, pass->workers, pass->scratch, &norm,
                             mio__pass_at(pass, plan->values[step->input]), mio__pass_at(pass, plan->values[s + 1]), dy,
                             tensors[0].value, mean, rstd, tensors[0].gradient, tensors[1].gradient, dx, other,
                             accumulate_other);
    if (sum && accumulate)
        add_gradient(pass, step->input, 1, dx, sum);
}

static void add_backward(const mio__pass *pass, mio__started *started, const mio__step *step, const void *dy)
{
    const size_t inputs[2] = {step->input, step->other};
    for (int i = 0; i < 2; i++) {
        int accumulate = 0;
        void *dx = open_gradient(pass, started, inputs[i], &accumulate);
        if (dx)
            add_gradient(pass, inputs[i], accumulate, dy, dx);
    }
}

/* Of a step with one input; dx NULL: nobody asks. */
static void one_input_backward(const mio__pass *pass, size_t s, const mio__tensor *tensors, const void *dy, void *dx,
                               int accumulate)
{
    const mio__plan *plan = pass->plan;
    const mio__step *step = &plan->graph->steps[s];
    const mio__layer *layer = mio__step_layer(plan->graph, step);
    const mio__shape *input = &plan->graph->values[step->input].shape;
    const mio__shape *output = &plan->graph->values[s + 1].shape;
    const void *x = mio__pass_at(pass, plan->values[step->input]);
    if (!dx && step->kind != MIO__LAYER_CONV)
        return;
    switch (step->kind) {
    case MIO__LAYER_CONV: conv_backward(pass, s, tensors, layer->bias, x, dy, dx, accumulate); break;
    case MIO__LAYER_RELU:
        mio__relu_backward(plan->context, pass->workers, plan->images.precision,
                           mio__tensor_size(output, &plan->images), mio__pass_at(pass, plan->values[s + 1]), dy, dx,
                           accumulate);
        break;
    case MIO__LAYER_MAX_POOL:
        mio__max_pool_backward(plan->context, pass->workers, input, output, &plan->images, layer->kernel, layer->stride,
                               layer->padding, x, dy, dx, accumulate);
        break;
    case MIO__LAYER_AVERAGE_POOL:
        mio__average_pool_backward(plan->context, pass->workers, input, &plan->images, dy, dx, accumulate);
        break;
    case MIO__LAYER_BATCH_NORM:
    case MIO__LAYER_ADD: /* run_step has them */
    case MIO__LAYER_INPUT:
    case MIO__LAYER_LINEAR: /* its steps are convolutions */
    case MIO__LAYER_KINDS: break;
    }
}

static void run_step(const mio__pass *pass, mio__started *started, size_t s)
{
    const mio__plan *plan = pass->plan;
    const mio__step *step = &plan->graph->steps[s];
    if (plan->gradients[s + 1] == MIO__NONE)
        return;
    void *dy = mio__pass_at(pass, plan->gradients[s + 1]);
    const mio__tensor *tensors = pass->tensors + mio__step_layer(plan->graph, step)->tensor;
    int accumulate = 0;
    if (step->kind == MIO__LAYER_BATCH_NORM) {
        batch_norm_backward(pass, started, s, tensors, dy);
    } else if (step->kind == MIO__LAYER_ADD) {
        add_backward(pass, started, step, dy);
    } else {
        void *dx = open_gradient(pass, started, step->input, &accumulate);
        one_input_backward(pass, s, tensors, dy, dx, accumulate);
    }
}

void mio__pass_backward(const mio__pass *pass, mio__started *started)
{
    for (size_t s = pass->plan->graph->step_count; s-- > 0;)
        run_step(pass, started, s);
}
