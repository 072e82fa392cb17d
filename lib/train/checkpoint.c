/* Checkpoints: an archive with the records of encoder, optimizer and loss and, of this file,

       trainer/position    text: what it is the position of, and where the next step goes on
       PART/kind           text: "mio" of the loss, ...
       PART/names          the part's parameters, one a line
       PART/values         their values, as many doubles
       augment/scale, /shift   the normalisation of the views, floats
       momentum/tensor/NAME    the momentum encoder's tensors, if there is one
       schedule/end        empty: is there if the schedule's "total" is the run's length, which the host says
       kernels/target      text: the instruction set that made the bits */
#include "core/archive.h"
#include "data/augment.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "kernels/target.h"
#include "loss/loss.h"
#include "optim/optimizer.h"
#include "train/part.h"
#include "train/snapshot.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char momentum_prefix[] = "momentum", end_record[] = "schedule/end";

enum { LOSS = 1, PARTS = 6, POSITION_SIZE = 192, NAMES_SIZE = 2048, NAME_LIMIT = 64, KIND_LIMIT = 128 };

/* The parts whose parameters are kept here, in the order of restoring: the optimizer keeps its own. */
static void list_parts(const mio_trainer *trainer, mio__part parts[PARTS])
{
    parts[0] = (mio__part){"encoder", trainer->encoder, &mio__part_encoder};
    parts[LOSS] = (mio__part){"loss", trainer->loss, &mio__part_loss};
    parts[2] = (mio__part){"schedule", trainer->schedule, &mio__part_schedule};
    parts[3] = (mio__part){"augment", mio__loader_augment(trainer->loader), &mio__part_augment};
    parts[4] = (mio__part){"loader", trainer->loader, &mio__part_loader};
    parts[5] = (mio__part){"trainer", (mio_trainer *)trainer, &mio__part_trainer};
}

/* Which of its kind a part is: empty where there is one kind only. A loss of the caller's may have a name of the
   library's. */
static void part_kind(const mio_trainer *trainer, const mio__part *part, char kind[KIND_LIMIT])
{
    kind[0] = 0;
    if (!strcmp(part->name, "loss"))
        snprintf(kind, KIND_LIMIT, "%s%s", trainer->loss->own_name ? "custom " : "", mio_loss_name(trainer->loss));
    else if (!strcmp(part->name, "schedule"))
        snprintf(kind, KIND_LIMIT, "%s", mio_schedule_name(trainer->schedule));
}

/* Parameters that no step depends on stay the host's: it may resume a run to go further, or read ahead otherwise. (A
   momentum on a cosine does end with the run, and moves with its end.) */
