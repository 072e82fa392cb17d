#include "evaluate/lbfgs.h"

#include <math.h>
#include <string.h>

enum { HISTORY = 10, SEARCH_LIMIT = 25 };

static const double sufficient = 1e-4, curvature = 0.9; /* the Wolfe conditions' constants */

typedef struct lbfgs {
    size_t count;
    mio__objective objective;
    void *user;
    double *x, *gradient; /* where we are */
    double *direction;
    double *trial, *trial_gradient; /* where the line search looked last */
    double trial_value;
    double *steps[HISTORY], *changes[HISTORY], curvatures[HISTORY]; /* newest last: s, y and s.y */
    size_t held;
    size_t evaluations;
} lbfgs;

/* A point of the line search: how far, the value there and the slope along the direction. */
typedef struct point {
    double at, value, slope;
} point;

static double dot(size_t count, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static double largest(size_t count, const double *a)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        if (fabs(a[i]) > most)
            most = fabs(a[i]);
    return most;
}

static void add_scaled(size_t count, double scale, const double *a, double *to)
{
    for (size_t i = 0; i < count; i++)
        to[i] += scale * a[i];
}

/* direction = -H gradient by the two-loop recursion. */
static void make_direction(lbfgs *l)
{
    double along[HISTORY];
    for (size_t i = 0; i < l->count; i++)
        l->direction[i] = -l->gradient[i];
    for (size_t h = l->held; h-- > 0;) {
        along[h] = dot(l->count, l->steps[h], l->direction) / l->curvatures[h];
        add_scaled(l->count, -along[h], l->changes[h], l->direction);
    }
    if (l->held) {
        const double *newest = l->changes[l->held - 1];
        const double scale = l->curvatures[l->held - 1] / dot(l->count, newest, newest);
        for (size_t i = 0; i < l->count; i++)
            l->direction[i] *= scale;
    }
    for (size_t h = 0; h < l->held; h++) {
        const double back = dot(l->count, l->changes[h], l->direction) / l->curvatures[h];
        add_scaled(l->count, along[h] - back, l->steps[h], l->direction);
    }
}

static point look(lbfgs *l, double at)
{
    for (size_t i = 0; i < l->count; i++)
        l->trial[i] = l->x[i] + at * l->direction[i];
    l->trial_value = l->objective(l->user, l->trial, l->trial_gradient);
    l->evaluations++;
    return (point){at, l->trial_value, dot(l->count, l->trial_gradient, l->direction)};
}

/* Minimum of the cubic through two points and their slopes, kept off the ends of the interval. */
static double between(point a, point b)
{
    const double span = b.at - a.at;
    const double u = a.slope + b.slope - 3 * (b.value - a.value) / span;
    const double square = u * u - a.slope * b.slope;
    double at = a.at + span / 2;
    if (square >= 0) {
        const double root = (span > 0 ? 1 : -1) * sqrt(square);
        const double cubic = b.at - span * (b.slope + root - u) / (b.slope - a.slope + 2 * root);
        const double low = fmin(a.at, b.at) + 0.1 * fabs(span), high = fmax(a.at, b.at) - 0.1 * fabs(span);
        if (isfinite(cubic))
            at = fmin(fmax(cubic, low), high);
    }
    return at;
}

/* Rises of this size are rounding of the value, not of the function. */
static double value_noise(const point *start)
{
    return 1e-9 * fabs(start->value);
}

static int falls_enough(const point *start, const point *p)
{
    return isfinite(p->value) && p->value <= start->value + sufficient * p->at * start->slope + value_noise(start);
}

/* Narrows [low, high] to a Wolfe point; returns 1 with trial standing there. */
static int zoom(lbfgs *l, const point *start, point low, point high, int looks)
{
    while (looks-- > 0 && fabs(high.at - low.at) > 1e-14 * fabs(low.at)) {
        const point p = look(l, isfinite(high.value) ? between(low, high) : (low.at + high.at) / 2);
        if (!falls_enough(start, &p) || p.value > low.value + value_noise(start)) {
            high = p;
            continue;
        }
        if (fabs(p.slope) <= -curvature * start->slope)
            return 1;
        if (p.slope * (high.at - low.at) >= 0)
            high = low;
        low = p;
    }
    return 0;
}

