/* Inner loops of the optimizers: each one pass over a piece of an array. */
#ifndef MIO_OPTIM_OPTIM_VECTOR_H
#define MIO_OPTIM_OPTIM_VECTOR_H

#include "kernels/variant.h"

#include <stddef.h>

typedef struct mio__momentum_step {
    float scale;    /* of the gradient with its decay, before it enters the velocity */
    float decay;    /* weight decay */
    float momentum; /* what stays of the velocity */
    float rate;     /* of the velocity, when it moves the values */
    int nesterov;
} mio__momentum_step;

typedef struct mio__adam_step {
    float decay;        /* factor of the values: 1 - rate x weight decay */
    float beta1, beta2; /* what stays of the two means */
    float new1, new2;   /* 1 - beta1, 1 - beta2, rounded once */
    float rate;         /* learning rate over the first mean's bias */
    float root;         /* 1 over the square root of the second mean's bias */
    float epsilon;
} mio__adam_step;

typedef struct mio__optimizer_kernels {
    /** Sums of values^2 and of (gradient + decay x value)^2, in double. Not finite if an input is not. */
    void (*squares)(size_t count, float decay, const float *gradients, const float *values, double sums[2]);
    /** u = scale (g + decay w); v = momentum v + u; w -= rate (nesterov ? u + momentum v : v). */
    void (*momentum)(size_t count, const mio__momentum_step *step, const float *gradients, float *velocity,
                     float *values);
    /** m and s are the running means of g and g^2; w = decay w - rate m / (sqrt(s) root + epsilon). */
    void (*adam)(size_t count, const mio__adam_step *step, const float *gradients, float *mean, float *square,
                 float *values);
} mio__optimizer_kernels;

MIO__DECLARE_VARIANTS(mio__optimizer_kernels, mio__optimizer_loops);

#endif
