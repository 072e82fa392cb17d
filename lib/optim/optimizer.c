#include "optim/optimizer.h"

#include "core/finite.h"
#include "nn/encoder.h"
#include "optim/kinds.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* In alphabetical order. */
static const mio__optimizer_kind *const kinds[] = {&mio__optimizer_adamw, &mio__optimizer_lars, &mio__optimizer_sgd};

enum {
    KIND_COUNT = sizeof kinds / sizeof *kinds,
    STATE_LIMIT = 2,
    PIECE = 16384 /* values that one item of parallel work takes: fixed, so that sums do not depend on the workers */
};

typedef struct array {
    char *name;
    size_t rank, count, first_piece, pieces;
    float *values, *state[STATE_LIMIT];
    const float *gradients;
    uint64_t first_step; /* steps that the optimizer had done when the array came */
    mio__array_step step;
} array;

typedef struct holder {
    void *object;
    void (*release)(void *object);
} holder;

struct mio_optimizer {
    mio__references references;
    mio_context *context;
    mio__settings settings;
    const mio__optimizer_kind *kind;
    array *arrays;
    size_t count, capacity;
    mio_encoder **encoders; /* whose arrays it has, kept alive for them */
    size_t encoder_count, encoder_capacity;
    holder *owners; /* of other arrays */
    size_t owner_count, owner_capacity;
    char **patterns;
    size_t pattern_count;
    size_t piece_count;
    double (*sums)[2]; /* per piece: squares of values, and of gradients with their decay */
    size_t sums_capacity;
    size_t *piece_array; /* per piece: its array */
    size_t piece_array_capacity;
    uint64_t steps;
};

MIO__DEFINE_SETTINGS_FUNCTIONS(optimizer)

/* ---- life ---- */

const char *mio_optimizer_name_at(size_t index)
{
    return index < KIND_COUNT ? kinds[index]->name : NULL;
}

static const mio__optimizer_kind *find_kind(const char *name)
{
    const size_t place = mio__find_name("optimizer", name, mio_optimizer_name_at);
    return place == MIO__NO_NAME ? NULL : kinds[place];
}

mio_status mio_optimizer_create(mio_context *context, const char *name, mio_optimizer **optimizer)
{
    if (!context)
        return mio__settings_null("context");
    if (!optimizer)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the new optimizer is NULL");
    const mio__optimizer_kind *kind = find_kind(name);
    if (!kind)
        return MIO_ERROR_ARGUMENT;
    mio_optimizer *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    made->context = mio_context_retain(context);
    made->kind = kind;
    mio__settings_init(&made->settings, "optimizer", kind->name, kind->parameters, kind->parameter_count);
    *optimizer = made;
    return MIO_OK;
}

mio_optimizer *mio_optimizer_retain(mio_optimizer *optimizer)
{
    if (optimizer)
        mio__references_take(&optimizer->references);
    return optimizer;
}

static void free_texts(mio_context *context, size_t count, char **texts)
{
    for (size_t i = 0; texts && i < count; i++)
        mio__free(context, texts[i]);
    mio__free(context, texts);
}

/* Drops the arrays from index `kept` on. */
static void drop_arrays(mio_optimizer *optimizer, size_t kept)
{
    for (; optimizer->count > kept; optimizer->count--) {
        array *last = &optimizer->arrays[optimizer->count - 1];
        optimizer->piece_count -= last->pieces;
        mio__free(optimizer->context, last->name);
        mio__free(optimizer->context, last->state[0]);
    }
}

void mio_optimizer_release(mio_optimizer *optimizer)
{
    if (!optimizer || !mio__references_drop(&optimizer->references))
        return;
    mio_context *context = optimizer->context;
    mio__optimizer_return(optimizer, (mio__optimizer_mark){0});
    free_texts(context, optimizer->pattern_count, optimizer->patterns);
    mio__free(context, optimizer->arrays);
    mio__free(context, optimizer->encoders);
    mio__free(context, optimizer->owners);
    mio__free(context, optimizer->sums);
    mio__free(context, optimizer->piece_array);
    mio__free(context, optimizer);
    mio_context_release(context);
}

const char *mio_optimizer_name(const mio_optimizer *optimizer)
{
    return optimizer ? optimizer->kind->name : NULL;
}

/* ---- arrays ---- */

