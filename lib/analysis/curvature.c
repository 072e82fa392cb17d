#include "analysis/curvature.h"

#include <math.h>
#include <string.h>

mio_status mio__curvature_check(const mio_loss *loss)
{
    if (!loss)
        return mio__settings_null("loss");
    return loss->kind->bend ? MIO_OK
                            : mio__fail(MIO_ERROR_UNSUPPORTED,
                                        "the forces of loss '%s' are not known in parts; those of dcl, dclw, hcl, mio, "
                                        "mio_decoupled, nt_xent, schane, siglip and supcon are",
                                        mio_loss_name(loss));
}

/* ---- passes over tiles ---- */

static size_t rows_of_tile(const mio__curvature *c, size_t tile)
{
    return tile * c->pairs->plan.edge * c->pairs->plan.width;
}

/* slope[row of right][row of left] of the cosines. */
static void find_slopes(const mio__curvature *c, size_t left, size_t right, double *slope)
{
    const mio__pairs *pairs = c->pairs;
    const size_t edge = pairs->plan.edge, width = pairs->plan.width, at = rows_of_tile(c, left),
                 to = rows_of_tile(c, right);
    const double *unit = pairs->unit, *transposed = pairs->transposed;
    pairs->kernels->product(
        &(mio__wide_product){edge, edge, width, transposed + at, edge, c->moved + to, width, 1, slope, edge, 0});
    pairs->kernels->product(
        &(mio__wide_product){edge, edge, width, c->transposed + at, edge, unit + to, width, 1, slope, edge, 1});
}

/* to of tile `right` += weight x from of tile `left`, and the other way round. */
static void pull_both(const mio__curvature *c, size_t left, size_t right, const double *weight, const double *from,
                      double *to)
{
    const size_t edge = c->pairs->plan.edge, width = c->pairs->plan.width;
    const size_t at = rows_of_tile(c, left), other = rows_of_tile(c, right);
    c->pairs->kernels->product(
        &(mio__wide_product){width, edge, edge, from + at, width, weight, edge, 1, to + other, width, 1});
    if (left != right)
        c->pairs->kernels->product(
            &(mio__wide_product){width, edge, edge, from + other, width, weight, 1, edge, to + at, width, 1});
}

/* The terms of one choice. */
typedef struct pass {
    mio__curvature *c;
    mio__pair_choice choice;
    int bent; /* forces and their slopes, else forces alone */
} pass;

/* What two rows give to the force between them, and its slope. */
static void add_pulls(const mio__term *term, double s, double slope, const mio__pull *pull, mio__dual *force)
{
    const double exponential = exp(term->rate * s - pull->shift.value);
    force->value += pull->factor.value * exponential;
    force->slope += exponential * (pull->factor.slope + pull->factor.value * (term->rate * slope - pull->shift.slope));
}

static void add_logistic(const mio__term *term, double s, double slope, mio__dual *force)
{
    const double x = term->rate * s + term->bias, sigmoid = mio__sigmoid(x);
    force->value += term->logistic * sigmoid;
    force->slope += term->logistic * sigmoid * mio__sigmoid(-x) * term->rate * slope;
}

/* Turns cosines and their slopes into forces and theirs. */
static void weigh(const pass *self, size_t left, size_t right, double *s, double *slope)
{
    const mio__forces *forces = &self->c->forces;
    const size_t edge = self->c->pairs->plan.edge;
    for (size_t j = 0; j < edge; j++)
        for (size_t i = 0; i < edge; i++) {
            const size_t at = j * edge + i;
            const double along = self->bent ? slope[at] : 0;
            mio__dual force = {0, 0};
            for (size_t t = 0; t < forces->terms; t++) {
                const mio__term *term = &forces->term[t];
                if (term->choice != self->choice || s[at] == -INFINITY)
                    continue;
                if (term->logistic != 0) {
                    add_logistic(term, s[at], along, &force);
                    continue;
                }
                add_pulls(term, s[at], along, &forces->pull[t][left * edge + i], &force);
                add_pulls(term, s[at], along, &forces->pull[t][right * edge + j], &force);
            }
            s[at] = force.value;
            slope[at] = force.slope;
        }
}

