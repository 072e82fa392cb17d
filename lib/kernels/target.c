#include "kernels/target.h"

#include <mio/context.h>

#ifdef MIO_HAVE_X86_VARIANTS
#include <libxsmm.h>

mio__target_level mio__target(void)
{
    const int id = libxsmm_get_target_archid();
    if (id >= LIBXSMM_X86_AVX512_CORE && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return MIO__TARGET_AVX512;
    if (id >= LIBXSMM_X86_AVX2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return MIO__TARGET_AVX2;
    return MIO__TARGET_GENERIC;
}
#else
mio__target_level mio__target(void)
{
    return MIO__TARGET_GENERIC;
}
#endif

int mio__target_has_bf16(void)
{
#ifdef MIO_HAVE_BF16_VARIANT
    return mio__target() == MIO__TARGET_AVX512 && __builtin_cpu_supports("avx512bf16");
#else
    return 0;
#endif
}

const char *mio__target_name(void)
{
    static const char *const names[] = {"generic", "avx2", "avx512"};
    return names[mio__target()];
}

const char *mio_context_target(const mio_context *context)
{
    (void)context;
    return mio__target_name();
}
