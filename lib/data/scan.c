#define _POSIX_C_SOURCE 200809L
#include "data/scan.h"

#include "core/file.h"
#include "data/image.h"
#include "data/store.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* ---- names ---- */

mio_status mio__names_add(mio__names *names, const char *name)
{
    const size_t size = strlen(name) + 1;
    if (names->count == MIO__DATASET_COUNT_LIMIT)
        return mio__fail(MIO_ERROR_ARGUMENT, "more than 2^32 - 1 images; open a part of them");
    mio_status status =
        mio__grow(names->context, (void **)&names->text, &names->text_capacity, names->used, names->used + size, 1);
    if (!status)
        status = mio__grow(names->context, (void **)&names->starts, &names->capacity, names->count, names->count + 1,
                           sizeof *names->starts);
    if (status)
        return status;
    memcpy(names->text + names->used, name, size);
    names->starts[names->count++] = names->used;
    names->used += size;
    return MIO_OK;
}

void mio__names_free(mio__names *names)
{
    mio__free(names->context, names->text);
    mio__free(names->context, names->starts);
}

static int comes_before(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    const int left = *a == '/' ? 1 : (unsigned char)*a, right = *b == '/' ? 1 : (unsigned char)*b;
    return left < right;
}

/* Merges order[low..middle) and order[middle..high) into merged[low..high). */
static void merge(const mio__names *names, const size_t *order, size_t *merged, size_t low, size_t middle, size_t high)
{
    size_t left = low, right = middle;
    for (size_t i = low; i < high; i++) {
        const int take_right = left == middle || (right < high && comes_before(mio__names_at(names, order[right]),
                                                                               mio__names_at(names, order[left])));
        merged[i] = take_right ? order[right++] : order[left++];
    }
}

/* Merge sort; scratch holds as many as order. */
static void sort(const mio__names *names, size_t *order, size_t *scratch)
{
    const size_t count = names->count;
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    for (size_t run = 1; run < count; run *= 2) {
        for (size_t low = 0; low < count; low += 2 * run) {
            const size_t middle = count - low < run ? count : low + run;
            const size_t high = count - middle < run ? count : middle + run;
            merge(names, order, scratch, low, middle, high);
        }
        memcpy(order, scratch, count * sizeof *order);
    }
}

mio_status mio__names_sort(mio__names *names, size_t *order)
{
    const size_t count = names->count;
    size_t *places = mio__alloc(names->context, count * sizeof *places);
    size_t *scratch = mio__alloc(names->context, count * sizeof *scratch);
    if (places && scratch) {
        sort(names, places, scratch);
        for (size_t i = 0; i < count; i++)
            scratch[i] = names->starts[places[i]];
        memcpy(names->starts, scratch, count * sizeof *scratch);
        if (order)
            memcpy(order, places, count * sizeof *order);
    }
    const mio_status status = places && scratch ? MIO_OK : MIO_ERROR_MEMORY;
    mio__free(names->context, places);
    mio__free(names->context, scratch);
    return status;
}

/* ---- folders ---- */

enum { DEPTH_LIMIT = 64, PATH_LIMIT = 4096 };

/* A folder that the scan is inside of. */
typedef struct way {
    const struct way *outer;
    dev_t device;
    ino_t number;
    size_t depth;
} way;

typedef struct scan {
    mio__names *names;
    int by_class;
    size_t root_length;    /* of the path, with its slash: what comes after it is the name */
    char path[PATH_LIMIT]; /* of what is looked at */
} scan;

static mio_status fail_io(const scan *work, const char *what)
{
    return mio__file_failure(what, work->path, errno);
}

static mio_status scan_folder(scan *work, size_t length, const way *outer);

/* A folder inside the one that `here` stands for. */
static mio_status enter_folder(scan *work, size_t length, const struct stat *facts, const way *here)
{
    for (const way *step = here; step; step = step->outer)
        if (step->device == facts->st_dev && step->number == facts->st_ino)
            return MIO_OK;
    if (here->depth == DEPTH_LIMIT)
        return mio__fail(MIO_ERROR_IO, "'%s' lies more than %d folders deep", work->path, DEPTH_LIMIT);
    const way inner = {here, facts->st_dev, facts->st_ino, here->depth + 1};
    const size_t before = work->names->count;
    const mio_status status = scan_folder(work, length, &inner);
    if (!status && work->by_class && here->depth == 0 && work->names->count == before) {
        work->path[length] = 0;
        return mio__fail(MIO_ERROR_ARGUMENT, "the class folder '%s' holds no images (.jpg, .jpeg, .png)", work->path);
    }
    return status;
}

/* One name of the folder whose path has `length` bytes. */
static mio_status look_at(scan *work, size_t length, const char *name, const way *here)
{
    const size_t size = strlen(name);
    if (name[0] == '.')
        return MIO_OK;
    if (length + 1 + size >= PATH_LIMIT)
        return mio__fail(MIO_ERROR_IO, "a path in '%.200s' is longer than %d bytes", work->path, PATH_LIMIT - 1);
    work->path[length] = '/';
    memcpy(work->path + length + 1, name, size + 1);
    const int is_image = mio__image_is_named(name);
    struct stat facts;
    if (stat(work->path, &facts))
        return is_image ? fail_io(work, "examine") : MIO_OK;
    if (S_ISDIR(facts.st_mode))
        return enter_folder(work, length + 1 + size, &facts, here);
    if (!is_image || !S_ISREG(facts.st_mode) || (work->by_class && here->depth == 0))
        return MIO_OK;
    return mio__names_add(work->names, work->path + work->root_length);
}

static mio_status scan_folder(scan *work, size_t length, const way *here)
{
    DIR *folder = opendir(work->path);
    if (!folder)
        return errno == ENOMEM ? mio__fail(MIO_ERROR_MEMORY, "out of memory: no room to list '%s'", work->path)
                               : fail_io(work, "list");
    mio_status status = MIO_OK;
    while (!status) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry) {
            work->path[length] = 0;
            status = errno ? fail_io(work, "list") : MIO_OK;
            break;
        }
        status = look_at(work, length, entry->d_name, here);
    }
    closedir(folder);
    return status;
}

mio_status mio__scan_folder(mio__names *names, const char *folder, int by_class)
{
    const size_t length = strlen(folder);
    if (length + 1 >= PATH_LIMIT)
        return mio__fail(MIO_ERROR_IO, "the path '%.200s...' is longer than %d bytes", folder, PATH_LIMIT - 1);
    scan *work = mio__alloc(names->context, sizeof *work);
    if (!work)
        return MIO_ERROR_MEMORY;
    work->names = names;
    work->by_class = by_class;
    work->root_length = length + 1;
    memcpy(work->path, folder, length + 1);
    struct stat facts;
    const way root = {NULL, 0, 0, 0};
    way here = root;
    mio_status status = MIO_OK;
    if (stat(folder, &facts)) {
        status = fail_io(work, "open");
    } else {
        here.device = facts.st_dev;
        here.number = facts.st_ino;
        status = scan_folder(work, length, &here);
    }
    mio__free(names->context, work);
    return status;
}
