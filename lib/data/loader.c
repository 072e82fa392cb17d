/* Batches of views. A batch is a function of (dataset, augment, seed, epoch, step) alone; the loader only decides when
   it is assembled: inside mio_loader_next, or ahead of it by a producer thread that fills a ring of slots. */
#define _POSIX_C_SOURCE 200809L
#include "core/context.h"
#include "core/random.h"
#include "data/augment.h"
#include "data/dataset.h"
#include "data/loader.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    PARAMETER_BATCH_SIZE,
    PARAMETER_VIEWS,
    PARAMETER_SEED,
    PARAMETER_SHUFFLE,
    PARAMETER_DROP_LAST,
    PARAMETER_PREFETCH,
    PARAMETER_COUNT
};

static const mio__parameter parameters[PARAMETER_COUNT] = {
    [PARAMETER_BATCH_SIZE] = {"batch_size", MIO_PARAMETER_INTEGER, 256, 1, 1048576, 0, 0, NULL, "images in a batch",
                              "images"},
    [PARAMETER_VIEWS] = {"views", MIO_PARAMETER_INTEGER, 2, 1, 16, 0, 0, NULL, "views of each image", "views"},
    [PARAMETER_SEED] = {"seed", MIO_PARAMETER_INTEGER, 0, 0, 9007199254740992.0, 0, 1, NULL,
                        "root of order and augmentation; the context's unless set", ""},
    [PARAMETER_SHUFFLE] = {"shuffle", MIO_PARAMETER_BOOLEAN, 1, 0, 1, 0, 0, NULL,
                           "a new random order in every epoch; off, the dataset's own", ""},
    [PARAMETER_DROP_LAST] = {"drop_last", MIO_PARAMETER_BOOLEAN, 1, 0, 1, 0, 0, NULL,
                             "leave out an epoch's last batch where it is not full", ""},
    [PARAMETER_PREFETCH] = {"prefetch", MIO_PARAMETER_INTEGER, 2, 0, 64, 0, 0, NULL,
                            "batches assembled ahead by a thread of the loader's own; 0: none", "batches"},
};

typedef struct position {
    uint64_t epoch, step;
} position;

/* Room for one batch. */
typedef struct slot {
    float *images;
    size_t *indices;
    int32_t *labels;
    position at;
    size_t count;
} slot;

/* What the slots are laid out for. */
typedef struct layout {
    size_t slots, batch_size, views;
} layout;

struct mio_loader {
    mio__references references;
    mio_context *context;
    mio_dataset *dataset;
    mio_augment *augment;
    mio__settings settings;
    mio__parameter table[PARAMETER_COUNT]; /* its own: the context's seed is a default */
    size_t source_width;                   /* of the widest image */
    position next;                         /* what mio_loader_next gives next */

    /* Belong to the producer while it runs. */
    layout layout;
    slot *slots;
    size_t *order; /* the dataset's images in the order of epoch ordered_epoch, if is_ordered */
    int is_ordered;
    uint64_t ordered_epoch;
    void *scratch;
    size_t scratch_capacity;

    /* The ring: batch k lies in slot k % slots. The caller holds batches returned .. taken - 1: one at most. */
    int is_running;
    pthread_t producer;
    pid_t process;         /* a forked child has no producer */
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t room, ready;
    atomic_int is_stopping; /* also read between the pieces of a batch */
    size_t made, taken, returned;
    mio_status failure;
    char failure_text[512];
};

/* ---- creation ---- */

static size_t parameter(const mio_loader *loader, size_t index)
{
    return (size_t)loader->settings.values[index];
}

static void free_slots(mio_loader *loader)
{
    for (size_t i = 0; loader->slots && i < loader->layout.slots; i++) {
        mio__free(loader->context, loader->slots[i].images);
        mio__free(loader->context, loader->slots[i].indices);
        mio__free(loader->context, loader->slots[i].labels);
    }
    mio__free(loader->context, loader->slots);
    loader->slots = NULL;
    loader->layout = (layout){0};
}

