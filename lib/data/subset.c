/* Parts of a dataset, and what can be said of it as a whole. */
#include "core/random.h"
#include "data/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- subset ---- */

/* Takes over indices, which refer to `dataset`. */
static mio_status make_subset(mio_dataset *dataset, size_t count, size_t *indices, mio_dataset **subset)
{
    mio_dataset *made;
    const mio_status status = mio__dataset_create(dataset->context, &made);
    if (status) {
        mio__free(dataset->context, indices);
        return status;
    }
    /* A subset of a subset shows the images of the first parent, so that looking one up takes one step. */
    for (size_t i = 0; dataset->parent && i < count; i++)
        indices[i] = dataset->indices[indices[i]];
    made->parent = mio_dataset_retain(dataset->parent ? dataset->parent : dataset);
    made->indices = indices;
    made->count = count;
    made->channels = dataset->channels;
    made->class_count = dataset->class_count;
    *subset = made;
    return MIO_OK;
}

mio_status mio_dataset_subset(mio_dataset *dataset, size_t count, const size_t *indices, mio_dataset **subset)
{
    if (!dataset || !indices || !subset)
        return mio__fail(MIO_ERROR_ARGUMENT, "%s is NULL",
                         !dataset   ? "the dataset"
                         : !indices ? "indices"
                                    : "the subset's place");
    if (!count || count > MIO__DATASET_COUNT_LIMIT)
        return mio__fail(MIO_ERROR_ARGUMENT, "a subset has 1 to 2^32 - 1 images; count is %zu", count);
    for (size_t i = 0; i < count; i++)
        if (indices[i] >= dataset->count)
            return mio__fail(MIO_ERROR_ARGUMENT, "indices[%zu] is %zu; the dataset has %zu images", i, indices[i],
                             dataset->count);
    size_t *copy = mio__alloc(dataset->context, count * sizeof *copy);
    if (!copy)
        return MIO_ERROR_MEMORY;
    memcpy(copy, indices, count * sizeof *copy);
    return make_subset(dataset, count, copy, subset);
}

/* ---- split ---- */

/* Work space of a split. */
typedef struct split_work {
    uint64_t *members;   /* count: label + 1 and, below it, index of every image, sorted: class by class */
    size_t *order;       /* count: a permutation of one class */
    unsigned char *side; /* count: 0 for the first part, 1 for the second */
} split_work;

enum { INDEX_BITS = 32 };

