/* Features of all images in a folder by a trained encoder, as .npy or .csv; and the images most similar to one. */
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: embed ENCODER FOLDER [options]\n"
                            "  --npy FILE         features, images x dim floats, as NumPy reads them\n"
                            "  --names FILE       the images' names, one a line, in the same order\n"
                            "  --csv FILE         names and features in one table\n"
                            "  --query INDEX      prints the images most similar to this one (counted from 0)\n"
                            "  --neighbours N     how many (default 8)\n"
                            "  --threads N\n"
                            "exit code: 0 done; 1 failed; 2 wrong arguments\n";

static FILE *create(const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        leave(EXIT_FAILED, "cannot write '%s': %s", path, strerror(errno));
    return file;
}

/* NumPy's format 1.0: a magic, the length of a header, the header padded so that the data begin at a multiple of 64. */
static void write_npy(const char *path, size_t rows, size_t columns, const float *values)
{
    FILE *file = create(path);
    char header[118];
    const uint16_t one = 1;
    const char order = *(const char *)&one ? '<' : '>';
    const int used = snprintf(header, sizeof header, "{'descr': '%cf4', 'fortran_order': False, 'shape': (%zu, %zu), }",
                              order, rows, columns);
    memset(header + used, ' ', sizeof header - (size_t)used);
    header[sizeof header - 1] = '\n';
    fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, file); /* 0x76 = 118 bytes of header */
    fwrite(header, 1, sizeof header, file);
    fwrite(values, sizeof *values, rows * columns, file);
    close_written(file, path);
}

static const char *name_of(const mio_dataset *images, size_t index)
{
    const char *name;
    check(mio_dataset_image_name(images, index, &name));
    return name;
}

/* Names go in quotes; a quote within is doubled. */
static void write_csv(const char *path, const mio_dataset *images, size_t columns, const float *values)
{
    FILE *file = create(path);
    for (size_t i = 0; i < mio_dataset_count(images); i++) {
        fputc('"', file);
        for (const char *letter = name_of(images, i); *letter; letter++)
            fprintf(file, *letter == '"' ? "\"%c" : "%c", *letter);
        fputc('"', file);
        for (size_t j = 0; j < columns; j++)
            fprintf(file, ",%.9g", (double)values[i * columns + j]);
        fputc('\n', file);
    }
    close_written(file, path);
}

static void write_names(const char *path, const mio_dataset *images)
{
    FILE *file = create(path);
    for (size_t i = 0; i < mio_dataset_count(images); i++)
        fprintf(file, "%s\n", name_of(images, i));
    close_written(file, path);
}

static void print_neighbours(mio_context *context, const mio_dataset *images, size_t dim, const float *features,
                             size_t query, size_t wanted)
{
    mio_knn *knn;
    const size_t rows = mio_dataset_count(images);
    const size_t found = (wanted < rows - 1 ? wanted : rows - 1) + 1; /* the query finds itself too */
    size_t *indices = allocate(found, sizeof *indices);
    float *similarities = allocate(found, sizeof *similarities);
    check(mio_knn_create(context, &knn));
    check(mio_knn_fit(knn, rows, dim, features, NULL));
    check(mio_knn_search(knn, 1, dim, features + query * dim, found, indices, similarities));
    printf("most similar to %zu (%s):\n", query, name_of(images, query));
    for (size_t i = 0, left = found - 1; i < found && left; i++)
        if (indices[i] != query) {
            printf("%8zu  %.4f  %s\n", indices[i], (double)similarities[i], name_of(images, indices[i]));
            left--;
        }
    mio_knn_release(knn);
    free(indices);
    free(similarities);
}

int main(int argc, char **argv)
{
    arguments line = arguments_of(argc, argv);
    const char *paths[2] = {NULL, NULL}, *npy = NULL, *csv = NULL, *list = NULL;
    double query = -1, neighbours = 8, threads = 0;
    size_t given = 0;
    while (line.next < line.count) {
        if (option(&line, "--npy"))
            npy = value(&line, "--npy");
        else if (option(&line, "--csv"))
            csv = value(&line, "--csv");
        else if (option(&line, "--names"))
            list = value(&line, "--names");
        else if (option(&line, "--query"))
            query = number(&line, "--query", 0, 1e15);
        else if (option(&line, "--neighbours"))
            neighbours = number(&line, "--neighbours", 1, 1e6);
        else if (option(&line, "--threads"))
            threads = number(&line, "--threads", 1, 1024);
        else if (option(&line, "--help"))
            return fputs(usage, stdout) < 0;
        else if (given == 2 || !(paths[given] = optional_value(&line)))
            unknown_argument(&line);
        else
            given++;
    }
    if (given < 2)
        leave(EXIT_USAGE, "an encoder's file and a folder are needed; see --help");

    mio_context *context;
    mio_encoder *encoder;
    size_t dim;
    check(mio_context_create(&context));
    if (threads > 0)
        check(mio_context_set(context, "threads", threads));
    check(mio_encoder_load(context, paths[0], &encoder));
    mio_dataset *dataset = dataset_for(context, encoder, "flat", paths[1], NULL);
    const size_t count = mio_dataset_count(dataset);
    if (query >= (double)count)
        leave(EXIT_USAGE, "--query %g: there are %zu images, counted from 0", query, count);
    float *features = features_of(encoder, dataset, &dim);
    fprintf(stderr, "%zu images, %zu features each\n", count, dim);
    if (npy)
        write_npy(npy, count, dim, features);
    if (csv)
        write_csv(csv, dataset, dim, features);
    if (list)
        write_names(list, dataset);
    if (query >= 0)
        print_neighbours(context, dataset, dim, features, (size_t)query, (size_t)neighbours);

    free(features);
    mio_dataset_release(dataset);
    mio_encoder_release(encoder);
    mio_context_release(context);
    return 0;
}
