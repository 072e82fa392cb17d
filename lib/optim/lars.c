/* Layer-wise adaptive rates (You et al. 2017). With u = g + wd w and q = trust |w| / |u|, 1 where either norm is 0:
       google  v = m v + lr q u, w -= v           (Nesterov: w -= m v + lr q u)
       fair    v = m v + q u,    w -= lr v        (Nesterov: w -= lr (m v + q u))
   The velocity holds past learning rates in the first form and not in the second; they differ while the rate changes.
   Excluded arrays take q = 1 and wd = 0. "google" is SimCLR's and the MIO authors' form, "fair" Barlow Twins' and
   VICReg's. */
#include "optim/kinds.h"

#include <float.h>
#include <math.h>

enum { MOMENTUM = MIO__OPTIM_OWN, NESTEROV, TRUST, CONVENTION, COMPATIBLE, COUNT };

static const char *const conventions[] = {"google", "fair", NULL};

static const mio__parameter parameters[COUNT] = {
    MIO__OPTIM_COMMON(1.5, 1e-6, 1),
    [MOMENTUM] = {"momentum", MIO_PARAMETER_REAL, 0.9, 0, 1, 0, 1, NULL, "what stays of the velocity at each step", ""},
    [NESTEROV] = {"nesterov", MIO_PARAMETER_BOOLEAN, 0, 0, 1, 0, 0, NULL, "1: Nesterov's momentum", ""},
    [TRUST] = {"trust_coefficient", MIO_PARAMETER_REAL, 0.001, 0, FLT_MAX, 1, 0, NULL,
               "step of a layer relative to the norm of its weights, at learning rate 1", ""},
    [CONVENTION] = {"convention", MIO_PARAMETER_CHOICE, 0, 0, 0, 0, 0, conventions,
                    "google: the rate enters the velocity; fair: it multiplies the velocity", ""},
    [COMPATIBLE] = {"compat", MIO_PARAMETER_BOOLEAN, 0, 0, 1, 0, 0, NULL,
                    "1: exclude by names with 'bn' or 'bias' instead of by rank, as the MIO authors' code does, "
                    "which decays and adapts the shortcuts' batch norm (downsample.1.*)",
                    ""},
};

static void step(const mio__optimizer_kernels *kernels, const double *p, const mio__array_step *array, size_t count,
                 const float *gradients, float *const state[], float *values)
{
    const int adapted = !array->excluded && array->values_norm > 0 && array->gradient_norm > 0;
    const double trust = adapted ? fmin(p[TRUST] * array->values_norm / array->gradient_norm, FLT_MAX) : 1;
    const double rate = p[MIO__OPTIM_LEARNING_RATE];
    const int google = p[CONVENTION] == 0;
    const mio__momentum_step move = {(float)(google ? fmin(rate * trust, FLT_MAX) : trust), (float)array->decay,
                                     (float)p[MOMENTUM], (float)(google ? 1 : rate), p[NESTEROV] != 0};
    kernels->momentum(count, &move, gradients, state[0], values);
}

const mio__optimizer_kind mio__optimizer_lars = {"lars", parameters, COUNT, 1, step, COMPATIBLE};
