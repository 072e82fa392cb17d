/* The pair engine's walk over tiles, and the passes that the losses are made of. */
#include "loss/pair.h"

#include <math.h>
#include <string.h>

/* ---- the walk ---- */

typedef struct walk {
    mio__pairs *pairs;
    int keeps;  /* its tiles are those of all pairs, and stay as they are */
    int across; /* tiles with one row of each view alone */
    mio__tile_visit visit;
    void *argument;
    size_t round;
} walk;

/* Rounds of the tournament and meetings in one. An odd number of blocks: i + j = round (mod blocks) pairs every block
   with one other, and one with itself. An even number: the last block takes the place of that one itself, and a round
   of its own lets every block meet itself. */
static size_t meetings(size_t blocks, size_t round)
{
    return blocks % 2 ? (blocks + 1) / 2 : round + 1 < blocks ? blocks / 2 : blocks;
}

static void meeting(size_t blocks, size_t round, size_t item, size_t *left, size_t *right)
{
    const size_t odd = blocks - (blocks % 2 == 0);
    *left = *right = item;
    if (round == odd)
        return;
    const size_t k = (odd + 1) / 2 - 1 - item; /* the short meeting with itself comes last */
    const size_t middle = round * ((odd + 1) / 2) % odd;
    const size_t i = (middle + k) % odd, j = k ? (middle + odd - k) % odd : blocks % 2 ? i : blocks - 1;
    *left = i < j ? i : j;
    *right = i < j ? j : i;
}

static void *rows_of_tile(const mio__pairs *pairs, void *array, size_t tile)
{
    const size_t offset = tile * pairs->plan.edge * pairs->plan.width;
    return pairs->plan.wide ? (void *)((double *)array + offset) : (void *)((float *)array + offset);
}

void mio__tile_cosines(const mio__pairs *pairs, const void *transposed, const void *unit, void *s)
{
    const size_t edge = pairs->plan.edge, width = pairs->plan.width;
    if (pairs->plan.wide)
        pairs->kernels->product(&(mio__wide_product){edge, edge, width, transposed, edge, unit, width, 1, s, edge, 0});
    else
        mio__gemm_run(&pairs->similarity, (const float *const *)&transposed, (const float *const *)&unit, s, 1);
}

void mio__tile_pull(const mio__pairs *pairs, void *gradient, const void *unit, const void *weight, int transposed)
{
    const size_t edge = pairs->plan.edge, width = pairs->plan.width;
    if (pairs->plan.wide)
        pairs->kernels->product(&(mio__wide_product){width, edge, edge, unit, width, weight, transposed ? 1 : edge,
                                                     transposed ? edge : 1, gradient, width, 1});
    else
        mio__gemm_run(transposed ? &pairs->pull_transposed : &pairs->pull, (const float *const *)&unit,
                      (const float *const *)&weight, gradient, 1);
}

static void exclude(const mio__pairs *pairs, void *s, size_t row, size_t column)
{
    const size_t at = row * pairs->plan.edge + column;
    if (pairs->plan.wide)
        ((double *)s)[at] = -INFINITY;
    else
        ((float *)s)[at] = -INFINITY;
}

/* Rows of a tile that stand for rows of the batch. */
static size_t real_rows(const mio__pairs *pairs, size_t tile)
{
    const size_t start = tile * pairs->plan.edge % pairs->plan.slots_per_view, left = pairs->plan.pairs - start;
    return left < pairs->plan.edge ? left : pairs->plan.edge;
}

/* Classes of a tile's rows. */
static const uint32_t *classes_of(const mio__pairs *pairs, size_t tile)
{
    return pairs->class_of + tile * pairs->plan.edge % pairs->plan.slots_per_view;
}

const mio__tile_loops *mio__tile_loops_of(const mio__pairs *pairs)
{
    return pairs->plan.wide ? &pairs->kernels->wide : &pairs->kernels->narrow;
}

static void exclude_classes(const mio__pairs *pairs, mio__pair_choice choice, size_t left, size_t right, void *s)
{
    mio__tile_loops_of(pairs)->leave_out(pairs->plan.edge, real_rows(pairs, left), real_rows(pairs, right),
                                         classes_of(pairs, left), classes_of(pairs, right),
                                         choice == MIO__PAIR_OTHER_CLASS, s);
}

/* Takes out pairs of a row with itself, positive pairs and filling. */
static void exclude_all(const mio__pairs *pairs, size_t left, size_t right, void *s)
{
    const size_t edge = pairs->plan.edge, columns = real_rows(pairs, left), rows = real_rows(pairs, right);
    if (left == right || right == left + pairs->plan.tiles / 2)
        for (size_t i = 0; i < edge; i++)
            exclude(pairs, s, i, i);
    if (pairs->choice != MIO__PAIR_ALL)
        exclude_classes(pairs, pairs->choice, left, right, s);
    if (columns == edge && rows == edge)
        return;
    for (size_t j = 0; j < edge; j++)
        for (size_t i = j < rows ? columns : 0; i < edge; i++)
            exclude(pairs, s, j, i);
}