mio_status mio_loader_create(mio_dataset *dataset, mio_augment *augment, mio_loader **loader)
{
    if (!dataset || !augment || !loader)
        return mio__fail(MIO_ERROR_ARGUMENT, "a loader needs a dataset, an augment and a place for its handle");
    if (mio_dataset_channels(dataset) != augment->channels)
        return mio__fail(MIO_ERROR_ARGUMENT, "the dataset's images have %zu channels, the augment is made for %zu",
                         mio_dataset_channels(dataset), augment->channels);
    mio_context *context = mio__dataset_context(dataset);
    const size_t count = mio_dataset_count(dataset);
    mio_loader *made = mio__alloc_zeroed(context, 1, sizeof *made);
    size_t *order = made ? mio__alloc_zeroed(context, count, sizeof *order) : NULL;
    if (!order) {
        mio__free(context, made);
        return MIO_ERROR_MEMORY;
    }
    mio__references_init(&made->references);
    made->context = mio_context_retain(context);
    made->dataset = mio_dataset_retain(dataset);
    made->augment = mio_augment_retain(augment);
    made->order = order;
    memcpy(made->table, parameters, sizeof parameters);
    made->table[PARAMETER_SEED].initial = (double)mio__seed(context);
    mio__settings_init(&made->settings, "loader", "", made->table, PARAMETER_COUNT);
    for (size_t i = 0; i < count; i++) {
        const size_t width = mio__dataset_pixels(dataset, i).width;
        if (width > made->source_width)
            made->source_width = width;
    }
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->room, NULL);
    pthread_cond_init(&made->ready, NULL);
    *loader = made;
    return MIO_OK;
}

/* ---- assembling one batch ---- */

static mio_status steps_per_epoch(const mio_loader *loader, uint64_t *steps)
{
    const size_t count = mio_dataset_count(loader->dataset), batch_size = parameter(loader, PARAMETER_BATCH_SIZE);
    const int drop_last = parameter(loader, PARAMETER_DROP_LAST) != 0;
    if (drop_last && count < batch_size)
        return mio__fail(
            MIO_ERROR_ARGUMENT,
            "%zu images do not fill one batch of %zu; lower batch_size (a recipe's loader.batch_size) or set "
            "drop_last to 0",
            count, batch_size);
    *steps = drop_last ? count / batch_size : (count - 1) / batch_size + 1;
    return MIO_OK;
}

static void arrange(mio_loader *loader, uint64_t epoch)
{
    if (loader->is_ordered && loader->ordered_epoch == epoch)
        return;
    const size_t count = mio_dataset_count(loader->dataset);
    if (parameter(loader, PARAMETER_SHUFFLE)) {
        mio__random random;
        mio__random_start(&random, parameter(loader, PARAMETER_SEED), epoch, 0, 0, MIO__PURPOSE_SHUFFLE);
        mio__random_permutation(&random, count, loader->order);
    } else {
        for (size_t i = 0; i < count; i++)
            loader->order[i] = i;
    }
    loader->is_ordered = 1;
    loader->ordered_epoch = epoch;
}

/* A piece of a batch's views: image after image, the views of one image beside each other. */
typedef struct piece {
    const mio_loader *loader;
    const slot *batch;
    size_t start;
    size_t scratch_size;
} piece;

static void render(void *argument, size_t item, size_t worker)
{
    const piece *part = argument;
    const mio_loader *loader = part->loader;
    const mio_augment *augment = loader->augment;
    const size_t views = loader->layout.views, place = (part->start + item) / views;
    const size_t view = (part->start + item) % views, image = part->batch->indices[place];
    const size_t view_size = augment->height * augment->width * augment->channels;
    mio__augment_run(augment, (char *)loader->scratch + worker * part->scratch_size, parameter(loader, PARAMETER_SEED),
                     part->batch->at.epoch, image, view, mio__dataset_pixels(loader->dataset, image),
                     part->batch->images + (view * part->batch->count + place) * view_size);
}

