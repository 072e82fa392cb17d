#include "evaluate/knn_vector.h"
#include "evaluate/rows.h"
#include "kernels/gemm.h"

#include <math.h>
#include <mio/evaluate.h>
#include <string.h>

/* Similarities are made a tile at a time, TILE queries by TILE bank rows, and only the best of each query are kept.
   TILE rows of the bank lie transposed (dim x TILE), which makes a tile one GEMM without transposition. A worker takes
   TILES tiles of queries through the bank together: the bank comes from memory once for all of them. */
enum { TILE = 64, TILES = 3 };

/* A query's list is cut back to its best k once it holds this many times k. */
enum { CANDIDATES = 2 };

enum { PARAMETER_K, PARAMETER_TEMPERATURE, PARAMETER_WEIGHTED, PARAMETER_COUNT };

static const mio__parameter parameters[PARAMETER_COUNT] = {
    [PARAMETER_K] = {"k", MIO_PARAMETER_INTEGER, 200, 1, 2147483647, 0, 0, NULL,
                     "neighbours that vote; all of the bank where it is smaller", ""},
    [PARAMETER_TEMPERATURE] = {"temperature", MIO_PARAMETER_REAL, 0.1, 0, INFINITY, 1, 1, NULL,
                               "of the votes exp(similarity / temperature)", ""},
    [PARAMETER_WEIGHTED] = {"weighted", MIO_PARAMETER_BOOLEAN, 1, 0, 1, 0, 0, NULL,
                            "votes weigh exp(similarity / temperature), else 1", ""},
};

struct mio_knn {
    mio__references references;
    mio_context *context;
    mio__settings settings;
    size_t count, dim; /* count 0: no bank yet */
    float *bank;       /* ceil(count / TILE) x dim x TILE unit rows, filled up with zeros */
    int32_t *labels;   /* count, or NULL */
};

MIO__DEFINE_SETTINGS_FUNCTIONS(knn)

mio_status mio_knn_create(mio_context *context, mio_knn **knn)
{
    if (!context || !knn)
        return mio__fail(MIO_ERROR_ARGUMENT, "the context or the place for the new knn is NULL");
    mio_knn *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    made->context = mio_context_retain(context);
    mio__settings_init(&made->settings, "knn", "", parameters, PARAMETER_COUNT);
    *knn = made;
    return MIO_OK;
}

mio_knn *mio_knn_retain(mio_knn *knn)
{
    if (knn)
        mio__references_take(&knn->references);
    return knn;
}

void mio_knn_release(mio_knn *knn)
{
    if (!knn || !mio__references_drop(&knn->references))
        return;
    mio_context *context = knn->context;
    mio__free(context, knn->bank);
    mio__free(context, knn->labels);
    mio__free(context, knn);
    mio_context_release(context);
}

/* ---- the bank ---- */

typedef struct fit_work {
    size_t count, dim;
    const float *features;
    float *bank, *rows; /* rows: a unit row for each worker */
} fit_work;

static void fit_tile(void *argument, size_t tile, size_t worker)
{
    const fit_work *work = argument;
    float *unit = work->rows + worker * work->dim, *out = work->bank + tile * work->dim * TILE;
    memset(out, 0, work->dim * TILE * sizeof *out);
    for (size_t i = 0; i < TILE && tile * TILE + i < work->count; i++) {
        mio__row_normalize(work->dim, work->features + (tile * TILE + i) * work->dim, unit);
        for (size_t d = 0; d < work->dim; d++)
            out[d * TILE + i] = unit[d];
    }
}

static mio_status copy_labels(mio_knn *knn, size_t count, const int32_t *labels, int32_t **copy)
{
    *copy = NULL;
    if (!labels)
        return MIO_OK;
    const mio_status status = mio__labels_check("k-NN bank", count, labels, INT32_MAX);
    if (status)
        return status;
    if (!(*copy = mio__alloc(knn->context, count * sizeof **copy)))
        return MIO_ERROR_MEMORY;
    memcpy(*copy, labels, count * sizeof **copy);
    return MIO_OK;
}

