/* Images as files, in folders or in a tar of folders, decoded in parallel. */
#define _POSIX_C_SOURCE 200809L
#include "core/file.h"
#include "data/image.h"
#include "data/scan.h"
#include "data/store.h"
#include "data/stream.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Pixels are laid into chunks; what is larger than a quarter of one gets a chunk of its own. */
enum { CHUNK = 1 << 18 };
/* A tar is decoded in batches: as many compressed images, or bytes of them, are held at once. */
enum { BATCH_IMAGES = 4096, BATCH_BYTES = 32 << 20 };

/* One image: compressed bytes while they wait (of a tar), then where its pixels lie. */
typedef struct entry {
    unsigned char *bytes;
    size_t size;
    size_t channels;
    mio__pixels place;
} entry;

/* What each worker has for itself. */
typedef struct worker {
    mio__pixel_block *blocks; /* chunks filled, the one under way included */
    uint8_t *room;            /* left in the chunk under way */
    size_t left;
    size_t failed; /* its first item that failed; SIZE_MAX: none */
    mio_status status;
    char message[512];
} worker;

typedef struct gathering {
    const mio__source *source;
    mio_dataset *dataset;
    mio_context *context;
    char *root; /* folder that the names start from; NULL in a tar */
    int by_class;
    mio__names names;
    entry *entries; /* one a name */
    size_t capacity;
    size_t decoded; /* entries done */
    size_t worker_count;
    worker *workers;
    atomic_size_t stop; /* items from here on are not worth doing: an earlier one has failed */
} gathering;

/* ---- one image ---- */

static uint8_t *take_room(gathering *work, worker *self, size_t size)
{
    size = (size + 15) / 16 * 16;
    if (size > self->left) {
        const int is_large = size > CHUNK / 4;
        const size_t chunk = is_large ? size : CHUNK, header = 64;
        mio__pixel_block *block = mio__alloc(work->context, header + chunk);
        if (!block)
            return NULL;
        block->next = self->blocks;
        self->blocks = block;
        uint8_t *start = (uint8_t *)block + header;
        if (is_large)
            return start;
        self->room = start;
        self->left = chunk;
    }
    uint8_t *room = self->room;
    self->room += size;
    self->left -= size;
    return room;
}

static mio_status decode(gathering *work, worker *self, const mio__encoded *encoded, entry *image)
{
    mio__image_shape shape = {0};
    mio_status status = mio__image_examine(encoded, &shape);
    if (status)
        return status;
    const mio__image_shape kept = mio__image_reduced(shape, work->source->shorter_side);
    uint8_t *pixels = take_room(work, self, kept.height * kept.width * kept.channels);
    if (!pixels)
        return MIO_ERROR_MEMORY;
    image->channels = kept.channels;
    image->place = (mio__pixels){pixels, kept.height, kept.width, kept.width * kept.channels};
    return mio__image_decode(encoded, &kept, pixels);
}

static mio_status take_file(gathering *work, worker *self, size_t index)
{
    char *path = mio__join_path(work->context, work->root, mio__names_at(&work->names, index));
    if (!path)
        return MIO_ERROR_MEMORY;
    mio__encoded encoded = {.context = work->context, .name = path};
    char *bytes = NULL;
    mio_status status = mio__file_read(work->context, path, SIZE_MAX / 2, &bytes, &encoded.size);
    encoded.bytes = (const unsigned char *)bytes;
    if (!status)
        status = decode(work, self, &encoded, &work->entries[index]);
    mio__free(work->context, bytes);
    mio__free(work->context, path);
    return status;
}

static mio_status take_member(gathering *work, worker *self, size_t index)
{
    entry *image = &work->entries[index];
    const mio__encoded encoded = {work->context, work->source->path, mio__names_at(&work->names, index), image->bytes,
                                  image->size};
    const mio_status status = decode(work, self, &encoded, image);
    mio__free(work->context, image->bytes);
    image->bytes = NULL;
    return status;
}

