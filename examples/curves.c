#include "curves.h"
#include "common.h"
#include "page.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 250 };

/* Which charts there are; two numbers that are compared share one. */
typedef struct chart {
    const char *title, *y_label;
    const char *names[2], *legend[2]; /* as in the file; as shown */
} chart;

static const chart loss_chart = {"Loss", "loss", {"loss"}, {"loss"}};
static const chart monitor_charts[] = {
    {"Cosine of pairs", "mean cosine", {"positive_similarity", "negative_similarity"}, {"positive", "negative"}},
    {"Mutual information (Jensen-Shannon)", "nats", {"mutual_information"}, {"estimate"}},
    {"Pairs told apart", "balanced accuracy", {"pair_accuracy"}, {"accuracy"}},
    {"Alignment", "mean squared distance", {"alignment"}, {"alignment"}},
    {"Uniformity", "log of mean potential", {"uniformity"}, {"uniformity"}},
    {"Effective rank of projections", "dimensions", {"effective_rank"}, {"rank"}},
    {"Deviation per channel (0: collapse)", "deviation", {"channel_deviation"}, {"deviation"}},
    {"Gradient", "norm", {"gradient_norm"}, {"norm"}},
    {"Learning rate", "rate", {"learning_rate"}, {"rate"}},
};

/* The file as lines; each ends with 0. */
typedef struct lines {
    char *text;
    char **starts;
    size_t count;
} lines;

static lines read_lines(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file || fseek(file, 0, SEEK_END))
        leave(EXIT_FAILED, "cannot read '%s': %s", path, strerror(errno));
    const long size = ftell(file);
    rewind(file);
    lines all = {.text = allocate((size_t)size + 1, 1)};
    if (fread(all.text, 1, (size_t)size, file) != (size_t)size)
        leave(EXIT_FAILED, "cannot read '%s'", path);
    fclose(file);
    for (const char *at = all.text; (at = strchr(at, '\n')); at++)
        all.count++;
    all.starts = allocate(all.count, sizeof *all.starts);
    char *at = all.text;
    for (size_t i = 0; i < all.count; i++) {
        all.starts[i] = at;
        at = strchr(at, '\n');
        *at++ = 0;
    }
    if (!all.count)
        leave(EXIT_FAILED, "'%s' holds no step", path);
    return all;
}

/* Means of the named number over at most POINTS runs of lines; x: the last step of each. Lines without it do not
   count. */
static size_t average(const lines *all, const char *name, double *x, double *y)
{
    const size_t points = all->count < POINTS ? all->count : POINTS;
    for (size_t p = 0; p < points; p++) {
        double sum = 0;
        size_t taken = 0;
        const size_t end = all->count * (p + 1) / points;
        for (size_t i = all->count * p / points; i < end; i++) {
            const double found = json_number_in(all->starts[i], name);
            if (isfinite(found))
                sum += found, taken++;
        }
        x[p] = json_number_in(all->starts[end - 1], "step");
        y[p] = taken ? sum / (double)taken : NAN;
    }
    return points;
}

static void draw(FILE *page, const lines *all, const chart *c)
{
    double x[2][POINTS], y[2][POINTS];
    page_series series[2];
    size_t count = 0;
    for (; count < 2 && c->names[count]; count++) {
        const size_t points = average(all, c->names[count], x[count], y[count]);
        series[count] = (page_series){c->legend[count], points, x[count], y[count]};
    }
    page_chart(page, c->title, "step", c->y_label, count, series);
}

void curves_write(FILE *page, const char *metrics_path)
{
    const lines all = read_lines(metrics_path);
    fputs("<h2>Training</h2>\n<p>The loss falls as the two views of an image agree and different images part.</p>\n",
          page);
    draw(page, &all, &loss_chart);
    fputs("<h2>Monitors</h2>\n<p>Taken on the projections that the loss sees.</p>\n<div class=\"grid\">\n", page);
    for (size_t i = 0; i < sizeof monitor_charts / sizeof *monitor_charts; i++) {
        fputs("<div>", page);
        draw(page, &all, &monitor_charts[i]);
        fputs("</div>\n", page);
    }
    fputs("</div>\n", page);
    free(all.starts);
    free(all.text);
}