mio_status mio_optimizer_set_exclusions(mio_optimizer *optimizer, size_t count, const char *const *patterns)
{
    if (!optimizer)
        return mio__settings_null("optimizer");
    for (size_t i = 0; i < count; i++)
        if (!patterns || !patterns[i] || !patterns[i][0])
            return mio__fail(MIO_ERROR_ARGUMENT, "exclusion pattern %zu of %zu is NULL or empty", i, count);
    char **copies = mio__alloc_zeroed(optimizer->context, count, sizeof *copies);
    for (size_t i = 0; copies && i < count; i++) {
        copies[i] = mio__copy_text(optimizer->context, patterns[i]);
        if (!copies[i]) {
            free_texts(optimizer->context, count, copies);
            copies = NULL;
        }
    }
    if (!copies)
        return MIO_ERROR_MEMORY;
    free_texts(optimizer->context, optimizer->pattern_count, optimizer->patterns);
    optimizer->patterns = copies;
    optimizer->pattern_count = count;
    return MIO_OK;
}

static int fits_a_pattern(const mio_optimizer *optimizer, const array *a)
{
    for (size_t i = 0; i < optimizer->pattern_count; i++)
        if (strstr(a->name, optimizer->patterns[i]))
            return 1;
    return 0;
}

static int is_excluded(const mio_optimizer *optimizer, const array *a)
{
    const double *p = optimizer->settings.values;
    const size_t compatible = optimizer->kind->compatible;
    if (fits_a_pattern(optimizer, a))
        return 1;
    if (compatible && p[compatible] != 0)
        return strstr(a->name, "bn") || strstr(a->name, "bias");
    return p[MIO__OPTIM_EXCLUDE_VECTORS] != 0 && a->rank <= 1;
}

static mio_status add(mio_optimizer *optimizer, const char *name, size_t rank, size_t count, float *values,
                      const float *gradients)
{
    mio_context *context = optimizer->context;
    const size_t pieces = (count - 1) / PIECE + 1, all = optimizer->piece_count + pieces;
    mio_status status = mio__grow(context, (void **)&optimizer->arrays, &optimizer->capacity, optimizer->count,
                                  optimizer->count + 1, sizeof *optimizer->arrays);
    if (!status)
        status =
            mio__grow(context, (void **)&optimizer->sums, &optimizer->sums_capacity, 0, all, sizeof *optimizer->sums);
    if (!status)
        status = mio__grow(context, (void **)&optimizer->piece_array, &optimizer->piece_array_capacity,
                           optimizer->piece_count, all, sizeof *optimizer->piece_array);
    if (status)
        return status;
    array made = {
        .rank = rank, .count = count, .values = values, .gradients = gradients, .first_step = optimizer->steps};
    made.first_piece = optimizer->piece_count;
    made.pieces = pieces;
    made.name = mio__copy_text(context, name);
    made.state[0] = mio__alloc_zeroed(context, count, optimizer->kind->states * sizeof(float));
    if (!made.name || !made.state[0]) {
        mio__free(context, made.name);
        mio__free(context, made.state[0]);
        return MIO_ERROR_MEMORY;
    }
    for (size_t i = 1; i < optimizer->kind->states; i++)
        made.state[i] = made.state[0] + i * count;
    for (size_t i = 0; i < pieces; i++)
        optimizer->piece_array[made.first_piece + i] = optimizer->count;
    optimizer->arrays[optimizer->count++] = made;
    optimizer->piece_count = all;
    return MIO_OK;
}

mio_status mio_optimizer_add_array(mio_optimizer *optimizer, const char *name, size_t rank, size_t count, float *values,
                                   const float *gradients)
{
    if (!optimizer)
        return mio__settings_null("optimizer");
    if (!name || !values || !gradients)
        return mio__fail(MIO_ERROR_ARGUMENT, "array '%s': the %s pointer is NULL", name ? name : "?",
                         !name    ? "name"
                         : values ? "gradients"
                                  : "values");
    if (!count)
        return mio__fail(MIO_ERROR_ARGUMENT, "array '%s' has no values; leave it out", name);
    return add(optimizer, name, rank, count, values, gradients);
}

mio__optimizer_mark mio__optimizer_mark_now(const mio_optimizer *optimizer)
{
    return (mio__optimizer_mark){optimizer->count, optimizer->encoder_count, optimizer->owner_count};
}

void mio__optimizer_return(mio_optimizer *optimizer, mio__optimizer_mark mark)
{
    drop_arrays(optimizer, mark.arrays);
    while (optimizer->encoder_count > mark.encoders)
        mio_encoder_release(optimizer->encoders[--optimizer->encoder_count]);
    while (optimizer->owner_count > mark.owners) {
        const holder *last = &optimizer->owners[--optimizer->owner_count];
        last->release(last->object);
    }
}

int mio__optimizer_has_encoder(const mio_optimizer *optimizer, const mio_encoder *encoder)
{
    for (size_t i = 0; i < optimizer->encoder_count; i++)
        if (optimizer->encoders[i] == encoder)
            return 1;
    return 0;
}

