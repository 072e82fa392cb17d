#include "train/monitor.h"

#include "core/eigenvalues.h"
#include "loss/loss.h"

#include <math.h>
#include <string.h>

/* What one row finds in its pairs with the rows after it. */
typedef struct row_sums {
    double positive, positive_right, positive_distance, positive_softplus;
    double negative, negative_right, negative_softplus;
    double gaussian; /* of view 1's pairs */
} row_sums;

/* One measurement: the work space laid out for its size. */
typedef struct measurement {
    size_t pairs, dim, order; /* order: of the Gram matrix, min(pairs, dim) */
    const float *z[2];
    double rate[2];  /* 1 / temperature, of positives and negatives */
    double *units;   /* 2 pairs x dim: view 1, view 2 */
    double *squares; /* 2 pairs: 1, or 0 for a row of zeros */
    row_sums *sums;  /* 2 pairs */
    double *gram;    /* order x order */
    double *values, *scratch, *deviations;
} measurement;

static size_t layout(measurement *m, char *memory)
{
    const size_t rows = 2 * m->pairs;
    size_t used = 0;
    const struct {
        double **place;
        size_t count;
    } arrays[] = {{&m->units, rows * m->dim},
                  {&m->squares, rows},
                  {&m->gram, m->order * m->order},
                  {&m->values, m->order},
                  {&m->scratch, mio__eigenvalues_scratch(m->order)},
                  {&m->deviations, m->dim}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        if (memory)
            *arrays[i].place = (double *)(memory + used);
        used += arrays[i].count * sizeof(double);
    }
    if (memory)
        m->sums = (row_sums *)(memory + used);
    return used + rows * sizeof(row_sums);
}

static measurement measurement_of(size_t pairs, size_t dim)
{
    measurement m = {.pairs = pairs < MIO__MONITOR_PAIRS ? pairs : MIO__MONITOR_PAIRS, .dim = dim};
    m.order = m.pairs < dim ? m.pairs : dim;
    return m;
}

mio_status mio__monitor_reserve(mio__monitor *monitor, mio_context *context, size_t pairs, size_t dim)
{
    measurement m = measurement_of(pairs, dim);
    monitor->context = context;
    return mio__reserve(context, &monitor->memory, &monitor->capacity, layout(&m, NULL));
}

void mio__monitor_free(mio__monitor *monitor)
{
    if (monitor->context)
        mio__free(monitor->context, monitor->memory);
    *monitor = (mio__monitor){0};
}

/* Four partial sums, so that the compiler may use vectors without changing the order of anything. */
static double dot(size_t count, const double *a, const double *b)
{
    double sums[4] = {0}, sum = 0;
    size_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (size_t j = 0; j < 4; j++)
            sums[j] += a[i + j] * b[i + j];
    for (; i < count; i++)
        sum += a[i] * b[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]) + sum;
}

static void make_unit(void *argument, size_t row, size_t worker)
{
    (void)worker;
    measurement *m = argument;
    const float *z = m->z[row / m->pairs] + row % m->pairs * m->dim;
    double *unit = m->units + row * m->dim, square = 0;
    for (size_t i = 0; i < m->dim; i++)
        square += (double)z[i] * z[i];
    const double scale = square > 0 ? 1 / sqrt(square) : 0;
    for (size_t i = 0; i < m->dim; i++)
        unit[i] = z[i] * scale;
    m->squares[row] = square > 0;
}

static void sum_row(void *argument, size_t row, size_t worker)
{
    (void)worker;
    measurement *m = argument;
    row_sums sums = {0};
    for (size_t other = row + 1; other < 2 * m->pairs; other++) {
        const double s = dot(m->dim, m->units + row * m->dim, m->units + other * m->dim);
        const double distance = fmax(0, m->squares[row] + m->squares[other] - 2 * s);
        if (other == row + m->pairs) {
            sums.positive += s;
            sums.positive_right += s > 0;
            sums.positive_distance += distance;
            sums.positive_softplus += mio__softplus(-s * m->rate[0]);
        } else {
            sums.negative += s;
            sums.negative_right += s <= 0;
            sums.negative_softplus += mio__softplus(s * m->rate[1]);
        }
        if (other < m->pairs)
            sums.gaussian += exp(-2 * distance);
    }
    m->sums[row] = sums;
}