mio_status mio_knn_fit(mio_knn *knn, size_t count, size_t dim, const float *features, const int32_t *labels)
{
    if (!knn)
        return mio__settings_null("knn");
    mio_status status = mio__rows_check("k-NN bank", count, dim, features);
    if (status)
        return status;
    if (count > UINT32_MAX)
        return mio__fail(MIO_ERROR_ARGUMENT, "a k-NN bank holds at most 4294967295 rows, not %zu", count);
    int32_t *own_labels;
    if ((status = copy_labels(knn, count, labels, &own_labels)))
        return status;
    const size_t workers = mio__workers(knn->context), tiles = (count + TILE - 1) / TILE;
    fit_work work = {count, dim, features, mio__alloc_zeroed(knn->context, tiles * TILE, dim * sizeof(float)),
                     mio__alloc_zeroed(knn->context, workers, dim * sizeof(float))};
    if (work.bank && work.rows) {
        mio__parallel(knn->context, workers, tiles, fit_tile, &work);
        mio__free(knn->context, knn->bank);
        mio__free(knn->context, knn->labels);
        knn->bank = work.bank;
        knn->labels = own_labels;
        knn->count = count;
        knn->dim = dim;
    } else {
        mio__free(knn->context, work.bank);
        mio__free(knn->context, own_labels);
        status = MIO_ERROR_MEMORY;
    }
    mio__free(knn->context, work.rows);
    return status;
}

/* ---- the best of one query: a list of candidates, cut to the best k whenever it is full ---- */

typedef struct candidates {
    mio__neighbour *list;
    size_t size;
    float bound; /* what k candidates reach or exceed; lower ones need not enter */
} candidates;

static int worse(mio__neighbour a, mio__neighbour b)
{
    return a.similarity < b.similarity || (a.similarity == b.similarity && a.index > b.index);
}

/* Brings the best k to the front, the worst of them last (quickselect). */
static void select_best(mio__neighbour *list, size_t size, size_t k)
{
    const ptrdiff_t wanted = (ptrdiff_t)k - 1;
    ptrdiff_t low = 0, high = (ptrdiff_t)size - 1;
    while (low < high) {
        const mio__neighbour pivot = list[low + (high - low) / 2];
        ptrdiff_t left = low, right = high;
        while (left <= right) {
            while (worse(pivot, list[left]))
                left++;
            while (worse(list[right], pivot))
                right--;
            if (left <= right) {
                const mio__neighbour kept = list[left];
                list[left++] = list[right];
                list[right--] = kept;
            }
        }
        if (wanted <= right)
            high = right;
        else if (wanted >= left)
            low = left;
        else
            return;
    }
}

static void shorten(candidates *found, size_t k)
{
    if (found->size < k)
        return;
    select_best(found->list, found->size, k);
    found->size = k;
    found->bound = found->list[k - 1].similarity;
}

/* Takes `columns` similarities of bank rows first, first+1, ... Later rows have higher indices, so one equal to the
   bound never displaces what is there. */
static void take(const mio__knn_kernels *kernels, candidates *found, size_t k, const float *similarities,
                 size_t columns, size_t first)
{
    found->size += kernels->take_above(columns, similarities, found->bound, (uint32_t)first, found->list + found->size);
    if (found->size >= CANDIDATES * k)
        shorten(found, k);
}

static void sift_down(mio__neighbour *heap, size_t size, size_t at)
{
    const mio__neighbour moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && worse(heap[child + 1], heap[child]))
            child++;
        if (!worse(heap[child], moving))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

/* Heap sort: unlike qsort it needs no memory and no call a comparison. */
static void sort_best_first(mio__neighbour *list, size_t size)
{
    for (size_t at = size / 2; at-- > 0;)
        sift_down(list, size, at);
    while (size > 1) {
        const mio__neighbour worst = list[0];
        list[0] = list[--size];
        sift_down(list, size, 0);
        list[size] = worst;
    }
}

/* ---- search ---- */

/* A class and what was voted for it: class -1 is an empty slot. However large labels are, only k of them can occur. */
typedef struct ballot {
    int32_t class;
    double weight;
} ballot;

static size_t slot_count(size_t k)
{
    size_t slots = 2;
    while (slots < 2 * k)
        slots *= 2;
    return slots;
}

/* What one worker needs. */
typedef struct search_scratch {
    float *queries;        /* tiles x rows x stride, unit rows */
    float *similarities;   /* TILE x TILE */
    mio__neighbour *lists; /* tiles x rows x capacity */
    candidates *found;     /* tiles x rows */
    ballot *votes;         /* slots of a query's table */
} search_scratch;

