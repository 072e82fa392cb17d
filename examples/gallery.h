/* Test images as two encoders see them: their embeddings in a plane, and each beside the images most like it. */
#ifndef EXAMPLES_GALLERY_H
#define EXAMPLES_GALLERY_H

#include "common.h"

enum { GALLERY_DOTS = 3000, GALLERY_NEIGHBOURS = 8, GALLERY_QUERIES = 12 };

/** The images and what is shown of them. */
typedef struct gallery {
    mio_context *context;
    const mio_dataset *dataset;
    size_t count, classes;
    int32_t *labels;    /* NULL without labels */
    const char **names; /* of the classes; NULL without labels */
    char *made_names;   /* behind those that are missing in list and dataset */
    size_t queries[GALLERY_QUERIES], query_count;
} gallery;

/** One encoder's view of the images. */
typedef struct gallery_view {
    const char *title;
    float *points;      /* of the first GALLERY_DOTS images: x, y */
    double shares[2];   /* of the variance */
    size_t *neighbours; /* query_count x GALLERY_NEIGHBOURS */
} gallery_view;

/** Chooses what to show. class_list: names between commas, or NULL for the dataset's own; it is cut up and kept. */
gallery gallery_of(mio_context *context, const mio_dataset *dataset, char *class_list);
/** Embeds all images and finds neighbours and plane. */
gallery_view gallery_look(const gallery *images, mio_encoder *encoder, const char *title);
void gallery_free(const gallery *images);
void gallery_view_free(const gallery_view *view);

/** Two scatter plots side by side. */
void gallery_write_planes(FILE *page, const gallery *images, const gallery_view views[2]);
/** A table: each query, its neighbours in one view, and in the other. */
void gallery_write_neighbours(FILE *page, const gallery *images, const gallery_view views[2]);

#endif
