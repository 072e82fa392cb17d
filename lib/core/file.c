#define _POSIX_C_SOURCE 200809L /* fsync, strerror_r */
#include "core/file.h"

#include "core/context.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

mio_status mio__file_failure(const char *action, const char *path, int error)
{
    char reason[128];
    if (strerror_r(error, reason, sizeof reason))
        snprintf(reason, sizeof reason, "error %d", error);
    return mio__fail(MIO_ERROR_IO, "cannot %s '%s': %s", action, path, reason);
}

/* ---- writing ---- */

/* Bytes of the file's own name that the temporary's begins with: names end at 255. */
enum { NAME_PART = 200 };

/* A file of its own beside path, whoever else is writing there. */
static mio_status open_temporary(mio__file *file)
{
    const char *slash = strrchr(file->path, '/'), *name = slash ? slash + 1 : file->path;
    const size_t length = strlen(name), folder = (size_t)(name - file->path);
    const int kept = (int)(folder + (length < NAME_PART ? length : NAME_PART));
    const size_t size = (size_t)kept + 48;
    file->temporary = mio__alloc(file->context, size);
    if (!file->temporary)
        return MIO_ERROR_MEMORY;
    for (int attempt = 0;; attempt++) {
        snprintf(file->temporary, size, "%.*s.%ld.%d.tmp", kept, file->path, (long)getpid(), attempt);
        file->descriptor = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file->descriptor >= 0)
            return MIO_OK;
        if (errno != EEXIST || attempt == 999)
            break;
    }
    const mio_status status = mio__file_failure("create", file->temporary, errno);
    mio__free(file->context, file->temporary);
    file->temporary = NULL; /* nothing of ours to remove */
    return status;
}

mio_status mio__file_create(mio_context *context, const char *path, mio__file *file)
{
    *file = (mio__file){.context = context, .path = mio__copy_text(context, path), .descriptor = -1};
    const mio_status status = file->path ? open_temporary(file) : MIO_ERROR_MEMORY;
    if (status)
        mio__file_abandon(file);
    return status;
}

mio_status mio__file_write(mio__file *file, const void *bytes, size_t size)
{
    const unsigned char *next = bytes;
    while (size > 0) {
        const ssize_t written = write(file->descriptor, next, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return mio__file_failure("write", file->temporary, errno);
        next += written;
        size -= (size_t)written;
    }
    return MIO_OK;
}

static mio_status replace_old(mio__file *file)
{
    if (fsync(file->descriptor))
        return mio__file_failure("write", file->temporary, errno);
    const int descriptor = file->descriptor;
    file->descriptor = -1;
    if (close(descriptor))
        return mio__file_failure("write", file->temporary, errno);
    if (rename(file->temporary, file->path))
        return mio__file_failure("replace", file->path, errno);
    mio__free(file->context, file->temporary);
    file->temporary = NULL;
    return MIO_OK;
}

/* After a power cut the folder, too, must know the new file, which is in its place by now whatever comes. */
static void sync_folder(mio__file *file)
{
    char *slash = strrchr(file->path, '/');
    if (slash)
        slash[slash == file->path] = 0;
    const char *folder = slash ? file->path : ".";
    const int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return; /* a folder that may be written but not read */
    /* Some file systems cannot sync a folder and say EINVAL. */
    if (fsync(descriptor) && errno != EINVAL)
        mio__log(file->context, MIO_LOG_WARNING,
                 "the folder '%s' cannot be synced: after a power cut the old file may be back", folder);
    close(descriptor);
}

mio_status mio__file_commit(mio__file *file)
{
    const mio_status status = replace_old(file);
    if (!status)
        sync_folder(file);
    mio__file_abandon(file);
    return status;
}

void mio__file_abandon(mio__file *file)
{
    if (!file->context)
        return;
    if (file->descriptor >= 0)
        close(file->descriptor);
    if (file->temporary)
        unlink(file->temporary);
    mio__free(file->context, file->temporary);
    mio__free(file->context, file->path);
    *file = (mio__file){0};
}

/* ---- reading ---- */

static mio_status read_all(int descriptor, const char *path, char *bytes, size_t room, size_t *size)
{
    for (*size = 0; *size < room;) {
        const ssize_t got = read(descriptor, bytes + *size, room - *size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return mio__file_failure("read", path, errno);
        if (!got)
            return MIO_OK;
        *size += (size_t)got;
    }
    return mio__fail(MIO_ERROR_FORMAT, "'%s' has grown while it was read", path);
}

static mio_status read_open(mio_context *context, int descriptor, const char *path, size_t limit, char **bytes,
                            size_t *size)
{
    struct stat facts;
    if (fstat(descriptor, &facts))
        return mio__file_failure("open", path, errno);
    if (!S_ISREG(facts.st_mode))
        return mio__fail(MIO_ERROR_IO, "cannot read '%s': it is not a regular file", path);
    if ((uint64_t)facts.st_size > limit)
        return mio__fail(MIO_ERROR_FORMAT, "'%s' has %llu bytes; at most %zu are expected", path,
                         (unsigned long long)facts.st_size, limit);
    const size_t room = (size_t)facts.st_size + 1;
    char *made = mio__alloc(context, room);
    if (!made)
        return MIO_ERROR_MEMORY;
    size_t got;
    const mio_status status = read_all(descriptor, path, made, room, &got);
    if (status) {
        mio__free(context, made);
        return status;
    }
    made[got] = 0;
    *bytes = made;
    *size = got;
    return MIO_OK;
}

mio_status mio__file_read(mio_context *context, const char *path, size_t limit, char **bytes, size_t *size)
{
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* no waiting for a pipe */
    if (descriptor < 0)
        return mio__file_failure("open", path, errno);
    const mio_status status = read_open(context, descriptor, path, limit, bytes, size);
    close(descriptor);
    return status;
}
