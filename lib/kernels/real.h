/* The number type of weights and arithmetic. Float in the library; a test compiles the same sources for double, where
   the plain C path runs alone, to hold gradients against finite differences. */
#ifndef MIO_KERNELS_REAL_H
#define MIO_KERNELS_REAL_H

#include <stdint.h>

#ifdef MIO_DOUBLE
typedef double mio__real;
#else
typedef float mio__real;
#endif

/* What activations and their gradients are stored in: mio__real, or bf16, the upper half of a float. Sources take them
   by void * with a precision (kernels/layout.h); vector loops are compiled once for each (kernels/variant.h). */
#ifdef MIO_BF16
typedef uint16_t mio__stored;
#else
typedef mio__real mio__stored;
#endif

#endif
