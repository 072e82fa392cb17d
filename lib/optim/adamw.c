/* Adam with decoupled weight decay (Loshchilov and Hutter 2019), as PyTorch does it: w *= 1 - lr wd, then Adam's step
   with bias correction, epsilon added after the root. */
#include "optim/kinds.h"

#include <float.h>
#include <math.h>

enum { BETA1 = MIO__OPTIM_OWN, BETA2, EPSILON, COUNT };

static const mio__parameter parameters[COUNT] = {
    MIO__OPTIM_COMMON(0.001, 0.01, 0),
    [BETA1] = {"beta1", MIO_PARAMETER_REAL, 0.9, 0, 1, 0, 1, NULL, "what stays of the gradient's mean at each step",
               ""},
    [BETA2] = {"beta2", MIO_PARAMETER_REAL, 0.999, 0, 1, 0, 1, NULL,
               "what stays of the squared gradient's mean at each step", ""},
    [EPSILON] = {"epsilon", MIO_PARAMETER_REAL, 1e-8, FLT_MIN, INFINITY, 0, 1, NULL,
                 "added to the root of the squared gradient's mean", ""},
};

static void step(const mio__optimizer_kernels *kernels, const double *p, const mio__array_step *array, size_t count,
                 const float *gradients, float *const state[], float *values)
{
    const double rate = p[MIO__OPTIM_LEARNING_RATE], number = (double)array->number;
    const mio__adam_step move = {(float)(1 - rate * array->decay),
                                 (float)p[BETA1],
                                 (float)p[BETA2],
                                 (float)(1 - p[BETA1]),
                                 (float)(1 - p[BETA2]),
                                 (float)(rate / (1 - pow(p[BETA1], number))),
                                 (float)(1 / sqrt(1 - pow(p[BETA2], number))),
                                 (float)p[EPSILON]};
    kernels->adam(count, &move, gradients, state[0], state[1], values);
}

const mio__optimizer_kind mio__optimizer_adamw = {"adamw", parameters, COUNT, 2, step, 0};
