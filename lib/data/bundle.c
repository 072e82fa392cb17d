#define _POSIX_C_SOURCE 200809L
#include "data/bundle.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_LIMIT = 16, NAMES_LIMIT = 65536 };

static const char *last_component(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static mio_status refuse_missing(const mio__source *source, size_t count, const mio__bundle_file *files,
                                 const unsigned char *found)
{
    for (size_t i = 0; i < count; i++)
        if (!found[i] && files[i].name && !files[i].is_optional)
            return mio__fail(MIO_ERROR_IO, "'%s' holds no '%s', which format '%s' needs", source->path, files[i].name,
                             source->format);
    return MIO_OK;
}

/* ---- a folder ---- */

static mio_status visit_file(const mio__source *source, const char *folder, size_t file, const char *name,
                             mio__bundle_read read, void *argument, unsigned char *found)
{
    char *path = mio__join_path(source->context, folder, name);
    if (!path)
        return MIO_ERROR_MEMORY;
    mio_status status = MIO_OK;
    *found = !access(path, F_OK);
    if (*found) {
        mio__stream *stream = NULL;
        status = mio__stream_open(source->context, path, &stream);
        if (!status)
            status = read(argument, file, stream);
        mio__stream_close(stream);
    }
    mio__free(source->context, path);
    return status;
}

static mio_status visit_folder(const mio__source *source, const char *folder, size_t count,
                               const mio__bundle_file *files, mio__bundle_read read, void *argument)
{
    unsigned char found[FILES_LIMIT] = {0};
    for (size_t i = 0; i < count; i++) {
        const mio_status status =
            files[i].name ? visit_file(source, folder, i, files[i].name, read, argument, &found[i]) : MIO_OK;
        if (status)
            return status;
    }
    return refuse_missing(source, count, files, found);
}

/* ---- a tar ---- */

static mio_status visit_members(const mio__source *source, mio__stream *stream, size_t count,
                                const mio__bundle_file *files, mio__bundle_read read, void *argument)
{
    unsigned char found[FILES_LIMIT] = {0};
    for (;;) {
        mio__tar_member member;
        mio_status status = mio__tar_next(stream, &member);
        if (status)
            return status;
        if (!member.name)
            return refuse_missing(source, count, files, found);
        size_t i = 0;
        while (i < count && (!files[i].name || strcmp(last_component(member.name), files[i].name)))
            i++;
        if (i == count || member.is_link)
            continue;
        if (found[i])
            return mio__stream_fail(stream, 0, "the archive holds '%s' twice", files[i].name);
        found[i] = 1;
        if ((status = read(argument, i, stream)))
            return status;
    }
}

mio_status mio__bundle_visit(const mio__source *source, const char *subfolder, size_t count,
                             const mio__bundle_file *files, mio__bundle_read read, void *argument)
{
    struct stat facts;
    if (!stat(source->path, &facts) && S_ISDIR(facts.st_mode)) {
        char *inner = mio__join_path(source->context, source->path, subfolder);
        if (!inner)
            return MIO_ERROR_MEMORY;
        const int is_inside = !stat(inner, &facts) && S_ISDIR(facts.st_mode);
        const mio_status status = visit_folder(source, is_inside ? inner : source->path, count, files, read, argument);
        mio__free(source->context, inner);
        return status;
    }
    mio__stream *stream;
    mio_status status = mio__stream_open(source->context, source->path, &stream);
    if (status)
        return status;
    status = visit_members(source, stream, count, files, read, argument);
    mio__stream_close(stream);
    return status;
}

mio_status mio__bundle_records(mio__stream *stream, size_t record_size, size_t *records)
{
    const uint64_t size = mio__stream_bound(stream), count = size / record_size;
    if (size % record_size)
        return mio__stream_fail(stream, count * record_size,
                                "the file ends inside a record: %llu bytes are no multiple of %zu",
                                (unsigned long long)size, record_size);
    if (!count)
        return mio__stream_fail(stream, 0, "the file is empty");
    if (count > MIO__DATASET_COUNT_LIMIT / 8)
        return mio__stream_fail(stream, 0, "%llu records are more than a dataset holds", (unsigned long long)count);
    *records = (size_t)count;
    return MIO_OK;
}

mio_status mio__bundle_class_names(mio__stream *stream, size_t classes, mio_dataset *dataset)
{
    char *text;
    size_t size;
    mio_status status = mio__stream_read_rest(stream, NAMES_LIMIT, &text, &size);
    if (status)
        return status;
    status = mio__dataset_name_classes_by_lines(dataset, text, size);
    mio__free(dataset->context, text);
    if (!status && dataset->class_name_count != classes)
        return mio__stream_fail(stream, size, "%zu class names; there are %zu classes", dataset->class_name_count,
                                classes);
    return status;
}
