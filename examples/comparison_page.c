#include "comparison.h"
#include "page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- accuracies ---- */

static void write_accuracy(FILE *page, const char *name, double knn, double linear)
{
    fputs("<tr><td>", page);
    page_text(page, name);
    fprintf(page, "</td><td class=\"number\">%.2f %%</td><td class=\"number\">%.2f %%</td></tr>\n", 100 * knn,
            100 * linear);
}

static void write_accuracies(FILE *page, size_t count, const comparison *losses, double knn, double linear)
{
    fputs("<h2>Accuracy on the test images</h2>\n<table><tr><th>trained with</th><th class=\"number\">k-NN (k 200, T "
          "0.1)</th>"
          "<th class=\"number\">linear classifier</th></tr>\n",
          page);
    write_accuracy(page, "nothing yet", knn, linear);
    for (size_t i = 0; i < count; i++)
        write_accuracy(page, losses[i].loss, losses[i].knn, losses[i].linear);
    fputs("</table>\n", page);
}

/* ---- curves ---- */

typedef struct curve {
    const char *title, *y_label;
    double (*of)(const comparison_point *);
} curve;

static double positive_of(const comparison_point *p)
{
    return p->positive_pairs;
}

static double negative_of(const comparison_point *p)
{
    return p->negative_pairs;
}

static double info_nce_of(const comparison_point *p)
{
    return p->info_nce;
}

static double alignment_of(const comparison_point *p)
{
    return p->alignment;
}

static double uniformity_of(const comparison_point *p)
{
    return p->uniformity;
}

static void draw_curve(FILE *page, const curve *what, size_t count, const comparison *losses)
{
    double *x = allocate(count, COMPARISON_POINTS * sizeof *x), *y = allocate(count, COMPARISON_POINTS * sizeof *y);
    page_series *series = allocate(count, sizeof *series);
    for (size_t i = 0; i < count; i++) {
        double *own_x = x + i * COMPARISON_POINTS, *own_y = y + i * COMPARISON_POINTS;
        for (size_t k = 0; k < losses[i].point_count; k++) {
            own_x[k] = losses[i].points[k].step;
            own_y[k] = what->of(&losses[i].points[k]);
        }
        series[i] = (page_series){NULL, losses[i].point_count, own_x, own_y};
    }
    fputs("<div>", page);
    page_chart(page, what->title, "step", what->y_label, count, series);
    fputs("</div>\n", page);
    free(series);
    free(y);
    free(x);
}

