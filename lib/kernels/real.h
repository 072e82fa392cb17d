/* The number type of activations and weights. Float in the library; a test compiles the same sources for double, where the
   plain C path runs alone, to hold gradients against finite differences. */
#ifndef MIO_KERNELS_REAL_H
#define MIO_KERNELS_REAL_H

#ifdef MIO_DOUBLE
typedef double mio__real;
#else
typedef float mio__real;
#endif

#endif
