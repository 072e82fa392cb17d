/* A plugin host opens the library, uses its kernels and unloads it: the host's descriptors are as before, but for the
   one of libxsmm 1.17's lock. Twice, as hosts do that. */
#define _POSIX_C_SOURCE 200809L
#include <mio/mio.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { PAIRS = 64, DIM = 32, DESCRIPTORS = 256 };

static int open_descriptors(void)
{
    int count = 0;
    for (int descriptor = 0; descriptor < DESCRIPTORS; descriptor++)
        count += fcntl(descriptor, F_GETFD) >= 0;
    return count;
}

/* Value of the loss "mio" of fixed rows; negative on failure. dlsym's objects are functions here, as POSIX has it. */
static double use(void *library)
{
    static float z[2 * PAIRS * DIM], gradient[2 * PAIRS * DIM];
    mio_status (*create)(mio_context **), (*create_loss)(mio_context *, const char *, mio_loss **);
    mio_status (*compute)(mio_loss *, size_t, size_t, const float *, const float *, double *, float *, float *);
    void (*release)(mio_context *), (*release_loss)(mio_loss *);
    *(void **)&create = dlsym(library, "mio_context_create");
    *(void **)&create_loss = dlsym(library, "mio_loss_create");
    *(void **)&compute = dlsym(library, "mio_loss_compute");
    *(void **)&release = dlsym(library, "mio_context_release");
    *(void **)&release_loss = dlsym(library, "mio_loss_release");
    for (size_t i = 0; i < 2 * PAIRS * DIM; i++)
        z[i] = (float)((i * 37 + i / 7) % 23) - 11;
    mio_context *context = NULL;
    mio_loss *loss = NULL;
    double value = -1;
    if (create(&context) || create_loss(context, "mio", &loss) ||
        compute(loss, PAIRS, DIM, z, z + PAIRS * DIM, &value, gradient, gradient + PAIRS * DIM))
        value = -1;
    release_loss(loss);
    release(context);
    return value;
}

int main(int count, char **arguments)
{
    if (fcntl(STDIN_FILENO, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != STDIN_FILENO)
        return 1;
    const int before = open_descriptors();
    double values[2] = {-1, -1};
    for (int turn = 0; turn < 2 && count == 2; turn++) {
        void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        values[turn] = use(library);
        if (dlclose(library))
            return 1;
    }
    const int good = count == 2 && values[0] > 0 && values[0] == values[1] && fcntl(STDIN_FILENO, F_GETFD) >= 0 &&
                     open_descriptors() <= before + 2;
    if (!good)
        fprintf(stderr, "values %g %g, descriptors %d then %d, standard input %s\n", values[0], values[1], before,
                open_descriptors(), fcntl(STDIN_FILENO, F_GETFD) < 0 ? "closed" : "open");
    return !good;
}
