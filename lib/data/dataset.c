#include "data/store.h"

#include <string.h>

/* ---- making one ---- */

mio_status mio__dataset_create(mio_context *context, mio_dataset **dataset)
{
    mio_dataset *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    made->context = mio_context_retain(context);
    *dataset = made;
    return MIO_OK;
}

/* Pixels begin at a multiple of 64 bytes, as the block itself does. */
enum { BLOCK_HEADER = 64 };

/* size bytes of pixel memory, which the dataset owns. NULL when out of memory. */
static uint8_t *add_pixels(mio_dataset *dataset, size_t size)
{
    mio__pixel_block *block = mio__alloc(dataset->context, size <= SIZE_MAX / 2 ? size + BLOCK_HEADER : SIZE_MAX);
    if (!block)
        return NULL;
    block->next = dataset->blocks;
    dataset->blocks = block;
    return (uint8_t *)block + BLOCK_HEADER;
}

static mio_status check_shape(size_t count, size_t height, size_t width, size_t channels)
{
    if (!count)
        return mio__fail(MIO_ERROR_ARGUMENT, "a dataset needs at least one image; count is 0");
    if (count > MIO__DATASET_COUNT_LIMIT)
        return mio__fail(MIO_ERROR_ARGUMENT, "a dataset holds at most 2^32 - 1 images; count is %zu", count);
    if (!height || !width || !channels)
        return mio__fail(MIO_ERROR_ARGUMENT, "images of %zu x %zu x %zu have no pixels", height, width, channels);
    if (height > MIO__IMAGE_PIXELS_LIMIT / width || channels > MIO__IMAGE_CHANNELS_LIMIT)
        return mio__fail(MIO_ERROR_ARGUMENT,
                         "images of %zu x %zu x %zu are too large; at most 2^28 pixels and 2^12 channels are taken",
                         height, width, channels);
    return MIO_OK;
}

mio_status mio__dataset_make_room(mio_dataset *dataset, size_t count, size_t height, size_t width, size_t channels,
                                  int labelled, uint8_t **pixels)
{
    mio_status status = check_shape(count, height, width, channels);
    if (status)
        return status;
    const size_t image = height * width * channels; /* below 2^40 */
    uint8_t *room = add_pixels(dataset, count > SIZE_MAX / 2 / image ? SIZE_MAX : count * image);
    int32_t *labels = room && labelled ? mio__alloc(dataset->context, count * sizeof *labels) : NULL;
    if (!room || (labelled && !labels))
        return MIO_ERROR_MEMORY;
    dataset->count = count;
    dataset->height = height;
    dataset->width = width;
    dataset->channels = channels;
    dataset->row_stride = width * channels;
    dataset->pixels = *pixels = room;
    dataset->labels = labels;
    return MIO_OK;
}

mio_status mio__dataset_name_classes(mio_dataset *dataset, size_t count, const char *text, size_t size)
{
    char **names = mio__alloc(dataset->context, count * sizeof *names + size);
    if (!names)
        return MIO_ERROR_MEMORY;
    char *copy = (char *)(names + count);
    memcpy(copy, text, size);
    for (size_t i = 0; i < count; i++, copy += strlen(copy) + 1)
        names[i] = copy;
    mio__free(dataset->context, dataset->class_names);
    dataset->class_names = names;
    dataset->class_name_count = count;
    return MIO_OK;
}

mio_status mio__dataset_name_classes_by_lines(mio_dataset *dataset, const char *text, size_t size)
{
    char *names = mio__alloc(dataset->context, size + 1);
    if (!names)
        return MIO_ERROR_MEMORY;
    size_t used = 0, count = 0, line = 0;
    for (size_t i = 0; i <= size; i++) {
        const char letter = i < size ? text[i] : '\n';
        if (letter && letter != '\n' && letter != '\r') {
            names[used++] = letter;
            line++;
        } else if (line) {
            names[used++] = 0;
            line = 0;
            count++;
        }
    }
    const mio_status status = count ? mio__dataset_name_classes(dataset, count, names, used) : MIO_OK;
    mio__free(dataset->context, names);
    return status;
}

void mio__dataset_finish(mio_dataset *dataset)
{
    int32_t highest = -1;
    for (size_t i = 0; dataset->labels && i < dataset->count; i++)
        if (dataset->labels[i] > highest)
            highest = dataset->labels[i];
    dataset->class_count = (size_t)((int64_t)highest + 1);
    if (highest < 0) {
        mio__free(dataset->context, dataset->labels);
        dataset->labels = NULL;
    }
}

