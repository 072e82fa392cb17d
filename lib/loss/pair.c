#include "loss/pair.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* ---- plan ---- */

enum {
    CHUNK = 32,           /* pairs that one item of a pass over rows takes */
    BLOCKS = 16,          /* blocks aimed at: enough meetings a round for many workers */
    BLOCK_SLOTS = 256,    /* most slots of a block: its rows and gradients stay in the cache */
    FEW_PAIRS = 4,        /* fewer leave differences that float does not hold, and cost nothing in double */
    KEPT_BYTES = 1 << 24, /* most memory for tiles that several passes share */
    ALIGNMENT = 64
};

/* The largest tile that leaves several blocks and wastes little filling. */
static size_t choose_edge(size_t pairs)
{
    for (size_t edge = MIO__PAIR_EDGE; edge > MIO__PAIR_LANES; edge /= 2) {
        const size_t filled = (pairs + edge - 1) / edge * edge;
        if (pairs >= 4 * edge && (filled - pairs) * 8 <= pairs)
            return edge;
    }
    return MIO__PAIR_LANES;
}

/* Adds count x size bytes, rounded up, to *total. Returns 0 on overflow. */
static int add_bytes(size_t *total, size_t count, size_t size)
{
    size_t bytes;
    return !__builtin_mul_overflow(count, size, &bytes) && bytes <= SIZE_MAX / 4 - ALIGNMENT &&
           !__builtin_add_overflow(*total, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, total);
}

static size_t chunk_count(size_t pairs)
{
    return (pairs + CHUNK - 1) / CHUNK;
}

/* Bytes of the work space, in the order of carve(). Returns 0 on overflow. */
static int work_bytes(mio__pair_plan *plan)
{
    const size_t slots = 2 * plan->slots_per_view, type = plan->wide ? sizeof(double) : sizeof(float);
    size_t row_bytes, total = 0;
    int fits = !__builtin_mul_overflow(plan->width, sizeof(double), &row_bytes);
    for (size_t i = 0; i < 3; i++)
        fits = fits && add_bytes(&total, slots, row_bytes / sizeof(double) * type);
    for (size_t i = 0; i < 2; i++)
        fits = fits && add_bytes(&total, slots, sizeof(double));
    for (size_t i = 0; i < MIO__PAIR_TERMS; i++)
        fits =
            fits && add_bytes(&total, slots, sizeof(mio__log_sum)) && add_bytes(&total, slots, sizeof(mio__row_weight));
    fits = fits && add_bytes(&total, plan->pairs, sizeof(double)) &&
           add_bytes(&total, chunk_count(plan->pairs), row_bytes) && add_bytes(&total, plan->blocks, sizeof(double)) &&
           add_bytes(&total, plan->workers * MIO__PAIR_ROWS, row_bytes) &&
           add_bytes(&total, plan->workers * MIO__PAIR_TILES + plan->kept, plan->edge * plan->edge * type);
    plan->size = total;
    return fits && total <= SIZE_MAX / 4;
}

/* Tiles of the upper triangle, or 0 if they take too much. */
static size_t tiles_to_keep(const mio__pair_plan *plan)
{
    const size_t bytes = plan->edge * plan->edge * (plan->wide ? sizeof(double) : sizeof(float));
    return plan->tiles < KEPT_BYTES / bytes && plan->tiles * (plan->tiles + 1) / 2 <= KEPT_BYTES / bytes
               ? plan->tiles * (plan->tiles + 1) / 2
               : 0;
}

mio_status mio__pair_plan_make(const mio_context *context, size_t pairs, size_t dim, size_t element, int wide,
                               mio__pair_storage storage, mio__pair_plan *plan)
{
    mio__pair_plan made = {.pairs = pairs, .dim = dim, .workers = mio__workers(context)};
    made.wide = wide || element == sizeof(double) || pairs < FEW_PAIRS;
    made.edge = choose_edge(pairs);
    int fits = pairs <= SIZE_MAX / 1024 && dim <= SIZE_MAX / 1024;
    if (fits) {
        const size_t tiles_per_view = (pairs + made.edge - 1) / made.edge, most = BLOCK_SLOTS / made.edge;
        made.slots_per_view = tiles_per_view * made.edge;
        made.tiles = 2 * tiles_per_view;
        made.group = made.tiles / BLOCKS < 1 ? 1 : made.tiles / BLOCKS > most ? most : made.tiles / BLOCKS;
        made.blocks = (made.tiles + made.group - 1) / made.group;
        made.width = (dim + MIO__PAIR_LANES - 1) / MIO__PAIR_LANES * MIO__PAIR_LANES;
        made.kept = storage == MIO__PAIR_FOR_SEVERAL ? tiles_to_keep(&made) : 0;
        fits = work_bytes(&made);
    }
    if (!fits)
        return mio__fail(MIO_ERROR_ARGUMENT, "%zu pairs of %zu values are beyond the address space", pairs, dim);
    *plan = made;
    return MIO_OK;
}

