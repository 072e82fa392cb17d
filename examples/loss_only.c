/* The loss alone, on plain arrays: no encoder, no dataset, no trainer. Start reading here.
   Three images, two views each, projected to two dimensions. Row b of z1 and row b of z2 belong to one image. */
#include <mio/loss.h>

#include <stdio.h>

enum { PAIRS = 3, DIM = 2 };

static void print_rows(const char *name, const double *rows)
{
    for (int b = 0; b < PAIRS; b++)
        printf("%s[%d] = (%+.6f, %+.6f)\n", name, b, rows[b * DIM], rows[b * DIM + 1]);
}

int main(void)
{
    const double z1[PAIRS * DIM] = {1.0, 0.1, /**/ -0.5, 0.9, /**/ -0.4, -1.2};
    const double z2[PAIRS * DIM] = {0.9, 0.3, /**/ -0.2, 1.1, /**/ 0.3, -0.8};
    double value, grad_z1[PAIRS * DIM], grad_z2[PAIRS * DIM];

    /* Every call returns a status; after the first failure the others are skipped and the words tell why. */
    mio_context *context = NULL;
    mio_loss *loss = NULL;
    mio_status status = mio_context_create(&context);
    if (!status)
        status = mio_loss_create(context, "mio", &loss);
    if (!status)
        status = mio_loss_set(loss, "positive_temperature", 0.5);
    if (!status)
        status = mio_loss_compute_f64(loss, PAIRS, DIM, z1, z2, &value, grad_z1, grad_z2);
    if (!status) {
        printf("loss = %.12f\n", value);
        print_rows("d loss / d z1", grad_z1);
        print_rows("d loss / d z2", grad_z2);
    } else {
        fprintf(stderr, "loss_only: %s (%s)\n", mio_last_error(), mio_status_name(status));
    }
    mio_loss_release(loss);
    mio_context_release(context);
    return status ? 1 : 0;
}
