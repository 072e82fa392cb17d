#include "loss/cross.h"

#include <math.h>
#include <string.h>

/* GROUP: left tiles of an item at most; each right tile is fetched once for all of them. */
enum { EDGE = MIO__PAIR_EDGE, GROUP = 4 };

static const mio__row_weight no_weights[EDGE];

typedef struct pass pass;
struct pass {
    const mio__cross *cross;
    double rate;
    size_t group; /* left tiles of an item */
    /* What is done with the tile of left tile i and right tile j; unit: the right tile's rows. */
    void (*visit)(const pass *self, size_t i, size_t j, void *s, void *weight, const void *unit);
    mio__log_sum *sums;
    const mio__row_weight *of_left, *of_right;
    void *gradient;
    size_t *nearest;
    double *largest;
};

/* ---- scratch: per worker, GROUP transposed left tiles and a right tile converted ---- */

static size_t tile_rows_bytes(const mio__pair_plan *plan)
{
    return plan->edge * plan->width * (plan->wide ? sizeof(double) : sizeof(float));
}

static size_t tiles_of(const mio__pair_plan *plan, size_t rows)
{
    return (rows + plan->edge - 1) / plan->edge;
}

size_t mio__cross_bytes(const mio__pair_plan *plan)
{
    size_t rows;
    if (plan->width > SIZE_MAX / 1024 ||
        __builtin_mul_overflow(plan->workers * (GROUP + 1), tile_rows_bytes(plan), &rows) || rows > SIZE_MAX / 4)
        return 0;
    return rows;
}

mio__cross_side mio__cross_view(const mio__pairs *pairs, size_t view)
{
    const size_t type = mio__pairs_type(pairs), offset = mio__pairs_slot(pairs, view, 0) * pairs->plan.width * type;
    return (mio__cross_side){(const char *)pairs->unit + offset, type, pairs->plan.pairs};
}

void *mio__cross_gradient(const mio__pairs *pairs, size_t view)
{
    return (char *)pairs->gradient + mio__pairs_slot(pairs, view, 0) * pairs->plan.width * mio__pairs_type(pairs);
}

/* ---- one tile ---- */

static void transpose_tile(const mio__pair_plan *plan, const void *rows, void *transposed)
{
    for (size_t row = 0; row < plan->edge; row++)
        for (size_t k = 0; k < plan->width; k++)
            if (plan->wide)
                ((double *)transposed)[k * plan->edge + row] = ((const double *)rows)[row * plan->width + k];
            else
                ((float *)transposed)[k * plan->edge + row] = ((const float *)rows)[row * plan->width + k];
}

/* A right tile in the passes' type: as it lies, or converted into space. */
static const void *right_tile(const mio__cross *cross, size_t tile, void *space)
{
    const mio__pair_plan *plan = &cross->pairs->plan;
    const size_t count = plan->edge * plan->width, at = tile * count;
    if (cross->right.element == mio__pairs_type(cross->pairs))
        return (const char *)cross->right.rows + at * cross->right.element;
    for (size_t i = 0; i < count; i++)
        if (plan->wide)
            ((double *)space)[i] = ((const float *)cross->right.rows)[at + i];
        else
            ((float *)space)[i] = (float)((const double *)cross->right.rows)[at + i];
    return space;
}

static void exclude(const mio__cross *cross, size_t i, size_t j, void *s)
{
    const size_t edge = cross->pairs->plan.edge;
    const size_t left = cross->left.count - i * edge, right = cross->right.count - j * edge;
    if (left >= edge && right >= edge)
        return;
    for (size_t row = 0; row < edge; row++)
        for (size_t column = 0; column < edge; column++)
            if (row >= right || column >= left) {
                if (cross->pairs->plan.wide)
                    ((double *)s)[row * edge + column] = -INFINITY;
                else
                    ((float *)s)[row * edge + column] = -INFINITY;
            }
}

static void walk(void *argument, size_t item, size_t worker)
{
    const pass *self = argument;
    const mio__cross *cross = self->cross;
    const mio__pairs *pairs = cross->pairs;
    const mio__pair_plan *plan = &pairs->plan;
    const size_t tile_bytes = plan->edge * plan->edge * mio__pairs_type(pairs), rows_bytes = tile_rows_bytes(plan);
    const size_t first = item * self->group, tiles = tiles_of(plan, cross->left.count);
    const size_t count = tiles - first < self->group ? tiles - first : self->group;
    char *s = (char *)pairs->tile_space + worker * MIO__PAIR_TILES * tile_bytes, *weight = s + tile_bytes;
    char *transposed = (char *)cross->scratch + worker * (GROUP + 1) * rows_bytes,
         *space = transposed + GROUP * rows_bytes;
    for (size_t i = 0; i < count; i++)
        transpose_tile(plan, (const char *)cross->left.rows + (first + i) * rows_bytes, transposed + i * rows_bytes);
    for (size_t j = 0; j < tiles_of(plan, cross->right.count); j++) {
        const void *unit = right_tile(cross, j, space);
        for (size_t i = 0; i < count; i++) {
            mio__tile_cosines(pairs, transposed + i * rows_bytes, unit, s);
            exclude(cross, first + i, j, s);
            self->visit(self, first + i, j, s, weight, unit);
        }
    }
}