static void *take(char **at, size_t bytes)
{
    void *piece = *at;
    *at += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return piece;
}

/* Points the arrays into the work space, in the order of work_bytes(). */
static void carve(mio__pairs *pairs)
{
    const mio__pair_plan *plan = &pairs->plan;
    const size_t slots = 2 * plan->slots_per_view, type = plan->wide ? sizeof(double) : sizeof(float);
    const size_t row_bytes = plan->width * sizeof(double);
    char *at = pairs->work;
    pairs->unit = take(&at, slots * plan->width * type);
    pairs->transposed = take(&at, slots * plan->width * type);
    pairs->gradient = take(&at, slots * plan->width * type);
    pairs->scale = take(&at, slots * sizeof(double));
    pairs->inverse = take(&at, slots * sizeof(double));
    for (size_t i = 0; i < MIO__PAIR_TERMS; i++) {
        pairs->log_sums[i] = take(&at, slots * sizeof(mio__log_sum));
        pairs->weights[i] = take(&at, slots * sizeof(mio__row_weight));
    }
    pairs->similarity_of_pair = take(&at, plan->pairs * sizeof(double));
    pairs->chunk_sums = take(&at, chunk_count(plan->pairs) * row_bytes);
    pairs->block_values = take(&at, plan->blocks * sizeof(double));
    pairs->rows = take(&at, plan->workers * MIO__PAIR_ROWS * row_bytes);
    pairs->tile_space = take(&at, (plan->workers * MIO__PAIR_TILES + plan->kept) * plan->edge * plan->edge * type);
}

/* Takes over a plan: memory and, for another shape, kernels. */
static mio_status adopt(mio__pairs *pairs, const mio__pair_plan *plan)
{
    const mio_status status = mio__reserve(pairs->context, &pairs->work, &pairs->capacity, plan->size);
    if (status)
        return status;
    /* Of the kernels, not of the plan before: one in double makes none. */
    const int same = pairs->similarity.m == plan->edge && pairs->similarity.k == plan->width;
    pairs->plan = *plan;
    pairs->kernels = MIO__PICK(mio__pair_loops);
    carve(pairs);
    if (!plan->wide && !same) {
        const size_t edge = plan->edge, width = plan->width;
        pairs->similarity = mio__gemm_make(edge, edge, width, edge, width, edge, 0, 0, 0);
        pairs->pull = mio__gemm_make(width, edge, edge, width, edge, width, 0, 0, 1);
        pairs->pull_transposed = mio__gemm_make(width, edge, edge, width, edge, width, 0, 1, 1);
    }
    return MIO_OK;
}

void mio__pairs_free(mio__pairs *pairs)
{
    mio__free(pairs->context, pairs->work);
    pairs->work = NULL;
}

size_t mio__pairs_slot(const mio__pairs *pairs, size_t view, size_t b)
{
    return view * pairs->plan.slots_per_view + b;
}

int mio__pairs_wants_gradient(const mio__pairs *pairs)
{
    return pairs->keep_gradient || pairs->batch.gradient[0] || pairs->batch.gradient[1];
}

/* ---- passes over rows ---- */

void mio__pairs_read(const mio__pairs *pairs, size_t view, size_t b, double *row)
{
    const mio__pair_plan *plan = &pairs->plan;
    const size_t from = b * plan->dim;
    if (pairs->batch.element == sizeof(double))
        pairs->kernels->read_double(plan->dim, plan->width, (const double *)pairs->batch.z[view] + from, row);
    else
        pairs->kernels->read_float(plan->dim, plan->width, (const float *)pairs->batch.z[view] + from, row);
}

/* The unit vector of a row whose scale and inverse are known. */
void mio__pairs_unit(const mio__pairs *pairs, size_t view, size_t b, double *row)
{
    const size_t slot = mio__pairs_slot(pairs, view, b);
    mio__pairs_read(pairs, view, b, row);
    pairs->kernels->scale(pairs->plan.width, pairs->scale[slot], pairs->inverse[slot], row);
}

double *mio__pairs_worker_row(const mio__pairs *pairs, size_t worker, size_t index)
{
    return pairs->rows + (worker * MIO__PAIR_ROWS + index) * pairs->plan.width;
}