int mio__optimizer_has_array(const mio_optimizer *optimizer, size_t count, const float *values)
{
    for (size_t i = 0; i < optimizer->count; i++)
        if (optimizer->arrays[i].values == values && optimizer->arrays[i].count == count)
            return 1;
    return 0;
}

mio_status mio_optimizer_add_encoder(mio_optimizer *optimizer, mio_encoder *encoder)
{
    if (!optimizer || !encoder)
        return mio__settings_null(optimizer ? "encoder" : "optimizer");
    if (mio__optimizer_has_encoder(optimizer, encoder))
        return mio__fail(MIO_ERROR_ARGUMENT, "the encoder has been added already; add it once");
    const mio__tensor *tensors;
    const size_t count = mio__encoder_tensors(encoder, &tensors);
    const mio__optimizer_mark before = mio__optimizer_mark_now(optimizer);
    mio_status status = mio__encoder_make_gradients(encoder);
    if (!status)
        status = mio__grow(optimizer->context, (void **)&optimizer->encoders, &optimizer->encoder_capacity,
                           optimizer->encoder_count, optimizer->encoder_count + 1, sizeof *optimizer->encoders);
    for (size_t i = 0; !status && i < count; i++)
        if (tensors[i].gradient)
            status = add(optimizer, tensors[i].name, tensors[i].rank, tensors[i].stored, tensors[i].value,
                         tensors[i].gradient);
    if (status)
        mio__optimizer_return(optimizer, before);
    else
        optimizer->encoders[optimizer->encoder_count++] = mio_encoder_retain(encoder);
    return status;
}

mio_status mio__optimizer_keep(mio_optimizer *optimizer, void *object, void (*release)(void *last))
{
    const mio_status status = mio__grow(optimizer->context, (void **)&optimizer->owners, &optimizer->owner_capacity,
                                        optimizer->owner_count, optimizer->owner_count + 1, sizeof *optimizer->owners);
    if (status)
        release(object);
    else
        optimizer->owners[optimizer->owner_count++] = (holder){object, release};
    return status;
}

/* ---- stepping ---- */

/* The part of an array that a piece covers; returns its length. */
static size_t piece_of(const mio_optimizer *optimizer, size_t piece, array **owner, size_t *start)
{
    array *a = &optimizer->arrays[optimizer->piece_array[piece]];
    *owner = a;
    *start = (piece - a->first_piece) * PIECE;
    return a->count - *start < PIECE ? a->count - *start : PIECE;
}

static void sum_piece(void *argument, size_t piece, size_t worker)
{
    (void)worker;
    mio_optimizer *optimizer = argument;
    array *a;
    size_t start;
    const size_t count = piece_of(optimizer, piece, &a, &start);
    MIO__PICK(mio__optimizer_loops)
        ->squares(count, (float)a->step.decay, a->gradients + start, a->values + start, optimizer->sums[piece]);
}

static void step_piece(void *argument, size_t piece, size_t worker)
{
    (void)worker;
    mio_optimizer *optimizer = argument;
    array *a;
    size_t start;
    const size_t count = piece_of(optimizer, piece, &a, &start);
    float *state[STATE_LIMIT] = {0};
    for (size_t i = 0; i < optimizer->kind->states; i++)
        state[i] = a->state[i] + start;
    optimizer->kind->step(MIO__PICK(mio__optimizer_loops), optimizer->settings.values, &a->step, count,
                          a->gradients + start, state, a->values + start);
}

/* Adds the pieces' sums in a binary tree. */
static void combine(size_t count, double (*sums)[2])
{
    for (size_t step = 1; step < count; step *= 2)
        for (size_t i = 0; i + step < count; i += 2 * step) {
            sums[i][0] += sums[i + step][0];
            sums[i][1] += sums[i + step][1];
        }
}

static mio_status refuse_array(const array *a)
{
    const char *part = mio__first_not_finite(a->count, a->gradients) < a->count ? "gradient" : "values";
    return mio__fail(MIO_ERROR_ARGUMENT, "the %s of '%s' %s not finite; no array was stepped", part, a->name,
                     part[0] == 'g' ? "is" : "are");
}