mio_status mio_dataset_from_memory(mio_context *context, size_t count, size_t height, size_t width, size_t channels,
                                   size_t row_stride, const uint8_t *images, const int32_t *labels,
                                   mio_dataset **dataset)
{
    if (!context || !images || !dataset)
        return mio__fail(MIO_ERROR_ARGUMENT, "%s is NULL",
                         !context  ? "the context"
                         : !images ? "images"
                                   : "the dataset's place");
    mio_status status = check_shape(count, height, width, channels);
    if (status)
        return status;
    if (!row_stride)
        row_stride = width * channels;
    if (row_stride < width * channels)
        return mio__fail(MIO_ERROR_ARGUMENT, "row_stride is %zu; rows of %zu x %zu bytes need at least %zu", row_stride,
                         width, channels, width * channels);
    if (row_stride > SIZE_MAX / 2 / height || count > SIZE_MAX / 2 / (height * row_stride))
        return mio__fail(MIO_ERROR_ARGUMENT, "%zu images, %zu rows each, %zu bytes apart: more than an address space",
                         count, height, row_stride);
    for (size_t i = 0; labels && i < count; i++)
        if (labels[i] < 0)
            return mio__fail(MIO_ERROR_ARGUMENT, "label %zu is %d; labels are 0 or more", i, (int)labels[i]);
    mio_dataset *made;
    if ((status = mio__dataset_create(context, &made)))
        return status;
    if (labels && !(made->labels = mio__alloc(context, count * sizeof *labels))) {
        mio_dataset_release(made);
        return MIO_ERROR_MEMORY;
    }
    if (labels)
        memcpy(made->labels, labels, count * sizeof *labels);
    made->count = count;
    made->height = height;
    made->width = width;
    made->channels = channels;
    made->row_stride = row_stride;
    made->pixels = images;
    mio__dataset_finish(made);
    *dataset = made;
    return MIO_OK;
}

/* ---- from a callback ---- */

typedef struct callback_work {
    const mio_image_source *source;
    mio_dataset *dataset;
    uint8_t *pixels;
    int32_t *codes; /* what each call returned */
} callback_work;

static void call_back(void *argument, size_t item, size_t worker)
{
    (void)worker;
    const callback_work *work = argument;
    const mio_dataset *dataset = work->dataset;
    work->codes[item] = work->source->read(
        work->source->user, item, work->pixels + item * dataset->height * dataset->row_stride, &dataset->labels[item]);
}

static mio_status check_calls(const callback_work *work)
{
    for (size_t i = 0; i < work->dataset->count; i++) {
        if (work->codes[i])
            return mio__fail(MIO_ERROR_IO, "the image callback returned %d for image %zu", (int)work->codes[i], i);
        if (work->dataset->labels[i] < -1)
            return mio__fail(MIO_ERROR_ARGUMENT, "the image callback gave image %zu the label %d; -1 means none", i,
                             (int)work->dataset->labels[i]);
    }
    return MIO_OK;
}

static mio_status read_callback(callback_work *work, size_t count, size_t height, size_t width, size_t channels)
{
    mio_dataset *dataset = work->dataset;
    mio_status status = mio__dataset_make_room(dataset, count, height, width, channels, 1, &work->pixels);
    if (status)
        return status;
    work->codes = mio__alloc(dataset->context, count * sizeof *work->codes);
    if (!work->codes)
        return MIO_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        dataset->labels[i] = -1;
    mio__parallel(dataset->context, mio__workers(dataset->context), count, call_back, work);
    status = check_calls(work);
    mio__free(dataset->context, work->codes);
    if (!status)
        mio__dataset_finish(dataset);
    return status;
}

mio_status mio_dataset_from_callback(mio_context *context, size_t count, size_t height, size_t width, size_t channels,
                                     const mio_image_source *source, mio_dataset **dataset)
{
    if (!context || !source || !dataset)
        return mio__fail(MIO_ERROR_ARGUMENT, "%s is NULL",
                         !context  ? "the context"
                         : !source ? "the source"
                                   : "the dataset's place");
    mio_image_source given;
    callback_work work = {.source = &given};
    mio_status status =
        mio__struct_take(&given, sizeof given, source, MIO__UP_TO(mio_image_source, read), "mio_image_source");
    if (!status && !given.read)
        status = mio__fail(MIO_ERROR_ARGUMENT, "the image source needs read");
    if (!status)
        status = mio__dataset_create(context, &work.dataset);
    if (status)
        return status;
    status = read_callback(&work, count, height, width, channels);
    if (status)
        mio_dataset_release(work.dataset);
    else
        *dataset = work.dataset;
    return status;
}

/* ---- ownership ---- */