/* Whether the terms leave this tile out: within a view, where they stand for pairs across. */
static int is_left_out(const mio__curvature *c, size_t left, size_t right)
{
    const size_t half = c->pairs->plan.tiles / 2;
    return c->forces.term[0].across && left / half == right / half;
}

static double visit_forces(void *argument, size_t left, size_t right, void *s, void *space)
{
    const pass *self = argument;
    mio__curvature *c = self->c;
    if (is_left_out(c, left, right))
        return 0;
    if (self->bent)
        find_slopes(c, left, right, space);
    weigh(self, left, right, s, space);
    if (!self->bent) {
        pull_both(c, left, right, s, c->pairs->unit, c->pairs->gradient);
        return 0;
    }
    pull_both(c, left, right, space, c->pairs->unit, c->bent);
    pull_both(c, left, right, s, c->moved, c->bent);
    return 0;
}

/* Adds what a pair gives to the slope of the log-sum of one of its rows. */
static void add_to_slope(double rate, double s, double slope, mio__dual *log_sum)
{
    log_sum->slope += exp(rate * s - log_sum->value) * rate * slope;
}

static double visit_log_sums(void *argument, size_t left, size_t right, void *tile, void *space)
{
    const pass *self = argument;
    mio__curvature *c = self->c;
    const size_t edge = c->pairs->plan.edge;
    const double *s = tile, *slope = space;
    find_slopes(c, left, right, space);
    for (size_t t = 0; t < c->forces.terms; t++)
        for (size_t at = 0; at < edge * edge && c->forces.term[t].choice == self->choice; at++) {
            if (s[at] == -INFINITY)
                continue;
            const double rate = c->forces.term[t].rate;
            add_to_slope(rate, s[at], slope[at], &c->log_sum[t][left * edge + at % edge]);
            if (left != right)
                add_to_slope(rate, s[at], slope[at], &c->log_sum[t][right * edge + at / edge]);
        }
    return 0;
}

static int has_choice(const mio__forces *forces, mio__pair_choice choice)
{
    for (size_t t = 0; t < forces->terms; t++)
        if (forces->term[t].choice == choice)
            return 1;
    return 0;
}

static void walk(mio__curvature *c, mio__pair_choice choice, int bent, mio__tile_visit visit)
{
    if (!has_choice(&c->forces, choice))
        return;
    c->pairs->choice = choice;
    mio__pairs_walk(c->pairs, visit, &(pass){c, choice, bent});
    c->pairs->choice = MIO__PAIR_ALL;
}

void mio__curvature_pull(mio__curvature *c, mio__pair_choice choice)
{
    walk(c, choice, 0, visit_forces);
}

/* ---- life ---- */

static mio_status allocate(mio__curvature *c)
{
    mio_context *context = c->loss->context;
    const mio__pair_plan *plan = &c->pairs->plan;
    const size_t slots = 2 * plan->slots_per_view, pairs = plan->pairs;
    double **const rows[] = {&c->moved, &c->transposed, &c->bent};
    int complete = (c->weights = mio__alloc_zeroed(context, pairs, sizeof *c->weights)) &&
                   (c->cosine = mio__alloc_zeroed(context, pairs, sizeof *c->cosine)) &&
                   (c->forces.attraction = mio__alloc_zeroed(context, pairs, sizeof(mio__dual)));
    for (size_t i = 0; i < 3; i++)
        complete = complete && (*rows[i] = mio__alloc_zeroed(context, slots * plan->width, sizeof(double)));
    for (size_t t = 0; t < MIO__PAIR_TERMS; t++)
        complete = complete && (c->log_sum[t] = mio__alloc_zeroed(context, slots, sizeof(mio__dual))) &&
                   (c->forces.pull[t] = mio__alloc_zeroed(context, slots, sizeof(mio__pull)));
    return complete ? MIO_OK : MIO_ERROR_MEMORY;
}