/* Norms of every array, which also tell whether all numbers are finite. */
static mio_status measure(mio_optimizer *optimizer)
{
    for (size_t i = 0; i < optimizer->count; i++) {
        array *a = &optimizer->arrays[i];
        a->step.excluded = is_excluded(optimizer, a);
        a->step.decay = a->step.excluded ? 0 : optimizer->settings.values[MIO__OPTIM_WEIGHT_DECAY];
        a->step.number = optimizer->steps - a->first_step + 1;
    }
    mio__parallel(optimizer->context, mio__workers(optimizer->context), optimizer->piece_count, sum_piece, optimizer);
    for (size_t i = 0; i < optimizer->count; i++) {
        array *a = &optimizer->arrays[i];
        double(*sums)[2] = optimizer->sums + a->first_piece;
        combine(a->pieces, sums);
        if (!isfinite(sums[0][0]) || !isfinite(sums[0][1]))
            return refuse_array(a);
        a->step.values_norm = sqrt(sums[0][0]);
        a->step.gradient_norm = sqrt(sums[0][1]);
    }
    return MIO_OK;
}

mio_status mio_optimizer_step(mio_optimizer *optimizer)
{
    if (!optimizer)
        return mio__settings_null("optimizer");
    if (!optimizer->count)
        return mio__fail(MIO_ERROR_STATE, "optimizer '%s' has nothing to step; add an encoder or arrays first",
                         optimizer->kind->name);
    const mio_status status = measure(optimizer);
    if (status)
        return status;
    mio__parallel(optimizer->context, mio__workers(optimizer->context), optimizer->piece_count, step_piece, optimizer);
    optimizer->steps++;
    for (size_t i = 0; i < optimizer->encoder_count; i++)
        mio__encoder_changed(optimizer->encoders[i]);
    return MIO_OK;
}

/* ---- checkpoints ---- */

static void state_name(size_t index, char *name, size_t size)
{
    snprintf(name, size, "optimizer/state/%zu", index);
}

static size_t state_bytes(const mio_optimizer *optimizer, size_t index)
{
    return optimizer->arrays[index].count * optimizer->kind->states * sizeof(float);
}

static int is_finite(const mio_optimizer *optimizer, size_t index, const float *state)
{
    const size_t values = state_bytes(optimizer, index) / sizeof *state;
    return mio__first_not_finite(values, state) == values;
}

/* What must agree between a checkpoint and the optimizer it is read into: kind, and each array's name, size and whether
   a pattern excludes it, one a line. NULL when out of memory. */
static char *describe(const mio_optimizer *optimizer, size_t *size)
{
    *size = strlen(optimizer->kind->name) + 2;
    for (size_t i = 0; i < optimizer->count; i++)
        *size += strlen(optimizer->arrays[i].name) + 34;
    char *text = mio__alloc_zeroed(optimizer->context, *size, 1);
    if (!text)
        return NULL;
    size_t used = (size_t)snprintf(text, *size, "%s\n", optimizer->kind->name);
    for (size_t i = 0; i < optimizer->count; i++)
        used += (size_t)snprintf(text + used, *size - used, "%s %zu%s\n", optimizer->arrays[i].name,
                                 optimizer->arrays[i].count,
                                 fits_a_pattern(optimizer, &optimizer->arrays[i]) ? " excluded" : "");
    *size = used;
    return text;
}

static const char births_record[] = "optimizer/births";

/* Only where arrays came between steps. */
static mio_status write_births(const mio_optimizer *optimizer, mio__archive_writer *writer)
{
    uint64_t latest = 0;
    uint64_t *births = mio__alloc(optimizer->context, optimizer->count * sizeof *births);
    if (!births)
        return MIO_ERROR_MEMORY;
    for (size_t i = 0; i < optimizer->count; i++) {
        births[i] = optimizer->arrays[i].first_step;
        latest = births[i] > latest ? births[i] : latest;
    }
    const mio_status status =
        latest ? mio__archive_put(writer, births_record, births, optimizer->count * sizeof *births) : MIO_OK;
    mio__free(optimizer->context, births);
    return status;
}

/* *births is to be freed by the caller whatever the result. */
static mio_status read_births(const mio_optimizer *optimizer, const mio__archive *archive, uint64_t steps,
                              uint64_t **births)
{
    *births = mio__alloc_zeroed(optimizer->context, optimizer->count, sizeof **births);
    if (!*births)
        return MIO_ERROR_MEMORY;
    mio_status status = MIO_OK;
    if (mio__archive_has(archive, births_record))
        status = mio__archive_get(archive, births_record, *births, optimizer->count * sizeof **births);
    for (size_t i = 0; !status && i < optimizer->count; i++)
        if ((*births)[i] > steps)
            status = mio__archive_refuse(archive, births_record, "array %zu came after the last step", i);
    return status;
}