static size_t tile_bytes(const mio__pairs *pairs)
{
    return pairs->plan.edge * pairs->plan.edge * mio__pairs_type(pairs);
}

static char *kept_tile(const mio__pairs *pairs, size_t left, size_t right)
{
    const size_t first = pairs->plan.workers * MIO__PAIR_TILES;
    return (char *)pairs->tile_space + (first + right * (right + 1) / 2 + left) * tile_bytes(pairs);
}

/* All tiles between two blocks; those of a block with itself once each. */
static void meet(void *argument, size_t item, size_t worker)
{
    const walk *self = argument;
    const mio__pairs *pairs = self->pairs;
    const mio__pair_plan *plan = &pairs->plan;
    const size_t bytes = tile_bytes(pairs);
    char *s = (char *)pairs->tile_space + worker * MIO__PAIR_TILES * bytes, *weight = s + bytes;
    size_t left, right;
    meeting(plan->blocks, self->round, item, &left, &right);
    double value = 0;
    for (size_t j = right * plan->group; j < (right + 1) * plan->group && j < plan->tiles; j++)
        for (size_t i = left * plan->group; i < (left + 1) * plan->group && i <= j; i++) {
            if (self->across && (i >= plan->tiles / 2 || j < plan->tiles / 2))
                continue;
            char *tile = self->keeps ? kept_tile(pairs, i, j) : s;
            if (!self->keeps || !pairs->kept_known) {
                mio__tile_cosines(pairs, rows_of_tile(pairs, pairs->transposed, i), rows_of_tile(pairs, pairs->unit, j),
                                  tile);
                exclude_all(pairs, i, j, tile);
            }
            value += self->visit(self->argument, i, j, tile, weight);
        }
    pairs->block_values[left] += value;
}

static double run(walk self)
{
    mio__pairs *pairs = self.pairs;
    const size_t blocks = pairs->plan.blocks;
    memset(pairs->block_values, 0, blocks * sizeof *pairs->block_values);
    for (; self.round < blocks; self.round++)
        mio__parallel(pairs->context, pairs->plan.workers, meetings(blocks, self.round), meet, &self);
    double value = 0;
    for (size_t i = 0; i < blocks; i++)
        value += pairs->block_values[i];
    return value;
}

double mio__pairs_walk(mio__pairs *pairs, mio__tile_visit visit, void *argument)
{
    return run((walk){.pairs = pairs, .visit = visit, .argument = argument});
}

/* For visits that leave the tiles as they are. */
static double walk_keeping(mio__pairs *pairs, mio__tile_visit visit, void *argument)
{
    const int keeps = pairs->plan.kept && pairs->choice == MIO__PAIR_ALL;
    const double value = run((walk){.pairs = pairs, .keeps = keeps, .visit = visit, .argument = argument});
    pairs->kept_known = pairs->kept_known || keeps;
    return value;
}

/* ---- passes ---- */

/* What the passes of this file need to know at a tile. */
typedef struct pass {
    mio__pairs *pairs;
    size_t first, terms;
    const double *rates;
    const mio__pair_choice *choices; /* of the terms; NULL: the walk's */
    double bias;
} pass;

/* The tile for term t: s, or a copy of it in space with the term's choice of pairs. Terms of one choice follow each
   other. */
static const void *chosen(const pass *self, size_t t, size_t left, size_t right, const void *s, void *space)
{
    if (!self->choices || self->choices[t] == MIO__PAIR_ALL)
        return s;
    if (t && self->choices[t] == self->choices[t - 1])
        return space;
    memcpy(space, s, tile_bytes(self->pairs));
    exclude_classes(self->pairs, self->choices[t], left, right, space);
    return space;
}

/* Each tile stands for both orders of its pairs; one on the diagonal holds both already. */
static void pull_both(const mio__pairs *pairs, size_t left, size_t right, const void *weight)
{
    if (!mio__pairs_wants_gradient(pairs))
        return;
    void *of_left = rows_of_tile(pairs, pairs->gradient, left), *of_right = rows_of_tile(pairs, pairs->gradient, right);
    mio__tile_pull(pairs, of_right, rows_of_tile(pairs, pairs->unit, left), weight, 0);
    if (left != right)
        mio__tile_pull(pairs, of_left, rows_of_tile(pairs, pairs->unit, right), weight, 1);
}

static double visit_softplus(void *argument, size_t left, size_t right, void *s, void *weight)
{
    const pass *self = argument;
    const double value =
        mio__tile_loops_of(self->pairs)->softplus(self->pairs->plan.edge, self->rates[0], 0, s, weight);
    pull_both(self->pairs, left, right, weight);
    return left == right ? value : 2 * value;
}

double mio__pairs_softplus(mio__pairs *pairs, double rate)
{
    return mio__pairs_walk(pairs, visit_softplus, &(pass){.pairs = pairs, .rates = &rate});
}

/* The sum of the sigmoids waits with the first row of the left tile. */
static double visit_across(void *argument, size_t left, size_t right, void *s, void *weight)
{
    const pass *self = argument;
    const mio__pairs *pairs = self->pairs;
    const size_t edge = pairs->plan.edge;
    const double value = mio__tile_loops_of(pairs)->softplus(edge, self->rates[0], self->bias, s, weight);
    pairs->log_sums[0][left * edge].sum += mio__tile_loops_of(pairs)->sum(edge, weight);
    pull_both(pairs, left, right, weight);
    return value;
}

