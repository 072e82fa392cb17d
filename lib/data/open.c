#include "data/store.h"

#include <stdio.h>
#include <string.h>

enum { SHORTER_SIDE = 256 };

static const struct format {
    const char *name;
    mio_status (*read)(const mio__source *source, mio_dataset *dataset);
} formats[] = {
    {"cifar10", mio__read_cifar10}, {"cifar100", mio__read_cifar100}, {"flat", mio__read_flat},
    {"folder", mio__read_folder},   {"idx", mio__read_idx},           {"stl10", mio__read_stl10},
};
enum { FORMAT_COUNT = sizeof formats / sizeof *formats };

const char *mio_dataset_format_at(size_t index)
{
    return index < FORMAT_COUNT ? formats[index].name : NULL;
}

static mio_status find_format(const char *name, const struct format **format)
{
    const size_t place = mio__find_name("dataset format", name, mio_dataset_format_at);
    if (place == MIO__NO_NAME)
        return MIO_ERROR_ARGUMENT;
    *format = &formats[place];
    return MIO_OK;
}

mio_status mio_dataset_open(mio_context *context, const char *format, const char *path, const char *split,
                            mio_dataset **dataset)
{
    return mio_dataset_open_with(context, format, path, split, NULL, dataset);
}

static mio_status take_options(const mio_dataset_options *options, mio_dataset_options *chosen)
{
    mio_dataset_options given;
    const mio_status status = mio__struct_take(&given, sizeof given, options,
                                               MIO__UP_TO(mio_dataset_options, shorter_side), "mio_dataset_options");
    if (status)
        return status;
    if (given.channels != 0 && given.channels != 3)
        return mio__fail(MIO_ERROR_ARGUMENT, "options.channels is %zu; it takes 3, or 0 for the default",
                         given.channels);
    chosen->channels = given.channels;
    if (given.shorter_side)
        chosen->shorter_side = given.shorter_side;
    return MIO_OK;
}

mio_status mio_dataset_open_with(mio_context *context, const char *format, const char *path, const char *split,
                                 const mio_dataset_options *options, mio_dataset **dataset)
{
    if (!context || !format || !path || !dataset)
        return mio__fail(MIO_ERROR_ARGUMENT, "%s is NULL",
                         !context  ? "the context"
                         : !format ? "the format"
                         : !path   ? "the path"
                                   : "the dataset's place");
    mio_dataset_options chosen = {.shorter_side = SHORTER_SIDE};
    const struct format *found = NULL;
    mio_status status = options ? take_options(options, &chosen) : MIO_OK;
    if (!status)
        status = find_format(format, &found);
    if (status)
        return status;
    const mio__source source = {context, format, path, split, chosen.shorter_side, chosen.channels};
    mio_dataset *made;
    if ((status = mio__dataset_create(context, &made)))
        return status;
    status = found->read(&source, made);
    if (status) {
        mio_dataset_release(made);
        return status;
    }
    mio__dataset_finish(made);
    *dataset = made;
    return MIO_OK;
}

/* ---- what the readers share ---- */

mio_status mio__refuse_split(const mio__source *source, const char *known)
{
    if (!source->split)
        return mio__fail(MIO_ERROR_ARGUMENT, "format '%s' needs a split: %s", source->format, known);
    return mio__fail(MIO_ERROR_ARGUMENT, "format '%s' has no split '%s'; it has %s", source->format, source->split,
                     known);
}

char *mio__join_path(mio_context *context, const char *folder, const char *name)
{
    const size_t size = strlen(folder) + strlen(name) + 2;
    char *path = mio__alloc(context, size);
    if (path)
        snprintf(path, size, "%s/%s", folder, name);
    return path;
}