/* Views in one parallel call. Ahead of a step they are few, so that a thread of the pool that helped here is back at
   the step's own work within a fraction of a millisecond. */
static size_t piece_size(const mio_loader *loader, size_t views, size_t workers)
{
    enum { PIXELS = 65536 };
    if (!loader->is_running)
        return views;
    const size_t few = PIXELS / (loader->augment->height * loader->augment->width);
    return few > workers ? few : workers;
}

/* Fills a slot. When the loader is being stopped it returns early, with the batch half made. */
static mio_status assemble(mio_loader *loader, position at, slot *batch)
{
    arrange(loader, at.epoch);
    const size_t first = (size_t)at.step * loader->layout.batch_size, left = mio_dataset_count(loader->dataset) - first;
    batch->at = at;
    batch->count = left < loader->layout.batch_size ? left : loader->layout.batch_size;
    for (size_t i = 0; i < batch->count; i++) {
        batch->indices[i] = loader->order[first + i];
        batch->labels[i] = mio__dataset_label(loader->dataset, batch->indices[i]);
    }
    /* The host may have changed the number of threads since the last batch. */
    const size_t workers = mio__workers(loader->context);
    piece work = {loader, batch, 0, mio__augment_scratch_size(loader->augment, loader->source_width)};
    const mio_status status =
        mio__reserve(loader->context, &loader->scratch, &loader->scratch_capacity, workers * work.scratch_size);
    if (status)
        return status;
    const size_t views = batch->count * loader->layout.views, size = piece_size(loader, views, workers);
    for (; work.start < views; work.start += size) {
        if (atomic_load_explicit(&loader->is_stopping, memory_order_relaxed))
            break;
        mio__parallel(loader->context, workers, views - work.start < size ? views - work.start : size, render, &work);
    }
    return MIO_OK;
}

/* The position after this one, in epochs of `steps` batches. */
static position following(position at, uint64_t steps)
{
    return at.step + 1 < steps ? (position){at.epoch, at.step + 1} : (position){at.epoch + 1, 0};
}

/* ---- the producer ---- */

static void *produce(void *argument)
{
    mio_loader *loader = argument;
    position at = loader->next;
    uint64_t steps = 1;
    mio_status status = steps_per_epoch(loader, &steps);
    pthread_mutex_lock(&loader->mutex);
    for (; !status; at = following(at, steps)) {
        while (loader->made - loader->returned == loader->layout.slots && !atomic_load(&loader->is_stopping))
            pthread_cond_wait(&loader->room, &loader->mutex);
        if (atomic_load(&loader->is_stopping))
            break;
        slot *batch = &loader->slots[loader->made % loader->layout.slots];
        pthread_mutex_unlock(&loader->mutex);
        status = assemble(loader, at, batch);
        pthread_mutex_lock(&loader->mutex);
        if (!status) {
            loader->made++;
            pthread_cond_signal(&loader->ready);
        }
    }
    if (status) {
        loader->failure = status;
        snprintf(loader->failure_text, sizeof loader->failure_text, "%s", mio_last_error());
        pthread_cond_signal(&loader->ready);
    }
    pthread_mutex_unlock(&loader->mutex);
    return NULL;
}

