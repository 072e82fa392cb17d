/* Times the convolutions of a ResNet-18 one by one, each pass by itself, on the library's internals: bench_conv
   [--batch 64] [--width 64] [--threads 2] [--algorithm exact|accurate|fast] and the options of pace.h. The forward pass
   includes the preparation of the weights for all passes, which a training step does once after each update. */
#define _POSIX_C_SOURCE 200809L
#include "pace.h"

#include "kernels/conv.h"

#include <stdio.h>
#include <string.h>

/* Of the base width; the input's extent. compare_pytorch.py has the same. */
typedef struct layer {
    size_t in, out, extent, kernel, stride;
} layer;

static const layer layers[] = {{1, 1, 32, 3, 1}, {2, 2, 16, 3, 1}, {4, 4, 8, 3, 1},  {8, 8, 4, 3, 1},  {1, 2, 32, 3, 2},
                               {2, 4, 16, 3, 2}, {4, 8, 8, 3, 2},  {1, 2, 32, 1, 2}, {2, 4, 16, 1, 2}, {4, 8, 8, 1, 2}};
enum { LAYERS = sizeof layers / sizeof *layers, PASSES = 3 };

typedef struct work {
    mio__conv *conv;
    size_t workers;
    void *scratch;
    mio__real *x, *y, *w, *dx, *dy, *dw;
} work;

static void forward(void *argument)
{
    const work *t = argument;
    mio__conv_prepare(t->conv, t->workers, t->w);
    mio__conv_forward(t->conv, t->workers, t->scratch, t->x, t->y);
}

static void data_gradient(void *argument)
{
    const work *t = argument;
    mio__conv_backward_data(t->conv, t->workers, t->scratch, t->dy, t->dx, 0);
}

static void weight_gradient(void *argument)
{
    const work *t = argument;
    mio__conv_backward_weights(t->conv, t->workers, t->scratch, t->x, t->dy, t->dw);
}

static mio__conv_algorithm algorithm_of(const bench_options *options)
{
    const char *name = bench_text(options, "algorithm", "fast");
    return !strcmp(name, "exact") ? MIO__CONV_EXACT : !strcmp(name, "accurate") ? MIO__CONV_ACCURATE : MIO__CONV_FAST;
}

/* bench_floats fills the filling channels too, which costs the same. */
static void make(const bench_options *options, mio_context *context, const layer *l, work *t)
{
    const size_t width = bench_size(options, "width", 64), padding = l->kernel / 2;
    const size_t extent = mio__conv_extent(l->extent, l->kernel, l->stride, padding);
    const mio__conv_geometry g = {mio__shape_of(l->in * width, l->extent, l->extent),
                                  mio__shape_of(l->out * width, extent, extent),
                                  l->kernel,
                                  l->stride,
                                  padding,
                                  mio__images_of(1, bench_size(options, "batch", 64))};
    const size_t weights = mio__conv_weight_count(&g.input, &g.output, g.kernel);
    bench_require(mio__conv_create(context, &g, algorithm_of(options), 1, &t->conv));
    t->workers = mio__workers(context);
    t->scratch = bench_allocate(mio__conv_scratch_size(t->conv, t->workers) + 64);
    t->x = bench_floats(mio__tensor_size(&g.input, &g.images));
    t->dx = bench_floats(mio__tensor_size(&g.input, &g.images));
    t->y = bench_floats(mio__tensor_size(&g.output, &g.images));
    t->dy = bench_floats(mio__tensor_size(&g.output, &g.images));
    t->w = bench_floats(weights);
    t->dw = bench_floats(weights);
}

int main(int count, char **arguments)
{
    static void (*const passes[])(void *) = {forward, data_gradient, weight_gradient};
    static const char *const names[] = {"forward", "data", "weights"};
    static char labels[LAYERS * PASSES][64];
    const bench_options options = {count, arguments};
    bench_case cases[LAYERS * PASSES];
    work works[LAYERS];
    mio_context *context = NULL;
    bench_require(mio_context_create(&context));
    bench_require(mio_context_set(context, "threads", bench_number(&options, "threads", 2)));
    const size_t width = bench_size(&options, "width", 64);
    for (size_t i = 0; i < LAYERS; i++) {
        make(&options, context, &layers[i], &works[i]);
        for (size_t pass = 0; pass < PASSES; pass++) {
            char *label = labels[PASSES * i + pass];
            snprintf(label, sizeof *labels, "%zu-%zu,%zux%zu,k%zus%zu,%s", layers[i].in * width, layers[i].out * width,
                     layers[i].extent, layers[i].extent, layers[i].kernel, layers[i].stride, names[pass]);
            cases[PASSES * i + pass] = (bench_case){label, passes[pass], &works[i]};
        }
    }
    bench_pace(&options, LAYERS * PASSES, cases);
    for (size_t i = 0; i < LAYERS; i++)
        mio__conv_destroy(works[i].conv);
    mio_context_release(context);
    return 0;
}
