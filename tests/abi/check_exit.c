/* A process may end while another thread is inside the library, and use it in its own handlers of the end: the kernels
   that libxsmm generated stay until the process is gone. Each turn is a process of its own. */
#define _POSIX_C_SOURCE 200809L
#include <mio/mio.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAIRS = 64, DIM = 32, TURNS = 20, FAILED = 3 };

static float z[2 * PAIRS * DIM], gradient[2 * PAIRS * DIM];

static mio_loss *make_loss(void)
{
    mio_context *context = NULL;
    mio_loss *loss = NULL;
    for (size_t i = 0; i < 2 * PAIRS * DIM; i++)
        z[i] = (float)((i * 37 + i / 7) % 23) - 11;
    if (mio_context_create(&context) || mio_loss_create(context, "mio", &loss))
        _exit(FAILED);
    mio_context_release(context);
    return loss;
}

static void compute(mio_loss *loss)
{
    double value;
    if (mio_loss_compute(loss, PAIRS, DIM, z, z + PAIRS * DIM, &value, gradient, gradient + PAIRS * DIM))
        _exit(FAILED);
}

static void *work(void *loss)
{
    for (;;)
        compute(loss);
    return NULL;
}

static void compute_late(void)
{
    mio_loss *loss = make_loss();
    compute(loss);
    mio_loss_release(loss);
}

/* Ends as main does, while a thread computes or by a handler that was there before the library's first use. */
static void end_in(int late)
{
    const struct timespec pause = {0, 3000000};
    pthread_t thread;
    if (late && atexit(compute_late))
        _exit(FAILED);
    mio_loss *loss = make_loss();
    compute(loss);
    if (!late && pthread_create(&thread, NULL, work, loss))
        _exit(FAILED);
    nanosleep(&pause, NULL);
    exit(0);
}

int main(void)
{
    int failures = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        fflush(stdout); /* or the child prints it again */
        const pid_t child = fork();
        if (child < 0)
            return 1;
        if (!child)
            end_in(turn % 4 == 0);
        int status;
        if (waitpid(child, &status, 0) != child)
            return 1;
        if (status) {
            printf("turn %d: %s %d\n", turn, WIFSIGNALED(status) ? "signal" : "status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            failures++;
        }
    }
    printf("%d of %d processes ended badly\n", failures, TURNS);
    return failures != 0;
}
