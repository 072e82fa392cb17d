/* Vector kernels by instruction set. A file listed in mio_vector_sources is compiled once per instruction set with
   MIO_ISA defined as generic, avx2 or avx512, and exports one table of functions under a name of its own for each:

       // the header                                       // the file
       typedef struct mio__thing_kernels { ... } ...;      const mio__thing_kernels MIO__VARIANT(mio__thing) = { ... };
       MIO__DECLARE_VARIANTS(mio__thing_kernels, mio__thing);

   and users call MIO__PICK(mio__thing)->function(...). Everything else in such a file is static: two variants of one
   external function would clash. The generic variant is plain C for the compiler's baseline and the reference. */
#ifndef MIO_KERNELS_VARIANT_H
#define MIO_KERNELS_VARIANT_H

#include "kernels/target.h"

#define MIO__JOIN_(a, b) a##_##b
#define MIO__JOIN(a, b) MIO__JOIN_(a, b)
#define MIO__VARIANT(name) MIO__JOIN(name, MIO_ISA)

#define MIO__DECLARE_VARIANTS(type, name) extern const type name##_generic, name##_avx2, name##_avx512

/* Files in mio_stored_sources read or write activations. They are compiled for bf16 besides (MIO_BF16, MIO_ISA bf16),
   for CPUs with AVX-512 BF16 alone; MIO__PICK_STORED takes the precision. */
#ifdef MIO_HAVE_BF16_VARIANT
#define MIO__DECLARE_STORED_VARIANTS(type, name)                                                                       \
    extern const type name##_generic, name##_avx2, name##_avx512, name##_bf16
#define MIO__PICK_STORED(name, precision) ((precision) == MIO__BF16 ? &name##_bf16 : MIO__PICK(name))
#else
#define MIO__DECLARE_STORED_VARIANTS(type, name) MIO__DECLARE_VARIANTS(type, name)
#define MIO__PICK_STORED(name, precision) ((void)(precision), MIO__PICK(name))
#endif

#ifdef MIO_HAVE_X86_VARIANTS
#define MIO__PICK(name)                                                                                                \
    (mio__target() == MIO__TARGET_AVX512 ? &name##_avx512                                                              \
     : mio__target() == MIO__TARGET_AVX2 ? &name##_avx2                                                                \
                                         : &name##_generic)
#else
#define MIO__PICK(name) (&name##_generic)
#endif

#endif
