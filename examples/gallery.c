#include "gallery.h"
#include "page.h"
#include "pca.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is shown ---- */

/* From the list, else the dataset's, else "class N". */
static void name_classes(gallery *images, char *list)
{
    enum { SIZE = 32 };
    images->names = allocate(images->classes, sizeof *images->names);
    images->made_names = allocate(images->classes, SIZE);
    char *next = list ? strtok(list, ",") : NULL;
    for (size_t i = 0; i < images->classes; i++, next = next ? strtok(NULL, ",") : NULL) {
        char *made = images->made_names + i * SIZE;
        snprintf(made, SIZE, "class %zu", i);
        const char *known = next ? next : mio_dataset_class_name(images->dataset, i);
        images->names[i] = known ? known : made;
    }
}

static bool shows_class(const gallery *images, int32_t label)
{
    for (size_t q = 0; q < images->query_count; q++)
        if (images->labels[images->queries[q]] == label)
            return true;
    return false;
}

/* The first image of each class; without labels the first images. */
static void choose_queries(gallery *images)
{
    for (size_t i = 0; i < images->count && images->query_count < GALLERY_QUERIES; i++)
        if (!images->labels || !shows_class(images, images->labels[i]))
            images->queries[images->query_count++] = i;
    if (!images->labels)
        return;
    for (size_t a = 1; a < images->query_count; a++) /* in the order of the classes */
        for (size_t b = a; b && images->labels[images->queries[b]] < images->labels[images->queries[b - 1]]; b--) {
            const size_t swapped = images->queries[b];
            images->queries[b] = images->queries[b - 1];
            images->queries[b - 1] = swapped;
        }
}

gallery gallery_of(mio_context *context, const mio_dataset *dataset, char *class_list)
{
    gallery images = {.context = context, .dataset = dataset};
    images.count = mio_dataset_count(dataset);
    images.classes = mio_dataset_class_count(dataset);
    if (images.count <= GALLERY_NEIGHBOURS)
        leave(EXIT_FAILED, "%zu images: a report needs more than %d", images.count, GALLERY_NEIGHBOURS);
    if (images.classes) {
        images.labels = labels_of(dataset);
        name_classes(&images, class_list);
    }
    choose_queries(&images);
    return images;
}

void gallery_free(const gallery *images)
{
    free(images->labels);
    free(images->names);
    free(images->made_names);
}

/* ---- what an encoder sees ---- */

static size_t *search(const gallery *images, size_t dim, const float *features)
{
    enum { FOUND = GALLERY_NEIGHBOURS + 1 }; /* the query finds itself too */
    size_t found[GALLERY_QUERIES * FOUND], *neighbours = allocate(images->query_count * FOUND, sizeof *neighbours);
    float *rows = allocate(images->query_count, dim * sizeof *rows);
    mio_knn *knn;
    for (size_t q = 0; q < images->query_count; q++)
        memcpy(rows + q * dim, features + images->queries[q] * dim, dim * sizeof *rows);
    check(mio_knn_create(images->context, &knn));
    check(mio_knn_fit(knn, images->count, dim, features, NULL));
    check(mio_knn_search(knn, images->query_count, dim, rows, FOUND, found, NULL));
    for (size_t q = 0; q < images->query_count; q++)
        for (size_t i = 0, kept = 0; i < FOUND && kept < GALLERY_NEIGHBOURS; i++)
            if (found[q * FOUND + i] != images->queries[q])
                neighbours[q * GALLERY_NEIGHBOURS + kept++] = found[q * FOUND + i];
    mio_knn_release(knn);
    free(rows);
    return neighbours;
}

gallery_view gallery_look(const gallery *images, mio_encoder *encoder, const char *title)
{
    size_t dim;
    const size_t dots = images->count < GALLERY_DOTS ? images->count : GALLERY_DOTS;
    gallery_view view = {.title = title, .points = allocate(dots, 2 * sizeof(float))};
    float *features = features_of(encoder, images->dataset, &dim);
    pca_plane(dots, dim, features, view.points, view.shares);
    view.neighbours = search(images, dim, features);
    free(features);
    return view;
}

void gallery_view_free(const gallery_view *view)
{
    free(view->points);
    free(view->neighbours);
}

/* ---- the page ---- */

void gallery_write_planes(FILE *page, const gallery *images, const gallery_view views[2])
{
    const size_t dots = images->count < GALLERY_DOTS ? images->count : GALLERY_DOTS;
    fprintf(page,
            "<h2>Embeddings</h2>\n<p>Features of %zu test images, scaled to length 1, on their two principal "
            "directions. The encoder never saw a label; the colours are the true classes.</p>\n",
            dots);
    if (images->labels)
        page_legend(page, images->classes, images->names);
    fputs("<div class=\"grid\">\n", page);
    for (int v = 0; v < 2; v++) {
        char x_label[64], y_label[64];
        snprintf(x_label, sizeof x_label, "first direction (%.0f %% of the variance)", 100 * views[v].shares[0]);
        snprintf(y_label, sizeof y_label, "second direction (%.0f %%)", 100 * views[v].shares[1]);
        fputs("<div>", page);
        page_scatter(page, views[v].title, x_label, y_label, dots, views[v].points, images->labels, images->classes);
        fputs("</div>\n", page);
    }
    fputs("</div>\n", page);
}

/* A cell with an image; beside its query it is framed green for the same class, red for another. */
static void write_cell(FILE *page, const gallery *images, const char *cell, size_t index, size_t query)
{
    size_t height, width;
    const size_t channels = mio_dataset_channels(images->dataset);
    check(mio_dataset_image_size(images->dataset, index, &height, &width));
    uint8_t *pixels = allocate(height * width, channels);
    check(mio_dataset_image(images->dataset, index, height * width * channels, pixels));
    fputs(cell, page);
    const char *frame = "alt=\"\"";
    if (images->labels && index != query)
        frame = images->labels[index] == images->labels[query] ? "class=\"hit\" alt=\"same class\""
                                                               : "class=\"miss\" alt=\"another class\"";
    page_image(page, height, width, channels, pixels, frame);
    fputs("</td>", page);
    free(pixels);
}

void gallery_write_neighbours(FILE *page, const gallery *images, const gallery_view views[2])
{
    fputs("<h2>Nearest neighbours</h2>\n<p>A test image and the others that the encoder takes for most like it, best "
          "first",
          page);
    fputs(images->labels ? ": framed green if of the same class, red if not.</p>\n" : ".</p>\n", page);
    fprintf(page,
            "<div class=\"rows\"><table>\n<tr><th></th><th>image</th><th class=\"gap\" colspan=\"%d\">%s</th>"
            "<th class=\"gap\" colspan=\"%d\">%s</th></tr>\n",
            GALLERY_NEIGHBOURS, views[0].title, GALLERY_NEIGHBOURS, views[1].title);
    for (size_t q = 0; q < images->query_count; q++) {
        const size_t query = images->queries[q];
        fputs("<tr><td class=\"name\">", page);
        if (images->labels)
            page_text(page, images->names[images->labels[query]]);
        fputs("</td>", page);
        write_cell(page, images, "<td>", query, query);
        for (int v = 0; v < 2; v++)
            for (size_t i = 0; i < GALLERY_NEIGHBOURS; i++)
                write_cell(page, images, i ? "<td>" : "<td class=\"gap\">",
                           views[v].neighbours[q * GALLERY_NEIGHBOURS + i], query);
        fputs("</tr>\n", page);
    }
    fputs("</table></div>\n", page);
}