static void store_row(const mio__pairs *pairs, size_t slot, const double *row)
{
    const size_t width = pairs->plan.width, edge = pairs->plan.edge;
    const size_t plain = slot * width, turned = slot / edge * edge * width + slot % edge;
    const int turn = pairs->storage == MIO__PAIR_FOR_PASSES || pairs->storage == MIO__PAIR_FOR_SEVERAL;
    if (pairs->storage == MIO__PAIR_NOTHING)
        return;
    if (pairs->plan.wide)
        pairs->kernels->store_wide(width, row, (double *)pairs->unit + plain,
                                   turn ? (double *)pairs->transposed + turned : NULL, edge);
    else
        pairs->kernels->store_narrow(width, row, (float *)pairs->unit + plain,
                                     turn ? (float *)pairs->transposed + turned : NULL, edge);
}

/* The power of two that brings the largest magnitude of a row near 1, so that no square over- or underflows; 0 for a
   zero row, NaN for one with a non-finite value. Squares of floats fit a double as they are. */
static double scale_of(const mio__pairs *pairs, const double *row)
{
    if (pairs->batch.element == sizeof(float))
        return 1;
    const double largest = pairs->kernels->largest(pairs->plan.width, row);
    if (isnan(largest) || largest == 0)
        return largest;
    int exponent;
    frexp(largest, &exponent);
    return ldexp(1, exponent < -1000 ? 1000 : -exponent);
}

static void normalize_row(mio__pairs *pairs, size_t view, size_t b, double *row)
{
    const size_t slot = mio__pairs_slot(pairs, view, b), width = pairs->plan.width;
    mio__pairs_read(pairs, view, b, row);
    double scale = scale_of(pairs, row), inverse = 0;
    if (scale != 1)
        pairs->kernels->scale(width, scale, 1, row);
    const double square = pairs->kernels->dot(width, row, row);
    if (!isfinite(square))
        scale = NAN;
    else if (square > 0)
        inverse = 1 / sqrt(square);
    else
        scale = 0;
    pairs->kernels->scale(width, inverse, 1, row);
    pairs->scale[slot] = scale;
    pairs->inverse[slot] = inverse;
    store_row(pairs, slot, row);
}

static size_t chunk_end(const mio__pairs *pairs, size_t chunk)
{
    const size_t end = (chunk + 1) * CHUNK;
    return end < pairs->plan.pairs ? end : pairs->plan.pairs;
}

static void normalize_chunk(void *argument, size_t chunk, size_t worker)
{
    mio__pairs *pairs = argument;
    const size_t width = pairs->plan.width;
    double *first = mio__pairs_worker_row(pairs, worker, 0), *second = mio__pairs_worker_row(pairs, worker, 1);
    double *sum = pairs->chunk_sums + chunk * width;
    memset(sum, 0, width * sizeof *sum);
    for (size_t b = chunk * CHUNK; b < chunk_end(pairs, chunk); b++) {
        normalize_row(pairs, 0, b, first);
        normalize_row(pairs, 1, b, second);
        pairs->similarity_of_pair[b] = pairs->kernels->dot(width, first, second);
        pairs->kernels->add(width, first, sum);
        pairs->kernels->add(width, second, sum);
    }
}

/* Zero rows for the slots that stand for no row. */
static void fill_up(mio__pairs *pairs)
{
    double *row = mio__pairs_worker_row(pairs, 0, 0);
    memset(row, 0, pairs->plan.width * sizeof *row);
    for (size_t b = pairs->plan.pairs; b < pairs->plan.slots_per_view; b++)
        for (size_t view = 0; view < 2; view++) {
            const size_t slot = mio__pairs_slot(pairs, view, b);
            store_row(pairs, slot, row);
            pairs->scale[slot] = pairs->inverse[slot] = 0;
        }
}

/* Counts the zero rows, or reports the first value that is not finite. */
static mio_status judge_rows(mio__pairs *pairs)
{
    size_t zero_rows = 0;
    for (size_t view = 0; view < 2; view++)
        for (size_t b = 0; b < pairs->plan.pairs; b++) {
            const double scale = pairs->scale[mio__pairs_slot(pairs, view, b)];
            zero_rows += scale == 0;
            if (!isnan(scale))
                continue;
            double *row = mio__pairs_worker_row(pairs, 0, 0);
            mio__pairs_read(pairs, view, b, row);
            size_t column = 0;
            while (isfinite(row[column]))
                column++;
            return mio__fail(MIO_ERROR_ARGUMENT, "z%zu[%zu][%zu] is %s; every value of row %zu must be finite",
                             view + 1, b, column, isnan(row[column]) ? "NaN" : "infinite", b);
        }
    pairs->zero_rows = zero_rows;
    return MIO_OK;
}

