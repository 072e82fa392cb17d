#include "kernels/target.h"

#include <libxsmm.h>
#include <mio/context.h>
#include <pthread.h>
#include <unistd.h>

/* libxsmm 1.17 locks a file in /tmp to learn whether it is alone on the machine, and keeps what fcntl returned, 0, for
   its descriptor: when the process ends, or unloads the library, it would close the host's standard input. Nothing here
   needs the lock, so the file goes at once, and libxsmm's end finds nothing to close. Other versions may lack these
   names. */
extern int internal_singleton_handle __attribute__((weak));
extern char internal_singleton_fname[] __attribute__((weak));

/* libxsmm's start asks atexit to unmap its kernels at the process's end, while other threads, or the host's own handlers
   of the end, may still run them. The linker's --wrap brings the shared library's requests here, and that one is
   dropped: the kernels stay until the process is gone. Others go on to what atexit itself calls. Weak: a host of
   libmio.a may wrap atexit itself. */
static _Thread_local int starting;
extern void *__dso_handle __attribute__((visibility("hidden")));
int __cxa_atexit(void (*function)(void *), void *argument, void *library);
int __wrap_atexit(void (*function)(void)) __attribute__((weak));

int __wrap_atexit(void (*function)(void))
{
    const union {
        void (*given)(void);
        void (*taken)(void *);
    } handler = {function};
    return starting ? 0 : __cxa_atexit(handler.taken, NULL, &__dso_handle);
}

static pthread_mutex_t jit = PTHREAD_MUTEX_INITIALIZER;

void mio__jit_lock(void)
{
    pthread_mutex_lock(&jit);
}

void mio__jit_unlock(void)
{
    pthread_mutex_unlock(&jit);
}

static void survive_forks(void)
{
    pthread_atfork(mio__jit_lock, mio__jit_unlock, mio__jit_unlock);
}

/* Under the lock. known: that the version has the names above. */
static void start(int known)
{
    starting = 1;
    libxsmm_init();
    starting = 0;
    const int handle = known ? __atomic_exchange_n(&internal_singleton_handle, -1, __ATOMIC_ACQ_REL) : -1;
    if (handle < 0)
        return;
    unlink(internal_singleton_fname);
    if (handle > 0)
        close(handle);
}

void mio__jit_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const int known = &internal_singleton_handle && &internal_singleton_fname;
    if (known && __atomic_load_n(&internal_singleton_handle, __ATOMIC_ACQUIRE) < 0)
        return; /* started before; 0 until then */
    pthread_once(&once, survive_forks);
    mio__jit_lock();
    start(known);
    mio__jit_unlock();
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
