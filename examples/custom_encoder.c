/* A network of one's own and a training loop by hand: forward, loss, backward, optimizer step.
   The images are made up: each is a grating with an angle of its own; its two views differ in phase and noise. */
#include "common.h"

#include <math.h>
#include <stdlib.h>

enum { PAIRS = 64, SIDE = 16, VIEWS = 2, STEPS = 60, PROJECTION = 16 };

/* Two convolutions with a shortcut around the second, pooled to 32 features, and a projector for the loss. */
static mio_encoder *small_encoder(mio_context *context)
{
    mio_builder *builder;
    mio_encoder *encoder;
    check(mio_builder_create(context, 1, SIDE, SIDE, &builder));
    mio_node x = mio_builder_input(builder);
    x = mio_builder_conv2d(builder, x, 32, 3, 2, 1);
    x = mio_builder_batch_norm(builder, x);
    x = mio_builder_relu(builder, x);
    mio_builder_name(builder, "middle"); /* its weight is called "middle.weight"; the others are named by place */
    mio_node y = mio_builder_conv2d(builder, x, 32, 3, 1, 1);
    y = mio_builder_batch_norm(builder, y);
    x = mio_builder_relu(builder, mio_builder_add(builder, x, y));
    const mio_node features = mio_builder_global_average_pool(builder, x);
    const mio_node projections = mio_builder_projector(builder, features, 2, 64, PROJECTION);
    check(mio_builder_finish(builder, features, projections, &encoder)); /* the first error above surfaces here */
    mio_builder_release(builder);
    return encoder;
}

static float uniform(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 16777216.0f;
}

/* images: VIEWS x PAIRS x SIDE x SIDE x 1, about zero mean and unit deviation. */
static void draw_views(float *images, unsigned *state)
{
    for (int b = 0; b < PAIRS; b++) {
        const float angle = 3.14159265f * uniform(state), frequency = 0.5f + uniform(state);
        for (int view = 0; view < VIEWS; view++) {
            float *image = images + (size_t)(view * PAIRS + b) * SIDE * SIDE;
            const float phase = 6.2831853f * uniform(state);
            for (int i = 0; i < SIDE * SIDE; i++) {
                const float along = cosf(angle) * (float)(i % SIDE) + sinf(angle) * (float)(i / SIDE);
                image[i] = 1.4f * sinf(frequency * along + phase) + uniform(state) - 0.5f;
            }
        }
    }
}

int main(int argc, char **argv)
{
    arguments line = arguments_of(argc, argv);
    int steps = STEPS;
    while (line.next < line.count)
        if (option(&line, "--steps"))
            steps = (int)number(&line, "--steps", 1, 1e6);
        else if (option(&line, "--help"))
            return puts("usage: custom_encoder [--steps N]") < 0;
        else
            unknown_argument(&line);

    mio_context *context;
    mio_loss *loss;
    mio_optimizer *optimizer;
    check(mio_context_create(&context));
    mio_encoder *encoder = small_encoder(context);
    check(mio_loss_create(context, "mio", &loss));
    check(mio_optimizer_create(context, "sgd", &optimizer));
    check(mio_optimizer_set(optimizer, "learning_rate", 0.1));
    check(mio_optimizer_add_encoder(optimizer, encoder));

    float *images = allocate((size_t)VIEWS * PAIRS * SIDE * SIDE, sizeof *images);
    float *projections = allocate((size_t)VIEWS * PAIRS * PROJECTION, sizeof *projections);
    float *gradients = allocate((size_t)VIEWS * PAIRS * PROJECTION, sizeof *gradients);
    const size_t second = (size_t)PAIRS * PROJECTION; /* where the second view's rows begin */
    unsigned state = 1;
    for (int step = 0; step < steps; step++) {
        double value;
        draw_views(images, &state);
        check(mio_encoder_forward(encoder, VIEWS, PAIRS, images, NULL, projections));
        check(mio_loss_compute(loss, PAIRS, PROJECTION, projections, projections + second, &value, gradients,
                               gradients + second));
        check(mio_encoder_backward(encoder, gradients, NULL));
        check(mio_optimizer_step(optimizer));
        if (step % 10 == 0 || step == steps - 1)
            printf("step %3d  loss %.4f\n", step, value);
    }
    free(images);
    free(projections);
    free(gradients);
    mio_optimizer_release(optimizer);
    mio_loss_release(loss);
    mio_encoder_release(encoder);
    mio_context_release(context);
    return 0;
}
