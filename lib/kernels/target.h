/* Which instruction set the kernels use. */
#ifndef MIO_KERNELS_TARGET_H
#define MIO_KERNELS_TARGET_H

typedef enum mio__target_level { MIO__TARGET_GENERIC, MIO__TARGET_AVX2, MIO__TARGET_AVX512 } mio__target_level;

/** To be called before any function of libxsmm that starts it: it then leaves the host's files alone. */
void mio__jit_start(void);
/** Around every request for a kernel: libxsmm 1.17 numbers the threads that ever made one, modulo 1024, and lets those of
    one number share a memory of the last kernels without a lock, so that one could be given the kernel of another
    shape. A process that forks holds the lock meanwhile: its child finds it free. */
void mio__jit_lock(void);
void mio__jit_unlock(void);
/** Level of the vector kernels: libxsmm's target (LIBXSMM_TARGET can lower it), never above what the CPU has. */
mio__target_level mio__target(void);
/** Whether there are kernels for bf16: they need AVX-512 with its BF16 extension, and nothing else stands in for it. */
int mio__target_has_bf16(void);
/** "avx512", "avx2" or "generic". */
const char *mio__target_name(void);

#endif