double mio__pairs_softplus_across(mio__pairs *pairs, double rate, double bias, double *sigmoids)
{
    pass self = {.pairs = pairs, .rates = &rate, .bias = bias};
    memset(pairs->log_sums[0], 0, 2 * pairs->plan.slots_per_view * sizeof *pairs->log_sums[0]);
    const double value = run((walk){.pairs = pairs, .across = 1, .visit = visit_across, .argument = &self});
    *sigmoids = 0;
    for (size_t slot = 0; slot < pairs->plan.slots_per_view; slot += pairs->plan.edge)
        *sigmoids += pairs->log_sums[0][slot].sum;
    return value;
}

static double visit_sums(void *argument, size_t left, size_t right, void *s, void *space)
{
    const pass *self = argument;
    const size_t edge = self->pairs->plan.edge;
    for (size_t t = 0; t < self->terms; t++) {
        mio__log_sum *sums = self->pairs->log_sums[self->first + t];
        mio__tile_loops_of(self->pairs)
            ->sums(edge, self->rates[t], chosen(self, t, left, right, s, space), sums + left * edge,
                   left == right ? NULL : sums + right * edge);
    }
    return 0;
}

static void find_sums(pass *self)
{
    mio__pairs *pairs = self->pairs;
    for (size_t t = self->first; t < self->first + self->terms; t++)
        memset(pairs->log_sums[t], 0, 2 * pairs->plan.slots_per_view * sizeof *pairs->log_sums[t]);
    walk_keeping(pairs, visit_sums, self);
}

void mio__pairs_log_sums(mio__pairs *pairs, size_t term, double rate)
{
    find_sums(&(pass){.pairs = pairs, .first = term, .terms = 1, .rates = &rate});
}

void mio__pairs_all_log_sums(mio__pairs *pairs, size_t terms, const double rates[], const mio__pair_choice choices[])
{
    find_sums(&(pass){.pairs = pairs, .terms = terms, .rates = rates, .choices = choices});
}

double mio__log_sum_value(const mio__log_sum *sum, double rate)
{
    return rate * sum->peak + log(sum->sum);
}

double mio__pairs_log_sum(const mio__pairs *pairs, size_t term, double rate, size_t view, size_t b)
{
    return mio__log_sum_value(&pairs->log_sums[term][mio__pairs_slot(pairs, view, b)], rate);
}

static double visit_weights(void *argument, size_t left, size_t right, void *s, void *weight)
{
    const pass *self = argument;
    mio__pairs *pairs = self->pairs;
    const size_t edge = pairs->plan.edge;
    void *space = (char *)weight + tile_bytes(pairs);
    for (size_t t = 0; t < self->terms; t++)
        mio__tile_loops_of(pairs)->weights(edge, self->rates[t], chosen(self, t, left, right, s, space),
                                           pairs->weights[t] + left * edge, pairs->weights[t] + right * edge, t > 0,
                                           weight);
    pull_both(pairs, left, right, weight);
    return 0;
}

void mio__settle_weights(const mio__pairs *pairs, size_t count, size_t end, mio__row_weight *weights)
{
    for (size_t i = 0; i < end; i++)
        if (i >= count)
            weights[i] = (mio__row_weight){0, 0};
        else if (!pairs->plan.wide)
            weights[i] = (mio__row_weight){weights[i].factor * exp(-weights[i].shift), 0};
}

void mio__pairs_pull_chosen(mio__pairs *pairs, size_t terms, const double rates[], const mio__pair_choice choices[])
{
    const mio__pair_plan *plan = &pairs->plan;
    for (size_t t = 0; t < terms; t++)
        for (size_t view = 0; view < 2; view++)
            mio__settle_weights(pairs, plan->pairs, plan->slots_per_view,
                                pairs->weights[t] + mio__pairs_slot(pairs, view, 0));
    walk_keeping(pairs, visit_weights, &(pass){.pairs = pairs, .terms = terms, .rates = rates, .choices = choices});
}

void mio__pairs_pull(mio__pairs *pairs, size_t terms, const double rates[])
{
    mio__pairs_pull_chosen(pairs, terms, rates, NULL);
}

static double visit_exponentials(void *argument, size_t left, size_t right, void *s, void *weight)
{
    const pass *self = argument;
    mio__log_sum columns[MIO__PAIR_EDGE] = {{0, 0}};
    double sum = 0;
    mio__tile_loops_of(self->pairs)->exponentials(self->pairs->plan.edge, self->rates[0], s, columns, weight);
    for (size_t i = 0; i < self->pairs->plan.edge; i++)
        sum += columns[i].sum;
    pull_both(self->pairs, left, right, weight);
    return left == right ? sum : 2 * sum;
}

double mio__pairs_exponentials(mio__pairs *pairs, double rate)
{
    return mio__pairs_walk(pairs, visit_exponentials, &(pass){.pairs = pairs, .rates = &rate});
}
