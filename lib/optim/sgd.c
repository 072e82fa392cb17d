/* Stochastic gradient descent with momentum, as PyTorch does it (no dampening): v = m v + (g + wd w), w -= lr v;
   Nesterov: w -= lr (g + wd w + m v). */
#include "optim/kinds.h"

#include <math.h>

enum { MOMENTUM = MIO__OPTIM_OWN, NESTEROV, COUNT };

static const mio__parameter parameters[COUNT] = {
    MIO__OPTIM_COMMON(0.1, 0, 0),
    [MOMENTUM] = {"momentum", MIO_PARAMETER_REAL, 0.9, 0, 1, 0, 1, NULL, "what stays of the velocity at each step", ""},
    [NESTEROV] = {"nesterov", MIO_PARAMETER_BOOLEAN, 0, 0, 1, 0, 0, NULL, "1: Nesterov's momentum", ""},
};

static void step(const mio__optimizer_kernels *kernels, const double *p, const mio__array_step *array, size_t count,
                 const float *gradients, float *const state[], float *values)
{
    const mio__momentum_step move = {1, (float)array->decay, (float)p[MOMENTUM], (float)p[MIO__OPTIM_LEARNING_RATE],
                                     p[NESTEROV] != 0};
    kernels->momentum(count, &move, gradients, state[0], values);
}

const mio__optimizer_kind mio__optimizer_sgd = {"sgd", parameters, COUNT, 1, step, 0};
