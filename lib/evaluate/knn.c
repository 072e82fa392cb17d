#include "evaluate/rows.h"
#include "kernels/gemm.h"

#include <math.h>
#include <mio/evaluate.h>
#include <string.h>

/* Similarities are made a tile at a time, TILE queries by TILE bank rows, and only the best of each query are kept.
   TILE rows of the bank lie transposed (dim x TILE), which makes a tile one GEMM without transposition. */
enum { TILE = 64 };

enum { PARAMETER_K, PARAMETER_TEMPERATURE, PARAMETER_WEIGHTED, PARAMETER_COUNT };

static const mio__parameter parameters[PARAMETER_COUNT] = {
    [PARAMETER_K] = {"k", MIO_PARAMETER_INTEGER, 200, 1, 2147483647, 0, 0, NULL,
                     "neighbours that vote; all of the bank where it is smaller", ""},
    [PARAMETER_TEMPERATURE] = {"temperature", MIO_PARAMETER_REAL, 0.1, 0, INFINITY, 1, 0, NULL,
                               "of the votes exp(similarity / temperature)", ""},
    [PARAMETER_WEIGHTED] = {"weighted", MIO_PARAMETER_BOOLEAN, 1, 0, 1, 0, 0, NULL,
                            "votes weigh exp(similarity / temperature), else 1", ""},
};

struct mio_knn {
    mio__references references;
    mio_context *context;
    mio__settings settings;
    size_t count, dim, classes; /* count 0: no bank yet */
    float *bank;                /* ceil(count / TILE) x dim x TILE unit rows, filled up with zeros */
    int32_t *labels;            /* count, or NULL */
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
        mio__row_unit(work->dim, work->features + (tile * TILE + i) * work->dim, unit);
        for (size_t d = 0; d < work->dim; d++)
            out[d * TILE + i] = unit[d];
    }
}

static mio_status copy_labels(mio_knn *knn, size_t count, const int32_t *labels, int32_t **copy, size_t *classes)
{
    *copy = NULL;
    *classes = 0;
    if (!labels)
        return MIO_OK;
    const mio_status status = mio__labels_check("k-NN bank", count, labels, INT32_MAX);
    if (status)
        return status;
    if (!(*copy = mio__alloc(knn->context, count * sizeof **copy)))
        return MIO_ERROR_MEMORY;
    memcpy(*copy, labels, count * sizeof **copy);
    for (size_t i = 0; i < count; i++)
        if ((size_t)labels[i] >= *classes)
            *classes = (size_t)labels[i] + 1;
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
    size_t classes;
    if ((status = copy_labels(knn, count, labels, &own_labels, &classes)))
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
        knn->classes = classes;
    } else {
        mio__free(knn->context, work.bank);
        mio__free(knn->context, own_labels);
        status = MIO_ERROR_MEMORY;
    }
    mio__free(knn->context, work.rows);
    return status;
}

/* ---- the best of one query: a heap with the worst on top ---- */

typedef struct neighbour {
    float similarity;
    uint32_t index;
} neighbour;

static int worse(neighbour a, neighbour b)
{
    return a.similarity < b.similarity || (a.similarity == b.similarity && a.index > b.index);
}

static void sift_down(neighbour *heap, size_t size, size_t at)
{
    const neighbour moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && worse(heap[child + 1], heap[child]))
            child++;
        if (!worse(heap[child], moving))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