static void take_item(void *argument, size_t item, size_t number)
{
    gathering *work = argument;
    worker *self = &work->workers[number];
    const size_t index = work->decoded + item;
    if (index >= atomic_load_explicit(&work->stop, memory_order_relaxed))
        return;
    const mio_status status = work->root ? take_file(work, self, index) : take_member(work, self, index);
    if (!status || self->failed < index)
        return;
    self->failed = index;
    self->status = status;
    snprintf(self->message, sizeof self->message, "%s", mio_last_error());
    size_t stop = atomic_load_explicit(&work->stop, memory_order_relaxed);
    while (index < stop && !atomic_compare_exchange_weak_explicit(&work->stop, &stop, index, memory_order_relaxed,
                                                                  memory_order_relaxed)) {
    }
}

/* Decodes the entries that wait. The failure reported is the first in their order, whatever the threads did. */
static mio_status decode_waiting(gathering *work)
{
    mio__parallel(work->context, work->worker_count, work->names.count - work->decoded, take_item, work);
    work->decoded = work->names.count;
    const worker *first = &work->workers[0];
    for (size_t i = 1; i < work->worker_count; i++)
        if (work->workers[i].failed < first->failed)
            first = &work->workers[i];
    /* Recorded on another thread; said again on this one. */
    return first->failed == SIZE_MAX ? MIO_OK : mio__fail(first->status, "%s", first->message);
}

/* ---- where the images come from ---- */

static mio_status gather_folder(gathering *work)
{
    mio_status status = mio__scan_folder(&work->names, work->root, work->by_class);
    if (status || !work->names.count || (status = mio__names_sort(&work->names, NULL)))
        return status;
    work->entries = mio__alloc_zeroed(work->context, work->names.count, sizeof *work->entries);
    return work->entries ? decode_waiting(work) : MIO_ERROR_MEMORY;
}

/* A path without "/" and "./" before it. */
static const char *from_the_root(const char *path)
{
    while (path[0] == '/' || (path[0] == '.' && path[1] == '/'))
        path += path[0] == '/' ? 1 : 2;
    return path;
}

/* Name of a member from the split on; NULL if it is no image of it. */
static const char *name_in_split(const gathering *work, const char *name)
{
    const char *split = from_the_root(work->source->split ? work->source->split : "");
    size_t length = strlen(split);
    while (length && split[length - 1] == '/')
        length--;
    name = from_the_root(name);
    if (length && (strncmp(name, split, length) || name[length] != '/'))
        return NULL;
    name += length ? length + 1 : 0;
    if (name[0] == '.' || strstr(name, "/.") || !mio__image_is_named(name))
        return NULL;
    return work->by_class && !strchr(name, '/') ? NULL : name;
}

static mio_status hold_member(gathering *work, mio__stream *stream, const mio__tar_member *member, const char *name)
{
    if (member->is_link)
        return mio__fail(MIO_ERROR_UNSUPPORTED, "'%s': member '%s' is a link; write the archive with --dereference",
                         work->source->path, member->name);
    const size_t size = (size_t)member->size, count = work->names.count; /* not beyond what the archive can hold */
    mio_status status =
        mio__grow(work->context, (void **)&work->entries, &work->capacity, count, count + 1, sizeof *work->entries);
    if (status)
        return status;
    unsigned char *bytes = mio__alloc(work->context, size);
    if (!bytes)
        return MIO_ERROR_MEMORY;
    status = mio__stream_read_exactly(stream, bytes, size, "the image");
    if (!status)
        status = mio__names_add(&work->names, name);
    if (status) {
        mio__free(work->context, bytes);
        return status;
    }
    work->entries[count] = (entry){.bytes = bytes, .size = size};
    return MIO_OK;
}