void mio__curvature_end(mio__curvature *c)
{
    if (!c->loss)
        return;
    mio_context *context = c->loss->context;
    mio__free(context, c->weights);
    mio__free(context, c->cosine);
    mio__free(context, c->forces.attraction);
    mio__free(context, c->moved);
    mio__free(context, c->transposed);
    mio__free(context, c->bent);
    for (size_t t = 0; t < MIO__PAIR_TERMS; t++) {
        mio__free(context, c->log_sum[t]);
        mio__free(context, c->forces.pull[t]);
    }
}

/* The logarithms of the sums that the terms' forces ask for. */
static void find_log_sums(mio__curvature *c)
{
    for (size_t t = 0; t < c->forces.terms; t++) {
        const mio__term *term = &c->forces.term[t];
        if (term->logistic != 0)
            continue;
        c->pairs->choice = term->choice;
        mio__pairs_log_sums(c->pairs, 0, term->rate);
        c->pairs->choice = MIO__PAIR_ALL;
        for (size_t slot = 0; slot < 2 * c->pairs->plan.slots_per_view; slot++)
            c->log_sum[t][slot].value = mio__log_sum_value(&c->pairs->log_sums[0][slot], term->rate);
    }
}

mio_status mio__curvature_begin(mio__curvature *c, mio_loss *loss, size_t pairs, size_t dim, const double *z1,
                                const double *z2)
{
    const mio__batch batch = {pairs, dim, sizeof(double), {z1, z2}, {NULL, NULL}};
    *c = (mio__curvature){.loss = loss, .pairs = &loss->pairs};
    mio_status status = mio__loss_compute(loss, &batch, NULL); /* checks everything */
    const int keep = loss->pairs.keep_gradient;
    loss->pairs.keep_gradient = 1; /* which begins by clearing it */
    if (!status)
        status = mio__pairs_begin(&loss->pairs, &batch, 1);
    loss->pairs.keep_gradient = keep;
    if (!status)
        status = allocate(c);
    if (status)
        return status;
    loss->kind->terms(loss, &c->forces);
    find_log_sums(c);
    for (size_t b = 0; b < pairs; b++)
        c->cosine[b].value = loss->pairs.similarity_of_pair[b];
    c->forces.cosine = c->cosine;
    for (size_t t = 0; t < MIO__PAIR_TERMS; t++)
        c->forces.log_sum[t] = c->log_sum[t];
    loss->kind->bend(loss, &c->forces);
    return MIO_OK;
}

/* ---- rows ---- */

typedef struct rows {
    mio__curvature *c;
    const double *direction;
    double *product;
} rows;

/* A row of the direction, filled up to width. */
static double *read_direction(const rows *work, size_t view, size_t b, size_t worker)
{
    const mio__pair_plan *plan = &work->c->pairs->plan;
    double *row = mio__pairs_worker_row(work->c->pairs, worker, 0);
    const double *from = work->direction + (view * plan->pairs + b) * plan->dim;
    work->c->pairs->kernels->read_double(plan->dim, plan->width, from, row);
    return row;
}

/* How the unit vector moves with its row: (v - (v . u) u) / |z|. */
static void move_row(const rows *work, size_t view, size_t b, size_t worker)
{
    const mio__pairs *pairs = work->c->pairs;
    const size_t width = pairs->plan.width, edge = pairs->plan.edge, slot = mio__pairs_slot(pairs, view, b);
    const double *unit = (const double *)pairs->unit + slot * width;
    double *row = read_direction(work, view, b, worker);
    const double along = pairs->kernels->dot(width, row, unit);
    for (size_t k = 0; k < width; k++)
        row[k] = (row[k] - along * unit[k]) * pairs->inverse[slot] * pairs->scale[slot];
    pairs->kernels->store_wide(width, row, work->c->moved + slot * width,
                               work->c->transposed + slot / edge * edge * width + slot % edge, edge);
}