static void sift_up(neighbour *heap, size_t at)
{
    const neighbour moving = heap[at];
    for (; at && worse(moving, heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = moving;
}

/* Takes `columns` similarities of bank rows first, first+1, ... into the heap of at most k; returns its new size. Later
   rows have higher indices, so an equal similarity never displaces one that is there. */
static size_t take(neighbour *heap, size_t size, size_t k, const float *similarities, size_t columns, size_t first)
{
    for (size_t i = 0; i < columns; i++) {
        const neighbour found = {similarities[i], (uint32_t)(first + i)};
        if (size < k) {
            heap[size] = found;
            sift_up(heap, size++);
        } else if (found.similarity > heap[0].similarity) {
            heap[0] = found;
            sift_down(heap, size, 0);
        }
    }
    return size;
}

/* Turns the heap into a list, best first. */
static void sort_best_first(neighbour *heap, size_t size)
{
    while (size > 1) {
        const neighbour worst = heap[0];
        heap[0] = heap[--size];
        sift_down(heap, size, 0);
        heap[size] = worst;
    }
}

/* ---- search ---- */

/* What one worker needs for a tile of queries. */
typedef struct search_scratch {
    float *queries;      /* TILE x dim, unit rows */
    float *similarities; /* TILE x TILE */
    neighbour *heaps;    /* rows x k */
    double *votes;       /* classes */
} search_scratch;

typedef struct search_work {
    const mio_knn *knn;
    size_t count, k, rows; /* rows: queries a tile holds */
    const float *queries;
    mio__gemm gemm;
    search_scratch *scratch; /* one for each worker */
    int32_t *predictions;    /* either the classes ... */
    size_t *indices;         /* ... or the neighbours */
    float *similarities;
} search_work;

static int32_t vote(const mio_knn *knn, const neighbour *list, size_t k, double *votes)
{
    const double temperature = knn->settings.values[PARAMETER_TEMPERATURE];
    const int weighted = knn->settings.values[PARAMETER_WEIGHTED] != 0;
    memset(votes, 0, knn->classes * sizeof *votes);
    /* Relative to the best: the same winner, and no temperature is too low for exp. */
    for (size_t i = 0; i < k; i++)
        votes[knn->labels[list[i].index]] +=
            weighted ? exp(((double)list[i].similarity - list[0].similarity) / temperature) : 1;
    size_t winner = 0;
    for (size_t c = 1; c < knn->classes; c++)
        if (votes[c] > votes[winner])
            winner = c;
    return (int32_t)winner;
}

static void report_query(const search_work *work, size_t query, const neighbour *list, double *votes)
{
    if (work->predictions)
        work->predictions[query] = vote(work->knn, list, work->k, votes);
    for (size_t i = 0; work->indices && i < work->k; i++)
        work->indices[query * work->k + i] = list[i].index;
    for (size_t i = 0; work->similarities && i < work->k; i++)
        work->similarities[query * work->k + i] = list[i].similarity;
}

static void search_tile(void *argument, size_t item, size_t worker)
{
    const search_work *work = argument;
    const mio_knn *knn = work->knn;
    const search_scratch *scratch = &work->scratch[worker];
    const size_t first = item * work->rows;
    const size_t rows = work->count - first < work->rows ? work->count - first : work->rows;
    memset(scratch->queries, 0, work->rows * knn->dim * sizeof(float));
    for (size_t q = 0; q < rows; q++)
        mio__row_unit(knn->dim, work->queries + (first + q) * knn->dim, scratch->queries + q * knn->dim);
    const float *const queries = scratch->queries;
    size_t size = 0;
    for (size_t row = 0; row < knn->count; row += TILE) {
        const float *const tile = knn->bank + row * knn->dim;
        const size_t columns = knn->count - row < TILE ? knn->count - row : TILE;
        mio__gemm_run(&work->gemm, &tile, &queries, scratch->similarities, 1);
        size_t filled = size;
        for (size_t q = 0; q < rows; q++)
            filled = take(scratch->heaps + q * work->k, size, work->k, scratch->similarities + q * TILE, columns, row);
        size = filled;
    }
    for (size_t q = 0; q < rows; q++) {
        sort_best_first(scratch->heaps + q * work->k, work->k);
        report_query(work, first + q, scratch->heaps + q * work->k, scratch->votes);
    }
}

static void free_scratch(mio_context *context, size_t workers, search_scratch *scratch)
{
    for (size_t w = 0; scratch && w < workers; w++) {
        mio__free(context, scratch[w].queries);
        mio__free(context, scratch[w].similarities);
        mio__free(context, scratch[w].heaps);
        mio__free(context, scratch[w].votes);
    }
    mio__free(context, scratch);
}

static search_scratch *make_scratch(const search_work *work, size_t workers)
{
    const mio_knn *knn = work->knn;
    search_scratch *scratch = mio__alloc_zeroed(knn->context, workers, sizeof *scratch);
    for (size_t w = 0; scratch && w < workers; w++) {
        scratch[w].queries = mio__alloc_zeroed(knn->context, work->rows, knn->dim * sizeof(float));
        scratch[w].similarities = mio__alloc_zeroed(knn->context, TILE, TILE * sizeof(float));
        scratch[w].heaps = mio__alloc_zeroed(knn->context, work->rows, work->k * sizeof(neighbour));
        scratch[w].votes = mio__alloc_zeroed(knn->context, knn->classes + 1, sizeof(double));
        if (!scratch[w].queries || !scratch[w].similarities || !scratch[w].heaps || !scratch[w].votes) {
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
    work->gemm = mio__gemm_make(TILE, work->rows, dim, TILE, dim, TILE, 0, 0, 0);
    const size_t items = (work->count + work->rows - 1) / work->rows;
    size_t workers = mio__workers(knn->context);
    workers = workers < items ? workers : items;
    work->scratch = make_scratch(work, workers);
    if (!work->scratch)
        return MIO_ERROR_MEMORY;
    mio__parallel(knn->context, workers, items, search_tile, work);
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
    search_work work = {.knn = knn, .count = count, .k = k < knn->count ? k : knn->count, .queries = queries,
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
    search_work work = {.knn = knn, .count = count, .k = neighbours, .queries = queries, .indices = indices,
                        .similarities = similarities};
    return search(&work, dim);
}
