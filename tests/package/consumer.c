/* A program outside the tree: the loss of two views that agree is lower than that of two that do not. */
#include <mio/mio.h>
#include <stdio.h>

int main(void)
{
    const float z1[] = {1, 0, 0, 1}, same[] = {1, 0, 0, 1}, swapped[] = {0, 1, 1, 0};
    mio_context *context = NULL;
    mio_loss *loss = NULL;
    double good = 0, bad = 0;
    mio_status status = mio_context_create(&context);
    if (!status)
        status = mio_loss_create(context, "mio", &loss);
    if (!status)
        status = mio_loss_compute(loss, 2, 2, z1, same, &good, NULL, NULL);
    if (!status)
        status = mio_loss_compute(loss, 2, 2, z1, swapped, &bad, NULL, NULL);
    if (status)
        fprintf(stderr, "%s: %s\n", mio_status_name(status), mio_last_error());
    mio_loss_release(loss);
    mio_context_release(context);
    return status || !(good < bad);
}