static void gram_row(void *argument, size_t row, size_t worker)
{
    (void)worker;
    measurement *m = argument;
    if (m->order == m->pairs) { /* between rows */
        for (size_t other = 0; other < m->order; other++)
            m->gram[row * m->order + other] = dot(m->dim, m->units + row * m->dim, m->units + other * m->dim);
        return;
    }
    memset(m->gram + row * m->order, 0, m->order * sizeof *m->gram); /* between channels */
    for (size_t i = 0; i < m->pairs; i++) {
        const double *unit = m->units + i * m->dim;
        for (size_t other = 0; other < m->order; other++)
            m->gram[row * m->order + other] += unit[row] * unit[other];
    }
}

/* Deviation (n - 1) of one channel over view 1. */
static void channel_deviation(void *argument, size_t channel, size_t worker)
{
    (void)worker;
    measurement *m = argument;
    double mean = 0, square = 0;
    for (size_t i = 0; i < m->pairs; i++)
        mean += m->units[i * m->dim + channel];
    mean /= (double)m->pairs;
    for (size_t i = 0; i < m->pairs; i++) {
        const double centred = m->units[i * m->dim + channel] - mean;
        square += centred * centred;
    }
    m->deviations[channel] = sqrt(square / (double)(m->pairs - 1));
}

/* exp of the entropy of the singular values, which are the roots of the Gram matrix's eigenvalues. */
static double effective_rank(const measurement *m)
{
    double total = 0, entropy = 0;
    for (size_t i = 0; i < m->order; i++)
        total += sqrt(fmax(0, m->values[i]));
    for (size_t i = 0; i < m->order; i++) {
        const double share = total > 0 ? sqrt(fmax(0, m->values[i])) / total : 0;
        entropy -= share > 0 ? share * log(share) : 0;
    }
    return total > 0 ? exp(entropy) : 0;
}

static void combine(const measurement *m, mio_step_report *report)
{
    row_sums all = {0};
    for (size_t row = 0; row < 2 * m->pairs; row++) {
        const row_sums *sums = &m->sums[row];
        all.positive += sums->positive;
        all.positive_right += sums->positive_right;
        all.positive_distance += sums->positive_distance;
        all.positive_softplus += sums->positive_softplus;
        all.negative += sums->negative;
        all.negative_right += sums->negative_right;
        all.negative_softplus += sums->negative_softplus;
        all.gaussian += sums->gaussian;
    }
    const double pairs = (double)m->pairs, negatives = 2 * pairs * (pairs - 1), same_view = pairs * (pairs - 1) / 2;
    double deviations = 0;
    for (size_t i = 0; i < m->dim; i++)
        deviations += m->deviations[i];
    report->positive_similarity = all.positive / pairs;
    report->negative_similarity = all.negative / negatives;
    report->pair_accuracy = (all.positive_right / pairs + all.negative_right / negatives) / 2;
    report->alignment = all.positive_distance / pairs;
    report->uniformity = log(all.gaussian / same_view);
    report->channel_deviation = deviations / (double)m->dim;
    report->effective_rank = effective_rank(m);
    report->mutual_information = 2 * log(2) - all.positive_softplus / pairs - all.negative_softplus / negatives;
}

void mio__monitor_measure(mio__monitor *monitor, size_t pairs, size_t dim, const float *z1, const float *z2,
                          double positive_temperature, double negative_temperature, mio_step_report *report)
{
    mio_context *context = monitor->context;
    const size_t workers = mio__workers(context);
    measurement m = measurement_of(pairs, dim);
    m.z[0] = z1;
    m.z[1] = z2;
    m.rate[0] = mio__rate(positive_temperature);
    m.rate[1] = mio__rate(negative_temperature);
    layout(&m, monitor->memory);
    mio__parallel(context, workers, 2 * m.pairs, make_unit, &m);
    mio__parallel(context, workers, 2 * m.pairs, sum_row, &m);
    mio__parallel(context, workers, m.order, gram_row, &m);
    mio__parallel(context, workers, m.dim, channel_deviation, &m);
    mio__eigenvalues(m.order, m.gram, m.scratch, m.values);
    combine(&m, report);
}