/* The mean over negatives follows from the sum of all unit vectors: |sum|^2 is the sum over all ordered pairs. */
static void find_means(mio__pairs *pairs)
{
    const size_t count = pairs->plan.pairs, width = pairs->plan.width;
    double *sum = mio__pairs_worker_row(pairs, 0, 0), positive = 0;
    memset(sum, 0, width * sizeof *sum);
    for (size_t chunk = 0; chunk < chunk_count(count); chunk++)
        pairs->kernels->add(width, pairs->chunk_sums + chunk * width, sum);
    for (size_t b = 0; b < count; b++)
        positive += pairs->similarity_of_pair[b];
    const double all = pairs->kernels->dot(width, sum, sum), itself = 2 * (double)count - (double)pairs->zero_rows;
    pairs->mean_positive = positive / (double)count;
    pairs->mean_negative = (all - itself - 2 * positive) / fmax(2 * (double)count * (2 * (double)count - 2), 1);
}

mio_status mio__pairs_begin(mio__pairs *pairs, const mio__batch *batch, int wide)
{
    mio__pair_plan plan;
    mio_status status =
        mio__pair_plan_make(pairs->context, batch->pairs, batch->dim, batch->element, wide, pairs->storage, &plan);
    if (!status)
        status = adopt(pairs, &plan);
    if (status)
        return status;
    pairs->batch = *batch;
    pairs->choice = MIO__PAIR_ALL;
    pairs->kept_known = 0;
    fill_up(pairs);
    mio__parallel(pairs->context, plan.workers, chunk_count(plan.pairs), normalize_chunk, pairs);
    status = judge_rows(pairs);
    if (status)
        return status;
    find_means(pairs);
    if (pairs->storage != MIO__PAIR_NOTHING && mio__pairs_wants_gradient(pairs))
        mio__pairs_clear_gradient(pairs);
    return MIO_OK;
}

void mio__pairs_clear_gradient(mio__pairs *pairs)
{
    memset(pairs->gradient, 0, 2 * pairs->plan.slots_per_view * pairs->plan.width * mio__pairs_type(pairs));
}

size_t mio__pairs_type(const mio__pairs *pairs)
{
    return pairs->plan.wide ? sizeof(double) : sizeof(float);
}

void mio__pairs_chunk(const mio__pairs *pairs, size_t chunk, size_t *start, size_t *end)
{
    *start = chunk * CHUNK;
    *end = chunk_end(pairs, chunk);
}

double mio__pairs_sum_of_chunks(const mio__pairs *pairs)
{
    double sum = 0;
    for (size_t chunk = 0; chunk < chunk_count(pairs->plan.pairs); chunk++)
        sum += pairs->chunk_sums[chunk * pairs->plan.width];
    return sum;
}

void mio__pairs_by_chunk(const mio__pairs *pairs, mio__work work, void *argument)
{
    mio__parallel(pairs->context, pairs->plan.workers, chunk_count(pairs->plan.pairs), work, argument);
}

typedef struct visits {
    mio__pairs *pairs;
    mio__pair_visit visit;
    void *argument;
} visits;

static void visit_chunk(void *argument, size_t chunk, size_t worker)
{
    const visits *work = argument;
    double sum = 0;
    (void)worker;
    for (size_t b = chunk * CHUNK; b < chunk_end(work->pairs, chunk); b++)
        sum += work->visit(work->argument, b);
    work->pairs->chunk_sums[chunk * work->pairs->plan.width] = sum;
}

double mio__pairs_sum(mio__pairs *pairs, mio__pair_visit visit, void *argument)
{
    mio__pairs_by_chunk(pairs, visit_chunk, &(visits){pairs, visit, argument});
    return mio__pairs_sum_of_chunks(pairs);
}

double mio__pairs_mean_square(const mio__pairs *pairs)
{
    double sum = 0;
    for (size_t b = 0; b < pairs->plan.pairs; b++) {
        const int first = pairs->scale[mio__pairs_slot(pairs, 0, b)] != 0;
        const int second = pairs->scale[mio__pairs_slot(pairs, 1, b)] != 0;
        sum += first + second - 2 * pairs->similarity_of_pair[b];
    }
    return sum / (double)pairs->plan.pairs / (double)pairs->plan.dim;
}