/* Starts the producer at loader->next. Where no thread can be started, batches are assembled without it. */
static void start_producer(mio_loader *loader)
{
    loader->made = loader->taken = loader->returned = 0;
    loader->failure = MIO_OK;
    loader->process = getpid();
    loader->is_running = 1;
    sigset_t all, before;
    sigfillset(&all); /* the host's signals stay with the host's threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&loader->producer, NULL, produce, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        loader->is_running = 0;
}

/* Ends the producer, if it runs, and throws away what it has assembled. The batch that the caller holds stays. */
static void stop_producer(mio_loader *loader)
{
    if (!loader->is_running)
        return;
    if (loader->process == getpid()) {
        pthread_mutex_lock(&loader->mutex);
        atomic_store(&loader->is_stopping, 1);
        pthread_cond_signal(&loader->room);
        pthread_mutex_unlock(&loader->mutex);
        pthread_join(loader->producer, NULL);
        atomic_store(&loader->is_stopping, 0);
    } else {
        /* After a fork: the thread is gone, and what it held is in an unknown state. */
        pthread_mutex_init(&loader->mutex, NULL);
        pthread_cond_init(&loader->room, NULL);
        pthread_cond_init(&loader->ready, NULL);
        loader->is_ordered = 0;
    }
    loader->is_running = 0;
}

/* Gives back the batch that the caller held and waits for the next one. */
static mio_status take_batch(mio_loader *loader, const slot **batch)
{
    pthread_mutex_lock(&loader->mutex);
    loader->returned = loader->taken;
    pthread_cond_signal(&loader->room);
    while (loader->made == loader->taken && !loader->failure)
        pthread_cond_wait(&loader->ready, &loader->mutex);
    if (loader->made != loader->taken) {
        *batch = &loader->slots[loader->taken++ % loader->layout.slots];
        pthread_mutex_unlock(&loader->mutex);
        return MIO_OK;
    }
    pthread_mutex_unlock(&loader->mutex);
    stop_producer(loader);
    return mio__fail(loader->failure, "%s", loader->failure_text);
}

/* ---- handing out ---- */

static mio_status make_slots(mio_loader *loader, const layout *wanted)
{
    const mio_augment *augment = loader->augment;
    const size_t view_size = augment->height * augment->width * augment->channels * sizeof(float);
    free_slots(loader);
    loader->slots = mio__alloc_zeroed(loader->context, wanted->slots, sizeof *loader->slots);
    if (!loader->slots)
        return MIO_ERROR_MEMORY;
    loader->layout = *wanted;
    for (size_t i = 0; i < wanted->slots; i++) {
        slot *batch = &loader->slots[i];
        batch->images = mio__alloc_zeroed(loader->context, wanted->batch_size * wanted->views, view_size);
        batch->indices = mio__alloc(loader->context, wanted->batch_size * sizeof *batch->indices);
        batch->labels = mio__alloc(loader->context, wanted->batch_size * sizeof *batch->labels);
        if (!batch->images || !batch->indices || !batch->labels) {
            free_slots(loader);
            return MIO_ERROR_MEMORY;
        }
    }
    return MIO_OK;
}

/* Brings slots and producer in line with the parameters and the context's threads; does nothing in the steady state. */
static mio_status prepare(mio_loader *loader, uint64_t steps)
{
    const size_t prefetch = mio__workers(loader->context) > 1 ? parameter(loader, PARAMETER_PREFETCH) : 0;
    const size_t count = mio_dataset_count(loader->dataset), batch_size = parameter(loader, PARAMETER_BATCH_SIZE);
    const layout wanted = {prefetch + 1, batch_size < count ? batch_size : count, parameter(loader, PARAMETER_VIEWS)};
    const int fits = loader->slots && !memcmp(&wanted, &loader->layout, sizeof wanted);
    if (fits && loader->is_running && loader->process == getpid())
        return MIO_OK;
    stop_producer(loader);
    if (!fits) {
        mio_status status = mio__augment_check(loader->augment);
        if (!status)
            status = make_slots(loader, &wanted);
        if (status)
            return status;
    }
    if (loader->next.step >= steps)
        loader->next = (position){loader->next.epoch + 1, 0};
    if (prefetch)
        start_producer(loader);
    return MIO_OK;
}

static void describe(const mio_loader *loader, const slot *made, double wait_seconds, mio_batch *batch)
{
    const mio_batch full = {
        .epoch = made->at.epoch,
        .step = made->at.step,
        .count = made->count,
        .views = loader->layout.views,
        .images = made->images,
        .indices = made->indices,
        .labels = made->labels,
        .wait_seconds = wait_seconds,
    };
    mio__struct_give(batch, &full, sizeof full);
}

mio_status mio_loader_next(mio_loader *loader, mio_batch *batch)
{
    if (!loader)
        return mio__settings_null("loader");
    mio_status status = mio__struct_check(batch, MIO__UP_TO(mio_batch, wait_seconds), "mio_batch");
    if (status)
        return status;
    const double start = mio__seconds();
    uint64_t steps = 1;
    const slot *made = NULL;
    status = steps_per_epoch(loader, &steps);
    if (!status)
        status = prepare(loader, steps);
    if (!status && loader->is_running) {
        status = take_batch(loader, &made);
    } else if (!status) {
        made = loader->slots;
        status = assemble(loader, loader->next, loader->slots);
    }
    if (status)
        return status;
    loader->next = following(loader->next, steps);
    describe(loader, made, mio__seconds() - start, batch);
    return MIO_OK;
}

mio_status mio_loader_steps_per_epoch(const mio_loader *loader, uint64_t *steps)
{
    if (!loader)
        return mio__settings_null("loader");
    if (!steps)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the steps is NULL");
    return steps_per_epoch(loader, steps);
}

mio_status mio_loader_seek(mio_loader *loader, uint64_t epoch, uint64_t step)
{
    if (!loader)
        return mio__settings_null("loader");
    uint64_t steps = 1;
    const mio_status status = steps_per_epoch(loader, &steps);
    if (status)
        return status;
    if (epoch > UINT32_MAX || step >= steps)
        return mio__fail(MIO_ERROR_ARGUMENT,
                         "there is no batch %llu of epoch %llu; an epoch has %llu, and epochs go up to 2^32 - 1",
                         (unsigned long long)step, (unsigned long long)epoch, (unsigned long long)steps);
    stop_producer(loader);
    loader->next = (position){epoch, step};
    return MIO_OK;
}

mio_dataset *mio__loader_dataset(const mio_loader *loader)
{
    return loader->dataset;
}

mio_augment *mio__loader_augment(const mio_loader *loader)
{
    return loader->augment;
}

void mio__loader_position(const mio_loader *loader, uint64_t *epoch, uint64_t *step)
{
    *epoch = loader->next.epoch;
    *step = loader->next.step;
}

void mio__loader_return(mio_loader *loader, uint64_t epoch, uint64_t step)
{
    stop_producer(loader);
    loader->next = (position){epoch, step};
}

/* ---- parameters: a change takes effect with the next batch ---- */

mio_status mio_loader_set(mio_loader *loader, const char *name, double value)
{
    if (!loader)
        return mio__settings_null("loader");
    stop_producer(loader);
    loader->is_ordered = 0;
    return mio__settings_set(&loader->settings, name, value);
}

mio_status mio_loader_set_text(mio_loader *loader, const char *name, const char *text)
{
    if (!loader)
        return mio__settings_null("loader");
    stop_producer(loader);
    loader->is_ordered = 0;
    return mio__settings_set_text(&loader->settings, name, text);
}

mio_status mio_loader_get(const mio_loader *loader, const char *name, double *value)
{
    return loader ? mio__settings_get(&loader->settings, name, value) : mio__settings_null("loader");
}

size_t mio_loader_parameter_count(const mio_loader *loader)
{
    return loader ? loader->settings.count : 0;
}

mio_status mio_loader_parameter(const mio_loader *loader, size_t index, mio_parameter_info *info)
{
    return loader ? mio__settings_info(&loader->settings, index, info) : mio__settings_null("loader");
}

/* ---- release ---- */

mio_loader *mio_loader_retain(mio_loader *loader)
{
    if (loader)
        mio__references_take(&loader->references);
    return loader;
}

void mio_loader_release(mio_loader *loader)
{
    if (!loader || !mio__references_drop(&loader->references))
        return;
    stop_producer(loader);
    free_slots(loader);
    pthread_mutex_destroy(&loader->mutex);
    pthread_cond_destroy(&loader->room);
    pthread_cond_destroy(&loader->ready);
    mio_context *context = loader->context;
    mio_dataset_release(loader->dataset);
    mio_augment_release(loader->augment);
    mio__free(context, loader->order);
    mio__free(context, loader->scratch);
    mio__free(context, loader);
    mio_context_release(context);
}