/* Puts names and entries, which came in the archive's order, in the order of the names. */
static mio_status sort_members(gathering *work)
{
    const size_t count = work->names.count;
    size_t *order = mio__alloc(work->context, count * sizeof *order);
    entry *sorted = mio__alloc(work->context, count * sizeof *sorted);
    mio_status status = order && sorted ? mio__names_sort(&work->names, order) : MIO_ERROR_MEMORY;
    for (size_t i = 0; i < count && !status; i++) {
        sorted[i] = work->entries[order[i]];
        if (i && !strcmp(mio__names_at(&work->names, i), mio__names_at(&work->names, i - 1)))
            status = mio__fail(MIO_ERROR_FORMAT, "'%s' holds the member '%s' twice", work->source->path,
                               mio__names_at(&work->names, i));
    }
    if (!status)
        memcpy(work->entries, sorted, count * sizeof *sorted);
    mio__free(work->context, order);
    mio__free(work->context, sorted);
    return status;
}

static mio_status read_members(gathering *work, mio__stream *stream)
{
    size_t waiting = 0; /* bytes */
    for (;;) {
        mio__tar_member member;
        mio_status status = mio__tar_next(stream, &member);
        const char *name = !status && member.name ? name_in_split(work, member.name) : NULL;
        if (name)
            status = hold_member(work, stream, &member, name);
        if (status)
            return status;
        waiting += name ? (size_t)member.size : 0;
        if (member.name && waiting < BATCH_BYTES && work->names.count - work->decoded < BATCH_IMAGES)
            continue;
        waiting = 0;
        status = decode_waiting(work);
        if (status || !member.name)
            return status;
    }
}

static mio_status gather_tar(gathering *work)
{
    mio__stream *stream;
    mio_status status = mio__stream_open(work->context, work->source->path, &stream);
    if (status)
        return status;
    status = read_members(work, stream);
    mio__stream_close(stream);
    return status || !work->names.count ? status : sort_members(work);
}

/* ---- the dataset ---- */

/* Grey images of a dataset with colour get three equal channels. */
static mio_status give_same_channels(gathering *work)
{
    size_t channels = work->source->channels > 1 ? work->source->channels : 1;
    for (size_t i = 0; i < work->names.count; i++)
        channels = work->entries[i].channels > channels ? work->entries[i].channels : channels;
    work->dataset->channels = channels;
    for (size_t i = 0; i < work->names.count; i++) {
        entry *image = &work->entries[i];
        if (image->channels == channels)
            continue;
        const size_t pixels = image->place.height * image->place.width;
        uint8_t *colour = take_room(work, &work->workers[0], pixels * channels);
        if (!colour)
            return MIO_ERROR_MEMORY;
        for (size_t k = 0; k < pixels * channels; k++)
            colour[k] = image->place.pixels[k / channels];
        image->channels = channels;
        image->place.pixels = colour;
        image->place.row_stride = image->place.width * channels;
    }
    return MIO_OK;
}

static int same_class(const char *a, const char *b)
{
    while (*a == *b && *a && *a != '/')
        a++, b++;
    return *a == '/' && *b == '/';
}

/* Labels from the sorted names, whose first component is the class. */
static mio_status label(gathering *work)
{
    mio_dataset *dataset = work->dataset;
    dataset->labels = mio__alloc(work->context, dataset->count * sizeof *dataset->labels);
    if (!dataset->labels)
        return MIO_ERROR_MEMORY;
    char *text = NULL;
    size_t used = 0, capacity = 0, classes = 0;
    mio_status status = MIO_OK;
    for (size_t i = 0; i < dataset->count && !status; i++) {
        const char *name = mio__names_at(&work->names, i);
        if (!i || !same_class(name, mio__names_at(&work->names, i - 1))) {
            const size_t length = strcspn(name, "/");
            status = mio__grow(work->context, (void **)&text, &capacity, used, used + length + 1, 1);
            if (status)
                break;
            memcpy(text + used, name, length);
            text[used + length] = 0;
            used += length + 1;
            classes++;
        }
        dataset->labels[i] = (int32_t)(classes - 1);
    }
    if (!status)
        status = mio__dataset_name_classes(dataset, classes, text, used);
    mio__free(work->context, text);
    return status;
}

