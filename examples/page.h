/* Writes a self-contained HTML page: text, line charts and scatter plots as inline SVG, images as PNG data. */
#ifndef EXAMPLES_PAGE_H
#define EXAMPLES_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** One line of a chart; points whose y is not finite are left out. Without names the chart has no legend. */
typedef struct page_series {
    const char *name;
    size_t count;
    const double *x, *y;
} page_series;

/** Opens the page and writes its head; leaves if it cannot. */
FILE *page_begin(const char *path, const char *title);
/** Ends the page and closes the file; leaves if anything could not be written. */
void page_end(FILE *page, const char *path);

/** Writes text with &, < and > escaped. */
void page_text(FILE *page, const char *text);
/** Writes the colour of a class or series, the same everywhere on the page. */
void page_colour(FILE *page, size_t index);

/** A chart of lines over one x axis, with a legend where there is more than one. */
void page_chart(FILE *page, const char *title, const char *x_label, const char *y_label, size_t count,
                const page_series *series);
/** A scatter plot of count points (x, y), coloured by label; labels may be NULL. */
void page_scatter(FILE *page, const char *title, const char *x_label, const char *y_label, size_t count,
                  const float *points, const int32_t *labels, size_t classes);
/** Names of the classes beside their colours. */
void page_legend(FILE *page, size_t classes, const char *const *names);

/** An image of height x width x channels (1 or 3) bytes, with an attribute list such as class="hit" title="coat". */
void page_image(FILE *page, size_t height, size_t width, size_t channels, const uint8_t *pixels,
                const char *attributes);

#endif