static void write_legend(FILE *page, size_t count, const comparison *losses)
{
    const char **names = allocate(count, sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = losses[i].loss;
    page_legend(page, count, names);
    free(names);
}

static void write_curves(FILE *page, size_t count, const comparison *losses)
{
    static const curve curves[] = {
        {"Jensen-Shannon: positive pairs", "nats", positive_of},
        {"Jensen-Shannon: negative pairs", "nats", negative_of},
        {"InfoNCE", "nats", info_nce_of},
        {"Alignment (0: views agree)", "mean squared distance", alignment_of},
        {"Uniformity (lower: spread wider)", "log of mean potential", uniformity_of},
    };
    fputs("<h2>Along training</h2>\n<p>Taken from one batch of views of test images, the same for all, with one critic "
          "for all: "
          "cosine / 0.5. The Jensen-Shannon estimate of mutual information is the sum of its two parts, one from pairs "
          "of views of "
          "the same image, one from pairs of different images, each at most ln 2.</p>\n",
          page);
    write_legend(page, count, losses);
    fputs("<div class=\"grid\">\n", page);
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
        draw_curve(page, &curves[i], count, losses);
    fputs("</div>\n", page);
}

/* ---- spectra ---- */

static double mean_of(const comparison_spectrum *s)
{
    double mean = 0;
    for (size_t i = 0; i < s->count; i++)
        mean += s->shares[i] * s->values[i];
    return mean;
}

static double extreme_of(const comparison_spectrum *s, double sign)
{
    double extreme = -INFINITY;
    for (size_t i = 0; i < s->count; i++)
        extreme = fmax(extreme, sign * s->values[i]);
    return sign * extreme;
}

static void write_spectrum_row(FILE *page, const char *loss, const comparison_spectrum spectra[2])
{
    fputs("<tr><td>", page);
    page_text(page, loss);
    fputs("</td>", page);
    for (size_t i = 0; i < 2; i++)
        fprintf(page, "<td class=\"number\">%.3g</td><td class=\"number\">%.3g</td><td class=\"number\">%.3g</td>",
                extreme_of(&spectra[i], -1), mean_of(&spectra[i]), extreme_of(&spectra[i], 1));
    fputs("</tr>\n", page);
}

enum { GRID = 240 };

/* log10 of the density at GRID places: each eigenvalue widened to a bell. */
static void density_of(const comparison_spectrum *s, const double *x, double *y)
{
    const double width = 1.5 * (x[1] - x[0]);
    for (size_t g = 0; g < GRID; g++) {
        double sum = 0;
        for (size_t i = 0; i < s->count; i++) {
            const double away = (x[g] - s->values[i]) / width;
            sum += s->shares[i] * exp(-0.5 * away * away);
        }
        y[g] = fmax(log10(sum), -7);
    }
}

static void draw_densities(FILE *page, const char *loss, const comparison_spectrum spectra[2])
{
    double x[GRID], y[2][GRID];
    const double low = fmin(extreme_of(&spectra[0], -1), extreme_of(&spectra[1], -1));
    const double high = fmax(extreme_of(&spectra[0], 1), extreme_of(&spectra[1], 1));
    for (size_t g = 0; g < GRID; g++)
        x[g] = low + (high - low) * ((double)g / (GRID - 1) * 1.06 - 0.03);
    density_of(&spectra[0], x, y[0]);
    density_of(&spectra[1], x, y[1]);
    const page_series series[2] = {{"before", GRID, x, y[0]}, {"after", GRID, x, y[1]}};
    fputs("<div>", page);
    page_chart(page, loss, "eigenvalue", "log10 of density", 2, series);
    fputs("</div>\n", page);
}

/* The few eigenvalues of a spectrum by the weights, each with its share, on an axis that shows 10 beside 1000. */
static void draw_shares(FILE *page, const char *loss, const comparison_spectrum spectra[2])
{
    double x[2][COMPARISON_ATOMS], y[2][COMPARISON_ATOMS];
    for (size_t s = 0; s < 2; s++)
        for (size_t i = 0; i < spectra[s].count; i++) {
            x[s][i] = copysign(log10(1 + fabs(spectra[s].values[i])), spectra[s].values[i]);
            y[s][i] = log10(spectra[s].shares[i]);
        }
    const page_series series[2] = {{"before", spectra[0].count, x[0], y[0]}, {"after", spectra[1].count, x[1], y[1]}};
    fputs("<div>", page);
    page_chart(page, loss, "eigenvalue e, as its sign x log10(1 + |e|)", "log10 of share", 2, series);
    fputs("</div>\n", page);
}

/* by_rows or by_weights of all losses. */
static void write_spectra(FILE *page, const char *text, size_t count, const comparison *losses, bool by_weights)
{
    size_t known = 0;
    for (size_t i = 0; i < count; i++)
        known += (by_weights ? losses[i].by_weights : losses[i].by_rows)[1].count > 0;
    if (!known)
        return;
    fputs(text, page);
    fputs("<table><tr><th>loss</th><th class=\"number\">before: least</th><th class=\"number\">mean</th>"
          "<th class=\"number\">largest</th><th class=\"number\">after: least</th><th class=\"number\">mean</th>"
          "<th class=\"number\">largest</th></tr>\n",
          page);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < count; i++) {
            const comparison_spectrum *spectra = by_weights ? losses[i].by_weights : losses[i].by_rows;
            if (spectra[1].count && !round)
                write_spectrum_row(page, losses[i].loss, spectra);
            else if (spectra[1].count)
                (by_weights ? draw_shares : draw_densities)(page, losses[i].loss, spectra);
        }
        fputs(round ? "</div>\n" : "</table>\n<div class=\"grid\">\n", page);
    }
}

void comparison_write_page(const char *path, const char *title, size_t count, const comparison *losses,
                           double untrained_knn, double untrained_linear)
{
    FILE *page = page_begin(path, title);
    fputs("<p>The same encoder, from the same start, on the same batches in the same order.</p>\n", page);
    write_accuracies(page, count, losses, untrained_knn, untrained_linear);
    write_curves(page, count, losses);
    write_spectra(page,
                  "<h2>Curvature by the projections</h2>\n<p>The spectrum of each loss's Hessian by the rows that it "
                  "is given, in "
                  "closed form, before and after training.</p>\n",
                  count, losses, false);
    write_spectra(page,
                  "<h2>Curvature by the weights</h2>\n<p>The spectrum of the training loss's Hessian by all weights of "
                  "the encoder, "
                  "from differences of gradients of one batch: what the optimizer meets.</p>\n",
                  count, losses, true);
    page_end(page, path);
}
