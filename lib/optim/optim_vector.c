/* Plain loops, which the compiler turns into vectors of its instruction set; sums keep one partial sum per lane. */
#include "optim/optim_vector.h"

#include <math.h>

enum { LANES = 16 };

static double sum_of_lanes(const double lanes[LANES])
{
    double half[LANES / 2];
    for (size_t i = 0; i < LANES / 2; i++)
        half[i] = lanes[i] + lanes[i + LANES / 2];
    return ((half[0] + half[1]) + (half[2] + half[3])) + ((half[4] + half[5]) + (half[6] + half[7]));
}

static void squares(size_t count, float decay, const float *gradients, const float *values, double sums[2])
{
    double value[LANES] = {0}, gradient[LANES] = {0};
    const double d = decay;
    const size_t whole = count / LANES * LANES;
    for (size_t k = 0; k < whole; k += LANES)
        for (size_t i = 0; i < LANES; i++) {
            const double w = values[k + i], g = gradients[k + i] + d * w;
            value[i] += w * w;
            gradient[i] += g * g;
        }
    for (size_t k = whole; k < count; k++) {
        const double w = values[k], g = gradients[k] + d * w;
        value[k - whole] += w * w;
        gradient[k - whole] += g * g;
    }
    sums[0] = sum_of_lanes(value);
    sums[1] = sum_of_lanes(gradient);
}

static void momentum(size_t count, const mio__momentum_step *step, const float *restrict gradients,
                     float *restrict velocity, float *restrict values)
{
    const mio__momentum_step s = *step;
    /* What the velocity and the gradient contribute to the move: v alone, or u + momentum v. */
    const float of_velocity = s.nesterov ? s.momentum : 1, of_gradient = s.nesterov ? 1 : 0;
    for (size_t i = 0; i < count; i++) {
        const float u = s.scale * (gradients[i] + s.decay * values[i]), v = s.momentum * velocity[i] + u;
        velocity[i] = v;
        values[i] -= s.rate * (of_gradient * u + of_velocity * v);
    }
}

/* Of a gradient in Adam's moments: its square is finite. */
#define LARGEST 0x1p63f

static void adam(size_t count, const mio__adam_step *step, const float *restrict gradients, float *restrict mean,
                 float *restrict square, float *restrict values)
{
    const mio__adam_step s = *step;
    for (size_t i = 0; i < count; i++) {
        const float given = gradients[i], below = given < LARGEST ? given : LARGEST,
                    g = below > -LARGEST ? below : -LARGEST;
        const float m = s.beta1 * mean[i] + s.new1 * g, q = s.beta2 * square[i] + s.new2 * g * g;
        mean[i] = m;
        square[i] = q;
        values[i] = s.decay * values[i] - s.rate * m / (sqrtf(q) * s.root + s.epsilon);
    }
}

const mio__optimizer_kernels MIO__VARIANT(mio__optimizer_loops) = {squares, momentum, adam};
