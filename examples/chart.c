/* The plots of page.h. Every plot is an SVG of WIDTH x HEIGHT units with room for ticks and labels around a frame. */
#include "common.h"
#include "page.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 500, LEFT = 58, RIGHT = 22, TOP = 28, BOTTOM = 42 };

/* What the frame shows: [x0, x1] by [y0, y1], drawn HEIGHT units high. */
typedef struct frame {
    double x0, x1, y0, y1;
    int height;
} frame;

static double place_x(const frame *f, double x)
{
    return LEFT + (x - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const frame *f, double y)
{
    return f->height - BOTTOM - (y - f->y0) / (f->y1 - f->y0) * (f->height - TOP - BOTTOM);
}

/* A step of 1, 2 or 5 times a power of ten that cuts the range into about five. */
static double tick_step(double range)
{
    const double power = pow(10, floor(log10(range / 5))), rest = range / 5 / power;
    return power * (rest < 1.5 ? 1 : rest < 3.5 ? 2 : rest < 7.5 ? 5 : 10);
}

/* Makes room around the values, also where all are equal. */
static void widen(double *low, double *high, double part)
{
    const double range = *high > *low ? *high - *low : fabs(*high) > 0 ? fabs(*high) : 1;
    *low -= part * range;
    *high += part * range;
}

static void draw_ticks(FILE *page, const frame *f)
{
    const double step_x = tick_step(f->x1 - f->x0), step_y = tick_step(f->y1 - f->y0);
    const int bottom = f->height - BOTTOM;
    /* + 0 makes of -0, which would be printed so, 0. */
    for (double i = ceil(f->y0 / step_y) + 0; i * step_y <= f->y1; i++) {
        const double y = place_y(f, i * step_y);
        fprintf(page, "<path d=\"M%d %.1fH%d\" stroke=\"#e8e8e8\"/>", LEFT, y, WIDTH - RIGHT);
        fprintf(page, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>", LEFT - 6, y + 4, i * step_y);
    }
    for (double i = ceil(f->x0 / step_x) + 0; i * step_x <= f->x1; i++) {
        const double x = place_x(f, i * step_x);
        fprintf(page, "<path d=\"M%.1f %dv4\" stroke=\"#999\"/>", x, bottom);
        fprintf(page, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>", x, bottom + 17, i * step_x);
    }
    fprintf(page, "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"#999\"/>\n", LEFT, TOP, bottom, WIDTH - RIGHT);
}

static void begin_plot(FILE *page, const frame *f, const char *title, const char *x_label, const char *y_label)
{
    const int middle_x = (LEFT + WIDTH - RIGHT) / 2, middle_y = (TOP + f->height - BOTTOM) / 2;
    fprintf(page, "<svg viewBox=\"0 0 %d %d\" role=\"img\">\n<text class=\"title\" x=\"%d\" y=\"16\">", WIDTH,
            f->height, LEFT);
    page_text(page, title);
    fprintf(page, "</text><text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", middle_x, f->height - 6);
    page_text(page, x_label);
    fprintf(page, "</text><text transform=\"translate(13 %d) rotate(-90)\" text-anchor=\"middle\">", middle_y);
    page_text(page, y_label);
    fputs("</text>\n", page);
    draw_ticks(page, f);
}

/* The names of the series in their colours, to the right of the title. */
static void draw_legend(FILE *page, size_t count, const page_series *series)
{
    fprintf(page, "<text x=\"%d\" y=\"16\" text-anchor=\"end\">", WIDTH - RIGHT);
    for (size_t s = 0; s < count; s++) {
        fputs("<tspan font-weight=\"600\" style=\"fill:", page);
        page_colour(page, s);
        fputs(s ? "\">&#160; &#8212; " : "\">&#8212; ", page);
        page_text(page, series[s].name);
        fputs("</tspan>", page);
    }
    fputs("</text>\n", page);
}

static void draw_line(FILE *page, const frame *f, const page_series *s, size_t colour)
{
    const char *command = "M";
    fputs("<path fill=\"none\" stroke-width=\"1.6\" stroke-linejoin=\"round\" stroke=\"", page);
    page_colour(page, colour);
    fputs("\" d=\"", page);
    for (size_t i = 0; i < s->count; i++)
        if (isfinite(s->y[i])) {
            fprintf(page, "%s%.1f %.1f", command, place_x(f, s->x[i]), place_y(f, s->y[i]));
            command = "L";
        }
    fputs("\"/>\n", page);
}

void page_chart(FILE *page, const char *title, const char *x_label, const char *y_label, size_t count,
                const page_series *series)
{
    frame f = {INFINITY, -INFINITY, INFINITY, -INFINITY, 280};
    for (size_t s = 0; s < count; s++)
        for (size_t i = 0; i < series[s].count; i++)
            if (isfinite(series[s].y[i])) {
                f.x0 = fmin(f.x0, series[s].x[i]), f.x1 = fmax(f.x1, series[s].x[i]);
                f.y0 = fmin(f.y0, series[s].y[i]), f.y1 = fmax(f.y1, series[s].y[i]);
            }
    if (!(f.x0 <= f.x1))
        return; /* no point at all */
    if (f.x0 == f.x1)
        widen(&f.x0, &f.x1, 0.5);
    widen(&f.y0, &f.y1, 0.06);
    begin_plot(page, &f, title, x_label, y_label);
    for (size_t s = 0; s < count; s++)
        draw_line(page, &f, &series[s], s);
    if (count > 1 && series[0].name)
        draw_legend(page, count, series);
    fputs("</svg>\n", page);
}

void page_scatter(FILE *page, const char *title, const char *x_label, const char *y_label, size_t count,
                  const float *points, const int32_t *labels, size_t classes)
{
    frame f = {INFINITY, -INFINITY, INFINITY, -INFINITY, 480};
    for (size_t i = 0; i < count; i++) {
        f.x0 = fmin(f.x0, points[2 * i]), f.x1 = fmax(f.x1, points[2 * i]);
        f.y0 = fmin(f.y0, points[2 * i + 1]), f.y1 = fmax(f.y1, points[2 * i + 1]);
    }
    widen(&f.x0, &f.x1, 0.03);
    widen(&f.y0, &f.y1, 0.03);
    begin_plot(page, &f, title, x_label, y_label);
    /* Dots are strokes of no length with round ends: the shortest way to write thousands. */
    for (size_t class = 0; class < (labels ? classes : 1); class ++) {
        fputs("<path stroke-width=\"4\" stroke-linecap=\"round\" stroke-opacity=\"0.65\" stroke=\"", page);
        page_colour(page, class);
        fputs("\" d=\"", page);
        for (size_t i = 0; i < count; i++)
            if (!labels || labels[i] == (int32_t) class)
                fprintf(page, "M%.1f %.1fh0", place_x(&f, points[2 * i]), place_y(&f, points[2 * i + 1]));
        fputs("\"/>\n", page);
    }
    fputs("</svg>\n", page);
}