/* Hands the names to the dataset; their number stays. */
static void hand_over_names(gathering *work)
{
    work->dataset->image_names = work->names.text;
    work->dataset->image_name_starts = work->names.starts;
    work->names.text = NULL;
    work->names.starts = NULL;
}

/* The dataset from decoded entries in order. */
static mio_status arrange(gathering *work)
{
    const size_t count = work->names.count;
    mio_dataset *dataset = work->dataset;
    mio_status status = give_same_channels(work);
    dataset->places = status ? NULL : mio__alloc(work->context, count * sizeof *dataset->places);
    if (!dataset->places)
        return MIO_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        dataset->places[i] = work->entries[i].place;
    dataset->count = count;
    status = work->by_class ? label(work) : MIO_OK;
    if (!status)
        hand_over_names(work);
    return status;
}

static mio_status refuse_empty(const gathering *work)
{
    return mio__fail(MIO_ERROR_ARGUMENT, "'%s' holds no images (.jpg, .jpeg, .png)%s%s%s%s", work->source->path,
                     work->source->split ? " in '" : "", work->source->split ? work->source->split : "",
                     work->source->split ? "'" : "",
                     work->by_class ? " inside class folders; images without classes are of format 'flat'" : "");
}

static mio_status start_workers(gathering *work)
{
    work->worker_count = mio__workers(work->context);
    work->workers = mio__alloc_zeroed(work->context, work->worker_count, sizeof *work->workers);
    for (size_t i = 0; work->workers && i < work->worker_count; i++)
        work->workers[i].failed = SIZE_MAX;
    return work->workers ? MIO_OK : MIO_ERROR_MEMORY;
}

/* Hands the workers' chunks to the dataset, on success and on failure alike. */
static void hand_over(gathering *work)
{
    for (size_t i = 0; work->workers && i < work->worker_count; i++)
        for (mio__pixel_block *block = work->workers[i].blocks, *next; block; block = next) {
            next = block->next;
            block->next = work->dataset->blocks;
            work->dataset->blocks = block;
        }
    for (size_t i = 0; work->entries && i < work->names.count; i++)
        mio__free(work->context, work->entries[i].bytes);
    mio__free(work->context, work->workers);
    mio__free(work->context, work->entries);
    mio__free(work->context, work->root);
    mio__names_free(&work->names);
}

static mio_status gather(gathering *work)
{
    struct stat facts;
    mio_status status = start_workers(work);
    if (status)
        return status;
    /* A path that is not there goes to the folder reader, whose message says so. */
    if (!stat(work->source->path, &facts) && !S_ISDIR(facts.st_mode)) {
        status = gather_tar(work);
    } else {
        const char *split = work->source->split;
        work->root = split && *split ? mio__join_path(work->context, work->source->path, split)
                                     : mio__copy_text(work->context, work->source->path);
        status = work->root ? gather_folder(work) : MIO_ERROR_MEMORY;
    }
    if (!status)
        status = work->names.count ? arrange(work) : refuse_empty(work);
    return status;
}

static mio_status read_images(const mio__source *source, mio_dataset *dataset, int by_class)
{
    gathering work = {.source = source, .dataset = dataset, .context = dataset->context, .by_class = by_class};
    work.names.context = work.context;
    atomic_init(&work.stop, SIZE_MAX);
    const mio_status status = gather(&work);
    hand_over(&work);
    return status;
}

mio_status mio__read_folder(const mio__source *source, mio_dataset *dataset)
{
    return read_images(source, dataset, 1);
}

mio_status mio__read_flat(const mio__source *source, mio_dataset *dataset)
{
    return read_images(source, dataset, 0);
}
