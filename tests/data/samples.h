/* Small valid files of every dataset format, made in a folder of the test's own. */
#ifndef TESTS_DATA_SAMPLES_H
#define TESTS_DATA_SAMPLES_H

#include <mio/mio.h>

/** Growing bytes. */
typedef struct sample_bytes {
    unsigned char *bytes;
    size_t size, capacity;
} sample_bytes;

/** Makes the folder; ends the program when it cannot. */
void sample_begin(void);
/** Removes it with everything in it. */
void sample_end(void);
/** Path of a name inside the folder; one of a few buffers used in turn. */
const char *sample_path(const char *name);
/** Makes a sub-folder. */
void sample_folder(const char *name);
/** Writes a file inside the folder, whole. */
void sample_write(const char *name, const void *bytes, size_t size);
/** Reads a file at any path. */
sample_bytes sample_read(const char *path);

void sample_append(sample_bytes *to, const void *bytes, size_t size);
void sample_free(sample_bytes *bytes);
/** The same bytes in gzip. */
sample_bytes sample_gzip(const sample_bytes *plain);

/** Adds a tar member of the given type ('0' a file) with a name of at most 100 bytes. */
void sample_tar_add(sample_bytes *tar, const char *name, char type, const void *bytes, size_t size);
/** The end mark. */
void sample_tar_end(sample_bytes *tar);

/** Value of a test pixel: any function that differs from byte to byte. */
uint8_t sample_value(size_t i);
/** IDX: pixel i of all is sample_value(i); label i is i % 3. */
sample_bytes sample_idx_images(size_t count, size_t height, size_t width);
sample_bytes sample_idx_labels(size_t count);
/** CIFAR records: label_bytes label bytes (image % 10), then planes: pixel p of plane c is sample_value(image * 3072 +
 * 1024 c + p). */
sample_bytes sample_cifar(size_t first, size_t count, size_t label_bytes);
/** STL-10 images as they lie in the file: byte i is sample_value(i). Labels: image % 10 + 1. */
sample_bytes sample_stl_images(size_t count);
sample_bytes sample_stl_labels(size_t count);

#endif