mio_status mio__optimizer_write(const mio_optimizer *optimizer, mio__archive_writer *writer)
{
    size_t size;
    char *text = describe(optimizer, &size), name[64];
    if (!text)
        return MIO_ERROR_MEMORY;
    mio_status status = mio__archive_put(writer, "optimizer/arrays", text, size);
    mio__free(optimizer->context, text);
    if (!status)
        status = mio__archive_put(writer, "optimizer/parameters", optimizer->settings.values,
                                  optimizer->settings.count * sizeof *optimizer->settings.values);
    if (!status)
        status = mio__archive_put(writer, "optimizer/steps", &optimizer->steps, sizeof optimizer->steps);
    if (!status)
        status = write_births(optimizer, writer);
    for (size_t i = 0; !status && i < optimizer->count; i++) {
        state_name(i, name, sizeof name);
        status = is_finite(optimizer, i, optimizer->arrays[i].state[0])
                     ? mio__archive_put(writer, name, optimizer->arrays[i].state[0], state_bytes(optimizer, i))
                     : mio__fail(MIO_ERROR_STATE,
                                 "the optimizer's state of '%s' is not finite and cannot be saved; restore an "
                                 "earlier checkpoint",
                                 optimizer->arrays[i].name);
    }
    return status;
}

static mio_status check_description(const mio_optimizer *optimizer, mio__archive *archive)
{
    size_t size, stored = 0;
    char *text = describe(optimizer, &size);
    if (!text)
        return MIO_ERROR_MEMORY;
    mio_status status = mio__archive_size(archive, "optimizer/arrays", &stored);
    char *other = !status && stored == size ? mio__alloc(optimizer->context, size) : NULL;
    if (!status && stored == size)
        status = other ? mio__archive_get(archive, "optimizer/arrays", other, size) : MIO_ERROR_MEMORY;
    if (!status && (stored != size || memcmp(text, other, size)))
        status = mio__fail(
            MIO_ERROR_FORMAT,
            "the checkpoint's optimizer is of another kind, steps other arrays or has other exclusions than this "
            "'%s' of %zu arrays; make the same optimizer and encoder first",
            optimizer->kind->name, optimizer->count);
    mio__free(optimizer->context, text);
    mio__free(optimizer->context, other);
    return status;
}

/* Reads parameters through the same bounds that mio_optimizer_set keeps. */
static mio_status read_parameters(const mio_optimizer *optimizer, mio__archive *archive, mio__settings *settings)
{
    double values[MIO__SETTINGS_LIMIT];
    *settings = optimizer->settings;
    mio_status status = mio__archive_get(archive, "optimizer/parameters", values, settings->count * sizeof *values);
    for (size_t i = 0; !status && i < settings->count; i++)
        status = mio__archive_blame(archive, "optimizer/parameters",
                                    mio__settings_set(settings, settings->table[i].name, values[i]));
    return status;
}

/* Reads all states into new arrays; *states is to be freed by the caller whatever the result. */
static mio_status read_states(const mio_optimizer *optimizer, mio__archive *archive, float ***states)
{
    char name[64];
    *states = mio__alloc_zeroed(optimizer->context, optimizer->count, sizeof **states);
    mio_status status = *states ? MIO_OK : MIO_ERROR_MEMORY;
    for (size_t i = 0; !status && i < optimizer->count; i++) {
        state_name(i, name, sizeof name);
        (*states)[i] = mio__alloc(optimizer->context, state_bytes(optimizer, i));
        status =
            (*states)[i] ? mio__archive_get(archive, name, (*states)[i], state_bytes(optimizer, i)) : MIO_ERROR_MEMORY;
        if (!status && !is_finite(optimizer, i, (*states)[i]))
            status = mio__archive_refuse(archive, name, "the state of '%s' is not finite", optimizer->arrays[i].name);
    }
    return status;
}

mio_status mio__optimizer_restore(mio_optimizer *optimizer, mio__archive *archive)
{
    mio__settings settings;
    uint64_t steps;
    uint64_t *births = NULL;
    float **states = NULL;
    mio_status status = check_description(optimizer, archive);
    if (!status)
        status = read_parameters(optimizer, archive, &settings);
    if (!status)
        status = mio__archive_get(archive, "optimizer/steps", &steps, sizeof steps);
    if (!status)
        status = read_births(optimizer, archive, steps, &births);
    if (!status)
        status = read_states(optimizer, archive, &states);
    if (!status) {
        optimizer->settings = settings;
        optimizer->steps = steps;
        for (size_t i = 0; i < optimizer->count; i++) {
            memcpy(optimizer->arrays[i].state[0], states[i], state_bytes(optimizer, i));
            optimizer->arrays[i].first_step = births[i];
        }
    }
    mio__free(optimizer->context, births);
    free_texts(optimizer->context, optimizer->count, (char **)states);
    return status;
}
