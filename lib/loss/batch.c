/* What is given beside the rows of a batch: labels, indices, targets. */
#include "loss/loss.h"

#include <math.h>
#include <string.h>

/* ---- labels and indices ---- */

static mio_status copy_array(mio_loss *loss, size_t count, size_t size, const void *from, void **to, size_t *room)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': %zu images are beyond the address space", mio_loss_name(loss),
                         count);
    const mio_status status = mio__reserve(loss->context, to, room, bytes);
    if (!status)
        memcpy(*to, from, bytes);
    return status;
}

static uint32_t hash(int32_t label, uint32_t mask)
{
    uint32_t h = (uint32_t)label * 0x9E3779B9u;
    return (h ^ h >> 15) & mask;
}

/* Numbers the classes by their first image, and counts their images. Each unlabelled image is a class of its own. */
static mio_status number_classes(mio_loss *loss, size_t count)
{
    uint32_t slots = 4;
    while (slots < 2 * count)
        slots *= 2;
    void *class_of = loss->class_of, *class_size = loss->class_size;
    /* the table of first images lies behind the sizes while it is needed */
    mio_status status = mio__reserve(loss->context, &class_of, &loss->class_room, count * sizeof(uint32_t));
    loss->class_of = class_of;
    if (!status)
        status = mio__reserve(loss->context, &class_size, &loss->class_size_room, (count + slots) * sizeof(uint32_t));
    loss->class_size = class_size;
    if (status)
        return status;
    uint32_t *table = loss->class_size + count;
    memset(loss->class_size, 0, (count + slots) * sizeof(uint32_t));
    for (size_t b = 0; b < count; b++) {
        uint32_t first = (uint32_t)b;
        if (loss->labels[b] >= 0) {
            uint32_t at = hash(loss->labels[b], slots - 1);
            while (table[at] && loss->labels[table[at] - 1] != loss->labels[b])
                at = (at + 1) & (slots - 1);
            if (!table[at])
                table[at] = (uint32_t)b + 1;
            first = table[at] - 1;
        }
        loss->class_of[b] = first;
        loss->class_size[first]++;
    }
    for (size_t b = count; b-- > 0;) /* backwards: the first image of a class still holds the count */
        loss->class_size[b] = loss->class_size[loss->class_of[b]];
    return MIO_OK;
}

mio_status mio_loss_set_batch(mio_loss *loss, size_t count, const int32_t *labels, const size_t *indices)
{
    if (!loss)
        return mio__settings_null("loss");
    if (count > UINT32_MAX / 8)
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': %zu images are too many for one batch", mio_loss_name(loss),
                         count);
    loss->label_count = loss->index_count = 0;
    loss->pairs.class_of = NULL;
    void *copy = loss->labels;
    mio_status status = MIO_OK;
    if (labels && count) {
        status = copy_array(loss, count, sizeof *labels, labels, &copy, &loss->label_room);
        loss->labels = copy;
        if (!status)
            status = number_classes(loss, count);
        if (!status)
            loss->label_count = count;
    }
    copy = loss->indices;
    if (!status && indices && count) {
        status = copy_array(loss, count, sizeof *indices, indices, &copy, &loss->index_room);
        loss->indices = copy;
        if (!status)
            loss->index_count = count;
    }
    return status;
}

static mio_status check_classes(const mio_loss *loss)
{
    double classes;
    if (!loss->kind->tensors[0] || mio__settings_get(&loss->settings, "classes", &classes))
        return MIO_OK;
    for (size_t b = 0; b < loss->label_count; b++)
        if (loss->labels[b] < 0 || loss->labels[b] >= classes)
            return mio__fail(MIO_ERROR_ARGUMENT,
                             "loss '%s': label %ld of image %zu is not in 0 .. %g (parameter 'classes' "
                             "less 1)",
                             mio_loss_name(loss), (long)loss->labels[b], b, classes - 1);
    return MIO_OK;
}

static mio_status check_number(const mio_loss *loss, const char *what, size_t given, size_t pairs, int needed)
{
    if (needed && !given)
        return mio__fail(MIO_ERROR_STATE, "loss '%s' needs the %s of the batch; call mio_loss_set_batch first%s",
                         mio_loss_name(loss), what,
                         strcmp(what, "labels") ? "" : ", or set a trainer's parameter 'labels' to 1");
    if (given && given != pairs)
        return mio__fail(MIO_ERROR_STATE,
                         "loss '%s' was given %zu %s and is to compute %zu pairs; call "
                         "mio_loss_set_batch for each batch",
                         mio_loss_name(loss), given, what, pairs);
    return MIO_OK;
}

mio_status mio__loss_check_given(mio_loss *loss, size_t pairs, size_t dim)
{
    const unsigned flags = loss->kind->flags;
    const int takes_labels = (flags & (MIO__LOSS_LABELS | MIO__LOSS_MAY_LABEL)) != 0;
    mio_status status = MIO_OK;
    if (takes_labels)
        status = check_number(loss, "labels", loss->label_count, pairs, flags & MIO__LOSS_LABELS);
    if (!status && flags & MIO__LOSS_INDICES)
        status = check_number(loss, "indices", loss->index_count, pairs, 1);
    if (!status && flags & MIO__LOSS_LABELS)
        status = check_classes(loss);
    if (!status && (loss->target_set[0] || loss->target_set[1]) &&
        (loss->target_pairs != pairs || loss->target_dim != dim))
        status = mio__fail(MIO_ERROR_STATE,
                           "loss '%s' was given targets of %zu x %zu and is to compute %zu x %zu; call "
                           "mio_loss_set_targets for each batch",
                           mio_loss_name(loss), loss->target_pairs, loss->target_dim, pairs, dim);
    loss->pairs.class_of = takes_labels && loss->label_count ? loss->class_of : NULL;
    return status;
}