static int by_class(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void group_by_class(const mio_dataset *dataset, split_work *work)
{
    for (size_t i = 0; i < dataset->count; i++)
        work->members[i] = (uint64_t)(mio__dataset_label(dataset, i) + INT64_C(1)) << INDEX_BITS | i;
    qsort(work->members, dataset->count, sizeof *work->members, by_class);
}

/* How many of a class's images go into the first part: the nearest number that leaves both parts some. */
static size_t share(size_t images, double fraction)
{
    if (images < 2)
        return images;
    const size_t nearest = (size_t)floor(fraction * (double)images + 0.5);
    return nearest < 1 ? 1 : nearest > images - 1 ? images - 1 : nearest;
}

/* Deals every class's images to the two sides; returns how many the first side got. */
static size_t deal(const mio_dataset *dataset, double fraction, uint64_t seed, split_work *work)
{
    size_t taken = 0, images;
    for (size_t start = 0; start < dataset->count; start += images) {
        const uint64_t *members = work->members + start, class = members[0] >> INDEX_BITS;
        for (images = 1; start + images < dataset->count && members[images] >> INDEX_BITS == class;)
            images++;
        const size_t first = share(images, fraction);
        mio__random random;
        mio__random_start(&random, seed, 0, (uint32_t) class, 0, MIO__PURPOSE_SPLIT);
        mio__random_permutation(&random, images, work->order);
        for (size_t i = 0; i < images; i++)
            work->side[(uint32_t)members[work->order[i]]] = i >= first;
        taken += first;
    }
    return taken;
}

/* The images of one side, in the dataset's order. */
static mio_status take_side(mio_dataset *dataset, const split_work *work, int side, size_t count, mio_dataset **part)
{
    size_t *indices = mio__alloc(dataset->context, count * sizeof *indices);
    if (!indices)
        return MIO_ERROR_MEMORY;
    size_t used = 0;
    for (size_t i = 0; i < dataset->count; i++)
        if (work->side[i] == side)
            indices[used++] = i;
    return make_subset(dataset, count, indices, part);
}

static mio_status split_with(mio_dataset *dataset, double fraction, uint64_t seed, split_work *work,
                             mio_dataset **first, mio_dataset **second)
{
    mio_context *context = dataset->context;
    if (!(work->members = mio__alloc(context, dataset->count * sizeof *work->members)) ||
        !(work->order = mio__alloc(context, dataset->count * sizeof *work->order)) ||
        !(work->side = mio__alloc(context, dataset->count)))
        return MIO_ERROR_MEMORY;
    group_by_class(dataset, work);
    const size_t taken = deal(dataset, fraction, seed, work);
    if (taken == dataset->count)
        return mio__fail(MIO_ERROR_ARGUMENT, "%zu images of as many classes cannot be split in two", dataset->count);
    mio_dataset *parts[2] = {NULL, NULL};
    mio_status status = take_side(dataset, work, 0, taken, &parts[0]);
    if (!status)
        status = take_side(dataset, work, 1, dataset->count - taken, &parts[1]);
    if (status) {
        mio_dataset_release(parts[0]);
        return status;
    }
    *first = parts[0];
    *second = parts[1];
    return MIO_OK;
}

mio_status mio_dataset_split(mio_dataset *dataset, double fraction, uint64_t seed, mio_dataset **first,
                             mio_dataset **second)
{
    if (!dataset || !first || !second)
        return mio__fail(MIO_ERROR_ARGUMENT, "%s is NULL", !dataset ? "the dataset" : "a place for a part");
    if (!(fraction > 0 && fraction < 1))
        return mio__fail(MIO_ERROR_ARGUMENT, "fraction is %g; it lies between 0 and 1, both exclusive", fraction);
    split_work work = {0};
    const mio_status status = split_with(dataset, fraction, seed, &work, first, second);
    mio__free(dataset->context, work.members);
    mio__free(dataset->context, work.order);
    mio__free(dataset->context, work.side);
    return status;
}

/* ---- statistics ---- */

/* Sums of bytes are exact in 64 bits up to 2^48 pixels. */
typedef struct statistics_work {
    const mio_dataset *dataset;
    uint64_t *sums; /* items x (1 + 2 channels): pixels; sum and sum of squares of each channel */
} statistics_work;

enum { STATISTICS_ITEMS = 64 };

static void add_row(const uint8_t *row, size_t width, size_t channels, uint64_t *sums)
{
    for (size_t c = 0; c < channels; c++) {
        /* 32 bits hold the squares of 2^16 bytes. */
        for (size_t start = 0; start < width; start += 65536) {
            const size_t end = width - start < 65536 ? width : start + 65536;
            uint32_t sum = 0, squares = 0;
            for (size_t x = start; x < end; x++) {
                const uint32_t value = row[x * channels + c];
                sum += value;
                squares += value * value;
            }
            sums[2 * c] += sum;
            sums[2 * c + 1] += squares;
        }
    }
}

static void add_images(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const statistics_work *work = argument;
    const mio_dataset *dataset = work->dataset;
    const size_t channels = dataset->channels;
    uint64_t *sums = work->sums + item * (1 + 2 * channels);
    for (size_t i = item; i < dataset->count; i += STATISTICS_ITEMS) {
        const mio__pixels image = mio__dataset_pixels(dataset, i);
        sums[0] += (uint64_t)image.height * image.width;
        for (size_t y = 0; y < image.height; y++)
            add_row(image.pixels + y * image.row_stride, image.width, channels, sums + 1);
    }
}

mio_status mio_dataset_statistics(const mio_dataset *dataset, size_t channels, double *mean, double *deviation)
{
    if (!dataset || !mean || !deviation)
        return mio__fail(MIO_ERROR_ARGUMENT, "%s is NULL", !dataset ? "the dataset" : !mean ? "mean" : "deviation");
    if (channels != dataset->channels)
        return mio__fail(MIO_ERROR_ARGUMENT, "channels is %zu; the dataset's images have %zu", channels,
                         dataset->channels);
    const size_t width = 1 + 2 * channels;
    statistics_work work = {dataset, mio__alloc_zeroed(dataset->context, STATISTICS_ITEMS * width, sizeof *work.sums)};
    if (!work.sums)
        return MIO_ERROR_MEMORY;
    mio__parallel(dataset->context, mio__workers(dataset->context), STATISTICS_ITEMS, add_images, &work);
    for (size_t i = 1; i < STATISTICS_ITEMS; i++)
        for (size_t k = 0; k < width; k++)
            work.sums[k] += work.sums[i * width + k];
    const uint64_t pixels = work.sums[0];
    for (size_t c = 0; c < channels; c++) {
        const uint64_t sum = work.sums[1 + 2 * c], squares = work.sums[2 + 2 * c];
        /* Moments about the mean's whole part, still exact (unsigned arithmetic wraps back): nothing cancels below. */
        const uint64_t whole = sum / pixels, rest = sum - whole * pixels;
        const uint64_t spread = squares - 2 * whole * sum + whole * whole * pixels;
        const double part = (double)rest / (double)pixels;
        mean[c] = (double)sum / (double)pixels / 255;
        deviation[c] = sqrt((double)spread / (double)pixels - part * part) / 255;
    }
    mio__free(dataset->context, work.sums);
    return MIO_OK;
}