typedef struct search_work {
    const mio_knn *knn;
    size_t count, k, rows, tiles, stride; /* rows: queries of a tile; tiles: of an item; stride: from one to the next */
    size_t capacity;                      /* of a query's candidates */
    const float *queries;
    mio__gemm gemm;
    const mio__knn_kernels *kernels;
    search_scratch *scratch; /* one for each worker */
    int32_t *predictions;    /* either the classes ... */
    size_t *indices;         /* ... or the neighbours */
    float *similarities;
} search_work;

/* Of the table's slots, at least half of which stay empty: that of a class. */
static ballot *slot_of(ballot *votes, size_t slots, int32_t class)
{
    size_t at = (uint32_t) class * UINT32_C(2654435769) & (slots - 1);
    while (votes[at].class >= 0 && votes[at].class != class)
        at = (at + 1) & (slots - 1);
    votes[at].class = class;
    return &votes[at];
}

/* The class of most votes; of several, the lowest. */
static int32_t vote(const mio_knn *knn, const mio__neighbour *list, size_t k, ballot *votes)
{
    const double temperature = knn->settings.values[PARAMETER_TEMPERATURE];
    const int weighted = knn->settings.values[PARAMETER_WEIGHTED] != 0;
    const size_t slots = slot_count(k);
    for (size_t i = 0; i < slots; i++)
        votes[i] = (ballot){-1, 0};
    /* Relative to the best: the same winner, and no temperature is too low for exp. */
    for (size_t i = 0; i < k; i++)
        slot_of(votes, slots, knn->labels[list[i].index])->weight +=
            weighted ? exp(((double)list[i].similarity - list[0].similarity) / temperature) : 1;
    ballot winner = {-1, -1};
    for (size_t i = 0; i < slots; i++)
        if (votes[i].class >= 0 &&
            (votes[i].weight > winner.weight || (votes[i].weight == winner.weight && votes[i].class < winner.class)))
            winner = votes[i];
    return winner.class;
}

static void report_query(const search_work *work, size_t query, const mio__neighbour *list, ballot *votes)
{
    if (work->predictions)
        work->predictions[query] = vote(work->knn, list, work->k, votes);
    for (size_t i = 0; work->indices && i < work->k; i++)
        work->indices[query * work->k + i] = list[i].index;
    for (size_t i = 0; work->similarities && i < work->k; i++)
        work->similarities[query * work->k + i] = list[i].similarity;
}

/* One tile of the bank against one of queries, of which `rows` are real. */
static void search_tile(const search_work *work, const search_scratch *scratch, size_t row, size_t query, size_t rows)
{
    const mio_knn *knn = work->knn;
    const float *const bank = knn->bank + row * knn->dim, *const queries = scratch->queries + query * work->stride;
    const size_t columns = knn->count - row < TILE ? knn->count - row : TILE;
    mio__gemm_run(&work->gemm, &bank, &queries, scratch->similarities, 1);
    for (size_t q = 0; q < rows; q++)
        take(work->kernels, scratch->found + query + q, work->k, scratch->similarities + q * TILE, columns, row);
}

static void search_item(void *argument, size_t item, size_t worker)
{
    const search_work *work = argument;
    const mio_knn *knn = work->knn;
    const search_scratch *scratch = &work->scratch[worker];
    const size_t most = work->rows * work->tiles, first = item * most;
    const size_t count = work->count - first < most ? work->count - first : most;
    memset(scratch->queries, 0, most * work->stride * sizeof(float));
    for (size_t q = 0; q < count; q++) {
        mio__row_normalize(knn->dim, work->queries + (first + q) * knn->dim, scratch->queries + q * work->stride);
        scratch->found[q] = (candidates){scratch->lists + q * work->capacity, 0, -INFINITY};
    }
    for (size_t row = 0; row < knn->count; row += TILE)
        for (size_t query = 0; query < count; query += work->rows)
            search_tile(work, scratch, row, query, count - query < work->rows ? count - query : work->rows);
    for (size_t q = 0; q < count; q++) {
        shorten(&scratch->found[q], work->k);
        sort_best_first(scratch->found[q].list, work->k);
        report_query(work, first + q, scratch->found[q].list, scratch->votes);
    }
}