static int is_the_hosts(const mio__part *part, const char *parameter)
{
    static const char *const names[][2] = {
        {"loader", "prefetch"}, {"trainer", "epochs"}, {"trainer", "steps"}, {"trainer", "monitor_interval"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(part->name, names[i][0]) && !strcmp(parameter, names[i][1]))
            return 1;
    return 0;
}

/* bf16 where the CPU has none: weights and their state are fp32 in any case, so such a run goes on in the trainer's own
   precision (mio__encoder_restore warns). */
static int is_beyond_this_cpu(const mio__part *part, const char *parameter, double value)
{
    return !strcmp(part->name, "encoder") && !strcmp(parameter, "precision") && value == MIO__BF16 &&
           !mio__target_has_bf16();
}

/* ---- saving ---- */

static mio_status put_text(mio__archive_writer *writer, const char *name, const char *text)
{
    return mio__archive_put(writer, name, text, strlen(text));
}

static mio_status put_part(const mio_trainer *trainer, mio__archive_writer *writer, const mio__part *part)
{
    char record[NAME_LIMIT], kind[KIND_LIMIT], names[NAMES_SIZE] = "";
    double values[MIO__SETTINGS_LIMIT];
    size_t used = 0;
    const size_t count = part->functions->count(part->object);
    mio__part_read(part, values);
    for (size_t i = 0; i < count && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s\n", mio__part_parameter(part, i));
    if (used >= sizeof names)
        return mio__fail(MIO_ERROR_INTERNAL, "the parameter names of the %s do not fit a checkpoint", part->name);
    mio_status status = MIO_OK;
    part_kind(trainer, part, kind);
    if (kind[0]) {
        snprintf(record, sizeof record, "%s/kind", part->name);
        status = put_text(writer, record, kind);
    }
    snprintf(record, sizeof record, "%s/names", part->name);
    if (!status)
        status = mio__archive_put(writer, record, names, used);
    snprintf(record, sizeof record, "%s/values", part->name);
    return status ? status : mio__archive_put(writer, record, values, count * sizeof *values);
}

/* Where a larger batch has shortened the epoch, the loader's place may lie behind its end: then the next one begins. */
static mio_status put_position(const mio_trainer *trainer, mio__archive_writer *writer)
{
    char text[POSITION_SIZE];
    uint64_t epoch, batch, steps;
    mio__loader_position(trainer->loader, &epoch, &batch);
    const mio_status status = mio_loader_steps_per_epoch(trainer->loader, &steps);
    if (status)
        return status;
    if (batch >= steps)
        epoch++, batch = 0;
    snprintf(text, sizeof text, "images %zu channels %zu steps %" PRIu64 " epoch %" PRIu64 " batch %" PRIu64,
             mio_dataset_count(mio__loader_dataset(trainer->loader)),
             mio_dataset_channels(mio__loader_dataset(trainer->loader)), trainer->steps_done, epoch, batch);
    return put_text(writer, "trainer/position", text);
}

static mio_status put_all(const mio_trainer *trainer, mio__archive_writer *writer)
{
    const mio_augment *augment = mio__loader_augment(trainer->loader);
    const size_t channels_size = augment->channels * sizeof(float);
    mio__part parts[PARTS];
    list_parts(trainer, parts);
    mio_status status = put_position(trainer, writer);
    if (!status)
        status = put_text(writer, "kernels/target", mio__target_name());
    if (!status && trainer->follows_end)
        status = put_text(writer, end_record, "");
    for (size_t i = 0; !status && i < PARTS; i++)
        status = put_part(trainer, writer, &parts[i]);
    if (!status)
        status = mio__archive_put(writer, "augment/scale", augment->scale, channels_size);
    if (!status)
        status = mio__archive_put(writer, "augment/shift", augment->shift, channels_size);
    if (!status)
        status = mio__encoder_write(trainer->encoder, writer);
    if (!status && trainer->momentum.encoder)
        status = mio__encoder_write_tensors(trainer->momentum.encoder, momentum_prefix, writer);
    if (!status)
        status = mio__loss_write(trainer->loss, writer);
    return status ? status : mio__optimizer_write(trainer->optimizer, writer);
}

mio_status mio_trainer_save(const mio_trainer *trainer, const char *path)
{
    if (!trainer)
        return mio__settings_null("trainer");
    if (!path)
        return mio__fail(MIO_ERROR_ARGUMENT, "the path of the checkpoint is NULL");
    mio__archive_writer *writer;
    mio_status status = mio__archive_create(trainer->context, path, "CHKP", &writer);
    if (status)
        return status;
    if ((status = put_all(trainer, writer))) {
        mio__archive_abandon(writer);
        return status;
    }
    return mio__archive_commit(writer);
}

/* ---- restoring: everything is read and checked before anything is changed ---- */

/* What a checkpoint holds beside encoder and optimizer, and the trainer's own state to go back to. */
typedef struct restoration {
    mio_trainer *trainer;
    mio__archive *archive;
    const char *path;
    mio__part parts[PARTS];
    double new_values[PARTS][MIO__SETTINGS_LIMIT], old_values[PARTS][MIO__SETTINGS_LIMIT];
    char target[NAME_LIMIT];
    mio_loss *loss;        /* the new state of the trainer's */
    mio_encoder *momentum; /* likewise, or NULL; then the old one, to be released */
    mio__tuning tuning;    /* the encoder's choices, likewise */
    uint64_t new_steps, new_epoch, new_batch, old_epoch, old_batch;
    float *new_normalization, *old_normalization; /* scale and shift, channels each */
    float *old_tensors;                           /* all of the encoder's, as stored */
    double *old_pixels;                           /* the encoder's mean and deviation, channels each */
} restoration;

static mio_status read_position(restoration *r)
{
    char text[POSITION_SIZE];
    size_t images, channels;
    const mio_dataset *dataset = mio__loader_dataset(r->trainer->loader);
    if (!mio__archive_has(r->archive, "trainer/position"))
        return mio__fail(MIO_ERROR_FORMAT, "%s is no checkpoint of a trainer", r->path);
    const mio_status status = mio__archive_get_text(r->archive, "trainer/position", sizeof text, text);
    if (status)
        return status;
    if (sscanf(text, "images %zu channels %zu steps %" SCNu64 " epoch %" SCNu64 " batch %" SCNu64, &images, &channels,
               &r->new_steps, &r->new_epoch, &r->new_batch) != 5)
        return mio__fail(MIO_ERROR_FORMAT, "%s: record 'trainer/position' makes no sense: '%.80s'", r->path, text);
    if (images != mio_dataset_count(dataset) || channels != mio_dataset_channels(dataset))
        return mio__fail(MIO_ERROR_ARGUMENT,
                         "%s was made on %zu images of %zu channels; the trainer's dataset has %zu "
                         "of %zu",
                         r->path, images, channels, mio_dataset_count(dataset), mio_dataset_channels(dataset));
    return MIO_OK;
}

static mio_status check_kind(const restoration *r, const mio__part *part)
{
    char record[NAME_LIMIT], kind[KIND_LIMIT], text[KIND_LIMIT];
    part_kind(r->trainer, part, kind);
    if (!kind[0])
        return MIO_OK;
    snprintf(record, sizeof record, "%s/kind", part->name);
    const mio_status status = mio__archive_get_text(r->archive, record, sizeof text, text);
    if (status || !strcmp(text, kind))
        return status;
    return mio__fail(MIO_ERROR_ARGUMENT, "%s has the %s '%s', the trainer '%s'", r->path, part->name, text, kind);
}

/* Reads a part's parameters; those that the checkpoint does not have keep their values. */
static mio_status read_part(restoration *r, size_t index)
{
    const mio__part *part = &r->parts[index];
    char record[NAME_LIMIT], names[NAMES_SIZE];
    double values[MIO__SETTINGS_LIMIT];
    size_t size, at = 0;
    mio__part_read(part, r->old_values[index]);
    memcpy(r->new_values[index], r->old_values[index], sizeof r->new_values[index]);
    mio_status status = check_kind(r, part);
    snprintf(record, sizeof record, "%s/names", part->name);
    if (!status)
        status = mio__archive_get_text(r->archive, record, sizeof names, names);
    snprintf(record, sizeof record, "%s/values", part->name);
    if (!status)
        status = mio__archive_size(r->archive, record, &size);
    if (!status && size > sizeof values)
        return mio__fail(MIO_ERROR_FORMAT, "%s: record '%s' has %zu bytes; at most %zu are expected", r->path, record,
                         size, sizeof values);
    if (!status)
        status = mio__archive_get(r->archive, record, values, size);
    if (status)
        return status;
    char *name = names;
    for (char *end; (end = strchr(name, '\n')) && (at + 1) * sizeof *values <= size; name = end + 1, at++) {
        *end = 0;
        const size_t place = mio__part_find(part, name);
        if (place == part->functions->count(part->object))
            return mio__fail(MIO_ERROR_FORMAT,
                             "%s: the %s has no parameter '%.60s' here; the file is from another "
                             "version of the library",
                             r->path, part->name, name);
        if (!is_the_hosts(part, name) && !is_beyond_this_cpu(part, name, values[at]))
            r->new_values[index][place] = values[at];
    }
    return at * sizeof *values == size ? MIO_OK
                                       : mio__fail(MIO_ERROR_FORMAT, "%s: the %s has %zu bytes of values for %zu names",
                                                   r->path, part->name, size, at);
}

static mio_status read_normalization(restoration *r)
{
    const mio_augment *augment = mio__loader_augment(r->trainer->loader);
    const size_t channels = augment->channels, size = channels * sizeof(float);
    r->new_normalization = mio__alloc_zeroed(r->trainer->context, 4 * channels, sizeof(float));
    if (!r->new_normalization)
        return MIO_ERROR_MEMORY;
    r->old_normalization = r->new_normalization + 2 * channels;
    memcpy(r->old_normalization, augment->scale, size);
    memcpy(r->old_normalization + channels, augment->shift, size);
    const mio_status status = mio__archive_get(r->archive, "augment/scale", r->new_normalization, size);
    return status ? status : mio__archive_get(r->archive, "augment/shift", r->new_normalization + channels, size);
}

static mio_status keep_encoder(restoration *r)
{
    mio_trainer *trainer = r->trainer;
    const size_t channels = mio__loader_augment(trainer->loader)->channels;
    r->old_tensors =
        mio__alloc_zeroed(trainer->context, mio__snapshot_size(trainer->encoder, MIO__SNAPSHOT_ALL) + 1, sizeof(float));
    r->old_pixels = mio__alloc_zeroed(trainer->context, channels, 2 * sizeof(double));
    if (!r->old_tensors || !r->old_pixels)
        return MIO_ERROR_MEMORY;
    mio__snapshot_take(trainer->encoder, MIO__SNAPSHOT_ALL, r->old_tensors);
    return mio_encoder_get_normalization(trainer->encoder, channels, r->old_pixels, r->old_pixels + channels);
}

/* The state of the loss, under the parameters that it will have. */
static mio_status read_loss(restoration *r)
{
    mio__settings settings = r->trainer->loss->settings;
    memcpy(settings.values, r->new_values[LOSS], sizeof settings.values);
    return mio__loss_read(r->trainer->loss, &settings, r->archive, &r->loss);
}

/* The momentum encoder, if the checkpoint has one. */
static mio_status read_momentum(restoration *r)
{
    const mio__tensor *tensors;
    char record[256];
    if (!mio__encoder_tensors(r->trainer->encoder, &tensors))
        return MIO_OK;
    snprintf(record, sizeof record, "%s/tensor/%s", momentum_prefix, tensors[0].name);
    if (!mio__archive_has(r->archive, record))
        return MIO_OK;
    const mio_status status = mio__encoder_copy(r->trainer->encoder, &r->momentum);
    return status ? status : mio__encoder_read_tensors(r->momentum, momentum_prefix, r->archive);
}

static mio_status read_all(restoration *r)
{
    list_parts(r->trainer, r->parts);
    mio__loader_position(r->trainer->loader, &r->old_epoch, &r->old_batch);
    mio_status status = read_position(r);
    if (!status)
        status = mio__archive_get_text(r->archive, "kernels/target", sizeof r->target, r->target);
    for (size_t i = 0; !status && i < PARTS; i++)
        status = read_part(r, i);
    if (!status)
        status = read_normalization(r);
    if (!status)
        status = read_loss(r);
    if (!status)
        status = read_momentum(r);
    if (!status)
        status = mio__encoder_read_tuning(mio__encoder_context(r->trainer->encoder), r->archive, &r->tuning);
    return status ? status : keep_encoder(r);
}

static void set_normalization(mio_augment *augment, const float *normalization)
{
    memcpy(augment->scale, normalization, augment->channels * sizeof(float));
    memcpy(augment->shift, normalization + augment->channels, augment->channels * sizeof(float));
}

/* Puts everything back as it was; none of it can fail, as it all was so before. */
static void undo(restoration *r)
{
    for (size_t i = 0; i < PARTS; i++)
        mio__part_write(&r->parts[i], r->old_values[i]);
    set_normalization(mio__loader_augment(r->trainer->loader), r->old_normalization);
    mio__loader_return(r->trainer->loader, r->old_epoch, r->old_batch);
    const size_t channels = mio__loader_augment(r->trainer->loader)->channels;
    mio__snapshot_return(r->trainer->encoder, MIO__SNAPSHOT_ALL, r->old_tensors);
    mio_encoder_set_normalization(r->trainer->encoder, channels, r->old_pixels, r->old_pixels + channels);
}

static mio_status apply(restoration *r)
{
    mio_loader *loader = r->trainer->loader;
    mio__loader_return(loader, r->old_epoch, r->old_batch); /* nothing reads the augment while it changes */
    mio_status status = MIO_OK;
    for (size_t i = 0; !status && i < PARTS; i++)
        status = mio__part_write(&r->parts[i], r->new_values[i]);
    set_normalization(mio__loader_augment(loader), r->new_normalization);
    if (!status)
        status = mio_loader_seek(loader, r->new_epoch, r->new_batch);
    if (!status)
        status = mio__encoder_restore(r->trainer->encoder, r->archive);
    if (!status)
        status = mio__optimizer_restore(r->trainer->optimizer, r->archive);
    if (status)
        undo(r);
    else {
        mio__loss_take(r->trainer->loss, r->loss);
        mio__encoder_swap_tuning(r->trainer->encoder, &r->tuning);
        mio_encoder *old = r->trainer->momentum.encoder;
        r->trainer->momentum.encoder = r->momentum;
        r->momentum = old;
        r->trainer->steps_done = r->new_steps;
        r->trainer->follows_end = r->trainer->follows_end && mio__archive_has(r->archive, end_record);
    }
    return status;
}

static void warn_of_target(const restoration *r)
{
    if (strcmp(r->target, mio__target_name()))
        mio__log(r->trainer->context, MIO_LOG_WARNING,
                 "%s was made with %s kernels, this process uses %s: the run goes on, but with other bits", r->path,
                 r->target, mio__target_name());
}

mio_status mio_trainer_restore(mio_trainer *trainer, const char *path)
{
    if (!trainer)
        return mio__settings_null("trainer");
    if (!path)
        return mio__fail(MIO_ERROR_ARGUMENT, "the path of the checkpoint is NULL");
    restoration *r = mio__alloc_zeroed(trainer->context, 1, sizeof *r);
    if (!r)
        return MIO_ERROR_MEMORY;
    r->trainer = trainer;
    r->path = path;
    mio_status status = mio__archive_open(trainer->context, path, &r->archive);
    if (!status) {
        status = read_all(r);
        if (!status)
            status = apply(r);
        if (!status)
            warn_of_target(r);
        mio__archive_close(r->archive);
    }
    mio_loss_release(r->loss);
    mio_encoder_release(r->momentum);
    mio__tuning_free(&r->tuning);
    mio__free(trainer->context, r->new_normalization);
    mio__free(trainer->context, r->old_tensors);
    mio__free(trainer->context, r->old_pixels);
    mio__free(trainer->context, r);
    return status;
}
