#include "analysis/differences.h"

#include <math.h>
#include <string.h>

/* Scaled by a power of two, so that no square over- or underflows. */
double mio__length(size_t size, const double *x)
{
    double largest = 0, sum = 0;
    int exponent;
    for (size_t i = 0; i < size; i++)
        largest = fmax(largest, fabs(x[i]));
    frexp(largest, &exponent);
    const double scale = ldexp(1, exponent < -1000 ? 1000 : -exponent);
    for (size_t i = 0; i < size; i++)
        sum += x[i] * scale * (x[i] * scale);
    return sqrt(sum) / scale;
}

/* The gradient at x + h direction; `moved` is where that point is made. */
static mio_status gradient_beside(const mio__gradient *gradient, const double *x, double h, const double *direction,
                                  double *moved, double *to)
{
    for (size_t i = 0; i < gradient->size; i++)
        moved[i] = x[i] + h * direction[i];
    return gradient->at(gradient->argument, moved, to);
}

double mio__reach(size_t size, const double *x, const double *direction)
{
    const double along = mio__length(size, direction), own = mio__length(size, x);
    return (own > 0 ? own : 1) / along;
}

mio_status mio__difference(const mio__gradient *gradient, const double *x, double h, const double *direction,
                           double *space, double *product)
{
    const size_t size = gradient->size;
    double *moved = space, *second = space + size;
    if (mio__length(size, direction) == 0) {
        const mio_status asked = gradient->at(gradient->argument, x, product); /* for its errors */
        memset(product, 0, size * sizeof *product);
        return asked;
    }
    mio_status status = gradient_beside(gradient, x, h, direction, moved, product);
    if (!status)
        status = gradient_beside(gradient, x, -h, direction, moved, second);
    for (size_t i = 0; !status && i < size; i++)
        product[i] = (product[i] - second[i]) / (2 * h);
    return status;
}

mio_status mio__analysis_check_function(const mio_loss *loss)
{
    if (!loss)
        return mio__settings_null("loss");
    return loss->kind->flags & MIO__LOSS_STOP_GRADIENT
               ? mio__fail(
                     MIO_ERROR_UNSUPPORTED,
                     "loss '%s' has no Hessian: its gradient takes for constant what moves with the rows (targets, "
                     "weights or averages), so that it is not the gradient of a function",
                     mio_loss_name(loss))
               : MIO_OK;
}

mio_status mio__analysis_check_direction(size_t size, const double *direction, const double *product)
{
    if (!direction || !product)
        return mio__fail(MIO_ERROR_ARGUMENT, "the %s is NULL", direction ? "product" : "direction");
    for (size_t i = 0; i < size; i++)
        if (!isfinite(direction[i]))
            return mio__fail(MIO_ERROR_ARGUMENT, "value %zu of the direction is not finite", i);
    return MIO_OK;
}

mio_status mio__analysis_check_spectrum(const double *eigenvalues, const double *weights, const size_t *count)
{
    return eigenvalues && weights && count ? MIO_OK
                                           : mio__fail(MIO_ERROR_ARGUMENT, "the place for the %s is NULL",
                                                       !eigenvalues ? "eigenvalues"
                                                       : !weights   ? "weights"
                                                                    : "number of eigenvalues");
}
