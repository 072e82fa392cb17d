/* The binary version of STL-10: 96x96 images plane by plane (red, green, blue), each plane column by column; labels
   from 1 on in files of their own; ten folds of the training images as lines of indices. */
#include "data/bundle.h"

#include <string.h>

enum { SIDE = 96, PLANE = SIDE * SIDE, IMAGE = 3 * PLANE, IMAGES_AT_ONCE = 16, CLASSES = 10, TEXT_LIMIT = 1 << 20 };
enum { FILE_IMAGES, FILE_LABELS, FILE_NAMES, FILE_FOLDS };

typedef struct stl10 {
    mio_dataset *dataset;
    int has_labels;
    char *labels, *folds; /* as read: the images may come after them */
    size_t label_count, folds_size;
} stl10;

static void transpose(const unsigned char *planes, uint8_t *pixels)
{
    for (size_t y = 0; y < SIDE; y++)
        for (size_t x = 0; x < SIDE; x++)
            for (size_t c = 0; c < 3; c++)
                pixels[(y * SIDE + x) * 3 + c] = planes[c * PLANE + x * SIDE + y];
}

static mio_status take_images(mio__stream *stream, size_t count, unsigned char *buffer, uint8_t *pixels)
{
    for (size_t done = 0; done < count;) {
        const size_t rest = count - done, piece = rest < IMAGES_AT_ONCE ? rest : IMAGES_AT_ONCE;
        const mio_status status = mio__stream_read_exactly(stream, buffer, piece * IMAGE, "images");
        if (status)
            return status;
        for (size_t i = 0; i < piece; i++)
            transpose(buffer + i * IMAGE, pixels + (done + i) * IMAGE);
        done += piece;
    }
    return mio__stream_expect_end(stream);
}

static mio_status read_images(stl10 *work, mio__stream *stream)
{
    mio_context *context = work->dataset->context;
    size_t count = 0;
    uint8_t *pixels;
    mio_status status = mio__bundle_records(stream, IMAGE, &count);
    if (!status)
        status = mio__dataset_make_room(work->dataset, count, SIDE, SIDE, 3, work->has_labels, &pixels);
    if (status)
        return status;
    unsigned char *buffer = mio__alloc(context, (size_t)IMAGES_AT_ONCE * IMAGE);
    if (!buffer)
        return MIO_ERROR_MEMORY;
    status = take_images(stream, count, buffer, pixels);
    mio__free(context, buffer);
    return status;
}

static mio_status read_labels(stl10 *work, mio__stream *stream)
{
    const mio_status status =
        mio__stream_read_rest(stream, (size_t)MIO__DATASET_COUNT_LIMIT, &work->labels, &work->label_count);
    for (size_t i = 0; !status && i < work->label_count; i++)
        if (work->labels[i] < 1 || work->labels[i] > CLASSES)
            return mio__stream_fail(stream, i, "label %d; they are 1 to %d", (int)(unsigned char)work->labels[i],
                                    CLASSES);
    return status;
}

static mio_status read_file(void *argument, size_t file, mio__stream *stream)
{
    stl10 *work = argument;
    switch (file) {
    case FILE_IMAGES: return read_images(work, stream);
    case FILE_LABELS: return read_labels(work, stream);
    case FILE_NAMES: return mio__bundle_class_names(stream, CLASSES, work->dataset);
    default: return mio__stream_read_rest(stream, TEXT_LIMIT, &work->folds, &work->folds_size);
    }
}

static mio_status take_labels(const mio__source *source, const char *file, stl10 *work)
{
    if (work->label_count != work->dataset->count)
        return mio__fail(MIO_ERROR_FORMAT, "'%s', %s, offset %zu: %zu labels for %zu images", source->path, file,
                         work->label_count, work->label_count, work->dataset->count);
    for (size_t i = 0; i < work->label_count; i++)
        work->dataset->labels[i] = work->labels[i] - 1;
    return MIO_OK;
}

/* ---- folds ---- */