/* Whole groups where every worker gets some; what a left tile is given does not depend on its group. */
static void run(pass *self)
{
    const mio__cross *cross = self->cross;
    const mio__pair_plan *plan = &cross->pairs->plan;
    const size_t tiles = tiles_of(plan, cross->left.count);
    self->group = tiles / plan->workers >= GROUP ? GROUP : 1;
    mio__parallel(cross->pairs->context, plan->workers, (tiles + self->group - 1) / self->group, walk, self);
}

/* gradient of left tile i += weight[right row][left row] x the right tile's unit vectors */
static void pull_tile(const pass *self, size_t i, const void *weight, const void *unit)
{
    const mio__pairs *pairs = self->cross->pairs;
    mio__tile_pull(pairs, (char *)self->gradient + i * tile_rows_bytes(&pairs->plan), unit, weight, 1);
}

/* ---- the passes ---- */

static void visit_sums(const pass *self, size_t i, size_t j, void *s, void *weight, const void *unit)
{
    (void)j, (void)weight, (void)unit;
    const size_t edge = self->cross->pairs->plan.edge;
    mio__tile_loops_of(self->cross->pairs)->sums(edge, self->rate, s, self->sums + i * edge, NULL);
}

void mio__cross_log_sums(const mio__cross *cross, double rate, mio__log_sum *sums)
{
    const mio__pair_plan *plan = &cross->pairs->plan;
    memset(sums, 0, tiles_of(plan, cross->left.count) * plan->edge * sizeof *sums);
    run(&(pass){.cross = cross, .rate = rate, .visit = visit_sums, .sums = sums});
}

static void visit_exponentials(const pass *self, size_t i, size_t j, void *s, void *weight, const void *unit)
{
    (void)j;
    const size_t edge = self->cross->pairs->plan.edge;
    mio__tile_loops_of(self->cross->pairs)->exponentials(edge, self->rate, s, self->sums + i * edge, weight);
    pull_tile(self, i, weight, unit);
}

void mio__cross_exponentials(const mio__cross *cross, double rate, mio__log_sum *sums, void *gradient)
{
    const mio__pair_plan *plan = &cross->pairs->plan;
    memset(sums, 0, tiles_of(plan, cross->left.count) * plan->edge * sizeof *sums);
    run(&(pass){.cross = cross, .rate = rate, .visit = visit_exponentials, .sums = sums, .gradient = gradient});
}

static void visit_weights(const pass *self, size_t i, size_t j, void *s, void *weight, const void *unit)
{
    const size_t edge = self->cross->pairs->plan.edge;
    mio__tile_loops_of(self->cross->pairs)
        ->weights(edge, self->rate, s, self->of_left ? self->of_left + i * edge : no_weights,
                  self->of_right ? self->of_right + j * edge : no_weights, 0, weight);
    pull_tile(self, i, weight, unit);
}

void mio__cross_pull(const mio__cross *cross, double rate, const mio__row_weight *of_left,
                     const mio__row_weight *of_right, void *gradient)
{
    run(&(pass){.cross = cross,
                .rate = rate,
                .visit = visit_weights,
                .of_left = of_left,
                .of_right = of_right,
                .gradient = gradient});
}

void mio__cross_settle(const mio__pairs *pairs, size_t count, mio__row_weight *weights)
{
    mio__settle_weights(pairs, count, tiles_of(&pairs->plan, count) * pairs->plan.edge, weights);
}

static void visit_nearest(const pass *self, size_t i, size_t j, void *s, void *weight, const void *unit)
{
    (void)unit, (void)weight;
    const size_t edge = self->cross->pairs->plan.edge, left = self->cross->left.count - i * edge;
    double best[EDGE];
    uint32_t place[EDGE];
    for (size_t column = 0; column < edge; column++) {
        best[column] = j && column < left ? self->largest[i * edge + column] : -INFINITY;
        place[column] = EDGE; /* none in this tile */
    }
    mio__tile_loops_of(self->cross->pairs)->nearest(edge, s, best, place);
    for (size_t column = 0; column < edge && column < left; column++) {
        if (place[column] < EDGE)
            self->nearest[i * edge + column] = j * edge + place[column];
        self->largest[i * edge + column] = best[column];
    }
}

void mio__cross_nearest(const mio__cross *cross, size_t *nearest, double *largest)
{
    run(&(pass){.cross = cross, .visit = visit_nearest, .nearest = nearest, .largest = largest});
}