mio_dataset *mio_dataset_retain(mio_dataset *dataset)
{
    if (dataset)
        mio__references_take(&dataset->references);
    return dataset;
}

void mio_dataset_release(mio_dataset *dataset)
{
    if (!dataset || !mio__references_drop(&dataset->references))
        return;
    mio_context *context = dataset->context;
    for (mio__pixel_block *block = dataset->blocks, *next; block; block = next) {
        next = block->next;
        mio__free(context, block);
    }
    mio__free(context, dataset->places);
    mio__free(context, dataset->labels);
    mio__free(context, dataset->class_names);
    mio__free(context, dataset->image_names);
    mio__free(context, dataset->image_name_starts);
    mio__free(context, dataset->indices);
    mio_dataset_release(dataset->parent);
    mio__free(context, dataset);
    mio_context_release(context);
}

/* ---- looking into one ---- */

mio_context *mio__dataset_context(const mio_dataset *dataset)
{
    return dataset->context;
}

/* From an image of a subset to the same image of the dataset that holds it. */
static void to_parent(const mio_dataset **dataset, size_t *index)
{
    if (!(*dataset)->parent)
        return;
    *index = (*dataset)->indices[*index];
    *dataset = (*dataset)->parent;
}

mio__pixels mio__dataset_pixels(const mio_dataset *dataset, size_t index)
{
    to_parent(&dataset, &index);
    if (dataset->places)
        return dataset->places[index];
    return (mio__pixels){dataset->pixels + index * dataset->height * dataset->row_stride, dataset->height,
                         dataset->width, dataset->row_stride};
}

int32_t mio__dataset_label(const mio_dataset *dataset, size_t index)
{
    to_parent(&dataset, &index);
    return dataset->labels ? dataset->labels[index] : -1;
}

size_t mio_dataset_count(const mio_dataset *dataset)
{
    return dataset ? dataset->count : 0;
}

size_t mio_dataset_channels(const mio_dataset *dataset)
{
    return dataset ? dataset->channels : 0;
}

size_t mio_dataset_class_count(const mio_dataset *dataset)
{
    return dataset ? dataset->class_count : 0;
}

const char *mio_dataset_class_name(const mio_dataset *dataset, size_t label)
{
    if (dataset && dataset->parent)
        dataset = dataset->parent;
    return dataset && label < dataset->class_name_count ? dataset->class_names[label] : NULL;
}

static mio_status check_index(const mio_dataset *dataset, size_t index)
{
    if (!dataset)
        return mio__fail(MIO_ERROR_ARGUMENT, "the dataset handle is NULL; open one first");
    if (index >= dataset->count)
        return mio__fail(MIO_ERROR_ARGUMENT, "there is no image %zu; the dataset has %zu", index, dataset->count);
    return MIO_OK;
}

mio_status mio_dataset_image_size(const mio_dataset *dataset, size_t index, size_t *height, size_t *width)
{
    const mio_status status = check_index(dataset, index);
    if (status)
        return status;
    const mio__pixels image = mio__dataset_pixels(dataset, index);
    if (height)
        *height = image.height;
    if (width)
        *width = image.width;
    return MIO_OK;
}

mio_status mio_dataset_image(const mio_dataset *dataset, size_t index, size_t capacity, uint8_t *pixels)
{
    const mio_status status = check_index(dataset, index);
    if (status)
        return status;
    const mio__pixels image = mio__dataset_pixels(dataset, index);
    const size_t row = image.width * dataset->channels;
    if (!pixels)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the pixels is NULL");
    if (capacity < image.height * row)
        return mio__fail(MIO_ERROR_ARGUMENT, "image %zu has %zu bytes; the place for it has %zu", index,
                         image.height * row, capacity);
    for (size_t y = 0; y < image.height; y++)
        memcpy(pixels + y * row, image.pixels + y * image.row_stride, row);
    return MIO_OK;
}

mio_status mio_dataset_label(const mio_dataset *dataset, size_t index, int32_t *label)
{
    const mio_status status = check_index(dataset, index);
    if (status)
        return status;
    if (!label)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the label is NULL");
    *label = mio__dataset_label(dataset, index);
    return MIO_OK;
}

mio_status mio_dataset_image_name(const mio_dataset *dataset, size_t index, const char **name)
{
    const mio_status status = check_index(dataset, index);
    if (status)
        return status;
    if (!name)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the name is NULL");
    to_parent(&dataset, &index);
    if (!dataset->image_names)
        return mio__fail(MIO_ERROR_UNSUPPORTED,
                         "the dataset's images have no names; those of the formats 'folder' and 'flat' have");
    *name = dataset->image_names + dataset->image_name_starts[index];
    return MIO_OK;
}