/* ---- targets ---- */

size_t mio__unit_row(size_t dim, size_t element, const void *from, double *to)
{
    double largest = 0, square = 0;
    for (size_t k = 0; k < dim; k++) {
        to[k] = element == sizeof(float) ? (double)((const float *)from)[k] : ((const double *)from)[k];
        if (!isfinite(to[k]))
            return k;
        largest = fmax(largest, fabs(to[k]));
    }
    int exponent = 0;
    frexp(largest, &exponent);
    const double scale = ldexp(1, exponent < -1000 ? 1000 : -exponent);
    for (size_t k = 0; k < dim; k++) {
        to[k] *= scale;
        square += to[k] * to[k];
    }
    const double inverse = square > 0 ? 1 / sqrt(square) : 0;
    for (size_t k = 0; k < dim; k++)
        to[k] *= inverse;
    return dim;
}

static double target_value(size_t element, const void *rows, size_t at)
{
    return element == sizeof(float) ? (double)((const float *)rows)[at] : ((const double *)rows)[at];
}

static mio_status check_target(const mio_loss *loss, size_t view, size_t pairs, size_t dim, size_t element,
                               const void *rows)
{
    size_t count, bytes;
    if (__builtin_mul_overflow(pairs, dim, &count) || __builtin_mul_overflow(count, sizeof(double), &bytes))
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': targets of %zu x %zu are beyond the address space",
                         mio_loss_name(loss), pairs, dim);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(target_value(element, rows, i)))
            return mio__fail(MIO_ERROR_ARGUMENT, "t%zu[%zu][%zu] is not finite; every value of a target must be",
                             view + 1, i / dim, i % dim);
    return MIO_OK;
}

static mio_status take_target(mio_loss *loss, size_t view, size_t pairs, size_t dim, size_t element, const void *rows)
{
    void *place = loss->targets[view];
    const mio_status status =
        mio__reserve(loss->context, &place, &loss->target_room[view], pairs * dim * sizeof(double));
    loss->targets[view] = place;
    for (size_t b = 0; !status && b < pairs; b++)
        mio__unit_row(dim, element, (const char *)rows + b * dim * element, loss->targets[view] + b * dim);
    loss->target_set[view] = !status;
    return status;
}

static mio_status set_targets(mio_loss *loss, size_t pairs, size_t dim, size_t element, const void *t1, const void *t2)
{
    if (!loss)
        return mio__settings_null("loss");
    if (!(loss->kind->flags & MIO__LOSS_TARGETS))
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s' has no targets; byol, simsiam, moco and nnclr have",
                         mio_loss_name(loss));
    const void *rows[2] = {t1, t2};
    if ((t1 || t2) && (!pairs || !dim))
        return mio__fail(MIO_ERROR_ARGUMENT, "loss '%s': targets of %zu x %zu are empty", mio_loss_name(loss), pairs,
                         dim);
    mio_status status = MIO_OK;
    for (size_t view = 0; !status && view < 2; view++)
        if (rows[view])
            status = check_target(loss, view, pairs, dim, element, rows[view]);
    if (status)
        return status;
    loss->target_set[0] = loss->target_set[1] = 0;
    loss->target_pairs = pairs;
    loss->target_dim = dim;
    for (size_t view = 0; !status && view < 2; view++)
        if (rows[view])
            status = take_target(loss, view, pairs, dim, element, rows[view]);
    if (status)
        loss->target_set[0] = loss->target_set[1] = 0;
    return status;
}

mio_status mio_loss_set_targets(mio_loss *loss, size_t pairs, size_t dim, const float *t1, const float *t2)
{
    return set_targets(loss, pairs, dim, sizeof(float), t1, t2);
}

mio_status mio_loss_set_targets_f64(mio_loss *loss, size_t pairs, size_t dim, const double *t1, const double *t2)
{
    return set_targets(loss, pairs, dim, sizeof(double), t1, t2);
}

void mio__loss_target(const mio_loss *loss, size_t view, size_t b, double *row)
{
    const mio__pair_plan *plan = &loss->pairs.plan;
    if (!loss->target_set[view]) {
        mio__pairs_unit(&loss->pairs, view, b, row);
        return;
    }
    memcpy(row, loss->targets[view] + b * plan->dim, plan->dim * sizeof *row);
    memset(row + plan->dim, 0, (plan->width - plan->dim) * sizeof *row);
}

void mio__loss_free_given(mio_loss *loss)
{
    mio__free(loss->context, loss->labels);
    mio__free(loss->context, loss->indices);
    mio__free(loss->context, loss->class_of);
    mio__free(loss->context, loss->class_size);
    mio__free(loss->context, loss->targets[0]);
    mio__free(loss->context, loss->targets[1]);
}