/* A step along the direction that meets the strong Wolfe conditions; returns 1 with trial standing there. */
static int line_search(lbfgs *l, double value, double first)
{
    const point start = {0, value, dot(l->count, l->gradient, l->direction)};
    if (start.slope >= 0)
        return 0;
    point before = start;
    for (int looks = 0; looks < SEARCH_LIMIT; looks++) {
        const point p = look(l, looks ? 2 * before.at : first);
        if (!falls_enough(&start, &p) || (looks && p.value > before.value + value_noise(&start)))
            return zoom(l, &start, before, p, SEARCH_LIMIT - looks);
        if (fabs(p.slope) <= -curvature * start.slope)
            return 1;
        if (p.slope >= 0)
            return zoom(l, &start, p, before, SEARCH_LIMIT - looks);
        before = p;
    }
    return 0;
}

/* Keeps step and change of gradient from x to trial, unless rounding spoiled their curvature, and goes there. */
static void advance(lbfgs *l)
{
    if (l->held == HISTORY) {
        double *step = l->steps[0], *change = l->changes[0];
        memmove(l->steps, l->steps + 1, (HISTORY - 1) * sizeof *l->steps);
        memmove(l->changes, l->changes + 1, (HISTORY - 1) * sizeof *l->changes);
        memmove(l->curvatures, l->curvatures + 1, (HISTORY - 1) * sizeof *l->curvatures);
        l->steps[HISTORY - 1] = step;
        l->changes[HISTORY - 1] = change;
        l->held--;
    }
    double *step = l->steps[l->held], *change = l->changes[l->held];
    for (size_t i = 0; i < l->count; i++) {
        step[i] = l->trial[i] - l->x[i];
        change[i] = l->trial_gradient[i] - l->gradient[i];
    }
    const double product = dot(l->count, step, change);
    if (product > 1e-12 * dot(l->count, change, change))
        l->curvatures[l->held++] = product;
    memcpy(l->x, l->trial, l->count * sizeof *l->x);
    memcpy(l->gradient, l->trial_gradient, l->count * sizeof *l->gradient);
}

static void minimise(lbfgs *l, size_t iterations, double tolerance, mio__minimum *minimum)
{
    double value = l->objective(l->user, l->x, l->gradient);
    size_t done = 0;
    l->evaluations = 1;
    while (done < iterations && largest(l->count, l->gradient) > tolerance) {
        make_direction(l);
        const double first = l->held ? 1 : fmin(1, 1 / sqrt(dot(l->count, l->gradient, l->gradient)));
        if (!line_search(l, value, first)) {
            if (!l->held)
                break;
            l->held = 0; /* once more along the plain gradient */
            continue;
        }
        advance(l);
        value = l->trial_value;
        done++;
    }
    if (minimum)
        *minimum = (mio__minimum){value, largest(l->count, l->gradient), done, l->evaluations};
}

mio_status mio__lbfgs(mio_context *context, size_t count, double *x, mio__objective objective, void *user,
                      size_t iterations, double tolerance, mio__minimum *minimum)
{
    const size_t arrays = 4 + 2 * HISTORY;
    double *memory = mio__alloc_zeroed(context, count, arrays * sizeof(double));
    if (!memory)
        return MIO_ERROR_MEMORY;
    lbfgs l = {.count = count, .objective = objective, .user = user, .x = x};
    l.gradient = memory;
    l.direction = memory + count;
    l.trial = memory + 2 * count;
    l.trial_gradient = memory + 3 * count;
    for (size_t h = 0; h < HISTORY; h++) {
        l.steps[h] = memory + (4 + h) * count;
        l.changes[h] = memory + (4 + HISTORY + h) * count;
    }
    minimise(&l, iterations, tolerance, minimum);
    mio__free(context, memory);
    return MIO_OK;
}
