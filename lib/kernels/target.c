#include "kernels/target.h"

#include <libxsmm.h>
#include <mio/context.h>
#include <unistd.h>

/* libxsmm 1.17 locks a file in /tmp to learn whether it is alone on the machine, and keeps what fcntl returned, 0, for
   its descriptor: when the process ends, or unloads the library, it would close the host's standard input. Nothing here
   needs the lock, so the file goes at once, and libxsmm's end finds nothing to close. Other versions may lack these
   names. */
extern int internal_singleton_handle __attribute__((weak));
extern char internal_singleton_fname[] __attribute__((weak));

void mio__jit_start(void)
{
    const int known = &internal_singleton_handle && &internal_singleton_fname;
    if (known && __atomic_load_n(&internal_singleton_handle, __ATOMIC_ACQUIRE) < 0)
        return; /* started before; 0 until then */
    libxsmm_init();
    if (!known)
        return;
    const int handle = __atomic_exchange_n(&internal_singleton_handle, -1, __ATOMIC_ACQ_REL);
    if (handle < 0)
        return;
    unlink(internal_singleton_fname);
    if (handle > 0)
        close(handle);
}

/* libxsmm's first use asks atexit to unmap its kernels at the process's end, while other threads, or the host's own
   handlers of the end, may still run them. In the shared library nothing else asks, and the linker's --wrap brings that
   request here: the kernels stay until the process is gone. */
int __wrap_atexit(void (*function)(void)) __attribute__((weak)); /* a host of libmio.a may have its own */
int __wrap_atexit(void (*function)(void))
{
    (void)function;
    return 0;
}

#ifdef MIO_HAVE_X86_VARIANTS
mio__target_level mio__target(void)
{
    mio__jit_start();
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