static void move_chunk(void *argument, size_t chunk, size_t worker)
{
    const rows *work = argument;
    const mio__pairs *pairs = work->c->pairs;
    const size_t width = pairs->plan.width;
    size_t start, end;
    mio__pairs_chunk(pairs, chunk, &start, &end);
    for (size_t b = start; b < end; b++) {
        const size_t first = mio__pairs_slot(pairs, 0, b) * width, second = mio__pairs_slot(pairs, 1, b) * width;
        const double *unit = pairs->unit, *moved = work->c->moved;
        move_row(work, 0, b, worker);
        move_row(work, 1, b, worker);
        work->c->cosine[b].slope = pairs->kernels->dot(width, moved + first, unit + second) +
                                   pairs->kernels->dot(width, unit + first, moved + second);
    }
}

/* The slope of (g - (g . u) u) / |z|, with the positive's part of g and g' added. */
static void write_row(const rows *work, size_t view, size_t b, size_t worker)
{
    const mio__curvature *c = work->c;
    const mio__pairs *pairs = c->pairs;
    const mio__pair_kernels *kernels = pairs->kernels;
    const size_t width = pairs->plan.width, dim = pairs->plan.dim, slot = mio__pairs_slot(pairs, view, b);
    const size_t own = slot * width, positive = mio__pairs_slot(pairs, 1 - view, b) * width;
    const double *unit = pairs->unit, *u = unit + own, *w = c->moved + own,
                 *row = read_direction(work, view, b, worker);
    const mio__dual force = mio__dual_add(c->forces.attraction[b], (mio__dual){c->forces.l2, 0});
    double *g = mio__pairs_worker_row(pairs, worker, 1), *bent = mio__pairs_worker_row(pairs, worker, 2);
    kernels->combine_wide(width, 1, (const double *)pairs->gradient + own, force.value, unit + positive, g);
    kernels->combine_wide(width, 1, c->bent + own, force.slope, unit + positive, bent);
    kernels->combine_wide(width, 1, bent, force.value, c->moved + positive, bent);
    const double along = kernels->dot(width, g, u), inverse = pairs->inverse[slot], scale = pairs->scale[slot];
    const double radial = kernels->dot(width, row, u) * inverse * scale;
    const double across = kernels->dot(width, bent, u) + kernels->dot(width, g, w);
    double *to = work->product + (view * pairs->plan.pairs + b) * dim;
    for (size_t k = 0; k < dim; k++)
        to[k] = (bent[k] - across * u[k] - along * w[k] - radial * (g[k] - along * u[k])) * inverse * scale;
}

static void write_chunk(void *argument, size_t chunk, size_t worker)
{
    const rows *work = argument;
    size_t start, end;
    mio__pairs_chunk(work->c->pairs, chunk, &start, &end);
    for (size_t b = start; b < end; b++)
        for (size_t view = 0; view < 2; view++)
            write_row(work, view, b, worker);
}

void mio__curvature_apply(mio__curvature *c, const double *direction, double *product)
{
    const size_t slots = 2 * c->pairs->plan.slots_per_view;
    rows work = {c, direction, product};
    mio__pairs_by_chunk(c->pairs, move_chunk, &work);
    for (size_t t = 0; t < MIO__PAIR_TERMS; t++)
        for (size_t slot = 0; slot < slots; slot++)
            c->log_sum[t][slot].slope = 0;
    if (c->forces.term[0].logistic == 0)
        for (mio__pair_choice choice = MIO__PAIR_ALL; choice <= MIO__PAIR_OTHER_CLASS; choice++)
            walk(c, choice, 1, visit_log_sums);
    c->loss->kind->bend(c->loss, &c->forces);
    memset(c->bent, 0, slots * c->pairs->plan.width * sizeof *c->bent);
    for (mio__pair_choice choice = MIO__PAIR_ALL; choice <= MIO__PAIR_OTHER_CLASS; choice++)
        walk(c, choice, 1, visit_forces);
    mio__pairs_by_chunk(c->pairs, write_chunk, &work);
}