static void free_scratch(mio_context *context, size_t workers, search_scratch *scratch)
{
    for (size_t w = 0; scratch && w < workers; w++) {
        mio__free(context, scratch[w].queries);
        mio__free(context, scratch[w].similarities);
        mio__free(context, scratch[w].lists);
        mio__free(context, scratch[w].found);
        mio__free(context, scratch[w].votes);
    }
    mio__free(context, scratch);
}

static search_scratch *make_scratch(const search_work *work, size_t workers)
{
    const mio_knn *knn = work->knn;
    search_scratch *scratch = mio__alloc_zeroed(knn->context, workers, sizeof *scratch);
    for (size_t w = 0; scratch && w < workers; w++) {
        scratch[w].queries = mio__alloc_zeroed(knn->context, work->tiles * work->rows, work->stride * sizeof(float));
        scratch[w].similarities = mio__alloc_zeroed(knn->context, TILE, TILE * sizeof(float));
        scratch[w].lists =
            mio__alloc_zeroed(knn->context, work->tiles * work->rows, work->capacity * sizeof(mio__neighbour));
        scratch[w].found = mio__alloc_zeroed(knn->context, work->tiles * work->rows, sizeof(candidates));
        scratch[w].votes = mio__alloc_zeroed(knn->context, slot_count(work->k), sizeof(ballot));
        if (!scratch[w].queries || !scratch[w].similarities || !scratch[w].lists || !scratch[w].found ||
            !scratch[w].votes) {
            free_scratch(knn->context, workers, scratch);
            return NULL;
        }
    }
    return scratch;
}

static mio_status search(search_work *work, size_t dim)
{
    const mio_knn *knn = work->knn;
    if (!knn->count)
        return mio__fail(MIO_ERROR_STATE, "the knn has no bank; call mio_knn_fit first");
    if (dim != knn->dim)
        return mio__fail(MIO_ERROR_ARGUMENT, "the queries have %zu columns, the bank %zu", dim, knn->dim);
    const mio_status status = mio__rows_check("k-NN queries", work->count, dim, work->queries);
    if (status)
        return status;
    work->rows = work->count < TILE ? work->count : TILE;
    work->stride = dim + 16; /* a power of two would have all rows share a few sets of the L1 cache */
    work->gemm = mio__gemm_make(TILE, work->rows, dim, TILE, work->stride, TILE, 0, 0, 0);
    size_t workers = mio__workers(knn->context);
    /* Together only where each worker has several items, and where the lists stay in the cache. */
    work->tiles = work->count >= 4 * workers * TILES * TILE && work->k <= 1024 ? TILES : 1;
    work->kernels = MIO__PICK(mio__knn_loops);
    work->capacity = CANDIDATES * work->k < knn->count ? CANDIDATES * work->k + TILE : knn->count + TILE;
    const size_t most = work->rows * work->tiles, items = (work->count + most - 1) / most;
    workers = workers < items ? workers : items;
    work->scratch = make_scratch(work, workers);
    if (!work->scratch)
        return MIO_ERROR_MEMORY;
    mio__parallel(knn->context, workers, items, search_item, work);
    free_scratch(knn->context, workers, work->scratch);
    return MIO_OK;
}

mio_status mio_knn_predict(mio_knn *knn, size_t count, size_t dim, const float *queries, int32_t *predictions)
{
    if (!knn)
        return mio__settings_null("knn");
    if (!predictions)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the predictions is NULL");
    if (knn->count && !knn->labels)
        return mio__fail(MIO_ERROR_STATE, "the knn's bank has no labels; give them to mio_knn_fit");
    const size_t k = (size_t)knn->settings.values[PARAMETER_K];
    search_work work = {.knn = knn,
                        .count = count,
                        .k = k < knn->count ? k : knn->count,
                        .queries = queries,
                        .predictions = predictions};
    return search(&work, dim);
}

mio_status mio_knn_search(mio_knn *knn, size_t count, size_t dim, const float *queries, size_t neighbours,
                          size_t *indices, float *similarities)
{
    if (!knn)
        return mio__settings_null("knn");
    if (knn->count && (!neighbours || neighbours > knn->count))
        return mio__fail(MIO_ERROR_ARGUMENT, "%zu neighbours were asked for; the bank has 1 to %zu", neighbours,
                         knn->count);
    search_work work = {.knn = knn,
                        .count = count,
                        .k = neighbours,
                        .queries = queries,
                        .indices = indices,
                        .similarities = similarities};
    return search(&work, dim);
}