/* Next number of the line at *at, which moves behind it; 0 at the line's end, -1 for anything but digits. */
static int next_number(const char *text, size_t size, size_t *at, size_t *number)
{
    while (*at < size && (text[*at] == ' ' || text[*at] == '\t' || text[*at] == '\r'))
        ++*at;
    if (*at == size || text[*at] == '\n')
        return 0;
    size_t value = 0, digits = 0;
    for (; *at < size && text[*at] >= '0' && text[*at] <= '9'; ++*at, digits++)
        value = value < MIO__DATASET_COUNT_LIMIT ? value * 10 + (size_t)(text[*at] - '0') : value;
    *number = value;
    return digits ? 1 : -1;
}

/* Keeps the images that line `fold` names, in its order. */
static mio_status take_fold(const mio__source *source, stl10 *work, size_t fold)
{
    mio_dataset *dataset = work->dataset;
    size_t at = 0, line = 0, used = 0, capacity = 0, label_capacity = 0, number;
    for (; line < fold && at < work->folds_size; at++)
        line += work->folds[at] == '\n';
    mio__pixels *places = NULL;
    int32_t *labels = NULL;
    mio_status status = MIO_OK;
    for (;;) {
        const int kind = next_number(work->folds, work->folds_size, &at, &number);
        if (!kind)
            break;
        if (kind < 0 || number >= dataset->count) {
            status =
                mio__fail(MIO_ERROR_FORMAT, "'%s', fold_indices.txt, offset %zu: no index of an image (there are %zu)",
                          source->path, at, dataset->count);
            break;
        }
        if ((status = mio__grow(dataset->context, (void **)&places, &capacity, used, used + 1, sizeof *places)) ||
            (status = mio__grow(dataset->context, (void **)&labels, &label_capacity, used, used + 1, sizeof *labels)))
            break;
        places[used] = mio__dataset_pixels(dataset, number);
        labels[used++] = dataset->labels[number];
    }
    if (!status && !used)
        status = mio__fail(MIO_ERROR_FORMAT, "'%s', fold_indices.txt, offset %zu: there is no fold %zu", source->path,
                           at, fold);
    if (status) {
        mio__free(dataset->context, places);
        mio__free(dataset->context, labels);
        return status;
    }
    mio__free(dataset->context, dataset->labels);
    dataset->places = places;
    dataset->labels = labels;
    dataset->count = used;
    return MIO_OK;
}

/* Split "train", "test", "unlabeled" or "train:K". */
static int parse_split(const char *split, const char **images, const char **labels, int *fold)
{
    *fold = -1;
    *labels = NULL;
    if (split && !strcmp(split, "unlabeled")) {
        *images = "unlabeled_X.bin";
    } else if (split && !strcmp(split, "test")) {
        *images = "test_X.bin";
        *labels = "test_y.bin";
    } else if (split && !strncmp(split, "train", 5)) {
        *images = "train_X.bin";
        *labels = "train_y.bin";
        if (split[5]) {
            *fold = split[6] - '0';
            return split[5] == ':' && split[6] >= '0' && split[6] <= '9' && !split[7];
        }
    } else {
        return 0;
    }
    return 1;
}

mio_status mio__read_stl10(const mio__source *source, mio_dataset *dataset)
{
    const char *images, *labels;
    int fold;
    if (!parse_split(source->split, &images, &labels, &fold))
        return mio__refuse_split(source, "train, test, unlabeled, train:0 to train:9");
    stl10 work = {.dataset = dataset, .has_labels = labels != NULL};
    const mio__bundle_file files[4] = {[FILE_IMAGES] = {images, 0},
                                       [FILE_LABELS] = {labels, 0},
                                       [FILE_NAMES] = {"class_names.txt", 1},
                                       [FILE_FOLDS] = {fold >= 0 ? "fold_indices.txt" : NULL, 0}};
    mio_status status = mio__bundle_visit(source, "stl10_binary", 4, files, read_file, &work);
    if (!status && labels)
        status = take_labels(source, labels, &work);
    if (!status && fold >= 0)
        status = take_fold(source, &work, (size_t)fold);
    mio__free(dataset->context, work.labels);
    mio__free(dataset->context, work.folds);
    return status;
}
